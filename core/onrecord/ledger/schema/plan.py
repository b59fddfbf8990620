"""What the steps that are still to do will lock, and for whom."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final, assert_never

from onrecord.ledger.database.transaction import Transaction
from onrecord.ledger.schema.beside import ROWS_AT_ONCE, partitions, table_of
from onrecord.ledger.schema.steps import STEPS, BesideStep, FillStep, IndexStep, Step, TableStep
from onrecord.migration import MigrationStep

_ON_SQLITE: Final = "Who writes waits until it is done; who reads goes on."


def of_new_tables() -> MigrationStep:
    """Of a database that has no tables yet: they are made as they are after every step."""
    return MigrationStep(
        name=STEPS[0].name,
        does=STEPS[0].does,
        tables=(),
        rows=None,
        waits="nobody",
        locks="It locks nothing that is there.",
    )


def of(txn: Transaction, steps: Sequence[Step], patience: float) -> list[MigrationStep]:
    """Of a database that has tables. ``patience`` is how long a statement waits for a lock."""
    return [_planned(txn, step, patience) for step in steps]


def _planned(txn: Transaction, step: Step, patience: float) -> MigrationStep:
    sqlite = txn.kind == "sqlite"
    match step:
        case TableStep():
            tables = tuple(f"onrecord_{table}" for table in step.locks)
            if sqlite:
                return _said(step, tables, None, "writers", _ON_SQLITE)
            if not tables:
                return _said(step, (), None, "nobody", "It locks nothing that is in use.")
            return _said(
                step,
                tables,
                None,
                "everybody",
                f"Who reads and who writes waits for an instant. It waits for transactions that "
                f"use {', '.join(tables)}, at most {patience:g} s, and who comes meanwhile waits "
                f"behind it.",
            )
        case IndexStep():
            parts = 0 if sqlite else len(partitions(txn, table_of(txn, step)))
            tables, rows = (f"onrecord_{step.table}",), _rows(txn, step)
            if sqlite:
                return _said(step, tables, rows, "writers", _ON_SQLITE)
            said = (
                "Nobody waits: it is built beside who reads and writes. It begins and ends when "
                "the transactions are over that were open in this database."
            )
            if parts:
                said += (
                    f" On each of {parts} partitions; when they have theirs, who writes waits for "
                    f"an instant."
                )
            return _said(step, tables, rows, "nobody", said)
        case FillStep():
            tables, rows = (f"onrecord_{step.table}",), _rows(txn, step)
            if sqlite:
                some = f"{ROWS_AT_ONCE:,} rows at a time: who writes waits for some of them at most"
                return _said(step, tables, rows, "nobody", f"{some}; who reads goes on.")
            some = f"{ROWS_AT_ONCE:,} rows at a time: who writes to one of these waits for an"
            return _said(step, tables, rows, "nobody", f"{some} instant; all others go on.")
    assert_never(step)


def _said(
    step: Step, tables: tuple[str, ...], rows: int | None, waits: str, locks: str
) -> MigrationStep:
    return MigrationStep(
        name=step.name,
        does=step.does,
        tables=tables,
        rows=rows,
        waits=waits,  # type: ignore[arg-type]
        locks=locks,
    )


def _rows(txn: Transaction, step: BesideStep) -> int:
    """How many rows a table has; what the planner guesses, where to count them takes long."""
    if txn.kind == "sqlite":
        found = txn.first(f"SELECT count(*) FROM {{{step.table}}}", {})
        assert found is not None, "it always answers"
        return int(found[0])
    found = txn.first(f"EXPLAIN (FORMAT JSON) SELECT 1 FROM {{{step.table}}}", {})
    assert found is not None, "it always answers"
    said = json.loads(found[0]) if isinstance(found[0], (str, bytes)) else found[0]
    return int(said[0]["Plan"]["Plan Rows"])
