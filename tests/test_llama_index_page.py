"""What docs/how-to/llama-index.md says of LlamaIndex with our doors, where no other test shows it.

As elsewhere, ``test_upstream`` says what LlamaIndex does whatever its memory and its store.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
from llama_index.core import MockEmbedding, VectorStoreIndex
from llama_index.core.agent.workflow import AgentWorkflow, FunctionAgent, ReActAgent
from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ToolCallBlock,
)
from llama_index.core.chat_engine import SimpleChatEngine
from llama_index.core.chat_engine.types import ChatMode
from llama_index.core.llms.mock import MockFunctionCallingLLM, MockLLM
from llama_index.core.memory import BaseMemory, BaseMemoryBlock, ChatMemoryBuffer, Memory
from llama_index.core.schema import TextNode
from llama_index.core.workflow import Context
from pydantic import Field
from workflows.errors import WorkflowCancelledByUser

from llama_index_onrecord import OnrecordChatStore, OnrecordMemory, OnrecordMemoryStore
from onrecord import Cleared, Misconfigured, Session, Store

# LlamaIndex's workflows look at all that an agent has, also at what pydantic wants to be rid of.
pytestmark = pytest.mark.filterwarnings(
    "ignore:The `__fields:pydantic.PydanticDeprecatedSince20",
    "ignore:Accessing the 'model_:pydantic.warnings.PydanticDeprecatedSince211",
)

T = TypeVar("T")
PATIENCE = 60.0


@pytest.fixture
def store() -> Iterator[Store]:
    with Store("sqlite://") as store:
        yield store


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asyncio.wait_for(work, PATIENCE))


def user(text: str, **more: Any) -> ChatMessage:
    return ChatMessage(role="user", content=text, additional_kwargs=more)


def told(chat: Session) -> list[str]:
    """What is stored, as ``role: words``; of a call, its tool's name."""
    return [f"{m.role}: {m.text or m.tool_calls[0].name}" for m in chat.messages()]


class Model:
    """Says what it is told to say, and notes what it was shown."""

    def __init__(self, *says: Any) -> None:
        self.says = list(says)
        self.shown: list[list[str | None]] = []
        self.llm = MockFunctionCallingLLM(response_generator=self.answer, is_chat_model=True)

    def answer(self, messages: Sequence[ChatMessage], **settings: Any) -> ChatMessage:
        self.shown.append([message.content for message in messages])
        says = self.says.pop(0)
        if isinstance(says, Exception):
            raise says
        return ChatMessage(role="assistant", content=says) if isinstance(says, str) else says

    def agent(self, *tools: Callable[..., Any]) -> Any:
        return FunctionAgent(name="desk", description="Helps.", llm=self.llm, tools=list(tools))


def call(id_: str = "c1") -> ChatMessage:
    block = ToolCallBlock(tool_call_id=id_, tool_name="look", tool_kwargs={})
    return ChatMessage(role="assistant", blocks=[block])


def look() -> str:
    """Looks something up."""
    return "found"


TURN = ["user: q", "assistant: look", "tool: found", "assistant: a"]


class Keeper(BaseMemoryBlock[str]):
    """Keeps what it is given, and fails when it is told to."""

    name: str = "keeper"
    kept: list[str | None] = Field(default_factory=list)
    fault: Exception | None = None

    async def _aget(self, messages: list[ChatMessage] | None = None, **settings: Any) -> str:
        return f"{len(self.kept)} are kept"

    async def _aput(self, messages: list[ChatMessage]) -> None:
        if self.fault is not None:
            raise self.fault
        self.kept += [message.content for message in messages]


def doors(store: Store) -> dict[str, BaseMemory]:
    """Three conversations, one for each way in."""
    chats, queue = OnrecordChatStore(store=store), OnrecordMemoryStore(store=store)
    return {
        "ours": OnrecordMemory.from_defaults("ours", store),
        "buffer": ChatMemoryBuffer.from_defaults(chat_store=chats, chat_store_key="buffer"),
        "queue": Memory.from_defaults(session_id="queue", chat_store=queue),
    }


DOORS = ("ours", "buffer", "queue")


# -- agents --------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:is_running called from within a step:DeprecationWarning")
def test_an_agent_that_reasons_aloud(store: Store) -> None:
    says = ["Thought: a tool.\nAction: look\nAction Input: {}", "Thought: I know.\nAnswer: Here."]
    agent = ReActAgent(llm=Model(*says).llm, tools=[look])

    async def turn() -> None:
        memory = OnrecordMemory.from_defaults("chat", store)
        assert str(await agent.run("Where?", memory=memory)) == "Here."

    run(turn())
    question, answer = told(store.session("chat"))
    assert question == "user: Where?"
    assert "Observation: found" in answer
    assert answer.endswith("Answer: Here.")


@pytest.mark.parametrize("door", DOORS)
def test_upstream_a_history_that_is_passed_replaces_what_is_stored(store: Store, door: str) -> None:
    memory, chat = doors(store)[door], store.session(door)
    engine = SimpleChatEngine.from_defaults(llm=Model("a", "b").llm, memory=memory)

    async def turns() -> None:
        await memory.aput(user("before"))
        await Model("a").agent().run("q", memory=memory, chat_history=[user("x")])
        assert told(chat) == ["user: x", "user: q", "assistant: a"]
        await engine.achat("r", chat_history=[user("y")])
        assert told(chat) == ["user: y", "user: r", "assistant: a"]

    run(turns())


def test_upstream_a_turn_that_was_answered_is_answered_once_more(store: Store) -> None:
    question = user("q", onrecord_id="form-1")

    async def turn(answer: str) -> None:
        memory = OnrecordMemory.from_defaults("chat", store)
        await Model(answer).agent().run(question, memory=memory)

    for answer in ("a", "b"):
        run(turn(answer))
    assert told(store.session("chat")) == ["user: q", "assistant: a", "assistant: b"]


@pytest.mark.parametrize("door", DOORS)
def test_upstream_the_state_of_a_team_is_shown_and_not_stored(store: Store, door: str) -> None:
    memory, model = doors(store)[door], Model("a")

    async def turn() -> None:
        team = AgentWorkflow(agents=[model.agent()], initial_state={"mood": "good"})
        await team.run("q", memory=memory)

    run(turn())
    assert "Current state" in str(model.shown[0])
    assert told(store.session(door)) == ["user: q", "assistant: a"]


@pytest.mark.parametrize("door", DOORS)
def test_upstream_what_a_run_says_after_a_clear_is_stored(store: Store, door: str) -> None:
    memory, chat = doors(store)[door], store.session(door)

    def look() -> str:
        """Looks something up; somebody clears the conversation meanwhile."""
        chat.clear()
        return "found"

    async def turn() -> None:
        await Model(call(), "a").agent(look).run("q", memory=memory)

    if door == "ours":
        with pytest.raises(Cleared):
            run(turn())
        assert told(chat) == []
    else:
        run(turn())
        assert told(chat) == TURN[1:]


def test_runs_at_once_lose_nothing(store: Store) -> None:
    async def turn(name: str) -> None:
        memory = OnrecordMemory.from_defaults("chat", store)
        await Model(call(name), f"a{name}").agent(look).run(f"q{name}", memory=memory)

    async def both() -> None:
        await asyncio.gather(*(turn(str(n)) for n in range(4)))

    run(both())
    messages = store.session("chat").messages()
    assert len(messages) == 16
    for n, message in enumerate(messages):
        if message.tool_calls:
            assert messages[n + 1].tool_call_id == message.tool_calls[0].id
            assert messages[n + 2].text == f"a{message.tool_calls[0].id}"


def test_upstream_a_buffer_adds_the_rounds_of_a_turn_one_by_one(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    append, left = Session.append, [1, 1]  # the question was appended by its twin

    def dies(self: Session, *given: Any, **settings: Any) -> Any:
        if not left:
            raise OSError("died")
        left.pop()
        return append(self, *given, **settings)

    async def turn(memory: BaseMemory) -> None:
        with pytest.raises(OSError, match="died"):
            await Model(call("c1"), call("c2"), "a").agent(look).run("q", memory=memory)

    with monkeypatch.context() as patch:
        patch.setattr(Session, "append", dies)
        run(turn(memory := doors(store)["buffer"]))
    assert told(store.session("buffer")) == TURN[:3]
    left.append(1)
    with monkeypatch.context() as patch:
        patch.setattr(Session, "append", dies)
        run(turn(memory))
    assert told(store.session("buffer"))[3:] == TURN[:2], "a call without its result"
    assert memory.get()[-1].blocks == call("c1").blocks, "and it is shown like that"
    assert OnrecordMemory.from_defaults("buffer", store).get()[-1].role == "tool"


@pytest.mark.parametrize("door", ["ours", "queue"])
def test_the_rounds_of_a_turn_are_added_all_or_none(
    store: Store, monkeypatch: pytest.MonkeyPatch, door: str
) -> None:
    """By one append, whose messages become visible together or not at all."""
    aappend, appended = Session.aappend, list[int]()

    async def counted(self: Session, messages: Any, **settings: Any) -> Any:
        appended.append(len(messages))
        return await aappend(self, messages, **settings)

    async def turn() -> None:
        await Model(call("c1"), call("c2"), "a").agent(look).run("q", memory=doors(store)[door])

    monkeypatch.setattr(Session, "aappend", counted)
    run(turn())
    assert appended == [1, 5]
    assert store.session(door).count() == 6


# -- memory blocks -------------------------------------------------------------------------------


def test_a_block_that_fails_fails_the_run_before_the_model_is_called(store: Store) -> None:
    keeper, model = Keeper(fault=OSError("no model for facts")), Model("a")
    chat = store.session("chat")
    chat.append([("user", "x" * 80), ("assistant", "y" * 80)])
    memory = OnrecordMemory.from_defaults("chat", store, memory_blocks=[keeper], token_limit=40)
    question = user("q", onrecord_id="form-1")

    async def turn() -> None:
        await model.agent().run(question, memory=memory)

    with pytest.raises(OSError, match="no model for facts"):
        run(turn())
    assert model.shown == []
    assert [message.id for message in chat.tail(1)] == ["form-1"]
    keeper.fault = None
    run(turn())
    assert keeper.kept == ["x" * 80, "y" * 80]
    assert told(chat)[2:] == ["user: q", "assistant: a"]


def test_a_block_that_comes_later_is_given_what_falls_out_from_then_on(store: Store) -> None:
    first, later = Keeper(name="first"), Keeper(name="later")

    def said(n: int, *blocks: Keeper) -> None:
        memory = OnrecordMemory.from_defaults(
            "chat", store, memory_blocks=list(blocks), token_limit=60
        )
        memory.put_messages([user(f"q{n} ".ljust(60, "x"))])

    for n in range(4):
        said(n)
    assert first.kept == []
    for n in range(4, 8):
        said(n, first)
    for n in range(8, 12):
        said(n, first, later)
    everything = [message.text for message in store.session("chat").messages()]
    assert first.kept == everything[: len(first.kept)], "also what fell out before it came"
    assert later.kept == first.kept[-len(later.kept) :]
    assert 0 < len(later.kept) <= 5


# -- contexts ------------------------------------------------------------------------------------


def test_upstream_a_context_keeps_the_first_memory_it_is_given(store: Store) -> None:
    async def turns() -> None:
        agent = Model("a", "b").agent()
        context: Any = Context(agent)
        for name in ("first", "second"):
            memory = OnrecordMemory.from_defaults(name, store)
            await agent.run(name, memory=memory, ctx=context)

    run(turns())
    assert [info.key for info in store.sessions()] == ["first"]
    assert len(store.session("first").messages()) == 4


def test_a_misspelt_scope_is_refused(store: Store) -> None:
    with pytest.raises(Misconfigured, match="no setting tennant"):
        OnrecordMemory(store=store, session_id="chat", tennant="acme")
    with pytest.raises(Misconfigured, match="no setting tennant"):
        OnrecordMemory.from_defaults("chat", store, tennant="acme")


@pytest.mark.parametrize(
    "name",
    [
        *("chat_store", "chat_store_key", "tokenizer_fn", "sql_store", "table_name"),
        *("async_database_uri", "async_engine", "db_schema"),
    ],
)
def test_what_only_other_memories_understand_is_refused(store: Store, name: str) -> None:
    """It would be ignored: the conversation would be somewhere else than it was asked for."""
    other: dict[str, Any] = {name: "sqlite+aiosqlite:///chat.db"}
    with pytest.raises(Misconfigured, match=f"no setting {name}.*(store|session_id|token_counter)"):
        OnrecordMemory.from_defaults("chat", store, **other)


@pytest.mark.parametrize("is_async", [False, True])
def test_a_reset_begins_a_new_conversation(store: Store, is_async: bool) -> None:
    memory = OnrecordMemory.from_defaults("chat", store, user="ada")
    memory.put_messages([user("q"), ChatMessage("a", role="assistant")])
    memory.get()
    run(memory.areset()) if is_async else memory.reset()
    assert memory.session_id != "chat"
    assert memory.get() == memory.get_all() == []
    memory.put(ChatMessage("b", role="assistant"))
    assert [message.content for message in memory.get()] == ["b"]
    assert told(store.session("chat", user="ada")) == ["user: q", "assistant: a"]
    assert told(store.session(memory.session_id, user="ada")) == ["assistant: b"]
    again = OnrecordMemory.from_dict(memory.to_dict())
    assert again.get() == memory.get()


@pytest.mark.parametrize("is_async", [False, True])
def test_a_reset_that_clears(store: Store, is_async: bool) -> None:
    memory = OnrecordMemory.from_defaults("chat", store, on_reset="clear")
    memory.put(user("q"))
    memory = OnrecordMemory.from_dict(memory.to_dict())
    run(memory.areset()) if is_async else memory.reset()
    assert (memory.session_id, memory.get_all()) == ("chat", [])
    assert told(store.session("chat")) == []
    with pytest.raises(Misconfigured, match="on_reset"):
        OnrecordMemory.from_defaults("chat", store, on_reset="forget")  # type: ignore[arg-type]


def test_blocks_are_found_again_after_a_reset(store: Store) -> None:
    class Block(BaseMemoryBlock[str]):
        async def _aput(self, messages: list[ChatMessage]) -> None: ...

        async def _aget(self, messages: Any = None, **settings: Any) -> str:
            return "noted"

    memory = OnrecordMemory.from_defaults("chat", store, memory_blocks=[Block(name="notes")])
    memory.reset()
    assert OnrecordMemory.from_dict(memory.to_dict()).memory_blocks == memory.memory_blocks


def test_a_repl_destroys_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    chat = store.session("chat")
    chat.append([("user", "What was said"), ("assistant", "before.")])
    says = iter(["Hello.", "exit"])
    monkeypatch.setattr("builtins.input", lambda prompt: next(says))
    memory = OnrecordMemory.from_defaults("chat", store)
    SimpleChatEngine.from_defaults(llm=MockLLM(), memory=memory).chat_repl()
    assert told(chat) == ["user: What was said", "assistant: before."]
    assert told(store.session(memory.session_id))[0] == "user: Hello."


def test_upstream_a_repl_deletes_what_a_store_holds(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LlamaIndex's own memories ask a store to delete, and say nothing of why."""
    chat = store.session("chat")
    for memory in (
        ChatMemoryBuffer.from_defaults(chat_store=OnrecordChatStore(store), chat_store_key="chat"),
        Memory.from_defaults(session_id="chat", chat_store=OnrecordMemoryStore(store)),
    ):
        chat.append(("user", "What was said before."))
        monkeypatch.setattr("builtins.input", lambda prompt: "exit")
        SimpleChatEngine.from_defaults(llm=MockLLM(), memory=memory).chat_repl()
        assert chat.count() == 0


def test_without_its_extra_it_says_what_to_install() -> None:
    program = """
import sys
sys.modules["llama_index"] = sys.modules["llama_index.core"] = None
import llama_index_onrecord
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    last = ran.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError")
    assert 'pip install "onrecord[llama-index]"' in last


def test_a_greeting_after_a_clear_by_somebody_else_is_said(store: Store) -> None:
    memory, chat = OnrecordMemory.from_defaults("chat", store), store.session("chat")
    memory.put_messages([user("q"), ChatMessage("a", role="assistant")])
    memory.get()
    memory.put(user("r"))
    memory.get()
    memory.put(ChatMessage("b", role="assistant"))
    chat.clear()
    memory.put(ChatMessage("hello again", role="assistant"))
    assert told(chat) == ["assistant: hello again"]


def test_a_memory_says_what_it_is(store: Store) -> None:
    memory = OnrecordMemory.from_defaults("chat", store, user="ada")
    assert repr(memory) == f"OnrecordMemory('chat', user='ada' in {memory.store!r})"
    memory.put(user("hello"))
    assert "hello" in memory._repr_html_()


def test_a_context_has_its_memory_blocks_in_every_run(store: Store) -> None:
    model = Model("a", "b")

    async def turns() -> None:
        agent = model.agent()
        context: Any = Context(agent)
        for text in ("q", "r"):
            memory = OnrecordMemory.from_defaults("chat", store, memory_blocks=[Keeper()])
            await agent.run(text, memory=memory, ctx=context)

    run(turns())
    assert "are kept" in str(model.shown[0])
    assert "are kept" in str(model.shown[1])


@pytest.mark.parametrize("team", [False, True])
def test_upstream_a_context_dumped_in_mid_run_says_something_twice(
    store: Store, team: bool
) -> None:
    async def turn() -> None:
        model = Model(call(), "never", "a", "a", "a")
        agent: Any = AgentWorkflow(agents=[model.agent(look)]) if team else model.agent(look)
        memory = OnrecordMemory.from_defaults("chat", store)
        handler = agent.run(user_msg="q", memory=memory, ctx=Context(agent))
        async for event in handler.stream_events():
            if type(event).__name__ == "AgentOutput":
                dumped = json.dumps(handler.ctx.to_dict())
                await handler.cancel_run()
                break
        with pytest.raises(WorkflowCancelledByUser):
            await handler
        assert told(store.session("chat")) == ["user: q"]
        model.says = [call(), "a"]
        await agent.run(ctx=Context.from_dict(agent, json.loads(dumped)))

    run(turn())
    assert told(store.session("chat")).count("assistant: look") == 2


def test_upstream_a_context_keeps_the_rounds_of_a_run_that_failed(store: Store) -> None:
    async def turns() -> None:
        agent = Model(call(), OSError("died"), "a").agent(look)
        context: Any = Context(agent)
        memory = OnrecordMemory.from_defaults("chat", store)
        with pytest.raises(OSError, match="died"):
            await agent.run("q", memory=memory, ctx=context)
        await agent.run("r", memory=memory, ctx=context)

    run(turns())
    assert told(store.session("chat")) == ["user: q", "user: r", *TURN[1:]]


ELSEWHERE = """
import asyncio, json, sys
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.llms.mock import MockFunctionCallingLLM
from llama_index.core.workflow import Context

def answer(messages, **settings):
    print([message.content for message in messages])
    return ChatMessage(role="assistant", content="b")

async def turn(dumped):
    agent = FunctionAgent(llm=MockFunctionCallingLLM(response_generator=answer), tools=[])
    try:
        await agent.run("r", ctx=Context.from_dict(agent, dumped))
    except ValueError as error:
        print(error)

dumped = json.loads(sys.argv[1])
asyncio.run(turn(dumped["buffer"]))  # before anything has imported llama_index_onrecord
asyncio.run(turn(dumped["ours"]))
asyncio.run(turn(dumped["buffer"]))
"""


def test_contexts_are_restored_in_another_process(tmp_path: Path) -> None:
    async def turn(memory: BaseMemory) -> dict[str, Any]:
        agent = Model("a").agent()
        context: Any = Context(agent)
        await agent.run("q", memory=memory, ctx=context)
        dumped: dict[str, Any] = context.to_dict()
        return dumped

    with Store(f"sqlite:///{tmp_path / 'agents.db'}") as store:
        memories = doors(store)
        dumped = {door: run(turn(memories[door])) for door in ("ours", "buffer")}
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", ELSEWHERE, json.dumps(dumped)],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        refused, *shown = done.stdout.splitlines()
        assert "Invalid ChatStore name: OnrecordChatStore" in refused, done.stderr
        assert shown == ["['q', 'a', 'r']"] * 2, done.stderr
        for door in dumped:
            assert told(store.session(door)) == [
                "user: q",
                "assistant: a",
                "user: r",
                "assistant: b",
            ]


# -- chat engines --------------------------------------------------------------------------------


def test_upstream_a_conversation_without_a_name_is_everybodys(store: Store) -> None:
    for text in ("hers", "his"):
        memory = ChatMemoryBuffer.from_defaults(chat_store=OnrecordChatStore(store=store))
        memory.put(user(text))
    assert told(store.session("chat_history")) == ["user: hers", "user: his"]


@pytest.mark.filterwarnings("ignore:`langchain-community` is being sunset:DeprecationWarning")
def test_an_engine_over_an_index(store: Store) -> None:
    index = VectorStoreIndex([TextNode(text="We open at nine.")], embed_model=MockEmbedding(8))
    for door, memory in doors(store).items():
        engine = index.as_chat_engine(ChatMode.CONTEXT, Model("Nine.").llm, memory=memory)
        assert str(run(engine.achat("When?"))) == "Nine."
        assert told(store.session(door)) == ["user: When?", "assistant: Nine."]


@pytest.mark.parametrize("door", DOORS)
def test_upstream_a_stream_that_nobody_reads_to_its_end(store: Store, door: str) -> None:
    memory = doors(store)[door]

    async def turn() -> None:
        engine = SimpleChatEngine.from_defaults(llm=MockLLM(max_tokens=3), memory=memory)
        answer = await engine.astream_chat("q")
        async for _ in answer.async_response_gen():
            break
        assert answer.awrite_response_to_history_task is not None
        await answer.awrite_response_to_history_task

    run(turn())
    assert told(store.session(door)) == ["user: q", "assistant: text text text"]


class Breaks(MockLLM):
    """A connection that breaks in the middle of an answer."""

    async def astream_chat(
        self, messages: Sequence[ChatMessage], **settings: Any
    ) -> ChatResponseAsyncGen:
        async def words() -> ChatResponseAsyncGen:
            yield ChatResponse(message=ChatMessage(role="assistant", content="a"), delta="a")
            raise OSError("broken")

        return words()


@pytest.mark.parametrize("door", DOORS)
def test_upstream_a_stream_that_breaks_leaves_its_question(store: Store, door: str) -> None:
    async def turn(cancelled: bool) -> None:
        engine = SimpleChatEngine.from_defaults(llm=Breaks(max_tokens=1), memory=doors(store)[door])
        answer = await engine.astream_chat("q")
        task = answer.awrite_response_to_history_task
        assert task is not None
        if cancelled:
            task.cancel()
        with pytest.raises((OSError, asyncio.CancelledError)):
            await task

    run(turn(False))
    run(turn(True))
    assert told(store.session(door)) == ["user: q", "user: q"]


# -- Memory --------------------------------------------------------------------------------------


def test_upstream_how_a_memory_begins_replaces_what_is_stored(store: Store) -> None:
    queue = OnrecordMemoryStore(store=store)
    for _ in range(2):  # the program is started twice
        memory = Memory.from_defaults("chat", [user("Hi.")], chat_store=queue)
        run(memory.aput(user("more")))
    assert told(store.session("chat")) == ["user: Hi.", "user: more"]


def test_what_memory_archives_is_archived_for_everybody(store: Store) -> None:
    queue = OnrecordMemoryStore(store=store)
    memory = Memory.from_defaults(
        "chat", chat_store=queue, token_limit=20, token_flush_size=4, tokenizer_fn=str.split
    )
    for n in range(6):
        run(memory.aput_messages([user(f"one two {n}"), user("three four five")]))
    chat = store.session("chat")
    assert 0 < len(chat.messages(archived=True)) < 12
    assert len(chat.messages()) == 12
