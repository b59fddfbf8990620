"""The doctor and the servers: PostgreSQL and Redis of our own, with what bites switched on."""

from __future__ import annotations

import itertools
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import psycopg
import pytest
import redis
from sqlalchemy import create_engine

from onrecord import Finding, Misconfigured, Store
from onrecord.cache.server import CacheServer
from onrecord.flows.maintenance.doctor import cache as cache_checks
from onrecord.flows.maintenance.doctor import database
from onrecord.ledger.database.faults import TookTooLong
from tests.doctoring import at, both, of, only, worse
from tests.servers.binaries import Binaries, Missing
from tests.servers.postgres import OwnPostgres, find_postgres_binaries
from tests.servers.process import free_port, run_as, server_user
from tests.servers.redis import OwnCluster, OwnRedis

MEMORY = 64 * 2**20


@pytest.fixture(scope="module")
def binaries() -> Binaries:
    found = find_postgres_binaries()
    if isinstance(found, Missing):
        pytest.skip(f"PostgreSQL not found: {found.reason}")
    return found


@pytest.fixture(scope="module")
def server(binaries: Binaries) -> Iterator[OwnPostgres]:
    """A PostgreSQL as one is run: with the server's own settings, but for the connections."""
    own = OwnPostgres(
        binaries,
        fsync=None,
        autovacuum=None,
        max_connections="30",
        max_prepared_transactions="5",
        autovacuum_naptime="1d",
    )
    yield own
    own.close()


@pytest.fixture(scope="module")
def spare(binaries: Binaries) -> Iterator[OwnPostgres]:
    """A PostgreSQL that is stopped, and worse."""
    own = OwnPostgres(binaries)
    yield own
    own.close()


_numbers = itertools.count()


@pytest.fixture
def url(server: OwnPostgres) -> Iterator[str]:
    with server.database(f"doctor{next(_numbers)}") as url:
        yield url


@pytest.fixture(scope="module")
def cache_server(redis_binaries: Binaries) -> Iterator[OwnRedis]:
    """A Redis as one is run that is a cache."""
    own = OwnRedis(redis_binaries, maxmemory=str(MEMORY), maxmemory_policy="allkeys-lru")
    yield own
    own.close()


@pytest.fixture
def config(cache_server: OwnRedis) -> Iterator[Callable[..., None]]:
    """Sets what is in the Redis' settings, and sets it back."""
    with redis.Redis.from_url(cache_server.url, socket_timeout=5) as client:
        before: dict[str, Any] = {}

        def set_to(name: str, value: str) -> None:
            before.setdefault(name, client.config_get(name)[name])
            client.config_set(name, value)

        yield set_to
        for name, value in before.items():
            client.config_set(name, value)
        client.flushall()


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    with Store(url) as store:
        store.session("a").append([("user", "Where is my parcel?"), ("assistant", "In Lyon.")])
        store.items("known").put("city", "Lyon")
        yield store


@pytest.fixture
def cached(tmp_path: Any, cache_server: OwnRedis) -> Iterator[Store]:
    with Store(tmp_path / "store.db", cache=cache_server.url) as store:
        store.session("a").append(("user", "Hello."))
        yield store


def execute(url: str, *statements: str) -> list[Any]:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


@contextmanager
def connected(url: str, count: int = 1) -> Iterator[list[psycopg.Connection[Any]]]:
    with ExitStack() as stack:
        yield [stack.enter_context(psycopg.connect(url, autocommit=True)) for _ in range(count)]


@contextmanager
def setting(server: OwnPostgres, name: str, value: str) -> Iterator[None]:
    """A setting of the whole server, until the end."""
    execute(server.url, f"ALTER SYSTEM SET {name} = {value}", "SELECT pg_reload_conf()")
    await_setting(server, name, value)
    try:
        yield
    finally:
        execute(server.url, f"ALTER SYSTEM RESET {name}", "SELECT pg_reload_conf()")
        await_setting(server, name, "on")


def await_setting(server: OwnPostgres, name: str, value: str) -> None:
    deadline = time.monotonic() + 20
    while execute(server.url, f"SHOW {name}") != [(value,)]:
        assert time.monotonic() < deadline, f"{name} did not become {value}"
        time.sleep(0.01)


# -- well ----------------------------------------------------------------------------------------


def test_a_healthy_postgresql(store: Store) -> None:
    said = both(store)
    assert said.findings == (), str(said)
    assert {"connections", "transactions", "damage"} <= set(said.checks)
    assert not {"disk", "log", "cache", "cache-memory"} & set(said.checks)


def test_a_healthy_postgresql_with_redis(url: str, cache_server: OwnRedis) -> None:
    with Store(url, cache=cache_server.url) as store:
        store.session("a").append(("user", "Hello."))
        with redis.Redis.from_url(cache_server.url) as client:
            before = {key: client.dump(key) for key in client.scan_iter()}
            said = both(store)
            assert {key: client.dump(key) for key in client.scan_iter()} == before != {}
    assert said.findings == (), str(said)
    assert {"cache", "cache-memory", "cache-disk", "cache-clock"} <= set(said.checks)


def test_a_healthy_postgresql_with_an_engine_of_the_callers(url: str) -> None:
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with Store(engine=engine) as store:
        store.session("a").append(("user", "Hello."))
        assert both(store).findings == ()
        with engine.connect() as connection:  # it got its timeouts back
            assert connection.exec_driver_sql("SHOW statement_timeout").scalar() == "0"
    engine.dispose()


def test_a_healthy_cluster(redis_binaries: Binaries, tmp_path: Any) -> None:
    cluster = OwnCluster(redis_binaries)
    try:
        with Store(tmp_path / "store.db", cache=cluster.url) as store:
            store.session("a").append(("user", "Hello."))
            said = both(store)
            assert said.ok, str(said)
            # Each master is asked.
            notes = [found.what for found in of(said, "cache-memory")]
            assert len(notes) == 3
            assert all(any(str(node.port) in what for what in notes) for node in cluster.nodes)
    finally:
        cluster.close()


# -- not reached ---------------------------------------------------------------------------------


def test_servers_that_are_not_there() -> None:
    nobody = free_port()
    url = f"postgresql://ada:secret@127.0.0.1:{nobody}/chats"
    with Store(url, cache=f"redis://:secret@127.0.0.1:{nobody}", timeout=1) as store:
        said = both(store)
    assert [(one.check, one.severity) for one in said.findings] == [
        ("database", "error"),
        ("cache", "error"),
    ]
    assert said.checks == ("packages", "database", "cache")
    assert "secret" not in str(said)


def test_a_password_that_is_wrong(url: str) -> None:
    with Store(url.replace("onrecord:", "onrecord:not", 1)) as store:
        found = only(both(store), "database")
    assert found.severity == "error"
    assert "refused this user or password" in found.what


def test_a_redis_that_stands_still(url: str, own_redis: OwnRedis) -> None:
    with Store(url, cache=own_redis.url) as store:
        store.session("a").append(("user", "Hello."))
        own_redis.pause()
        said = both(store)
        own_redis.resume()
    assert only(said, "cache").severity == "error"
    assert "damage" in said.checks


def test_a_server_that_stands_still(spare: OwnPostgres) -> None:
    with spare.database("still") as url, Store(url, timeout=0.5) as store:
        store.session("a").append(("user", "Hello."))
        asked = "SELECT pid FROM pg_stat_activity WHERE application_name = 'onrecord'"
        stopped = [spare.pid, *(pid for (pid,) in execute(url, asked))]
        assert len(stopped) > 1
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        try:
            said = store.doctor(within=0.5)
        finally:
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)
        found = only(said, "database")
        assert found.severity == "error"
        assert "cannot be reached" in found.what
        assert "damage" not in said.checks


def test_a_look_that_takes_too_long_is_given_up(store: Store) -> None:
    with pytest.raises(TookTooLong):
        store._ledger.look(lambda txn: txn.first("SELECT pg_sleep(30)", {}), 0.05)

    def began(txn: Any) -> Any:
        txn.snapshot()
        return txn.first("SELECT pg_sleep(30)", {})

    with pytest.raises(TookTooLong):
        store._ledger.look(began, 0.05)
    shown = store._ledger.read(lambda txn: txn.first("SHOW statement_timeout", {}))
    assert shown == ("5s",)
    assert both(store).ok


# -- the server ----------------------------------------------------------------------------------


def test_it_makes_no_table(url: str) -> None:
    with Store(url) as store:
        found = only(both(store), "schema")
    assert found.severity == "note"
    with Store(url, migrate=False) as store:
        assert only(both(store), "schema").severity == "error"
    assert execute(url, "SELECT count(*) FROM pg_class WHERE relname LIKE 'onrecord%'") == [(0,)]


def test_it_registers_nothing(store: Store, url: str) -> None:
    counted = "SELECT count(*) FROM onrecord_counters"
    before = execute(url, counted)
    with Store(url, token_counter=("another", lambda message: 1)) as other:
        assert both(other).ok
    assert execute(url, counted) == before


def test_tables_of_another_version(store: Store, url: str) -> None:
    execute(url, "INSERT INTO onrecord_migrations VALUES ('9999 later')")
    for one in (store, Store(url)):
        with one:
            assert "'9999 later'" in only(both(one), "schema").what


def test_a_schema_of_its_own(url: str) -> None:
    with Store(url, schema="chats") as store:
        assert only(both(store), "schema").severity == "note"
        store.session("a").append(("user", "Hello."))
        assert both(store).findings == ()
    # Who forgets to say it is told where it is.
    there = "There are tables of Onrecord in the schema 'chats': set schema= if those are meant."
    with Store(url) as store:
        found = only(both(store), "schema")
        assert found.severity == "warning"
        assert there in found.what
    with Store(url, migrate=False) as store, pytest.raises(Misconfigured, match=re.escape(there)):
        store.session("a").tail()


@pytest.mark.parametrize(
    ("name", "check", "severity"),
    [
        ("fsync", "durability", "error"),
        ("full_page_writes", "durability", "error"),
        ("autovacuum", "room", "warning"),
    ],
)
def test_settings_of_the_server(
    server: OwnPostgres, store: Store, name: str, check: str, severity: str
) -> None:
    with setting(server, name, "off"):
        found = only(both(store), check)
        assert found.severity == severity
        assert name in found.what
    assert both(store).ok


@pytest.mark.parametrize(
    ("name", "value", "severity"),
    [
        ("synchronous_commit", "off", "warning"),
        ("default_transaction_read_only", "on", "error"),
    ],
)
def test_settings_of_the_database(
    store: Store, url: str, name: str, value: str, severity: str
) -> None:
    database_name = url.rpartition("/")[2]
    execute(url, f'ALTER DATABASE "{database_name}" SET {name} = {value}')
    with Store(url) as again:  # connections of before have the settings of before
        found = only(both(again), "durability")
    assert found.severity == severity
    assert name in found.what


def test_a_version_that_is_too_old(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_OLDEST", {"PostgreSQL": ("99", "warning", "Upgrade.")})
    found = only(both(store), "versions")
    assert found.severity == "warning"
    assert found.what.startswith("This is PostgreSQL 1")


def test_a_standby(spare: OwnPostgres) -> None:
    signal_file = spare.folder / "data" / "standby.signal"
    with spare.database("standby") as url:
        with Store(url) as store:
            store.session("a").append(("user", "Hello."))
        spare.stop()
        signal_file.touch()
        try:
            spare.start()
            with Store(url) as store:
                said = both(store)
        finally:
            spare.stop()
            signal_file.unlink()
            spare.start()
    assert any("standby" in found.what for found in of(said, "durability"))
    assert "damage" in said.checks


def test_pages_that_the_server_finds_damaged(spare: OwnPostgres, binaries: Binaries) -> None:
    program = binaries.server.parent / "pg_checksums"
    if binaries.copy or not program.is_file():
        pytest.skip("there is no pg_checksums that the server's user can run")
    with spare.database("pages") as url:
        with Store(url) as store:
            store.session("a").append(("user", "Hello."))
        execute(url, "CREATE TABLE victim AS SELECT generate_series(1, 1000) AS n", "CHECKPOINT")
        [(path,)] = execute(url, "SELECT pg_relation_filepath('victim')")
        spare.stop()
        data = spare.folder / "data"
        run_as(server_user(), [program, "--enable", "--no-sync", "-D", data], cwd=spare.folder)
        with (data / path).open("r+b") as raw:
            raw.seek(8_000)
            raw.write(b"\xff" * 64)
        spare.start()
        with Store(url) as store:
            assert not [one for one in of(both(store), "durability") if "checksum" in one.what]
            with pytest.raises(psycopg.Error):
                execute(url, "SELECT sum(n) FROM victim")
            found = [one for one in of(both(store), "durability") if "checksum" in one.what]
            assert [one.severity for one in found] == ["error"]


def test_a_pool_that_is_larger_than_the_server_allows(url: str) -> None:
    with Store(url, pool_size=40) as store:
        found = only(both(store), "connections")
    assert found.severity == "error"
    assert "pool_size=40, and the server allows 27 connections" in found.what


def test_a_pool_that_finds_no_room_beside_others(url: str) -> None:
    with Store(url, pool_size=20) as store, connected(url, 12):
        found = only(both(store), "connections")
        assert found.severity == "warning"
        assert "of which others have 1" in found.what
    with Store(url, pool_size=20) as store:
        await_connections(url, 1)
        assert not of(both(store), "connections")


def await_connections(url: str, most: int) -> None:
    """Wait until the server has seen that others have hung up."""
    asked = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
    deadline = time.monotonic() + 20
    while execute(url, asked)[0][0] > most + 1:  # and the administrator's
        assert time.monotonic() < deadline
        time.sleep(0.01)


@contextmanager
def role(url: str, name: str, *grants: str, limit: int = -1) -> Iterator[str]:
    """A role that may do little; the address with which it comes."""
    execute(url, f"CREATE ROLE {name} LOGIN PASSWORD 'x' CONNECTION LIMIT {limit}", *grants)
    try:
        who, _, rest = url.rpartition("@")
        assert who
        yield f"postgresql://{name}:x@{rest}"
    finally:
        execute(url, f"DROP OWNED BY {name}", f"DROP ROLE {name}")


def test_a_limit_of_the_role(store: Store, url: str) -> None:
    with (
        role(url, "narrow", limit=4) as own,
        Store(own, pool_size=5) as narrow,
    ):
        found = only(both(narrow), "connections")
    assert "the role allows 4 connections" in found.what
    with (
        role(url, "narrow", limit=6) as own,
        connected(own, 3),
        Store(own, pool_size=5) as narrow,
    ):
        found = only(both(narrow), "connections")
    assert found.severity == "warning"
    assert "the role allows 6 connections, of which others have 3" in found.what


def test_a_role_that_may_only_read(store: Store, url: str) -> None:
    grant = "GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader"
    with role(url, "reader", grant) as own, Store(own) as reader:
        said = both(reader)
    assert {found.severity for found in of(said, "permissions")} == {"warning"}
    assert len(of(said, "permissions")) == 3
    assert "may not INSERT in onrecord_checkpoint_items" in of(said, "permissions")[0].what
    assert "damage" in said.checks
    assert not of(said, "damage")


def test_a_role_that_may_read_nothing(store: Store, url: str) -> None:
    with role(url, "stranger") as own, Store(own) as stranger:
        said = both(stranger)
    assert "may not SELECT" in of(said, "permissions")[0].what
    assert of(said, "permissions")[0].severity == "error"
    assert only(said, "schema").severity == "error"
    assert "Grant it" in only(said, "schema").what


def test_a_role_that_may_not_make_tables(url: str) -> None:
    with role(url, "guest") as own, Store(own) as guest:
        found = only(both(guest), "schema")
    assert found.severity == "error"
    assert "GRANT CREATE" in found.advice


def test_what_other_roles_do_is_not_shown_to_everybody(store: Store, url: str) -> None:
    grant = "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO plain"
    with role(url, "plain", grant) as own, Store(own) as plain, connected(url):
        found = only(both(plain), "transactions")
        assert found.severity == "note"
        assert "pg_read_all_stats" in found.advice
        assert both(plain).ok


def test_a_transaction_that_does_not_end(
    store: Store, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connected(f"{url}?application_name=forgotten") as (connection,):
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM onrecord_tail")
        assert not of(both(store), "transactions")  # it has just begun
        monkeypatch.setattr(database, "OLD_TRANSACTION", 0.0)
        found = only(both(store), "transactions")
        assert found.severity == "warning"
        assert "forgotten" in found.what
        assert "does nothing in a transaction" in found.what
        connection.execute("ROLLBACK")
        assert not of(both(store), "transactions")


def test_a_transaction_that_was_prepared_and_forgotten(
    store: Store, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "OLD_TRANSACTION", 0.0)
    execute(url, "BEGIN", "CREATE TABLE mine (n int)", "PREPARE TRANSACTION 'left'")
    try:
        found = only(both(store), "transactions")
        assert "'left'" in found.what
        assert "ROLLBACK PREPARED" in found.advice
    finally:
        execute(url, "ROLLBACK PREPARED 'left'")


@pytest.mark.parametrize(("age", "severity"), [(450_000_000, "warning"), (1_700_000_000, "error")])
def test_numbers_of_transactions_that_run_out(
    store: Store, url: str, age: int, severity: str
) -> None:
    """The catalogue says so; the server has used no more than before."""
    assert "wraparound" in both(store).checks
    old = f"CAST(CAST((txid_current() + 4294967296 - {age}) % 4294967296 AS TEXT) AS xid)"
    of_database = "WHERE datname = current_database()"
    execute(url, f"UPDATE pg_database SET datfrozenxid = {old} {of_database}")
    found = only(both(store), "wraparound")
    assert found.severity == severity
    assert f"of transactions that this database keeps is {age:,}"[:-3] in found.what
    assert "should have frozen it at 200,000,000" in found.what
    assert "It is none of our tables." in found.what
    execute(url, f"UPDATE pg_class SET relfrozenxid = {old} WHERE relname = 'onrecord_tail'")
    assert "Of ours onrecord_tail is the oldest: " in only(both(store), "wraparound").what


def test_a_replication_slot_that_nobody_reads(server: OwnPostgres, store: Store, url: str) -> None:
    execute(url, "SELECT pg_create_physical_replication_slot('gone', true)")
    try:
        assert not of(both(store), "transactions")
        for _ in range(5):  # 16 MB each
            execute(url, "SELECT pg_logical_emit_message(false, 'x', 'x'), pg_switch_wal()")
        found = only(both(store), "transactions")
        assert found.severity == "warning"
        assert "'gone' has no reader" in found.what
        assert "MB of its log" in found.what
    finally:
        execute(url, "SELECT pg_drop_replication_slot('gone')")


def test_rows_that_were_never_cleaned_up(
    store: Store, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_MANY_DEAD", 10)
    store.session("b").append([("user", f"Message {n}.") for n in range(30)])
    execute(url, "DELETE FROM onrecord_tail")
    deadline = time.monotonic() + 20
    while not (found := of(store.doctor(), "room")):  # who hung up tells of it a little later
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert found[0].severity == "warning"
    assert "onrecord_tail has 0 rows, and 32 more" in found[0].what
    both(store)


@pytest.mark.parametrize(
    ("ahead", "severity", "says"),
    [
        (-10, "warning", "10.0 seconds behind"),
        (10, "warning", "10.0 seconds ahead of"),
        (-3_600, "error", "60 minutes behind"),
        (3_600, "error", "60 minutes ahead of"),
    ],
)
def test_clocks_that_differ(store: Store, ahead: int, severity: str, says: str) -> None:
    """Of this machine, as it is told to the flow: no test may set a machine's clock."""
    found = of(at(store, ahead), "clock")[0]
    assert found.severity == severity
    assert says in found.what


def test_clocks_that_differ_a_little(store: Store) -> None:
    assert not of(at(store, 2), "clock")
    assert not of(at(store, -2), "clock")


@pytest.mark.parametrize(
    ("readings", "apart"),
    [((10, 15, 20), 0), ((10, 10, 20), 0), ((10, 20, 20), 0), ((10, 25, 20), 5), ((10, 7, 20), -3)],
)
def test_what_is_certain_of_two_clocks(readings: tuple[int, int, int], apart: int) -> None:
    assert database.skew(*readings) == apart


# -- Redis ---------------------------------------------------------------------------------------


def test_a_redis_that_refuses_when_it_is_full(
    cached: Store, config: Callable[..., None], cache_server: OwnRedis
) -> None:
    config("maxmemory-policy", "noeviction")
    found = only(both(cached), "cache-memory")
    assert found.severity == "warning"
    assert "noeviction" in found.what
    assert "allkeys-lru" in found.advice
    with redis.Redis.from_url(cache_server.url) as client:
        config("maxmemory", str(client.info("memory")["used_memory"] + 1_000))
    said = cached.doctor()  # who asks once more finds it fuller
    assert only(said, "cache-memory").severity == "error"


def test_a_redis_that_throws_away(
    cached: Store, config: Callable[..., None], cache_server: OwnRedis
) -> None:
    with redis.Redis.from_url(cache_server.url) as client:
        for n in range(200):
            client.set(f"filler {n}", "x" * 10_000)
        config("maxmemory", str(client.info("memory")["used_memory"]))
        for n in range(100):
            client.set(f"more {n}", "x" * 10_000)
        assert client.info("stats")["evicted_keys"]
    found = only(both(cached), "cache-memory")
    assert found.severity == "note"
    assert "throws away (allkeys-lru)" in found.what


def test_a_redis_without_an_end(cached: Store, config: Callable[..., None]) -> None:
    config("maxmemory", "0")
    found = only(both(cached), "cache-memory")
    assert found.severity == "note"
    assert "no maxmemory" in found.what


def test_a_redis_that_may_take_more_than_there_is(
    cached: Store, config: Callable[..., None]
) -> None:
    config("maxmemory", "1000000gb")
    found = only(both(cached), "cache-memory")
    assert found.severity == "warning"
    assert "its machine has" in found.what


def test_a_redis_that_saves_what_nobody_needs(cached: Store, config: Callable[..., None]) -> None:
    config("save", "3600 1")
    config("appendonly", "yes")
    found = only(both(cached), "cache-disk")
    assert found.severity == "note"
    assert "appendonly" in found.what
    assert "save 3600 1" in found.what


def test_a_clock_of_redis_that_differs(cached: Store) -> None:
    found = only(at(cached, 60), "cache-clock")
    assert found.severity == "note"
    assert "behind this machine's" in found.what
    assert "ahead of this machine's" in only(at(cached, -60), "cache-clock").what
    assert not of(at(cached, 2), "cache-clock")


@contextmanager
def acl(server: OwnRedis, name: str, *rules: str) -> Iterator[str]:
    """A user of Redis who may not do everything; the address with which it comes."""
    with redis.Redis.from_url(server.url) as client:
        client.execute_command("ACL", "SETUSER", name, "on", ">x", "~*", "+@all", *rules)
        try:
            yield server.url.replace("redis://", f"redis://{name}:x@")
        finally:
            client.execute_command("ACL", "DELUSER", name)


def test_a_managed_redis_without_config(tmp_path: Any, cache_server: OwnRedis) -> None:
    with (
        acl(cache_server, "app", "-config") as url,
        Store(tmp_path / "store.db", cache=url) as store,
    ):
        store.session("a").append(("user", "Hello."))
        said = both(store)
    found = only(said, "cache")
    assert found.severity == "note"
    assert "CONFIG" in found.what
    assert not worse(said)
    assert "cache-memory" in said.checks  # which INFO tells


def test_a_redis_that_hides_which_run_it_is(tmp_path: Any, cache_server: OwnRedis) -> None:
    with (
        acl(cache_server, "blind", "-info", "-time", "-config") as url,
        Store(tmp_path / "store.db", cache=url) as store,
    ):
        said = both(store)
    # Without TIME no script runs; what cannot be asked is not held against it as well.
    assert [found.severity for found in of(said, "cache")] == ["error"]
    with (
        acl(cache_server, "blind", "-info") as url,
        Store(tmp_path / "store.db", cache=url) as store,
    ):
        found = only(both(store), "cache")
    assert found.severity == "warning"
    assert "+info" in found.advice


def test_a_redis_that_does_not_let_us_write(tmp_path: Any, cache_server: OwnRedis) -> None:
    with (
        acl(cache_server, "looks", "-rpush") as url,
        Store(tmp_path / "store.db", cache=url) as store,
    ):
        found = only(both(store), "cache")
    assert found.severity == "error"
    assert "It refuses" in found.what


def test_a_replica_of_redis(tmp_path: Any, own_redis: OwnRedis) -> None:
    with (
        redis.Redis.from_url(own_redis.url) as client,
        Store(tmp_path / "store.db", cache=own_redis.url) as store,
    ):
        client.execute_command("REPLICAOF", "127.0.0.1", str(free_port()))
        said = both(store)
    replica = [found for found in of(said, "cache") if "is a replica" in found.what]
    assert [found.severity for found in replica] == ["error"]


def test_a_redis_that_is_too_old(cached: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_checks, "_OLDEST", "99")
    found = only(both(cached), "cache")
    assert found.severity == "error"
    assert "99 is needed" in found.what


def test_a_server_that_says_nothing_of_itself() -> None:
    """What a service leaves out is left out here, and nothing is made of it."""
    silent = CacheServer(
        name="",
        product="Redis",
        version=None,
        replica=False,
        policy=None,
        most=None,
        used=None,
        machine=None,
        evicted=0,
        appends=False,
        saves=None,
        clock=None,
        refused=(),
    )
    servers = cache_checks.Servers()
    servers.found = [silent]
    found: list[Finding] = [
        *cache_checks.memory(servers),
        *cache_checks.disk(servers),
        *cache_checks.clock(servers),
    ]
    assert found == []
