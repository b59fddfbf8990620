"""Choose the checkpoints of a thread that nobody needs when the newest are to be kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from onrecord import CheckpointLog
from onrecord.adapters.calls import Talk, call
from onrecord.checkpoint_log import PAGE, Entry, Item


def superseded(
    log: CheckpointLog, thread: str, load: Callable[[Item], Any]
) -> Talk[dict[str, list[str]]]:
    """Find, by namespace, all but the newest and what that cannot be read without.

    What is added while this looks has a parent among those kept, and is not in the answer.
    """
    namespaces: list[str] = yield from call(log.namespaces, thread)
    lines: dict[str, list[Entry]] = {}
    for namespace in namespaces:
        lines[namespace] = yield from _line(log, thread, namespace)
    gone: dict[str, list[str]] = {}
    for namespace, entries in lines.items():
        kept = _kept(entries, load)
        gone[namespace] = [entry.id for entry in entries if entry.id not in kept]
    roots = set(gone.get("", ()))
    for namespace, entries in lines.items():
        # A call of a subgraph has a namespace of its own, which ends in its task's id; what is
        # named without one outlives each call.
        if entries and ":" in namespace.rsplit("|", 1)[-1]:
            root = (load(entries[0].body[1]).get("parents") or {}).get("")
            if root in roots:
                gone[namespace] = [entry.id for entry in entries]
    return gone


def _line(log: CheckpointLog, thread: str, namespace: str) -> Talk[list[Entry]]:
    entries: list[Entry] = []
    before: int | None = None
    while True:
        page: list[Entry] = yield from call(log.page, thread, namespace, before=before)
        entries += page
        if len(page) < PAGE:
            return entries
        before = page[-1].row.number


def _kept(entries: list[Entry], load: Callable[[Item], Any]) -> set[str]:
    """Find the newest, and its parents as far back as a channel of deltas is made from them."""
    if not entries:
        return set()
    by_id = {entry.id: entry for entry in entries}
    entry: Entry | None = entries[0]
    assert entry is not None
    kept = {entry.id}
    counters = load(entry.body[1]).get("counters_since_delta_snapshot") or {}
    versions = load(entry.body[0])["channel_versions"]
    wanted = {ch for ch in counters if ch in versions} - entry.channels
    while wanted and entry is not None and entry.parent is not None:
        entry = by_id.get(entry.parent)
        if entry is not None:
            kept.add(entry.id)
            wanted -= entry.channels
    return kept
