"""Between which bounds every number in the database stands: what is outside of them is damaged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from onrecord.ledger.database.transaction import Transaction
from onrecord.reports import Problem
from onrecord.stored.clock import EARLIEST, LATEST, MICROSECONDS
from onrecord.stored.messages import LAST_ID, LAST_SEQ, MOST_TOKENS

_MOST: Final = 2**63 - 1
_TIME: Final = (EARLIEST, LATEST)
_SECOND: Final = (EARLIEST // MICROSECONDS, LATEST // MICROSECONDS)
_COUNT: Final = (0, LAST_SEQ)
_SMALL: Final = (0, 2**15 - 1)
_FLAG: Final = (0, 1)
LAST_DICTIONARY: Final = 2**15 - 1
"""What a segment's column holds, and the two bytes in a frame."""

# Random 64 bits, digests and keys that other rows confirm are left out: see inspection.py.
BOUNDS: Final[dict[str, dict[str, tuple[int, int]]]] = {
    "sessions": {
        "id": (1, LAST_ID),
        "epoch": (0, _MOST),
        "cut_epoch": (0, _MOST),
        "head": _COUNT,
        "messages": _COUNT,
        "turns": _COUNT,
        "tokens": (0, _MOST),
        "created": _TIME,
        "last_active": _TIME,
        "active_second": _SECOND,
        "sealed": _COUNT,
        "sealed_at": _SECOND,
        "expires_in": (1, _MOST),
    },
    "tail": {
        "created": _TIME,
        "born": (0, _MOST),
        "tokens": (0, MOST_TOKENS),
        "counter": _SMALL,
        "opens_turn": _FLAG,
    },
    "dictionaries": {"id": (1, LAST_DICTIONARY), "in_use": _FLAG, "created": _TIME},
    "erased": {"session": (1, LAST_ID), "epoch": (1, _MOST), "at": _SECOND},
    "counters": {"id": (1, _SMALL[1])},
    "checkpoint_threads": {
        "id": (1, LAST_ID),
        "live": _FLAG,
        "epoch": (0, _MOST),
        "created": _TIME,
        "last_active": _TIME,
        "active_second": _SECOND,
        "expires_in": (1, _MOST),
        "held_until": _TIME,
    },
    "checkpoint_strands": {"id": (1, LAST_ID), "thread": (1, LAST_ID), "head": _COUNT},
    "checkpoint_items": {"items": _COUNT},
    "checkpoint_writes": {"number": (1, _MOST), "strand": (1, LAST_ID)},
}
_OF_SESSIONS: Final = ("sessions", "tail")
"""Named with the session that they belong to: see inspection.py."""


def outside(table: str, values: Mapping[str, int | None]) -> list[str]:
    """Which of a row's numbers cannot be what was written, in words."""
    return [
        f"its {column} is {values[column]}"
        for column, (least, most) in BOUNDS[table].items()
        if (value := values.get(column)) is not None and not least <= value <= most
    ]


def problems(txn: Transaction) -> list[Problem]:
    """The rows outside of any session with such a number, a hundred of each column."""
    found: list[Problem] = []
    for table, columns in BOUNDS.items():
        if table in _OF_SESSIONS:
            continue
        key = {"erased": "session", "checkpoint_items": "place", "checkpoint_writes": "number"}.get(
            table, "id"
        )
        for column, (least, most) in columns.items():
            statement = (
                f"SELECT {key}, {column} FROM {{{table}}} "
                f"WHERE {column} < {least} OR {column} > {most} ORDER BY 1 LIMIT 100"
            )
            found += [
                Problem(
                    kind="damaged",
                    where=f"onrecord_{table}",
                    what=f"{column} is {value} in the row with {key} {number}.",
                )
                for number, value in txn.rows(statement, {})
            ]
    return found
