"""Ask the ranking itself, with the conversation in memory and no store between."""

from __future__ import annotations

from datetime import UTC
from typing import Final

from onrecord.ranking import NEIGHBOURS, RUN, Query, Run, Said, choose, score, signature
from onrecord.ranking.parts import PARTS, Parts
from scripts.recall.data import Conversation, Turn
from scripts.recall.measure import Found

MOST: Final = 400


class InMemory:
    """One conversation, its runs signed."""

    def __init__(self, conversation: Conversation, parts: Parts = PARTS) -> None:
        self.parts = parts
        self._said: dict[tuple[int, int], Said] = {}
        self._ids: dict[tuple[int, int], str] = {}
        runs: dict[tuple[int, int], list[Said]] = {}
        length: dict[int, int] = {}
        for turn in conversation.turns:
            seq = length[turn.session] = length.get(turn.session, 0) + 1
            said = _said(turn, seq)
            self._said[turn.session, seq] = said
            self._ids[turn.session, seq] = turn.id
            runs.setdefault((turn.session, (seq - 1) // RUN), []).append(said)
        self.runs = [Run(*place, signature(each)) for place, each in runs.items()]

    def search(self, query: str, limit: int = MOST) -> list[Found]:
        """Give the turns that answer, the best first."""
        wanted = Query.of(query)
        if wanted.empty:
            return []
        chosen = choose(wanted, self.runs, parts=self.parts)
        found: list[Found] = []
        for tier in chosen.tiers:
            answers = score(wanted, chosen, self._read(tier), tier=tier)
            found += [Found(self._ids[each.session, each.seq], each.score) for each in answers]
            if len(found) >= limit:
                break
        return found[:limit]

    def _read(self, tier: list[Run]) -> list[Said]:
        """The messages of the runs of a tier, and their neighbours."""
        places: dict[tuple[int, int], None] = {}
        for run in tier:
            first = run.number * RUN + 1
            for seq in range(first - NEIGHBOURS, first + RUN + NEIGHBOURS):
                places[run.session, seq] = None
        return [self._said[place] for place in places if place in self._said]


def _said(turn: Turn, seq: int) -> Said:
    created = int(turn.when.replace(tzinfo=UTC).timestamp() * 1_000_000)
    return Said(turn.session, seq, created, "user", turn.speaker, turn.text)
