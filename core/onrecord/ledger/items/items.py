"""The rows of items: read, written, counted, taken away.

What has expired is not there, by the clock of the database, whether its row went or not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from onrecord.ledger.database import keys
from onrecord.ledger.database.transaction import Transaction
from onrecord.scope import NamespaceName, Scope
from onrecord.stored.items import ItemRow, NamespaceKey

_COLUMNS: Final = "i.key, i.version, i.created, i.updated, i.expires_at, i.ttl, i.token, i.body"
_ALIVE: Final = "(i.expires_at IS NULL OR i.expires_at > {clock})"
_MINE: Final = "{i.my_shard} i.namespace = :namespace"
_OF_NAME: Final = """{namespaces} n JOIN {items} i
        ON {i.in_shard_of n} i.namespace = n.id
    WHERE {n.my_shard} n.identity = :identity"""

_GET: Final = f"SELECT {_COLUMNS} FROM {_OF_NAME} AND i.key = :key AND {_ALIVE}"
_FIND: Final = f"SELECT {_COLUMNS} FROM {{items}} i WHERE {_MINE} AND i.key = :key AND {_ALIVE}"
_OF_NAMESPACE: Final = f"""
    SELECT {_COLUMNS} FROM {{items}} i WHERE {_MINE} AND i.key > :after AND {_ALIVE}
    ORDER BY i.key LIMIT :limit"""
_COUNT: Final = f"SELECT count(*) FROM {_OF_NAME} AND {_ALIVE}"
_MOST_AT_ONCE: Final = 400  # SQLite took at most 999 parameters until 3.32

_BY_KEY: Final = f"""
    SELECT {_COLUMNS} FROM {_OF_NAME} AND i.key > :after AND {_ALIVE}"""
_KEY_ORDER: Final = "ORDER BY i.key LIMIT :limit"
_BY_AGE: Final = f"""
    SELECT {_COLUMNS} FROM {_OF_NAME} AND i.version < :before AND {_ALIVE}
    ORDER BY i.version DESC LIMIT :limit OFFSET :skip"""

_BELOW: Final = f"""
    SELECT n.path, {_COLUMNS} FROM {{namespaces}} n
    JOIN {{items}} i ON {{i.in_shard_of n}} i.namespace = n.id AND {_ALIVE}"""
_BEHIND: Final = """(i.updated < :updated OR (i.updated = :updated
        AND (n.path > :path OR (n.path = :path AND i.key > :after))))"""
_BELOW_ORDER: Final = "ORDER BY i.updated DESC, n.path, i.key LIMIT :limit OFFSET :skip"

_WRITTEN: Final = "namespace, key, version, created, updated, expires_at, ttl, token, body"
# One that has expired and comes again began now.
_OVER: Final = """ON CONFLICT (namespace, key {and_shard}) DO UPDATE SET
        version = excluded.version, updated = excluded.updated,
        created = CASE WHEN i.expires_at <= {clock} THEN excluded.created ELSE i.created END,
        expires_at = excluded.expires_at, ttl = excluded.ttl, token = excluded.token,
        body = excluded.body"""
_PUT: Final = f"""
    INSERT INTO {{items}} AS i ({{shard_key}} {_WRITTEN})
    VALUES ({{shard_value}} :namespace, :key, :version, :now, :now, {{expires}}, :ttl, :token,
        :body)
    {_OVER} RETURNING version, created, updated, expires_at"""

# PostgreSQL: many of one namespace in one statement.
_PUT_ALL: Final = f"""
    INSERT INTO {{items}} AS i (shard, {_WRITTEN})
    SELECT CAST(:shard AS SMALLINT), :namespace, one.key, one.version, :now, :now, {{expires}},
        :ttl, NULL, one.body
    FROM unnest(
        CAST(:item_keys AS TEXT[]), CAST(:versions AS BIGINT[]), CAST(:bodies AS BYTEA[])
    ) AS one (key, version, body)
    {_OVER} RETURNING key, version, created, updated, expires_at"""

# PostgreSQL, one statement and one round trip: the namespace's row is locked first, as by all who
# write to it. Where it is not there yet, nothing happens.
_MOVED: Final = """
    WITH moved AS (
        UPDATE {namespaces} SET version = version + 1
        WHERE {my_shard} identity = :identity RETURNING id, version
    )"""
_PUT_AT_ONCE: Final = f"""{_MOVED}
    INSERT INTO {{items}} AS i (shard, {_WRITTEN})
    SELECT CAST(:shard AS SMALLINT), moved.id, :key, moved.version, :now, :now, {{expires}}, :ttl,
        :token, :body
    FROM moved {_OVER} RETURNING version, created, updated, expires_at"""
# Who waited for the lock sees items as they were before the wait: where others wrote meanwhile, and
# nothing was found, it may be there.
_DELETE_AT_ONCE: Final = f"""{_MOVED}, gone AS (
        DELETE FROM {{items}} i USING moved
        WHERE {{i.my_shard}} i.namespace = moved.id AND i.key = :key
        RETURNING {_ALIVE} AS alive
    )
    SELECT (SELECT alive FROM gone), moved.version > n.version + 1
    FROM moved, {{namespaces}} n WHERE {{n.my_shard}} n.identity = :identity"""

_BRING: Final = f"""
    INSERT INTO {{items}} ({{shard_key}} {_WRITTEN})
    VALUES ({{shard_value}} :namespace, :key, :version, :created, :updated, :expires_at, :ttl,
        :token, :body)
    ON CONFLICT (namespace, key {{and_shard}}) DO UPDATE SET
        version = excluded.version, created = excluded.created, updated = excluded.updated,
        expires_at = excluded.expires_at, ttl = excluded.ttl, token = excluded.token,
        body = excluded.body"""

_DELETE: Final = "DELETE FROM {items} WHERE {my_shard} namespace = :namespace AND key = :key"
_CLEAR: Final = "DELETE FROM {items} WHERE {my_shard} namespace = :namespace"
_REFRESH: Final = """
    UPDATE {items} SET expires_at = {clock} + ttl
    WHERE {my_shard} namespace = :namespace AND key = :key AND version = :version
        AND expires_at > {clock}
    RETURNING expires_at"""
# The condition stands outside as well, for one that was refreshed between the two. The + keeps
# SQLite from going through the whole namespace: with 50,000 items that took 20 ms of each put.
_SWEEP: Final = """
    DELETE FROM {items} WHERE {my_shard} namespace = :namespace AND key IN (
        SELECT key FROM {items}
        WHERE {my_shard} +namespace = :namespace AND expires_at <= {clock} LIMIT :limit)
    AND expires_at <= {clock}"""


def get(txn: Transaction, name: NamespaceName, key: str, now: int) -> ItemRow | None:
    """One item of a namespace."""
    row = txn.first(_GET, {**keys.of_name(name), "key": key, "now": now})
    return None if row is None else _row(row)


def get_many(
    txn: Transaction, name: NamespaceName, wanted: Sequence[str], now: int
) -> dict[str, ItemRow]:
    """Several items of a namespace, by their keys."""
    found: dict[str, ItemRow] = {}
    for n in range(0, len(wanted), _MOST_AT_ONCE):
        few = wanted[n : n + _MOST_AT_ONCE]
        names = ", ".join(f":k{i}" for i in range(len(few)))
        statement = f"SELECT {_COLUMNS} FROM {_OF_NAME} AND i.key IN ({names}) AND {_ALIVE}"
        values = {**keys.of_name(name), "now": now, **{f"k{i}": k for i, k in enumerate(few)}}
        found.update((row[0], _row(row)) for row in txn.rows(statement, values))
    return found


def find(txn: Transaction, namespace: NamespaceKey, key: str, now: int) -> ItemRow | None:
    """One item of a namespace that is locked: nobody else changes it meanwhile."""
    row = txn.first(_FIND, {**namespace._asdict(), "key": key, "now": now})
    return None if row is None else _row(row)


def count(txn: Transaction, name: NamespaceName, now: int) -> int:
    """How many items a namespace has."""
    row = txn.first(_COUNT, {**keys.of_name(name), "now": now})
    assert row is not None, "an aggregate always answers"
    return int(row[0])


def by_key(
    txn: Transaction, name: NamespaceName, prefix: str, after: str, limit: int, now: int
) -> list[ItemRow]:
    """Items whose keys begin with a prefix, in the order of their keys, after one."""
    conditions = [_BY_KEY]
    values = {**keys.of_name(name), "after": after, "limit": limit, "now": now}
    if prefix:
        conditions.append("i.key >= :prefix")
        values["prefix"] = prefix
        if (beyond := _beyond(prefix)) is not None:
            conditions.append("i.key < :beyond")
            values["beyond"] = beyond
    return [_row(row) for row in txn.rows(f"{' AND '.join(conditions)} {_KEY_ORDER}", values)]


def of_namespace(
    txn: Transaction, namespace: NamespaceKey, after: str, limit: int, now: int
) -> list[ItemRow]:
    """Items of a namespace by its number, in the order of their keys, after one."""
    values = {**namespace._asdict(), "after": after, "limit": limit, "now": now}
    return [_row(row) for row in txn.rows(_OF_NAMESPACE, values)]


def by_age(
    txn: Transaction, name: NamespaceName, before: int, limit: int, now: int, skip: int = 0
) -> list[ItemRow]:
    """Items in the order of their last writes, the newest first, before a version."""
    values = {**keys.of_name(name), "before": before, "limit": limit, "skip": skip, "now": now}
    return [_row(row) for row in txn.rows(_BY_AGE, values)]


def below(
    txn: Transaction,
    scope: Scope,
    prefix: bytes,
    after: tuple[int, bytes, str] | None,
    limit: int,
    skip: int,
    now: int,
) -> list[tuple[bytes, ItemRow]]:
    """Items of all namespaces that begin with a prefix, the last written first, behind (updated,
    path, key); with the path of each."""
    conditions, values = keys.of_scope(scope, "n.")
    if prefix:
        conditions += ["n.path >= :prefix", "n.path < :beyond"]
        values.update(prefix=prefix, beyond=prefix[:-1] + b"\1")
    if after is not None:
        conditions.append(_BEHIND)
        values.update(updated=after[0], path=after[1], after=after[2])
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    values.update(limit=limit, skip=skip, now=now)
    found = txn.rows(f"{_BELOW}{where} {_BELOW_ORDER}", values)
    return [(bytes(row[0]), _row(row[1:])) for row in found]


def put(
    txn: Transaction, namespace: NamespaceKey, row: ItemRow
) -> tuple[int, int, int, int | None]:
    """Write an item of a namespace that is locked, whatever is there: version, created, updated
    and expires_at as stored."""
    values = {**namespace._asdict(), **row._asdict(), "now": row.updated}
    found = txn.first(_PUT, values)
    assert found is not None, "RETURNING returns"
    return found[0], found[1], found[2], found[3]


def put_all(
    txn: Transaction, namespace: NamespaceKey, rows: Sequence[ItemRow]
) -> dict[str, tuple[int, int, int, int | None]]:
    """PostgreSQL: write items of a namespace that is locked, whatever is there: of one moment, of
    one time to live, no key twice. By key what ``put`` returns."""
    values = {
        **namespace._asdict(),
        "now": rows[0].updated,
        "ttl": rows[0].ttl,
        "item_keys": [row.key for row in rows],
        "versions": [row.version for row in rows],
        "bodies": [row.body for row in rows],
    }
    found = txn.rows(_PUT_ALL, values)
    return {key: (version, *times) for key, version, *times in found}


def put_at_once(
    txn: Transaction, name: NamespaceName, row: ItemRow
) -> tuple[int, int, int, int | None] | None:
    """PostgreSQL: the same in one statement; None where there is no such namespace yet."""
    values = {**keys.of_name(name), **row._asdict(), "now": row.updated}
    found = txn.first(_PUT_AT_ONCE, values)
    return None if found is None else (found[0], found[1], found[2], found[3])


def bring(txn: Transaction, namespace: NamespaceKey, rows: Sequence[ItemRow]) -> None:
    """Write items of a namespace that is locked as they were elsewhere, with their times."""
    txn.many(_BRING, [{**namespace._asdict(), **row._asdict()} for row in rows])


def delete(txn: Transaction, namespace: NamespaceKey, key: str) -> None:
    """Take an item away from a namespace that is locked."""
    txn.run(_DELETE, {**namespace._asdict(), "key": key})


def delete_at_once(txn: Transaction, name: NamespaceName, key: str, now: int) -> bool:
    """PostgreSQL: lock the namespace and take an item away; whether it was there."""
    values = {**keys.of_name(name), "key": key, "now": now}
    while (row := txn.first(_DELETE_AT_ONCE, values)) is not None:
        was_there, waited = row
        if was_there is not None or not waited:
            return bool(was_there)
    return False


def clear(txn: Transaction, namespace: NamespaceKey) -> int:
    """Take all items away from a namespace that is locked; how many rows that were."""
    return txn.run(_CLEAR, namespace._asdict())


def refresh(txn: Transaction, namespace: NamespaceKey, row: ItemRow, now: int) -> int | None:
    """Let an item live on from now; until when. None where it is another one by now."""
    values = {**namespace._asdict(), "key": row.key, "version": row.version, "now": now}
    found = txn.first(_REFRESH, values)
    return None if found is None else int(found[0])


def sweep(txn: Transaction, namespace: NamespaceKey, limit: int, now: int) -> int:
    """Take some rows away that have expired."""
    return txn.run(_SWEEP, {**namespace._asdict(), "limit": limit, "now": now})


def _beyond(prefix: str) -> str | None:
    """The first text behind all that begin with a prefix; None where there is none."""
    for n in range(len(prefix) - 1, -1, -1):
        following = ord(prefix[n]) + 1
        if following <= 0x10FFFF:
            return prefix[:n] + chr(0xE000 if following == 0xD800 else following)
    return None


def _row(columns: Sequence[Any]) -> ItemRow:
    return ItemRow(*columns)._replace(body=bytes(columns[7]))
