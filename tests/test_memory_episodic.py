"""EpisodicMemory: events and episodes of an agent, over messages of sessions.

ONRECORD_SEEDS=100 runs 3,000 histories.
"""

from __future__ import annotations

import asyncio
import inspect
import io
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import FrozenInstanceError, dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onrecord import (
    Conflict,
    InvalidMessage,
    InvalidName,
    Message,
    Misconfigured,
    OnrecordError,
    Session,
    Store,
    Text,
    ToolCall,
    ToolResult,
    Unavailable,
)
from onrecord.adapters.calls import Talk
from onrecord.memory import (
    Consolidation,
    Episode,
    EpisodicMemory,
    Event,
    Summarised,
    Trace,
    fading,
)
from onrecord.memory.marks import mark_of, public_id
from onrecord.memory.shelf import Shelf
from onrecord.testing.contract import Face
from tests.children import Child, together
from tests.test_memory_buffer import fail_appends
from tests.test_search_meaning import Meant
from tests.test_strange_arguments import STRANGE, or_else

SEEDS = float(os.environ.get("ONRECORD_SEEDS", "1"))
OpenStore = Callable[..., Store]
NOW = datetime.now(UTC)


def ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


@pytest.fixture
def store(each_store: OpenStore) -> Store:
    return each_store()


@pytest.fixture
def memory(store: Store) -> EpisodicMemory:
    return EpisodicMemory(store, agent_id="my-agent")


def observed(memory: EpisodicMemory, *texts: str, days: float = 0) -> list[str]:
    """Observations so many days ago, the first the oldest; their ids."""
    return [
        memory.store_episode(
            Episode.observation(memory.agent_id, text, created_at=ago(days) + timedelta(seconds=n))
        )
        for n, text in enumerate(texts)
    ]


def contents(memory: EpisodicMemory) -> list[str]:
    """What all episodes say, the oldest first."""
    return [episode.content for episode in reversed(memory.get_recent_episodes(10_000))]


def joined(episodes: list[Episode]) -> str:
    return " + ".join(episode.content for episode in episodes)


# The examples of the origins, with the import and the constructor's store changed


def test_the_storage_engines_example(each_store: OpenStore) -> None:
    memory = EpisodicMemory(each_store(), agent_id="my-agent")
    episode = Episode.conversation(
        "my-agent", "What is QilbeeDB?", "QilbeeDB is a graph database with agent memory..."
    )
    episode_id = memory.store_episode(episode)

    again = EpisodicMemory(each_store(), agent_id="my-agent")
    stats = again.get_statistics()
    assert (stats.total_episodes, round(stats.avg_relevance, 2)) == (1, 1.0)
    (recent,) = again.get_recent_episodes(limit=10)
    assert recent.episode_type == "conversation"
    assert recent.id == episode_id
    assert "What is QilbeeDB?" in recent.content
    assert (recent.user_input, recent.response) == (
        "What is QilbeeDB?",
        "QilbeeDB is a graph database with agent memory...",
    )


def test_the_agents_of_the_example_are_isolated(store: Store) -> None:
    sales_memory = EpisodicMemory(store, agent_id="sales-agent")
    support_memory = EpisodicMemory(store, agent_id="support-agent")
    sales_memory.store_episode(
        Episode.conversation("sales-agent", "Pricing inquiry", "Our plans start at...")
    )
    support_memory.store_episode(
        Episode.conversation("support-agent", "How do I reset?", "Click forgot password...")
    )
    assert [e.user_input for e in sales_memory.get_recent_episodes()] == ["Pricing inquiry"]
    assert support_memory.search_episodes("pricing") == []
    assert support_memory.search("pricing plans") == []
    assert [e.session_id for e in support_memory.recent(10)] == ["episodes"] * 2
    (found,) = sales_memory.get_recent_episodes()
    assert support_memory.get_episode(found.id) is None
    assert support_memory.delete_episode(found.id) is False
    with pytest.raises(Misconfigured, match="an episode of 'sales-agent'"):
        support_memory.store_episode(Episode.observation("sales-agent", "x"))


def test_search_delete_and_clear_of_the_example(memory: EpisodicMemory) -> None:
    episode_id = memory.store_episode(
        Episode.conversation(
            "my-agent",
            "I need help with my order",
            "I'd be happy to help! What's your order number?",
        )
    )
    results = memory.search_episodes("order number", limit=5)
    assert [episode.id for episode in results] == [episode_id], "one hit for both of its messages"
    deleted = memory.delete_episode(episode_id)
    assert deleted
    assert not memory.delete_episode(episode_id)
    assert memory.search_episodes("order number", limit=5) == []
    observed(memory, "a", "b")
    memory.clear()
    assert memory.get_statistics().total_episodes == 0


def test_the_types_and_the_thresholds_of_the_example(store: Store) -> None:
    agent_id = "ops"
    memory = EpisodicMemory(store, agent_id=agent_id, warn_above=2)
    old: dict[str, Any] = {"created_at": ago(400)}
    memory.store_episode(Episode.conversation(agent_id, "in", "out", **old))
    memory.store_episode(Episode.observation(agent_id, "CPU usage at 85%", **old))
    memory.store_episode(
        Episode.action(agent_id, "Scaled to 4 instances", "Latency reduced", **old)
    )
    stats = memory.get_statistics()
    assert stats.by_type == {"action": 1, "conversation": 1, "observation": 1}
    assert stats.avg_relevance < 0.3
    high, low = stats.warnings
    assert "3 episodes, more than 2" in high
    assert "average relevance is 0.00" in low
    assert "Warning: " in str(stats)
    assert "consolidate" in memory.statistics().warnings[0]
    calm = EpisodicMemory(store, agent_id=agent_id, warn_below=0.0)
    assert calm.get_statistics().warnings == ()
    assert calm.statistics().warnings == ()


def test_store_with_retry_stores_once(memory: EpisodicMemory) -> None:
    """What the origin's example does after an error: the answer was lost, and not the episode."""
    for episode in (
        Episode.conversation("my-agent", "in", "out"),
        Episode.observation("my-agent", "seen"),
        Episode.action("my-agent", "did", "came"),
    ):
        assert memory.store_episode(episode) == memory.store_episode(episode)
    assert memory.get_statistics().total_episodes == 3
    one, other = (Episode.observation("my-agent", "seen") for _ in range(2))
    assert memory.store_episode(one) != memory.store_episode(other), "two that say the same"


@pytest.mark.parametrize("committed", [True, False])
def test_an_episode_stored_again_after_a_lost_answer_is_stored_once(
    store: Store, face: Face, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    """However much others have said since, and by another memory than the one that tried."""
    episode = Episode.conversation("my-agent", "in", "out")
    memory = EpisodicMemory(store, agent_id="my-agent")
    with monkeypatch.context() as patch:
        fail_appends(patch, Unavailable("lost", outcome_unknown=True), committed=committed)
        with pytest.raises(Unavailable):
            face(memory).store_episode(episode)
    for _ in range(3):
        memory._episodes.append([("user", "another's")] * 500)
    again = face(EpisodicMemory(store, agent_id="my-agent"))
    id = again.store_episode(episode)
    stored = [one.text for one in memory._episodes.messages() if one.text != "another's"]
    assert stored == ["in", "out"]
    found = again.get_episode(id)
    assert found is not None
    assert (found.user_input, found.response) == ("in", "out")


class WorkingMemory:
    """As small as the origin's."""

    def __init__(self) -> None:
        self.messages: list[Any] = []

    def add_message(self, role: str, content: Any, tool_call: Any) -> None:
        self.messages.append((role, content, tool_call))


def test_the_three_tiers_save_and_load(memory: EpisodicMemory) -> None:
    working = WorkingMemory()
    call = {"id": "c1", "name": "weather", "args": {"city": "Lyon"}}
    for message in (
        ("system", "Be brief.", None),
        ("user", "How is the weather?", None),
        ("assistant", None, call),
        ("tool", "sunny", {"id": "c1", "name": "weather"}),
        ("assistant", "Sunny.", None),
    ):
        working.add_message(*message)
    for role, content, tool_call in working.messages:
        memory.record(
            event_type=f"session_{role}",
            payload={"content": content, "tool_call": tool_call},
            session_id="s1",
        )

    events = memory.get_session("s1")
    restored = WorkingMemory()
    for event in sorted(events, key=lambda e: e.timestamp):
        if event.event_type.startswith("session_"):
            role = event.event_type.replace("session_", "")
            restored.add_message(
                role=role,
                content=event.payload.get("content"),
                tool_call=event.payload.get("tool_call"),
            )
    assert restored.messages == working.messages


# Events


PAYLOADS: list[Any] = [
    {"sku": "boots", "n": 3, "price": 9.5, "tags": ["a", None, True]},
    {},
    [],
    "plain text",
    '{"looks": "like JSON"}',
    "",
    7,
    1.0,
    True,
    None,
    2**70,
    float("inf"),
    {"1": 1, "t": (1, 2), "s": {1}, "b": b"\0\xff", "d": Decimal("1.10"), "at": ago(1)},
    {1: "a key that is no text"},
    {"half": "\ud800", "nul": "a\0b", "emoji": "👩‍👩‍👧", "rtl": "\u202egnp"},
    {"deep": [[[[[[[[["x"]]]]]]]]]},
]
SAID: list[Any] = [
    {"content": "hi", "tool_call": None},
    {"content": "hi"},
    {"content": "", "tool_call": None},
    {"content": None, "tool_call": None},
    {"content": None, "tool_call": {"id": "c", "name": "f", "args": {"x": 1}}},
    {"content": "", "tool_call": {"name": "f", "args": {}}},
    {"content": "so", "tool_call": {"id": "c", "type": "function",
                                    "function": {"name": "f", "arguments": '{"x": 1}'}}},
    {"content": "so", "tool_call": {"unheard": "of"}},
    {"content": "so", "tool_call": "a text"},
    {"content": "so", "tool_call": [{"id": "a", "name": "f", "args": {}},
                                    {"id": "b", "name": "g", "args": {"x": True}}]},
    {"content": ["blocks", 1], "tool_call": None},
    {"content": "hi", "more": 1},
    "no mapping",
]  # fmt: skip


@pytest.mark.parametrize("role", ["user", "assistant", "tool", "system", "critic"])
@pytest.mark.parametrize("payload", SAID, ids=str)
def test_what_was_said_comes_back_equal(role: str, payload: Any) -> None:
    with Store("sqlite://") as store:
        memory = EpisodicMemory(store, agent_id="a")
        event = memory.record(f"session_{role}", payload, "s")
        assert (event.event_type, event.payload) == (f"session_{role}", payload)
        assert memory.get_session("s") == [event]
        (message,) = store.session("s", agent="a").messages()
        if isinstance(payload, dict):
            assert message.role == role
            assert isinstance(payload["content"], list) or message.text == (
                payload["content"] or ""
            )


def same(one: Any, other: Any) -> bool:
    return repr(one) == repr(other)


def test_a_payload_comes_back_as_what_it_was(store: Store, face: Face) -> None:
    memory = face(EpisodicMemory(store, agent_id="a"))
    told = [memory.record("tick", payload, "s") for payload in PAYLOADS]
    told += memory.record_many([("tock", payload) for payload in PAYLOADS], "s")
    read = memory.get_session("s")
    assert read == told
    assert all(same(a.payload, b) for a, b in zip(read, [*PAYLOADS, *PAYLOADS], strict=True))
    assert [event.event_type for event in read] == ["tick"] * 16 + ["tock"] * 16


def test_what_no_codec_carries_is_refused(store: Store, memory: EpisodicMemory) -> None:
    endless: list[Any] = []
    endless.append(endless)
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    for payload in (object(), {"x": object()}, endless, deep, {"content": object()}):
        for kind in ("tick", "session_user"):
            with pytest.raises(OnrecordError):
                memory.record_many([("fine", 1), (kind, payload)], "s")
    assert memory.get_session("s") == []
    assert store.sessions(agent="my-agent") == []


def test_all_or_none_of_several_events(memory: EpisodicMemory, face: Face) -> None:
    with pytest.raises(Misconfigured, match="printable"):
        face(memory).record_many([("fine", 1), ("", 1)], "s")
    with pytest.raises(Misconfigured, match="pair"):
        face(memory).record_many([("fine", 1), ("x", 1, 2)], "s")
    assert face(memory).record_many([], "s") == []
    assert memory.get_session("s") == []


def test_what_a_framework_wrote_is_an_event_too(store: Store, memory: EpisodicMemory) -> None:
    chat = store.session("chat", agent="my-agent")
    chat.append(
        [
            ("user", "Weather in Lyon?"),
            Message("assistant", [Text("I look."), ToolCall("weather", {"city": "Lyon"}, "c")]),
            Message("tool", "sunny", tool_call_id="c"),
            Message("user", [ToolResult("d", "kept among blocks")]),
            Message("assistant", [ToolCall("a", {}, "1"), ToolCall("b", {}, "2")]),
            ("assistant", "Sunny."),
        ]
    )
    call = {"id": "c", "name": "weather", "args": {"city": "Lyon"}}
    assert [(e.event_type, e.payload["content"], e.payload["tool_call"])
            for e in memory.get_session("chat")] == [
        ("session_user", "Weather in Lyon?", None),
        ("session_assistant", "I look.", call),
        ("session_tool", "sunny", {"id": "c"}),
        ("session_user", "kept among blocks", None),
        ("session_assistant", None, [{"id": "1", "name": "a", "args": {}},
                                     {"id": "2", "name": "b", "args": {}}]),
        ("session_assistant", "Sunny.", None),
    ]  # fmt: skip
    assert memory.search("weather Lyon")[0].session_id == "chat"
    assert [e.payload["content"] for e in memory.recent(1)] == ["Sunny."]


def test_a_framework_reads_what_was_recorded(store: Store, memory: EpisodicMemory) -> None:
    langchain = pytest.importorskip("langchain_onrecord")
    call = {"id": "c", "name": "weather", "args": {"city": "Lyon"}}
    memory.record("session_user", {"content": "Weather?", "tool_call": None}, "chat")
    memory.record("session_assistant", {"content": None, "tool_call": call}, "chat")
    memory.record("session_tool", {"content": "sunny", "tool_call": {"id": "c"}}, "chat")
    memory.record("ticket_opened", {"ticket": 7}, "chat")
    messages = [
        langchain.to_langchain(m) for m in store.session("chat", agent="my-agent").messages()
    ]
    assert [m.type for m in messages] == ["human", "ai", "tool", "human"]
    assert messages[1].tool_calls[0]["args"] == {"city": "Lyon"}
    assert messages[2].tool_call_id == "c"
    assert (messages[3].name, messages[3].content) == ("ticket_opened", '{"ticket":7}')


def test_recent_events_are_the_newest_of_all_sessions(store: Store, face: Face) -> None:
    memory = EpisodicMemory(store, agent_id="a")
    random = Random(7)
    for n in range(150):
        at = ago(random.randrange(100)) if n % 3 else None
        memory.record("tick", n, f"s{random.randrange(60)}", timestamp=at)
    EpisodicMemory(store, agent_id="b").record("tick", "another's", "s1")
    every = [event for n in range(60) for event in memory.get_session(f"s{n}")]
    every.sort(key=lambda e: (-e.timestamp.timestamp(), e.session_id, -int(e.id.split(".")[0])))
    for limit in (0, 1, 7, 50, 149, 1_000):
        assert face(memory).recent(limit) == every[:limit]


def test_one_event_is_deleted(memory: EpisodicMemory, face: Face) -> None:
    events = [memory.record("tick", n, "s") for n in range(4)]
    assert face(memory).delete(events[1].id)
    assert not face(memory).delete(events[1].id)
    assert memory.get_session("s") == [events[0], *events[2:]]
    assert memory.search("1") == []


def test_an_id_means_one_message_and_never_another(store: Store, memory: EpisodicMemory) -> None:
    event = memory.record("tick", 1, "s")
    episode = memory.store_episode(Episode.observation("my-agent", "seen"))
    store.session("s", agent="my-agent").clear()
    store.session("episodes", agent="my-agent").clear()
    memory.record("tick", 1, "s")
    observed(memory, "seen")
    assert not memory.delete(event.id)
    assert memory.get_episode(episode) is None
    assert not memory.delete_episode(episode)
    assert not memory.pin(episode)
    assert len(memory.get_session("s")) == 1
    assert contents(memory) == ["seen"]


@pytest.mark.parametrize(
    "id", ["", "x", "1@s", "1.@s", "1.ab@", ".ab@s", "1.ab@\0", "٣.ab@s", "9999999999.ab@episodes",
           "0.ab@episodes", "1.ab@" + "x" * 600, "1.ab@episodes", "1.ab@\ud800"]
)  # fmt: skip
def test_what_is_no_id_of_ours_is_not_there(memory: EpisodicMemory, id: str) -> None:
    observed(memory, "seen")
    assert memory.get_episode(id) is None
    assert (memory.delete(id), memory.delete_episode(id)) == (False, False)
    assert (memory.pin(id), memory.unpin(id)) == (False, False)


def test_an_event_is_frozen_and_nice_to_look_at(memory: EpisodicMemory) -> None:
    event = memory.record("session_user", {"content": "hello\nthere", "tool_call": None}, "s")
    assert str(event) == "[session_user] hello\n  there"
    assert repr(event).endswith("'s', 'session_user', hello there)")
    with pytest.raises(FrozenInstanceError):
        event.id = "x"  # type: ignore[misc]
    event.payload["content"] = "changed"
    assert memory.get_session("s")[0].payload["content"] == "hello\nthere"


def test_clear_takes_what_the_memory_shows_or_one_session(store: Store, face: Face) -> None:
    memory = EpisodicMemory(store, agent_id="a", user="ada")
    beside = EpisodicMemory(store, agent_id="a", user="bob")
    beside.record("tick", 1, "s1")
    (one, _) = observed(memory, "seen", "again")
    memory.pin(one)
    memory.get_episode(one)
    memory.save_uses()
    for n in range(60):
        memory.record("tick", n, f"s{n % 55}")
    assert face(memory).clear("s1") == 2
    assert memory.get_session("s1") == []
    assert face(memory).clear() == 60
    assert memory.recent(10) == []
    assert memory.search("seen") == []
    assert memory.get_recent_episodes() == []
    assert store.session("episodes", agent="a", user="ada").state.list() == []
    assert len(beside.recent()) == 1


# Episodes


def test_an_episode_is_one_append_and_nothing_beside_it(store: Store, face: Face) -> None:
    memory = face(EpisodicMemory(store, agent_id="a"))
    memory.store_episode(Episode.conversation("a", "in", "out", metadata={"ticket": 7}))
    memory.store_episode(Episode.observation("a", "seen", importance=1.0))
    memory.store_episode(Episode.action("a", "did", "came"))
    session = store.session("episodes", agent="a")
    messages = session.messages()
    assert [(m.role, m.text) for m in messages] == [
        ("user", "in"), ("assistant", "out"), ("user", "seen"), ("assistant", "did"),
        ("tool", "came"),
    ]  # fmt: skip
    assert session.window(turns=1).dangling == ()
    assert store.stats().items == 0
    assert messages[0].metadata == {"ticket": 7}
    action, observation, conversation = memory.get_recent_episodes(10)
    assert (action.content, action.result) == ("did\nresult: came", "came")
    assert (observation.content, observation.importance) == ("seen", 1.0)
    assert conversation.content == "user: in\nassistant: out"
    assert conversation.metadata == {"ticket": 7}
    assert str(observation) == "[observation] seen"
    assert repr(action) == "Episode(action, 'did result: came', relevance 1.00)"
    assert memory.get_episode(action.id) == action
    assert memory.get_recent_episodes(2) == [action, observation]
    assert memory.get_recent_episodes(0) == []


def test_turns_of_a_conversation_are_episodes(store: Store) -> None:
    """Those of the session that is named: whole turns, calls with their results."""
    chat = store.session("support-42", agent="a")
    chat.append(("system", "Be brief."))
    chat.append([("user", "one"), ("assistant", "1")])
    chat.append(
        [
            ("user", "two"),
            Message("assistant", [ToolCall("f", {}, "c")]),
            Message("tool", "result", tool_call_id="c"),
            ("assistant", "2"),
        ]
    )
    memory = EpisodicMemory(store, agent_id="a", session="support-42")
    assert contents(memory) == ["user: one\nassistant: 1", "user: two\nassistant: f{}\n"
                                "tool: result\nassistant: 2"]  # fmt: skip
    two, one = memory.get_recent_episodes()
    assert (two.user_input, two.response) == ("two", "2")
    assert memory.search_episodes("result")[0].id == two.id
    middle = memory.get_session("support-42")[4]
    assert memory.get_episode(middle.id) == two, "by an event in it"
    assert memory.delete_episode(one.id)
    assert [m.text for m in chat.messages()][:2] == ["Be brief.", "two"]


def test_a_call_and_its_result_are_one_episode_whatever_came_between(store: Store) -> None:
    chat = store.session("s", agent="a")
    memory = EpisodicMemory(store, agent_id="a", session="s")
    chat.append([("user", "one"), Message("assistant", [ToolCall("f", {}, "c")])])
    memory.record("tick", "between", "s")
    chat.append(("user", "two"))
    chat.append(Message("tool", "result", tool_call_id="c"))
    chat.append(("user", "three"))
    chat.append([("user", "four"), Message("assistant", [ToolCall("f", {}, "c")])])  # the same id
    every = memory.get_recent_episodes()
    first = every[-1]
    assert [episode.content for episode in reversed(every)] == [
        "user: one\nassistant: f{}\ntool: result",
        "between",
        "user: two",
        "user: three",
        "user: four\nassistant: f{}",
    ]
    for limit in range(6):
        assert memory.get_recent_episodes(limit) == every[:limit]
    events = memory.get_session("s")
    assert [memory.get_episode(events[n].id) for n in (0, 1, 4)] == [first] * 3
    assert memory.delete_episode(first.id)
    assert [m.text for m in chat.messages()] == ["between", "two", "three", "four", ""]


@pytest.mark.parametrize("length", [3, 40, 700, 1_500])
def test_a_long_turn_is_read_whole(store: Store, length: int) -> None:
    chat = store.session("s", agent="a")
    chat.append([("user", "before"), ("user", "long"), *[("assistant", "x")] * length])
    memory = EpisodicMemory(store, agent_id="a", session="s")
    (long,) = memory.get_recent_episodes(1)
    assert len(long.messages) == length + 1
    assert [e.content for e in memory.get_recent_episodes(9)][1:] == ["user: before"]
    if length < 1_000:
        assert memory.get_episode(memory.recent(1)[0].id) == long


def test_recent_episodes_over_many_messages(store: Store, face: Face) -> None:
    memory = EpisodicMemory(store, agent_id="a")
    messages: list[Message] = []
    for n in range(700):
        messages += Episode.action("a", f"did {n}", "came").messages
    store.session("episodes", agent="a").append(messages)
    for limit in (1, 10, 333, 700, 5_000):
        found = face(memory).get_recent_episodes(limit)
        wanted = [f"did {n}\nresult: came" for n in reversed(range(700))][:limit]
        assert [e.content for e in found] == wanted


def test_search_finds_each_episode_once_and_goes_on_until_there_are_enough(
    memory: EpisodicMemory, face: Face
) -> None:
    for n in range(12):
        memory.store_episode(Episode.conversation("my-agent", f"boots {n}", "boots boots"))
    for limit in (0, 1, 5, 12, 50):
        found = face(memory).search_episodes("boots", limit)
        assert len({episode.id for episode in found}) == len(found) == min(limit, 12)
        assert found.complete
    assert face(memory).search_episodes("boots", 5, min_score=1) == []
    assert face(memory).search("", 5) == []


def test_search_by_meaning(each_store: OpenStore) -> None:
    memory = EpisodicMemory(each_store(embedder=Meant()), agent_id="a")
    filling = [f"filling {n} words of no use" for n in range(6)]
    observed(memory, "the daxon barks", "zavver please", *filling)
    assert memory.search_episodes("blicket", 1)[0].content == "the daxon barks"
    assert memory.search("blicket", 1)[0].payload["content"] == "the daxon barks"


# Relevance and uses


def test_relevance_fades_with_age_and_grows_by_use(store: Store) -> None:
    memory = EpisodicMemory(store, agent_id="a", relevance=fading(timedelta(days=10)))
    (old,) = observed(memory, "old", days=10)
    observed(memory, "new")
    episode = memory.get_episode(old)
    assert episode is not None
    assert episode.relevance == pytest.approx(0.5, abs=0.01)
    again = memory.get_episode(old)
    assert again is not None
    assert (again.uses, round(again.relevance, 2)) == (1, 0.71)
    assert memory.get_statistics().uses == 2
    assert [round(e.relevance, 2) for e in memory.get_recent_episodes()] == [1.0, 0.79]


def test_importance_counts(store: Store) -> None:
    memory = EpisodicMemory(store, agent_id="a")
    for importance in (0.0, 0.5, 1.0):
        memory.store_episode(
            Episode.observation("a", "x", importance=importance, created_at=ago(30))
        )
    high, usual, low = memory.get_recent_episodes()
    assert [round(e.relevance, 2) for e in (low, usual, high)] == [0.25, 0.5, 0.71]


def test_the_rule_can_be_replaced(store: Store) -> None:
    asked: list[Trace] = []

    def rule(trace: Trace) -> float:
        asked.append(trace)
        return 1.0 if trace.episode_type == "action" else 0.25

    memory = EpisodicMemory(store, agent_id="a", relevance=rule)
    memory.store_episode(Episode.observation("a", "x", created_at=ago(3), importance=0.75))
    memory.store_episode(Episode.action("a", "did", "came"))
    assert [e.relevance for e in memory.get_recent_episodes()] == [1.0, 0.25]
    assert asked[-1].age.days == 3
    assert (asked[-1].uses, asked[-1].importance) == (0, 0.75)
    assert memory.get_statistics().avg_relevance == 0.625


@pytest.mark.parametrize("answer", [1.5, -0.1, float("nan"), "0.5", None, True])
def test_a_rule_that_gives_no_relevance_is_named(store: Store, answer: Any) -> None:
    memory = EpisodicMemory(store, agent_id="a", relevance=lambda trace: answer)
    observed(memory, "x")
    with pytest.raises(Misconfigured, match="relevance="):
        memory.get_recent_episodes()
    with pytest.raises(Misconfigured, match="relevance="):
        memory.forget(below=1.0)
    assert len(store.session("episodes", agent="a").messages()) == 1


def test_what_comes_from_the_future_has_no_age(store: Store) -> None:
    memory = EpisodicMemory(store, agent_id="a")
    observed(memory, "x", days=-400)
    assert memory.get_recent_episodes()[0].relevance == 1.0


def test_no_search_writes_and_uses_are_saved_by_whoever_writes(each_store: OpenStore) -> None:
    store = each_store()
    memory = EpisodicMemory(store, agent_id="a")
    ids = observed(memory, "boots one", "boots two")
    before = store.session("episodes", agent="a").messages()
    for _ in range(49):
        memory.search_episodes("boots")
    assert store.stats().items == 0, "98 uses wait"
    other = EpisodicMemory(each_store(), agent_id="a")
    assert other.get_statistics().uses == 0
    memory.get_episode(ids[0])
    memory.get_episode(ids[0])
    assert memory.get_statistics().uses == 100
    memory.record("tick", 1, "s")
    assert other.get_statistics().uses == 100
    assert store.session("episodes", agent="a").messages() == before


def test_a_with_block_saves_uses_and_two_memories_add_up(each_store: OpenStore, face: Face) -> None:
    store = each_store()
    (id,) = observed(EpisodicMemory(store, agent_id="a"), "boots")
    with EpisodicMemory(store, agent_id="a") as one, EpisodicMemory(store, agent_id="a") as two:
        for memory in (one, two, two):
            assert memory.get_episode(id) is not None
    three = EpisodicMemory(each_store(), agent_id="a")
    assert face(three).save_uses() == 0
    found = three.get_episode(id)
    assert found is not None
    assert found.uses == 3
    assert face(three).save_uses() == 1


def test_an_async_with_block_saves_uses_too() -> None:
    asyncio.run(_used_and_left())


async def _used_and_left() -> None:
    async with Store("sqlite://") as store, EpisodicMemory(store, agent_id="a") as memory:
        id = await memory.astore_episode(Episode.observation("a", "x"))
        await memory.aget_episode(id)
        async with memory:
            pass
        assert await store.session("episodes", agent="a").state.acount() == 1


def test_a_fork_takes_no_uses_along_and_no_lock(each_store: OpenStore) -> None:
    memory = EpisodicMemory(each_store(), agent_id="a")
    (id,) = observed(memory, "boots")
    memory.get_episode(id)

    def work() -> int:
        memory.get_episode(id)
        return memory.save_uses()

    with memory._notes._lock:  # as another thread may at that moment
        child = Child(work)
    assert child.result(patience=20) == 1
    assert memory.save_uses() == 1
    assert memory.get_statistics().uses == 2


def test_what_is_known_of_a_conversation_goes_with_its_export(store: Store, face: Face) -> None:
    """Nobody gave its messages ids, and those that they have are others in another session."""
    chat = store.session("chat", agent="a")
    chat.append(("user", "rewound"))
    chat.rewind(0)
    chat.append([(role, f"{n}") for n in range(3) for role in ("user", "assistant")])
    memory = EpisodicMemory(store, agent_id="a", session="chat")
    newest, _, oldest = memory.get_recent_episodes()
    memory.get_episode(oldest.id)
    memory.save_uses()
    assert face(memory).pin(newest.id)
    assert face(memory).pin(oldest.id)
    out = io.BytesIO()
    store.export(out, agent="a")
    store.erase(agent="a", thorough=False)
    with Store("sqlite://") as other:
        for into in (other, store):
            into.import_(io.BytesIO(out.getvalue()))
            there = face(EpisodicMemory(into, agent_id="a", session="chat"))
            stats = there.get_statistics()
            assert (stats.total_episodes, stats.pinned, stats.uses) == (3, 2, 1)
            assert there.consolidate(datetime.now(UTC), dry_run=True).runs == ()
    assert memory.get_episode(newest.id) is None, "an id means one message of one session"


def test_uses_of_two_processes_are_all_counted(each_store: OpenStore) -> None:
    store = each_store()
    (id,) = observed(EpisodicMemory(store, agent_id="a"), "boots")

    def use(n: int, wait: Callable[[], object]) -> int:
        memory = EpisodicMemory(store, agent_id="a")
        wait()
        for _ in range(20):
            memory.get_episode(id)
            saved = 0
            while not saved:
                try:
                    saved = memory.save_uses()
                except Conflict:  # five times somebody else was quicker: they wait on
                    continue
        return 0

    together(use)
    found = EpisodicMemory(store, agent_id="a").get_episode(id)
    assert found is not None
    assert found.uses == 40


def test_uses_that_cannot_be_written_fail_nobody_and_wait(
    memory: EpisodicMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    (id,) = observed(memory, "boots")
    for _ in range(100):
        memory.get_episode(id)
    append = Session.append

    def failing(session: Session, messages: Any, **more: Any) -> Any:
        if more.get("existing"):
            raise OnrecordError("the database is on fire")
        return append(session, messages, **more)

    monkeypatch.setattr(Session, "append", failing)
    observed(memory, "another")
    monkeypatch.undo()
    observed(memory, "and another")
    assert [item.value["uses"] for item in memory._episodes.state.list()] == [100]


def test_late_uses_bring_no_erased_agent_back(store: Store, face: Face) -> None:
    memory = EpisodicMemory(store, agent_id="a", user="ada")
    (id,) = observed(memory, "boots")
    memory.get_episode(id)
    store.erase(user="ada", agent="a", thorough=False)
    face(memory).save_uses()
    assert store.sessions(user="ada", agent="a") == []
    assert store.stats().items == 0
    assert memory.pin(id) is False


def test_an_erased_agents_episodes_are_gone_everywhere(each_store: OpenStore, face: Face) -> None:
    store = each_store()
    memory, other = (EpisodicMemory(store, agent_id=a, user="ada") for a in ("a", "b"))
    for one in (memory, other):
        ids = observed(one, "boots and socks", "hats", days=90)
        one.pin(ids[0])
        one.get_episode(ids[0])
        one.save_uses()
        one.record("tick", {"boots": 1}, "s")
        one.search_episodes("boots")
    receipt = store.erase(user="ada", agent="a")
    assert receipt.removed["onrecord_sessions"] == 2
    again = EpisodicMemory(each_store(), agent_id="a", user="ada")
    for one in (face(memory), face(again)):
        assert one.search_episodes("boots") == []
        assert one.search("boots") == []
        assert one.get_recent_episodes() == []
        assert one.recent() == []
        assert one.get_episode(ids[0]) is None
        assert one.get_statistics().total_episodes == 0
    assert store.stats(user="ada", agent="a").items == 0
    assert other.get_statistics().total_episodes == 2
    assert store.verify() == []


# Consolidation


def test_a_summary_stands_in_the_place_of_a_run(store: Store, face: Face) -> None:
    memory = EpisodicMemory(store, agent_id="a")
    ids = observed(memory, *"abcdef", "boots", days=90)
    observed(memory, "new")
    face(memory).pin(ids[3])
    planned = face(memory).consolidate(timedelta(days=30), joined, dry_run=True)
    assert [run.episodes for run in planned.runs] == [tuple(ids[:3]), tuple(ids[4:])]
    assert (planned.dry_run, planned.episodes, planned.kept) == (True, 6, 1)
    assert contents(memory) == [*"abcdef", "boots", "new"]
    done = face(memory).consolidate(timedelta(days=30), joined)
    assert contents(memory) == ["a + b + c", "d", "e + f + boots", "new"]
    first, second = done.runs
    assert (first.summary, first.episodes) == ("a + b + c", tuple(ids[:3]))
    assert first.until - first.since == timedelta(seconds=2)
    summary = memory.get_episode(second.id)
    assert summary is not None
    assert (summary.episode_type, summary.content) == ("summary", "e + f + boots")
    assert (done.skipped, done.extractive) == ((), False)
    assert str(done) == "6 episodes became 2 summaries. 1 stays, pinned or damaged."
    assert [memory.get_episode(id) for id in ids[:3]] == [None, None, None]
    assert not memory.delete_episode(ids[0]), "no summary goes by the id of an episode"
    assert memory.search_episodes("boots")[0].id == second.id
    assert face(memory).consolidate(timedelta(days=30), joined).runs == (), "none twice"
    assert store.verify() == []


def test_at_most_so_many_go_into_one_summary(store: Store) -> None:
    memory = EpisodicMemory(store, agent_id="a")
    observed(memory, *map(str, range(8)), days=90)
    done = memory.consolidate(ago(30), joined, at_most=3)
    assert [len(run.episodes) for run in done.runs] == [3, 3, 2]
    observed(memory, *"ab", days=80)
    observed(memory, "c", days=1)
    observed(memory, "d", days=80)
    memory.consolidate(ago(30), joined)
    assert contents(memory) == ["0 + 1 + 2", "3 + 4 + 5", "6 + 7", "a + b", "c", "d"]


def test_without_a_summariser_beginnings_are_kept_and_the_report_says_so(store: Store) -> None:
    memory = EpisodicMemory(store, agent_id="a")
    memory.store_episode(Episode.conversation("a", "Where is my order?", "On its way.",
                                              created_at=ago(90)))  # fmt: skip
    memory.store_episode(Episode.action("a", "Called the courier", "Tomorrow", created_at=ago(80)))
    done = memory.consolidate(timedelta(days=30))
    assert done.extractive
    assert "Without a summariser" in str(done)
    assert contents(memory) == [
        f"2 episodes, {ago(90):%Y-%m-%d} to {ago(80):%Y-%m-%d}:\n"
        "- conversation: user: Where is my order? assistant: On its way.\n"
        "- action: Called the courier result: Tomorrow"
    ]
    observed(memory, *["long " * 50] * 40, days=70)
    (run,) = memory.consolidate(timedelta(days=30)).runs
    assert len(run.summary) < 2_300
    assert run.summary.endswith("more")


def test_no_pair_is_torn_and_what_others_wrote_stays(store: Store) -> None:
    chat = store.session("chat", agent="a")
    memory = EpisodicMemory(store, agent_id="a", session="chat")
    old: dict[str, Any] = {"created_at": ago(90)}
    new: dict[str, Any] = {"created_at": ago(1)}
    chat.append(Message("system", "Be brief.", **old))
    for n in range(3):
        chat.append(
            [
                Message("user", f"question {n}", **old),
                Message("assistant", [ToolCall("f", {"n": n}, f"c{n}")], **old),
                Message("tool", f"result {n}", tool_call_id=f"c{n}", **old),
                Message("assistant", f"answer {n}", **old),
            ]
        )
    chat.append(
        [Message("user", "a turn that began long ago", **old), Message("assistant", "x", **new)]
    )
    memory.consolidate(timedelta(days=30), joined)
    messages = chat.messages()
    assert [m.role for m in messages] == ["system", "user", "user", "assistant"]
    assert "result 2" in messages[1].text
    assert messages[2].text == "a turn that began long ago"
    chat.append(Message("user", "a call, and an answer today", **old))
    chat.append(Message("assistant", [ToolCall("f", {}, "late")], **old))
    chat.append(
        [Message("user", "between", **old), Message("tool", "r", tool_call_id="late", **new)]
    )
    assert memory.consolidate(timedelta(days=30), joined).runs == ()


@pytest.mark.parametrize("how", ["delete", "use", "clear", "erase"])
def test_what_others_did_while_a_summary_was_written_stands(store: Store, how: str) -> None:
    memory, other = (EpisodicMemory(store, agent_id="a") for _ in range(2))
    ids = observed(memory, *"abc", days=90)
    session = store.session("episodes", agent="a")

    def meanwhile(episodes: list[Episode]) -> str:
        match how:
            case "delete":
                other.delete_episode(ids[1])
            case "use":
                other.get_episode(ids[1])
                other.save_uses()
            case "clear":
                other.clear()
                observed(other, *"abc", days=90)
            case _:
                session.erase(thorough=False)
        return joined(episodes)

    done = memory.consolidate(timedelta(days=30), meanwhile)
    assert done.runs == ()
    (skipped,) = done.skipped
    assert skipped.episodes == tuple(ids)
    assert "1 run changed meanwhile" in str(done)
    assert contents(memory) == {
        "delete": ["a", "c"],
        "erase": [],
    }.get(how, ["a", "b", "c"])
    assert store.verify() == []


def test_who_appends_while_a_summary_is_written_hinders_nobody(store: Store) -> None:
    memory = EpisodicMemory(store, agent_id="a")
    observed(memory, *"abc", days=90)

    def meanwhile(episodes: list[Episode]) -> str:
        observed(EpisodicMemory(store, agent_id="a"), "new")
        return joined(episodes)

    assert memory.consolidate(timedelta(days=30), meanwhile).skipped == ()
    assert contents(memory) == ["a + b + c", "new"]


def test_a_model_is_not_asked_for_what_another_worker_has_summed_up(store: Store) -> None:
    memory, other = (EpisodicMemory(store, agent_id="a") for _ in range(2))
    observed(memory, *"abcdef", days=90)
    asked: list[str] = []

    def summarise(episodes: list[Episode]) -> str:
        asked.append(joined(episodes))
        if len(asked) == 1:
            other.consolidate(timedelta(days=30), lambda e: f"other: {joined(e)}", at_most=2)
        return joined(episodes)

    done = memory.consolidate(timedelta(days=30), summarise, at_most=2)
    assert asked == ["a + b"]
    assert len(done.skipped) == 3
    assert contents(memory) == ["other: a + b", "other: c + d", "other: e + f"]


def test_two_processes_sum_everything_up_once(each_store: OpenStore) -> None:
    store = each_store()
    observed(EpisodicMemory(store, agent_id="a"), *map(str, range(60)), days=90)

    def work(n: int, wait: Callable[[], object]) -> list[Summarised]:
        memory = EpisodicMemory(store, agent_id="a")
        wait()
        done: list[Summarised] = []
        for _ in range(3):
            done += memory.consolidate(timedelta(days=30), joined, at_most=4).runs
        return done

    done = [run for one in together(work, 3) for run in one]
    memory = EpisodicMemory(store, agent_id="a")
    summed = [id for run in done for id in run.episodes]
    assert len(summed) == len(set(summed)) == 60
    assert " + ".join(contents(memory)).split(" + ") == [str(n) for n in range(60)]
    assert {run.summary for run in done} == set(contents(memory))
    assert store.verify() == []


def test_what_was_summed_up_in_this_moment_is_not_deleted_by_its_part(
    store: Store, face: Face, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A summary stands in the place of the first of its episodes."""
    memory = EpisodicMemory(store, agent_id="a")
    first, _ = observed(memory, "a", "b", days=90)
    holding = Shelf.holding
    late = [lambda: memory.consolidate(timedelta(days=30), joined)]

    def overtaken(shelf: Shelf, seq: int) -> Talk[list[Message]]:
        while late:
            late.pop()()
        return holding(shelf, seq)

    monkeypatch.setattr(Shelf, "holding", overtaken)
    assert not face(memory).delete_episode(first)
    assert contents(memory) == ["a + b"]


def test_several_processes_do_everything_at_once_and_nothing_is_lost(
    each_store: OpenStore,
) -> None:
    """What was stored is there, in one summary, or was taken away by who says so: once."""
    store = each_store()
    ways = ["store", "store", "delete", "pin", "consolidate", "forget", "use"]

    def work(
        n: int, wait: Callable[[], object]
    ) -> tuple[dict[str, str], dict[str, str], list[str]]:
        memory = EpisodicMemory(store, agent_id="a", relevance=by_days)
        random, stored, summed, gone = Random(n), dict[str, str](), dict[str, str](), list[str]()
        wait()
        for step in range(50):
            days, text = random.choice([90, 40, 1]), f"{n}-{step}"
            one = random.choice([*stored, "none"])
            match random.choice(ways):
                case "delete":
                    gone += [one] if memory.delete_episode(one) else []
                case "pin":
                    (memory.pin if random.random() < 0.5 else memory.unpin)(one)
                case "use":
                    memory.get_episode(one)
                case "consolidate":
                    runs = memory.consolidate(timedelta(days=30), joined, at_most=3).runs
                    summed |= {run.id: run.summary for run in runs}
                case "forget":
                    gone += [one.id for one in memory.forget(0.15).episodes]
                case _:
                    stored[observed(memory, text, days=days)[0]] = text
        return stored, summed, gone

    done = together(work, 3)
    said = {id: text for stored, _, _ in done for id, text in stored.items()}
    summed = {id: text for _, summed, _ in done for id, text in summed.items()}
    gone = [id for _, _, gone in done for id in gone]
    assert len(gone) == len(set(gone)), "none was taken away twice"
    away = {text for id in gone for text in (said | summed)[id].split(" + ")}
    left = [text for c in contents(EpisodicMemory(store, agent_id="a")) for text in c.split(" + ")]
    assert len(left) == len(set(left)), "none was summed up twice"
    assert set(left) == set(said.values()) - away
    assert summed
    assert gone
    assert store.verify() == []


@pytest.mark.parametrize("answer", ["", "  ", None, 7, b"x"])
def test_a_summariser_that_gives_nothing_changes_nothing(store: Store, answer: Any) -> None:
    memory = EpisodicMemory(store, agent_id="a")
    observed(memory, *"abc", days=90)
    with pytest.raises(Misconfigured, match="stay as they are"):
        memory.consolidate(timedelta(days=30), lambda episodes: answer)
    assert contents(memory) == ["a", "b", "c"]


def test_a_summariser_that_raises_keeps_what_was_done(store: Store, face: Face) -> None:
    memory = EpisodicMemory(store, agent_id="a")
    observed(memory, *"abcd", days=90)

    def summarise(episodes: list[Episode]) -> str:
        if episodes[0].content == "c":
            raise ZeroDivisionError
        return joined(episodes)

    with pytest.raises(ZeroDivisionError):
        face(memory).consolidate(timedelta(days=30), summarise, at_most=2)
    assert contents(memory) == ["a + b", "c", "d"]


def test_older_than_nothing_is_all_that_is_there(store: Store) -> None:
    memory = EpisodicMemory(store, agent_id="a")
    observed(memory, *"abc")
    assert memory.consolidate(timedelta(0), joined).episodes == 3
    assert contents(memory) == ["a + b + c"]


class Either:
    """Called, or awaited."""

    def __call__(self, episodes: list[Episode]) -> str:
        return "waited"

    async def acall(self, episodes: list[Episode]) -> str:
        return "awaited"


class Awaited:
    async def __call__(self, episodes: list[Episode]) -> str:
        return "awaited"


@pytest.mark.parametrize("model", [Either(), Awaited()])
def test_an_object_as_summariser(store: Store, model: Either | Awaited) -> None:
    memory = EpisodicMemory(store, agent_id="a")
    observed(memory, *"ab", days=90)
    if isinstance(model, Awaited):
        with pytest.raises(Misconfigured, match="aconsolidate"):
            memory.consolidate(timedelta(days=30), model)
    report = asyncio.run(memory.aconsolidate(timedelta(days=30), model))
    assert [run.summary for run in report.runs] == ["awaited"]


def test_an_async_summariser(store: Store) -> None:
    memory = EpisodicMemory(store, agent_id="a")
    observed(memory, *"ab", days=90)

    async def summarise(episodes: list[Episode]) -> str:
        await asyncio.sleep(0)
        return joined(episodes)

    with pytest.raises(Misconfigured, match="aconsolidate"):
        memory.consolidate(timedelta(days=30), summarise)
    assert asyncio.run(memory.aconsolidate(timedelta(days=30), summarise)).episodes == 2
    assert contents(memory) == ["a + b"]


def test_a_summariser_that_blocks_does_not_block_a_loop(store: Store) -> None:
    memory = EpisodicMemory(store, agent_id="a")
    observed(memory, *"ab", days=90)
    threads: list[int] = []

    def summarise(episodes: list[Episode]) -> str:
        threads.append(threading.get_ident())
        return joined(episodes)

    asyncio.run(memory.aconsolidate(timedelta(days=30), summarise))
    assert threads
    assert threads[0] != threading.get_ident()


def test_a_run_does_not_go_over_a_system_message(store: Store) -> None:
    chat = store.session("chat", agent="a")
    memory = EpisodicMemory(store, agent_id="a", session="chat")
    for text in "abcd":
        chat.append(Message("user", text, created_at=ago(90)))
        if text == "b":
            chat.append(Message("system", "From now on be brief.", created_at=ago(90)))
    memory.consolidate(timedelta(days=30), joined)
    assert [m.text for m in chat.messages()] == [
        "user: a + user: b",
        "From now on be brief.",
        "user: c + user: d",
    ]


def test_a_summary_is_as_important_as_the_most_important_that_it_covers(store: Store) -> None:
    memory = EpisodicMemory(store, agent_id="a")
    for importance in (0.2, 0.9, 0.5):
        at = ago(90)
        memory.store_episode(Episode.observation("a", "x", importance=importance, created_at=at))
    memory.consolidate(timedelta(days=30), joined)
    assert [episode.importance for episode in memory.get_recent_episodes()] == [0.9]


def test_a_notebook_shows_what_was_found(store: Store) -> None:
    memory = EpisodicMemory(store, agent_id="a")
    observed(memory, "<script>alert(1)</script> & so on", "long" * 1_000)
    memory.pin(memory.store_episode(Episode.action("a", "did", "came")))
    memory.record("tick", {"a": "<b>"}, "<s>")
    for shown in (memory.get_recent_episodes(), memory.recent(), memory.search("alert"),
                  memory.search_episodes("alert"), memory.get_session("episodes")):  # fmt: skip
        html = shown._repr_html_()
        assert "<script" not in html
        assert "&lt;script&gt;" in html
        assert len(html) < 4_000
    assert "pinned" in memory.get_recent_episodes()._repr_html_()
    assert memory.get_session("none")._repr_html_() == "<div>Nothing.</div>"
    assert str(memory).startswith("[observation] <script>")
    assert str(memory).endswith("[action] did\n  result: came")
    assert "<script" not in memory._repr_html_()
    assert str(EpisodicMemory(store, agent_id="b")) == ""
    assert str(memory.get_recent_episodes(1)) == "[action] did\n  result: came"


def test_a_summary_is_as_old_as_the_newest_that_it_covers(store: Store) -> None:
    memory = EpisodicMemory(store, agent_id="a")
    observed(memory, "a", days=300)
    observed(memory, "b", days=30)
    memory.consolidate(timedelta(days=1), joined)
    (summary,) = memory.get_recent_episodes()
    assert summary.relevance == pytest.approx(0.5, abs=0.01)


# Forgetting


def by_days(trace: Trace) -> float:
    """100 days to fade, and each use gives back ten."""
    return min(max(1 - trace.age.days / 100 + trace.uses / 10, 0.0), 1.0)


def test_the_irrelevant_are_forgotten_and_it_can_be_looked_at_first(
    store: Store, face: Face
) -> None:
    memory = EpisodicMemory(store, agent_id="a", relevance=by_days)
    ids = [observed(memory, f"{days} days", days=days)[0] for days in (95, 90, 60, 10)]
    memory.store_episode(Episode.action("a", "did", "came", created_at=ago(99)))
    memory.pin(ids[0])
    look = face(memory).forget(0.3, dry_run=True)
    assert [one.id for one in look.episodes[:1]] == [ids[1]]
    assert [round(one.relevance, 2) for one in look.episodes] == [0.1, 0.01]
    assert str(look) == "2 episodes would be forgotten. 1 stays, pinned or damaged."
    assert len(contents(memory)) == 5
    memory.get_episode(ids[1])
    memory.get_episode(ids[1])
    done = face(memory).forget(0.3)
    assert [one.episode_type for one in done.episodes] == ["action"], "used since"
    assert contents(memory) == ["95 days", "90 days", "60 days", "10 days"]
    face(memory).unpin(ids[0])
    assert [one.id for one in face(memory).forget(0.1).episodes] == [ids[0]]
    assert memory.search_episodes("95") == []
    assert store.verify() == []


def test_what_is_pinned_or_used_meanwhile_is_not_forgotten(store: Store) -> None:
    other = EpisodicMemory(store, agent_id="a")
    pinned: list[str] = []

    def rule(trace: Trace) -> float:  # asked when the notes were read
        if len(pinned) < 1:
            pinned.append(ids[1])
            assert other.pin(ids[1])
        return 0.0

    memory = EpisodicMemory(store, agent_id="a", relevance=rule)
    ids = observed(memory, *"abc")
    done = memory.forget(below=0.5)
    assert [one.id for one in done.episodes] == [ids[0], ids[2]]
    assert [one.id for one in done.skipped] == [ids[1]]
    assert "1 changed meanwhile" in str(done)
    other = EpisodicMemory(store, agent_id="a")
    assert contents(other) == ["b"]


def test_many_are_forgotten(store: Store) -> None:
    memory = EpisodicMemory(store, agent_id="a")
    messages: list[Message] = []
    for n in range(1_200):
        messages += Episode.action("a", f"did {n}", "came", created_at=ago(n)).messages
    store.session("episodes", agent="a").append(messages)
    done = memory.forget(below=0.5)
    assert len(done.episodes) == 1_170
    assert len(contents(memory)) == 30
    assert store.verify() == []


def test_pins_of_what_is_gone_go_too(store: Store) -> None:
    memory = EpisodicMemory(store, agent_id="a")
    ids = observed(memory, *"abc", days=90)
    memory.pin(ids[0])
    store.session("episodes", agent="a").delete(1)
    assert memory.forget(below=0.0).episodes == ()
    assert store.session("episodes", agent="a").state.list() == []
    assert memory.unpin(ids[1])
    assert store.session("episodes", agent="a").state.list() == [], "nothing to write"


def test_what_is_damaged_stays_until_somebody_says_that_it_may_go(store: Store) -> None:
    """Its bytes are all that is left of it."""
    memory = EpisodicMemory(store, agent_id="a")
    ids = observed(memory, *"abcdef", days=900)
    event = memory.get_session("episodes")[3]
    broken = "UPDATE {tail} SET frame = :frame WHERE seq = 3"
    store._ledger.write(lambda txn: txn.run(broken, {"frame": b"\0broken"}))
    store.invalidate()
    done = memory.consolidate(timedelta(days=30), joined)
    assert [run.summary for run in done.runs] == ["a + b", "d + e + f"]
    assert done.kept == 1
    assert memory.forget(0.5).kept == 1
    (damaged,) = memory.get_recent_episodes()
    assert "can no longer be read" in damaged.content
    assert damaged.id == ids[2]
    assert memory.delete(event.id) is False
    assert memory.delete_episode(damaged.id)
    assert memory.get_recent_episodes() == []


# Kills, and bad input


KILLED = """
import sys
from onrecord import Store
from onrecord.memory import Episode, EpisodicMemory
memory = EpisodicMemory(Store(sys.argv[1]), agent_id="a")
for n in range(1_000_000):
    print(memory.store_episode(Episode.action("a", f"did {n}", f"came {n}")), flush=True)
"""


def test_what_was_stored_survives_a_kill(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/killed.db"
    acknowledged: list[str] = []
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, url], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        for line in child.stdout:
            acknowledged.append(line.strip())
            if len(acknowledged) == 20:
                child.send_signal(signal.SIGKILL)
                break
        acknowledged += [line.strip() for line in child.stdout if line.endswith("\n")]
    with Store(url) as store:
        memory = EpisodicMemory(store, agent_id="a")
        found = [episode.id for episode in reversed(memory.get_recent_episodes(10_000))]
        assert found[: len(acknowledged)] == acknowledged
        assert len(found) <= len(acknowledged) + 1
        assert all(len(e.messages) == 2 for e in memory.get_recent_episodes(10_000))


CONSOLIDATED = """
import sys
from datetime import timedelta
from onrecord import Store
from onrecord.memory import EpisodicMemory
def summarise(episodes):
    print("asked", flush=True)
    return " + ".join(episode.content for episode in episodes)
memory = EpisodicMemory(Store(sys.argv[1]), agent_id="a")
memory.consolidate(timedelta(days=30), summarise, at_most=2)
"""


def test_who_is_killed_while_it_consolidates_loses_nothing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/killed.db"
    texts = [f"text {n}" for n in range(300)]
    with Store(url) as store:
        memory = EpisodicMemory(store, agent_id="a")
        observed(memory, *texts, days=90)
        with subprocess.Popen(
            [sys.executable, "-c", CONSOLIDATED, url], stdout=subprocess.PIPE, text=True
        ) as child:
            assert child.stdout is not None
            for asked, _ in enumerate(child.stdout):
                if asked == 20:
                    child.send_signal(signal.SIGKILL)
                    break
        assert child.returncode == -signal.SIGKILL
        left = contents(memory)
        assert 150 < len(left) <= 280
        assert " + ".join(left).split(" + ") == texts
        memory.consolidate(timedelta(days=30), joined, at_most=2)
        assert len(contents(memory)) == 150
        assert " + ".join(contents(memory)).split(" + ") == texts
        assert store.verify() == []


BAD_MEMORIES: list[dict[str, Any]] = [
    {"agent_id": ""}, {"agent_id": None}, {"agent_id": 7}, {"agent_id": "x" * 513},
    {"agent_id": "a", "user": "a\0"}, {"agent_id": "a", "tenant": 7},
    {"agent_id": "a", "session": ""}, {"agent_id": "a", "relevance": 0.5},
    {"agent_id": "a", "warn_above": -1}, {"agent_id": "a", "warn_below": float("nan")},
    {"agent_id": "a", "warn_below": 2},
]  # fmt: skip


@pytest.mark.parametrize("given", BAD_MEMORIES, ids=str)
def test_a_memory_that_cannot_be_is_refused(given: dict[str, Any]) -> None:
    with Store("sqlite://") as store, pytest.raises((InvalidName, Misconfigured)):
        EpisodicMemory(store, **given)


def test_no_address_is_taken_for_a_store() -> None:
    with pytest.raises(Misconfigured) as told:
        EpisodicMemory("postgresql://me:secret@host/db", agent_id="a")  # type: ignore[arg-type]
    assert "secret" not in str(told.value)


METHODS = [
    name
    for name, method in vars(EpisodicMemory).items()
    if inspect.isfunction(method) and not name.startswith(("_", "a"))
]


@pytest.mark.parametrize("name", METHODS)
def test_nothing_comes_out_but_our_own_errors(name: str) -> None:
    """Whatever is passed."""

    @settings(max_examples=8)
    @given(st.data())
    def fuzz(data: st.DataObject) -> None:
        with Store("sqlite://") as store:
            memory = EpisodicMemory(store, agent_id="a")
            (id,) = observed(memory, "boots", days=90)
            good = {"id": id, "session_id": "s", "event_type": "tick", "text": "boots", "limit": 3,
                    "older_than": timedelta(days=1), "below": 0.5}  # fmt: skip
            method = getattr(memory, name)
            given: dict[str, Any] = {}
            for part in inspect.signature(method).parameters.values():
                usual = good.get(part.name, part.default)
                given[part.name] = data.draw(or_else(STRANGE, usual))
            try:
                method(**given)
            except OnrecordError:
                assert store.verify() == []

    fuzz()


@pytest.mark.parametrize("name", ["conversation", "observation", "action"])
def test_no_episode_of_whatever_is_passed(name: str) -> None:
    @settings(max_examples=15)
    @given(st.data())
    def fuzz(data: st.DataObject) -> None:
        make = getattr(Episode, name)
        parts = list(inspect.signature(make).parameters.values())
        given = {part.name: data.draw(or_else(STRANGE, part.default, "x")) for part in parts}
        try:
            episode = make(**given)
        except OnrecordError:
            return
        assert str(episode)
        with Store("sqlite://") as store:
            memory = EpisodicMemory(store, agent_id=episode.agent_id)
            try:
                memory.store_episode(episode)
            except OnrecordError:
                return
            (read,) = memory.get_recent_episodes()
            assert (read.content, read.metadata) == (episode.content, episode.metadata)

    fuzz()


BAD_EPISODES: list[Callable[[], Episode]] = [
    lambda: Episode.conversation("", "in", "out"),
    lambda: Episode.conversation("a", None, "out"),  # type: ignore[arg-type]
    lambda: Episode.conversation("a", "in", 7),  # type: ignore[arg-type]
    lambda: Episode.observation("a", ["x"]),  # type: ignore[arg-type]
    lambda: Episode.observation(7, "x"),  # type: ignore[arg-type]
    lambda: Episode.action("a", "x", None),  # type: ignore[arg-type]
    lambda: Episode.observation("a", "x", importance=float("nan")),
    lambda: Episode.observation("a", "x", importance=2),
    lambda: Episode.observation("a", "x", importance=True),
    lambda: Episode.observation("a", "x", metadata="m"),  # type: ignore[arg-type]
    lambda: Episode.observation("a", "x", created_at=datetime(2026, 1, 1)),
]


@pytest.mark.parametrize("number", range(len(BAD_EPISODES)))
def test_an_episode_that_cannot_be_is_refused(number: int) -> None:
    with pytest.raises((Misconfigured, InvalidName, InvalidMessage)):
        BAD_EPISODES[number]()


@pytest.mark.parametrize("half_life", [timedelta(0), timedelta(-1), 30, None])
def test_a_half_life_is_a_time(half_life: Any) -> None:
    with pytest.raises(Misconfigured, match="half_life"):
        fading(half_life)


def test_very_old_and_very_many(store: Store) -> None:
    memory = EpisodicMemory(store, agent_id="a")
    memory.store_episode(Episode.observation("a", "x", created_at=datetime(1, 1, 1, tzinfo=UTC)))
    east = timezone(timedelta(hours=14))
    memory.store_episode(
        Episode.observation("a", "y", created_at=datetime(2020, 1, 1, tzinfo=east))
    )
    assert [e.relevance < 0.01 for e in memory.get_recent_episodes(10**12)] == [True, True]
    assert len(memory.recent(10**12)) == 2
    memory.consolidate(timedelta(days=900_000), joined)
    assert memory.consolidate(timedelta(days=365), joined).episodes == 2


def test_what_others_put_in_the_marks_breaks_nothing(store: Store) -> None:
    """``native`` is data: anybody can write it."""
    session = store.session("episodes", agent="a")
    odd: list[Any] = [
        {"episode": 7, "of": "x"}, {"episode": "x", "of": -1}, {"episode": "x", "of": True},
        {"episode": "summary", "of": 1, "until": "never", "importance": float("nan")},
        {"episode": "x", "part": 9, "of": 3}, {"event": None}, {"event": ["x"]}, "text", None,
        {"event": "tick"}, {"tool_call": 7}, {"episode": "x", "of": 10**9},
    ]  # fmt: skip
    session.append([Message("user", f"m{n}", native={"onrecord.memory": o})
                    for n, o in enumerate(odd)])  # fmt: skip
    session.state.put("episode/x", "no note")
    session.state.put("episode/1.x", {"uses": -3, "pinned": "yes"})
    memory = EpisodicMemory(store, agent_id="a")
    assert len(memory.get_session("episodes")) == len(odd)
    assert "m0" in contents(memory)[0]
    assert memory.get_statistics().messages == len(odd)
    assert memory.search_episodes("m3")[0].importance == 0.5


# Random histories, against a model in plain Python


@dataclass
class Remembered:
    """An episode as the model keeps it."""

    kind: str
    content: str
    days: int
    id: str
    uses: int = 0
    pinned: bool = False
    messages: int = 1

    @property
    def relevance(self) -> float:
        return by_days(Trace(timedelta(days=self.days, hours=1), self.uses, self.kind, 0.5))


@dataclass
class Model:
    """Does to lists what the memory does to messages."""

    memory: EpisodicMemory
    random: Random
    there: list[Remembered] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    n: int = 0

    def step(self) -> None:
        ways = (self.store, self.store, self.turn, self.event, self.delete, self.pin, self.use,
                self.consolidate, self.forget, self.save)  # fmt: skip
        self.random.choice(ways)()

    def new(self) -> tuple[str, int, datetime]:
        self.n += 1
        days = self.random.randrange(120)
        return f"text {self.n}", days, ago(days) - timedelta(hours=1)

    def store(self) -> None:
        text, days, at = self.new()
        kind = self.random.choice(["conversation", "observation", "action"])
        match kind:
            case "conversation":
                episode, said = Episode.conversation("a", text, "out", created_at=at), 2
            case "observation":
                episode, said = Episode.observation("a", text, created_at=at), 1
            case _:
                episode, said = Episode.action("a", text, "came", created_at=at), 2
        id = self.memory.store_episode(episode)
        self.there.append(Remembered(kind, episode.content, days, id, messages=said))

    def event(self) -> None:
        text, days, at = self.new()
        id = self.memory.record("tick", text, "episodes", timestamp=at).id
        self.there.append(Remembered("tick", text, days, id))

    def turn(self) -> None:
        text, days, at = self.new()
        said = [
            Message("user", text, created_at=at),
            Message("assistant", [ToolCall("f", {}, f"c{self.n}")], created_at=at),
            Message("tool", "came", tool_call_id=f"c{self.n}", created_at=at),
            Message("assistant", "out", created_at=at),
        ]
        self.memory._episodes.append(said)
        content = f"user: {text}\nassistant: f{{}}\ntool: came\nassistant: out"
        id = self.memory.recent(10_000)  # the id of its first message
        first = next(e.id for e in id if e.payload == {"content": text, "tool_call": None})
        self.there.append(Remembered("conversation", content, days, first, messages=4))

    def any(self) -> Remembered | None:
        return self.random.choice(self.there) if self.there else None

    def delete(self) -> None:
        if (one := self.any()) is not None:
            assert self.memory.delete_episode(one.id)
            self.there.remove(one)
            self.gone.append(one.id)

    def pin(self) -> None:
        if (one := self.any()) is not None:
            one.pinned = self.random.random() < 0.6
            assert (self.memory.pin if one.pinned else self.memory.unpin)(one.id)

    def use(self) -> None:
        if (one := self.any()) is not None:
            found = self.memory.get_episode(one.id)
            assert found is not None
            assert (found.content, found.uses, found.pinned) == (one.content, one.uses, one.pinned)
            assert found.relevance == pytest.approx(one.relevance)
            one.uses += 1

    def save(self) -> None:
        self.memory.save_uses()

    def consolidate(self) -> None:
        limit, most = self.random.randrange(120), self.random.choice([2, 3, 50])
        runs: list[list[Remembered]] = [[]]
        for one in self.there:
            fits = one.days >= limit and not one.pinned and one.kind != "summary"
            if not fits or len(runs[-1]) == most:
                runs.append([])
            if fits:
                runs[-1].append(one)
        runs = [run for run in runs if len(run) > 1]
        dry_run = self.random.random() < 0.2
        report: Consolidation = self.memory.consolidate(ago(limit), joined, at_most=most,
                                                        dry_run=dry_run)  # fmt: skip
        assert [run.episodes for run in report.runs] == [
            tuple(one.id for one in run) for run in runs
        ]
        assert report.skipped == ()
        if dry_run:
            return
        for run, done in zip(runs, report.runs, strict=True):
            content = " + ".join(one.content for one in run)
            assert done.summary == content
            self.gone += [one.id for one in run]
            at = self.there.index(run[0])
            self.there = [one for one in self.there if one not in run]
            days = min(one.days for one in run)
            self.there.insert(at, Remembered("summary", content, days, done.id))

    def forget(self) -> None:
        below = self.random.choice([0.0, 0.1, 0.3, 0.5])
        fading = [one for one in self.there if one.relevance < below and not one.pinned]
        dry_run = self.random.random() < 0.3
        report = self.memory.forget(below, dry_run=dry_run)
        assert [one.id for one in report.episodes] == [one.id for one in fading]
        if not dry_run:
            self.there = [one for one in self.there if one not in fading]
            self.gone += [one.id for one in fading]

    def check(self) -> None:
        found = list(reversed(self.memory.get_recent_episodes(10_000)))
        assert [(e.id, e.episode_type, e.content) for e in found] == [
            (one.id, one.kind, one.content) for one in self.there
        ]
        assert [(e.uses, e.pinned) for e in found] == [(o.uses, o.pinned) for o in self.there]
        stats = self.memory.get_statistics()
        assert stats.total_episodes == len(self.there)
        assert stats.messages == sum(one.messages for one in self.there)
        assert stats.pinned == sum(one.pinned for one in self.there)
        assert stats.uses == sum(one.uses for one in self.there)
        assert self.memory.statistics().total_events == stats.messages
        if self.there:
            average = sum(one.relevance for one in self.there) / len(self.there)
            assert stats.avg_relevance == pytest.approx(average)
        for id in self.random.sample(self.gone, min(3, len(self.gone))):
            assert self.memory.get_episode(id) is None


def histories() -> Iterator[int]:
    yield from range(int(30 * SEEDS))


def test_random_histories(tmp_path: Path) -> None:
    with Store(f"sqlite:///{tmp_path}/x.db", durability="normal", tail=4) as store:
        for seed in histories():
            memory = EpisodicMemory(
                store, agent_id="a", user=f"u{seed}", relevance=by_days, session="episodes"
            )
            model = Model(memory, Random(seed))
            for _ in range(40):
                model.step()
            model.check()
            for one in model.there[:3]:
                memory.pin(one.id)
        assert store.verify() == []


def some_messages(random: Random) -> list[Message]:
    """A conversation in which several speak at once, and calls are left or answered late."""
    said: list[Message] = []
    calls: list[str] = []
    for n in range(random.randrange(1, 70)):
        match random.randrange(9):
            case 0 | 1:
                said.append(Message("user", f"m{n}"))
            case 2:
                said.append(Message("assistant", f"m{n}"))
            case 3:
                calls.append(f"c{n if random.random() < 0.8 else 0}")
                said.append(Message("assistant", [ToolCall("f", {"n": n}, calls[-1])]))
            case 4:
                call = random.choice(calls) if calls and random.random() < 0.9 else "unheard of"
                said.append(Message("tool", f"m{n}", tool_call_id=call))
            case 5:
                said.append(Message("system", f"m{n}"))
            case 6:
                said += Episode.conversation("a", f"m{n}", "out").messages
            case 7:
                said += Episode.action("a", f"m{n}", "came").messages
            case _:
                said += Episode.observation("a", f"m{n}").messages
    return said


def test_some_episodes_are_read_as_they_are_among_all(tmp_path: Path) -> None:
    with Store(f"sqlite:///{tmp_path}/x.db", durability="normal", tail=4) as store:
        for seed in range(int(25 * SEEDS)):
            random = Random(seed)
            memory = EpisodicMemory(store, agent_id="a", user=f"u{seed}")
            memory._episodes.append(some_messages(random))
            for seq in range(1, memory._episodes.head()):
                if random.random() < 0.1:
                    memory._episodes.delete(seq)
            every = memory.get_recent_episodes(1_000)
            for limit in range(1, len(every) + 2):
                assert memory.get_recent_episodes(limit) == every[:limit], (seed, limit)
            seen: set[int | None] = set()
            for episode in every:
                assert not seen & {m.seq for m in episode.messages}
                seen |= {m.seq for m in episode.messages}
                for message, event in zip(
                    episode.messages, map(event_id, episode.messages), strict=True
                ):
                    assert memory.get_episode(event) == episode, (seed, message)
            left = [m for m in memory._episodes.messages() if m.seq not in seen]
            assert {m.role for m in left} <= {"system"}


def event_id(message: Message) -> str:
    return public_id(mark_of(message), "episodes")


def test_a_random_history_on_each_store(store: Store) -> None:
    model = Model(EpisodicMemory(store, agent_id="a", relevance=by_days), Random(1))
    for _ in range(60):
        model.step()
        model.check()
    assert store.verify() == []


def test_its_methods_have_twins_that_agree() -> None:
    for name, method in vars(EpisodicMemory).items():
        if name.startswith("_") or not inspect.isfunction(method) or name.startswith("a"):
            continue
        twin = getattr(EpisodicMemory, f"a{name}")
        assert inspect.signature(twin) == inspect.signature(method), name
        assert twin.__doc__.startswith(f"Like ``{name}``.")


def test_events_are_events(memory: EpisodicMemory) -> None:
    assert isinstance(memory.record("tick", 1, "s"), Event)


def test_one_of_a_thing_is_said_as_one() -> None:
    with Store("sqlite://") as store:
        memory = EpisodicMemory(store, agent_id="a", warn_above=0)
        observed(memory, "hello")
        (said, high) = (memory.statistics(), memory.get_statistics())
    assert "1 event in 1 session\n" in str(said)
    assert str(high).startswith("1 episode: 1 observation\n")
    assert "There is 1 episode, more than 0." in str(high)
    assert "<bdi>observation 1</bdi>" in high._repr_html_()
    assert "<bdi>total_events</bdi>" in said._repr_html_()
