"""What MkDocs calls while it builds the site: for the order of pages, and links out of docs/."""

from __future__ import annotations

import posixpath
import re
from typing import Any

from mkdocs.structure.files import File, Files, InclusionLevel

from scripts.site import nav, outside

_NAMED_PAGE = re.compile(r"\bdocs/((?:[\w-]+/)*[\w-]+)\.md\b")


def on_files(files: Files, config: Any) -> Files:
    """Add a page for each file that others link to, and order all."""
    reached = set(outside.ALWAYS)
    waiting = [(outside.file_of(file.src_uri), file.content_string) for file in _pages(files)]
    waiting += [(path, outside.markdown_of(path)) for path in sorted(reached)]
    while waiting:
        path, text = waiting.pop()
        for target in outside.linked(text, path):
            if target in reached or target.startswith("docs/"):
                continue
            if (outside.ROOT / target).is_file():  # what is not there, the check of links names
                reached.add(target)
                if target.endswith((".md", ".ipynb")):
                    waiting.append((target, outside.markdown_of(target)))
    for path in sorted(reached):
        content = outside.markdown_of(path)
        file = File.generated(config, outside.page_of(path), content=content)
        file.inclusion = InclusionLevel.NOT_IN_NAV
        files.append(file)
    named = set(nav.named(config.nav))
    pages = {file.src_uri for file in _pages(files) if file.inclusion.is_in_nav()}
    config.nav = nav.completed(config.nav, pages | (named & {file.src_uri for file in files}))
    return files


def _pages(files: Files) -> list[File]:
    return [file for file in files.documentation_pages() if not file.inclusion.is_excluded()]


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turn the links of a page to what is on the site."""
    path = outside.file_of(page.file.src_uri)
    return outside.relinked(markdown, path) if path.endswith((".md", ".ipynb")) else markdown


def on_page_content(html: str, page: Any, files: Files, **_: Any) -> str:
    """Make links of the pages that docstrings name."""
    if not page.file.src_uri.startswith("reference/api/"):
        return html
    here = posixpath.dirname(page.file.src_uri)

    def link(match: re.Match[str]) -> str:
        if files.get_file_from_path(f"{match[1]}.md") is None:
            return match[0]
        return f'<a href="{posixpath.relpath(match[1], here)}.html">{match[0]}</a>'

    return _NAMED_PAGE.sub(link, html)
