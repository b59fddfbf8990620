"""How room that is free inside the database is given back to the disk.

Each statement here stands alone: none of them may run in a transaction.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Literal, TypeAlias

from onrecord.ledger.database.address import Kind
from onrecord.ledger.database.dialect import TABLES
from onrecord.ledger.database.transaction import Transaction
from onrecord.ledger.maintenance import horizon

_BUSY: Final = (
    "The write-ahead log could not be folded back into the file, because somebody is reading. "
    "Do it again when it is quieter."
)
_SEEN: Final = (
    "Rows that were removed could not be cleaned up, because a transaction that began before is "
    "still open and may read them. Erase again when it has ended."
)
_SHARED: Final = (
    "PostgreSQL keeps the bytes of removed rows in pages that hold other rows too, until these are "
    "written over. compact(again=True) writes every table anew, and nobody can use it meanwhile. "
    "Its write-ahead log and backups are yours to let expire."
)
_REFUSED: Final = (
    "PostgreSQL did not clean up all tables ({}). Its autovacuum does most of that by itself; what "
    "has to be done now needs the role that owns them."
)
_PAGES_AT_ONCE: Final = 200
_LONGEST_PAUSE: Final = 0.1
"""Seconds that others who write are given between two pieces."""
_SMALL: Final = frozenset({"meta", "counters", "migrations"})
"""What everybody needs, and holds nothing of anybody."""


How: TypeAlias = Literal["free", "clean", "anew"]
"""free: give back what is free. clean: leave no byte of what was removed in SQLite's file, which
takes writing all of it; on PostgreSQL say where some may be left. anew: write everything, also
where nobody can use a table meanwhile."""


def kept_anyhow(kind: Kind) -> str | None:
    """Where bytes of what is removed stay, even where all is done to clean up."""
    return _SHARED if kind == "postgresql" else None


def reclaim(txn: Transaction, how: How) -> str | None:
    """Give room back to the disk; why that was not possible, if so."""
    if txn.kind == "sqlite":
        return _sqlite(txn.cursor, anew=how != "free")
    return _postgres(txn, how)


def _sqlite(cursor: Any, anew: bool) -> str | None:
    if not cursor.execute("PRAGMA database_list").fetchone()[2]:
        return None  # in memory
    if anew:
        cursor.execute("VACUUM")
    else:
        _free(cursor)
    # First what holds nobody up; what is left of the log for the second is little.
    cursor.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    busy, _, _ = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return _BUSY if busy else None


def _free(cursor: Any) -> None:
    """Give free pages back, some at a time: nobody else writes while that is done."""
    left: int = cursor.execute("PRAGMA freelist_count").fetchone()[0]
    while left > 0:
        began = time.monotonic()
        # By execute() it would be one page.
        cursor.executescript(f"PRAGMA incremental_vacuum({_PAGES_AT_ONCE})")
        before, left = left, cursor.execute("PRAGMA freelist_count").fetchone()[0]
        if left >= before:
            return  # somebody else has freed as much meanwhile
        if left:
            time.sleep(min(time.monotonic() - began, _LONGEST_PAUSE))


def _postgres(txn: Transaction, how: How) -> str | None:
    before = horizon.here(txn)
    with _warnings(txn.cursor.connection) as skipped:
        for table in TABLES:
            # FULL writes a table anew, and nobody else uses it meanwhile.
            full = how == "anew" and table not in _SMALL
            txn.run(f"VACUUM {'(FULL) ' if full else ''}{{{table}}}")
    if skipped:  # what this role may not clean up is no error there
        told = _REFUSED.format(skipped[0])
        return f"{told} {_SHARED}" if how == "clean" else told
    # No REINDEX CONCURRENTLY: under anybody's long transaction it ends by a timeout and leaves an
    # invalid index behind each time. Empty pages of an index are used again.
    if not horizon.has_passed(txn, before):
        return _SEEN  # who began before the vacuum may read what was removed, and it stays
    return _SHARED if how == "clean" else None


@contextmanager
def _warnings(connection: Any) -> Iterator[list[str]]:
    """What the server warns of while statements are run."""
    heard: list[str] = []

    def hear(notice: Any) -> None:
        if notice.severity_nonlocalized == "WARNING":
            heard.append(str(notice.message_primary))

    connection.add_notice_handler(hear)
    try:
        yield heard
    finally:
        connection.remove_notice_handler(hear)
