"""How a session is forked: its beginning again, under another key, in one transaction."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from onrecord.arguments import whole_number
from onrecord.errors import Conflict
from onrecord.flow import Flow
from onrecord.flows.mark import commit
from onrecord.flows.shared import Desk
from onrecord.ledger.items import state
from onrecord.ledger.sessions import archives, forking, sessions
from onrecord.ledger.sessions import messages as rows_of
from onrecord.scope import SessionName
from onrecord.stored.changes import Change
from onrecord.stored.clock import now
from onrecord.stored.messages import SessionRow
from onrecord.stored.ranges import cut_after

if TYPE_CHECKING:
    from onrecord.ledger.database.transaction import Transaction


def fork(desk: Desk, name: SessionName, key: str, at: int | None) -> Flow[SessionName]:
    """The messages up to a place again, and the state as it is now, in a session that has none of
    either yet."""
    fork = SessionName(key=key, tenant=name.tenant, user=name.user, agent=name.agent)
    upto = None if at is None else whole_number("at", at)
    work = partial(_fork, name=name, fork=fork, at=upto, when=now())
    yield from commit(desk, fork, work, lambda change: change, hurried=False)
    return fork


def _fork(
    txn: Transaction, name: SessionName, fork: SessionName, at: int | None, when: int
) -> Change:
    session, target = _both(txn, name, fork, when)
    if target.head:
        raise Conflict(
            f"Session {fork} has messages already. Fork into a key that has none.", target.version
        )
    if not state.is_empty(txn, fork, when):
        raise Conflict(
            f"Session {fork} has a state already. Fork into a key that has none, or clear it.",
            target.version,
        )
    at = session.head if at is None else at
    if at > session.head:
        raise Conflict(
            f"Session {name} cannot be forked at message {at}: its newest is {session.head}.",
            session.version,
        )
    archived = cut_after(archives.of(txn, session), at)
    totals = rows_of.totals(txn, session, 0, at)
    before = target.version
    target = forking.copy(txn, session, target, at, totals, when)
    if archived:
        archives.put(txn, target, archived)
    state.copy(txn, name, fork, when)
    state.remove_derived(txn, fork, () if at == session.head else ((at + 1, session.head),))
    added = ((1, at),) if at else ()
    return Change("fork", fork, before, target.version, added, archived=archived)


def _both(
    txn: Transaction, name: SessionName, fork: SessionName, when: int
) -> tuple[SessionRow, SessionRow]:
    """Both sessions, locked in one order: two who fork into each other's key would wait for each
    other for ever."""
    if fork.identity < name.identity:
        target = sessions.lock_or_create(txn, fork, when)
        return sessions.lock(txn, name) or sessions.absent(txn, name), target
    session = sessions.lock(txn, name) or sessions.absent(txn, name)
    return session, sessions.lock_or_create(txn, fork, when)
