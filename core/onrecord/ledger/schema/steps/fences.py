"""Step 4: what keeps a cache right whatever reaches it: fences, lineages, a generation."""

from __future__ import annotations

import secrets
from typing import Final

from onrecord.ledger.database import generation
from onrecord.ledger.database.transaction import Transaction

_STATEMENTS: Final = (
    # fence: random, moved by whoever settles what a cache holds of the session; a commit goes
    # through only under the fence that its mark was told. lineage: random, left by the last
    # write; the rows of an append have it as their token.
    "ALTER TABLE {sessions} ADD COLUMN fence BIGINT NOT NULL DEFAULT 0",
    "ALTER TABLE {sessions} ADD COLUMN lineage BIGINT NOT NULL DEFAULT 0",
    # A word for one thing: the token of an append that was done again has nothing to do with it.
    "ALTER TABLE {sessions} RENAME COLUMN fenced TO refused",
)
_RANDOM: Final = {
    "sqlite": "UPDATE {sessions} SET fence = 1 + abs(random() % 9000000000000000000)",
    "postgresql": "UPDATE {sessions} SET fence = 1 + CAST(floor(random() * 9e18) AS BIGINT)",
}


def create(txn: Transaction, kind: str) -> None:
    for statement in _STATEMENTS:
        txn.run(statement)
    txn.run(_RANDOM[kind])
    generation.begin(txn)
    # What was cached by code that did not know the fence is never met again.
    txn.run(
        "UPDATE {meta} SET value = :id WHERE name = 'cache_id'", {"id": secrets.token_bytes(16)}
    )
