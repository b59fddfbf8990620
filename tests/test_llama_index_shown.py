"""The window that is shown again: as fresh as any other, nobody's but the caller's, no dump's."""

from __future__ import annotations

import asyncio
import copy
import pickle
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.base.llms.types import (
    ChatMessage,
    ImageBlock,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)

from llama_index_onrecord import (
    OnrecordChatStore,
    OnrecordMemory,
    OnrecordMemoryStore,
    to_llama_index,
)
from onrecord import Message, Reasoning, Session, Store, Text, ToolCall, Window
from onrecord.flow import Cold

OpenStore = Callable[[], Store]

BUSY = [
    ChatMessage(role="user", content="Where is it?", additional_kwargs={"deep": {"list": [1]}}),
    ChatMessage(
        role="assistant",
        blocks=[
            ThinkingBlock(content="Hm.", additional_information={"deep": {"list": [1]}}),
            ToolCallBlock(tool_call_id="c1", tool_name="look", tool_kwargs={"in": {"all": [1]}}),
        ],
    ),
    ChatMessage(role="tool", content="There.", additional_kwargs={"tool_call_id": "c1"}),
    ChatMessage(role="assistant", blocks=[ImageBlock(image=b"aGk=", detail="low")]),
]


@pytest.fixture
def store(each_store: OpenStore) -> Store:
    return each_store()


def words(messages: list[ChatMessage]) -> list[str]:
    return [message.content or "" for message in messages]


def wide(store: Store, key: str = "chat", **fields: Any) -> OnrecordMemory:
    return OnrecordMemory(store, session_id=key, token_limit=10_000, **fields)


def said(store: Store, n: int, key: str = "chat") -> Session:
    """More than is kept close at hand, so that a window has to be put together."""
    session = store.session(key)
    session.append([("user" if i % 2 == 0 else "assistant", f"m{i}") for i in range(n)])
    return session


REWRITES: dict[str, Callable[[Session], object]] = {
    "append": lambda s: s.append(("user", "new")),
    "edit": lambda s: s.edit(3, ("user", "changed")),
    "delete": lambda s: s.delete(3),
    "rewind": lambda s: s.rewind(150),
    "clear": lambda s: s.clear(),
    "erase": lambda s: s.erase(),
    "erase and say as much": lambda s: (
        s.erase(),
        s.append([("user", f"another {i}") for i in range(200)]),
    ),
    "clear and say as much": lambda s: (
        s.clear(),
        s.append([("user", f"other {i}") for i in range(200)]),
    ),
}


def test_what_another_worker_did_is_seen_at_once(each_store: OpenStore) -> None:
    ours, theirs = each_store(), each_store()
    for what, rewrite in REWRITES.items():
        session = said(theirs, 200, what)
        memory = wide(ours, what)
        before = words(memory.get())
        assert before == words(memory.get()) == [f"m{i}" for i in range(200)]
        rewrite(session)
        after = words(memory.get())
        assert after == [m.text for m in session.messages()] != before, what
        session.append(("user", "and again"))
        assert words(asyncio.run(memory.aget())) == [*after, "and again"]


def test_the_same_window_costs_no_read_of_the_messages(tmp_path: Path) -> None:
    with Store(f"sqlite:///{tmp_path}/x.db") as store:
        said(store, 400)
        memory, steps, perform = wide(store), 0, store._perform

        def counted(step: Any) -> Any:
            nonlocal steps
            steps += isinstance(step, Cold)
            return perform(step)

        store._perform = counted  # type: ignore[method-assign]
        first = memory.get()
        assert steps > 0
        steps = 0
        assert memory.get() == first
        assert steps == 0
        memory.put(ChatMessage(role="user", content="more"))
        assert words(memory.get()) == [*words(first), "more"]


def test_other_limits_and_counters_have_windows_of_their_own(store: Store) -> None:
    session = said(store, 100)
    memory = wide(store)
    assert len(memory.get()) == 100
    assert len(memory.get(initial_token_count=9_900)) < 50
    memory.token_limit = 200
    assert len(memory.get()) < 50
    memory.token_counter = lambda message: 2
    assert len(memory.get()) == 100
    memory.session_id = "other"
    assert memory.get() == []
    assert session.count() == 100


def test_what_is_returned_is_the_callers(store: Store) -> None:
    memory = wide(store)
    memory.put_messages(BUSY)
    whole = copy.deepcopy(memory.get())
    assert whole == BUSY
    for message in memory.get():
        for block in message.blocks:
            match block:
                case TextBlock():
                    block.text = "changed"
                case ThinkingBlock():
                    block.additional_information["deep"]["list"].append(2)
                case ToolCallBlock(tool_kwargs=dict() as given):
                    given["in"]["all"].append(2)
        message.blocks = [*message.blocks, TextBlock(text="added")]
        message.additional_kwargs["session_id"] = "chat"
        message.additional_kwargs.get("deep", {}).get("list", []).append(2)
    assert memory.get() == whole


def test_a_message_made_twice_shares_nothing(store: Store) -> None:
    deep: dict[str, Any] = {"list": [{"n": 1}]}
    message = Message(
        "assistant",
        (
            Reasoning("Hm.", None, {"llama_index": {"more": {"deep": deep}}}),
            ToolCall("look", {"deep": deep}, "c1"),
            Text("There."),
        ),
        native={"llama_index": {"kwargs": {"deep": deep}}},
    )
    whole = copy.deepcopy(message)
    made = to_llama_index(message)
    deep_in: Any = [
        made.additional_kwargs,
        made.blocks[0].additional_information,  # type: ignore[union-attr]
        made.blocks[1].tool_kwargs,  # type: ignore[union-attr]
    ]
    for holder in deep_in:
        holder["deep"]["list"][0]["n"] = 2
    assert message == whole


@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))]
)
def test_copies_and_pickles_hold_no_window(
    store: Store, again: Callable[[OnrecordMemory], OnrecordMemory]
) -> None:
    memory = wide(store)
    memory.put(ChatMessage(role="user", content="a secret"))
    memory.get()
    assert b"a secret" not in pickle.dumps(memory)
    assert "a secret" not in repr(memory)
    other = again(memory)
    assert other == memory
    other.put(ChatMessage(role="user", content="more"))
    assert words(memory.get()) == words(other.get()) == ["a secret", "more"]


def test_a_backup_that_was_restored_under_us(tmp_path: Path) -> None:
    """The session stands where it stood, with another message in that place."""
    file, kept = tmp_path / "x.db", sqlite3.connect(":memory:")
    with Store(f"sqlite:///{file}") as store:
        memory = wide(store)
        memory.put(ChatMessage(role="user", content="both"))
        live = sqlite3.connect(file)
        live.backup(kept)
        memory.put(ChatMessage(role="user", content="lost"))
        assert words(memory.get()) == ["both", "lost"]
        kept.backup(live)
        live.close()
        kept.close()
        version = store.session("chat").append(("user", "said since"))[-1].seq
        assert version == 2
        store._hot.forget()  # as in another process
        assert words(memory.get()) == ["both", "said since"]


def test_models_are_made_as_pydantic_makes_them(store: Store) -> None:
    """``to_llama_index`` builds them by hand: nothing that pydantic looks at may be missing."""
    kept = OnrecordChatStore(store)
    for i, theirs in enumerate((ChatMessage(role="user", content="hello"), *BUSY)):
        kept.add_message(f"{i}", theirs)
        [ours] = kept.get_messages(f"{i}")
        assert ours == theirs
        assert ours.model_dump() == theirs.model_dump()
        assert ours.model_dump_json() == theirs.model_dump_json()
        assert repr(ours) == repr(theirs)
        assert ours.__getstate__().keys() == theirs.__getstate__().keys()
        for again in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours)), ours.model_copy()):
            assert again == theirs
        assert ChatMessage.model_validate(ours) == theirs
        ours.blocks = [TextBlock(text="other")]
        assert ours.content == "other"
        with pytest.raises(ValueError, match="no field"):
            ours.nonsense = 1  # type: ignore[attr-defined]


def test_what_memory_read_is_remembered_though_it_is_made_as_it_is_read(store: Store) -> None:
    async def two_workers() -> list[str]:
        kept = OnrecordMemoryStore(store)
        await kept.add_messages(
            "chat", [ChatMessage(role="user", content=f"m{i}") for i in range(6)]
        )
        await kept.get_messages("chat")
        other = asyncio.create_task(kept.archive_oldest_messages("chat", 2))
        await other
        return words(await kept.archive_oldest_messages("chat", 3))

    assert asyncio.run(two_workers()) == ["m2"]


def test_windows_are_onrecords_own(store: Store) -> None:
    """What models are shown again is what the session's own window says."""
    session = said(store, 120)
    memory = wide(store, token_counter=lambda message: 100)
    for _ in range(2):
        window: Window = session.window(
            tokens=10_000, repair=True, token_counter=memory.token_counter
        )
        assert words(memory.get()) == [message.text for message in window]
