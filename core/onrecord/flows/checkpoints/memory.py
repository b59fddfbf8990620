"""What a process remembers of checkpoints: bytes that never change, and where lines stood.

Nothing here is trusted without being asked for: items are called by an epoch that moves when
anything is taken away, and a line's head is compared in the transaction that adds to it.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, Final, Generic, NamedTuple, TypeVar

from onrecord.codec.items import Item
from onrecord.stored.checkpoints import Line, Refs

K = TypeVar("K")
V = TypeVar("V")

MOST_BYTES = 64 * 2**20
MOST_LINES = 4096


class LastSeen(NamedTuple):
    """Where a line stood when this process saw it last."""

    line: Line
    id: bytes
    """Of the newest checkpoint."""
    strands: dict[str, tuple[int, int]]
    """Of some list-valued channels: the strand, and the number of its last item."""
    second: int
    """When the thread was last said to be active."""
    expires_in: int | None = None
    """What the thread was last told to expire in, as far as this process knows."""


class Base(NamedTuple):
    """A checkpoint that others may continue from."""

    line: Line
    number: int
    refs: Refs


class Few(Generic[K, V]):
    """A dict that forgets what was used longest ago."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._start()
        _memories.add(self)

    def _start(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K) -> V | None:
        with self._lock:
            value = self._kept.get(key)
            if value is not None:
                self._kept.move_to_end(key)
            return value

    def put(self, key: K, value: V) -> None:
        with self._lock:
            self._kept[key] = value
            self._kept.move_to_end(key)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)

    def drop(self, key: K) -> None:
        with self._lock:
            self._kept.pop(key, None)


class Items:
    """Items by strand and number, bounded by their bytes: a strand goes as a whole."""

    def __init__(self, most: int = MOST_BYTES) -> None:
        self._most = most
        self._start()
        _memories.add(self)

    def _start(self) -> None:
        self._lock = threading.Lock()
        self._strands: OrderedDict[tuple[int, int], dict[int, Item]] = OrderedDict()
        self._sizes: dict[tuple[int, int], int] = {}
        self._size = 0

    def of(self, strand: int, epoch: int) -> dict[int, Item]:
        """What is known of a strand. Not to be changed."""
        with self._lock:
            found = self._strands.get((strand, epoch))
            if found is None:
                return {}
            self._strands.move_to_end((strand, epoch))
            return found

    def add(self, strand: int, epoch: int, items: Iterable[tuple[int, Item]]) -> None:
        """Remember more of a strand."""
        key = (strand, epoch)
        with self._lock:
            known = self._strands.setdefault(key, {})
            self._strands.move_to_end(key)
            grown = 0
            for number, item in items:
                if number not in known:
                    known[number] = item
                    grown += len(item[1]) + 100
            self._sizes[key] = self._sizes.get(key, 0) + grown
            self._size += grown
            while self._size > self._most and len(self._strands) > 1:
                oldest, _ = self._strands.popitem(last=False)
                self._size -= self._sizes.pop(oldest)
            if self._size > self._most:  # one list that is larger than all we may keep
                self._strands.clear()
                self._sizes.clear()
                self._size = 0


class ThreadMemory:
    """What a process remembers of the threads of one store."""

    def __init__(self) -> None:
        self.items = Items()
        self.held = Items()
        self.seen: Few[tuple[bytes, str], LastSeen] = Few(MOST_LINES)
        self.bases: Few[tuple[bytes, str, bytes], Base] = Few(MOST_LINES)
        self.labels: Few[bytes, tuple[bytes, int]] = Few(MOST_LINES)


_memories: Final[weakref.WeakSet[Few[Any, Any] | Items]] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    # Another thread of the parent may have held a lock, and is not here to let it go.
    for memory in _memories:
        memory._start()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
