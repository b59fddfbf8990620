"""Builds the site into build/site, with warnings as errors, and checks every link of it.

python -m scripts.site
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Final

from scripts.site.links import faults
from scripts.site.outside import ROOT

SITE: Final = ROOT / "build/site"


def main() -> int:
    """Build, check, and say where it is."""
    # With --quiet MkDocs would not count its own warnings, and --strict would let them pass.
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--clean"],
        cwd=ROOT,
        # The theme's makers advertise what comes after MkDocs at each build.
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )
    if built.returncode:
        print(*(line for line in built.stdout.splitlines() if "INFO" not in line), sep="\n")
        return built.returncode
    wrong = list(faults(SITE))
    for line in wrong:
        print(line)
    if wrong:
        print(f"{len(wrong)} links are wrong.")
        return 1
    pages = sum(1 for _ in SITE.rglob("*.html"))
    print(f"{pages} pages, every link checked. To look at them:")
    print(f"    python3 -m http.server --directory {SITE.relative_to(ROOT)} --bind 127.0.0.1")
    return 0


if __name__ == "__main__":
    sys.exit(main())
