"""Write what an agent's runs say into their sessions: each message once, in its turn."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias
from uuid import uuid4

import msgspec
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage

from langchain_onrecord.messages import SAID, TURN, from_langchain, to_langchain
from langchain_onrecord.run_progress import (
    RunProgress,
    Runs,
    asks,
    digest,
    id_in,
    id_of,
    is_changed,
    is_said,
    latest_step,
    parts_of,
    up_to_answers,
)
from onrecord import IdReused, Message, Since, Version
from onrecord.adapters.calls import Talk, call
from onrecord.adapters.stored import id_of as stored_id
from onrecord.adapters.stored import seq_of

if TYPE_CHECKING:
    from onrecord import Session

LATER: Final = 2**40
"""Behind every message of a session."""

Appended: TypeAlias = "Talk[tuple[str | None, dict[str | None, int]]]"
"""Which turn was the last, and where in the session messages stand, by their ids."""


def appended(
    session: Session,
    messages: Sequence[BaseMessage],
    version: Version,
    turn: str | None,
    passing: Container[str | None] = (),
) -> Appended:
    """Append messages as parts of their turns, but for those that are passed over."""
    said: list[Message] = []
    for message in messages:
        if not is_said(message):
            continue
        if asking := isinstance(message, HumanMessage):
            turn = id_of(message)
        if id_of(message) in passing:
            continue
        ours = from_langchain(message)
        if turn is not None and not asking:
            metadata = {**ours.metadata, TURN: turn}
            ours = msgspec.structs.replace(ours, metadata=metadata)
        said.append(ours)
    if not said:
        return turn, {}
    # Others may have spoken meanwhile. Who was cleared away comes not back (I7).
    found = yield from call(session.append, said, expected=Since(version))
    return turn, {stored_id(message): seq_of(message) for message in found}


class RunWriter:
    """Writes what runs say, and remembers what each has stored."""

    def __init__(self) -> None:
        self._runs = Runs()

    def begin(
        self,
        session: Session,
        version: Version,
        messages: Sequence[BaseMessage],
        turn: str | None,
        known: Iterable[str] = (),
        said: Sequence[BaseMessage] = (),
    ) -> RunProgress:
        """Note how far a run is stored that begins."""
        run = uuid4().hex[:12]
        self._runs.begin(run)
        return RunProgress(
            session=parts_of(session),
            epoch=version.epoch,
            head=version.head,
            known=[*dict.fromkeys([*known, *map(id_of, messages)])],
            turn=turn,
            run=run,
            said={id_of(m): digest(m) for m in said if asks(m)},
        )

    def end(self, progress: RunProgress) -> None:
        """Forget a run."""
        self._runs.forget(progress["run"])

    def catch_up(
        self, session: Session, progress: RunProgress, messages: Sequence[BaseMessage]
    ) -> Talk[RunProgress]:
        """Make durable what a state holds and the store does not."""
        known = set(progress["known"])
        new = [m for m in messages if m.id not in known]
        if not new:
            return progress
        # Results are not compared with what is stored: other middleware may have added to them.
        said = [m for m in new if not id_of(m).startswith(progress["run"])]
        turn = progress["turn"]
        if said:
            there = self._runs.stored_in(progress["run"])
            if there is None:
                # The run goes on where it did not begin, and perhaps much later.
                since: list[Message] = yield from call(session.messages, after=progress["head"])
                there = self._runs.begin(progress["run"], (m.id for m in since))
            turn = yield from self._said_now(session, progress, said, there)
            there.update(map(id_of, said))
        ids = [*progress["known"], *map(id_of, new)]
        return {**progress, "known": ids, "turn": turn}

    def correct(
        self, session: Session, progress: RunProgress, messages: Sequence[BaseMessage]
    ) -> Talk[RunProgress]:
        """Store what other middleware has made of a message that was stored as it came.

        What was redacted for the model this time would else be shown to it the next time. Only
        of the latest step: what is taken out of the state later stays in the transcript.
        """
        changed = {m.id: m for m in latest_step(messages) if is_changed(m, progress)}
        if not changed:
            return progress
        since = max(0, progress["head"] - 1)
        stored: list[Message] = yield from call(session.messages, after=since)
        edits = 0
        for message in stored:
            now = changed.get(message.id)
            if now is not None and digest(to_langchain(message)) != digest(now):
                said = from_langchain(now)
                metadata = {**said.metadata, **message.metadata}
                if original := progress["said"].get(id_of(now)):
                    metadata[SAID] = original  # so that a retry in the first words is known
                said = msgspec.structs.replace(said, metadata=metadata)
                yield from call(session.edit, seq_of(message), said)
                edits += 1
        version: Version = yield from call(session.version)
        if version.epoch != progress["epoch"] + edits:
            return progress  # somebody else has moved it: a clear is still to be noticed
        return {**progress, "epoch": version.epoch}

    def say(
        self,
        session: Session,
        progress: RunProgress,
        messages: Sequence[BaseMessage],
        passing: Container[str | None] = (),
    ) -> Appended:
        """Append what was said in a run."""
        version = Version(progress["epoch"], progress["head"])
        return appended(session, messages, version, progress["turn"], passing)

    def _said_now(
        self,
        session: Session,
        progress: RunProgress,
        said: Sequence[BaseMessage],
        there: Container[str | None],
    ) -> Talk[str | None]:
        """Append what was said in a run, but for what is there; and say whose turn it is then."""
        turn = progress["turn"]
        for part in up_to_answers(said):
            turn = yield from self._part_said(session, {**progress, "turn": turn}, part, there)
        return turn

    def _part_said(
        self,
        session: Session,
        progress: RunProgress,
        said: Sequence[BaseMessage],
        there: Container[str | None],
    ) -> Talk[str | None]:
        """Append what leads to an answer, and the answer, also under an id that was used long ago:
        a cache of answers repeats their ids."""
        last = said[-1]
        is_new = isinstance(last, AIMessage) and last.id not in there
        try:
            turn, places = yield from self.say(session, progress, said, there)
            repeated = is_new and places.get(last.id, LATER) <= progress["head"]
        except IdReused:
            if not is_new:
                raise
            turn, _ = yield from self.say(session, progress, said[:-1], there)
            repeated = True
        if repeated:
            anew = last.model_copy(update={"id": id_in(progress["run"], id_of(last))})
            yield from self.say(session, {**progress, "turn": turn}, [anew])
        return turn
