"""Events: messages of sessions, each with a type and a payload.

What was said is an event of the type ``session_<role>``, whoever wrote it. Any other type is
stored as what comes to an agent from outside, a message of role user: so every framework reads it,
and a turn begins there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from onrecord.accepting import messages_from
from onrecord.blocks import Text, ToolResult, text_of
from onrecord.errors import InvalidMessage, Misconfigured, shown
from onrecord.memory.marks import mark_of, public_id
from onrecord.memory.wording import indented
from onrecord.message import CONVERSATION, MARKS, SPOKEN, Message
from onrecord.scope import LONGEST_NAME

NO_TIME: Final = datetime.min.replace(tzinfo=UTC)
"""Of a message whose time is damaged."""

_EVENT, _PAYLOAD, _CALL, _EPISODE = "event", "payload", "tool_call", "episode"
_SPEAKER: Final = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
"""What every provider takes for a name."""
_WHOLE: Final = 2**63
"""Beyond it a decoder of JSON may make another number of one."""


@dataclass(frozen=True, slots=True, repr=False)
class Event:
    """Something that happened in a session. Yours to keep."""

    timestamp: datetime
    event_type: str
    payload: Any
    session_id: str
    id: str

    def __str__(self) -> str:
        return f"[{self.event_type}] {indented(_said(self.payload))}"

    def __repr__(self) -> str:
        when, said = f"{self.timestamp:%Y-%m-%d %H:%M:%S}", " ".join(_said(self.payload).split())
        said = said if len(said) <= 60 else f"{said[:59]}…"
        return f"Event({when}, {self.session_id!r}, {self.event_type!r}, {said})"


def event_of(message: Message, session: str) -> Event:
    """The event that a stored message is."""
    event_type, payload = told(message)
    at = message.created_at or NO_TIME
    return Event(at, event_type, payload, session, public_id(mark_of(message), session))


def newest_first(event: Event) -> tuple[float, str, int]:
    """Sort by time, and events of one time by their places."""
    seq = int(event.id.partition(".")[0])
    return -event.timestamp.timestamp(), event.session_id, -seq


def message_of(event_type: object, payload: Any, at: datetime | None = None) -> Message:
    """The message that an event is stored as: the payload comes back from it equal."""
    check_type(event_type)
    assert isinstance(event_type, str)
    spoken = _spoken(event_type, payload)
    if spoken is None:
        message = _from_outside(event_type, payload)
    elif told(spoken) == (event_type, payload):
        message = spoken
    else:
        message = replace(spoken, native={MARKS: {_EVENT: event_type, _PAYLOAD: payload}})
    return message if at is None else replace(message, created_at=at)


def check_type(given: object) -> None:
    """Refuse what is no type of an event."""
    if not isinstance(given, str) or not 0 < len(given) <= LONGEST_NAME or not given.isprintable():
        raise Misconfigured(
            f"event_type has to be a printable text of 1 to {LONGEST_NAME} characters, not "
            f"{shown(given)}."
        )


def told(message: Message) -> tuple[str, Any]:
    """Type and payload of a message."""
    marks = message.marks
    kind = marks.get(_EVENT)
    if isinstance(kind, str):
        return kind, marks[_PAYLOAD] if _PAYLOAD in marks else _from_text(marks, message.text)
    payload: dict[str, Any] = {"content": _content(message), _CALL: _call(message, marks)}
    episode = marks.get(_EPISODE)
    if isinstance(episode, str) and episode != CONVERSATION:
        return episode, payload
    return f"{SPOKEN}{message.role}", payload


def role_of(event_type: str) -> str:
    """Whose word an event is; empty where it is none."""
    return event_type.removeprefix(SPOKEN) if event_type.startswith(SPOKEN) else ""


def _spoken(event_type: str, payload: Any) -> Message | None:
    """An event that is a word of somebody, as frameworks write it; None where it is none."""
    role = role_of(event_type)
    if not role or not isinstance(payload, Mapping):
        return None
    content, call = payload.get("content"), payload.get(_CALL)
    fields: dict[str, Any] = {"role": role, "content": content}
    if not isinstance(content, str | None):
        fields["content"] = _words(content)
    if role == "tool" and isinstance(call, Mapping):
        for key, field in (("id", "tool_call_id"), ("name", "name")):
            if isinstance(call.get(key), str):
                fields[field] = call[key]
    elif isinstance(call, Mapping):
        fields["tool_calls"] = [call]
    elif isinstance(call, list) and call:
        fields["tool_calls"] = call
    try:
        (message,) = messages_from(fields)
    except InvalidMessage:  # a call in a shape that nobody knows: the payload keeps it
        fields.pop("tool_calls", None)
        (message,) = messages_from(fields)
    return message


def _from_outside(event_type: str, payload: Any) -> Message:
    marks: dict[str, Any] = {_EVENT: event_type}
    if type(payload) is str:
        text, marks["as"] = payload, "text"
    elif _is_json(payload):
        text = msgspec.json.encode(payload).decode()
    else:
        text, marks[_PAYLOAD] = _words(payload), payload
    name = event_type if _SPEAKER.match(event_type) else None
    return Message("user", text, name, native={MARKS: marks})


def _from_text(marks: Mapping[str, Any], text: str) -> Any:
    if marks.get("as") == "text":
        return text
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:  # edited since by somebody who wrote plain text
        return text


def _content(message: Message) -> str | None:
    """What was said; None where there is no text, as beside a call."""
    if any(isinstance(block, Text) for block in message.content):
        return message.text
    results = [block for block in message.content if isinstance(block, ToolResult)]
    return text_of(tuple(results)) if results else None


def _call(message: Message, marks: Mapping[str, Any]) -> Any:
    """What is called, or of a tool's message the call that it answers; a list of several."""
    if _CALL in marks:
        return marks[_CALL]
    if message.role == "tool":
        answers = {"id": message.tool_call_id, "name": message.name}
        return {key: value for key, value in answers.items() if value is not None} or None
    calls = [
        {"id": call.id, "name": call.name, "args": call.args, **call.extra}
        for call in message.tool_calls
    ]
    for call in calls:
        if call["id"] is None:
            del call["id"]
    return calls[0] if len(calls) == 1 else calls or None


def _is_json(value: Any) -> bool:
    """Whether a value comes back from JSON as it is. A loop, because it may be nested deeply."""
    todo, deep = [(value, 0)], 100
    while todo:
        one, depth = todo.pop()
        if depth > deep:
            return False
        match one:
            case None | bool():
                pass
            case int() if type(one) is int and -_WHOLE <= one < _WHOLE:
                pass
            case float() if type(one) is float and one - one == 0:  # neither infinite nor NaN
                pass
            case str() if (type(one) is str and one.isascii()) or _encodable(one):
                pass
            case list() if type(one) is list:
                todo += [(part, depth + 1) for part in one]
            case dict() if type(one) is dict and all(
                type(key) is str and _encodable(key) for key in one
            ):
                todo += [(part, depth + 1) for part in one.values()]
            case _:
                return False
    return True


def _encodable(text: object) -> bool:
    if type(text) is not str:
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _words(value: Any) -> str:
    """All that can be read in a value, to be found by."""
    found, todo = list[str](), [value]
    for _ in range(10_000):  # a list may hold itself
        if not todo:
            break
        match todo.pop():
            case str() as text:
                found.append(text)
            case Mapping() as mapping:
                todo += [part for pair in reversed([*mapping.items()]) for part in reversed(pair)]
            case list() | tuple() | set() | frozenset() as several:
                todo += reversed([*several])
            case bytes() | None:
                pass
            case other:
                found.append(shown(other))
    return " ".join(found)


def _said(payload: Any) -> str:
    """A payload as text: what was said and called, or all of it."""
    match payload:
        case str():
            return payload
        case {"content": str() | None as content, **more} if more.keys() <= {_CALL}:
            asked = more.get(_CALL)
            call = "" if asked is None else f"tool_call={asked!r}"
            return " ".join(part for part in (content, call) if part)
        case _:
            return repr(payload)
