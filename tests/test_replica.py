"""Reads that a replica may answer: only those that say so, and nothing of it is kept."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import create_engine
from sqlalchemy.engine import make_url

from onrecord import Message, Misconfigured, Store, Unavailable, operations
from onrecord.flow import Cold, Step, run
from onrecord.ledger.database.transaction import Transaction
from onrecord.ledger.schema import migrations
from onrecord.testing.contract import Face
from tests.children import PATIENCE
from tests.servers.postgres import OwnPostgres, PostgresServer
from tests.servers.redis import RedisServer
from tests.test_elections import both, through, wait_for_all
from tests.test_search_meaning import Meant
from tests.torture.line import Line

OLD, NEW = ["one", "two"], ["one", "two", "three"]


def texts(messages: Iterable[Message]) -> list[str]:
    return [message.text for message in messages]


@pytest.fixture
def behind(own_postgres: OwnPostgres) -> Iterator[OwnPostgres]:
    """A standby that has two of three messages, and gets no further until it is told to."""
    standby = own_postgres.standby()
    try:
        with Store(own_postgres.url) as store:
            session = store.session("s")
            facts = store.items("facts", "places")
            facts.put("city", "Lyon", ttl=3_600)
            session.state.put("plan", "old")
            session.append([("user", "one"), ("user", "two")])
            wait_for_all(standby, 2)
            with psycopg.connect(standby.url, autocommit=True) as connection:
                connection.execute("SELECT pg_wal_replay_pause()")
                while connection.execute(
                    "SELECT pg_get_wal_replay_pause_state() <> 'paused'"
                ).fetchone() == (True,):
                    pass
            facts.put("city", "Paris", ttl=3_600)
            facts.put("river", "Seine")
            store.items("facts", "people").put("ada", "Ada")
            session.state.put("plan", "new")
            session.append(("user", "three"))
        yield standby
    finally:
        standby.close()


def test_only_who_says_so_is_shown_what_is_old(
    own_postgres: OwnPostgres, behind: OwnPostgres, redis_server: RedisServer, tmp_path: Path
) -> None:
    with Store(own_postgres.url, replica=behind.url, cache=redis_server.url) as store:
        session = store.session("s")
        assert texts(session.tail(stale_ok=True)) == OLD
        assert texts(session.tail()) == NEW, "nothing of that is in the cache"
        assert texts(session.tail()) == NEW
        hits = store.health().counters.hits
        assert texts(session.tail()) == NEW
        assert store.health().counters.hits == hits + 1
        assert texts(session.tail(stale_ok=True)) == OLD, "and nothing of the cache is asked"
        assert texts(session.messages(stale_ok=True)) == OLD
        assert texts(session.messages()) == NEW
        assert texts(list(session.scan(stale_ok=True))) == OLD
        assert texts(session.window(messages=9, stale_ok=True).messages) == OLD
        assert texts(session.window(messages=9).messages) == NEW
        assert (session.info(stale_ok=True).messages, session.info().messages) == (2, 3)
        assert [info.messages for info in store.sessions(stale_ok=True)] == [2]
        assert [info.messages for info in store.sessions()] == [3]
        assert (store.stats(stale_ok=True).messages, store.stats().messages) == (2, 3)
        assert session.export(tmp_path / "s.jsonl", stale_ok=True).messages == 2
        assert store.export(tmp_path / "all.jsonl", stale_ok=True).messages == 2
        assert store.export(tmp_path / "new.jsonl").messages == 3
        assert not store.search("three", stale_ok=True)
        hit = store.search("two", stale_ok=True)[0]
        asyncio.run(with_await(store, tmp_path))
        # What it has found leads to the store that is written to.
        assert hit.session.append(("user", "four"))[0].seq == 4
        assert not session.search("three", stale_ok=True)
        health = store.health()
        assert health.ok
        assert health.replica is not None
        assert health.replica.where.startswith("postgresql://onrecord:***@")
        assert texts(session.tail()) == [*NEW, "four"]


def test_a_search_there_reads_what_it_cannot_index_and_warns_of_nothing(
    own_postgres: OwnPostgres,
    behind: OwnPostgres,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("onrecord.flows.search.search.MOST_UNINDEXED", 0)
    with Store(own_postgres.url, replica=behind.url) as store:
        hits = store.search("two", stale_ok=True)
        assert hits.complete
        assert texts(hit.message for hit in hits)[0] == "two"
    assert caplog.text == ""


def test_items_and_what_waits_may_be_asked_for_there(
    own_postgres: OwnPostgres, behind: OwnPostgres, redis_server: RedisServer, face: Face
) -> None:
    with Store(own_postgres.url, replica=behind.url, cache=redis_server.url) as store:
        everywhere, facts = face(store), face(store.items("facts", "places"))
        state = face(store.session("s").state)
        old = {"stale_ok": True}
        for _ in range(2):  # and once more, with what the cache has by then
            assert (facts.get("city").value, facts.get("city", **old).value) == ("Paris", "Lyon")
            assert (state.get("plan").value, state.get("plan", **old).value) == ("new", "old")
            assert facts.get("river", **old) is None
        assert sorted(facts.get_many(["city", "river"])) == ["city", "river"]
        assert list(facts.get_many(["city", "river"], **old)) == ["city"]
        assert [item.key for item in facts.list()] == ["city", "river"]
        assert [item.key for item in facts.list(**old)] == ["city"]
        assert (facts.count(), facts.count(**old)) == (2, 1)
        assert [hit.item.value for hit in facts.search("Lyon Seine")] == ["Seine"]
        assert [hit.item.value for hit in facts.search("Lyon Seine", **old)] == ["Lyon"]
        assert [item.key for item in everywhere.find_items(("facts",))] == ["ada", "river", "city"]
        assert [item.key for item in everywhere.find_items(("facts",), **old)] == ["city"]
        assert [hit.item.key for hit in everywhere.search_items("Ada Lyon")] == ["ada"]
        assert [hit.item.key for hit in everywhere.search_items("Ada Lyon", **old)] == ["city"]
        both_of_them = [("facts", "people"), ("facts", "places")]
        assert everywhere.namespaces(("facts",)) == both_of_them
        assert everywhere.namespaces(("facts",), **old) == both_of_them[1:]
        [waiting] = everywhere.unfinished(**old)
        assert (waiting.said, everywhere.unfinished()[0].said) == ("two", "three")
        # What is found there leads to the store that is written to.
        assert waiting.session.append(("user", "four"))[0].seq == 4
        for refused in (facts.get, facts.get_many):
            with pytest.raises(Misconfigured, match="refresh=True writes"):
                refused("city", refresh=True, **old)


def test_an_embedder_is_not_asked_for_what_cannot_be_kept(
    own_postgres: OwnPostgres, behind: OwnPostgres, caplog: pytest.LogCaptureFixture
) -> None:
    """What it has not seen is found there by its words."""
    embedder = Meant()
    with Store(own_postgres.url, replica=behind.url, embedder=embedder) as store:
        hits = store.search("two", stale_ok=True)
        assert (texts(hit.message for hit in hits), hits.complete) == (["two", "one"], False)
        assert store.search_items("to Lyon", stale_ok=True)[0].item.value == "Lyon"
        assert {"one", "Lyon"}.isdisjoint(embedder.shown)
        assert caplog.text == ""
        assert store.search("two").complete


async def with_await(store: Store, folder: Path) -> None:
    """It is the same."""
    session = store.session("s")
    assert texts(await session.atail(stale_ok=True)) == OLD
    assert texts(await session.atail()) == NEW
    assert texts(await session.amessages(stale_ok=True)) == OLD
    assert texts([message async for message in session.ascan(stale_ok=True)]) == OLD
    assert texts((await session.awindow(messages=9, stale_ok=True)).messages) == OLD
    assert (await session.ainfo(stale_ok=True)).messages == 2
    assert [info.messages for info in await store.asessions(stale_ok=True)] == [2]
    assert (await store.astats(stale_ok=True)).messages == 2
    assert not await store.asearch("three", stale_ok=True)
    assert not await session.asearch("three", stale_ok=True)
    assert (await store.aexport(folder / "a all.jsonl", stale_ok=True)).messages == 2
    assert (await session.aexport(folder / "a s.jsonl", stale_ok=True)).messages == 2
    assert (await store.ahealth()).ok


def given_up(txn: Transaction, primary: OwnPostgres, standby: OwnPostgres) -> None:
    """Read on a standby until that goes on where rows of this read were cleaned up."""
    count = "SELECT count(*) FROM {tail}"
    txn.snapshot()
    txn.first(count, {})
    with psycopg.connect(primary.url, autocommit=True) as connection:
        connection.execute("UPDATE onrecord_tail SET tokens = tokens")
        connection.execute("VACUUM onrecord_tail")
    with psycopg.connect(standby.url, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET max_standby_streaming_delay = 0")
        connection.execute("SELECT pg_reload_conf()")
        connection.execute("SELECT pg_wal_replay_resume()")
    while True:
        txn.first(count, {})


def test_a_replica_that_gives_up_or_is_away_is_said_and_not_replaced(
    own_postgres: OwnPostgres, behind: OwnPostgres
) -> None:
    with (
        Store(own_postgres.url, replica=behind.url, timeout=PATIENCE) as store,
        pytest.raises(Unavailable, match=r"is a standby, and gave this read up .* Read again"),
    ):
        store._reader(True)._ledger.read(partial(given_up, primary=own_postgres, standby=behind))
    password = str(make_url(behind.url).password)
    with Store(own_postgres.url, replica=behind.url, timeout=0.2) as store:
        session = store.session("s")
        behind.stop()
        with pytest.raises(Unavailable, match="cannot be reached") as caught:
            session.tail(stale_ok=True)
        assert password not in str(caught.value)
        assert texts(session.tail()) == NEW, "others do not notice"
        health = store.health()
        assert not health.ok
        assert health.database.ok
        assert health.replica is not None
        assert "cannot be reached" in (health.replica.problem or "")
    # Who wants another to answer then names it.
    with Store(own_postgres.url, replica=both(behind, own_postgres), timeout=PATIENCE) as store:
        assert texts(store.session("s").tail(stale_ok=True)) == NEW
    behind.start()
    with Store(own_postgres.url, replica=both(own_postgres, behind), timeout=PATIENCE) as store:
        follows = "SELECT pg_is_in_recovery()"
        assert store._reader(True)._ledger.read(lambda txn: txn.first(follows, {})) == (True,)
        session = store.session("s")
        assert texts(session.tail(stale_ok=True)) == texts(session.tail()), "it has caught up"


def test_who_cannot_be_rolled_back_is_not_used_again(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a standby cancels the ROLLBACK of a read that it has cancelled."""
    execute = psycopg.Cursor.execute

    def cancelled(cursor: Any, query: Any, *given: Any, **options: Any) -> Any:
        return execute(cursor, "1" if query == "ROLLBACK" else query, *given, **options)

    def failing(txn: Transaction) -> None:
        txn.begin()
        raise ZeroDivisionError

    with Store(postgres_url) as store:
        store.session("s").append(("user", "x"))
        with monkeypatch.context() as patch:
            patch.setattr(psycopg.Cursor, "execute", cancelled)
            with pytest.raises(ZeroDivisionError):
                store._ledger.read(failing)
        assert texts(store.session("s").tail()) == ["x"]
        assert store._ledger.read(lambda txn: txn.cursor.connection.info.transaction_status) == 0


def test_nothing_is_written_to_it(postgres_url: str) -> None:
    with Store(postgres_url) as primary:
        primary.session("s").append(("user", "x"))
        known = "SELECT name FROM {counters}"
        before = primary._ledger.read(lambda txn: txn.rows(known, {}))
        # Whatever the server would allow: here it is the primary itself.
        with Store(
            postgres_url, replica=postgres_url, token_counter=("new", lambda message: 1)
        ) as store:
            assert texts(store.session("s").tail(stale_ok=True)) == ["x"]
            replica = store._reader(True)
            with pytest.raises(Unavailable, match=r"is a replica.*Nothing was written"):
                replica.session("s").append(("user", "lost"))
            with pytest.raises(Unavailable, match="is a replica"):
                asyncio.run(replica.session("s").aappend(("user", "lost")))
        assert primary._ledger.read(lambda txn: txn.rows(known, {})) == before
        assert texts(primary.session("s").tail()) == ["x"]


ANOTHER = r"another store is there\. Check replica="


@pytest.fixture
def other_url(postgres: PostgresServer, postgres_url: str) -> Iterator[str]:
    """Another store beside that of ``postgres_url``, with something else in it."""
    with postgres.database("other") as other:
        for url, text in ((postgres_url, "ours"), (other, "theirs")):
            with Store(url) as store:
                store.session("s").append(("user", text))
        yield other


def test_another_store_is_no_replica(postgres_url: str, other_url: str) -> None:
    """It is refused before it has shown anything, and of the primary nothing need be known."""
    with Store(postgres_url, replica=other_url) as store:
        session = store.session("s")
        for _ in range(2):
            with pytest.raises(Misconfigured, match=ANOTHER):
                session.tail(stale_ok=True)
        assert texts(session.tail()) == ["ours"], "others do not notice"
        with pytest.raises(Misconfigured, match=ANOTHER):
            asyncio.run(session.atail(stale_ok=True))
        problem = store.health().replica
        assert problem is not None
        assert "another store is there" in (problem.problem or "")


def test_a_store_that_is_not_there_has_no_replica(
    postgres: PostgresServer, postgres_url: str
) -> None:
    """Who only reads makes no tables: they are not there, and a replica has none before."""
    with Store(postgres_url) as store:
        store.session("s").append(("user", "x"))
    with postgres.database("empty") as empty, Store(empty, replica=postgres_url) as store:
        with pytest.raises(Misconfigured, match=ANOTHER):
            store.session("s").tail(stale_ok=True)
        assert store._ledger.look(migrations.store_id, PATIENCE) is None, "none was made"


def test_a_replica_is_read_where_its_primary_is_away(
    own_postgres: OwnPostgres,
    postgres_url: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What it is a copy of is asked again, and another store refused as soon as that is known."""
    with Store(postgres_url) as store:
        store.session("s").append(("user", "theirs"))
    with Store(own_postgres.url) as store:
        store.session("s").append(("user", "ours"))
    own_postgres.stop()
    with Store(own_postgres.url, replica=postgres_url, timeout=PATIENCE) as store:
        session = store.session("s")
        assert texts(session.tail(stale_ok=True)) == ["theirs"]
        assert "the replica is read all the same" in caplog.text
        assert len(caplog.records) == 1
        assert texts(session.tail(stale_ok=True)) == ["theirs"], "it is not asked each time"
        assert len(caplog.records) == 1
        own_postgres.start()
        monkeypatch.setattr("onrecord.ledger.ledger._COMPARED_WITHIN", PATIENCE)
        reader = store._reader(True)

        def perform(step: Step) -> object:
            answer = reader._perform(step)
            if isinstance(step, Cold):
                reader._ledger._compare_at = 0.0
                for _ in range(2):
                    with pytest.raises(Misconfigured, match=ANOTHER):
                        session.tail(stale_ok=True)
            return answer

        under_way = run(operations.tail(reader._desk, session.name, 5), perform)
        assert texts(under_way) == ["theirs"], "who reads already is not disturbed"


STANDBY = "is a standby: reads may lack what was acknowledged last"


def test_who_takes_a_standby_for_the_store_is_told_once(
    own_postgres: OwnPostgres,
    behind: OwnPostgres,
    redis_server: RedisServer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """However many connections it makes, and nobody who has said which servers will do."""
    engine = create_engine(make_url(behind.url).set(drivername="postgresql+psycopg"))
    for settings in ({"url": behind.url}, {"url": None, "engine": engine}):
        with Store(**settings, timeout=0.5) as store:
            session = store.session("s")
            with ThreadPoolExecutor(4) as threads:
                for read in [threads.submit(session.tail) for _ in range(8)]:
                    assert texts(read.result()) == OLD
            assert store.doctor().findings
            with pytest.raises(Unavailable, match="takes no writes"):
                session.append(("user", "lost"))
        [told] = [one.getMessage() for one in caplog.records]
        assert STANDBY in told
        assert str(make_url(behind.url).password) not in told
        caplog.clear()
    engine.dispose()
    meant = f"{behind.url}?target_session_attrs=any"
    with Store(meant) as store:
        assert texts(store.session("s").tail()) == OLD
    refused = f"{behind.url}?target_session_attrs=read-write"
    with Store(refused, timeout=0.2) as store, pytest.raises(Unavailable, match="takes writes"):
        store.session("s").tail()
    with Store(own_postgres.url, replica=behind.url) as store:
        assert texts(store.session("s").tail(stale_ok=True)) == OLD
        assert texts(store.session("s").tail()) == NEW
    assert caplog.text == ""


def test_a_store_whose_primary_became_a_standby_says_so(
    own_postgres: OwnPostgres, behind: OwnPostgres, caplog: pytest.LogCaptureFixture
) -> None:
    port, old = (make_url(server.url).port or 0 for server in (own_postgres, behind))
    with (
        contextlib.closing(Line(port)) as line,
        Store(through(own_postgres, line), timeout=PATIENCE) as store,
    ):
        session = store.session("s")
        assert texts(session.tail()) == NEW
        assert caplog.text == ""
        line.lead_to(old)
        line.cut("closed")
        line.mend()
        assert texts(session.tail()) == OLD
        assert STANDBY in caplog.text
        with psycopg.connect(behind.url, autocommit=True) as connection:
            connection.execute("SELECT pg_wal_replay_resume()")
            connection.execute("SELECT pg_promote()")
        session.append(("user", "four"))
        assert texts(session.tail()) == [*NEW, "four"]
    assert len(caplog.records) == 1


def test_where_there_is_none(postgres_url: str, tmp_path: Path) -> None:
    """The primary may be asked as well: what it shows is never old."""
    with Store(postgres_url) as store:
        store.session("s").append(("user", "x"))
        assert texts(store.session("s").tail(stale_ok=True)) == ["x"]
        assert store.health().replica is None
    for url, replica in (
        (f"sqlite:///{tmp_path / 'a.db'}", postgres_url),
        (postgres_url, f"sqlite:///{tmp_path / 'a.db'}"),
    ):
        with pytest.raises(Misconfigured, match="replica= is for PostgreSQL"):
            Store(url, replica=replica)
    with (
        Store(postgres_url, replica=f"{postgres_url}_not_there", timeout=0.2) as store,
        pytest.raises(Misconfigured, match="does not exist"),
    ):
        store.session("s").tail(stale_ok=True)


def test_the_environment_may_name_it(postgres_url: str) -> None:
    named = {"ONRECORD_URL": postgres_url, "ONRECORD_REPLICA": postgres_url}
    with Store.from_env(named) as store:
        assert store._reader(True) is not store
        assert store._reader(False) is store
        assert str(make_url(postgres_url).password) not in repr(store._reader(True))


def test_health_has_a_time_of_its_own(own_postgres: OwnPostgres) -> None:
    """It says what is wrong while others still wait for a database that is away."""
    with Store(own_postgres.url, timeout=3_600) as store:
        store.session("s").append(("user", "x"))
        assert store.health(within=PATIENCE).database.ok
        own_postgres.stop()
        for health in (store.health(within=0.1), asyncio.run(store.ahealth(within=0.1))):
            assert not health.database.ok
            assert "cannot be reached" in (health.database.problem or "")
        own_postgres.start()
        assert store.health(within=PATIENCE).ok
    with Store(own_postgres.url, timeout=3_600) as fresh:
        own_postgres.stop()
        assert "cannot be reached" in (fresh.health(within=0.1).database.problem or "")
        own_postgres.start()


def test_health_hangs_up_on_a_server_that_says_nothing(own_postgres: OwnPostgres) -> None:
    with (
        contextlib.closing(Line(make_url(own_postgres.url).port or 0)) as line,
        Store(through(own_postgres, line), timeout=3_600) as store,
    ):
        store.session("s").append(("user", "x"))
        line.cut("silent")
        assert "has not answered" in (store.health(within=0.1).database.problem or "")
