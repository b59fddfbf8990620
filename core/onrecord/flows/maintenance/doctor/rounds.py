"""The rounds of a doctor: one check after the other, none of which can fail, in a bounded time."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from onrecord.diagnosis import SEVERITIES, Diagnosis, Finding, Severity
from onrecord.errors import OnrecordError, StoreClosed
from onrecord.flow import Autocommit, Flow, do
from onrecord.ledger.database.faults import TookTooLong
from onrecord.stored.clock import now

if TYPE_CHECKING:
    from onrecord.ledger.database.transaction import Transaction

T = TypeVar("T")

CHECKS: Final[dict[str, str]] = {
    "packages": "the versions of the packages that this process has loaded",
    "disk": "free room, and the file system, of the folder that a SQLite file is in",
    "permissions": "what this user may not write or do: folder, files, tables",
    "database": "whether the database can be reached and opened",
    "versions": "the version of SQLite or of the PostgreSQL server",
    "durability": "settings by which what was acknowledged may be lost",
    "connections": "pool_size against what the server, the database and the role allow",
    "transactions": "what holds old rows or the server's log back: transactions, replication slots",
    "wraparound": "how old the oldest transaction numbers of PostgreSQL are, before they run out",
    "log": "a write-ahead log of SQLite that grows, because somebody reads and never ends",
    "clock": "this machine's clock against the server's, and times that have not come yet",
    "schema": "tables that are missing, of an earlier Onrecord or of a later one; indexes of ours "
    "that no read can use",
    "cache": "whether Redis can be reached and may be believed",
    "cache-memory": "its memory, and what it does when it is full",
    "cache-disk": "whether it saves to a disk what nobody needs there",
    "cache-clock": "its clock against this machine's",
    "room": "room inside a file, or rows that were removed, that nobody has given back",
    "sealing": "quiet sessions that were never compacted",
    "dictionaries": "whether a dictionary was trained",
    "expired": "sessions and items that have expired and were not pruned",
    "index": "messages that the index of search does not have",
    "embedder": "whether the embedder answers, and what it has not seen",
    "feeds": "readers that are far behind",
    "damage": "a sample of what is stored, read and verified",
}
"""Every check, in the order in which they are made, and what it looks at."""


class Examined(NamedTuple):
    """The store that is examined, as far as its settings say."""

    address: str
    file: str | None
    """Of SQLite; None for a server or memory."""
    migrate: bool
    pool_size: int
    connections: int
    """Of the pool, that are open."""
    compresses: bool
    cache: str | None
    """Its address as it may be shown; None for a store without one."""


class Rounds:
    """Makes checks, and notes what they find."""

    def __init__(self, within: float, clock: Callable[[], int] = now) -> None:
        self.clock = clock
        self._within = within
        self._until = time.monotonic() + within
        self._findings: list[Finding] = []
        self._made: list[str] = []
        self._left_out: list[str] = []

    @property
    def left(self) -> float:
        """How many seconds are left."""
        return self._until - time.monotonic()

    def check(self, name: str, flow: Flow[Iterable[Finding] | None]) -> Flow[bool]:
        """Make one check, and say whether it could be made. None says that it is for other stores.

        What it raises is a finding as well: a doctor is asked because something is wrong.
        """
        assert name in CHECKS
        if self.left <= 0:
            self._left_out.append(name)
            return False
        try:
            found = yield from flow
        except StoreClosed:
            raise
        except TookTooLong:
            self._left_out.append(name)
            return False
        except Exception as fault:  # any: who asks is to hear of the other checks, too
            self._made.append(name)
            self._findings.append(_failed(name, fault))
            return False
        if found is not None:
            self._made.append(name)
            self._findings += found
        return True

    def look(self, work: Callable[[Transaction], T], share: float = 1.0) -> Flow[T]:
        """Look at the database as it is found, in what is left of the time, or in a share of it."""
        seconds = max(self.left * share, 0.001)
        return (yield from do(Autocommit(work, seconds_as_it_is=seconds)))

    def diagnosis(self) -> Diagnosis:
        """What was found, the worst first."""
        found = list(self._findings)
        if self._left_out:
            found.append(
                Finding(
                    check=self._left_out[0],
                    severity="note",
                    what=f"Not all was looked at within {self._within:g} s: "
                    f"{', '.join(self._left_out)}.",
                    advice=f"Give it more time, doctor(within={max(60, 4 * self._within):g}), or "
                    "ask when there is less to do.",
                )
            )
        found.sort(key=lambda one: SEVERITIES.index(one.severity))  # which keeps their order else
        return Diagnosis(findings=tuple(found), checks=tuple(dict.fromkeys(self._made)))


def finding(check: str, severity: Severity, what: str, advice: str) -> Finding:
    """One finding."""
    return Finding(check=check, severity=severity, what=what, advice=advice)


def size(count: int) -> str:
    """Bytes, for people."""
    for unit, bytes_of in (("GB", 2**30), ("MB", 2**20), ("KB", 2**10)):
        if count >= bytes_of:
            number = count / bytes_of
            return f"{number:,.0f} {unit}" if number >= 10 else f"{number:.1f} {unit}"
    return f"{count} bytes"


def duration(seconds: float) -> str:
    """A time span, for people."""
    for unit, length in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.0f} {unit}"
    return f"{seconds:,.0f} seconds" if seconds >= 10 else f"{seconds:.1f} seconds"


def numbers(version: str) -> tuple[int, ...]:
    """A version as it is compared: 15.20 is newer than 15.3."""
    found = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(map(int, found[0].split("."))) if found else ()


def _failed(check: str, fault: Exception) -> Finding:
    ours = isinstance(fault, OnrecordError)
    what = str(fault) if ours else f"{type(fault).__name__}: {fault}"
    return finding(
        check,
        "error",
        what if check == "database" else f"This could not be checked. {what}",
        "Mend what it says, and ask again: what is in it could not be checked."
        if ours
        else "See whether verify() says more; it may "
        "also be a bug: please report it with this text.",
    )
