"""Recall in an agent: older turns that answer the user go before the window a model is shown.

They are in the request to the model, and so in its trace, and nowhere else: neither in the session
again, nor in the graph's state or its checkpoints.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from langchain_core.messages import AnyMessage, BaseMessage, SystemMessage

from langchain_onrecord.messages import RECALLED, from_langchain, to_langchain
from langchain_onrecord.run_progress import RunProgress, id_of, question_in
from onrecord import Message, Recalled, Window
from onrecord.adapters.bounded import Bounded
from onrecord.adapters.calls import Talk, call
from onrecord.adapters.recalling import Recall, recall_settings, recalled, reminding

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from onrecord import Session, Store

__all__ = ["Recall", "Recaller", "before_window", "recall_settings"]

_MANY: Final = 512
"""So many runs may be under way in a process without being asked for again."""
Answer: TypeAlias = tuple[str, AnyMessage | None]
"""The id of what was asked, and what goes before the window; None where nothing is relevant."""


class Recaller:
    """Recalls once a turn, and remembers it for the model's further calls in that turn."""

    def __init__(self, store: Store, settings: Recall) -> None:
        self._store = store
        self._settings = settings
        self._turns: Bounded[str, Answer] = Bounded(_MANY)

    def before_it_is_stored(
        self,
        session: Session,
        messages: Sequence[BaseMessage],
        is_resumed: bool,
        window: Mapping[str, Any],
    ) -> Talk[Answer | None]:
        """Recall for what is about to be stored: what stands there already would be found first,
        and has every word of itself, so that nothing seemed irrelevant to it."""
        if (question := question_in(messages)) is None:
            return None
        beyond = [from_langchain(message) for message in messages]
        if not is_resumed:
            beyond += yield from call(session.window, **window)
        reminder = yield from self._asked(session, question, beyond)
        return id_of(question), reminder

    def keep(self, progress: RunProgress, answer: Answer) -> None:
        """Remember what was recalled for a run."""
        self._turns.put(progress["run"], answer)

    def reminded(
        self, progress: RunProgress, messages: Sequence[BaseMessage], window: Window
    ) -> Talk[AnyMessage | None]:
        """What goes before the window, for the newest of a user's messages. It is asked for again
        where this process does not know it: a run may go on in another."""
        if (question := question_in(messages)) is None:
            return None
        known = self._turns.get(progress["run"])
        if known is None or known[0] != id_of(question):
            session = self._store.session(**progress["session"])
            reminder = yield from self._asked(session, question, window)
            self.keep(progress, known := (id_of(question), reminder))
        return known[1]

    def forget(self, progress: RunProgress) -> None:
        """Forget what a run was reminded of."""
        self._turns.drop(progress["run"])

    def _asked(
        self, session: Session, question: BaseMessage, beyond: Sequence[Message]
    ) -> Talk[AnyMessage | None]:
        settings = self._settings
        if not session.name.user:  # whoever has no name is not one person
            settings = replace(settings, across="session")
        found = yield from recalled(session, settings, str(question.text), beyond=beyond)
        return None if found is None else _reminder(found, settings.across)


def before_window(messages: Sequence[AnyMessage], reminder: AnyMessage) -> list[AnyMessage]:
    """Put a message before the others, but behind a system message that leads them."""
    n = 0
    while n < len(messages) and isinstance(messages[n], SystemMessage):
        n += 1
    return [*messages[:n], reminder, *messages[n:]]


def _reminder(found: Recalled, across: str) -> AnyMessage:
    """Make the message. It is the user's, as a summary is: a second system message is refused by
    some models, and what was said once, or came from a tool, is not to speak as the system."""
    places = [
        {
            "session_id": passage.info.key,
            "first": passage.messages[0].seq,
            "last": passage.messages[-1].seq,
            "score": round(passage.score, 3),
        }
        for passage in found
    ]
    metadata = {"onrecord": RECALLED, "passages": places}
    return to_langchain(Message("user", reminding(found, across), metadata=metadata))  # type: ignore[return-value]
