"""Title and metadata of a session or a thread, as they are kept: one packed value."""

from __future__ import annotations

import logging
from typing import Any

from onrecord.codec.values import unpack_value
from onrecord.errors import Damaged

log = logging.getLogger("onrecord")


def unpacked(about: bytes | None) -> dict[str, Any]:
    """Title and metadata, where there are any; damaged ones do not hide the session."""
    if about is None:
        return {}
    try:
        found = unpack_value(bytes(about))
    except Damaged as fault:
        log.warning("the title and metadata of a session cannot be read: %s", fault)
        return {"title": f"[This title can no longer be read: {fault}]"}
    return found if isinstance(found, dict) else {}
