"""All of a long session read: as LangChain's messages, as LlamaIndex's, and as nobody's.

A full read is the one job that everybody does, and nearly all of it is making objects. So the
least is to decode what is stored and to make such messages of it, without any database.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from bench import langchain, llama_index, peers
from bench.data import TEXT
from bench.llama_index import LEAST
from bench.measuring import Contender, Kind, Row, Wanted, Work, atimed
from bench.place import Place
from langchain_onrecord import OnrecordChatMessageHistory
from onrecord import Message, Session, Store
from onrecord.codec import decode
from onrecord.stored.clock import moment

OURS: Final = "Onrecord"
LANGCHAIN: Final = "SQLChatMessageHistory"
LANGCHAIN_POSTGRES: Final = "langchain-postgres"
OPENAI: Final = "OpenAI SQLiteSession"
OPENAI_SQL: Final = "OpenAI SQLAlchemySession"
TEXTS: Final = f"texts of {len(TEXT)} bytes and a number"


class Database(NamedTuple):
    """Where everybody keeps a session, each in a database of its own."""

    name: str
    address: Callable[[str], str]
    """The URL of an empty one for a driver, or for none that is named."""
    is_postgres: bool


def on_sqlite(place: Place) -> Database:
    """Files."""

    def address(driver: str) -> str:
        return f"sqlite{driver and f'+{driver}'}:///{place.file('long')}"

    return Database("SQLite", address, False)


def on_postgres(place: Place) -> Database:
    """Databases of one server."""

    def address(driver: str) -> str:
        return place.database().replace("postgresql:", f"postgresql{driver and f'+{driver}'}:")

    return Database(f"PostgreSQL {place.postgres.version}, on this machine", address, True)


# -- a session that everybody has ----------------------------------------------------------------


def long(place: Place) -> int:
    """How many messages it has."""
    return place.rounds(10_000, 2_000)


def for_how_many(place: Place) -> tuple[str, ...]:
    """What to know where it has fewer, and the ratio grows with it."""
    return ("What is wanted is of 10,000 messages.",) if place.quick else ()


def texts(count: int) -> list[str]:
    """What is said in it."""
    return [str(message.content) for message in langchain.said(count)]


def filled(store: Store, count: int) -> Session:
    """With us, a thousand messages at once."""
    chat, said = store.session("long"), peers.items(texts(count))
    for n in range(0, count, 1_000):
        chat.append(said[n : n + 1_000])
    return chat


def langchains(stack: contextlib.AsyncExitStack, database: Database, count: int) -> dict[str, Work]:
    """How LangChain's histories read it."""
    driver = "psycopg" if database.is_postgres else ""
    histories: dict[str, Any] = {
        LANGCHAIN: stack.enter_context(peers.langchain_sql(database.address(driver), "long"))
    }
    if database.is_postgres:
        own = stack.enter_context(peers.langchain_postgres(database.address(""), 1, 1))
        histories[LANGCHAIN_POSTGRES] = own[0]
    for history in histories.values():
        history.add_messages(langchain.said(count))
    return {name: partial(getattr, kept, "messages") for name, kept in histories.items()}


async def llama_indexes(
    stack: contextlib.AsyncExitStack, database: Database, count: int
) -> dict[str, Work]:
    """How LlamaIndex's stores read it."""
    driver = "asyncpg" if database.is_postgres else "aiosqlite"
    opened = {"LlamaIndex SQLAlchemyChatStore": peers.llama_sql(database.address(driver))}
    if database.is_postgres:
        opened["LlamaIndex PostgresChatStore"] = peers.llama_postgres(database.address(""))
    stores = {name: await stack.enter_async_context(one) for name, one in opened.items()}
    for kept in stores.values():
        await llama_index.filled(kept, "long", llama_index.said(count))
    return {name: partial(kept.get_messages, "long") for name, kept in stores.items()}


async def openais(
    stack: contextlib.AsyncExitStack, place: Place, database: Database, count: int
) -> dict[str, Callable[..., Any]]:
    """How the sessions of OpenAI's agents read it; they take a limit."""
    driver = "asyncpg" if database.is_postgres else "aiosqlite"
    opened = {} if database.is_postgres else {OPENAI: peers.openai_sqlite(place.file("k"), "long")}
    opened[OPENAI_SQL] = peers.openai_sql(database.address(driver), "long")
    sessions = {name: await stack.enter_async_context(one) for name, one in opened.items()}
    for session in sessions.values():
        await session.add_items(peers.items(texts(count)))
    return {name: session.get_items for name, session in sessions.items()}


async def assert_read(works: Mapping[str, Work], wanted: Sequence[str]) -> None:
    """Each reads these very texts."""
    for name, work in works.items():
        read = work()
        read = await read if inspect.isawaitable(read) else read
        assert [_text(message) for message in read] == list(wanted), name


def _text(message: Any) -> Any:
    match message:
        case Message():
            return message.text
        case dict():
            return message["content"]
    return message.content


# -- rows ----------------------------------------------------------------------------------------


def as_langchain(place: Place) -> Row:
    """LangChain's messages."""
    return asyncio.run(_as_langchain(place, on_sqlite(place), "read-langchain"))


def as_langchain_postgres(place: Place) -> Row:
    """LangChain's messages, on PostgreSQL."""
    return asyncio.run(_as_langchain(place, on_postgres(place), "read-langchain-postgres"))


async def _as_langchain(place: Place, database: Database, name: str) -> Row:
    count = long(place)
    stored = langchain.frames(langchain.said(count))
    async with contextlib.AsyncExitStack() as stack:
        store = stack.enter_context(Store(database.address("")))
        history = OnrecordChatMessageHistory(filled(store, count).name.key, store=store)
        return await _row(
            place,
            name=name,
            title=f"{count:,} messages read as LangChain's",
            where=database.name,
            ours={OURS: lambda: history.messages},
            theirs=langchains(stack, database, count),
            least=lambda: langchain.least(stored),
            at_least=2,
        )


def as_llama_index(place: Place) -> Row:
    """LlamaIndex's messages."""
    folder = place.file("llama-index")
    folder.mkdir()
    opened = llama_index.sqlite_file(folder)
    return asyncio.run(_as_llama_index(place, "SQLite", opened, "read-llama-index"))


def as_llama_index_postgres(place: Place) -> Row:
    """LlamaIndex's messages, on PostgreSQL."""
    opened, where = llama_index.postgres(place.database()), on_postgres(place).name
    return asyncio.run(_as_llama_index(place, where, opened, "read-llama-index-postgres"))


async def _as_llama_index(
    place: Place,
    where: str,
    opened: contextlib.AbstractAsyncContextManager[llama_index.Place],
    name: str,
) -> Row:
    count = long(place)
    async with opened as database:
        works = await llama_index.readers(database, llama_index.said(count))
        least = works.pop(LEAST)
        ours = {name: work for name, work in works.items() if name.startswith(OURS)}
        return await _row(
            place,
            name=name,
            title=f"{count:,} messages read as LlamaIndex's",
            where=where,
            ours=ours,
            theirs={name: work for name, work in works.items() if name not in ours},
            least=least,
            at_least=2,
        )


def as_neutral(place: Place) -> Row:
    """Messages of no framework."""
    return asyncio.run(_as_neutral(place, on_sqlite(place), "read-neutral"))


def as_neutral_postgres(place: Place) -> Row:
    """Messages of no framework, on PostgreSQL."""
    return asyncio.run(_as_neutral(place, on_postgres(place), "read-neutral-postgres"))


async def _as_neutral(place: Place, database: Database, name: str) -> Row:
    count = long(place)
    stored = langchain.frames(langchain.said(count))
    async with contextlib.AsyncExitStack() as stack:
        store = stack.enter_context(Store(database.address("")))
        return await _row(
            place,
            name=name,
            title=f"{count:,} messages read as ours, and by each peer as its own",
            where=database.name,
            ours={OURS: filled(store, count).messages},
            theirs={
                **langchains(stack, database, count),
                **await llama_indexes(stack, database, count),
                **await openais(stack, place, database, count),
            },
            least=lambda: _least(stored),
            at_least=4,
        )


def _least(stored: Sequence[bytes]) -> list[Message]:
    """Decode each, and construct it anew with what a reader is told besides."""
    return [
        Message(
            m.role, m.content, id=f"long.0.{n}", created_at=moment(n), seq=n, tokens=len(stored[0])
        )
        for n, m in enumerate(map(decode, stored), 1)
    ]


async def _row(
    place: Place,
    *,
    name: str,
    title: str,
    where: str,
    ours: dict[str, Work],
    theirs: dict[str, Work],
    least: Work,
    at_least: float,
) -> Row:
    await assert_read({**ours, **theirs, LEAST: least}, texts(long(place)))
    found = await atimed(
        place.rounds(15, 3),
        [
            *[Contender(who, Kind.OURS, work) for who, work in ours.items()],
            *[Contender(who, Kind.PEER, work) for who, work in theirs.items()],
            Contender(LEAST, Kind.LIMIT, least),
        ],
        settled=True,
    )
    first = next(iter(ours))
    return Row(
        name=name,
        title=title,
        settings=f"{where}; {TEXTS}; nothing cached",
        unit="seconds",
        found=found,
        wanted=(
            Wanted(
                text=f"{at_least:g} times the best peer",
                ours=first,
                beside=tuple(theirs),
                at_least=at_least,
            ),
            Wanted(text=f"at most 1.3 times {LEAST}", ours=first, beside=(LEAST,), at_most=1.3),
        ),
    )
