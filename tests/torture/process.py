"""A worker as those who start it see it."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from tests.forked import Template
from tests.torture.settings import PATIENCE


class Process:
    """A worker that waits for an order."""

    def __init__(
        self, template: Template, folder: Path, number: int, work: str = "tests.torture.worker:work"
    ) -> None:
        self.name = f"w{number}"
        self.errors = folder / f"{self.name}.errors"
        with self.errors.open("wb") as errors:
            self.process = template.start(work, errors=errors.fileno())
        self.output = self.process.stdout.fileno()
        """Becomes readable when the process is gone."""

    def begin(self, order: dict[str, Any]) -> None:
        if self.process.stdout.readline() != b"ready\n":
            raise RuntimeError(f"a worker did not start:\n{self.errors.read_text()}")
        self.process.stdin.write(json.dumps(order | {"name": self.name}).encode() + b"\n")
        self.process.stdin.flush()

    def stop(self) -> None:
        """Ask it to end."""
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
        return self.process.close()

    def send(self, what: signal.Signals) -> None:
        """Send a signal, if it is still there."""
        self.process.send_signal(what)

    def stand_still(self) -> None:
        """Stop it where it is, and wait until it has stopped."""
        self.process.stand_still()
