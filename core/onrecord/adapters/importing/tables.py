"""Conversations in a table where each message is a row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

import sqlalchemy
from msgspec.structs import replace
from sqlalchemy import JSON, Connection, Text, Uuid, func, select

from onrecord.adapters.importing.engines import Opened
from onrecord.adapters.importing.report import Unread, printable
from onrecord.adapters.importing.rows import as_bytes
from onrecord.adapters.importing.source import (
    Bookmark,
    Conversation,
    Page,
    RowOf,
    SourceRow,
    digest,
)
from onrecord.adapters.importing.table import InTable, is_text
from onrecord.message import Message

_AT_A_TIME: Final = 100
"""How many conversations are looked up together: without an index, each look-up is a scan."""


class Columns(NamedTuple):
    """The names of the columns."""

    id: str
    session: str
    message: str
    created: str | None = None
    status: str | None = None
    """Where "archived" stands for messages that are."""


class _Found(NamedTuple):
    """The columns as SQLAlchemy has them."""

    id: Any
    session: Any
    message: Any
    created: Any
    status: Any


class Tables(InTable):
    """Conversations in one table, where each message is a row."""

    def __init__(
        self,
        opened: Opened,
        table: str,
        schema: str | None,
        columns: Columns,
        wanted: list[str] | None,
        row_of: RowOf,
        *,
        time_of: Callable[[Any], datetime | None] | None = None,
        rewritten: bool = False,
    ) -> None:
        """
        time_of    reads the column of times where it holds numbers, in whose order the rows are
        rewritten  whether whoever adds a message may write all rows again
        """
        super().__init__(opened, table, schema)
        self.rewritten = rewritten
        self._columns = columns
        self._wanted = wanted
        self._row_of = row_of
        self._time_of = time_of
        self._begun = False
        self._t: _Found
        self._order: list[Any]
        self._top: Any = None
        self._last: Any = None

    def conversations(self) -> Sequence[Conversation | Unread]:
        """Find the next few, the one last spoken in at the end: so they are listed as they were."""
        with self._asking() as connection:
            found: list[Conversation | Unread] = []
            if not self._begun:
                self._t = self._found(connection)
                self._order = [self._t.created] * (self._time_of is not None) + [self._t.id]
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

    def rows(self, ids: Sequence[Any]) -> dict[Any, SourceRow]:
        """Read those of some rows that are still there."""
        t = self._t
        with self._asking() as connection:
            found = connection.execute(
                select(t.id, t.message, t.created).where(t.id.in_(ids))
            ).all()
        rows = {}
        for id_, message, at in found:
            row = self._row_of(str(id_), as_bytes(message))
            created = at if self._time_of is None else self._time_of(at)
            if isinstance(row.said, Message) and created is not None:
                row = row._replace(said=replace(row.said, created_at=created))
            rows[id_] = row
        return rows

    def _next(self, connection: Connection) -> tuple[dict[str, Any], list[Unread]]:
        """Find the ids of the next conversations, as text and as the database has them."""
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
            elif isinstance(value, bytes) or not is_text(id_):
                aside.append(Unread(printable(id_), None, "its id is not text."))
            else:
                chosen[id_] = value
        return chosen, aside

    def _looked_up(
        self, connection: Connection, chosen: Mapping[str, Any]
    ) -> list[Conversation | Unread]:
        t = self._t
        asked = select(t.session, t.id, t.status).where(t.session.in_(list(chosen.values())))
        ids: dict[str, list[Any]] = {}
        archived: dict[str, set[Any]] = {}
        for whose, id_, status in connection.execute(asked.order_by(*self._order)):
            ids.setdefault(str(whose), []).append(id_)
            if status == "archived":
                archived.setdefault(str(whose), set()).add(id_)
        missing = [id_ for id_, value in chosen.items() if str(value) not in ids]
        by_age = sorted(ids.items(), key=lambda item: max(item[1]))
        return [
            *(self._not_there(id_) for id_ in missing if self._wanted is not None),
            *(_Rows(self, id_, found, archived.get(id_, set())) for id_, found in by_age),
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
        if "\x00" in id_ or not is_text(id_):
            return None
        if isinstance(self._t.session.type, Uuid):
            try:
                return UUID(id_)
            except ValueError:
                return None
        return id_

    def _found(self, connection: Connection) -> _Found:
        names = [name for name in self._columns if name is not None]
        columns = dict(zip(names, self._described(connection, names), strict=True))
        id_, session, message, created, status = (
            sqlalchemy.null() if name is None else columns[name] for name in self._columns
        )
        if isinstance(message.type, JSON):
            message = sqlalchemy.cast(message, Text)  # as it is written there, also if it is wrong
        if self._columns.created is not None and self._time_of is None:
            # Python knows no infinite times.
            created = sqlalchemy.case((func.isfinite(created), created))
        return _Found(id_, session, message, created, status)


class _Rows(Conversation):
    """One conversation in a table, as it was when it was looked up."""

    def __init__(self, tables: Tables, id_: str, ids: list[Any], archived: set[Any]) -> None:
        self.id = id_
        self._tables = tables
        self._ids = ids
        self._archived = archived

    def after(self, mark: Bookmark, limit: int) -> Page:
        """Read the next rows; the first ones where the last is gone, changed or not the last."""
        ids, start, anew = self._ids, mark.read, False
        looked = min(start, len(mark.last) if self._tables.rewritten else 1)
        rows: dict[Any, SourceRow] = {}
        if start <= len(ids):
            rows = self._tables.rows(ids[start - looked : start + limit])
        if start and not self._goes_on(
            mark, [rows.get(id_) for id_ in ids[start - looked : start]]
        ):
            start, anew = 0, True
            rows = self._tables.rows(ids[:limit])
        wanted = ids[start : start + limit]
        if len(found := [id_ for id_ in wanted if id_ in rows]) < len(wanted):
            ids[start : start + limit] = found  # deleted since
        read = start + len(found)
        archived = len(self._archived.intersection(ids[:read])) if self._archived else 0
        page = [rows[id_]._replace(archived=id_ in self._archived) for id_ in found]
        return Page(page, read, read < len(ids), anew, archived=archived)

    def _goes_on(self, mark: Bookmark, last: list[SourceRow | None]) -> bool:
        """Whether the last rows of the bookmark stand where they stood."""
        if not last or (newest := last[-1]) is None:
            return False
        if newest.name == mark.row:
            return (digest(newest.raw),) == mark.last[-1:]
        # Written again, with the same content: those are the same messages.
        return self._tables.rewritten and mark.last[-len(last) :] == tuple(
            "" if row is None else digest(row.raw) for row in last
        )
