"""Migrations that do not block: tomorrow's index and tomorrow's values, beside who writes."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from onrecord import Misconfigured, Store
from onrecord.ledger.database.transaction import Transaction
from onrecord.ledger.schema import beside, migrations
from onrecord.ledger.schema.steps import STEPS, FillStep, IndexStep, TableStep
from tests.children import PATIENCE
from tests.command_line import run
from tests.doctoring import of, only
from tests.partitioned import partition
from tests.servers.binaries import Missing
from tests.servers.pgbouncer import OwnPgBouncer, find_pgbouncer
from tests.servers.postgres import OwnPostgres
from tests.servers.process import environment

INDEX = "onrecord_sessions_by_mood"
COLUMN, BUILD, FILL = "0002 moods", "0003 sessions by mood", "0004 moods of old sessions"
ALL = [COLUMN, BUILD, FILL]
BUILDING = f"CREATE INDEX%{INDEX}%"
PUBLIC = "public"


def _column(txn: Transaction, kind: str) -> None:
    txn.run("ALTER TABLE {sessions} ADD COLUMN mood BIGINT")


@contextmanager
def tomorrow() -> Iterator[None]:
    """As it is with a version that has three steps more."""
    some = "SELECT id FROM {sessions} WHERE mood IS NULL LIMIT :limit"
    with pytest.MonkeyPatch.context() as patch:
        steps = (
            *STEPS,
            TableStep(COLUMN, _column, "adds moods", ("sessions",)),
            IndexStep(BUILD, INDEX, "sessions", "(mood, id)"),
            FillStep(
                FILL,
                f"UPDATE {{sessions}} SET mood = 7 WHERE id IN ({some})",
                "sessions",
                "gives a mood to sessions",
            ),
        )
        patch.setattr(migrations, "STEPS", steps)
        patch.setattr(beside, "ROWS_AT_ONCE", 2)
        yield


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'a.db'}"
    made: str = request.getfixturevalue("postgres_url")
    return made


def fill(url: str, **settings: Any) -> None:
    """Sessions of today."""
    with Store(url, **settings) as store:
        for n in range(5):
            store.session(f"s{n}").append(("user", "x"))


def is_valid(url: str, index: str = INDEX, schema: str = PUBLIC) -> list[tuple[bool]]:
    """Of each index whose name begins so, whether it can be used."""
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(
            "SELECT i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
            " WHERE starts_with(c.relname, %s) AND c.relnamespace = CAST(%s AS regnamespace)",
            [index, schema],
        ).fetchall()


def moods(store: Store) -> set[int]:
    rows = store._ledger.read(lambda txn: txn.rows("SELECT mood FROM {sessions}", {}))
    return {mood for (mood,) in rows}


@contextmanager
def busy(url: str) -> Iterator[psycopg.Connection[Any]]:
    """A writer whose transaction has not ended: what needs the table for itself waits for it."""
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE onrecord_sessions SET head = head WHERE key = 's0'")
        yield connection


def wait_for(url: str, what: str, also: str = "", of: Future[Any] | None = None) -> None:
    """Wait until a statement like this waits for a lock; then, it may be, do something with it."""
    with psycopg.connect(url, autocommit=True) as connection:
        while not connection.execute(
            f"SELECT pid {also} FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            " AND datname = current_database() AND query LIKE %s",
            [what],
        ).fetchall():
            assert of is None or not of.done(), of


def test_all_kinds_of_steps(url: str) -> None:
    fill(url)
    with tomorrow(), Store(url, migrate=False) as store:
        assert [step.name for step in store.migrate(dry_run=True)] == ALL
        assert store.migrate() == ALL
        assert store.migrate() == []
        assert store.migrate(dry_run=True) == []
        assert moods(store) == {7}
        assert not of(store.doctor(), "schema")
        store.session("s0").append(("user", "y"))
    if url.startswith("postgresql"):
        assert is_valid(url) == [(True,)]


def test_what_it_would_do(url: str) -> None:
    sqlite = url.startswith("sqlite")
    with Store(url, timeout=3) as store:
        (first,) = store.migrate(dry_run=True)
        assert (first.name, first.waits, first.tables) == (STEPS[0].name, "nobody", ())
        assert not sqlite or not Path(url.removeprefix("sqlite:///")).exists(), "it makes nothing"
    fill(url)
    with tomorrow(), Store(url, migrate=False, timeout=3) as store:
        column, index, rows = store.migrate(dry_run=True)
        assert column.rows is None
        assert index.tables == rows.tables == column.tables == ("onrecord_sessions",)
        assert index.does == f"builds the index {INDEX}"
        assert (index.rows == rows.rows == 5) if sqlite else (index.rows or 0) > 0
        waits = [one.waits for one in (column, index, rows)]
        if sqlite:
            assert waits == ["writers", "writers", "nobody"]
            assert "Who writes waits until it is done; who reads goes on." in index.locks
        else:
            assert waits == ["everybody", "nobody", "nobody"]
            assert "onrecord_sessions, at most 3 s" in column.locks
            assert "built beside who reads and writes" in index.locks
        assert "1,000 rows at a time" in rows.locks
        with pytest.raises(Misconfigured, match=COLUMN):
            store.session("s").append(("user", "it did nothing"))


def test_the_command_says_what_it_would_do(url: str) -> None:
    said = run("migrate", "--dry-run", "--url", url)
    assert said.code == 0, said
    assert "0001 tables  makes the tables" in said.out
    assert "1 step to do: " in said.out
    record = json.loads(run("migrate", "--dry-run", "--json", "--url", url).out)
    assert (record["type"], record["name"]) == ("planned", "0001 tables")
    assert record["waits"] == "nobody"
    assert "1 step done" in run("migrate", "--url", url).out
    assert "It is up to date: " in run("migrate", "--dry-run", "--url", url).out


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """No table is so small that who opens a store goes through it by itself."""
    monkeypatch.setattr(beside, "SMALL", -1)


@pytest.mark.usefixtures("large")
def test_who_writes_goes_on_while_an_index_is_built(postgres_url: str) -> None:
    """The build waits for a transaction, so it goes on for as long as this test wants."""
    fill(postgres_url)
    with (
        Store(postgres_url, timeout=0.5) as yesterday,
        ThreadPoolExecutor(2) as threads,
    ):
        chat = yesterday.session("s1")
        chat.append(("user", "before"))
        with (
            tomorrow(),
            Store(postgres_url, timeout=0.5) as first,
            Store(postgres_url, timeout=0.5) as second,
        ):
            assert first.session("s1").count() == 2, "it made the column, and left what takes long"
            with busy(postgres_url) as holder:
                built = threads.submit(first.migrate)
                wait_for(postgres_url, BUILDING, of=built)
                also = threads.submit(second.migrate)
                chat.append(("user", "of yesterday"))
                with Store(postgres_url, timeout=0.5) as today:
                    today.session("s1").append(("user", "of today"))
                    said = [found.what for found in of(today.doctor(), "schema")]
                assert f"{PUBLIC}.{INDEX} is being built now." in said
                assert not built.done()
                holder.rollback()
                assert built.result(PATIENCE) == [BUILD, FILL]
                assert also.result(PATIENCE) == [BUILD, FILL]
            assert chat.count() == 4
            assert moods(first) == {7}
    assert is_valid(postgres_url) == [(True,)]


@pytest.mark.usefixtures("large")
def test_a_build_whose_connection_is_cut_off_begins_again(postgres_url: str) -> None:
    fill(postgres_url)
    with (
        tomorrow(),
        Store(postgres_url) as store,
        ThreadPoolExecutor(1) as threads,
    ):
        store.session("s0").count()  # makes the column
        with busy(postgres_url) as holder:
            built = threads.submit(store.migrate)
            wait_for(postgres_url, BUILDING, ", pg_terminate_backend(pid)", of=built)
            wait_for(postgres_url, f"DROP INDEX CONCURRENTLY%{INDEX}%", of=built)
            assert is_valid(postgres_url) == [(False,)], "what was left is not taken for an index"
            holder.rollback()
            assert built.result(PATIENCE) == [BUILD, FILL]
    assert is_valid(postgres_url) == [(True,)]


MIGRATES = """
import sys
from onrecord import Store
from tests.test_migrating import tomorrow
with tomorrow(), Store(sys.argv[1], timeout=60) as store:
    store.migrate()
"""


@pytest.mark.usefixtures("large")
def test_a_build_whose_process_is_killed_is_done_again(postgres_url: str) -> None:
    fill(postgres_url)
    with tomorrow(), Store(postgres_url) as store:
        store.session("s0").count()  # makes the column
        with busy(postgres_url) as holder:
            running = subprocess.Popen(
                [sys.executable, "-c", MIGRATES, postgres_url],
                env={**environment(), "PYTHONPATH": os.pathsep.join(sys.path)},
            )
            try:
                wait_for(postgres_url, BUILDING)
            finally:
                running.kill()
                running.wait()
            # The server notices only when it has something to say; so it is told.
            wait_for(postgres_url, BUILDING, ", pg_terminate_backend(pid)")
            holder.rollback()
        assert is_valid(postgres_url) == [(False,)]
        store.session("s0").append(("user", "y"))
        lacks, broken = of(store.doctor(), "schema")
        assert repr(BUILD) in lacks.what
        assert f"The index {PUBLIC}.{INDEX} of onrecord_sessions is not valid" in broken.what
        assert "migrate()" in broken.advice
        assert store.migrate() == [BUILD, FILL]
        assert is_valid(postgres_url) == [(True,)]
        assert not of(store.doctor(), "schema")
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute(
                "UPDATE pg_index SET indisvalid = FALSE WHERE indexrelid = "
                f"CAST('{INDEX}' AS regclass)"
            )
        broken = only(store.doctor(), "schema")
        assert f"DROP INDEX CONCURRENTLY {PUBLIC}.{INDEX}" in broken.advice


def test_partitions_are_given_theirs_one_by_one(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beside, "SMALL", -1)
    partition(postgres_url, "spread")
    fill(postgres_url, schema="spread")
    with tomorrow(), Store(postgres_url, schema="spread") as store:
        store.session("s0").append(("user", "y"))
        planned, _ = store.migrate(dry_run=True)
        assert "On each of 4 partitions" in planned.locks
        assert store.migrate() == [BUILD, FILL]
        assert is_valid(postgres_url, schema="spread") == 5 * [(True,)]
        store.session("s0").append(("user", "z"))
        assert not of(store.doctor(), "schema")


def test_who_opens_a_store_does_what_takes_a_moment(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    fill(url)
    with tomorrow(), Store(url) as store:
        store.session("s0").append(("user", "y"))
        assert store.migrate() == []
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.usefixtures("large")
def test_who_opens_a_store_leaves_what_takes_long(
    postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    fill(postgres_url)
    with tomorrow():
        for migrate in (True, False):
            caplog.clear()
            with Store(postgres_url, migrate=migrate) as store:
                store.session("s0").append(("user", "y"))
                (found,) = of(store.doctor(), "schema")
                assert (found.severity, BUILD in found.what) == ("warning", True)
            said = [record.getMessage() for record in caplog.records]
            for step in (BUILD, FILL):
                assert [line for line in said if f"lacks {step!r}" in line and "`onrecord" in line]


def test_who_opens_a_store_waits_for_nobody(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A writer is in the way of an index that is not built beside it."""
    monkeypatch.setattr(beside, "_SHORTLY", "1ms")
    fill(postgres_url)
    with tomorrow():
        with monkeypatch.context() as patch, Store(postgres_url) as store:
            patch.setattr(beside, "SMALL", -1)
            store.session("s0").count()  # makes the column
        with busy(postgres_url), Store(postgres_url, timeout=3_600) as store:
            store.session("s1").append(("user", "y"))
        assert f"lacks {BUILD!r}" in caplog.text
        with Store(postgres_url) as store:
            assert store.migrate() == [BUILD, FILL]


def test_no_index_is_built_through_a_pooler(own_postgres: OwnPostgres) -> None:
    """Its lock would stay on a connection that is another's in the next moment."""
    found = find_pgbouncer()
    if isinstance(found, Missing):
        pytest.skip(found.reason)
    fill(own_postgres.url)
    pooler = OwnPgBouncer(found, own_postgres.url)
    try:
        with (
            tomorrow(),
            pytest.MonkeyPatch.context() as patch,
            Store(pooler.address_of(own_postgres.url)) as store,
        ):
            patch.setattr(beside, "SMALL", -1)
            with pytest.raises(Misconfigured, match=r"a pooler.*server itself.*goes on") as caught:
                store.migrate()
            assert "The steps before '0003 sessions by mood' are done" in str(caught.value)
            store.session("s0").append(("user", "y"))
    finally:
        pooler.close()
