"""Where Redis hides which run of it answers, a failover cannot be noticed: nothing is believed."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
import redis as redis_py

from onrecord import Items, Session, Store, Version
from onrecord.flows.known import Sessions
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
    with two_processes(tmp_path, own_redis) as (store, other, client):
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
    with two_processes(tmp_path, own_redis) as (store, other, client):
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


def test_a_read_that_began_before_a_write_is_no_news() -> None:
    known = Sessions()
    for begin in (known.read, lambda *given: known.listed(given[0], given[1], given[3])):
        began = known.begin()
        known.wrote(b"k", Version(0, 2), 7)
        begin(b"k", Version(0, 1), None, began)
        assert (known.get(b"k").floor, known.get(b"k").fence) == (Version(0, 2), 7)
        begin(b"k", Version(0, 1), None, known.begin())
        assert known.get(b"k").floor == Version(0, 1), "the database has fallen back"
    began = known.begin()
    known.drop(b"k")
    known.read(b"k", Version(0, 1), 7, began)
    assert known.get(b"k").fence is None, "of what was erased"


def test_a_long_list_forgets_nothing() -> None:
    known = Sessions()
    known.wrote(b"k", Version(3, 2), 7)
    for n in range(Sessions.MOST + 1):
        known.listed(str(n).encode(), Version(0, n), known.begin())
    assert known.get(b"k")[:3] == (3, 7, Version(3, 2))
    assert known.get(b"9").floor == Version(0, 9)
    known.read(b"9", Version(0, 8), None, known.begin())
    known.read(b"5", Version(0, 1), None, 0)
    assert known.get(b"9").floor == Version(0, 8)
    assert known.get(b"5").floor == Version(0, 5), "no news either"


def test_a_damaged_version_is_listed_as_without_a_cache(
    tmp_path: Path, own_redis: OwnRedis
) -> None:
    with Store(f"sqlite:///{tmp_path}/x.db", durability="normal", cache=own_redis.url) as store:
        items = store.items("n")
        items.put_many({"j": 1, "k": 2})
        with sqlite3.connect(tmp_path / "x.db") as connection:
            connection.execute("UPDATE onrecord_items SET version = 'abc' WHERE key = 'k'")
        connection.close()
        assert [item.key for item in items.list()] == ["j", "k"]
        assert list(items.get_many(["j", "k"])) == ["j", "k"]


@contextmanager
def two_processes(tmp_path: Path, own_redis: OwnRedis) -> Iterator[tuple[Store, Store, Any]]:
    """Two stores on one file behind one Redis, and a client that changes what is in it."""
    with (
        Store(f"sqlite:///{tmp_path}/x.db", durability="normal", cache=own_redis.url) as store,
        Store(f"sqlite:///{tmp_path}/x.db", durability="normal", cache=own_redis.url) as other,
        redis_py.Redis.from_url(own_redis.url) as client,
    ):
        yield store, other, client


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
