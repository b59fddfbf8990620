"""What of a message a search looks at: what a model is sent of it, calls and results too."""

from __future__ import annotations

from onrecord.blocks import Block, weight_of
from onrecord.message import Message
from onrecord.ranking import Said
from onrecord.stored.messages import MessageRow


def said_of(session: int, row: MessageRow, message: Message) -> Said:
    """What was said in one message, as the ranking looks at it."""
    return Said(
        session, row.seq, row.created, message.role, message.name or "", text_of(message.content)
    )


def text_of(content: tuple[Block, ...]) -> str:
    """All text of some blocks, each on a line of its own."""
    texts: list[str] = []
    todo = list(reversed(content))
    while todo:
        weight = weight_of(todo.pop())
        if weight.text:
            texts.append(weight.text)
        todo.extend(reversed(weight.inside))
    return "\n".join(texts)
