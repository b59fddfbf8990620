"""Onrecord for LangChain: a history for chains, a middleware for agents, and ways to find again.

    from langchain_onrecord import histories
    chain = RunnableWithMessageHistory(chain, histories(store), …)

    from langchain_onrecord import OnrecordMiddleware
    agent = create_agent(model, tools, middleware=[OnrecordMiddleware(store, recall=True)])

    from langchain_onrecord import OnrecordRetriever, memory_tools
    chain = OnrecordRetriever(store, user="ada") | prompt | model
    agent = create_agent(model, memory_tools(store, user="ada"))

Importing this loads nothing of LangChain: each name does when it is first used. What LangChain
will take away in 2.0 (the base class of histories) is loaded only for the history.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langchain_onrecord.embedding import embedder
    from langchain_onrecord.history import Histories, OnrecordChatMessageHistory, histories
    from langchain_onrecord.messages import from_langchain, to_langchain
    from langchain_onrecord.middleware import OnrecordMiddleware
    from langchain_onrecord.recall import Recall
    from langchain_onrecord.retriever import OnrecordRetriever
    from langchain_onrecord.run_turns import TurnSettings
    from langchain_onrecord.tools import memory_tools

__all__ = [
    "Histories",
    "OnrecordChatMessageHistory",
    "OnrecordMiddleware",
    "OnrecordRetriever",
    "Recall",
    "TurnSettings",
    "embedder",
    "from_langchain",
    "histories",
    "memory_tools",
    "to_langchain",
]

_HOMES = {
    "Histories": "history",
    "OnrecordChatMessageHistory": "history",
    "OnrecordMiddleware": "middleware",
    "OnrecordRetriever": "retriever",
    "Recall": "recall",
    "TurnSettings": "run_turns",
    "embedder": "embedding",
    "from_langchain": "messages",
    "histories": "history",
    "memory_tools": "tools",
    "to_langchain": "messages",
}

_OF_AGENTS = ("middleware", "recall", "run_turns", "tools")


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'langchain_onrecord' has no attribute {name!r}")
    try:
        home = import_module(f"langchain_onrecord.{_HOMES[name]}")
    except ModuleNotFoundError as fault:
        extra = "agents" if _HOMES[name] in _OF_AGENTS else "langchain"
        raise ImportError(f'{fault}. {name} needs it: pip install "onrecord[{extra}]"') from fault
    value = getattr(home, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
