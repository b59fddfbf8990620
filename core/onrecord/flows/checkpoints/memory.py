"""What a process remembers of checkpoints: bytes that never change, and where logs stood.

Nothing here is trusted without being asked for: items are called by an epoch that moves when
anything is taken away, and a log's head is compared in the transaction that adds to it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from onrecord.cache.bounded import Bounded
from onrecord.codec.items import Item
from onrecord.stored.checkpoints import NamespaceLog, Refs

MOST_BYTES = 64 * 2**20
MOST_LINES = 4096


class LastSeen(NamedTuple):
    """Where a log stood when this process saw it last."""

    namespace_log: NamespaceLog
    id: bytes
    """Of the newest checkpoint."""
    lists: dict[str, tuple[int, int]]
    """Of some channel lists: the number of each, and that of its last item."""
    second: int
    """When the thread was last said to be active."""
    expires_in: int | None = None
    """What the thread was last told to expire in, as far as this process knows."""


class Base(NamedTuple):
    """A checkpoint that others may continue from."""

    namespace_log: NamespaceLog
    number: int
    refs: Refs


class Items:
    """Items by what they belong to, a channel list or a namespace log, and by number; bounded by
    their bytes, and what belongs together goes together."""

    def __init__(self, most: int = MOST_BYTES) -> None:
        self._items: Bounded[tuple[int, int], dict[int, Item]] = Bounded(most)

    def of(self, owner: int, epoch: int) -> dict[int, Item]:
        """The items of one that are known. Not to be changed."""
        return self._items.use((owner, epoch)) or {}

    def add(self, owner: int, epoch: int, items: Iterable[tuple[int, Item]]) -> None:
        """Remember more of them."""

        def grown(found: dict[int, Item] | None, weight: int) -> tuple[dict[int, Item], int]:
            known = {} if found is None else found
            for number, item in items:
                if number not in known:
                    known[number] = item
                    weight += len(item[1]) + 100
            return known, weight

        self._items.update((owner, epoch), grown)


class ThreadMemory:
    """What a process remembers of the threads of one store."""

    def __init__(self) -> None:
        self.items = Items()
        """By channel list."""
        self.values = Items()
        """Of channels that are no lists: by namespace log."""
        self.seen: Bounded[tuple[bytes, str], LastSeen] = Bounded(MOST_LINES)
        self.bases: Bounded[tuple[bytes, str, bytes], Base] = Bounded(MOST_LINES)
        self.labels: Bounded[bytes, tuple[bytes, int]] = Bounded(MOST_LINES)
