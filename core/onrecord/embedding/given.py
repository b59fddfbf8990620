"""What may be given as a store's embedder, and what is said of the rest."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from onrecord.arguments import check_number, check_text
from onrecord.embedding.known import MOST_DIMENSIONS, Known
from onrecord.embedding.minilm import MiniLM
from onrecord.errors import Misconfigured, shown

LONGEST_NAME: Final = 200
MINILM: Final = "minilm"

_OTHERS: Final = (
    (
        ("embed_documents", "embed_query"),
        "Embeddings of LangChain are given as langchain_onrecord.embedder(embeddings, name=…).",
    ),
    (
        ("get_text_embedding",),
        "An embedding of LlamaIndex is given as llama_index_onrecord.embedder(embedding).",
    ),
    (
        ("encode",),
        'A model with encode() is given as its function, with a name: embedder=("my-model", '
        "model.encode).",
    ),
)
_WANTED: Final = (
    'embedder= takes None, "minilm", a function from texts to vectors (with a name where it has '
    'none: ("my-model", function)), an object with name, dimensions and embed(texts), or '
    "OpenAICompatible(url, model, key)"
)


def embedder_of(given: Any) -> Known | None:
    """Make what the store keeps of what it was given. Nothing is loaded and nobody is asked."""
    if given is None or isinstance(given, Known):
        return given
    if isinstance(given, str):
        if given == MINILM:
            return _of_object(MiniLM())
        raise Misconfigured(
            f'embedder= takes "{MINILM}" by its name, not {shown(given)}. Another model is given '
            "in Python, as a function or an object: see docs/how-to/embedders.md."
        )
    if isinstance(given, type):
        raise Misconfigured(f"{_WANTED}, not a class: make one of it first, {given.__name__}(…).")
    if isinstance(given, Sequence):
        return _of_pair(given)
    if callable(getattr(given, "embed", None)) and hasattr(given, "name"):
        return _of_object(given)
    for methods, advice in _OTHERS:
        if all(callable(getattr(given, method, None)) for method in methods):
            raise Misconfigured(f"{_WANTED}. {advice}")
    if callable(given):
        return _of_function(given)
    raise Misconfigured(f"{_WANTED}, not {shown(given)}.")


def _of_pair(given: Sequence[Any]) -> Known:
    match given:
        case (str(name), embed) if callable(embed):
            check_text("the embedder's name", name, LONGEST_NAME)
            return Known(name, None, embed)
    raise Misconfigured(f"{_WANTED}, not {shown(given)}.")


def _of_function(given: Any) -> Known:
    name = getattr(given, "__qualname__", "")
    if isinstance(given, partial) or not name or "<lambda>" in name:
        raise Misconfigured(
            "embedder needs a name, because vectors are compared under the same name only: "
            'embedder=("my-model", function), or a function defined with def.'
        )
    return Known(f"{given.__module__}.{name}"[:LONGEST_NAME], None, given)


def _of_object(given: Any) -> Known:
    check_text("the embedder's name", given.name, LONGEST_NAME)
    dimensions = getattr(given, "dimensions", None)
    if dimensions is not None:
        check_number("the embedder's dimensions", dimensions, 1, MOST_DIMENSIONS)
    functions: dict[str, Any] = {}
    for method in ("aembed", "embed_query", "aembed_query"):
        functions[method] = getattr(given, method, None)
        if functions[method] is not None and not callable(functions[method]):
            raise Misconfigured(f"the embedder's {method} has to be a method.")
    prefixes: dict[str, Any] = {}
    for prefix in ("document_prefix", "query_prefix"):
        prefixes[prefix] = getattr(given, prefix, None) or ""
        if not isinstance(prefixes[prefix], str):
            raise Misconfigured(
                f"the embedder's {prefix} has to be text, not {shown(prefixes[prefix])}."
            )
    return Known(given.name, dimensions, given.embed, **functions, **prefixes)
