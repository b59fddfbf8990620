"""Reports of maintenance: frozen values, with the numbers first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Literal, NamedTuple, TypeAlias

import msgspec

from onrecord.plural import many
from onrecord.version import SessionInfo, Usage


class Progress(NamedTuple):
    """How far maintenance has come: a ``progress=`` function is called with one."""

    done: int
    of: int
    """How many sessions there are to do, as counted at the beginning."""


OnProgress: TypeAlias = Callable[[Progress], object]


class Stats(msgspec.Struct, frozen=True, kw_only=True):
    """The messages and the items of a store, or of a scope, and the bytes they take."""

    sessions: int
    messages: int
    turns: int
    tokens: int
    usage: Usage
    """What the sessions that are there have spent."""
    raw_bytes: int
    """What the messages take uncompressed, without what a row costs."""
    stored_bytes: int
    """What they take as they are stored."""
    rows: int
    """How many messages are rows of their own."""
    segments: int
    threads: int
    """Of graphs, whose checkpoints are kept here too."""
    items: int
    """Values under keys that have not expired, in namespaces and in states of sessions."""
    namespaces: int
    """How many have such items. Those of two tenants, users or agents are two, though
    ``store.namespaces()`` lists a name once; the states of sessions are none."""
    states: int
    """How many sessions have such items in their state."""
    unindexed: int
    """Messages that the index of search does not have yet; a search finds them all the same."""
    index_bytes: int
    """What the index takes, without what a row costs."""
    item_bytes: int
    """What the values of these take as they are stored."""
    dictionaries: int
    """Of the whole store, whatever the scope."""
    dictionary_bytes: int
    disk_bytes: int
    """The whole file, or all tables with their indexes; of the whole store, whatever the scope."""
    estimated: bool = False
    """Whether what is said of sessions and their messages is an estimate, by a thousand of them."""

    @property
    def saving(self) -> float:
        """The share of the raw bytes that compression saves, 0 to 1."""
        return 1 - self.stored_bytes / self.raw_bytes if self.raw_bytes else 0.0

    def __str__(self) -> str:
        about = "about " if self.estimated else ""
        lines = [
            f"{about}{many(self.sessions, 'session')}, {many(self.messages, 'message')}, "
            f"{many(self.turns, 'turn')}, {many(self.tokens, 'token')}",
            f"{about}{many(self.stored_bytes, 'byte')} of messages, {self.saving:.0%} less than "
            f"uncompressed",
            f"{many(self.items, 'item')}, {many(self.threads, 'thread')}",
            f"{many(self.disk_bytes, 'byte')} on the disk, of the whole store",
        ]
        if self.estimated:
            lines.append("What is about so much is estimated: stats(exact=True) counts all.")
        return "\n".join(lines)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """What IPython and notebooks show."""
        printer.text(str(self))


class Compaction(msgspec.Struct, frozen=True, kw_only=True):
    """The report of a compaction."""

    sessions: int
    """How many were sealed."""
    disk_bytes_before: int
    disk_bytes: int
    problem: str | None = None
    """Why space could not be given back, and what to do; None where it was."""


class Indexing(msgspec.Struct, frozen=True, kw_only=True):
    """The report of an indexing."""

    sessions: int
    """How many had messages that were not indexed."""
    places: int
    """How many messages that were, deleted ones too."""


class Embedding(msgspec.Struct, frozen=True, kw_only=True):
    """The report of what an embedder was shown."""

    sessions: int
    """How many had messages that it had not seen."""
    messages: int
    """How many that were."""
    items: int = 0
    """How many items that it had not seen."""
    forgotten: int = 0
    """Of how many other embedders the vectors were taken away."""


class Training(msgspec.Struct, frozen=True, kw_only=True):
    """The report of a training: the dictionary, and what it saves."""

    dictionary: int | None
    """Its number in the store; None where nothing was learned."""
    dictionary_bytes: int
    messages: int
    """How many it was learned from and tried on."""
    bytes_before: int
    """What a fifth of them, held back to try it on, take without it."""
    bytes_after: int

    @property
    def saving(self) -> float:
        """The share it saves of what is compressed without it, 0 to 1."""
        return 1 - self.bytes_after / self.bytes_before if self.bytes_before else 0.0


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One thing in a database that is damaged, missing or miscounted."""

    kind: Literal["damaged", "gap", "count", "stray"]
    where: str
    """The session, or the table."""
    first: int | None = None
    """The sequences that it concerns."""
    last: int | None = None
    what: str

    def __str__(self) -> str:
        match self.first, self.last:
            case None, _:
                place = ""
            case first, last if first == last:
                place = f", message {first}"
            case first, last:
                place = f", messages {first} to {last}"
        return f"{self.kind}: {self.where}{place}: {self.what}"


class Export(msgspec.Struct, frozen=True, kw_only=True):
    """The report of an export."""

    sessions: int
    messages: int
    deleted: int
    """Places whose message was deleted: they are kept, so that no other one moves."""
    damaged: int
    """How many of the messages and items can no longer be read. Their bytes are in the file."""
    bytes: int
    """Before compression."""
    items: int = 0


class Import(msgspec.Struct, frozen=True, kw_only=True):
    """The report of an import."""

    sessions: int
    """How many the file has."""
    written: int
    """Of how many something was written; the others were there, or differ."""
    messages: int
    """How many messages were written."""
    differing: tuple[str, ...] = ()
    """Of each session and each item that is there and says something else: which, where and how.
    It was left as it is."""
    items: int = 0
    """How many items were written."""


class Pruning(msgspec.Struct, frozen=True, kw_only=True):
    """The sessions that were pruned, or would be, and how many items."""

    dry_run: bool
    count: int
    """How many sessions that are."""
    sessions: tuple[SessionInfo, ...]
    """The first thousand of them, those that were quiet for longest."""
    messages: int
    """Of all of them."""
    archived_to: str | None = None
    items: int = 0
    """That had expired. They are in no archive."""


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """The receipt of an erasure: what it removed, by table and count."""

    scope: str
    at: datetime
    removed: Mapping[str, int]
    left: int = 0
    """How many sessions of the same tenant or user stand under other names, and were left."""
    traces: str | None = None
    """Where bytes of it may still lie, and what to do; None where there are none."""
    dry_run: bool = False
    """Whether nothing was removed: then this is what would be, but for what was learned from it,
    and ``traces`` says what can be known before."""


class StepProgress(NamedTuple):
    """How far ``maintain`` has come: its ``progress=`` function is called with one."""

    step: str
    """What it is at."""
    number: int
    """Of the steps: 1 for the first."""
    of: int
    done: int
    """How much this step has done by now: see ``MaintenanceStep.counts``."""


OnStep: TypeAlias = Callable[[StepProgress], object]
StepName: TypeAlias = Literal["prune", "release", "train", "seal", "index", "embed", "tidy"]


class MaintenanceStep(msgspec.Struct, frozen=True, kw_only=True):
    """One step of ``maintain``: what it did, and what it left."""

    name: StepName
    counts: Mapping[str, int]
    """How much it did, by what it is: ``{"session": 3}``."""
    seconds: float
    note: str | None = None
    """Why there was nothing to do, where that is not plain."""
    left: str | None = None
    """What is left to the next run; None where nothing is."""
    problem: str | None = None
    """What went wrong in it; the other steps were done all the same."""

    @property
    def count(self) -> int:
        """How much it did, of everything."""
        return sum(self.counts.values())

    def __str__(self) -> str:
        did = ", ".join(many(count, what) for what, count in self.counts.items() if count)
        said = [
            did,
            self.note,
            None if self.left is None else f"left: {self.left}",
            None if self.problem is None else f"problem: {self.problem}",
        ]
        return "; ".join(filter(None, said)) or "nothing to do"


class Maintenance(msgspec.Struct, frozen=True, kw_only=True):
    """The report of ``maintain``."""

    steps: tuple[MaintenanceStep, ...]
    """In the order in which they were done; none where another was at it."""
    seconds: float
    busy_until: datetime | None = None
    """Where another ``maintain`` is at work: when it counts as dead if it does not go on."""

    @property
    def ok(self) -> bool:
        """Whether no step had a problem."""
        return not any(step.problem for step in self.steps)

    @property
    def complete(self) -> bool:
        """Whether all that was due is done: there is nothing left, and there was no problem."""
        return self.busy_until is None and self.ok and not any(step.left for step in self.steps)

    def __str__(self) -> str:
        if self.busy_until is not None:
            return (
                f"Nothing was done: another maintain() is at work. If it died, the next one may "
                f"begin after {self.busy_until:%H:%M:%S} UTC."
            )
        how = "all that was due" if self.complete else "some of what was due"
        lines = [f"Did {how} in {self.seconds:.1f} s."]
        lines += [f"  {step.name:<8} {step.seconds:6.1f} s  {step}" for step in self.steps]
        return "\n".join(lines)
