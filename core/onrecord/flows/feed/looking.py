"""Where a reader looks for what has changed, without writing anything.

Time is never trusted alone. A session is compared with what its reader has finished, and the ways
only say which are compared first: those that are due; those made since; those last active since a
place, which stays behind the clock for commits that are late; and all the others, some at each
time, in turn. So a commit that was later than that, or that was made under a clock that stood
wrong, is found when its turn comes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from onrecord.errors import Damaged
from onrecord.ledger.feed import feeds, positions
from onrecord.ledger.feed.feeds import BEFORE_ALL, BEHIND_ALL, Place, Row
from onrecord.ledger.feed.positions import Candidate
from onrecord.scope import FeedName
from onrecord.stored.clock import MICROSECONDS

if TYPE_CHECKING:
    from onrecord.ledger.database.transaction import Transaction

MARGIN: Final = 30
"""Seconds by which a commit may be late, or its clock behind the database's, and is still seen at
the next read."""
LOOK: Final = 10_000
"""Sessions that a read compares by each of its ways at the most: some 10 ms."""
SWEEP: Final = 10_000
"""Sessions that are compared in turn, each time that it is time for it."""
PASSED: Final = 1_000
"""Sessions made since, after which a read that found nothing in them says so: of a user among many,
12,000 others' took each read 14 ms."""
SWEEP_EVERY: Final = 10
"""Seconds from one to the next."""


class Looked(NamedTuple):
    """What a reader has found, and how far it has looked."""

    found: list[Candidate]
    row: Row
    swept: bool
    """Whether it has gone on over all of them."""
    far: bool
    """Whether it has come so far by time that there may be more behind it."""
    passed: bool
    """Whether so many were made since that they are not to be looked at again."""


def look(txn: Transaction, name: FeedName, limit: int, now: int) -> Looked | None:
    """Find sessions to hand out, at most so many; None where the reader has no row yet."""
    row = feeds.find(txn, name, now)
    if row is None:
        return None
    if not feeds.is_number(row.number):
        raise Damaged(f"The row of feed {name} is damaged: its number is {row.number}.")
    found: dict[object, Candidate] = {}
    here = _Looking(txn, name, limit, found)
    at = row
    sweeps = not row.swept_at <= row.now < row.swept_at + SWEEP_EVERY * MICROSECONDS
    if sweeps:
        at = here.swept(at)
    here.due(at)
    at = here.newest(here.by_time(at))
    far = at.second - row.second >= MARGIN
    return Looked(list(found.values()), at, sweeps, far, at.newest - row.newest >= PASSED)


class _Looking:
    def __init__(
        self,
        txn: Transaction,
        name: FeedName,
        limit: int,
        found: dict[object, Candidate],
    ) -> None:
        self._txn = txn
        self._scope = name.scope
        self._limit = limit
        self._found = found

    @property
    def _room(self) -> int:
        return self._limit - len(self._found)

    def _add(self, some: list[Candidate]) -> None:
        self._found.update((one.key, one) for one in some)

    def due(self, row: Row) -> None:
        if self._room:
            self._add(positions.due(self._txn, row.number, row.now, self._room))

    def swept(self, row: Row) -> Row:
        """Go on over all there are; from the beginning after the last."""
        end: Place | None = None
        for after in dict.fromkeys((row.swept, BEFORE_ALL)):
            if end is None:
                some, end = positions.in_turn(
                    self._txn, row.number, self._scope, after, SWEEP, self._limit
                )
                self._add(some)
        if end is None or end > BEHIND_ALL:
            end = BEFORE_ALL
        second, session = end
        return row._replace(swept_second=second, swept_session=session, swept_at=row.now)

    def by_time(self, row: Row) -> Row:
        """Look at those that were active since, and again at those within the margin."""
        if not self._room:
            return row
        latest = row.now // MICROSECONDS - MARGIN, 0
        place = row.place
        if place > (row.now // MICROSECONDS, 0):
            place = latest  # the clock was set back: it was wrong then, or is now
        some, end = positions.by_time(self._txn, row.number, self._scope, place, LOOK, self._room)
        self._add(some)
        second, session = _further(place, end, latest)
        return row._replace(second=second, session=session)

    def newest(self, row: Row) -> Row:
        """Look at those made since: one that was imported was active long ago."""
        if not self._room:
            return row
        some, end = positions.by_number(
            self._txn, row.number, self._scope, row.newest, LOOK, self._room
        )
        self._add(some)
        return row if end is None else row._replace(newest=end[1])


def _further(place: Place, end: Place | None, latest: Place) -> Place:
    """How far was looked, and no further than to where nobody can be late."""
    return place if end is None else max(place, min(end, latest))
