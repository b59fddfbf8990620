"""Help, as a terminal of any width shows it, and as the page about the commands has it.

Written here, and not by typer, so that it fits 40 columns, and is the same with every version.
"""

from __future__ import annotations

import inspect
import shutil
import textwrap
from typing import Any, Final, NamedTuple

from typer.core import TyperCommand, TyperGroup

NARROW: Final = 60
WIDEST: Final = 100
ASIDE: Final = 24
"""Where the words about an option begin; a longer one has them on the next line."""


class Option(NamedTuple):
    """An option or an argument, as it is written, and what it does."""

    names: str
    help: str


class Described(NamedTuple):
    """All that help says of a command."""

    usage: str
    paragraphs: list[str]
    options: dict[str, list[Option]]
    """By the heading that they stand under."""
    commands: dict[str, list[Option]]


class Command(TyperCommand):
    """A command whose help is ours."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        formatter.write(_text(described(self, ctx)))

    def hint(self, said: str) -> str:
        """What to do, where it was called in a way that cannot be: a sentence, or nothing."""
        return ""


class Group(TyperGroup):
    """The commands as a whole."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        formatter.write(_text(described(self, ctx)))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take ``help`` and ``help COMMAND`` as well, as many other programs do."""
        if args[:1] == ["help"]:
            args = [*args[1:2], "--help"]
        found: list[str] = super().parse_args(ctx, args)
        return found


def described(command: Any, context: Any) -> Described:
    """What there is to say of a command."""
    arguments = []
    options: dict[str, list[Option]] = {"": [], "Options": []}
    for one in command.get_params(context):
        if getattr(one, "hidden", False):
            continue
        if one.param_type_name == "argument":
            arguments.append(one.metavar if one.required else f"[{one.metavar.strip('[]')}]")
            options[""].append(Option(one.metavar.strip("[]"), one.help))
        else:
            under = getattr(one, "rich_help_panel", None) or "Options"
            options.setdefault(under, []).append(_option(one))
    commands: dict[str, list[Option]] = {}
    if isinstance(command, TyperGroup):
        arguments.append("COMMAND")
        for name in command.list_commands(context):
            inner: Any = command.get_command(context, name)
            under = getattr(inner, "rich_help_panel", None) or "Commands"
            commands.setdefault(under, []).append(Option(name, _paragraphs(inner.help)[0]))
    usage = " ".join([context.command_path, *arguments, "[OPTIONS]"])
    return Described(usage, _paragraphs(command.help), options, commands)


def _option(one: Any) -> Option:
    short = [name for name in one.opts if not name.startswith("--")]
    names = ", ".join([*short, *(name for name in one.opts if name.startswith("--"))])
    value = f" {one.metavar}" if one.metavar else ""
    default = one.default
    known = isinstance(default, str | int | float) and not isinstance(default, bool)
    told = f" Default: {default}." if known and default != "" and one.metavar else ""
    return Option(names + value, f"{one.help}{told}")


def _paragraphs(text: str | None) -> list[str]:
    return [" ".join(one.split()) for one in inspect.cleandoc(text or "").split("\n\n")]


def _text(said: Described) -> str:
    width = min(shutil.get_terminal_size().columns, WIDEST) - 1
    lines = _wrapped(f"Usage: {said.usage}", width, after="  ")
    for paragraph in said.paragraphs:
        lines += ["", *_wrapped(paragraph, width)]
    for heading, options in [*said.commands.items(), *said.options.items()]:
        if options:
            lines += ["", *([f"{heading}:"] if heading else [])]
            for option in options:
                lines += _listed(option, width)
    return "\n".join(lines) + "\n"


def _listed(option: Option, width: int) -> list[str]:
    """An option and its words beside each other, or below each other where that is too narrow."""
    names = f"  {option.names}"
    if width < NARROW:
        return [names, *_indented(option.help, width, 6)]
    words = _indented(option.help, width, ASIDE)
    if len(names) + 2 > ASIDE:
        return [names, *words]
    return [names.ljust(ASIDE) + words[0].lstrip(), *words[1:]]


def _indented(text: str, width: int, by: int) -> list[str]:
    space = " " * by
    return _wrapped(text, width, space, space) or [""]


def _wrapped(text: str, width: int, before: str = "", after: str = "") -> list[str]:
    """Lines of a text. An option is not broken at its hyphens."""
    return textwrap.wrap(
        text, width, initial_indent=before, subsequent_indent=after, break_on_hyphens=False
    )
