"""The parts of a score and what each weighs; measured by ``python -m scripts.recall --parts``."""

from __future__ import annotations

from typing import Final, NamedTuple


class Parts(NamedTuple):
    """Weights. A part of words is a share of what a perfect match would score."""

    turn: float = 3.0
    """The words of the message itself."""
    before: float = 6.0
    """The words of the message and the two before it: answers follow questions."""
    around: float = 4.0
    """The words of the message and the one on each side."""
    session: float = 3.0
    """How much of the query is anywhere in the session."""
    name: float = 1.0
    """It was said by somebody whom the query names."""
    time: float = 2.3
    """The query asks for a time, and the message has one."""
    day: float = 4.0
    """It was said on a day, in a month or a year that the query names."""
    answer: float = 0.7
    """The message before asks something."""
    telling: float = 0.9
    """Who speaks tells of themselves."""
    meaning: float = 0.65
    """How near it is in meaning, a standard deviation the unit."""
    names_as_words: float = 0.3
    """Share of its weight that a speaker's name keeps as a word."""
    days_as_words: float = 0.0
    """Share of its weight that a date keeps as words."""

    asking_words: float = 0.3
    """Share of its weight that a word of asking has for whether anything answers."""


PARTS: Final = Parts()

A_TIER: Final = 12
"""Runs that are read at once. Of the evidence 12 have all but 0.1 that all runs have in the first
ten, and all but 0.5 in the first fifty."""
