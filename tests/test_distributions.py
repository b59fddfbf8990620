"""What a user gets: wheel and sdist are built, installed where nothing else is, and imported.

The environment they go into sees of this one only what the metadata asks for, extra by extra, by
links to the files. Nothing is fetched.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import Iterator
from importlib.metadata import PathDistribution, distribution
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from scripts.release.contents import PACKAGES, problems_of_sdist, problems_of_wheel

ROOT = Path(__file__).parents[1]
WORKS = """
from onrecord import Store
with Store("sqlite:///{file}") as store:
    store.session("a").append(("user", "Hello"))
    print(store.session("a").window()[0].text)
"""
# An extra, and what needs it.
USES = [
    ("postgres", "import onrecord; onrecord.Store('postgresql://localhost/none').close()"),
    (
        "redis",
        "import onrecord; onrecord.Store('sqlite://', cache='redis://localhost:1').close()",
    ),
    ("langchain", "from langchain_onrecord import to_langchain"),
    ("agents", "from langchain_onrecord import OnrecordMiddleware"),
    ("langgraph", "from langgraph_onrecord import OnrecordSaver"),
    ("llama-index", "from llama_index_onrecord import OnrecordMemory"),
]

pytestmark = pytest.mark.slow


AS_DATA: Any = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
"""Python 3.11.2, which is Debian's, knows no filters."""


class House:
    """A folder with the distributions, and an environment with nothing but ours in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = folder / "venv" / "bin" / "python"
        self.sdist, self.wheel = self.build(ROOT, "sdist"), self.build(ROOT, "wheel")
        venv.create(folder / "venv", with_pip=True)
        self.install(self.wheel)
        with zipfile.ZipFile(self.wheel) as archive:
            archive.extractall(folder / "metadata", _metadata(archive.namelist()))
        self.ours = PathDistribution(next((folder / "metadata").iterdir()))

    def build(self, source: Path, kind: str) -> Path:
        into = self.folder / f"{kind} of {source.name}"
        command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(into)]
        subprocess.run(command, cwd=source, check=True, capture_output=True)
        (built,) = into.iterdir()
        return built

    def install(self, file: Path, *options: str, path: Path | None = None) -> None:
        self.run("-m", "pip", "install", "--no-index", "--no-deps", *options, str(file), path=path)

    def run(self, *arguments: str, path: Path | None = None) -> str:
        """Run it where the checkout is out of sight, and expect that it goes well."""
        done = self.tried(*arguments, path=path)
        assert not done.returncode, done.stderr
        return done.stdout

    def tried(self, *arguments: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PIP_"))}
        return subprocess.run(
            [str(self.python), *arguments],
            env=kept | ({"PYTHONPATH": str(path)} if path else {}),
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )

    def needed(self, *extras: str) -> Path:
        """A folder of links to what the metadata asks for with these extras, and to its needs."""
        into = self.folder / "-".join(["needed", *extras])
        if not into.exists():
            into.mkdir()
            asked = [Requirement(one) for one in self.ours.requires or ()]
            for name in _closure(asked, set(extras)):
                _link(name, into)
        return into


def _metadata(names: list[str]) -> list[str]:
    return [name for name in names if ".dist-info/" in name]


def _closure(asked: list[Requirement], extras: set[str]) -> set[str]:
    found: dict[str, set[str]] = {}
    waiting = list(_wanted(asked, extras))
    while waiting:
        name, inner = waiting.pop()
        if name in found and inner <= found[name]:
            continue
        found[name] = found.get(name, set()) | inner
        asked = [Requirement(one) for one in distribution(name).requires or ()]
        waiting += _wanted(asked, found[name])
    return set(found)


def _wanted(asked: list[Requirement], extras: set[str]) -> Iterator[tuple[str, set[str]]]:
    for one in asked:
        if one.marker is None or any(one.marker.evaluate({"extra": e}) for e in extras | {""}):
            yield canonicalize_name(one.name), set(one.extras)


def _link(name: str, into: Path) -> None:
    of = distribution(name)
    for file in of.files or ():
        target = into / file
        if ".." in file.parts or "__pycache__" in file.parts:
            continue  # commands and headers
        target.parent.mkdir(parents=True, exist_ok=True)
        source = Path(str(of.locate_file(file))).resolve()
        target.symlink_to(source)
        # Else each environment compiles what it imports: three quarters of what these tests took.
        if source.suffix == ".py" and (compiled := _compiled(source)).exists():
            cached = _compiled(target)
            cached.parent.mkdir(exist_ok=True)
            cached.symlink_to(compiled)


def _compiled(source: Path) -> Path:
    return Path(importlib.util.cache_from_source(source))


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    return House(tmp_path_factory.mktemp("house"))


def test_the_wheel_holds_the_packages_and_nothing_else(house: House) -> None:
    assert problems_of_wheel(house.wheel, ROOT) == []


def test_the_sdist_holds_what_it_is_built_and_tested_with(house: House) -> None:
    assert problems_of_sdist(house.sdist) == []


def test_the_sdist_makes_the_same_wheel(house: House) -> None:
    """To the byte, at another time and in another folder."""
    unpacked = house.folder / "unpacked"
    with tarfile.open(house.sdist) as archive:
        archive.extractall(unpacked, **AS_DATA)
    (source,) = unpacked.iterdir()
    assert house.build(source, "wheel").read_bytes() == house.wheel.read_bytes()
    assert house.build(source, "sdist").read_bytes() == house.sdist.read_bytes()


def test_the_sdist_installs(house: House) -> None:
    """With what builds it at hand, in the place of the wheel."""
    builders = house.folder / "builders"
    builders.mkdir()
    for name in _closure([Requirement("hatchling")], set()):
        _link(name, builders)
    options = ("--no-build-isolation", "--force-reinstall")
    house.install(house.sdist, *options, path=builders)
    where = house.run("-c", "import onrecord; print(onrecord.__file__)", path=house.needed())
    assert where.startswith(str(house.folder))


def test_the_core_works_alone(house: House) -> None:
    code = WORKS.format(file=house.folder / "alone.db")
    assert house.run("-c", code, path=house.needed()) == "Hello\n"


@pytest.mark.parametrize(("extra", "use"), USES)
def test_without_its_extra_each_says_what_to_install(house: House, extra: str, use: str) -> None:
    failed = house.tried("-c", use, path=house.needed())
    assert failed.returncode == 1
    assert f'pip install "onrecord[{extra}]"' in failed.stderr


@pytest.mark.parametrize("package", PACKAGES[:3])
def test_importing_a_package_needs_no_extra(house: House, package: str) -> None:
    """The fourth registers its class with LlamaIndex, and says what to install."""
    house.run("-c", f"import {Path(package).name}", path=house.needed())


@pytest.mark.parametrize(("extra", "use"), USES)
def test_an_extra_brings_what_it_is_for(house: House, extra: str, use: str) -> None:
    """By itself, without the others."""
    house.run("-W", "ignore", "-c", use, path=house.needed(extra))


def test_all_is_everything_that_users_install(house: House) -> None:
    asked = [Requirement(one) for one in house.ours.requires or ()]
    each = [_closure(asked, {extra}) for extra, _ in USES]
    assert _closure(asked, {"all"}) == set().union(*each)
