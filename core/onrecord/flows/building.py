"""Rows to messages as people hold them, fresh each time (I12)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
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

_MOST_REPORTED: Final = 10_000
_BEGINNING: Final = moment(0)


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
        contents = chain.from_iterable(self._contents(rows, session))
        try:
            return _completed(contents, rows, facts, prefix)
        except OverflowError:  # a time that is out of range; to look for it first costs all others
            return [self.message(row, session) for row in rows]

    def converted(self, seen: Snapshot, convert: Callable[[Message], T]) -> list[T]:
        """What each message is to somebody else, without ever holding all of them twice."""
        session = seen.number
        if session is None:
            return []
        pages = self._contents(seen.rows, session)
        if isinstance(convert, OnlyContent):
            only = convert.convert
            return [only(content) for page in pages for content in page]
        if not all(EARLIEST <= row.created <= LATEST for row in seen.rows):
            return [convert(self.message(row, session)) for row in seen.rows]
        facts, prefix = self._known(session)
        rows = iter(seen.rows)
        return [
            convert(message)
            for page in pages
            for message in _completed(page, islice(rows, len(page)), facts, prefix)
        ]

    def message(self, row: MessageRow, session: int) -> Message:
        """One message; a placeholder where it can no longer be read (I10)."""
        return self.completed(self._content(row, session), row, session)

    def completed(self, content: Message, row: MessageRow, session: int) -> Message:
        """A message nobody else holds yet, with what the row knows besides its content."""
        if EARLIEST <= row.created <= LATEST:
            return _completed((content,), (row,), *self._known(session))[0]
        fault = Damaged(f"its time, {row.created} µs after 1970, is out of range")
        self._report(session, row, fault)
        content = codec.placeholder(row.frame or b"", fault)
        _completed((content,), (replace(row, created=0),), *self._known(session))
        force_setattr(content, "created_at", None)
        return content

    def written(
        self, contents: Iterable[Message], rows: Iterable[MessageRow], session: int
    ) -> list[Message]:
        """Like ``completed``, of several that were written just now: they have times in range."""
        return _completed(contents, rows, *self._known(session))

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

    def _contents(self, rows: Sequence[MessageRow], session: int) -> Iterator[list[Message]]:
        """The contents of rows, page by page."""
        for start in range(0, len(rows), codec.TOGETHER):
            page = rows[start : start + codec.TOGETHER]
            contents = codec.decode_together([row.frame or b"" for row in page])
            yield contents or [self._content(row, session) for row in page]

    def _report(self, session: int, row: MessageRow, fault: Damaged) -> None:
        if len(self._reported) < _MOST_REPORTED and (session, row.seq) not in self._reported:
            self._reported.add((session, row.seq))
            log.warning("message %d of session %d cannot be read: %s", row.seq, session, fault)


def _completed(
    contents: Iterable[Message], rows: Iterable[MessageRow], facts: Facts, prefix: str
) -> list[Message]:
    """Contents with what their rows know besides. Nothing in here is called for each of them that
    need not be: a call costs as much as what it does, and this is done for every message read."""
    done: list[Message] = []
    counter, created, at = facts.counter, 0, _BEGINNING
    for content, row in zip(contents, rows, strict=False):
        force_setattr(content, "id", row.id or f"{prefix}.{row.epoch}.{row.seq}")
        if row.created != created:  # what was appended by one call has one time
            created = row.created
            at = moment(created)
        force_setattr(content, "created_at", at)
        force_setattr(content, "seq", row.seq)
        # By another counter the number would mean something else; below 0 it is damaged.
        if row.counter == counter and row.tokens >= 0:
            force_setattr(content, "tokens", row.tokens)
        done.append(content)
    return done
