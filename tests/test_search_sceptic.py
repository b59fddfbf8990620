"""What somebody who doubted search has tried: each of these was wrong once, or might have been."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import psycopg
import pytest

from onrecord import Hit, Misconfigured, Session, Store, StoreClosed
from onrecord.flow import Cold
from onrecord.flows.search import catching_up
from onrecord.flows.search import recall as recalling
from onrecord.flows.search import search as flow
from onrecord.health import TierHealth
from onrecord.ledger.database.transaction import Transaction

OpenStore = Callable[..., Store]


class Clock:
    """Shows one time after the other, and then the last."""

    def __init__(self, *times: float) -> None:
        self.times = list(times)

    def monotonic(self) -> float:
        return self.times.pop(0) if len(self.times) > 1 else self.times[0]


class Counting:
    """An embedder: each seed another model of the same size."""

    dimensions = 64

    def __init__(self, name: str) -> None:
        self.name = name
        self.shown: list[str] = []

    def embed(self, texts: Sequence[str], /) -> list[list[float]]:
        self.shown += texts
        return [self._vector(text) for text in texts]

    def _vector(self, text: str) -> list[float]:
        random = Random(self.name + text)
        return [random.gauss(0, 1) for _ in range(self.dimensions)]


@pytest.fixture
def store(each_store: OpenStore) -> Store:
    return each_store()


def places(hits: Sequence[Hit]) -> list[tuple[str, int | None]]:
    return [(hit.info.key, hit.message.seq) for hit in hits]


def run(store: Store, statement: str, **values: object) -> int:
    def work(txn: Transaction) -> int:
        return txn.run(statement, values)

    changed: int = store._perform(Cold(work, writes=True))
    return changed


def rows(store: Store, statement: str, **values: object) -> list[Any]:
    def work(txn: Transaction) -> list[Any]:
        return list(txn.rows(statement, values))

    found: list[Any] = store._perform(Cold(work))
    return found


def filled(session: Session, count: int, word: str = "ferry") -> Session:
    session.append([("user", f"{word} number {n} of them") for n in range(count)])
    return session


# -- embedders -----------------------------------------------------------------------------------


def test_a_number_of_an_embedder_is_never_given_twice(each_store: OpenStore) -> None:
    """A process whose embedder was taken away still writes: never into another's vectors."""
    first, second = each_store(embedder=Counting("one")), each_store(embedder=Counting("two"))
    filled(first.session("s", user="ada"), 20)
    first.embed()
    second.embed()
    assert first.embed(only=True).forgotten == 1
    third = each_store(embedder=Counting("three"))
    third.embed()  # takes a number
    filled(first.session("t", user="ada"), 20)
    second.embed()  # does not know that it was taken away
    numbers = {number for (number,) in rows(first, "SELECT id FROM {embedders}")}
    used = {number for (number,) in rows(first, "SELECT DISTINCT embedder FROM {vectors}")}
    assert used <= numbers
    assert len(numbers) == 3
    third.embed()
    per = rows(first, "SELECT embedder, count(DISTINCT session) FROM {vectors} GROUP BY embedder")
    assert [count for _, count in per].count(2) >= 2
    assert third.search("ferry number 3 of them", user="ada", mode="meaning")[0].message.seq == 4


# -- pages ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["delete", "edit", "erase"])
def test_pages_go_on_behind_what_has_gone(store: Store, how: str) -> None:
    """What stood beside it scores less then, and may come again; nothing is left out."""
    filled(store.session("s", user="ada"), 12)
    filled(store.session("t", user="ada"), 3)
    first = store.search("ferry", user="ada", limit=4)
    gone = first[-1]
    if how == "delete":
        gone.session.delete(gone.message.seq or 0)
    elif how == "edit":
        gone.session.edit(gone.message.seq or 0, ("user", "nothing"))
    else:
        gone.session.erase()
    rest = store.search("ferry", user="ada", limit=100, after=gone)
    whole = store.search("ferry", user="ada", limit=100)
    seen = set(places(first)) | set(places(rest))
    assert set(places(whole)) <= seen
    assert len(rest) < len(whole) or how == "erase"


# -- damage --------------------------------------------------------------------------------------


def test_what_could_not_be_read_is_found_when_it_is_mended(store: Store) -> None:
    session = filled(store.session("s", user="ada"), 40)
    session.edit(7, ("user", "a harbour"))
    tail = rows(store, "SELECT frame FROM {tail} WHERE seq = 7")
    run(store, "UPDATE {tail} SET frame = :frame WHERE seq = 7", frame=b"\0broken")
    store.index()
    run(store, "UPDATE {tail} SET frame = :frame WHERE seq = 7", frame=tail[0][0])
    assert places(store.search("harbour", user="ada"))[:1] == [("s", 7)]


def test_damaged_vectors_are_made_anew(each_store: OpenStore) -> None:
    store = each_store(embedder=Counting("one"))
    filled(store.session("s", user="ada"), 80)
    store.embed()
    run(store, "UPDATE {vectors} SET body = :body", body=b"\1\2")
    store.embed()
    assert store.search("ferry", user="ada").complete


# -- locks and time ------------------------------------------------------------------------------


def test_who_indexes_waits_for_no_rewrite(
    kept_postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow, "MOST_UNINDEXED", 0)
    with Store(kept_postgres_url, timeout=2) as store:
        filled(store.session("s", user="ada"), 5)
        filled(store.session("t", user="ada"), 5, "harbour")
        with psycopg.connect(kept_postgres_url) as rewriter:
            rewriter.execute("SELECT epoch FROM onrecord_sessions WHERE key = 's' FOR UPDATE")
            hits = store.search("ferry", user="ada", within=1)
            assert hits.complete
            assert len(hits) == 5
            assert store.index().sessions >= 1
        assert store.stats().unindexed == 5
        store.index()
        assert store.stats().unindexed == 0


def test_who_has_time_for_a_part_finds_in_that_part(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catching up leaves some of the time for what is indexed."""
    filled(store.session("s", user="ada"), 20)
    store.index()
    filled(store.session("t", user="ada"), 20)
    filled(store.session("u", user="ada"), 20)
    monkeypatch.setattr(flow, "MOST_UNINDEXED", 0)
    monkeypatch.setattr(catching_up, "_AT_ONCE", 16)
    clock = Clock(0.0, 0.5, 0.8, 0.9)
    monkeypatch.setattr(flow, "time", clock)
    monkeypatch.setattr(catching_up, "time", clock)
    hits = store.search("ferry", user="ada", within=1, limit=100)
    assert not hits.complete
    assert {hit.info.key for hit in hits} == {"s", "t"}


def test_a_recall_ends_in_time(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    session = filled(store.session("s", user="ada"), 20)
    monkeypatch.setattr(recalling, "time", Clock(0.0, 0.5, 1.0))
    recalled = session.recall("ferry number 3", within=1)
    assert not recalled.complete
    assert len(recalled.messages) == 1


def test_a_session_in_the_place_of_an_erased_one(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is said of a session is of the one that stands there when it is read."""
    session = filled(store.session("s", user="ada"), 5)
    session.update(title="a secret")
    perform, scored = store._perform, flow._scored
    first = iter([True])

    def meanwhile(step: Any) -> Any:
        if getattr(getattr(step, "work", None), "func", None) is scored and next(first, False):
            session.erase()
            filled(session, 3)
        return perform(step)

    monkeypatch.setattr(store, "_perform", meanwhile)
    hits = store.search("ferry", user="ada")
    assert [hit.info.title for hit in hits] == [None] * 3


def test_a_database_that_fails_is_no_fault_of_the_embedder(tmp_path: Path) -> None:
    with Store(f"sqlite:///{tmp_path}/x.db", embedder=Counting("one")) as store:
        filled(store.session("s"), 3)
    with pytest.raises(StoreClosed):
        store.search("ferry")
    with Store(f"sqlite:///{tmp_path}/y.db", embedder=Counting("one"), migrate=False) as bare:
        with pytest.raises(Misconfigured, match="migrate"):
            bare.search("ferry")
        for each in (store, bare):
            assert each._health(Any, None, None, None).embedder == TierHealth(  # type: ignore[arg-type]
                ok=True, where="one", milliseconds=None, problem=None
            )


def test_a_database_that_can_only_be_read(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    with Store(f"sqlite:///{path}") as store:
        for n in range(20):
            filled(store.session(f"{n}"), 20)
    with Store(f"sqlite:///file:{path}?mode=ro&uri=true", embedder=Counting("one")) as store:
        hits = store.search("ferry", mode="text", limit=1000)
        assert hits.complete
        assert len(hits) == 400
        assert not store.search("ferry").complete, "not by meaning"
        assert store.recall("ferry number 3")
