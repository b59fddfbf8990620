"""Histories that LangChain kept elsewhere, brought into a store.

    from langchain_onrecord.importers import import_sql
    print(import_sql(store, "sqlite:///chat.db", user="ada"))

The old history is only read, and left as it is. An import may be killed, repeated, and run while
the old history or the new one is in use: it brings what is not there yet, and nothing twice.
``core/onrecord/bringing`` says how. The twins with an ``a`` read the source in a thread, for
its drivers are sync.
"""

from __future__ import annotations

import asyncio
import os
import re
from typing import Any, Final, TypedDict, Unpack

from sqlalchemy import URL, Engine

from langchain_onrecord.importers.rows import row_of
from onrecord import Store
from onrecord.adapters.importing import (
    Imported,
    ImportOptions,
    ImportPlan,
    ImportProgress,
    Source,
    Unread,
    aimport_source,
    import_source,
    plan_of,
)
from onrecord.adapters.importing.engines import opened, opened_postgres
from onrecord.adapters.importing.redis import Lists, connected
from onrecord.adapters.importing.tables import Columns, Tables

__all__ = [
    "ImportOptions",
    "ImportProgress",
    "Imported",
    "Unread",
    "aimport_postgres",
    "aimport_redis",
    "aimport_sql",
    "import_postgres",
    "import_redis",
    "import_sql",
]


_POSTGRES: Final = Columns("id", "session_id", "message", "created_at")


class SqlTable(TypedDict, total=False):
    """Where ``SQLChatMessageHistory`` keeps its messages, if not where it does by itself."""

    table: str
    session_id_column: str
    message_column: str
    id_column: str
    schema: str | None


class SqlHow(ImportOptions, SqlTable, total=False):
    """The options of an import out of SQL."""


def import_sql(
    store: Store, source: str | os.PathLike[str] | URL | Engine, **how: Unpack[SqlHow]
) -> Imported:
    """Bring what ``SQLChatMessageHistory`` of langchain-community keeps.

    ``source`` is its URL, or an SQLAlchemy Engine, which is lent and not closed. ``SqlHow``
    has the other options.
    """
    return import_source(*_sql(store, source, **how))


async def aimport_sql(
    store: Store, source: str | os.PathLike[str] | URL | Engine, **how: Unpack[SqlHow]
) -> Imported:
    """Like ``import_sql``."""
    made = await asyncio.to_thread(lambda: _sql(store, source, **how))  # it looks for the file
    return await aimport_source(*made)


def import_postgres(
    store: Store,
    source: str | URL | Engine,
    *,
    table: str,
    schema: str | None = None,
    **how: Unpack[ImportOptions],
) -> Imported:
    """Bring what ``PostgresChatMessageHistory`` of langchain-postgres keeps, with its times.

    A connection of psycopg is not taken: an import must not end a transaction that you have
    open on it.
    """
    return import_source(*_postgres(store, source, table, schema, **how))


async def aimport_postgres(
    store: Store,
    source: str | URL | Engine,
    *,
    table: str,
    schema: str | None = None,
    **how: Unpack[ImportOptions],
) -> Imported:
    """Like ``import_postgres``."""
    return await aimport_source(*_postgres(store, source, table, schema, **how))


def import_redis(
    store: Store, source: Any, *, key_prefix: str = "message_store:", **how: Unpack[ImportOptions]
) -> Imported:
    """Bring what ``RedisChatMessageHistory`` of langchain-community keeps in lists.

    ``source`` is its URL, or a sync client of redis-py, which is lent and not closed.
    """
    return import_source(*_redis(store, source, key_prefix, **how))


async def aimport_redis(
    store: Store, source: Any, *, key_prefix: str = "message_store:", **how: Unpack[ImportOptions]
) -> Imported:
    """Like ``import_redis``."""
    return await aimport_source(*_redis(store, source, key_prefix, **how))


def _sql(
    store: Store,
    source: object,
    *,
    table: str = "message_store",
    session_id_column: str = "session_id",
    message_column: str = "message",
    id_column: str = "id",
    schema: str | None = None,
    **how: Unpack[ImportOptions],
) -> tuple[Source, ImportPlan]:
    chosen = plan_of(store, **how)
    columns = Columns(id_column, session_id_column, message_column)
    return Tables(opened(source), table, schema, columns, chosen.wanted, row_of), chosen


def _postgres(
    store: Store, source: object, table: str, schema: str | None, **how: Unpack[ImportOptions]
) -> tuple[Source, ImportPlan]:
    chosen = plan_of(store, **how)
    engine = opened_postgres(source, "For SQLChatMessageHistory use import_sql.")
    return Tables(engine, table, schema, _POSTGRES, chosen.wanted, row_of), chosen


def _redis(
    store: Store, source: object, key_prefix: str, **how: Unpack[ImportOptions]
) -> tuple[Source, ImportPlan]:
    chosen = plan_of(store, **how)
    escaped = re.sub(rb"([*?^\[\]\\-])", rb"\\\1", key_prefix.encode("utf-8", "surrogateescape"))
    lists = Lists(
        connected(source),
        chosen.wanted,
        row_of,
        name=f"redis:{key_prefix}",
        label=key_prefix.rstrip(":") or "redis",
        match=escaped + b"*",
        prefix=key_prefix,
        newest_first=True,
    )
    return lists, chosen
