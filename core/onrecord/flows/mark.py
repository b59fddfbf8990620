"""Mark, commit, publish: how a write keeps the cache from ever being wrong (I3, I9).

The mark says, before anything is committed, that what is cached may be outdated. It goes when
the commit is published, or rolled back and known to be; a writer that dies leaves it behind,
and so does an outcome that is not known. The commit goes through only under the fence that the
mark was told: whoever has settled the entry since has moved it. Where nobody can be reached to
mark, the cache is switched off first (``suspend.py``).
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Generic, NamedTuple, TypeVar

from onrecord.cache.cache import Answer, CacheCalls, Marked
from onrecord.errors import Unavailable
from onrecord.flow import Cold, Flow, Hot, do
from onrecord.flows.shared import Desk
from onrecord.flows.suspend import mark_or_suspend
from onrecord.ledger.database.generation import Resumed
from onrecord.ledger.sessions import fences
from onrecord.ledger.sessions.fences import ABSENT, Fenced, MarkedBefore, Stamp
from onrecord.scope import SessionName
from onrecord.stored.changes import Change

if TYPE_CHECKING:
    from onrecord.ledger.database.transaction import Work

T = TypeVar("T")

log = logging.getLogger("onrecord")


class Done(NamedTuple, Generic[T]):
    """What a commit answers, and what it changed."""

    answer: T
    change: Change | None

    def change_of(self) -> Change | None:
        """Like ``change``, for ``commit``."""
        return self.change


_MOST_ATTEMPTS: Final = 20
"""A commit that waited long for its session may be refused, because it was settled meanwhile;
each time its mark asks for twice the patience."""


def commit(
    desk: Desk,
    name: SessionName,
    work: Work[T],
    change_of: Callable[[T], Change | None],
    *,
    appends: bool = False,
    hurried: bool = True,
) -> Flow[T]:
    """Do the work between a mark and what ``change_of`` says of it; None: nothing changed.

    Work that ``appends`` leaves its lineage in the session by itself. Work that copies much is
    not ``hurried``: each of its statements has a time limit, and all of it has none.
    """
    if not appends:
        work = fences.rewriting(work, name)
    if not desk.marks:
        stamp = fences.new_stamp()
        return (
            yield from do(
                Cold(fences.stamped(work, stamp, hurried), writes=True, change_of=change_of)
            )
        )
    identity, token = name.identity, secrets.token_hex(8)
    said: int | None = None
    for attempt in range(_MOST_ATTEMPTS):
        # Before the mark: a fence that is learned after it says nothing of who settled since.
        known, since = desk.known.get(identity).fence, time.monotonic()
        marked = yield from mark_or_suspend(desk, identity, token, attempt)
        stamp = _stamp(desk, marked, said, known, since)
        try:
            answer = yield from do(
                Cold(fences.stamped(work, stamp, hurried), writes=True, change_of=change_of)
            )
        except Fenced as refused:
            said = refused.fence  # read before the next mark: it is right for that one
            continue
        except MarkedBefore:
            continue
        except Resumed:
            desk.belief.doubt()
            continue
        except Unavailable as fault:
            if not fault.outcome_unknown:
                yield from _tell_cache(desk, name, token, marked, stamp, None)
            raise
        except Exception:  # the work refused: it was rolled back, and that is known
            yield from _tell_cache(desk, name, token, marked, stamp, None)
            raise
        yield from _tell_cache(desk, name, token, marked, stamp, change_of(answer))
        return answer
    yield from _tell_cache(desk, name, token, marked, stamp, None)
    raise Unavailable(
        f"Writing to {name} was forestalled {_MOST_ATTEMPTS} times by readers who waited for "
        f"it. Nothing was written. The database or this process is overloaded."
    )


def _stamp(
    desk: Desk, marked: Marked | bytes, said: int | None, known: int | None, since: float
) -> Stamp:
    """Under what a commit may go through: a fence that its mark was told, or known before it.

    Where there is none, the session is taken to be new; if it is not, the commit is refused.
    """
    new = fences.new_stamp()
    if isinstance(marked, bytes):
        return new._replace(suspension=marked)
    for fence in (said, marked.fence, known):
        if fence is not None:
            return new._replace(fence=fence, marked_at=since)
    return new._replace(fence=ABSENT, marked_at=since)


def _tell_cache(
    desk: Desk,
    name: SessionName,
    token: str,
    marked: Marked | bytes,
    stamp: Stamp,
    change: Change | None,
) -> Flow[None]:
    """Publish what was committed, or lift the mark; None: nothing was changed.

    Nothing here ever fails a write.
    """
    identity = name.identity
    publication = None if change is None else change.publication
    made = publication is not None and stamp.fence == ABSENT
    if publication is not None:
        fence = stamp.first if made else stamp.fence
        desk.known.wrote(identity, publication.version, fence)
    if isinstance(marked, bytes):
        return  # nobody believes in the cache: there is nobody to tell

    def tell(hot: CacheCalls) -> Answer[int | None]:
        if publication is None:
            return hot.lift(identity, token)
        # What is the beginning of a session that this commit made is all of it.
        whole = made and bool(publication.rows) and publication.rows[0].seq == 1
        return hot.publish(identity, token, publication, marked, stamp.first if whole else None)

    try:
        yield from do(Hot(tell))
    except Exception as fault:  # whatever ails the cache: the write is done, its mark stands
        log.debug("the cache was not told how a write ended: %s", fault)
