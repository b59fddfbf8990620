"""What it costs that somebody could watch: nothing that can be measured, while nobody does.

Beside our store stands one whose methods run their flows without asking whether anybody watches.
OpenTelemetry's API is imported, as by a web framework, and no SDK is set up. All sessions are in
one file each, since what lies in one file is read and written by its own state.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeVar

import opentelemetry.metrics
import opentelemetry.trace

from bench.data import TEXT
from bench.measuring import Contender, Kind, Row, Wanted, timed
from bench.place import Place
from onrecord import Session, Store
from onrecord.flow import Flow, run

T = TypeVar("T")

SAID: Final = ("user", TEXT)
NEWEST: Final = 20
WITHOUT: Final = "without the hook"
OURS: Final = "Onrecord, with OpenTelemetry's API and no SDK"
OFF: Final = "  telemetry=False"
_SETTINGS: Final = "a SQLite file of each one's own; they take turns, round by round"


class _Unwatched(Store):
    """A store that does not ask whether anybody watches."""

    def _run(self, flow: Flow[T], alter: object = None) -> T:
        return run(flow, self._perform)


def append(place: Place) -> Row:
    """One durable append."""

    def job(chat: Session) -> Callable[[], Any]:
        return partial(chat.append, SAID)

    return _row(place, "telemetry-append", "A durable append that nobody watches", job, 30)


def tail(place: Place) -> Row:
    """A tail out of the process' own memory, the shortest that a store does."""

    def job(chat: Session) -> Callable[[], Any]:
        chat.append([SAID] * 100)
        chat.tail(NEWEST)
        return partial(chat.tail, NEWEST)

    title = f"A tail of {NEWEST} out of the process' own memory that nobody watches"
    return _row(place, "telemetry-tail", title, job, 300)


def _row(
    place: Place, name: str, title: str, job: Callable[[Session], Callable[[], Any]], calls: int
) -> Row:
    assert opentelemetry.trace.get_tracer_provider() is not None
    assert opentelemetry.metrics.get_meter_provider() is not None
    with contextlib.ExitStack() as stack:

        def chat(kind: type[Store], which: str, **settings: Any) -> Session:
            file = place.file(f"{name} {which}")
            # The work of a disk spreads by more than what is measured here.
            made = kind(f"sqlite:///{file}", durability="normal", **settings)
            return stack.enter_context(made).session("k")

        found = timed(
            place.rounds(201, 21),  # short ones: a busy machine meets all three of a round
            [
                Contender(OURS, Kind.OURS, job(chat(Store, "ours"))),
                Contender(OFF, Kind.OURS, job(chat(Store, "off", telemetry=False))),
                Contender(WITHOUT, Kind.LIMIT, job(chat(_Unwatched, "without"))),
            ],
            calls=calls,
        )
    return Row(
        name=name,
        title=title,
        settings=f"{_SETTINGS}, synchronous NORMAL",
        unit="seconds",
        found=found,
        wanted=(
            Wanted(text="within 2 % of it", ours=OURS, beside=(WITHOUT,), at_most=1.02),
            Wanted(text="switched off, too", ours=OFF, beside=(WITHOUT,), at_most=1.02),
        ),
    )
