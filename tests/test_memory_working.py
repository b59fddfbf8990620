"""Working memory: keys that expire, as every process sees them, and messages that are at hand."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from onrecord import (
    ANY,
    Damaged,
    InvalidMessage,
    InvalidName,
    Misconfigured,
    Store,
    StoreClosed,
    Text,
    ToolCall,
)
from onrecord.memory.working import WorkingMemory
from onrecord.memory.working_message import WorkingMessage
from onrecord.testing.contract import Face
from tests.children import Child
from tests.test_feed import _place
from tests.test_item_maintenance import expired

OpenStore = Callable[..., Store]
HOLDS_ITSELF: list[Any] = []
HOLDS_ITSELF.append(HOLDS_ITSELF)


@pytest.fixture
def store(each_store: OpenStore) -> Store:
    return each_store()


# -- keys ----------------------------------------------------------------------------------------


def test_the_keys_of_the_origin(store: Store, face: Face) -> None:
    """With the time to live that a workflow gives."""
    memory = face(WorkingMemory(store, user="ada"))
    memory.set("user_session", {"preferences": {"theme": "dark"}}, ttl_seconds=3600)
    assert memory.get("user_session") == {"preferences": {"theme": "dark"}}
    assert memory.get("nothing") is None
    assert memory.get("nothing", 5) == 5
    memory.set("none", None)
    assert memory.get("none", "default") is None, "None is a value like others"
    assert memory.all() == {"none": None, "user_session": {"preferences": {"theme": "dark"}}}
    assert memory.delete("none")
    assert not memory.delete("none")
    assert memory.all() == {"user_session": {"preferences": {"theme": "dark"}}}


@pytest.mark.parametrize("session_id", [None, "s1"])
def test_mapping_manners(store: Store, session_id: str | None) -> None:
    memory = WorkingMemory(store, session_id=session_id)
    assert len(memory) == 0
    assert memory, "there is one, whatever is in it"
    memory["b"], memory["a"] = 2, [1, {"deep": None}]
    assert memory["a"] == [1, {"deep": None}]
    assert "b" in memory
    assert "c" not in memory
    assert list(memory) == ["a", "b"]
    assert len(memory) == 2
    del memory["b"]
    assert list(memory) == ["a"]
    with pytest.raises(KeyError, match="c"):
        memory["c"]
    with pytest.raises(KeyError, match="c"):
        del memory["c"]
    memory["a"].append("a copy is yours")
    assert memory["a"] == [1, {"deep": None}]


def test_more_keys_than_a_page(store: Store, face: Face, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onrecord.memory.working._PAGE", 5)
    memory = WorkingMemory(store, session_id="s")
    memory._items.put_many({f"working/k{n:02}": n for n in range(10)})
    assert face(memory).all() == {f"k{n:02}": n for n in range(10)}


def test_how_long_a_key_lives(store: Store, face: Face) -> None:
    memory = WorkingMemory(store, ttl=60)
    face(memory).set("own", 1)
    face(memory).set("given", 1, 7200)
    face(WorkingMemory(store, ttl=None)).set("for good", 1)
    items = {item.key: item for item in store.items("working").list()}
    left = {key: item.expires_at for key, item in items.items()}
    now = datetime.now(UTC)
    assert left["for good"] is None
    assert left["own"] is not None
    assert timedelta(0) < left["own"] - now <= timedelta(seconds=61)
    assert left["given"] is not None
    assert timedelta(seconds=7000) < left["given"] - now <= timedelta(seconds=7201)
    assert WorkingMemory(store).ttl == 3600


@pytest.mark.parametrize("session_id", [None, "s1"])
def test_cleanup_takes_rows_away_and_counts_them(
    store: Store, face: Face, session_id: str | None
) -> None:
    memory = WorkingMemory(store, session_id=session_id, user="ada")
    other = WorkingMemory(store, session_id=session_id, user="bob")
    for one in (memory, other):
        for n in range(12):
            one.set(f"k{n:02}", n)
        expired(store, one._items, *[f"{one._prefix}k{n:02}" for n in range(10)])
    assert face(memory).cleanup() == 10
    assert face(memory).cleanup() == 0
    assert face(other).cleanup() == 10, "another user's were left alone"
    assert list(memory) == ["k10", "k11"]


def test_scopes_are_walls(store: Store) -> None:
    scopes: list[dict[str, Any]] = [
        {},
        {"user": "ada"},
        {"user": "bob"},
        {"user": "ada", "agent": "guide"},
        {"tenant": "acme", "user": "ada"},
    ]
    for number, scope in enumerate(scopes):
        WorkingMemory(store, **scope)["k"] = number
        WorkingMemory(store, session_id="s", **scope)["k"] = -number
    for number, scope in enumerate(scopes):
        assert WorkingMemory(store, **scope).all() == {"k": number}
        assert WorkingMemory(store, session_id="s", **scope).all() == {"k": -number}


def test_another_process_sees_the_keys_and_not_the_messages(each_store: OpenStore) -> None:
    with each_store() as store:
        address, cache = _place(store)
        memory = WorkingMemory(store, session_id="s", user="ada")
        memory["plan"] = [1, 2]
        memory.add_message("user", "hello")

    def look() -> Any:
        with Store(address, cache=cache) as store:
            memory = WorkingMemory(store, session_id="s", user="ada")
            memory["theirs"] = True
            return memory.all(), len(memory.messages)

    assert Child(look).result() == ({"plan": [1, 2], "theirs": True}, 0)
    with each_store() as store:
        assert WorkingMemory(store, session_id="s", user="ada")["theirs"] is True


def test_what_is_damaged_is_said(store: Store, face: Face) -> None:
    memory = WorkingMemory(store)
    memory["k"] = 1
    memory["other"] = 2
    store._ledger.write(lambda txn: txn.run("UPDATE {items} SET body = :b", {"b": b"nonsense"}))
    store.invalidate()
    with pytest.raises(Damaged, match="'k'"):
        face(memory).all()
    assert face(memory).delete("k"), "which is what the error says to do"


# -- what cannot be ------------------------------------------------------------------------------


def test_the_longest_key(store: Store) -> None:
    memory = WorkingMemory(store, session_id="s")
    memory["x" * 504] = 1
    assert list(memory) == ["x" * 504]
    with pytest.raises(InvalidName, match="505 characters; 504 are allowed"):
        memory["x" * 505] = 1


def test_what_is_no_store_or_no_name_is_refused() -> None:
    with pytest.raises(Misconfigured, match=r"an onrecord\.Store, not a str"):
        WorkingMemory("sqlite:///x.db")  # type: ignore[arg-type]
    with Store("sqlite://") as store:
        for name in ("", 5, "a\0"):
            with pytest.raises(InvalidName, match="session_id"):
                WorkingMemory(store, session_id=name)  # type: ignore[arg-type]
        with pytest.raises(InvalidName, match="user"):
            WorkingMemory(store, user=5)  # type: ignore[arg-type]
        with pytest.raises(InvalidName, match="agent"):
            WorkingMemory(store, agent=ANY)  # type: ignore[arg-type]


# -- messages ------------------------------------------------------------------------------------

CALL = {"id": "c1", "name": "search", "args": {"q": "lentils"}}
OPENAI = {
    "id": "c1",
    "type": "function",
    "function": {"name": "search", "arguments": '{"q": "lentils"}'},
}
ANTHROPIC = {"type": "tool_use", "id": "c1", "name": "search", "input": {"q": "lentils"}}
BARE = {"name": "search"}
CALLS: list[Any] = [
    CALL,
    OPENAI,
    ANTHROPIC,
    {"name": "search", "arguments": {"q": "lentils"}},
    BARE,
    {**CALL, "args": "not { json"},
]


def test_messages_as_the_origin_reads_them() -> None:
    memory = WorkingMemory()
    memory.add_message("user", "Find lentils.")
    memory.add_message(role="assistant", content="", tool_call=CALL)
    memory.add_message(role="tool", content="3 shops", tool_call={"id": "c1", "name": "search"})
    assert [(m.role, m.content, m.tool_call) for m in memory.messages] == [
        ("user", "Find lentils.", None),
        ("assistant", None, CALL),
        ("tool", "3 shops", {"id": "c1", "name": "search"}),
    ]
    assert memory.unsaved == memory.messages
    assert str(memory).splitlines() == [
        "user: Find lentils.",
        "assistant:",
        '  called search(q="lentils")',
        "  result: 3 shops",
    ]
    memory.messages.clear()
    assert len(memory.messages) == 3, "the list is yours"


@pytest.mark.parametrize("call", CALLS)
def test_a_call_comes_back_as_it_was_given_and_is_one_to_everybody(call: dict[str, Any]) -> None:
    said = WorkingMemory().add_message("assistant", "Let me see.", call)
    assert said.tool_call == call
    assert said.content == "Let me see."
    (block,) = said.message.tool_calls
    assert (block.name, block.id) == ("search", call.get("id"))
    assert block.args in ({"q": "lentils"}, {}, "not { json")
    assert (block.args == {}) == (call == BARE)


def test_several_calls_of_one_message() -> None:
    memory = WorkingMemory()
    said = memory.add_message("assistant", None, [CALL, {"name": "now", "args": {}}])
    assert said.tool_call == [CALL, {"name": "now", "args": {}}]
    assert [call.name for call in said.message.tool_calls] == ["search", "now"]
    mixed = memory.add_message("assistant", None, [ToolCall("a", {}), ANTHROPIC])
    assert mixed.tool_call == [{"name": "a", "args": {}}, ANTHROPIC]
    assert memory.add_message("assistant", None, [CALL]).tool_call == [CALL]


def test_a_result_names_the_call_that_it_answers() -> None:
    said = WorkingMemory().add_message("tool", "3 shops", CALL)
    assert (said.message.tool_call_id, said.message.name) == ("c1", "search")
    assert said.message.tool_calls == ()
    assert said.tool_call == CALL


def test_content_in_blocks() -> None:
    memory = WorkingMemory()
    two = memory.add_message("assistant", [Text("Both."), ToolCall("a", {}), ToolCall("b", {})])
    assert two.content == "Both."
    assert two.tool_call == [{"name": "a", "args": {}}, {"name": "b", "args": {}}]
    assert [call.name for call in two.message.tool_calls] == ["a", "b"]
    picture = {"type": "image_url", "image_url": {"url": "https://example.org/cat.png"}}
    shown = memory.add_message("user", [{"type": "text", "text": "See:"}, picture])
    assert [block.kind for block in shown.message.content] == ["text", "image"]
    assert shown.content == shown.message.content
    called = memory.add_message("assistant", None, ToolCall("c", {"x": 1}))
    assert (called.content, called.tool_call) == (None, {"name": "c", "args": {"x": 1}})


def test_what_was_said_is_a_copy() -> None:
    call: dict[str, Any] = {"name": "s", "args": {"q": [1]}}
    said = WorkingMemory().add_message("assistant", "x", call)
    call["args"]["q"].append(2)
    assert said.tool_call == {"name": "s", "args": {"q": [1]}}


def test_equal_is_what_says_the_same() -> None:
    one, other = WorkingMemory(), WorkingMemory()
    assert one.add_message("user", "x") == other.add_message("user", "x")
    assert one.add_message("user", "x") != other.add_message("user", "y")
    assert one.add_message("user", "x") != "user: x"
    assert one.messages[0].message.id != one.messages[1].message.id, "said twice are two"
    assert repr(one.messages[0]) == "WorkingMessage('user', 'x')"
    with pytest.raises(TypeError, match="unhashable"):
        hash(one.messages[0])


@pytest.mark.parametrize(
    "given",
    [
        ("", "x"),
        (5, "x"),
        ("user", 5),
        ("user", b"x"),
        ("user", object()),
        ("assistant", "x", "search"),
        ("assistant", "x", []),
        ("assistant", "x", [CALL, "search"]),
        ("assistant", "x", {}),
        ("assistant", "x", {"args": {}}),
        ("assistant", "x", {"name": 5}),
        ("assistant", "x", {"name": "s", "args": {"a": object()}}),
        ("assistant", "x", {**OPENAI, "more": object()}),
        ("tool", "x", {"id": 5}),
        ("assistant", "x", HOLDS_ITSELF),
        ("assistant", "x", {"name": "s", "args": {"a": HOLDS_ITSELF}}),
        ("user", None),
        ("Where is my order?", "user"),
        ("x" * 65, "x"),
    ],
)
def test_what_could_not_be_stored_is_refused_when_it_is_said(given: Any) -> None:
    memory = WorkingMemory()
    with pytest.raises(InvalidMessage):
        memory.add_message(*given)
    assert memory.messages == []


# -- a store of its own --------------------------------------------------------------------------


def test_without_a_store_it_has_one_in_memory() -> None:
    with WorkingMemory() as memory, WorkingMemory() as other:
        memory["k"] = 1
        assert memory.store.address == "sqlite://"
        assert other.all() == {}
    with pytest.raises(StoreClosed):
        memory.all()

    async def work() -> dict[str, Any]:
        async with WorkingMemory() as memory:
            await memory.aset("k", 1)
            found = await memory.aall()
        with pytest.raises(StoreClosed):
            await memory.aall()
        await memory.aclose()
        return found

    assert asyncio.run(work()) == {"k": 1}


def test_its_own_store_goes_with_it() -> None:
    memory = WorkingMemory()
    memory["k"] = 1
    store = memory.store
    del memory
    gc.collect()
    assert store.closed


def test_a_store_that_was_given_stays_open(store: Store, face: Face) -> None:
    with WorkingMemory(store) as memory:
        memory["k"] = 1
    face(memory).close()
    assert memory["k"] == 1
    assert repr(WorkingMemory(store, session_id="s", user="ada")).startswith(
        "WorkingMemory(session 's', user='ada' in Store("
    )


def test_a_notebook_shows_keys_and_messages() -> None:
    with WorkingMemory() as memory:
        memory["<plan>"] = 1
        memory.add_message("user", "<b>hello</b>")
        shown = memory._repr_html_()
    assert "&lt;plan&gt;" in shown
    assert "<bdi>user</bdi>" in shown
    assert "&lt;b&gt;hello&lt;/b&gt;" in shown
    assert "<b>hello" not in shown


def test_a_notebook_shows_the_keys_of_a_session_as_the_user_says_them(store: Store) -> None:
    memory = WorkingMemory(store, session_id="s1", user="ada")
    assert "No keys" in memory._repr_html_()
    store.session("s1", user="ada").state.put("of another", "not ours")
    for n in range(21):
        memory[f"step {n:02}"] = ["book", n]
    shown = memory._repr_html_()
    assert "<bdi>step 03</bdi>" in shown
    assert "<bdi>[&#x27;book&#x27;, 3]</bdi>" in shown
    assert "working/" not in shown
    assert "not ours" not in shown
    assert "… and more" in shown
    assert "step 20" not in shown
    store.close()
    assert "could not be read" in memory._repr_html_()


def test_a_memory_without_messages_says_whose_it_is(store: Store) -> None:
    memory = WorkingMemory(store, user="ada", agent="guide")
    memory["step"] = 1
    assert str(memory) == (
        "(Working memory of the whole scope, user='ada', agent='guide': no messages at hand.)"
    )
    assert "user='ada', agent='guide'" in repr(memory)
    assert repr(memory).endswith("0 messages at hand, 0 not saved)")
    memory.add_message("user", "Hello.")
    assert repr(memory).endswith("1 message at hand, 1 not saved)")
    assert str(memory) == "user: Hello."
    session = WorkingMemory(store, user="ada", session_id="s1")
    assert str(session) == "(Working memory of session 's1', user='ada': no messages at hand.)"


def test_messages_are_values() -> None:
    said = WorkingMemory().add_message("user", "x")
    assert isinstance(said, WorkingMessage)
    with pytest.raises(AttributeError):
        said.message = None  # type: ignore[misc, assignment]
