"""What the cache costs and saves, beside the least that Redis could do.

    .venv/bin/python bench/cache.py

ONRECORD_URL and ONRECORD_CACHE name other servers than a SQLite file and a Redis of its own.
Every number is a median of repetitions that take turns. The garbage collector stays on.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from onrecord import Message, Session, Store
from onrecord.cache.redis import RedisCache
from onrecord.flow import Cold, Hot

sys.path.insert(0, str(Path(__file__).parents[1]))
from bench.data import TEXT
from tests.servers.binaries import Missing
from tests.servers.redis import OwnRedis, find_redis_binaries


class Counted:
    """Counts the steps a store takes."""

    def __init__(self, store: Store) -> None:
        self.hot = self.cold = 0
        perform = store._perform

        def counted(step: Any) -> Any:
            self.hot += isinstance(step, Hot)
            self.cold += isinstance(step, Cold)
            return perform(step)

        store._perform = counted  # type: ignore[method-assign]

    def during(self, work: Callable[[], object]) -> str:
        self.hot = self.cold = 0
        work()
        return f"Redis round trips {self.hot}, SQL transactions {self.cold}"


@contextlib.contextmanager
def some_redis() -> Iterator[str]:
    """The Redis that is named, or one of our own for as long as this runs."""
    if url := os.environ.get("ONRECORD_CACHE"):
        yield url
        return
    found = find_redis_binaries()
    if isinstance(found, Missing):
        raise SystemExit(f"There is no Redis: {found.reason}. ONRECORD_CACHE=redis://… names one.")
    with contextlib.closing(OwnRedis(found)) as server:
        yield server.url


def medians(rounds: int, **works: Callable[[], object]) -> dict[str, float]:
    """The median time of each, taking turns."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(found) for name, found in times.items()}


def warm(chat: Session, store: Store) -> None:
    """Read until the cache answers: a new entry is settled before it is filled."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        before = store.health().counters.hits
        chat.tail(20)
        if store.health().counters.hits > before:
            return
        time.sleep(0.2)
    raise SystemExit("the cache did not become warm")


def as_new(store: Store, chat: Session) -> list[Message]:
    """A tail of 20 as a process reads it that has read nothing before."""
    store._hot.empty()
    return chat.tail(20)


def entry_of(store: Store, chat: Session) -> tuple[Any, str]:
    """The client that asks for a session's entry, and the entry's key."""
    hot = store._hot
    assert isinstance(hot, RedisCache)
    return hot._clients.sync(), hot.key_of(chat.name.identity)


@contextlib.contextmanager
def bare(store: Store, chat: Session) -> Iterator[Callable[[], list[bytes]]]:
    """The least that Redis could do: 20 rows out of a list that has nothing else in it."""
    client, entry = entry_of(store, chat)
    copy = f"{entry}:bare"
    client.rpush(copy, *client.lrange(entry, 1, 20))
    try:
        yield lambda: client.lrange(copy, 0, 19)
    finally:
        client.delete(copy)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--quick", action="store_true", help="fewer repetitions")
    rounds = 500 if options.parse_args().quick else 5_000
    with some_redis() as cache, tempfile.TemporaryDirectory() as folder:
        url = os.environ.get("ONRECORD_URL", f"sqlite:///{Path(folder)}/bench.db")
        key = f"bench-{os.getpid()}"
        with Store(url, cache=cache, revalidate=3600) as store, Store(url) as plain:
            chat = store.session(key)
            for _ in range(10):
                chat.append([("user", TEXT)] * 1_000)
            print(f"{plain}, cache {cache.rpartition('@')[2]}, session of 10,000 messages")
            warm(chat, store)
            counted = Counted(store)
            cached = store.session(key)
            print("Tail of 20, hot:", counted.during(lambda: cached.tail(20)))
            client, entry = entry_of(store, chat)
            with bare(store, chat) as lrange:
                found = medians(
                    rounds,
                    tail=lambda: chat.tail(20),
                    lrange=lrange,
                    fresh=lambda: as_new(store, chat),
                )
            ratio = found["tail"] / found["lrange"]
            print(f"  a reader that read before {micro(found['tail'])}", end="")
            print(f"   bare LRANGE of the same bytes {micro(found['lrange'])}   {ratio:.2f} times")
            ratio = found["fresh"] / found["lrange"]
            print(f"  a reader that never read {micro(found['fresh'])}   {ratio:.2f} times")
            print("Append of one message:", counted.during(lambda: cached.append(("user", TEXT))))
            other = plain.session(f"{key}-plain")
            found = medians(
                rounds // 5,
                both=lambda: chat.append(("user", TEXT)),
                sql=lambda: other.append(("user", TEXT)),
                ping=client.ping,
            )
            extra = (found["both"] - found["sql"]) / found["ping"]
            print(
                f"  both tiers {micro(found['both'])}   SQL alone {micro(found['sql'])}   "
                f"difference {extra:.1f} PINGs of {micro(found['ping'])}"
            )
            for name in (key, f"{key}-plain"):  # in a database that was named, leave nothing
                store.session(name).clear()
            client.delete(entry)


def micro(value: float) -> str:
    return f"{value * 1e6:,.0f} µs"


if __name__ == "__main__":
    main()
