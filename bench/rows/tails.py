"""A tail of 20 out of a long session: out of SQL, out of Redis, out of the process' own memory.

A turn needs the newest messages alone. LangChain's histories have no limit and read everything
for it; the sessions of OpenAI's agents have one, and are here as well. The limit is what the
same costs bare: stored bytes, of which nobody makes a message.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

import psycopg

from bench import cache, langchain, peers
from bench.foundation import INSERT, Bare
from bench.measuring import Contender, Found, Kind, Row, Wanted, Work, atimed
from bench.place import Place
from bench.rows.reading import (
    LANGCHAIN,
    OPENAI,
    OURS,
    TEXTS,
    Database,
    assert_read,
    filled,
    for_how_many,
    langchains,
    long,
    on_postgres,
    on_sqlite,
    openais,
    texts,
)
from onrecord import Message, Session, Store
from onrecord.codec import decode

NEWEST: Final = 20
ASYNC: Final = "  async"
LANGCHAIN_REDIS: Final = "LangChain RedisChatMessageHistory (not durable)"
LANGCHAIN_LIST: Final = "LangChain InMemoryChatMessageHistory (not durable)"
_QUERY: Final = f"SELECT frame FROM {{}} WHERE place >= {{}} ORDER BY place DESC LIMIT {NEWEST}"


def cold_sqlite(place: Place) -> Row:
    """Out of a SQLite file."""
    return asyncio.run(_cold(place, on_sqlite(place), "tail-sql"))


def cold_postgres(place: Place) -> Row:
    """Out of PostgreSQL."""
    return asyncio.run(_cold(place, on_postgres(place), "tail-sql-postgres"))


async def _cold(place: Place, database: Database, name: str) -> Row:
    count, limit = long(place), f"bare {'psycopg' if database.is_postgres else 'sqlite3'}"
    async with contextlib.AsyncExitStack() as stack:
        store, sealed = (stack.enter_context(Store(database.address(""))) for _ in range(2))
        chat, sealed_chat = filled(store, count), filled(sealed, count)
        sealed.compact(quiet_for=0)
        reads_all = langchains(stack, database, count)
        frames = langchain.frames(langchain.said(count))
        bare = _bare_postgres if database.is_postgres else _bare_sqlite
        found = await _measured(
            place,
            ours={
                OURS: partial(cache.as_new, store, chat),
                ASYNC: partial(_as_new, store, chat),
                "  where compact() has sealed it": partial(cache.as_new, sealed, sealed_chat),
            },
            read_all=reads_all,
            theirs=_limited(await openais(stack, place, database, count)),
            limit=(limit, stack.enter_context(bare(place, frames))),
        )
    return _row(
        place,
        name=name,
        how="out of SQL",
        where=f"{database.name}, nothing of it in the process",
        found=found,
        at_least=500,
        beside=tuple(reads_all),
        limit=limit,
    )


def hot_redis(place: Place) -> Row:
    """Out of Redis, with PostgreSQL behind it."""
    return asyncio.run(_hot_redis(place))


async def _hot_redis(place: Place) -> Row:
    database, redis = on_postgres(place), place.redis()
    count, limit = long(place), "bare redis-py, LRANGE"
    async with contextlib.AsyncExitStack() as stack:
        store = await stack.enter_async_context(
            Store(database.address(""), cache=redis, revalidate=3600)
        )
        chat = filled(store, count)
        history = stack.enter_context(peers.langchain_redis(redis, "long"))
        for message in langchain.said(count):
            history.add_message(message)
        openai = await stack.enter_async_context(peers.openai_redis(redis, "long"))
        await openai.add_items(peers.items(texts(count)))
        reads_all = {
            LANGCHAIN: langchains(stack, database, count)[LANGCHAIN],
            LANGCHAIN_REDIS: lambda: history.messages,
        }
        cache.warm(chat, store)
        with _all_hits(store):
            found = await _measured(
                place,
                ours={
                    OURS: partial(cache.as_new, store, chat),
                    ASYNC: partial(_as_new, store, chat),
                    "  by a process that has read it before": partial(chat.tail, NEWEST),
                },
                read_all=reads_all,
                theirs=_limited({"OpenAI RedisSession (not durable)": openai.get_items}),
                limit=(limit, stack.enter_context(cache.bare(store, chat))),
            )
    return _row(
        place,
        name="tail-redis",
        how="out of Redis",
        where=f"{database.name}, behind a Redis that keeps nothing on the disk; nothing "
        f"of it in the process; revalidate=3600",
        found=found,
        at_least=1_000,
        beside=tuple(reads_all),
        limit=limit,
    )


def hot_process(place: Place) -> Row:
    """Out of the process' own memory, with a SQLite file behind it."""
    return asyncio.run(_hot_process(place))


async def _hot_process(place: Place) -> Row:
    database, count, limit = on_sqlite(place), long(place), f"decoding {NEWEST} frames"
    async with contextlib.AsyncExitStack() as stack:
        store = stack.enter_context(Store(database.address("")))
        chat = filled(store, count)
        chat.tail(NEWEST)
        reads_all = langchains(stack, database, count)
        listed = peers.langchain_in_memory(langchain.said(count))
        frames = langchain.frames(langchain.said(count))[-NEWEST:]
        openai = await openais(stack, place, database, count)
        with _all_hits(store):
            found = await _measured(
                place,
                ours={
                    OURS: partial(chat.tail, NEWEST),
                    ASYNC: partial(chat.atail, NEWEST),
                },
                read_all=reads_all,
                theirs={
                    **_limited({OPENAI: openai[OPENAI]}),
                    LANGCHAIN_LIST: lambda: listed.messages[-NEWEST:],
                },
                limit=(limit, lambda: [decode(frame) for frame in frames]),
            )
    return _row(
        place,
        name="tail-process",
        how="out of the process' own memory",
        where=f"{database.name}; before each read we ask the file whether anybody has committed",
        found=found,
        at_least=5_000,
        beside=tuple(reads_all),
        limit=limit,
    )


# -- who is measured -----------------------------------------------------------------------------


async def _as_new(store: Store, chat: Session) -> list[Message]:
    store._hot.empty()
    return await chat.atail(NEWEST)


def _limited(reads: Mapping[str, Callable[..., Any]]) -> dict[str, Work]:
    """Peers that have a limit."""
    return {f"{name}, limit={NEWEST}": partial(read, limit=NEWEST) for name, read in reads.items()}


@contextlib.contextmanager
def _bare_sqlite(place: Place, frames: list[bytes]) -> Iterator[Work]:
    bare = Bare(place.file("bare"))
    with contextlib.closing(bare.connect()) as connection:
        connection.execute("BEGIN")
        connection.executemany(
            f"{INSERT} VALUES (?, 0, 0, 0, 40, 1, 1, ?)",
            list(enumerate(frames)),
        )
        connection.execute("COMMIT")
        query = _QUERY.format("onrecord_tail", "?")
        yield lambda: connection.execute(query, (0,)).fetchall()


@contextlib.contextmanager
def _bare_postgres(place: Place, frames: list[bytes]) -> Iterator[Work]:
    with psycopg.connect(place.database(), autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE bare_messages (place BIGINT PRIMARY KEY, frame BYTEA NOT NULL)"
        )
        cursor = connection.cursor(binary=True)
        cursor.executemany("INSERT INTO bare_messages VALUES (%s, %s)", list(enumerate(frames)))
        query = _QUERY.format("bare_messages", "%s")
        yield lambda: cursor.execute(query, (0,)).fetchall()


@contextlib.contextmanager
def _all_hits(store: Store) -> Iterator[None]:
    """Nothing that is read meanwhile comes out of SQL."""
    before = store.health().counters
    misses, degraded = before.misses, before.degraded_reads
    yield
    after = store.health().counters
    assert (after.misses, after.degraded_reads) == (misses, degraded), after


async def _measured(
    place: Place,
    *,
    ours: dict[str, Work],
    read_all: dict[str, Work],
    theirs: dict[str, Work],
    limit: tuple[str, Work],
) -> tuple[Found, ...]:
    said = texts(long(place))
    await assert_read(read_all, said)
    await assert_read({**ours, **theirs}, said[-NEWEST:])
    assert len(limit[1]()) == NEWEST
    return await in_turns(
        place.rounds(15, 3),
        place.rounds(50, 20),
        [
            *[Contender(name, Kind.OURS, work) for name, work in ours.items()],
            *[Contender(name, _kind(name), work) for name, work in theirs.items()],
            Contender(limit[0], Kind.LIMIT, limit[1]),
        ],
        [Contender(name, _kind(name), work) for name, work in read_all.items()],
    )


async def in_turns(
    rounds: int, calls: int, quick: Sequence[Contender], slow: Sequence[Contender]
) -> tuple[Found, ...]:
    """Like ``atimed``: in a round so many calls of what is quick, and one of what is slow."""
    each = [(*await atimed(1, quick, calls=calls), *await atimed(1, slow)) for _ in range(rounds)]
    found = [
        Found(name=one[0].name, kind=one[0].kind, values=tuple(found.median for found in one))
        for one in zip(*each, strict=True)
    ]
    return tuple(sorted(found, key=lambda one: one.kind is Kind.LIMIT))  # last, as in other rows


def _kind(name: str) -> Kind:
    return Kind.SHOWN if "(not durable)" in name else Kind.PEER


def _row(
    place: Place,
    *,
    name: str,
    how: str,
    where: str,
    found: tuple[Found, ...],
    at_least: float,
    beside: tuple[str, ...],
    limit: str,
) -> Row:
    return Row(
        name=name,
        title=f"A tail of {NEWEST} of {long(place):,} messages, {how}",
        settings=f"{where}; {TEXTS}; LangChain's read all of it",
        unit="seconds",
        found=found,
        wanted=(
            Wanted(
                text=f"{at_least:,} times the best of LangChain's",
                ours=OURS,
                beside=beside,
                at_least=at_least,
            ),
            Wanted(text=f"at most 2 times {limit}", ours=OURS, beside=(limit,), at_most=2),
        ),
        notes=for_how_many(place),
    )
