"""Steps that a run is still storing when its caller has gone.

LangGraph leaves them to the event loop when a run is cancelled, one after the other. Whoever asks
for the newest checkpoint then would go on from the one before, and be refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar
from weakref import WeakKeyDictionary

T = TypeVar("T")
Line = tuple[int, bytes, str]
"""Store, thread, namespace."""

_TICKS: Final = 8
"""How often the loop goes round until the next step has begun to be stored; LangGraph takes 3."""
_MOST: Final = 100
"""For how many steps somebody waits who reads while a run that nobody has cancelled goes on."""

_under_way: Final[
    WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Line, set[asyncio.Future[None]]]]
] = WeakKeyDictionary()


async def stored(line: Line, storing: Coroutine[Any, Any, T]) -> T:
    """Store a step to its end, also when nobody waits for it any more."""
    loop = asyncio.get_running_loop()
    task = loop.create_task(storing)
    over: asyncio.Future[None] = loop.create_future()
    lines = _under_way.setdefault(loop, {})
    lines.setdefault(line, set()).add(over)

    def end(ticks: int) -> None:
        if ticks:
            loop.call_soon(end, ticks - 1)
            return
        over.set_result(None)
        lines[line].discard(over)
        if not lines[line]:
            del lines[line]

    task.add_done_callback(lambda _: end(_TICKS))
    return await asyncio.shield(task)


async def settled(line: Line) -> None:
    """Wait until nothing of a line is being stored on this loop."""
    lines = _under_way.get(asyncio.get_running_loop())
    for _ in range(_MOST):
        if not lines or line not in lines:
            return
        await asyncio.wait(tuple(lines[line]))
