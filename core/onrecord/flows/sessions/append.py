"""How an append travels: encoded, made durable, and answered with what is stored."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial

from onrecord.accepting import Appendable, messages_from
from onrecord.errors import Unavailable
from onrecord.flow import Cold, Flow, do
from onrecord.flows.mark import commit
from onrecord.flows.sessions.batch import Batch, Stored, new_token
from onrecord.flows.sessions.expected import checked
from onrecord.flows.shared import Desk, encode
from onrecord.ledger.sessions import sealing
from onrecord.message import Message
from onrecord.scope import SessionName
from onrecord.stored.changes import Change
from onrecord.stored.clock import now
from onrecord.stored.ranges import with_added
from onrecord.version import Expected, Since, Version

log = logging.getLogger("onrecord")


def append(
    desk: Desk, name: SessionName, given: Appendable, expected: Expected, archived: bool = False
) -> Flow[list[Message]]:
    """Make messages durable, all or none, and give them back as stored."""
    expected = checked(expected)
    at = now()
    entries, contents = encode(desk, messages_from(given), at)
    if not entries:
        return []
    known_epoch = desk.known.get(name.identity).epoch
    match expected:
        case Version(epoch, _) | Since(Version(epoch, _)):
            known_epoch = max(known_epoch, epoch)
        case _:
            pass
    batch = Batch(name, entries, new_token(), expected, known_epoch, at, archived)
    change = partial(change_of, batch)
    try:
        stored = yield from commit(desk, name, batch.commit, change, appends=True)
    except Unavailable as lost:
        if not lost.outcome_unknown:
            raise
        stored = yield from _append_again(desk, batch, lost)
    if stored.rows and not desk.marks:
        newest = max((row for _, row, _ in stored.rows), key=lambda row: row.seq)
        desk.known.wrote(name.identity, Version(newest.epoch, newest.seq), None)
    if sealing.outgrown(stored.in_tail):
        yield from _seal(desk, name)
    return as_stored(desk, stored, contents)


def _seal(desk: Desk, name: SessionName) -> Flow[None]:
    """Seal what has outgrown the tail. The append before it stands, whatever happens here."""
    try:
        yield from do(Cold(partial(sealing.seal_oldest, name=name), writes=True))
    except Exception as fault:  # any: the next append finds the tail as long, and tries again
        log.warning("the older messages of %s could not be sealed: %s", name, fault)


def _append_again(desk: Desk, batch: Batch, lost: Unavailable) -> Flow[Stored]:
    """The answer to a commit was lost: look whether it happened, and only then repeat it."""
    log.warning("an append to %s lost its answer and is looked up: %s", batch.name, lost)
    try:
        again = batch.commit_unless_done
        change = partial(_change_again, batch)
        stored: Stored = yield from commit(desk, batch.name, again, change, appends=True)
    except Unavailable as fault:
        # Even where this attempt wrote nothing, the first may have.
        raise Unavailable(str(lost), outcome_unknown=True) from fault
    return stored


def as_stored(desk: Desk, stored: Stored, contents: Sequence[Message]) -> list[Message]:
    """What is in the database now, for each message that was brought."""
    build = desk.build
    return [
        # Our own content was decoded from the very frame that was written.
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
