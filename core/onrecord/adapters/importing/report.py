"""Reports of an import, while it runs and at its end."""

from __future__ import annotations

from typing import NamedTuple

from msgspec import Struct


class Unread(NamedTuple):
    """Something that could not be read, and why. A row of None stands for the whole session."""

    session: str | None
    row: str | None
    reason: str

    def __str__(self) -> str:
        row = "" if self.row is None else f"row {self.row} of "
        whose = "no session" if self.session is None else f"session {self.session!r}"
        return f"{row}{whose}: {self.reason}"


class Imported(Struct, frozen=True, kw_only=True, repr_omit_defaults=True):
    """The report of an import."""

    sessions: int
    """How many conversations of the source were looked at; a thread of checkpoints is one."""
    messages: int = 0
    """How many messages are new in the store."""
    checkpoints: int = 0
    """How many checkpoints are new in the store, where the source is made of those."""
    already_there: int
    """How many messages or checkpoints of the source had been brought before."""
    unread: tuple[Unread, ...]
    """What could not be brought. All the rest was."""
    behind: tuple[str, ...]
    """Conversations in which somebody had spoken already, so that the new ones come after that."""
    left_alone: tuple[str, ...] = ()
    """Threads that have gone on here, or were deleted here, and were not touched."""
    incomplete: tuple[Unread, ...] = ()
    """Messages that their framework refuses to read. They were brought: what can be read of them
    is there, and the rest is kept as it was, with words in its place."""


class ImportProgress(NamedTuple):
    """How far an import has come, after a batch."""

    session: str
    sessions: int
    messages: int


class Tally:
    """Counts of what was imported so far."""

    def __init__(self) -> None:
        self.sessions = self.messages = self.there = 0
        self.unread: list[Unread] = []
        self.behind: list[str] = []
        self.incomplete: dict[Unread, None] = {}
        """Each once: where a source is rewritten while it is read, rows are read again."""

    def brought(self) -> Imported:
        """Make the report."""
        return Imported(
            sessions=self.sessions,
            messages=self.messages,
            already_there=self.there,
            unread=tuple(self.unread),
            behind=tuple(self.behind),
            incomplete=tuple(self.incomplete),
        )


def printable(text: str) -> str:
    """Escape what not every terminal and log takes."""
    return text.encode("utf-8", "backslashreplace").decode()
