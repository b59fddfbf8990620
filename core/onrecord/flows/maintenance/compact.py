"""How sessions that have gone quiet are sealed, and the room is given back.

None of it is ever needed for what was said to be right.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from onrecord.errors import OnrecordError
from onrecord.flow import Autocommit, Cold, Flow, InThread, do
from onrecord.flows.maintenance.train import release_learned
from onrecord.flows.pace import Pace, Told, over_sessions
from onrecord.flows.shared import Desk
from onrecord.ledger.maintenance import counting
from onrecord.ledger.maintenance.vacuum import reclaim
from onrecord.ledger.sessions import dictionaries, sealing, sealing_many, sessions
from onrecord.ledger.sessions.sealing_many import AT_ONCE
from onrecord.reports import Compaction, OnProgress
from onrecord.scope import EVERYBODY, SessionName
from onrecord.stored.clock import MICROSECONDS, now
from onrecord.stored.messages import SessionKey

if TYPE_CHECKING:
    from onrecord.ledger.database.transaction import Transaction


def compact(
    desk: Desk, quiet_for: float, again: bool, progress: OnProgress | None
) -> Flow[Compaction]:
    """Seal sessions that have gone quiet, and give the room back."""
    before = now() // MICROSECONDS - int(quiet_for)
    before_bytes = yield from do(Cold(counting.disk))
    yield from release_learned(desk)
    of = yield from do(Cold(partial(_how_many, before=before, again=again)))
    told = Told(progress, of)
    yield from seal_quiet(desk, before, again, Pace(hears=told.more))
    if again:  # all that was sealed is sealed with the newest; what else needs others goes on
        yield from do(Cold(dictionaries.retire_superseded, writes=True))
        yield from release_learned(desk)
    try:
        problem = yield from do(Autocommit(partial(reclaim, how="anew" if again else "free")))
    except OnrecordError as fault:  # everything is sealed; the room stays in the database
        problem = f"The room could not be given back: {fault} Compact again."
    return Compaction(
        sessions=told.done,
        disk_bytes_before=before_bytes,
        disk_bytes=(yield from do(Cold(counting.disk))),
        problem=problem,
    )


def seal_quiet(desk: Desk, before: int, again: bool, pace: Pace) -> Flow[bool]:
    """Seal the sessions that nobody wrote to since a second; whether it came to all of them."""

    def work(found: Sequence[tuple[SessionKey, SessionName]]) -> Flow[bool]:
        wanted = [key for key, _ in found]
        if not again:
            done, wanted = yield from _sealed_together(desk, wanted, before)
            pace.heard(done)
        for key in wanted:
            seal = partial(sealing.seal_session, key=key, before=before, again=again)
            pace.heard((yield from do(Cold(seal, writes=True))))
        return True

    page = partial(
        sessions.page,
        scope=EVERYBODY,
        limit=AT_ONCE,
        condition=_condition(again),
        before=before,
    )
    return (yield from over_sessions(pace, page, AT_ONCE, work))


def _sealed_together(
    desk: Desk, wanted: Sequence[SessionKey], before: int
) -> Flow[tuple[int, list[SessionKey]]]:
    """Seal those that are short: how many that were, and which are left to be sealed alone."""
    read = partial(sealing_many.read, wanted=wanted, before=before)
    found = yield from do(Cold(read))
    if not found.short:
        return 0, found.left
    compressed = desk.compression == "zstd"
    packed = yield from do(InThread(partial(sealing_many.pack, found, compressed)))
    return (yield from do(Cold(partial(sealing_many.write, packed=packed), writes=True)))


def _how_many(txn: Transaction, before: int, again: bool) -> int:
    return sessions.count(txn, EVERYBODY, _condition(again), before=before)


def _condition(again: bool) -> str:
    quiet = f"last_active < (CAST(:before AS BIGINT) + 1) * {MICROSECONDS}"
    return quiet + ("" if again else " AND sealed < head")
