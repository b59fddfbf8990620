"""A log of checkpoints: for graphs that save their state at every step.

What stays the same from one step to the next is kept once: an item of a list by its content, any
other value until it changes. So a checkpoint costs what it adds, and forks share what came
before. The log knows no framework: what it takes and gives are bytes of the caller's serializer.

    log = CheckpointLog(store, user="ada")
    log.put("thread", "", New("1", None, [("json", b"{}")], {"messages": Listing([item])}))
    log.state("thread", "").values["messages"]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from onrecord import operations
from onrecord.adapters.reference import check_store
from onrecord.arguments import check_after, check_range, lifetime
from onrecord.codec.about import unpacked
from onrecord.codec.items import Item
from onrecord.flow import Flow
from onrecord.flows.checkpoints.reading import PAGE
from onrecord.flows.checkpoints.values import Entry, Listing, New, Put, Same, State, Value, Written
from onrecord.flows.shared import UNSET
from onrecord.scope import SessionName
from onrecord.stored.checkpoints import ThreadPlace
from onrecord.stored.clock import microseconds, moment_or_none, span
from onrecord.turn import LEASE, LONGEST, Holder

if TYPE_CHECKING:
    from onrecord.ledger.checkpoints.threads import Described
    from onrecord.store import Store

T = TypeVar("T")

__all__ = [
    "LEASE",
    "PAGE",
    "CheckpointLog",
    "Entry",
    "Item",
    "Listing",
    "New",
    "Put",
    "Same",
    "State",
    "ThreadInfo",
    "Value",
    "Written",
]


class ThreadInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A thread's name, counts and times, known without reading its checkpoints."""

    tenant: str
    user: str
    agent: str
    key: str
    title: str | None
    metadata: Mapping[str, Any]
    created_at: datetime | None
    """None where the time is damaged."""
    last_active: datetime | None
    expires_in: timedelta | None
    """After so long without activity ``prune_expired`` deletes it; None for never."""
    number: int
    """What a list of threads is continued by."""
    damaged: str | None = None
    """Which numbers of its row cannot be what was written; None where all can."""


class CheckpointLog:
    """The checkpoints of threads in one scope of a store.

    Holds no connection: make as many as you like. Every method that does I/O has a twin with
    ``a`` before its name.
    """

    def __init__(self, store: Store, *, tenant: str = "", user: str = "", agent: str = "") -> None:
        check_store(store)
        SessionName(key="any", tenant=tenant, user=user, agent=agent)  # checked once, and here
        self.store = store
        self.tenant, self.user, self.agent = tenant, user, agent
        self._desk = store._desk
        self._run = store._run
        self._arun = store._arun

    def name(self, thread: str) -> SessionName:
        """Give a thread its full name: the scope, and its key."""
        return SessionName(key=thread, tenant=self.tenant, user=self.user, agent=self.agent)

    def put(
        self,
        thread: str,
        namespace: str,
        new: New,
        *,
        alone: bool = False,
        metadata: Mapping[str, Any] | None = None,
        expires_in: timedelta | None = None,
    ) -> Put:
        """Add a checkpoint, all of it or nothing.

        With ``alone`` Conflict is raised where the parent has been continued by another
        checkpoint already, or where a first checkpoint is not the first. A checkpoint of a thread
        that was deleted meanwhile is refused with Cleared. ``metadata`` is of the thread, for
        lists; it is added to what is there.
        """
        return self._run(self._put(thread, namespace, new, alone, metadata, expires_in))

    async def aput(
        self,
        thread: str,
        namespace: str,
        new: New,
        *,
        alone: bool = False,
        metadata: Mapping[str, Any] | None = None,
        expires_in: timedelta | None = None,
    ) -> Put:
        """Like ``put``."""
        return await self._arun(self._put(thread, namespace, new, alone, metadata, expires_in))

    def _put(
        self,
        thread: str,
        namespace: str,
        new: New,
        alone: bool,
        metadata: Mapping[str, Any] | None,
        expires_in: timedelta | None,
    ) -> Flow[Put]:
        return operations.put_checkpoint(
            self._desk, self.name(thread), namespace, new, alone, metadata, _micros(expires_in)
        )

    def put_writes(
        self,
        thread: str,
        namespace: str,
        id: str,
        task: str,
        path: str,
        writes: Sequence[tuple[int, str, Item]],
    ) -> None:
        """Add a task's writes towards the checkpoint after this one: (place, channel,
        item). The checkpoint itself may still be on its way."""
        self._run(
            operations.put_writes(self._desk, self.name(thread), namespace, id, task, path, writes)
        )

    async def aput_writes(
        self,
        thread: str,
        namespace: str,
        id: str,
        task: str,
        path: str,
        writes: Sequence[tuple[int, str, Item]],
    ) -> None:
        """Like ``put_writes``."""
        await self._arun(
            operations.put_writes(self._desk, self.name(thread), namespace, id, task, path, writes)
        )

    def state(self, thread: str, namespace: str = "", id: str | None = None) -> State | None:
        """Read a checkpoint with its values: the one named, or the newest; None if there is none.

        The newest is the one added last, whatever the clocks of those who add say.
        """
        return self._run(operations.read_state(self._desk, self.name(thread), namespace, id))

    async def astate(self, thread: str, namespace: str = "", id: str | None = None) -> State | None:
        """Like ``state``."""
        return await self._arun(operations.read_state(self._desk, self.name(thread), namespace, id))

    def entry(self, thread: str, namespace: str = "", id: str | None = None) -> Entry | None:
        """Read a checkpoint without its values."""
        return self._run(operations.read_entry(self._desk, self.name(thread), namespace, id))

    async def aentry(self, thread: str, namespace: str = "", id: str | None = None) -> Entry | None:
        """Like ``entry``."""
        return await self._arun(operations.read_entry(self._desk, self.name(thread), namespace, id))

    def page(
        self, thread: str, namespace: str = "", *, before: int | None = None, limit: int = PAGE
    ) -> list[Entry]:
        """List a namespace's checkpoints, newest first, without values. For the next page pass
        the last one's ``row.number`` as ``before``."""
        return self._run(
            operations.page_of_checkpoints(self._desk, self.name(thread), namespace, before, limit)
        )

    async def apage(
        self, thread: str, namespace: str = "", *, before: int | None = None, limit: int = PAGE
    ) -> list[Entry]:
        """Like ``page``."""
        return await self._arun(
            operations.page_of_checkpoints(self._desk, self.name(thread), namespace, before, limit)
        )

    def filled(self, thread: str, entries: Sequence[Entry]) -> list[State]:
        """Read the values of checkpoints. Those that were deleted meanwhile are left out."""
        return self._run(operations.fill_states(self._desk, self.name(thread), entries))

    async def afilled(self, thread: str, entries: Sequence[Entry]) -> list[State]:
        """Like ``filled``."""
        return await self._arun(operations.fill_states(self._desk, self.name(thread), entries))

    def namespaces(self, thread: str) -> list[str]:
        """List the namespaces of a thread."""
        return self._run(operations.namespaces(self._desk, self.name(thread)))

    async def anamespaces(self, thread: str) -> list[str]:
        """Like ``namespaces``."""
        return await self._arun(operations.namespaces(self._desk, self.name(thread)))

    def delete(self, thread: str) -> bool:
        """Delete a thread for good, and say whether there was one. Whoever still writes to what
        was deleted is refused with Cleared."""
        return self._run(operations.delete_thread(self._desk, self.name(thread)))

    async def adelete(self, thread: str) -> bool:
        """Like ``delete``."""
        return await self._arun(operations.delete_thread(self._desk, self.name(thread)))

    def drop(self, thread: str, ids: Mapping[str, Sequence[str]]) -> None:
        """Delete some checkpoints by namespace and id, and what was kept for them alone. Those
        that continue from them stay whole."""
        self._run(operations.drop_checkpoints(self._desk, self.name(thread), ids))

    async def adrop(self, thread: str, ids: Mapping[str, Sequence[str]]) -> None:
        """Like ``drop``."""
        await self._arun(operations.drop_checkpoints(self._desk, self.name(thread), ids))

    def copy(self, source: str, target: str) -> None:
        """Copy a thread of this scope to another that has no checkpoints."""
        self._run(operations.copy_thread(self._desk, self.name(source), self.name(target)))

    async def acopy(self, source: str, target: str) -> None:
        """Like ``copy``."""
        await self._arun(operations.copy_thread(self._desk, self.name(source), self.name(target)))

    def of_runs(self, runs: Sequence[str]) -> list[tuple[str, str, str]]:
        """Find the checkpoints that some runs have made: thread, namespace, id."""
        flow = operations.checkpoints_of_runs(self._desk, runs, self.tenant, self.user, self.agent)
        return [(name.key, namespace, id) for name, namespace, id in self._run(flow)]

    async def aof_runs(self, runs: Sequence[str]) -> list[tuple[str, str, str]]:
        """Like ``of_runs``."""
        flow = operations.checkpoints_of_runs(self._desk, runs, self.tenant, self.user, self.agent)
        return [(name.key, namespace, id) for name, namespace, id in await self._arun(flow)]

    def info(self, thread: str) -> ThreadInfo | None:
        """Describe a thread, without reading its checkpoints; None where there is none."""
        found = self._run(operations.describe_thread(self._desk, self.name(thread)))
        return None if found is None else _info(found)

    async def ainfo(self, thread: str) -> ThreadInfo | None:
        """Like ``info``."""
        found = await self._arun(operations.describe_thread(self._desk, self.name(thread)))
        return None if found is None else _info(found)

    def update(
        self,
        thread: str,
        *,
        title: str | None = UNSET,
        metadata: Mapping[str, Any] | None = UNSET,
        merge: Mapping[str, Any] = UNSET,
        expires_in: timedelta | None = UNSET,
    ) -> None:
        """Give a thread a title, metadata for lists, or a time after which it expires; what is
        left out stays, None takes it away. ``merge`` puts its keys over those of the metadata: two
        who merge different keys at once both win. ``Misconfigured`` where there is no such
        thread."""
        self._run(
            operations.update_thread(
                self._desk, self.name(thread), title, metadata, _micros(expires_in), merge
            )
        )

    async def aupdate(
        self,
        thread: str,
        *,
        title: str | None = UNSET,
        metadata: Mapping[str, Any] | None = UNSET,
        merge: Mapping[str, Any] = UNSET,
        expires_in: timedelta | None = UNSET,
    ) -> None:
        """Like ``update``."""
        await self._arun(
            operations.update_thread(
                self._desk, self.name(thread), title, metadata, _micros(expires_in), merge
            )
        )

    def threads(
        self,
        *,
        metadata: Mapping[str, Any] | None = None,
        limit: int = 50,
        after: ThreadInfo | None = None,
    ) -> list[ThreadInfo]:
        """List the threads of this scope, the one last active first; those that have all of
        ``metadata``. For the next page pass the last one as ``after``."""
        return [_info(d) for d in self._run(self._listed(metadata, limit, after))]

    async def athreads(
        self,
        *,
        metadata: Mapping[str, Any] | None = None,
        limit: int = 50,
        after: ThreadInfo | None = None,
    ) -> list[ThreadInfo]:
        """Like ``threads``."""
        return [_info(d) for d in await self._arun(self._listed(metadata, limit, after))]

    def _listed(
        self, metadata: Mapping[str, Any] | None, limit: int, after: ThreadInfo | None
    ) -> Flow[list[Described]]:
        check_after(after, ThreadInfo)
        place: ThreadPlace | None = None
        if after is not None:
            at = None if after.last_active is None else microseconds(after.last_active)
            name = SessionName(
                key=after.key, tenant=after.tenant, user=after.user, agent=after.agent
            )
            place = ThreadPlace(at, name.shard, after.number)
        return operations.list_threads(
            self._desk, self.tenant, self.user, self.agent, metadata, limit, place
        )

    def prune_expired(self) -> list[str]:
        """Delete the threads of this scope that have expired, and say which."""
        return self._run(operations.prune_expired(self._desk, self.tenant, self.user, self.agent))

    async def aprune_expired(self) -> list[str]:
        """Like ``prune_expired``."""
        return await self._arun(
            operations.prune_expired(self._desk, self.tenant, self.user, self.agent)
        )

    def turn(
        self, thread: str, *, patience: float = 60.0, lease: float = LEASE
    ) -> AbstractContextManager[None]:
        """Hold a thread while a turn runs on it: whoever else asks for it waits, at most
        ``patience`` seconds, and raises TurnTaken then. The lease is renewed meanwhile; who dies
        holds it no longer than that. Who was held up for longer, and writes to the thread in the
        block after another took over, is refused by Fenced."""
        return self._holder(thread, patience, lease).around_thread(self._desk, self._run)

    def aturn(
        self, thread: str, *, patience: float = 60.0, lease: float = LEASE
    ) -> AbstractAsyncContextManager[None]:
        """Like ``turn``."""
        return self._holder(thread, patience, lease).aaround_thread(self._desk, self._arun)

    def _holder(self, thread: str, patience: float, lease: float) -> Holder:
        check_range("patience", patience, "a number of seconds", 0.0, LONGEST)
        return Holder("checkpoint_threads", self.name(thread), wait=patience, lease=lease)

    def __repr__(self) -> str:
        scope = "".join(
            f", {part}={given!r}"
            for part, given in (("tenant", self.tenant), ("user", self.user), ("agent", self.agent))
            if given
        )
        return f"CheckpointLog({self.store!r}{scope})"


def _info(found: Described) -> ThreadInfo:
    about = unpacked(None if found.about is None else bytes(found.about))
    return ThreadInfo(
        tenant=found.tenant,
        user=found.user,
        agent=found.agent,
        key=found.key,
        title=about.get("title"),
        metadata=about.get("metadata", {}),
        created_at=moment_or_none(found.created),
        last_active=moment_or_none(found.last_active),
        expires_in=span(found.expires_in),
        damaged=found.damage,
        number=found.number,
    )


def _micros(given: timedelta | None) -> Any:
    return given if given is UNSET else lifetime("expires_in", given)
