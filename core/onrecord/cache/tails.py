"""The newest messages of the sessions used last, kept in this process and bounded in bytes."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from onrecord.cache.bounded import Bounded
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
        self._tails: Bounded[bytes, tuple[Snapshot, object]] = Bounded(LARGEST_TOTAL, LARGEST_TAIL)

    def get(self, identity: bytes) -> tuple[Snapshot, object] | None:
        """What was kept, and the note that was left with it."""
        return self._tails.get(identity)

    def keep(self, identity: bytes, seen: Snapshot, note: object) -> None:
        """Keep a tail, if it is not too much, in the place of what was there."""
        rows = seen.rows[-self.messages :] if self.messages else ()
        known, weight = self._tails.get(identity), 0
        if known is not None and known[0].rows is rows:  # as mostly: nothing was added
            weight = self._tails.weight_of(identity)
        if not weight:
            weight = _A_ROW * (1 + len(rows)) + sum([len(row.frame or b"") for row in rows])
            if len(rows) < len(seen.rows):
                seen = replace(seen, rows=rows, complete=False)
        self._tails.put(identity, (seen, note), weight)

    def drop(self, identity: bytes) -> None:
        """Forget one session."""
        self._tails.drop(identity)

    def forget(self) -> None:
        """Forget every session."""
        self._tails.clear()
