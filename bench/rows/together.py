"""64 who append at once, each to a session of its own: in threads, and in tasks of one loop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from langchain_core.messages import HumanMessage
from llama_index.core.base.llms.types import ChatMessage

from bench import peers
from bench.data import TEXT
from bench.foundation import Bare, in_threads
from bench.measuring import Contender, Kind, Row, Wanted, atimed, per_second
from bench.place import Place
from onrecord import Store

WRITERS: Final = 64
SAID: Final = ("user", TEXT)
THREADS: Final = "Onrecord, 64 threads"
TASKS: Final = "Onrecord, 64 tasks"
LANGCHAIN: Final = "SQLChatMessageHistory, 64 threads"
LLAMA: Final = "LlamaIndex SQLAlchemyChatStore, 64 tasks"
OPENAI_THREADS: Final = "OpenAI SQLiteSession, 64 threads"
OPENAI: Final = "OpenAI SQLiteSession, 64 tasks"


def on_sqlite(place: Place) -> Row:
    """One SQLite file for all 64."""
    return asyncio.run(_on_sqlite(place))


async def _on_sqlite(place: Place) -> Row:
    each = place.rounds(10, 5)
    async with contextlib.AsyncExitStack() as stack:
        bare = Bare(place.file("bare"), WRITERS)
        one_lock, connections = threading.Lock(), [bare.connect() for _ in range(WRITERS)]
        store = stack.enter_context(Store(f"sqlite:///{place.file('together')}"))
        chats = [store.session(f"k{n}") for n in range(WRITERS)]
        for chat in chats:
            chat.append(SAID)
        sql = stack.enter_context(peers.langchain_sqls(f"sqlite:///{place.file('peer')}", WRITERS))
        llama = await stack.enter_async_context(
            peers.llama_sql(f"sqlite+aiosqlite:///{place.file('peer')}")
        )
        file = place.file("peer")
        sessions, in_threads_of_their_own = [
            [
                await stack.enter_async_context(peers.openai_sqlite(file, f"{how}{n}"))
                for n in range(WRITERS)
            ]
            for how in ("task", "thread")
        ]
        await sessions[0].add_items([peers.ITEM])
        await llama.add_message("k0", ChatMessage(role="user", content=TEXT))

        def locked(n: int) -> None:
            with one_lock:
                bare.append(connections[0], n + 1)

        found = await atimed(
            place.rounds(7, 2),
            [
                Contender(THREADS, Kind.OURS, threads(each, lambda n: chats[n].append(SAID))),
                Contender(TASKS, Kind.OURS, tasks(each, lambda n: chats[n].aappend(SAID))),
                Contender(
                    LANGCHAIN,
                    Kind.PEER,
                    threads(each, lambda n: sql[n].add_messages([HumanMessage(TEXT)])),
                ),
                Contender(LLAMA, Kind.PEER, tasks(each, lambda n: _said(llama, n)), TASKS),
                Contender(
                    OPENAI,
                    Kind.PEER,
                    tasks(each, lambda n: sessions[n].add_items([peers.ITEM])),
                    TASKS,
                ),
                Contender(
                    OPENAI_THREADS,
                    Kind.PEER,
                    threads(
                        each,
                        loops(lambda n: in_threads_of_their_own[n].add_items([peers.ITEM])),
                    ),
                ),
                Contender(
                    "bare sqlite3, a connection a thread",
                    Kind.LIMIT,
                    threads(each, lambda n: bare.append(connections[n], n + 1)),
                ),
                Contender("bare sqlite3, one under a lock", Kind.LIMIT, threads(each, locked)),
            ],
        )
        for connection in connections:
            connection.close()
        done = store._ledger.tally
    found = per_second(found, WRITERS * each)
    like_with_like = ((THREADS, LANGCHAIN, OPENAI_THREADS), (TASKS, LLAMA, OPENAI))
    return Row(
        name="together-sqlite",
        title="64 at once, each appending to a session of its own in one SQLite file",
        settings=f"synchronous FULL; {each} appends each a round",
        unit="per second",
        found=found,
        wanted=tuple(
            Wanted(text=f"{least} × {beside}", ours=name, beside=(beside,), at_least=least)
            for name, framework, openai in like_with_like
            for beside, least in ((openai, 3), (framework, 10))
        ),
        notes=(f"{done.committed:,} appends of ours in {done.commits:,} commits",),
    )


async def _said(llama: Any, n: int) -> None:
    await llama.add_message(f"k{n}", ChatMessage(role="user", content=TEXT))


def threads(each: int, append: Callable[[int], object]) -> Callable[[], None]:
    """So many appends in each of 64 threads."""

    def work(n: int) -> None:
        for _ in range(each):
            append(n)

    return lambda: in_threads(WRITERS, work)


def loops(append: Callable[[int], Awaitable[object]]) -> Callable[[int], object]:
    """The same for a thread, which keeps one loop for all it does."""
    own = threading.local()

    def work(n: int) -> object:
        if not hasattr(own, "runner"):
            own.runner = asyncio.Runner()
        return own.runner.run(_awaited(append(n)))

    return work


async def _awaited(given: Awaitable[object]) -> object:
    return await given


def tasks(each: int, append: Callable[[int], Awaitable[object]]) -> Callable[[], Awaitable[Any]]:
    """So many appends in each of 64 tasks."""

    async def work(n: int) -> None:
        for _ in range(each):
            await append(n)

    async def all_of_them() -> Sequence[None]:
        return await asyncio.gather(*(work(n) for n in range(WRITERS)))

    return all_of_them
