"""What items mean: of each the vector that an embedder has made, beside its value.

It counts only for the version that it was made of: a put leaves it, and it says nothing then.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from onrecord.ledger.database import keys
from onrecord.ledger.database.transaction import Transaction
from onrecord.ledger.items.items import ALIVE, COLUMNS, row_of
from onrecord.scope import Scope
from onrecord.stored.items import ItemRow, NamespaceKey

_MEANT: Final = "i.embedder, i.meant, i.meaning"
# Two statements: a join that goes on inside of a namespace sorts all of it for each page.
_WITHIN: Final = f"""
    SELECT {_MEANT}, {COLUMNS} FROM {{items}} i
    WHERE {{i.my_shard}} i.namespace = :namespace AND i.key > :after AND {ALIVE}
    ORDER BY i.key LIMIT :limit"""
_BEHIND: Final = f"""
    SELECT {{n.shard}}, n.id, n.path, {_MEANT}, {COLUMNS}
    FROM {{namespaces}} n JOIN {{items}} i ON {{i.in_shard_of n}} i.namespace = n.id AND {ALIVE}"""
_ORDER: Final = "ORDER BY n.id, i.key LIMIT :limit"
# Who puts an item just now has its row: a vector of what it was is of no use, and waiting for the
# row might be waiting for somebody who waits.
_WRITE: Final = """
    UPDATE {items} SET embedder = :embedder, meant = :version, meaning = :meaning
    WHERE {my_shard} ({shard_key} namespace, key) IN (
        SELECT {i.shard_of_key} i.namespace, i.key FROM {items} i
        WHERE {i.my_shard} i.namespace = :namespace AND i.key = :key AND i.version = :version
        {skip_locked_i})"""


class MeantRow(NamedTuple):
    """An item, and what an embedder made of it."""

    namespace: NamespaceKey
    path: bytes
    row: ItemRow
    embedder: int | None
    meaning: bytes | None
    """Of this version of the item; None where there is none of it."""


class Place(NamedTuple):
    """Which items are meant: of a scope, or of its namespaces whose paths begin so."""

    scope: Scope
    begin: bytes = b""
    beyond: bytes = b""
    """The first path that is none of them any more; without one there is no end."""


def page(
    txn: Transaction, place: Place, after: MeantRow | None, limit: int, now: int
) -> list[MeantRow]:
    """Items of a place, behind one: by the numbers of their namespaces, and there by their keys."""
    if after is None:
        return _behind(txn, place, None, limit, now)
    values = {**after.namespace._asdict(), "after": after.row.key, "limit": limit, "now": now}
    found = [_meant(after.namespace, after.path, row) for row in txn.rows(_WITHIN, values)]
    if len(found) < limit:
        found += _behind(txn, place, after.namespace.namespace, limit - len(found), now)
    return found


def write(
    txn: Transaction, embedder: int, made: Iterable[tuple[NamespaceKey, str, int, bytes]]
) -> None:
    """Keep what an embedder made of items that are still of the version that was shown to it."""
    txn.many(
        _WRITE,
        [
            {
                **namespace._asdict(),
                "key": key,
                "version": version,
                "embedder": embedder,
                "meaning": meaning,
            }
            for namespace, key, version, meaning in made
        ],
    )


def _behind(
    txn: Transaction, place: Place, namespace: int | None, limit: int, now: int
) -> list[MeantRow]:
    """Items of the namespaces behind a number."""
    conditions, values = keys.of_scope(place.scope, "n.")
    conditions.append("n.path >= :begin")
    values.update(begin=place.begin, limit=limit, now=now)
    if place.beyond:
        conditions.append("n.path < :beyond")
        values.update(beyond=place.beyond)
    if namespace is not None:
        conditions.append("n.id > :after")
        values.update(after=namespace)
    found = txn.rows(f"{_BEHIND} WHERE {' AND '.join(conditions)} {_ORDER}", values)
    return [
        _meant(NamespaceKey(shard, number), bytes(path), row) for shard, number, path, *row in found
    ]


def _meant(namespace: NamespaceKey, path: bytes, columns: Sequence[Any]) -> MeantRow:
    embedder, meant, meaning, *rest = columns
    row = row_of(rest)
    if meant != row.version or not isinstance(meaning, bytes | bytearray | memoryview):
        meaning = None
    return MeantRow(namespace, path, row, embedder, None if meaning is None else bytes(meaning))
