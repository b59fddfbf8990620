"""How much there is, and how much room it takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from onrecord.codec import raw_length
from onrecord.ledger.checkpoints import lists
from onrecord.ledger.database.address import Kind
from onrecord.ledger.database.transaction import Transaction
from onrecord.ledger.sessions import dictionaries
from onrecord.ledger.sessions.sessions import within
from onrecord.reports import Stats
from onrecord.scope import Scope

# A number that cannot be what was written is that row's damage: it counts for nothing here.
_BELIEVED: Final = f"CASE WHEN {{0}} BETWEEN 0 AND {2**53} THEN {{0}} ELSE 0 END"


def _believed(statement: str, **columns: str) -> str:
    for word, column in columns.items():
        statement = statement.replace(word, _BELIEVED.format(column))
    return statement


_SESSIONS: Final = _believed(
    """
    SELECT count(*), coalesce(sum(MESSAGES), 0), coalesce(sum(TURNS), 0),
        coalesce(sum(TOKENS), 0)
    FROM {sessions} s WHERE """,
    MESSAGES="s.messages",
    TURNS="s.turns",
    TOKENS="s.tokens",
)
_TAIL: Final = """
    SELECT count(t.frame), coalesce(sum(length(t.frame)), 0)
    FROM {sessions} s JOIN {tail} t
        ON t.place > (s.id << 32) AND t.place < ((s.id + 1) << 32) WHERE """
_SEGMENTS: Final = _believed(
    """
    SELECT count(*), coalesce(sum(RAW), 0), coalesce(sum(length(g.body)), 0)
    FROM {sessions} s JOIN {segments} g
        ON g.place > (s.id << 32) AND g.place < ((s.id + 1) << 32) WHERE """,
    RAW="g.raw",
)
# A frame says in its first bytes how long it was; only those that are compressed are asked.
_COMPRESSED: Final = """
    SELECT length(t.frame), substr(t.frame, 1, 32)
    FROM {sessions} s JOIN {tail} t
        ON t.place > (s.id << 32) AND t.place < ((s.id + 1) << 32)
    WHERE substr(t.frame, 2, 1) IN (:c1, :c3, :c5, :c7) AND """
_FLAGS: Final = {f"c{flags}": bytes((flags,)) for flags in (1, 3, 5, 7)}

_DISK: Final[dict[Kind, str]] = {
    "sqlite": "SELECT (SELECT * FROM pragma_page_count()) * (SELECT * FROM pragma_page_size())",
    "postgresql": """
        SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0) FROM pg_class c
        WHERE c.relkind = 'r' AND starts_with(c.relname, 'onrecord_')
            AND c.relnamespace = (SELECT oid FROM pg_namespace
                WHERE nspname = coalesce(CAST(:schema AS TEXT), current_schema()))""",
}


def stats(txn: Transaction, scope: Scope) -> Stats:
    """Count everything in a scope, from one moment."""
    txn.snapshot()
    conditions, values = within(scope, "s.")
    where = " AND ".join(conditions) or "1 = 1"
    sessions, messages, turns, tokens = _one(txn, _SESSIONS + where, values)
    rows, row_bytes = _one(txn, _TAIL + where, values)
    segments, segment_raw, segment_bytes = _one(txn, _SEGMENTS + where, values)
    saved = sum(
        raw_length(bytes(begin), length) - length
        for length, begin in txn.rows(_COMPRESSED + where, {**values, **_FLAGS})
    )
    number, number_bytes = dictionaries.totals(txn)
    return Stats(
        sessions=sessions,
        messages=messages,
        turns=turns,
        tokens=tokens,
        rows=rows,
        raw_bytes=row_bytes + saved + segment_raw,
        stored_bytes=row_bytes + segment_bytes,
        segments=segments,
        threads=lists.count_threads(txn, **scope._asdict()),
        dictionaries=number,
        dictionary_bytes=number_bytes,
        disk_bytes=disk(txn),
    )


def disk(txn: Transaction) -> int:
    """How many bytes the whole store takes."""
    values = {"schema": txn.schema} if txn.kind == "postgresql" else {}
    return _one(txn, _DISK[txn.kind], values)[0]


def _one(txn: Transaction, statement: str, values: Mapping[str, object]) -> tuple[int, ...]:
    found = txn.first(statement, values)
    assert found is not None, "an aggregate always answers"
    return tuple(int(number) for number in found)
