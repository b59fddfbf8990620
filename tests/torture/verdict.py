"""What came of a run: reads what the workers wrote down, and judges it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from onrecord.health import Counters
from onrecord.testing import Appended, Attempted, Event, Fell, Read, Refused, Rewound, check, load
from onrecord.testing.pasts import pasts
from tests.torture.item_history import KINDS as ITEM_KINDS
from tests.torture.item_history import Said, check_items, lost_in_falls
from tests.torture.item_log import Changed, Got, load_items
from tests.torture.item_log import Refused as ItemRefused
from tests.torture.settings import MARGIN, REVALIDATE, SHARED, TURNED, Consistency

FEWEST_HITS: Final = 0.1
"""Which share of the reads of a tail has to be hits: else a run says nothing about a cache."""
_KINDS: Final = ("lost", "duplicated", "reordered", "split", "stale", "ghost")
_ENOUGH_GETS: Final = 200
"""So many items have to have been read before too few hits say anything."""
_AFTER_A_FALL: Final = 3_000_000_000
"""Nanoseconds in which a hit may differ from SQL, which fell back, and it is noted."""


@dataclass
class Verdict:
    """What came of a run."""

    seed: int
    seconds: float
    consistency: Consistency
    counters: Counters = field(default_factory=Counters)
    operations: Counter[str] = field(default_factory=Counter)
    deeds: list[tuple[float, str]] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    pooled: bool = False
    """Whether half of the workers reached the database through a pooler."""
    suspensions: int = 0
    stops: Counter[str] = field(default_factory=Counter)
    falls: int = 0
    lost: int = 0
    """Messages that were acknowledged, and that the database itself has lost."""
    lost_items: int = 0
    """Changes of items, likewise."""
    item_gets: int = 0
    item_hits: int = 0
    shown: list[float] = field(default_factory=list)
    """How long, in seconds, after the fall a read began that showed what was lost."""

    @property
    def hits(self) -> float:
        """The share of the reads of a tail that were hits."""
        return (self.counters.hits - self.item_hits) / max(1, self.operations["tail reads"])

    @property
    def hits_of_items(self) -> float:
        """The share of the reads of one item that were hits."""
        return self.item_hits / max(1, self.item_gets)

    def __str__(self) -> str:
        c, did = self.counters, "\n".join(f"  {at:7.2f} s  {what}" for at, what in self.deeds)
        operations = ", ".join(f"{n} {what}" for what, n in self.operations.items())
        kinds = ", ".join(
            f"{self.kinds[kind]} {'ghosts' if kind == 'ghost' else kind}"
            for kind in dict.fromkeys(_KINDS) | dict.fromkeys(self.kinds)
            if kind not in ITEM_KINDS
        )
        of_items = ", ".join(f"{self.kinds[kind]} {kind}" for kind in ITEM_KINDS)
        bound = "none may" if self.consistency == "strict" else f"{REVALIDATE:g} s are allowed"
        latest = f", the last {1000 * max(self.shown):.0f} ms after" if self.shown else ""
        stops = ", ".join(f"{n} {where}" for where, n in sorted(self.stops.items())) or "none"
        used = "used to save messages" if self.consistency == "strict" else "of the tail reads"
        return (
            f"seed {self.seed}, {self.seconds:g} s, consistency {self.consistency}, "
            f"{'half of the workers through PgBouncer' if self.pooled else 'no PgBouncer'}\n"
            f"\nwhat the nemesis did\n{did or '  nothing'}\n"
            f"\noperations  {operations}\n"
            f"cache       {c.hits - self.item_hits} hits ({self.hits:.0%} {used}), "
            f"{self.item_hits} of items ({self.hits_of_items:.0%} of their reads), "
            f"{c.misses} misses, "
            f"{c.degraded_reads} degraded, {c.fills} fills, {c.refused_fills} refused, "
            f"{c.validations} validations; {c.checked} compared with SQL\n"
            f"faults      {self.suspensions} times the cache was switched off; "
            f"processes and loops stopped: {stops}\n"
            f"falls       {self.falls} of the database, which lost {self.lost} acknowledged "
            f"messages and {self.lost_items} changes of items; {len(self.shown)} reads showed "
            f"messages of these before anything new was acknowledged{latest} ({bound})\n"
            f"violations  {kinds}\n"
            f"            {of_items}\n"
            + "".join(f"\n{violation}\n" for violation in self.violations[:20])
            + ("\nFAILED\n" if self.violations else "\nall is well\n")
        )


def falls_in(folder: Path) -> list[int]:
    """When the database had fallen back, from what the nemesis wrote down of one session."""
    written = (folder / "logs" / SHARED[0].encode().hex()).glob("nemesis.jsonl")
    return sorted(event.ended for event in load(written) if isinstance(event, Fell))


class Judge:
    """Reads what the workers wrote down."""

    def __init__(self, folder: Path, verdict: Verdict, falls: Sequence[int]) -> None:
        self.folder = folder
        self.verdict = verdict
        self.falls = falls
        cached = verdict.consistency == "cached"
        self._said: list[Said] = []
        self._shown_for = int((REVALIDATE + MARGIN) * 1e9) if cached else 0

    def judge(self) -> None:
        """Everything that is wrong in what was seen, and whether the cache was used at all."""
        self.verdict.falls = len(self.falls)
        self._read_notes()
        for folder in sorted((self.folder / "logs").iterdir()):
            key = bytes.fromhex(folder.name).decode()
            self._judge_session(key, load(folder.iterdir()))
        self._judge_items()
        self.too_few_hits()

    def too_few_hits(self) -> None:
        """Whether the cache was used at all."""
        if self.verdict.hits < FEWEST_HITS:
            self._wrong(
                "meaningless",
                f"fewer than {FEWEST_HITS:.0%} of the reads were hits: it means nothing",
            )
        many = self.verdict.item_gets >= _ENOUGH_GETS and self.verdict.consistency == "cached"
        if many and self.verdict.hits_of_items < FEWEST_HITS:
            self._wrong(
                "meaningless",
                f"fewer than {FEWEST_HITS:.0%} of the items read were hits: it means nothing",
            )

    def _read_notes(self) -> None:
        total = self.verdict.counters
        suspensions = set()
        for path in self.folder.glob("*.notes"):
            last: dict[str, int] = {}
            items = {"gets": 0, "hits": 0}
            for line in path.read_bytes().split(b"\n")[:-1]:
                note = json.loads(line)
                last = note.get("counters", last)
                items = note.get("items", items)
                self.verdict.operations["failed calls"] += note.get("failed", 0)
                if "suspension" in note:
                    suspensions.add(note["suspension"])
                if "stopped" in note:
                    self.verdict.stops[f"at a {note['stopped']}"] += 1
                if "turn" in note:
                    self.verdict.operations[f"turns {note['turn']}"] += 1
                if "stalled" in note:
                    self.verdict.stops["in a loop"] += 1
                if "disagreed" in note and not self._has_just_fallen(note["disagreed"]):
                    self._wrong("disagreed", f"{path.stem} compared a hit that SQL contradicted")
            self.verdict.item_gets += items["gets"]
            self.verdict.item_hits += items["hits"]
            for name, n in last.items():
                setattr(total, name, getattr(total, name) + n)
        self.verdict.suspensions = len(suspensions)

    def _has_just_fallen(self, at: int) -> bool:
        return any(fall - _AFTER_A_FALL < at < fall + _AFTER_A_FALL for fall in self.falls)

    def _judge_session(self, key: str, events: list[Event]) -> None:
        self._count(events)
        if key == TURNED:
            self._judge_turns(events)
        if key in SHARED:
            for event in events:
                if isinstance(event, Read | Fell):
                    self._said += [Said(t, event.began, event.ended) for _, t in event.messages]
        for violation in check(events, most=100_000, shown_for=self._shown_for):
            self._wrong(violation.kind, f"session {key}: {violation}")

    def _judge_turns(self, events: list[Event]) -> None:
        """Whether what one turn said stands in a row, and in its order."""
        reads = [e for e in events if isinstance(e, Read) and e.tail is None]
        said = [text for _, text in max(reads, key=lambda read: read.ended).messages]
        over: set[str] = set()
        turn, last = "", -1
        for text in said:
            whose, _, number = text.rpartition(".")
            if whose != turn:
                over.add(turn)
                turn, last = whose, -1
            if whose in over or int(number) <= last:
                self._wrong("torn", f"turn {whose} of {TURNED!r}: {text} came when it was over")
            last = int(number)

    def _judge_items(self) -> None:
        """Everything that is wrong in what was seen of items."""
        events = load_items((self.folder / "items").glob("*.jsonl"))
        n = self.verdict.operations
        for event in events:
            match event:
                case Changed():
                    n["changes of items"] += 1
                case ItemRefused():
                    n["refused"] += 1
                case Got():
                    n["reads of items"] += 1
                case _:
                    pass
        self.verdict.lost_items = lost_in_falls(events)
        for wrong in check_items(events, said=self._said, shown_for=self._shown_for):
            self._wrong(wrong.kind, f"{wrong.kind}: {wrong.what}")

    def _wrong(self, kind: str, what: str) -> None:
        self.verdict.kinds[kind] += 1
        self.verdict.violations.append(what)

    def _count(self, events: list[Event]) -> None:
        n = self.verdict.operations
        began = {e.began: e for e in events if isinstance(e, Attempted)}
        for e in events:
            match e:
                case Read():
                    n["whole reads" if e.tail is None else "tail reads"] += 1
                case Appended():
                    n["appends"] += 1
                    began.pop(e.began, None)
                case Refused():
                    began.pop(e.began, None)
                case Rewound() if e.ended is not None:
                    n["rewinds and clears"] += 1
                case _:
                    pass
        n["appends without an answer"] += len(began)
        falls = sorted((e for e in events if isinstance(e, Fell)), key=lambda fall: fall.ended)
        for fall, past in zip(falls, pasts(events, self._shown_for), strict=False):
            kept = {name for _, name in fall.messages}
            cut = any(isinstance(e, Rewound) for e in past)
            for e in past:
                if isinstance(e, Appended) and e.ended <= fall.ended and not cut:
                    self.verdict.lost += sum(name not in kept for name in e.ids)
                if isinstance(e, Read) and e.began >= fall.ended:
                    self.verdict.shown.append((e.began - fall.ended) / 1e9)
