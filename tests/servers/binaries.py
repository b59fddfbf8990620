"""Where a server comes from: a URL, binaries on this machine, or a wheel that carries them."""

import importlib.util
import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from .process import run_as, server_user


@dataclass(frozen=True)
class External:
    """A server that somebody else runs."""

    url: str = field(repr=False)
    variable: str


@dataclass(frozen=True)
class Binaries:
    """Programs we can run a server of our own from."""

    server: Path
    version: str
    origin: str
    # In a wheel: the folder it is installed in, and the names in there that belong to the server.
    installed_in: Path | None = None
    parts: tuple[str, ...] = ()
    copy: bool = False

    def usable_in(self, folder: Path) -> Path:
        """The folder of the programs; copied to `folder` if the server's user cannot reach them."""
        if not self.copy or self.installed_in is None:
            return self.server.parent
        copied = folder / "programs"
        for part in self.parts:
            # Side by side as they were, because the libraries are found by relative paths.
            shutil.copytree(
                self.installed_in / part,
                copied / part,
                symlinks=True,
                ignore=shutil.ignore_patterns("include", "*.a", "__pycache__"),
            )
        if (user := server_user()) is not None:
            for path in (copied, *copied.rglob("*")):
                os.chown(path, user.pw_uid, user.pw_gid, follow_symlinks=False)
        return copied / self.server.parent.relative_to(self.installed_in)


@dataclass(frozen=True)
class Missing:
    reason: str


def wheels_only() -> bool:
    """ONRECORD_TEST_BINARIES=wheels: as on a machine that has no servers installed."""
    return os.environ.get("ONRECORD_TEST_BINARIES") == "wheels"


def package_folder(package: str) -> Path | None:
    """Where a package is installed, without importing it."""
    spec = importlib.util.find_spec(package)
    return Path(spec.origin).parent if spec and spec.origin else None


def from_machine(servers: Iterable[Path]) -> Binaries | None:
    """The first of these that the server's user can run."""
    for server in servers:
        try:
            version = _version(server)
        except OSError:
            continue
        return Binaries(server, version, origin=str(server.parent))
    return None


def from_wheel(wheel: str, package: str, pattern: str) -> Binaries | None:
    """The newest server in an installed wheel."""
    folder = package_folder(package)
    if folder is None:
        return None
    found = []
    for server in folder.glob(pattern):
        try:
            # As ourselves: whether the server's user can reach it is another question.
            version = run_as(None, [server, "--version"], cwd=Path("/"))
        except OSError:
            continue
        found.append((_number(version), server))
    if not found:
        return None
    version, server = max(found, key=lambda pair: [int(n) for n in pair[0].split(".")])
    try:
        _version(server)
        copy = False
    except OSError:
        copy = True
    # The installation the server is in, and the libraries that auditwheel puts beside the package.
    program = server.relative_to(folder.parent).parents[1]
    libraries = f"{package}.libs"
    parts = (str(program), *([libraries] if (folder.parent / libraries).is_dir() else []))
    return Binaries(server, version, f"the wheel {wheel}", folder.parent, parts, copy)


def _version(server: Path) -> str:
    """What a server says its version is, asked as the user it will run as."""
    return _number(run_as(server_user(), [server, "--version"], cwd=Path("/")))


def _number(text: str) -> str:
    match = re.search(r"\d+(\.\d+)+", text)
    if match is None:
        raise OSError(f"no version in {text!r}")
    return match[0]
