"""Which of the Pythons that Onrecord is for are on this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

VERSIONS: Final = ("3.11", "3.12", "3.13", "3.14")
"""Those that requirements/ is locked for."""
_ASK: Final = "import ensurepip, sys, venv; print('%d.%d' % sys.version_info[:2])"


def find(version: str) -> Path | None:
    """A Python of this version that can make environments: from PATH, of pyenv, or of uv."""
    return next((python for python in _candidates(version) if is_usable(python, version)), None)


def is_usable(python: Path, version: str) -> bool:
    """Whether it runs, is what it is called, and can make environments."""
    try:
        told = subprocess.run(
            [python, "-c", _ASK], capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return told.returncode == 0 and told.stdout.strip() == version


def _candidates(version: str) -> Iterator[Path]:
    for folder in os.get_exec_path():
        for name in (f"python{version}", "python3", "python"):
            if found := shutil.which(name, path=folder):
                yield Path(found)
    pyenv = os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv"
    versions = Path(pyenv, "versions")
    yield from sorted(versions.glob(f"{version}.*/bin/python"), key=_patch, reverse=True)
    if uv := shutil.which("uv"):
        command = [uv, "python", "find", "--no-python-downloads", version]
        told = subprocess.run(command, capture_output=True, text=True, check=False)
        if told.returncode == 0:
            yield Path(told.stdout.strip())


def _patch(python: Path) -> tuple[int, ...]:
    return tuple(int(part) for part in python.parts[-3].split(".") if part.isdigit())
