"""How a function becomes a command: with the options that all have, and one way to end.

Exit codes: 0 for fine, 1 where something was found wrong, 2 where it was called in a way that
cannot be, 3 where the database cannot be reached, 130 after Ctrl-C, 141 where whoever was
reading has gone.
"""

from __future__ import annotations

import functools
import inspect
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Concatenate, Final, ParamSpec, TypeAlias, get_type_hints

import typer

from onrecord.cli.asked import Asked, NotThere
from onrecord.cli.helping import Command
from onrecord.cli.options import Cache, Json, NoColor, Url
from onrecord.cli.output import Output
from onrecord.cli.wording import as_typed, in_shell
from onrecord.errors import InvalidName, InvalidValue, Misconfigured, OnrecordError, Unavailable

P = ParamSpec("P")

FINE: Final = 0
FOUND_WRONG: Final = 1
WRONG_USE: Final = 2
OUT_OF_REACH: Final = 3
INTERRUPTED: Final = 130
READER_GONE: Final = 141

Function: TypeAlias = Callable[Concatenate[Asked, P], int | None]

app = typer.Typer(
    name="onrecord",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)

_COMMON: Final = {"url": Url, "cache": Cache, "json": Json, "no_color": NoColor}
_DEFAULTS: Final = {"url": None, "cache": None, "json": False, "no_color": False}


def command(
    name: str, panel: str, *, interrupted: str = "Interrupted.", kind: type[Command] = Command
) -> Callable[[Function[P]], Function[P]]:
    """Make a command of a function, which is given how it was asked, and its own options.

    ``interrupted`` is said after Ctrl-C: what is done by then. ``kind`` is what it becomes, where
    there is more to say to who called it wrongly.
    """

    def make(function: Function[P]) -> Function[P]:
        hints = get_type_hints(function, include_extras=True)
        own = [
            one.replace(annotation=hints[one.name], kind=one.KEYWORD_ONLY)
            for one in list(inspect.signature(function).parameters.values())[1:]
        ]
        common = [
            inspect.Parameter(
                one, inspect.Parameter.KEYWORD_ONLY, default=_DEFAULTS[one], annotation=kind
            )
            for one, kind in _COMMON.items()
        ]
        first = inspect.Parameter(
            "context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context
        )

        @functools.wraps(function)
        def called(context: typer.Context, **given: Any) -> None:
            before = context.obj or {}
            common = {one: given.pop(one) or before.get(one) for one in _COMMON}
            out = _output(bool(common["json"]), bool(common["no_color"]))
            asked = Asked(out, common["url"], common["cache"])
            work: Callable[[], int | None] = functools.partial(function, asked, **given)
            code = _ended(work, out, interrupted, _options_of(context))
            if code:
                raise typer.Exit(code)

        parameters = [first, *own, *common]
        called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        called.__annotations__ = {one.name: one.annotation for one in parameters}
        del called.__wrapped__
        app.command(name, cls=kind, rich_help_panel=panel)(called)
        return function

    return make


def _output(json: bool, no_color: bool) -> Output:
    out = Output(json=json, colour=colour_is_wanted() and not no_color)
    handler = _Told(out)
    logging.getLogger("onrecord").addHandler(handler)
    return out


def colour_is_wanted() -> bool:
    """Whether nothing speaks against colours that is seen before the arguments are read."""
    return "--no-color" not in sys.argv and not os.environ.get("NO_COLOR")


class _Told(logging.Handler):
    """Says what the library warns of."""

    def __init__(self, out: Output) -> None:
        super().__init__(logging.WARNING)
        self._out = out

    def emit(self, record: logging.LogRecord) -> None:
        self._out.note(in_shell(record.getMessage()))


def _options_of(context: typer.Context) -> dict[str, Sequence[str]]:
    """How the options of a command are written, by the names of their arguments."""
    given: Any = context.command
    return {one.name: one.opts for one in given.params if one.param_type_name == "option"}


def _ended(
    work: Callable[[], int | None],
    out: Output,
    interrupted: str,
    options: Mapping[str, Sequence[str]],
) -> int:
    """Do the work, and say in one line how it went wrong, if it did."""
    try:
        code = work() or FINE
        out.flush()
        return code
    except KeyboardInterrupt:
        return _interrupted(out, interrupted)
    except BrokenPipeError:
        silence()
        return READER_GONE
    except OnrecordError as fault:
        if isinstance(fault.__cause__, BrokenPipeError):  # of a file that it was writing to
            silence()
            return READER_GONE
        out.fail(as_typed(in_shell(str(fault)), options, sys.argv[1:]))
        return _code_of(fault)


def _interrupted(out: Output, said: str) -> int:
    try:
        if said:
            out.fail(said)
    except BrokenPipeError:  # Ctrl-C ends every program of a pipe
        silence()
    return INTERRUPTED


def _code_of(fault: OnrecordError) -> int:
    match fault:
        case Unavailable():
            return OUT_OF_REACH
        case NotThere():
            return FOUND_WRONG
        case Misconfigured() | InvalidName() | InvalidValue():
            return WRONG_USE
    return FOUND_WRONG


def silence() -> None:
    """Nobody reads what is written any more: let the interpreter end without a word about it."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def confirmed(out: Output, word: str, about: str, *, yes: bool) -> bool:
    """Whether it is to be done: with ``--yes``, or if somebody types the word."""
    if yes:
        return True
    if not sys.stdin.isatty() or not sys.stderr.isatty():
        raise Misconfigured(
            f"{about} Nobody can be asked here: say --yes to do it, or --dry-run to see what "
            f"would be done. Nothing was done."
        )
    out.note(about)
    if out.ask(f"Type {word} to go on:") == word:
        return True
    out.fail("Nothing was done.")
    return False
