"""Waiting for what others do."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_for(what: Callable[[], T | None], seconds: float, named: str, log: Callable[[], str]) -> T:
    """What is there at last."""
    until = time.monotonic() + seconds
    while not (found := what()):
        if time.monotonic() > until:
            raise TimeoutError(f"waited {seconds:g} s in vain for {named}\n{log()}")
        time.sleep(0.1)
    return found
