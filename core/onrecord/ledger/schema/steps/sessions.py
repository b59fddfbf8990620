"""Step 1: sessions, and their messages as rows."""

from __future__ import annotations

import secrets
from typing import Final

from onrecord.ledger.database.transaction import Transaction

_TABLES: Final = (
    """CREATE TABLE {meta} (name TEXT PRIMARY KEY, value {blob} NOT NULL)""",
    """CREATE TABLE {counters} (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)""",
    # identity is a digest of the four names: see scope.py. cut_epoch is the epoch of the last
    # clear or rewind, which is what tells "cleared" from "edited" to a writer that comes late.
    # fenced is the token of an append whose answer was lost and which was done again: should the
    # first attempt still arrive (from a frozen server), it is refused by it.
    # archived holds ranges of seq, NULL for none.
    # active_second is last_active in whole seconds: an index on the exact time would be
    # rewritten by every append (on PostgreSQL it costs a third of the appends a second).
    """CREATE TABLE {sessions} (
        id {key},
        identity {blob} NOT NULL UNIQUE,
        owner BIGINT NOT NULL,
        epoch BIGINT NOT NULL,
        cut_epoch BIGINT NOT NULL,
        head BIGINT NOT NULL,
        messages BIGINT NOT NULL,
        turns BIGINT NOT NULL,
        tokens BIGINT NOT NULL,
        created BIGINT NOT NULL,
        last_active BIGINT NOT NULL,
        active_second BIGINT NOT NULL,
        fenced BIGINT,
        tenant TEXT NOT NULL,
        "user" TEXT NOT NULL,
        agent TEXT NOT NULL,
        key TEXT NOT NULL,
        about {blob},
        archived {blob}
    ) {packed}""",
    """CREATE INDEX onrecord_sessions_by_owner ON {sessions} (owner, active_second, id)""",
    """CREATE INDEX onrecord_sessions_by_activity ON {sessions} (active_second, id)""",
    # place is session << 32 | seq: one number is the key, so that a row costs no second index
    # and a session's rows lie side by side. A deleted message keeps its row without a frame.
    """CREATE TABLE {tail} (
        place BIGINT_KEY PRIMARY KEY,
        created BIGINT NOT NULL,
        token BIGINT NOT NULL,
        born INTEGER NOT NULL,
        tokens INTEGER NOT NULL,
        counter SMALLINT NOT NULL,
        opens_turn SMALLINT NOT NULL,
        frame {blob},
        id TEXT
    )""",
    """CREATE UNIQUE INDEX onrecord_tail_by_id ON {tail} ((place >> 32), id)
        WHERE id IS NOT NULL""",
)


def create(txn: Transaction, kind: str) -> None:
    for statement in _TABLES:
        # Only INTEGER PRIMARY KEY, by that very name, is SQLite's rowid.
        txn.run(statement.replace("BIGINT_KEY", "INTEGER" if kind == "sqlite" else "BIGINT"))
    for name in ("store_id", "cache_id"):
        txn.run(
            "INSERT INTO {meta} (name, value) VALUES (:name, :id)",
            {"name": name, "id": secrets.token_bytes(16)},
        )
