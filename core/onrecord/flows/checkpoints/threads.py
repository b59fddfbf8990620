"""How threads are described, listed, and deleted when their time has come."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from onrecord import codec
from onrecord.arguments import mapping
from onrecord.codec.about import unpacked
from onrecord.codec.items import unpack
from onrecord.codec.refs import unpack_refs
from onrecord.errors import Damaged, Misconfigured
from onrecord.flow import Cold, Flow, Pause, do
from onrecord.flows.about import changed, changes_of
from onrecord.flows.checkpoints.values import New, Put, unpack_writes
from onrecord.flows.checkpoints.writing import delete_thread, put
from onrecord.flows.listing import listed
from onrecord.flows.pace import Pace
from onrecord.flows.shared import UNSET, Desk
from onrecord.flows.turns.holding import fenced, within_turn
from onrecord.ledger.checkpoints import burying, lists, threads
from onrecord.ledger.checkpoints.threads import Described
from onrecord.scope import AnyName, SessionName
from onrecord.stored.checkpoints import (
    NamespaceLog,
    Thread,
    ThreadPlace,
    id_of,
    is_listing,
    numbers_of,
)
from onrecord.stored.clock import MICROSECONDS, now

if TYPE_CHECKING:
    from onrecord.ledger.database.transaction import Transaction

REMEMBERED: Final = 30 * 86_400 * MICROSECONDS
"""How long it is remembered that a thread was deleted. Whoever still writes to it later than
that begins it anew."""
AT_ONCE: Final = 25
"""Threads that are deleted in one transaction."""
_PAGE: Final = 200
_LONGEST_PAUSE: Final = 0.1


def put_checkpoint(
    desk: Desk,
    name: SessionName,
    namespace: str,
    new: New,
    alone: bool,
    metadata: Mapping[str, Any] | None,
    expires_in: int | None,
) -> Flow[Put]:
    """Add a checkpoint, and metadata to its thread where it is not known to have it."""
    given = mapping("metadata", metadata)
    label = codec.pack_value(given, "metadata") if given else None
    told, labelled = desk.threads.labels.use(name.identity) or (None, None)
    if told != label:
        labelled = None
    done = yield from put(
        desk,
        name,
        namespace,
        new,
        alone=alone,
        label=label,
        labelled=labelled,
        expires_in=expires_in,
    )
    if label is not None and labelled != done.epoch:
        desk.threads.labels.put(name.identity, (label, done.epoch))
    return done


def describe_thread(desk: Desk, name: SessionName) -> Flow[Described | None]:
    """What is known about a thread."""
    return (yield from do(Cold(lambda txn: threads.describe(txn, name))))


def update_thread(
    desk: Desk,
    name: SessionName,
    title: str | None,
    metadata: Mapping[str, Any] | None,
    expires_in: int | None,
    merge: Mapping[str, Any] = UNSET,
) -> Flow[None]:
    """Replace what is given; what is merged is put over the metadata."""
    changes = changes_of(title, metadata, merge)

    def work(txn: Transaction) -> None:
        thread = threads.lock(txn, name)
        if thread is None or not thread.live:
            raise Misconfigured(
                f"There is no thread {name} to update. Nothing was written: give a thread its "
                f"title or metadata once it has a checkpoint."
            )
        if changes:
            about = changed(unpacked(thread.about), changes)
            threads.set_about(txn, thread, codec.pack_value(about, "thread"))
        if expires_in is not UNSET:
            threads.set_expiry(txn, thread, expires_in)

    yield from do(Cold(fenced(desk, work, name), writes=True))
    desk.threads.labels.drop(name.identity)


def list_threads(
    desk: Desk,
    tenant: AnyName,
    user: AnyName,
    agent: AnyName,
    metadata: Mapping[str, Any] | None,
    limit: int,
    after: ThreadPlace | None,
) -> Flow[list[Described]]:
    """Threads in a scope whose metadata has all that is asked for."""

    def read(txn: Transaction, limit: int, after: ThreadPlace | None) -> list[Described]:
        return threads.listed(
            txn,
            tenant=tenant,
            user=user,
            agent=agent,
            limit=limit,
            after=after,
            metadata=metadata,
        )

    return (yield from listed(read, _place, metadata, limit, after))


def prune_expired(
    desk: Desk, tenant: AnyName, user: AnyName, agent: AnyName, pace: Pace | None = None
) -> Flow[list[str]]:
    """Delete the threads of a scope that have been quiet for longer than they were to be
    kept, and forget those that were deleted long ago; while there is time."""
    deleted: list[str] = []
    pace = pace or Pace()
    at = now()
    while True:
        page = yield from do(
            Cold(
                lambda txn: threads.listed(
                    txn, tenant=tenant, user=user, agent=agent, limit=_PAGE, expired_at=at
                )
            )
        )
        for n in range(0, len(page), AT_ONCE):
            if not (yield from pace.goes_on()):
                return deleted
            gone, left = yield from _buried(desk, page[n : n + AT_ONCE], partial(_is_due, at=at))
            deleted += [one.key for one in gone]
            for one in left:
                if not (yield from pace.goes_on()):
                    return deleted
                if (yield from _expired(desk, burying.name_of(one), at)):
                    deleted.append(one.key)
        if len(page) < _PAGE:
            break
    yield from do(Cold(lambda txn: _forget(txn, at - REMEMBERED), writes=True))
    return deleted


def _is_due(thread: Thread, at: int) -> bool:
    """Whether its time has come: somebody may have been there just now."""
    return thread.expires_in is not None and thread.last_active + thread.expires_in <= at


def _expired(desk: Desk, name: SessionName, at: int) -> Flow[bool]:
    def work(txn: Transaction) -> bool:
        thread = threads.lock(txn, name, alone=True)
        if thread is None or not thread.live or not _is_due(thread, at):
            return False
        threads.bury(txn, thread, at)
        return True

    return (yield from do(Cold(work, writes=True)))


def _buried(
    desk: Desk, found: Sequence[Described], due: Callable[[Thread], bool]
) -> Flow[tuple[list[Described], list[Described]]]:
    """Delete as many of some threads as can go together: which have gone, and which are to be
    deleted alone."""
    alone = [one for one in found if within_turn(desk, burying.name_of(one))]
    some = [one for one in found if one not in alone]
    if len(some) < 2:
        return [], list(found)
    began = time.monotonic()
    work = partial(burying.bury_many, found=some, now=now(), due=due)
    buried = yield from do(Cold(work, writes=True))
    if buried.held_up:  # whoever else waits to write looks only from time to time
        yield from do(Pause(min(time.monotonic() - began, _LONGEST_PAUSE)))
    return buried.gone, [*alone, *buried.left]


def erase_threads(desk: Desk, tenant: AnyName, user: AnyName, agent: AnyName) -> Flow[int]:
    """Delete every thread of a scope, and say how many."""
    erased = 0
    while True:
        page = yield from do(
            Cold(
                lambda txn: threads.listed(txn, tenant=tenant, user=user, agent=agent, limit=_PAGE)
            )
        )
        for n in range(0, len(page), AT_ONCE):
            gone, left = yield from _buried(desk, page[n : n + AT_ONCE], lambda thread: True)
            erased += len(gone)
            for one in left:
                erased += yield from delete_thread(desk, burying.name_of(one))
        if len(page) < _PAGE:
            return erased


def verify_thread(desk: Desk, name: SessionName) -> Flow[list[str]]:
    """What is wrong with a thread, in words; nothing where all of it can be read."""

    def work(txn: Transaction) -> list[str]:
        thread = threads.lock(txn, name, alone=True)  # or it changes while it is looked through
        return [] if thread is None or not thread.live else _problems(txn, thread)

    return (yield from do(Cold(work, writes=True)))


def _place(thread: Described) -> ThreadPlace:
    return ThreadPlace(thread.last_active, thread.shard, thread.number)


def _problems(txn: Transaction, thread: Thread) -> list[str]:
    problems: list[str] = []
    of_thread = lists.lists_of(txn, thread, alone=True)
    there: set[tuple[int, int]] = set()
    for one in of_thread:
        if one.is_log:
            continue
        for last, count, frame in lists.every_item(txn, one.key):
            try:
                if (there_are := len(unpack(frame))) != count:
                    problems.append(
                        f"items up to {last} in {one.namespace!r}: the row says {count}, and "
                        f"{there_are} are there"
                    )
                    count = there_are
            except Damaged as fault:
                problems.append(f"items up to {last} in {one.namespace!r}: {fault}")
                count = min(max(count, 0), last)  # what it says cannot be compared
            there.update((one.key.list, number) for number in range(last - count + 1, last + 1))
    for one in of_thread:
        if not one.is_log:
            continue
        namespace_log = NamespaceLog(
            thread.number, one.key.list, thread.epoch, one.head, thread.shard
        )
        rows = lists.every_row(txn, namespace_log)
        held: dict[int, int] = {}
        for number, _, _, _, _, _, frame in rows:
            try:
                held[number] = 0 if frame is None else len(unpack(bytes(frame)))
            except Damaged as fault:
                problems.append(f"values of checkpoint {number} in {one.namespace!r}: {fault}")
        for _, id, parent, _, refs, body, _ in rows:
            if id is None:
                continue
            what = f"checkpoint {id_of(bytes(id))} in {one.namespace!r}"
            try:
                unpack(bytes(body))
                found = unpack_refs(bytes(refs), bytes(id), parent and bytes(parent))
            except Damaged as fault:
                problems.append(f"{what}: {fault}")
                continue
            for channel, ref in found.items():
                if is_listing(ref):
                    whole = all((ref[0], n) in there for n in numbers_of(ref[1:]))
                else:
                    whole = ref[1] < held.get(ref[0], 0)
                if not whole:
                    problems.append(f"{what}: {channel!r} refers to what is not there")
        for id, frame in lists.every_write(txn, namespace_log):
            try:
                unpack_writes([frame])
            except Damaged as fault:
                problems.append(f"what was written after {id_of(id)}: {fault}")
    return problems


def _forget(txn: Transaction, before: int) -> None:
    txn.begin()
    threads.forget_deleted(txn, before)
