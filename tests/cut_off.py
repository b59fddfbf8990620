"""Operations that are cut off between two steps, or lose a reply, with a cache in front."""

from __future__ import annotations

import time
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from onrecord import OnrecordError, Store, Unavailable
from onrecord.cache import CacheUnavailable
from onrecord.cache.redis import RedisCache
from onrecord.cache.round_trips import Request, Several
from onrecord.cache.tails import Tails
from onrecord.flow import Cold, Flow, Hot, Step, run
from onrecord.flows.belief import Belief
from onrecord.flows.known import Sessions
from onrecord.flows.shared import Desk

Perform = Callable[[Step], Any]


class One(NamedTuple):
    """A process with a memory of its own."""

    desk: Desk
    perform: Perform
    cache: RedisCache

    def do(self, flow: Flow[Any]) -> Any:
        """A whole operation."""
        return run(flow, self.perform)


@dataclass(kw_only=True)
class Cut:
    """What became of an operation that was cut off."""

    acknowledged: bool = False
    told: list[str] = field(default_factory=list)


def named(step: Step) -> str:
    match step:
        case Hot():
            return "hot"
        case Cold(_, writes):
            return "commit" if writes else "SQL"
        case other:
            return type(other).__name__


def die_after(cut: Cut, flow: Flow[Any], one: One, k: int) -> bool:
    """Run k steps and drop the flow. False when it has no step k."""
    try:
        step = next(flow)
        for _ in range(k):
            cut.told.append(named(step))
            try:
                answer = one.perform(step)
            except Exception as fault:
                step = flow.throw(fault)
            else:
                step = flow.send(answer)
    except StopIteration:
        cut.acknowledged = True
        return False
    except OnrecordError:
        return False
    flow.close()
    return True


def lose_reply(cut: Cut, flow: Flow[Any], one: One, k: int) -> bool:
    """Run all of it, but let the reply of step k be lost. False when it has no step k."""
    number = 0

    def losing(step: Step) -> Any:
        nonlocal number
        number += 1
        cut.told.append(named(step))
        asks = isinstance(step, Cold) or (
            isinstance(step, Hot) and isinstance(step.call(one.cache), Request | Several)
        )
        answer = one.perform(step)
        if number - 1 == k and asks:
            cut.told.append("(lost)")
            if isinstance(step, Cold):
                raise Unavailable("lost", outcome_unknown=step.writes)
            raise CacheUnavailable("lost")
        return answer

    try:
        run(flow, losing)
        cut.acknowledged = True
    except OnrecordError:
        pass
    return number > k


HOW: Final[dict[str, Callable[..., bool]]] = {"dies": die_after, "loses": lose_reply}
MOST: Final = 60
"""No operation has more steps."""


class Servers:
    """Real servers, and processes that share them: each has a memory of its own."""

    def __init__(self, first: Store) -> None:
        shared = first._hot
        assert isinstance(shared, RedisCache)
        self._first, self._clients = first, shared._clients

    def process(self) -> One:
        """A process that knows nothing yet."""
        # What a process remembers is its cache and its flows; connections may be shared.
        first = self._first
        cache = RedisCache(
            self._clients,
            first._ledger.cache_id,
            messages=50,
            ttl=1800,
            revalidate=1e6,
            strict=False,
        )
        desk = copy(first._desk)
        desk.known, desk.openings = Sessions(), Tails(messages=1)
        desk.belief = Belief()

        def perform(step: Step) -> Any:
            if isinstance(step, Hot):
                first._ledger.open()
                return cache.exchange(step.call(cache))
            return first._perform(step)

        return One(desk, perform, cache)

    def mark(self, identity: bytes) -> None:
        """Mark an entry, as somebody who dies then."""
        cache = self.process().cache
        cache.exchange(cache.mark(identity, "dead", None, attempt=0, whatever=True))

    def wait(self) -> None:
        """Wait until the marks are due: then a reader may settle them."""
        # By Redis' clock, since it is Redis that says when a mark may be settled.
        client = self._clients.sync()
        began = client.time()
        until = began[0] + began[1] / 1e6 + 1.0
        while (now := client.time())[0] + now[1] / 1e6 <= until:
            time.sleep(0.05)
