"""How far a run of an agent is stored, and what the messages of its state are to it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final
from uuid import NAMESPACE_OID, uuid4, uuid5

import msgspec
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langgraph.types import Command
from typing_extensions import TypedDict

from langchain_onrecord.messages import TURN, is_made_up, to_langchain
from onrecord import Message
from onrecord.adapters.bounded import Bounded

if TYPE_CHECKING:
    from langchain.agents.middleware.types import ModelResponse

    from onrecord import Session

_DIGITS: Final = 8
"""How many of them a digest has."""

_MANY: Final = 4096
"""So many runs may be under way in a process, and each is remembered."""


class RunProgress(TypedDict):
    """How far a run's messages are stored; kept in the state of the run, where checkpoints
    keep it as well."""

    session: dict[str, str]
    """The parts of the session's name, as they were when the run began."""
    epoch: int
    head: int
    """Up to where the state shows what is in the session."""
    known: list[str]
    """The ids of the messages the run began with, and of those that are stored since."""
    turn: str | None
    """The id of the message that opened the turn."""
    run: str
    """What the ids of the tool results begin with that the run has stored."""
    said: dict[str, str]
    """What the user said in this run, by id: a digest of it, to see whether others change it."""


def parts_of(session: Session) -> dict[str, str]:
    return msgspec.structs.asdict(session.name)


def id_of(message: BaseMessage) -> str:
    """Give a message's id, and one to a message that has none: then saying it again is a retry."""
    if not message.id:
        message.id = str(uuid4())
    return message.id


def id_in(run: str, of: str) -> str:
    """Make another id for what a run says under one that is taken: the same one each time."""
    return str(uuid5(NAMESPACE_OID, f"{run} {of}"))


class Runs:
    """The ids of messages that runs have stored, for as long as this process remembers them.

    The state cannot be told of a call before its tools begin, and several begin at once.
    """

    def __init__(self) -> None:
        self._stored: Bounded[str, set[str | None]] = Bounded(_MANY)

    def begin(self, run: str, stored: Iterable[str | None] = ()) -> set[str | None]:
        """Remember a run. The oldest of very many is forgotten: it was abandoned."""

        def begun(ids: set[str | None] | None, weight: int) -> tuple[set[str | None], int]:
            ids = set() if ids is None else ids
            ids.update(stored)
            return ids, 1

        return self._stored.update(run, begun)

    def stored_in(self, run: str) -> set[str | None] | None:
        """The ids that a run has stored; None if it did not begin here."""
        return self._stored.get(run)

    def forget(self, run: str) -> None:
        """Forget a run that has ended."""
        self._stored.drop(run)


def as_new(response: ModelResponse[Any], progress: RunProgress) -> ModelResponse[Any]:
    """Give the answers of a response ids of their own: LangChain's cache repeats them, and a
    second answer under one id takes the place of the first."""
    known = set(progress["known"])
    if not any(m.id in known for m in response.result):
        return response
    result = [
        m.model_copy(update={"id": str(uuid4())}) if m.id in known else m for m in response.result
    ]
    return replace(response, result=result)


def latest_step(messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    """Take the messages since the last answer but one."""
    end = len(messages)
    while end and isinstance(messages[end - 1], AIMessage):
        end -= 1
    begin = end
    while begin and not isinstance(messages[begin - 1], AIMessage):
        begin -= 1
    return list(messages[begin:end])


def digest(message: BaseMessage) -> str:
    said = repr(message.content).encode("utf-8", "surrogatepass")
    return blake2b(said, digest_size=4).hexdigest()


def is_changed(message: BaseMessage, progress: RunProgress) -> bool:
    """Whether a message that was stored in this run says something else by now."""
    before = progress["said"].get(id_of(message))
    if before is None and id_of(message).startswith(progress["run"]):
        before = id_of(message).removeprefix(progress["run"])[:_DIGITS]
    return before is not None and before != digest(message)


def is_aside(message: BaseMessage) -> bool:
    """Whether nobody said a message: it is a summary that stands for others."""
    return message.additional_kwargs.get("lc_source") == "summarization"


def is_said(message: BaseMessage) -> bool:
    return not is_made_up(message) and not is_aside(message)


def is_left_over(message: BaseMessage) -> bool:
    """Whether a message comes from a run, and not from who called the agent."""
    return isinstance(message, AIMessage | ToolMessage) or is_aside(message)


def asks(message: BaseMessage) -> bool:
    return isinstance(message, HumanMessage) and not is_aside(message)


def question_in(messages: Sequence[BaseMessage]) -> BaseMessage | None:
    """Find the user's last message."""
    return next(filter(asks, reversed(messages)), None)


def is_answered(messages: Sequence[BaseMessage]) -> bool:
    return bool(messages) and isinstance(messages[-1], AIMessage) and not messages[-1].tool_calls


def without(messages: Sequence[BaseMessage], others: Sequence[BaseMessage]) -> list[BaseMessage]:
    there = {message.id for message in others}
    return [message for message in messages if message.id not in there]


def together(held: Sequence[BaseMessage], newer: Sequence[Message]) -> list[BaseMessage]:
    """Join messages at hand with newer ones: the end of a turn behind its beginning."""
    turns: dict[str | None, list[BaseMessage]] = {}
    turn: str | None = None
    for message in held:
        turn = message.id if asks(message) else turn
        turns.setdefault(turn, []).append(message)
    for said in newer:
        answers = said.metadata.get(TURN)
        if isinstance(answers, str):
            turn = answers
        elif said.opens_turn or turn is None:
            turn = said.id
        turns.setdefault(turn, []).append(to_langchain(said))
    return [message for turn in turns.values() for message in turn]


def up_to_answers(messages: Sequence[BaseMessage]) -> Iterator[list[BaseMessage]]:
    """Split messages into parts, of which each but the last ends with an answer."""
    part: list[BaseMessage] = []
    for message in messages:
        part.append(message)
        if isinstance(message, AIMessage):
            yield part
            part = []
    if part:
        yield part


def tool_messages(result: Any) -> Iterator[ToolMessage]:
    """Find the tool messages in what a tool gave."""
    match result:
        case ToolMessage():
            yield result
        case Command(update={"messages": list(messages)}) | list(messages):
            for message in messages:
                yield from tool_messages(message)
