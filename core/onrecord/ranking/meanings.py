"""What an embedder adds: how near each message of the scope is to the query in meaning."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import fsum, sqrt
from typing import Final, NamedTuple

_OF_NEIGHBOURS: Final = 0.3
"""Share of the message before and the one after: a turn alone says too little."""


class Meanings(NamedTuple):
    """The nearness of each message to the query, in standard deviations from the mean."""

    nearness: Mapping[tuple[int, int], float]
    """By session and seq."""
    best: float
    """How far the nearest message stands out: 0 is the mean of them all, 1 is the query itself."""

    @classmethod
    def of(cls, similar: Mapping[tuple[int, int], float]) -> Meanings:
        """Take similarities (cosines, or what orders like them) of every message of the scope."""
        places = sorted(similar)
        near: list[float] = []
        for begin, end in _strips(places):
            near += _with_neighbours([similar[place] for place in places[begin:end]])
        if not near:
            return cls({}, 0.0)
        usual = fsum(similar.values()) / len(similar)
        best = (max(similar.values()) - usual) / (1 - usual) if usual < 1 else 0.0
        # fsum is exact, and so the same in whatever order the similarities come.
        mean = fsum(near) / len(near)
        spread = sqrt(fsum([(value - mean) ** 2 for value in near]) / len(near))
        if spread == 0:
            return cls(dict.fromkeys(places, 0.0), best)
        return cls(dict(zip(places, [(each - mean) / spread for each in near], strict=True)), best)


def _strips(places: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Where messages stand one behind another, of places in order. Each end is looked for by
    halves: a session with no gaps is one strip, however long it is."""
    begin = 0
    while begin < len(places):
        session, seq = places[begin]
        low, high = begin + 1, len(places)
        while low < high:
            middle = (low + high) // 2
            if places[middle] == (session, seq + middle - begin):
                low = middle + 1
            else:
                high = middle
        yield begin, low
        begin = low


def _with_neighbours(similar: Sequence[float]) -> list[float]:
    """Count in a share of the message before and of the one after."""
    share = _OF_NEIGHBOURS
    if len(similar) == 1:
        return [similar[0]]
    one = 1 + share
    both = one + share
    return [
        (similar[0] + share * similar[1]) / one,
        *[
            (own + share * before + share * after) / both
            for before, own, after in zip(similar, similar[1:], similar[2:], strict=False)
        ],
        (similar[-1] + share * similar[-2]) / one,
    ]
