"""Onrecord for LangGraph: a checkpointer whose size follows the conversation, not its square,
and a long-term store.

    from langgraph_onrecord import OnrecordSaver, OnrecordStore

    graph = builder.compile(checkpointer=OnrecordSaver(store), store=OnrecordStore(store))
    graph.invoke({"messages": [...]}, {"configurable": {"thread_id": "support-42"}})

Importing this loads nothing of LangGraph: each name does when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langgraph_onrecord.importers import Imported, aimport_threads, import_threads
    from langgraph_onrecord.saver import OnrecordSaver
    from langgraph_onrecord.store import OnrecordStore

__all__ = ["Imported", "OnrecordSaver", "OnrecordStore", "aimport_threads", "import_threads"]

_HOMES = {
    "Imported": "importers",
    "OnrecordSaver": "saver",
    "OnrecordStore": "store",
    "aimport_threads": "importers",
    "import_threads": "importers",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'langgraph_onrecord' has no attribute {name!r}")
    try:
        home = import_module(f"langgraph_onrecord.{_HOMES[name]}")
    except ModuleNotFoundError as fault:
        raise ImportError(f'{fault}. {name} needs it: pip install "onrecord[langgraph]"') from fault
    value = getattr(home, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
