"""The contract of items over every backend there is, sync and async; and against a model."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onrecord import Conflict, Store
from onrecord.testing.contract import Face
from onrecord.testing.contract_items import ItemsContract
from tests.emptied import Reused, reused
from tests.sent import changes_across_shards
from tests.servers.postgres import PostgresServer


@pytest.fixture(scope="module")
def database(postgres: PostgresServer) -> Iterator[Reused]:
    with reused(postgres, "items") as database:
        yield database


class TestSqliteFile(ItemsContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        with Store(f"sqlite:///{tmp_path}/a file.db", durability="normal") as store:
            yield store


class TestSqliteInMemory(ItemsContract):
    @pytest.fixture
    def store(self) -> Iterator[Store]:
        with Store("sqlite://") as store:
            yield store


class TestPostgres(ItemsContract):
    @pytest.fixture
    def store(self, database: Reused) -> Iterator[Store]:
        with Store(database.url, schema=database.emptied('a "schema" %s'), pool_size=4) as store:
            yield store


class TestPartitionedPostgres(ItemsContract):
    @pytest.fixture
    def face(self) -> Face:
        return lambda handle: handle

    @pytest.fixture
    def store(self, database: Reused) -> Iterator[Store]:
        with Store(database.url, schema=database.partitioned("partitioned"), pool_size=4) as store:
            yield store
            assert changes_across_shards(store) == []


KEYS = st.sampled_from("abc")
NUMBERS = st.integers(0, 3)
STEPS = st.one_of(
    st.tuples(st.just("put"), KEYS, NUMBERS),
    st.tuples(st.just("put again"), KEYS, NUMBERS),
    st.tuples(st.just("put if new"), KEYS, NUMBERS),
    st.tuples(st.just("put if as before"), KEYS, NUMBERS),
    st.tuples(st.just("merge"), KEYS, st.dictionaries(KEYS, NUMBERS, max_size=2)),
    st.tuples(st.just("delete"), KEYS, st.none()),
    st.tuples(st.just("put many"), KEYS, st.dictionaries(KEYS, NUMBERS)),
    st.tuples(st.just("clear"), KEYS, st.none()),
)


_numbers = itertools.count()


@given(steps=st.lists(STEPS, max_size=20))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_histories_are_those_of_a_dict(
    each_store: Callable[[], Store], steps: list[tuple[str, str, Any]]
) -> None:
    facts = each_store().items("facts", f"{next(_numbers)}")
    model: dict[str, Any] = {}
    versions: dict[str, int] = {}
    newest = 0
    for what, key, said in steps:
        written: list[Any] = []
        if what == "put":
            written = [facts.put(key, {"n": said})]
        elif what == "put again":
            written = [facts.put(key, {"n": said}, expected=versions.get(key, 0))]
        elif what == "put if new":
            if key in model:
                with pytest.raises(Conflict):
                    facts.put(key, {"n": said}, expected=0)
            else:
                written = [facts.put(key, {"n": said}, expected=0)]
        elif what == "put if as before":
            with pytest.raises(Conflict):
                facts.put(key, {"n": said}, expected=newest + 1_000)
        elif what == "merge":
            written = [facts.merge(key, said)]
            assert written[0].value == {**model.get(key, {}), **said}
        elif what == "delete":
            assert facts.delete(key) is (key in model)
            model.pop(key, None)
            versions.pop(key, None)
        elif what == "put many":
            written = facts.put_many({key: {"n": n} for key, n in said.items()})
        elif what == "clear":
            assert facts.clear() == len(model)
            model, versions = {}, {}
        for item in written:
            assert item.version > newest, "no version comes back"
            newest = item.version
            model[item.key], versions[item.key] = item.value, item.version
        assert {item.key: item.value for item in facts.list()} == model
        assert {item.key: item.version for item in facts.list()} == versions
        by_age = [item.version for item in facts.list(order="updated")]
        assert by_age == sorted(versions.values(), reverse=True)
        assert facts.count() == len(model)
        found = facts.get(key)
        assert (found and found.value) == model.get(key)
