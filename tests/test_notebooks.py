"""The notebooks run, without a key or a network, and print what they show."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"


def read(path: Path) -> Any:
    return nbformat.reads(path.read_text("utf-8"), as_version=4)  # type: ignore[no-untyped-call]


def shown(cell: Any) -> list[str]:
    """What a cell shows as text; pictures of sessions hold times."""
    texts = [
        output.get("text") or output.get("data", {}).get("text/plain", "")
        for output in cell.get("outputs", ())
    ]
    return [re.sub(r"sqlite:////\S*/", "sqlite:////…/", text) for text in texts]


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_what_it_says(path: Path, tmp_path: Path) -> None:
    kept, again = read(path), read(path)
    for cell in again.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(again, timeout=120, kernel_name="python3", resources=resources).execute()
    for before, after in zip(kept.cells, again.cells, strict=True):
        assert shown(after) == shown(before), before.source
        streams = {output.get("name") for output in after.get("outputs", ())}
        assert "stderr" not in streams, after.outputs
    assert any(shown(cell) for cell in kept.cells), "it is kept as it looks when it has run"


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_names_no_machine(path: Path) -> None:
    assert not re.search(r"/(root|home|work|Users|tmp)/", path.read_text("utf-8"))
