"""What an erasure would take away, by table, and what it would leave; nothing is changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from onrecord.ledger.checkpoints import lists
from onrecord.ledger.database import keys
from onrecord.ledger.database.transaction import Transaction
from onrecord.ledger.sessions import sessions
from onrecord.scope import ANY, Scope, SessionName, StateName

CHECKPOINT_TABLES: Final = {
    "threads": "onrecord_checkpoint_threads",
    "checkpoints": "onrecord_checkpoints",
    "items": "onrecord_checkpoint_items",
    "writes": "onrecord_checkpoint_writes",
}
_OF_SESSIONS: Final = {
    "onrecord_sessions": "{sessions} s",
    "onrecord_segments": "{sessions} s JOIN {segments} t ON {t.of s}",
    "onrecord_tail": "{sessions} s JOIN {tail} t ON {t.of s}",
    "onrecord_runs": "{sessions} s JOIN {runs} t ON {t.of s}",
    "onrecord_vectors": "{sessions} s JOIN {vectors} t ON {t.in_shard_of s} t.session = s.id",
    "onrecord_pairs": "{sessions} s JOIN {pairs} t ON {t.in_shard_of s} t.session = s.id",
}
_OF_NAMESPACES: Final = {
    "onrecord_namespaces": "{namespaces} n",
    "onrecord_items": "{namespaces} n JOIN {items} i ON {i.in_shard_of n} i.namespace = n.id",
}


class Foreseen(NamedTuple):
    """What would become of a scope."""

    counted: Counter[str]
    """How much would go, by table."""
    left: int
    """How many sessions of the same tenant or user stand under other names."""


def of_scope(txn: Transaction, scope: Scope) -> Foreseen:
    """What would go with a scope, as it is at one moment."""
    txn.snapshot()
    counted = _counted(txn, _OF_SESSIONS, *keys.of_scope(scope, "s."))
    counted += _counted(txn, _OF_NAMESPACES, *keys.of_scope(scope, "n."))
    of_checkpoints = lists.count_in_scope(txn, **scope._asdict())
    counted += Counter({CHECKPOINT_TABLES[what]: one.rows for what, one in of_checkpoints.items()})
    return Foreseen(counted, elsewhere(txn, scope, counted["onrecord_sessions"]))


def of_session(txn: Transaction, name: SessionName) -> Foreseen:
    """What would go with a session."""
    txn.snapshot()
    conditions = ["{s.my_shard} s.identity = :identity"]
    counted = _counted(txn, _OF_SESSIONS, conditions, keys.of_name(name))
    of_state = keys.of_name(StateName.of(name))
    conditions = ["{n.my_shard} n.identity = :identity"]
    return Foreseen(counted + _counted(txn, _OF_NAMESPACES, conditions, of_state), 0)


def elsewhere(txn: Transaction, scope: Scope, own: int = 0) -> int:
    """How many sessions of the same tenant or user stand under other names than the scope's, which
    has so many of its own."""
    if scope.user not in ("", ANY):
        return sessions.count(txn, Scope(ANY, scope.user, ANY)) - own
    if scope.tenant not in ("", ANY):
        return sessions.count(txn, Scope(scope.tenant, ANY, ANY)) - own
    return 0


def _counted(
    txn: Transaction,
    tables: Mapping[str, str],
    conditions: Sequence[str],
    values: Mapping[str, object],
) -> Counter[str]:
    where = " AND ".join(["1 = 1", *conditions])
    counted: Counter[str] = Counter()
    for table, rows in tables.items():
        row = txn.first(f"SELECT count(*) FROM {rows} WHERE {where}", values)
        assert row is not None, "an aggregate always answers"
        counted[table] = int(row[0])
    return counted
