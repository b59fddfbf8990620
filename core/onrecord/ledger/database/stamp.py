"""The stamp of a commit: what it leaves in the rows that it writes to, and under what it may.

Rules 5, 7 and 21 of docs/explanation/cache-protocol.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from os import urandom
from typing import Final, NamedTuple

ABSENT: Final = 0
"""The fence of what is not there. Nothing that is there has it."""


class FenceMoved(Exception):
    """Somebody has settled an entry since it was marked. Nothing was done."""

    def __init__(self, fences: Mapping[bytes, int]) -> None:
        super().__init__(fences)
        self.fences = fences
        """As they are now, by identity."""


class MarkedBefore(Exception):
    """The connection was made after the mark: what broke the one before it may have been a
    database that fell back. Nothing was done."""


class Stamp(NamedTuple):
    """What a commit leaves in the rows that it writes to, and under what it may do so."""

    lineage: int
    first: int
    """The fence of the session, if this commit is its first; and of items that it makes."""
    fence: int | None = None
    """What its mark was told; None where there is no cache, or it is switched off."""
    items: Mapping[bytes, int] | None = None
    """The same of items, by identity."""
    marked_at: float = float("inf")
    suspension: bytes | None = None
    """The suspension that was waited for, of a commit without a mark."""


def random() -> int:
    """A number that is not met twice, and not 0."""
    return 1 + (int.from_bytes(urandom(8)) >> 2)


def new_stamp(drawn: int | None = None) -> Stamp:
    """A stamp of a commit that nobody has marked yet. One draw serves for both of its numbers,
    which are never compared with each other; an append without a cache has ``drawn`` it before,
    for its token: a draw takes 1 to 2 µs."""
    number = random() if drawn is None else drawn
    return Stamp(number, number)
