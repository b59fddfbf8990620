"""How messages are archived, and read by whether they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from onrecord.arguments import whole_number
from onrecord.errors import Misconfigured, shown
from onrecord.flow import Cold, Flow, do
from onrecord.flows.mark import Done
from onrecord.flows.sessions.expected import checked, refuse_unexpected
from onrecord.flows.shared import Desk
from onrecord.ledger.sessions import archives, sessions
from onrecord.ledger.sessions import messages as rows_of
from onrecord.message import Message
from onrecord.scope import SessionName
from onrecord.stored.changes import Change
from onrecord.stored.messages import LAST_SEQ, MessageRow, Snapshot
from onrecord.stored.ranges import Ranges, common, spans, with_added, without
from onrecord.version import Expected, Version

if TYPE_CHECKING:
    from onrecord.ledger.database.transaction import Transaction


MOST_AT_ONCE: Final = 1_000_000
"""The most sequences one call may name: they are held in memory, 100 bytes each."""


def archive(
    desk: Desk, name: SessionName, seqs: Iterable[int], expected: Expected
) -> Flow[list[Message]]:
    """Archive messages, and return those that were not yet: each is returned to one caller."""
    wanted = _checked("archive", seqs)
    expected = checked(expected)

    def work(txn: Transaction) -> Done[Snapshot]:
        found = archives.find(txn, name, lock=True)
        session, archived = found or (sessions.absent(txn, name), ())
        refuse_unexpected(name, session, expected)
        if found is None:
            return Done(Snapshot(None, session.version, (), True), None)
        rows: list[MessageRow] = []
        for first, last in wanted:
            for low, high in spans(archived, first, last, inside=False):
                rows += rows_of.seen(txn, name, after=low - 1, before=high + 1).rows
        seen = Snapshot(session.number, session.version, tuple(rows))
        if not rows:
            return Done(seen, None)
        seqs, version = [row.seq for row in rows], session.version
        archives.put(txn, session, with_added(archived, seqs))
        new = with_added((), seqs)
        return Done(seen, Change("archive", name, version, version, archived=new))

    began = desk.known.begin()
    done = yield from do(Cold(work, writes=True, change_of=Done.change_of))
    seen = done.answer
    desk.showed([(name.identity, seen.version)], began)
    return desk.build.messages(seen, seen.rows)


def unarchive(desk: Desk, name: SessionName, seqs: Iterable[int]) -> Flow[None]:
    """Make archived messages active again."""
    wanted = _checked("unarchive", seqs)

    def work(txn: Transaction) -> Change | None:
        found = archives.find(txn, name, lock=True)
        if found is None:
            return None
        session, archived = found
        archives.put(txn, session, without(archived, wanted))
        active, version = common(archived, wanted), session.version
        return Change("unarchive", name, version, version, unarchived=active) if active else None

    yield from do(Cold(work, writes=True, change_of=lambda change: change))


def messages_by_archived(
    desk: Desk,
    name: SessionName,
    archived: bool,
    after: int | None,
    before: int | None,
    limit: int | None,
    into: Callable[[Message], object] | None,
) -> Flow[list[Any]]:
    """Messages that are archived, or that are not, as ``messages`` chooses them."""
    work = partial(
        _read,
        name=name,
        archived=archived,
        low=whole_number("after", after or 0) + 1,
        high=LAST_SEQ if before is None else whole_number("before", before) - 1,
        limit=None if limit is None else whole_number("limit", limit),
        newest=before is not None and after is None,
    )
    began = desk.known.begin()
    while (seen := (yield from do(Cold(work)))) is None:
        pass  # rewritten between two statements: read again
    desk.showed([(name.identity, seen.version)], began)
    return (
        desk.build.messages(seen, seen.rows) if into is None else desk.build.converted(seen, into)
    )


def count_archived(desk: Desk, name: SessionName, archived: bool) -> Flow[int]:
    """How many messages are archived, or are not."""

    def work(txn: Transaction) -> tuple[int, Version]:
        txn.snapshot()  # messages may be sealed between two statements
        found = archives.find(txn, name)
        if found is None:
            return 0, sessions.absent(txn, name).version
        session, ranges = found
        count = sum(
            rows_of.count(txn, session, low, high)
            for low, high in spans(ranges, 1, session.head, inside=archived)
        )
        return count, session.version

    began = desk.known.begin()
    count, version = yield from do(Cold(work))
    desk.showed([(name.identity, version)], began)
    return count


def _read(
    txn: Transaction,
    name: SessionName,
    archived: bool,
    low: int,
    high: int,
    limit: int | None,
    newest: bool,
) -> Snapshot | None:
    """The rows; None where the session was rewritten between two statements."""
    found = archives.find(txn, name)
    if found is None:
        return Snapshot(None, sessions.absent(txn, name).version, (), True)
    session, ranges = found
    runs = list(spans(ranges, low, min(high, session.head), inside=archived))
    rows: list[tuple[MessageRow, ...]] = []
    left = LAST_SEQ if limit is None else limit
    for first, last in reversed(runs) if newest else runs:
        if left <= 0:
            break
        seen = rows_of.seen(txn, name, after=first - 1, before=last + 1, limit=left, newest=newest)
        if seen.version.epoch != session.epoch:
            return None
        rows.append(seen.rows)
        left -= len(seen.rows)
    if newest:
        rows.reverse()
    version = Version(session.epoch, session.head)
    return Snapshot(session.number, version, tuple(row for run in rows for row in run))


def _checked(method: str, seqs: Iterable[int]) -> Ranges:
    if not isinstance(seqs, Iterable):
        raise Misconfigured(
            f"{method}() takes the sequences of several messages, {method}([1, 2]), and not "
            f"{shown(seqs)}."
        )
    given = list(islice(seqs, MOST_AT_ONCE + 1))  # it may have no end
    if len(given) > MOST_AT_ONCE:
        raise Misconfigured(
            f"One {method}() takes at most {MOST_AT_ONCE:,} sequences and this has more. Do it in "
            f"several steps."
        )
    return with_added((), [whole_number("seq", seq) for seq in given])
