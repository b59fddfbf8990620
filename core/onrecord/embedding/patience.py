"""How long an embedder is waited for.

What has not come back in time goes on by itself, and its answer is nobody's. The embedder is not
asked again before it has come back, or the loop that waited for it has ended: one that hangs costs
one wait and one thread, not one for each search.
"""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime
from contextvars import copy_context
from threading import Thread
from typing import TypeVar

from onrecord.errors import EmbedderFailed

T = TypeVar("T")


class Patience:
    """Waits for the answers of one embedder, each until a time of the monotonic clock."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._late: list[Callable[[], bool]] = []
        """Each says whether it has come back."""

    def now(self, ask: Callable[[], T], until: float) -> T:
        """Ask, and wait in this thread. Where there is no end to it, it is asked in this thread
        too."""
        if until == math.inf:
            return ask()
        self._check()
        began = time.monotonic()
        answer, process = in_thread(ask), os.getpid()
        try:
            return answer.result(max(until - began, 0))
        except NotInTime:
            if answer.done():  # in this very moment, or the embedder has raised one itself
                return answer.result()
            # No thread lives on in a process that was forked.
            self._late.append(lambda: answer.done() or os.getpid() != process)
            raise self._failed(began) from None

    async def later(self, ask: Callable[[], Awaitable[T]], until: float) -> T:
        """Ask, and wait on the running loop."""
        if until == math.inf:
            return await ask()
        self._check()
        began = time.monotonic()
        answer = asyncio.ensure_future(ask())
        try:
            await asyncio.wait({answer}, timeout=max(until - began, 0))
        except asyncio.CancelledError:
            answer.cancel()
            raise
        if answer.done():
            return answer.result()
        answer.add_done_callback(_heard)
        self._late.append(lambda: answer.done() or answer.get_loop().is_closed())
        raise self._failed(began)

    def _check(self) -> None:
        """Refuse to ask where an answer is still out."""
        self._late = [is_back for is_back in self._late if not is_back()]
        if self._late:
            raise EmbedderFailed(
                f"The embedder {self._name!r} has not come back from what it was asked before, "
                f"and is not asked again until it has."
            )

    def _failed(self, began: float) -> EmbedderFailed:
        waited = time.monotonic() - began
        return EmbedderFailed(f"The embedder {self._name!r} has not answered for {waited:.1f} s.")


def in_thread(work: Callable[[], T]) -> Future[T]:
    """Begin some work in a thread of its own, in this context. Nobody waits for it at the end of
    the process."""
    answer: Future[T] = Future()
    context = copy_context()

    def whole() -> None:
        try:
            result = context.run(work)
        except BaseException as fault:  # whoever waits is told, whatever it is
            answer.set_exception(fault)
        else:
            answer.set_result(result)

    answer.set_running_or_notify_cancel()
    Thread(target=whole, name="onrecord embedder", daemon=True).start()
    return answer


def _heard(answer: asyncio.Future[T]) -> None:
    """Take note of an error that nobody waits for any more: else asyncio complains of it."""
    if not answer.cancelled():
        answer.exception()
