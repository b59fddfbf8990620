"""Read a table in short steps, in transactions that can only read."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy
from sqlalchemy import Connection
from sqlalchemy import exc as faults

from onrecord.adapters.importing.engines import Opened, explained, shown
from onrecord.adapters.importing.source import Source
from onrecord.errors import Misconfigured


class InTable(Source):
    """Conversations in one table."""

    def __init__(self, opened: Opened, table: str, schema: str | None) -> None:
        self.label = table
        self.name = f"sql:{table}" if schema is None else f"sql:{schema}.{table}"
        self._engine, self._owned = opened
        self._schema = schema
        self._where = shown(self._engine.url)
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the engine, if it is not the caller's."""
        with self._lock:
            if self._owned:
                self._engine.dispose()

    def _described(self, connection: Connection, names: Sequence[str]) -> list[Any]:
        """Describe the table's columns, under the names they have here."""
        inspector = sqlalchemy.inspect(connection)
        try:
            types = {c["name"]: c["type"] for c in inspector.get_columns(self.label, self._schema)}
        except faults.NoSuchTableError:
            there = ", ".join(sorted(inspector.get_table_names(self._schema))[:10]) or "none"
            raise Misconfigured(
                f"{self._where} has no table {self.label!r}. Its tables are: {there}. Pass the "
                f"right one as table=, and schema= if it is in another schema."
            ) from None
        missing = [name for name in names if name not in types]
        if missing:
            raise Misconfigured(
                f"{self.label!r} in {self._where} has no column {missing[0]!r}, so it is not a "
                f"table of this kind of history, or its columns have other names. It has: "
                f"{', '.join(types)}."
            )
        columns: list[Any] = [sqlalchemy.column(name, types[name]) for name in names]
        sqlalchemy.table(self.label, *columns, schema=self._schema)
        return columns

    @contextmanager
    def _asking(self) -> Iterator[Connection]:
        """Connect for one step, in a transaction that can only read."""
        with self._lock:
            try:
                with self._engine.connect() as connection, _read_only(connection):
                    yield connection
            except (faults.DBAPIError, faults.TimeoutError) as fault:
                raise explained(fault, self._where, self.label) from fault


def is_text(id_: str) -> bool:
    """Whether a database can hold an id as text."""
    try:
        id_.encode()
    except UnicodeEncodeError:
        return False
    return True


@contextmanager
def _read_only(connection: Connection) -> Iterator[None]:
    """Make a transaction read-only where the database can; only SELECTs are sent anyway."""
    name = connection.dialect.name
    if name == "postgresql":
        connection.execution_options(postgresql_readonly=True)
    if name != "sqlite":
        yield
        return
    driver: Any = connection.connection.driver_connection
    before, reads = connection.exec_driver_sql("PRAGMA query_only").scalar(), driver.text_factory
    connection.exec_driver_sql("PRAGMA query_only = 1")
    # Otherwise one text that is not UTF-8 makes all rows beside it unreadable.
    driver.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
    try:
        yield
    finally:
        driver.text_factory = reads
        connection.exec_driver_sql(f"PRAGMA query_only = {before}")
