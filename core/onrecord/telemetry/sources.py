"""What there is to count of each store, read when somebody collects metrics.

The counts are kept by the stores anyway, whether anybody reads them or not. A store that is gone
leaves its counts behind, since a counter that falls would look like a restart.
"""

from __future__ import annotations

import itertools
import threading
import weakref
from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from onrecord.processes import on_fork

if TYPE_CHECKING:
    from onrecord.cache.cache import Cache
    from onrecord.ledger.ledger import Ledger

Attributes = Mapping[str, str | int]
Place = tuple[tuple[str, str | int], ...]
"""Attributes, as the key of a dict."""


class Source:
    """The counts of one store. It holds what counts, and not the store."""

    def __init__(self, ledger: Ledger, cache: Cache) -> None:
        self._address = ledger.address
        self._schema = ledger.options.schema
        self._counters = cache.counters
        self._tally = ledger.tally
        self._ledger = weakref.ref(ledger)
        self._cache = weakref.ref(cache)
        self.unindexed: int | None = None
        """Messages that the index did not have when it was last asked; None before."""

    @cached_property
    def place(self) -> Place:
        """Where the store is, as the semantic conventions for databases say it."""
        url = self._address.url
        found: dict[str, str | int] = {"db.system.name": self._address.kind}
        database = url.database or ""
        if url.hosts:
            found["server.address"] = ",".join(map(str, url.hosts))
        elif url.host:
            found["server.address"] = url.host
            if url.port:
                found["server.port"] = url.port
        elif database:  # of a file its name: a folder may be called after a person
            database = database.replace("\\", "/").rpartition("/")[2]
        if database:
            found["db.namespace"] = f"{database}|{self._schema}" if self._schema else database
        return tuple(found.items())

    @cached_property
    def about(self) -> Attributes:
        """The same, as attributes."""
        return dict(self.place)

    def totals(self) -> dict[str, float]:
        """Counts that only grow."""
        cache, tally = self._counters, self._tally
        return {
            "hit": cache.hits,
            "miss": cache.misses,
            "degraded": cache.degraded_reads,
            "filled": cache.fills,
            "refused": cache.refused_fills,
            "validations": cache.validations,
            "openings": cache.openings,
            "disagreed": cache.disagreed,
            "commits": tally.commits,
            "committed": tally.committed,
            "pool_waits": tally.pool_waits,
            "pool_wait_seconds": tally.pool_wait_seconds,
            "reconnects": tally.reconnects,
        }

    def levels(self) -> dict[str, float]:
        """What rises and falls; nothing of a store that is closed, or gone."""
        ledger, cache = self._ledger(), self._cache()
        if ledger is None or cache is None or ledger.closed:
            return {}
        pool = ledger.pool_status()
        found: dict[str, float] = {"in_use": pool.in_use, "size": pool.size}
        if cache.where is not None:
            found["breaker"] = int(cache.left_alone)
        if self.unindexed is not None:
            found["unindexed"] = self.unindexed
        return found


# A dict and not a WeakSet: listing its values is one step, whatever other threads do meanwhile.
_here: Final[dict[int, Source]] = {}
_gone: Final[list[Source]] = []
_left: Final[dict[Place, Counter[str]]] = {}
"""What stores that are gone have counted, by where they were."""
_numbers: Final = itertools.count()


class _Turns:
    """One lock, made anew in a child after fork."""

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def renew(self) -> None:
        self.lock = threading.Lock()


_turns: Final = _Turns()
on_fork(_turns, in_child=_Turns.renew)


def enter(source: Source, ledger: Any) -> None:
    """Count a store in for as long as it lives, and what it has counted for good."""
    number = next(_numbers)

    def leave() -> None:  # whenever the collector likes, in any thread: it takes no lock
        _gone.append(_here.pop(number))

    weakref.finalize(ledger, leave).atexit = False
    _here[number] = source


def totals() -> dict[Place, Counter[str]]:
    """What all stores of this process have counted, together where they are in one place."""
    with _turns.lock:
        while _gone:
            source = _gone.pop()
            _left.setdefault(source.place, Counter()).update(source.totals())
        found = {place: counts.copy() for place, counts in _left.items()}
        for source in list(_here.values()):
            found.setdefault(source.place, Counter()).update(source.totals())
    return found


def levels() -> dict[Place, Counter[str]]:
    """How it is with the stores of this process now."""
    found: dict[Place, Counter[str]] = {}
    for source in list(_here.values()):
        found.setdefault(source.place, Counter()).update(source.levels())
    return found
