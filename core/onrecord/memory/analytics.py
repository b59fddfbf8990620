"""Count turns: how many there were, how many were resolved, and how sure the answers were.

    analytics = Analytics(store)
    print(analytics.summary())

Each message is read once. A turn is a message of a user and all that answers it, until the next
one. What the messages of a turn say in their metadata is said of the turn, as an assistant's answer
does: ``{"resolved": True, "confidence": 0.92, "ticket_id": "T-17"}``. Where several say it, the
last one counts.
"""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from itertools import islice
from typing import Any, Final

from onrecord.adapters.calls import Talk, atalk, call, talk
from onrecord.arguments import whole_number
from onrecord.errors import Misconfigured
from onrecord.files import Into, Target
from onrecord.memory.analytics_lesson import (
    ALL,
    TICKETS,
    OfTurns,
    counts_of,
    first_of,
    is_day,
    roles_of,
)
from onrecord.memory.analytics_reports import (
    COLUMNS,
    Counts,
    DayStats,
    SessionStats,
    Summary,
)
from onrecord.memory.learning import Learner, Numbers, add, name_digest, numbers_of
from onrecord.memory.notebook import table
from onrecord.scope import ANY, AnyName
from onrecord.store import Store
from onrecord.version import SessionInfo

__all__ = ["Analytics", "Counts", "DayStats", "SessionStats", "Summary"]

_PAGE: Final = 1_000


class Analytics:
    """Counts what was said in the sessions of a scope; names that are left out mean every one.
    Holds nothing: what was counted is in items of the scope, and several processes share it."""

    def __init__(
        self, store: Store, *, tenant: AnyName = ANY, user: AnyName = ANY, agent: AnyName = ANY
    ) -> None:
        self._learner = Learner(store, OfTurns(), ["analytics"], tenant, user, agent)
        self._files = _Files()

    @property
    def store(self) -> Store:
        """The store that is counted in."""
        return self._learner.store

    def summary(self) -> Summary:
        """Count what is new, and sum up all."""
        return talk(self._summary())

    async def asummary(self) -> Summary:
        """Like ``summary``."""
        return await atalk(self._summary())

    def by_session(self, *, limit: int | None = None) -> list[SessionStats]:
        """Sum up each session, the one last active first; at most ``limit``."""
        return talk(self._by_session(limit))

    async def aby_session(self, *, limit: int | None = None) -> list[SessionStats]:
        """Like ``by_session``."""
        return await atalk(self._by_session(limit))

    def by_day(self) -> list[DayStats]:
        """Sum up each day, the earliest first. Days on which nothing was said are left out."""
        return talk(self._by_day())

    async def aby_day(self) -> list[DayStats]:
        """Like ``by_day``."""
        return await atalk(self._by_day())

    def to_dicts(self) -> list[dict[str, Any]]:
        """Sum up each session, as flat dicts of plain values."""
        return talk(self._dicts())

    async def ato_dicts(self) -> list[dict[str, Any]]:
        """Like ``to_dicts``."""
        return await atalk(self._dicts())

    def to_csv(self, target: Into) -> int:
        """Write a line for each session to a file that ends in .csv, all of it or nothing; how many
        lines. Or to a file that is open for bytes."""
        return talk(self._csv(target))

    async def ato_csv(self, target: Into) -> int:
        """Like ``to_csv``."""
        return await atalk(self._csv(target))

    def to_pandas(self) -> Any:
        """Make a DataFrame with a row for each session. It needs pandas."""
        return talk(self._pandas())

    async def ato_pandas(self) -> Any:
        """Like ``to_pandas``."""
        return await atalk(self._pandas())

    def plot(self) -> Any:
        """Draw turns and resolved turns by day, and return the figure. It needs matplotlib."""
        return talk(self._plot())

    async def aplot(self) -> Any:
        """Like ``plot``."""
        return await atalk(self._plot())

    def forget(self) -> bool:
        """Take away what was counted; whether there was any. Whoever asks next counts anew."""
        return talk(self._learner.forget())

    async def aforget(self) -> bool:
        """Like ``forget``."""
        return await atalk(self._learner.forget())

    def __str__(self) -> str:
        return str(self.summary())

    def __repr__(self) -> str:
        return f"Analytics({self.store!r}, {self._learner.scope})"

    def _repr_html_(self) -> str:
        days = self.by_day()[-14:]
        head = ("Day", "Turns", "Resolved", "Rate", "Confidence")
        return self.summary()._repr_html_() + table(
            head,
            [
                [
                    one.day.isoformat(),
                    f"{one.turns:,}",
                    f"{one.resolved:,}",
                    f"{one.resolution_rate:.1f}%",
                    "" if one.average_confidence is None else f"{one.average_confidence:.2f}",
                ]
                for one in days
            ],
        )

    # -- what happens then -------------------------------------------------------------------

    def _summary(self) -> Talk[Summary]:
        numbers = yield from self._learner.total()
        return Summary(
            **counts_of(numbers.get(ALL, [])),
            sessions=first_of(numbers, "sessions"),
            tickets=first_of(numbers, TICKETS),
            by_role=roles_of(numbers),
        )

    def _by_session(self, limit: int | None) -> Talk[list[SessionStats]]:
        most = None if limit is None else whole_number("limit", limit)
        sums = yield from self._learner.learn()
        if sums is None:
            return []
        known = yield from self._learner.each(sums)
        found: list[SessionStats] = []
        after: SessionInfo | None = None
        while most is None or len(found) < most:
            page = yield from call(
                self.store.sessions, limit=_PAGE, after=after, **self._learner.scope._asdict()
            )
            for info in page:
                name = name_digest(sums.salt, info.tenant, info.user, info.agent, info.key)
                numbers = numbers_of(known[name]) if name in known else {}
                if numbers:
                    found.append(_session_stats(info, numbers))
            if len(page) < _PAGE:
                break
            after = page[-1]
        return found[:most]

    def _by_day(self) -> Talk[list[DayStats]]:
        sums = yield from self._learner.learn()
        if sums is None:
            return []
        numbers = yield from self._learner.buckets(sums)
        days = sorted(numbers.items())
        return [DayStats(day=date.fromisoformat(day), **counts_of(row)) for day, row in days]

    def _dicts(self) -> Talk[list[dict[str, Any]]]:
        return [one.to_dict() for one in (yield from self._by_session(None))]

    def _csv(self, given: Into) -> Talk[int]:
        target = Target(given, ".csv")
        rows = yield from self._dicts()
        yield from call(self._files.write, target, rows)
        return len(rows)

    def _pandas(self) -> Talk[Any]:
        pandas = _needed("pandas", "to_pandas()")
        rows = yield from self._dicts()
        frame = pandas.DataFrame(rows, columns=list(COLUMNS))
        for name in ("created_at", "last_active"):
            frame[name] = pandas.to_datetime(frame[name], utc=True, format="ISO8601")
        return frame

    def _plot(self) -> Talk[Any]:
        figures = _needed("matplotlib.figure", "plot()")
        days = yield from self._by_day()
        figure = _shown_in_notebooks(figures.Figure)(figsize=(8, 3.5), layout="constrained")
        axes = figure.subplots()
        at = [one.day for one in days]
        axes.bar(at, [one.turns for one in days], color="#c7ccd4", label="turns")
        axes.bar(at, [one.resolved for one in days], color="#3b7dd8", label="resolved")
        axes.set_ylabel("turns a day (UTC)")
        axes.yaxis.get_major_locator().set_params(integer=True)
        dates = _needed("matplotlib.dates", "plot()")
        locator = dates.AutoDateLocator()
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))
        axes.legend(frameon=False)
        return figure


class _Files:
    """Writes a file, on a loop in a thread."""

    def write(self, target: Target, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write rows under their names, all or nothing."""
        target.open()
        try:
            waiting = iter(rows)
            target.write(_lines([COLUMNS]))
            while some := list(islice(waiting, _PAGE)):
                target.write(_lines([row.values() for row in some]))
            target.finish()
        finally:
            target.discard()

    async def awrite(self, target: Target, rows: Sequence[Mapping[str, Any]]) -> None:
        """Like ``write``."""
        await asyncio.to_thread(self.write, target, rows)


def _lines(rows: Iterable[Iterable[Any]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode("utf-8", "backslashreplace")


def _session_stats(info: SessionInfo, numbers: Numbers) -> SessionStats:
    total: list[int] = []
    for name, row in numbers.items():
        if is_day(name):
            add(total, row)
    return SessionStats(
        **counts_of(total),
        session=info,
        tickets=first_of(numbers, TICKETS),
        by_role=roles_of(numbers),
    )


def _shown_in_notebooks(figure: Any) -> Any:
    """A class of figures that show themselves: others do so only where pyplot was imported."""

    class Shown(figure):  # type: ignore[misc]
        def _repr_png_(self) -> bytes:
            picture = io.BytesIO()
            self.savefig(picture, format="png", dpi=100)
            return picture.getvalue()

    return Shown


def _needed(module: str, what: str) -> Any:
    from importlib import import_module

    name = module.partition(".")[0]
    try:
        return import_module(module)
    except ImportError as fault:
        raise Misconfigured(f'{what} needs {name}: pip install "onrecord[plots]"') from fault
