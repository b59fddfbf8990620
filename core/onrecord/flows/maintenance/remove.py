"""How sessions are taken away for good: one alone, or many in a transaction (I7).

Where there is one writer, whoever takes many away leaves as much time to the others as it takes.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from onrecord.flow import Flow, Hot, Pause, do
from onrecord.flows.mark import Wrote, commit, commit_sessions
from onrecord.flows.shared import Desk
from onrecord.ledger.maintenance import erasing, erasing_many
from onrecord.ledger.sessions import sessions
from onrecord.scope import SessionName
from onrecord.stored.changes import Change
from onrecord.version import Version

if TYPE_CHECKING:
    from onrecord.cache.cache import CacheCalls
    from onrecord.ledger.database.transaction import Transaction
    from onrecord.ledger.maintenance.erasing import AsRead
    from onrecord.ledger.maintenance.erasing_many import Doomed, RemovedMany

AT_ONCE: Final = 50
"""Sessions that go in one transaction: each of its locks is held for some hundredths of a second,
and they share a commit and the pages that they are on."""
_FEW: Final = 25
"""Of a database with one writer, where nobody else writes at all meanwhile."""
_LONGEST_PAUSE: Final = 0.1


class Removed(NamedTuple):
    """What has gone of some sessions."""

    names: list[SessionName]
    counted: Counter[str]
    """How much that was, by table."""


class _Erased(NamedTuple):
    """What became of a session that was to go."""

    counted: Counter[str]
    items: Wrote
    change: Change | None
    """None where it has gone already, or somebody has come back to it."""


def remove(
    desk: Desk, name: SessionName, only_as: AsRead | None = None
) -> Flow[Counter[str] | None]:
    """Erase a session, and say how much that was; None where it has gone already, or somebody
    has come back to it. The items of its state are marked as they are found."""
    work = partial(_remove, name=name, only_as=only_as)
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
    yield from _forgotten(desk, [name])
    return erased.counted


def remove_many(desk: Desk, doomed: Sequence[Doomed]) -> Flow[Removed]:
    """Erase sessions, as many in a transaction as can go together and then the others alone, and
    say which have gone. Who is cut off between two transactions has taken each whole."""
    removed = Removed([], Counter())
    while doomed:
        at_once = min(_FEW, AT_ONCE) if desk.one_writer else AT_ONCE
        some, doomed = doomed[:at_once], doomed[at_once:]
        left: Sequence[Doomed] = some
        if len(some) > 1:
            fences = {one.name.identity: one.fence for one in some}
            work = partial(erasing_many.remove, doomed=some)
            began = time.monotonic()
            found: RemovedMany = yield from commit_sessions(
                desk, fences, work, _changes_of, lambda found: found.items
            )
            desk.one_writer = found.held_up
            if found.held_up:  # whoever else waits to write looks only from time to time
                yield from do(Pause(min(time.monotonic() - began, _LONGEST_PAUSE)))
            names = [gone.name for gone in found.gone]
            yield from _forgotten(desk, names)
            removed.names.extend(names)
            removed.counted.update(found.counted)
            left = found.left
        for one in left:
            counted = yield from remove(desk, one.name, one.only_as)
            if counted is not None:
                removed.names.append(one.name)
                removed.counted.update(counted)
    return removed


def _changes_of(found: RemovedMany) -> list[Change]:
    return [_erased(gone.name, gone.before, gone.after) for gone in found.gone]


def _erased(name: SessionName, before: Version, after: Version) -> Change:
    gone = ((1, before.head),) if before.head > 0 else ()
    return Change("erase", name, before, after, removed=gone)


def _remove(txn: Transaction, name: SessionName, only_as: AsRead | None) -> _Erased:
    session = sessions.lock(txn, name, damaged=True)
    removed = erasing.remove(txn, name, only_as)
    if session is None or removed is None:
        return _Erased(Counter(), {}, None)
    change = _erased(name, session.version, removed.after)
    return _Erased(removed.counted, removed.items, change)


def _forgotten(desk: Desk, names: Iterable[SessionName]) -> Flow[None]:
    """Let this process forget what it holds of sessions that have gone."""
    identities = [name.identity for name in names]
    for identity in identities:
        desk.openings.drop(identity)
        desk.known.drop(identity)

    def drop(hot: CacheCalls) -> None:
        for identity in identities:
            hot.drop(identity)

    yield from do(Hot(drop))
