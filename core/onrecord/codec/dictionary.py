"""A dictionary as the database keeps it."""

from __future__ import annotations

from typing import Final

from onrecord.codec import envelope

_LEVEL: Final = 19


def pack(content: bytes) -> bytes:
    """What was learned, as bytes to keep."""
    return envelope.wrap_compressed(envelope.DICTIONARY, content, _LEVEL)


def unpack(stored: bytes) -> bytes:
    """What was learned; Damaged where it is not what was written."""
    return envelope.unwrap(stored, envelope.DICTIONARY)
