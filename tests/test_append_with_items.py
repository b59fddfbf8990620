"""Messages and items in one transaction: all of it, or nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from onrecord import Conflict, Delete, InvalidValue, Merge, Misconfigured, Put, Session, Store
from onrecord.ledger.items import items as rows_of
from onrecord.testing.contract import Face

Opener = Callable[..., Store]


@pytest.fixture
def store(each_store: Opener) -> Store:
    return each_store()


@pytest.fixture
def session(store: Store) -> Session:
    return store.session("s", user="ada")


def test_they_are_there_together(store: Store, session: Session, face: Face) -> None:
    facts = store.items("facts", user="ada")
    facts.put("old", 1)
    changes = [
        Put("facts", "city", "Lyon"),
        Merge(("a", "b"), "k", {"x": 1}),
        Delete("facts", "old"),
    ]
    (stored,) = face(session).append(("user", "I live in Lyon."), items=changes)
    assert stored.seq == 1
    assert {item.key: item.value for item in facts.list()} == {"city": "Lyon"}
    assert store.items("a", "b", user="ada").list()[0].value == {"x": 1}
    assert store.items("facts").list() == [], "of the session's scope"
    assert face(session).append([], items=[Put("facts", "alone", 1)]) == []
    assert facts.count() == 2


def test_a_conflict_undoes_the_messages(store: Store, session: Session, face: Face) -> None:
    facts = store.items("facts", user="ada")
    there = facts.put("k", 1)
    facts.put("k", 2)
    for changes in (
        [Put("facts", "other", 1), Put("facts", "k", 3, expected=there)],
        [Put("facts", "other", 1), Delete("facts", "k", expected=0)],
        [Put("facts", "k", 3, expected_token="r1")],
    ):
        with pytest.raises(Conflict):
            face(session).append([("user", "hello")], items=changes)
    for expected in (1, 7):
        with pytest.raises(Conflict):
            face(session).append(("user", "x"), expected=expected, items=[Put("facts", "k", 4)])
    assert session.messages() == []
    assert session.info().created_at is None, "not even the session is there"
    assert {item.key: item.value for item in facts.list()} == {"k": 2}


def test_what_cannot_be_is_refused_before_anything_is_written(
    store: Store, session: Session
) -> None:
    bad: list[tuple[Any, type[Exception]]] = [
        ([Put("facts", "k", object())], InvalidValue),
        (["facts"], Misconfigured),
        (Put("facts", "k", 1), Misconfigured),
        ([Put("facts", "k", 1, ttl=-1)], Misconfigured),
    ]
    for changes, kind in bad:
        with pytest.raises(kind):
            session.append(("user", "hello"), items=changes)
    assert session.messages() == []
    assert store.namespaces(user="ada") == []


def test_said_again_they_are_not_made_again(store: Store, session: Session) -> None:
    message = {"role": "user", "content": "once", "id": "m1"}
    facts = store.items("facts", user="ada")
    session.append(message, items=[Put("facts", "k", 1)])
    facts.put("k", 2)
    session.append(message, items=[Put("facts", "k", 1)])
    assert facts.list()[0].value == 2
    session.append([message, ("assistant", "new")], items=[Put("facts", "k", 3)])
    assert facts.list()[0].value == 3
    assert session.count() == 2


def test_a_hit_of_the_cache_shows_the_message(each_store: Opener) -> None:
    writer, reader = each_store().session("s"), each_store().session("s")
    for n in range(5):
        writer.append(("user", f"{n}"), items=[Put("facts", "n", n)])
        assert [m.text for m in reader.tail()] == [str(k) for k in range(n + 1)]


def test_it_dies_between_the_two_and_neither_is_there(
    store: Store, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*given: Any) -> Any:
        raise RuntimeError("the process is gone")

    with monkeypatch.context() as patch:
        patch.setattr(rows_of, "put", dies)
        patch.setattr(rows_of, "put_at_once", dies)
        with pytest.raises(RuntimeError):
            session.append(("user", "hello"), items=[Put("facts", "k", 1)])
    assert session.messages() == []
    assert store.items("facts", user="ada").list() == []
    session.append(("user", "hello"), items=[Put("facts", "k", 1)])
    assert session.count() == store.items("facts", user="ada").count() == 1


def test_many_at_the_same_time(each_store: Opener) -> None:
    """Other sessions, the same namespaces in another order: nobody waits for ever."""
    failures: list[BaseException] = []
    stores = [each_store() for _ in range(2)]

    def chat(who: int) -> None:
        try:
            session = stores[who % 2].session(f"s{who}", user="ada")
            for n in range(15):
                names = ["a", "b", "c"] if (who + n) % 2 else ["c", "b", "a"]
                changes = [Merge(name, "k", {f"{who}.{n}": 1}) for name in names]
                session.append(("user", f"{n}"), items=changes)
        except BaseException as fault:
            failures.append(fault)

    threads = [threading.Thread(target=chat, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    for name in "abc":
        found = stores[0].items(name, user="ada").get("k")
        assert found is not None
        assert len(found.value) == 60
    assert [stores[0].session(f"s{who}", user="ada").count() for who in range(4)] == [15] * 4
