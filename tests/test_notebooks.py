"""The notebooks run, without a key or a network, and show what they show."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
EACH = pytest.mark.parametrize(
    "path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem
)


def read(path: Path) -> Any:
    return nbformat.reads(path.read_text("utf-8"), as_version=4)  # type: ignore[no-untyped-call]


def shown(cell: Any) -> dict[str, str]:
    """What a cell shows, by kind. What is printed comes in as many pieces as time makes of it."""
    found: dict[str, str] = {}
    for output in cell.get("outputs", ()):
        data = dict(output.get("data", {}))
        if "text" in output:
            data[output["name"]] = output["text"]
        if "image/png" in data:
            data["image/png"] = "a picture"  # how it is drawn is matplotlib's own affair
        if "text/html" in data:
            data["text/html"] = words(data["text/html"])
        for kind, text in data.items():
            text = re.sub(r"sqlite:////\S*/", "sqlite:////…/", text)
            text = re.sub(r"\b[01]\.\d\d\b", "0.…", text)  # scores are the ranking's own affair
            found[kind] = found.get(kind, "") + text
    return found


def words(html: str) -> str:
    """What a picture of a session or of items says and what images are in it; when is new."""
    html = re.sub(r'<img src="([^"]*)"[^>]*>', r"\1", html)
    text = unescape(re.sub(r"<[^>]*>", " ", html))
    text = re.sub(r"(#\d+) · \d\d:\d\d", r"\1", text)
    text = re.sub(r"[A-Z][a-z]+day, \d\d [A-Z][a-z]+ \d{4}", "", text)
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d", "", text)
    text = re.sub(r"\b\d{16}\b", "", text)  # versions of items go on from the time of day
    return " ".join(text.split())


@pytest.mark.slow
@EACH
def test_a_notebook_runs_and_shows_what_it_says(path: Path, tmp_path: Path) -> None:
    kept, again = read(path), read(path)
    for cell in again.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(again, timeout=120, kernel_name="python3", resources=resources).execute()
    for before, after in zip(kept.cells, again.cells, strict=True):
        assert shown(after) == shown(before), before.source
        assert "stderr" not in shown(after), after.outputs
    assert any(shown(cell) for cell in kept.cells), "it is kept as it looks when it has run"
    assert any("text/html" in shown(cell) for cell in kept.cells), "and with a conversation"


@EACH
def test_a_notebook_names_no_machine(path: Path) -> None:
    assert not re.search(r"/(root|home|work|Users|tmp)/", path.read_text("utf-8"))


@EACH
def test_a_notebook_is_listed_and_its_links_lead_somewhere(path: Path) -> None:
    assert f"]({path.name})" in (NOTEBOOKS / "README.md").read_text("utf-8")
    for cell in read(path).cells:
        if cell.cell_type == "markdown":
            for target in re.findall(r"\]\(([^)\s:]+)\)", cell.source):
                assert (NOTEBOOKS / target).exists(), target
