"""``make failover`` takes minutes; here it says why it does nothing where it can do nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.torture.settings import ROOT


def test_it_says_what_is_missing(tmp_path: Path) -> None:
    """No etcd, or what comes before it: PostgreSQL as a whole."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.failover"],
        cwd=ROOT,
        env=os.environ | {"PATH": str(tmp_path), "ONRECORD_TEST_BINARIES": "wheels"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.startswith("skipped: ")
    assert "apt install" in done.stdout or "no wheel" in done.stdout
