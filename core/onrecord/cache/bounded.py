"""A memory that forgets the oldest when it is full, in any thread and in a forked child."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from onrecord.processes import on_fork

K = TypeVar("K")
V = TypeVar("V")


class Bounded(Generic[K, V]):
    """Values by key, of a bounded weight: the oldest are forgotten first.

    A value weighs 1 where nothing else is said: then ``most`` counts them. What alone weighs
    more than ``largest``, or ``most``, is not kept. ``None`` is no value. A forked child begins
    with nothing: another thread may have been in the middle of a change.
    """

    get: Callable[[K], V | None]
    """The value of a key, if there is one. It does not grow younger by that (``use``).

    The dict's own method, because it is asked with every read of a tail: 30 ns, and 70 through
    one of ours. A dict answers in one step, so this needs no lock."""

    def __init__(self, most: int, largest: int | None = None) -> None:
        self.most = most
        self.largest = largest
        self._start()
        on_fork(self, in_child=Bounded._start)

    def _start(self) -> None:
        self._lock = threading.Lock()
        self._entries: OrderedDict[K, V] = OrderedDict()
        self._weights: dict[K, int] = {}
        """Of those that do not weigh 1."""
        self._weight = 0
        self.get = self._entries.get

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def weight(self) -> int:
        """What all values weigh together."""
        return self._weight

    def weight_of(self, key: K) -> int:
        """What the value of a key weighs; 0 where there is none."""
        return self._weights.get(key, 1) if key in self._entries else 0

    def use(self, key: K) -> V | None:
        """The value of a key, if there is one, and from now on the youngest."""
        with self._lock:
            value = self._entries.get(key)
            if value is not None:
                self._entries.move_to_end(key)
            return value

    def put(self, key: K, value: V, weight: int = 1) -> None:
        """Keep a value, in the place of what was there, as the youngest."""
        with self._lock:
            self._put(key, value, weight, self.weight_of(key))

    def update(self, key: K, change: Callable[[V | None, int], tuple[V, int]]) -> V:
        """Keep what ``change`` makes of a value and its weight, and return it. Nobody else
        changes anything meanwhile: ``change`` must not come back here."""
        with self._lock:
            before = self.weight_of(key)
            value, weight = change(self._entries.get(key), before)
            self._put(key, value, weight, before)
            return value

    def drop(self, key: K) -> None:
        """Forget a value."""
        with self._lock:
            self._drop(key)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._entries.clear()
            self._weights.clear()
            self._weight = 0

    def _put(self, key: K, value: V, weight: int, before: int) -> None:
        if weight > (self.most if self.largest is None else self.largest):
            self._drop(key)
            return
        self._entries[key] = value
        self._entries.move_to_end(key)
        if weight != before or not before:
            if weight != 1:
                self._weights[key] = weight
            else:
                self._weights.pop(key, None)
            self._weight += weight - before
            while self._weight > self.most:
                oldest, _ = self._entries.popitem(last=False)
                self._weight -= self._weights.pop(oldest, 1)

    def _drop(self, key: K) -> None:
        if key in self._entries:
            del self._entries[key]
            self._weight -= self._weights.pop(key, 1)
