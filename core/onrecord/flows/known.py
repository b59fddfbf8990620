"""What a process knows of the sessions that it used last: where they stood, under which fence."""

from __future__ import annotations

import itertools
import threading
from collections import OrderedDict
from typing import Final, NamedTuple

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
        self.forget()

    def forget(self) -> None:
        """Forget every session; also what makes it usable in a child after fork."""
        self._known: OrderedDict[bytes, Known] = OrderedDict()
        self._lock = threading.Lock()
        self._ticks = itertools.count(1)

    def get(self, identity: bytes) -> Known:
        """What is known of a session."""
        return self._known.get(identity, _NOTHING_KNOWN)

    def begin(self) -> int:
        """Now, for a read that begins."""
        return next(self._ticks)

    def read(self, identity: bytes, version: Version, fence: int | None, began: int) -> None:
        """Note what a read of the database answered.

        It may be less than what was known: then the database has fallen back. But only where
        the read began after that was known: of two at once, the later answer may be the older.
        """
        with self._lock:
            known = self.get(identity)
            if fence is not None and began > known.at:
                known = known._replace(fence=fence)
            if version > known.floor or began > known.at:
                known = known._replace(floor=version, at=next(self._ticks))
            self._keep(identity, known)

    def wrote(self, identity: bytes, version: Version, fence: int | None) -> None:
        """Note what a commit of this process left."""
        with self._lock:
            known = self.get(identity)
            floor = max(known.floor, version)
            known = Known(version.epoch, known.fence if fence is None else fence, floor, known.at)
            self._keep(identity, known)

    def drop(self, identity: bytes) -> None:
        """Forget where a session stood that was erased."""
        with self._lock:
            self._keep(identity, Known(epoch=self.get(identity).epoch))

    def _keep(self, identity: bytes, known: Known) -> None:
        self._known[identity] = known
        self._known.move_to_end(identity)
        if len(self._known) > self.MOST:
            self._known.popitem(last=False)
