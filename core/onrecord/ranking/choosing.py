"""Choose the runs that are worth reading, by their signatures alone."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from math import log
from typing import Final, NamedTuple

from onrecord.ranking.meanings import Meanings
from onrecord.ranking.parts import A_TIER, PARTS, Parts
from onrecord.ranking.query import Query, Related, Term
from onrecord.ranking.values import RUN, Run, run_of

_LEAST: Final = 0.05
"""Weight of a word that is everywhere: something, so that a query of such words finds."""

_OF_THE_UNKNOWN: Final = 1.5
"""How much more a word that no run holds speaks against an answer than its weight."""
_BOTH: Final = 0.38
"""Brings what words and meaning are sure of to the scale of words alone."""


class Chosen(NamedTuple):
    """The runs to be read, and what scoring has to know of the others."""

    tiers: list[list[Run]]
    """The best first; a run that holds nothing is in none."""
    weights: tuple[float, ...]
    """Weight of each term of the query: the rarer among the runs, the more."""
    names: frozenset[str]
    """The names of speakers among the terms of the query."""
    sessions: Mapping[int, float]
    """How much of the query is in a session."""
    confidence: float
    """How much of the query is in one run at best: little, where nothing answers it."""
    meaning: float
    """Weight of meaning: more, where words find little."""
    perfect: float
    """What all terms weigh together."""
    halves: Mapping[int, tuple[Related, Related]]
    """For a term that no run holds, by its place in the query, the two words it is written as."""
    parts: Parts = PARTS


def choose(
    query: Query,
    runs: Iterable[Run],
    meanings: Meanings | None = None,
    *,
    parts: Parts = PARTS,
) -> Chosen:
    """Weigh runs by what they hold, and put them in tiers to be read one after the other."""
    index = _Index(sorted(runs, key=lambda run: (run.session, run.number)))
    named = [bool(term.name) and bool(index.holding(term.name)) for term in query.terms]
    days = [index.holding(day) for _, day in query.days]
    holding = [index.worth(term) for term in query.terms]
    halves = {
        at: two
        for at, term in enumerate(query.terms)
        if 1.0 not in holding[at].values() and (two := index.halves(term))
    }
    for at, two in halves.items():
        for place in index.holding_both(*two):
            holding[at][place] = 1.0
    count = len(index.runs)
    weights = tuple(
        rarity(len(runs_of), count)
        * (parts.names_as_words if name else 1.0)
        * (parts.days_as_words if term.dated and any(days) else 1.0)
        for term, runs_of, name in zip(query.terms, holding, named, strict=True)
    )
    names = frozenset(term.speaker for term, name in zip(query.terms, named, strict=True) if name)
    chosen = Chosen([], weights, names, {}, 1.0, 0.0, sum(weights), halves, parts)
    sure = _confidence(query, chosen, holding)
    chosen = chosen._replace(
        sessions=_sessions(index.runs, holding, chosen),
        confidence=sure if meanings is None else (sure + meanings.best) * _BOTH,
        meaning=parts.meaning * (2 - sure),
    )
    return chosen._replace(tiers=_tiers(query, index, holding, days, chosen, meanings))


def rarity(holding: int, runs: int) -> float:
    """Weigh a term by how rare it is among messages, as far as runs can tell.

    Messages that hold it are thought to fall among the runs by chance. Then the share of runs that
    have none of them says how many there are, also of words that nearly every run has.
    """
    share = (holding + 0.5) / (runs + 1)
    return max(_LEAST, log(RUN / -log(1 - share)))


class _Index:
    """Signatures laid end to end, so that looking up a hash is one search for all of them."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs = runs
        whole = [run.terms[: len(run.terms) & ~1] for run in runs]
        self._joined = b"".join(whole)
        self._starts = [0]
        self._holding: dict[bytes, list[int]] = {}
        for terms in whole:
            self._starts.append(self._starts[-1] + len(terms))

    def holding(self, wanted: bytes) -> list[int]:
        """Give the places of the runs that hold a hash."""
        found = self._holding.get(wanted)
        if found is None:
            found = self._holding[wanted] = self._found(wanted)
        return found

    def _found(self, wanted: bytes) -> list[int]:
        joined, starts = self._joined, self._starts
        found: list[int] = []
        at = joined.find(wanted)
        while at >= 0:
            if at & 1:  # the halves of two others
                at = joined.find(wanted, at + 1)
                continue
            place = bisect_right(starts, at) - 1
            found.append(place)
            at = joined.find(wanted, starts[place + 1])
        return found

    def worth(self, term: Term) -> dict[int, float]:
        """Give the places of the runs that hold a term, or one related, and what that is worth."""
        found = dict.fromkeys(self.holding(term.hash), 1.0)
        for related in term.related:
            for place in self.holding(related.hash):
                if found.get(place, 0.0) < related.worth:
                    found[place] = related.worth
        return found

    def halves(self, term: Term) -> tuple[Related, Related] | None:
        """Give the two words that a term is written as in a run."""
        return next((two for two in term.halves if self.holding_both(*two)), None)

    def holding_both(self, one: Related, other: Related) -> list[int]:
        """Give the places of the runs that hold two words."""
        first = self.holding(one.hash)
        second = set(self.holding(other.hash)) if first else ()
        return [place for place in first if place in second]


def _sessions(
    runs: Sequence[Run], holding: Sequence[Mapping[int, float]], chosen: Chosen
) -> dict[int, float]:
    """Weigh what of the query each session holds, in whichever of its runs."""
    found: dict[int, float] = {}
    if not chosen.perfect:
        return found
    for weight, places in zip(chosen.weights, holding, strict=True):
        for session in {runs[place].session for place in places}:
            found[session] = found.get(session, 0.0) + weight
    return {session: weight / chosen.perfect for session, weight in found.items()}


def _confidence(
    query: Query,
    chosen: Chosen,
    holding: Sequence[Mapping[int, float]],
) -> float:
    """How much of the query the best run holds. Who speaks is not counted: names are everywhere."""
    held: dict[int, float] = {}
    everything = 0.0
    for term, weight, places in zip(query.terms, chosen.weights, holding, strict=True):
        if term.speaker in chosen.names or (term.dated and query.days):
            continue
        if term.asking:
            weight *= chosen.parts.asking_words
        everything += weight if places else weight * _OF_THE_UNKNOWN
        for place, worth in places.items():
            held[place] = held.get(place, 0.0) + weight * worth
    return max(held.values(), default=0.0) / everything if everything else 1.0


def _tiers(
    query: Query,
    index: _Index,
    holding: Sequence[Mapping[int, float]],
    days: Sequence[list[int]],
    chosen: Chosen,
    meanings: Meanings | None,
) -> list[list[Run]]:
    parts, runs = chosen.parts, index.runs
    weighed: dict[int, float] = {}
    words = (parts.turn + parts.before + parts.around) / (chosen.perfect or 1.0)
    for weight, places in zip(chosen.weights, holding, strict=True):
        for place, worth in places.items():
            weighed[place] = weighed.get(place, 0.0) + words * weight * worth
    for places_of_day in days:
        for place in places_of_day:
            weighed[place] = weighed.get(place, 0.0) + parts.day / len(days)
    if meanings is not None:
        nearest = _nearest(meanings)
        for place, run in enumerate(runs):
            near = nearest.get((run.session, run.number))
            if near is not None:
                weighed[place] = weighed.get(place, 0.0) + chosen.meaning * near
    for term in query.terms:
        if term.speaker in chosen.names:
            for place in index.holding(term.name):
                weighed[place] = weighed.get(place, 0.0) + parts.name
    order = sorted(
        weighed,
        key=lambda place: (
            -weighed[place] - parts.session * chosen.sessions.get(runs[place].session, 0.0),
            place,
        ),
    )
    return [
        [runs[place] for place in order[at : at + A_TIER]] for at in range(0, len(order), A_TIER)
    ]


def _nearest(meanings: Meanings) -> dict[tuple[int, int], float]:
    """The nearest message of each run."""
    found: dict[tuple[int, int], float] = {}
    # They stand in order: a run is looked up when it begins, not for each of its messages.
    here, best = (-1, -1), float("-inf")
    for (session, seq), near in meanings.nearness.items():
        if session != here[0] or (seq - 1) // RUN != here[1]:
            here = session, run_of(seq)
            best = found.get(here, float("-inf"))
        if near > best:
            found[here] = best = near
    return found
