"""Messages and items in one transaction: all of it, or nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from onrecord import Conflict, Delete, InvalidValue, Merge, Misconfigured, Put, Session, Store
from onrecord.ledger.database.transaction import Transaction
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


def statements(store: Store, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a store sends to its database from now on."""
    sent: list[str] = []
    for name in ("first", "rows", "run"):
        sound = getattr(Transaction, name)

        def noted(self: Any, statement: str, *more: Any, sound: Any = sound) -> Any:
            sent.append(" ".join(statement.split()))
            return sound(self, statement, *more)

        monkeypatch.setattr(Transaction, name, noted)
    return sent


def test_on_postgres_one_put_is_in_the_statement_of_the_append(
    kept_postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store(kept_postgres_url, pool_size=2) as store:
        session, facts = store.session("s", user="ada"), store.items("facts", user="ada")
        session.append(("user", "one"), items=[Put("facts", "k", 0)])  # makes both
        for said in (("user", "two"), [("user", "three"), ("assistant", "four")]):
            sent = statements(store, monkeypatch)
            session.append(said, items=[Put("facts", "k", said[-1][-1])])
            assert len(sent) == 1
            monkeypatch.undo()
        assert [m.text for m in session.messages()] == ["one", "two", "three", "four"]
        (item,) = facts.list()
        assert item.value == "four"
        assert store.verify() == []


def test_where_one_statement_cannot_do_both_it_does_neither(
    kept_postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new namespace, a new session, an id that is taken: done in several statements then."""
    with Store(kept_postgres_url, pool_size=2) as store:
        session = store.session("s", user="ada")
        session.append({"role": "user", "content": "one", "id": "a"})
        sent = statements(store, monkeypatch)
        session.append(("user", "two"), items=[Put("new", "k", 1)])
        assert len(sent) > 3
        monkeypatch.undo()
        assert session.count() == 2
        again = {"role": "user", "content": "one", "id": "a"}
        session.append([again, ("user", "three")], items=[Put("new", "k", 2)])
        assert [m.text for m in session.messages()] == ["one", "two", "three"]
        session.append(again, items=[Put("new", "k", 3)])  # nothing of it is new
        item = store.items("new", user="ada").get("k")
        assert item is not None
        assert item.value == 2
        store.session("other", user="ada").append(("user", "x"), items=[Put("new", "k", 4)])
        with pytest.raises(Conflict):
            session.append(("user", "x"), expected=1, items=[Put("new", "k", 5)])
        item = store.items("new", user="ada").get("k")
        assert item is not None
        assert item.value == 4
        assert session.count() == 3


def test_items_alone_do_not_make_a_session_that_has_to_be_there(
    store: Store, session: Session, face: Face
) -> None:
    """A count that comes late brings no erased session back."""
    session.append(("user", "hello"))
    face(session).append([], items=[Put(session.state, "k", 1)], existing=True)
    assert [item.key for item in session.state.list()] == ["k"]
    session.erase(thorough=False)
    with pytest.raises(Conflict, match="There is no session"):
        face(session).append([], items=[Put(session.state, "k", 2)], existing=True)
    assert session.state.list() == []
    assert store.sessions(user="ada") == []
