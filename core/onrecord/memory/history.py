"""What a memory hands out of a conversation: messages that are the reader's own, cut where nothing
that belongs together is torn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from onrecord.blocks import Text
from onrecord.memory.notebook import line, said
from onrecord.memory.wording import CONVERSATION
from onrecord.message import Message
from onrecord.window import pair

_SENT: Final = ("role", "content", "name", "tool_call_id")


class History(list[Message]):
    """Messages, oldest first: a list, and as ``str`` the text of them for a prompt.

    Each reads like a dict, ``message["content"]``, and ``dicts()`` makes dicts of all.
    """

    def dicts(self) -> list[dict[str, Any]]:
        """Make dicts as OpenAI's models take them: role and content, and names and tool calls
        where there are any. Content that is more than text is left as its blocks."""
        return [_sent(message) for message in self]

    def __str__(self) -> str:
        return CONVERSATION.text_of(self)

    def _repr_html_(self) -> str:
        return said(self) if self else line("No messages.")


def _sent(message: Message) -> dict[str, Any]:
    found = {key: message[key] for key in _SENT if key in message}
    if calls := message.tool_calls:
        found["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": _as_json(call.args)},
            }
            for call in calls
        ]
    return found


def _as_json(args: Any) -> str:
    """Write arguments as OpenAI does; text is what could not be parsed, and stays."""
    return args if isinstance(args, str) else msgspec.json.encode(args).decode()


def newest(messages: Sequence[Message], most: int, turns: int | None = None) -> Sequence[Message]:
    """Take the newest so many, and of them the newest turns.

    Where that would part a tool call from its results it begins behind them; where nothing is
    behind them, with the call: the newest group is always there.
    """
    start = max(0, len(messages) - most)
    if turns is not None:
        start = max(start, _start_of_turns(messages, turns))
    if start == 0 or start == len(messages):
        return messages[start:]
    matched = pair(messages).matched
    if not matched:
        return messages[start:]
    later = _settled(start, matched, lambda call, result: result + 1)
    if later < len(messages):
        return messages[later:]
    return messages[_settled(start, matched, lambda call, result: call) :]


def _settled(start: int, matched: Iterable[tuple[int, int]], moved: Any) -> int:
    """Move a cut until it goes through no pair of a call and its result."""
    pairs = list(matched)
    while True:
        torn = [moved(call, result) for call, result in pairs if call < start <= result]
        if not torn:
            return start
        start = torn[0]


def _start_of_turns(messages: Sequence[Message], turns: int) -> int:
    """Find where the newest turns begin; 0 where there are not so many."""
    for i in range(len(messages) - 1, -1, -1):
        if messages[i].opens_turn:
            turns -= 1
            if turns == 0:
                return i
    return 0


def own(message: Message) -> Message:
    """Copy a message that stays here: what is handed out may be changed."""
    content = message.content
    if len(content) == 1 and type(content[0]) is Text and not content[0].extra:
        content = (Text(content[0].text),)
    elif content:
        content = tuple(map(copied, content))
    return Message(
        message.role,
        content,
        message.name,
        message.tool_call_id,
        copied(message.usage),
        copied(message.metadata),
        copied(message.native),
        message.id,
        message.created_at,
        message.seq,
        message.tokens,
    )


def copied(value: Any) -> Any:
    """Copy what can be changed in a value of those that the store takes."""
    if isinstance(value, dict):
        return {key: copied(part) for key, part in value.items()} if value else {}
    if isinstance(value, list):
        return [copied(part) for part in value]
    if isinstance(value, tuple):
        return tuple([copied(part) for part in value])
    if isinstance(value, set):
        return set(value)
    if isinstance(value, Struct):
        fields = [copied(getattr(value, field)) for field in value.__struct_fields__]
        return type(value)(*fields)
    return value
