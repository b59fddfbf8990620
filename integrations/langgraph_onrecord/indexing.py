"""LangGraph's ``index=``: by which paths an item is found, and who says what it means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from langchain_core.embeddings import Embeddings
from langgraph.store.base import IndexConfig
from langgraph.store.base.embed import ensure_embeddings, get_text_at_path, tokenize_path

from onrecord import Misconfigured
from onrecord.adapters.item_search import Known
from onrecord.adapters.item_search import embedder_of as known_of

_ALL: Final = "$"


class Paths(NamedTuple):
    """Where in a value it is said what it is found by; None for all of it."""

    tokens: tuple[list[str], ...] | None

    @classmethod
    def of(cls, index: IndexConfig | None) -> Paths:
        """Those of a store's settings."""
        if index is not None and not isinstance(index, Mapping):
            raise Misconfigured(
                f"index has to be a mapping of LangGraph's settings, not a {type(index).__name__}."
            )
        # "text_fields" is what LangGraph's SqliteStore reads.
        fields = None if index is None else index.get("fields") or index.get("text_fields")
        return cls(None) if fields is None else cls.given(fields)

    @classmethod
    def given(cls, paths: object) -> Paths:
        """Those of one put: False for none."""
        if paths is False:
            return cls(())
        if not isinstance(paths, list | tuple) or not all(isinstance(one, str) for one in paths):
            raise Misconfigured(
                "The fields of an index are a list of paths: ['text', 'notes[*].title']; index= of "
                "a put is such a list, or False."
            )
        if _ALL in paths:
            return cls(None)
        return cls(tuple(tokenize_path(path) for path in paths))


def text_at(value: dict[str, Any], paths: Paths) -> str | None:
    """What an item is found by; None for all that is in it, empty for nothing."""
    if paths.tokens is None:
        return None
    return "\n".join(text for tokens in paths.tokens for text in get_text_at_path(value, tokens))


def dims_of(index: IndexConfig | None) -> int | None:
    """How many dimensions an index says that its vectors have."""
    dims: Any = None if index is None else index.get("dims")
    if dims is not None and (not isinstance(dims, int) or isinstance(dims, bool) or dims < 1):
        raise Misconfigured(f"dims of an index have to be a whole number from 1, not {dims!r}.")
    found: int | None = dims
    return found


def check_dims(index: IndexConfig | None, embedder: Known | None) -> None:
    """Refuse an index whose vectors are others than those that there are."""
    dims, has = dims_of(index), None if embedder is None else embedder.dimensions
    if dims is not None and has is not None and has != dims:
        raise Misconfigured(
            f"index= says that vectors have {dims} dimensions, and those of the store's embedder, "
            f"{embedder!r}, have {has}. Leave dims out."
        )


def embedder_of(index: IndexConfig | None) -> Known | None:
    """Make an embedder of what LangGraph takes: Embeddings of LangChain, a function, an async one,
    or "provider:model"; and of what a store takes. Nobody is asked."""
    embed: Any = None if index is None else index.get("embed")
    dims = dims_of(index)
    if embed is None:
        return None
    name = _name_of(embed)
    if isinstance(embed, str) and embed != "minilm":
        embed = ensure_embeddings(embed)
    if isinstance(embed, Embeddings):
        return Known(
            name,
            dims,
            lambda texts: embed.embed_documents(list(texts)),
            aembed=lambda texts: embed.aembed_documents(list(texts)),
            embed_query=embed.embed_query,
            aembed_query=embed.aembed_query,
        )
    if callable(embed) and not hasattr(embed, "embed"):
        return Known(name, dims, embed)
    return known_of(embed)


def _name_of(embed: Any) -> str:
    """What tells vectors apart, together with what is made of a few sentences."""
    if isinstance(embed, str):
        return embed
    for attribute in ("model", "model_name", "model_id", "__qualname__"):
        name = getattr(embed, attribute, None)
        if isinstance(name, str) and name:
            return name[:200]
    return type(embed).__qualname__[:200]
