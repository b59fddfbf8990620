"""What is said: real conversations where they are there, else generated ones of their lengths."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

Conversation = Sequence[Mapping[str, Any]]

TEXT: Final = (
    "My order has not arrived, and the tracking page says that it was delivered on Tuesday. "
    "I was at home all day. Could you look into it, please?"
)
"""141 bytes: a question as people ask it. Half of the real messages are shorter than 45."""
_REAL: Final = Path(__file__).parents[2] / "shared" / "data" / "conversations.jsonl"
_KEYS: Final = {"role", "content", "name", "tool_calls", "tool_call_id"}


def conversations() -> tuple[str, list[Conversation]]:
    """Where they come from, and what was said in them."""
    if _REAL.exists():
        with _REAL.open(encoding="utf-8") as lines:
            found = [json.loads(line)["messages"] for line in lines]
        return "real ones", [
            [{key: said[key] for key in said if key in _KEYS} for said in messages]
            for messages in found
        ]
    return "generated ones", [_generated(n) for n in range(870)]


def _generated(n: int) -> Conversation:
    """As long as real ones are: half have three messages, one in a hundred more than 38."""
    chance = random.Random(n)
    return [
        {"role": "assistant" if i % 2 else "user", "content": _words(chance)}
        for i in range(_drawn(chance, _LENGTHS))
    ]


_LENGTHS: Final = ((0.0, 2), (0.25, 2), (0.5, 3), (0.75, 14), (0.9, 30), (0.99, 38), (1.0, 1_200))
_BYTES: Final = ((0.0, 1), (0.1, 2), (0.25, 19), (0.5, 45), (0.75, 81), (0.9, 147), (0.99, 1_386))
"""How many of the real ones have so many messages, or bytes, or fewer."""
_SYLLABLES: Final = (
    "ba",
    "de",
    "fi",
    "go",
    "lu",
    "ma",
    "ne",
    "ri",
    "so",
    "tu",
    "sha",
    "ter",
    "ing",
)


def _drawn(chance: random.Random, points: Sequence[tuple[float, int]]) -> int:
    """A number that is distributed so; between two points evenly on a scale of magnitudes."""
    share = chance.uniform(0, points[-1][0])
    for (low, few), (high, many) in pairwise(points):
        if share <= high:
            magnitudes: float = (many / few) ** ((share - low) / (high - low))
            return round(few * magnitudes)
    raise AssertionError("the last point is the highest")


def _words(chance: random.Random) -> str:
    """Text of few syllables and many words, as text is."""
    wanted, text = _drawn(chance, _BYTES), ""
    while len(text) < wanted:
        text += "".join(chance.choices(_SYLLABLES, k=chance.randint(1, 3))) + " "
    return text[:wanted]
