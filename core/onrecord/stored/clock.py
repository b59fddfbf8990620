"""Time as it is stored, microseconds since 1970, and as people use it. No order depends on it."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Final

MICROSECONDS: Final = 1_000_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
EARLIEST: Final = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
LATEST: Final = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
"""What is outside of these two is no time that anybody stored."""

PERIOD: Final = 512 * MICROSECONDS
"""By so long a time lists are indexed: a session stands in one place of the index while its period
lasts, and PostgreSQL then rewrites its row without touching an index. An append a minute moves it
once in eight or nine. Within a period those who list sort by the exact time, so that a longer one
costs whoever lists the sessions of many."""

LONGEST_LIFE: Final = 10_000 * 365 * 86_400 * MICROSECONDS
"""The longest time after which something may expire: with a time of today it still is a number
that every database keeps."""


def now() -> int:
    """This machine's idea of the present."""
    return time.time_ns() // 1_000


def period_of(microseconds: int) -> int:
    """The period in which a time lies, counted from 1970."""
    return microseconds // PERIOD


def moment(microseconds: int) -> datetime:
    """Stored time as people use it, in UTC, to the microsecond."""
    # Multiplied: timedelta(0, 0, microseconds) takes half as long again, and by keyword longer.
    return _EPOCH + _MICROSECOND * microseconds


def nearest_moment(microseconds: int) -> datetime:
    """Like ``moment``; of what is damaged the nearest that is a time."""
    if EARLIEST <= microseconds <= LATEST:
        return _EPOCH + _MICROSECOND * microseconds
    return moment(within(microseconds))


def moment_or_none(microseconds: int) -> datetime | None:
    """Like ``moment``; None for what is damaged."""
    return moment(microseconds) if EARLIEST <= microseconds <= LATEST else None


def span(microseconds: int | None) -> timedelta | None:
    """A time span as people use it; None for none, or a damaged one."""
    if microseconds is None or microseconds <= 0:
        return None
    return timedelta(0, 0, microseconds)


def within(microseconds: int) -> int:
    """The same, or the nearest that is a time."""
    return min(max(microseconds, EARLIEST), LATEST)


def microseconds(moment: datetime) -> int:
    """Time as it is stored; a float of seconds would lose its last digits."""
    return (moment - _EPOCH) // _MICROSECOND
