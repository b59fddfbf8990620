"""What an operation of a store did, how long it took, step by step, and who is told."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextvars import copy_context
from functools import partial
from typing import Any, ClassVar, Final, NamedTuple, TypeVar, assert_never

from onrecord.flow import Autocommit, Cold, Flow, Hot, InThread, Outside, Pause, Step, arun, run
from onrecord.stored.changes import Change, each_of

S = TypeVar("S")
T = TypeVar("T")
A = TypeVar("A")

log = logging.getLogger("onrecord")


class StepTaken(NamedTuple):
    """One step of an operation."""

    kind: str
    """``cache``, ``read``, ``write``, ``maintenance``, ``outside``, ``file`` or ``pause``."""
    seconds: float
    after: float
    """Seconds after the operation began, when the step did."""
    failed: str | None
    """The class of the error that it raised; None where it raised none."""


class Operation(NamedTuple):
    """One call of a method of a store, a session or a checkpoint log, as it begins."""

    name: str
    """As in ``operations.py``: ``append``, ``tail``, ``put_writes``."""
    arguments: Mapping[str, Any]
    """What its flow was given, by the names of its parameters. Contents are among it."""


class OperationDone(NamedTuple):
    """The same, when it has ended."""

    name: str
    seconds: float
    steps: tuple[StepTaken, ...]
    fault: BaseException | None
    """What it raised; None where it raised nothing."""
    answer: Any
    """What it returned. Contents are among it."""

    @property
    def failed(self) -> str | None:
        """The class of the error that it raised; None where it raised none."""
        return _class_of(self.fault)


class Observer:
    """Is told what a store does, in the thread that does it: it should be quick about it."""

    in_context: ClassVar[bool] = False
    """Whether it sets variables of context that work has to find in other threads, too."""

    def begun(self, operation: Operation) -> Observer:
        """An operation begins. Who is returned is told of its steps, its changes and its end."""
        return self

    def stepped(self, step: StepTaken, answer: Any) -> None:
        """A step has ended, with an answer where it did not fail."""

    def changed(self, change: Change) -> None:
        """A commit has changed a session. It stands, whatever becomes of its operation."""

    def done(self, done: OperationDone) -> None:
        """An operation has ended."""


class Watch:
    """Follows one operation, and tells the observers of it."""

    def __init__(self, operation: Operation, observers: Sequence[Observer]) -> None:
        self._name = operation.name
        self._steps: list[StepTaken] = []
        self._observers = [self._begin(observer, operation) for observer in observers]
        self._carries = any(observer.in_context for observer in self._observers)
        self._began = time.perf_counter()

    @classmethod
    def of(cls, flow: Flow[Any], observers: Sequence[Observer]) -> Watch:
        """Watch a flow that has not begun yet."""
        return cls(Operation(name_of(flow), arguments_of(flow)), observers)

    def run(self, flow: Flow[T], perform: Callable[[Step], Any]) -> T:
        """Drive a flow to its end in this thread."""
        return self.call(partial(run, flow, partial(self._performed, perform)))

    async def arun(self, flow: Flow[T], perform: Callable[[Step], Awaitable[Any]]) -> T:
        """Drive a flow to its end on the running loop."""
        return await self.acall(arun(flow, partial(self._aperformed, perform)))

    def call(self, work: Callable[[], T]) -> T:
        """Do what is no flow."""
        try:
            answer = work()
        except BaseException as fault:  # also an interrupt has ended it
            self._end(fault, None)
            raise
        self._end(None, answer)
        return answer

    async def acall(self, work: Coroutine[Any, Any, T]) -> T:
        """Like ``call``."""
        try:
            answer = await work
        except BaseException as fault:  # also a cancellation has ended it
            self._end(fault, None)
            raise
        self._end(None, answer)
        return answer

    def _performed(self, perform: Callable[[Step], Any], step: Step) -> Any:
        """Perform a step, note how long it took, and tell what it changed."""
        began = time.perf_counter()
        try:
            answer = perform(self._carried(step))
        except BaseException as fault:  # also an interrupt: it is noted, and goes on
            self._note(step, began, fault, None)
            raise
        self._note(step, began, None, answer)
        return answer

    async def _aperformed(self, perform: Callable[[Step], Awaitable[Any]], step: Step) -> Any:
        """Like ``_performed``."""
        began = time.perf_counter()
        try:
            answer = await perform(self._carried(step))
        except BaseException as fault:  # also a cancellation: it is noted, and goes on
            self._note(step, began, fault, None)
            raise
        self._note(step, began, None, answer)
        return answer

    def _carried(self, step: Step) -> Step:
        """The step, whose work finds the caller's context in whatever thread it is done: a hop
        into a pool takes none along, and a group commit is led by whoever came first."""
        if self._carries:
            if isinstance(step, Cold):
                return Cold(_here(step.work), step.writes, step.change_of, step.alone)
            if isinstance(step, Autocommit):
                return Autocommit(_here(step.work))
        return step

    def _note(self, step: Step, began: float, fault: BaseException | None, answer: Any) -> None:
        seconds = time.perf_counter() - began
        taken = StepTaken(_kind_of(step), seconds, began - self._began, _class_of(fault))
        self._steps.append(taken)
        for observer in self._observers:
            self._tell(observer.stepped, taken, answer)
        if fault is None and isinstance(step, Cold) and step.change_of is not None:
            for change in each_of(step.change_of(answer)):
                for observer in self._observers:
                    self._tell(observer.changed, change)

    def _end(self, fault: BaseException | None, answer: Any) -> None:
        seconds = time.perf_counter() - self._began
        done = OperationDone(self._name, seconds, tuple(self._steps), fault, answer)
        for observer in reversed(self._observers):
            self._tell(observer.done, done)

    def _begin(self, observer: Observer, operation: Operation) -> Observer:
        return self._tell(observer.begun, operation) or _NOBODY

    def _tell(self, told: Callable[..., S], *what: Any) -> S | None:
        try:
            return told(*what)
        except Exception:  # any: what was watched is done, and its caller is owed the answer
            log.exception("an observer of the store failed")
            return None


_NOBODY: Final = Observer()


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
    return name.removesuffix("_")


def arguments_of(flow: Flow[Any]) -> dict[str, Any]:
    """What a flow was given that has not begun yet, by the names of its parameters. Nobody has to
    hand them on beside it, and it costs nothing where nobody asks."""
    frame = getattr(flow, "gi_frame", None)  # every generator has one; their type says not
    return {} if frame is None else dict(frame.f_locals)


def _here(work: Callable[[A], T]) -> Callable[[A], T]:
    """The work, done in this context wherever that is."""
    context = copy_context()
    return lambda given: context.run(work, given)


def _class_of(fault: BaseException | None) -> str | None:
    return None if fault is None else type(fault).__qualname__


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
