"""How an append travels: encoded, made durable, and answered with what is stored."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from onrecord.accepting import Appendable, messages_from
from onrecord.errors import Unavailable
from onrecord.flow import Cold, Flow, do
from onrecord.flows.items.writing import (
    Write,
    Written,
    prepared,
    put_beside,
    write,
    written_beside,
    wrote,
)
from onrecord.flows.mark import commit, commit_items
from onrecord.flows.sessions.batch import Batch, Stored, locked_existing, new_token
from onrecord.flows.sessions.expected import checked, refuse_unexpected
from onrecord.flows.shared import Desk, encode
from onrecord.flows.turns.holding import refuse_other
from onrecord.item import ItemChange
from onrecord.ledger.sessions import sealing, sessions
from onrecord.message import Message
from onrecord.scope import SessionName
from onrecord.stored.changes import Change
from onrecord.stored.clock import now
from onrecord.stored.ranges import with_added
from onrecord.version import Expected, Since, Version

if TYPE_CHECKING:
    from onrecord.ledger.database.transaction import Transaction

log = logging.getLogger("onrecord")


def append(
    desk: Desk,
    name: SessionName,
    given: Appendable,
    expected: Expected,
    archived: bool = False,
    existing: bool = False,
    items: Sequence[ItemChange] = (),
    holder: bytes | None = None,
) -> Flow[list[Message]]:
    """Make messages durable, all or none, and give them back as stored; with them changes of
    items. With ``holder`` only while that turn holds the session."""
    expected = checked(expected)
    writes = prepared(desk, items, name.tenant, name.user, name.agent, name) if items else []
    at = now()
    entries, contents = encode(desk, messages_from(given), at)
    if not entries:
        if writes:
            only = partial(
                _write_alone,
                desk,
                name=name,
                writes=writes,
                expected=expected,
                existing=existing,
                holder=holder,
            )
            yield from commit_items(desk, [one.item for one in writes], only, wrote)
        return []
    known_epoch = desk.known.get(name.identity).epoch
    match expected:
        case Version(epoch, _) | Since(Version(epoch, _)):
            known_epoch = max(known_epoch, epoch)
        case _:
            pass
    batch = Batch(
        name,
        entries,
        new_token(),
        expected,
        known_epoch,
        at,
        archived,
        existing,
        not writes,
        holder,
    )
    try:
        stored = yield from _appended(desk, batch, writes)
    except Unavailable as lost:
        if not lost.outcome_unknown:
            raise
        stored = yield from _append_again(desk, batch, lost, writes)
    if stored.rows and not desk.marks:
        desk.known.wrote_in(name.identity, max([row.epoch for _, row, _ in stored.rows]))
    if sealing.outgrown(stored.in_tail):
        yield from _seal(desk, name)
    return as_stored(desk, stored, contents)


def _write_alone(
    desk: Desk,
    txn: Transaction,
    name: SessionName,
    writes: Sequence[Write],
    expected: Expected,
    existing: bool,
    holder: bytes | None,
) -> list[Written]:
    """Change items beside no message, while the session is where it is expected to be, and while
    the turn that writes holds it; with ``existing`` only where it is there."""
    if existing:
        locked_existing(txn, name)
    if expected is not None or holder is not None:
        session = sessions.lock(txn, name) or sessions.absent(txn, name)
        refuse_other(f"Session {name}", session.version, session.holder, holder)
        refuse_unexpected(name, session, expected)
    return write(desk, txn, writes)


def _appended(
    desk: Desk,
    batch: Batch,
    writes: Sequence[Write],
    again: bool = False,
) -> Flow[Stored]:
    """Append, and change items in the same transaction. They are changed where something is new:
    what was appended before had its own with it."""
    work = batch.commit_unless_done if again else batch.commit
    change = partial(_change_again if again else change_of, batch)
    if not writes:
        stored: Stored = yield from commit(desk, batch.name, work, change, token=batch.token)
        return stored

    def both(txn: Transaction) -> tuple[Stored, list[Written]]:
        beside = None if again else put_beside(txn, writes)
        if beside is not None:
            done = batch.commit(txn, beside)
            if done.beside:
                return done, [written_beside(writes[0], beside, done.beside)]
        else:
            txn.begin()
            done = work(txn)
        if not any(fresh for _, _, fresh in done.rows):
            return done, []
        return done, write(desk, txn, writes)  # after the session: who needs both locks it first

    answer: tuple[Stored, list[Written]] = yield from commit(
        desk,
        batch.name,
        both,
        lambda answer: change(answer[0]),
        token=batch.token,
        items=[one.item for one in writes],
        wrote=lambda answer: wrote(answer[1]),
    )
    return answer[0]


def _seal(desk: Desk, name: SessionName) -> Flow[None]:
    """Seal what has outgrown the tail. The append before it stands, whatever happens here."""
    try:
        yield from do(Cold(partial(sealing.seal_oldest, name=name), writes=True))
    except Exception as fault:  # any: the next append finds the tail as long, and tries again
        log.warning("the older messages of %s could not be sealed: %s", name, fault)


def _append_again(
    desk: Desk, batch: Batch, lost: Unavailable, writes: Sequence[Write]
) -> Flow[Stored]:
    """The answer to a commit was lost: look whether it happened, and only then repeat it."""
    log.warning("an append to %s lost its answer and is looked up: %s", batch.name, lost)
    try:
        stored = yield from _appended(desk, batch, writes, again=True)
    except Unavailable as fault:
        # Even where this attempt wrote nothing, the first may have.
        raise Unavailable(str(lost), outcome_unknown=True) from fault
    return stored


def as_stored(desk: Desk, stored: Stored, contents: Sequence[Message]) -> list[Message]:
    """What is in the database now, for each message that was brought."""
    build = desk.build
    # Our own content was decoded from the very frame that was written.
    written = [row for _, row, fresh in stored.rows if fresh]
    if len(written) == len(contents):  # as mostly: nothing was there before
        return build.written(contents, written, stored.session)
    return [
        build.completed(contents[i], row, stored.session)
        if fresh
        else build.message(row, stored.session)
        for i, row, fresh in stored.rows
    ]


def change_of(batch: Batch, stored: Stored) -> Change | None:
    """What an append changed: it wrote rows, one after the other, or nothing."""
    rows = [row for _, row, fresh in stored.rows if fresh]
    if not rows:
        return None
    first, newest = rows[0], rows[-1]
    added = ((first.seq, newest.seq),)
    return Change(
        "append",
        batch.name,
        Version(first.epoch, first.seq - 1),
        Version(newest.epoch, newest.seq),
        added,
        archived=added if batch.archived else (),
        rows=rows,
        lineage=newest.token,
        number=stored.session,
    )


def _change_again(batch: Batch, stored: Stored) -> Change | None:
    """What two attempts changed: where the session stood, and nothing to extend a cache by."""
    if not stored.rows:
        return None
    rows = sorted([row for _, row, _ in stored.rows], key=lambda row: row.seq)
    first, newest = rows[0], rows[-1]
    added = with_added((), [row.seq for row in rows])
    return Change(
        "append",
        batch.name,
        Version(first.epoch, first.seq - 1),
        Version(newest.epoch, newest.seq),
        added,
        archived=added if batch.archived else (),
    )
