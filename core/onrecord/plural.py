"""How many there are of something, in words."""

from __future__ import annotations


def many(count: int, what: str) -> str:
    """Say a number with what it counts: ``1 message``, ``2 messages``."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"
