"""A run as a page of the documentation: docs/reference/benchmarks.md is written by ``make bench``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from bench.measuring import Kind, Row
from bench.reasons import REASONS
from bench.report import Run, named, ratios, summary, told, written

_HEAD: Final = """\
# Benchmarks

Onrecord beside LangChain's, LangGraph's, LlamaIndex's and OpenAI's stores, and beside the least that could be correct, on one machine in one run. This page is written by the command that measures:

```sh
make bench          # everything; writes this page, its pictures and benchmarks/benchmarks.json
make bench-quick    # fewer rounds, a rough answer in two minutes; writes nothing
```

Both set up an environment of their own with all peers installed, and start their own PostgreSQL and Redis. In each row all take turns, round by round, and what is compared is the ratio within a round: so a slow minute of the machine meets everybody. In brackets stands what half of the rounds lie between. The garbage collector stays on; what the imports have left is put out of its way, since no program imports all of these at once. Whoever promises durability waits for the disk (`synchronous=FULL`, `fsync=on`); who does not is marked. Sizes are whole files, or whole tables with their indexes. Rows where a peer is ahead are printed like the others. What is said under *Why* is from profiles of that row; its numbers are rounded, and no command prints them.
"""

_PICTURES: Final = (
    ("peers", "How many times better Onrecord is than each peer, on a scale of magnitudes"),
    ("limits", "How many times what the least that could be correct takes Onrecord takes"),
    ("graph-size", "A LangGraph thread on disk, by turns"),
    ("graph-time", "The time of a turn of a LangGraph thread, by turns"),
)


def page(run: Run) -> str:
    """The whole page."""
    return "\n".join(_parts(run)) + "\n"


def save(run: Run, file: Path) -> Path:
    """Write it."""
    file.write_text(page(run), encoding="utf-8")
    return file


def _parts(run: Run) -> Iterator[str]:
    yield _HEAD
    yield f"The last run: {run.date}, {run.seconds / 60:.0f} minutes, `{run.command}`.\n"
    yield f"- Machine: {run.machine}"
    yield f"- Versions: {', '.join(f'{name} {of}' for name, of in run.versions.items())}"
    yield f"- Data, where sizes are measured: {run.data}"
    yield f"- {summary(run.rows)}\n"
    for name, what in _PICTURES:
        yield f"![{what}](benchmarks/{name}.svg)\n"
    for row in run.rows:
        yield from _row(row)


def _row(row: Row) -> Iterator[str]:
    is_other = row.name.endswith("-postgres") and "PostgreSQL" not in row.title
    yield f"## {row.title}{', PostgreSQL' if is_other else ''}\n"
    yield f"`{row.name}`: {row.settings}.\n"
    yield "| | median | |"
    yield "| --- | ---: | --- |"
    for found in row.found:
        compared = ratios(row, found)
        name = f"**{named(found).strip()}**" if found.kind is Kind.OURS else named(found)
        yield f"| {name} | {written(found.median, row.unit)} | {compared} |"
    yield ""
    missed = False
    for wanted in row.wanted:
        missed |= not row.outcome(wanted)[1]
        yield f"- Wanted: {wanted.text}. {told(row, wanted)}."
    for note in row.notes:
        yield f"- {note}"
    if missed and row.name in REASONS:
        yield f"\n{REASONS[row.name]}"
    yield ""
