"""Everything the command line writes: lines of JSON, or text for a person, and what goes beside.

Answers go to stdout, and what is said about them to stderr. For a person there are colours and
tables that fit the terminal; where stdout is no terminal, nothing is cut off and no escape
sequence is written. What was stored comes here through ``visible``, by whoever shows it.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeAlias, TypeVar

import msgspec

from onrecord.cli import visible
from onrecord.scope import ANY

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from onrecord.codec.readable import Spell
    from onrecord.reports import OnProgress

T = TypeVar("T")

Styled: TypeAlias = "str | tuple[str, str]"
"""A piece of text, or one with its style."""

DIM: Final = "dim"
BOLD: Final = "bold"
GAP: Final = 2
NARROWEST: Final = 16
"""A column whose texts are cut off is no narrower."""
WIDEST: Final = 60
"""In a terminal, of what has to share it with other columns."""


_PASSWORD: Final = re.compile(
    r"(://[^\s:/@]*:)\S*(?=@)|((?:password|passwd|secret|token)=)[^\s&'\"]+", re.IGNORECASE
)
"""In an address. Errors of ours have none; an argument that is repeated as it was typed may."""


class Stored(NamedTuple):
    """A value that was stored and may be anything the codec carries: docs/how-to/export.md."""

    value: Any


class Raw(NamedTuple):
    """A line of JSON that is made already, as a value of another one."""

    line: str


class Column(NamedTuple, Generic[T]):
    """A column of a table. One in which nothing stands is left out."""

    title: str
    cell: Callable[[T], str]
    right: bool = False
    cut: bool = False
    """Whether its texts may be cut off, where the terminal is narrow."""
    style: str = ""


class Output:
    """Where a command writes to."""

    def __init__(self, *, json: bool, colour: bool) -> None:
        self.json = json
        self._colour = colour
        self.terminal = sys.stdout.isatty()
        """Whether somebody reads it on a screen."""
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):  # an encoding that lacks a character
                stream.reconfigure(errors="backslashreplace")

    # -- lines of JSON ---------------------------------------------------------------------

    def record(self, kind: str, fields: Mapping[str, Any] | msgspec.Struct, **more: Any) -> None:
        """Write one object, on one line."""
        from onrecord.codec.readable import encoded  # for who asks for help it need not be loaded

        given = fields if isinstance(fields, Mapping) else _fields(fields)
        whole = {"type": kind, **given, **more}
        self.line(encoded(lambda spell: _plain(whole, spell)).decode())

    def line(self, text: str) -> None:
        """Write a line of JSON that is made already."""
        sys.stdout.write(visible.json_text(text) + "\n")

    def flush(self) -> None:
        """Let it be seen now."""
        sys.stdout.flush()

    # -- text ------------------------------------------------------------------------------

    @cached_property
    def width(self) -> int:
        """Columns of the terminal; where there is none, as many as are needed."""
        return self._console.width if self.terminal else 10**6

    def say(self, *pieces: Styled, indent: int = 0) -> None:
        """Write a text; where it has to be broken, the lines that follow are indented, too."""
        if not self._plain:
            self.text(self.styled(*pieces), indent)
            return
        whole = "".join([piece if isinstance(piece, str) else piece[0] for piece in pieces])
        space = " " * indent
        for line in whole.split("\n"):
            sys.stdout.write(f"{space}{line.rstrip()}\n")

    def styled(self, *pieces: Styled) -> Text:
        """Make a text of pieces."""
        from rich.text import Text

        return Text.assemble(*pieces, end="")

    def text(self, text: Text, indent: int = 0) -> None:
        """Write a text, each of its lines so far to the right."""
        lines = text.split("\n", allow_blank=True)
        if self.terminal:
            room = max(self.width - indent, 10)
            lines = type(lines)(part for one in lines for part in one.wrap(self._console, room))
        for one in lines:
            one.rstrip()
            one.pad_left(indent)
            self._console.print(one, soft_wrap=True, end="\n")

    def table(self, columns: Sequence[Column[T]]) -> Table[T]:
        """Begin a table."""
        return Table(self, columns)

    def facts(self, facts: Iterable[tuple[str, str]]) -> None:
        """Write names with what stands for each, one below the other."""
        told = [(name, said) for name, said in facts if said]
        wide = max((len(name) for name, _ in told), default=0)
        for name, said in told:
            if wide + GAP + NARROWEST > self.width:
                self.say((name, DIM))
                self.say(said, indent=GAP)
            else:
                self.say((name.ljust(wide + GAP), DIM), said)

    # -- beside the answer -----------------------------------------------------------------

    def note(self, text: str) -> None:
        """Say something about the answer, which is no part of it."""
        self._beside(text, DIM)

    def fail(self, text: str) -> None:
        """Say what went wrong."""
        self._beside(f"onrecord: {text}", "red")

    def ask(self, question: str) -> str:
        """Ask whoever sits there. Empty where nobody answers."""
        self.flush()
        self._errors.print(self.styled((question, BOLD)), end=" ")
        try:
            return input().strip()
        except EOFError:
            self._errors.print()
            return ""

    @contextmanager
    def progress(self, doing: str, what: str = "session") -> Iterator[OnProgress | None]:
        """Show how far long work has come, where somebody sees it."""
        if not self._watched:
            yield None
            return
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

        with Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TaskProgressColumn(),
            TextColumn("{task.completed:,.0f} of {task.total:,.0f} " + f"{what}s"),
            console=self._errors,
            transient=True,
            expand=True,
        ) as bar:
            task = bar.add_task(doing, total=None, visible=False)
            yield lambda at: bar.update(task, completed=at.done, total=at.of, visible=True)

    @contextmanager
    def busy(self, doing: str) -> Iterator[Callable[[str], object]]:
        """Show that work goes on whose end nobody knows; what is yielded says more of it."""
        if not self._watched:
            yield lambda text: None
            return
        with self._errors.status(self.styled(doing)) as status:
            yield lambda text: status.update(self.styled(doing, (f"  {text}", DIM)))

    @property
    def _watched(self) -> bool:
        """Whether what goes by on stderr is seen, and stands in no pager's way."""
        piped = not self.terminal and stat.S_ISFIFO(os.fstat(sys.stdout.fileno()).st_mode)
        return sys.stderr.isatty() and not piped

    def _beside(self, text: str, style: str) -> None:
        sys.stdout.flush()
        shown = self.styled((visible.text(_PASSWORD.sub(r"\1\2***", text)), style))
        self._errors.print(shown, soft_wrap=not sys.stderr.isatty())

    @cached_property
    def _plain(self) -> bool:
        """Whether lines are written as they are, neither broken nor coloured: by the console they
        take several times as long, and somebody may pipe a million."""
        return not self.terminal and self._console.color_system is None

    @cached_property
    def _console(self) -> Console:
        return _console(sys.stdout, self._colour)

    @cached_property
    def _errors(self) -> Console:
        return _console(sys.stderr, self._colour)


class Table(Generic[T]):
    """Rows below each other, in columns that fit; a page of them at a time."""

    def __init__(self, out: Output, columns: Sequence[Column[T]]) -> None:
        self._out = out
        self._columns = columns
        self._headed: list[int] = []
        self._widths: list[int] = []

    def add(self, rows: Iterable[T]) -> None:
        """Write a page."""
        cells = [[column.cell(row) for column in self._columns] for row in rows]
        used = [at for at in range(len(self._columns)) if any(row[at] for row in cells)]
        if not cells:
            return
        if not self._fits(used, cells):
            for row in cells:
                self._stacked([(at, row[at]) for at in used if row[at]])
            return
        if not set(used) <= set(self._headed):
            self._headed = used
            self._widths = self._measured(used, cells)
            self._row([self._columns[at].title for at in used], DIM)
        for row in cells:
            self._row([row[at] for at in self._headed])

    def _fits(self, used: list[int], cells: list[list[str]]) -> bool:
        least = [
            min(wide, NARROWEST) if self._columns[at].cut else wide
            for at, wide in zip(used, self._needed(used, cells), strict=True)
        ]
        return sum(least) + GAP * (len(used) - 1) <= self._out.width

    def _needed(self, used: list[int], cells: list[list[str]]) -> list[int]:
        titles = [len(self._columns[at].title) for at in used]
        found = [max(_wide(row[at]) for row in cells) for at in used]
        return [max(pair) for pair in zip(titles, found, strict=True)]

    def _measured(self, used: list[int], cells: list[list[str]]) -> list[int]:
        widths = self._needed(used, cells)
        room = self._out.width - GAP * (len(used) - 1)
        cut = [place for place, at in enumerate(used) if self._columns[at].cut]
        for _ in range(sum(widths) - room):  # the widest gives way first
            widths[max(cut, key=lambda place: widths[place])] -= 1
        return widths

    def _row(self, cells: list[str], style: str = "") -> None:
        pieces: list[Styled] = []
        for place, (cell, wide) in enumerate(zip(cells, self._widths, strict=True)):
            column = self._columns[self._headed[place]]
            if self._out.terminal:
                cell = _shortened(cell, wide)
            space = " " * max(wide - _wide(cell), 0)
            text = space + cell if column.right else cell + space
            pieces += [(text, style or column.style), " " * GAP]
        line = self._out.styled(*pieces)
        line.rstrip()
        self._out.text(line)

    def _stacked(self, cells: list[tuple[int, str]]) -> None:
        """A row on lines of its own: its name, and below it the rest."""
        (first, name), *rest = cells
        self._out.say((name, self._columns[first].style or BOLD))
        pieces: list[Styled] = []
        for at, cell in rest:
            if self._out.terminal and self._columns[at].cut:
                cell = _shortened(cell, 2 * self._out.width)
            said: list[Styled] = [(self._columns[at].title.lower() + " ", DIM), cell]
            if pieces:
                wide = sum(_wide(p if isinstance(p, str) else p[0]) for p in [*pieces, *said])
                if wide + 3 > self._out.width - GAP:
                    self._out.say(*pieces, indent=GAP)
                    pieces = []
                else:
                    pieces.append((" · ", DIM))
            pieces += said
        self._out.say(*pieces, indent=GAP)


def moment(at: datetime | None) -> str:
    """A time as people read it, where they are."""
    return "" if at is None else at.astimezone().strftime("%Y-%m-%d %H:%M")


def size(count: float) -> str:
    """So many bytes."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:,.0f} {unit}" if unit == "bytes" else f"{count:,.1f} {unit}"
        count /= 1024
    return f"{count:,.1f} TiB"


def number(count: int) -> str:
    """A number with its thousands; nothing for none."""
    return f"{count:,}" if count else ""


def _console(stream: Any, colour: bool) -> Console:
    from rich.console import Console

    class Ours(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # rich would exit by itself; ``app.run`` says with what

    plain = {} if colour else {"color_system": None}
    return Ours(file=stream, highlight=False, markup=False, emoji=False, **plain)  # type: ignore[arg-type]


def _wide(text: str) -> int:
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _shortened(text: str, wide: int) -> str:
    if _wide(text) <= wide:
        return text
    from rich.cells import set_cell_size

    return set_cell_size(text, wide - 1).rstrip() + "…"


def _fields(struct: msgspec.Struct) -> dict[str, Any]:
    return {name: getattr(struct, name) for name in struct.__struct_fields__}


def _plain(value: Any, spell: Spell) -> Any:
    """A value of ours in JSON's own types, for good: names and kinds do not change."""
    from onrecord.codec.readable import readable

    match value:
        case str():
            return spell(value)
        case None | bool() | int() | float():
            return value
        case Raw(line):
            return msgspec.Raw(line.encode())
        case Stored(stored):
            return readable(stored, spell)
        case datetime():
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        case timedelta():
            return value.total_seconds()
        case msgspec.Struct():
            return _plain(_fields(value), spell)
        case Mapping():
            return {str(name): _plain(inner, spell) for name, inner in value.items()}
        case tuple() if hasattr(value, "_asdict"):
            return _plain(value._asdict(), spell)
        case tuple() | list():
            return [_plain(inner, spell) for inner in value]
    return None if value is ANY else spell(str(value))
