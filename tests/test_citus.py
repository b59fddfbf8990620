"""The contracts over tables that Citus spreads, where there is a server that has it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from onrecord import Store
from onrecord.testing.contract import Face, StoreContract
from onrecord.testing.contract_items import ItemsContract
from onrecord.testing.contract_state import StateContract
from tests.emptied import Reused, reused
from tests.servers.binaries import Missing
from tests.servers.citus import citus, prepare
from tests.servers.postgres import PostgresServer


@pytest.fixture(scope="module")
def database(postgres: PostgresServer) -> Iterator[Reused]:
    with citus(postgres) as server:
        if isinstance(server, Missing):
            if os.environ.get("ONRECORD_TEST_CITUS"):
                pytest.fail(server.reason, pytrace=False)
            pytest.skip(server.reason)
        with reused(server, "citus") as database:
            prepare(database.url)
            yield database


class _OverCitus:
    @pytest.fixture
    def face(self) -> Face:
        return lambda handle: handle

    @pytest.fixture
    def store(self, database: Reused) -> Iterator[Store]:
        with Store(database.url, schema=database.by_citus("nodes"), pool_size=4) as store:
            yield store


class TestSessions(_OverCitus, StoreContract):
    pass


class TestItems(_OverCitus, ItemsContract):
    pass


class TestState(_OverCitus, StateContract):
    pass
