"""How many threads are deleted in one transaction, by a statement a table; one alone:
``threads.bury``.

Whoever goes over many waits for no thread while it holds some. One that somebody has locked, one
whose numbers are damaged, and those that are too much together, are left to be deleted alone. Who
writes beside a thread holds its log for a statement, and waits for nobody meanwhile: so that is
waited for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from onrecord.ledger.checkpoints import threads
from onrecord.ledger.checkpoints.threads import MOST_MARKS, Described
from onrecord.ledger.database import keys
from onrecord.ledger.database.transaction import Transaction
from onrecord.scope import SessionName
from onrecord.stored.checkpoints import ListKey, Thread, mark_of
from onrecord.stored.clock import LATEST

MOST_ROWS: Final = 10_000
"""Checkpoints and items that go in one transaction, if it is not those of one thread: a statement
has the store's timeout, and on SQLite nobody else writes meanwhile."""

_HEADS: Final = """
    SELECT coalesce(sum(head), 0) FROM {checkpoint_lists} WHERE {my_shard} thread = :thread"""
# On PostgreSQL: elsewhere one is as quick as many.
_LOCK_MANY: Final = f"""
    SELECT {threads.FOUND}, identity FROM {{checkpoint_threads}} WHERE {{many_threads}}
    ORDER BY id, shard FOR UPDATE SKIP LOCKED"""
_LISTS_OF_MANY: Final = """
    SELECT shard, id, thread, head FROM {checkpoint_lists} WHERE {of_many_threads}
    ORDER BY id, shard FOR UPDATE"""
_NEWEST_OF_MANY: Final = """
    SELECT l.shard, l.list, c.id
    FROM unnest(CAST(:shards AS SMALLINT[]), CAST(:lists AS BIGINT[])) AS l (shard, list)
    CROSS JOIN LATERAL (
        SELECT id, number FROM {checkpoints} r
        WHERE r.shard = l.shard AND r.list = l.list AND id IS NOT NULL
        ORDER BY number DESC LIMIT :limit
    ) c
    ORDER BY l.list, l.shard, c.number DESC"""
_DELETE_OF_MANY: Final = (
    "DELETE FROM {checkpoints} WHERE {of_many_lists}",
    "DELETE FROM {checkpoint_items} WHERE {of_many_lists}",
    "DELETE FROM {checkpoint_writes} WHERE {of_many_lists}",
    "DELETE FROM {checkpoint_lists} WHERE {many_lists}",
)
_BURY_MANY: Final = f"""
    UPDATE {{checkpoint_threads}} t SET {threads.BURIED}, deleted_ids = gone.marks
    FROM unnest(
        CAST(:shards AS SMALLINT[]), CAST(:threads AS BIGINT[]), CAST(:marks AS BYTEA[])
    ) AS gone (of_shard, thread, marks)
    WHERE t.shard = gone.of_shard AND t.id = gone.thread"""


class Buried(NamedTuple):
    """What became of threads that were to be deleted."""

    gone: list[Described]
    left: list[Described]
    """Those that are to be deleted alone."""
    held_up: bool
    """Whether nobody at all could write meanwhile."""


def bury_many(
    txn: Transaction, found: Sequence[Described], now: int, due: Callable[[Thread], bool]
) -> Buried:
    """Delete everything of threads that still are due, but that there were some (I7)."""
    if not txn.can.across_shards:
        return Buried([], list(found), False)
    txn.begin()
    if not txn.can.array_parameters:
        return _one_after_the_other(txn, found, now, due)
    left = {(one.shard, one.number): one for one in found}
    doomed: dict[tuple[int, int], Thread] = {}
    for *columns, identity in txn.rows(_LOCK_MANY, keys.of_many_threads(left)):
        thread = threads.of_row(columns)
        key = thread.shard, thread.number
        if bytes(identity) != name_of(left[key]).identity or _damaged(left[key], thread):
            continue
        if thread.live and due(thread):
            doomed[key] = thread
        else:
            del left[key]
    if not doomed:
        return Buried([], list(left.values()), False)
    lists: dict[tuple[int, int], list[ListKey]] = {key: [] for key in doomed}
    weights = dict.fromkeys(doomed, 0)
    for shard, number, of, head in txn.rows(_LISTS_OF_MANY, keys.of_many_threads(doomed)):
        lists[shard, of].append(ListKey(shard, number))
        weights[shard, of] += max(head, 0)
    room = MOST_ROWS
    for key, weight in weights.items():
        if weight > room:
            del doomed[key]
        else:
            room -= weight
    gone = [left.pop(key) for key in doomed]
    if doomed:
        _bury(txn, doomed, lists, now)
    return Buried(gone, list(left.values()), False)


def name_of(found: Described) -> SessionName:
    """What names a thread."""
    return SessionName(key=found.key, tenant=found.tenant, user=found.user, agent=found.agent)


def _one_after_the_other(
    txn: Transaction, found: Sequence[Described], now: int, due: Callable[[Thread], bool]
) -> Buried:
    gone: list[Described] = []
    left: list[Described] = []
    room = MOST_ROWS
    for one in found:
        thread = threads.lock(txn, name_of(one), alone=True)
        if thread is None or not thread.live:
            continue
        if _damaged(one, thread):
            left.append(one)
        elif due(thread):
            weight = _heads(txn, thread)
            if weight > room:
                left.append(one)
                continue
            room -= weight
            threads.bury(txn, thread, now)
            gone.append(one)
    return Buried(gone, left, txn.can.one_moment_transactions)


def _heads(txn: Transaction, thread: Thread) -> int:
    row = txn.first(_HEADS, {"shard": thread.shard, "thread": thread.number})
    return 0 if row is None else max(int(row[0]), 0)


def _damaged(found: Described, thread: Thread) -> bool:
    return found.damage is not None or not 0 <= thread.epoch <= LATEST


def _bury(
    txn: Transaction,
    doomed: Mapping[tuple[int, int], Thread],
    lists: Mapping[tuple[int, int], Sequence[ListKey]],
    now: int,
) -> None:
    all_lists = keys.of_many_lists([one for key in doomed for one in lists[key]])
    marks: dict[ListKey, list[bytes]] = {}
    for shard, number, id in txn.rows(_NEWEST_OF_MANY, {**all_lists, "limit": MOST_MARKS}):
        marks.setdefault(ListKey(shard, number), []).append(mark_of(bytes(id)))
    for statement in _DELETE_OF_MANY:
        txn.run(statement, all_lists)
    deleted = [
        threads.with_deleted(thread, [mark for one in lists[key] for mark in marks.get(one, ())])
        for key, thread in doomed.items()
    ]
    values = {**keys.of_many_threads(doomed), **threads.moment(now), "marks": deleted}
    txn.run(_BURY_MANY, values)
