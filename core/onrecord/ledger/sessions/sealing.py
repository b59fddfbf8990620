"""How rows become segments: by the appends that find too many, and by maintenance.

To seal moves no message and changes no epoch: nobody who reads sees a difference.
"""

from __future__ import annotations

from typing import Final

from onrecord.codec.compression import STEADY, THOROUGH
from onrecord.codec.segment import Segment
from onrecord.errors import Damaged
from onrecord.ledger.database.transaction import Transaction
from onrecord.ledger.sessions import segments, sessions, tail
from onrecord.scope import SessionName
from onrecord.stored.clock import MICROSECONDS
from onrecord.stored.messages import SessionKey, SessionRow

SEGMENT: int = 128
"""How many messages are sealed together. With 64 a store is 2 points larger; an append that seals
comes once in so many, so at 64 it would show in the 99th percentile."""
LARGEST: Final = 256 * 1024
"""No more bytes of frames than this are sealed together, if it is not one message."""


def outgrown(rows: int) -> bool:
    """Whether a tail is long enough for its oldest run to be sealed."""
    return rows >= 2 * SEGMENT


def seal_oldest(txn: Transaction, name: SessionName) -> int:
    """Seal what has outgrown the tail of a session; how many segments that made."""
    session = sessions.lock(txn, name)
    made = 0
    while session is not None and outgrown(session.head - session.sealed):
        run = tail.oldest(txn, session, SEGMENT, LARGEST)
        if not run.rows:
            break  # a gap: verify() reports it, and it is not sealed away
        session = _sealed(txn, session, run, STEADY)
        made += 1
    return made


def seal_all(txn: Transaction, session: SessionRow) -> SessionRow:
    """Seal every message of a locked session, the last segment together with what came after."""
    last = segments.holding(txn, session.key, session.sealed) if session.sealed else None
    if last is not None and last.last - last.first + 1 < SEGMENT and session.head > session.sealed:
        session = _unsealed_into(txn, session, last)
    while session.head > session.sealed:
        run = tail.oldest(txn, session, SEGMENT, LARGEST)
        if not run.rows:
            break
        session = _sealed(txn, session, run, THOROUGH)
    return session


def _unsealed_into(txn: Transaction, session: SessionRow, last: segments.Stored) -> SessionRow:
    """Seal a short last segment again with the rows after it."""
    try:
        kept = segments.unpacked(txn, last)
    except Damaged:
        return session  # its bytes are kept as they are, once
    room = SEGMENT - len(kept.rows)
    run = tail.oldest(txn, session, room, max(LARGEST - last.raw, 0))
    if not run.rows or last.raw >= LARGEST:
        return session
    segments.remove(txn, session.key, last.last - 1, last.last)
    return _sealed(txn, session, segments.joined([kept, run]), THOROUGH)


def _sealed(txn: Transaction, session: SessionRow, run: Segment, level: int) -> SessionRow:
    last = run.rows[-1].seq
    segments.write(txn, session.key, run, level)
    tail.remove(txn, session, last)
    return sessions.seal(txn, session, last)


def is_quiet(session: SessionRow, before: int) -> bool:
    """Whether nobody wrote to a session after a second."""
    return session.last_active < (before + 1) * MICROSECONDS


def seal_session(txn: Transaction, key: SessionKey, before: int, again: bool) -> int:
    """Seal what is not sealed of a session, if it has been quiet; how many sessions that were.

    By itself: who waits for one session while it holds others may be waited for in a ring.
    """
    session = sessions.lock_key(txn, key)
    if session is None or not is_quiet(session, before):
        return 0  # somebody has come back to it
    if again:
        _seal_again(txn, session)
    seal_all(txn, session)
    return 1


def _seal_again(txn: Transaction, session: SessionRow) -> None:
    """Write segments as they would be written now: other settings, another dictionary."""
    for stored in list(segments.overlapping(txn, session.key, 0, session.sealed)):
        try:
            segment = segments.unpacked(txn, stored)
        except Damaged:
            continue  # its bytes are kept as they are
        segments.remove(txn, session.key, stored.last - 1, stored.last)
        segments.write(txn, session.key, segment, THOROUGH)
