"""Counts of what a ledger did, for those who watch it from outside."""

from __future__ import annotations

import msgspec


class Tally(msgspec.Struct):
    """Counts since the store was opened. Each grows where its thing happens, under no lock: two
    threads that count at once may lose one, and nobody waits."""

    commits: int = 0
    """Transactions of a group commit."""
    committed: int = 0
    """Writes that these took along: more than one a commit is what group commit is for."""
    pool_waits: int = 0
    """Steps that waited for a connection, because all were in use."""
    pool_wait_seconds: float = 0.0
    """How long they waited."""
    reconnects: int = 0
    """How often a step was done again, because its connection was found dead, or none could be
    made."""
