"""Stores that are wrong in one way each, and the cases of the kit that have to notice."""

from __future__ import annotations

import asyncio
import time
import unicodedata
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any, Final

from langgraph.store.base import (
    GetOp,
    Item,
    ListNamespacesOp,
    Op,
    PutOp,
    Result,
    SearchItem,
    SearchOp,
)

from tests.right_store import Kept, RightStore, holds, matches


class Merges(RightStore):
    def write(self, op: PutOp) -> None:
        before = self.kept.get((op.namespace, op.key))
        if before and op.value is not None:
            op = op._replace(value={**before.item.value, **op.value})
        super().write(op)


class NeverDeletes(RightStore):
    def write(self, op: PutOp) -> None:
        if op.value is not None:
            super().write(op)


class FoldsKeys(RightStore):
    def batch(self, ops: Iterable[Op]) -> list[Result]:
        return super().batch([self.folded(op) for op in ops])

    def folded(self, op: Op) -> Op:
        return op if isinstance(op, (SearchOp, ListNamespacesOp)) else self.fold(op)

    def fold(self, op: Any) -> Any:
        return op._replace(key=op.key.lower().strip())


class CutsKeysAtNul(FoldsKeys):
    def fold(self, op: Any) -> Any:
        return op._replace(key=op.key.partition("\0")[0])


class NeedsAnIndex(RightStore):
    def check(self, op: Op) -> None:
        if isinstance(op, PutOp) and op.index is not None:
            raise ValueError("there is no index")
        super().check(op)


class AnswersReadsAlone(RightStore):
    def batch(self, ops: Iterable[Op]) -> list[Result]:
        ops = list(ops)
        if len(ops) == 1:
            return super().batch(ops)
        results = super().batch(ops)
        return [r for op, r in zip(ops, results, strict=True) if not isinstance(op, PutOp)]


class WritesFirst(RightStore):
    def batch(self, ops: Iterable[Op]) -> list[Result]:
        ops = list(ops)
        super().batch([op for op in ops if isinstance(op, PutOp)])
        return super().batch(ops)


class FirstOfABatchWins(RightStore):
    def batch(self, ops: Iterable[Op]) -> list[Result]:
        ops = list(ops)
        if all(isinstance(op, PutOp) for op in ops):
            ops.reverse()
        return super().batch(ops)


class Changes(RightStore):
    """Stores all, and changes it by a function of each part."""

    change: Callable[[Any], Any]

    def check_value(self, value: Any) -> None:
        pass

    def write(self, op: PutOp) -> None:
        value = op.value
        super().write(op if value is None else op._replace(value=self.changed(value)))

    def changed(self, value: Any) -> Any:
        if isinstance(value, dict):
            value = {self.changed(key): self.changed(inner) for key, inner in value.items()}
        elif isinstance(value, (list, tuple)):
            value = type(value)(map(self.changed, value))
        return type(self).change(value)


def changes(type_of: type, change: Callable[[Any], Any]) -> Callable[[], RightStore]:
    """A store that changes what is of this type."""

    def one(value: Any) -> Any:
        return change(value) if type(value) is type_of else value

    return type("Changes", (Changes,), {"change": staticmethod(one)})


class CutsDeepValues(RightStore):
    def write(self, op: PutOp) -> None:
        super().write(op if op.value is None else op._replace(value=self.cut(op.value, 64)))

    def cut(self, value: Any, levels: int) -> Any:
        if not levels:
            return "…"
        if isinstance(value, dict):
            return {key: self.cut(inner, levels - 1) for key, inner in value.items()}
        return [self.cut(v, levels - 1) for v in value] if isinstance(value, list) else value


class ReadsAreUpdates(RightStore):
    def handed_out(self, item: Item) -> Item:
        found = super().handed_out(item)
        found.updated_at = datetime.now(UTC)
        return found


class PrefixAsText(RightStore):
    def begins(self, namespace: tuple[str, ...], prefix: tuple[str, ...]) -> bool:
        return "/".join(namespace).startswith("/".join(prefix))


class PrefixAsPattern(RightStore):
    def begins(self, namespace: tuple[str, ...], prefix: tuple[str, ...]) -> bool:
        return fnmatchcase("/".join((*namespace, "")), "/".join((*prefix, "*")))


class NothingIsNoPrefix(RightStore):
    def begins(self, namespace: tuple[str, ...], prefix: tuple[str, ...]) -> bool:
        return bool(prefix) and super().begins(namespace, prefix)


class ReplacesOps(RightStore):
    """Reads something else than is asked for."""

    change: Callable[[Any], Any]

    def read(self, op: Op) -> Result:
        return super().read(type(self).change(op))


def replaces(type_of: type[Any], **fields: Any) -> Callable[[], RightStore]:
    """A store that takes operations of this type for others."""

    def one(op: Any) -> Any:
        if type(op) is not type_of:
            return op
        return op._replace(
            **{n: f(getattr(op, n)) if callable(f) else f for n, f in fields.items()}
        )

    return type("Replaces", (ReplacesOps,), {"change": staticmethod(one)})


class RefusesQueries(RightStore):
    def check(self, op: Op) -> None:
        if isinstance(op, SearchOp) and op.query:
            raise ValueError("there is no index")
        super().check(op)


class SearchesMakeNamespaces(RightStore):
    def read(self, op: Op) -> Result:
        if isinstance(op, SearchOp) and len(op.namespace_prefix) > 1:
            now = datetime.now(UTC)
            space = op.namespace_prefix
            item = Item(value={}, key="", namespace=space, created_at=now, updated_at=now)
            self.kept.setdefault((space, "made"), Kept(item, None, now))
        return super().read(op)

    def sweep(self) -> None:
        pass


class FiltersOneByOne(RightStore):
    """Finds what one of the keys of a filter holds for."""

    def read(self, op: Op) -> Result:
        if not isinstance(op, SearchOp) or len(op.filter or {}) < 2:
            return super().read(op)
        found: list[Any] = []
        for key, wanted in (op.filter or {}).items():
            more: Any = super().read(op._replace(filter={key: wanted}))
            found += [item for item in more if item not in found]
        return found


class FiltersAPage(RightStore):
    def read(self, op: Op) -> Result:
        if not isinstance(op, SearchOp):
            return super().read(op)
        page: Any = super().read(op._replace(filter=None))
        items: list[SearchItem] = page
        return [item for item in items if matches(item.value, op.filter or {})]


class TakesUnknownOperators(RightStore):
    def check_filter(self, filter: dict[str, Any]) -> None:
        pass


def _upper(filter: dict[str, Any] | None) -> dict[str, Any] | None:
    upper = {k: w.upper() if isinstance(w, str) else w for k, w in (filter or {}).items()}
    return upper or None


def _folded(filter: dict[str, Any] | None) -> dict[str, Any] | None:
    return {key.replace("-", "_"): wanted for key, wanted in (filter or {}).items()} or None


def _turned(filter: dict[str, Any] | None) -> dict[str, Any] | None:
    return {k: w[::-1] if isinstance(w, list) else w for k, w in (filter or {}).items()} or None


def _first(filter: dict[str, Any] | None) -> dict[str, Any] | None:
    def one(wanted: Any) -> Any:
        return dict(list(wanted.items())[:1]) if isinstance(wanted, dict) else wanted

    return {key: one(wanted) for key, wanted in (filter or {}).items()} or None


def _unquoted(filter: dict[str, Any] | None) -> dict[str, Any] | None:
    return {key: wanted for key, wanted in (filter or {}).items() if "'" not in key} or None


class TakesAnyNamespace(RightStore):
    def check(self, op: Op) -> None:
        pass

    def put(self, namespace: Any, key: str, value: Any, *_: Any, **more: Any) -> None:
        self.batch([PutOp(namespace, key, value, ttl=more.get("ttl"))])

    async def aput(self, namespace: Any, key: str, value: Any, *_: Any, **more: Any) -> None:
        await self.abatch([PutOp(namespace, key, value, ttl=more.get("ttl"))])


def _without(match_type: str) -> Callable[[Any], Any]:
    """Conditions without those of a kind, beyond the root that every case gives."""

    def those(conditions: Any) -> Any:
        return tuple(
            c._replace(path=c.path[:1]) if match_type == "prefix" == c.match_type else c
            for c in conditions or ()
            if c.match_type == "prefix" or match_type != "suffix"
        )

    return those


class StarsAreLabels(RightStore):
    def read(self, op: Op) -> Result:
        if not isinstance(op, ListNamespacesOp):
            return super().read(op)
        conditions = op.match_conditions or ()
        listed: Any = super().read(op)
        return [space for space in listed if all("*" not in c.path for c in conditions)]


class CutsAPageOfNamespaces(RightStore):
    def read(self, op: Op) -> Result:
        if not isinstance(op, ListNamespacesOp):
            return super().read(op)
        spaces = sorted(
            {s for s, _ in self.kept if all(holds(c, s) for c in op.match_conditions or ())}
        )
        return list(
            dict.fromkeys(s[: op.max_depth] for s in spaces[op.offset : op.offset + op.limit])
        )


class Seconds(RightStore):
    def write(self, op: PutOp) -> None:
        super().write(op if op.ttl is None else op._replace(ttl=op.ttl / 60))


class BringsBackExpired(RightStore):
    """Expired items are hidden, and read with a refresh live again."""

    def sweep(self) -> None:
        pass

    def read(self, op: Op) -> Result:
        if isinstance(op, GetOp) and not op.refresh_ttl:
            kept = self.kept.get((op.namespace, op.key))
            if kept and kept.expires and kept.expires <= datetime.now(UTC):
                return None
        return super().read(op)


class KeepsLives(RightStore):
    def write(self, op: PutOp) -> None:
        before = self.kept.get((op.namespace, op.key))
        super().write(op)
        if before and op.ttl is None and op.value is not None:
            where = (op.namespace, op.key)
            self.kept[where] = before._replace(item=self.kept[where].item)


class LosesWrites(RightStore):
    def batch(self, ops: Iterable[Op]) -> list[Result]:
        ops = list(ops)
        if not any(isinstance(op, PutOp) for op in ops):
            return super().batch(ops)
        mine = RightStore()
        mine.kept = dict(self.kept)
        results = mine.batch(ops)
        time.sleep(0.001)  # in which others write
        self.kept = mine.kept
        return results


class StuckAfterACancel(RightStore):
    def __init__(self) -> None:
        super().__init__()
        self.busy = False

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        if self.busy:
            raise RuntimeError("still busy")
        self.busy = True
        await asyncio.sleep(0)
        results = self.batch(ops)
        self.busy = False
        return results


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


WRONG: Final[dict[str, tuple[Callable[[], RightStore], str]]] = {
    "drops what is put": (changes(dict, lambda value: {}), "put_and_get"),
    "merges": (Merges, "put_replaces"),
    "never deletes": (NeverDeletes, "delete batch_last_wins"),
    "folds keys": (FoldsKeys, "keys_are_literal"),
    "cuts keys at NUL": (CutsKeysAtNul, "key_with_nul"),
    "needs an index": (NeedsAnIndex, "index_is_taken"),
    "answers reads alone": (AnswersReadsAlone, "batch_results"),
    "writes first": (WritesFirst, "batch_reads_first"),
    "first of a batch wins": (FirstOfABatchWins, "batch_last_wins"),
    "normalises text": (changes(str, _nfc), "value_text"),
    "fills empty values": (changes(dict, lambda value: value or {"": None}), "value_empty"),
    "true is one": (changes(bool, int), "value_constants"),
    "cuts deep values": (CutsDeepValues, "value_deep"),
    "cuts text": (changes(str, lambda text: text[:100_000]), "value_large"),
    "cuts keys": (changes(dict, lambda d: {k: v for k, v in d.items() if k}), "value_keys"),
    "rounds": (changes(float, lambda number: round(number, 12)), "value_fractions"),
    "integers are floats": (changes(int, float), "value_integers value_big_integers"),
    "cuts at NUL": (changes(str, lambda text: text.partition("\0")[0]), "value_nul"),
    "mends surrogates": (
        changes(str, lambda text: text.encode("utf-8", "replace").decode()),
        "value_surrogate",
    ),
    "bytes are lists": (changes(bytes, list), "value_bytes"),
    "objects are text": (changes(object, str), "value_object"),
    "reads are updates": (ReadsAreUpdates, "times_are_the_same_everywhere"),
    "a prefix is text": (PrefixAsText, "prefix_by_labels"),
    "a prefix is a pattern": (PrefixAsPattern, "labels_are_literal"),
    "nothing is no prefix": (NothingIsNoPrefix, "whole_store"),
    "no offset": (replaces(SearchOp, offset=0), "limit_and_offset pages_are_whole"),
    "refuses queries": (RefusesQueries, "query_is_taken"),
    "searches make namespaces": (SearchesMakeNamespaces, "search_makes_nothing"),
    "filters fold text": (replaces(SearchOp, filter=_upper), "filter_text"),
    "filters fold keys": (replaces(SearchOp, filter=_folded), "filter_key"),
    "filters turn lists": (replaces(SearchOp, filter=_turned), "filter_list"),
    "one key of a filter is enough": (FiltersOneByOne, "filter_all"),
    "one operator is heeded": (replaces(SearchOp, filter=_first), "filter_range"),
    "takes unknown operators": (TakesUnknownOperators, "filter_unknown_on_nothing filter_or"),
    "keys with quotes hold for all": (replaces(SearchOp, filter=_unquoted), "filter_quoted_key"),
    "filters a page": (FiltersAPage, "filter_before_limit"),
    "takes any namespace": (
        TakesAnyNamespace,
        "no_labels empty_label dotted_label label_no_text langgraph_root filter_unknown",
    ),
    "lists by no prefix": (
        replaces(ListNamespacesOp, match_conditions=_without("prefix")),
        "list_by_prefix",
    ),
    "lists by no suffix": (
        replaces(ListNamespacesOp, match_conditions=_without("suffix")),
        "list_by_suffix",
    ),
    "a star is a label": (StarsAreLabels, "list_by_wildcard"),
    "the limit counts before max_depth": (CutsAPageOfNamespaces, "max_depth"),
    "no offset in lists": (replaces(ListNamespacesOp, offset=0), "list_pages"),
    "a time to live is in seconds": (Seconds, "ttl_is_minutes"),
    "brings back what expired": (BringsBackExpired, "expired_stays_away"),
    "refreshes whatever is said": (replaces(GetOp, refresh_ttl=True), "no_refresh"),
    "keeps the time to live": (KeepsLives, "put_without_ttl"),
    "loses writes": (LosesWrites, "many_writers"),
    "is stuck after a cancel": (StuckAfterACancel, "used_after_a_cancel"),
}
"""What is wrong, the store, and the cases that it fails, among others perhaps."""
