"""Real processes, real servers, and a nemesis: see ``tests.torture``, which runs for longer."""

from __future__ import annotations

import pytest

from tests.servers.redis import OwnRedis
from tests.torture import Consistency, torture


@pytest.mark.slow
@pytest.mark.parametrize("consistency", ["cached", "strict"])
def test_under_torture_nothing_is_lost_and_nothing_is_stale(
    postgres_url: str, own_redis: OwnRedis, consistency: Consistency
) -> None:
    verdict = torture(postgres_url, own_redis, seconds=10, seed=1, consistency=consistency)
    assert verdict.violations == [], str(verdict)
    deeds = " ".join(what for _, what in verdict.deeds)
    for deed in ("kill -9", "pause", "flush", "restart", "fill", "drop", "cut"):
        assert deed in deeds, str(verdict)
    # It proves nothing about a cache that was never used, or always there.
    assert verdict.counters.hits, str(verdict)
    assert verdict.counters.fills, str(verdict)
    assert verdict.counters.degraded_reads, str(verdict)


@pytest.mark.slow
def test_writers_that_do_not_mark_are_found_out(postgres_url: str, own_redis: OwnRedis) -> None:
    verdict = torture(postgres_url, own_redis, seconds=4, seed=1, faults=(), plant="mute")
    assert verdict.kinds["stale"], str(verdict)
