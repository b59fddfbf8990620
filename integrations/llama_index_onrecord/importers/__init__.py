"""Conversations that LlamaIndex's own chat stores keep, brought into a store.

    from llama_index_onrecord.importers import import_sql
    print(import_sql(store, "sqlite+aiosqlite:///chat.db", user="ada"))

The old store is only read, and left as it is. An import may be killed, repeated, and run while
the old store or the new one is in use: it brings what is not there yet, and nothing twice.
``core/onrecord/bringing`` says how. The twins with an ``a`` read the source in a thread, for
its drivers are sync.
"""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Unpack

from sqlalchemy import URL, Engine

from llama_index_onrecord.importers.arrays import Arrays
from llama_index_onrecord.importers.files import JsonFile
from llama_index_onrecord.importers.rows import canonical, row_of
from onrecord import Misconfigured, Store
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
    "aimport_json",
    "aimport_postgres",
    "aimport_redis",
    "aimport_sql",
    "import_json",
    "import_postgres",
    "import_redis",
    "import_sql",
]

_COLUMNS: Final = Columns("id", "key", "data", "timestamp", "status")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NANOSECONDS: Final = 10**9


def import_sql(
    store: Store,
    source: str | os.PathLike[str] | URL | Engine,
    *,
    table: str = "llama_index_memory",
    schema: str | None = None,
    **how: Unpack[ImportOptions],
) -> Imported:
    """Bring what ``SQLAlchemyChatStore`` keeps, the store of ``Memory``, with its times.

    ``source`` is its URL, or a SQLAlchemy Engine, which is lent and not closed. What is archived
    there is archived here, also if it was brought before. ``ImportOptions`` has the rest.
    """
    return import_source(*_sql(store, source, table, schema, **how))


async def aimport_sql(
    store: Store,
    source: str | os.PathLike[str] | URL | Engine,
    *,
    table: str = "llama_index_memory",
    schema: str | None = None,
    **how: Unpack[ImportOptions],
) -> Imported:
    """Like ``import_sql``."""
    # In a thread, because it looks for the file.
    made = await asyncio.to_thread(lambda: _sql(store, source, table, schema, **how))
    return await aimport_source(*made)


def import_postgres(
    store: Store,
    source: str | URL | Engine,
    *,
    table: str = "chatstore",
    schema: str = "public",
    **how: Unpack[ImportOptions],
) -> Imported:
    """Bring what ``PostgresChatStore`` of llama-index-storage-chat-store-postgres keeps.

    ``table`` is what ``table_name`` was, with or without the ``data_`` that older versions put
    before it.
    """
    return import_source(*_postgres(store, source, table, schema, **how))


async def aimport_postgres(
    store: Store,
    source: str | URL | Engine,
    *,
    table: str = "chatstore",
    schema: str = "public",
    **how: Unpack[ImportOptions],
) -> Imported:
    """Like ``import_postgres``."""
    return await aimport_source(*_postgres(store, source, table, schema, **how))


def import_redis(
    store: Store, source: Any, *, pattern: str | None = None, **how: Unpack[ImportOptions]
) -> Imported:
    """Bring what ``RedisChatStore`` of llama-index-storage-chat-store-redis keeps in lists.

    ``source`` is its URL, or a sync client of redis-py, which is lent and not closed. The keys
    are the chat keys as they are, so nothing tells them from other people's: say which they are,
    by ``session_ids`` or by a ``pattern`` as Redis has it, such as "chat-*".
    """
    return import_source(*_redis(store, source, pattern, **how))


async def aimport_redis(
    store: Store, source: Any, *, pattern: str | None = None, **how: Unpack[ImportOptions]
) -> Imported:
    """Like ``import_redis``."""
    return await aimport_source(*_redis(store, source, pattern, **how))


def import_json(
    store: Store, source: str | os.PathLike[str], **how: Unpack[ImportOptions]
) -> Imported:
    """Bring what ``SimpleChatStore.persist`` wrote to a file."""
    return import_source(*_json(store, source, **how))


async def aimport_json(
    store: Store, source: str | os.PathLike[str], **how: Unpack[ImportOptions]
) -> Imported:
    """Like ``import_json``."""
    return await aimport_source(*_json(store, source, **how))


def _sql(
    store: Store, source: object, table: str, schema: str | None, **how: Unpack[ImportOptions]
) -> tuple[Source, ImportPlan]:
    chosen = plan_of(store, **how)
    tables = Tables(
        *(opened(source), table, schema, _COLUMNS, chosen.wanted, row_of),
        time_of=_time_of,
        rewritten=True,
    )
    return tables, chosen


def _postgres(
    store: Store, source: object, table: str, schema: str, **how: Unpack[ImportOptions]
) -> tuple[Source, ImportPlan]:
    chosen = plan_of(store, **how)
    engine = opened_postgres(source, "For SQLAlchemyChatStore use import_sql.")
    return Arrays(engine, table, schema, chosen.wanted), chosen


def _redis(
    store: Store, source: object, pattern: str | None, **how: Unpack[ImportOptions]
) -> tuple[Source, ImportPlan]:
    chosen = plan_of(store, **how)
    if bool(pattern) == (chosen.wanted is not None):
        raise Misconfigured(
            "RedisChatStore puts nothing before its keys that tells them from others. Say which "
            'they are, by session_ids=["ada", …] or by pattern="chat-*", one of the two; '
            'pattern="*" looks at every list.'
        )
    lists = Lists(
        connected(source),
        chosen.wanted,
        row_of,
        name="redis",
        label="redis",
        match=(pattern or "").encode("utf-8", "surrogateescape"),
        shared=True,
        canonical=canonical,
        loses_its_end=True,
    )
    return lists, chosen


def _json(
    store: Store, source: str | os.PathLike[str], **how: Unpack[ImportOptions]
) -> tuple[Source, ImportPlan]:
    chosen = plan_of(store, **how)
    return JsonFile(source, chosen.wanted), chosen


def _time_of(timestamp: Any) -> datetime | None:
    if not isinstance(timestamp, int):
        return None
    # Older versions wrote seconds: as nanoseconds all of it would have been said in 1970.
    nanoseconds = timestamp * _NANOSECONDS if abs(timestamp) < 10**11 else timestamp
    return _EPOCH + timedelta(microseconds=nanoseconds // 1_000)
