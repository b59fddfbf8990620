"""What was made from a session's messages goes with them, in one transaction and in both tiers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from onrecord import Conflict, Put, Session, Store, Version, operations
from onrecord.flow import Flow
from onrecord.item import DERIVED
from onrecord.reports import Progress
from onrecord.testing.contract import Face

OpenStore = Callable[..., Store]

KEY = f"{DERIVED}gist"


@pytest.fixture
def store(each_store: OpenStore) -> Store:
    return each_store()


def with_gist(store: Store, upto: str | None = "3", key: str = KEY, name: str = "chat") -> Session:
    """Six messages, and what was made from the first three of them."""
    session = store.session(name)
    session.append([("user", f"secret {n}") for n in range(1, 7)])
    session.state.put(key, {"text": "secret 1 to 3"}, token=upto)
    session.state.put("plan", "stays", token="1")
    assert session.state.get(key) is not None  # and a cache has it
    return session


REWRITES: dict[str, tuple[Callable[[Session], object], int]] = {
    "edit": (lambda session: session.edit(3, ("user", "other")), 3),
    "delete": (lambda session: session.delete(2), 2),
    "rewind": (lambda session: session.rewind(2), 3),
    "clear": (lambda session: session.clear(), 1),
    "pop": (lambda session: session.pop(4), 3),
    "replace": (lambda session: session.replace([("user", "other")], after=2), 3),
    "exchange": (lambda session: session.exchange(session.messages()[1:3], ("user", "other")), 2),
    "replace the active": (
        lambda session: session.replace([("user", "other")], archived=False),
        1,
    ),
}


@pytest.mark.parametrize("how", REWRITES)
def test_it_goes_with_what_it_was_made_from(each_store: OpenStore, face: Face, how: str) -> None:
    store, other = each_store(), each_store()
    session = with_gist(store)
    assert other.session("chat").state.get(KEY) is not None
    REWRITES[how][0](face(session))
    for one in (store, other):
        state = one.session("chat").state
        assert state.get(KEY) is None
        assert [item.key for item in state.list()] == ["plan"]


LATER: dict[str, Callable[[Session], object]] = {
    "edit": lambda session: session.edit(4, ("user", "other")),
    "delete": lambda session: session.delete(4),
    "rewind": lambda session: session.rewind(3),
    "pop": lambda session: session.pop(3),
    "replace": lambda session: session.replace([("user", "other")], after=3),
    "nothing": lambda session: session.rewind(6),
    "archive": lambda session: session.archive([1]),
    "update": lambda session: session.update(title="Secrets"),
}


@pytest.mark.parametrize("how", LATER)
def test_it_stays_where_others_go(store: Store, face: Face, how: str) -> None:
    session = with_gist(store)
    LATER[how](face(session))
    assert session.state.get(KEY) is not None


@pytest.mark.parametrize("upto", [None, "who knows", "²"])
def test_what_does_not_say_of_what_it_is_goes_with_any(store: Store, upto: str | None) -> None:
    session = with_gist(store, upto)
    session.pop()
    assert session.state.get(KEY) is None


@pytest.mark.parametrize("key", ["onrecord.derivee", "onrecord.derived", "onrecord.derived/x"])
def test_only_what_says_that_it_is_derived(store: Store, key: str) -> None:
    session = with_gist(store, "3", key)
    session.clear()
    assert session.state.get(key) is not None


def test_what_was_refused_takes_nothing(store: Store, face: Face) -> None:
    session = with_gist(store)
    with pytest.raises(Conflict):
        face(session).delete(9)
    with pytest.raises(Conflict):
        face(session).pop(6, expected=Version(7, 7))
    assert session.state.get(KEY) is not None


def test_a_fork_has_what_was_made_from_what_it_has(store: Store, face: Face) -> None:
    session = with_gist(store)
    face(session).fork("before", at=2)
    face(session).fork("behind", at=3)
    face(session).fork("whole")
    assert [item.key for item in store.session("before").state.list()] == ["plan"]
    for fork in ("behind", "whole"):
        assert store.session(fork).state.get(KEY) is not None
        store.session(fork).delete(1)
        assert store.session(fork).state.get(KEY) is None
    assert session.state.get(KEY) is not None


@pytest.mark.parametrize("how", ["edit", "clear", "erase", "append"])
def test_an_import_brings_nothing_of_what_is_edited_meanwhile(
    each_store: OpenStore, tmp_path: Path, how: str
) -> None:
    """Between the messages of a session and its state others may write to it."""
    with Store(tmp_path / "source.db") as source:
        source.session("s").append([("user", f"{n}") for n in range(3)])
        state = source.session("s").state
        state.put(KEY, "all that was said", token="3")
        state.put("mine", 1)
        source.export(tmp_path / "all.jsonl")
    store = each_store()
    session = store.session("s")

    def meanwhile(progress: Progress) -> None:
        if progress.done and session.head() == 3:
            match how:
                case "edit":
                    session.edit(2, ("user", "nothing"))
                case "clear":
                    session.clear()
                case "erase":
                    session.erase(thorough=False)
                case _:
                    session.append(("user", "3"))

    store.import_(tmp_path / "all.jsonl", progress=meanwhile)
    assert (session.state.get(KEY) is None) == (how != "append")
    mine = session.state.get("mine")
    assert mine is not None
    assert mine.value == 1


def test_of_another_session_nothing_goes(store: Store) -> None:
    session = with_gist(store)
    near = store.session("chat", user="ada")
    near.append([("user", "x")])
    near.state.put(KEY, "near", token="1")
    session.clear()
    assert near.state.get(KEY) is not None


FLOWS: dict[str, Callable[[Session], Flow[Any]]] = {
    "edit": lambda session: operations.edit(session._desk, session.name, 3, ("user", "other")),
    "delete": lambda session: operations.delete(session._desk, session.name, 2),
    "clear": lambda session: operations.rewind(session._desk, session.name, 0),
    "replace": lambda session: operations.replace(
        session._desk, session.name, [("user", "other")], 2, None, None
    ),
}


def is_done(store: Store, flow: Flow[Any], steps: int) -> bool:
    """Perform so many steps of a flow, and drop it; whether it came to its end."""
    go_on = partial(flow.send, None)
    try:
        for _ in range(steps):
            step = go_on()
            try:
                go_on = partial(flow.send, store._perform(step))
            except Exception as fault:  # whatever a step raises, the flow is told
                go_on = partial(flow.throw, fault)
        go_on()
    except StopIteration:
        return True
    finally:
        flow.close()
    return False


@pytest.mark.parametrize("how", FLOWS)
def test_wherever_it_is_cut_off_both_are_there_or_neither(each_store: OpenStore, how: str) -> None:
    """A process dies behind each of its steps; others look at once, and again."""
    writer, reader = each_store(), each_store()
    for steps in range(30):
        session = with_gist(writer, name=f"{how} {steps}")
        there = reader.session(session.name.key)
        assert there.state.get(KEY) is not None, "it is in its cache"
        ended = is_done(writer, FLOWS[how](session), steps)
        for _ in range(2):
            whole = [m.text for m in there.messages()] == [f"secret {n}" for n in range(1, 7)]
            assert (there.state.get(KEY) is not None) == whole
            assert (KEY in [item.key for item in there.state.list()]) == whole
        if ended:
            assert not whole
            return
    pytest.fail("it did not end")


# Items beside no message


def test_items_alone_are_put_where_the_session_is_as_expected(store: Store, face: Face) -> None:
    session = store.session("chat")
    session.append([("user", "one"), ("user", "two")])
    seen = session.version()
    put = Put(session.state, "gist", "of two", expected=0)
    assert face(session).append([], expected=seen, items=[put]) == []
    item = session.state.get("gist")
    assert item is not None
    assert item.value == "of two"
    session.edit(1, ("user", "other"))
    late = Put(session.state, "late", "of what was edited")
    for expected in (seen, 7):
        with pytest.raises(Conflict) as refused:
            face(session).append([], expected=expected, items=[late])
        assert refused.value.version == session.version()
    assert session.state.get("late") is None
    assert session.version() == Version(1, 2)


def test_items_alone_are_not_put_where_no_session_is(store: Store, face: Face) -> None:
    session = store.session("new")
    put = Put(session.state, "gist", "of nothing")
    with pytest.raises(Conflict):
        face(session).append([], expected=Version(3, 3), items=[put])
    assert store.sessions() == []
