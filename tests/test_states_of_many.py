"""The states of sessions go with them, many in a transaction, and nobody is shown what has gone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import psycopg
import pytest

from onrecord import Session, Store, operations
from onrecord.flow import Cold
from onrecord.ledger.maintenance import erasing_many
from tests.test_many_at_once import HERE, MANY, OpenStore, doomed, erase, fill, store, work_of

__all__ = ["store"]  # a fixture: five sessions go at once


def moods(sessions: list[Session]) -> list[object]:
    found = [session.state.get("mood") for session in sessions]
    return [None if item is None else item.value for item in found]


@pytest.fixture
def sessions(store: Store) -> list[Session]:
    """Of which two of three have a state."""
    made = fill(store)
    for n, session in enumerate(made):
        if n % 3:
            session.state.put("mood", n)
            session.state.put("plan", {"next": n})
    return made


WITH_STATE = MANY - len(range(0, MANY, 3))


def counts(store: Store) -> tuple[int, int, int]:
    """How many sessions, namespaces and items there are."""
    statements = [f"SELECT count(*) FROM {{{one}}}" for one in ("sessions", "namespaces", "items")]
    return tuple(store._ledger.read(lambda txn: [txn.rows(one, {})[0][0] for one in statements]))


def test_they_go_in_a_transaction_for_some(store: Store, sessions: list[Session]) -> None:
    kept = fill(store, 2, tenant="other")
    kept[1].state.put("mood", "stays")
    receipt, steps = work_of(store, operations.erase(store._desk, HERE, False))
    assert receipt.removed["onrecord_sessions"] == MANY
    assert receipt.removed["onrecord_items"] == 2 * WITH_STATE
    assert receipt.removed["onrecord_namespaces"] == WITH_STATE
    commits = [step for step in steps if isinstance(step, Cold) and step.change_of is not None]
    # Where there is a cache, the first attempt of each learns which items there are to mark.
    assert len(commits) == (6 if store._desk.marks else 3), "5, 5 and 3 of them"
    assert counts(store) == (2, 1, 1)
    assert moods(kept) == [None, "stays"]
    assert moods(sessions) == [None] * MANY
    assert store.verify() == []
    assert erase(store) == {}


def test_those_that_are_pruned_as_well(store: Store, sessions: list[Session]) -> None:
    done = store.prune(older_than=timedelta(microseconds=1))
    assert (done.count, counts(store)) == (MANY, (0, 0, 0))


def test_nobody_is_shown_what_has_gone(
    each_store: OpenStore, store: Store, sessions: list[Session]
) -> None:
    """Another process has all of it hot; what is put anew has a version above all there were."""
    with each_store() as other:
        theirs = [
            other.session(one.name.key, tenant=one.name.tenant, user=one.name.user)
            for one in sessions
        ]
        for _ in range(2):
            assert moods(theirs) == [n if n % 3 else None for n in range(MANY)]
        before = [session.state.get("mood") for session in theirs]
        erase(store)
        assert moods(theirs) == [None] * MANY
        assert moods(sessions) == [None] * MANY
        for session, item in zip(sessions, before, strict=True):
            again = session.state.put("mood", "anew")
            assert item is None or again.version > item.version
        assert moods(theirs) == ["anew"] * MANY


def test_one_that_somebody_holds_goes_alone(postgres_url: str) -> None:
    """Whoever takes many away waits for nobody while it holds some."""
    with Store(postgres_url) as store, psycopg.connect(postgres_url) as other:
        sessions = fill(store)
        for session in sessions:
            session.state.put("mood", "well")
        held = other.execute(
            "SELECT n.path FROM onrecord_namespaces n ORDER BY id LIMIT 1 FOR UPDATE"
        ).fetchone()
        assert held is not None
        found = doomed(store)
        removed = store._ledger.write(lambda txn: erasing_many.remove(txn, found))
        assert [one.name.key for one in removed.left] == ["s0"]
        assert removed.counted["onrecord_items"] == MANY - 1
        other.rollback()
        assert erase(store)["onrecord_items"] == 1
        assert counts(store) == (0, 0, 0)


def test_they_go_alone_where_there_are_too_many_items(
    store: Store, sessions: list[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onrecord.ledger.items.states.MOST_ITEMS", 2 * WITH_STATE - 1)
    found = doomed(store)
    left = {one.name for one in sessions if moods([one]) != [None]}

    def some(work: Callable[..., erasing_many.RemovedMany]) -> erasing_many.RemovedMany:
        return store._ledger.write(lambda txn: work(txn, found))

    removed = some(erasing_many.remove)
    assert {one.name for one in removed.left} == left
    assert len(removed.gone) == MANY - WITH_STATE
    erase(store)
    assert counts(store) == (0, 0, 0)


def test_a_damaged_version_keeps_nobody_from_erasing(store: Store, sessions: list[Session]) -> None:
    store._ledger.write(
        lambda txn: txn.run("UPDATE {namespaces} SET version = :last", {"last": 2**63 - 1})
    )
    assert erase(store)["onrecord_items"] == 2 * WITH_STATE
    assert counts(store) == (0, 0, 0)
    assert sessions[1].state.put("mood", "anew").version
