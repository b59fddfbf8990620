"""How what has expired goes for good: sessions, each unless somebody came back to it, and items."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from onrecord.errors import Misconfigured, OnrecordError, StoreClosed, shown
from onrecord.files import Aside, Target
from onrecord.flow import Autocommit, Cold, Flow, InThread, do
from onrecord.flows.maintenance.remove import AT_ONCE, remove_many
from onrecord.flows.maintenance.train import release_learned
from onrecord.flows.maintenance.writer import Writer, written
from onrecord.flows.pace import FIRST, Pace, Told
from onrecord.flows.shared import Desk
from onrecord.ledger.items import scoped
from onrecord.ledger.maintenance import due
from onrecord.ledger.maintenance.due import Due
from onrecord.ledger.maintenance.vacuum import reclaim
from onrecord.ledger.sessions import unfinished
from onrecord.ledger.sessions.description import info_of
from onrecord.reports import OnProgress, Pruning
from onrecord.scope import EVERYBODY, Scope, SessionName
from onrecord.stored.clock import microseconds, now
from onrecord.version import SessionInfo

if TYPE_CHECKING:
    from onrecord.ledger.database.transaction import Transaction
    from onrecord.ledger.maintenance.due import Asked

log = logging.getLogger("onrecord")

MOST_NAMED: Final = 1_000
"""Sessions that a report names; the others it counts."""
MOST_ITEMS: Final = 1_000
"""Items that go in one transaction."""
_SETTLED_AT_ONCE: Final = 1_000
_OWN_NAME: Final = "Give each file a name of its own, with the time in it for example."


def prune(
    desk: Desk,
    scope: Scope,
    older_than: timedelta | datetime | None,
    archive_to: Any,
    dry_run: bool,
    progress: OnProgress | None = None,
) -> Flow[Pruning]:
    """Take away sessions that nobody has written to for long enough, and items that expired."""
    at = now()
    asked = due.Asked(scope, _before(older_than, at), at, desk.expires_in)
    report = _Report()
    archive = None if archive_to is None else _Archive(archive_to)
    if dry_run:
        yield from _over_due(asked, report.named)
        items = yield from do(Cold(partial(scoped.count_expired, scope=scope, now=at)))
        return report.pruning(dry_run, None, items)
    if archive is None:
        return (yield from _pruned(desk, asked, None, progress))
    try:
        yield from archive.write(asked)
        return (yield from _pruned(desk, asked, archive, progress))
    finally:
        archive.close()


def _pruned(
    desk: Desk, asked: Asked, archive: _Archive | None, progress: OnProgress | None
) -> Flow[Pruning]:
    """Take away what is due; where there is an archive, what is in it as it is there."""
    scope, at, report = asked.scope, asked.now, _Report()
    into = None if archive is None else archive.path
    items, _ = yield from prune_items(scope, at, Pace())
    yield from settle_finished(Pace())
    of = 0
    if archive is not None:
        of = archive.count
    elif progress is not None:
        of = yield from do(Cold(partial(due.count, asked=asked)))
    told = Told(progress, of)

    def work(found: Sequence[Due]) -> Flow[None]:
        report.named((yield from _removed(desk, found)))
        told.more(len(found))

    yield from (_in_batches(asked, work) if archive is None else archive.in_batches(work))
    if not report.count and not items:
        return report.pruning(False, into, 0)
    yield from release_learned(desk)
    try:
        yield from do(Autocommit(partial(reclaim, how="free")))
    except OnrecordError as fault:  # it has all gone, and is told; the room stays for others
        log.warning("what was pruned has gone, and its room could not be given back: %s", fault)
    return report.pruning(False, into, items)


def prune_sessions(desk: Desk, pace: Pace) -> Flow[bool]:
    """Take away the sessions of the whole store that have expired, while there is time; whether
    that were all. One that cannot be taken away keeps no other."""
    asked = due.Asked(EVERYBODY, None, now(), desk.expires_in)
    pace.after = FIRST
    fault: OnrecordError | None = None
    place: due.Place | None = due.FIRST
    while place is not None:
        if not (yield from pace.goes_on()):
            return False
        found, place = yield from do(Cold(partial(due.page, asked=asked, after=place)))
        for n in range(0, len(found), AT_ONCE):
            if not (yield from pace.goes_on()):
                return False
            some = found[n : n + AT_ONCE]
            try:
                pace.heard(len((yield from _removed(desk, some))))
                continue
            except StoreClosed:
                raise
            except OnrecordError as again:  # told when the others had their turn
                fault = fault or again
            for one in some:
                try:
                    pace.heard(len((yield from _removed(desk, [one]))))
                except StoreClosed:
                    raise
                except OnrecordError as again:
                    fault = again
    if fault is not None:
        raise fault
    return True


def prune_items(scope: Scope, at: int, pace: Pace) -> Flow[tuple[int, bool]]:
    """Take away the items of a scope that have expired, a few in each transaction, while there is
    time; how many, and whether that were all."""
    gone, some, since = 0, MOST_ITEMS, scoped.FIRST
    while some >= MOST_ITEMS:  # a plan may take more than the limit
        if not (yield from pace.goes_on()):
            return gone, False
        work = partial(scoped.prune, scope=scope, since=since, limit=MOST_ITEMS, now=at)
        some, since = yield from do(Cold(work, writes=True))
        gone += some
    return gone, True


def settle_finished(pace: Pace) -> Flow[bool]:
    """Look no more at sessions that are finished, while there is time; whether that were all."""
    some = _SETTLED_AT_ONCE
    while some >= _SETTLED_AT_ONCE:
        if not (yield from pace.goes_on()):
            return False
        some = yield from do(Cold(_settle_some, writes=True))
    return True


def _settle_some(txn: Transaction) -> int:
    return unfinished.settle(txn, _SETTLED_AT_ONCE)


class _Report:
    """What was pruned, or would be: bounded, however much that is."""

    def __init__(self) -> None:
        self.count = 0
        self._messages = 0
        self._sessions: list[SessionInfo] = []

    def named(self, found: Sequence[Due]) -> None:
        """Note some of them."""
        for one in found:
            info = info_of(one.described)
            self.count += 1
            self._messages += info.messages
            if len(self._sessions) < MOST_NAMED:
                self._sessions.append(info)

    def pruning(self, dry_run: bool, archived_to: str | None, items: int) -> Pruning:
        """The report for people."""
        return Pruning(
            dry_run=dry_run,
            count=self.count,
            sessions=tuple(self._sessions),
            messages=self._messages,
            archived_to=archived_to,
            items=items,
        )


class _Archive:
    """A file with what is due, and aside what that was: it is read again when the file is whole.

    A session goes as it is in the file, and else it stays.
    """

    def __init__(self, given: Any) -> None:
        self._given = given
        self._aside = Aside(given)
        self._target = Target(given, anew=_OWN_NAME)
        self.path: str | None = None
        """Where it is; None where nothing was due, and there is none."""

    @property
    def count(self) -> int:
        """How many sessions are in it."""
        return self._aside.count

    def write(self, asked: Asked) -> Flow[None]:
        """Write it, a page of sessions after the other; nothing where none is due."""
        found, place = yield from _page(asked, due.FIRST)
        while not found and place is not None:
            found, place = yield from _page(asked, place)
        if not found:
            return

        def fill(writer: Writer) -> Flow[None]:
            some, behind = found, place
            while True:
                noted: list[Due] = []
                for one in some:
                    in_archive = yield from writer.session(one.key)
                    if in_archive is not None:  # else it was erased meanwhile
                        noted.append(one._replace(in_archive=in_archive))
                yield from do(InThread(partial(self._aside.put, noted)))
                if behind is None:
                    return
                some, behind = yield from _page(asked, behind)

        yield from written(self._target, fill)
        self.path = str(self._given)

    def in_batches(self, work: Callable[[Sequence[Due]], Flow[None]]) -> Flow[None]:
        """Work on all that are in it, some at a time."""
        yield from do(InThread(self._aside.begin))
        while noted := (yield from do(InThread(partial(self._aside.take, AT_ONCE)))):
            yield from work([Due.of(*one) for one in noted])

    def close(self) -> None:
        """Leave nothing beside it."""
        self._aside.close()


def _page(asked: Asked, place: due.Place) -> Flow[tuple[list[Due], due.Place | None]]:
    return (yield from do(Cold(partial(due.page, asked=asked, after=place))))


def _over_due(asked: Asked, note: Callable[[Sequence[Due]], object]) -> Flow[None]:
    place: due.Place | None = due.FIRST
    while place is not None:
        found, place = yield from _page(asked, place)
        note(found)


def _in_batches(asked: Asked, work: Callable[[Sequence[Due]], Flow[None]]) -> Flow[None]:
    place: due.Place | None = due.FIRST
    while place is not None:
        found, place = yield from _page(asked, place)
        for n in range(0, len(found), AT_ONCE):
            yield from work(found[n : n + AT_ONCE])


def _removed(desk: Desk, found: Sequence[Due]) -> Flow[list[Due]]:
    """Take sessions away; those that have gone, and not before, nor did anybody come back to."""
    by_name: dict[SessionName, Due] = {one.doomed.name: one for one in found}
    removed = yield from remove_many(desk, [one.doomed for one in found])
    return [by_name[name] for name in removed.names]


def _before(older_than: object, at: int) -> int | None:
    match older_than:
        case None:
            return None
        case timedelta() if older_than > timedelta(0):
            return max(0, at - older_than // timedelta(microseconds=1))
        case datetime() if older_than.utcoffset() is not None:
            return microseconds(older_than)
    raise Misconfigured(
        f"older_than has to be a timedelta above zero, or a datetime with a time zone, not "
        f"{shown(older_than)}."
    )
