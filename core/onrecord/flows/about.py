"""What somebody says about a session or a thread: its title and metadata."""

from __future__ import annotations

from typing import Any

from onrecord import codec
from onrecord.arguments import check_title, mapping
from onrecord.flows.shared import UNSET


def changes_of(title: object, metadata: object) -> dict[str, Any]:
    """What is to change; refused before any I/O if it cannot be kept. What is UNSET stays."""
    changes: dict[str, Any] = {}
    if title is not UNSET:
        check_title(title)
        codec.pack_value(title, "title")
        changes["title"] = title
    if metadata is not UNSET:
        changes["metadata"] = mapping("metadata", metadata)
        codec.pack_value(changes["metadata"], "metadata")
    return changes
