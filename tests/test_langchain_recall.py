"""Recall in agents that ``create_agent`` makes: what is too old for the window comes back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, HumanInTheLoopMiddleware
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
)
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from langchain_onrecord import OnrecordMiddleware, Recall
from onrecord import Message, Misconfigured, Session, Store
from tests.scripted import Scripted

OpenStore = Callable[..., Store]

PORT = [("user", "My database listens on port 6543, behind pgbouncer."), ("assistant", "Noted.")]
ASKED = "Which port was my database on?"
UNHEARD = "Can some database of butterflies identify the swallowtail on our balcony this morning?"
"""Shares a word with what was said, and is not answered by it."""
HEADING = "[Recalled from earlier"
SAVERS = pytest.mark.parametrize("saver", [None, InMemorySaver], ids=["no saver", "saver"])


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


def small_talk(session: Session, begin: Any = (), turns: int = 12) -> Session:
    """A conversation in which something was said once, and then much else."""
    noodles = [
        said
        for n in range(turns)
        for said in (("user", f"How do I boil noodles, part {n}?"), ("assistant", f"Stir {n}."))
    ]
    session.append([*begin, *noodles])
    return session


def agent_of(model: Scripted, store: Store, *tools: Any, more: Any = (), **settings: Any) -> Any:
    saver, memory = settings.pop("saver", None), {"window": {"turns": 3}, "recall": True}
    remembering = OnrecordMiddleware(store, **{**memory, **settings})
    return create_agent(
        model, list(tools), middleware=[remembering, *more], checkpointer=saver and saver()
    )


def recalled(messages: list[BaseMessage]) -> list[str]:
    """What a model was reminded of."""
    return [str(m.text) for m in messages if str(m.text).startswith(HEADING)]


@tool
def look_up(name: str) -> str:
    """Look something up."""
    return f"nothing about {name}"


def call_of(id_: str) -> AIMessage:
    return AIMessage("", tool_calls=[{"name": "look_up", "args": {"name": "x"}, "id": id_}])


@SAVERS
def test_what_is_far_back_is_found(each_store: OpenStore, invoke: Invoke, saver: Any) -> None:
    store = each_store()
    chat = small_talk(store.session("chat"), PORT)
    before = chat.count()
    model = Scripted(script=["It was 6543."])
    agent = agent_of(model, store, saver=saver)
    result = invoke(agent, ASKED)
    first, *window = model.shown[-1]
    assert isinstance(first, HumanMessage)
    assert "port 6543" in first.text
    assert "part 5" not in first.text
    assert "this conversation" in first.text
    assert [m.text for m in window][-1] == ASKED
    assert len(window) == 5
    assert not any("6543" in str(m.text) for m in window)
    # Shown to the model, and nowhere else.
    assert not recalled(result)
    assert chat.count() == before + 2
    assert not any(HEADING in m.text for m in chat.messages())
    if saver is not None:
        states = list(agent.get_state_history(on()))
        assert states
        assert HEADING not in repr([state.values for state in states])
        assert HEADING not in repr(agent.checkpointer.__dict__)
    invoke(agent, "Thank you!")
    assert chat.count() == before + 4
    assert not any(HEADING in m.text for m in chat.messages())


def test_nothing_is_shown_where_nothing_is_relevant(memory: Store, invoke: Invoke) -> None:
    small_talk(memory.session("chat"), PORT)
    model = Scripted()
    invoke(agent_of(model, memory), "Translate tungsten hexafluoride into Portuguese, please.")
    assert len(model.shown[-1]) == 5
    assert not recalled(model.shown[-1])
    invoke(agent_of(model, memory), UNHEARD)
    assert not recalled(model.shown[-1])
    invoke(agent_of(model, memory), {"messages": [HumanMessage([])]})
    assert not recalled(model.shown[-1])


def test_what_the_window_has_is_not_said_twice(memory: Store, invoke: Invoke) -> None:
    small_talk(memory.session("chat"), PORT)
    model = Scripted()
    invoke(agent_of(model, memory, window=None), ASKED)
    assert not recalled(model.shown[-1])
    assert sum("6543" in str(m.text) for m in model.shown[-1]) == 1


def test_what_a_state_no_longer_shows_is_recalled(memory: Store, invoke: Invoke) -> None:
    """As behind a summary, which stands in a checkpoint for what it tells of."""
    chat = small_talk(memory.session("chat"), PORT, turns=4)
    model = Scripted()
    agent = agent_of(model, memory, window=None, saver=InMemorySaver)
    invoke(agent, "Hello again.")
    old = [RemoveMessage(id=str(m.id)) for m in chat.messages()[:10]]
    agent.update_state(on(), {"messages": old})
    invoke(agent, ASKED)
    assert len(model.shown[-1]) == 4
    assert "port 6543" in recalled(model.shown[-1])[0]


def test_without_being_asked_nothing_is_recalled(memory: Store, invoke: Invoke) -> None:
    small_talk(memory.session("chat"), PORT)
    model = Scripted()
    invoke(agent_of(model, memory, recall=False), ASKED)
    assert len(model.shown[-1]) == 5


@SAVERS
def test_a_turn_is_asked_for_once(
    memory: Store, invoke: Invoke, saver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    recall, arecall = Session.recall, Session.arecall

    def counted(session: Session, query: str, **given: Any) -> Any:
        asked.append(query)
        return recall(session, query, **given)

    async def acounted(session: Session, query: str, **given: Any) -> Any:
        asked.append(query)
        return await arecall(session, query, **given)

    monkeypatch.setattr(Session, "recall", counted)
    monkeypatch.setattr(Session, "arecall", acounted)
    small_talk(memory.session("chat"), PORT)
    model = Scripted(script=[call_of("c1"), call_of("c2"), "6543", "Noodles?"])
    agent = agent_of(model, memory, look_up, saver=saver)
    invoke(agent, ASKED)
    reminders = [recalled(shown) for shown in model.shown]
    assert len(reminders) == 3
    assert reminders[0]
    assert reminders[0] == reminders[1] == reminders[2]
    assert asked == [ASKED]
    invoke(agent, "And now?")
    assert asked == [ASKED, "And now?"]
    [middleware] = _middleware_of(agent)
    assert len(middleware._recaller._turns) == 0, "what has ended is forgotten"


def _middleware_of(agent: Any) -> list[Any]:
    node = agent.nodes["OnrecordMiddleware.before_agent"].bound
    return [node.func.__self__]


class Traced(BaseCallbackHandler):
    """What a trace is told of the model's calls."""

    def __init__(self) -> None:
        self.sent: list[BaseMessage] = []

    def on_chat_model_start(self, serialized: Any, messages: Any, **more: Any) -> None:
        self.sent += messages[0]


def test_a_trace_shows_what_was_recalled_and_from_where(memory: Store, invoke: Invoke) -> None:
    small_talk(memory.session("chat"), PORT)
    traced = Traced()
    invoke(agent_of(Scripted(), memory), ASKED, {**on(), "callbacks": [traced]})
    assert HEADING in str(traced.sent[0].text)
    told = traced.sent[0].additional_kwargs["metadata"]
    assert told["onrecord"] == "recalled"
    [passage] = told["passages"]
    assert (passage["session_id"], passage["first"]) == ("chat", 1)
    assert passage["last"] % 2 == 0
    assert 0 < passage["score"] <= 1


def test_it_stands_behind_what_the_system_says(memory: Store, invoke: Invoke) -> None:
    chat = memory.session("chat")
    small_talk(chat, [("system", "Answer in English."), *PORT])
    model = Scripted()
    remembering = OnrecordMiddleware(memory, window={"turns": 2}, recall=True)
    agent: Any = create_agent(model, middleware=[remembering], system_prompt="You are a clerk.")
    invoke(agent, ASKED)
    kinds = [type(message) for message in model.shown[-1]]
    assert kinds[:2] == [SystemMessage, SystemMessage]
    assert SystemMessage not in kinds[2:]
    assert recalled(model.shown[-1][2:3])


# -- whose ---------------------------------------------------------------------------------------


@dataclass
class Who:
    user: str


def across_users(store: Store, model: Scripted, saver: Any = None) -> Any:
    remembering = OnrecordMiddleware(
        store,
        user=lambda runtime: runtime.context.user,
        window={"turns": 3},
        recall=Recall(across="user"),
    )
    return create_agent(
        model, middleware=[remembering], context_schema=Who, checkpointer=saver and saver()
    )


@SAVERS
def test_other_conversations_of_the_same_user_and_nobody_elses(
    each_store: OpenStore, invoke: Invoke, saver: Any
) -> None:
    store = each_store()
    small_talk(store.session("monday", user="ada"), PORT)
    bobs = [("user", "My database listens on port 7777."), ("assistant", "Noted, Bob.")]
    small_talk(store.session("monday", user="bob"), bobs)
    nobodys = [("user", "My database listens on port 8888."), ("assistant", "Noted.")]
    small_talk(store.session("monday"), nobodys)
    small_talk(store.session("monday", user="ada", agent="spy"), nobodys)
    small_talk(store.session("monday", tenant="acme", user="ada"), nobodys)
    model = Scripted()
    agent = across_users(store, model, saver)
    for who, port in (("ada", "6543"), ("bob", "7777"), ("ada", "6543")):
        invoke(agent, ASKED, on("tuesday"), context=Who(who))
        [text] = recalled(model.shown[-1])
        assert "conversations with this user" in text
        assert [p for p in ("6543", "7777", "8888") if p in text] == [port]
    # Of nobody in particular: this conversation alone.
    invoke(agent, ASKED, on("wednesday"), context=Who(""))
    assert not recalled(model.shown[-1])
    invoke(agent, ASKED, on("monday"), context=Who(""))
    [text] = recalled(model.shown[-1])
    assert "8888" in text


def test_other_conversations_of_the_same_agent(memory: Store, invoke: Invoke) -> None:
    small_talk(memory.session("monday", user="ada", agent="clerk"), PORT)
    bobs = [("user", "My database listens on port 7777."), ("assistant", "Noted, Bob.")]
    small_talk(memory.session("monday", user="ada"), bobs)
    model = Scripted()
    across = {"user": "ada", "agent": "clerk", "recall": Recall(across="user")}
    invoke(agent_of(model, memory, **across), ASKED)
    [text] = recalled(model.shown[-1])
    assert "6543" in text
    assert "7777" not in text


def test_by_itself_it_stays_in_its_conversation(memory: Store, invoke: Invoke) -> None:
    small_talk(memory.session("monday", user="ada"), PORT)
    small_talk(memory.session("chat", user="bob"), PORT)
    model = Scripted()
    invoke(agent_of(model, memory, user="ada"), ASKED)
    assert not recalled(model.shown[-1])


# -- what goes wrong -----------------------------------------------------------------------------


def test_a_search_that_fails_costs_the_recall_alone(
    memory: Store,
    invoke: Invoke,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    asked: list[str] = []

    def fails(session: Session, query: str, **given: Any) -> Any:
        asked.append(query)
        raise RuntimeError("the index is on fire")

    async def afails(session: Session, query: str, **given: Any) -> Any:
        fails(session, query)

    monkeypatch.setattr(Session, "recall", fails)
    monkeypatch.setattr(Session, "arecall", afails)
    small_talk(memory.session("chat"), PORT)
    model = Scripted(script=[call_of("c1"), "I do not know."])
    with caplog.at_level(logging.WARNING, "onrecord"):
        result = invoke(agent_of(model, memory, look_up), ASKED)
    assert result[-1].text == "I do not know."
    assert not recalled(model.shown[-1])
    assert asked == [ASKED], "nor is it asked for again in this turn"
    assert ["the index is on fire" in record.getMessage() for record in caplog.records] == [True]
    assert memory.session("chat").messages()[-1].text == "I do not know."


def test_a_run_that_goes_on_in_another_process_is_reminded_too(
    memory: Store, invoke: Invoke
) -> None:
    small_talk(memory.session("chat"), PORT)
    model, saver = Scripted(script=[call_of("c1"), "6543"]), InMemorySaver()

    def agent() -> Any:
        approving: Any = HumanInTheLoopMiddleware(interrupt_on={"look_up": True})
        return agent_of(model, memory, look_up, more=[approving], saver=lambda: saver)

    invoke(agent(), ASKED)
    result = invoke(agent(), Command(resume={"decisions": [{"type": "approve"}]}))
    assert result[-1].text == "6543"
    assert len(model.shown) == 2
    assert all(recalled(shown) for shown in model.shown)
    assert "port 6543" in recalled(model.shown[-1])[0]


def test_what_was_recalled_is_not_stored_wherever_it_comes_from(
    memory: Store, invoke: Invoke
) -> None:
    chat = small_talk(memory.session("chat"), PORT)
    before = chat.count()
    model = Scripted()
    invoke(agent_of(model, memory), ASKED)
    reminder = model.shown[-1][0]
    invoke(agent_of(model, memory), {"messages": [reminder, HumanMessage("And the host?")]})
    assert chat.count() == before + 4
    assert not any(HEADING in m.text for m in chat.messages())


def test_the_newest_of_the_users_messages_is_asked_for(memory: Store, invoke: Invoke) -> None:
    """Also where other middleware adds one in the middle of a turn, or says something in the
    request alone."""

    class Whispers(AgentMiddleware):
        def wrap_model_call(self, request: Any, handler: Any) -> Any:
            whisper = HumanMessage("Be brief about pgbouncer.")
            return handler(request.override(messages=[*request.messages, whisper]))

        async def awrap_model_call(self, request: Any, handler: Any) -> Any:
            whisper = HumanMessage("Be brief about pgbouncer.")
            return await handler(request.override(messages=[*request.messages, whisper]))

    small_talk(memory.session("chat"), PORT)
    model = Scripted()
    remembering: Any = OnrecordMiddleware(memory, window={"turns": 3}, recall=True)
    agent: Any = create_agent(model, middleware=[Whispers(), remembering])
    invoke(agent, "Translate tungsten hexafluoride into Portuguese, please.")
    assert not recalled(model.shown[-1])
    invoke(agent, ASKED)
    assert recalled(model.shown[-1])


# -- settings ------------------------------------------------------------------------------------


def test_how_much_and_how_relevant(memory: Store, invoke: Invoke) -> None:
    small_talk(memory.session("chat"), PORT)
    model = Scripted()
    invoke(agent_of(model, memory, recall=Recall(tokens=10)), ASKED)
    assert not recalled(model.shown[-1])
    invoke(agent_of(model, memory, recall=Recall(min_score=1)), ASKED)
    assert not recalled(model.shown[-1])
    memory.session("chat").pop(4)
    invoke(agent_of(model, memory, recall=Recall(tokens=100, min_score=0)), ASKED)
    assert recalled(model.shown[-1])


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"tokens": 0}, "tokens"),
        ({"tokens": True}, "tokens"),
        ({"min_score": 2}, "min_score"),
        ({"min_score": "high"}, "min_score"),
        ({"across": "everybody"}, "across"),
    ],
)
def test_what_cannot_be_is_refused(wrong: Any, why: str) -> None:
    with pytest.raises(Misconfigured, match=why):
        Recall(**wrong)


@pytest.mark.parametrize("wrong", [1, "user", Recall])
def test_what_is_no_recall_is_refused(memory: Store, wrong: Any) -> None:
    with pytest.raises(Misconfigured, match="recall has to be True, False or a Recall"):
        OnrecordMiddleware(memory, recall=wrong)


def test_the_conversations_of_nobody_in_particular_are_not_one_persons(memory: Store) -> None:
    with pytest.raises(Misconfigured, match="user="):
        OnrecordMiddleware(memory, recall=Recall(across="user"))
    OnrecordMiddleware(memory, recall=Recall(across="user"), user="ada")


def test_a_message_that_other_frameworks_stored_is_recalled(memory: Store, invoke: Invoke) -> None:
    chat = memory.session("chat")
    chat.append(Message("user", "My database listens on port 6543.", name="ada"))
    small_talk(chat)
    model = Scripted()
    invoke(agent_of(model, memory), ASKED)
    assert "ada (user): My database listens on port 6543." in recalled(model.shown[-1])[0]
