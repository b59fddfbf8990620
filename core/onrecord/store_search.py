"""Finding again, over the sessions of a store: search, recall, and what waits for somebody."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar, cast

from onrecord import arguments, operations
from onrecord.hit import Hit, Hits, ItemHit
from onrecord.message import Message
from onrecord.ranking import RELEVANT
from onrecord.recall import Recalled
from onrecord.scope import AnyName, Scope, check_owner
from onrecord.session import Session, hits_of
from onrecord.unfinished import WELCOME, Unfinished, check_words, unfinished_of

if TYPE_CHECKING:
    from onrecord.flow import Flow
    from onrecord.flows.search.search import Mode
    from onrecord.flows.sessions.unfinished import FoundOpen
    from onrecord.flows.shared import Desk
    from onrecord.store import Store

T = TypeVar("T")


class StoreSearch:
    """The methods of a store that find what was said, and who has to be answered."""

    _desk: Desk

    if TYPE_CHECKING:

        def _run(self, flow: Flow[T]) -> T: ...
        async def _arun(self, flow: Flow[T]) -> T: ...

    @property
    def _store(self) -> Store:
        """What it is a part of: what is found has handles on it."""
        return cast("Store", self)

    def unfinished(
        self,
        *,
        tenant: AnyName = "",
        user: AnyName = "",
        agent: AnyName = "",
        quiet_for: float = 0.0,
        limit: int = 50,
        after: Unfinished | None = None,
        welcome: str = WELCOME,
        stale_ok: bool = False,
    ) -> list[Unfinished]:
        """List the sessions of a scope that somebody has to go on with, the one last active first:
        the newest message waits for an answer or a result, or a turn was left.

        What a turn holds now is being gone on with, and left out; so is what somebody wrote to in
        the last ``quiet_for`` seconds. ``one.welcome`` greets who comes back, in the words of
        ``welcome``. For the next page pass the last one of this page as ``after``. It costs the
        same among a million finished sessions. ``stale_ok`` asks the store's replica, if it has
        one: what was answered last may be listed, and what came last not yet.
        """
        reader = self._store._reader(stale_ok)
        ask = self._unfinished(reader, tenant, user, agent, quiet_for, limit, after, welcome)
        return self._with_words(reader._run(ask), welcome)

    async def aunfinished(
        self,
        *,
        tenant: AnyName = "",
        user: AnyName = "",
        agent: AnyName = "",
        quiet_for: float = 0.0,
        limit: int = 50,
        after: Unfinished | None = None,
        welcome: str = WELCOME,
        stale_ok: bool = False,
    ) -> list[Unfinished]:
        """Like ``unfinished``."""
        reader = self._store._reader(stale_ok)
        ask = self._unfinished(reader, tenant, user, agent, quiet_for, limit, after, welcome)
        return self._with_words(await reader._arun(ask), welcome)

    def _unfinished(
        self,
        reader: Store,
        tenant: AnyName,
        user: AnyName,
        agent: AnyName,
        quiet_for: float,
        limit: int,
        after: Unfinished | None,
        welcome: str,
    ) -> Flow[list[FoundOpen]]:
        check_owner(tenant, user, agent)
        arguments.check_after(after, Unfinished)
        arguments.check_range("quiet_for", quiet_for, "seconds", 0, 10 * 365 * 86_400)
        check_words(welcome)
        most = arguments.whole_number("limit", limit)
        quiet = int(quiet_for * 1_000_000)
        place = None if after is None else after.place
        scope = Scope(tenant, user, agent)
        return operations.list_unfinished(reader._desk, scope, quiet, most, place)

    def _with_words(self, found: list[FoundOpen], welcome: str) -> list[Unfinished]:
        return [
            unfinished_of(
                one.info, one.messages, one.left, one.place, welcome, Session(self._store, one.name)
            )
            for one in found
        ]

    def search(
        self,
        query: str,
        *,
        tenant: AnyName = "",
        user: AnyName = "",
        agent: AnyName = "",
        roles: Iterable[str] | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        metadata: Mapping[str, Any] | None = None,
        limit: int = 10,
        min_score: float = 0.0,
        after: Hit | None = None,
        within: float = 5.0,
        mode: Mode = "auto",
        stale_ok: bool = False,
    ) -> Hits:
        """Find what was said in the sessions of a scope, the best first: of the runs of messages
        that promise most, and then of the next.

        What is found is there: it is read when it is handed out. Names that are left out mean the
        empty name, ``onrecord.ANY`` every one; others' words never count. ``"a phrase"`` in quotes
        has to be there, ``-word`` must not. ``roles``, ``since``, ``until`` (not counted in) and
        the sessions' ``metadata`` leave out what is others'. ``min_score`` leaves out what answers
        too badly. For the next page pass the last hit of this one as ``after``. What cannot be
        looked at ``within`` so many seconds is left out, and then ``hits.complete`` is False.
        ``mode`` is "text", "meaning" or "both"; "auto" is both where the store has an embedder.
        ``stale_ok`` asks the store's replica, if it has one: what was said last may be missing.
        """
        reader = self._store._reader(stale_ok)
        return hits_of(
            self._store,
            reader._run(
                operations.search(
                    reader._desk,
                    Scope(tenant, user, agent),
                    query,
                    roles,
                    since,
                    until,
                    metadata,
                    limit,
                    min_score,
                    after,
                    within,
                    mode,
                )
            ),
        )

    async def asearch(
        self,
        query: str,
        *,
        tenant: AnyName = "",
        user: AnyName = "",
        agent: AnyName = "",
        roles: Iterable[str] | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        metadata: Mapping[str, Any] | None = None,
        limit: int = 10,
        min_score: float = 0.0,
        after: Hit | None = None,
        within: float = 5.0,
        mode: Mode = "auto",
        stale_ok: bool = False,
    ) -> Hits:
        """Like ``search``."""
        reader = self._store._reader(stale_ok)
        return hits_of(
            self._store,
            await reader._arun(
                operations.search(
                    reader._desk,
                    Scope(tenant, user, agent),
                    query,
                    roles,
                    since,
                    until,
                    metadata,
                    limit,
                    min_score,
                    after,
                    within,
                    mode,
                )
            ),
        )

    def recall(
        self,
        query: str,
        *,
        tenant: AnyName = "",
        user: AnyName = "",
        agent: AnyName = "",
        tokens: int = 1_000,
        beyond: Sequence[Message] | None = None,
        min_score: float = RELEVANT,
        within: float = 5.0,
    ) -> Recalled:
        """Recall older turns across the sessions of a scope: see ``Session.recall``."""
        return self._run(
            operations.recall(
                self._desk, Scope(tenant, user, agent), query, tokens, beyond, min_score, within
            )
        )

    async def arecall(
        self,
        query: str,
        *,
        tenant: AnyName = "",
        user: AnyName = "",
        agent: AnyName = "",
        tokens: int = 1_000,
        beyond: Sequence[Message] | None = None,
        min_score: float = RELEVANT,
        within: float = 5.0,
    ) -> Recalled:
        """Like ``recall``."""
        return await self._arun(
            operations.recall(
                self._desk, Scope(tenant, user, agent), query, tokens, beyond, min_score, within
            )
        )

    def search_items(
        self,
        query: str | None = None,
        prefix: tuple[str, ...] = (),
        *,
        tenant: str = "",
        user: str = "",
        agent: str = "",
        filter: Mapping[str, Any] | None = None,
        limit: int = 10,
        skip: int = 0,
        min_score: float = 0.0,
        mode: Mode = "auto",
        stale_ok: bool = False,
    ) -> list[ItemHit]:
        """Find items of all namespaces of a scope whose names begin so: see ``Items.search``."""
        reader = self._store._reader(stale_ok)
        return reader._run(
            operations.search_items(
                reader._desk,
                (Scope(tenant, user, agent), prefix),
                query,
                filter,
                limit,
                skip,
                min_score,
                mode,
            )
        )

    async def asearch_items(
        self,
        query: str | None = None,
        prefix: tuple[str, ...] = (),
        *,
        tenant: str = "",
        user: str = "",
        agent: str = "",
        filter: Mapping[str, Any] | None = None,
        limit: int = 10,
        skip: int = 0,
        min_score: float = 0.0,
        mode: Mode = "auto",
        stale_ok: bool = False,
    ) -> list[ItemHit]:
        """Like ``search_items``."""
        reader = self._store._reader(stale_ok)
        return await reader._arun(
            operations.search_items(
                reader._desk,
                (Scope(tenant, user, agent), prefix),
                query,
                filter,
                limit,
                skip,
                min_score,
                mode,
            )
        )
