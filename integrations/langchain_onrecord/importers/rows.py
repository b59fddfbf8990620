"""Read messages from what LangChain's histories write of them."""

from __future__ import annotations

from langchain_core.messages import messages_from_dict

from langchain_onrecord.messages import from_langchain
from onrecord import Message
from onrecord.adapters.importing import SourceRow
from onrecord.adapters.importing.rows import first_line, json_in


def row_of(name: str, raw: bytes) -> SourceRow:
    """Read a row that ``message_to_dict`` was written to."""
    return SourceRow(name, raw, _said_in(raw))


def _said_in(raw: bytes) -> Message | str:
    found = json_in(raw)
    if isinstance(found, str):
        return found
    if not isinstance(found.get("data"), dict):
        return 'it is JSON, but not {"type": …, "data": {…}}, as LangChain writes a message.'
    try:
        [message] = messages_from_dict([found])
        return from_langchain(message)
    except Exception as fault:  # whatever a class of messages makes of it
        return f"it is not a message that LangChain can read: {first_line(fault)}."
