"""One durable append to a SQLite file: in a short session, and in one that is long already."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from pathlib import Path
from typing import Final

from langchain_core.messages import HumanMessage
from llama_index.core.base.llms.types import ChatMessage

from bench import peers
from bench.data import TEXT
from bench.foundation import Bare
from bench.measuring import Contender, Kind, Row, Wanted, atimed, timed
from bench.place import Place
from langchain_onrecord import OnrecordChatMessageHistory
from llama_index_onrecord import OnrecordMemoryStore
from onrecord import Store

SAID: Final = ("user", TEXT)
OURS: Final = "Onrecord"
LANGCHAIN: Final = "SQLChatMessageHistory"
LLAMA: Final = "LlamaIndex SQLAlchemyChatStore"
OPENAI: Final = "OpenAI SQLiteSession"
BARE: Final = "bare sqlite3"


def on_sqlite(place: Place) -> Row:
    """One at a time, on a SQLite file."""
    file = place.file("append")
    return asyncio.run(_on_sqlite(place, file))


async def _on_sqlite(place: Place, file: Path) -> Row:
    bare = Bare(place.file("bare"))
    async with contextlib.AsyncExitStack() as stack:
        store = stack.enter_context(Store(f"sqlite:///{file}"))
        chat = store.session("k")
        history = OnrecordChatMessageHistory("langchain", store=store)
        memory = OnrecordMemoryStore(store)
        sql = stack.enter_context(peers.langchain_sql(f"sqlite:///{place.file('peer')}", "k"))
        llama = await stack.enter_async_context(
            peers.llama_sql(f"sqlite+aiosqlite:///{place.file('peer')}")
        )
        openai = await stack.enter_async_context(peers.openai_sqlite(place.file("peer"), "k"))
        alchemy = await stack.enter_async_context(
            peers.openai_sql(f"sqlite+aiosqlite:///{place.file('peer')}", "k")
        )
        found = await atimed(
            place.rounds(15, 5),
            [
                Contender(OURS, Kind.OURS, partial(chat.append, SAID)),
                Contender(
                    "  through LangChain",
                    Kind.OURS,
                    lambda: history.add_messages([HumanMessage(TEXT)]),
                ),
                Contender(
                    "  through LlamaIndex",
                    Kind.OURS,
                    lambda: memory.add_message("k", ChatMessage(role="user", content=TEXT)),
                ),
                Contender(LANGCHAIN, Kind.PEER, lambda: sql.add_messages([HumanMessage(TEXT)])),
                Contender(
                    LLAMA,
                    Kind.PEER,
                    lambda: llama.add_message("k", ChatMessage(role="user", content=TEXT)),
                ),
                Contender(OPENAI, Kind.PEER, partial(openai.add_items, [peers.ITEM])),
                Contender(
                    "OpenAI SQLAlchemySession", Kind.PEER, partial(alchemy.add_items, [peers.ITEM])
                ),
                Contender(BARE, Kind.LIMIT, bare.append),
            ],
            calls=place.rounds(200, 30),
        )
    return Row(
        name="append-sqlite",
        title="A durable append of one message, SQLite",
        settings="a file of each one's own, synchronous FULL, one writer",
        unit="seconds",
        found=found,
        wanted=(
            Wanted(
                text="2 × the best of LangChain's and LlamaIndex's",
                ours=OURS,
                beside=(LANGCHAIN, LLAMA),
                at_least=2,
            ),
            Wanted(text="at most 1.5 × bare sqlite3", ours=OURS, beside=(BARE,), at_most=1.5),
        ),
    )


def however_long(place: Place) -> Row:
    """The same to sessions that hold more and more."""
    lengths = (10, 1_000, 10_000 if place.quick else 100_000)
    names = [f"Onrecord at {length:,} messages" for length in lengths]
    with Store(f"sqlite:///{place.file('lengths')}") as store:
        chats = [store.session(str(length)) for length in lengths]
        for chat, length in zip(chats, lengths, strict=True):
            for done in range(0, length, 5_000):
                chat.append([SAID] * min(5_000, length - done))
        found = timed(
            place.rounds(15, 5),
            [
                Contender(name, Kind.OURS, partial(chat.append, SAID))
                for name, chat in zip(names, chats, strict=True)
            ],
            calls=place.rounds(200, 40),
        )
    return Row(
        name="append-lengths",
        title="A durable append of one message, however long the session",
        settings="one SQLite file, synchronous FULL",
        unit="seconds",
        found=found,
        wanted=tuple(
            Wanted(text=f"{name} within a fifth", ours=name, beside=(names[0],), at_most=1.2)
            for name in names[1:]
        ),
    )
