"""What an embedder adds: how near each message of the scope is to the query in meaning."""

from __future__ import annotations

from collections.abc import Mapping
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
        near: dict[tuple[int, int], float] = {}
        for (session, seq), own in similar.items():
            total, share = own, 1.0
            for beside in (similar.get((session, seq - 1)), similar.get((session, seq + 1))):
                if beside is not None:
                    total += _OF_NEIGHBOURS * beside
                    share += _OF_NEIGHBOURS
            near[session, seq] = total / share
        if not near:
            return cls({}, 0.0)
        usual = fsum(similar.values()) / len(similar)
        best = (max(similar.values()) - usual) / (1 - usual) if usual < 1 else 0.0
        # fsum is exact, and so the same in whatever order the similarities come.
        mean = fsum(near.values()) / len(near)
        spread = sqrt(fsum((value - mean) ** 2 for value in near.values()) / len(near))
        if spread == 0:
            return cls(dict.fromkeys(near, 0.0), best)
        return cls({place: (value - mean) / spread for place, value in near.items()}, best)
