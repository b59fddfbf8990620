"""The history checker finds what it is for, and is silent about what may be."""

import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onrecord import Version
from onrecord.testing import (
    Appended,
    Attempted,
    Deleted,
    Event,
    Fell,
    Log,
    Read,
    Refused,
    Rewound,
    check,
    load,
)


def wrote(began: int, ended: int, *messages: tuple[int, str], worker: str = "w") -> Appended:
    seqs, ids = zip(*messages, strict=True)
    return Appended(worker, began, ended, ids, seqs)


def saw(
    began: int,
    ended: int,
    *messages: tuple[int, str],
    tail: int | None = None,
    version: tuple[int, int] | None = None,
) -> Read:
    return Read("r", began, ended, messages, tail, Version(*version) if version else None)


A, B, C, D = (1, "a"), (2, "b"), (3, "c"), (4, "d")
ONE = wrote(0, 10, A)
TWO = wrote(20, 30, B)
PAIR = wrote(20, 30, B, C)
CLEARED = Rewound("w", 40, 50, 0, Version(1, 0))

PLANTED: dict[str, tuple[str, list[Event]]] = {
    "acknowledged, and never there": ("lost", [ONE, TWO, saw(40, 50, A)]),
    "acknowledged, and everything gone": ("lost", [ONE, saw(20, 30)]),
    "acknowledged, and not in a tail": (
        "lost",
        [ONE, TWO, wrote(40, 50, C), saw(60, 70, A, B, tail=2)],
    ),
    "acknowledged, and there too late": ("stale", [ONE, saw(20, 30), saw(40, 50, A)]),
    "missing from a tail that had room": ("stale", [ONE, saw(20, 30, tail=5), saw(40, 50, A)]),
    "an older version than was read before": (
        "stale",
        [
            ONE,
            Attempted("w", 12, ("b",)),
            saw(13, 20, A, B, version=(0, 2)),
            saw(30, 40, A, version=(0, 1)),
        ],
    ),
    "an older version than a clear left": (
        "stale",
        [ONE, Rewound("w", 20, 30, 0, Version(1, 0)), saw(40, 50, version=(0, 0))],
    ),
    "read, and gone": ("vanished", [Attempted("w", 0, ("a",)), saw(1, 2, A), saw(3, 4)]),
    "read, and gone in the same epoch": (
        "vanished",
        [
            Attempted("w", 0, ("a",)),
            saw(1, 2, A, version=(3, 1)),
            saw(3, 4, version=(3, 0)),
            Rewound("w", 50, 60, 0),
        ],
    ),
    "twice in one read": ("duplicated", [ONE, saw(20, 30, A, (2, "a"))]),
    "never appended": ("invented", [ONE, saw(20, 30, A, (2, "x"))]),
    "refused, and there": ("invented", [ONE, Refused("w", 20, 30, ("b",)), saw(40, 50, A, B)]),
    "read before it was appended": ("invented", [saw(0, 5, A), wrote(10, 20, A)]),
    "half a batch": ("split", [ONE, PAIR, saw(22, 24, A, B)]),
    "half a batch of unknown outcome": (
        "split",
        [ONE, Attempted("w", 20, ("b", "c")), saw(40, 50, A, B)],
    ),
    "the later half of a batch in a whole read": (
        "split",
        [Attempted("w", 0, ("a", "b")), saw(40, 50, (1, "b"))],
    ),
    "half a batch cut off by a rewind that came earlier": (
        "split",
        [Rewound("w", 0, 5, 1), wrote(10, 20, A), wrote(30, 40, B, C), saw(50, 60, A, B)],
    ),
    "something in between a batch": (
        "split",
        [
            Attempted("w", 0, ("a", "c")),
            Attempted("v", 0, ("b",)),
            saw(40, 50, A, B, C),
        ],
    ),
    "a batch acknowledged with a hole": ("split", [wrote(0, 10, A, C)]),
    "other numbers in another read": (
        "reordered",
        [
            Attempted("w", 0, ("a",)),
            Attempted("v", 0, ("b",)),
            saw(10, 20, A, B),
            saw(11, 21, (1, "b"), (2, "a")),
        ],
    ),
    "two messages with one number": (
        "reordered",
        [Attempted("w", 0, ("a",)), Attempted("v", 0, ("b",)), saw(1, 9, A), saw(2, 8, (1, "b"))],
    ),
    "not in the order of the numbers": ("reordered", [ONE, TWO, saw(40, 50, B, A)]),
    "acknowledged first, numbered second": (
        "reordered",
        [wrote(0, 10, B), wrote(20, 30, A)],
    ),
    "a hole": ("gap", [Attempted("w", 0, ("a",)), Attempted("w", 1, ("c",)), saw(10, 20, A, C)]),
    "a hole at the beginning": ("gap", [Attempted("w", 0, ("b",)), saw(10, 20, B)]),
    "a hole in a tail": (
        "gap",
        [Attempted("w", 0, ("a",)), Attempted("w", 1, ("c",)), saw(10, 20, A, C, tail=2)],
    ),
    "a head beyond the newest message": (
        "gap",
        [Attempted("w", 0, ("a",)), saw(10, 20, A, version=(0, 2))],
    ),
    "a message beyond the head": (
        "gap",
        [Attempted("w", 0, ("a", "b")), saw(10, 20, A, B, version=(0, 1))],
    ),
    "a hole at the wrong place after a deletion": (
        "gap",
        [
            *(Attempted("w", i, (n,)) for i, n in enumerate("abcd")),
            Deleted("w", 10, 20, 2),
            saw(30, 40, A, B, D),
        ],
    ),
    "acknowledged with another number": ("misnumbered", [wrote(0, 10, (2, "a")), saw(20, 30, A)]),
    "acknowledged twice, differently": (
        "misnumbered",
        [ONE, wrote(20, 30, (2, "a")), saw(40, 50, A)],
    ),
    "one number acknowledged twice": ("misnumbered", [ONE, wrote(5, 15, (1, "b"))]),
    "cleared, and back": ("resurrected", [ONE, CLEARED, saw(60, 70, A)]),
    "rewound, and back": (
        "resurrected",
        [ONE, TWO, Rewound("w", 40, 50, 1), saw(60, 70, A, B)],
    ),
    "deleted, and back": ("resurrected", [ONE, TWO, Deleted("w", 40, 50, 1), saw(60, 70, A, B)]),
}


@pytest.mark.parametrize("name", PLANTED)
def test_it_finds(name: str) -> None:
    kind, events = PLANTED[name]
    found = check(events)
    assert kind in {violation.kind for violation in found}, found


NEAR_MISSES: dict[str, list[Event]] = {
    "nothing at all": [],
    "an empty session": [saw(0, 10), saw(20, 30, tail=5)],
    "not there yet while it was under way": [wrote(0, 30, A), saw(10, 20), saw(15, 40, A)],
    "acknowledged at the instant at which the read began": [ONE, saw(10, 20)],
    "there before it was acknowledged": [wrote(0, 100, A), saw(10, 20, A)],
    "of unknown outcome and not there": [Attempted("w", 0, ("a",)), saw(10, 20)],
    "of unknown outcome and there much later": [
        Attempted("w", 0, ("a",)),
        saw(10, 20),
        saw(30, 40, A),
    ],
    "of unknown outcome, then acknowledged by a retry": [
        Attempted("w", 0, ("a",)),
        wrote(10, 20, A),
        wrote(30, 40, B),
        saw(50, 60, A, B),
    ],
    "a retry acknowledged with the first place": [ONE, TWO, wrote(40, 50, A), saw(60, 70, A, B)],
    "refused, then appended": [Refused("w", 0, 5, ("a",)), wrote(10, 20, A), saw(30, 40, A)],
    "an attempt that was answered later": [Attempted("w", 0, ("a",)), ONE, saw(20, 30, A)],
    "an answer written before its attempt": [ONE, Attempted("w", 0, ("a",)), saw(20, 30, A)],
    "a tail that begins inside a batch": [PAIR, ONE, saw(40, 50, C, tail=1)],
    "a tail that shows no older message": [ONE, TWO, saw(40, 50, B, tail=1)],
    "a tail of nothing": [ONE, saw(20, 30, tail=0)],
    "two reads at once that differ": [wrote(0, 90, A), saw(10, 80, A), saw(20, 70)],
    "two appends at once, either order": [wrote(0, 50, B), wrote(10, 60, A), saw(70, 80, A, B)],
    "cleared": [ONE, saw(20, 30, A), CLEARED, saw(60, 70)],
    "cleared, and the numbers given again": [
        ONE,
        CLEARED,
        wrote(60, 70, (1, "b")),
        saw(80, 90, (1, "b")),
    ],
    "cleared, and the same id appended again": [
        ONE,
        TWO,
        CLEARED,
        wrote(60, 70, (1, "b")),
        saw(80, 90, (1, "b")),
    ],
    "read while it was being cleared": [ONE, CLEARED, saw(45, 60, A), saw(42, 44)],
    "appended while it was being cleared": [ONE, wrote(35, 60, B), CLEARED, saw(70, 80)],
    "a clear of unknown outcome": [
        ONE,
        Rewound("w", 20, None, 0),
        saw(30, 40, A),
        saw(50, 60),
        wrote(70, 80, (1, "b")),
    ],
    "rewound into a batch": [ONE, PAIR, Rewound("w", 40, 50, 2), saw(60, 70, A, B)],
    "deleted": [ONE, PAIR, Deleted("w", 40, 50, 2), saw(60, 70, A, C), saw(80, 90, A, C, tail=2)],
    "deleted at the end": [
        ONE,
        TWO,
        Deleted("w", 40, 50, 2, Version(1, 2)),
        saw(60, 70, A, version=(1, 2)),
    ],
    "another epoch with fewer messages": [
        ONE,
        saw(20, 25, A, version=(0, 1)),
        CLEARED,
        saw(60, 70, version=(1, 0)),
    ],
}


@pytest.mark.parametrize("name", NEAR_MISSES)
def test_it_is_silent_about(name: str) -> None:
    assert check(NEAR_MISSES[name]) == []


def test_it_says_what_happened_in_words() -> None:
    (found,) = check([ONE, TWO, saw(2_000_000, 3_000_000, A)])
    assert str(found).splitlines() == [
        "lost: 'b' was acknowledged before this read began, and neither this one nor any later "
        "one has it",
        "    w (0.000 ms to 0.000 ms) appended 'b' as 2",
        "    r (2.000 ms to 3.000 ms) read the whole: 1 'a'",
    ]


def test_it_tells_every_kind_of_event() -> None:
    events: list[Event] = [
        Attempted("w", 0, ("a",)),
        Rewound("w", 0, None, 0),
        Deleted("w", 1, 2, 1, Version(1, 1)),
        Refused("w", 0, 1, ("x",)),
        saw(5, 6, *((i, "x") for i in range(1, 30)), tail=30, version=(0, 29)),
    ]
    text = "\n".join(str(violation) for violation in check(events))
    assert "refused 'x'" in text
    assert "read the newest 30 at version (0, 29)" in text
    assert "more …" in text


def test_it_stops_at_so_many() -> None:
    events: list[Event] = [saw(i, i + 1, (1, f"x{i}")) for i in range(50)]
    assert Counter(violation.kind for violation in check(events, most=7))["invented"] == 7


def test_what_cannot_be_a_history_is_refused() -> None:
    with pytest.raises(ValueError, match="ended before it began"):
        check([saw(10, 5)])
    with pytest.raises(ValueError, match="needs its sequence number"):
        check([Appended("w", 0, 1, ("a", "b"), (1,))])


# -- logs ----------------------------------------------------------------------------------------


def test_a_log_comes_back_as_it_was_written(tmp_path: Path) -> None:
    with Log(tmp_path / "one.jsonl") as log, Log(tmp_path / "two.jsonl", "reader") as other:
        append = log.appending(["a", "b\ud800\n"])
        append.acknowledged([1, 2])
        log.appending(["c"]).refused()
        log.appending(["d"])
        began = time.monotonic_ns()
        other.read(began, [(1, "a"), (2, "b\ud800\n")], tail=2, version=Version(0, 2))
        log.deleting(1).done(Version(1, 2))
        log.rewinding(0).done(Version(2, 0))
        log.rewinding(0)
    events = load([tmp_path / "two.jsonl", tmp_path / "one.jsonl"])
    assert check(events) == []
    # What was under way is written first, then what came of it.
    assert [type(event).__name__ for event in events] == [
        *("Attempted", "Appended", "Attempted", "Refused", "Attempted"),
        *("Deleted", "Deleted", "Rewound", "Rewound", "Rewound", "Read"),
    ]
    appended, read = events[1], events[-1]
    assert isinstance(appended, Appended)
    assert (appended.worker, appended.ids, appended.seqs) == ("one", ("a", "b\ud800\n"), (1, 2))
    assert appended.began == append.began <= appended.ended
    assert isinstance(read, Read)
    assert (read.worker, read.tail, read.version) == ("reader", 2, Version(0, 2))


def test_a_torn_last_line_is_left_out_and_a_torn_middle_is_not(tmp_path: Path) -> None:
    path = tmp_path / "killed.jsonl"
    with Log(path) as log:
        log.appending(["a"]).acknowledged([1])
        log.appending(["b"])
    whole = path.read_bytes()
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        assert len(load([path])) == whole[:cut].count(b"\n")
    path.write_bytes(whole[:20] + b"\n" + whole)
    with pytest.raises(ValueError, match=r"killed\.jsonl, line 1 is not an event"):
        load([path])


def test_a_log_is_one_processs_own(tmp_path: Path) -> None:
    with Log(tmp_path / "one.jsonl") as log:
        pass
    with pytest.raises(FileExistsError):
        Log(tmp_path / "one.jsonl")
    with pytest.raises(ValueError, match="closed"):
        log.appending(["a"])


def test_what_is_logged_has_a_number_and_an_id(tmp_path: Path) -> None:
    with Log(tmp_path / "one.jsonl") as log:
        with pytest.raises(ValueError, match="a seq and an id"):
            log.appending(["a"]).acknowledged([None])
        with pytest.raises(ValueError, match="acknowledged with its sequence numbers"):
            log.appending(["a"]).done()


# -- stores that get it wrong --------------------------------------------------------------------


class Toy:
    """A store of one session that does everything right."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def append(self, worker: int, ids: list[str]) -> list[int]:
        first = len(self.messages) + 1
        self.messages += ids
        return list(range(first, first + len(ids)))

    def retry(self, worker: int, ids: list[str]) -> list[int]:
        return [self.messages.index(name) + 1 for name in ids]

    def read(self) -> list[tuple[int, str]]:
        return list(enumerate(self.messages, 1))


class ByTimestamp(Toy):
    """Orders by the writer's wall clock, as most chat histories in SQL do."""

    def __init__(self, skew: float) -> None:
        self.skew = skew
        self.time = 0.0
        self.database = sqlite3.connect(":memory:", isolation_level=None)
        self.database.execute("CREATE TABLE messages (created REAL, id TEXT)")

    def append(self, worker: int, ids: list[str]) -> list[int]:
        self.time += 1
        now = self.time + worker * self.skew
        rows = [(now + i / 100, name) for i, name in enumerate(ids)]
        self.database.executemany("INSERT INTO messages VALUES (?, ?)", rows)
        return self.retry(worker, ids)

    def retry(self, worker: int, ids: list[str]) -> list[int]:
        places = {name: seq for seq, name in self.read()}
        return [places[name] for name in ids]

    def read(self) -> list[tuple[int, str]]:
        rows = self.database.execute("SELECT id FROM messages ORDER BY created").fetchall()
        return [(seq, name) for seq, (name,) in enumerate(rows, 1)]


class Losing(Toy):
    """Two writers read the same head; the second overwrites the first."""

    def append(self, worker: int, ids: list[str]) -> list[int]:
        if len(self.messages) % 5 == 3:
            self.messages.pop()
        return super().append(worker, ids)


class Duplicating(Toy):
    """Takes a retry for something new."""

    def retry(self, worker: int, ids: list[str]) -> list[int]:
        return self.append(worker, ids)


class Splitting(Toy):
    """Commits each message by itself, so that a reader comes in between."""

    def append(self, worker: int, ids: list[str]) -> list[int]:
        seqs = []
        for name in ids:
            seqs += super().append(worker, [name])
            self.look()
        return seqs

    look: Callable[[], None]


class Caching(Toy):
    """Answers out of a cache that nobody empties in time."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0
        self.cached: list[tuple[int, str]] = []

    def read(self) -> list[tuple[int, str]]:
        self.reads += 1
        if self.reads % 3 == 0:
            self.cached = super().read()
        return self.cached


class Holey(Toy):
    """Takes numbers from a sequence, which a failed transaction does not give back."""

    def __init__(self) -> None:
        super().__init__()
        self.seqs: list[int] = []

    def append(self, worker: int, ids: list[str]) -> list[int]:
        first = (self.seqs[-1] if self.seqs else 0) + (2 if len(self.seqs) == 6 else 1)
        seqs = list(range(first, first + len(ids)))
        self.messages += ids
        self.seqs += seqs
        return seqs

    def retry(self, worker: int, ids: list[str]) -> list[int]:
        return [self.seqs[self.messages.index(name)] for name in ids]

    def read(self) -> list[tuple[int, str]]:
        return list(zip(self.seqs, self.messages, strict=True))


def use(store: Toy, folder: Path) -> list[Event]:
    """Four writers take turns; a reader looks after each of them."""
    with Log(folder / "reader.jsonl") as reader:

        def look() -> None:
            reader.read(time.monotonic_ns(), store.read())

        if isinstance(store, Splitting):
            store.look = look
        for worker in range(4):
            with Log(folder / f"writer-{worker}.jsonl") as log:
                for batch in range(4):
                    ids = [f"{worker}.{batch}.{i}" for i in range(1 + batch % 3)]
                    under_way = log.appending(ids)
                    under_way.acknowledged(store.append(worker, ids))
                    look()
                    if batch == 2:
                        under_way = log.appending(ids)
                        under_way.acknowledged(store.retry(worker, ids))
                    look()
    return load(folder.iterdir())


@pytest.mark.parametrize(
    ("store", "kinds"),
    [
        (Toy(), set()),
        (ByTimestamp(skew=0), set()),
        (ByTimestamp(skew=-5.5), {"reordered", "misnumbered"}),
        (Losing(), {"lost", "misnumbered"}),
        (Duplicating(), {"duplicated"}),
        (Splitting(), {"split"}),
        (Caching(), {"stale"}),
        (Holey(), {"gap"}),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Toy) else "",
)
def test_it_catches_a_store_that_is_wrong(store: Toy, kinds: set[str], tmp_path: Path) -> None:
    found = {violation.kind for violation in check(use(store, tmp_path))}
    assert found >= kinds
    assert bool(found) == bool(kinds)
    if isinstance(store, ByTimestamp):
        store.database.close()


# -- any correct history, and any wrong one ------------------------------------------------------


@dataclass
class Simulated:
    """A correct store in which each operation takes effect at one instant between its ends."""

    random: Random
    rewrites: bool
    doubts: bool = True
    """Whether the outcome of a rewind may be unknown, which excuses almost anything later."""
    now: int = 0
    epoch: int = 0
    head: int = 0
    messages: dict[int, str] = field(default_factory=dict)
    batches: list[tuple[str, ...]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    def span(self) -> tuple[int, int]:
        """Some time around the instant at which it takes effect."""
        self.now += 10
        return self.now - self.random.randint(0, 40), self.now + self.random.randint(0, 40)

    @property
    def version(self) -> Version:
        return Version(self.epoch, self.head)

    def worker(self) -> str:
        return f"w{len(self.events)}"

    def put(self, ids: tuple[str, ...]) -> tuple[int, ...]:
        seqs = tuple(range(self.head + 1, self.head + 1 + len(ids)))
        self.messages |= dict(zip(seqs, ids, strict=True))
        self.head += len(ids)
        return seqs

    def append(self) -> None:
        ids = tuple(f"{len(self.batches)}.{i}" for i in range(self.random.choice((1, 1, 2, 3))))
        self.batches.append(ids)
        self._append(ids, self.random.random())

    def retry(self) -> None:
        if not self.batches:
            return
        ids = self.random.choice(self.batches)
        there = sum(name in self.messages.values() for name in ids)
        if there in (0, len(ids)):
            self._append(ids, self.random.random())

    def _append(self, ids: tuple[str, ...], luck: float) -> None:
        began, ended = self.span()
        if luck < 0.1:
            self.events.append(Refused(self.worker(), began, ended, ids))
            return
        places = {name: seq for seq, name in self.messages.items()}
        known = ids[0] in places
        if luck < 0.3:
            self.events.append(Attempted(self.worker(), began, ids))
            if luck < 0.2 and not known:
                self.put(ids)
            return
        seqs = tuple(places[name] for name in ids) if known else self.put(ids)
        self.events.append(Appended(self.worker(), began, ended, ids, seqs))

    def read(self) -> None:
        began, ended = self.span()
        tail = self.random.choice((None, None, 0, 1, 2, 5))
        messages = sorted(self.messages.items())
        if tail is not None:
            messages = messages[len(messages) - min(tail, len(messages)) :]
        version = self.version if self.random.random() < 0.5 else None
        self.events.append(Read(self.worker(), began, ended, tuple(messages), tail, version))

    def rewind(self) -> None:
        began, ended = self.span()
        head = self.random.choice((0, self.head // 2, max(0, self.head - 1)))
        unknown = self.doubts and self.random.random() < 0.2
        if not unknown or self.random.random() < 0.5:
            self.epoch += 1
            self.head = head
            self.messages = {seq: n for seq, n in self.messages.items() if seq <= head}
        version = self.version if self.random.random() < 0.5 and not unknown else None
        self.events.append(Rewound(self.worker(), began, None if unknown else ended, head, version))

    def delete(self) -> None:
        began, ended = self.span()
        if self.messages:
            seq = self.random.choice(list(self.messages))
            del self.messages[seq]
            self.epoch += 1
            self.events.append(Deleted(self.worker(), began, ended, seq, self.version))

    def run(self, steps: int) -> list[Event]:
        todo = [self.append, self.append, self.append, self.read, self.read, self.retry]
        if self.rewrites:
            todo += [self.rewind, self.delete]
        for _ in range(steps):
            self.random.choice(todo)()
        # A last append of two, and a last read that sees everything: what a mutation is held to.
        self.now += 100
        self.batches.append(("last.0", "last.1"))
        self._append(self.batches[-1], 1)
        self.now += 100
        began, ended = self.span()
        messages = tuple(sorted(self.messages.items()))
        self.events.append(Read("last", began, ended, messages, None, self.version))
        return self.events


RANDOMS = st.randoms(use_true_random=False)


@given(RANDOMS, st.booleans(), st.integers(0, 40))
@settings(deadline=None, max_examples=300)
def test_a_correct_history_is_never_flagged(random: Random, rewrites: bool, steps: int) -> None:
    events = Simulated(random, rewrites).run(steps)
    random.shuffle(events)
    assert [str(violation) for violation in check(events)] == []


Mutation = Callable[[Read, Random], Read]


def without_one(read: Read, random: Random) -> Read:
    i = random.randrange(len(read.messages) - 2, len(read.messages))
    return replace(read, messages=read.messages[:i] + read.messages[i + 1 :])


def without_the_last_append(read: Read, random: Random) -> Read:
    return replace(read, messages=read.messages[:-2], version=None)


def twice(read: Read, random: Random) -> Read:
    _, name = random.choice(read.messages)
    end = read.messages[-1][0] + 1
    return replace(read, messages=(*read.messages, (end, name)), version=None)


def something_else(read: Read, random: Random) -> Read:
    i = random.randrange(len(read.messages))
    other = (read.messages[i][0], "never appended")
    return replace(read, messages=(*read.messages[:i], other, *read.messages[i + 1 :]))


def exchanged(read: Read, random: Random) -> Read:
    (first, a), (second, b) = read.messages[-2:]
    return replace(read, messages=(*read.messages[:-2], (first, b), (second, a)))


def turned_round(read: Read, random: Random) -> Read:
    return replace(read, messages=read.messages[::-1])


def numbered_from_elsewhere(read: Read, random: Random) -> Read:
    by = random.randint(1, 3)
    moved = tuple((seq + by, name) for seq, name in read.messages)
    return replace(read, messages=moved, version=None)


def at_an_older_version(read: Read, random: Random) -> Read:
    assert read.version is not None
    return replace(read, version=Version(read.version.epoch, read.version.head - 1))


def in_time_for_the_past(read: Read, random: Random) -> Read:
    return replace(read, began=-1000, ended=-900)


@given(
    RANDOMS,
    st.booleans(),
    st.integers(0, 30),
    st.sampled_from(
        [
            without_one,
            without_the_last_append,
            twice,
            something_else,
            exchanged,
            turned_round,
            numbered_from_elsewhere,
            at_an_older_version,
            in_time_for_the_past,
        ]
    ),
)
@settings(deadline=None, max_examples=300)
def test_a_history_with_one_mutation_is_always_flagged(
    random: Random, rewrites: bool, steps: int, mutate: Mutation
) -> None:
    *events, last = Simulated(random, rewrites, doubts=False).run(steps)
    assert isinstance(last, Read)
    assert check([*events, mutate(last, random)])


@given(RANDOMS, st.integers(1, 30))
@settings(deadline=None, max_examples=200)
def test_an_acknowledgement_with_another_number_is_always_flagged(
    random: Random, steps: int
) -> None:
    events = Simulated(random, rewrites=False).run(steps)
    places = [i for i, event in enumerate(events) if isinstance(event, Appended)]
    i = random.choice(places)
    event = events[i]
    assert isinstance(event, Appended)
    events[i] = replace(event, seqs=tuple(seq + 1 for seq in event.seqs))
    assert check(events)


@given(RANDOMS, st.integers(1, 30))
@settings(deadline=None, max_examples=200)
def test_what_was_cleared_and_comes_back_is_always_flagged(random: Random, steps: int) -> None:
    *events, last = Simulated(random, rewrites=False).run(steps)
    assert isinstance(last, Read)
    end = last.ended
    events += [
        last,
        Rewound("w", end + 1, end + 2, 0, Version(1, 0)),
        Read("r", end + 3, end + 4, last.messages, None, None),
    ]
    assert "resurrected" in {violation.kind for violation in check(events)}


def test_a_hundred_thousand_events_are_checked() -> None:
    """Near-linear: with a quadratic step this would run for minutes, and the suite's own limit
    would say so."""
    assert check(list(long_history(100_000))) == []


def long_history(events: int) -> Iterator[Event]:
    """Appends and tails, with a whole read and a rewind of the newest now and then."""
    head = epoch = 0
    ids: list[str] = []
    for i in range(events):
        began, ended = 10 * i, 10 * i + 15
        if i % 2:
            newest = tuple(enumerate(ids[-5:], max(0, head - 5) + 1))
            yield Read("r", began, began + 5, newest, 5, Version(epoch, head))
        elif i % 20_000 == 0:
            yield Read("r", began, began + 5, tuple(enumerate(ids, 1)), None, None)
        elif i % 1_000 == 0:
            epoch += 1
            head -= 5
            del ids[head:]
            yield Rewound("w", began, began + 5, head, Version(epoch, head))
        else:
            head += 1
            ids.append(f"m{i}")
            yield Appended(f"w{i % 8}", began, ended - 10, (ids[-1],), (head,))


FELL = Fell("n", 100, 110, (A,))
AFTER_ALL = saw(400, 410, A, (2, "x"))
NEW = wrote(200, 220, (2, "x"))
ACROSS = wrote(90, 220, (2, "x"))
ONCE_MORE = [
    Fell("n", 300, 310, (A,)),
    wrote(320, 330, (2, "y")),
    saw(400, 410, A, (2, "y")),
]
REWOUND = [
    ONE,
    Rewound("w", 20, 30, 1, Version(1, 1)),
    Rewound("w", 40, 50, 0, Version(2, 0)),
]
PERHAPS = Rewound("w", 90, None, 0)


@pytest.mark.parametrize(
    "events",
    [
        pytest.param([ONE, TWO, FELL, NEW, AFTER_ALL], id="what was lost is missed by nobody"),
        pytest.param(
            [ONE, TWO, FELL, saw(130, 140, A, B), NEW, AFTER_ALL],
            id="it may be shown until something new is acknowledged",
        ),
        pytest.param(
            [ONE, TWO, FELL, saw(215, 300, A, B), NEW, AFTER_ALL],
            id="also by a read that began before that",
        ),
        pytest.param(
            [ONE, TWO, Rewound("w", 40, 50, 0), FELL, saw(130, 140), NEW, AFTER_ALL],
            id="and so may a clear that was lost",
        ),
        pytest.param(
            [ONE, TWO, saw(90, 105, A, B), FELL, saw(105, 115, A), NEW, AFTER_ALL],
            id="a read across the fall is of either past",
        ),
        pytest.param(
            [ONE, replace(TWO, ended=130), FELL, NEW, AFTER_ALL],
            id="acknowledged after the fall, and committed before it",
        ),
        pytest.param(
            [ONE, replace(TWO, ended=130), FELL, saw(140, 150, B, tail=1), NEW, AFTER_ALL],
            id="and shown in a short tail, its place given to another",
        ),
        pytest.param(
            [
                ONE,
                Attempted("w", 20, ("b",)),
                saw(40, 50, A, B),
                FELL,
                saw(140, 150, B, tail=1),
                NEW,
                AFTER_ALL,
            ],
            id="without an answer, seen before the fall, and shown in a short tail",
        ),
        pytest.param(
            [ONE, Attempted("w", 90, ("b",)), FELL, saw(130, 140, A, B), saw(400, 410, A, B)],
            id="without an answer it may be done again after the fall",
        ),
        pytest.param(
            [
                ONE,
                PAIR,
                FELL,
                Fell("n", 300, 310, ()),
                wrote(320, 330, (1, "y")),
                saw(400, 410, (1, "y")),
            ],
            id="and once more",
        ),
        pytest.param(
            [ONE, TWO, FELL, ACROSS, saw(230, 240, A, (2, "x")), *ONCE_MORE],
            id="once more, and with it what was committed across the first time",
        ),
        pytest.param(
            [ONE, TWO, FELL, ACROSS, Fell("n", 300, 310, (A,)), saw(400, 410, A)],
            id="once more, and nothing takes its place",
        ),
        pytest.param(
            [
                Attempted("w", 0, ("a", "b", "c")),
                wrote(20, 30, D),
                Rewound("w", 40, 50, 2, Version(1, 2)),
                Fell("n", 100, 110, (A, B)),
                saw(130, 140, A, B, version=(1, 2)),
            ],
            id="one without an answer, of which a part was rewound before the fall",
        ),
        pytest.param(
            [
                Attempted("w", 0, ("a", "b", "c")),
                Deleted("w", 40, 50, 2),
                Fell("n", 100, 110, (A, C)),
                saw(130, 140, A, C),
            ],
            id="one without an answer, of which a message was deleted before the fall",
        ),
        pytest.param(
            [
                *REWOUND,
                FELL,
                PERHAPS,
                saw(130, 140, version=(2, 0)),
                saw(300, 310, A, version=(1, 1)),
            ],
            id="a clear that was lost may be shown, while another has no answer",
        ),
        pytest.param(
            [
                *REWOUND,
                FELL,
                PERHAPS,
                saw(130, 140, version=(2, 0)),
                saw(150, 160, A, version=(1, 1)),
                saw(170, 180, version=(2, 0)),
                saw(190, 195, A, version=(1, 1)),
            ],
            id="and so by turns, by one cache and another",
        ),
    ],
)
def test_what_a_database_lost_is_lost_from_then_on(events: list[Event]) -> None:
    assert check(events, shown_for=150) == []


@pytest.mark.parametrize(
    ("kind", "events"),
    [
        pytest.param(
            "ghost",
            [ONE, TWO, FELL, NEW, saw(230, 240, A, B), AFTER_ALL],
            id="shown after something new was acknowledged",
        ),
        pytest.param(
            "ghost", [ONE, TWO, FELL, saw(260, 270, A, B)], id="shown for longer than may be"
        ),
        pytest.param(
            "ghost",
            [ONE, TWO, FELL, saw(150, 230, A, B, (3, "x")), replace(NEW, seqs=(3,))],
            id="shown together with what is new",
        ),
        pytest.param(
            "ghost",
            [
                ONE,
                PAIR,
                FELL,
                wrote(200, 220, (2, "x")),
                saw(230, 240, (3, "c"), tail=1),
                AFTER_ALL,
            ],
            id="in the place of what is new",
        ),
        pytest.param(
            "stale",
            [ONE, TWO, FELL, NEW, saw(230, 240, A), AFTER_ALL],
            id="what is new is not shown",
        ),
        pytest.param("lost", [ONE, TWO, FELL, NEW, saw(230, 240, A)], id="what is new is nowhere"),
        pytest.param(
            "vanished",
            [ONE, TWO, saw(60, 70, A, B), FELL, saw(130, 140), AFTER_ALL],
            id="neither of the pasts",
        ),
        pytest.param(
            "split", [ONE, PAIR, replace(FELL, messages=(A, B))], id="half an append was kept"
        ),
        pytest.param(
            "split",
            [
                Attempted("w", 0, ("a", "b", "c")),
                wrote(20, 30, D),
                Rewound("w", 40, 50, 3, Version(1, 3)),
                Fell("n", 100, 110, (A, B)),
            ],
            id="half an append was kept, and what is missing was not rewound",
        ),
        pytest.param(
            "misnumbered", [ONE, TWO, replace(FELL, messages=((1, "b"),))], id="kept elsewhere"
        ),
        pytest.param(
            "stale",
            [
                *REWOUND,
                FELL,
                PERHAPS,
                saw(260, 270, version=(2, 0)),
                saw(300, 310, A, version=(1, 1)),
            ],
            id="a clear that was lost, for longer than may be",
        ),
        pytest.param(
            "stale",
            [
                *REWOUND,
                FELL,
                PERHAPS,
                saw(130, 140, version=(2, 0)),
                saw(300, 310, A, version=(2, 1)),
                saw(320, 330, A, version=(1, 1)),
            ],
            id="a version before one that is new",
        ),
        pytest.param(
            "ghost",
            [ONE, TWO, FELL, NEW, *ONCE_MORE[:2], saw(340, 350, A, B), ONCE_MORE[2]],
            id="what was lost first, shown after the second time",
        ),
    ],
)
def test_what_a_database_lost_does_not_come_back(kind: str, events: list[Event]) -> None:
    assert kind in {violation.kind for violation in check(events, shown_for=150)}


def test_a_fall_is_read_back_from_a_log(tmp_path: Path) -> None:
    began = time.monotonic_ns()
    with Log(tmp_path / "n.jsonl") as log:
        log.fell(began, [A, B])
    [event] = load([tmp_path / "n.jsonl"])
    assert isinstance(event, Fell)
    assert event == Fell("n", began, event.ended, (A, B))
    assert event.ended >= began
