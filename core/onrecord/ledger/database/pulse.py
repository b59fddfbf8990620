"""The pulse of a SQLite file: a value that moves with every commit, by any process.

SQLite in WAL mode shares what it knows of its log in a file beside the database, ``-shm``. The
first 48 bytes are a header, and the next 48 are the same once more. Every commit writes both
before it returns: in one log the number of frames grows, and a new log has another salt, so no
header comes twice. A transaction of SQLite's own begins by comparing this header with the one it
saw last, and ``PRAGMA data_version`` counts how often they differed. Here the header is compared
without SQLite: no lock is taken and nothing is waited for, so an event loop may do it, in 1 µs.

The mapping is right for as long as a connection of this process is open. While one is, it holds
a lock on the database: nobody can end WAL mode, and no other process takes itself for the last
one and removes the file. So one connection is kept, and the mapping is given up before it.

A file descriptor of the ``-shm`` file must not be closed while SQLite uses it: with that, POSIX
takes away all locks that this process holds on the file, SQLite's as well, and two processes
would write at once. So descriptors and mappings are kept until the file has been removed.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sqlite3
import struct
import sys
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, NamedTuple

from onrecord.errors import OnrecordError
from onrecord.ledger.database.faults import original_of
from onrecord.ledger.database.gate import Gate
from onrecord.ledger.database.pool import Held

_HEADER: Final = 48
_FRAMES: Final = 16
"""Where in the header it says how many frames there are."""
_INIT: Final = 12
"""Where in the header it says whether there is one."""
_UP_TO_MARKS: Final = 2 * _HEADER + 24
"""The two headers, how much of the log is in the file, and the marks of five readers."""
_VERSION: Final = 3_007_000
"""The only layout of the header that there has been since SQLite 3.7.0."""


class Pulse:
    """Asks one SQLite file whether anybody has committed since."""

    def __init__(self, connect: Callable[[], Held], gate: Gate, *, by_name: bool) -> None:
        """
        by_name    the file was named without options: with some, SQLite keeps the header to itself
        """
        self._connect = connect
        self._gate = gate
        self._by_name = by_name
        self._lock = threading.Lock()
        self._asking: Held | None = None
        self._times = 0
        self._kept: _Kept | None = None
        self._mapped: tuple[int, Any] | None = None

    def at_hand(self) -> object | None:
        """The pulse where nothing has to be waited for; None where ``take`` is needed."""
        mapped = self._mapped
        if mapped is None:
            return None
        times, view = mapped
        try:
            header = _whole(view[: 2 * _HEADER])
        except ValueError:  # given up in this moment
            return None
        return None if header is None else (times, header)

    def take(self) -> object | None:
        """The pulse, in a thread that may wait; None if it cannot be had.

        Without a header, the answer of a connection that never writes, which is part of it:
        every connection counts on its own.
        """
        if (pulse := self.at_hand()) is not None:
            return pulse
        try:
            with self._gate, self._lock:
                cursor = (self._asking or self._begun()).cursor
                version = cursor.execute("PRAGMA data_version").fetchone()[0]
                if self._kept is not None and self._mapped is None:
                    self._map(self._kept)
                return self.at_hand() or (self._times, version)
        except Exception as fault:  # a caller's engine puts its own around the driver's
            if not isinstance(original_of(fault), sqlite3.Error | OnrecordError):
                raise
            # Not knowing is an answer: the caller reads the database, and hears why there.
            return None

    def close(self) -> None:
        """Close the connection. The next ``take`` makes another one."""
        with self._lock:
            self._mapped = None
            self._let_kept_go()
            if self._asking is not None:
                self._asking.give_back()
                self._asking = None

    def _begun(self) -> Held:
        asking = self._connect()
        try:
            # Whoever reads has no use for an answer that comes late.
            asking.cursor.execute("PRAGMA busy_timeout = 0")
            self._kept = _kept_for(asking.cursor) if self._by_name else None
        except BaseException:  # also an interrupt must not leave it open
            asking.give_back()
            raise
        if self._kept is not None:
            self._kept.users.add(self)
        self._asking = asking
        self._times += 1
        return asking

    def _map(self, kept: _Kept) -> None:
        """Trust a mapping, once there is a header in it that is understood."""
        assert kept.view is not None, "else it is not used"
        header = _whole(kept.view[: 2 * _HEADER])
        if header is None:
            return  # it is being written: at the next time
        if _is_understood(header):
            self._mapped = (self._times, kept.view)
        else:
            self._let_kept_go()

    def _let_kept_go(self) -> None:
        if self._kept is not None:
            self._kept.users.discard(self)
            self._kept = None


class Log(NamedTuple):
    """The write-ahead log of a SQLite file, in frames: each has a page."""

    frames: int
    """Those that hold something."""
    folded: int
    """How many of them are in the file as well."""


def log_of(cursor: Any) -> Log | None:
    """The log, without a lock and without folding anything back; None where it cannot be seen."""
    kept = _kept_for(cursor)
    view = None if kept is None else kept.view
    header = None if view is None else _whole(view[: 2 * _HEADER])
    if view is None or header is None or not _is_understood(header):
        return None
    (frames,) = struct.unpack_from("=I", header, _FRAMES)
    (folded,) = struct.unpack_from("=I", view, 2 * _HEADER)
    return Log(frames, min(folded, frames))


def _whole(both: bytes) -> bytes | None:
    """The header; None while it is being written, or where there is none."""
    header = both[:_HEADER]
    return header if header == both[_HEADER:] and header[_INIT] else None


def _kept_for(cursor: Any) -> _Kept | None:
    """A mapping of the file that a connection has its header in; None where there is none."""
    if sys.platform == "win32":
        return None
    cursor.execute("PRAGMA data_version").fetchone()  # the first transaction opens the file
    # In exclusive mode the header is not in a file: what lies there may be another one's, left.
    if cursor.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        return None
    if cursor.execute("PRAGMA locking_mode").fetchone()[0] != "normal":
        return None
    file = next(row[2] for row in cursor.execute("PRAGMA database_list") if row[1] == "main")
    kept = _kept_at(f"{file}-shm")
    return None if kept is None or kept.view is None else kept


def _is_understood(header: bytes) -> bool:
    """Whether it is laid out as SQLite has documented it: by its version and its checksum."""
    words = struct.unpack("=12I", header)
    a = b = 0
    for one, other in zip(words[0:10:2], words[1:10:2], strict=True):
        a = (a + one + b) & 0xFFFFFFFF
        b = (b + other + a) & 0xFFFFFFFF
    return words[0] == _VERSION and (a, b) == words[10:]


class _Kept:
    """A descriptor of a file and a mapping of its beginning."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        found = os.fstat(fd)
        self.place = found.st_dev, found.st_ino
        self.view: mmap.mmap | None = None
        self.users: weakref.WeakSet[Pulse] = weakref.WeakSet()

    def map(self) -> None:
        """Map it, for good: Python's mapping has a descriptor of its own, and would close that
        when the interpreter ends, under a thread that is in the middle of a commit."""
        self.view = view = mmap.mmap(self.fd, _UP_TO_MARKS, access=mmap.ACCESS_READ)
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(view))

    def is_over(self) -> bool:
        """Whether the file has no name any more, so that nobody comes to lock it, and no user."""
        return not self.users and os.fstat(self.fd).st_nlink == 0

    def close(self) -> None:
        """Only once it is over."""
        if self.view is not None:
            self.view.close()
            ctypes.pythonapi.Py_DecRef(ctypes.py_object(self.view))
        os.close(self.fd)


_kept: list[_Kept] = []
"""Of all stores of this process: a file is opened once. Changed by single steps only, so that a
fork finds no lock taken here."""


def _kept_at(path: str) -> _Kept | None:
    try:
        found = os.stat(path)
        for kept in list(_kept):
            if kept.place == (found.st_dev, found.st_ino):
                return kept
        # As SQLite opens it: where it may only read, it may have to make up a header of its own.
        kept = _Kept(os.open(path, os.O_RDWR))
        _kept.append(kept)
        kept.map()
    except (OSError, ValueError):  # not there, not ours, or too short
        return None
    return kept


def let_go() -> None:
    """Close what belongs to files that SQLite has removed with their last connection."""
    for kept in list(_kept):
        with suppress(ValueError, OSError):  # another thread was quicker
            if kept.is_over():
                _kept.remove(kept)
                kept.close()
