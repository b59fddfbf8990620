"""What thread is meant, and which checkpoints belong to one turn, so that two turns at once
cannot go on side by side.

LangGraph says nowhere what a run continues: it asks for the newest checkpoint and names it as the
parent of its first, as does a fork on purpose. So the id that it is given says how it was asked
for, by its class: it travels where the id does, and is a str to all who look at it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from langgraph.checkpoint.base import CheckpointMetadata

from recollect import Misconfigured, ThreadInfo

_RUNNING: Final = "__pregel_"
"""Begins the keys that only the config of a running graph has."""


class HandedOut(str):
    """The id of a checkpoint in a config of ours. Pickled or written down it is the plain id:
    whoever names it elsewhere means to go on from there."""

    __slots__ = ()

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        return str, (str(self),)

    def __copy__(self) -> HandedOut:
        return self

    def __deepcopy__(self, memo: object) -> HandedOut:
        return self


class Newest(HandedOut):
    """The id of a checkpoint that was asked for as the newest of its thread."""

    __slots__ = ()


def thread_key(given: object) -> str:
    """A thread's id, as people have it. A config instead of its id would be a thread that nobody
    has: empty to read, and nothing to wait for."""
    if isinstance(given, ThreadInfo):
        return given.key
    if isinstance(given, str | int | UUID):
        return str(given)
    hint = ": config['configurable']['thread_id']" if isinstance(given, dict) else ""
    raise Misconfigured(f"A thread's id is needed, not a {type(given).__name__}{hint}.")


def is_of_a_turn(configurable: Mapping[str, Any], metadata: CheckpointMetadata) -> bool:
    """Whether a checkpoint belongs to a turn that continues the newest of its thread.

    That holds for each of its steps, not for the first alone: a turn that began while this one
    was at work continues one of its steps, and then this one has nothing left to continue.
    """
    parent = configurable.get("checkpoint_id")
    if isinstance(parent, HandedOut):
        return isinstance(parent, Newest)
    if parent is not None:
        # A run names so what it has stored the step before, after a fork as well. Elsewhere it
        # is an id that somebody has written down, and going on from it is meant.
        return _is_running(configurable)
    if configurable.get("checkpoint_ns"):
        # Of a subgraph that remembered nothing; or one that is replayed, since then LangGraph
        # asks for no newest checkpoint, and going on from an old one is meant.
        return False
    # A turn that found nothing has no checkpoint to name, so it is known by the company it keeps.
    return metadata.get("source") == "update" or _is_running(configurable)


def _is_running(configurable: Mapping[str, Any]) -> bool:
    """Whether a config is that of a running graph."""
    return any(key.startswith(_RUNNING) for key in configurable)
