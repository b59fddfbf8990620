"""An answer of Redis that is lost costs its writer a second try, and nobody a stale read."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from onrecord import Store
from tests.servers.redis import RedisServer
from tests.turned import Turned, hits


class Proxy:
    """Stands before Redis, and swallows the answers to so many of the next commands."""

    def __init__(self, port: int) -> None:
        self.swallow = 0
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
                for pair, answers in (((client, server), False), ((server, client), True)):
                    thread = threading.Thread(target=self._carry, args=(*pair, answers))
                    self._threads.append(thread)
                    thread.start()

    def _carry(self, one: socket.socket, other: socket.socket, answers: bool) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                if answers and self.swallow:
                    self.swallow -= 1
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
