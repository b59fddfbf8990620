"""SQLite: one file in WAL mode, one writer a process, many readers."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import sqlite3
import threading
import time
from contextlib import suppress
from functools import partial
from typing import Any, Final, TypeVar

from onrecord.errors import Misconfigured, StoreClosed
from onrecord.ledger.database.address import Address
from onrecord.ledger.database.gate import Gate
from onrecord.ledger.database.group_commit import GroupCommit, LoopJob
from onrecord.ledger.database.own_engine import Engine, Lent, OwnEngine
from onrecord.ledger.database.pool import Held, Pool
from onrecord.ledger.database.pulse import Pulse, let_go
from onrecord.ledger.database.transaction import Transaction, Work
from onrecord.ledger.ledger import Ledger, Options
from onrecord.ledger.unmigrated import look_at_nothing

T = TypeVar("T")
log = logging.getLogger("onrecord")

# FULL waits for the disk at every commit and survives power loss. NORMAL waits only when the
# log is folded back into the file: it survives the death of the process, not of the machine.
SYNCHRONOUS: Final = {"full": "FULL", "normal": "NORMAL"}


class SqliteLedger(Ledger):
    """One SQLite file, or one database in memory."""

    def __init__(self, address: Address, engine: Any, options: Options) -> None:
        if options.schema is not None:
            raise Misconfigured("SQLite has no schemas. Leave schema= out, or use another file.")
        if engine is not None and address.in_memory and not _is_static(engine):
            raise Misconfigured(
                "An engine for SQLite in memory needs poolclass=StaticPool and "
                'connect_args={"check_same_thread": False}, or every connection gets a database '
                'of its own. Store("sqlite://") does that for you.'
            )
        self._in_memory = address.in_memory
        super().__init__(address, engine, options)

    def _start(self) -> None:
        super()._start()
        # Room for what is inside to reach its own timeout first.
        self._gate = Gate(2 * self.options.timeout + 1)
        self._writer: GroupCommit | None = None
        self._writing: _HeldSqlite | None = None
        self._pulse = Pulse(
            lambda: self._hold(self._engine.raw_connection()),
            self._gate,
            by_name=not (self.address.url.database or "").startswith("file:"),
        )

    def _connect(self) -> None:
        if self._writer is not None:
            return
        if self._engine is None:
            self._engine = _engine_for(self.address, self.options.timeout)
        self._pool = Pool(
            lambda _: self._engine.raw_connection(),
            self._hold,
            size=self.options.pool_size,
            patience=self.options.timeout,
            keep=not self.borrowed,
            tally=self.tally,
        )
        self._writer = GroupCommit(
            lambda durable: self._transaction(self._writing_cursor(durable=durable)),
            self.translate,
            self._gate,
            self.options.timeout,
            self.tally,
        )

    def open(self, *, writes: bool = False) -> None:
        """Like everywhere; but a database in memory is nobody else's, and is made at once."""
        if self._facts is None or self._closed:
            super().open(writes=writes or self._in_memory)

    def _applied(self) -> set[str]:
        return set() if self._has_no_file() else super()._applied()

    def _has_no_file(self) -> bool:
        """Whether nobody has written to the file yet. To ask SQLite would make an empty one."""
        file = self.address.url.database
        if self.address.in_memory or self.borrowed or not file or file.startswith("file:"):
            return False
        try:
            return os.stat(file).st_size == 0
        except FileNotFoundError:  # where it cannot be made either, SQLite says so
            return os.access(os.path.dirname(file), os.W_OK | os.X_OK)
        except OSError:
            return False

    def _make_ready(self) -> None:
        self._writing_cursor(set_up=True)

    def _writing_cursor(self, *, set_up: bool = False, durable: bool = True) -> Any:
        """The writer's own, made anew after a fork."""
        if self._writing is None:
            writing = self._hold(self._engine.raw_connection())
            if set_up:
                try:
                    self._set_up_file(writing.cursor)
                except BaseException:  # also an interrupt must not leave it open
                    writing.give_back()
                    raise
            self._writing = writing
        self._writing.wait_for_disk(durable)
        return self._writing.cursor

    def _set_up_file(self, cursor: Any) -> None:
        if self.address.in_memory:
            return
        # Before the first table, or never: erasing has to give pages back to the disk. Small
        # pages, because most sessions are: a store of 870 conversations takes a tenth less than
        # with 4,096, and an append writes fewer bytes to the log.
        if cursor.execute("PRAGMA page_count").fetchone()[0] == 0:
            cursor.execute("PRAGMA page_size = 1024")
            cursor.execute("PRAGMA auto_vacuum = INCREMENTAL")
        deadline = time.monotonic() + self.options.timeout
        for pause in itertools.chain((0.001, 0.003, 0.01), itertools.repeat(0.03)):
            try:
                if cursor.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                    cursor.execute("PRAGMA journal_mode = WAL").fetchone()
                return
            except sqlite3.OperationalError as fault:
                # SQLite does not wait for this lock by itself, and ten processes that open an
                # empty file at once all want it.
                if fault.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    if fault.sqlite_errorcode & 0xFF == sqlite3.SQLITE_READONLY:
                        return  # a file that may only be read can still be read
                    raise
                if time.monotonic() > deadline:
                    raise
            time.sleep(pause)

    def _hold(self, proxied: Lent) -> _HeldSqlite:
        connection: Any = proxied.dbapi_connection
        held = _HeldSqlite(proxied, connection, None, self._pool.generation if self._pool else 0)
        held.isolation_level = connection.isolation_level
        connection.isolation_level = None  # we say BEGIN ourselves
        held.cursor = cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {int(self.options.timeout * 1000)}")
        # What is deleted is overwritten: erased means gone from the file as well.
        cursor.execute("PRAGMA secure_delete = ON")
        # SQLite's own, whatever a caller's engine says. While the log still grows, the disk has to
        # note its length with each commit: an append takes a tenth longer. With 4,000 of our small
        # pages it grew for the first 2,000 appends, with these for 500; afterwards, and by 64 at
        # once, both are as quick.
        cursor.execute("PRAGMA wal_autocheckpoint = 1000")
        cursor.execute(f"PRAGMA synchronous = {SYNCHRONOUS[self.options.durability]}")
        held.waits = held.may_wait = self.options.durability == "full"
        return held

    def _disconnect(self) -> None:
        if not self._gate.shut():
            log.warning("%s is closed while work in it has not ended", self.address)
        self._close_connections()
        self._gate.open(for_good=True)

    def _close_connections(self) -> None:
        self._pulse.close()
        if self._writing is not None:
            self._writing.give_back()
            self._writing = None
        if self._pool is not None:
            self._pool.close()
        if self._engine is not None and not self.borrowed:
            self._engine.dispose()
        let_go()

    def before_fork(self) -> None:
        """Close every connection, with nobody inside: see ``Gate``."""
        self._lock.acquire(timeout=self.options.timeout)
        if self._gate.shut() and not self.address.in_memory:
            self._close_connections()

    def after_fork_in_parent(self) -> None:
        """Let everybody in again. Connections are made anew at their first use."""
        self._gate.open()
        self._lock.release()

    def _unfit_for_child(self) -> str | None:
        if self._writing is None:
            return super()._unfit_for_child()
        if self.address.in_memory:
            return (
                "This database in memory belongs to the process that forked this one. "
                "Use a file, or open a new store here."
            )
        return (
            "This process was forked while a transaction was open, and SQLite cannot be used in "
            "it safely. Fork at a quiet moment, or open the first store after the fork."
        )

    def _read(self, work: Work[T]) -> T:
        if self._in_memory:
            return self._beside_writes(work)
        assert self._pool is not None
        with self._explained(), self._gate, self._pool.lend() as held:
            held.cursor.execute("BEGIN")
            try:
                return work(self._transaction(held.cursor))
            finally:
                # Nothing was written; and after some errors SQLite has ended it by itself.
                if held.connection.in_transaction:
                    held.cursor.execute("ROLLBACK")

    def read_alone(self, work: Work[T]) -> T:
        """A statement is of one moment by itself: BEGIN and ROLLBACK take a fifth of a short one.
        Whoever reads so asks for all rows: until then SQLite goes on reading."""
        pool = self._pool
        if self._in_memory or self._facts is None or self._closed or pool is None:
            return self.read(work)
        with self._explained(), self._gate, pool.lend() as held:
            return work(self._transaction(held.cursor))

    def _write(self, work: Work[T], durable: bool = True) -> T:
        assert self._writer is not None
        answer: T = self._writer.run(work, durable=durable)
        return answer

    def _beside_writes(self, work: Work[T]) -> T:
        """In memory there is one connection. Who reads may write to a file meanwhile, which cannot
        be done again where somebody else's write fails."""
        assert self._writer is not None
        answer: T = self._writer.run(work, once=True)
        return answer

    def _apart(self, work: Work[T]) -> T:
        if self.address.in_memory:
            return self._beside_writes(work)
        assert self._pool is not None
        with self._explained(), self._gate, self._pool.lend() as held:
            return work(self._transaction(held.cursor))

    def _look(self, work: Work[T], seconds: float) -> T:
        if self._has_no_file():
            return look_at_nothing(work)
        return self._read(partial(_interrupted, work=work, seconds=seconds))

    @property
    def file(self) -> str | None:
        """See ``Ledger.file``; None where it is named with options, as SQLite's own URI."""
        file = self.address.url.database
        return None if self.address.in_memory or not file or file.startswith("file:") else file

    def _in_transaction(self, work: Work[T]) -> T:
        return self._write(work)

    async def aread(self, work: Work[T]) -> T:
        """In memory there is one connection, and a thread that waited for it would be in the way
        of the one that leads."""
        return await (self._aqueue(work, True) if self._in_memory else super().aread(work))

    async def aread_alone(self, work: Work[T]) -> T:
        """As ``aread``."""
        return await (self._aqueue(work, True) if self._in_memory else super().aread_alone(work))

    async def awrite(self, work: Work[T], durable: bool = True) -> T:
        """Put the work into the writer's queue: 64 waiting tasks share a hop and a commit."""
        return await self._aqueue(work, False, durable)

    async def _aqueue(self, work: Work[T], once: bool, durable: bool = True) -> T:
        await self.aopen(writes=True)
        writer = self._writer
        if self._closed or writer is None:
            raise StoreClosed
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[T] = loop.create_future()

        def answer(job: LoopJob) -> None:
            # A loop that was closed under its task: nobody is left to hear the answer.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(_settle, answered, job)

        job = LoopJob(work, answer, self._lead_elsewhere, once, durable)
        writer.submit(job)
        try:
            return await answered
        except asyncio.CancelledError:
            writer.drop(job)  # if it has not begun, it will not
            raise

    def _lead_elsewhere(self, job: LoopJob) -> None:
        assert self._writer is not None
        try:
            self.threads().submit(partial(self._writer.lead, job))
        except (RuntimeError, StoreClosed):  # closed in this moment: others may still wait
            threading.Thread(target=self._writer.lead, args=(job,), daemon=True).start()

    @property
    def may_have_pulse(self) -> bool:
        """A file's has one, by connections of our own."""
        return not self.address.in_memory and not self.borrowed

    @property
    def has_pulse(self) -> bool:
        """Once it was opened."""
        return self._facts is not None and self.may_have_pulse

    def pulse_at_hand(self) -> object | None:
        """See ``Pulse``."""
        return self._pulse.at_hand()

    def pulse(self) -> object | None:
        """See ``Pulse``."""
        return self._pulse.take()


class _HeldSqlite(Held):
    """Remembers how the connection was, for the caller who lent it."""

    __slots__ = ("isolation_level", "may_wait", "waits")
    isolation_level: Any
    may_wait: bool
    """Whether commits wait for the disk where nobody says otherwise."""
    waits: bool
    """Whether the next one does."""

    def wait_for_disk(self, wanted: bool) -> None:
        """Say whether the next commit is to wait for the disk. Without a log each has to, or a file
        is damaged where the power fails."""
        if not self.may_wait or wanted is self.waits:
            return
        if not wanted and self.cursor.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            return
        self.waits = False  # first: whoever is interrupted in between has it said once more
        self.cursor.execute(f"PRAGMA synchronous = {SYNCHRONOUS['full' if wanted else 'normal']}")
        self.waits = wanted

    def give_back(self) -> None:
        self.wait_for_disk(True)  # as it was left before, and as a caller's next commit may need
        self.connection.isolation_level = self.isolation_level
        Held.give_back(self)


def _interrupted(txn: Transaction, work: Work[T], seconds: float) -> T:
    """Do work that SQLite gives up when the time is over: it has no time limit of its own."""
    connection, until = txn.cursor.connection, time.monotonic() + seconds
    connection.set_progress_handler(lambda: time.monotonic() > until, _OPCODES)
    try:
        return work(txn)
    finally:
        connection.set_progress_handler(None, 0)


_OPCODES: Final = 10_000
"""Of SQLite's machine, between two looks at the clock: a fraction of a millisecond."""


def _settle(answered: asyncio.Future[Any], job: LoopJob) -> None:
    if answered.done():  # cancelled, or told twice after an interrupt
        return
    if job.fault is not None:
        answered.set_exception(job.fault)
    else:
        answered.set_result(job.answer)


def _engine_for(address: Address, timeout: float) -> Engine:
    """What makes the connections of a store's own."""
    file = address.url.database or ":memory:"
    if file.startswith("file:"):  # SQLite's own URIs, with options: SQLAlchemy knows them all
        from sqlalchemy import URL, NullPool, create_engine

        url = address.url
        return create_engine(
            # In its parts: before 2.1 a path in a text is taken as it is written, with every %.
            URL.create(url.drivername, database=url.database, query=url.query),
            poolclass=NullPool,
            connect_args={"check_same_thread": False, "timeout": timeout},
        )
    connect = partial(sqlite3.connect, file, timeout=timeout, check_same_thread=False)
    return OwnEngine(lambda _: connect())


def _is_static(engine: Any) -> bool:
    """Whether an engine has one connection for all."""
    from sqlalchemy import StaticPool  # whoever has an engine has loaded it

    return isinstance(engine.pool, StaticPool)
