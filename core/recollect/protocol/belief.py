"""What a process knows of the cache's state: on, in which generation, or off; and since when."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, NamedTuple

from recollect.ledger import generation


class Patience(NamedTuple):
    """How long is believed, tried and waited, in seconds. One for all processes of a store."""

    believed_for: float = 2.0
    """How long a process believes what it read of the cache's state."""
    marking: float = 0.5
    """How long a writer tries to mark before it switches the cache off."""
    resume_after: float = 10.0
    """How long the cache stays off, at the least; twice as long each time soon after."""

    @property
    def waits(self) -> float:
        """How long a writer who has switched the cache off waits: longer than anybody believes,
        on clocks whose rates differ by a tenth."""
        return 1.25 * self.believed_for + 0.5


_LONGEST_OFF: Final = 300.0


def _elapsed() -> float:
    """Seconds on a clock that goes on while the machine sleeps, where there is one."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


if not hasattr(time, "CLOCK_BOOTTIME"):
    _elapsed = time.monotonic


class Belief:
    """What this process knows of the cache's state, and since when."""

    def __init__(
        self, patience: Patience | None = None, clock: Callable[[], float] = _elapsed
    ) -> None:
        self.patience = patience or Patience()
        self.clock = clock
        self.forget()
        self._forgot_at = -float("inf")

    def forget(self) -> None:
        """Know nothing, as at the beginning; nor what is being asked at this moment."""
        self._forgot_at = self.clock()
        self._state: bytes | None = None
        self._asked = -float("inf")
        self._asking = -float("inf")
        self._off_since = 0.0
        self._resumed_at = -float("inf")
        self._off_for = self.patience.resume_after

    @property
    def known(self) -> bool:
        """Whether the database was ever asked."""
        return self._state is not None

    @property
    def on(self) -> bytes | None:
        """The generation that is believed in at this moment; None where there is none."""
        state = self._state
        if state is None or not generation.is_on(state):
            return None
        return state if self.clock() - self._asked < self.patience.believed_for else None

    @property
    def off(self) -> bytes | None:
        """The suspension that is known; None where the cache is on, or nothing is known."""
        state = self._state
        return state if state is not None and not generation.is_on(state) else None

    @property
    def waiting(self) -> float:
        """How much longer a writer without a mark has to wait."""
        return self._off_since + self.patience.waits - self.clock()

    @property
    def may_resume(self) -> bool:
        """Whether the cache has been off for long enough."""
        return self.off is not None and self.clock() - self._off_since >= self._off_for

    def asks(self) -> bool:
        """Whether it is time to ask again, and nobody is asking already."""
        now, half = self.clock(), self.patience.believed_for / 2
        if now - self._asked < half or (now - self._asking < half and self.on is not None):
            return False
        self._asking = now
        return True

    def doubt(self) -> None:
        """Ask again before anything else: what is known was just found to be outdated."""
        self._asked = self._asking = -float("inf")

    def learn(self, state: bytes, asked: float) -> None:
        """Note what the database said to somebody who asked at that time."""
        if asked < self._asked or asked < self._forgot_at:
            return  # somebody asked later and has been answered, or it is worth nothing any more
        was = self._state
        self._state, self._asked = state, asked
        if generation.is_on(state):
            if was is not None and not generation.is_on(was):
                self._resumed_at = self.clock()
        elif state != was:
            now = self.clock()
            self._off_since = now  # by this clock, from the answer on
            soon = now - self._resumed_at < 2 * self._off_for
            longer = min(2 * self._off_for, _LONGEST_OFF)
            self._off_for = longer if soon else self.patience.resume_after
