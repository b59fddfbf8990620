"""The tables: whether they are there, and of this version."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from onrecord.diagnosis import Finding
from onrecord.flow import Flow
from onrecord.flows.maintenance.doctor.rounds import Examined, Rounds, finding
from onrecord.ledger.database import generation
from onrecord.ledger.maintenance import server
from onrecord.ledger.schema import migrations
from onrecord.ledger.schema.migrations import State


class Schema:
    """What was found of the tables: others ask whether they may be read."""

    ready = False


def schema(rounds: Rounds, examined: Examined, found: Schema) -> Flow[Iterable[Finding]]:
    """Compare the steps that the database has been through with those that there are."""
    state = yield from rounds.look(migrations.state)
    if not (state.unknown or state.lost or state.missing):
        found.ready = True
        return []
    may_make = yield from rounds.look(server.may_make_tables)
    return [_schema(state, examined, may_make)]


def _schema(state: State, examined: Examined, may_make: bool) -> Finding:
    say = partial(finding, "schema")
    if state.unknown:
        return say(
            "error",
            f"The tables are of a later Onrecord ({state.unknown[-1]!r} is not known here). Every "
            f"use of this store is refused, and nothing is touched.",
            "Upgrade onrecord here.",
        )
    if state.lost:
        return say(
            "error",
            f"onrecord_meta has lost {', '.join(map(repr, state.lost))}: every use of this store "
            f"is refused.",
            "Restore a backup.",
        )
    works = examined.migrate and may_make
    refused = "" if examined.migrate else " With migrate=False every use is refused."
    granted = (
        ""
        if may_make
        else " This role may not: GRANT CREATE ON SCHEMA … TO it, or migrate() as the owner."
    )
    if not state.done:
        return say(
            "note" if works else "error",
            f"The tables are missing: nobody has written to this database yet.{refused}",
            ("The first write makes them." if examined.migrate else "Run migrate() once.")
            + granted,
        )
    missing = ", ".join(map(repr, state.missing))
    return say(
        "warning" if works else "error",
        f"The tables are of an earlier Onrecord: {missing} is missing.{refused}",
        "Make a backup, then run migrate()"
        + ("; the next use does it by itself." if examined.migrate else " once.")
        + granted,
    )


def switch(rounds: Rounds) -> Flow[Iterable[Finding]]:
    """Look whether the cache is switched off for everybody."""
    state = yield from rounds.look(generation.read)
    if generation.is_on(state):
        return []
    return [
        finding(
            "cache",
            "warning",
            "The cache is switched off for all processes, because a writer could not reach it: "
            "every read asks the database.",
            "A process that reads switches it on again, ten seconds after it has seen that it is "
            "off. If it stays so with readers, none of them can reach its Redis: health().cache "
            "says why.",
        )
    ]
