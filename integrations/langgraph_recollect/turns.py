"""What thread is meant, and which checkpoints belong to one turn, so that two turns at once
cannot go on side by side.

LangGraph says nowhere what a run continues: it asks for the newest checkpoint and names it as the
parent of its first, as does a fork on purpose. So what it is given carries a note.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from langgraph.checkpoint.base import CheckpointMetadata

from recollect import Misconfigured, ThreadInfo

_LATEST: Final = "__recollect_latest"
"""In a config: the checkpoint it was given as the newest of its thread, or None where the config
named one. LangGraph hands it back with all that a run writes; a name that begins so is left out
of metadata."""
_RUNNING: Final = "__pregel_"
"""Begins the keys that only the config of a running graph has."""


def thread_key(given: object) -> str:
    """A thread's id, as people have it. A config instead of its id would be a thread that nobody
    has: empty to read, and nothing to wait for."""
    if isinstance(given, ThreadInfo):
        return given.key
    if isinstance(given, str | int | UUID):
        return str(given)
    hint = ": config['configurable']['thread_id']" if isinstance(given, dict) else ""
    raise Misconfigured(f"A thread's id is needed, not a {type(given).__name__}{hint}.")


def note_begun(found: dict[str, Any], asked: Mapping[str, Any]) -> None:
    """Note in the config of a checkpoint that was found whether it was asked for by its id."""
    if asked.get("checkpoint_id") is None:
        found[_LATEST] = found["checkpoint_id"]
    elif asked.get(_LATEST) is not None or _is_running(asked):
        found[_LATEST] = None


def is_of_a_turn(configurable: Mapping[str, Any], metadata: CheckpointMetadata) -> bool:
    """Whether a checkpoint belongs to a turn that continues the newest of its thread.

    That holds for each of its steps, not for the first alone: a turn that began while this one
    was at work continues one of its steps, and then this one has nothing left to continue.
    """
    if _LATEST in configurable:
        # None where the config names a checkpoint, so that going on from it is meant.
        return configurable[_LATEST] is not None
    if configurable.get("checkpoint_ns"):
        # Of a subgraph that remembered nothing; or one that is replayed, since then LangGraph
        # asks for no newest checkpoint, and going on from an old one is meant.
        return False
    if configurable.get("checkpoint_id") is not None:
        return _is_running(configurable)  # a later step of a turn that found nothing
    # A turn that found nothing has no checkpoint to name, so it is known by the company it keeps.
    return metadata.get("source") == "update" or _is_running(configurable)


def _is_running(configurable: Mapping[str, Any]) -> bool:
    """Whether a config is that of a running graph."""
    return any(key.startswith(_RUNNING) for key in configurable)
