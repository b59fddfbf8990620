"""Words that have to stand in a message one after the other, or must not."""

from __future__ import annotations

from typing import NamedTuple

from onrecord.ranking.words import folded, is_unspaced, words


class Phrase(NamedTuple):
    """A phrase as it is compared: its words folded, nothing stemmed."""

    words: str

    @classmethod
    def of(cls, text: str) -> Phrase:
        """Take the words of a text as a phrase; none where it has no words."""
        spoken = spoken_of(text).strip()
        if not spoken:
            return cls("")
        before = "" if is_unspaced(spoken[0]) else " "
        after = "" if is_unspaced(spoken[-1]) else " "
        return cls(f"{before}{spoken}{after}")


def spoken_of(text: str) -> str:
    """Write a text for phrases to be looked up in: its words folded, a space around each."""
    return f" {' '.join(folded(part) for part in words(text))} "
