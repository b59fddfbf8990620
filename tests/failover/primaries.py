"""Who takes writes, asked all the time: there must never be two."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterable
from typing import Final, NamedTuple

import psycopg

_OFTEN: Final = 0.1
_PATIENCE: Final = 10.0
"""For how many seconds those who ask are waited for: a frozen server keeps one until it ends."""
_ASK: Final = """
SELECT CASE WHEN NOT pg_is_in_recovery()
  THEN substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) END
"""


class Answer(NamedTuple):
    """A server said that it is the primary."""

    timeline: str
    """Each promotion begins one, so no two primaries have the same; they sort by age."""
    asked: int
    answered: int


class Primaries:
    """Asks each server, by its own address, whether it takes writes."""

    def __init__(self, addresses: Iterable[str]) -> None:
        self._answers: list[Answer] = []
        self._ends = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask, args=(address,), daemon=True)
            for address in addresses
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Ask no more."""
        self._ends.set()
        until = time.monotonic() + _PATIENCE
        for thread in self._threads:
            thread.join(max(0, until - time.monotonic()))

    @property
    def seen(self) -> bool:
        """Whether anybody said so at all."""
        return bool(self._answers)

    def seconds_without(self) -> float | None:
        """For how long nobody was the primary, as far as it was seen."""
        return seconds_between(self._answers)

    def seconds_after(self, moment: int) -> float:
        """For how long after this an old primary said that it is the primary."""
        return seconds_after(self._answers, moment)

    def _ask(self, address: str) -> None:
        while not self._ends.wait(_OFTEN):
            with contextlib.suppress(psycopg.Error):
                self._ask_until_it_goes(address)

    def _ask_until_it_goes(self, address: str) -> None:
        with psycopg.connect(address, autocommit=True, connect_timeout=2) as connection:
            while not self._ends.wait(_OFTEN):
                asked = time.monotonic_ns()
                row = connection.execute(_ASK).fetchone()
                if row is not None and row[0] is not None:
                    self._answers.append(Answer(row[0], asked, time.monotonic_ns()))


def seconds_between(answers: Iterable[Answer]) -> float | None:
    """The least time from the last question that an old primary answered to a newer one's first
    answer. Less than 0 where there were two at once; None where nobody took another's place."""
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    for timeline, asked, answered in answers:
        first[timeline] = min(answered, first.get(timeline, answered))
        last[timeline] = max(asked, last.get(timeline, asked))
    return min(
        ((first[new] - last[old]) / 1e9 for old in last for new in first if old < new),
        default=None,
    )


def seconds_after(answers: Iterable[Answer], moment: int) -> float:
    """How long after a moment any but the newest primary was asked for its last answer."""
    answers = list(answers)
    newest = max((answer.timeline for answer in answers), default="")
    late = [answer.asked - moment for answer in answers if answer.timeline != newest]
    return max(0.0, max(late, default=0) / 1e9)
