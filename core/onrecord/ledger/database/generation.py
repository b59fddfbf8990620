"""Whether the store's cache is on, and in which generation: one row that all processes share.

``on <random>`` or ``off <random>``, as bytes. A writer that cannot mark writes ``off`` and
waits until nobody believes ``on`` any more; to resume is one statement, with a new generation,
in which no entry of an earlier one counts. Rules 13 to 18 of docs/explanation/cache-protocol.md.
"""

from __future__ import annotations

import secrets
from typing import Final

from onrecord.errors import Misconfigured
from onrecord.ledger.database.transaction import Transaction

_ON: Final = b"on "
_OFF: Final = b"off "

_READ: Final = "SELECT value FROM {meta} WHERE name = 'cache'"
_HOLD: Final = _READ + " {for_share}"
_REPLACE: Final = "UPDATE {meta} SET value = :new WHERE name = 'cache' AND value = :old"


class Resumed(Exception):
    """The suspension that a writer waited for is over; nothing was done."""


def is_on(state: bytes) -> bool:
    """Whether the cache is on in this state."""
    return state.startswith(_ON)


def begin(txn: Transaction) -> None:
    """Say for the first time that the cache is on."""
    txn.run("INSERT INTO {meta} (name, value) VALUES ('cache', :state)", {"state": _new(_ON)})


def read(txn: Transaction) -> bytes:
    """The state as it is now."""
    return _found(txn.first(_READ, {}))


def suspend(txn: Transaction) -> bytes:
    """Switch the cache off, unless it is off, and return the suspension."""
    while is_on(state := read(txn)):
        txn.run(_REPLACE, {"old": state, "new": _new(_OFF)})
    return state


def resume(txn: Transaction, suspension: bytes) -> bytes:
    """Switch the cache on where it is this suspension that holds, and return the state.

    Waits for the commits that hold the suspension.
    """
    txn.run(_REPLACE, {"old": suspension, "new": _new(_ON)})
    return read(txn)


def renew(txn: Transaction) -> bytes:
    """Begin a new generation, if the cache is on: no entry of an earlier one counts any more."""
    while is_on(state := read(txn)):
        new = _new(_ON)
        if txn.run(_REPLACE, {"old": state, "new": new}):
            return new
    return state


def hold(txn: Transaction, suspension: bytes) -> None:
    """Keep the cache off to the end of this transaction; ``Resumed`` where it is not off so."""
    txn.begin()
    if _found(txn.first(_HOLD, {})) != suspension:
        raise Resumed


def _new(state: bytes) -> bytes:
    return state + secrets.token_hex(8).encode()


def _found(row: tuple[object, ...] | None) -> bytes:
    if row is None or not isinstance(row[0], bytes | bytearray | memoryview):
        raise Misconfigured(
            "onrecord_meta has lost what it says of the cache: restore it from a backup."
        )
    return bytes(row[0])
