"""The command line as a whole: its commands in their order, and its own options."""

from __future__ import annotations

import sys
from typing import Annotated, Any, Final

import typer

import onrecord
from onrecord.cli.commands import (
    FINE,
    READER_GONE,
    WRONG_USE,
    app,
    colour_is_wanted,
    silence,
)
from onrecord.cli.helping import Command, Group
from onrecord.cli.output import Output

# Each makes its commands when it is imported; help lists them in this order.
from onrecord.cli import reading, known, state, upkeep, removing, moving  # noqa: F401 isort:skip


WrongUse: Final[Any] = typer.BadParameter.__mro__[2]
"""What typer raises where it is called in a way that cannot be: click's ClickException, or what
it has in the place of it."""


def _version(asked: bool) -> None:
    if asked:
        sys.stdout.write(f"onrecord {onrecord.__version__}\n")
        raise typer.Exit


@app.callback(cls=Group)
def onrecord_(
    context: typer.Context,
    # What each command takes behind its name may stand before it as well. Help says it once.
    url: Annotated[str | None, typer.Option("--url", hidden=True)] = None,
    cache: Annotated[str | None, typer.Option("--cache", hidden=True)] = None,
    json: Annotated[bool, typer.Option("--json", hidden=True)] = False,
    no_color: Annotated[bool, typer.Option("--no-color", hidden=True)] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version.")
    ] = False,
) -> None:
    """Look at what conversations are remembered, and look after the store that keeps them.

    ONRECORD_URL and ONRECORD_CACHE say which store, or --url and --cache; with --json each
    command answers in lines of JSON.
    """
    context.obj = {"url": url, "cache": cache, "json": json, "no_color": no_color}


def run() -> int:
    """Run the command that ``sys.argv`` names, and return the code to exit with."""
    try:
        code = app(prog_name="onrecord", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else FINE
    except WrongUse as fault:
        return _wrong(fault)
    except BrokenPipeError:
        silence()
        return READER_GONE


def _wrong(fault: Any) -> int:
    """Say what is wrong with how it was called. An argument may be an address with a password."""
    context: Any = getattr(fault, "ctx", None)
    path = "onrecord" if context is None else context.command_path
    if context is not None and len(sys.argv) == 1:  # nothing was asked for
        sys.stderr.write(context.get_help() + "\n")
    else:
        said = fault.format_message()
        end = "" if said.endswith((".", "?")) else "."
        called = None if context is None else context.command
        hint = f" {called.hint(said)}".rstrip() if isinstance(called, Command) else ""
        see = f"See `{path} --help`."
        Output(json=False, colour=colour_is_wanted()).fail(f"{said}{end}{hint} {see}")
    return WRONG_USE
