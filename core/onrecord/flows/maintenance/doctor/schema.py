"""The tables: whether they are there, and of this version."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from onrecord.diagnosis import Finding
from onrecord.errors import OnrecordError
from onrecord.flow import Flow
from onrecord.flows.maintenance.doctor.rounds import Examined, Rounds, finding
from onrecord.ledger.database import generation
from onrecord.ledger.maintenance import server
from onrecord.ledger.schema import migrations


class Schema:
    """What was found of the tables: others ask whether they may be read."""

    ready = False


def schema(rounds: Rounds, examined: Examined, found: Schema) -> Flow[Iterable[Finding]]:
    """Compare the steps that the database has been through with those that there are."""
    done = yield from rounds.look(migrations.applied_here)
    may_make = yield from rounds.look(server.may_make_tables)
    unknown = sorted(done - set(migrations.NAMES))
    missing = [name for name in migrations.NAMES if name not in done]
    if unknown:
        return [
            finding(
                "schema",
                "error",
                f"The tables are of a later Onrecord ({unknown[-1]!r} is not known here). Every "
                f"use of this store is refused, and nothing is touched.",
                "Upgrade onrecord here.",
            )
        ]
    if not missing:
        found.ready = True
        return []
    refused = (
        ""
        if may_make
        else " This role may not: GRANT CREATE ON SCHEMA … TO it, or migrate() as the owner."
    )
    if not done:
        return [
            finding(
                "schema",
                ("note" if may_make else "error") if examined.migrate else "error",
                "The tables are missing: nobody has written to this database yet."
                + ("" if examined.migrate else " With migrate=False every use is refused."),
                ("The first write makes them." if examined.migrate else "Run migrate() once.")
                + refused,
            )
        ]
    return [
        finding(
            "schema",
            ("warning" if may_make else "error") if examined.migrate else "error",
            f"The tables are of an earlier Onrecord: {', '.join(map(repr, missing))} is missing."
            + ("" if examined.migrate else " With migrate=False every use is refused."),
            "Make a backup, then run migrate()"
            + ("; the next use does it by itself." if examined.migrate else " once.")
            + refused,
        )
    ]


def switch(rounds: Rounds) -> Flow[Iterable[Finding]]:
    """Look whether the cache is switched off for everybody."""
    try:
        state = yield from rounds.look(partial(generation.read))
    except OnrecordError as fault:
        return [finding("schema", "error", str(fault), "Restore a backup.")]
    if generation.is_on(state):
        return []
    return [
        finding(
            "cache",
            "warning",
            "The cache is switched off for all processes, because a writer could not reach it: "
            "every read asks the database.",
            "If it stays so, no process that uses this database can reach its Redis: see whether "
            "health().cache.ok says why.",
        )
    ]
