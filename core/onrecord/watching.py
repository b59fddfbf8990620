"""How long an operation of a store took, step by step, and who is told."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Any, NamedTuple, assert_never

from onrecord.flow import Autocommit, Cold, Flow, Hot, InThread, Pause, Step

log = logging.getLogger("onrecord")


class StepTaken(NamedTuple):
    """One step of an operation."""

    kind: str
    """``cache``, ``read``, ``write``, ``maintenance``, ``file`` or ``pause``."""
    seconds: float


class OperationDone(NamedTuple):
    """One call of a method of a store, a session or a checkpoint log, when it has ended."""

    name: str
    """As in ``operations.py``: ``append``, ``tail``, ``put_writes``."""
    seconds: float
    steps: tuple[StepTaken, ...]
    failed: str | None
    """The class of the error that it raised; None where it raised none."""


Observer = Callable[[OperationDone], None]


class Watch:
    """Times one operation, and tells the observers when it has ended."""

    def __init__(self, name: str, observers: Sequence[Observer]) -> None:
        self._name = name
        self._observers = observers
        self._steps: list[StepTaken] = []
        self._began = 0.0

    def __enter__(self) -> Watch:
        self._began = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: object, trace: TracebackType | None
    ) -> None:
        seconds = time.perf_counter() - self._began
        failed = None if kind is None else kind.__name__
        done = OperationDone(self._name, seconds, tuple(self._steps), failed)
        for observer in self._observers:
            try:
                observer(done)
            except Exception:  # any: what was watched is done, and its caller is owed the answer
                log.exception("an observer of the store failed")

    def timed(self, perform: Callable[[Step], Any]) -> Callable[[Step], Any]:
        """Perform a step, and note how long it took."""

        def performed(step: Step) -> Any:
            began = time.perf_counter()
            try:
                return perform(step)
            finally:
                self._note(step, began)

        return performed

    def atimed(self, perform: Callable[[Step], Awaitable[Any]]) -> Callable[[Step], Awaitable[Any]]:
        """Like ``timed``."""

        async def performed(step: Step) -> Any:
            began = time.perf_counter()
            try:
                return await perform(step)
            finally:
                self._note(step, began)

        return performed

    def _note(self, step: Step, began: float) -> None:
        self._steps.append(StepTaken(_kind_of(step), time.perf_counter() - began))


class SlowLog:
    """Logs the operations that take longer than so many seconds, with their steps."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __call__(self, done: OperationDone) -> None:
        if done.seconds >= self._seconds:
            steps = ", ".join(f"{step.kind} {step.seconds:.3f}" for step in done.steps)
            ended = "" if done.failed is None else f" and raised {done.failed}"
            log.warning("%s took %.3f s%s: %s", done.name, done.seconds, ended, steps or "no step")


def name_of(flow: Flow[Any]) -> str:
    """The name of a flow, as ``operations.py`` has it."""
    name: str = getattr(flow, "__name__", "flow")  # every generator has one; their type says not
    return name


def _kind_of(step: Step) -> str:
    match step:
        case Hot():
            return "cache"
        case Cold(_, writes):
            return "write" if writes else "read"
        case Autocommit():
            return "maintenance"
        case InThread():
            return "file"
        case Pause():
            return "pause"
        case _:
            assert_never(step)
