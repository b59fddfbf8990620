"""The steps from an empty database to the tables of today, in order.

A step that was released is never changed; the next one is added below it. A step only runs
statements and asks nothing: on an empty PostgreSQL all of them are sent as one script. The first
is written from ``onrecord.tables``; later ones are to leave what is declared there.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Final

from onrecord.ledger.database import generation
from onrecord.ledger.database.transaction import Transaction

Step = Callable[[Transaction, str], None]


def first_statements(kind: str) -> list[str]:
    """What makes the tables of the first step."""
    text = (Path(__file__).parent / "sql" / f"{kind}.sql").read_text()
    return [statement.strip() for statement in text.split(";\n") if statement.strip()]


def _make_tables(txn: Transaction, kind: str) -> None:
    for statement in first_statements(kind):
        txn.run(statement)
    for name in ("store_id", "cache_id"):
        txn.run(
            "INSERT INTO {meta} (name, value) VALUES (:name, :id)",
            {"name": name, "id": secrets.token_bytes(16)},
        )
    generation.begin(txn)


STEPS: Final[tuple[tuple[str, Step], ...]] = (("0001 tables", _make_tables),)
