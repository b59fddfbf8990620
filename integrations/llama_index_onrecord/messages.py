"""Messages: LlamaIndex's and Onrecord's, each made from the other and equal on return."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from llama_index.core.base.llms.types import BaseContentBlock, ChatMessage, MessageRole

from llama_index_onrecord.blocks import (
    IN_KWARGS,
    OURS,
    anew,
    arguments,
    block_of,
    made,
    ours,
    parts_of,
    plain,
    text_block,
)
from onrecord import Block, InvalidMessage, Message, Text, ToolCall, ToolResult

ONRECORD_ID: Final = "onrecord_id"
"""In ``additional_kwargs``: an id of the caller's, under which a message is stored once. It is not
there on return: integrations of LlamaIndex send what they find there to the provider."""

_ROLES: Final = {
    MessageRole.DEVELOPER: "system",
    MessageRole.CHATBOT: "assistant",
    MessageRole.MODEL: "assistant",
}
"""Roles by other names; what they are called is kept."""
_BY_NAME: Final = {role.value: role for role in MessageRole}
"""A dict answers in a fifth of the enum's time."""
_HAS_ONLY_THESE: Final = ChatMessage.model_fields.keys() == {"role", "additional_kwargs", "blocks"}


class Reminder(ChatMessage):
    """What was recalled, on its way to a model. Nobody said it: it is never stored."""


def spoken(messages: Iterable[ChatMessage]) -> list[ChatMessage]:
    """Leave out of messages what nobody said."""
    return [message for message in messages if not isinstance(message, Reminder)]


def from_llama_index(message: ChatMessage) -> Message:
    """Turn a message of LlamaIndex's into Onrecord's. The objects of providers' libraries that
    it carries become the dicts that these make of them."""
    if not isinstance(message, ChatMessage):
        raise InvalidMessage(
            f"This is a {type(message).__name__}, which is not a ChatMessage. "
            f'Say who speaks: ChatMessage(role="user", content="hello").'
        )
    try:
        return _neutral(message)
    except Exception as fault:  # a file that was closed, what a provider's to_dict() raises
        raise InvalidMessage(f"The message cannot be stored: {fault!r:.200}") from fault


def to_llama_index(message: Message) -> ChatMessage:
    """Turn a stored message into LlamaIndex's, a new one each time: ``Memory`` changes them."""
    kwargs: dict[str, Any] = {}
    role = _BY_NAME.get(message.role, MessageRole.USER)
    call_id = message.tool_call_id
    if message.native:
        native = ours(message.native)
        if isinstance(given := native.get("kwargs"), dict):
            kwargs = anew(given)
        if "role" in native:
            role = _role(native["role"])
    blocks: list[BaseContentBlock] = []
    results: list[ToolResult] = []
    for block in message.content:
        if type(block) is Text:  # nearly all are, and this runs for every message read
            blocks.append(text_block(block.text))
            continue
        blocks.extend(parts_of(block))
        if isinstance(block, ToolResult):
            results.append(block)
    if results:
        call_id = call_id or results[0].tool_call_id
        if len(results) == len(message.content):
            role = MessageRole.TOOL  # where others have it a user who hands them in
    if message.name is not None:
        kwargs["name"] = message.name
    if call_id is not None:
        kwargs["tool_call_id"] = call_id
    # Not by the constructor: it would look for pictures in additional_kwargs, and at files.
    fields: dict[str, Any] = {"role": role, "additional_kwargs": kwargs, "blocks": blocks}
    if _HAS_ONLY_THESE:
        return made(ChatMessage, fields, {"role", "additional_kwargs", "blocks"})
    return ChatMessage.model_construct(**fields)


def _neutral(message: ChatMessage) -> Message:
    said = MessageRole(message.role)
    role = _ROLES.get(said, said.value)
    native: dict[str, Any] = {} if role == said.value else {"role": said.value}
    kwargs = plain(message.additional_kwargs)
    given_id = kwargs.pop(ONRECORD_ID, None)
    content: list[Block] = [block_of(block) for block in message.blocks]
    content.extend(_calls_in(kwargs, content))
    name = kwargs.pop("name") if isinstance(kwargs.get("name"), str) else None
    call_id = kwargs.pop("tool_call_id") if isinstance(kwargs.get("tool_call_id"), str) else None
    if kwargs:
        native["kwargs"] = kwargs
    return Message(
        role, tuple(content), name, call_id, native={OURS: native} if native else {}, id=given_id
    )


def _role(role: object) -> MessageRole:
    try:
        return MessageRole(role)
    except ValueError:
        return MessageRole.USER  # no provider takes a role that it does not know


def _calls_in(kwargs: Mapping[str, Any], content: list[Block]) -> Iterator[ToolCall]:
    """Read tool calls as providers write them, where integrations of LlamaIndex keep them."""
    calls = kwargs.get("tool_calls")
    if not isinstance(calls, list):
        return
    # Most have them among the blocks as well; a call without an id is known by its name.
    known = {block.id or block.name for block in content if isinstance(block, ToolCall)}
    for call in calls:
        function = call.get("function", call) if isinstance(call, Mapping) else None
        if not isinstance(function, Mapping):
            continue
        id_, name = call.get("id"), function.get("name")
        if isinstance(name, str) and isinstance(id_, str | None) and (id_ or name) not in known:
            args = arguments(function.get("arguments", function.get("input")))
            yield ToolCall(name, args or {}, id_, {OURS: {IN_KWARGS: True}})
