"""A dictionary as the database keeps it."""

from __future__ import annotations

from onrecord.codec import compression, envelope


def pack(content: bytes) -> bytes:
    """What was learned, as bytes to keep."""
    return envelope.wrap_compressed(envelope.DICTIONARY, content, compression.SLOWEST)


def unpack(stored: bytes) -> bytes:
    """What was learned; Damaged where it is not what was written."""
    return envelope.unwrap(stored, envelope.DICTIONARY)
