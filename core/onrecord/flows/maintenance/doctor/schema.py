"""The tables: whether they are there, and of this version."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from onrecord.diagnosis import Finding
from onrecord.flow import Flow
from onrecord.flows.maintenance.doctor.rounds import Examined, Rounds, finding
from onrecord.ledger.database import generation
from onrecord.ledger.maintenance import server
from onrecord.ledger.maintenance.server import BrokenIndex
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
        broken = yield from rounds.look(server.broken_indexes)
        return [*_later(state), *_broken(broken, bool(state.later))]
    may_make = yield from rounds.look(server.may_make_tables)
    others: list[str] = [] if state.done else (yield from rounds.look(migrations.elsewhere))
    return [_schema(state, examined, may_make, migrations.found_in(others))]


def _schema(state: State, examined: Examined, may_make: bool, elsewhere: str) -> Finding:
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
            "error" if not works else "warning" if elsewhere else "note",
            f"The tables are missing: nobody has written here yet.{refused}{elsewhere}",
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


def _later(state: State) -> Iterable[Finding]:
    if state.later:
        yield finding(
            "schema",
            "warning",
            f"A migration is not done to its end: {', '.join(map(repr, state.later))}. Every "
            f"answer is right, and some take longer.",
            "Run migrate() by name: it locks nobody out, and migrate(dry_run=True) says more.",
        )


def _broken(indexes: list[BrokenIndex], unfinished: bool) -> Iterable[Finding]:
    for index in indexes:
        if index.in_work:
            yield finding("schema", "note", f"{index.name} is being built now.", "Let it end.")
            continue
        again = "Run migrate(): it builds it again. " if unfinished else ""
        yield finding(
            "schema",
            "warning",
            f"The index {index.name} of {index.table} is not valid: its build was cut off. Every "
            f"write pays for it, and no read uses it.",
            f"{again}Or take it away: DROP INDEX CONCURRENTLY {index.name}"
            if again
            else f"Take it away: DROP INDEX CONCURRENTLY {index.name}; if it is one that a table "
            f"of docs/reference/tables.md has, build it again as there.",
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
            "A process that reads, or is asked for its health(), switches it on again, ten seconds "
            "after it has seen that it is off. If it stays so with readers, none of them can reach "
            "its Redis: health().cache says why.",
        )
    ]
