"""What Analytics counts of each message, and how it is read back out of sums."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, Final

from onrecord.memory.analytics_reports import MILLION
from onrecord.memory.learning import Numbers, add
from onrecord.message import Message

MOST_DAYS: Final = 400
"""Days of one session that are told apart; later messages count to the last of them."""
MOST_ROLES: Final = 16
"""Roles of one session that are told apart, each by its first 64 characters; others count as …"""
MOST_TICKETS: Final = 500
"""Tickets of one session that are counted."""
OTHER_ROLES: Final = "…"
_LONGEST_ROLE: Final = 64
ALL: Final = "all"
_ROLE: Final = "role "
TICKETS: Final = "tickets"
_EPOCH: Final = datetime.fromtimestamp(0, UTC)
_TURNS, _RESOLVED, _SURE, _RATED, _MESSAGES, _TOKENS = range(6)
"""Where each number of a day stands."""


class OfTurns:
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
            if role == "user" and message.opens_turn and message.was_said:
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
                add(numbers.setdefault(TICKETS, []), [1])
        _add_roles(numbers, roles)
        return [turn_day, resolved, sure, tickets]

    def places(self, name: str) -> Iterable[tuple[str, str]]:
        """Sum days up by month, all of them, and the rest."""
        if is_day(name):
            return ((name[:7], name), ("", ALL))
        return (("", name),)


def _day(numbers: Numbers, at: datetime) -> str:
    """The name of a day, for which there are numbers."""
    day = at.date().isoformat()
    if day not in numbers:
        days = [name for name in numbers if is_day(name)]
        if len(days) >= MOST_DAYS:
            return max(days)
        numbers[day] = [0, 0, 0, 0, 0, 0]
    return day


def _add_roles(numbers: Numbers, roles: Mapping[str, int]) -> None:
    """In the order in which they were first heard, so that the same ones are told apart."""
    for role, count in roles.items():
        name = _ROLE + role[:_LONGEST_ROLE]
        if (
            name not in numbers
            and len(numbers) >= MOST_ROLES
            and sum(n.startswith(_ROLE) for n in numbers) >= MOST_ROLES
        ):
            name = _ROLE + OTHER_ROLES
        if name in numbers:
            numbers[name][0] += count
        else:
            numbers[name] = [count]


def is_day(name: str) -> bool:
    """Whether a number is of a day."""
    return name[:1].isdigit()


def counts_of(row: Sequence[int]) -> dict[str, int]:
    """The numbers of a day, or of several, under the names of ``Counts``."""
    names = ("turns", "resolved", "millionths", "rated", "messages", "tokens")
    return dict(zip(names, row, strict=False))


def first_of(numbers: Numbers, name: str) -> int:
    """A number that stands alone."""
    return numbers.get(name, [0])[0]


def roles_of(numbers: Numbers) -> dict[str, int]:
    """Messages by role, most first."""
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
