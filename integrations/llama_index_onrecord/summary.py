"""A rolling summary in a memory: it stands before the window for what has fallen out of that, and
is kept in the session's own ``state``, never among its messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llama_index.core.llms import LLM

from onrecord import Gist, Message, Misconfigured, Session, Window
from onrecord.adapters.calls import Talk, call
from onrecord.adapters.stored import seq_of
from onrecord.errors import shown
from onrecord.memory.reminding import asking, summarised
from onrecord.memory.summary import RollingSummary, Summariser


class Asked:
    """An LLM as a summariser."""

    def __init__(self, llm: LLM) -> None:
        self._llm = llm

    def __call__(self, previous: str, messages: Sequence[Message]) -> str:
        """Ask it for a new summary."""
        return self._llm.complete(asking(previous, messages)).text

    async def acall(self, previous: str, messages: Sequence[Message]) -> str:
        """Like ``__call__``."""
        return (await self._llm.acomplete(asking(previous, messages))).text


def check_summary(given: object) -> None:
    """Refuse what cannot summarise, before any I/O."""
    if given is not None and not isinstance(given, LLM) and not callable(given):
        raise Misconfigured(
            f"summary has to be an LLM, or a function of the summary so far and a list of "
            f"Messages, not {shown(given)}."
        )


def gist_of(session: Session, given: Any, upto: int, settings: dict[str, Any]) -> Talk[Gist]:
    """The summary of what fell out of a window with such settings, up to a message at least."""
    summariser: Summariser = Asked(given) if isinstance(given, LLM) else given
    return summarised(RollingSummary(session, summariser, **settings), upto)


def going_on(
    session: Session, window: Window, given: Any, settings: dict[str, Any]
) -> Talk[Window]:
    """The window that goes on where the summary of what has fallen out of it ends."""
    gist = yield from gist_of(session, given, window.fallen, settings)
    if not gist:
        return window
    return (yield from call(session.window, **settings, repair=True, last=window, summary=True))


def since(gist: Gist, messages: Sequence[Message]) -> list[Message]:
    """Messages that a summary does not stand for, and the newest turn."""
    turns = (seq_of(message) for message in reversed(messages) if message.opens_turn)
    newest = next(turns, 0)
    return [
        m for m in messages if seq_of(m) > gist.version.head or (newest and seq_of(m) >= newest)
    ]
