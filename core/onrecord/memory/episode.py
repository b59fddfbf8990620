"""Episodes: what an agent went through, as messages of a session that belong together."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, TypeGuard

from msgspec.structs import replace

from onrecord.arguments import mapping, moment
from onrecord.blocks import Text, ToolCall, text_of
from onrecord.errors import InvalidMessage, Misconfigured, shown
from onrecord.memory.event import NO_TIME, told
from onrecord.memory.marks import SUMMARY
from onrecord.memory.wording import in_a_line, indented
from onrecord.message import CONVERSATION, MARKS, Message
from onrecord.scope import check_name

OBSERVATION: Final = "observation"
ACTION: Final = "action"
USUAL: Final = 0.5
"""The importance of an episode of which nothing else is said."""


@dataclass(frozen=True, slots=True, repr=False)
class Episode:
    """A conversation, an observation or an action. Yours to keep. Equal to another that says the
    same, however relevant it was when it was read."""

    agent_id: str
    episode_type: str
    messages: tuple[Message, ...]
    """As they are stored, or will be."""
    created_at: datetime
    id: str = ""
    """By which it is read again; empty until it is stored."""
    importance: float = USUAL
    metadata: Mapping[str, Any] = field(default_factory=dict)
    relevance: float = field(default=1.0, compare=False)
    """When it was read, from 0 to 1."""
    uses: int = field(default=0, compare=False)
    """How often it had been found or read before that."""
    pinned: bool = field(default=False, compare=False)

    @classmethod
    def conversation(
        cls,
        agent: str,
        user_input: str,
        response: str,
        *,
        importance: float = USUAL,
        metadata: Mapping[str, Any] | None = None,
        created_at: datetime | None = None,
    ) -> Episode:
        """What a user said, and the answer: the two messages of a turn."""
        _check_text("user_input", user_input)
        _check_text("response", response)
        said = [Message("user", user_input), Message("assistant", response)]
        return _made(agent, CONVERSATION, said, importance, metadata, created_at)

    @classmethod
    def observation(
        cls,
        agent: str,
        text: str,
        *,
        importance: float = USUAL,
        metadata: Mapping[str, Any] | None = None,
        created_at: datetime | None = None,
    ) -> Episode:
        """What an agent was told by its surroundings: a message of role user, by that name."""
        _check_text("text", text)
        said = [Message("user", text, OBSERVATION)]
        return _made(agent, OBSERVATION, said, importance, metadata, created_at)

    @classmethod
    def action(
        cls,
        agent: str,
        text: str,
        result: str,
        *,
        importance: float = USUAL,
        metadata: Mapping[str, Any] | None = None,
        created_at: datetime | None = None,
    ) -> Episode:
        """What an agent did, and what came of it: a call and its result."""
        _check_text("text", text)
        _check_text("result", result)
        call = secrets.token_hex(8)
        said = [
            Message("assistant", [Text(text), ToolCall(ACTION, {}, call)]),
            Message("tool", result, ACTION, call),
        ]
        return _made(agent, ACTION, said, importance, metadata, created_at)

    @property
    def content(self) -> str:
        """What it says, as text: for a prompt, or to look at."""
        match self.episode_type, self.messages:
            case (("observation" | "summary"), (one,)):
                return one.text
            case "action", (done, came):
                return f"{indented(done.text)}\nresult: {indented(text_of(came.content))}"
        return "\n".join(_line(message) for message in self.messages)

    @property
    def user_input(self) -> str:
        """What the user said in a conversation; empty elsewhere."""
        first = self.messages[0]
        conversation = self.episode_type == CONVERSATION and first.role == "user"
        return first.text if conversation else ""

    @property
    def response(self) -> str:
        """The last that the agent said in a conversation; empty elsewhere."""
        if self.episode_type != CONVERSATION:
            return ""
        said = [m.text for m in self.messages if m.role == "assistant" and m.text]
        return said[-1] if said else ""

    @property
    def result(self) -> str:
        """What came of an action; empty elsewhere."""
        return text_of(self.messages[-1].content) if self.episode_type == ACTION else ""

    def __str__(self) -> str:
        return f"[{self.episode_type}] {indented(self.content)}"

    def __repr__(self) -> str:
        text = " ".join(self.content.split())
        text = text if len(text) <= 60 else f"{text[:59]}…"
        pinned = ", pinned" if self.pinned else ""
        return f"Episode({self.episode_type}, {text!r}, relevance {self.relevance:.2f}{pinned})"


def summary_of(
    text: str, covers: int, since: datetime, until: datetime, importance: float
) -> Message:
    """The message that stands in the place of several episodes."""
    marks = {"episode": SUMMARY, "of": 1, "covers": covers, "since": since, "until": until}
    if importance != USUAL:
        marks["importance"] = importance
    return Message("user", text, SUMMARY, native={MARKS: marks})


def metadata_of(message: Message) -> dict[str, Any]:
    """What was said beside an episode."""
    return dict(message.metadata)


def importance_in(marks: Mapping[str, Any]) -> float:
    """How important an episode is, by what its first message says of itself."""
    given = marks.get("importance", USUAL)
    return given if _is_importance(given) else USUAL


def ended_at(message: Message, marks: Mapping[str, Any]) -> datetime:
    """When it was said; of a summary, when the newest was that it covers."""
    until = marks.get("until")
    if isinstance(until, datetime) and until.utcoffset() is not None:
        return until
    return message.created_at or NO_TIME


def _made(
    agent: str,
    kind: str,
    said: Sequence[Message],
    importance: float,
    metadata: Mapping[str, Any] | None,
    created_at: datetime | None,
) -> Episode:
    check_name("agent", agent)
    if not _is_importance(importance):
        raise Misconfigured(f"importance has to be from 0 to 1, not {shown(importance)}.")
    moment("created_at", created_at)
    beside = mapping("metadata", metadata)
    at = datetime.now(UTC) if created_at is None else created_at
    # An id for each, so that an episode that is stored again is stored once.
    key = secrets.token_hex(8)
    first: dict[str, Any] = {"episode": kind, "of": len(said)}
    if importance != USUAL:
        first["importance"] = float(importance)
    messages = tuple(
        replace(
            message,
            id=key if n == 1 else f"{key}.{n}",
            created_at=at,
            metadata=beside if n == 1 else {},
            native={MARKS: first if n == 1 else {"episode": kind, "part": n, "of": len(said)}},
        )
        for n, message in enumerate(said, 1)
    )
    return Episode(agent, kind, messages, at, "", float(importance), dict(beside))


def _check_text(what: str, given: object) -> None:
    if not isinstance(given, str):
        raise InvalidMessage(f"{what} has to be text, not {shown(given)}. Nothing was written.")


def _is_importance(given: object) -> TypeGuard[float]:
    return isinstance(given, int | float) and not isinstance(given, bool) and 0 <= given <= 1


def _line(message: Message) -> str:
    text = text_of(message.content)
    if isinstance(kind := message.marks.get("event"), str):
        _, payload = told(message)
        return indented(payload if isinstance(payload, str) else f"{kind}: {text}")
    return f"{in_a_line(message.role)}: {indented(text)}"
