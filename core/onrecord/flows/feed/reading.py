"""How a change travels: looked for, handed out, read; and made final when its reader is done.

What is found is handed out by a transaction of its own that writes to the rows of this reader
alone, and each only where nobody else has: two workers never hold the same session, and no row of
a session is locked. The messages are read after it, all of one moment. What is handed out waits for
no disk: where it is lost with the machine's power it is handed out again, as where a reader dies.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from onrecord.arguments import check_number, check_range
from onrecord.change import Change, FeedInfo, Handout
from onrecord.errors import Misconfigured, OnrecordError, shown
from onrecord.flow import Cold, Flow, do
from onrecord.flows.feed.looking import Looked, look
from onrecord.flows.items.writing import Write, Written, prepared, write, wrote
from onrecord.flows.mark import commit_items
from onrecord.flows.shared import Desk
from onrecord.item import ItemChange
from onrecord.ledger.database.stamp import random
from onrecord.ledger.feed import feeds, positions
from onrecord.ledger.feed.positions import Candidate, Finished, Taken
from onrecord.ledger.sessions import description
from onrecord.ledger.sessions import messages as rows_of
from onrecord.ledger.sessions.description import Described
from onrecord.scope import ANY, FeedName, SessionName
from onrecord.stored.clock import MICROSECONDS, now
from onrecord.stored.messages import SessionKey, Snapshot, Span
from onrecord.version import NOTHING, SessionInfo, Version

if TYPE_CHECKING:
    from onrecord.ledger.database.transaction import Transaction

log = logging.getLogger("onrecord")

MESSAGES: Final = 1_000
"""Of a session in one change; the others come after it."""
MOST_SESSIONS: Final = 1_000
"""That are handed out by one read."""
_ATTEMPTS: Final = 5
"""Where other workers were faster with all that was found."""
_AT_ONCE: Final = 1_000
"""Positions that are dropped in one transaction."""


class _Read(NamedTuple):
    """A session that was handed out, as it was when it was read."""

    taken: Taken
    info: SessionInfo | None
    """None where it is not there."""
    seen: Snapshot | None
    rewritten: bool
    finished: Finished


class _Wanted(NamedTuple):
    """A session that was handed out, and after which message it is to be read."""

    taken: Taken
    described: Described
    name: SessionName
    info: SessionInfo
    after: int
    rewritten: bool


def read_feed(desk: Desk, name: FeedName, limit: int, lease: float) -> Flow[list[Change]]:
    """Changes that nobody holds, at most of so many sessions, each held for a while."""
    check_number("limit", limit, 1, MOST_SESSIONS)
    check_range("lease", lease, "seconds", 0.01, positions.LONGEST_LEASE // MICROSECONDS)
    attempts = 0
    while attempts < _ATTEMPTS:
        here = yield from _looked(name, limit)
        if not here.found:
            if here.swept or here.far or here.passed:
                keep = partial(feeds.keep, row=here.row, name=name)
                yield from do(Cold(keep, writes=True, durable=False))
            if here.far:
                continue
            return []
        attempts += 1
        holder = random()
        take = partial(
            _take, here=here, name=name, holder=holder, lease=int(lease * MICROSECONDS), now=now()
        )
        if not (yield from do(Cold(take, writes=True, durable=False))):
            continue  # it was forgotten
        read = partial(_read_all, feed=here.row.number, holder=holder, asked=here.found)
        began = desk.known.begin()
        found = yield from do(Cold(read))
        desk.showed(_stood(found), began)
        same = [one.finished for one in found if _is_same(one)]
        if same:
            finish = partial(positions.finish, feed=here.row.number, done=same)
            yield from do(Cold(finish, writes=True, durable=False))
        facts = desk.facts()
        assert facts is not None, "the ledger was opened to hand out"
        feed = name.hashed(facts.store_id)
        more = len(here.found) >= limit or here.far or here.passed
        read_by = here.row.number, more
        changes = [_change(desk, feed, read_by, one) for one in found if not _is_same(one)]
        if changes:
            return changes
    return []


def finish_changes(
    desk: Desk,
    name: FeedName,
    given: Change | Iterable[Change],
    given_writes: Sequence[ItemChange] = (),
    durable: bool = True,
) -> Flow[bool]:
    """Make changes final, and items what was made of them; whether they were still held by who was
    given them."""
    changes = [given] if isinstance(given, Change) else _changes(given)
    tenant, user, agent = ["" if part is ANY else str(part) for part in name.scope]
    writes = prepared(desk, given_writes, tenant, user, agent)
    if not changes:
        if writes:
            raise Misconfigured("done() writes items with changes, and was given none of these.")
        return True
    facts = desk.facts()
    if facts is None:  # another process was given them
        if (yield from do(Cold(partial(feeds.find, name=name, now=now())))) is None:
            return False
        facts = desk.facts()
        assert facts is not None, "a row was found"
    feed = name.hashed(facts.store_id)
    if any(change.handout.feed != feed for change in changes):
        raise Misconfigured(f"done() was given a change of another feed than {name}.")
    # One reader's, but for one that was forgotten in between and began anew.
    done = {change.handout.reader: list[Finished]() for change in changes}
    for reader, finished in dict.fromkeys((one.handout.reader, _finished(one)) for one in changes):
        done[reader].append(finished)  # once, where one is given twice
    if writes:
        return (yield from _finished_with(desk, done, writes, durable))
    held = 0
    for reader, some in done.items():
        work = partial(positions.finish, feed=reader, done=some)
        held += yield from do(Cold(work, writes=True, durable=durable))
    return held == sum(map(len, done.values()))


class _NotHeld(Exception):
    """Another reader was given the same: nothing is to be written."""


def _finished_with(
    desk: Desk, done: Mapping[int, Sequence[Finished]], writes: Sequence[Write], durable: bool
) -> Flow[bool]:
    """Write items and make changes final, or neither."""

    def work(txn: Transaction) -> list[Written]:
        txn.begin()
        # Sessions, namespaces, positions: the order of all who lock them.
        written = write(desk, txn, writes)
        for reader, some in done.items():
            if positions.finish(txn, reader, some) < len(some):
                raise _NotHeld
        return written

    try:
        items = [one.item for one in writes]
        yield from commit_items(desk, items, work, wrote, durable=durable)
    except _NotHeld:
        return False
    return True


def count_behind(name: FeedName) -> Flow[int]:
    """How many sessions a reader has not finished; all of its scope, where it has never read."""
    return (yield from do(Cold(partial(_behind, name=name))))


def list_feeds(after: FeedInfo | None, limit: int) -> Flow[list[FeedInfo]]:
    """Readers in the order in which they began, and how far behind they are."""
    check_number("limit", limit, 1, MOST_SESSIONS)
    work = partial(feeds.listed, after=0 if after is None else after.number, limit=limit)
    infos: list[FeedInfo] = []
    for one in (yield from do(Cold(work))):
        if not one.named:
            left = yield from do(Cold(partial(positions.erased_behind, feed=one.number)))
            infos.append(FeedInfo(one.name, None, None, None, left, one.number))
            continue
        left = yield from do(Cold(partial(positions.behind, feed=one.number, scope=one.scope)))
        infos.append(FeedInfo(one.name, *one.scope, left, one.number))
    return infos


def forget_feed(name: FeedName) -> Flow[bool]:
    """Take a reader's positions away, some in each transaction, and then the reader: of one that
    is gone nobody could find them, where whoever forgets it is killed between the two."""
    here = yield from do(Cold(partial(feeds.find, name=name, now=now())))
    if here is None:
        return False
    after: int | None = 0
    while after is not None:
        drop = partial(positions.drop, feed=here.number, after=after, limit=_AT_ONCE)
        after = yield from do(Cold(drop, writes=True))
    return (yield from do(Cold(partial(_forgotten, feed=here.number), writes=True)))


def _forgotten(txn: Transaction, feed: int) -> bool:
    """Take a reader away, with the positions that others have added since."""
    txn.begin()
    gone = feeds.drop(txn, feed)  # first: from here on nobody adds to them
    after: int | None = 0
    while after is not None:
        after = positions.drop(txn, feed=feed, after=after, limit=_AT_ONCE)
    return gone


def _looked(name: FeedName, limit: int) -> Flow[Looked]:
    here = yield from do(Cold(partial(look, name=name, limit=limit, now=now())))
    while here is None:
        yield from do(Cold(partial(feeds.create, name=name), writes=True))
        here = yield from do(Cold(partial(look, name=name, limit=limit, now=now())))
    return here


def _take(
    txn: Transaction, here: Looked, name: FeedName, holder: int, lease: int, now: int
) -> bool:
    txn.begin()
    if not feeds.keep(txn, here.row, name):
        return False
    positions.take(txn, here.row.number, here.found, holder, lease, now)
    return True


def _read_all(txn: Transaction, feed: int, holder: int, asked: Sequence[Candidate]) -> list[_Read]:
    txn.snapshot()
    fresh = {one.key for one in asked if not one.known}
    wanted: list[_Wanted] = []
    found: list[_Read] = []
    for one in positions.taken(txn, feed, holder, asked):
        if one.described is None:
            erased = Finished(one.key, holder, 0, 0, 0, 0, erased=True)
            found.append(_Read(one, None, None, one.key not in fresh, erased))
            continue
        try:
            wanted.append(_wanted(one, one.described, one.key in fresh))
        except OnrecordError as fault:
            _tell_apart(one, fault)
    at_once = _few_at_once(txn, wanted)
    for want in wanted:
        try:
            found.append(_read(txn, want, holder, at_once.get(want.taken.key)))
        except OnrecordError as fault:
            _tell_apart(want.taken, fault)
    return sorted(found, key=lambda read: read.taken.key)


def _stood(found: Iterable[_Read]) -> Iterator[tuple[bytes, Version]]:
    """Where the sessions stood that were read, by identity."""
    for one in found:
        if one.seen is not None and one.taken.described is not None:
            yield one.taken.described.identity, one.seen.version


def _tell_apart(one: Taken, fault: OnrecordError) -> None:
    """One that cannot be read holds no other up. It comes again when its lease has ended."""
    log.warning("session %d cannot be handed out: %s", one.key.session, fault)


def _wanted(one: Taken, described: Described, fresh: bool) -> _Wanted:
    tenant, user, agent, key, epoch, head, *_ = described
    name = SessionName(key=key, tenant=tenant, user=user, agent=agent)
    rewritten = not fresh and _is_rewritten(one, epoch, head)
    info = description.info_of(described)
    return _Wanted(one, described, name, info, 0 if rewritten or fresh else one.head, rewritten)


def _few_at_once(txn: Transaction, wanted: Iterable[_Wanted]) -> dict[SessionKey, Snapshot]:
    """Read sessions of which there is no more than one change can have: in one statement, where a
    database can be asked for all of them. None of them, where one is damaged."""
    few = [want for want in wanted if 0 < want.described.head - want.after <= MESSAGES]
    if not few:
        return {}
    spans = [Span(want.taken.key, want.after + 1, want.described.head) for want in few]
    try:
        read = rows_of.in_places(txn, spans, [want.name for want in few])
    except OnrecordError:
        return {}  # each by itself is told apart from the others
    return {
        key: Snapshot(key.session, Version(epoch, want.described.head), tuple(rows))
        for want, (key, *_), (epoch, rows) in zip(few, spans, read, strict=True)
        if epoch == want.described.epoch
    }


def _read(txn: Transaction, want: _Wanted, holder: int, seen: Snapshot | None) -> _Read:
    one, head = want.taken, want.described.head
    upto = head
    if seen is None:
        seen = rows_of.seen(txn, want.name, after=want.after, limit=MESSAGES)
        upto = head if len(seen.rows) < MESSAGES else seen.rows[-1].seq
    lineage, token = want.described.lineage, one.token_at_head
    if upto != head:
        lineage, token = 0, positions.token_at(txn, one.key, upto)
    finished = Finished(one.key, holder, want.described.epoch, upto, lineage, token)
    return _Read(one, want.info, seen, want.rewritten, finished)


def _is_rewritten(one: Taken, epoch: int, head: int) -> bool:
    """Whether what a reader has finished of a session is there no more, or not as it was."""
    if epoch != one.epoch or not 0 <= one.head <= head:
        return True
    return one.token_there != one.token and 0 not in (one.token_there, one.token)


def _is_same(found: _Read) -> bool:
    """Whether there is nothing to tell: its title was changed; or it has come and gone before
    anybody was told of it."""
    if found.info is None:
        return not found.rewritten
    at = found.taken.epoch, found.taken.head
    return not found.rewritten and at == (found.finished.epoch, found.finished.head)


def _change(desk: Desk, feed: bytes, read_by: tuple[int, bool], found: _Read) -> Change:
    taken, done = found.taken, found.finished
    reader, more = read_by
    if found.seen is not None and len(found.seen.rows) >= MESSAGES:
        more = True
    handout = Handout(feed, taken.key.shard, done.holder, done.lineage, done.token, reader, more)
    if found.info is None or found.seen is None:
        now = Version(taken.epoch, 0)
        return Change("erased", taken.key.session, None, NOTHING, now, [], handout)
    return Change(
        "rewritten" if found.rewritten else "appended",
        taken.key.session,
        found.info,
        NOTHING if taken.head < 0 else Version(taken.epoch, taken.head),
        Version(done.epoch, done.head),
        desk.build.messages(found.seen, found.seen.rows),
        handout,
    )


def _finished(change: Change) -> Finished:
    given = change.handout
    key = SessionKey(given.shard, change.number)
    erased = change.kind == "erased"
    return Finished(key, given.holder, *change.now, given.lineage, given.token, erased)


def _changes(given: object) -> list[Change]:
    changes: list[Change] = []
    for change in given if isinstance(given, Iterable) else [given]:
        if not isinstance(change, Change):
            raise Misconfigured(f"done() takes changes that were read, not {shown(change)}.")
        changes.append(change)
    return changes


def _behind(txn: Transaction, name: FeedName) -> int:
    here = feeds.find(txn, name, now())
    return positions.behind(txn, 0 if here is None else here.number, name.scope)
