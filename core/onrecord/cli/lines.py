"""The lines of JSON that there are, and the names in them, for the page about commands.

Nothing that a command writes comes from here; a test holds the two to each other.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from onrecord import reports
from onrecord.diagnosis import Finding
from onrecord.health import Health
from onrecord.migration import MigrationStep


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
    "planned": _names(MigrationStep),
    "invalidated": (),
    "compaction": (*_names(reports.Compaction), "dry_run"),
    "training": (*_names(reports.Training), "saving"),
    "problem": _names(reports.Problem),
    "indexing": (*_names(reports.Indexing), "dry_run", "estimated"),
    "embedding": _names(reports.Embedding),
    "pruning": ("dry_run", "sessions", "messages", "items", "archived_to"),
    "receipt": (*_names(reports.Receipt), "sessions", "messages", "items", "threads"),
    "export": (*_names(reports.Export), "file"),
    "import": _names(reports.Import),
    "imported": _IMPORTED,
    "backup": ("file",),
}
"""What stands in each type of line. Some names are there only where they say something."""
