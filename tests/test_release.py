"""`make release`: what it looks for, and that what the metadata promise is what is tested."""

from __future__ import annotations

import re
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from scripts.release import pythons
from scripts.release.contents import PACKAGES, problems_of_sdist, problems_of_wheel, project_of

ROOT = Path(__file__).parents[1]
SYSTEMS = {
    "ubuntu-latest": "POSIX :: Linux",
    "macos-latest": "MacOS",
    "windows-latest": "Microsoft :: Windows",
}


def jobs() -> dict[str, Any]:
    workflow = ROOT / ".github" / "workflows" / "check.yml"
    if not workflow.exists():  # as in an sdist
        pytest.skip("there is no workflow here")
    found: dict[str, Any] = yaml.safe_load(workflow.read_text(encoding="utf-8"))["jobs"]
    return found


def classified(prefix: str) -> set[str]:
    return {
        one.removeprefix(prefix)
        for one in project_of(ROOT)["classifiers"]
        if one.startswith(prefix)
    }


def test_each_python_that_is_promised_is_tested() -> None:
    """With the whole suite, and no other."""
    tested = set(jobs()["check"]["strategy"]["matrix"]["python"])
    assert {one for one in classified("Programming Language :: Python :: ") if "." in one} == tested
    assert tested <= set(pythons.VERSIONS)
    least = project_of(ROOT)["requires-python"].removeprefix(">=")
    assert least == min(tested, key=lambda one: int(one.split(".")[1])) == pythons.VERSIONS[0]


def test_each_system_that_is_promised_is_tested() -> None:
    systems: set[str] = set()
    for job in jobs().values():
        matrix = job.get("strategy", {}).get("matrix", {})
        systems |= set(matrix.get("os", [])) or {job["runs-on"]}
    assert classified("Operating System :: ") == {SYSTEMS[system] for system in systems}


def test_the_workflow_runs_what_there_is() -> None:
    commands = [step.get("run", "") for job in jobs().values() for step in job["steps"]]
    assert "make release" in commands
    assert "python -m pytest @tests/portable.txt" in commands
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in (one.removeprefix("make ") for one in commands if re.match(r"make [a-z]", one)):
        assert re.search(rf"^{target}:", makefile, re.M), target


def test_no_address_is_promised_that_is_not_there() -> None:
    assert "urls" not in project_of(ROOT)


def test_nothing_of_it_uploads() -> None:
    for file in (ROOT / "scripts" / "release").glob("*.py"):
        text = file.read_text(encoding="utf-8")
        assert '"upload"' not in text
        assert "register" not in text


# -- which Pythons there are -----------------------------------------------------------------------

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"


def test_a_python_is_found_on_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    link(tmp_path / f"python{HERE}")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "none"))
    assert pythons.find(HERE) == tmp_path / f"python{HERE}"


def test_a_python_of_pyenv_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Also one that is not switched on, for which PATH has a script that only complains."""
    shim = tmp_path / "shims" / f"python{HERE}"
    shim.parent.mkdir()
    shim.write_text("#!/bin/sh\nexit 127\n", encoding="utf-8")
    shim.chmod(0o755)
    older, newer = (tmp_path / "versions" / f"{HERE}.{n}" / "bin" / "python" for n in (9, 10))
    link(older)
    link(newer)
    monkeypatch.setenv("PATH", str(shim.parent))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    assert pythons.find(HERE) == newer


def test_one_that_is_another_than_its_name_is_not_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    link(tmp_path / "python3.99")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "none"))
    assert pythons.find("3.99") is None


def link(python: Path) -> None:
    """Another name for what runs this, and not through an environment."""
    python.parent.mkdir(parents=True, exist_ok=True)
    python.write_text(f'#!/bin/sh\nexec "{sys._base_executable}" "$@"\n', encoding="utf-8")  # type: ignore[attr-defined]
    python.chmod(0o755)


# -- what is looked for in what was built ----------------------------------------------------------


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A checkout with as little in it as a wheel can be made of."""
    root = tmp_path / "source"
    for name, text in files().items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root


def files() -> dict[str, str]:
    made = {f"{package}/{name}": "" for package in PACKAGES for name in ("__init__.py", "py.typed")}
    project = """
[project]
name = "onrecord"
version = "1"
description = "What it is."
readme = "README.md"
requires-python = ">=3.11"
license = "Apache-2.0"
classifiers = ["Typing :: Typed"]
[project.optional-dependencies]
b = []
a = []
"""
    return made | {
        "core/onrecord/a.lua": "",
        "README.md": "# What it is\n",
        "pyproject.toml": project,
    }


METADATA = """Metadata-Version: 2.4
Name: onrecord
Version: 1
Summary: What it is.
License-Expression: Apache-2.0
Requires-Python: >=3.11
Description-Content-Type: text/markdown
Classifier: Typing :: Typed
Provides-Extra: a
Provides-Extra: b

# What it is
"""


def held() -> dict[str, str]:
    inside = {name.partition("/")[2]: text for name, text in files().items() if "/" in name}
    about = "onrecord-1.dist-info"
    return inside | {f"{about}/METADATA": METADATA, f"{about}/licenses/LICENSE": "It is."}


def wheel_of(folder: Path, names: dict[str, str]) -> Path:
    with zipfile.ZipFile(folder / "a.whl", "w") as archive:
        for name, text in names.items():
            archive.writestr(name, text)
    return folder / "a.whl"


def test_a_wheel_that_is_whole_has_no_problems(tmp_path: Path, source: Path) -> None:
    assert problems_of_wheel(wheel_of(tmp_path, held()), source) == []


@pytest.mark.parametrize(
    ("gone", "problem"),
    [
        ("langgraph_onrecord/py.typed", "it lacks langgraph_onrecord/py.typed"),
        ("onrecord/a.lua", "it lacks onrecord/a.lua"),
        ("onrecord-1.dist-info/licenses/LICENSE", "it lacks the licence"),
    ],
)
def test_what_a_wheel_lacks_is_named(tmp_path: Path, source: Path, gone: str, problem: str) -> None:
    names = held()
    del names[gone]
    assert problems_of_wheel(wheel_of(tmp_path, names), source) == [problem]


def test_a_package_that_says_no_types_is_noticed(tmp_path: Path, source: Path) -> None:
    """Also where the checkout lacks it as well."""
    (source / "core" / "onrecord" / "py.typed").unlink()
    names = held()
    del names["onrecord/py.typed"]
    assert problems_of_wheel(wheel_of(tmp_path, names), source) == ["it lacks onrecord/py.typed"]


def test_what_is_too_much_is_named(tmp_path: Path, source: Path) -> None:
    wheel = wheel_of(tmp_path, held() | {"tests/test_a.py": ""})
    assert problems_of_wheel(wheel, source) == ["it holds tests/test_a.py, which is in no package"]


@pytest.mark.parametrize(
    ("said", "instead"),
    [("Version: 1", "Version: 2"), ("Provides-Extra: b\n", ""), ("# What it is", "# Another")],
)
def test_metadata_that_say_something_else_are_named(
    tmp_path: Path, source: Path, said: str, instead: str
) -> None:
    names = held()
    names["onrecord-1.dist-info/METADATA"] = METADATA.replace(said, instead)
    (problem,) = problems_of_wheel(wheel_of(tmp_path, names), source)
    assert "its metadata say" in problem or problem == "its description is not the README"


def test_an_sdist_without_what_builds_it_is_named(tmp_path: Path) -> None:
    sdist = tmp_path / "a.tar.gz"
    with tarfile.open(sdist, "w:gz") as archive:
        for file in (ROOT / "README.md", ROOT / "LICENSE"):
            archive.add(file, f"onrecord-1/{file.name}")
        archive.add(ROOT / "README.md", "onrecord-1/core/onrecord/__pycache__/a.pyc")
    problems = problems_of_sdist(sdist)
    assert "it lacks pyproject.toml" in problems
    assert "it lacks LICENSE" not in problems
    assert "it holds core/onrecord/__pycache__/a.pyc" in problems
