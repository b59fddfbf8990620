"""What a saver does, once for both: each is a flow that sync and async methods talk through.

What LangGraph hands over at every step is the whole state. Here a list becomes numbers of items
that are there and the few that are not, a channel that was not written to is not looked at, and
the rest of a checkpoint is some 300 bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence, Set
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    PendingWrite,
    get_checkpoint_id,
    get_checkpoint_metadata,
)

from langgraph_onrecord.deltas import delta_history, messages_of
from langgraph_onrecord.pruning import superseded
from langgraph_onrecord.turn_notes import asked, is_of_a_turn, is_running, thread_key
from langgraph_onrecord.underway import Line
from langgraph_onrecord.values import Known, Lists, Memory, Remembered, Values, list_in
from onrecord import CheckpointLog, Conflict, Message, Misconfigured, ThreadInfo
from onrecord.adapters.calls import Call, Talk, call
from onrecord.arguments import check_choice, check_list
from onrecord.checkpoint_log import PAGE, Entry, Item, Listing, New, Put, Same, State, Value

if TYPE_CHECKING:
    from langgraph.checkpoint.base import DeltaChannelHistory

_NOT_ABOUT_THREADS: Final = frozenset(
    {"source", "step", "run_id", "writes", "counters_since_delta_snapshot"}
)

Places: TypeAlias = list[tuple[int, str, Item]]
Names: TypeAlias = list[str]
Messages: TypeAlias = list[Message]
Walk: TypeAlias = Generator[Call | CheckpointTuple, Any, None]


class Steps(BaseCheckpointSaver[Any]):
    """The flows of a saver."""

    log: CheckpointLog
    second_turn: str
    expires_in: timedelta | None
    _memory: Memory

    # -- reading ---------------------------------------------------------------------------------

    def _got(self, config: RunnableConfig) -> Talk[CheckpointTuple | None]:
        thread, namespace = _thread(config), _namespace(config)
        id = get_checkpoint_id(config)
        state: State | None = yield from call(self.log.state, thread, namespace, id)
        if state is None:
            return None
        found = self._tuple(thread, state, remember=True)
        found.config["configurable"]["checkpoint_id"] = asked.note(state.entry.id, id is None)
        return found

    def _line(self, config: RunnableConfig) -> Line:
        """What is stored one after the other."""
        identity = self.log.name(_thread(config)).identity
        return id(self.log.store), identity, _namespace(config)

    def _listed(
        self,
        config: RunnableConfig | None,
        filter: dict[str, Any] | None,
        before: RunnableConfig | None,
        limit: int | None,
    ) -> Walk:
        left = limit if limit is not None else -1
        after: ThreadInfo | None = None
        while left:
            if config is None:
                infos = yield from call(self.log.threads, after=after)
                threads = [info.key for info in infos]
                after = infos[-1] if infos else None
            else:
                threads = [_thread(config)]
            for thread in threads:
                for_thread = self._listed_of(thread, config, filter, before, left)
                left = yield from for_thread
            if config is not None or after is None:
                return

    def _listed_of(
        self,
        thread: str,
        config: RunnableConfig | None,
        filter: dict[str, Any] | None,
        before: RunnableConfig | None,
        left: int,
    ) -> Generator[Call | CheckpointTuple, Any, int]:
        named = None if config is None else config["configurable"].get("checkpoint_ns")
        only = None if config is None else get_checkpoint_id(config)
        if named is None:
            namespaces = yield from call(self.log.namespaces, thread)
        else:
            namespaces = [named]
        for namespace in namespaces:
            start: int | None = None
            bound = None if before is None else get_checkpoint_id(before)
            if bound is not None:
                entry = yield from call(self.log.entry, thread, namespace, bound)
                if entry is not None:
                    start, bound = entry.row.number, None
            while left:
                page: Sequence[Entry]
                if only is not None:
                    found = yield from call(self.log.entry, thread, namespace, only)
                    page = [] if found is None else [found]
                else:
                    page = yield from call(self.log.page, thread, namespace, before=start)
                wanted = [
                    e for e in page if (bound is None or e.id < bound) and self._has(e, filter)
                ]
                # A few at a time: each may be a whole conversation.
                for i in range(0, len(wanted), 10):
                    few = wanted[i : i + 10]
                    few = few if left < 0 else few[:left]
                    states = yield from call(self.log.filled, thread, few)
                    for state in states:
                        listed = self._tuple(thread, state)
                        if config is not None and is_running(config["configurable"]):
                            # A subgraph that is replayed goes on from one of a list.
                            named = listed.config["configurable"]
                            named["checkpoint_id"] = asked.note(named["checkpoint_id"], False)
                        yield listed
                        left -= 1
                    if not left:
                        return 0
                if only is not None or len(page) < PAGE:
                    break
                start = page[-1].row.number
        return left

    def _has(self, entry: Entry, filter: Mapping[str, Any] | None) -> bool:
        if not filter:
            return True
        metadata = self._values.load(entry.body[1])
        return all(metadata.get(key) == value for key, value in filter.items())

    def _tuple(self, thread: str, state: State, remember: bool = False) -> CheckpointTuple:
        entry = state.entry
        checkpoint = self._values.load(entry.body[0])
        snapshots = checkpoint.pop("onrecord_snapshots", ())
        values, lists = self._values.channels(state, snapshots)
        if remember:
            identity = self.log.name(thread).identity
            found = Remembered(dict(checkpoint["channel_versions"]), lists)
            self._memory.learn(identity, entry.namespace, entry.id, found)
        parent = entry.parent
        return CheckpointTuple(
            _config(thread, entry.namespace, entry.id),
            {**checkpoint, "id": entry.id, "channel_values": values},  # type: ignore[typeddict-item]
            self._values.load(entry.body[1]),
            None if parent is None else _config(thread, entry.namespace, parent),
            [(w.task, w.channel, self._values.load(w.item)) for w in entry.writes],
        )

    # -- writing ---------------------------------------------------------------------------------

    def _put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> Talk[RunnableConfig]:
        configurable = config["configurable"]
        thread, namespace = _thread(config), _namespace(config)
        parent = get_checkpoint_id(config)
        identity = self.log.name(thread).identity
        before = yield from self._before(thread, namespace, parent)
        known = before.lists
        versions = dict(checkpoint["channel_versions"])
        # The copy of a checkpoint is a child of the same parent and says that nothing is new:
        # only versions tell what the parent does not have.
        new = {ch for ch, version in versions.items() if version != before.versions.get(ch)}
        new.update(new_versions)
        values, lists, snapshots = self._given(checkpoint["channel_values"], new, known)
        rest: dict[str, Any] = {**checkpoint}
        del rest["id"], rest["channel_values"]
        if snapshots:
            rest["onrecord_snapshots"] = snapshots
        about = get_checkpoint_metadata(config, metadata)
        run = about.get("run_id")
        added = New(
            checkpoint["id"],
            parent,
            (self._values.dump(rest), self._values.dump(about)),
            values,
            run if isinstance(run, str) else None,
            tuple((metadata.get("parents") or {}).values()),
        )
        labels = None if namespace else _labels(about)

        def putting(alone: bool) -> Talk[Put]:
            return call(
                self.log.put,
                thread,
                namespace,
                added,
                alone=alone,
                metadata=labels,
                expires_in=self.expires_in,
            )

        alone = self.second_turn == "refuse" and is_of_a_turn(configurable, metadata)
        try:
            put = yield from putting(alone)
        except Conflict:
            if not (yield from self._is_of_one_step(thread, namespace, parent, metadata)):
                raise
            put = yield from putting(False)
        # What is not among the values, as a channel of deltas, is as it was.
        stored: Lists = {ch: old for ch, old in known.items() if old.epoch == put.epoch}
        for channel, prints in lists.items():
            stored[channel] = Known(put.epoch, put.numbers[channel], prints)
        found = Remembered(versions, stored)
        self._memory.learn(identity, namespace, checkpoint["id"], found, instead_of=parent)
        return _config(thread, namespace, checkpoint["id"])

    def _is_of_one_step(
        self, thread: str, namespace: str, parent: str | None, metadata: CheckpointMetadata
    ) -> Talk[bool]:
        """Whether a subgraph's checkpoint is beside another that the same step of the parent
        graph has called for: Send("sub", …) twice, and a subgraph that keeps its state."""
        if not namespace:
            return False
        page: Sequence[Entry] = yield from call(self.log.page, thread, namespace)
        return any(
            self._values.load(entry.body[1]).get("parents") == metadata.get("parents")
            for entry in page
            if entry.parent == parent
        )

    def _before(self, thread: str, namespace: str, parent: str | None) -> Talk[Remembered]:
        """Find what is remembered of the checkpoint that is continued."""
        if parent is None:
            return Remembered({}, {})
        found = self._memory.of(self.log.name(thread).identity, namespace, parent)
        if found is not None:
            return found
        entry: Entry | None = yield from call(self.log.entry, thread, namespace, parent)
        if entry is None:
            return Remembered({}, {})
        return Remembered(self._values.load(entry.body[0])["channel_versions"], {})

    def _given(
        self, channels: Mapping[str, Any], new: Set[str], known: Lists
    ) -> tuple[dict[str, Value], dict[str, Any], Names]:
        """Choose what to store of each channel, with fingerprints of lists, and which are
        snapshots."""
        values: dict[str, Value] = {}
        lists: dict[str, Any] = {}
        snapshots: Names = []
        for channel, value in channels.items():
            items, is_snapshot = list_in(value)
            if is_snapshot:
                snapshots.append(channel)
            written = channel in new
            if items is None:
                values[channel] = self._values.dump(value) if written else Same(self._making(value))
                continue
            # Before anything of it is serialized: see prints.py.
            prints = self._values.prints(items)
            before = known.get(channel)
            # A list that nobody has written to may have been changed in place all the same.
            same = before is not None and prints.same_as(before.prints)
            if written or (before is not None and not same):
                values[channel] = self._values.listing(items, prints, before)
            else:
                values[channel] = Same(self._making_list(items, prints))
                if before is None:
                    continue  # how it looked when it was stored is not known
            lists[channel] = prints
        return values, lists, snapshots

    def _making(self, value: Any) -> Callable[[], Item]:
        return lambda: self._values.dump(value)

    def _making_list(self, items: Sequence[Any], prints: Any) -> Callable[[], Listing]:
        return lambda: self._values.listing(items, prints, None)

    def _written(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str,
    ) -> tuple[str, str, str, str, str, Places]:
        return (
            _thread(config),
            _namespace(config),
            str(config["configurable"]["checkpoint_id"]),
            task_id,
            task_path,
            [
                (WRITES_IDX_MAP.get(channel, i), channel, self._values.dump(value))
                for i, (channel, value) in enumerate(writes)
            ],
        )

    # -- taking away -----------------------------------------------------------------------------

    def _deleted_for_runs(self, run_ids: Sequence[str]) -> Talk[None]:
        check_list("run_ids", run_ids)
        found = yield from call(self.log.of_runs, [str(run) for run in run_ids])
        of_threads: dict[str, dict[str, Names]] = {}
        for thread, namespace, id in found:
            of_threads.setdefault(thread, {}).setdefault(namespace, []).append(id)
        for thread, ids in of_threads.items():
            yield from call(self.log.drop, thread, ids)

    def _pruned(self, thread_ids: Sequence[str], strategy: str) -> Talk[None]:
        check_choice("strategy", strategy, ("keep_latest", "delete"))
        check_list("thread_ids", thread_ids)
        for thread in map(thread_key, thread_ids):
            if strategy == "delete":
                yield from call(self.log.delete, thread)
                continue
            ids = yield from superseded(self.log, thread, self._values.load)
            yield from call(self.log.drop, thread, ids)

    # -- the rest --------------------------------------------------------------------------------

    def _transcript(self, thread: str, channel: str) -> Talk[Messages]:
        state: State | None = yield from call(self.log.state, thread)
        if state is None:
            return []
        if channel in state.values:
            found = self._tuple(thread, state).checkpoint["channel_values"][channel]
            return messages_of(found, None)
        known = self._values.load(state.entry.body[0])["channel_versions"]
        if known and channel not in known:
            there = ", ".join(state.values or known)
            raise Misconfigured(f"Thread {thread!r} has no channel {channel!r}. It has: {there}.")
        config = _config(thread, "", state.entry.id)
        history = yield from self._history(config, [channel])
        return messages_of(None, history[channel])

    def _history(
        self, config: RunnableConfig, channels: Sequence[str]
    ) -> Talk[dict[str, DeltaChannelHistory]]:
        thread, namespace = _thread(config), _namespace(config)
        id = get_checkpoint_id(config)
        found = yield from delta_history(self.log, thread, namespace, id, channels)
        histories: dict[str, DeltaChannelHistory] = {}
        for channel, (seed, writes) in found.items():
            loaded: Sequence[PendingWrite] = [
                (w.task, w.channel, self._values.load(w.item)) for w in writes
            ]
            histories[channel] = {"writes": [*loaded]}
            if seed is not None:
                checkpoint = self._values.load(seed.entry.body[0])
                one = seed._replace(values={channel: seed.values[channel]})
                values, lists = self._values.channels(one, checkpoint.get("onrecord_snapshots", ()))
                histories[channel]["seed"] = values[channel]
                if id is not None and lists:
                    identity = self.log.name(thread).identity
                    known = self._memory.of(identity, namespace, id)
                    if known is not None:
                        more = known._replace(lists={**known.lists, **lists})
                        self._memory.learn(identity, namespace, id, more)
        return histories

    @property
    def _values(self) -> Values:
        # LangGraph replaces ``serde`` on a copy of the saver when it restricts what may be loaded.
        made: tuple[Any, Values] | None = self.__dict__.get("_made")
        if made is None or made[0] is not self.serde:
            made = self.__dict__["_made"] = (self.serde, Values(self.serde))
        return made[1]


def next_step(walk: Walk, answer: Any) -> Call | CheckpointTuple | None:
    try:
        return walk.send(answer)
    except StopIteration:
        return None


def _thread(config: RunnableConfig) -> str:
    try:
        return str(config["configurable"]["thread_id"])
    except KeyError:
        raise Misconfigured(
            'The config names no thread: pass {"configurable": {"thread_id": "…"}}.'
        ) from None


def _namespace(config: RunnableConfig) -> str:
    return str(config["configurable"].get("checkpoint_ns") or "")


def _config(thread: str, namespace: str, id: str) -> RunnableConfig:
    return {"configurable": {"thread_id": thread, "checkpoint_ns": namespace, "checkpoint_id": id}}


def _labels(about: Mapping[str, Any]) -> dict[str, Any]:
    """Choose the metadata of a checkpoint that is of use for a list of threads."""
    return {
        key: value
        for key, value in about.items()
        if key not in _NOT_ABOUT_THREADS and isinstance(value, str | int | float | bool)
    }
