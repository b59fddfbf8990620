"""What workers write down of one session, and what can be wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from onrecord.version import Version


@dataclass(frozen=True, slots=True)
class Attempted:
    """An append of which nobody knows the outcome: all of it may be there at any time, or none."""

    worker: str
    began: int
    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Appended:
    """An append that was acknowledged: one batch, and the sequence of each of its messages."""

    worker: str
    began: int
    ended: int
    ids: tuple[str, ...]
    seqs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """An append that failed with an error saying that nothing was written."""

    worker: str
    began: int
    ended: int
    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rewound:
    """Everything after ``head`` was taken away; a clear is a rewind to 0.

    Without ``ended`` the outcome is unknown: it may happen at any time after it began.
    """

    worker: str
    began: int
    ended: int | None
    head: int
    version: Version | None = None
    """Where the session stood afterwards."""


@dataclass(frozen=True, slots=True)
class Deleted:
    """One message was taken away and its place left empty. Without ``ended`` perhaps."""

    worker: str
    began: int
    ended: int | None
    seq: int
    version: Version | None = None


@dataclass(frozen=True, slots=True)
class Read:
    """What a reader was given: (seq, id) in the order in which they came."""

    worker: str
    began: int
    ended: int
    messages: tuple[tuple[int, str], ...]
    tail: int | None = None
    """How many of the newest messages were asked for; None for the whole session."""
    version: Version | None = None
    """The version that these messages are, where the reader was told it with them."""


@dataclass(frozen=True, slots=True)
class Fell:
    """The database came back without its newest commits, as after a restored backup.

    Nothing new was committed between ``began`` and ``ended``, when it was looked at and had
    exactly these messages. What it has lost is lost from then on.
    """

    worker: str
    began: int
    ended: int
    messages: tuple[tuple[int, str], ...]


Event: TypeAlias = Attempted | Appended | Refused | Rewound | Deleted | Read | Fell
"""What a worker writes down: what it tried, and what it saw."""

Kind = Literal[
    "lost",
    "duplicated",
    "invented",
    "split",
    "reordered",
    "gap",
    "stale",
    "vanished",
    "misnumbered",
    "resurrected",
    "ghost",
]
"""What can be wrong.

lost          acknowledged before a read began, not in it, and never seen afterwards
stale         acknowledged before a read began and not in it, though a later read has it;
              or a version older than one that was seen before
vanished      in an earlier read of the same epoch, and not in this one
duplicated    twice in one read
invented      never appended, refused, or read before anybody began to append it
split         a part of one append without the rest, or with something in between
reordered     not in the order of the sequence numbers, or in another order than before
gap           sequence numbers that do not run from 1 without a hole
misnumbered   acknowledged with another sequence number than it has
resurrected   read after it had been cleared, rewound or deleted
ghost         lost when the database fell back, and shown longer than may be, or with what is new
"""


@dataclass(frozen=True, slots=True)
class Violation:
    """Something that no correct store would have answered, and the events that show it."""

    kind: Kind
    what: str
    events: tuple[Event, ...]
    origin: int = field(default=0, repr=False, compare=False)
    """When the history began: times are told from there."""

    def __str__(self) -> str:
        shown = "".join(f"\n    {_told(event, self.origin)}" for event in self.events)
        return f"{self.kind}: {self.what}{shown}"


def _told(event: Event, origin: int) -> str:
    began = _time(event.began, origin)
    match event:
        case Attempted():
            span = f"{began}, no answer"
            did = f"was appending {_ids(event.ids)}"
        case Appended():
            span = f"{began} to {_time(event.ended, origin)}"
            pairs = ", ".join(f"{n!r} as {s}" for n, s in zip(event.ids, event.seqs, strict=False))
            did = f"appended {pairs}"
        case Refused():
            span = f"{began} to {_time(event.ended, origin)}"
            did = f"was refused {_ids(event.ids)}"
        case Rewound() | Deleted():
            answered = event.ended is not None
            span = (
                f"{began} to {_time(event.ended or 0, origin)}"
                if answered
                else f"{began}, no answer"
            )
            did = (
                f"rewound to {event.head}" if isinstance(event, Rewound) else f"deleted {event.seq}"
            )
            if event.version is not None:
                did += f", leaving {tuple(event.version)}"
        case Read():
            span = f"{began} to {_time(event.ended, origin)}"
            what = "the whole" if event.tail is None else f"the newest {event.tail}"
            at = "" if event.version is None else f" at version {tuple(event.version)}"
            did = f"read {what}{at}: {_shown(event.messages)}"
    return f"{event.worker} ({span}) {did}"


def _time(at: int, origin: int) -> str:
    return f"{(at - origin) / 1e6:.3f} ms"


def _ids(ids: Sequence[str]) -> str:
    return ", ".join(map(repr, ids))


def _shown(messages: Sequence[tuple[int, str]]) -> str:
    if not messages:
        return "nothing"
    texts = [f"{seq} {name!r}" for seq, name in messages]
    if len(texts) > 12:
        texts = [*texts[:4], f"… {len(texts) - 10} more …", *texts[-6:]]
    return ", ".join(texts)
