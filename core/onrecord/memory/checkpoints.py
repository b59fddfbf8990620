"""Checkpoints: a running session is saved every so many calls of tools, or every so often."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from onrecord.adapters.calls import Talk, atalk, call, talk
from onrecord.arguments import check_above_zero, check_function, check_number
from onrecord.errors import Misconfigured
from onrecord.memory.system import MemorySystem
from onrecord.processes import on_fork

if TYPE_CHECKING:
    from onrecord.memory.working import WorkingMemory


@dataclass(slots=True)
class _Since:
    """What came since a session was saved last."""

    at: float
    calls: int = 0


class Checkpoints:
    """Saves what is at hand while an agent works: a kill loses at most what came since.

    Calls are counted for each session by itself, from any thread. Only a call saves: who waits
    for a user between two of them is saved at the next.
    """

    def __init__(
        self,
        system: MemorySystem,
        every_calls: int | None = 5,
        every_seconds: float | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        system         whose sessions are saved
        every_calls    after so many calls of tools; None not by their number
        every_seconds  at the first call after so many seconds; None not by time
        clock          tells seconds
        """
        if not isinstance(system, MemorySystem):
            raise Misconfigured(f"system has to be a MemorySystem, not a {type(system).__name__}.")
        if every_calls is None and every_seconds is None:
            raise Misconfigured("Say when to save: every_calls, every_seconds, or both.")
        if every_calls is not None:
            check_number("every_calls", every_calls, 1, 10**9)
        if every_seconds is not None:
            check_above_zero("every_seconds", every_seconds, 10**9)
        check_function("clock", clock, "a function that tells seconds", plain=True)
        self.system = system
        self.every_calls, self.every_seconds = every_calls, every_seconds
        self._clock = clock
        self._begin()
        on_fork(self, in_child=Checkpoints._begin)
        self._since: weakref.WeakKeyDictionary[WorkingMemory, _Since] = weakref.WeakKeyDictionary()

    def _begin(self) -> None:
        self._lock = threading.Lock()

    def on_tool_executed(self, session_id: str) -> bool:
        """Count a call, and save the session where it is time; whether it was saved now.

        A save that fails raises, and is tried again at the next call.
        """
        return talk(self._counted(session_id))

    async def aon_tool_executed(self, session_id: str) -> bool:
        """Like ``on_tool_executed``."""
        return await atalk(self._counted(session_id))

    def __repr__(self) -> str:
        return (
            f"Checkpoints({self.system!r}, every_calls={self.every_calls}, "
            f"every_seconds={self.every_seconds})"
        )

    def _counted(self, session_id: str) -> Talk[bool]:
        memory = self.system.memory_of(session_id)
        at = self._clock()
        with self._lock:
            since = self._since.setdefault(memory, _Since(at))
            since.calls += 1
            calls = since.calls
            if not self._is_time(calls, at - since.at):
                return False
        yield from call(self.system.save_session, session_id)
        with self._lock:
            since.at = at
            since.calls -= min(calls, since.calls)
        return True

    def _is_time(self, calls: int, seconds: float) -> bool:
        by_calls = self.every_calls is not None and calls >= self.every_calls
        return by_calls or (self.every_seconds is not None and seconds >= self.every_seconds)
