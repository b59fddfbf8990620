"""Who reads the newest few out of Redis is sent those alone, and nobody is worse off for it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from onrecord import Session, Store
from onrecord.cache import redis as hot_redis
from onrecord.cache.redis import RedisCache
from onrecord.stored.messages import Snapshot
from tests.servers.redis import RedisServer
from tests.turned import hits

Opened = Callable[[], Store]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hot_redis, "_PATIENCE", 0)


@pytest.fixture
def opened(tmp_path: Path, redis_server: RedisServer) -> Iterator[Opened]:
    stores: list[Store] = []

    def open_one() -> Store:
        stores.append(
            Store(f"sqlite:///{tmp_path}/x.db", durability="normal", cache=redis_server.url)
        )
        return stores[-1]

    yield open_one
    for store in stores:
        store.close()


def written(opened: Opened, count: int) -> tuple[Session, Any, str]:
    """A session of so many messages that is cached, a client of its Redis, and its key there."""
    store = opened()
    chat = store.session("k")
    chat.append([("user", str(n)) for n in range(1, count + 1)])
    hits(store, chat.tail)
    cache = store._hot
    assert isinstance(cache, RedisCache)
    key = cache.key_of(chat.name.identity)
    return chat, cache._clients.sync(), key


def held(store: Store) -> Snapshot:
    """What the process of a store holds of the session."""
    cache = store._hot
    assert isinstance(cache, RedisCache)
    kept = cache._tails.get(store.session("k").name.identity)
    assert kept is not None
    return kept[0]


def misses(store: Store) -> int:
    return store.health().counters.misses


def test_no_more_is_sent_than_was_asked_for(opened: Opened) -> None:
    chat, _, _ = written(opened, 60)
    reader = opened()
    said = reader.session("k")
    assert said.tail(20) == chat.messages()[-20:]
    assert len(held(reader).rows) == 20
    assert said.tail(5) == chat.messages()[-5:]
    chat.append(("user", "newer"))
    assert said.tail(20) == chat.messages()[-20:]
    assert len(held(reader).rows) == 21, "what is newer is joined on"
    assert not misses(reader)


def test_who_needs_more_than_it_holds_gets_that_from_the_cache(opened: Opened) -> None:
    chat, _, _ = written(opened, 60)
    reader = opened()
    said = reader.session("k")
    said.tail(5)
    assert said.tail(20) == chat.messages()[-20:]
    assert len(said.window(messages=50)) == 50
    assert len(held(reader).rows) == 50
    assert not misses(reader)
    chat.append([("user", str(n)) for n in range(30)])
    assert said.tail(5) == chat.messages()[-5:]
    assert said.tail(50) == chat.messages()[-50:], "no gap behind what was held"
    assert not misses(reader)


def test_more_is_asked_for_only_where_there_may_be_more(opened: Opened) -> None:
    """All of a short session is all there is, and a long tail stays held."""
    chat, client, _ = written(opened, 3)
    reader = opened()
    said = reader.session("k")
    assert said.tail(20) == chat.messages()
    assert held(reader).complete
    assert len(said.window(messages=50)) == 3
    client.config_resetstat()
    assert said.tail(50) == chat.messages()
    assert "cmdstat_lrange" not in client.info("commandstats"), "nothing is sent again"
    assert not misses(reader)


def test_an_entry_that_has_no_more_is_not_asked_again(opened: Opened) -> None:
    """It was cut by its weight: who needs older ones asks SQL, and is sent nothing again."""
    chat, client, key = written(opened, 60)
    client.ltrim(key, 0, 10)
    reader = opened()
    said = reader.session("k")
    assert said.tail(20) == chat.messages()[-20:]
    client.config_resetstat()
    assert said.tail(20) == chat.messages()[-20:]
    assert "cmdstat_lrange" not in client.info("commandstats")


def test_who_holds_little_fills_in_as_much_as_is_kept(opened: Opened) -> None:
    chat, client, key = written(opened, 60)
    reader = opened()
    said = reader.session("k")
    said.tail(5)
    client.delete(key)
    assert said.tail(5) == chat.messages()[-5:]
    hits(reader, lambda: said.tail(5))
    assert client.llen(key) == 1 + 50
    other = opened()
    assert other.session("k").tail(50) == chat.messages()[-50:]
    assert not misses(other)


def test_who_asks_for_more_never_goes_back(opened: Opened) -> None:
    """An entry that is behind what was shown is no hit, also where all of it is sent anew."""
    chat, client, key = written(opened, 60)
    before = client.lrange(key, 0, -1)
    chat.append(("user", "the newest"))
    reader = opened()
    said = reader.session("k")
    assert said.tail(1)[0].text == "the newest"
    client.delete(key)
    client.rpush(key, *before)
    assert said.tail(20)[-1].text == "the newest"
    assert misses(reader) == 1


def test_who_compares_with_sql_brings_nothing_that_is_there(
    opened: Opened, tmp_path: Path, redis_server: RedisServer
) -> None:
    chat, client, key = written(opened, 60)
    with Store(
        f"sqlite:///{tmp_path}/x.db",
        durability="normal",
        cache=redis_server.url,
        consistency="strict",
        revalidate=600,
    ) as strict:
        said = strict.session("k")
        said.tail(20)
        there, fills = client.lrange(key, 0, -1), strict.health().counters.fills
        assert said.tail(20) == said.tail(20) == chat.messages()[-20:]
        assert strict.health().counters.fills == fills
        assert client.lrange(key, 0, -1) == there
        with sqlite3.connect(tmp_path / "x.db") as database:  # as by one who settles
            database.execute("UPDATE onrecord_sessions SET fence = fence + 1")
        database.close()
        said.tail(20)
        assert strict.health().counters.fills == fills + 1, "the entry knows the new fence"
        assert client.lrange(key, 0, -1) != there
