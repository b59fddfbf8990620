"""Which messages of a session are archived: kept, and out of the way."""

from __future__ import annotations

from typing import Final

from recollect import codec
from recollect.errors import Damaged
from recollect.ledger.sessions import FIND, LOCK
from recollect.ledger.transaction import Transaction
from recollect.ranges import Ranges, cut_after
from recollect.rows import SessionRow
from recollect.scope import SessionName

_WITH_ARCHIVED: Final = FIND.replace(" FROM", ", archived FROM")
_LOCK_WITH_ARCHIVED: Final = LOCK.replace(" FROM", ", archived FROM")
_ARCHIVED: Final = "SELECT archived FROM {sessions} WHERE id = :session AND archived IS NOT NULL"
_SET: Final = "UPDATE {sessions} SET archived = :archived WHERE id = :session"
_COUNT: Final = "SELECT count(frame) FROM {tail} WHERE place >= :low AND place <= :high"


def find(
    txn: Transaction, name: SessionName, *, lock: bool = False
) -> tuple[SessionRow, Ranges] | None:
    """The session and what of it is archived, from one moment."""
    if lock:
        txn.begin()
    row = txn.first(_LOCK_WITH_ARCHIVED if lock else _WITH_ARCHIVED, {"identity": name.identity})
    return None if row is None else (SessionRow(*row[:-1]), _unpacked(row[-1]))


def put(txn: Transaction, session: SessionRow, archived: Ranges) -> None:
    """Say what of a locked session is archived."""
    packed = codec.pack_value([list(run) for run in archived], "archived") if archived else None
    txn.run(_SET, {"session": session.number, "archived": packed})


def cut(txn: Transaction, session: SessionRow, head: int) -> None:
    """What is cut off a session is not archived any more."""
    row = txn.first(_ARCHIVED, {"session": session.number})
    if row is not None:
        put(txn, session, cut_after(_unpacked(row[0]), head))


def count(txn: Transaction, session: SessionRow, low: int, high: int) -> int:
    """How many messages stand between two places, both counted in."""
    row = txn.first(
        _COUNT, {"low": session.number << 32 | low, "high": session.number << 32 | high}
    )
    assert row is not None, "an aggregate always answers"
    return int(row[0])


def _unpacked(packed: bytes | None) -> Ranges:
    if packed is None:
        return ()
    try:
        found = codec.unpack_value(bytes(packed))
    except Damaged:
        return ()  # everything is active again, and nothing is lost
    return tuple((int(first), int(last)) for first, last in found)
