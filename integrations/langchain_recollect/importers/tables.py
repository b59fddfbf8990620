"""Histories in a table, each message a row: SQLChatMessageHistory, and langchain-postgres."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple
from uuid import UUID

import sqlalchemy
from sqlalchemy import JSON, Connection, Engine, Text, Uuid, func, select
from sqlalchemy import exc as faults

from langchain_recollect.importers.engines import explained, shown
from langchain_recollect.importers.rows import as_bytes, said_in
from recollect import Misconfigured
from recollect.bringing import Conversation, Mark, Page, Row, Source, Unread, digest, printable

_AT_A_TIME: Final = 100
"""How many conversations are looked up together: without an index, each look-up is a scan."""


class Columns(NamedTuple):
    id: str
    session: str
    message: str
    created: str | None = None


class _Found(NamedTuple):
    """The same as SQLAlchemy has them."""

    id: Any
    session: Any
    message: Any
    created: Any


POSTGRES: Final = Columns("id", "session_id", "message", "created_at")


class Tables(Source):
    """Conversations in one table, where each message is a row."""

    def __init__(
        self,
        engine: Engine,
        owned: bool,
        table: str,
        schema: str | None,
        columns: Columns,
        wanted: list[str] | None,
    ) -> None:
        self.label = table
        self.name = f"sql:{table}" if schema is None else f"sql:{schema}.{table}"
        self._engine = engine
        self._owned = owned
        self._schema = schema
        self._columns = columns
        self._wanted = wanted
        self._where = shown(engine.url)
        self._lock = threading.Lock()
        self._begun = False
        self._t: _Found
        self._top: Any = None
        self._last: Any = None

    def conversations(self) -> Sequence[Conversation | Unread]:
        """The next few, the one last spoken in at the end: so they are listed as they were."""
        with self._asking() as connection:
            found: list[Conversation | Unread] = []
            if not self._begun:
                self._t = self._described(connection)
                self._top = connection.scalar(select(func.max(self._t.id)))
                self._begun = True
                if self._wanted is None and self._top is not None:
                    found += self._of_nobody(connection)
            while not found:
                chosen, aside = self._next(connection)
                if not chosen and not aside:
                    break
                found += aside
                if chosen:
                    found += self._looked_up(connection, chosen)
            return found

    def rows(self, ids: Sequence[Any]) -> dict[Any, Row]:
        """Those of the rows that are still there."""
        t = self._t
        with self._asking() as connection:
            found = connection.execute(
                select(t.id, t.message, t.created).where(t.id.in_(ids))
            ).all()
        rows = {}
        for id_, message, at in found:
            raw = as_bytes(message)
            rows[id_] = Row(str(id_), raw, said_in(raw, at))
        return rows

    def close(self) -> None:
        """Close the engine, if it is not the caller's."""
        with self._lock:
            if self._owned:
                self._engine.dispose()

    def _next(self, connection: Connection) -> tuple[dict[str, Any], list[Unread]]:
        """Ids of the next conversations, as they are called and as the database has them."""
        if self._wanted is not None:
            some, self._wanted = self._wanted[:_AT_A_TIME], self._wanted[_AT_A_TIME:]
            values = [(id_, self._as_stored(id_)) for id_ in some]
        else:
            values = [(str(value), value) for value in self._listed(connection)]
        chosen: dict[str, Any] = {}
        aside = []
        for id_, value in values:
            if value is None or self._top is None:
                aside.append(self._not_there(id_))
            elif isinstance(value, bytes) or not _is_text(id_):
                aside.append(Unread(printable(id_), None, "its id is not text."))
            else:
                chosen[id_] = value
        return chosen, aside

    def _looked_up(
        self, connection: Connection, chosen: Mapping[str, Any]
    ) -> list[Conversation | Unread]:
        t = self._t
        asked = select(t.session, t.id).where(t.session.in_(list(chosen.values())))
        ids: dict[str, list[Any]] = {}
        for whose, id_ in connection.execute(asked.order_by(t.id)):
            ids.setdefault(str(whose), []).append(id_)
        missing = [id_ for id_, value in chosen.items() if str(value) not in ids]
        by_age = sorted(ids.items(), key=lambda item: item[1][-1])
        return [
            *(self._not_there(id_) for id_ in missing if self._wanted is not None),
            *(_Rows(self, id_, found) for id_, found in by_age),
        ]

    def _listed(self, connection: Connection) -> list[Any]:
        if self._top is None:
            return []
        t, newest = self._t, func.max(self._t.id)
        asked = select(t.session, newest).where(t.session.is_not(None), t.id <= self._top)
        asked = asked.group_by(t.session).order_by(newest).limit(_AT_A_TIME)
        if self._last is not None:
            asked = asked.having(newest > self._last)
        found = connection.execute(asked).all()
        if found:
            self._last = found[-1][1]
        return [value for value, _ in found]

    def _of_nobody(self, connection: Connection) -> list[Unread]:
        t = self._t
        asked = select(t.id).where(t.session.is_(None), t.id <= self._top).order_by(t.id)
        why = f"its {self._columns.session} is NULL."
        return [Unread(None, str(id_), why) for id_ in connection.scalars(asked)]

    def _not_there(self, id_: str) -> Unread:
        return Unread(printable(id_), None, f"{self.label} has no messages of it.")

    def _as_stored(self, id_: str) -> Any:
        if "\x00" in id_ or not _is_text(id_):
            return None
        if isinstance(self._t.session.type, Uuid):
            try:
                return UUID(id_)
            except ValueError:
                return None
        return id_

    def _described(self, connection: Connection) -> _Found:
        """The table's columns, under the names they have here."""
        inspector = sqlalchemy.inspect(connection)
        try:
            types = {c["name"]: c["type"] for c in inspector.get_columns(self.label, self._schema)}
        except faults.NoSuchTableError:
            there = ", ".join(sorted(inspector.get_table_names(self._schema))[:10]) or "none"
            raise Misconfigured(
                f"{self._where} has no table {self.label!r}. Its tables are: {there}. Pass the "
                f"right one as table=, and schema= if it is in another schema."
            ) from None
        missing = [name for name in self._columns if name is not None and name not in types]
        if missing:
            raise Misconfigured(
                f"{self.label!r} in {self._where} has no column {missing[0]!r}, so it is not a "
                f"table of this kind of history, or its columns have other names. It has: "
                f"{', '.join(types)}."
            )
        names = [name for name in self._columns if name is not None]
        columns: list[Any] = [sqlalchemy.column(name, types[name]) for name in names]
        sqlalchemy.table(self.label, *columns, schema=self._schema)
        id_, session, message, *at = columns
        if isinstance(message.type, JSON):
            message = sqlalchemy.cast(message, Text)  # as it is written there, also if it is wrong
        # Python knows no infinite times.
        created = sqlalchemy.case((func.isfinite(at[0]), at[0])) if at else sqlalchemy.null()
        return _Found(id_, session, message, created)

    @contextmanager
    def _asking(self) -> Iterator[Connection]:
        """A connection that can only read, for one step."""
        with self._lock:
            try:
                with self._engine.connect() as connection, _read_only(connection):
                    yield connection
            except (faults.DBAPIError, faults.TimeoutError) as fault:
                raise explained(fault, self._where, self.label) from fault


class _Rows(Conversation):
    """One conversation in a table, as it was when it was looked up."""

    def __init__(self, tables: Tables, id_: str, ids: list[Any]) -> None:
        self.id = id_
        self._tables = tables
        self._ids = ids

    def after(self, mark: Mark, limit: int) -> Page:
        """The next rows, or the first ones where the last row is gone, changed or not the last."""
        ids, start, anew = self._ids, mark.read, False
        if start and (start > len(ids) or str(ids[start - 1]) != mark.row):
            start, anew = 0, True
        rows = self._tables.rows(ids[max(0, start - 1) : start + limit])
        if start:
            last = rows.get(ids[start - 1])
            if last is None or (digest(last.raw),) != mark.last[-1:]:
                start, anew = 0, True
                rows = self._tables.rows(ids[:limit])
        wanted = ids[start : start + limit]
        if len(found := [id_ for id_ in wanted if id_ in rows]) < len(wanted):
            ids[start : start + limit] = found  # deleted since
        read = start + len(found)
        return Page([rows[id_] for id_ in found], read, read < len(ids), anew)


def _is_text(id_: str) -> bool:
    try:
        id_.encode()
    except UnicodeEncodeError:
        return False
    return True


@contextmanager
def _read_only(connection: Connection) -> Iterator[None]:
    """As far as the database has a way to say so; what is sent are SELECTs in any case."""
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
