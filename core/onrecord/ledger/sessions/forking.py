"""How the beginning of a session is copied into another one of the same store."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from onrecord import codec
from onrecord.codec.compression import STEADY
from onrecord.codec.segment import Segment
from onrecord.errors import Damaged
from onrecord.ledger.database import keys
from onrecord.ledger.database.transaction import Transaction
from onrecord.ledger.sessions import description, dictionaries, pairs, segments, tail
from onrecord.ledger.sessions.segments import Stored
from onrecord.stored.clock import period_of
from onrecord.stored.messages import SessionRow

_AT_ONCE: Final = 200

_NEEDED: Final = """
    SELECT DISTINCT dictionary FROM {segments}
    WHERE {span} AND dictionary IS NOT NULL ORDER BY dictionary"""
_WITH: Final = """
    SELECT seq FROM {segments} WHERE {span} AND dictionary = :dictionary ORDER BY {order}"""
_COPY: Final = """
    INSERT INTO {segments} (
        {row_key}, first, messages, turns, tokens, created_min, created_max, raw, dictionary, body
    ) SELECT
        {row_copy}, first, messages, turns, tokens, created_min, created_max, raw, dictionary, body
    FROM {segments} WHERE {span}"""
_COPY_PLAIN: Final = _COPY + " AND dictionary IS NULL"
_COPY_WITH: Final = _COPY + " AND dictionary = :dictionary"
_BEGIN: Final = """
    UPDATE {sessions} SET
        head = :head, epoch = :epoch, sealed = :sealed, messages = :messages, turns = :turns,
        tokens = :tokens, last_active = {greatest}(last_active, :now),
        active_period = {greatest}(active_period, :period),
        about = (SELECT about FROM {sessions} WHERE {my_shard} id = :source),
        expires_in = (SELECT expires_in FROM {sessions} WHERE {my_shard} id = :source)
    WHERE {my_shard} id = :session"""


def copy(
    txn: Transaction,
    session: SessionRow,
    target: SessionRow,
    at: int,
    totals: tuple[int, int, int],
    now: int,
) -> SessionRow:
    """Put the messages of a locked session up to a place into another one that has none.

    Segments are copied as they are, by the database, where their messages may keep the epochs
    they were written in: ids are derived from these, and a session that was in another epoch
    before may have handed out the same ones. There each message is of the present epoch.
    """
    upto = min(session.sealed, at)
    if target.epoch:
        for stored in segments.overlapping(txn, session.key, 0, upto):
            _write(txn, session, target, stored, upto, target.epoch)
    else:
        target = target._replace(epoch=session.epoch)
        _copy_segments(txn, session, target, upto)
    epoch = None if target.epoch == session.epoch else target.epoch
    after = upto
    while after < at and (page := tail.page(txn, session, after, _AT_ONCE)):
        after = page[-1][0].seq
        run = Segment(tuple([row for row, _ in page]), tuple([opens for _, opens in page]))
        tail.put(txn, target, _up_to(run, at, epoch))
    messages, turns, tokens = totals
    txn.run(
        _BEGIN,
        {
            **keys.of_session(target),
            "source": session.number,
            "head": at,
            "epoch": target.epoch,
            "sealed": upto,
            "messages": messages,
            "turns": turns,
            "tokens": tokens,
            "now": now,
            "period": period_of(now),
        },
    )
    pairs.put(txn, target, description.about(txn, target), first=False)
    return target._replace(head=at, sealed=upto)


def _copy_segments(txn: Transaction, session: SessionRow, target: SessionRow, upto: int) -> None:
    span = keys.span(txn, session.key, 0, upto)
    to = {"target_shard": target.shard, "target": target.number}
    txn.run(_COPY_PLAIN, {**span, **to})
    for (number,) in txn.rows(_NEEDED, span):
        needs = {**span, "dictionary": number}
        if dictionaries.is_in_use(txn, number):
            txn.run(_COPY_WITH, {**needs, **to})
            continue
        # It is on its way out: what is copied now would not be found by those who rewrite.
        for (seq,) in txn.rows(_WITH, needs):
            stored = segments.holding(txn, session.key, seq)
            assert stored is not None, "its session is locked"
            _write(txn, session, target, stored, upto, None)
    if upto and (last := segments.holding(txn, session.key, upto)) and last.last > upto:
        _write(txn, session, target, last, upto, None)


def _write(
    txn: Transaction,
    session: SessionRow,
    target: SessionRow,
    stored: Stored,
    upto: int,
    epoch: int | None,
) -> None:
    """Write a segment again, as far as it goes up to a place."""
    try:
        run = segments.unpacked(txn, stored)
    except Damaged:
        if stored.last <= upto:  # its bytes are kept as they are, once
            span = keys.span(txn, session.key, stored.last - 1, stored.last)
            txn.run(_COPY, {**span, "target_shard": target.shard, "target": target.number})
            return
        run = segments.read(txn, stored, target.epoch)
    segments.write(txn, target.key, _up_to(run, upto, epoch), STEADY)


def _up_to(run: Segment, upto: int, epoch: int | None) -> Segment:
    """What of a run stands up to a place, as rows of another session."""
    chosen = segments.chosen(run, 0, upto)
    rows = [
        replace(
            row,
            epoch=row.epoch if epoch is None else epoch,
            frame=None if row.frame is None else codec.whole(row.frame),
        )
        for row in chosen.rows
    ]
    return Segment(tuple(rows), chosen.opens_turn)
