"""Who maintains a store at the moment, and where the last one who did stopped.

One row, in ``meta``. It is a courtesy, so that two do not do the same work: whoever was thought
dead and goes on beside another does no harm, since each step of the work stands the other.
"""

from __future__ import annotations

from typing import Final

import msgspec

from onrecord.ledger.database.transaction import Transaction
from onrecord.stored.clock import EARLIEST, MICROSECONDS

LEASE: Final = 60 * MICROSECONDS
"""For how long nobody else begins, after the last sign of life."""

_BEGIN: Final = """
    INSERT INTO {meta} (name, value) VALUES ('maintenance', :nothing)
    ON CONFLICT (name) DO NOTHING"""
_READ: Final = "SELECT value FROM {meta} WHERE name = 'maintenance' {for_update}"
_WRITE: Final = "UPDATE {meta} SET value = :value WHERE name = 'maintenance'"
_TOTAL: Final = "SELECT coalesce(sum(messages), 0) FROM {sessions} WHERE created >= :since"
"""Looks at all sessions."""


class Tried(msgspec.Struct, frozen=True):
    """When it was last tried to learn a dictionary, and what came of it."""

    at: int
    messages: int
    """How many there were then."""
    dictionary: int | None
    """None where none paid."""


class Duty(msgspec.Struct):
    """What one who maintains leaves to the next."""

    holder: int = 0
    until: int = 0
    """When its lease ends; 0 where it has ended its work."""
    begin: str = ""
    """The step to begin with: the first to which there was no time."""
    after: dict[str, tuple[int, int]] = {}
    """By step, the session behind which it goes on."""
    tried: Tried | None = None


def take(txn: Transaction, holder: int, now: int) -> Duty:
    """Begin, where nobody is at it; else what is returned has another holder."""
    txn.begin()
    duty = _read(txn)
    # What ends later than any lease could was written under a clock that was set back since. Not
    # at once: another began while this one waited, or its clock is ahead.
    if duty.holder != holder and now < duty.until <= now + 2 * LEASE:
        return duty
    duty.holder, duty.until = holder, now + LEASE
    _write(txn, duty)
    return duty


def keep(txn: Transaction, duty: Duty) -> bool:
    """Write down how far one has come; False where another has begun meanwhile."""
    txn.begin()
    if _read(txn).holder != duty.holder:
        return False
    _write(txn, duty)
    return True


def messages_since(txn: Transaction, since: int = EARLIEST) -> int:
    """How many messages there are, in sessions that were made since a time."""
    found = txn.first(_TOTAL, {"since": since})
    assert found is not None, "an aggregate always answers"
    return int(found[0])


def _read(txn: Transaction) -> Duty:
    txn.run(_BEGIN, {"nothing": b"{}"})
    found = txn.first(_READ, {})
    assert found is not None, "it was just put there"
    try:
        return msgspec.json.decode(bytes(found[0]), type=Duty)
    except (msgspec.DecodeError, UnicodeDecodeError):  # damaged: the next one begins anew
        return Duty()


def _write(txn: Transaction, duty: Duty) -> None:
    txn.run(_WRITE, {"value": msgspec.json.encode(duty)})
