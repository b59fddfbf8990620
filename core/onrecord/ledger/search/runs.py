"""The rows of the index: one for a run of 16 places of a session, found by its first sequence.

A row says what is in its places at the moment: whoever takes a message away, or puts another in
its place, takes the row away in the same transaction; and whoever writes one holds the session's
row against that, and writes only in the epoch in which the messages were read. An append leaves
the rows alone: a row says up to where it goes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from onrecord.ledger.database import keys
from onrecord.ledger.database.address import Kind
from onrecord.ledger.database.transaction import Transaction
from onrecord.scope import Scope, SessionName
from onrecord.stored.messages import LAST_SEQ, SessionKey

if TYPE_CHECKING:
    from onrecord.ledger.search.vectors import VectorRow

PLACES: Final = 16
"""Of a run. A message's run is (seq - 1) // 16, whatever was deleted."""

_COLUMNS: Final = "{r.shard}, r.session, r.seq, r.upto, r.analyser, r.terms"
_OF_SESSIONS: Final = f"SELECT {_COLUMNS} FROM {{sessions}} s JOIN {{runs}} r ON {{r.of s}}"
_OF_ONE: Final = f"""
    SELECT {_COLUMNS} FROM {{runs}} r WHERE {{r.span}} ORDER BY {{r.order}}"""
STALE: Final = """
    16 * (SELECT count(*) FROM {runs} r WHERE {r.of onrecord_sessions} AND r.analyser = :analyser
        AND r.upto >= CASE WHEN r.seq + 15 < onrecord_sessions.head THEN r.seq + 15
            ELSE onrecord_sessions.head END) < onrecord_sessions.head"""
"""Of a session in a list of them: whether some of its runs are missing, or end too early."""
_EPOCH: Final = "SELECT epoch FROM {sessions} WHERE {my_shard} id = :session"
_HOLD: Final = f"{_EPOCH} {{for_key_share}}"
_HOLD_IF_FREE: Final = f"{_EPOCH} {{for_key_share_skip_locked}}"
_WRITE: Final = """
    INSERT INTO {runs} ({row_key}, upto, analyser, terms)
    VALUES ({row_value}, :upto, :analyser, :terms)
    ON CONFLICT ({row_key}) DO UPDATE SET
        upto = :upto, analyser = :analyser, terms = :terms"""
_DROP: Final[dict[Kind, list[str]]] = {
    "sqlite": [
        "DELETE FROM {vectors} WHERE session = :session AND seq > :after AND seq <= :upto",
        "DELETE FROM {runs} WHERE {span}",
    ],
    "postgresql": [
        """
        WITH meanings AS (
            DELETE FROM {vectors} WHERE {my_shard} session = :session
                AND seq > :after AND seq <= :upto)
        DELETE FROM {runs} WHERE {span}""",
    ],
}


class RunRow(NamedTuple):
    """A row of the index."""

    shard: int
    session: int
    seq: int
    """Its first sequence."""
    upto: int
    """The last that was there."""
    analyser: int
    terms: bytes

    @property
    def key(self) -> SessionKey:
        return SessionKey(self.shard, self.session)


def first_of(seq: int) -> int:
    """The first sequence of the run that a place is in."""
    return (seq - 1) // PLACES * PLACES + 1


def of_scope(txn: Transaction, scope: Scope) -> list[RunRow]:
    """All rows of a scope's sessions."""
    conditions, values = keys.of_scope(scope, "s.")
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    return _rows(txn, _OF_SESSIONS + where, values)


def of_name(txn: Transaction, name: SessionName) -> list[RunRow]:
    """All rows of one session."""
    where = " WHERE {s.my_shard} s.identity = :identity"
    return _rows(txn, _OF_SESSIONS + where, keys.of_name(name))


def of_session(txn: Transaction, session: SessionKey) -> list[RunRow]:
    """All rows of a session that was found, in order."""
    return _rows(txn, _OF_ONE, keys.span(txn, session))


def write(txn: Transaction, rows: Iterable[RunRow], epochs: Mapping[SessionKey, int]) -> int:
    """Write rows of sessions that are still in the epochs they were read in; how many. Of one that
    somebody is rewriting at the moment none are, and nobody waits."""
    held = held_in(txn, epochs, wait=False)
    values = [
        {
            **keys.at(row.key, row.seq),
            "upto": row.upto,
            "analyser": row.analyser,
            "terms": row.terms,
        }
        for row in sorted(rows, key=in_order)
        if held.get(row.key) == epochs[row.key]
    ]
    if values:
        txn.many(_WRITE, values)
    return len(values)


def drop(txn: Transaction, session: SessionKey, first: int = 1, last: int = LAST_SEQ) -> None:
    """Take away what is indexed of places from one to another, their vectors too."""
    places = keys.span(txn, session, first_of(max(first, 1)) - 1, last)
    for statement in _DROP[txn.kind]:
        txn.run(statement, places)


def _rows(txn: Transaction, statement: str, values: Mapping[str, object]) -> list[RunRow]:
    return list(map(RunRow._make, txn.rows(statement, values)))


def in_order(row: SessionKey | RunRow | VectorRow) -> tuple[int, ...]:
    """The order in which rows are held and written, by everybody: two who write the same ones in
    two orders would wait for each other for ever."""
    return row.session, row.shard, getattr(row, "seq", 0)


def held_in(txn: Transaction, wanted: Iterable[SessionKey], *, wait: bool) -> dict[SessionKey, int]:
    """In which epochs sessions are, held against who rewrites them; those that are there, and
    without ``wait`` those that nobody is rewriting at the moment."""
    txn.begin()
    statement = _HOLD if wait else _HOLD_IF_FREE
    found: dict[SessionKey, int] = {}
    for key in sorted(wanted, key=in_order):
        row = txn.first(statement, keys.of_key(key))
        if row is not None:
            found[key] = int(row[0])
    return found
