"""Step 2: runs of messages sealed together, the dictionaries they were compressed with, and what
is left of sessions that were erased."""

from __future__ import annotations

from typing import Final

from onrecord.ledger.database.transaction import Transaction

_TABLES: Final = (
    # place is session << 32 | the last seq in it: the segment that holds a message is the first
    # one from there on. What can be summed without reading it stands beside the body.
    """CREATE TABLE {segments} (
        place BIGINT_KEY PRIMARY KEY,
        first BIGINT NOT NULL,
        messages INTEGER NOT NULL,
        turns INTEGER NOT NULL,
        tokens BIGINT NOT NULL,
        raw BIGINT NOT NULL,
        dictionary SMALLINT,
        body {blob} NOT NULL
    )""",
    # in_use is 0 while what needs a dictionary is being rewritten without it.
    # sources are the sessions whose messages it was learned from.
    """CREATE TABLE {dictionaries} (
        id INTEGER PRIMARY KEY,
        in_use SMALLINT NOT NULL,
        created BIGINT NOT NULL,
        sources {blob} NOT NULL,
        body {blob} NOT NULL
    )""",
    # identity is the session's, hashed again with the store's id. A session that is written to
    # again has the number it had, so that what was handed out before is known to be gone, and
    # goes on from this epoch.
    """CREATE TABLE {erased} (
        identity {blob} PRIMARY KEY,
        session BIGINT NOT NULL,
        epoch BIGINT NOT NULL,
        at BIGINT NOT NULL
    )""",
    # Messages up to sealed are in segments; those after it are rows.
    """ALTER TABLE {sessions} ADD COLUMN sealed BIGINT NOT NULL DEFAULT 0""",
    # The second in which that was last done.
    """ALTER TABLE {sessions} ADD COLUMN sealed_at BIGINT""",
    # Microseconds from the last activity after which prune() may take it; NULL: the store's
    # setting.
    """ALTER TABLE {sessions} ADD COLUMN expires_in BIGINT""",
)


def create(txn: Transaction, kind: str) -> None:
    """Make the tables."""
    for statement in _TABLES:
        # Only INTEGER PRIMARY KEY, by that very name, is SQLite's rowid.
        txn.run(statement.replace("BIGINT_KEY", "INTEGER" if kind == "sqlite" else "BIGINT"))
    if kind == "postgresql":
        # zstd has done it, and PostgreSQL would only try in vain; and a segment that fits on a
        # page stays on it: in a table of its own it would take a fifth more.
        txn.run("ALTER TABLE {segments} ALTER COLUMN body SET STORAGE EXTERNAL")
        txn.run("ALTER TABLE {segments} SET (toast_tuple_target = 8160)")
