"""Who holds a session, or a thread: said in its row, and by the clock of the database.

Leases are short, and the clocks of machines are minutes apart at times.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple, TypeAlias

from onrecord.ledger.database import keys
from onrecord.ledger.database.transaction import Transaction
from onrecord.scope import SessionName
from onrecord.stored.clock import LATEST

Held: TypeAlias = Literal["sessions", "checkpoint_threads"]
"""What a turn can hold: a row of one of these tables."""

OVER: Final = f"(held_until IS NULL OR held_until < {{clock}} OR held_until > {LATEST})"
"""Whether a lease is; one that is damaged is, too: else nobody could hold what it is on."""
_FREE: Final = f"(holder IS NULL OR holder = :holder OR {OVER})"
_MINE: Final = "WHERE {my_shard} identity = :identity AND holder = :holder"
# ``unfinished`` looks at a session that is held, or was left.
_LISTED: Final = {"sessions": ", maybe_open = 1", "checkpoint_threads": ""}
_AS_IT_WAITS: Final = {"sessions": ", maybe_open = waits", "checkpoint_threads": ""}
_TABLES: Final[tuple[Held, ...]] = ("sessions", "checkpoint_threads")

_HOLD: Final = {
    table: f"""
        UPDATE {{{table}}} SET holder = :holder, held_until = {{clock}} + :lease{_LISTED[table]}
        WHERE {{my_shard}} identity = :identity AND {_FREE}"""
    for table in _TABLES
}
_HELD: Final = {
    table: f"SELECT holder, held_until FROM {{{table}}} WHERE {{my_shard}} identity = :identity"
    for table in _TABLES
}
_RENEW: Final = {
    table: f"UPDATE {{{table}}} SET held_until = {{clock}} + :lease {_MINE}" for table in _TABLES
}
_LET_GO: Final = {
    table: f"""
        UPDATE {{{table}}} SET holder = NULL, held_until = NULL{_AS_IT_WAITS[table]} {_MINE}"""
    for table in _TABLES
}


class Other(NamedTuple):
    """That somebody else holds it."""

    who: str
    until: int


def hold(
    txn: Transaction, table: Held, name: SessionName, holder: bytes, now: int, lease: int
) -> Other | None:
    """Have a locked row held by this holder, unless another does."""
    values = {**keys.of_name(name), "holder": holder, "now": now, "lease": lease}
    if txn.run(_HOLD[table], values) == 1:
        return None
    row = txn.first(_HELD[table], keys.of_name(name))
    assert row is not None, "it is locked"
    return Other(bytes(row[0])[16:].decode(errors="replace") or "a process", row[1])


def renew(
    txn: Transaction, table: Held, name: SessionName, holder: bytes, now: int, lease: int
) -> bool:
    """Hold it on, and say whether it was held."""
    values = {**keys.of_name(name), "holder": holder, "now": now, "lease": lease}
    return txn.run(_RENEW[table], values) == 1


def let_go(txn: Transaction, table: Held, name: SessionName, holder: bytes) -> None:
    """Hold it no longer."""
    txn.run(_LET_GO[table], {**keys.of_name(name), "holder": holder})


def holder_of(txn: Transaction, table: Held, name: SessionName) -> bytes | None:
    """Who holds a locked row."""
    row = txn.first(_HELD[table], keys.of_name(name))
    return None if row is None or row[0] is None else bytes(row[0])
