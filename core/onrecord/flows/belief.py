"""What a process knows of the cache's state: on, in which generation, or off; and since when."""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

from onrecord.ledger.database import generation


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


_elapsed: Callable[[], float] = time.monotonic
"""Seconds on a clock that goes on while the machine sleeps, where there is one."""
if sys.platform == "linux":
    _elapsed = partial(time.clock_gettime, time.CLOCK_BOOTTIME)


class Suspended(NamedTuple):
    """A suspension of the cache, and when this process learned of it."""

    state: bytes
    since: float


class _Known(NamedTuple):
    """What is known at one moment: read and replaced as a whole, by any thread."""

    state: bytes | None = None
    on: bytes | None = None
    """The same, where the cache is on."""
    asked: float = -math.inf
    off_since: float = math.inf
    off_for: float = 0.0
    """For how long it stays off, before this process switches it on again."""
    resumed_at: float = -math.inf


class Belief:
    """What this process knows of the cache's state, and since when."""

    def __init__(
        self, patience: Patience | None = None, clock: Callable[[], float] = _elapsed
    ) -> None:
        self.patience = patience or Patience()
        self.clock = clock
        self.forget()
        self._forgot_at = -math.inf

    def forget(self) -> None:
        """Know nothing, as at the beginning; nor what is being asked at this moment."""
        self._lock = threading.Lock()
        self._forgot_at = self.clock()
        self._known = _Known()
        self._asking = -math.inf

    @property
    def known(self) -> bool:
        """Whether the database was ever asked."""
        return self._known.state is not None

    @property
    def on(self) -> bytes | None:
        """The generation that is believed in at this moment; None where there is none."""
        return self._on_for(self.patience.believed_for)

    @property
    def at_hand(self) -> bytes | None:
        """The same, while it is not time to ask again: then None."""
        return self._on_for(self.patience.believed_for / 2)

    def _on_for(self, seconds: float) -> bytes | None:
        known = self._known
        if known.on is None:
            return None
        return known.on if self.clock() - known.asked < seconds else None

    @property
    def off(self) -> Suspended | None:
        """The suspension that is known; None where the cache is on, or nothing is known."""
        known = self._known
        if known.state is None or generation.is_on(known.state):
            return None
        return Suspended(known.state, known.off_since)

    def waiting(self, since: float) -> float:
        """How much longer a writer without a mark waits who knows of a suspension since then."""
        return since + self.patience.waits - self.clock()

    @property
    def to_resume(self) -> bytes | None:
        """The suspension that has lasted for long enough; None where there is none."""
        known, off = self._known, self.off
        if off is None or self.clock() - off.since < known.off_for:
            return None
        return off.state

    def asks(self) -> bool:
        """Whether it is time to ask again, and nobody is asking already."""
        half = self.patience.believed_for / 2
        if self.clock() - self._known.asked < half:
            return False  # which is nearly always: without the lock, that all readers would share
        with self._lock:
            now = self.clock()
            if now - self._known.asked < half:
                return False
            if now - self._asking < half and self.on is not None:
                return False
            self._asking = now
            return True

    def doubt(self) -> None:
        """Ask again before anything else: what is known was just found to be outdated."""
        with self._lock:
            self._known = self._known._replace(asked=-math.inf)
            self._asking = -math.inf

    def learn(self, state: bytes, asked: float) -> None:
        """Note what the database said to somebody who asked at that time."""
        with self._lock:
            was, now = self._known, self.clock()
            if asked < was.asked or asked < self._forgot_at:
                return  # somebody asked later and was answered, or it is worth nothing any more
            on = state if generation.is_on(state) else None
            known = was._replace(state=state, on=on, asked=asked)
            if on is not None:
                if was.state is not None and not generation.is_on(was.state):
                    known = known._replace(resumed_at=now)
            elif state != was.state:
                # By this clock, from the answer on; longer if it was off not long ago.
                soon = now - was.resumed_at < 2 * was.off_for
                longer = min(2 * was.off_for, _LONGEST_OFF)
                off_for = longer if soon else self.patience.resume_after
                known = known._replace(off_since=now, off_for=off_for)
            self._known = known
