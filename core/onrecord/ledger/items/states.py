"""The states of many sessions that are locked, which go with them in one transaction; one alone:
``state.py``.

Whoever goes over many waits for nobody: a state that somebody else holds is left alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from onrecord.ledger.database import many
from onrecord.ledger.database.address import Kind
from onrecord.ledger.database.transaction import Transaction
from onrecord.scope import ItemName, SessionName, StateName
from onrecord.stored.items import MOST_VERSION, WrittenItem
from onrecord.stored.messages import SessionKey

MOST_ITEMS: Final = 1_000
"""Items that go in one transaction, of all its sessions together."""

_THERE: Final[dict[Kind, str]] = {
    "sqlite": "SELECT identity FROM {namespaces} WHERE identity = :state",
    "postgresql": """
        SELECT identity FROM {namespaces}
        WHERE identity = ANY(CAST(:states AS BYTEA[])) AND shard = ANY(CAST(:shards AS SMALLINT[]))
        """,
}
_HOLD: Final[dict[Kind, str]] = {
    "sqlite": "SELECT identity, 0, id, version FROM {namespaces} WHERE identity = :state",
    "postgresql": """
        SELECT identity, shard, id, version FROM {namespaces}
        WHERE identity = ANY(CAST(:states AS BYTEA[])) AND shard = ANY(CAST(:shards AS SMALLINT[]))
        ORDER BY id, shard FOR UPDATE SKIP LOCKED""",
}
# By their numbers, as what belongs to sessions is found by theirs.
_OF_ONE: Final = "namespace = :session"
_OF_MANY: Final = """namespace = ANY(CAST(:sessions AS BIGINT[]))
    AND shard = ANY(CAST(:shards AS SMALLINT[])) AND (shard, namespace) IN (SELECT * FROM
        unnest(CAST(:shards AS SMALLINT[]), CAST(:sessions AS BIGINT[])))"""
_FENCES: Final[dict[Kind, str]] = {
    "sqlite": f"SELECT 0, namespace, key, fence FROM {{items}} WHERE {_OF_ONE} LIMIT :most",
    "postgresql": f"""
        SELECT shard, namespace, key, fence FROM {{items}} WHERE {_OF_MANY} LIMIT :most""",
}
_CLEAR: Final[dict[Kind, str]] = {
    "sqlite": f"DELETE FROM {{items}} WHERE {_OF_ONE}",
    "postgresql": f"DELETE FROM {{items}} WHERE {_OF_MANY}",
}
_REMOVE: Final[dict[Kind, str]] = {
    "sqlite": "DELETE FROM {namespaces} WHERE id = :session",
    "postgresql": "DELETE FROM {namespaces} WHERE {many_sessions}",
}


class HeldState(NamedTuple):
    """A state that this transaction holds."""

    name: StateName
    key: SessionKey
    """Its own: it has one like a session's."""
    version: int
    """The last one that was given out in it; 0 where that is damaged."""


class Held(NamedTuple):
    """The states of some sessions, and what they have; while it is held none is made."""

    states: dict[SessionName, HeldState]
    busy: set[SessionName]
    """Whose state somebody else holds."""
    fences: dict[ItemName, int] | None
    """Of their items; None where these are too many to go together."""


def hold(txn: Transaction, names: Sequence[SessionName]) -> Held:
    """Hold the states of locked sessions, as many as nobody else holds."""
    by_identity = {(state := StateName.of(name)).identity: state for name in names}
    there = {bytes(identity) for (identity,) in _of_states(txn, _THERE, by_identity)}
    if not there:
        return Held({}, set(), {})
    states: dict[SessionName, HeldState] = {}
    wanted = {identity: by_identity[identity] for identity in there}
    for identity, shard, number, version in _of_states(txn, _HOLD, wanted):
        state = wanted[bytes(identity)]
        last = version if isinstance(version, int) else 0
        states[state.session] = HeldState(state, SessionKey(shard, number), last)
    busy = {state.session for state in wanted.values()} - states.keys()
    return Held(states, busy, _fences(txn, list(states.values())))


def remove(
    txn: Transaction, states: Sequence[HeldState], fences: Mapping[ItemName, int]
) -> tuple[Counter[str], dict[bytes, WrittenItem]]:
    """Take states away that are held: how much that was, by table, and what went."""
    if not states:
        return Counter(), {}
    # Above every version that was given out. One that is damaged keeps nobody from erasing.
    gone_at = {one.name: min(one.version, MOST_VERSION - 1) + 1 for one in states}
    went = {
        item.identity: WrittenItem(None, gone_at[item.namespace])
        for item in fences
        if item.namespace in gone_at
    }
    numbers = [one.key for one in states]
    counted = {
        "onrecord_items": many.change(txn, _CLEAR, numbers),
        "onrecord_namespaces": many.change(txn, _REMOVE, numbers),
    }
    return Counter(counted), went


def _fences(txn: Transaction, states: Sequence[HeldState]) -> dict[ItemName, int] | None:
    by_key = {one.key: one.name for one in states}
    found: dict[ItemName, int] = {}
    for some in [list(by_key)] if txn.can.array_parameters else [[key] for key in by_key]:
        rows = many.rows(txn, _FENCES, some, {"most": MOST_ITEMS + 1})
        for shard, namespace, key, fence in rows:
            found[ItemName(by_key[SessionKey(shard, namespace)], key)] = int(fence)
        if len(found) > MOST_ITEMS:
            return None
    return found


def _of_states(
    txn: Transaction, statements: Mapping[Kind, str], states: Mapping[bytes, StateName]
) -> list[tuple[Any, ...]]:
    statement = statements[txn.kind]
    if txn.can.array_parameters:
        shards = list({state.shard for state in states.values()})
        return txn.rows(statement, {"states": list(states), "shards": shards})
    return [row for one in states for row in txn.rows(statement, {"state": one})]
