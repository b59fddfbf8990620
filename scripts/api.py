"""Writes the pages about what people import: names here, words from the docstrings.

python -m scripts.api

A page of ``docs/reference/api`` names what it shows, and the site puts the docstrings there
(``make docs``). ``docs/reference/errors.md`` has the words of the errors itself.
"""

from __future__ import annotations

import inspect
import pkgutil
import re
import sys
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NamedTuple

ROOT: Final = Path(__file__).parents[1]
FOLDER: Final = ROOT / "docs/reference/api"
ERRORS: Final = ROOT / "docs/reference/errors.md"


class Page(NamedTuple):
    """A page, and what it shows: names, and all names of modules that stand on no page before."""

    title: str
    intro: str
    names: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()


class Name(NamedTuple):
    """A public name, and the object that it is."""

    module: str
    name: str

    @property
    def path(self) -> str:
        """What one imports."""
        return f"{self.module}.{self.name}"

    @property
    def value(self) -> Any:
        """The object."""
        return getattr(import_module(self.module), self.name)


PAGES: Final = {
    "store.md": Page(
        "Store",
        "One database, and the sessions in it. Each method that does I/O has a twin with `a` "
        "before its name, for use with `await`, of the same signature.",
        ("Store", "ANY", "TokenCounter", "Health"),
    ),
    "session.md": Page(
        "Session",
        "One conversation, and what is told of it.",
        ("Session", "Window", "SessionInfo", "Usage", "Version", "Since", "Unfinished"),
    ),
    "messages.md": Page(
        "Messages",
        "What was said, and the blocks it is made of.",
        (
            *("Message", "Block", "Text", "Image", "Audio", "Video", "File", "Reasoning"),
            *("ToolCall", "ToolResult", "Citation", "Refusal", "Opaque"),
        ),
    ),
    "items.md": Page(
        "Items",
        "What is known, beside what was said: [Items](../../how-to/items.md).",
        ("Items", "Item", "Put", "Merge", "Delete"),
    ),
    "search.md": Page(
        "Search and recall",
        "What a search finds, and what is recalled for a prompt: "
        "[Find things again](../../how-to/search.md).",
        ("Hits", "Hit", "ItemHit", "Recalled", "Passage", "Gist"),
    ),
    "feeds.md": Page(
        "Feeds and turns",
        "[Follow a store](../../how-to/feed.md), and hold a session for "
        "[a turn](../../how-to/turns.md).",
        ("Feed", "Change", "FeedInfo", "Turn"),
    ),
    "checkpoints.md": Page(
        "Checkpoints",
        "The states of graphs, below [LangGraph](langgraph.md).",
        ("CheckpointLog", "ThreadInfo"),
    ),
    "reports.md": Page(
        "Reports",
        "What the methods return that look after a store.",
        (),
        ("onrecord",),
    ),
    "memory.md": Page(
        "Memories",
        "`onrecord.memory`: [memories](../../how-to/memory/README.md) with the names that people "
        "know.",
        ("PersistentBufferMemory", "WorkingMemory", "EpisodicMemory", "SemanticMemory"),
        ("onrecord.memory",),
    ),
    "embedding.md": Page(
        "Embedders",
        "`onrecord.embedding`: what turns a text into numbers. "
        "[Embedders](../../how-to/embedders.md) shows how to use them.",
        (),
        ("onrecord.embedding",),
    ),
    "langchain.md": Page(
        "LangChain",
        "`langchain_onrecord`. [LangChain](../../how-to/langchain.md) shows how to use it.",
        ("OnrecordMiddleware", "histories"),
        ("langchain_onrecord", "langchain_onrecord.importers"),
    ),
    "langgraph.md": Page(
        "LangGraph",
        "`langgraph_onrecord`. [LangGraph](../../how-to/langgraph.md) shows how to use it.",
        ("OnrecordSaver", "OnrecordStore"),
        ("langgraph_onrecord",),
    ),
    "llama-index.md": Page(
        "LlamaIndex",
        "`llama_index_onrecord`. [LlamaIndex](../../how-to/llama-index.md) shows how to use it.",
        ("OnrecordMemory", "OnrecordMemoryStore", "OnrecordChatStore"),
        ("llama_index_onrecord", "llama_index_onrecord.importers"),
    ),
    "adapters.md": Page(
        "Adapters",
        "`onrecord.adapters`, for those who write an adapter to another framework.",
        (),
        ("onrecord.adapters",),
    ),
    "testing.md": Page(
        "Testing",
        "`onrecord.testing`, for those who test a store, ours or their own, and "
        "`onrecord.testing.langgraph_store`, which asks any `BaseStore` of LangGraph.",
        (),
        ("onrecord.testing", "onrecord.testing.langgraph_store"),
    ),
}
# Their members are tests; what each asks is its name.
_WHOLE: Final = (
    *("StoreContract", "ItemsContract", "StateContract", "MemoryContract"),
    "BaseStoreContract",
)


@cache
def public(module: str) -> list[Name]:
    """The names that a module is imported for."""
    found = import_module(module)
    if module == "onrecord.adapters":  # no names of its own: its modules have them
        rooms = [f"{module}.{room.name}" for room in pkgutil.iter_modules(found.__path__)]
        return [name for room in rooms for name in public(room)]
    names = getattr(found, "__all__", None) or [
        name
        for name, value in vars(found).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module
    ]
    # A twin stands behind its other.
    first = {name for name in names if name.startswith("a") and name[1:] in names}
    ordered = sorted(names, key=lambda name: (name[1:], 1) if name in first else (name, 0))
    return [Name(module, name) for name in ordered]


@cache
def homes() -> dict[str, list[Name]]:
    """The names of each page, but for the errors, which have one of their own."""
    errors = {name.name for name in error_names()}
    shown: set[int] = set()
    found: dict[str, list[Name]] = {}
    named = {name for page in PAGES.values() for name in page.names}
    for file, page in PAGES.items():
        modules = page.modules or ("onrecord",)
        known = {name.name: name for module in reversed(modules) for name in public(module)}
        listed = [known[name] for name in page.names]
        if page.modules:
            first = {name.name for name in listed}
            others = [name for module in page.modules for name in public(module)]
            listed += [name for name in others if name.name not in first]
        found[file] = []
        for name in listed:
            elsewhere = name.module == "onrecord" and page.modules and name.name in named
            if name.name in errors or elsewhere or id(name.value) in shown:
                continue
            if inspect.isclass(name.value) or inspect.isfunction(name.value):
                shown.add(id(name.value))
            found[file].append(name)
    return found


def error_names() -> list[Name]:
    """The errors of Onrecord, each after what it is a kind of."""
    return [Name("onrecord.errors", cls.__name__) for cls, _ in _tree()]


def _tree() -> Iterator[tuple[type[Exception], int]]:
    from onrecord.errors import OnrecordError

    def below(cls: type[Exception], depth: int) -> Iterator[tuple[type[Exception], int]]:
        yield cls, depth
        # Those of errors.py alone: programs, and tests, may have kinds of their own.
        ours = [one for one in cls.__subclasses__() if one.__module__ == "onrecord.errors"]
        for one in sorted(ours, key=_line_of):
            yield from below(one, depth + 1)

    yield from below(OnrecordError, 0)


def _line_of(cls: type[Exception]) -> int:
    return inspect.getsourcelines(cls)[1]


def written() -> dict[Path, str]:
    """What each file has to hold."""
    found = homes()
    pages = {FOLDER / file: _page(file, names) for file, names in found.items()}
    return {FOLDER / "README.md": _overview(), **pages, ERRORS: errors_page()}


def _overview() -> str:
    lines = [
        "# API",
        "",
        "Every public name, each on one page. The words are the docstrings', and the site shows",
        "them (`make docs`); this folder is written by `python -m scripts.api`. What is not here",
        "is ours, and may change in any release.",
        "",
        "| | |",
        "|---|---|",
    ]
    lines += [f"| [{page.title}]({file}) | {page.intro} |" for file, page in PAGES.items()]
    lines += [
        "| [Errors](../errors.md) | What is raised on purpose, when, and what to do. |",
        "| [Tables](../tables.md) | `onrecord.tables`: what a store keeps, as SQLAlchemy has it. |",
    ]
    return "\n".join(lines) + "\n"


def _page(file: str, names: list[Name]) -> str:
    page = PAGES[file]
    lines = [f"# {page.title}", "", page.intro]
    for name in names:
        lines += ["", f"::: {name.path}"]
        if name.name in _WHOLE:
            lines += ["    options:", "      members: false"]
    also = _elsewhere(file, names)
    if also:
        lines += ["", f"Also here: {', '.join(also)}."]
    return "\n".join(lines) + "\n"


def _elsewhere(file: str, names: list[Name]) -> list[str]:
    """What a page's modules have from others, and where that is shown."""
    here = {name.name for name in names}
    where = {id(name.value): page for page, listed in homes().items() for name in listed}
    found = []
    for module in PAGES[file].modules:
        for name in public(module) if module != "onrecord" else ():
            if name.name not in here and (page := where.get(id(name.value))):
                found.append(f"[`{name.name}`]({page})")
    return sorted(set(found))


def errors_page() -> str:
    """The page about the errors."""
    lines = [
        "# Errors",
        "",
        "What Onrecord raises on purpose. Each says what went wrong, why, and what to do next,",
        "holds what caused it as `__cause__`, and never a password. All are in `onrecord`. This",
        "page is written from their docstrings by `python -m scripts.api`.",
        "",
    ]
    for cls, depth in _tree():
        lines.append(f"{'    ' * depth}- [`{cls.__name__}`](#{cls.__name__.lower()})")
    for cls, _ in _tree():
        kinds = [
            f"{'an' if base.__name__[0] in 'AEIOU' else 'a'} `{base.__name__}`"
            for base in cls.__bases__
        ]
        kind = " and ".join(kinds)
        lines += ["", f"## {cls.__name__}", "", f"{kind[0].upper()}{kind[1:]}.", ""]
        words = (inspect.getdoc(cls) or "").replace("``", "`")
        lines.append(re.sub(r"^(When|What to do):", r"**\1:**", words, flags=re.M))
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the files."""
    sys.path.insert(0, str(ROOT / "integrations"))
    pages = written()
    for file in FOLDER.glob("*.md"):
        if file not in pages:
            file.unlink()
    for file, text in pages.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    print(f"{len(pages)} files in {FOLDER.parent.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
