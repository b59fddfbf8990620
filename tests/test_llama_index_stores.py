"""LlamaIndex's own memories, engines and agents over Onrecord's stores, as they really run.

Where LlamaIndex loses something whatever its store does, a test here says what: these are the
tests whose names begin with ``test_upstream``.
"""

from __future__ import annotations

import asyncio
import copy
import gc
import itertools
import json
import os
import pickle
import random
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llama_index.core.agent.workflow import AgentWorkflow, FunctionAgent
from llama_index.core.base.llms.types import ChatMessage, MessageRole, TextBlock, ToolCallBlock
from llama_index.core.chat_engine import (
    CondensePlusContextChatEngine,
    ContextChatEngine,
    SimpleChatEngine,
)
from llama_index.core.llms.mock import MockFunctionCallingLLM, MockLLM
from llama_index.core.memory import (
    BaseMemoryBlock,
    ChatMemoryBuffer,
    ChatSummaryMemoryBuffer,
    Memory,
)
from llama_index.core.memory.memory import InsertMethod
from llama_index.core.retrievers import BaseRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from llama_index.core.storage.chat_store import SimpleChatStore
from llama_index.core.storage.chat_store.base import BaseChatStore
from llama_index.core.storage.chat_store.base_db import AsyncDBChatStore, MessageStatus
from llama_index.core.storage.chat_store.loading import load_chat_store
from llama_index.core.workflow import Context, JsonPickleSerializer, JsonSerializer
from pydantic import Field, PrivateAttr, ValidationError

from llama_index_onrecord import OnrecordChatStore, OnrecordMemoryStore
from onrecord import (
    InvalidMessage,
    InvalidName,
    Misconfigured,
    OnrecordError,
    Store,
    StoreClosed,
)
from tests.children import together

# LlamaIndex's workflows look at all that an agent has, also at what pydantic wants to be rid of.
pytestmark = pytest.mark.filterwarnings(
    "ignore:The `__fields:pydantic.PydanticDeprecatedSince20",
    "ignore:Accessing the 'model_:pydantic.warnings.PydanticDeprecatedSince211",
)

# For mypy a subclass of a pydantic model takes the model's fields, whatever __init__ it inherits.
Base: Any = OnrecordMemoryStore
OpenStore = Callable[[], Store]
T = TypeVar("T")

ACTIVE, ARCHIVED = MessageStatus.ACTIVE, MessageStatus.ARCHIVED
HOSTILE = [
    "a:b",
    "it's; DROP TABLE messages; --",
    "100%_\\",
    "🜁 ‮right to left",
    "../../etc/passwd",
    " ",
    "a\nb",
    "{a}*?[x]",
    "k" * 512,
]
PATIENCE = 60.0
TRIES = int(10 * float(os.environ.get("ONRECORD_SEEDS", "1")))
"""How often two processes are let loose on a session."""


def user(text: str) -> ChatMessage:
    return ChatMessage(role="user", content=text)


def bot(text: str) -> ChatMessage:
    return ChatMessage(role="assistant", content=text)


def texts(messages: Sequence[ChatMessage] | None) -> list[str | None]:
    return [message.content for message in messages or ()]


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asyncio.wait_for(coroutine, PATIENCE))


def waited(method: Callable[..., Coroutine[Any, Any, T]]) -> Callable[..., T]:
    """A coroutine function as a plain one."""
    return lambda *given, **named: run(method(*given, **named))


@pytest.fixture
def dropped_loops() -> Iterator[None]:
    """For tests in which Memory's sync methods are called.

    LlamaIndex runs them in a loop of their own, where another loop runs already, and closes it
    without telling what lives in it: the connections to Redis are left behind, and the store
    keeps them as long as it lives.
    """
    asyncio.set_event_loop(None)
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        for store in [found for found in gc.get_objects() if type(found) is Store]:
            if (clients := getattr(store._hot, "_clients", None)) is not None:
                clients._loops.clear()
        gc.collect()


def drops_loops(test: Any) -> Any:
    """Marks such a test."""
    warned = pytest.mark.filterwarnings(
        "ignore:unclosed:ResourceWarning", "ignore:loop is closed:ResourceWarning"
    )
    return pytest.mark.usefixtures("dropped_loops")(warned(test))


@pytest.fixture
def chats(each_store: OpenStore) -> OnrecordChatStore:
    return OnrecordChatStore(store=each_store())


@pytest.fixture
def memories(each_store: OpenStore) -> OnrecordMemoryStore:
    return OnrecordMemoryStore(store=each_store())


class Both:
    """The interface of ``BaseChatStore`` by its sync names, done by either half of it."""

    def __init__(self, store: BaseChatStore, asynchronous: bool) -> None:
        self.store = store
        self.asynchronous = asynchronous

    def __getattr__(self, name: str) -> Any:
        if not self.asynchronous:
            return getattr(self.store, name)
        twin = "async_add_message" if name == "add_message" else f"a{name}"
        return waited(getattr(self.store, twin))


@pytest.fixture(params=["sync", "async"])
def either(request: pytest.FixtureRequest, chats: OnrecordChatStore) -> Any:
    return Both(chats, request.param == "async")


# -- the interface of BaseChatStore --------------------------------------------------------------


def test_it_is_what_llama_index_takes_it_for() -> None:
    assert "BaseChatStore" in [cls.__name__ for cls in OnrecordChatStore.__mro__]
    assert "AsyncDBChatStore" in [cls.__name__ for cls in OnrecordMemoryStore.__mro__]
    for cls in (OnrecordChatStore, OnrecordMemoryStore):
        assert cls.class_name() == cls.__name__
        # Memories say ``chat_store or …``: nothing may make a store look empty.
        assert not {"__len__", "__bool__"} & set(dir(cls))


def test_every_method_of_the_interface_is_ours(chats: OnrecordChatStore) -> None:
    # What is left to LlamaIndex would run the sync method in a thread.
    for name in vars(BaseChatStore):
        if not name.startswith("_") and callable(getattr(BaseChatStore, name)):
            assert name in vars(OnrecordChatStore), name


def test_a_list_of_messages(either: Any) -> None:
    assert either.get_messages("ada") == []
    either.add_message("ada", user("a"))
    either.add_message("ada", bot("b"))
    assert either.get_messages("ada") == [user("a"), bot("b")]
    assert either.set_messages("ada", [user("c"), bot("d"), user("e")]) is None
    assert texts(either.get_messages("ada")) == ["c", "d", "e"]
    assert either.delete_message("ada", 1) == bot("d")
    assert texts(either.get_messages("ada")) == ["c", "e"]
    assert either.delete_last_message("ada") == user("e")
    assert either.delete_messages("ada") == [user("c")]
    assert either.get_messages("ada") == []


def test_nothing_is_where_nothing_is(either: Any) -> None:
    assert either.delete_messages("nobody") is None
    assert either.delete_message("nobody", 0) is None
    assert either.delete_last_message("nobody") is None
    assert either.get_keys() == []
    either.set_messages("ada", [user("a")])
    for idx in (-1, -2, 1, 2, 10**9):
        assert either.delete_message("ada", idx) is None
    assert texts(either.get_messages("ada")) == ["a"]
    either.set_messages("ada", [])
    assert either.get_messages("ada") == []
    assert either.get_keys() == []
    assert either.delete_last_message("ada") is None


@pytest.mark.parametrize("idx", [0, 1, 3, 4, 99, -1, -3, -4, -99, None])
def test_messages_are_inserted_as_into_a_list(either: Any, idx: int | None) -> None:
    model = ["a", "b", "c"]
    either.set_messages("ada", [user(text) for text in model])
    either.add_message("ada", user("new"), idx=idx)
    model.insert(len(model) if idx is None else idx, "new")
    assert texts(either.get_messages("ada")) == model


def test_a_part_of_a_list(either: Any) -> None:
    either.set_messages("ada", [user(str(n)) for n in range(10)])
    assert texts(either.get_messages("ada", limit=2)) == ["0", "1"]
    assert texts(either.get_messages("ada", before=5, limit=2)) == ["2", "3"]
    assert texts(either.get_messages("ada", after=8)) == ["8", "9"]
    with pytest.raises(TypeError):
        either.get_messages("ada", limmit=2)


def test_keys(either: Any) -> None:
    for key in HOSTILE:
        either.add_message(key, user(key))
    either.set_messages("gone", [user("a")])
    either.delete_messages("gone")
    keys = either.get_keys()
    assert sorted(keys) == sorted(HOSTILE)
    for key in HOSTILE:
        assert texts(either.get_messages(key)) == [key]
    for bad in ("", "a\x00b", "\ud800", "k" * 513):
        with pytest.raises(InvalidName):
            either.add_message(bad, user("a"))
        with pytest.raises(InvalidName):
            either.get_messages(bad)


def test_keys_are_in_the_order_in_which_they_began(either: Any) -> None:
    """As in LlamaIndex's own store, also where the first was active last."""
    theirs = SimpleChatStore()
    for key in ("b", "a", "c", "a", "b"):
        either.add_message(key, user("hi"))
        theirs.add_message(key, user("hi"))
    assert either.get_keys() == theirs.get_keys() == ["b", "a", "c"]


def test_more_keys_than_a_page(chats: OnrecordChatStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llama_index_onrecord.scope._PAGE", 5)
    for n in range(13):
        chats.add_message(str(n), user("a"))
        assert chats.get_keys() == [str(n) for n in range(n + 1)]


def test_scopes_are_walls(each_store: OpenStore) -> None:
    store = each_store()
    scopes = [
        {},
        {"tenant": "t"},
        {"user": "t"},
        {"agent": "t"},
        {"tenant": "t", "user": "u"},
        {"tenant": "t:u"},
        {"tenant": "%"},
    ]
    for scope in scopes:
        OnrecordChatStore(store=store, **scope).add_message("k", user(str(scope)))
    for scope in scopes:
        chats = OnrecordChatStore(store=store, **scope)
        assert texts(chats.get_messages("k")) == [str(scope)]
        assert chats.get_keys() == ["k"]
        memory = OnrecordMemoryStore(store=store, **scope)
        assert run(memory.get_keys()) == ["k"]
        again = load_chat_store(chats.to_dict())
        assert texts(again.get_messages("k")) == [str(scope)]


def test_a_scope_that_is_misspelt_is_refused(each_store: OpenStore) -> None:
    store: Any = each_store()
    with pytest.raises(Misconfigured, match="tennant"):
        OnrecordChatStore(store=store, tennant="t")
    with pytest.raises(Misconfigured, match="tennant"):
        OnrecordMemoryStore(store=store, tennant="t")
    wrong: Any
    for wrong in (None, 5, "", object()):
        with pytest.raises(Misconfigured):
            OnrecordChatStore(store=wrong)


operations: Any = st.one_of(
    st.tuples(st.just("add"), st.none() | st.integers(-4, 4)),
    st.tuples(st.just("set"), st.integers(0, 3)),
    st.tuples(st.just("delete"), st.integers(-2, 4)),
    st.tuples(st.just("last"), st.none()),
    st.tuples(st.just("clear"), st.none()),
)


@given(st.lists(operations, max_size=12))
def test_it_does_what_a_list_does(done: list[tuple[str, Any]]) -> None:
    with Store("sqlite://") as store:
        chats, model = OnrecordChatStore(store=store), list[str]()
        for n, (what, how) in enumerate(done):
            match what:
                case "add":
                    chats.add_message("k", user(str(n)), how)
                    model.insert(len(model) if how is None else how, str(n))
                case "set":
                    model = [f"{n}.{m}" for m in range(how)]
                    chats.set_messages("k", [user(text) for text in model])
                case "clear":
                    assert texts(chats.delete_messages("k")) == model
                    model = []
                case "last":
                    gone = chats.delete_last_message("k")
                    assert (gone and gone.content) == (model.pop() if model else None)
                case "delete":
                    gone = chats.delete_message("k", how)
                    there = 0 <= how < len(model)
                    assert (gone and gone.content) == (model.pop(how) if there else None)
            assert texts(chats.get_messages("k")) == model
            assert chats.get_keys() == (["k"] if model else [])


def until_met(write: Callable[[int], object], seen: Sequence[object]) -> None:
    """Write until somebody has read often enough meanwhile, however slow either is."""
    deadline = time.monotonic() + PATIENCE
    for n in itertools.count(1):
        write(n)
        if n >= 30 and len(seen) > 20:
            return
        assert time.monotonic() < deadline, "nobody reads"


def test_nobody_sees_a_part_of_what_is_set(each_store: OpenStore) -> None:
    writer = OnrecordChatStore(store=each_store())
    readers = [writer, OnrecordChatStore(store=each_store())]
    writer.set_messages("ada", [user("0")] * 20)
    ended, seen = threading.Event(), list[list[str | None]]()

    def read(chats: OnrecordChatStore) -> None:
        while not ended.is_set():
            seen.append(texts(chats.get_messages("ada")))

    threads = [threading.Thread(target=read, args=(chats,)) for chats in readers]
    for thread in threads:
        thread.start()
    try:
        until_met(lambda n: writer.set_messages("ada", [user(str(n))] * 20), seen)
    finally:
        ended.set()
        for thread in threads:
            thread.join(PATIENCE)
    assert {(len(found), len(set(found))) for found in seen} == {(20, 1)}


def test_who_deletes_all_is_told_what_went(each_store: OpenStore) -> None:
    chats, other = (OnrecordChatStore(store=each_store()) for _ in range(2))

    def write() -> None:
        for n in range(60):
            other.add_message("ada", user(str(n)))

    thread = threading.Thread(target=write)
    thread.start()
    gone: list[str | None] = []
    while thread.is_alive():
        gone += texts(chats.delete_messages("ada"))
    thread.join()
    gone += texts(chats.delete_messages("ada"))
    assert gone == [str(n) for n in range(60)]


def test_deleting_and_inserting_from_many_threads(each_store: OpenStore) -> None:
    chats, other = (OnrecordChatStore(store=each_store()) for _ in range(2))
    chats.set_messages("ada", [user(str(n)) for n in range(40)])
    gone: list[str | None] = []

    def delete(store: OnrecordChatStore) -> None:
        for n in range(10):
            found = store.delete_message("ada", 0) if n % 2 else store.delete_last_message("ada")
            gone.extend(texts([found] if found else []))

    def insert(store: OnrecordChatStore, name: str) -> None:
        for n in range(5):
            store.add_message("ada", user(f"{name}{n}"), idx=3)

    threads = [threading.Thread(target=delete, args=(store,)) for store in (chats, other)]
    threads += [threading.Thread(target=insert, args=(chats, "x"))]
    threads += [threading.Thread(target=insert, args=(other, "y"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    left = texts(chats.get_messages("ada"))
    said = [str(n) for n in range(40)] + [f"{name}{n}" for name in "xy" for n in range(5)]
    assert sorted(map(str, left + gone)) == sorted(said)


# -- dumps, copies, other processes --------------------------------------------------------------


def copies(chats: Any) -> dict[str, Any]:
    made = {
        "pickle": pickle.loads(pickle.dumps(chats)),
        "copy": copy.copy(chats),
        "deepcopy": copy.deepcopy(chats),
        "model_copy": chats.model_copy(),
        "model_validate": type(chats).model_validate(chats.model_dump()),
        "json": type(chats).model_validate_json(chats.model_dump_json()),
    }
    if isinstance(chats, OnrecordChatStore):
        made["from_dict"] = OnrecordChatStore.from_dict(chats.to_dict())
        made["from_json"] = OnrecordChatStore.from_json(chats.to_json())
        made["load"] = load_chat_store(json.loads(chats.model_dump_json()))
    return made


def test_copies_are_on_the_same_store(each_store: OpenStore) -> None:
    stores = [each_store(), Store("sqlite://")]  # two in memory have the same address
    with stores[1]:
        for store in stores:
            chats = OnrecordChatStore(store=store, tenant="t", user="u", agent="a")
            chats.add_message("ada", user("hello"))
            for name, other in copies(chats).items():
                assert other.get_messages("ada") == [user("hello")], name
                assert other.session("ada").store is store, name
                assert other.model_dump() == chats.model_dump(), name
            memories = OnrecordMemoryStore(store=store, tenant="t", user="u", agent="a")
            for name, found in copies(memories).items():
                assert run(found.get_messages("ada")) == [user("hello")], name
                assert found.session("ada").store is store, name


@pytest.mark.parametrize("cls", [OnrecordChatStore, OnrecordMemoryStore])
def test_a_password_stands_nowhere(cls: Any) -> None:
    secret = "s3cr%40t"
    url = f"postgresql://ada:{secret}@127.0.0.1:1/nowhere?password={secret}"
    with Store(url, timeout=0.5) as store:
        chats = cls(store=store)
        memory = (
            ChatMemoryBuffer.from_defaults(chat_store=chats)
            if cls is OnrecordChatStore
            else Memory.from_defaults(chat_store=chats)
        )
        shown = [repr(chats), str(chats), repr(copies(chats)), chats.model_dump_json()]
        shown += [repr(chats._reference), repr(vars(chats)), str(cls.model_json_schema())]
        shown += [repr(memory), memory.model_dump_json()]
        shown += [pickle.dumps(chats).decode("latin-1"), pickle.dumps(memory).decode("latin-1")]
        add = chats.add_message if cls is OnrecordChatStore else waited(chats.add_message)
        with pytest.raises(OnrecordError) as caught:
            add("ada", user("hello"))
        fault: BaseException | None = caught.value
        while fault is not None:
            shown += [repr(fault), str(fault)]
            fault = fault.__cause__
        name = chats.store
    # In a process that does not know the store, or after it went:
    with pytest.raises(OnrecordError) as caught:
        cls(store="postgresql://ada:***@elsewhere/x#1").session("ada")
    shown.append(str(caught.value))
    for address in (url, url.partition("?")[0], f"postgresql://h/x?password={secret}"):
        with pytest.raises(Misconfigured) as refused:
            cls(store=address)
        shown += [repr(refused.value), str(refused.value)]
    with pytest.raises(ValidationError) as invalid:
        cls(store=name, tenant=5)
    shown.append(str(invalid.value))
    assert not [text for text in shown if "s3cr" in text]


READER = """
import asyncio, pickle, sys, json
from llama_index.core.storage.chat_store.loading import load_chat_store
import llama_index_onrecord
name, pickled = json.loads(sys.argv[1]), bytes.fromhex(sys.argv[2])
print(json.dumps([message.content for message in load_chat_store(name).get_messages("ada")]))
print(json.dumps([message.content for message in pickle.loads(pickled).get_messages("ada")]))
"""


def test_a_dump_finds_its_store_in_another_process(
    each_store: OpenStore, request: pytest.FixtureRequest
) -> None:
    chats = OnrecordChatStore(store=each_store(), user="u")
    chats.add_message("ada", user("hello"))
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ONRECORD_")}
    url = None
    if "postgresql" in chats.store:
        url = environment["ONRECORD_URL"] = request.getfixturevalue("kept_postgres_url")
    arguments = [json.dumps(chats.to_dict()), pickle.dumps(chats).hex()]

    def read() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-W", "ignore", "-c", READER, *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    done = read()
    assert done.stdout.splitlines() == ['["hello"]', '["hello"]'], done.stderr
    if url is not None:
        del environment["ONRECORD_URL"]
        done = read()
        assert "ONRECORD_URL" in done.stderr
        assert "Misconfigured" in done.stderr


def test_a_store_that_was_closed_says_so(each_store: OpenStore) -> None:
    store = each_store()
    chats = OnrecordChatStore(store=store)
    chats.add_message("ada", user("a"))
    store.close()
    with pytest.raises(StoreClosed):
        chats.get_messages("ada")


# -- from anywhere -------------------------------------------------------------------------------


def test_sync_and_async_from_any_loop_and_thread(chats: OnrecordChatStore) -> None:
    async def inside(n: int) -> None:
        chats.add_message("ada", user(f"sync {n}"))  # a sync call where a loop runs
        await chats.async_add_message("ada", user(f"async {n}"))
        await asyncio.to_thread(chats.add_message, "ada", user(f"thread {n}"))
        seen = texts(await chats.aget_messages("ada"))
        assert texts(chats.get_messages("ada"))[: len(seen)] == seen

    for n in range(3):
        run(inside(n))
    threads = [threading.Thread(target=lambda: run(inside(9))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(chats.get_messages("ada")) == 3 * 3 + 4 * 3

    async def many() -> None:
        await asyncio.gather(*(chats.async_add_message("b", user(str(n))) for n in range(50)))

    run(many())
    assert len(chats.get_messages("b")) == 50


def test_one_who_is_refused_by_the_store(chats: OnrecordChatStore) -> None:
    bad: Any = [user("a"), "b"]
    with pytest.raises(InvalidMessage):
        run(chats.aset_messages("ada", bad))
    assert chats.get_messages("ada") == []


# -- ChatMemoryBuffer and the chat engines -------------------------------------------------------


def test_a_buffer(either: Any) -> None:
    memory = ChatMemoryBuffer.from_defaults(
        chat_store=either.store, chat_store_key="ada", token_limit=6, tokenizer_fn=str.split
    )
    assert memory.chat_store is either.store
    put = memory.put if not either.asynchronous else lambda m: run(memory.aput(m))
    for n in range(6):
        put(user(f"question {n}"))
        put(bot(f"answer {n}"))
    assert texts(memory.get()) == ["question 5", "answer 5"]
    assert texts(run(memory.aget())) == ["question 5", "answer 5"]
    assert len(memory.get_all()) == len(run(memory.aget_all())) == 12
    memory.put_messages([user("a"), bot("b")])
    run(memory.aput_messages([user("c"), bot("d")]))
    assert texts(memory.get_all())[-4:] == ["a", "b", "c", "d"]
    restored = ChatMemoryBuffer.from_dict(memory.to_dict())
    assert texts(restored.get_all()) == texts(memory.get_all())
    assert texts(ChatMemoryBuffer.from_string(memory.to_string()).get_all())[:1] == ["question 0"]
    memory.set([user("x")])
    assert texts(restored.get_all()) == ["x"]
    run(memory.areset())
    assert restored.get_all() == []


def test_what_a_buffer_begins_with_takes_the_place_of_what_was_there(
    chats: OnrecordChatStore,
) -> None:
    chats.add_message("ada", user("before"))
    ChatMemoryBuffer.from_defaults(
        chat_store=chats, chat_store_key="ada", chat_history=[user("after")]
    )
    assert texts(chats.get_messages("ada")) == ["after"]


class Fixed(BaseRetriever):
    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return [NodeWithScore(node=TextNode(text="It is 20 degrees."), score=1.0)]


def engine(which: str, memory: Any) -> Any:
    llm = MockLLM(max_tokens=3)
    if which == "simple":
        return SimpleChatEngine.from_defaults(llm=llm, memory=memory, system_prompt="be kind")
    if which == "context":
        return ContextChatEngine.from_defaults(retriever=Fixed(), llm=llm, memory=memory)
    return CondensePlusContextChatEngine.from_defaults(retriever=Fixed(), llm=llm, memory=memory)


async def streamed(chat: Any, message: str) -> None:
    response = await chat.astream_chat(message)
    async for _ in response.async_response_gen():
        pass
    if (task := response.awrite_response_to_history_task) is not None:
        await task


def memory_over(kind: str, store: Store) -> tuple[Any, Callable[[], list[ChatMessage]]]:
    if kind == "buffer":
        chats = OnrecordChatStore(store=store)
        memory = ChatMemoryBuffer.from_defaults(chat_store=chats, chat_store_key="ada")
        return memory, lambda: chats.get_messages("ada")
    memories = OnrecordMemoryStore(store=store)
    queue = Memory.from_defaults(session_id="ada", chat_store=memories)
    return queue, lambda: run(memories.get_messages("ada"))


@drops_loops
@pytest.mark.parametrize("kind", ["buffer", "memory"])
@pytest.mark.parametrize("which", ["simple", "context", "condense"])
def test_chat_engines(each_store: OpenStore, which: str, kind: str) -> None:
    memory, stored = memory_over(kind, each_store())
    chat = engine(which, memory)
    chat.chat("a")
    run(chat.achat("b"))
    response = chat.stream_chat("c")
    for _ in response.response_gen:
        pass
    if (thread := response.write_response_to_history_thread) is not None:
        thread.join(PATIENCE)
    run(streamed(chat, "d"))

    async def sync_inside_a_loop() -> None:
        chat.chat("e")

    run(sync_inside_a_loop())
    said = stored()
    assert [message.role.value for message in said] == ["user", "assistant"] * 5
    assert texts(said)[::2] == ["a", "b", "c", "d", "e"]
    # Who comes after, in another process, goes on from there.
    other, _ = memory_over(kind, each_store())
    assert len(engine(which, other).chat_history) == 10
    chat.reset()
    assert stored() == []


def test_a_chat_that_is_given_a_history_replaces_what_is_stored(each_store: OpenStore) -> None:
    memory, stored = memory_over("buffer", each_store())
    chat = engine("simple", memory)
    chat.chat("a")
    chat.chat("b", chat_history=[user("x"), bot("y")])
    assert texts(stored())[:3] == ["x", "y", "b"]


def test_upstream_a_summary_takes_the_place_of_the_history(chats: OnrecordChatStore) -> None:
    """ChatSummaryMemoryBuffer.get() deletes what is stored and writes its summary instead."""
    memory = ChatSummaryMemoryBuffer.from_defaults(
        llm=MockLLM(max_tokens=2),
        chat_store=chats,
        chat_store_key="ada",
        token_limit=4,
        tokenizer_fn=str.split,
    )
    for n in range(4):
        memory.put(user(f"question {n}"))
        memory.put(bot(f"answer {n}"))
    shown = memory.get()
    assert [message.role.value for message in shown] == ["system", "user", "assistant"]
    assert texts(shown)[1:] == ["question 3", "answer 3"]
    assert chats.get_messages("ada") == shown  # the other six are gone for good


# -- agents --------------------------------------------------------------------------------------


def look(n: int) -> str:
    """Looks something up."""
    return f"found {n}"


def answers(rounds: int) -> Callable[..., ChatMessage]:
    """Asks for a tool so many times in each turn, and then answers."""

    def answer(messages: Sequence[ChatMessage], **named: Any) -> ChatMessage:
        turn = 0
        for message in reversed(messages):
            if message.role is MessageRole.USER:
                break
            turn += message.role is MessageRole.TOOL
        if turn < rounds:
            call = ToolCallBlock(
                tool_call_id=f"c{len(messages)}", tool_name="look", tool_kwargs={"n": turn}
            )
            return ChatMessage(role="assistant", blocks=[call])
        return bot(f"answer to {sum(m.role is MessageRole.USER for m in messages)}")

    return answer


def agent(rounds: int) -> FunctionAgent:
    return FunctionAgent(
        name="Agent",
        description="It looks things up.",
        tools=[look],
        llm=MockFunctionCallingLLM(response_generator=answers(rounds)),
    )


TURN = ["user", "assistant", "tool", "assistant", "tool", "assistant"]


@pytest.mark.parametrize("kind", ["buffer", "memory"])
@pytest.mark.parametrize("team", [False, True])
def test_agents_with_tools(each_store: OpenStore, kind: str, team: bool) -> None:
    async def turns(store: Store, *said: str) -> list[str]:
        memory, _ = memory_over(kind, store)
        who: Any = AgentWorkflow(agents=[agent(2)]) if team else agent(2)
        return [str(await who.run(user_msg=text, memory=memory)) for text in said]

    assert run(turns(each_store(), "a", "b")) == ["answer to 1", "answer to 2"]
    # Another process, another loop, another memory: it goes on from there.
    assert run(turns(each_store(), "c")) == ["answer to 3"]
    _, stored = memory_over(kind, each_store())
    said = stored()
    assert [message.role.value for message in said] == TURN * 3
    assert [texts(said)[n] for n in (0, 6, 12)] == ["a", "b", "c"]
    calls = [b.tool_call_id for m in said for b in m.blocks if isinstance(b, ToolCallBlock)]
    results = [m.additional_kwargs["tool_call_id"] for m in said if m.role is MessageRole.TOOL]
    assert calls == results
    assert len(set(calls)) == 6
    # Neutral for others: each call once, each result under its id.
    session = each_store().session("ada")
    assert [c.id for m in session.messages() for c in m.tool_calls] == calls
    assert [m.tool_call_id for m in session.messages() if m.role == "tool"] == calls


def test_the_same_context_twice_with_a_buffer(each_store: OpenStore) -> None:
    """The second run reads the memory out of the context, dumped by LlamaIndex in between."""

    async def twice() -> None:
        memory, _ = memory_over("buffer", each_store())
        who = agent(1)
        ctx = Context(who)
        assert str(await who.run(user_msg="a", memory=memory, ctx=ctx)) == "answer to 1"
        assert str(await who.run(user_msg="b", ctx=ctx)) == "answer to 2"
        for serializer in (JsonSerializer(), JsonPickleSerializer()):
            dumped = json.loads(json.dumps(ctx.to_dict(serializer=serializer)))
            assert "hello" not in str(dumped)
            restored = Context.from_dict(who, dumped, serializer=serializer)
            assert str(await who.run(user_msg="c", ctx=restored)).startswith("answer to ")

    run(twice())
    _, stored = memory_over("buffer", each_store())
    assert texts(stored())[::4] == ["a", "b", "c", "c"]
    assert texts(stored())[3::4] == ["answer to 1", "answer to 2", "answer to 3", "answer to 4"]


# What LlamaIndex says of its own Memory, which it cannot put into a context.
FORGETS = "ignore:Skipping serialization of known unserializable key. memory"


@pytest.mark.filterwarnings(FORGETS)
def test_memory_passed_on_every_run(each_store: OpenStore) -> None:
    async def turns() -> None:
        memory, _ = memory_over("memory", each_store())
        who = agent(0)
        ctx = Context(who)
        for n in range(3):
            answer = await who.run(user_msg=str(n), memory=memory, ctx=ctx)
            assert str(answer) == f"answer to {n + 1}"

    run(turns())
    _, stored = memory_over("memory", each_store())
    assert texts(stored())[::2] == ["0", "1", "2"]


@pytest.mark.filterwarnings(FORGETS)
def test_upstream_a_memory_passed_on_the_first_run_only_is_forgotten(
    each_store: OpenStore,
) -> None:
    """The second run falls back to a memory of its own, which begins empty and is not stored."""

    async def turns() -> None:
        memory, _ = memory_over("memory", each_store())
        who = agent(0)
        ctx = Context(who)
        assert str(await who.run(user_msg="a", memory=memory, ctx=ctx)) == "answer to 1"
        assert str(await who.run(user_msg="b", ctx=ctx)) == "answer to 1"

    run(turns())
    _, stored = memory_over("memory", each_store())
    assert texts(stored())[::2] == ["a"]


@pytest.mark.filterwarnings(FORGETS)
def test_upstream_a_dumped_context_holds_no_memory(each_store: OpenStore) -> None:
    """As JSON nothing of a Memory is left; as a pickle it comes back with its store."""

    async def turns() -> None:
        memory, _ = memory_over("memory", each_store())
        who = agent(0)
        ctx = Context(who)
        await who.run(user_msg="a", memory=memory, ctx=ctx)
        dumped = ctx.to_dict(serializer=JsonSerializer())
        restored = Context.from_dict(who, dumped, serializer=JsonSerializer())
        assert await restored.store.get("memory", default=None) is None
        dumped = ctx.to_dict(serializer=JsonPickleSerializer())
        restored = Context.from_dict(who, dumped, serializer=JsonPickleSerializer())
        kept = await restored.store.get("memory", default=None)
        assert texts(await kept.aget()) == ["a", "answer to 1"]
        assert str(await who.run(user_msg="b", ctx=restored)) == "answer to 2"

    run(turns())


def test_upstream_an_agent_takes_no_memory(each_store: OpenStore) -> None:
    """``FunctionAgent(memory=…)`` is ignored without a word: pass it to ``run``."""
    memory, stored = memory_over("memory", each_store())
    who: Any = FunctionAgent(
        memory=memory, llm=MockFunctionCallingLLM(response_generator=answers(0))
    )

    async def turn() -> None:
        await who.run(user_msg="a")

    run(turn())
    assert stored() == []


# -- the interface of AsyncDBChatStore -----------------------------------------------------------


def test_messages_by_status(memories: OnrecordMemoryStore) -> None:
    async def told() -> None:
        assert await memories.get_messages("ada") == []
        assert await memories.count_messages("ada", None) == 0
        assert await memories.delete_message("ada", 0) is None
        assert await memories.delete_oldest_messages("ada", 3) == []
        assert await memories.archive_oldest_messages("ada", 3) == []
        await memories.add_messages("ada", [])
        assert await memories.get_keys() == []
        await memories.add_messages("ada", [user(str(n)) for n in range(6)])
        await memories.add_message("ada", bot("6"))
        for n in (0, -1):
            assert await memories.archive_oldest_messages("ada", n) == []
            assert await memories.delete_oldest_messages("ada", n) == []
        assert texts(await memories.archive_oldest_messages("ada", 2)) == ["0", "1"]
        get = memories.get_messages
        assert texts(await get("ada")) == ["2", "3", "4", "5", "6"]
        assert texts(await get("ada", ARCHIVED)) == ["0", "1"]
        assert texts(await get("ada", "archived")) == ["0", "1"]  # type: ignore[arg-type]
        assert texts(await get("ada", None)) == [str(n) for n in range(7)]
        assert texts(await get("ada", limit=2)) == ["2", "3"]
        assert texts(await get("ada", limit=2, offset=1)) == ["3", "4"]
        assert texts(await get("ada", offset=3)) == ["5", "6"]
        assert texts(await get("ada", None, limit=3, offset=1)) == ["1", "2", "3"]
        assert await get("ada", limit=0) == []
        assert await get("ada", offset=99) == []
        counts = [await memories.count_messages("ada", s) for s in (ACTIVE, ARCHIVED, None)]
        assert counts == [5, 2, 7]
        assert await memories.delete_message("ada", 1) == user("3")
        for idx in (-1, 4, 99):
            assert await memories.delete_message("ada", idx) is None
        assert texts(await memories.delete_oldest_messages("ada", 2)) == ["2", "4"]
        assert texts(await memories.archive_oldest_messages("ada", 99)) == ["5", "6"]
        assert await get("ada") == []
        assert await memories.get_keys() == ["ada"]
        await memories.set_messages("ada", [user("a"), user("b")])
        assert texts(await get("ada", None)) == ["0", "1", "5", "6", "a", "b"]
        await memories.delete_messages("ada", ARCHIVED)
        assert texts(await get("ada", None)) == ["a", "b"]
        await memories.add_message("ada", user("old"), ARCHIVED)
        assert texts(await get("ada", ARCHIVED)) == ["old"]
        await memories.set_messages("ada", [user("c")])
        assert texts(await get("ada")) == ["c"]
        assert texts(await get("ada", ARCHIVED)) == ["old"]
        await memories.delete_messages("ada", ACTIVE)
        assert texts(await get("ada", None)) == ["old"]
        await memories.delete_messages("ada")
        assert await get("ada", None) == []
        assert await memories.get_keys() == []

    run(told())


def test_more_messages_than_a_statement_takes(memories: OnrecordMemoryStore) -> None:
    async def told() -> None:
        await memories.add_messages("ada", [user(str(n)) for n in range(7_000)])
        assert await memories.count_messages("ada") == 7_000
        await memories.archive_oldest_messages("ada", 6_000)
        await memories.set_messages("ada", [user("a")] * 5_000)
        assert await memories.count_messages("ada", None) == 11_000

    run(told())


changes: Any = st.one_of(
    st.tuples(st.just("add"), st.sampled_from([ACTIVE, ARCHIVED]), st.integers(0, 3)),
    st.tuples(st.just("set"), st.sampled_from([ACTIVE, ARCHIVED]), st.integers(0, 3)),
    st.tuples(st.just("delete"), st.none(), st.integers(-1, 4)),
    st.tuples(st.just("clear"), st.sampled_from([None, ACTIVE, ARCHIVED]), st.none()),
    st.tuples(st.just("archive"), st.none(), st.integers(0, 3)),
    st.tuples(st.just("drop"), st.none(), st.integers(0, 3)),
)


@given(st.lists(changes, max_size=10), st.booleans())
def test_it_does_what_two_lists_do(done: list[tuple[str, Any, Any]], looks: bool) -> None:
    """Also where the task has read the queue before: what it remembers is never in the way."""

    async def told(memories: OnrecordMemoryStore) -> None:
        model: dict[Any, list[str]] = {ACTIVE: [], ARCHIVED: []}
        for n, (what, status, how) in enumerate(done):
            new = [f"{n}.{m}" for m in range(how or 0)]
            active, archived = model[ACTIVE], model[ARCHIVED]
            match what:
                case "add":
                    await memories.add_messages("k", list(map(user, new)), status)
                    model[status] += new
                case "set":
                    await memories.set_messages("k", list(map(user, new)), status)
                    model[status] = new
                case "delete":
                    gone = await memories.delete_message("k", how)
                    assert (gone and gone.content) == (
                        active.pop(how) if 0 <= how < len(active) else None
                    )
                case "clear":
                    await memories.delete_messages("k", status)
                    for which in (status,) if status else (ACTIVE, ARCHIVED):
                        model[which] = []
                case "archive":
                    moved = texts(await memories.archive_oldest_messages("k", how))
                    assert moved == active[:how]
                    archived += active[:how]
                    del active[:how]
                case "drop":
                    assert texts(await memories.delete_oldest_messages("k", how)) == (active[:how])
                    del active[:how]
            if looks:
                assert texts(await memories.get_messages("k")) == model[ACTIVE]
            else:
                assert await memories.count_messages("k") == len(model[ACTIVE])
            # Who adds to an archive adds behind what is active: together they are in order.
            assert sorted(map(str, texts(await memories.get_messages("k", ARCHIVED)))) == sorted(
                model[ARCHIVED]
            )
            assert await memories.count_messages("k", None) == sum(map(len, model.values()))

    with Store("sqlite://") as store:
        run(told(OnrecordMemoryStore(store=store)))


def test_nobody_sees_a_part_of_a_queue_that_is_set(each_store: OpenStore) -> None:
    writer, reader = (OnrecordMemoryStore(store=each_store()) for _ in range(2))
    run(writer.add_messages("ada", [user("old")] * 5))
    run(writer.archive_oldest_messages("ada", 5))
    run(writer.set_messages("ada", [user("0")] * 20))
    ended, seen = threading.Event(), list[tuple[list[str | None], list[str | None]]]()

    async def read() -> None:
        while not ended.is_set():
            active = texts(await reader.get_messages("ada"))
            seen.append((active, texts(await reader.get_messages("ada", ARCHIVED))))

    thread = threading.Thread(target=lambda: run(read()))
    thread.start()
    try:
        until_met(lambda n: run(writer.set_messages("ada", [user(str(n))] * 20)), seen)
    finally:
        ended.set()
        thread.join(PATIENCE)
    assert {(len(active), len(set(active))) for active, _ in seen} == {(20, 1)}
    assert all(archived == ["old"] * 5 for _, archived in seen)


def test_what_was_never_read_is_not_archived(each_store: OpenStore) -> None:
    """The session is cleared between Memory's look at its queue and its order to archive."""
    mine, other = (OnrecordMemoryStore(store=each_store()) for _ in range(2))

    async def told() -> None:
        await mine.add_messages("ada", [user("a"), bot("b"), user("c")])
        await mine.get_messages("ada")
        # In a context of its own: it is another worker.
        await asyncio.to_thread(waited(other.delete_messages), "ada")
        await asyncio.to_thread(waited(other.add_messages), "ada", [user("x"), bot("y"), user("z")])
        assert await mine.archive_oldest_messages("ada", 2) == []
        assert texts(await mine.get_messages("ada")) == ["x", "y", "z"]

    run(told())


def test_what_is_archived_while_a_queue_is_set_stays(each_store: OpenStore) -> None:
    """Another worker archives in that very moment: each message is in one place or replaced."""
    mine, other = (OnrecordMemoryStore(store=each_store()) for _ in range(2))
    archived: list[str | None] = []

    async def archive() -> None:
        while "last" not in archived:
            archived.extend(texts(await other.archive_oldest_messages("ada", 2)))

    run(mine.add_message("ada", user("first")))
    thread = threading.Thread(target=lambda: run(archive()))
    thread.start()
    sets = [[f"{n}.{m}" for m in range(3)] for n in range(30)]
    try:
        for said in sets:
            run(mine.set_messages("ada", list(map(user, said))))
    finally:
        run(mine.add_message("ada", user("last")))
        thread.join(PATIENCE)
    assert texts(run(mine.get_messages("ada", ARCHIVED))) == archived
    assert len(set(archived)) == len(archived)
    assert run(mine.get_messages("ada")) == []
    assert set(sets[-1]) <= set(archived), "what nobody replaced is archived"


def test_setting_one_status_leaves_the_other_where_it_is(memories: OnrecordMemoryStore) -> None:
    async def told() -> None:
        session = memories.session("ada")
        await memories.add_messages("ada", list(map(user, "abcd")))
        await memories.archive_oldest_messages("ada", 2)
        await memories.add_message("ada", user("e"), ARCHIVED)
        kept = session.messages(archived=True)
        await memories.set_messages("ada", list(map(user, "xy")))
        assert session.messages(archived=True) == kept, "ids, times and places"
        assert texts(await memories.get_messages("ada", None)) == list("abexy")
        kept = session.messages(archived=False)
        await memories.set_messages("ada", list(map(user, "pq")), ARCHIVED)
        assert session.messages(archived=False) == kept
        assert texts(await memories.get_messages("ada", ARCHIVED)) == list("pq")

    run(told())


class Disturbed(Base):  # type: ignore[misc]
    """Somebody else does something just before this writes."""

    _meanwhile: list[Callable[[], object]] = PrivateAttr(default_factory=list)

    def session(self, key: str) -> Any:
        found, meanwhile = super().session(key), self._meanwhile

        class Watched:
            def __getattr__(self, name: str) -> Any:
                if name in ("archive", "delete") and meanwhile:
                    meanwhile.pop()()
                return getattr(found, name)

        return Watched()


@pytest.mark.parametrize("what", ["archive", "delete", "delete one"])
@pytest.mark.parametrize("looks", [True, False])
def test_a_queue_that_is_set_before_the_last_step(
    each_store: OpenStore, what: str, looks: bool
) -> None:
    """Others stand in the places that were read: they were not meant, or are the oldest now."""
    mine, other = Disturbed(store=each_store()), OnrecordMemoryStore(store=each_store())

    def set_them() -> None:
        thread = threading.Thread(
            target=waited(other.set_messages), args=("ada", list(map(user, "xyz")))
        )
        thread.start()
        thread.join(PATIENCE)

    async def told() -> None:
        await other.add_messages("ada", list(map(user, "abcdef")))
        await other.archive_oldest_messages("ada", 1)
        await other.add_message("ada", user("g"), ARCHIVED)
        if looks:
            assert texts(await mine.get_messages("ada")) == list("bcdef")
        mine._meanwhile.append(set_them)
        match what:
            case "archive":
                done = await mine.archive_oldest_messages("ada", 2)
                assert texts(done) == ([] if looks else ["x", "y"])
                left = ["x", "y", "z"] if looks else ["z"]
            case "delete":
                assert texts(await mine.delete_oldest_messages("ada", 2)) == ["x", "y"]
                left = ["z"]
            case _:
                assert await mine.delete_message("ada", 1) == user("y")
                left = ["x", "z"]
        assert mine._meanwhile == []
        assert texts(await mine.get_messages("ada")) == left
        assert texts(await mine.get_messages("ada", ARCHIVED)) == [
            "a",
            "g",
            *(["x", "y"] if what == "archive" and not looks else []),
        ]

    run(told())


# -- Memory's own flow ---------------------------------------------------------------------------


class Lists(AsyncDBChatStore):
    """What LlamaIndex's own store does, in two lists: the oldest are the oldest there are."""

    lists: dict[str, list[ChatMessage]] = Field(
        default_factory=lambda: dict[str, list[ChatMessage]](active=[], archived=[])
    )

    async def get_messages(
        self, key: str, status: Any = ACTIVE, limit: Any = None, offset: Any = None
    ) -> list[ChatMessage]:
        found = self.lists["active"] if status is ACTIVE else self.lists["archived"]
        found = found if status else [*found, *self.lists["active"]]
        return [message.model_copy(deep=True) for message in found]

    async def count_messages(self, key: str, status: Any = ACTIVE) -> int:
        return len(await self.get_messages(key, status))

    async def add_message(self, key: str, message: ChatMessage, status: Any = ACTIVE) -> None:
        self.lists[status.value].append(message.model_copy(deep=True))

    async def add_messages(
        self, key: str, messages: list[ChatMessage], status: Any = ACTIVE
    ) -> None:
        for message in messages:
            await self.add_message(key, message, status)

    async def set_messages(
        self, key: str, messages: list[ChatMessage], status: Any = ACTIVE
    ) -> None:
        self.lists[status.value] = []
        await self.add_messages(key, messages, status)

    async def delete_message(self, key: str, idx: int) -> ChatMessage | None:
        return self.lists["active"].pop(idx)

    async def delete_messages(self, key: str, status: Any = None) -> None:
        for which in [status] if status else list(MessageStatus):
            self.lists[which.value] = []

    async def delete_oldest_messages(self, key: str, n: int) -> list[ChatMessage]:
        gone, self.lists["active"] = self.lists["active"][:n], self.lists["active"][n:]
        return gone

    async def archive_oldest_messages(self, key: str, n: int) -> list[ChatMessage]:
        gone = await self.delete_oldest_messages(key, n)
        self.lists["archived"] += gone
        return gone

    async def get_keys(self) -> list[str]:
        return ["ada"]

    @classmethod
    def class_name(cls) -> str:
        return "Lists"


class Keeps(BaseMemoryBlock[str]):
    """A memory block that remembers what it was given, and says how much that is."""

    name: str = "keeps"
    kept: list[str] = Field(default_factory=list)

    async def _aget(self, messages: Any = None, **named: Any) -> str:
        return f"{len(self.kept)} are kept"

    async def _aput(self, messages: list[ChatMessage]) -> None:
        self.kept += [str(message.content) for message in messages]


def queue(
    chat_store: AsyncDBChatStore, limit: int = 20, flush: int = 4, session: str = "ada", **more: Any
) -> Memory:
    return Memory.from_defaults(
        session_id=session,
        chat_store=chat_store,
        token_limit=limit,
        token_flush_size=flush,
        tokenizer_fn=str.split,
        **more,
    )


@given(
    st.lists(
        st.lists(
            st.tuples(
                st.sampled_from(["user", "user", "assistant", "assistant", "tool", "system"]),
                st.integers(1, 9),
            ),
            min_size=1,
            max_size=6,
        ),
        max_size=6,
    ),
    st.integers(1, 30),
    st.integers(1, 12),
)
def test_memory_over_it_is_memory_over_lists(
    puts: list[list[tuple[str, int]]], limit: int, flush: int
) -> None:
    """Whatever the roles, the limits and how often one put flushes: alone nobody is surprised."""

    async def told(store: Store) -> None:
        ours, model = OnrecordMemoryStore(store=store), Lists()
        mine, its = Keeps(), Keeps()
        memory = queue(ours, limit, flush, memory_blocks=[mine])
        other = queue(model, limit, flush, memory_blocks=[its])
        for n, put in enumerate(puts):
            said = [
                ChatMessage(role=role, content=" ".join([f"{n}.{m}"] * words))
                for m, (role, words) in enumerate(put)
            ]
            for one in (memory, other):
                if len(said) == 1:
                    await one.aput(said[0].model_copy(deep=True))
                else:
                    await one.aput_messages([m.model_copy(deep=True) for m in said])
            for status in (ACTIVE, ARCHIVED, None):
                assert await memory.aget_all(status) == await other.aget_all(status)
            assert texts(await memory.aget()) == texts(await other.aget())
        assert mine.kept == its.kept

    with Store("sqlite://") as store:
        run(told(store))


def test_one_put_flushes_more_than_once(memories: OnrecordMemoryStore) -> None:
    calls: list[int] = []

    class Counted(Base):  # type: ignore[misc]
        async def archive_oldest_messages(self, key: str, n: int) -> list[ChatMessage]:
            calls.append(n)
            found: list[ChatMessage] = await super().archive_oldest_messages(key, n)
            return found

    store = Counted(store=memories.session("ada").store)
    block = Keeps()
    memory = queue(store, memory_blocks=[block])
    said = [m for n in range(10) for m in (user(f"question {n}"), bot(f"answer {n}"))]
    run(memory.aput_messages(said))
    assert len(calls) > 2
    archived, active = run(memory.aget_all(ARCHIVED)), run(memory.aget_all(ACTIVE))
    assert texts([*archived, *active]) == texts(said)
    assert active[0].role is MessageRole.USER
    assert block.kept == texts(archived)


def test_what_memory_changes_does_not_reach_the_store(memories: OnrecordMemoryStore) -> None:
    for method in InsertMethod:
        run(memories.set_messages("ada", [ChatMessage(role="system", content="s"), user("a")]))
        memory = queue(memories, memory_blocks=[Keeps()], insert_method=method)
        for _ in range(3):
            shown = run(memory.aget())
            assert sum(len(message.blocks) for message in shown) == 3
        assert [m.blocks for m in run(memory.aget_all())] == [
            [TextBlock(text="s")],
            [TextBlock(text="a")],
        ]


class Told(Base):  # type: ignore[misc]
    """Notes what its worker has archived, which has to be of what it read before."""

    _read: list[str | None] = PrivateAttr(default_factory=list)
    _archived: list[str | None] = PrivateAttr(default_factory=list)

    async def get_messages(self, *given: Any, **named: Any) -> list[ChatMessage]:
        found: list[ChatMessage] = await super().get_messages(*given, **named)
        self._read = texts(found)
        return found

    async def archive_oldest_messages(self, key: str, n: int) -> list[ChatMessage]:
        await asyncio.sleep(random.random() / 100)
        found: list[ChatMessage] = await super().archive_oldest_messages(key, n)
        assert set(texts(found)) <= set(self._read), "archived though nobody has seen it"
        self._archived += texts(found)
        return found


WHAT = ("question", "answer")
TURNS = 8
FLUSHES = (4, 18)
"""How many of 20 tokens go at once. Where it is 18, a second "oldest n" is all there is."""


async def converse(name: str, store: Told, session: str, flush: int) -> int:
    """What a worker does. How few messages its queue ever held."""
    memory, counts = queue(store, flush=flush, session=session), list[int]()
    for n in range(TURNS):
        await memory.aput(user(f"{name} question {n}"))
        await memory.aput_messages([bot(f"{name} answer {n}")])
        counts.append(await store.count_messages(session))
    return min(counts)


def check_two(
    reader: OnrecordMemoryStore, session: str, least: Sequence[int], told: Sequence[list[Any]]
) -> None:
    """Two workers: never an emptied queue, nothing archived twice, and nothing lost."""
    active = texts(run(reader.get_messages(session)))
    archived = texts(run(reader.get_messages(session, ARCHIVED)))
    said = [f"{name} {what} {n}" for name in "ab" for n in range(TURNS) for what in WHAT]
    assert sorted(map(str, active + archived)) == sorted(said)
    assert sorted(map(str, archived)) == sorted(map(str, told[0] + told[1]))
    assert min(least) > 0
    assert active


@pytest.mark.parametrize("attempt", range(10))
def test_two_memories_on_one_session(each_store: OpenStore, attempt: int) -> None:
    stores = [Told(store=each_store()) for _ in range(2)]
    run(stores[0].session("ada").acount())
    flush = FLUSHES[attempt // 2 % 2]
    least: list[int] = []

    async def work(name: str, store: Told) -> None:
        least.append(await converse(name, store, "ada", flush))

    if attempt % 2:

        async def both() -> None:
            await asyncio.gather(*(work(name, s) for name, s in zip("ab", stores, strict=True)))

        run(both())
    else:
        threads = [
            threading.Thread(target=waited(work), args=(name, store))
            for name, store in zip("ab", stores, strict=True)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
    assert len(least) == 2
    check_two(stores[0], "ada", least, [store._archived for store in stores])


def test_two_processes(each_store: OpenStore) -> None:
    """Ten sessions, two workers on each; a hundred, with a hundred of OnrecordMemory's:

    ONRECORD_SEEDS=10 python -m pytest -k two_processes tests/test_llama_index_*.py
    """

    def work(who: int, meet: Callable[[], object]) -> list[tuple[int, list[str | None]]]:
        random.seed(who)
        done: list[tuple[int, list[str | None]]] = []
        with each_store() as opened:
            for n in range(TRIES):
                store = Told(store=opened)
                meet()
                least = run(converse("ab"[who], store, f"try {n}", FLUSHES[n % 2]))
                done.append((least, store._archived))
        return done

    reader = OnrecordMemoryStore(store=each_store())
    run(reader.count_messages("makes the tables"))
    told = together(work, patience=PATIENCE * (1 + TRIES / 10))
    assert [len(done) for done in told] == [TRIES, TRIES]
    for n in range(TRIES):
        check_two(reader, f"try {n}", *zip(*(done[n] for done in told), strict=True))


def test_upstream_two_memories_tell_their_blocks_twice(each_store: OpenStore) -> None:
    """Memory gives its blocks what it meant to archive, and not what the store says it did."""
    blocks = [Keeps(), Keeps()]
    read = threading.Barrier(2)

    class Slow(Base):  # type: ignore[misc]
        async def archive_oldest_messages(self, key: str, n: int) -> list[ChatMessage]:
            await asyncio.to_thread(read.wait, PATIENCE)
            found: list[ChatMessage] = await super().archive_oldest_messages(key, n)
            return found

    run(OnrecordMemoryStore(store=each_store()).add_messages("ada", [user("a"), bot("b")] * 3))
    memories = [queue(Slow(store=each_store()), 6, 4, memory_blocks=[block]) for block in blocks]

    def work(memory: Memory) -> None:
        run(memory._manage_queue())

    threads = [threading.Thread(target=work, args=(memory,)) for memory in memories]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert blocks[0].kept == blocks[1].kept == ["a", "b", "a", "b"]
    assert run(memories[0].sql_store.count_messages("ada", ARCHIVED)) == 4


@drops_loops
def test_memory_by_its_sync_methods(each_store: OpenStore) -> None:
    memories = OnrecordMemoryStore(store=each_store())
    memory = queue(memories)

    def turn(n: int) -> None:
        memory.put(user(f"question {n}"))
        memory.put_messages([bot(f"answer {n}")])
        assert texts(memory.get())[-1] == f"answer {n}"

    async def inside(n: int) -> None:
        turn(n)

    for n in range(4):
        turn(n)
        run(inside(n))
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:  # there is a loop that does not run, as in a program that has not begun to
        turn(9)
        turn(10)
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        asyncio.set_event_loop(None)
        loop.close()
    threads = [threading.Thread(target=turn, args=(20,))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(memory.get_all()) == 22
    assert len(memory.get_all(ACTIVE)) < 22
    memory.set([user("x")])
    assert texts(memory.get_all(ACTIVE)) == ["x"]
    memory.reset()
    assert memory.get_all() == []
    begun = queue(memories, chat_history=[user("hello")])
    assert texts(begun.get()) == ["hello"]
    assert begun.sql_store is memories


def test_upstream_a_system_message_is_archived_like_any_other(
    memories: OnrecordMemoryStore,
) -> None:
    memory = queue(memories)
    run(memory.aput(ChatMessage(role="system", content="be kind")))
    for n in range(8):
        run(memory.aput_messages([user(f"question {n}"), bot(f"answer {n}")]))
    assert "be kind" not in texts(run(memory.aget()))
    assert texts(run(memory.aget_all(ARCHIVED)))[0] == "be kind"


def test_upstream_a_block_that_fails_has_lost_what_was_archived(
    memories: OnrecordMemoryStore,
) -> None:
    """Memory archives first and tells its blocks then, once. In the store nothing is lost."""

    class Fails(Keeps):
        async def _aput(self, messages: list[ChatMessage]) -> None:
            raise RuntimeError("no model")

    memory = queue(memories, memory_blocks=[Fails()])
    run(memory.aput_messages([user("a b c d"), bot("e f g h")]))
    with pytest.raises(RuntimeError, match="no model"):
        run(memory.aput_messages([user("i j k l"), bot("m n o p")]))
    assert texts(run(memory.aget_all(ARCHIVED))) == ["a b c d", "e f g h"]
    assert len(run(memory.aget_all())) == 4


def test_upstream_the_state_of_a_team_is_written_into_what_the_user_said(
    each_store: OpenStore,
) -> None:
    async def turn() -> None:
        memory, _ = memory_over("memory", each_store())
        team = AgentWorkflow(agents=[agent(0)], initial_state={"mood": "good"})
        await team.run(user_msg="hello", memory=memory)

    run(turn())
    _, stored = memory_over("memory", each_store())
    # LlamaIndex changes the message it was handed by the memory; the store has its own.
    assert texts(stored())[0] == "hello"


def test_upstream_a_turn_that_dies_leaves_its_question(each_store: OpenStore) -> None:
    """The user's message is stored at once, all that answers it at the end of the turn."""

    def answer(messages: Sequence[ChatMessage], **named: Any) -> ChatMessage:
        if messages[-1].role is MessageRole.TOOL:
            raise RuntimeError("died")
        return answers(1)(messages)

    async def turn() -> None:
        memory, _ = memory_over("memory", each_store())
        who = agent(1)
        who.llm = MockFunctionCallingLLM(response_generator=answer)
        with pytest.raises(Exception, match="died"):
            await who.run(user_msg="a", memory=memory)

    run(turn())
    _, stored = memory_over("memory", each_store())
    assert texts(stored()) == ["a"]
