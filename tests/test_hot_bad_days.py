"""What a reader who tried to break the cache has broken once: secrets, closing, clocks, company."""

from __future__ import annotations

import gc
import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis as redis_py
import redis.asyncio as redis_asyncio

from onrecord import Misconfigured, OnrecordError, Store
from onrecord.cache import redis as hot_redis
from onrecord.cache.redis import RedisCache
from onrecord.ledger.database import generation
from tests.servers.redis import RedisServer
from tests.turned import Turned, hits

SECRET = "hunter2"
Opened = Callable[..., Store]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hot_redis, "_PATIENCE", 0)


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
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # redis-py 5 leaves one
def test_a_password_in_any_place_is_kept_secret(
    opened: Opened, url: str, shown: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = opened(url)
    Turned(store)
    store.session("k").append(("user", "x"))
    health = store.health()
    assert health.cache is not None
    assert shown in health.cache.where
    assert not health.cache.ok
    assert SECRET not in f"{health}{store!r}{caplog.text}"
    gc.collect()  # what is left of a connection that failed, which is nothing to the next test


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
    """Byte by byte an answer may come without any timeout being met: it counts as a failure."""
    store = opened(redis_server.url)
    Turned(store)
    chat = store.session("k")
    chat.append(("user", "x"))
    now = 0.0

    def later() -> float:
        nonlocal now
        now += 2
        return now

    with monkeypatch.context() as patch:
        patch.setattr(cache_of(store), "_clock", later)
        chat.append(("user", "y"))
        assert not store._hot.left_alone, "that may have been a stall of our own"
        chat.append(("user", "z"))
        assert store._hot.left_alone
        assert [m.text for m in chat.tail()] == ["x", "y", "z"]


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
            except OnrecordError:
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


def test_who_asks_while_somebody_invalidates_does_not_believe_the_old_generation(
    opened: Opened, redis_server: RedisServer
) -> None:
    """Its answer comes after ``invalidate`` is done, and is of before: nothing is a hit by it."""
    store, restored = opened(redis_server.url, revalidate=1e6), opened(None)
    chat = store.session("k")
    chat.append(("user", "x"))
    assert hits(store, chat.tail) == 1
    belief, asked = store._belief, store._belief.clock()
    said = store._ledger.read(generation.read)
    restored.session("k").append(("user", "y"))  # without a mark, as a restored backup would
    store.invalidate()
    belief.learn(said, asked)
    assert [m.text for m in chat.tail()] == ["x", "y"]


def test_a_window_over_an_entry_that_lags_behind_a_rewrite(
    opened: Opened, redis_server: RedisServer
) -> None:
    """Such an entry cannot come to be any more, but by a Redis that falls back: made by hand."""
    store, cut_off = opened(redis_server.url), opened(None)
    chat = store.session("k")
    chat.append([("user", str(n)) for n in range(100)])
    hits(store, chat.tail)
    cut_off.session("k").delete(100)  # no mark: this one knows of no cache
    assert len(chat.window(messages=200)) == 99


def test_a_clock_that_was_set_back_does_not_make_an_entry_young(
    opened: Opened, redis_server: RedisServer
) -> None:
    store, cut_off = opened(redis_server.url), opened(None)
    chat = store.session("k")
    chat.append(("user", "1"))
    hits(store, chat.tail)
    cut_off.session("k").append(("user", "2"))
    cache = cache_of(store)
    with redis_py.Redis.from_url(redis_server.url, socket_timeout=5) as client:
        key = cache.key_of(chat.name.identity)
        text = client.lindex(key, 0).decode().rpartition(" ")[0]
        fields = text.split(" ")
        fields[CHECKED] = str(int(fields[CHECKED]) + 3_600_000)
        client.lset(key, 0, with_sum(" ".join(fields)))
    assert [m.text for m in chat.tail()] == ["1", "2"]


CHECKED = 7
"""Where the header of an entry says when it was checked: see cache/scripts/common.lua."""


def with_sum(text: str) -> str:
    return f"{text} {hashlib.sha1(text.encode()).hexdigest()[:8]}"


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
