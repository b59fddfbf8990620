"""The parts of a score and what each weighs; measured by ``python -m scripts.recall --parts``."""

from __future__ import annotations

from typing import Final, NamedTuple


class Parts(NamedTuple):
    """Weights. A lexical part is a share of what a perfect match would score."""

    turn: float = 8.0
    """The words of the message itself."""
    window: float = 12.0
    """The words of the message, the one before and the one after, as one text."""
    session: float = 4.0
    """How many of the session's runs hold the words."""
    name: float = 2.0
    """It was said by somebody whom the query names."""
    time: float = 2.0
    """The query asks for a time, and the message has one."""
    length: float = 0.75
    """Longer messages say more, up to a point."""
    day: float = 4.0
    """It was said on a day, in a month or a year that the query names."""
    before: float = 0.3
    """Share of the score of the message before: answers follow questions."""
    after: float = 0.2
    """And of the one after."""
    meaning: float = 3.0
    """How near it is in meaning, a quarter of a standard deviation the unit."""
    names_as_words: float = 0.0
    """Share of its weight that a speaker's name keeps as a word."""


PARTS: Final = Parts()

SATURATION: Final = 1.2
"""BM25's k1: how soon another mention of a word adds nothing."""
PERFECT: Final = SATURATION + 1
"""What a word of idf 1 scores where it is mentioned without end."""
SHORTENING: Final = 0.5
"""BM25's b: how much a long message has to say more often what a short one says once."""
USUAL_WORDS: Final = 25
"""Words of a message of the usual length. Fixed, so that nobody's messages move another's score."""
USUAL_TERMS: Final = 160
"""Distinct terms of a run of the usual length."""
A_TIER: Final = 12
"""Runs that are read at once."""
