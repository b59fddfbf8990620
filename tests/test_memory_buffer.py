"""The buffer memory: what the origins' examples do with it, what others see, what a kill loses.

ONRECORD_SEEDS=10 kills ten times as many processes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onrecord import (
    IdReused,
    InvalidMessage,
    InvalidName,
    Message,
    Misconfigured,
    OnrecordError,
    Session,
    Store,
    StoreClosed,
    Text,
    ToolCall,
    Unavailable,
)
from onrecord.accepting import messages_from
from onrecord.memory.buffer import PersistentBufferMemory
from onrecord.memory.gate import Gate
from onrecord.memory.history import History, newest, own
from onrecord.memory.unsaved import AT_ONCE
from onrecord.testing.contract import STRANGE_NAMES, Face
from onrecord.window import pair
from tests.blocking import noted
from tests.children import Child

SEEDS = float(os.environ.get("ONRECORD_SEEDS", "1"))
OpenStore = Callable[..., Store]


@pytest.fixture(params=["sqlite", "sqlite with redis", "postgresql", "postgresql with redis"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OpenStore]:
    """Opens a store, and the same one again: on each database, with a cache and without."""
    settings: dict[str, Any] = {"durability": "normal"}
    url = f"sqlite:///{tmp_path / 'store.db'}"
    if request.param.startswith("postgresql"):
        url, settings = request.getfixturevalue("kept_postgres_url"), {"pool_size": 4}
    if request.param.endswith("redis"):
        settings["cache"] = request.getfixturevalue("redis_server").url
    with contextlib.ExitStack() as stack:
        yield lambda **more: stack.enter_context(Store(url, **{**settings, **more}))


@pytest.fixture
def db(open_store: OpenStore) -> Store:
    return open_store()


@pytest.fixture
def lite(tmp_path: Path) -> Iterator[Store]:
    with Store(f"sqlite:///{tmp_path / 'lite.db'}", durability="normal") as store:
        yield store


def said(messages: Sequence[Message]) -> list[str]:
    return [message.text for message in messages]


def stored(memory: PersistentBufferMemory) -> list[str]:
    return said(memory.session.messages())


def talk_to(memory: Any, *texts: str) -> None:
    for text in texts:
        memory.add_message("user", text)


# What the origins' examples do


def test_the_basic_example(db: Store) -> None:
    memory = PersistentBufferMemory(
        db,
        agent_id="agent_001",
        buffer_size=100,
        auto_persist_interval=10,
        enable_compression=True,
    )
    memory.add_message(role="user", content="What is AI?")
    memory.add_message(role="assistant", content="AI is artificial intelligence...")
    history = memory.get_history(limit=10)
    assert [(m["role"], m["content"]) for m in history] == [
        ("user", "What is AI?"),
        ("assistant", "AI is artificial intelligence..."),
    ]
    memory.persist()
    memory_loaded = PersistentBufferMemory(db, agent_id="agent_001")
    memory_loaded.load_from_db()
    assert memory_loaded.get_history() == memory.get_history()
    assert f"{history}" == "user: What is AI?\nassistant: AI is artificial intelligence..."


def test_the_examples_of_advanced_operations(db: Store, face: Face) -> None:
    memory = face(PersistentBufferMemory(db, agent_id="agent_001", auto_persist_interval=None))
    memory.add_message(role="user", content="Question 1")
    memory.add_message(role="assistant", content="Answer 1")
    memory.add_message(role="user", content="Question 2")
    assert db.session("main", agent="agent_001").messages() == []
    memory.persist()
    memory.clear_buffer()
    assert memory.get_history() == []
    memory.load_from_db()
    assert said(memory.get_history()) == ["Question 1", "Answer 1", "Question 2"]
    memory.delete_history()
    assert memory.get_history() == []
    memory.load_from_db()
    assert memory.get_history() == []
    assert db.session("main", agent="agent_001").messages() == []


def test_agents_are_isolated_and_share_by_id(db: Store) -> None:
    memory1 = PersistentBufferMemory(db, agent_id="agent_001")
    memory1.add_message(role="user", content="Hello from agent 1")
    memory2 = PersistentBufferMemory(db, agent_id="agent_002")
    memory2.add_message(role="user", content="Hello from agent 2")
    assert said(memory1.get_history()) == ["Hello from agent 1"]
    assert said(memory2.get_history()) == ["Hello from agent 2"]
    for memory in (memory1, memory2):
        memory.persist()
    supervisor = PersistentBufferMemory(db, agent_id="agent_001")
    assert said(supervisor.get_history()) == ["Hello from agent 1"]
    other = PersistentBufferMemory(db, agent_id="agent_001", tenant="acme")
    assert other.get_history() == []


class SimpleQAAgent:
    """What the origin's example subclasses, without a model."""

    agent_id = "qa"

    def __init__(self, config: Any) -> None:
        self.config = config

    def run(self, question: str, context: Any) -> dict[str, str]:
        return {"answer": f"{len(context)} messages lead to: {context[-1]['content']}"}


class ConversationalAgent(SimpleQAAgent):
    def __init__(self, config: Any, db: Store) -> None:
        super().__init__(config)
        self.memory = PersistentBufferMemory(
            db, agent_id=self.agent_id, buffer_size=50, auto_persist_interval=5
        )
        self.memory.load_from_db()

    def ask(self, question: str) -> dict[str, str]:
        self.memory.add_message(role="user", content=question)
        history = self.memory.get_history(limit=10)
        result = self.run(question=question, context=history)
        self.memory.add_message(role="assistant", content=result["answer"])
        return result


def test_the_conversational_agent_goes_on_where_it_was(open_store: OpenStore) -> None:
    agent = ConversationalAgent({}, open_store())
    agent.ask("What is AI?")
    assert agent.ask("Can you elaborate?") == {"answer": "3 messages lead to: Can you elaborate?"}
    agent.memory.close()
    agent2 = ConversationalAgent({}, open_store())
    answer = agent2.ask("What did we discuss?")
    assert answer == {"answer": "5 messages lead to: What did we discuss?"}
    for n in range(10):
        answer = agent2.ask(f"And {n}?")
    assert answer == {"answer": "10 messages lead to: And 9?"}
    agent2.memory.close()


def test_the_support_agent_of_three_days(open_store: OpenStore, face: Face) -> None:
    days = [
        [("I can't login", False)] * 3,
        [("Did you send it?", True)] * 2,
        [("Thanks", True)] * 2,
    ]
    total = 0
    for n, turns in enumerate(days):
        backend = open_store()
        with PersistentBufferMemory(backend, max_turns=50, cache_ttl_seconds=1800) as memory:
            shown = face(memory)
            context = shown.load_context("customer_alice")
            assert (len(context["turns"]), context["turn_count"]) == (total, total)
            for m, (question, resolved) in enumerate(turns):
                turn = {
                    "user": f"{question} {n}.{m}",
                    "agent": "Let me help.",
                    "timestamp": f"2026-03-0{n + 1}T10:00:00+00:00",
                    "metadata": {"confidence": 0.85, "resolved": resolved},
                }
                shown.save_turn("customer_alice", turn)
                total += 1
                assert shown.load_context("customer_alice")["turns"][-1] == turn
            assert shown.load_context("customer_bob") == {"turns": [], "turn_count": 0}
        backend.close()
    memory = PersistentBufferMemory(open_store(), max_turns=4)
    context = memory.load_context("customer_alice")
    assert [turn["user"] for turn in context["turns"]] == [
        "Did you send it? 1.0",
        "Did you send it? 1.1",
        "Thanks 2.0",
        "Thanks 2.1",
    ]
    assert context["turn_count"] == 7
    memory.delete_history("customer_alice")
    assert memory.load_context("customer_alice") == {"turns": [], "turn_count": 0}


# What is stored, and when


@pytest.mark.parametrize("every", [1, 3, None])
def test_so_many_messages_are_stored_at_once(db: Store, face: Face, every: int | None) -> None:
    memory = PersistentBufferMemory(db, agent_id="a", auto_persist_interval=every)
    for n in range(1, 11):
        added = face(memory).add_message("user", f"{n}", metadata={"n": [n]})
        done = 0 if every is None else n - n % every
        assert stored(memory) == [f"{one}" for one in range(1, done + 1)]
        assert (added.seq is not None) == (done == n)
        assert said(face(memory).get_history()) == [f"{one}" for one in range(1, n + 1)]
    assert face(memory).persist() == (0 if every == 1 else 1 if every else 10)
    assert face(memory).persist() == 0
    assert stored(memory) == [f"{one}" for one in range(1, 11)]
    shown = face(memory).get_history()
    assert shown == memory.session.messages()
    assert shown[-1].id == added.id
    assert shown[-1].metadata == {"n": [10]}


def test_two_processes_see_what_the_other_has_stored(open_store: OpenStore) -> None:
    """Each says something when it sees what the other has said."""
    open_store().session("main", agent="a").append(("user", "0"))

    def answer(mine: int) -> list[str]:
        with (
            open_store() as store,
            PersistentBufferMemory(store, agent_id="a", auto_persist_interval=1) as memory,
        ):
            for n in range(mine, 21, 2):
                while said(memory.get_history())[-1] != f"{n - 1}":
                    pass
                talk_to(memory, f"{n}")
            return said(memory.get_history())

    children = [Child(lambda: answer(1)), Child(lambda: answer(2))]
    for child in children:
        assert child.result()[:20] == [f"{n}" for n in range(20)]


def test_what_cannot_be_stored_now_is_stored_later(
    db: Store, face: Face, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = PersistentBufferMemory(db, agent_id="a", auto_persist_interval=2)
    shown = face(memory)
    shown.add_message("user", "1")
    with monkeypatch.context() as patch:
        fail_appends(patch, Unavailable("no answer"))
        for text in ("2", "3"):
            with pytest.raises(Unavailable) as caught:
                shown.add_message("user", text)
            assert "Do not add them again" in "".join(caught.value.__notes__)
        with pytest.raises(Unavailable):
            shown.persist()
        with pytest.raises(Unavailable):
            shown.clear_buffer()
        with pytest.raises(Unavailable):
            memory.close()
        assert said(shown.get_history()) == ["1", "2", "3"]
        assert "3 not stored yet" in repr(memory)
    assert stored(memory) == []
    shown.add_message("user", "4")
    assert stored(memory) == ["1", "2", "3", "4"]
    memory.close()


def fail_appends(patch: pytest.MonkeyPatch, fault: BaseException, committed: bool = False) -> None:
    append, aappend = Session.append, Session.aappend

    def lost(self: Session, *given: Any, **settings: Any) -> Any:
        if committed:
            append(self, *given, **settings)
        raise fault

    async def alost(self: Session, *given: Any, **settings: Any) -> Any:
        if committed:
            await aappend(self, *given, **settings)
        raise fault

    patch.setattr(Session, "append", lost)
    patch.setattr(Session, "aappend", alost)


@pytest.mark.parametrize(
    "fault", [Unavailable("lost", outcome_unknown=True), asyncio.CancelledError()]
)
def test_a_lost_answer_stores_nothing_twice(
    lite: Store, face: Face, monkeypatch: pytest.MonkeyPatch, fault: BaseException
) -> None:
    """Also where others have said so much since that no append knows the ids any more."""
    memory = PersistentBufferMemory(lite, agent_id="a", auto_persist_interval=None)
    talk_to(memory, *[f"{n}" for n in range(AT_ONCE + 20)])
    with monkeypatch.context() as patch:
        fail_appends(patch, fault, committed=True)
        with pytest.raises(type(fault)):
            face(memory).persist()
    assert len(stored(memory)) == AT_ONCE
    talk_to(memory, "last")
    for _ in range(3):
        memory.session.append([("user", "another's")] * 500)
    face(memory).persist()
    mine = [text for text in stored(memory) if text != "another's"]
    assert mine == [*[f"{n}" for n in range(AT_ONCE + 20)], "last"]


LOST = [Unavailable("lost", outcome_unknown=True), asyncio.CancelledError()]


@pytest.mark.parametrize("session", ["main", "another"])
@pytest.mark.parametrize("committed", [True, False])
@pytest.mark.parametrize("fault", LOST)
def test_a_turn_saved_again_after_a_lost_answer_stands_there_once(
    lite: Store,
    face: Face,
    monkeypatch: pytest.MonkeyPatch,
    fault: BaseException,
    committed: bool,
    session: str,
) -> None:
    memory = PersistentBufferMemory(lite, agent_id="a")
    chat = lite.session(session, agent="a")
    turn = {"user": "Where is it?", "agent": "Here.", "metadata": {"ticket_id": "T-1"}}
    with monkeypatch.context() as patch:
        fail_appends(patch, fault, committed=committed)
        for given in (turn, {**turn, "agent": "There."}):
            with pytest.raises(type(fault)):
                face(memory).save_turn(session, given)
    for _ in range(3):
        chat.append([("user", "another's")] * 500)
    first, second = face(memory).save_turn(session, dict(turn))
    assert (first.text, second.text) == ("Where is it?", "Here.")
    mine = [message for message in chat.messages() if message.text != "another's"]
    there = ["Where is it?", "Here.", "Where is it?", "There."]
    assert [message.text for message in mine] == (there if committed else there[:2])
    assert [first, second] == mine[:2]

    face(memory).save_turn(session, turn)
    assert chat.messages()[-2].seq != first.seq, "said again, and no answer was lost"


def test_an_equal_turn_that_is_saved_meanwhile_is_another(
    lite: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what ended without an answer may be there already."""
    memory = PersistentBufferMemory(lite, agent_id="a")
    turn = {"user": "Hi.", "agent": "Hello."}
    append, meanwhile = Session.append, [turn, turn]

    def slow(session: Session, *given: Any, **options: Any) -> Any:
        if meanwhile:
            memory.save_turn("another", meanwhile.pop())
        return append(session, *given, **options)

    monkeypatch.setattr(Session, "append", slow)
    places = [message.seq for message in memory.save_turn("another", turn)]
    assert lite.session("another", agent="a").count() == 6
    assert places == [5, 6]


def test_who_says_the_same_long_after_means_it(
    lite: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = PersistentBufferMemory(lite, agent_id="a")
    turn = {"user": "yes", "agent": "ok"}
    with monkeypatch.context() as patch:
        fail_appends(patch, LOST[0], committed=True)
        with pytest.raises(Unavailable):
            memory.save_turn("another", turn)
    monkeypatch.setattr("onrecord.memory.doubt._REMEMBERED_FOR", -1.0)
    memory.save_turn("another", turn)
    assert lite.session("another", agent="a").count() == 4


def test_a_turn_that_was_refused_is_not_in_doubt(
    lite: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = PersistentBufferMemory(lite, agent_id="a")
    with monkeypatch.context() as patch:
        fail_appends(patch, Unavailable("The disk is full."))
        with pytest.raises(Unavailable):
            memory.save_turn("main", {"user": "1", "agent": "2"})
    assert memory._turns._batches == []
    assert memory._turns._ids == set()


def test_what_never_can_be_stored_holds_nothing_up(lite: Store, face: Face) -> None:
    lite.session("main", agent="a").append(Message("user", "there", id="x"))
    memory = PersistentBufferMemory(lite, agent_id="a", auto_persist_interval=None)
    memory.add_message("user", "1")
    memory.add_message("user", "2", id="x")
    memory.add_message("user", "3", id="y")
    assert memory.add_message("user", "3", id="y").id == "y"
    with pytest.raises(IdReused, match="'y' is not stored yet"):
        memory.add_message("user", "another", id="y")
    with pytest.raises(IdReused, match="'x'"):
        face(memory).persist()
    assert stored(memory) == ["there", "1", "3"]
    assert memory.persist() == 0


def test_an_id_makes_adding_safe_to_repeat(lite: Store) -> None:
    memory = PersistentBufferMemory(lite, agent_id="a", auto_persist_interval=2)
    for _ in range(3):
        memory.add_message("user", "1", id="one")
    memory.add_message("user", "2")
    memory.add_message("user", "1", id="one")
    memory.persist()
    assert stored(memory) == ["1", "2"]


# What is shown


def test_a_buffer_and_more(db: Store, face: Face) -> None:
    memory = PersistentBufferMemory(db, agent_id="a", buffer_size=100, auto_persist_interval=None)
    memory.session.append([("user" if n % 2 else "assistant", f"{n}") for n in range(600)])
    talk_to(memory, "600", "601")
    everything = [f"{n}" for n in range(602)]
    shown = face(memory)
    assert said(shown.get_history()) == everything[-100:]
    for limit in (0, 1, 2, 3, 17, 99, 100, 101, 500, 601, 602, 10_000, 2**70):
        assert said(shown.get_history(limit)) == (everything[-limit:] if limit else []), limit
    turns = PersistentBufferMemory(db, agent_id="a", buffer_size=100, max_turns=3)
    assert said(face(turns).get_history()) == everything[595:600]
    assert said(face(turns).get_history(limit=20)) == everything[580:600]
    few = PersistentBufferMemory(db, agent_id="a", buffer_size=3, max_turns=50)
    assert said(few.get_history()) == everything[597:600]
    memory.delete_history()


def test_more_waits_than_the_buffer_holds(lite: Store) -> None:
    memory = PersistentBufferMemory(lite, agent_id="a", buffer_size=5, auto_persist_interval=None)
    talk_to(memory, *[f"{n}" for n in range(300)])
    assert said(memory.get_history()) == [f"{n}" for n in range(295, 300)]
    assert len(memory.get_history(limit=300)) == 300
    assert memory.persist() == 300
    assert stored(memory) == [f"{n}" for n in range(300)]


def test_a_cleared_buffer_shows_what_was_added_since(db: Store, face: Face) -> None:
    memory = PersistentBufferMemory(db, agent_id="a", auto_persist_interval=2)
    shown = face(memory)
    talk_to(memory, "1", "2", "3")
    shown.clear_buffer()
    assert stored(memory) == ["1", "2", "3"], "nothing is lost by it"
    assert shown.get_history() == shown.get_history(limit=500) == []
    talk_to(memory, "4", "5", "6")
    assert said(shown.get_history()) == ["4", "5", "6"]
    assert said(shown.get_history(limit=2)) == ["5", "6"]
    assert shown.load_from_db() == 6
    assert said(shown.get_history()) == ["1", "2", "3", "4", "5", "6"]
    memory.close()


kinds = st.sampled_from("uuaaacrt")


def conversation(pattern: str) -> list[Message]:
    """u a user, a an answer, c a call of two tools, r a result of the oldest open call."""
    messages: list[Message] = []
    waiting: list[str] = []
    for n, kind in enumerate(pattern):
        if kind == "c":
            waiting += [f"{n}a", f"{n}b"]
            messages.append(Message("assistant", [ToolCall("f", {}, id) for id in waiting[-2:]]))
        elif kind in "rt" and waiting:
            messages.append(Message("tool", f"{n}", tool_call_id=waiting.pop(0)))
        else:
            messages.append(Message("user" if kind == "u" else "assistant", f"{n}"))
    return messages


@given(st.lists(kinds, max_size=30).map("".join), st.integers(1, 31), st.none() | st.integers(1, 9))
def test_no_call_is_parted_from_its_results(pattern: str, most: int, turns: int | None) -> None:
    messages = conversation(pattern)
    shown = newest(messages, most, turns)
    start = len(messages) - len(shown)
    assert list(shown) == messages[start:]
    matched = pair(messages).matched
    assert not [call for call, result in matched if call < start <= result]
    if messages:
        assert shown
    if not matched and turns is None:
        assert len(shown) == min(most, len(messages))
    opened = sum(message.opens_turn for message in shown)
    if len(shown) > most or (turns is not None and opened > turns):
        # Nothing shorter begins between a call and its result; of "cuur" not even the last turn.
        behind = range(start + 1, len(messages))
        assert all(any(call < i <= result for call, result in matched) for i in behind)


def test_a_call_beyond_what_is_close_at_hand_is_found(db: Store, face: Face) -> None:
    """Its result is the first of the buffer, and begins no history."""
    chat = db.session("main", agent="a")
    chat.append(("user", "question"))
    chat.append(Message("assistant", [ToolCall("look", {}, "c1")]))
    chat.append([("assistant", f"{n}") for n in range(150)])
    chat.append(Message("tool", "late", tool_call_id="c1"))
    chat.append([("assistant", "end"), ("user", "next")])
    memory = face(PersistentBufferMemory(db, agent_id="a"))
    assert said(memory.get_history(limit=3)) == ["end", "next"]
    assert said(memory.get_history(limit=2)) == ["end", "next"]
    assert len(memory.get_history(limit=154)) == 154


def test_what_is_handed_out_is_the_readers_own(lite: Store) -> None:
    memory = PersistentBufferMemory(lite, agent_id="a", auto_persist_interval=None)
    inside = {"list": [1], "set": {1}}
    call = ToolCall("f", {"x": [1]}, "c")
    memory.add_message("user", "hello", metadata=inside)
    memory.add_message("assistant", [Text("plain", {"e": [1]}), call], native={"n": {"a": [1]}})
    inside["list"].append(2)  # type: ignore[attr-defined]
    for _ in range(2):
        before = repr(memory.get_history())
        assert "2" not in repr(memory.get_history()[0].metadata)
        one, two = memory.get_history()
        one.metadata["list"].append(9)
        one.metadata["set"].add(9)
        two.tool_calls[0].args["x"].append(9)
        two.native["n"]["a"].append(9)
        two.content[0].extra["e"].append(9)  # type: ignore[union-attr]
        memory.get_history().clear()
        assert repr(memory.get_history()) == before
        memory.persist()
        memory.get_history()
    assert own(two) == two


def test_the_buffer_is_read_anew_after_a_while(
    lite: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr("onrecord.memory.buffer.monotonic", lambda: now[0])
    asked: list[bool] = []
    window = Session.window

    def noted(self: Session, **settings: Any) -> Any:
        asked.append(settings["last"] is not None)
        return window(self, **settings)

    monkeypatch.setattr(Session, "window", noted)
    memory = PersistentBufferMemory(lite, agent_id="a", ttl=60)
    for pause in (0, 1, 60, 61, 1):
        now[0] += pause
        memory.get_history()
    assert asked == [False, True, True, False, True]
    asked.clear()
    for pause in (0, 60, 61):
        now[0] += pause
        memory.load_context("c")
    assert asked == [False, True, False]


def test_history_is_for_prompts_and_for_models() -> None:
    history = History(
        [
            Message("user", "Hi", name="ada", metadata={"n": 1}),
            Message("assistant", [Text("One moment."), ToolCall("look", {"n": 1}, "c1")]),
            Message("tool", "found", tool_call_id="c1"),
        ]
    )
    assert str(history).splitlines() == [
        "ada (user): Hi",
        "assistant: One moment.",
        "  called look(n=1)",
        "  result: found",
    ]
    assert history.dicts() == [
        {"role": "user", "content": "Hi", "name": "ada"},
        {
            "role": "assistant",
            "content": "One moment.",
            "tool_calls": [
                {
                    "id": "c1",
                    "type": "function",
                    "function": {"name": "look", "arguments": '{"n":1}'},
                }
            ],
        },
        {"role": "tool", "content": "found", "tool_call_id": "c1"},
    ]
    assert [message.content for message in messages_from(history.dicts())] == [
        message.content for message in history
    ]
    assert str(History()) == ""


# Turns


def test_a_turn_beside_what_waits(db: Store, face: Face) -> None:
    """In the memory's own conversation what was added before comes before it."""
    memory = PersistentBufferMemory(db, agent_id="a", auto_persist_interval=None)
    talk_to(memory, "waiting")
    face(memory).save_turn("main", {"user": "and", "agent": "then"})
    assert stored(memory) == ["waiting", "and", "then"]
    talk_to(memory, "open")
    context = face(memory).load_context("main")
    assert [(turn["user"], turn["agent"]) for turn in context["turns"]] == [
        ("waiting", ""),
        ("and", "then"),
        ("open", ""),
    ]
    assert context["turn_count"] == 3
    memory.clear_buffer()
    face(memory).save_turn("main", {"user": "since", "agent": "cleared"})
    assert said(memory.get_history()) == ["since", "cleared"]


def test_a_turn_with_tools_that_another_has_stored(lite: Store) -> None:
    lite.session("c", agent="a").append(
        [
            Message("system", "Be kind."),
            Message("assistant", "Hello!"),
            Message("user", "How late is it?"),
            Message("assistant", [Text("Let me look."), ToolCall("clock", {}, "1")]),
            Message("tool", "10:00", tool_call_id="1"),
            Message("assistant", "Ten.", metadata={"confidence": 1}),
        ]
    )
    context = PersistentBufferMemory(lite, agent_id="a").load_context("c")
    assert [(turn["user"], turn["agent"], turn["metadata"]) for turn in context["turns"]] == [
        ("", "Hello!", {}),
        ("How late is it?", "Let me look.\n\nTen.", {"confidence": 1}),
    ]
    assert context["turn_count"] == 1


def test_turns_are_the_readers_own(lite: Store) -> None:
    memory = PersistentBufferMemory(lite, agent_id="a")
    memory.save_turn("c", {"user": "u", "agent": "a", "metadata": {"tags": ["x"]}})
    for _ in range(2):
        context = memory.load_context("c")
        assert context["turns"][0]["metadata"] == {"tags": ["x"]}
        context["turns"][0]["metadata"]["tags"].append("y")
        context["turns"][0]["user"] = "changed"
        context["turns"].clear()
        memory.load_context("c")["turns"][0]["metadata"]["more"] = 1
    assert memory.load_context("c")["turns"][0]["user"] == "u"


def test_the_time_of_a_turn(lite: Store) -> None:
    memory = PersistentBufferMemory(lite, agent_id="a")
    at = datetime(2026, 3, 1, 10, tzinfo=UTC)
    for given_time in (at, "2026-03-01T10:00:00Z", at.astimezone().replace(tzinfo=None)):
        both = memory.save_turn("c", {"user": "u", "agent": "a", "timestamp": given_time})
        assert [message.created_at for message in both] == [at, at]


# What is refused, before anything is written


def read_nothing(store: Store) -> None:
    assert store.sessions(agent="a") == []


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"buffer_size": 0}, "buffer_size"),
        ({"buffer_size": True}, "buffer_size"),
        ({"buffer_size": 10**6}, "buffer_size"),
        ({"buffer_size": 1.5}, "buffer_size"),
        ({"max_turns": 0}, "max_turns"),
        ({"max_turns": "3"}, "max_turns"),
        ({"auto_persist_interval": 0}, "auto_persist_interval"),
        ({"auto_persist_interval": -1}, "auto_persist_interval"),
        ({"auto_persist_interval": False}, "auto_persist_interval"),
        ({"ttl": -1}, "ttl"),
        ({"ttl": 0}, "ttl has to be seconds from 0.01"),
        ({"cache_ttl_seconds": 0}, "cache_ttl_seconds has to be seconds from 0.01"),
        ({"ttl": float("nan")}, "ttl"),
        ({"ttl": float("inf")}, "ttl"),
        ({"ttl": None}, "ttl"),
        ({"cache_ttl_seconds": "1"}, "cache_ttl_seconds"),
        ({"enable_compression": 1}, "enable_compression"),
        ({"enable_compression": False}, "enable_compression"),
        ({"agent_id": 7}, "agent"),
        ({"agent_id": "a\0b"}, "NUL"),
        ({"session": ""}, "key"),
        ({"user": "x" * 513}, "user"),
        ({"tenant": None}, "tenant"),
    ],
)
def test_settings_that_are_refused(lite: Store, settings: dict[str, Any], word: str) -> None:
    with pytest.raises((Misconfigured, InvalidName), match=word):
        PersistentBufferMemory(lite, **{"agent_id": "a", **settings})


def test_a_store_is_not_contradicted(tmp_path: Path) -> None:
    with Store(f"sqlite:///{tmp_path}/x.db", compression="none") as plain:
        with pytest.raises(Misconfigured, match="enable_compression=False"):
            PersistentBufferMemory(plain, agent_id="a")
        PersistentBufferMemory(plain, agent_id="a", enable_compression=False)
    with pytest.raises(Misconfigured, match="not a int"):
        PersistentBufferMemory(7, agent_id="a")  # type: ignore[arg-type]
    with pytest.raises(Misconfigured, match=r"sqlite:///agents\.db"):
        PersistentBufferMemory("agents.db", agent_id="a")


def test_a_message_that_is_too_large_is_refused(lite: Store) -> None:
    """When it is added: what waits can be stored."""
    memory = PersistentBufferMemory(lite, agent_id="a", auto_persist_interval=2)
    with pytest.raises(InvalidMessage):
        memory.add_message("user", "x" * 70_000_000)
    assert memory.get_history() == []
    assert memory.persist() == 0
    read_nothing(lite)


def test_a_text_in_the_place_of_a_role_is_told(lite: Store) -> None:
    memory = PersistentBufferMemory(lite, agent_id="a")
    with pytest.raises(InvalidMessage, match=r"add_message\(role, content\)"):
        memory.add_message("Where is my order?", "user")
    called = [{"id": "c1", "name": "search", "args": {}}]
    assert memory.add_message("assistant", None, tool_calls=called).text == ""
    assert memory.add_message("tool", None, tool_call_id="c1").text == ""
    assert memory.add_message("user", "").text == ""


def test_messages_that_are_odd_come_back_equal(db: Store, face: Face) -> None:
    memory = PersistentBufferMemory(db, agent_id="a", auto_persist_interval=None)
    odd = ["", "\0", "\x1b[31m", "\ud800", "\u202e", "line\nbreak", "🙂" * 1000]
    for text in odd:
        face(memory).add_message("user", text, metadata={"nan": text, "inf": float("inf")})
    waiting = face(memory).get_history()
    face(memory).persist()
    assert said(waiting) == said(face(memory).get_history()) == odd
    assert [m.metadata for m in waiting] == [m.metadata for m in face(memory).get_history()]


def test_strange_names_are_names(lite: Store) -> None:
    for name in STRANGE_NAMES:
        scope: Any = {"user": name, "tenant": name}
        with PersistentBufferMemory(lite, agent_id=name, session=name, **scope) as memory:
            talk_to(memory, name)
            assert memory.stats().agent_id == name
            assert memory.load_context("another") == {"turns": [], "turn_count": 0}
        assert said(lite.session(name, agent=name, **scope).messages()) == [name]


# Looking after


def test_statistics(db: Store, face: Face) -> None:
    memory = PersistentBufferMemory(db, agent_id="a", buffer_size=4, auto_persist_interval=None)
    memory.session.append([("user", "12345678"), ("assistant", "1234")] * 5)
    talk_to(memory, "12345678")
    for _ in range(2):
        found = face(memory).stats()
        assert found.to_dict() == {
            "agent_id": "a",
            "session": "main",
            "messages": 11,
            "turns": 6,
            "tokens": 61,
            "unsaved": 1,
            "buffered": 4,
            "roles": {"assistant": 5, "user": 6},
        }
    assert str(found) == (
        "11 messages in 6 turns, 61 tokens (assistant 5, user 6); 4 in the buffer, 1 not stored yet"
    )
    memory.session.edit(1, ("system", "be kind"))
    memory.persist()
    memory.session.delete(2)
    assert face(memory).stats().roles == {"assistant": 4, "system": 1, "user": 5}


def test_what_people_see_of_it(lite: Store) -> None:
    memory = PersistentBufferMemory(lite, agent_id="a")
    talk_to(memory, "<b>stored</b>")
    memory.persist()
    talk_to(memory, "waiting")
    assert str(memory) == "user: <b>stored</b>\nuser: waiting"
    assert repr(memory).startswith("PersistentBufferMemory('main', agent='a' in Store('sqlite:")
    assert repr(memory).endswith(", 1 not stored yet)")
    page = memory._repr_html_()
    assert "<b>stored" not in page
    assert "1 not stored yet" in page
    memory.close()


def test_a_notebook_says_how_to_begin_and_shows_what_was_said(lite: Store) -> None:
    memory = PersistentBufferMemory(lite, agent_id="a")
    page = memory._repr_html_()
    assert "memory.add_message(" in page
    assert "session.append" not in page
    assert memory.get_history()._repr_html_() == "<div>No messages.</div>"
    memory.add_message("user", "<b>Hello.</b>", name="Ada")
    assert "Begin with" not in memory._repr_html_()
    assert "1 not stored yet" in memory._repr_html_()
    shown = memory.get_history()._repr_html_()
    assert "<bdi>Ada (user)</bdi>" in shown
    assert "&lt;b&gt;Hello.&lt;/b&gt;" in shown
    stats = memory.stats()
    assert str(stats).startswith("1 message in 1 turn, ")
    assert "<bdi>roles</bdi></td>" in stats._repr_html_()
    assert "<bdi>user 1</bdi>" in stats._repr_html_()
    memory.persist()
    assert "add_message" not in memory._repr_html_()
    lite.close()
    assert "could not be read" in memory._repr_html_()


def test_closing(open_store: OpenStore, face: Face) -> None:
    store = open_store()
    memory = PersistentBufferMemory(store, agent_id="a")
    talk_to(memory, "1")
    for _ in range(2):
        face(memory).close()
    assert stored(memory) == ["1"]
    assert not store.closed
    for name, arguments in (
        ("add_message", ("user", "2")),
        ("get_history", ()),
        ("persist", ()),
        ("clear_buffer", ()),
        ("load_context", ("c",)),
        ("stats", ()),
    ):
        with pytest.raises(StoreClosed, match="memory"):
            getattr(face(memory), name)(*arguments)

    async def used_async() -> None:
        async with PersistentBufferMemory(store, agent_id="a") as memory:
            await memory.aadd_message("user", "2")
            with pytest.raises(ZeroDivisionError):
                await failing()

    async def failing() -> None:
        async with PersistentBufferMemory(store, agent_id="a") as other:
            await other.aadd_message("user", "3")
            raise ZeroDivisionError

    asyncio.run(used_async())
    assert stored(memory) == ["1", "3", "2"]


def test_a_store_that_is_closed_first_stores_what_waits(open_store: OpenStore, face: Face) -> None:
    store = open_store()
    memory = PersistentBufferMemory(store, agent_id="a")
    talk_to(memory, "1", "2")
    talk_to(PersistentBufferMemory(store, agent_id="dropped"), "3")
    face(store).close()
    assert "not stored yet" not in repr(memory)
    with pytest.raises(StoreClosed, match="before its store"):
        memory.add_message("user", "lost")
    for _ in range(2):
        face(memory).close()
        face(store).close()
    again = open_store()
    assert said(again.session("main", agent="a").messages()) == ["1", "2"]
    assert said(again.session("main", agent="dropped").messages()) == ["3"]


def test_what_cannot_be_stored_before_a_store_closes_is_raised(
    lite: Store, face: Face, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = PersistentBufferMemory(lite, agent_id="a")
    other = PersistentBufferMemory(lite, agent_id="b")
    talk_to(memory, "1", "2")
    talk_to(other, "3")
    refused = Unavailable("The disk is full.", outcome_unknown=False)
    append, aappend = Session.append, Session.aappend

    def fails(self: Session, *given: Any, **more: Any) -> Any:
        if self.name.agent == "a":
            raise refused
        return append(self, *given, **more)

    async def afails(self: Session, *given: Any, **more: Any) -> Any:
        if self.name.agent == "a":
            raise refused
        return await aappend(self, *given, **more)

    monkeypatch.setattr(Session, "append", fails)
    monkeypatch.setattr(Session, "aappend", afails)
    with pytest.raises(Unavailable) as raised:
        face(lite).close()
    assert "2 messages of Session('main', agent='a'" in "".join(raised.value.__notes__)
    assert lite.closed
    assert len(other._unsaved) == 0, "what could be stored is stored"
    with pytest.raises(StoreClosed, match="2 messages cannot be stored any more"):
        face(memory).close()
    memory._unsaved._drop(memory._unsaved.messages())


def test_memories_of_one_url_share_a_store(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/shared.db"
    before = len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0
    memories = [PersistentBufferMemory(url, agent_id=f"agent {n}") for n in range(200)]
    for n, memory in enumerate(memories):
        talk_to(memory, f"hello from {n}")
        memory.persist()
        assert said(memory.get_history()) == [f"hello from {n}"]
    if sys.platform == "linux":
        assert len(os.listdir("/proc/self/fd")) - before < 30
    store = memories[0].store
    for memory in memories[1:]:
        memory.close()
        memory.close()
    assert not store.closed
    assert said(memories[0].get_history()) == ["hello from 0"]
    memories[0].close()
    assert store.closed
    with PersistentBufferMemory(url, agent_id="agent 7") as again:
        assert said(again.get_history()) == ["hello from 7"]
    with PersistentBufferMemory("sqlite://") as one, PersistentBufferMemory("sqlite://") as two:
        talk_to(one, "mine")
        one.persist()
        assert two.get_history() == []


# Several at once


def test_threads(db: Store) -> None:
    memory = PersistentBufferMemory(db, agent_id="a", auto_persist_interval=7)
    faults: list[BaseException] = []

    def work(n: int) -> None:
        try:
            for i in range(25):
                memory.add_message("user", f"{n}.{i}")
                mine = [t for t in said(memory.get_history(limit=300)) if t.startswith(f"{n}.")]
                assert mine == [f"{n}.{j}" for j in range(i + 1)]
        except BaseException as fault:  # it has to be told in the thread of the test
            faults.append(fault)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if faults:
        raise faults[0]
    memory.persist()
    everything = stored(memory)
    assert len(everything) == len(set(everything)) == 150
    assert said(memory.get_history(limit=150)) == everything


@pytest.mark.parametrize("every", [1, 7])
def test_tasks(db: Store, every: int) -> None:
    memory = PersistentBufferMemory(db, agent_id="a", auto_persist_interval=every)

    async def work() -> None:
        adding = [memory.aadd_message("user", f"{n}") for n in range(100)]
        reading = [memory.aget_history() for _ in range(5)]
        await asyncio.gather(*adding, *reading)
        assert len(memory._unsaved) < every
        assert said(await memory.aget_history()) == [f"{n}" for n in range(100)]

    asyncio.run(work())
    memory.close()
    assert stored(memory) == [f"{n}" for n in range(100)]


def test_a_sync_call_while_a_task_of_the_same_loop_is_storing(db: Store) -> None:
    """It cannot wait for that task: the loop stands still until it returns."""
    memory = PersistentBufferMemory(db, agent_id="a", auto_persist_interval=None)

    async def work() -> None:
        for round_ in range(5):
            talk_to(memory, f"{round_}.1", f"{round_}.2")
            task = asyncio.create_task(memory.apersist())
            await asyncio.sleep(0)
            memory.add_message("user", f"{round_}.3")
            memory.persist()
            await task

    asyncio.run(work())
    assert stored(memory) == [f"{n}.{m}" for n in range(5) for m in (1, 2, 3)]


def test_a_task_that_is_cancelled_leaves_what_waits(db: Store) -> None:
    memory = PersistentBufferMemory(db, agent_id="a", auto_persist_interval=None)

    async def work() -> None:
        talk_to(memory, *[f"{n}" for n in range(10)])
        tasks = [asyncio.create_task(memory.apersist()) for _ in range(3)]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await memory.apersist()

    asyncio.run(work())
    assert memory.persist() == 0
    assert stored(memory) == [f"{n}" for n in range(10)]


def test_no_async_method_holds_up_its_loop(open_store: OpenStore) -> None:
    """From the first call on, which connects."""

    async def work() -> None:
        memory = PersistentBufferMemory(open_store(), agent_id="a", auto_persist_interval=2)
        await memory.aget_history()
        await asyncio.gather(*[memory.aadd_message("user", f"{n}") for n in range(5)])
        await memory.apersist()
        await memory.aget_history(limit=500)
        await memory.asave_turn("c", {"user": "u", "agent": "a"})
        await memory.aload_context("c")
        await memory.astats()
        await memory.aclear_buffer()
        await memory.aload_from_db()
        await memory.adelete_history()
        await memory.aclose()

    with noted() as blocked:
        asyncio.run(work())
    assert not blocked


def test_the_gate_lets_one_in_at_a_time() -> None:
    gate, inside, most = Gate(), [0], [0]

    def be_inside() -> None:
        inside[0] += 1
        most[0] = max(most[0], inside[0])

    async def task() -> None:
        assert await gate.aenter()
        be_inside()
        await asyncio.sleep(0)
        inside[0] -= 1
        gate.leave()

    def thread() -> None:
        for n in range(50):
            if n % 2:
                assert gate.enter()
                be_inside()
                inside[0] -= 1
                gate.leave()
            else:
                asyncio.run(task())

    async def tasks() -> None:
        waiting = [asyncio.create_task(task()) for _ in range(50)]
        await asyncio.sleep(0)
        for cancelled in waiting[1::7]:
            cancelled.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    threads = [threading.Thread(target=thread) for _ in range(3)]
    threads.append(threading.Thread(target=lambda: asyncio.run(tasks())))
    assert gate.enter()
    for one in threads:
        one.start()
    threads[0].join(0.1)
    assert most == [0]
    gate.leave()
    for one in threads:
        one.join(60)
        assert not one.is_alive()
    assert (most, inside) == ([1], [0])
    assert gate.enter()
    gate.leave()


def test_a_thread_that_is_interrupted_while_it_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate()
    assert gate.enter()

    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("onrecord.memory.gate.Future.result", interrupted)
        with pytest.raises(KeyboardInterrupt):
            gate.enter()
    gate.leave()
    asyncio.run(asyncio.wait_for(gate.aenter(), 10))


def test_a_task_that_was_let_in_when_it_was_cancelled_lets_the_next_in() -> None:
    async def work() -> None:
        gate = Gate()
        assert await gate.aenter()
        waiting = asyncio.create_task(gate.aenter())
        await asyncio.sleep(0)
        gate.leave()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await asyncio.wait_for(gate.aenter(), 10)

    asyncio.run(work())


# Forks, exits and kills


def test_a_forked_child_stores_its_own_alone(open_store: OpenStore) -> None:
    memory = PersistentBufferMemory(open_store(), agent_id="a", auto_persist_interval=None)
    talk_to(memory, "the parent's")

    def work() -> list[str]:
        assert memory.persist() == 0
        talk_to(memory, "the child's")
        shown = said(memory.get_history())
        memory.persist()
        return shown

    assert Child(work).result() == ["the child's"]
    assert said(memory.get_history()) == ["the child's", "the parent's"]
    talk_to(memory, "and another of the parent's")
    assert memory.persist() == 2
    assert stored(memory) == ["the child's", "the parent's", "and another of the parent's"]


@pytest.mark.filterwarnings("ignore:This process.*fork:DeprecationWarning")
def test_a_worker_of_multiprocessing_stores_at_its_end(open_store: OpenStore) -> None:
    """It ends without what atexit was told."""

    def work() -> None:
        PersistentBufferMemory(open_store(), agent_id="a").add_message("user", "said")

    worker = get_context("fork").Process(target=work)
    worker.start()
    worker.join(60)
    assert worker.exitcode == 0
    assert said(open_store().session("main", agent="a").messages()) == ["said"]


PROGRAM = """
import os, sys, threading
from onrecord import Store
from onrecord.memory import PersistentBufferMemory
url, cache, how = sys.argv[1:]
lent = PersistentBufferMemory(Store(url, cache=cache or None), agent_id="lent")
own = PersistentBufferMemory(url, agent_id="own", auto_persist_interval=None)
def dropped():
    PersistentBufferMemory(url, agent_id="dropped").add_message("user", "said")
dropped()
for memory in (lent, own):
    memory.add_message("user", "said")
if os.fork() == 0:
    sys.exit()  # what its parent was told is not the child's to store
os.wait()
if how == "error":
    1 / 0
sys.exit(0 if how == "exit" else None)
"""


@pytest.mark.parametrize("how", ["end", "exit", "error"])
def test_what_waits_is_stored_at_a_normal_exit(each_store: OpenStore, how: str) -> None:
    db = each_store()
    url = db._ledger.address.url.render_as_string(hide_password=False)
    # psycopg warns of connections that are open at the end: of the store that is lent.
    warn = "error" if url.startswith("sqlite") else "default:::__main__"
    command = [sys.executable, "-W", warn, "-c", PROGRAM, url, db._hot.where or "", how]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert ended.returncode == (how == "error")
    assert ("ZeroDivisionError" in ended.stderr) == (how == "error")
    if how != "error":
        assert ended.stderr == ""
    for agent in ("lent", "own", "dropped"):
        assert said(db.session("main", agent=agent).messages()) == ["said"], agent


def test_what_cannot_be_stored_at_an_exit_is_logged(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/x.db"
    program = PROGRAM.replace("if os.fork() == 0", "lent.store._ledger.close()\nif os.fork() == 0")
    command = [sys.executable, "-W", "error", "-c", program, url, "", "end"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert ended.returncode == 0
    assert "1 message of Session('main', agent='lent'" in ended.stderr
    assert "never stored. 1 message cannot be stored any more" in ended.stderr
    assert ended.stderr.endswith("Close the memory before the store.\n")
    assert "said" not in ended.stderr
    with Store(url) as store:
        assert said(store.session("main", agent="own").messages()) == ["said"]


def killed(open_store: OpenStore, every: int, name: str, dice: random.Random) -> int:
    """Kill a process that adds messages one after the other; return how many it was told are in."""
    reading, telling = os.pipe()
    after, then = dice.randrange(1, 40), dice.randrange(0, 400)

    def add() -> None:
        memory = PersistentBufferMemory(open_store(), agent_id=name, auto_persist_interval=every)
        for n in range(1, 100_000):
            memory.add_message("user", f"{n}")
            os.write(telling, b".")

    pid = os.fork()
    if pid == 0:
        try:
            add()
        finally:
            os._exit(1)
    os.close(telling)
    with open(reading, "rb", buffering=0) as told:
        acknowledged = 0
        while acknowledged < after:
            if not (some := told.read(after - acknowledged)):
                os.waitpid(pid, 0)
                pytest.fail("the child died by itself")
            acknowledged += len(some)
        for _ in range(then):  # some microseconds each
            os.getppid()
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        return acknowledged + len(told.read())


@pytest.mark.parametrize("every", [1, 5, 10])
@pytest.mark.parametrize("database", ["sqlite", "postgresql with redis"])
@pytest.mark.filterwarnings("ignore:This process.*fork:DeprecationWarning")
def test_a_kill_loses_less_than_an_interval(
    request: pytest.FixtureRequest, tmp_path: Path, every: int, database: str
) -> None:
    url, kills = f"sqlite:///{tmp_path / 'kills.db'}", round(40 * SEEDS)
    settings: dict[str, Any] = {"durability": "normal"}
    if database != "sqlite":
        url, kills = request.getfixturevalue("kept_postgres_url"), round(8 * SEEDS)
        settings = {"cache": request.getfixturevalue("redis_server").url}
    dice = random.Random(every)
    lost: list[int] = []
    with Store(url, **settings) as store:
        store.session("first").append(("user", "makes the tables"))
        for n in range(kills):
            acknowledged = killed(partial(Store, url, **settings), every, f"{n}", dice)
            with PersistentBufferMemory(store, agent_id=f"{n}") as memory:
                found = said(memory.get_history(limit=10_000))
            assert found == [f"{one}" for one in range(1, len(found) + 1)], "in order, each once"
            lost.append(acknowledged - len(found))
    assert max(lost) <= every - 1, lost
    if every > 1 and kills >= 40:  # of eight all may come while they are stored, one time in 100
        assert max(lost) > 0, "the kills came where something can be lost"


def test_every_method_has_its_twin() -> None:
    import inspect

    cls = PersistentBufferMemory
    public = {name for name, one in vars(cls).items() if name[0] != "_" and callable(one)}
    for name in {name for name in public if f"a{name}" in public}:
        ours, twin = getattr(cls, name), getattr(cls, f"a{name}")
        assert inspect.signature(ours) == inspect.signature(twin)
        assert inspect.iscoroutinefunction(twin)
        assert twin.__doc__ == f"Like ``{name}``."
        public -= {name, f"a{name}"}
    assert public == set()


def test_importing_it_is_light() -> None:
    program = (
        "import sys, onrecord.memory; print([n for n in ('sqlalchemy', 'redis', 'pandas') "
        "if n in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"


def test_errors_are_of_one_family() -> None:
    assert issubclass(StoreClosed, OnrecordError)
