"""What a run has found: a table for people, JSON for machines."""

from __future__ import annotations

import os
import platform
import sqlite3
import subprocess
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

import msgspec

from bench.measuring import Found, Kind, Row, Wanted

_PACKAGES = (
    "onrecord",
    "sqlalchemy",
    "psycopg",
    "redis",
    "langchain-core",
    "langchain-community",
    "langchain-postgres",
    "langgraph",
    "langgraph-checkpoint-sqlite",
    "langgraph-checkpoint-postgres",
    "llama-index-core",
    "llama-index-storage-chat-store-postgres",
    "llama-index-storage-chat-store-redis",
    "openai-agents",
)

INCOMPARABLE: Final = "cannot be compared: one of the two took nothing"


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a run has found, and where."""

    command: str
    date: str
    machine: str
    versions: dict[str, str]
    data: str
    seconds: float
    rows: tuple[Row, ...]


def machine() -> str:
    """What a stranger has to know of it."""
    name = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
        kib = int(Path("/proc/meminfo").read_text().split()[1])
        memory = f", {kib / 2**20:.0f} GiB"
    except OSError:
        memory = ""
    release = platform.release().partition("-")[0]  # what follows is a builder's own
    return f"{os.cpu_count()} cores of {name}{memory}, {platform.system()} {release}"


def versions() -> dict[str, str]:
    """Of everything that took part."""
    found = {"Python": platform.python_version(), "SQLite": sqlite3.sqlite_version}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def written(value: float, unit: str) -> str:
    """A value as people read it."""
    match unit:
        case "seconds":
            if value >= 1:
                return f"{value:,.2f} s"
            return f"{value * 1e3:,.1f} ms" if value >= 0.01 else f"{value * 1e6:,.0f} µs"
        case "bytes":
            return f"{value / 1e6:,.2f} MB" if value >= 1e6 else f"{value / 1e3:,.1f} kB"
        case "per second":
            return f"{value:,.0f}/s"
        case "per cent":
            return f"{value:.1f} %"
        case _:
            return f"{value:,.2f}"


def lines(row: Row) -> Iterator[str]:
    """A row of the table, with everybody in it."""
    yield f"{row.title}"
    yield f"  {row.settings}"
    wide = max(len(named(found)) for found in row.found) + 2
    for found in row.found:
        shown = f"  {named(found):<{wide}}{written(found.median, row.unit):>12}"
        yield f"{shown}   {ratios(row, found)}".rstrip()
    for wanted in row.wanted:
        yield f"  wanted: {wanted.text}. {told(row, wanted)}"
    for note in row.notes:
        yield f"  {note}"


def ratios(row: Row, found: Found) -> str:
    """How somebody stands to the first of ours."""
    ours = row.compared_with(found)
    if found.name == ours:
        return ""
    compared = row.ratio(ours, found.name)
    if compared is None:
        return INCOMPARABLE
    middle, low, high = compared
    called = "ours" if ours == row.compared_with(row.found[0]) else ours
    if found.kind is Kind.LIMIT:
        spread = "" if low == high else f" ({_times(low)} to {_times(high)})"
        return f"{called} is {_times(middle)} of it{spread}"
    spread = "" if low == high else f" ({_times(1 / high)} to {_times(1 / low)})"
    return f"{_times(1 / middle)} {called}{spread}"


def named(found: Found) -> str:
    """A contender by name, and what for it is there."""
    return found.name + (" (limit)" if found.kind is Kind.LIMIT else "")


def told(row: Row, wanted: Wanted) -> str:
    """What came of a wish."""
    value, met = row.outcome(wanted)
    if value is None:
        shown = INCOMPARABLE
    elif not wanted.beside:
        shown = written(value, row.unit)
    elif (wanted.at_most or wanted.at_least or 1) < 1:
        shown = f"{value:.1%}"  # as it was asked for
    else:
        shown = _times(value)
    return f"{'Met' if met else 'NOT met'}: {shown}"


def _times(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f} ×"
    return f"{value:.1f} ×" if value >= 10 else f"{value:.2f} ×"


def save(run: Run, folder: Path) -> Path:
    """Write the JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "benchmarks.json"
    file.write_bytes(msgspec.json.format(msgspec.json.encode(run)) + b"\n")
    return file


def load(file: Path) -> Run:
    """Read it again."""
    return msgspec.json.decode(file.read_bytes(), type=Run)


def summary(rows: Sequence[Row]) -> str:
    """How many wishes were met."""
    outcomes = [row.outcome(wanted)[1] for row in rows for wanted in row.wanted]
    return f"{sum(outcomes)} of {len(outcomes)} wishes met, in {len(rows)} rows"


def commit() -> str:
    """Which version of ours it was."""
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or "unknown"
