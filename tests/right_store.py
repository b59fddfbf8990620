"""A `BaseStore` that is right by every case of the kit: the kit can be passed, and it bites.

Small and slow: one list of items in memory, a scan for everything.
"""

from __future__ import annotations

import asyncio
import copy
import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from langgraph.store.base import (
    BaseStore,
    GetOp,
    Item,
    ListNamespacesOp,
    MatchCondition,
    Op,
    PutOp,
    Result,
    SearchItem,
    SearchOp,
)

KEEPS = (str, int, float, bool, type(None), dict, list, tuple, datetime, bytes)


class Kept(NamedTuple):
    """An item, and when it is gone."""

    item: Item
    lives: timedelta | None
    expires: datetime | None


class RightStore(BaseStore):
    """See the module. What a test makes wrong is a method of its own."""

    supports_ttl = True

    def __init__(self) -> None:
        self.kept: dict[tuple[tuple[str, ...], str], Kept] = {}
        """The one that was put last is last."""
        self.lock = threading.Lock()
        self.last = datetime.min.replace(tzinfo=UTC)

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        ops = list(ops)
        for op in ops:
            self.check(op)
        with self.lock:
            self.sweep()
            results = [self.read(op) for op in ops]
            for op in ops:
                if isinstance(op, PutOp):
                    self.write(op)
            return results

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        return await asyncio.to_thread(self.batch, list(ops))

    def now(self) -> datetime:
        """Later than it was."""
        self.last = max(datetime.now(UTC), self.last + timedelta(microseconds=1))
        return self.last

    def check(self, op: Op) -> None:
        if isinstance(op, (GetOp, PutOp)):
            self.check_namespace(op.namespace)
        if isinstance(op, PutOp) and op.namespace[:1] in ((), ("langgraph",)):
            raise ValueError(f"{op.namespace} is no namespace for items")
        if isinstance(op, PutOp) and op.value is not None:
            self.check_value(op.value)
        if isinstance(op, SearchOp):
            self.check_filter(op.filter or {})

    def check_namespace(self, namespace: tuple[object, ...]) -> None:
        for label in namespace:
            if not isinstance(label, str) or not label or "." in label:
                raise ValueError(f"{label!r} is no label")

    def check_value(self, value: Any) -> None:
        if not isinstance(value, KEEPS):
            raise TypeError(f"{type(value).__name__} cannot be stored")
        inside: list[Any] = []
        if isinstance(value, dict):
            inside = [*value, *value.values()]
        elif isinstance(value, (list, tuple)):
            inside = list(value)
        for one in inside:
            self.check_value(one)

    def check_filter(self, filter: dict[str, Any]) -> None:
        for key, wanted in filter.items():
            if key.startswith("$"):
                raise ValueError(f"{key} is no key to filter by")
            if isinstance(wanted, dict):
                for operator in wanted:
                    if operator.startswith("$") and operator not in OPERATORS:
                        raise ValueError(f"{operator} is no operator")

    def sweep(self) -> None:
        now = datetime.now(UTC)
        for where, kept in list(self.kept.items()):
            if kept.expires is not None and kept.expires <= now:
                del self.kept[where]

    def read(self, op: Op) -> Result:
        if isinstance(op, GetOp):
            kept = self.kept.get((op.namespace, op.key))
            if kept is None:
                return None
            self.touch(kept, op.refresh_ttl)
            return self.handed_out(kept.item)
        if isinstance(op, SearchOp):
            found = [
                kept
                for kept in self.ordered()
                if self.begins(kept.item.namespace, op.namespace_prefix)
                and matches(kept.item.value, op.filter or {})
            ][op.offset : op.offset + op.limit]
            for kept in found:
                self.touch(kept, op.refresh_ttl)
            items = [self.handed_out(kept.item) for kept in found]
            return [
                SearchItem(i.namespace, i.key, i.value, i.created_at, i.updated_at) for i in items
            ]
        if isinstance(op, ListNamespacesOp):
            conditions = op.match_conditions or ()
            spaces = {space for space, _ in self.kept if all(holds(c, space) for c in conditions)}
            cut = sorted({space[: op.max_depth] for space in spaces})
            return cut[op.offset : op.offset + op.limit]
        return None

    def ordered(self) -> list[Kept]:
        return list(reversed(self.kept.values()))

    def begins(self, namespace: tuple[str, ...], prefix: tuple[str, ...]) -> bool:
        return namespace[: len(prefix)] == prefix

    def touch(self, kept: Kept, refresh: bool) -> None:
        if refresh and kept.lives is not None:
            item = kept.item
            self.kept[item.namespace, item.key] = kept._replace(
                expires=datetime.now(UTC) + kept.lives
            )

    def handed_out(self, item: Item) -> Item:
        return copy.deepcopy(item)

    def write(self, op: PutOp) -> None:
        where = (op.namespace, op.key)
        before = self.kept.pop(where, None)
        if op.value is None:
            return
        now = self.now()
        lives = None if op.ttl is None else timedelta(minutes=op.ttl)
        self.kept[where] = Kept(
            Item(
                value=copy.deepcopy(dict(op.value)),
                key=op.key,
                namespace=op.namespace,
                created_at=before.item.created_at if before else now,
                updated_at=now,
            ),
            lives,
            None if lives is None else now + lives,
        )


def kind_of(value: Any) -> str:
    """The type as JSON has it: true is no number, 1.0 is one."""
    if isinstance(value, bool):
        return "bool"
    return "number" if isinstance(value, (int, float)) else type(value).__name__


def equal(a: Any, b: Any) -> bool:
    """As JSON."""
    if kind_of(a) != kind_of(b):
        return False
    if isinstance(a, list):
        return len(a) == len(b) and all(map(equal, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    return bool(a == b)


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def both(a: Any, b: Any) -> bool:
        return kind_of(a) == kind_of(b) in ("number", "str") and compare(a, b)

    return both


OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "$eq": equal,
    "$ne": lambda a, b: not equal(a, b),
    "$gt": _ordered(lambda a, b: a > b),
    "$gte": _ordered(lambda a, b: a >= b),
    "$lt": _ordered(lambda a, b: a < b),
    "$lte": _ordered(lambda a, b: a <= b),
    "$in": lambda a, several: any(equal(a, b) for b in several),
}


def matches(value: dict[str, Any], filter: dict[str, Any]) -> bool:
    """Whether each key is there and is what the filter says."""
    for key, wanted in filter.items():
        if key not in value:
            return False
        if isinstance(wanted, dict) and any(operator in OPERATORS for operator in wanted):
            if not all(OPERATORS[name](value[key], to) for name, to in wanted.items()):
                return False
        elif not equal(value[key], wanted):
            return False
    return True


def holds(condition: MatchCondition, namespace: tuple[str, ...]) -> bool:
    """Whether a namespace begins or ends so; a star is any label."""
    path = condition.path
    if len(namespace) < len(path):
        return False
    part = namespace[: len(path)]
    if condition.match_type == "suffix":
        part = namespace[len(namespace) - len(path) :]
    return all(wanted in ("*", label) for wanted, label in zip(path, part, strict=True))
