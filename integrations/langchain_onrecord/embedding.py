"""LangChain's ``Embeddings`` as the embedder of a store."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_core.embeddings import Embeddings

from onrecord import Misconfigured


class LangChainEmbedder:
    """What ``embedder`` makes: documents and questions each go to the method that is for them."""

    def __init__(self, embeddings: Embeddings, name: str, dimensions: int | None) -> None:
        self.name = name
        self.dimensions = dimensions
        self._embeddings = embeddings

    def __repr__(self) -> str:
        # The embeddings may hold a key, and not all of them hide it.
        return f"LangChainEmbedder({self.name!r}, dimensions={self.dimensions})"

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        return self._embeddings.embed_documents(list(texts))

    async def aembed(self, texts: Sequence[str]) -> list[list[float]]:
        return await self._embeddings.aembed_documents(list(texts))

    def embed_query(self, text: str) -> list[float]:
        return self._embeddings.embed_query(text)

    async def aembed_query(self, text: str) -> list[float]:
        return await self._embeddings.aembed_query(text)


def embedder(
    embeddings: Embeddings, *, name: str | None = None, dimensions: int | None = None
) -> LangChainEmbedder:
    """Make an embedder of LangChain's embeddings: ``Store(embedder=embedder(embeddings))``.

    Vectors are compared under the same ``name`` only. It is that of the model, where the
    embeddings say which one they ask.
    """
    if not isinstance(embeddings, Embeddings):
        raise Misconfigured(
            f"embedder takes Embeddings of LangChain, and this is a {type(embeddings).__name__}."
        )
    found = name if name is not None else _model_of(embeddings)
    if found is None:
        raise Misconfigured(
            f"{type(embeddings).__name__} does not say which model it asks: give it a name, "
            f'embedder(embeddings, name="my-model").'
        )
    return LangChainEmbedder(embeddings, found, dimensions)


def _model_of(embeddings: Embeddings) -> str | None:
    for attribute in ("model", "model_name", "model_id"):
        model = getattr(embeddings, attribute, None)
        if isinstance(model, str) and model:
            return model
    return None
