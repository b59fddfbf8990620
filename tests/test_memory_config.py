"""One factory: memories as a configuration names them, and what a workflow asks them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from onrecord import (
    InvalidMessage,
    InvalidName,
    InvalidValue,
    Misconfigured,
    OnrecordError,
    Session,
    Store,
    StoreClosed,
    Unavailable,
)
from onrecord.memory.config import memory_from
from onrecord.memory.system import MemorySystem
from onrecord.memory.workflow import WorkflowMemory
from tests.children import Child
from tests.test_feed import _place

OpenStore = Callable[..., Store]
Ask = Callable[..., Any]

SOMETHING: dict[str, dict[str, Any]] = {
    "CONVERSATION_BUFFER": {"message": "hello"},
    "VECTOR_DATABASE": {"content": "hello"},
    "WORKING_MEMORY": {"key": "k", "value": "hello"},
    "EPISODIC_MEMORY": {"event_type": "hello", "payload": 1},
}
"""What each kind can store."""
KINDS = tuple(SOMETHING)


@pytest.fixture
def store(each_store: OpenStore) -> Store:
    return each_store()


@pytest.fixture(params=["awaited", "sync"])
def ask(request: pytest.FixtureRequest) -> Iterator[Ask]:
    """Asks a memory by the calls that are awaited, or by those without a loop."""
    if request.param == "sync":
        yield lambda memory, what, *data: getattr(memory, f"{what}_sync")(*data)
    else:
        with asyncio.Runner() as runner:
            yield lambda memory, what, *data: runner.run(getattr(memory, what)(*data))


def made(store: Store, kind: str, **settings: Any) -> WorkflowMemory[Any]:
    return memory_from({"kind": kind, "user_id": "ada", **settings}, store=store)


# -- the origin's examples -----------------------------------------------------------------------


def test_a_conversation_of_the_origin(store: Store) -> None:
    async def work(memory: Any) -> None:
        await memory.store({
            "message": "Hello, how can I help you?",
            "role": "assistant",
            "metadata": {"model": "claude-3-5"}
        })  # fmt: skip
        history = await memory.retrieve({"limit": 20})
        messages = history["messages"]
        context = await memory.get_context({
            "max_messages": 10,
            "format": "conversation"
        })  # fmt: skip
        assert [(m["role"], m["content"], m["metadata"]) for m in messages] == [
            ("assistant", "Hello, how can I help you?", {"model": "claude-3-5"})
        ]
        assert "Hello, how can I help you?" in context

    node = {
        "type": "MEMORY",
        "subtype": "CONVERSATION_BUFFER",
        "configurations": {
            "use_advanced": True,
            "use_persistent_storage": True,
            "max_messages": 100,
            "max_tokens": 4000,
            "operation": "store",
        },
    }
    memory = memory_from(node, store=store)
    asyncio.run(work(memory))
    assert memory.run_sync({"message": "Where is my order?"})["role"] == "user"
    assert memory.retrieve_sync()["count"] == 2


def test_a_vector_database_of_the_origin(store: Store) -> None:
    async def work(memory: Any) -> None:
        await memory.store({
            "content": "Important document content here",
            "document_type": "policy",
            "metadata": {"department": "legal"}
        })  # fmt: skip
        await memory.store({"content": "The policy on remote work allows two days a week."})
        results = await memory.retrieve({
            "query": "What is the policy on remote work?",
            "limit": 5,
            "similarity_threshold": 0.7
        })  # fmt: skip
        assert [one["content"] for one in results["results"]] == [
            "The policy on remote work allows two days a week."
        ]
        assert results["count"] == 1
        assert results["results"][0]["score"] >= 0.7
        (document,) = (await memory.retrieve({"query": "important document"}))["results"]
        assert document["metadata"] == {"document_type": "policy", "department": "legal"}

    asyncio.run(work(made(store, "VECTOR_DATABASE", similarity_threshold=0.3)))


def test_a_working_memory_of_the_origin(store: Store) -> None:
    async def work(memory: Any) -> None:
        await memory.store({
            "key": "user_session",
            "value": {"preferences": {"theme": "dark"}},
            "ttl_seconds": 3600  # 1 hour
        })  # fmt: skip
        session_data = await memory.retrieve({"key": "user_session"})
        assert session_data["value"] == {"preferences": {"theme": "dark"}}

    asyncio.run(work(made(store, "WORKING_MEMORY", default_ttl=3600)))


def test_the_origin_s_settings_are_taken_by_every_kind(store: Store) -> None:
    """They stand in one block there."""
    block = {
        "use_persistent_storage": True,
        "use_advanced": True,
        "max_messages": 100,
        "max_tokens": 4000,
        "similarity_threshold": 0.3,
        "default_ttl": 3600,
    }
    for kind in KINDS:
        assert made(store, kind, **block).kind == kind


# -- conversations -------------------------------------------------------------------------------


def test_a_conversation_within_limits(store: Store, ask: Ask) -> None:
    memory = made(store, "CONVERSATION_BUFFER", max_messages=4)
    for n in range(10):
        ask(memory, "store", {"message": f"message {n}", "role": ("user", "assistant")[n % 2]})
    shown = ask(memory, "retrieve", {"limit": 50})
    assert [m["content"] for m in shown["messages"]] == [f"message {n}" for n in range(6, 10)]
    assert shown["count"] == 4, "max_messages is the most, and what is older is kept"
    assert memory.memory.session.count() == 10
    assert ask(memory, "retrieve", {"limit": 2})["count"] == 2
    assert ask(memory, "retrieve")["messages"] == shown["messages"]
    first = shown["messages"][0]
    assert set(first) == {"id", "role", "content", "metadata", "timestamp"}
    few = made(store, "CONVERSATION_BUFFER", max_tokens=shown["tokens"] - 1)
    assert ask(few, "retrieve")["count"] == 2
    assert ask(few, "retrieve", {"max_tokens": 10**6})["count"] == 2
    assert ask(made(store, "CONVERSATION_BUFFER"), "retrieve")["count"] == 10
    assert memory.memory.stats().roles == {"assistant": 5, "user": 5}


def test_a_conversation_as_text_for_a_prompt(store: Store, ask: Ask) -> None:
    memory = made(store, "CONVERSATION_BUFFER")
    assert ask(memory, "get_context") == ""
    for n in range(30):
        ask(memory, "store", {"message": f"message {n}"})
    assert ask(memory, "get_context", {"max_messages": 2}) == "user: message 28\nuser: message 29"
    assert ask(memory, "get_context", {"limit": 1, "format": "conversation"}) == "user: message 29"
    assert "message 29" in ask(memory, "get_context", {"format": "compact"})
    summary = ask(memory, "get_context", {"format": "summary", "max_messages": 2})
    assert "message 29" in summary
    short = ask(memory, "get_context", {"max_tokens": 20})
    assert "message 29" in short
    assert "message 0" not in short
    with pytest.raises(Misconfigured, match="format"):
        ask(memory, "get_context", {"format": "xml"})


def test_what_a_message_can_have(store: Store, ask: Ask) -> None:
    memory = made(store, "CONVERSATION_BUFFER")
    call = {"id": "c1", "name": "search", "args": {"q": "x"}}
    stored = ask(memory, "store", {"role": "assistant", "content": "", "tool_calls": [call]})
    assert stored["sequence"] == 1
    ask(memory, "store", {"role": "tool", "content": "3", "tool_call_id": "c1", "name": "search"})
    messages = ask(memory, "retrieve")["messages"]
    assert messages[0]["tool_calls"] == [call]
    assert (messages[1]["tool_call_id"], messages[1]["name"]) == ("c1", "search")
    again = {"message": "once", "id": "node-7"}
    assert ask(memory, "store", again) == ask(memory, "store", again), "a node that is run again"
    assert memory.memory.session.count() == 3


def test_a_write_that_fails_keeps_nothing(
    store: Store, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever runs the node again does not say it twice."""

    def fails(*given: Any, **more: Any) -> Any:
        raise Unavailable("away")

    async def afails(*given: Any, **more: Any) -> Any:
        raise Unavailable("away")

    memory = made(store, "CONVERSATION_BUFFER")
    with monkeypatch.context() as patch:
        patch.setattr(Session, "append", fails)
        patch.setattr(Session, "aappend", afails)
        with pytest.raises(Unavailable):
            ask(memory, "store", {"message": "hello"})
    ask(memory, "store", {"message": "hello"})
    assert ask(memory, "retrieve")["count"] == 1


# -- the other kinds -----------------------------------------------------------------------------


def test_knowledge(store: Store, ask: Ask) -> None:
    memory = made(store, "semantic", namespace="policies", similarity_threshold=0.5)
    stored = ask(memory, "store", {"content": "Remote work is allowed.", "page": 3})
    assert stored["metadata"] == {"page": 3}
    assert ask(memory, "store", {"content": "Remote work is allowed."})["id"] == stored["id"]
    assert ask(memory, "retrieve", {"id": stored["id"]})["results"] == [stored]
    assert ask(memory, "retrieve", {"id": "nothing"}) == {"results": [], "count": 0}
    ask(memory, "store", {"content": "Expenses are paid."})
    newest = ask(memory, "retrieve", {"limit": 1})["results"]
    assert [one["content"] for one in newest] == ["Expenses are paid."]
    assert ask(memory, "retrieve", {"query": "quantum physics"})["results"] == []
    about = {"query": "remote work", "format": "list"}
    assert ask(memory, "get_context", about) == "- Remote work is allowed."
    assert ask(memory, "get_context", {"query": "quantum physics"}) == ""
    assert store.items("policies", user="ada", agent="workflow").count() == 2


def test_values(store: Store, ask: Ask) -> None:
    memory = made(store, "working", default_ttl=None)
    assert ask(memory, "get_context") == ""
    ask(memory, "store", {"key": "a", "value": None})
    ask(memory, "store", {"key": "b", "value": "one\ntwo"})
    assert ask(memory, "retrieve", {"key": "a"}) == {"key": "a", "found": True, "value": None}
    assert ask(memory, "retrieve", {"key": "c"})["found"] is False
    assert ask(memory, "retrieve") == {"values": {"a": None, "b": "one\ntwo"}, "count": 2}
    assert ask(memory, "get_context").splitlines()[0] == "- a: None"
    assert len(ask(memory, "get_context").splitlines()) == 2
    assert len(ask(memory, "get_context", {"format": "compact"}).splitlines()) == 1
    assert memory.memory.ttl is None
    session = made(store, "working", session_id="s1")
    assert ask(session, "retrieve")["count"] == 0, "a session has keys of its own"


def test_episodes(store: Store, ask: Ask) -> None:
    memory = made(store, "episodic", session_id="visit")
    stored = ask(memory, "store", {"event_type": "page", "payload": {"path": "/shoes"}})
    assert (stored["session_id"], stored["payload"]) == ("visit", {"path": "/shoes"})
    said = {"event_type": "session_user", "payload": {"content": "Do you have\nsandals?"}}
    ask(memory, "store", {**said, "session_id": "chat"})
    events = ask(memory, "retrieve", {"session_id": "visit"})["events"]
    assert [one["event_type"] for one in events] == ["page"]
    assert ask(memory, "retrieve")["count"] == 2
    ask(memory, "store", {"event_type": "page", "payload": {"path": "/boots"}})
    newest = ask(memory, "retrieve", {"session_id": "visit", "limit": 1})["events"]
    assert [one["payload"]["path"] for one in newest] == ["/boots"]
    (found,) = ask(memory, "retrieve", {"query": "sandals", "limit": 1})["events"]
    assert found["session_id"] == "chat"
    lines = ask(memory, "get_context").splitlines()
    assert [line.split("] ")[1] for line in lines] == [
        "page: {'path': '/shoes'}",
        "session_user: Do you have sandals?",
        "page: {'path': '/boots'}",
    ]


def test_the_operation_is_what_run_does(store: Store, ask: Ask) -> None:
    memory = made(store, "working", operation="store")
    ask(memory, "run", {"key": "a", "value": 1})
    assert ask(made(store, "working", operation="retrieve"), "run")["values"] == {"a": 1}
    assert ask(made(store, "working", operation="get_context"), "run") == "- a: 1"
    with pytest.raises(Misconfigured, match="names no operation"):
        ask(made(store, "working"), "run")


# -- where it is ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_in_memory_it_is_the_same_and_ends_with_the_process(
    store: Store, ask: Ask, kind: str
) -> None:
    memory = made(store, kind, use_persistent_storage=False)
    other = made(store, kind, use_persistent_storage=False)
    ask(memory, "store", SOMETHING[kind])
    assert ask(memory, "retrieve")["count"] == 1
    assert ask(other, "retrieve")["count"] == 0
    assert ask(made(store, kind), "retrieve")["count"] == 0, "nothing came into the store"
    memory.close()
    other.close()
    with pytest.raises(StoreClosed):
        ask(memory, "retrieve")


@pytest.mark.parametrize("kind", KINDS)
def test_it_survives_a_kill(each_store: OpenStore, kind: str) -> None:
    with each_store() as store:
        address, cache = _place(store)
        store.session("so that there are tables").append(("user", "x"))

    def die() -> None:
        place = {"url": address} | ({} if cache is None else {"cache": _url(cache)})
        memory = memory_from({"kind": kind, "user_id": "ada", **place})
        memory.store_sync(SOMETHING[kind])
        os.kill(os.getpid(), signal.SIGKILL)

    os.waitpid(Child(die).pid, 0)
    with each_store() as store:
        assert made(store, kind).retrieve_sync()["count"] == 1


def _url(where: str) -> str:
    return where if "://" in where else f"redis://{where}"


def test_scopes_are_walls(store: Store, ask: Ask) -> None:
    """By user, by node and by workflow, as there."""
    places = [
        {"user_id": "ada"},
        {"user_id": "bob"},
        {"user_id": "ada", "memory_node_id": "node-2"},
        {"user_id": "ada", "workflow_id": "w1"},
        {},
    ]
    for number, place in enumerate(places):
        for kind in ("WORKING_MEMORY", "CONVERSATION_BUFFER"):
            memory = memory_from({"kind": kind, **place}, store=store)
            ask(memory, "store", {"message": str(number)} if "CONV" in kind else
                {"key": "k", "value": number})  # fmt: skip
    for number, place in enumerate(places):
        values = memory_from({"kind": "WORKING_MEMORY", **place}, store=store)
        assert ask(values, "retrieve")["values"] == {"k": number}
        talk = memory_from({"kind": "CONVERSATION_BUFFER", **place}, store=store)
        assert [m["content"] for m in ask(talk, "retrieve")["messages"]] == [str(number)]
    assert store.erase(user="ada", agent="workflow").removed


def test_it_is_what_the_other_memories_have(store: Store) -> None:
    """The same agent and user, the same facts and conversations."""
    system = MemorySystem(store, agent_id="guide", user="ada")
    system.semantic.remember("Remote work is allowed.")
    system.working.add_message("user", "hello")
    system.save_session("trip")
    place = {"user_id": "ada", "agent_id": "guide"}
    facts = memory_from({"kind": "VECTOR_DATABASE", **place}, store=store)
    assert facts.retrieve_sync()["count"] == 1
    trip = {"kind": "CONVERSATION_BUFFER", "session_id": "trip", **place}
    assert memory_from(trip, store=store).get_context_sync() == "user: hello"


def test_a_store_that_was_given_stays_open(store: Store) -> None:
    for kind in KINDS:
        with made(store, kind) as memory:
            memory.retrieve_sync()
        asyncio.run(_closed(made(store, kind)))
    assert not store.closed


async def _closed(memory: WorkflowMemory[Any]) -> None:
    async with memory:
        await memory.retrieve()


def test_its_own_store_is_closed_with_it(tmp_path: Path) -> None:
    config = {"kind": "working", "url": f"sqlite:///{tmp_path / 'x.db'}"}
    with memory_from(config) as memory:
        memory.store_sync({"key": "k", "value": 1})
    with pytest.raises(StoreClosed):
        memory.retrieve_sync()
    asyncio.run(_closed(memory_from(config)))
    with memory_from(config) as memory:
        assert memory.retrieve_sync()["values"] == {"k": 1}


def test_the_environment_names_the_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONRECORD_URL", f"sqlite:///{tmp_path / 'env.db'}")
    with memory_from({"kind": "working"}) as memory:
        memory.store_sync({"key": "k", "value": 1})
    assert (tmp_path / "env.db").exists()


def test_an_embedder_is_the_store_s(tmp_path: Path) -> None:
    def topics(texts: list[str]) -> list[list[float]]:
        return [[1.0, float("meat" in t or "vegetarian" in t)] * 16 for t in texts]

    for persistent in (True, False):
        config = {
            "kind": "semantic",
            "embedder": ("topics", topics),
            "use_persistent_storage": persistent,
            "url": f"sqlite:///{tmp_path / 'x.db'}",
        }
        with memory_from(config) as memory:
            assert memory.memory.finds_by == "words and meaning"


# -- files ---------------------------------------------------------------------------------------

TOML = """
kind = "WORKING_MEMORY"
use_persistent_storage = false
default_ttl = 60
"""
NODE = """
type = "MEMORY"
subtype = "WORKING_MEMORY"
[configurations]
use_persistent_storage = false
default_ttl = 60
"""


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("memory.toml", TOML),
        ("node.TOML", NODE),
        ("memory.json", json.dumps({"kind": "working memory", "default_ttl": 60,
                                    "use_persistent_storage": False})),
    ],
)  # fmt: skip
def test_a_file(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, "utf-8")
    for path in (tmp_path / name, str(tmp_path / name)):
        with memory_from(path) as memory:
            assert memory.kind == "WORKING_MEMORY"
            assert memory.memory.ttl == 60


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("memory.yaml", "kind: working", r"yaml\.safe_load"),
        ("memory", "", r"no \.json or \.toml"),
        ("broken.json", "{", "is not what it is called"),
        ("broken.toml", "kind = ", "is not what it is called"),
        ("list.json", "[1]", "has to hold a mapping"),
        ("nan.json", '{"kind": "semantic", "similarity_threshold": NaN}', "from 0 to 1"),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text, "utf-8")
    with pytest.raises(Misconfigured, match=said):
        memory_from(tmp_path / name)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"'none\.json' cannot be read: No such file"):
        memory_from(tmp_path / "none.json")
    (tmp_path / "latin.json").write_bytes(b'{"kind": "\xe9"}')
    with pytest.raises(Misconfigured, match="is not what it is called"):
        memory_from(tmp_path / "latin.json")


# -- what cannot be ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (5, "takes a mapping"),
        (None, "takes a mapping"),
        ({}, "names no kind"),
        ({"kind": "graph"}, "'graph'.*CONVERSATION_BUFFER.*VECTOR_DATABASE"),
        ({"kind": 5}, "no kind of memory 5"),
        ({"type": "VECTOR_DATABASE"}, "subtype, or without a node in kind. .*VECTOR_DATABASE"),
        ("sqlite:///x.db", "takes a mapping.* an address.*'url'"),
        ({"kind": "working", "max_mesages": 5}, "no setting max_mesages.*max_messages"),
        ({"kind": "working", 5: 5}, "no setting 5"),
        ({"kind": "working", "use_persistent_storage": "no"}, "true or false"),
        ({"kind": "working", "use_advanced": 1}, "true or false"),
        ({"kind": "working", "max_messages": 0}, "max_messages"),
        ({"kind": "working", "max_messages": True}, "max_messages"),
        ({"kind": "working", "max_messages": 10_001}, "max_messages"),
        ({"kind": "working", "max_messages": None}, "max_messages"),
        ({"kind": "working", "max_tokens": -1}, "max_tokens"),
        ({"kind": "working", "max_tokens": "4000"}, "max_tokens"),
        ({"kind": "working", "similarity_threshold": 7}, "similarity_threshold"),
        ({"kind": "working", "default_ttl": 0}, "default_ttl"),
        ({"kind": "working", "default_ttl": "1h"}, "default_ttl"),
        ({"kind": "working", "operation": "delete"}, "operation"),
        ({"kind": "working", "url": 5}, "url"),
        ({"kind": "working", "user_id": 5}, "user_id"),
        ({"kind": "working", "agent_id": ""}, "agent_id"),
        ({"kind": "working", "namespace": ""}, "namespace"),
        ({"kind": "working", "user": "a", "user_id": "b"}, "one setting"),
        ({"kind": "working", "tenant": "a", "workflow_id": "b"}, "one setting"),
        ({"kind": "working", "embedder": 5, "use_persistent_storage": False}, "embedder"),
        ({"type": "LLM", "subtype": "x"}, "no memory"),
        ({"type": "MEMORY", "configurations": {}}, "names no kind"),
        ({"type": "MEMORY", "subtype": "WORKING_MEMORY", "configurations": 5}, "a mapping"),
        ({"type": "MEMORY", "subtype": "WORKING_MEMORY", "max_tokens": 5}, "A node has no setting"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(config: Any, said: str) -> None:
    """By the name of what is wrong, before anything is opened."""
    with pytest.raises(OnrecordError, match=f"(?s){said}") as caught:
        memory_from(config)
    assert isinstance(caught.value, Misconfigured | InvalidName)


def test_a_store_beside_an_address_is_refused(store: Store) -> None:
    with pytest.raises(Misconfigured, match="A store is given, and url is configured"):
        made(store, "working", url="sqlite:///x.db")
    with pytest.raises(Misconfigured, match="embedder is configured"):
        made(store, "working", embedder="minilm")
    with pytest.raises(Misconfigured, match=r"onrecord\.Store"):
        memory_from({"kind": "working"}, store="sqlite://")  # type: ignore[arg-type]


def test_no_password_is_shown() -> None:
    with pytest.raises(Misconfigured) as caught:
        memory_from({"kind": "working", "url": "mysql://ada:s3cret@host/db"})
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "what", "data", "error"),
    [
        ("CONVERSATION_BUFFER", "store", {}, Misconfigured),
        ("CONVERSATION_BUFFER", "store", {"message": "x", "content": "x"}, InvalidMessage),
        ("CONVERSATION_BUFFER", "store", {"message": None}, InvalidMessage),
        ("CONVERSATION_BUFFER", "store", {"message": 5}, InvalidMessage),
        ("CONVERSATION_BUFFER", "store", {"message": "x", "role": ""}, InvalidMessage),
        ("CONVERSATION_BUFFER", "store", {"message": "x", "metdata": {}}, Misconfigured),
        ("CONVERSATION_BUFFER", "retrieve", {"limit": 0}, Misconfigured),
        ("CONVERSATION_BUFFER", "retrieve", {"last": 5}, Misconfigured),
        ("CONVERSATION_BUFFER", "get_context", {"max_tokens": -1}, Misconfigured),
        ("VECTOR_DATABASE", "store", {"metadata": {}}, Misconfigured),
        ("VECTOR_DATABASE", "store", {"content": ""}, InvalidValue),
        ("VECTOR_DATABASE", "store", {"content": "x", "metadata": 5}, Misconfigured),
        ("VECTOR_DATABASE", "retrieve", {"query": 5}, Misconfigured),
        ("VECTOR_DATABASE", "retrieve", {"query": "x", "limit": 0}, Misconfigured),
        ("VECTOR_DATABASE", "retrieve", {"query": "x", "similarity_threshold": 7}, Misconfigured),
        ("VECTOR_DATABASE", "retrieve", {"querry": "x"}, Misconfigured),
        ("VECTOR_DATABASE", "get_context", {}, Misconfigured),
        ("WORKING_MEMORY", "store", {"key": "k"}, Misconfigured),
        ("WORKING_MEMORY", "store", {"value": 1}, Misconfigured),
        ("WORKING_MEMORY", "store", {"key": "k", "value": object()}, InvalidValue),
        ("WORKING_MEMORY", "store", {"key": "", "value": 1}, InvalidName),
        ("WORKING_MEMORY", "store", {"key": "k", "value": 1, "ttl": 5}, Misconfigured),
        ("WORKING_MEMORY", "store", {"key": "k", "value": 1, "ttl_seconds": -5}, Misconfigured),
        ("WORKING_MEMORY", "get_context", {"format": "detailed"}, Misconfigured),
        ("EPISODIC_MEMORY", "store", {"event_type": "x"}, Misconfigured),
        ("EPISODIC_MEMORY", "store", {"payload": "x"}, Misconfigured),
        ("EPISODIC_MEMORY", "store", {"event_type": "", "payload": 1}, OnrecordError),
        ("EPISODIC_MEMORY", "retrieve", {"limit": "5"}, Misconfigured),
        ("WORKING_MEMORY", "retrieve", 5, Misconfigured),
        ("WORKING_MEMORY", "retrieve", {5: 5}, Misconfigured),
    ],
)
def test_what_cannot_be_asked_is_refused(
    store: Store, ask: Ask, kind: str, what: str, data: Any, error: type[Exception]
) -> None:
    memory = made(store, kind)
    with pytest.raises(error):
        ask(memory, what, data)
    assert ask(memory, "retrieve")["count"] == 0


def test_what_is_given_stays_as_it_was(store: Store, ask: Ask) -> None:
    config = {"kind": "VECTOR_DATABASE", "user_id": "ada"}
    data = {"content": "x", "metadata": {"a": 1}, "page": 3}
    ask(memory_from(config, store=store), "store", data)
    assert config == {"kind": "VECTOR_DATABASE", "user_id": "ada"}
    assert data == {"content": "x", "metadata": {"a": 1}, "page": 3}
    message = {"message": "x"}
    ask(made(store, "CONVERSATION_BUFFER"), "store", message)
    assert message == {"message": "x"}


def test_an_empty_memory_says_what_it_is() -> None:
    for kind in ("CONVERSATION_BUFFER", "VECTOR_DATABASE", "EPISODIC_MEMORY"):
        with memory_from({"kind": kind, "use_persistent_storage": False}) as memory:
            assert str(memory) == f"({kind}: nothing is kept yet.)"
    with memory_from({"kind": "WORKING_MEMORY", "use_persistent_storage": False}) as memory:
        assert "no messages at hand" in str(memory)


def test_an_address_in_the_place_of_a_file_is_not_shown() -> None:
    with pytest.raises(Misconfigured) as refused:
        memory_from("postgresql://ada:hunter2@host")
    assert "hunter2" not in str(refused.value)
