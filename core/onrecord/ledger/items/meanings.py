"""What items mean: of each the vector that an embedder has made, beside its value.

It counts only for the version that it was made of: a put leaves it, and it says nothing then.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from onrecord.ledger.database import keys
from onrecord.ledger.database.transaction import Transaction
from onrecord.ledger.items.items import ALIVE, COLUMNS, row_of
from onrecord.scope import FIRST_PATH, Scope
from onrecord.stored.items import ItemRow, NamespaceKey

_PAGE: Final = f"""
    SELECT {{n.shard}}, n.id, n.path, i.embedder, i.meant, i.meaning, {COLUMNS}
    FROM {{namespaces}} n JOIN {{items}} i ON {{i.in_shard_of n}} i.namespace = n.id AND {ALIVE}"""
_BEHIND: Final = "(n.path > :path OR (n.path = :path AND i.key > :after))"
_ORDER: Final = "ORDER BY n.path, i.key LIMIT :limit"
_WRITE: Final = """
    UPDATE {items} SET embedder = :embedder, meant = :version, meaning = :meaning
    WHERE {my_shard} namespace = :namespace AND key = :key AND version = :version"""


class MeantRow(NamedTuple):
    """An item, and what an embedder made of it."""

    namespace: NamespaceKey
    path: bytes
    row: ItemRow
    embedder: int | None
    meaning: bytes | None
    """Of this version of the item; None where there is none of it."""


def page(
    txn: Transaction,
    scope: Scope,
    begin: bytes,
    exactly: bool,
    after: tuple[bytes, str] | None,
    limit: int,
    now: int,
) -> list[MeantRow]:
    """Items of all namespaces whose path begins so, or is exactly that, in the order of their
    names, behind (path, key)."""
    conditions, values = keys.of_scope(scope, "n.")
    if exactly:
        conditions.append("n.path = :begin")
        values.update(begin=begin)
    else:
        conditions.append("n.path >= :begin")
        values.update(begin=begin or FIRST_PATH)
        if begin:
            conditions.append("n.path < :beyond")
            values.update(beyond=begin[:-1] + b"\1")
    if after is not None:
        conditions.append(_BEHIND)
        values.update(path=after[0], after=after[1])
    values.update(limit=limit, now=now)
    found = txn.rows(f"{_PAGE} WHERE {' AND '.join(conditions)} {_ORDER}", values)
    return [
        MeantRow(
            NamespaceKey(shard, number),
            bytes(path),
            row := row_of(rest),
            embedder,
            bytes(meaning) if meaning is not None and meant == row.version else None,
        )
        for shard, number, path, embedder, meant, meaning, *rest in found
    ]


def write(txn: Transaction, embedder: int, made: Iterable[tuple[MeantRow, bytes]]) -> None:
    """Keep what an embedder made of items that are still as they were shown to it."""
    txn.many(
        _WRITE,
        [
            {
                **one.namespace._asdict(),
                "key": one.row.key,
                "version": one.row.version,
                "embedder": embedder,
                "meaning": meaning,
            }
            for one, meaning in made
        ],
    )
