"""The contract over every backend there is, sync and async."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from onrecord import Store
from onrecord.testing.contract import Face, StoreContract
from tests.emptied import Reused, reused
from tests.sent import changes_across_shards
from tests.servers.postgres import PostgresServer


@pytest.fixture(scope="module")
def database(postgres: PostgresServer) -> Iterator[Reused]:
    with reused(postgres, "contract") as database:
        yield database


class TestSqliteFile(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        with Store(f"sqlite:///{tmp_path}/a file.db", durability="normal") as store:
            yield store


class TestSqliteInMemory(StoreContract):
    @pytest.fixture
    def store(self) -> Iterator[Store]:
        with Store("sqlite://") as store:
            yield store


class TestPostgres(StoreContract):
    @pytest.fixture
    def store(self, database: Reused) -> Iterator[Store]:
        with Store(database.url, schema=database.emptied('a "schema" %s'), pool_size=2) as store:
            yield store


class TestPartitionedPostgres(StoreContract):
    """Every unique key has the shard: so tables may be spread by it. The methods of a loop send the
    same statements, which are asked of tables in one piece above."""

    @pytest.fixture
    def face(self) -> Face:
        return lambda handle: handle

    @pytest.fixture
    def store(self, database: Reused) -> Iterator[Store]:
        with Store(database.url, schema=database.partitioned("partitioned"), pool_size=2) as store:
            yield store
            assert changes_across_shards(store) == []


class TestTinySegments(TestSqliteFile):
    """Nearly every message is in a segment."""

    @pytest.fixture(autouse=True)
    def _tiny_segments(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("onrecord.ledger.sessions.sealing.SEGMENT", 3)
