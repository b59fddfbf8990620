"""An answer of Redis that is lost or late costs its writer a second try, and no stale read."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis as redis_py

from onrecord import Store
from onrecord.cache.redis import RedisCache
from onrecord.flow import Cold
from tests.servers.redis import RedisServer
from tests.turned import Turned, hits


class Proxy:
    """Stands before Redis, and swallows the answers to so many of the next commands; or holds
    them until who asked has given up, and lets them through then."""

    def __init__(self, port: int) -> None:
        self.swallow = 0
        self.hold = 0
        self.came_late = 0
        self.connections = 0
        self._port = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listening.getsockname()[1]}/0"
        self._sockets: list[socket.socket] = [self._listening]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                self.connections += 1
                server = socket.create_connection(("127.0.0.1", self._port))
                self._sockets += [client, server]
                held: list[bytes] = []
                for pair, answers in (((client, server), False), ((server, client), True)):
                    thread = threading.Thread(target=self._carry, args=(*pair, answers, held))
                    self._threads.append(thread)
                    thread.start()

    def _carry(
        self, one: socket.socket, other: socket.socket, answers: bool, held: list[bytes]
    ) -> None:
        with contextlib.suppress(OSError):
            while True:
                data = one.recv(65536)
                if held and not answers:  # it says something more, or hangs up
                    self.came_late += 1
                    with contextlib.suppress(OSError):
                        one.sendall(held.pop())
                if not data:
                    break
                if answers and self.swallow:
                    self.swallow -= 1
                elif answers and self.hold:
                    self.hold -= 1
                    held.append(data)
                else:
                    other.sendall(data)
        with contextlib.suppress(OSError):
            other.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        for one in self._sockets:
            one.close()


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[Proxy]:
    found = Proxy(int(redis_server.url.rpartition(":")[2].partition("/")[0]))
    yield found
    found.close()


def test_a_mark_whose_answer_is_lost_is_tried_again_at_once(tmp_path: Path, proxy: Proxy) -> None:
    """On a new connection; the commit is marked, and nobody is a step behind."""
    url = f"sqlite:///{tmp_path}/x.db"
    with (
        Store(url, durability="normal", cache=proxy.url) as store,
        Store(url, durability="normal", cache=proxy.url) as other,
    ):
        turned = Turned(store)
        chat = store.session("k")
        chat.append(("user", "one"))
        hits(other, other.session("k").tail)
        before, proxy.swallow = proxy.connections, 1
        chat.append(("user", "two"))
        assert proxy.connections == before + 1
        assert turned.since() < 0.05, "no pause, and the cache was not switched off"
        assert [m.text for m in other.session("k").tail()] == ["one", "two"]
        assert not store._hot.left_alone
        assert store._belief.off is None
        assert other._belief.off is None
        assert hits(other, other.session("k").tail, 2)


class Commits:
    """How many marks stand in Redis at each commit of a store, and what others read after it."""

    def __init__(self, store: Store, redis: Any, read: Callable[[], list[str]]) -> None:
        self.marks: list[int] = []
        self.read: list[list[str]] = []
        cache = store._hot
        assert isinstance(cache, RedisCache)
        key = cache.key_of(store.session("k").name.identity)
        perform, aperform = store._perform, store._aperform

        def before(step: Any) -> None:
            if isinstance(step, Cold) and step.writes:
                header = bytes(redis.lindex(key, 0) or b"- -")
                self.marks.append(header.split(b" ")[-2].count(b";"))

        def after(step: Any) -> None:
            if isinstance(step, Cold) and step.writes:
                self.read.append(read())  # it is not published yet

        def watched(step: Any) -> Any:
            before(step)
            answer = perform(step)
            after(step)
            return answer

        async def awatched(step: Any) -> Any:
            before(step)
            answer = await aperform(step)
            after(step)
            return answer

        store._perform = watched  # type: ignore[method-assign]
        store._aperform = awatched  # type: ignore[method-assign]


@pytest.mark.parametrize("way", ["sync", "async"])
def test_a_mark_whose_answer_is_late_is_tried_again_at_once(
    tmp_path: Path,
    redis_server: RedisServer,
    proxy: Proxy,
    way: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Redis has it; its answer comes when nobody waits for it, and is taken for no other."""
    url = f"sqlite:///{tmp_path}/x.db"
    with (
        Store(url, durability="normal", cache=proxy.url) as store,
        Store(url, durability="normal", cache=proxy.url) as other,
        contextlib.closing(redis_py.Redis.from_url(redis_server.url)) as redis,
    ):
        turned = Turned(store)
        chat, others = store.session("k"), other.session("k")

        def read() -> list[str]:
            return [message.text for message in others.tail()]

        async def say(text: str) -> None:
            if way == "sync":
                chat.append(("user", text))
            else:
                await chat.aappend(("user", text))

        async def late() -> None:
            await say("one")
            hits(other, others.tail)
            commits = Commits(store, redis, read)
            before, proxy.hold = proxy.connections, 1
            await say("two")
            assert (proxy.hold, proxy.came_late) == (0, 1)
            assert proxy.connections == before + 1
            assert commits.marks == [1], "it went unmarked, or two marks were left"
            assert commits.read == [["one", "two"]]
            assert read() == ["one", "two"]
            await say("three")  # on the connection that is there now
            assert proxy.connections == before + 1
            assert commits.marks == [1, 1]
            assert read() == ["one", "two", "three"]

        asyncio.run(late())
        assert turned.since() < 0.05, "no pause, and the cache was not switched off"
        assert "left alone" not in caplog.text, "the breaker was open, if only for a moment"
        assert store._belief.off is None
        assert other._belief.off is None
        assert hits(other, others.tail, 2)
