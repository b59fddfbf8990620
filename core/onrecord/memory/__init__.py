"""Memories with the names that people know, over sessions, items, feeds and search.

    from onrecord.memory import PersistentBufferMemory

    memory = PersistentBufferMemory("sqlite:///agents.db", agent_id="support")
    memory.add_message(role="user", content="What is AI?")
    memory.get_history(limit=10)

Thin objects: what they keep is in sessions and items of the store that they are given.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["RollingSummary", "acontext", "context"]

_HOMES: dict[str, str] = {
    "RollingSummary": "summary",
    "acontext": "prompting",
    "context": "prompting",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'onrecord.memory' has no attribute {name!r}")
    value = getattr(import_module(f"onrecord.memory.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
