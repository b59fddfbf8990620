"""What it costs to open a database, in round trips and commits: tables are made within the first
request, and for each test anew."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from langgraph_onrecord import OnrecordSaver
from onrecord import Store
from onrecord.ledger.database.dialect import TABLES


@pytest.fixture
def round_trips(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What psycopg is asked to send, each of it a round trip."""
    sent: list[str] = []
    execute: Any = psycopg.Cursor.execute

    def counting(cursor: Any, query: Any, *given: Any, **more: Any) -> Any:
        sent.append(query.decode() if isinstance(query, bytes) else str(query))
        return execute(cursor, query, *given, **more)

    commit = psycopg.Connection.commit

    def committing(connection: psycopg.Connection[Any]) -> None:
        sent.append("COMMIT")
        commit(connection)

    monkeypatch.setattr(psycopg.Cursor, "execute", counting)
    monkeypatch.setattr(psycopg.Connection, "commit", committing)
    return sent


@pytest.mark.parametrize("schema", [None, 'of "one" test%'])
def test_tables_are_made_in_one_round_trip(
    postgres_url: str, round_trips: list[str], schema: str | None
) -> None:
    with Store(postgres_url, schema=schema) as store:
        store.migrate()
    settings, looked, *asked, made, committed, learned = round_trips
    assert settings.startswith("SET ")
    assert "to_regclass" in looked
    # With a schema it has to be known whether it is there.
    assert len(asked) == (1 if schema is None else 2)
    assert asked[0].startswith("BEGIN")
    assert "pg_advisory_xact_lock" in asked[0]
    assert made.count("CREATE TABLE") == len(TABLES) - 1, "that of migrations is there"
    assert committed == "COMMIT"
    assert "onrecord_meta" in learned


def test_a_database_that_has_its_tables_is_asked_twice_what_it_is(
    postgres_url: str, round_trips: list[str]
) -> None:
    with Store(postgres_url) as store:
        store.migrate()
    round_trips.clear()
    with Store(postgres_url) as store:
        store.migrate()
    settings, looked, applied, learned = round_trips
    assert settings.startswith("SET ")
    assert "to_regclass" in looked
    assert applied == "SELECT name FROM onrecord_migrations"
    assert "onrecord_meta" in learned


SETUPS: dict[str, Callable[[Store], object]] = {
    "store.migrate()": lambda store: store.migrate(),
    "saver.setup()": lambda store: OnrecordSaver(store).setup(),
}


@pytest.mark.parametrize("setup", SETUPS.values(), ids=SETUPS.keys())
def test_after_a_setup_the_first_request_costs_what_the_next_does(
    postgres_url: str, round_trips: list[str], setup: Callable[[Store], object]
) -> None:
    with Store(postgres_url) as store:
        setup(store)
        costs = []
        for key in ("first", "second"):
            round_trips.clear()
            store.session(key).append(("user", "Hi."))
            costs.append(len(round_trips))
    assert costs[0] == costs[1]


@pytest.mark.parametrize("existing", [False, True])
def test_an_append_to_what_was_created_is_one_round_trip(
    postgres_url: str, round_trips: list[str], existing: bool
) -> None:
    with Store(postgres_url) as store:
        session = store.session("s")
        session.create()
        round_trips.clear()
        session.append(("user", "Hi."), existing=existing)
    (asked,) = round_trips
    assert asked.lstrip().startswith("WITH moved")


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The first words of what SQLite is asked."""
    said: list[str] = []
    connect = sqlite3.connect

    def traced(*given: Any, **settings: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*given, **settings)
        connection.set_trace_callback(lambda statement: said.append(statement.split()[0]))
        return connection

    monkeypatch.setattr(sqlite3, "connect", traced)
    return said


def test_tables_are_made_in_one_commit(tmp_path: Path, said: list[str]) -> None:
    """Each that has written something is a wait for the disk."""
    with Store(f"sqlite:///{tmp_path / 'store.db'}") as store:
        store.session("s").append(("user", "Hi."))
    commits = " ".join(said).split("COMMIT")[:-1]
    wrote = [words for words in commits if {"CREATE", "INSERT", "UPDATE"} & set(words.split())]
    assert len(wrote) == 2, "the tables, and the append"
