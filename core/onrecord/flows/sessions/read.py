"""How a read travels: out of the cache where that is all there is, else out of SQL (I3)."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from onrecord import codec
from onrecord.arguments import check_function, whole_number
from onrecord.cache import CacheUnavailable
from onrecord.cache.cache import Glance
from onrecord.errors import Conflict, Damaged, Misconfigured, shown
from onrecord.flow import Cold, Flow, Hot, do
from onrecord.flows.items.reading import get_item
from onrecord.flows.leases import believes, discarded, lease_of, looked
from onrecord.flows.listing import listed
from onrecord.flows.sessions.archive import count_archived, messages_by_archived
from onrecord.flows.sessions.in_time import messages_in_time
from onrecord.flows.shared import Desk
from onrecord.gist import EXTRACT, GIST, NO_GIST, Gist, Kind, gist_in
from onrecord.ledger.sessions import description, fences, sessions
from onrecord.ledger.sessions import messages as rows_of
from onrecord.ledger.sessions.description import Described
from onrecord.message import Message
from onrecord.scope import AnyName, SessionName, StateName
from onrecord.stored.messages import LAST_SEQ, MessageRow, Snapshot, new_past
from onrecord.version import SessionInfo, Version, lineage_of, told
from onrecord.window import NOTHING_READ, Cutter, Limits, Window

if TYPE_CHECKING:
    from datetime import datetime

    from onrecord.ledger.database.transaction import Transaction
    from onrecord.tokens import CountTokens

log = logging.getLogger("onrecord")

_MOST_RESTARTS: Final = 10


def tail(desk: Desk, name: SessionName, n: int) -> Flow[list[Message]]:
    """The newest n messages, oldest first."""
    n = whole_number("n", n)
    if n <= desk.cached_messages:
        near = yield from read_tail(desk, name, n)
        if n <= len(near.rows) or near.complete:
            said = desk.build.messages(near, near.rows[max(0, len(near.rows) - n) :])
            if not (near.cached and _unreadable(said)):
                return said
            yield from discarded(desk, name.identity)
    seen = yield from _from_sql(desk, name, limit=n, newest=True)
    return desk.build.messages(seen, seen.rows)


def messages(
    desk: Desk,
    name: SessionName,
    after: int | None,
    before: int | None,
    limit: int | None,
    archived: bool | None = None,
    into: Callable[[Message], object] | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Flow[list[Any]]:
    """Messages between two places; with ``before`` alone the ones just before it."""
    if into is not None:
        check_function("into", into, "a function of a Message")
    if since is not None or until is not None:
        return (
            yield from messages_in_time(
                desk, name, since, until, after, before, limit, archived, into
            )
        )
    if archived is not None:
        return (yield from messages_by_archived(desk, name, archived, after, before, limit, into))
    seen = yield from _from_sql(
        desk,
        name,
        after=whole_number("after", after or 0),
        before=LAST_SEQ if before is None else whole_number("before", before),
        limit=None if limit is None else whole_number("limit", limit),
        newest=before is not None and after is None,
    )
    if into is None:
        return desk.build.messages(seen, seen.rows)
    return desk.build.converted(seen, into)


def scan_page(
    desk: Desk, name: SessionName, after: int, limit: int, version: Version | None
) -> Flow[tuple[Version, list[Message]]]:
    """The next messages of a scan, refused where the session was rewritten under it."""
    after = whole_number("after", after)
    before = LAST_SEQ if version is None else version.head + 1
    seen = yield from _from_sql(desk, name, after=after, before=before, limit=limit)
    if version is not None and seen.version.epoch != version.epoch:
        raise Conflict(
            f"Session {name} was rewritten while it was being scanned, after message {after}. "
            f"Scan it again.",
            seen.version,
        )
    return version or seen.version, desk.build.messages(seen, seen.rows)


def window(
    desk: Desk,
    name: SessionName,
    limits: Limits,
    repair: bool,
    given: CountTokens | None = None,
    last: Window | None = None,
    summary: Kind = False,
) -> Flow[Window]:
    """The newest messages that fit, cut where nothing that belongs together is torn."""
    if not isinstance(summary, bool) and summary != "extractive":
        raise Misconfigured(
            f"summary has to be True, False or 'extractive', not {shown(summary)}. What makes one "
            f"is onrecord.memory.RollingSummary."
        )
    if last is not None and not isinstance(last, Window):
        raise Misconfigured(f"last has to be a Window of this session, or None, not {shown(last)}.")
    cutter = Cutter(limits, desk.counter, given)
    asked = (limits, repair, desk.counter.name, given, summary)
    near = yield from read_tail(desk, name)
    if (
        last is not None
        and not summary  # which changes by itself
        and last.asked == asked
        and _still_stands(last.version, near)
    ):
        return last
    for attempt in range(_MOST_RESTARTS):
        if attempt:  # not out of the cache again: it may lag behind for a while
            near = yield from sought(desk, name, partial(_newer, desk, name=name, held=None))
        first = near if near.complete else (yield from _opening(desk, name, near))
        if first.version.epoch != near.version.epoch:
            continue
        newest = desk.build.messages(near, near.rows)
        if near.cached and _unreadable(newest):
            yield from discarded(desk, name.identity)
            continue
        gist = (yield from _gist(desk, name, summary)) if summary else NO_GIST
        if gist and not attempt and not _is_before(gist.version, near.version):
            # Summarised since the tail was read: never is the newest turn. Of a fork, an import
            # or a summary that was asked for up to the end it may look so.
            continue
        known = NOTHING_READ
        if last is not None and last.reading.goes_on_in(near.version, newest):
            known = last.reading
        opening = desk.build.messages(first, first.rows[:1])
        at = told(near.version, near.lineage)
        cutter.start(at, newest, opening, near.complete, gist)
        while wanted := cutter.wanted():
            # Piece by piece as without: what is chosen depends on what is at hand.
            pieces = known.before(cutter.first_seq, wanted)
            before = (pieces[0].seq or 0) if pieces else cutter.first_seq
            missing = 0 if known.complete else wanted - len(pieces)
            if missing:
                older = yield from _from_sql(desk, name, before=before, limit=missing, newest=True)
                if older.version.epoch != near.version.epoch:
                    break  # rewritten between two reads: the pieces do not belong together
                pieces = [*desk.build.messages(older, older.rows), *pieces]
            cutter.add_older(pieces, len(pieces) < wanted)
        else:
            found = cutter.window(repair, keep=True)
            found.asked = asked
            return found
    raise Conflict(
        f"Session {name} was rewritten {_MOST_RESTARTS} times while a window of it was read.",
        near.version,
    )


def _gist(desk: Desk, name: SessionName, kind: Kind) -> Flow[Gist]:
    """The summary that is kept; none where it cannot be read: it can be made again."""
    key = EXTRACT if kind == "extractive" else GIST
    try:
        return gist_in((yield from get_item(desk, StateName.of(name), key, False)))
    except Damaged as fault:
        log.warning("the summary of %s cannot be read: %s", name, fault)
        return NO_GIST


def _is_before(version: Version, than: Version) -> bool:
    return version.epoch <= than.epoch and version.head < than.head


def _still_stands(held: Version, near: Snapshot) -> bool:
    """Whether a session is where it was: the same write was the last one."""
    return held == near.version and lineage_of(held) == near.lineage != 0


def _opening(desk: Desk, name: SessionName, near: Snapshot) -> Flow[Snapshot]:
    """The session's first message. It never changes within an epoch of one past: it is asked
    for once."""
    kept = desk.openings.get(name.identity)
    # Without a cache nothing is held by which another past could be told.
    if kept is not None and (kept[1] == near.past or not desk.marks):
        seen = kept[0]
        if seen.version.epoch == near.version.epoch:
            return seen
    seen = yield from _from_sql(desk, name, limit=1)
    if near.past:
        desk.openings.keep(name.identity, seen, near.past)
    return seen


def version(desk: Desk, name: SessionName) -> Flow[Version]:
    """Where the session stands."""
    began = desk.known.begin()
    version = yield from do(Cold(partial(sessions.version, name=name)))
    desk.known.read(name.identity, version, None, began)
    return version


def count(desk: Desk, name: SessionName, archived: bool | None) -> Flow[int]:
    """How many messages there are."""
    if archived is None:
        found = yield from info(desk, name)
        if found.damaged is not None:
            yield from version(desk, name)  # raises where it is more than a count
            raise Damaged(
                f"The row of session {name} is damaged: {found.damaged}. messages() still "
                f"reads what is there."
            )
        return found.messages
    return (yield from count_archived(desk, name, archived))


def info(desk: Desk, name: SessionName) -> Flow[SessionInfo]:
    """What is known about the session without reading its messages."""
    began = desk.known.begin()
    found = yield from do(Cold(partial(_described, name=name)))
    at = found if isinstance(found, Version) else found.version
    desk.known.read(name.identity, at, None, began)
    if isinstance(found, Version):
        return SessionInfo(
            tenant=name.tenant,
            user=name.user,
            agent=name.agent,
            key=name.key,
            version=found,
            messages=0,
            turns=0,
            tokens=0,
            title=None,
            metadata={},
            created_at=None,
            last_active=None,
        )
    return description.info_of(found)


def list_sessions(
    desk: Desk,
    tenant: AnyName,
    user: AnyName,
    agent: AnyName,
    limit: int,
    after: SessionInfo | None,
    metadata: Mapping[str, Any] | None,
) -> Flow[list[SessionInfo]]:
    """Sessions in a scope, the one last active first."""

    def read(txn: Transaction, limit: int, after: SessionInfo | None) -> list[Described]:
        return description.listed(
            txn,
            tenant=tenant,
            user=user,
            agent=agent,
            limit=limit,
            after=after,
            metadata=metadata,
        )

    began = desk.known.begin()
    found = yield from listed(read, description.info_of, metadata, limit, after)
    desk.showed(((one.identity, one.version) for one in found), began)
    return list(map(description.info_of, found))


def read_tail(desk: Desk, name: SessionName, n: int | None = None) -> Flow[Snapshot]:
    """The session's tail, out of the cache where that is known to be all there is (I3).

    The newest n of its rows are whole; others may be stubs of messages too large to cache.
    """
    identity = name.identity
    # What others read too is kept for all of them; what is one's own, as far as it was asked for.
    most = desk.cached_messages if n is None or desk.marks else n
    on, glance = yield from looked(desk, lambda hot, on: hot.look(identity, on, n))
    if (
        glance.fresh
        and glance.seen is not None
        and believes(desk, identity, on, glance.seen.version)
    ):
        if desk.compare and random.random() < desk.compare:
            yield from _compared(desk, name, glance.seen)
        return (yield from _whole(desk, name, glance.seen, n))
    settle = partial(fences.settle, name=name)
    lease = yield from lease_of(desk, identity, on, glance, settle)
    # SQL is asked after the cache has answered, and by a read of one's own: joining one that
    # has begun already can miss what was acknowledged meanwhile.
    held = glance.seen
    seen = yield from sought(desk, name, partial(_newer, desk, name=name, held=held, most=most))
    with suppress(CacheUnavailable):
        if lease is None or seen.number is None or _holds_it(glance, seen):
            yield from do(Hot(lambda hot: hot.remember(identity, seen)))
        else:
            yield from do(Hot(lambda hot: hot.fill(identity, seen, lease)))
    return (yield from _whole(desk, name, seen, n))


def _holds_it(glance: Glance[Snapshot], seen: Snapshot) -> bool:
    """Whether the cache has what SQL says, and would answer so: who compares every read with SQL
    finds it so nearly always, and need not bring it again."""
    held = glance.seen
    return (
        glance.hit
        and held is not None
        and (held.past, held.version, held.fence) == (seen.past, seen.version, seen.fence)
    )


def _compared(desk: Desk, name: SessionName, hit: Snapshot) -> Flow[None]:
    """Hold a hit against SQL, as a sample, and count whether they agree."""
    truth = yield from sought(desk, name, partial(_newer, desk, name=name, held=None))
    if truth.version.epoch > hit.version.epoch:
        return  # rewritten since: nothing can be said
    said = {row.seq: row for row in truth.rows}
    agree = hit.version <= truth.version and all(
        row.seq not in said or row.frame is None or _same(row, said[row.seq]) for row in hit.rows
    )
    if not agree:
        log.error("the cache disagreed with the database about session %s", name)
    yield from do(Hot(lambda hot: hot.compared(agree)))


def _whole(desk: Desk, name: SessionName, seen: Snapshot, n: int | None) -> Flow[Snapshot]:
    """The same with its stubs replaced by the messages they stand for."""
    if not seen.cached:
        return seen
    first = 0 if n is None else max(0, len(seen.rows) - n)
    if all(row.frame is not None for row in seen.rows[first:]):
        return seen
    rows = yield from do(Cold(partial(_fetched, desk, name=name, seen=seen, first=first)))
    if rows is None:  # rewritten meanwhile
        return (yield from sought(desk, name, partial(_newer, desk, name=name, held=None)))
    return replace(seen, rows=rows)


def _fetched(
    desk: Desk, txn: Transaction, name: SessionName, seen: Snapshot, first: int
) -> tuple[MessageRow, ...] | None:
    whole = {
        row.seq: found.rows[0]
        for row in seen.rows[first:]
        if row.frame is None
        and (
            found := rows_of.seen(
                txn, name, after=row.seq - 1, before=row.seq + 1, newest=True, traced=True
            )
        ).rows
    }
    session = sessions.find(txn, name)
    if session is None or session.epoch != seen.version.epoch:
        return None
    rows = tuple(whole.get(row.seq, row) for row in seen.rows)
    # Of another write, where the database has fallen back: what was sealed does not say.
    same = all(found.token in (0, stub.token) for found, stub in zip(rows, seen.rows, strict=True))
    return rows if same else None


def _newer(
    desk: Desk,
    txn: Transaction,
    name: SessionName,
    held: Snapshot | None,
    most: int | None = None,
) -> Snapshot:
    """The tail as it is now, reading only what came after what is held; where nothing is, so many
    of the newest."""
    if held is not None:
        kept = desk.cached_messages
        newer = rows_of.seen(
            txn, name, after=held.version.head, limit=kept, newest=True, traced=True
        )
        # As many rows as were asked for may be the end of more.
        if newer.joins(held) and len(newer.rows) < kept:
            return held.with_newer(newer, kept)
    most = desk.cached_messages if most is None else most
    seen = rows_of.seen(txn, name, limit=most, newest=True, traced=desk.keeps)
    return replace(seen, complete=len(seen.rows) < most, past=new_past())


def _from_sql(desk: Desk, name: SessionName, **bounds: Any) -> Flow[Snapshot]:
    return (yield from sought(desk, name, partial(rows_of.seen, name=name, **bounds)))


def sought(
    desk: Desk, name: SessionName, work: Callable[[Transaction], Snapshot]
) -> Flow[Snapshot]:
    """What a read of the database says: the least that later reads of this process show."""
    began = desk.known.begin()
    seen = yield from do(Cold(work))
    if desk.marks:
        # A fence of 0 is one of a session that is not there, or was not asked for.
        fence = seen.fence if seen.fence or seen.number is None else None
        desk.known.read(name.identity, seen.version, fence, began)
    return seen


def _unreadable(messages: Sequence[Message]) -> bool:
    """Whether one of them cannot be read: if it is a cache's, the database may know better."""
    return codec.DAMAGED in [message.role for message in messages]


def _described(txn: Transaction, name: SessionName) -> Described | Version:
    return description.describe(txn, name) or sessions.absent(txn, name).version


def _same(a: MessageRow, b: MessageRow) -> bool:
    """Whether two rows say the same: a frame has other bytes once it was in a segment."""
    return replace(a, frame=b.frame, token=b.token) == b and (
        a.frame == b.frame or codec.same_content(a.frame or b"", b.frame or b"")
    )
