"""What was counted: in all, in a session, on a day. Values, and how they show themselves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

from onrecord.errors import shown
from onrecord.memory.notebook import table
from onrecord.plural import many
from onrecord.version import SessionInfo

MILLION: Final = 1_000_000
"""Confidence is summed up in millionths: fractions would not come back to nothing."""
COLUMNS: Final = (
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
            f"Messages: {self.messages:,}, with {many(self.tokens, 'token')}",
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
        found = self.to_dict()
        if name not in found:
            raise KeyError(f"{shown(name)}: a summary has {', '.join(found)}")
        return found[name]

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
        return table(
            ("Conversation analytics", ""), [_cells(line) for line in _rows(self)], numbers=True
        )


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


def _listed(title: str, lines: Iterable[str]) -> str:
    return "\n".join([f"{title}:", *[f"   {line}" for line in lines]])


def _rows(summary: Summary) -> list[str]:
    return [line.strip() for line in str(summary).splitlines()[1:]]


def _cells(line: str) -> list[str]:
    return list(line.partition(": ")[::2])
