"""A run as pictures: how far ahead or behind ours is, row by row, and how threads grow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl

mpl.use("agg")
from matplotlib import pyplot
from matplotlib.ticker import NullFormatter

from bench.measuring import Kind, Row
from bench.report import Run

_OURS: Final = "#1b6ca8"
_BEHIND: Final = "#c2571a"
_LIMIT: Final = "#5c6670"
_THEIRS: Final = ("#9a6fb0", "#b08a3e", "#7a8450", "#8c5a4a")
_FORMATS: Final = ("png", "svg")
_FAR: Final = 20_000.0
_GROWN: Final = {
    "graph-size": "A LangGraph thread on disk",
    "graph-written": "What a turn of a LangGraph thread writes to the log",
    "graph-time": "The time of a turn of a LangGraph thread",
}


def draw(run: Run, folder: Path) -> Iterator[Path]:
    """Write each picture in both formats, and say where."""
    yield from _saved(_ratios(run.rows, Kind.PEER), folder, "peers")
    yield from _saved(_ratios(run.rows, Kind.LIMIT), folder, "limits")
    for row in run.rows:
        if row.series:
            yield from _saved(_grown(row), folder, row.name)


def _ratios(rows: Sequence[Row], kind: Kind) -> Any:
    """How many times better ours is than each, or, for limits, how many times what they take."""
    bars = list(_bars(rows, kind))
    figure, axes = pyplot.subplots(figsize=(10, 0.3 * len(bars) + 1.4), layout="constrained")
    for place, (_, (low, middle, high), is_good) in enumerate(reversed(bars)):
        shown = min(middle, _FAR)
        axes.barh(place, shown - 1, left=1, color=_OURS if is_good else _BEHIND, height=0.62)
        axes.plot([min(low, _FAR), min(high, _FAR)], [place, place], color="black", linewidth=1)
        side = "left" if shown >= 1 else "right"
        axes.annotate(
            f" {_short(middle)} ",
            (max(shown, high) if shown >= 1 else min(shown, low), place),
            va="center",
            ha=side,
            fontsize=8,
        )
    axes.set_yticks(range(len(bars)), [label for label, _, _ in reversed(bars)], fontsize=8)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,g} ×")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.axvline(1, color=_LIMIT, linewidth=1)
    axes.margins(x=0.12, y=0.01)
    axes.spines[["top", "right"]].set_visible(False)
    if kind is Kind.PEER:
        title = "How many times better Onrecord is than each peer"
    else:
        title = "How many times what the least that could be correct takes, Onrecord takes"
    axes.set_title(title, fontsize=10, loc="left")
    return figure


def _bars(
    rows: Sequence[Row], kind: Kind
) -> Iterator[tuple[str, tuple[float, float, float], bool]]:
    for row in rows:
        for found in row.found:
            if found.kind is not kind:
                continue
            compared = row.ratio(row.compared_with(found), found.name)
            if compared is None:
                continue  # the table says so
            middle, low, high = compared
            # Of ours by theirs: for a peer the inverse says how much better ours is, unless more
            # is better; for a limit it is the other way round.
            if row.more_is_better == (kind is Kind.LIMIT):
                middle, low, high = 1 / middle, 1 / high, 1 / low
            good = middle >= 1 if kind is Kind.PEER else middle <= 1.5
            yield f"{row.name}: {found.name}", (low, middle, high), good


def _grown(row: Row) -> Any:
    """What grows with a thread, on scales of magnitudes."""
    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    theirs = iter(_THEIRS)
    for name, points in row.series.items():
        is_ours = any(found.name == name and found.kind is Kind.OURS for found in row.found)
        colour = _OURS if is_ours else next(theirs)
        style = "--" if "PostgreSQL" in name or "Postgres" in name else "-"
        factor = 1e3 if row.unit == "seconds" else 1e-6
        xs, ys = [x for x, _ in points], [y * factor for _, y in points]
        axes.plot(xs, ys, style, marker="o", markersize=3, color=colour, label=name)
    axes.set_xscale("log")
    axes.set_yscale("log")
    ticks = sorted({int(x) for points in row.series.values() for x, _ in points})
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    low, high = axes.get_ylim()
    steps = [n * 10.0**power for power in range(-3, 6) for n in (1, 2, 5)]
    axes.set_yticks([step for step in steps if low <= step <= high])
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlabel("turns")
    axes.set_ylabel("milliseconds" if row.unit == "seconds" else "MB")
    axes.set_title(_GROWN[row.name], fontsize=10, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, frameon=False)
    return figure


def _short(ratio: float) -> str:
    if ratio >= 100:
        return f"{ratio:,.0f} ×"
    return f"{ratio:.1f} ×" if ratio >= 10 else f"{ratio:.2f} ×"


def _saved(figure: Any, folder: Path, name: str) -> Iterator[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    for kind in _FORMATS:
        file = folder / f"{name}.{kind}"
        # Without the date: the same numbers make the same file.
        metadata = {"Date": None} if kind == "svg" else None
        figure.savefig(file, dpi=110, metadata=metadata)
        yield file
    pyplot.close(figure)
