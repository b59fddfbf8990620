"""The kinds of block that messages are made of: their fields, their weight and their look.

A new kind is a class here, a name in ``Block``, an arm in ``weight_of`` and in ``look_of``, and a
name in ``onrecord/__init__.py``. What else tells kinds apart ends in ``assert_never``, so that
mypy names each place that was forgotten: the adapters', which have words of their own.

The order of fields is the order in stored bytes (``codec``): new fields go at the end, and a tag
stays what it is. A field that can hold anything is called ``extra``, ``args``, ``data`` or
``signature``; blocks inside a block are called ``content``. The codec goes by these names.
``message`` says why ``gc=False``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeAlias, assert_never

from msgspec import Struct
from msgspec.structs import force_setattr

Extra: TypeAlias = dict[str, Any]
"""What a provider or framework adds to a block and Onrecord carries without reading it."""


class Text(Struct, frozen=True, array_like=True, gc=False, tag=0):
    """Plain text."""

    kind: ClassVar[str] = "text"
    text: str
    extra: Extra = {}


class Media(Struct, frozen=True, array_like=True, gc=False):
    """Something to see, hear or open: by its bytes or by its address."""

    kind: ClassVar[str]
    data: bytes | None = None
    url: str | None = None
    media_type: str | None = None
    name: str | None = None
    extra: Extra = {}


class Image(Media, frozen=True, array_like=True, gc=False, tag=1):
    """A picture, by its bytes or by its address."""

    kind: ClassVar[str] = "image"


class Audio(Media, frozen=True, array_like=True, gc=False, tag=2):
    """A sound, by its bytes or by its address."""

    kind: ClassVar[str] = "audio"


class Video(Media, frozen=True, array_like=True, gc=False, tag=3):
    """A film, by its bytes or by its address."""

    kind: ClassVar[str] = "video"


class File(Media, frozen=True, array_like=True, gc=False, tag=4):
    """A document, by its bytes or by its address."""

    kind: ClassVar[str] = "file"


class Reasoning(Struct, frozen=True, array_like=True, gc=False, tag=5):
    """A model's thinking before it answered; the signature is the provider's proof of it."""

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
    """The answer of a tool, where a framework keeps results among a message's blocks.

    A message of role ``tool`` needs none: its ``tool_call_id`` says which call it answers.
    """

    kind: ClassVar[str] = "tool_result"
    tool_call_id: str | None = None
    content: tuple[Block, ...] = ()
    is_error: bool = False
    extra: Extra = {}

    def __post_init__(self) -> None:
        settle_content(self)

    if TYPE_CHECKING:

        def __init__(
            self,
            tool_call_id: str | None = None,
            content: str | Sequence[Block] = (),
            is_error: bool = False,
            extra: Extra = ...,
        ) -> None: ...


class Citation(Struct, frozen=True, array_like=True, gc=False, tag=8):
    """The source of something that was said."""

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
"""Any of the kinds that a message's content is made of."""


def settle_content(holder: Any) -> None:
    """Make a tuple of blocks of the content that a message or a tool's result was given."""
    content: object = holder.content
    if type(content) is tuple:
        return
    if isinstance(content, str):
        # Its own text: of a member of an enum `str` may say its name instead.
        force_setattr(holder, "content", (Text(str.__str__(content)),))
    elif isinstance(content, Block):
        force_setattr(holder, "content", (content,))
    elif isinstance(content, Sequence) and not isinstance(content, bytes | bytearray):
        force_setattr(holder, "content", tuple(content))


# -- what a kind weighs ----------------------------------------------------------------------


class Weight(NamedTuple):
    """The parts of a block that count in the estimate of its tokens."""

    text: str = ""
    pictures: int = 0
    documents: int = 0
    inside: Sequence[Block] = ()
    """Blocks that count by themselves."""


def weight_of(block: Block) -> Weight:
    """Weigh a block: only what a model is sent counts."""
    match block:
        case Text(text) | Refusal(text) | Citation(text) | Reasoning(text):
            return Weight(text)
        case ToolCall(name, args):
            return Weight(name + (args if isinstance(args, str) else repr(args)))
        case ToolResult(_, content):
            return Weight(inside=content)
        case Image() | Audio() | Video():
            return Weight(pictures=1)
        case File():
            return Weight(documents=1)
        case Opaque():
            return Weight()  # nobody but its framework knows whether a model is sent it
    assert_never(block)


def text_of(content: tuple[Block, ...]) -> str:
    """All text of some blocks, each on a line of its own."""
    texts: list[str] = []
    todo = list(reversed(content))
    while todo:
        weight = weight_of(todo.pop())
        if weight.text:
            texts.append(weight.text)
        todo.extend(reversed(weight.inside))
    return "\n".join(texts)


# -- how a kind looks ------------------------------------------------------------------------


class Speech(NamedTuple):
    """Text that is read as it stands."""

    text: str


class Remark(NamedTuple):
    """A short text that needs a word before it, to say what it is."""

    label: str
    text: str
    source: str | None = None
    muted: bool = False


class Aside(NamedTuple):
    """A text that is folded away under a word."""

    label: str
    text: str


class Data(NamedTuple):
    """A value that is folded away under its name, and under whose it is."""

    name: str
    value: object
    framework: str | None = None


Look: TypeAlias = Speech | Remark | Aside | Data | Media | ToolCall | ToolResult
"""A call and its result are read together; media are shown or described."""


def look_of(block: Block) -> Look:
    """Choose how a person reads a block, in a notebook or elsewhere."""
    match block:
        case Text(text):
            return Speech(text)
        case Reasoning(text):
            return Aside("reasoning", text)
        case Refusal(text):
            return Remark("refused", text)
        case Citation(text, source):
            return Remark("source", text, source, muted=True)
        case Opaque("onrecord", "damaged", data):
            return Data("what is left of it", data)
        case Opaque(framework, name, data):
            return Data(name, data, framework)
        case Image() | Audio() | Video() | File() | ToolCall() | ToolResult():
            return block
    assert_never(block)
