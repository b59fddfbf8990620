"""LangChain's histories and RunnableWithMessageHistory, as langchain-core really drives them."""

from __future__ import annotations

import asyncio
import itertools
import logging
import multiprocessing
import subprocess
import sys
import threading
import warnings
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from langchain.agents import create_agent
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.messages.utils import count_tokens_approximately
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder
from langchain_core.runnables import Runnable, RunnableLambda, RunnableParallel
from langchain_core.runnables.history import RunnableWithMessageHistory

from langchain_onrecord import Histories, OnrecordChatMessageHistory, histories
from langchain_onrecord.window import CountsTokens, WindowLimits
from onrecord import (
    Cleared,
    IdReused,
    InvalidMessage,
    InvalidName,
    Misconfigured,
    OnrecordError,
    Session,
    Since,
    Store,
    StoreClosed,
    Version,
)
from onrecord.ledger.database.transaction import Transaction
from tests.scripted import Scripted

OpenStore = Callable[[], Store]

PATIENCE = 60.0


@pytest.fixture
def store(each_store: OpenStore) -> Store:
    return each_store()


@pytest.fixture
def file_store(tmp_path: Path) -> Iterator[Store]:
    with Store(f"sqlite:///{tmp_path / 'store.db'}", durability="normal") as store:
        yield store


def with_history(chain: Any, get_history: Any, **keys: Any) -> RunnableWithMessageHistory:
    """The runnable, without the one warning that it gives whenever it is made."""
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", "RunnableWithMessageHistory is deprecated", DeprecationWarning
        )
        return RunnableWithMessageHistory(chain, get_history, **keys)


def on(session_id: Any, **more: Any) -> Any:
    return {"configurable": {"session_id": session_id, **more}}


WAYS = ["invoke", "stream", "batch", "ainvoke", "astream", "abatch"]


def ask(chain: Runnable[Any, Any], said: Any, config: Any, way: str = "invoke") -> None:
    """One turn, in one of the ways there are."""
    match way:
        case "invoke":
            chain.invoke(said, config)
        case "stream":
            assert list(chain.stream(said, config))
        case "batch":
            chain.batch([said], config)
        case "ainvoke":
            asyncio.run(chain.ainvoke(said, config))
        case "astream":
            assert asyncio.run(drained(chain.astream(said, config)))
        case "abatch":
            asyncio.run(chain.abatch([said], config))


async def drained(stream: AsyncIterator[Any]) -> list[Any]:
    return [part async for part in stream]


def texts(messages: Sequence[BaseMessage]) -> list[str]:
    return [str(message.text) for message in messages]


def stored(session: Session) -> list[str]:
    return [message.text for message in session.messages()]


def a_call(id_: str, text: str = "") -> AIMessage:
    return AIMessage(text, tool_calls=[{"name": "look", "args": {"at": id_}, "id": id_}])


def a_result(id_: str) -> ToolMessage:
    return ToolMessage(f"result of {id_}", tool_call_id=id_)


# -- the history by itself -----------------------------------------------------------------------


def test_every_method_sync_and_async_on_one_object(store: Store) -> None:
    history = OnrecordChatMessageHistory("s", store=store, user="ada")
    assert history.messages == []
    history.add_message(SystemMessage("0"))
    history.add_messages([HumanMessage("1"), AIMessage("2", id="a2")])
    asyncio.run(history.aadd_messages([HumanMessage("3"), a_call("c")]))
    history.add_messages([a_result("c")])
    history.add_user_message("4")
    history.add_user_message(HumanMessage("5", name="ada"))
    history.add_ai_message("6")
    history.add_ai_message(AIMessage("7"))
    history.add_messages([])
    read = history.messages
    assert texts(read) == ["0", "1", "2", "3", "", "result of c", "4", "5", "6", "7"]
    assert [type(message) for message in read[:3]] == [SystemMessage, HumanMessage, AIMessage]
    assert read[2] == AIMessage("2", id="a2")
    assert read[4] == a_call("c").model_copy(update={"id": read[4].id})
    assert all(message.id for message in read), "each is known by an id from now on"
    assert asyncio.run(history.aget_messages()) == read
    assert history.transcript() == asyncio.run(history.atranscript()) == read
    assert str(history).splitlines()[:3] == ["System: 0", "Human: 1", "AI: 2"]
    assert "'s', user='ada'" in repr(history)
    history.clear()
    assert history.messages == []
    assert str(history) == ""
    history.add_user_message("again")
    asyncio.run(history.aclear())
    assert asyncio.run(history.aget_messages()) == []
    assert store.session("s", user="ada").version().epoch == 2


def test_what_is_read_belongs_to_the_reader(store: Store) -> None:
    history = OnrecordChatMessageHistory("s", store=store)
    history.add_messages([HumanMessage([{"type": "text", "text": "one", "extra": {"a": 1}}])])
    read = history.messages
    read[0].content[0]["extra"]["a"] = 2  # type: ignore[index]
    read.clear()
    assert history.messages[0].content == [{"type": "text", "text": "one", "extra": {"a": 1}}]


def test_all_or_nothing_is_added(store: Store) -> None:
    history = OnrecordChatMessageHistory("s", store=store)
    with pytest.raises(InvalidMessage):
        history.add_messages([HumanMessage("1"), AIMessage("2", additional_kwargs={"x": object()})])
    assert history.messages == []


def test_an_id_says_one_thing(store: Store) -> None:
    faults: list[Exception] = []
    history = OnrecordChatMessageHistory("s", store=store, on_error=faults.append)
    history.add_user_message(HumanMessage("one", id="h"))
    asyncio.run(history.aadd_messages([HumanMessage("one", id="h")]))
    assert texts(history.messages) == ["one"]
    assert not faults
    with pytest.raises(IdReused):
        history.add_user_message(HumanMessage("two", id="h"))
    with pytest.raises(IdReused):
        asyncio.run(history.aadd_messages([HumanMessage("two", id="h")]))
    assert list(map(type, faults)) == [IdReused, IdReused]


def test_a_read_that_fails_is_told_and_raised(store: Store) -> None:
    faults: list[Exception] = []
    history = OnrecordChatMessageHistory("s", store=store, window=3, on_error=faults.append)
    store.close()
    with pytest.raises(StoreClosed):
        _ = history.messages
    with pytest.raises(StoreClosed):
        asyncio.run(history.aget_messages())
    with pytest.raises(StoreClosed):
        history.clear()
    assert list(map(type, faults)) == [StoreClosed] * 3


def test_making_one_does_no_io(tmp_path: Path) -> None:
    file = tmp_path / "new.db"

    def make() -> OnrecordChatMessageHistory:
        store = Store(f"sqlite:///{file}")
        get_history = histories(store, window={"tokens": 9}, token_counter=count_everything)
        with_history(Scripted(), get_history)
        get_history("s")
        return OnrecordChatMessageHistory("s", store=store, window=3)

    async def in_a_loop() -> OnrecordChatMessageHistory:
        return make()

    for history in (make(), asyncio.run(in_a_loop())):
        assert not file.exists()
        history.session.store.close()
    with Store(f"sqlite:///{file}") as store:
        OnrecordChatMessageHistory("s", store=store).add_user_message("x")
    assert file.exists(), "the test looks at the right place"


class Mine(OnrecordChatMessageHistory):
    """What a user may make of it."""

    async def aadd_messages(self, messages: Sequence[BaseMessage]) -> None:
        await super().aadd_messages([m for m in messages if m.type != "system"])


def test_nobody_is_warned_but_who_makes_the_runnable(file_store: Store) -> None:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        OnrecordChatMessageHistory("s", store=file_store).add_user_message("1")
        mine = Mine("s", store=file_store)
        asyncio.run(mine.aadd_messages([SystemMessage("-"), HumanMessage("2")]))
        assert texts(histories(file_store)("s").messages) == ["1", "2"]
    assert [warning for warning in said if warning.category is DeprecationWarning] == []
    assert not any("deprecated" in str(warning.message) for warning in said)
    with pytest.warns(DeprecationWarning, match="RunnableWithMessageHistory is deprecated"):
        RunnableWithMessageHistory(Scripted(), histories(file_store))


def test_one_object_in_threads_and_event_loops(store: Store) -> None:
    history = OnrecordChatMessageHistory("s", store=store)

    def add(worker: int) -> None:
        for i in range(6):
            turn = [HumanMessage(f"{worker}.{i} q"), AIMessage(f"{worker}.{i} a")]
            if (worker + i) % 2:
                history.add_messages(turn)
                assert f"{worker}.{i} a" in texts(history.messages)
            else:
                asyncio.run(history.aadd_messages(turn))
                assert f"{worker}.{i} a" in texts(asyncio.run(history.aget_messages()))

    in_threads([partial(add, worker) for worker in range(4)])
    said = texts(history.messages)
    assert sorted(said) == sorted(f"{w}.{i} {x}" for w in range(4) for i in range(6) for x in "qa")
    for question, answer in zip(said[::2], said[1::2], strict=True):
        assert answer == question.replace("q", "a"), "what was added together stands together"


def in_threads(works: Sequence[Callable[[], object]]) -> None:
    faults: list[BaseException] = []

    def run(work: Callable[[], object]) -> None:
        try:
            work()
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert faults == []
    assert not any(thread.is_alive() for thread in threads)


def test_two_objects_and_two_stores_on_one_session(each_store: OpenStore) -> None:
    one, other = each_store(), each_store()
    first = OnrecordChatMessageHistory("s", store=one)
    second = OnrecordChatMessageHistory("s", store=one)
    third = OnrecordChatMessageHistory("s", store=other, window=20)
    first.add_user_message("1")
    assert texts(second.messages) == texts(third.messages) == ["1"]
    third.add_ai_message("2")
    assert texts(first.messages) == texts(second.messages) == ["1", "2"]
    second.clear()
    assert first.messages == third.messages == []


def test_a_restart_changes_nothing(each_store: OpenStore) -> None:
    store = each_store()
    history = OnrecordChatMessageHistory("s", store=store)
    history.add_messages([HumanMessage("1"), a_call("c"), a_result("c"), AIMessage("2", id="x")])
    before = history.messages
    store.close()
    again = OnrecordChatMessageHistory("s", store=each_store())
    assert again.messages == before
    again.add_messages(before)
    assert again.messages == before, "what was read and is added again is there already"


def test_the_parts_of_a_name_and_walls_between_them(store: Store) -> None:
    number = UUID(int=7)
    names: list[dict[str, Any]] = [
        {"session_id": "7"},
        {"session_id": number},
        {"session_id": "7", "user": "7"},
        {"session_id": "7", "tenant": 7},
        {"session_id": "7", "agent": number},
        {"session_id": "7", "user": 7, "tenant": number},
    ]
    for n, name in enumerate(names):
        history = OnrecordChatMessageHistory(**name, store=store)
        assert history.messages == []
        history.add_user_message(str(n))
    for n, name in enumerate(names):
        assert texts(OnrecordChatMessageHistory(**name, store=store).messages) == [str(n)]
    assert texts(OnrecordChatMessageHistory(7, store=store).messages) == ["0"]
    assert stored(store.session(str(number))) == ["1"]
    OnrecordChatMessageHistory("7", store=store).clear()
    assert stored(store.session("7", user="7")) == ["2"]


@pytest.mark.parametrize("name", [None, "", True, 1.5, b"s", "a\x00b"])
def test_a_name_that_is_none_is_refused_at_once(file_store: Store, name: Any) -> None:
    with pytest.raises(InvalidName):
        OnrecordChatMessageHistory(name, store=file_store)
    with pytest.raises(InvalidName):
        histories(file_store)(name)
    chain = with_history(Scripted(), histories(file_store))
    with pytest.raises(InvalidName):
        chain.invoke("q", on(name))


# -- the runnable --------------------------------------------------------------------------------

ONE_LIST = ChatPromptTemplate.from_messages([MessagesPlaceholder("messages")])
WITH_HISTORY = ChatPromptTemplate.from_messages(
    [("system", "Be brief."), MessagesPlaceholder("history"), ("human", "{question}")]
)
APART = {"input_messages_key": "question", "history_messages_key": "history"}

CHAINS: dict[str, tuple[Callable[[Scripted], Any], dict[str, str], Callable[[str], Any]]] = {
    "a model, given messages": (lambda m: m, {}, lambda text: [HumanMessage(text)]),
    "a model, given text": (lambda m: m, {}, lambda text: text),
    "a chain, given messages": (lambda m: ONE_LIST | m, {}, lambda text: [HumanMessage(text)]),
    "a dict of all messages": (
        lambda m: ONE_LIST | m,
        {"input_messages_key": "messages"},
        lambda text: {"messages": [HumanMessage(text)]},
    ),
    "a dict, the history apart": (
        lambda m: WITH_HISTORY | m,
        APART,
        lambda text: {"question": text},
    ),
    "text comes out": (
        lambda m: WITH_HISTORY | m | StrOutputParser(),
        APART,
        lambda text: {"question": text},
    ),
    "a dict comes out": (
        lambda m: RunnableParallel(answer=WITH_HISTORY | m, besides=lambda _: "7"),
        {**APART, "output_messages_key": "answer"},
        lambda text: {"question": text},
    ),
}


@pytest.mark.parametrize("kind", CHAINS)
def test_a_conversation_in_every_way(store: Store, kind: str) -> None:
    build, keys, said = CHAINS[kind]
    for way in WAYS:
        model = Scripted(script=["a1 is this", "a2"])
        chain = with_history(build(model), histories(store), **keys)
        ask(chain, said("q1"), on(way), way)
        ask(chain, said("q2"), on(way), way)
        shown = [text for text in texts(model.shown[1]) if text != "Be brief."]
        assert shown == ["q1", "a1 is this", "q2"], way
        transcript = OnrecordChatMessageHistory(way, store=store).transcript()
        assert texts(transcript) == ["q1", "a1 is this", "q2", "a2"], way
        # Not even after streaming is it an AIMessageChunk.
        kinds = [HumanMessage, AIMessage, HumanMessage, AIMessage]
        assert [type(message) for message in transcript] == kinds, way


def test_streamed_tool_calls_are_stored_as_calls(store: Store) -> None:
    for way in ("stream", "astream"):
        answer = a_call("c1", "I look it up")
        chain = with_history(Scripted(script=[answer]), histories(store))
        ask(chain, "q", on(way), way)
        _, read = OnrecordChatMessageHistory(way, store=store).messages
        assert type(read) is AIMessage
        assert (read.text, read.tool_calls) == ("I look it up", answer.tool_calls)
        assert read.invalid_tool_calls == []


def test_several_keys_of_the_config(store: Store) -> None:
    keys = {"user_id": "user", "conversation_id": "session_id", "org": "tenant"}
    get_history = histories(store, keys=keys, agent="support")
    chain = with_history(
        Scripted(script=["a1", "b1", "a2", "c1"]),
        get_history,
        history_factory_config=get_history.fields,
    )
    assert [field.id for field in get_history.fields] == list(keys)

    def turn(said: str, user: Any, conversation: Any, way: str) -> None:
        names = {"user_id": user, "conversation_id": conversation, "org": "acme"}
        ask(chain, said, {"configurable": names}, way)

    conversation = UUID(int=5)
    turn("q1", "ada", conversation, "invoke")
    turn("q2", 7, conversation, "ainvoke")
    turn("q3", "ada", conversation, "stream")
    turn("q4", "ada", 5, "astream")
    scope: Any = {"tenant": "acme", "agent": "support"}
    here = store.session(str(conversation), user="ada", **scope)
    assert stored(here) == ["q1", "a1", "q3", "a2"]
    assert stored(store.session(str(conversation), user="7", **scope)) == ["q2", "b1"]
    assert stored(store.session("5", user="ada", **scope)) == ["q4", "c1"]
    assert len(store.sessions(user="ada", **scope)) == 2
    with pytest.raises(ValueError, match="Missing keys"):
        chain.invoke("q", {"configurable": {"user_id": "ada"}})


def test_scopes_are_walls(store: Store) -> None:
    scopes: list[Any] = [{}, {"tenant": "x"}, {"user": "x"}, {"agent": "x"}]
    for scope in scopes:
        model = Scripted(script=["a"])
        ask(with_history(model, histories(store, **scope)), "q", on("s"))
        assert texts(model.shown[0]) == ["q"]
    for scope in scopes:
        assert stored(store.session("s", **scope)) == ["q", "a"]


def test_another_key_than_session_id(file_store: Store) -> None:
    get_history = histories(file_store, keys={"thread_id": "session_id"})
    chain = with_history(
        Scripted(script=["a"]), get_history, history_factory_config=get_history.fields
    )
    chain.invoke("q", {"configurable": {"thread_id": 3}})
    assert stored(file_store.session("3")) == ["q", "a"]


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"user_id": "user"},
        {"conversation_id": "session"},
        {"a": "session_id", "b": "session_id"},
        {"thread-id": "session_id"},
        {"class": "session_id"},
    ],
)
def test_keys_that_cannot_be_right_are_refused(file_store: Store, keys: dict[str, str]) -> None:
    with pytest.raises(Misconfigured, match="keys="):
        histories(file_store, keys=keys)


def test_a_part_of_the_name_has_one_source(file_store: Store) -> None:
    keys = {"user_id": "user", "conversation_id": "session_id"}
    with pytest.raises(Misconfigured, match="user="):
        histories(file_store, keys=keys, user="ada")


async def late(fault: Exception) -> None:
    raise AssertionError("nobody would await this")


@pytest.mark.parametrize("on_error", [late, "print"])
def test_what_nobody_could_call_is_no_on_error(file_store: Store, on_error: Any) -> None:
    with pytest.raises(Misconfigured, match="on_error"):
        histories(file_store, on_error=on_error)
    with pytest.raises(Misconfigured, match="on_error"):
        OnrecordChatMessageHistory("s", store=file_store, on_error=on_error)


def test_threads_on_one_session(store: Store) -> None:
    chain = with_history(Scripted(script=[echo] * 12), histories(store))
    works = [
        partial(ask, chain, [HumanMessage(f"q{n}")], on("s"), WAYS[n % len(WAYS)])
        for n in range(12)
    ]
    in_threads(works)
    said = stored(store.session("s"))
    assert sorted(said[::2]) == sorted(f"q{n}" for n in range(12))
    assert said[1::2] == [f"re {question}" for question in said[::2]]


def echo(messages: list[BaseMessage]) -> str:
    return f"re {messages[-1].text}"


# -- what goes wrong: each thing the runnable is known to do to a history, and what comes of it ---

KINDS = ["a model, given messages", "a chain, given messages", "a dict, the history apart"]
CASES = [(kind, way) for kind in KINDS for way in ("invoke", "ainvoke", "stream", "astream")]


def chain_of(
    kind: str, get_history: Histories, *script: Any
) -> tuple[RunnableWithMessageHistory, Callable[[str], Any], Scripted]:
    build, keys, said = CHAINS[kind]
    model = Scripted(script=list(script))
    return with_history(build(model), get_history, **keys), said, model


@pytest.mark.parametrize("kind", KINDS)
def test_of_a_stream_that_is_left_nothing_is_stored(store: Store, kind: str) -> None:
    """The runnable tells its history nothing then: an adapter cannot help. The middleware can."""
    faults: list[Exception] = []
    get_history = histories(store, on_error=faults.append)
    chain, said, _ = chain_of(kind, get_history, "a long answer", "a long answer", "a3")
    stream = chain.stream(said("q1"), on("s"))
    next(stream)
    stream.close()  # type: ignore[attr-defined]

    async def leave() -> None:
        stream = chain.astream(said("q2"), on("s"))
        await anext(stream)
        await stream.aclose()  # type: ignore[attr-defined]

    asyncio.run(leave())
    assert stored(store.session("s")) == []
    ask(chain, said("q3"), on("s"))
    assert stored(store.session("s")) == ["q3", "a3"]
    assert faults == []


@pytest.mark.parametrize("kind", KINDS)
def test_of_a_call_that_is_cancelled_nothing_is_stored(store: Store, kind: str) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def answer(messages: list[BaseMessage]) -> str:
        begun.set()
        assert go_on.wait(PATIENCE)
        return "too late"

    chain, said, _ = chain_of(kind, histories(store), answer, "a2")

    async def cancelled() -> None:
        task = asyncio.create_task(chain.ainvoke(said("q1"), on("s")))
        await asyncio.to_thread(begun.wait, PATIENCE)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go_on.set()

    asyncio.run(cancelled())
    assert stored(store.session("s")) == []
    ask(chain, said("q2"), on("s"))
    assert stored(store.session("s")) == ["q2", "a2"]


def test_of_a_call_whose_model_fails_nothing_is_stored(store: Store) -> None:
    for kind, way in CASES:
        key = f"{kind}, {way}"
        chain, said, _ = chain_of(kind, histories(store), TimeoutError("no answer"), "a2")
        with pytest.raises(TimeoutError, match="no answer"):
            ask(chain, said("q1"), on(key), way)
        assert stored(store.session(key)) == [], key
        ask(chain, said("q2"), on(key), way)
        assert stored(store.session(key)) == ["q2", "a2"], key


def closed(store: Store) -> None:
    store.close()


def without_its_table(store: Store) -> None:
    store._ledger.write(lambda txn: txn.run("DROP TABLE {tail}"))


@pytest.mark.parametrize("broken", [closed, without_its_table])
@pytest.mark.parametrize("way", ["invoke", "astream"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_write_that_fails_is_told_once(
    store: Store,
    kind: str,
    way: str,
    broken: Callable[[Store], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    faults: list[Exception] = []

    def answer(messages: list[BaseMessage]) -> str:
        broken(store)
        return "answered all the same"

    chain, said, _ = chain_of(kind, histories(store, on_error=faults.append), answer)
    ask(chain, said("q"), on("s"), way)  # LangChain raises nothing
    (fault,) = faults
    assert isinstance(fault, StoreClosed if broken is closed else OnrecordError)
    assert errors(caplog) == [], "it is the caller's now"


@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream", "astream"])
def test_a_write_that_fails_is_logged_where_nobody_is_told(
    file_store: Store, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    def answer(messages: list[BaseMessage]) -> str:
        file_store.close()
        return "answered all the same"

    chain = with_history(Scripted(script=[answer]), histories(file_store))
    ask(chain, "q", on("s"), way)
    (record,) = errors(caplog)
    assert "Session('s' in " in record.getMessage()
    assert str(StoreClosed()) in record.getMessage()
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], StoreClosed)


def errors(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [r for r in caplog.records if r.name == "onrecord" and r.levelno >= logging.ERROR]


def test_a_read_that_fails_fails_the_call(store: Store) -> None:
    store.close()
    for kind, way in CASES:
        faults: list[Exception] = []
        chain, said, model = chain_of(kind, histories(store, on_error=faults.append))
        with pytest.raises(StoreClosed):
            ask(chain, said("q"), on("s"), way)
        assert list(map(type, faults)) == [StoreClosed], (kind, way)
        assert model.shown == [], "no model is asked without its history"


@pytest.mark.parametrize("window", [None, 20])
def test_another_worker_appends_during_the_call(each_store: OpenStore, window: int | None) -> None:
    store, elsewhere = each_store(), each_store()
    for kind, way in CASES:
        key = f"{kind}, {way}"

        def answer(messages: list[BaseMessage], key: str = key) -> str:
            elsewhere.session(key).append([("user", "theirs"), ("assistant", "for them")])
            return "a2"

        get_history = histories(store, window=window)
        chain, said, model = chain_of(kind, get_history, "a1", answer, "a3")
        for question in ("q1", "q2", "q3"):
            ask(chain, said(question), on(key), way)
        whole = ["q1", "a1", "theirs", "for them", "q2", "a2", "q3", "a3"]
        assert stored(store.session(key)) == whole, key
        shown = [text for text in texts(model.shown[2]) if text != "Be brief."]
        assert shown == whole[:7], key


@pytest.mark.parametrize("window", [None, 20])
def test_a_history_that_is_cleared_during_the_call_stays_cleared(
    each_store: OpenStore, window: int | None
) -> None:
    store, elsewhere = each_store(), each_store()
    for kind, way in CASES:
        key = f"{kind}, {way}"
        faults: list[Exception] = []

        def answer(messages: list[BaseMessage], key: str = key) -> str:
            elsewhere.session(key).clear()
            return "a2"

        get_history = histories(store, window=window, on_error=faults.append)
        chain, said, _ = chain_of(kind, get_history, "a1", answer, "a3")
        ask(chain, said("q1"), on(key), way)
        ask(chain, said("q2"), on(key), way)
        assert list(map(type, faults)) == [Cleared], key
        assert stored(store.session(key)) == [], key
        ask(chain, said("q3"), on(key), way)
        assert stored(store.session(key)) == ["q3", "a3"], key


def test_a_history_that_is_rewound_during_the_call_refuses_and_an_edit_does_not(
    store: Store,
) -> None:
    faults: list[Exception] = []
    session = store.session("s")

    def rewinding(messages: list[BaseMessage]) -> str:
        session.rewind(1)
        return "a2"

    def editing(messages: list[BaseMessage]) -> str:
        session.edit(1, ("user", "Q1"))
        return "a3"

    chain = with_history(
        Scripted(script=["a1", rewinding, editing]), histories(store, on_error=faults.append)
    )
    for question in ("q1", "q2", "q3"):
        chain.invoke(question, on("s"))
    assert list(map(type, faults)) == [Cleared]
    assert stored(session) == ["Q1", "q3", "a3"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_on_one_session_keeps_all(store: Store, kind: str) -> None:
    chain, said, _ = chain_of(kind, histories(store), "a0", *[echo] * 6)
    ask(chain, said("q0"), on("s"))
    chain.batch([said(f"q{n}") for n in (1, 2, 3)], on("s"))
    asyncio.run(chain.abatch([said(f"q{n}") for n in (4, 5, 6)], on("s")))
    turns = stored(store.session("s"))
    assert turns[:2] == ["q0", "a0"]
    assert sorted(turns[2:8:2]) == ["q1", "q2", "q3"]
    assert sorted(turns[8::2]) == ["q4", "q5", "q6"]
    assert turns[3::2] == [f"re {question}" for question in turns[2::2]]


@pytest.mark.parametrize("window", [None, 20, 1])
def test_a_request_that_is_tried_again_is_not_stored_twice(
    store: Store, window: int | None
) -> None:
    faults: list[Exception] = []
    get_history = histories(store, window=window, on_error=faults.append)
    question = [HumanMessage("q", id="h1")]
    first, same, another = AIMessage("a", id="a1"), AIMessage("a", id="a1"), AIMessage("b", id="a2")
    apart = ChatPromptTemplate.from_messages(
        [MessagesPlaceholder("history"), MessagesPlaceholder("question")]
    )
    for kind, way in CASES:
        key = f"{kind}, {way}"
        build, keys, _ = CHAINS[kind]
        model = Scripted(script=[first, same, another])
        chain = with_history(apart | model if keys else build(model), get_history, **keys)
        # An answer with an id of its own is another answer, and kept.
        for expected in (["q", "a"], ["q", "a"], ["q", "a", "b"]):
            ask(chain, {"question": question} if keys else question, on(key), way)
            assert stored(store.session(key)) == expected, key
    assert faults == []


@pytest.mark.parametrize("window", [None, 1])
def test_an_id_that_says_something_else_is_refused_and_told(
    store: Store, window: int | None
) -> None:
    faults: list[Exception] = []
    get_history = histories(store, window=window, on_error=faults.append)
    chain = with_history(Scripted(script=["a1", "a2", "a3"]), get_history)
    chain.invoke([HumanMessage("q1", id="h")], on("s"))
    chain.invoke("q2", on("s"))
    chain.invoke([HumanMessage("another", id="h")], on("s"))
    assert list(map(type, faults)) == [IdReused]
    assert stored(store.session("s")) == ["q1", "a1", "q2", "a2"]


def test_a_retry_of_what_another_framework_said_is_not_stored_twice(store: Store) -> None:
    """LangChain is not shown all that a message holds, so it cannot hand all of it back."""
    answer = {"role": "assistant", "content": "a", "id": "a1", "metadata": {"turn": "h1"}}
    session = store.session("s")
    session.append([{"role": "user", "content": "q", "id": "h1"}, answer])
    faults: list[Exception] = []
    again = AIMessage("a", id="a1")
    chain = with_history(Scripted(script=[again]), histories(store, on_error=faults.append))
    chain.invoke([HumanMessage("q", id="h1")], on("s"))
    assert faults == []
    assert stored(session) == ["q", "a"]


def test_chat_messages_to_a_model_itself_are_not_stored_and_langchain_alone_knows(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """LangChain refuses to read its own ChatMessage back before it asks the history.

    Nor is any later turn stored once the history holds one. With anything in front of the model
    all is well.
    """
    faults: list[Exception] = []
    get_history = histories(store, on_error=faults.append)
    direct = with_history(Scripted(script=["a1", "a2"]), get_history)
    said = [ChatMessage(content="q1", role="critic")]
    direct.invoke(said, on("s"))
    assert stored(store.session("s")) == []
    assert faults == []
    assert "ChatMessage') is not allowed" in caplog.text

    chain = with_history(ONE_LIST | Scripted(script=["a1", "a2"]), get_history)
    chain.invoke(said, on("s"))
    ask(chain, "q2", on("s"), "astream")
    read = OnrecordChatMessageHistory("s", store=store).messages
    assert texts(read) == ["q1", "a1", "q2", "a2"]
    assert isinstance(read[0], ChatMessage)
    direct.invoke("q3", on("s"))
    assert stored(store.session("s")) == ["q1", "a1", "q2", "a2"]
    assert faults == []


@pytest.mark.parametrize("window", [None, 3])
def test_an_agent_that_hands_everything_back(store: Store, window: int | None) -> None:
    faults: list[Exception] = []
    agent = create_agent(Scripted(script=["a1", a_call("c"), "a2", "a3"]), [look])
    chain = with_history(
        agent,
        histories(store, window=window, on_error=faults.append),
        input_messages_key="messages",
        output_messages_key="messages",
    )
    for n, way in enumerate(("invoke", "ainvoke", "invoke"), 1):
        ask(chain, {"messages": [HumanMessage(f"q{n}")]}, on("s"), way)
    assert faults == []
    whole = ["q1", "a1", "q2", "", "seen c", "a2", "q3", "a3"]
    assert stored(store.session("s")) == whole


def test_what_stands_in_for_a_result_is_not_stored_when_it_is_handed_back(store: Store) -> None:
    history = OnrecordChatMessageHistory("s", store=store)
    history.add_messages([HumanMessage("q1"), a_call("c1"), a_call("c2"), HumanMessage("q2")])
    shown: list[list[BaseMessage]] = []

    def answer(messages: list[BaseMessage]) -> list[BaseMessage]:
        shown.append(messages)
        return [*messages[:-1], AIMessage("a")]

    chain = with_history(RunnableLambda(answer), histories(store, window=20))
    ask(chain, "q3", on("s"))
    ask(chain, "q4", on("s"), "ainvoke")
    assert [sum(isinstance(m, ToolMessage) for m in messages) for messages in shown] == [2, 2]
    assert stored(store.session("s")) == ["q1", "", "", "q2", "q3", "a", "q4", "a"]


def look(at: str) -> str:
    """Look at something."""
    return f"seen {at}"


# -- the history of one turn, held by hand -------------------------------------------------------


def test_a_turn_in_the_hand_reads_once_until_it_has_said_something(store: Store) -> None:
    history = histories(store)("s")
    assert history.messages == []
    store.session("s").append(("user", "theirs"))
    assert history.messages == [], "what was read stays as it was read"
    history.add_user_message("mine")
    assert texts(history.messages) == ["theirs", "mine"]
    history.add_ai_message("yours")
    assert texts(asyncio.run(history.aget_messages())) == ["theirs", "mine", "yours"]
    history.add_ai_message("mine again")
    store.session("s").clear()
    history.add_user_message("a turn of its own")
    assert texts(history.messages) == ["a turn of its own"]
    history.clear()
    assert history.messages == []
    history.add_user_message("anew")
    assert texts(history.messages) == ["anew"]


def test_a_turn_that_clears_is_not_given_back_what_it_cleared(store: Store) -> None:
    faults: list[Exception] = []
    get_history = histories(store, on_error=faults.append)

    def clearing(messages: list[BaseMessage], config: Any) -> list[BaseMessage]:
        if messages[-1].text == "forget":
            config["configurable"]["message_history"].clear()
        return messages

    model = Scripted(script=["a1", "done", "a3", "done", "a5"])
    chain = with_history(RunnableLambda(clearing) | model, get_history)
    ask(chain, "q1", on("s"))
    ask(chain, "forget", on("s"))
    assert stored(store.session("s")) == []
    assert list(map(type, faults)) == [Cleared]
    ask(chain, "q3", on("s"))
    assert stored(store.session("s")) == ["q3", "a3"]

    apart = with_history(
        RunnableLambda(lambda given, config: clearing([HumanMessage(given["question"])], config))
        | model,
        get_history,
        **APART,
    )
    ask(apart, {"question": "forget"}, on("s"), "ainvoke")
    assert stored(store.session("s")) == ["forget", "done"], "here it is handed its own turn only"


def test_what_was_read_before_a_clear_is_not_added_after_it(store: Store) -> None:
    history = histories(store)("s")
    history.add_messages([HumanMessage("1", id="h"), AIMessage("2", id="a")])
    read = history.messages
    history.clear()
    with pytest.raises(Cleared, match="'a'"):
        history.add_messages(read[1:])
    history.add_messages([SystemMessage("Two things were said.")])
    assert texts(history.messages) == ["Two things were said."]


def test_a_turn_reads_once_and_writes_once(file_store: Store, asked: Asked) -> None:
    chain = with_history(Scripted(script=["a1", "a2"]), histories(file_store, window=20))
    chain.invoke("q1", on("s"))
    asked.reset()
    chain.invoke("q2", on("s"))
    few = asked.statements
    asked.reset()
    session = file_store.session("s")
    window = session.window(messages=20, repair=True)
    turn = [{"role": "user", "content": "q3"}, {"role": "assistant", "content": "a3", "id": "a3"}]
    session.append(turn, expected=Since(window.version))
    assert few == asked.statements, "the runnable costs no more than its one read and one write"


# -- windows -------------------------------------------------------------------------------------


class Asked:
    """How much a store asked its database for."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.statements = self.rows = 0


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    asked = Asked()
    one, many, run = Transaction.first, Transaction.rows, Transaction.run

    def first(self: Transaction, *given: Any) -> Any:
        found = one(self, *given)
        asked.statements += 1
        asked.rows += found is not None
        return found

    def rows(self: Transaction, *given: Any) -> Any:
        found = many(self, *given)
        asked.statements += 1
        asked.rows += len(found)
        return found

    def changed(self: Transaction, *given: Any) -> Any:
        asked.statements += 1
        return run(self, *given)

    monkeypatch.setattr(Transaction, "first", first)
    monkeypatch.setattr(Transaction, "rows", rows)
    monkeypatch.setattr(Transaction, "run", changed)
    return asked


def count_everything(messages: list[BaseMessage]) -> int:
    return sum(len(str(message.text)) for message in messages)


class Counting(Scripted):
    """A model that counts, which others do by a tokenizer."""

    def get_num_tokens_from_messages(
        self, messages: list[BaseMessage], tools: Sequence[Any] | None = None
    ) -> int:
        return count_everything(messages)


WITH_TOOLS = [
    SystemMessage("Be brief."),
    HumanMessage("q1"),
    a_call("c1"),
    a_result("c1"),
    AIMessage("a1"),
    HumanMessage("q2"),
    AIMessage("a2"),
]


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        (None, [0, 1, 2, 3, 4, 5, 6]),
        ({}, [0, 1, 2, 3, 4, 5, 6]),
        (7, [0, 1, 2, 3, 4, 5, 6]),
        (6, [0, 5, 6]),
        ({"messages": 3}, [0, 5, 6]),
        ({"turns": 1}, [0, 5, 6]),
        ({"turns": 2}, [0, 1, 2, 3, 4, 5, 6]),
        ({"turns": 2, "messages": 6}, [0, 5, 6]),
        ({"tokens": 10_000}, [0, 1, 2, 3, 4, 5, 6]),
        ({"tokens": 20}, [0, 5, 6]),
    ],
)
def test_windows(store: Store, window: WindowLimits, expected: list[int]) -> None:
    session = store.session("s")
    history = OnrecordChatMessageHistory("s", store=store, window=window)
    history.add_messages(WITH_TOOLS)
    before = session.messages()
    whole = history.transcript()
    assert history.messages == asyncio.run(history.aget_messages()) == [whole[i] for i in expected]
    assert texts(whole) == texts(WITH_TOOLS)
    assert history.transcript() == asyncio.run(history.atranscript()) == whole
    assert session.messages() == before, "a window only shows"

    chain = with_history(model := Scripted(script=["a3"]), histories(store, window=window))
    chain.invoke("q3", on("s"))
    assert texts(model.shown[0]) == [*(texts(WITH_TOOLS)[i] for i in expected), "q3"]
    assert stored(session) == [*texts(WITH_TOOLS), "q3", "a3"]


COUNTERS: dict[str, CountsTokens] = {
    "a function": count_everything,
    "LangChain's estimate": count_tokens_approximately,
    "a model": Counting(),
    "a model's method": Counting().get_num_tokens_from_messages,
}


@pytest.mark.parametrize("counter", COUNTERS)
def test_token_counters_of_langchain(store: Store, counter: str) -> None:
    count = COUNTERS[counter]
    counts: Any = getattr(count, "get_num_tokens_from_messages", count)
    turns = [[HumanMessage(f"question {n} " * n), AIMessage(f"answer {n}")] for n in range(1, 8)]
    store.session("s").append([("system", "Be brief.")])
    OnrecordChatMessageHistory("s", store=store).add_messages(
        [*itertools.chain.from_iterable(turns)]
    )
    sizes = []
    for limit in (1, 120, 250, 10_000):
        history = OnrecordChatMessageHistory(
            "s", store=store, window={"tokens": limit}, token_counter=count
        )
        shown = history.messages
        assert asyncio.run(history.aget_messages()) == shown
        assert isinstance(shown[0], SystemMessage)
        assert isinstance(shown[1], HumanMessage)
        assert isinstance(shown[-1], AIMessage) or limit == 1
        if limit > 1:
            assert counts(shown) <= limit
            rest = history.transcript()[1 : 1 - len(shown)]
            assert not rest or counts([*rest[-2:], *shown]) > limit, "no turn more would fit"
        sizes.append(len(shown))
    assert sizes == sorted(sizes)
    assert sizes[-1] == 15


def test_a_counter_that_fails_is_told_and_stops_the_call(file_store: Store) -> None:
    def broken(messages: list[BaseMessage]) -> int:
        raise KeyError("no such encoding")

    faults: list[Exception] = []
    file_store.session("s").append(("user", "x"))
    get_history = histories(
        file_store, window={"tokens": 9}, token_counter=broken, on_error=faults.append
    )
    with pytest.raises(InvalidMessage, match="no such encoding"):
        with_history(Scripted(), get_history).invoke("q", on("s"))
    assert list(map(type, faults)) == [InvalidMessage]


def test_no_window_tears_a_call_from_its_result(store: Store) -> None:
    said: list[BaseMessage] = []
    for n in range(6):
        said += [HumanMessage(f"q{n}"), a_call(f"c{n}"), a_call(f"d{n}")]
        said += [a_result(f"c{n}"), a_result(f"d{n}"), AIMessage(f"a{n}")]
    OnrecordChatMessageHistory("s", store=store).add_messages(said)
    limits: list[WindowLimits] = [*range(1, 40), *({"tokens": n} for n in range(5, 400, 15))]
    for window in limits:
        shown = OnrecordChatMessageHistory("s", store=store, window=window).messages
        calls = [c["id"] for m in shown if isinstance(m, AIMessage) for c in m.tool_calls]
        results = [m.tool_call_id for m in shown if isinstance(m, ToolMessage)]
        assert sorted(calls, key=str) == sorted(results), window
        assert isinstance(shown[0], HumanMessage), window


def test_a_call_without_a_result_is_answered_in_what_is_shown_only(store: Store) -> None:
    history = OnrecordChatMessageHistory("s", store=store, window=20)
    history.add_messages([HumanMessage("q1"), a_call("c1"), HumanMessage("q2"), AIMessage("a2")])
    whole = history.transcript()
    assert len(whole) == 4
    shown = history.messages
    assert [type(m).__name__[0] for m in shown] == ["H", "A", "T", "H", "A"]
    assert isinstance(shown[2], ToolMessage)
    assert shown[2].tool_call_id == "c1"
    history.add_messages(shown)
    assert history.transcript() == whole

    for way in ("invoke", "ainvoke"):
        for kind in ("a model, given messages", "a dict, the history apart"):
            chain, said, model = chain_of(kind, histories(store, window=20), "a")
            ask(chain, said(f"{way} {kind}"), on("s"), way)
            assert sum(isinstance(m, ToolMessage) for m in model.shown[0]) == 1
    assert history.transcript()[:4] == whole
    assert not any(isinstance(m, ToolMessage) for m in history.transcript())
    assert len(history.transcript()) == 12


@pytest.mark.parametrize("window", [None, 20, 1])
def test_results_may_come_as_the_next_input(store: Store, window: WindowLimits) -> None:
    """Who runs the tools himself: nothing stands in for the results that he brings."""
    parallel = AIMessage("", tool_calls=[*a_call("c1").tool_calls, *a_call("c2").tool_calls])
    for way in WAYS:
        model = Scripted(script=[parallel, "a1", "a2"])
        chain = with_history(model, histories(store, window=window))
        ask(chain, [HumanMessage("q1")], on(way), way)
        ask(chain, [a_result("c1"), a_result("c2")], on(way), way)
        kinds = [HumanMessage, AIMessage, ToolMessage, ToolMessage]
        assert [type(message) for message in model.shown[1]] == kinds
        ask(chain, [HumanMessage("q2")], on(way), way)
        whole = ["q1", "", "result of c1", "result of c2", "a1", "q2", "a2"]
        assert stored(store.session(way)) == whole
        # One result is here, of the other call nobody knows yet.
        history = OnrecordChatMessageHistory(f"half, {way}", store=store, window=20)
        history.add_messages([HumanMessage("q1"), parallel, a_result("c1")])
        assert history.messages == history.transcript()


@pytest.mark.parametrize("limits", [20, {"turns": 10}, {"tokens": 150}])
def test_a_window_of_a_long_session_reads_few_rows(
    each_store: OpenStore, asked: Asked, limits: WindowLimits
) -> None:
    store = each_store()
    session = store.session("s")
    turns = ((("user", f"question {n}"), ("assistant", f"answer {n}")) for n in range(1_000))
    session.append(itertools.chain.from_iterable(turns))
    for fresh in (store, each_store()):
        history = OnrecordChatMessageHistory("s", store=fresh, window=limits)
        fresh.session("another").tail(1)  # opening a database takes statements of its own
        asked.reset()
        shown = history.messages
        assert 10 <= len(shown) <= 20
        assert shown[-1].text == "answer 999"
        assert asked.statements <= 6
        assert asked.rows <= 120
    assert len(history.transcript()) == 2_000


@pytest.mark.parametrize(
    ("window", "token_counter"),
    [
        (0, None),
        (-1, None),
        (True, None),
        (1.5, None),
        ("20", None),
        ([20], None),
        ({"messages": 0}, None),
        ({"messages": True}, None),
        ({"tokens": "many"}, None),
        ({"tokens": None}, None),
        ({"token": 20}, None),
        ({"tokens": 20}, "cl100k_base"),
        (20, count_everything),
        (None, count_everything),
    ],
)
def test_settings_that_cannot_be_right_are_refused_before_any_io(
    tmp_path: Path, window: Any, token_counter: Any
) -> None:
    with Store(f"sqlite:///{tmp_path / 'new.db'}") as store:
        with pytest.raises(Misconfigured):
            OnrecordChatMessageHistory("s", store=store, window=window, token_counter=token_counter)
        with pytest.raises(Misconfigured):
            histories(store, window=window, token_counter=token_counter)
    assert not (tmp_path / "new.db").exists()


# -- processes and imports -----------------------------------------------------------------------


def converse(url: str, who: str, wire: Connection) -> None:
    """In a process of its own: a turn for each question that comes over the wire."""
    with Store(url) as store:
        model = Scripted(script=[echo] * 100)
        chain = with_history(model, histories(store, window={"messages": 100}))
        while (question := wire.recv()) is not None:
            ask(chain, question, on("s"), WAYS[len(model.shown) % len(WAYS)])
            wire.send((who, texts(model.shown[-1])))


@contextmanager
def process(url: str, who: str) -> Iterator[Connection]:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    child = context.Process(target=converse, args=(url, who, there))
    child.start()
    there.close()
    try:
        yield here
        here.send(None)
        child.join(PATIENCE)
        assert child.exitcode == 0
    finally:
        child.kill()
        child.join()
        child.close()
        here.close()


@pytest.mark.slow
def test_two_processes_take_turns_on_one_session(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    said: list[str] = []
    with process(url, "left") as left, process(url, "right") as right:
        for n in range(12):
            wire = (left, right)[n % 2]
            question = f"q{n}"
            wire.send(question)
            assert wire.poll(PATIENCE)
            assert wire.recv() == (("left", "right")[n % 2], [*said, question])
            said += [question, f"re {question}"]
    with Store(url) as store:
        assert stored(store.session("s")) == said
        assert store.session("s").version() == Version(0, 24)


def answer_of(program: str) -> str:
    answer = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout.strip()


LOADED = "print([name for name in {names!r} if name in sys.modules])"


def test_importing_loads_nothing_of_langchain() -> None:
    names = [
        "langchain_core",
        "langchain",
        "langgraph",
        "sqlalchemy",
        "langchain_onrecord.history",
    ]
    assert answer_of(f"import sys, langchain_onrecord; {LOADED.format(names=names)}") == "[]"


def test_converting_messages_loads_no_agents_and_no_histories() -> None:
    names = ["langchain", "langgraph", "langchain_core.chat_history", "langchain_onrecord.history"]
    assert (
        answer_of(
            "import sys\n"
            "from langchain_core.messages import HumanMessage\n"
            "from langchain_onrecord import from_langchain, to_langchain\n"
            "assert to_langchain(from_langchain(HumanMessage('x', id='1'))).text == 'x'\n"
            + LOADED.format(names=names)
        )
        == "[]"
    )


def test_the_middleware_does_without_what_langchain_takes_away() -> None:
    names = ["langchain_onrecord.history"]
    program = (
        "import sys\n"
        "sys.modules['langchain_core.chat_history'] = None\n"
        "sys.modules['langchain_core.runnables.history'] = None\n"
        "from langchain.agents import create_agent\n"
        "from langchain_onrecord import OnrecordMiddleware\n"
        "from onrecord import Store\n"
        "from tests.scripted import Scripted\n"
        "with Store('sqlite://') as store:\n"
        "    middleware = [OnrecordMiddleware(store)]\n"
        "    agent = create_agent(Scripted(script=['a']), [], middleware=middleware)\n"
        "    said = {'messages': [('user', 'q')]}\n"
        "    agent.invoke(said, {'configurable': {'session_id': 's'}})\n"
        "    assert [m.text for m in store.session('s').messages()] == ['q', 'a']\n"
        "try:\n"
        "    from langchain_onrecord import histories\n"
        "except ImportError as fault:\n"
        "    assert 'chat_history' in str(fault), fault\n"
        "else:\n"
        "    raise AssertionError('the test hides nothing')\n" + LOADED.format(names=names)
    )
    assert answer_of(program) == "[]"
