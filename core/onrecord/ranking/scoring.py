"""Score the messages of the chosen runs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from onrecord.ranking.choosing import Chosen, session_share
from onrecord.ranking.days import day_of, terms_of_day
from onrecord.ranking.meanings import Meanings
from onrecord.ranking.parts import PERFECT, SATURATION, SHORTENING, USUAL_WORDS, Parts
from onrecord.ranking.phrases import spoken_of
from onrecord.ranking.query import Query
from onrecord.ranking.signature import names_of
from onrecord.ranking.values import Run, Said, Scored, run_of
from onrecord.ranking.words import terms_of, words

RELEVANT: Final = 0.2
"""Below this score nothing answers the query."""

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
    counts: tuple[tuple[int, int], ...]
    """The terms it holds and how often, by their places in the query."""
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
    runs = {(run.session, run.number) for run in tier or _all(chosen)}
    ordered = {(each.session, each.seq): each for each in said}
    places = sorted(ordered)
    analyse = _Analyser(query)
    found = {place: analyse(ordered[place]) for place in places}
    bare = {place: _bare(query, chosen, found, place) for place in places}
    answers: list[tuple[float, int, int, int]] = []
    whole = _whole(chosen.parts)
    for place in places:
        session, seq = place
        message = ordered[place]
        if (session, run_of(seq)) not in runs or not _allowed(query, message):
            continue
        total = bare[place]
        total += chosen.parts.before * bare.get((session, seq - 1), 0.0)
        total += chosen.parts.after * bare.get((session, seq + 1), 0.0)
        total += chosen.parts.session * session_share(chosen, session)
        total += _bonuses(query, chosen, found[place])
        if meanings is not None:
            total += chosen.parts.meaning * meanings.nearness.get(place, 0.0) / 4
        if total > 0:
            answers.append((-(total / whole), -message.created, session, seq))
    answers.sort()
    return [Scored(session, seq, -minus) for minus, _, session, seq in answers]


def _all(chosen: Chosen) -> list[Run]:
    return [run for tier in chosen.tiers for run in tier]


def _whole(parts: Parts) -> float:
    """What a message would score that has everything."""
    shared = (parts.turn + parts.window) * (1 + parts.before + parts.after)
    return shared + parts.session


class _Analyser:
    """Finds the terms of one query in messages; each spelling is looked at once."""

    def __init__(self, query: Query) -> None:
        self._wanted = {term.term: at for at, term in enumerate(query.terms)}
        self._known: dict[str, tuple[int, ...]] = {}

    def __call__(self, said: Said) -> _Found:
        counts: dict[int, int] = {}
        known = self._known
        spoken = words(said.text)
        for word in spoken:
            places = known.get(word)
            if places is None:
                wanted = self._wanted
                places = tuple(wanted[term] for term in terms_of(word) if term in wanted)
                known[word] = places
            for at in places:
                counts[at] = counts.get(at, 0) + 1
        return _Found(said, tuple(sorted(counts.items())), len(spoken))


def _bare(
    query: Query, chosen: Chosen, found: dict[tuple[int, int], _Found], place: tuple[int, int]
) -> float:
    """The words of a message and of its window."""
    perfect = chosen.perfect
    if not perfect:
        return 0.0
    session, seq = place
    own = found[place]
    window = [own]
    window += [each for at in (seq - 1, seq + 1) if (each := found.get((session, at)))]
    counts: dict[int, int] = {}
    for each in window:
        for at, count in each.counts:
            counts[at] = counts.get(at, 0) + count
    if not counts:
        return 0.0
    length = sum(each.length for each in window)
    parts = chosen.parts
    return (
        parts.turn * _bm25(own.counts, chosen.idf, own.length / USUAL_WORDS)
        + parts.window
        * _bm25(tuple(sorted(counts.items())), chosen.idf, length / (3 * USUAL_WORDS))
    ) / (perfect * PERFECT)


def _bm25(counts: Iterable[tuple[int, int]], idf: Sequence[float], length: float) -> float:
    norm = SATURATION * (1 - SHORTENING + SHORTENING * length)
    total = 0.0
    for at, count in counts:
        total += idf[at] * count * PERFECT / (count + norm)
    return total


def _bonuses(query: Query, chosen: Chosen, found: _Found) -> float:
    parts = chosen.parts
    said = found.said
    total = parts.length * min(1.0, found.length / USUAL_WORDS)
    if chosen.names and any(name in chosen.names for name in names_of(said.speaker)):
        total += parts.name
    if query.when and _TIME.search(said.text):
        total += parts.time
    if query.days:
        days = terms_of_day(day_of(said.created))
        total += parts.day * sum(day in days for day, _ in query.days) / len(query.days)
    return total


def _allowed(query: Query, said: Said) -> bool:
    """Whether every phrase is there, and nothing that was excluded."""
    if not query.phrases and not query.excluded:
        return True
    spoken = spoken_of(said.text)
    return all(phrase.words in spoken for phrase in query.phrases) and not any(
        phrase.words in spoken for phrase in query.excluded
    )
