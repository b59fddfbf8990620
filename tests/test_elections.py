"""A database that is away for a while, and one that is another server afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from sqlalchemy.engine import make_url

from onrecord import Store, Unavailable
from onrecord.ledger import postgres
from onrecord.ledger.postgres import PostgresLedger
from tests.children import PATIENCE
from tests.servers.binaries import Missing
from tests.servers.pgbouncer import OwnPgBouncer, find_pgbouncer
from tests.servers.postgres import OwnPostgres
from tests.servers.redis import RedisServer
from tests.torture.line import Line

Waits = Callable[[], None]


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Waits:
    """Returns when somebody waits for a server, after an attempt that failed."""
    waiting = threading.Event()
    attempt = PostgresLedger._attempt

    def noticed(ledger: PostgresLedger, *args: Any) -> Any:
        try:
            return attempt(ledger, *args)
        except postgres._NothingDone:
            waiting.set()
            raise

    monkeypatch.setattr(PostgresLedger, "_attempt", noticed)

    def wait() -> None:
        waiting.clear()
        assert waiting.wait(PATIENCE)

    return wait


@pytest.fixture
def standby(own_postgres: OwnPostgres) -> Iterator[OwnPostgres]:
    """A server that follows ``own_postgres``."""
    server = own_postgres.standby()
    try:
        yield server
    finally:
        server.close()


@pytest.fixture(params=["without a cache", "with a cache"])
def cache(request: pytest.FixtureRequest) -> str | None:
    if request.param == "without a cache":
        return None
    server: RedisServer = request.getfixturevalue("redis_server")
    return server.url


def both(one: OwnPostgres, other: OwnPostgres) -> str:
    """The URL of two servers, of which one is the primary."""
    here, there = make_url(one.url), make_url(other.url)
    return (
        f"postgresql://{here.username}:{here.password}@{here.host}:{here.port},"
        f"{there.host}:{there.port}/{here.database}"
    )


def through(server: OwnPostgres, line: Line) -> str:
    """The URL of a server at the end of a line."""
    return make_url(server.url).set(port=line.port).render_as_string(hide_password=False)


def wait_for_all(standby: OwnPostgres, head: int) -> None:
    """Wait until a standby has what was committed."""
    count = "SELECT max(head) FROM onrecord_sessions"
    with psycopg.connect(standby.url, autocommit=True) as connection:
        while True:
            try:
                if connection.execute(count).fetchone() == (head,):
                    return
            except psycopg.errors.UndefinedTable:
                pass


@pytest.mark.parametrize("awaited", [False, True])
def test_who_writes_while_the_server_is_away_waits(
    own_postgres: OwnPostgres, waits: Waits, cache: str | None, awaited: bool
) -> None:
    with (
        Store(own_postgres.url, cache=cache, timeout=PATIENCE) as store,
        ThreadPoolExecutor(2) as threads,
    ):
        session = store.session("s")
        session.append(("user", "before"))
        own_postgres.stop()
        if awaited:
            appended = threads.submit(lambda: asyncio.run(session.aappend(("user", "meanwhile"))))
        else:
            appended = threads.submit(session.append, ("user", "meanwhile"))
        waits()
        read = threads.submit(store.session("t").messages)
        waits()
        own_postgres.start()
        assert [message.seq for message in appended.result(PATIENCE)] == [2]
        assert read.result(PATIENCE) == []
        assert [message.text for message in session.messages()] == ["before", "meanwhile"]


def test_an_election(
    own_postgres: OwnPostgres, standby: OwnPostgres, waits: Waits, cache: str | None
) -> None:
    url = both(own_postgres, standby)
    with (
        Store(url, cache=cache, timeout=PATIENCE) as store,
        ThreadPoolExecutor(1) as threads,
    ):
        session = store.session("s")
        session.append([("user", "one"), ("user", "two")])
        wait_for_all(standby, 2)
        own_postgres.kill()
        appended = threads.submit(session.append, ("user", "three"))
        waits()
        standby.promote()
        assert [message.seq for message in appended.result(PATIENCE)] == [3]
        assert [message.text for message in session.tail(3)] == ["one", "two", "three"]
        asyncio.run(session.aappend(("user", "four")))
        with Store(url, cache=cache) as other:
            assert other.session("s").head() == 4, "also who comes later finds the primary"


def test_a_primary_that_is_one_no_longer(
    own_postgres: OwnPostgres, standby: OwnPostgres, cache: str | None
) -> None:
    """It answers still, on connections that were made before: nothing of it is believed."""
    with Store(both(own_postgres, standby), cache=cache, timeout=PATIENCE) as store:
        session = store.session("s")
        session.append(("user", "one"))
        wait_for_all(standby, 1)
        own_postgres.demote()
        standby.promote()
        session.append(("user", "two"))
        assert [message.text for message in session.messages()] == ["one", "two"]
        with psycopg.connect(standby.url) as connection:
            assert connection.execute("SELECT max(head) FROM onrecord_sessions").fetchone() == (2,)


def test_where_no_server_takes_writes(own_postgres: OwnPostgres, standby: OwnPostgres) -> None:
    """Each is named for what it is, and nobody is told to grant something."""
    with Store(own_postgres.url) as store:
        store.session("s").append(("user", "one"))
    wait_for_all(standby, 1)
    with Store(standby.url, timeout=0.2) as store:
        assert store.session("s").tail(1)[0].text == "one", "a standby that was named can be read"
        with pytest.raises(Unavailable, match="it is a standby") as caught:
            store.session("s").append(("user", "two"))
        assert not caught.value.outcome_unknown
    own_postgres.demote()
    with Store(both(standby, own_postgres), timeout=0.2) as store:
        with pytest.raises(Unavailable, match=r"No server of .* takes writes now") as caught:
            store.session("s").append(("user", "two"))
        assert not caught.value.outcome_unknown
        password = make_url(own_postgres.url).password
        assert password is not None
        assert password not in str(caught.value)


def test_a_pooler_that_has_no_server(own_postgres: OwnPostgres, waits: Waits) -> None:
    """What it says then was sent to nobody: the outcome is known."""
    found = find_pgbouncer()
    if isinstance(found, Missing):
        pytest.skip(found.reason)
    pooler = OwnPgBouncer(found, own_postgres.url)
    try:
        url = pooler.address_of(own_postgres.url)
        with (
            Store(url, timeout=PATIENCE) as store,
            Store(url, timeout=0.2) as hasty,
            ThreadPoolExecutor(1) as threads,
        ):
            session = store.session("s")
            session.append(("user", "one"))
            hasty.session("s").append(("user", "two"))
            own_postgres.stop()
            appended = threads.submit(session.append, ("user", "three"))
            waits()
            with pytest.raises(Unavailable) as caught:
                hasty.session("s").append(("user", "refused"))
            assert not caught.value.outcome_unknown, caught.value
            own_postgres.start()
            assert [message.seq for message in appended.result(PATIENCE)] == [3]
    finally:
        pooler.close()


def test_who_is_cut_off_before_it_committed_knows_that(
    own_postgres: OwnPostgres, cache: str | None
) -> None:
    """A server that shuts down says so to whom it interrupts, and has undone what it did."""
    with (
        Store(own_postgres.url, cache=cache, timeout=PATIENCE) as store,
        ThreadPoolExecutor(1) as threads,
        psycopg.connect(own_postgres.url) as holder,
        psycopg.connect(own_postgres.url, autocommit=True) as other,
    ):
        items = store.items("facts")
        items.put("k", 1)
        holder.execute("SELECT 1 FROM onrecord_items FOR UPDATE")
        put = threads.submit(items.put, "k", 2)
        while not other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE wait_event_type = 'Lock' AND application_name = 'onrecord'"
        ).fetchall():
            assert not put.done()
        holder.rollback()
        assert put.result(PATIENCE).value == 2


def test_who_is_cut_off_at_the_commit_knows_that(
    own_postgres: OwnPostgres, cache: str | None
) -> None:
    """Of a transaction too: what is interrupted in its COMMIT has not committed."""
    with (
        Store(own_postgres.url, cache=cache, timeout=PATIENCE) as store,
        ThreadPoolExecutor(1) as threads,
        psycopg.connect(own_postgres.url) as holder,
        psycopg.connect(own_postgres.url, autocommit=True) as other,
    ):
        items = store.items("facts")
        items.put("k", {"a": 1})
        other.execute(WAITS_IN_ITS_COMMIT)
        holder.execute("SELECT pg_advisory_lock(1)")
        merged = threads.submit(items.merge, "k", {"b": 2})
        while not other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE wait_event = 'advisory' AND query = 'COMMIT'"
        ).fetchall():
            assert not merged.done()
        holder.close()
        assert merged.result(PATIENCE).value == {"a": 1, "b": 2}


WAITS_IN_ITS_COMMIT = """
CREATE FUNCTION waits() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NULL; END';
CREATE CONSTRAINT TRIGGER waits AFTER UPDATE ON onrecord_items
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION waits();
"""


@pytest.fixture
def performed(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How often the database was to do something, and how often that was tried."""
    counted = {"_perform": 0, "_attempt": 0}

    def count(name: str) -> None:
        method = getattr(PostgresLedger, name)

        def counting(ledger: PostgresLedger, *args: Any, **named: Any) -> Any:
            counted[name] += 1
            return method(ledger, *args, **named)

        monkeypatch.setattr(PostgresLedger, name, counting)

    for name in counted:
        count(name)
    return counted


@pytest.mark.parametrize("writes", [False, True])
def test_who_has_waited_once_is_not_made_to_wait_again(
    own_postgres: OwnPostgres, redis_server: RedisServer, performed: dict[str, int], writes: bool
) -> None:
    """Whether the cache is on is asked first; where nobody answers that, all has been said."""
    with Store(own_postgres.url, cache=redis_server.url, timeout=0.2) as store:
        session = store.session("s")
        session.append(("user", "one"))
        own_postgres.stop()
        clock = store._belief.clock
        store._belief.clock = lambda: clock() + 60  # nothing is believed for so long
        performed["_perform"] = 0
        with pytest.raises(Unavailable) as caught:
            session.append(("user", "two")) if writes else session.tail(1)
        assert not caught.value.outcome_unknown
        assert performed["_perform"] == 1


def test_a_silent_server_is_not_asked_again_when_the_time_is_over(
    own_postgres: OwnPostgres, performed: dict[str, int]
) -> None:
    with (
        contextlib.closing(Line(make_url(own_postgres.url).port or 0)) as line,
        Store(through(own_postgres, line), timeout=0.2) as store,
    ):
        session = store.session("s")
        session.append(("user", "one"))
        line.cut("silent")
        performed["_attempt"] = 0
        with pytest.raises(Unavailable, match="has not answered"):
            session.tail(1)
        assert performed["_attempt"] == 1
