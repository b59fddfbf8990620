"""Connections that are kept and handed to one caller at a time.

A store makes its own, or borrows those of a caller's SQLAlchemy engine: they go back to it after
every step (but for the one that SQLite is written through). The pool of SQLAlchemy costs 10 µs a
checkout on SQLite and 100 µs on PostgreSQL (a SQLite tail costs 27 µs).
"""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from onrecord.ledger.database.own_engine import Lent
from onrecord.ledger.database.tally import Tally


class NoFreeConnection(Exception):
    """All connections were in use for too long."""


@dataclass(slots=True, eq=False)
class Held:
    """A driver's connection with the cursor that is used again and again."""

    proxied: Lent
    connection: Any
    cursor: Any
    generation: int
    broken: bool = False
    since: float = field(default_factory=time.monotonic)
    """When it was made, by the monotonic clock."""

    def usable(self) -> bool:
        """Whether it is worth trying, as far as can be told without a round trip."""
        return True

    def discard(self) -> None:
        """Close it for good: it is broken or too old."""
        self.proxied.invalidate()

    def give_back(self) -> None:
        """Return it to the engine it came from."""
        self.cursor.close()
        self.proxied.close()


class Lending:
    """A connection for as long as a ``with`` block takes: a generator takes twice as long."""

    __slots__ = ("_held", "_pool", "_until")

    def __init__(self, pool: Pool, until: float) -> None:
        self._pool = pool
        self._until = until

    def __enter__(self) -> Held:
        self._held = self._pool.take(self._until)
        return self._held

    def __exit__(self, kind: object, fault: BaseException | None, trace: object) -> None:
        self._pool.take_back(self._held, fault)


class Pool:
    """At most ``size`` connections, the one used last handed out first."""

    def __init__(
        self,
        connect: Callable[[float], Lent],
        prepare: Callable[[Lent], Held],
        *,
        size: int,
        patience: float,
        keep: bool,
        tally: Tally,
    ) -> None:
        self._connect = connect
        self._prepare = prepare
        self._patience = patience
        self._keep = keep
        self._tally = tally
        # Of simple queues and lists every operation is one step of C: an interrupt cannot leave
        # one half done.
        self._permits: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._idle: list[Held] = []
        self._size = size
        for _ in range(size):
            self._permits.put(None)
        self._lock = threading.Lock()
        self._generation = 0

    @property
    def generation(self) -> int:
        """Grows when all connections made before are to be replaced."""
        return self._generation

    @property
    def in_use(self) -> int:
        """How many connections are lent at this moment."""
        return self._size - self._permits.qsize()

    @property
    def open(self) -> int:
        """How many connections there are at this moment, in use or not."""
        return self.in_use + len(self._idle)

    def lend(self, until: float = math.inf) -> Lending:
        """One connection, for one step; sought until then, by the monotonic clock."""
        return Lending(self, until)

    def take(self, until: float = math.inf) -> Held:
        """A connection that nobody else has."""
        try:
            self._permits.get_nowait()
        except queue.Empty:
            self._wait(until)
        try:
            return self._fitting() or self._prepare(self._connect(until))
        except BaseException:  # also an interrupt must not keep the permit
            self._permits.put(None)
            raise

    def _wait(self, until: float) -> None:
        """Wait until somebody gives a connection back."""
        self._tally.pool_waits += 1
        began = time.monotonic()
        try:
            self._permits.get(timeout=max(0.0, min(self._patience, until - began)))
        except queue.Empty:
            raise NoFreeConnection("every connection is in use") from None
        finally:
            self._tally.pool_wait_seconds += time.monotonic() - began

    def take_back(self, held: Held, fault: BaseException | None) -> None:
        """A connection that was taken, and what went wrong with it."""
        broken = False
        try:
            # What an interrupt cut off in the middle is of no use to the next caller.
            if fault is not None and (held.broken or not isinstance(fault, Exception)):
                broken = True
                held.discard()
        finally:
            self._permits.put(None)
            if not broken:
                if self._keep and held.generation == self._generation:
                    self._idle.append(held)
                else:
                    held.give_back()

    def _fitting(self) -> Held | None:
        """The connection used last that is still worth trying."""
        while self._idle:
            try:
                held = self._idle.pop()
            except IndexError:  # another thread was quicker
                return None
            if held.generation == self._generation and held.usable():
                return held
            held.discard()
        return None

    def renew(self) -> None:
        """From now on hand out new connections only: the server went away under the old ones."""
        with self._lock:
            self._generation += 1

    def close(self) -> None:
        """Close every connection that is not in use; the others when they come back."""
        self.renew()
        while self._idle:
            self._idle.pop().give_back()
