"""The newest messages of the sessions used last, kept in this process and bounded in bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Final

from onrecord.stored.messages import Snapshot

LARGEST_TAIL: Final = 256 * 1024
LARGEST_TOTAL: Final = 64 * 1024 * 1024
_A_ROW: Final = 300
"""What a row weighs in memory besides its frame."""


class Tails:
    """Tails by identity. Rows are immutable and hold bytes: nobody can change one here (I12)."""

    def __init__(self, messages: int) -> None:
        self.messages = messages
        """How many messages of a session are kept."""
        self.forget()

    def forget(self) -> None:
        """Drop everything; also what makes it usable in a child after fork."""
        self._lock = threading.Lock()
        self._tails: OrderedDict[bytes, tuple[Snapshot, object, int]] = OrderedDict()
        self._weight = 0

    def get(self, identity: bytes) -> tuple[Snapshot, object] | None:
        """What was kept, and the note that was left with it."""
        kept = self._tails.get(identity)
        return None if kept is None else kept[:2]

    def keep(self, identity: bytes, seen: Snapshot, note: object) -> None:
        """Keep a tail, if it is not too much, in the place of what was there."""
        rows = seen.rows[-self.messages :] if self.messages else ()
        known = self._tails.get(identity)
        if known is not None and known[0].rows is rows:  # as mostly: nothing was added
            weight = known[2]
        else:
            weight = _A_ROW * (1 + len(rows)) + sum([len(row.frame or b"") for row in rows])
            if len(rows) < len(seen.rows):
                seen = seen._replace(rows=rows, complete=False)
        with self._lock:
            old = self._tails.pop(identity, None)
            self._weight -= old[2] if old else 0
            if weight > LARGEST_TAIL:
                return
            self._tails[identity] = (seen, note, weight)
            self._weight += weight
            while self._weight > LARGEST_TOTAL:
                _, (_, _, oldest) = self._tails.popitem(last=False)
                self._weight -= oldest

    def drop(self, identity: bytes) -> None:
        """Forget one session."""
        with self._lock:
            old = self._tails.pop(identity, None)
            self._weight -= old[2] if old else 0
