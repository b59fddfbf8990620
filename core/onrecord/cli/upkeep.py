"""Commands that keep a store in order, and take nothing away."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from onrecord.cli import options, visible
from onrecord.cli.asked import Asked, owners, span_of
from onrecord.cli.commands import FOUND_WRONG, command, confirmed
from onrecord.cli.output import BOLD, DIM, Column, Output, size
from onrecord.cli.state import PANEL, about_if
from onrecord.cli.wording import in_shell
from onrecord.errors import Misconfigured
from onrecord.plural import many
from onrecord.reports import MaintenanceStep, Problem

GOES_ON: Final = "Interrupted. What was done stays done: run it again, and it goes on."


@command("maintain", PANEL, interrupted=GOES_ON)
def maintain(
    asked: Asked,
    within: Annotated[
        str,
        typer.Option(
            "--within",
            "--for",
            metavar="TIME",
            help="It stops after so long; the next run goes on: 90s, 10m.",
        ),
    ] = "10m",
    embedder: options.Embedder = None,
) -> int:
    """Do what is due: prune, seal, learn, index, tidy. For a cron, as often as you like.

    Nothing goes that nobody asked to expire. Where another is at it, everything is left to that
    one. The code is 1 where a step had a problem.
    """
    seconds = span_of("--within", within).total_seconds()
    out = asked.out
    with asked.store(embedder=embedder) as store, out.busy("Maintaining") as tell:
        done = store.maintain(
            within=seconds,
            progress=lambda at: tell(f"{at.step}, {at.number} of {at.of}, {at.done:,} done"),
        )
    if out.json:
        out.record("maintenance", done, ok=done.ok, complete=done.complete)
        return 0 if done.ok else FOUND_WRONG
    if done.busy_until is not None:
        out.say(str(done))
        return 0
    for step in done.steps:
        _write_step(out, step)
    how = "All that was due is done" if done.complete else "Some of what was due is done"
    out.say(f"{how}, in {done.seconds:,.1f} s.")
    return 0 if done.ok else FOUND_WRONG


def _write_step(out: Output, step: MaintenanceStep) -> None:
    did = ", ".join(many(count, what) for what, count in step.counts.items() if count)
    out.say((step.name.ljust(9), BOLD), did or "nothing", (f"  {step.seconds:,.1f} s", DIM))
    for said, style in ((step.note, DIM), (step.left and f"left: {step.left}", "yellow")):
        if said:
            out.say((visible.text(in_shell(said)), style), indent=9)
    if step.problem:
        out.say((visible.text(in_shell(step.problem)), "red"), indent=9)


_WAYS: Final = {"partitions": "over partitions", "citus": "by Citus"}


@command("migrate", PANEL, interrupted="Interrupted. Run it again, and it goes on.")
def migrate(
    asked: Asked,
    dry_run: options.DryRun = False,
    distribute: Annotated[
        str | None,
        typer.Option(
            "--distribute",
            metavar="WAY",
            help="Then spread tables that hold nothing yet, on PostgreSQL: over partitions, or "
            "by citus.",
        ),
    ] = None,
    parts: Annotated[
        int | None,
        typer.Option(
            "--parts",
            metavar="NUMBER",
            help="Over so many, with --distribute; as many as there are, or 16.",
        ),
    ] = None,
) -> None:
    """Make the tables, or bring them up to date.

    With --dry-run: what each step does, on about how many rows, and who waits for it.
    """
    if parts is not None and distribute is None:
        raise Misconfigured("--parts says over how many --distribute spreads. Give both.")
    if dry_run and distribute is not None:
        raise Misconfigured("--dry-run says what a migration does, and nothing of --distribute.")
    if dry_run:
        _say_plan(asked)
        return
    spread: list[str] = []
    with asked.store(makes_tables=True) as store, asked.out.busy("Migrating"):
        if distribute is None:
            steps = store.migrate()
        else:
            steps = [step.name for step in store.migrate(dry_run=True)]
            spread = store.distribute(distribute, parts=parts)  # which makes the tables
            store.migrate()
    if asked.out.json:
        for step in steps:
            asked.out.record("step", {"name": step})
        if distribute is not None:
            asked.out.record("distribution", {"way": distribute, "parts": parts, "tables": spread})
        return
    for step in steps:
        asked.out.say(step)
    if distribute is not None:
        done = f"{many(len(spread), 'table')} spread, {_WAYS[distribute]}"
        asked.out.say(f"{done if spread else 'All tables are spread already'}: {store.place}.")
        return
    how = f"{many(len(steps), 'step')} done" if steps else "It was up to date"
    asked.out.say(f"{how}: {store.place}.")


def _say_plan(asked: Asked) -> None:
    out = asked.out
    with asked.store(makes_tables=True) as store:
        steps = store.migrate(dry_run=True)
    for step in steps:
        if out.json:
            out.record("planned", step)
            continue
        rows = "" if step.rows is None else f", about {many(step.rows, 'row')}"
        where = f" of {', '.join(step.tables)}" if rows else ""
        out.say((step.name, BOLD), f"  {step.does}{rows}{where}")
        out.say((step.locks, "" if step.waits == "nobody" else "yellow"), indent=2)
    if not out.json:
        how = f"{many(len(steps), 'step')} to do" if steps else "It is up to date"
        out.say(f"{how}: {store.place}.")


@command("invalidate", PANEL)
def invalidate(asked: Asked) -> None:
    """Make every cached entry worthless. Run it after restoring a backup."""
    with asked.store() as store:
        store.invalidate()
    if asked.out.json:
        asked.out.record("invalidated", {})
        return
    asked.out.say("Nothing of what was cached is believed any more, by any process of the store.")


@command("compact", PANEL, interrupted=GOES_ON)
def compact(
    asked: Asked,
    quiet_for: Annotated[
        str,
        typer.Option(
            "--quiet-for", metavar="TIME", help="Seal what nobody wrote to for so long: 30m, 2h."
        ),
    ] = "1h",
    again: Annotated[
        bool,
        typer.Option(
            "--again",
            help="Write everything anew, as after a train. On PostgreSQL nobody else can use a "
            "table meanwhile.",
        ),
    ] = False,
    yes: options.Yes = False,
    dry_run: options.DryRun = False,
) -> int | None:
    """Compress sessions that came to rest, and give room back to the disk."""
    quiet = span_of("--quiet-for", quiet_for).total_seconds()
    out = asked.out
    with asked.store() as store:
        if dry_run:
            with out.busy("Counting"):
                found = store.stats()
            if out.json:
                out.record("compaction", {"dry_run": True, "disk_bytes_before": found.disk_bytes})
            else:
                perhaps = about_if(found)
                out.say(
                    f"It would look at {perhaps}{many(found.sessions, 'session')}, of which "
                    f"{perhaps}{many(found.rows, 'message')} stand in rows of their own. "
                    f"{size(found.disk_bytes)} are on the disk."
                )
            return None
        about = f"{store.address} is written anew, which may take long; others may have to wait."
        if again and not confirmed(out, "compact", about, yes=yes):
            return FOUND_WRONG
        with out.progress("Compacting") as progress:
            done = store.compact(quiet_for=quiet, again=again, progress=progress)
    if out.json:
        out.record("compaction", done)
        return None
    out.say(
        f"{many(done.sessions, 'session')} sealed. {size(done.disk_bytes_before)} were on the "
        f"disk, now {size(done.disk_bytes)}."
    )
    if done.problem:
        out.note(in_shell(done.problem))
    return None


@command("train", PANEL, interrupted="Interrupted. Nothing was learned.")
def train(asked: Asked) -> None:
    """Learn from the store's own messages how to compress them better."""
    out = asked.out
    with asked.store() as store, out.busy("Learning"):
        done = store.train()
    if out.json:
        out.record("training", done, saving=done.saving)
    elif done.dictionary is None:
        out.say(
            f"Nothing was learned: from {many(done.messages, 'message')} it would save nothing."
        )
    else:
        out.say(
            f"Dictionary {done.dictionary}, of {size(done.dictionary_bytes)}, learned from "
            f"{many(done.messages, 'message')}: what is new takes {done.saving:.0%} less. "
            f"`onrecord compact --again` writes what is there anew with it."
        )


@command("verify", PANEL, interrupted="Interrupted. Not everything was looked at.")
def verify(asked: Asked) -> int:
    """Read everything, and report what is damaged. The code is 1 where something is."""
    out = asked.out
    with asked.store() as store, out.progress("Verifying") as progress:
        problems = store.verify(progress=progress)
    if out.json:
        for problem in problems:
            out.record("problem", problem)
    elif problems:
        out.table(_PROBLEM_COLUMNS).add(problems)
        out.note(f"{many(len(problems), 'problem')}.")
    else:
        out.say("All is well.")
    return FOUND_WRONG if problems else 0


_PROBLEM_COLUMNS: Final[list[Column[Problem]]] = [
    Column("KIND", lambda problem: problem.kind, style="red"),
    Column("WHERE", lambda problem: visible.line(problem.where), cut=True),
    Column("MESSAGES", lambda problem: _places(problem)),
    Column("WHAT", lambda problem: visible.line(problem.what), cut=True),
]


def _places(problem: Problem) -> str:
    if problem.first is None:
        return ""
    if problem.first == problem.last:
        return str(problem.first)
    return f"{problem.first} to {problem.last}"


@command("index", PANEL, interrupted=GOES_ON)
def index(
    asked: Asked,
    tenant: options.Tenant = None,
    user: options.User = None,
    agent: options.Agent = None,
    embedder: options.Embedder = None,
    again: Annotated[
        bool, typer.Option("--again", help="Throw the index away first, and make it anew.")
    ] = False,
    only: Annotated[
        bool,
        typer.Option("--only", help="Then take away what other embedders have made of it all."),
    ] = False,
    yes: options.Yes = False,
    dry_run: options.DryRun = False,
) -> int | None:
    """Index what was said since the last time, so that no search has to wait for it.

    Where the store has an embedder, it is shown what it has not seen. Names that are not given
    mean everybody.
    """
    whose = owners(tenant, user, agent)
    out = asked.out
    with asked.store(embedder=embedder) as store:
        if dry_run:
            with out.busy("Counting"):
                found = store.stats(**whose)
            if out.json:
                out.record(
                    "indexing",
                    {"dry_run": True, "places": found.unindexed, "estimated": found.estimated},
                )
            else:
                would = f"{about_if(found)}{many(found.unindexed, 'message')} would be indexed."
                out.say(would[0].upper() + would[1:])
            return None
        about = "What other embedders have made is taken away; to make it again costs their time."
        if only and not confirmed(out, "index", about, yes=yes):
            return FOUND_WRONG
        with out.progress("Indexing") as progress:
            done = store.index(**whose, again=again, progress=progress)
        if out.json:
            out.record("indexing", done)
        else:
            out.say(f"{many(done.places, 'message')} of {many(done.sessions, 'session')} indexed.")
        if store.health().embedder is None:
            return None
        with out.progress("Embedding") as progress:
            shown = store.embed(**whose, only=only, progress=progress)
        if out.json:
            out.record("embedding", shown)
        else:
            out.say(
                f"{many(shown.messages, 'message')} of {many(shown.sessions, 'session')} and "
                f"{many(shown.items, 'item')} shown to the embedder."
            )
    return None
