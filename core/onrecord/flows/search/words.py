"""What of a message a search looks at: what a model is sent of it, calls and results too."""

from __future__ import annotations

from onrecord.blocks import text_of
from onrecord.message import Message
from onrecord.ranking import Said
from onrecord.stored.messages import MessageRow


def said_of(session: int, row: MessageRow, message: Message) -> Said:
    """What was said in one message, as the ranking looks at it."""
    return Said(
        session, row.seq, row.created, message.role, message.name or "", text_of(message.content)
    )
