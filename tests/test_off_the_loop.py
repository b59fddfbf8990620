"""No async method holds up its event loop: every one of them, its first call and its second."""

from __future__ import annotations

import asyncio
import inspect
import io
import itertools
import sqlite3
import threading
import warnings
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, nullcontext, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import pytest
from blockbuster import BlockingError
from langchain.agents import create_agent
from langchain_core._api.deprecation import LangChainDeprecationWarning
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import RunnableLambda, RunnableWithMessageHistory
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.store.base import GetOp, ListNamespacesOp, PutOp, SearchOp
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.memory import ChatMemoryBuffer, Memory

from langchain_onrecord import (
    OnrecordChatMessageHistory,
    OnrecordMiddleware,
    OnrecordRetriever,
    Recall,
    histories,
    memory_tools,
)
from langchain_onrecord import importers as langchain_importers
from langgraph_onrecord import OnrecordSaver, OnrecordStore
from llama_index_onrecord import OnrecordChatStore, OnrecordMemory, OnrecordMemoryStore
from llama_index_onrecord import importers as llama_index_importers
from onrecord import (
    CheckpointLog,
    Cleared,
    Conflict,
    Delete,
    Feed,
    Items,
    Misconfigured,
    OnrecordError,
    Put,
    Session,
    Store,
)
from onrecord.adapters import reference
from onrecord.checkpoint_log import Listing, New
from tests.blocking import noted

Does: TypeAlias = Callable[[Any, "At"], Awaitable[Any]]


class At(NamedTuple):
    """What a call works on: the conversation and the thread of this name, files in a folder."""

    name: str
    folder: Path


_numbers = itertools.count()

WRITES = [(0, "channel", ("json", b"1"))]
SAID = [("user", "Hello."), ("assistant", "Hello Ada."), ("user", "Who am I?")]
BIG = ("user", "x" * 40_000)
"""Larger than what a cache in Redis takes."""


async def all_of(items: Any) -> list[Any]:
    return [item async for item in items]


async def distributed(store: Store, at: At) -> None:
    with suppress(Misconfigured):  # a file is not spread, and tables with rows are not
        await store.adistribute(parts=2)


async def exchanged(session: Session, at: At) -> None:
    with suppress(Conflict, Misconfigured):  # another method has taken them away
        await session.aexchange(await session.amessages(limit=2), ("user", "in short"))


async def backed_up(store: Store, at: At) -> None:
    with suppress(Misconfigured):  # what is no file says who backs it up instead
        await store.abackup(at.folder / f"{at.name} {next(_numbers)}.db")


def config(at: At) -> Any:
    thread = f"{at.name} of a graph"
    return {"configurable": {"thread_id": thread, "session_id": at.name, "checkpoint_ns": ""}}


def new(id: str) -> New:
    return New(id, None, [("json", b"{}")], {"messages": Listing([("json", b"1")])})


STORE: dict[str, Does] = {
    "abackup": lambda store, at: backed_up(store, at),
    "acompact": lambda store, at: store.acompact(quiet_for=0),
    "adistribute": distributed,
    "adoctor": lambda store, at: store.adoctor(),
    "aerase": lambda store, at: store.aerase(user="bo"),
    "aexport": lambda store, at: store.aexport(at.folder / "all.jsonl.zst"),
    "ahealth": lambda store, at: store.ahealth(),
    "aimport_": lambda store, at: store.aimport_(at.folder / "exported.jsonl"),
    "ainvalidate": lambda store, at: store.ainvalidate(),
    "amaintain": lambda store, at: store.amaintain(within=5),
    "amigrate": lambda store, at: store.amigrate(),
    "aprune": lambda store, at: store.aprune(archive_to=at.folder / "pruned.jsonl"),
    "asearch": lambda store, at: store.asearch("x"),
    "arecall": lambda store, at: store.arecall("x"),
    "aindex": lambda store, at: store.aindex(),
    "aunfinished": lambda store, at: store.aunfinished(),
    "asearch_items": lambda store, at: store.asearch_items("x"),
    "aembed": lambda store, at: store.aembed(),
    "afeeds": lambda store, at: store.afeeds(),
    "asessions": lambda store, at: store.asessions(),
    "astats": lambda store, at: store.astats(),
    "atrain": lambda store, at: store.atrain(
        [("user", f"Where is order {n}?") for n in range(200)]
    ),
    "averify": lambda store, at: store.averify(),
    "awrite": lambda store, at: store.awrite([Put("n", "k", 1), Delete("n", "k")]),
    "afind_items": lambda store, at: store.afind_items(("n",)),
    "anamespaces": lambda store, at: store.anamespaces(),
    "aclose": lambda store, at: store.aclose(),
}


async def read_and_done(feed: Feed) -> None:
    assert await feed.adone(await feed.aread())


FEED: dict[str, Does] = {
    "aread": lambda feed, at: feed.aread(),
    "adone": lambda feed, at: read_and_done(feed),
    "abehind": lambda feed, at: feed.abehind(),
    "aforget": lambda feed, at: feed.aforget(),
}

ITEMS: dict[str, Does] = {
    "aput": lambda items, at: items.aput("k", {"a": 1}, ttl=60, token="r1"),
    "aput_many": lambda items, at: items.aput_many({"k": 1, "other": 2}),
    "amerge": lambda items, at: items.amerge("merged", {"b": 2}),
    "aget": lambda items, at: items.aget("k", refresh=True),
    "aget_many": lambda items, at: items.aget_many(["k"], refresh=True),
    "alist": lambda items, at: items.alist(filter={"a": 1}),
    "acount": lambda items, at: items.acount(),
    "asearch": lambda items, at: items.asearch("x"),
    "adelete": lambda items, at: items.adelete("k"),
    "adelete_many": lambda items, at: items.adelete_many(["other"]),
    "asweep": lambda items, at: items.asweep(),
    "aclear": lambda items, at: items.aclear(),
}

SESSION: dict[str, Does] = {
    "aappend": lambda s, at: s.aappend([("user", "More."), BIG]),
    "aarchive": lambda s, at: s.aarchive([1]),
    "acount": lambda s, at: s.acount(archived=True),
    "acreate": lambda s, at: s.store.session(at.name + " created").acreate(title="Orders"),
    "aedit": lambda s, at: s.aedit(2, ("assistant", "Hello.")),
    "aexchange": exchanged,
    "aexport": lambda s, at: s.aexport(at.folder / "one.jsonl"),
    "afork": lambda s, at: s.afork(at.name + " fork"),
    "ahead": lambda s, at: s.ahead(),
    "ainfo": lambda s, at: s.ainfo(),
    "amessages": lambda s, at: s.amessages(limit=2, since=datetime(2026, 1, 1, tzinfo=UTC)),
    "areplace": lambda s, at: s.areplace(SAID),
    "ascan": lambda s, at: all_of(s.ascan()),
    "atail": lambda s, at: s.atail(),
    "aunarchive": lambda s, at: s.aunarchive([1]),
    "aupdate": lambda s, at: s.aupdate(title="Orders"),
    "asearch": lambda s, at: s.asearch("x"),
    "arecall": lambda s, at: s.arecall("x"),
    "aversion": lambda s, at: s.aversion(),
    "awindow": lambda s, at: s.awindow(tokens=1_000),
    "adelete": lambda s, at: s.adelete(1),
    "apop": lambda s, at: s.apop(),
    "arewind": lambda s, at: s.arewind(1),
    "aclear": lambda s, at: s.aclear(),
    "aerase": lambda s, at: s.aerase(),
}


async def turn(log: CheckpointLog, at: At) -> None:
    async with log.aturn(at.name):
        pass


LOG: dict[str, Does] = {
    "acopy": lambda log, at: log.acopy(at.name, at.name + " copy"),
    "adelete": lambda log, at: log.adelete(at.name),
    "adrop": lambda log, at: log.adrop(at.name, {"": ["1"]}),
    "aentry": lambda log, at: log.aentry(at.name),
    "afilled": lambda log, at: log.afilled(at.name, []),
    "ainfo": lambda log, at: log.ainfo(at.name),
    "anamespaces": lambda log, at: log.anamespaces(at.name),
    "aof_runs": lambda log, at: log.aof_runs(["run"]),
    "apage": lambda log, at: log.apage(at.name),
    "aprune_expired": lambda log, at: log.aprune_expired(),
    "aput": lambda log, at: log.aput(at.name + " new", "", new("2")),
    "aput_writes": lambda log, at: log.aput_writes(
        at.name, "", "1", "task", "", [(0, "c", ("j", b"1"))]
    ),
    "astate": lambda log, at: log.astate(at.name),
    "athreads": lambda log, at: log.athreads(),
    "aturn": lambda log, at: turn(log, at),
    "aupdate": lambda log, at: log.aupdate(at.name, title="Orders"),
}

HISTORY: dict[str, Does] = {
    "aadd_messages": lambda h, at: h.aadd_messages([HumanMessage("More.")]),
    "aget_messages": lambda h, at: h.aget_messages(),
    "atranscript": lambda h, at: h.atranscript(),
    "aclear": lambda h, at: h.aclear(),
}


STEP: Any = {"source": "input", "step": 1}


async def write(saver: OnrecordSaver, at: At) -> None:
    stored = await saver.aput(config(at), empty_checkpoint(), STEP, {})
    await saver.aput_writes(stored, [("c", 1)], "task")


async def saver_turn(saver: OnrecordSaver, at: At) -> None:
    async with saver.aturn(at.name):
        pass


SAVER: dict[str, Does] = {
    "aget": lambda s, at: s.aget(config(at)),
    "aget_tuple": lambda s, at: s.aget_tuple(config(at)),
    "aget_delta_channel_history": lambda s, at: s.aget_delta_channel_history(
        config=config(at), channels=["messages"]
    ),
    "alist": lambda s, at: all_of(s.alist(config(at))),
    "aput": lambda s, at: s.aput(config(at), empty_checkpoint(), STEP, {}),
    "aput_writes": lambda s, at: write(s, at),
    "acopy_thread": lambda s, at: s.acopy_thread(f"{at.name} of a graph", f"{at.name} copied"),
    "aprune": lambda s, at: s.aprune([f"{at.name} of a graph"]),
    "aprune_expired": lambda s, at: s.aprune_expired(),
    "asetup": lambda s, at: s.asetup(),
    "athreads": lambda s, at: s.athreads(),
    "atranscript": lambda s, at: s.atranscript("empty"),
    "aturn": lambda s, at: saver_turn(s, at),
    "adelete_for_runs": lambda s, at: s.adelete_for_runs(["run"]),
    "adelete_thread": lambda s, at: s.adelete_thread(f"{at.name} of a graph"),
}

HI = ChatMessage(role="user", content="Hi.")

LONG_TERM: dict[str, Does] = {
    "abatch": lambda store, at: store.abatch(
        [
            GetOp(("n",), at.name),
            SearchOp((), query="one"),
            ListNamespacesOp(),
            PutOp(("n",), at.name, {"a": "one"}),
        ]
    ),
    "aupdate": lambda store, at: store.aupdate(("n",), at.name, lambda there: {"b": there}),
    "aembed": lambda store, at: store.aembed(),
}


CHAT_STORE: dict[str, Does] = {
    "aget_messages": lambda s, at: s.aget_messages(at.name),
    "async_add_message": lambda s, at: s.async_add_message(at.name, HI),
    "aget_keys": lambda s, at: s.aget_keys(),
    "adelete_last_message": lambda s, at: s.adelete_last_message(at.name),
    "adelete_message": lambda s, at: s.adelete_message(at.name, 0),
    "adelete_messages": lambda s, at: s.adelete_messages(at.name),
    "aset_messages": lambda s, at: s.aset_messages(at.name, [HI]),
}

MEMORY_STORE: dict[str, Does] = {
    "get_messages": lambda s, at: s.get_messages(at.name),
    "count_messages": lambda s, at: s.count_messages(at.name),
    "add_message": lambda s, at: s.add_message(at.name, HI),
    "add_messages": lambda s, at: s.add_messages(at.name, [HI, HI]),
    "get_keys": lambda s, at: s.get_keys(),
    "archive_oldest_messages": lambda s, at: s.archive_oldest_messages(at.name, 1),
    "delete_oldest_messages": lambda s, at: s.delete_oldest_messages(at.name, 1),
    "delete_message": lambda s, at: s.delete_message(at.name, 0),
    "delete_messages": lambda s, at: s.delete_messages(at.name),
    "set_messages": lambda s, at: s.set_messages(at.name, [HI]),
}

MEMORY: dict[str, Does] = {
    "aget": lambda m, at: m.aget(),
    "aget_all": lambda m, at: m.aget_all(),
    "aput": lambda m, at: m.aput(HI),
    "aput_messages": lambda m, at: m.aput_messages([HI, HI]),
    "aset": lambda m, at: m.aset([HI]),
    "areset": lambda m, at: m.areset(),
}


class Model(GenericFakeChatModel):
    def bind_tools(self, tools: Any, **settings: Any) -> Any:
        return self


def model() -> Model:
    call = {"name": "weather", "args": {}, "id": "call"}
    return Model(
        messages=itertools.cycle([AIMessage("", tool_calls=[call]), AIMessage("It rains.")])
    )


async def weather() -> str:
    """What it is like outside."""
    return "rain"


RAIN = "Does it rain in Lyon?"


def recalling(store: Store, at: At) -> Any:
    """An agent that is reminded, and remembers, searches and forgets."""
    made: list[Any] = [
        ("remember", {"key": "rain", "text": "It rains."}),
        ("search_memory", {"query": "rain"}),
        ("forget", {"key": "rain"}),
    ]
    calls = [
        AIMessage("", tool_calls=[{"name": name, "args": args, "id": name}]) for name, args in made
    ]
    middleware: Any = OnrecordMiddleware(store, user="ada", recall=Recall(across="user"))
    return create_agent(
        Model(messages=itertools.cycle([*calls, AIMessage("Gone.")])),
        memory_tools(store, user="ada"),
        middleware=[middleware],
    )


async def ask(agent: Any, at: At, what: str = "Well?") -> None:
    await agent.ainvoke({"messages": [HumanMessage(what)]}, config(at))


def chain(store: Store, at: At) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LangChainDeprecationWarning)
        return RunnableWithMessageHistory(RunnableLambda(model().ainvoke), histories(store))


async def call(chain: Any, at: At) -> None:
    await chain.ainvoke("Well?", config(at))


async def put_and_get(memory: Any) -> None:
    await memory.aput(HI)
    await memory.aget()


# What is called, on what, made of a store; and whose async methods have to stand there.
TABLE: dict[str, tuple[Callable[[Store, At], Any], dict[str, Does], type | None]] = {
    "store": (lambda store, at: store, STORE, Store),
    "session": (lambda store, at: store.session(at.name), SESSION, Session),
    "items": (lambda store, at: store.items(at.name), ITEMS, Items),
    "feed": (lambda store, at: store.feed(at.name), FEED, Feed),
    "log": (lambda store, at: CheckpointLog(store), LOG, CheckpointLog),
    "history": (
        lambda store, at: OnrecordChatMessageHistory(at.name, store=store, window=5),
        HISTORY,
        OnrecordChatMessageHistory,
    ),
    "saver": (lambda store, at: OnrecordSaver(store), SAVER, OnrecordSaver),
    "long-term store": (
        lambda store, at: OnrecordStore(store, ttl={"default_ttl": 60}),
        LONG_TERM,
        OnrecordStore,
    ),
    "chat store": (lambda store, at: OnrecordChatStore(store), CHAT_STORE, OnrecordChatStore),
    "memory store": (
        lambda store, at: OnrecordMemoryStore(store),
        MEMORY_STORE,
        OnrecordMemoryStore,
    ),
    "memory": (
        lambda store, at: OnrecordMemory.from_defaults(at.name, store),
        MEMORY,
        OnrecordMemory,
    ),
    # Whose methods are called by their frameworks.
    "agent": (
        lambda store, at: create_agent(model(), [weather], middleware=[OnrecordMiddleware(store)]),
        {"ainvoke": lambda agent, at: ask(agent, at)},
        None,
    ),
    "agent that recalls": (recalling, {"ainvoke": lambda agent, at: ask(agent, at, RAIN)}, None),
    "retriever": (
        lambda store, at: [OnrecordRetriever(store, whole_turns=whole) for whole in (False, True)],
        {
            "messages": lambda found, at: found[0].ainvoke(RAIN),
            "turns": lambda found, at: found[1].ainvoke(RAIN),
        },
        None,
    ),
    "agent and saver": (
        lambda store, at: create_agent(model(), [weather], checkpointer=OnrecordSaver(store)),
        {"ainvoke": lambda agent, at: ask(agent, at)},
        None,
    ),
    "chain": (chain, {"ainvoke": lambda given, at: call(given, at)}, None),
    "llama_index's memories": (
        lambda store, at: [
            ChatMemoryBuffer.from_defaults(
                chat_store=OnrecordChatStore(store), chat_store_key=at.name, tokenizer_fn=str.split
            ),
            Memory.from_defaults(
                session_id=at.name,
                chat_store=OnrecordMemoryStore(store),
                tokenizer_fn=str.split,
            ),
        ],
        {
            "ChatMemoryBuffer": lambda memories, at: put_and_get(memories[0]),
            "Memory": lambda memories, at: put_and_get(memories[1]),
        },
        None,
    ),
}

CASES = [(of, method) for of, (_, does, _) in TABLE.items() for method in does]


def async_methods(cls: type) -> set[str]:
    """The async methods that a class has of us; what it only inherits calls those."""
    return {
        name
        for base in cls.__mro__
        if "onrecord" in base.__module__
        for name, found in vars(base).items()
        if not name.startswith("_")
        and (
            inspect.iscoroutinefunction(inspect.unwrap(found))
            or inspect.isasyncgenfunction(inspect.unwrap(found))
        )
    }


@pytest.mark.parametrize("of", [of for of, row in TABLE.items() if row[2] is not None])
def test_every_async_method_is_in_the_table(of: str) -> None:
    _, does, cls = TABLE[of]
    assert cls is not None
    assert async_methods(cls) <= does.keys()


def letters(texts: list[str]) -> list[list[float]]:
    """Embed texts by how often they have a letter."""
    return [[text.count(letter) - 0.5 for letter in "abcdefgh"] for text in texts]


@pytest.fixture(scope="module", params=["sqlite file", "sqlite memory", "postgresql and redis"])
def opened(request: Any, tmp_path_factory: Any) -> Iterator[Callable[[], Store]]:
    """Opens a store as a new process does, each time on the same database."""
    folder, cache = tmp_path_factory.mktemp("loop"), None
    with ExitStack() as later:
        match request.param:
            case "sqlite file":
                url = f"sqlite:///{folder}/x.db"
            case "sqlite memory":
                url = "sqlite://"
            case _:
                server = request.getfixturevalue("postgres")
                url = later.enter_context(server.database("off_the_loop"))
                cache = request.getfixturevalue("redis_server").url

        def open_store() -> Store:
            durability: Literal["normal", "full"] = "normal" if cache is None else "full"
            return Store(url, cache=cache, durability=durability, embedder=("letters", letters))

        yield open_store


_numbers = itertools.count(1)


@pytest.fixture
def at(opened: Callable[[], Store], tmp_path: Path) -> At:
    """A conversation and a thread with something in them, and a file of them."""
    at = At(f"number {next(_numbers)}", tmp_path)
    with opened() as store:
        fill(store, at)
        store.session(at.name).export(tmp_path / "exported.jsonl")
    return at


def fill(store: Store, at: At) -> None:
    store.session(at.name).replace(SAID)
    CheckpointLog(store).put(at.name, "", new("1"))
    OnrecordSaver(store).put(config(at), empty_checkpoint(), STEP, {})


@pytest.mark.parametrize(("of", "method"), CASES)
def test_no_call_blocks(of: str, method: str, opened: Callable[[], Store], at: At) -> None:
    make, does, cls = TABLE[of]

    async def made(store: Store) -> Any:
        # Before LangGraph 1.2.x an agent that is made looks into the files of its code.
        return await asyncio.to_thread(make, store, at) if cls is None else make(store, at)

    async def called() -> None:
        async with opened() as store:
            in_memory = store.address == "sqlite://"
            # In memory nothing is there for the first call.
            with suppress(OnrecordError) if in_memory else nullcontext():
                await does[method](await made(store), at)
            if in_memory and method != "aclose":
                with suppress(Cleared):  # a thread that was deleted does not come back
                    await asyncio.to_thread(fill, store, at)
            for _ in range(2):
                with suppress(OnrecordError):  # what was taken away is not there
                    await does[method](await made(store), at)

    with noted() as blocked:
        asyncio.run(called())
    assert not blocked, blocked[0]


def test_a_restored_memory_opens_its_file_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference, "_opened", {})
    monkeypatch.delenv("ONRECORD_URL", raising=False)  # a page of the docs may have set it
    with Store(f"sqlite:///{tmp_path}/x.db") as store:
        memory = OnrecordMemory.from_defaults("k", store)
        memory.put(HI)
        dump = memory.to_dict()
    del store, memory

    async def restored() -> str | None:
        memory = OnrecordMemory.from_dict(dump)
        try:
            return (await memory.aget())[0].content
        finally:
            await memory.session.store.aclose()

    with noted() as blocked:
        assert asyncio.run(restored()) == "Hi."
    assert not blocked, blocked[0]


@pytest.mark.parametrize("module", [langchain_importers, llama_index_importers])
def test_an_import_looks_for_its_file_in_a_thread(tmp_path: Path, module: Any) -> None:
    async def imported() -> None:
        async with Store(f"sqlite:///{tmp_path}/x.db") as store:
            with pytest.raises(Misconfigured, match=r"old\.db"):
                await module.aimport_sql(store, f"sqlite:///{tmp_path}/old.db")

    with noted() as blocked:
        asyncio.run(imported())
    assert not blocked, blocked[0]


class Stuck(io.RawIOBase):
    """A file on a disk that does not answer until it is told to."""

    def __init__(self) -> None:
        self.asked, self.told = threading.Event(), threading.Event()

    def _wait(self) -> None:
        self.asked.set()
        self.told.wait()

    def write(self, data: Any) -> int:
        self._wait()
        return len(data)

    def read(self, size: int = -1) -> bytes:
        self._wait()
        return b""


@pytest.mark.parametrize("method", ["aexport", "aimport_"])
def test_a_cancelled_call_does_not_wait_for_its_file(tmp_path: Path, method: str) -> None:
    file = Stuck()

    async def cancelled() -> None:
        async with Store(f"sqlite:///{tmp_path}/x.db") as store:
            await store.session("k").aappend(SAID)
            task = asyncio.ensure_future(getattr(store, method)(file))
            await asyncio.to_thread(file.asked.wait)
            task.cancel()
            with suppress(asyncio.CancelledError, BlockingError):
                await task
            file.told.set()

    with noted(locks=True) as blocked:
        asyncio.run(cancelled())
    assert not blocked, blocked[0]


def test_what_blocks_is_noted() -> None:
    """The guard itself, also where the error is caught."""
    lock = threading.Lock()

    async def ask() -> None:
        with suppress(BlockingError):
            sqlite3.connect(":memory:")
        with lock, suppress(BlockingError), lock:
            pass

    with noted(locks=True) as blocked:
        asyncio.run(ask())
    assert [line.partition("\n")[0] for line in blocked] == ["sqlite3.connect", "Lock.__enter__"]
    with lock:
        pass
