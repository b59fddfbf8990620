"""The items of a scope as a whole: erased, pruned, counted, read in order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from onrecord.ledger.database import keys
from onrecord.ledger.database.address import Kind
from onrecord.ledger.database.transaction import Transaction
from onrecord.ledger.items import items as rows_of
from onrecord.scope import FIRST_PATH, ItemName, NamespaceName, Scope, stored_name
from onrecord.stored.items import MOST_VERSION, ItemRow, NamespaceKey, WrittenItem

FIRST: Final = -(2**63)
"""Before every namespace, and every expiry: a damaged number may be below 0."""

_PAGE: Final = "SELECT {n.shard}, n.id FROM {namespaces} n WHERE n.id > :after"
# A version that is damaged, and has no next one, keeps nobody from erasing.
_LOCK: Final = f"""
    UPDATE {{namespaces}} SET version = {{greatest}}(
        {{least}}(version, {MOST_VERSION - 1}) + 1, {{clock}})
    WHERE {{my_shard}} id = :namespace RETURNING version"""
_REMOVE: Final = """
    DELETE FROM {namespaces} WHERE {my_shard} id = :namespace
        AND NOT EXISTS (SELECT 1 FROM {items} WHERE {my_shard} namespace = :namespace)"""

# By their bytes, which is the order in which every database and Python put them.
_BY_NAME: Final[dict[Kind, str]] = {
    "sqlite": 'n.tenant, n."user", n.agent, n.path, n.id',
    "postgresql": """n.tenant COLLATE "C", n."user" COLLATE "C", n.agent COLLATE "C", n.path,
        n.id""",
}
_PRUNE_ONE: Final = """
    DELETE FROM {items} WHERE {my_shard} namespace = :namespace AND key IN (
        SELECT i.key FROM {items} i
        WHERE {i.my_shard} i.namespace = :namespace AND i.key = :key AND i.expires_at <= {clock}
        {skip_locked_i})
    AND expires_at <= {clock}"""
_NAMES: Final = """
    SELECT tenant, "user", agent, path FROM {namespaces} WHERE {my_shard} id = :namespace"""

_OF_SCOPE: Final = "{namespaces} n JOIN {items} i ON {i.in_shard_of n} i.namespace = n.id"
# SQLite keeps the order of a CROSS JOIN: it goes along the index of expiries, whatever the scope.
_EXPIRED: Final = """
    FROM {items} i CROSS JOIN {namespaces} n
    WHERE {n.in_shard_of i} n.id = i.namespace
        AND i.expires_at >= :since AND i.expires_at <= {clock}"""
_COUNT: Final = f"""
    SELECT count(DISTINCT CASE WHEN n.path >= :first THEN n.id END),
        count(DISTINCT CASE WHEN n.path < :first THEN n.id END), count(*),
        coalesce(sum(length(i.body)), 0)
    FROM {_OF_SCOPE}
    WHERE (i.expires_at IS NULL OR i.expires_at > {{clock}})"""


class Count(NamedTuple):
    """How many there are that have not expired, and the bytes of them. A state is no namespace."""

    namespaces: int
    states: int
    items: int
    bytes: int


def page(txn: Transaction, scope: Scope, after: int, limit: int) -> list[NamespaceKey]:
    """The namespaces of a scope by number, after one: those without items too."""
    conditions, values = keys.of_scope(scope, "n.")
    statement = " AND ".join([_PAGE, *conditions]) + " ORDER BY n.id LIMIT :limit"
    found = txn.rows(statement, {**values, "after": after, "limit": limit})
    return [NamespaceKey(shard, number) for shard, number in found]


def in_order(txn: Transaction, scope: Scope) -> list[NamespaceKey]:
    """The namespaces of a scope, in the order of their names; no states: they go with their
    sessions."""
    conditions, values = keys.of_scope(scope, "n.")
    where = " AND ".join([*conditions, "n.path >= :first"])
    values.update(first=FIRST_PATH)
    found = txn.rows(
        f"SELECT {{n.shard}}, n.id FROM {{namespaces}} n WHERE {where} "
        f"ORDER BY {_BY_NAME[txn.kind]}",
        values,
    )
    return [NamespaceKey(shard, number) for shard, number in found]


def read(
    txn: Transaction, namespace: NamespaceKey, after: str, limit: int, now: int
) -> tuple[NamespaceName, list[ItemRow]] | None:
    """Some items of a namespace by key, after one; None where it is not there any more."""
    row = txn.first(_NAMES, namespace._asdict())
    if row is None:
        return None
    return _named(row), rows_of.of_namespace(txn, namespace, after, limit, now)


def named(txn: Transaction, namespace: NamespaceKey, limit: int) -> list[ItemName]:
    """Some items of a namespace, also what has expired; none where it is not there any more."""
    row = txn.first(_NAMES, namespace._asdict())
    if row is None:
        return []
    name = _named(row)
    return [ItemName(name, key) for key in rows_of.keys_after(txn, namespace, "", limit)]


def remove(
    txn: Transaction, namespace: NamespaceKey, items: Sequence[ItemName], now: int
) -> tuple[Counter[str], dict[bytes, WrittenItem]]:
    """Take items of a namespace away, and itself when there are no more of them; how much that was,
    by table, and what went."""
    txn.begin()
    values = namespace._asdict()
    row = txn.first(_LOCK, {**values, "now": now})
    if row is None:
        return Counter({"onrecord_namespaces": 0}), {}
    found = rows_of.delete_some(txn, namespace, items, now)
    went: dict[bytes, WrittenItem] = {}
    if rows_of.are_marked(txn):
        gone_at = WrittenItem(None, int(row[0]))
        went = {item.identity: gone_at for item in items if item.key in found}
    gone = Counter({"onrecord_items": len(found)})
    if removed := txn.run(_REMOVE, values):
        gone["onrecord_namespaces"] = removed
    return gone, went


def prune(txn: Transaction, scope: Scope, since: int, limit: int, now: int) -> tuple[int, int]:
    """Take some items of a scope away that have expired since then, the first ones first; how many
    that was, and when the last of them expired."""
    expired, values = _expired(scope)
    values.update(since=since, limit=limit, now=now)
    if not txn.can.across_shards:
        return _pruned_one_by_one(txn, expired, values)
    # Whoever puts one again meanwhile has locked it: it is left to them. The condition stands
    # outside as well, for one that was put again between the two.
    statement = f"""
        DELETE FROM {{items}} WHERE ({{shard_key}} namespace, key) IN (
            SELECT {{i.shard_of_key}} i.namespace, i.key {expired}
            ORDER BY i.expires_at LIMIT :limit {{skip_locked_i}})
        AND expires_at <= {{clock}} RETURNING expires_at"""
    gone = txn.rows(statement, values)
    return len(gone), max([since, *[expires_at for (expires_at,) in gone]])


def _pruned_one_by_one(
    txn: Transaction, expired: str, values: dict[str, object]
) -> tuple[int, int]:
    """The same, an item at a time; who asks next begins where the last of those found expired."""
    found = txn.rows(
        f"SELECT {{i.shard_of_key}} i.namespace, i.key, i.expires_at {expired} "
        f"ORDER BY i.expires_at LIMIT :limit",
        values,
    )
    count, last = 0, values["since"]
    assert isinstance(last, int)
    for *key, last in found:  # noqa: B007 - the last one stays
        count += txn.run(_PRUNE_ONE, dict(zip(("shard", "namespace", "key"), key, strict=True)))
    return count, last


def count_expired(txn: Transaction, scope: Scope, now: int) -> int:
    """How many items of a scope have expired."""
    expired, values = _expired(scope)
    row = txn.first(f"SELECT count(*) {expired}", {**values, "since": FIRST, "now": now})
    assert row is not None, "an aggregate always answers"
    return int(row[0])


def count(txn: Transaction, scope: Scope, now: int) -> Count:
    """How much there is in a scope."""
    conditions, values = keys.of_scope(scope, "n.")
    values.update(first=FIRST_PATH, now=now)
    row = txn.first(" AND ".join([_COUNT, *conditions]), values)
    assert row is not None, "an aggregate always answers"
    return Count(*map(int, row))


def _expired(scope: Scope) -> tuple[str, dict[str, object]]:
    conditions, values = keys.of_scope(scope, "n.")
    return " AND ".join([_EXPIRED, *conditions]), values


def _named(row: Sequence[Any]) -> NamespaceName:
    tenant, user, agent, path = row
    return stored_name(bytes(path), tenant, user, agent)
