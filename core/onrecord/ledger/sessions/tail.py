"""The tail: the newest messages of a session as rows, one each. Older ones: ``segments.py``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from onrecord import codec
from onrecord.codec.segment import Segment
from onrecord.errors import Damaged
from onrecord.ledger.database.transaction import Transaction
from onrecord.ledger.sessions.sessions import growth
from onrecord.scope import SessionName
from onrecord.stored.messages import LAST_SEQ, Entry, MessageRow, SessionRow, place
from onrecord.version import Expected, Since, Version, lineage_of

RETRIED: Final = 64
"""Among so many of a session's newest messages an id is looked for that was given before (I5)."""

_INSERT: Final = """
    INSERT INTO {tail} (place, created, token, born, tokens, counter, opens_turn, frame, id)"""

_INSERT_ROW: Final = f"""{_INSERT}
    VALUES (:place, :created, :token, :born, :tokens, :counter, :opens_turn, :frame, :id)"""

# PostgreSQL, one statement and one round trip: the UPDATE takes the row's lock, so a second
# writer waits here and then continues from the head this one leaves. A message id that is
# there already violates the unique index and undoes the whole statement, head and all
# (ON CONFLICT DO NOTHING would leave a gap).
_ADVANCE_AT_ONCE: Final = """
    WITH moved AS (
        UPDATE {sessions} SET
            head = head + :count, messages = messages + :count,
            turns = turns + :turns, tokens = tokens + :tokens, lineage = :token,
            last_active = GREATEST(last_active, :now),
            active_second = GREATEST(active_second, :second)
        WHERE identity = :identity
            AND (CAST(:fence AS BIGINT) IS NULL OR fence = :fence)
            AND (CAST(:expected_epoch AS BIGINT) IS NULL OR epoch = :expected_epoch)
            AND (CAST(:expected_head AS BIGINT) IS NULL OR head = :expected_head)
            AND (CAST(:not_cut_since AS BIGINT) IS NULL OR cut_epoch <= :not_cut_since)
            AND (refused IS NULL OR refused <> :token)
            AND head BETWEEN 0 AND 4294967295 - :count
            AND (CAST(:rows_wanted AS BIGINT) IS NULL
                OR sealed = 0 OR head - sealed >= :rows_wanted)
            AND (CAST(:dictionary AS INTEGER) IS NULL OR EXISTS (
                SELECT 1 FROM {dictionaries} d
                WHERE d.id = :dictionary AND d.in_use = 1 FOR KEY SHARE))
        RETURNING id, epoch, head, sealed
    )"""

# Its own text for a single message: unnest costs a fifth of the appends a second.
_ONE_AT_ONCE: Final = f"""{_ADVANCE_AT_ONCE} {_INSERT}
    SELECT (moved.id << 32) | moved.head, :created, :token, moved.epoch, :entry_tokens,
        :counter, :opens_turn, :frame, :id
    FROM moved RETURNING place, born, (SELECT sealed FROM moved)"""

_MANY_AT_ONCE: Final = f"""{_ADVANCE_AT_ONCE} {_INSERT}
    SELECT (moved.id << 32) | (moved.head - :count + entry.nr), entry.created, :token,
        moved.epoch, entry.tokens, :counter, entry.opens_turn, entry.frame, entry.id
    FROM moved, unnest(
        CAST(:all_created AS BIGINT[]), CAST(:all_tokens AS INTEGER[]),
        CAST(:all_opens_turn AS SMALLINT[]), CAST(:all_frames AS BYTEA[]),
        CAST(:all_ids AS TEXT[])
    ) WITH ORDINALITY AS entry (created, tokens, opens_turn, frame, id, nr)
    RETURNING place, born, (SELECT sealed FROM moved)"""


def _in_one_past(statement: str) -> str:
    """The same where it is known which past is expected: nobody else's append says more."""
    return statement.replace("AND (refused IS", "AND lineage = :lineage AND (refused IS")


_AT_ONCE: Final = {
    (many, known): _in_one_past(text) if known else text
    for many, text in ((False, _ONE_AT_ONCE), (True, _MANY_AT_ONCE))
    for known in (False, True)
}
"""By whether there are several messages, and whether it is known which past is expected."""

_COLUMNS: Final = "t.place & 4294967295, t.born, t.frame, t.id, t.created, t.tokens, t.counter"
_TRACED: Final = f"{_COLUMNS}, t.token"
# The lineage at the head that a reader holds: of the row there, which is of the write that left it.
# Not where all is read: PostgreSQL looks it up for each row that is answered.
_AT_LOW: Final = """CASE WHEN s.head = :low THEN s.lineage
        ELSE (SELECT h.token FROM {tail} h WHERE h.place = (s.id << 32) + :low) END"""
_SESSION: Final = "s.id, s.epoch, s.head, s.sealed"
_BOUNDS: Final = """t.place > (s.id << 32) + :low AND t.place < (s.id << 32) + :high
        AND t.frame IS NOT NULL AND (:far = 1 OR s.sealed <= :low)"""

# The session's version and its messages from one moment. On PostgreSQL by one statement, which
# would sort a whole session without LATERAL. On SQLite a transaction is one moment, and a second
# statement costs less than the session's columns beside each message.
_BESIDE: Final = f"""
    SELECT SESSION, t.*
    FROM {{sessions}} s LEFT JOIN LATERAL (
        SELECT COLUMNS FROM {{tail}} t WHERE {_BOUNDS}
        ORDER BY t.place DIRECTION LIMIT :limit
    ) t ON TRUE
    WHERE s.identity = :identity"""
_FIND: Final = "SELECT SESSION FROM {sessions} s WHERE s.identity = :identity"
_ROWS: Final = """
    SELECT COLUMNS FROM {tail} t
    WHERE t.place > (:session << 32) + :low AND t.place < (:session << 32) + :high
        AND t.frame IS NOT NULL ORDER BY t.place DIRECTION LIMIT :limit"""


class _Texts(NamedTuple):
    """How a part of a session is asked for."""

    beside: str
    session: str
    rows: str


def _texts(session: str, columns: str, direction: str) -> _Texts:
    return _Texts(
        *[
            text.replace("SESSION", session)
            .replace("COLUMNS", columns)
            .replace("DIRECTION", direction)
            for text in (_BESIDE, _FIND, _ROWS)
        ]
    )


_NEWEST: Final = _texts(f"{_SESSION}, s.lineage", _COLUMNS, "DESC")
_OLDEST: Final = _texts(_SESSION, _COLUMNS, "ASC")
# The lineage is for who appends to what was read. For who keeps that: also by whom it was written,
# so that another past can be told from it. Who has no cache is not sent what only a cache needs.
_NEWEST_TRACED: Final = _texts(f"{_SESSION}, s.lineage, s.fence, 0", _TRACED, "DESC")
_NEWER_TRACED: Final = _texts(f"{_SESSION}, s.lineage, s.fence, {_AT_LOW}", _TRACED, "DESC")

_LEARNED: Final = {b"\x01\x05", b"\x01\x07"}
"""How a frame begins that was compressed with a dictionary, its text escaped or not."""

_SELECT: Final = f"SELECT {_COLUMNS} FROM {{tail}} t WHERE "

_MOST_IDS: Final = 400  # SQLite took at most 999 parameters until 3.32
_ID_LISTS: Final = {
    size: f"{_SELECT} (t.place >> 32) = :session AND t.id IN "
    f"({', '.join(f':id{i}' for i in range(size))})"
    for size in (1, 20, _MOST_IDS)
}

_TOTALS: Final = """
    SELECT count(frame), coalesce(sum(opens_turn), 0), coalesce(sum(tokens), 0)
    FROM {tail} WHERE place > :low AND place <= :high"""

_COUNT: Final = "SELECT count(frame) FROM {tail} WHERE place > :low AND place <= :high"

_SIZES: Final = """
    SELECT place, length(frame) FROM {tail} WHERE place > :low AND place <= :high
    ORDER BY place LIMIT :most"""
_WITH_TURNS: Final = f"""
    SELECT {_COLUMNS}, t.opens_turn FROM {{tail}} t WHERE t.place > :low AND t.place <= :high
    ORDER BY t.place LIMIT :most"""

_CUT: Final = "DELETE FROM {tail} WHERE place > :low AND place <= :high"

# As if it had been cut off: its id may be given again, and no append is found by its token.
_EMPTY: Final = """
    UPDATE {tail} SET frame = NULL, id = NULL, tokens = 0, opens_turn = 0, token = 0
    WHERE place > :low AND place <= :high"""

_REPLACE: Final = """
    UPDATE {tail} SET frame = :frame, tokens = :tokens, counter = :counter,
        opens_turn = :opens_turn
    WHERE place = :place"""


class Found(NamedTuple):
    """What a look at a session's tail gives, from one moment."""

    session: int
    version: Version
    sealed: int
    rows: list[MessageRow]
    lineage: int = 0
    fence: int = 0
    at_low: int = 0
    """The lineage at the place after which was read; 0 where there is none."""


def insert(
    txn: Transaction, session: SessionRow, entries: Sequence[Entry], token: int
) -> list[MessageRow]:
    """Write messages after the head of a locked session."""
    counter = txn.facts.counter
    rows = [
        MessageRow(
            session.head + n, session.epoch, e.frame, e.id, e.created, e.tokens, counter, token
        )
        for n, e in enumerate(entries, 1)
    ]
    put(txn, session, Segment(tuple(rows), tuple([e.opens_turn for e in entries])), token)
    return rows


def put(txn: Transaction, session: SessionRow, run: Segment, token: int = 0) -> None:
    """Write rows as they are, deleted ones too. Without a token no append is found by it."""
    dictionary = txn.dictionaries.held(txn)
    values = [
        {
            "place": place(session.number, row.seq),
            "created": row.created,
            "token": token,
            "born": row.born,
            "tokens": row.tokens,
            "counter": row.counter,
            "opens_turn": int(opens_turn),
            "frame": None if row.frame is None else _kept(row.frame, dictionary),
            "id": row.id,
        }
        for row, opens_turn in zip(run.rows, run.opens_turn, strict=True)
    ]
    if len(values) == 1:
        txn.run(_INSERT_ROW, values[0])
    else:
        txn.many(_INSERT_ROW, values)


def append_at_once(
    txn: Transaction,
    name: SessionName,
    entries: Sequence[Entry],
    token: int,
    expected: Expected,
    now: int,
) -> Found | None:
    """PostgreSQL: lock, check, move the head and write, in one statement.

    None when there is no such session, or it is not at the expected version, or an id may be in
    one of its segments, or its dictionary has gone; nothing was done.
    """
    dictionary = txn.dictionaries.current
    frames = [_kept(entry.frame, dictionary) for entry in entries]
    learned = any(codec.dictionary_of(frame) is not None for frame in frames)
    values: dict[str, object] = {
        "identity": name.identity,
        "token": token,
        "fence": None if txn.stamp is None else txn.stamp.fence,
        "counter": txn.facts.counter,
        "expected_epoch": None,
        "expected_head": None,
        "not_cut_since": None,
        "rows_wanted": RETRIED if any(entry.id is not None for entry in entries) else None,
        "dictionary": dictionary.number if dictionary is not None and learned else None,
        **growth(entries, now),
    }
    match expected:
        case Version():
            values.update(expected_epoch=expected.epoch, expected_head=expected.head)
            if lineage := lineage_of(expected):
                values["lineage"] = lineage
        case Since(version):
            values.update(not_cut_since=version.epoch)
        case _:
            values.update(expected_head=expected)
    statement = _AT_ONCE[len(entries) > 1, "lineage" in values]
    if len(entries) == 1:
        entry = entries[0]
        values.update(
            created=entry.created,
            entry_tokens=entry.tokens,
            opens_turn=int(entry.opens_turn),
            frame=frames[0],
            id=entry.id,
        )
        answer = txn.rows(statement, values)
    else:
        values.update(
            all_created=[entry.created for entry in entries],
            all_tokens=[entry.tokens for entry in entries],
            all_opens_turn=[int(entry.opens_turn) for entry in entries],
            all_frames=frames,
            all_ids=[entry.id for entry in entries],
        )
        answer = sorted(txn.rows(statement, values))
    if not answer:
        return None
    counter = txn.facts.counter
    rows = [
        MessageRow(place & LAST_SEQ, born, e.frame, e.id, e.created, e.tokens, counter, token)
        for (place, born, _), e in zip(answer, entries, strict=True)
    ]
    last_place, epoch, sealed = answer[-1]
    return Found(last_place >> 32, Version(epoch, rows[-1].seq), sealed, rows)


def found(
    txn: Transaction,
    name: SessionName,
    *,
    after: int,
    before: int,
    limit: int | None,
    newest: bool,
    traced: bool = False,
) -> Found | None:
    """Messages between two places that are rows, deleted ones left out; ``traced``: of the newest
    also by which writes they came.

    Where the oldest are wanted and segments come before them, no rows are read unless all are.
    """
    texts = _NEWEST if newest else _OLDEST
    if traced:
        assert newest, "only the newest are kept"
        texts = _NEWER_TRACED if after else _NEWEST_TRACED
    far = newest or limit is None
    values: dict[str, object] = {
        "identity": name.identity,
        "low": after,
        "high": before,
        "limit": LAST_SEQ if limit is None else limit,
        "far": int(far),
    }
    if txn.can.one_moment_transactions:
        session = txn.first(texts.session, values)
        if session is None:
            return None
        answer = []
        if far or session[3] <= after:
            values["session"] = session[0]
            answer = txn.rows(texts.rows, values)
    else:
        beside = txn.rows(texts.beside, values)
        if not beside:
            return None
        width = 7 if traced else 5 if newest else 4
        session = beside[0][:width]
        answer = [columns[width:] for columns in beside if columns[width] is not None]
    rows = [_row(txn, columns) for columns in answer]
    if newest:
        rows.reverse()
    number, epoch, head, sealed, *trace = session
    if not traced:
        return Found(number, Version(epoch, head), sealed, rows, *trace)
    lineage, fence, at_low = trace
    return Found(number, Version(epoch, head), sealed, rows, lineage, fence, at_low or 0)


def at(txn: Transaction, session: SessionRow, seq: int) -> MessageRow | None:
    """The message in one place, also a deleted one."""
    found = txn.first(_SELECT + "t.place = :place", {"place": place(session.number, seq)})
    return None if found is None else _row(txn, found)


def with_ids(txn: Transaction, session: SessionRow, ids: Sequence[str]) -> dict[str, MessageRow]:
    """The messages the caller gave these ids to, also deleted ones."""
    rows: dict[str, MessageRow] = {}
    for start in range(0, len(ids), _MOST_IDS):
        wanted = ids[start : start + _MOST_IDS]
        # Padded to few sizes by asking for the last one again: few statements to remember.
        size = next(size for size in _ID_LISTS if size >= len(wanted))
        values: dict[str, object] = {f"id{i}": wanted[min(i, len(wanted) - 1)] for i in range(size)}
        found = txn.rows(_ID_LISTS[size], {"session": session.number, **values})
        rows.update((row[3], _row(txn, row)) for row in found)
    return rows


def with_token(txn: Transaction, session: SessionRow, token: int) -> list[MessageRow]:
    """What one call of append wrote, in order. Reads the whole session: only for a lost answer."""
    found = txn.rows(
        _SELECT + "t.place > :low AND t.place <= :high AND t.token = :token ORDER BY t.place",
        {**_span(session, 0), "token": token},
    )
    return [_row(txn, row) for row in found]


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
    txn.run(
        _REPLACE,
        {
            "place": place(session.number, seq),
            "frame": None if frame is None else _kept(frame, txn.dictionaries.held(txn)),
            "tokens": tokens,
            "counter": txn.facts.counter,
            "opens_turn": int(opens_turn),
        },
    )


def oldest(txn: Transaction, session: SessionRow, most: int, most_bytes: int) -> Segment:
    """The first rows of a locked session that follow each other, as many as belong together."""
    values = {**_span(session, session.sealed), "most": most}
    count, size = 0, 0
    for number, length in txn.rows(_SIZES, values):
        size += length or 0
        if number & LAST_SEQ != session.sealed + count + 1 or (count and size > most_bytes):
            break
        count += 1
    run = page(txn, session, session.sealed, count) if count else []
    return Segment(tuple(row for row, _ in run), tuple(opens for _, opens in run))


def page(
    txn: Transaction, session: SessionRow, after: int, most: int
) -> list[tuple[MessageRow, bool]]:
    """Rows after a place, deleted ones too, and whether each opens a turn."""
    values = {**_span(session, after), "most": most}
    return [(_row(txn, found[:-1]), bool(found[-1])) for found in txn.rows(_WITH_TURNS, values)]


def put_frame(txn: Transaction, session: SessionRow, seq: int, frame: bytes) -> None:
    """Say the same in other bytes."""
    values = {
        "place": place(session.number, seq),
        "frame": _kept(frame, txn.dictionaries.held(txn)),
    }
    txn.run("UPDATE {tail} SET frame = :frame WHERE place = :place", values)


def remove(txn: Transaction, session: SessionRow, upto: int) -> None:
    """Take away the rows up to a place: they are in a segment."""
    txn.run(_CUT, _span(session, 0, upto))


def totals(
    txn: Transaction, session: SessionRow, after: int, upto: int = LAST_SEQ
) -> tuple[int, int, int]:
    """How many messages, turns and tokens stand after a place, up to another."""
    row = txn.first(_TOTALS, _span(session, after, upto))
    assert row is not None, "an aggregate always answers"
    return (int(row[0]), int(row[1]), int(row[2]))


def count(txn: Transaction, session: SessionRow, after: int, upto: int) -> int:
    """How many messages stand after a place, up to another."""
    row = txn.first(_COUNT, _span(session, after, upto))
    assert row is not None, "an aggregate always answers"
    return int(row[0])


def opens_turn(txn: Transaction, session: SessionRow, seq: int) -> bool:
    """Whether the message in one place counts as the opening of a turn."""
    row = txn.first(
        "SELECT opens_turn FROM {tail} WHERE place = :place", {"place": place(session.number, seq)}
    )
    return row is not None and bool(row[0])


def cut_after(txn: Transaction, session: SessionRow, seq: int) -> None:
    """Remove the rows after a place."""
    txn.run(_CUT, _span(session, seq))


def empty(txn: Transaction, session: SessionRow, after: int, upto: int) -> None:
    """Leave the places after one, up to another, without a message."""
    txn.run(_EMPTY, _span(session, after, upto))


def _span(session: SessionRow, after: int, upto: int = LAST_SEQ) -> dict[str, int]:
    return {"low": place(session.number, after), "high": place(session.number, upto)}


def _kept(frame: bytes, dictionary: codec.Dictionary | None) -> bytes:
    try:
        return frame if dictionary is None else codec.with_dictionary(frame, dictionary)
    except Damaged:
        return frame  # one that was copied: its bytes are kept as they are


def _row(txn: Transaction, columns: tuple[Any, ...]) -> MessageRow:
    frame = columns[2]
    if frame is not None and frame[:2] in _LEARNED:
        number = codec.dictionary_of(frame)
        known = None if number is None else txn.dictionaries.get(txn, number)
        if known is not None:  # else it comes back as damaged, with these very bytes
            columns = (*columns[:2], codec.without_dictionary(frame, known), *columns[3:])
    return MessageRow(*columns)
