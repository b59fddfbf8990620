"""The site without building it: its order, its public names, its errors; and what checks its links.

``make docs`` builds it, with warnings as errors.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import re
from collections import Counter
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import onrecord
from onrecord import errors
from scripts import api
from scripts.site import nav, outside
from scripts.site.links import faults

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")}
MODULES = [
    "onrecord",
    "onrecord.adapters",
    "onrecord.embedding",
    "onrecord.memory",
    "onrecord.testing",
    "onrecord.testing.langgraph_store",
    "langchain_onrecord",
    "langchain_onrecord.importers",
    "langgraph_onrecord",
    "llama_index_onrecord",
    "llama_index_onrecord.importers",
]
AGAIN = "run `python -m scripts.api`"


def test_the_pages_are_those_that_are_written() -> None:
    for file, text in api.written().items():
        assert file.is_file(), f"{file.name}: {AGAIN}"
        assert file.read_text("utf-8") == text, f"{file.name}: {AGAIN}"


def test_each_public_name_is_shown_once() -> None:
    shown = Counter[int]()
    for file in api.FOLDER.glob("*.md"):
        text = file.read_text("utf-8")
        for path in re.findall(r"^::: (\S+)$", text, re.M):
            module, _, name = path.rpartition(".")
            shown[id(getattr(import_module(module), name))] += 1
    headings = re.findall(r"^## (\w+)$", api.ERRORS.read_text("utf-8"), re.M)
    for name in headings:
        shown[id(getattr(errors, name))] += 1
    assert len(headings) == len(set(headings))
    missing = [
        name.path for module in MODULES for name in api.public(module) if not shown[id(name.value)]
    ]
    assert not missing
    twice = [
        name.path
        for module in MODULES
        for name in api.public(module)
        if shown[id(name.value)] > 1 and (inspect.isclass(name.value) or callable(name.value))
    ]
    assert not twice


def test_all_that_the_package_exports_is_public() -> None:
    assert {name.name for name in api.public("onrecord")} == set(onrecord.__all__)


def documented(name: api.Name) -> bool:
    """Whether a name has words of its own; a constant or an alias, right below it."""
    value = name.value
    if inspect.isclass(value) or inspect.isfunction(value):
        return bool(value.__doc__ and value.__doc__.strip()) and not _is_made_up(value)
    package = Path(inspect.getfile(import_module(name.module.partition(".")[0]))).parent
    return any(_documents(file.read_text("utf-8"), name.name) for file in package.rglob("*.py"))


def _is_made_up(cls: Any) -> bool:
    """Whether a docstring is what ``dataclass`` or ``NamedTuple`` says of itself."""
    said = (cls.__doc__ or "").strip()
    return bool(re.match(rf"{cls.__name__}\(", said))


def _documents(source: str, name: str) -> bool:
    if not re.search(rf"^{name}\b", source, re.M):
        return False
    body = ast.parse(source).body
    for one, following in itertools.pairwise(body):
        told = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
        if told and isinstance(one, ast.AnnAssign | ast.Assign):
            targets = one.targets if isinstance(one, ast.Assign) else [one.target]
            if any(isinstance(target, ast.Name) and target.id == name for target in targets):
                return True
    return False


@pytest.mark.parametrize("module", MODULES)
def test_each_public_name_has_words(module: str) -> None:
    assert [name.path for name in api.public(module) if not documented(name)] == []


@pytest.mark.parametrize("module", MODULES)
def test_each_public_method_has_words(module: str) -> None:
    silent = []
    for name in api.public(module):
        cls = name.value
        if not inspect.isclass(cls) or name.name.endswith("Contract"):
            continue
        for member, value in vars(cls).items():
            is_one = inspect.isfunction(value) or isinstance(
                value, property | classmethod | staticmethod
            )
            if is_one and not member.startswith("_") and not inspect.getdoc(getattr(cls, member)):
                silent.append(f"{name.path}.{member}")
    assert not silent


@pytest.mark.parametrize("name", [name.name for name in api.error_names()])
def test_each_error_says_when_and_what_to_do(name: str) -> None:
    said = inspect.getdoc(getattr(errors, name)) or ""
    assert re.search(r"^When: ", said, re.M)
    assert re.search(r"^What to do: ", said, re.M)


def test_no_error_is_left_out() -> None:
    ours = [
        name
        for name, cls in vars(errors).items()
        if inspect.isclass(cls) and cls.__module__ == errors.__name__
    ]
    assert sorted(ours) == sorted(name.name for name in api.error_names())
    assert set(ours) <= set(onrecord.__all__)


def order() -> list[nav.Entry]:
    """What mkdocs.yml says under ``nav``: it has tags that only MkDocs knows."""
    text = (ROOT / "mkdocs.yml").read_text("utf-8")
    yaml = pytest.importorskip("yaml")
    found: list[nav.Entry] = yaml.safe_load(text[text.index("\nnav:") :])["nav"]
    return found


def test_every_page_has_one_place_in_the_order() -> None:
    always = {outside.page_of(path) for path in outside.ALWAYS}
    full = nav.completed(order(), PAGES | always)
    places = Counter(nav.named(full))
    assert places.keys() >= PAGES
    assert max(places.values()) == 1
    assert {path for path in places if path.startswith(outside.FOLDER)} <= always


def test_a_page_that_nobody_named_comes_last_in_its_section() -> None:
    given = [
        "README.md",
        {"How-to": [{"Memories": ["how-to/memory/a.md"]}, {"Operate": ["how-to/z.md"]}]},
        {"Explanation": ["explanation/a.md"]},
    ]
    pages = {*nav.named(given), "how-to/new.md", "how-to/memory/b.md", "new.md"}
    assert nav.completed(given, pages) == [
        "README.md",
        {
            "How-to": [
                {"Memories": ["how-to/memory/a.md", "how-to/memory/b.md"]},
                {"Operate": ["how-to/z.md"]},
                "how-to/new.md",
            ]
        },
        {"Explanation": ["explanation/a.md"]},
        "new.md",
    ]


def test_a_page_that_is_not_there_is_left_out_and_an_empty_section_with_it() -> None:
    given = ["README.md", {"A": [{"B": "b.md"}, {"C": ["c.md"]}]}, {"D": ["d.md", "e.md"]}]
    assert nav.completed(given, {"README.md", "e.md"}) == ["README.md", {"D": ["e.md"]}]


def test_links_out_of_docs_lead_to_pages_of_the_site() -> None:
    text = "[a](../../tests/test_a.py) `[b](../../b.py)` [c](c.md#d) [e](https://e.org) ![f](f.svg)"
    turned = outside.relinked(text, "docs/how-to/x.md")
    assert turned == (
        "[a](../repository/tests/test_a.py.md) `[b](../../b.py)` [c](c.md#d) [e](https://e.org) "
        "![f](f.svg)"
    )
    assert outside.relinked("[a](docs/how-to/x.md) [b](#b)", "README.md") == (
        "[a](../how-to/x.md) [b](#b)"
    )
    assert next(outside.linked(text, "docs/how-to/x.md")) == "tests/test_a.py"


@pytest.mark.parametrize("path", ["README.md", "notebooks/memory.ipynb", "examples/three_days.py"])
def test_a_page_of_the_site_knows_its_file(path: str) -> None:
    assert outside.file_of(outside.page_of(path)) == path
    assert "# " in outside.markdown_of(path)


def test_the_check_of_links_names_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "b.html").write_text('<h1 id="there">b</h1><img src="data:image/png;base64,AA==">')
    good = '<a href="b.html#there"></a><a href="#x"></a><p id="x"></p><a href="https://a.org/"></a>'
    (tmp_path / "a.html").write_text(good)
    assert list(faults(tmp_path)) == []
    for wrong, why in {
        '<a href="c.html"></a>': "leads nowhere",
        '<a href="b.html#here"></a>': "no such anchor",
        '<a href="../a.html"></a>': "leads nowhere",
        '<img src="c.png">': "leads nowhere",
        '<a href="https://a"></a>': "is no address",
        '<script src="https://a.org/a.js"></script>': "another host",
        '<link rel="preconnect" href="https://a.org">': "another host",
        '<img src="//a.org/a.png">': "another host",
    }.items():
        (tmp_path / "a.html").write_text(wrong)
        [fault] = faults(tmp_path)
        assert why in fault
    (tmp_path / "a.html").write_text("")
    (tmp_path / "a.css").write_text("@import url('https://a.org/a.css');")
    assert list(faults(tmp_path)) == ["a.css: loads from another host"]
