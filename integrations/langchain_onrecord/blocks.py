"""Content blocks: LangChain's dicts, in all the shapes that providers give them, and Onrecord's.

A shape says where in a dict the picture, the words or the signature are. They become a neutral
block that every framework can read; what else the dict holds goes along under ``extra``, with the
shape's name, and is put back when LangChain reads. So an image costs its bytes once, and not a
third more as base64. A dict in no shape that is known here travels as an Opaque block.

The names of shapes are stored: a shape may be added, and is never changed.
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple, TypeAlias, assert_never

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

Part: TypeAlias = str | dict[str, Any]
Shaped: TypeAlias = Text | Reasoning | Refusal | Image | Audio | Video | File
"""What shapes say how to write."""

OURS: Final = "langchain"
"""Under which name LangChain's own things stand in ``extra`` and ``native``."""
_BARE: Final = "str"
"""A plain string among a message's parts."""
_RESULT: Final = "tool_result"
_RESULT_TEXT: Final = "tool_result.str"
"""A tool's result whose content is not a list of parts."""


def block_of(part: Part) -> Block:
    """Turn a dict into a block that says the same; ``part_of`` makes the same dict of it again."""
    if isinstance(part, str):
        return Text(plain_str(part), {OURS: [_BARE, {}]})
    tag = part.get("type")
    if tag == "text" and len(part) == 2 and type(part.get("text")) is str:
        return Text(part["text"])
    for shape in _BY_TAG.get(tag, ()) if isinstance(tag, str) else ():
        said = _read(shape, part)
        if said is None:
            continue
        fields, rest = said
        marked = {OURS: [shape.name, rest]}
        for extra in (marked,) if rest else ({}, marked):
            block: Block = shape.kind(**fields, extra=extra)
            # A block is what it is made of again: all else would be lost on the way.
            if part_of(block) == part:
                return block
    return Opaque(OURS, plain_str(tag) if isinstance(tag, str) else "", part)


def result_of(part: Mapping[str, Any]) -> ToolResult | None:
    """Read a part that holds a tool's result, as Anthropic takes it; None for any other."""
    rest = {key: value for key, value in part.items() if key not in ("type", "tool_use_id")}
    call = part.get("tool_use_id")
    if part.get("type") != _RESULT or not isinstance(call, str):
        return None
    shape = _RESULT
    blocks: list[Block] = []
    match rest.pop("content", None):
        case str(text):
            shape, blocks = _RESULT_TEXT, [Text(plain_str(text))]
        case list(parts) if all(isinstance(inner, str | dict) for inner in parts):
            blocks = [block_of(inner) for inner in parts]
    is_error = rest.get("is_error") is True
    if is_error:
        del rest["is_error"]
    extra = {OURS: [shape, rest]} if rest or shape != _RESULT else {}
    result = ToolResult(plain_str(call), tuple(blocks), is_error, extra)
    return result if part_of(result) == part else None


def part_of(block: Block) -> Part | None:
    """Turn a block into LangChain's dict; None for what LangChain has no shape for."""
    if type(block) is Text and not block.extra:  # nearly all
        return {"type": "text", "text": block.text}
    match block:
        case Opaque(framework, _, data):
            return data if framework == OURS and isinstance(data, str | dict) else None
        case ToolCall() | Citation():
            return None  # a message has places of their own for them
        case ToolResult():
            return _result_part(block, *_ours(block))
        case Text() | Reasoning() | Refusal() | Image() | Audio() | Video() | File():
            return _shaped(block)
    assert_never(block)


def _shaped(block: Shaped) -> Part | None:
    name, rest = _ours(block)
    if name == _BARE and isinstance(block, Text):
        return block.text
    shape = _BY_NAME.get(name)
    if shape is not None and shape.kind is type(block):
        return _written(shape, rest, block)
    shape = _BY_NAME.get(_standard(block))
    if shape is None:
        return None  # neither bytes nor an address: nothing to show
    part = _written(shape, {}, block)
    if isinstance(block, Image | Audio | Video | File) and block.data is not None:
        part.setdefault("mime_type", _sniffed(block.data))  # providers refuse bytes without one
    return part


def plain_str(text: str) -> str:
    """Copy a text as a plain ``str``: ``message.text`` and enums are more than that."""
    return str.__str__(text)


def _ours(block: Any) -> tuple[str, dict[str, Any]]:
    """Find the shape that a block came in, and what else its dict held."""
    match block.extra.get(OURS):
        case [str(name), dict(rest)]:
            return name, rest
    return "", {}


def _standard(block: Shaped) -> str:
    """Choose LangChain's own shape for a block that came from elsewhere."""
    match block:
        case Refusal() | Text():
            return "text"
        case Reasoning():
            return "reasoning"
        case Image() | Audio() | Video() | File():
            data, url = block.data, block.url
            how = "base64" if data is not None else "url" if url is not None else "nothing"
            return f"{block.kind}.{how}"
    assert_never(block)


def _result_part(block: ToolResult, shape: str, rest: Mapping[str, Any]) -> dict[str, Any]:
    part: dict[str, Any] = {"type": _RESULT, "tool_use_id": block.tool_call_id or "", **rest}
    shown = [inner for each in block.content if (inner := part_of(each)) is not None]
    if shape == _RESULT_TEXT:
        part["content"] = "".join(each.text for each in block.content if isinstance(each, Text))
    elif shown:
        part["content"] = shown
    if block.is_error:
        part["is_error"] = True
    return part


# -- how a value is written in a dict ------------------------------------------------------------


class Form(NamedTuple):
    """How a value is written in a dict."""

    read: Callable[[Any], tuple[Any, ...] | None]
    """The value, and its media type where they are one; None for what cannot be read."""
    write: Callable[[Any, Any], Any]
    """What was read, from the value and the block that it is of."""


def _read_text(text: object) -> tuple[str] | None:
    return (plain_str(text),) if isinstance(text, str) else None


def _read_base64(text: object) -> tuple[bytes] | None:
    if not isinstance(text, str):
        return None
    try:
        return (b64decode(text, validate=True),)
    except (binascii.Error, ValueError):
        return None


def _read_data_url(text: object) -> tuple[bytes, str] | None:
    if not isinstance(text, str) or not text.startswith("data:"):
        return None
    head, _, data = text[5:].partition(",")
    read = _read_base64(data) if head.endswith(";base64") else None
    return None if read is None else (*read, head.removesuffix(";base64"))


def _read_utf8(text: object) -> tuple[bytes] | None:
    if not isinstance(text, str):
        return None
    try:
        return (text.encode(),)
    except UnicodeEncodeError:  # a lone surrogate: not bytes of any text
        return None


def _base64(data: bytes) -> str:
    return b64encode(data).decode()


_TEXT: Final = Form(_read_text, lambda value, block: value)
_RAW: Final = Form(
    lambda value: (value,) if type(value) is bytes else None, lambda value, block: value
)
_PROOF: Final = Form(lambda value: _RAW.read(value) or _read_text(value), _TEXT.write)
_BASE64: Final = Form(_read_base64, lambda value, block: _base64(value))
_DATA_URL: Final = Form(
    _read_data_url, lambda value, block: f"data:{block.media_type or ''};base64,{_base64(value)}"
)
_UTF8: Final = Form(_read_utf8, lambda value, block: value.decode(errors="replace"))
_AUDIO_FORMAT: Final = Form(
    lambda value: (f"audio/{value}",) if isinstance(value, str) else None,
    lambda value, block: value.removeprefix("audio/"),
)


# -- where it stands -----------------------------------------------------------------------------

Path: TypeAlias = tuple[str, ...]


class Field(NamedTuple):
    """Where a value stands in a dict, and how it is written there."""

    path: Path
    form: Form = _TEXT
    needed: bool = True


class Shape(NamedTuple):
    """One way of writing a block as a dict."""

    name: str
    tag: str
    """What stands under "type" in the dict."""
    kind: type[Any]
    fields: Mapping[str, Field]
    mark: tuple[Path, str] | None = None
    """What else has to stand in the dict: "data" is base64 in one shape and text in another."""
    media: str = ""
    """What its media type has to begin with."""


def _optional(*path: str) -> Field:
    return Field(path, needed=False)


def _media(kind: type[Any]) -> Iterator[Shape]:
    """Give LangChain's own shapes, of today and (v0) of before."""
    tag = kind.__name__.lower()
    mime = {"media_type": _optional("mime_type")}
    more = {**mime, "name": _optional("extras", "filename")}
    v0 = {"data": Field(("data",), _BASE64), **mime}
    yield Shape(f"{tag}.base64", tag, kind, {"data": Field(("base64",), _BASE64), **more})
    yield Shape(f"{tag}.data-url", tag, kind, {"data": Field(("url",), _DATA_URL)})
    yield Shape(f"{tag}.url", tag, kind, {"url": Field(("url",)), **more})
    yield Shape(f"{tag}.v0", tag, kind, v0, (("source_type",), "base64"))


def _anthropic(tag: str, kind: type[Any]) -> Iterator[Shape]:
    """Give Anthropic's shapes: all under ``source``."""
    more = {"media_type": _optional("source", "media_type"), "name": _optional("title")}
    for how, field, value in (
        ("base64", "data", Field(("source", "data"), _BASE64)),
        ("text", "data", Field(("source", "data"), _UTF8)),
        ("url", "url", Field(("source", "url"))),
    ):
        shape = f"{tag}.source.{how}"
        yield Shape(shape, tag, kind, {field: value, **more}, (("source", "type"), how))


def _google(kind: type[Any], media: str) -> Iterator[Shape]:
    mime = {"media_type": Field(("mime_type",))}
    for how, field, value in (
        ("base64", "data", Field(("data",), _BASE64)),
        ("bytes", "data", Field(("data",), _RAW)),
        ("url", "url", Field(("file_uri",))),
    ):
        name = f"media.{kind.__name__.lower()}.{how}"
        yield Shape(name, "media", kind, {field: value, **mime}, media=media)


def _plain_text() -> Iterator[Shape]:
    more = {"media_type": _optional("mime_type"), "name": _optional("title")}
    for how, field, value in (
        ("text", "data", Field(("text",), _UTF8)),
        ("base64", "data", Field(("base64",), _BASE64)),
        ("url", "url", Field(("url",))),
    ):
        yield Shape(f"text-plain.{how}", "text-plain", File, {field: value, **more})


def _reasoning(tag: str, text: Path, signature: Path) -> Shape:
    fields = {"text": Field(text), "signature": Field(signature, _PROOF, needed=False)}
    return Shape(tag, tag, Reasoning, fields)


_SHAPES: Final = (
    Shape("text", "text", Text, {"text": Field(("text",))}),
    *_media(Image),
    *_media(Audio),
    *_media(Video),
    *_media(File),
    Shape(
        "file.v0.text",
        "file",
        File,
        {"data": Field(("text",), _UTF8), "media_type": _optional("mime_type")},
        (("source_type",), "text"),
    ),
    *_anthropic("image", Image),
    *_anthropic("document", File),
    Shape("image_url.data", "image_url", Image, {"data": Field(("image_url", "url"), _DATA_URL)}),
    Shape("image_url", "image_url", Image, {"url": Field(("image_url", "url"))}),
    Shape("image_url.str.data", "image_url", Image, {"data": Field(("image_url",), _DATA_URL)}),
    Shape("image_url.str", "image_url", Image, {"url": Field(("image_url",))}),
    Shape(
        "input_audio",
        "input_audio",
        Audio,
        {
            "data": Field(("input_audio", "data"), _BASE64),
            "media_type": Field(("input_audio", "format"), _AUDIO_FORMAT, needed=False),
        },
    ),
    Shape(
        "file.openai",
        "file",
        File,
        {
            "data": Field(("file", "file_data"), _DATA_URL),
            "name": _optional("file", "filename"),
        },
    ),
    *_google(Image, "image/"),
    *_google(Audio, "audio/"),
    *_google(Video, "video/"),
    *_google(File, ""),
    *_plain_text(),
    _reasoning("reasoning", ("reasoning",), ("extras", "signature")),
    _reasoning("thinking", ("thinking",), ("signature",)),
    _reasoning(
        "reasoning_content",
        ("reasoning_content", "text"),
        ("reasoning_content", "signature"),
    ),
    Shape("refusal", "refusal", Refusal, {"text": Field(("refusal",))}),
)
_BY_NAME: Final = {shape.name: shape for shape in _SHAPES}
_BY_TAG: Final = {
    tag: [shape for shape in _SHAPES if shape.tag == tag]
    for tag in {shape.tag for shape in _SHAPES}
}


def _read(shape: Shape, part: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Read a dict by a shape: the block's fields, and the rest; None where it has another."""
    rest = _without(part, ("type",))
    said: dict[str, Any] = {}
    if shape.mark is not None:
        path, wanted = shape.mark
        if _at(rest, path) != wanted:
            return None
        rest = _without(rest, path)
    for name, field in shape.fields.items():
        read = field.form.read(_at(rest, field.path))
        if read is None and field.needed:
            return None
        if read is not None:
            said |= dict(zip((name, "media_type"), read, strict=False))
            rest = _without(rest, field.path)
    if not said.get("media_type", "").startswith(shape.media):
        return None
    return said, rest


def _written(shape: Shape, rest: Mapping[str, Any], block: Any) -> dict[str, Any]:
    """Write a block in a shape, with what else its dict held."""
    part: dict[str, Any] = {"type": shape.tag, **rest}
    if shape.mark is not None:
        part = _with(part, *shape.mark)
    for name, field in shape.fields.items():
        if (value := getattr(block, name)) is not None:
            part = _with(part, field.path, field.form.write(value, block))
    return part


def _at(part: Any, path: Path) -> Any:
    for key in path:
        part = part.get(key) if isinstance(part, dict) else None
    return part


def _without(part: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Copy without a value, and without the dict around it where that held nothing else."""
    key, *further = path
    rest = {name: value for name, value in part.items() if name != key}
    if further and (inner := _without(part[key], tuple(further))):
        rest[key] = inner
    return rest


def _with(part: Mapping[str, Any], path: Path, value: Any) -> dict[str, Any]:
    """Copy with a value."""
    key, *further = path
    return {**part, key: _with(part.get(key) or {}, tuple(further), value) if further else value}


_MAGIC: Final = {
    b"\x89PNG": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
    b"%PDF": "application/pdf",
    b"ID3": "audio/mpeg",
}
_RIFF: Final = {b"WEBP": "image/webp", b"WAVE": "audio/wav"}


def _sniffed(data: bytes) -> str:
    """Guess a media type by the first bytes, of the kinds that providers are often sent."""
    found = _RIFF.get(data[8:12]) if data[:4] == b"RIFF" else None
    found = found or next((kind for magic, kind in _MAGIC.items() if data.startswith(magic)), None)
    return found or "application/octet-stream"
