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
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from hashlib import blake2b
from html import escape
from itertools import islice
from typing import Any, Final

from onrecord.adapters.calls import Talk, atalk, call, talk
from onrecord.arguments import whole_number
from onrecord.errors import Misconfigured
from onrecord.files import Into, Target
from onrecord.memory.learning import Learner, Numbers, add, name_digest, numbers_of
from onrecord.message import Message
from onrecord.scope import ANY, AnyName
from onrecord.store import Store
from onrecord.version import SessionInfo

MILLION: Final = 1_000_000
"""Confidence is summed up in millionths: fractions would not come back to nothing."""
MOST_DAYS: Final = 400
"""Days of one session that are told apart; later messages count to the last of them."""
MOST_ROLES: Final = 16
"""Roles of one session that are told apart, each by its first 64 characters; others count as …"""
MOST_TICKETS: Final = 500
"""Tickets of one session that are counted."""
OTHER_ROLES: Final = "…"
_LONGEST_ROLE: Final = 64
_ALL: Final = "all"
_ROLE: Final = "role "
_TICKETS: Final = "tickets"
_PAGE: Final = 1_000
_EPOCH: Final = datetime.fromtimestamp(0, UTC)
_TURNS, _RESOLVED, _SURE, _RATED, _MESSAGES, _TOKENS = range(6)
"""Where each number of a day stands."""
_COLUMNS: Final = (
    "tenant",
    "user",
    "agent",
    "session",
    "title",
    "created_at",
    "last_active",
    "turns",
    "resolved",
    "resolution_rate",
    "average_confidence",
    "messages",
    "tokens",
    "tickets",
    "session_ticket_id",
    "session_resolved",
    "session_confidence",
)
"""Of ``SessionStats.to_dict``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What was counted in some turns."""

    turns: int = 0
    """Messages of users, each with all that answers it."""
    resolved: int = 0
    """Turns whose last word on it is ``resolved`` True."""
    rated: int = 0
    """Turns that say a ``confidence``, a number from 0 to 1."""
    messages: int = 0
    """All, also those before the first turn."""
    tokens: int = 0
    """As the store counted them."""
    millionths: int = field(default=0, repr=False)
    """The sum of all confidence, in millionths."""

    @property
    def resolution_rate(self) -> float:
        """Resolved turns of all turns, per cent, to one decimal; 0.0 where there is none."""
        return round(100 * self.resolved / self.turns, 1) if self.turns else 0.0

    @property
    def average_confidence(self) -> float | None:
        """Of the turns that say one, to four decimals; None where none does."""
        return round(self.millionths / MILLION / self.rated, 4) if self.rated else None

    def _lines(self) -> list[str]:
        sure = self.average_confidence
        return [
            f"Resolved turns: {self.resolved:,}",
            f"Resolution rate: {self.resolution_rate:.1f}%",
            f"Average confidence: {'not said' if sure is None else f'{sure:.2f}'}",
            f"Messages: {self.messages:,}, with {self.tokens:,} tokens",
        ]

    def _dict(self) -> dict[str, Any]:
        return {
            "turns": self.turns,
            "resolved": self.resolved,
            "resolution_rate": self.resolution_rate,
            "average_confidence": self.average_confidence,
            "messages": self.messages,
            "tokens": self.tokens,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary(Counts):
    """What was counted in all sessions of a scope. ``dict(summary)`` has the names that support
    agents use: total_turns, resolved, resolution_rate in per cent, average_confidence, …"""

    sessions: int = 0
    """In which there are messages."""
    tickets: int = 0
    """In each session the ``ticket_id`` that its messages name, each once."""
    by_role: Mapping[str, int] = field(default_factory=dict)
    """Messages by role, most first."""

    def keys(self) -> Iterable[str]:
        """Return the names that a summary has as a mapping."""
        return self.to_dict().keys()

    def __getitem__(self, name: str) -> Any:
        return self.to_dict()[name]

    def to_dict(self) -> dict[str, Any]:
        """Return it as a dict of plain values."""
        return {
            "total_turns": self.turns,
            "resolved": self.resolved,
            "resolution_rate": self.resolution_rate,
            "average_confidence": self.average_confidence,
            "sessions": self.sessions,
            "messages": self.messages,
            "tokens": self.tokens,
            "tickets": self.tickets,
            "by_role": dict(self.by_role),
        }

    def __str__(self) -> str:
        roles = ", ".join(f"{role} {count:,}" for role, count in self.by_role.items())
        return _listed(
            "CONVERSATION ANALYTICS",
            [f"Sessions: {self.sessions:,}", f"Total turns: {self.turns:,}", *self._lines()]
            + ([f"By role: {roles}"] if roles else []),
        )

    def _repr_html_(self) -> str:
        return _table([("Conversation analytics", "")], [_cells(line) for line in _rows(self)])


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionStats(Counts):
    """What was counted in one session."""

    session: SessionInfo = field(repr=False)
    """The session as it is now, its title and metadata too."""
    tickets: int = 0
    """How many tickets its messages name."""
    by_role: Mapping[str, int] = field(default_factory=dict)

    @property
    def ticket_id(self) -> Any:
        """What the session's own metadata says."""
        return self.session.metadata.get("ticket_id")

    def to_dict(self) -> dict[str, Any]:
        """Return it as a flat dict of plain values; what the session's metadata says has names that
        begin with ``session_``."""
        info = self.session
        about = info.metadata
        return {
            "tenant": info.tenant,
            "user": info.user,
            "agent": info.agent,
            "session": info.key,
            "title": info.title,
            "created_at": None if info.created_at is None else info.created_at.isoformat(),
            "last_active": None if info.last_active is None else info.last_active.isoformat(),
            **self._dict(),
            "tickets": self.tickets,
            "session_ticket_id": about.get("ticket_id"),
            "session_resolved": about.get("resolved"),
            "session_confidence": about.get("confidence"),
        }

    def __str__(self) -> str:
        whose = f" of {self.session.user!r}" if self.session.user else ""
        title = f"SESSION {self.session.key!r}{whose}"
        return _listed(title, [f"Turns: {self.turns:,}", *self._lines()])

    def __repr__(self) -> str:
        return (
            f"SessionStats({self.session.key!r}, turns={self.turns}, resolved={self.resolved}, "
            f"average_confidence={self.average_confidence}, messages={self.messages})"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DayStats(Counts):
    """What was counted on one day, by UTC. A turn is of the day on which it began, a message of
    that on which it was said."""

    day: date

    def to_dict(self) -> dict[str, Any]:
        """Return it as a dict of plain values."""
        return {"day": self.day.isoformat(), **self._dict()}

    def __str__(self) -> str:
        title = self.day.isoformat()
        return _listed(title, [f"Turns: {self.turns:,}", *self._lines()])


class Analytics:
    """Counts what was said in the sessions of a scope; names that are left out mean every one.
    Holds nothing: what was counted is in items of the scope, and several processes share it."""

    def __init__(
        self, store: Store, *, tenant: AnyName = ANY, user: AnyName = ANY, agent: AnyName = ANY
    ) -> None:
        self._learner = Learner(store, _OfTurns(), ["analytics"], tenant, user, agent)
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
        head = [("Day", ""), ("Turns", ""), ("Resolved", ""), ("Rate", ""), ("Confidence", "")]
        return self.summary()._repr_html_() + _table(
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
            **_counts(numbers.get(_ALL, [])),
            sessions=_first(numbers, "sessions"),
            tickets=_first(numbers, _TICKETS),
            by_role=_roles(numbers),
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
        return [DayStats(day=date.fromisoformat(day), **_counts(row)) for day, row in days]

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
        frame = pandas.DataFrame(rows, columns=list(_COLUMNS))
        for name in ("created_at", "last_active"):
            frame[name] = pandas.to_datetime(frame[name], utc=True, format="ISO8601")
        return frame

    def _plot(self) -> Talk[Any]:
        figures = _needed("matplotlib.figure", "plot()")
        days = yield from self._by_day()
        figure = figures.Figure(figsize=(8, 3.5), layout="constrained")
        axes = figure.subplots()
        at = [one.day for one in days]
        axes.bar(at, [one.turns for one in days], color="#c7ccd4", label="turns")
        axes.bar(at, [one.resolved for one in days], color="#3b7dd8", label="resolved")
        axes.set_ylabel("turns a day (UTC)")
        axes.yaxis.get_major_locator().set_params(integer=True)
        shown = at[:: len(at) // 12 + 1]
        axes.set_xticks(shown, [day.isoformat() for day in shown], rotation=30, ha="right")
        axes.legend(frameon=False)
        return figure


class _OfTurns:
    """What is counted of each message."""

    def begin(self) -> Any:
        """Return what is to be known before the first message of a session: the day of the turn
        that is open, "" for none; whether it was resolved, 1 or 0; its confidence in millionths, or
        -1; and the tickets that were named."""
        return ["", 0, -1, []]

    def hear(self, going: Any, numbers: Numbers, messages: Iterable[Message], salt: bytes) -> Any:
        """Count messages. Without a call for each part of each: 400,000 took 5 s with."""
        turn_day, resolved, sure, tickets = going
        roles: dict[str, int] = {}
        day, of = "", -1
        row = [0, 0, 0, 0, 0, 0]
        for message in messages:
            at = message.created_at or _EPOCH
            if at.tzinfo is not UTC:
                at = at.astimezone(UTC)
            if at.toordinal() != of:
                of = at.toordinal()
                day = _day(numbers, at)
                row = numbers[day]
            role = message.role
            roles[role] = roles.get(role, 0) + 1
            row[_MESSAGES] += 1
            row[_TOKENS] += max(message.tokens or 0, 0)
            if role == "user" and message.opens_turn:
                turn_day, resolved, sure = day, 0, -1
                row[_TURNS] += 1
            said = message.metadata
            if not said:
                continue
            if turn_day:
                turn = numbers[turn_day]
                if type(now := said.get("resolved")) is bool:
                    turn[_RESOLVED] += now - resolved
                    resolved = int(now)
                if (now := _millionths(said.get("confidence"))) >= 0:
                    turn[_SURE] += now - max(sure, 0)
                    turn[_RATED] += int(sure < 0)
                    sure = now
            ticket = _ticket(said, salt) if "ticket_id" in said else b""
            if ticket and ticket not in tickets and len(tickets) < MOST_TICKETS:
                tickets = [*tickets, ticket]
                add(numbers.setdefault(_TICKETS, []), [1])
        _add_roles(numbers, roles)
        return [turn_day, resolved, sure, tickets]

    def places(self, name: str) -> Iterable[tuple[str, str]]:
        """Sum days up by month, all of them, and the rest."""
        if name[:1].isdigit():
            return ((name[:7], name), ("", _ALL))
        return (("", name),)


def _day(numbers: Numbers, at: datetime) -> str:
    """The name of a day, for which there are numbers."""
    day = at.date().isoformat()
    if day not in numbers:
        days = [name for name in numbers if name[:1].isdigit()]
        if len(days) >= MOST_DAYS:
            return max(days)
        numbers[day] = [0, 0, 0, 0, 0, 0]
    return day


def _add_roles(numbers: Numbers, roles: Mapping[str, int]) -> None:
    """In the order in which they were first heard, so that the same ones are told apart."""
    for role, count in roles.items():
        name = _ROLE + role[:_LONGEST_ROLE]
        if name not in numbers and sum(n.startswith(_ROLE) for n in numbers) >= MOST_ROLES:
            name = _ROLE + OTHER_ROLES
        if name in numbers:
            numbers[name][0] += count
        else:
            numbers[name] = [count]


class _Files:
    """Writes a file, on a loop in a thread."""

    def write(self, target: Target, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write rows under their names, all or nothing."""
        target.open()
        try:
            waiting = iter(rows)
            target.write(_lines([_COLUMNS]))
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
        if name[:1].isdigit():
            add(total, row)
    return SessionStats(
        **_counts(total),
        session=info,
        tickets=_first(numbers, _TICKETS),
        by_role=_roles(numbers),
    )


def _counts(row: Sequence[int]) -> dict[str, int]:
    names = ("turns", "resolved", "millionths", "rated", "messages", "tokens")
    return dict(zip(names, row, strict=False))


def _first(numbers: Numbers, name: str) -> int:
    return numbers.get(name, [0])[0]


def _roles(numbers: Numbers) -> dict[str, int]:
    found = {name[len(_ROLE) :]: row[0] for name, row in numbers.items() if name.startswith(_ROLE)}
    return dict(sorted(found.items(), key=lambda one: (-one[1], one[0])))


def _millionths(said: object) -> int:
    """A confidence from 0 to 1; -1 for what is none."""
    if isinstance(said, bool) or not isinstance(said, int | float):
        return -1
    return round(said * MILLION) if 0 <= said <= 1 else -1


def _ticket(said: Mapping[str, Any], salt: bytes) -> bytes:
    """A digest of what names a ticket, a text or a number; nothing where there is none."""
    ticket = said.get("ticket_id")
    if isinstance(ticket, bool) or not isinstance(ticket, str | int) or ticket == "":
        return b""
    return blake2b(
        repr(ticket).encode("utf-8", "backslashreplace"), key=salt, digest_size=8
    ).digest()


def _needed(module: str, what: str) -> Any:
    from importlib import import_module

    name = module.partition(".")[0]
    try:
        return import_module(module)
    except ImportError as fault:
        raise Misconfigured(f"{what} needs {name}: pip install {name}") from fault


def _listed(title: str, lines: Iterable[str]) -> str:
    return "\n".join([f"{title}:", *[f"   {line}" for line in lines]])


def _rows(summary: Summary) -> list[str]:
    return [line.strip() for line in str(summary).splitlines()[1:]]


def _cells(line: str) -> list[str]:
    return list(line.partition(": ")[::2])


def _table(head: Sequence[tuple[str, str]], rows: Iterable[Sequence[str]]) -> str:
    cell = "padding:.15em .8em;text-align:right"
    first = "padding:.15em .8em;text-align:left"

    def row(cells: Sequence[str], kind: str) -> str:
        inside = "".join(
            f'<{kind} style="{first if n == 0 else cell}">{escape(text)}</{kind}>'
            for n, text in enumerate(cells)
        )
        return f"<tr>{inside}</tr>"

    body = "".join(row(cells, "td") for cells in rows)
    return f"<table>{row([name for name, _ in head], 'th')}{body}</table>"
