"""Title and metadata of a session or a thread, checked before any I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onrecord import codec
from onrecord.arguments import check_title, mapping
from onrecord.errors import Misconfigured, shown
from onrecord.flows.shared import UNSET


def changes_of(title: object, metadata: object, merge: object = UNSET) -> dict[str, Any]:
    """Collect the changes, without what is UNSET; refuse what cannot be kept."""
    changes: dict[str, Any] = {}
    if title is not UNSET:
        check_title(title)
        codec.pack_value(title, "title")
        changes["title"] = title
    if metadata is not UNSET:
        changes["metadata"] = mapping("metadata", metadata)
        codec.pack_value(changes["metadata"], "metadata")
    if merge is not UNSET:
        if metadata is not UNSET:
            raise Misconfigured(
                "metadata is what there is from now on, and merge is put over what there is: "
                "pass one of the two."
            )
        if not isinstance(merge, Mapping):
            raise Misconfigured(f"merge has to be a mapping, not {shown(merge)}.")
        changes["merge"] = dict(merge)
        codec.pack_value(changes["merge"], "metadata")
    return changes


def changed(about: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Title and metadata after the changes: what is merged is put over the metadata, key by key."""
    whole = {**about, **changes}
    merge = whole.pop("merge", None)
    if merge is not None:
        whole["metadata"] = {**whole.get("metadata", {}), **merge}
    return whole
