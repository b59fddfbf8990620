"""``make failover`` says why it does nothing where it can do nothing. What it does takes minutes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.failover import cluster
from tests.servers.binaries import Missing
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


def test_it_says_that_patroni_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cluster, "find_postgres_binaries", lambda: cluster_of(tmp_path))
    monkeypatch.setattr("shutil.which", lambda name: sys.executable)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    found = cluster.find_programs()
    assert isinstance(found, Missing)
    if sys.platform.startswith("linux"):
        assert found.reason.startswith("no Patroni beside this Python")


def cluster_of(folder: Path) -> cluster.Binaries:
    """What looks like a whole PostgreSQL."""
    for name in cluster.PROGRAMS:
        (folder / name).touch()
    return cluster.Binaries(folder / "postgres", "15", "here")
