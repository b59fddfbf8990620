"""Real processes, real servers, and a nemesis: see ``tests.torture``, which runs for longer."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from onrecord.testing import Log
from tests.forked import Template
from tests.servers.binaries import Binaries, Missing
from tests.servers.pgbouncer import OwnPgBouncer, find_pgbouncer
from tests.servers.postgres import OwnPostgres
from tests.torture import Caches, Consistency, Verdict, torture
from tests.torture.process import Process
from tests.torture.settings import ROOT, SHARED
from tests.torture.verdict import Judge


@pytest.fixture
def caches(redis_binaries: Binaries) -> Iterator[Caches]:
    """Two Redis servers, one of them in charge."""
    with closing(Caches(redis_binaries)) as pair:
        yield pair


@pytest.fixture
def pooler(own_postgres: OwnPostgres) -> Iterator[OwnPgBouncer | None]:
    """A pooler before the database, where PgBouncer is found: nobody needs it."""
    found = find_pgbouncer()
    if isinstance(found, Missing):
        yield None
        return
    with closing(OwnPgBouncer(found, own_postgres.url)) as pooler:
        yield pooler


@pytest.mark.slow
@pytest.mark.parametrize(("consistency", "parts"), [("cached", None), ("strict", 4)])
def test_under_torture_nothing_is_lost_and_nothing_is_stale(
    own_postgres: OwnPostgres,
    caches: Caches,
    pooler: OwnPgBouncer | None,
    consistency: Consistency,
    parts: int | None,
) -> None:
    """Over tables in one piece, and over partitions."""
    verdict = torture(
        own_postgres,
        caches,
        seconds=10,
        seed=1,
        consistency=consistency,
        pooler=pooler,
        parts=parts,
    )
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
    assert verdict.stops["in a loop"], str(verdict)
    assert sum(n for where, n in verdict.stops.items() if where.startswith("at a ")), str(verdict)
    # It proves nothing about a cache that was always there. (One that was never used is refused.)
    assert verdict.counters.fills, str(verdict)
    assert verdict.counters.degraded_reads, str(verdict)
    assert verdict.falls == 2, str(verdict)


@pytest.mark.slow
def test_writers_that_do_not_mark_are_found_out(own_postgres: OwnPostgres, caches: Caches) -> None:
    verdict = torture(own_postgres, caches, seconds=4, seed=1, faults=(), plant="mute")
    assert verdict.kinds["stale"], str(verdict)
    assert verdict.kinds["items stale"], str(verdict)


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


@pytest.mark.parametrize(
    ("consistency", "gets", "hits", "enough"),
    [
        ("cached", 200, 19, False),
        ("cached", 200, 20, True),
        ("cached", 9, 0, True),
        ("strict", 200, 0, True),
    ],
)
def test_a_run_with_too_few_hits_of_items_fails(
    tmp_path: Path, consistency: Consistency, gets: int, hits: int, enough: bool
) -> None:
    verdict = Verdict(1, 10, consistency, item_gets=gets, item_hits=hits)
    verdict.operations["tail reads"] = 100
    verdict.counters.hits = 50 + hits
    Judge(tmp_path, verdict, []).too_few_hits()
    assert (not verdict.violations) == enough, str(verdict)
    assert verdict.hits == 0.5


def test_a_worker_that_stopped_itself_ends_when_it_is_asked_to(tmp_path: Path) -> None:
    with closing(Template("tests.torture.worker")) as template:
        process = Process(template, tmp_path, 1)
        process.stand_still()
        process.stop()
        assert process.ended() == 0


@pytest.mark.parametrize(("shown", "status"), [("c", 0), ("b", 1)])
def test_logs_that_were_kept_are_judged_again(tmp_path: Path, shown: str, status: int) -> None:
    folder = tmp_path / "logs" / SHARED[0].encode().hex()
    folder.mkdir(parents=True)
    with Log(folder / "w1.jsonl") as worker, Log(folder / "nemesis.jsonl") as nemesis:
        worker.appending(["a"]).acknowledged([1])
        worker.appending(["b"]).acknowledged([2])
        nemesis.fell(time.monotonic_ns(), [(1, "a")])
        worker.appending(["c"]).acknowledged([2])
        worker.read(time.monotonic_ns(), [(1, "a"), (2, shown)], tail=5)
    (tmp_path / "w1.notes").write_text('{"counters": {"hits": 1}}\n')
    command = [sys.executable, "-m", "tests.torture", "--judge", str(tmp_path)]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == status, found.stderr
    assert "falls       1 of the database, which lost 1 acknowledged message" in found.stdout
    assert ("1 ghosts" in found.stdout) == bool(status), found.stdout
