"""What is stored, as the lines of JSON that ``--json`` writes: docs/how-to/command-line.md."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from msgspec import Struct

from onrecord import reports
from onrecord.cli.output import Stored
from onrecord.codec import lines
from onrecord.diagnosis import Finding
from onrecord.health import Health
from onrecord.item import Item
from onrecord.message import Message
from onrecord.stored.clock import microseconds
from onrecord.version import SessionInfo

_LONG_AGO: Final = datetime.fromisoformat("1970-01-01T00:00:00Z")


def session(info: SessionInfo) -> dict[str, Any]:
    """A session, without its messages."""
    return {
        "tenant": info.tenant,
        "user": info.user,
        "agent": info.agent,
        "key": info.key,
        "title": None if info.title is None else Stored(info.title),
        "metadata": Stored(dict(info.metadata)),
        "messages": info.messages,
        "turns": info.turns,
        "tokens": info.tokens,
        "epoch": info.version.epoch,
        "head": info.version.head,
        "created_at": info.created_at,
        "last_active": info.last_active,
        "expires_in": info.expires_in,
        "usage": info.usage,
        "open": info.open,
        "damaged": info.damaged,
    }


def message(said: Message) -> str:
    """A message, as an export has it, and always with its id."""
    place = lines.Place(
        said.seq or 0,
        said,
        said.id,
        microseconds(said.created_at or _LONG_AGO),
        said.tokens or 0,
        None,
        said.opens_turn,
    )
    return lines.line_of(place).decode().rstrip("\n")


def item(found: Item) -> dict[str, Any]:
    """An item with its value."""
    return {
        "namespace": found.namespace,
        "key": found.key,
        "value": Stored(found.value),
        "text": found.text,
        "version": found.version,
        "token": found.token,
        "created_at": found.created_at,
        "updated_at": found.updated_at,
        "expires_at": found.expires_at,
        "damaged": found.damaged,
    }


def _names(struct: type[Struct]) -> tuple[str, ...]:
    return struct.__struct_fields__


_SESSION: Final = (
    *("tenant", "user", "agent", "key", "title", "metadata", "messages", "turns", "tokens"),
    *("epoch", "head", "created_at", "last_active", "expires_in", "usage", "open", "damaged"),
)
_ITEM: Final = (
    *("namespace", "key", "value", "text", "version", "token", "created_at", "updated_at"),
    *("expires_at", "damaged"),
)
_IMPORTED: Final = (
    *("sessions", "messages", "checkpoints", "already_there", "unread", "behind", "left_alone"),
    "incomplete",
)

LINES: Final[dict[str, tuple[str, ...]]] = {
    "session": _SESSION,
    "message": (
        *("seq", "id", "role", "name", "tool_call_id", "content", "usage", "metadata", "native"),
        *("created_at", "tokens", "opens_turn"),
    ),
    "rewritten": (),
    "hit": ("score", "tenant", "user", "agent", "key", "message", "around"),
    "item": (*_ITEM, "score"),
    "namespace": ("namespace",),
    "unfinished": (
        *("tenant", "user", "agent", "key", "since", "said", "left", "dangling", "messages"),
    ),
    "stats": (*_names(reports.Stats), "saving"),
    "health": (*_names(Health), "ok"),
    "finding": _names(Finding),
    "maintenance": (*_names(reports.Maintenance), "ok", "complete"),
    "step": ("name",),
    "compaction": (*_names(reports.Compaction), "dry_run"),
    "training": (*_names(reports.Training), "saving"),
    "problem": _names(reports.Problem),
    "indexing": (*_names(reports.Indexing), "dry_run"),
    "embedding": _names(reports.Embedding),
    "pruning": ("dry_run", "sessions", "messages", "items", "archived_to"),
    "receipt": (*_names(reports.Receipt), "sessions", "messages", "items", "threads", "dry_run"),
    "export": (*_names(reports.Export), "file"),
    "import": _names(reports.Import),
    "imported": _IMPORTED,
    "backup": ("file",),
}
"""What stands in each type of line. Some names are there only where they say something."""
