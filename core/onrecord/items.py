"""Items: the handle on one namespace, for what is known beside what was said.

    facts = store.items("facts", user="ada")
    facts.put("city", {"name": "Lyon"})
    facts.get("city").value

Each method is one line over a flow (``operations.py``), and each has a twin with ``a`` before
its name; ``tests`` hold the two to the same signature.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from onrecord import operations
from onrecord.errors import Misconfigured
from onrecord.item import Delete, Item, Life, Merge, Put
from onrecord.scope import NamespaceName

if TYPE_CHECKING:
    from onrecord.flows.search.search import Mode
    from onrecord.hit import ItemHit
    from onrecord.store import Store

__all__ = ["Delete", "Item", "Items", "Merge", "Put"]

List: TypeAlias = list
"""A list, where a method of that name stands before it."""


class Items:
    """The items of one namespace. Holds no connection and no state: make as many as you like."""

    __slots__ = ("_arun", "_desk", "_run", "name", "store")

    def __init__(self, store: Store, name: NamespaceName) -> None:
        self.store = store
        self.name = name
        self._desk = store._desk
        self._run = store._run
        self._arun = store._arun

    def put(
        self,
        key: str,
        value: Any,
        *,
        ttl: Life = None,
        text: str | None = None,
        expected: Item | int | None = None,
        token: str | None = None,
        expected_token: str | None = None,
    ) -> Item:
        """Put a value under a key, whatever is there, and return the item as stored.

        A value is what JSON can say, and the dates, bytes, tuples and such that the codec
        carries: anything else is InvalidValue, and nothing is written. With ``ttl`` it is not
        there any more when that is over. ``text`` is what it is to be found by, if not its value.
        With ``expected``, an item or its version, or 0 for "must not be there", Conflict is
        raised where something else is there, and carries it. ``token`` is a revision of the
        caller's own: the same again is a success, and ``expected_token`` asks for another's.
        """
        return self._run(
            operations.put_item(
                self._desk,
                self.name,
                key,
                value,
                ttl=ttl,
                text=text,
                expected=expected,
                token=token,
                expected_token=expected_token,
            )
        )

    async def aput(
        self,
        key: str,
        value: Any,
        *,
        ttl: Life = None,
        text: str | None = None,
        expected: Item | int | None = None,
        token: str | None = None,
        expected_token: str | None = None,
    ) -> Item:
        """Like ``put``."""
        return await self._arun(
            operations.put_item(
                self._desk,
                self.name,
                key,
                value,
                ttl=ttl,
                text=text,
                expected=expected,
                token=token,
                expected_token=expected_token,
            )
        )

    def put_many(
        self, items: Mapping[str, Any] | Iterable[tuple[str, Any]], *, ttl: Life = None
    ) -> List[Item]:
        """Put several values under their keys, all or none."""
        return self._run(operations.put_items(self._desk, self.name, items, ttl))

    async def aput_many(
        self, items: Mapping[str, Any] | Iterable[tuple[str, Any]], *, ttl: Life = None
    ) -> List[Item]:
        """Like ``put_many``."""
        return await self._arun(operations.put_items(self._desk, self.name, items, ttl))

    def merge(
        self,
        key: str,
        changes: Mapping[str, Any],
        *,
        ttl: Life = None,
        expected: Item | int | None = None,
    ) -> Item:
        """Put new top-level keys over those of a dict, and return the item as stored.

        Where there is none, it is made. Two who merge different keys at once both win. Without
        ``ttl`` it lives on for as long as it was given.
        """
        return self._run(operations.merge_item(self._desk, self.name, key, changes, ttl, expected))

    async def amerge(
        self,
        key: str,
        changes: Mapping[str, Any],
        *,
        ttl: Life = None,
        expected: Item | int | None = None,
    ) -> Item:
        """Like ``merge``."""
        return await self._arun(
            operations.merge_item(self._desk, self.name, key, changes, ttl, expected)
        )

    def get(self, key: str, *, refresh: bool = False, stale_ok: bool = False) -> Item | None:
        """Read one item; None where there is none, or it has expired.

        With ``refresh`` one that was put with a ``ttl`` lives on for as long again. That is
        written at most once a minute, or once in a tenth of its ``ttl``. ``stale_ok`` asks the
        store's replica, if it has one, and no cache: what was put last may be missing.
        """
        reader = self._reader(stale_ok, refresh)
        return reader._run(operations.get_item(reader._desk, self.name, key, refresh))

    async def aget(self, key: str, *, refresh: bool = False, stale_ok: bool = False) -> Item | None:
        """Like ``get``."""
        reader = self._reader(stale_ok, refresh)
        return await reader._arun(operations.get_item(reader._desk, self.name, key, refresh))

    def get_many(
        self, keys: Iterable[str], *, refresh: bool = False, stale_ok: bool = False
    ) -> dict[str, Item]:
        """Read several items by their keys; those that are not there are left out."""
        reader = self._reader(stale_ok, refresh)
        return reader._run(operations.get_items(reader._desk, self.name, keys, refresh))

    async def aget_many(
        self, keys: Iterable[str], *, refresh: bool = False, stale_ok: bool = False
    ) -> dict[str, Item]:
        """Like ``get_many``."""
        reader = self._reader(stale_ok, refresh)
        return await reader._arun(operations.get_items(reader._desk, self.name, keys, refresh))

    def delete(self, key: str, *, expected: Item | int | None = None) -> bool:
        """Take an item away; whether it was there. With ``expected`` as in ``put``."""
        return self._run(operations.delete_item(self._desk, self.name, key, expected))

    async def adelete(self, key: str, *, expected: Item | int | None = None) -> bool:
        """Like ``delete``."""
        return await self._arun(operations.delete_item(self._desk, self.name, key, expected))

    def delete_many(self, keys: Iterable[str]) -> int:
        """Take several items away, all or none; how many were there."""
        return self._run(operations.delete_items(self._desk, self.name, keys))

    async def adelete_many(self, keys: Iterable[str]) -> int:
        """Like ``delete_many``."""
        return await self._arun(operations.delete_items(self._desk, self.name, keys))

    def clear(self) -> int:
        """Take every item of the namespace away; how many were there."""
        return self._run(operations.clear_items(self._desk, self.name))

    async def aclear(self) -> int:
        """Like ``clear``."""
        return await self._arun(operations.clear_items(self._desk, self.name))

    def sweep(self) -> int:
        """Take the rows away of what has expired, which nobody sees any more; how many that was.

        Later writes do it by themselves, a few at a time, and ``store.prune()`` for all.
        """
        return self._run(operations.sweep_items(self.name))

    async def asweep(self) -> int:
        """Like ``sweep``."""
        return await self._arun(operations.sweep_items(self.name))

    def list(
        self,
        *,
        prefix: str = "",
        filter: Mapping[str, Any] | None = None,
        order: Literal["key", "updated"] = "key",
        after: Item | str | None = None,
        limit: int = 50,
        stale_ok: bool = False,
    ) -> List[Item]:
        """List items in the order of their keys, or with ``order="updated"`` the last written
        first.

        ``filter`` leaves those whose values fulfil it: ``{"plan": "pro", "visits": {"$gte": 3},
        "address.city": "Lyon"}``, with ``$eq $ne $gt $gte $lt $lte $in $exists``, and ``$and``
        and ``$or`` over several. For the next page pass the last item of this page as ``after``.
        ``stale_ok`` as in ``get``.
        """
        reader = self._reader(stale_ok)
        return reader._run(
            operations.list_items(reader._desk, self.name, prefix, filter, order, after, limit)
        )

    async def alist(
        self,
        *,
        prefix: str = "",
        filter: Mapping[str, Any] | None = None,
        order: Literal["key", "updated"] = "key",
        after: Item | str | None = None,
        limit: int = 50,
        stale_ok: bool = False,
    ) -> List[Item]:
        """Like ``list``."""
        reader = self._reader(stale_ok)
        return await reader._arun(
            operations.list_items(reader._desk, self.name, prefix, filter, order, after, limit)
        )

    def search(
        self,
        query: str | None = None,
        *,
        filter: Mapping[str, Any] | None = None,
        limit: int = 10,
        skip: int = 0,
        min_score: float = 0.0,
        mode: Mode = "auto",
        stale_ok: bool = False,
    ) -> List[ItemHit]:
        """Find items by their words, and by meaning where the store has an embedder, the best
        first: by their ``text``, or by all text in their values. Without a query the last written
        come first. ``filter`` as in ``list``, ``mode`` as in ``Store.search``, ``stale_ok`` as in
        ``get``. All items of the namespace are looked at.
        """
        reader = self._reader(stale_ok)
        return reader._run(
            operations.search_items(
                reader._desk, self.name, query, filter, limit, skip, min_score, mode
            )
        )

    async def asearch(
        self,
        query: str | None = None,
        *,
        filter: Mapping[str, Any] | None = None,
        limit: int = 10,
        skip: int = 0,
        min_score: float = 0.0,
        mode: Mode = "auto",
        stale_ok: bool = False,
    ) -> List[ItemHit]:
        """Like ``search``."""
        reader = self._reader(stale_ok)
        return await reader._arun(
            operations.search_items(
                reader._desk, self.name, query, filter, limit, skip, min_score, mode
            )
        )

    def count(self, *, stale_ok: bool = False) -> int:
        """Count the items of the namespace. ``stale_ok`` as in ``get``."""
        reader = self._reader(stale_ok)
        return reader._run(operations.count_items(reader._desk, self.name))

    async def acount(self, *, stale_ok: bool = False) -> int:
        """Like ``count``."""
        reader = self._reader(stale_ok)
        return await reader._arun(operations.count_items(reader._desk, self.name))

    def _reader(self, stale_ok: bool, refresh: bool = False) -> Store:
        if stale_ok and refresh:
            raise Misconfigured(
                "refresh=True writes, and a replica is only read: leave out refresh= or stale_ok=."
            )
        return self.store._reader(stale_ok)

    def __repr__(self) -> str:
        return f"Items({self.store!r}, {self.name})"

    def _repr_html_(self) -> str:
        from onrecord.notebook.display import items_html

        return items_html(self)
