"""A gist: the summary of a session's older messages as its ``state`` keeps it.

Who makes it is ``onrecord.memory.RollingSummary``; the core calls no model. It is derived: it goes
with any message that it was made from (``item.DERIVED``), so that one that is there can be shown.
"""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias

import msgspec

from onrecord.item import DERIVED, Item
from onrecord.version import NOTHING, Version

GIST: Final = f"{DERIVED}gist"
"""Its key in the state."""
EXTRACT: Final = f"{DERIVED}extract"
"""The key of one that was made without a model: neither takes the other's place."""

Kind: TypeAlias = bool | Literal["extractive"]
"""Which one is asked for: none, the one that a summariser made, or the one of sentences."""


class Gist(msgspec.Struct, frozen=True):
    """A summary of a session's first messages. False where there is none."""

    text: str = ""
    version: Version = NOTHING
    """It stands for what was said up to here: the epoch it was made in, and the newest of the
    messages that are in it."""
    messages: int = 0
    """How many these are."""
    extractive: bool = False
    """Whether it was made by choosing sentences, without a model."""

    def __bool__(self) -> bool:
        return self.version.head > 0

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        if not self:
            return "Gist()"
        text = " ".join(self.text.split())
        said = text if len(text) <= 60 else f"{text[:59]}…"
        kind = ", extractive" if self.extractive else ""
        return f"Gist({said!r}, {self.messages} messages up to {tuple(self.version)}{kind})"

    @property
    def value(self) -> dict[str, Any]:
        """What is kept of it."""
        said = msgspec.structs.asdict(self)
        return {**said, "version": list(self.version)}


NO_GIST: Final = Gist()


def gist_in(item: Item | None) -> Gist:
    """The gist that an item keeps; none where it is something else."""
    match None if item is None else item.value:
        case {
            "text": str(text),
            "version": [int(epoch), int(head)],
            "messages": int(messages),
            "extractive": bool(extractive),
        }:
            return Gist(text, Version(epoch, head), messages, extractive)
        case _:
            return NO_GIST
