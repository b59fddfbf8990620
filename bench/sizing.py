"""What one more session, and one more message, takes: for docs/how-to/sizing.md.

    .venv/bin/python -m bench.sizing

A store with as many sessions of 2 messages as another has of 12: the difference is ten messages
a session, and what is left is the session's own. Bytes are whole files of SQLite, tables with
their indexes on PostgreSQL, and MEMORY USAGE in Redis. The messages are those of bench/size.py.
Servers are started from the binaries that the tests use; what is not found is left out.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg
import redis

from bench.data import conversations
from onrecord import Store
from tests.servers.binaries import Missing
from tests.servers.postgres import OwnPostgres, find_postgres_binaries
from tests.servers.redis import OwnRedis, find_redis_binaries

SESSIONS = 1_000
FEW, MANY = 2, 12

Size = Callable[[], int]


def texts() -> tuple[str, list[str]]:
    origin, found = conversations()
    said = [str(m["content"]) for one in found for m in one if m.get("content")]
    return origin, [text.replace("\0", "") for text in said]


def written(store: Store, said: list[str], messages: int) -> None:
    chance = random.Random(messages)
    for n in range(SESSIONS):
        store.session(f"conversation-{n}", user=f"user-{n % 200}").append(
            [("assistant" if i % 2 else "user", chance.choice(said)) for i in range(messages)]
        )


@contextmanager
def sqlite(folder: Path) -> Iterator[Callable[[int], tuple[str, Size]]]:
    def made(messages: int) -> tuple[str, Size]:
        file = folder / f"{messages}.db"
        return f"sqlite:///{file}", lambda: sum(
            found.stat().st_size for found in folder.glob(f"{messages}.db*")
        )

    yield made


@contextmanager
def postgres(server: OwnPostgres) -> Iterator[Callable[[int], tuple[str, Size]]]:
    def made(messages: int) -> tuple[str, Size]:
        url = server.create_database(str(messages))

        def size() -> int:
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("CHECKPOINT")
                [(found,)] = connection.execute(
                    "SELECT sum(pg_total_relation_size(oid)) FROM pg_class "
                    "WHERE relkind = 'r' AND relname LIKE 'onrecord%'"
                ).fetchall()
            return int(found)

        return url, size

    yield made


def grown(made: Callable[[int], tuple[str, Size]], said: list[str]) -> None:
    """What a message and a session take as they come, indexed, and compacted."""
    after: dict[str, dict[int, int]] = {"as they come": {}, "with the index": {}, "compacted": {}}
    empty = 0
    for messages in (FEW, MANY):
        url, size = made(messages)
        with Store(url, durability="normal" if url.startswith("sqlite") else "full") as store:
            store.migrate()
            store.compact()
            empty = size()
            written(store, said, messages)
            store.compact(quiet_for=1e6)  # seals nothing, and folds SQLite's log back
            after["as they come"][messages] = size()
            store.index()
            store.compact(quiet_for=1e6)
            after["with the index"][messages] = size()
            store.compact(quiet_for=0, again=True)
            after["compacted"][messages] = size()
    print(f"  empty: {empty:,} bytes")
    for state, sizes in after.items():
        a_message = (sizes[MANY] - sizes[FEW]) / (MANY - FEW) / SESSIONS
        a_session = (sizes[FEW] - empty) / SESSIONS - FEW * a_message
        print(f"  {state}: {a_message:,.0f} bytes a message, {a_session:,.0f} a session")


def in_redis(server: OwnRedis, said: list[str]) -> None:
    with (
        redis.Redis.from_url(server.url) as client,
        Store("sqlite://", cache=server.url) as store,
    ):
        for messages in (2, 12, 50):
            client.flushall()
            chance = random.Random(1)
            for n in range(100):
                chat = store.session(f"{messages}-{n}")
                chat.append([("user", chance.choice(said)) for _ in range(messages)])
            sizes = [int(client.memory_usage(key) or 0) for key in client.scan_iter()]
            print(f"  a session with {messages} messages: {sum(sizes) / len(sizes):,.0f} bytes")


def main() -> None:
    origin, said = texts()
    lengths = sorted(len(text.encode()) for text in said)
    print(
        f"{len(said):,} messages, {origin}: half of them shorter than "
        f"{lengths[len(lengths) // 2]} bytes, {sum(lengths) / len(lengths):,.0f} on average"
    )
    found_postgres, found_redis = find_postgres_binaries(), find_redis_binaries()
    print("SQLite")
    with tempfile.TemporaryDirectory() as folder, sqlite(Path(folder)) as made:
        grown(made, said)
    if not isinstance(found_postgres, Missing):
        print("PostgreSQL")
        with closing(OwnPostgres(found_postgres)) as server, postgres(server) as made:
            grown(made, said)
    if not isinstance(found_redis, Missing):
        print("Redis")
        with closing(OwnRedis(found_redis)) as cache:
            in_redis(cache, said)


if __name__ == "__main__":
    main()
