"""What a feed hands out: what happened to a session since its reader last finished it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

from onrecord.message import Message
from onrecord.scope import AnyName
from onrecord.version import SessionInfo, Version

ChangeKind: TypeAlias = Literal["appended", "rewritten", "erased"]


class Handout(NamedTuple):
    """Under what a change was handed out, and what its reader has finished when it is done."""

    feed: bytes
    """Of which feed it is."""
    shard: int
    holder: int
    lineage: int
    token: int
    reader: int = 0
    """The number of the feed's row."""
    more: bool = True
    """Whether there may have been more to hand out, beside what was with other workers."""


@dataclass(frozen=True, slots=True, repr=False)
class Change:
    """What happened to a session since its reader last finished it. Yours to keep."""

    kind: ChangeKind
    """``appended``: ``messages`` came after those that the reader knows. ``rewritten``: what it
    knows is worth nothing, and ``messages`` are there from the beginning. ``erased``: nothing is
    there, and not even the name may be."""
    number: int
    """The session's: each change of it carries the same."""
    session: SessionInfo | None
    """The session as it is now; None where it was erased."""
    then: Version
    """What the reader has finished; (0, 0) where that is nothing, or was erased."""
    now: Version
    """What it has finished when this is done; later ones of a session are greater, also of one that
    was erased and has come back. Of many messages the first ones come first, and the others in
    changes after it: ``session.version`` is where the session stands."""
    messages: list[Message]
    handout: Handout = field(compare=False)
    """How the feed knows it again."""

    def __repr__(self) -> str:
        where = f"session {self.number}" if self.session is None else repr(self.session.key)
        return (
            f"Change({self.kind}, {where}, {tuple(self.then)} to {tuple(self.now)}, "
            f"{len(self.messages)} messages)"
        )


@dataclass(frozen=True, slots=True)
class FeedInfo:
    """A reader, and how far behind it is."""

    name: str
    tenant: AnyName | None
    """Whose sessions it reads, with user and agent; None where those names were erased."""
    user: AnyName | None
    agent: AnyName | None
    behind: int
    """How many sessions it has not finished."""
    number: int = field(repr=False)
    """In the order in which readers began."""
