"""The checker of items finds what it is for, and is silent about what may be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest

from onrecord import Store
from tests.torture.item_history import Kind, Said, check_items, lost_in_falls
from tests.torture.item_log import (
    Changed,
    Changing,
    Event,
    Fell,
    Got,
    ItemLog,
    Name,
    Part,
    Refused,
    Shown,
    Unknown,
    Value,
    load_items,
)
from tests.torture.items import BATCH, COUNTS, FACTS, PAIRS, PROFILES, SAID

FACT, OTHER = FACTS[:2]
COUNT = COUNTS[0]
PROFILE = PROFILES[0]
HELLO = Name(SAID, "hello")
ALL = ("facts", "counts", "profiles", "batch", "pairs", SAID)


def by(one: str) -> Value:
    return {"by": one}


def put(name: Name, one: str, expected: int | None = None) -> Part:
    return Part(name, "put", by(one), expected)


def merge(one: str, key: str) -> Part:
    return Part(PROFILE, "merge", {key: one})


def count(n: int, one: str, expected: int | None = None) -> Part:
    return Part(COUNT, "put", {"by": one, "n": n}, expected)


DELETE = Part(FACT, "delete")


def did(
    began: int, ended: int, *parts: Part, as_: Sequence[int | bool | None], said: str | None = None
) -> list[Event]:
    """Changes that were acknowledged, and the versions they were given."""
    answers = tuple(
        one if one is None or isinstance(one, bool) else Shown(one, part.value or {})
        for part, one in zip(parts, as_, strict=True)
    )
    return [Changing("w", began, parts, said), Changed("w", began, ended, answers)]


def merged(began: int, ended: int, part: Part, version: int, value: Value) -> list[Event]:
    return [Changing("w", began, (part,)), Changed("w", began, ended, (Shown(version, value),))]


def tried(began: int, *parts: Part, said: str | None = None) -> list[Event]:
    """Changes of somebody who was killed."""
    return [Changing("w", began, parts, said)]


def saw(
    began: int, ended: int, *found: tuple[Name, int, Value] | Name, whole: tuple[str, ...] = ()
) -> list[Event]:
    """A read; a name alone was not there."""
    shown = tuple((f, None) if isinstance(f, Name) else (f[0], Shown(*f[1:])) for f in found)
    return [Got("r", began, ended, shown, whole, together=len(found) > 1 and not whole)]


def fell(began: int, ended: int, *found: tuple[Name, int, Value]) -> list[Event]:
    kept = tuple((name, Shown(version, value)) for name, version, value in found)
    return [Fell("nemesis", began, ended, kept)]


ONE = did(0, 10, put(FACT, "a"), as_=[1])
TWO = did(20, 30, put(FACT, "b"), as_=[2])
GONE = did(40, 50, DELETE, as_=[True])
A, B = (FACT, 1, by("a")), (FACT, 2, by("b"))
BOTH = [put(BATCH[0], "a"), put(BATCH[1], "a")]
PAIR = [put(BATCH[0], "a"), put(PAIRS[0], "a")]

PLANTED: dict[str, tuple[Kind, list[Event]]] = {
    "acknowledged, and never there": ("items lost", [*ONE, *saw(20, 30, FACT)]),
    "acknowledged, and an older one there for good": (
        "items lost",
        [*ONE, *TWO, *saw(40, 50, A)],
    ),
    "deleted before it was written, and not there": (
        "items lost",
        [*did(0, 5, DELETE, as_=[False]), *did(6, 10, put(FACT, "a"), as_=[1]), *saw(20, 30, FACT)],
    ),
    "not in a list of all": ("items lost", [*ONE, *saw(20, 30, whole=("facts",))]),
    "gone, and the only delete found nothing": (
        "items lost",
        [*ONE, *did(5, 15, DELETE, as_=[False]), *saw(20, 30, FACT)],
    ),
    "there too late": ("items stale", [*ONE, *saw(20, 30, FACT), *saw(40, 50, A)]),
    "older than what was acknowledged": (
        "items stale",
        [*ONE, *TWO, *saw(40, 50, A), *saw(60, 70, B)],
    ),
    "older than what another was shown": (
        "items stale",
        [*ONE, *tried(20, put(FACT, "b")), *saw(30, 40, B), *saw(50, 60, A), *saw(70, 80, B)],
    ),
    "shown after it was deleted": ("items stale", [*ONE, *TWO, *GONE, *saw(60, 70, B)]),
    "shown after it was found to be gone": (
        "items stale",
        [*ONE, *tried(20, DELETE), *saw(30, 40, FACT), *saw(50, 60, A)],
    ),
    "shown after a later one whose version nobody was told": (
        "items stale",
        [
            *ONE,
            *did(20, 30, put(HELLO, "hello"), put(FACT, "hello"), as_=[None, None], said="hello"),
            *saw(40, 50, A),
        ],
    ),
    "gone at the next start, and expected to be": (
        "lost updates",
        [*ONE, *did(20, 30, put(FACT, "b", 0), as_=[2])],
    ),
    "put over another than was expected": (
        "lost updates",
        [*ONE, *did(12, 30, put(FACT, "b"), as_=[2]), *did(13, 31, put(FACT, "c", 1), as_=[3])],
    ),
    "expected what was replaced long ago": (
        "lost updates",
        [*ONE, *TWO, *did(40, 50, put(FACT, "c", 1), as_=[3])],
    ),
    "expected what was deleted": (
        "lost updates",
        [*ONE, *TWO, *GONE, *did(60, 70, put(FACT, "c", 2), as_=[4])],
    ),
    "two who counted, and one count": (
        "lost updates",
        [
            *did(0, 10, count(1, "a"), as_=[1]),
            *did(5, 15, count(1, "b"), as_=[2]),
        ],
    ),
    "a count that is too low at the end": (
        "lost updates",
        [
            *did(0, 10, count(1, "a"), as_=[1]),
            *did(20, 30, count(2, "b"), as_=[2]),
            *saw(40, 50, (COUNT, 3, {"n": 1, "by": "c"}), whole=("counts",)),
            *tried(35, count(1, "c")),
        ],
    ),
    "a count that is too high at the end": (
        "lost updates",
        [
            *did(0, 10, count(2, "a"), as_=[1]),
            *saw(40, 50, (COUNT, 1, {"n": 2, "by": "a"}), whole=("counts",)),
        ],
    ),
    "a field that another merge took away": (
        "lost updates",
        [
            *merged(0, 10, merge("a", "f0"), 1, {"f0": "a"}),
            *merged(5, 15, merge("b", "f1"), 2, {"f1": "b"}),
        ],
    ),
    "a field as it was before the last merge": (
        "lost updates",
        [
            *merged(0, 10, merge("a", "f0"), 1, {"f0": "a"}),
            *merged(20, 30, merge("b", "f0"), 2, {"f0": "b"}),
            *merged(25, 35, merge("c", "f1"), 3, {"f0": "a", "f1": "c"}),
        ],
    ),
    "half of a batch": (
        "items split",
        [
            *did(0, 30, *BOTH, as_=[1, 2]),
            *saw(10, 20, (BATCH[0], 1, by("a")), BATCH[1]),
        ],
    ),
    "half of what one who was killed has put together": (
        "items split",
        [
            *tried(0, *PAIR),
            *saw(10, 20, (BATCH[0], 1, by("a"))),
            *saw(30, 40, PAIRS[0]),
        ],
    ),
    "half of it, over what was there": (
        "items split",
        [
            *did(0, 5, put(PAIRS[0], "b"), as_=[7]),
            *tried(10, *PAIR),
            *saw(20, 30, (BATCH[0], 1, by("a"))),
            *saw(40, 50, (PAIRS[0], 7, by("b"))),
        ],
    ),
    "nobody wrote it": ("items invented", saw(0, 10, A)),
    "refused": (
        "items invented",
        [*tried(0, put(FACT, "a")), Refused("w", 0, 10), *saw(20, 30, A)],
    ),
    "read before it was written": ("items invented", [*saw(-20, -10, A), *ONE]),
    "another value than was put": (
        "items invented",
        [*ONE, *saw(20, 30, (FACT, 1, {"by": "a", "n": 7}))],
    ),
    "one version of two items": (
        "items misnumbered",
        [*ONE, *did(5, 15, put(OTHER, "b"), as_=[1])],
    ),
    "one version of two values": (
        "items misnumbered",
        [*ONE, *did(5, 15, put(FACT, "b"), as_=[1])],
    ),
    "two versions of one value": ("items misnumbered", [*ONE, *saw(20, 30, (FACT, 2, by("a")))]),
    "a lower version later": (
        "items misnumbered",
        [*did(0, 10, put(FACT, "a"), as_=[5]), *did(20, 30, put(OTHER, "b"), as_=[4])],
    ),
    "shown after something new": (
        "item ghosts",
        [
            *ONE,
            *fell(20, 30),
            *did(40, 50, put(FACT, "c"), as_=[2]),
            *saw(60, 70, A),
        ],
    ),
    "a version that was lost, given out again": (
        "items misnumbered",
        [*ONE, *TWO, *fell(40, 50, A), *did(60, 70, put(FACT, "c"), as_=[2])],
    ),
    "a version that was lost, given to another": (
        "items misnumbered",
        [*ONE, *TWO, *fell(40, 50, A), *did(60, 70, put(OTHER, "c"), as_=[2])],
    ),
    "shown for too long": ("item ghosts", [*ONE, *fell(20, 30), *saw(200, 210, A)]),
    "lost though the database kept it": (
        "items lost",
        [*ONE, *fell(20, 30, A), *saw(200, 210, FACT)],
    ),
}

ALSO: dict[str, tuple[Kind, ...]] = {
    "read before it was written": ("items misnumbered",),
    "another value than was put": ("items misnumbered",),
}


def kinds(events: Sequence[Event], said: Sequence[Said] = ()) -> list[str]:
    return [kind for kind, _ in check_items(events, said=said, shown_for=100)]


@pytest.mark.parametrize("what", PLANTED)
def test_what_no_store_may_answer_is_found(what: str) -> None:
    kind, events = PLANTED[what]
    found = kinds(events)
    assert kind in found
    assert set(found) <= {kind, *ALSO.get(what, ())}, check_items(events, shown_for=100)


INNOCENT: dict[str, list[Event]] = {
    "nothing": [],
    "written and read": [*ONE, *saw(20, 30, A), *TWO, *saw(40, 50, B)],
    "read while it is written": [*ONE, *TWO, *saw(25, 35, A), *saw(26, 36, B)],
    "older at the same time": [*ONE, *TWO, *saw(25, 45, B), *saw(26, 46, A)],
    "deleted": [*ONE, *TWO, *GONE, *saw(60, 70, FACT)],
    "deleted at the same time": [*ONE, *TWO, *GONE, *saw(45, 60, B), *saw(46, 61, FACT)],
    "perhaps deleted, at any time": [
        *ONE,
        *tried(20, DELETE),
        *saw(30, 40, A),
        *saw(50, 60, FACT),
    ],
    "perhaps deleted, later than somebody was told so": [
        *ONE,
        *tried(20, DELETE),
        Unknown("w", 20, 25),
        *saw(30, 40, A),
        *saw(50, 60, FACT),
    ],
    "never answered, and there or not": [
        *ONE,
        *tried(20, put(FACT, "b")),
        *saw(30, 40, A),
        *saw(50, 60, B),
    ],
    "deleted and put again": [
        *ONE,
        *TWO,
        *GONE,
        *did(60, 70, put(FACT, "c", 0), as_=[4]),
        *saw(80, 90, (FACT, 4, by("c"))),
    ],
    "counted": [
        *did(0, 10, count(1, "a", 0), as_=[1]),
        *did(20, 30, count(2, "b", 1), as_=[2]),
        *tried(40, count(3, "c", 2)),
        *saw(50, 60, (COUNT, 3, {"n": 3, "by": "c"}), whole=("counts",)),
    ],
    "merged": [
        *merged(0, 10, merge("a", "f0"), 1, {"f0": "a"}),
        *merged(5, 15, merge("b", "f1"), 2, {"f0": "a", "f1": "b"}),
        *merged(20, 30, merge("c", "f0"), 3, {"f0": "c", "f1": "b"}),
        *saw(25, 40, (PROFILE, 2, {"f0": "a", "f1": "b"})),
    ],
    "a batch and half of a newer one": [
        *did(0, 10, *BOTH, as_=[1, 2]),
        *did(20, 30, put(BATCH[1], "b"), put(BATCH[2], "b"), as_=[3, 4]),
        *saw(
            40,
            50,
            (BATCH[0], 1, by("a")),
            (BATCH[1], 3, by("b")),
            (BATCH[2], 4, by("b")),
        ),
    ],
    "lost by the database": [*ONE, *TWO, *fell(40, 50, A), *saw(160, 170, A)],
    "lost, and shown until something new is there": [
        *ONE,
        *TWO,
        *fell(40, 50, A),
        *saw(60, 70, B),
        *saw(61, 71, A),
        *did(80, 90, put(FACT, "c"), as_=[3]),
        *saw(85, 95, B),
        *saw(100, 110, (FACT, 3, by("c"))),
    ],
    "merged into what the database kept": [
        *merged(0, 10, merge("a", "f0"), 1, {"f0": "a"}),
        *fell(20, 30, (PROFILE, 1, {"f0": "a"})),
        *merged(40, 50, merge("b", "f1"), 2, {"f0": "a", "f1": "b"}),
        *saw(200, 210, (PROFILE, 2, {"f0": "a", "f1": "b"})),
    ],
    "a delete lost": [*ONE, *TWO, *GONE, *fell(55, 60, B), *saw(70, 80, FACT), *saw(71, 81, B)],
    "under way at the fall, and done after it": [
        *ONE,
        *did(15, 60, put(FACT, "b"), as_=[2]),
        *fell(40, 50, A),
        *saw(200, 210, B),
    ],
    "under way at the fall, and lost": [
        *ONE,
        *did(15, 60, put(FACT, "b"), as_=[2]),
        *fell(40, 50, A),
        *saw(70, 80, B),
        *did(100, 110, put(FACT, "c"), as_=[3]),
        *saw(200, 210, (FACT, 3, by("c"))),
    ],
    "a failure whose outcome nobody knows, kept": [
        *ONE,
        *tried(15, put(FACT, "b")),
        Unknown("w", 15, 30),
        *fell(40, 50, B),
        *saw(200, 210, B),
    ],
}


@pytest.mark.parametrize("what", INNOCENT)
def test_what_may_be_is_not_reported(what: str) -> None:
    assert check_items(INNOCENT[what], shown_for=100) == []


def test_what_the_database_lost_is_counted() -> None:
    assert lost_in_falls([*ONE, *TWO, *fell(40, 50, A), *did(60, 70, *BOTH, as_=[8, 9])]) == 1


WITH_ITEM = did(10, 20, put(HELLO, "hello"), as_=[None], said="hello")
KILLED = tried(10, put(HELLO, "hello"), said="hello")
THERE = (HELLO, 1, by("hello"))


@pytest.mark.parametrize(
    ("events", "said", "found"),
    [
        (WITH_ITEM, [(30, 40)], []),
        ([*KILLED, *saw(50, 60, HELLO)], [(30, 40)], ["items split"]),
        ([*KILLED, *saw(35, 60, HELLO)], [(30, 40)], []),
        ([*KILLED, *saw(50, 60, THERE)], [(30, 40)], []),
        ([*KILLED, *fell(50, 60)], [(50, 55)], ["items split"]),
        ([*KILLED, *fell(50, 60, THERE)], [], ["items split"]),
        ([*KILLED, *fell(50, 60, THERE)], [(50, 55)], []),
        # Shown after the fall, as it was before.
        ([*KILLED, *fell(50, 60), *saw(100, 110, HELLO)], [(70, 80)], []),
    ],
)
def test_a_message_without_its_item_is_found(
    events: list[Event], said: list[tuple[int, int]], found: list[str]
) -> None:
    assert kinds(events, [Said("hello", *each) for each in said]) == found


@pytest.mark.parametrize(("item", "message"), [(True, False), (False, True), (True, True)])
def test_messages_and_items_are_compared_at_the_end(item: bool, message: bool) -> None:
    look = [(THERE)] if item else [HELLO]
    events = [
        *KILLED,
        *saw(30, 40, *look, whole=ALL),
        *saw(60, 70, *look, whole=ALL),
    ]
    said = [Said("hello", 45, 50)] if message else []
    assert set(kinds(events, said)) == (set() if item == message else {"items split"})


# -- histories that a store may have -------------------------------------------------------------


@dataclass
class _Run:
    """Makes histories of a store that does everything at one moment, and may fall back."""

    random: Random
    shown_for: int = 300
    at: int = 0
    events: list[Event] = field(default_factory=list)
    state: dict[Name, Shown] = field(default_factory=dict)
    version: int = 0
    saved: dict[Name, Shown] = field(default_factory=dict)
    names: tuple[Name, ...] = FACTS
    numbers: int = 0
    ghosts: dict[Name, Shown | None] = field(default_factory=dict)
    ghosts_until: int = 0

    def run(self, steps: int) -> list[Event]:
        for _ in range(steps):
            self.at += 10
            deed = self.random.random()
            if deed < 0.02:
                self._fall()
            elif deed < 0.05:
                self.saved = dict(self.state)
            elif deed < 0.5:
                self._read(self.random.choice(self.names))
            else:
                self._write(self.random.choice(self.names))
        return self.events

    def _span(self) -> tuple[int, int]:
        """When a call began that happens now, and when it ends: at a moment of its own."""
        self.numbers += 1
        began = self.at - self.random.choice((1, 5, 60))
        return began, self.at + self.random.choice((1, 5, 60))

    def _write(self, name: Name) -> None:
        began, ended = self._span()
        worker = f"w{self.numbers}"
        there = self.state.get(name)
        expected = None
        if self.random.random() < 0.4:
            expected = 0 if there is None else there.version
        if self.random.random() < 0.2:
            part = Part(name, "delete", None, expected or None)
        else:
            part = Part(name, "put", by(f"{self.numbers}"), expected)
        self.events.append(Changing(worker, began, (part,)))
        answered = self.random.random()
        if answered < 0.1:  # it failed before anything was done
            refused = Refused(worker, began, ended)
            self.events += [refused] if self.random.random() < 0.5 else []
            return
        self.version += 1
        answer: Shown | bool
        if part.how == "delete":
            answer = self.state.pop(name, None) is not None
        else:
            answer = self.state[name] = Shown(self.version, part.value or {})
        if answered < 0.8:
            self.events.append(Changed(worker, began, ended, (answer,)))
            if answer is not False:
                self.ghosts.pop(name, None)
        elif answered < 0.9:
            self.events.append(Unknown(worker, began, ended))

    def _read(self, name: Name) -> None:
        began, ended = self._span()
        shown = self.state.get(name)
        if name in self.ghosts and began < self.ghosts_until and self.random.random() < 0.5:
            shown = self.ghosts[name]
        self.events.append(Got("r", began, ended, ((name, shown),)))

    def _fall(self) -> None:
        # Nobody is doing anything while the database is looked at, but who is in between.
        self.at += 100
        self.ghosts = {name: self.state.get(name) for name in self.names}
        self.ghosts_until = self.at + self.shown_for
        self.state = dict(self.saved)  # and the versions that were given out are not again
        self.ghosts = {n: s for n, s in self.ghosts.items() if s != self.state.get(n)}
        self.events.append(Fell("nemesis", self.at, self.at + 5, tuple(self.state.items())))
        self.at += 100


@pytest.mark.parametrize("seed", range(60))
def test_a_store_that_does_all_at_one_moment_is_well(seed: int) -> None:
    run = _Run(Random(seed))
    events = run.run(400)
    assert check_items(events, shown_for=run.shown_for) == []


@pytest.mark.parametrize("seed", range(20))
def test_one_read_that_is_too_old_is_found(seed: int) -> None:
    run = _Run(Random(seed))
    events = run.run(200)
    writes = [event for event in events if isinstance(event, Changed) and event.answers]
    run.at += 1000
    run.state, run.ghosts = {}, {}
    run.events += did(run.at, run.at + 5, put(FACT, "new"), as_=[10**6])
    old = next(one for one in reversed(writes) if isinstance(one.answers[0], Shown))
    named = {(e.worker, e.began): e for e in events if isinstance(e, Changing)}
    name = named[old.worker, old.began].parts[0].name
    shown = old.answers[0]
    assert isinstance(shown, Shown)
    if name != FACT:
        run.events += did(run.at + 10, run.at + 15, put(name, "newer"), as_=[10**6 + 1])
    run.events.append(Got("r", run.at + 20, run.at + 25, ((name, shown),)))
    found = [kind for kind, _ in check_items(run.events, shown_for=run.shown_for)]
    assert found
    assert set(found) <= {"items lost", "items stale", "item ghosts"}


# -- the logs --------------------------------------------------------------------------------------


def test_what_was_written_down_is_read_again(tmp_path: Path) -> None:
    with Store("sqlite://") as store, ItemLog(tmp_path / "w1.jsonl") as log:
        facts = store.items(FACT.namespace)
        under_way = log.changing([put(FACT, "a")], said="hello")
        item = facts.put(FACT.key, by("a"))
        under_way.acknowledged([item])
        log.changing([put(FACT, "b", item.version)]).refused()
        log.changing([DELETE]).unknown()
        log.got(under_way.began, {FACT: facts.get(FACT.key), OTHER: None}, whole=["facts"])
        log.fell(under_way.began, {FACT: item})
    with (tmp_path / "w1.jsonl").open("ab") as file:
        file.write(b'{"type":"Got","wor')  # killed while it was writing
    events = load_items([tmp_path / "w1.jsonl"])
    assert [type(event) for event in events] == [
        Changing,
        Changed,
        Changing,
        Refused,
        Changing,
        Unknown,
        Got,
        Fell,
    ]
    shown = Shown(item.version, by("a"))
    assert events[0] == Changing("w1", under_way.began, (put(FACT, "a"),), "hello")
    assert isinstance(events[1], Changed)
    assert events[1].answers == (shown,)
    assert isinstance(events[6], Got)
    assert events[6].found == ((FACT, shown), (OTHER, None))
    assert check_items(events) == []
