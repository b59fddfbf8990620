"""LangGraph's long-term store, sync and async on one object, over the items of a store."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from langgraph.store.base import (
    BaseStore,
    GetOp,
    IndexConfig,
    InvalidNamespaceError,
    Item,
    ListNamespacesOp,
    MatchCondition,
    Op,
    PutOp,
    Result,
    SearchItem,
    SearchOp,
    TTLConfig,
    validate_op_namespace,
)

from langgraph_onrecord.indexing import Paths, check_dims, embedder_of, text_at
from onrecord import Conflict, InvalidName, Items, Misconfigured, Store
from onrecord import Item as Stored
from onrecord.adapters.calls import Talk, atalk, call, talk
from onrecord.adapters.item_search import ItemSearch
from onrecord.adapters.reference import check_store
from onrecord.filters import LiteralFilter
from onrecord.item import Delete, Put
from onrecord.scope import Scope, check_parts

_MINUTE: Final = 60.0
_PAGE: Final = 500


class OnrecordStore(BaseStore):
    """Items of a store as LangGraph's long-term memory: ``compile(store=OnrecordStore(store))``.

    Makes no connection and holds none: the store does. Works from any thread and any loop. What
    a batch writes, it writes all or none; and of two batches one never fails for the other.
    """

    supports_ttl = True

    __slots__ = (
        "_fields",
        "_search",
        "agent",
        "index_config",
        "store",
        "tenant",
        "ttl_config",
        "user",
    )

    def __init__(
        self,
        store: Store,
        *,
        tenant: str = "",
        user: str = "",
        agent: str = "",
        ttl: TTLConfig | None = None,
        index: IndexConfig | None = None,
    ) -> None:
        """
        tenant, user, agent   whose items these are; nothing outside is seen or touched
        ttl                   LangGraph's settings: default_ttl in minutes, refresh_on_read. What
                              has expired is never returned, and needs no sweeper.
        index                 LangGraph's settings: fields, the paths of what an item is found by
                              (without them all that is in it), and embed and dims, where the
                              store has no embedder of its own. Two are refused.
        """
        check_store(store)
        if ttl is not None and not isinstance(ttl, Mapping):
            raise Misconfigured(f"ttl has to be a mapping of LangGraph's settings, not {ttl!r}.")
        self.store = store
        self.tenant, self.user, self.agent = tenant, user, agent
        self.ttl_config = ttl
        self.index_config = index
        self._items(("names",))  # refuses a bad scope, here
        self._fields = Paths.of(index)
        self._search = ItemSearch(store, Scope(tenant, user, agent), embedder_of(index))
        check_dims(index, self._search.embedder)

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Answer operations, in their order: what is asked sees what was there before."""
        return talk(self._answers(list(ops)))

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """Like ``batch``."""
        return await atalk(self._answers(list(ops)))

    def update(
        self, namespace: tuple[str, ...], key: str, change: Callable[[Any], Mapping[str, Any]]
    ) -> Item:
        """Put what a function makes of the value that is there, None for none.

        The function is called again where somebody else has written meanwhile: of two who change
        a value at the same time none is lost.
        """
        return talk(self._updated(namespace, key, change))

    async def aupdate(
        self, namespace: tuple[str, ...], key: str, change: Callable[[Any], Mapping[str, Any]]
    ) -> Item:
        """Like ``update``."""
        return await atalk(self._updated(namespace, key, change))

    def embed(self) -> int:
        """Show the embedder what it has not seen of these items; how many. A search shows it 32 of
        them, the last written first: this is for after many puts."""
        return self._search.embed()

    async def aembed(self) -> int:
        """Like ``embed``."""
        return await self._search.aembed()

    def _items(self, namespace: tuple[str, ...]) -> Items:
        return self.store.items(*namespace, tenant=self.tenant, user=self.user, agent=self.agent)

    # -- what both do ----------------------------------------------------------------------------

    def _answers(self, ops: list[Op]) -> Talk[list[Result]]:
        changes = self._changes(ops)  # refused before anything is written
        answers: list[Result] = []
        for op in ops:
            match op:
                case GetOp():
                    answers.append((yield from self._got(op)))
                case SearchOp():
                    answers.append((yield from self._found(op)))
                case ListNamespacesOp():
                    answers.append((yield from self._namespaces(op)))
                case _:
                    answers.append(None)
        if changes:
            yield from call(
                self.store.write, changes, tenant=self.tenant, user=self.user, agent=self.agent
            )
        return answers

    def _changes(self, ops: list[Op]) -> list[Put | Delete]:
        """Of what is put under one key several times, the last."""
        last: dict[tuple[tuple[str, ...], str], Put | Delete] = {}
        for op in ops:
            _check(op)
            if not isinstance(op, PutOp):
                continue
            namespace, key = tuple(op.namespace), str(op.key)
            if op.value is None:
                last[namespace, key] = Delete(namespace, key)
                continue
            if not isinstance(op.value, Mapping):
                raise TypeError(
                    f"A value has to be a dict, and this is a {type(op.value).__name__}."
                )
            ttl = None if op.ttl is None else op.ttl * _MINUTE
            value = dict(op.value)
            text = text_at(value, self._fields if op.index is None else Paths.given(op.index))
            last[namespace, key] = Put(namespace, key, value, ttl=ttl, text=text)
        return list(last.values())

    def _got(self, op: GetOp) -> Talk[Item | None]:
        items = self._items(op.namespace)
        found = yield from call(items.get, str(op.key), refresh=op.refresh_ttl)
        return None if found is None else Item(**_fields(found))

    def _found(self, op: SearchOp) -> Talk[list[SearchItem]]:
        if op.query is None or not op.query.strip():
            found = yield from self._page(op)
            page = [SearchItem(**_fields(item)) for item in found if item.damaged is None]
        else:
            hits = yield from call(
                self._search.search,
                op.query,
                tuple(op.namespace_prefix),
                filter=_literal(op.filter),
                limit=op.limit,
                skip=op.offset,
            )
            page = [SearchItem(**_fields(hit.item), score=hit.score) for hit in hits]
        if op.refresh_ttl:
            yield from self._refreshed(page)
        return page

    def _page(self, op: SearchOp) -> Talk[list[Stored]]:
        return (
            yield from call(
                self.store.find_items,
                tuple(op.namespace_prefix),
                tenant=self.tenant,
                user=self.user,
                agent=self.agent,
                filter=_literal(op.filter),
                limit=op.limit,
                skip=op.offset,
            )
        )

    def _refreshed(self, page: list[SearchItem]) -> Talk[None]:
        """Let what was found live on: of each namespace together."""
        keys: dict[tuple[str, ...], list[str]] = {}
        for item in page:
            keys.setdefault(item.namespace, []).append(item.key)
        for namespace, those in keys.items():
            items = self._items(namespace)
            yield from call(items.get_many, those, refresh=True)

    def _namespaces(self, op: ListNamespacesOp) -> Talk[list[tuple[str, ...]]]:
        conditions = op.match_conditions or ()
        found: dict[tuple[str, ...], None] = {}
        after: tuple[str, ...] | None = None
        while len(found) < op.offset + op.limit and (
            page := (
                yield from call(
                    self.store.namespaces,
                    _begin_of(conditions),
                    tenant=self.tenant,
                    user=self.user,
                    agent=self.agent,
                    after=after,
                    limit=_PAGE,
                )
            )
        ):
            for parts in page:
                if all(_fits(condition, parts) for condition in conditions):
                    found[parts[: op.max_depth]] = None
            after = page[-1]
        return list(found)[op.offset : op.offset + op.limit]

    def _updated(
        self, namespace: tuple[str, ...], key: str, change: Callable[[Any], Mapping[str, Any]]
    ) -> Talk[Item]:
        _check(PutOp(namespace, key, {}))
        items = self._items(namespace)
        ttl = None if self.ttl_config is None else self.ttl_config.get("default_ttl")
        while True:
            there = yield from call(items.get, str(key))
            value = dict(change(None if there is None else there.value))
            try:
                stored = yield from call(
                    items.put,
                    str(key),
                    value,
                    ttl=None if ttl is None else ttl * _MINUTE,
                    text=text_at(value, self._fields),
                    expected=0 if there is None else there,
                )
            except Conflict:  # somebody else was first: what they wrote is changed
                continue
            return Item(**_fields(stored))


def _check(op: Op) -> None:
    """Refuse labels as LangGraph's own methods do, also in what is passed to ``batch``."""
    validate_op_namespace(op)
    match op:
        case PutOp() | GetOp():
            if not op.namespace:
                raise InvalidNamespaceError("Namespace cannot be empty.")
            parts: tuple[str, ...] = op.namespace
        case SearchOp():
            parts = op.namespace_prefix
        case _:
            return
    try:
        check_parts(tuple(parts), least=0)
    except InvalidName as fault:
        raise InvalidNamespaceError(str(fault)) from fault


def _fields(item: Stored) -> dict[str, Any]:
    return {
        "namespace": item.namespace,
        "key": item.key,
        "value": item.value,
        "created_at": item.created_at,
        "updated_at": item.updated_at,
    }


def _begin_of(conditions: Iterable[MatchCondition]) -> tuple[str, ...]:
    """The longest beginning that all which is wanted has."""
    begin: tuple[str, ...] = ()
    for condition in conditions:
        if condition.match_type == "prefix":
            parts = tuple(itertools.takewhile(lambda part: part != "*", condition.path))
            begin = max(begin, parts, key=len)
    return begin


def _fits(condition: MatchCondition, parts: tuple[str, ...]) -> bool:
    path = tuple(condition.path)
    if len(parts) < len(path):
        return False
    if condition.match_type not in ("prefix", "suffix"):
        raise ValueError(f"Unsupported match type: {condition.match_type}")
    few = parts[: len(path)] if condition.match_type == "prefix" else parts[-len(path) :]
    return not path or all(wanted in ("*", part) for wanted, part in zip(path, few, strict=True))


def _literal(filter: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """A filter whose keys are what they are: a dot in one looks into nothing."""
    return None if not filter else LiteralFilter(filter)
