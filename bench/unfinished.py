"""How long it takes to find what was left unfinished, among a million conversations that were not.

make scale ARGS="--only unfinished"
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

from bench.place import a_place
from onrecord import ANY, Store

OPEN = 200
"""Conversations that wait for an answer, of twenty users."""
_ROW = """identity, owner, epoch, cut_epoch, head, messages, turns, tokens, created, last_active,
    active_period, tenant, "user", agent, key"""
_VALUES = """n % 100000, 0, 0, 2, 2, 1, 20, 1764000000000000 + n, 1764000000000000 + n,
    (1764000000000000 + n) / 512000000, '', 'u' || (n % 100000), '', 'k' || n"""
# As appends would leave them, and without their messages: nobody reads those here.
_SEED = {
    "sqlite": f"""
        WITH RECURSIVE numbers (n) AS (
            SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :count)
        INSERT INTO {{sessions}} ({_ROW}) SELECT randomblob(16), {_VALUES} FROM numbers""",
    "postgresql": f"""
        INSERT INTO {{sessions}} (shard, {_ROW})
        SELECT CAST(n % 100000 & 32767 AS SMALLINT), sha256(int8send(n)), {_VALUES}
        FROM generate_series(1, CAST(:count AS BIGINT)) AS numbers (n)""",
}


def main(small: bool) -> None:
    many = 10_000 if small else 1_000_000
    with a_place(quick=small) as place:
        new: dict[str, Callable[[], str]] = {
            "SQLite": lambda: f"sqlite:///{place.file('unfinished')}",
            "PostgreSQL": place.database,
        }
        for name, url in new.items():
            print(f"Unfinished conversations, {name}", flush=True)
            for count in (1_000, many):
                among(url(), count)


def among(url: str, count: int) -> None:
    """So many finished conversations, and the open ones found among them."""
    with Store(url) as store:
        store.migrate()
        seed = _SEED["postgresql" if url.startswith("postgresql") else "sqlite"]
        store._ledger.apart(lambda txn: txn.run(seed, {"count": count}))
        for n in range(OPEN):
            store.session(f"open-{n}", user=f"v{n % 20}").append(("user", f"Question {n}"))
        assert len(store.unfinished(user="v3")) == OPEN // 20
        one = took(lambda: store.unfinished(user="v3"))
        every = took(lambda: store.unfinished(user=ANY, limit=50))
        print(f"  among {count:,} finished ones: {one} for {OPEN // 20} of one user", end="")
        print(f", {every} for 50 of all", flush=True)


def took(work: Callable[[], Sequence[object]]) -> str:
    """The median and the 95th percentile of sixty times."""
    found = []
    for _ in range(60):
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    found.sort()
    return f"{statistics.median(found) * 1e3:.1f} ms (p95 {found[56] * 1e3:.1f})"
