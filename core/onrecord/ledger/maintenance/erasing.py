"""How a session goes for good: every row of it, and what was learned from it (I7)."""

from __future__ import annotations

from collections import Counter
from typing import Final

from onrecord import codec
from onrecord.codec.compression import THOROUGH
from onrecord.errors import Damaged
from onrecord.ledger.database.transaction import Transaction
from onrecord.ledger.sessions import dictionaries, fences, segments, sessions, tail
from onrecord.scope import SessionName
from onrecord.stored.clock import MICROSECONDS, now
from onrecord.stored.messages import LAST_ID, LAST_SEQ, SessionRow
from onrecord.version import Version

_REMOVE: Final = {
    "onrecord_segments": "DELETE FROM {segments} WHERE place > :low AND place < :high",
    "onrecord_tail": "DELETE FROM {tail} WHERE place > :low AND place < :high",
    "onrecord_sessions": "DELETE FROM {sessions} WHERE id = :session",
}
_REMEMBER: Final = """
    INSERT INTO {erased} (identity, session, epoch, at) VALUES (:identity, :session, :epoch, :at)
    ON CONFLICT (identity) DO UPDATE SET session = :session, epoch = :epoch, at = :at"""

_NEEDING: Final = """
    SELECT DISTINCT place >> 32 AS session FROM {segments}
    WHERE dictionary = :number AND place >= :low
    UNION SELECT DISTINCT place >> 32 FROM {tail}
    WHERE substr(frame, 2, 1) IN (:c5, :c7) AND substr(frame, 7, 2) = :name AND place >= :low
    ORDER BY session LIMIT :limit"""
_RETIRED: Final = "SELECT id FROM {dictionaries} WHERE in_use = 0 ORDER BY id"
_IN_TAIL: Final = """
    SELECT place & 4294967295, frame FROM {tail}
    WHERE place > :low AND place < :high AND substr(frame, 2, 1) IN (:c5, :c7)"""


def remove(
    txn: Transaction, name: SessionName, only_at: Version | None = None
) -> tuple[Version, Counter[str]] | None:
    """Take a session away, and remember only that something was there; how much that was.

    None where it is not there, or was written to since the version it was to be taken away at.
    """
    gone: Counter[str] = Counter()
    session = sessions.lock(txn, name, damaged=True)
    if session is None or (only_at is not None and session.version != only_at):
        return None
    fences.refuse_fenced(txn, session.fence)  # now: afterwards there is no row to look at
    values = {"session": session.number, **_span(session.number)}
    for table, statement in _REMOVE.items():
        chosen = {key: value for key, value in values.items() if f":{key}" in statement}
        gone[table] += txn.run(statement, chosen)
    epoch = session.epoch + 1
    txn.run(
        _REMEMBER,
        {
            "identity": name.hashed(txn.facts.store_id),
            "session": session.number,
            "epoch": epoch,
            "at": now() // MICROSECONDS,
        },
    )
    return Version(epoch, 0), gone


def retire_tainted(txn: Transaction) -> None:
    """Nobody writes any more with a dictionary that was learned from an erased session."""
    for number in dictionaries.tainted(txn):
        dictionaries.retire(txn, number)


def retired(txn: Transaction) -> list[int]:
    """The dictionaries that are on their way out."""
    return [int(number) for (number,) in txn.rows(_RETIRED, {})]


def needing(txn: Transaction, number: int, after: int, limit: int) -> list[int]:
    """Sessions, by number, of which something needs a dictionary."""
    found = txn.rows(
        _NEEDING,
        {
            "number": number,
            "name": number.to_bytes(2, "little"),
            "low": (after + 1) << 32,
            "limit": limit,
            **_LEARNED,
        },
    )
    return [int(session) for (session,) in found]


def release(txn: Transaction, session: int, number: int) -> None:
    """Write again what of a session needs a dictionary, without it."""
    locked = sessions.lock_number(txn, session, damaged=True)
    if locked is None or not 0 < session <= LAST_ID:
        return
    for stored in list(segments.overlapping(txn, session, 0, LAST_SEQ)):
        if stored.dictionary == number:
            try:
                segment = segments.unpacked(txn, stored)
            except Damaged:
                continue  # nothing reads it any more; its bytes are kept as they are
            segments.remove(txn, session, stored.last - 1, stored.last)
            segments.write(txn, session, segment, THOROUGH)
    for seq, frame in txn.rows(_IN_TAIL, {**_span(session), **_LEARNED}):
        if codec.dictionary_of(bytes(frame)) == number:
            _release_row(txn, locked, seq)


def _release_row(txn: Transaction, session: SessionRow, seq: int) -> None:
    row = tail.at(txn, session, seq)
    assert row is not None
    assert row.frame is not None, "it is held by its session's lock"
    if codec.dictionary_of(row.frame) is not None:
        return  # damaged: its bytes are kept as they are
    tail.put_frame(txn, session, seq, codec.whole(row.frame))


def _span(session: int) -> dict[str, int]:
    if not 0 < session <= LAST_ID:
        return {"low": 0, "high": 0}  # a damaged row: nothing can be found by its number
    return {"low": session << 32, "high": (session + 1) << 32}


_LEARNED: Final = {"c5": b"\x05", "c7": b"\x07"}
