"""Channels of deltas: what they were given since their last snapshot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from langchain_core.messages import BaseMessage
from langgraph.graph.message import add_messages

from langchain_onrecord import from_langchain
from langgraph_onrecord.values import _DeltaSnapshot
from onrecord import CheckpointLog, Message, Misconfigured
from onrecord.adapters.calls import Talk, call
from onrecord.checkpoint_log import PAGE, Entry, State, Written

if TYPE_CHECKING:
    from langgraph.checkpoint.base import DeltaChannelHistory

History = tuple[State | None, list[Written]]
"""Where the value last stood whole, and what was written since, oldest first."""


def delta_history(
    log: CheckpointLog, thread: str, namespace: str, id: str | None, channels: Sequence[str]
) -> Talk[dict[str, History]]:
    """Collect what each channel was given along the parents, back to where it stood whole.

    A checkpoint's own writes make the next one, so those of the target are left out. Parents are
    read a page at a time: 5,000 steps without a snapshot are 100 statements, not 5,000.
    """
    seeds: dict[str, State | None] = dict.fromkeys(channels)
    writes: dict[str, list[Written]] = {channel: [] for channel in channels}
    remaining = set(channels)
    if not remaining:
        return {}
    entry: Entry | None = yield from call(log.entry, thread, namespace, id)
    page: dict[str, Entry] = {}
    before = None if entry is None else entry.row.number
    while entry is not None and entry.parent is not None and remaining:
        parent = page.get(entry.parent)
        if parent is None:
            found = yield from call(log.page, thread, namespace, before=before, limit=PAGE)
            page = {e.id: e for e in found}
            before = found[-1].row.number if found else before
            parent = page.get(entry.parent)
        if parent is None:  # far behind, where many other branches stand between
            parent = yield from call(log.entry, thread, namespace, entry.parent)
            before = None if parent is None else parent.row.number
        entry = parent
        if entry is None:
            break
        for written in reversed(entry.writes):
            if written.channel in remaining:
                writes[written.channel].append(written)
        whole = remaining & entry.channels
        if whole:
            (state,) = yield from call(log.filled, thread, [entry])
            for channel in whole:
                seeds[channel] = state
            remaining -= whole
    return {channel: (seeds[channel], writes[channel][::-1]) for channel in channels}


def messages_of(value: Any, history: DeltaChannelHistory | None) -> list[Message]:
    """Read a channel of messages: from its value, or from what it was given."""
    fault: Exception | None = None
    if history is not None:
        try:
            value = _replayed(history)
        except (NotImplementedError, TypeError, ValueError) as refused:  # written: no messages
            fault = refused
    if isinstance(value, _DeltaSnapshot):
        value = value.value
    if not isinstance(value, list) or not all(isinstance(m, BaseMessage) for m in value):
        raise Misconfigured(
            "This channel is no list of messages. Name the one that is: transcript(…, channel=…)."
        ) from fault
    return [from_langchain(message) for message in value]


def _replayed(history: DeltaChannelHistory) -> Any:
    """Compute the value of a channel of deltas. One that was given nothing, or began as something
    else than a list, is none: a channel that only says which node is next, for one."""
    seed: Any = history.get("seed", [])
    if not isinstance(seed, list | _DeltaSnapshot) or not ("seed" in history or history["writes"]):
        return None
    try:
        from langgraph.channels.delta import DeltaChannel
    except ImportError:  # of LangGraph 1.0, which has no channels of deltas
        return None
    channel: DeltaChannel[Any] = DeltaChannel(_added, list).from_checkpoint(seed)
    channel.replay_writes(history["writes"])
    return channel.get()


def _added(messages: Any, writes: Sequence[Any]) -> Any:
    for written in writes:
        messages = add_messages(messages, written)
    return messages
