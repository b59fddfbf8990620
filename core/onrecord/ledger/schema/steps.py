"""The steps from the tables of earlier versions to those of today, in order.

The first makes the tables of today, as ``onrecord.tables`` declares them, and is for a database
that has none: it is sent as one script to PostgreSQL, and so only runs statements and asks
nothing. Each later one brings tables that were made before it to the same: a column that is added
in ``onrecord.tables`` needs an ``ALTER TABLE`` here. A step that was released is never changed; the
next one is added below it. It only adds, with defaults, and takes away nothing that the version
before uses: what runs goes on while and after somebody migrates (docs/how-to/upgrade.md).
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
    text = (Path(__file__).parent / "sql" / f"{kind}.sql").read_text(encoding="utf-8")
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
