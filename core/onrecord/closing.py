"""How a store and the memories over it are closed: at the end of a ``with`` block, and after all
who hold words back have written them."""

from __future__ import annotations

import asyncio
import itertools
import logging
import weakref
from collections.abc import Awaitable, Callable
from inspect import ismethod
from typing import Any, Final, Protocol, Self, TypeAlias

Do: TypeAlias = Callable[[], object]
ADo: TypeAlias = Callable[[], Awaitable[object]]

log = logging.getLogger("onrecord")


class _Closes(Protocol):
    def close(self) -> None: ...
    async def aclose(self) -> None: ...


class ClosedAtEnd:
    """What the end of a ``with`` block closes."""

    __slots__ = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self: _Closes, *exc: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self: _Closes, *exc: object) -> None:
        await self.aclose()


class BeforeClose:
    """What is called before a store is closed, in the order in which it was asked for."""

    def __init__(self) -> None:
        self._numbers: Final = itertools.count()
        # A dict: listing its values is one step, whatever other threads do meanwhile.
        self._asked: Final[dict[int, tuple[Callable[[], Any], Callable[[], Any]]]] = {}

    def add(self, do: Do, ado: ADo | None) -> None:
        """Call these. A bound method is let go of with its object."""
        number, asked = next(self._numbers), self._asked

        def gone(_: object) -> None:
            asked.pop(number, None)

        asked[number] = (_held(do, gone), _held(ado, gone))

    def tell(self) -> None:
        """Call all; then raise the first error, and log the others."""
        faults: list[Exception] = []
        for held, _ in list(self._asked.values()):
            if (do := held()) is not None:
                try:
                    do()
                except Exception as fault:  # any: the others have something to write as well
                    faults.append(fault)
        _raise(faults)

    async def atell(self) -> None:
        """Like ``tell``: what has no twin is called in a thread."""
        faults: list[Exception] = []
        for held, aheld in list(self._asked.values()):
            do, ado = held(), aheld()
            try:
                if ado is not None:
                    await ado()
                elif do is not None:
                    await asyncio.to_thread(do)
            except Exception as fault:  # any: the others have something to write as well
                faults.append(fault)
        _raise(faults)


def _held(do: Callable[[], Any] | None, gone: Callable[[object], None]) -> Callable[[], Any]:
    return weakref.WeakMethod(do, gone) if ismethod(do) else lambda: do


def _raise(faults: list[Exception]) -> None:
    for fault in faults[1:]:
        log.error("not written before the store was closed: %s", fault)
    if faults:
        raise faults[0]
