"""Sessions and threads, listed by what is in their metadata."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onrecord import ANY, CheckpointLog, Misconfigured, Store
from onrecord.checkpoint_log import New
from onrecord.ledger.database.transaction import Transaction
from onrecord.ledger.sessions import pairs
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


MANY_KEYS: dict[str, Any] = {f"k{n}": n for n in range(pairs.MOST + 1)}


def test_what_equals_another_kind_of_value(each_store: Callable[[], Store]) -> None:
    """1 is 1.0, True and a Decimal; and of one with many keys any may be the one."""
    values: list[Any] = [1, 1.0, True, Decimal(1), 1 + 0j, "1", 0.5, Decimal("0.5"), -1, 2**63]
    held = [{"n": value} for value in values] + [{**MANY_KEYS, "n": 1}, {"m": 1}]
    sought = [{"n": value} for value in (*values, float("nan"), 2.0**63, None)] + [{"k3": 3}]
    check(each_store(), held, sought, 2)


def test_keys_that_are_no_text(each_store: Callable[[], Store]) -> None:
    """They are looked for without the index."""
    held: list[dict[Any, Any]] = [{1: 2, "topic": "a"}, {1: 3}, {None: "a"}, {("x", 1): "a"}, {}]
    sought: list[dict[Any, Any]] = [{1: 2}, {1: 2, "topic": "a"}, {None: "a"}, {("x", 1): "a"}]
    check(each_store(), held, sought, 2)
    with each_store() as store:
        session = store.session("made")
        session.create(metadata=held[1])
        session.update(merge=held[2])
        assert session.info().metadata == held[1] | held[2]
        assert store.verify() == []


def test_what_many_have_is_found_by_going_over_them(
    each_store: Callable[[], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairs, "MOST_FOUND", 2)
    held = [{"topic": "a", "n": n} for n in range(6)] + [{"topic": "b"}]
    check(each_store(), held, [{"topic": "a"}, {"topic": "a", "n": 4}, {"topic": "b"}], 2)


def test_what_a_session_is_listed_by_goes_where_it_goes(
    each_store: Callable[[], Store], tmp_path: Path
) -> None:
    """A fork, a copy and another metadata have what is theirs, and nothing is left of an erased
    session."""

    def found(**metadata: object) -> list[str]:
        assert store.verify() == []
        return sorted(info.key for info in store.sessions(metadata=metadata))

    store = each_store()
    session = store.session("a")
    session.create(metadata={"topic": "tea", "n": 1})
    session.append(("user", "hello"))
    store.session("b").update(title="A title", metadata={"topic": "rye"})
    session.fork("b")
    assert found(topic="tea", n=True) == ["a", "b"]
    session.update(metadata={"topic": "rye"})
    assert (found(topic="tea"), found(topic="rye"), found(n=1)) == (["b"], ["a"], ["b"])
    store.export(tmp_path / "all.jsonl")
    for key in "ab":
        store.session(key).erase()
    rows = "SELECT count(*) FROM {pairs}"
    assert store._ledger.read(lambda txn: txn.first(rows, {})) == (0,)
    store.import_(tmp_path / "all.jsonl")
    assert (found(topic="tea"), found(topic="rye")) == (["b"], ["a"])


def _run(statement: str, txn: Transaction) -> int:
    return txn.run(statement)


def test_a_damaged_index_of_metadata_is_named(each_store: Callable[[], Store]) -> None:
    store = each_store()
    store.session("a").create(metadata={"topic": "tea"})
    for change in ("UPDATE {pairs} SET pair = 7", "UPDATE {pairs} SET owner = 7"):
        store._ledger.write(partial(_run, change))
        [problem] = store.verify()
        assert "not listed by what its metadata has" in problem.what
        store.session("a").update(metadata={"topic": "tea"})
        assert store.verify() == []


def test_what_lacks_a_word_is_not_brought() -> None:
    """Of 5,000 sessions of which one in a hundred has it, Python sees those."""
    conditions, values = holding("sqlite", {"topic": "a", "n": 1})
    assert conditions == ["instr(about, :has0) > 0"]
    assert values == {"has0": b"\xa5topic\xa1a"}


def test_metadata_is_a_mapping() -> None:
    with Store("sqlite://") as store, pytest.raises(Misconfigured, match="a mapping"):
        store.sessions(metadata="topic")  # type: ignore[arg-type]
