"""The middleware in agents that ``create_agent`` makes, driven as LangGraph really drives it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, closing, contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Protocol, Required

import pytest
from langchain.agents import AgentState, create_agent
from langchain.agents.middleware import (
    AgentMiddleware,
    ClearToolUsesEdit,
    ContextEditingMiddleware,
    HumanInTheLoopMiddleware,
    ModelCallLimitMiddleware,
    ModelFallbackMiddleware,
    PIIMiddleware,
    SummarizationMiddleware,
    ToolCallLimitMiddleware,
    ToolRetryMiddleware,
    hook_config,
)
from langchain.agents.structured_output import ToolStrategy
from langchain.tools import InjectedToolCallId, ToolRuntime
from langchain_core.messages import (
    AIMessage,
    AnyMessage,
    BaseMessage,
    ChatMessage,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.messages.utils import count_tokens_approximately
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import tool
from langgraph.channels.delta import DeltaChannel
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphRecursionError
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.graph.message import _messages_delta_reducer
from langgraph.types import Command, interrupt
from pydantic import BaseModel

from langchain_onrecord import (
    OnrecordChatMessageHistory,
    OnrecordMiddleware,
    from_langchain,
    histories,
    to_langchain,
)
from onrecord import (
    Cleared,
    IdReused,
    Image,
    InvalidName,
    Message,
    Misconfigured,
    OnrecordError,
    Session,
    Store,
    StoreClosed,
    Text,
    ToolCall,
)
from onrecord.ledger.database.transaction import Transaction
from tests.scripted import Scripted

OpenStore = Callable[[], Store]
PATIENCE = 60.0


def on(key: str = "chat", **more: Any) -> Any:
    return {"configurable": {"session_id": key, **more}}


class Invoke(Protocol):
    def __call__(self, agent: Any, said: Any, config: Any = ..., **more: Any) -> Any: ...


def given(said: Any) -> Any:
    """What an agent is called with."""
    match said:
        case str():
            return {"messages": [HumanMessage(said)]}
        case list():
            return {"messages": said}
        case _:
            return said


@pytest.fixture(params=["invoke", "ainvoke"])
def invoke(request: pytest.FixtureRequest) -> Invoke:
    """One call of an agent, and the messages it ends with."""
    return invoked_by(request.param)


def invoked_by(way: str) -> Invoke:
    """By its ``invoke``, or by its ``ainvoke``."""

    def call(agent: Any, said: Any, config: Any = None, **more: Any) -> Any:
        config = on() if config is None else config
        if way == "invoke":
            return agent.invoke(given(said), config, **more)["messages"]
        return asyncio.run(agent.ainvoke(given(said), config, **more))["messages"]

    return call


@pytest.fixture
def store(each_store: OpenStore) -> Store:
    return each_store()


@pytest.fixture
def memory() -> Iterator[Store]:
    """For what does not depend on where things are stored."""
    with Store("sqlite://") as store:
        yield store


def texts(messages: Sequence[Any]) -> list[str]:
    return [str(message.text) for message in messages]


def stored(store: Store, key: str = "chat", **scope: str) -> list[str]:
    """The transcript: who said what."""
    return [
        f"{message.role}: {message.text or ','.join(c.id or '' for c in message.tool_calls)}"
        for message in store.session(key, **scope).messages()
    ]


def shown(messages: Sequence[BaseMessage]) -> list[str]:
    """What a model was shown, in the same way."""
    names = {"human": "user", "ai": "assistant"}
    return [
        f"{names.get(m.type, m.type)}: "
        f"{m.text or ','.join(str(c['id']) for c in getattr(m, 'tool_calls', ()))}"
        for m in messages
    ]


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def calls(*ids: str, name: str = "add", text: str = "", **args: Any) -> AIMessage:
    """A model asks for tools."""
    args = args or {"a": 1, "b": 2}
    return AIMessage(text, tool_calls=[{"name": name, "args": args, "id": id_} for id_ in ids])


def agent_of(
    model: Scripted,
    store: Store,
    tools: Sequence[Any] = (),
    *,
    before: Sequence[AgentMiddleware[Any, Any]] = (),
    after: Sequence[AgentMiddleware[Any, Any]] = (),
    memory: dict[str, Any] | None = None,
    **settings: Any,
) -> Any:
    """An agent that remembers; with other middleware before and after."""
    remembering = OnrecordMiddleware(store, **(memory or {}))
    return create_agent(model, list(tools), middleware=[*before, remembering, *after], **settings)


def assert_paired(messages: Sequence[BaseMessage]) -> None:
    """As providers insist: each call's results right behind it, and no result without a call."""
    waiting: list[str | None] = []
    for message in messages:
        if isinstance(message, ToolMessage):
            assert message.tool_call_id in waiting, shown(messages)
            waiting.remove(message.tool_call_id)
            continue
        assert not waiting, shown(messages)
        if isinstance(message, AIMessage):
            waiting = [call["id"] for call in message.tool_calls]
    assert not waiting, shown(messages)


# -- memory --------------------------------------------------------------------------------------


def test_remembers_across_calls_and_restarts(each_store: OpenStore, invoke: Invoke) -> None:
    model = Scripted(script=["Hello Ada.", calls("c1"), "It is 3.", "You are Ada."])
    agent = agent_of(model, each_store(), [add])
    assert shown(invoke(agent, "I am Ada.")) == ["user: I am Ada.", "assistant: Hello Ada."]
    invoke(agent, "What is 1 + 2?")
    agent = agent_of(model, each_store(), [add])
    result = invoke(agent, "Who am I?")
    expected = [
        "user: I am Ada.",
        "assistant: Hello Ada.",
        "user: What is 1 + 2?",
        "assistant: c1",
        "tool: 3",
        "assistant: It is 3.",
        "user: Who am I?",
    ]
    assert shown(model.shown[-1]) == expected
    expected.append("assistant: You are Ada.")
    assert shown(result) == stored(each_store()) == expected
    assert [message.id for message in result] == [
        message.id for message in each_store().session("chat").messages()
    ]
    turns = [m.metadata.get("turn") for m in each_store().session("chat").messages()]
    ids = [m.id for m in result]
    assert turns == [None, ids[0], None, ids[2], ids[2], ids[2], None, ids[6]]


def test_which_session(store: Store, invoke: Invoke) -> None:
    model = Scripted()
    agent = agent_of(model, store)
    invoke(agent, "by session", {"configurable": {"session_id": "s", "thread_id": "t"}})
    invoke(agent, "by thread", {"configurable": {"thread_id": "t"}})
    invoke(agent_of(model, store, memory={"session_id": "fixed"}), "fixed", {})
    assert texts(store.session("s").messages())[0] == "by session"
    assert texts(store.session("t").messages())[0] == "by thread"
    assert texts(store.session("fixed").messages())[0] == "fixed"


@dataclass
class Who:
    tenant: str
    user: str


def test_names_are_functions_of_the_runtime(store: Store, invoke: Invoke) -> None:
    model = Scripted(script=[calls("c1", "c2"), "done"])
    names = {
        "session_id": lambda runtime: f"chat of {runtime.context.user}",
        "tenant": lambda runtime: runtime.context.tenant,
        "user": lambda runtime: runtime.context.user,
        "agent": "clerk",
    }
    agent = agent_of(model, store, [add], memory=names, context_schema=Who)
    invoke(agent, "hi", {}, context=Who("acme", "ada"))
    expected = ["user: hi", "assistant: c1,c2", "tool: 3", "tool: 3", "assistant: done"]
    assert stored(store, "chat of ada", tenant="acme", user="ada", agent="clerk") == expected
    invoke(agent, "hi", {}, context=Who("acme", "bob"))
    assert shown(model.shown[-1]) == ["user: hi"]


def test_a_name_is_found_once_a_run(memory: Store, invoke: Invoke) -> None:
    names = iter(["first", "second"])
    agent = agent_of(
        Scripted(script=[calls("c1"), "3"]),
        memory,
        [add],
        memory={"session_id": lambda runtime: next(names)},
    )
    invoke(agent, "hi", {})
    assert stored(memory, "first") == ["user: hi", "assistant: c1", "tool: 3", "assistant: 3"]


@pytest.mark.parametrize("config", [{}, {"configurable": {"user_id": "ada"}}, on("")])
def test_without_a_session_id_there_is_advice(memory: Store, invoke: Invoke, config: Any) -> None:
    model = Scripted()
    with pytest.raises(Misconfigured, match=r"session_id.*thread_id"):
        invoke(agent_of(model, memory), "hi", config)
    assert model.shown == []


def test_what_is_no_name_is_refused(memory: Store, invoke: Invoke) -> None:
    with pytest.raises(Misconfigured, match="user has to be a name or a function"):
        OnrecordMiddleware(memory, user=None)  # type: ignore[arg-type]
    with pytest.raises(Misconfigured, match="window"):
        OnrecordMiddleware(memory, window={"words": 5})
    model = Scripted()
    for part in ("session_id", "user"):
        nobody = agent_of(model, memory, memory={part: lambda runtime: None})
        with pytest.raises(InvalidName):
            invoke(nobody, "hi")
    assert model.shown == []


def test_scopes_are_walls(store: Store, invoke: Invoke) -> None:
    model = Scripted()
    for scope in ({"user": "ada"}, {"user": "bob"}, {"tenant": "ada"}, {"agent": "ada"}, {}):
        invoke(agent_of(model, store, memory=scope), f"the secret of {scope}")
        assert len(model.shown[-1]) == 1, scope
    invoke(agent_of(model, store, memory={"user": "ada"}), "again")
    assert shown(model.shown[-1])[0] == "user: the secret of {'user': 'ada'}"
    assert len(model.shown[-1]) == 3


def test_scopes_are_walls_within_one_thread(store: Store, invoke: Invoke) -> None:
    model = Scripted(script=["a1", "b1", RuntimeError("down"), "b2", "a3"])
    agent = agent_of(
        model,
        store,
        memory={"user": lambda runtime: runtime.context.user},
        context_schema=Who,
        checkpointer=InMemorySaver(),
    )
    config = {"configurable": {"thread_id": "shared"}}
    ada, bob = Who("", "ada"), Who("", "bob")
    invoke(agent, "ada's secret", config, context=ada)
    invoke(agent, "bob's secret", config, context=bob)
    assert shown(model.shown[-1]) == ["user: bob's secret"]
    with pytest.raises(RuntimeError, match="down"):
        invoke(agent, "ada's second", config, context=ada)
    assert shown(model.shown[-1])[0] == "user: ada's secret"
    invoke(agent, "bob's second", config, context=bob)
    said = ["user: bob's secret", "assistant: b1", "user: bob's second"]
    assert shown(model.shown[-1]) == said
    assert stored(store, "shared", user="bob") == [*said, "assistant: b2"]
    invoke(agent, "ada's third", config, context=ada)
    said = ["user: ada's secret", "assistant: a1", "user: ada's second", "user: ada's third"]
    assert stored(store, "shared", user="ada") == [*said, "assistant: a3"]


# -- durable as it happens -----------------------------------------------------------------------


def test_all_is_durable_as_it_happens(each_store: OpenStore, invoke: Invoke) -> None:
    outside = each_store()
    seen: list[list[str]] = []

    def look(answer: AIMessage | str) -> Callable[[Any], AIMessage | str]:
        def says(messages: list[BaseMessage]) -> AIMessage | str:
            seen.append(stored(outside))
            return answer

        return says

    @tool
    def peek() -> str:
        """Look into the store from inside of a tool."""
        seen.append(stored(outside))
        return "peeked"

    @tool
    async def apeek() -> str:
        """Look from inside of an async tool."""
        seen.append(stored(outside))
        return "peeked"

    script = [look(calls("c1", name="peek")), look(calls("c2", name="peek")), look("done")]
    model = Scripted(script=script)
    invoke(agent_of(model, each_store(), [peek]), "go")
    happened = ["user: go", "assistant: c1", "tool: peeked", "assistant: c2", "tool: peeked"]
    assert seen == [happened[:n] for n in (1, 2, 3, 4, 5)]
    assert stored(outside) == [*happened, "assistant: done"]

    model = Scripted(script=[calls("c3", name="apeek"), look("done")])
    asyncio.run(agent_of(model, each_store(), [apeek]).ainvoke(given("go"), on()))
    assert seen[-2][6:] == ["user: go", "assistant: c3"]
    assert seen[-1][6:] == ["user: go", "assistant: c3", "tool: peeked"]


@pytest.mark.parametrize("saver", [None, InMemorySaver])
def test_a_model_error_loses_nothing(
    store: Store, invoke: Invoke, saver: Callable[[], Any] | None
) -> None:
    down = RuntimeError("the model is down")
    model = Scripted(script=[down, "a2", calls("c1"), down, "a4"])
    agent = agent_of(model, store, [add], checkpointer=saver and saver())
    config = on(thread_id="t")
    with pytest.raises(RuntimeError, match="is down"):
        invoke(agent, "q1", config)
    assert stored(store) == ["user: q1"]
    invoke(agent, "q2", config)
    with pytest.raises(RuntimeError, match="is down"):
        invoke(agent, "q3", config)
    happened = ["user: q1", "user: q2", "assistant: a2", "user: q3", "assistant: c1", "tool: 3"]
    assert stored(store) == happened
    invoke(agent, "q4", config)
    assert shown(model.shown[-1]) == [*happened, "user: q4"]
    assert stored(store) == [*happened, "user: q4", "assistant: a4"]


def test_a_cancelled_run_keeps_what_was_said(store: Store) -> None:
    at_work = threading.Event()

    @tool
    async def wait() -> str:
        """Wait for ever."""
        at_work.set()
        await asyncio.Event().wait()
        return "never"

    model = Scripted(script=[calls("c1"), calls("c2", name="wait"), "It was cancelled."])
    agent = agent_of(model, store, [add, wait])

    async def cancel() -> None:
        run = asyncio.create_task(agent.ainvoke(given("go"), on()))
        await asyncio.to_thread(at_work.wait, PATIENCE)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run

    asyncio.run(cancel())
    happened = ["user: go", "assistant: c1", "tool: 3", "assistant: c2"]
    assert stored(store) == happened
    asyncio.run(agent.ainvoke(given("And now?"), on()))
    assert_paired(model.shown[-1])
    assert shown(model.shown[-1])[:4] == happened
    assert stored(store) == [*happened, "user: And now?", "assistant: It was cancelled."]


@pytest.mark.parametrize("mode", ["values", "updates", "messages"])
def test_an_abandoned_stream_keeps_what_was_said(store: Store, mode: str) -> None:
    few = 2 if mode == "values" else 1  # the first of the values are the input

    def sync() -> None:
        with closing(agent.stream(given("q"), on(), stream_mode=mode)) as stream:
            for _ in range(few):
                next(stream)

    async def within_a_loop() -> None:
        stream = agent.astream(given("q"), on("async"), stream_mode=mode)
        async with aclosing(stream):
            for _ in range(few):
                await anext(stream)

    model = Scripted(script=["one two three"] * 3)
    agent = agent_of(model, store)
    sync()
    asyncio.run(within_a_loop())
    for key in ("chat", "async"):
        assert stored(store, key)[0] == "user: q"
        agent.invoke(given("again"), on(key))
        assert "user: again" in stored(store, key)


def test_results_are_kept_when_a_tool_beside_them_fails(store: Store, invoke: Invoke) -> None:
    others_are_done = threading.Event()

    @tool
    def fail() -> str:
        """Fail, but after the others."""
        assert others_are_done.wait(PATIENCE)
        raise RuntimeError("the tool broke")

    @tool
    def done(call_id: Annotated[str, InjectedToolCallId]) -> Command[Any]:
        """Answer by a command."""
        return Command(update={"messages": [ToolMessage("commanded", tool_call_id=call_id)]})

    class Watching(AgentMiddleware[Any, Any]):
        """Lets the other fail once the results are stored."""

        def wrap_tool_call(self, request: Any, handler: Any) -> Any:
            try:
                return handler(request)
            finally:
                if {"tool: 3", "tool: commanded"} <= set(stored(store)):
                    others_are_done.set()

        async def awrap_tool_call(self, request: Any, handler: Any) -> Any:
            try:
                return await handler(request)
            finally:
                if {"tool: 3", "tool: commanded"} <= set(stored(store)):
                    others_are_done.set()

    script = calls("c1")
    script.tool_calls += calls("c2", name="done").tool_calls + calls("c3", name="fail").tool_calls
    for call in script.tool_calls[1:]:
        call["args"] = {}
    model = Scripted(script=[script, "I see."])
    agent = agent_of(model, store, [add, done, fail], before=[Watching()])
    with pytest.raises(RuntimeError, match="the tool broke"):
        invoke(agent, "go")
    said = stored(store)
    assert said[:2] == ["user: go", "assistant: c1,c2,c3"]
    assert sorted(said[2:]) == ["tool: 3", "tool: commanded"]
    invoke(agent, "What happened?")
    assert_paired(model.shown[-1])
    assert {"tool: 3", "tool: commanded"} <= set(shown(model.shown[-1]))
    assert stored(store)[4:] == ["user: What happened?", "assistant: I see."]


# -- failures ------------------------------------------------------------------------------------


@contextmanager
def without_its_table(store: Store) -> Iterator[None]:
    """The database refuses reads and writes, as after a mistaken migration."""
    run(store, "ALTER TABLE {tail} RENAME TO elsewhere")
    try:
        yield
    finally:
        run(store, "ALTER TABLE elsewhere RENAME TO onrecord_tail")


def run(store: Store, statement: str) -> None:
    store._ledger.write(lambda txn: txn.run(statement))


def test_a_store_that_fails_fails_the_run(each_store: OpenStore, invoke: Invoke) -> None:
    store, other = each_store(), each_store()
    model = Scripted(script=["a1"])
    agent = agent_of(model, store)
    invoke(agent, "q1")
    other.session("chat").tail()
    with without_its_table(other), pytest.raises(OnrecordError):
        invoke(agent, "q2")
    assert len(model.shown) == 1, "no model is called without the history"
    assert stored(store) == ["user: q1", "assistant: a1"]
    store.close()
    with pytest.raises(StoreClosed):
        invoke(agent, "q2")
    assert len(model.shown) == 1


def test_a_write_that_fails_later_fails_the_run(each_store: OpenStore, invoke: Invoke) -> None:
    """While the model answers, and while a tool works."""
    store, other = each_store(), each_store()
    broken: list[Any] = []

    def break_it() -> None:
        broken.append(without_its_table(other))
        broken[0].__enter__()

    def mend_it() -> None:
        broken.pop().__exit__(None, None, None)

    def answer(messages: list[BaseMessage]) -> str:
        break_it()
        return "never stored"

    @tool
    def ruin() -> str:
        """Break the database."""
        break_it()
        return "ruined"

    model = Scripted(script=["a0", answer, calls("c1", name="ruin"), "You said q1."])
    agent = agent_of(model, store, [ruin])
    invoke(agent, "q0")
    with pytest.raises(OnrecordError):
        invoke(agent, "q1")
    mend_it()
    with pytest.raises(OnrecordError):
        invoke(agent, "q2")
    mend_it()
    assert stored(store)[2:] == ["user: q1", "user: q2", "assistant: c1"]
    invoke(agent, "What did I say?")
    assert_paired(model.shown[-1])
    assert stored(store)[-1] == "assistant: You said q1."


# -- saying it again -----------------------------------------------------------------------------

SAVERS = pytest.mark.parametrize("saver", [None, InMemorySaver])


@SAVERS
def test_a_retry_goes_on_and_says_nothing_twice(
    store: Store, invoke: Invoke, saver: Callable[[], Any] | None
) -> None:
    down = RuntimeError("down")
    model = Scripted(script=[down, calls("c1"), down, "It is 3.", "never asked"])
    agent = agent_of(model, store, [add], checkpointer=saver and saver())
    config = on(thread_id="t")

    def ask() -> Any:
        return invoke(agent, [HumanMessage("1 + 2?", id="q1")], config)

    for _ in range(2):
        with pytest.raises(RuntimeError, match="down"):
            ask()
    happened = ["user: 1 + 2?", "assistant: c1", "tool: 3"]
    assert stored(store) == happened
    assert shown(ask()) == [*happened, "assistant: It is 3."]
    assert shown(model.shown[-1]) == happened
    again = ask()
    assert shown(again) == stored(store) == [*happened, "assistant: It is 3."]
    assert model.script == ["never asked"]


@SAVERS
def test_an_id_stands_for_one_message(
    store: Store, invoke: Invoke, saver: Callable[[], Any] | None
) -> None:
    model = Scripted(script=["a1"])
    agent = agent_of(model, store, checkpointer=saver and saver())
    config = on(thread_id="t")
    invoke(agent, [HumanMessage("q1", id="q")], config)
    with pytest.raises(IdReused, match="'q'"):
        invoke(agent, [HumanMessage("something else", id="q")], config)
    assert stored(store) == ["user: q1", "assistant: a1"]
    assert len(model.shown) == 1


@pytest.mark.parametrize("window", [None, 3])
def test_a_late_retry_is_given_its_own_answer(
    store: Store, invoke: Invoke, window: int | None
) -> None:
    """Queues deliver again, and not always at once."""
    model = Scripted(script=[calls("c1"), "a1", "a2", RuntimeError("down"), "a4", "a3"])
    agent = agent_of(model, store, [add], memory={"window": window})
    first = invoke(agent, [HumanMessage("q1", id="q1")])
    invoke(agent, [HumanMessage("q2", id="q2")])
    again = invoke(agent, [HumanMessage("q1", id="q1")])
    assert shown(again) == shown(first)
    with pytest.raises(RuntimeError, match="down"):
        invoke(agent, [HumanMessage("q3", id="q3")])
    invoke(agent, [HumanMessage("q4", id="q4")])
    late = invoke(agent, [HumanMessage("q3", id="q3")])
    assert texts(late)[-1] == "a3"
    assert "q4" not in texts(model.shown[-1])
    assert len(store.session("chat").messages()) == 10
    window_now = store.session("chat").window()
    assert [m.text for m in window_now][-4:] == ["q3", "a3", "q4", "a4"]


def test_a_retry_is_streamed_as_the_answer_was(memory: Store) -> None:
    model = Scripted(script=["a0", calls("c1"), "It is 3."])
    agent = agent_of(model, memory, [add])
    agent.invoke(given("q0"), on())

    def streamed() -> str:
        stream = agent.stream(given([HumanMessage("?", id="q")]), on(), stream_mode="messages")
        return "".join(part.text for part, about in stream)

    assert streamed() == streamed() == "3It is 3."


@SAVERS
def test_said_again_after_it_was_taken_away(
    store: Store, invoke: Invoke, saver: Callable[[], Any] | None
) -> None:
    model = Scripted(script=["a1", "a2"])
    agent = agent_of(model, store, checkpointer=saver and saver())
    config, session = on(thread_id="t"), store.session("chat")
    question = HumanMessage("q1", id="q")
    invoke(agent, [question], config)
    session.clear()
    assert texts(invoke(agent, [question], config)) == ["q1", "a2"]
    assert shown(model.shown[-1]) == ["user: q1"]
    session.delete(session.messages()[0].seq or 0)
    with pytest.raises(Cleared, match="'q'"):
        invoke(agent, [question], config)
    assert len(model.shown) == 2
    assert stored(store) == ["assistant: a2"]


def test_asked_for_nothing_new(store: Store, invoke: Invoke) -> None:
    """Somebody else has asked, or nobody has."""
    model = Scripted(script=["a1"])
    agent = agent_of(model, store)
    store.session("chat").append(("user", "q1"))
    assert texts(invoke(agent, [])) == ["q1", "a1"]
    assert texts(invoke(agent, [])) == ["q1", "a1"]
    assert len(model.shown) == 1
    question, answer = store.session("chat").messages()
    assert answer.metadata["turn"] == question.id


@pytest.mark.parametrize("window", [2, 4, None])
def test_who_sends_everything_each_time_is_understood(
    store: Store, invoke: Invoke, window: int | None
) -> None:
    """As some frontends do, and graphs that hold an agent."""
    model = Scripted(script=["a0", calls("c1"), calls("d1"), "a1", "a2", "a3"])
    agent = agent_of(model, store, [add], memory={"window": window})
    session = store.session("chat")
    for n in range(4):
        messages = [to_langchain(m) for m in session.messages()]
        invoke(agent, [*messages, HumanMessage(f"q{n}", id=f"q{n}")])
        assert f"q{n}" in texts(model.shown[-1])
    invoke(agent, [HumanMessage("an empty id is none", id="")])
    assert stored(store) == [
        *("user: q0", "assistant: a0"),
        *("user: q1", "assistant: c1", "tool: 3", "assistant: d1", "tool: 3", "assistant: a1"),
        *("user: q2", "assistant: a2"),
        *("user: q3", "assistant: a3"),
        *("user: an empty id is none", "assistant: …"),
    ]


def test_as_a_part_of_a_larger_graph(store: Store, invoke: Invoke) -> None:
    model = Scripted(script=["a1", calls("c1"), "a2"])
    graph = StateGraph(MessagesState)
    graph.add_node("agent", agent_of(model, store, [add]))
    graph.add_edge(START, "agent")
    graph.add_edge("agent", END)
    for whole in (graph.compile(), graph.compile(checkpointer=InMemorySaver())):
        store.session("chat").clear()
        model.script = ["a1", calls("c1"), "a2"]
        invoke(whole, "q1", on(thread_id="t"))
        invoke(whole, "q2", on(thread_id="t"))
        expected = ["user: q1", "assistant: a1", "user: q2", "assistant: c1", "tool: 3"]
        assert shown(model.shown[-1]) == expected
        assert stored(store) == [*expected, "assistant: a2"]


# -- the window ----------------------------------------------------------------------------------


def rounds(session: Session, n: int) -> None:
    """A history of so many turns, with two tools called in each."""
    for i in range(n):
        a, b = ToolCall("add", {"a": i, "b": 1}, f"a{i}"), ToolCall("add", {"a": i}, f"b{i}")
        session.append(
            [
                Message("user", f"question {i}"),
                Message("assistant", [a, b]),
                Message("tool", f"{i + 1}", tool_call_id=f"a{i}"),
                Message("tool", f"{i}", tool_call_id=f"b{i}"),
                Message("assistant", f"answer {i}"),
            ]
        )


def length(messages: Sequence[BaseMessage]) -> int:
    """As tokens count here: the characters."""
    return sum(len(message.text) for message in messages)


@pytest.mark.parametrize(
    ("settings", "most", "tokens"),
    [
        ({"window": 12}, 11, None),
        ({"window": {"messages": 12, "turns": 2}}, 6, None),
        ({"window": {"tokens": 60}}, 6, None),
        ({"window": {"tokens": 60}, "token_counter": length}, 6, 60),
        ({"window": {"tokens": 300}, "token_counter": count_tokens_approximately}, 21, None),
        ({"window": 1}, 1, None),
        ({}, 506, None),
        ({"window": None}, 506, None),
    ],
)
def test_the_model_is_shown_what_fits(
    store: Store, invoke: Invoke, settings: dict[str, Any], most: int, tokens: int | None
) -> None:
    session = store.session("chat")
    rounds(session, 101)
    model = Scripted()
    agent = agent_of(model, store, [add], memory=settings, system_prompt="Be brief.")
    invoke(agent, "the last question")
    (system, *seen) = model.shown[-1]
    assert system == SystemMessage("Be brief.")
    assert seen[-1].text == "the last question"
    assert isinstance(seen[0], HumanMessage)
    assert len(seen) == most
    if tokens is not None:
        assert length(seen) <= tokens
    assert_paired(seen)
    assert len(session.messages()) == 507


def test_a_system_message_that_was_said_first_stays(store: Store, invoke: Invoke) -> None:
    session = store.session("chat")
    session.append(("system", "Speak Latin."))
    rounds(session, 10)
    model = Scripted()
    invoke(agent_of(model, store, memory={"window": 6}), "Salve!")
    assert shown(model.shown[-1]) == ["system: Speak Latin.", "user: Salve!"]


@pytest.mark.parametrize("window", [8, {"tokens": 100}])
def test_within_one_long_turn(store: Store, invoke: Invoke, window: Any) -> None:
    loop = [calls(f"a{n}", f"b{n}") for n in range(30)]
    model = Scripted(script=["old answer", *loop, "It is 3."])
    agent = agent_of(model, store, [add], memory={"window": window})
    invoke(agent, "old question")
    result = invoke(agent, "Add until you are tired.")
    assert len(model.shown) == 32
    for n, seen in enumerate(model.shown[1:]):
        assert len(seen) <= 12
        assert_paired(seen)
        if n > 3:
            assert [m.text for m in seen if isinstance(m, HumanMessage)] == [
                "Add until you are tired."
            ]
    everything = store.session("chat").messages()
    assert len(everything) == 2 + 1 + 30 * 3 + 1
    assert len(result) >= 30 * 3 + 2, "the state is left as it is"


def test_a_message_larger_than_the_window_is_shown_all_the_same(
    memory: Store, invoke: Invoke
) -> None:
    model = Scripted()
    agent = agent_of(model, memory, memory={"window": {"tokens": 50}})
    invoke(agent, "small")
    invoke(agent, "large " * 500)
    assert len(model.shown[-1]) == 1


# -- together with other middleware --------------------------------------------------------------


def summarizing(keep: int = 3, trigger: int = 6) -> SummarizationMiddleware[Any]:
    return SummarizationMiddleware(
        model=Scripted(script=["the summary of all this"] * 99),
        trigger=("messages", trigger),
        keep=("messages", keep),
    )


@SAVERS
@pytest.mark.parametrize("first", [True, False])
def test_a_summary_is_shown_and_not_stored(
    store: Store, invoke: Invoke, first: bool, saver: Callable[[], Any] | None
) -> None:
    script: list[Any] = []
    said = []
    for n in range(6):
        script += [calls(f"c{n}"), calls(f"d{n}"), f"a{n}"]
        said += [f"user: q{n}", f"assistant: c{n}", "tool: 3", f"assistant: d{n}", "tool: 3"]
        said += [f"assistant: a{n}"]
    model = Scripted(script=script)
    others = {"after": [summarizing()]} if first else {"before": [summarizing()]}
    agent = agent_of(model, store, [add], checkpointer=saver and saver(), **others)  # type: ignore[arg-type]
    config = on(thread_id="t")
    for n in range(6):
        result = invoke(agent, f"q{n}", config)
        assert result[-1].text == f"a{n}"
        assert stored(store) == said[: 6 * (n + 1)]
    for seen in model.shown[6:]:
        assert "the summary of" in seen[0].text
        assert_paired(seen)
        assert len(seen) <= 6
    places = {m.id: m.seq or 0 for m in store.session("chat").messages()}
    assert len(places) == len(said)
    for seen in model.shown:
        shown_places = [places[m.id] for m in seen if "the summary of" not in m.text]
        assert shown_places == sorted(shown_places), "what was summed up does not come back"


def test_a_summary_goes_when_the_session_is_cleared(store: Store, invoke: Invoke) -> None:
    model = Scripted(script=[f"a{n}" for n in range(9)])
    agent = agent_of(model, store, after=[summarizing()], checkpointer=InMemorySaver())
    config = on(thread_id="t")
    for n in range(6):
        invoke(agent, f"q{n}", config)
    assert "the summary of" in model.shown[-1][0].text
    store.session("chat").clear()
    assert texts(invoke(agent, "new", config)) == ["new", "a6"]
    assert shown(model.shown[-1]) == ["user: new"]


@pytest.mark.parametrize("cleared", [False, True])
def test_a_summary_that_was_made_just_before_a_failure(
    store: Store, invoke: Invoke, cleared: bool
) -> None:
    down = RuntimeError("down")
    model = Scripted(script=["a0", "a1", down, "a3"])
    agent = agent_of(
        model, store, after=[summarizing(keep=1, trigger=5)], checkpointer=InMemorySaver()
    )
    config = on(thread_id="t")
    for n in range(2):
        invoke(agent, f"q{n}", config)
    with pytest.raises(RuntimeError, match="down"):
        invoke(agent, "q2", config)
    summary = "user: Here is a summary of the conversation to date:\n\nthe summary of all this"
    assert shown(model.shown[-1]) == [summary, "user: q2"]
    if cleared:
        store.session("chat").clear()
    invoke(agent, "q3", config)
    expected = ["user: q3"] if cleared else [summary, "user: q2", "user: q3"]
    assert shown(model.shown[-1]) == expected


def test_what_was_summed_up_does_not_come_back_by_a_retry(store: Store, invoke: Invoke) -> None:
    loop = [calls(f"c{n}") for n in range(4)]
    model = Scripted(script=[*loop, RuntimeError("down"), "a1", "a2"])
    agent = agent_of(model, store, [add], after=[summarizing()], checkpointer=InMemorySaver())
    config, question = on(thread_id="t"), HumanMessage("q1", id="q1")
    with pytest.raises(RuntimeError, match="down"):
        invoke(agent, [question], config)
    invoke(agent, [question], config)
    invoke(agent, "q2", config)
    assert_paired(model.shown[-1])
    assert "summary" in model.shown[-1][0].text
    assert "assistant: c1" not in shown(model.shown[-1])
    assert len(stored(store)) == 12


def test_a_thread_that_began_without_memory(store: Store, invoke: Invoke) -> None:
    """What its checkpoint holds is stored from then on, but for the summary."""
    model = Scripted(script=[f"a{n}" for n in range(9)])
    saver, config = InMemorySaver(), on(thread_id="t")
    before = create_agent(model, [], middleware=[summarizing()], checkpointer=saver)
    for n in range(4):
        invoke(before, f"q{n}", config)
    assert "the summary of" in model.shown[-1][0].text
    agent = agent_of(model, store, checkpointer=saver)
    invoke(agent, "q4", config)
    summary = "user: Here is a summary of the conversation to date:\n\nthe summary of all this"
    assert shown(model.shown[-1])[0] == summary
    expected = ["user: q2", "assistant: a2", "user: q3", "assistant: a3"]
    assert stored(store) == [*expected, "user: q4", "assistant: a4"]


@pytest.mark.parametrize("first", [True, False])
def test_edited_context_is_not_what_is_stored(store: Store, invoke: Invoke, first: bool) -> None:
    editing = ContextEditingMiddleware(
        edits=[ClearToolUsesEdit(trigger=1, keep=1, placeholder="[cleared]")]
    )
    others = {"after": [editing]} if first else {"before": [editing]}
    model = Scripted(script=[*(calls(f"c{n}") for n in range(4)), "done"])
    agent = agent_of(model, store, [add], **others)  # type: ignore[arg-type]
    invoke(agent, "go")
    assert shown(model.shown[-1]).count("tool: [cleared]") == 3
    assert stored(store).count("tool: 3") == 4
    assert "tool: [cleared]" not in stored(store)


@pytest.mark.parametrize("first", [True, False])
def test_a_person_in_the_loop(store: Store, invoke: Invoke, first: bool) -> None:
    """Interrupted, edited, resumed."""
    model = Scripted(script=[calls("c1", "c2", a=1, b=2), "They are 30 and refused.", "a2"])
    person = HumanInTheLoopMiddleware(interrupt_on={"add": True})
    others = {"after": [person]} if first else {"before": [person]}
    agent = agent_of(model, store, [add], checkpointer=InMemorySaver(), **others)  # type: ignore[arg-type]
    config = on(thread_id="t")
    invoke(agent, "1 + 2?", config)
    assert agent.get_state(config).interrupts
    decisions = [
        {"type": "edit", "edited_action": {"name": "add", "args": {"a": 10, "b": 20}}},
        {"type": "reject", "message": "Not this one."},
    ]
    result = invoke(agent, Command(resume={"decisions": decisions}), config)
    said = stored(store)
    assert said[:2] == ["user: 1 + 2?", "assistant: c1,c2"]
    edited, refused = sorted(said[2:4], key=lambda text: "Not this one" in text)
    assert edited.endswith("30")
    assert refused.endswith("Not this one.")
    assert said[4:] == ["assistant: They are 30 and refused."]
    assert sorted(map(str, (m.id for m in result))) == sorted(
        str(m.id) for m in store.session("chat").messages()
    )
    invoke(agent, "And?", config)
    assert_paired(model.shown[-1])
    assert stored(store)[5:] == ["user: And?", "assistant: a2"]


def test_a_person_who_never_decides(store: Store, invoke: Invoke) -> None:
    """And says something else instead."""
    model = Scripted(script=[calls("c1"), "Never mind then."])
    agent = agent_of(
        model,
        store,
        [add],
        after=[HumanInTheLoopMiddleware(interrupt_on={"add": True})],
        checkpointer=InMemorySaver(),
    )
    config = on(thread_id="t")
    invoke(agent, "1 + 2?", config)
    invoke(agent, "Forget it.", config)
    assert_paired(model.shown[-1])
    assert stored(store) == [
        "user: 1 + 2?",
        "assistant: c1",
        "user: Forget it.",
        "assistant: Never mind then.",
    ]


def test_limits_and_fallbacks(store: Store, invoke: Invoke) -> None:
    others: list[AgentMiddleware[Any, Any]] = [
        ModelFallbackMiddleware(Scripted(script=["the fallback's"])),
        ToolCallLimitMiddleware(run_limit=1, exit_behavior="end"),
        ModelCallLimitMiddleware(run_limit=1),
    ]
    model = Scripted(script=[RuntimeError("down"), calls("c1"), calls("c1"), calls("c2")])
    invoke(agent_of(model, store, [add], after=others[:1]), "q1")
    assert stored(store) == ["user: q1", "assistant: the fallback's"]
    invoke(agent_of(model, store, [add], after=others[2:]), "q2")
    assert stored(store)[2:5] == ["user: q2", "assistant: c1", "tool: 3"]
    assert stored(store)[5].startswith("assistant: Model call limits exceeded")
    result = invoke(agent_of(model, store, [add], after=others[1:2]), "q3")
    assert_paired(result)
    assert shown(result) == stored(store)


def test_personal_data_is_taken_out_of_answers_before_they_are_stored(
    store: Store, invoke: Invoke
) -> None:
    redacting = PIIMiddleware("email", apply_to_input=False, apply_to_output=True)
    model = Scripted(script=["Write to ada@example.com."])
    invoke(agent_of(model, store, after=[redacting]), "q")
    assert "example.com" not in "".join(stored(store))


def test_a_tool_that_is_tried_again(store: Store, invoke: Invoke) -> None:
    tries: list[int] = []

    @tool
    def shaky() -> str:
        """Fail at first."""
        tries.append(1)
        if len(tries) < 3:
            raise RuntimeError("shaky")
        return "at last"

    for others in ({"after": [retrying()]}, {"before": [retrying()]}):
        tries.clear()
        model = Scripted(script=[calls("c1", name="shaky"), "done"])
        result = invoke(agent_of(model, store, [shaky], **others), "go")  # type: ignore[arg-type]
        assert shown(result)[-3:] == ["assistant: c1", "tool: at last", "assistant: done"]
        assert stored(store)[-3:] == shown(result)[-3:]


def retrying() -> ToolRetryMiddleware:
    return ToolRetryMiddleware(max_retries=3, initial_delay=0, jitter=False)


class Sum(BaseModel):
    """A sum."""

    value: int


@SAVERS
def test_structured_answers(store: Store, invoke: Invoke, saver: Callable[[], Any] | None) -> None:
    wrong, right = calls("s1", name="Sum", value="three"), calls("s2", name="Sum", value=3)
    model = Scripted(script=[calls("c1"), wrong, right, calls("s3", name="Sum", value=4)])
    agent = agent_of(
        model, store, [add], response_format=ToolStrategy(Sum), checkpointer=saver and saver()
    )
    config = on(thread_id="t")
    result = invoke(agent, "1 + 2?", config)
    assert_paired(result)
    assert shown(result) == stored(store)
    assert len(result) == 7
    result = invoke(agent, "And one more?", config)
    assert len(model.shown[-1]) == 8
    assert_paired(model.shown[-1])
    assert shown(result) == stored(store)


def test_a_tool_that_answers_directly(store: Store, invoke: Invoke) -> None:
    @tool(return_direct=True)
    def direct() -> str:
        """Answer instead of the model."""
        return "direct"

    model = Scripted(script=[calls("c1", name="direct"), "a2"])
    agent = agent_of(model, store, [direct])
    result = invoke(agent, "q1")
    assert shown(result) == stored(store) == ["user: q1", "assistant: c1", "tool: direct"]
    invoke(agent, "q2")
    assert shown(model.shown[-1]) == ["user: q1", "assistant: c1", "tool: direct", "user: q2"]


def test_tools_that_answer_by_commands(store: Store, invoke: Invoke) -> None:
    @tool
    def command(runtime: ToolRuntime[Any, Any]) -> Command[Any]:
        """Answer, and say something besides."""
        messages = [
            ToolMessage("commanded", tool_call_id=runtime.tool_call_id or ""),
            HumanMessage("And be quick."),
        ]
        return Command(update={"messages": messages})

    @tool
    def several(runtime: ToolRuntime[Any, Any]) -> list[Any]:
        """Answer by a list."""
        return [
            ToolMessage("one of several", tool_call_id=runtime.tool_call_id or ""),
            Command(update={"messages": [AIMessage("by the way")]}),
        ]

    def look(messages: list[BaseMessage]) -> AIMessage:
        assert stored(store) == shown(messages), "all of it is durable by now"
        return calls("c2", name="several")

    model = Scripted(script=[calls("c1", name="command"), look, "done", "a2"])
    agent = agent_of(model, store, [command, several])
    expected = [
        "user: go",
        "assistant: c1",
        "tool: commanded",
        "user: And be quick.",
        "assistant: c2",
        "tool: one of several",
        "assistant: by the way",
        "assistant: done",
    ]
    assert shown(invoke(agent, "go")) == stored(store) == expected
    invoke(agent, "q2")
    assert shown(model.shown[-1]) == [*expected, "user: q2"]


def test_arguments_that_nobody_can_read(store: Store, invoke: Invoke) -> None:
    """LangChain answers such a call itself, at the next chance."""
    broken = AIMessage(
        "",
        invalid_tool_calls=[{"name": "add", "args": '{"a": 1', "id": "c1", "error": None}],
    )
    model = Scripted(script=[broken, "a2", "a3"])
    for n in (1, 2, 3):
        invoke(agent_of(model, store, [add]), f"q{n}")
    assert stored(store)[0] == "user: q1"
    assert stored(store)[-1] == "assistant: a3"


class Offering(AgentMiddleware[Any, Any]):
    """Offers the model a tool that the agent was not given."""

    def wrap_model_call(self, request: Any, handler: Any) -> Any:
        return handler(request.override(tools=[*request.tools, multiply]))

    async def awrap_model_call(self, request: Any, handler: Any) -> Any:
        return await handler(request.override(tools=[*request.tools, multiply]))


class Executing(AgentMiddleware[Any, Any]):
    """Executes it."""

    def wrap_tool_call(self, request: Any, handler: Any) -> Any:
        known = request.tool is not None or request.tool_call["name"] != "multiply"
        return handler(request if known else request.override(tool=multiply))

    async def awrap_tool_call(self, request: Any, handler: Any) -> Any:
        known = request.tool is not None or request.tool_call["name"] != "multiply"
        return await handler(request if known else request.override(tool=multiply))


@tool
def multiply(a: int, b: int) -> int:
    """Multiply two numbers."""
    return a * b


@pytest.mark.parametrize("first", [False, True], ids=["offered before", "offered behind"])
@pytest.mark.parametrize("tools", [[], [add]], ids=["no tools", "a tool"])
def test_a_tool_that_nobody_executes_is_refused_as_without_memory(
    store: Store, invoke: Invoke, tools: Any, first: bool
) -> None:
    others: dict[str, Any] = {"after" if first else "before": [Offering()]}
    said = "(?s)Middleware added tools.*Unknown tools: .*multiply.*Registered tools: "

    def model() -> Scripted:
        return Scripted(script=[calls("c1", name="multiply"), "done"])

    alone, remembering = model(), model()
    with pytest.raises(ValueError, match=said):
        invoke(create_agent(alone, tools, middleware=[Offering()]), "q")
    with pytest.raises(ValueError, match=said):
        invoke(agent_of(remembering, store, tools, **others), "q")
    assert alone.shown == remembering.shown == [], "before the model is called"
    # Where somebody executes it, and where the model has made the tool up, nothing is refused.
    others = {name: [*several, Executing()] for name, several in others.items()}
    agent = agent_of(model(), store, tools, **others)
    assert texts(invoke(agent, "q", on("executed")))[-2:] == ["2", "done"]
    made_up = Scripted(script=[calls("c1", name="divide"), "sorry"])
    agent = agent_of(made_up, store, [add], **others)
    [*_, refused, answer] = invoke(agent, "q", on("made up"))
    assert "divide is not a valid tool" in refused.text
    assert answer.text == "sorry"


class Wrapping(AgentMiddleware[Any, Any]):
    """Wraps tool calls, and executes none."""

    def wrap_tool_call(self, request: Any, handler: Any) -> Any:
        return handler(request)

    async def awrap_tool_call(self, request: Any, handler: Any) -> Any:
        return await handler(request)


class WrappingToo(OnrecordMiddleware):
    """Might execute what it was not given."""

    def wrap_tool_call(self, request: Any, handler: Any) -> Any:
        return super().wrap_tool_call(request, handler)


@pytest.mark.parametrize("first", [False, True], ids=["behind it", "before it"])
def test_a_tool_that_somebody_might_execute_is_not_refused(
    store: Store, invoke: Invoke, first: bool
) -> None:
    """As without memory: the model is told that there is no such tool."""
    script: list[Any] = [calls("c1", name="multiply"), "done"]
    alone = create_agent(Scripted(script=list(script)), [add], middleware=[Offering(), Wrapping()])
    expected = texts(invoke(alone, "q"))
    assert "multiply is not a valid tool" in expected[-2]
    others: dict[str, Any] = {"after" if first else "before": [Wrapping(), Offering()]}
    agent = agent_of(Scripted(script=list(script)), store, [add], **others)
    assert texts(invoke(agent, "q")) == expected
    alike: list[Any] = [WrappingToo(store), Offering()]
    agent = create_agent(Scripted(script=list(script)), [add], middleware=alike)
    assert texts(invoke(agent, "q", on("a class of theirs"))) == expected


@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_a_turn_takes_few_steps_of_the_recursion_limit(
    memory: Store, invoke: Invoke, rounds: int
) -> None:
    """For n calls of the model 2n - 1 alone, and two more with it, at the begin and at the end.
    LangGraph wants to be left one."""
    script = [*(calls(f"c{n}") for n in range(1, rounds)), "done"]
    steps = 2 * rounds + 2
    for limit in (steps, steps - 1):
        agent = agent_of(Scripted(script=list(script)), memory, [add])
        config = {**on(f"of {limit}"), "recursion_limit": limit}
        if limit == steps:
            assert texts(invoke(agent, "q", config))[-1] == "done"
            continue
        with pytest.raises(GraphRecursionError):
            invoke(agent, "q", config)
    alone = create_agent(Scripted(script=list(script)), [add])
    invoke(alone, "q", {"recursion_limit": 2 * rounds})
    alone = create_agent(Scripted(script=list(script)), [add])
    with pytest.raises(GraphRecursionError):
        invoke(alone, "q", {"recursion_limit": 2 * rounds - 1})
    own = {name for name in agent.get_graph().nodes if "Onrecord" in name}
    assert own == {"OnrecordMiddleware.before_agent", "OnrecordMiddleware.after_agent"}


def test_many_calls_at_once_are_stored_as_one_message(memory: Store, invoke: Invoke) -> None:
    """More than a retry reaches back over: the last tool begins long after the first."""
    many = [f"c{n}" for n in range(300)]
    agent = agent_of(Scripted(script=[calls(*many), "done"]), memory, [add])
    invoke(agent, "q", {**on(), "max_concurrency": 1})
    said = [message.role for message in memory.session("chat").messages()]
    assert said == ["user", "assistant", *["tool"] * 300, "assistant"]


def test_a_run_goes_on_elsewhere_and_much_later(store: Store, invoke: Invoke) -> None:
    """After a tool has asked back: what is stored is known, and so is what was redacted."""

    @tool
    def ask() -> str:
        """Ask a person."""
        return f"The person said {interrupt('Well?')}."

    asking = AIMessage("", tool_calls=[{"name": "ask", "args": {}, "id": "c1"}])
    model = Scripted(script=[calls("c0"), asking, "I see."])
    saver, config = InMemorySaver(), on(thread_id="t")

    def anew() -> Any:
        redacting = PIIMiddleware("email", strategy="redact", apply_to_input=True)
        return agent_of(model, store, [add, ask], after=[redacting], checkpointer=saver)

    invoke(anew(), "I am a@x.org.", config)
    said = ["user: I am [REDACTED_EMAIL].", "assistant: c0", "tool: 3", "assistant: c1"]
    assert stored(store) == said
    aside = [f"aside {n}" for n in range(400)]
    store.session("chat").append([("user", text) for text in aside])
    invoke(anew(), Command(resume="yes"), config)
    assert stored(store) == [
        *said,
        *(f"user: {text}" for text in aside),
        "tool: The person said yes.",
        "assistant: I see.",
    ]


def test_other_middleware_calls_the_model_twice(store: Store, invoke: Invoke) -> None:
    """In one step, in which what the user said is redacted in the store."""

    class Twice(AgentMiddleware[Any, Any]):
        def wrap_model_call(self, request: Any, handler: Any) -> Any:
            handler(request)
            return handler(request)

        async def awrap_model_call(self, request: Any, handler: Any) -> Any:
            await handler(request)
            return await handler(request)

    redacting = PIIMiddleware("email", strategy="redact", apply_to_input=True)
    model = Scripted(script=["not good", calls("c1"), "not good", "good"])
    agent = agent_of(model, store, [add], before=[Twice()], after=[redacting])
    assert texts(invoke(agent, "I am a@x.org."))[-1] == "good"
    said = ["user: I am [REDACTED_EMAIL].", "assistant: c1", "tool: 3", "assistant: good"]
    assert stored(store) == said


def test_an_answer_that_is_sent_back_to_the_model_is_stored(store: Store, invoke: Invoke) -> None:
    """Before the model is called again; also one whose id a cache has repeated."""

    class Insisting(AgentMiddleware[Any, Any]):
        @hook_config(can_jump_to=["model"])
        def after_model(self, state: Any, runtime: Any) -> Any:
            if state["messages"][-1].text != "bad":
                return None
            return {"messages": [HumanMessage("Again.")], "jump_to": "model"}

        async def aafter_model(self, state: Any, runtime: Any) -> Any:
            return self.after_model(state, runtime)

    seen: list[list[str]] = []

    def look(messages: Any) -> AIMessage:
        seen.append(stored(store))
        return AIMessage("good", id="cached")

    model = Scripted(script=[AIMessage("bad", id="cached"), look] * 2)
    agent = agent_of(model, store, after=[Insisting()], memory={"window": {"turns": 1}})
    for question in ("q1", "q2"):
        invoke(agent, question)
    one, two = (
        [f"user: {q}", "assistant: bad", "user: Again.", "assistant: good"] for q in ("q1", "q2")
    )
    assert seen == [one[:3], [*one, *two[:3]]]
    assert stored(store) == [*one, *two]


def test_a_call_without_an_id_is_shown_no_result(store: Store, invoke: Invoke) -> None:
    """No result could name it, and providers refuse one for the id ''. LangChain shows none."""
    broken = {"name": "add", "args": '{"a": 1', "id": None, "error": None}
    whole = {"name": "add", "args": {"a": 1, "b": 2}, "id": None}
    said = [
        HumanMessage("q1"),
        AIMessage("one", invalid_tool_calls=[broken]),
        HumanMessage("q2"),
        AIMessage("two", tool_calls=[whole]),
        HumanMessage("q3"),
        calls("c1"),
        HumanMessage("q4"),
    ]
    alone = Scripted(script=["fine"])
    invoke(create_agent(alone, [add]), deepcopy(said))
    assert not any(isinstance(m, ToolMessage) for m in alone.shown[0])
    model = Scripted(script=["fine", "still"])
    invoke(agent_of(model, store, [add]), deepcopy(said))
    invoke(agent_of(model, store, [add]), "q5")
    for seen in model.shown:
        results = [m for m in seen if isinstance(m, ToolMessage)]
        assert [m.tool_call_id for m in results] == ["c1"], "one that has an id is answered"
        assert [type(m) for m in seen[:4]] == [HumanMessage, AIMessage] * 2


@pytest.mark.parametrize("checkpointed", [False, True])
def test_an_input_without_a_users_message_reaches_the_model(
    store: Store, invoke: Invoke, checkpointed: bool
) -> None:
    """As it does without the middleware; also where the conversation ends with an answer."""
    model = Scripted()
    saver: dict[str, Any] = {"checkpointer": InMemorySaver()} if checkpointed else {}
    agent = agent_of(model, store, [add], **saver)
    for n, message in enumerate(
        [
            AIMessage("As I said."),
            SystemMessage("Be short."),
            AIMessage("Where were we?"),
            ChatMessage(content="Hm.", role="narrator"),
            AIMessage("Hello?"),
        ]
    ):
        invoke(agent, [message], on(thread_id="t"))
        assert len(model.shown) == n + 1
        assert texts(model.shown[-1])[-1] == message.text
    invoke(agent, "q", on(thread_id="t"))
    invoke(agent, [AIMessage("And one more thing.")], on(thread_id="t"))
    assert texts(model.shown[-1])[-3:] == ["q", "…", "And one more thing."]
    assert len(stored(store)) == 14


def test_a_state_whose_messages_are_kept_as_deltas(store: Store, invoke: Invoke) -> None:
    class DeltaState(AgentState[Any]):
        messages: Required[Annotated[list[AnyMessage], DeltaChannel(_messages_delta_reducer)]]

    model = Scripted(script=["a1", calls("c1"), "a2", "a3"])
    agent = agent_of(model, store, [add], state_schema=DeltaState, checkpointer=InMemorySaver())
    config = on(thread_id="t")
    for n in (1, 2, 3):
        store.session("chat").append(("user", f"aside {n}"))
        invoke(agent, f"q{n}", config)
    assert stored(store) == [
        "user: aside 1", "user: q1", "assistant: a1",
        "user: aside 2", "user: q2", "assistant: c1", "tool: 3", "assistant: a2",
        "user: aside 3", "user: q3", "assistant: a3",
    ]  # fmt: skip
    assert shown(model.shown[-1]) == stored(store)[:-1]


def test_tools_that_are_called_wrongly(store: Store, invoke: Invoke) -> None:
    model = Scripted(script=[calls("c1", name="nonsense"), calls("c2", a=1), "I give up."])
    result = invoke(agent_of(model, store, [add]), "go")
    assert shown(result) == stored(store)
    assert_paired(result)
    for message in result:
        assert message == to_langchain(from_langchain(message))
    assert [m.status for m in result if isinstance(m, ToolMessage)] == ["error", "error"]


def test_a_tool_that_asks_back(store: Store, invoke: Invoke) -> None:
    """Its neighbour's result is stored once, though the tools run in two goes."""

    @tool
    def ask() -> str:
        """Ask a person."""
        return f"The person said {interrupt('Well?')}."

    both = calls("c1")
    both.tool_calls += [{**call, "args": {}} for call in calls("c2", name="ask").tool_calls]
    model = Scripted(script=[both, "I see."])
    agent = agent_of(model, store, [add, ask], checkpointer=InMemorySaver())
    config = on(thread_id="t")
    invoke(agent, "go", config)
    assert stored(store) == ["user: go", "assistant: c1,c2", "tool: 3"]
    result = invoke(agent, Command(resume="yes"), config)
    assert_paired(result)
    assert stored(store) == shown(result)
    assert stored(store)[3:] == ["tool: The person said yes.", "assistant: I see."]


@SAVERS
def test_an_agent_within_a_tool(
    store: Store, invoke: Invoke, saver: Callable[[], Any] | None
) -> None:
    """It has a memory of its own, of the same conversation."""
    helping = Scripted(script=[calls("h1"), "three", "I said three."])
    helper = agent_of(helping, store, [add], memory={"agent": "helper"})

    @tool
    def ask_helper(question: str) -> str:
        """Ask the helper."""
        return str(helper.invoke(given(question))["messages"][-1].text)

    model = Scripted(
        script=[
            calls("c1", name="ask_helper", question="1 + 2?"),
            calls("c2", name="ask_helper", question="What did you say?"),
            "Three, twice.",
        ]
    )
    agent = agent_of(model, store, [ask_helper], checkpointer=saver and saver())
    invoke(agent, "go", on(thread_id="t"))
    assert stored(store, agent="helper") == [
        "user: 1 + 2?",
        "assistant: h1",
        "tool: 3",
        "assistant: three",
        "user: What did you say?",
        "assistant: I said three.",
    ]
    assert stored(store) == [
        "user: go",
        "assistant: c1",
        "tool: three",
        "assistant: c2",
        "tool: I said three.",
        "assistant: Three, twice.",
    ]


# -- streams -------------------------------------------------------------------------------------


def test_only_what_is_new_is_streamed(store: Store) -> None:
    agent = agent_of(Scripted(script=["one two", calls("c1"), "three four"]), store, [add])
    agent.invoke(given("q1"), on())
    parts = list(agent.stream(given("q2"), on(), stream_mode="messages"))
    assert "".join(part.text for part, _ in parts) == "3three four"
    assert {about["langgraph_node"] for _, about in parts} == {"model", "tools"}

    async def streamed() -> AsyncIterator[Any]:
        async for part, _ in agent.astream(given("q3"), on(), stream_mode="messages"):
            yield part

    async def drained() -> str:
        return "".join([part.text async for part in streamed()])

    assert asyncio.run(drained()) == "…"


# -- crashes -------------------------------------------------------------------------------------

DIES = """
import os
from langchain.agents import create_agent
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langchain_onrecord import OnrecordMiddleware
from onrecord import Store
from tests.scripted import Scripted

@tool
def live() -> str:
    "Answer."
    return "alive"

@tool
def die() -> str:
    "Die, with all that is not stored."
    os._exit(7)

calls = [{"name": name, "args": {}, "id": name} for name in ("live", "die")]
model = Scripted(script=[AIMessage("", tool_calls=calls[:1]), AIMessage("", tool_calls=calls)])
agent = create_agent(model, [live, die], middleware=[OnrecordMiddleware(Store.from_env())])
agent.invoke({"messages": [("user", "go")]}, {"configurable": {"session_id": "chat"}})
"""


@pytest.fixture
def environment(
    each_store: OpenStore, request: pytest.FixtureRequest, tmp_path: Path
) -> dict[str, str]:
    """What another process finds the same store by."""
    if "sqlite" in request.node.name:
        return {"ONRECORD_URL": f"sqlite:///{tmp_path / 'store.db'}"}
    return {
        "ONRECORD_URL": request.getfixturevalue("kept_postgres_url"),
        "ONRECORD_CACHE": request.getfixturevalue("redis_server").url,
    }


def test_after_a_crash_within_a_tool(each_store: OpenStore, environment: dict[str, str]) -> None:
    died = subprocess.run(
        [sys.executable, "-W", "error", "-c", DIES],
        env={**os.environ, **environment},
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert died.returncode == 7, died.stderr
    store = each_store()
    left = stored(store)
    assert left[:4] == ["user: go", "assistant: live", "tool: alive", "assistant: live,die"]
    assert left[4:] in ([], ["tool: alive"])
    store.session("chat").fork("chat again")

    for key, way in (("chat", "invoke"), ("chat again", "ainvoke")):
        invoke = invoked_by(way)
        before = store.session(key).messages()
        model = Scripted(script=["It died.", "You asked."])
        agent = agent_of(model, store)
        invoke(agent, "What happened?", on(key))
        assert_paired(model.shown[-1])
        assert shown(model.shown[-1])[:4] == left[:4]
        assert len(model.shown[-1]) == 7
        assert "No result" in model.shown[-1][5].text
        assert stored(store, key) == [*left, "user: What happened?", "assistant: It died."]
        assert store.session(key).messages()[: len(left)] == before
        invoke(agent, "And before?", on(key))
        assert stored(store, key)[-2:] == ["user: And before?", "assistant: You asked."]


def test_after_a_failure_within_a_tool_with_a_checkpointer(store: Store, invoke: Invoke) -> None:
    failing = [True, True]

    @tool
    def unlucky() -> str:
        """Fail twice."""
        if failing:
            failing.pop()
            raise RuntimeError("bad luck")
        return "luck"

    model = Scripted(script=[calls("c1", name="unlucky"), "lucky", "hello"])
    agent = agent_of(model, store, [unlucky], checkpointer=InMemorySaver())
    config = on(thread_id="t")
    for said in ("go", None):
        with pytest.raises(RuntimeError, match="bad luck"):
            invoke(agent, said, config)
    assert stored(store) == ["user: go", "assistant: c1"]
    result = invoke(agent, None, config)  # goes on where it failed
    expected = ["user: go", "assistant: c1", "tool: luck", "assistant: lucky"]
    assert shown(result) == stored(store) == expected
    failing.append(True)
    model.script = [calls("c2", name="unlucky"), "I see."]
    with pytest.raises(RuntimeError, match="bad luck"):
        invoke(agent, "again", config)
    invoke(agent, "What happened?", config)
    assert_paired(model.shown[-1])
    expected += ["user: again", "assistant: c2", "user: What happened?", "assistant: I see."]
    assert stored(store) == expected


# -- several at once -----------------------------------------------------------------------------


class Deliberate(Scripted):
    """Calls a tool and then answers; and all who ask at once are answered at once."""

    together: Any
    atogether: Any = None

    def _answer(self, messages: list[BaseMessage]) -> ChatResult:
        with self._lock:
            self.shown.append(list(messages))
        question = next(m.text for m in reversed(messages) if isinstance(m, HumanMessage))
        called = isinstance(messages[-1], ToolMessage)
        answer = AIMessage(f"answer to {question}") if called else calls(f"call of {question}")
        return ChatResult(generations=[ChatGeneration(message=answer)])

    def _generate(self, messages: list[BaseMessage], *given: Any, **more: Any) -> ChatResult:
        self.together.wait(PATIENCE)
        return self._answer(messages)

    async def _agenerate(self, messages: list[BaseMessage], *given: Any, **more: Any) -> ChatResult:
        await self.together.wait()
        return self._answer(messages)


def turn_of(question: str) -> list[str]:
    return [
        f"user: {question}",
        f"assistant: call of {question}",
        "tool: 3",
        f"assistant: answer to {question}",
    ]


def test_eight_at_once_in_threads(each_store: OpenStore) -> None:
    model = Deliberate(together=threading.Barrier(8))
    agents = [agent_of(model, store, [add]) for store in (each_store(), each_store())]

    def ask(n: int) -> list[str]:
        return shown(agents[n % 2].invoke(given(f"q{n}"), on())["messages"])

    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(ask, range(8)))
    assert [result[-4:] for result in results] == [turn_of(f"q{n}") for n in range(8)]
    assert_nothing_is_lost_or_torn(each_store())


def test_eight_at_once_in_tasks(store: Store) -> None:
    async def all_at_once() -> list[Any]:
        model = Deliberate(together=asyncio.Barrier(8))
        agent = agent_of(model, store, [add])
        return await asyncio.gather(
            *(agent.ainvoke(given(f"q{n}"), on()) for n in range(8)),
        )

    results = asyncio.run(all_at_once())
    ends = [shown(result["messages"])[-4:] for result in results]
    assert ends == [turn_of(f"q{n}") for n in range(8)]
    assert_nothing_is_lost_or_torn(store)


def assert_nothing_is_lost_or_torn(store: Store) -> None:
    everything = [text for n in range(8) for text in turn_of(f"q{n}")]
    assert sorted(stored(store)) == sorted(everything)
    assert [m.opens_turn for m in store.session("chat").messages()][:8] == [True] * 8
    model = Scripted()
    for window in (None, 9, {"turns": 3}):
        agent_of(model, store, memory={"window": window}).invoke(given("later"), on())
        assert_paired(model.shown[-1])
        (*turns, last) = shown(model.shown[-1])
        assert last == "user: later"
        turns = [text for text in turns if text not in ("user: later", "assistant: …")]
        for i in range(0, len(turns), 4):
            question = turns[i].removeprefix("user: ")
            assert turns[i : i + 4] == turn_of(question)


def test_the_same_question_twice_at_once(store: Store) -> None:
    model = Deliberate(together=threading.Barrier(2))
    agent = agent_of(model, store, [add])

    def ask(_: int) -> list[str]:
        return shown(agent.invoke(given([HumanMessage("q", id="q")]), on())["messages"])

    with ThreadPoolExecutor(2) as threads:
        assert [result[-4:] for result in threads.map(ask, range(2))] == [turn_of("q")] * 2
    assert stored(store).count("user: q") == 1
    later = Scripted()
    agent_of(later, store).invoke(given("later"), on())
    assert_paired(later.shown[-1])


@SAVERS
def test_one_run_while_another_works(
    store: Store, invoke: Invoke, saver: Callable[[], Any] | None
) -> None:
    """The second is shown the first one's call, which has no result yet."""
    at_work, go_on = threading.Event(), threading.Event()

    @tool
    def slow() -> str:
        """Take a while."""
        at_work.set()
        assert go_on.wait(PATIENCE)
        return "at last"

    model = Scripted(script=[calls("c1", name="slow"), "a1"])
    first = agent_of(model, store, [slow])
    other = Scripted(script=["a2", "a3"])
    second = agent_of(other, store, checkpointer=saver and saver())
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(invoke, first, "q1")
        assert at_work.wait(PATIENCE)
        result = invoke(second, "q2", on(thread_id="t"))
        go_on.set()
        running.result(PATIENCE)
    first_turn = ["user: q1", "assistant: c1", "tool: at last", "assistant: a1"]
    assert_paired(other.shown[-1])
    assert shown(other.shown[-1])[:2] == first_turn[:2]
    assert "No result" in other.shown[-1][2].text
    assert shown(result) == [*first_turn[:2], "user: q2", "assistant: a2"]
    assert shown(model.shown[-1]) == first_turn[:3]
    second_turn = ["user: q2", "assistant: a2"]
    assert stored(store) == [*first_turn[:2], *second_turn, *first_turn[2:]]
    invoke(second, "q3", on(thread_id="t"))
    assert shown(other.shown[-1]) == [*first_turn, *second_turn, "user: q3"]


# -- cleared, edited -----------------------------------------------------------------------------


@SAVERS
@pytest.mark.parametrize("where", ["model", "tool"])
def test_cleared_while_a_run_is_under_way(
    each_store: OpenStore, invoke: Invoke, where: str, saver: Callable[[], Any] | None
) -> None:
    store, other = each_store(), each_store()

    @tool
    def work() -> str:
        """Work, and meanwhile the session is cleared."""
        other.session("chat").clear()
        return "worked"

    def answer(messages: list[BaseMessage]) -> str:
        other.session("chat").clear()
        return "too late"

    model = Scripted(script=["a0", calls("c1", name="work") if where == "tool" else answer, "a2"])
    agent = agent_of(model, store, [work], checkpointer=saver and saver())
    config = on(thread_id="t")
    invoke(agent, "q0", config)
    with pytest.raises(Cleared):
        invoke(agent, "q1", config)
    assert stored(store) == []
    result = invoke(agent, "q2", config)
    assert shown(model.shown[-1]) == ["user: q2"]
    assert shown(result) == stored(store) == ["user: q2", "assistant: a2"]


def test_edited_while_a_run_is_under_way(store: Store, invoke: Invoke) -> None:
    def answer(messages: list[BaseMessage]) -> str:
        store.session("chat").edit(1, ("user", "edited"))
        return "a1"

    agent = agent_of(Scripted(script=["a0", answer]), store)
    invoke(agent, "q0")
    invoke(agent, "q1")
    assert stored(store) == ["user: edited", "assistant: a0", "user: q1", "assistant: a1"]


# -- with a checkpointer -------------------------------------------------------------------------


def test_with_a_checkpointer(store: Store, invoke: Invoke) -> None:
    model = Scripted(script=["a1", calls("c2"), "a2", "a3", "a4"])
    agent = agent_of(model, store, [add], checkpointer=InMemorySaver())
    session, config = store.session("chat"), on(thread_id="t")
    invoke(agent, "q1", config)
    said = ["user: q1", "assistant: a1", "user: q2", "assistant: c2", "tool: 3", "assistant: a2"]
    result = invoke(agent, "q2", config)
    assert shown(result) == stored(store) == said

    session.append([("user", "from elsewhere"), ("assistant", "so it is")])
    said += ["user: from elsewhere", "assistant: so it is", "user: q3"]
    result = invoke(agent, "q3", config)
    assert shown(model.shown[-1]) == said
    said.append("assistant: a3")
    assert shown(result) == stored(store) == said
    assert len({m.id for m in result}) == len(result)

    session.edit(1, ("user", "q1, edited"))
    session.rewind(6)
    result = invoke(agent, "q4", config)
    said = ["user: q1, edited", *said[1:6], "user: q4"]
    assert shown(model.shown[-1]) == said
    assert shown(result) == stored(store) == [*said, "assistant: a4"]


def test_a_checkpoint_that_is_behind(store: Store, invoke: Invoke) -> None:
    """The process died after the store was written and before the checkpoint was."""
    saver, config = InMemorySaver(), on(thread_id="t")
    model = Scripted(script=["a1", calls("c2"), "a2", "a3"])
    agent = agent_of(model, store, [add], checkpointer=saver)
    invoke(agent, "q1", config)
    parts = ("storage", "writes", "blobs")
    checkpoint = {part: deepcopy(dict(getattr(saver, part))) for part in parts}

    def fall_back() -> None:
        for part in parts:
            getattr(saver, part).clear()
            getattr(saver, part).update(deepcopy(checkpoint[part]))

    question = HumanMessage("q2", id="q2")
    invoke(agent, [question], config)
    fall_back()
    store.session("chat").append([("user", "from elsewhere"), ("assistant", "so it is")])
    assert texts(invoke(agent, [question], config))[-1] == "a2"
    assert model.script == ["a3"]
    fall_back()
    invoke(agent, "q3", config)
    assert shown(model.shown[-1]) == stored(store)[:-1]
    assert len(stored(store)) == 10


def test_a_late_retry_hides_nothing_from_later_turns(store: Store, invoke: Invoke) -> None:
    model = Scripted(script=["a1", "a2"])
    agent = agent_of(model, store, checkpointer=InMemorySaver())
    config, question = on(thread_id="t"), HumanMessage("q1", id="q1")
    invoke(agent, [question], config)
    store.session("chat").append([("user", "from elsewhere"), ("assistant", "so it is")])
    assert texts(invoke(agent, [question], config)) == ["q1", "a1"]
    invoke(agent, "q2", config)
    assert texts(model.shown[-1]) == ["q1", "a1", "from elsewhere", "so it is", "q2"]
    assert len(model.shown) == 2


def test_the_state_of_a_thread_can_be_edited(store: Store, invoke: Invoke) -> None:
    """What a caller takes out of the state stays out, and stays in the transcript."""
    model = Scripted(script=["a1", "a2", "a3"])
    agent = agent_of(model, store, checkpointer=InMemorySaver())
    config = on(thread_id="t")
    first = invoke(agent, "q1", config)
    agent.update_state(config, {"messages": [RemoveMessage(id=m.id) for m in first]})
    invoke(agent, "q2", config)
    assert shown(model.shown[-1]) == ["user: q2"]
    invoke(agent, "q3", config)
    assert shown(model.shown[-1]) == ["user: q2", "assistant: a2", "user: q3"]
    assert len(stored(store)) == 6


def test_several_threads_on_one_session(store: Store, invoke: Invoke) -> None:
    model = Scripted()
    agent = agent_of(model, store, [add], checkpointer=InMemorySaver())
    for n in range(6):
        model.script = [calls(f"c{n}"), f"a{n}"]
        invoke(agent, f"q{n}", on(thread_id=f"t{n % 2}"))
        assert shown(model.shown[-1]) == stored(store)[:-1]


# -- what others wrote ---------------------------------------------------------------------------

PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
    "1f15c4890000000d49444154789c6360606060000000050001a5f645400000000049454e44ae426082"
)


def test_what_was_appended_by_hand_is_shown_as_langchain_has_it(
    store: Store, invoke: Invoke
) -> None:
    session = store.session("chat")
    session.append(Message("user", "hello", name="ada", metadata={"lang": "en"}))
    session.append(("assistant", "Show me."))
    session.append(Message("user", [Text("What is it?"), Image(PIXEL, media_type="image/png")]))
    history = histories(store)("chat")
    history.add_messages([AIMessage("A pixel.", response_metadata={"model": "m"})])
    model = Scripted()
    invoke(agent_of(model, store), "Sure?")
    hello, show, picture, answer, _ = model.shown[-1]
    assert hello == HumanMessage(
        "hello", name="ada", id=hello.id, additional_kwargs={"metadata": {"lang": "en"}}
    )
    assert isinstance(show, AIMessage)
    image = {"type": "image", "base64": b64encode(PIXEL).decode(), "mime_type": "image/png"}
    assert picture.content == [{"type": "text", "text": "What is it?"}, image]
    assert answer == AIMessage("A pixel.", id=answer.id, response_metadata={"model": "m"})
    before = session.messages()[:4]
    assert [m.metadata for m in before] == [{"lang": "en"}, {}, {}, {}]


# -- what it costs -------------------------------------------------------------------------------


@dataclass
class Asked:
    """How much a store asked its database for."""

    statements: int = 0
    rows: int = 0


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    asked = Asked()

    def counted(name: str) -> None:
        method = getattr(Transaction, name)

        def counting(self: Transaction, *given: Any, **more: Any) -> Any:
            found = method(self, *given, **more)
            asked.statements += 1
            asked.rows += len(found) if isinstance(found, list) else 1
            return found

        monkeypatch.setattr(Transaction, name, counting)

    for name in ("first", "rows", "run", "many"):
        counted(name)
    return asked


@SAVERS
@pytest.mark.parametrize("window", [20, {"tokens": 200}])
def test_a_turn_costs_the_same_however_much_was_said(
    store: Store,
    invoke: Invoke,
    asked: Asked,
    window: Any,
    saver: Callable[[], Any] | None,
) -> None:
    # Once a second it asks whether the cache is on: not to be counted in one of the two.
    store._belief.patience = store._belief.patience._replace(believed_for=1e6)
    costs = []
    for key, much in (("short", 100), ("long", 2_000)):
        session = store.session(key)
        rounds(session, 20)
        for _ in range(100, much, 100):
            session.append([("user", "question"), ("assistant", "answer")] * 50)
        model = Scripted(script=["a1", "a2", calls("c1", "c2"), "a3"])
        agent = agent_of(
            model, store, [add], memory={"window": window}, checkpointer=saver and saver()
        )
        for said in ("q1", "q2", "q3"):
            asked.statements = asked.rows = 0
            # Of two calls at once both may store what has them: not to be counted either.
            invoke(agent, said, {**on(key, thread_id=key), "max_concurrency": 1})
        costs.append((asked.statements, asked.rows))
    assert costs[0] == costs[1]
    assert costs[0][0] < 40


@pytest.mark.parametrize("checkpointed", [False, True])
def test_what_other_middleware_redacts_is_redacted_in_the_store(checkpointed: bool) -> None:
    from langchain.agents.middleware import PIIMiddleware
    from langchain_core.tools import tool
    from langgraph.checkpoint.memory import InMemorySaver

    @tool
    def whose(number: str) -> str:
        """Whose order it is."""
        return "It is b@x.org's."

    calls = AIMessage("", tool_calls=[{"name": "whose", "args": {"number": "1"}, "id": "c"}])
    model = Scripted(script=[calls, "Yours.", "Again: yours."])
    redacts: Any = PIIMiddleware(
        "email", strategy="redact", apply_to_input=True, apply_to_tool_results=True
    )
    with Store("sqlite://") as store:
        agent: Any = create_agent(
            model,
            [whose],
            middleware=[OnrecordMiddleware(store), redacts],
            checkpointer=InMemorySaver() if checkpointed else None,
        )
        config: Any = {"configurable": {"thread_id": "t"}}
        agent.invoke({"messages": [HumanMessage("I am a@x.org.")]}, config)
        stored = store.session("t").messages()
        assert "@x.org" not in " ".join(m.text for m in stored), stored
        assert [m.role for m in stored] == ["user", "assistant", "tool", "assistant"]
        assert stored[2].metadata["turn"] == stored[0].id
        agent.invoke({"messages": [HumanMessage("And now?")]}, config)
        assert not any("@x.org" in str(m.content) for shown in model.shown for m in shown)
        assert store.session("t").count() == 6


def test_a_retry_in_the_first_words_of_what_was_redacted(store: Store, invoke: Invoke) -> None:
    from langchain.agents.middleware import PIIMiddleware

    redacts: Any = PIIMiddleware("email", strategy="redact", apply_to_input=True)
    model = Scripted(script=["a1"])
    agent = agent_of(model, store, after=[redacts])
    asked = HumanMessage("I am a@x.org.", id="form-1")
    assert texts(invoke(agent, [asked], on()))[-1] == "a1"
    assert texts(invoke(agent, [HumanMessage("I am a@x.org.", id="form-1")], on()))[-1] == "a1"
    assert len(model.shown) == 1
    assert store.session("chat").count() == 2
    with pytest.raises(IdReused):
        invoke(agent, [HumanMessage("other words", id="form-1")], on())


def test_an_answer_under_an_id_of_long_ago_is_an_answer(store: Store, invoke: Invoke) -> None:
    """LangChain's cache of answers repeats their ids."""
    model = Scripted(script=[AIMessage(t, id="cached") for t in ("one", "one", "two")])
    agent = agent_of(model, store, memory={"window": {"turns": 1}})
    for n in range(3):
        invoke(agent, f"q{n}", on())
    assert stored(store) == [
        "user: q0",
        "assistant: one",
        "user: q1",
        "assistant: one",
        "user: q2",
        "assistant: two",
    ]


def test_what_a_page_sends_back_with_its_ids_is_known(store: Store, invoke: Invoke) -> None:
    agent = agent_of(Scripted(), store, memory={"window": 2})
    page: list[Any] = []
    for n in range(5):
        page.append({"role": "user", "content": f"q{n}", "id": f"q{n}"})
        answer = invoke(agent, page, on())[-1]
        page.append({"role": "assistant", "content": answer.content, "id": answer.id})
    assert store.session("chat").count() == 10


def test_an_answer_of_another_agent_is_no_answer_of_this_one(store: Store, invoke: Invoke) -> None:
    first, second = Scripted(script=["facts"]), Scripted(script=["article"])
    both = [agent_of(m, store) for m in (first, second)]
    said = invoke(both[0], [HumanMessage("write", id="q")], on())
    said = invoke(both[1], said, on())
    assert texts(said) == ["write", "facts", "article"]
    assert stored(store) == ["user: write", "assistant: facts", "assistant: article"]


def test_the_stores_own_counter_counts_in_a_run_as_well() -> None:
    with Store("sqlite://", token_counter=("a thousand", lambda message: 1_000)) as store:
        chat = store.session("chat")
        chat.append([("user" if n % 2 == 0 else "assistant", f"{n}") for n in range(60)])
        model = Scripted()
        middleware: Any = OnrecordMiddleware(store, session_id="chat", window={"tokens": 5_000})
        agent: Any = create_agent(model, middleware=[middleware])
        agent.invoke({"messages": [HumanMessage("?")]})
        assert len(model.shown[-1]) <= 5


def test_a_call_that_somebody_sends_to_the_tools_is_stored_before_its_result(
    store: Store, invoke: Invoke
) -> None:
    class Jumps(AgentMiddleware):
        @hook_config(can_jump_to=["tools"])
        def after_model(self, state: Any, runtime: Any) -> dict[str, Any] | None:
            last = state["messages"][-1]
            return {"jump_to": "tools"} if last.tool_calls else None

        async def aafter_model(self, state: Any, runtime: Any) -> dict[str, Any] | None:
            return self.after_model(state, runtime)

    model = Scripted(script=[calls("c1"), "done"])
    jumps: Any = Jumps()
    agent = agent_of(model, store, [add], after=[jumps])
    invoke(agent, "q", on())
    assert [m.role for m in store.session("chat").messages()] == [
        "user",
        "assistant",
        "tool",
        "assistant",
    ]


def test_a_conversation_of_a_chain_is_sent_whole_to_an_agent(store: Store, invoke: Invoke) -> None:
    history = OnrecordChatMessageHistory("chat", store=store)
    history.add_messages([m for n in range(4) for m in (HumanMessage(f"q{n}"), AIMessage(f"a{n}"))])
    agent = agent_of(Scripted(script=["done"]), store, memory={"window": 2})
    invoke(agent, [*history.messages, HumanMessage("and now?")], on())
    assert store.session("chat").count() == 10
