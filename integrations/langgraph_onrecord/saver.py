"""The checkpointer: LangGraph's interface, sync and async on one object, over a CheckpointLog."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    get_checkpoint_id,
)
from langgraph.checkpoint.serde.base import SerializerProtocol

from langgraph_onrecord.saver_flows import Messages, Names, Steps, next_step
from langgraph_onrecord.turn_notes import thread_key
from langgraph_onrecord.underway import settled, stored
from langgraph_onrecord.values import Memory
from onrecord import CheckpointLog, Store, ThreadInfo
from onrecord.adapters.calls import Call, atalk, talk
from onrecord.arguments import check_choice, lifetime
from onrecord.checkpoint_log import LEASE

if TYPE_CHECKING:
    from langgraph.checkpoint.base import DeltaChannelHistory

Infos: TypeAlias = list[ThreadInfo]  # inside the class, ``list`` is what LangGraph calls so


class OnrecordSaver(Steps):
    """Checkpoints of graphs in an Onrecord store: ``compile(checkpointer=OnrecordSaver(store))``.

    Makes no connection and holds none: the store does. Use one for the whole application, or one
    per user.
    """

    def __init__(
        self,
        store: Store,
        *,
        tenant: str = "",
        user: str = "",
        agent: str = "",
        serde: SerializerProtocol | None = None,
        second_turn: Literal["refuse", "fork"] = "refuse",
        expires_in: timedelta | None = None,
    ) -> None:
        """
        tenant, user, agent   whose threads these are; nothing outside is seen or touched
        serde                 the serializer of values; LangGraph's own by default
        second_turn           two turns began on the same checkpoint, and one has been stored: the
                              other is refused with Conflict, or becomes a fork, as elsewhere. To
                              let turns wait for each other, see ``turn``.
        expires_in            a thread that was quiet for so long goes with ``prune_expired``
        """
        super().__init__(serde=serde)
        check_choice("second_turn", second_turn, ("refuse", "fork"))
        lifetime("expires_in", expires_in)  # here, and not at the first put
        self.log = CheckpointLog(store, tenant=tenant, user=user, agent=agent)
        self.second_turn = second_turn
        self.expires_in = expires_in
        self._memory = Memory()

    # -- reading ---------------------------------------------------------------------------------

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Read the checkpoint that a config names, or the newest of its thread; None if there is
        none.

        A failed read raises: an outage never looks like a new conversation.
        """
        return talk(self._got(config))

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Like ``get_tuple``."""
        if get_checkpoint_id(config) is None:
            await settled(self._line(config))
        return await atalk(self._got(config))

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """List checkpoints, newest first: of a thread, or of all threads without a config."""
        walk = self._listed(config, filter, before, limit)
        answer: Any = None
        while (step := next_step(walk, answer)) is not None:
            answer = None
            if isinstance(step, Call):
                answer = step.method(*step.given, **step.settings)
            else:
                yield step

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """Like ``list``."""
        walk = self._listed(config, filter, before, limit)
        answer: Any = None
        while (step := next_step(walk, answer)) is not None:
            answer = None
            if isinstance(step, Call):
                answer = await step.twin(*step.given, **step.settings)
            else:
                yield step

    # -- writing ---------------------------------------------------------------------------------

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Store a checkpoint: all of it, or nothing and an error.

        Conflict says that another turn has continued the same checkpoint, Cleared that the thread
        was deleted meanwhile.
        """
        return talk(self._put(config, checkpoint, metadata, new_versions))

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Like ``put``. A cancellation leaves it to its end."""
        line = self._line(config)
        return await stored(line, atalk(self._put(config, checkpoint, metadata, new_versions)))

    def put_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """Store a task's writes towards the next checkpoint."""
        self.log.put_writes(*self._written(config, writes, task_id, task_path))

    async def aput_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """Like ``put_writes``."""
        await self.log.aput_writes(*self._written(config, writes, task_id, task_path))

    # -- taking away, and copying ----------------------------------------------------------------

    def delete_thread(self, thread_id: str) -> None:
        """Delete a thread for good. A run that still writes to it gets Cleared."""
        self.log.delete(thread_key(thread_id))

    async def adelete_thread(self, thread_id: str) -> None:
        """Like ``delete_thread``."""
        await self.log.adelete(thread_key(thread_id))

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Delete the checkpoints that some runs have made, in every thread of the scope."""
        talk(self._deleted_for_runs(run_ids))

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Like ``delete_for_runs``."""
        await atalk(self._deleted_for_runs(run_ids))

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy a thread with its whole history to one that has no checkpoints."""
        self.log.copy(thread_key(source_thread_id), thread_key(target_thread_id))

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Like ``copy_thread``."""
        await self.log.acopy(thread_key(source_thread_id), thread_key(target_thread_id))

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Delete all but the newest checkpoint of each namespace, or with ``"delete"`` all.

        Of a thread with a DeltaChannel also those are kept that its value is made from, back to
        its last snapshot. Calls of subgraphs go with the checkpoints that they were made from.
        """
        talk(self._pruned(thread_ids, strategy))

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Like ``prune``."""
        await atalk(self._pruned(thread_ids, strategy))

    def prune_expired(self) -> Names:
        """Delete the threads of this scope that were quiet for longer than they expire in."""
        return self.log.prune_expired()

    async def aprune_expired(self) -> Names:
        """Like ``prune_expired``."""
        return await self.log.aprune_expired()

    # -- what applications ask for ---------------------------------------------------------------

    def threads(
        self,
        *,
        metadata: Mapping[str, Any] | None = None,
        limit: int = 50,
        after: ThreadInfo | None = None,
    ) -> Infos:
        """List the threads of this scope, the one last active first. ``metadata`` leaves those
        whose config or metadata had such values; for the next page pass the last one as
        ``after``."""
        return self.log.threads(metadata=metadata, limit=limit, after=after)

    async def athreads(
        self,
        *,
        metadata: Mapping[str, Any] | None = None,
        limit: int = 50,
        after: ThreadInfo | None = None,
    ) -> Infos:
        """Like ``threads``."""
        return await self.log.athreads(metadata=metadata, limit=limit, after=after)

    def transcript(self, thread_id: str, *, channel: str = "messages") -> Messages:
        """Read the messages of a thread as it stands, as ``onrecord.Message``."""
        return talk(self._transcript(thread_key(thread_id), channel))

    async def atranscript(self, thread_id: str, *, channel: str = "messages") -> Messages:
        """Like ``transcript``."""
        return await atalk(self._transcript(thread_key(thread_id), channel))

    def turn(
        self, thread_id: str, *, patience: float = 60.0, lease: float = LEASE
    ) -> AbstractContextManager[None]:
        """Let turns on one thread wait for each other: ``with saver.turn(id): graph.invoke(…)``.

        Across threads and processes. Conflict is raised after ``patience`` seconds, and says who
        holds the thread. A holder that dies holds it no longer than ``lease``; one that lives
        renews it.
        """
        return self.log.turn(thread_key(thread_id), patience=patience, lease=lease)

    def aturn(
        self, thread_id: str, *, patience: float = 60.0, lease: float = LEASE
    ) -> AbstractAsyncContextManager[None]:
        """Like ``turn``."""
        return self.log.aturn(thread_key(thread_id), patience=patience, lease=lease)

    def setup(self) -> None:
        """Make the tables, as other savers want it. Without it they are made at first use."""
        self.log.store.migrate()

    async def asetup(self) -> None:
        """Like ``setup``."""
        await self.log.store.amigrate()

    # -- LangGraph's own -------------------------------------------------------------------------

    def get_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """Collect what some channels were given since their last snapshot, along the parents."""
        return talk(self._history(config, channels))

    async def aget_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """Like ``get_delta_channel_history``."""
        return await atalk(self._history(config, channels))

    def get_next_version(self, current: Any, channel: None) -> Any:
        """Count versions up in whole numbers. A thread that came from another saver keeps its kind
        of versions, so that they go on in their order."""
        if isinstance(current, str):
            return f"{int(current.split('.')[0]) + 1:032}.0"
        return 1 if current is None else current + 1

    def __repr__(self) -> str:
        return f"OnrecordSaver({self.log!r})"
