"""A store that has grown: a session of a million messages, 100,000 of ten messages, searches among
a million messages of 10,000 users, what was left unfinished among a million conversations, and the
upkeep of a million sessions.

    make scale
    make scale ARGS="--small"           a hundredth of that
    make scale ARGS="--only search"     the searches alone; or "sessions", "unfinished",
                                        "upkeep"

Prints how long each thing takes, and how much memory the process has taken by then.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from bench import searching, unfinished, upkeep
from onrecord import ANY, Progress, Store

T = TypeVar("T")
WORDS = ("order", "parcel", "refund", "Tuesday", "tracking", "number", "please", "late", "thanks")


def text(n: int) -> str:
    return f"{n}: " + " ".join(WORDS[(n * k) % len(WORDS)] for k in range(1, 14))


def memory() -> str:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return f"{peak / (1 if sys.platform == 'linux' else 1024) / 1024:,.0f} MiB at the most so far"


def step(what: str, work: Callable[[], T]) -> T:
    start = time.perf_counter()
    done = work()
    print(f"  {what}: {shown(time.perf_counter() - start)}; {memory()}", flush=True)
    return done


def shown(seconds: float) -> str:
    return f"{seconds:,.1f} s" if seconds >= 1 else f"{seconds * 1e3:,.1f} ms"


def median(work: Callable[[], object], times: int = 21) -> str:
    found = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return shown(statistics.median(found))


def long_session(url: str, length: int) -> None:
    with Store(url, durability="normal") as store:
        chat = store.session("long")

        def write() -> None:
            for done in range(0, length, 10_000):
                batch = range(done, min(done + 10_000, length))
                chat.append([("user" if n % 2 == 0 else "assistant", text(n)) for n in batch])

        step(f"{length:,} messages appended, 10,000 at a time", write)
    _open_and_read(url, "long")


def many_sessions(url: str, count: int) -> None:
    with Store(url, durability="normal") as store:

        def write() -> None:
            for n in range(count):
                said = [("user" if i % 2 == 0 else "assistant", text(n + i)) for i in range(10)]
                store.session(f"s{n}", user=f"u{n % 1000}").append(said)

        step(f"{count:,} sessions of ten messages", write)
    _open_and_read(url, f"s{count // 2}", user=f"u{count // 2 % 1000}")


def _open_and_read(url: str, key: str, user: str = "") -> None:
    start = time.perf_counter()
    with Store(url, durability="normal") as store:
        chat = store.session(key, user=user)
        chat.tail(20)
        print(f"  opened, and 20 messages read: {shown(time.perf_counter() - start)}")
        print(f"  a tail of 20: {median(lambda: chat.tail(20))}")
        print(
            f"  100 messages from the middle: {median(lambda: chat.messages(after=5, limit=100))}"
        )
        listed = median(lambda: store.sessions(tenant=ANY, user=ANY, agent=ANY, limit=50))
        print(f"  50 sessions listed, of all: {listed}")
        print(f"  50 sessions listed, of one user: {median(lambda: store.sessions(user=user))}")
        print(f"  one more message: {median(lambda: chat.append(('user', 'one more')))}")
        step("scanned to the end", lambda: sum(1 for _ in chat.scan()))
        reported: list[Progress] = []
        done = step("compacted", lambda: store.compact(quiet_for=0, progress=reported.append))
        print(f"    {done.disk_bytes_before:,} bytes before, {done.disk_bytes:,} after")
        problems = step("verified", lambda: store.verify(progress=reported.append))
        assert not problems, problems[:3]
        found = step("counted", store.stats)
        print(f"    {found.messages:,} messages, {found.segments:,} segments", end="")
        print(f", {found.saving:.0%} saved; a tail of 20: {median(lambda: chat.tail(20))}")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--small", action="store_true", help="a hundredth")
    parts = ["sessions", "search", "unfinished", "upkeep"]
    options.add_argument("--only", choices=parts, help="a part")
    options.add_argument("--folder", help="where to write (default: a temporary folder)")
    chosen = options.parse_args()
    part = 100 if chosen.small else 1
    if chosen.only in (None, "sessions"):
        sessions(chosen.folder, part)
    if chosen.only in (None, "search"):
        searching.main(chosen.small, "")
    if chosen.only in (None, "unfinished"):
        unfinished.main(chosen.small)
    if chosen.only in (None, "upkeep"):
        upkeep.main(chosen.small)


def sessions(where: str | None, part: int) -> None:
    with tempfile.TemporaryDirectory(dir=where) as folder:
        print("One long session")
        long_session(f"sqlite:///{Path(folder)}/long.db", 1_000_000 // part)
        print("Many short sessions")
        many_sessions(f"sqlite:///{Path(folder)}/many.db", 100_000 // part)


if __name__ == "__main__":
    main()
