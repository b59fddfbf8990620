"""How checkpoints are read, and what a process remembers of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from onrecord.arguments import whole_number
from onrecord.codec.items import Item, unpack
from onrecord.errors import Damaged
from onrecord.flow import Cold, Flow, do
from onrecord.flows.checkpoints import accepting
from onrecord.flows.checkpoints.memory import Base, LastSeen
from onrecord.flows.checkpoints.values import Entry, State, entry_of, numbered
from onrecord.flows.shared import Desk
from onrecord.ledger.checkpoints import checkpoints as rows_of
from onrecord.ledger.checkpoints import lists, threads
from onrecord.scope import SessionName
from onrecord.stored.checkpoints import (
    CheckpointRow,
    id_key,
    id_of,
    is_listing,
    numbers_of,
    runs_of,
)

if TYPE_CHECKING:
    from onrecord.ledger.database.transaction import Transaction

PAGE: Final = 50
"""How many checkpoints are read at a time."""
ATTEMPTS: Final = 20


class Missing(Exception):
    """What a reference leads to was taken away between two steps."""


def read_state(desk: Desk, name: SessionName, namespace: str, id: str | None) -> Flow[State | None]:
    """A checkpoint with all its values; the newest of its log where none is named."""
    last: Missing | None = None
    for _ in range(ATTEMPTS):
        entry = yield from read_entry(desk, name, namespace, id)
        if entry is None:
            return None
        if id is None:
            _learn_newest(desk, name, namespace, entry.row)
        try:
            (state,) = yield from fill(desk, name, [entry])
        except Missing as missing:
            last = missing  # something was taken away between the two steps: look again
            continue
        return state
    raise Damaged(
        f"Checkpoint {id or '(the newest)'} of thread {name} refers to values that are not "
        f"there: {last}. Restore a backup, or continue from an earlier checkpoint."
    )


def read_entry(desk: Desk, name: SessionName, namespace: str, id: str | None) -> Flow[Entry | None]:
    """A checkpoint without its values."""
    key = None if id is None else id_key(id)
    try:
        found = yield from do(Cold(lambda txn: rows_of.one(txn, name, namespace, key)))
    except Damaged as fault:
        which = f"The newest checkpoint in {namespace!r}" if id is None else f"Checkpoint {id}"
        raise _unreadable(f"{which} of thread {name}", None, fault) from fault
    if found is None:
        return None
    row, frames = found
    desk.threads.bases.put(
        (name.identity, namespace, row.id), Base(row.namespace_log, row.number, row.refs)
    )
    return _explained(name, namespace, row, frames)


def page_of_checkpoints(
    desk: Desk, name: SessionName, namespace: str, before: int | None, limit: int
) -> Flow[list[Entry]]:
    """Checkpoints of a log just before a number, newest first, without their values."""
    limit = whole_number("limit", limit)
    before = None if before is None else whole_number("before", before)

    def work(txn: Transaction) -> list[tuple[CheckpointRow, list[bytes]]]:
        namespace_log = rows_of.find_log(txn, name, namespace)
        if namespace_log is None:
            return []
        rows = rows_of.page(
            txn, namespace_log, namespace_log.head + 1 if before is None else before, limit
        )
        return [(row, rows_of.writes_to(txn, namespace_log, row.id)) for row in rows]

    try:
        found = yield from do(Cold(work))
    except Damaged as fault:
        what = f"A checkpoint in {namespace!r} of thread {name}"
        raise _unreadable(what, None, fault) from fault
    return [_explained(name, namespace, row, frames) for row, frames in found]


def namespaces(desk: Desk, name: SessionName) -> Flow[list[str]]:
    """The namespaces of a thread that have checkpoints, or had."""

    def work(txn: Transaction) -> list[str]:
        thread = threads.find(txn, name)
        if thread is None or not thread.live:
            return []
        return sorted(s.namespace for s in lists.lists_of(txn, thread) if s.is_log)

    return (yield from do(Cold(work)))


def fill_states(desk: Desk, name: SessionName, entries: Sequence[Entry]) -> Flow[list[State]]:
    """Checkpoints with their values; those that were deleted meanwhile are left out."""
    entries = accepting.entries(entries)
    try:
        return (yield from fill(desk, name, entries))
    except Missing:
        pass
    states = []
    for entry in entries:
        state = yield from read_state(desk, name, entry.namespace, entry.id)
        if state is not None:
            states.append(state)
    return states


def fill(desk: Desk, name: SessionName, entries: Sequence[Entry]) -> Flow[list[State]]:
    try:
        return (yield from _fetched(desk, entries))
    except Damaged as fault:
        ids = ", ".join(entry.id for entry in entries)
        what = f"Values of checkpoint {ids} of thread {name}"
        raise _unreadable(what, entries[-1].row.parent, fault) from fault


def _fetched(desk: Desk, entries: Sequence[Entry]) -> Flow[list[State]]:
    apart: set[tuple[int, int, int]] = set()  # (log, epoch, number)
    missing: dict[tuple[int, int], set[int]] = {}  # (channel list, epoch): numbers
    for entry in entries:
        namespace_log = entry.row.namespace_log
        for ref in entry.row.refs.values():
            if is_listing(ref):
                known = desk.threads.items.of(ref[0], namespace_log.epoch)
                wanted = missing.setdefault((ref[0], namespace_log.epoch), set())
                wanted.update(n for n in numbers_of(ref[1:]) if n not in known)
            elif ref[0] << 20 not in desk.threads.values.of(
                namespace_log.number, namespace_log.epoch
            ):
                apart.add((namespace_log.number, namespace_log.epoch, ref[0]))
    fresh: dict[tuple[int, int], dict[int, Item]] = {}
    ranges = []
    for (channel_list, _), numbers in missing.items():
        runs = runs_of(sorted(numbers))
        ranges += [(channel_list, runs[i], runs[i + 1]) for i in range(0, len(runs), 2)]
    if apart or ranges:
        shard = entries[0].row.namespace_log.shard
        values = sorted({(namespace_log, number) for namespace_log, _, number in apart})
        fetched = yield from do(Cold(lambda txn: rows_of.fetch(txn, shard, values, ranges)))
        epochs = dict(missing.keys())
        for channel_list, last, count, frame in fetched.items:
            items = numbered(last, count, frame)
            desk.threads.items.add(channel_list, epochs[channel_list], items)
            fresh.setdefault((channel_list, epochs[channel_list]), {}).update(items)
        for log_number, epoch, number in apart:
            frame_of = fetched.values.get((log_number, number))
            if frame_of is None:
                raise Missing(f"values of checkpoint number {number}")
            packed = list(enumerate(unpack(frame_of), number << 20))
            desk.threads.values.add(log_number, epoch, packed)
            fresh.setdefault((-log_number, epoch), {}).update(packed)
    return [_state_of(desk, entry, fresh) for entry in entries]


def _state_of(desk: Desk, entry: Entry, fresh: Mapping[tuple[int, int], dict[int, Item]]) -> State:
    namespace_log = entry.row.namespace_log
    values: dict[str, Item | list[Item]] = {}
    numbers: dict[str, list[int]] = {}
    # What was read a moment ago is there even where the memory is too small to keep it.
    read_now = fresh.get((-namespace_log.number, namespace_log.epoch), {})
    kept = desk.threads.values.of(namespace_log.number, namespace_log.epoch)
    for channel, ref in entry.row.refs.items():
        try:
            if is_listing(ref):
                new = fresh.get((ref[0], namespace_log.epoch), {})
                known = desk.threads.items.of(ref[0], namespace_log.epoch)
                numbers[channel] = numbers_of(ref[1:])
                values[channel] = [known[n] if n in known else new[n] for n in numbers[channel]]
            else:
                at = ref[0] << 20 | ref[1]
                values[channel] = kept[at] if at in kept else read_now[at]
        except KeyError as fault:
            raise Missing(f"an item of {channel!r}") from fault
    return State(entry, values, numbers)


def last_seen(desk: Desk, name: SessionName, namespace: str) -> LastSeen | None:
    return desk.threads.seen.use((name.identity, namespace))


def _learn_newest(desk: Desk, name: SessionName, namespace: str, row: CheckpointRow) -> None:
    known = desk.threads.seen.use((name.identity, namespace))
    if known is None or known.namespace_log != row.namespace_log or known.id != row.id:
        lists: dict[str, tuple[int, int]] = {}
        if known is not None and known.namespace_log == row.namespace_log:
            lists = known.lists
        # A head without a row was deleted: its number is not the newest checkpoint's.
        if row.number == row.namespace_log.head:
            desk.threads.seen.put(
                (name.identity, namespace), LastSeen(row.namespace_log, row.id, lists, 0)
            )


def forget_log(desk: Desk, name: SessionName, namespace: str, parent: bytes | None) -> None:
    desk.threads.seen.drop((name.identity, namespace))
    if parent is not None:
        desk.threads.bases.drop((name.identity, namespace, parent))


def _explained(
    name: SessionName, namespace: str, row: CheckpointRow, frames: Sequence[bytes]
) -> Entry:
    try:
        return entry_of(namespace, row, frames)
    except Damaged as fault:
        what = f"Checkpoint {id_of(row.id)} of thread {name}"
        raise _unreadable(what, row.parent, fault) from fault


def _unreadable(what: str, parent: bytes | None, fault: object) -> Damaged:
    earlier = "" if parent is None else f": it continued {id_of(parent)}"
    return Damaged(
        f"{what} cannot be read: {fault}. Restore a backup, or continue from an earlier "
        f"checkpoint{earlier}."
    )
