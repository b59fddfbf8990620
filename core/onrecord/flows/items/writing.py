"""How items are written: one or several, all or none, under the locks of their namespaces."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from onrecord.codec import value as codec
from onrecord.codec.values import copied
from onrecord.errors import Conflict, Misconfigured, shown
from onrecord.flow import Cold, Flow, do
from onrecord.flows.items.accepting import (
    MOST_AT_ONCE,
    changes_of,
    expected_of,
    item_of,
    item_or_damaged,
    item_with,
    key_of,
    keys_of,
    merged,
    pairs_of,
    text_of,
    token_of,
    ttl_of,
)
from onrecord.flows.items.naming import name_of
from onrecord.flows.mark import Wrote, commit_items
from onrecord.flows.shared import Desk
from onrecord.item import Delete, Item, ItemChange, Life, Merge, Put
from onrecord.ledger.database.stamp import FenceMoved
from onrecord.ledger.items import items as rows_of
from onrecord.ledger.items import namespaces
from onrecord.scope import ItemName, NamespaceName, Scope, SessionName, StateName
from onrecord.stored.clock import now
from onrecord.stored.items import ItemRow, WrittenItem

if TYPE_CHECKING:
    from onrecord.ledger.database.put_item import Beside
    from onrecord.ledger.database.transaction import Transaction
    from onrecord.ledger.items.namespaces import Locked

MOST_CLEARED: Final = 1_000
"""Items that go in one transaction."""
_SWEPT: Final = 8
"""Rows that have expired and are taken away by a write that may expire itself."""


class Write(NamedTuple):
    """One change, with all that can be refused about it refused."""

    item: ItemName
    """What is changed."""
    row: ItemRow | None
    """What is put; None for what is deleted."""
    changes: Mapping[str, Any] | None = None
    """What is merged into the value that is there."""
    expected: int | None = None
    expected_token: str | None = None
    copy: Any = None
    """Of the value that is put, where that is plain: it need not be decoded to be given back."""
    text: str | None = None

    @property
    def name(self) -> NamespaceName:
        """The namespace that it is in."""
        return self.item.namespace

    @property
    def key(self) -> str:
        """Its key there."""
        return self.item.key

    @property
    def whatever_is_there(self) -> bool:
        """Whether it is done without a look."""
        return (
            self.changes is None
            and self.expected is None
            and self.expected_token is None
            and (self.row is None or self.row.token is None)
        )

    @property
    def ttl(self) -> int | None:
        """For how long what is put lives; None for good, and for what is deleted."""
        return None if self.row is None else self.row.ttl


class Written(NamedTuple):
    """What became of one change."""

    answer: Item | bool
    """The item; of what was to be deleted whether it was there."""
    item: ItemName
    wrote: WrittenItem | None
    """What the cache is told; None where nothing was changed."""


def put_item(desk: Desk, name: NamespaceName, key: str, value: object, **more: Any) -> Flow[Item]:
    """Put a value under a key, where what is expected is there."""
    put = _prepared(desk, name, Put(name.parts, key, value, **more), now())
    (item,) = yield from _written(desk, [put])
    assert isinstance(item, Item)
    return item


def put_items(desk: Desk, name: NamespaceName, given: object, ttl: Life) -> Flow[list[Item]]:
    """Put several values, all or none."""
    at = now()
    pairs = pairs_of(given)
    puts = [_prepared(desk, name, Put(name.parts, k, v, ttl=ttl), at) for k, v in pairs]
    return [item for item in (yield from _written(desk, puts)) if isinstance(item, Item)]


def merge_item(
    desk: Desk,
    name: NamespaceName,
    key: str,
    changes: Mapping[str, Any],
    ttl: Life,
    expected: Item | int | None,
) -> Flow[Item]:
    """Put new top-level keys over those of a dict, under the lock of its namespace: two who
    merge different keys both win."""
    merge = Merge(name.parts, key, changes, ttl=ttl, expected=expected)
    (item,) = yield from _written(desk, [_prepared(desk, name, merge, now())])
    assert isinstance(item, Item)
    return item


def delete_item(
    desk: Desk, name: NamespaceName, key: str, expected: Item | int | None
) -> Flow[bool]:
    """Take an item away; whether it was there."""
    delete = Delete(name.parts, key, expected=expected)
    (was_there,) = yield from _written(desk, [_prepared(desk, name, delete, now())])
    return bool(was_there)


def delete_items(desk: Desk, name: NamespaceName, keys: object) -> Flow[int]:
    """Take several items away, all or none; how many were there."""
    at = now()
    deletes = [_prepared(desk, name, Delete(name.parts, key), at) for key in keys_of(keys)]
    return sum(map(bool, (yield from _written(desk, deletes))))


def write_items(
    desk: Desk, changes: object, tenant: str, user: str, agent: str
) -> Flow[list[Item | bool]]:
    """Make several changes in namespaces of one scope, in their order, all or none."""
    return (yield from _written(desk, prepared(desk, changes, tenant, user, agent)))


def prepared(
    desk: Desk,
    changes: object,
    tenant: str,
    user: str,
    agent: str,
    session: SessionName | None = None,
) -> list[Write]:
    """Refuse what cannot be done, before anything is; ``session`` is the one that is appended to
    with these."""
    at = now()
    writes = []
    for change in _changes(changes):
        name = name_of(desk, change.namespace, Scope(tenant, user, agent), session)
        writes.append(_prepared(desk, name, change, at))
    return writes


def clear_items(desk: Desk, name: NamespaceName) -> Flow[int]:
    """Take all items of a namespace away; how many were there. With a cache so many in each
    transaction: each of them is marked."""
    if not desk.marks:
        return (yield from do(Cold(partial(_clear, name=name), writes=True)))
    gone, after = 0, ""
    while keys := (yield from do(Cold(partial(_keys, name=name, after=after)))):
        writes = [Write(ItemName(name, key), None) for key in keys]
        gone += sum(map(bool, (yield from _written(desk, writes))))
        after = keys[-1]
    return gone


def _clear(txn: Transaction, name: NamespaceName) -> int:
    locked = namespaces.move(txn, name, 1)
    if locked is None:
        return 0
    there = rows_of.count(txn, name, now())
    rows_of.clear(txn, locked.key)
    return there


def sweep_items(name: NamespaceName) -> Flow[int]:
    """Take the rows of a namespace away that have expired, some in each transaction; how many. No
    cache has to hear of it: what has expired is not there."""
    swept, some = 0, MOST_CLEARED
    while some >= MOST_CLEARED:
        some = yield from do(Cold(partial(_sweep, name=name), writes=True))
        swept += some
    return swept


def _sweep(txn: Transaction, name: NamespaceName) -> int:
    # Under the lock of the namespace, as a put sweeps: two who sweep do not wait for each other.
    locked = namespaces.move(txn, name, 1)
    return 0 if locked is None else rows_of.sweep(txn, locked.key, MOST_CLEARED, now())


def _keys(txn: Transaction, name: NamespaceName, after: str) -> list[str]:
    namespace = namespaces.find(txn, name)
    return [] if namespace is None else rows_of.keys_after(txn, namespace, after, MOST_CLEARED)


def _changes(given: object) -> Sequence[ItemChange]:
    if not isinstance(given, list | tuple):
        raise Misconfigured(f"changes have to be a list of Put, Merge, Delete, not {shown(given)}.")
    if len(given) > MOST_AT_ONCE:
        raise Misconfigured(f"A batch has at most {MOST_AT_ONCE:,} changes, not {len(given):,}.")
    for change in given:
        if not isinstance(change, Put | Merge | Delete):
            raise Misconfigured(f"A change is a Put, a Merge or a Delete, not {shown(change)}.")
    return given


def _prepared(desk: Desk, name: NamespaceName, change: ItemChange, at: int) -> Write:
    """Refuse what cannot be done, before anything is."""
    key = key_of(change.key)
    # Most say none of these: a call for each would take as long as the value.
    expected = None if change.expected is None else expected_of(change.expected)
    item = ItemName(name, key)
    if isinstance(change, Delete):
        return Write(item, None, None, expected)
    ttl = None if change.ttl is None else ttl_of(change.ttl)
    if isinstance(change, Merge):
        changes = changes_of(change.changes)
        _encoded(desk, key, dict(changes), None)  # refused before anybody waits for a lock
        return Write(item, ItemRow(key, 0, at, at, None, ttl, None, b""), changes, expected)
    text = None if change.text is None else text_of("text", change.text)
    token = None if change.token is None else token_of("token", change.token)
    body = _encoded(desk, key, change.value, text)
    wanted = change.expected_token
    if wanted is not None:
        wanted = token_of("expected_token", wanted)
    row = ItemRow(key, 0, at, at, None, ttl, token, body)
    return Write(item, row, None, expected, wanted, copied(change.value), text)


def _written(desk: Desk, writes: Sequence[Write]) -> Flow[list[Item | bool]]:
    if not writes:
        return []
    work = partial(write, desk, writes=writes)
    items = [one.item for one in writes]
    return [one.answer for one in (yield from commit_items(desk, items, work, wrote))]


def wrote(written: Sequence[Written]) -> Wrote:
    """What the cache is told of changes: of several of one item the last."""
    return {one.item.identity: one.wrote for one in written if one.wrote is not None}


def write(desk: Desk, txn: Transaction, writes: Sequence[Write]) -> list[Written]:
    """Make changes, in their order."""
    first = writes[0]
    if len(writes) == 1:
        if txn.can.one_statement_writes and first.whatever_is_there and first.ttl is None:
            return [_at_once(txn, first)]
        return [_changed(desk, txn, first, _lock(txn, first.name, writes), 0)]
    locked = _locked(txn, writes)
    if _is_a_run(writes):
        if first.row is None:
            return _delete_together(txn, writes, locked[first.name.identity])
        if txn.can.array_parameters:
            return [*_put_together(txn, writes, locked)]
    try:
        return _one_by_one(desk, txn, writes, locked)
    except FenceMoved:
        rows_of.refuse_any_unmarked(txn, [one.item for one in writes])
        raise


def _one_by_one(
    desk: Desk,
    txn: Transaction,
    writes: Sequence[Write],
    locked: Mapping[bytes, Locked | None],
) -> list[Written]:
    left = {name: 0 for name in locked}
    for one in writes:
        left[one.name.identity] += 1
    done: list[Written] = []
    for one in writes:
        left[one.name.identity] -= 1
        namespace, still = locked[one.name.identity], left[one.name.identity]
        done.append(_changed(desk, txn, one, namespace, still))
    return done


def _changed(
    desk: Desk, txn: Transaction, one: Write, namespace: Locked | None, left: int
) -> Written:
    """Make one change, before so many that are left of its namespace."""
    if namespace is None:  # only deletes of a namespace that is not there
        _refuse(one, None)
        return Written(False, one.item, None)
    return _one(desk, txn, one, namespace, namespace.version - left)


def put_beside(txn: Transaction, writes: Sequence[Write]) -> Beside | None:
    """Put in the very statement of an append, where the database can and it is one put, whatever
    is there."""
    first = writes[0]
    if (
        len(writes) > 1
        or first.row is None
        or not first.whatever_is_there
        or first.ttl is not None
        or isinstance(first.name, StateName)
        or not txn.can.one_statement_writes
    ):
        return None
    return rows_of.put_beside(txn, first.item, first.row)


def written_beside(one: Write, beside: Beside, answered: tuple[Any, ...]) -> Written:
    """What became of a put that went with an append."""
    assert one.row is not None, "it was a put"
    return _put_done(one, *rows_of.stored_beside(one.row, beside, answered))


def _is_a_run(writes: Sequence[Write]) -> bool:
    """Whether all are puts into one namespace, whatever is there, of one life, no key twice; or
    deletes."""
    first = writes[0]
    return len({one.key for one in writes}) == len(writes) and all(
        (one.row is None) == (first.row is None)
        and one.whatever_is_there
        and one.ttl == first.ttl
        and one.name.identity == first.name.identity
        for one in writes
    )


def _put_together(
    txn: Transaction, writes: Sequence[Write], locked: Mapping[bytes, Locked | None]
) -> Iterator[Written]:
    """Put many in one statement."""
    name = writes[0].name
    namespace = locked[name.identity]
    assert namespace is not None, "it is made where something is put"
    rows = [
        one.row._replace(version=version)
        for version, one in enumerate(writes, namespace.version - len(writes) + 1)
        if one.row is not None
    ]
    items = [one.item for one in writes]
    for item, (row, made) in zip(
        items, rows_of.put_all(txn, namespace.key, items, rows), strict=True
    ):
        yield Written(item_of(name, row), item, WrittenItem(row, row.version, made))


def _delete_together(
    txn: Transaction, writes: Sequence[Write], namespace: Locked | None
) -> list[Written]:
    """Delete many in one statement."""
    items = [one.item for one in writes]
    found = {} if namespace is None else rows_of.delete_some(txn, namespace.key, items, now())
    version = 0 if namespace is None else namespace.version
    return [
        Written(
            found.get(item.key, False),
            item,
            WrittenItem(None, version) if item.key in found else None,
        )
        for item in items
    ]


def _locked(txn: Transaction, writes: Sequence[Write]) -> dict[bytes, Locked | None]:
    """Lock the namespaces of all writes, in one order: nobody waits for whom he holds up."""
    wanted: dict[bytes, list[Write]] = {}
    for one in writes:
        wanted.setdefault(one.name.identity, []).append(one)
    if len(wanted) > 1:
        puts = {one.name: one.row is not None for one in sorted(writes, key=_is_put)}
        namespaces.hold_sessions(txn, puts, now())
    locked: dict[bytes, Locked | None] = {}
    for identity in sorted(wanted):
        locked[identity] = _lock(txn, wanted[identity][0].name, wanted[identity])
    return locked


def _lock(txn: Transaction, name: NamespaceName, writes: Sequence[Write]) -> Locked | None:
    """Lock a namespace for writes to it; made first where something is put."""
    for one in writes:
        if one.row is not None:
            return namespaces.move_or_create(txn, name, len(writes), one.row.updated)
    return namespaces.move(txn, name, len(writes))


def _is_put(one: Write) -> bool:
    return one.row is not None


def _one(desk: Desk, txn: Transaction, one: Write, namespace: Locked, version: int) -> Written:
    if one.row is not None and one.whatever_is_there:
        return _put(txn, one, namespace, one.row._replace(version=version))
    at = now() if one.row is None else one.row.updated
    there = rows_of.find(txn, namespace.key, one.item, at)
    if one.row is None:
        _refuse(one, there)
        rows_of.delete(txn, namespace.key, one.key)
        gone = None if there is None else WrittenItem(None, version)
        return Written(there is not None, one.item, gone)
    row = one.row._replace(version=version)
    if there is not None and row.token is not None and there.token == row.token:
        said = item_or_damaged(one.name, there)
        if said.damaged is None:
            return Written(said, one.item, None)  # said again
    _refuse(one, there)
    if one.changes is not None:
        known = None if there is None else item_of(one.name, there)
        text = None if known is None else known.text
        row = row._replace(body=_encoded(desk, one.key, merged(known, one.changes), text))
        if row.ttl is None and there is not None:
            row = row._replace(ttl=there.ttl)
    return _put(txn, one, namespace, row)


def _put(txn: Transaction, one: Write, namespace: Locked, row: ItemRow) -> Written:
    if row.ttl is not None:
        rows_of.sweep(txn, namespace.key, _SWEPT, row.updated)
    return _put_done(one, *rows_of.put(txn, namespace.key, one.item, row))


def _at_once(txn: Transaction, one: Write) -> Written:
    """Write in one statement, where the database can."""
    item = one.item
    if one.row is None:
        gone = rows_of.delete_at_once(txn, item, now())
        if gone is None:
            return Written(False, item, None)
        was_there, version = gone
        return Written(was_there, item, WrittenItem(None, version) if was_there else None)
    while (stored := rows_of.put_at_once(txn, item, one.row)) is None:
        namespaces.create(txn, one.name, one.row.updated)
    return _put_done(one, *stored)


def _put_done(one: Write, row: ItemRow, made: bool) -> Written:
    name, wrote = one.item.namespace, WrittenItem(row, row.version, made)
    if one.copy is not None:
        return Written(item_with(name, row, one.copy, one.text), one.item, wrote)
    return Written(item_of(name, row), one.item, wrote)


def _refuse(one: Write, there: ItemRow | None) -> None:
    """Raise Conflict where something else is there than was expected."""
    found = 0 if there is None else there.version
    if one.expected is not None and one.expected != found:
        what = "is not there" if there is None else f"is at version {found}"
        wanted = (
            f"version {shown(one.expected)} was expected" if one.expected else "none was expected"
        )
    elif one.expected_token is not None and (there is None or there.token != one.expected_token):
        what = "is not there" if there is None else f"has the token {there.token!r}"
        wanted = f"the token {one.expected_token!r} was expected"
    else:
        return
    raise Conflict(
        f"Item {one.key!r} in {one.name} {what}, and {wanted}. Nothing was written: get it again.",
        item=None if there is None else item_or_damaged(one.name, there),
    )


def _encoded(desk: Desk, key: str, value: object, text: str | None) -> bytes:
    return codec.encode(value, text, f"value of {key!r}", squeezed=desk.compression == "zstd")
