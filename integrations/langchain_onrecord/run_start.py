"""How a run of an agent begins: what was said before it, and what is new.

The caller may send the whole conversation, its newest message, or one that is there already; a
checkpoint may bring the state of an earlier run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import dropwhile, takewhile
from typing import TYPE_CHECKING, Any, NamedTuple

from langchain_core.messages import AIMessage, BaseMessage
from langgraph.types import Overwrite

from langchain_onrecord.messages import SAID
from langchain_onrecord.run_progress import (
    RunProgress,
    asks,
    digest,
    id_of,
    is_answered,
    is_aside,
    is_left_over,
    is_said,
    parts_of,
    question_in,
    together,
    without,
)
from langchain_onrecord.run_writer import Appended, RunWriter, appended
from langchain_onrecord.window import in_langchain
from onrecord import Cleared, IdReused, Message, Version, Window
from onrecord.adapters.calls import Talk, call

if TYPE_CHECKING:
    from onrecord import Session


class _Start(NamedTuple):
    """The messages that a run begins with: shown before, and new."""

    version: Version
    shown: list[BaseMessage]
    """What was said in the session before."""
    new: list[BaseMessage]
    """What the state holds besides."""
    known: Iterable[str]
    said: Mapping[str, str]
    """Digests of what was said, of messages that may have been redacted since."""
    turn: str | None = None


def begun(
    writer: RunWriter,
    session: Session,
    messages: Sequence[BaseMessage],
    progress: RunProgress | None,
    window: Mapping[str, Any],
) -> Talk[dict[str, Any]]:
    """Make durable what the state brings, and put what was said before in front of it."""
    start = yield from _start(session, messages, progress, window)
    question = question_in(messages)
    said = start.new or [m for m in messages if m is question]
    passing = {m.id for m in without(messages, said)}
    before = question_in(start.shown)
    turn = start.turn or (None if before is None else before.id)
    turn, places = yield from _brought(session, messages, start, turn, passing)
    head = start.version.head
    fresh = [m for m in start.new if not is_said(m) or places.get(m.id, 0) > head]
    later = messages[messages.index(question) + 1 :] if question is not None else []
    handed_on = not progress and any(isinstance(m, AIMessage) for m in later)
    if question is not None and not fresh and not handed_on:
        place = places.get(question.id)
        return (yield from _asked_again(writer, session, start, messages, question, place))
    now = [*start.shown, *fresh]
    if turn is None and (asked := question_in(now)) is not None:
        turn = asked.id
    begins = writer.begin(session, start.version, [*messages, *now], turn, said=fresh)
    update: dict[str, Any] = {"onrecord": begins}
    if now != messages:
        # A plain list would be streamed to the caller as if it was said only now.
        update["messages"] = Overwrite(now)
    # What the caller says without asking is for the model. An answer that only was not stored
    # yet is none of that: it ends a turn that was open.
    told = bool(fresh) and (question is None or is_answered(start.shown))
    if question_in(fresh) is None and is_answered(now) and not handed_on and not told:
        update["jump_to"] = "end"
    return update


def _asked_again(
    writer: RunWriter,
    session: Session,
    start: _Start,
    messages: Sequence[BaseMessage],
    question: BaseMessage,
    place: int | None,
) -> Talk[dict[str, Any]]:
    """Go on from what came of a message that is there already, or give its answer."""
    version, shown = start.version, start.shown
    if place is not None:
        version = version._replace(head=place)
    if all(m.id != question.id for m in shown):  # it is older than the window reaches
        if place is None:
            raise Cleared(
                f"Message {question.id!r} was deleted from session {session.name}. "
                f"To say it again, give it another id.",
                version,
            )
        since = yield from call(session.messages, after=place - 1)
        shown = in_langchain(Window.of(since))
    until = [m.id for m in shown].index(question.id) + 1
    answer = list(takewhile(lambda m: not asks(m), shown[until:]))
    now = [*shown[:until], *answer]
    begins = writer.begin(
        session, version, [*messages, *now], question.id, start.known, said=[question]
    )
    update = {"onrecord": begins}
    if is_answered(now):
        return {**update, "messages": answer, "jump_to": "end"}
    return {**update, "messages": Overwrite(now)}


def _start(
    session: Session,
    messages: Sequence[BaseMessage],
    progress: RunProgress | None,
    window_settings: Mapping[str, Any],
) -> Talk[_Start]:
    """Read what was said before this run, and tell what is new in the state."""
    if progress is not None and progress["session"] == parts_of(session):
        version: Version = yield from call(session.version)
        if version.epoch == progress["epoch"]:
            return (yield from _resumed(session, messages, progress, version))
    known = set(progress["known"] if progress else ())
    new = [m for m in messages if m.id not in known]
    if progress is not None:
        # The state is of another session, or of before a rewrite. What its last run had not
        # stored by then goes as well.
        new = list(dropwhile(is_left_over, new))
    window: Window = yield from call(session.window, **window_settings)
    shown = in_langchain(window)
    said = {str(m.id): str(m.metadata[SAID]) for m in window if SAID in m.metadata}
    return _Start(window.version, shown, without(new, shown), known, said)


def _resumed(
    session: Session,
    messages: Sequence[BaseMessage],
    progress: RunProgress,
    version: Version,
) -> Talk[_Start]:
    """Join the state that a checkpoint brought, perhaps with a summary, with what is newer."""
    known = set(progress["known"])
    newer: list[Message] = yield from call(session.messages, after=progress["head"])
    shown = together(
        [m for m in messages if m.id in known or is_aside(m)],
        [m for m in newer if m.id not in known],
    )
    new = without(messages, shown)
    return _Start(version, shown, new, known, progress["said"], progress["turn"])


def _brought(
    session: Session,
    messages: Sequence[BaseMessage],
    start: _Start,
    turn: str | None,
    passing: set[str | None],
) -> Appended:
    """Append what the caller brings. What is there already in other words is passed over: a
    question that was redacted since, and of what came before it what a web page left out."""
    version, question = start.version, question_in(messages)
    try:
        return (yield from appended(session, messages, version, turn, passing))
    except IdReused:
        earlier = messages[: messages.index(question)] if question is not None else []
        if question is not None and start.said.get(id_of(question)) == digest(question):
            passing = {*passing, question.id}
        elif all(m.id in passing for m in earlier):
            raise
        for message in earlier:
            with suppress(IdReused):
                turn, _ = yield from appended(session, [message], version, turn, passing)
            passing = {*passing, message.id}
        return (yield from appended(session, messages, version, turn, passing))
