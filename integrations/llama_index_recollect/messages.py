"""Messages: LlamaIndex's and Recollect's, each made from the other and equal on return."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from llama_index.core.base.llms.types import ChatMessage, MessageRole

from llama_index_recollect.blocks import IN_KWARGS, OURS, block_of, part_of, plain
from recollect import Block, Message, ToolCall

RECOLLECT_ID: Final = "recollect_id"
"""In ``additional_kwargs``: an id of the caller's, under which a message is stored once."""

_ROLES: Final = {
    MessageRole.DEVELOPER: "system",
    MessageRole.CHATBOT: "assistant",
    MessageRole.MODEL: "assistant",
}
"""Roles by other names; what they are called is kept."""


def from_llama_index(message: ChatMessage) -> Message:
    """A message of LlamaIndex's as Recollect stores it."""
    role = _ROLES.get(message.role, message.role.value)
    native: dict[str, Any] = {} if role == message.role.value else {"role": message.role.value}
    kwargs = plain(message.additional_kwargs)
    given_id = kwargs.pop(RECOLLECT_ID, None)
    content: list[Block] = [block_of(block) for block in message.blocks]
    content.extend(_calls_in(kwargs, content))
    name = kwargs.pop("name") if isinstance(kwargs.get("name"), str) else None
    call_id = kwargs.get("tool_call_id")
    if isinstance(call_id, str):
        del kwargs["tool_call_id"]
    if kwargs:
        native["kwargs"] = kwargs
    return Message(
        role,
        tuple(content),
        name,
        call_id if isinstance(call_id, str) else None,
        native={OURS: native} if native else {},
        id=given_id,
    )


def to_llama_index(message: Message) -> ChatMessage:
    """A stored message as LlamaIndex has it. A new one each time: ``Memory`` changes them."""
    native: Mapping[str, Any] = message.native.get(OURS) or {} if message.native else {}
    kwargs = dict(native.get("kwargs", {}))
    if message.name is not None:
        kwargs["name"] = message.name
    if message.tool_call_id is not None:
        kwargs["tool_call_id"] = message.tool_call_id
    blocks = [part for block in message.content if (part := part_of(block)) is not None]
    # Not by the constructor: it would look for pictures in additional_kwargs, and at files.
    return ChatMessage.model_construct(
        role=_role(native.get("role", message.role)), additional_kwargs=kwargs, blocks=blocks
    )


def _role(role: str) -> MessageRole:
    try:
        return MessageRole(role)
    except ValueError:
        return MessageRole.USER  # no provider takes a role that it does not know


def _calls_in(kwargs: Mapping[str, Any], content: list[Block]) -> Iterator[ToolCall]:
    """Tool calls as OpenAI writes them, where some integrations of LlamaIndex keep them."""
    calls = kwargs.get("tool_calls")
    if not isinstance(calls, list):
        return
    said = {block.id for block in content if isinstance(block, ToolCall)}
    for call in calls:
        function = call.get("function") if isinstance(call, Mapping) else None
        if not isinstance(function, Mapping) or call.get("id") in said:
            continue
        name, arguments = function.get("name"), function.get("arguments")
        if isinstance(name, str):
            yield ToolCall(name, arguments or {}, call.get("id"), {OURS: IN_KWARGS})
