"""A session and a message as they are stored: values that ledger, cache and protocol share."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Annotated, Final, NamedTuple, TypeAlias

from msgspec import Meta, Struct

from onrecord.stored.clock import EARLIEST, LATEST
from onrecord.usage import Spent
from onrecord.version import Version, told

SEQ_BITS: Final = 32
LAST_SEQ: Final = 2**SEQ_BITS - 1

_Count: TypeAlias = Annotated[int, Meta(ge=0, le=2**63 - 1)]
"""What is out of range is refused where a row is decoded: a cache may hold anything."""
MOST_TOKENS: Final = 2**31 - 1
"""Of one message."""


class SessionKey(NamedTuple):
    """What the rows of a session are found by."""

    shard: int
    session: int


class Span(NamedTuple):
    """Places of a session, both counted in."""

    key: SessionKey
    first: int
    last: int


class SessionRow(NamedTuple):
    """A session as the database keeps it, locked or not."""

    number: int
    epoch: int
    cut_epoch: int
    """The epoch of the last clear or rewind."""
    head: int
    last_active: int
    """When it was last written to."""
    sealed: int = 0
    """The last of its messages that is in a segment; those after it are rows."""
    fence: int = 0
    """What a commit's mark has to have been told; 0 for a session that is not there."""
    lineage: int = 0
    """What the newest write left, as it was when the row was read; 0 where that is not known."""
    shard: int = 0
    holder: bytes | None = None
    """Which turn holds it; None where none does."""
    maybe_open: int = 0
    """1 where ``unfinished`` looks at it."""

    @property
    def key(self) -> SessionKey:
        return SessionKey(self.shard, self.number)

    @property
    def version(self) -> Version:
        return Version(self.epoch, self.head)

    @property
    def found_at(self) -> Version:
        """The version of a row as it was read, with its lineage; no row that was changed since."""
        return told(self.version, self.lineage)

    @property
    def damage(self) -> str | None:
        """Which of its numbers cannot be what was written; None where all can."""
        if self.number < 1:
            return f"its number is {self.number}"
        if not 0 <= self.cut_epoch <= self.epoch:
            return f"it is in epoch {self.epoch}, and was cut in epoch {self.cut_epoch}"
        if not 0 <= self.sealed <= self.head <= LAST_SEQ:
            return f"it has come to message {self.head}, and is sealed up to {self.sealed}"
        return None


class MessageRow(Struct, frozen=True, array_like=True, gc=False):
    """A message as the database keeps it.

    No tuple, because the garbage collector tracks those: 10,000 of them, read beside as many
    LangChain messages, brought on a full collection, 40 of 105 ms.
    """

    seq: Annotated[int, Meta(ge=1, le=LAST_SEQ)]
    epoch: _Count
    """The epoch in which it was appended."""
    frame: bytes | None
    """None for a message that was deleted: its place stays."""
    id: str | None
    """The id the caller gave; None where it is derived."""
    created: Annotated[int, Meta(ge=EARLIEST, le=LATEST)]
    """Microseconds since 1970."""
    tokens: _Count
    counter: _Count
    """Which token counter gave that count."""
    token: _Count = 0
    """Random, the same for all that one call of append wrote; 0 where it is not known any more."""


class Entry(NamedTuple):
    """A message on its way in."""

    frame: bytes
    id: str | None
    created: int
    tokens: int
    opens_turn: bool
    usage: Spent | None = None
    """What it says that it cost, where that counts."""
    waits: bool = False
    """Whether somebody has to go on where it is the newest."""


class Snapshot(Struct, frozen=True):
    """Some of a session's messages, in order, and the version they were seen at."""

    number: int | None
    """The session's number; None when nothing was ever written to it."""
    version: Version
    rows: tuple[MessageRow, ...]
    complete: bool = False
    """Whether these are known to be all the messages up to the head."""
    lineage: int = 0
    """What the newest write left in the session: two pasts with one version differ in it."""
    fence: int = 0
    at_held: int = 0
    """The lineage that was found at the place that a reader held; 0 where none was."""
    cached: bool = False
    """Whether some of these come out of a cache that others may write to."""
    past: int = 0
    """Which of the pasts that this process has met these belong to; 0 where it is not known.
    What was read before, of the same past and epoch, goes on in these."""
    cut: bool = False
    """Whether the cache that these come from may have older ones, for which nobody asked."""

    def joins(self, held: Snapshot) -> bool:
        """Whether what was read after the head of ``held`` goes on from it, in the same past."""
        return (
            self.number == held.number
            and self.version.epoch == held.version.epoch
            and self.version.head >= held.version.head
            and held.lineage == self.at_held != 0
        )

    def with_newer(self, newer: Snapshot, most: int) -> Snapshot:
        """These and what came after them, at most so many."""
        rows = self.rows + newer.rows
        kept = rows[-most:]
        return Snapshot(
            newer.number,
            newer.version,
            kept,
            self.complete and len(kept) == len(rows),
            newer.lineage,
            newer.fence,
            newer.at_held,
            self.cached or newer.cached,
            self.past,
            self.cut,
        )


class Publication(NamedTuple):
    """What a commit tells the cache."""

    version: Version
    lineage: int
    """What it left in the session; 0 where that is not known."""
    rows: Sequence[MessageRow] = ()
    """What it appended; none for a rewrite."""
    session: int | None = None
    """The session's number, where it is known."""


_pasts: Final = itertools.count(1)


def new_past() -> int:
    """The number of a past that begins for this process: nothing it holds is known to go on."""
    return next(_pasts)
