"""What a reader who tried to break the cache has broken once: secrets, closing, clocks, company."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis as redis_py
import redis.asyncio as redis_asyncio

from recollect import Misconfigured, RecollectError, Session, Store
from recollect.hot import redis as hot_redis
from recollect.hot.redis import RedisCache
from tests.servers.redis import RedisServer

SECRET = "hunter2"
Opened = Callable[..., Store]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hot_redis, "MARK_LIFETIME", 0)


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    stores: list[Store] = []

    def open_one(cache: Any, **settings: Any) -> Store:
        url = f"sqlite:///{tmp_path}/x.db"
        stores.append(Store(url, durability="normal", cache=cache, **settings))
        return stores[-1]

    yield open_one
    for store in stores:
        store.close()


def cache_of(store: Store) -> RedisCache:
    cache = store._hot
    assert isinstance(cache, RedisCache)
    return cache


def warm(store: Store, chat: Session) -> None:
    for _ in range(1_000):
        chat.tail()
        if store._hot.counters.hits:
            return
    pytest.fail("the cache never answered")


def test_a_client_that_decodes_is_refused(opened: Opened, redis_server: RedisServer) -> None:
    """It would mark nothing, because it understands no answer, and others would read stale."""
    with redis_py.Redis.from_url(redis_server.url, decode_responses=True) as client:
        for given in (client, redis_asyncio.Redis.from_url("redis://h", decode_responses=True)):
            with pytest.raises(Misconfigured, match="decode_responses"):
                opened(given)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"redis://127.0.0.1:1/0?password={SECRET}", "redis://127.0.0.1:1/0"),
        (f"redis://ada:{SECRET}@127.0.0.1:1/2", "redis://ada:***@127.0.0.1:1/2"),
        (f"redis://:{SECRET}@127.0.0.1:1", "redis://:***@127.0.0.1:1"),
        (f"unix:///no/such.sock?db=0&password={SECRET}", "unix:///no/such.sock"),
        (f"rediss://127.0.0.1:1/?ssl_password={SECRET}", "rediss://127.0.0.1:1/"),
        (f"redis+sentinel://a:{SECRET}%40@127.0.0.1:1,[::1]:2/chats", "a:***@127.0.0.1:1,[::1]:2"),
        (f"redis+cluster://:{SECRET}@127.0.0.1:1", "redis+cluster://:***@127.0.0.1:1"),
        (f"redis://{SECRET}@127.0.0.1:1", "redis://***@127.0.0.1:1"),
        (f"redis://{SECRET}:@127.0.0.1:1", "redis://***@127.0.0.1:1"),
    ],
)
def test_a_password_in_any_place_is_kept_secret(
    opened: Opened, url: str, shown: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = opened(url)
    store.session("k").append(("user", "x"))
    health = store.health()
    assert health.cache is not None
    assert shown in health.cache.where
    assert not health.cache.ok
    assert SECRET not in f"{health}{store!r}{caplog.text}"


@pytest.mark.parametrize(
    "url",
    [
        f"redis://:{SECRET}/x@h:1",
        f"redis://:{SECRET}#x@h:1",
        f"redis://:{SECRET}?x@h:1",
        f"redis+sentinel://:1{SECRET}/x@h:1/chats",
        f"redis:{SECRET}@h",
        f"redis://h/{SECRET}",
        f"redis://h?db={SECRET}",
        f"redis+cluster://h/{SECRET}",
        f"redis+sentinel://h/chats/{SECRET}",
        f"h:{SECRET}",
        f"http://:{SECRET}@h",
        "redis+sentinel://h:1",
        "redis://h?socket_timeout=60",
        "redis://h?decode_responses=true",
        "redis://h:port",
    ],
)
def test_an_address_that_cannot_be_read_is_refused_without_quoting_it(
    opened: Opened, url: str
) -> None:
    with pytest.raises(Misconfigured) as caught:
        opened(url)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_redis_that_dribbles_is_as_good_as_none(
    opened: Opened, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(redis_server.url)
    chat = store.session("k")
    chat.append(("user", "x"))
    now = 0.0

    def later() -> float:
        nonlocal now
        now += 2
        return now

    monkeypatch.setattr(cache_of(store), "_clock", later)
    chat.append(("user", "y"))
    assert store._hot.left_alone, "a call took longer than a mark may be old"
    assert [m.text for m in chat.tail()] == ["x", "y"]


def test_what_is_owed_is_paid_in_part_and_first_what_is_asked_for(
    opened: Opened, redis_server: RedisServer
) -> None:
    store = opened(redis_server.url)
    sessions = [store.session(f"{n}") for n in range(200)]
    cache = cache_of(store)
    sessions[0].append(("user", "x"))
    for chat in sessions:
        cache.missed(chat.name.identity)
    sessions[-1].version()
    sessions[-1].tail()
    assert sessions[-1].name.identity not in cache._missed
    assert 0 < len(cache._missed) < 200
    for _ in range(4):
        sessions[-1].tail()
    assert not cache._missed


def test_closing_fails_no_append_that_was_committed(
    opened: Opened, redis_server: RedisServer
) -> None:
    store = opened(redis_server.url)
    acknowledged: set[str] = set()
    refused: list[str] = []
    begun = threading.Barrier(5)

    def hammer(me: int) -> None:
        chat = store.session(f"{me}")
        begun.wait()
        for n in range(100_000):
            try:
                chat.append(("user", f"{me} {n}"))
            except RecollectError:
                refused.append(f"{me} {n}")
                return
            acknowledged.add(f"{me} {n}")

    threads = [threading.Thread(target=hammer, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    begun.wait()
    while len(acknowledged) < 100:
        time.sleep(0.001)
    store.close()
    for thread in threads:
        thread.join()
    assert len(refused) == 4
    again = opened(redis_server.url)
    assert {m.text for n in range(4) for m in again.session(f"{n}").messages()} == acknowledged


@pytest.mark.parametrize("cached", [True, False])
def test_invalidating_disturbs_nobody(
    opened: Opened, redis_server: RedisServer, cached: bool
) -> None:
    store = opened(redis_server.url if cached else None)
    faults: list[Exception] = []
    done = threading.Event()

    def hammer(me: int) -> None:
        chat = store.session(f"{me}")
        try:
            while not done.is_set():
                chat.append(("user", "x"))
                chat.tail()
        except Exception as fault:  # whatever it is, it should not have been
            faults.append(fault)

    threads = [threading.Thread(target=hammer, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(100):
        store.invalidate()
    done.set()
    for thread in threads:
        thread.join()
    assert faults == []


def test_who_asks_while_somebody_invalidates_does_not_put_the_old_id_back(
    opened: Opened, redis_server: RedisServer
) -> None:
    store = opened(redis_server.url)
    store.session("k").append(("user", "x"))
    ledger = store._ledger
    read = ledger._read

    def slow(work: Any) -> Any:
        found = read(work)
        invalidating = threading.Thread(target=store.invalidate)
        invalidating.start()
        invalidating.join(0.05)  # it has to wait for us, and not we overwrite what it does
        waiting.append(invalidating)
        return found

    waiting: list[threading.Thread] = []
    before = ledger.cache_id()
    ledger._read = slow  # type: ignore[method-assign]
    ledger._asked -= 1_000
    ledger.keep_up(1)
    ledger._read = read  # type: ignore[method-assign]
    waiting[0].join()
    assert ledger.cache_id() != before


def test_a_window_over_an_entry_that_lags_behind_a_rewrite(
    opened: Opened, redis_server: RedisServer
) -> None:
    store, cut_off = opened(redis_server.url), opened(None)
    chat = store.session("k")
    chat.append([("user", str(n)) for n in range(100)])
    warm(store, chat)
    cut_off.session("k").delete(100)
    assert len(chat.window(messages=200)) == 99


def test_a_clock_that_was_set_back_does_not_make_an_entry_young(
    opened: Opened, redis_server: RedisServer
) -> None:
    store, cut_off = opened(redis_server.url), opened(None)
    chat = store.session("k")
    chat.append(("user", "1"))
    warm(store, chat)
    cut_off.session("k").append(("user", "2"))
    cache = cache_of(store)
    with redis_py.Redis.from_url(redis_server.url, socket_timeout=5) as client:
        key = cache._key(cache.look(chat.name.identity))
        fields = client.lindex(key, 0).decode().split(" ")
        fields[4] = str(int(fields[4]) + 3_600_000)
        client.lset(key, 0, " ".join(fields))
    assert [m.text for m in chat.tail()] == ["1", "2"]


@pytest.mark.parametrize(
    "setting",
    [
        {"ttl": float("inf")},
        {"ttl": float("nan")},
        {"ttl": "5"},
        {"ttl": 0},
        {"ttl": 1e20},
        {"revalidate": None},
        {"revalidate": -1},
        {"compare": "x"},
        {"tail": 10**20},
    ],
    ids=str,
)
def test_a_setting_that_cannot_be(opened: Opened, setting: dict[str, Any]) -> None:
    with pytest.raises(Misconfigured, match=next(iter(setting))):
        opened(None, **setting)
