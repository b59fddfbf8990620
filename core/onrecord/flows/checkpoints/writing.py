"""How checkpoints are added and taken away: planned here, and written by ``adding.py``.

A checkpoint is added under the lock of its log, in one transaction: itself, the values that are
new in it, and the items by which its lists have grown. So it is there whole or not at all, and
the numbers of a log are the order of its commits. No clock takes part in what is newest.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from onrecord.codec import compression
from onrecord.codec.items import Item, pack
from onrecord.errors import Conflict, Damaged, Misconfigured, Unavailable, shown
from onrecord.flow import Cold, Flow, do
from onrecord.flows.checkpoints import accepting
from onrecord.flows.checkpoints.adding import Adding, Committed, Plan, refuse_late
from onrecord.flows.checkpoints.memory import Base
from onrecord.flows.checkpoints.reading import ATTEMPTS, Missing, forget_log
from onrecord.flows.checkpoints.values import Listing, New, Put, Same, Value, numbered, pack_writes
from onrecord.flows.shared import Desk
from onrecord.flows.turns.holding import fenced
from onrecord.ledger.checkpoints import checkpoints as rows_of
from onrecord.ledger.checkpoints import lists, threads
from onrecord.scope import SessionName
from onrecord.stored.checkpoints import (
    ListKey,
    Ref,
    check_text,
    id_key,
    id_of,
    is_listing,
    numbers_of,
    run_key,
    runs_of,
)
from onrecord.stored.clock import now

if TYPE_CHECKING:
    from onrecord.ledger.database.transaction import Transaction

log = logging.getLogger("onrecord")

RUN: Final = 64
"""How many items are merged into one row: read at once, and compressed together."""


def put(
    desk: Desk,
    name: SessionName,
    namespace: str,
    new: New,
    *,
    alone: bool,
    label: bytes | None = None,
    labelled: int | None = None,
    expires_in: int | None = None,
) -> Flow[Put]:
    """Add a checkpoint. With ``alone`` it is refused where another continues its parent, or,
    where it has none, where the log has begun already."""
    accepting.new_checkpoint(new)
    check_text(namespace, *new.values)
    key = id_key(new.id)
    parent = None if new.parent is None else id_key(new.parent)
    body = pack(new.body, squeezed=desk.compression == "zstd")
    again = False
    for _ in range(ATTEMPTS):
        base = yield from _base(desk, name, namespace, parent, new.values)
        try:
            plan = yield from _plan(desk, base, new.values)
        except Missing:
            forget_log(desk, name, namespace, parent)
            continue
        adding = Adding(
            desk.compression == "zstd",
            desk.threads.seen.get((name.identity, namespace)),
            name,
            namespace,
            key,
            parent,
            body,
            new,
            base,
            plan,
            alone,
            label,
            labelled,
            expires_in,
            again,
        )
        try:
            committed = yield from do(Cold(fenced(desk, adding.commit, name), writes=True))
        except Unavailable as lost:
            if not lost.outcome_unknown or again:
                raise
            # Its id says whether it is there: what is there already is not added again.
            log.warning("a checkpoint of %s lost its answer and is added again: %s", name, lost)
            again = True
            forget_log(desk, name, namespace, parent)
            continue
        if committed is None:  # something of the thread was taken away, and the plan with it
            forget_log(desk, name, namespace, parent)
            continue
        return (yield from _learn(desk, name, namespace, key, committed))
    raise Unavailable(
        f"Thread {name} is being pruned all the time: no checkpoint could be added. "
        f"Nothing was written. Try again."
    )


def _base(
    desk: Desk,
    name: SessionName,
    namespace: str,
    parent: bytes | None,
    values: Mapping[str, Value],
) -> Flow[Base | None]:
    """Where the parent's values stand, as far as that is of use."""
    if parent is None or all(type(value) is tuple for value in values.values()):
        return None
    base = desk.threads.bases.get((name.identity, namespace, parent))
    if base is None:
        found = yield from do(Cold(lambda txn: rows_of.one(txn, name, namespace, parent)))
        if found is None:
            return None
        row, _ = found
        base = Base(row.namespace_log, row.number, row.refs)
        desk.threads.bases.put((name.identity, namespace, parent), base)
    return base


def _plan(desk: Desk, base: Base | None, values: Mapping[str, Value]) -> Flow[Plan]:
    """Which values are referred to and which are written."""
    plan: Plan = {}
    for channel, given in values.items():
        ref = None if base is None else base.refs.get(channel)
        otherwise: object = given
        if isinstance(given, Same):
            if ref is not None:
                plan[channel] = ref
                continue
            otherwise = accepting.same(channel, given)
        value = accepting.value(channel, otherwise)
        if isinstance(value, Listing):
            plan[channel] = yield from _shared(desk, channel, value, base, ref)
        else:
            plan[channel] = value
    return plan


def _shared(
    desk: Desk, channel: str, value: Listing, base: Base | None, ref: Ref | None
) -> Flow[Listing]:
    """A list whose items are numbers where they are there already."""
    items = value.items
    if value.epoch is not None and (base is None or base.namespace_log.epoch != value.epoch):
        if value.whole is None:
            raise Conflict(
                f"The list in channel {channel!r} has numbers of epoch {value.epoch}, and "
                f"something of its thread was deleted since. Nothing was written: read the "
                f"state again, or give the Listing a whole= that makes all items."
            )
        items = accepting.items(channel, value.whole())
    if base is None or ref is None or not is_listing(ref):
        return Listing(items)
    numbers = numbers_of(ref[1:])
    if not any(type(item) is tuple for item in items[: len(numbers)]):
        return Listing(items)
    # Something before the end is not what it was: what of it was there under another place?
    known = desk.threads.items.of(ref[0], base.namespace_log.epoch)
    fresh: dict[int, Item] = {}
    runs = runs_of(sorted({n for n in numbers if n not in known}))
    if runs:
        ranges = [(ref[0], runs[i], runs[i + 1]) for i in range(0, len(runs), 2)]
        shard = base.namespace_log.shard
        fetched = yield from do(Cold(lambda txn: rows_of.fetch(txn, shard, (), ranges)))
        for _, last, count, frame in fetched.items:
            fresh.update(numbered(last, count, frame))
        desk.threads.items.add(ref[0], base.namespace_log.epoch, fresh.items())
    try:
        by_content = {known[n] if n in known else fresh[n]: n for n in reversed(numbers)}
    except KeyError as fault:
        raise Missing from fault
    return Listing([by_content.get(i, i) if isinstance(i, tuple) else i for i in items])


def _learn(
    desk: Desk, name: SessionName, namespace: str, key: bytes, committed: Committed
) -> Flow[Put]:
    seen = committed.seen
    epoch = seen.namespace_log.epoch
    desk.threads.seen.put((name.identity, namespace), seen)
    desk.threads.bases.put(
        (name.identity, namespace, key), Base(seen.namespace_log, committed.number, committed.refs)
    )
    for channel_list, fresh in committed.fresh:
        desk.threads.items.add(channel_list, epoch, fresh)
        first, last = fresh[0][0], fresh[-1][0]
        if last // RUN > (first - 1) // RUN:
            yield from _merged(
                desk, ListKey(seen.namespace_log.shard, channel_list), last // RUN * RUN
            )
    return Put(
        epoch,
        {ch: numbers_of(ref[1:]) for ch, ref in committed.refs.items() if is_listing(ref)},
    )


def _merged(desk: Desk, key: ListKey, upto: int) -> Flow[None]:
    """Make one row of the many that a list has grown by. Their numbers stay, so nobody who
    reads or refers to them notices, and it does not matter whether this is done."""

    def work(txn: Transaction) -> None:
        txn.begin()
        rows = rows_of.merge_items(txn, key, upto - RUN, upto)
        for few in _neighbours(rows):
            items = [item for row in few for _, item in numbered(*row)]
            frame = pack(items, squeezed=desk.compression == "zstd", level=compression.THOROUGH)
            rows_of.replace_items(
                txn, key, [last for last, *_ in few], few[-1][0], len(items), frame
            )

    try:
        yield from do(Cold(work, writes=True))
    except (Unavailable, Damaged) as fault:
        # The checkpoint is there; the rows are merged less well, or read as they are.
        log.warning("items could not be merged: %s", fault)


def put_writes(
    desk: Desk,
    name: SessionName,
    namespace: str,
    id: str,
    task: str,
    path: str,
    writes: Sequence[tuple[int, str, Item]],
) -> Flow[None]:
    """Add what a task has written towards the next of a checkpoint, which may be on its
    way still."""
    check_text(namespace, task, path)
    accepting.writes(writes)
    key = id_key(id)
    frame = pack_writes(task, path, writes)

    def work(txn: Transaction) -> None:
        if rows_of.write_beside(txn, name, namespace, key, frame):
            return
        thread = threads.lock_or_create(txn, name, now(), live=False)
        refuse_late(name, thread, [key])
        rows_of.write_to(txn, rows_of.lock_log(txn, thread, namespace), key, frame)

    held = fenced(desk, work, name)
    try:
        yield from do(Cold(held, writes=True))
    except Unavailable as lost:
        if not lost.outcome_unknown:
            raise
        yield from do(Cold(held, writes=True))  # written twice, it counts once


def delete_thread(desk: Desk, name: SessionName) -> Flow[bool]:
    """Delete a thread for good; whoever still writes to it is refused (I7)."""

    def work(txn: Transaction) -> bool:
        thread = threads.lock(txn, name, alone=True)
        if thread is None:
            return False
        threads.bury(txn, thread, now())
        return thread.live

    return (yield from do(Cold(fenced(desk, work, name, alone=True), writes=True)))


def drop_checkpoints(desk: Desk, name: SessionName, ids: Mapping[str, Sequence[str]]) -> Flow[None]:
    """Delete some checkpoints of a thread, by namespace, and what was kept for them alone."""
    wanted = accepting.ids(ids)
    if not wanted:
        return

    def work(txn: Transaction) -> None:
        thread = threads.lock(txn, name, alone=True)
        if thread is None or not thread.live:
            return
        threads.next_epoch(txn, thread, now())  # first: it locks every log of the thread
        all_of_it = lists.lists_of(txn, thread)
        for namespace_log in all_of_it:
            if namespace_log.is_log and namespace_log.namespace in wanted:
                lists.drop(txn, all_of_it, namespace_log, wanted[namespace_log.namespace])

    yield from do(Cold(fenced(desk, work, name, alone=True), writes=True))


def copy_thread(desk: Desk, source: SessionName, target: SessionName) -> Flow[None]:
    """Copy a thread with all its checkpoints to one that has none."""

    def work(txn: Transaction) -> None:
        at = now()
        # Always in the same order: two that copy crosswise would wait for each other.
        for name in sorted((source, target), key=lambda name: name.identity):
            threads.lock(txn, name, alone=True)
        origin = threads.find(txn, source)
        if origin is None or not origin.live:
            return
        thread = threads.lock_or_create(txn, target, at)
        if thread.live and any(s.head for s in lists.lists_of(txn, thread)):
            raise Conflict(
                f"Thread {target} has checkpoints already. Delete it first, or copy to another one."
            )
        if not thread.live:
            threads.revive(txn, target, thread, at)
        threads.forgive(txn, thread, lists.copy(txn, origin, thread))
        threads.touch(txn, thread, at, origin.expires_in)
        if origin.about is not None:
            threads.set_about(txn, thread, origin.about)

    yield from do(Cold(work, writes=True))


def checkpoints_of_runs(
    desk: Desk, runs: Sequence[str], tenant: str, user: str, agent: str
) -> Flow[list[tuple[SessionName, str, str]]]:
    """The checkpoints that some runs have made in a scope: thread, namespace, id."""
    if isinstance(runs, str) or not isinstance(runs, Sequence):
        raise Misconfigured(f"runs has to be a list of ids, not {shown(runs)}.")

    def work(txn: Transaction) -> list[tuple[SessionName, str, bytes]]:
        return [
            found for run in runs for found in lists.of_run(txn, run_key(run), tenant, user, agent)
        ]

    found = yield from do(Cold(work))
    return [(name, namespace, id_of(key)) for name, namespace, key in found]


def _neighbours(rows: Sequence[tuple[int, int, bytes]]) -> list[list[tuple[int, int, bytes]]]:
    """Rows of items that follow each other without a gap, two at least. A row counts its items
    back from its last: merged over what was pruned, all before the gap would be misnumbered."""
    groups: list[list[tuple[int, int, bytes]]] = []
    for row in rows:
        last, count, _ = row
        if groups and groups[-1][-1][0] == last - count:
            groups[-1].append(row)
        else:
            groups.append([row])
    return [group for group in groups if len(group) > 1]
