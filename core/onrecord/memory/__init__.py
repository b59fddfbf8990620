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
    from onrecord.memory.analytics import Analytics
    from onrecord.memory.analytics_reports import Counts, DayStats, SessionStats, Summary
    from onrecord.memory.buffer import PersistentBufferMemory
    from onrecord.memory.checkpoints import Checkpoints
    from onrecord.memory.config import memory_from
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
    from onrecord.memory.findings import Findings
    from onrecord.memory.history import History
    from onrecord.memory.preferences import Evidence, Learned, Preferences
    from onrecord.memory.prompting import acontext, context
    from onrecord.memory.relevance import Trace, fading
    from onrecord.memory.rules import Rules, by_length, by_words
    from onrecord.memory.semantic import Fact, FactHit, SemanticMemory
    from onrecord.memory.summary import RollingSummary
    from onrecord.memory.system import MemorySystem
    from onrecord.memory.workflow import WorkflowMemory
    from onrecord.memory.working import WorkingMemory
    from onrecord.memory.working_message import WorkingMessage

__all__ = [
    "Analytics",
    "BufferStats",
    "Checkpoints",
    "Consolidation",
    "Counts",
    "DayStats",
    "Episode",
    "EpisodeStatistics",
    "EpisodicMemory",
    "Event",
    "EventStatistics",
    "Evidence",
    "Fact",
    "FactHit",
    "Faded",
    "Findings",
    "Forgetting",
    "History",
    "Learned",
    "MemorySystem",
    "PersistentBufferMemory",
    "Preferences",
    "RollingSummary",
    "Rules",
    "SemanticMemory",
    "SessionStats",
    "Summarised",
    "Summary",
    "Trace",
    "WorkflowMemory",
    "WorkingMemory",
    "WorkingMessage",
    "acontext",
    "by_length",
    "by_words",
    "context",
    "fading",
    "memory_from",
]

_HOMES: dict[str, str] = {
    "Analytics": "analytics",
    "BufferStats": "counted",
    "Checkpoints": "checkpoints",
    "Consolidation": "episodic_reports",
    "Counts": "analytics_reports",
    "DayStats": "analytics_reports",
    "Episode": "episode",
    "EpisodeStatistics": "episodic_reports",
    "EpisodicMemory": "episodic",
    "Event": "event",
    "EventStatistics": "episodic_reports",
    "Evidence": "preferences",
    "Fact": "semantic",
    "FactHit": "semantic",
    "Faded": "episodic_reports",
    "Findings": "findings",
    "Forgetting": "episodic_reports",
    "History": "history",
    "Learned": "preferences",
    "MemorySystem": "system",
    "PersistentBufferMemory": "buffer",
    "Preferences": "preferences",
    "RollingSummary": "summary",
    "Rules": "rules",
    "SemanticMemory": "semantic",
    "SessionStats": "analytics_reports",
    "Summarised": "episodic_reports",
    "Summary": "analytics_reports",
    "Trace": "relevance",
    "WorkflowMemory": "workflow",
    "WorkingMemory": "working",
    "WorkingMessage": "working_message",
    "acontext": "prompting",
    "by_length": "rules",
    "by_words": "rules",
    "context": "prompting",
    "fading": "relevance",
    "memory_from": "config",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'onrecord.memory' has no attribute {name!r}")
    value = getattr(import_module(f"onrecord.memory.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, *(name for name in globals() if name.startswith("__"))])
