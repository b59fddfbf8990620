"""What an adapter brings to the log of checkpoints, refused before any I/O if it cannot be kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from onrecord.codec.items import Item
from onrecord.errors import Misconfigured, shown
from onrecord.flows.checkpoints.values import Entry, Listing, New, Same
from onrecord.stored.checkpoints import check_text, id_key, run_key

T = TypeVar("T")


def new_checkpoint(given: New) -> None:
    """A checkpoint that is to be put, but for its values: see ``value``."""
    if not isinstance(given, New):
        raise Misconfigured(f"A checkpoint to put is a New, not {shown(given)}.")
    if not isinstance(given.values, Mapping):
        raise Misconfigured(f"A checkpoint's values are a mapping, not {shown(given.values)}.")
    if given.run is not None:
        run_key(given.run)
    if given.under:
        for id in _several("under", given.under, str):
            id_key(id)
    _check_items("The body of a checkpoint", given.body)


def value(channel: str, given: object) -> Item | Listing:
    """What stands in a channel."""
    if isinstance(given, Listing):
        if given.epoch is not None and type(given.epoch) is not int:
            raise Misconfigured(
                f"The list in channel {channel!r} has an epoch that is {shown(given.epoch)}."
            )
        items(channel, given.items)
        return given
    if not _is_item(given):
        raise _no_item(f"The value of channel {channel!r}", given)
    item: Item = given  # type: ignore[assignment]
    return item


def items(channel: str, given: Sequence[int | Item]) -> Sequence[int | Item]:
    """What stands in a channel that is a list, item by item. Whether its numbers stand for what
    is there is seen where they are written."""
    what = f"The list in channel {channel!r}"
    _check_items(what, [item for item in _listed(what, given) if type(item) is not int])
    return given


def same(channel: str, given: Same) -> object:
    """What stands in a channel instead of what its parent does not have."""
    if not callable(given.otherwise):
        raise Misconfigured(
            f"The value of channel {channel!r} is Same({shown(given.otherwise)}), and that has to "
            f"be a function that makes it."
        )
    return given.otherwise()


def writes(given: Sequence[tuple[int, str, Item]]) -> None:
    """What a task has written."""
    what = "What a task has written"
    for written in _listed(what, given):
        if not isinstance(written, tuple) or len(written) != 3:
            raise Misconfigured(f"{what} is (place, channel, item), not {shown(written)}.")
        place, channel, item = written
        if type(place) is not int or not -(2**31) <= place < 2**31:
            raise Misconfigured(f"{what} has a place that is {shown(place)}.")
        check_text(channel)
        if not _is_item(item):
            raise _no_item(what, item)


def entries(given: object) -> Sequence[Entry]:
    """Checkpoints that are to be filled."""
    return _several("entries", given, Entry)


def ids(given: object) -> dict[str, set[bytes]]:
    """Checkpoints by namespace and id, as they are kept."""
    if not isinstance(given, Mapping):
        raise Misconfigured(f"ids has to be a mapping by namespace, not {shown(given)}.")
    check_text(*given)
    return {
        namespace: {id_key(id) for id in _several("ids", of, str)}
        for namespace, of in given.items()
        if of
    }


def _several(what: str, given: object, kind: type[T]) -> Sequence[T]:
    if (
        isinstance(given, str)
        or not isinstance(given, Sequence)
        or not all(isinstance(one, kind) for one in given)
    ):
        raise Misconfigured(f"{what} has to be a list of {kind.__name__}, not {shown(given)}.")
    return given


def _check_items(what: str, items: Sequence[object]) -> None:
    for item in _listed(what, items):
        if not _is_item(item):
            raise _no_item(what, item)


def _listed(what: str, given: Sequence[T]) -> Sequence[T]:
    if not isinstance(given, list | tuple):  # a range of 10^9 is a sequence as well
        raise Misconfigured(f"{what} has to be a list or a tuple, not {shown(given)}.")
    return given


def _is_item(given: object) -> bool:
    return (
        isinstance(given, tuple)
        and len(given) == 2
        and type(given[0]) is str
        and type(given[1]) is bytes
    )


def _no_item(what: str, given: object) -> Misconfigured:
    return Misconfigured(
        f"{what} cannot be kept: an item is (kind, bytes) as a serializer left it, and this is "
        f"{shown(given)}."
    )
