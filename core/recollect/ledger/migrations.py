"""The tables, as an ordered list of steps that every database walks through once.

Steps are recorded by name, each in a transaction of its own, under a lock: ten processes may
start at once on an empty database. A step that was released is never changed; the next one is
added below it.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from typing import Final

from recollect.errors import Misconfigured, SchemaTooNew
from recollect.ledger.dialect import quoted
from recollect.ledger.transaction import Facts, Transaction

log = logging.getLogger("recollect")

_FIRST: Final = (
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
    """CREATE INDEX recollect_sessions_by_owner ON {sessions} (owner, active_second, id)""",
    """CREATE INDEX recollect_sessions_by_activity ON {sessions} (active_second, id)""",
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
    """CREATE UNIQUE INDEX recollect_tail_by_id ON {tail} ((place >> 32), id)
        WHERE id IS NOT NULL""",
)


def _first(txn: Transaction, kind: str) -> None:
    for statement in _FIRST:
        # Only INTEGER PRIMARY KEY, by that very name, is SQLite's rowid.
        txn.run(statement.replace("BIGINT_KEY", "INTEGER" if kind == "sqlite" else "BIGINT"))
    for name in ("store_id", "cache_id"):
        txn.run(
            "INSERT INTO {meta} (name, value) VALUES (:name, :id)",
            {"name": name, "id": secrets.token_bytes(16)},
        )


Step = Callable[[Transaction, str], None]
STEPS: Final[tuple[tuple[str, Step], ...]] = (("0001 sessions and messages", _first),)


def pending(applied: set[str]) -> list[tuple[str, Step]]:
    """The steps still to do; a database that knows more than this code is refused."""
    unknown = applied - {name for name, _ in STEPS}
    if unknown:
        raise SchemaTooNew(
            f"The database was migrated by a newer Recollect ({sorted(unknown)[-1]!r} is not "
            f"known here). Upgrade recollect; nothing was touched."
        )
    return [(name, step) for name, step in STEPS if name not in applied]


def walk(txn: Transaction, kind: str, schema: str | None) -> str | None:
    """Do the next step, under the lock, and say which; None when there is none."""
    txn.begin()
    if kind == "postgresql":
        # One lock for everybody who migrates this schema, released with the transaction.
        txn.first(
            "SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))",
            {"name": f"recollect migrations {schema or ''}"},
        )
        if schema is not None and not _schema_exists(txn, schema):
            txn.run("CREATE SCHEMA {schema}")
    txn.run("CREATE TABLE IF NOT EXISTS {migrations} (name TEXT PRIMARY KEY)")
    applied = {row[0] for row in txn.rows("SELECT name FROM {migrations}", {})}
    for name, step in pending(applied):
        step(txn, kind)
        txn.run("INSERT INTO {migrations} (name) VALUES (:name)", {"name": name})
        log.info("database migrated: %s", name)
        return name
    return None


def applied(txn: Transaction, kind: str, schema: str | None) -> set[str]:
    """The names of the steps this database has been through."""
    if kind == "sqlite":
        exists = txn.first(
            "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'recollect_migrations'",
            {},
        )
    else:
        space = "" if schema is None else f"{quoted(schema)}."
        exists = txn.first(
            "SELECT 1 WHERE to_regclass(:name) IS NOT NULL",
            {"name": f"{space}recollect_migrations"},
        )
    if exists is None:
        return set()
    return {row[0] for row in txn.rows("SELECT name FROM {migrations}", {})}


def require(done: set[str]) -> None:
    """Refuse a database that was not migrated, when nobody asked to do it now."""
    missing = pending(done)
    if missing:
        raise Misconfigured(
            f"The database has not been migrated: {missing[0][0]!r} is missing. "
            f"Run store.migrate() once, or open the store without migrate=False."
        )


def learn(txn: Transaction, counter: str) -> Facts:
    """What the database says about itself; a token counter new to it is given a number."""
    rows = txn.rows("SELECT name, value FROM {meta}", {})
    ids = {name: bytes(value) for name, value in rows}
    if not ids.keys() >= {"store_id", "cache_id"}:
        raise Misconfigured("recollect_meta has lost the store's ids: restore it from a backup.")
    find = "SELECT id FROM {counters} WHERE name = :name"
    known = txn.first(find, {"name": counter})
    if known is None:
        txn.run(
            "INSERT INTO {counters} (id, name) "
            "SELECT coalesce(max(id), 0) + 1, :name FROM {counters} WHERE TRUE "
            "ON CONFLICT DO NOTHING",
            {"name": counter},
        )
        known = txn.first(find, {"name": counter})
    if known is None:
        # Two counters were registered in one instant; the other one has taken our number.
        return learn(txn, counter)
    return Facts(ids["store_id"], ids["cache_id"].hex(), known[0])


def cache_id(txn: Transaction) -> str:
    """What this store's keys in a cache begin with."""
    found = txn.first("SELECT value FROM {meta} WHERE name = 'cache_id'", {})
    if found is None:
        raise Misconfigured("recollect_meta has lost the store's ids: restore it from a backup.")
    return bytes(found[0]).hex()


def change_cache_id(txn: Transaction) -> str:
    """From now on every cache entry of this store is another's."""
    new = secrets.token_bytes(16)
    txn.run("UPDATE {meta} SET value = :id WHERE name = 'cache_id'", {"id": new})
    return new.hex()


def _schema_exists(txn: Transaction, schema: str) -> bool:
    return (
        txn.first("SELECT 1 FROM pg_namespace WHERE nspname = :name", {"name": schema}) is not None
    )
