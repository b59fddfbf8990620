"""Rows to messages as people hold them, fresh each time (I12)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from msgspec.structs import force_setattr, replace

from onrecord import codec
from onrecord.errors import Damaged
from onrecord.message import Message
from onrecord.stored import ids
from onrecord.stored.clock import EARLIEST, LATEST, moment
from onrecord.stored.messages import MessageRow, Snapshot

if TYPE_CHECKING:
    from onrecord.ledger.database.transaction import Facts

T = TypeVar("T")

log = logging.getLogger("onrecord")

_EPOCH: Final = moment(0)
_MOST_REPORTED: Final = 10_000


class OnlyContent(Generic[T]):
    """A conversion that does not look at a message's id, place, time and tokens.

    As ``into=`` of a read it gets messages without them: to put them there is a fifth of what a
    full read into LlamaIndex's messages takes.
    """

    def __init__(self, convert: Callable[[Message], T]) -> None:
        self.convert = convert

    def __call__(self, message: Message) -> T:
        return self.convert(message)


class MessageBuilder:
    """Builds messages from the rows of one store."""

    def __init__(self, facts: Callable[[], Facts | None]) -> None:
        self._facts = facts
        self._reported: set[tuple[int, int]] = set()

    def messages(self, seen: Snapshot, rows: Sequence[MessageRow]) -> list[Message]:
        """The messages in some rows of what was seen."""
        session = seen.number
        if session is None:
            return []
        facts, prefix = self._known(session)
        try:
            return [_complete(self._content(row, session), row, facts, prefix) for row in rows]
        except OverflowError:  # a time that is out of range; to look for it first costs all others
            return [self.message(row, session) for row in rows]

    def converted(self, seen: Snapshot, convert: Callable[[Message], T]) -> list[T]:
        """What each message is to somebody else, without ever holding all of them twice."""
        session = seen.number
        if session is None:
            return []
        if isinstance(convert, OnlyContent):
            only = convert.convert
            return [only(self._content(row, session)) for row in seen.rows]
        if not all(EARLIEST <= row.created <= LATEST for row in seen.rows):
            return [convert(self.message(row, session)) for row in seen.rows]
        facts, prefix = self._known(session)
        return [
            convert(_complete(self._content(row, session), row, facts, prefix)) for row in seen.rows
        ]

    def message(self, row: MessageRow, session: int) -> Message:
        """One message; a placeholder where it can no longer be read (I10)."""
        return self.completed(self._content(row, session), row, session)

    def completed(self, content: Message, row: MessageRow, session: int) -> Message:
        """A message nobody else holds yet, with what the row knows besides its content."""
        if EARLIEST <= row.created <= LATEST:
            return _complete(content, row, *self._known(session))
        fault = Damaged(f"its time, {row.created} µs after 1970, is out of range")
        self._report(session, row, fault)
        content = codec.placeholder(row.frame or b"", fault)
        _complete(content, replace(row, created=0), *self._known(session))
        force_setattr(content, "created_at", None)
        return content

    def _known(self, session: int) -> tuple[Facts, str]:
        facts = self._facts()
        assert facts is not None, "rows come from a ledger that is open"
        return facts, ids.prefix(facts.store_id, session)

    def _content(self, row: MessageRow, session: int) -> Message:
        frame = row.frame or b""
        try:
            return codec.decode(frame)
        except Damaged as fault:
            self._report(session, row, fault)
            return codec.placeholder(frame, fault)

    def _report(self, session: int, row: MessageRow, fault: Damaged) -> None:
        if len(self._reported) < _MOST_REPORTED and (session, row.seq) not in self._reported:
            self._reported.add((session, row.seq))
            log.warning("message %d of session %d cannot be read: %s", row.seq, session, fault)


def _complete(content: Message, row: MessageRow, facts: Facts, prefix: str) -> Message:
    # Inlined: a call costs as much as what it does, and this runs for every message read.
    force_setattr(content, "id", row.id or f"{prefix}.{row.epoch}.{row.seq}")
    force_setattr(content, "created_at", _EPOCH + timedelta(0, 0, row.created))
    force_setattr(content, "seq", row.seq)
    # By another counter the number would mean something else; below 0 it is damaged.
    if row.counter == facts.counter and row.tokens >= 0:
        force_setattr(content, "tokens", row.tokens)
    return content
