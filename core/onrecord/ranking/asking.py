"""English words that belong to the asking: what is said of a thing seldom has them."""

from __future__ import annotations

from typing import Final

from onrecord.ranking.english import IRREGULAR
from onrecord.ranking.stemmer import stem

_WORDS: Final = """
describe mention say tell talk discuss explain state refer reveal express
kind type sort form name call title example specific particular general various
thing something anything someone somebody anyone everyone
happen use consider likely possible regard concern relate involve
many often long current recent previous exact approximate
opinion attitude reaction sentiment reason
"""

ASKING: Final = frozenset(stem(IRREGULAR.get(word, word)) for word in _WORDS.split())
