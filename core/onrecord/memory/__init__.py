"""Memories with the names that people know, over sessions, items, feeds and search.

    from onrecord.memory import PersistentBufferMemory

    memory = PersistentBufferMemory("sqlite:///agents.db", agent_id="support")
    memory.add_message(role="user", content="What is AI?")
    memory.get_history(limit=10)

Thin objects: what they keep is in sessions and items of the store that they are given.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onrecord.memory.buffer import PersistentBufferMemory
    from onrecord.memory.counted import BufferStats
    from onrecord.memory.episode import Episode
    from onrecord.memory.episodic import EpisodicMemory
    from onrecord.memory.episodic_reports import (
        Consolidation,
        EpisodeStatistics,
        EventStatistics,
        Faded,
        Forgetting,
        Summarised,
    )
    from onrecord.memory.event import Event
    from onrecord.memory.history import History
    from onrecord.memory.prompting import acontext, context
    from onrecord.memory.relevance import Trace, fading
    from onrecord.memory.summary import RollingSummary

__all__ = [
    "BufferStats",
    "Consolidation",
    "Episode",
    "EpisodeStatistics",
    "EpisodicMemory",
    "Event",
    "EventStatistics",
    "Faded",
    "Forgetting",
    "History",
    "PersistentBufferMemory",
    "RollingSummary",
    "Summarised",
    "Trace",
    "acontext",
    "context",
    "fading",
]

_HOMES: dict[str, str] = {
    "BufferStats": "counted",
    "Consolidation": "episodic_reports",
    "Episode": "episode",
    "EpisodeStatistics": "episodic_reports",
    "EpisodicMemory": "episodic",
    "Event": "event",
    "EventStatistics": "episodic_reports",
    "Faded": "episodic_reports",
    "Forgetting": "episodic_reports",
    "History": "history",
    "PersistentBufferMemory": "buffer",
    "RollingSummary": "summary",
    "Summarised": "episodic_reports",
    "Trace": "relevance",
    "acontext": "prompting",
    "context": "prompting",
    "fading": "relevance",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'onrecord.memory' has no attribute {name!r}")
    value = getattr(import_module(f"onrecord.memory.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
