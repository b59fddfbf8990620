"""Search a store's items as a framework does: by an embedder that the framework brought, and with
what does not answer behind what does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onrecord import operations
from onrecord.embedding import Known, embedder_of
from onrecord.errors import Misconfigured
from onrecord.flow import Flow
from onrecord.flows.search.meaning import MeaningOf
from onrecord.hit import ItemHit
from onrecord.scope import Scope
from onrecord.store import Store

__all__ = ["ItemHit", "ItemSearch", "Known", "embedder_of"]


class ItemSearch:
    """Search of the items of one scope: by the store's embedder, or by one of its own."""

    def __init__(self, store: Store, scope: Scope, embedder: Known | None = None) -> None:
        """Refuses an embedder where the store has one: an item has room for one vector."""
        theirs = store._desk.meaning
        if theirs is not None and embedder is not None:
            raise Misconfigured(
                f"The store has an embedder, {theirs.known.name!r}, and this brings another one, "
                f"{embedder.name!r}: an item has room for what one of them makes of it. Leave one "
                f"of the two out."
            )
        self.scope = scope
        self._store = store
        self._own = None if embedder is None else MeaningOf(embedder)

    @property
    def embedder(self) -> Known | None:
        """Who is asked what items mean."""
        meaning = self._own or self._store._desk.meaning
        return None if meaning is None else meaning.known

    def search(
        self,
        query: str,
        prefix: tuple[str, ...] = (),
        *,
        filter: Mapping[str, Any] | None = None,
        limit: int = 10,
        skip: int = 0,
    ) -> list[ItemHit]:
        """Find items of all namespaces whose names begin so, the best first. What has nothing of
        the query comes last, with a score of 0; what nothing can be found by is left out."""
        return self._store._run(self._found(query, prefix, filter, limit, skip))

    async def asearch(
        self,
        query: str,
        prefix: tuple[str, ...] = (),
        *,
        filter: Mapping[str, Any] | None = None,
        limit: int = 10,
        skip: int = 0,
    ) -> list[ItemHit]:
        """Like ``search``."""
        return await self._store._arun(self._found(query, prefix, filter, limit, skip))

    def _found(
        self,
        query: str,
        prefix: tuple[str, ...],
        filter: Mapping[str, Any] | None,
        limit: int,
        skip: int,
    ) -> Flow[list[ItemHit]]:
        place, desk = (self.scope, prefix), self._store._desk
        return operations.search_items(
            desk, place, query, filter, limit, skip, 0, "auto", self._own, True
        )

    def embed(self) -> int:
        """Show the embedder the items of the scope that it has not seen; how many."""
        return self._store._run(operations.embed_items(self._meaning(), self.scope))

    async def aembed(self) -> int:
        """Like ``embed``."""
        return await self._store._arun(operations.embed_items(self._meaning(), self.scope))

    def _meaning(self) -> MeaningOf:
        meaning = self._own or self._store._desk.meaning
        if meaning is None:
            raise Misconfigured(
                "Nobody is there to embed items: Store(…, embedder='minilm'), or another that "
                "docs/how-to/embedders.md names."
            )
        return meaning
