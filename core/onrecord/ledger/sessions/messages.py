"""Messages wherever they are kept: the newest as rows, older ones in segments.

Only here is the seam between the two known. What is sealed never changes within an epoch, so
rows and segments that were read by two statements belong together if the epoch is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Final

from onrecord.codec.compression import STEADY
from onrecord.codec.segment import Segment
from onrecord.ledger.database import keys
from onrecord.ledger.database.transaction import Transaction
from onrecord.ledger.search import runs
from onrecord.ledger.sessions import segments, sessions, tail
from onrecord.ledger.sessions.segments import Stored
from onrecord.ledger.sessions.tail import RETRIED, append_at_once, insert, with_token
from onrecord.scope import SessionName
from onrecord.stored.messages import LAST_SEQ, MessageRow, SessionKey, SessionRow, Snapshot, Span

__all__ = ["append_at_once", "insert", "with_token"]

_NO_EPOCH: Final = -1
"""Of a session that is not there any more."""
_MOST_RESTARTS: Final = 100


def seen(
    txn: Transaction,
    name: SessionName,
    *,
    after: int = 0,
    before: int = LAST_SEQ,
    limit: int | None = None,
    newest: bool = False,
    traced: bool = False,
) -> Snapshot:
    """Messages between two places, deleted ones left out; the newest of them if so asked, and
    ``traced`` by which writes they came."""
    missed = txn.dictionaries.missed
    for _ in range(_MOST_RESTARTS):
        found = tail.found(
            txn, name, after=after, before=before, limit=limit, newest=newest, traced=traced
        )
        if found is None:
            return Snapshot(None, sessions.absent(txn, name).version, (), True)
        if not keys.is_number(txn, found.session):
            sessions.find(txn, name)  # raises: nothing can be found by a damaged number
        rows = found.rows
        if found.sealed > after and (limit is None or limit > len(rows) or not newest):
            whole = _across(txn, name, found, after, before, limit, newest)
            if whole is None:
                continue
            rows = whole
        if txn.dictionaries.missed != missed and not txn.can.one_moment_transactions:
            break  # a dictionary that was taken away between two statements, or it is damaged
        return _seen(found, rows)
    return _in_one_moment(txn, name, after, before, limit, newest, traced)


def in_places(
    txn: Transaction, spans: Sequence[Span], names: Sequence[SessionName]
) -> list[tuple[int, Sequence[MessageRow]]]:
    """The messages in several places at once, deleted ones left out: of each span, whose session
    has the name beside it, and its epoch. Each is of one moment by itself, as ``seen`` reads it."""
    missed = txn.dictionaries.missed
    known: dict[SessionKey, list[Segment]] = {}
    rows: list[tuple[int, Sequence[MessageRow]] | None] = []
    for span, piece in zip(spans, tail.pieces(txn, spans), strict=True):
        if piece is None or piece.sealed < span.first:
            rows.append((_NO_EPOCH, []) if piece is None else (piece.epoch, piece.rows))
            continue
        upto = min(span.last, piece.sealed)
        older = segments.in_places(txn, span._replace(last=upto), piece.epoch, known)
        rows.append(None if older is None else (piece.epoch, [*older, *piece.rows]))
    if txn.dictionaries.missed != missed and not txn.can.one_moment_transactions:
        rows = [None] * len(spans)
    return [
        _again(txn, span, name) if found is None else found
        for span, name, found in zip(spans, names, rows, strict=True)
    ]


def _again(txn: Transaction, span: Span, name: SessionName) -> tuple[int, Sequence[MessageRow]]:
    """Read places whose session was rewritten between two statements."""
    found = seen(txn, name, after=span.first - 1, before=span.last + 1)
    return found.version.epoch, found.rows


def in_time(
    txn: Transaction,
    session: SessionRow,
    since: int,
    until: int,
    *,
    after: int,
    before: int,
    limit: int,
    newest: bool,
) -> Iterator[MessageRow]:
    """Messages between two times, the later not counted in, and between two places, one after the
    other; deleted ones left out. The newest come first if so asked, ``limit`` says how many are
    wanted. From one moment, where the transaction has begun with a snapshot."""
    sealed = segments.in_time(
        txn, session.key, since, until,
        after=after, before=min(before, session.sealed + 1), limit=limit, newest=newest,
    )  # fmt: skip
    rows = tail.in_time(txn, session, since, until, after=after, before=before, newest=newest)
    return chain(rows, sealed) if newest else chain(sealed, rows)


def at(txn: Transaction, session: SessionRow, seq: int) -> MessageRow | None:
    """The message in one place, also a deleted one."""
    if seq > session.sealed:
        return tail.at(txn, session, seq)
    stored = segments.holding(txn, session.key, seq)
    if stored is None:
        return None
    return _place_in(segments.read(txn, stored, session.epoch), seq)[0]


def finder(txn: Transaction, session: SessionRow) -> Callable[[int], MessageRow | None]:
    """Like ``at``, for many places of a locked session: of those that stand in one segment it is
    read once. 5,000 messages that are appended again took 1.3 s without."""
    known: list[Segment] = []

    def find(seq: int) -> MessageRow | None:
        if seq > session.sealed:
            return tail.at(txn, session, seq)
        if not known or not known[0].rows[0].seq <= seq <= known[0].rows[-1].seq:
            stored = segments.holding(txn, session.key, seq)
            if stored is None:
                return None
            known[:] = [segments.read(txn, stored, session.epoch)]
        return _place_in(known[0], seq)[0]

    return find


def with_ids(txn: Transaction, session: SessionRow, ids: Sequence[str]) -> dict[str, MessageRow]:
    """The messages the caller gave these ids to, also deleted ones.

    Looked for among the newest, and from there back for as long as any are found: so an append
    that is said again is found whole, also one of 441 messages, most of them sealed by itself.
    """
    rows = tail.with_ids(txn, session, ids)
    wanted = set(ids) - rows.keys()
    found = len(rows)
    upto = session.sealed
    while upto and wanted and (found or session.head - upto < RETRIED):
        stored = segments.holding(txn, session.key, upto)
        if stored is None:
            break
        here = segments.read(txn, stored, session.epoch).rows
        older = {row.id: row for row in here if row.id in wanted}
        rows.update(older)
        wanted -= older.keys()
        found = len(older)
        upto = stored.first - 1
    return rows


def replace(
    txn: Transaction,
    session: SessionRow,
    seq: int,
    *,
    frame: bytes | None,
    tokens: int,
    opens_turn: bool,
) -> None:
    """Put another content in a message's place; None leaves it empty."""
    runs.drop(txn, session.key, seq, seq)
    if seq > session.sealed:
        tail.replace(txn, session, seq, frame=frame, tokens=tokens, opens_turn=opens_turn)
        return

    def changed(row: MessageRow, opens: bool) -> tuple[MessageRow, bool]:
        if row.seq != seq:
            return row, opens
        counter = txn.facts.counter
        return MessageRow(seq, row.epoch, frame, row.id, row.created, tokens, counter), opens_turn

    _rewrite(txn, session, seq - 1, seq, changed)


def totals(
    txn: Transaction, session: SessionRow, after: int, upto: int = LAST_SEQ
) -> tuple[int, int, int]:
    """How many messages, turns and tokens stand after a place, up to another."""
    parts = [tail.totals(txn, session, max(after, session.sealed), upto)]
    if after < session.sealed:
        upto = min(upto, session.sealed)
        parts.append(segments.sums(txn, session.key, after, upto))
        parts += [
            segments.totals(segments.chosen(segments.read(txn, stored, 0), after, upto))
            for stored in _cut_through(txn, session, after, upto)
        ]
    messages, turns, tokens = map(sum, zip(*parts, strict=True))
    return messages, turns, tokens


def count(txn: Transaction, session: SessionRow, low: int, high: int) -> int:
    """How many messages stand between two places, both counted in."""
    return totals(txn, session, low - 1, high)[0]


def opens_turn(txn: Transaction, session: SessionRow, seq: int) -> bool:
    """Whether the message in one place counts as the opening of a turn."""
    if seq > session.sealed:
        return tail.opens_turn(txn, session, seq)
    stored = segments.holding(txn, session.key, seq)
    if stored is None:
        return False
    return _place_in(segments.read(txn, stored, session.epoch), seq)[1]


def cut_after(txn: Transaction, session: SessionRow, seq: int) -> None:
    """Remove the messages after a place. Whoever does says in the session's row that it is so."""
    runs.drop(txn, session.key, seq + 1)
    tail.cut_after(txn, session, max(seq, session.sealed))
    if seq >= session.sealed:
        return
    left = [
        segments.chosen(segments.read(txn, stored, session.epoch), 0, seq)
        for stored in _cut_through(txn, session, seq, session.sealed)
        if stored.first <= seq
    ]
    segments.remove(txn, session.key, seq)
    for segment in left:
        segments.write(txn, session.key, segment, STEADY)


def empty(txn: Transaction, session: SessionRow, after: int, upto: int) -> None:
    """Leave the places after one, up to another, without a message."""
    runs.drop(txn, session.key, after + 1, upto)
    if upto > session.sealed:
        tail.empty(txn, session, max(after, session.sealed), upto)
    if after < session.sealed:
        _rewrite(
            txn,
            session,
            after,
            min(upto, session.sealed),
            lambda row, _: (MessageRow(row.seq, row.epoch, None, None, row.created, 0, 0), False),
        )


def _across(
    txn: Transaction,
    name: SessionName,
    found: tail.Found,
    after: int,
    before: int,
    limit: int | None,
    newest: bool,
) -> list[MessageRow] | None:
    """Rows and what is in segments before them; None where the session was rewritten between."""
    wanted = LAST_SEQ if limit is None else limit
    older = segments.between(
        txn,
        SessionKey(name.shard, found.session),
        found.version.epoch,
        after=after,
        before=min(before, found.sealed + 1),
        limit=wanted - len(found.rows) if newest else wanted,
        newest=newest,
    )
    if older is None:
        return None
    if newest or limit is None:
        return older + found.rows
    if len(older) == limit or before <= found.sealed + 1:
        return older
    # The oldest were wanted and reach over the seam: rows were not read with it.
    rest = tail.found(
        txn, name, after=found.sealed, before=before, limit=limit - len(older), newest=False
    )
    if rest is None or rest.version.epoch != found.version.epoch or rest.sealed != found.sealed:
        return None
    return older + rest.rows


def _in_one_moment(
    txn: Transaction,
    name: SessionName,
    after: int,
    before: int,
    limit: int | None,
    newest: bool,
    traced: bool,
) -> Snapshot:
    """For a session that is rewritten all the time: nobody reads in vain."""
    txn.snapshot()
    found = tail.found(
        txn, name, after=after, before=before, limit=limit, newest=newest, traced=traced
    )
    if found is None:
        return Snapshot(None, sessions.absent(txn, name).version, (), True)
    rows = _across(txn, name, found, after, before, limit, newest)
    assert rows is not None, "one moment has one epoch"
    return _seen(found, rows)


def _seen(found: tail.Found, rows: Sequence[MessageRow]) -> Snapshot:
    return Snapshot(
        found.session,
        found.version,
        tuple(rows),
        lineage=found.lineage,
        fence=found.fence,
        at_held=found.at_held,
    )


def _place_in(segment: Segment, seq: int) -> tuple[MessageRow | None, bool]:
    """What a segment has in one place, and whether that opens a turn."""
    n = seq - segment.rows[0].seq
    return (segment.rows[n], segment.opens_turn[n]) if n >= 0 else (None, False)


def _cut_through(txn: Transaction, session: SessionRow, after: int, upto: int) -> list[Stored]:
    """The segments that lie only partly between two places: two at the most."""
    found = [segments.holding(txn, session.key, seq) for seq in {after + 1, upto} if seq > 0]
    return list(
        {
            stored.last: stored
            for stored in found
            if stored is not None and (stored.first <= after or stored.last > upto)
        }.values()
    )


def _rewrite(
    txn: Transaction,
    session: SessionRow,
    after: int,
    upto: int,
    change: Callable[[MessageRow, bool], tuple[MessageRow, bool]],
) -> None:
    """Change messages in segments, after one place, up to another."""
    for stored in list(segments.overlapping(txn, session.key, after, upto)):
        segment = segments.read(txn, stored, session.epoch)
        changed = [
            change(row, opens) if after < row.seq <= upto else (row, opens)
            for row, opens in zip(segment.rows, segment.opens_turn, strict=True)
        ]
        segments.remove(txn, session.key, stored.last - 1, stored.last)
        rows, opens_turn = zip(*changed, strict=True)
        segments.write(txn, session.key, Segment(tuple(rows), tuple(opens_turn)), STEADY)
