"""A message of a working memory: a role, a content and a call of a tool, over a stored Message."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias
from uuid import uuid4

from msgspec.structs import replace

from onrecord.accepting import Appendable
from onrecord.adapters.outgoing import outgoing
from onrecord.blocks import Block, Text, ToolCall
from onrecord.errors import InvalidMessage, shown
from onrecord.message import Message
from onrecord.store import Store

Content: TypeAlias = str | tuple[Block, ...]
"""Text; or blocks, where there is more than one plain text."""

_NATIVE: Final = "onrecord.memory"
"""Under which a call is kept as it was given, where its block says it in another shape."""
_CALL: Final = "tool_call"
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
        """The text; a tuple of blocks where it has others too. Calls of tools are no part of it."""
        blocks = tuple(block for block in self.message.content if not isinstance(block, ToolCall))
        match blocks:
            case ():
                return ""
            case (Text(text, extra),) if not extra:
                return text
        return blocks

    @property
    def tool_call(self) -> dict[str, Any] | None:
        """The call as it was given: what is called, or of a tool's message what it answers. Of
        several calls the first; None where there is none."""
        kept = self.message.native.get(_NATIVE)
        if isinstance(kept, Mapping) and isinstance(kept.get(_CALL), Mapping):
            return dict(kept[_CALL])
        return _call_in(self.message)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, WorkingMessage):
            return NotImplemented
        return _said(self.message) == _said(other.message)

    __hash__ = None  # type: ignore[assignment]

    def __str__(self) -> str:
        calls = [f"{call.name}({call.args})" for call in self.message.tool_calls]
        return f"{self.role}: {' '.join(filter(None, [self.message.text, *calls]))}"

    def __repr__(self) -> str:
        call = "" if self.tool_call is None else f", tool_call={self.tool_call!r}"
        return f"WorkingMessage({self.role!r}, {self.content!r}{call})"


def working_message(store: Store, role: str, content: object, tool_call: object) -> WorkingMessage:
    """Make a message that can be stored, with an id and the present time; InvalidMessage where it
    cannot be."""
    fields: dict[str, Any] = {
        "role": role,
        "content": content,
        "id": uuid4().hex,
        "created_at": datetime.now(UTC),
    }
    match tool_call:
        case None:
            pass
        case ToolCall():
            fields["tool_calls"] = [tool_call]
        case Mapping() if role == "tool":
            fields |= {"tool_call_id": tool_call.get("id"), "name": tool_call.get("name")}
        case Mapping():
            fields["tool_calls"] = [_with_args(tool_call)]
        case _:
            raise InvalidMessage(
                f'tool_call has to be a mapping, {{"id": …, "name": …, "args": {{…}}}} or in '
                f"OpenAI's shape, or a ToolCall, not {shown(tool_call)}. Several calls go into "
                f"content, as a list of Text and ToolCall."
            )
    (message,) = outgoing(store, [fields])
    if isinstance(tool_call, Mapping) and _call_in(message) != dict(tool_call):
        kept: Appendable = replace(message, native={_NATIVE: {_CALL: dict(tool_call)}})
        (message,) = outgoing(store, kept)
    return WorkingMessage(message)


def _with_args(call: Mapping[str, Any]) -> dict[str, Any]:
    """A call with its arguments where ``append`` looks for them."""
    given = dict(call)
    if "function" not in given:
        for name in _ARGUMENTS:
            if name in given:
                given["args"] = given.pop(name)
                break
    return given


def _call_in(message: Message) -> dict[str, Any] | None:
    if message.role == "tool":
        answered = {"id": message.tool_call_id, "name": message.name}
        return {key: value for key, value in answered.items() if value is not None} or None
    for call in message.tool_calls:
        name = {} if call.id is None else {"id": call.id}
        return {**name, "name": call.name, "args": call.args, **call.extra}
    return None


def _said(message: Message) -> Message:
    """A message without what the store fills in, which takes no part in what it says."""
    return replace(message, id=None, created_at=None, seq=None, tokens=None)
