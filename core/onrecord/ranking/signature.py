"""The signature of a run: which terms its messages hold, as hashes."""

from __future__ import annotations

from collections.abc import Sequence

from onrecord.ranking.days import day_of, terms_of_day
from onrecord.ranking.hashing import hashed
from onrecord.ranking.values import Said
from onrecord.ranking.words import folded, terms, words


def signature(said: Sequence[Said], key: bytes = b"") -> bytes:
    """Sign the messages of one run: sorted distinct hashes of two bytes, little endian.

    In them are the terms of what was said, the names of who spoke, and the days.
    """
    found: set[str] = set()
    for message in said:
        found.update(terms(message.text))
        found.update(terms_of_day(day_of(message.created)))
        found.update(names_of(message.speaker))
    hashes = {int.from_bytes(hashed(term, key), "little") for term in found}
    return b"".join(number.to_bytes(2, "little") for number in sorted(hashes))


def names_of(speaker: str) -> list[str]:
    """Give the terms of a speaker's names, which are no words of what was said."""
    return [name_term(word) for word in words(speaker)[:8]]


def name_term(word: str) -> str:
    """Write a name as a term of its own kind."""
    return "name:" + folded(word)
