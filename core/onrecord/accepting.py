"""Turn what ``append`` accepts into Messages.

A Message; a mapping with the usual keys, where tool calls come as ``{id, name, args}`` or in
OpenAI's shape; a ``(role, text)`` pair; or a list of these. A key or a part that nobody knows is
refused by name rather than dropped: a silent loss here would be found weeks later.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final, TypeAlias, TypeGuard

import msgspec

from onrecord.blocks import Audio, Block, File, Image, Opaque, Refusal, Text, ToolCall
from onrecord.errors import InvalidMessage, InvalidName, shown
from onrecord.message import Message
from onrecord.scope import check_name

Appendable: TypeAlias = (
    Message
    | Mapping[str, Any]
    | tuple[str, str]
    | Iterable[Message | Mapping[str, Any] | tuple[str, str]]
)

MOST_AT_ONCE: Final = 10_000
"""The most messages one append may bring: it holds the session's lock while it writes them."""

LONGEST_ROLE: Final = 64
"""Of a pair: what is longer, or has a space in it, is what was said."""

_CONVERTERS: Final = {
    "langchain_core": "langchain_onrecord.from_langchain",
    "llama_index": "llama_index_onrecord.from_llama_index",
}
"""What makes a Message of a framework's own."""

_KEYS: Final = frozenset(
    [
        "role",
        "content",
        "name",
        "tool_call_id",
        "tool_calls",
        "usage",
        "metadata",
        "native",
        "id",
        "created_at",
    ]
)


def messages_from(given: Appendable) -> list[Message]:
    """Make messages of what the caller gave, in order, with ids and times checked."""
    if _is_pair(given) or isinstance(given, Message | Mapping):
        return [_message_from(given, "the message")]
    _refuse_anothers(given, "this")
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise InvalidMessage(
            f"append() takes a Message, a mapping, a (role, text) pair or a list of these, and "
            f'this is {type(given).__name__}. Say who speaks: append(("user", "hello")).'
        )
    items = list(islice(given, MOST_AT_ONCE + 1))  # it may have no end
    if len(items) > MOST_AT_ONCE:
        raise InvalidMessage(
            f"One append takes at most {MOST_AT_ONCE:,} messages and this has more. "
            f"Append them in several batches."
        )
    messages = [_message_from(item, f"message {i}") for i, item in enumerate(items)]
    return messages


def _is_pair(given: object) -> TypeGuard[tuple[str, object]]:
    return isinstance(given, tuple) and len(given) == 2 and isinstance(given[0], str)


def _refuse_anothers(given: object, which: str) -> None:
    """Name the converter for a framework's message, told by its class alone."""
    for cls in type(given).__mro__:
        converter = _CONVERTERS.get(cls.__module__.partition(".")[0])
        if converter is not None:
            name = converter.rpartition(".")[2]
            raise InvalidMessage(
                f"{which} is a {cls.__module__.partition('.')[0]} {type(given).__name__}. Convert "
                f"it: append({name}(message)), with {converter}."
            )


def _message_from(given: object, which: str) -> Message:
    # By isinstance: to match the pattern of a pair takes 1 of 7 µs until all is encoded.
    if isinstance(given, Message):
        message = given
    elif _is_pair(given):
        message = _from_pair(*given, which)
    elif isinstance(given, Mapping):
        message = _from_mapping(given, which)
    else:
        _refuse_anothers(given, which)
        raise InvalidMessage(
            f"{which} is a {type(given).__name__}, which is not a Message, a mapping or a "
            f'(role, text) pair. One message is a tuple of two: append(("user", "hello")).'
        )
    if message.id is not None:
        try:
            check_name("id", message.id)
        except InvalidName as fault:
            raise InvalidMessage(f"{which}: {fault}") from None
    when: object = message.created_at
    if when is not None and (not isinstance(when, datetime) or when.utcoffset() is None):
        raise InvalidMessage(
            f"{which}: created_at has to be a datetime with a time zone, and this is "
            f"{shown(when)}. Use datetime.now(timezone.utc)."
        )
    if when is not None:
        try:
            message.created_at.astimezone(UTC)  # type: ignore[union-attr]
        except OverflowError:
            raise InvalidMessage(f"{which}: created_at {when!r} does not exist in UTC.") from None
    return message


def _from_pair(role: str, text: object, which: str) -> Message:
    if not isinstance(text, str):
        raise InvalidMessage(
            f"{which}: the text of a (role, text) pair is a {type(text).__name__}. Use str(), "
            f"or Message(role, [...]) for content in blocks."
        )
    if len(role) > LONGEST_ROLE or any(map(str.isspace, role)):
        raise InvalidMessage(
            f"{which}: the role of a (role, text) pair is {role!r:.50}. The role comes "
            f'first: ("user", "hello"). For such a role write Message(role, text).'
        )
    return Message(role, text)


def _from_mapping(given: Mapping[Any, Any], which: str) -> Message:
    if unknown := sorted(map(repr, set(given) - _KEYS)):
        raise InvalidMessage(
            f"{which} has the key {unknown[0]}, which has no place in a message. "
            f"Known keys: {', '.join(sorted(_KEYS))}. Put your own data under 'metadata'."
        )
    if "role" not in given:
        raise InvalidMessage(f"{which} has no 'role'.")
    fields = {key: given[key] for key in _KEYS - {"content", "tool_calls"} if key in given}
    for key in ("usage", "metadata", "native"):
        if not isinstance(fields.get(key, {}), Mapping | None):
            raise InvalidMessage(
                f"{which}: {key} has to be a mapping, and this is {type(fields[key]).__name__}."
            )
    for key in ("metadata", "native"):
        if fields.get(key, {}) is None:
            del fields[key]
    calls = [_tool_call(call, which) for call in given.get("tool_calls") or ()]
    content = _blocks(given.get("content"), which)
    if calls and content == (Text(""),):
        content = ()  # an empty string beside tool calls is how providers say "no text"
    return Message(content=(*content, *calls), **fields)


def _blocks(content: object, which: str) -> tuple[Block, ...]:
    match content:
        case None:
            return ()
        case str():
            return (Text(content),)
        case list() | tuple():
            return tuple(_block(part, which) for part in content)
        case _:
            raise InvalidMessage(
                f"{which}: content has to be text or a list of blocks, and this is "
                f"{type(content).__name__}."
            )


def _block(part: object, which: str) -> Block:
    if isinstance(part, str):
        return Text(part)
    if isinstance(part, Block):
        return part
    if isinstance(part, Mapping) and isinstance(part.get("type"), str):
        return _part(part, which)
    raise InvalidMessage(
        f"{which}: a {type(part).__name__} is not a content block. "
        f"Use onrecord.Text(...) or a mapping with a 'type'."
    )


def _part(part: Mapping[str, Any], which: str) -> Block:
    """Read a content part in OpenAI's shape; what else it says goes along as ``extra``."""
    rest = dict(part)
    kind: str = rest.pop("type")
    if kind not in ("text", "refusal"):
        inner = rest.get(kind)
        detail = dict(inner) if isinstance(inner, Mapping) else {}
        block = _media(kind, detail, {k: v for k, v in rest.items() if k != kind}, which)
        return Opaque("openai", kind, rest) if block is None else block
    if not isinstance(rest.get(kind), str):
        raise InvalidMessage(f"{which}: a part of type {kind!r} needs its {kind!r} as text.")
    return Text(rest.pop(kind), rest) if kind == "text" else Refusal(rest.pop(kind), rest)


def _media(
    kind: str, detail: dict[str, Any], rest: dict[str, Any], which: str
) -> Image | Audio | File | None:
    """Read a picture, a sound or a document; None for what only its provider understands."""
    match kind, detail:
        case "image_url", {"url": str(url)}:
            del detail["url"]
            data, media_type = _data_url(url)
            address = None if data is not None else url
            return Image(data, address, media_type, extra={**rest, **detail})
        case "input_audio", {"data": str(text)}:
            del detail["data"]
            audio = _base64(text, f"{which}: input_audio.data")
            return Audio(audio, media_type=_audio_type(detail), extra={**rest, **detail})
        case "file", {"file_data": str(url)}:
            data, media_type = _data_url(url)
            if data is not None:
                del detail["file_data"]
                name = detail.pop("filename", None)
                return File(data, media_type=media_type, name=name, extra={**rest, **detail})
    return None


def _tool_call(call: object, which: str) -> ToolCall:
    if isinstance(call, ToolCall):
        return call
    if isinstance(call, Mapping):
        rest = dict(call)
        rest.pop("type", None)
        function = rest.pop("function", None)
        if isinstance(function, Mapping):
            rest |= function
            rest["args"] = _arguments(rest.pop("arguments", ""))
        name = rest.pop("name", None)
        if isinstance(name, str):
            return ToolCall(name, rest.pop("args", {}), rest.pop("id", None), rest)
    raise InvalidMessage(
        f"{which}: tool_calls takes {{id, name, args}} or OpenAI's shape, not {shown(call, 100)}"
    )


def _arguments(text: object) -> object:
    """Read arguments that OpenAI sends as JSON text. What is no JSON object stays text."""
    if not isinstance(text, str):
        return text
    try:
        arguments = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
    return arguments if isinstance(arguments, dict) else text


def _data_url(url: str) -> tuple[bytes | None, str | None]:
    """The bytes and type in a ``data:`` address, or neither for any other."""
    if not url.startswith("data:"):
        return None, None
    head, comma, data = url[5:].partition(",")
    if not comma or not head.endswith(";base64"):
        return None, None
    try:
        return b64decode(data, validate=True), head[: -len(";base64")] or None
    except binascii.Error:
        return None, None


def _base64(text: str, where: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except binascii.Error as fault:
        raise InvalidMessage(f"{where} is not base64: {fault}") from fault


def _audio_type(detail: dict[str, Any]) -> str | None:
    kind = detail.pop("format", None)
    return f"audio/{kind}" if isinstance(kind, str) else None
