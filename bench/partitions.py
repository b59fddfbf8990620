"""What partitions cost: an append, a tail and a list over everybody, on 1, 4, 16 and 64 of them.

    python -m bench.partitions [--sessions 20000] [--rounds 60]

Each round asks all of them, one after the other, so that whatever else the machine does meets all;
what is printed is the median of each. A list is merged out of an index of each partition: the plan
is looked at too.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import time
from collections.abc import Callable, Iterator

import psycopg

from onrecord import ANY, Store
from tests.servers.binaries import Missing
from tests.servers.postgres import OwnPostgres, find_postgres_binaries

PARTS = (1, 4, 16, 64)


def main() -> None:
    """Measure, and print a row for each number of partitions."""
    parser = argparse.ArgumentParser(prog="python -m bench.partitions", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--sessions", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=60)
    given = parser.parse_args()
    found = find_postgres_binaries()
    if isinstance(found, Missing):
        raise SystemExit(f"a server is missing: {found.reason}")
    with contextlib.closing(OwnPostgres(found)) as server, contextlib.ExitStack() as stack:
        url = server.create_database("partitions")
        stores = {}
        for parts in PARTS:
            store = stores[parts] = stack.enter_context(Store(url, schema=f"in_{parts}"))
            store.distribute(parts=parts)
            fill(url, f"in_{parts}", given.sessions)
        seconds: dict[tuple[str, int], list[float]] = {}
        for n in range(given.rounds):
            for parts, store in stores.items():
                for what, took in asked(store, n):
                    seconds.setdefault((what, parts), []).append(took)
        print("| partitions | " + " | ".join(dict.fromkeys(what for what, _ in seconds)) + " |")
        for parts in PARTS:
            medians = [
                f"{statistics.median(took) * 1000:.2f} ms"
                for (_, of), took in seconds.items()
                if of == parts
            ]
            print(f"| {parts} | " + " | ".join(medians) + " |")
        for parts in PARTS:
            print(f"{parts}: {plan(url, f'in_{parts}')}")


def fill(url: str, schema: str, sessions: int) -> None:
    """Make sessions of many users by the server's own means."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            f"INSERT INTO {schema}.onrecord_sessions (shard, identity, owner, epoch, cut_epoch, "
            'head, messages, turns, tokens, created, last_active, active_second, tenant, "user", '
            "agent, key) SELECT CAST(n % 32768 AS SMALLINT), decode(md5(n::text), 'hex'), n, "
            "0, 0, 0, 0, 0, 0, n * 1000000::bigint, n * 1000000::bigint, n, '', 'user ' || n, '', "
            f"'s' FROM generate_series(1, {sessions}) AS n"
        )
        connection.execute("ANALYZE")


def asked(store: Store, n: int) -> Iterator[tuple[str, float]]:
    """What one round asks of one store."""
    session = store.session("s", user=f"bench {n % 7}")
    everybody: dict[str, Callable[[], object]] = {
        "append": lambda: session.append(("user", f"message {n}")),
        "tail(20)": lambda: session.tail(20),
        "sessions() of one user": lambda: store.sessions(user=f"bench {n % 7}"),
        "sessions() of everybody": lambda: store.sessions(tenant=ANY, user=ANY, agent=ANY),
    }
    for what, do in everybody.items():
        began = time.perf_counter()
        do()
        yield what, time.perf_counter() - began


def plan(url: str, schema: str) -> str:
    """How the server lists the newest sessions of everybody."""
    with psycopg.connect(url) as connection:
        connection.execute("SET enable_sort = off")
        ((found,),) = connection.execute(
            f"EXPLAIN (FORMAT JSON) SELECT id FROM {schema}.onrecord_sessions "
            "ORDER BY active_second DESC, id DESC LIMIT 50"
        ).fetchall()
    text = json.dumps(found)
    merged = "merged, " if '"Merge Append"' in text else ""
    return f"{merged}{text.count('Index Scan') + text.count('Index Only Scan')} index scans"


if __name__ == "__main__":
    main()
