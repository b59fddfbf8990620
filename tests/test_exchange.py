"""``exchange``: one message in the place of several, where they stand as they were read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from onrecord import (
    Conflict,
    InvalidMessage,
    InvalidName,
    Message,
    Misconfigured,
    Put,
    Session,
    Store,
)
from onrecord.testing.contract import Face
from tests.children import together

OpenStore = Callable[..., Store]


@pytest.fixture
def store(each_store: OpenStore) -> Store:
    return each_store(tail=20)


def said(session: Session) -> list[tuple[int | None, str]]:
    return [(message.seq, message.text) for message in session.messages()]


@pytest.fixture
def chat(store: Store) -> Session:
    """Some of its 200 messages are sealed, and some are rows."""
    session = store.session("s", user="ada")
    session.append([("user" if n % 2 else "assistant", f"m{n}") for n in range(1, 201)])
    return session


@pytest.mark.parametrize("at", [1, 60, 150, 190])
def test_one_stands_in_the_place_of_several(
    store: Store, chat: Session, face: Face, at: int
) -> None:
    messages = chat.messages()
    going = messages[at : at + 7]
    new = face(chat).exchange(going, ("user", "in short"))
    assert new is not None
    first = going[0]
    assert (new.seq, new.id, new.created_at) == (first.seq, first.id, first.created_at)
    left = [*messages[:at], new, *messages[at + 7 :]]
    assert chat.messages() == left
    assert chat.tail(200) == left
    info = chat.info()
    assert (info.messages, info.turns) == (194, sum(m.opens_turn for m in left))
    assert info.version.epoch == 1
    assert store.verify() == []
    assert [hit.message.seq for hit in store.search(going[-1].text, user="ada")] == []
    assert store.search("in short", user="ada")[0].message == new


def test_without_a_new_one_all_places_stay_empty(store: Store, chat: Session, face: Face) -> None:
    messages = chat.messages()
    going = [messages[3], messages[100], messages[101], messages[199]]
    assert face(chat).exchange(going[::-1]) is None
    assert chat.messages() == [m for m in messages if m not in going]
    chat.append(("user", "next"))
    assert chat.head() == 201
    assert store.verify() == []


@pytest.mark.parametrize("how", ["edit", "delete", "clear", "rewind", "exchange", "erase"])
def test_what_is_not_there_any_more_as_it_was_read_refuses(
    store: Store, chat: Session, how: str
) -> None:
    going = chat.messages(limit=5)
    match how:
        case "edit":
            chat.edit(3, ("user", "another"))
        case "delete":
            chat.delete(3)
        case "clear":  # and the same is said again
            chat.clear()
            chat.append([(m.role, m.text) for m in going])
        case "rewind":
            chat.rewind(4)
        case "exchange":
            chat.exchange(going[2:4], ("user", "x"))
        case _:
            chat.erase(thorough=False)
    before = said(chat)
    with pytest.raises(Conflict, match="as it was read"):
        chat.exchange(going, ("user", "in short"), items=[Put(chat.state, "k", 1)])
    assert said(chat) == before
    assert chat.state.list() == []


def test_others_may_append_meanwhile(chat: Session) -> None:
    going = chat.messages(limit=5)
    chat.append(("user", "meanwhile"))
    chat.exchange(going, ("user", "in short"))
    assert said(chat)[0] == (1, "in short")
    assert said(chat)[-1] == (201, "meanwhile")


def test_items_are_changed_with_it_or_nothing_is(chat: Session, face: Face) -> None:
    going = chat.messages(limit=3)
    held = chat.state.put("pin", 1)
    with pytest.raises(Conflict):
        face(chat).exchange(going, items=[Put(chat.state, "pin", 2, expected=0)])
    assert len(chat.messages()) == 200
    face(chat).exchange(going, items=[Put(chat.state, "pin", 2, expected=held)])
    found = chat.state.get("pin")
    assert found is not None
    assert found.value == 2
    assert len(chat.messages()) == 197


def test_a_given_id_and_archived_places_stay(store: Store) -> None:
    session = store.session("s")
    session.append([{"role": "user", "content": f"m{n}", "id": f"id {n}"} for n in range(4)])
    session.archive([2, 3])
    new = session.exchange(session.messages(after=1, limit=2), ("user", "in short"))
    assert new is not None
    assert new.id == "id 1"
    assert [m.text for m in session.messages(archived=True)] == ["in short"]
    assert store.verify() == []


def test_what_it_cost_is_kept(store: Store) -> None:
    session = store.session("s")
    used = {"input_tokens": 10, "output_tokens": 5}
    session.append([Message("assistant", "a", usage=used), ("user", "b")])
    session.exchange(session.messages(), Message("user", "in short", usage=used))
    assert session.info().usage.input_tokens == 20


@pytest.mark.parametrize(
    "given",
    [
        (),
        [],
        "text",
        b"x",
        None,
        7,
        {1},
        {1: 2},
        range(10**9),
        [("user", "m1")],
        [Message("user", "never stored")],
        "twice",
    ],
)
def test_what_was_not_read_here_is_refused(chat: Session, given: Any) -> None:
    if given == "twice":
        given = [*chat.messages(limit=1)] * 2
    with pytest.raises((Misconfigured, InvalidMessage)):
        chat.exchange(given)
    assert chat.version().epoch == 0


def test_bad_replacements_are_refused(chat: Session) -> None:
    going = chat.messages(limit=2)
    for new in ([("user", "a"), ("user", "b")], [], 7):
        with pytest.raises(InvalidMessage):
            chat.exchange(going, new)  # type: ignore[arg-type]
    with pytest.raises(InvalidName):
        chat.exchange(going, items=[Put(("",), "k", 1)])
    other = chat.store.session("other")
    with pytest.raises(Conflict):
        other.exchange(going)
    assert chat.version().epoch == 0


def test_a_feed_is_told_that_it_was_rewritten(store: Store, chat: Session) -> None:
    feed = store.feed("reader")
    feed.done(feed.read())
    chat.exchange(chat.messages(limit=3), ("user", "in short"))
    (change,) = feed.read()
    assert (change.kind, len(change.messages)) == ("rewritten", 198)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_of_several_processes_one_puts_its_own_in_the_place_of_each_run(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str
) -> None:
    url = f"sqlite:///{tmp_path}/exchange.db"
    if kind == "postgresql":
        url = request.getfixturevalue("kept_postgres_url")
    with Store(url) as store:
        store.session("s").append([("user", f"m{n}") for n in range(100)])
        before = store.session("s").messages()

    def exchanging(n: int, wait: Callable[[], object]) -> list[int]:
        done: list[int] = []
        with Store(url) as store:
            session = store.session("s")
            session.version()
            wait()
            for at in range(0, 100, 5):
                try:
                    session.exchange(before[at : at + 5], ("user", f"run {at} by {n}"))
                    done.append(at)
                except Conflict:
                    continue
        return done

    done = together(exchanging, 3)
    assert sorted(at for one in done for at in one) == list(range(0, 100, 5))
    with Store(url) as store:
        who = {at: n for n, one in enumerate(done) for at in one}
        assert [m.text for m in store.session("s").messages()] == [
            f"run {at} by {who[at]}" for at in range(0, 100, 5)
        ]
        assert store.verify() == []
