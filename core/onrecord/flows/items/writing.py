"""How items are written: alone or several together, under the lock of their namespace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from onrecord.codec import value as codec
from onrecord.errors import Conflict
from onrecord.flow import Cold, Flow, do
from onrecord.flows.items.accepting import (
    changes_of,
    expected_of,
    item_of,
    key_of,
    keys_of,
    merged,
    pairs_of,
    text_of,
    ttl_of,
)
from onrecord.flows.shared import Desk
from onrecord.item import Item
from onrecord.ledger.items import items as rows_of
from onrecord.ledger.items import namespaces
from onrecord.scope import NamespaceName
from onrecord.stored.clock import now
from onrecord.stored.items import ItemRow

if TYPE_CHECKING:
    from onrecord.ledger.database.transaction import Transaction

T = TypeVar("T")

_SWEPT: Final = 8
"""Rows that have expired and are taken away by a write that may expire itself."""


def put_item(
    desk: Desk,
    name: NamespaceName,
    key: str,
    value: object,
    ttl: object,
    text: object,
    expected: object,
    token: object,
    expected_token: object,
) -> Flow[Item]:
    """Put a value under a key, where what is expected is there."""
    key, version, at = key_of(key), expected_of(expected), now()
    body = codec.encode(value, text_of("text", text), f"value of {key!r}", squeezed=_squeezed(desk))
    row = ItemRow(key, 0, at, at, None, ttl_of(ttl), text_of("token", token), body)
    wanted = text_of("expected_token", expected_token)

    def work(txn: Transaction) -> Item:
        if version is None and wanted is None and row.token is None and row.ttl is None:
            return item_of(name, _put(txn, name, row))
        namespace, last = namespaces.move_or_create(txn, name, 1, at)
        there = rows_of.find(txn, namespace, key, at)
        if there is not None and row.token is not None and there.token == row.token:
            return item_of(name, there)  # said again
        _refuse(name, key, there, version, wanted)
        if row.ttl is not None:
            rows_of.sweep(txn, namespace, _SWEPT, at)
        return item_of(
            name,
            _stored(
                row._replace(version=last), rows_of.put(txn, namespace, row._replace(version=last))
            ),
        )

    return (yield from do(Cold(work, writes=True)))


def put_items(desk: Desk, name: NamespaceName, given: object, ttl: object) -> Flow[list[Item]]:
    """Put several values, all or none."""
    pairs, life, at = pairs_of(given), ttl_of(ttl), now()
    rows = [
        ItemRow(key, 0, at, at, None, life, None,
                codec.encode(value, None, f"value of {key!r}", squeezed=_squeezed(desk)))
        for key, value in pairs
    ]  # fmt: skip
    if not rows:
        return []

    def work(txn: Transaction) -> list[Item]:
        namespace, last = namespaces.move_or_create(txn, name, len(rows), at)
        stored = []
        for version, row in enumerate(rows, last - len(rows) + 1):
            new = row._replace(version=version)
            stored.append(item_of(name, _stored(new, rows_of.put(txn, namespace, new))))
        return stored

    return (yield from do(Cold(work, writes=True)))


def merge_item(
    desk: Desk,
    name: NamespaceName,
    key: str,
    changes: object,
    ttl: object,
    expected: object,
) -> Flow[Item]:
    """Put new top-level keys over those of a dict, under the lock of its namespace: two who
    merge different keys both win."""
    key, version, at = key_of(key), expected_of(expected), now()
    new, life = changes_of(changes), ttl_of(ttl)
    codec.encode(dict(new), None, f"value of {key!r}")  # refused before anybody waits for a lock

    def work(txn: Transaction) -> Item:
        namespace, last = namespaces.move_or_create(txn, name, 1, at)
        there = rows_of.find(txn, namespace, key, at)
        _refuse(name, key, there, version, None)
        whole = merged(there, new)
        text = None if there is None else codec.decode(there.body)[1]
        body = codec.encode(whole, text, f"value of {key!r}", squeezed=_squeezed(desk))
        lives = life if life is not None or there is None else there.ttl
        row = ItemRow(key, last, at, at, None, lives, None, body)
        return item_of(name, _stored(row, rows_of.put(txn, namespace, row)))

    return (yield from do(Cold(work, writes=True)))


def delete_item(desk: Desk, name: NamespaceName, key: str, expected: object) -> Flow[bool]:
    """Take an item away; whether it was there."""
    key, version, at = key_of(key), expected_of(expected), now()

    def work(txn: Transaction) -> bool:
        if version is None and txn.can.one_statement_writes:
            return rows_of.delete_at_once(txn, name, key, at)
        locked = namespaces.move(txn, name, 1)
        there = None if locked is None else rows_of.find(txn, locked.key, key, at)
        _refuse(name, key, there, version, None)
        if locked is not None:
            rows_of.delete(txn, locked.key, key)
        return there is not None

    return (yield from do(Cold(work, writes=True)))


def delete_items(desk: Desk, name: NamespaceName, keys: object) -> Flow[int]:
    """Take several items away, all or none; how many were there."""
    wanted, at = keys_of(keys), now()

    def work(txn: Transaction) -> int:
        locked = namespaces.move(txn, name, len(wanted))
        if locked is None:
            return 0
        there = rows_of.get_many(txn, name, wanted, at)
        for key in wanted:
            rows_of.delete(txn, locked.key, key)
        return len(there)

    return (yield from do(Cold(work, writes=True))) if wanted else 0


def clear_items(desk: Desk, name: NamespaceName) -> Flow[int]:
    """Take all items of a namespace away; how many were there."""
    at = now()

    def work(txn: Transaction) -> int:
        locked = namespaces.move(txn, name, 1)
        if locked is None:
            return 0
        there = rows_of.count(txn, name, at)
        rows_of.clear(txn, locked.key)
        return there

    return (yield from do(Cold(work, writes=True)))


def _put(txn: Transaction, name: NamespaceName, row: ItemRow) -> ItemRow:
    """Write whatever is there: in one statement where the database can."""
    if not txn.can.one_statement_writes:
        namespace, version = namespaces.move_or_create(txn, name, 1, row.updated)
        new = row._replace(version=version)
        return _stored(new, rows_of.put(txn, namespace, new))
    while (stored := rows_of.put_at_once(txn, name, row)) is None:
        namespaces.create(txn, name, row.updated)
    return _stored(row, stored)


def _stored(row: ItemRow, found: tuple[int, int, int, int | None]) -> ItemRow:
    version, created, updated, expires_at = found
    return row._replace(version=version, created=created, updated=updated, expires_at=expires_at)


def _refuse(
    name: NamespaceName,
    key: str,
    there: ItemRow | None,
    version: int | None,
    token: str | None,
) -> None:
    """Raise Conflict where something else is there than was expected."""
    found = 0 if there is None else there.version
    if version is not None and version != found:
        what = "is not there" if there is None else f"is at version {found}"
        wanted = "none was expected" if version == 0 else f"version {version} was expected"
    elif token is not None and (there is None or there.token != token):
        what = "is not there" if there is None else f"has the token {there.token!r}"
        wanted = f"the token {token!r} was expected"
    else:
        return
    raise Conflict(
        f"Item {key!r} in {name} {what}, and {wanted}. Nothing was written: get it again.",
        item=None if there is None else item_of(name, there),
    )


def _squeezed(desk: Desk) -> bool:
    return desk.compression == "zstd"
