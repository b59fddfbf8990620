"""Databases and schemas that are used again: empty, under another name, and as they were made."""

from __future__ import annotations

from contextlib import ExitStack, closing

import psycopg

from onrecord import Store
from tests.emptied import Kept, Reused, reused
from tests.servers.postgres import PostgresServer


def ask(url: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


META = "SELECT name, value FROM onrecord_meta ORDER BY 1"


def test_a_schema_is_as_a_new_one_with_another_name(postgres: PostgresServer) -> None:
    def filled(database: Reused, schema: str) -> tuple[list[object], str]:
        with Store(database.url, schema=schema) as store:
            found: list[object] = list(store.sessions(user="ada"))
            store.session("s", user="ada").append(("user", "hello"))
            store.items("facts", user="ada").put("k", 1)
        return found, str(ask(database.url, META.replace("FROM ", f'FROM "{schema}".')))

    with reused(postgres, "reused") as database:
        names = [filled(database, database.emptied("100% %s")) for _ in range(2)]
        names += [filled(database, database.partitioned("spread")) for _ in range(2)]
    assert [found for found, _ in names] == [[]] * 4
    assert len({meta for _, meta in names}) == 4


def test_a_kept_database_is_lent_again_empty(postgres: PostgresServer) -> None:
    with closing(Kept(postgres)) as kept, ExitStack() as later:
        with kept.lend() as url:
            first = ask(url, META)
            with Store(url) as store:
                store.items("facts").put("k", 1)
            ask(url, "INSERT INTO onrecord_meta VALUES ('odd', 'x')")
            ask(url, "INSERT INTO onrecord_migrations VALUES ('9999 odd')")
            left_open = later.enter_context(closing(psycopg.connect(url)))
            left_open.execute("LOCK TABLE onrecord_items")
        with kept.lend() as again:
            assert again == url
            second = ask(url, META)
            assert [name for name, _ in second] == [name for name, _ in first]
            assert second != first, "it has another name in a cache"
            with Store(again) as store:
                assert store.items("facts").list() == []
                assert store.migrate() == []
            with kept.lend() as other:
                assert other != url


def test_one_that_looks_otherwise_is_thrown_away(postgres: PostgresServer) -> None:
    with closing(Kept(postgres)) as kept:
        with kept.lend() as url:
            ask(url, "CREATE SCHEMA theirs")
        with kept.lend() as other:
            assert other != url
            ask(other, "ALTER TABLE onrecord_tail ADD COLUMN more INT")
        with kept.lend() as third:
            assert third not in (url, other)
