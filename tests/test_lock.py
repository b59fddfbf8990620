"""The lock says the same as pyproject.toml: whoever changes one and forgets ``make lock`` fails."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from scripts.floors import floors

ROOT = Path(__file__).parents[1]
FILES = {
    "core": None,
    "demo": "demo",
    "dev": "dev",
    "bench": "bench",
    "upstream": "upstream",
    "failover": "failover",
    "oldest": "dev",
}
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
AGAIN = "pyproject.toml has changed since: run `make lock`"


def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def locked(file: str) -> str:
    return (ROOT / "requirements" / f"{file}.txt").read_text(encoding="utf-8")


def pinned(file: str, python: str) -> dict[str, Version]:
    """What is installed on that Python, on Linux x86_64."""
    found: dict[str, Version] = {}
    for line in re.findall(r"^[^\s#].*?(?= \\$)", locked(file), re.M):
        one = Requirement(line)
        if applies(one, python):
            (exactly,) = one.specifier
            assert exactly.operator == "=="
            assert one.name not in found
            found[canonicalize_name(one.name)] = Version(exactly.version)
    return found


def applies(one: Requirement, python: str) -> bool:
    where = {
        "python_version": python,
        "python_full_version": f"{python}.9",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "sys_platform": "linux",
        "platform_machine": "x86_64",
    }
    return one.marker is None or one.marker.evaluate(where)


def asked(extra: str | None) -> Iterator[Requirement]:
    """What pyproject.toml asks for, extras of our own followed."""
    project = pyproject()["project"]
    lists = project["optional-dependencies"]
    for one in map(Requirement, project["dependencies"] if extra is None else lists[extra]):
        if one.name == project["name"]:
            for inner in one.extras:
                yield from asked(inner)
        else:
            yield one


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("python", PYTHONS)
def test_what_is_asked_for_is_locked(file: str, python: str) -> None:
    found = pinned(file, python)
    build = map(Requirement, pyproject()["dependency-groups"]["build"])
    for one in (*asked(None), *(asked(FILES[file]) if FILES[file] else ()), *build):
        if applies(one, python):
            version = found.get(canonicalize_name(one.name))
            assert version is not None, f"{file}.txt lacks {one}; {AGAIN}"
            assert one.specifier.contains(version), f"{file}.txt has {version}, not {one}; {AGAIN}"


@pytest.mark.parametrize("python", PYTHONS)
def test_the_oldest_are_the_floors(python: str) -> None:
    found = pinned("oldest", python)
    wanted = [one for one in floors("dev") if applies(one, python)]
    for one in wanted:
        version = found.get(canonicalize_name(one.name))
        assert version is not None, f"oldest.txt lacks {one}; {AGAIN}"
        assert one.specifier.contains(version), f"oldest.txt has {version}, not {one}; {AGAIN}"
    assert {"sqlalchemy", "psycopg", "redis", "langgraph"} <= {one.name for one in wanted}


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("file", ["core", "demo", "bench", "upstream", "failover"])
def test_all_take_the_versions_that_were_tested(file: str, python: str) -> None:
    """Of what we stand on; a peer of the benchmark may hold something else back."""
    ours = {canonicalize_name(one.name) for one in (*asked(None), *asked("all"))}
    tested = pinned("dev", python)
    found = pinned(file, python)
    both = ours & found.keys() & tested.keys()
    assert {"sqlalchemy", "msgspec", "zstandard"} <= both
    assert {name: found[name] for name in both} == {name: tested[name] for name in both}


@pytest.mark.parametrize("file", FILES)
def test_every_line_has_hashes_and_none_an_address(file: str) -> None:
    """What is locked is locked to the byte, and says nothing of the machine where that was done."""
    head, _, body = locked(file).partition("make lock\n")
    assert head.startswith("#")
    packages = re.split(r"\n(?! )", body.strip())
    assert len(packages) > 5
    for package in packages:
        pin, *hashes = package.split(" \\\n    ")
        assert re.fullmatch(r"[\w.-]+==[\w.+]+(?: ; [^\\/]+)?", pin)
        assert hashes
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", one) for one in hashes)


def test_what_builds_the_package_is_locked() -> None:
    found = pyproject()
    assert set(found["build-system"]["requires"]) <= set(found["dependency-groups"]["build"])
