"""Writes the page about the command line from what ``--help`` says.

python -m scripts.command_line
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import typer

import onrecord.cli.app  # noqa: F401 - makes the commands
from onrecord.cli.commands import app
from onrecord.cli.helping import Described, Option, described
from onrecord.cli.lines import LINES

ROOT: Final = Path(__file__).parent.parent
PAGE: Final = ROOT / "docs/reference/command-line.md"

COMMON: Final = ("Which store, and how to answer", "Whose")
"""Headings of options that are told once."""

BEGINNING: Final = """\
# The command line

`pip install "onrecord[cli]"` brings the command `onrecord`; `python -m onrecord` is the same. [A short tour](../how-to/command-line.md) shows how it is used. This page is written from what `--help` says by `python -m scripts.command_line`.

`onrecord --install-completion` teaches your shell to complete commands and options, `--show-completion` shows what it would install.

## Exit codes

| code | |
|---|---|
| 0 | Fine. |
| 1 | Something was found wrong: by `verify`, `doctor`, `health` or `maintain`; an `import` in which something differs or cannot be read; a session that is not there; or a confirmation that was not given. |
| 2 | Called in a way that cannot be: an unknown option, a wrong address, a database without tables, or a command that destroys without `--yes` where nobody can be asked. |
| 3 | The database cannot be reached. |
| 130 | Ended by Ctrl-C. |
| 141 | Whoever read its output has gone, as `head` does. |
"""


def page() -> str:
    """The page."""
    command: Any = typer.main.get_command(app)
    context = command.make_context("onrecord", [], resilient_parsing=True)
    whole = described(command, context)
    inner = {
        name: described(one, one.make_context(name, [], parent=context, resilient_parsing=True))
        for name in command.list_commands(context)
        for one in [command.get_command(context, name)]
    }
    lines = [BEGINNING, "## Options of every command", ""]
    lines += ["They may stand before the command's name as well, but for those of whose it is.", ""]
    for heading in COMMON:
        lines += [f"{heading}:", "", *_table(inner["sessions"].options[heading]), ""]
    for heading, names in whole.commands.items():
        lines += [f"## {heading}", ""]
        for one in names:
            lines += _command(one.names, inner[one.names])
    lines += [
        "## Lines of JSON",
        "",
        "With `--json` a command writes one object a line, each with a `type`. Names stay what they",
        "are; new ones may come. Times are ISO 8601 in UTC, lengths of time are seconds. Values that",
        "were stored are written as [an export](../how-to/export.md#what-is-in-the-file) writes them.",
        "Control characters are escaped, so that a line may be shown in a terminal. Messages of",
        "errors go to stderr, and are for people.",
        "",
        "| type | names |",
        "|---|---|",
        *(f"| `{kind}` | {', '.join(f'`{n}`' for n in names)} |" for kind, names in LINES.items()),
    ]
    return "\n".join(lines) + "\n"


def _command(name: str, said: Described) -> list[str]:
    own = [
        one
        for heading, options in said.options.items()
        if heading not in COMMON
        for one in options
        if not one.names.endswith("--help")
    ]
    whose = [one.names.split()[0] for one in said.options.get("Whose", [])]
    lines = [f"### {name}", "", f"`{said.usage}`", ""]
    for paragraph in said.paragraphs:
        lines += [paragraph, ""]
    if own:
        lines += [*_table(own), ""]
    if whose:
        lines += ["And " + ", ".join(f"`{one}`" for one in whose) + ".", ""]
    return lines


def _table(options: list[Option]) -> list[str]:
    cell = [(one.names, one.help.replace("|", "\\|")) for one in options]
    return ["| | |", "|---|---|", *(f"| `{names}` | {said} |" for names, said in cell)]


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), "utf-8")
    print(PAGE.relative_to(ROOT))


if __name__ == "__main__":
    main()
