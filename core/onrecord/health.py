"""The health of a store: how quickly each tier answers, and what to do where it does not."""

from __future__ import annotations

import msgspec


class TierHealth(msgspec.Struct, frozen=True, kw_only=True):
    """One tier: the database, or the cache."""

    ok: bool
    where: str
    """Its address, without a password."""
    milliseconds: float | None
    """How long it took to answer; None if it did not."""
    problem: str | None = None
    """What is wrong and what to do; None when nothing is."""


class Pool(msgspec.Struct, frozen=True):
    """Connections to the database."""

    in_use: int
    size: int


class Counters(msgspec.Struct):
    """Counts of what the cache did in this process since the store was opened."""

    hits: int = 0
    """Reads for which the cache had all there is; with ``strict`` the database said so."""
    misses: int = 0
    """Reads that asked the database, because the cache knew nothing or was not sure."""
    fills: int = 0
    """Entries that a reader brought into the cache after it had asked the database."""
    refused_fills: int = 0
    """Fills that a writer forestalled. Some are normal where many write."""
    validations: int = 0
    """Cached sessions that were compared with the database because it was time to."""
    degraded_reads: int = 0
    """Reads that did without the cache because it could not be asked."""
    openings: int = 0
    """How often the cache was left alone after failures."""
    checked: int = 0
    """Hits that were compared with the database as a sample."""
    disagreed: int = 0
    """Samples in which the two differed. Anything but 0 is a bug: please report it."""


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of ``store.health()``."""

    database: TierHealth
    cache: TierHealth | None
    """None for a store without a cache."""
    replica: TierHealth | None = None
    """None for a store without a replica."""
    breaker_open: bool
    """Whether the cache is being left alone after a failure."""
    pool: Pool
    counters: Counters
    embedder: TierHealth | None = None
    """How it was when it was last asked; None for a store without one."""
    unindexed: int | None = None
    """How many messages the index of search has not yet, of the hundred sessions last active; None
    where the database is not well, or had no time to say it. ``stats()`` counts all."""

    @property
    def ok(self) -> bool:
        """Whether all that there are answer. A store whose cache does not still works, and so do,
        where the replica does not, those who do not ask it."""
        tiers = (self.database, self.cache, self.replica)
        return all(tier is None or tier.ok for tier in tiers)
