"""Pages of the site for files that stand outside of docs/: what a page links to is there.

A page is read in a checkout too, where ``../../tests/test_turns.py`` leads to the file. On the site
such a link leads to a page with the file's text: Markdown and notebooks as pages, the rest as code.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
FOLDER: Final = "repository"
"""Of the site, where these pages are."""
ALWAYS: Final = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")

_CODE: Final = re.compile(r"^(```|~~~).*?^\1[^\n]*$|`[^`\n]+`", re.M | re.S)
_LINK: Final = re.compile(r"(\]\()([^)\s]+)(\))")
_ESCAPES: Final = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_LANGUAGES: Final = {
    ".py": "python",
    ".toml": "toml",
    ".lua": "lua",
    ".sql": "sql",
    ".yml": "yaml",
    ".yaml": "yaml",
    ".json": "json",
    ".sh": "sh",
}


def page_of(path: str) -> str:
    """The page of the site for a file of the checkout."""
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return f"{FOLDER}/{path}" if path.endswith(".md") else f"{FOLDER}/{path}.md"


def file_of(page: str) -> str:
    """The file of the checkout that a page of the site is made from."""
    if not page.startswith(f"{FOLDER}/"):
        return f"docs/{page}"
    path = page.removeprefix(f"{FOLDER}/")
    return path if (ROOT / path).is_file() else path.removesuffix(".md")


def linked(text: str, path: str) -> Iterator[str]:
    """The files that a page of Markdown links to."""
    for target in _LINK.findall(_CODE.sub("", text)):
        if found := _target(target[1], path):
            yield found[0]


def relinked(text: str, path: str) -> str:
    """Markdown with its links turned to the pages of the site."""
    here = posixpath.dirname(page_of(path))

    def turned(match: re.Match[str]) -> str:
        found = _target(match[2], path)
        if not found:
            return match[0]
        file, anchor = found
        is_page = file.endswith(".md") or not file.startswith("docs/")
        there = page_of(file) if is_page else file.removeprefix("docs/")
        return f"{match[1]}{posixpath.relpath(there, here)}{anchor}{match[3]}"

    return _outside_code(text, lambda prose: _LINK.sub(turned, prose))


def _outside_code(text: str, change: Callable[[str], str]) -> str:
    parts, at = [], 0
    for code in _CODE.finditer(text):
        parts += [change(text[at : code.start()]), code[0]]
        at = code.end()
    return "".join([*parts, change(text[at:])])


def _target(target: str, path: str) -> tuple[str, str] | None:
    """The file of the checkout, and the anchor; None for another host or this very page."""
    if re.match(r"[a-z]+:|#|/", target):
        return None
    file, sharp, anchor = target.partition("#")
    return posixpath.normpath(posixpath.join(posixpath.dirname(path), file)), sharp + anchor


def markdown_of(path: str) -> str:
    """The page for a file outside of docs/, before its links are turned."""
    text = (ROOT / path).read_text("utf-8")
    if path.endswith(".md"):
        return text
    if path.endswith(".ipynb"):
        return _notebook(json.loads(text))
    language = _LANGUAGES.get(Path(path).suffix, "text")
    fence = "`" * max(3, 1 + max(map(len, re.findall(r"`+", text)), default=0))
    # What is searched for is in the pages; the code would stand before it.
    hidden = "---\nsearch:\n  exclude: true\nhide:\n  - toc\n---\n\n"
    return f"{hidden}# {path}\n\n{fence}{language}\n{text.rstrip()}\n{fence}\n"


def _notebook(notebook: dict[str, Any]) -> str:
    parts = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
        elif cell["cell_type"] == "code" and source.strip():
            parts.append(f"```python\n{source}\n```")
            parts += [_output(output) for output in cell["outputs"]]
    return "\n\n".join(parts) + "\n"


def _output(output: dict[str, Any]) -> str:
    data = output.get("data", {})
    if "image/png" in data:
        source = "".join(data["image/png"]).replace("\n", "")
        return f'<p><img alt="What the cell shows" src="data:image/png;base64,{source}"></p>'
    if "text/html" in data:
        # A blank line would end the block of HTML that Markdown leaves alone.
        html = re.sub(r"\n\s*\n", "\n", "".join(data["text/html"]))
        return f'<div class="cell-output">{html}</div>'
    text = "".join(data.get("text/plain") or output.get("text") or output.get("traceback", ""))
    return f"```text\n{_ESCAPES.sub('', text).rstrip()}\n```"
