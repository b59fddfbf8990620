"""What a doctor is told of a cache's server."""

from __future__ import annotations

from msgspec import Struct


class CacheServer(Struct, frozen=True, kw_only=True):
    """One server of a cache. None, or nothing, is what it does not say."""

    name: str
    """Host and port of one in a cluster; empty where there is one server."""
    product: str
    version: str | None
    replica: bool
    policy: str | None
    """What it throws away when it is full."""
    most: int | None
    """How many bytes it may take; 0 for as many as there are."""
    used: int | None
    machine: int | None
    """How many bytes of memory its machine has."""
    evicted: int
    """How many keys it has thrown away for room."""
    appends: bool
    """Whether it writes a log of all commands to its disk."""
    saves: str | None
    """When it saves all of it to its disk; None for never."""
    clock: int | None
    """Microseconds since 1970."""
    refused: tuple[str, ...]
    """Which commands this user may not use."""
