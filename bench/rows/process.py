"""What a process pays: memory for sessions that it has open, and time until its first read.

Memory is that of a child for each, which imports nothing that the others need: this file is run
as a program there, so everything that somebody needs is imported where he begins.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import os
import resource
import subprocess
import sys
import warnings
import weakref
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bench.data import TEXT
from bench.measuring import Contender, Found, Kind, Row, Wanted, atimed
from bench.place import Place

if TYPE_CHECKING:
    from onrecord import Message, Session, Store

SAID: Final = 20
"""Messages in a session, and in the first read."""
LONG: Final = 10_000

OURS: Final = "Onrecord"

Talk = Callable[[int], Awaitable[Any]]
"""Opens a session by number, says something in it and reads it; what is returned is held."""

# -- memory --------------------------------------------------------------------------------------


def memory(place: Place) -> Row:
    """How much a process grows by sessions that it holds."""
    count = place.rounds(1_000, 50)
    values: dict[str, list[float]] = {name: [] for name in _HOLDERS}
    for _ in range(place.rounds(2, 1)):
        for name in _HOLDERS:
            values[name].append(_grown_in_child(name, place.file("memory"), count))
    return Row(
        name="memory",
        title=f"Memory of a process for {count:,} sessions that it holds",
        settings=(
            f"resident, beyond what it takes with one; {SAID} messages each, appended at once and "
            f"all read once; a SQLite file; a process of its own for each"
        ),
        unit="bytes",
        found=tuple(
            Found(name=name, kind=kind, values=tuple(values[name]))
            for name, (kind, _) in _HOLDERS.items()
        ),
        wanted=(
            Wanted(
                text="below the best of the peers",
                ours=OURS,
                beside=tuple(name for name, (kind, _) in _HOLDERS.items() if kind is Kind.PEER),
                at_least=1,
            ),
        ),
        notes=(
            "Session.tail() leaves what it read in a cache, at most 64 MiB of all sessions; "
            "Session.messages() and a history without a window leave nothing.",
        ),
    )


def _grown_in_child(name: str, file: Path, count: int) -> float:
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join(part for part in (root, os.environ.get("PYTHONPATH", "")) if part)
    # -P: the files beside this one are not to be imported in the place of packages.
    done = subprocess.run(
        [sys.executable, "-P", __file__, name, str(file), str(count)],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return float(done.stdout)


async def _grown(begin: Callable[[Path], Talk], file: Path, count: int) -> int:
    """By how many bytes this process grows, from one session to so many more."""
    talk = begin(file)
    held = [await talk(0)]
    before = _resident()
    for n in range(1, count + 1):
        held.append(await talk(n))
    return _resident() - before


def _resident() -> int:
    gc.collect()
    with contextlib.suppress(OSError):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize()
    shown = subprocess.run(
        ["ps", "-o", "rss=", "-p", str(os.getpid())], capture_output=True, check=True, text=True
    )
    return int(shown.stdout) * 1024


def _texts(n: int) -> list[str]:
    return [f"{n}, {i}: {TEXT}" for i in range(SAID)]


def _same(found: Sequence[Any], n: int) -> None:
    assert list(found) == _texts(n), "what was read is not what was said"


def _ours(read: Callable[[Session], list[Message]], file: Path) -> Talk:
    store = _store(f"sqlite:///{file}")

    async def talk(n: int) -> Any:
        session = store.session(f"k{n}")
        session.append([("user", text) for text in _texts(n)])
        _same([message.text for message in read(session)], n)
        return session

    return talk


def _ours_in_langchain(file: Path) -> Talk:
    from langchain_onrecord import OnrecordChatMessageHistory

    store = _store(f"sqlite:///{file}")
    return _langchain(lambda n: OnrecordChatMessageHistory(f"k{n}", store=store))


def _sql_by_url(file: Path) -> Talk:
    history = _sql_history()
    return _langchain(lambda n: history(f"k{n}", connection=f"sqlite:///{file}"))


def _sql_by_engine(file: Path) -> Talk:
    from sqlalchemy import create_engine

    history, engine = _sql_history(), create_engine(f"sqlite:///{file}")
    return _langchain(lambda n: history(f"k{n}", connection=engine))


def _sql_history() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from langchain_community.chat_message_histories import SQLChatMessageHistory
    return SQLChatMessageHistory


def _langchain(made: Callable[[int], Any]) -> Talk:
    from langchain_core.messages import HumanMessage

    async def talk(n: int) -> Any:
        history = made(n)
        history.add_messages([HumanMessage(text) for text in _texts(n)])
        _same([message.content for message in history.messages], n)
        return history

    return talk


def _buffer(file: Path) -> Talk:
    from llama_index.core.memory import ChatMemoryBuffer
    from llama_index.core.storage.chat_store import SimpleChatStore

    store = SimpleChatStore()
    return _llama(
        lambda n: ChatMemoryBuffer.from_defaults(
            chat_store=store, chat_store_key=f"k{n}", token_limit=100_000
        )
    )


def _memory_by_default(file: Path) -> Talk:
    from llama_index.core.memory import Memory

    return _llama(lambda n: Memory.from_defaults(session_id=f"k{n}", token_limit=100_000))


def _memory_by_store(file: Path) -> Talk:
    from llama_index.core.memory import Memory
    from llama_index.core.storage.chat_store.sql import SQLAlchemyChatStore

    store = SQLAlchemyChatStore("memory", async_database_uri=f"sqlite+aiosqlite:///{file}")
    return _llama(
        lambda n: Memory.from_defaults(session_id=f"k{n}", token_limit=100_000, chat_store=store)
    )


def _llama(made: Callable[[int], Any]) -> Talk:
    from llama_index.core.base.llms.types import ChatMessage

    async def talk(n: int) -> Any:
        memory = made(n)
        await memory.aput_messages([ChatMessage(role="user", content=t) for t in _texts(n)])
        _same([message.content for message in await memory.aget()], n)
        return memory

    return talk


def _openai(file: Path) -> Talk:
    from agents.memory import SQLiteSession

    async def talk(n: int) -> Any:
        session = SQLiteSession(f"k{n}", file)
        await session.add_items([{"role": "user", "content": text} for text in _texts(n)])
        _same([item["content"] for item in await session.get_items()], n)
        return session

    return talk


_HOLDERS: Final[dict[str, tuple[Kind, Callable[[Path], Talk]]]] = {
    OURS: (Kind.OURS, partial(_ours, lambda session: session.tail(SAID))),
    "  read by messages()": (Kind.OURS, partial(_ours, lambda session: session.messages())),
    "  through LangChain": (Kind.OURS, _ours_in_langchain),
    "SQLChatMessageHistory, a URL each": (Kind.PEER, _sql_by_url),
    "SQLChatMessageHistory, one engine": (Kind.PEER, _sql_by_engine),
    "LlamaIndex Memory, one SQLAlchemyChatStore": (Kind.PEER, _memory_by_store),
    "OpenAI SQLiteSession": (Kind.PEER, _openai),
    "ChatMemoryBuffer, one SimpleChatStore (not durable)": (Kind.SHOWN, _buffer),
    "LlamaIndex Memory by default (not durable)": (Kind.SHOWN, _memory_by_default),
}


# -- the first read ------------------------------------------------------------------------------


def first_read(place: Place) -> Row:
    """An existing store opened, and the newest messages of a long session read."""
    return asyncio.run(_first_read(place))


async def _first_read(place: Place) -> Row:
    texts = [f"{n}: {TEXT}" for n in range(LONG)]
    lite, postgres = f"sqlite:///{place.file('open')}", place.database()
    sql, openai = f"sqlite:///{place.file('open')}", place.file("open")
    for url in (lite, postgres):
        with contextlib.closing(_store(url)) as store:
            store.session("k").append([("user", text) for text in texts])
    await _fill_peers(sql, openai, texts)
    contenders = [
        Contender(OURS, Kind.OURS, partial(_open_ours, lite)),
        Contender("Onrecord, PostgreSQL", Kind.OURS, partial(_open_ours, postgres)),
        Contender("OpenAI SQLiteSession", Kind.PEER, partial(_open_openai, openai)),
        Contender("SQLChatMessageHistory, which reads all", Kind.PEER, partial(_open_sql, sql)),
    ]
    for contender in contenders:
        opened = contender.work()
        opened = await opened if inspect.isawaitable(opened) else opened
        assert opened.read[-SAID:] == texts[-SAID:], contender.name
        del opened
    found = await atimed(place.rounds(15, 3), contenders)
    return Row(
        name="open",
        title=f"An existing store opened, and its newest {SAID} of {LONG:,} messages read",
        settings=(
            f"each time anew, in a process that has imported everything; SQLite files that nobody "
            f"else has open, PostgreSQL {place.postgres.version} on this machine"
        ),
        unit="seconds",
        found=found,
        wanted=(Wanted(text="10 ms", ours=OURS, beside=(), at_most=0.010),),
    )


class Opened:
    """What was read, and what closes once this is let go: no clock runs then."""

    def __init__(self, read: list[str], close: Callable[[], object]) -> None:
        self.read = read
        weakref.finalize(self, close)


def _store(url: str) -> Store:
    from onrecord import Store

    return Store(url)


def _open_ours(url: str) -> Opened:
    store = _store(url)
    return Opened([message.text for message in store.session("k").tail(SAID)], store.close)


def _open_sql(url: str) -> Opened:
    from sqlalchemy import create_engine

    engine = create_engine(url)
    history = _sql_history()("k", connection=engine)
    return Opened([message.content for message in history.messages], engine.dispose)


async def _open_openai(file: Path) -> Opened:
    from agents.memory import SQLiteSession

    session = SQLiteSession("k", file)
    items: list[Any] = await session.get_items(limit=SAID)
    return Opened([item["content"] for item in items], session.close)


async def _fill_peers(url: str, file: Path, texts: Sequence[str]) -> None:
    from langchain_core.messages import HumanMessage

    from bench import peers

    with peers.langchain_sql(url, "k") as history:
        history.add_messages([HumanMessage(text) for text in texts])
    async with peers.openai_sqlite(file, "k") as session:
        await session.add_items([{"role": "user", "content": text} for text in texts])


def main() -> None:
    """What the child does."""
    _, name, file, count = sys.argv
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # some hold a file for each
    print(asyncio.run(_grown(_HOLDERS[name][1], Path(file), int(count))), flush=True)
    os._exit(0)  # what they hold need not be closed one by one


if __name__ == "__main__":
    main()
