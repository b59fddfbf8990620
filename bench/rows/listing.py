"""The newest 50 of 100,000 sessions that have something in their metadata.

Whoever is asked looks at sessions until enough are found, so what it takes depends on how many
have it: once one in a hundred, and once no more than are wanted, so that all are looked at.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.sqlite import SqliteSaver

from bench.data import TEXT
from bench.measuring import Contender, Kind, Row, Wanted, timed
from bench.place import Place
from onrecord import ANY, Store

LISTED: Final = 50
TOPICS: Final = 100
"""One session in so many is about each."""
OURS: Final = "Onrecord"
_BEGUN: Final = datetime(2026, 1, 1, tzinfo=UTC)


def by_metadata(place: Place) -> Row:
    """Out of one SQLite file."""
    count = 5_000 if place.quick else 100_000
    often, seldom = _about(7, count, "topic"), _about(7, count, "case")
    with contextlib.ExitStack() as stack:
        store = stack.enter_context(_store(place, count))
        saver = stack.enter_context(_saver(place, count))
        for wanted in (often, seldom):
            having = (n for n in reversed(range(count)) if _about(n, count, *wanted) == wanted)
            keys = [f"s{n}" for n in having][:LISTED]
            assert _sessions(store, wanted) == keys == _threads(saver, wanted)
            assert len(keys) == LISTED
        found = timed(
            place.rounds(15, 5),
            [
                Contender(OURS, Kind.OURS, partial(_sessions, store, often)),
                Contender("SqliteSaver.list", Kind.PEER, partial(_threads, saver, often)),
                Contender("Onrecord, all looked at", Kind.OURS, partial(_sessions, store, seldom)),
                Contender(
                    "SqliteSaver.list, all looked at", Kind.PEER, partial(_threads, saver, seldom)
                ),
            ],
        )
    return Row(
        name="list-sessions",
        title=f"The newest {LISTED} of {count:,} sessions that have a topic in their metadata",
        settings=(
            f"SQLite; one session in {TOPICS} has it, so {LISTED * TOPICS:,} are looked at, or "
            f"{LISTED} of all have it; a message in each of ours, an empty checkpoint in theirs"
        ),
        unit="seconds",
        found=found,
        wanted=(Wanted(text="5 ms", ours=OURS, beside=(), at_most=0.005),),
        notes=(
            f"The wish is held against the topic that one session in {TOPICS} has. What fewer "
            f"have takes longer, for ours up to that of looking at all.",
            "Beside LangGraph's savers no peer lists conversations by metadata: LangChain's "
            "histories have no list, LlamaIndex's stores give all keys at once, OpenAI's sessions "
            "have no list.",
        ),
    )


def _about(n: int, count: int, *keys: str) -> dict[str, str]:
    """What is in the metadata of a session, or some of it."""
    about = {"topic": f"topic-{n % TOPICS}", "case": f"case-{n % (count // LISTED)}"}
    return {key: about[key] for key in keys or about}


def _sessions(store: Store, metadata: dict[str, str]) -> list[str]:
    return [info.key for info in store.sessions(user=ANY, metadata=metadata, limit=LISTED)]


def _threads(saver: SqliteSaver, metadata: dict[str, str]) -> list[str]:
    listed = saver.list(None, filter=metadata, limit=LISTED)
    return [found.config["configurable"]["thread_id"] for found in listed]


@contextlib.contextmanager
def _store(place: Place, count: int) -> Iterator[Store]:
    """One with so many sessions, brought from a file: so each has its own time."""
    exported = place.file("list").with_suffix(".jsonl")
    with exported.open("w", encoding="utf-8") as file:
        for line in _lines(count):
            file.write(json.dumps(line) + "\n")
    url = f"sqlite:///{place.file('list')}"
    with Store(url, durability="normal") as store:
        assert store.import_(exported).sessions == count
    with Store(url) as store:
        yield store


def _lines(count: int) -> Iterator[dict[str, Any]]:
    """Sessions as ``Store.export`` writes them, one a minute."""
    yield {"type": "header", "format": "onrecord", "version": 1}
    for n in range(count):
        at = (_BEGUN + timedelta(minutes=n)).isoformat()
        yield {
            "type": "session",
            "tenant": "",
            "user": f"user-{n % 1_000}",
            "agent": "",
            "key": f"s{n}",
            "head": 1,
            "created_at": at,
            "last_active": at,
            "metadata": _about(n, count),
        }
        yield {
            "type": "message",
            "seq": 1,
            "role": "user",
            "content": [{"type": "text", "text": TEXT}],
            "created_at": at,
            "tokens": 40,
            "counter": "onrecord-estimate-1",
        }
    yield {"type": "end", "sessions": count, "messages": count, "deleted": 0}


@contextlib.contextmanager
def _saver(place: Place, count: int) -> Iterator[SqliteSaver]:
    """One with as many threads, a checkpoint each, written without waiting for the disk."""
    with contextlib.closing(
        sqlite3.connect(place.file("list"), check_same_thread=False)
    ) as connection:
        saver = SqliteSaver(connection)
        saver.setup()
        connection.execute("PRAGMA synchronous = OFF")
        for n in range(count):
            config: Any = {"configurable": {"thread_id": f"s{n}", "checkpoint_ns": ""}}
            about: Any = {"source": "input", "step": -1, **_about(n, count)}
            saver.put(config, empty_checkpoint(), about, {})
        yield saver
