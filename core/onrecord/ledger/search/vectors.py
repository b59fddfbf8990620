"""The rows of vectors: of each run and each embedder one, with a bit a dimension for each place.

They come and go as the rows of the index do (``runs.py``), and are as little the truth.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple

from onrecord.ledger.database import keys
from onrecord.ledger.database.transaction import Transaction
from onrecord.ledger.search.runs import held_in, in_order
from onrecord.scope import Scope, SessionName
from onrecord.stored.messages import SessionKey

_COLUMNS: Final = "{v.shard}, v.session, v.seq, v.upto, v.body"
_OF_SESSIONS: Final = f"""
    SELECT {_COLUMNS} FROM {{sessions}} s
    JOIN {{vectors}} v ON {{v.in_shard_of s}} v.session = s.id AND v.embedder = :embedder"""
_OF_ONE: Final = f"{_OF_SESSIONS} WHERE {{v.my_shard}} {{s.my_shard}} s.identity = :identity"
STALE: Final = """
    16 * (SELECT count(*) FROM {vectors} v
        WHERE {v.in_shard_of onrecord_sessions} v.session = onrecord_sessions.id
            AND v.embedder = :embedder
            AND length(v.body) = :width * (v.upto - v.seq + 1)
            AND v.upto >= CASE WHEN v.seq + 15 < onrecord_sessions.head THEN v.seq + 15
                ELSE onrecord_sessions.head END) < onrecord_sessions.head"""
"""Of a session in a list of them: whether an embedder has not seen all of it."""
_WRITE: Final = """
    INSERT INTO {vectors} ({shard_key} session, embedder, seq, upto, body)
    VALUES ({shard_value} :session, :embedder, :seq, :upto, :body)
    ON CONFLICT ({shard_key} session, embedder, seq) DO UPDATE SET upto = :upto, body = :body"""
_DROP: Final = "DELETE FROM {vectors} WHERE embedder = :embedder"

_EMBEDDERS: Final = "SELECT id, identity FROM {embedders} ORDER BY id"
_ADD: Final = """
    INSERT INTO {embedders} (id, identity, name, dimensions, created)
    VALUES (:embedder, :identity, :name, :dimensions, :now) ON CONFLICT DO NOTHING"""
_HOLD: Final = "SELECT id FROM {embedders} WHERE id = :embedder {for_key_share}"
_DROP_OF_ITEMS: Final = """
    UPDATE {items} SET embedder = NULL, meant = NULL, meaning = NULL WHERE embedder = :embedder"""
_FORGET: Final = "DELETE FROM {embedders} WHERE id = :embedder"
_MOST_NUMBERS: Final = 2**31 - 1


class VectorRow(NamedTuple):
    """The vectors of a run."""

    shard: int
    session: int
    seq: int
    """Its first sequence."""
    upto: int
    """The last that was there."""
    body: bytes

    @property
    def key(self) -> SessionKey:
        return SessionKey(self.shard, self.session)


def of_scope(txn: Transaction, scope: Scope, embedder: int) -> list[VectorRow]:
    """All that an embedder has made of a scope's sessions."""
    conditions, values = keys.of_scope(scope, "s.")
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    return _rows(txn, _OF_SESSIONS + where, {**values, "embedder": embedder})


def of_name(txn: Transaction, name: SessionName, embedder: int) -> list[VectorRow]:
    """All that an embedder has made of one session."""
    return _rows(txn, _OF_ONE, {**keys.of_name(name), "embedder": embedder})


def write(
    txn: Transaction,
    embedder: int,
    rows: Iterable[VectorRow],
    epochs: Mapping[SessionKey, int],
    *,
    wait: bool,
) -> bool:
    """Write rows of sessions that are still in the epochs they were read in, and without ``wait``
    not of one that somebody is rewriting at the moment; False where the embedder was taken away."""
    txn.begin()
    if txn.first(_HOLD, {"embedder": embedder}) is None:
        return False
    held = held_in(txn, epochs, wait=wait)
    values = [
        {**row._asdict(), "embedder": embedder}
        for row in sorted(rows, key=in_order)
        if held.get(row.key) == epochs[row.key]
    ]
    if values:
        txn.many(_WRITE, values)
    return True


def number_of(txn: Transaction, same: Callable[[bytes], bool]) -> int | None:
    """The number of the embedder whose identity is the same; None where it made nothing yet."""
    found = [number for number, identity in txn.rows(_EMBEDDERS, {}) if same(bytes(identity))]
    return int(found[0]) if found else None


def add(
    txn: Transaction,
    same: Callable[[bytes], bool],
    identity: bytes,
    name: str,
    dimensions: int,
    now: int,
) -> int:
    """The number of an embedder, which is given one where it has none: by chance, so that it was
    nobody's before, whose process may remember it."""
    while (number := number_of(txn, same)) is None:
        values = {
            "embedder": secrets.randbelow(_MOST_NUMBERS) + 1,
            "identity": identity,
            "name": name,
            "dimensions": dimensions,
            "now": now,
        }
        txn.run(_ADD, values)
    return number


def forget_others(txn: Transaction, embedder: int) -> int:
    """Take away what other embedders have made, and themselves; how many they were."""
    txn.begin()
    others = [number for number, _ in txn.rows(_EMBEDDERS, {}) if number != embedder]
    for number in others:
        txn.run(_FORGET, {"embedder": number})  # first: it waits for who is writing
        txn.run(_DROP, {"embedder": number})
        txn.run(_DROP_OF_ITEMS, {"embedder": number})
    return len(others)


def _rows(txn: Transaction, statement: str, values: Mapping[str, object]) -> list[VectorRow]:
    return [
        VectorRow(shard, session, seq, upto, bytes(body))
        for shard, session, seq, upto, body in txn.rows(statement, values)
    ]
