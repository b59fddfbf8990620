"""What was said in a session, as text for a prompt.

from onrecord.memory import context

prompt = f"Answer the user.\n\n{context(session, max_messages=10)}"
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

from onrecord.adapters.calls import Talk, atalk, call, talk
from onrecord.arguments import check_choice, check_function, whole_number
from onrecord.errors import Misconfigured, shown
from onrecord.memory.extracting import extract
from onrecord.memory.wording import COMPACT, CONVERSATION, Form, shortened
from onrecord.message import Message
from onrecord.session import Session
from onrecord.tokens import CountTokens
from onrecord.window import Window

Format: TypeAlias = Literal["conversation", "summary", "compact"]

_FORMATS: Final = ("conversation", "summary", "compact")
_SHORTEST: Final = 16
"""Characters of a text below which shortening it further helps nobody."""


def context(
    session: Session,
    format: Format = "conversation",
    max_messages: int | None = None,
    max_tokens: int | None = None,
    summariser: object = None,
) -> str:
    """Put the newest messages of a session that fit into words; nothing said, no words.

    ``conversation`` has every word of them, ``compact`` one line for each, with long texts
    shortened in the middle. The text is never longer than ``max_tokens``, as the store counts
    them. It begins where a turn begins, so that fewer messages than ``max_messages`` may be in it.
    """
    return talk(_in_words(session, format, max_messages, max_tokens, summariser))


async def acontext(
    session: Session,
    format: Format = "conversation",
    max_messages: int | None = None,
    max_tokens: int | None = None,
    summariser: object = None,
) -> str:
    """Like ``context``."""
    return await atalk(_in_words(session, format, max_messages, max_tokens, summariser))


def _in_words(
    session: Session,
    format: Format,
    max_messages: int | None,
    max_tokens: int | None,
    summariser: object,
) -> Talk[str]:
    _check(session, format, max_messages, max_tokens, summariser)
    count = session.store.token_counter
    form = COMPACT if format == "compact" else CONVERSATION
    if format == "summary":
        window = yield from _window(session, form, max_messages or 20, max_tokens)
        first = next((m.seq for m in window if m.seq and m.role != "system"), None) or 1
        older = yield from call(session.messages, after=0, before=first)
        words = extract("", older)
        said = form.text_of(window)
        return f"[Before, in extracts:]\n{words}\n\n{said}" if words else said
    window = yield from _window(session, form, max_messages, max_tokens)
    return fitted(window, form, max_tokens, count)


def _window(session: Session, form: Form, messages: int | None, tokens: int | None) -> Talk[Window]:
    count = session.store.token_counter

    def in_form(message: Message) -> int:
        return count(Message("user", form.text_of([message])))

    return call(
        session.window,
        messages=messages,
        tokens=tokens,
        token_counter=None if tokens is None else in_form,
        repair=True,
    )


def fitted(messages: Sequence[Message], form: Form, tokens: int | None, count: CountTokens) -> str:
    """Put messages into words of at most so many tokens: texts lose their middles where one turn
    alone is longer than that."""
    text = form.text_of(messages)
    if tokens is None or not text:
        return text
    most = max((len(line) for line in text.splitlines()), default=0)
    while count(Message("user", text)) > tokens and most > _SHORTEST:
        most //= 2
        text = Form(form.compact, most).text_of(messages)
    while text and count(Message("user", text)) > tokens:
        text = shortened(text, len(text) // 2)
    return text


def _check(
    session: object, format: object, max_messages: object, max_tokens: object, summariser: object
) -> None:
    if not isinstance(session, Session):
        raise Misconfigured(f"context needs a session, store.session(key), not {shown(session)}.")
    check_choice("format", format, _FORMATS)
    for what, limit in (("max_messages", max_messages), ("max_tokens", max_tokens)):
        if limit is not None:
            whole_number(what, limit, 1)
    if summariser is not None:
        check_function("summariser", summariser, "a function of a text and a list of Messages")
        if format != "summary":
            raise Misconfigured('A summariser is for format="summary".')
