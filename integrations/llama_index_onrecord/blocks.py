"""Content blocks: LlamaIndex's objects and Onrecord's, each made from the other.

What a block is for everybody stands in the neutral fields; what only LlamaIndex has, under
``extra["llama_index"]``. LlamaIndex keeps media as base64 in bytes; here they are the bytes.
Blocks are built without LlamaIndex's validation where it would look at the world as it is now:
a picture whose file has gone must not make a conversation unreadable.
"""

from __future__ import annotations

import binascii
import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from contextlib import suppress
from copy import deepcopy
from io import IOBase
from pathlib import Path
from typing import Any, Final, TypeVar, assert_never, get_args

from llama_index.core.base.llms.types import (
    AudioBlock,
    BaseContentBlock,
    CitationBlock,
    ContentBlock,
    DocumentBlock,
    ImageBlock,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
    VideoBlock,
)
from pydantic import AnyUrl, BaseModel

from onrecord import (
    Audio,
    Block,
    Citation,
    File,
    Image,
    Opaque,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
    ToolResult,
    Video,
)

M = TypeVar("M", bound=BaseModel)

OURS: Final = "llama_index"
"""Under which name LlamaIndex's own things stand in ``extra`` and ``native``."""
IN_KWARGS: Final = "in_kwargs"
"""Of a tool call that LlamaIndex keeps in ``additional_kwargs`` and not among the blocks."""
_AS_TEXT: Final = "as_text"
"""Of a tool call: its arguments as the text in which LlamaIndex has them."""
_UNTITLED: Final = "input_document"
"""What LlamaIndex calls a document without a title."""

_MEDIA: Final[dict[type[BaseContentBlock], tuple[type[Any], str, str]]] = {
    ImageBlock: (Image, "image", "image_mimetype"),
    AudioBlock: (Audio, "audio", "format"),
    VideoBlock: (Video, "video", "video_mimetype"),
    DocumentBlock: (File, "data", "document_mimetype"),
}
"""By class: the neutral kind, the field of the bytes, and that of their type."""
_KINDS: Final = {kind: (cls, data, media) for cls, (kind, data, media) in _MEDIA.items()}
_CLASSES: Final[dict[str, type[BaseContentBlock]]] = {
    cls.model_fields["block_type"].default: cls for cls in get_args(get_args(ContentBlock)[0])
}
"""By name, whatever this version of LlamaIndex has."""
_HAS_ONLY_TEXT: Final = TextBlock.model_fields.keys() == {"block_type", "text"}
_FORMATS: Final = {"mpeg": "mp3", "x-wav": "wav", "wave": "wav", "vnd.wave": "wav"}
"""LlamaIndex names sounds by their file's ending."""


def block_of(block: BaseContentBlock) -> Block:
    """Turn one of LlamaIndex's blocks into a neutral one; ``parts_of`` makes it again."""
    match block:
        case TextBlock():
            return Text(block.text)
        case ThinkingBlock():
            return _reasoning(block)
        case ToolCallBlock():
            return _called(block)
        case CitationBlock(cited_content=TextBlock() as cited):
            place = block.additional_location_info
            rest = {"title": block.title, "additional_location_info": place}
            return Citation(cited.text, block.source, {OURS: rest})
        case ImageBlock() | AudioBlock() | VideoBlock() | DocumentBlock():
            return _media(block)
    fields = _fields(block)
    return Opaque(OURS, fields.pop("block_type"), fields)


def parts_of(block: Block) -> list[BaseContentBlock]:
    """Turn a block into LlamaIndex's; none for what LlamaIndex has no counterpart of.

    The two share nothing that can be changed: both may be kept, and shown again.
    """
    match block:
        case Text(text) | Refusal(text):
            return [text_block(text)]
        case Reasoning():
            return [_thinking(block)]
        case ToolCall():
            return [] if IN_KWARGS in ours(block.extra) else [_call(block)]
        case Image() | Audio() | Video() | File():
            return [_media_block(block)]
        case Citation():
            return [_cited(block)] if OURS in block.extra else []
        case ToolResult():
            return [part for inner in block.content for part in parts_of(inner)]
        case Opaque(framework, name, data):
            return [_again(name, data)] if framework == OURS else []
    assert_never(block)


def text_block(text: str) -> TextBlock:
    """Make a block of text without validation: elsewhere text may have what pydantic refuses."""
    if _HAS_ONLY_TEXT:
        return made(TextBlock, {"block_type": "text", "text": text}, {"text"})
    return TextBlock.model_construct(text=text)


def made(cls: type[M], fields: dict[str, Any], given: set[str]) -> M:
    """Make what ``model_construct`` makes, of all the fields that a class has.

    That one goes over the class's fields each time: of 10 µs that a message took, it took 7.
    """
    new = cls.__new__(cls)
    _put_fields(new, fields)
    _put_given(new, given)
    _put_extra(new, None)
    _put_private(new, None)
    return new


# The slots of a model by themselves: its own __setattr__ would look at each field again, and
# object's looks up the name, which is half of what is left.
_put_fields: Final = BaseModel.__dict__["__dict__"].__set__
_put_given: Final = BaseModel.__dict__["__pydantic_fields_set__"].__set__
_put_extra: Final = BaseModel.__dict__["__pydantic_extra__"].__set__
_put_private: Final = BaseModel.__dict__["__pydantic_private__"].__set__


def ours(extra: Any) -> Mapping[Any, Any]:
    """Find what only LlamaIndex has of a block or a message. Others can write anything there."""
    rest = extra.get(OURS) if isinstance(extra, dict) else None
    return rest if isinstance(rest, dict) else {}


def arguments(given: Any) -> Any:
    """Read a tool's arguments as a mapping; text that is none stays text."""
    if not isinstance(given, str):
        return given
    try:
        read = json.loads(given)
    except (ValueError, RecursionError):
        return given
    return read if isinstance(read, dict) else given


def anew(value: Any) -> Any:
    """Copy a value so that nothing that could be changed is in both."""
    match value:
        case str() | bytes() | int() | float() | None:
            return value
        case dict():
            return {key: anew(inner) for key, inner in value.items()}
        case list():
            return [anew(inner) for inner in value]
    return deepcopy(value)


def plain(value: Any) -> Any:
    """Make a value that can be stored: a provider's object becomes its own dict."""
    match value:
        case str() | bytes() | int() | float() | None:
            return value
        case AnyUrl() | Path():
            return str(value)
        case Mapping():
            return {key: plain(inner) for key, inner in value.items()}
        case list():
            return [plain(inner) for inner in value]
        case tuple():
            return tuple(plain(inner) for inner in value)
        case BaseModel():
            return plain(value.model_dump())
        case IOBase():
            return _read(value)
    to_dict = getattr(value, "to_dict", None)
    return plain(to_dict()) if callable(to_dict) else value


# -- words, thoughts, tools ----------------------------------------------------------------------


def _reasoning(block: ThinkingBlock) -> Reasoning:
    more = plain(block.additional_information)
    signature = more.get("signature")
    if signature is not None:
        del more["signature"]
    rest: dict[str, Any] = {"more": more} if more else {}
    if block.num_tokens is not None:
        rest["num_tokens"] = block.num_tokens
    if block.content is None:
        rest["content"] = None
    return Reasoning(block.content or "", signature, {OURS: rest} if rest else {})


def _thinking(block: Reasoning) -> ThinkingBlock:
    rest = anew(ours(block.extra))
    more = rest.get("more")
    more = more if isinstance(more, dict) else {}
    if block.signature is not None:
        more["signature"] = block.signature
    return ThinkingBlock.model_construct(
        content=block.text if block.text or "content" not in rest else None,
        num_tokens=rest.get("num_tokens"),
        additional_information=more,
    )


def _called(block: ToolCallBlock) -> ToolCall:
    given = block.tool_kwargs
    args = arguments(given)
    if args is not given:
        return ToolCall(block.tool_name, args, block.tool_call_id, {OURS: {_AS_TEXT: given}})
    return ToolCall(block.tool_name, plain(given), block.tool_call_id)


def _call(call: ToolCall) -> ToolCallBlock:
    args = anew(ours(call.extra).get(_AS_TEXT, call.args))
    # Not validated: elsewhere the arguments' names may be something else than text.
    return ToolCallBlock.model_construct(
        tool_call_id=call.id,
        tool_name=call.name,
        tool_kwargs=args if isinstance(args, dict | str) else str(args),
    )


def _cited(block: Citation) -> BaseContentBlock:
    cited = {"cited_content": TextBlock.model_construct(text=block.text), "source": block.source}
    return _again("citation", {**ours(block.extra), **cited})


# -- media ---------------------------------------------------------------------------------------


def _media(block: BaseContentBlock) -> Block:
    cls = next(cls for cls in _MEDIA if isinstance(block, cls))
    kind, data_field, type_field = _MEDIA[cls]
    fields = _fields(block)
    media_type, title = fields[type_field], fields.get("title")
    if cls is AudioBlock and media_type is not None:
        media_type = f"audio/{media_type}"
    said = (
        _from_base64(fields[data_field]),
        fields.get("url"),
        media_type,
        None if title == _UNTITLED else title,
    )
    again = _fields(_media_block(kind(*said)))
    rest = {name: value for name, value in fields.items() if again.get(name) != value}
    result: Block = kind(*said, {OURS: rest} if rest else {})
    return result


def _media_block(block: Image | Audio | Video | File) -> BaseContentBlock:
    cls, data_field, type_field = _KINDS[type(block)]
    fields: dict[str, Any] = {name: None for name in cls.model_fields if name != "block_type"}
    if block.data is not None:
        fields[data_field] = b64encode(block.data)
    fields["url"] = block.url
    if cls is DocumentBlock:
        fields["title"] = block.name or _UNTITLED
    rest = {name: anew(value) for name, value in ours(block.extra).items() if name in fields}
    if (media_type := block.media_type) is None:
        media_type = None if type_field in rest else _guessed(cls, block, data_field, type_field)
    elif cls is AudioBlock:
        media_type = media_type.removeprefix("audio/")
        media_type = _FORMATS.get(media_type, media_type)
    fields[type_field] = media_type
    return _built(cls, {**fields, **rest})


def _guessed(
    cls: type[BaseContentBlock],
    block: Image | Audio | Video | File,
    data_field: str,
    type_field: str,
) -> Any:
    """Guess a media type as LlamaIndex does where nobody has named it: providers ask for one."""
    try:
        return getattr(cls.model_validate({data_field: block.data, "url": block.url}), type_field)
    except (ValueError, AttributeError):
        return None  # an address that is none, or a document of no bytes


def _from_base64(given: Any) -> bytes | None:
    """Decode base64; None where the bytes would not make the same base64 again."""
    if not isinstance(given, bytes):
        return None
    try:
        data = b64decode(given, validate=True)
    except binascii.Error:
        return None
    return data if b64encode(data) == given else None


# -- by their fields -----------------------------------------------------------------------------


def _fields(block: BaseContentBlock) -> dict[str, Any]:
    """Collect what a block holds, as values that can be stored."""
    return {name: _stored(getattr(block, name)) for name in type(block).model_fields}


def _stored(value: Any) -> Any:
    match value:
        case BaseContentBlock():
            return _fields(value)
        case list():
            return [_stored(inner) for inner in value]
        case IOBase():
            return b64encode(_read(value))
        case Path():
            return {"path": str(value)}  # a document's may also be text
    return plain(value)


def _built(cls: type[BaseContentBlock], fields: Mapping[str, Any]) -> BaseContentBlock:
    """Make a block of media again, without a look at the file or address it names."""
    made = {name: value for name, value in fields.items() if name in cls.model_fields}
    match made.get("path"):
        case {"path": str(path)}:
            made["path"] = Path(path)
    if isinstance(url := made.get("url"), str) and cls is not DocumentBlock:
        with suppress(ValueError):  # elsewhere an address may be anything
            made["url"] = AnyUrl(url)
    return cls.model_construct(**made)


def _again(name: str, data: Any) -> BaseContentBlock:
    """Make a block of its stored fields; a note in its place where that fails by now."""
    cls = _CLASSES.get(name)
    if cls is not None and isinstance(data, dict):
        try:
            return cls.model_validate({key: _inner(value) for key, value in anew(data).items()})
        except (ValueError, TypeError):
            pass  # written by another version
    return TextBlock(text=f"[A block of type {name!r} that cannot be shown here.]")


def _inner(value: Any) -> Any:
    """Make the blocks inside a block first: LlamaIndex does not look at them again."""
    match value:
        case {"block_type": str(name)} if (cls := _CLASSES.get(name)) in _MEDIA:
            return _built(cls, value)
        case list():
            return [_inner(item) for item in value]
    return value


def _read(file: IOBase) -> Any:
    """Read a file that somebody holds, and leave its position as it was."""
    at = file.tell()
    file.seek(0)
    try:
        return file.read()
    finally:
        file.seek(at)
