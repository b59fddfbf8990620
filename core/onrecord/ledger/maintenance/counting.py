"""How much there is, and how much room it takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from onrecord.ledger.checkpoints import lists
from onrecord.ledger.database import keys
from onrecord.ledger.database.address import Kind
from onrecord.ledger.database.transaction import Transaction
from onrecord.ledger.items import scoped
from onrecord.ledger.search import runs
from onrecord.ledger.sessions import dictionaries
from onrecord.reports import Stats
from onrecord.scope import Scope
from onrecord.stored.clock import now
from onrecord.version import Usage

# A number that cannot be what was written is that row's damage: it counts for nothing here.
_BELIEVED: Final = f"CASE WHEN {{0}} BETWEEN 0 AND {2**53} THEN {{0}} ELSE 0 END"


def _sum(column: str) -> str:
    return f"coalesce(sum({_BELIEVED.format(column)}), 0)"


_SESSIONS: Final = f"""
    SELECT count(*), {_sum("s.messages")}, {_sum("s.turns")}, {_sum("s.tokens")},
        {_sum("s.head")},
        {_sum("s.input_tokens")}, {_sum("s.output_tokens")}, {_sum("s.cached_tokens")},
        {_sum("s.requests")}
    FROM {{sessions}} s WHERE """
_TAIL: Final = f"""
    SELECT count(t.frame), {_sum("coalesce(t.raw, length(t.frame))")},
        coalesce(sum(length(t.frame)), 0)
    FROM {{sessions}} s JOIN {{tail}} t ON {{t.of s}} WHERE """
_SEGMENTS: Final = f"""
    SELECT count(*), {_sum("g.raw")}, coalesce(sum(length(g.body)), 0)
    FROM {{sessions}} s JOIN {{segments}} g ON {{g.of s}} WHERE """

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
    conditions, values = keys.of_scope(scope, "s.")
    where = " AND ".join(conditions) or "1 = 1"
    sessions, messages, turns, tokens, heads, *spent = _one(txn, _SESSIONS + where, values)
    rows, row_raw, row_bytes = _one(txn, _TAIL + where, values)
    segments, segment_raw, segment_bytes = _one(txn, _SEGMENTS + where, values)
    _, index_bytes, places = runs.totals(txn, scope)
    known = scoped.count(txn, scope, now())
    number, number_bytes = dictionaries.totals(txn)
    return Stats(
        sessions=sessions,
        messages=messages,
        turns=turns,
        tokens=tokens,
        usage=Usage(**dict(zip(Usage.__struct_fields__, spent, strict=True))),
        rows=rows,
        raw_bytes=row_raw + segment_raw,
        stored_bytes=row_bytes + segment_bytes,
        segments=segments,
        threads=lists.count_threads(txn, **scope._asdict()),
        items=known.items,
        namespaces=known.namespaces,
        item_bytes=known.bytes,
        unindexed=max(heads - places, 0),
        index_bytes=index_bytes,
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
