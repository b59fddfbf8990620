"""Hits: what a search has found, with where it stands and what was said around it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from onrecord.arguments import whole_number
from onrecord.item import Item
from onrecord.message import Message
from onrecord.version import SessionInfo

if TYPE_CHECKING:
    from onrecord.session import Session


@dataclass(frozen=True, slots=True, repr=False)
class Hit:
    """A message that was found, as it stood when it was read."""

    message: Message
    info: SessionInfo
    """Of the session that it stands in."""
    score: float
    """How well it answers, from 0 to about 1; the same for the same words on every database."""
    session: Session = field(compare=False)
    """A handle on that session."""

    def __repr__(self) -> str:
        text = " ".join(self.message.text.split())
        said = text if len(text) <= 60 else f"{text[:59]}…"
        where = f"{self.info.key!r} #{self.message.seq}"
        return f"Hit({self.score:.2f}, {where}, {self.message.role}: {said!r})"

    def around(self, n: int = 2) -> list[Message]:
        """The messages around it: n before, itself, and n after it, as they are now."""
        after, before = _places(self.message, n)
        return self.session.messages(after=after, before=before)

    async def aaround(self, n: int = 2) -> list[Message]:
        """Like ``around``."""
        after, before = _places(self.message, n)
        return await self.session.amessages(after=after, before=before)


@dataclass(frozen=True, slots=True)
class ItemHit:
    """An item that was found."""

    item: Item
    score: float | None
    """How well it answers, from 0 to about 1; None where nothing was asked."""


class Hits(list[Hit]):
    """What a search has found, the best first."""

    def __init__(self, hits: Iterable[Hit] = (), *, complete: bool = True) -> None:
        super().__init__(hits)
        self.complete = complete
        """Whether all that was said was looked at; if not, there was no time for the rest. What was
        indexed stays so: search again."""

    def _repr_html_(self) -> str:
        from onrecord.notebook.display import hits_html

        return hits_html(self)


def _places(message: Message, n: int) -> tuple[int, int]:
    """Behind which place to read, and before which."""
    n, seq = whole_number("n", n), message.seq or 0
    return max(seq - n - 1, 0), seq + n + 1
