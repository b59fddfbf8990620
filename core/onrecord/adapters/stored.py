"""Sequence and id of a stored message: one that was only made has none, and is refused."""

from __future__ import annotations

from onrecord.errors import InvalidMessage
from onrecord.message import Message
from onrecord.stored.ids import may_be_derived


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


def given_id_of(message: Message) -> str | None:
    """The id that somebody gave a stored message, which it has in every fork and import; None where
    it is one that says where the message stands, which is another there."""
    id = id_of(message)
    return None if may_be_derived(id) else id
