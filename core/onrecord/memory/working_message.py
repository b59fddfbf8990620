"""A message of a working memory: a role, a content and a call of a tool, over a stored Message."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias
from uuid import uuid4

from msgspec.structs import replace

from onrecord.adapters.outgoing import outgoing
from onrecord.blocks import Block, Text, ToolCall
from onrecord.errors import InvalidMessage, shown
from onrecord.memory.saying import check_said
from onrecord.memory.wording import in_a_line, indented
from onrecord.message import MARKS, Message
from onrecord.store import Store

Content: TypeAlias = str | tuple[Block, ...] | None
"""Text, None where there is none, as beside a call; blocks, where there are others than text."""

_CALL: Final = "tool_call"
"""Among the marks: the call as it was given, where its block says it in another shape."""
_ARGUMENTS: Final = ("args", "arguments", "input")
"""What the arguments of a call are called, by us and by providers."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class WorkingMessage:
    """Something that was said. Equal to another that says the same, whenever and wherever."""

    message: Message
    """As it is stored, or will be: with all its blocks."""

    @property
    def role(self) -> str:
        """Who says it."""
        return self.message.role

    @property
    def content(self) -> Content:
        """What is said, without the calls of tools."""
        match tuple(b for b in self.message.content if not isinstance(b, ToolCall)):
            case ():
                return None
            case (Text(text, extra),) if not extra:
                return text
            case blocks:
                return blocks

    @property
    def tool_call(self) -> Any:
        """The call as it was given: what is called, or of a tool's message what it answers; a list
        of several. None where there is none."""
        if _CALL in self.message.marks:
            return self.message.marks[_CALL]
        return _call_in(self.message)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, WorkingMessage):
            return NotImplemented
        return _said(self.message) == _said(other.message)

    __hash__ = None  # type: ignore[assignment]

    def __str__(self) -> str:
        calls = [f"{call.name}({call.args})" for call in self.message.tool_calls]
        said = " ".join(filter(None, [self.message.text, *calls]))
        return f"{in_a_line(self.role)}: {indented(said)}"

    def __repr__(self) -> str:
        call = "" if self.tool_call is None else f", tool_call={self.tool_call!r}"
        return f"WorkingMessage({self.role!r}, {self.content!r}{call})"


def working_message(store: Store, role: str, content: object, tool_call: object) -> WorkingMessage:
    """Make a message that can be stored, with an id and the present time; InvalidMessage where it
    cannot be."""
    check_said(role, content, called=tool_call is not None)
    fields: dict[str, Any] = {
        "role": role,
        "content": content,
        "id": uuid4().hex,
        "created_at": datetime.now(UTC),
    }
    call = _in_mappings(tool_call)
    match call:
        case None:
            pass
        case Mapping() if role == "tool":
            fields |= {"tool_call_id": call.get("id"), "name": call.get("name")}
        case Mapping():
            fields["tool_calls"] = [_with_args(call)]
        case [Mapping(), *_] if all(isinstance(one, Mapping) for one in call):
            fields["tool_calls"] = [_with_args(one) for one in call]
        case _:
            raise InvalidMessage(
                f'tool_call has to be a mapping, {{"id": …, "name": …, "args": {{…}}}} or in '
                f"OpenAI's shape, a ToolCall, or a list of these, not {shown(tool_call)}."
            )
    (message,) = outgoing(store, [fields])
    if call is not None and _call_in(message) != call:
        (message,) = outgoing(store, replace(message, native={MARKS: {_CALL: call}}))
    return WorkingMessage(message)


def _in_mappings(call: object) -> Any:
    """A call, or several, without blocks."""
    match call:
        case list() | tuple():
            return [_shape_of(one) if isinstance(one, ToolCall) else one for one in call]
        case ToolCall():
            return _shape_of(call)
    return call


def _with_args(call: Mapping[str, Any]) -> Mapping[str, Any]:
    """A call with its arguments where ``append`` looks for them."""
    given = dict(call)
    for name in () if "function" in given else _ARGUMENTS:
        if name in given:
            given["args"] = given.pop(name)
            break
    return given


def _call_in(message: Message) -> Any:
    if message.role == "tool":
        answered = {"id": message.tool_call_id, "name": message.name}
        return {key: value for key, value in answered.items() if value is not None} or None
    calls = [_shape_of(call) for call in message.tool_calls]
    return calls[0] if len(calls) == 1 else calls or None


def _shape_of(call: ToolCall) -> dict[str, Any]:
    name = {} if call.id is None else {"id": call.id}
    return {**name, "name": call.name, "args": call.args, **call.extra}


def _said(message: Message) -> Message:
    """A message without what the store fills in, which takes no part in what it says."""
    return replace(message, id=None, created_at=None, seq=None, tokens=None)
