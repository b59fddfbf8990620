"""Step 3: checkpoints of graphs: threads, their strands, and what is kept once for all of them."""

from __future__ import annotations

from typing import Final

from onrecord.ledger.database.transaction import Transaction

_TABLES: Final = (
    # identity is a digest of the four names: see scope.py. epoch moves whenever something is
    # taken away. gone holds digests of checkpoints that were deleted with the thread: who still
    # writes to them is late. A thread that was deleted keeps its row, without its names.
    """CREATE TABLE {checkpoint_threads} (
        id {key},
        identity {blob} NOT NULL UNIQUE,
        owner BIGINT NOT NULL,
        live SMALLINT NOT NULL,
        epoch BIGINT NOT NULL,
        created BIGINT NOT NULL,
        last_active BIGINT NOT NULL,
        active_second BIGINT NOT NULL,
        expires_in BIGINT,
        held_until BIGINT,
        holder {blob},
        tenant TEXT NOT NULL,
        "user" TEXT NOT NULL,
        agent TEXT NOT NULL,
        key TEXT NOT NULL,
        about {blob},
        gone {blob}
    ) {packed}""",
    """CREATE INDEX onrecord_checkpoint_threads_by_owner
        ON {checkpoint_threads} (owner, active_second, id)""",
    """CREATE INDEX onrecord_checkpoint_threads_by_activity
        ON {checkpoint_threads} (active_second, id)""",
    # Two kinds, told apart by their names: the line of checkpoints of one namespace, whose head
    # is the number of its newest, and the items of one list-valued channel of it.
    """CREATE TABLE {checkpoint_strands} (
        id {key},
        thread BIGINT NOT NULL,
        head BIGINT NOT NULL,
        name {blob} NOT NULL
    ) {packed}""",
    """CREATE UNIQUE INDEX onrecord_checkpoint_strands_by_name
        ON {checkpoint_strands} (thread, name)""",
    # place is strand << 32 | number, in the order of commits. A row without an id is no
    # checkpoint any more: it holds values that later ones refer to.
    """CREATE TABLE {checkpoints} (
        place BIGINT_KEY PRIMARY KEY,
        id {blob},
        parent {blob},
        run {blob},
        refs {blob},
        body {blob},
        held {blob}
    )""",
    """CREATE UNIQUE INDEX onrecord_checkpoints_by_id ON {checkpoints} ((place >> 32), id)
        WHERE id IS NOT NULL""",
    """CREATE INDEX onrecord_checkpoints_by_run ON {checkpoints} (run) WHERE run IS NOT NULL""",
    # place is strand << 32 | the number of the last item in the row.
    """CREATE TABLE {checkpoint_items} (
        place BIGINT_KEY PRIMARY KEY,
        items INTEGER NOT NULL,
        body {blob} NOT NULL
    )""",
    # What tasks have written towards the next checkpoint: appended and never changed. Such
    # writes may come before the checkpoint that they belong to, so they name it by its id.
    """CREATE TABLE {checkpoint_writes} (
        number NUMBER_KEY PRIMARY KEY,
        strand BIGINT NOT NULL,
        id {blob} NOT NULL,
        body {blob} NOT NULL
    )""",
    """CREATE INDEX onrecord_checkpoint_writes_by_id ON {checkpoint_writes} (strand, id)""",
)


def create(txn: Transaction, kind: str) -> None:
    # Only INTEGER PRIMARY KEY, by that very name, is SQLite's rowid.
    place = "INTEGER" if kind == "sqlite" else "BIGINT"
    number = "INTEGER" if kind == "sqlite" else "BIGINT GENERATED ALWAYS AS IDENTITY"
    for statement in _TABLES:
        txn.run(statement.replace("BIGINT_KEY", place).replace("NUMBER_KEY", number))
