"""Content blocks: LangChain's dicts, in all the shapes that providers give them, and Recollect's.

A shape says where in a dict the picture, the words or the signature are. They become a neutral
block that every framework can read; what else the dict holds goes along under ``extra``, with the
shape's name, and is put back when LangChain reads. So an image costs its bytes once, and not a
third more as base64. A dict in no shape that is known here travels as an Opaque block.

The names of shapes are stored: a shape may be added, and is never changed.
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any, Final, NamedTuple, TypeAlias

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

Part: TypeAlias = str | dict[str, Any]

OURS: Final = "langchain"
"""Under which name LangChain's own things stand in ``extra`` and ``native``."""
_BARE: Final = "str"
"""A plain string among a message's parts."""


class Field(NamedTuple):
    """Where a value stands in a dict, and how it is written there."""

    path: tuple[str, ...]
    form: str = "as it is"
    needed: bool = True


class Shape(NamedTuple):
    """One way of writing a block as a dict."""

    name: str
    tag: str
    """What stands under "type" in the dict."""
    kind: type[Any]
    fields: Mapping[str, Field]
    media: str = ""
    """What its media type has to begin with."""


def _media(tag: str, kind: type[Any]) -> Iterator[Shape]:
    """The shapes that LangChain and providers have for pictures, sounds, films and documents."""
    mime = Field(("mime_type",), needed=False)
    yield Shape(
        f"{tag}.base64", tag, kind, {"data": Field(("base64",), "base64"), "media_type": mime}
    )
    yield Shape(f"{tag}.data-url", tag, kind, {"data": Field(("url",), "data url")})
    yield Shape(f"{tag}.url", tag, kind, {"url": Field(("url",)), "media_type": mime})
    yield Shape(f"{tag}.v0", tag, kind, {"data": Field(("data",), "base64"), "media_type": mime})
    yield from _source(tag, kind)


def _source(tag: str, kind: type[Any]) -> Iterator[Shape]:
    """Anthropic's: all under ``source``."""
    mime = Field(("source", "media_type"), needed=False)
    data = Field(("source", "data"), "base64")
    yield Shape(f"{tag}.source", tag, kind, {"data": data, "media_type": mime})
    yield Shape(f"{tag}.source.url", tag, kind, {"url": Field(("source", "url"))})


def _google(kind: type[Any], media: str) -> Shape:
    fields = {"data": Field(("data",), "base64"), "media_type": Field(("mime_type",))}
    return Shape(f"media.{kind.__name__.lower()}", "media", kind, fields, media)


_SHAPES: Final = (
    Shape("text", "text", Text, {"text": Field(("text",))}),
    *_media("image", Image),
    *_media("audio", Audio),
    *_media("video", Video),
    *_media("file", File),
    *_source("document", File),
    Shape("image_url.data", "image_url", Image, {"data": Field(("image_url", "url"), "data url")}),
    Shape("image_url", "image_url", Image, {"url": Field(("image_url", "url"))}),
    Shape("image_url.str", "image_url", Image, {"url": Field(("image_url",))}),
    Shape(
        "input_audio",
        "input_audio",
        Audio,
        {
            "data": Field(("input_audio", "data"), "base64"),
            "media_type": Field(("input_audio", "format"), "audio format", needed=False),
        },
    ),
    Shape(
        "file.openai",
        "file",
        File,
        {
            "data": Field(("file", "file_data"), "data url"),
            "name": Field(("file", "filename"), needed=False),
        },
    ),
    _google(Image, "image/"),
    _google(Audio, "audio/"),
    _google(Video, "video/"),
    _google(File, ""),
    Shape(
        "text-plain",
        "text-plain",
        File,
        {
            "data": Field(("text",), "utf-8"),
            "media_type": Field(("mime_type",), needed=False),
            "name": Field(("title",), needed=False),
        },
    ),
    Shape(
        "reasoning",
        "reasoning",
        Reasoning,
        {
            "text": Field(("reasoning",)),
            "signature": Field(("extras", "signature"), needed=False),
        },
    ),
    Shape(
        "thinking",
        "thinking",
        Reasoning,
        {"text": Field(("thinking",)), "signature": Field(("signature",), needed=False)},
    ),
    Shape(
        "reasoning_content",
        "reasoning_content",
        Reasoning,
        {
            "text": Field(("reasoning_content", "text")),
            "signature": Field(("reasoning_content", "signature"), needed=False),
        },
    ),
    Shape("refusal", "refusal", Refusal, {"refusal": Field(("refusal",))}),
)
_BY_NAME: Final = {shape.name: shape for shape in _SHAPES}
_BY_TYPE: Final = {
    tag: [shape for shape in _SHAPES if shape.tag == tag]
    for tag in {shape.tag for shape in _SHAPES}
}
_FIELD_NAMES: Final = {"refusal": "text"}
"""Where a block's field is not called what the shape calls it."""


def block_of(part: Part) -> Block:
    """A dict as a block that says the same, from which ``part_of`` makes the same dict again."""
    if isinstance(part, str):
        return Text(part, {OURS: [_BARE, {}]})
    kind = part.get("type")
    if kind == "text" and len(part) == 2 and type(part.get("text")) is str:
        return Text(part["text"])
    for shape in _BY_TYPE.get(kind, ()) if isinstance(kind, str) else ():
        block = _read(shape, part)
        # A block is what it is made of again: all else would be lost on the way.
        if block is not None and part_of(block) == part:
            return block
    return Opaque(OURS, kind if isinstance(kind, str) else "", part)


def part_of(block: Block) -> Part | None:
    """A block as LangChain has it; None for what only another framework understands."""
    match block:
        case Opaque(framework, _, data):
            return data if framework == OURS else None
        case ToolCall() | Citation():
            return None
        case ToolResult():
            return _result(block)
    ours = block.extra.get(OURS)
    if ours is None:
        return _plainly(block)
    name, rest = ours
    assert not isinstance(block, ToolCall | ToolResult | Citation | Opaque)
    return block.text if name == _BARE and isinstance(block, Text) else _written(name, rest, block)


def _plainly(block: Any) -> Part:
    """A block that came from elsewhere, in LangChain's standard shape."""
    match block:
        case Refusal(text) | Text(text):
            return {"type": "text", "text": text}
        case Reasoning():
            return _written("reasoning", {}, block)
    name = type(block).__name__.lower()
    rest = {"extras": {"filename": block.name}} if block.name else {}
    if block.data is None:
        return _written(f"{name}.url", rest, block) if block.url else {"type": name, **rest}
    part = _written(f"{name}.base64", rest, block)
    # Providers refuse bytes without a type.
    part.setdefault("mime_type", _sniffed(block.data) or "application/octet-stream")
    return part


def _result(block: ToolResult) -> Part:
    """The shape in which providers take results among a message's blocks."""
    content = [shown for inner in block.content if (shown := part_of(inner)) is not None]
    part: dict[str, Any] = {"type": "tool_result", "tool_use_id": block.tool_call_id}
    return {**part, "content": content, **({"is_error": True} if block.is_error else {})}


def _read(shape: Shape, part: Mapping[str, Any]) -> Block | None:
    """What a dict says in a shape; None where it is not in it."""
    found: dict[str, Any] = {}
    rest = deepcopy({key: value for key, value in part.items() if key != "type"})
    for name, field in shape.fields.items():
        *way, last = field.path
        holder: Any = rest
        for key in way:
            holder = holder.get(key) if isinstance(holder, dict) else None
        value = holder.pop(last, None) if isinstance(holder, dict) else None
        if value is None:
            if field.needed:
                return None
            continue
        read = _FORMS[field.form].read(value)
        if read is None:
            return None
        if way and not holder:
            del rest[way[0]]  # it held nothing else
        found[_FIELD_NAMES.get(name, name)] = read[0]
        if len(read) == 2:
            found["media_type"] = read[1]
    if not (found.get("media_type") or "").startswith(shape.media):
        return None
    standard = not rest and shape.name == _standard(shape.kind, found)
    block: Block = shape.kind(**found, extra={} if standard else {OURS: [shape.name, rest]})
    return block


def _standard(kind: type[Any], found: Mapping[str, Any]) -> str:
    """The shape in which a block is written when nothing else is said."""
    if kind in (Text, Reasoning):
        return kind.__name__.lower()
    return f"{kind.__name__.lower()}.{'base64' if 'data' in found else 'url'}"


def _written(name: str, rest: Mapping[str, Any], block: Any) -> dict[str, Any]:
    """A block in a shape, with what else the dict held."""
    shape = _BY_NAME[name]
    part: dict[str, Any] = {"type": shape.tag, **deepcopy(dict(rest))}
    for field_name, field in shape.fields.items():
        value = getattr(block, _FIELD_NAMES.get(field_name, field_name))
        if value is None:
            continue
        holder = part
        for key in field.path[:-1]:
            holder = holder.setdefault(key, {})
        holder[field.path[-1]] = _FORMS[field.form].write(value, block)
    return part


class _Form(NamedTuple):
    """How a value is written in a dict."""

    read: Any
    """The value, or the value and its media type; None where it cannot be read."""
    write: Any


def _read_base64(text: object) -> tuple[bytes] | None:
    if not isinstance(text, str):
        return None
    try:
        data = b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return (data,)


def _read_data_url(text: object) -> tuple[bytes, str] | None:
    if not isinstance(text, str) or not text.startswith("data:"):
        return None
    head, comma, data = text[5:].partition(",")
    if not comma or not head.endswith(";base64"):
        return None
    read = _read_base64(data)
    return None if read is None else (read[0], head.removesuffix(";base64"))


def _read_utf8(text: object) -> tuple[bytes] | None:
    if not isinstance(text, str):
        return None
    try:
        return (text.encode(),)
    except UnicodeEncodeError:  # a lone surrogate: not bytes of any text
        return None


def _base64(data: bytes) -> str:
    return b64encode(data).decode()


_FORMS: Final = {
    "as it is": _Form(
        lambda value: (value,) if isinstance(value, str) else None, lambda value, block: value
    ),
    "base64": _Form(_read_base64, lambda value, block: _base64(value)),
    "data url": _Form(
        _read_data_url, lambda value, block: f"data:{block.media_type};base64,{_base64(value)}"
    ),
    "audio format": _Form(
        lambda value: (f"audio/{value}",) if isinstance(value, str) else None,
        lambda value, block: value.removeprefix("audio/"),
    ),
    "utf-8": _Form(_read_utf8, lambda value, block: value.decode()),
}

_MAGIC: Final = {
    b"\x89PNG": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
    b"%PDF": "application/pdf",
    b"ID3": "audio/mpeg",
}


def _sniffed(data: bytes) -> str | None:
    """The type that bytes show by how they begin, for those that providers are often sent."""
    if data[:4] == b"RIFF":
        return {b"WEBP": "image/webp", b"WAVE": "audio/wav"}.get(data[8:12])
    return next((kind for magic, kind in _MAGIC.items() if data.startswith(magic)), None)
