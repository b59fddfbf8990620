"""Commands that bring conversations out and in: export, import, backup."""

from __future__ import annotations

import sys
from typing import Annotated, Any, Final, cast

import typer

from onrecord.cli import histories, options, visible
from onrecord.cli.asked import Asked, existing, owner, owners
from onrecord.cli.commands import FOUND_WRONG, command
from onrecord.cli.output import size
from onrecord.cli.upkeep import GOES_ON
from onrecord.errors import Misconfigured
from onrecord.plural import many

PANEL: Final = "Bring out and in"
FROM: Final = "With --from"


@command("export", PANEL, interrupted="Interrupted. No file was written.")
def export(
    asked: Asked,
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="It ends in .jsonl, or .jsonl.zst to be compressed; - is the standard output.",
        ),
    ],
    tenant: options.Tenant = None,
    user: options.User = None,
    agent: options.Agent = None,
    session: options.OfSession = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Also over a file that is there already.")
    ] = False,
    replica: options.Replica = None,
    stale_ok: options.StaleOk = False,
) -> None:
    """Write sessions and items to a file that import reads, and everybody else.

    Names that are not given mean everybody, but for --session. A file that is there already is
    not written over, but for --overwrite, and then not before the new one is whole.
    """
    out = asked.out
    target: Any = sys.stdout.buffer if file == "-" else file
    with asked.store(replica=replica, stale_ok=stale_ok) as store:
        if session is not None:
            handle = store.session(session, **owner(tenant, user, agent))
            existing(handle, stale_ok=stale_ok)
            done = handle.export(target, overwrite=overwrite, stale_ok=stale_ok)
        else:
            whose = owners(tenant, user, agent)
            with out.progress("Exporting") as progress:
                done = store.export(
                    target, **whose, overwrite=overwrite, progress=progress, stale_ok=stale_ok
                )
    if file == "-":
        return  # nothing but the lines of the export stands there
    if out.json:
        out.record("export", done, file=file)
        return
    out.say(
        f"{many(done.sessions, 'session')} with {many(done.messages, 'message')} and "
        f"{many(done.items, 'item')} are in {visible.line(file)}, {size(done.bytes)} of lines."
    )
    if done.damaged:
        out.note(f"{done.damaged:,} of these cannot be read any more: onrecord verify.")


@command("import", PANEL, interrupted=GOES_ON)
def import_(
    asked: Asked,
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE", help="A file of export, - for the standard input; or see --from."
        ),
    ],
    kind: Annotated[
        str | None,
        typer.Option("--from", metavar="KIND", help=f"Another's: {', '.join(histories.KINDS)}."),
    ] = None,
    tenant: Annotated[
        str | None,
        typer.Option("--tenant", metavar="NAME", help="Whose they will be.", rich_help_panel=FROM),
    ] = None,
    user: Annotated[
        str | None,
        typer.Option("--user", metavar="NAME", help="Whose they will be.", rich_help_panel=FROM),
    ] = None,
    agent: Annotated[
        str | None,
        typer.Option("--agent", metavar="NAME", help="Whose they will be.", rich_help_panel=FROM),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only",
            metavar="ID",
            help="Only this session or thread. May be repeated.",
            rich_help_panel=FROM,
        ),
    ] = None,
    table: Annotated[
        str | None,
        typer.Option("--table", metavar="NAME", help="Its table.", rich_help_panel=FROM),
    ] = None,
    schema: Annotated[
        str | None,
        typer.Option("--schema", metavar="NAME", help="Its schema.", rich_help_panel=FROM),
    ] = None,
    key_prefix: Annotated[
        str | None,
        typer.Option(
            "--key-prefix",
            metavar="TEXT",
            help="How its Redis keys begin.",
            rich_help_panel=FROM,
        ),
    ] = None,
    pattern: Annotated[
        str | None,
        typer.Option(
            "--pattern",
            metavar="PATTERN",
            help="Which Redis keys are its own, such as 'chat-*'.",
            rich_help_panel=FROM,
        ),
    ] = None,
) -> int:
    """Bring sessions and items that export wrote, or the history of another framework.

    It may be done again, and goes on where it was interrupted: nothing comes twice. The code is 1
    where something was there already and differs, or could not be read.
    """
    given = {
        "tenant": tenant,
        "user": user,
        "agent": agent,
        "only": only or None,
        "table": table,
        "schema": schema,
        "key_prefix": key_prefix,
        "pattern": pattern,
    }
    set_ = {name: value for name, value in given.items() if value is not None}
    if kind is not None:
        return _foreign(asked, kind, source, set_)
    if set_:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in set_)
        raise Misconfigured(
            f"{names}: only with --from. A file of export says itself whose its sessions are."
        )
    return _own(asked, source)


def _own(asked: Asked, source: str) -> int:
    out = asked.out
    file: Any = sys.stdin.buffer if source == "-" else source
    with asked.store(makes_tables=True) as store, out.progress("Importing") as progress:
        done = store.import_(file, progress=progress)
    if out.json:
        out.record("import", done)
    else:
        out.say(
            f"{many(done.messages, 'message')} and {many(done.items, 'item')} written, in "
            f"{done.written:,} of {many(done.sessions, 'session')}; the rest was there."
        )
        for differing in done.differing:
            out.say(("differs: ", "yellow"), visible.text(differing), indent=2)
    return FOUND_WRONG if done.differing else 0


def _foreign(asked: Asked, kind: str, source: str, given: dict[str, Any]) -> int:
    out = asked.out
    bring = histories.importer(kind, given)
    with asked.store(makes_tables=True) as store, out.busy("Importing") as tell:
        done = bring(
            store,
            source,
            lambda at: tell(
                f"{many(at.sessions, 'session')}, {many(at.messages, 'message')}, now in "
                f"{visible.hint(at.session, 40)}"
            ),
        )
    wrong = [*done.unread, *done.incomplete]
    if out.json:
        out.record(
            "imported",
            cast(Any, done),
            unread=[one._asdict() for one in done.unread],
            incomplete=[one._asdict() for one in done.incomplete],
        )
    else:
        new = done.checkpoints or done.messages
        what = "checkpoint" if histories.KINDS[kind].threads else "message"
        out.say(
            f"{many(new, what)} of {many(done.sessions, 'session')} brought, "
            f"{done.already_there:,} were there."
        )
        for name, shown in (
            ("not read", [str(one) for one in done.unread]),
            ("incomplete", [str(one) for one in done.incomplete]),
            ("behind what was said here", done.behind),
            ("left alone, for it has gone on here", done.left_alone),
        ):
            for one in shown:
                out.say((f"{name}: ", "yellow"), visible.line(one), indent=2)
    return FOUND_WRONG if wrong else 0


@command("backup", PANEL, interrupted="Interrupted. No file was written.")
def backup(
    asked: Asked,
    file: Annotated[str, typer.Argument(metavar="FILE", help="A new file.")],
) -> None:
    """Copy a SQLite database to a new file, while it is used. For PostgreSQL use pg_dump."""
    with asked.store() as store, asked.out.busy("Copying"):
        store.backup(file)
    if asked.out.json:
        asked.out.record("backup", {"file": file})
    else:
        asked.out.say(f"The copy is in {visible.line(file)}.")
