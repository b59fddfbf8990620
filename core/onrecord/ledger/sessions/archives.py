"""Which messages of a session are archived: kept, and out of the way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from onrecord import codec
from onrecord.errors import Damaged
from onrecord.ledger.database import keys
from onrecord.ledger.database.transaction import Transaction
from onrecord.ledger.sessions.sessions import FIND_KEY_WITH_ARCHIVED, FIND_WITH_ARCHIVED, checked
from onrecord.scope import SessionName
from onrecord.stored.messages import SessionKey, SessionRow
from onrecord.stored.ranges import Ranges, cut_after, with_added

_LOCK_WITH_ARCHIVED: Final = f"{FIND_WITH_ARCHIVED} {{for_update}}"
_ARCHIVED: Final = """
    SELECT archived FROM {sessions} WHERE {my_shard} id = :session AND archived IS NOT NULL"""
_SET: Final = "UPDATE {sessions} SET archived = :archived WHERE {my_shard} id = :session"


def find(
    txn: Transaction, name: SessionName, *, lock: bool = False, damaged: bool = False
) -> tuple[SessionRow, Ranges] | None:
    """The session and what of it is archived, from one moment; Damaged as by ``sessions.find``,
    unless who asks takes ``damaged`` ones."""
    if lock:
        txn.begin()
    row = txn.first(_LOCK_WITH_ARCHIVED if lock else FIND_WITH_ARCHIVED, keys.of_name(name))
    if row is None:
        return None
    session = SessionRow(*row[:-1])
    return session if damaged else checked(txn, session, name), unpacked(row[-1])


def find_key(txn: Transaction, key: SessionKey) -> tuple[SessionRow, Ranges] | None:
    """The same by its number, whatever is damaged in it."""
    row = txn.first(FIND_KEY_WITH_ARCHIVED, keys.of_key(key))
    return None if row is None else (SessionRow(*row[:-1]), unpacked(row[-1]))


def put(txn: Transaction, session: SessionRow, archived: Ranges) -> None:
    """Say what of a locked session is archived."""
    packed = codec.pack_value([list(run) for run in archived], "archived") if archived else None
    txn.run(_SET, {**keys.of_session(session), "archived": packed})


def of(txn: Transaction, session: SessionRow) -> Ranges:
    """What of a locked session is archived."""
    row = txn.first(_ARCHIVED, keys.of_session(session))
    return () if row is None else unpacked(row[0])


def add(txn: Transaction, session: SessionRow, seqs: Sequence[int]) -> None:
    """Say of more of a locked session that it is archived."""
    put(txn, session, with_added(of(txn, session), seqs))


def cut(txn: Transaction, session: SessionRow, head: int) -> None:
    """What is cut off a session is not archived any more."""
    if archived := of(txn, session):
        put(txn, session, cut_after(archived, head))


def unpacked(packed: bytes | None) -> Ranges:
    """What a row says of it."""
    if packed is None:
        return ()
    try:
        found = codec.unpack_value(bytes(packed))
        return tuple((int(first), int(last)) for first, last in found)
    except (Damaged, TypeError, ValueError):
        return ()  # everything is active again, and nothing is lost
