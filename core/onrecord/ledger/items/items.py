"""The rows of items: read, written, counted, taken away.

What has expired is not there, by the clock of the database, whether its row went or not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from onrecord.ledger.database import keys
from onrecord.ledger.database import stamp as stamps
from onrecord.ledger.database.put_item import (
    OVER,
    OVER_FOR_GOOD,
    WRITTEN,
    WRITTEN_FOR_GOOD,
    Beside,
)
from onrecord.ledger.database.stamp import FenceMoved
from onrecord.ledger.database.transaction import Transaction
from onrecord.scope import FIRST_PATH, ItemName, NamespaceName, Scope
from onrecord.stored.items import ItemRow, NamespaceKey, SeenItem

COLUMNS: Final = """i.key, i.version, i.created, i.updated, i.expires_at, i.ttl, i.token, i.body,
    i.fence"""
ALIVE: Final = "(i.expires_at IS NULL OR i.expires_at > {clock})"
# Of a row that goes: there IS NULL is false on SQLite (seen with 3.40), of any table WITHOUT ROWID.
_ALIVE_GONE: Final = "coalesce(expires_at > {clock_of_gone}, 1 = 1)"
_MINE_GONE: Final = "{my_shard} namespace = :namespace"
_MINE: Final = "{i.my_shard} i.namespace = :namespace"
# Not a join: PostgreSQL would sort all of a namespace for each page of it.
_OF_NAME: Final = """{items} i WHERE {i.my_shard} i.namespace = (
        SELECT n.id FROM {namespaces} n WHERE {n.my_shard} n.identity = :identity)"""

# The namespace answers also where the item is not there: nobody goes back behind that.
_SEE: Final = f"""
    SELECT n.version, i.expires_at - {{clock}}, {COLUMNS} FROM {{namespaces}} n
    LEFT JOIN {{items}} i
        ON {{i.my_shard}} i.namespace = n.id AND i.key = :key AND {ALIVE}
    WHERE {{n.my_shard}} n.identity = :identity"""
_FENCE: Final = f"SELECT i.fence FROM {_OF_NAME} AND i.key = :key"
_FENCES: Final = f"SELECT i.key, i.fence FROM {_OF_NAME}"
# Not of what has expired: nothing of it is ever filled in.
_SETTLE: Final = f"""
    UPDATE {{items}} AS i SET fence = :fence
    WHERE {{my_shard}} key = :key AND {ALIVE} AND namespace = (
        SELECT n.id FROM {{namespaces}} n WHERE {{n.my_shard}} n.identity = :identity)"""
_FIND: Final = f"SELECT {COLUMNS} FROM {{items}} i WHERE {_MINE} AND i.key = :key AND {ALIVE}"
_SOME: Final = f"SELECT {COLUMNS} FROM {{items}} i WHERE {_MINE} AND {ALIVE}"
_OF_NAMESPACE: Final = f"""
    SELECT {COLUMNS} FROM {{items}} i WHERE {_MINE} AND i.key > :after AND {ALIVE}
    ORDER BY i.key LIMIT :limit"""
_COUNT: Final = f"SELECT count(*) FROM {_OF_NAME} AND {ALIVE}"
_AT_ONCE: Final = (1, 20, 400)  # keys in a statement; SQLite took at most 999 parameters until 3.32
_LISTS: Final = {size: ", ".join(f":k{i}" for i in range(size)) for size in _AT_ONCE}

_BY_KEY: Final = f"""
    SELECT {COLUMNS} FROM {_OF_NAME} AND i.key > :after AND {ALIVE}"""
_KEY_ORDER: Final = "ORDER BY i.key LIMIT :limit"
_BY_AGE: Final = f"""
    SELECT {COLUMNS} FROM {_OF_NAME} AND i.version < :before AND {ALIVE}
    ORDER BY i.version DESC LIMIT :limit OFFSET :skip"""

_BELOW: Final = f"""
    SELECT n.path, {COLUMNS} FROM {{namespaces}} n
    JOIN {{items}} i ON {{i.in_shard_of n}} i.namespace = n.id AND {ALIVE}"""
_BEHIND: Final = """(i.updated < :updated OR (i.updated = :updated
        AND (n.path > :path OR (n.path = :path AND i.key > :after))))"""
_BELOW_ORDER: Final = "ORDER BY i.updated DESC, n.path, i.key LIMIT :limit OFFSET :skip"

# Under the fence that its mark was told; or it was made by this very transaction.
_UNDER: Final = "WHERE CAST(:told AS BIGINT) IS NULL OR i.fence IN (:told, excluded.fence)"
_PUT: Final = f"""
    INSERT INTO {{items}} AS i ({{shard_key}} {WRITTEN})
    VALUES ({{shard_value}} :namespace, :key, :version, :now, :now, {{expires}}, :ttl, :token,
        :body, :fence)
    {OVER} {_UNDER} RETURNING version, created, updated, expires_at, fence"""

# PostgreSQL: many of one namespace in one statement.
_PUT_ALL: Final = f"""
    INSERT INTO {{items}} AS i (shard, {WRITTEN})
    SELECT CAST(:shard AS SMALLINT), :namespace, one.key, one.version, :now, :now, {{expires}},
        :ttl, NULL, one.body, :fence
    FROM unnest(
        CAST(:item_keys AS TEXT[]), CAST(:versions AS BIGINT[]), CAST(:bodies AS BYTEA[])
    ) AS one (key, version, body)
    {OVER} RETURNING key, version, created, updated, expires_at, fence"""

# PostgreSQL, one statement and one round trip: the namespace's row is locked first, as by all who
# write to it. Where it is not there yet, nothing happens.
_MOVED: Final = """
    WITH moved AS (
        UPDATE {namespaces} SET version = {greatest}(version + 1, {clock})
        WHERE {my_shard} identity = :identity RETURNING id, version
    )"""
_PUT_AT_ONCE: Final = f"""{_MOVED}
    INSERT INTO {{items}} AS i (shard, {WRITTEN_FOR_GOOD})
    SELECT CAST(:shard AS SMALLINT), moved.id, :key, moved.version, :now, :now, :body, :fence
    FROM moved {OVER_FOR_GOOD} {_UNDER} RETURNING version, created, fence"""
_DELETE_AT_ONCE: Final = f"""{_MOVED}, gone AS (
        DELETE FROM {{items}} i USING moved
        WHERE {{i.my_shard}} i.namespace = moved.id AND i.key = :key
            AND (CAST(:told AS BIGINT) IS NULL OR i.fence = :told)
        RETURNING {ALIVE} AS alive
    )
    SELECT (SELECT alive FROM gone), moved.version FROM moved"""

_BRING: Final = f"""
    INSERT INTO {{items}} ({{shard_key}} {WRITTEN})
    VALUES ({{shard_value}} :namespace, :key, :version, :created, :updated, :expires_at, :ttl,
        :token, :body, :fence)
    ON CONFLICT (namespace, key {{and_shard}}) DO UPDATE SET
        version = excluded.version, created = excluded.created, updated = excluded.updated,
        expires_at = excluded.expires_at, ttl = excluded.ttl, token = excluded.token,
        body = excluded.body"""

_DELETE: Final = "DELETE FROM {items} WHERE {my_shard} namespace = :namespace AND key = :key"
_KEYS: Final = """
    SELECT key FROM {items} WHERE {my_shard} namespace = :namespace AND key > :after
    ORDER BY key LIMIT :limit"""
_CLEAR: Final = "DELETE FROM {items} WHERE {my_shard} namespace = :namespace"
_REFRESH: Final = """
    UPDATE {items} SET expires_at = {clock} + ttl
    WHERE {my_shard} namespace = :namespace AND key = :key AND version = :version
        AND expires_at > {clock} AND (CAST(:told AS BIGINT) IS NULL OR fence = :told)
    RETURNING expires_at"""
# The condition stands outside as well, for one that was refreshed between the two. By an index of
# namespace and expiry: through all items of the namespace it took 20 ms of each put with 50,000
# of them, through all that have expired anywhere 41 ms with 200,000.
_SWEEP: Final = """
    DELETE FROM {items} WHERE {my_shard} namespace = :namespace AND key IN (
        SELECT key FROM {items}
        WHERE {my_shard} namespace = :namespace AND expires_at <= {clock} LIMIT :limit)
    AND expires_at <= {clock}"""


def see(txn: Transaction, item: ItemName, now: int) -> SeenItem:
    """One item of a namespace."""
    name = item.namespace
    values = {"shard": name.shard, "identity": name.identity, "key": item.key, "now": now}
    # All rows: where it stands alone, SQLite reads on until somebody has asked for the end.
    found = txn.rows(_SEE, values)
    if not found:
        return SeenItem(None, 0)
    newest, left, *columns = found[0]
    if columns[0] is None:
        return SeenItem(None, newest)
    row = row_of(columns)
    return SeenItem(row, row.version, left)


def settle(txn: Transaction, item: ItemName, now: int) -> bool:
    """Move the fence of an item: who has marked it before is refused. Whether it is there."""
    values = {**keys.of_name(item.namespace), "key": item.key, "now": now}
    return bool(txn.run(_SETTLE, {**values, "fence": stamps.random()}))


def refuse_fenced(txn: Transaction, item: ItemName) -> None:
    """Raise where an item that is there has another fence than its mark was told."""
    row = txn.first(_FENCE, {**keys.of_name(item.namespace), "key": item.key})
    if row is not None:
        _refuse(txn, item, int(row[0]))


def refuse_unmarked(txn: Transaction, found: Mapping[ItemName, int]) -> None:
    """Raise where items have other fences than their marks were told, or nobody has marked them;
    with all of them."""
    stamp = txn.stamp
    if stamp is None or stamp.items is None:
        return  # nobody marks
    told, first = stamp.items, stamp.first
    fences = {item.identity: fence for item, fence in found.items() if fence != first}
    others = {one: fence for one, fence in fences.items() if told.get(one) != fence}
    if others:
        raise FenceMoved(others)


def refuse_any_unmarked(txn: Transaction, items: Iterable[ItemName]) -> None:
    """The same of items that are looked up: who learned of one fence at a time, of many items,
    would have to mark them as many times."""
    by_name: dict[NamespaceName, dict[str, ItemName]] = {}
    for item in items:
        by_name.setdefault(item.namespace, {})[item.key] = item
    found: dict[ItemName, int] = {}
    for name, of_it in by_name.items():
        for names, few in _some(list(of_it)):
            statement = f"{_FENCES} AND i.key IN ({names})"
            rows = txn.rows(statement, {**keys.of_name(name), **few})
            found.update((of_it[key], int(fence)) for key, fence in rows)
    refuse_unmarked(txn, found)


def _refuse(txn: Transaction, item: ItemName, fence: int) -> None:
    stamp = txn.stamp
    if stamp is None or stamp.items is None or fence == stamp.first:
        return  # nobody marks; or it was made by this very transaction
    if stamp.items.get(item.identity) != fence:
        raise FenceMoved({item.identity: fence})


def are_marked(txn: Transaction) -> bool:
    """Whether there is a cache that has been told of what this commit writes to."""
    return txn.stamp is not None and txn.stamp.items is not None


def _told(txn: Transaction, item: ItemName) -> int | None:
    """The fence that the mark of an item was told; None where nobody marks."""
    stamp = txn.stamp
    if stamp is None or stamp.items is None:
        return None
    return stamp.items.get(item.identity, stamps.ABSENT)


def first_fence(txn: Transaction) -> int:
    """The fence of an item that is made."""
    return stamps.random() if txn.stamp is None else txn.stamp.first


def get_many(
    txn: Transaction, name: NamespaceName, wanted: Sequence[str], now: int
) -> dict[str, ItemRow]:
    """Several items of a namespace, by their keys."""
    found: dict[str, ItemRow] = {}
    for names, few in _some(wanted):
        statement = f"SELECT {COLUMNS} FROM {_OF_NAME} AND i.key IN ({names}) AND {ALIVE}"
        values = {**keys.of_name(name), "now": now, **few}
        found.update((row[0], row_of(row)) for row in txn.rows(statement, values))
    return found


def find_many(
    txn: Transaction, namespace: NamespaceKey, wanted: Sequence[str], now: int
) -> dict[str, ItemRow]:
    """Several items of a namespace by its number, by their keys."""
    found: dict[str, ItemRow] = {}
    for names, few in _some(wanted):
        statement = f"{_SOME} AND i.key IN ({names})"
        values = {**namespace._asdict(), "now": now, **few}
        found.update((row[0], row_of(row)) for row in txn.rows(statement, values))
    return found


def find(txn: Transaction, namespace: NamespaceKey, item: ItemName, now: int) -> ItemRow | None:
    """One item of a namespace that is locked: nobody else changes it meanwhile. Who finds one may
    write to it: its fence is what its mark was told."""
    found = txn.first(_FIND, {**namespace._asdict(), "key": item.key, "now": now})
    if found is None:
        return None
    row = row_of(found)
    _refuse(txn, item, row.fence)
    return row


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
    return [row_of(row) for row in txn.rows(f"{' AND '.join(conditions)} {_KEY_ORDER}", values)]


def of_namespace(
    txn: Transaction, namespace: NamespaceKey, after: str, limit: int, now: int
) -> list[ItemRow]:
    """Items of a namespace by its number, in the order of their keys, after one."""
    values = {**namespace._asdict(), "after": after, "limit": limit, "now": now}
    return [row_of(row) for row in txn.rows(_OF_NAMESPACE, values)]


def by_age(
    txn: Transaction, name: NamespaceName, before: int, limit: int, now: int, skip: int = 0
) -> list[ItemRow]:
    """Items in the order of their last writes, the newest first, before a version."""
    values = {**keys.of_name(name), "before": before, "limit": limit, "skip": skip, "now": now}
    return [row_of(row) for row in txn.rows(_BY_AGE, values)]


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
    path, key); with the path of each. None of states."""
    conditions, values = keys.of_scope(scope, "n.")
    conditions.append("n.path >= :prefix")
    values.update(prefix=prefix or FIRST_PATH)
    if prefix:
        conditions.append("n.path < :beyond")
        values.update(beyond=prefix[:-1] + b"\1")
    if after is not None:
        conditions.append(_BEHIND)
        values.update(updated=after[0], path=after[1], after=after[2])
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    values.update(limit=limit, skip=skip, now=now)
    found = txn.rows(f"{_BELOW}{where} {_BELOW_ORDER}", values)
    return [(bytes(row[0]), row_of(row[1:])) for row in found]


def put(
    txn: Transaction, namespace: NamespaceKey, item: ItemName, row: ItemRow
) -> tuple[ItemRow, bool]:
    """Write an item of a namespace that is locked, whatever is there: as stored, and whether it
    was made."""
    fence = first_fence(txn)
    values = {
        "shard": namespace.shard,
        "namespace": namespace.namespace,
        "key": row.key,
        "version": row.version,
        "now": row.updated,
        "ttl": row.ttl,
        "token": row.token,
        "body": row.body,
        "fence": fence,
        "told": _told(txn, item),
    }
    while (found := txn.first(_PUT, values)) is None:
        refuse_fenced(txn, item)
    return _stored(row, found, fence)


def put_all(
    txn: Transaction, namespace: NamespaceKey, items: Sequence[ItemName], rows: Sequence[ItemRow]
) -> list[tuple[ItemRow, bool]]:
    """PostgreSQL: write items of a namespace that is locked, whatever is there: of one moment, of
    one time to live, no key twice. What ``put`` returns of each."""
    fence = first_fence(txn)
    values = {
        **namespace._asdict(),
        "now": rows[0].updated,
        "ttl": rows[0].ttl,
        "item_keys": [row.key for row in rows],
        "versions": [row.version for row in rows],
        "bodies": [row.body for row in rows],
        "fence": fence,
    }
    found = {key: tuple(stored) for key, *stored in txn.rows(_PUT_ALL, values)}
    # Written whatever their fences are: to compare each with its own takes as many comparisons as
    # there are pairs. Who raises has written nothing.
    refuse_unmarked(txn, {item: found[item.key][-1] for item in items})
    return [_stored(row, found[row.key], fence) for row in rows]


def put_at_once(txn: Transaction, item: ItemName, row: ItemRow) -> tuple[ItemRow, bool] | None:
    """PostgreSQL: the same in one statement, for good and without a token; None where there is no
    such namespace yet."""
    name, fence = item.namespace, first_fence(txn)
    values = {
        "shard": name.shard,
        "identity": name.identity,
        "key": row.key,
        "now": row.updated,
        "body": row.body,
        "fence": fence,
        "told": _told(txn, item),
    }
    found = txn.first(_PUT_AT_ONCE, values)
    if found is None:
        refuse_fenced(txn, item)
        return None
    return _stored_for_good(row, found, fence)


def put_beside(txn: Transaction, item: ItemName, row: ItemRow) -> Beside:
    """PostgreSQL: the same in the statement of an append; ``stored_beside`` reads its answer."""
    return Beside(
        {
            "item_namespace": item.namespace.identity,
            "item_key": row.key,
            "item_now": row.updated,
            "item_body": row.body,
            "item_fence": first_fence(txn),
            "item_told": _told(txn, item),
        },
    )


def stored_beside(row: ItemRow, beside: Beside, found: tuple[Any, ...]) -> tuple[ItemRow, bool]:
    """What ``put`` returns, of one that was put beside an append."""
    return _stored_for_good(row, found, beside.values["item_fence"])


def _stored_for_good(row: ItemRow, found: tuple[Any, ...], first: int) -> tuple[ItemRow, bool]:
    version, created, fence = found
    stored = ItemRow(row.key, version, created, row.updated, None, None, None, row.body, fence)
    return stored, fence == first


def _stored(row: ItemRow, found: tuple[Any, ...], first: int) -> tuple[ItemRow, bool]:
    version, created, updated, expires_at, fence = found
    stored = ItemRow(
        row.key, version, created, updated, expires_at, row.ttl, row.token, row.body, fence
    )
    return stored, fence == first


def bring(txn: Transaction, namespace: NamespaceKey, rows: Sequence[ItemRow]) -> None:
    """Write items of a namespace that is locked as they were elsewhere, with their times, where
    nothing is there, or has expired: nothing of that is filled in, so no fence is asked for."""
    fence = first_fence(txn)
    txn.many(_BRING, [{**namespace._asdict(), **row._asdict(), "fence": fence} for row in rows])


def delete(txn: Transaction, namespace: NamespaceKey, key: str) -> None:
    """Take an item away from a namespace that is locked, whatever its fence."""
    txn.run(_DELETE, {**namespace._asdict(), "key": key})


def delete_some(
    txn: Transaction, namespace: NamespaceKey, items: Sequence[ItemName], now: int
) -> dict[str, bool]:
    """Take items away from a namespace that is locked: by key, whether one had not expired."""
    found: dict[str, bool] = {}
    fences: dict[ItemName, int] = {}
    by_key = {item.key: item for item in items}
    for names, few in _some(list(by_key)):
        statement = (
            f"DELETE FROM {{items}} WHERE {_MINE_GONE} AND key IN ({names}) "
            f"RETURNING key, fence, {_ALIVE_GONE}"
        )
        values = {**namespace._asdict(), "now": now, **few}
        for key, fence, alive in txn.rows(statement, values):
            fences[by_key[key]] = int(fence)
            found[key] = bool(alive)
    refuse_unmarked(txn, fences)
    return found


def delete_at_once(txn: Transaction, item: ItemName, now: int) -> tuple[bool, int] | None:
    """PostgreSQL: lock the namespace and take an item away; whether it was there, and the version
    that was given out for that. None where there is no such namespace."""
    values = {**keys.of_name(item.namespace), "key": item.key, "now": now}
    told = _told(txn, item)
    while (row := txn.first(_DELETE_AT_ONCE, {**values, "told": told})) is not None:
        alive, version = row
        # Who waited for the lock sees items as they were before the wait: it may be there.
        if alive is not None or not is_there(txn, item):
            return bool(alive), int(version)
        refuse_fenced(txn, item)
    return None


def is_there(txn: Transaction, item: ItemName) -> bool:
    """Whether an item has a row, of whatever age."""
    return txn.first(_FENCE, {**keys.of_name(item.namespace), "key": item.key}) is not None


def keys_after(txn: Transaction, namespace: NamespaceKey, after: str, limit: int) -> list[str]:
    """Keys of a namespace in their order, after one, also of what has expired."""
    values = {**namespace._asdict(), "after": after, "limit": limit}
    return [key for (key,) in txn.rows(_KEYS, values)]


def clear(txn: Transaction, namespace: NamespaceKey) -> int:
    """Take all items away from a namespace that is locked, where nobody marks; how many rows that
    were."""
    return txn.run(_CLEAR, namespace._asdict())


def refresh(
    txn: Transaction, namespace: NamespaceKey, item: ItemName, row: ItemRow, now: int
) -> int | None:
    """Let an item live on from now; until when. None where it is another one by now."""
    values = {**namespace._asdict(), "key": row.key, "version": row.version, "now": now}
    found = txn.first(_REFRESH, {**values, "told": _told(txn, item)})
    if found is None:
        refuse_fenced(txn, item)
        return None
    return int(found[0])


def sweep(txn: Transaction, namespace: NamespaceKey, limit: int, now: int) -> int:
    """Take some rows away that have expired."""
    return txn.run(_SWEEP, {**namespace._asdict(), "limit": limit, "now": now})


def _some(wanted: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Lists of keys as parameters, of few lengths, so that there are few statements: what is too
    short has its first once more."""
    for n in range(0, len(wanted), _AT_ONCE[-1]):
        few = list(wanted[n : n + _AT_ONCE[-1]])
        size = next(size for size in _AT_ONCE if size >= len(few))
        few += few[:1] * (size - len(few))
        yield _LISTS[size], {f"k{i}": key for i, key in enumerate(few)}


def _beyond(prefix: str) -> str | None:
    """The first text behind all that begin with a prefix; None where there is none."""
    for n in range(len(prefix) - 1, -1, -1):
        following = ord(prefix[n]) + 1
        if following <= 0x10FFFF:
            return prefix[:n] + chr(0xE000 if following == 0xD800 else following)
    return None


def row_of(columns: Sequence[Any]) -> ItemRow:
    row = ItemRow(*columns)
    return row if type(row.body) is bytes else row._replace(body=bytes(row.body))
