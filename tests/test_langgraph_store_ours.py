"""Our store of LangGraph's, held to the kit, over every database; and where the peers are wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from langgraph.store.base import BaseStore

from langgraph_onrecord import OnrecordStore
from onrecord import Store
from onrecord.testing.langgraph_store import BaseStoreContract
from tests.servers.postgres import PostgresServer


class TestSqlite(BaseStoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[BaseStore]:
        with Store(f"sqlite:///{tmp_path}/x.db", durability="normal") as store:
            yield OnrecordStore(store, user="ada")


@pytest.fixture(scope="module")
def database(postgres: PostgresServer) -> Iterator[str]:
    with postgres.database("base_store") as url:
        yield url


class TestPostgres(BaseStoreContract):
    @pytest.fixture
    def store(self, database: str) -> Iterator[BaseStore]:
        with Store(database, pool_size=4) as store:
            yield OnrecordStore(store, user="ada")
