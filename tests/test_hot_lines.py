"""Connections kept for looks: one follows the other on it, and none hears another's answer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis as redis_py

from onrecord import Store
from onrecord.cache.clients import Clients
from onrecord.cache.lines import Lines
from onrecord.cache.redis import RedisCache
from onrecord.cache.scripts import Script, script
from onrecord.testing.contract_items import until
from tests.servers.redis import RedisServer
from tests.turned import hits


@pytest.fixture
def store(tmp_path: Path, redis_server: RedisServer) -> Iterator[Store]:
    with Store(f"sqlite:///{tmp_path}/x.db", durability="normal", cache=redis_server.url) as one:
        yield one


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[Any]:
    with redis_py.Redis.from_url(redis_server.url, socket_timeout=5) as client:
        yield client


@pytest.fixture
def said(client: Any) -> Script:
    """A script that says what it was told."""
    return Script("look", "", client.script_load("return ARGV[1]"), looks=True)


def kept(store: Store) -> Lines:
    cache = store._hot
    assert isinstance(cache, RedisCache)
    lines = cache._clients.lines()
    assert lines is not None
    return lines


def test_one_look_follows_the_other_on_a_connection(client: Any, said: Script) -> None:
    lines = Lines(client)
    assert lines.ask(said, "k", "one", 0.0) == b"one"
    (first,) = lines._free
    assert lines.ask(said, "k", "two", 0.9) == b"two"
    assert lines._free == [first]
    assert lines.ask(said, "k", "three", 1.1) == b"three"
    (second,) = lines._free
    assert second.since == 1.1, "redis-py has looked after it in between"
    assert first.client.connection is None, "given back"
    lines.close()
    assert second.client.connection is None


def test_an_answer_is_nobody_elses(
    client: Any, said: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut off between the question and its answer, which then stands in the connection."""
    lines = Lines(client)
    lines.ask(said, "k", "one", 0.0)
    (line,) = lines._free
    with monkeypatch.context() as patched:

        def cut_off() -> None:
            raise KeyboardInterrupt

        patched.setattr(line.connection, "read_response", cut_off)
        with pytest.raises(KeyboardInterrupt):
            lines.ask(said, "k", "two", 0.0)
    assert lines.ask(said, "k", "three", 0.0) == b"three"
    lines.close()


def test_an_answer_that_nobody_asked_for_is_nobodys(client: Any, said: Script) -> None:
    """As of a proxy that says one thing too many."""
    lines = Lines(client)
    assert lines.ask(said, "k", "one", 0.0) == b"one"
    (line,) = lines._free
    line.connection.send_command("ECHO", "something else")
    until(line.connection.can_read)
    assert lines.ask(said, "k", "two", 0.1) == b"two"
    assert lines.ask(said, "k", "three", 0.2) == b"three"
    lines.close()


def test_a_refusal_is_an_answer(client: Any, said: Script) -> None:
    lines = Lines(client)
    refused = Script("look", "", client.script_load("return redis.error_reply('NO')"), looks=True)
    with pytest.raises(redis_py.ResponseError, match="NO"):
        lines.ask(refused, "k", "one", 0.0)
    assert lines.ask(said, "k", "two", 0.0) == b"two"
    assert len(lines._free) == 1
    lines.close()


def test_no_more_are_kept_than_that(client: Any, said: Script) -> None:
    lines = Lines(client)
    lines.ask(said, "k", "one", 0.0)
    taken = [lines._new(0.0) for _ in range(12)]
    lines._free += taken
    lines.ask(said, "k", "two", 0.0)
    assert len(lines._free) == 8
    lines.close()
    assert lines._free == []


@pytest.mark.skipif(not hasattr(redis_py, "DriverInfo"), reason="redis-py 7 is needed to keep one")
def test_a_connection_that_the_server_closed_costs_no_look(store: Store, client: Any) -> None:
    facts = store.items("facts")
    facts.put("city", "Lyon")
    hits(store, lambda: facts.get("city"))
    (line,) = kept(store)._free
    # As a server does that has restarted, or closes what is idle.
    client.client_kill_filter(_id=line.client.client_id())
    before = store.health().counters
    found = facts.get("city")
    assert found is not None
    assert found.value == "Lyon"
    after = store.health().counters
    assert (after.hits, after.degraded_reads) == (before.hits + 1, before.degraded_reads)


def test_a_server_that_forgot_the_scripts_is_told_them(store: Store, client: Any) -> None:
    facts = store.items("facts")
    facts.put("city", "Lyon")
    hits(store, lambda: facts.get("city"))
    client.script_flush()
    before = store.health().counters
    assert facts.get("city") is not None
    assert store.health().counters.degraded_reads == before.degraded_reads
    assert client.script_exists(script("look_item").sha) == [True]


@pytest.mark.parametrize(
    "url",
    [
        "redis+cluster://127.0.0.1:1",
        "redis+sentinel://127.0.0.1:1/main",
        "redis://127.0.0.1:1?max_connections=4",
    ],
)
def test_where_a_client_chooses_it_is_asked_each_time(url: str) -> None:
    assert Clients(url, 0.1).lines() is None


def test_a_client_of_the_callers_own_is_asked_each_time(client: Any) -> None:
    assert Clients(client, 0.1).lines() is None
