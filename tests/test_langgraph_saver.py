"""The checkpointer under real graphs, and what LangGraph's kit leaves out."""

from __future__ import annotations

import asyncio
import copy
import inspect
import json
import operator
import pickle
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, RemoveMessage
from langchain_core.runnables import RunnableConfig
from langgraph.channels.delta import DeltaChannel
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple
from langgraph.checkpoint.base.id import uuid6
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.base import CipherProtocol
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.graph.message import REMOVE_ALL_MESSAGES, add_messages
from langgraph.types import Command, Send, interrupt

from langgraph_onrecord import OnrecordSaver, import_threads, turn_notes
from langgraph_onrecord.underway import _under_way
from onrecord import CheckpointLog, Cleared, Conflict, Damaged, Misconfigured, Store, Unavailable
from onrecord.stored.clock import now
from tests.children import together

Opener = Callable[[], Store]
DURABILITIES = ["sync", "async", "exit"]


def thread(name: str = "t", **more: Any) -> RunnableConfig:
    return {"configurable": {"thread_id": name, **more}}


def say(text: str, id: str | None = None) -> dict[str, Any]:
    return {"messages": [HumanMessage(text, id=id)]}


class Gathered(TypedDict):
    said: Annotated[list[str], operator.add]


def texts(state: Any) -> list[Any]:
    return [message.content for message in state.values["messages"]]


def answer(state: MessagesState) -> dict[str, Any]:
    return {"messages": [AIMessage(f"re: {state['messages'][-1].content}")]}


def chat(saver: BaseCheckpointSaver[Any], bot: Any = answer) -> Any:
    builder = StateGraph(MessagesState)
    builder.add_node("bot", bot)
    builder.add_edge(START, "bot")
    return builder.compile(checkpointer=saver)


def items_stored(saver: OnrecordSaver) -> int:
    from onrecord.ledger.checkpoints import lists

    def work(txn: Any) -> int:
        scope = {"tenant": "", "user": "", "agent": ""}
        return lists.count_in_scope(txn, **scope)["items"].rows

    count: int = saver.log.store._ledger.read(work)
    return count


# -- conversations -------------------------------------------------------------------------------


@pytest.mark.parametrize("durability", DURABILITIES)
def test_a_conversation_goes_on_in_another_process(each_store: Opener, durability: Any) -> None:
    for n in range(3):
        graph = chat(OnrecordSaver(each_store()))
        graph.invoke(say(f"q{n}"), thread(), durability=durability)
    state = chat(OnrecordSaver(each_store())).get_state(thread())
    assert texts(state) == ["q0", "re: q0", "q1", "re: q1", "q2", "re: q2"]


async def _conversation(open_store: Opener, durability: Any) -> list[Any]:
    saver = OnrecordSaver(open_store())
    graph = chat(saver)
    for n in range(3):
        await graph.ainvoke(say(f"q{n}"), thread(), durability=durability)
    history = [state async for state in graph.aget_state_history(thread())]
    return [texts(await graph.aget_state(thread())), len(history)]


@pytest.mark.parametrize("durability", DURABILITIES)
def test_the_same_object_serves_async(each_store: Opener, durability: Any) -> None:
    said, steps = asyncio.run(_conversation(each_store, durability))
    assert said == ["q0", "re: q0", "q1", "re: q1", "q2", "re: q2"]
    assert steps == (3 if durability == "exit" else 9)


def test_each_message_is_an_item_once(each_store: Opener) -> None:
    for n in range(6):  # a new process each time
        saver = OnrecordSaver(each_store())
        chat(saver).invoke(say(f"q{n}"), thread())
    assert items_stored(saver) == 12


def as_memory_has_it(states: Sequence[Any]) -> list[Any]:
    return [
        (
            s.values,
            s.next,
            s.metadata["source"],
            s.metadata["step"],
            [(t.name, t.result, t.error, t.interrupts) for t in s.tasks],
        )
        for s in states
    ]


class Everything(TypedDict):
    messages: Annotated[list[AnyMessage], add_messages]
    log: Annotated[list[str], operator.add]
    count: int
    notes: dict[str, Any]


def play(saver: BaseCheckpointSaver[Any], durability: Any) -> list[Any]:
    """A bit of everything, with ids that are the same each time."""

    def think(state: Everything) -> Any:
        n = state.get("count", 0) + 1
        if n % 2:
            return {
                "messages": [AIMessage(f"thought {n}", id=f"a{n}")],
                "log": [f"{n}"],
                "count": n,
            }
        return {"messages": [AIMessage(f"again {n}", id="a1")], "count": n, "notes": {"n": n}}

    def fan(state: Everything) -> list[Send]:
        return [Send("work", {"count": i}) for i in range(3)]

    def work(state: Everything) -> Any:
        return {"log": [f"worked {state['count']}"]}

    def trim(state: Everything) -> Any:
        if state["count"] % 3:
            return {}
        return {"messages": [RemoveMessage(id=state["messages"][0].id or "")]}

    builder = StateGraph(Everything)
    for node in (think, work, trim):
        builder.add_node(node.__name__, node)
    builder.add_edge(START, "think")
    builder.add_conditional_edges("think", fan, ["work"])
    builder.add_edge("work", "trim")
    graph: Any = builder.compile(checkpointer=saver)
    for n in range(7):
        graph.invoke(say(f"q{n}", f"h{n}"), thread(), durability=durability)
    everything = {"messages": [RemoveMessage(REMOVE_ALL_MESSAGES), AIMessage("sum", id="s")]}
    graph.update_state(thread(), everything, as_node="think")
    graph.invoke(None, thread(), durability=durability)
    return as_memory_has_it(list(graph.get_state_history(thread())))


@pytest.mark.parametrize("durability", DURABILITIES)
def test_a_history_is_what_it_is_in_memory(each_store: Opener, durability: Any) -> None:
    ours = OnrecordSaver(each_store())
    expected = play(InMemorySaver(), durability)
    assert play(ours, durability) == expected
    # And another process finds the same.
    other = OnrecordSaver(each_store())
    found = [t.checkpoint["channel_values"] for t in other.list(thread())]
    assert found == [t.checkpoint["channel_values"] for t in ours.list(thread())]


def test_time_travel_and_forks(each_store: Opener) -> None:
    saver = OnrecordSaver(each_store())
    graph = chat(saver)
    for n in range(3):
        graph.invoke(say(f"q{n}"), thread())
    early = next(s for s in graph.get_state_history(thread()) if texts(s)[-1:] == ["re: q0"])
    graph.invoke(say("other"), early.config)
    assert texts(graph.get_state(thread())) == ["q0", "re: q0", "other", "re: other"]
    graph.invoke(say("third"), early.config)  # a second fork from the same place
    assert texts(graph.get_state(thread())) == ["q0", "re: q0", "third", "re: third"]
    config = graph.update_state(early.config, {"messages": [AIMessage("said so")]}, as_node="bot")
    assert texts(graph.get_state(config)) == ["q0", "re: q0", "said so"]
    assert items_stored(saver) == 6 + 2 + 2 + 1
    # A config of the newest checkpoint names it, so what follows is meant to.
    newest = graph.get_state(thread())
    graph.invoke(say("on"), newest.config)
    graph.invoke(say("on, otherwise"), newest.config)
    assert texts(graph.get_state(thread()))[-2] == "on, otherwise"


def test_interrupts_are_resumed_in_another_process(each_store: Opener) -> None:
    def ask(state: MessagesState) -> Any:
        said = interrupt("May I?")
        return {"messages": [AIMessage(f"you said {said}")]}

    graph = chat(OnrecordSaver(each_store()), ask)
    graph.invoke(say("go"), thread())
    state = graph.get_state(thread())
    assert state.tasks[0].interrupts[0].value == "May I?"
    graph = chat(OnrecordSaver(each_store()), ask)
    graph.invoke(Command(resume="yes"), thread())
    assert texts(graph.get_state(thread())) == ["go", "you said yes"]


def test_subgraphs_have_namespaces_of_their_own(each_store: Opener) -> None:
    def ask(state: MessagesState) -> Any:
        return {"messages": [AIMessage(f"you said {interrupt('?')}")]}

    inner = StateGraph(MessagesState).add_node("ask", ask).add_edge(START, "ask").compile()
    graph = chat(OnrecordSaver(each_store()), inner)
    graph.invoke(say("go"), thread())
    within = graph.get_state(thread(), subgraphs=True).tasks[0].state
    assert texts(within) == ["go"]
    saver = OnrecordSaver(each_store())
    graph = chat(saver, inner)
    graph.invoke(Command(resume="yes"), thread())
    assert texts(graph.get_state(thread())) == ["go", "you said yes"]
    assert len(saver.log.namespaces("t")) == 2
    graph.invoke(say("again"), thread())
    graph.invoke(Command(resume="no"), thread())
    assert len(saver.log.namespaces("t")) == 3
    saver.prune(["t"])
    # Calls go with the checkpoints they were made from; the conversation stays.
    assert saver.log.namespaces("t") == [""]
    assert texts(graph.get_state(thread()))[-1] == "you said no"


# -- channels of deltas --------------------------------------------------------------------------


def add_many(state: Any, writes: Sequence[Any]) -> Any:
    for written in writes:
        state = add_messages(state, written)
    return state


class Deltas(TypedDict):
    messages: Annotated[list[AnyMessage], DeltaChannel(add_many, snapshot_frequency=4)]


def delta_graph(saver: BaseCheckpointSaver[Any]) -> Any:
    def bot(state: Deltas) -> Any:
        return {"messages": [AIMessage(f"re: {state['messages'][-1].content}")]}

    builder = StateGraph(Deltas)
    builder.add_node("bot", bot)
    builder.add_edge(START, "bot")
    return builder.compile(checkpointer=saver)


@pytest.mark.filterwarnings("ignore")  # of LangGraph: DeltaChannel is a beta
@pytest.mark.parametrize("durability", DURABILITIES)
def test_threads_of_deltas(each_store: Opener, durability: Any) -> None:
    for n in range(7):
        graph = delta_graph(OnrecordSaver(each_store()))
        graph.invoke(say(f"q{n}"), thread(), durability=durability)
    expected = [text for n in range(7) for text in (f"q{n}", f"re: q{n}")]
    saver = OnrecordSaver(each_store())
    graph = delta_graph(saver)
    assert texts(graph.get_state(thread())) == expected
    assert [m.text for m in saver.transcript("t")] == expected
    saver.copy_thread("t", "copy")
    saver.prune(["t"])
    kept = len(list(saver.list(thread())))
    for name in ("t", "copy"):
        for one in (saver, OnrecordSaver(each_store())):
            assert texts(delta_graph(one).get_state(thread(name))) == expected
    assert kept < len(list(saver.list(thread("copy")))) or durability == "exit"
    delta_graph(saver).invoke(say("on"), thread(), durability=durability)
    assert texts(graph.get_state(thread())) == [*expected, "on", "re: on"]


# -- what changes in place -----------------------------------------------------------------------


def test_what_a_node_changed_in_place_is_stored_as_changed(each_store: Opener) -> None:
    def edit(state: MessagesState) -> Any:
        first = state["messages"][0]
        first.content = f"{first.content}!"
        first.additional_kwargs["deep"] = {"er": [len(state["messages"])]}
        return {"messages": [AIMessage("done")]}

    def quiet(state: MessagesState) -> Any:
        second = state["messages"][1]
        second.content = f"{second.content}?"
        return {}

    saver = OnrecordSaver(each_store())
    for n in range(2):
        # "sync", or the step before is being stored while the node changes what it is made of.
        chat(saver, edit).invoke(say(f"q{n}"), thread(), durability="sync")
    state = chat(OnrecordSaver(each_store())).get_state(thread())
    assert texts(state) == ["q0!!", "done", "q1", "done"]
    assert state.values["messages"][0].additional_kwargs == {"deep": {"er": [3]}}
    history = [texts(s) for s in chat(saver).get_state_history(thread())]
    assert history[-2:] == [["q0"], []], "what was stored before stays as it was"
    # Also where the node says that it has done nothing.
    chat(saver, quiet).invoke(say("q2"), thread(), durability="sync")
    assert texts(chat(OnrecordSaver(each_store())).get_state(thread()))[1] == "done?"


def test_returned_objects_belong_to_the_caller(each_store: Opener) -> None:
    saver = OnrecordSaver(each_store())
    chat(saver).invoke(say("q"), thread())
    found = saver.get_tuple(thread())
    assert found is not None
    found.checkpoint["channel_values"]["messages"][0].content = "changed"
    found.checkpoint["channel_values"]["messages"].clear()
    again = saver.get_tuple(thread())
    assert again is not None
    assert [m.content for m in again.checkpoint["channel_values"]["messages"]] == ["q", "re: q"]


# -- serializers ---------------------------------------------------------------------------------


class Nonce(CipherProtocol):
    """Makes another text of the same bytes each time, as encryption with a nonce does."""

    def __init__(self) -> None:
        self.count = 0

    def encrypt(self, plaintext: bytes) -> tuple[str, bytes]:
        self.count += 1
        key = self.count % 255 + 1
        return "xor", bytes([key, *(byte ^ key for byte in plaintext)])

    def decrypt(self, ciphername: str, ciphertext: bytes) -> bytes:
        return bytes(byte ^ ciphertext[0] for byte in ciphertext[1:])


class Words(JsonPlusSerializer):
    """A serializer of the user's own, with kinds of its own."""

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        kind, content = super().dumps_typed(obj)
        return f"mine {kind}", content[::-1]

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        return super().loads_typed((data[0].removeprefix("mine "), data[1][::-1]))


@pytest.mark.parametrize("serde", [EncryptedSerializer(Nonce()), Words()], ids=["nonce", "own"])
def test_serializers_of_the_users_choice(each_store: Opener, serde: Any) -> None:
    expected = []
    for n in range(5):  # a new process each time: nothing is known but what is stored
        saver = OnrecordSaver(each_store(), serde=serde)
        chat(saver).invoke(say(f"secret {n}"), thread())
        expected += [f"secret {n}", f"re: secret {n}"]
    assert texts(chat(saver).get_state(thread())) == expected
    assert items_stored(saver) == 10, "also where the same value is never the same text"
    assert [m.text for m in saver.transcript("t")] == expected
    restricted: Any = saver.with_allowlist([("some", "type")])
    assert restricted.get_tuple(thread()) is not None


def test_an_encrypted_message_is_nowhere_in_clear(
    each_store: Opener, request: pytest.FixtureRequest, tmp_path: Any
) -> None:
    saver = OnrecordSaver(each_store(), serde=EncryptedSerializer(Nonce()))
    chat(saver).invoke(say("the secret word is xyzzy"), thread())
    for file in tmp_path.glob("store.db*"):
        assert b"xyzzy" not in file.read_bytes()


# -- two turns at once ---------------------------------------------------------------------------


@pytest.mark.parametrize("durability", ["sync", "exit"])
@pytest.mark.parametrize("begun", [False, True], ids=["new thread", "old thread"])
def test_the_second_of_two_turns_is_refused(
    each_store: Opener, durability: Any, begun: bool
) -> None:
    savers = [OnrecordSaver(each_store()), OnrecordSaver(each_store())]
    if begun:
        chat(savers[0]).invoke(say("before"), thread())
    read = threading.Barrier(2, timeout=20)
    both: list[Any] = []

    def turn(n: int) -> None:
        saver = savers[n]
        real = saver.get_tuple

        def get_tuple(config: RunnableConfig) -> CheckpointTuple | None:
            found = real(config)
            read.wait()  # neither writes before both have read
            return found

        saver.get_tuple = get_tuple  # type: ignore[method-assign]
        try:
            both.append(chat(saver).invoke(say(f"q{n}"), thread(), durability=durability))
        except Conflict as fault:
            both.append(fault)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(turn, range(2)))
    assert sum(isinstance(one, Conflict) for one in both) == 1
    [refused] = [one for one in both if isinstance(one, Conflict)]
    # Before 1.2.16 LangGraph may raise what the step after it was told.
    assert re.search("Run (it|the turn) again", str(refused))
    said = texts(chat(OnrecordSaver(each_store())).get_state(thread()))
    assert said[-2:] in (["q0", "re: q0"], ["q1", "re: q1"])
    assert len(said) == (4 if begun else 2)


@pytest.mark.parametrize("durability", DURABILITIES)
@pytest.mark.parametrize("begun", [False, True], ids=["new thread", "old thread"])
def test_a_turn_that_another_began_within_is_refused(
    each_store: Opener, durability: Any, begun: bool
) -> None:
    """The other went on from this one's question, so what this one adds would be beside it."""
    savers = [OnrecordSaver(each_store()), OnrecordSaver(each_store())]
    if begun:
        chat(savers[0]).invoke(say("before"), thread())

    refused = []

    def meanwhile(state: MessagesState) -> dict[str, Any]:
        try:
            chat(savers[1]).invoke(say("q1"), thread())
        except Conflict:  # the question was stored between its reading and its writing
            refused.append("q1")
        return answer(state)

    builder = StateGraph(MessagesState)
    builder.add_node("bot", meanwhile)
    builder.add_node("more", lambda state: {"messages": [AIMessage("more")]})
    builder.add_edge(START, "bot")
    builder.add_edge("bot", "more")
    graph: Any = builder.compile(checkpointer=savers[0])
    try:
        graph.invoke(say("q0"), thread(), durability=durability)
    except Conflict:
        refused.append("q0")
    assert len(refused) == 1
    graph = chat(OnrecordSaver(each_store()))
    said = texts(graph.get_state(thread()))
    before = ["before", "re: before"] if begun else []
    # Whether the question was stored before the other looked is told apart by durability.
    assert said in (
        [[*before, "q1", "re: q1"], [*before, "q0", "q1", "re: q1"]]
        if refused == ["q0"]
        else [[*before, "q0", "re: q0", "more"]]
    )
    graph.invoke(say("again"), thread())
    assert texts(graph.get_state(thread()))[len(said) :] == ["again", "re: again"]
    # One line: nobody is beside anybody.
    parents = [found.parent_config for found in OnrecordSaver(each_store()).list(thread())]
    ids = [parent["configurable"]["checkpoint_id"] for parent in parents if parent is not None]
    assert len(set(ids)) == len(ids) == len(parents) - 1


def test_no_step_is_stored_after_one_that_was_refused(each_store: Opener) -> None:
    """LangGraph hands over the steps that follow, also when it was told of the first."""
    saver = OnrecordSaver(each_store())
    chat(saver).invoke(say("q"), thread())
    stale = saver.get_tuple(thread())
    assert stale is not None
    chat(saver).invoke(say("meanwhile"), thread())
    before = len(list(saver.list(thread())))
    configurable = {**stale.config["configurable"], "__pregel_runtime": None}  # of a running graph
    for id, parent in [("a", configurable["checkpoint_id"]), ("b", "a")]:
        config: RunnableConfig = {"configurable": {**configurable, "checkpoint_id": parent}}
        with pytest.raises(Conflict, match="continued by" if id == "a" else "has no checkpoint a"):
            saver.put(config, {**stale.checkpoint, "id": id}, {}, {})
    assert len(list(saver.list(thread()))) == before


@pytest.mark.parametrize("durability", DURABILITIES)
def test_what_two_workers_were_told_is_stored_is_there(each_store: Opener, durability: Any) -> None:
    """Two processes, twenty turns each on one thread: every answered turn is in its history."""

    def work(who: int, meet: Callable[[], object]) -> list[str]:
        kept = []
        with each_store() as store:
            graph = chat(OnrecordSaver(store))
            meet()
            for n in range(20):
                try:
                    graph.invoke(say(f"{who}.{n}"), thread(), durability=durability)
                except Conflict:
                    continue
                kept.append(f"{who}.{n}")
        return kept

    kept = [text for told in together(work) for text in told]
    said = texts(chat(OnrecordSaver(each_store())).get_state(thread()))
    for text in kept:
        assert said[said.index(text) + 1] == f"re: {text}"


def test_tasks_of_one_step_may_share_a_subgraph_that_remembers(each_store: Opener) -> None:
    """They are siblings in its namespace, and of one turn."""
    child = StateGraph(Gathered)
    child.add_node("a", lambda state: {"said": ["a"]})
    child.add_edge(START, "a")
    parent = StateGraph(Gathered)
    parent.add_node("sub", child.compile(checkpointer=True))
    parent.add_conditional_edges(
        START, lambda state: [Send("sub", {"said": [name]}) for name in "xyz"]
    )
    graph = parent.compile(checkpointer=OnrecordSaver(each_store()))
    for n in range(3):
        said = graph.invoke({"said": ["go"]}, thread())["said"]
        assert said.count("go") == n + 1
        assert {"x", "y", "z"} <= set(said)


@pytest.mark.parametrize("durability", DURABILITIES)
def test_a_subgraph_that_remembers_can_be_replayed(each_store: Opener, durability: Any) -> None:
    """LangGraph asks for no newest checkpoint then, but takes an old one: a fork that is meant."""

    def ask(state: Gathered) -> dict[str, list[str]]:
        return {"said": [f"answered {interrupt('?')}"]}

    def said(saver: BaseCheckpointSaver[Any]) -> Any:
        child = StateGraph(Gathered)
        child.add_node("ask", ask)
        child.add_edge(START, "ask")
        parent = StateGraph(Gathered)
        parent.add_node("sub", child.compile(checkpointer=True))
        parent.add_edge(START, "sub")
        graph = parent.compile(checkpointer=saver)
        for turn in "12":
            graph.invoke({"said": [turn]}, thread(), durability=durability)
            graph.invoke(Command(resume=f"y{turn}"), thread(), durability=durability)
        old = next(s for s in graph.get_state_history(thread()) if s.next == ("sub",))
        graph.invoke(None, old.config, durability=durability)
        return graph.invoke(Command(resume="NEW"), thread(), durability=durability)["said"]

    assert said(OnrecordSaver(each_store())) == said(InMemorySaver())


def test_who_goes_on_from_a_fork_is_no_more_lost_than_others(each_store: Opener) -> None:
    """A fork is meant; what it has stored is the newest by then, and others continue that."""
    saver = OnrecordSaver(each_store())
    chat(saver).invoke(say("q"), thread())
    old = list(chat(saver).get_state_history(thread()))[-1]

    def meanwhile(state: MessagesState) -> dict[str, Any]:
        chat(OnrecordSaver(each_store())).invoke(say("told"), thread())
        return answer(state)

    with pytest.raises(Conflict, match="continued by"):
        chat(saver, meanwhile).invoke(say("fork"), old.config, durability="sync")
    assert texts(chat(saver).get_state(thread())) == ["fork", "told", "re: told"]


def configs_in(value: Any) -> Iterator[dict[str, Any]]:
    """Every ``configurable`` in what LangGraph has given."""
    if isinstance(value, dict):
        if isinstance(value.get("configurable"), dict):
            yield value["configurable"]
        for inner in value.values():
            yield from configs_in(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from configs_in(inner)


def test_a_state_is_the_same_state_out_of_the_history(each_store: Opener) -> None:
    """What tells a turn from a fork travels with what LangGraph hands on, and nobody sees it."""
    child = StateGraph(Gathered)
    child.add_node("ask", lambda state: {"said": [str(interrupt("?"))]})
    child.add_edge(START, "ask")
    parent = StateGraph(Gathered)
    parent.add_node("sub", child.compile(checkpointer=True))
    parent.add_edge(START, "sub")
    saver = OnrecordSaver(each_store())
    graph = parent.compile(checkpointer=saver)

    def streamed(input: Any) -> list[Any]:
        return list(graph.stream(input, thread(), stream_mode=["checkpoints", "debug"]))

    seen = [*streamed({"said": ["q"]}), graph.get_state(thread(), subgraphs=True)]
    updated = graph.update_state(thread(), {"said": ["more"]}, as_node="sub")
    seen += [updated, *streamed({"said": ["again"]}), *streamed(Command(resume="yes"))]
    state = graph.get_state(thread())
    history = list(graph.get_state_history(thread()))
    assert state == history[0]
    assert asyncio.run(graph.aget_state(thread())) == history[0]
    for one in history:
        assert graph.get_state(one.config) == one
    seen += [state, saver.get_tuple(thread()), saver.get_tuple(updated), history]
    found = [config for one in seen for config in configs_in(one) if "checkpoint_id" in config]
    assert len(found) > 20
    serde = JsonPlusSerializer()
    for config in found:
        assert config.keys() <= {"thread_id", "checkpoint_ns", "checkpoint_id", "checkpoint_map"}
        for elsewhere in (
            copy.deepcopy(config),
            json.loads(json.dumps(config)),
            pickle.loads(pickle.dumps(config)),
            serde.loads_typed(serde.dumps_typed(config)),
        ):
            assert elsewhere == config
        assert type(config["checkpoint_id"]) is str, "also to those who look closely"


def test_a_turn_is_protected_when_its_note_was_forgotten(
    each_store: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turn_notes.asked.notes, "most", 0)
    saver = OnrecordSaver(each_store())
    chat(saver).invoke(say("q"), thread())

    def meanwhile(state: MessagesState) -> dict[str, Any]:
        chat(OnrecordSaver(each_store())).invoke(say("told"), thread())
        return answer(state)

    with pytest.raises(Conflict, match="continued by"):
        chat(saver, meanwhile).invoke(say("lost?"), thread(), durability="exit")
    assert texts(chat(saver).get_state(thread())) == ["q", "re: q", "told", "re: told"]


def test_a_checkpoint_is_continued_by_its_id_from_another_process(each_store: Opener) -> None:
    """An id that was written down names a place to go on from: a fork, as with other savers."""
    saver = OnrecordSaver(each_store())
    chat(saver).invoke(say("q"), thread())
    config = pickle.loads(pickle.dumps(chat(saver).get_state(thread()).config))
    chat(saver).invoke(say("meanwhile"), thread())
    chat(OnrecordSaver(each_store())).invoke(say("fork"), config)
    assert texts(chat(saver).get_state(thread())) == ["q", "re: q", "fork", "re: fork"]
    found = saver.get_tuple(config)
    assert found is not None
    saver.put(config, {**found.checkpoint, "id": "beside"}, {}, {})
    newest = saver.get_tuple(thread())
    assert newest is not None
    assert newest.checkpoint["id"] == "beside"


def test_a_checkpoint_that_is_not_there_is_not_continued(each_store: Opener) -> None:
    graph = chat(OnrecordSaver(each_store()))
    graph.invoke(say("q"), thread())
    with pytest.raises(Conflict, match="never there"):
        graph.invoke(say("misspelt"), thread(checkpoint_id="1f0"))
    assert texts(graph.get_state(thread())) == ["q", "re: q"]


def test_an_update_beside_a_turn_is_refused_too(each_store: Opener) -> None:
    saver = OnrecordSaver(each_store())
    graph = chat(saver)
    graph.invoke(say("q"), thread())
    other = OnrecordSaver(each_store())
    stale = other.get_tuple(thread())
    assert stale is not None
    other.get_tuple = lambda config: stale  # type: ignore[method-assign]
    graph.invoke(say("meanwhile"), thread())
    with pytest.raises(Conflict):
        chat(other).update_state(thread(), say("lost?"), as_node="bot")


def test_a_second_turn_may_become_a_fork_by_choice(each_store: Opener) -> None:
    saver = OnrecordSaver(each_store(), second_turn="fork")
    chat(saver).invoke(say("q"), thread())
    stale = saver.get_tuple(thread())
    assert stale is not None
    chat(saver).invoke(say("meanwhile"), thread())
    other = OnrecordSaver(each_store(), second_turn="fork")
    other.get_tuple = lambda config: stale  # type: ignore[method-assign]
    chat(other).invoke(say("also"), thread())
    assert texts(chat(saver).get_state(thread())) == ["q", "re: q", "also", "re: also"]
    with pytest.raises(Misconfigured, match="second_turn"):
        OnrecordSaver(each_store(), second_turn="wait")  # type: ignore[arg-type]


def test_turns_wait_for_each_other(each_store: Opener) -> None:
    savers = [OnrecordSaver(each_store()), OnrecordSaver(each_store())]

    def turn(n: int) -> None:
        saver = savers[n % 2]
        if n % 3:
            with saver.turn("t"):
                chat(saver).invoke(say(f"q{n}"), thread())
        else:
            asyncio.run(aturn(saver, n))

    async def aturn(saver: OnrecordSaver, n: int) -> None:
        async with saver.aturn("t"):
            await chat(saver).ainvoke(say(f"q{n}"), thread())

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(turn, range(8)))
    said = texts(chat(savers[0]).get_state(thread()))
    assert sorted(said[::2]) == [f"q{n}" for n in range(8)]
    assert said[1::2] == [f"re: {text}" for text in said[::2]]


@pytest.mark.parametrize("durability", DURABILITIES)
def test_a_thread_whose_run_was_cancelled_is_of_use_at_once(
    each_store: Opener, durability: Any
) -> None:
    """What the run has left is still being stored, and whoever comes next waits for it."""
    saver = OnrecordSaver(each_store())
    real = saver.log.aput

    async def main() -> None:
        graph = chat(saver)
        await graph.ainvoke(say("before"), thread())
        storing, on = asyncio.Event(), asyncio.Event()

        async def slow(*given: Any, **settings: Any) -> Any:
            storing.set()
            await on.wait()
            return await real(*given, **settings)

        saver.log.aput = slow  # type: ignore[method-assign]
        run = asyncio.create_task(graph.ainvoke(say("q1"), thread(), durability=durability))
        await storing.wait()
        while not run.done():  # LangGraph waits for what it stores, unless it is cancelled again
            run.cancel()
            await asyncio.sleep(0)
        after = asyncio.create_task(graph.ainvoke(say("q2"), thread(), durability=durability))
        for _ in range(100):
            await asyncio.sleep(0)
        on.set()
        said = [message.content for message in (await after)["messages"]]
        assert said[:2] == ["before", "re: before"]
        assert said[-2:] == ["q2", "re: q2"]
        assert run.cancelled()
        assert not _under_way.get(asyncio.get_running_loop())

    asyncio.run(main())


@pytest.mark.parametrize("durability", DURABILITIES)
def test_a_thread_is_of_use_wherever_its_run_was_cancelled(
    each_store: Opener, durability: Any
) -> None:
    saver = OnrecordSaver(each_store())
    graph = chat(saver)

    async def main() -> None:
        for ticks in range(0, 90, 2):
            config = thread(f"after {ticks}")
            run = asyncio.create_task(graph.ainvoke(say("q1"), config, durability=durability))
            for _ in range(ticks):
                await asyncio.sleep(0)
            run.cancel()
            await asyncio.wait([run])
            said = (await graph.ainvoke(say("q2"), config, durability=durability))["messages"]
            assert [message.content for message in said[-2:]] == ["q2", "re: q2"]

    asyncio.run(main())


def test_a_lease_reaches_the_saver(each_store: Opener) -> None:
    saver = OnrecordSaver(each_store())
    with pytest.raises(Misconfigured, match="lease"):
        saver.turn("t", lease=0)
    with saver.turn("t", lease=5), pytest.raises(Conflict, match=r"by process \d+ on"):
        OnrecordSaver(each_store()).turn("t", patience=0).__enter__()

    async def held() -> None:
        async with saver.aturn("t", lease=5):
            with pytest.raises(Conflict, match=r"by process \d+ on"):
                await saver.aturn("t", patience=0, lease=5).__aenter__()

    asyncio.run(held())


def test_a_crash_is_no_second_turn(each_store: Opener) -> None:
    def fails(state: MessagesState) -> Any:
        raise RuntimeError("out of order")

    saver = OnrecordSaver(each_store())
    with pytest.raises(RuntimeError):
        chat(saver, fails).invoke(say("q"), thread())
    graph = chat(OnrecordSaver(each_store()))
    graph.invoke(None, thread())
    assert texts(graph.get_state(thread())) == ["q", "re: q"]
    graph.invoke(say("on"), thread())


# -- deletion, pruning, copies -------------------------------------------------------------------


@pytest.mark.parametrize("durability", DURABILITIES)
def test_a_run_whose_thread_is_deleted_brings_nothing_back(
    each_store: Opener, durability: Any
) -> None:
    saver, other = OnrecordSaver(each_store()), OnrecordSaver(each_store())
    chat(saver).invoke(say("before"), thread())

    def deleting(state: MessagesState) -> Any:
        other.delete_thread("t")
        return {"messages": [AIMessage("late")]}

    with pytest.raises(Cleared):
        chat(saver, deleting).invoke(say("q"), thread(), durability=durability)
    assert other.get_tuple(thread()) is None
    assert list(other.list(None)) == []
    chat(saver).invoke(say("anew"), thread())
    assert texts(chat(other).get_state(thread())) == ["anew", "re: anew"]


def test_runs_are_deleted_wherever_they_were(each_store: Opener) -> None:
    saver = OnrecordSaver(each_store())
    graph = chat(saver)
    for name in ("a", "b"):
        for run in ("one", "two"):
            graph.invoke(say(f"{run} in {name}"), thread(name, run_id=f"run {run}"))
    OnrecordSaver(each_store(), user="eve").delete_for_runs(["run two"])
    assert texts(graph.get_state(thread("a")))[-1] == "re: two in a"
    saver.delete_for_runs(["run two", "run none"])
    for name in ("a", "b"):
        assert texts(graph.get_state(thread(name))) == [f"one in {name}", f"re: one in {name}"]
        graph.invoke(say("and on"), thread(name))
        assert len(texts(graph.get_state(thread(name)))) == 4


def test_a_pruned_thread_is_small_and_goes_on(each_store: Opener) -> None:
    saver = OnrecordSaver(each_store())
    graph = chat(saver)
    for n in range(4):
        graph.invoke(say(f"q{n}"), thread())
    old = list(graph.get_state_history(thread()))
    graph.invoke(say("fork"), old[3].config)  # shares what came before
    before = texts(graph.get_state(thread()))
    saver.prune(["t", "unknown"])
    assert len(list(saver.list(thread()))) == 1
    assert texts(graph.get_state(thread())) == before
    assert items_stored(saver) == len(before)
    graph.invoke(say("on"), thread())
    other = chat(OnrecordSaver(each_store()))
    assert texts(other.get_state(thread())) == [*before, "on", "re: on"]
    with pytest.raises(Misconfigured, match="strategy"):
        saver.prune(["t"], strategy="keep_some")
    saver.prune(["t"], strategy="delete")
    assert saver.get_tuple(thread()) is None


def test_a_copy_is_a_thread_of_its_own(each_store: Opener) -> None:
    saver = OnrecordSaver(each_store())
    graph = chat(saver)
    graph.invoke(say("q"), thread())
    saver.copy_thread("t", "copy")
    graph.invoke(say("in the copy"), thread("copy"))
    saver.delete_thread("t")
    assert len(texts(graph.get_state(thread("copy")))) == 4
    saver.copy_thread("copy", "copy of it")
    with pytest.raises(Conflict, match="has checkpoints already"):
        saver.copy_thread("copy of it", "copy")


def test_threads_expire_when_they_are_quiet(
    each_store: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onrecord.flows.checkpoints.threads

    store = each_store()
    saver = OnrecordSaver(store, expires_in=timedelta(days=1))
    chat(saver).invoke(say("q"), thread())
    chat(OnrecordSaver(store)).invoke(say("q"), thread("kept"))
    assert saver.prune_expired() == []
    two_days = 2 * 86_400 * 1_000_000
    monkeypatch.setattr(onrecord.flows.checkpoints.threads, "now", lambda: now() + two_days)
    assert asyncio.run(saver.aprune_expired()) == ["t"]
    assert [info.key for info in saver.threads()] == ["kept"]


# -- listing -------------------------------------------------------------------------------------


def test_conversations_are_listed_for_their_users(each_store: Opener) -> None:
    store = each_store()
    for user in ("ada", "eve"):
        saver = OnrecordSaver(store, user=user)
        for topic in ("tea", "cake"):
            config: RunnableConfig = {
                "configurable": {"thread_id": topic},
                "metadata": {"topic": topic, "long": topic == "cake"},
            }
            chat(saver).invoke(say(f"{user} on {topic}"), config)
    saver = OnrecordSaver(store, user="ada")
    assert {info.key for info in saver.threads()} == {"tea", "cake"}
    [info] = saver.threads(metadata={"topic": "cake"})
    assert info.metadata["long"] is True
    assert asyncio.run(saver.athreads(metadata={"topic": "soup"})) == []
    [said, *_] = saver.transcript("cake")
    assert (said.role, said.text) == ("user", "ada on cake")
    assert asyncio.run(saver.atranscript("tea"))[0].text == "ada on tea"
    assert saver.transcript("unknown") == []
    # Sync and async see the same checkpoints, newest first, across threads.
    listed = list(saver.list(None, limit=4))

    async def alisted() -> list[CheckpointTuple]:
        return [one async for one in saver.alist(None, limit=4)]

    assert asyncio.run(alisted()) == listed
    assert len(list(saver.list(None))) == 6
    assert len(list(saver.list(None, filter={"topic": "tea", "source": "loop"}))) == 2
    ids = [t.checkpoint["id"] for t in saver.list(thread("tea"))]
    before = {"configurable": {"thread_id": "tea", "checkpoint_id": ids[0]}}
    assert [t.checkpoint["id"] for t in saver.list(thread("tea"), before=before)] == ids[1:]  # type: ignore[arg-type]
    unknown = {"configurable": {"checkpoint_id": ids[1] + "0"}}
    assert len(list(saver.list(thread("tea"), before=unknown, limit=9))) == 2  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore")  # of LangGraph: DeltaChannel is a beta
def test_a_channel_that_is_no_list_of_messages_is_refused_in_every_version_of_langgraph(
    each_store: Opener,
) -> None:
    """LangGraph 1.2.24 keeps no value of the channel that says which node is next; those before
    keep None."""
    saver = OnrecordSaver(each_store())
    chat(saver).invoke(say("q"), thread("whole"))
    delta_graph(saver).invoke(say("q"), thread("deltas"))
    chat(saver).update_state(thread("updated"), say("q"), as_node=START)
    for name in ("whole", "deltas", "updated"):
        for channel in ("branch:to:bot", "__start__", "nowhere"):
            with pytest.raises(Misconfigured, match=r"no list of messages|no channel"):
                saver.transcript(name, channel=channel)
            with pytest.raises(Misconfigured, match=r"no list of messages|no channel"):
                asyncio.run(saver.atranscript(name, channel=channel))
    saver.prune(["whole"])
    with pytest.raises(Misconfigured, match="no list of messages"):
        saver.transcript("whole", channel="branch:to:bot")
    assert [m.text for m in saver.transcript("updated")] == ["q"]


def test_the_newest_is_what_was_put_last_whatever_the_clocks_say(each_store: Opener) -> None:
    saver = OnrecordSaver(each_store())
    graph = chat(saver)
    graph.invoke(say("q"), thread())
    newest = saver.get_tuple(thread())
    assert newest is not None
    behind = {**newest.checkpoint, "id": "00000000-0000-6000-8000-000000000000"}
    saver.put(newest.config, behind, {"source": "loop", "step": 9}, {})  # type: ignore[arg-type]
    found = saver.get_tuple(thread())
    assert found is not None
    assert found.checkpoint["id"] == behind["id"]
    assert next(iter(saver.list(thread()))).checkpoint["id"] == behind["id"]


# -- failures ------------------------------------------------------------------------------------


def test_an_outage_never_looks_like_a_new_conversation(own_postgres: Any) -> None:
    url = own_postgres.create_database("outage")
    saver, hasty = OnrecordSaver(Store(url)), OnrecordSaver(Store(url, timeout=0.1))
    graph = chat(saver)
    graph.invoke(say("q"), thread())
    own_postgres.stop()
    for read in (
        lambda: hasty.get_tuple(thread()),
        lambda: list(hasty.list(thread())),
        lambda: chat(hasty).invoke(say("again"), thread()),
        lambda: asyncio.run(hasty.aget_tuple(thread())),
    ):
        with pytest.raises(Unavailable):
            read()
    hasty.log.store.close()
    own_postgres.start()
    assert texts(graph.get_state(thread())) == ["q", "re: q"]
    saver.log.store.close()


def test_damage_is_said_and_harms_no_other_checkpoint(each_store: Opener) -> None:
    saver = OnrecordSaver(each_store())
    graph = chat(saver)
    graph.invoke(say("q"), thread())
    newest = saver.get_tuple(thread())
    assert newest is not None
    graph.invoke(say("on"), thread())

    def spoil(txn: Any) -> None:
        txn.run(
            "UPDATE {checkpoint_items} SET body = :junk WHERE number = 3",
            {"junk": b"\x01\x00junk"},
        )

    saver.log.store._ledger.write(spoil)
    fresh = OnrecordSaver(each_store())
    with pytest.raises(Damaged, match="thread 't'"):
        fresh.get_tuple(thread())
    early = fresh.get_tuple(newest.config)
    assert early is not None
    assert len(early.checkpoint["channel_values"]["messages"]) == 2


def test_what_cannot_be_meant_is_refused_at_once() -> None:
    with pytest.raises(Misconfigured, match=r"has to be an onrecord\.Store"):
        OnrecordSaver("sqlite:///file.db")  # type: ignore[arg-type]
    with Store("sqlite://") as store:
        with pytest.raises(Misconfigured, match="timedelta"):
            OnrecordSaver(store, expires_in=90)  # type: ignore[arg-type]
        saver = OnrecordSaver(store)
        with pytest.raises(Misconfigured, match=r"thread_ids=\['t2'\]"):
            saver.prune("t2")
        with pytest.raises(Misconfigured, match="OnrecordSaver first"):
            import_threads(store, "sqlite://")  # type: ignore[arg-type]
        with pytest.raises(Misconfigured, match=r"threads=\['t'\]"):
            import_threads(saver, "sqlite://", threads="t")


def test_a_thread_is_named_by_its_id(each_store: Opener) -> None:
    """A config would be a thread that nobody has: empty, and a lock that keeps nobody out."""
    saver = OnrecordSaver(each_store())
    saver.setup()
    asyncio.run(saver.asetup())
    chat(saver).invoke(say("q"), thread("7"))
    [info] = saver.threads()
    assert len(saver.transcript(info)) == len(saver.transcript("7")) == 2  # type: ignore[arg-type]
    for take in (saver.transcript, saver.delete_thread, saver.turn):
        with pytest.raises(Misconfigured, match="thread_id"):
            take(thread("7"))  # type: ignore[arg-type]
    with pytest.raises(Misconfigured, match=r"no channel 'msgs'\. It has: messages"):
        saver.transcript("7", channel="msgs")
    with pytest.raises(Misconfigured, match=r"run_ids=\['run'\]"):
        saver.delete_for_runs("run")
    saver.prune([7], strategy="delete")  # type: ignore[list-item]
    assert saver.transcript("7") == []


def test_a_config_without_a_thread_is_explained() -> None:
    saver = OnrecordSaver(Store("sqlite://"))
    with pytest.raises(Misconfigured, match="thread_id"):
        saver.get_tuple({"configurable": {}})
    saver.log.store.close()


def test_versions_of_another_saver_go_on_in_their_order() -> None:
    saver = OnrecordSaver(Store("sqlite://"))
    assert saver.get_next_version(None, None) == 1
    assert saver.get_next_version(4, None) == 5
    theirs = InMemorySaver().get_next_version(None, None)
    assert (
        theirs
        < saver.get_next_version(theirs, None)
        < saver.get_next_version(saver.get_next_version(theirs, None), None)
    )
    saver.log.store.close()


def test_many_tasks_write_at_once(each_store: Opener) -> None:
    saver = OnrecordSaver(each_store())
    config = saver.put(thread(checkpoint_ns=""), _empty("1"), {}, {})

    async def all_at_once() -> None:
        writes = [("a", n) for n in range(3)]
        await asyncio.gather(
            *[saver.aput_writes(config, writes, f"task {n:02}", "path") for n in range(40)]
        )

    asyncio.run(all_at_once())
    found = OnrecordSaver(each_store()).get_tuple(config)
    assert found is not None
    assert found.pending_writes == [(f"task {n:02}", "a", i) for n in range(40) for i in range(3)]


def _empty(id: str) -> Any:
    return {
        "v": 4,
        "id": id or str(uuid6()),
        "ts": "",
        "channel_values": {},
        "channel_versions": {},
        "versions_seen": {},
        "updated_channels": None,
    }


@pytest.mark.parametrize("cls", [CheckpointLog, OnrecordSaver])
def test_sync_and_async_are_the_same(cls: type) -> None:
    own = {name: m for name, m in vars(cls).items() if callable(m) and not name.startswith("_")}
    twins = {name for name in own if name.startswith("a") and name[1:] in own}
    without_io = {"name", "get_next_version"}
    for name in own.keys() - twins - without_io:
        ours, theirs = inspect.signature(own[name]), inspect.signature(own[f"a{name}"])
        assert list(ours.parameters.values()) == list(theirs.parameters.values()), name
        assert f"``{name}``" in (own[f"a{name}"].__doc__ or ""), name


def test_nothing_of_the_interface_is_left_to_the_base_class() -> None:
    optional = {"get", "aget", "with_allowlist", "config_specs", "serde"}
    for name in vars(BaseCheckpointSaver):
        if not name.startswith("_") and name not in optional:
            assert name in vars(OnrecordSaver), name


def test_importing_the_package_loads_no_framework() -> None:
    program = (
        "import sys, langgraph_onrecord\n"
        "print([name for name in ('langgraph', 'langchain_core', 'sqlalchemy') "
        "if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
