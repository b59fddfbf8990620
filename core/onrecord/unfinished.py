"""Sessions that somebody has to go on with, and a greeting for who comes back to one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Final

from onrecord.blocks import ToolCall
from onrecord.errors import Misconfigured, shown
from onrecord.message import Message
from onrecord.version import SessionInfo
from onrecord.window import pair

if TYPE_CHECKING:
    from onrecord.session import Session

WELCOME: Final = "Welcome back. You left off at: “{last}”. Continue?"
"""How who comes back is greeted. ``{last}`` is what was said last."""
LONGEST: Final = 200
"""Of what is repeated of what was said last, in characters."""


@dataclass(frozen=True, slots=True, repr=False)
class Unfinished:
    """A session whose newest message waits for an answer or a result, or whose turn was left."""

    info: SessionInfo
    last: Message | None
    """Its newest message; None where a turn was left before anything was said."""
    dangling: tuple[ToolCall, ...]
    """Calls among its newest 32 messages that no result came for."""
    left: bool
    """Whether a turn was left: its holder died, or its loop or machine stood still."""
    said: str
    """What was said last, in one line: by the user, where the user has spoken lately."""
    words: str
    """What ``welcome`` is made of."""
    session: Session = field(compare=False)
    """A handle on it."""
    place: tuple[int, int] = field(compare=False)
    """Where it stands in the list."""

    @property
    def since(self) -> datetime | None:
        """Since when it waits."""
        return self.info.last_active if self.last is None else self.last.created_at

    @property
    def welcome(self) -> str:
        """A greeting for who comes back: ``Welcome back. You left off at: “…”. Continue?``"""
        return self.words.replace("{last}", self.said)

    def __repr__(self) -> str:
        calls = f", dangling={len(self.dangling)}" if self.dangling else ""
        left = ", a turn was left" if self.left else ""
        return f"Unfinished({self.info.key!r}, {self.said!r}{calls}{left})"


def check_words(words: object) -> None:
    """Refuse what cannot greet anybody."""
    if not isinstance(words, str) or not words.strip():
        raise Misconfigured(
            f"welcome has to be a text, as {WELCOME!r}, not {shown(words)}. {{last}} in it stands "
            f"for what was said last."
        )


def unfinished_of(
    info: SessionInfo,
    messages: Sequence[Message],
    left: bool,
    place: tuple[int, int],
    words: str,
    session: Session,
) -> Unfinished:
    """What is known of an unfinished session by its newest messages."""
    dangling = tuple(call for _, call in pair(messages).dangling)
    last = messages[-1] if messages else None
    return Unfinished(info, last, dangling, left, _said(messages, dangling), words, session, place)


def _said(messages: Sequence[Message], dangling: Sequence[ToolCall]) -> str:
    spoken = [message for message in messages if message.text.strip()]
    said = [message for message in spoken if message.was_said]
    by_user = [message for message in said if message.role == "user"]
    if words := by_user or said or spoken:
        return _in_one_line(words[-1].text)
    return ", ".join(call.name for call in dangling) or "the beginning"


def _in_one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"
