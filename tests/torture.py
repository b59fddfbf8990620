"""Writers and readers of sessions in PostgreSQL with Redis in front, while both are mistreated.

    python -m tests.torture --seconds 60 --seed 7 [--consistency cached|strict]

Every worker is a process of its own and writes down what it did and what it was told. A seeded
nemesis kills writers with SIGKILL (another takes the place), pauses Redis, flushes it, restarts
it empty, fills its memory, drops SQL connections, and cuts one writer off Redis. Afterwards the
checker of histories says what no correct store would have answered: there must be nothing.

``cached`` has one exception to show here: a writer that could not mark a session in Redis, because
it was cut off or Redis did not answer, commits all the same, and who reads the cache may not see
that for ``revalidate`` seconds. Each writer notes the very changes it could not mark. Only a read
that misses one of them is excused, and only if it would have been right REVALIDATE + MARGIN
seconds earlier. ``strict`` excuses nothing.

So that a short run sees sessions become warm again between two faults, marks live 1 s here and
not 10, and the timeouts of a commit, which have to end before its mark, are as much shorter.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import math
import os
import select
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.connection import wait
from pathlib import Path
from random import Random
from typing import Any, Final, Literal, TypeVar
from unittest import mock

import msgspec
import psycopg
import redis

from recollect import Message, Store, Unavailable
from recollect.health import Counters
from recollect.hot import CacheUnavailable
from recollect.hot.redis import Request
from recollect.testing import (
    Appended,
    Attempted,
    Event,
    Log,
    Read,
    Refused,
    Rewound,
    Violation,
    check,
    load,
)
from tests.servers.binaries import Missing
from tests.servers.postgres import OwnPostgres, find_postgres_binaries
from tests.servers.redis import OwnRedis, find_redis_binaries

T = TypeVar("T")
Consistency = Literal["cached", "strict"]

ROOT: Final = Path(__file__).parents[1]
PATIENCE: Final = 60.0

REVALIDATE: Final = 0.5
MARGIN: Final = 0.1
"""What scheduling and two clocks may add to REVALIDATE."""
MARK_LIFETIME: Final = 1.0
BEGIN_WITHIN: Final = 0.2
TIMEOUT: Final = 0.7
"""Of a commit: with BEGIN_WITHIN it ends before its mark does."""

SHARED: Final = ("a", "b", "c: % 'ö'")
"""Sessions that every writer appends to. One writer has a session of its own as well, which it
also clears and rewinds."""
FAULTS: Final = ("pause", "flush", "restart", "fill", "terminate", "cut")
"""What the nemesis does, in an order of its own, then again in another; and it kills writers
all the while."""
STALENESS: Final = ("stale", "vanished", "lost", "resurrected")
"""How it shows that a read was not the newest. (``lost`` if what it missed was cleared before
anybody else looked; really lost is what the last read of all does not find either.)"""


# -- workers -------------------------------------------------------------------------------------


class Worker:
    """What one process does until its standard input ends."""

    def __init__(self, order: dict[str, Any]) -> None:
        self.name: str = order["name"]
        self.folder = Path(order["folder"])
        self.random = Random(order["seed"])
        self.store = Store(
            order["url"],
            cache=order["cache"],
            consistency=order["consistency"],
            revalidate=REVALIDATE,
            timeout=TIMEOUT,
            pool_size=2,
            compare=0.1,
        )
        self.failed = 0
        self._logs: dict[str, Log] = {}
        self._numbers = itertools.count()
        self._own = self.name
        self._head = 0
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
        self._notes = os.open(self.folder / f"{self.name}.notes", flags, 0o600)
        self._note_what_is_not_marked(mute=order["plant"] == "mute")

    def run(self, role: str) -> None:
        step = {"write": self.write, "rewrite": self.rewrite, "read": self.read}[role]
        with asyncio.Runner() as self.runner:
            for number in itertools.count(1):
                step()
                if number % 20 == 0:
                    self.note(counters=msgspec.to_builtins(self.store._hot.counters))
                thinking = self.random.random() * 0.02
                if select.select([sys.stdin], [], [], thinking)[0]:
                    break
            counters = self.store.health().counters
            self.note(counters=msgspec.to_builtins(counters), failed=self.failed)
            self.runner.run(self.store.aclose())

    def write(self) -> None:
        self.append(self.random.choice(SHARED))

    def rewrite(self) -> None:
        """Append to a session of one's own, and now and then take something away again."""
        log = self.log(self._own)
        if self.random.random() < 0.85:
            self.append(self._own)
            return
        head = self.random.choice((0, self.random.randint(0, self._head)))
        session = self.store.session(self._own)
        under_way = log.rewinding(head)
        try:
            version = self.call(lambda: session.rewind(head), lambda: session.arewind(head))
        except Unavailable:
            # It may still happen at any time, so nothing can be said of that session any more.
            self.failed += 1
            self._own = f"{self.name}-{next(self._numbers)}"
            self._head = 0
        else:
            under_way.done(version)
            self._head = version.head

    def append(self, key: str) -> None:
        number = next(self._numbers)
        texts = [f"{self.name}.{number}.{i}" for i in range(self.random.randint(1, 4))]
        with_ids = self.random.random() < 0.5
        messages = [
            {"role": "user", "content": text, **({"id": text} if with_ids else {})}
            for text in texts
        ]
        session = self.store.session(key)
        for _ in range(3 if with_ids else 1):
            under_way = self.log(key).appending(texts)
            try:
                stored = self.call(
                    lambda: session.append(messages), lambda: session.aappend(messages)
                )
            except Unavailable as fault:
                self.failed += 1
                if not fault.outcome_unknown:
                    under_way.refused()
            else:
                under_way.acknowledged([message.seq for message in stored])
                assert [message.text for message in stored] == texts
                self._head = stored[-1].seq or 0
                return

    def read(self) -> None:
        keys = sorted(path.name for path in (self.folder / "logs").iterdir())
        key = bytes.fromhex(self.random.choice(keys)).decode()
        session, log = self.store.session(key), self.log(key)
        n = self.random.choice((1, 5, 20, 50))
        how = self.random.random()
        began = time.monotonic_ns()
        try:
            if how < 0.07:  # the whole of it, which only SQL has
                log.read(began, pairs(self.call(session.messages, session.amessages)))
            elif how < 0.2:
                # Every message is a user's and opens a turn, so a window is a tail.
                window = self.call(
                    lambda: session.window(messages=n), lambda: session.awindow(messages=n)
                )
                log.read(began, pairs(window), tail=n, version=window.version)
            else:
                tail = self.call(lambda: session.tail(n), lambda: session.atail(n))
                log.read(began, pairs(tail), tail=n)
        except Unavailable:
            self.failed += 1

    def call(self, sync: Callable[[], T], twin: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return self.runner.run(twin()) if self.random.random() < 0.3 else sync()

    def log(self, key: str) -> Log:
        if key not in self._logs:
            folder = self.folder / "logs" / key.encode().hex()
            folder.mkdir(parents=True, exist_ok=True)
            self._logs[key] = Log(folder / f"{self.name}.jsonl", self.name)
        return self._logs[key]

    def note(self, **what: Any) -> None:
        """With the operating system when this returns, whoever is killed then."""
        os.write(self._notes, json.dumps(what).encode() + b"\n")

    def _note_what_is_not_marked(self, mute: bool) -> None:
        cache: Any = self.store._hot
        exchange, aexchange = cache.exchange, cache.aexchange

        def note(answer: object) -> None:
            if isinstance(answer, Request) and answer.script.name == "mark":
                self.note(unmarked=time.monotonic_ns(), key=self._key_of(answer.identity))

        def noting(answer: object) -> Any:
            if mute and isinstance(answer, Request) and answer.script.name in ("mark", "publish"):
                return 1
            try:
                return exchange(answer)
            except CacheUnavailable:
                note(answer)
                raise

        async def anoting(answer: object) -> Any:
            if mute and isinstance(answer, Request) and answer.script.name in ("mark", "publish"):
                return 1
            try:
                return await aexchange(answer)
            except CacheUnavailable:
                note(answer)
                raise

        cache.exchange, cache.aexchange = noting, anoting

    def _key_of(self, identity: bytes) -> str:
        return next(k for k in self._logs if self.store.session(k).name.identity == identity)


def pairs(messages: Sequence[Message]) -> list[tuple[int | None, str]]:
    return [(message.seq, message.text) for message in messages]


def work() -> None:
    """Wait for an order, and follow it."""
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    # Unbuffered, so that its end can be waited for.
    with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as orders:
        line = orders.readline()
    if not line:
        return
    order = json.loads(line)
    with (
        mock.patch("recollect.hot.redis.MARK_LIFETIME", MARK_LIFETIME),
        mock.patch("recollect.protocol.mark.MUST_BEGIN_WITHIN", BEGIN_WITHIN),
    ):
        Worker(order).run(order["role"])


class Process:
    """A worker as those who start it see it; it waits for an order."""

    def __init__(self, folder: Path, number: int) -> None:
        self.name = f"w{number}"
        self.errors = folder / f"{self.name}.errors"
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.torture", "work"],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,  # Ctrl-C is for the one who started them
            )

        assert self.process.stdout is not None
        self.output = self.process.stdout.fileno()
        """Becomes readable when the process is gone."""

    def begin(self, order: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        if self.process.stdout.readline() != b"ready\n":
            raise RuntimeError(f"a worker did not start:\n{self.errors.read_text()}")
        self.process.stdin.write(json.dumps(order | {"name": self.name}).encode() + b"\n")
        self.process.stdin.flush()

    def stop(self) -> None:
        """Ask it to end."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    def ended(self) -> int:
        """Wait for its end. Its exit code."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(PATIENCE)
        return self.kill()

    def kill(self) -> int:
        if self.process.poll() is None:
            self.process.kill()
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.stdout.close()
        return self.process.wait()


# -- a line that can be cut ----------------------------------------------------------------------


class Line:
    """Passes connections on to a server, unless it is cut."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._state: Literal["open", "closed", "silent"] = "open"
        self._writers: set[asyncio.StreamWriter] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._end = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),))
        self._thread.start()

    def cut(self, how: Literal["closed", "silent"]) -> None:
        """``closed``: connections end, new ones as well. ``silent``: what is sent is lost."""
        self._loop.call_soon_threadsafe(self._change, how)

    def mend(self) -> None:
        self._loop.call_soon_threadsafe(self._change, "open")

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(PATIENCE)
        self._loop.close()

    def _change(self, state: Literal["open", "closed", "silent"]) -> None:
        self._state = state
        if state != "silent":
            for writer in self._writers:
                writer.transport.abort()

    async def _run(self) -> None:
        async with await asyncio.start_server(self._accept, sock=self._listener):
            await self._end.wait()
            self._change("closed")
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*others, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.ExitStack() as stack:
            self._keep(writer, stack)
            if self._state == "closed":
                return
            try:
                there = await asyncio.open_connection("127.0.0.1", self._port)
            except OSError:  # the server is down: so is the line
                return
            self._keep(there[1], stack)
            await asyncio.gather(self._pass(reader, there[1]), self._pass(there[0], writer))

    def _keep(self, writer: asyncio.StreamWriter, stack: contextlib.ExitStack) -> None:
        self._writers.add(writer)
        stack.callback(self._writers.discard, writer)
        stack.callback(writer.transport.abort)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if self._state == "open":
                    writer.write(data)
                    await writer.drain()
        writer.transport.abort()


# -- the nemesis ---------------------------------------------------------------------------------


class Nemesis:
    """Starts workers, mistreats them and their servers, and remembers what it did."""

    WRITERS: Final = {"writer 1": "write", "the cut writer": "write", "the rewriter": "rewrite"}
    READERS: Final = {"reader 1": "read", "reader 2": "read", "reader 3": "read"}
    SPARES: Final = 2

    def __init__(self, folder: Path, url: str, server: OwnRedis, order: dict[str, Any]) -> None:
        self.random = Random(order["seed"])
        self.deeds: list[tuple[float, str]] = []
        self.wrong: list[str] = []
        self._folder = folder
        self._url = url
        self._redis = server
        self._order = order | {"url": url, "folder": str(folder)}
        self._line = Line(int(server.url.rpartition(":")[2].partition("/")[0]))
        self._numbers = itertools.count(1)
        self._spares: list[Process] = []
        self._working: dict[str, Process] = {}
        self._origin = self._next_kill = time.monotonic()

    def __enter__(self) -> Nemesis:
        return self

    def __exit__(self, *exc: object) -> None:
        for process in [*self._spares, *self._working.values()]:
            process.kill()
        self._line.close()

    def run(self, seconds: float, faults: Sequence[str]) -> None:
        roles = self.WRITERS | self.READERS
        self._spares = [Process(self._folder, next(self._numbers)) for _ in roles]
        for slot in roles:
            self._begin(slot)
        self._origin = time.monotonic()
        ends = self._origin + seconds
        self._next_kill = self._origin + 1 if faults else math.inf
        deck: list[str] = []
        while (left := ends - time.monotonic()) > 0:
            self._watch(min(left, self.random.uniform(0.3, 1.4)))
            if faults and ends - time.monotonic() > 1:
                deck = deck or self.random.sample(faults, len(faults))
                getattr(self, deck.pop())()
        for process in self._working.values():
            process.stop()
        for slot, process in self._working.items():
            if code := process.ended():
                self._fell(slot, process, code)

    def kill(self) -> None:
        slot = self.random.choice(list(self.WRITERS))
        process = self._working.pop(slot)
        self._did(f"kill -9 {slot} ({process.name})")
        if (code := process.kill()) != -9:
            self._fell(slot, process, code)
        self._begin(slot)

    def pause(self) -> None:
        seconds = self.random.uniform(0.1, 1.0)
        self._did(f"pause Redis for {seconds:.2f} s")
        self._redis.pause()
        try:
            self._watch(seconds)
        finally:
            self._redis.resume()

    def flush(self) -> None:
        self._did("flush Redis")
        with self._client() as client:
            client.flushall()

    def restart(self) -> None:
        self._did("restart Redis, empty")
        if self.random.random() < 0.5:
            self._redis.kill()
            self._redis.start()
        else:
            self._redis.restart()

    def fill(self) -> None:
        seconds = self.random.uniform(0.1, 0.6)
        self._did(f"fill Redis for {seconds:.2f} s")
        with self._client() as client:
            client.config_set("maxmemory-policy", "noeviction")
            client.config_set("maxmemory", 1)
            self._watch(seconds)
            client.config_set("maxmemory", 0)

    def terminate(self) -> None:
        with psycopg.connect(self._url, autocommit=True, connect_timeout=10) as connection:
            found = connection.execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                " AND random() < 0.7"
            ).fetchone()
        self._did(f"drop {found[0] if found else 0} SQL connections")

    def cut(self) -> None:
        seconds = self.random.uniform(0.3, 1.2)
        how: Literal["closed", "silent"] = self.random.choice(("closed", "silent"))
        self._did(f"cut a writer off Redis for {seconds:.2f} s ({how})")
        self._line.cut(how)
        self._watch(seconds)
        self._line.mend()

    def _client(self) -> redis.Redis:
        return redis.Redis.from_url(self._redis.url, socket_timeout=PATIENCE)

    def _begin(self, slot: str) -> None:
        process = self._spares.pop(0)
        self._working[slot] = process
        if len(self._spares) < self.SPARES:
            self._spares.append(Process(self._folder, next(self._numbers)))
        cut = slot == "the cut writer"
        process.begin(
            self._order
            | {
                "role": (self.WRITERS | self.READERS)[slot],
                "cache": f"redis://127.0.0.1:{self._line.port}" if cut else self._redis.url,
                "seed": f"{self._order['seed']} {process.name}",
            }
        )

    def _watch(self, seconds: float) -> None:
        """Let all of them work for so long, and kill one when it is time to."""
        ends = time.monotonic() + seconds
        while (now := time.monotonic()) < ends:
            if now >= self._next_kill:
                if wait([self._spares[0].output], 0):  # another can take the place at once
                    self._next_kill = now + self.random.uniform(0.5, 2.5)
                    self.kill()
                else:
                    self._next_kill = now + 0.1
                continue
            outputs = {p.output: slot for slot, p in self._working.items()}
            for output in wait(list(outputs), min(ends, self._next_kill) - now):
                slot = outputs[output]  # type: ignore[index]
                process = self._working.pop(slot)
                self._fell(slot, process, process.ended())
                self._begin(slot)

    def _did(self, what: str) -> None:
        self.deeds.append((time.monotonic() - self._origin, what))

    def _fell(self, slot: str, process: Process, code: int) -> None:
        said = process.errors.read_text(errors="replace")[-4000:]
        self.wrong.append(f"{slot} ({process.name}) ended by itself with {code}:\n{said}")


# -- the verdict ---------------------------------------------------------------------------------


@dataclass
class Unmarked:
    """A change that its writer could not announce: from when until when it was under way."""

    worker: str
    began: int
    ended: int


@dataclass
class Verdict:
    """What came of a run."""

    seed: int
    seconds: float
    consistency: Consistency
    counters: Counters = field(default_factory=Counters)
    operations: Counter[str] = field(default_factory=Counter)
    deeds: list[tuple[float, str]] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    unmarked: int = 0
    excused: list[float] = field(default_factory=list)
    """How long, in seconds, a read of the exception had been outdated when it began."""

    def __str__(self) -> str:
        c, did = self.counters, "\n".join(f"  {at:7.2f} s  {what}" for at, what in self.deeds)
        operations = ", ".join(f"{n} {what}" for what, n in self.operations.items())
        kinds = ", ".join(
            f"{self.kinds[kind]} {kind}"
            for kind in dict.fromkeys(["lost", "duplicated", "reordered", "split", "stale"])
            | dict.fromkeys(self.kinds)
        )
        bound = f"{REVALIDATE:g} s and a margin of {MARGIN:g} s"
        lasted = (
            f"outdated by {1000 * max(self.excused):.0f} ms at the most; allowed are {bound}"
            if self.excused
            else f"{bound} would be allowed"
        )
        if self.consistency == "strict":
            excused = "none are allowed in strict"
        else:
            excused = f"{len(self.excused)} reads, {lasted}"
        return (
            f"seed {self.seed}, {self.seconds:g} s, consistency {self.consistency}\n"
            f"\nwhat the nemesis did\n{did or '  nothing'}\n"
            f"\noperations  {operations}\n"
            f"cache       {c.hits} hits, {c.misses} misses, {c.degraded_reads} degraded, "
            f"{c.fills} fills, {c.refused_fills} refused, {c.validations} validations; "
            f"{c.checked} compared with SQL, {c.disagreed} disagreed\n"
            f"exception   {self.unmarked} changes by writers that could not reach Redis; stale "
            f"for that reason: {excused}\n"
            f"violations  {kinds}\n"
            + "".join(f"\n{violation}\n" for violation in self.violations[:20])
            + ("\nFAILED\n" if self.violations else "\nall is well\n")
        )


class Judge:
    """Reads what the workers wrote down."""

    def __init__(self, folder: Path, verdict: Verdict) -> None:
        self.folder = folder
        self.verdict = verdict
        self.unmarked: dict[str, list[tuple[str, int]]] = {}

    def judge(self) -> None:
        self._read_notes()
        for folder in sorted((self.folder / "logs").iterdir()):
            key = bytes.fromhex(folder.name).decode()
            self._judge_session(key, load(folder.iterdir()))

    def _read_notes(self) -> None:
        total = self.verdict.counters
        for path in self.folder.glob("*.notes"):
            last: dict[str, int] = {}
            for line in path.read_bytes().split(b"\n")[:-1]:
                note = json.loads(line)
                if "unmarked" in note:
                    changes = self.unmarked.setdefault(note["key"], [])
                    changes.append((path.stem, note["unmarked"]))
                last = note.get("counters", last)
                self.verdict.operations["failed calls"] += note.get("failed", 0)
            for name, n in last.items():
                setattr(total, name, getattr(total, name) + n)
        if total.disagreed:
            self._wrong("disagreed", f"{total.disagreed} hits were not what SQL said")

    def _judge_session(self, key: str, events: list[Event]) -> None:
        self._count(events)
        unmarked = [_change(note, events) for note in self.unmarked.get(key, [])]
        self.verdict.unmarked += len(unmarked)
        found = check(events, most=100_000)
        if self.verdict.consistency == "cached" and found:
            late: dict[Read, float] = {}
            for violation in found:
                read, by = _outdated(violation, unmarked)
                if read is not None:
                    late[read] = max(by, late.get(read, 0))
            # Would they have been right, had they begun that much earlier?
            allowed = int((REVALIDATE + MARGIN) * 1e9)
            events = [
                replace(e, began=e.began - allowed) if isinstance(e, Read) and e in late else e
                for e in events
            ]
            found = check(events, most=100_000)
            self.verdict.excused += late.values()
        for violation in found:
            self._wrong(violation.kind, f"session {key}: {violation}")

    def _wrong(self, kind: str, what: str) -> None:
        self.verdict.kinds[kind] += 1
        self.verdict.violations.append(what)

    def _count(self, events: list[Event]) -> None:
        n = self.verdict.operations
        began = {e.began: e for e in events if isinstance(e, Attempted)}
        for e in events:
            match e:
                case Read():
                    n["whole reads" if e.tail is None else "tail reads"] += 1
                case Appended():
                    n["appends"] += 1
                    began.pop(e.began, None)
                case Refused():
                    began.pop(e.began, None)
                case Rewound() if e.ended is not None:
                    n["rewinds and clears"] += 1
                case _:
                    pass
        n["appends without an answer"] += len(began)


def _change(note: tuple[str, int], events: list[Event]) -> Unmarked:
    """The change that a writer could not mark."""
    worker, at = note
    for e in events:
        match e:
            case Appended() | Refused() | Rewound() if e.worker == worker and e.ended is not None:
                if e.began <= at <= e.ended:
                    return Unmarked(worker, e.began, e.ended)
            case _:
                pass
    # Nobody knows how it ended, but its timeouts say by when.
    return Unmarked(worker, at, at + int((BEGIN_WITHIN + TIMEOUT) * 1e9))


def _outdated(violation: Violation, unmarked: list[Unmarked]) -> tuple[Read | None, float]:
    """The read that missed a change nobody could mark, and by how long; None if that is not it."""
    cause, read = violation.events[0], violation.events[-1]
    if violation.kind not in STALENESS or not isinstance(read, Read):
        return None, 0
    ended: int = getattr(cause, "ended", None) or cause.began
    if isinstance(cause, Read):
        # Somebody saw what a writer could not mark, perhaps before it was acknowledged.
        latest = int((REVALIDATE + MARGIN) * 1e9)
        excused = any(u.began <= read.ended and read.began <= u.ended + latest for u in unmarked)
    else:
        excused = any((u.worker, u.began) == (cause.worker, cause.began) for u in unmarked)
    return (read if excused else None), (read.began - ended) / 1e9


def torture(
    url: str,
    server: OwnRedis,
    *,
    seconds: float,
    seed: int,
    consistency: Consistency = "cached",
    faults: Sequence[str] = FAULTS,
    plant: Literal["mute"] | None = None,
) -> Verdict:
    """Run on an empty database and a Redis that may be mistreated.

    ``plant`` is a bug to be found: writers that tell Redis nothing and believe they did.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "logs").mkdir()
        order = {"seed": seed, "consistency": consistency, "plant": plant}
        verdict = Verdict(seed, seconds, consistency)
        with Store(url) as store:
            store.migrate()
        for key in SHARED:
            (folder / "logs" / key.encode().hex()).mkdir()
        with Nemesis(folder, url, server, order) as nemesis:
            nemesis.run(seconds, faults)
        verdict.deeds = nemesis.deeds
        verdict.violations += nemesis.wrong
        settings: Any = {"consistency": consistency, "revalidate": REVALIDATE}
        with Store(url) as truth, Store(url, cache=server.url, **settings) as cached:
            for path in list((folder / "logs").iterdir()):
                key = bytes.fromhex(path.name).decode()
                with Log(path / "the last one.jsonl") as log:
                    began = time.monotonic_ns()
                    log.read(began, pairs(truth.session(key).messages()))
                    began = time.monotonic_ns()
                    log.read(began, pairs(cached.session(key).tail(50)), tail=50)
        Judge(folder, verdict).judge()
        return verdict


@contextlib.contextmanager
def servers() -> Iterator[tuple[OwnPostgres, OwnRedis]]:
    """Both of one's own."""
    database, cache = find_postgres_binaries(), find_redis_binaries()
    for found in (database, cache):
        if isinstance(found, Missing):
            raise SystemExit(f"a server is missing: {found.reason}")
    assert not isinstance(database, Missing)
    assert not isinstance(cache, Missing)
    with contextlib.ExitStack() as stack:
        postgres = stack.enter_context(contextlib.closing(OwnPostgres(database)))
        yield postgres, stack.enter_context(contextlib.closing(OwnRedis(cache)))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--seconds", type=float, default=10, help="how long")
    parser.add_argument("--seed", type=int, default=1, help="of the nemesis")
    parser.add_argument("--consistency", choices=["cached", "strict"], default="cached")
    given = parser.parse_args()
    with servers() as (postgres, server):
        verdict = torture(
            postgres.create_database("torture"),
            server,
            seconds=given.seconds,
            seed=given.seed,
            consistency=given.consistency,
        )
    sys.stdout.write(str(verdict))
    return 1 if verdict.violations else 0


if __name__ == "__main__":
    if sys.argv[1:] == ["work"]:
        try:
            work()
        except BaseException:
            traceback.print_exc()
            raise SystemExit(3) from None
    else:
        raise SystemExit(main())
