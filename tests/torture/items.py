"""What a worker does with items: everybody has the same few, so that they get in each other's
way."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Sequence
from random import Random
from typing import Any, Final, Protocol, TypeVar

from onrecord import Conflict, Delete, Item, Merge, Put, Store, Unavailable
from tests.torture.item_log import ItemLog, Name, Part, UnderWay, name_of

T = TypeVar("T")

FACTS: Final = tuple(Name("facts", f"k{n}") for n in range(3))
"""Put, whatever is there or where what was seen is there; and deleted."""
COUNTS: Final = tuple(Name("counts", f"c{n}") for n in range(2))
"""Only ever read, and put one higher where it has not changed."""
PROFILES: Final = tuple(Name("profiles", f"p{n}") for n in range(2))
"""Only ever merged into, one field at a time."""
BATCH: Final = tuple(Name("batch", f"b{n}") for n in range(4))
"""Only ever put, several at once."""
PAIRS: Final = tuple(Name("pairs", f"b{n}") for n in range(4))
"""Only ever put, each with the one of that key in ``batch``."""
SAID: Final = "said"
"""A namespace in which a message has an item: its key is the text of the message."""
SHARED_ITEMS: Final = (*FACTS, *COUNTS, *PROFILES, *BATCH, *PAIRS)
NAMESPACES: Final = (*dict.fromkeys(name.namespace for name in SHARED_ITEMS), SAID)
_FIELDS: Final = 4


class Calls(Protocol):
    """What is used of a worker."""

    store: Store
    random: Random
    failed: int

    def new_id(self) -> str: ...
    def call(self, sync: Callable[[], T], twin: Callable[[], Coroutine[Any, Any, T]]) -> T: ...


class ItemUser:
    """Changes and reads items, and writes down what it was told."""

    def __init__(self, worker: Calls, log: ItemLog) -> None:
        self.hits = 0
        self.gets = 0
        self._worker = worker
        self._random = worker.random
        self._log = log
        self._seen: dict[Name, Item | None] = {}

    # -- changes -----------------------------------------------------------------------------

    def change(self) -> None:
        """Make one change, or several together."""
        self._random.choice(
            (
                self._put_fact,
                self._put_fact,
                self._delete_fact,
                self._count,
                self._count,
                self._merge,
                self._put_many,
                self._write,
            )
        )()

    def changes_of(self, text: str) -> list[Part]:
        """What is written with a message: an item of its own, and maybe one that all have."""
        parts = [Part(Name(SAID, text), "put", {"by": text})]
        if self._random.random() < 0.3:
            parts.append(Part(self._random.choice(FACTS), "put", {"by": text}))
        return parts

    def appending(self, parts: Sequence[Part], text: str) -> UnderWay:
        """Say what is about to be written with a message."""
        return self._log.changing(parts, said=text)

    def _put_fact(self) -> None:
        name, value = self._random.choice(FACTS), self._value()
        expected = None
        if name in self._seen and self._random.random() < 0.5:
            seen = self._seen[name]
            expected = 0 if seen is None else seen.version
        self._put(name, value, expected)

    def _count(self) -> None:
        """Count one on, as one does who reads, adds, and expects what was read."""
        name = self._random.choice(COUNTS)
        if name not in self._seen:
            self._seen[name] = None
        for _ in range(3):
            seen = self._seen[name]
            n = 1 if seen is None else int(seen.value["n"]) + 1
            expected = 0 if seen is None else seen.version
            if self._put(name, self._value() | {"n": n}, expected):
                return

    def _put(self, name: Name, value: dict[str, str | int], expected: int | None) -> bool:
        items = self._worker.store.items(name.namespace)
        item = self._change(
            [Part(name, "put", value, expected)],
            lambda: items.put(name.key, value, expected=expected),
            lambda: items.aput(name.key, value, expected=expected),
        )
        return item is not None

    def _delete_fact(self) -> None:
        name = self._random.choice(FACTS)
        seen, expected = self._seen.get(name), None
        if seen is not None and self._random.random() < 0.3:
            expected = seen.version
        items = self._worker.store.items(name.namespace)
        self._change(
            [Part(name, "delete", None, expected)],
            lambda: items.delete(name.key, expected=expected),
            lambda: items.adelete(name.key, expected=expected),
        )

    def _merge(self) -> None:
        name = self._random.choice(PROFILES)
        changes: dict[str, str | int] = {
            f"f{self._random.randrange(_FIELDS)}": self._worker.new_id()
        }
        items = self._worker.store.items(name.namespace)
        self._change(
            [Part(name, "merge", changes)],
            lambda: items.merge(name.key, changes),
            lambda: items.amerge(name.key, changes),
        )

    def _put_many(self) -> None:
        names = self._random.sample(BATCH, self._random.randint(2, len(BATCH)))
        value = self._value()
        items = self._worker.store.items(BATCH[0].namespace)
        values = {name.key: value for name in names}
        self._change(
            [Part(name, "put", value) for name in names],
            lambda: items.put_many(values),
            lambda: items.aput_many(values),
        )

    def _write(self) -> None:
        number = self._random.randrange(len(PAIRS))
        value = self._value()
        parts = [Part(pair[number], "put", value) for pair in (BATCH, PAIRS)]
        if self._random.random() < 0.3:
            parts.append(Part(self._random.choice(FACTS), "delete"))
        if self._random.random() < 0.3:
            field = f"f{self._random.randrange(_FIELDS)}"
            parts.append(Part(self._random.choice(PROFILES), "merge", {field: value["by"]}))
        self._random.shuffle(parts)
        changes = changes_of(parts)
        store = self._worker.store
        self._change(parts, lambda: store.write(changes), lambda: store.awrite(changes))

    def _value(self) -> dict[str, str | int]:
        return {"by": self._worker.new_id()}

    def _change(
        self,
        parts: Sequence[Part],
        sync: Callable[[], T],
        twin: Callable[[], Coroutine[Any, Any, T]],
    ) -> T | None:
        """What the change answered; None where it failed."""
        under_way = self._log.changing(parts)
        try:
            answer = self._worker.call(sync, twin)
        except Conflict as conflict:
            under_way.refused()
            (part,) = parts  # only what is changed alone expects anything
            self._see(under_way.began, {part.name: conflict.item})
            return None
        except Unavailable as fault:
            self._worker.failed += 1
            if fault.outcome_unknown:
                under_way.unknown()
            else:
                under_way.refused()
            return None
        answers: list[Any] = answer if isinstance(answer, list) else [answer]
        assert len(answers) == len(parts), f"{len(parts)} changes, and {len(answers)} answers"
        under_way.acknowledged(answers)
        self._seen.update((name_of(one), one) for one in answers if isinstance(one, Item))
        return answer

    # -- reads -------------------------------------------------------------------------------

    def read(self) -> None:
        """Read one item, or several of one moment."""
        how = self._random.random()
        try:
            if how < 0.1:
                self._read_together()
            else:
                self.get(self._random.choice(SHARED_ITEMS))
        except Unavailable:
            self._worker.failed += 1

    def get(self, name: Name) -> None:
        """Read one item."""
        items = self._worker.store.items(name.namespace)
        counters = self._worker.store._hot.counters
        began, hits = time.monotonic_ns(), counters.hits
        item = self._worker.call(lambda: items.get(name.key), lambda: items.aget(name.key))
        self._see(began, {name: item})
        self.gets += 1
        self.hits += counters.hits - hits

    def _read_together(self) -> None:
        items = self._worker.store.items(BATCH[0].namespace)
        wanted = [name.key for name in BATCH]
        began = time.monotonic_ns()
        found = self._worker.call(lambda: items.get_many(wanted), lambda: items.aget_many(wanted))
        self._see(began, {name: found.get(name.key) for name in BATCH}, together=True)

    def _see(self, began: int, found: dict[Name, Item | None], *, together: bool = False) -> None:
        self._log.got(began, found, together=together)
        self._seen.update(found)


def changes_of(parts: Sequence[Part]) -> list[Put | Merge | Delete]:
    """The same as ``store.write`` and ``append`` take it."""
    changes: list[Put | Merge | Delete] = []
    for part in parts:
        namespace, key = part.name.namespace, part.name.key
        match part.how:
            case "put":
                changes.append(Put(namespace, key, part.value))
            case "merge":
                changes.append(Merge(namespace, key, part.value or {}))
            case "delete":
                changes.append(Delete(namespace, key))
    return changes


def all_items(store: Store) -> dict[Name, Item]:
    """Every item there is, out of the database."""
    found: dict[Name, Item] = {}
    for namespace in NAMESPACES:
        after: Item | None = None
        while page := store.items(namespace).list(after=after, limit=1000):
            found.update((name_of(item), item) for item in page)
            after = page[-1]
    return found
