"""How items are read: by key, by pages, by filter."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Final, Generic, Literal, NamedTuple, TypeAlias, TypeVar

from onrecord.arguments import check_after, check_choice, whole_number
from onrecord.cache import CacheUnavailable
from onrecord.errors import InvalidName, Misconfigured, shown
from onrecord.filters import predicate_of
from onrecord.flow import Cold, Flow, Hot, do
from onrecord.flows.items.accepting import item_of, item_or_damaged, key_of, keys_of
from onrecord.flows.leases import believes, lease_of, looked
from onrecord.flows.mark import Wrote, commit_items
from onrecord.flows.shared import Desk
from onrecord.item import Item
from onrecord.ledger.database.stamp import ABSENT
from onrecord.ledger.items import items as rows_of
from onrecord.ledger.items import namespaces
from onrecord.scope import (
    ItemName,
    NamespaceName,
    Scope,
    check_name,
    check_parts,
    parts_of,
    path_of,
)
from onrecord.stored.clock import microseconds, now
from onrecord.stored.items import MOST_VERSION, ItemRow, SeenItem, WrittenItem

if TYPE_CHECKING:
    from onrecord.ledger.database.transaction import Transaction

_PAGE: Final = 200
_REFRESHED_AGAIN: Final = 60 * 1_000_000
"""Microseconds after which a read moves an expiry again, if a tenth of the ttl is not longer: so
that reading does not become writing."""


def get_item(desk: Desk, name: NamespaceName, key: str, refresh: bool) -> Flow[Item | None]:
    """One item; with ``refresh`` it lives on from now."""
    item = ItemName(name, key_of(key))
    row = (yield from _seen(desk, item)).row
    if row is None:
        return None
    if refresh and _is_due(row):
        row = yield from _refreshed(desk, item, row)
    return item_of(name, row)


def _seen(desk: Desk, item: ItemName) -> Flow[SeenItem]:
    """An item, out of the cache where that is known to be what SQL says (I3)."""
    identity = item.identity
    on, glance = yield from looked(desk, lambda hot, on: hot.look_item(identity, on))
    found = glance.seen
    if glance.fresh and found is not None and believes(desk, identity, on, found.version):
        return found
    lease, began = glance.lease, 0
    if desk.marks:
        settle = partial(rows_of.settle, item=item, now=now())
        lease = yield from lease_of(desk, identity, on, glance, settle)
        began = desk.known.begin()
    # After the cache has answered: what was acknowledged before is seen. Not by do(), here and
    # below: both take half a microsecond of 25.
    seen: SeenItem = yield Cold(partial(rows_of.see, item=item, now=now()), alone=True)
    if desk.marks:
        fence = ABSENT if seen.row is None else seen.row.fence
        desk.known.read(identity, seen.version, fence, began)
    if lease is not None:
        try:
            yield Hot(lambda hot: hot.fill_item(identity, seen, lease))
        except CacheUnavailable:
            return seen
    return seen


def get_items(
    desk: Desk, name: NamespaceName, keys: object, refresh: bool
) -> Flow[dict[str, Item]]:
    """Several items by their keys; those that are not there are left out."""
    wanted = keys_of(keys)
    began = desk.known.begin()
    found = yield from do(Cold(partial(rows_of.get_many, name=name, wanted=wanted, now=now())))
    note_shown(desk, ((name, row) for row in found.values()), began)
    items: dict[str, Item] = {}
    for key in wanted:
        row = found.get(key)
        if row is None:
            continue
        if refresh and _is_due(row):
            row = yield from _refreshed(desk, ItemName(name, key), row)
        items[key] = item_or_damaged(name, row)
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
    if prefix:
        check_name("prefix", prefix)
    if prefix and order == "updated":
        raise Misconfigured("A prefix goes with order='key': leave one of the two out.")
    if order == "updated":
        return (yield from _listed(desk, _by_age(name, after), filter, limit, 0))
    return (yield from _listed(desk, _by_key(name, prefix, after), filter, limit, 0))


def find_items(
    desk: Desk,
    scope: Scope,
    prefix: object,
    filter: object,
    after: object,
    limit: int,
    skip: int,
) -> Flow[list[Item]]:
    """Items of all namespaces that begin with a prefix, the last written first."""
    begin = parts_given("prefix", prefix)
    alone = yield from _alone(scope, begin)
    # A version says where it stands in its own namespace, and nothing in another one.
    if alone is not None and not (isinstance(after, Item) and after.namespace != alone.parts):
        return (yield from _listed(desk, _by_age(alone, after), filter, limit, skip))
    return (yield from _listed(desk, _below(scope, begin, after), filter, limit, skip))


def last_written(
    desk: Desk, name: NamespaceName, filter: object, limit: int, skip: int
) -> Flow[list[Item]]:
    """Items of one namespace, the last written first."""
    return (yield from _listed(desk, _by_age(name, None), filter, limit, skip))


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
    begin = parts_given("prefix", prefix)
    behind = path_of(parts_given("after", after)) if after else b""
    limit = whole_number("limit", limit)
    if depth is not None:
        depth = whole_number("depth", depth, least=1)
        behind = (
            _beyond_all(behind) if after and len(parts_given("after", after)) >= depth else behind
        )
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


def parts_given(what: str, given: object) -> tuple[str, ...]:
    if not isinstance(given, tuple | list):
        raise InvalidName(f"{what} has to be the parts of a namespace, not {shown(given)}.")
    parts = tuple(given)
    check_parts(parts, least=0)
    return parts


P = TypeVar("P")


class Reader(NamedTuple, Generic[P]):
    """How a list goes on."""

    read: Callable[[Transaction, P, int, int], list[tuple[NamespaceName, ItemRow]]]
    """Rows behind a place: so many, but for the first that are skipped."""
    first: P
    behind: Callable[[NamespaceName, ItemRow], P]


def _by_key(name: NamespaceName, prefix: str, after: object) -> Reader[str]:
    if isinstance(after, Item):
        after = after.key
    if after is not None and not isinstance(after, str):
        raise Misconfigured(f"after has to be an Item or a key, not {shown(after)}.")
    if after:
        check_name("after", after)

    def read(
        txn: Transaction, after: str, limit: int, skip: int
    ) -> list[tuple[NamespaceName, ItemRow]]:
        rows = rows_of.by_key(txn, name, prefix, after, limit + skip, now())
        return [(name, row) for row in rows[skip:]]

    return Reader(read, after or "", lambda name, row: row.key)


def _by_age(name: NamespaceName, after: object) -> Reader[int]:
    check_after(after, Item)

    def read(
        txn: Transaction, before: int, limit: int, skip: int
    ) -> list[tuple[NamespaceName, ItemRow]]:
        rows = rows_of.by_age(txn, name, before, limit, now(), skip)
        return [(name, row) for row in rows]

    first = after.version if isinstance(after, Item) else MOST_VERSION
    return Reader(read, first, lambda name, row: row.version)


Place: TypeAlias = tuple[int, bytes, str]
"""Updated, path and key: where an item stands among those of several namespaces."""


def _below(scope: Scope, begin: tuple[str, ...], after: object) -> Reader[Place | None]:
    check_after(after, Item)

    def read(
        txn: Transaction, after: Place | None, limit: int, skip: int
    ) -> list[tuple[NamespaceName, ItemRow]]:
        rows = rows_of.below(txn, scope, path_of(begin), after, limit, skip, now())
        return [(_named(scope, path), row) for path, row in rows]

    first = None
    if isinstance(after, Item):
        first = microseconds(after.updated_at), path_of(after.namespace), after.key
    return Reader(read, first, lambda name, row: (row.updated, name.path, row.key))


def _alone(scope: Scope, begin: tuple[str, ...]) -> Flow[NamespaceName | None]:
    """The namespace that a prefix names, where no other begins with it: to go through its own
    order is quicker."""
    if not begin:
        return None
    path = path_of(begin)
    read = partial(namespaces.paths, scope=scope, prefix=path, after=b"", limit=2, now=now())
    page = yield from do(Cold(read))
    return _named(scope, path) if [found for _, found in page] == [path] else None


def _named(scope: Scope, path: bytes) -> NamespaceName:
    tenant, user, agent = map(str, scope)
    return NamespaceName(parts=parts_of(path), tenant=tenant, user=user, agent=agent)


def note_shown(
    desk: Desk, rows: Iterable[tuple[NamespaceName, ItemRow | Item]], began: int
) -> None:
    """Note which items a read of the database showed."""
    shown = (
        (ItemName(name, row.key).identity, SeenItem(None, row.version).version)
        for name, row in rows
        if isinstance(row.version, int)  # a damaged one is told as it is
    )
    desk.showed(shown, began)


def _listed(
    desk: Desk, reader: Reader[P], filter: object, limit: int, skip: int
) -> Flow[list[Item]]:
    """Go through pages until there are enough that fulfil a filter."""
    limit, skip = whole_number("limit", limit), whole_number("skip", skip)
    wanted = predicate_of(filter)
    found: list[Item] = []
    place = reader.first
    while len(found) < limit + (0 if filter is None else skip):
        # Without a filter the database skips; with one it cannot tell who counts.
        size, skipped = (limit, skip) if filter is None else (max(limit + skip, _PAGE), 0)

        def step(
            txn: Transaction, place: P = place, size: int = size, skipped: int = skipped
        ) -> list[tuple[NamespaceName, ItemRow]]:
            return reader.read(txn, place, size, skipped)

        began = desk.known.begin()
        page = yield from do(Cold(step))
        items = [(name, item_or_damaged(name, row)) for name, row in page]
        if filter is not None:  # what is damaged fulfils none
            items = [
                (name, item) for name, item in items if item.damaged is None and wanted(item.value)
            ]
        note_shown(desk, items, began)
        found += [item for _, item in items]
        if filter is None or len(page) < size:
            break
        place = reader.behind(*page[-1])
    return found[:limit] if filter is None else found[skip : skip + limit]


def _is_due(row: ItemRow) -> bool:
    """Whether its expiry is worth moving: not each time that somebody reads it."""
    if row.expires_at is None or row.ttl is None:
        return False
    return now() + row.ttl - row.expires_at >= min(_REFRESHED_AGAIN, row.ttl // 10)


def _refreshed(desk: Desk, item: ItemName, row: ItemRow) -> Flow[ItemRow]:
    def work(txn: Transaction) -> ItemRow | None:
        namespace = namespaces.find(txn, item.namespace)
        if namespace is None:
            return None
        expires_at = rows_of.refresh(txn, namespace, item, row, now())
        return None if expires_at is None else row._replace(expires_at=expires_at)

    def wrote(refreshed: ItemRow | None) -> Wrote:
        if refreshed is None:
            return {}
        return {item.identity: WrittenItem(refreshed, refreshed.version)}

    return (yield from commit_items(desk, [item], work, wrote)) or row
