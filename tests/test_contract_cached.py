"""The contracts once more with Redis in front: {SQLite, PostgreSQL} x {cached, strict}."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from onrecord import Store
from onrecord.testing.contract import Face, StoreContract
from onrecord.testing.contract_items import StoredItemsContract
from tests.emptied import Reused, reused
from tests.servers.postgres import PostgresServer
from tests.servers.redis import RedisServer


@pytest.fixture(scope="module")
def database(postgres: PostgresServer) -> Iterator[Reused]:
    with reused(postgres, "cached") as database:
        yield database


class OnSqliteCached:
    @pytest.fixture
    def store(self, tmp_path: Path, redis_server: RedisServer) -> Iterator[Store]:
        url = f"sqlite:///{tmp_path}/x.db"
        with Store(url, durability="normal", cache=redis_server.url) as store:
            yield store


class OnSqliteStrict:
    @pytest.fixture
    def store(self, tmp_path: Path, redis_server: RedisServer) -> Iterator[Store]:
        url = f"sqlite:///{tmp_path}/x.db"
        settings = {"durability": "normal", "consistency": "strict"}
        with Store(url, cache=redis_server.url, **settings) as store:  # type: ignore[arg-type]
            yield store


class OnPostgresCached:
    @pytest.fixture
    def store(self, database: Reused, redis_server: RedisServer) -> Iterator[Store]:
        schema = database.emptied("s")
        with Store(database.url, schema=schema, pool_size=2, cache=redis_server.url) as store:
            yield store


class OnPostgresStrict:
    @pytest.fixture
    def store(self, database: Reused, redis_server: RedisServer) -> Iterator[Store]:
        schema = database.emptied("s")
        with Store(
            database.url, schema=schema, pool_size=2, cache=redis_server.url, consistency="strict"
        ) as store:
            yield store


class OneFace:
    """Where every read asks SQL, the sync methods alone: the flow decides what is asked, and their
    twins drive the same flows, as the tests of ``cached`` show."""

    @pytest.fixture
    def face(self) -> Face:
        return lambda handle: handle


class TestSqliteCached(OnSqliteCached, StoreContract):
    pass


class TestSqliteStrict(OneFace, OnSqliteStrict, StoreContract):
    pass


class TestPostgresCached(OnPostgresCached, StoreContract):
    pass


class TestPostgresStrict(OneFace, OnPostgresStrict, StoreContract):
    pass


class TestItemsOnSqliteCached(OnSqliteCached, StoredItemsContract):
    pass


class TestItemsOnSqliteStrict(OneFace, OnSqliteStrict, StoredItemsContract):
    pass


class TestItemsOnPostgresCached(OnPostgresCached, StoredItemsContract):
    pass


class TestItemsOnPostgresStrict(OneFace, OnPostgresStrict, StoredItemsContract):
    pass
