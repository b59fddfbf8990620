"""A checkpoint as it is handed in and out: bytes of the caller's serializer, and how they hang
together. No framework's name stands here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import msgspec

from onrecord.codec.items import Item, pack, unpack
from onrecord.errors import Damaged
from onrecord.stored.checkpoints import CheckpointRow, id_of


class Listing(NamedTuple):
    """The value of a list-valued channel, item by item."""

    items: Sequence[int | Item]
    """A number stands for an item that is there already, as ``State.numbers`` has told it."""
    epoch: int | None = None
    """``State.epoch`` of the numbers."""
    whole: Callable[[], Sequence[Item]] | None = None
    """Makes all items, should the numbers be of no use any more."""


class Same(NamedTuple):
    """A channel that nobody has written to since the parent."""

    otherwise: Callable[[], Item | Listing]
    """Makes its value, should the parent have none."""


Value: TypeAlias = Item | Listing | Same


class New(NamedTuple):
    """A checkpoint on its way in."""

    id: str
    parent: str | None
    body: Sequence[Item]
    """What there is to it besides its channels."""
    values: Mapping[str, Value]
    run: str | None = None
    """What ``of_runs`` finds it by."""
    under: Sequence[str] = ()
    """Checkpoints that it was made on behalf of, as a subgraph's are for those of its caller."""


class Written(NamedTuple):
    """One thing that a task has written towards the next checkpoint."""

    task: str
    path: str
    place: int
    """Its place in what the task has written. The first at a place from 0 up stays, the last
    below 0."""
    channel: str
    item: Item


class Entry(NamedTuple):
    """A checkpoint without the values of its channels."""

    namespace: str
    id: str
    parent: str | None
    body: list[Item]
    writes: list[Written]
    """In the order of path, task and place, in which a step applies them."""
    row: CheckpointRow

    @property
    def channels(self) -> set[str]:
        """Those that have a value."""
        return set(self.row.refs)


class State(NamedTuple):
    """A checkpoint with the values of its channels."""

    entry: Entry
    values: dict[str, Item | list[Item]]
    numbers: dict[str, list[int]]
    """Of each list, what to call its items by in a ``Listing``."""

    @property
    def epoch(self) -> int:
        """Moves when something of the thread is deleted."""
        return self.entry.row.namespace_log.epoch


class Put(NamedTuple):
    """What a checkpoint became."""

    epoch: int
    numbers: dict[str, list[int]]


_Heading = tuple[str, str, list[tuple[int, str]]]
_decode = msgspec.msgpack.Decoder(_Heading).decode


def pack_writes(task: str, path: str, writes: Iterable[tuple[int, str, Item]]) -> bytes:
    """One frame for what a task has written at once."""
    writes = list(writes)
    heading = (task, path, [(place, channel) for place, channel, _ in writes])
    return pack([("", msgspec.msgpack.encode(heading)), *[item for *_, item in writes]])


def unpack_writes(frames: Iterable[bytes]) -> list[Written]:
    """What tasks have written, sorted; the same place written twice counts once."""
    found: dict[tuple[str, int], Written] = {}
    for frame in frames:
        (_, heading), *items = unpack(frame)
        try:
            task, path, places = _decode(heading)
        except msgspec.MsgspecError as fault:
            raise Damaged(f"what a task has written cannot be decoded: {fault}") from fault
        for (place, channel), item in zip(places, items, strict=True):
            if place < 0 or (task, place) not in found:
                found[task, place] = Written(task, path, place, channel, item)
    return sorted(found.values(), key=_order)


def _order(written: Written) -> tuple[Any, ...]:
    return written.path, written.task, written.place


def numbered(last: int, count: int, frame: bytes) -> list[tuple[int, Item]]:
    """The items of a row with their numbers."""
    items = unpack(frame)
    if len(items) != count:
        raise Damaged(f"a row has {len(items)} items, and {count} were written")
    return list(zip(range(last - count + 1, last + 1), items, strict=True))


def entry_of(namespace: str, row: CheckpointRow, frames: Iterable[bytes]) -> Entry:
    """A checkpoint from its row."""
    return Entry(
        namespace,
        id_of(row.id),
        None if row.parent is None else id_of(row.parent),
        unpack(row.body),
        unpack_writes(frames),
        row,
    )
