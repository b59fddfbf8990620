"""Who mistreats the workers and their servers, and remembers what was done."""

from __future__ import annotations

import contextlib
import itertools
import math
import signal
import time
from collections.abc import Iterable, Sequence
from multiprocessing.connection import wait
from pathlib import Path
from random import Random
from typing import Any, Final, Literal

import psycopg

from onrecord import Store
from onrecord.testing import Log
from tests.forked import Template
from tests.servers.pgbouncer import OwnPgBouncer
from tests.servers.postgres import OwnPostgres
from tests.torture.caches import Caches
from tests.torture.item_log import ItemLog
from tests.torture.items import all_items
from tests.torture.line import Line
from tests.torture.process import Process
from tests.torture.settings import CLOCK, PATIENCE
from tests.torture.worker import pairs

FAULTS: Final = (
    "pause",
    "flush",
    "restart",
    "fill",
    "terminate",
    "cut",
    "flip",
    "step",
    "fail_over",
    "crash",
    "restore",
)
"""What is done, in an order of its own, then again in another. Writers are killed, and workers
stopped, all the while."""

_TRIES: Final = 6
"""Of what nobody else may be connected for: PostgreSQL waits five seconds at each."""

_FORGETFUL: Final = {
    "synchronous_commit": "off",
    "wal_writer_delay": "'10s'",
    "wal_writer_flush_after": "'1GB'",
}
"""What PostgreSQL is told so that a crash loses something."""

_FLIP: Final = """
local rows = redis.call('LLEN', KEYS[1])
local at = tonumber(ARGV[1]) % rows
local row = redis.call('LINDEX', KEYS[1], at)
local byte = tonumber(ARGV[2]) % #row + 1
local other = bit.bxor(string.byte(row, byte), 2 ^ (tonumber(ARGV[2]) % 8))
redis.call('LSET', KEYS[1], at, string.sub(row, 1, byte - 1) .. string.char(other)
  .. string.sub(row, byte + 1))
"""


def note_what_is_left(
    folder: Path, url: str, logs: dict[str, Log], item_log: ItemLog, fell: int
) -> None:
    """Note what a database that fell back still has, while nobody writes."""
    with Store(url) as truth:
        for path in (folder / "logs").iterdir():
            key = bytes.fromhex(path.name).decode()
            if key not in logs:
                logs[key] = Log(path / "nemesis.jsonl", "nemesis")
            logs[key].fell(fell, pairs(truth.session(key).messages()))
        item_log.fell(fell, all_items(truth))


class Nemesis:
    """Starts workers, mistreats them and their servers."""

    WRITERS: Final = {"writer 1": "write", "the cut writer": "write", "the rewriter": "rewrite"}
    READERS: Final = {"reader 1": "read", "reader 2": "read", "reader 3": "read"}
    POOLED: Final = ("writer 1", "the rewriter", "reader 2")
    """Who reaches the database through a pooler, where there is one."""
    SPARES: Final = 2

    def __init__(
        self,
        folder: Path,
        url: str,
        database: OwnPostgres,
        caches: Caches,
        order: dict[str, Any],
        pooler: OwnPgBouncer | None = None,
    ) -> None:
        self.random = Random(order["seed"])
        self.deeds: list[tuple[float, str]] = []
        self.falls: list[int] = []
        """When the database had fallen back, on the clock of the logs."""
        self.wrong: list[str] = []
        self._folder = folder
        self._url = url
        self._database = database
        self._caches = caches
        self._pooler = pooler
        self._order = order | {"url": url, "folder": str(folder)}
        self._line = Line(caches.master.port)
        self._name = url.rpartition("/")[2]
        self._copied: float | None = None
        self._logs: dict[str, Log] = {}
        self._item_log = ItemLog(folder / "items" / "nemesis.jsonl")
        self._numbers = itertools.count(1)
        self._template = Template("tests.torture.worker")
        self._spares: list[Process] = []
        self._working: dict[str, Process] = {}
        self._asleep: dict[Process, float] = {}
        self._woken: set[Process] = set()
        self._origin = self._next_kill = self._next_stop = time.monotonic()

    def __enter__(self) -> Nemesis:
        return self

    def __exit__(self, *exc: object) -> None:
        for process in [*self._spares, *self._working.values()]:
            process.kill()
        self._template.close()
        self._line.close()
        for log in self._logs.values():
            log.close()
        self._item_log.close()

    def run(self, seconds: float, faults: Sequence[str]) -> None:
        """For so many seconds, and until each of the faults was there; until a loop was kept busy
        and a worker stopped between two steps, too, which the workers say of themselves."""
        roles = self.WRITERS | self.READERS
        # To drop a database PostgreSQL waits for whoever is being let in. Where that is a worker
        # that was stopped, everything stood still for a minute.
        self._tell("ALTER SYSTEM SET authentication_timeout = '2s'", "SELECT pg_reload_conf()")
        self._spares = [Process(self._template, self._folder, next(self._numbers)) for _ in roles]
        for slot in roles:
            self._begin(slot)
        self._origin = time.monotonic()
        ends = self._origin + seconds
        self._next_kill = self._origin + 1 if faults else math.inf
        self._next_stop = self._origin + 1.5 if faults else math.inf
        deck = self.random.sample(faults, len(faults))
        dealt = 0
        while (left := ends - time.monotonic()) > 0 or dealt < len(faults):
            self._watch(max(0.2, min(left, self.random.uniform(0.2, 0.9))))
            if faults:
                deck = deck or self.random.sample(faults, len(faults))
                getattr(self, deck.pop())()
                dealt += 1
        if faults:
            self._stop_what_was_not_stopped()
        self._watch(0.5)
        for process in self._working.values():
            process.stop()
        for slot, process in self._working.items():
            if code := process.ended():
                self._fell(slot, process, code)

    # -- workers -----------------------------------------------------------------------------

    def kill(self) -> None:
        """Kill a writer; another takes its place."""
        slot = self.random.choice(list(self.WRITERS))
        process = self._working.pop(slot)
        self._did(f"kill -9 {slot} ({process.name})")
        if (code := process.kill()) != -9:
            self._fell(slot, process, code)
        self._begin(slot)

    def stop(self) -> None:
        """Stop a worker for longer than anybody waits, where it is or between two steps."""
        self._stop(exactly=self.random.random() < 0.7)

    def _stop_what_was_not_stopped(self) -> None:
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            said = b"".join(path.read_bytes() for path in self._folder.glob("*.notes"))
            stopped = b'"stopped"' in said
            if stopped and b'"stalled"' in said:
                return
            if not stopped and not self._asleep:
                self._stop(exactly=True)
            self._watch(0.5)

    def _stop(self, *, exactly: bool) -> None:
        slot = self.random.choice(list(self._working))
        process = self._working[slot]
        seconds = self.random.uniform(2.5, 4)
        where = "between two steps" if exactly else "anywhere"
        self._did(f"stop {slot} ({process.name}) for {seconds:.2f} s, {where}")
        process.send(signal.SIGUSR1 if exactly else signal.SIGSTOP)
        self._asleep[process] = time.monotonic() + seconds

    # -- Redis -------------------------------------------------------------------------------

    def pause(self) -> None:
        """Redis keeps its connections and answers nothing."""
        seconds = self.random.choice((self.random.uniform(0.1, 0.6), self.random.uniform(0.6, 2)))
        self._did(f"pause Redis for {seconds:.2f} s")
        server = self._caches.master
        server.pause()
        try:
            self._watch(seconds)
        finally:
            server.resume()

    def flush(self) -> None:
        """Redis loses everything."""
        self._did("flush Redis")
        with self._caches.client() as client:
            client.flushall()

    def restart(self) -> None:
        """Redis loses everything, or finds what it had long ago."""
        server = self._caches.master
        dump = server.folder / "dump.rdb"
        old = dump.exists() and self.random.random() < 0.5
        self._did(f"restart Redis, {'with what it had long ago' if old else 'empty'}")
        if self.random.random() < 0.5:
            server.kill()
        else:
            server.stop()
        if not old:
            dump.unlink(missing_ok=True)
        server.start()

    def fill(self) -> None:
        """Redis is full and refuses to write."""
        seconds = self.random.uniform(0.1, 0.6)
        self._did(f"fill Redis for {seconds:.2f} s")
        with self._caches.client() as client:
            client.config_set("maxmemory-policy", "noeviction")
            client.config_set("maxmemory", 1)
            self._watch(seconds)
            client.config_set("maxmemory", 0)

    def flip(self) -> None:
        """One bit after another changes in what Redis has."""
        flipped = 0
        with self._caches.client() as client:
            for _ in range(8):
                for key in client.scan_iter("onrecord:*"):
                    numbers = [self.random.getrandbits(20) for _ in range(2)]
                    with contextlib.suppress(Exception):  # it has just gone
                        client.eval(_FLIP, 1, key, *numbers)
                        flipped += 1
                self._watch(0.05)
        self._did(f"flipped {flipped} bits in Redis")

    def step(self) -> None:
        """Redis' clock goes wrong, as far as our scripts see it, and is set right again."""
        step = self.random.choice((-3600, -60, 60, 3600))
        seconds = self.random.uniform(0.2, 0.8)
        self._did(f"set Redis' clock by {step:+d} s for {seconds:.2f} s")
        with self._caches.client() as client:
            client.set(CLOCK, step)
            self._watch(seconds)
            client.delete(CLOCK)

    def fail_over(self) -> None:
        """A replica that is behind takes the place of the master."""
        hidden = self.random.random() < 0.4
        if hidden:
            self._caches.hide(True)
        self._caches.replicate()
        until = time.monotonic() + PATIENCE
        while not self._caches.replicates:
            self._watch(0.02)
            if time.monotonic() > until:
                raise TimeoutError("the replica does not hear its master")
        self._watch(self.random.uniform(0.1, 0.4))
        self._caches.lag()
        seconds = self.random.uniform(0.1, 0.5)
        self._watch(seconds)
        which = " (which hides its run id)" if hidden else ""
        self._did(f"fail over to a Redis{which} that is behind by {seconds:.2f} s")
        self._caches.fail_over()
        self._line.lead_to(self._caches.master.port)
        self._caches.come_back()
        if hidden:
            self._watch(self.random.uniform(0.2, 0.5))
            self._caches.hide(False)

    def cut(self) -> None:
        """One writer cannot reach Redis, everybody else can."""
        seconds = self.random.choice((self.random.uniform(0.3, 1.2), self.random.uniform(1.8, 3)))
        how: Literal["closed", "silent"] = self.random.choice(("closed", "silent"))
        self._did(f"cut a writer off Redis for {seconds:.2f} s ({how})")
        self._line.cut(how)
        self._watch(seconds)
        self._line.mend()

    # -- PostgreSQL --------------------------------------------------------------------------

    def terminate(self) -> None:
        """Connections to the database are lost."""
        found = self._tell(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            " AND random() < 0.7"
        )
        self._did(f"drop {found} SQL connections")

    def crash(self) -> None:
        """The database loses what it has acknowledged without waiting for the disk."""
        self._tell(
            *(f"ALTER SYSTEM SET {name} = {value}" for name, value in _FORGETFUL.items()),
            "SELECT pg_reload_conf()",
        )
        seconds = self.random.uniform(0.3, 0.9)
        self._watch(seconds)
        self._did(f"crash PostgreSQL, which loses up to {seconds:.2f} s")
        self._database.kill()
        fell = time.monotonic_ns()
        self._watch(self.random.uniform(0, 0.3))
        self._stand_still()
        self._database.start()
        self._look(fell)
        self._tell(
            *(f"ALTER SYSTEM RESET {name}" for name in _FORGETFUL), "SELECT pg_reload_conf()"
        )

    def restore(self) -> None:
        """The database comes back as it once was."""
        if self._copied is None or self.random.random() < 0.5:
            self._did("copy the database, whose connections are lost")
            self._stand_still()
            self._while_nobody_is_connected(
                f'DROP DATABASE IF EXISTS "{self._name}_copy"',
                f'CREATE DATABASE "{self._name}_copy" TEMPLATE "{self._name}"{self._strategy()}',
            )
            self._go_on(self._working)
            self._copied = time.monotonic()
            self._watch(self.random.uniform(0.4, 1))
        self._did(f"restore the database as it was {time.monotonic() - self._copied:.2f} s ago")
        self._stand_still()
        self._while_nobody_is_connected(
            f'DROP DATABASE IF EXISTS "{self._name}_lost"',
            f'ALTER DATABASE "{self._name}" RENAME TO "{self._name}_lost"',
            f'ALTER DATABASE "{self._name}_copy" RENAME TO "{self._name}"',
        )
        self._copied = None
        self._look(time.monotonic_ns())

    def _while_nobody_is_connected(self, *statements: str) -> None:
        with psycopg.connect(self._database.url, autocommit=True) as connection:
            for statement in statements:
                self._do_alone(connection, statement)

    def _do_alone(self, connection: psycopg.Connection[Any], statement: str) -> None:
        """A backend that waits for a slow disk goes when it has written, whoever ends it."""
        for left in reversed(range(_TRIES)):
            connection.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s",
                [self._name],
            )
            try:
                connection.execute(statement)
            except psycopg.errors.ObjectInUse:
                if not left:
                    raise
            else:
                return

    def _strategy(self) -> str:
        # The other one copies how far a sequence is without logging it: after a crash of the copy
        # PostgreSQL 15 gave numbers out once more.
        return " STRATEGY FILE_COPY" if self._database.version >= "15" else ""

    def _look(self, fell: int) -> None:
        """Note what the database still has, before anybody else sees it."""
        note_what_is_left(self._folder, self._url, self._logs, self._item_log, fell)
        self.falls.append(time.monotonic_ns())
        self._go_on(self.READERS)  # before anything is written: what was lost may be shown
        if self.random.random() < 0.5:
            self._watch(self.random.uniform(0, 0.5))
        self._go_on(self.WRITERS)

    def _stand_still(self) -> None:
        for process in self._working.values():
            process.stand_still()
        if self._pooler is not None:  # it connects by itself, for those who stand still
            self._pooler.pause()

    def _go_on(self, slots: Iterable[str]) -> None:
        if self._pooler is not None:
            self._pooler.resume()
        for slot in slots:
            if self._working[slot] not in self._asleep:
                self._working[slot].send(signal.SIGCONT)

    def _tell(self, *statements: str) -> Any:
        with psycopg.connect(self._url, autocommit=True, connect_timeout=10) as connection:
            for statement in statements:
                answer = connection.execute(statement)
            found = answer.fetchone()
            return found[0] if found else 0

    # -- the course of things ----------------------------------------------------------------

    def _begin(self, slot: str) -> None:
        process = self._spares.pop(0)
        self._working[slot] = process
        if len(self._spares) < self.SPARES:
            self._spares.append(Process(self._template, self._folder, next(self._numbers)))
        cut = slot == "the cut writer"
        order = dict(self._order)
        if self._pooler is not None and slot in self.POOLED:
            order["url"] = self._pooler.address_of(self._url)
        process.begin(
            order
            | {
                "role": (self.WRITERS | self.READERS)[slot],
                "cache": f"redis://127.0.0.1:{self._line.port}" if cut else self._caches.url,
                "seed": f"{self._order['seed']} {process.name}",
            }
        )

    def _watch(self, seconds: float) -> None:
        """Let all of them work for so long; kill one and stop one when it is time to."""
        ends = time.monotonic() + seconds
        while (now := time.monotonic()) < ends:
            self._wake(now)
            if now >= self._next_kill:
                if wait([self._spares[0].output], 0):  # another can take the place at once
                    self._next_kill = now + self.random.uniform(0.5, 2.5)
                    self.kill()
                else:
                    self._next_kill = now + 0.1
                continue
            if now >= self._next_stop:
                self._next_stop = now + self.random.uniform(4, 6)
                self.stop()
            outputs = {p.output: slot for slot, p in self._working.items()}
            until = min(ends, self._next_kill, self._next_stop, now + 0.1)
            for output in wait(list(outputs), until - now):
                slot = outputs[output]  # type: ignore[index]
                process = self._working.pop(slot)
                self._fell(slot, process, process.ended())
                self._begin(slot)

    def _wake(self, now: float) -> None:
        for process, when in list(self._asleep.items()):
            if now >= when:
                process.send(signal.SIGCONT)
                del self._asleep[process]
                if process not in self._woken:
                    self._asleep[process] = now + 1  # it may have stopped once more
                    self._woken.add(process)
                else:
                    self._woken.remove(process)

    def _did(self, what: str) -> None:
        self.deeds.append((time.monotonic() - self._origin, what))

    def _fell(self, slot: str, process: Process, code: int) -> None:
        said = process.errors.read_text(errors="replace")[-4000:]
        self.wrong.append(f"{slot} ({process.name}) ended by itself with {code}:\n{said}")
