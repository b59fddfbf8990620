"""Values of channels: by the serializer of the user's choice into items, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from langgraph_onrecord.fingerprints import Prints
from onrecord.adapters.bounded import Bounded
from onrecord.checkpoint_log import Item, Listing, State

try:
    from langgraph.checkpoint.serde.types import _DeltaSnapshot
except ImportError:  # of LangGraph 1.0, which has no channels of deltas

    class _DeltaSnapshot:  # type: ignore[no-redef]
        """What nothing is."""


MOST_BYTES: Final = 64 * 2**20


class Known(NamedTuple):
    """A list as it is stored: its items' numbers, and how they looked."""

    epoch: int
    numbers: list[int]
    prints: Prints


Lists = dict[str, Known]
"""By channel."""


class Remembered(NamedTuple):
    """The part of a checkpoint that is of use when another continues it."""

    versions: Mapping[str, Any]
    """Of its channels: who gives another one has another value."""
    lists: Lists


class Memory:
    """How checkpoints looked that may be continued next, bounded by their bytes.

    What is not remembered costs time: the items of the parent are read and compared as bytes.
    """

    def __init__(self, most: int = MOST_BYTES) -> None:
        self._known: Bounded[tuple[bytes, str, str], Remembered] = Bounded(most)

    def of(self, thread: bytes, namespace: str, id: str) -> Remembered | None:
        """Find what is remembered of a checkpoint."""
        return self._known.get((thread, namespace, id))

    def learn(
        self,
        thread: bytes,
        namespace: str,
        id: str,
        found: Remembered,
        instead_of: str | None = None,
    ) -> None:
        """Remember a checkpoint, and not the one it continues."""
        size = 500 + 60 * len(found.versions)
        size += sum(known.prints.size + 40 * known.prints.count for known in found.lists.values())
        if instead_of is not None:
            self._known.drop((thread, namespace, instead_of))
        self._known.put((thread, namespace, id), found, size)


class Values:
    """Turns values into items by one serializer, and back."""

    def __init__(self, serde: SerializerProtocol) -> None:
        self._serde = serde
        # Its items are msgpack, and several in a row after a count are one list: decoding 800
        # messages at once takes a third less than one by one.
        self._joins = type(serde) is JsonPlusSerializer
        # What encrypts with a nonce makes another text of the same value each time.
        plain = serde.serde if isinstance(serde, EncryptedSerializer) else serde
        self._plain_typed = plain.dumps_typed

    def dump(self, value: Any) -> Item:
        """Turn a value into an item."""
        kind, content = self._serde.dumps_typed(value)
        return kind, bytes(content)

    def load(self, item: Item) -> Any:
        """Read the value of an item."""
        return self._serde.loads_typed(item)

    def load_list(self, items: Sequence[Item]) -> list[Any]:
        """Read the values of items, new objects all of them."""
        if self._joins and items and all(kind == "msgpack" for kind, _ in items):
            joined = b"".join([content for _, content in items])
            head = b"\xdd" + len(items).to_bytes(4, "big")
            values: list[Any] = self._serde.loads_typed(("msgpack", head + joined))
            return values
        return [self._serde.loads_typed(item) for item in items]

    def prints(self, values: Sequence[Any]) -> Prints:
        """Make fingerprints of the items of a list."""
        return Prints.of(values, self._plain)

    def listing(self, values: Sequence[Any], prints: Prints, known: Known | None) -> Listing:
        """Make a list to store, of which only what is new is serialized."""
        whole = partial(self._all, values)
        if known is None:
            return Listing(whole(), whole=whole)
        places = prints.found_in(known.prints)
        numbers = known.numbers
        return Listing(
            [
                self.dump(value) if place is None else numbers[place]
                for value, place in zip(values, places, strict=True)
            ],
            known.epoch,
            whole,
        )

    def channels(self, state: State, snapshots: Sequence[str]) -> tuple[dict[str, Any], Lists]:
        """Read the values of a checkpoint's channels, with fingerprints of its lists."""
        values: dict[str, Any] = {}
        lists: Lists = {}
        for channel, stored in state.values.items():
            if isinstance(stored, list):
                loaded = self.load_list(stored)
                lists[channel] = Known(state.epoch, state.numbers[channel], self.prints(loaded))
                values[channel] = _DeltaSnapshot(loaded) if channel in snapshots else loaded
            else:
                values[channel] = self.load(stored)
        return values, lists

    def _all(self, values: Sequence[Any]) -> list[Item]:
        return [self.dump(value) for value in values]

    def _plain(self, value: Any) -> bytes:
        kind, content = self._plain_typed(value)
        return kind.encode() + b"\0" + bytes(content)


def list_in(value: Any) -> tuple[list[Any] | None, bool]:
    """Find the list in a channel's value, if there is one, and whether it is a snapshot."""
    if type(value) is list:
        return list(value), False
    if isinstance(value, _DeltaSnapshot) and type(value.value) is list:
        return list(value.value), True
    return None, False


__all__ = ["Known", "Lists", "Memory", "Values", "_DeltaSnapshot", "list_in"]
