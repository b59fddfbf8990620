"""Agents and chat engines that take turns in one conversation: ``OnrecordMemory(turn=True)``."""

from __future__ import annotations

import asyncio
import copy
import gc
import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.llms.types import ChatMessage, ContentBlock, TextBlock, ToolCallBlock
from llama_index.core.base.response.schema import Response
from llama_index.core.chat_engine import ContextChatEngine, SimpleChatEngine
from llama_index.core.llms.mock import MockFunctionCallingLLM
from llama_index.core.memory import StaticMemoryBlock
from llama_index.core.retrievers import BaseRetriever
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.core.workflow import Context

from langchain_onrecord import OnrecordMiddleware
from llama_index_onrecord import OnrecordMemory, TurnSettings
from onrecord import Cleared, Fenced, Misconfigured, Store, TurnTaken
from onrecord.turn import SHORTEST, Holder
from tests.children import PATIENCE, Child, together
from tests.scripted import Scripted
from tests.taking_turns import Heard

# LlamaIndex's workflows look at all attributes of an agent, also at those of pydantic's past.
pytestmark = [
    pytest.mark.filterwarnings(rf"ignore:The `{name}` attribute is deprecated")
    for name in ("__fields__", "__fields_set__", "model_fields", "model_computed_fields")
] + [pytest.mark.filterwarnings("ignore:Accessing the 'model_(computed_)?fields' attribute")]

OpenStore = Callable[..., Store]
AT_ONCE = TurnSettings(wait=0)
PATIENT = TurnSettings(wait=PATIENCE)
BRIEF = TurnSettings(lease=SHORTEST)


@pytest.fixture
def in_memory() -> Iterator[Store]:
    """For what does not depend on where things are stored."""
    with Store("sqlite://") as store:
        yield store


@pytest.fixture(params=["sqlite", "postgresql with redis"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str | None]:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/turns.db", None
    cache = request.getfixturevalue("redis_server").url
    return request.getfixturevalue("kept_postgres_url"), cache


def memory(store: Store, turn: Any = True, **fields: Any) -> OnrecordMemory:
    return OnrecordMemory(store, session_id="chat", turn=turn, **fields)


def user(text: str) -> ChatMessage:
    return ChatMessage(role="user", content=text)


def assistant(text: str) -> ChatMessage:
    return ChatMessage(role="assistant", content=text)


def calls(*ids: str) -> ChatMessage:
    blocks: list[ContentBlock] = [
        ToolCallBlock(tool_call_id=i, tool_name="add", tool_kwargs={"a": 1, "b": 2}) for i in ids
    ]
    return ChatMessage(role="assistant", blocks=blocks)


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


class Model:
    """A model that answers by its script, and notes what it was shown."""

    def __init__(self, *script: Any) -> None:
        self.shown: list[list[str]] = []
        left = list(script)

        def answer(messages: Sequence[ChatMessage], **settings: Any) -> ChatMessage:
            self.shown.append([str(m.content) for m in messages if m.role.value != "system"])
            says = left.pop(0)
            if isinstance(says, Exception):
                raise says
            line: ChatMessage = says() if callable(says) else says
            return line

        self.llm = MockFunctionCallingLLM(response_generator=answer, is_chat_model=True)


class Thinking:
    """A model's line that comes when it is told to."""

    def __init__(self, answer: ChatMessage) -> None:
        self._answer = answer
        self.begun, self.go_on = threading.Event(), threading.Event()

    def __call__(self) -> ChatMessage:
        self.begun.set()
        assert self.go_on.wait(PATIENCE)
        return self._answer


class Nodes(BaseRetriever):
    def _retrieve(self, query: Any) -> list[NodeWithScore]:
        return [NodeWithScore(node=TextNode(text="The sky is blue."), score=1.0)]


Ask = Callable[[Model, OnrecordMemory, str], str]


def by_agent(model: Model, memory: OnrecordMemory, text: str) -> str:
    async def ask() -> str:
        agent = FunctionAgent(llm=model.llm, tools=[add])
        return str(await agent.run(user_msg=text, memory=memory))

    return asyncio.run(ask())


def by_engine(model: Model, memory: OnrecordMemory, text: str) -> str:
    return str(SimpleChatEngine.from_defaults(llm=model.llm, memory=memory).chat(text))


def by_engine_async(model: Model, memory: OnrecordMemory, text: str) -> str:
    engine = SimpleChatEngine.from_defaults(llm=model.llm, memory=memory)
    return str(asyncio.run(engine.achat(text)))


def by_engine_with_nodes(model: Model, memory: OnrecordMemory, text: str) -> str:
    """Stores a question with its answer, and reads what was said before."""
    engine = ContextChatEngine.from_defaults(retriever=Nodes(), llm=model.llm, memory=memory)
    response: Response | Any = engine.chat(text)
    return str(response)


EVERY = pytest.mark.parametrize(
    "ask", [by_agent, by_engine, by_engine_async, by_engine_with_nodes], ids=lambda f: f.__name__
)


def said(store: Store) -> list[str]:
    return [
        f"{m.role}: {m.text or ','.join(c.id or '' for c in m.tool_calls)}"
        for m in store.session("chat").messages()
    ]


def assert_free(store: Store) -> None:
    with store.session("chat").turn():
        pass


def assert_held(store: Store) -> None:
    with pytest.raises(TurnTaken), store.session("chat").turn():
        pass


# -- two at once ---------------------------------------------------------------------------------


@EVERY
@pytest.mark.parametrize("turn", [PATIENT, False], ids=["in turns", "without"])
def test_two_at_once(each_store: OpenStore, ask: Ask, turn: Any) -> None:
    first, second = each_store(), each_store()
    thinking, heard = Thinking(assistant("first answer")), Heard(second)
    one, two = Model(thinking), Model(assistant("second answer"))
    with ThreadPoolExecutor(2) as pool:
        a = pool.submit(ask, one, memory(first, turn), "first")
        assert thinking.begun.wait(PATIENCE)
        b = pool.submit(ask, two, memory(second, turn), "second")
        if turn:
            assert heard.asked_to_hold.wait(PATIENCE)
            assert two.shown == []
        else:
            b.result(PATIENCE)
        thinking.go_on.set()
        assert a.result(PATIENCE) == "first answer"
        assert b.result(PATIENCE) == "second answer"
    whole = ["user: first", "assistant: first answer", "user: second", "assistant: second answer"]
    if turn:
        assert said(first) == whole
        assert two.shown[0][-3:] == ["first", "first answer", "second"]
        assert_free(first)
    else:
        assert said(first) != whole
        assert "first answer" not in two.shown[0]


def test_two_tasks_of_one_loop(each_store: OpenStore) -> None:
    store = each_store()

    async def ask() -> None:
        model = Model(calls("c"), assistant("3"))
        agent = FunctionAgent(llm=model.llm, tools=[add])
        await agent.run(user_msg="q", memory=memory(store, PATIENT))

    async def both() -> None:
        await asyncio.gather(ask(), ask())

    asyncio.run(both())
    assert said(store) == ["user: q", "assistant: c", "tool: 3", "assistant: 3"] * 2
    assert_free(store)


@EVERY
def test_who_does_not_wait_is_told(in_memory: Store, ask: Ask) -> None:
    model = Model(assistant("never"))
    advice = r"ask again when it has.*TurnSettings\(wait="
    with in_memory.session("chat").turn(), pytest.raises(TurnTaken, match=advice):
        ask(model, memory(in_memory, AT_ONCE), "hi")
    assert said(in_memory) == []
    assert model.shown == []


def test_agents_of_both_frameworks_in_several_processes(address: tuple[str, str | None]) -> None:
    url, cache = address
    turns = 3

    def talks(n: int, wait: Callable[[], object]) -> None:
        with Store(url, cache=cache) as store:
            store.session("chat").version()
            remembering = OnrecordMiddleware(store, turn=PATIENT)
            agent: Any = create_agent(Scripted(script=[f"{n}"] * turns), middleware=[remembering])
            wait()
            for _ in range(turns):
                if n % 2:
                    by_agent(Model(assistant(f"{n}")), memory(store, PATIENT), f"{n}")
                else:
                    on = {"configurable": {"session_id": "chat"}}
                    agent.invoke({"messages": [("user", f"{n}")]}, on)

    together(talks, 4)
    with Store(url, cache=cache) as store:
        lines = said(store)
    assert len(lines) == 4 * turns * 2
    for question, answer in zip(lines[::2], lines[1::2], strict=True):
        assert (question[:6], answer[:11]) == ("user: ", "assistant: ")
        assert question[6:] == answer[11:]


# -- from a question to its answer ---------------------------------------------------------------


def test_a_turn_is_from_a_question_to_its_answer(each_store: OpenStore) -> None:
    store = each_store()
    one = memory(store)
    assert one.get() == []
    one.put(ChatMessage(role="system", content="Be kind."))
    assert_free(store)
    one.put(user("1 + 2?"))
    assert_held(store)
    one.put(calls("c1"))
    one.get()
    one.put(ChatMessage(role="tool", content="3", additional_kwargs={"tool_call_id": "c1"}))
    one.put(ChatMessage(role="system", content="Be brief."))
    assert_held(store)
    one.put(assistant("3"))
    assert_free(store)
    one.put_messages([])
    one.put_messages([user("4?"), assistant("4")])
    one.put(assistant("Anything else?"))
    assert_free(store)
    assert len(said(store)) == 9


def test_the_same_by_await(each_store: OpenStore) -> None:
    store = each_store()
    one = memory(store, memory_blocks=[StaticMemoryBlock(static_content=[TextBlock(text="x")])])

    async def talked() -> None:
        await one.aput(user("1 + 2?"))
        assert_held(store)
        await one.aget()
        await one.aput(assistant("3"))
        assert_free(store)
        await one.aget("And now?")
        assert_held(store)
        await one.areset()
        assert_free(store)

    asyncio.run(talked())


def test_who_only_looks_holds_nothing(in_memory: Store) -> None:
    one = memory(in_memory)
    with in_memory.session("chat").turn() as turn:
        turn.append(("user", "hi"))
        assert len(one.get()) == len(one.get_all()) == 1


def test_what_is_set_is_set_in_a_turn(each_store: OpenStore) -> None:
    store = each_store()
    one = memory(store, AT_ONCE)
    with store.session("chat").turn() as turn:
        turn.append(("user", "hi"))
        with pytest.raises(TurnTaken):
            one.set([user("a"), assistant("b")])
    one.set([user("a"), assistant("b")])
    assert_free(store)
    one.set([user("a")])
    assert_held(store)
    assert said(store) == ["user: a"]


@pytest.mark.parametrize("on_reset", ["new", "clear"])
def test_a_reset_ends_the_turn(in_memory: Store, on_reset: str) -> None:
    one = memory(in_memory, on_reset=on_reset)
    one.put(user("hi"))
    one.reset()
    assert_free(in_memory)
    one.put(user("again"))
    one.put(assistant("Hello."))


def test_another_conversation_is_another_turn(in_memory: Store) -> None:
    one = memory(in_memory)
    one.put(user("hi"))
    one.session_id = "other"
    one.put(user("hi"))
    assert_free(in_memory)
    with pytest.raises(TurnTaken), in_memory.session("other").turn():
        pass


# -- runs that fail ------------------------------------------------------------------------------


def test_the_same_memory_goes_on_after_a_failure(in_memory: Store) -> None:
    one = memory(in_memory, AT_ONCE)
    with pytest.raises(RuntimeError, match="down"):
        by_engine(Model(RuntimeError("down")), one, "one")
    assert_held(in_memory)
    assert by_engine(Model(assistant("Hello.")), one, "two") == "Hello."
    assert_free(in_memory)
    assert said(in_memory) == ["user: one", "user: two", "assistant: Hello."]


@pytest.mark.parametrize("ask", [by_agent, by_engine], ids=lambda f: f.__name__)
def test_a_memory_that_is_gone_holds_nothing(each_store: OpenStore, ask: Ask) -> None:
    """As in a server that makes one for each request."""

    def child() -> list[str]:
        with each_store() as store:
            with pytest.raises(RuntimeError, match="down"):
                ask(Model(RuntimeError("down")), memory(store), "one")
            gc.collect()  # an agent's run is a heap of circles
            with store.session("chat").turn(wait=PATIENCE / 2):
                return said(store)

    assert Child(child).result() == ["user: one"]


def test_a_put_that_fails_ends_its_turn(each_store: OpenStore) -> None:
    store = each_store()
    one = memory(store)
    one.put(user("hi"))
    one.get()
    store.session("chat").clear()
    with pytest.raises(Cleared):
        one.put(assistant("late"))
    assert_free(store)
    assert said(store) == []


@pytest.mark.parametrize("late", ["get", "put"])
def test_what_nobody_ends_is_over_with_its_lease(in_memory: Store, late: str) -> None:
    one = memory(in_memory, BRIEF)
    one.put(user("one"))
    assert by_engine(Model(assistant("Hello.")), memory(in_memory, PATIENT), "two") == "Hello."
    with pytest.raises(Fenced, match="Nothing was written"):
        one.get() if late == "get" else one.put(assistant("late"))
    assert said(in_memory) == ["user: one", "user: two", "assistant: Hello."]
    one.put(user("again"))
    assert said(in_memory)[3:] == ["user: again"]


def test_a_question_begins_a_turn_also_of_who_was_overtaken(in_memory: Store) -> None:
    one = memory(in_memory, BRIEF)
    one.put(user("one"))
    with in_memory.session("chat").turn(wait=PATIENCE):
        pass
    one.put(user("again"))
    assert said(in_memory) == ["user: one", "user: again"]


# -- processes, copies, dumps --------------------------------------------------------------------


@pytest.mark.parametrize("ask", [by_agent, by_engine], ids=lambda f: f.__name__)
def test_a_run_whose_process_was_killed(address: tuple[str, str | None], ask: Ask) -> None:
    url, cache = address
    told, tell = os.pipe()

    def dies() -> None:
        def think() -> ChatMessage:
            os.write(tell, b"1")
            threading.Event().wait()
            return assistant("never")

        with Store(url, cache=cache) as store:
            ask(Model(think), memory(store, TurnSettings(lease=0.5)), "first")

    child = Child(dies)
    os.read(told, 1)
    os.kill(child.pid, signal.SIGKILL)
    with pytest.raises(pytest.fail.Exception, match="died"):
        child.result()
    with Store(url, cache=cache) as store:
        ask(Model(assistant("Hello.")), memory(store, PATIENT), "second")
        assert said(store) == ["user: first", "user: second", "assistant: Hello."]
    for end in (told, tell):
        os.close(end)


@pytest.mark.parametrize("ask", [by_agent, by_engine], ids=lambda f: f.__name__)
def test_a_run_that_stood_still_is_refused_when_it_wakes(
    address: tuple[str, str | None], ask: Ask
) -> None:
    """Stopped while its model thinks, and woken up when another run has answered."""
    url, cache = address
    told, tell = os.pipe()
    wake, waker = os.pipe()

    def stands_still() -> str:
        def think() -> ChatMessage:
            os.write(tell, b"1")
            os.read(wake, 1)
            return assistant("late")

        with Store(url, cache=cache) as store:
            try:
                ask(Model(think), memory(store, TurnSettings(lease=0.3)), "first")
            except Fenced as fault:
                return str(fault)
            return "nothing"

    child = Child(stands_still)
    os.read(told, 1)
    os.kill(child.pid, signal.SIGSTOP)
    with Store(url, cache=cache) as store:
        ask(Model(assistant("Hello.")), memory(store, PATIENT), "second")
        happened = ["user: first", "user: second", "assistant: Hello."]
        assert said(store) == happened
        os.kill(child.pid, signal.SIGCONT)
        os.write(waker, b"1")
        assert "is held by this turn no longer" in child.result()
        assert said(store) == happened
        assert_free(store)
    for end in (told, tell, wake, waker):
        os.close(end)


def test_the_child_of_a_fork_takes_its_own_turn(each_store: OpenStore) -> None:
    store = each_store()
    one = memory(store, AT_ONCE)
    one.put(user("hi"))

    def child() -> str:
        with pytest.raises(TurnTaken):
            one.put(assistant("from the child"))
        return "told"

    assert Child(child).result() == "told"
    one.put(assistant("Hello."))
    assert said(store) == ["user: hi", "assistant: Hello."]


def test_copies_and_pickles_hold_nothing(in_memory: Store) -> None:
    one = memory(in_memory, AT_ONCE)
    one.put(user("hi"))
    restored = OnrecordMemory.from_dict(one.to_dict())
    assert restored.turn == AT_ONCE
    assert "held" not in one.to_json()
    for other in (
        copy.copy(one),
        copy.deepcopy(one),
        one.model_copy(),
        one.model_copy(deep=True),
        pickle.loads(pickle.dumps(one)),
        restored,
    ):
        assert other == one
        with pytest.raises(TurnTaken):
            other.put(assistant("late"))
    one.put(assistant("Hello."))
    for other in (restored, OnrecordMemory.from_dict(memory(in_memory, False).to_dict())):
        other.put_messages([user("and"), assistant("on")])
    assert_free(in_memory)


def test_a_context_goes_on_in_turns(each_store: OpenStore) -> None:
    store = each_store()
    heard = Heard(store)

    async def talked() -> None:
        model = Model(calls("c"), assistant("3"), assistant("Yes."))
        agent = FunctionAgent(llm=model.llm, tools=[add])
        context = Context(agent)
        await agent.run(user_msg="1 + 2?", memory=memory(store), ctx=context)
        again = Context.from_dict(agent, context.to_dict())
        await agent.run(user_msg="Sure?", ctx=again)

    asyncio.run(talked())
    assert heard.operations["hold"] == heard.operations["let_go"] == 2
    assert said(store)[-2:] == ["user: Sure?", "assistant: Yes."]


# -- what it costs, and what can be given --------------------------------------------------------


@EVERY
def test_without_turns_nothing_more_is_asked(
    in_memory: Store, monkeypatch: pytest.MonkeyPatch, ask: Ask
) -> None:
    """And with them two commits more: to take hold, and to let go."""
    heard, steps = Heard(in_memory), {}
    for turn in (True, False):
        in_memory.session("chat").erase(thorough=False)
        heard.steps.clear()
        heard.operations.clear()
        with monkeypatch.context() as patch:
            if not turn:
                patch.setattr(Holder, "__init__", None)
            ask(Model(assistant("Hello.")), memory(in_memory, turn), "hi")
        steps[turn] = dict(heard.steps), dict(heard.operations)
        assert said(in_memory) == ["user: hi", "assistant: Hello."]
    (with_turn, asked), (without, _) = steps[True], steps[False]
    assert asked["hold"] == asked["let_go"] == 1
    assert with_turn["write"] == without["write"] + 2
    assert with_turn.get("read") == without.get("read")


@pytest.mark.parametrize("given", [1, "yes", {"least": 3}, TurnSettings])
def test_what_is_no_setting_is_refused(in_memory: Store, given: Any) -> None:
    with pytest.raises(Misconfigured, match="turn"):
        memory(in_memory, given)
    with pytest.raises(Misconfigured, match="turn"):
        OnrecordMemory.from_defaults("chat", in_memory, turn=given)
