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
from typing import Any, Final, TypeAlias

Spent: TypeAlias = tuple[int, int, int, int]
"""Input, output and cached tokens, and requests, as ``Usage`` has them."""

MOST: Final = 2**31 - 1
"""Of one message: so that no sum is too large for the database."""
NOTHING: Final[Spent] = (0, 0, 0, 0)
_BESIDE: Final = ("cache_read_input_tokens", "cache_creation_input_tokens")
_LANGCHAIN: Final = (
    "input_tokens",
    "output_tokens",
    "total_tokens",
    "input_token_details",
    "output_token_details",
)
_DETAILS: Final = (
    ("input_token_details", "cache_read"),
    ("input_tokens_details", "cached_tokens"),
    ("prompt_tokens_details", "cached_tokens"),
)
_CACHED: Final = ("cache_read_input_tokens", "cache_read_tokens", "cached_tokens")


def spent_by(said: Mapping[str, Any] | None) -> Spent | None:
    """Read a message's usage; None where it has none that is understood."""
    if not said:
        return None
    details = said.get("input_token_details")
    if type(details) is dict and len(said) == sum([name in said for name in _LANGCHAIN]):
        # Nearly all are LangChain's: 0.6 and not 1.6 µs of an append's 100.
        tokens_in, tokens_out = said.get("input_tokens"), said.get("output_tokens")
        cached = details.get("cache_read", 0)
        if type(tokens_in) is type(tokens_out) is type(cached) is int and (
            0 <= cached <= tokens_in <= MOST and 0 <= tokens_out <= MOST
        ):
            return tokens_in, tokens_out, cached, 1
    counts = {name: n for name, n in said.items() if type(n) is int and n >= 0}
    get = counts.get
    tokens_in, tokens_out, requests = get("input_tokens"), get("output_tokens"), get("requests")
    if tokens_in is None:
        tokens_in = get("prompt_tokens")
    else:  # Anthropic's own leaves out what came from its cache, or went there
        for name in _BESIDE:
            if name in counts:
                tokens_in += counts[name]
    if tokens_out is None:
        tokens_out = get("completion_tokens")
    if tokens_in is tokens_out is requests is None:
        return None
    tokens_in = tokens_in or 0
    cached = min(_cached(said, counts), tokens_in)
    found = (tokens_in, tokens_out or 0, cached, 1 if requests is None else requests)
    if max(found) > MOST:
        found = (min(found[0], MOST), min(found[1], MOST), min(cached, MOST), min(found[3], MOST))
    return None if found == NOTHING else found


def total(parts: Iterable[Spent | None]) -> Spent | None:
    """The sum of several; None where there is none."""
    found = [part for part in parts if part is not None]
    if len(found) < 2:
        return found[0] if found else None
    tokens_in, tokens_out, cached, requests = map(sum, zip(*found, strict=True))
    return tokens_in, tokens_out, cached, requests


def beyond(new: Spent | None, old: Spent | None) -> Spent | None:
    """What the new one says more than the old one; None where that is nothing."""
    if new is None or old is None:
        return new
    tokens_in, tokens_out, cached, requests = [max(0, a - b) for a, b in zip(new, old, strict=True)]
    more = tokens_in, tokens_out, cached, requests
    return None if more == NOTHING else more


def _cached(said: Mapping[str, Any], counts: Mapping[str, int]) -> int:
    for name, key in _DETAILS:
        if name in said and type(details := said[name]) is dict:
            count = details.get(key)
            if type(count) is int and count >= 0:
                return count
    for name in _CACHED:
        if name in counts:
            return counts[name]
    return 0
