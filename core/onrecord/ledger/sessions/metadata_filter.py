"""Metadata as conditions in SQL, so that what does not have it is passed over without Python."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from onrecord.codec.values import encode_tagged, escape
from onrecord.ledger.database.address import Kind

_HOLDS: Final[dict[Kind, str]] = {
    "sqlite": "instr(about, :{0}) > 0",
    "postgresql": "position(CAST(:{0} AS BYTEA) IN about) > 0",
}


def holding(kind: Kind, metadata: Mapping[str, Any]) -> tuple[list[str], dict[str, object]]:
    """Conditions that all who have this metadata fulfil, and their values.

    Title and metadata are one value in msgpack, where a key's bytes stand right before those of
    what it has. They may also stand there by chance: who has it is decided by who reads them.
    """
    sought = [_packed(key, value) for key, value in metadata.items()]
    values: dict[str, object] = {f"has{i}": packed for i, packed in enumerate(sought) if packed}
    return [_HOLDS[kind].format(name) for name in values], values


def _packed(key: object, value: object) -> bytes | None:
    """As it is stored; None where the same may be stored otherwise, as 1 and 1.0 are."""
    if type(key) is not str or type(value) is not str:
        return None
    if escape(key) != key or escape(value) != value:
        return None  # then it depends on what else is there
    return encode_tagged(key) + encode_tagged(value)
