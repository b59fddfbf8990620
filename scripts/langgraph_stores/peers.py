"""LangGraph's own stores, as they are asked: each on a database of its own, set up once."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Final

from langgraph.store.base import BaseStore, TTLConfig
from langgraph.store.memory import InMemoryStore
from langgraph.store.postgres import AsyncPostgresStore, PostgresStore
from langgraph.store.sqlite import AsyncSqliteStore, SqliteStore

from onrecord.testing.langgraph_store import KINDS, Factory, Kind, Result, report

PEERS: Final = ("InMemoryStore", "SqliteStore", "PostgresStore")
PACKAGES: Final = (
    "langgraph-checkpoint",
    "langgraph-checkpoint-sqlite",
    "langgraph-checkpoint-postgres",
)
# What expired is not to be read: it is theirs to offer, and off where nobody asks for it.
_TTL: Final[TTLConfig] = {"omit_expired": True, "refresh_on_read": True}


def versions() -> dict[str, str]:
    """Of the packages that the peers come from."""
    return {package: version(package) for package in PACKAGES}


def asked(peer: str, postgres: str) -> list[Result]:
    """Ask a peer every case, in each kind by the class it has for that."""
    if peer == "InMemoryStore":
        return report(InMemoryStore)
    with tempfile.TemporaryDirectory() as folder:
        results = []
        for kind in KINDS:
            address = postgres if peer == "PostgresStore" else str(Path(folder) / f"{kind}.db")
            results += report(_factory(peer, kind, address), kinds=(kind,))
        return results


def _factory(peer: str, kind: Kind, address: str) -> Factory:
    has_tables = False

    @contextmanager
    def opened() -> Iterator[BaseStore]:
        nonlocal has_tables
        cls = PostgresStore if peer == "PostgresStore" else SqliteStore
        with cls.from_conn_string(address, ttl=_TTL) as store:
            if not has_tables:
                store.setup()
                has_tables = True
            yield store

    @asynccontextmanager
    async def aopened() -> AsyncIterator[BaseStore]:
        nonlocal has_tables
        cls = AsyncPostgresStore if peer == "PostgresStore" else AsyncSqliteStore
        async with cls.from_conn_string(address, ttl=_TTL) as store:
            if not has_tables:
                await store.setup()
                has_tables = True
            yield store

    return opened if kind == "sync" else aopened
