"""Metrics: what each counts, over all stores of a process and beyond their ends."""

from __future__ import annotations

import asyncio
import gc
import re
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.metrics import Meter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from onrecord import Conflict, Store, Unavailable
from onrecord.flow import Cold, do
from onrecord.telemetry import sources
from onrecord.telemetry.instruments import METRICS, Instruments, instruments_of
from tests.servers.postgres import OwnPostgres
from tests.servers.redis import OwnRedis, RedisServer
from tests.shown import Shown, shown
from tests.test_telemetry import PAGE

__all__ = ["shown"]


@pytest.fixture(autouse=True)
def _only_our_stores() -> Iterator[None]:
    """What other tests have left is counted, too: not here."""
    gc.collect()
    gc.freeze()  # who else collects here need not go through all that there is: a third of a second
    kept = dict(sources._here), list(sources._gone), dict(sources._left)
    sources._here.clear()
    sources._gone.clear()
    sources._left.clear()
    yield
    sources._left.clear()
    sources._here.update(kept[0])
    sources._gone.extend(kept[1])
    sources._left.update(kept[2])


def test_the_page_has_every_metric() -> None:
    kinds = {"total": "counter", "level": "up-down counter"}
    rows = re.findall(
        r"^\| `(onrecord\.[a-z_.]+)` \| ([a-z -]+) \| `([^`]+)` \| (.+) \|$",
        PAGE.read_text(encoding="utf-8").partition("\n## Metrics\n")[2],
        re.M,
    )
    assert rows == [
        (name, kinds.get(m.kind, m.kind), m.unit, m.what[0].lower() + m.what[1:].rstrip("."))
        for name, m in METRICS.items()
    ]


def test_durations_have_the_operation_and_what_failed(shown: Shown) -> None:
    with Store("sqlite://") as store:
        chat = store.session("k", user="ada")
        for _ in range(3):
            chat.append(("user", "x"))
        with pytest.raises(Conflict):
            chat.delete(77)
    points = shown.points()
    by = {
        (p.attributes["onrecord.operation"], p.attributes.get("error.type")): p
        for p in points["onrecord.operation.duration"]
    }
    assert {key: p.count for key, p in by.items()} == {
        ("append", None): 3,
        ("delete", "Conflict"): 1,
    }
    if "explicit_bucket_boundaries_advisory" in signature(Meter.create_histogram).parameters:
        assert by["append", None].explicit_bounds[0] == 0.0001
    assert 0 < by["append", None].sum < 60
    steps = points["onrecord.step.duration"]
    assert sum(p.count for p in steps if p.attributes["onrecord.step"] == "write") == 4
    for name, found in points.items():
        for point in found:
            assert "ada" not in point.attributes.values(), name


def test_messages_and_bytes(shown: Shown) -> None:
    with Store("sqlite://") as store:
        store.session("k").append([("user", "one"), ("assistant", "two")])
        store.session("k").messages()
    assert shown.value("onrecord.messages.added") == 2
    assert shown.value("onrecord.io.written") > 0
    assert shown.value("onrecord.io.read", onrecord_operation="messages") > 0


def test_what_the_cache_did(
    kept_postgres_url: str, redis_server: RedisServer, shown: Shown
) -> None:
    with (
        Store(kept_postgres_url, cache=redis_server.url, revalidate=3600) as store,
        Store(kept_postgres_url, cache=redis_server.url, revalidate=3600) as other,
    ):
        store.session("k").append(("user", "x"))
        store.session("k").tail(5)
        other.session("k").tail(5)
        store._hot.empty()
        counted = [s.health().counters for s in (store, other)]
        found = shown.points()
        for result, name in (("hit", "hits"), ("miss", "misses"), ("degraded", "degraded_reads")):
            shown_value = [
                p.value
                for p in found["onrecord.cache.reads"]
                if p.attributes["onrecord.cache.result"] == result
            ]
            assert shown_value == [sum(getattr(c, name) for c in counted)]
        assert sum(c.hits for c in counted) >= 1
        assert shown.value("onrecord.cache.breaker.open") == 0
        assert shown.value("onrecord.cache.disagreed") == 0
    assert shown.value("onrecord.cache.reads", onrecord_cache_result="hit") >= 1, "also when closed"


def test_the_breaker(kept_postgres_url: str, own_redis: OwnRedis, shown: Shown) -> None:
    with Store(kept_postgres_url, cache=own_redis.url) as store:
        chat = store.session("k")
        chat.append(("user", "x"))
        chat.tail()
        own_redis.stop()
        while not store.health().breaker_open:
            store._hot.empty()
            chat.tail()
        found = shown.points()
        assert [p.value for p in found["onrecord.cache.breaker.open"]] == [1]
        assert [p.value for p in found["onrecord.cache.breaker.openings"]] == [1]
        assert shown.value("onrecord.cache.reads", onrecord_cache_result="degraded") >= 1
        assert store.health().counters.openings == 1


def test_commits_are_shared(tmp_path: Path, shown: Shown) -> None:
    async def many() -> None:
        async with Store(f"sqlite:///{tmp_path}/x.db") as store:
            await store.session("first").aappend(("user", "x"))
            await asyncio.gather(
                *[store.session(str(n)).aappend(("user", "x")) for n in range(100)]
            )

    asyncio.run(many())
    commits, writes = shown.value("onrecord.commits"), shown.value("onrecord.commits.writes")
    assert writes >= 101
    assert 1 < commits < writes


@contextmanager
def holding(store: Store) -> Iterator[None]:
    """Have somebody hold a connection of a store's meanwhile."""
    inside, leave = threading.Event(), threading.Event()

    def hold() -> Any:
        def work(txn: object) -> None:
            inside.set()
            leave.wait()

        yield from do(Cold(work))

    thread = threading.Thread(target=store._run, args=(hold(),))
    thread.start()
    inside.wait()
    try:
        yield
    finally:
        leave.set()
        thread.join()


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_the_pool(
    database: str, request: pytest.FixtureRequest, tmp_path: Path, shown: Shown
) -> None:
    url = f"sqlite:///{tmp_path}/x.db"
    if database == "postgresql":
        url = request.getfixturevalue("kept_postgres_url")
    with Store(url, pool_size=1, timeout=0.2) as store:
        store.session("k").append(("user", "x"))
        assert shown.value("onrecord.pool.waits") == 0
        with holding(store):
            found = shown.points()
            assert [p.value for p in found["onrecord.pool.in_use"]] == [1]
            assert [p.value for p in found["onrecord.pool.size"]] == [1]
            with pytest.raises(Unavailable, match="in use for too long"):
                store.session("k").messages()
        assert shown.value("onrecord.pool.waits") == 1
        assert shown.value("onrecord.pool.wait_time") > 0.19  # a timer may be a little early
        assert shown.value("onrecord.pool.in_use") == 0


def test_a_lost_connection_is_counted(own_postgres: OwnPostgres, shown: Shown) -> None:
    with own_postgres.database("lost") as url, Store(url) as store:
        chat = store.session("k")
        chat.append(("user", "x"))

        def work(txn: Any) -> int:
            if not tried:
                tried.append(True)
                txn.cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
            return 1

        def ask() -> Any:
            return (yield from do(Cold(work)))

        tried: list[bool] = []
        assert store._run(ask()) == 1
    assert shown.value("onrecord.pool.reconnects") == 1


def test_retries_and_unknown_outcomes(shown: Shown) -> None:
    """An answer that is lost once is looked up; lost twice, nobody knows."""
    with Store("sqlite://") as store:
        store.session("k").append(("user", "x"))
        perform, left = store._perform, 1

        def losing(step: Any) -> Any:
            nonlocal left
            answer = perform(step)
            if left and isinstance(step, Cold) and step.writes:
                left -= 1
                raise Unavailable("The answer was lost.", outcome_unknown=True)
            return answer

        store._perform = losing  # type: ignore[method-assign]
        store.session("k").append(("user", "y"))
        assert shown.value("onrecord.retries", error_type="Unavailable") == 1
        assert shown.value("onrecord.outcomes.unknown") == 0
        left = 2
        with pytest.raises(Unavailable):
            store.session("k").append(("user", "z"))
    assert shown.value("onrecord.retries", onrecord_operation="append") == 2
    assert shown.value("onrecord.outcomes.unknown", onrecord_operation="append") == 1
    lost = [s for s in shown.spans if "onrecord.outcome_unknown" in (s.attributes or {})]
    assert [span.name for span in lost] == ["onrecord.append"]


def test_the_lag_of_the_index(tmp_path: Path, shown: Shown) -> None:
    with Store(f"sqlite:///{tmp_path}/x.db") as store:
        store.session("k", user="ada").append([("user", f"Parcel {n}.") for n in range(20)])
        assert "onrecord.index.lag" not in shown.points(), "nobody has looked"
        store.stats(user="ada")
        assert "onrecord.index.lag" not in shown.points(), "a part says nothing of the whole"
        store.stats()
        assert shown.value("onrecord.index.lag") == 20
        store.search("parcel", user="ada")
        (point,) = shown.points()["onrecord.search.unindexed"]
        assert (point.count, point.sum) == (1, 20)
        store.index()
        assert shown.value("onrecord.index.lag") == 0


def test_stores_on_one_database_are_one_series(tmp_path: Path, shown: Shown) -> None:
    stores = [Store(f"sqlite:///{tmp_path}/x.db", pool_size=n) for n in (2, 3)]
    other = Store(f"sqlite:///{tmp_path}/y.db")
    for n, store in enumerate([*stores, other]):
        store.session(str(n)).append(("user", "x"))
    sizes = {p.attributes["db.namespace"]: p.value for p in shown.points()["onrecord.pool.size"]}
    assert sizes == {"x.db": 5, "y.db": 10}
    before = shown.value("onrecord.commits.writes", db_namespace="x.db")
    assert before >= 2
    stores[0].close()
    sizes = {p.attributes["db.namespace"]: p.value for p in shown.points()["onrecord.pool.size"]}
    assert sizes == {"x.db": 3, "y.db": 10}
    stores.pop().close()
    del store
    stores.clear()
    gc.collect()
    assert len(sources._here) == 1
    assert shown.value("onrecord.commits.writes", db_namespace="x.db") == before
    with Store(f"sqlite:///{tmp_path}/x.db") as again:
        again.session("k").append(("user", "x"))
        assert shown.value("onrecord.commits.writes", db_namespace="x.db") > before
    other.close()


def test_two_readers_find_the_same(tmp_path: Path) -> None:
    """Nobody takes a count away from another, also while stores come and go."""
    readers = [InMemoryMetricReader(), InMemoryMetricReader()]
    with closing(Shown()) as shown:
        shown.meters = MeterProvider(readers)
        with shown.set_up(spans=False):
            for n in range(3):
                with Store(f"sqlite:///{tmp_path}/x.db") as store:
                    store.session(str(n)).append(("user", "x"))
                del store
                gc.collect()
                shown.reader = readers[n % 2]
                shown.points()
            values = []
            for shown.reader in readers:
                values.append(shown.value("onrecord.commits.writes"))
    assert values[0] == values[1] >= 3


def test_threads_make_the_instruments_once() -> None:
    """Twice made, they would count everything twice."""
    asked, second = [], threading.Event()

    class Provider:
        def get_meter(self, name: str, version: str) -> Any:
            asked.append(name)
            if len(asked) > 1:
                second.set()
            second.wait(0.2)  # for another thread, which has to wait for this one
            return MeterProvider().get_meter(name)

    provider = Provider()
    threads = [threading.Thread(target=instruments_of, args=(provider,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert asked == ["onrecord"]


def test_an_api_that_knows_no_advice() -> None:
    class Old:
        def get_meter(self, name: str, version: str) -> Old:
            return self

        def create_histogram(self, name: str, unit: str, description: str) -> str:
            return name

        def __getattr__(self, name: str) -> Any:
            return lambda *given, **more: name

    assert Instruments(Old())._made["onrecord.step.duration"] == "onrecord.step.duration"
