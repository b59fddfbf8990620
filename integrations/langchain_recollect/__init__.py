"""Recollect for LangChain: a history for chains and a middleware for agents.

    from langchain_recollect import histories
    chain = RunnableWithMessageHistory(chain, histories(store), …)

    from langchain_recollect import RecollectMiddleware
    agent = create_agent(model, tools, middleware=[RecollectMiddleware(store)])

Importing this loads nothing of LangChain: each name does when it is first used. What LangChain
will take away in 2.0 (the base class of histories) is loaded only for the history.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langchain_recollect.history import Histories, RecollectChatMessageHistory, histories
    from langchain_recollect.messages import from_langchain, to_langchain
    from langchain_recollect.middleware import RecollectMiddleware

__all__ = [
    "Histories",
    "RecollectChatMessageHistory",
    "RecollectMiddleware",
    "from_langchain",
    "histories",
    "to_langchain",
]

_HOMES = {
    "Histories": "history",
    "RecollectChatMessageHistory": "history",
    "RecollectMiddleware": "middleware",
    "from_langchain": "messages",
    "histories": "history",
    "to_langchain": "messages",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'langchain_recollect' has no attribute {name!r}")
    try:
        home = import_module(f"langchain_recollect.{_HOMES[name]}")
    except ModuleNotFoundError as fault:
        extra = "agents" if _HOMES[name] == "middleware" else "langchain"
        raise ImportError(f'{fault}. {name} needs it: pip install "recollect[{extra}]"') from fault
    value = getattr(home, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
