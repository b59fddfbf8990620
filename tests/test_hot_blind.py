"""Where Redis hides which run of it answers, a failover cannot be noticed: nothing is believed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
import redis as redis_py

from onrecord import Items, Session, Store
from tests.servers.redis import OwnRedis
from tests.turned import hits


def test_a_user_without_info_reads_as_strict(
    tmp_path: Path, own_redis: OwnRedis, caplog: pytest.LogCaptureFixture
) -> None:
    with redis_py.Redis.from_url(own_redis.url) as admin:
        admin.execute_command("ACL", "SETUSER", "blind", "on", ">x", "~*", "+@all", "-info")
    url = own_redis.url.replace("redis://", "redis://blind:x@")
    with Store(f"sqlite:///{tmp_path}/x.db", durability="normal", cache=url) as store:
        chat = store.session("k")
        chat.append(("user", "one"))
        hits(store, chat.tail)
        with Store(f"sqlite:///{tmp_path}/x.db", durability="normal") as unmarked:
            unmarked.session("k").append(("user", "two"))
        assert [m.text for m in chat.tail()] == ["one", "two"], "the hit was held against SQL"
        said = [r for r in caplog.records if "hides which run" in r.getMessage()]
        assert len(said) == 1
        cache = store.health().cache
        assert cache is not None
        assert not cache.ok
        assert "INFO" in (cache.problem or "")


READS: Final[dict[str, Callable[[Store, Session], object]]] = {
    "messages": lambda store, chat: chat.messages(),
    "messages(limit=)": lambda store, chat: chat.messages(limit=60),
    "messages(after=)": lambda store, chat: chat.messages(after=1, limit=3),
    "messages(before=)": lambda store, chat: chat.messages(before=9, limit=3),
    "messages(archived=)": lambda store, chat: chat.messages(archived=False),
    "messages(since=)": lambda store, chat: chat.messages(since=datetime(2020, 1, 1, tzinfo=UTC)),
    "archive": lambda store, chat: chat.archive([2]),
    "count": lambda store, chat: chat.count(),
    "count(archived=)": lambda store, chat: chat.count(archived=True),
    "info": lambda store, chat: chat.info(),
    "version": lambda store, chat: chat.version(),
    "scan": lambda store, chat: list(chat.scan()),
    "tail": lambda store, chat: chat.tail(60),
    "window": lambda store, chat: chat.window(messages=60),
    "search": lambda store, chat: chat.search("two"),
    "recall": lambda store, chat: chat.recall("two"),
    "store.search": lambda store, chat: store.search("two"),
    "store.recall": lambda store, chat: store.recall("two"),
    "store.sessions": lambda store, chat: store.sessions(),
    "store.unfinished": lambda store, chat: store.unfinished(),
    "feed": lambda store, chat: store.feed("f").read(),
}
ITEM_READS: Final[dict[str, Callable[[Store, Items], object]]] = {
    "get": lambda store, items: items.get("k"),
    "get_many": lambda store, items: items.get_many(["k"]),
    "list": lambda store, items: items.list(),
    "list(order=)": lambda store, items: items.list(order="updated"),
    "list(filter=)": lambda store, items: items.list(filter={"n": 2}),
    "search": lambda store, items: items.search("two"),
    "search(None)": lambda store, items: items.search(None),
    "find_items": lambda store, items: store.find_items(),
    "search_items": lambda store, items: store.search_items("two"),
}


def test_a_process_never_goes_back_behind_what_a_cold_read_showed(
    tmp_path: Path, own_redis: OwnRedis
) -> None:
    """Redis falls back to an older entry, its run id the same."""
    with (
        Store(f"sqlite:///{tmp_path}/x.db", durability="normal", cache=own_redis.url) as store,
        Store(f"sqlite:///{tmp_path}/x.db", durability="normal", cache=own_redis.url) as other,
        redis_py.Redis.from_url(own_redis.url) as client,
    ):
        store.session("k").append(("user", "one"))
        (key,) = client.keys("onrecord:*")
        old = client.lrange(key, 0, -1)
        store.session("k").append(("user", "two"))
        chat = other.session("k")
        for name, read in READS.items():
            _forget(client, other)
            assert read(other, chat), name
            _fall_back(client, key, old, other)
            assert [m.text for m in chat.tail()] == ["one", "two"], name
        _forget(client, other)
        _fall_back(client, key, old, other)
        assert [m.text for m in chat.tail()] == ["one"], "nothing was read, and nobody can tell"


def test_a_process_never_goes_back_behind_what_it_showed_of_items(
    tmp_path: Path, own_redis: OwnRedis
) -> None:
    with (
        Store(f"sqlite:///{tmp_path}/x.db", durability="normal", cache=own_redis.url) as store,
        Store(f"sqlite:///{tmp_path}/x.db", durability="normal", cache=own_redis.url) as other,
        redis_py.Redis.from_url(own_redis.url) as client,
    ):
        items = store.items("n")
        items.put("k", {"n": 1}, text="one")
        hits(store, lambda: items.get("k"))
        (key,) = client.keys("onrecord:*")
        old = client.lrange(key, 0, -1)
        items.put("k", {"n": 2}, text="two")
        there = other.items("n")
        for name, read in ITEM_READS.items():
            _forget(client, other)
            assert read(other, there), name
            _fall_back(client, key, old, other)
            found = there.get("k")
            assert found is not None
            assert found.value == {"n": 2}, name


def _forget(client: redis_py.Redis, store: Store) -> None:
    """As if the process were new, and nothing in the cache."""
    client.flushall()
    store._hot.empty()
    store._desk.known.forget()


def _fall_back(client: redis_py.Redis, key: bytes, entry: Sequence[Any], store: Store) -> None:
    """Redis has what it had before, and the process holds no tail of its own."""
    client.delete(key)
    client.rpush(key, *entry)
    store._hot.empty()
