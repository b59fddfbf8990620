"""Statements about many sessions: one of all where the database takes arrays, else one of each.

They come for both kinds: with ``{many_sessions}`` or ``{of_many_sessions}``, and with one key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from onrecord.ledger.database import keys
from onrecord.ledger.database.address import Kind
from onrecord.ledger.database.transaction import Transaction
from onrecord.stored.messages import SessionKey


def rows(
    txn: Transaction,
    statements: Mapping[Kind, str],
    wanted: Sequence[SessionKey],
    values: Mapping[str, object] | None = None,
) -> list[tuple[Any, ...]]:
    """Ask for rows of sessions."""
    statement, more = statements[txn.kind], values or {}
    if txn.can.array_parameters:
        return txn.rows(statement, {**keys.of_many(wanted), **more})
    return [row for key in wanted for row in txn.rows(statement, {**keys.of_key(key), **more})]


def change(
    txn: Transaction,
    statements: Mapping[Kind, str],
    wanted: Sequence[SessionKey],
    values: Mapping[str, object] | None = None,
) -> int:
    """Change what belongs to sessions; how many rows that were."""
    statement, more = statements[txn.kind], values or {}
    if txn.can.array_parameters:
        return txn.run(statement, {**keys.of_many(wanted), **more})
    return txn.many(statement, [{**keys.span(txn, key), **more} for key in wanted])
