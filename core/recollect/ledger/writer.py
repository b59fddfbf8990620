"""SQLite commits together: one writer a process, one transaction for all who wait.

SQLite lets one connection write at a time, and a durable commit is mostly waiting for the disk.
So whoever comes first becomes the leader: it takes every waiting work, runs each under a
savepoint of its own in one transaction, commits once, and answers. Work that fails is rolled
back alone. A lone append has nobody to wait for and pays 4 µs for this; 64 waiting ones share
one fsync.

The leader serves others only until its own work is answered, then the first who waits leads.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from enum import Enum, auto
from typing import Any, Final, Protocol

from recollect.errors import Unavailable
from recollect.ledger.transaction import Transaction, Work

log = logging.getLogger("recollect")

MOST_TOGETHER: Final = 256
"""How much work goes into one transaction at the most, so that nobody's answer takes long."""


class Connection(Protocol):
    """What the writer needs of a SQLite connection that is in autocommit mode."""

    @property
    def in_transaction(self) -> bool: ...
    def execute(self, sql: str, /) -> Any: ...


class State(Enum):
    WAITING = auto()
    LEADING = auto()  # still waiting, but chosen to lead: it can no longer be taken back
    RUNNING = auto()
    DONE = auto()
    DROPPED = auto()


class Job(ABC):
    """Some work and, later, its answer or what went wrong."""

    __slots__ = ("answer", "fault", "state", "work")

    def __init__(self, work: Work[Any]) -> None:
        self.work = work
        self.state = State.WAITING
        self.answer: Any = None
        self.fault: BaseException | None = None

    @abstractmethod
    def done(self) -> None:
        """Tell whoever waits that the answer is there."""

    @abstractmethod
    def lead(self) -> None:
        """Make whoever waits the next leader."""

    def result(self) -> Any:
        if self.fault is not None:
            raise self.fault
        return self.answer


class ThreadJob(Job):
    """Work that a thread waits for."""

    __slots__ = ("_wake",)

    def __init__(self, work: Work[Any]) -> None:
        super().__init__(work)
        # A lock released by another thread is the cheapest wake-up there is.
        self._wake = threading.Lock()
        self._wake.acquire()

    def done(self) -> None:
        self._wake.release()

    def lead(self) -> None:
        self._wake.release()

    def wait(self, seconds: float) -> bool:
        return self._wake.acquire(timeout=seconds)


class LoopJob(Job):
    """Work that an event loop waits for; a thread is borrowed when it has to lead."""

    __slots__ = ("_answer", "_lead")

    def __init__(
        self, work: Work[Any], answer: Callable[[LoopJob], None], lead: Callable[[], None]
    ) -> None:
        super().__init__(work)
        self._answer = answer
        self._lead = lead

    def done(self) -> None:
        self._answer(self)

    def lead(self) -> None:
        self._lead()


class Writer:
    """Takes work from any thread and loop, and runs it on one connection, together."""

    def __init__(
        self,
        connection: Connection,
        transaction: Callable[[], Transaction],
        translate: Callable[[Exception, bool], Exception],
        patience: float,
    ) -> None:
        self._connection = connection
        self._transaction = transaction
        self._translate = translate
        # A leader may wait for another process's lock for the whole timeout, and a follower
        # for that leader and then for its own.
        self._patience = 2 * patience + 1
        self._lock = threading.Lock()
        self._waiting: deque[Job] = deque()
        self._led = False

    def run(self, work: Work[Any]) -> Any:
        """Do the work in this thread, or wait for the one that does it."""
        job = ThreadJob(work)
        if self._enqueue(job):
            self._lead(job)
        else:
            self._await(job)
        return job.result()

    def submit(self, job: LoopJob) -> None:
        """Take work that nobody's thread waits for."""
        if self._enqueue(job):
            job.lead()

    def lead(self) -> None:
        """Lead, in a thread that has no work of its own, until nobody waits."""
        self._lead(None)

    def drop(self, job: Job) -> bool:
        """Take back work that has not begun. False when it is too late for that."""
        with self._lock:
            if job.state is not State.WAITING:
                return False
            job.state = State.DROPPED
            return True

    def _enqueue(self, job: Job) -> bool:
        """Whether whoever brought the job has to lead."""
        with self._lock:
            self._waiting.append(job)
            if self._led:
                return False
            self._led = True
            return True

    def _await(self, job: ThreadJob) -> None:
        if not job.wait(self._patience):
            if self.drop(job):
                raise Unavailable(
                    "The writes before this one have not finished within the timeout. "
                    "Nothing was written. Look at the disk, or raise timeout=."
                )
            if not job.wait(self._patience):
                raise Unavailable(
                    "The database has not finished within the timeout. Whether it was written "
                    "is not known; append again with the same ids.",
                    outcome_unknown=True,
                )
        if job.state is State.LEADING:
            self._lead(job)

    def _lead(self, own: Job | None) -> None:
        """Run batches until our own work is answered, then let the next one lead."""
        try:
            while batch := self._take():
                try:
                    self._commit(batch)
                finally:  # an interrupt in this thread must not leave the others waiting
                    for job in batch:
                        if job is not own:
                            job.done()
                if own is not None and own.state is State.DONE:
                    break
        finally:
            self._resign()

    def _take(self) -> list[Job]:
        with self._lock:
            batch: list[Job] = []
            while self._waiting and len(batch) < MOST_TOGETHER:
                job = self._waiting.popleft()
                if job.state is not State.DROPPED:
                    job.state = State.RUNNING
                    batch.append(job)
            return batch

    def _resign(self) -> None:
        with self._lock:
            while self._waiting and self._waiting[0].state is State.DROPPED:
                self._waiting.popleft()
            if not self._waiting:
                self._led = False
                return
            heir = self._waiting[0]
            heir.state = State.LEADING
        heir.lead()

    def _commit(self, batch: list[Job]) -> None:
        """Run a batch in one transaction. Afterwards every job is done, one way or the other."""
        committing = False
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            alone = len(batch) == 1
            for job in batch:
                if not (self._run_alone(job) if alone else self._run_beside_others(job)):
                    self._one_by_one(batch)
                    return
            if not alone or batch[0].fault is None:
                committing = True
                self._connection.execute("COMMIT")
        except Exception as fault:  # whatever it was, everybody in the batch has to hear of it
            for job in batch:
                job.fault = self._translate(fault, committing)
            self._roll_back()
        except BaseException:  # an interrupt in the leader's thread is not the others'
            for job in batch:
                job.fault = Unavailable(
                    "The thread that was writing was interrupted. Whether this was written is "
                    "not known; append again with the same ids.",
                    outcome_unknown=True,
                )
            self._roll_back()
            raise
        finally:
            for job in batch:
                job.state = State.DONE

    def _run_alone(self, job: Job) -> bool:
        try:
            job.answer = job.work(self._transaction())
        except Exception as fault:  # the caller's to handle; the transaction is not kept
            job.fault = self._translate(fault, False)
            self._roll_back()
        return True

    def _run_beside_others(self, job: Job) -> bool:
        """False when SQLite has given up the whole transaction, and with it the others' work."""
        self._connection.execute("SAVEPOINT job")
        try:
            job.answer = job.work(self._transaction())
        except Exception as fault:  # the caller's to handle; the others go on
            job.fault = self._translate(fault, False)
            if not self._connection.in_transaction:
                return False
            self._connection.execute("ROLLBACK TO job")
        self._connection.execute("RELEASE job")
        return True

    def _one_by_one(self, batch: list[Job]) -> None:
        """After a full disk took everybody's work along: what can be written still is."""
        for job in batch:
            job.answer = job.fault = None
            self._commit([job])

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            try:
                self._connection.execute("ROLLBACK")
            except sqlite3.Error as fault:
                # The jobs have their faults already, and the next BEGIN will say so again.
                log.warning("a transaction could not be rolled back: %s", fault)
