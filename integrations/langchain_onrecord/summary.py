"""A rolling summary in an agent: it stands before the window for what has fallen out of that.

It is in the request to the model, and so in its trace, and nowhere else: neither in the session's
messages, nor in the graph's state or its checkpoints. It is kept in the session's own ``state``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from langchain_core.messages import AnyMessage, BaseMessage, HumanMessage
from langchain_core.runnables import Runnable, RunnableConfig

from langchain_onrecord.messages import SUMMARISED, to_langchain
from langchain_onrecord.run_progress import RunProgress, question_in
from onrecord import Gist, Message, Misconfigured, Window
from onrecord.adapters.calls import Talk, call
from onrecord.errors import shown
from onrecord.memory.reminding import asking, reminding, summarised
from onrecord.memory.summary import RollingSummary, Summariser

if TYPE_CHECKING:
    from onrecord import Store

Summarises: TypeAlias = "Summariser | Runnable[Any, Any]"
"""A function of the summary so far and a list of messages; or a chat model."""

# As LangChain marks its own summaries: their words are not streamed to who waits for an answer.
_APART: RunnableConfig = {"tags": ["nostream"], "metadata": {"lc_source": "summarization"}}


class Asked:
    """A chat model as a summariser."""

    def __init__(self, model: Runnable[Any, Any]) -> None:
        self._model = model

    def __call__(self, previous: str, messages: Sequence[Message]) -> str:
        """Ask it for a new summary."""
        return _text(self._model.invoke(_prompt(previous, messages), _APART))

    async def acall(self, previous: str, messages: Sequence[Message]) -> str:
        """Like ``__call__``."""
        return _text(await self._model.ainvoke(_prompt(previous, messages), _APART))


class Summarised:
    """Brings a session's summary up to date where messages have fallen out of what is shown."""

    def __init__(self, store: Store, summariser: Summariser, window: Mapping[str, Any]) -> None:
        self._store = store
        self._summariser = summariser
        self._window = window

    def of(
        self, progress: RunProgress, messages: Sequence[AnyMessage], window: Window
    ) -> Talk[Sum]:
        """What stands for the messages of a session that are not in a window of a state; and the
        state's messages that it does not stand for."""
        session = self._store.session(**progress["session"])
        stored: Window = yield from call(session.window, **self._window)
        held = {message.id for message in messages} - {message.id for message in window}
        fallen = max([stored.fallen, *(m.seq or 0 for m in stored if m.id in held)])
        summary = RollingSummary(session, self._summariser, **self._window)
        gist = yield from summarised(summary, fallen)
        if not gist:
            return Sum(None, messages)
        question = question_in(messages)
        begin = len(messages) if question is None else messages.index(question)
        summed = {m.id for m in stored if (m.seq or 0) <= gist.version.head} | held
        left = [m for m in messages[:begin] if m.id not in summed]
        return Sum(_reminder(gist) if gist.text else None, [*left, *messages[begin:]])


class Sum(NamedTuple):
    """A summary, and the messages that are left beside it."""

    reminder: AnyMessage | None
    messages: Sequence[AnyMessage]


def summariser_of(given: object, window: Mapping[str, Any]) -> Summariser | None:
    """Make a summariser of what is given as ``summary=``, checked before any I/O."""
    if given is None:
        return None
    if not window.keys() - {"token_counter"}:
        raise Misconfigured("summary= needs a window that messages fall out of: window=….")
    if isinstance(given, Runnable):
        return Asked(given)
    if not callable(given):
        raise Misconfigured(
            f"summary has to be a chat model, or a function of the summary so far and a list of "
            f"Messages, not {shown(given)}."
        )
    return given


def _prompt(previous: str, messages: Sequence[Message]) -> list[BaseMessage]:
    return [HumanMessage(asking(previous, messages))]


def _text(answer: object) -> str:
    return str(answer.text) if isinstance(answer, BaseMessage) else answer  # type: ignore[return-value]


def _reminder(gist: Gist) -> AnyMessage:
    """Make the message. It is the user's, as what is recalled is."""
    metadata = {"onrecord": SUMMARISED, "messages": gist.messages, "last": gist.version.head}
    return to_langchain(Message("user", reminding(gist), metadata=metadata))  # type: ignore[return-value]
