"""A breaker: after several failures nobody waits for Redis until one try has succeeded."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

log = logging.getLogger("onrecord")


class Breaker:
    """Closed while all is well. Open, it lets one caller try every so often."""

    def __init__(
        self, pause: float, most: int = 3, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._pause = pause
        self._most = most
        self._failures = 0
        self._clock = clock
        self._lock = threading.Lock()
        self._next_try: float | None = None

    @property
    def well(self) -> bool:
        """Whether nothing has failed since something last succeeded: then nobody has to ask it."""
        return not self._failures

    @property
    def open(self) -> bool:
        """Whether Redis is being left alone."""
        return self._next_try is not None

    def allows(self) -> bool:
        """Whether this caller may try."""
        if self._next_try is None:
            return True
        with self._lock:
            now = self._clock()
            if self._next_try is None or now < self._next_try:
                return self._next_try is None
            self._next_try = now + self._pause  # the others wait for how this one fares
            return True

    def failed(self, why: object) -> bool:
        """A call failed; one alone may be a stall of anybody's. Whether that opens the breaker,
        of which one log line tells."""
        with self._lock:
            self._failures += 1
            if self._failures < self._most:
                return False
            opens = self._next_try is None
            self._next_try = self._clock() + self._pause
        if opens:
            log.warning("the cache is left alone for now, reads go to the database: %s", why)
        return opens

    def succeeded(self) -> bool:
        """A call succeeded. Whether that closes the breaker."""
        if self._next_try is None and not self._failures:
            return False
        with self._lock:
            self._failures = 0
            closes = self._next_try is not None
            self._next_try = None
        if closes:
            log.warning("the cache is back")
        return closes
