"""Score the messages of the chosen runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from onrecord.ranking.choosing import Chosen
from onrecord.ranking.days import day_of, terms_of_day
from onrecord.ranking.meanings import Meanings
from onrecord.ranking.parts import Parts
from onrecord.ranking.phrases import spoken_of
from onrecord.ranking.query import Query
from onrecord.ranking.signature import names_of
from onrecord.ranking.spoken import Spoken
from onrecord.ranking.values import NEIGHBOURS, Run, Said, Scored, run_of

RELEVANT: Final = 0.33
"""Below this score nothing answers the query."""

_OF_CONFIDENCE: Final = 0.8
"""Part of a score that says how sure it is that anything answers; the rest is the message's."""

_SATURATION: Final = 0.8
"""BM25's k1: how soon another mention of a word adds nothing."""
_SHORTENING: Final = 0.5
"""BM25's b: how much more often a long message has to say what a short one says once."""
_SHORTENING_BEFORE: Final = 0.25
"""The same where what went before counts: short answers follow long questions."""
_USUAL_WORDS: Final = 25
"""Words of a message of the usual length. Fixed, so that no message moves another's score."""


class _Found(NamedTuple):
    """What a message has of the query."""

    said: Said
    counts: dict[int, float]
    """How often it holds a term, by its place in the query."""
    spoken: Spoken


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
    scorer = _Scorer(query, chosen, said, meanings)
    answers: list[tuple[float, int, int, int]] = []
    for place, own in scorer.promising():
        if (place[0], run_of(place[1])) in runs and _allowed(query, own.said):
            total = scorer(place, own)
            if total > 0:
                answers.append((-total, -own.said.created, *place))
    answers.sort()
    sure = chosen.confidence**_OF_CONFIDENCE
    whole = _whole(chosen.parts)
    return [
        Scored(session, seq, sure * (-minus / whole) ** (1 - _OF_CONFIDENCE))
        for minus, _, session, seq in answers
    ]


def _all(chosen: Chosen) -> list[Run]:
    return [run for tier in chosen.tiers for run in tier]


def _whole(parts: Parts) -> float:
    """What a message would score that has every word."""
    return parts.turn + parts.before + parts.around + parts.session


class _Scorer:
    """Scores messages for one query; each spelling and each name is looked at once."""

    def __init__(
        self, query: Query, chosen: Chosen, said: Iterable[Said], meanings: Meanings | None
    ) -> None:
        self._query = query
        self._chosen = chosen
        self._near = meanings.nearness if meanings else {}
        self._only_names = all(term.speaker in chosen.names for term in query.terms)
        self._wanted: dict[str, list[tuple[int, float]]] = {}
        for at, term in enumerate(query.terms):
            self._wanted.setdefault(term.term, []).append((at, 1.0))
            for related in (*term.related, *chosen.halves.get(at, ())):
                self._wanted.setdefault(related.term, []).append((at, related.worth))
        self._terms = frozenset(self._wanted)
        self._named: dict[str, bool] = {}
        self.found = {(each.session, each.seq): self._analysed(each) for each in said}

    def promising(self) -> Iterable[tuple[tuple[int, int], _Found]]:
        """Leave out, where words decide, what has none and stands beside nothing that has one."""
        if self._near or self._query.days or self._only_names:
            return self.found.items()
        beside = {
            (session, seq + far)
            for (session, seq), each in self.found.items()
            if each.counts
            for far in range(-1, NEIGHBOURS + 1)
        }
        return [(place, each) for place, each in self.found.items() if place in beside]

    def __call__(self, place: tuple[int, int], own: _Found) -> float:
        """Score one message: 0 where it has nothing of the query, and nor have those beside it."""
        session, seq = place
        chosen, parts, found = self._chosen, self._chosen.parts, self.found
        last = found.get((session, seq - 1))
        above = found.get((session, seq - 2)) if last else None
        following = found.get((session, seq + 1))
        words = 0.0
        if chosen.perfect:
            words = parts.turn * self._bm25((own,), _SHORTENING)
            words += parts.before * self._bm25((above, last, own), _SHORTENING_BEFORE)
            words += parts.around * self._bm25((last, own, following), _SHORTENING)
            words /= chosen.perfect
        day = self._day(own.said) if self._query.days else 0.0
        named = bool(chosen.names) and self._is_named(own.said.speaker)
        near = self._near.get(place, 0.0)
        if not (words or day or near or (named and self._only_names)):
            return 0.0
        total = words + parts.session * chosen.sessions.get(session, 0.0)
        total += parts.day * day + parts.name * named + chosen.meaning * near
        if self._query.when and own.spoken.timed:
            total += parts.time
        if last is not None and last.spoken.asks:
            total += parts.answer
        if own.spoken.tells:
            total += parts.telling
        return total

    def _analysed(self, said: Said) -> _Found:
        spoken = said.spoken or Spoken.of(said.text)
        terms, wanted = spoken.terms, self._wanted
        counts: dict[int, float] = {}
        for term in self._terms.intersection(terms):
            times = terms[term]
            for at, worth in wanted[term]:
                counts[at] = counts.get(at, 0.0) + worth * times
        return _Found(said, counts, spoken)

    def _bm25(self, window: tuple[_Found | None, ...], shortening: float) -> float:
        """Score messages as one text: of a word mentioned without end, all of its weight."""
        counts: dict[int, float] = {}
        length = many = 0
        for each in window:
            if each is not None:
                length += each.spoken.words
                many += 1
                if not counts:
                    counts = each.counts
                elif each.counts:
                    counts = dict(counts)
                    for at, times in each.counts.items():
                        counts[at] = counts.get(at, 0.0) + times
        if not counts:
            return 0.0
        usual = length / (many * _USUAL_WORDS)
        norm = _SATURATION * (1 - shortening + shortening * usual)
        weights = self._chosen.weights
        total = 0.0
        for at in sorted(counts) if len(counts) > 1 else counts:
            times = counts[at]
            total += weights[at] * times / (times + norm)
        return total

    def _day(self, said: Said) -> float:
        """Share of the days that the query names on which it was said."""
        named = self._query.days
        days = terms_of_day(day_of(said.created))
        return sum(day in days for day, _ in named) / len(named)

    def _is_named(self, speaker: str) -> bool:
        named = self._named.get(speaker)
        if named is None:
            named = any(name in self._chosen.names for name in names_of(speaker))
            self._named[speaker] = named
        return named


def _allowed(query: Query, said: Said) -> bool:
    """Whether every phrase is there, and nothing that was excluded."""
    if not query.phrases and not query.excluded:
        return True
    spoken = spoken_of(said.text)
    return all(phrase.words in spoken for phrase in query.phrases) and not any(
        phrase.words in spoken for phrase in query.excluded
    )
