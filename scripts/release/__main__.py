"""Build wheel and sdist, and try them as a user has them: ``make release``. Uploads nothing.

    make release                              from the commit that is checked out
    make release ARGS=--dirty                 from the files as they are
    make release ARGS="--python 3.12"         tries that Python alone; may be said again

What is built is in dist/ afterwards, if all is well.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from scripts.release import pythons
from scripts.release.contents import problems_of_sdist, problems_of_wheel, project_of
from scripts.release.trial import TYPED, TYPED_WITH, Failed, Trial, run

ROOT = Path(__file__).parents[2]
DIST = ROOT / "dist"


class Release:
    """The steps, each of which says in a line how it went."""

    def __init__(self, folder: Path, *, dirty: bool) -> None:
        self.folder = folder
        self.failed: list[str] = []
        self.typed = False
        self.dirty = dirty
        self.when = _git("log", "-1", "--format=%ct") or str(int(time.time()))
        self.constraints = folder / "constraints.txt"
        self.constraints.write_text(_constraints(), encoding="utf-8")

    @contextmanager
    def step(self, name: str) -> Iterator[Callable[[str], None]]:
        """Print how it went; what is told meanwhile stands behind it."""
        told: list[str] = []
        began = time.monotonic()
        again = "\r" if sys.stdout.isatty() else ""
        if again:
            print(f"  …  {name}", end="", flush=True)
        try:
            yield told.append
        except Failed as fault:
            self.failed.append(name)
            print(f"{again}  ✗  {name}\n\n{fault}\n")
        else:
            what = f"{name}: {', '.join(told)}" if told else name
            print(f"{again}  ✓  {what} ({time.monotonic() - began:.0f} s)", flush=True)

    def source(self, name: str) -> Path:
        """The files to build from: of the commit, or a copy of those that are there."""
        into = self.folder / name
        if self.dirty:
            shutil.copytree(ROOT, into, ignore=_not_for_a_copy, symlinks=True)
        else:
            run(["git", "clone", "--quiet", "--no-hardlinks", ROOT, into], cwd=self.folder)
        return into

    def build(self, source: Path, into: str, *kinds: str) -> list[Path]:
        """Build from a folder, with what the lock has to build with."""
        to = self.folder / into
        command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(to)]
        env = os.environ | {"SOURCE_DATE_EPOCH": self.when}
        env.pop("PYTHONPATH", None)
        run([*command, *(f"--{kind}" for kind in kinds), str(source)], cwd=self.folder, env=env)
        return sorted(to.iterdir())

    def build_all(self) -> tuple[Path, Path] | None:
        """Sdist and wheel, and both once more: the same bytes, or they are not reproducible."""
        with self.step("two builds, from two copies, are the same bytes") as tell:
            first = self.build(self.source("one"), "first", "sdist", "wheel")
            mask = os.umask(0o077)  # what the builder's own settings are does not show
            try:
                second = self.build(self.source("another"), "second", "sdist", "wheel")
            finally:
                os.umask(mask)
            _same(first, second)
            sdist = next(file for file in first if file.name.endswith(".tar.gz"))
            wheel = next(file for file in first if file.suffix == ".whl")
            for file in first:
                tell(f"{file.name} {file.stat().st_size / 1e6:.2f} MB")
            return wheel, sdist
        return None

    def check(self, wheel: Path, sdist: Path) -> None:
        """What can be checked without installing anything."""
        source = self.folder / "one"
        with self.step("twine check --strict"):
            run([sys.executable, "-m", "twine", "check", "--strict", wheel, sdist], cwd=self.folder)
        for kind, problems in (
            ("wheel", problems_of_wheel(wheel, source)),
            ("sdist", problems_of_sdist(sdist)),
        ):
            with self.step(f"the {kind} holds what it has to, and nothing else"):
                if problems:
                    raise Failed("\n".join(problems))
        with self.step("the sdist makes the same wheel, to the byte"):
            with tarfile.open(sdist) as archive:
                archive.extractall(self.folder / "unpacked", filter="data")
            (unpacked,) = (self.folder / "unpacked").iterdir()
            _same([wheel], self.build(unpacked, "from sdist", "wheel"))

    def try_out(self, wheel: Path, version: str, python: Path) -> None:
        """Install it, with and without extras, and run the demos, outside of any checkout. Types
        are checked with the first Python: it takes minutes to read those of the frameworks."""
        typed, self.typed = not self.typed, True
        examples = self.folder / "one" / "examples"
        extras = "demo,postgres,redis" + (",cli" if _has_command() else "")
        beside = (examples / "support_agent.py",)

        def alone(trial: Trial, tell: Callable[[str], None]) -> None:
            trial.install(wheel)
            trial.play(examples / "three_days.py", says="found afterwards: 10")
            tell("three_days.py")
            if typed:
                trial.check_types(TYPED)
                tell("mypy --strict")

        def with_extras(trial: Trial, tell: Callable[[str], None]) -> None:
            trial.install(wheel, extras)
            trial.play(examples / "two_frameworks.py", says="Resolved turns", beside=beside)
            tell("two_frameworks.py")
            if _has_command():
                run([trial.python.with_name("onrecord"), "--help"], cwd=trial.folder)
                tell("onrecord --help")
            if typed:
                trial.check_types(TYPED_WITH)
                tell("mypy --strict")

        for name, work in (("alone", alone), (f"with [{extras}]", with_extras)):
            place = self.folder / f"python {version} {name.partition(' ')[0]}"
            with self.step(f"Python {version}, {name}") as tell:
                try:
                    work(Trial(place, python, self.constraints), tell)
                finally:
                    shutil.rmtree(place, ignore_errors=True)


def _same(first: list[Path], second: list[Path]) -> None:
    for one, other in zip(first, second, strict=True):
        if (one.name, one.read_bytes()) != (other.name, other.read_bytes()):
            raise Failed(f"{one} and {other} are not the same bytes")


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else ""


def _constraints() -> str:
    """The versions that were tested, without their hashes: pip wants one for the wheel as well."""
    lock = (ROOT / "requirements" / "dev.txt").read_text(encoding="utf-8")
    return "\n".join(re.findall(r"^[^\s#].*?(?= \\$)", lock, re.M)) + "\n"


def _not_for_a_copy(folder: str, names: list[str]) -> set[str]:
    hidden = {name for name in names if name.startswith(".") and name != ".gitignore"}
    return hidden | {name for name in names if name in ("dist", "build", "__pycache__")}


def _has_command() -> bool:
    return "scripts" in project_of(ROOT)


def main() -> None:
    """Do all of it, and say how it went."""
    options = argparse.ArgumentParser(prog="make release", description=__doc__.partition(":")[0])
    options.add_argument("--dirty", action="store_true", help="build the files as they are")
    options.add_argument("--python", action="append", choices=pythons.VERSIONS, help="try this one")
    given = options.parse_args()
    if not given.dirty and not _git("rev-parse", "HEAD"):
        sys.exit("This is no checkout of git: say ARGS=--dirty to build the files as they are.")
    if not given.dirty and _git("status", "--porcelain"):
        sys.exit(
            "There are changes that are not committed, and a release is made of a commit. Commit "
            "them, or say ARGS=--dirty to try the files as they are."
        )
    project = project_of(ROOT)
    source = "the files as they are"
    if not given.dirty:
        source = f"commit {_git('rev-parse', '--short', 'HEAD')}"
    print(f"{project['name']} {project['version']}, from {source}\n")
    with tempfile.TemporaryDirectory(prefix="onrecord-release-") as folder:
        release = Release(Path(folder).resolve(), dirty=given.dirty)
        built = release.build_all()
        missing = []
        if built is not None:
            release.check(*built)
            for version in given.python or pythons.VERSIONS:
                if (python := pythons.find(version)) is not None:
                    release.try_out(built[0], version, python)
                else:
                    missing.append(version)
                    print(f"  -  Python {version}: not found on PATH, of pyenv or of uv: not tried")
        _finish(release, built, missing)


def _finish(release: Release, built: tuple[Path, Path] | None, missing: list[str]) -> None:
    print()
    if release.failed or built is None:
        sys.exit(f"Not ready: {'; '.join(release.failed)}. dist/ is as it was.")
    DIST.mkdir(exist_ok=True)
    for file in built:
        shutil.copy(file, DIST)
        print(f"dist/{file.name}\n    sha256 {hashlib.sha256(file.read_bytes()).hexdigest()}")
    if missing:
        print(f"\nNot tried, because it is not on this machine: Python {', '.join(missing)}.")
    if release.dirty:
        print("\nThese are of files that are in no commit: for trying only.")
    print("\nAll is well. Nothing was uploaded.")


if __name__ == "__main__":
    main()
