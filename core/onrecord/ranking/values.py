"""The values of a ranking: what was said, the runs it stands in, and how well it answers."""

from __future__ import annotations

from typing import Final, NamedTuple

from onrecord.ranking.spoken import Spoken

RUN: Final = 16
"""Messages a run: those of a session with the same ``(seq - 1) // RUN``."""
NEIGHBOURS: Final = 2
"""Messages before and after a run that ``score`` has to be given beside it."""


class Said(NamedTuple):
    """A message as the ranking sees it."""

    session: int
    seq: int
    created: int
    """Microseconds since 1970."""
    role: str
    speaker: str
    """The name of who spoke, or empty."""
    text: str
    """Its text, with the names, arguments and results of tools."""
    spoken: Spoken | None = None
    """That text taken apart, where somebody has done so already."""


class Run(NamedTuple):
    """A run of a session by its signature."""

    session: int
    number: int
    terms: bytes


class Scored(NamedTuple):
    """A message that was found, and how well it answers: from 0 to about 1."""

    session: int
    seq: int
    score: float


def run_of(seq: int) -> int:
    """Give the number of the run that a message stands in."""
    return (seq - 1) // RUN
