"""What the two databases have in common: opened once, asked from any thread and any loop."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

from onrecord.codec import Compression
from onrecord.errors import Misconfigured, OnrecordError, StoreClosed, Unavailable
from onrecord.health import Pool as PoolStatus
from onrecord.ledger.checkpoints.threads import next_epoch_of_all
from onrecord.ledger.database import generation
from onrecord.ledger.database.address import Address
from onrecord.ledger.database.dialect import Dialect
from onrecord.ledger.database.faults import TookTooLong, explain, took_too_long
from onrecord.ledger.database.pool import Pool
from onrecord.ledger.database.tally import Tally
from onrecord.ledger.database.transaction import Facts, Transaction, Work, ping
from onrecord.ledger.hop import Threads, hop
from onrecord.ledger.items.namespaces import next_version_of_all
from onrecord.ledger.schema import beside, migrations, plan
from onrecord.ledger.schema.steps import BesideStep
from onrecord.ledger.sessions.dictionaries import Dictionaries
from onrecord.ledger.unmigrated import read_nothing
from onrecord.migration import MigrationStep
from onrecord.stored.clock import now

log = logging.getLogger("onrecord")

T = TypeVar("T")
A = TypeVar("A")

_COMPARED_WITHIN: Final = 1.0
"""Seconds that a primary has to say which store it is, while somebody waits for its replica."""
_COMPARED_AGAIN: Final = 10.0
"""Seconds after which it is asked again, where it did not."""


@dataclass(frozen=True, slots=True)
class Options:
    """How a ledger is to be opened."""

    durability: str
    schema: str | None
    migrate: bool
    timeout: float
    pool_size: int
    counter: str
    compression: Compression = "zstd"


class Ledger(ABC):
    """One database. Constructing it does no I/O; the first work opens it."""

    def __init__(self, address: Address, engine: Any, options: Options) -> None:
        self.address = address
        self.options = options
        self.dialect = Dialect(address.kind, options.schema)
        self.borrowed = engine is not None
        self._given_engine = engine
        self._primary: Ledger | None = None
        self._closed = False
        self._unfit: str | None = None
        self.tally = Tally()
        self._start()

    def _start(self) -> None:
        """Everything that must not be shared with another process; made again after a fork."""
        self._engine: Any = self._given_engine
        self._lock = threading.Lock()
        self._haste = threading.local()
        self._threads_lock = threading.Lock()
        self._facts: Facts | None = None
        self._dictionaries = Dictionaries(self.options.compression)
        self._threads: Threads | None = None
        self._pool: Pool | None = None
        self._compare_at = -math.inf
        self._is_anothers = False
        """Whether it was seen to be a copy of something else: all is learned anew then. Others may
        read meanwhile, by what was known before."""

    @property
    def place(self) -> str:
        """Where the tables are, or are to be, without a password."""
        schema = self.options.schema
        return str(self.address) if schema is None else f"{self.address}, schema {schema!r}"

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    @property
    def facts(self) -> Facts | None:
        """What the database says about itself; None until it is opened and has tables."""
        return self._facts

    def cache_id(self) -> str:
        """What this store's keys in a cache begin with."""
        assert self._facts is not None, "a cache is asked after the ledger was opened"
        return self._facts.cache_id

    def follow(self, primary: Ledger) -> None:
        """Be a copy of another that is behind it: it is only read, and nothing is made in it."""
        if "sqlite" in (self.address.kind, primary.address.kind):
            raise Misconfigured(
                "replica= is for PostgreSQL: nothing follows a file of SQLite. Leave it out."
            )
        self._primary = primary

    def store_id(self, within: float) -> bytes | None:
        """The id of the store that is there, which is neither made nor brought up to date for
        that; None where there is none. In no more than so many seconds."""
        if self._facts is not None:
            return self._facts.store_id
        with self._in_haste(time.monotonic() + within):
            return self.look(migrations.store_id, within)

    def _compare(self, facts: Facts) -> None:
        """Refuse a copy of something else, once it is known what it is to be a copy of.

        Where that is away, the copy is read all the same, which is wanted then above all; and it
        is asked again later.
        """
        primary = self._primary
        if primary is None or time.monotonic() < self._compare_at:
            return
        self._compare_at = time.monotonic() + _COMPARED_AGAIN
        left = self._deadline() - time.monotonic()  # half of it is for the copy itself
        try:
            known = primary.store_id(max(0.0, min(_COMPARED_WITHIN, left / 2)))
        except OnrecordError as fault:
            log.warning(
                "%s cannot be asked whether the replica %s is one of it; the replica is read all "
                "the same. %s",
                primary.place,
                self.place,
                fault,
            )
            return
        if known != facts.store_id:
            self._is_anothers, self._compare_at = True, -math.inf
            raise Misconfigured(
                f"The replica {self.place} is not one of {primary.place}: another store is there. "
                f"Check replica=."
            )
        self._compare_at = math.inf

    def read(self, work: Work[T]) -> T:
        """Do work that changes nothing, in this thread."""
        self.open()
        if self._facts is None:
            return read_nothing(work, self.options.counter)
        return self._read(work)

    def read_alone(self, work: Work[T]) -> T:
        """Like ``read``, of work that is one statement."""
        return self.read(work)

    def write(self, work: Work[T], durable: bool = True) -> T:
        """Do work that changes something, in this thread; where it need not be ``durable``, its
        commit waits for no disk."""
        if self._primary is not None:
            raise Unavailable(f"{self.address} is a replica: it is only read. Nothing was written.")
        self.open(writes=True)
        return self._write(work, durable)

    async def aread(self, work: Work[T]) -> T:
        """Like ``read``, in a thread of our own."""
        return await self._hop(self.read, work)

    async def aread_alone(self, work: Work[T]) -> T:
        """Like ``read_alone``, in a thread of our own."""
        return await self._hop(self.read_alone, work)

    async def awrite(self, work: Work[T], durable: bool = True) -> T:
        """Like ``write``, in a thread of our own."""
        return await self._hop(self.write if durable else self._write_lightly, work)

    def _write_lightly(self, work: Work[T]) -> T:
        return self.write(work, durable=False)

    def apart(self, work: Work[T]) -> T:
        """Run statements that each stand alone, in no transaction and without a time limit."""
        self.open()
        if self._facts is None:
            return read_nothing(work, self.options.counter)
        return self._apart(work)

    async def aapart(self, work: Work[T]) -> T:
        """Like ``apart``, in a thread of our own."""
        return await self._hop(self.apart, work)

    def answers(self, within: float) -> None:
        """Ask the least there is to ask, and raise what is wrong; in no more than so many seconds,
        where it is not SQLite that keeps us waiting."""
        until = time.monotonic() + within
        with self._in_haste(until):
            self.read(partial(_answered, until=until))

    def glance(self, work: Work[T], within: float) -> T:
        """Like ``look``, of a database that was opened before; and nothing of it takes longer, nor
        does the way there."""
        if self._facts is None:
            return read_nothing(work, self.options.counter)
        with self._in_haste(time.monotonic() + within):
            return self.look(work, within)

    @contextmanager
    def _in_haste(self, until: float) -> Iterator[None]:
        """Whoever calls in this thread is to be answered until then, whatever ``timeout`` is."""
        self._haste.until = until
        try:
            yield
        finally:
            del self._haste.until

    def _deadline(self) -> float:
        """When whoever calls is to be answered, by the monotonic clock: most wait for as long as
        the store does."""
        return min(time.monotonic() + self.options.timeout, getattr(self._haste, "until", math.inf))

    def look(self, work: Work[T], seconds: float) -> T:
        """Do work that changes nothing on the database as it is found: no table is made and none
        brought up to date first, so it finds those of any version, or none. ``TookTooLong`` after
        so many seconds."""
        with self._opening(), self._explained():
            self._connect()
        try:
            return self._look(work, max(seconds, 0.001))
        except Unavailable as fault:
            if took_too_long(fault):
                raise TookTooLong(str(fault)) from fault
            raise

    async def alook(self, work: Work[T], seconds: float) -> T:
        """Like ``look``, in a thread of our own."""
        return await self._hop(lambda given: self.look(given, seconds), work)

    @property
    def file(self) -> str | None:
        """The file that it is kept in; None for a server, or memory."""
        return None

    @property
    def may_have_pulse(self) -> bool:
        """Whether there is such a value once it is opened."""
        return False

    @property
    def has_pulse(self) -> bool:
        """Whether there is a value that moves with every commit by anybody."""
        return False

    def pulse_at_hand(self) -> object | None:
        """The pulse where it can be had at once, without a lock or a file; else None."""
        return None

    def pulse(self) -> object | None:
        """The pulse, in a thread that may wait; None where it cannot be had."""
        return None

    async def apulse(self) -> object | None:
        """Like ``pulse``, in a thread of our own."""
        return await self._hop(lambda _: self.pulse(), None)

    def open(self, *, writes: bool = False) -> None:
        """Connect, migrate where that is wanted, and learn what the database says of itself.

        Tables are made for those who write. Where there are none, who reads finds nothing, and
        looks again the next time: the ledger has no facts until then.
        """
        if (facts := self._facts) is not None and not (self._closed or self._is_anothers):
            if self._primary is not None:
                self._compare(facts)
            return
        with self._opening():
            if self._facts is None or self._is_anothers:
                with self._explained():
                    self._connect()
                    done = self._applied()
                    if not self.options.migrate:
                        migrations.require(done, self.place, self._found_elsewhere)
                    elif migrations.needed(done):
                        if not done and not writes:
                            return
                        self._migrate(done)
                    self._get_to_know()
                    for step in migrations.later(done):
                        if self._primary is None:
                            self._do_if_quick(step)

    def _transaction(
        self, cursor: Any, begin: str | None = None, connected_at: float = -math.inf
    ) -> Transaction:
        return Transaction(
            cursor,
            self.dialect,
            self._facts,
            self._dictionaries,
            begin,
            connected_at,
            self.options.timeout,
        )

    def _get_to_know(self) -> None:
        """Learn what a database that has its tables says of itself."""
        self._make_ready()
        facts = self._in_transaction(self._learn)
        self._compare(facts)
        self._facts, self._is_anothers = facts, False
        self.dialect.know(facts.by_citus)

    def _learn(self, txn: Transaction) -> Facts:
        return migrations.learn(txn, self.options.counter, add=self._primary is None)

    async def aopen(self, *, writes: bool = False) -> None:
        """Like ``open``, in a thread of our own."""
        if self._facts is None or self._closed:
            await self._hop(lambda _: self.open(writes=writes), None)

    def invalidate(self) -> None:
        """Begin a new generation of the store's cache, in which no entry of an earlier counts."""
        self.write(generation.renew)
        self.write(lambda txn: next_epoch_of_all(txn, now()))
        self.write(lambda txn: next_version_of_all(txn, now()))

    async def ainvalidate(self) -> None:
        """Like ``invalidate``."""
        await self._hop(lambda _: self.invalidate(), None)

    def migrate(self) -> list[str]:
        """Bring the tables up to date, and say which steps that took."""
        with self._opening(), self._explained():
            self._connect()
            done = self._applied()
            names = self._migrate(done)
            if self._facts is None:
                self._get_to_know()  # so that the first work after it has nothing to wait for
        # Others may open the store meanwhile: it works without these.
        for step in migrations.later(done):
            self._do_beside(step)
            names.append(step.name)
        return names

    async def amigrate(self) -> list[str]:
        """Like ``migrate``, in a thread of our own."""
        return await self._hop(lambda _: self.migrate(), None)

    def plan(self) -> list[MigrationStep]:
        """What ``migrate`` would do. Nothing is changed, and no table is made."""
        with self._opening(), self._explained():
            self._connect()
            done = self._applied()
            if not done:
                return [plan.of_new_tables()]
            steps = migrations.pending(done)
            return self._read(partial(plan.of, steps=steps, patience=self.options.timeout))

    async def aplan(self) -> list[MigrationStep]:
        """Like ``plan``, in a thread of our own."""
        return await self._hop(lambda _: self.plan(), None)

    async def aclose(self) -> None:
        """Like ``close``; not in a thread of our own, since those are what it waits for."""
        await asyncio.to_thread(self.close)

    def close(self) -> None:
        """Close what is ours. What the caller lent is left as it was."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        if self._threads is not None:
            self._threads.shut()
        self._disconnect()

    @abstractmethod
    def before_fork(self) -> None:
        """Get ready for ``os.fork``, which the calling thread is about to do."""

    @abstractmethod
    def after_fork_in_parent(self) -> None:
        """Go on as before."""

    def forget(self) -> None:
        """In a child after fork: drop, without closing, what belongs to the parent."""
        # Closing a parent's connection here would say goodbye to its server in its name. Kept
        # alive for good, so that no finalizer does it either.
        _of_our_parents.append(self.__dict__.copy())
        self._unfit = self._unfit or self._unfit_for_child()
        self._start()

    def pool_status(self) -> PoolStatus:
        """How many connections there may be, and how many are in use."""
        in_use = 0 if self._pool is None else self._pool.in_use
        return PoolStatus(in_use, self.options.pool_size)

    @property
    def connections(self) -> int:
        """How many connections of the pool are open at this moment."""
        return 0 if self._pool is None else self._pool.open

    def _unfit_for_child(self) -> str | None:
        """Why a forked child must not use this store, if so."""
        if self.borrowed and self._facts is not None:
            return (
                "The engine of this store was in use before this process was forked. Make a new "
                "engine and a new store in the child."
            )
        return None

    def _found_elsewhere(self) -> str:
        if self.address.kind == "sqlite":
            return ""  # it has no schemas, and to ask would make an empty file
        return migrations.found_in(self._read(migrations.elsewhere))

    def _applied(self) -> set[str]:
        """The steps that this database has been through; none where there is no database."""
        return self._read(
            lambda txn: migrations.applied(txn, self.address.kind, self.options.schema),
        )

    def _migrate(self, done: set[str]) -> list[str]:
        names: list[str] = []
        missing = migrations.needed(done)
        if missing:  # mostly there is none, and nobody takes the lock
            self._make_ready()
        while len(names) < len(missing) and (
            walked := self._in_transaction(
                lambda txn: migrations.walk(
                    txn, self.address.kind, self.options.schema, self.options.counter
                )
            )
        ):
            names += walked
        return names

    def _do_beside(self, step: BesideStep) -> None:
        """Do a step that those who write need not wait for, however long it takes."""
        try:
            if self.address.kind == "postgresql":
                self._in_autocommit(partial(beside.build, step=step))
            else:
                while not self._in_transaction(partial(beside.fill_some, step=step)):
                    pass
        except (Unavailable, Misconfigured) as fault:
            raise type(fault)(
                f"{fault} The steps before {step.name!r} are done. Migrate again, and it goes on."
            ) from fault

    def _do_if_quick(self, step: BesideStep) -> None:
        """Do such a step where that takes a moment: who opens a store wants something else."""
        why = "it takes a while" if self.options.migrate else "not by a store with migrate=False"
        try:
            if self.options.migrate and self._in_transaction(partial(beside.at_once, step=step)):
                return
        except OnrecordError as fault:
            why = str(fault)
        log.warning(
            "%s lacks %r, and some work may be slow until somebody migrates it by `onrecord "
            "migrate` or store.migrate(). It was not done now: %s",
            self.place,
            step.name,
            why,
        )

    def _in_autocommit(self, work: Work[T]) -> T:
        """Like ``apart``, of work that may be done again; while the ledger may be opened."""
        return self._apart(work)

    def _make_ready(self) -> None:  # noqa: B027 - most have nothing to do
        """Get the database ready to be written to."""

    async def _hop(self, do: Callable[[A], T], given: A) -> T:
        return await hop(self.threads(), do, given)

    def threads(self) -> Threads:
        """As many threads as there are connections: more would only wait for each other."""
        if self._closed or (threads := self._threads) is None:
            # Not the lock of those who open: they wait for the database, and this is a loop.
            with self._threads_lock:
                self._refuse_if_closed()
                if self._threads is None:
                    self._threads = Threads(self.options.pool_size, "onrecord")
                threads = self._threads
        return threads

    @contextmanager
    def _opening(self) -> Iterator[None]:
        """One at a time; and nobody waits for more than another's attempt and the timeout."""
        if not self._lock.acquire(timeout=max(0.0, self._deadline() - time.monotonic())):
            raise Unavailable(
                f"{self.address} is being opened by another thread for longer than the timeout."
            )
        try:
            self._refuse_if_closed()
            yield
        finally:
            self._lock.release()

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise StoreClosed
        if self._unfit is not None:
            raise Unavailable(self._unfit)

    def _explained(self) -> _Explained:
        return _Explained(self)

    def translate(self, fault: Exception, unknown: bool = False) -> Exception:
        """A driver's error in our words, chained to it; anything else as it is."""
        told = explain(fault, self.address, unknown=unknown)
        if told is None or told is fault:
            return fault
        told.__cause__ = fault
        return told

    @abstractmethod
    def _connect(self) -> None:
        """Make engine and pool. May run again after a failure."""

    @abstractmethod
    def _disconnect(self) -> None: ...

    @abstractmethod
    def _read(self, work: Work[T]) -> T: ...

    @abstractmethod
    def _write(self, work: Work[T], durable: bool = True) -> T: ...

    @abstractmethod
    def _apart(self, work: Work[T]) -> T: ...

    @abstractmethod
    def _look(self, work: Work[T], seconds: float) -> T: ...

    @abstractmethod
    def _in_transaction(self, work: Work[T]) -> T:
        """Work on a connection of its own while the ledger is being opened."""


def _answered(txn: Transaction, until: float) -> None:
    """Ping, and hang up on a server that stays silent until then."""
    connection = txn.cursor.connection
    patience = getattr(connection, "patience", None)  # only our own have it
    if patience is None:
        return ping(txn)
    connection.patience = max(0.0, until - time.monotonic())
    try:
        return ping(txn)
    finally:
        connection.patience = patience


class _Explained:
    """Turns a driver's error into one of ours on the way out."""

    __slots__ = ("_ledger",)

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, fault: BaseException | None, trace: object) -> None:
        if isinstance(fault, Exception):
            told = self._ledger.translate(fault)
            if told is not fault:
                raise told from fault


_of_our_parents: list[dict[str, Any]] = []
