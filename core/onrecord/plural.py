"""How many there are of something, in words."""

from __future__ import annotations


def many(count: int, what: str) -> str:
    """Say a number with what it counts: ``1 message``, ``2 messages``, ``2 summaries``."""
    if count == 1:
        return f"{count:,} {what}"
    several = f"{what[:-1]}ies" if what.endswith("ry") else f"{what}s"
    return f"{count:,} {several}"
