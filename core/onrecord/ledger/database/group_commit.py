"""SQLite commits together: one writer a process, one transaction for all who wait.

SQLite lets one connection write at a time, and a durable commit is mostly waiting for the disk.
So whoever comes first becomes the leader: it takes every waiting work, runs all of it in one
transaction, commits once, and answers. Where some of it fails, all is rolled back and done again,
each under a savepoint of its own, so that what fails is rolled back alone: few batches have any,
and 64 threads write a quarter more without savepoints, each of which lets other threads in twice.
What may not be done twice, as to write to a file, goes under savepoints from the beginning.
A lone append has nobody to wait for and pays 4 µs for this; 64 waiting ones share one fsync.

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
from typing import Any, Final

from onrecord.errors import Unavailable
from onrecord.ledger.database.gate import Gate
from onrecord.ledger.database.tally import Tally
from onrecord.ledger.database.transaction import Transaction, Work

log = logging.getLogger("onrecord")

MOST_TOGETHER: Final = 256
"""How much work goes into one transaction at the most, so that nobody's answer takes long."""


class State(Enum):
    WAITING = auto()
    RUNNING = auto()
    DONE = auto()
    DROPPED = auto()


class Job(ABC):
    """Some work and, later, its answer or what went wrong."""

    __slots__ = ("answer", "durable", "fault", "once", "state", "work")

    def __init__(self, work: Work[Any], once: bool, durable: bool) -> None:
        self.work = work
        self.durable = durable
        """Whether its commit has to wait for the disk."""
        self.once = once
        """Whether it is not to be done again because others fail."""
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

    def __init__(self, work: Work[Any], once: bool = False, durable: bool = True) -> None:
        super().__init__(work, once, durable)
        # A lock released by another thread is the cheapest wake-up there is.
        self._wake = threading.Lock()
        self._wake.acquire()

    def done(self) -> None:
        if self._wake.locked():  # it may be told twice, after an interrupt
            self._wake.release()

    lead = done

    def wait(self, seconds: float) -> bool:
        return self._wake.acquire(timeout=seconds)


class LoopJob(Job):
    """Work that an event loop waits for; a thread is borrowed when it has to lead."""

    __slots__ = ("_answer", "_lead", "asked")

    def __init__(
        self,
        work: Work[Any],
        answer: Callable[[LoopJob], None],
        lead: Callable[[LoopJob], None],
        once: bool = False,
        durable: bool = True,
    ) -> None:
        super().__init__(work, once, durable)
        self._answer = answer
        self._lead = lead
        self.asked = False

    def done(self) -> None:
        self._answer(self)

    def lead(self) -> None:
        if not self.asked:
            try:
                self.asked = True
                self._lead(self)
            except BaseException:  # an interrupt: no thread was found, another has to lead
                self.asked = False
                raise


class GroupCommit:
    """Takes work from any thread and loop, and runs it on one connection, together."""

    def __init__(
        self,
        transaction: Callable[[bool], Transaction],
        translate: Callable[[Exception, bool], Exception],
        gate: Gate,
        patience: float,
        tally: Tally,
    ) -> None:
        self._tally = tally
        self._transaction = transaction
        self._translate = translate
        self._gate = gate
        # A leader may wait for another process's lock for the whole timeout, and a follower
        # for that leader and then for its own.
        self._patience = 2 * patience + 1
        self._lock = threading.Lock()
        self._waiting: deque[Job] = deque()
        self._running: list[Job] = []
        self._leader: Job | None = None
        self._cursor: Any = None

    def run(self, work: Work[Any], once: bool = False, durable: bool = True) -> Any:
        """Do the work in this thread, or wait for the one that does it."""
        job = ThreadJob(work, once, durable)
        try:
            if self._enqueue(job):
                self._lead(job)
            else:
                self._await(job)
        except BaseException:  # an interrupt may come anywhere, and the others go on
            self._leave(job)
            raise
        return job.result()

    def submit(self, job: LoopJob) -> None:
        """Take work that nobody's thread waits for."""
        try:
            if self._enqueue(job):
                job.lead()
        except BaseException:  # an interrupt, before a thread was found to lead in its place
            if not job.asked:
                self._leave(job)
            raise

    def lead(self, job: LoopJob) -> None:
        """Lead in the place of an event loop, until nobody waits."""
        try:
            self._lead(job)
        except BaseException:  # as in ``run``
            self._leave(job)
            raise

    def drop(self, job: Job) -> bool:
        """Take back work that has not begun. False when it is too late for that."""
        with self._lock:
            if job.state is not State.WAITING or job is self._leader:
                return False
            job.state = State.DROPPED
            return True

    def _enqueue(self, job: Job) -> bool:
        """Whether whoever brought the job has to lead."""
        with self._lock:
            self._waiting.append(job)
            if self._leader is None:
                self._leader = job
            return self._leader is job

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
        if job.state is not State.DONE:
            self._lead(job)

    def _lead(self, job: Job) -> None:
        """Run batches until our own work is answered, then let the next one lead.

        A thread that leads for an event loop has nothing else to do, and goes on.
        """
        while self._take():
            self._commit(self._running, any([one.once for one in self._running]))
            self._answer()
            if job.state is State.DONE and isinstance(job, ThreadJob):
                break
        self._resign(job)

    def _take(self) -> bool:
        """Choose what goes into the next transaction. False when nobody waits."""
        with self._lock:
            while self._waiting and len(self._running) < MOST_TOGETHER:
                job = self._waiting[0]
                if job.state is State.WAITING:
                    self._running.append(job)
                    job.state = State.RUNNING
                self._waiting.popleft()
            return bool(self._running)

    def _answer(self) -> None:
        for job in self._running:
            job.done()
        self._running = []

    def _resign(self, job: Job) -> None:
        """Make the first who waits the leader. May be called again after an interrupt."""
        with self._lock:
            if self._leader is job:
                while self._waiting and self._waiting[0].state is not State.WAITING:
                    self._waiting.popleft()
                self._leader = self._waiting[0] if self._waiting else None
            heir = self._leader
            if heir is not None and heir is not job and heir.state is State.WAITING:
                heir.lead()

    def _leave(self, job: Job) -> None:
        """After an interrupt: whoever counted on this thread is answered, or led by another."""
        with self._lock:
            if job.state is State.WAITING:  # also where it was to lead: nobody waits for it now
                job.state = State.DROPPED
        if self._leader is job:
            self._roll_back()
            for other in self._running:
                if other.state is not State.DONE:
                    other.fault = _interrupted()
                    other.state = State.DONE
            self._answer()
        self._resign(job)

    def _commit(self, batch: list[Job], each_apart: bool = False) -> None:
        """Run a batch in one transaction, each job under a savepoint if so asked. Afterwards every
        job is done, one way or the other."""
        committing = False
        self._cursor = None  # the one of the last batch may have been closed since
        try:
            with self._gate:
                txn = self._transaction(any([one.durable for one in batch]))
                self._cursor = txn.cursor
                self._cursor.execute("BEGIN IMMEDIATE")
                alone = len(batch) == 1
                apart = self._run_apart if each_apart else self._run_together
                run = self._run_alone if alone else apart
                for job in batch:
                    if not run(job, txn):
                        break
                else:
                    if not alone or batch[0].fault is None:
                        committing = True
                        self._cursor.execute("COMMIT")
                        self._tally.commits += 1
                        self._tally.committed += len(batch)
                    return
            if each_apart:
                self._one_by_one(batch)
            else:
                self._commit(batch, each_apart=True)
        except Exception as fault:  # whatever it was, everybody in the batch has to hear of it
            for job in batch:
                job.fault = self._translate(fault, committing)
            self._roll_back()
        except BaseException:  # an interrupt in the leader's thread is not the others'
            for job in batch:
                job.fault = _interrupted()
            self._roll_back()
            raise
        finally:
            for job in batch:
                job.state = State.DONE

    def _run_alone(self, job: Job, txn: Transaction) -> bool:
        try:
            job.answer = job.work(txn)
        except Exception as fault:  # the caller's to handle; the transaction is not kept
            job.fault = self._translate(fault, False)
            self._roll_back()
        return True

    def _run_together(self, job: Job, txn: Transaction) -> bool:
        """False when it fails: what it has done by then cannot be told from what others did."""
        try:
            job.answer = job.work(txn)
        except Exception:  # whatever it is: it comes again, under a savepoint
            self._roll_back()
            return False
        # Else SQLite has given up, and whoever came next would write in no transaction.
        still: bool = self._cursor.connection.in_transaction
        return still

    def _run_apart(self, job: Job, txn: Transaction) -> bool:
        """False when SQLite has given up the whole transaction, and with it the others' work."""
        self._cursor.execute("SAVEPOINT job")
        try:
            job.answer = job.work(txn)
        except Exception as fault:  # the caller's to handle; the others go on
            job.fault = self._translate(fault, False)
            if not self._cursor.connection.in_transaction:
                return False
            self._cursor.execute("ROLLBACK TO job")
        self._cursor.execute("RELEASE job")
        return True

    def _one_by_one(self, batch: list[Job]) -> None:
        """After a full disk took everybody's work along: what can be written still is."""
        for job in batch:
            job.answer = job.fault = None
            self._commit([job])

    def _roll_back(self) -> None:
        if self._cursor is not None and self._cursor.connection.in_transaction:
            try:
                self._cursor.execute("ROLLBACK")
            except sqlite3.Error as fault:
                # The jobs have their faults already, and the next BEGIN will say so again.
                log.warning("a transaction could not be rolled back: %s", fault)


def _interrupted() -> Unavailable:
    return Unavailable(
        "The thread that was writing was interrupted. Whether this was written is not known; "
        "append again with the same ids.",
        outcome_unknown=True,
    )
