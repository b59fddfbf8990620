"""What a message says of the tokens that it cost, in the words of whoever said it.

These are understood, and what is none of them counts for nothing:

    input_tokens, output_tokens, input_token_details.cache_read             LangChain
    input_tokens, output_tokens, input_tokens_details.cached_tokens         OpenAI's responses
    prompt_tokens, completion_tokens, prompt_tokens_details.cached_tokens   OpenAI's chat
    input_tokens, output_tokens, cache_read_input_tokens,                   Anthropic: its input
        cache_creation_input_tokens                                         leaves these two out
    input_tokens, output_tokens, cache_read_tokens, requests                Pydantic AI
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from onrecord.version import NOT_USED, Usage

MOST: Final = 2**31 - 1
"""Of one message: so that no sum is too large for the database."""


def usage_of(said: Mapping[str, Any] | None) -> Usage | None:
    """Read a message's usage; None where it has none that is understood."""
    if not said:
        return None
    tokens_in, tokens_out = _count(said, "input_tokens"), _count(said, "output_tokens")
    if tokens_in is not None:  # Anthropic's own leaves out what came from its cache, or went there
        beside = ("cache_read_input_tokens", "cache_creation_input_tokens")
        tokens_in += sum([_count(said, name) or 0 for name in beside])
    else:
        tokens_in = _count(said, "prompt_tokens")
    if tokens_out is None:
        tokens_out = _count(said, "completion_tokens")
    requests = _count(said, "requests")
    if tokens_in is tokens_out is requests is None:
        return None
    tokens_in = min(tokens_in or 0, MOST)
    found = Usage(
        input_tokens=tokens_in,
        output_tokens=tokens_out or 0,
        cached_tokens=min(_cached(said), tokens_in),
        requests=1 if requests is None else requests,
    )
    return None if found == NOT_USED else found


def total(parts: Iterable[Usage | None]) -> Usage | None:
    """The sum of several; None where there is none."""
    found = [part for part in parts if part is not None]
    if len(found) < 2:
        return found[0] if found else None
    return Usage(
        input_tokens=sum([one.input_tokens for one in found]),
        output_tokens=sum([one.output_tokens for one in found]),
        cached_tokens=sum([one.cached_tokens for one in found]),
        requests=sum([one.requests for one in found]),
    )


def beyond(new: Usage | None, old: Usage | None) -> Usage | None:
    """What the new one says more than the old one; None where that is nothing."""
    if new is None or old is None:
        return new
    more = Usage(
        input_tokens=max(0, new.input_tokens - old.input_tokens),
        output_tokens=max(0, new.output_tokens - old.output_tokens),
        cached_tokens=max(0, new.cached_tokens - old.cached_tokens),
        requests=max(0, new.requests - old.requests),
    )
    return None if more == NOT_USED else more


def _cached(said: Mapping[str, Any]) -> int:
    for name, key in (
        ("input_token_details", "cache_read"),
        ("input_tokens_details", "cached_tokens"),
        ("prompt_tokens_details", "cached_tokens"),
    ):
        details = said.get(name)
        if isinstance(details, Mapping) and (count := _count(details, key)) is not None:
            return count
    for name in ("cache_read_input_tokens", "cache_read_tokens", "cached_tokens"):
        if (count := _count(said, name)) is not None:
            return count
    return 0


def _count(said: Mapping[str, Any], name: str) -> int | None:
    """A count under a name; None where there is none, or what stands there is no count."""
    count = said.get(name)
    return min(count, MOST) if type(count) is int and count >= 0 else None
