"""Checks a built site: each link, anchor and picture leads somewhere, and nothing is loaded from
another host.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

# What a browser fetches by itself, without being asked to go there.
_FETCHED: Final = {
    "audio": "src",
    "iframe": "src",
    "img": "src",
    "link": "href",
    "script": "src",
    "source": "src",
    "video": "src",
}
_STYLED: Final = re.compile(r"(?:url\(\s*|@import\s+)['\"]?(https?:|//)")


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[tuple[str, bool]] = []
        """Each with whether a browser fetches it by itself."""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        for name in ("id", "name"):
            if anchor := given.get(name):
                self.anchors.add(anchor)
        if (target := given.get(_FETCHED.get(tag, ""))) is not None:
            self.links.append((target, given.get("rel") not in ("canonical", "next", "prev")))
        elif tag == "a" and (target := given.get("href")) is not None:
            self.links.append((target, False))


def faults(site: Path) -> Iterator[str]:
    """What is wrong in a built site, a line each."""
    pages = {file: _read(file) for file in sorted(site.rglob("*.html"))}
    if not pages:
        yield f"{site} has no pages"
    for file, page in pages.items():
        for target, fetched in page.links:
            if fault := _fault(site, pages, file, target, fetched):
                yield f"{file.relative_to(site)}: {target}: {fault}"
    for file in sorted(site.rglob("*.css")):
        if _STYLED.search(file.read_text("utf-8")):
            yield f"{file.relative_to(site)}: loads from another host"


def _read(file: Path) -> _Page:
    page = _Page()
    page.feed(file.read_text("utf-8"))
    page.close()
    return page


def _fault(
    site: Path, pages: dict[Path, _Page], file: Path, target: str, fetched: bool
) -> str | None:
    parts = urlsplit(target)
    if parts.scheme == "data":
        return None
    if parts.scheme or parts.netloc:
        if fetched:
            return "is loaded from another host"
        well_formed = parts.scheme in ("http", "https") and "." in parts.netloc
        return None if well_formed or parts.scheme == "mailto" else "is no address"
    # 404.html is shown for whatever address, so that it names its files from the top.
    top = site if parts.path.startswith("/") else file.parent
    there = (top / unquote(parts.path).lstrip("/")).resolve() if parts.path else file
    if there.is_dir():
        there /= "index.html"
    if not there.is_file():
        return "leads nowhere"
    if not there.is_relative_to(site):
        return "leads out of the site"
    if parts.fragment and there in pages:
        anchors = pages[there].anchors
        # Who names a search, or the skip to the content, is answered by the theme's script.
        if unquote(parts.fragment) not in anchors and not parts.fragment.startswith("__"):
            return "there is no such anchor"
    return None
