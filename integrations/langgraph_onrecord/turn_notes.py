"""What thread is meant, and which checkpoints belong to one turn, so that two turns at once
cannot go on side by side.

LangGraph says nowhere what a run continues: it asks for the newest checkpoint and names it as the
parent of its first, as does a fork on purpose. So it is remembered how an id was asked for that it
was given: by the very object, which LangGraph hands on. An equal one was written down by somebody.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from langgraph.checkpoint.base import CheckpointMetadata

from onrecord import Misconfigured, ThreadInfo
from onrecord.adapters.bounded import Bounded

MOST_NOTES: Final = 10_000
"""How many ids it is remembered of, some 2 MB: those that the process has handed out last. It is
asked at the first step that a run stores."""
_RUNNING: Final = "__pregel_"
"""Begins the keys that only the config of a running graph has."""


class _Asked:
    """Remembers of ids that were handed out whether they were asked for as the newest."""

    def __init__(self) -> None:
        self.notes: Bounded[int, tuple[str, bool]] = Bounded(MOST_NOTES)
        """By the ``id()`` of the object, which is kept with them: no other has it meanwhile."""

    def note(self, given: str, newest: bool) -> str:
        """Copy an id to hand out, and note whether it was asked for as the newest of its thread."""
        own = given[:1] + given[1:]  # an object of its own, but for an id of one letter
        if len(own) > 1:
            self.notes.put(id(own), (own, newest))
        return own

    def newest(self, given: object) -> bool | None:
        """Whether an id was asked for as the newest; None where that is not known."""
        own, newest = self.notes.get(id(given)) or (None, None)
        return newest if own is given else None


asked: Final = _Asked()


def thread_key(given: object) -> str:
    """Turn what people have of a thread into its id. A config instead of its id would be a thread
    that nobody has: empty to read, and nothing to wait for."""
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
    if (newest := asked.newest(parent)) is not None:
        return newest
    if parent is not None:
        # A run names so what it has stored the step before, after a fork as well. Elsewhere it
        # is an id that somebody has written down, and going on from it is meant. A run whose
        # note was forgotten is taken for a turn: a fork may be refused then, no turn is lost.
        return is_running(configurable)
    if configurable.get("checkpoint_ns"):
        # Of a subgraph that remembered nothing; or one that is replayed, since then LangGraph
        # asks for no newest checkpoint, and going on from an old one is meant.
        return False
    # A turn that found nothing has no checkpoint to name, so it is known by the company it keeps.
    return metadata.get("source") == "update" or is_running(configurable)


def is_running(configurable: Mapping[str, Any]) -> bool:
    """Whether a config is that of a running graph."""
    return any(key.startswith(_RUNNING) for key in configurable)
