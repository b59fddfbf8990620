"""What an episodic memory says of itself and of what it did: frozen values, the numbers first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from onrecord.memory.notebook import fields_of
from onrecord.plural import many


@dataclass(frozen=True, slots=True)
class EpisodeStatistics:
    """The episodes of an agent, counted, and how relevant they are now."""

    total_episodes: int
    avg_relevance: float
    """From 0 to 1; 0 where there are none."""
    by_type: Mapping[str, int]
    messages: int
    pinned: int
    uses: int
    """How often they were found by a search or read, as far as that is known here."""
    raw_bytes: int
    """What all messages of the agent in this scope take uncompressed."""
    stored_bytes: int
    """What they take as they are stored."""
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        types = ", ".join(f"{n:,} {kind}" for kind, n in self.by_type.items())
        lines = [
            f"{many(self.total_episodes, 'episode')}{f': {types}' if types else ''}",
            f"average relevance {self.avg_relevance:.2f}, {self.pinned:,} pinned",
            f"{many(self.stored_bytes, 'byte')} stored, {self.raw_bytes:,} uncompressed",
        ]
        return "\n".join([*lines, *(f"Warning: {warning}" for warning in self.warnings)])

    def _repr_html_(self) -> str:
        return fields_of("Episodes", self)


@dataclass(frozen=True, slots=True)
class EventStatistics:
    """The events of an agent, counted by the database: no message is read."""

    total_events: int
    sessions: int
    turns: int
    tokens: int
    raw_bytes: int
    stored_bytes: int
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [
            f"{many(self.total_events, 'event')} in {many(self.sessions, 'session')}",
            f"{many(self.stored_bytes, 'byte')} stored, {self.raw_bytes:,} uncompressed",
        ]
        return "\n".join([*lines, *(f"Warning: {warning}" for warning in self.warnings)])

    def _repr_html_(self) -> str:
        return fields_of("Events", self)


@dataclass(frozen=True, slots=True)
class Summarised:
    """A run of episodes that a summary stands in the place of, or would."""

    episodes: tuple[str, ...]
    """Their ids, the oldest first."""
    since: datetime
    until: datetime
    summary: str = ""
    """What it says; empty where that was not asked for: ``dry_run``."""
    id: str = ""
    """Of the episode that the summary is."""


@dataclass(frozen=True, slots=True)
class Consolidation:
    """What a consolidation has done, or would do."""

    dry_run: bool
    extractive: bool
    """Whether nobody gave a summariser: beginnings were kept, and nothing was put into words."""
    runs: tuple[Summarised, ...]
    skipped: tuple[Summarised, ...] = ()
    """Runs that somebody else changed, used or pinned meanwhile: they were left as they are."""
    kept: int = 0
    """How many old episodes are pinned, or damaged, and were kept for that."""

    @property
    def episodes(self) -> int:
        """How many episodes a summary stands in the place of."""
        return sum(len(run.episodes) for run in self.runs)

    def __str__(self) -> str:
        would = "would become" if self.dry_run else "became"
        how = " Without a summariser: the beginnings of what was said." if self.extractive else ""
        skipped = f" {many(len(self.skipped), 'run')} changed meanwhile." if self.skipped else ""
        kept = f" {_stay(self.kept)}, pinned or damaged." if self.kept else ""
        return (
            f"{many(self.episodes, 'episode')} {would} {many(len(self.runs), 'summary')}."
            f"{kept}{skipped}{how}"
        )


@dataclass(frozen=True, slots=True)
class Faded:
    """An episode that was forgotten, or would be."""

    id: str
    episode_type: str
    relevance: float
    last_said: datetime


@dataclass(frozen=True, slots=True)
class Forgetting:
    """What was forgotten, or would be."""

    dry_run: bool
    episodes: tuple[Faded, ...]
    skipped: tuple[Faded, ...] = ()
    """Those that somebody else changed, used or pinned meanwhile: they were left as they are."""
    kept: int = 0
    """How many are below, and were kept because they are pinned, or damaged."""

    def __str__(self) -> str:
        would = "would be forgotten" if self.dry_run else "forgotten"
        kept = f" {_stay(self.kept)}, pinned or damaged." if self.kept else ""
        skipped = f" {len(self.skipped):,} changed meanwhile." if self.skipped else ""
        return f"{many(len(self.episodes), 'episode')} {would}.{kept}{skipped}"


def _stay(n: int) -> str:
    return "1 stays" if n == 1 else f"{n:,} stay"
