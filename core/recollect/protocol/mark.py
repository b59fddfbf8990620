"""Mark, commit, publish: how a write keeps the cache from ever being wrong (I3, I9).

The mark says, before anything is committed, that what is cached may be outdated. It goes when
the commit is published, or rolled back and known to be. A writer that dies leaves its mark
behind, and readers ask SQL; after an outcome that is not known it stays as well.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

from recollect.errors import Unavailable
from recollect.flow import Cold, Flow, Hot, do
from recollect.hot import CacheUnavailable
from recollect.protocol.base import Flows
from recollect.rows import Row
from recollect.scope import SessionName
from recollect.version import Version

if TYPE_CHECKING:
    from recollect.ledger.transaction import Transaction, Work

T = TypeVar("T")

MUST_BEGIN_WITHIN: Final = 1.0
"""Seconds from the mark in which the commit has to begin. With the timeouts of a commit (5 s)
it then ends well before the mark does (10 s)."""
_MOST_MARKS: Final = 10


class TooLate(Exception):
    """The commit would begin too long after its mark; nothing was done."""


class Marking(Flows):
    """The flow around every commit."""

    def _committed(
        self,
        name: SessionName,
        work: Work[T],
        told: Callable[[T], tuple[Version, Sequence[Row]] | None],
    ) -> Flow[T]:
        """Do the work between a mark and what ``told`` says of it; None: nothing was changed."""
        if not self._marks:
            return (yield from do(Cold(work, writes=True)))
        for _ in range(_MOST_MARKS):
            since = time.monotonic()
            token = yield from self._marked(name)
            try:
                answer = yield from do(Cold(_timely(work, since), writes=True))
            except TooLate:
                yield from self._told_cache(name, token, None)
                continue
            except Unavailable as fault:
                if not fault.outcome_unknown:
                    yield from self._told_cache(name, token, None)
                elif token is None:  # no mark stands for what may have been committed
                    yield from do(Hot(lambda hot: hot.missed(name.identity), after_commit=True))
                raise
            except Exception:  # the work refused: it was rolled back, and that is known
                yield from self._told_cache(name, token, None)
                raise
            yield from self._told_cache(name, token, told(answer))
            return answer
        raise Unavailable(
            f"Writing to {name} did not begin within {MUST_BEGIN_WITHIN:g} s, {_MOST_MARKS} times. "
            f"Nothing was written. The database or this process is overloaded."
        )

    def _marked(self, name: SessionName) -> Flow[str | None]:
        """The token of a mark, or None where the cache cannot be reached."""
        token = secrets.token_hex(8)
        try:
            yield from do(Hot(lambda hot: hot.mark(name.identity, token)))
        except CacheUnavailable:
            return None
        return token

    def _told_cache(
        self,
        name: SessionName,
        token: str | None,
        change: tuple[Version, Sequence[Row]] | None,
    ) -> Flow[None]:
        """Publish what was committed, or lift the mark. Nothing here ever fails a write."""
        identity = name.identity
        if token is None:
            if change is not None:
                yield from do(Hot(lambda hot: hot.missed(identity), after_commit=True))
            return

        def tell(hot: Any) -> Any:
            if change is None:
                return hot.lift(identity, token)
            return hot.publish(identity, token, *change)

        try:
            yield from do(Hot(tell, after_commit=True))
        except Exception:  # whatever ails the cache: the write has happened
            if change is not None:
                yield from do(Hot(lambda hot: hot.missed(identity), after_commit=True))


def _timely(work: Work[T], since: float) -> Work[T]:
    def timely(txn: Transaction) -> T:
        if time.monotonic() - since > MUST_BEGIN_WITHIN:
            raise TooLate
        return work(txn)

    return timely
