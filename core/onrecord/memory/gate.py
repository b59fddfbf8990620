"""One at a time, whether they wait in threads or on event loops.

A lock of threads, held across an ``await``, would stop the loop whose task has to give it back; a
lock of asyncio belongs to one loop.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from concurrent.futures import Future


class Gate:
    """Lets one in at a time. Who was let in says ``leave``; it never waits."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Future[None], asyncio.AbstractEventLoop | None]] = deque()
        self._inside = False
        self._loop: asyncio.AbstractEventLoop | None = None
        """On which whoever is inside goes on; None for a thread."""

    def enter(self) -> bool:
        """Wait until nobody is inside. False where that needs this very thread, which therefore
        cannot wait: a task of the loop that runs in it is inside."""
        here = _running_loop()
        with self._lock:
            if not self._inside:
                self._inside, self._loop = True, None
                return True
            if here is not None and here is self._loop:
                return False
            turn: Future[None] = Future()
            if here is None:
                self._waiting.append((turn, None))
            else:  # before the tasks of this loop: it stands still until this is over
                self._waiting.appendleft((turn, None))
        try:
            turn.result()
        except BaseException:  # Ctrl-C: whoever is let in and is gone would let nobody in again
            self._give_up(turn)
            raise
        return True

    async def aenter(self) -> bool:
        """Like ``enter``, on the running loop, where everybody can wait."""
        loop = asyncio.get_running_loop()
        with self._lock:
            if not self._inside:
                self._inside, self._loop = True, loop
                return True
            turn: Future[None] = Future()
            self._waiting.append((turn, loop))
        try:
            await asyncio.wrap_future(turn)
        except asyncio.CancelledError:
            self._give_up(turn)
            raise
        return True

    def _give_up(self, turn: Future[None]) -> None:
        if not turn.cancel():  # let in at the same moment
            self.leave()

    def leave(self) -> None:
        """Let the next one in."""
        with self._lock:
            while self._waiting:
                turn, loop = self._waiting.popleft()
                gone = loop is not None and loop.is_closed()
                if not gone and turn.set_running_or_notify_cancel():
                    self._loop = loop
                    turn.set_result(None)
                    return
            self._inside, self._loop = False, None


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
