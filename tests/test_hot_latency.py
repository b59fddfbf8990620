"""What a Redis that is down costs, counted in connections that are tried and not in seconds.

Of every kind of client: redis-py gives some of them retries of their own. ``bench/redis_down.py``
prints the seconds.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from recollect import Message, Session, Store
from recollect.hot.breaker import Breaker
from recollect.hot.redis import RedisCache
from tests.servers.redis import OwnRedis

KINDS = {
    "redis": "redis://127.0.0.1:{port}",
    "cluster": "redis+cluster://127.0.0.1:{port}",
    "sentinel": "redis+sentinel://127.0.0.1:{port}/chats",
}
PAUSE = 1.0


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(params=["refusing", "hanging"])
def port(request: pytest.FixtureRequest) -> Iterator[int]:
    """Where nobody listens, or connections are taken and nothing is ever answered."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if request.param == "hanging":
            server.listen(64)
        yield server.getsockname()[1]


@pytest.fixture
def tried(port: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The connections that are tried to that port."""
    made: list[int] = []
    connect = socket.socket.connect

    def counting(self: socket.socket, address: Any) -> None:
        if isinstance(address, tuple) and address[1] == port:
            made.append(port)
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", counting)
    monkeypatch.setattr("recollect.hot.redis.CALL_TIMEOUT", 0.05)
    return made


def turned_by_hand(store: Store) -> Clock:
    clock = Clock()
    cache = store._hot
    assert isinstance(cache, RedisCache)
    cache.breaker = Breaker(PAUSE, clock)
    return clock


def texts(messages: list[Message]) -> list[str]:
    return [message.text for message in messages]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("face", ["sync", "async"])
def test_one_try_and_then_none_until_the_pause_is_over(
    tmp_path: Path, port: int, tried: list[int], kind: str, face: str
) -> None:
    url = KINDS[kind].format(port=port)
    with (
        asyncio.Runner() as runner,
        Store(f"sqlite:///{tmp_path}/x.db", durability="normal", cache=url) as store,
    ):
        clock = turned_by_hand(store)
        chat = store.session("k")
        expected: list[str] = []

        def append() -> None:
            message = ("user", str(len(expected)))
            runner.run(chat.aappend(message)) if face == "async" else chat.append(message)
            expected.append(message[1])
            assert texts(tail(chat, runner if face == "async" else None)) == expected

        append()
        assert len(tried) == 1, "the first to fail is the only one"
        for _ in range(5):
            append()
        assert len(tried) == 1
        clock.now += PAUSE / 2
        append()
        assert len(tried) == 1, "not yet"
        clock.now += PAUSE / 2
        append()
        append()
        assert len(tried) == 2, "one who tries, while the others go on"
        runner.run(store.aclose())


def tail(chat: Session, runner: asyncio.Runner | None) -> list[Message]:
    return chat.tail(50) if runner is None else runner.run(chat.atail(50))


def test_when_redis_is_back_it_is_hot_again(
    tmp_path: Path, own_redis: OwnRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recollect.hot.redis.MARK_LIFETIME", 0.002)
    with Store(f"sqlite:///{tmp_path}/x.db", durability="normal", cache=own_redis.url) as store:
        clock = turned_by_hand(store)
        chat = store.session("k")
        counters = store._hot.counters
        chat.append(("user", "before"))
        hot(lambda: texts(chat.tail()) == ["before"], store)
        own_redis.kill()
        chat.append(("user", "meanwhile"))
        for _ in range(3):
            assert texts(chat.tail()) == ["before", "meanwhile"]
        degraded = counters.degraded_reads
        assert degraded
        own_redis.start()
        clock.now += PAUSE
        hot(lambda: texts(chat.tail()) == ["before", "meanwhile"], store)
        chat.append(("user", "after"))
        hot(lambda: texts(chat.tail()) == ["before", "meanwhile", "after"], store)
        assert counters.degraded_reads == degraded
        assert not store.health().breaker_open


def hot(right: Callable[[], bool], store: Store) -> None:
    """Always right, and soon out of the cache."""
    before = store._hot.counters.hits
    for _ in range(1_000):
        assert right()
        if store._hot.counters.hits > before:
            return
    pytest.fail("the cache never answered")
