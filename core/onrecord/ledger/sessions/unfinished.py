"""Sessions that somebody has to go on with: whether one is, and where they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from onrecord import codec
from onrecord.errors import Damaged
from onrecord.ledger.database import keys
from onrecord.ledger.database.transaction import Transaction
from onrecord.ledger.sessions import messages as rows_of
from onrecord.ledger.sessions.description import COLUMNS, Described
from onrecord.ledger.sessions.turns import OVER
from onrecord.scope import Scope, SessionName
from onrecord.stored.clock import LATEST, MICROSECONDS
from onrecord.stored.messages import LAST_SEQ, MessageRow, SessionKey, Span

LOOKED_AT: Final = 32
"""Among so many of its newest places the calls of a session are looked for."""

# Whoever holds one is going on with it; what is held no longer was left.
_OPEN: Final = f"""maybe_open = 1 AND (waits = 1 OR holder IS NOT NULL) AND {OVER}
    AND (last_active <= :quiet_since OR last_active > :ahead)"""
_SKEW: Final = 60 * MICROSECONDS
"""By how much the clocks of two hosts may differ: what was written later than that, by a clock that
was wrong, is no sign that somebody is at it."""
_LIST: Final = f"SELECT {{shard}}, id, {COLUMNS} FROM {{sessions}} WHERE {_OPEN}"
# Not by the period, which indexes of all are by: PostgreSQL went through a million sessions in its
# order, to find 50.
_BEHIND: Final = "(last_active, id) < (:last_active, :number)"
_ORDER: Final = " ORDER BY last_active DESC, id DESC LIMIT :limit"
# Who has one locked is at it: to wait for many of them is to wait for who waits.
_NOT_ANY_MORE: Final = """
    UPDATE {sessions} SET maybe_open = 0
    WHERE ({shard_key} id) IN (
        SELECT {s.shard_of_key} s.id FROM {sessions} s
        WHERE s.maybe_open = 1 AND s.waits = 0 AND s.holder IS NULL
        LIMIT :limit {skip_locked_s})
    AND maybe_open = 1 AND waits = 0 AND holder IS NULL"""
# Where no statement locks rows of many shards, one for each.
_FINISHED: Final = """
    SELECT {shard}, id FROM {sessions}
    WHERE maybe_open = 1 AND waits = 0 AND holder IS NULL LIMIT :limit"""
_NOT_THIS_ONE: Final = """
    UPDATE {sessions} SET maybe_open = 0
    WHERE {my_shard} id IN (
        SELECT s.id FROM {sessions} s
        WHERE {s.my_shard} s.id = :session AND s.maybe_open = 1 AND s.waits = 0
            AND s.holder IS NULL {skip_locked_s})
    AND maybe_open = 1 AND waits = 0 AND holder IS NULL"""


class Open(NamedTuple):
    """A session that somebody has to go on with, and its newest messages."""

    key: SessionKey
    described: Described
    rows: Sequence[MessageRow]

    @property
    def place(self) -> tuple[int, int]:
        """What those after it are behind."""
        return self.described.last_active, self.key.session

    @property
    def name(self) -> SessionName:
        tenant, user, agent, key, *_ = self.described
        return SessionName(key=key, tenant=tenant, user=user, agent=agent)


def newest_waits(txn: Transaction, name: SessionName) -> bool:
    """Whether the newest message of a locked session waits for an answer or a result."""
    rows = rows_of.seen(txn, name, limit=1, newest=True).rows
    if not rows or rows[0].frame is None:
        return False
    try:
        return codec.decode(rows[0].frame).waits
    except Damaged:  # nobody can go on with what cannot be read
        return False


def listed(
    txn: Transaction,
    scope: Scope,
    quiet_for: int,
    now: int,
    limit: int,
    after: tuple[int, int] | None,
) -> tuple[list[Open], tuple[int, int] | None]:
    """Unfinished sessions of a scope, the one last active first, beginning after a place; and the
    place after which there may be more."""
    conditions, values = keys.of_scope(scope)
    since, ahead = (now - quiet_for, now + _SKEW) if quiet_for else (LATEST, LATEST)
    values.update(quiet_since=since, ahead=ahead, now=now, limit=limit)
    if after is not None:
        conditions.append(_BEHIND)
        values.update(last_active=after[0], number=after[1])
    where = "".join(f" AND {condition}" for condition in conditions)
    found = [
        Open(SessionKey(*row[:2]), Described(*row[2:]), ())
        for row in txn.rows(_LIST + where + _ORDER, values)
    ]
    # What is damaged cannot be read by places; verify() names it.
    well = [
        one
        for one in found
        if keys.is_number(txn, one.key.session) and 0 <= one.described.head <= LAST_SEQ
    ]
    spans = [_newest_places(one) for one in well]
    pieces = rows_of.in_places(txn, spans, [one.name for one in well])
    read = [
        one._replace(rows=rows or _newest(txn, one.name))
        for one, (_, rows) in zip(well, pieces, strict=True)
    ]
    return read, found[-1].place if len(found) == limit else None


def _newest_places(one: Open) -> Span:
    head = max(one.described.head, 1)
    return Span(one.key, max(head - LOOKED_AT + 1, 1), head)


def _newest(txn: Transaction, name: SessionName) -> tuple[MessageRow, ...]:
    """The newest message, where all of the newest places are empty."""
    return rows_of.seen(txn, name, limit=1, newest=True).rows


def settle(txn: Transaction, limit: int) -> int:
    """Look no more at some sessions that are finished, and that nobody has locked; how many."""
    txn.begin()
    if txn.can.across_shards:
        return txn.run(_NOT_ANY_MORE, {"limit": limit})
    found = txn.rows(_FINISHED, {"limit": limit})
    return sum(txn.run(_NOT_THIS_ONE, keys.of_key(SessionKey(*row))) for row in found)
