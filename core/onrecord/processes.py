"""Who has to be told that the process is forked: one hook for everything that asks here.

A lock that another thread of the parent holds at that moment is held in the child for ever,
and what that thread was changing stays half changed. So whatever has locks, sockets or threads
says here what is to be done about them.
"""

from __future__ import annotations

import itertools
import logging
import os
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeVar

T = TypeVar("T")

log = logging.getLogger("onrecord")


class _Told(NamedTuple):
    """Something that is told, and what it does then."""

    thing: weakref.ref[Any]
    before: Callable[[Any], object] | None
    in_parent: Callable[[Any], object] | None
    in_child: Callable[[Any], object] | None


# A dict and not a WeakSet: listing its values is one step, whatever other threads do meanwhile.
_told: Final[dict[int, _Told]] = {}
_numbers: Final = itertools.count()
_forking = threading.local()


def on_fork(
    thing: T,
    *,
    before: Callable[[T], object] | None = None,
    in_parent: Callable[[T], object] | None = None,
    in_child: Callable[[T], object] | None = None,
) -> None:
    """Call these with ``thing`` around each fork, for as long as others keep it alive.

    Before and in the child, first who asked first; in the parent afterwards the other way round.
    """
    number = next(_numbers)

    def gone(_: object, forget: Callable[..., object] = _told.pop) -> None:
        forget(number, None)

    _told[number] = _Told(weakref.ref(thing, gone), before, in_parent, in_child)


def _tell(do: Callable[[Any], object] | None, thing: object) -> None:
    if do is None:
        return
    try:
        do(thing)
    except Exception:  # any: the others still have to be told, and os.fork goes on regardless
        log.exception("something was not made ready for a fork: %s", type(thing).__name__)


def _before_fork() -> None:
    # Kept alive until after the fork: who was told of its beginning is told of its end.
    alive = [(told, told.thing()) for told in list(_told.values())]
    _forking.alive = [(told, thing) for told, thing in alive if thing is not None]
    for told, thing in _forking.alive:
        _tell(told.before, thing)


def _after_fork_in_parent() -> None:
    for told, thing in reversed(_forking.__dict__.pop("alive", [])):
        _tell(told.in_parent, thing)


def _after_fork_in_child() -> None:
    for told, thing in _forking.__dict__.pop("alive", []):
        _tell(told.in_child, thing)


if sys.platform != "win32":  # which has no fork
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
