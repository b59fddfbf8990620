"""The contract of the state of sessions over every backend there is, sync and async."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import onrecord.flows.items.writing
import onrecord.flows.sessions.append
from onrecord import Session, Store
from onrecord.testing.contract import Face
from onrecord.testing.contract_state import StateContract
from tests.emptied import Reused, reused
from tests.sent import changes_across_shards
from tests.servers.postgres import PostgresServer


@pytest.fixture(scope="module")
def database(postgres: PostgresServer) -> Iterator[Reused]:
    with reused(postgres, "state") as database:
        yield database


class TestSqliteFile(StateContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        with Store(f"sqlite:///{tmp_path}/a file.db", durability="normal") as store:
            yield store


class TestSqliteInMemory(StateContract):
    @pytest.fixture
    def store(self) -> Iterator[Store]:
        with Store("sqlite://") as store:
            yield store


class TestPostgres(StateContract):
    @pytest.fixture
    def store(self, database: Reused) -> Iterator[Store]:
        schema = database.emptied('a "schema" %s')
        with Store(database.url, schema=schema, pool_size=5) as store:
            yield store


class TestPartitionedPostgres(StateContract):
    @pytest.fixture
    def face(self) -> Face:
        return lambda handle: handle

    @pytest.fixture
    def store(self, database: Reused) -> Iterator[Store]:
        schema = database.partitioned("partitioned")
        with Store(database.url, schema=schema, pool_size=5) as store:
            yield store
            assert changes_across_shards(store) == []


class TestCached(StateContract):
    """With Redis, where there is one."""

    @pytest.fixture
    def face(self) -> Face:
        return lambda handle: handle

    @pytest.fixture
    def store(self, each_store: Callable[[], Store]) -> Store:
        return each_store()

    def test_no_other_process_reads_what_has_gone(self, each_store: Callable[[], Store]) -> None:
        here, there = (each_store().session("chat", user="ada") for _ in range(2))
        for n in range(3):
            here.state.put_many({"a": n, "b": n})
            for session in (there, here):
                for _ in range(2):  # the second out of a cache, where there is one
                    assert [read(session, key) for key in "ab"] == [n, n]
            (here if n % 2 else there).erase()
            for session in (there, here):
                assert [read(session, key) for key in "ab"] == [None, None]
        here.state.put("a", "new")
        there.fork("fork")
        assert read(there.store.session("fork", user="ada"), "a") == "new"


def test_a_session_that_a_state_has_made_is_not_taken_away_again(
    each_store: Callable[[], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An append that needs no session takes away the one it has made, which it knows by when that
    was: not one that was made for a state in the same microsecond."""
    store = each_store()
    session = store.session("chat", user="ada")
    (stored,) = session.append(("user", "hello"))
    session.erase()
    for module in (onrecord.flows.items.writing, onrecord.flows.sessions.append):
        monkeypatch.setattr(module, "now", lambda: 10**15)
    session.state.put("plan", 1)
    assert session.append(stored, expected=0) == []
    assert session.info().created_at is not None
    assert read(session, "plan") == 1
    assert store.verify() == []


def read(session: Session, key: str) -> object:
    """A value of its state."""
    found = session.state.get(key)
    return None if found is None else found.value
