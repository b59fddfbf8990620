"""Sources of an import: their conversations, rows, and bookmarks of how far they were read."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Annotated, Final, NamedTuple, TypeAlias

from msgspec import Meta, Struct
from msgspec.structs import replace

from onrecord.adapters.importing.report import Unread
from onrecord.message import Message

REMEMBERED: Final = 8
"""How many of the last rows a mark describes."""


class SourceRow(NamedTuple):
    """One entry of a conversation as its source has it."""

    name: str
    """What reports call it. With its content it makes the id of a message that has none."""
    raw: bytes
    said: Message | str
    """The message, or why there is none."""
    flaw: str = ""
    """What of the message could not be read."""
    archived: bool = False


RowOf: TypeAlias = Callable[[str, bytes], SourceRow]
"""Makes a row of its name and of what stands there."""


class Page(NamedTuple):
    """Some rows of a conversation."""

    rows: list[SourceRow]
    read: int
    """How many rows the conversation has up to the end of this page."""
    more: bool
    anew: bool = False
    """Whether it begins with the first row: the source is not what it was at the mark."""
    base: int = 0
    """How many rows went before the first one and are gone, where rows are named by counting."""
    gone: int = 0
    """How many rows at the mark's end are gone. The page begins where they stood."""
    archived: int = 0
    """How many of the rows up to the end of this page are archived."""


Count: TypeAlias = Annotated[int, Meta(ge=0)]


class Bookmark(Struct, frozen=True, omit_defaults=True):
    """The place up to which a conversation was read."""

    read: Count = 0
    row: str = ""
    last: tuple[str, ...] = ()
    """What the last rows were, the newest at the end; see ``digest``."""
    base: Count = 0
    there: Count = 0
    """How many of the rows are messages of the session now."""
    unread: Count = 0
    """How many could not be read. If there are any, the next import begins with the first row."""
    archived: Count = 0
    """How many of the rows were archived when they were looked at."""
    head: Count = 0
    """The sequence of the last message that came from these rows."""
    epoch: int | None = None
    """The session's when the first row was brought."""
    open: int | None = None
    """While rows are being brought, the epoch since when the session must not have been cut."""

    def anew(self, base: int) -> Bookmark:
        """Before the first row, of which it is not known whether it was brought."""
        return Bookmark(base=base, epoch=self.epoch, open=self.epoch)

    def cut(self, gone: int) -> Bookmark:
        """Before the last rows, which are gone."""
        last = self.last[: max(0, len(self.last) - gone)]
        there = max(0, self.there - gone)
        return replace(self, read=max(0, self.read - gone), last=last, there=there)

    def after(self, page: Page) -> Bookmark:
        """Behind the rows of a page."""
        newest = page.rows[-REMEMBERED:]
        return replace(
            self,
            read=page.read,
            row=newest[-1].name if newest else self.row,
            last=(*self.last, *(digest(row.raw) for row in newest))[-REMEMBERED:],
            base=page.base,
            archived=page.archived,
        )


class Conversation(ABC):
    """One conversation of a source."""

    id: str

    @abstractmethod
    def after(self, mark: Bookmark, limit: int) -> Page:
        """Read the next rows; the first ones where those of the bookmark are no longer there."""

    async def aafter(self, mark: Bookmark, limit: int) -> Page:
        """Like ``after``, in a thread."""
        return await asyncio.to_thread(self.after, mark, limit)


class Source(ABC):
    """Where conversations come from. It is only read, in steps that leave nothing open."""

    name: str
    """What marks are kept under: the same whenever it is the same source."""
    label: str
    """What the ids of messages begin with that had none."""

    @abstractmethod
    def conversations(self) -> Sequence[Conversation | Unread]:
        """Find the next few; none at the end."""

    async def aconversations(self) -> Sequence[Conversation | Unread]:
        """Like ``conversations``, in a thread."""
        return await asyncio.to_thread(self.conversations)

    def close(self) -> None:  # noqa: B027 - not every source has something to close
        """Close what is the source's own."""


def digest(raw: bytes) -> str:
    """Hash a row, to know it again."""
    return blake2b(raw, digest_size=8).hexdigest()
