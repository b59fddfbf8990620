"""One checkpoint under the lock of its log: the rules of who may add what, and the rows of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from onrecord.codec import pack_value, unpack_value
from onrecord.codec.items import Item, pack
from onrecord.codec.refs import pack_refs
from onrecord.errors import Cleared, Conflict, Misconfigured, shown
from onrecord.flows.checkpoints.memory import Base, LastSeen
from onrecord.flows.checkpoints.values import Listing, New
from onrecord.ledger.checkpoints import checkpoints as rows_of
from onrecord.ledger.checkpoints import threads
from onrecord.scope import SessionName
from onrecord.stored.checkpoints import (
    LAST_NUMBER,
    Added,
    ListKey,
    NamespaceLog,
    Ref,
    Refs,
    Thread,
    id_key,
    id_of,
    is_listing,
    list_name,
    mark_of,
    run_key,
    runs_of,
)
from onrecord.stored.clock import MICROSECONDS, now, period_of

if TYPE_CHECKING:
    from onrecord.ledger.database.transaction import Transaction

Plan: TypeAlias = dict[str, "Ref | Item | Listing"]
"""What of a checkpoint is referred to and what is written, by channel."""
_NONE: Final = [0, 0]


class Committed(NamedTuple):
    seen: LastSeen
    number: int
    refs: Refs
    fresh: list[tuple[int, list[tuple[int, Item]]]]
    """Of each channel list, the items that were written with their numbers."""


class Adding(NamedTuple):
    """One checkpoint under the lock of its log."""

    squeezed: bool
    seen: LastSeen | None
    """Where this process saw the log last."""
    name: SessionName
    namespace: str
    key: bytes
    parent: bytes | None
    body: bytes
    new: New
    base: Base | None
    plan: Plan
    alone: bool
    label: bytes | None
    """Metadata to be added to the thread's."""
    labelled: int | None
    """The epoch in which the thread is known to have it."""
    expires_in: int | None
    again: bool
    """Whether an earlier attempt may have written it."""

    def commit(self, txn: Transaction) -> Committed | None:
        """Write it; None where something of the thread was taken away since it was planned."""
        at = now()
        seen = self.seen
        if txn.can.one_statement_writes and seen is not None:
            committed = self._at_once(txn, seen, at)
            if committed is not None:
                return committed
        return self._step_by_step(txn, seen, at)

    def _at_once(self, txn: Transaction, seen: LastSeen, at: int) -> Committed | None:
        """In one statement, where what is known of the log is enough and still so."""
        growing = self._growing()
        if (
            seen.id != self.parent
            or (self.label is not None and self.labelled != seen.namespace_log.epoch)
            or (self.expires_in is not None and self.expires_in != seen.expires_in)
            or (self.base is not None and self.base.namespace_log.epoch != seen.namespace_log.epoch)
            or not growing.keys() <= seen.lists.keys()
        ):
            return None
        try:
            added, refs, grown, fresh = self._made(seen.namespace_log.head + 1, seen.lists)
        except Misconfigured:  # a number that others may have added: under the lock it is certain
            return None
        second = at // MICROSECONDS
        touch = None if second <= seen.second else {"now": at, "period": period_of(at)}
        number = rows_of.add_at_once(txn, seen.namespace_log, added, self._packed(refs), touch)
        if number is None:
            return None
        namespace_log = seen.namespace_log._replace(head=number)
        return Committed(
            seen._replace(
                namespace_log=namespace_log,
                id=self.key,
                lists={**seen.lists, **grown},
                second=max(second, seen.second),
            ),
            number,
            refs,
            fresh,
        )

    def _step_by_step(self, txn: Transaction, seen: LastSeen | None, at: int) -> Committed | None:
        thread = threads.lock_or_create(txn, self.name, at)
        ids = [self.key, *map(id_key, self.new.under)]
        refuse_late(self.name, thread, ids if self.parent is None else [*ids, self.parent])
        if not thread.live:
            if self.parent is not None and thread.deleted_ids is not None:
                raise _late(self.name)
            threads.revive(txn, self.name, thread, at)
        namespace_log = rows_of.lock_log(txn, thread, self.namespace)
        if self.base is not None and self.base.namespace_log.epoch != thread.epoch:
            return None
        if (number := rows_of.number_of(txn, namespace_log, self.key)) is not None:
            if self.again:
                row = rows_of.row_at(txn, namespace_log, number)
                return Committed(LastSeen(namespace_log, b"", {}, 0), number, row.refs, [])
            # Another of its id makes way, and nobody goes on to refer to what it had.
            rows_of.empty(txn, namespace_log, number)
            thread = threads.next_epoch(txn, thread, at)
            namespace_log = rows_of.lock_log(txn, thread, self.namespace)
        as_seen = seen is not None and seen.namespace_log == namespace_log
        if seen is None or not as_seen or seen.id != self.parent:
            self._refuse_second(txn, thread, namespace_log)
        known = dict(seen.lists) if seen is not None and as_seen else {}
        for channel in self._growing():
            if channel not in known:
                name = list_name(self.namespace, channel)
                channel_list, used = rows_of.lock_list(txn, thread, name)
                last = rows_of.last_item(txn, ListKey(thread.shard, channel_list))
                known[channel] = (channel_list, max(used, last))
        added, refs, grown, fresh = self._made(namespace_log.head + 1, known)
        number = rows_of.add(txn, namespace_log, added, self._packed(refs))
        threads.touch(txn, thread, at, self.expires_in)
        self._tell(txn, thread)
        second = max(at, thread.last_active) // MICROSECONDS
        moved = namespace_log._replace(head=number)
        return Committed(
            LastSeen(moved, self.key, {**known, **grown}, second, self.expires_in),
            number,
            refs,
            fresh,
        )

    def _packed(self, refs: Refs) -> bytes:
        return pack_refs(refs, self.key, self.parent)

    def _refuse_second(self, txn: Transaction, thread: Thread, namespace_log: NamespaceLog) -> None:
        if self.parent is None:
            if self.alone and not rows_of.is_empty(txn, namespace_log):
                raise Conflict(
                    f"Thread {self.name} was begun by somebody else at the same moment. This turn "
                    f"was not stored. Run it again, or let turns wait for each other with turn()."
                )
            return
        number = rows_of.number_of(txn, namespace_log, self.parent)
        if number is None:
            if thread.deleted_ids is not None:
                raise _late(self.name)
            if self.alone:
                # LangGraph stores the steps after one that was refused, if it is let.
                raise Conflict(
                    f"Thread {self.name} has no checkpoint {id_of(self.parent)}: it was refused, "
                    f"pruned or never there. What continues it was not stored. Run the turn "
                    f"again on what is there now."
                )
            return  # it was pruned, or comes from elsewhere
        if (
            self.alone
            and (child := rows_of.child_of(txn, namespace_log, number, self.parent)) is not None
        ):
            raise Conflict(
                f"Thread {self.name} was continued by somebody else: {id_of(self.parent)} is "
                f"followed by {id_of(child) if child else 'another'} already. This turn is not "
                f"stored, or not to its end. Run it again on what is there now, or let turns "
                f"wait for each other with turn()."
            )

    def _tell(self, txn: Transaction, thread: Thread) -> None:
        if self.label is None or self.labelled == thread.epoch:
            return
        about = {} if not thread.live or thread.about is None else unpack_value(thread.about)
        metadata = {**about.get("metadata", {}), **unpack_value(self.label)}
        if metadata != about.get("metadata"):
            threads.set_about(txn, thread, pack_value({**about, "metadata": metadata}, "thread"))

    def _growing(self) -> dict[str, list[Item]]:
        """Of each list that is not all there, what is to be written."""
        growing = {}
        for channel, value in self.plan.items():
            if isinstance(value, Listing):
                fresh = [item for item in value.items if type(item) is tuple]
                # An empty list has its number too: where else would it be?
                if fresh or self.base is None or not is_listing(self.base.refs.get(channel, _NONE)):
                    growing[channel] = fresh
        return growing

    def _made(
        self, number: int, known: Mapping[str, tuple[int, int]]
    ) -> tuple[Added, Refs, dict[str, tuple[int, int]], list[tuple[int, list[tuple[int, Item]]]]]:
        """The rows to write, under the number the checkpoint gets."""
        squeezed = self.squeezed
        refs: Refs = {}
        values: list[Item] = []
        rows: list[tuple[int, int, int, bytes]] = []
        grown: dict[str, tuple[int, int]] = {}
        fresh: list[tuple[int, list[tuple[int, Item]]]] = []
        for channel, value in self.plan.items():
            if isinstance(value, list):
                refs[channel] = value
            elif isinstance(value, Listing):
                if channel in known:
                    channel_list, last = known[channel]
                else:
                    assert self.base is not None, "its number was looked up where there is no base"
                    channel_list, last = self.base.refs[channel][0], 0
                new: list[Item] = []
                numbers: list[int] = []
                for item in value.items:
                    if type(item) is tuple:
                        new.append(item)
                        numbers.append(last + len(new))
                    else:
                        numbers.append(item)  # type: ignore[arg-type]
                runs = runs_of(numbers)
                end = last + len(new)
                most = end if channel in known else LAST_NUMBER
                if runs and not 0 < min(runs) <= max(runs) <= most:
                    raise Misconfigured(
                        f"The list in channel {channel!r} has numbers from {shown(min(runs))} to "
                        f"{shown(max(runs))}, and items are there from 1 to {most}. Nothing was "
                        f"written: give those that State.numbers has told."
                    )
                refs[channel] = [channel_list, *runs]
                if new:
                    rows.append((channel_list, end, len(new), pack(new, squeezed=squeezed)))
                    grown[channel] = (channel_list, end)
                    fresh.append((channel_list, list(enumerate(new, last + 1))))
            else:
                refs[channel] = [number, len(values)]
                values.append(value)
        run = None if self.new.run is None else run_key(self.new.run)
        packed = pack(values, squeezed=squeezed) if values else None
        return (
            Added(self.key, self.parent, run, self.body, refs, packed, rows),
            refs,
            grown,
            fresh,
        )


def refuse_late(name: SessionName, thread: Thread, ids: Sequence[bytes]) -> None:
    """Refuse who continues what was deleted with the thread."""
    if thread.deleted_ids:
        marks = {thread.deleted_ids[i : i + 8] for i in range(0, len(thread.deleted_ids), 8)}
        if any(mark_of(id) in marks for id in ids):
            raise _late(name)


def _late(name: SessionName) -> Cleared:
    return Cleared(
        f"Thread {name} was deleted while this was on its way. Nothing was written, and what was "
        f"deleted stays so. Begin the thread anew, without a checkpoint id."
    )
