"""Artifacts of tools: plain values, and the documents that retrievers give beside their text."""

from __future__ import annotations

from typing import Any, Final

_DOCUMENT: Final = "langchain_core.documents.Document"
_DEEPEST: Final = 100


def storable(value: Any, depth: int = 0) -> Any:
    """Prepare an artifact for storing: documents become plain values, all else stays."""
    if depth > _DEEPEST:
        return value  # perhaps it holds itself; what is too deep is refused when it is stored
    match value:
        case list():
            return [storable(inner, depth + 1) for inner in value]
        case tuple() if type(value) is tuple:
            return tuple(storable(inner, depth + 1) for inner in value)
        case dict():
            return {key: storable(inner, depth + 1) for key, inner in value.items()}
    # Known by its name: whoever has no documents need not load what they are made of.
    cls = type(value)
    if f"{cls.__module__}.{cls.__name__}" != "langchain_core.documents.base.Document":
        return value
    held = {"page_content": value.page_content, "metadata": value.metadata}
    return {_DOCUMENT: held if value.id is None else {**held, "id": value.id}}


def restored(value: Any) -> Any:
    """Make an artifact again as the tool gave it."""
    match value:
        case list():
            return [restored(inner) for inner in value]
        case tuple():
            return tuple(restored(inner) for inner in value)
        case dict() if value.keys() == {_DOCUMENT}:
            from langchain_core.documents import Document

            return Document(**value[_DOCUMENT])
        case dict():
            return {key: restored(inner) for key, inner in value.items()}
    return value
