"""The rows of segments: found by place, read, written, cut."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Final, NamedTuple

from onrecord.codec import segment as sealed
from onrecord.codec.segment import Segment
from onrecord.errors import Damaged
from onrecord.ledger.database import keys
from onrecord.ledger.database.transaction import Transaction
from onrecord.stored.messages import LAST_SEQ, MessageRow, SessionKey, Span

MOST: Final = 1_024
"""No segment has more messages than this: how far to look for the one that holds a place."""
_AT_ONCE: Final = 32
"""How many are read at a time where not all are wanted."""

_COLUMNS: Final = (
    "g.seq, g.first, g.messages, g.turns, g.tokens, g.created_min, g.created_max, g.raw, "
    "g.dictionary, g.body"
)
# With the session's epoch: what was read before belongs to it only in the same one.
_BETWEEN: Final = f"""
    SELECT s.epoch, {_COLUMNS}
    FROM {{sessions}} s LEFT JOIN {{segments}} g ON {{g.span}} AND g.first < :before
    WHERE {{s.my_shard}} s.id = :session"""
_NEWEST: Final = f"{_BETWEEN} ORDER BY {{g.order}} DESC LIMIT :limit"
_OLDEST: Final = f"{_BETWEEN} ORDER BY {{g.order}} LIMIT :limit"

_HOLDING: Final = f"""
    SELECT {_COLUMNS} FROM {{segments}} g WHERE {{g.span}} ORDER BY {{g.order}} LIMIT 1"""

# Not in their order: a caller may give any times. So each row of the session is looked at, and of
# those that overlap the body is read.
_IN_TIME: Final = f"""
    SELECT {_COLUMNS} FROM {{segments}} g
    WHERE {{g.span}} AND g.first < :before AND g.created_max >= :since AND g.created_min < :until"""
_NEWEST_IN_TIME: Final = f"{_IN_TIME} ORDER BY {{g.order}} DESC LIMIT :limit"
_OLDEST_IN_TIME: Final = f"{_IN_TIME} ORDER BY {{g.order}} LIMIT :limit"

_SUMS: Final = """
    SELECT coalesce(sum(messages), 0), coalesce(sum(turns), 0), coalesce(sum(tokens), 0)
    FROM {segments} WHERE {span} AND first > :after"""

_INSERT: Final = """
    INSERT INTO {segments} (
        {row_key}, first, messages, turns, tokens, created_min, created_max, raw, dictionary, body
    ) VALUES (
        {row_value}, :first, :messages, :turns, :tokens, :created_min, :created_max, :raw,
        :dictionary, :body
    )"""

_DELETE: Final = "DELETE FROM {segments} WHERE {span}"


class Stored(NamedTuple):
    """A segment as the database keeps it."""

    last: int
    """The sequence of its last message."""
    first: int
    messages: int
    turns: int
    tokens: int
    created_min: int
    """The earliest time of its messages, deleted ones too."""
    created_max: int
    raw: int
    dictionary: int | None
    body: bytes


def between(
    txn: Transaction,
    session: SessionKey,
    epoch: int,
    *,
    after: int,
    before: int,
    limit: int,
    newest: bool,
) -> list[MessageRow] | None:
    """Messages between two places that are in segments, deleted ones left out, in order.

    None where the session is in another epoch.
    """
    rows: list[list[MessageRow]] = []
    wanted = limit
    while wanted > 0 and after + 1 < before:
        most = _AT_ONCE if wanted <= LAST_SEQ >> 1 else LAST_SEQ
        if wanted < MOST:  # few of a session's segments have fewer messages than asked for
            most = 1 + wanted // 64
        found = txn.rows(
            _NEWEST if newest else _OLDEST,
            {
                **keys.span(txn, session, after, before + MOST),
                "before": before,
                "limit": most,
            },
        )
        if not found or found[0][0] != epoch:
            return None
        for stored in [Stored(*columns[1:]) for columns in found if columns[1] is not None]:
            if not wanted:
                break  # read in vain: it may have been needed, had others been shorter
            chosen = [
                row
                for row in read(txn, stored, epoch).rows
                if after < row.seq < before and row.frame is not None
            ]
            if len(chosen) > wanted:
                chosen = chosen[-wanted:] if newest else chosen[:wanted]
            rows.append(chosen)
            wanted -= len(chosen)
            if newest:
                before = stored.first
            else:
                after = stored.last
        if len(found) < most or found[0][1] is None:
            break
    if newest:
        rows.reverse()
    return [row for run in rows for row in run]


def in_places(
    txn: Transaction, span: Span, epoch: int, known: dict[SessionKey, list[Segment]]
) -> list[MessageRow] | None:
    """Messages of a span that are in segments, deleted ones left out; None where the session is in
    another epoch. ``known`` are those that were unpacked, for the next span: many lie in one."""
    read_already = known.setdefault(span.key, [])
    rows: list[MessageRow] = []
    at = span.first
    while at <= span.last:
        segment = next((one for one in read_already if _holds(one, at)), None)
        if segment is None:
            values = {**keys.span(txn, span.key, at - 1), "before": span.last + 1, "limit": 1}
            found = txn.rows(_OLDEST, values)
            if not found or found[0][0] != epoch:
                return None
            if found[0][1] is None:
                break
            segment = read(txn, Stored(*found[0][1:]), epoch)
            read_already.append(segment)
        first = segment.rows[0].seq
        part = segment.rows[max(at - first, 0) : span.last + 1 - first]
        rows += [row for row in part if row.frame is not None]
        at = segment.rows[-1].seq + 1
    return rows


def _holds(segment: Segment, seq: int) -> bool:
    return segment.rows[0].seq <= seq <= segment.rows[-1].seq


def in_time(
    txn: Transaction,
    session: SessionKey,
    since: int,
    until: int,
    *,
    after: int,
    before: int,
    limit: int,
    newest: bool,
) -> Iterator[MessageRow]:
    """Messages between two times, the later not counted in, and between two places; deleted ones
    left out. The newest come first if so asked. Few segments are read at a time where few messages
    are wanted, and only such as have a time between the two."""
    most = min(1 + limit // 64, _AT_ONCE)
    values = {"since": since, "until": until, "limit": most}
    statement = _NEWEST_IN_TIME if newest else _OLDEST_IN_TIME
    while after + 1 < before:
        span = keys.span(txn, session, after, before + MOST)
        found = txn.rows(statement, {**span, **values, "before": before})
        for stored in [Stored(*columns) for columns in found]:
            try:
                rows, known = unpacked(txn, stored).rows, True
            except Damaged:  # whatever is in it: it may be what was asked for
                rows, known = read(txn, stored, 0).rows, False
            for row in reversed(rows) if newest else rows:
                timely = not known or since <= row.created < until
                if timely and after < row.seq < before and row.frame is not None:
                    yield row
            if newest:
                before = stored.first
            else:
                after = stored.last
        if len(found) < most:
            return


def holding(txn: Transaction, session: SessionKey, seq: int) -> Stored | None:
    """The segment that a place is in."""
    found = txn.first(_HOLDING, keys.span(txn, session, seq - 1, seq + MOST))
    if found is None or found[1] > seq:
        return None
    return Stored(*found)


def overlapping(txn: Transaction, session: SessionKey, after: int, upto: int) -> Iterator[Stored]:
    """The segments with messages after one place, up to another, oldest first, one at a time."""
    while after < upto:
        found = txn.first(_HOLDING, keys.span(txn, session, after))
        if found is None or found[1] > upto:
            return
        stored = Stored(*found)
        yield stored
        after = stored.last


def read(txn: Transaction, stored: Stored, epoch: int) -> Segment:
    """The messages of a segment; stand-ins with its bytes where it cannot be read (I10)."""
    try:
        return unpacked(txn, stored)
    except Damaged:
        # Where it begins is no longer sure either; no segment is longer than this.
        first = max(min(stored.first, stored.last), stored.last - MOST + 1, 1)
        return sealed.unreadable(stored.body, first, stored.last, epoch)


def unpacked(txn: Transaction, stored: Stored) -> Segment:
    """The messages of a segment; Damaged where it cannot be read."""
    found = sealed.unpack(stored.body, stored.first, partial(txn.dictionaries.get, txn))
    if stored.first + len(found.rows) - 1 != stored.last:
        raise Damaged(f"it has {len(found.rows)} messages, in the place of others")
    return found


def write(txn: Transaction, session: SessionKey, segment: Segment, level: int) -> None:
    """Seal messages that follow each other."""
    dictionary = txn.dictionaries.in_use(txn)
    compressed = level if txn.dictionaries.compression == "zstd" else None
    body, raw = sealed.pack(segment, compressed, dictionary)
    txn.run(_INSERT, row_of(session, segment, body, raw))


def row_of(session: SessionKey, segment: Segment, body: bytes, raw: int) -> dict[str, object]:
    """The row of a segment that was packed."""
    first, last = segment.rows[0].seq, segment.rows[-1].seq
    assert len(segment.rows) == last - first + 1 <= MOST, "a segment has no gap"
    return {
        **keys.at(session, last),
        "first": first,
        "messages": sum(row.frame is not None for row in segment.rows),
        "turns": sum(segment.opens_turn),
        "tokens": sum(row.tokens for row in segment.rows),
        **dict(zip(("created_min", "created_max"), times(segment), strict=True)),
        "raw": raw,
        "dictionary": sealed.dictionary_of(body),
        "body": body,
    }


def put_many(txn: Transaction, rows: Sequence[Mapping[str, object]]) -> None:
    """Keep segments that were packed, of several sessions."""
    txn.many(_INSERT, rows)


def remove(txn: Transaction, session: SessionKey, after: int, upto: int = LAST_SEQ) -> None:
    """Take away the segments that end after one place, and not after another."""
    txn.run(_DELETE, keys.span(txn, session, after, upto))


def sums(txn: Transaction, session: SessionKey, after: int, upto: int) -> tuple[int, int, int]:
    """How many messages, turns and tokens the segments between two places have, of those that
    begin after the one and end before the other."""
    found = txn.first(_SUMS, keys.span(txn, session, after, upto))
    assert found is not None, "an aggregate always answers"
    return int(found[0]), int(found[1]), int(found[2])


def chosen(segment: Segment, after: int, upto: int) -> Segment:
    """What of a segment stands after one place, up to another."""
    first = segment.rows[0].seq
    low, high = max(after + 1 - first, 0), max(upto + 1 - first, 0)
    return Segment(segment.rows[low:high], segment.opens_turn[low:high])


def totals(segment: Segment) -> tuple[int, int, int]:
    """How many messages, turns and tokens it has."""
    return (
        sum(row.frame is not None for row in segment.rows),
        sum(segment.opens_turn),
        sum(row.tokens for row in segment.rows),
    )


def times(segment: Segment) -> tuple[int, int]:
    """The earliest and the latest time in it."""
    created = [row.created for row in segment.rows]
    return min(created), max(created)


def joined(*parts: Sequence[Segment]) -> Segment:
    """Segments that follow each other, as one."""
    runs = [segment for part in parts for segment in part]
    return Segment(
        tuple(row for run in runs for row in run.rows),
        tuple(flag for run in runs for flag in run.opens_turn),
    )
