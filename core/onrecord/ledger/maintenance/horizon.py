"""Whether everything has ended that was under way at a moment: nobody then acts on what it read.

Only PostgreSQL has transactions beside each other; what reads and then writes on SQLite is alone.
"""

from __future__ import annotations

from typing import Final

from onrecord.ledger.database.transaction import Transaction

_HERE: Final = "SELECT txid_snapshot_xmax(txid_current_snapshot())"
# A backend whose kind is not shown to us may be anything. What was prepared has no backend.
_UNDER_WAY: Final = """
    WITH passed AS (SELECT txid_snapshot_xmax(txid_current_snapshot()) - :horizon AS many)
    SELECT 1 FROM pg_stat_activity, passed
    WHERE datname = current_database() AND pid <> pg_backend_pid()
        AND coalesce(backend_type, 'client backend') = 'client backend'
        AND (age(backend_xmin) > passed.many OR age(backend_xid) > passed.many)
    UNION ALL
    SELECT 1 FROM pg_prepared_xacts, passed
    WHERE database = current_database() AND age(transaction) > passed.many
    LIMIT 1"""


def here(txn: Transaction) -> int:
    """This moment: what is committed by now is seen by all who begin from here on."""
    if txn.can.one_moment_transactions:
        return 0
    found = txn.first(_HERE, {})
    assert found is not None, "it always answers"
    return int(found[0])


def has_passed(txn: Transaction, horizon: int) -> bool:
    """Whether everything that was under way at a moment has ended."""
    if txn.can.one_moment_transactions:
        return True
    return txn.first(_UNDER_WAY, {"horizon": horizon}) is None
