"""What mkdocs.yml says of the order of pages, and the pages that are there."""

from __future__ import annotations

from collections.abc import Iterator, Set
from typing import Any, TypeAlias

Entry: TypeAlias = Any
"""A page, ``{title: page}`` or ``{title: [entry, …]}``: as MkDocs has them."""


def completed(nav: list[Entry], pages: Set[str]) -> list[Entry]:
    """The order with all pages that are there, and none that is not.

    So that a page which is new needs no change here: it comes last in the section of its folder.
    """
    left = sorted(pages - set(named(nav)))
    full = [entry for given in nav if (entry := _present(given, pages)) is not None]
    for page in left:
        _section_of(full, page).append(page)
    return full


def named(entry: Entry) -> Iterator[str]:
    """The pages that an order names."""
    if isinstance(entry, str):
        yield entry
    else:
        for inner in entry.values() if isinstance(entry, dict) else entry:
            yield from named(inner)


def _present(entry: Entry, pages: Set[str]) -> Entry | None:
    if isinstance(entry, str):
        return entry if entry in pages else None
    [(title, inner)] = entry.items()
    if isinstance(inner, str):
        return entry if inner in pages else None
    kept = [one for given in inner if (one := _present(given, pages)) is not None]
    return {title: kept} if kept else None


def _section_of(nav: list[Entry], page: str) -> list[Entry]:
    """Where a page goes: with those of its folder, or into the part that has its kind."""
    folder = page.rpartition("/")[0]
    kind = page.partition("/")[0]
    best = nav
    for section in _sections(nav):
        here = [one for one in section if not _is_section(one)]
        if "/" in folder and here and all(_folder(one) == folder for one in here):
            return section
        if best is nav and any(one.startswith(f"{kind}/") for one in named(section)):
            best = section
    return best


def _sections(nav: list[Entry]) -> Iterator[list[Entry]]:
    """All sections, those further out first."""
    for entry in nav:
        if _is_section(entry):
            [inner] = entry.values()
            yield inner
            yield from _sections(inner)


def _is_section(entry: Entry) -> bool:
    return isinstance(entry, dict) and isinstance(next(iter(entry.values())), list)


def _folder(entry: Entry) -> str:
    [page] = named(entry)
    return page.rpartition("/")[0]
