"""Title and metadata of a session or a thread, checked before any I/O."""

from __future__ import annotations

from typing import Any

from onrecord import codec
from onrecord.arguments import check_title, mapping
from onrecord.flows.shared import UNSET


def changes_of(title: object, metadata: object) -> dict[str, Any]:
    """Collect the changes, without what is UNSET; refuse what cannot be kept."""
    changes: dict[str, Any] = {}
    if title is not UNSET:
        check_title(title)
        codec.pack_value(title, "title")
        changes["title"] = title
    if metadata is not UNSET:
        changes["metadata"] = mapping("metadata", metadata)
        codec.pack_value(changes["metadata"], "metadata")
    return changes
