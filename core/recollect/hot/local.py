"""The in-process cache of tails: encoded rows, trusted while nobody has committed anything.

Before each use the ledger's pulse is taken (4 µs on SQLite), a value that moves with every
commit by any process. Where it has not moved, what was read under it is still all there is.
Where it has moved, the caller asks the database what is new and fills in the answer, with the
pulse it took before asking: a commit in between makes the entry look older than it is, never
newer. Rows are immutable and hold bytes, so nothing a caller does to a message shows here (I12).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from recollect.rows import Seen

LARGEST_ENTRY: Final = 256 * 1024
LARGEST_CACHE: Final = 64 * 1024 * 1024
_A_ROW: Final = 300
"""What a row weighs in memory besides its frame."""


@dataclass(frozen=True, slots=True)
class Glance:
    """What the cache knows about a session at one moment."""

    seen: Seen | None
    """The newest messages it holds, up to the seen version."""
    fresh: bool
    """Whether nothing was committed since."""
    lease: object | None
    """What to bring along when filling; None where filling would be wrong."""


@dataclass(frozen=True, slots=True)
class _Entry:
    seen: Seen
    pulse: object
    weight: int


class LocalCache:
    """Tails of the sessions used last, by identity."""

    def __init__(self, pulse: Callable[[], object | None], messages: int) -> None:
        self.messages = messages
        """How many messages of a session's tail are kept."""
        self._pulse = pulse
        self.forget()

    def forget(self) -> None:
        """Drop everything; also what makes it usable in a child after fork."""
        self._lock = threading.Lock()
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()
        self._weight = 0

    def look(self, identity: bytes) -> Glance:
        """What is known about a session now."""
        pulse = self._pulse()
        if pulse is None:
            return Glance(None, False, None)
        entry = self._entries.get(identity)
        if entry is None:
            return Glance(None, False, pulse)
        return Glance(entry.seen, entry.pulse == pulse, pulse)

    def fill(self, identity: bytes, seen: Seen, lease: object) -> None:
        """Keep what was read under a lease, if it is not too much."""
        rows = seen.rows[-self.messages :]
        weight = _A_ROW + sum(len(row.frame or b"") + _A_ROW for row in rows)
        with self._lock:
            old = self._entries.pop(identity, None)
            self._weight -= old.weight if old else 0
            if weight > LARGEST_ENTRY:
                return
            complete = seen.complete and len(rows) == len(seen.rows)
            kept = seen._replace(rows=rows, complete=complete)
            self._entries[identity] = _Entry(kept, lease, weight)
            self._weight += weight
            while self._weight > LARGEST_CACHE:
                _, oldest = self._entries.popitem(last=False)
                self._weight -= oldest.weight
