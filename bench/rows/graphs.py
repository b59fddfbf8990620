"""What a checkpointer costs as a LangGraph thread grows: on disk, in the log, and in time.

The graph, and who keeps it, are those of ``bench/langgraph.py``. Time is measured in a run of its
own, in which nobody is watched.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from bench.langgraph import MARKS, TIMED, WINDOW, Contestant, contestants, played
from bench.measuring import Found, Kind, Row, Wanted
from bench.place import Place
from bench.report import written

FIRST: Final = MARKS[0]
LITE: Final = "SqliteSaver"
OUR_LITE: Final = "OnrecordSaver, SQLite"
POSTGRES: Final = "PostgresSaver"
OUR_POSTGRES: Final = "OnrecordSaver, PostgreSQL"
_BESIDE: Final = ((OUR_LITE, LITE), (OUR_POSTGRES, POSTGRES))
_GRAPH: Final = "a LangGraph thread of two messages a turn, 220 bytes each"
_TOO_SHORT: Final = f"What is wanted is about turn {MARKS[-1]}, which a quick run does not reach."

Series = dict[str, tuple[tuple[float, float], ...]]


class Costs(NamedTuple):
    """What everybody has taken, at each mark."""

    disk: Series
    written: Series


def size(place: Place) -> Row:
    """Bytes on disk after the last turn."""
    last, series = _marks(place)[-1], _costs(place).disk
    return Row(
        name="graph-size",
        title=f"On disk after {last} turns of {_GRAPH}",
        settings="whole files; whole tables with their indexes",
        unit="bytes",
        found=tuple(_last(series, name) for name in _names()),
        wanted=_if_long(
            place,
            Wanted(
                text=f"100 times smaller than with {LITE}",
                ours=OUR_LITE,
                beside=(LITE,),
                at_least=100,
            ),
        ),
        notes=_notes(place, series, "bytes"),
        series=series,
    )


def log(place: Place) -> Row:
    """Bytes that a turn writes, which have to stay as many."""
    last, series = _marks(place)[-1], _costs(place).written
    early = {name: f"{name}, turn {FIRST}" for name, _ in _BESIDE}
    return Row(
        name="graph-written",
        title=f"Written to the log by turn {last} of {_GRAPH}",
        settings=(
            f"the mean of the {WINDOW} turns before; whole pages on SQLite, which is kept from "
            f"folding its log back"
        ),
        unit="bytes",
        found=(
            *(_last(series, name) for name in _names()),
            *(
                Found(
                    name=early[name],
                    kind=Kind.OURS,
                    values=(dict(series[name])[FIRST],),
                    beside=name,
                )
                for name, _ in _BESIDE
            ),
        ),
        wanted=_if_long(
            place,
            *(
                Wanted(
                    text=f"{name} at most 1.2 times what turn {FIRST} writes",
                    ours=name,
                    beside=(early[name],),
                    at_most=1.2,
                )
                for name, _ in _BESIDE
            ),
        ),
        notes=_notes(place, series, "bytes"),
        series=series,
    )


def time(place: Place) -> Row:
    """Seconds a turn takes, that of the graph among them."""
    marks = _marks(place)
    with contestants(_folder(place), place.postgres, watched=False) as everybody:
        played(everybody, marks[-1], ())
        series = _series(everybody, marks, Contestant.time_at)
        by_name = {one.name: one for one in everybody}
        found = tuple(
            Found(
                name=name,
                kind=_kind(name),
                beside=_OURS_OF[name],
                values=tuple(seconds for seconds, *_ in by_name[name].turns[-TIMED:]),
            )
            for name in _names()
        )
    return Row(
        name="graph-time",
        title=f"Turn {marks[-1]} of {_GRAPH}",
        settings=(
            f"the {TIMED} turns before, with what the graph takes itself; synchronous FULL, fsync "
            f"on; a log folded back when each does it by itself"
        ),
        unit="seconds",
        found=found,
        wanted=_if_long(
            place,
            *(
                Wanted(text=f"faster than {theirs}", ours=ours, beside=(theirs,), at_least=1)
                for ours, theirs in _BESIDE
            ),
        ),
        notes=_notes(place, series, "seconds"),
        series=series,
    )


@functools.cache
def _costs(place: Place) -> Costs:
    """Of one run, which two rows are about."""
    marks = _marks(place)
    with contestants(_folder(place), place.postgres) as everybody:
        played(everybody, marks[-1], marks)
        return Costs(
            _series(everybody, marks, lambda one, mark: one.disk[mark]),
            _series(everybody, marks, lambda one, mark: one.mean_at(mark, 2)),
        )


def _folder(place: Place) -> Path:
    folder = place.file("graph").with_suffix("")
    folder.mkdir()
    return folder


def _marks(place: Place) -> tuple[int, ...]:
    return MARKS[:2] if place.quick else MARKS


def _series(
    everybody: list[Contestant],
    marks: tuple[int, ...],
    at: Callable[[Contestant, int], float],
) -> Series:
    return {one.name: tuple((mark, at(one, mark)) for mark in marks) for one in everybody}


def _names() -> tuple[str, ...]:
    return tuple(name for pair in _BESIDE for name in pair)


_OURS_OF: Final = {name: ours for ours, theirs in _BESIDE for name in (ours, theirs)}


def _kind(name: str) -> Kind:
    return Kind.OURS if name in dict(_BESIDE) else Kind.PEER


def _last(series: Series, name: str) -> Found:
    values = (series[name][-1][1],)
    return Found(name=name, kind=_kind(name), values=values, beside=_OURS_OF[name])


def _if_long(place: Place, *wanted: Wanted) -> tuple[Wanted, ...]:
    return () if place.quick else wanted


def _notes(place: Place, series: Series, unit: str) -> tuple[str, ...]:
    told = tuple(
        f"{name}: " + ", ".join(f"{written(value, unit)} at turn {mark}" for mark, value in points)
        for name, points in series.items()
    )
    return (*told, _TOO_SHORT) if place.quick else told
