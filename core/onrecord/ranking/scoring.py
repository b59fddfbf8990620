"""Score the messages of the chosen runs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from onrecord.ranking.choosing import Chosen
from onrecord.ranking.days import day_of, terms_of_day
from onrecord.ranking.meanings import Meanings
from onrecord.ranking.parts import Parts
from onrecord.ranking.phrases import spoken_of
from onrecord.ranking.query import Query
from onrecord.ranking.signature import names_of
from onrecord.ranking.values import Run, Said, Scored, run_of
from onrecord.ranking.words import terms_of, words

RELEVANT: Final = 0.37
"""Below this score nothing answers the query."""

_OF_CONFIDENCE: Final = 0.7
"""Part of a score that says how sure it is that anything answers; the rest is the message's."""

_SATURATION: Final = 0.8
"""BM25's k1: how soon another mention of a word adds nothing."""
_SHORTENING: Final = 0.5
"""BM25's b: how much more often a long message has to say what a short one says once."""
_USUAL_WORDS: Final = 25
"""Words of a message of the usual length. Fixed, so that no message moves another's score."""

_TELLING: Final = re.compile(r"\b(?:I|my|we|our)\b")
_TIME: Final = re.compile(
    r"\b(?:yesterday|today|tonight|tomorrow|ago|last|next|since|week|weekend|month|year|morning"
    r"|evening|afternoon|night|recently|summer|winter|spring|autumn|fall|monday|tuesday|wednesday"
    r"|thursday|friday|saturday|sunday|january|february|march|april|june|july|august|september"
    r"|october|november|december|years|months|weeks|days|hours|[12][0-9]{3}|[0-9]+(?:am|pm|th|st))\b",
    re.IGNORECASE,
)


class _Found(NamedTuple):
    """What a message has of the query."""

    said: Said
    counts: Mapping[int, float]
    """How often it holds a term, by its place in the query."""
    length: int


def score(
    query: Query,
    chosen: Chosen,
    said: Iterable[Said],
    meanings: Meanings | None = None,
    *,
    tier: Sequence[Run] | None = None,
) -> list[Scored]:
    """Score messages, the best first, and equals the newest first.

    ``said`` are the messages of the runs of a tier, and beside each run ``NEIGHBOURS`` before and
    after it, which count for what they stand beside. Answered are those in runs of ``tier``; where
    none is named, in any that was chosen.
    """
    runs = {(run.session, run.number) for run in (tier or _all(chosen))}
    messages = {(each.session, each.seq): each for each in said}
    analyse = _Analyser(query)
    found = {place: analyse(message) for place, message in messages.items()}
    whole = _whole(chosen.parts)
    answers: list[tuple[float, int, int, int]] = []
    for place, own in found.items():
        session, seq = place
        if (session, run_of(seq)) not in runs or not _allowed(query, own.said):
            continue
        total = _words(chosen, found, own)
        total += chosen.parts.session * chosen.sessions.get(session, 0.0)
        if meanings is not None:
            total += chosen.parts.meaning * meanings.nearness.get(place, 0.0)
        total += _bonuses(query, chosen, own, found.get((session, seq - 1)))
        if total > 0:
            answers.append((-total, -own.said.created, session, seq))
    answers.sort()
    sure = chosen.confidence**_OF_CONFIDENCE
    return [
        Scored(session, seq, sure * (-minus / whole) ** (1 - _OF_CONFIDENCE))
        for minus, _, session, seq in answers
    ]


def _all(chosen: Chosen) -> list[Run]:
    return [run for tier in chosen.tiers for run in tier]


def _whole(parts: Parts) -> float:
    """What a message would score that has every word."""
    return parts.turn + parts.before + parts.around + parts.session


class _Analyser:
    """Finds the terms of one query in messages; each spelling is looked at once."""

    def __init__(self, query: Query) -> None:
        self._wanted: dict[str, list[tuple[int, float]]] = {}
        for at, term in enumerate(query.terms):
            self._wanted.setdefault(term.term, []).append((at, 1.0))
            for related in term.related:
                self._wanted.setdefault(related.term, []).append((at, related.worth))
        self._known: dict[str, list[tuple[int, float]]] = {}

    def __call__(self, said: Said) -> _Found:
        counts: dict[int, float] = {}
        known = self._known
        spoken = words(said.text)
        for word in spoken:
            places = known.get(word)
            if places is None:
                places = known[word] = [
                    place for term in terms_of(word) for place in self._wanted.get(term, ())
                ]
            for at, worth in places:
                counts[at] = counts.get(at, 0.0) + worth
        return _Found(said, counts, len(spoken))


def _words(chosen: Chosen, found: Mapping[tuple[int, int], _Found], own: _Found) -> float:
    """Score the words of a message, and of those it stands between."""
    perfect = chosen.perfect
    if not perfect:
        return 0.0
    session, seq = own.said.session, own.said.seq
    last = found.get((session, seq - 1))
    above = found.get((session, seq - 2)) if last else None
    following = found.get((session, seq + 1))
    parts = chosen.parts
    total = parts.turn * _bm25([own], chosen.weights, _SHORTENING)
    total += parts.before * _bm25([above, last, own], chosen.weights, 0.0)
    total += parts.around * _bm25([last, own, following], chosen.weights, _SHORTENING)
    return total / perfect


def _bm25(window: Sequence[_Found | None], weights: Sequence[float], shortening: float) -> float:
    """Score messages as one text: a share of what mentions without end would score."""
    counts: dict[int, float] = {}
    length = 0
    count = 0
    for each in window:
        if each is not None:
            length += each.length
            count += 1
            for at, times in each.counts.items():
                counts[at] = counts.get(at, 0.0) + times
    usual = count * _USUAL_WORDS
    norm = _SATURATION * (1 - shortening + shortening * length / usual)
    return sum(weights[at] * counts[at] / (counts[at] + norm) for at in sorted(counts))


def _bonuses(query: Query, chosen: Chosen, own: _Found, last: _Found | None) -> float:
    parts, said = chosen.parts, own.said
    total = 0.0
    if chosen.names and any(name in chosen.names for name in names_of(said.speaker)):
        total += parts.name
    if query.when and _TIME.search(said.text):
        total += parts.time
    if query.days:
        days = terms_of_day(day_of(said.created))
        total += parts.day * sum(day in days for day, _ in query.days) / len(query.days)
    if last is not None and "?" in last.said.text:
        total += parts.answer
    if _TELLING.search(said.text):
        total += parts.telling
    return total


def _allowed(query: Query, said: Said) -> bool:
    """Whether every phrase is there, and nothing that was excluded."""
    if not query.phrases and not query.excluded:
        return True
    spoken = spoken_of(said.text)
    return all(phrase.words in spoken for phrase in query.phrases) and not any(
        phrase.words in spoken for phrase in query.excluded
    )
