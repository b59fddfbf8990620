"""Conversations made by rules: as many as are wanted, and the same each time.

Words are made of syllables, some of them said far more often than others, as in any language. A
conversation goes over a few subjects, so that its words come again.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate, product
from random import Random
from typing import Final

_SYLLABLES: Final = [a + b for a, b in product("bdfgklmnprstvz", "aeiou")]
_WORDS: Final = [a + b + c for a, b, c in product(_SYLLABLES[::2], _SYLLABLES, ("", "n", "ter"))]
_COMMON: Final = ["I", "the", "a", "to", "and", "of", "you", "it", "that", "was", "is", "my", "in"]
_SUBJECTS: Final = 200
"""Words that a user comes back to."""
_AT_ONCE: Final = 4
"""Of which so many are what is spoken of for a while."""
_A_WHILE: Final = 50
"""Messages."""


class Talk:
    """What one user says and is told; of the same number always the same."""

    def __init__(self, number: int) -> None:
        self._random = random = Random(number)
        self._words = _shuffled()
        self.subjects = random.sample(self._words, _SUBJECTS)
        self._said = 0
        self._now: list[str] = []

    def text(self) -> str:
        """Say something: some 25 words, of which half are the little ones."""
        random = self._random
        if self._said % _A_WHILE == 0:
            self._now = random.sample(self.subjects, _AT_ONCE)
        self._said += 1
        many = random.randint(8, 42)
        said = random.choices(_COMMON, k=many // 2)
        said += random.choices(self._words, cum_weights=_weights(), k=many // 2 - 2)
        said += random.sample(self._now, 2)
        random.shuffle(said)
        return " ".join(said) + random.choice(".?.")

    def texts(self, count: int) -> Iterator[str]:
        """Say so many things."""
        return (self.text() for _ in range(count))

    def question(self) -> str:
        """Ask for something of which a part was said."""
        random = self._random
        asked = random.sample(self.subjects, 2)
        asked += random.choices(self._words, cum_weights=_weights(), k=2)
        return f"when did I {' '.join(asked)}"


_cache: dict[str, list[float]] = {}
_words: list[str] = []


def _shuffled() -> list[str]:
    if not _words:
        _words.extend(_WORDS)
        Random(0).shuffle(_words)
    return _words


def _weights() -> list[float]:
    """The n-th word is said a n-th as often as the first."""
    if not _cache:
        _cache["all"] = list(accumulate(1 / (n + 5) for n in range(len(_WORDS))))
    return _cache["all"]
