"""What a text has, whatever is asked: taken apart once, and then compared with any query."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Final, NamedTuple

from onrecord.ranking.words import terms_of, words

_FIRST_PERSON: Final = "I I'm I've I'd I'll my we we're we've we'd we'll our My We We're We've Our"
_TELLING: Final = frozenset(_FIRST_PERSON.split())
_TIMES: Final = """
yesterday today tonight tomorrow ago last next since week weekend month year morning evening
afternoon night recently summer winter spring autumn fall years months weeks days hours january
february march april june july august september october november december monday tuesday wednesday
thursday friday saturday sunday
"""
_TIME_WORDS: Final = frozenset(_TIMES.split()) | {word.title() for word in _TIMES.split()}
_TIME_NUMBERS: Final = re.compile(r"(?:[12][0-9]{3}|[0-9]+(?:am|pm|th|st|nd|rd))")
_DIGIT: Final = re.compile("[0-9]")


class Spoken(NamedTuple):
    """A text taken apart."""

    terms: Mapping[str, int]
    """How often it holds each of its terms."""
    words: int
    """How many words it has, all of them."""
    asks: bool
    """Whether there is a question in it."""
    tells: bool
    """Whether who speaks tells of themselves."""
    timed: bool
    """Whether it names a time."""

    @classmethod
    def of(cls, text: str) -> Spoken:
        """Take a text apart."""
        every = words(text)
        times = Counter(every)
        found: dict[str, int] = {}
        for word, count in times.items():
            for term in terms_of(word):
                found[term] = found.get(term, 0) + count
        timed = not _TIME_WORDS.isdisjoint(times)
        if not timed and _DIGIT.search(text):
            timed = any(map(_TIME_NUMBERS.fullmatch, times))
        return cls(found, len(every), "?" in text, not _TELLING.isdisjoint(times), timed)
