"""Print the least that an extra is content with, as constraints: ``scripts/floors.py dev``.

What pyproject.toml says with ``>=`` becomes ``==``. An extra of our own inside it is followed.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"


def floors(extra: str) -> list[Requirement]:
    """The floor of everything that the package with this extra asks for by itself, as ``==``."""
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    asked = [*map(Requirement, project["dependencies"]), *_asked(project, extra)]
    found: dict[tuple[str, str], Version] = {}
    for one in asked:
        key = one.name, f" ; {one.marker}" if one.marker else ""
        found[key] = max(_floor(one), found.get(key, Version("0")))
    return [Requirement(f"{name}=={floor}{marker}") for (name, marker), floor in found.items()]


def _asked(project: dict[str, object], extra: str) -> Iterator[Requirement]:
    extras = project["optional-dependencies"]
    assert isinstance(extras, dict)
    for one in map(Requirement, extras[extra]):
        if one.name != project["name"]:
            yield one
        for inner in one.extras if one.name == project["name"] else ():
            yield from _asked(project, inner)


def _floor(asked: Requirement) -> Version:
    floors = [one.version for one in asked.specifier if one.operator in (">=", "==")]
    if len(floors) != 1:
        raise SystemExit(
            f"pyproject.toml asks for {asked} without a floor, so that nobody can test the oldest "
            f"that it takes: write {asked.name}>=…"
        )
    return Version(floors[0])


if __name__ == "__main__":
    print(*sorted(map(str, floors(*sys.argv[1:]))), sep="\n")
