"""What is looked for: words, "phrases" and -excluded ones, of what somebody typed."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from onrecord.ranking.asking import ASKING
from onrecord.ranking.days import is_date_word, terms_of_days
from onrecord.ranking.hashing import hashed
from onrecord.ranking.phrases import Phrase
from onrecord.ranking.related import KINDS, SAME
from onrecord.ranking.signature import name_term
from onrecord.ranking.words import folded, is_hangul, is_unspaced, terms_of, words

MOST_CHARACTERS: Final = 4_096
"""A query is read up to here."""
MOST_TERMS: Final = 48
"""And this many of its words are looked for: the first."""

RELATED: Final = 0.5
"""What a word is worth that is said for another."""

_SHORTEST_HALF: Final = 3
_SHORTEST_COMPOUND: Final = 7
_LONGEST_COMPOUND: Final = 30

_OPENING: Final = '"\N{LEFT DOUBLE QUOTATION MARK}'
_CLOSING: Final = '"\N{RIGHT DOUBLE QUOTATION MARK}'
_QUOTED: Final = re.compile(rf"(?:(?<=\s)|^)(-?)[{_OPENING}]([^{_OPENING}{_CLOSING}]*)[{_CLOSING}]")
_EXCLUDED: Final = re.compile(r"(?:(?<=\s)|^)-(?=[^\W_])(\S+)")
_QUOTE: Final = re.compile(rf"[{_OPENING}{_CLOSING}]")
_DASH: Final = re.compile(r"(?:(?<=\s)|^)-+(?=\S)")
_WHEN: Final = re.compile(
    r"^\W*when\b|\bwhen (?:did|was|is|were|does|do|will|has|have|had)\b|\bhow (?:long|often)\b"
    r"|\b(?:what|which) (?:date|day|month|year|time|week|season)\b|\bsince when\b"
    r"|\bhow many (?:years|months|weeks|days|hours)\b",
    re.IGNORECASE,
)


class Related(NamedTuple):
    """A term that stands for another, and how much of it it is worth."""

    term: str
    hash: bytes
    worth: float


class Term(NamedTuple):
    """A term that is looked for."""

    term: str
    hash: bytes
    related: tuple[Related, ...]
    speaker: str
    """The same word as the name of who speaks, or empty."""
    name: bytes
    """The hash of that name."""
    dated: bool
    """Whether it may be part of a day's name."""
    asking: bool
    """Whether it belongs to the asking more than to what is asked for."""
    halves: tuple[tuple[Related, Related], ...] = ()
    """The two words that a long one may be written as."""


class Query(NamedTuple):
    """What is looked for; ``empty`` where that is nothing."""

    terms: tuple[Term, ...]
    days: tuple[tuple[str, bytes], ...]
    phrases: tuple[Phrase, ...]
    excluded: tuple[Phrase, ...]
    when: bool
    """Whether it asks for a time."""

    @property
    def empty(self) -> bool:
        """Whether there is nothing to look for: no words, or only words that say nothing."""
        return not self.terms and not self.days

    @classmethod
    def of(cls, text: str, key: bytes = b"") -> Query:
        """Parse a query. Nothing in it is an operator of a database."""
        text = text[:MOST_CHARACTERS]
        phrases: list[Phrase] = []
        excluded: list[Phrase] = []

        def quoted(match: re.Match[str]) -> str:
            phrase = Phrase.of(match[2])
            if phrase.words:
                (excluded if match[1] else phrases).append(phrase)
            return " " if match[1] else f" {match[2]} "

        def without(match: re.Match[str]) -> str:
            phrase = Phrase.of(match[1])
            if phrase.words:
                excluded.append(phrase)
            return " "

        text = _EXCLUDED.sub(without, _QUOTED.sub(quoted, text))
        return cls(
            _terms(text, key),
            tuple((day, hashed(day, key)) for day in terms_of_days(text)),
            tuple(phrases),
            tuple(excluded),
            _WHEN.search(text) is not None,
        )


def as_said(text: str) -> str:
    """Take the operators out of what somebody said to somebody: a quote is a quote there, and a
    hyphen before a word is one of a list, a command or a number."""
    return _DASH.sub(" ", _QUOTE.sub(" ", text))


def _terms(text: str, key: bytes) -> tuple[Term, ...]:
    found: dict[str, Term] = {}
    spoken = words(text)
    for word in spoken:
        several = _of_a_query(terms_of(word))
        name = name_term(word.split("'")[0]) if len(several) == 1 else ""
        for term in several:
            if term in found:
                continue
            if len(found) == MOST_TERMS:
                break
            found[term] = Term(
                term,
                hashed(term, key),
                _related(term, key),
                name,
                hashed(name, key) if name else b"",
                is_date_word(word),
                term in ASKING,
            )
    _with_compounds(found, spoken, key)
    return tuple(found.values())


def _with_compounds(found: dict[str, Term], spoken: list[str], key: bytes) -> None:
    """Let ``road trip`` find roadtrip, and ``Krankenversicherung`` find Kranken Versicherung."""
    single = [_only_term(word) for word in spoken]
    for at in range(len(spoken) - 1):
        pair = single[at], single[at + 1]
        whole = _only_term(folded(spoken[at] + spoken[at + 1]))
        if whole and pair[0] != pair[1] and all(term in found for term in pair):
            related = Related(whole, hashed(whole, key), RELATED)
            for term in pair:
                if related not in found[term].related:
                    found[term] = found[term]._replace(related=(*found[term].related, related))
    for word, term in zip(spoken, single, strict=True):
        if term in found and _SHORTEST_COMPOUND <= len(word) <= _LONGEST_COMPOUND:
            found[term] = found[term]._replace(halves=_halves(folded(word), key))


def _only_term(word: str) -> str:
    """The term of a plain word, or nothing."""
    several = terms_of(word) if len(word) > 2 and word.isalpha() else ()
    return several[0] if len(several) == 1 and not is_unspaced(word[0]) else ""


def _halves(word: str, key: bytes) -> tuple[tuple[Related, Related], ...]:
    found = []
    for at in range(_SHORTEST_HALF, len(word) - _SHORTEST_HALF + 1):
        halves = [_only_term(half) for half in (word[:at], word[at:])]
        if all(halves):
            first, second = (Related(half, hashed(half, key), RELATED) for half in halves)
            found.append((first, second))
    return tuple(found)


def _of_a_query(several: tuple[str, ...]) -> tuple[str, ...]:
    """Look for pairs of letters where a word has them: a sign alone is found in too many others.

    A short Korean word keeps its first letter, which stays where its particle changes.
    """
    pairs = [term for term in several if len(term) > 1 or not is_unspaced(term)]
    if not pairs or (len(several) == 2 and is_hangul(several[0])):
        return several
    return tuple(pairs)


def _related(term: str, key: bytes) -> tuple[Related, ...]:
    others = dict.fromkeys(SAME.get(term, ()) + KINDS.get(term, ()))
    others.pop(term, None)
    return tuple(Related(other, hashed(other, key), RELATED) for other in others)
