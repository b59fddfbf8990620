"""Histories that LangChain kept elsewhere, brought into a store.

    from langchain_recollect.importers import import_sql
    print(import_sql(store, "sqlite:///chat.db", user="ada"))

The old history is only read, and left as it is. An import may be killed, repeated, and run while
the old history or the new one is in use: it brings what is not there yet, and nothing twice.
``core/recollect/bringing.py`` says how. The twins with an ``a`` read the source in a thread, for
its drivers are sync.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, NamedTuple, TypedDict, Unpack

from sqlalchemy import URL, Engine

from langchain_recollect.importers.engines import opened, opened_postgres
from langchain_recollect.importers.lists import Lists, connected
from langchain_recollect.importers.tables import POSTGRES, Columns, Tables
from recollect import Store
from recollect.bringing import (
    Brought,
    OnProgress,
    Progress,
    Scope,
    SessionOf,
    Source,
    Unread,
    abring,
    bring,
    only,
    sessions_in,
)

__all__ = [
    "Brought",
    "How",
    "Progress",
    "Unread",
    "aimport_postgres",
    "aimport_redis",
    "aimport_sql",
    "import_postgres",
    "import_redis",
    "import_sql",
]


class How(TypedDict, total=False):
    """What every import can be told besides."""

    session_ids: Iterable[object] | None
    """Only these conversations; otherwise all."""
    tenant: str
    user: str
    agent: str
    scope: Scope | None
    """A function of the session id that returns a mapping with some of "tenant", "user" and
    "agent", and "session_id" where it is to be another one."""
    progress: OnProgress | None
    """Called with a ``Progress`` after every 50 messages; what it raises ends the import."""


class SqlTable(TypedDict, total=False):
    """Where ``SQLChatMessageHistory`` keeps its messages, if not where it does by itself."""

    table: str
    session_id_column: str
    message_column: str
    id_column: str
    schema: str | None


class SqlHow(How, SqlTable, total=False):
    """What an import out of SQL can be told besides."""


def import_sql(
    store: Store, source: str | os.PathLike[str] | URL | Engine, **how: Unpack[SqlHow]
) -> Brought:
    """Bring what ``SQLChatMessageHistory`` of langchain-community keeps.

    ``source`` is its URL, or an SQLAlchemy Engine, which is lent and not closed. ``How`` and
    ``SqlTable`` say what else can be told.
    """
    return bring(*_sql(store, source, **how))


async def aimport_sql(
    store: Store, source: str | os.PathLike[str] | URL | Engine, **how: Unpack[SqlHow]
) -> Brought:
    """Like ``import_sql``."""
    return await abring(*_sql(store, source, **how))


def import_postgres(
    store: Store,
    source: str | URL | Engine,
    *,
    table: str,
    schema: str | None = None,
    **how: Unpack[How],
) -> Brought:
    """Bring what ``PostgresChatMessageHistory`` of langchain-postgres keeps, with its times.

    A connection of psycopg is not taken: an import must not end a transaction that you have
    open on it.
    """
    return bring(*_postgres(store, source, table, schema, **how))


async def aimport_postgres(
    store: Store,
    source: str | URL | Engine,
    *,
    table: str,
    schema: str | None = None,
    **how: Unpack[How],
) -> Brought:
    """Like ``import_postgres``."""
    return await abring(*_postgres(store, source, table, schema, **how))


def import_redis(
    store: Store, source: Any, *, key_prefix: str = "message_store:", **how: Unpack[How]
) -> Brought:
    """Bring what ``RedisChatMessageHistory`` of langchain-community keeps in lists.

    ``source`` is its URL, or a sync client of redis-py, which is lent and not closed.
    """
    return bring(*_redis(store, source, key_prefix, **how))


async def aimport_redis(
    store: Store, source: Any, *, key_prefix: str = "message_store:", **how: Unpack[How]
) -> Brought:
    """Like ``import_redis``."""
    return await abring(*_redis(store, source, key_prefix, **how))


class _Import(NamedTuple):
    source: Source
    into: SessionOf
    progress: OnProgress | None


class _Told(NamedTuple):
    into: SessionOf
    wanted: list[str] | None
    progress: OnProgress | None


def _sql(
    store: Store,
    source: object,
    *,
    table: str = "message_store",
    session_id_column: str = "session_id",
    message_column: str = "message",
    id_column: str = "id",
    schema: str | None = None,
    **how: Unpack[How],
) -> _Import:
    told = _told(store, **how)
    columns = Columns(id_column, session_id_column, message_column)
    tables = Tables(*opened(source), table, schema, columns, told.wanted)
    return _Import(tables, told.into, told.progress)


def _postgres(
    store: Store, source: object, table: str, schema: str | None, **how: Unpack[How]
) -> _Import:
    told = _told(store, **how)
    tables = Tables(*opened_postgres(source), table, schema, POSTGRES, told.wanted)
    return _Import(tables, told.into, told.progress)


def _redis(store: Store, source: object, key_prefix: str, **how: Unpack[How]) -> _Import:
    told = _told(store, **how)
    return _Import(Lists(*connected(source), key_prefix, told.wanted), told.into, told.progress)


def _told(
    store: Store,
    *,
    session_ids: Iterable[object] | None = None,
    tenant: str = "",
    user: str = "",
    agent: str = "",
    scope: Scope | None = None,
    progress: OnProgress | None = None,
) -> _Told:
    # Named one by one: what is misspelt is refused, since a scope that is not there is no wall.
    into = sessions_in(store, tenant=tenant, user=user, agent=agent, scope=scope)
    return _Told(into, only(session_ids), progress)
