"""Agents that take turns in one conversation: ``OnrecordMiddleware(store, turn=True)``."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, HumanInTheLoopMiddleware, PIIMiddleware
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, interrupt

from langchain_onrecord import OnrecordMiddleware, TurnSettings
from langchain_onrecord.run_turns import RunTurns
from onrecord import Fenced, Message, Misconfigured, Session, Store, TurnTaken, Unavailable
from onrecord.adapters.turns import HeldSession
from onrecord.flow import Flow
from onrecord.turn import SHORTEST, Holder
from tests.children import PATIENCE, Child
from tests.scripted import Scripted
from tests.taking_turns import Heard

OpenStore = Callable[..., Store]
AT_ONCE = TurnSettings(wait=0)
PATIENT = TurnSettings(wait=PATIENCE)


class Invoke(Protocol):
    def __call__(self, agent: Any, said: Any, config: Any = ..., **more: Any) -> Any: ...


def on(key: str = "chat", **more: Any) -> Any:
    return {"configurable": {"session_id": key, "thread_id": key, **more}}


@pytest.fixture(params=["invoke", "ainvoke"])
def invoke(request: pytest.FixtureRequest) -> Invoke:
    """One call of an agent, and the messages it ends with."""

    def call(agent: Any, said: Any, config: Any = None, **more: Any) -> Any:
        said = {"messages": [HumanMessage(said)]} if isinstance(said, str) else said
        config = on() if config is None else config
        if request.param == "invoke":
            return agent.invoke(said, config, **more)["messages"]
        return asyncio.run(agent.ainvoke(said, config, **more))["messages"]

    return call


@pytest.fixture
def memory() -> Iterator[Store]:
    """For what does not depend on where things are stored."""
    with Store("sqlite://") as store:
        yield store


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def calls(*ids: str, name: str = "add", **args: Any) -> AIMessage:
    args = args or ({"a": 1, "b": 2} if name == "add" else {})
    return AIMessage("", tool_calls=[{"name": name, "args": args, "id": id_} for id_ in ids])


def agent_of(
    store: Store,
    *script: Any,
    turn: Any = True,
    tools: Any = (),
    after: Any = (),
    **settings: Any,
) -> Any:
    """An agent and its model: ``agent.model.shown`` is what that was shown."""
    model = Scripted(script=list(script))
    middleware = [OnrecordMiddleware(store, turn=turn), *after]
    agent = create_agent(model, list(tools), middleware=middleware, **settings)
    return _Agent(agent, model)


class _Agent:
    def __init__(self, agent: Any, model: Scripted) -> None:
        self.model = model
        self.invoke = agent.invoke
        self.ainvoke = agent.ainvoke
        self.stream = agent.stream


def said(store: Store, key: str = "chat") -> list[str]:
    return [
        f"{message.role}: {message.text or ','.join(c.id or '' for c in message.tool_calls)}"
        for message in store.session(key).messages()
    ]


def texts(messages: list[BaseMessage]) -> list[str]:
    return [str(message.text) for message in messages]


def assert_free(store: Store, key: str = "chat") -> None:
    with store.session(key).turn():
        pass


def assert_held(store: Store, key: str = "chat") -> None:
    with pytest.raises(TurnTaken), store.session(key).turn():
        pass


# -- two at once ---------------------------------------------------------------------------------


class Thinking:
    """A model that thinks until it is told to answer."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer
        self.begun, self.go_on = threading.Event(), threading.Event()

    def __call__(self, messages: list[BaseMessage]) -> Any:
        self.begun.set()
        assert self.go_on.wait(PATIENCE)
        return self._answer


@pytest.mark.parametrize("turn", [PATIENT, False], ids=["in turns", "without"])
def test_two_at_once(each_store: OpenStore, invoke: Invoke, turn: Any) -> None:
    first, second = each_store(), each_store()
    thinking, heard = Thinking("first answer"), Heard(second)
    one = agent_of(first, thinking, turn=turn)
    two = agent_of(second, "second answer", turn=turn)
    with ThreadPoolExecutor(2) as pool:
        a = pool.submit(invoke, one, "first")
        assert thinking.begun.wait(PATIENCE)
        b = pool.submit(invoke, two, "second")
        if turn:
            assert heard.asked_to_hold.wait(PATIENCE)
            assert two.model.shown == []
        else:
            b.result(PATIENCE)
        thinking.go_on.set()
        a.result(PATIENCE)
        b.result(PATIENCE)
    if turn:
        happened = ["user: first", "assistant: first answer", "user: second"]
        assert said(first) == [*happened, "assistant: second answer"]
        assert texts(two.model.shown[0]) == ["first", "first answer", "second"]
    else:
        happened = ["user: first", "user: second", "assistant: second answer"]
        assert said(first) == [*happened, "assistant: first answer"]
        assert texts(two.model.shown[0]) == ["first", "second"]
    assert_free(first)


def test_two_tasks_of_one_loop(each_store: OpenStore) -> None:
    store = each_store()
    agent = agent_of(store, calls("c1"), "one", calls("c2"), "two", turn=PATIENT, tools=[add])

    async def both() -> None:
        await asyncio.gather(
            agent.ainvoke({"messages": [("user", "q")]}, on()),
            agent.ainvoke({"messages": [("user", "q")]}, on()),
        )
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(both())
    turn = ["user: q", "assistant: c1", "tool: 3", "assistant: one"]
    assert said(store) == [*turn, "user: q", "assistant: c2", "tool: 3", "assistant: two"]


def test_who_does_not_wait_is_told(each_store: OpenStore, invoke: Invoke) -> None:
    store = each_store()
    agent = agent_of(store, "never", turn=AT_ONCE)
    with store.session("chat").turn() as turn:
        with pytest.raises(TurnTaken, match=r"ask again when it has.*TurnSettings\(wait=") as taken:
            invoke(agent, "hi")
        assert f"process {os.getpid()} on " in taken.value.who
        assert taken.value.until is not None
        turn.append(("user", "I am here."))
    assert said(store) == ["user: I am here."]
    assert agent.model.shown == []


def test_other_conversations_do_not_wait(memory: Store, invoke: Invoke) -> None:
    with memory.session("chat").turn():
        invoke(agent_of(memory, "Hello.", turn=AT_ONCE), "hi", on("other"))
    assert said(memory, "other") == ["user: hi", "assistant: Hello."]


# -- a turn ends with its run --------------------------------------------------------------------


@tool
def break_down() -> str:
    """Fail."""
    raise RuntimeError("down")


@tool
def ask_somebody() -> str:
    """Ask."""
    return str(interrupt("May I?"))


def test_a_run_that_answered_has_ended_its_turn(each_store: OpenStore, invoke: Invoke) -> None:
    store = each_store()
    agent = agent_of(store, calls("c1"), "3", "again", turn=AT_ONCE, tools=[add])
    asked = {"messages": [HumanMessage("1 + 2?", id="q")]}
    invoke(agent, asked)
    assert_free(store)
    assert texts(invoke(agent, asked))[-1] == "3", "asked again, it is answered without the model"
    assert len(agent.model.shown) == 2
    assert_free(store)
    invoke(agent, "Sure?")
    assert_free(store)


@pytest.mark.parametrize(
    "script", [[RuntimeError("down")], [calls("c1", name="break_down")]], ids=["model", "tool"]
)
def test_a_run_that_raised_has_ended_its_turn(
    each_store: OpenStore, invoke: Invoke, script: list[Any]
) -> None:
    store = each_store()
    with pytest.raises(RuntimeError, match="down"):
        invoke(agent_of(store, *script, tools=[break_down]), "one")
    invoke(agent_of(store, "Hello.", turn=AT_ONCE), "two")
    assert said(store)[-2:] == ["user: two", "assistant: Hello."]


@pytest.mark.parametrize("method", ["append", "window"])
def test_a_run_whose_store_failed_has_ended_its_turn(
    memory: Store, invoke: Invoke, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    def fail(*given: Any, **settings: Any) -> Any:
        raise Unavailable("not there")

    async def afail(*given: Any, **settings: Any) -> Any:
        raise Unavailable("not there")

    with monkeypatch.context() as patch:
        patch.setattr(HeldSession, method, fail)
        patch.setattr(HeldSession, f"a{method}", afail)
        with pytest.raises(Unavailable):
            invoke(agent_of(memory), "one")
    assert_free(memory)
    assert said(memory) == []


def test_a_run_that_was_cancelled_has_ended_its_turn(each_store: OpenStore) -> None:
    store, at_work = each_store(), threading.Event()

    @tool
    async def wait() -> str:
        """Wait for ever."""
        at_work.set()
        await asyncio.Event().wait()
        return "never"

    agent = agent_of(store, calls("c1", name="wait"), "Hello.", turn=AT_ONCE, tools=[wait])

    async def cancelled() -> None:
        run = asyncio.create_task(agent.ainvoke({"messages": [("user", "go")]}, on()))
        await asyncio.to_thread(at_work.wait, PATIENCE)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        await agent.ainvoke({"messages": [("user", "And now?")]}, on())

    asyncio.run(cancelled())
    assert said(store)[-2:] == ["user: And now?", "assistant: Hello."]


def test_a_run_that_is_cancelled_again_ends_its_turn(
    memory: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a server whose client has gone: it cancels until the task is done."""
    end = HeldSession.aend

    async def cancelled() -> None:
        begun, ending, go_on, ended = (asyncio.Event() for _ in range(4))

        async def slowly(held: HeldSession) -> None:
            ending.set()
            await go_on.wait()
            await end(held)
            ended.set()

        async def run() -> None:
            turns = RunTurns(memory, TurnSettings())
            async with turns.abegun(memory.session("chat"), None):
                begun.set()
                await asyncio.Event().wait()

        monkeypatch.setattr(HeldSession, "aend", slowly)
        task = asyncio.create_task(run())
        await begun.wait()
        for _ in range(2):
            task.cancel()
            await ending.wait()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert_held(memory)
        go_on.set()
        await asyncio.wait_for(ended.wait(), PATIENCE)

    asyncio.run(cancelled())
    assert_free(memory)


@pytest.mark.parametrize("order", ["at work when it fails", "begins when it has failed"])
def test_a_tool_that_fails_ends_no_turn_of_others_at_work(memory: Store, order: str) -> None:
    """Of two tools of one step: what the other one did is stored, and then the turn is over."""
    begun, failed, done = threading.Event(), threading.Event(), threading.Event()

    @tool
    def work() -> str:
        """Go on when the other tool has failed."""
        begun.set()
        assert failed.wait(PATIENCE)
        return "worked"

    @tool
    def fail() -> str:
        """Fail."""
        assert order.startswith("begins") or begun.wait(PATIENCE)
        raise RuntimeError("down")

    class Notices(AgentMiddleware[Any, Any]):
        """Stands before ours: notices that a failure has left our hook."""

        def wrap_tool_call(self, request: Any, handler: Any) -> Any:
            name = request.tool_call["name"]
            if name == "work" and order.startswith("begins"):
                assert failed.wait(PATIENCE)
            try:
                return handler(request)
            finally:
                (done if name == "work" else failed).set()

    both = AIMessage("", tool_calls=[{"name": n, "args": {}, "id": n} for n in ("fail", "work")])
    middleware = [Notices(), OnrecordMiddleware(memory, turn=True)]
    agent: Any = create_agent(Scripted(script=[both]), [work, fail], middleware=middleware)
    with pytest.raises(RuntimeError, match="down"):
        agent.invoke({"messages": [("user", "go")]}, on())
    assert done.wait(PATIENCE)
    assert_free(memory)
    assert said(memory) == ["user: go", "assistant: fail,work", "tool: worked"]


# -- runs that stop in the middle, and go on -----------------------------------------------------


def test_a_run_that_asks_somebody_holds_nothing_meanwhile(
    each_store: OpenStore, invoke: Invoke
) -> None:
    store, saver = each_store(), InMemorySaver()
    script = [calls("c1", name="ask_somebody"), "Done."]
    agent = agent_of(store, *script, tools=[ask_somebody], checkpointer=saver)
    invoke(agent, "go")
    assert_free(store)
    invoke(agent_of(store, "Hello.", turn=AT_ONCE), "meanwhile")
    assert texts(invoke(agent, Command(resume="yes")))[-1] == "Done."
    assert_free(store)
    assert said(store) == [
        "user: go",
        "assistant: c1",
        "user: meanwhile",
        "assistant: Hello.",
        "tool: yes",
        "assistant: Done.",
    ]


def test_a_run_goes_on_in_another_process(each_store: OpenStore, invoke: Invoke) -> None:
    store, saver = each_store(), InMemorySaver()
    script = [calls("c1", name="ask_somebody")]
    invoke(agent_of(store, *script, tools=[ask_somebody], checkpointer=saver), "go")
    thinking = Thinking("Done.")
    elsewhere = agent_of(store, thinking, tools=[ask_somebody], checkpointer=saver)
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(invoke, elsewhere, Command(resume="yes"))
        assert thinking.begun.wait(PATIENCE)
        assert_held(store)
        thinking.go_on.set()
        run.result(PATIENCE)
    assert_free(store)
    assert said(store) == ["user: go", "assistant: c1", "tool: yes", "assistant: Done."]


def approving() -> HumanInTheLoopMiddleware[Any, Any]:
    return HumanInTheLoopMiddleware({"add": True})


def test_a_run_that_waits_for_an_approval_is_given_up_for_a_new_one(
    memory: Store, invoke: Invoke
) -> None:
    """Nobody tells us that it waits: that is between two hooks."""
    script = [calls("c1"), "Something else."]
    agent = agent_of(
        memory,
        *script,
        turn=AT_ONCE,
        tools=[add],
        after=[approving()],
        checkpointer=InMemorySaver(),
    )
    invoke(agent, "1 + 2?")
    assert_held(memory)
    invoke(agent, "Never mind.")
    assert_free(memory)
    happened = ["user: 1 + 2?", "assistant: c1", "user: Never mind."]
    assert said(memory) == [*happened, "assistant: Something else."]


def test_a_run_that_waited_for_an_approval_goes_on_after_others(
    memory: Store, invoke: Invoke
) -> None:
    agent = agent_of(
        memory,
        calls("c1"),
        "3",
        turn=TurnSettings(lease=SHORTEST, wait=0),
        tools=[add],
        after=[approving()],
        checkpointer=InMemorySaver(),
    )
    invoke(agent, "1 + 2?")
    invoke(agent_of(memory, "Hello.", turn=PATIENT), "meanwhile")  # when the lease is over
    invoke(agent, Command(resume={"decisions": [{"type": "approve"}]}))
    assert_free(memory)
    assert said(memory) == [
        "user: 1 + 2?",
        "user: meanwhile",
        "assistant: Hello.",
        "assistant: c1",
        "tool: 3",
        "assistant: 3",
    ]


def test_an_abandoned_stream_holds_no_longer_than_its_lease(memory: Store) -> None:
    agent = agent_of(memory, "Hello.", turn=TurnSettings(lease=SHORTEST))
    stream = agent.stream({"messages": [("user", "hi")]}, on(), stream_mode="updates")
    next(stream)
    stream.close()
    agent_of(memory, "Hello.", turn=PATIENT).invoke({"messages": [("user", "again")]}, on())
    assert said(memory) == ["user: hi", "user: again", "assistant: Hello."]


# -- processes that die, and that stand still ----------------------------------------------------


@pytest.fixture(params=["sqlite", "postgresql with redis"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str | None]:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/turns.db", None
    cache = request.getfixturevalue("redis_server").url
    return request.getfixturevalue("kept_postgres_url"), cache


def test_a_run_whose_process_was_killed(address: tuple[str, str | None], invoke: Invoke) -> None:
    url, cache = address
    told, tell = os.pipe()

    def dies() -> None:
        def think(messages: list[BaseMessage]) -> str:
            os.write(tell, b"1")
            threading.Event().wait()
            return "never"

        with Store(url, cache=cache) as store:
            invoke(agent_of(store, think, turn=TurnSettings(lease=0.5)), "first")

    child = Child(dies)
    os.read(told, 1)
    os.kill(child.pid, signal.SIGKILL)
    with pytest.raises(pytest.fail.Exception, match="died"):
        child.result()
    with Store(url, cache=cache) as store:
        invoke(agent_of(store, "Hello.", turn=PATIENT), "second")
        assert said(store) == ["user: first", "user: second", "assistant: Hello."]
    for end in (told, tell):
        os.close(end)


def test_a_run_that_stood_still_is_refused_when_it_wakes(
    address: tuple[str, str | None], invoke: Invoke
) -> None:
    """Stopped while its model thinks, and woken up when another run has answered."""
    url, cache = address
    told, tell = os.pipe()
    wake, waker = os.pipe()

    def stands_still() -> str:
        def think(messages: list[BaseMessage]) -> AIMessage:
            os.write(tell, b"1")
            os.read(wake, 1)
            return calls("late")

        with Store(url, cache=cache) as store:
            agent = agent_of(store, think, turn=TurnSettings(lease=0.3), tools=[add])
            try:
                invoke(agent, "first")
            except Fenced as fault:
                return str(fault)
            return "nothing"

    child = Child(stands_still)
    os.read(told, 1)
    os.kill(child.pid, signal.SIGSTOP)
    with Store(url, cache=cache) as store:
        invoke(agent_of(store, "Hello.", turn=PATIENT), "second")
        happened = ["user: first", "user: second", "assistant: Hello."]
        assert said(store) == happened
        os.kill(child.pid, signal.SIGCONT)
        os.write(waker, b"1")
        assert "is held by this turn no longer" in child.result()
        assert said(store) == happened
        assert_free(store)
    for end in (told, tell, wake, waker):
        os.close(end)


def overtaken(session: Session) -> HeldSession:
    """A session whose turn another one took over, and ended."""
    held = HeldSession(session, TurnSettings(lease=SHORTEST))
    held.hold()
    with session.turn(wait=PATIENCE):
        pass
    return held


def test_who_was_overtaken_writes_nothing(each_store: OpenStore) -> None:
    store = each_store()
    session = store.session("chat")
    [read] = session.append(("user", "hi"))
    held = overtaken(session)
    before = session.info()
    for write in (
        lambda: held.append(("user", "late")),
        lambda: held.append(("user", "late"), archived=True, existing=True),
        lambda: held.edit(1, ("user", "late")),
        lambda: held.replace([("user", "late")]),
        lambda: held.delete(1),
        lambda: held.pop(),
        lambda: held.rewind(0),
        lambda: held.clear(),
        lambda: held.archive([1]),
        lambda: held.exchange([read], [("user", "late")]),
        lambda: held.update(title="late"),
        lambda: held.erase(),
        lambda: asyncio.run(held.aedit(1, ("user", "late"))),
        lambda: asyncio.run(held.areplace([("user", "late")])),
    ):
        with pytest.raises(Fenced, match="Nothing was written"):
            write()
    assert said(store) == ["user: hi"]
    assert session.info() == before


def test_an_answer_that_comes_too_late_is_not_stored(each_store: OpenStore, invoke: Invoke) -> None:
    """Overtaken between the model's answer and the run's end, where other middleware works."""
    store = each_store()

    class Slow(AgentMiddleware[Any, Any]):
        def after_model(self, state: Any, runtime: Any) -> None:
            with store.session("chat").turn(wait=PATIENCE) as turn:
                turn.append(("user", "meanwhile"))

    agent = agent_of(store, "late", turn=TurnSettings(lease=SHORTEST), after=[Slow()])
    with pytest.raises(Fenced):
        invoke(agent, "hi")
    assert said(store) == ["user: hi", "user: meanwhile"]


def test_what_is_redacted_is_fenced(
    each_store: OpenStore, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Overtaken after the last sign of life, right before what is stored is redacted."""
    store = each_store()
    edit, aedit = Session.edit, Session.aedit

    def late(held: Session, seq: int, message: Any) -> Message:
        with store.session("chat").turn(wait=PATIENCE):
            return edit(held, seq, message)

    async def alate(held: Session, seq: int, message: Any) -> Message:
        async with store.session("chat").aturn(wait=PATIENCE):
            return await aedit(held, seq, message)

    monkeypatch.setattr(Session, "edit", late)
    monkeypatch.setattr(Session, "aedit", alate)
    monkeypatch.setattr(Holder, "renew", stands_still)
    agent = agent_of(store, "ok", turn=TurnSettings(lease=SHORTEST), after=[PIIMiddleware("email")])
    with pytest.raises(Fenced):
        invoke(agent, "I am ada@example.org.")
    assert said(store) == ["user: I am ada@example.org."]


def stands_still(holder: Holder) -> Flow[bool]:
    """Of a process that was stopped: it gives no sign of life."""
    yield from ()
    return True


# -- what it costs, and what can be given --------------------------------------------------------


def test_without_turns_nothing_more_is_asked(
    memory: Store, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And with them two commits more: to take hold, and to let go."""
    heard, steps = Heard(memory), {}
    for turn in (True, False):
        heard.steps.clear()
        heard.operations.clear()
        key = f"with turn={turn}"
        with monkeypatch.context() as patch:
            if not turn:
                patch.setattr(Holder, "__init__", None)
            invoke(agent_of(memory, calls("c1"), "3", turn=turn, tools=[add]), "1 + 2?", on(key))
        steps[turn] = dict(heard.steps), dict(heard.operations)
        assert len(said(memory, key)) == 4
    (with_turn, asked), (without, _) = steps[True], steps[False]
    assert asked["hold"] == asked["let_go"] == 1
    assert with_turn["write"] == without["write"] + 2
    assert with_turn.get("read") == without.get("read")


def test_a_run_that_goes_on_for_long_gives_signs_of_life(memory: Store, invoke: Invoke) -> None:
    heard = Heard(memory)
    renewed = threading.Event()

    def think(messages: list[BaseMessage]) -> str:
        assert renewed.wait(PATIENCE)
        assert_held(memory)
        return "Hello."

    done = heard.done

    def noticing(operation: Any) -> None:
        done(operation)
        if operation.name == "renew":
            renewed.set()

    heard.done = noticing  # type: ignore[assignment, method-assign]
    invoke(agent_of(memory, think, turn=TurnSettings(lease=0.3)), "hi")
    assert said(memory) == ["user: hi", "assistant: Hello."]


@pytest.mark.parametrize("given", [1, "yes", {"lease": 3}, TurnSettings])
def test_what_is_no_setting_is_refused(memory: Store, given: Any) -> None:
    with pytest.raises(Misconfigured, match="turn has to be True, False or a TurnSettings"):
        OnrecordMiddleware(memory, turn=given)


@pytest.mark.parametrize("wrong", [-1.0, math.inf, math.nan, "soon", True, None])
def test_what_no_turn_can_be(wrong: Any) -> None:
    with pytest.raises(Misconfigured, match="lease has to be"):
        TurnSettings(lease=wrong)
    with pytest.raises(Misconfigured, match="wait has to be"):
        TurnSettings(wait=wrong)
