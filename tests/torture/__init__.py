"""Writers and readers of sessions and items in PostgreSQL with Redis in front, both mistreated.

    python -m tests.torture --seconds 60 --seed 7 [--consistency cached|strict] [--keep FOLDER]
        [--parts 4]
    python -m tests.torture --judge FOLDER [--consistency cached|strict]

Every worker is a process of its own and writes down what it did and what it was told. A seeded
nemesis kills writers with SIGKILL (another takes the place), and stops workers for longer than
anybody waits, in the middle of a commit too. It pauses Redis, flushes it, restarts it empty or
with what it had long ago, fills its memory, flips bits in it, sets the clock by which it goes,
fails over to a replica that is behind, and cuts one writer off it. It drops SQL connections, and
lets the database come back without its newest commits: after a crash, or out of a copy. Event
loops are kept busy, and the time of day changes. Half of the workers reach the database through
PgBouncer in transaction mode, where it is found on the machine; nothing needs it. Afterwards the
checkers of histories say what no correct store would have answered: there must be nothing.

Nothing is excused but this: what the database itself has lost may be shown until something new is
acknowledged in that session, or of that item, and for REVALIDATE at most; in ``strict`` not at all.

Two things are not as they would be outside. Redis' own clock cannot be set: our scripts add to it
what the nemesis tells them to. And all processes have less patience with the cache (how long it
is believed in, how long a writer tries to reach it, how long it stays off), so that a short run
sees sessions become warm again between two faults.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

from onrecord import Store
from onrecord.testing import Log
from tests.servers.pgbouncer import OwnPgBouncer
from tests.servers.postgres import OwnPostgres
from tests.torture.caches import Caches
from tests.torture.item_log import ItemLog
from tests.torture.items import NAMESPACES, SHARED_ITEMS, all_items
from tests.torture.nemesis import FAULTS, Nemesis
from tests.torture.settings import IMPATIENT, REVALIDATE, SHARED, Consistency, Plant
from tests.torture.verdict import Judge, Verdict
from tests.torture.worker import pairs

__all__ = ["FAULTS", "Caches", "Consistency", "Verdict", "torture"]


def torture(
    database: OwnPostgres,
    caches: Caches,
    *,
    seconds: float,
    seed: int,
    consistency: Consistency = "cached",
    faults: Sequence[str] = FAULTS,
    plant: Plant | None = None,
    keep: Path | None = None,
    pooler: OwnPgBouncer | None = None,
    parts: int | None = None,
) -> Verdict:
    """Run on servers that may be mistreated, for so long, and until each fault was there once.

    Half of the workers go through the ``pooler``; the tables lie in so many ``parts``. ``plant`` is
    a bug to be found. What was written
    down of a run with violations is kept in the folder ``keep``.
    """
    url = database.create_database("torture")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "logs").mkdir()
        (folder / "items").mkdir()
        order = {"seed": seed, "consistency": consistency, "plant": plant}
        verdict = Verdict(seed, seconds, consistency, pooled=pooler is not None)
        with Store(url) as store:
            store.migrate()
            if parts is not None:
                store.distribute("partitions", parts=parts)
        for key in SHARED:
            (folder / "logs" / key.encode().hex()).mkdir()
        with Nemesis(folder, url, database, caches, order, pooler) as nemesis:
            nemesis.run(seconds, faults)
        verdict.deeds = nemesis.deeds
        verdict.violations += nemesis.wrong
        read_all(folder, url, caches.url, consistency)
        Judge(folder, verdict, nemesis.falls).judge()
        if keep is not None and verdict.violations:
            shutil.copytree(folder, keep)
        return verdict


def read_all(folder: Path, url: str, cache: str, consistency: Consistency) -> None:
    """Read everything for the last time, out of the database and out of the cache."""
    settings: Any = {"consistency": consistency, "revalidate": REVALIDATE}
    with (
        mock.patch("onrecord.flows.belief.Patience", return_value=IMPATIENT),
        Store(url) as truth,
        Store(url, cache=cache, **settings) as cached,
        ItemLog(folder / "items" / "the last one.jsonl") as item_log,
    ):
        _read_items(item_log, truth)
        for path in list((folder / "logs").iterdir()):
            key = bytes.fromhex(path.name).decode()
            with Log(path / "the last one.jsonl") as log:
                began = time.monotonic_ns()
                log.read(began, pairs(truth.session(key).messages()))
                began = time.monotonic_ns()
                log.read(began, pairs(cached.session(key).tail(50)), tail=50)
        for name in SHARED_ITEMS:
            began = time.monotonic_ns()
            item_log.got(began, {name: cached.items(name.namespace).get(name.key)})
        _read_items(item_log, truth)


def _read_items(log: ItemLog, truth: Store) -> None:
    began = time.monotonic_ns()
    log.got(began, dict(all_items(truth)), whole=NAMESPACES)
