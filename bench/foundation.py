"""What the foundation costs, beside the least that could do the same job.

    python bench/foundation.py            about a minute
    python bench/foundation.py --quick    a few seconds, rougher

Every number is a median of repetitions in which we and the other take turns, so that a slow
minute of the disk meets both. The garbage collector stays on. Nothing here is asserted.
"""

from __future__ import annotations

import argparse
import itertools
import platform
import sqlite3
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from onrecord import Message, Store
from onrecord.codec import encode
from onrecord.ledger.database.dialect import Dialect
from onrecord.ledger.schema.steps import first_statements
from onrecord.stored.clock import period_of

TEXT = (
    "My order has not arrived, and the tracking page says that it was delivered on Tuesday. "
    "I was at home all day. Could you look into it, please?"
)
FRAME = encode(Message("user", TEXT))[0]
INSERT = (
    "INSERT INTO onrecord_tail (place, created, token, epoch, tokens, counter, opens_turn, frame)"
)


class Bare:
    """The same writes with nothing but Python's sqlite3: no codec, no checks, no answer."""

    def __init__(self, file: Path, sessions: int = 1) -> None:
        self.file = file
        connection = self.connect()
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        for statement in first_statements("sqlite"):
            connection.execute(Dialect("sqlite").render(statement))
        for n in range(1, sessions + 1):
            connection.execute(
                "INSERT INTO onrecord_sessions (id, identity, owner, epoch, cut_epoch, head, "
                "messages, turns, tokens, created, last_active, active_period, tenant, user, "
                "agent, key) VALUES (?, ?, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, '', '', '', 'k')",
                (n, n.to_bytes(20, "big")),
            )
        self._own = connection

    def connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.file, isolation_level=None, timeout=60, check_same_thread=False
        )
        connection.execute("PRAGMA synchronous = FULL")
        return connection

    def append(self, connection: sqlite3.Connection | None = None, session: int = 1) -> None:
        run = (connection or self._own).execute
        now = time.time_ns() // 1000
        run("BEGIN IMMEDIATE")
        number, head = run(
            "SELECT id, head FROM onrecord_sessions WHERE identity = ?",
            (session.to_bytes(20, "big"),),
        ).fetchone()
        run(
            "UPDATE onrecord_sessions SET head = head + 1, messages = messages + 1, "
            "turns = turns + 1, tokens = tokens + 40, last_active = ?, active_period = ? "
            "WHERE id = ?",
            (now, period_of(now), number),
        )
        run(
            f"{INSERT} VALUES (?, ?, ?, 0, 40, 1, 1, ?)",
            ((number << 32) | (head + 1), now, now, FRAME),
        )
        run("COMMIT")


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def interleaved(
    rounds: int, ours: Callable[[], object], theirs: Callable[[], object]
) -> tuple[float, float]:
    """Medians of the two, a round of each in turn."""
    pairs = [(seconds(ours), seconds(theirs)) for _ in range(rounds)]
    return statistics.median(p[0] for p in pairs), statistics.median(p[1] for p in pairs)


def one_append(folder: Path, rounds: int) -> None:
    bare = Bare(folder / "bare.db")
    with Store(f"sqlite:///{folder}/ours.db") as store:
        chat = store.session("k")
        chat.append(("user", TEXT))
        message = ("user", TEXT)
        ours, theirs = interleaved(rounds, lambda: chat.append(message), bare.append)
    print(f"  ours {micro(ours)}   bare sqlite3 {micro(theirs)}   ratio {ours / theirs:.2f}")


def together(folder: Path, rounds: int, each: int) -> None:
    """64 threads, 64 sessions, one file: together, and one transaction each."""
    writers = 64
    bare = Bare(folder / "bare64.db", writers)
    connections = [bare.connect() for _ in range(writers)]
    one_lock, shared = threading.Lock(), bare.connect()
    with Store(f"sqlite:///{folder}/ours64.db") as store:
        chats = [store.session(f"k{n}") for n in range(writers)]
        for chat in chats:
            chat.append(("user", TEXT))

        def ours(n: int) -> None:
            for _ in range(each):
                chats[n].append(("user", TEXT))

        def alone(n: int) -> None:
            for _ in range(each):
                bare.append(connections[n], n + 1)

        def locked(n: int) -> None:
            for _ in range(each):
                with one_lock:
                    bare.append(shared, n + 1)

        found: list[list[float]] = [[], [], []]
        for _ in range(rounds):
            for i, work in enumerate((ours, alone, locked)):
                found[i].append(writers * each / seconds(partial(in_threads, writers, work)))
    for connection in (*connections, shared):
        connection.close()
    a, b, c = (statistics.median(rates) for rates in found)
    print(f"  ours {a:,.0f}/s   one transaction each: a connection a thread {b:,.0f}/s", end="")
    print(f" (ratio {a / b:.1f}), one connection under a lock {c:,.0f}/s (ratio {a / c:.1f})")


def in_threads(count: int, work: Callable[[int], None]) -> None:
    threads = [threading.Thread(target=work, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def however_long(folder: Path, rounds: int, lengths: Sequence[int]) -> None:
    """An append to a short session, and to a long one."""
    with Store(f"sqlite:///{folder}/long.db") as store:
        chats = [store.session(f"{length}") for length in lengths]
        for chat, length in zip(chats, lengths, strict=True):
            for done in range(0, length, 5_000):
                chat.append([("user", TEXT)] * min(5_000, length - done))
        times: list[list[float]] = [[] for _ in lengths]
        for _, (i, chat) in itertools.product(range(rounds), enumerate(chats)):
            times[i].append(seconds(partial(chat.append, ("user", TEXT))))
        tails: list[list[float]] = [[] for _ in lengths]
        for _, (i, chat) in itertools.product(range(rounds), enumerate(chats)):
            tails[i].append(seconds(partial(chat.tail, 20)))
    first = statistics.median(times[0])
    for length, found, tail in zip(lengths, times, tails, strict=True):
        middle = statistics.median(found)
        print(
            f"  at {length:>7,} messages: append {micro(middle)} ({middle / first:.2f} of the "
            f"first), tail of 20 {micro(statistics.median(tail))}"
        )


def micro(value: float) -> str:
    return f"{value * 1e6:,.0f} µs"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--quick", action="store_true", help="fewer repetitions")
    options.add_argument("--folder", help="where to write (default: a temporary folder)")
    chosen = options.parse_args()
    rounds = 300 if chosen.quick else 3_000
    print(f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, synchronous FULL")
    with tempfile.TemporaryDirectory(dir=chosen.folder) as name:
        folder = Path(name)
        print("One durable append of one message, one thread:")
        one_append(folder, rounds)
        print("64 threads appending to 64 sessions of one file:")
        together(folder, 3 if chosen.quick else 7, 10 if chosen.quick else 20)
        print("An append to a session that is long already:")
        however_long(folder, rounds // 3, (10, 1_000, 100_000))


if __name__ == "__main__":
    main()
