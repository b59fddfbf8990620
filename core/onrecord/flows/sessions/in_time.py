"""How messages are read by the time at which they were said. Time filters, and orders nothing."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from onrecord.arguments import moment, whole_number
from onrecord.flow import Cold, Flow, do
from onrecord.flows.shared import Desk
from onrecord.ledger.sessions import archives, sessions
from onrecord.ledger.sessions import messages as rows_of
from onrecord.message import Message
from onrecord.scope import SessionName
from onrecord.stored.messages import LAST_SEQ, Snapshot
from onrecord.stored.ranges import holds

if TYPE_CHECKING:
    from datetime import datetime

    from onrecord.ledger.database.transaction import Transaction

_NEVER: Final = 2**63 - 1


def messages_in_time(
    desk: Desk,
    name: SessionName,
    since: datetime | None,
    until: datetime | None,
    after: int | None,
    before: int | None,
    limit: int | None,
    archived: bool | None,
    into: Callable[[Message], object] | None,
) -> Flow[list[Any]]:
    """Messages from one time on, before another, as ``messages`` chooses them."""
    earliest, end = moment("since", since), moment("until", until)
    work = partial(
        _read,
        name=name,
        since=-_NEVER if earliest is None else earliest,
        until=_NEVER if end is None else end,
        after=whole_number("after", after or 0),
        before=LAST_SEQ + 1 if before is None else whole_number("before", before),
        limit=LAST_SEQ if limit is None else whole_number("limit", limit),
        archived=archived,
        newest=before is not None and after is None,
    )
    began = desk.known.begin()
    seen = yield from do(Cold(work))
    desk.showed([(name.identity, seen.version)], began)
    return (
        desk.build.messages(seen, seen.rows) if into is None else desk.build.converted(seen, into)
    )


def _read(
    txn: Transaction,
    name: SessionName,
    since: int,
    until: int,
    after: int,
    before: int,
    limit: int,
    archived: bool | None,
    newest: bool,
) -> Snapshot:
    txn.snapshot()  # messages may be sealed between two statements
    found = archives.find(txn, name)
    if found is None:
        return Snapshot(None, sessions.absent(txn, name).version, (), True)
    session, ranges = found
    rows = rows_of.in_time(
        txn, session, since, until, after=after, before=before, limit=limit, newest=newest
    )
    chosen = list(
        islice(
            (row for row in rows if archived is None or holds(ranges, row.seq) == archived), limit
        )
    )
    if newest:
        chosen.reverse()
    return Snapshot(session.number, session.version, tuple(chosen))
