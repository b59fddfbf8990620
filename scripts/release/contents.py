"""What has to be in a wheel and in an sdist: for `make release`, and for the tests."""

from __future__ import annotations

import tarfile
import tomllib
import zipfile
from email.parser import BytesParser
from pathlib import Path
from typing import Any, Final

PACKAGES: Final = (
    "core/onrecord",
    "integrations/langchain_onrecord",
    "integrations/langgraph_onrecord",
    "integrations/llama_index_onrecord",
)
KEPT: Final = (
    *("LICENSE", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "Makefile", "pyproject.toml"),
    *("tests", "examples", "requirements", "scripts/venv.sh", "docs"),
)
"""What whoever has the sdist needs to build and to test."""


def project_of(root: Path) -> dict[str, Any]:
    """The table [project] of a checkout's pyproject.toml."""
    text = (root / "pyproject.toml").read_text(encoding="utf-8")
    project: dict[str, Any] = tomllib.loads(text)["project"]
    return project


def problems_of_wheel(wheel: Path, root: Path) -> list[str]:
    """What is wrong with a wheel that was built from this checkout: nothing, if all is well."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        inside = next(name for name in names if name.endswith(".dist-info/METADATA"))
        metadata = archive.read(inside)
    about = inside.rpartition("/")[0]
    held = {name for name in names if not name.startswith(f"{about}/")}
    wanted = {
        file.relative_to((root / package).parent).as_posix()
        for package in PACKAGES
        for file in (root / package).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    typed = {f"{Path(package).name}/py.typed" for package in PACKAGES}
    lua = {name for name in wanted if name.endswith(".lua")}
    problems = [f"it lacks {name}" for name in sorted((wanted | typed) - held)]
    problems += [f"it holds {name}, which is in no package" for name in sorted(held - wanted)]
    if not lua:
        problems.append("it lacks the scripts of Redis, *.lua")
    if not any(name.startswith(f"{about}/") and name.endswith("LICENSE") for name in names):
        problems.append("it lacks the licence")
    return [*problems, *_problems_of_metadata(metadata, root)]


def _problems_of_metadata(metadata: bytes, root: Path) -> list[str]:
    told = BytesParser().parsebytes(metadata)
    project = project_of(root)
    said = {
        "Name": [project["name"]],
        "Version": [project["version"]],
        "Summary": [project["description"]],
        "License-Expression": [project["license"]],
        "Requires-Python": [project["requires-python"]],
        "Description-Content-Type": ["text/markdown"],
        "Classifier": project["classifiers"],
        "Provides-Extra": sorted(project["optional-dependencies"]),
    }
    found = {name: told.get_all(name, []) for name in said}
    found["Provides-Extra"].sort()
    readme = (root / project["readme"]).read_text(encoding="utf-8")
    body = told.get_payload(decode=True)
    problems = [
        f"its metadata say {name}: {found[name]}, and pyproject.toml {wanted}"
        for name, wanted in said.items()
        if sorted(found[name]) != sorted(wanted)
    ]
    if not isinstance(body, bytes) or body.decode().strip() != readme.strip():
        problems.append("its description is not the README")
    return problems


def problems_of_sdist(sdist: Path) -> list[str]:
    """What is wrong with an sdist: nothing, if all is well."""
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    problems = [
        f"it lacks {kept}"
        for kept in (*KEPT, *PACKAGES)
        if not any(name == kept or name.startswith(f"{kept}/") for name in names)
    ]
    unwanted = (".git/", ".venv", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache")
    problems += [
        f"it holds {name}"
        for name in sorted(names)
        if name.endswith(".pyc") or any(f"/{part}" in f"/{name}" for part in unwanted)
    ]
    return problems
