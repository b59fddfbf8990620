"""A gate that work passes through, and that can be shut until nobody is inside."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from onrecord.errors import StoreClosed, Unavailable


class Gate:
    """SQLite's connections must not be closed, nor the process forked, under a statement.

    What SQLite knows of its locks belongs to the process and is inherited by a fork: a child of
    a process with an open connection believes it holds locks that it does not, and loses what
    it writes. So before a fork every connection is closed, with nobody inside.

    A plain lock and a look every millisecond, because a Condition takes its lock in Python code,
    where a Ctrl-C can leave it taken for good. The gate is shut for moments, and rarely.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._lock = threading.Lock()
        self._inside = 0
        self._shut = False
        self._for_good = False

    def __enter__(self) -> None:
        """Be inside; wait where the gate is shut."""
        while True:
            with self._lock:
                if self._for_good:
                    raise StoreClosed
                if not self._shut:
                    self._inside += 1
                    return
            if not self._until(lambda: not self._shut):
                raise Unavailable("The database is being closed or forked for too long.")

    def __exit__(self, *exc: object) -> None:
        with self._lock:
            self._inside -= 1

    def shut(self) -> bool:
        """Let nobody in, and wait for those inside. False if they did not leave in time."""
        with self._lock:
            self._shut = True
        return self._until(lambda: not self._inside)

    def open(self, *, for_good: bool = False) -> None:
        """Let everybody in again; or, ``for_good``, tell them that it is closed."""
        with self._lock:
            self._shut = False
            self._for_good = for_good

    def _until(self, so: Callable[[], bool]) -> bool:
        deadline = time.monotonic() + self._patience
        while not so():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.001)
        return True
