"""How sessions that somebody has to go on with are found, with what was said there last."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from onrecord.flow import Cold, Flow, do
from onrecord.flows.shared import Desk
from onrecord.ledger.sessions import unfinished
from onrecord.ledger.sessions.description import info_of
from onrecord.message import Message
from onrecord.scope import Scope, SessionName
from onrecord.stored.clock import now
from onrecord.stored.messages import Snapshot
from onrecord.version import SessionInfo

if TYPE_CHECKING:
    from onrecord.ledger.database.transaction import Transaction


class FoundOpen(NamedTuple):
    """A session that somebody has to go on with, and its newest messages."""

    name: SessionName
    info: SessionInfo
    messages: list[Message]
    left: bool
    """Whether a turn was left there."""
    place: tuple[int, int]
    """What those after it are behind."""


def list_unfinished(
    desk: Desk, scope: Scope, quiet_for: int, limit: int, after: tuple[int, int] | None
) -> Flow[list[FoundOpen]]:
    """Sessions that wait for an answer or a result, or whose turn was left, the one last active
    first. What was answered while they were read is left out, and others come in its place."""
    found: list[FoundOpen] = []
    at = now()

    def read(txn: Transaction) -> tuple[list[unfinished.Open], tuple[int, int] | None]:
        return unfinished.listed(txn, scope, quiet_for, at, limit - len(found), after)

    while len(found) < limit:
        began = desk.known.begin()
        page, after = yield from do(Cold(read))
        desk.showed(((one.described.identity, one.described.version) for one in page), began)
        for one in page:
            snapshot = Snapshot(one.key.session, one.described.version, tuple(one.rows))
            messages = desk.build.messages(snapshot, snapshot.rows)
            left = one.described.held_until is not None
            if left or (messages and messages[-1].waits):
                found.append(FoundOpen(one.name, info_of(one.described), messages, left, one.place))
        if after is None:
            break
    return found
