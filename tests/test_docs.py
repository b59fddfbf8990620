"""The documentation is true: its Python runs, prints what it says, and its links lead somewhere."""

import ast
import asyncio
import contextlib
import inspect
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from onrecord import Store
from tests.shown import nobody_set_up

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    page.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/**/*.md", "integrations/*.md", "notebooks/*.md")
    for page in ROOT.glob(pattern)
)
PROSE_ONLY = {
    *(page for page in PAGES if page.startswith("docs/reference/api/")),
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "docs/reference/benchmarks.md",
    "docs/explanation/alternatives.md",
    "docs/reference/command-line.md",
    "docs/explanation/cache-protocol.md",
    "docs/explanation/how-an-append-travels.md",
    "docs/explanation/how-search-works.md",
    "docs/explanation/promises.md",
    "docs/explanation/scale.md",
    "docs/explanation/security.md",
    "docs/explanation/words.md",
    "docs/how-to/deploy.md",
    "docs/how-to/distribute.md",
    "docs/how-to/high-availability.md",
    "docs/how-to/sizing.md",
    "docs/how-to/upgrade.md",
    "docs/reference/errors.md",
    "docs/reference/features.md",
    "docs/reference/langgraph-stores.md",
    "docs/reference/settings.md",
    "docs/reference/tables.md",
    "integrations/README.md",
    "notebooks/README.md",
}

# LlamaIndex's workflows look at all that an agent has, also at what pydantic wants to be rid of.
pytestmark = pytest.mark.filterwarnings(
    "ignore:The `__fields:pydantic.PydanticDeprecatedSince20",
    "ignore:Accessing the 'model_:pydantic.warnings.PydanticDeprecatedSince211",
)


def environment() -> dict[str, str]:
    """What is set for this process, but for what pytest itself sets."""
    return {name: text for name, text in os.environ.items() if name != "PYTEST_CURRENT_TEST"}


@pytest.fixture(scope="module", autouse=True)
def _nothing_is_left_set() -> Iterator[None]:
    """Later tests find the environment that there was: a page may set ONRECORD_URL."""
    before = environment()
    yield
    assert environment() == before


@pytest.fixture
def _own_environment() -> Iterator[None]:
    """What a page sets is its own."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


class Block(NamedTuple):
    """A fenced block, and the line it begins on."""

    language: str
    text: str
    line: int
    follows: int
    """The index of the block it stands right after, -1 for none."""


def blocks(page: str) -> list[Block]:
    found: list[Block] = []
    language: str | None = None
    collected: list[str] = []
    begin, last_end = 0, -1
    for number, line in enumerate((ROOT / page).read_text("utf-8").splitlines(), 1):
        if language is None:
            if line.startswith("```"):
                language, collected, begin = line[3:].strip(), [], number + 1
            elif line.strip():
                last_end = -1
        elif line == "```":
            text = "".join(f"{item}\n" for item in collected)
            found.append(Block(language, text, begin, last_end))
            language, last_end = None, len(found) - 1
        else:
            collected.append(line)
    assert language is None, f"{page}: the block at line {begin} does not end"
    return found


def matches(expected: str, printed: str) -> bool:
    """Whether something was printed as shown, where … stands for anything on its line."""
    pattern = "[^\n]*".join(map(re.escape, expected.strip("\n").split("…")))
    return re.fullmatch(pattern, printed.strip("\n")) is not None


def run(block: Block, page: str, namespace: dict[str, Any], runner: asyncio.Runner) -> str:
    """Run a block as a notebook would, `await` included, and return what it printed."""
    # Blank lines in front, so that a traceback names the line of the page.
    source = "\n" * (block.line - 1) + block.text
    code = compile(source, page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        if code.co_flags & inspect.CO_COROUTINE:
            runner.run(eval(code, namespace))
        else:
            exec(code, namespace)
    return printed.getvalue()


@pytest.mark.usefixtures("_own_environment")
@pytest.mark.parametrize("page", [page for page in PAGES if page not in PROSE_ONLY])
def test_the_python_on_a_page_runs(
    page: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = blocks(page)
    assert any(block.language == "python" for block in found), "list it in PROSE_ONLY"
    if any('os.environ["DATABASE_URL"]' in block.text for block in found):
        monkeypatch.setenv("DATABASE_URL", request.getfixturevalue("postgres_url"))
    if any('os.environ["REDIS_URL"]' in block.text for block in found):
        monkeypatch.setenv("REDIS_URL", request.getfixturevalue("redis_server").url)
    monkeypatch.chdir(tmp_path)
    with nobody_set_up():
        run_all(page, found)


@pytest.mark.usefixtures("_own_environment")
def test_pages_about_memories_run_in_one_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As who reads them one after the other does; each says which file it begins without."""
    monkeypatch.chdir(tmp_path)
    pages = [page for page in PAGES if page.startswith("docs/how-to/memory/")]
    files: set[str] = set()
    for page in pages:
        text = (ROOT / page).read_text("utf-8")
        said = re.search(r"begins in a folder without `(\w+\.db)`", text)
        assert said, page
        assert f"sqlite:///{said[1]}" in text, page
        files.add(said[1])
        run_all(page, blocks(page))
    assert len(files) == len(pages), "each has a file of its own"


def run_all(page: str, found: list[Block]) -> None:
    """Run the Python of a page, and compare what it prints with what it says."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    with asyncio.Runner() as runner:
        for number, block in enumerate(found):
            if block.language != "python":
                continue
            printed = run(block, page, namespace, runner)
            for shown in found[number + 1 : number + 2]:
                if shown.language == "text" and shown.follows == number:
                    assert matches(shown.text, printed), f"{page}:{shown.line} is\n{printed}"
        for left in namespace.values():
            if isinstance(left, Store):  # a page need not close what a program keeps open
                left.close()


@pytest.mark.parametrize("page", sorted(PROSE_ONLY))
def test_a_page_of_prose_has_no_python(page: str) -> None:
    assert page in PAGES
    assert not any(block.language in ("python", "py", "python3") for block in blocks(page))


@pytest.mark.parametrize("page", PAGES)
def test_blocks_say_what_they_are(page: str) -> None:
    """So that no Python escapes for want of a label."""
    for block in blocks(page):
        known = ("python", "text", "sh", "ini", "sql", "toml", "yaml")
        assert block.language in known, f"{page}:{block.line}"


def targets(page: str) -> Iterator[str]:
    text = re.sub(r"^```.*?^```$", "", (ROOT / page).read_text("utf-8"), flags=re.M | re.S)
    text = re.sub(r"`[^`]*`", "", text)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"[a-z]+:", target):
            yield target


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ +(.*)$", page.read_text("utf-8"), flags=re.M)
    return {
        re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings
    }


def defines(text: str, name: str) -> bool:
    """Whether a module defines a name, as a function, a class, or something that is assigned."""
    return name in text and bool(  # which is seen at once, for most
        re.search(rf"^\s*(?:(?:async )?def|class) {name}\b", text, re.M)
        or re.search(rf"^\s*(?:self\.)?{name}\b.*[:=]", text, re.M)
    )


def test_the_way_of_an_append_names_what_is_there() -> None:
    """Each name is defined in a file that its section names; a method, where its class is."""
    core = ROOT / "core/onrecord"
    modules = {file.relative_to(core).as_posix(): file.read_text() for file in core.rglob("*.py")}
    page = (ROOT / "docs/explanation/how-an-append-travels.md").read_text("utf-8")
    for section in page.split("\n## "):
        named = set(re.findall(r"`([\w/.]+)`", section))
        files = {name for name in named if name.endswith((".py", ".lua"))}
        for file in files:
            assert (core / file).is_file() or (core / "cache/scripts" / file).is_file(), file
        here = [modules[file] for file in files if file in modules]
        for name in named - files:
            if "/" in name:  # a folder
                assert (ROOT / name).is_dir() or (core / name).is_dir(), name
                continue
            owner, _, last = name.rpartition(".")
            owners = [text for text in modules.values() if owner and defines(text, owner)]
            assert any(defines(text, last) for text in owners or here), f"{name}: {section[:30]}"


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for target in targets(page):
        path, _, anchor = target.partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        assert file.exists(), target
        assert file.resolve().is_relative_to(ROOT), target
        if anchor:
            assert anchor in anchors(file), target


def test_the_readme_shows_what_the_demo_prints(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "two_frameworks.py"],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path), "COLUMNS": "80"},
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )
    [shown] = [block.text for block in blocks("README.md") if "Day one" in block.text]
    # What depends on where it runs: the file's folder, and this interpreter.
    shown = re.sub(r"/tmp/[^/\s]+", "…", shown).replace(".venv/bin/python", "…")
    assert matches(shown, done.stdout), done.stdout


def test_the_readme_names_two_commands() -> None:
    commands = [block.text.split() for block in blocks("README.md") if block.language == "sh"]
    assert commands[0][:2] == ["make", "demo"]
    assert commands[1][:2] == ["make", "test"]
    goals = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), flags=re.M)
    for page in PAGES:
        for goal in re.findall(r"`make ([a-z-]+)`", (ROOT / page).read_text("utf-8")):
            assert goal in goals, f"{page} names make {goal}"


def test_nothing_here_is_of_one_machine() -> None:
    for page in PAGES:
        assert not re.search(r"/(root|home|work|Users)/", (ROOT / page).read_text("utf-8")), page
