"""A store whose waits turn a clock: what would take seconds takes none, and is counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from onrecord import Store
from onrecord.cache.breaker import Breaker
from onrecord.cache.redis import RedisCache
from onrecord.flow import Hot, Pause
from onrecord.flows.belief import Belief

PAUSE = 1.0
"""For how long a breaker stays open, on that clock."""


class Clock:
    """Seconds that pass when somebody says so. One for all stores of a test."""

    def __init__(self, now: float = 1_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Turned:
    """Beliefs, breaker and pauses of one store on a clock of the test's."""

    def __init__(self, store: Store, clock: Clock | None = None) -> None:
        self.store = store
        self.clock = clock or Clock()
        self.paused = 0.0
        """For how many seconds of that clock this store has waited."""
        self.hot = 0
        """How many steps it has taken that were the cache's."""
        belief = store._belief
        assert not belief.known, "a store that has read the other clock cannot change to this one"
        belief.clock = self.clock
        self.cache.breaker = Breaker(PAUSE, clock=self.clock)
        perform, aperform = store._perform, store._aperform

        def turning(step: Any) -> Any:
            return None if self._turns(step) else perform(step)

        async def aturning(step: Any) -> Any:
            return None if self._turns(step) else await aperform(step)

        store._perform = turning  # type: ignore[method-assign]
        store._aperform = aturning  # type: ignore[method-assign]

    @property
    def cache(self) -> RedisCache:
        cache = self.store._hot
        assert isinstance(cache, RedisCache)
        return cache

    @property
    def belief(self) -> Belief:
        return self.store._belief

    def since(self) -> float:
        """For how long it has waited since this was last asked."""
        paused, self.paused = self.paused, 0.0
        return paused

    def _turns(self, step: Any) -> bool:
        self.hot += isinstance(step, Hot)
        if not isinstance(step, Pause):
            return False
        self.clock.now += step.seconds
        self.paused += step.seconds
        return True


class CutOff:
    """Takes the way to Redis from one store, while others reach it."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._patch = patch

    def __call__(self, store: Store) -> Callable[[], None]:
        """Cut it off; what is given back lets it through again."""
        cache = store._hot
        assert isinstance(cache, RedisCache)
        clients = cache._clients
        ways = clients.sync, clients.asynchronous

        def nowhere() -> Any:
            raise ConnectionError("cut off by the test")

        async def nowhere_either() -> Any:
            raise ConnectionError("cut off by the test")

        self._patch.setattr(clients, "sync", nowhere)
        self._patch.setattr(clients, "asynchronous", nowhere_either)

        def again() -> None:
            self._patch.setattr(clients, "sync", ways[0])
            self._patch.setattr(clients, "asynchronous", ways[1])

        return again


def hits(store: Store, read: Callable[[], object], most: int = 10) -> int:
    """How many reads it takes until one is a hit; fails where none is."""
    before = store._hot.counters.hits
    for n in range(1, most + 1):
        read()
        if store._hot.counters.hits > before:
            return n
    raise AssertionError(f"{most} reads, and the cache never answered")
