"""The buffer memory: read, persist, a thousand agents at once, and a support conversation.

What is wanted of it are times that 95 of 100 calls keep: so a round's value is the 95th percentile
of its calls, and not their median.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from langchain_core.messages import HumanMessage
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.storage.chat_store import SimpleChatStore

from bench import langchain, peers
from bench.data import TEXT
from bench.foundation import in_threads
from bench.measuring import Contender, Found, Kind, Row, Wanted, Work, per_second
from bench.place import Place
from bench.rows.reading import filled, long, texts
from onrecord import Store
from onrecord.memory import PersistentBufferMemory

OURS: Final = "PersistentBufferMemory"
BUFFER: Final = 100
NEWEST: Final = 10
AGENTS: Final = 1_000
WORKERS: Final = 16
TURNS: Final = 50

_numbers: Final = itertools.count()


def ninety_fifth(
    rounds: int, contenders: Sequence[Contender], *, calls: int, before: Work = gc.collect
) -> tuple[Found, ...]:
    """Seconds that 95 of 100 calls stay under, each contender once a round. Before a round garbage
    is collected, so that what one left is not another's to clear away."""
    values: list[list[float]] = [[] for _ in contenders]
    for number in range(rounds + 1):
        for contender, found in zip(contenders, values, strict=True):
            before()
            each = [_seconds(contender.work) for _ in range(calls)]
            if number:
                found.append(statistics.quantiles(each, n=20)[-1])
    return tuple(
        Found(name=one.name, kind=one.kind, values=tuple(found), beside=one.beside)
        for one, found in zip(contenders, values, strict=True)
    )


def _seconds(work: Work) -> float:
    """A work may begin with what is not to be measured: then it returns when it was done."""
    start = time.perf_counter()
    kept = work()
    end = time.perf_counter()
    return end - (kept if isinstance(kept, float) else start)


def read(place: Place) -> Row:
    """What a turn reads, where 10,000 messages are stored."""
    count = long(place)
    said = texts(count)
    dicts = peers.items(said)
    lists = peers.langchain_in_memory(langchain.said(count))

    def sliced() -> object:
        return dicts[-BUFFER:]

    buffer = ChatMemoryBuffer.from_defaults(
        chat_store=SimpleChatStore(),
        chat_history=[
            ChatMessage(role=one["role"], content=one["content"]) for one in dicts[-BUFFER:]
        ],
        token_limit=100_000,
    )
    with (
        Store(f"sqlite:///{place.file('buffer')}") as lite,
        Store(place.database()) as postgres,
        Store(place.database(), cache=place.redis(), revalidate=3600) as cached,
    ):
        memories = {}
        for where, store in (("SQLite", lite), ("PostgreSQL", postgres), ("with Redis", cached)):
            filled(store, count)
            memory = PersistentBufferMemory(store, session="long", buffer_size=BUFFER)
            assert [one["content"] for one in memory.get_history()] == said[-BUFFER:]
            memories[where] = memory
        whole = f"{OURS}, {BUFFER} messages"
        found = ninety_fifth(
            place.rounds(15, 3),
            [
                Contender(whole, Kind.OURS, memories["SQLite"].get_history),
                *[
                    Contender(f"  {NEWEST} of them, {where}", Kind.OURS, _newest(memory))
                    for where, memory in memories.items()
                ],
                *[
                    Contender(f"  {BUFFER}, {where}", Kind.OURS, memory.get_history)
                    for where, memory in list(memories.items())[1:]
                ],
                Contender(
                    "a list of dicts, sliced (not durable)", Kind.SHOWN, lambda: dicts[-100:]
                ),
                Contender(
                    "LangChain InMemoryChatMessageHistory (not durable)",
                    Kind.SHOWN,
                    lambda: lists.messages[-BUFFER:],
                ),
                Contender(
                    f"LlamaIndex ChatMemoryBuffer of {BUFFER} (not durable)", Kind.SHOWN, buffer.get
                ),
            ],
            calls=place.rounds(200, 100),
        )
    return Row(
        name="buffer-read",
        title=f"A buffer read where {count:,} messages are stored: 95 of 100 are quicker",
        settings="each compares its buffer with the store, where others may have written",
        unit="seconds",
        found=found,
        wanted=tuple(
            Wanted(text="under 1 ms", ours=one.name, beside=(), at_most=0.001)
            for one in found
            if one.kind is Kind.OURS
        ),
    )


def _newest(memory: PersistentBufferMemory) -> Work:
    return lambda: memory.get_history(limit=NEWEST)


def persist(place: Place) -> Row:
    """Ten messages made durable, where 10,000 are stored, compressed."""
    count = long(place)
    with (
        Store(f"sqlite:///{place.file('buffer')}") as lite,
        Store(f"sqlite:///{place.file('buffer')}", compression="none") as plain,
        Store(place.database()) as postgres,
        peers.langchain_sql(f"sqlite:///{place.file('peer')}", "long") as sql,
    ):
        sql.add_messages(langchain.said(count))
        contenders = []
        for name, store, compressed in (
            (f"{OURS}, SQLite", lite, True),
            ("  not compressed", plain, False),
            ("  PostgreSQL", postgres, True),
        ):
            filled(store, count)
            memory = PersistentBufferMemory(
                store,
                session="long",
                auto_persist_interval=None,
                enable_compression=compressed,
            )
            contenders.append(Contender(name, Kind.OURS, _ten(memory)))
        contenders.append(
            Contender(
                "SQLChatMessageHistory, SQLite",
                Kind.PEER,
                lambda: sql.add_messages([HumanMessage(_text()) for _ in range(NEWEST)]),
            )
        )
        found = ninety_fifth(place.rounds(10, 3), contenders, calls=place.rounds(60, 20))
    return Row(
        name="buffer-persist",
        title=f"{NEWEST} buffered messages persisted, where {count:,} are stored: 95 of 100",
        settings="zstd unless it says otherwise, SQLite with synchronous=FULL; sealing included",
        unit="seconds",
        found=found,
        wanted=tuple(
            Wanted(text="under 100 ms", ours=one.name, beside=(), at_most=0.1)
            for one in found
            if one.kind is Kind.OURS
        ),
    )


def _text() -> str:
    return f"{next(_numbers)}: {TEXT}"


def _ten(memory: PersistentBufferMemory) -> Work:
    def work() -> float:
        for _ in range(NEWEST):
            memory.add_message("user", _text())
        began = time.perf_counter()
        assert memory.persist() == NEWEST
        return began

    return work


def agents(place: Place) -> Row:
    """A thousand agents, each with a memory of its own on one store, in sixteen threads."""
    count = place.rounds(AGENTS, 100)
    with (
        _agents(Store(f"sqlite:///{place.file('agents')}"), count) as lite,
        _agents(Store(place.database(), pool_size=WORKERS), count) as postgres,
        peers.langchain_sqls(f"sqlite:///{place.file('peer')}", count) as sql,
    ):
        sql[0].add_messages([HumanMessage(TEXT)])

        one_lock = threading.Lock()

        def theirs(n: int) -> None:
            with one_lock:  # without it: "database is locked"
                sql[n].add_messages([HumanMessage(_text()), HumanMessage(_text())])
                assert sql[n].messages

        names = (f"{OURS}, SQLite", "  PostgreSQL", "SQLChatMessageHistory, SQLite, under a lock")
        works = (_turn(lite), _turn(postgres), theirs)
        kinds = (Kind.OURS, Kind.OURS, Kind.PEER)
        times: list[list[float]] = [[], [], []]
        for number in range(place.rounds(5, 2) + 1):
            for work, taken in zip(works, times, strict=True):
                seconds = _all_at_once(work, count)
                if number:
                    taken.append(seconds)
    found = tuple(
        Found(name=name, kind=kind, values=tuple(taken))
        for name, kind, taken in zip(names, kinds, times, strict=True)
    )
    return Row(
        name="buffer-agents",
        title=f"Turns of {count:,} agents at once, in {WORKERS} threads",
        settings="a memory each; a turn is two messages, made durable together, and a read",
        unit="per second",
        found=per_second(found, count),
        wanted=(Wanted(text="before the peer", ours=names[0], beside=(names[2],), at_least=1),),
    )


@contextlib.contextmanager
def _agents(store: Store, count: int) -> Iterator[list[PersistentBufferMemory]]:
    with store:
        yield [
            PersistentBufferMemory(store, agent_id=f"agent {n}", auto_persist_interval=2)
            for n in range(count)
        ]


def _turn(memories: list[PersistentBufferMemory]) -> Callable[[int], None]:
    def turn(n: int) -> None:
        memory = memories[n]
        memory.add_message("user", _text())
        memory.add_message("assistant", _text())
        assert memory.get_history()[-1].role == "assistant"

    return turn


def _all_at_once(work: Callable[[int], Any], count: int) -> float:
    done: list[int] = []

    def some(worker: int) -> None:
        for n in range(worker, count, WORKERS):
            work(n)
            done.append(n)

    start = time.perf_counter()
    in_threads(WORKERS, some)
    taken = time.perf_counter() - start
    assert len(done) == count, "a thread failed"
    return taken


def support(place: Place) -> Row:
    """A support conversation: its history loaded, a turn saved, and read again."""
    turn = {"user": TEXT, "agent": TEXT, "metadata": {"confidence": 0.85, "resolved": False}}
    with Store(f"sqlite:///{place.file('support')}") as store, Store(place.database()) as postgres:
        contenders = []
        for where, one in (("SQLite", store), ("PostgreSQL", postgres)):
            memory = PersistentBufferMemory(one, max_turns=TURNS)
            for _ in range(2 * TURNS):
                memory.save_turn("alice", turn)
            assert len(memory.load_context("alice")["turns"]) == TURNS
            contenders += [
                Contender(f"load of a history, {where}", Kind.OURS, _load(one)),
                Contender(f"save of a turn, {where}", Kind.OURS, _save(memory, turn)),
                Contender(f"read again, {where}", Kind.OURS, _again(memory)),
            ]
        found = ninety_fifth(place.rounds(10, 3), contenders, calls=place.rounds(100, 40))
    most = (0.05, 0.01, 0.001) * 2
    return Row(
        name="buffer-support",
        title=f"A support conversation of {TURNS} turns: 95 of 100 calls",
        settings="a load finds nothing of it in the process; a save is durable when it returns",
        unit="seconds",
        found=found,
        wanted=tuple(
            Wanted(text=f"under {limit * 1000:g} ms", ours=one.name, beside=(), at_most=limit)
            for one, limit in zip(found, most, strict=True)
        ),
    )


def _load(store: Store) -> Work:
    def load() -> float:
        store._hot.empty()
        memory = PersistentBufferMemory(store, max_turns=TURNS)
        began = time.perf_counter()
        memory.load_context("alice")
        return began

    return load


def _save(memory: PersistentBufferMemory, turn: dict[str, Any]) -> Work:
    return lambda: memory.save_turn("bob", turn)


def _again(memory: PersistentBufferMemory) -> Work:
    return lambda: memory.load_context("alice")
