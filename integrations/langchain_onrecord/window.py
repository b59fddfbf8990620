"""Settings of the window that a model is shown, as LangChain's users write them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from langchain_core.messages import BaseMessage

from langchain_onrecord.messages import to_langchain
from onrecord import Message, Misconfigured
from onrecord.arguments import check_choice, check_function, whole_number
from onrecord.errors import shown

if TYPE_CHECKING:
    from langchain_core.language_models import BaseLanguageModel

WindowLimits: TypeAlias = int | Mapping[str, int] | None
"""At most so many messages; or a mapping of ``messages``, ``turns``, ``tokens``; or everything."""

CountsTokens: TypeAlias = "Callable[[list[BaseMessage]], int] | BaseLanguageModel[Any]"
"""A function of messages, or a chat model, as ``trim_messages`` takes them.

It is given one message at a time: what it adds for a whole prompt is added for each of them.
"""

_LIMITS: Final = ("messages", "turns", "tokens")
_WINDOW: Final = "a number of messages, a mapping or None"


def window_settings(window: WindowLimits, token_counter: CountsTokens | None) -> dict[str, Any]:
    """Make the arguments of ``Session.window``, checked before any I/O."""
    match window:
        case None:
            settings: dict[str, Any] = {}
        case bool():
            raise Misconfigured(f"window has to be {_WINDOW}, not a bool.")
        case int():
            settings = {"messages": window}
        case Mapping():
            settings = dict(window)
        case _:
            raise Misconfigured(f"window has to be {_WINDOW}, not {shown(window)}.")
    for name, limit in settings.items():
        check_choice("what window limits", name, _LIMITS)
        whole_number(f"window[{name!r}]", limit, 1)
    if token_counter is not None:
        if "tokens" not in settings:
            raise Misconfigured("token_counter= needs a limit to count for: window={'tokens': …}.")
        settings["token_counter"] = _counting(token_counter)
    return settings


def _counting(counter: CountsTokens) -> Callable[[Message], int]:
    """Turn a counter of LangChain's messages into one of stored messages."""
    count: Any = getattr(counter, "get_num_tokens_from_messages", counter)
    check_function("token_counter", count, "a function of messages or a chat model")
    return lambda message: count([to_langchain(message)])


def in_langchain(messages: Iterable[Message]) -> list[BaseMessage]:
    """Turn stored messages into LangChain's."""
    return [to_langchain(message) for message in messages]
