"""The contract over every backend there is, sync and async."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from recollect import Store
from recollect.testing.contract import StoreContract
from tests.servers.postgres import PostgresServer

_schemas = itertools.count(1)


@pytest.fixture(scope="module")
def database(postgres: PostgresServer) -> Iterator[str]:
    yield postgres.create_database("contract")
    postgres.drop_database("contract")


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
    def store(self, database: str) -> Iterator[Store]:
        # A schema of its own is as good as a database, and made ten times as fast.
        with Store(database, schema=f'a "schema" %s {next(_schemas)}', pool_size=2) as store:
            yield store
