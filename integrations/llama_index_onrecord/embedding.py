"""LlamaIndex's ``BaseEmbedding`` as the embedder of a store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from llama_index.core.base.embeddings.base import BaseEmbedding

from onrecord import Misconfigured

_NO_NAME: Final = "unknown"
"""What a ``BaseEmbedding`` is called unless it says otherwise."""


class LlamaIndexEmbedder:
    """What ``embedder`` makes: texts and questions each go to the method that is for them."""

    def __init__(self, embedding: BaseEmbedding, name: str, dimensions: int | None) -> None:
        self.name = name
        self.dimensions = dimensions
        self._embedding = embedding

    def __repr__(self) -> str:
        # The embedding may hold a key, and not all of them hide it.
        return f"LlamaIndexEmbedder({self.name!r}, dimensions={self.dimensions})"

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        return self._embedding.get_text_embedding_batch(list(texts))

    async def aembed(self, texts: Sequence[str]) -> list[list[float]]:
        return await self._embedding.aget_text_embedding_batch(list(texts))

    def embed_query(self, text: str) -> list[float]:
        return self._embedding.get_query_embedding(text)

    async def aembed_query(self, text: str) -> list[float]:
        return await self._embedding.aget_query_embedding(text)


def embedder(
    embedding: BaseEmbedding, *, name: str | None = None, dimensions: int | None = None
) -> LlamaIndexEmbedder:
    """Make an embedder of a LlamaIndex embedding: ``Store(embedder=embedder(embedding))``.

    Vectors are compared under the same ``name`` only. It is the embedding's ``model_name`` unless
    given.
    """
    if not isinstance(embedding, BaseEmbedding):
        raise Misconfigured(
            f"embedder takes a BaseEmbedding of LlamaIndex, and this is a "
            f"{type(embedding).__name__}."
        )
    found = embedding.model_name if name is None else name
    if name is None and found == _NO_NAME:
        raise Misconfigured(
            f"{type(embedding).__name__} does not say which model it asks: give it a name, "
            f'embedder(embedding, name="my-model").'
        )
    return LlamaIndexEmbedder(embedding, found, dimensions)
