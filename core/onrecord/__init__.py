"""Onrecord: durable memory for conversations.

    from onrecord import Store

    store = Store("sqlite:///onrecord.db")
    chat = store.session("support-42", user="ada")
    chat.append(("user", "My order has not arrived."))
    chat.tail(20)

Importing this loads neither SQLAlchemy nor a framework; the first Store does.
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onrecord.blocks import (
        Audio,
        Block,
        Citation,
        File,
        Image,
        Opaque,
        Reasoning,
        Refusal,
        Text,
        ToolCall,
        ToolResult,
        Video,
    )
    from onrecord.change import Change, FeedInfo
    from onrecord.checkpoint_log import CheckpointLog, ThreadInfo
    from onrecord.diagnosis import Diagnosis, Finding
    from onrecord.errors import (
        Cleared,
        Conflict,
        Damaged,
        EmbedderFailed,
        Fenced,
        IdReused,
        InvalidMessage,
        InvalidName,
        InvalidValue,
        Misconfigured,
        OnrecordError,
        SchemaTooNew,
        StoreClosed,
        TurnTaken,
        Unavailable,
    )
    from onrecord.feed import Feed
    from onrecord.gist import Gist
    from onrecord.health import Health
    from onrecord.hit import Hit, Hits, ItemHit
    from onrecord.item import Delete, Item, Merge, Put
    from onrecord.items import Items
    from onrecord.message import Message
    from onrecord.migration import MigrationStep
    from onrecord.recall import Passage, Recalled
    from onrecord.reports import (
        Compaction,
        Embedding,
        Export,
        Import,
        Indexing,
        Maintenance,
        MaintenanceStep,
        Problem,
        Progress,
        Pruning,
        Receipt,
        Stats,
        StepProgress,
        Training,
    )
    from onrecord.scope import ANY
    from onrecord.session import Session
    from onrecord.settings import SettingWithoutEffect
    from onrecord.store import Store
    from onrecord.tokens import TokenCounter
    from onrecord.turn import Turn
    from onrecord.unfinished import Unfinished
    from onrecord.version import SessionInfo, Since, Usage, Version
    from onrecord.window import Window

__version__ = "0.1.0"

__all__ = [
    "ANY",
    "Audio",
    "Block",
    "Change",
    "CheckpointLog",
    "Citation",
    "Cleared",
    "Compaction",
    "Conflict",
    "Damaged",
    "Delete",
    "Diagnosis",
    "EmbedderFailed",
    "Embedding",
    "Export",
    "Feed",
    "FeedInfo",
    "Fenced",
    "File",
    "Finding",
    "Gist",
    "Health",
    "Hit",
    "Hits",
    "IdReused",
    "Image",
    "Import",
    "Indexing",
    "InvalidMessage",
    "InvalidName",
    "InvalidValue",
    "Item",
    "ItemHit",
    "Items",
    "Maintenance",
    "MaintenanceStep",
    "Merge",
    "Message",
    "MigrationStep",
    "Misconfigured",
    "OnrecordError",
    "Opaque",
    "Passage",
    "Problem",
    "Progress",
    "Pruning",
    "Put",
    "Reasoning",
    "Recalled",
    "Receipt",
    "Refusal",
    "SchemaTooNew",
    "Session",
    "SessionInfo",
    "SettingWithoutEffect",
    "Since",
    "Stats",
    "StepProgress",
    "Store",
    "StoreClosed",
    "Text",
    "ThreadInfo",
    "TokenCounter",
    "ToolCall",
    "ToolResult",
    "Training",
    "Turn",
    "TurnTaken",
    "Unavailable",
    "Unfinished",
    "Usage",
    "Version",
    "Video",
    "Window",
]

_HOMES = {
    **dict.fromkeys(
        (
            *("Compaction", "Export", "Import", "Indexing", "Problem", "Progress", "Pruning"),
            *("Embedding", "Receipt", "Stats", "Training"),
            *("Maintenance", "MaintenanceStep", "StepProgress"),
        ),
        "reports",
    ),
    "ANY": "scope",
    **dict.fromkeys(("Change", "FeedInfo"), "change"),
    "CheckpointLog": "checkpoint_log",
    **dict.fromkeys(("Diagnosis", "Finding"), "diagnosis"),
    "Feed": "feed",
    "Gist": "gist",
    "Health": "health",
    **dict.fromkeys(("Hit", "Hits", "ItemHit"), "hit"),
    **dict.fromkeys(("Passage", "Recalled"), "recall"),
    **dict.fromkeys(("Delete", "Item", "Merge", "Put"), "item"),
    "Items": "items",
    "Message": "message",
    "MigrationStep": "migration",
    "Session": "session",
    "SessionInfo": "version",
    "SettingWithoutEffect": "settings",
    "Since": "version",
    "Store": "store",
    "ThreadInfo": "checkpoint_log",
    "TokenCounter": "tokens",
    "Turn": "turn",
    "Unfinished": "unfinished",
    "Usage": "version",
    "Version": "version",
    "Window": "window",
}
_ERRORS = {
    "Cleared",
    "Conflict",
    "Damaged",
    "EmbedderFailed",
    "Fenced",
    "IdReused",
    "InvalidMessage",
    "InvalidName",
    "InvalidValue",
    "Misconfigured",
    "OnrecordError",
    "SchemaTooNew",
    "StoreClosed",
    "TurnTaken",
    "Unavailable",
}

logging.getLogger("onrecord").addHandler(logging.NullHandler())


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'onrecord' has no attribute {name!r}")
    home = _HOMES.get(name, "errors" if name in _ERRORS else "blocks")
    value = getattr(import_module(f"onrecord.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
