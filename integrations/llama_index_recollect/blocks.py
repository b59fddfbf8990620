"""Content blocks: LlamaIndex's objects and Recollect's, each made from the other.

What a block is for everybody stands in the neutral fields; what only LlamaIndex has, under
``extra["llama_index"]``. LlamaIndex keeps media as base64 in bytes; here they are the bytes.
Blocks are built without LlamaIndex's validation where it would look at the world as it is now:
a picture whose file has gone must not make a conversation unreadable.
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from collections.abc import Mapping
from io import IOBase
from pathlib import Path
from typing import Any, Final

from llama_index.core.base.llms.types import (
    AudioBlock,
    BaseContentBlock,
    CachePoint,
    CitableBlock,
    CitationBlock,
    DocumentBlock,
    ImageBlock,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
    VideoBlock,
)
from pydantic import AnyUrl, BaseModel, ValidationError

from recollect import (
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

OURS: Final = "llama_index"
"""Under which name LlamaIndex's own things stand in ``extra`` and ``native``."""
IN_KWARGS: Final = "kwargs"
"""Of a tool call that LlamaIndex keeps in ``additional_kwargs`` and not among the blocks."""

_MEDIA: Final[dict[type[BaseContentBlock], tuple[type[Any], str, str]]] = {
    ImageBlock: (Image, "image", "image_mimetype"),
    AudioBlock: (Audio, "audio", "format"),
    VideoBlock: (Video, "video", "video_mimetype"),
    DocumentBlock: (File, "data", "document_mimetype"),
}
"""By class: the neutral kind, the field of the bytes, and that of their type."""
_KINDS: Final = {kind: (cls, data, media) for cls, (kind, data, media) in _MEDIA.items()}
_OPAQUE: Final[dict[str, type[BaseContentBlock]]] = {
    "cache": CachePoint,
    "citable": CitableBlock,
    "citation": CitationBlock,
}


def block_of(block: BaseContentBlock) -> Block:
    """One of LlamaIndex's blocks as a neutral one, from which ``part_of`` makes it again."""
    match block:
        case TextBlock():
            return Text(block.text)
        case ThinkingBlock():
            return _reasoning(block)
        case ToolCallBlock():
            return ToolCall(block.tool_name, block.tool_kwargs, block.tool_call_id)
        case CitationBlock(cited_content=TextBlock() as cited):
            return Citation(cited.text, block.source, {OURS: plain(block.model_dump())})
        case ImageBlock() | AudioBlock() | VideoBlock() | DocumentBlock():
            return _media(block)
    return Opaque(OURS, str(getattr(block, "block_type", "")), plain(block.model_dump()))


def part_of(block: Block) -> BaseContentBlock | None:
    """A block as LlamaIndex has it; None for what it has no counterpart of."""
    match block:
        case Text(text) | Refusal(text):
            return TextBlock(text=text)
        case Reasoning():
            return _thinking(block)
        case ToolCall(name, args, id_, extra):
            if extra.get(OURS) == IN_KWARGS:
                return None
            arguments = args if isinstance(args, dict | str) else str(args)
            return ToolCallBlock(tool_call_id=id_, tool_name=name, tool_kwargs=arguments)
        case Image() | Audio() | Video() | File():
            return _media_block(block)
        case Citation(_, _, extra):
            return _again("citation", extra[OURS]) if OURS in extra else None
        case ToolResult(_, content):
            words = "".join(inner.text for inner in content if isinstance(inner, Text))
            return TextBlock(text=words)
        case Opaque(framework, name, data):
            return _again(name, data) if framework == OURS else None


def plain(value: Any) -> Any:
    """A value that can be stored: what a provider's library made is said by its own dict."""
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


def _again(name: str, data: Any) -> BaseContentBlock:
    """A block that is kept as its fields; words in its place where it cannot be made any more."""
    cls = _OPAQUE.get(name)
    if cls is not None:
        try:
            return cls.model_validate(data)
        except (ValidationError, ValueError):
            pass  # it names a file that has gone, or was written by another version
    return TextBlock(text=f"[A block of type {name!r} that cannot be shown here.]")


def _reasoning(block: ThinkingBlock) -> Reasoning:
    more = dict(block.additional_information)
    signature = more.pop("signature", None)
    rest: dict[str, Any] = {}
    if more:
        rest["more"] = plain(more)
    if block.num_tokens is not None:
        rest["num_tokens"] = block.num_tokens
    if block.content is None:
        rest["content"] = None
    if signature is None and "signature" in block.additional_information:
        rest["signature"] = None
    return Reasoning(block.content or "", signature, {OURS: rest} if rest else {})


def _thinking(block: Reasoning) -> ThinkingBlock:
    rest = block.extra.get(OURS, {})
    more = dict(rest.get("more", {}))
    if block.signature is not None or "signature" in rest:
        more["signature"] = block.signature
    return ThinkingBlock(
        content=block.text if "content" not in rest else None,
        num_tokens=rest.get("num_tokens"),
        additional_information=more,
    )


def _media(block: BaseContentBlock) -> Block:
    kind, data_field, type_field = _MEDIA[type(block)]
    fields = {name: getattr(block, name) for name in type(block).model_fields}
    fields.pop("block_type")
    given = fields.pop(data_field)
    media_type = fields.pop(type_field)
    url = fields.pop("url", None)
    rest = {name: plain(value) for name, value in fields.items() if value is not None}
    name = rest.pop("title", None)
    data: bytes | None = None
    if isinstance(given, IOBase):
        data = _read(given)
    elif given is not None:
        data = _from_base64(given)
        if data is None:
            data, rest["raw"] = given, True  # bytes that are no base64
    if type(block) is AudioBlock and media_type is not None:
        media_type = f"audio/{media_type}"
    extra = {OURS: rest} if rest else {}
    result: Block = kind(data, None if url is None else str(url), media_type, name, extra)
    return result


def _media_block(block: Image | Audio | Video | File) -> BaseContentBlock:
    cls, data_field, type_field = _KINDS[type(block)]
    rest = dict(block.extra.get(OURS, {}))
    raw = rest.pop("raw", False)
    fields: dict[str, Any] = {name: None for name in cls.model_fields if name != "block_type"}
    if block.data is not None:
        fields[data_field] = block.data if raw else b64encode(block.data)
    media_type = block.media_type
    if cls is AudioBlock and media_type is not None:
        media_type = media_type.removeprefix("audio/")
    fields[type_field] = media_type
    if block.url is not None:
        fields["url"] = block.url if cls is DocumentBlock else AnyUrl(block.url)
    if cls is DocumentBlock:
        fields["title"] = block.name or "input_document"
    if "path" in rest:
        rest["path"] = Path(rest["path"])
    return cls.model_construct(**{**fields, **rest})


def _from_base64(given: bytes) -> bytes | None:
    try:
        data = b64decode(given, validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if b64encode(data) == given else None


def _read(file: IOBase) -> bytes:
    """What is in a file that somebody holds, which is left where it was."""
    at = file.tell()
    file.seek(0)
    data: bytes = file.read()
    file.seek(at)
    return data
