"""Where the tests write. In memory where that is possible: a suite that makes six hundred databases
took 6 minutes on a good disk and 36 on a bad one. Servers and processes are killed in these tests,
never the machine, so nothing is asked of the disk. TMPDIR puts it elsewhere."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

IN_MEMORY = Path("/dev/shm")
ENOUGH = 2 * 2**30
"""A run was seen to use 180 MB at most."""


def choose_folder() -> None:
    """For this process and those it starts."""
    if "TMPDIR" not in os.environ and _usable(IN_MEMORY):
        os.environ["TMPDIR"] = str(IN_MEMORY)
        tempfile.tempdir = None  # it has been looked up already


def _usable(folder: Path) -> bool:
    if sys.platform == "win32":
        return False
    try:
        found = os.statvfs(folder)
        memory = Path("/proc/meminfo").read_text()
    except OSError:
        return False
    available = next((line for line in memory.splitlines() if line.startswith("MemAvailable")), "")
    left = int(available.split()[1]) * 1024 if available else 0
    # Containers often have a small one, from which no program may be run.
    runs_programs = not found.f_flag & os.ST_NOEXEC
    room = min(found.f_bavail * found.f_frsize, left)
    return os.access(folder, os.W_OK) and runs_programs and room >= ENOUGH
