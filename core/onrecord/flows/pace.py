"""How long a flow may take, and how it goes over many sessions without holding anybody up.

A flow that may take hours asks between two units of its work whether it is to go on. Whoever has
no end to it is never told to stop; ``maintain`` has one for each of its steps, and goes on the next
time behind what it came to.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from onrecord.arguments import check_function
from onrecord.flow import Cold, Flow, do
from onrecord.ledger.sessions import sessions
from onrecord.reports import OnProgress, Progress
from onrecord.stored.messages import SessionKey

if TYPE_CHECKING:
    from onrecord.ledger.database.transaction import Transaction

FIRST: Final = SessionKey(-1, -(2**63))
"""Before every session: a damaged number may be below 0."""
_LOOKED_AT: Final = 2_000
"""Sessions that one statement looks at, of those that may be told to stop: whatever it looks for,
it is answered in some hundredths of a second."""

T = TypeVar("T")


class Pace:
    """How long a flow may take, from where it goes on, and who hears how far it has come."""

    def __init__(
        self,
        until: float = math.inf,
        after: SessionKey = FIRST,
        hears: Callable[[int], object] | None = None,
    ) -> None:
        self.until = until
        """By the monotonic clock."""
        self.after = after
        """The session behind which it goes on. It is moved before a session is worked on: where
        that fails, the next time does not begin with it."""
        self._hears = hears
        self.beat: Callable[[], Flow[bool]] | None = None
        """Asked as well whether it goes on."""

    @property
    def bounded(self) -> bool:
        """Whether there is an end to it."""
        return self.until < math.inf

    def goes_on(self) -> Flow[bool]:
        """Whether there is time for another unit; asked between two of them."""
        if time.monotonic() >= self.until:
            return False
        return True if self.beat is None else (yield from self.beat())

    def heard(self, more: int) -> None:
        """Say that so much more was done."""
        if self._hears is not None:
            self._hears(more)


class Page(Protocol[T]):
    """Reads some sessions by key, behind one, and up to another where there is one."""

    def __call__(self, txn: Transaction, *, after: SessionKey, upto: SessionKey | None) -> list[T]:
        """Read them; of each the first value is its key."""
        ...


def over_sessions(
    pace: Pace, page: Page[T], limit: int, work: Callable[[Sequence[T]], Flow[bool]]
) -> Flow[bool]:
    """Do something with all sessions that ``page`` finds, some at a time; whether it came to all.

    ``work`` says whether it came to the end of its page. Who goes on from some session begins
    again behind the last one: what is done is not found any more.
    """
    began_at_first = pace.after == FIRST
    while (yield from _to_the_last(pace, page, limit, work)):
        pace.after = FIRST
        if began_at_first:
            return True
        began_at_first = True
    return False


def _to_the_last(
    pace: Pace, page: Page[T], limit: int, work: Callable[[Sequence[T]], Flow[bool]]
) -> Flow[bool]:
    while (yield from pace.goes_on()):
        after, upto = pace.after, None
        if pace.bounded:  # else one statement may look at all sessions to find the next
            ahead = partial(sessions.ahead, after=after, look=_LOOKED_AT)
            upto = yield from do(Cold(ahead))
        found = yield from do(Cold(partial(page, after=after, upto=upto)))
        if len(found) >= limit:
            pace.after = _key(found[-1])
        elif upto is not None:
            pace.after = upto
        elif not found:
            return True
        else:
            pace.after = _key(found[-1])
        if found and not (yield from work(found)):
            pace.after = after
            return False
    return False


def _key(found: Any) -> SessionKey:
    key: SessionKey = found[0]
    return key


class Told:
    """Counts what is done of so much, and says how far it has come, where somebody listens."""

    def __init__(self, progress: OnProgress | None, of: int) -> None:
        self.done = 0
        self._progress = progress
        self._of = of
        self.more(0)

    def more(self, count: int) -> None:
        """Say that so much more was done: more than there was at first, where some has come."""
        self.done += count
        tell(self._progress, self.done, max(self._of, self.done))


def tell(progress: OnProgress | None, done: int, of: int) -> None:
    """Say how far it has come, where somebody listens."""
    if progress is not None:
        check_function("progress", progress, "a function of a Progress")
        progress(Progress(done, of))
