"""Who is measured, how often, and what comes of it.

A row is one job, done by us, by peers and by the least that could be correct (a limit). All take
turns, round by round, so that a slow minute of the machine meets all of them; what is compared is
the ratio within a round, and how far it spreads. The garbage collector stays on.
"""

from __future__ import annotations

import gc
import inspect
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

Work = Callable[[], Any]


class Kind(StrEnum):
    """What somebody in a row is there for."""

    OURS = "ours"
    PEER = "peer"
    LIMIT = "limit"
    SHOWN = "shown"
    """For comparison alone: it promises less, or does another job."""


class Contender(NamedTuple):
    """Somebody who does a row's job, once for each call."""

    name: str
    kind: Kind
    work: Work
    beside: str = ""
    """Which of ours it is compared with; the first, if it does not say."""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody took."""

    name: str
    kind: Kind
    values: tuple[float, ...]
    """One for each round: seconds, bytes, or whatever the row's unit says."""
    beside: str = ""
    """Which of ours it is compared with; the first, if it does not say."""

    @property
    def median(self) -> float:
        return statistics.median(self.values)


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What a row has to show: ours at most, or a peer at least, so many times the other."""

    text: str
    ours: str
    """Who of ours is held to it."""
    beside: tuple[str, ...]
    """Beside whom: of several the best counts. Empty: the value alone."""
    at_least: float | None = None
    """So many times better than they are."""
    at_most: float | None = None
    """At most so many times what they take; or, beside nobody, at most this value."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One job, and all who did it."""

    name: str
    """Short, for files and for ``--only``."""
    title: str
    settings: str
    """Sizes, synchronous levels, whatever would change the numbers."""
    unit: str
    """``seconds``, ``bytes``, ``per second``, ``per cent`` (of less the better) or ``times``."""
    found: tuple[Found, ...]
    wanted: tuple[Wanted, ...] = ()
    notes: tuple[str, ...] = ()
    series: dict[str, tuple[tuple[float, float], ...]] = {}
    """How it grows, by name: of each point where it was measured, and what it was there."""

    @property
    def more_is_better(self) -> bool:
        return self.unit == "per second"

    def of(self, name: str) -> Found:
        """What somebody took, by name."""
        return next(found for found in self.found if found.name == name)

    def compared_with(self, found: Found) -> str:
        """Which of ours somebody is compared with."""
        first = next(one.name for one in self.found if one.kind is Kind.OURS)
        return found.beside or first

    def ratio(self, name: str, beside: str) -> tuple[float, float, float] | None:
        """How many times what another takes one takes: the median over rounds, and the quarter
        of the rounds on each side of which it is.

        None if there is no round to compare: a process may not grow at all, or shrink.
        """
        ours, theirs = self.of(name).values, self.of(beside).values
        if len(ours) != len(theirs):
            ours, theirs = (statistics.median(ours),), (statistics.median(theirs),)
        ratios = [a / b for a, b in zip(ours, theirs, strict=True) if a > 0 and b > 0]
        if not ratios:
            return None
        if len(ratios) < 2:
            return ratios[0], ratios[0], ratios[0]
        low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
        return middle, low, high

    def outcome(self, wanted: Wanted) -> tuple[float | None, bool]:
        """What came of it, and whether that is enough: None is not, for what cannot be compared
        with everybody shows nothing."""
        if not wanted.beside:
            value = self.of(wanted.ours).median
            assert wanted.at_most is not None
            return value, value <= wanted.at_most
        ratios = []
        for name in wanted.beside:
            compared = self.ratio(wanted.ours, name)
            if compared is None:
                return None, False
            ratios.append(1 / compared[0] if self.more_is_better else compared[0])
        worst = max(ratios)  # beside the best of them
        if wanted.at_least is not None:
            return 1 / worst, 1 / worst >= wanted.at_least
        assert wanted.at_most is not None
        return worst, worst <= wanted.at_most


def timed(
    rounds: int, contenders: Sequence[Contender], *, calls: int = 1, settled: bool = False
) -> tuple[Found, ...]:
    """Seconds that a call takes, each contender once a round, after one round that does not count.

    ``calls`` makes a round of so many calls, of which the median counts: for what takes
    microseconds. With ``settled`` garbage is collected before each, so that what one left is not
    another's to clear away: for what makes a lot of it.
    """
    times: list[list[float]] = [[] for _ in contenders]
    for number in range(rounds + 1):
        for contender, taken in zip(contenders, times, strict=True):
            if settled:
                gc.collect()
            each = [_seconds(contender.work) for _ in range(calls)]
            if number:
                taken.append(statistics.median(each))
    return _found(contenders, times)


async def atimed(
    rounds: int, contenders: Sequence[Contender], *, calls: int = 1, settled: bool = False
) -> tuple[Found, ...]:
    """Like ``timed``, where some of what is called has to be awaited."""
    times: list[list[float]] = [[] for _ in contenders]
    for number in range(rounds + 1):
        for contender, taken in zip(contenders, times, strict=True):
            if settled:
                gc.collect()
            each = [await _aseconds(contender.work) for _ in range(calls)]
            if number:
                taken.append(statistics.median(each))
    return _found(contenders, times)


def per_second(found: Sequence[Found], done: int) -> tuple[Found, ...]:
    """What each did in a second, where a call did so much."""
    return tuple(replace(one, values=tuple(done / s for s in one.values)) for one in found)


def _found(contenders: Sequence[Contender], times: Sequence[Sequence[float]]) -> tuple[Found, ...]:
    return tuple(
        Found(name=one.name, kind=one.kind, values=tuple(taken), beside=one.beside)
        for one, taken in zip(contenders, times, strict=True)
    )


def _seconds(work: Work) -> float:
    start = time.perf_counter()
    kept = work()
    taken = time.perf_counter() - start
    del kept  # not while the clock runs
    return taken


async def _aseconds(work: Work) -> float:
    start = time.perf_counter()
    kept = work()
    if inspect.isawaitable(kept):
        kept = await _awaited(kept)
    taken = time.perf_counter() - start
    del kept
    return taken


async def _awaited(given: Awaitable[Any]) -> Any:
    return await given
