"""What a Redis that is down costs, counted in connections that are tried and not in seconds.

Of every kind of client: redis-py gives some of them retries of their own. ``bench/redis_down.py``
prints the seconds.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from onrecord import Message, Session, Store
from onrecord.flows.belief import Patience
from tests.servers.redis import OwnRedis
from tests.turned import PAUSE, Turned, hits

KINDS = {
    "redis": "redis://127.0.0.1:{port}",
    "cluster": "redis+cluster://127.0.0.1:{port}",
    "sentinel": "redis+sentinel://127.0.0.1:{port}/chats",
}


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
    monkeypatch.setattr("onrecord.cache.redis.CALL_TIMEOUT", 0.05)
    return made


def texts(messages: list[Message]) -> list[str]:
    return [message.text for message in messages]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("face", ["sync", "async"])
def test_a_few_tries_and_then_one_a_pause(
    tmp_path: Path, port: int, tried: list[int], kind: str, face: str
) -> None:
    """The first writer tries for half a second and then as often as the breaker lets it, while
    it waits; from there on nobody waits and one tries now and then."""
    url = KINDS[kind].format(port=port)
    with (
        asyncio.Runner() as runner,
        Store(f"sqlite:///{tmp_path}/x.db", durability="normal", cache=url) as store,
    ):
        turned = Turned(store)
        chat = store.session("k")
        expected: list[str] = []

        def append() -> None:
            message = ("user", str(len(expected)))
            runner.run(chat.aappend(message)) if face == "async" else chat.append(message)
            expected.append(message[1])
            assert texts(tail(chat, runner if face == "async" else None)) == expected

        append()
        assert 3 <= len(tried) <= 14
        paused = turned.since()
        assert Patience().waits <= paused <= Patience().waits + Patience().marking + 0.2
        tried.clear()
        for _ in range(5):
            append()
        assert not tried
        turned.clock.now += PAUSE / 4
        append()
        assert not tried, "not yet"
        turned.clock.now += PAUSE
        append()
        append()
        assert len(tried) == 1, "one who tries, while the others go on"
        assert turned.since() == 0.0
        runner.run(store.aclose())


def tail(chat: Session, runner: asyncio.Runner | None) -> list[Message]:
    return chat.tail(50) if runner is None else runner.run(chat.atail(50))


def test_when_redis_is_back_it_is_hot_again(tmp_path: Path, own_redis: OwnRedis) -> None:
    with Store(f"sqlite:///{tmp_path}/x.db", durability="normal", cache=own_redis.url) as store:
        turned = Turned(store)
        chat = store.session("k")
        counters = store._hot.counters

        def right(*said: str) -> None:
            assert texts(chat.tail()) == list(said)

        chat.append(("user", "before"))
        assert hits(store, lambda: right("before")) == 1
        own_redis.kill()
        chat.append(("user", "meanwhile"))
        for _ in range(3):
            right("before", "meanwhile")
        degraded = counters.degraded_reads
        assert degraded
        own_redis.start()
        turned.clock.now += turned.belief.patience.resume_after
        right("before", "meanwhile")  # it is back; the next who asks the database says so
        turned.clock.now += turned.belief.patience.believed_for
        hits(store, lambda: right("before", "meanwhile"))
        turned.since()
        chat.append(("user", "after"))
        hits(store, lambda: right("before", "meanwhile", "after"))
        assert counters.degraded_reads == degraded
        assert turned.since() == 0.0
        assert not store.health().breaker_open
