"""How messages are put in the place of others: one transaction, one new epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from onrecord import codec
from onrecord.accepting import Appendable, messages_from
from onrecord.arguments import whole_number
from onrecord.errors import Conflict, Damaged
from onrecord.flow import Flow
from onrecord.flows.mark import Done
from onrecord.flows.sessions.append import as_stored
from onrecord.flows.sessions.batch import Batch, Stored, new_token
from onrecord.flows.sessions.derived import commit_rewrite
from onrecord.flows.sessions.expected import checked, refuse_unexpected
from onrecord.flows.sessions.rewrite import cut_at
from onrecord.flows.shared import Desk, encode
from onrecord.ledger.sessions import archives, sessions
from onrecord.ledger.sessions import messages as rows_of
from onrecord.message import Message
from onrecord.scope import SessionName
from onrecord.stored import ids
from onrecord.stored.changes import Change
from onrecord.stored.clock import now
from onrecord.stored.messages import Entry, SessionRow
from onrecord.stored.ranges import holds, with_added
from onrecord.usage import Spent, spent_by
from onrecord.version import Expected, Version

if TYPE_CHECKING:
    from onrecord.ledger.database.transaction import Transaction


def replace(
    desk: Desk,
    name: SessionName,
    given: Appendable,
    after: int,
    archived: bool | None,
    expected: Expected,
) -> Flow[list[Message]]:
    """Take away what stands after a place, and append: nobody sees one without the other."""
    after = whole_number("after", after)
    expected = checked(expected)
    at = now()
    entries, contents = encode(desk, messages_from(given), at)

    def work(txn: Transaction) -> Done[Stored]:
        session = sessions.lock_or_create(txn, name, at)
        refuse_unexpected(name, session, expected)
        if after > session.head:
            raise Conflict(
                f"Session {name} has no message {after} to replace what follows it: its "
                f"newest is {session.head}.",
                session.version,
            )
        before = session.version
        wanted = _paid_for(txn, name, session, entries, after, archived)
        session, gone = cut_at(txn, session, after, at, archived)
        new = [_anew(txn, session.number, entry) for entry in wanted]
        version, epoch = session.version, session.epoch
        batch = Batch(name, new, new_token(), version, epoch, at, archived is True)
        stored = batch.commit_locked(txn, session) if new else Stored(session.number, [])
        fresh = [row.seq for _, row, fresh in stored.rows if fresh]
        added = with_added((), fresh)
        head = Version(epoch, session.head + len(fresh))
        shelved = added if archived else ()
        return Done(stored, Change("replace", name, before, head, added, gone, shelved))

    done = yield from commit_rewrite(desk, name, work, Done.change_of)
    return as_stored(desk, done.answer, contents)


def _paid_for(
    txn: Transaction,
    name: SessionName,
    session: SessionRow,
    entries: Sequence[Entry],
    after: int,
    archived: bool | None,
) -> list[Entry]:
    """The messages; those that say what one says that goes are put back, and cost nothing again.

    Nobody reads what goes unless a new one says that it cost something.
    """
    if all(entry.usage is None for entry in entries):
        return list(entries)
    whole = ((after + 1, session.head),)
    where = whole if archived is None else archives.of(txn, session)
    going: dict[Spent, list[bytes]] = {}
    for row in rows_of.seen(txn, name, after=after).rows:
        if holds(where, row.seq) is (archived is not False) and row.frame is not None:
            with suppress(Damaged):  # it says nothing that could be put back
                if (spent := spent_by(codec.decode(row.frame).usage)) is not None:
                    going.setdefault(spent, []).append(row.frame)
    return [entry._replace(usage=None) if _taken(going, entry) else entry for entry in entries]


def _taken(going: Mapping[Spent, list[bytes]], entry: Entry) -> bool:
    """Whether a message is one of those that go; each of them is taken once."""
    frames = [] if entry.usage is None else going.get(entry.usage, [])
    for n, frame in enumerate(frames):
        if codec.same_content(frame, entry.frame):
            del frames[n]
            return True
    return False


def _anew(txn: Transaction, session: int, entry: Entry) -> Entry:
    """A message as a new one: the id it was once given here is of the one that goes."""
    if entry.id is None or ids.parse(ids.prefix(txn.facts.store_id, session), entry.id) is None:
        return entry
    return entry._replace(id=None)
