"""A gate that work passes through one by one, and that can be shut until nobody is inside."""

from __future__ import annotations

import threading

from recollect.errors import StoreClosed, Unavailable


class Gate:
    """SQLite's connections must not be closed, nor the process forked, under a statement.

    What SQLite knows of its locks belongs to the process and is inherited by a fork: a child of
    a process with an open connection believes it holds locks that it does not, and loses what
    it writes. So before a fork every connection is closed, with nobody inside.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._changed = threading.Condition(threading.Lock())
        self._inside = 0
        self._shut = False
        self._for_good = False

    def __enter__(self) -> None:
        """Be inside; wait where the gate is shut."""
        with self._changed:
            if self._shut and not self._changed.wait_for(lambda: not self._shut, self._patience):
                raise Unavailable("The database is being closed or forked for too long.")
            if self._for_good:
                raise StoreClosed
            self._inside += 1

    def __exit__(self, *exc: object) -> None:
        with self._changed:
            self._inside -= 1
            if self._shut and not self._inside:
                self._changed.notify_all()

    def shut(self) -> bool:
        """Let nobody in, and wait for those inside. False if they did not leave in time."""
        with self._changed:
            self._shut = True
            return self._changed.wait_for(lambda: not self._inside, self._patience)

    def open(self, *, for_good: bool = False) -> None:
        """Let everybody in again; or, ``for_good``, tell them that it is closed."""
        with self._changed:
            self._shut = False
            self._for_good = for_good
            self._changed.notify_all()
