"""Messages and the blocks they are made of: frozen values, without I/O or a framework's types.

The order of fields is the order in stored bytes (``codec``): new fields go at the end.
``gc=False`` keeps them out of the garbage collector's rounds. Decoding 10,000 messages takes
6 ms that way and 93 ms without, and a frozen value made of plain data has no cycles to find.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeAlias

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import force_setattr

Extra: TypeAlias = dict[str, Any]
"""What a provider or framework adds to a block and Onrecord carries without reading it."""


class Text(Struct, frozen=True, array_like=True, gc=False, tag=0):
    """Plain text."""

    kind: ClassVar[str] = "text"
    text: str
    extra: Extra = {}


class _Media(Struct, frozen=True, array_like=True, gc=False):
    """Something to see, hear or open: by its bytes or by its address."""

    data: bytes | None = None
    url: str | None = None
    media_type: str | None = None
    name: str | None = None
    extra: Extra = {}


class Image(_Media, frozen=True, array_like=True, gc=False, tag=1):
    """A picture, by its bytes or by its address."""

    kind: ClassVar[str] = "image"


class Audio(_Media, frozen=True, array_like=True, gc=False, tag=2):
    """A sound, by its bytes or by its address."""

    kind: ClassVar[str] = "audio"


class Video(_Media, frozen=True, array_like=True, gc=False, tag=3):
    """A film, by its bytes or by its address."""

    kind: ClassVar[str] = "video"


class File(_Media, frozen=True, array_like=True, gc=False, tag=4):
    """A document, by its bytes or by its address."""

    kind: ClassVar[str] = "file"


class Reasoning(Struct, frozen=True, array_like=True, gc=False, tag=5):
    """What a model thought before it answered; the signature is the provider's proof of it."""

    kind: ClassVar[str] = "reasoning"
    text: str = ""
    signature: Any = None  # str or bytes, by provider; a typed union of the two cannot be decoded
    extra: Extra = {}


class ToolCall(Struct, frozen=True, array_like=True, gc=False, tag=6):
    """A model asks for a tool. ``args`` is a mapping, or the text that could not be parsed."""

    kind: ClassVar[str] = "tool_call"
    name: str
    args: Any = {}
    id: str | None = None
    extra: Extra = {}


class ToolResult(Struct, frozen=True, array_like=True, gc=False, tag=7):
    """What a tool answered, where a framework keeps results among a message's blocks.

    A message of role ``tool`` needs none: its ``tool_call_id`` says which call it answers.
    """

    kind: ClassVar[str] = "tool_result"
    tool_call_id: str | None = None
    content: tuple[Block, ...] = ()
    is_error: bool = False
    extra: Extra = {}

    def __post_init__(self) -> None:
        _settle_content(self)

    if TYPE_CHECKING:

        def __init__(
            self,
            tool_call_id: str | None = None,
            content: str | Sequence[Block] = (),
            is_error: bool = False,
            extra: Extra = ...,
        ) -> None: ...


class Citation(Struct, frozen=True, array_like=True, gc=False, tag=8):
    """Where something that was said comes from."""

    kind: ClassVar[str] = "citation"
    text: str = ""
    source: str | None = None
    extra: Extra = {}


class Refusal(Struct, frozen=True, array_like=True, gc=False, tag=9):
    """A model declined to answer, and said so."""

    kind: ClassVar[str] = "refusal"
    text: str
    extra: Extra = {}


class Opaque(Struct, frozen=True, array_like=True, gc=False, tag=10):
    """A block that only its own framework understands. It comes back to it intact."""

    kind: ClassVar[str] = "opaque"
    framework: str
    name: str
    data: Any = None


Block: TypeAlias = (
    Text
    | Image
    | Audio
    | Video
    | File
    | Reasoning
    | ToolCall
    | ToolResult
    | Citation
    | Refusal
    | Opaque
)


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
        _settle_content(self)

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
        """What was said: the text blocks, joined. Reasoning and tool results are not speech."""
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
        return self.role == "user" and not any(
            isinstance(block, ToolResult) for block in self.content
        )

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


def _settle_content(holder: Message | ToolResult) -> None:
    # Runs for every decoded message as well (0.1 µs of 0.6): nothing but one test on that path.
    content: object = holder.content
    if type(content) is tuple:
        return
    if isinstance(content, str):
        force_setattr(holder, "content", (Text(str(content)),))
    elif isinstance(content, Text | _Media | Reasoning | ToolCall | ToolResult):
        force_setattr(holder, "content", (content,))
    elif isinstance(content, Sequence) and not isinstance(content, bytes | bytearray):
        force_setattr(holder, "content", tuple(content))
