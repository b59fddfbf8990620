"""Notes every call that would hold up an event loop, also where its error is caught."""

import _thread
import asyncio
import contextlib
import ctypes
import traceback
from collections.abc import Callable, Iterator
from typing import Any

from blockbuster import BlockBusterFunction, BlockingError, blockbuster_ctx
from forbiddenfruit import patchable_builtin  # type: ignore[import-untyped]

# What blockbuster leaves to others, and no method of ours may do on a loop.
ALSO = (
    *("builtins.open", "io.open", "os.open", "os.close", "os.fsync", "os.lstat", "os.pread"),
    *("mmap.mmap", "sqlite3.connect", "sqlite3.dbapi2.connect", "sqlite3.Connection.cursor"),
    *("sqlite3.Connection.close", "sqlite3.Cursor.close"),
)


@contextlib.contextmanager
def noted(*, locks: bool = False) -> Iterator[list[str]]:
    """What blocked a running loop meanwhile, each with the lines that led there.

    The error alone would not do: much of what fails with a cache is caught, as it should be.
    ``locks`` also notes a ``with`` on a lock that another thread holds, which blockbuster does
    not see; some are held for a moment, and may be waited for.
    """
    blocked: list[str] = []
    kind: Any = BlockingError
    said = kind.__init__

    def note(error: BlockingError, func: str) -> None:
        blocked.append(f"{func}\n{''.join(traceback.format_stack(limit=16)[:-2])}")
        said(error, func)

    others = [BlockBusterFunction(None, name) for name in ALSO]
    kind.__init__ = note
    try:
        with blockbuster_ctx(), _locks_watched() if locks else contextlib.nullcontext():
            for other in others:
                other.activate()
            yield blocked
    finally:
        for other in others:
            other.deactivate()
        kind.__init__ = said


@contextlib.contextmanager
def _locks_watched() -> Iterator[None]:
    methods = patchable_builtin(_thread.LockType)
    enter = methods["__enter__"]

    def watched(lock: Any) -> Any:
        if lock.locked() and asyncio._get_running_loop() is not None:
            raise BlockingError("Lock.__enter__")
        return enter(lock)

    def put(method: Callable[[Any], Any]) -> None:
        methods["__enter__"] = method
        ctypes.pythonapi.PyType_Modified(ctypes.py_object(_thread.LockType))

    put(watched)
    try:
        yield
    finally:
        put(enter)
