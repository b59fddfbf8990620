"""What LlamaIndex's users pay: stores, memories and a turn of an agent, beside LlamaIndex's own.

    .venv/bin/python bench/llama_index.py           about ten minutes
    .venv/bin/python bench/llama_index.py --quick   two or three, rougher

Starts a PostgreSQL and a Redis of its own. Every number is a median of repetitions that take
turns. The garbage collector stays on. Where models are shown something, all who are compared
have the same limit and show the same messages: that is asserted.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import inspect
import platform
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

if __name__ == "__main__":
    # Not the folder of this file, which has the name of a package that it needs.
    sys.path[0] = str(Path(__file__).parents[1])

from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.llms.types import ChatMessage, ToolCallBlock
from llama_index.core.llms.mock import MockFunctionCallingLLM
from llama_index.core.memory import BaseMemory, ChatMemoryBuffer, Memory
from llama_index.core.storage.chat_store.sql import SQLAlchemyChatStore
from llama_index.core.utils import get_tokenizer
from llama_index.storage.chat_store.postgres import (  # type: ignore[import-untyped]
    PostgresChatStore,
)
from llama_index.storage.chat_store.redis import RedisChatStore  # type: ignore[import-untyped]
from pydantic import PrivateAttr
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from bench.data import TEXT
from llama_index_onrecord import OnrecordChatStore, OnrecordMemory, OnrecordMemoryStore
from llama_index_onrecord.messages import from_llama_index, to_llama_index
from onrecord import Message, Store
from onrecord.codec import decode, encode
from tests.servers.binaries import Missing
from tests.servers.postgres import OwnPostgres, find_postgres_binaries
from tests.servers.redis import OwnRedis, find_redis_binaries

FEW, MANY = 100, 5_000
ACTIVE = 1_000
LIMIT = 200_000
"""Tokens. Memory keeps 0.7 of it for messages, and all that are put here are fewer."""
ROUNDS = 15
PEER = "Memory over SQLAlchemyChatStore"
LEAST = "decoding and constructing alone"

Work = Callable[[], Any]


def said(n: int, text: str = TEXT) -> list[ChatMessage]:
    """A conversation of questions and answers, each text its own."""
    return [
        ChatMessage(role="assistant", content=f"{i}: {text}")
        if i % 2
        else ChatMessage(role="user", content=f"{text} {i}")
        for i in range(n)
    ]


async def medians(rounds: int, works: dict[str, Work], settled: bool = True) -> dict[str, float]:
    """The median time of each, taking turns; what is to be awaited is awaited."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            if settled:
                gc.collect()  # what the others left is not this one's to clear away
            start = time.perf_counter()
            kept = work()
            if inspect.isawaitable(kept):
                kept = await kept
            times[name].append(time.perf_counter() - start)
            del kept
    return {name: statistics.median(found) for name, found in times.items()}


def shown(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:,.1f} s"
    return f"{seconds * 1e3:,.1f} ms" if seconds >= 0.01 else f"{seconds * 1e6:,.0f} µs"


def table(found: dict[str, float], beside: str) -> None:
    """Each with how many times as long as the one beside it takes."""
    for name, seconds in found.items():
        ratio = "" if name == beside else f"   {seconds / found[beside]:.3f} of {beside}"
        print(f"  {name:<42}{shown(seconds):>12}{ratio}")


# -- who is compared -----------------------------------------------------------------------------


class Place(NamedTuple):
    """Where messages are kept, and all who keep them there."""

    name: str
    engine: AsyncEngine
    """LlamaIndex's own."""
    stores: dict[str, Store]
    postgres: str | None = None
    redis: str | None = None

    def sql(self) -> SQLAlchemyChatStore:
        return SQLAlchemyChatStore("llama_index_memory", async_engine=self.engine)

    def chat_stores(self) -> dict[str, Any]:
        """Those for ChatMemoryBuffer and chat engines."""
        found: dict[str, Any] = {
            f"OnrecordChatStore{how}": OnrecordChatStore(store)
            for how, store in self.stores.items()
        }
        if self.postgres is not None:
            asynchronous = self.postgres.replace("postgresql:", "postgresql+asyncpg:")
            found["PostgresChatStore"] = PostgresChatStore.from_params(
                connection_string=self.postgres.replace("postgresql:", "postgresql+psycopg:"),
                async_connection_string=asynchronous,
            )
        if self.redis is not None:
            found["RedisChatStore (not durable)"] = RedisChatStore(self.redis)
        return found

    def memory_stores(self) -> dict[str, Any]:
        """Those for Memory."""
        ours = {
            f"OnrecordMemoryStore{how}": OnrecordMemoryStore(store)
            for how, store in self.stores.items()
        }
        return {**ours, "SQLAlchemyChatStore": self.sql()}

    def memories(self, key: str) -> dict[str, BaseMemory]:
        """Memories of one conversation, each of its own copy of it."""
        found: dict[str, BaseMemory] = {
            f"OnrecordMemory{how}": OnrecordMemory(
                store, session_id=f"{key}{how}", token_limit=LIMIT
            )
            for how, store in self.stores.items()
        }
        for name, kept in self.memory_stores().items():
            found[f"Memory over {name}"] = Memory.from_defaults(
                f"{key}-{name}", token_limit=LIMIT, chat_store=kept
            )
        return found


@contextlib.asynccontextmanager
async def sqlite_file(folder: Path) -> AsyncIterator[Place]:
    engine = create_async_engine(f"sqlite+aiosqlite:///{folder}/peer.db")
    with Store(f"sqlite:///{folder}/ours.db") as store:
        yield Place("a SQLite file", engine, {"": store})
    await engine.dispose()


@contextlib.asynccontextmanager
async def postgres(url: str, redis: str | None = None) -> AsyncIterator[Place]:
    engine = create_async_engine(url.replace("postgresql:", "postgresql+asyncpg:"))
    with contextlib.ExitStack() as stack:
        stores = {"": stack.enter_context(Store(url))}
        if redis is not None:
            stores[" with Redis"] = stack.enter_context(Store(url, cache=redis))
        yield Place("PostgreSQL", engine, stores, url, redis)
    await engine.dispose()


@contextlib.asynccontextmanager
async def postgres_and_redis() -> AsyncIterator[Place]:
    with own_servers() as (url, redis):
        async with postgres(url, redis) as place:
            yield place


@contextlib.contextmanager
def own_servers() -> Iterator[tuple[str, str]]:
    """Addresses of a PostgreSQL and a Redis that nobody else uses."""
    sql, redis = find_postgres_binaries(), find_redis_binaries()
    if isinstance(sql, Missing):
        raise SystemExit(f"There is no PostgreSQL: {sql.reason}.")
    if isinstance(redis, Missing):
        raise SystemExit(f"There is no Redis: {redis.reason}.")
    with (
        contextlib.closing(OwnPostgres(sql)) as database,
        contextlib.closing(OwnRedis(redis)) as cache,
    ):
        print(f"PostgreSQL {database.version}, fsync off for all; Redis {cache.version}, ", end="")
        print("nothing of it on disk")
        yield database.create_database("bench"), cache.url


# -- stores --------------------------------------------------------------------------------------


async def filled(kept: Any, key: str, messages: list[ChatMessage]) -> None:
    """Keep these messages under a key."""
    if isinstance(kept, OnrecordMemoryStore | SQLAlchemyChatStore):
        for start in range(0, len(messages), 1_000):
            await kept.add_messages(key, messages[start : start + 1_000])
    else:
        kept.set_messages(key, messages)


async def appends(place: Place, rounds: int) -> None:
    """One message, to a short session and to a long one."""
    print(f"One message appended, at {FEW} messages and at {MANY:,}: {place.name}")
    message = ChatMessage(role="user", content=TEXT)
    for kind in (place.chat_stores(), place.memory_stores()):
        works: dict[str, Work] = {}
        for name, kept in kind.items():
            for n in (FEW, MANY):
                key = f"{n}-{name}"  # of its own: ours share a database
                await filled(kept, key, said(n))
                works[f"{name}/{n}"] = partial(kept.add_message, key, message)
        await medians(5, works, settled=False)
        found = await medians(rounds * 20, works, settled=False)
        for name in kind:
            few, many = found[f"{name}/{FEW}"], found[f"{name}/{MANY}"]
            print(f"  {name:<42}{shown(few):>12}{shown(many):>12}   {many / few:.2f} times")


async def readers(place: Place, messages: list[ChatMessage]) -> dict[str, Work]:
    """How each reads all of them, and the least that could do it."""
    works: dict[str, Work] = {}
    for name, kept in {**place.memory_stores(), **place.chat_stores()}.items():
        await filled(kept, f"read-{name}", messages)
        works[name] = partial(kept.get_messages, f"read-{name}")
    frames = [encode(from_llama_index(message))[0] for message in messages]
    works[LEAST] = lambda: [to_llama_index(decode(frame)) for frame in frames]
    for name, work in works.items():
        found = work()
        found = await found if inspect.isawaitable(found) else found
        assert found == messages, name
    return works


async def reads(place: Place, rounds: int) -> None:
    """All messages of a session, as LlamaIndex's."""
    print(f"All of {MANY:,} messages read: {place.name}")
    table(await medians(rounds, await readers(place, said(MANY))), LEAST)


# -- memories ------------------------------------------------------------------------------------


async def puts_and_gets(place: Place, rounds: int) -> None:
    """One message put, and all that a model is to see."""
    memories = place.memories("memory")
    message = ChatMessage(role="user", content=TEXT)
    for memory in memories.values():
        await memory.aput_messages(said(ACTIVE))
        await memory.aput(message)  # so that all are warm
    same_for_all({name: await memory.aget() for name, memory in memories.items()})
    for method, what, given in (("aput", "aput", (message,)), ("aget", "aget again", ())):
        print(f"{what} at {ACTIVE:,} messages, all of them shown: {place.name}")
        works: dict[str, Work] = {
            name: partial(getattr(memory, method), *given) for name, memory in memories.items()
        }
        table(await medians(rounds, works), PEER)
    both = {name: put_and_got(memory, message) for name, memory in memories.items()}
    print(f"aput, then aget, at {ACTIVE:,} messages, all of them shown: {place.name}")
    table(await medians(rounds, both), PEER)
    same_for_all({name: await memory.aget() for name, memory in memories.items()})


def put_and_got(memory: BaseMemory, message: ChatMessage) -> Work:
    async def work() -> None:
        await memory.aput(message)
        await memory.aget()

    return work


def same_for_all(lists: dict[str, list[ChatMessage]]) -> None:
    first = next(iter(lists.values()))
    for name, messages in lists.items():
        assert messages == first, f"{name} shows {len(messages)} messages, others {len(first)}"


LISTED, NOTHING = "a list of the same messages", "an empty list"


class Listed(BaseMemory):
    """A list: what a turn costs without a memory, with and without messages."""

    _messages: list[ChatMessage] = PrivateAttr(default_factory=list)

    @classmethod
    def from_defaults(cls, **settings: Any) -> Listed:
        return cls()

    def get(self, input: Any = None, **settings: Any) -> list[ChatMessage]:
        return list(self._messages)

    def get_all(self) -> list[ChatMessage]:
        return list(self._messages)

    def put(self, message: ChatMessage) -> None:
        self._messages.append(message)

    def set(self, messages: Sequence[ChatMessage]) -> None:
        self._messages = list(messages)

    def reset(self) -> None:
        self._messages.clear()

    async def aget(self, input: Any = None, **settings: Any) -> list[ChatMessage]:
        return list(self._messages)

    async def aput(self, message: ChatMessage) -> None:
        self._messages.append(message)

    async def aput_messages(self, messages: Sequence[ChatMessage]) -> None:
        self._messages.extend(messages)


class Model:
    """Calls a tool twice and answers; remembers what it was shown."""

    def __init__(self) -> None:
        self.shown: list[list[ChatMessage]] = []
        self.agent = FunctionAgent(
            tools=[look_up],
            llm=MockFunctionCallingLLM(response_generator=self.answer, is_chat_model=True),
        )

    def answer(self, messages: Sequence[ChatMessage], **settings: Any) -> ChatMessage:
        self.shown.append(list(messages))
        if messages[-1].role == "tool" and messages[-3].role == "tool":
            return ChatMessage(role="assistant", content="It has been found.")
        call = ToolCallBlock(
            tool_call_id=f"call-{len(messages)}", tool_name="look_up", tool_kwargs={"order": "17"}
        )
        return ChatMessage(role="assistant", blocks=[call])

    async def turn(self, memory: BaseMemory) -> list[list[ChatMessage]]:
        """What the model was shown, call by call."""
        self.shown = []
        await self.agent.run(user_msg=TEXT, memory=memory)
        return self.shown


def look_up(order: str) -> str:
    """Where an order is."""
    return f"Order {order} is on its way."


async def turn_times(place: Place, rounds: int, text: str) -> dict[str, list[float]]:
    """What a turn takes with each, of an agent that calls a tool twice; all show it the same."""
    model, memories = Model(), place.memories(f"turn-{len(text)}")
    memories[LISTED] = Listed()
    for memory in memories.values():
        await memory.aput_messages(said(ACTIVE, text))
    times: dict[str, list[float]] = {name: [] for name in (*memories, NOTHING)}
    for i in range(rounds + 1):
        shown_by: dict[str, list[list[ChatMessage]]] = {}
        for name, memory in {**memories, NOTHING: Listed()}.items():
            gc.collect()
            start = time.perf_counter()
            shown_by[name] = await model.turn(memory)
            times[name].append(time.perf_counter() - start)
        del shown_by[NOTHING]
        for step in range(3):
            same_for_all({name: lists[step] for name, lists in shown_by.items()})
            assert len(shown_by[PEER][step]) == ACTIVE + 6 * i + 1 + 2 * step
    return {name: each[1:] for name, each in times.items()}


async def turns(place: Place, rounds: int, text: str) -> None:
    """A turn of an agent that calls a tool twice."""
    print(f"A turn of FunctionAgent with two tool rounds, at {ACTIVE:,} messages ", end="")
    print(f"of {len(text)} bytes, all of them shown: {place.name}")
    times = await turn_times(place, rounds, text)
    found = {name: statistics.median(each) for name, each in times.items()}
    table(found, PEER)
    for how in place.stores:
        own, least = found[f"OnrecordMemory{how}"], found[LISTED]
        print(f"  OnrecordMemory{how}: {found[PEER] / own:.1f} times as fast; ", end="")
        print(f"beyond the agent's own {(found[PEER] - least) / (own - least):.1f} times")


# -- however long --------------------------------------------------------------------------------


async def however_long(place: Place, rounds: int) -> None:
    """A window of 3,000 tokens out of a short session, and out of a long one."""
    short, long = 200, 20_000
    conversation, message = said(long), ChatMessage(role="user", content=TEXT)
    for how, store in place.stores.items():
        memories = {
            n: OnrecordMemory(store, session_id=f"{n}-long{how}", token_limit=3_000)
            for n in (short, long)
        }
        for n, memory in memories.items():
            for start in range(long - n, long, 5_000):
                await memory.aput_messages(conversation[start : start + 5_000])
        same_for_all({str(n): await memory.aget() for n, memory in memories.items()})
        print(f"OnrecordMemory{how} at {short} messages and at {long:,}: {place.name}, ", end="")
        print(f"{len(await memories[long].aget())} messages shown")
        works: dict[str, Work] = {}
        for n, memory in memories.items():
            works[f"aget/{n}"] = memory.aget
            works[f"aput/{n}"] = partial(memory.aput, message)
        await medians(3, works, settled=False)
        found = await medians(rounds * 10, works, settled=False)
        for what in ("aput", "aget"):
            few, many = found[f"{what}/{short}"], found[f"{what}/{long}"]
            print(f"  {what:<42}{shown(few):>12}{shown(many):>12}   {many / few:.2f} times")


def buffer(place: Place) -> None:
    """What ChatMemoryBuffer takes to find what fits, and a window that is counted alike."""
    n, limit, key = 2_000, 3_000, "buffer"
    kept, store, tokens = OnrecordChatStore(place.stores[""]), place.stores[""], get_tokenizer()
    kept.set_messages(key, said(n))

    def counted(message: Message) -> int:
        return len(tokens(f" {message.text}"))

    own: dict[str, Any] = {"store": store, "session_id": key, "token_limit": limit}
    memories: dict[str, BaseMemory] = {
        "OnrecordMemory, by LlamaIndex's tokens": OnrecordMemory(**own, token_counter=counted),
        "OnrecordMemory, by the store's": OnrecordMemory(**own),
        "ChatMemoryBuffer": ChatMemoryBuffer.from_defaults(
            chat_store=kept, chat_store_key=key, token_limit=limit
        ),
    }
    times: dict[str, float] = {}
    got: dict[str, list[ChatMessage]] = {}
    for name, memory in memories.items():
        gc.collect()
        start = time.perf_counter()
        got[name] = memory.get()
        times[name] = time.perf_counter() - start
    print(f"get at {n:,} messages, of which {len(got['ChatMemoryBuffer'])} fit in ", end="")
    print(f"{limit:,} tokens, once: {place.name}")
    table(times, "ChatMemoryBuffer")
    del got["OnrecordMemory, by the store's"]  # which counts higher
    same_for_all(got)


async def measured(place: Place, rounds: int) -> None:
    await appends(place, rounds)
    await reads(place, rounds)
    await puts_and_gets(place, rounds)
    await turns(place, rounds, TEXT)
    await turns(place, rounds, " ".join([TEXT] * 4))
    await however_long(place, rounds)


async def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--quick", action="store_true", help="fewer repetitions")
    rounds = 5 if options.parse_args().quick else ROUNDS
    print(f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, ", end="")
    print(f"llama-index-core {version('llama-index-core')}. SQLite: synchronous FULL for both.")
    print(f"Texts of {len(TEXT)} bytes, unless it says otherwise; {rounds} rounds")
    with tempfile.TemporaryDirectory() as folder:
        async with sqlite_file(Path(folder)) as place:
            await measured(place, rounds)
            buffer(place)
    async with postgres_and_redis() as place:
        await measured(place, rounds)


if __name__ == "__main__":
    asyncio.run(main())
