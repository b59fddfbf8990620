"""Commands that take something away for good. Each asks first, and can say what it would do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from onrecord.cli import options, records
from onrecord.cli.asked import Asked, existing, owner, owners, time_of
from onrecord.cli.commands import FOUND_WRONG, command, confirmed
from onrecord.cli.elsewhere import argument
from onrecord.cli.output import Output
from onrecord.cli.reading import _SESSION_COLUMNS
from onrecord.cli.wording import in_shell
from onrecord.errors import Misconfigured
from onrecord.plural import many

if TYPE_CHECKING:
    from onrecord.reports import Pruning, Receipt, Stats

PANEL: Final = "Take away"
MOST_NAMED: Final = 10
"""Sessions that a person is told by name, of those that go; JSON has all that the report names."""


@command("prune", PANEL, interrupted="Interrupted. What was pruned is gone: run it again.")
def prune(
    asked: Asked,
    tenant: options.Tenant = None,
    user: options.User = None,
    agent: options.Agent = None,
    older_than: Annotated[
        str | None,
        typer.Option(
            "--older-than",
            metavar="TIME",
            help="Also what nobody wrote to for so long, 90d, or since a date, 2026-01-31.",
        ),
    ] = None,
    archive_to: Annotated[
        str | None,
        typer.Option(
            "--archive-to",
            metavar="FILE",
            help="First write what goes to a new .jsonl or .jsonl.zst, which import reads.",
        ),
    ] = None,
    yes: options.Yes = False,
    dry_run: options.DryRun = False,
) -> int | None:
    """Remove sessions and items that have expired.

    The ten that were quiet for longest are named, with --json up to a thousand. Names that are
    not given mean everybody.
    """
    whose: dict[str, Any] = {**owners(tenant, user, agent)}
    if older_than is not None:
        whose["older_than"] = time_of("--older-than", older_than)
    out = asked.out
    with asked.store() as store:
        if not yes or dry_run:
            with out.busy("Looking"):
                would = store.prune(**whose, dry_run=True, archive_to=archive_to)
            if dry_run:
                _write_pruning(out, would)
                return None
            if not would.count and not would.items:
                _write_pruning(out, would)
                return None
            about = f"{_counted(would)} would be removed for good."
            if not confirmed(out, "prune", about, yes=yes):
                return FOUND_WRONG
        with out.progress("Pruning") as progress:
            done = store.prune(**whose, archive_to=archive_to, progress=progress)
    _write_pruning(out, done)
    return None


def _counted(done: Pruning) -> str:
    items = f" and {many(done.items, 'item')}" if done.items else ""
    sessions = many(done.count, "session")
    return f"{sessions} with {many(done.messages, 'message')}{items}"


def _write_pruning(out: Output, done: Pruning) -> None:
    if out.json:
        for info in done.sessions:
            out.record("session", records.session(info))
        out.record(
            "pruning",
            {
                "dry_run": done.dry_run,
                "sessions": done.count,
                "messages": done.messages,
                "items": done.items,
                "archived_to": done.archived_to,
            },
        )
        return
    named = done.sessions[:MOST_NAMED]
    out.table(_SESSION_COLUMNS).add(named)
    if not done.count and not done.items:
        out.say("Nothing has expired.")
        return
    if more := done.count - len(named):
        out.say(f"… and {more:,} more.")
    would = "would be" if done.dry_run else "were"
    out.say(f"{_counted(done)} {would} removed.")
    if done.archived_to is not None:
        out.say(f"They are in {done.archived_to}.")


@command("erase", PANEL, interrupted="Interrupted. Something may be erased by now: run it again.")
def erase(
    asked: Asked,
    tenant: options.Tenant = None,
    user: options.User = None,
    agent: options.Agent = None,
    everyone: options.All = False,
    session: options.OfSession = None,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick",
            help="Put off that a SQLite file is written anew: bytes stay in it until `compact`.",
        ),
    ] = False,
    yes: options.Yes = False,
    dry_run: options.DryRun = False,
) -> int | None:
    """Erase somebody, or one session, for good: messages, items, threads, and what was learned.

    At least one of --session, --tenant, --user, --agent and --all has to be given. A name that
    is not given is the empty one, or with --all every one.
    """
    if session is None and not everyone and tenant is user is agent is None:
        raise Misconfigured(
            "Say whom to erase, for example --user ada, or which session, --session KEY. --all "
            "erases everything in the store. Nothing was erased."
        )
    if session is not None and everyone:
        raise Misconfigured("--session erases one session, and --all is many. Nothing was erased.")
    out = asked.out
    with asked.store() as store:
        if session is not None:
            handle = store.session(session, **owner(tenant, user, agent))
            info = existing(handle)
            about = f"Session {handle.name}, {many(info.messages, 'message')}"
            counts = {"sessions": 1, "messages": info.messages}
            would = handle.erase(thorough=not quick, dry_run=True)
        else:
            whose = owners(tenant, user, agent, everyone=everyone)
            with out.busy("Counting"):
                found = store.stats(**whose, exact=True)
                would = store.erase(**whose, thorough=not quick, dry_run=True)
            about = f"{_of(found)} of {_whose(whose)}"
            counts = {
                "sessions": found.sessions,
                "messages": found.messages,
                "items": found.items,
                "threads": found.threads,
            }
        if dry_run:
            _write_receipt(out, would, tenant, user, about, **counts)
            return None
        left = f" It leaves {_left(would, tenant, user)}." if would.left else ""
        if not confirmed(out, "erase", f"{about}: erased for good, if you go on.{left}", yes=yes):
            return FOUND_WRONG
        if session is not None:
            with out.busy("Erasing"):
                receipt = handle.erase(thorough=not quick)
        else:
            with out.progress("Erasing") as progress:
                receipt = store.erase(**whose, thorough=not quick, progress=progress)
    _write_receipt(out, receipt, tenant, user, about, **counts)
    return None


def _of(found: Stats) -> str:
    counts = [many(found.sessions, "session"), many(found.messages, "message")]
    counts += [many(found.items, "item")] if found.items else []
    counts += [many(found.threads, "thread")] if found.threads else []
    return ", ".join(counts)


def _whose(whose: Any) -> str:
    from onrecord.cli import visible
    from onrecord.scope import ANY

    said = [
        f"every {part}" if name is ANY else f"{part} {visible.line(name)}" if name else f"no {part}"
        for part, name in whose.items()
    ]
    return ", ".join(said)


def _left(receipt: Receipt, tenant: str | None, user: str | None) -> str:
    """How many stay under other names, and how they are listed."""
    who = f"--user {argument(user)}" if user else f"--tenant {argument(tenant or '')}"
    listed = f"`onrecord sessions {who} --all` lists"
    return f"{many(receipt.left, 'session')} under other names, which {listed}"


def _write_receipt(
    out: Output,
    receipt: Receipt,
    tenant: str | None,
    user: str | None,
    about: str,
    **counts: int,
) -> None:
    """What was counted before, and the tables of what went."""
    if out.json:
        out.record("receipt", receipt, **counts)
        return
    if receipt.dry_run:
        out.say(f"{about}: would be erased.")
    elif not any(receipt.removed.values()):
        out.say(f"Nothing was found of {receipt.scope}, {receipt.at:%Y-%m-%d %H:%M:%S} UTC.")
    else:
        out.say(f"{about}: erased, {receipt.at:%Y-%m-%d %H:%M:%S} UTC.")
    out.facts([(f"  {table}", f"{count:,}") for table, count in receipt.removed.items() if count])
    if receipt.left:
        verb = "leaves" if receipt.dry_run else "left"
        out.say(f"It {verb} {_left(receipt, tenant, user)}.")
    if receipt.traces:
        out.note(in_shell(receipt.traces))
