"""A worker as those who start it see it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.torture.settings import PATIENCE, ROOT


class Process:
    """A worker that waits for an order."""

    def __init__(self, folder: Path, number: int, module: str = "tests.torture") -> None:
        self.name = f"w{number}"
        self.errors = folder / f"{self.name}.errors"
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, "work"],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,  # Ctrl-C is for the one who started them
            )

        assert self.process.stdout is not None
        self.output = self.process.stdout.fileno()
        """Becomes readable when the process is gone."""

    def begin(self, order: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        if self.process.stdout.readline() != b"ready\n":
            raise RuntimeError(f"a worker did not start:\n{self.errors.read_text()}")
        self.process.stdin.write(json.dumps(order | {"name": self.name}).encode() + b"\n")
        self.process.stdin.flush()

    def stop(self) -> None:
        """Ask it to end."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    def ended(self) -> int:
        """Wait for its end. Its exit code."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            self.send(signal.SIGCONT)  # it may have stopped itself, as it was told to
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(0.2)
                break
        return self.kill()

    def kill(self) -> int:
        if self.process.poll() is None:
            self.process.kill()
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.stdout.close()
        return self.process.wait()

    def send(self, what: signal.Signals) -> None:
        """Send a signal, if it is still there."""
        if self.process.poll() is None:
            self.process.send_signal(what)

    def stand_still(self) -> None:
        """Stop it where it is, and wait until it has stopped."""
        self.send(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
