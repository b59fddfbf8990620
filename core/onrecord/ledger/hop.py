"""A call out of an event loop into a thread, and its answer back."""

from __future__ import annotations

import asyncio
import atexit
import logging
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import Final, TypeVar

from onrecord.processes import on_fork

A = TypeVar("A")
T = TypeVar("T")

log = logging.getLogger("onrecord")


async def hop(threads: Threads, do: Callable[[A], T], given: A) -> T:
    """Do it in one of the threads; where the task is cancelled before it has begun, not at all."""
    loop = asyncio.get_running_loop()
    answered: asyncio.Future[T] = loop.create_future()
    threads.submit(partial(_do_for, loop, answered, do, given))
    return await answered


class Threads:
    """Threads that wait for calls: made as they are needed, at most so many.

    A ThreadPoolExecutor makes a future with a condition for each call, and counts who is idle by
    another condition: a tenth of the processor's time of a tail that hops.
    """

    def __init__(self, most: int, name: str) -> None:
        self._most = most
        self._name = name
        # Of simple queues every operation is one step of C, so that no thread waits for another.
        self._calls: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._idle: SimpleQueue[None] = SimpleQueue()
        self._made: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._shut = False
        _all.add(self)
        on_fork(self, in_child=Threads._forget)

    def submit(self, call: Callable[[], object]) -> None:
        """Have it called, soon; RuntimeError where no more calls are taken."""
        with self._lock:
            if self._shut:
                raise RuntimeError("these threads take no more calls")
            try:
                self._idle.get_nowait()
            except Empty:
                if len(self._made) < self._most:
                    self._make_one()
            self._calls.put(call)

    def shut(self) -> None:
        """Take no more calls, and wait until those that were taken are done."""
        with self._lock:
            self._shut = True
            self._dismiss()
        for thread in self._made:
            thread.join()

    def __del__(self) -> None:
        self._dismiss()

    def _make_one(self) -> None:
        # A daemon, because Python joins others before anybody can tell them to end.
        thread = threading.Thread(
            target=_serve,
            args=(self._calls, self._idle),
            name=f"{self._name}_{len(self._made)}",
            daemon=True,
        )
        thread.start()
        self._made.append(thread)

    def _dismiss(self) -> None:
        for _ in self._made:
            self._calls.put(None)

    def _forget(self) -> None:
        """In a child after fork: the threads are the parent's."""
        self._lock, self._made, self._shut = threading.Lock(), [], True


_all: Final[weakref.WeakSet[Threads]] = weakref.WeakSet()


@atexit.register
def _shut_all() -> None:
    """Before Python ends: what was begun is done, as by an executor's threads."""
    for threads in list(_all):
        threads.shut()


def _serve(calls: SimpleQueue[Callable[[], object] | None], idle: SimpleQueue[None]) -> None:
    while (call := calls.get()) is not None:
        try:
            call()
        except BaseException:  # whatever it was: the next call needs the thread
            log.exception("a call out of an event loop failed, and nobody was told")
        del call  # it may be the last that knows of a store
        idle.put(None)


def _do_for(
    loop: asyncio.AbstractEventLoop, answered: asyncio.Future[T], do: Callable[[A], T], given: A
) -> None:
    """Do what a loop asked for, and tell it what came of it."""
    if answered.cancelled():
        return
    with suppress(RuntimeError):  # the loop was closed meanwhile: nobody is left to hear
        try:
            answer = do(given)
        except BaseException as fault:  # whatever it was, it is for who asked
            loop.call_soon_threadsafe(_fail, answered, fault)
        else:
            loop.call_soon_threadsafe(_answer, answered, answer)


def _answer(answered: asyncio.Future[T], answer: T) -> None:
    if not answered.done():  # cancelled meanwhile
        answered.set_result(answer)


def _fail(answered: asyncio.Future[T], fault: BaseException) -> None:
    if not answered.done():
        answered.set_exception(fault)
