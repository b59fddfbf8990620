"""Lists as a whole: taken away from, copied, counted, looked through.

All of it is done rarely, with the thread locked, and may take as long as the thread is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from onrecord.codec.refs import pack_refs, unpack_refs
from onrecord.ledger.checkpoints.checkpoints import ADD, DELETE_ITEMS, EMPTY, MOVE_HEAD, lock_list
from onrecord.ledger.checkpoints.threads import drop_list
from onrecord.ledger.database import keys
from onrecord.ledger.database.transaction import Transaction
from onrecord.scope import AnyName, Scope, SessionName, owner_number, shard_of
from onrecord.stored.checkpoints import ListKey, NamespaceLog, Thread, namespace_of

_ALL_REFS: Final = """
    SELECT number, id, parent, refs FROM {checkpoints} WHERE {list_span} ORDER BY {list_order}"""
_ALL_ITEMS: Final = """
    SELECT number, items, body FROM {checkpoint_items} WHERE {list_span} ORDER BY {list_order}"""
_ALL_ROWS: Final = """
    SELECT number, id, parent, run, refs, body, new_values FROM {checkpoints}
    WHERE {list_span} ORDER BY {list_order}"""
_DELETE: Final = "DELETE FROM {checkpoints} WHERE {list_at}"
_ITEM_ROWS: Final = "SELECT number, items FROM {checkpoint_items} WHERE {list_span}"
_KEEP_NUMBERS: Final = """
    UPDATE {checkpoint_lists} SET head = {greatest}(head, :last) WHERE {my_shard} id = :list"""
_LISTS: Final = """
    SELECT id, name, head FROM {checkpoint_lists} WHERE {my_shard} thread = :thread"""
_LISTS_ALONE: Final = f"{_LISTS} {{for_update}}"
_COPY_ITEMS: Final = """
    INSERT INTO {checkpoint_items} ({list_row_key}, items, body)
    SELECT {list_row_copy}, items, body FROM {checkpoint_items} WHERE {list_span}"""
_COPY_WRITES: Final = """
    INSERT INTO {checkpoint_writes} ({shard_key} list, id, body)
    SELECT {target_shard_value} CAST(:target AS BIGINT), id, body FROM {checkpoint_writes}
    WHERE {my_shard} list = :list ORDER BY number"""

_OF_RUN: Final = """
    SELECT t.tenant, t."user", t.agent, t.key, l.name, c.id
    FROM {checkpoints} c
    JOIN {checkpoint_lists} l ON {l.my_shard} l.id = c.list
    JOIN {checkpoint_threads} t ON {t.my_shard} t.id = l.thread
    WHERE {c.my_shard} c.run = :run AND t.owner = :owner AND t.tenant = :tenant
        AND t."user" = :user AND t.agent = :agent"""

_DELETE_WRITES: Final = """
    DELETE FROM {checkpoint_writes} WHERE {my_shard} list = :list AND id = :id"""
_WRITES_OF_LOG: Final = """
    SELECT id, body FROM {checkpoint_writes} WHERE {my_shard} list = :list ORDER BY number"""
_WAITING: Final = "SELECT id FROM {checkpoint_writes} WHERE {my_shard} list = :list LIMIT 1"


class ListRow(NamedTuple):
    """A list of a thread, by what it is for."""

    key: ListKey
    namespace: str
    is_log: bool
    name: bytes
    head: int


def lists_of(txn: Transaction, thread: Thread, *, alone: bool = False) -> list[ListRow]:
    """All lists of a thread; ``alone`` holds them, so that nothing is added meanwhile: who
    knows a log's head adds to it without locking the thread."""
    found = []
    values = {"shard": thread.shard, "thread": thread.number}
    for number, name, head in txn.rows(_LISTS_ALONE if alone else _LISTS, values):
        namespace, is_log = namespace_of(bytes(name))
        found.append(ListRow(ListKey(thread.shard, number), namespace, is_log, bytes(name), head))
    return found


def drop(
    txn: Transaction, all_lists: Sequence[ListRow], namespace_log: ListRow, ids: set[bytes]
) -> None:
    """Delete checkpoints of a log, and what no other one refers to.

    The thread is locked alone, so nobody adds a reference meanwhile. Mark and sweep: counts of
    references would have to be right for ever, and this is done rarely.
    """
    rows = txn.rows(_ALL_REFS, keys.list_span(txn, namespace_log.key))
    left = {
        number: unpack_refs(bytes(refs), bytes(id), None if parent is None else bytes(parent))
        for number, id, parent, refs in rows
        if id and id not in ids
    }
    used: set[int] = set()
    items: dict[int, list[int]] = {}
    for refs in left.values():
        for ref in refs.values():
            if len(ref) == 2:
                used.add(ref[0])
            else:
                items.setdefault(ref[0], []).extend(ref[1:])
    for number, id, *_ in rows:
        place = keys.list_at(namespace_log.key, number)
        if id in ids:
            txn.run(_DELETE_WRITES, {**keys.of_list(namespace_log.key), "id": id})
        if number in left:
            continue
        if number not in used:
            txn.run(_DELETE, place)
        elif id is not None:
            txn.run(EMPTY, place)
    of_log = [s for s in all_lists if s.namespace == namespace_log.namespace]
    if not left:
        # What was written towards a checkpoint that is still on its way stays where it is.
        waiting = txn.first(_WAITING, keys.of_list(namespace_log.key))
        for one in of_log:
            if not (one.is_log and waiting):
                drop_list(txn, one.key)
        return
    for one in of_log:
        if not one.is_log:
            _drop_items_outside(txn, one.key, items.get(one.key.list, []))


def _drop_items_outside(txn: Transaction, key: ListKey, runs: list[int]) -> None:
    spans = sorted(set(zip(runs[::2], runs[1::2], strict=True)))
    rows = txn.rows(_ITEM_ROWS, keys.list_span(txn, key))
    if rows:
        # Who is in the middle of reading what goes here must find nothing, not another item.
        txn.run(_KEEP_NUMBERS, {**keys.of_list(key), "last": max(last for last, _ in rows)})
    for last, count in rows:
        first = last - count + 1
        if not any(low <= last and first <= high for low, high in spans):
            txn.run(DELETE_ITEMS, keys.list_at(key, last))


def copy(txn: Transaction, source: Thread, target: Thread) -> list[bytes]:
    """Everything of one locked thread into another that has nothing; the checkpoints' ids."""
    ids: list[bytes] = []
    all_lists = lists_of(txn, source, alone=True)
    numbers = {s.key.list: lock_list(txn, target, s.name)[0] for s in all_lists}
    for one in all_lists:
        to = ListKey(target.shard, numbers[one.key.list])
        new = {
            **keys.list_span(txn, one.key),
            "target_shard": to.shard,
            "target": to.list,
        }
        if not one.is_log:
            txn.run(_COPY_ITEMS, new)
            continue
        rows = []
        for number, id, parent, run, refs, body, held in txn.rows(_ALL_ROWS, new):
            if refs is not None:
                key, before = bytes(id), None if parent is None else bytes(parent)
                moved = {
                    channel: ref if len(ref) == 2 else [numbers[ref[0]], *ref[1:]]
                    for channel, ref in unpack_refs(bytes(refs), key, before).items()
                }
                refs = pack_refs(moved, key, before)
                ids.append(key)
            rows.append(
                {
                    **keys.list_at(to, number),
                    "id": id,
                    "parent": parent,
                    "run": run,
                    "refs": refs,
                    "body": body,
                    "new_values": held,
                }
            )
        if rows:
            txn.many(ADD, rows)
        txn.run(_COPY_WRITES, new)
        txn.run(MOVE_HEAD, {**keys.of_list(to), "head": one.head})
    return ids


def of_run(
    txn: Transaction, run: bytes, tenant: str, user: str, agent: str
) -> list[tuple[SessionName, str, bytes]]:
    """The checkpoints that a run has made in a scope: thread, namespace, id."""
    rows = txn.rows(
        _OF_RUN,
        {
            "run": run,
            "owner": (owner := owner_number(tenant, user)),
            "shard": shard_of(owner),
            "tenant": tenant,
            "user": user,
            "agent": agent,
        },
    )
    return [
        (
            SessionName(key=key, tenant=tenant, user=user, agent=agent),
            namespace_of(bytes(name))[0],
            bytes(id),
        )
        for tenant, user, agent, key, name, id in rows
        if id is not None
    ]


# -- for the store as a whole --------------------------------------------------------------------

# Each is followed by the condition for the threads of a scope, called t.
_OF_THREADS: Final = """FROM {checkpoint_threads} t
        JOIN {checkpoint_lists} s ON {s.in_shard_of t} s.thread = t.id"""
_COUNTED: Final = {
    "threads": "SELECT count(*), 0 FROM {checkpoint_threads} t WHERE t.live = 1 AND ",
    "checkpoints": f"""SELECT count(c.id), coalesce(sum(length(c.body) + length(c.refs)), 0)
            + coalesce(sum(length(c.new_values)), 0)
        {_OF_THREADS} JOIN {{checkpoints}} c ON {{c.of_list s}} WHERE """,
    "items": f"""SELECT coalesce(sum(i.items), 0), coalesce(sum(length(i.body)), 0)
        {_OF_THREADS} JOIN {{checkpoint_items}} i ON {{i.of_list s}} WHERE """,
    "writes": f"""SELECT count(*), coalesce(sum(length(w.body)), 0)
        {_OF_THREADS} JOIN {{checkpoint_writes}} w ON {{s.in_shard_of w}} w.list = s.id WHERE """,
}


class Count(NamedTuple):
    """How many there are, and how many bytes they hold."""

    rows: int
    bytes: int


def count_in_scope(
    txn: Transaction, *, tenant: AnyName, user: AnyName, agent: AnyName
) -> dict[str, Count]:
    """What a scope has of each table, for ``stats`` and for the receipt of an erasure."""
    where, values = in_scope(tenant, user, agent)
    counts = {}
    for what, statement in _COUNTED.items():
        row = txn.first(statement + where, values)
        assert row is not None, "an aggregate always answers"
        counts[what] = Count(int(row[0]), int(row[1]))
    return counts


def count_threads(txn: Transaction, *, tenant: AnyName, user: AnyName, agent: AnyName) -> int:
    """How many threads a scope has."""
    where, values = in_scope(tenant, user, agent)
    row = txn.first(_COUNTED["threads"] + where, values)
    assert row is not None, "an aggregate always answers"
    return int(row[0])


def in_scope(tenant: AnyName, user: AnyName, agent: AnyName) -> tuple[str, dict[str, object]]:
    """The condition for the threads of a scope, called t, and its values."""
    conditions, values = keys.of_scope(Scope(tenant, user, agent), "t.")
    return " AND ".join(["1 = 1", *conditions]), values


def every_row(txn: Transaction, namespace_log: NamespaceLog) -> list[tuple[Any, ...]]:
    """(number, id, parent, run, refs, body, new values) of a log, for ``verify``."""
    return txn.rows(_ALL_ROWS, keys.list_span(txn, namespace_log.key))


def every_item(txn: Transaction, key: ListKey) -> list[tuple[int, int, bytes]]:
    """(number of the last one, how many, frame) of each row of items, for ``verify``."""
    rows = txn.rows(_ALL_ITEMS, keys.list_span(txn, key))
    return [(last, count, bytes(body)) for last, count, body in rows]


def every_write(txn: Transaction, namespace_log: NamespaceLog) -> list[tuple[bytes, bytes]]:
    """(id, frame) of all that was written towards checkpoints of a log, for ``verify``."""
    rows = txn.rows(_WRITES_OF_LOG, keys.of_list(namespace_log.key))
    return [(bytes(id), bytes(body)) for id, body in rows]
