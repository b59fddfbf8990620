"""The window that was shown last, shown again for as long as nothing was said, and then gone on
from.

Agents ask for the whole history before each call of the model, though between two calls of a
turn nothing is put: of four times that a FunctionAgent with two rounds of tools asks, twice it
is the same. Whether it is the same is asked of the store each time, as freshly as any read is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from llama_index.core.base.llms.types import ChatMessage, MessageRole

from llama_index_onrecord.memory_turn import is_answer
from onrecord import Message, Session, Since, Window
from onrecord.adapters.calls import Talk, call
from onrecord.tokens import CountTokens
from onrecord.version import NOTHING


class _Shown(NamedTuple):
    asked: tuple[Any, ...]
    """For what: another conversation, limit or counter has another window."""
    window: Window


class _Recalled(NamedTuple):
    asked: tuple[Any, ...]
    turn: Message | None
    """The message that opens the turn in which it was asked."""
    epoch: int
    words: str


class LastShown:
    """Remembers one window. Copies and pickles begin without, and it takes no part in equality."""

    def __init__(self) -> None:
        self._shown: _Shown | None = None
        self._stands = False
        self._since: Since | None = None
        self._recalled: _Recalled | None = None

    def outdate(self) -> None:
        """Note that something is being put: it will be another window."""
        self._stands = False

    def end_turn(self) -> None:
        """Note that all is taken away: what comes next answers nothing that was shown."""
        self._shown = self._since = None

    def note(self, window: Window) -> None:
        """Note what a model is shown. It answers what it was shown first in a turn."""
        if self._since is None:
            self._since = Since(window.version)

    def note_recalled(self, asked: tuple[Any, ...], window: Window, words: str) -> None:
        """Note what was recalled beside a window."""
        self._recalled = _Recalled(asked, _turn(window), window.version.epoch, words)

    def recalled(self, asked: tuple[Any, ...], window: Window) -> str | None:
        """Find what was recalled for the same before in this turn: the session has only grown
        since, and so the window, which began where it begins or before, lacks it still."""
        last = self._recalled
        if last is None or last.asked != asked or window.version == NOTHING:
            return None
        same = last.turn == _turn(window) and last.epoch == window.version.epoch
        return last.words if same else None

    def since(self, messages: Sequence[ChatMessage]) -> Since | None:
        """Find the version that messages have to come after: an answer to what
        was cleared meanwhile would be stored without its question."""
        if not messages or messages[0].role is MessageRole.USER:
            self._since = None
        since = self._since
        if messages and is_answer(messages[-1]):
            self._since = None  # the turn ends with it
        return since

    def window(self, session: Session, tokens: int, counter: CountTokens | None) -> Talk[Window]:
        """Read what to show a model. Whoever makes something of it shares nothing with it that can
        be changed."""
        asked = (session.store, session.name, tokens, counter)
        shown = self._shown
        last = None if shown is None or shown.asked != asked else shown.window
        if last is not None and self._stands:
            # The smallest window tells where the session stands, out of the cache if there is one.
            newest: Window = yield from call(session.window, messages=1)
            # A session that was made anew may stand where the old one stood: other ids, times.
            if newest.version == last.version and newest[-1:] == last[-1:]:
                return last
        self._stands = True  # before it is read: what is put meanwhile outdates it
        window: Window = yield from call(
            session.window, tokens=tokens, repair=True, token_counter=counter, last=last
        )
        self._shown = _Shown(asked, window)
        self.note(window)
        return window

    def __reduce__(self) -> tuple[type[LastShown], tuple[()]]:
        return LastShown, ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LastShown)

    __hash__ = object.__hash__


def _turn(window: Window) -> Message | None:
    return next((message for message in reversed(window) if message.opens_turn), None)
