"""How a turn holds a session or a thread, and how what it writes is refused when it does not.

A holder says in the row that it holds, for a short time, again and again. What it writes goes
through only while the row names it, under the lock that whoever takes over needs as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar, assert_never

from onrecord.errors import Fenced, Unavailable
from onrecord.flow import Cold, Flow, Step, do
from onrecord.flows.shared import Desk
from onrecord.ledger.checkpoints import threads
from onrecord.ledger.sessions import sessions, turns
from onrecord.ledger.sessions.turns import Held, Other
from onrecord.scope import SessionName
from onrecord.stored.clock import MICROSECONDS, now
from onrecord.version import Version

if TYPE_CHECKING:
    from onrecord.ledger.database.transaction import Transaction

T = TypeVar("T")

__all__ = [
    "Held",
    "Lease",
    "Other",
    "fenced",
    "hold",
    "let_go",
    "refuse_other",
    "renew",
    "under",
    "while_held",
]


class Lease(NamedTuple):
    """What one holder holds, and for how long."""

    table: Held
    name: SessionName
    holder: bytes
    seconds: float

    @property
    def what(self) -> str:
        """What is held, in words."""
        return f"{'Session' if self.table == 'sessions' else 'Thread'} {self.name}"

    @property
    def microseconds(self) -> int:
        return int(self.seconds * MICROSECONDS)


_AROUND: Final[ContextVar[tuple[tuple[Desk, Lease], ...]]] = ContextVar(
    "onrecord_turns", default=()
)
"""The turns on threads around what runs now: a saver writes under them."""


@contextmanager
def under(desk: Desk, lease: Lease) -> Iterator[None]:
    """Have what is written to a thread while the block runs refused when the turn does not hold it
    any more; in whatever threads and tasks begin there, too."""
    _AROUND.set((*_AROUND.get(), (desk, lease)))
    try:
        yield
    finally:  # no reset(): the end may come in another context than the beginning
        _AROUND.set(tuple([one for one in _AROUND.get() if one[1] is not lease]))


def hold(lease: Lease) -> Flow[Other | None]:
    """Take hold, unless somebody else has it: who that is."""

    def work(txn: Transaction) -> Other | None:
        at = now()
        match lease.table:
            case "sessions":
                sessions.lock_or_create(txn, lease.name, at)
            case "checkpoint_threads":
                threads.lock_or_create(txn, lease.name, at, live=False)
            case _:
                assert_never(lease.table)
        return turns.hold(txn, lease.table, lease.name, lease.holder, at, lease.microseconds)

    return (yield from _twice(work))


def renew(lease: Lease) -> Flow[bool]:
    """Hold it for as long again, and say whether it was still held."""
    table, name, holder, _ = lease

    def work(txn: Transaction) -> bool:
        return turns.renew(txn, table, name, holder, now(), lease.microseconds)

    return (yield from do(Cold(work, writes=True)))


def let_go(lease: Lease) -> Flow[None]:
    """Let others take hold."""
    table, name, holder, _ = lease
    yield from _twice(lambda txn: turns.let_go(txn, table, name, holder))


def _twice(work: Callable[[Transaction], T]) -> Flow[T]:
    """Work that is done again where its answer was lost: done twice, it is as done once."""
    try:
        return (yield from do(Cold(work, writes=True)))
    except Unavailable as lost:
        if not lost.outcome_unknown:
            raise
        return (yield from do(Cold(work, writes=True)))


def while_held(lease: Lease, step: Step, still: Callable[[], None]) -> Step:
    """A step that, where it changes the session, is refused when the turn does not hold it any
    more, or ``still`` says so. It costs a statement; an append has its fence in its own."""
    if not isinstance(step, Cold) or step.change_of is None:
        return step
    work = step.work

    def do_held(txn: Transaction) -> object:
        still()
        session = sessions.lock(txn, lease.name) or sessions.absent(txn, lease.name)
        refuse_other(lease.what, session.version, session.holder, lease.holder)
        return work(txn)

    return Cold(do_held, True, step.change_of)


def refuse_other(
    what: str, version: Version | None, there: bytes | None, holder: bytes | None
) -> None:
    """Raise where a turn writes that its locked row does not name."""
    if holder is None or (there is not None and bytes(there) == holder):
        return
    raise Fenced(
        f"{what} is held by this turn no longer: it is over, or its lease was, and another took "
        f"over. Nothing was written. Begin another turn, read what is there, and decide again.",
        version,
    )


def fenced(
    desk: Desk, work: Callable[[Transaction], T], name: SessionName, *, alone: bool = False
) -> Callable[[Transaction], T]:
    """Work on a thread; within a turn on that thread it is done only while that holds it.
    ``alone`` for work that locks the thread so."""
    held = _around(desk, name)
    if held is None:
        return work

    def do_fenced(txn: Transaction) -> T:
        threads.lock(txn, name, alone=alone)
        refuse_other(held.what, None, turns.holder_of(txn, held.table, name), held.holder)
        return work(txn)

    return do_fenced


def within_turn(desk: Desk, name: SessionName) -> bool:
    """Whether this is said within a turn on that thread."""
    return _around(desk, name) is not None


def _around(desk: Desk, name: SessionName) -> Lease | None:
    """The innermost turn on a thread within which this is said."""
    around = [lease for its, lease in _AROUND.get() if its is desk and lease.name == name]
    return around[-1] if around else None
