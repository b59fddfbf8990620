"""Choose the runs that are worth reading, by their signatures alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import log
from typing import NamedTuple

from onrecord.ranking.meanings import Meanings
from onrecord.ranking.parts import A_TIER, PARTS, Parts
from onrecord.ranking.query import Query
from onrecord.ranking.values import Run, run_of


class Held(NamedTuple):
    """What a run holds of a query: the terms, the names and the days, by their places in it."""

    terms: tuple[int, ...]
    names: tuple[int, ...]
    days: tuple[int, ...]


class Chosen(NamedTuple):
    """The runs to be read, and what scoring has to know of the others."""

    tiers: list[list[Run]]
    """The best first; a run that holds nothing is in none."""
    idf: tuple[float, ...]
    """Weight of each term of the query: the rarer among the runs, the more."""
    names: frozenset[str]
    """The terms of the query that are names of speakers."""
    sessions: Mapping[int, tuple[float, ...]]
    """For a session, the share of its runs that hold each term."""
    parts: Parts = PARTS

    @property
    def perfect(self) -> float:
        """What a message would score for its words that holds all of them."""
        return sum(self.idf)


def choose(
    query: Query,
    runs: Iterable[Run],
    meanings: Meanings | None = None,
    *,
    parts: Parts = PARTS,
) -> Chosen:
    """Weigh runs by what they hold, and put them in tiers to be read one after the other."""
    ordered = sorted(runs, key=lambda run: (run.session, run.number))
    held = [_held(query, run.terms) for run in ordered]
    frequency = [0] * len(query.terms)
    named = [0] * len(query.terms)
    for each in held:
        for at in each.terms:
            frequency[at] += 1
        for at in each.names:
            named[at] += 1
    idf = tuple(
        idf_of(frequency[at], len(ordered)) * (parts.names_as_words if named[at] else 1.0)
        for at in range(len(query.terms))
    )
    sessions = _sessions(ordered, held, len(query.terms))
    names = frozenset(term.speaker for at, term in enumerate(query.terms) if named[at])
    chosen = Chosen([], idf, names, sessions, parts)
    return chosen._replace(tiers=_tiers(ordered, held, chosen, meanings))


def idf_of(frequency: int, runs: int) -> float:
    """Weigh a term that so many of the runs hold."""
    return log(1 + (runs - frequency + 0.5) / (frequency + 0.5))


def _held(query: Query, signature: bytes) -> Held:
    return Held(
        tuple(at for at, term in enumerate(query.terms) if holds(signature, term.hash)),
        tuple(
            at for at, term in enumerate(query.terms) if term.name and holds(signature, term.name)
        ),
        tuple(at for at, (_, day) in enumerate(query.days) if holds(signature, day)),
    )


def holds(signature: bytes, wanted: bytes) -> bool:
    """Whether a signature has a hash: at an even place, for odd ones are halves of two others."""
    at = signature.find(wanted)
    while at & 1:
        if at < 0:
            return False
        at = signature.find(wanted, at + 1)
    return True


def _sessions(
    runs: Sequence[Run], held: Sequence[Held], terms: int
) -> dict[int, tuple[float, ...]]:
    """Count for each session in what share of its runs a term is."""
    count: dict[int, int] = {}
    found: dict[int, list[int]] = {}
    for run, each in zip(runs, held, strict=True):
        count[run.session] = count.get(run.session, 0) + 1
        if each.terms:
            into = found.setdefault(run.session, [0] * terms)
            for at in each.terms:
                into[at] += 1
    return {
        session: tuple(number / count[session] for number in numbers)
        for session, numbers in found.items()
    }


def _tiers(
    runs: Sequence[Run], held: Sequence[Held], chosen: Chosen, meanings: Meanings | None
) -> list[list[Run]]:
    near = _nearest(meanings)
    perfect = chosen.perfect or 1.0
    parts = chosen.parts
    weighed: list[tuple[float, int]] = []
    for place, (run, each) in enumerate(zip(runs, held, strict=True)):
        nearest = near.get((run.session, run.number))
        if not (each.terms or each.names or each.days) and nearest is None:
            continue
        weight = (parts.turn + parts.window) * sum(chosen.idf[at] for at in each.terms) / perfect
        weight += parts.session * session_share(chosen, run.session)
        weight += parts.name * bool(each.names) + parts.day * len(each.days)
        weight += parts.meaning * (nearest or 0.0)
        weighed.append((-weight, place))
    weighed.sort()
    order = [runs[place] for _, place in weighed]
    return [order[at : at + A_TIER] for at in range(0, len(order), A_TIER)]


def session_share(chosen: Chosen, session: int) -> float:
    """How much of the query the runs of a session hold: 1 where each holds every term."""
    shares = chosen.sessions.get(session)
    if shares is None or not chosen.perfect:
        return 0.0
    return sum(idf * share for idf, share in zip(chosen.idf, shares, strict=True)) / chosen.perfect


def _nearest(meanings: Meanings | None) -> dict[tuple[int, int], float]:
    """The nearest message of each run."""
    found: dict[tuple[int, int], float] = {}
    for (session, seq), near in (meanings.nearness if meanings else {}).items():
        place = session, run_of(seq)
        if near > found.get(place, float("-inf")):
            found[place] = near
    return found
