"""The contract of the memories over every backend there is, sync and async."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from onrecord import Store
from onrecord.testing.contract import AsyncFace, Face
from onrecord.testing.contract_memory import MemoryContract
from onrecord.testing.memory_refusals import REFUSED
from tests.emptied import Reused, reused
from tests.sent import changes_across_shards
from tests.servers.postgres import PostgresServer
from tests.servers.redis import RedisServer


@pytest.mark.parametrize("what", [what for what in REFUSED if what != "semantic"])
def test_what_cannot_be_is_refused_before_any_io(what: str, face: Face) -> None:
    """But for metadata of facts, which are merged with what is known."""
    make, cases = REFUSED[what]
    with Store("sqlite:////nowhere/at/all.db") as store:
        memory = face(make(store))
        for case in cases:
            with pytest.raises(case.error, match=case.named):
                case.ask(memory)


@pytest.fixture(scope="module")
def database(postgres: PostgresServer) -> Iterator[Reused]:
    with reused(postgres, "memories") as database:
        yield database


class _Twice(MemoryContract):
    """One database, opened by two."""

    @pytest.fixture
    def store(self, opened: partial[Store]) -> Iterator[Store]:
        with opened() as store:
            yield store

    @pytest.fixture
    def elsewhere(self, opened: partial[Store]) -> Iterator[Store]:
        with opened() as store:
            yield store


class _Sync(_Twice):
    """By the sync methods: the flows are those of the other classes."""

    @pytest.fixture
    def face(self) -> Face:
        return lambda handle: handle


def on_sqlite(folder: Path, **settings: Any) -> partial[Store]:
    return partial(Store, f"sqlite:///{folder}/a file.db", durability="normal", **settings)


def on_postgres(url: str, schema: str, **settings: Any) -> partial[Store]:
    return partial(Store, url, schema=schema, pool_size=4, **settings)


class TestSqliteInMemory(MemoryContract):
    @pytest.fixture
    def store(self) -> Iterator[Store]:
        with Store("sqlite://") as store:
            yield store


class TestSqliteFile(_Twice):
    @pytest.fixture
    def opened(self, tmp_path: Path) -> partial[Store]:
        return on_sqlite(tmp_path)


class TestPostgres(_Twice):
    """By the methods of a loop: the others are asked of it in partitions and with a cache."""

    @pytest.fixture
    def face(self) -> Iterator[Face]:
        with asyncio.Runner() as runner:
            yield lambda handle: AsyncFace(runner.get_loop(), handle)

    @pytest.fixture
    def opened(self, database: Reused) -> partial[Store]:
        return on_postgres(database.url, database.emptied('a "schema" %s'))


class TestPartitionedPostgres(_Sync):
    @pytest.fixture
    def opened(self, database: Reused) -> partial[Store]:
        return on_postgres(database.url, database.partitioned("partitioned"))

    @pytest.fixture
    def store(self, opened: partial[Store]) -> Iterator[Store]:
        with opened() as store:
            yield store
            assert changes_across_shards(store) == []


class TestSqliteStrict(_Sync):
    @pytest.fixture
    def opened(self, tmp_path: Path, redis_server: RedisServer) -> partial[Store]:
        return on_sqlite(tmp_path, cache=redis_server.url, consistency="strict")


class TestPostgresCached(_Sync):
    @pytest.fixture
    def opened(self, database: Reused, redis_server: RedisServer) -> partial[Store]:
        return on_postgres(database.url, database.emptied("s"), cache=redis_server.url)
