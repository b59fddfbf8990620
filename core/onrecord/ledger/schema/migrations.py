"""The tables, as an ordered list of steps that every database walks through once.

Steps are recorded by name, under a lock: ten processes may start at once on an empty database.
There the first step makes the tables of today and the others are recorded with it, in one
transaction, and on PostgreSQL by two scripts: one that waits for the lock and looks what is there,
and one that makes what is not. Later each step that changes tables is a transaction of its own;
the others are done after them: see ``beside.py``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from onrecord.errors import Misconfigured, SchemaTooNew
from onrecord.ledger.database.dialect import quoted
from onrecord.ledger.database.transaction import Facts, Transaction
from onrecord.ledger.schema.steps import STEPS, BesideStep, Step, TableStep
from onrecord.ledger.sessions.dictionaries import NEWEST

log = logging.getLogger("onrecord")

_REGISTER: Final = """
    INSERT INTO {counters} (id, name)
    SELECT coalesce(max(id), 0) + 1, :name FROM {counters} WHERE TRUE ON CONFLICT DO NOTHING"""
# In one statement: each is a round trip, and this is done at every opening.
_LEARN: Final = f"""
    SELECT name, value, (SELECT id FROM {{counters}} WHERE name = :counter), ({NEWEST})
    FROM {{meta}}"""
_ELSEWHERE: Final = """
    SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relname = 'onrecord_migrations' AND c.relkind IN ('r', 'p')
        AND n.nspname <> coalesce(CAST(:schema AS TEXT), current_schema(), '')
    ORDER BY n.nspname LIMIT 4"""

_NOBODYS: Final = 0
"""The number of a token counter that nobody has counted by yet."""


def pending(applied: set[str]) -> list[Step]:
    """The steps still to do; a database that knows more than this code is refused."""
    unknown = applied - {step.name for step in STEPS}
    if unknown:
        raise SchemaTooNew(
            f"The database was migrated by a newer Onrecord ({sorted(unknown)[-1]!r} is not "
            f"known here). Upgrade onrecord; nothing was touched."
        )
    return [step for step in STEPS if step.name not in applied]


def needed(applied: set[str]) -> list[TableStep]:
    """Those of them without which the tables cannot be used."""
    return [step for step in pending(applied) if isinstance(step, TableStep)]


def later(applied: set[str]) -> list[BesideStep]:
    """Those of them that are done beside who writes; none where the first step does it all."""
    if not applied:
        return []
    return [step for step in pending(applied) if not isinstance(step, TableStep)]


def walk(txn: Transaction, kind: str, schema: str | None, counter: str) -> list[str]:
    """Do the next step, under the lock, or the first for all where none was done; and say which.

    The token counter of who makes the tables is the first that is known there.
    """
    with txn.together():
        txn.begin()
        if kind == "postgresql":
            wait_alone(txn, schema)
            if schema is not None and not _schema_exists(txn, schema):
                txn.run("CREATE SCHEMA {schema}")
        txn.run("CREATE TABLE IF NOT EXISTS {migrations} (name TEXT NOT NULL PRIMARY KEY)")
        applied = {row[0] for row in txn.rows("SELECT name FROM {migrations}", {})}
        # Of tables that hold something each step is a transaction of its own: one may take long.
        steps = needed(applied)[:1] if applied else pending(applied)
        for step in steps:
            # What the first one makes is what all others lead to.
            if isinstance(step, TableStep) and (applied or step is STEPS[0]):
                step.do(txn, kind)
            txn.run("INSERT INTO {migrations} (name) VALUES (:name)", {"name": step.name})
        if not applied:
            txn.run(_REGISTER, {"name": counter})
    for step in steps:
        log.info("database migrated: %s", step.name)
    return [step.name for step in steps]


def wait_alone(txn: Transaction, schema: str | None) -> None:
    """Wait until nobody else migrates this schema, and keep others from it until the end of the
    transaction."""
    txn.run(
        "SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))",
        {"name": f"onrecord migrations {schema or ''}"},
    )


def applied(txn: Transaction, kind: str, schema: str | None) -> set[str]:
    """The names of the steps this database has been through."""
    if kind == "sqlite":
        exists = txn.first(
            "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'onrecord_migrations'",
            {},
        )
    else:
        space = "" if schema is None else f"{quoted(schema)}."
        exists = txn.first(
            "SELECT 1 WHERE to_regclass(:name) IS NOT NULL",
            {"name": f"{space}onrecord_migrations"},
        )
    if exists is None:
        return set()
    return {row[0] for row in txn.rows("SELECT name FROM {migrations}", {})}


class State(NamedTuple):
    """What steps a database has been through, beside those that there are."""

    done: list[str]
    missing: list[str]
    """Those without which the tables cannot be used."""
    later: list[str]
    """Those that are missing, and can be done beside who writes."""
    unknown: list[str]
    """Of a later Onrecord."""
    lost: list[str]
    """What a database that has all of them does not say of itself."""


def state(txn: Transaction) -> State:
    """Compare a database as it is with the steps that there are."""
    done = applied(txn, txn.kind, txn.schema)
    unknown = sorted(done - {step.name for step in STEPS})
    missing = [step.name for step in needed(done - set(unknown))]
    later_on = [step.name for step in later(done - set(unknown))]
    lost: list[str] = []
    if not missing and not unknown:
        there = {name for (name,) in txn.rows("SELECT name FROM {meta}", {})}
        lost = [name for name in ("store_id", "cache_id", "cache") if name not in there]
    return State(sorted(done), missing, later_on, unknown, lost)


def elsewhere(txn: Transaction) -> list[str]:
    """The schemas in which there are tables of ours, other than the one that was asked for."""
    if txn.kind == "sqlite":
        return []
    return [row[0] for row in txn.rows(_ELSEWHERE, {"schema": txn.schema})]


def found_in(schemas: Sequence[str]) -> str:
    """A sentence about them, with a space before it; nothing where there are none."""
    if not schemas:
        return ""
    shown = ", ".join(map(repr, schemas[:3])) + (" and others" if len(schemas) > 3 else "")
    what = "schema" if len(schemas) == 1 else "schemas"
    return f" There are tables of Onrecord in the {what} {shown}: set schema= if those are meant."


def require(done: set[str], where: str, elsewhere: Callable[[], str] = str) -> None:
    """Refuse a database that was not migrated, when nobody asked to do it now. ``elsewhere`` says
    where there are others, if it is not there."""
    missing = needed(done)
    if not missing:
        return
    if not done:
        raise Misconfigured(
            f"There is no store at {where}: it is not there, or has not been migrated. Check the "
            f"address, and the schema where it has one of its own; or run store.migrate() or "
            f"`onrecord migrate` once to make the tables, or open the store without migrate=False."
            f"{elsewhere()}"
        )
    raise Misconfigured(
        f"The database has not been migrated: {missing[0].name!r} is missing. Run store.migrate() "
        f"or `onrecord migrate` once, or open the store without migrate=False."
    )


def learn(txn: Transaction, counter: str, add: bool = True) -> Facts:
    """What the database says about itself; a token counter new to it is given a number, where one
    may ``add`` it."""
    rows = txn.rows(_LEARN, {"counter": counter})
    ids = {name: bytes(value) for name, value, _, _ in rows}
    if not ids.keys() >= {"store_id", "cache_id"}:
        raise Misconfigured("onrecord_meta has lost the store's ids: restore it from a backup.")
    _, _, known, newest = rows[0]
    txn.dictionaries.learn(txn, newest)
    number = _NOBODYS if known is None else int(known)
    if known is None and add:
        number = register(txn, counter)
    return Facts(
        ids["store_id"], ids["cache_id"].hex(), number, by_citus=ids.get("distributed") == b"citus"
    )


def store_id(txn: Transaction) -> bytes | None:
    """The store's id in a database as it is found; None where there are no tables."""
    if not applied(txn, txn.kind, txn.schema):
        return None
    found = txn.first("SELECT value FROM {meta} WHERE name = 'store_id'", {})
    return None if found is None else bytes(found[0])


def register(txn: Transaction, counter: str) -> int:
    """The number under which a token counter is known here; a new one is given one."""
    find = "SELECT id FROM {counters} WHERE name = :name"
    while (known := txn.first(find, {"name": counter})) is None:
        # Of two that are registered in one instant, the other one may have taken our number.
        txn.run(_REGISTER, {"name": counter})
    return int(known[0])


def _schema_exists(txn: Transaction, schema: str) -> bool:
    return (
        txn.first("SELECT 1 FROM pg_namespace WHERE nspname = :name", {"name": schema}) is not None
    )
