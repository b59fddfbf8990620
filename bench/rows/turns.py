"""A turn: a question, what was said before it, an answer, and both kept.

The models are not there: an answer takes no time. So what is left is the framework's own work,
which the limits show, and the memory's.
"""

from __future__ import annotations

import asyncio
import contextlib
import warnings
from collections.abc import Sequence
from typing import Any, Final

from langchain.agents import create_agent
from langchain_core.chat_history import BaseChatMessageHistory
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables import Runnable, RunnableLambda
from langchain_core.runnables.history import RunnableWithMessageHistory

from bench import langchain, llama_index, peers
from bench.data import TEXT
from bench.llama_index import ACTIVE, LISTED, NOTHING, PEER
from bench.measuring import Contender, Found, Kind, Row, Wanted, timed
from bench.place import Place
from bench.rows.reading import (
    LANGCHAIN,
    OURS,
    TEXTS,
    filled,
    for_how_many,
    long,
    texts,
)
from bench.rows.tails import in_turns
from langchain_onrecord import OnrecordMiddleware, histories
from onrecord import Store

WINDOW: Final = 20
FEW: Final = 100
SHORT: Final = f"  at {FEW} messages"
LIMIT: Final = f"the chain alone, with {WINDOW} messages at hand"
MEMORY: Final = "OnrecordMemory"
SIDE_BY_SIDE: Final = "OnrecordMiddleware"
HELD: Final = "OnrecordMiddleware(turn=True)"
_QUESTION: Final = "question"
_HISTORY: Final = "history"


def of_a_chain(place: Place) -> Row:
    """LangChain's RunnableWithMessageHistory."""
    return asyncio.run(_of_a_chain(place))


async def _of_a_chain(place: Place) -> Row:
    count = long(place)
    with contextlib.ExitStack() as stack:
        own = {}
        for n in (count, FEW):
            store = stack.enter_context(Store(f"sqlite:///{place.file('turns')}"))
            filled(store, n)
            own[n] = _Chain(histories(store, window=WINDOW))
        url = f"sqlite:///{place.file('turns')}"
        history = stack.enter_context(peers.langchain_sql(url, "long"))
        history.add_messages(langchain.said(count))
        peer = _Chain(lambda session_id: history)
        alone = _Chain(lambda session_id: _AtHand())
        for chain, n in ((own[count], count), (own[FEW], FEW), (peer, count)):
            chain.turn()
            assert [message.content for message in chain.shown] == texts(n)[-WINDOW:]
        found = await in_turns(
            place.rounds(15, 3),
            place.rounds(20, 10),
            [
                Contender(OURS, Kind.OURS, own[count].turn),
                Contender(SHORT, Kind.OURS, own[FEW].turn),
                Contender(LIMIT, Kind.LIMIT, alone.turn),
            ],
            [Contender(LANGCHAIN, Kind.PEER, peer.turn)],
        )
    return Row(
        name="chain-turn",
        title=f"A turn through RunnableWithMessageHistory at {count:,} messages, {WINDOW} shown",
        settings=f"SQLite, synchronous FULL; {TEXTS}; with history_messages_key, where a turn "
        f"reads once; the peer is trimmed by the chain",
        unit="seconds",
        found=found,
        wanted=(
            Wanted(text=f"50 times {LANGCHAIN}", ours=OURS, beside=(LANGCHAIN,), at_least=50),
            Wanted(
                text=f"at most 1.2 times ours at {FEW}", ours=OURS, beside=(SHORT,), at_most=1.2
            ),
        ),
        notes=for_how_many(place),
    )


class _Chain:
    """Answers a question after the newest messages of a history."""

    def __init__(self, history: Any) -> None:
        self.shown: list[BaseMessage] = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            self._runnable: Runnable[Any, Any] = RunnableWithMessageHistory(
                RunnableLambda(self._answer),
                history,
                input_messages_key=_QUESTION,
                history_messages_key=_HISTORY,
            )

    def turn(self) -> None:
        """Ask, and keep question and answer."""
        self._runnable.invoke({_QUESTION: TEXT}, {"configurable": {"session_id": "long"}})

    def _answer(self, given: dict[str, Any]) -> BaseMessage:
        self.shown = given[_HISTORY][-WINDOW:]
        return AIMessage("It has been found.")


class _AtHand(BaseChatMessageHistory):
    """As many messages as are shown, always the same."""

    messages = langchain.said(WINDOW)

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        """Keep nothing."""

    def clear(self) -> None:
        """There is nothing to take away."""


def of_an_agent(place: Place) -> Row:
    """LlamaIndex's FunctionAgent, which calls a tool twice."""
    folder = place.file("agent")
    folder.mkdir()

    async def measured() -> dict[str, list[float]]:
        async with llama_index.sqlite_file(folder) as database:
            return await llama_index.turn_times(database, place.rounds(15, 3), TEXT)

    times = asyncio.run(measured())
    kinds = {PEER: Kind.PEER, LISTED: Kind.LIMIT, NOTHING: Kind.SHOWN}
    return Row(
        name="agent-turn",
        title=f"A turn of FunctionAgent with two rounds of tools, at {ACTIVE:,} messages",
        settings=f"SQLite, synchronous FULL; {TEXTS}; all see the same, and all of it",
        unit="seconds",
        found=tuple(
            Found(name=name, kind=kinds.get(name, Kind.OURS), values=tuple(each))
            for name, each in times.items()
        ),
        wanted=(Wanted(text=f"5 times {PEER}", ours=MEMORY, beside=(PEER,), at_least=5),),
    )


def that_is_held(place: Place) -> Row:
    """LangChain's agent, with other agents waiting for its answer, and without."""
    with contextlib.ExitStack() as stack:
        contenders = [
            Contender(name, kind, _Agent(stack, place, middleware).turn)
            for name, kind, middleware in (
                (HELD, Kind.OURS, {"turn": True}),
                (SIDE_BY_SIDE, Kind.OURS, {}),
                ("the agent alone, which remembers nothing", Kind.LIMIT, None),
            )
        ]
        for contender in contenders:
            contender.work()
        found = timed(place.rounds(15, 3), contenders, calls=place.rounds(20, 10))
    return Row(
        name="agent-turn-held",
        title=f"A turn of create_agent that others wait for, {WINDOW} messages shown",
        settings=f"SQLite, synchronous FULL; {TEXTS}; no tools; nobody else is there",
        unit="seconds",
        found=found,
    )


class _Agent:
    """Answers a question in a conversation of its own."""

    def __init__(
        self, stack: contextlib.ExitStack, place: Place, settings: dict[str, Any] | None
    ) -> None:
        middleware = []
        if settings is not None:
            store = stack.enter_context(Store(f"sqlite:///{place.file('held')}"))
            filled(store, FEW)
            middleware = [OnrecordMiddleware(store, window=WINDOW, **settings)]
        model = FakeListChatModel(responses=["It has been found."])
        self._agent: Any = create_agent(model, middleware=middleware)

    def turn(self) -> None:
        """Ask, and keep question and answer."""
        on = {"configurable": {"session_id": "long"}}
        self._agent.invoke({"messages": [("user", TEXT)]}, on)
