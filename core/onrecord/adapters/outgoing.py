"""Messages as a store will have them, for whoever holds them before they are appended."""

from __future__ import annotations

from datetime import UTC

from msgspec.structs import replace

from onrecord import codec
from onrecord.accepting import Appendable, messages_from
from onrecord.message import Message
from onrecord.store import Store


def outgoing(store: Store, given: Appendable) -> list[Message]:
    """Make the messages that an append would store, or refuse them as it would. Does no I/O.

    They share nothing with what was given, and their tokens are counted: what is refused here is
    refused before somebody relies on it.
    """
    made = []
    for message in messages_from(given):
        _, content = codec.encode(message, "none")
        when = message.created_at
        made.append(
            replace(
                content,
                id=message.id,
                created_at=None if when is None else when.astimezone(UTC),
                tokens=store.token_counter(content),
            )
        )
    return made
