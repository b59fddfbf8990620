"""Messages: frozen values, without I/O or a framework's types. Their parts are in ``blocks``.

The order of fields is the order in stored bytes (``codec``): new fields go at the end.
``gc=False`` keeps them out of the garbage collector's rounds. Decoding 10,000 messages takes
6 ms that way and 93 ms without, and a frozen value made of plain data has no cycles to find.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from onrecord.blocks import Block, Opaque, Text, ToolCall, ToolResult, settle_content

__all__ = ["Block", "Message", "Opaque", "Text", "ToolResult"]

MARKS: Final = "onrecord.memory"
"""Of a message's ``native``: what says that it is an event, or belongs to an episode."""
CONVERSATION: Final = "conversation"
"""The type of the episodes that were said. What others consist of only happened."""
SPOKEN: Final = "session_"
"""What the types of events begin with that were said; the role follows."""


class Message(Struct, frozen=True, array_like=True, gc=False):
    """One entry of a session. A ``str`` given as content becomes one Text block.

    A role is any non-empty string; system, user, assistant and tool have a meaning. The last
    four fields are the store's: it fills in what is missing when the message is appended, and
    they take no part in whether two messages say the same.
    """

    role: Annotated[str, Meta(min_length=1)]
    content: tuple[Block, ...] = ()
    name: str | None = None
    tool_call_id: str | None = None
    usage: dict[str, Any] | None = None
    metadata: dict[str, Any] = {}
    native: dict[str, Any] = {}
    """``{framework: what it needs to rebuild its own object exactly}``"""
    id: str | None = None
    created_at: datetime | None = None
    seq: int | None = None
    tokens: int | None = None

    def __post_init__(self) -> None:
        # Also of each decoded message, where there is nothing to do: a call costs as much again.
        if type(self.content) is not tuple:
            settle_content(self)

    if TYPE_CHECKING:

        def __init__(
            self,
            role: str,
            content: str | Sequence[Block] = (),
            name: str | None = None,
            tool_call_id: str | None = None,
            usage: dict[str, Any] | None = None,
            metadata: dict[str, Any] = ...,
            native: dict[str, Any] = ...,
            id: str | None = None,
            created_at: datetime | None = None,
            seq: int | None = None,
            tokens: int | None = None,
        ) -> None: ...

    @property
    def text(self) -> str:
        """The text blocks, joined. Reasoning and tool results are not part of it."""
        content = self.content
        if len(content) == 1 and type(content[0]) is Text:
            return content[0].text
        return "".join(block.text for block in content if isinstance(block, Text))

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The tools this message asks for. They live in ``content`` and nowhere else."""
        return tuple(block for block in self.content if isinstance(block, ToolCall))

    @property
    def opens_turn(self) -> bool:
        """Whether a turn begins here: a user speaks, rather than handing in tool results."""
        if self.role != "user":
            return False
        content = self.content
        if len(content) == 1 and type(content[0]) is Text:
            return True
        return not any(isinstance(block, ToolResult) for block in content)

    @property
    def marks(self) -> dict[str, Any]:
        """What a memory has marked it with: as an event, or as a part of an episode."""
        if not self.native:
            return {}
        marks = self.native.get(MARKS)
        return marks if isinstance(marks, dict) else {}

    @property
    def was_said(self) -> bool:
        """Whether somebody said it. What happened or was observed has the role of a user as well,
        so that every framework reads it, and is no word of a user."""
        if not (marks := self.marks):
            return True
        event, episode = marks.get("event"), marks.get("episode")
        if isinstance(event, str):
            return event.startswith(SPOKEN) and event != SPOKEN
        return not isinstance(episode, str) or episode == CONVERSATION

    @property
    def waits(self) -> bool:
        """Whether somebody has to go on where this is the newest message: a user or a tool spoke,
        or a tool is called whose result is not in the same message. For an episode nobody has to:
        all of it is stored together."""
        if self.native and isinstance(self.marks.get("episode"), str):
            return False
        if self.role in ("user", "tool") or self.tool_call_id is not None:
            return True
        content = self.content
        if len(content) == 1 and type(content[0]) is Text:
            return False
        answered = {block.tool_call_id for block in content if isinstance(block, ToolResult)}
        return any(call.id not in answered for call in self.tool_calls)

    def keys(self) -> list[str]:
        """The names of what a model is sent of it, and its metadata: those that are set."""
        optional = ("name", "tool_call_id", "tool_calls", "metadata")
        return ["role", "content", *(key for key in optional if self[key])]

    def __getitem__(self, key: str) -> Any:
        """Read it as a dict is read: ``message["role"]``, ``dict(message)``.

        ``content`` is the text, where there is nothing but text and tool calls; else the blocks
        without the calls. ``tool_calls`` are dicts of id, name and args. Every field can be read.
        """
        match key:
            case "content":
                spoken = [block for block in self.content if not isinstance(block, ToolCall)]
                plain = all(isinstance(block, Text) for block in spoken)
                return self.text if plain else spoken
            case "tool_calls":
                return [{"id": c.id, "name": c.name, "args": c.args} for c in self.tool_calls]
            case "text":
                return self.text
        if not isinstance(key, str):
            raise TypeError(f"A message is read by names, message['role'], not by {key!r:.50}.")
        if key not in self.__struct_fields__:
            raise KeyError(key)
        return getattr(self, key)

    def __contains__(self, key: object) -> bool:
        return key in self.keys()

    def get(self, key: str, default: Any = None) -> Any:
        """Read a field as ``dict.get`` does: what is not set is the default."""
        try:
            found = self[key]
        except KeyError:
            return default
        return default if found is None else found

    def __repr__(self) -> str:
        shown = ", ".join(
            f"{name}={value!r}"
            for name, value in zip(self.__struct_fields__, _fields(self), strict=True)
            if value is not None and value != {} and not (name == "content" and value == ())
        )
        return f"Message({shown})"


def _fields(message: Message) -> tuple[Any, ...]:
    """The fields as people write them: a lone plain text as its string."""
    content: object = message.content
    match message.content:
        case (Text(text, extra),) if not extra:
            content = text
    return (message.role, content, *msgspec.structs.astuple(message)[2:])
