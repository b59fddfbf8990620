"""An item as it is stored: values that ledger and flows share."""

from __future__ import annotations

from typing import NamedTuple


class NamespaceKey(NamedTuple):
    """What the items of a namespace are found by."""

    shard: int
    namespace: int


class ItemRow(NamedTuple):
    """An item as the database keeps it."""

    key: str
    version: int
    """The namespace's, at the item's last write."""
    created: int
    updated: int
    expires_at: int | None
    ttl: int | None
    """Microseconds that a write, or a refresh, adds to the present; None: it stays."""
    token: str | None
    """A revision that its writer made up."""
    body: bytes
