"""Every kind of Redis a URL can name: a cluster, a socket, one with a password, Sentinel; clients
that the caller lends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio
from redis._parsers.commands import AsyncCommandsParser, CommandsParser
from redis.asyncio.cluster import RedisCluster as AsyncRedisCluster
from redis.cluster import RedisCluster

from onrecord import Message, Store
from onrecord.cache import round_trips
from onrecord.testing.contract import AsyncFace, Face, StoreContract, texts
from onrecord.testing.contract_items import StoredItemsContract
from tests.servers.binaries import Binaries
from tests.servers.redis import OwnCluster, OwnRedis, OwnSentinel


@pytest.fixture(scope="session")
def cluster(redis_binaries: Binaries) -> Iterator[OwnCluster]:
    with contextlib.closing(OwnCluster(redis_binaries)) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def commands() -> dict[type, Any]:
    """What the nodes say of their commands, to each kind of client."""
    return {}


class OnCluster:
    @pytest.fixture(autouse=True)
    def _ask_for_the_commands_once(
        self, commands: dict[type, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Each client asks what there is, and reads 200 kB: two thirds of what a test takes."""
        ask: Any = CommandsParser.initialize
        aask: Any = AsyncCommandsParser.initialize

        def initialize(parser: CommandsParser, client: Any) -> None:
            if CommandsParser not in commands:
                ask(parser, client)
                commands[CommandsParser] = parser.commands
            parser.commands = commands[CommandsParser]

        async def ainitialize(parser: AsyncCommandsParser, node: Any = None) -> None:
            parser.node = node
            if AsyncCommandsParser not in commands:
                await aask(parser, node)
                commands[AsyncCommandsParser] = parser.commands
            parser.commands = commands[AsyncCommandsParser]

        monkeypatch.setattr(CommandsParser, "initialize", initialize)
        monkeypatch.setattr(AsyncCommandsParser, "initialize", ainitialize)

    @pytest.fixture
    def store(self, tmp_path: Path, cluster: OwnCluster) -> Iterator[Store]:
        url = f"sqlite:///{tmp_path}/x.db"
        with Store(url, durability="normal", cache=cluster.url) as store:
            yield store
            assert store.health().ok


class TestCluster(OnCluster, StoreContract):
    pass


class TestItemsOnCluster(OnCluster, StoredItemsContract):
    @pytest.fixture
    def face(self) -> Iterator[Face]:
        with asyncio.Runner() as runner:
            yield lambda handle: AsyncFace(runner.get_loop(), handle)


def test_a_batch_has_a_time_limit_for_each_of_its_round_trips(
    url: str, cluster: OwnCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one limit for all of them, whoever put many switched the cache off for everybody."""
    asked = round_trips._asaid

    async def slow(*given: Any) -> Any:
        await asyncio.sleep(0.01)
        return await asked(*given)

    monkeypatch.setattr(round_trips, "_asaid", slow)

    async def main() -> None:
        async with Store(url, durability="normal", cache=cluster.url) as store:
            await store.items("facts").aput_many({f"k{n}": n for n in range(50)})
            assert store._desk.belief.off is None
            assert await store.items("facts").aget("k7") is not None
            assert store._hot.counters.hits == 1

    asyncio.run(main())


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/x.db"


def talk(store: Store) -> None:
    """Sync and async, the cache answers, and what it answers is right."""
    keys = [f"chat {n}" for n in range(12)]  # on a cluster, on all of its nodes
    for key in keys:
        chat = store.session(key)
        chat.append(("user", "hello"))
        assert texts(warm(store, chat.tail)) == ["hello"]
        chat.append(("assistant", key))
        assert texts(warm(store, chat.tail)) == ["hello", key]

    async def twins() -> None:
        for key in keys:
            chat = store.session(key)
            await chat.aappend(("user", "and now?"))
            assert texts(await awarm(store, chat.atail)) == ["hello", key, "and now?"]
        assert (await store.ahealth()).ok

    asyncio.run(twins())
    health = store.health()
    assert health.ok
    assert not health.breaker_open
    assert health.counters.checked
    assert health.counters.disagreed == 0


def warm(store: Store, read: Callable[[], list[Message]]) -> list[Message]:
    """Read until the cache answers: it takes a mark's lifetime, here 2 ms."""
    before = store._hot.counters.hits
    for _ in range(1_000):
        found = read()
        if store._hot.counters.hits > before:
            return found
    pytest.fail("the cache never answered")


async def awarm(store: Store, read: Callable[[], Awaitable[list[Message]]]) -> list[Message]:
    before = store._hot.counters.hits
    for _ in range(1_000):
        found = await read()
        if store._hot.counters.hits > before:
            return found
    pytest.fail("the cache never answered")


def test_every_node_of_a_cluster_is_used(url: str, cluster: OwnCluster) -> None:
    with Store(url, cache=cluster.url, compare=1) as store, contextlib.ExitStack() as stack:
        talk(store)
        for node in cluster.nodes:
            client = stack.enter_context(redis.Redis.from_url(node.url, socket_timeout=5))
            for n in range(200):  # where a session goes is chance: its key holds a random id
                if client.dbsize():
                    break
                store.session(f"one more {n}").append(("user", "hello"))
            assert client.dbsize()


def test_clients_of_a_cluster_can_be_lent(url: str, cluster: OwnCluster) -> None:
    port = cluster.nodes[0].port
    with RedisCluster(host="127.0.0.1", port=port, socket_timeout=5) as lent:
        with Store(url, cache=lent) as store:
            chat = store.session("k")
            chat.append(("user", "hello"))
            warm(store, chat.tail)
        assert lent.ping(), "it was lent, and must not be closed"

    async def main() -> None:
        async with AsyncRedisCluster(host="127.0.0.1", port=port, socket_timeout=5) as lent:
            async with Store(url, cache=lent) as store:
                assert texts(await awarm(store, store.session("k").atail)) == ["hello"]
            assert await lent.ping()

    asyncio.run(main())


def test_a_socket(url: str, redis_binaries: Binaries) -> None:
    path = f"onrecord-{secrets.token_hex(4)}.sock"  # in the server's own folder
    with (
        contextlib.closing(OwnRedis(redis_binaries, unixsocket=path)) as server,
        Store(url, cache=f"unix://{server.folder / path}", compare=1) as store,
    ):
        talk(store)


def test_a_password_is_used_and_never_shown(
    url: str,
    redis_binaries: Binaries,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    password = secrets.token_hex(8)
    caplog.set_level(logging.DEBUG)
    shown: list[object] = []
    with contextlib.closing(OwnRedis(redis_binaries, requirepass=password)) as server:
        with Store(url, cache=server.url, compare=1) as store:
            talk(store)
            shown += [repr(store), store._repr_html_(), repr(store.health())]
            server.stop()
            store.session("k").append(("user", "without it"))
            assert len(store.session("k").tail()) == 1
            health = store.health()
            assert not health.ok
            shown += [repr(health), str(health.cache)]
            with contextlib.suppress(Exception):
                store._hot.exchange(store._hot.look(bytes(20), None))
            server.start()
        wrong = server.url.replace(password, f"{password}x")
        with Store(url, cache=wrong) as store:
            assert len(store.session("k").tail()) == 1
            health = store.health()
            assert not health.ok
            shown += [repr(health), repr(store), store._repr_html_()]
    output = capfd.readouterr()
    assert caplog.text, "that the cache is left alone is logged"
    assert password not in "\n".join([*map(str, shown), caplog.text, *output])
    assert "***" in str(shown), "it is said where the cache is"


def test_sentinel(url: str, redis_binaries: Binaries, own_redis: OwnRedis) -> None:
    with contextlib.closing(OwnSentinel(redis_binaries, own_redis)) as sentinel:
        with Store(url, cache=sentinel.url, compare=1) as store:
            talk(store)
        with Store(url, cache=f"{sentinel.url}x") as store:  # no such service: without it then
            assert len(store.session("chat 0").tail()) == 3
            assert not store.health().ok


def test_a_sync_and_an_async_client_can_be_lent(url: str, own_redis: OwnRedis) -> None:
    async def main(lent: redis.Redis) -> None:
        async with redis.asyncio.Redis.from_url(own_redis.url, socket_timeout=5) as twin:
            async with Store(url, cache=(lent, twin)) as store:
                chat = store.session("k")
                await chat.aappend(("user", "hello"))
                assert texts(warm(store, chat.tail)) == ["hello"]
                assert texts(await awarm(store, chat.atail)) == ["hello"]
            assert await twin.ping()
            assert lent.ping()

    with redis.Redis.from_url(own_redis.url, socket_timeout=5) as lent:
        asyncio.run(main(lent))
