"""The metrics: which there are, and what each says. docs/how-to/observe.md has the same table."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any, Final, Literal, NamedTuple

from onrecord import __version__
from onrecord.processes import on_fork
from onrecord.telemetry import sources
from onrecord.telemetry.sources import Place


class Metric(NamedTuple):
    """One metric."""

    kind: Literal["histogram", "counter", "total", "level"]
    """A total is a counter that is read when somebody collects, and a level rises and falls."""
    unit: str
    what: str
    reads: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = ()
    """Of a total or a level: the counts of a source, each with attributes of its own."""


def _by(attribute: str, **values: str) -> tuple[tuple[str, tuple[tuple[str, str], ...]], ...]:
    return tuple((count, ((attribute, value),)) for value, count in values.items())


def _one(count: str) -> tuple[tuple[str, tuple[tuple[str, str], ...]], ...]:
    return ((count, ()),)


METRICS: Final[dict[str, Metric]] = {
    "onrecord.operation.duration": Metric("histogram", "s", "How long operations took."),
    "onrecord.step.duration": Metric(
        "histogram", "s", "How long the steps of operations took, by kind."
    ),
    "onrecord.search.unindexed": Metric(
        "histogram", "{message}", "Places that a search found missing in the index."
    ),
    "onrecord.messages.added": Metric("counter", "{message}", "Messages that were written."),
    "onrecord.io.read": Metric("counter", "By", "Stored bytes that steps have read."),
    "onrecord.io.written": Metric("counter", "By", "Stored bytes that steps have written."),
    "onrecord.retries": Metric(
        "counter", "{retry}", "Steps in SQL that failed, after which the operation tried again."
    ),
    "onrecord.outcomes.unknown": Metric(
        "counter", "{operation}", "Writes of which is not known whether they were committed."
    ),
    "onrecord.turns.fenced": Metric(
        "counter", "{operation}", "Writes of turns that held their session no longer."
    ),
    "onrecord.cache.reads": Metric(
        "total",
        "{read}",
        "Reads: answered by the cache, by the database, or by it because the cache failed.",
        _by("onrecord.cache.result", hit="hit", miss="miss", degraded="degraded"),
    ),
    "onrecord.cache.fills": Metric(
        "total",
        "{fill}",
        "Entries that readers brought into the cache, and those that writers forestalled.",
        _by("onrecord.cache.result", filled="filled", refused="refused"),
    ),
    "onrecord.cache.validations": Metric(
        "total", "{read}", "Entries compared with the database, being due.", _one("validations")
    ),
    "onrecord.cache.disagreed": Metric(
        "total", "{read}", "Samples that differed from the database: a bug.", _one("disagreed")
    ),
    "onrecord.cache.breaker.openings": Metric(
        "total", "{opening}", "How often the cache was left alone after failures.", _one("openings")
    ),
    "onrecord.cache.breaker.open": Metric(
        "level", "{store}", "Stores that leave their cache alone now.", _one("breaker")
    ),
    "onrecord.commits": Metric(
        "total", "{commit}", "Commits to SQLite, of one write or of several.", _one("commits")
    ),
    "onrecord.commits.writes": Metric(
        "total", "{write}", "Writes that these commits took along.", _one("committed")
    ),
    "onrecord.pool.in_use": Metric(
        "level", "{connection}", "Connections in use now.", _one("in_use")
    ),
    "onrecord.pool.size": Metric(
        "level", "{connection}", "Connections that there may be.", _one("size")
    ),
    "onrecord.pool.waits": Metric(
        "total", "{wait}", "Steps that waited for a free connection.", _one("pool_waits")
    ),
    "onrecord.pool.wait_time": Metric(
        "total", "s", "Seconds that they waited.", _one("pool_wait_seconds")
    ),
    "onrecord.pool.reconnects": Metric(
        "total", "{step}", "Steps done again on a new connection.", _one("reconnects")
    ),
    "onrecord.index.lag": Metric(
        "level",
        "{message}",
        "Messages that the index did not have when stats() or index() last looked at all.",
        _one("unindexed"),
    ),
}

_SECONDS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25)
_BOUNDARIES: Final = {"s": (*_SECONDS, 0.5, 1.0, 2.5, 5.0, 10.0), "{message}": (0, 16, 128, 1_024)}
"""The usual ones begin at 5, which says nothing of seconds."""


class Instruments:
    """The metrics as one provider of meters has them."""

    def __init__(self, provider: Any) -> None:
        meter = provider.get_meter("onrecord", __version__)
        self._made: dict[str, Any] = {}
        for name, metric in METRICS.items():
            about = {"unit": metric.unit, "description": metric.what}
            match metric.kind:
                case "histogram":
                    self._made[name] = _histogram(meter, name, about, metric.unit)
                case "counter":
                    self._made[name] = meter.create_counter(name, **about)
                case "total":
                    read = [_reader(metric, sources.totals)]
                    meter.create_observable_counter(name, read, **about)
                case "level":
                    read = [_reader(metric, sources.levels)]
                    meter.create_observable_up_down_counter(name, read, **about)

    def record(self, name: str, value: float, attributes: dict[str, Any]) -> None:
        """Put a value into a histogram."""
        self._made[name].record(value, attributes)

    def add(self, name: str, value: float, attributes: dict[str, Any]) -> None:
        """Add to a counter."""
        if value:
            self._made[name].add(value, attributes)


def _histogram(meter: Any, name: str, about: dict[str, str], unit: str) -> Any:
    boundaries = _BOUNDARIES[unit]
    try:
        return meter.create_histogram(name, **about, explicit_bucket_boundaries_advisory=boundaries)
    except TypeError:  # of a version that knows no advice
        return meter.create_histogram(name, **about)


def _reader(metric: Metric, read: Callable[[], dict[Place, Any]]) -> Callable[[Any], Iterator[Any]]:
    def reader(_: Any) -> Iterator[Any]:
        from opentelemetry.metrics import Observation

        for place, counts in read().items():
            for count, more in metric.reads:
                if count in counts:
                    yield Observation(counts[count], {**dict(place), **dict(more)})

    return reader


class _Kept:
    """The instruments of this process: made once for each provider, and there is one."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.made: tuple[Any, Instruments] | None = None

    def renew(self) -> None:
        """In a child after fork."""
        self.lock = threading.Lock()


_kept: Final = _Kept()
on_fork(_kept, in_child=_Kept.renew)


def instruments_of(provider: Any) -> Instruments:
    """The instruments of a provider."""
    made = _kept.made
    if made is None or made[0] is not provider:
        with _kept.lock:  # twice made, they would count everything twice
            made = _kept.made
            if made is None or made[0] is not provider:
                made = _kept.made = (provider, Instruments(provider))
    return made[1]
