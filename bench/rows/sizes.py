"""What conversations take on disk, beside everybody who keeps them in SQL.

Twice: all of them without a dictionary, and one half with a dictionary that was learned from the
other. Whole files, and whole tables with their indexes. The halves differ in length, so that all
is told for a thousand messages.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import psycopg
from agents.extensions.memory import SQLAlchemySession
from llama_index.core.base.llms.types import ChatMessage
from psycopg import sql
from sqlalchemy import create_engine

from bench import peers
from bench.data import Conversation, conversations
from bench.measuring import Found, Kind, Row, Wanted
from bench.place import Place
from bench.size import HOLDING_MESSAGES, as_langchain, holds_nul, ours, peer, relations
from onrecord import Store

OURS: Final = "Onrecord"
EVERY_TABLE: Final = "Onrecord, every table"
LANGCHAIN: Final = "SQLChatMessageHistory"
LLAMA: Final = "LlamaIndex SQLAlchemyChatStore"
ALCHEMY: Final = "OpenAI SQLAlchemySession"
TRAINED: Final = ", trained, one half"
HALF: Final = ", one half"

Keep = Callable[[str, Sequence[Conversation]], Coroutine[Any, Any, None]]
"""Writes conversations into the database of a URL, and sees to it that they can be read again."""


class Case(NamedTuple):
    """What is written, and what our dictionary is learned from."""

    chosen: Sequence[Conversation]
    sample: Sequence[Conversation]

    @property
    def messages(self) -> int:
        return sum(map(len, self.chosen))


def on_sqlite(place: Place) -> Row:
    """Whole files."""
    found: list[Found] = []
    before, after = _cases(place, _conversations())
    for case in (before, after):
        file = place.file("size")
        _ours(f"sqlite:///{file}", case)
        sizes = {OURS: file.stat().st_size}
        for name, keep in _ON_SQLITE.items():
            file = place.file("size")
            asyncio.run(keep(f"sqlite:///{file}", case.chosen))
            sizes[name] = _vacuumed_file(file)
        found += _found(case, sizes)
    return Row(
        name="size-sqlite",
        title="What 1,000 messages take on disk, SQLite",
        settings=_settings("whole files, after compact() and VACUUM", before, after),
        unit="bytes",
        found=tuple(found),
        wanted=_wanted(tuple(_ON_SQLITE), before=25, after=20),
    )


def on_postgres(place: Place) -> Row:
    """Whole tables with their indexes."""
    found: list[Found] = []
    # PostgreSQL keeps no NUL in text: what it cannot keep is left out for all.
    kept = [said for said in _conversations() if not holds_nul(said)]
    before, after = _cases(place, kept)
    for case in (before, after):
        url = place.database()
        _ours(url, case)
        sizes = {
            OURS: relations(url, *HOLDING_MESSAGES),
            EVERY_TABLE: relations(url, "onrecord_%"),
        }
        for name, keep in _ON_POSTGRES.items():
            url = place.database()
            asyncio.run(keep(url, case.chosen))
            _vacuum_tables(url)
            sizes[name] = relations(url, "%", schema="public")
        found += _found(case, sizes)
    return Row(
        name="size-postgres",
        title="What 1,000 messages take on disk, PostgreSQL",
        settings=_settings(
            "tables with their indexes, after compact() and VACUUM FULL; of ours those that hold "
            "messages, and every one",
            before,
            after,
        ),
        unit="bytes",
        found=tuple(found),
        wanted=_wanted(tuple(_ON_POSTGRES), before=30, after=26),
    )


def _conversations() -> list[Conversation]:
    return conversations()[1]


def _cases(place: Place, everything: Sequence[Conversation]) -> tuple[Case, Case]:
    chosen = everything[:: place.rounds(1, 12)]
    return Case(chosen, []), Case(chosen[1::2], chosen[::2])


def _settings(what: str, before: Case, after: Case) -> str:
    return (
        f"{what}; {len(before.chosen):,} conversations with {before.messages:,} messages, and the "
        f"half of them with {after.messages:,}, our dictionary learned from the other half"
    )


def _found(case: Case, sizes: Mapping[str, int]) -> list[Found]:
    found = []
    for name, size in sizes.items():
        own = name in (OURS, EVERY_TABLE)
        suffix = "" if not case.sample else TRAINED if own else HALF
        found.append(
            Found(
                name=name + suffix,
                kind=Kind.OURS if own else Kind.PEER,
                values=(1_000 * size / case.messages,),
                beside=OURS + (TRAINED if case.sample else ""),
            )
        )
    return found


def _wanted(names: tuple[str, ...], before: int, after: int) -> tuple[Wanted, ...]:
    return (
        Wanted(
            text=f"at most {before} % of the best SQL peer",
            ours=OURS,
            beside=names,
            at_most=before / 100,
        ),
        Wanted(
            text=f"after training at most {after} % of it",
            ours=OURS + TRAINED,
            beside=tuple(name + HALF for name in names),
            at_most=after / 100,
        ),
    )


def _vacuumed_file(file: Path) -> int:
    """What a peer's file takes once nothing is empty in it, and nothing beside it."""
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return file.stat().st_size


def _vacuum_tables(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        names = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        ).fetchall()
        for (name,) in names:
            connection.execute(sql.SQL("VACUUM FULL {}").format(sql.Identifier(name)))


# -- who keeps them ------------------------------------------------------------------------------


def _key(n: int) -> str:
    return f"conversation-{n}"


def _texts(said: Conversation) -> list[str]:
    return [message["content"] or "" for message in said]


def _same(found: Sequence[Any], said: Conversation) -> None:
    assert [text or "" for text in found] == _texts(said), "what was read is not what was said"


def _ours(url: str, case: Case) -> None:
    ours(url, case.chosen, case.sample)
    with Store(url) as store:
        for n, said in enumerate(case.chosen):
            _same([message.text for message in store.session(_key(n)).messages()], said)


async def _langchain(url: str, chosen: Sequence[Conversation]) -> None:
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    peer(engine, chosen)
    engine.dispose()


async def _langchain_postgres(url: str, chosen: Sequence[Conversation]) -> None:
    with peers.langchain_postgres(url, len(chosen), 1) as histories:
        for history, said in zip(histories, chosen, strict=True):
            history.add_messages([as_langchain(message) for message in said])
            _same([message.content for message in history.get_messages()], said)


async def _llama(url: str, chosen: Sequence[Conversation]) -> None:
    async with peers.llama_sql(_asynchronous(url)) as store:
        for n, said in enumerate(chosen):
            await store.add_messages(_key(n), [_as_llama(message) for message in said])
            _same([message.content for message in await store.get_messages(_key(n))], said)


async def _llama_postgres(url: str, chosen: Sequence[Conversation]) -> None:
    async with peers.llama_postgres(url) as store:
        for n, said in enumerate(chosen):
            store.set_messages(_key(n), [_as_llama(message) for message in said])
            _same([message.content for message in store.get_messages(_key(n))], said)


async def _openai_sqlite(url: str, chosen: Sequence[Conversation]) -> None:
    file = Path(url.removeprefix("sqlite:///"))
    for n, said in enumerate(chosen):
        async with peers.openai_sqlite(file, _key(n)) as session:
            await _openai(session, said)


async def _openai_sql(url: str, chosen: Sequence[Conversation]) -> None:
    async with peers.openai_sql(_asynchronous(url), "first") as first:
        for n, said in enumerate(chosen):
            session = SQLAlchemySession(_key(n), engine=first.engine, create_tables=True)
            await _openai(session, said)


async def _openai(session: Any, said: Conversation) -> None:
    items = [dict(message) for message in said]
    await session.add_items(items)
    assert await session.get_items() == items, "what was read is not what was said"


def _asynchronous(url: str) -> str:
    return url.replace("sqlite:", "sqlite+aiosqlite:").replace("postgresql:", "postgresql+asyncpg:")


def _as_llama(said: Mapping[str, Any]) -> ChatMessage:
    beside = {key: said[key] for key in said if key not in ("role", "content")}
    return ChatMessage(role=said["role"], content=said["content"], additional_kwargs=beside)


_ON_SQLITE: Final[dict[str, Keep]] = {
    LANGCHAIN: _langchain,
    LLAMA: _llama,
    "OpenAI SQLiteSession": _openai_sqlite,
    ALCHEMY: _openai_sql,
}
_ON_POSTGRES: Final[dict[str, Keep]] = {
    LANGCHAIN: _langchain,
    "langchain-postgres": _langchain_postgres,
    LLAMA: _llama,
    "LlamaIndex PostgresChatStore": _llama_postgres,
    ALCHEMY: _openai_sql,
}
