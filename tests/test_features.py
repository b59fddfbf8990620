"""The table of features: what each row names is there, and can be run."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest

from onrecord import Store
from tests.test_docs import PROSE_ONLY, targets

ROOT = Path(__file__).parents[1]
PAGE = "docs/reference/features.md"
OWED = {"A": 8, "B": 4, "C": 8, "D": 9, "E": 7, "F": 9}
"""How many rows each of the five descriptions has, and what none of them has."""
NOT_THERE = {"D6", "F6"}
MEASURED = {"A7", "C8"}
"""Times: what is quick enough here is no test elsewhere."""
CONTRACT = ROOT / "core/onrecord/testing/contract.py"


class Row(NamedTuple):
    name: str
    shown_by: str
    tested_by: str


def rows() -> Iterator[Row]:
    for line in (ROOT / PAGE).read_text("utf-8").splitlines():
        if re.match(r"\| [A-F]\d \|", line):
            name, _, shown_by, tested_by = (cell.strip() for cell in line.split("|")[1:-1])
            yield Row(name, shown_by, tested_by)


ROWS = list(rows())


@cache
def known_tests(module: str) -> set[str]:
    """The functions of a module whose names pytest goes by, in classes too."""
    file = CONTRACT if module == "contract" else ROOT / f"tests/{module}.py"
    assert file.is_file(), f"{file} is not there"
    tree = ast.parse(file.read_text("utf-8"))
    return {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def test_every_feature_has_a_row() -> None:
    owed = [f"{part}{number}" for part, many in OWED.items() for number in range(1, many + 1)]
    assert [row.name for row in ROWS] == owed


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_a_row_names_tests_that_are_there(row: Row) -> None:
    named = re.findall(r"`(\w+)::(\w+)`", row.tested_by)
    assert bool(named) is (row.name not in NOT_THERE | MEASURED)
    assert re.sub(r"`\w+::\w+`|, ", "", row.tested_by) == ""
    for module, test in named:
        assert test.startswith("test_")
        assert test in known_tests(module), f"{module} has no {test}"


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_a_row_names_what_can_be_run(row: Row) -> None:
    """A page with code, a command, a test or an example: a page of words alone shows nothing."""
    shown = 0
    for target in targets_of(row.shown_by):
        shown += target not in PROSE_ONLY
    for command in re.findall(r"`([^`]*)`", row.shown_by):
        check(command)
        shown += 1
    assert shown or row.name in NOT_THERE


def targets_of(cell: str) -> Iterator[str]:
    """The pages and files that a cell leads to, from the root; that they are there is tested with
    all other links."""
    assert set(re.findall(r"\]\(([^)]+)\)", cell)) <= set(targets(PAGE))
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", cell):
        yield (ROOT / PAGE).parent.joinpath(target).resolve().relative_to(ROOT).as_posix()


def check(command: str) -> None:
    """Fail where a command is none."""
    match command.split():
        case ["make", target, *_]:
            makefile = (ROOT / "Makefile").read_text("utf-8")
            assert re.search(rf"^{target}:", makefile, re.M), command
        case ["python", "-m", "bench", "--only", part]:
            source = (ROOT / "bench/rows/__init__.py").read_text("utf-8")
            assert any(part in name for name in re.findall(r'^    "([\w-]+)":', source, re.M)), (
                f"no row has {part!r} in its name"
            )
        case ["python", "-m", module]:
            assert find_spec(module) is not None, command
        case ["onrecord"]:
            project = (ROOT / "pyproject.toml").read_text("utf-8")
            assert re.search(r"^onrecord = ", project, re.M), command
        case [method] if method.startswith("store.") and method.endswith("()"):
            assert callable(getattr(Store, method[6:-2])), command
        case _:
            pytest.fail(f"{command!r} is no command that is known here")


@pytest.mark.parametrize(
    "command",
    [
        "make nothing",
        "python -m scripts.nothing",
        "python -m bench --only nothing",
        "store.nothing()",
        "onrecord-nothing",
        "--only x",
    ],
)
def test_what_is_no_command_is_noticed(command: str) -> None:
    with pytest.raises((AssertionError, AttributeError, pytest.fail.Exception)):
        check(command)
