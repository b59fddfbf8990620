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
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, Generic, NamedTuple, TypeAlias, TypeVar, assert_never

from onrecord.cache.cache import Answer, CacheCalls, Marked
from onrecord.errors import Unavailable
from onrecord.flow import Cold, Flow, Hot, do
from onrecord.flows.shared import Desk
from onrecord.flows.suspend import MOST_AT_ONCE, mark_or_suspend
from onrecord.ledger.database.generation import Resumed
from onrecord.ledger.database.stamp import ABSENT, FenceMoved, MarkedBefore, Stamp, new_stamp
from onrecord.ledger.sessions import fences
from onrecord.scope import ItemName, SessionName
from onrecord.stored.changes import Change, Changed
from onrecord.stored.items import WrittenItem
from onrecord.stored.messages import Publication

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


class _Published(NamedTuple):
    """What a commit did to its session, and the stamp that it did it under."""

    change: Change
    stamp: Stamp


Told: TypeAlias = "_Published | WrittenItem | None"
"""What an entry is told; None where nothing of it was changed."""
Wrote: TypeAlias = Mapping[bytes, WrittenItem]
"""What became of items, by identity."""
_NONE: Final[Mapping[bytes, int]] = {}
_WroteAny: TypeAlias = Mapping[bytes, WrittenItem | Change]
"""The same of sessions as well."""


def _nothing(answer: object) -> Wrote:
    return {}


def _no_change(answer: object) -> None:
    return None


_MOST_ATTEMPTS: Final = 20
"""A commit that waited long for its session may be refused, because it was settled meanwhile;
each time its mark asks for twice the patience."""


def commit(
    desk: Desk,
    name: SessionName,
    work: Work[T],
    change_of: Callable[[T], Change | None],
    *,
    token: int | None = None,
    hurried: bool = True,
    items: Iterable[ItemName] = (),
    wrote: Callable[[T], Wrote] = _nothing,
) -> Flow[T]:
    """Do the work between a mark and what ``change_of`` says of it; None: nothing changed.

    An append has a ``token``, and leaves it in the session as its lineage by itself. Work that
    copies much is not ``hurried``: each of its statements has a time limit, and all of it has
    none. ``wrote`` says what became of items that are written in the same transaction.
    """
    if token is None:
        work = fences.rewriting(work, name)
    others = partial(_identities, items)
    return _committed(desk, name, others, work, change_of, wrote, hurried, token=token)


def commit_sessions(
    desk: Desk,
    fences: Mapping[bytes, int],
    work: Work[T],
    changes_of: Callable[[T], list[Change]],
    items_of: Callable[[T], Wrote] = _nothing,
) -> Flow[T]:
    """Do work that takes sessions away between marks and what ``changes_of`` says of them, and
    ``items_of`` of the items that went with them.

    ``fences`` has every session that it may take, by identity, with the fence that was read for it:
    the work itself refuses where one has moved since, and where an item that goes is not marked.
    What it says nothing of is as it was.
    """

    def wrote(answer: T) -> dict[bytes, Change | WrittenItem]:
        changes = {change.name.identity: change for change in changes_of(answer)}
        return {**items_of(answer), **changes}

    others: Callable[[], set[bytes]] = partial(set, fences)
    return _committed(desk, None, others, work, changes_of, wrote, False, fences)


def commit_items(
    desk: Desk,
    items: Iterable[ItemName],
    work: Work[T],
    wrote: Callable[[T], Wrote],
    *,
    hurried: bool = True,
    durable: bool = True,
) -> Flow[T]:
    """Write items, and nothing of a session, between marks and what ``wrote`` says of them.

    What is published has to be ``durable``: a cache would know more than a database that has lost
    it. Where nobody marks it may be less.
    """
    others = partial(_identities, items)
    return _committed(
        desk, None, others, work, _no_change, wrote, hurried, durable=durable or desk.marks
    )


def _identities(items: Iterable[ItemName]) -> set[bytes]:
    return {item.identity for item in items}


def _committed(
    desk: Desk,
    name: SessionName | None,
    others: Callable[[], set[bytes]],
    work: Work[T],
    change_of: Callable[[T], Changed],
    wrote: Callable[[T], _WroteAny],
    hurried: bool,
    fences: Mapping[bytes, int] = _NONE,
    token: int | None = None,
    durable: bool = True,
) -> Flow[T]:
    """Do the work; between a mark and its end, where there is a cache that has to be told."""
    if not desk.marks:
        return _once(work, change_of, hurried, new_stamp(token), durable)
    once = partial(_once, work, change_of, hurried)
    return _marked(desk, name, others(), once, change_of, wrote, fences)


def _once(
    work: Work[T],
    change_of: Callable[[T], Changed],
    hurried: bool,
    stamp: Stamp,
    durable: bool = True,
) -> Flow[T]:
    stamped = fences.stamped(work, stamp, hurried)
    return do(Cold(stamped, writes=True, change_of=change_of, durable=durable))


def _marked(
    desk: Desk,
    name: SessionName | None,
    others: set[bytes],
    once: Callable[[Stamp], Flow[T]],
    change_of: Callable[[T], Changed],
    wrote: Callable[[T], _WroteAny],
    fences: Mapping[bytes, int],
) -> Flow[T]:
    """Between marks of a session, if one is named, and of ``others``: items, or many sessions."""
    session = None if name is None else name.identity
    token = secrets.token_hex(8)
    said = dict(fences)  # read before the mark, as those are that a refused attempt is told
    for attempt in range(_MOST_ATTEMPTS):
        identities = [] if session is None else [session]
        if others:
            identities += sorted(others)
        # Before the mark: a fence that is learned after it says nothing of who settled since.
        known, since = [desk.known.get(one).fence for one in identities], time.monotonic()
        marks = yield from mark_or_suspend(desk, identities, token, attempt)
        stamp = _stamp(session, identities, marks, said, known, since)
        try:
            answer = yield from once(stamp)
        except FenceMoved as refused:
            said.update(refused.fences)  # read before the next mark: right for that one
            # What nobody marked before, and turned out to be there as well.
            others |= refused.fences.keys() - {session}
            continue
        except MarkedBefore:
            continue
        except Resumed:
            desk.belief.doubt()
            continue
        except Unavailable as fault:
            if not fault.outcome_unknown:
                yield from _tell_cache(desk, token, marks, [(one, None) for one in identities])
            raise
        except Exception:  # the work refused: it was rolled back, and that is known
            yield from _tell_cache(desk, token, marks, [(one, None) for one in identities])
            raise
        told: list[tuple[bytes, Told]] = []
        if session is not None:
            change = change_of(answer)
            assert not isinstance(change, list), "one session is named"
            told.append((session, None if change is None else _Published(change, stamp)))
        if others:
            written = wrote(answer)
            told += [(one, _told(written.get(one), one, stamp)) for one in sorted(others)]
        _remember(desk, told)
        yield from _tell_cache(desk, token, marks, told)
        return answer
    yield from _tell_cache(desk, token, marks, [(one, None) for one in identities])
    what = str(name) if name is not None else "these sessions" if fences else "these items"
    raise Unavailable(
        f"Writing to {what} was forestalled {_MOST_ATTEMPTS} times by readers who waited for "
        f"it. Nothing was written. The database or this process is overloaded."
    )


def _stamp(
    session: bytes | None,
    identities: Sequence[bytes],
    marks: Sequence[Marked] | bytes,
    said: Mapping[bytes, int],
    known: Sequence[int | None],
    since: float,
) -> Stamp:
    """Under what a commit may go through: fences that its marks were told, or known before them.

    Where there is none, what is written to is taken to be new; if it is not, the commit is refused.
    """
    new = new_stamp()
    if isinstance(marks, bytes):
        return new._replace(suspension=marks)
    told: dict[bytes, int] = {}
    for identity, marked, before in zip(identities, marks, known, strict=True):
        fence = said.get(identity)
        if fence is None:
            fence = before if marked.fence is None else marked.fence
        told[identity] = ABSENT if fence is None else fence
    fence = None if session is None else told.pop(session)
    return new._replace(fence=fence, items=told, marked_at=since)


def _told(written: WrittenItem | Change | None, identity: bytes, stamp: Stamp) -> Told:
    if not isinstance(written, Change):
        return written
    fence = None if stamp.items is None else stamp.items[identity]
    return _Published(written, stamp._replace(fence=fence))


def _remember(desk: Desk, told: Sequence[tuple[bytes, Told]]) -> None:
    """Note what this process has written: its later reads show no less."""
    for identity, one in told:
        match one:
            case _Published(change, stamp):
                fence = stamp.first if stamp.fence == ABSENT else stamp.fence
                desk.known.wrote(identity, change.after, fence)
            case WrittenItem(row):
                desk.known.wrote(identity, one.version, None if row is None else row.fence)
            case None:
                pass


def _fence_of_all(publication: Publication, stamp: Stamp) -> int | None:
    """The fence of a session that this commit made: what it wrote is all of it. Else None."""
    rows = publication.rows
    # Where it made the row, nothing stood before its first message: the place only says it again.
    return stamp.first if stamp.fence == ABSENT and rows and rows[0].seq == 1 else None


def _tell_cache(
    desk: Desk,
    token: str,
    marks: Sequence[Marked] | bytes,
    told: Sequence[tuple[bytes, Told]],
) -> Flow[None]:
    """Publish what was committed, or lift the mark; None: nothing was changed.

    Nothing here ever fails a write.
    """
    if isinstance(marks, bytes):
        return  # nobody believes in the cache: there is nobody to tell

    def tell(hot: CacheCalls, identity: bytes, one: Told, marked: Marked) -> Answer[int | None]:
        match one:
            case None:
                return hot.lift(identity, token)
            case WrittenItem():
                return hot.publish_item(identity, token, one, marked)
            case _Published(change, stamp):
                publication = change.publication
                whole = _fence_of_all(publication, stamp)
                return hot.publish(identity, token, publication, marked, whole)
            case _:
                assert_never(one)

    try:
        if len(told) == 1:
            ((identity, one),) = told
            yield from do(Hot(lambda hot: tell(hot, identity, one, marks[0])))
            return
        every = [(*each, marked) for each, marked in zip(told, marks, strict=True)]
        for n in range(0, len(every), MOST_AT_ONCE):
            some = every[n : n + MOST_AT_ONCE]

            def tell_some(
                hot: CacheCalls, some: Sequence[tuple[bytes, Told, Marked]] = some
            ) -> Answer[list[int | None]]:
                return hot.together([tell(hot, *each) for each in some])

            yield from do(Hot(tell_some))
    except Exception as fault:  # whatever ails the cache: the write is done, its mark stands
        log.debug("the cache was not told how a write ended: %s", fault)
