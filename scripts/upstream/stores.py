"""The stores that our classes stand on: SQLite in memory, or a PostgreSQL and a Redis."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any
from uuid import uuid4

if TYPE_CHECKING:
    from onrecord import Store


@contextmanager
def settings(servers: bool, strict: bool) -> Iterator[dict[str, str]]:
    """What a run's environment has to say, as long as the servers are there."""
    said = {"UPSTREAM_CONSISTENCY": "strict"} if strict else {}
    with ExitStack() as stack:
        if servers:
            from tests.servers.binaries import Missing
            from tests.servers.postgres import OwnPostgres, find_postgres_binaries
            from tests.servers.redis import OwnRedis, find_redis_binaries

            postgres, redis = find_postgres_binaries(), find_redis_binaries()
            if isinstance(postgres, Missing) or isinstance(redis, Missing):
                raise SystemExit(f"--servers needs both: PostgreSQL {postgres}, Redis {redis}")
            database, cache = OwnPostgres(postgres), OwnRedis(redis)
            stack.callback(database.close)
            stack.callback(cache.close)
            said |= {
                "UPSTREAM_STORE": database.create_database("upstream"),
                "UPSTREAM_CACHE": cache.url,
            }
        yield said


def a_store(url: str = "sqlite://", **settings: Any) -> Store:
    """A store of its own, or one of several in the database that is given."""
    from onrecord import Store

    given = os.environ.get("UPSTREAM_STORE")
    if given is not None:
        settings = {"cache": os.environ["UPSTREAM_CACHE"]}
    if consistency := os.environ.get("UPSTREAM_CONSISTENCY"):
        settings["consistency"] = consistency
    return Store(given or url, **settings)


def a_tenant() -> str:
    """Somebody of whom there is nothing yet, whatever the store."""
    return uuid4().hex
