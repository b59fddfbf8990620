"""A marked append that shares its commit on SQLite with work that takes long.

Its mark may be settled by others while it waits for its turn: the fence refuses it then, whoever
is in the same transaction, and it marks and commits again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from onrecord import Store
from onrecord.cache import redis as hot_redis
from tests.one_commit import in_one_commit, writer_of
from tests.servers.redis import RedisServer


class Stores(NamedTuple):
    """Two processes of one store, and what the database says."""

    one: Store
    other: Store
    truth: Store

    def said(self, store: Store) -> list[str]:
        return [message.text for message in store.session("k").tail(10)]


@pytest.fixture
def stores(
    redis_server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Stores]:
    # For manners only: a reader settles without waiting for the writer first.
    monkeypatch.setattr(hot_redis, "_PATIENCE", 0.0)
    url, cache = f"sqlite:///{tmp_path}/x.db", redis_server.url
    with (
        Store(url, cache=cache, revalidate=1e6) as one,
        Store(url, cache=cache, revalidate=1e6) as other,
        Store(url) as truth,
    ):
        yield Stores(one, other, truth)


@pytest.mark.parametrize("first", ["the append", "the long work"])
def test_an_append_that_was_settled_meanwhile_is_refused_and_commits_again(
    stores: Stores, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    one, other, truth = stores
    one.session("k").append(("user", "first"))
    assert stores.said(other) == ["first"]
    one.session("long").append([("user", f"{n}") for n in range(50)])
    done: list[str] = []

    def settle() -> None:
        """The append waits behind what took long; its mark is due, and others settle it."""
        for _ in range(2):
            assert stores.said(other) == ["first"]
        done.append("settled")

    writer = writer_of(one)
    answer, seen = writer._answer, list[tuple[list[str], list[str]]]()

    def answered() -> None:
        """Committed, and nobody has been told: nothing is published."""
        if done:
            seen.append((stores.said(other), stores.said(truth)))
        answer()

    monkeypatch.setattr(writer, "_answer", answered)
    calls: list[Callable[[], Any]] = [
        lambda: one.session("k").append(("user", "late")),
        lambda: one.session("long").fork("copy", at=50),
    ]
    hits = other._hot.counters.hits
    answers = in_one_commit(one, calls if first == "the append" else calls[::-1], settle)
    assert not [fault for fault in answers if isinstance(fault, Exception)]
    assert other._hot.counters.hits > hits, "what was filled over the mark was believed"
    assert [shown for shown, _ in seen] == [said for _, said in seen]
    assert seen[0][1] == ["first"], "it was refused, and what shared its commit was not"
    assert len(truth.session("copy").messages()) == 50
    for store in stores:
        assert stores.said(store) == ["first", "late"]
        assert [m.text for m in store.session("k").messages()] == ["first", "late"]
