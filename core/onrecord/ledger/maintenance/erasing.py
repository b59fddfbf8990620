"""How a session goes for good: every row of it, its state, and what was learned from it (I7)."""

from __future__ import annotations

from collections import Counter
from typing import Final, NamedTuple, Self

from onrecord import codec
from onrecord.codec.compression import THOROUGH
from onrecord.errors import Damaged
from onrecord.ledger.database import keys
from onrecord.ledger.database.address import Kind
from onrecord.ledger.database.transaction import Transaction
from onrecord.ledger.feed import positions
from onrecord.ledger.items import state
from onrecord.ledger.sessions import (
    archives,
    description,
    dictionaries,
    fences,
    segments,
    sessions,
    tail,
)
from onrecord.ledger.sessions.description import Described
from onrecord.scope import SessionName
from onrecord.stored.clock import MICROSECONDS, now
from onrecord.stored.items import WrittenItem
from onrecord.stored.messages import LAST_SEQ, SessionKey, SessionRow
from onrecord.stored.ranges import Ranges
from onrecord.version import Version

REMOVE_ROWS: Final = {
    "onrecord_segments": "DELETE FROM {segments} WHERE {span}",
    "onrecord_tail": "DELETE FROM {tail} WHERE {span}",
    "onrecord_runs": "DELETE FROM {runs} WHERE {span}",
    "onrecord_vectors": "DELETE FROM {vectors} WHERE {my_shard} session = :session",
    "onrecord_pairs": "DELETE FROM {pairs} WHERE {my_shard} session = :session",
}
REMOVE: Final = "DELETE FROM {sessions} WHERE {my_shard} id = :session"
REMEMBER: Final = """
    INSERT INTO {erased} (identity, session, epoch, at) VALUES (:identity, :session, :epoch, :at)
    ON CONFLICT (identity) DO UPDATE SET session = :session, epoch = :epoch, at = :at"""

_NEEDING: Final[dict[Kind, str]] = {
    "sqlite": """
        SELECT 0 AS shard, session FROM {segments}
        WHERE dictionary = :number AND place > (:session << 32) + 4294967295
        UNION SELECT 0, session FROM {tail}
        WHERE dictionary = :number AND place > (:session << 32) + 4294967295
        ORDER BY session LIMIT :limit""",
    "postgresql": """
        SELECT shard, session FROM {segments}
        WHERE dictionary = :number AND (session, shard) > (:session, :shard)
        UNION SELECT shard, session FROM {tail}
        WHERE dictionary = :number AND (session, shard) > (:session, :shard)
        ORDER BY session, shard LIMIT :limit""",
}
_NEEDED: Final = (
    "SELECT 1 FROM {segments} WHERE dictionary = :number LIMIT 1",
    "SELECT 1 FROM {tail} WHERE dictionary = :number LIMIT 1",
)
_RETIRED: Final = "SELECT id FROM {dictionaries} WHERE in_use = 0 ORDER BY id"
_IN_TAIL: Final = """
    SELECT seq FROM {tail} WHERE {span} AND dictionary = :number ORDER BY {order}"""


class Removed(NamedTuple):
    """What has gone with a session."""

    after: Version
    """Where it stands now."""
    counted: Counter[str]
    """How much that was, by table."""
    items: dict[bytes, WrittenItem]
    """Those of its state."""


class InArchive(NamedTuple):
    """What a file says of a session that its version does not."""

    state: int
    """The version of its state, 0 where it had none."""
    archived: Ranges
    """Which of its messages are archived."""


class AsRead(NamedTuple):
    """How a session stood that is to go, if nobody has come back to it since."""

    version: Version
    last_active: int
    expires_in: int | None
    about: bytes | None
    in_archive: InArchive | None = None
    """None where all of that may have changed."""

    @classmethod
    def of(cls, described: Described) -> Self:
        """How it was described."""
        about = described.about
        return cls(
            described.version,
            described.last_active,
            described.expires_in,
            None if about is None else bytes(about),
        )


def remove(txn: Transaction, name: SessionName, only_as: AsRead | None = None) -> Removed | None:
    """Take a session away, and remember only that something was there; how much that was.

    None where it is not there, or was written to since the version it was to be taken away at.
    """
    gone: Counter[str] = Counter()
    session = sessions.lock(txn, name, damaged=True)
    if session is None or not _is_as(txn, session, only_as):
        return None
    if only_as is not None and only_as.in_archive is not None:
        found = InArchive(state.hold(txn, name), archives.of(txn, session))
        if found != only_as.in_archive:
            return None
    fences.refuse_fenced(txn, name, session.fence)  # now: afterwards there is no row to look at
    for table, statement in REMOVE_ROWS.items():
        gone[table] += txn.run(statement, keys.span(txn, session.key))
    known, went = state.remove(txn, name)
    gone += known
    gone["onrecord_sessions"] += txn.run(REMOVE, keys.of_session(session))
    epoch = session.epoch + 1
    positions.erase(txn, session.key, epoch)
    txn.run(
        REMEMBER,
        {
            "identity": name.hashed(txn.facts.store_id),
            "session": session.number,
            "epoch": epoch,
            "at": now() // MICROSECONDS,
        },
    )
    return Removed(Version(epoch, 0), gone, went)


def _is_as(txn: Transaction, session: SessionRow, only_as: AsRead | None) -> bool:
    if only_as is None:
        return True
    described = description.describe_key(txn, session.key)
    return described is not None and AsRead.of(described) == only_as._replace(in_archive=None)


def retire_tainted(txn: Transaction) -> None:
    """Nobody writes any more with a dictionary that was learned from an erased session."""
    for number in dictionaries.tainted(txn):
        dictionaries.retire(txn, number)


def retired(txn: Transaction) -> list[int]:
    """The dictionaries that are on their way out."""
    return [int(number) for (number,) in txn.rows(_RETIRED, {})]


def needing(txn: Transaction, number: int, after: SessionKey, limit: int) -> list[SessionKey]:
    """Sessions, by key after one, of which something needs a dictionary."""
    values = {"number": number, "limit": limit, **after._asdict()}
    return [SessionKey(*row) for row in txn.rows(_NEEDING[txn.kind], values)]


def is_needed(txn: Transaction, number: int) -> bool:
    """Whether anything needs a dictionary: where nothing does, that takes looking at every row."""
    return any(txn.first(statement, {"number": number}) for statement in _NEEDED)


def release(txn: Transaction, session: SessionKey, number: int) -> None:
    """Write again what of a session needs a dictionary, without it."""
    locked = sessions.lock_key(txn, session, damaged=True)
    if locked is None:
        return
    for stored in list(segments.overlapping(txn, session, 0, LAST_SEQ)):
        if stored.dictionary == number:
            try:
                segment = segments.unpacked(txn, stored)
            except Damaged:
                continue  # nothing reads it any more; its bytes are kept as they are
            segments.remove(txn, session, stored.last - 1, stored.last)
            segments.write(txn, session, segment, THOROUGH)
    for (seq,) in txn.rows(_IN_TAIL, {**keys.span(txn, session), "number": number}):
        _release_row(txn, locked, seq)


def _release_row(txn: Transaction, session: SessionRow, seq: int) -> None:
    row = tail.at(txn, session, seq)
    assert row is not None
    assert row.frame is not None, "it is held by its session's lock"
    if codec.dictionary_of(row.frame) is not None:
        return  # damaged: its bytes are kept as they are
    tail.put_frame(txn, session, seq, codec.whole(row.frame))
