"""A function of somebody's that may be async, asked in both kinds of calls."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

from onrecord.errors import Misconfigured


class Asked:
    """A function, or an object that is called as one, with a sync and an async method."""

    def __init__(self, function: object, refusal: str, *, quick: bool = False) -> None:
        """
        function   of an object that can be called either way ``acall`` is awaited
        refusal    what is said where an async one is asked by sync code
        quick      it is ours and waits for nothing: no thread is needed for it
        """
        self._function: Any = function
        self._refusal = refusal
        self._quick = quick
        self._is_async = is_async(function)

    def refuse_async(self) -> None:
        """Refuse what nobody would await."""
        if self._is_async:
            raise Misconfigured(self._refusal)

    def ask(self, *given: Any) -> object:
        """Ask it."""
        self.refuse_async()
        return self._function(*given)

    async def aask(self, *given: Any) -> object:
        """Like ``ask``."""
        if self._is_async:
            return await self._function(*given)
        if (acall := getattr(self._function, "acall", None)) is not None:
            return await acall(*given)
        if self._quick:
            return self._function(*given)
        # In a thread: it waits for a model, and the loop has others to serve.
        answer = await asyncio.to_thread(self._function, *given)
        return (await answer) if inspect.isawaitable(answer) else answer


def is_async(function: object) -> bool:
    """Whether what a function gives has to be awaited, as far as can be seen."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - an object may be called as well
    )


def text_in(answer: object, refusal: str, *, may_be_empty: bool = False) -> str:
    """The text that was given; refused where it says nothing."""
    if isinstance(answer, str) and (may_be_empty or answer.strip()):
        return answer.strip()
    if inspect.iscoroutine(answer):
        answer.close()  # nobody will await it
    raise Misconfigured(refusal)
