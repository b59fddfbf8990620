"""Sessions and threads, listed by what is in their metadata."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onrecord import ANY, CheckpointLog, Misconfigured, Store
from onrecord.checkpoint_log import New
from onrecord.ledger.sessions.metadata_filter import holding

words = st.sampled_from(["", "a", "b", "ab", "topic", "é", "\ud800", "\x00", "%", "\ufffe12ab"])
values = st.one_of(
    words,
    words.map(lambda word: word * 40),
    st.sampled_from([0, 1, True, 1.0, None, 2**70, ["a"], {"a": "b"}, {"topic": "a"}, b"a"]),
)
metadatas = st.dictionaries(words, values, max_size=3)


def has(metadata: dict[str, Any], wanted: dict[str, Any]) -> bool:
    return all(key in metadata and metadata[key] == value for key, value in wanted.items())


@settings(max_examples=40)
@given(
    st.lists(metadatas, min_size=1, max_size=12),
    st.lists(metadatas, min_size=1, max_size=6),
    st.integers(1, 5),
)
def test_exactly_those_are_listed_that_have_it(
    held: list[dict[str, Any]], sought: list[dict[str, Any]], limit: int
) -> None:
    check(Store("sqlite://"), held, sought, limit)


def test_on_postgres_too(each_store: Callable[[], Store]) -> None:
    held: list[dict[str, Any]] = [
        {"topic": "a"},
        {"topic": "a", "\ud800": "x"},
        {"topic": "é" * 90, "n": 1},
        {"a": "topic", "topic": "b"},
        {"n": 1.0, "topic": "a"},
        {"nested": {"topic": "a"}},
        {},
    ]
    sought: list[dict[str, Any]] = [
        {},
        {"topic": "a"},
        {"topic": "é" * 90},
        {"n": 1},
        {"\ud800": "x"},
        {"topic": "c"},
    ]
    check(each_store(), held, [*sought, {"topic": "a", "n": 1}, {"nested": {"topic": "a"}}], 2)


def check(
    store: Store, held: list[dict[str, Any]], sought: list[dict[str, Any]], limit: int
) -> None:
    log = CheckpointLog(store, user="ada")
    with store:
        for n, metadata in enumerate(held):
            session = store.session(f"s{n}", user="ada")
            session.append(("user", "hello"))
            session.update(metadata=metadata)
            log.put(f"s{n}", "", New("1", None, [("json", b"{}")], {}), metadata=metadata)
        for wanted in sought:
            expected = [f"s{n}" for n, metadata in enumerate(held) if has(metadata, wanted)]
            found, after = [], None
            while page := store.sessions(user=ANY, metadata=wanted, limit=limit, after=after):
                assert len(page) <= limit
                found += [info.key for info in page]
                after = page[-1]
            assert sorted(found) == sorted(expected)
            assert len(asyncio.run(store.asessions(user="ada", metadata=wanted))) == len(expected)
            assert store.sessions(user="bob", metadata=wanted) == []
            threads = log.threads(metadata=wanted)
            assert sorted(thread.key for thread in threads) == sorted(expected)


def test_what_lacks_a_word_is_not_brought() -> None:
    """Of 5,000 sessions of which one in a hundred has it, Python sees those."""
    conditions, values = holding("sqlite", {"topic": "a", "n": 1})
    assert conditions == ["instr(about, :has0) > 0"]
    assert values == {"has0": b"\xa5topic\xa1a"}


def test_metadata_is_a_mapping() -> None:
    with Store("sqlite://") as store, pytest.raises(Misconfigured, match="a mapping"):
        store.sessions(metadata="topic")  # type: ignore[arg-type]
