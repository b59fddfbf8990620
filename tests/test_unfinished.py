"""Unfinished sessions: whoever comes back is told where they left off."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from onrecord import (
    ANY,
    Message,
    Misconfigured,
    OnrecordError,
    Session,
    Store,
    Text,
    ToolCall,
    ToolResult,
    Unfinished,
)
from onrecord.flows.sessions import append
from onrecord.stored import clock
from onrecord.turn import SHORTEST, Holder
from onrecord.unfinished import LONGEST

Stores = Callable[..., Store]

CALL = ToolCall("find_order", {"number": "A-1"}, id="c-1")
SAID: dict[str, tuple[Any, bool]] = {
    "a user": (("user", "Where is it?"), True),
    "an answer": (("assistant", "There."), False),
    "a system": (("system", "Be brief."), False),
    "a call": (Message("assistant", (Text("Let me look."), CALL)), True),
    "a result": (Message("tool", "{}", tool_call_id="c-1"), True),
    "a result of a user": (Message("user", (ToolResult("c-1", "{}"),)), True),
    "a call with its result": (
        Message("assistant", (CALL, ToolResult("c-1", "{}"), Text("There."))),
        False,
    ),
    "a call that nobody could answer": (
        Message("assistant", (ToolCall("find_order"), Text("Hm."))),
        True,
    ),
    "something that happened": (
        Message("user", "fire", native={"onrecord.memory": {"event": "alarm", "as": "text"}}),
        True,
    ),
    "an observation": (
        Message("user", "rain", native={"onrecord.memory": {"episode": "observation", "of": 1}}),
        False,
    ),
    "the end of an action": (
        Message("tool", "{}", native={"onrecord.memory": {"episode": "action", "part": 2}}),
        False,
    ),
    "another": (("narrator", "Meanwhile"), False),
}


@pytest.fixture
def store(each_store: Stores) -> Store:
    return each_store()


def keys(found: list[Unfinished]) -> list[str]:
    return [one.info.key for one in found]


@pytest.mark.parametrize("what", SAID)
def test_what_waits(store: Store, what: str) -> None:
    message, waits = SAID[what]
    session = store.session("s")
    session.append(("user", "Hello"))
    [said] = session.append(message)
    assert said.waits is waits
    assert session.info().open is waits
    assert keys(store.unfinished()) == (["s"] if waits else [])


def test_nothing_is_unfinished_in_the_beginning(store: Store) -> None:
    assert store.unfinished() == []
    session = store.session("s")
    assert not session.info().open
    session.update(title="About nothing")
    assert not session.info().open
    assert store.unfinished() == []


def test_welcome(store: Store) -> None:
    session = store.session("s", user="ada")
    session.append([("user", "Please {last} send\n  the books."), Message("assistant", (CALL,))])
    [one] = store.unfinished(user="ada")
    assert one.welcome == (
        "Welcome back. You left off at: “Please {last} send the books.”. Continue?"
    )
    assert one.dangling == (CALL,)
    assert one.last is not None
    assert one.since == one.last.created_at
    assert one.last.tool_calls == (CALL,)
    assert not one.left
    assert one.session.name == session.name
    assert repr(one) == "Unfinished('s', 'Please {last} send the books.', dangling=1)"
    [german] = store.unfinished(user="ada", welcome="Weiter mit {last}, {name}?")
    assert german.welcome == "Weiter mit Please {last} send the books., {name}?"
    one.session.append(Message("tool", "{}", tool_call_id="c-1"))
    assert store.unfinished(user="ada")[0].dangling == ()
    one.session.append(("user", "x" * 1_000))
    assert len(store.unfinished(user="ada")[0].said) == LONGEST


def test_a_greeting_says_what_was_said_and_not_what_happened(store: Store) -> None:
    alarm = Message("user", "fire", native={"onrecord.memory": {"event": "alarm", "as": "text"}})
    store.session("a").append([("user", "Hello"), ("assistant", "Hi."), alarm])
    store.session("b").append([("assistant", "Hi."), alarm])
    store.session("c").append(alarm)
    said = {one.info.key: one.said for one in store.unfinished()}
    assert said == {"a": "Hello", "b": "Hi.", "c": "fire"}


def test_what_is_said_where_no_user_spoke(store: Store) -> None:
    store.session("a").append(Message("assistant", (CALL,)))
    store.session("b").append(Message("tool", "42", tool_call_id="x"))
    store.session("c").append(Message("user", ()))
    assert {one.info.key: one.said for one in store.unfinished()} == {
        "a": "find_order",
        "b": "42",
        "c": "the beginning",
    }


def test_scopes_are_walls(store: Store) -> None:
    for user in ("ada", "bob"):
        store.session("s", user=user, tenant="t").append(("user", f"I am {user}."))
    assert store.unfinished() == []
    assert [one.info.user for one in store.unfinished(user="ada", tenant="t")] == ["ada"]
    assert len(store.unfinished(user=ANY, tenant="t")) == 2
    assert store.unfinished(user=ANY, tenant="u") == []
    assert len(store.unfinished(user=ANY, tenant=ANY, agent=ANY)) == 2


def test_pages(store: Store) -> None:
    for n in range(7):
        store.session(f"s{n}").append(("user", "Hello"))
    listed = keys(store.unfinished())
    assert sorted(listed) == [f"s{n}" for n in range(7)]
    page, paged = store.unfinished(limit=3), list[str]()
    while page:
        paged += keys(page)
        page = store.unfinished(limit=3, after=page[-1])
    assert paged == listed
    assert store.unfinished(limit=0) == []


def test_whoever_is_at_it_is_left_alone(store: Store) -> None:
    session = store.session("s")
    with session.turn() as turn:
        turn.append(("user", "Hello"))
        assert session.info().open
        assert store.unfinished() == []
        turn.append(("assistant", "Hello"))
        assert session.info().open, "its turn goes on"
    assert not session.info().open
    session.append(("user", "And now?"))
    assert store.unfinished(quiet_for=3600) == []
    assert keys(store.unfinished(quiet_for=0)) == ["s"]


def test_a_turn_that_was_left(store: Store) -> None:
    session = store.session("s")
    session.append([("user", "Hello"), ("assistant", "Hello")])
    Holder("sessions", session.name, wait=0, lease=SHORTEST).take(session._run)
    while not (found := store.unfinished()):
        pass  # till the lease is over, by the clock of the database
    assert found[0].left
    assert repr(found[0]) == "Unfinished('s', 'Hello', a turn was left)"
    with session.turn():
        pass
    assert store.unfinished() == []
    empty = store.session("empty")
    Holder("sessions", empty.name, wait=0, lease=SHORTEST).take(empty._run)
    while not (found := store.unfinished()):
        pass
    assert found[0].last is None
    assert found[0].said == "the beginning"
    assert found[0].since == found[0].info.last_active


def test_async(store: Store) -> None:
    async def asked() -> None:
        await store.session("s").aappend(("user", "Hello"))
        assert await store.aunfinished() == store.unfinished()
        await store.aclose()

    asyncio.run(asked())


@pytest.mark.parametrize(
    "wrong",
    [
        {"quiet_for": -1},
        {"quiet_for": "long"},
        {"limit": -1},
        {"limit": 2.5},
        {"after": "s"},
        {"welcome": 5},
        {"user": 5},
    ],
    ids=str,
)
def test_what_cannot_be_asked(store: Store, wrong: dict[str, Any]) -> None:
    with pytest.raises((OnrecordError, TypeError)):
        store.unfinished(**wrong)


def test_a_damaged_message_does_not_hide_the_others(tmp_path: Path) -> None:
    with Store(tmp_path / "s.db") as store:
        store.session("well").append(("user", "Hello"))
        store.session("damaged").append(("user", "Hello"))
        store._ledger.write(
            lambda txn: txn.run(
                "UPDATE {tail} SET frame = :frame WHERE place >> 32 = "
                "(SELECT id FROM {sessions} WHERE key = 'damaged')",
                {"frame": b"nonsense"},
            )
        )
    with Store(tmp_path / "s.db") as store:
        assert "well" in keys(store.unfinished())
        store.session("damaged").rewind(1)
        assert not store.session("damaged").info().open


def test_what_is_damaged_ends_no_page(each_store: Stores) -> None:
    store = each_store()
    for n in range(4):
        store.session(f"s{n}").append(("user", "Hello"))
    change = "UPDATE {sessions} SET head = -5 WHERE key = 's2'"
    store._ledger.write(lambda txn: txn.run(change))
    assert keys(store.unfinished(limit=3)) == ["s3", "s1", "s0"]


DAMAGED = {
    "waits = 0": "waits is 0",
    "maybe_open = 0": "unfinished\\(\\) misses it",
    "held_until = 5": "nobody holds it",
    "holder = identity": "its held_until is None",
    f"holder = identity, held_until = {2**62}": f"held_until is {2**62}",
}


@pytest.mark.parametrize("change", DAMAGED)
def test_what_says_that_it_waits_is_verified(each_store: Stores, change: str) -> None:
    """And a lease that is damaged keeps nobody off."""
    store = each_store()
    session = store.session("s")
    session.append([("assistant", "Hello"), ("user", "Hello")])
    assert store.verify() == []
    store._ledger.write(lambda txn: txn.run(f"UPDATE {{sessions}} SET {change}"))
    [problem] = store.verify()
    assert re.search(DAMAGED[change], problem.what)
    if "holder" in change:
        assert keys(store.unfinished()) == ["s"]
    with session.turn() as turn:
        turn.append(("user", "Are you there?"))
    assert keys(store.unfinished()) == ["s"]
    assert store.verify() == []


def test_what_was_written_by_a_clock_that_was_ahead(
    each_store: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits now, and not only when the other clocks have come so far."""
    store = each_store()
    for key, ahead in (("little", 20), ("much", 600)):
        with monkeypatch.context() as patch:
            patch.setattr(append, "now", lambda ahead=ahead: clock.now() + ahead * 1_000_000)
            store.session(key).append(("user", "Hello"))
    assert keys(store.unfinished()) == ["much", "little"]
    assert keys(store.unfinished(quiet_for=5)) == ["much"]  # the other may be spoken to just now


def test_histories(each_store: Stores, tmp_path: Path) -> None:
    """After whatever happens to sessions, those are listed whose newest message waits."""
    for seed in range(10):
        rng = random.Random(seed)
        store = each_store()
        tenant = f"t{seed}"
        sessions = [store.session(f"s{n}", tenant=tenant) for n in range(4)]
        for step in range(30):
            happens(rng, store, sessions, tmp_path / f"{seed}-{step}.jsonl")
            waiting = {s.name.key for s in sessions if (said := s.tail(1)) and said[-1].waits}
            found = store.unfinished(tenant=tenant)
            assert set(keys(found)) == waiting, (seed, step)
            assert {s.name.key for s in sessions if s.info().open} == waiting, (seed, step)
            for one in found:
                assert one.last == one.session.tail(1)[-1]
        store.prune()
        assert set(keys(store.unfinished(tenant=tenant))) == waiting
        store.close()


def happens(rng: random.Random, store: Store, sessions: list[Session], file: Path) -> None:
    session = rng.choice(sessions)
    head = session.head()
    said = [rng.choice(list(SAID.values()))[0] for _ in range(rng.randint(1, 3))]
    match rng.choice(["append"] * 4 + ["edit", "delete", "rewind", "replace", "more"]):
        case "append":
            session.append(said, archived=rng.random() < 0.2)
        case "edit" if session.count():
            session.edit(session.tail(1)[-1].seq or 0, said[0])
        case "delete" if session.count():
            session.delete(session.tail(1)[-1].seq or 0)
        case "rewind":
            session.rewind(rng.randint(0, head))
        case "replace":
            session.replace(said[1:], after=rng.randint(0, head), archived=rng.choice([None, True]))
        case "more":
            match rng.randint(0, 6):
                case 0:
                    session.pop(2)
                case 1:
                    session.archive(range(1, head + 1))
                case 2:
                    session.erase(thorough=False)
                case 3:
                    session.export(file)
                    session.erase(thorough=False)
                    store.import_(file)
                case 4:
                    for other in sessions:
                        if not other.head():
                            other.erase(thorough=False)
                            session.fork(other.name.key)
                            break
                case 5:
                    with session.turn() as turn:
                        turn.append(said)
                case 6:
                    store.compact()
        case _:
            pass


def test_only_what_may_be_open_is_looked_at(each_store: Stores) -> None:
    """What was answered in the period in which it was asked stays listed for a while."""
    store = each_store()
    for n in range(5):
        session = store.session(f"s{n}")
        session.append(("user", "Hello"))
        session.append(("assistant", "Hello"))
    count = "SELECT count(*) FROM {sessions} WHERE maybe_open = 1"
    assert store.unfinished() == []
    store.prune()
    assert store._ledger.read(lambda txn: txn.first(count, {})) == (0,)


def test_who_prunes_waits_for_nobody(kept_postgres_url: str) -> None:
    """Of two who hold each a session that the other wants, one is given up: so prune() wants none
    that is held."""
    count = "SELECT count(*) FROM {sessions} WHERE maybe_open = 1"
    url = kept_postgres_url
    with Store(url, timeout=0.5) as store, psycopg.connect(url) as other:
        for n in range(3):
            store.session(f"s{n}").append([("user", "Hello"), ("assistant", "Hello")])
        store._ledger.write(lambda txn: txn.run("UPDATE {sessions} SET maybe_open = 1"))
        other.execute("SELECT 1 FROM onrecord_sessions WHERE key = 's1' FOR UPDATE")
        store.prune()
        assert store._ledger.read(lambda txn: txn.first(count, {})) == (1,)
        other.rollback()
        store.prune()
        assert store._ledger.read(lambda txn: txn.first(count, {})) == (0,)


def test_misconfigured_words(store: Store) -> None:
    with pytest.raises(Misconfigured, match="welcome"):
        store.unfinished(welcome="")
