"""Tables that are spread by the shard: what is more than the contract, which runs on them too."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from onrecord import CheckpointLog, Store
from onrecord.checkpoint_log import Listing, New, Value
from onrecord.ledger.maintenance import tidying
from tests.emptied import Reused, reused
from tests.servers.postgres import PostgresServer

SCHEMA = "partitioned"
MOST = 40


@pytest.fixture
def database(postgres: PostgresServer) -> Iterator[Reused]:
    with reused(postgres, "partitions") as database:
        yield database


@pytest.fixture
def store(database: Reused) -> Iterator[Store]:
    with Store(database.url, schema=database.partitioned(SCHEMA), pool_size=2) as store:
        yield store


def test_conversations_of_many_users_lie_in_all_of_them(store: Store, database: Reused) -> None:
    for n in range(MOST):
        store.session("s", user=f"user {n}").append([("user", f"{i} of {n}") for i in range(3)])
    with psycopg.connect(database.url) as connection:
        found = connection.execute(
            f"SELECT tableoid, count(DISTINCT session) FROM {SCHEMA}.onrecord_tail GROUP BY 1"
        ).fetchall()
        assert len(found) == 4
        ((plan,),) = connection.execute(
            f"EXPLAIN (FORMAT JSON) SELECT * FROM {SCHEMA}.onrecord_tail WHERE shard = 7"
        ).fetchall()
    assert str(plan).count("Relation Name") == 1  # of four
    assert len(store.sessions(limit=100)) == 0
    assert [s.messages for s in store.sessions(user="user 7")] == [3]
    assert store.verify() == []


def test_what_looks_after_a_store_goes_through_all_of_them(store: Store) -> None:
    for n in range(MOST):
        text = f"The train to Lyon is late again, says user {n}. Please check gate {n}."
        store.session("s", user=f"user {n}").append([("user", f"{text} {i}") for i in range(32)])
    assert store.train().dictionary == 1
    assert store.compact(quiet_for=0, again=True).sessions == MOST
    before = {n: store.session("s", user=f"user {n}").messages() for n in range(MOST)}
    receipt = store.erase(user="user 7")
    assert receipt.removed["onrecord_sessions"] == 1
    assert receipt.removed["onrecord_dictionaries"] == 1  # it knew what user 7 has said
    for n in range(MOST):
        now = store.session("s", user=f"user {n}").messages()
        assert now == ([] if n == 7 else before[n])
    assert store.session("s", user="user 3").fork("again").count() == 32
    assert store.verify() == []


def test_each_partition_is_tidied(store: Store, database: Reused) -> None:
    store.session("s").append(("user", "hi"))
    with psycopg.connect(database.url, autocommit=True) as connection:
        if connection.info.server_version < 15_00_00:
            pytest.skip("An older server tells what has changed when it likes.")
        connection.execute(
            f"INSERT INTO {SCHEMA}.onrecord_vectors (session, embedder, seq, upto, shard, body) "
            "SELECT n, 1, 1, 1, n, '' FROM generate_series(1, 40) AS n"
        )
        connection.execute("SELECT pg_stat_force_next_flush()")
    wanted = store._ledger.apart(tidying.wanted)
    assert len(wanted) >= 4  # none of a table as a whole, whose partitions are looked at
    for chore in wanted:
        assert store._ledger.apart(chore.work).number == 1
    with psycopg.connect(database.url, autocommit=True) as connection:
        found = connection.execute(
            "SELECT count(*) FROM pg_stat_user_tables WHERE schemaname = %s "
            "AND relname LIKE 'onrecord\\_vectors\\__' AND last_analyze IS NOT NULL",
            (SCHEMA,),
        ).fetchone()
    assert found == (4,)


def test_threads_of_graphs(store: Store) -> None:
    for n in range(8):
        log = CheckpointLog(store, user=f"user {n}")
        values: dict[str, Value] = {
            "messages": Listing([("text", b"a"), ("text", b"b")]),
            "x": ("text", b"1"),
        }
        put = log.put("t", "", New("1", None, (), values, "run"))
        more = Listing([*put.numbers["messages"], ("text", b"c")])
        values = {"messages": more, "x": ("text", b"2")}
        log.put("t", "", New("2", "1", (), values, "run"))
        log.put_writes("t", "", "2", "task", "", [(0, "x", ("text", b"3"))])
        log.copy("t", "copy")
        state = CheckpointLog(store, user=f"user {n}").state("copy")
        assert state is not None
        assert state.values["messages"] == [("text", b"a"), ("text", b"b"), ("text", b"c")]
        assert [thread.key for thread in log.threads()] == ["copy", "t"]
        log.delete("t")
        assert log.state("t") is None
    assert store.verify() == []
