"""The state of sessions: a namespace of items each, which comes and goes with its session.

It is there only while its session's row is (``namespaces.create``), and whoever takes that away or
copies it has its lock: so nobody makes or loses a state meanwhile.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from onrecord.item import DERIVED
from onrecord.ledger.database import keys
from onrecord.ledger.database.transaction import Transaction
from onrecord.ledger.items import items as rows_of
from onrecord.ledger.items import namespaces
from onrecord.ledger.items.namespaces import Locked
from onrecord.scope import ItemName, SessionName, StateName
from onrecord.stored import clock
from onrecord.stored.items import MOST_VERSION, NamespaceKey, WrittenItem
from onrecord.stored.ranges import Ranges

# A version that is damaged, and has no next one, keeps nobody from erasing.
_LOCK: Final = f"""
    UPDATE {{namespaces}} SET version = {{greatest}}(
        {{least}}(version, {MOST_VERSION - 1}) + 1, {{clock}})
    WHERE {{my_shard}} identity = :identity RETURNING id, version"""
_FENCES: Final = "SELECT key, fence FROM {items} WHERE {my_shard} namespace = :namespace"
_DERIVED: Final = """
    SELECT i.key, i.token, i.fence FROM {items} i WHERE {i.my_shard} i.namespace = (
        SELECT n.id FROM {namespaces} n WHERE {n.my_shard} n.identity = :identity)
    AND i.key >= :prefix AND i.key < :beyond"""
_REMOVE: Final = "DELETE FROM {namespaces} WHERE {my_shard} id = :namespace"
_COPY: Final = """
    INSERT INTO {items} (
        {shard_key} namespace, key, version, created, updated, expires_at, ttl, token, body, fence
    ) SELECT
        {shard_value} :target, i.key,
        :before + row_number() OVER (ORDER BY i.version),
        i.created, i.updated, i.expires_at, i.ttl, i.token, i.body, :fence
    FROM {items} i WHERE {i.my_shard} i.namespace = :namespace
        AND (i.expires_at IS NULL OR i.expires_at > {clock})"""


def is_empty(txn: Transaction, name: SessionName, now: int) -> bool:
    """Whether a locked session has no state; it has none then until the transaction ends."""
    state = StateName.of(name)
    return _lock(txn, state) is None or rows_of.count(txn, state, now) == 0


def copy(txn: Transaction, source: SessionName, target: SessionName, now: int) -> None:
    """Put the state of a locked session into another one of the same scope that has none. Times
    stay; versions are the target's own, in the same order. No cache has what is not there: nobody
    marks what is made here."""
    here, there = StateName.of(source), StateName.of(target)
    locked = _lock(txn, here)
    count = 0 if locked is None else rows_of.count(txn, here, now)
    if locked is None or not count:
        return
    to, last = namespaces.move_or_create(txn, there, count, now)
    rows_of.clear(txn, to)  # what has expired there
    values = {**locked.key._asdict(), "target": to.namespace, "fence": rows_of.first_fence(txn)}
    txn.run(_COPY, {**values, "before": last - count, "now": now})


def hold(txn: Transaction, name: SessionName) -> int:
    """Keep the state of a locked session as it is until the transaction ends; the last version
    that was given out in it, 0 where there is none."""
    txn.begin()
    held = namespaces.as_it_is(txn, StateName.of(name), held=True)
    return 0 if held is None else held.version


def remove(txn: Transaction, name: SessionName) -> tuple[Counter[str], dict[bytes, WrittenItem]]:
    """Take the state of a locked session away: how much that was, by table, and what went.

    Raises FenceMoved, with all of them, where not each of its items was marked as it stands.
    """
    state = StateName.of(name)
    locked = _lock(txn, state)
    if locked is None:
        return Counter(), {}
    values = locked.key._asdict()
    found = {ItemName(state, key): int(fence) for key, fence in txn.rows(_FENCES, values)}
    rows_of.refuse_unmarked(txn, found)
    went = {item.identity: WrittenItem(None, locked.version) for item in found}
    items = rows_of.clear(txn, locked.key)
    gone = txn.run(_REMOVE, values)
    return Counter({"onrecord_items": items, "onrecord_namespaces": gone}), went


def remove_derived(
    txn: Transaction, name: SessionName, removed: Ranges
) -> dict[bytes, WrittenItem]:
    """Take away what was made from messages of a locked session that are not there any more: what
    went. Raises Fenced, with all of it, where not each was marked as it stands."""
    if not removed:
        return {}
    state = StateName.of(name)
    values = {"prefix": DERIVED, "beyond": DERIVED[:-1] + chr(ord(DERIVED[-1]) + 1)}
    found = {
        ItemName(state, key): int(fence)
        for key, token, fence in txn.rows(_DERIVED, {**keys.of_name(state), **values})
        if _is_made_from(token, removed[0][0])
    }
    if not found:
        return {}
    rows_of.refuse_unmarked(txn, found)
    locked = _lock(txn, state)
    assert locked is not None, "its session is locked"
    for item in found:
        rows_of.delete(txn, locked.key, item.key)
    return {item.identity: WrittenItem(None, locked.version) for item in found}


def _is_made_from(token: str | None, seq: int) -> bool:
    """Whether what says up to where it was made is made from a message; if it does not say it, it
    may be."""
    return token is None or not token.isdecimal() or int(token) >= seq


def _lock(txn: Transaction, name: StateName) -> Locked | None:
    txn.begin()
    row = txn.first(_LOCK, {**keys.of_name(name), "now": clock.now()})
    return None if row is None else Locked(NamespaceKey(name.shard, row[0]), int(row[1]))
