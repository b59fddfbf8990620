"""A call out of an event loop into a thread, and its answer back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

A = TypeVar("A")
T = TypeVar("T")


async def hop(threads: ThreadPoolExecutor, do: Callable[[A], T], given: A) -> T:
    """Do it in one of the threads; where the task is cancelled before it has begun, not at all.

    As run_in_executor() does it, without the second future that it ties to the first: a fifth of
    a hop.
    """
    loop = asyncio.get_running_loop()
    answered: asyncio.Future[T] = loop.create_future()
    doing = threads.submit(_do_for, loop, answered, do, given)
    try:
        return await answered
    except asyncio.CancelledError:
        doing.cancel()
        raise


def _do_for(
    loop: asyncio.AbstractEventLoop, answered: asyncio.Future[T], do: Callable[[A], T], given: A
) -> None:
    """Do what a loop asked for, and tell it what came of it. Where it was closed meanwhile nobody
    is left to hear, and that it says so goes into a future that nobody asks."""
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
