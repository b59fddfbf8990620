"""The message that brings recalled turns to a model: shown before the window, and never stored."""

from __future__ import annotations

from collections.abc import Sequence

from llama_index.core.base.llms.types import ChatMessage, MessageRole, TextBlock
from llama_index.core.memory import InsertMethod

from llama_index_onrecord.messages import Reminder
from onrecord import Message, Session
from onrecord.adapters.calls import Talk
from onrecord.adapters.recalling import Recall, frame, in_words, recalled
from onrecord.tokens import CountTokens


def query_in(given: str | ChatMessage | None, window: Sequence[Message]) -> str:
    """Find what is asked now: what is given, or else the user's newest message."""
    if isinstance(given, ChatMessage):
        return text_in(given)
    if given is not None:
        return given
    return next((message.text for message in reversed(window) if message.opens_turn), "")


def text_in(message: ChatMessage) -> str:
    """The text of a message, without its pictures and files."""
    return "\n".join(block.text for block in message.blocks if isinstance(block, TextBlock))


def words_of(
    session: Session,
    settings: Recall,
    query: str,
    window: Sequence[Message],
    tokens: int,
    counter: CountTokens,
) -> Talk[str]:
    """Recall what the window lacks, and put it into words of at most so many tokens; no words
    where nothing is relevant."""

    def count(words: str) -> int:
        return counter(Message("system", words))

    room = tokens - count(frame(settings.across))
    if room < 1 or not query.strip():
        return ""
    found = yield from recalled(session, settings, query, beyond=window, tokens=room)
    return in_words(found or (), settings.across, tokens=tokens, count=count)


def with_reminder(
    history: Sequence[ChatMessage], words: str, method: InsertMethod
) -> list[ChatMessage]:
    """Put what was recalled before a window, but behind a system message that leads it.

    Its role is that in which memory blocks speak. It is a message of its own also for
    ``InsertMethod.USER``: what the user asks now stays as it is.
    """
    if not words:
        return list(history)
    system = method is InsertMethod.SYSTEM
    role = MessageRole.SYSTEM if system else MessageRole.USER
    n = 0
    while n < len(history) and history[n].role is MessageRole.SYSTEM:
        n += 1
    reminder = Reminder(role=role, blocks=[TextBlock(text=words)])
    return [*history[:n], reminder, *history[n:]]
