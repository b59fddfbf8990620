"""PostgreSQL with Citus, where a machine has it or somebody else runs it: no registry does."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import psycopg

from .binaries import Binaries, External, Missing
from .postgres import OwnPostgres, PostgresServer, find_postgres

_AVAILABLE = "SELECT 1 FROM pg_available_extensions WHERE name = 'citus'"
WHY = "the PostgreSQL of the tests has no extension citus: the workflow runs it with its image"


@contextlib.contextmanager
def citus(server: PostgresServer) -> Iterator[PostgresServer | Missing]:
    """A server that has loaded Citus: beside the one that the tests have, or that one."""
    with psycopg.connect(server.url) as connection:
        if connection.execute(_AVAILABLE).fetchone() is None:
            yield Missing(WHY)
            return
    found = find_postgres()
    if not isinstance(found, Binaries):
        assert isinstance(found, External)
        yield server  # whoever runs it has had it loaded
        return
    with contextlib.closing(
        OwnPostgres(found, shared_preload_libraries="citus", wal_level="logical")
    ) as own:
        yield own


def prepare(url: str) -> None:
    """Install it in a new database."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS citus")
