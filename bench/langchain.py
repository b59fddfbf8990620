"""What LangChain's users pay: reading, a window, a turn of a chain, beside LangChain's own.

    .venv/bin/python bench/langchain.py

Every number is a median of repetitions that take turns. The garbage collector stays on.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

if __name__ == "__main__":
    # Not the folder of this file, which has the names of packages that it needs.
    sys.path[0] = str(Path(__file__).parents[1])

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.runnables import Runnable, RunnableLambda

from bench.data import TEXT
from langchain_onrecord import OnrecordChatMessageHistory, histories
from langchain_onrecord.messages import from_langchain
from onrecord import Store
from onrecord.codec import decode, encode

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from langchain_community.chat_message_histories import SQLChatMessageHistory
    from langchain_core.runnables.history import RunnableWithMessageHistory

MANY = 10_000


def said(n: int) -> list[BaseMessage]:
    """A conversation of questions and answers, each text its own."""
    return [
        HumanMessage(f"{TEXT} {i}") if i % 2 == 0 else AIMessage(f"{i}: {TEXT}", id=f"run-{i}")
        for i in range(n)
    ]


def frames(messages: Sequence[BaseMessage]) -> list[bytes]:
    """What is stored of them."""
    return [encode(from_langchain(message))[0] for message in messages]


def least(stored: Sequence[bytes]) -> list[BaseMessage]:
    """Decode each, and construct a message from each: questions and answers, as in ``said``."""
    return [
        HumanMessage(content=m.text, id=str(i))
        if i % 2 == 0
        else AIMessage(content=m.text, id=str(i))
        for i, m in enumerate(map(decode, stored))
    ]


def medians(rounds: int, quick: bool = False, **works: Callable[[], object]) -> dict[str, float]:
    """The median time of each, taking turns."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            if not quick:
                gc.collect()  # what the others left is not this one's to clear away
            start = time.perf_counter()
            kept = work()
            times[name].append(time.perf_counter() - start)
            del kept
    return {name: statistics.median(found) for name, found in times.items()}


def shown(seconds: float) -> str:
    return f"{seconds * 1e3:,.1f} ms" if seconds >= 0.01 else f"{seconds * 1e6:,.0f} µs"


def ours(store: Store, key: str, n: int) -> OnrecordChatMessageHistory:
    history = OnrecordChatMessageHistory(key, store=store)
    history.add_messages(said(n))
    return history


def chain(store: Store) -> Runnable[list[BaseMessage], BaseMessage]:
    def found(messages: list[BaseMessage]) -> BaseMessage:
        return AIMessage("It has been found.")

    answer = RunnableLambda(found)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return RunnableWithMessageHistory(answer, histories(store, window=20))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--quick", action="store_true", help="fewer repetitions")
    rounds = 5 if options.parse_args().quick else 15
    with (
        tempfile.TemporaryDirectory() as folder,
        Store(f"sqlite:///{Path(folder)}/ours.db", durability="normal") as store,
    ):
        history = ours(store, "many", MANY)
        window = OnrecordChatMessageHistory("many", store=store, window=20)
        peer = SQLChatMessageHistory("many", connection=f"sqlite:///{Path(folder)}/peer.db")
        peer.add_messages(said(MANY))
        stored = frames(said(MANY))
        assert len(history.messages) == len(peer.messages) == MANY
        found = medians(
            rounds,
            ours=lambda: history.messages,
            least=lambda: least(stored),
            peer=lambda: peer.messages,
        )
        windows = medians(rounds * 40, quick=True, ours=lambda: window.messages)
        print(f"{MANY:,} messages, read as LangChain messages")
        print(f"  langchain_onrecord {shown(found['ours'])}")
        print(f"  decoding and constructing alone {shown(found['least'])}", end="")
        print(f"   {found['ours'] / found['least']:.2f} times that")
        print(f"  SQLChatMessageHistory {shown(found['peer'])}", end="")
        print(f"   {found['ours'] / found['peer']:.2f} times that")
        print(f"A window of 20 out of {MANY:,}")
        print(f"  langchain_onrecord {shown(windows['ours'])}", end="")
        print(f"   SQLChatMessageHistory reads all: {found['peer'] / windows['ours']:,.0f} times")

        ours(store, "few", 100)
        memory = chain(store)
        for key in ("few", "many"):  # once, so that both are warm
            memory.invoke([HumanMessage("?")], {"configurable": {"session_id": key}})
        turns = medians(
            rounds * 20,
            quick=True,
            few=lambda: memory.invoke([HumanMessage("?")], {"configurable": {"session_id": "few"}}),
            many=lambda: memory.invoke(
                [HumanMessage("?")], {"configurable": {"session_id": "many"}}
            ),
        )
        print("A turn of a chain with a window of 20, through RunnableWithMessageHistory")
        print(f"  at 100 messages {shown(turns['few'])}", end="")
        print(f"   at {MANY:,} {shown(turns['many'])}   {turns['many'] / turns['few']:.2f} times")


if __name__ == "__main__":
    main()
