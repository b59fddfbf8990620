"""How items are read: by key, by pages, by filter."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

from onrecord.arguments import check_choice, whole_number
from onrecord.errors import InvalidName, Misconfigured, shown
from onrecord.filters import predicate_of
from onrecord.flow import Cold, Flow, do
from onrecord.flows.items.accepting import item_of, key_of, keys_of
from onrecord.flows.shared import Desk
from onrecord.item import Item
from onrecord.ledger.items import items as rows_of
from onrecord.ledger.items import namespaces
from onrecord.scope import NamespaceName, Scope, check_parts, parts_of, path_of
from onrecord.stored.clock import now
from onrecord.stored.items import ItemRow

if TYPE_CHECKING:
    from onrecord.ledger.database.transaction import Transaction

_PAGE: Final = 200
_LAST_VERSION: Final = 2**63 - 1
REFRESHED_AGAIN: Final = 60 * 1_000_000
"""Microseconds after which a read moves an expiry again, if a tenth of the ttl is not longer: so
that reading does not become writing."""


def get_item(desk: Desk, name: NamespaceName, key: str, refresh: bool) -> Flow[Item | None]:
    """One item; with ``refresh`` it lives on from now."""
    key = key_of(key)
    row = yield from do(Cold(partial(rows_of.get, name=name, key=key, now=now())))
    if row is None:
        return None
    if refresh and _is_due(row):
        row = yield from _refreshed(name, row)
    return item_of(name, row)


def get_items(
    desk: Desk, name: NamespaceName, keys: object, refresh: bool
) -> Flow[dict[str, Item]]:
    """Several items by their keys; those that are not there are left out."""
    wanted = keys_of(keys)
    found = yield from do(Cold(partial(rows_of.get_many, name=name, wanted=wanted, now=now())))
    items: dict[str, Item] = {}
    for key in wanted:
        row = found.get(key)
        if row is None:
            continue
        if refresh and _is_due(row):
            row = yield from _refreshed(name, row)
        items[key] = item_of(name, row)
    return items


def list_items(
    desk: Desk,
    name: NamespaceName,
    prefix: str,
    filter: object,
    order: Literal["key", "updated"],
    after: object,
    limit: int,
) -> Flow[list[Item]]:
    """A page of items that fulfil a filter, by their keys or the last written first."""
    check_choice("order", order, ("key", "updated"))
    if not isinstance(prefix, str):
        raise Misconfigured(f"prefix has to be text, not {shown(prefix)}.")
    if prefix and order == "updated":
        raise Misconfigured("A prefix goes with order='key': leave one of the two out.")
    limit = whole_number("limit", limit)
    wanted = predicate_of(filter)
    read, place = _by_age(name, after) if order == "updated" else _by_key(name, prefix, after)
    return (yield from _page(name, read, place, wanted, limit, filter is None))


def count_items(desk: Desk, name: NamespaceName) -> Flow[int]:
    """How many items there are."""
    return (yield from do(Cold(partial(rows_of.count, name=name, now=now()))))


def list_namespaces(
    desk: Desk,
    scope: Scope,
    prefix: object,
    depth: int | None,
    after: object,
    limit: int,
) -> Flow[list[tuple[str, ...]]]:
    """Namespaces that have items, each once, in their order; cut off behind ``depth`` parts."""
    begin = _parts("prefix", prefix)
    behind = path_of(_parts("after", after)) if after else b""
    limit = whole_number("limit", limit)
    if depth is not None:
        depth = whole_number("depth", depth, least=1)
        behind = _beyond_all(behind) if after and len(_parts("after", after)) >= depth else behind
    found: list[tuple[str, ...]] = []
    while len(found) < limit:
        read = partial(
            namespaces.paths,
            scope=scope,
            prefix=path_of(begin),
            after=behind,
            limit=max(limit, _PAGE) if depth else limit - len(found) or 1,
            now=now(),
        )
        page = yield from do(Cold(read))
        for _, path in page:
            parts = parts_of(path)[:depth]
            if not found or found[-1] != parts:
                found.append(parts)
        if not page:
            break
        behind = page[-1][1]
        if depth:  # nothing more of what was cut off: all of it would be the same
            behind = _beyond_all(path_of(parts_of(behind)[:depth]))
    return found[:limit]


def _beyond_all(path: bytes) -> bytes:
    """Behind all namespaces that begin with a path."""
    return path + b"\xff"


def _parts(what: str, given: object) -> tuple[str, ...]:
    if not isinstance(given, tuple | list):
        raise InvalidName(f"{what} has to be the parts of a namespace, not {shown(given)}.")
    parts = tuple(given)
    check_parts(parts, least=0)
    return parts


Reader = Callable[["Transaction", Any, int], list[ItemRow]]


def _by_key(name: NamespaceName, prefix: str, after: object) -> tuple[Reader, Any]:
    if isinstance(after, Item):
        after = after.key
    if after is not None and not isinstance(after, str):
        raise Misconfigured(f"after has to be an Item or a key, not {shown(after)}.")

    def read(txn: Transaction, after: Any, limit: int) -> list[ItemRow]:
        last = after.key if isinstance(after, ItemRow) else after
        return rows_of.by_key(txn, name, prefix, last, limit, now())

    return read, after or ""


def _by_age(name: NamespaceName, after: object) -> tuple[Reader, Any]:
    if after is not None and not isinstance(after, Item):
        raise Misconfigured(
            f"after has to be the last Item of the page before, not {shown(after)}."
        )

    def read(txn: Transaction, after: Any, limit: int) -> list[ItemRow]:
        last = after.version if isinstance(after, ItemRow) else after
        return rows_of.by_age(txn, name, last, limit, now())

    return read, _LAST_VERSION if after is None else after.version


def _page(
    name: NamespaceName,
    read: Reader,
    place: Any,
    wanted: Callable[[Any], bool],
    limit: int,
    all_of_them: bool,
) -> Flow[list[Item]]:
    found: list[Item] = []
    while len(found) < limit:
        size = limit if all_of_them else max(limit, _PAGE)

        def step(txn: Transaction, place: Any = place, size: int = size) -> list[ItemRow]:
            return read(txn, place, size)

        page = yield from do(Cold(step))
        for row in page:
            item = item_of(name, row)
            if wanted(item.value):
                found.append(item)
        if len(page) < size:
            break
        place = page[-1]
    return found[:limit]


def _is_due(row: ItemRow) -> bool:
    """Whether its expiry is worth moving: not each time that somebody reads it."""
    if row.expires_at is None or row.ttl is None:
        return False
    return now() + row.ttl - row.expires_at >= min(REFRESHED_AGAIN, row.ttl // 10)


def _refreshed(name: NamespaceName, row: ItemRow) -> Flow[ItemRow]:
    def work(txn: Transaction) -> int | None:
        namespace = namespaces.find(txn, name)
        return None if namespace is None else rows_of.refresh(txn, namespace, row, now())

    expires_at = yield from do(Cold(work, writes=True))
    return row if expires_at is None else row._replace(expires_at=expires_at)
