"""Between which bounds every number in the database stands: what is outside of them is damaged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from onrecord.ledger.database.transaction import Transaction
from onrecord.reports import Problem
from onrecord.stored.clock import EARLIEST, LATEST, LONGEST_LIFE, MICROSECONDS, period_of
from onrecord.stored.messages import LAST_SEQ, MOST_TOKENS

_MOST: Final = 2**63 - 1
_TIME: Final = (EARLIEST, LATEST)
_SECOND: Final = (EARLIEST // MICROSECONDS, LATEST // MICROSECONDS)
_PERIOD: Final = (period_of(EARLIEST), period_of(LATEST))
_COUNT: Final = (0, LAST_SEQ)
_SMALL: Final = (0, 2**15 - 1)
_FLAG: Final = (0, 1)
_EMBEDDER: Final = (1, 2**31 - 1)
ID: Final = (1, -1)
"""A key that the database makes: its upper bound differs, see ``Capabilities.last_id``."""
LAST_DICTIONARY: Final = 2**15 - 1
"""What a segment's column holds, and the two bytes in a frame."""

# Random 64 bits, digests and keys that other rows confirm are left out: see verifying.py.
BOUNDS: Final[dict[str, dict[str, tuple[int, int]]]] = {
    "sessions": {
        "id": ID,
        "epoch": (0, _MOST),
        "cut_epoch": (0, _MOST),
        "head": _COUNT,
        "messages": _COUNT,
        "turns": _COUNT,
        "tokens": (0, _MOST),
        "input_tokens": (0, _MOST),
        "output_tokens": (0, _MOST),
        "cached_tokens": (0, _MOST),
        "requests": (0, _MOST),
        "created": _TIME,
        "last_active": _TIME,
        "active_period": _PERIOD,
        "sealed": _COUNT,
        "sealed_at": _SECOND,
        "expires_in": (1, _MOST),
        "waits": _FLAG,
        "maybe_open": _FLAG,
        "held_until": _TIME,
    },
    "tail": {
        "created": _TIME,
        "epoch": (0, _MOST),
        "tokens": (0, MOST_TOKENS),
        "counter": _SMALL,
        "opens_turn": _FLAG,
        "raw": (0, _MOST),
        "dictionary": (1, LAST_DICTIONARY),
    },
    "runs": {"seq": (1, LAST_SEQ), "analyser": (1, _SMALL[1])},
    "embedders": {"id": _EMBEDDER, "dimensions": (1, 2**16), "created": _TIME},
    "vectors": {"seq": (1, LAST_SEQ), "embedder": _EMBEDDER},
    "pairs": {"session": ID},
    "dictionaries": {"id": (1, LAST_DICTIONARY), "in_use": _FLAG, "created": _TIME},
    "erased": {"session": ID, "epoch": (1, _MOST), "at": _SECOND},
    "counters": {"id": (1, _SMALL[1])},
    "namespaces": {"id": ID, "version": (1, _MOST)},
    "items": {
        "version": (1, _MOST),
        "created": _TIME,
        "updated": _TIME,
        "expires_at": (EARLIEST, LATEST + LONGEST_LIFE),
        "ttl": (1, LONGEST_LIFE),
    },
    "checkpoint_threads": {
        "id": ID,
        "live": _FLAG,
        "epoch": (0, _MOST),
        "created": _TIME,
        "last_active": _TIME,
        "active_period": _PERIOD,
        "expires_in": (1, _MOST),
        "held_until": _TIME,
    },
    "checkpoint_lists": {"id": ID, "thread": ID, "head": _COUNT},
    "checkpoints": {"number": _COUNT},
    "checkpoint_items": {"number": _COUNT, "items": _COUNT},
    "checkpoint_writes": {"number": (1, _MOST), "list": ID},
    "feeds": {
        "id": ID,
        "named": _FLAG,
        "second": _SECOND,
        "session": (0, _MOST),
        "newest": (0, _MOST),
        "swept_second": _SECOND,
        "swept_session": (0, _MOST),
        "swept_at": _TIME,
    },
    "feed_positions": {
        "session": ID,
        "feed": ID,
        "epoch": (0, _MOST),
        "head": (-1, LAST_SEQ),
        "gone": _FLAG,
        "due": (0, LATEST + LONGEST_LIFE),
    },
}
_KEYS: Final = {
    "runs": "session",
    "vectors": "session",
    "pairs": "session",
    "erased": "session",
    "checkpoints": "list",
    "checkpoint_items": "list",
    "checkpoint_writes": "number",
    "feed_positions": "session",
}
"""What a row is named by, where that is not its id."""
_NAMED: Final = ("sessions", "tail", "items")
"""Named with the session or the namespace that they belong to: see verifying.py."""


def of(txn: Transaction, table: str) -> dict[str, tuple[int, int]]:
    """The bounds of a table's columns in this database."""
    return {
        column: (1, txn.can.last_id) if bound is ID else bound
        for column, bound in BOUNDS[table].items()
    }


def outside(txn: Transaction, table: str, values: Mapping[str, int | None]) -> list[str]:
    """Which of a row's numbers cannot be what was written, in words."""
    return [
        f"its {column} is {values[column]}"
        for column, (least, most) in of(txn, table).items()
        if (value := values.get(column)) is not None and not least <= value <= most
    ]


def problems(txn: Transaction) -> list[Problem]:
    """The rows of the other tables with such a number, a hundred of each column."""
    found: list[Problem] = []
    for table in BOUNDS:
        if table in _NAMED:
            continue
        key = _KEYS.get(table, "id")
        for column, (least, most) in of(txn, table).items():
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
