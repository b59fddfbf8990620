"""Steps that are done beside those who write: indexes, and new values in old rows.

PostgreSQL builds an index beside writers (CREATE INDEX CONCURRENTLY) outside a transaction, and
waits meanwhile for every transaction that is open. So nobody may wait for our lock inside one:
the two would wait for each other. It is a lock of the connection, tried again and again. What was
killed leaves an index that is not valid, which every write pays for and no read uses: it is
dropped and built again. A partitioned table takes no such build: its partitions do, and the index
of the whole is then put together of theirs in an instant.

SQLite has one writer: there an index is built in a transaction, and who writes waits for it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from onrecord.errors import Misconfigured
from onrecord.ledger.database.dialect import quoted
from onrecord.ledger.database.transaction import Transaction
from onrecord.ledger.schema.steps import BesideStep, IndexStep

log = logging.getLogger("onrecord")

ROWS_AT_ONCE: Final = 1_000
"""Of those that a step fills."""
SMALL: Final = 8 * 2**20
"""Bytes of a table that whoever opens a store goes through by itself: some hundredths of a
second."""

_PAUSE: Final = 0.5
_MOST_TRIES: Final = 60
_SHORTLY: Final = "500ms"
"""How long those who write may have to wait behind who puts an index together of its parts."""

_LOCK: Final = "hashtextextended(CAST(:lock AS TEXT), 0)"
_RECORD: Final = "INSERT INTO {migrations} (name) VALUES (:name) ON CONFLICT DO NOTHING"
_IS_DONE: Final = "SELECT 1 FROM {migrations} WHERE name = :name"
_INDEX: Final = """
    SELECT i.indisvalid, format('%I.%I', n.nspname, c.relname)
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE i.indrelid = to_regclass(:table) AND c.relname = :index"""
_PARTS: Final = """
    SELECT CAST(p.relid AS BIGINT), format('%I.%I', n.nspname, c.relname), c.relkind = 'f'
    FROM pg_partition_tree(to_regclass(:table)) p JOIN pg_class c ON c.oid = p.relid
        JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE p.isleaf AND c.relkind <> 'p' AND p.parentrelid IS NOT NULL ORDER BY p.relid"""
_SIZE: Final = """
    SELECT CAST(coalesce(
        (SELECT sum(pg_relation_size(relid)) FROM pg_partition_tree(to_regclass(:table))),
        pg_relation_size(to_regclass(:table))) AS BIGINT)"""


class Part(NamedTuple):
    """A partition of a table."""

    oid: int
    table: str
    foreign: bool
    """Whether it is a table of another server."""


def at_once(txn: Transaction, step: BesideStep) -> bool:
    """Do a step in this transaction, where that takes a moment, and say whether it is done.

    On SQLite always; elsewhere of a small table, where nobody holds a lock that is in the way.
    """
    txn.begin()
    if txn.kind == "postgresql":
        table = table_of(txn, step)
        (size,) = _one(txn, _SIZE, {"table": table})
        (alone,) = _one(
            txn, f"SELECT pg_try_advisory_xact_lock({_LOCK})", {"lock": _lock_of(txn.schema)}
        )
        if size > SMALL or not alone:
            return False
        if isinstance(step, IndexStep) and _is_valid(txn, table, step.index) is False:
            return False  # it takes another lock to drop what was left of it
        txn.run(f"SET LOCAL lock_timeout = '{_SHORTLY}'")
    if isinstance(step, IndexStep):
        txn.run(f"CREATE INDEX IF NOT EXISTS {step.index} ON {{{step.table}}} {step.on}")
    else:
        while txn.run(step.statement, {"limit": ROWS_AT_ONCE}):
            pass
    _record(txn, step)
    return True


def fill_some(txn: Transaction, step: BesideStep) -> bool:
    """Do a step, or some rows of it, in this transaction, and say whether it is done."""
    txn.begin()
    if isinstance(step, IndexStep):
        return at_once(txn, step)
    if txn.run(step.statement, {"limit": ROWS_AT_ONCE}):
        return False
    _record(txn, step)
    return True


def build(txn: Transaction, step: BesideStep, pause: Callable[[float], None] = time.sleep) -> None:
    """Do a step beside those who write, on PostgreSQL, in no transaction; where another does one,
    after that. May be done again after it was cut off anywhere."""
    _refuse_pooler(txn, step)
    values = {"lock": _lock_of(txn.schema)}
    while not _one(txn, f"SELECT pg_try_advisory_lock({_LOCK})", values)[0]:
        pause(_PAUSE)
    (timeout,) = _one(txn, "SELECT current_setting('lock_timeout')", {})
    txn.run("SET lock_timeout = 0")
    try:
        if txn.first(_IS_DONE, {"name": step.name}) is not None:
            return
        log.info("database is being migrated, beside who writes: %s", step.name)
        if isinstance(step, IndexStep):
            _build_index(txn, step, pause)
        else:
            while txn.run(step.statement, {"limit": ROWS_AT_ONCE}):
                pass
        _record(txn, step)
    finally:
        if not txn.cursor.connection.closed:
            txn.first("SELECT set_config('lock_timeout', :timeout, FALSE)", {"timeout": timeout})
            txn.first(f"SELECT pg_advisory_unlock({_LOCK})", values)


def _build_index(txn: Transaction, step: IndexStep, pause: Callable[[float], None]) -> None:
    table = table_of(txn, step)
    parts = partitions(txn, table)
    if not parts:
        _build_beside(txn, table, step.index, step.on)
        return
    for part in parts:
        if part.foreign:
            log.warning(
                "%s is a table of another server: make the index there, %s", part.table, step.on
            )
            continue
        _build_beside(txn, part.table, f"{step.index}_{part.oid}", step.on)
    if _is_valid(txn, table, step.index) is None:
        # It finds those of the partitions. Who writes waits for an instant, and it does not wait
        # long for a transaction that is open, because they would wait behind it.
        _soon(txn, f"CREATE INDEX IF NOT EXISTS {step.index} ON {{{step.table}}} {step.on}", pause)


def _build_beside(txn: Transaction, table: str, index: str, on: str) -> None:
    """Build one index beside who writes; what is left of an earlier attempt goes."""
    values = {"table": table, "index": index}
    found = txn.first(_INDEX, values)
    if found is not None and not found[0]:
        txn.run(f"DROP INDEX CONCURRENTLY IF EXISTS {found[1]}")
        found = None
    if found is None:
        txn.run(f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {index} ON {table} {on}")


def _soon(txn: Transaction, statement: str, pause: Callable[[float], None]) -> None:
    """Run a statement that others wait behind: it gives up soon, and is tried again."""
    txn.run(f"SET lock_timeout = '{_SHORTLY}'")
    for left in reversed(range(_MOST_TRIES)):
        try:
            txn.run(statement)
            return
        except Exception as fault:  # any: the driver's, of whom nothing is imported here
            if getattr(fault, "sqlstate", None) != "55P03" or not left:
                raise
        pause(_PAUSE)


def partitions(txn: Transaction, table: str) -> list[Part]:
    """The partitions that hold the rows of a table; none of one that holds them itself."""
    return [Part(*row) for row in txn.rows(_PARTS, {"table": table})]


def table_of(txn: Transaction, step: BesideStep) -> str:
    """The full name of the table that a step is about, quoted."""
    space = "" if txn.schema is None else f"{quoted(txn.schema)}."
    return f"{space}onrecord_{step.table}"


def _is_valid(txn: Transaction, table: str, index: str) -> bool | None:
    """Whether an index can be used; None where it is not there."""
    found = txn.first(_INDEX, {"table": table, "index": index})
    return None if found is None else bool(found[0])


def _refuse_pooler(txn: Transaction, step: BesideStep) -> None:
    """A pooler may give each statement another connection, and our lock would stay on one."""
    own = txn.cursor.connection.info.backend_pid
    if _one(txn, "SELECT pg_backend_pid()", {}) != (own,):
        raise Misconfigured(
            f"{step.name!r} takes a connection of its own, and between this process and the "
            f"server is a pooler. Migrate by the address of the server itself."
        )


def _record(txn: Transaction, step: BesideStep) -> None:
    txn.run(_RECORD, {"name": step.name})
    log.info("database migrated: %s", step.name)


def _lock_of(schema: str | None) -> str:
    return f"onrecord migrations beside writers {schema or ''}"


def _one(txn: Transaction, statement: str, values: Mapping[str, object]) -> Any:
    found = txn.first(statement, values)
    assert found is not None, "it always answers"
    return found
