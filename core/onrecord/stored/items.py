"""An item as it is stored: values that ledger, cache and flows share."""

from __future__ import annotations

from typing import Final, NamedTuple

from onrecord.version import Version

MOST_VERSION: Final = 2**63 - 1


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
    fence: int = 0
    """What a commit's mark has to have been told."""


class SeenItem(NamedTuple):
    """What a read of one item has found."""

    row: ItemRow | None
    """None where it is not there."""
    number: int
    """Its version; where it is not there, the newest of its namespace."""
    left: int | None = None
    """Microseconds that it had to live when it was read; None where it stays, or nobody asked."""

    @property
    def version(self) -> Version:
        """What later reads of this process do not go back behind."""
        return Version(0, self.number)


class WrittenItem(NamedTuple):
    """What a commit did to one item."""

    row: ItemRow | None
    """As it stands now; None where it is not there any more."""
    number: int
    """The version that was given out for it."""
    made: bool = False
    """Whether this commit made its row."""

    @property
    def version(self) -> Version:
        """Where the item stands now."""
        return Version(0, self.number)
