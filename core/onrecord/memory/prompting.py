"""What was said in a session, as text for a prompt.

from onrecord.memory import context

prompt = f"Answer the user.\n\n{context(session, max_messages=10)}"
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

from onrecord.adapters.calls import Talk, atalk, call, talk
from onrecord.arguments import check_choice, whole_number
from onrecord.errors import Misconfigured
from onrecord.gist import Gist
from onrecord.memory.summary import RollingSummary, Summariser, check_session, check_summariser
from onrecord.memory.wording import COMPACT, CONVERSATION, Form, shortened
from onrecord.message import Message
from onrecord.plural import many
from onrecord.session import Session
from onrecord.tokens import CountTokens

Format: TypeAlias = Literal["conversation", "summary", "compact"]

_FORMATS: Final = ("conversation", "summary", "compact")
_SUMMARY: Final = "[Summary of {n}:]"
_EXTRACTS: Final = "[Sentences out of {n}, chosen by rules:]"
_SHORTEST: Final = 16
"""Characters of a text below which shortening it further helps nobody."""


def context(
    session: Session,
    format: Format = "conversation",
    max_messages: int | None = None,
    max_tokens: int | None = None,
    summariser: Summariser | None = None,
) -> str:
    """Put the newest messages of a session that fit into words; nothing said, no words.

    ``conversation`` has every word of them, ``compact`` one line for each, with long texts
    shortened in the middle. It begins where a turn begins, so that fewer messages than
    ``max_messages`` may be in it. ``summary`` puts a summary of all that does not fit before them,
    which is kept and gone on from: see ``RollingSummary``. Where no limit is given, 20 messages
    stay. Without a ``summariser`` it consists of chosen sentences, and says so.

    The text is never longer than ``max_tokens``, as the store counts them.
    """
    return talk(told_in_words(session, format, max_messages, max_tokens, summariser))


async def acontext(
    session: Session,
    format: Format = "conversation",
    max_messages: int | None = None,
    max_tokens: int | None = None,
    summariser: Summariser | None = None,
) -> str:
    """Like ``context``."""
    return await atalk(told_in_words(session, format, max_messages, max_tokens, summariser))


def told_in_words(
    session: Session,
    format: Format,
    max_messages: int | None,
    max_tokens: int | None,
    summariser: Summariser | None,
) -> Talk[str]:
    """What ``context`` says, for both kinds of calls."""
    _check(session, format, max_messages, max_tokens, summariser)
    count = session.store.token_counter
    form = COMPACT if format == "compact" else CONVERSATION
    if format == "summary":
        return (yield from _with_summary(session, max_messages, max_tokens, summariser))
    window = yield from call(
        session.window,
        messages=max_messages,
        tokens=max_tokens,
        token_counter=None if max_tokens is None else _counting(count, form),
        repair=True,
    )
    return fitted(window, form, max_tokens, count)


def _with_summary(
    session: Session,
    max_messages: int | None,
    max_tokens: int | None,
    summariser: Summariser | None,
) -> Talk[str]:
    """A summary of what does not fit, in a quarter of the tokens at most, and the newest."""
    count = session.store.token_counter
    room = None if max_tokens is None else max_tokens // 4
    left = None if room is None or max_tokens is None else max(1, max_tokens - room)
    summary = RollingSummary(
        session,
        summariser,
        messages=max_messages,
        tokens=left,
        keep=1.0 if summariser is None else 0.5,  # to choose sentences costs nothing
        token_counter=None if left is None else _counting(count, CONVERSATION),
    )
    window = yield from call(summary.window, repair=True)
    words = in_words(window.summary)
    if room is not None and words:
        most = len(window.summary.text)
        while words and count(Message("user", words)) > room:
            most //= 2
            words = in_words(window.summary, most) if most > _SHORTEST else ""
    said = fitted(window, CONVERSATION, left, count)
    return f"{words}\n\n{said}" if words else said


def in_words(summary: Gist, most: int | None = None) -> str:
    """Put a summary into words for a prompt, with at most so many characters of it."""
    if not summary.text:
        return ""
    heading = _EXTRACTS if summary.extractive else _SUMMARY
    text = summary.text if most is None else shortened(summary.text, most)
    return f"{heading.format(n=many(summary.messages, 'earlier message'))}\n{text}"


def _counting(count: CountTokens, form: Form) -> CountTokens:
    """Count a message as it is put into words."""

    def in_form(message: Message) -> int:
        return count(Message("user", form.text_of([message])))

    return in_form


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
    check_session(session)
    check_choice("format", format, _FORMATS)
    for what, limit in (("max_messages", max_messages), ("max_tokens", max_tokens)):
        if limit is not None:
            whole_number(what, limit, 1)
    if summariser is not None:
        check_summariser(summariser)
        if format != "summary":
            raise Misconfigured('A summariser is for format="summary".')
