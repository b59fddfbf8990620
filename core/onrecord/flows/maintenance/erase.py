"""How sessions and items go for good: by their scope, or because their time has come (I7)."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from onrecord.errors import Misconfigured, OnrecordError, shown
from onrecord.flow import Autocommit, Cold, Flow, Hot, do
from onrecord.flows.checkpoints.threads import erase_threads
from onrecord.flows.maintenance.train import release_learned
from onrecord.flows.maintenance.transfer import exported
from onrecord.flows.mark import Wrote, commit, commit_items
from onrecord.flows.pace import FIRST, Pace, over_sessions
from onrecord.flows.shared import Desk
from onrecord.ledger.checkpoints import lists
from onrecord.ledger.feed import feeds
from onrecord.ledger.items import scoped
from onrecord.ledger.maintenance import erasing
from onrecord.ledger.maintenance.vacuum import reclaim
from onrecord.ledger.sessions import description, dictionaries, sessions, unfinished
from onrecord.reports import Pruning, Receipt
from onrecord.scope import ANY, EVERYBODY, Scope, SessionName
from onrecord.stored.changes import Change
from onrecord.stored.clock import microseconds, moment, now
from onrecord.stored.messages import SessionKey
from onrecord.version import SessionInfo, Version

if TYPE_CHECKING:
    from onrecord.ledger.database.transaction import Transaction
    from onrecord.ledger.sessions.description import Described

log = logging.getLogger("onrecord")

_PAGE: Final = 200
MOST_ITEMS: Final = 1_000
_SETTLED_AT_ONCE: Final = 1_000
"""Items that go in one transaction."""
_HANDED_OVER: Final = (
    "Nobody can tell whose words are in what was learned from conversations that were handed to "
    "train() (dictionary {}). If some were of this scope, run train() without any, and then "
    "compact(again=True), which drops what was learned before."
)
_STILL_THERE: Final = (
    "What was learned from it (dictionary {}) is still there, because a transaction that began "
    "before is still open and may need it. Erase or compact again when it has ended."
)
_TABLE_OF: Final = {
    "threads": "onrecord_checkpoint_threads",
    "checkpoints": "onrecord_checkpoints",
    "items": "onrecord_checkpoint_items",
    "writes": "onrecord_checkpoint_writes",
}


def erase(desk: Desk, scope: Scope, thorough: bool) -> Flow[Receipt]:
    """Erase every session, thread and item of a scope, and what was learned from them."""
    gone: Counter[str] = Counter()
    of_scope = scope._asdict()
    counted = yield from do(Cold(partial(lists.count_in_scope, **of_scope)))
    yield from erase_threads(desk, **of_scope)
    gone += Counter({_TABLE_OF[what]: count.rows for what, count in counted.items()})
    after = FIRST
    while page := (
        yield from do(Cold(partial(sessions.page, scope=scope, after=after, limit=_PAGE)))
    ):
        after = page[-1][0]
        for _, name in page:
            gone += (yield from remove(desk, name)) or Counter()
    gone += yield from _items_removed(desk, scope)
    yield from do(Cold(partial(feeds.unname, scope=scope), writes=True))
    left = yield from do(Cold(partial(_elsewhere, scope=scope)))
    return (yield from _receipt(desk, str(scope), gone, left, thorough))


def erase_session(desk: Desk, name: SessionName, thorough: bool) -> Flow[Receipt]:
    """Erase one session."""
    gone = (yield from remove(desk, name)) or Counter()
    return (yield from _receipt(desk, f"session {name}", gone, 0, thorough))


def prune(
    desk: Desk,
    scope: Scope,
    older_than: timedelta | datetime | None,
    archive_to: Any,
    dry_run: bool,
) -> Flow[Pruning]:
    """Take away sessions that nobody has written to for long enough, and items that expired."""
    at = now()
    before = _before(older_than, at)
    found: list[tuple[SessionKey, SessionInfo]] = []
    after = FIRST
    while page := (
        yield from do(
            Cold(
                partial(
                    description.due,
                    scope=scope,
                    before=before,
                    now=at,
                    default=desk.expires_in,
                    after=after,
                )
            )
        )
    ):
        after = page[-1][0]
        found += [(number, description.info_of(described)) for number, described in page]
    if dry_run:
        items = yield from do(Cold(partial(scoped.count_expired, scope=scope, now=at)))
        return _pruning(dry_run, [info for _, info in found], None, items)
    if found and archive_to is not None:
        yield from exported(
            desk, [(number, _name(info)) for number, info in found], archive_to, None
        )
    items, _ = yield from prune_items(scope, at, Pace())
    yield from settle_finished(Pace())
    if not found and not items:
        return _pruning(dry_run, [], None, 0)
    gone: list[SessionInfo] = []
    for _, due in found:
        if (yield from remove(desk, _name(due), due.version)) is not None:
            gone.append(due)
    yield from release_learned(desk)
    try:
        yield from do(Autocommit(partial(reclaim, how="free")))
    except OnrecordError as fault:  # it has all gone, and is told; the room stays for others
        log.warning("what was pruned has gone, and its room could not be given back: %s", fault)
    archived_to = None if archive_to is None or not found else str(archive_to)
    return _pruning(False, gone, archived_to, items)


def prune_sessions(desk: Desk, pace: Pace) -> Flow[bool]:
    """Take away the sessions of the whole store that have expired, while there is time; whether
    that were all."""
    at = now()

    def work(found: Sequence[tuple[SessionKey, Described]]) -> Flow[bool]:
        for key, described in found:
            if not (yield from pace.goes_on()):
                return False
            pace.after = key
            due = description.info_of(described)
            if (yield from remove(desk, _name(due), due.version)) is not None:
                pace.heard(1)
        return True

    page = partial(description.due, scope=EVERYBODY, before=None, now=at, default=desk.expires_in)
    return (yield from over_sessions(pace, page, description.MOST_DUE, work))


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


class _Erased(NamedTuple):
    """What became of a session that was to go."""

    counted: Counter[str]
    items: Wrote
    change: Change | None
    """None where it has gone already, or somebody has come back to it."""


def remove(
    desk: Desk, name: SessionName, only_at: Version | None = None
) -> Flow[Counter[str] | None]:
    """Erase a session, and say how much that was; None where it has gone already, or somebody
    has come back to it. The items of its state are marked as they are found."""
    work = partial(_remove, name=name, only_at=only_at)
    erased: _Erased = yield from commit(
        desk,
        name,
        work,
        lambda erased: erased.change,
        hurried=False,
        wrote=lambda erased: erased.items,
    )
    if erased.change is None:
        return None
    desk.openings.drop(name.identity)
    desk.known.drop(name.identity)
    yield from do(Hot(lambda hot: hot.drop(name.identity)))
    return erased.counted


def _items_removed(desk: Desk, scope: Scope) -> Flow[Counter[str]]:
    """Take away the items of a scope, a few in each transaction; then their namespaces."""
    gone: Counter[str] = Counter()
    after = scoped.FIRST
    while page := (
        yield from do(Cold(partial(scoped.page, scope=scope, after=after, limit=_PAGE)))
    ):
        after = page[-1].namespace
        for namespace in page:
            some: Counter[str] = Counter()
            while "onrecord_namespaces" not in some:
                found = yield from do(
                    Cold(partial(scoped.named, namespace=namespace, limit=MOST_ITEMS))
                )
                work = partial(scoped.remove, namespace=namespace, items=found, now=now())
                some, _ = yield from commit_items(desk, found, work, _gone)
                gone += some
    return gone


def _gone(removed: tuple[Counter[str], Wrote]) -> Wrote:
    return removed[1]


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


def _receipt(
    desk: Desk, scope: str, gone: Counter[str], left: int, thorough: bool
) -> Flow[Receipt]:
    desk.hearing.forget()
    gone["onrecord_dictionaries"] += yield from release_learned(desk)
    try:
        traces = yield from do(Autocommit(partial(reclaim, how="clean" if thorough else "free")))
    except OnrecordError as fault:  # it has all gone; where it was is not clean yet
        traces = f"{fault} Erase again to clean up."
    if traces is None and not thorough:
        traces = "Free pages may still hold some of it until erase(thorough=True)."
    if waiting := (yield from do(Cold(erasing.retired))):
        numbers = ", ".join(map(str, waiting))
        traces = " ".join([*([traces] if traces else []), _STILL_THERE.format(numbers)])
    learned = yield from do(Cold(dictionaries.handed_over))
    if learned:
        numbers = ", ".join(map(str, learned))
        traces = " ".join([*([traces] if traces else []), _HANDED_OVER.format(numbers)])
    return Receipt(
        scope=scope,
        at=moment(now()),
        removed={table: count for table, count in sorted(gone.items()) if count},
        left=left,
        traces=traces,
    )


def _remove(txn: Transaction, name: SessionName, only_at: Version | None) -> _Erased:
    session = sessions.lock(txn, name, damaged=True)
    removed = erasing.remove(txn, name, only_at)
    if session is None or removed is None:
        return _Erased(Counter(), {}, None)
    gone = ((1, session.head),) if session.head > 0 else ()
    change = Change("erase", name, session.version, removed.after, removed=gone)
    return _Erased(removed.counted, removed.items, change)


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


def _name(info: SessionInfo) -> SessionName:
    return SessionName(key=info.key, tenant=info.tenant, user=info.user, agent=info.agent)


def _pruning(
    dry_run: bool, gone: Sequence[SessionInfo], archived_to: str | None, items: int
) -> Pruning:
    return Pruning(
        dry_run=dry_run,
        sessions=tuple(gone),
        messages=sum(info.messages for info in gone),
        archived_to=archived_to,
        items=items,
    )


def _elsewhere(txn: Transaction, scope: Scope) -> int:
    """How many sessions of the same tenant or user stand under other names."""
    if scope.user not in ("", ANY):
        return sessions.count(txn, Scope(ANY, scope.user, ANY))
    if scope.tenant not in ("", ANY):
        return sessions.count(txn, Scope(scope.tenant, ANY, ANY))
    return 0
