"""Real processes, real servers, and a nemesis: see ``tests.torture``, which runs for longer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.servers.binaries import Binaries
from tests.servers.postgres import OwnPostgres
from tests.torture import Caches, Consistency, Verdict, torture
from tests.torture.verdict import Judge


@pytest.fixture
def caches(redis_binaries: Binaries) -> Iterator[Caches]:
    """Two Redis servers, one of them in charge."""
    with closing(Caches(redis_binaries)) as pair:
        yield pair


@pytest.mark.slow
@pytest.mark.parametrize("consistency", ["cached", "strict"])
def test_under_torture_nothing_is_lost_and_nothing_is_stale(
    own_postgres: OwnPostgres, caches: Caches, consistency: Consistency
) -> None:
    verdict = torture(own_postgres, caches, seconds=10, seed=1, consistency=consistency)
    assert verdict.violations == [], str(verdict)
    deeds = " ".join(what for _, what in verdict.deeds)
    for deed in (
        "kill -9",
        "stop",
        "pause",
        "flush",
        "restart",
        "fill",
        "flipped",
        "clock",
        "fail over",
        "cut",
        "drop",
        "crash",
        "restore",
    ):
        assert deed in deeds, str(verdict)
    # It proves nothing about a cache that was always there. (One that was never used is refused.)
    assert verdict.counters.fills, str(verdict)
    assert verdict.counters.degraded_reads, str(verdict)
    assert verdict.falls == 2, str(verdict)


@pytest.mark.slow
def test_writers_that_do_not_mark_are_found_out(own_postgres: OwnPostgres, caches: Caches) -> None:
    verdict = torture(own_postgres, caches, seconds=4, seed=1, faults=(), plant="mute")
    assert verdict.kinds["stale"], str(verdict)


@pytest.mark.slow
def test_caches_that_keep_what_the_database_lost_are_found_out(
    own_postgres: OwnPostgres, caches: Caches
) -> None:
    falls = ("restore", "crash")
    verdict = torture(own_postgres, caches, seconds=6, seed=1, faults=falls, plant="further")
    assert verdict.kinds["ghost"], str(verdict)


@pytest.mark.parametrize(("hits", "enough"), [(0, False), (9, False), (10, True)])
def test_a_run_with_too_few_hits_fails(tmp_path: Path, hits: int, enough: bool) -> None:
    verdict = Verdict(1, 10, "strict")
    verdict.operations["tail reads"] = 100
    verdict.counters.hits = hits
    Judge(tmp_path, verdict, []).too_few_hits()
    assert (not verdict.violations) == enough, str(verdict)
