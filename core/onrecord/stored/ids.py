"""The ids of messages that nobody gave one: derived from where they stand, costing no bytes.

An id names the session (by a digest over the store's own random id), the epoch in which the
message was written and its sequence. No two messages ever share one, not even after a clear,
and a message that comes back carrying one is recognised as having been handed out here.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from typing import Final, NamedTuple

from onrecord.stored.messages import LAST_SEQ

_PREFIX_LENGTH: Final = 13  # base32 of 64 bits
_DIGITS: Final = "abcdefghijklmnopqrstuvwxyz234567"
_PAIRS: Final = [a + b for a in _DIGITS for b in _DIGITS]  # base64's own takes twice as long


class Place(NamedTuple):
    """Where and when a message was written."""

    epoch: int
    seq: int


@lru_cache(4096)
def prefix(store_id: bytes, session: int) -> str:
    """What the derived ids of one session begin with."""
    digest = blake2b(session.to_bytes(8, "big"), key=store_id, digest_size=8).digest()
    bits = int.from_bytes(digest, "big") << 1  # 13 digits of 5 bits
    pairs = [_PAIRS[bits >> place & 1023] for place in range(50, -1, -10)]
    return _DIGITS[bits >> 60] + "".join(pairs)


def parse(session_prefix: str, given: str) -> Place | None:
    """Where a message with this id was written, if it was handed out by this session."""
    match given.split("."):
        case [start, epoch, seq] if start == session_prefix and _number(epoch) and _number(seq):
            place = Place(int(epoch), int(seq))
            # Only what was handed out: no leading zeros, no place outside a session (I6).
            printed = f"{start}.{place.epoch}.{place.seq}" == given
            return place if printed and 1 <= place.seq <= LAST_SEQ else None
    return None


def may_be_derived(given: str) -> bool:
    """Whether an id looks like one of ours, of this session or another."""
    match given.split("."):
        case [start, epoch, seq]:
            return len(start) == _PREFIX_LENGTH and _number(epoch) and _number(seq)
    return False


def _number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 10
