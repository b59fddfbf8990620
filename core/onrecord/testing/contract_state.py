"""What the state of every session has to do, as tests anybody can run over a database of theirs.

Like ``contract.py``: subclass ``StateContract`` and give it a fixture ``store``.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from onrecord import (
    ANY,
    Conflict,
    Delete,
    InvalidName,
    Item,
    Merge,
    Misconfigured,
    Put,
    Session,
    Store,
    Version,
)
from onrecord.testing.contract import STRANGE_NAMES, Contract, Face, texts


def held(items: Any) -> dict[str, Any]:
    """What is known in a namespace."""
    return {item.key: item.value for item in items.list()}


def at_once(*work: Callable[[], object]) -> list[BaseException]:
    """What goes wrong where several do something at the same time."""
    failures: list[BaseException] = []
    meeting = threading.Barrier(len(work), timeout=60)

    def run(one: Callable[[], object]) -> None:
        try:
            meeting.wait()
            one()
        except BaseException as fault:
            failures.append(fault)

    threads = [threading.Thread(target=run, args=(one,)) for one in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failures


class StateContract(Contract):
    """Subclass this and give it a fixture ``store``."""

    @pytest.fixture
    def chat(self, store: Store) -> Session:
        """A session nobody has written to."""
        return store.session("chat", user="ada")

    # -- items of its own --------------------------------------------------------------------

    def test_it_is_a_namespace_of_items(self, chat: Session, face: Face) -> None:
        state = face(chat.state)
        stored = state.put("plan", {"steps": ["ask"]}, text="what to do")
        assert stored == state.get("plan") == state.get_many(["plan"])["plan"]
        assert (stored.namespace, stored.key) == (("", "chat"), "plan")
        assert state.merge("plan", {"done": 0}).value == {"steps": ["ask"], "done": 0}
        with pytest.raises(Conflict) as refused:
            state.put("plan", {}, expected=stored)
        assert refused.value.item == state.get("plan")
        state.put_many({"a": 1, "b": 2, "c": 3}, ttl=60)
        assert [item.key for item in state.list(limit=2)] == ["a", "b"]
        newest, *_ = state.list(order="updated")
        assert [item.key for item in state.list(order="updated", after=newest)] == [
            "b",
            "a",
            "plan",
        ]
        assert state.list(filter={"done": 0})[0].key == "plan"
        assert state.delete("a") is True
        assert state.delete_many(["b", "no"]) == 1
        assert state.get("c", refresh=True).expires_at is not None
        assert state.count() == state.clear() == 2
        assert state.list() == []

    def test_its_first_write_makes_the_session(
        self, chat: Session, store: Store, face: Face
    ) -> None:
        state, session = face(chat.state), face(chat)
        assert state.get("plan") is None
        assert state.list() == []
        assert state.count() == state.clear() == state.delete_many(["plan"]) == 0
        assert state.delete("plan") is False
        with pytest.raises(Conflict):
            state.put("plan", 1, expected=7)
        assert face(store).sessions(user="ada") == [], "to read makes none"
        state.put("plan", 1)
        (info,) = face(store).sessions(user="ada")
        assert (info.key, info.version, info.messages) == ("chat", Version(0, 0), 0)
        assert (info.title, info.metadata) == (None, {})
        with pytest.raises(Conflict):
            session.create()
        session.append(("user", "hello"), existing=True)
        assert texts(session.messages()) == ["hello"]
        assert state.get("plan").value == 1

    def test_an_append_that_needs_no_session_leaves_one_that_has_a_state(
        self, chat: Session, face: Face
    ) -> None:
        session = face(chat)
        (stored,) = session.append(("user", "hello"))
        session.erase()
        face(chat.state).put("plan", 1)
        assert session.append(stored, expected=0) == [], "it was erased"
        assert face(chat.state).get("plan").value == 1
        assert session.info().created_at is not None

    @pytest.mark.parametrize("name", STRANGE_NAMES)
    def test_states_are_walls(self, store: Store, face: Face, name: str) -> None:
        walls = [
            store.session(name),
            store.session(name, user=name),
            store.session(name, tenant=name),
            store.session(name, agent=name),
            store.session(f"{name}x"[-512:], tenant="t"),
        ]
        for n, session in enumerate(walls):
            face(session.state).put("k", n)
            face(store.items(name, user=name)).put(f"{n}", n)
        for n, session in enumerate(walls):
            assert held(face(session.state)) == {"k": n}
        face(walls[1]).erase()
        assert [face(session.state).count() for session in walls] == [1, 0, 1, 1, 1]
        assert face(store.items(name, user=name)).count() == 5

    def test_nobody_reaches_it_by_names(self, chat: Session, store: Store, face: Face) -> None:
        face(chat.state).put("plan", 1)
        there = face(store)
        for parts in [("", "chat"), ("",), ("\0", "chat"), ("\0chat",), ("chat", "")]:
            with pytest.raises(InvalidName):
                store.items(*parts, user="ada")
            with pytest.raises(InvalidName):
                there.write([Put(parts, "plan", 2)], user="ada")
            with pytest.raises(InvalidName):
                face(chat).append(("user", "x"), items=[Delete(parts, "plan")])
            with pytest.raises(InvalidName):
                there.namespaces(parts, user="ada")
            with pytest.raises(InvalidName):
                there.find_items(parts, user="ada")
        assert face(store.items("chat", user="ada")).list() == []
        for user in ("ada", ANY):
            assert there.namespaces(user=user) == there.namespaces(user=user, depth=1) == []
        assert there.find_items(user="ada") == there.find_items(user="ada", filter={}) == []
        face(store.items("a", user="ada")).put("k", 1)
        assert there.namespaces(user=ANY) == [("a",)]
        (found,) = there.find_items(user="ada")
        assert there.find_items(user="ada", after=found) == []
        assert face(chat.state).get("plan").value == 1

    # -- in the transaction of an append -----------------------------------------------------

    def test_it_is_written_with_an_append(self, chat: Session, store: Store, face: Face) -> None:
        session, facts = face(chat), store.items("facts", user="ada")
        session.append(
            ("user", "I live in Lyon."),
            items=[Put(chat.state, "step", 1), Put(facts, "city", "Lyon"), Put("facts", "n", 1)],
        )
        assert held(face(chat.state)) == {"step": 1}
        assert held(face(facts)) == {"city": "Lyon", "n": 1}
        session.append(("user", "b"), items=[Put(chat.state, "step", 2)])
        session.append(
            ("user", "c"), items=[Merge(chat.state, "plan", {"a": 1}), Delete(chat.state, "step")]
        )
        assert held(face(chat.state)) == {"plan": {"a": 1}}
        with pytest.raises(Conflict) as refused:
            session.append(("user", "d"), items=[Put(chat.state, "plan", 1, expected=0)])
        assert isinstance(refused.value.item, Item)
        with pytest.raises(Conflict):
            session.append(("user", "d"), expected=1, items=[Put(chat.state, "plan", 1)])
        assert texts(session.messages()) == ["I live in Lyon.", "b", "c"]
        assert held(face(chat.state)) == {"plan": {"a": 1}}

    def test_nothing_is_made_by_an_append_that_is_refused(
        self, chat: Session, store: Store, face: Face
    ) -> None:
        for changes in (
            [Put(chat.state, "a", 1), Put(chat.state, "b", 1, expected=7)],
            [Put("facts", "a", 1), Put(chat.state, "b", 1, expected=7)],
        ):
            with pytest.raises(Conflict):
                face(chat).append(("user", "x"), items=changes)
        assert face(store).sessions(user="ada") == []
        assert face(chat).append([], items=[Put(chat.state, "a", 1)]) == []
        assert held(face(chat.state)) == {"a": 1}

    def test_a_handle_is_refused_where_it_does_not_belong(
        self, chat: Session, store: Store, face: Face
    ) -> None:
        other = store.session("other", user="ada")
        with pytest.raises(Misconfigured, match="An append to session 'chat'"):
            face(chat).append(("user", "x"), items=[Put(other.state, "a", 1)])
        for handle in (store.session("chat", user="eve").state, store.items("facts")):
            with pytest.raises(Misconfigured, match="several scopes"):
                face(chat).append(("user", "x"), items=[Put(handle, "a", 1)])
            with pytest.raises(Misconfigured, match="several scopes"):
                face(store).write([Put(handle, "a", 1)], user="ada")
        with Store("sqlite://") as elsewhere:
            handle = elsewhere.session("chat", user="ada").state
            with pytest.raises(Misconfigured, match="another store's"):
                face(chat).append(("user", "x"), items=[Put(handle, "a", 1)])
        assert face(store).sessions(user=ANY) == []

    def test_states_of_several_sessions_in_one_transaction(
        self, chat: Session, store: Store, face: Face
    ) -> None:
        other = store.session("other", user="ada")
        wrote = face(store).write(
            [
                Put(chat.state, "a", 1),
                Put(other.state, "b", 2),
                Put("facts", "c", 3),
                Delete(store.session("third", user="ada").state, "d"),
            ],
            user="ada",
        )
        assert [bool(one) for one in wrote] == [True, True, True, False]
        assert (held(face(chat.state)), held(face(other.state))) == ({"a": 1}, {"b": 2})
        assert {info.key for info in face(store).sessions(user="ada")} == {"chat", "other"}

    # -- with its session --------------------------------------------------------------------

    def test_it_stays_where_messages_go(self, chat: Session, face: Face) -> None:
        session = face(chat)
        face(chat.state).put("plan", 1)
        session.append([("user", f"{n}") for n in range(6)])
        session.delete(2)
        session.pop()
        session.rewind(3)
        session.replace([("user", "new")])
        assert session.clear().head == 0
        assert held(face(chat.state)) == {"plan": 1}

    def test_a_fork_has_it_as_it_is_now(self, chat: Session, store: Store, face: Face) -> None:
        state = face(chat.state)
        face(chat).append([("user", "a"), ("user", "b")])
        state.put("old", 1)
        state.put("plan", {"a": [1]}, text="words", token="r1")
        state.put("lives", 1, ttl=timedelta(days=1))
        state.put("old", 2)
        state.put("gone", 1, ttl=1e-6)
        fork = store.session("fork", user="ada")
        face(chat).fork("fork", at=1)
        before, after = state.list(order="updated"), face(fork.state).list(order="updated")
        assert [item.key for item in after] == ["old", "lives", "plan"]
        for was, found in zip(before, after, strict=True):
            assert (was.key, was.value, was.text, was.token) == (
                found.key, found.value, found.text, found.token,
            )  # fmt: skip
            assert (was.created_at, was.updated_at, was.expires_at) == (
                found.created_at, found.updated_at, found.expires_at,
            )  # fmt: skip
        face(fork.state).put("old", 3, expected=after[0])
        face(fork.state).delete("plan")
        assert state.get("old").value == 2
        assert state.get("plan").value == {"a": [1]}
        assert face(store).verify() == []

    def test_a_fork_into_a_state_is_refused(self, chat: Session, store: Store, face: Face) -> None:
        fork = store.session("fork", user="ada")
        face(chat.state).put("k", "source's")
        face(fork.state).put("k", "its own", ttl=60)
        with pytest.raises(Conflict, match="has a state"):
            face(chat).fork("fork")
        assert face(fork.state).get("k").value == "its own"
        face(fork.state).put("k", "over soon", ttl=1e-6)
        face(chat).fork("fork")
        assert held(face(fork.state)) == {"k": "source's"}
        empty = store.session("empty", user="ada")
        face(empty).fork("from nothing")
        assert face(store.session("from nothing", user="ada").state).list() == []

    def test_it_is_erased_with_its_session(self, chat: Session, store: Store, face: Face) -> None:
        state = face(chat.state)
        other = face(store.session("other", user="ada").state)
        stored = state.put("plan", 1)
        state.put("step", 2)
        other.put("plan", 3)
        face(store.items("facts", user="ada")).put("city", "Lyon")
        face(chat).append(("user", "a"))
        receipt = face(chat).erase()
        assert receipt.removed == {
            "onrecord_items": 2, "onrecord_namespaces": 1, "onrecord_sessions": 1,
            "onrecord_tail": 1,
        }  # fmt: skip
        assert state.list() == []
        assert state.get("plan") is None
        assert [info.key for info in face(store).sessions(user="ada")] == ["other"]
        again = state.put("plan", 4)
        assert again.version > stored.version
        assert face(chat).version() == Version(1, 0)
        receipt = face(store).erase(user="ada")
        assert receipt.removed == {
            "onrecord_items": 3, "onrecord_namespaces": 3, "onrecord_sessions": 2,
        }  # fmt: skip
        assert state.list() == other.list() == []
        assert face(store).verify() == []

    def test_it_is_pruned_with_its_session(
        self, chat: Session, store: Store, face: Face, tmp_path: Path
    ) -> None:
        face(chat.state).put("plan", 1)
        face(chat).update(expires_in=timedelta(microseconds=1))
        face(store.session("stays", user="ada").state).put("plan", 2)
        path = tmp_path / "archive.jsonl"
        report = face(store).prune(user="ada", archive_to=path)
        assert [info.key for info in report.sessions] == ["chat"]
        assert report.items == 0
        assert face(chat.state).list() == []
        assert face(store.session("stays", user="ada").state).count() == 1
        face(store).import_(path)
        assert held(face(chat.state)) == {"plan": 1}

    def test_what_has_expired_in_it_is_pruned(
        self, chat: Session, store: Store, face: Face
    ) -> None:
        face(chat.state).put("gone", 1, ttl=1e-6)
        assert face(chat.state).list() == []
        assert face(store).prune(user="ada").items == 1

    def test_it_is_counted(self, chat: Session, store: Store, face: Face) -> None:
        face(chat.state).put_many({"a": 1, "b": 2})
        face(store.items("facts", user="ada")).put("c", 3)
        stats = face(store).stats(user="ada")
        assert (stats.items, stats.namespaces, stats.sessions) == (3, 1, 1)
        assert stats.item_bytes > 0
        assert face(store).verify() == []

    def test_it_travels_with_its_session(self, chat: Session, store: Store, face: Face) -> None:
        state = face(chat.state)
        face(chat).append(("user", "hello"))
        state.put("plan", {"a": (1, 2)}, text="words", token="r1")
        state.put("lives", 1, ttl=timedelta(days=1))
        only = face(store.session("only a state", user="ada").state)
        only.put("k", 1)
        face(store.items("facts", user="ada")).put("city", "Lyon")
        alone, whole = io.BytesIO(), io.BytesIO()
        assert face(chat).export(alone).items == 2
        report = face(store).export(whole, user="ada")
        assert (report.sessions, report.items) == (2, 4)
        before = state.list()
        face(store).erase(user="ada")
        for content, items in ((alone, 2), (whole, 2), (whole, 0)):
            content.seek(0)
            report = face(store).import_(content)
            assert (report.items, report.differing) == (items, ())
            for was, found in zip(before, state.list(), strict=True):
                assert (was.key, was.value, was.text, was.token, was.expires_at) == (
                    found.key, found.value, found.text, found.token, found.expires_at,
                )  # fmt: skip
        assert held(only) == {"k": 1}
        again = io.BytesIO()
        face(store).export(again, user="ada")
        assert again.getvalue() == whole.getvalue()
        assert face(store).verify() == []

    def test_of_a_session_that_differs_no_state_is_brought(
        self, chat: Session, store: Store, face: Face
    ) -> None:
        face(chat).append(("user", "hello"))
        face(chat.state).put("plan", 1)
        other = face(store.session("other", user="ada").state)
        other.put("k", 1)
        content = io.BytesIO()
        face(store).export(content, user="ada")
        face(store).erase(user="ada")
        face(chat).append(("user", "something else"))
        other.put("k", 2)
        content.seek(0)
        report = face(store).import_(content)
        assert face(chat.state).list() == []
        assert len(report.differing) == 2
        assert "the state of session 'other'" in report.differing[1]
        assert held(other) == {"k": 2}

    # -- at the same time --------------------------------------------------------------------

    def test_two_who_write_it_first(self, store: Store) -> None:
        for n in range(5):
            chat = store.session(f"{n}", user="ada")
            failures = at_once(
                lambda chat=chat: chat.state.merge("k", {"a": 1}),  # type: ignore[misc]
                lambda chat=chat: chat.state.put_many({"b": 1, "c": 1}),  # type: ignore[misc]
                lambda chat=chat: chat.append(("user", "x"), items=[Put(chat.state, "d", 1)]),  # type: ignore[misc]
            )
            assert failures == []
            assert held(chat.state) == {"k": {"a": 1}, "b": 1, "c": 1, "d": 1}
        assert store.verify() == []

    def test_nobody_waits_for_whom_he_holds_up(self, store: Store) -> None:
        one, two = (store.session(key, user="ada") for key in ("one", "two"))

        def append(session: Session) -> None:
            for n in range(8):
                items = [Put("facts", "k", n), Put(session.state, "k", n)]
                session.append(("user", f"{n}"), items=items)

        def write(*sessions: Session) -> None:
            for n in range(8):
                states = [Put(session.state, "w", n) for session in sessions]
                store.write([*states, Put("facts", "w", n), Put("other", "w", n)], user="ada")

        def erase() -> None:
            for _ in range(8):
                two.erase(thorough=False)

        failures = at_once(
            lambda: append(one),
            lambda: append(two),
            lambda: write(one, two),
            lambda: write(two, one),
            erase,
        )
        assert failures == []
        assert held(one.state) == {"k": 7, "w": 7}
        assert store.verify() == []

    def test_no_state_is_left_where_its_session_was_erased(self, store: Store) -> None:
        chat = store.session("chat", user="ada")
        over = threading.Event()

        def put() -> None:
            try:
                for n in range(30):
                    chat.state.put("k", n)
                    chat.state.put_many({"a": n, "b": n})
            finally:
                over.set()

        def erase() -> None:
            while not over.is_set():
                chat.erase(thorough=False)

        assert at_once(put, erase) == []
        assert store.verify() == []
        chat.erase(thorough=False)
        assert (chat.state.list(), store.stats(user="ada").items) == ([], 0)
