"""Count the tokens of a message: by an estimate, or by a counter of the caller's."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final, TypeAlias

import msgspec

from onrecord.blocks import Block, Text, weight_of
from onrecord.errors import InvalidMessage, Misconfigured, shown
from onrecord.message import Message

CountTokens: TypeAlias = Callable[[Message], int]

BYTES_A_TOKEN: Final = 4
"""English runs at 4 to 4.5 bytes a token, code at 3 to 4, Chinese and Japanese at 3 to 4."""
TOKENS_A_MESSAGE: Final = 4
"""What providers add around a message for its role and separators."""
TOKENS_A_PICTURE: Final = 256
TOKENS_A_DOCUMENT: Final = 2048


class TokenCounter(msgspec.Struct, frozen=True):
    """A counter with a name. Stored counts are trusted under the same name only."""

    name: str
    call: CountTokens

    def __call__(self, message: Message) -> int:
        """Count, and refuse what is no count: the function is the caller's."""
        try:
            count: object = self.call(message)
        except Exception as fault:  # whatever it is, it is the caller's function that failed
            raise InvalidMessage(
                f"The token counter {self.name!r} failed on a message: {fault}. It is given a "
                f"Message; its text is message.text."
            ) from fault
        if not isinstance(count, int) or not 0 <= count < 2**31:
            raise InvalidMessage(
                f"The token counter {self.name!r} gave {shown(count)}; it has to give an int from "
                f"0 up."
            )
        return int(count)


def estimate(message: Message) -> int:
    """Estimate: a quarter of the UTF-8 bytes a model would be sent, fixed sums for other media.

    Tool calls, tool results and reasoning count. It is meant to err on the high side.
    """
    if len(message.content) == 1 and type(block := message.content[0]) is Text:
        size = _bytes(block.text) + len(message.name or "")
        return TOKENS_A_MESSAGE + -(-size // BYTES_A_TOKEN)
    size = len(message.name or "")
    fixed = TOKENS_A_MESSAGE
    todo: list[Block] = list(message.content)
    while todo:
        weight = weight_of(todo.pop())
        size += _bytes(weight.text)
        fixed += weight.pictures * TOKENS_A_PICTURE + weight.documents * TOKENS_A_DOCUMENT
        todo.extend(weight.inside)
    return fixed + -(-size // BYTES_A_TOKEN)


ESTIMATE: Final = TokenCounter("onrecord-estimate-1", estimate)


def named_counter(counter: CountTokens | tuple[str, CountTokens] | None) -> TokenCounter:
    """Make a counter of what the caller gave: nothing, a function, or (name, function)."""
    match counter:
        case None:
            return ESTIMATE
        case TokenCounter():
            return counter
        case (str(name), call) if name and callable(call):
            return TokenCounter(name, call)
    name = getattr(counter, "__qualname__", "")
    if not callable(counter) or isinstance(counter, partial) or not name or "<lambda>" in name:
        raise Misconfigured(
            "token_counter needs a name, because stored counts are trusted under the same name "
            'only: token_counter=("gpt-4o", count), or a function defined with def.'
        )
    return TokenCounter(f"{counter.__module__}.{name}", counter)


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
