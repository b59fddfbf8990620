"""Messages: LangChain's and Onrecord's, each made from the other and equal on return.

What other frameworks understand stands in the neutral fields: role, text, media, reasoning, tool
calls, results, usage. A message that is more than plain text is made again from these, and each
field that differs is kept besides, as it was, under ``native["langchain"]``. So nothing is lost,
little stands twice, and what LangChain will add to its messages is kept without being known here.

The nested values of a message and of the one made from it are the same objects.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, TypeVar

import msgspec
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)

from langchain_onrecord.artifacts import restored, storable
from langchain_onrecord.blocks import OURS, Part, block_of, part_of, plain_str, result_of
from onrecord import Block, Citation, Message, Text, ToolCall, ToolResult

M = TypeVar("M", bound=BaseMessage)

METADATA: Final = "metadata"
"""Where in ``additional_kwargs`` a message's metadata stands."""
TURN: Final = "turn"
"""In metadata, the id of the message that a message answers; see ``onrecord.Window``."""
SAID: Final = "said"
"""In metadata of a message that was redacted: a digest of what it said first."""
_HIDDEN: Final = (TURN, SAID)
RECALLED: Final = "recalled"
"""What ``metadata["onrecord"]`` says of a message that was recalled for a model."""
SUMMARISED: Final = "summarised"
"""The same of a summary that stands for messages which have no room."""
_MADE_UP: Final = ("repaired", RECALLED, SUMMARISED)

_ROLES: Final[dict[type[BaseMessage], str]] = {
    HumanMessage: "user",
    AIMessage: "assistant",
    SystemMessage: "system",
    ToolMessage: "tool",
    FunctionMessage: "function",
}
_OF_ROLE: Final[dict[str, type[BaseMessage]]] = {
    **{role: cls for cls, role in _ROLES.items()},
    "damaged": HumanMessage,  # no provider takes a role that it does not know
}
_SPEAKERS: Final = (HumanMessage, AIMessage, SystemMessage)
_KNOWN: Final[tuple[type[BaseMessage], ...]] = (*_ROLES, ChatMessage, RemoveMessage)
_TYPES: Final[dict[type[BaseMessage], str]] = {
    cls: cls.model_fields["type"].default for cls in _KNOWN
}
_OF_TYPE: Final = {type_: cls for cls, type_ in _TYPES.items()}

# Where a tool call stands, if not in ``tool_calls`` alone: that is what its ``extra`` says first.
_ALSO_PART: Final = "content"
_ONLY_PART: Final = "part"
_INVALID: Final = "invalid"
_ARTIFACT: Final = "artifact"

_ARGUMENTS: Final = {"tool_use": "input", "tool_call": "args"}
"""Where a part that is a tool call has its arguments: Anthropic's, and LangChain's own."""


def from_langchain(message: BaseMessage) -> Message:
    """Turn a LangChain message into Onrecord's. A chunk becomes the message it is part of."""
    text = message.content
    if type(message) in _SPEAKERS and type(text) is str and text and not _besides(message):
        return Message(_ROLES[type(message)], (Text(text),), message.name, id=message.id or None)
    made = _neutral(message)
    native = dict(made.native.get(OURS, ()))
    again = to_langchain(made).__dict__
    for name, value in _fields(message):
        # What is compared with None may be anything: an array has an == of its own.
        if name not in again or (
            again[name] is not value and (again[name] is None or again[name] != value)
        ):
            native[name] = storable(value) if name == _ARTIFACT else value
    return msgspec.structs.replace(made, native={OURS: native}) if native else made


def to_langchain(message: Message) -> BaseMessage:
    """Turn a stored message into LangChain's: exactly what it was, if it came from there."""
    content = message.content
    if len(content) == 1 and not message.native and not message.metadata and message.usage is None:
        (block,) = content
        cls = _OF_ROLE.get(message.role, ChatMessage)
        if type(block) is Text and not block.extra and cls in _SPEAKERS:
            fields = {"content": block.text, "id": message.id}
            if message.name is not None:
                fields["name"] = message.name
            return _built(cls, fields)
    native = message.native.get(OURS)
    return _restored(message, native if isinstance(native, dict) else {})


def is_made_up(message: BaseMessage) -> bool:
    """Whether a message is only for a model and is not to be stored: it stands in for one that is
    not there, or repeats what is there."""
    metadata = message.additional_kwargs.get(METADATA)
    return isinstance(metadata, dict) and metadata.get("onrecord") in _MADE_UP


# -- to Onrecord --------------------------------------------------------------------------------


def _besides(message: BaseMessage) -> bool:
    """Whether there is anything but words, a name and an id."""
    if message.additional_kwargs or message.response_metadata or message.model_extra:
        return True
    return isinstance(message, AIMessage) and bool(
        message.tool_calls or message.invalid_tool_calls or message.usage_metadata is not None
    )


def _neutral(message: BaseMessage) -> Message:
    """Say in neutral fields what other frameworks understand; keep what only LangChain has."""
    # Reading imports no class: a subclass is stored as what it is one of.
    cls = next((known for known in type(message).__mro__ if known in _TYPES), HumanMessage)
    role = _ROLES.get(cls) or getattr(message, "role", "") or _TYPES[cls]
    metadata, kwargs = _split(message.additional_kwargs)
    native: dict[str, Any] = {"additional_kwargs": kwargs} if kwargs else {}
    if cls is not _OF_ROLE.get(role, ChatMessage):
        native["type"] = _TYPES[cls]
    usage = message.usage_metadata if isinstance(message, AIMessage) else None
    return Message(
        role,
        tuple(_blocks(message)),
        message.name,
        message.tool_call_id if isinstance(message, ToolMessage) else None,
        None if usage is None else {**usage},
        metadata,
        {OURS: native} if native else {},
        # Whose id a RemoveMessage has is the message that is to go.
        None if cls is RemoveMessage else message.id or None,
    )


def _fields(message: BaseMessage) -> Iterator[tuple[str, Any]]:
    """Collect the fields of a message, except those that are seen to elsewhere."""
    seen_to = {"type", "additional_kwargs"}
    if not isinstance(message, RemoveMessage):
        seen_to.add("id")
    if isinstance(message, AIMessageChunk):
        seen_to |= {"tool_call_chunks", "chunk_position"}  # its tool_calls say the same
    for name in type(message).model_fields:
        if name in message.__dict__ and name not in seen_to:
            yield name, message.__dict__[name]
    yield from (message.model_extra or {}).items()


def _split(kwargs: Mapping[Any, Any]) -> tuple[dict[str, Any], dict[Any, Any]]:
    """Split metadata that any framework may read from what is LangChain's own."""
    metadata = kwargs.get(METADATA)
    if not isinstance(metadata, dict) or not metadata or any(k in metadata for k in _HIDDEN):
        return {}, dict(kwargs)
    if not all(isinstance(key, str) for key in metadata):
        return {}, dict(kwargs)
    return metadata, {key: value for key, value in kwargs.items() if key != METADATA}


def _blocks(message: BaseMessage) -> list[Block]:
    """Make the blocks of a message, each tool call once: providers repeat calls among parts."""
    content = message.content
    calls = list(message.tool_calls) if isinstance(message, AIMessage) else []
    blocks: list[Block] = []
    if isinstance(content, str):
        blocks += [Text(plain_str(content))] if content else []
    else:
        for part in content:
            blocks += _said_by(part, message, calls)
        match blocks:
            case [Text(text, extra)] if not extra:
                blocks = [Text(text, {OURS: ["text", {}]})]  # not the string, but a list
    blocks += map(_called, calls)
    if isinstance(message, AIMessage):
        blocks += map(_unparsed, message.invalid_tool_calls)
    return blocks


def _said_by(part: Any, message: BaseMessage, calls: list[Any]) -> list[Block]:
    """Make the blocks of a part. Tool calls it says are taken off ``calls``."""
    tag = part.get("type") if isinstance(part, dict) else None
    if isinstance(tag, str) and tag in _ARGUMENTS and isinstance(message, AIMessage):
        return _call_said_by(part, message, calls) or [block_of(part)]
    if tag == "tool_result" and not isinstance(message, ToolMessage):  # which is a result itself
        return [result_of(part) or block_of(part)]
    return [block_of(part)]


def _call_said_by(part: Mapping[Any, Any], message: AIMessage, calls: list[Any]) -> list[Block]:
    """Find the tool call a part repeats, and before it those that LangChain has first."""
    keys = ["id", "name", _ARGUMENTS[part["type"]]]
    if not part.keys() >= set(keys):
        return []
    id_, name, args = said = [part[key] for key in keys]
    rest = {key: value for key, value in part.items() if key not in keys}
    for i, call in enumerate(calls):
        if said == [call.get("id"), call["name"], call["args"]]:
            earlier, calls[: i + 1] = calls[:i], []
            return [*map(_called, earlier), _called(call, _ALSO_PART, rest)]
    known = [call.get("id") for call in (*message.tool_calls, *message.invalid_tool_calls)]
    match said:
        case [str(), str(), dict()] if id_ not in known:
            # LangChain has not noticed, but its result will come, and is not to be an orphan.
            return [ToolCall(plain_str(name), args, plain_str(id_), {OURS: [_ONLY_PART, rest]})]
    return []


def _called(call: Mapping[str, Any], *ours: Any) -> ToolCall:
    return ToolCall(call["name"], call["args"], call.get("id"), {OURS: [*ours]} if ours else {})


def _unparsed(call: Mapping[str, Any]) -> ToolCall:
    """Make a call whose arguments are text that could not be parsed."""
    name, args = call.get("name"), call.get("args")
    more = {key: call[key] for key in call if key not in ("id", "type", "name", "args")}
    if not isinstance(name, str):
        more["name"] = name
    if not isinstance(args, str):
        more["args"] = args
    extra = {} if more == {"error": None} else {OURS: [_INVALID, more]}
    return ToolCall(name or "", args or "", call.get("id"), extra)


# -- to LangChain --------------------------------------------------------------------------------


def _restored(message: Message, native: Mapping[str, Any]) -> BaseMessage:
    cls = _OF_TYPE.get(str(native.get("type"))) or _OF_ROLE.get(message.role, ChatMessage)
    made = _built(cls, _said(message, cls))
    # The rest not through validation: what LangChain had is what it gets, and nothing can fail.
    kept = {name: value for name, value in native.items() if name != "type"}
    if _ARTIFACT in kept:
        kept[_ARTIFACT] = restored(kept[_ARTIFACT])
    if metadata := {k: v for k, v in message.metadata.items() if k not in _HIDDEN}:
        kept["additional_kwargs"] = {**kept.get("additional_kwargs", {}), METADATA: metadata}
    if kept:
        made.model_fields_set.update(kept)
        extra = made.model_extra
        assert extra is not None  # all messages take fields that they do not know
        for name, value in kept.items():
            (made.__dict__ if name in made.__dict__ else extra)[name] = value
    return made


def _said(message: Message, cls: type[BaseMessage]) -> dict[str, Any]:
    """Make LangChain's fields of the neutral ones."""
    fields: dict[str, Any] = {"id": message.id}
    content = message.content
    if message.name is not None or cls is FunctionMessage:
        fields["name"] = message.name or ""
    if cls is ChatMessage:
        fields["role"] = message.role
    elif cls is ToolMessage:
        # Elsewhere the results may be among the blocks; here the message is the result.
        results = [block for block in content if isinstance(block, ToolResult)]
        ids = (result.tool_call_id for result in results if result.tool_call_id)
        fields["tool_call_id"] = next(ids, "") if (id_ := message.tool_call_id) is None else id_
        if any(result.is_error for result in results):
            fields["status"] = "error"
        content = tuple(
            inner
            for block in content
            for inner in (block.content if isinstance(block, ToolResult) else (block,))
        )
    elif cls is AIMessage:
        calls = [c for c in content if isinstance(c, ToolCall) and _place(c)[0] != _ONLY_PART]
        fields["tool_calls"] = [_call(c) for c in calls if isinstance(c.args, dict)]
        fields["invalid_tool_calls"] = [_invalid(c) for c in calls if not isinstance(c.args, dict)]
        if message.usage is not None:
            fields["usage_metadata"] = _usage(message.usage)
    fields["content"] = _content(content)
    return fields


def _content(blocks: Iterable[Block]) -> str | list[Part]:
    """Make the content: a lone text as its string, as people write it; all else as a list."""
    parts: list[Part] = []
    plain: list[str] = []
    for block in blocks:
        if isinstance(block, Citation):
            _cite(parts, block)
        elif (part := _call_part(block) if isinstance(block, ToolCall) else part_of(block)) is None:
            continue  # a call that is in tool_calls alone, or another framework's own
        else:
            parts.append(part)
            plain += [block.text] if isinstance(block, Text) and OURS not in block.extra else []
    if len(parts) == len(plain) == 1 and len(parts[0]) == 2:
        return plain[0]
    return parts or ""


def _cite(parts: list[Part], citation: Citation) -> None:
    """Add a citation to the text before it. Without such a text no model is shown it."""
    if not parts or not isinstance(text := parts[-1], dict) or text.get("type") != "text":
        return
    cited: dict[str, Any] = {"type": "citation"}
    if citation.source:
        cited["url"] = citation.source
    if citation.text:
        cited["cited_text"] = citation.text
    parts[-1] = {**text, "annotations": [*(text.get("annotations") or ()), cited]}


def _place(call: ToolCall) -> tuple[str, dict[Any, Any]]:
    """Find where a tool call stood, and what else was said of it there."""
    match call.extra.get(OURS):
        case [str(place), dict(rest)]:
            return place, rest
    return "", {}


def _call_part(call: ToolCall) -> Part | None:
    """Write a tool call as a part of the content, if it was one."""
    place, rest = _place(call)
    key = _ARGUMENTS.get(str(rest.get("type")))
    if place not in (_ALSO_PART, _ONLY_PART) or key is None:
        return None
    return {**rest, "id": call.id, "name": call.name, key: call.args}


def _call(call: ToolCall) -> dict[str, Any]:
    args = {name if isinstance(name, str) else str(name): arg for name, arg in call.args.items()}
    return {"name": call.name, "args": args, "id": call.id, "type": "tool_call"}


def _invalid(call: ToolCall) -> dict[str, Any]:
    args = call.args if isinstance(call.args, str | None) else str(call.args)
    place, more = _place(call)
    given = {"name": call.name, "args": args, "id": call.id, "error": None}
    return {**given, **more} if place == _INVALID else given


def _usage(usage: Mapping[str, Any]) -> dict[str, Any]:
    """Add the sums that LangChain insists on, where another framework left them out."""
    counts: dict[str, int] = {}
    for name in ("input_tokens", "output_tokens"):
        count = usage.get(name)
        counts[name] = count if isinstance(count, int) else 0
    total = usage.get("total_tokens")
    counts["total_tokens"] = total if isinstance(total, int) else sum(counts.values())
    return {**{k: v for k, v in usage.items() if _is_usage(k, v)}, **counts}


def _is_usage(name: object, value: object) -> bool:
    """Whether LangChain takes this as usage: details have to be counts."""
    if name in ("input_token_details", "output_token_details"):
        return isinstance(value, dict) and all(
            isinstance(what, str) and isinstance(count, int) for what, count in value.items()
        )
    return isinstance(name, str)


def _built(cls: type[M], fields: dict[str, Any]) -> M:
    # The same validation as by cls(**fields), without its way through four __init__: 1.9 and
    # not 3.7 µs a message.
    message = cls.__new__(cls)
    cls.__pydantic_validator__.validate_python(fields, self_instance=message)
    return message
