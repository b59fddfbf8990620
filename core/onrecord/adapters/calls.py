"""What adapters share, whichever framework they are for.

Frameworks want sync and async methods on one object. An adapter writes what it does with
sessions once, as a generator of calls, and has two one-line shells over it:

    def _said(self, messages) -> Talk[list[Message]]:
        version = yield from call(self.session, "version")
        return (yield from call(self.session, "append", messages, expected=version))

    def add(self, messages): return talk(self._said(messages))
    async def aadd(self, messages): return await atalk(self._said(messages))
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, NamedTuple, TypeAlias, TypeVar

from onrecord.flow import arun, run
from onrecord.flows.building import OnlyContent
from onrecord.flows.shared import lifetime

__all__ = ["Call", "OnlyContent", "Talk", "atalk", "call", "lifetime", "talk"]

T = TypeVar("T")


class Call(NamedTuple):
    """A method of something that has an a-prefixed twin of it."""

    on: Any
    method: str
    given: tuple[Any, ...]
    settings: dict[str, Any]


Talk: TypeAlias = Generator[Call, Any, T]


def call(on: Any, method: str, /, *given: Any, **settings: Any) -> Talk[Any]:
    """One call in a talk, and its answer."""
    return (yield Call(on, method, given, settings))


def talk(said: Talk[T]) -> T:
    """Lead a talk to its end in this thread."""
    return run(said, lambda c: getattr(c.on, c.method)(*c.given, **c.settings))


async def atalk(said: Talk[T]) -> T:
    """Like ``talk``, by the a-prefixed twins."""
    return await arun(said, lambda c: getattr(c.on, f"a{c.method}")(*c.given, **c.settings))
