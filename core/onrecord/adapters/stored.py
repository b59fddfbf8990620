"""Sequence and id of a stored message: one that was only made has none, and is refused."""

from __future__ import annotations

from onrecord.errors import InvalidMessage
from onrecord.message import Message


def seq_of(message: Message) -> int:
    """The sequence of a stored message."""
    if message.seq is None:
        raise InvalidMessage("This message was never stored: it has no sequence.")
    return message.seq


def id_of(message: Message) -> str:
    """The id of a stored message."""
    if message.id is None:
        raise InvalidMessage("This message was never stored: it has no id.")
    return message.id
