"""Schemas that are used again, as empty as new ones: making sixteen tables takes a fifth of a
second on PostgreSQL, and the contracts ask for some thousand of them."""

from __future__ import annotations

import contextlib
import itertools
import secrets
from collections.abc import Iterator
from typing import Any

import psycopg
from psycopg import sql

from onrecord import Store
from tests.partitioned import partition, spread_by_citus
from tests.servers.postgres import PostgresServer

TRUNCATED_EACH = 100
"""Uses of a schema after which its dead rows, a few hundred, are thrown away."""
KEPT = {"onrecord_meta", "onrecord_counters", "onrecord_migrations"}


class Reused:
    """A database whose schemas are emptied for the next test, over a connection that is kept."""

    def __init__(self, url: str, connection: psycopg.Connection[tuple[Any, ...]]) -> None:
        self.url = url
        self._connection = connection
        self._tables: dict[str, list[str]] = {}
        self._sequences: dict[str, list[str]] = {}
        """Of schemas whose tables are in one piece."""
        self._uses: dict[str, int] = {}

    def emptied(self, schema: str) -> str:
        """The schema, without a row in it, and with another name in any cache."""
        if names := self._tables_of(schema):
            tables = [sql.Identifier(schema, name) for name in names]
            # Most tests write to few of them, and to look is quicker than to empty.
            looks = [sql.SQL("EXISTS (SELECT 1 FROM {})").format(table) for table in tables]
            found = self._ask(sql.SQL("SELECT {}").format(sql.SQL(", ").join(looks)))
            written = [table for table, any_row in zip(tables, found[0], strict=True) if any_row]
            if written:
                self._empty(schema, written)
            rename = sql.SQL("UPDATE {} SET value = {} WHERE name IN ('cache_id', 'store_id')")
            meta = sql.Identifier(schema, "onrecord_meta")
            self._connection.execute(rename.format(meta, sql.Literal(secrets.token_bytes(16))))
        return schema

    def _empty(self, schema: str, tables: list[sql.Identifier]) -> None:
        """To truncate makes new files, a millisecond a table: rows are deleted, as long as few
        dead ones lie there."""
        self._uses[schema] = self._uses.get(schema, 0) + 1
        if schema not in self._sequences or self._uses[schema] % TRUNCATED_EACH == 0:
            truncate = sql.SQL("TRUNCATE {} RESTART IDENTITY")
            self._connection.execute(truncate.format(sql.SQL(", ").join(tables)))
            return
        steps = [sql.SQL("DELETE FROM {}").format(table) for table in tables]
        restart = sql.SQL("SELECT setval({}::regclass::oid, 1, false)")
        steps += [restart.format(sql.Literal(name)) for name in self._sequences[schema]]
        self._connection.execute(sql.SQL("; ").join(steps))

    def partitioned(self, schema: str) -> str:
        """The same, of tables that are spread over partitions."""
        if not self._tables_of(schema):
            partition(self.url, schema)
        return self.emptied(schema)

    def by_citus(self, schema: str) -> str:
        """The same, of tables that Citus spreads."""
        if not self._tables_of(schema):
            spread_by_citus(self.url, schema)
        return self.emptied(schema)

    def _tables_of(self, schema: str) -> list[str]:
        """Those to be emptied; none as long as nobody has opened a store there."""
        if not self._tables.get(schema):
            # With a table its partitions are emptied.
            found = self._ask(
                sql.SQL(
                    "SELECT relname, relkind FROM pg_class "
                    "JOIN pg_namespace n ON n.oid = relnamespace "
                    "WHERE nspname = {} AND relkind IN ('r', 'p') AND NOT relispartition"
                ).format(sql.Literal(schema))
            )
            self._tables[schema] = [name for name, _ in found if name not in KEPT]
            if all(kind == "r" for _, kind in found):
                self._sequences[schema] = self._sequences_of(schema)
        return self._tables[schema]

    def _sequences_of(self, schema: str) -> list[str]:
        return [
            name
            for (name,) in self._ask(
                sql.SQL(
                    "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n "
                    "ON n.oid = relnamespace WHERE nspname = {} AND relkind = 'S'"
                ).format(sql.Literal(schema))
            )
        ]

    def _ask(self, query: sql.Composed) -> list[tuple[Any, ...]]:
        # Without parameters: a schema may have %s in its name.
        return self._connection.execute(query).fetchall()


@contextlib.contextmanager
def reused(server: PostgresServer, name: str) -> Iterator[Reused]:
    """A database of such schemas."""
    with server.database(name) as url, psycopg.connect(url, autocommit=True) as connection:
        yield Reused(url, connection)


_numbers = itertools.count(1)
"""Of all that are lent in this process, whoever lends them."""


class Kept:
    """Databases in which a store has made its tables, lent to one test after the other.

    One that has other tables afterwards is thrown away, so a test may do in it what it likes.
    """

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self._free: list[_Lent] = []

    @contextlib.contextmanager
    def lend(self) -> Iterator[str]:
        lent, good = self._free.pop() if self._free else self._made(), False
        try:
            yield lent.reused.url
            good = lent.put_back()
        finally:
            if good:
                self._free.append(lent)
            else:
                self._throw_away(lent)

    def close(self) -> None:
        for lent in self._free:
            self._throw_away(lent)

    def _throw_away(self, lent: _Lent) -> None:
        lent.connection.close()
        self._server.drop_database(lent.name)

    def _made(self) -> _Lent:
        name = f"kept_{next(_numbers)}"
        url = self._server.create_database(name)
        with contextlib.closing(Store(url, pool_size=1)) as store:
            store.migrate()
        return _Lent(name, url, psycopg.connect(url, autocommit=True))


class _Lent:
    """One of them, and how it was when it was made."""

    def __init__(
        self, name: str, url: str, connection: psycopg.Connection[tuple[Any, ...]]
    ) -> None:
        self.name, self.connection = name, connection
        self.reused = Reused(url, connection)
        connection.execute("CREATE SCHEMA kept")
        for table in KEPT:
            connection.execute(f"CREATE TABLE kept.{table} AS TABLE public.{table}")
        self._relations = self._shape()

    def put_back(self) -> bool:
        """As it was; false if that would take more than to empty its tables."""
        self.connection.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        if self._shape() != self._relations:
            return False
        for table in KEPT:
            self.connection.execute(
                f"DELETE FROM public.{table}; "
                f"INSERT INTO public.{table} OVERRIDING SYSTEM VALUE SELECT * FROM kept.{table}"
            )
        self.reused.emptied("public")
        return True

    def _shape(self) -> list[tuple[Any, ...]]:
        return self.connection.execute(
            "SELECT nspname, relname, relkind, relnatts "
            "FROM pg_namespace n LEFT JOIN pg_class ON relnamespace = n.oid "
            "WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' ORDER BY 1, 2"
        ).fetchall()
