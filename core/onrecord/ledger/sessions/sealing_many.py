"""How many short sessions are sealed together: read, packed outside of any transaction, written.

Nothing is held while it is packed. Who changes a session moves its head, its epoch or its lineage:
what was packed then is thrown away. Only a session whose rows are one segment, and which has none
yet, is sealed so; the others are left to ``sealing.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from os import cpu_count
from typing import Final, NamedTuple

from onrecord.codec import Dictionary, segment
from onrecord.codec.compression import THOROUGH
from onrecord.codec.segment import Segment
from onrecord.ledger.database import keys, many
from onrecord.ledger.database.address import Kind
from onrecord.ledger.database.transaction import Transaction
from onrecord.ledger.sessions import dictionaries, sealing, segments, sessions, tail
from onrecord.stored.clock import MICROSECONDS, now
from onrecord.stored.messages import SessionKey, SessionRow

_FIND: Final[dict[Kind, str]] = {
    "sqlite": f"SELECT {sessions.FOUND} FROM {{sessions}} WHERE id = :session",
    "postgresql": f"SELECT {sessions.FOUND} FROM {{sessions}} WHERE {{many_sessions}}",
}
_LOCK: Final[dict[Kind, str]] = {
    "sqlite": _FIND["sqlite"],
    "postgresql": f"{_FIND['postgresql']} ORDER BY id, shard FOR NO KEY UPDATE SKIP LOCKED",
}
_SEAL: Final[dict[Kind, str]] = {
    "sqlite": "UPDATE {sessions} SET sealed = head, sealed_at = :second WHERE id = :session",
    "postgresql": """
        UPDATE {sessions} SET sealed = head, sealed_at = :second WHERE {many_sessions}""",
}
_CUT: Final[dict[Kind, str]] = {
    "sqlite": "DELETE FROM {tail} WHERE {span}",
    "postgresql": "DELETE FROM {tail} WHERE {of_many_sessions}",
}

AT_ONCE: Final = 100
"""Sessions that are read, packed and written together."""
_MOST_BYTES: Final = 16 * 2**20
"""Of frames that are held at a time."""
_WORKERS: Final = min(4, cpu_count() or 1)
"""Threads that pack: zstd lets others work meanwhile."""


class Read(NamedTuple):
    """What is to be sealed, as it was read."""

    short: list[tuple[SessionRow, Segment]]
    dictionary: Dictionary | None
    left: list[SessionKey]
    """Those that are to be sealed one by one."""


class Packed(NamedTuple):
    """What is to be written."""

    rows: list[tuple[SessionRow, dict[str, object]]]
    """Each session as it was read, and the row of its segment."""
    dictionary: Dictionary | None
    left: list[SessionKey]


def read(txn: Transaction, wanted: Sequence[SessionKey], before: int) -> Read:
    """What is not sealed of sessions that have been quiet since a second."""
    if not txn.can.across_shards:
        return Read([], None, list(wanted))
    found = _rows(txn, _FIND, [key for key in wanted if keys.is_number(txn, key.session)])
    left: list[SessionKey] = []
    short: list[SessionRow] = []
    for row in found:
        if row.damage or row.sealed or row.head > sealing.SEGMENT:
            left.append(row.key)
        elif sealing.is_quiet(row, before) and row.head:
            short.append(row)
    runs = tail.whole_of_many(txn, short, sealing.LARGEST, _MOST_BYTES)
    left += [row.key for row in short if row.key not in runs]
    dictionary = txn.dictionaries.refreshed(txn)
    return Read([(row, runs[row.key]) for row in short if row.key in runs], dictionary, left)


def pack(found: Read, compressed: bool) -> Packed:
    """Compress what was read; in no transaction, and in some threads."""
    level = THOROUGH if compressed else None
    one = partial(_packed, level=level, dictionary=found.dictionary)
    if len(found.short) < _WORKERS or _WORKERS == 1:
        rows = [one(each) for each in found.short]
    else:
        with ThreadPoolExecutor(_WORKERS, "onrecord-seal") as threads:
            rows = list(threads.map(one, found.short))
    return Packed(rows, found.dictionary, found.left)


def write(txn: Transaction, packed: Packed) -> tuple[int, list[SessionKey]]:
    """Put segments in the place of rows, of sessions that are as they were read: how many that
    were, and those that are to be sealed one by one."""
    txn.begin()
    known = {row.key: (row, values) for row, values in packed.rows}
    locked = _rows(txn, _LOCK, sorted(known, key=lambda key: (key.session, key.shard)))
    # Under the locks: who retires a dictionary waits for those who wrote before that, and only a
    # transaction that has locked something is seen as one of them.
    dictionary = packed.dictionary
    if dictionary is not None and not dictionaries.is_in_use(txn, dictionary.number):
        return 0, [*packed.left, *known]
    same = [row.key for row in locked if _is_as(known[row.key][0], row)]
    if same:
        segments.put_many(txn, [known[key][1] for key in same])
        many.change(txn, _CUT, same)
        many.change(txn, _SEAL, same, {"second": now() // MICROSECONDS})
    done = set(same)
    return len(same), [*packed.left, *(key for key in known if key not in done)]


def _is_as(was: SessionRow, row: SessionRow) -> bool:
    at = (row.epoch, row.head, row.sealed, row.lineage)
    return at == (was.epoch, was.head, was.sealed, was.lineage)


def _packed(
    found: tuple[SessionRow, Segment], level: int | None, dictionary: Dictionary | None
) -> tuple[SessionRow, dict[str, object]]:
    row, run = found
    return row, segments.row_of(row.key, run, *segment.pack(run, level, dictionary))


def _rows(
    txn: Transaction, statements: Mapping[Kind, str], wanted: Sequence[SessionKey]
) -> list[SessionRow]:
    return [SessionRow(*row) for row in many.rows(txn, statements, wanted)]
