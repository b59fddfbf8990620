"""What an operation of a store did, how long it took, step by step, and who is told."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Any, NamedTuple, TypeVar, assert_never

from onrecord.flow import Autocommit, Cold, Flow, Hot, InThread, Outside, Pause, Step
from onrecord.stored.changes import Change

S = TypeVar("S")

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


class Observer:
    """Is told what a store does, in the thread that does it: it should be quick about it."""

    def changed(self, change: Change) -> None:
        """A commit has changed a session. It stands, whatever becomes of its operation."""

    def done(self, done: OperationDone) -> None:
        """An operation has ended."""


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
            self._tell(observer.done, done)

    def changed(self, change: Change) -> None:
        """Tell the observers what a commit has changed."""
        for observer in self._observers:
            self._tell(observer.changed, change)

    def timed(self, perform: Callable[[Step], Any]) -> Callable[[Step], Any]:
        """Perform a step, note how long it took, and tell what it changed."""

        def performed(step: Step) -> Any:
            began = time.perf_counter()
            try:
                answer = perform(step)
            finally:
                self._note(step, began)
            self._look(step, answer)
            return answer

        return performed

    def atimed(self, perform: Callable[[Step], Awaitable[Any]]) -> Callable[[Step], Awaitable[Any]]:
        """Like ``timed``."""

        async def performed(step: Step) -> Any:
            began = time.perf_counter()
            try:
                answer = await perform(step)
            finally:
                self._note(step, began)
            self._look(step, answer)
            return answer

        return performed

    def _look(self, step: Step, answer: Any) -> None:
        if isinstance(step, Cold) and step.change_of is not None:
            change = step.change_of(answer)
            if change is not None:
                self.changed(change)

    def _tell(self, told: Callable[[S], None], what: S) -> None:
        try:
            told(what)
        except Exception:  # any: what was watched is done, and its caller is owed the answer
            log.exception("an observer of the store failed")

    def _note(self, step: Step, began: float) -> None:
        self._steps.append(StepTaken(_kind_of(step), time.perf_counter() - began))


class SlowLog(Observer):
    """Logs the operations that take longer than so many seconds, with their steps."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def done(self, done: OperationDone) -> None:
        """Log it, if it was slow."""
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
        case Outside():
            return "outside"
        case InThread():
            return "file"
        case Pause():
            return "pause"
        case _:
            assert_never(step)
