"""Turns as mappings: what a user said and what an agent answered, as two messages and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from onrecord.errors import InvalidMessage, shown
from onrecord.memory.history import copied
from onrecord.message import Message

_KEYS: Final = ("user", "agent", "timestamp", "metadata")


def messages_of(turn: object) -> list[dict[str, Any]]:
    """Make two messages of a turn, or refuse it: the answer has the turn's metadata."""
    if not isinstance(turn, Mapping):
        raise InvalidMessage(
            f"A turn is a mapping of what was said, {{'user': …, 'agent': …}}, not {shown(turn)}."
        )
    if unknown := sorted(map(repr, set(turn) - set(_KEYS))):
        raise InvalidMessage(
            f"The turn has the key {unknown[0]}, which has no place in a turn. It has "
            f"{', '.join(_KEYS)}. Put your own data under 'metadata'."
        )
    for key in ("user", "agent"):
        if not isinstance(turn.get(key), str):
            raise InvalidMessage(
                f"The turn needs {key!r} as text, and this is {shown(turn.get(key))}."
            )
    metadata = turn.get("metadata")
    if not isinstance(metadata, Mapping | None):
        raise InvalidMessage(f"A turn's metadata is a mapping, not {shown(metadata)}.")
    at = _time(turn.get("timestamp"))
    return [
        {"role": "user", "content": turn["user"], "created_at": at},
        {
            "role": "assistant",
            "content": turn["agent"],
            "metadata": dict(metadata or {}),
            "created_at": at,
        },
    ]


def turns_of(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Make turns of messages, whoever stored them: what is between them, as tool calls and their
    results, is left out."""
    return [_turn(one) for one in _parted(messages)]


def given_out(turns: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Copy turns that stay here: what is handed out may be changed."""
    return [{**turn, "metadata": copied(turn["metadata"])} for turn in turns]


def _parted(messages: Sequence[Message]) -> Iterator[list[Message]]:
    turn: list[Message] = []
    for message in messages:
        if message.opens_turn and turn:
            yield turn
            turn = []
        if turn or message.opens_turn or message.role == "assistant":
            turn.append(message)
    if turn:
        yield turn


def _turn(messages: Sequence[Message]) -> dict[str, Any]:
    said = [message.text for message in messages if message.opens_turn]
    answers = [message for message in messages if message.role == "assistant"]
    metadata: dict[str, Any] = {}
    for answer in answers:
        metadata.update(copied(answer.metadata))
    at = messages[0].created_at
    return {
        "user": "".join(said),
        "agent": "\n\n".join(filter(None, [answer.text for answer in answers])),
        "timestamp": None if at is None else at.isoformat(),
        "metadata": metadata,
    }


def _time(given: object) -> datetime | None:
    """Read the time of a turn; one without a zone is this machine's."""
    when: object = given
    if isinstance(given, str):
        try:
            when = datetime.fromisoformat(given)
        except ValueError:
            when = given
    if when is None:
        return None
    if not isinstance(when, datetime):
        raise InvalidMessage(
            f"A turn's timestamp is a datetime, or one as text in ISO 8601, not {shown(given)}."
        )
    try:
        return when.astimezone()
    except (OverflowError, ValueError, OSError):
        raise InvalidMessage(f"A turn's timestamp {shown(given)} does not exist in UTC.") from None
