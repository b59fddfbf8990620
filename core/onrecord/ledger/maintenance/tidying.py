"""What a database wants to have done from time to time, some of it at a time.

Each of these stands alone, and none of them holds up who writes: what would, ``compact`` and
``erase`` do, when they are asked to.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, NamedTuple

from onrecord.ledger.database.dialect import TABLES
from onrecord.ledger.database.transaction import Transaction

_PAGES_AT_ONCE: Final = 2_000
"""That are given back in one go, while nobody else writes: some tens of milliseconds."""
_ROWS_LOOKED_AT: Final = 1_000
"""Of each index, where SQLite finds out what is in it: all of a large one would take minutes."""
_BUSY: Final = (
    "The write-ahead log could not be folded back into the file, because somebody is reading."
)

# As autovacuum has it, but sooner: where a tenth has changed, and where nothing is known yet.
_CLEAN: Final = "s.n_dead_tup > 1000 AND s.n_dead_tup > 0.1 * s.n_live_tup"
_COUNT: Final = """s.n_mod_since_analyze > 1000 AND s.n_mod_since_analyze > 0.1 * s.n_live_tup
    OR s.n_live_tup > 0 AND s.last_analyze IS NULL AND s.last_autoanalyze IS NULL"""
_WANTED: Final = f"""
    SELECT c.relname, {_CLEAN} FROM pg_class c JOIN pg_stat_user_tables s ON s.relid = c.oid
    WHERE c.relnamespace = (SELECT oid FROM pg_namespace
            WHERE nspname = coalesce(CAST(:schema AS TEXT), current_schema()))
        AND regexp_replace(c.relname, '_[0-9]+$', '') = ANY(CAST(:names AS TEXT[]))
        AND c.relkind = 'r'
        AND pg_has_role(c.relowner, 'USAGE') AND ({_CLEAN} OR {_COUNT})
    ORDER BY c.relname"""


class Did(NamedTuple):
    """What a chore did."""

    number: int
    """How much of what the chore counts."""
    left: str | None = None
    """What could not be done, and why."""
    more: bool = False
    """Whether there is more of it to do."""


class Chore(NamedTuple):
    """Something that a database wants to have done."""

    what: str
    """What it counts."""
    work: Callable[[Transaction], Did]


def wanted(txn: Transaction) -> list[Chore]:
    """What this database wants to have done now."""
    return _of_sqlite(txn) if txn.kind == "sqlite" else _of_postgres(txn)


def _of_sqlite(txn: Transaction) -> list[Chore]:
    cursor = txn.cursor
    if not cursor.execute("PRAGMA database_list").fetchone()[2]:
        return []  # in memory
    chores = [Chore("table", _optimised)]
    if _free_pages(txn) and cursor.execute("PRAGMA auto_vacuum").fetchone()[0] == 2:
        chores.append(Chore("page", _freed))
    return [*chores, Chore("page", _folded)]


def _optimised(txn: Transaction) -> Did:
    """What the planner knows of the tables, where that is little or long ago."""
    with _set_to(txn.cursor, "analysis_limit", _ROWS_LOOKED_AT):
        txn.cursor.execute("PRAGMA optimize").fetchall()
    return Did(0)


def _freed(txn: Transaction) -> Did:
    before = _free_pages(txn)
    # Not execute(): that would free one page.
    txn.cursor.executescript(f"PRAGMA incremental_vacuum({_PAGES_AT_ONCE})")
    freed = before - _free_pages(txn)
    return Did(max(freed, 0), more=freed >= _PAGES_AT_ONCE)


def _folded(txn: Transaction) -> Did:
    # Nobody waits for it. To cut the log off as well, which waits for readers while nobody can
    # write, is tried without patience: it is written over otherwise.
    _, pages, folded = txn.cursor.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    if folded < pages:
        return Did(0, _BUSY)
    with _set_to(txn.cursor, "busy_timeout", 0):
        txn.cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return Did(0)


@contextmanager
def _set_to(cursor: Any, setting: str, value: int) -> Iterator[None]:
    """Set something of the connection, which may be lent, for as long as this takes."""
    (before,) = cursor.execute(f"PRAGMA {setting}").fetchone()
    cursor.execute(f"PRAGMA {setting} = {value}").fetchall()
    try:
        yield
    finally:
        cursor.execute(f"PRAGMA {setting} = {before}").fetchall()


def _free_pages(txn: Transaction) -> int:
    return int(txn.cursor.execute("PRAGMA freelist_count").fetchone()[0])


def _of_postgres(txn: Transaction) -> list[Chore]:
    values = {"schema": txn.schema, "names": [f"onrecord_{name}" for name in TABLES]}
    # Whoever has a table locked is cleaning it, or changes what it is: the next time will do.
    return [
        Chore("table", partial(_run, statement=f"{what} {_template(name)}"))
        for name, clean in txn.rows(_WANTED, values)
        for what in ["VACUUM (SKIP_LOCKED, ANALYZE)" if clean else "ANALYZE (SKIP_LOCKED)"]
    ]


def _template(name: str) -> str:
    """A table, or one of its partitions, as it is named in a statement."""
    return re.sub(r"^onrecord_(\w+?)(_\d+)?$", r"{\1}\2", name)


def _run(txn: Transaction, statement: str) -> Did:
    txn.run(statement)
    return Did(1)
