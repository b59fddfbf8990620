"""What is recalled: older turns worth showing beside a window, as values and as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import overload

from onrecord.blocks import text_of
from onrecord.message import Message
from onrecord.version import SessionInfo


@dataclass(frozen=True, slots=True)
class Passage:
    """Whole turns that follow each other in one session, in the order they were said."""

    info: SessionInfo
    messages: tuple[Message, ...]
    score: float
    """Of the best that was found in it."""

    @property
    def heading(self) -> str:
        """When it was said, and where."""
        at = self.messages[0].created_at
        when = "" if at is None else f" on {at.astimezone(UTC):%Y-%m-%d}"
        return f'Said{when} in "{self.info.title or self.info.key}":'

    @property
    def text(self) -> str:
        """The same for a prompt, with who said what."""
        lines = [self.heading]
        for message in self.messages:
            who = message.role if message.name is None else f"{message.name} ({message.role})"
            lines.append(f"{who}: {text_of(message.content)}")
        return "\n".join(lines)


class Recalled(Sequence[Passage]):
    """What was recalled, in the order it was said: nothing, where nothing is relevant."""

    def __init__(self, passages: Sequence[Passage], *, tokens: int, complete: bool) -> None:
        self.passages = tuple(passages)
        self.tokens = tokens
        """Of its messages and headings, as the store's counter has it."""
        self.complete = complete
        """Whether all that was said was looked at."""

    @property
    def messages(self) -> list[Message]:
        """All messages, in the order they were said."""
        return [message for passage in self.passages for message in passage.messages]

    @property
    def text(self) -> str:
        """All of it for a prompt; empty where nothing was recalled."""
        return "\n\n".join(passage.text for passage in self.passages)

    @overload
    def __getitem__(self, index: int) -> Passage: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Passage]: ...
    def __getitem__(self, index: int | slice) -> Passage | Sequence[Passage]:
        return self.passages[index]

    def __len__(self) -> int:
        return len(self.passages)

    def __iter__(self) -> Iterator[Passage]:
        return iter(self.passages)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Recalled) and self.passages == other.passages

    def __hash__(self) -> int:
        return hash(len(self.passages))

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        places = [f"{p.info.key!r} #{p.messages[0].seq}-{p.messages[-1].seq}" for p in self]
        return f"Recalled({', '.join([*places, f'{self.tokens} tokens'])})"

    def _repr_html_(self) -> str:
        from onrecord.notebook.display import recalled_html

        return recalled_html(self)
