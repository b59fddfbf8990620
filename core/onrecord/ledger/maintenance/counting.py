"""How much there is, and how much room it takes.

Of a few sessions that is counted; of many it is estimated, by a thousand of them: they stand in
runs of numbers, which are spread over all numbers there are.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Final

from onrecord.ledger.checkpoints import lists
from onrecord.ledger.database import keys
from onrecord.ledger.database.address import Kind
from onrecord.ledger.database.transaction import Transaction
from onrecord.ledger.items import scoped
from onrecord.ledger.sessions import dictionaries
from onrecord.reports import Stats
from onrecord.scope import Scope
from onrecord.stored.clock import now
from onrecord.version import Usage

# A number that cannot be what was written is that row's damage: it counts for nothing here.
_BELIEVED: Final = f"CASE WHEN {{0}} BETWEEN 0 AND {2**53} THEN {{0}} ELSE 0 END"


def _sum(column: str) -> str:
    return f"coalesce(sum({_BELIEVED.format(column)}), 0)"


_WHAT: Final = {
    "sessions": (
        f"""count(*), {_sum("s.messages")}, {_sum("s.turns")}, {_sum("s.tokens")},
        {_sum("s.head")}, {_sum("s.input_tokens")}, {_sum("s.output_tokens")},
        {_sum("s.cached_tokens")}, {_sum("s.requests")}""",
        "",
    ),
    "tail": (
        f"""count(t.frame), {_sum("coalesce(t.raw, length(t.frame))")},
        coalesce(sum(length(t.frame)), 0)""",
        "JOIN {tail} t ON {t.of s}",
    ),
    "segments": (
        f"count(*), {_sum('g.raw')}, coalesce(sum(length(g.body)), 0)",
        "JOIN {segments} g ON {g.of s}",
    ),
    "runs": (
        """coalesce(sum(length(r.terms)), 0), coalesce(sum(CASE
            WHEN r.upto BETWEEN r.seq AND r.seq + 15 THEN r.upto - r.seq + 1 ELSE 0 END), 0)""",
        "JOIN {runs} r ON {r.of s}",
    ),
}
"""What is summed over sessions, and what belongs to them."""
# By LATERAL and a limit, or the planner would go over all sessions, once for each beginning.
_SOME: Final[dict[Kind, str]] = {
    "sqlite": "(SELECT * FROM {sessions} WHERE id > :begin AND id <= :begin + :width) s",
    "postgresql": """unnest(CAST(:begins AS BIGINT[])) AS w (number) CROSS JOIN LATERAL (
        SELECT * FROM {sessions} WHERE id > w.number AND id <= w.number + :width
        ORDER BY id LIMIT :width) s""",
}


def _sums_of(sessions: str) -> dict[str, str]:
    return {
        what: f"SELECT {sums} FROM {sessions} {joined} WHERE "
        for what, (sums, joined) in _WHAT.items()
    }


_SUMS: Final = _sums_of("{sessions} s")
_SUMS_OF_SOME: Final = {kind: _sums_of(some) for kind, some in _SOME.items()}
_ANY: Final = "SELECT 1 FROM {sessions} s WHERE "
_NUMBERS: Final = "SELECT coalesce(min(id), 0), coalesce(max(id), 0) FROM {sessions}"

MOST_COUNTED: Final = 10_000
"""Sessions. Of more it takes longer to count what they have than anybody waits for."""
_RUNS: Final = 100
_WIDTH: Final = 10

_DISK: Final[dict[Kind, str]] = {
    "sqlite": "SELECT (SELECT * FROM pragma_page_count()) * (SELECT * FROM pragma_page_size())",
    "postgresql": """
        SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0) FROM pg_class c
        WHERE c.relkind = 'r' AND starts_with(c.relname, 'onrecord_')
            AND c.relnamespace = (SELECT oid FROM pg_namespace
                WHERE nspname = coalesce(CAST(:schema AS TEXT), current_schema()))""",
}


def stats(txn: Transaction, scope: Scope, exact: bool) -> Stats:
    """Count everything in a scope, from one moment; what has many sessions by some of them,
    unless it is to be exact."""
    txn.snapshot()
    counted = _Counted(txn, scope, exact)
    sessions, messages, turns, tokens, heads, *spent = counted.sums("sessions")
    rows, row_raw, row_bytes = counted.sums("tail")
    segments, segment_raw, segment_bytes = counted.sums("segments")
    index_bytes, places = counted.sums("runs")
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
        states=known.states,
        item_bytes=known.bytes,
        unindexed=max(heads - places, 0),
        index_bytes=index_bytes,
        dictionaries=number,
        dictionary_bytes=number_bytes,
        disk_bytes=disk(txn),
        estimated=counted.estimated,
    )


class _Counted:
    """Sums over the sessions of a scope."""

    def __init__(self, txn: Transaction, scope: Scope, exact: bool) -> None:
        self._txn = txn
        conditions, self._values = keys.of_scope(scope, "s.")
        self._where = " AND ".join(conditions) or "1 = 1"
        self.estimated = not exact and self._are_many()
        self._begins: list[int] = []
        self._part = 1.0
        if self.estimated:
            least, most = _one(txn, _NUMBERS, {})
            each = (most - least + 1) / _RUNS
            self._part = each / _WIDTH
            room = max(int(each) - _WIDTH, 0) + 1
            self._begins = [
                least - 1 + int(n * each) + secrets.randbelow(room) for n in range(_RUNS)
            ]

    def sums(self, what: str) -> list[int]:
        """What is summed; of a part, as much as the whole would have."""
        txn = self._txn
        if not self.estimated:
            return list(_one(txn, _SUMS[what] + self._where, self._values))
        statement = _SUMS_OF_SOME[txn.kind][what] + self._where
        values = {**self._values, "width": _WIDTH}
        if txn.can.array_parameters:
            found = [_one(txn, statement, {**values, "begins": self._begins})]
        else:
            found = [_one(txn, statement, {**values, "begin": one}) for one in self._begins]
        return [round(sum(column) * self._part) for column in zip(*found, strict=True)]

    def _are_many(self) -> bool:
        values = {**self._values, "most": MOST_COUNTED + 1}
        few = f"SELECT count(*) FROM ({_ANY}{self._where} LIMIT :most) few"
        return _one(self._txn, few, values)[0] > MOST_COUNTED


def disk(txn: Transaction) -> int:
    """How many bytes the whole store takes."""
    values = {"schema": txn.schema} if txn.kind == "postgresql" else {}
    return _one(txn, _DISK[txn.kind], values)[0]


def _one(txn: Transaction, statement: str, values: Mapping[str, object]) -> tuple[int, ...]:
    found = txn.first(statement, values)
    assert found is not None, "an aggregate always answers"
    return tuple(int(number) for number in found)
