"""Conversations in arrays of PostgreSQL: ``PostgresChatStore``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Final, NamedTuple

import sqlalchemy
from sqlalchemy import Connection, Text, func, select

from llama_index_onrecord.importers.rows import canonical, row_of
from onrecord import Misconfigured
from onrecord.adapters.importing import Conversation, Unread, printable
from onrecord.adapters.importing.engines import Opened
from onrecord.adapters.importing.lists import Counted
from onrecord.adapters.importing.rows import as_bytes
from onrecord.adapters.importing.table import InTable, is_text

_AT_A_TIME: Final = 100
_OLD_PREFIX: Final = "data_"


class _Found(NamedTuple):
    id: Any
    key: Any
    value: Any


class Arrays(InTable):
    """Conversations in one table, where each is a row with an array of messages."""

    def __init__(self, opened: Opened, table: str, schema: str, wanted: list[str] | None) -> None:
        # Folded by PostgresChatStore as well.
        super().__init__(opened, table.lower().removeprefix(_OLD_PREFIX), schema.lower())
        self._wanted = wanted
        self._begun = False
        self._t: _Found
        self._last = 0

    def conversations(self) -> Sequence[Conversation | Unread]:
        """Find the next few, in the order in which they were begun."""
        with self._asking() as connection:
            if not self._begun:
                self._t = self._found(connection)
                self._begun = True
            if self._wanted is not None:
                some, self._wanted = self._wanted[:_AT_A_TIME], self._wanted[_AT_A_TIME:]
                return self._asked_for(connection, some)
            t = self._t
            asked = select(t.id, t.key).where(t.id > self._last).order_by(t.id).limit(_AT_A_TIME)
            found = connection.execute(asked).all()
        if found:
            self._last = found[-1][0]
        return [self._named(key) for _, key in found]

    def _found(self, connection: Connection) -> _Found:
        """Find the table, also under the name that older versions of the package gave it."""
        # The source's name stays the same: with both names the same messages are meant.
        there = sqlalchemy.inspect(connection).get_table_names(self._schema)
        if (old := _OLD_PREFIX + self.label) in there:  # PostgresChatStore prefers it, too
            self.label = old
        found = _Found(*self._described(connection, _Found._fields))
        if not isinstance(found.value.type, sqlalchemy.ARRAY):
            raise Misconfigured(
                f"{self.label!r} in {self._where} has no array in its column 'value', so it is "
                f"not a table of PostgresChatStore. Pass the right one as table=."
            )
        return found

    def _asked_for(
        self, connection: Connection, ids: Sequence[str]
    ) -> Sequence[Conversation | Unread]:
        t = self._t
        asked = select(t.key).where(t.key.in_([id_ for id_ in ids if _can_be_stored(id_)]))
        there = set(connection.scalars(asked))
        return [
            self._named(id_)
            if id_ in there
            else Unread(printable(id_), None, f"{self.label} has no messages of it.")
            for id_ in ids
        ]

    def _named(self, key: str) -> Conversation:
        oldest = partial(self._oldest, key)
        return Counted(key, oldest, row_of, canonical=canonical, loses_its_end=True)

    def _oldest(self, key: str, start: int, end: int) -> list[bytes]:
        t = self._t
        part = func.unnest(t.value[start + 1 : end]).table_valued("said", with_ordinality="place")
        part = part.render_derived()
        asked = select(sqlalchemy.cast(part.c.said, Text)).select_from(
            sqlalchemy.join(t.key.table, part, sqlalchemy.true())
        )
        with self._asking() as connection:
            found = connection.scalars(asked.where(t.key == key).order_by(part.c.place)).all()
        return [as_bytes(raw) for raw in found]


def _can_be_stored(id_: str) -> bool:
    return "\x00" not in id_ and is_text(id_)
