"""The file of a SQLite database, and the disk that it is on. Nothing here asks the database."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Final, NamedTuple

_MOUNTS: Final = Path("/proc/self/mountinfo")
_BESIDE: Final = ("", "-wal", "-shm")
_OCTAL: Final = re.compile(r"\\([0-7]{3})")


class Place(NamedTuple):
    """What the disk says of a database's file."""

    file: str
    folder: str
    free: int
    """Bytes that this user may still write there."""
    size: int
    """Of the file, 0 where there is none yet."""
    log_size: int
    """Of its write-ahead log."""
    refused: tuple[str, ...]
    """Which of the folder and the files cannot be written to."""
    kind: str | None
    """The type of the file system; None where it cannot be told."""


def place_of(file: str) -> Place | None:
    """Look at the disk; None where the folder is not there."""
    folder = os.path.dirname(file)
    if not os.path.isdir(folder):
        return None
    return Place(
        file,
        folder,
        shutil.disk_usage(folder).free,
        _size(file),
        _size(f"{file}-wal"),
        tuple(_refused(file, folder)),
        file_system(folder, _mounts()),
    )


def file_system(folder: str, mounts: str) -> str | None:
    """The type of the file system that a folder is on, as Linux lists what is mounted."""
    real, longest = os.path.realpath(folder), ""
    kind: str | None = None
    for line in mounts.splitlines():
        before, _, behind = line.partition(" - ")
        fields, types = before.split(" "), behind.split(" ")
        if len(fields) < 5 or not types[0]:
            continue
        where = _OCTAL.sub(lambda found: chr(int(found[1], 8)), fields[4])
        inside = where == "/" or real == where or real.startswith(f"{where}/")
        if inside and len(where) >= len(longest):  # of two in one place the later one is seen
            longest, kind = where, types[0]
    return kind


def _mounts() -> str:
    try:
        return _MOUNTS.read_text("utf-8", "replace")
    except OSError:  # not Linux
        return ""


def _refused(file: str, folder: str) -> list[str]:
    refused = [] if os.access(folder, os.W_OK | os.X_OK) else [folder]
    for name in (f"{file}{end}" for end in _BESIDE):
        if os.path.exists(name) and not os.access(name, os.R_OK | os.W_OK):
            refused.append(name)
    return refused


def _size(file: str) -> int:
    try:
        return os.stat(file).st_size
    except OSError:
        return 0
