"""What a process knows of the sessions that it used last: where they stood, under which fence."""

from __future__ import annotations

import itertools
from typing import Final, NamedTuple

from onrecord.cache.bounded import Bounded
from onrecord.version import NOTHING, Version


class Known(NamedTuple):
    """What is known of one session."""

    epoch: int = 0
    """The epoch in which this process wrote last: after a lost answer it tells whether the
    session can have been cleared meanwhile."""
    fence: int | None = None
    """The last fence that the database told; None where it told none."""
    floor: Version = NOTHING
    """What a read of the database has answered: a process never goes back behind it."""
    at: int = 0
    """When that answer came, in ticks of ``Sessions``."""


_NOTHING_KNOWN: Final = Known()


class Sessions:
    """By identity, bounded. A fence that is forgotten costs a retry; a floor that is forgotten is
    missed only where Redis falls back and nobody can tell."""

    MOST: Final = 10_000

    def __init__(self) -> None:
        self._known: Bounded[bytes, Known] = Bounded(self.MOST)
        self._listed: Bounded[bytes, Known] = Bounded(self.MOST)
        """Of those that only lists have shown: a long one forgets nothing of the others."""
        self._ticks = itertools.count(1)

    def forget(self) -> None:
        """Forget every session."""
        self._known.clear()
        self._listed.clear()

    def get(self, identity: bytes) -> Known:
        """What is known of a session."""
        return self._known.get(identity) or self._listed.get(identity) or _NOTHING_KNOWN

    def begin(self) -> int:
        """Now, for a read that begins."""
        return next(self._ticks)

    def read(self, identity: bytes, version: Version, fence: int | None, began: int) -> None:
        """Note what a read of the database answered.

        It may be less than what was known: then the database has fallen back. But only where
        the read began after that was known: of two at once, the later answer may be the older.
        """

        self._read(self._known, identity, version, fence, began)

    def listed(self, identity: bytes, version: Version, began: int) -> None:
        """Like ``read``, of what one of many in an answer showed."""
        kept = self._listed if self._known.get(identity) is None else self._known
        self._read(kept, identity, version, None, began)

    def _read(
        self,
        kept: Bounded[bytes, Known],
        identity: bytes,
        version: Version,
        fence: int | None,
        began: int,
    ) -> None:
        def learned(found: Known | None, weight: int) -> tuple[Known, int]:
            known = found or self.get(identity)
            if fence is not None and began > known.at:
                known = known._replace(fence=fence)
            if version > known.floor or began > known.at:
                known = known._replace(floor=version, at=next(self._ticks))
            return known, 1

        kept.update(identity, learned)

    def wrote(self, identity: bytes, version: Version, fence: int | None) -> None:
        """Note what a commit of this process left."""

        def learned(found: Known | None, weight: int) -> tuple[Known, int]:
            known = found or self.get(identity)
            floor = max(known.floor, version)
            kept = known.fence if fence is None else fence
            # A read that began before this answers less, and is no news.
            return Known(version.epoch, kept, floor, next(self._ticks)), 1

        self._known.update(identity, learned)

    def wrote_in(self, identity: bytes, epoch: int) -> None:
        """Note in which epoch a commit of this process wrote, where there is no cache that could
        answer less."""
        if self.get(identity).epoch != epoch:  # as a rule it is noted: 3 µs of an append
            self._known.update(
                identity, lambda found, _: ((found or _NOTHING_KNOWN)._replace(epoch=epoch), 1)
            )

    def drop(self, identity: bytes) -> None:
        """Forget where a session stood that was erased."""
        self._known.update(
            identity,
            lambda found, _: (
                Known(epoch=(found or _NOTHING_KNOWN).epoch, at=next(self._ticks)),
                1,
            ),
        )
