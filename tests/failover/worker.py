"""A worker of ``tests.torture`` that writes down what its user would have seen."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from onrecord import Session, Turn, Unavailable
from tests.torture import worker

T = TypeVar("T")


class Worker(worker.Worker):
    """Notes each error that came out of a store, and how long the call had taken."""

    _last: Unavailable | None = None

    def call(self, sync: Callable[[], T], twin: Callable[[], Coroutine[Any, Any, T]]) -> T:
        began = time.monotonic_ns()
        try:
            answer = super().call(sync, twin)
        except Unavailable as fault:
            self._tell(fault, began, sync)
            raise
        if time.monotonic_ns() - began > 1_000_000_000:
            self.note(took=(time.monotonic_ns() - began) / 1e9)
        return answer

    @contextmanager
    def _turn_of(self, session: Session) -> Iterator[Turn]:
        began = time.monotonic_ns()
        try:
            with super()._turn_of(session) as turn:
                yield turn
        except Unavailable as fault:
            if fault is not self._last:
                self._tell(fault, began, super()._turn_of)
            raise

    def _tell(self, fault: Unavailable, began: int, what: Callable[..., Any]) -> None:
        self._last = fault
        now = time.monotonic_ns()
        self.note(
            fault=f"{getattr(what, '__qualname__', what)}: {fault}"[:400],
            unknown=fault.outcome_unknown,
            at=now,
            seconds=(now - began) / 1e9,
        )


def work() -> None:
    """Wait for an order, and follow it."""
    order = worker.wait_for_order()
    if order is not None:
        Worker(order).run(order["role"])
