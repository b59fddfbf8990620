"""A read of a database without tables finds nothing and makes nothing; a write makes them."""

from __future__ import annotations

import asyncio
import io
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from onrecord import ANY, CheckpointLog, Misconfigured, Store, Version
from onrecord.ledger.database.transaction import Transaction
from onrecord.ledger.schema import migrations
from onrecord.ledger.schema.steps import STEPS, TableStep
from tests.servers.redis import RedisServer

READS: dict[str, tuple[Callable[[Store], object], object]] = {
    "tail": (lambda store: store.session("s").tail(), []),
    "messages": (lambda store: store.session("s").messages(), []),
    "archived": (lambda store: store.session("s").messages(archived=True), []),
    "scan": (lambda store: list(store.session("s").scan()), []),
    "window": (lambda store: list(store.session("s").window(tokens=10)), []),
    "count": (lambda store: store.session("s").count(), 0),
    "head": (lambda store: store.session("s").head(), 0),
    "version": (lambda store: store.session("s").version(), Version(0, 0)),
    "info": (lambda store: store.session("s").info().created_at, None),
    "sessions": (lambda store: store.sessions(tenant=ANY, user=ANY, agent=ANY), []),
    "stats": (lambda store: store.stats().messages, 0),
    "verify": (lambda store: store.verify(), []),
    "export": (lambda store: store.export(io.BytesIO()).sessions, 0),
    "a dry run": (lambda store: store.prune(dry_run=True).sessions, ()),
    "threads": (lambda store: CheckpointLog(store).threads(), []),
    "a state": (lambda store: CheckpointLog(store).state("t"), None),
    "health": (lambda store: store.health().database.ok, True),
    "async tail": (lambda store: asyncio.run(store.session("s").atail()), []),
    "async sessions": (lambda store: asyncio.run(store.asessions()), []),
    "async verify": (lambda store: asyncio.run(store.averify()), []),
}


@pytest.fixture(params=["sqlite", "postgresql", "postgresql with redis", "a schema"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, dict[str, Any]]:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.db'}", {}
    url: str = request.getfixturevalue("postgres_url")
    if request.param == "a schema":
        return url, {"schema": "of its own"}
    if request.param == "postgresql with redis":
        redis: RedisServer = request.getfixturevalue("redis_server")
        return url, {"cache": redis.url}
    return url, {}


def things(url: str) -> list[Any]:
    """Everything there is: files, tables, schemas."""
    if url.startswith("sqlite"):
        file = Path(url.removeprefix("sqlite:///"))
        return [(found.name, found.stat().st_size) for found in file.parent.iterdir()]
    with psycopg.connect(url) as connection:
        return connection.execute(
            """SELECT relname FROM pg_class WHERE relname LIKE 'onrecord%'
            UNION ALL SELECT nspname FROM pg_namespace WHERE nspname = 'of its own'"""
        ).fetchall()


@pytest.mark.parametrize("what", READS)
def test_a_read_makes_no_tables(database: tuple[str, dict[str, Any]], what: str) -> None:
    url, settings = database
    read, expected = READS[what]
    with Store(url, **settings) as store:
        assert read(store) == expected
        assert things(url) == []


def test_the_first_write_makes_the_tables(database: tuple[str, dict[str, Any]]) -> None:
    url, settings = database
    with Store(url, **settings) as store, Store(url, **settings) as other:
        assert store.session("s").tail() == other.session("s").tail() == []
        store.session("s").append(("user", "hello"))
        for reader in (store, other):  # who found nothing looks again
            assert [message.text for message in reader.session("s").tail()] == ["hello"]
            assert [message.text for message in reader.session("s").messages()] == ["hello"]
        assert store.stats().messages == other.stats().messages == 1
        assert store.migrate() == []


def test_the_first_write_is_marked_in_the_cache(
    postgres_url: str, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its tables come first, or nobody would know by which name to mark it."""
    with Store(postgres_url, cache=redis_server.url) as store:
        mark, names = store._hot.mark, list[str]()

        def marked(*given: Any, **more: Any) -> Any:
            names.append(store._cache_id())
            return mark(*given, **more)

        monkeypatch.setattr(store._hot, "mark", marked)
        store.session("s").append(("user", "hello"))
        assert set(names) == {store._ledger.cache_id()}


def test_tables_of_others_are_left_alone(tmp_path: Path) -> None:
    """A read of somebody else's file does not even change how it keeps its journal."""
    file = tmp_path / "theirs.db"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    before = file.read_bytes()
    with Store(f"sqlite:///{file}") as store:
        assert store.session("s").messages() == []
        assert store.sessions() == []
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


def test_a_store_that_must_not_migrate_says_so_on_a_read(tmp_path: Path) -> None:
    with (
        Store(f"sqlite:///{tmp_path / 'never.db'}", migrate=False) as store,
        pytest.raises(Misconfigured, match="has not been migrated"),
    ):
        store.session("s").messages()
    assert list(tmp_path.iterdir()) == []


def test_an_older_database_is_migrated_by_a_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is ours, and today's statements need today's columns."""
    url = f"sqlite:///{tmp_path / 'old.db'}"
    with Store(url) as store:
        store.migrate()

    def make_more(txn: Transaction, kind: str) -> None:
        txn.run("ALTER TABLE {meta} ADD COLUMN more TEXT")

    monkeypatch.setattr(migrations, "STEPS", (*STEPS, TableStep("9999 more", make_more, "")))
    with Store(url) as store:
        assert CheckpointLog(store).threads() == []
        found = store._ledger.read(lambda txn: txn.rows("SELECT name FROM {migrations}", {}))
        store._ledger.read(lambda txn: txn.rows("SELECT more FROM {meta}", {}))
    assert sorted(found) == [*((step.name,) for step in STEPS), ("9999 more",)]


def test_an_empty_database_takes_only_the_first_step(
    database: tuple[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It makes the tables of today: what a later step adds to older ones is in them already."""

    def add_what_is_there(txn: Transaction, kind: str) -> None:
        txn.run("ALTER TABLE {sessions} ADD COLUMN lineage BIGINT")

    monkeypatch.setattr(
        migrations, "STEPS", (*STEPS, TableStep("9999 lineage", add_what_is_there, ""))
    )
    url, settings = database
    with Store(url, **settings) as store:
        assert store.migrate() == [*(step.name for step in STEPS), "9999 lineage"]
        assert store.migrate() == []
        store.session("s").append(("user", "hello"))
    with Store(url, **settings) as store:
        assert store.session("s").count() == 1
