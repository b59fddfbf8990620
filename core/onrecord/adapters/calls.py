"""Write an adapter's calls of a session once, for sync and async.

Frameworks want sync and async methods on one object. An adapter writes what it does with
sessions once, as a generator of calls, and has two one-line shells over it:

    def _said(self, messages) -> Talk[list[Message]]:
        version = yield from call(self.session.version)
        return (yield from call(self.session.append, messages, expected=version))

    def add(self, messages): return talk(self._said(messages))
    async def aadd(self, messages): return await atalk(self._said(messages))
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, NamedTuple, ParamSpec, TypeAlias, TypeVar

from onrecord.flow import arun, run
from onrecord.flows.building import OnlyContent

__all__ = ["Call", "OnlyContent", "Talk", "atalk", "call", "talk"]

P = ParamSpec("P")
T = TypeVar("T")


class Call(NamedTuple):
    """A bound method that has an a-prefixed twin, and its arguments."""

    method: Callable[..., Any]
    given: tuple[Any, ...]
    settings: dict[str, Any]

    @property
    def twin(self) -> Callable[..., Any]:
        """The method's a-prefixed twin."""
        method: Any = self.method
        on: object = method.__self__
        twin: Callable[..., Any] = getattr(on, f"a{_name_in(type(on), method.__func__)}")
        return twin


def _name_in(cls: type, function: Callable[..., Any]) -> str:
    """Find the name under which a function stands in a class. It may have another name of its
    own: whoever traces calls puts one in its place."""
    own: str = function.__name__
    if getattr(cls, own, None) is function:
        return own
    for base in cls.__mro__:
        for name, there in vars(base).items():
            if there is function:
                return name
    return own


Talk: TypeAlias = Generator[Call, Any, T]
"""What an adapter does, as calls of methods: ``talk`` leads it in a thread, ``atalk`` on a loop."""


def call(method: Callable[P, T], /, *given: P.args, **settings: P.kwargs) -> Talk[T]:
    """Call a method, or its twin where the talk is led on a loop, and return its answer."""
    answer: T = yield Call(method, given, settings)
    return answer


def talk(said: Talk[T]) -> T:
    """Lead a talk to its end in this thread."""
    return run(said, lambda c: c.method(*c.given, **c.settings))


async def atalk(said: Talk[T]) -> T:
    """Like ``talk``, by the a-prefixed twins."""
    return await arun(said, lambda c: c.twin(*c.given, **c.settings))
