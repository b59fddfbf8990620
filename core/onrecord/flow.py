"""A flow says what happens next; a driver decides how to wait.

A flow is a generator of coarse steps: ``Hot`` is one round trip to the cache, ``Cold`` is one
transaction in SQL, ``InThread`` is work with a file, ``Outside`` a question to an embedder. The
same flow serves sync and async callers, a test can drive one without a server, and every point at
which a process can die is the space between two steps.

A step is whole: never a single command. A flow never yields inside ``finally`` and is never
resumed after a cancellation. What is cut off simply stops, and what it left behind is what makes
that safe.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar, overload

if TYPE_CHECKING:
    from onrecord.cache.cache import Answer, CacheCalls
    from onrecord.ledger.database.transaction import Transaction
    from onrecord.stored.changes import Changed

T = TypeVar("T")
S = TypeVar("S")


class Hot(Generic[T]):
    """One round trip to the cache; the same call suits every kind of cache."""

    __slots__ = __match_args__ = ("call",)

    def __init__(self, call: Callable[[CacheCalls], Answer[T]]) -> None:
        self.call = call


class Cold(Generic[T]):
    """One transaction in SQL."""

    __match_args__ = ("work", "writes")
    __slots__ = ("alone", "change_of", "durable", "work", "writes")

    def __init__(
        self,
        work: Callable[[Transaction], T],
        writes: bool = False,
        change_of: Callable[[T], Changed] | None = None,
        alone: bool = False,
        durable: bool = True,
    ) -> None:
        self.work = work
        self.writes = writes
        self.alone = alone
        """Whether it reads by one statement, which is of one moment by itself."""
        self.durable = durable
        """Whether its commit waits for the disk. What does not may be lost with the machine's
        power, and all that was committed after it is lost with it."""
        self.change_of = change_of
        """What its answer says was changed of sessions; asked only where somebody watches."""


class Autocommit(Generic[T]):
    """Statements in SQL that each stand alone, for as long as they take: maintenance."""

    __match_args__ = ("work",)
    __slots__ = ("seconds_as_it_is", "work")

    def __init__(
        self, work: Callable[[Transaction], T], seconds_as_it_is: float | None = None
    ) -> None:
        self.work = work
        self.seconds_as_it_is = seconds_as_it_is
        """How long it may take to look at the database as it is found: it changes nothing, and no
        table is made or migrated before it. None for work on a database that was opened."""


class InThread(Generic[T]):
    """Work with neither cache nor database that may take long: a file's."""

    __slots__ = __match_args__ = ("work",)

    def __init__(self, work: Callable[[], T]) -> None:
        self.work = work


class Outside(Generic[T]):
    """A question to something that is neither cache nor database, as an embedder: it may take
    long, and is asked in no transaction. It has a way for threads and one for loops."""

    __slots__ = __match_args__ = ("ask", "aask")

    def __init__(self, ask: Callable[[], T], aask: Callable[[], Awaitable[T]]) -> None:
        self.ask = ask
        self.aask = aask


class Pause:
    """A while in which nothing is done."""

    __slots__ = __match_args__ = ("seconds",)

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds


Step: TypeAlias = "Hot[Any] | Cold[Any] | Autocommit[Any] | InThread[Any] | Outside[Any] | Pause"
Flow: TypeAlias = Generator[Step, Any, T]


@overload
def do(step: Pause) -> Flow[None]: ...
@overload
def do(step: Hot[T] | Cold[T] | Autocommit[T] | InThread[T] | Outside[T]) -> Flow[T]: ...
def do(step: Any) -> Flow[Any]:
    """Yield one step and return its answer, typed."""
    answer = yield step
    return answer


def run(flow: Generator[S, Any, T], perform: Callable[[S], Any]) -> T:
    """Drive a flow to its end in this thread."""
    try:
        step = next(flow)
        while True:
            try:
                answer = perform(step)
            except Exception as fault:  # the flow decides what its failed step means
                step = flow.throw(fault)
            else:
                step = flow.send(answer)
    except StopIteration as end:
        result: T = end.value
        return result
    finally:
        flow.close()


async def arun(flow: Generator[S, Any, T], perform: Callable[[S], Awaitable[Any]]) -> T:
    """Drive a flow to its end on the running loop. A cancellation ends it where it is."""
    try:
        step = next(flow)
        while True:
            try:
                answer = await perform(step)
            except Exception as fault:  # the flow decides what its failed step means
                step = flow.throw(fault)
            else:
                step = flow.send(answer)
    except StopIteration as end:
        result: T = end.value
        return result
    finally:
        flow.close()
