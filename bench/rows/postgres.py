"""A durable append on PostgreSQL: by one, and by 64 at once."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import psycopg
from langchain_core.messages import HumanMessage
from llama_index.core.base.llms.types import ChatMessage
from psycopg_pool import ConnectionPool

from bench import peers
from bench.data import TEXT
from bench.foundation import FRAME
from bench.measuring import Contender, Found, Kind, Row, Wanted, atimed, per_second
from bench.place import Place
from bench.rows.together import SAID, WRITERS, tasks, threads
from onrecord import Store

CONNECTIONS: Final = 10
"""As many as a store has at the most, unless it is told otherwise."""
OURS: Final = "Onrecord"
ASYNC: Final = "Onrecord, async"
BARE: Final = "bare psycopg, one statement"
_PEERS: Final = (
    "SQLChatMessageHistory",
    "langchain-postgres",
    "LlamaIndex PostgresChatStore",
    "LlamaIndex SQLAlchemyChatStore",
    "OpenAI SQLAlchemySession",
)

# The least that keeps messages in order under many writers: the head is moved under the lock of
# its row, and the message stored under the place that this gives.
_TABLES: Final = """
    CREATE TABLE bare_sessions (id INT PRIMARY KEY, head BIGINT NOT NULL) WITH (fillfactor = 50);
    CREATE TABLE bare_messages (place BIGINT PRIMARY KEY, frame BYTEA NOT NULL);
    INSERT INTO bare_sessions SELECT n, 0 FROM generate_series(0, 63) AS n"""
_APPEND: Final = """
    WITH moved AS (UPDATE bare_sessions SET head = head + 1 WHERE id = {id} RETURNING id, head)
    INSERT INTO bare_messages SELECT (moved.id::BIGINT << 32) | moved.head, {frame} FROM moved
    RETURNING place"""


def by_one(place: Place) -> Row:
    """One after another."""
    return asyncio.run(_by_one(place))


async def _by_one(place: Place) -> Row:
    async with contextlib.AsyncExitStack() as stack:
        contenders = await _contenders(place, stack, 1)
        with psycopg.connect(_bare(place), autocommit=True) as connection:
            append = partial(_append_bare, connection, 0)
            contenders.append(Contender(BARE, Kind.LIMIT, append))
            found = await atimed(place.rounds(15, 5), contenders, calls=place.rounds(100, 20))
    return Row(
        name="append-postgres",
        title="A durable append of one message, PostgreSQL",
        settings=f"{_server(place)}; one writer",
        unit="seconds",
        found=found,
        wanted=(
            Wanted(text="1.5 × the best peer", ours=OURS, beside=_PEERS, at_least=1.5),
            Wanted(text="at most 1.25 × bare psycopg", ours=OURS, beside=(BARE,), at_most=1.25),
        ),
    )


def by_many(place: Place) -> Row:
    """64 threads, or tasks, of one process, on as many connections as a store has."""
    return asyncio.run(_by_many(place))


async def _by_many(place: Place) -> Row:
    each = place.rounds(20, 5)
    async with contextlib.AsyncExitStack() as stack:
        contenders = await _contenders(place, stack, each)
        url = _bare(place)
        pool = stack.enter_context(_pool(url))

        def append(n: int) -> None:
            with pool.connection() as connection:
                _append_bare(connection, n)

        contenders.append(Contender(BARE, Kind.LIMIT, threads(each, append)))
        found = per_second(await atimed(place.rounds(7, 2), contenders), WRITERS * each)
        found = (*found, *_pgbench(url, place.rounds(5, 2)))
    return Row(
        name="together-postgres",
        title="64 at once, each appending to a session of its own, PostgreSQL",
        settings=f"{_server(place)}; {CONNECTIONS} connections each, {each} appends each a round",
        unit="per second",
        found=found,
        wanted=(
            Wanted(text="1.5 × the best peer", ours=OURS, beside=_PEERS, at_least=1.5),
            Wanted(text="80 % of bare psycopg", ours=OURS, beside=(BARE,), at_least=0.8),
        ),
    )


async def _contenders(place: Place, stack: contextlib.AsyncExitStack, each: int) -> list[Contender]:
    """Everybody but the limit: with 64 sessions where each of them is appended to so often."""
    many = each > 1
    count = WRITERS if many else 1
    store = stack.enter_context(Store(place.database(), pool_size=CONNECTIONS))
    chats = [store.session(f"k{n}") for n in range(count)]
    for chat in chats:
        chat.append(SAID)
    url = place.database().replace("postgresql:", "postgresql+psycopg:")
    asyncpg = place.database().replace("postgresql:", "postgresql+asyncpg:")
    sql = stack.enter_context(peers.langchain_sqls(url, count))
    langchain = stack.enter_context(
        peers.langchain_postgres(place.database(), count, CONNECTIONS if many else 1)
    )
    postgres = await stack.enter_async_context(peers.llama_postgres(place.database()))
    llama = await stack.enter_async_context(peers.llama_sql(asyncpg))
    openai = [
        await stack.enter_async_context(peers.openai_sql(asyncpg, f"k{n}")) for n in range(count)
    ]
    said = ChatMessage(role="user", content=TEXT)
    # Before the race, or some of them make their tables twice.
    await llama.add_message("k0", said)
    await postgres.async_add_message("k0", said)
    await openai[0].add_items([peers.ITEM])
    human = [HumanMessage(TEXT)]
    how = partial(threads, each) if many else _once
    ahow = partial(tasks, each) if many else _once
    return [
        Contender(OURS, Kind.OURS, how(lambda n: chats[n].append(SAID))),
        Contender(ASYNC, Kind.OURS, ahow(lambda n: chats[n].aappend(SAID))),
        Contender(_PEERS[0], Kind.PEER, how(lambda n: sql[n].add_messages(human))),
        Contender(_PEERS[1], Kind.PEER, how(lambda n: langchain[n].add_messages(human))),
        Contender(_PEERS[2], Kind.PEER, ahow(lambda n: postgres.async_add_message(f"k{n}", said))),
        Contender(_PEERS[3], Kind.PEER, ahow(lambda n: llama.add_message(f"k{n}", said))),
        Contender(_PEERS[4], Kind.PEER, ahow(lambda n: openai[n].add_items([peers.ITEM]))),
    ]


def _once(append: Any) -> Any:
    return partial(append, 0)


def _bare(place: Place) -> str:
    url = place.database()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(_TABLES)
    return url


@contextlib.contextmanager
def _pool(url: str) -> Iterator[ConnectionPool[Any]]:
    with ConnectionPool(
        url, min_size=CONNECTIONS, max_size=CONNECTIONS, kwargs={"autocommit": True}
    ) as pool:
        pool.wait()
        yield pool


def _append_bare(connection: psycopg.Connection[Any], n: int) -> None:
    connection.execute(_APPEND.format(id="%s", frame="%s"), [n, FRAME]).fetchone()


def _server(place: Place) -> str:
    return f"PostgreSQL {place.postgres.version}, fsync on, on this machine"


def _pgbench(url: str, seconds: int) -> tuple[Found, ...]:
    """The same statement by PostgreSQL's own tool, which is no Python."""
    program = _program()
    if program is None:
        return ()
    frame = rf"'\x{FRAME.hex()}'::BYTEA"
    script = f"\\set n random(0, {WRITERS - 1})\n{_one_line(_APPEND.format(id=':n', frame=frame))};"
    done = subprocess.run(
        [
            *(program, "--no-vacuum", "--protocol=prepared", "--jobs=2", "--file=-"),
            *(f"--client={CONNECTIONS}", f"--time={seconds}", url),
        ],
        input=script,
        capture_output=True,
        text=True,
        check=False,
    )
    rate = re.search(r"tps = ([\d.]+)", done.stdout)
    if rate is None:
        raise SystemExit(f"pgbench failed: {done.stderr.strip()}")
    name = f"pgbench, {CONNECTIONS} clients"
    return (Found(name=name, kind=Kind.SHOWN, values=(float(rate[1]),)),)


def _one_line(statement: str) -> str:
    return " ".join(statement.split())


def _program() -> str | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pgbench"))
    return shutil.which("pgbench") or (str(found[-1]) if found else None)
