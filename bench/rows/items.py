"""Items beside LangGraph's stores: put and get, on SQLite, PostgreSQL and out of Redis; in a
namespace of a hundred thousand, and in one among a million; and what one costs in an append.

The limit is what the same costs bare: a statement that keeps the value under its key, or one that
brings it, and its decoding.
"""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
from collections.abc import Iterator
from functools import partial
from typing import Any, Final

import msgspec
import psycopg
import redis
from langgraph.store.postgres import PostgresStore
from langgraph.store.sqlite import SqliteStore

from bench.data import TEXT
from bench.measuring import Contender, Kind, Row, Wanted, Work, timed
from bench.place import Place
from onrecord import Items, Put, Store

_counts: Final = itertools.count()
OURS: Final = "Onrecord"
SQLITE: Final = "LangGraph SqliteStore"
POSTGRES: Final = "LangGraph PostgresStore"
BARE_SQLITE: Final = "bare sqlite3"
BARE_POSTGRES: Final = "bare psycopg, one statement"
BARE_REDIS: Final = "bare redis-py, GET and decoding"

_encode, _decode = msgspec.json.encode, msgspec.json.decode
_TABLE: Final = "CREATE TABLE bare (key TEXT PRIMARY KEY, value {} NOT NULL)"
_PUT: Final = """
    INSERT INTO bare VALUES ({0}, {0}) ON CONFLICT (key) DO UPDATE SET value = excluded.value"""
_GET: Final = "SELECT value FROM bare WHERE key = {}"
_KEYS: Final = 100


def value() -> dict[str, Any]:
    """Another one each time: SQLite writes nothing where a row stays as it is."""
    return {"text": TEXT, "kind": "fact", "n": next(_counts)}


def _keys() -> Iterator[str]:
    return itertools.cycle([f"fact-{n}" for n in range(_KEYS)])


def _put(facts: Items) -> Work:
    keys = _keys()
    return lambda: facts.put(next(keys), value())


def _get(facts: Items) -> Work:
    keys = _keys()
    return lambda: facts.get(next(keys))


def _cold(store: Store, facts: Items) -> Work:
    keys = _keys()

    def get() -> object:
        store._hot.empty()
        return facts.get(next(keys))

    return get


def _filled(facts: Items) -> Items:
    facts.put_many({f"fact-{n}": value() for n in range(_KEYS)})
    return facts


def _theirs(store: Any, name: str, get: bool) -> Contender:
    keys = _keys()
    for _ in range(_KEYS):
        store.put(("facts", "ada"), next(keys), value())
    if get:
        return Contender(name, Kind.PEER, lambda: store.get(("facts", "ada"), next(keys)))
    return Contender(name, Kind.PEER, lambda: store.put(("facts", "ada"), next(keys), value()))


@contextlib.contextmanager
def _bare_sqlite(place: Place) -> Iterator[tuple[Work, Work]]:
    keys = _keys()
    with contextlib.closing(
        sqlite3.connect(place.file("bare"), isolation_level=None)
    ) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(_TABLE.format("BLOB"))
        put, get = _PUT.format("?"), _GET.format("?")

        def write() -> object:
            return connection.execute(put, (next(keys), _encode(value())))

        for _ in range(_KEYS):
            write()
        yield write, lambda: _decode(connection.execute(get, (next(keys),)).fetchone()[0])


@contextlib.contextmanager
def _bare_postgres(place: Place) -> Iterator[tuple[Work, Work]]:
    keys = _keys()
    with psycopg.connect(place.database(), autocommit=True) as connection:
        connection.execute(_TABLE.format("BYTEA").encode())
        cursor = connection.cursor(binary=True)
        put, get = _PUT.format("%s").encode(), _GET.format("%s").encode()

        def write() -> object:
            return cursor.execute(put, (next(keys), _encode(value())))

        def read() -> object:
            found = cursor.execute(get, (next(keys),)).fetchone()
            assert found is not None
            return _decode(found[0])

        for _ in range(_KEYS):
            write()
        yield write, read


def _first(ours: str, peer: str) -> Wanted:
    return Wanted(text=f"before {peer}", ours=ours, beside=(peer,), at_most=1.0)


def put_sqlite(place: Place) -> Row:
    """One put, durable, on a SQLite file."""
    with (
        Store(f"sqlite:///{place.file('items')}") as store,
        SqliteStore.from_conn_string(str(place.file("peer"))) as peer,
        _bare_sqlite(place) as (bare, _),
    ):
        peer.conn.execute("PRAGMA synchronous = FULL")
        peer.setup()
        found = timed(
            place.rounds(15, 5),
            [
                Contender(OURS, Kind.OURS, _put(_filled(store.items("facts", user="ada")))),
                _theirs(peer, SQLITE, get=False),
                Contender(BARE_SQLITE, Kind.LIMIT, bare),
            ],
            calls=place.rounds(100, 20),
        )
    return Row(
        name="item-put-sqlite",
        title="A durable put of one item, SQLite",
        settings=f"{_KEYS} keys in turns, values of {len(_encode(value()))} bytes, WAL, FULL",
        unit="seconds",
        found=found,
        wanted=(
            _first(OURS, SQLITE),
            Wanted(text="at most 1.5 × bare", ours=OURS, beside=(BARE_SQLITE,), at_most=1.5),
        ),
    )


def get_sqlite(place: Place) -> Row:
    """One get on a SQLite file: out of the process, and out of SQL."""
    hot, cold = "Onrecord", "  nothing of it in the process"
    with (
        Store(f"sqlite:///{place.file('items')}") as store,
        Store(f"sqlite:///{place.file('items')}") as other,
        SqliteStore.from_conn_string(str(place.file("peer"))) as peer,
        _bare_sqlite(place) as (_, bare),
    ):
        peer.setup()
        facts = _filled(store.items("facts", user="ada"))
        found = timed(
            place.rounds(15, 5),
            [
                Contender(hot, Kind.OURS, _get(facts)),
                Contender(cold, Kind.OURS, _cold(other, _filled(other.items("facts")))),
                _theirs(peer, SQLITE, get=True),
                Contender(BARE_SQLITE, Kind.LIMIT, bare),
            ],
            calls=place.rounds(200, 100),
        )
    return Row(
        name="item-get-sqlite",
        title="A get of one item, SQLite",
        settings="before each the file is asked whether anybody has committed",
        unit="seconds",
        found=found,
        wanted=(
            _first(hot, SQLITE),
            _first(cold, SQLITE),
            Wanted(text="under 30 µs", ours=hot, beside=(), at_most=30e-6),
        ),
    )


def put_postgres(place: Place) -> Row:
    """One put on PostgreSQL."""
    with (
        Store(place.database()) as store,
        PostgresStore.from_conn_string(place.database()) as peer,
        _bare_postgres(place) as (bare, _),
    ):
        peer.setup()
        found = timed(
            place.rounds(15, 5),
            [
                Contender(OURS, Kind.OURS, _put(_filled(store.items("facts", user="ada")))),
                _theirs(peer, POSTGRES, get=False),
                Contender(BARE_POSTGRES, Kind.LIMIT, bare),
            ],
            calls=place.rounds(100, 20),
        )
    return Row(
        name="item-put-postgres",
        title="A durable put of one item, PostgreSQL",
        settings=f"{_KEYS} keys in turns, values of {len(_encode(value()))} bytes",
        unit="seconds",
        found=found,
        wanted=(
            _first(OURS, POSTGRES),
            Wanted(text="at most 1.5 × bare", ours=OURS, beside=(BARE_POSTGRES,), at_most=1.5),
        ),
    )


def get_postgres(place: Place) -> Row:
    """One get on PostgreSQL, without a cache."""
    with (
        Store(place.database()) as store,
        PostgresStore.from_conn_string(place.database()) as peer,
        _bare_postgres(place) as (_, bare),
    ):
        peer.setup()
        found = timed(
            place.rounds(15, 5),
            [
                Contender(OURS, Kind.OURS, _get(_filled(store.items("facts", user="ada")))),
                _theirs(peer, POSTGRES, get=True),
                Contender(BARE_POSTGRES, Kind.LIMIT, bare),
            ],
            calls=place.rounds(100, 50),
        )
    return Row(
        name="item-get-postgres",
        title="A get of one item, PostgreSQL",
        settings="no cache",
        unit="seconds",
        found=found,
        wanted=(_first(OURS, POSTGRES),),
    )


def get_redis(place: Place) -> Row:
    """One get of a hot item, out of Redis."""
    url = place.redis()
    with (
        Store(place.database(), cache=url, revalidate=3600) as store,
        PostgresStore.from_conn_string(place.database()) as peer,
        redis.Redis.from_url(url) as client,
    ):
        peer.setup()
        facts = _filled(store.items("facts", user="ada"))
        for n in range(_KEYS):
            client.set(f"bare:{n}", _encode(value()))
        numbers = itertools.cycle(range(_KEYS))
        for _ in range(3 * _KEYS):
            facts.get(f"fact-{next(numbers)}")
        before = store.health().counters
        found = timed(
            place.rounds(15, 5),
            [
                Contender(OURS, Kind.OURS, _get(facts)),
                _theirs(peer, POSTGRES, get=True),
                Contender(
                    BARE_REDIS,
                    Kind.LIMIT,
                    lambda: _decode(client.get(f"bare:{next(numbers)}")),
                ),
            ],
            calls=place.rounds(200, 100),
        )
        after = store.health().counters
        assert (after.misses, after.degraded_reads) == (before.misses, before.degraded_reads)
    return Row(
        name="item-get-redis",
        title="A get of one hot item, Redis",
        settings="PostgreSQL behind it, nothing in the process; revalidate=3600",
        unit="seconds",
        found=found,
        wanted=(
            _first(OURS, POSTGRES),
            Wanted(text="at most 1.5 × bare", ours=OURS, beside=(BARE_REDIS,), at_most=1.5),
        ),
    )


def in_an_append_sqlite(place: Place) -> Row:
    """An append with one item beside an append, SQLite."""
    with Store(f"sqlite:///{place.file('appends')}") as store:
        return _in_an_append(place, store, "sqlite", "a SQLite file")


def in_an_append_postgres(place: Place) -> Row:
    """An append with one item beside an append, PostgreSQL."""
    with Store(place.database()) as store:
        return _in_an_append(place, store, "postgres", "PostgreSQL")


def _in_an_append(place: Place, store: Store, name: str, where: str) -> Row:
    plain, both = store.session("plain", user="ada"), store.session("both", user="ada")
    keys, alone = _keys(), "an append alone"
    found = timed(
        place.rounds(15, 5),
        [
            Contender(
                "Onrecord, an append with one item",
                Kind.OURS,
                lambda: both.append(("user", TEXT), items=[Put("facts", next(keys), value())]),
            ),
            Contender(alone, Kind.LIMIT, lambda: plain.append(("user", TEXT))),
        ],
        calls=place.rounds(100, 20),
    )
    return Row(
        name=f"item-append-{name}",
        title=f"An append with one item, {where}",
        settings="both in one transaction",
        unit="seconds",
        found=found,
        wanted=(
            Wanted(
                text="at most 1.3 × an append",
                ours="Onrecord, an append with one item",
                beside=(alone,),
                at_most=1.3,
            ),
        ),
    )


def many_sqlite(place: Place) -> Row:
    """Pages, filters and gets in a namespace of many, SQLite."""
    with Store(f"sqlite:///{place.file('many')}", durability="normal") as store:
        return _many(place, store, "sqlite", "a SQLite file")


def many_postgres(place: Place) -> Row:
    """Pages, filters and gets in a namespace of many, PostgreSQL."""
    with Store(place.database()) as store:
        return _many(place, store, "postgres", "PostgreSQL")


def _many(place: Place, store: Store, name: str, where: str) -> Row:
    few, many = 1_000, place.rounds(100_000, 10_000)
    contenders = []
    for count in (few, many):
        facts = store.items("facts", str(count), user="ada")
        for n in range(0, count, 10_000):
            facts.put_many({f"{i:06}": {"n": i} for i in range(n, min(n + 10_000, count))})
        middle = f"{count // 2:06}"
        jobs: dict[str, Work] = {
            "a page by key": partial(facts.list, after=middle, limit=50),
            "a page by age": partial(facts.list, order="updated", limit=50),
            "a page that a filter lets through": partial(
                facts.list, filter={"n": {"$gte": 0}}, limit=50
            ),
            "a get": partial(facts.get, middle),
        }
        for job, work in jobs.items():
            known = Kind.OURS if count == many else Kind.SHOWN
            contenders.append(Contender(f"{job}, of {count:,}", known, work, f"{job}, of {many:,}"))
    found = timed(place.rounds(15, 3), contenders, calls=place.rounds(20, 5))
    jobs_of_all = [one.name for one in contenders if one.kind is Kind.OURS]
    return Row(
        name=f"item-many-{name}",
        title=f"A namespace of {many:,} items beside one of {few:,}, {where}",
        settings="pages of 50",
        unit="seconds",
        found=found,
        wanted=tuple(
            Wanted(
                text="flat: at most 1.5 ×",
                ours=one,
                beside=(one.replace(f"{many:,}", f"{few:,}"),),
                at_most=1.5,
            )
            for one in jobs_of_all
        ),
    )


# A namespace for each of so many users, and an item in it. What is written of them is what a store
# would have written, but for the digests, which are random here.
_OTHERS_SQLITE: Final = (
    """
    WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})
    INSERT INTO onrecord_namespaces (identity, owner, version, tenant, "user", agent, path)
    SELECT randomblob(20), random(), 1, '', 'user-' || i, '', x'666163747300' FROM n""",
    """
    INSERT INTO onrecord_items (namespace, key, version, created, updated, fence, body)
    SELECT n.id, 'fact-1', 1, 1, 1, 1, (SELECT body FROM onrecord_items LIMIT 1)
    FROM onrecord_namespaces n WHERE n.version = 1""",
)
_OTHERS_POSTGRES: Final = (
    """
    INSERT INTO onrecord_namespaces
        (shard, identity, owner, version, tenant, "user", agent, path)
    SELECT owner & 32767, decode(md5(i::text) || left(md5(i || '!'), 8), 'hex'), owner, 1, '',
        'user-' || i, '', '\\x666163747300'
    FROM generate_series(1, {count}) i,
        LATERAL (SELECT ('x' || left(md5('owner' || i), 16))::bit(64)::bigint AS owner) o""",
    """
    INSERT INTO onrecord_items (shard, namespace, key, version, created, updated, fence, body)
    SELECT n.shard, n.id, 'fact-1', 1, 1, 1, 1, (SELECT body FROM onrecord_items LIMIT 1)
    FROM onrecord_namespaces n WHERE n.version = 1""",
    "ANALYZE",
)


def among_sqlite(place: Place) -> Row:
    """A namespace among a million others, SQLite."""
    file, count = place.file("among"), place.rounds(1_000_000, 20_000)
    with (
        Store(f"sqlite:///{place.file('alone')}", durability="normal") as alone,
        Store(f"sqlite:///{file}", durability="normal") as store,
    ):
        _filled(store.items("facts", user="ada"))
        with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as connection:
            connection.execute("PRAGMA cache_size = -400000")  # or a minute goes by
            for statement in _OTHERS_SQLITE:
                connection.execute(statement.format(count=count))
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return _among(place, alone, store, count, "sqlite", "a SQLite file")


def among_postgres(place: Place) -> Row:
    """A namespace among a million others, PostgreSQL."""
    url, count = place.database(), place.rounds(1_000_000, 20_000)
    with Store(place.database()) as alone, Store(url) as store:
        _filled(store.items("facts", user="ada"))
        with psycopg.connect(url, autocommit=True) as connection:
            for statement in _OTHERS_POSTGRES:
                connection.execute(statement.format(count=count).encode())
        return _among(place, alone, store, count, "postgres", "PostgreSQL")


def _among(place: Place, alone: Store, among: Store, count: int, name: str, where: str) -> Row:
    contenders = []
    for store, kind, of in ((alone, Kind.SHOWN, "alone"), (among, Kind.OURS, f"of {count:,}")):
        facts, keys = _filled(store.items("facts", user="ada")), _keys()
        jobs: dict[str, Work] = {
            "gets": partial(facts.get_many, ["fact-3", "fact-4"]),
            "a put": partial(_put_next, facts, keys),
            "a page by key": partial(facts.list, limit=50),
            "a page by age": partial(facts.list, order="updated", limit=50),
            "its user's namespaces": partial(store.namespaces, user="ada"),
            "its user's items": partial(store.find_items, user="ada"),
        }
        contenders += [
            Contender(f"{job}, {of}", kind, work, f"{job}, of {count:,}")
            for job, work in jobs.items()
        ]
    found = timed(place.rounds(15, 5), contenders, calls=place.rounds(50, 20))
    return Row(
        name=f"item-among-{name}",
        title=f"A namespace among {count:,} others beside one alone, {where}",
        settings=f"{_KEYS} items in it, one in each of the others; pages of 50",
        unit="seconds",
        found=found,
        wanted=tuple(
            Wanted(
                text="flat: at most 1.5 ×",
                ours=one.name,
                beside=(one.name.replace(f"of {count:,}", "alone"),),
                at_most=1.5,
            )
            for one in contenders
            if one.kind is Kind.OURS
        ),
    )


def _put_next(facts: Items, keys: Iterator[str]) -> object:
    return facts.put(next(keys), value())
