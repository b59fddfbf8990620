"""What LangChain's histories write of a message, and the message in it."""

from __future__ import annotations

import json
from datetime import datetime

from langchain_core.messages import messages_from_dict
from msgspec.structs import replace

from langchain_recollect.messages import from_langchain
from recollect import Message
from recollect.bringing import printable


def said_in(raw: bytes, at: datetime | None = None) -> Message | str:
    """The message in what ``message_to_dict`` wrote, or why there is none."""
    if not raw:
        return "it is empty."
    try:
        found = json.loads(raw.decode())
    except UnicodeDecodeError:
        return "it is not UTF-8."
    except (ValueError, RecursionError) as fault:
        return f"it is not JSON, or was cut off: {fault}."
    if not isinstance(found, dict) or not isinstance(found.get("data"), dict):
        return 'it is JSON, but not {"type": …, "data": {…}}, as LangChain writes a message.'
    try:
        [message] = messages_from_dict([found])
        said = from_langchain(message)
    except Exception as fault:  # whatever a class of messages makes of it
        return f"it is not a message that LangChain can read: {_first_line(fault)}."
    return said if at is None else replace(said, created_at=at)


def _first_line(fault: Exception) -> str:
    errors = getattr(fault, "errors", None)
    if callable(errors) and (found := errors()):  # pydantic's, which quotes the whole message
        return f"{'.'.join(map(str, found[0]['loc']))}: {found[0]['msg']}"
    text = f"{type(fault).__name__}: {fault}" if isinstance(fault, KeyError) else str(fault)
    return printable(text.partition("\n")[0][:200])


def as_bytes(value: object) -> bytes:
    match value:
        case bytes():
            return value
        case str():
            return value.encode("utf-8", "surrogateescape")
        case None:
            return b""
        case _:
            return str(value).encode()
