"""Messages: LangChain's and Recollect's, each made from the other and equal on return.

What other frameworks understand stands in the neutral fields: role, text, media, reasoning, tool
calls, results, usage. The rest stands under ``native["langchain"]``, and nothing stands twice.
Every message that is not plain text is made again from what will be stored, and compared; where
that should ever differ, its fields are kept as they are besides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    BaseMessageChunk,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
    message_chunk_to_message,
)

from langchain_recollect.blocks import OURS, Part, block_of, part_of
from recollect import Block, Citation, Message, Text, ToolCall

if TYPE_CHECKING:
    from recollect import TokenCounter as TokenCounter

M = TypeVar("M", bound=BaseMessage)

METADATA: Final = "metadata"
"""Where in ``additional_kwargs`` a message's metadata stands."""
TURN: Final = "turn"
"""In metadata, the id of the message that a message answers; see ``recollect.Window``."""
_INVALID: Final = "invalid"
_IN_CONTENT: Final = "content"

_ROLES: Final[dict[type[BaseMessage], str]] = {
    HumanMessage: "user",
    AIMessage: "assistant",
    SystemMessage: "system",
    ToolMessage: "tool",
    FunctionMessage: "function",
    RemoveMessage: "remove",
}
_TYPES: Final = {role: cls for cls, role in _ROLES.items()}
_KNOWN: Final[tuple[type[BaseMessage], ...]] = (*_ROLES, ChatMessage)
_CLASSES: Final = {cls.__name__: cls for cls in _KNOWN}
_CHAT: Final = "chat"


def from_langchain(message: BaseMessage) -> Message:
    """A LangChain message as Recollect stores it. A chunk becomes the message it is part of."""
    if isinstance(message, BaseMessageChunk):
        message = message_chunk_to_message(message)
    role = _ROLES.get(type(message))
    plain = role in ("user", "assistant", "system") and type(message.content) is str
    if plain and message.content and not _besides(message):
        words = Text(str(message.content))
        return Message(role or "", (words,), message.name, id=message.id or None)
    made = _made(message, _base(message))
    if _equal(to_langchain(made), message):
        return made
    return _with_native(made, {"whole": _whole(message)})


def to_langchain(message: Message) -> BaseMessage:
    """A stored message as LangChain has it: exactly what it was, if it came from there."""
    native: Mapping[str, Any] = message.native.get(OURS) or {} if message.native else {}
    content = message.content
    if not native and len(content) == 1 and not message.metadata and message.usage is None:
        (block,) = content
        cls = _TYPES.get(message.role)
        if type(block) is Text and not block.extra and cls in (HumanMessage, AIMessage):
            fields = {"content": block.text, "id": message.id}
            if message.name is not None:
                fields["name"] = message.name
            return _built(cls, fields)
    if "whole" in native:
        return _from_whole(native["whole"], message.id)
    return _from_parts(message, native)


def is_made_up(message: BaseMessage) -> bool:
    """Whether a message only stands in for one that is not there, and is not to be stored."""
    metadata = message.additional_kwargs.get(METADATA)
    return isinstance(metadata, dict) and metadata.get("recollect") == "repaired"


# -- to Recollect ------------------------------------------------------------------------------


def _besides(message: BaseMessage) -> bool:
    """Whether there is anything but words, a name and an id."""
    if message.additional_kwargs or message.response_metadata or message.model_extra:
        return True
    return isinstance(message, AIMessage) and bool(
        message.tool_calls or message.invalid_tool_calls or message.usage_metadata is not None
    )


def _base(message: BaseMessage) -> type[BaseMessage]:
    """The class of langchain-core that a message is one of: reading imports no other."""
    return next((cls for cls in type(message).__mro__ if cls in _KNOWN), HumanMessage)


def _made(message: BaseMessage, base: type[BaseMessage]) -> Message:
    native: dict[str, Any] = {}
    content: list[Block] = []
    match message.content:
        case "":
            pass
        case str(text):
            content.append(Text(text))
        case parts:
            content.extend(_blocks(message, parts))
    content.extend(_calls(message, content))
    if isinstance(message.content, list) and isinstance(_content(content, {}), str):
        native["list"] = True
    role = _ROLES.get(base)
    if base is ChatMessage:
        given = getattr(message, "role", "")
        native["type"] = _CHAT
        role = given or _CHAT
        if not given:
            native["role"] = given
    metadata, kwargs = _split(message.additional_kwargs)
    if kwargs:
        native["kwargs"] = kwargs
    if message.response_metadata:
        native["response"] = message.response_metadata
    if isinstance(message, ToolMessage):
        if message.artifact is not None:
            native["artifact"] = message.artifact
        if message.status != "success":
            native["status"] = message.status
    if message.model_extra:
        native["extra"] = dict(message.model_extra)
    removes = isinstance(message, RemoveMessage)
    if removes:
        native["id"] = message.id  # of the message that is to go: this one's own is another
    return Message(
        role or "user",
        tuple(content),
        message.name,
        getattr(message, "tool_call_id", None) if isinstance(message, ToolMessage) else None,
        dict(message.usage_metadata)
        if isinstance(message, AIMessage) and message.usage_metadata is not None
        else None,
        metadata,
        {OURS: native} if native else {},
        None if removes else message.id or None,
    )


def _split(kwargs: Mapping[Any, Any]) -> tuple[dict[str, Any], dict[Any, Any]]:
    """Metadata that any framework may read, and what is LangChain's own."""
    metadata = kwargs.get(METADATA)
    if not isinstance(metadata, dict) or not metadata or TURN in metadata:
        return {}, dict(kwargs)
    if not all(isinstance(key, str) for key in metadata):
        return {}, dict(kwargs)
    return metadata, {key: value for key, value in kwargs.items() if key != METADATA}


def _blocks(message: BaseMessage, parts: Sequence[Part]) -> Iterable[Block]:
    """A list of parts; those that repeat a tool call are that tool call."""
    calls = {call["id"]: call for call in getattr(message, "tool_calls", ())}
    for part in parts:
        yield (_repeated(part, calls) if isinstance(part, dict) else None) or block_of(part)


def _repeated(part: Mapping[str, Any], calls: dict[str | None, Any]) -> ToolCall | None:
    """The tool call that a part says a second time, as providers do."""
    arguments = {"tool_use": "input", "tool_call": "args"}.get(str(part.get("type")))
    call = calls.get(part.get("id"))
    if (
        arguments is None
        or call is None
        or part.get("name") != call["name"]
        or part.get(arguments) != call["args"]
    ):
        return None
    rest = {k: v for k, v in part.items() if k not in ("type", "id", "name", arguments)}
    del calls[call["id"]]
    extra = {OURS: [_IN_CONTENT, {"type": part["type"], **rest}, _more(call)]}
    return ToolCall(call["name"], call["args"], call["id"], extra)


def _calls(message: BaseMessage, content: Sequence[Block]) -> list[ToolCall]:
    """The tool calls that are not among the parts."""
    if not isinstance(message, AIMessage):
        return []
    said = [block.id for block in content if isinstance(block, ToolCall)]
    calls = []
    for call in message.tool_calls:
        if call["id"] in said:
            said.remove(call["id"])
        else:
            more = _more(call)
            calls.append(
                ToolCall(call["name"], call["args"], call["id"], {OURS: ["", more]} if more else {})
            )
    for invalid in message.invalid_tool_calls:
        more = {k: v for k, v in invalid.items() if k not in ("id", "type")}
        name, args = more.get("name"), more.get("args")
        if isinstance(name, str):
            del more["name"]
        if isinstance(args, str):
            del more["args"]
        extra = {OURS: [_INVALID, more]}
        calls.append(
            ToolCall(
                name if isinstance(name, str) else "",
                args if isinstance(args, str) else "",
                invalid.get("id"),
                extra,
            )
        )
    return calls


def _more(call: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in call.items() if k not in ("name", "args", "id", "type")}


def _with_native(message: Message, native: dict[str, Any]) -> Message:
    """The same with other things of LangChain's own, and neutral content for everybody else."""
    return Message(
        message.role,
        message.content,
        message.name,
        message.tool_call_id,
        message.usage,
        {},
        {OURS: native},
        message.id,
    )


def _whole(message: BaseMessage) -> dict[str, Any]:
    fields = {name: getattr(message, name) for name in type(message).model_fields}
    return {"class": _base(message).__name__, **fields, **(message.model_extra or {})}


# -- to LangChain ------------------------------------------------------------------------------


def _from_parts(message: Message, native: Mapping[str, Any]) -> BaseMessage:
    cls = ChatMessage if native.get("type") == _CHAT else _TYPES.get(message.role, ChatMessage)
    if message.role == "damaged":
        cls = HumanMessage  # no provider takes a role that it does not know
    fields: dict[str, Any] = {**native.get("extra", {})}
    fields["content"] = _content(message.content, native)
    kwargs = {**native.get("kwargs", {})}
    metadata = message.metadata
    if metadata and TURN in metadata:
        metadata = {key: value for key, value in metadata.items() if key != TURN}
    if metadata:
        kwargs[METADATA] = metadata
    if kwargs:
        fields["additional_kwargs"] = kwargs
    if "response" in native:
        fields["response_metadata"] = native["response"]
    if message.name is not None or cls is FunctionMessage:
        fields["name"] = message.name or ""
    fields["id"] = message.id
    if cls is ChatMessage:
        fields["role"] = native.get("role", message.role)
    elif cls is RemoveMessage:
        fields["id"] = native.get("id", message.id)
    elif cls is ToolMessage:
        fields["tool_call_id"] = message.tool_call_id or ""
        for name in ("artifact", "status"):
            if name in native:
                fields[name] = native[name]
    elif cls is AIMessage:
        calls = [block for block in message.content if isinstance(block, ToolCall)]
        if calls:
            fields["tool_calls"] = [_call(c) for c in calls if not _is_invalid(c)]
            fields["invalid_tool_calls"] = [_invalid(c) for c in calls if _is_invalid(c)]
        if message.usage is not None:
            fields["usage_metadata"] = _usage(message.usage)
    return _built(cls, fields)


def _content(content: Iterable[Block], native: Mapping[str, Any]) -> str | list[Part]:
    """A lone text is its string, as people write it; all else is a list."""
    shown = [block for block in content if not isinstance(block, ToolCall) or _repeats(block)]
    if not native.get("list"):
        match shown:
            case []:
                return ""
            case [Text(text, extra)] if not extra:
                return text
    parts: list[Part] = []
    for block in shown:
        if isinstance(block, Citation):
            _cite(parts, block)
        elif isinstance(block, ToolCall):
            parts.append(_part_again(block))
        elif (part := part_of(block)) is not None:
            parts.append(part)
    return parts or ("" if not native.get("list") else [])


def _cite(parts: list[Part], citation: Citation) -> None:
    """Beside the text it stands behind; without one it is nothing that a model is shown."""
    if not parts or not isinstance(parts[-1], dict) or parts[-1].get("type") != "text":
        return
    cited: dict[str, Any] = {"type": "citation"}
    if citation.source:
        cited["url"] = citation.source
    if citation.text:
        cited["cited_text"] = citation.text
    parts[-1]["annotations"] = [*parts[-1].get("annotations", ()), cited]


def _repeats(call: ToolCall) -> bool:
    ours = call.extra.get(OURS)
    return ours is not None and ours[0] == _IN_CONTENT


def _part_again(call: ToolCall) -> Part:
    rest = dict(call.extra[OURS][1])
    arguments = "input" if rest["type"] == "tool_use" else "args"
    return {**rest, "id": call.id, "name": call.name, arguments: call.args}


def _is_invalid(call: ToolCall) -> bool:
    return not isinstance(call.args, dict)


def _call(call: ToolCall) -> dict[str, Any]:
    ours = call.extra.get(OURS)
    more = ours[-1] if ours else {}
    return {"name": call.name, "args": call.args, "id": call.id, "type": "tool_call", **more}


def _invalid(call: ToolCall) -> dict[str, Any]:
    ours = call.extra.get(OURS)
    more = ours[1] if ours else {"error": None}
    fields = {"name": call.name, "args": call.args, "id": call.id, "type": "invalid_tool_call"}
    return {**fields, **more}


def _usage(usage: Mapping[str, Any]) -> dict[str, Any]:
    """With the sums that LangChain insists on, where another framework left them out."""
    sent, received = usage.get("input_tokens", 0), usage.get("output_tokens", 0)
    sums = {"input_tokens": sent, "output_tokens": received}
    total = sent + received if isinstance(sent, int) and isinstance(received, int) else 0
    return {**sums, "total_tokens": total, **usage}


def _from_whole(whole: Mapping[str, Any], id_: str | None) -> BaseMessage:
    fields = dict(whole)
    cls = _CLASSES.get(fields.pop("class", ""), HumanMessage)
    fields.pop("type", None)
    return _built(cls, {**fields, "id": fields.get("id") or id_})


def _built(cls: type[M], fields: dict[str, Any]) -> M:
    # The same validation as by cls(**fields), without its way through four __init__: 1.9 and
    # not 3.7 µs a message.
    message = cls.__new__(cls)
    cls.__pydantic_validator__.validate_python(fields, self_instance=message)
    return message


def _equal(again: BaseMessage, message: BaseMessage) -> bool:
    if again.id != message.id and not message.id:
        again.id = message.id
    return again.__dict__ == message.__dict__ and again.model_extra == message.model_extra
