"""The short ways of an item: what they leave out is not missed."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from onrecord import Put, Store
from onrecord.codec import value as codec
from onrecord.codec.values import copied

Opener = Callable[..., Store]


def test_a_get_from_sqlite_is_one_statement_and_leaves_none_open(tmp_path: Path) -> None:
    file = tmp_path / "x.db"
    with Store(f"sqlite:///{file}") as store:
        facts = store.items("facts")
        facts.put("k", 1)
        facts.count()  # a connection to read by is there
        said: list[str] = []
        pool = store._ledger._pool
        assert pool is not None
        with pool.lend() as held:
            held.connection.set_trace_callback(said.append)
        for key in ("k", "not there"):
            facts.get(key)
        assert [text.split()[0] for text in said] == ["SELECT", "SELECT"]
        facts.put("k", 2)
        with closing(sqlite3.connect(file)) as other:
            busy, *_ = other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        assert not busy, "nobody reads"


def test_a_database_in_memory_is_read_by_the_connection_that_writes() -> None:
    with Store("sqlite://") as store:
        facts = store.items("facts")
        assert facts.get("k") is None
        facts.put("k", 1)
        assert facts.get("k") == facts.list()[0]


def test_a_put_takes_ttl_and_token_away(each_store: Opener) -> None:
    store = each_store()
    facts = store.items("facts", user="ada")
    for put in (
        lambda: facts.put("k", 2),
        lambda: store.session("s", user="ada").append(("user", "x"), items=[Put("facts", "k", 2)]),
    ):
        first = facts.put("k", 1, ttl=3600, token="r1")
        assert first.expires_at is not None
        put()
        there = facts.get("k")
        assert there is not None
        assert (there.value, there.expires_at, there.token) == (2, None, None)
        assert there.created_at == first.created_at
        assert there == facts.list()[0]
        facts.delete("k")


def test_what_has_expired_and_is_put_again_began_now(each_store: Opener) -> None:
    store = each_store()
    facts = store.items("facts", user="ada")
    for put in (
        lambda: facts.put("k", 2),
        lambda: store.session("s", user="ada").append(("user", "x"), items=[Put("facts", "k", 2)]),
    ):
        first = facts.put("k", 1, ttl=0.000_001)
        put()
        there = facts.get("k")
        assert there is not None
        assert there.created_at > first.created_at
        facts.delete("k")


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"a": "x", "b": 1, "c": True, "d": None, "e": 1.5, "f": b"x", "g": 2**70, "h": -(2**63)},
        {"half": "\ud800", "nan": math.nan, "zero": -0.0},
    ],
)
def test_a_copy_of_a_plain_dict_is_what_is_decoded(value: dict[str, Any]) -> None:
    copy = copied(value)
    decoded, _ = codec.decode(codec.encode(value, None, "value"))
    assert copy is not value
    assert repr(copy) == repr(decoded) == repr(value)
    assert list(map(type, copy.values())) == list(map(type, decoded.values()))


@pytest.mark.parametrize("value", [{"a": []}, {"a": {}}, {"a": (1,)}, {1: 1}, [1], 1, "x", None])
def test_what_is_not_plain_is_left_to_the_decoder(value: Any) -> None:
    assert copied(value) is None


class _Text(str):
    pass


def test_what_only_looks_plain_is_not_copied() -> None:
    assert copied({"a": _Text("x")}) is None
    assert copied({_Text("a"): "x"}) is None


def test_what_a_put_gives_back_is_the_callers_own(each_store: Opener) -> None:
    facts = each_store().items("facts")
    given = {"a": 1}
    item = facts.put("k", given, text="words")
    given["a"] = 2
    assert item.value == {"a": 1}
    assert item == facts.get("k")
    item.value["a"] = 3
    again = facts.get("k")
    assert again is not None
    assert again.value == {"a": 1}
