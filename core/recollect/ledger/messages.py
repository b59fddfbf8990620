"""The rows of messages: written, found again, read, rewritten, cut off."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from recollect.ledger.address import Kind
from recollect.ledger.sessions import growth
from recollect.ledger.transaction import Transaction
from recollect.rows import LAST_SEQ, Entry, Row, Seen, SessionRow, place
from recollect.scope import SessionName
from recollect.version import Expected, Since, Version

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
            turns = turns + :turns, tokens = tokens + :tokens,
            last_active = GREATEST(last_active, :now),
            active_second = GREATEST(active_second, :second)
        WHERE identity = :identity
            AND (CAST(:expected_epoch AS BIGINT) IS NULL OR epoch = :expected_epoch)
            AND (CAST(:expected_head AS BIGINT) IS NULL OR head = :expected_head)
            AND (CAST(:not_cut_since AS BIGINT) IS NULL OR cut_epoch <= :not_cut_since)
            AND (fenced IS NULL OR fenced <> :token)
        RETURNING id, epoch, head
    )"""

# Its own text for a single message: unnest costs a fifth of the appends a second.
_ONE_AT_ONCE: Final = f"""{_ADVANCE_AT_ONCE} {_INSERT}
    SELECT (moved.id << 32) | moved.head, :created, :token, moved.epoch, :entry_tokens,
        :counter, :opens_turn, :frame, :id
    FROM moved RETURNING place, born"""

_MANY_AT_ONCE: Final = f"""{_ADVANCE_AT_ONCE} {_INSERT}
    SELECT (moved.id << 32) | (moved.head - :count + entry.nr), entry.created, :token,
        moved.epoch, entry.tokens, :counter, entry.opens_turn, entry.frame, entry.id
    FROM moved, unnest(
        CAST(:all_created AS BIGINT[]), CAST(:all_tokens AS INTEGER[]),
        CAST(:all_opens_turn AS SMALLINT[]), CAST(:all_frames AS BYTEA[]),
        CAST(:all_ids AS TEXT[])
    ) WITH ORDINALITY AS entry (created, tokens, opens_turn, frame, id, nr)
    RETURNING place, born"""

_COLUMNS: Final = "t.place & 4294967295, t.born, t.frame, t.id, t.created, t.tokens, t.counter"
_BOUNDS: Final = """t.place > (s.id << 32) + :low AND t.place < (s.id << 32) + :high
        AND t.frame IS NOT NULL"""

# The session's version and its messages from one statement, hence from one moment. PostgreSQL
# would sort a whole session without LATERAL; SQLite has no LATERAL and needs none.
_RANGE_TEXTS: Final[dict[Kind, str]] = {
    "sqlite": f"""
        SELECT s.id, s.epoch, s.head, {_COLUMNS}
        FROM {{sessions}} s LEFT JOIN {{tail}} t ON {_BOUNDS}
        WHERE s.identity = :identity ORDER BY t.place DIRECTION LIMIT :limit""",
    "postgresql": f"""
        SELECT s.id, s.epoch, s.head, t.*
        FROM {{sessions}} s LEFT JOIN LATERAL (
            SELECT {_COLUMNS} FROM {{tail}} t WHERE {_BOUNDS}
            ORDER BY t.place DIRECTION LIMIT :limit
        ) t ON TRUE
        WHERE s.identity = :identity""",
}
_NEWEST: Final = {k: text.replace("DIRECTION", "DESC") for k, text in _RANGE_TEXTS.items()}
_OLDEST: Final = {k: text.replace("DIRECTION", "ASC") for k, text in _RANGE_TEXTS.items()}

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

_CUT: Final = "DELETE FROM {tail} WHERE place > :low AND place <= :high"

_REPLACE: Final = """
    UPDATE {tail} SET frame = :frame, tokens = :tokens, counter = :counter,
        opens_turn = :opens_turn
    WHERE place = :place"""


def insert(
    txn: Transaction, session: SessionRow, entries: Sequence[Entry], token: int
) -> list[Row]:
    """Write messages after the head of a locked session."""
    counter = txn.facts.counter
    rows = [
        Row(session.head + n, session.epoch, e.frame, e.id, e.created, e.tokens, counter)
        for n, e in enumerate(entries, 1)
    ]
    values = [
        {
            "place": place(session.number, row.seq),
            "created": row.created,
            "token": token,
            "born": row.born,
            "tokens": row.tokens,
            "counter": counter,
            "opens_turn": int(entry.opens_turn),
            "frame": row.frame,
            "id": row.id,
        }
        for row, entry in zip(rows, entries, strict=True)
    ]
    if len(values) == 1:
        txn.run(_INSERT_ROW, values[0])
    else:
        txn.many(_INSERT_ROW, values)
    return rows


def append_at_once(
    txn: Transaction,
    name: SessionName,
    entries: Sequence[Entry],
    token: int,
    expected: Expected,
    now: int,
) -> Seen | None:
    """PostgreSQL: lock, check, move the head and write, in one statement.

    None when there is no such session or it is not at the expected version; nothing was done.
    """
    values: dict[str, object] = {
        "identity": name.identity,
        "token": token,
        "counter": txn.facts.counter,
        "expected_epoch": None,
        "expected_head": None,
        "not_cut_since": None,
        **growth(entries, now),
    }
    match expected:
        case Version():
            values.update(expected_epoch=expected.epoch, expected_head=expected.head)
        case Since(version):
            values.update(not_cut_since=version.epoch)
        case _:
            values.update(expected_head=expected)
    if len(entries) == 1:
        entry = entries[0]
        values.update(
            created=entry.created,
            entry_tokens=entry.tokens,
            opens_turn=int(entry.opens_turn),
            frame=entry.frame,
            id=entry.id,
        )
        answer = txn.rows(_ONE_AT_ONCE, values)
    else:
        values.update(
            all_created=[entry.created for entry in entries],
            all_tokens=[entry.tokens for entry in entries],
            all_opens_turn=[int(entry.opens_turn) for entry in entries],
            all_frames=[entry.frame for entry in entries],
            all_ids=[entry.id for entry in entries],
        )
        answer = sorted(txn.rows(_MANY_AT_ONCE, values))
    if not answer:
        return None
    counter = txn.facts.counter
    rows = tuple(
        Row(place & LAST_SEQ, born, e.frame, e.id, e.created, e.tokens, counter)
        for (place, born), e in zip(answer, entries, strict=True)
    )
    last_place, epoch = answer[-1]
    return Seen(last_place >> 32, Version(epoch, rows[-1].seq), rows)


def seen(
    txn: Transaction,
    name: SessionName,
    *,
    after: int = 0,
    before: int = LAST_SEQ,
    limit: int | None = None,
    newest: bool = False,
) -> Seen | None:
    """Messages between two places, deleted ones left out; the newest of them if so asked."""
    answer = txn.rows(
        (_NEWEST if newest else _OLDEST)[txn.kind],
        {
            "identity": name.identity,
            "low": after,
            "high": before,
            "limit": LAST_SEQ if limit is None else limit,
        },
    )
    if not answer:
        return None
    number, epoch, head = answer[0][:3]
    rows = [_row(found[3:]) for found in answer if found[3] is not None]
    if newest:
        rows.reverse()
    return Seen(number, Version(epoch, head), tuple(rows))


def at(txn: Transaction, session: SessionRow, seq: int) -> Row | None:
    """The message in one place, also a deleted one."""
    found = txn.first(_SELECT + "t.place = :place", {"place": place(session.number, seq)})
    return None if found is None else _row(found)


def with_ids(txn: Transaction, session: SessionRow, ids: Sequence[str]) -> dict[str, Row]:
    """The messages the caller gave these ids to, also deleted ones."""
    rows: dict[str, Row] = {}
    for start in range(0, len(ids), _MOST_IDS):
        wanted = ids[start : start + _MOST_IDS]
        # Padded to few sizes by asking for the last one again: few statements to remember.
        size = next(size for size in _ID_LISTS if size >= len(wanted))
        values: dict[str, object] = {f"id{i}": wanted[min(i, len(wanted) - 1)] for i in range(size)}
        found = txn.rows(_ID_LISTS[size], {"session": session.number, **values})
        rows.update((row[3], _row(row)) for row in found)
    return rows


def with_token(txn: Transaction, session: SessionRow, token: int) -> list[Row]:
    """What one call of append wrote, in order. Reads the whole session: only for a lost answer."""
    found = txn.rows(
        _SELECT + "t.place > :low AND t.place <= :high AND t.token = :token ORDER BY t.place",
        {**_span(session, 0), "token": token},
    )
    return [_row(row) for row in found]


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
            "frame": frame,
            "tokens": tokens,
            "counter": txn.facts.counter,
            "opens_turn": int(opens_turn),
        },
    )


def totals(txn: Transaction, session: SessionRow, after: int) -> tuple[int, int, int]:
    """How many messages, turns and tokens stand after a place."""
    row = txn.first(_TOTALS, _span(session, after))
    assert row is not None, "an aggregate always answers"
    return (int(row[0]), int(row[1]), int(row[2]))


def opens_turn(txn: Transaction, session: SessionRow, seq: int) -> bool:
    """Whether the message in one place counts as the opening of a turn."""
    row = txn.first(
        "SELECT opens_turn FROM {tail} WHERE place = :place", {"place": place(session.number, seq)}
    )
    return row is not None and bool(row[0])


def cut_after(txn: Transaction, session: SessionRow, seq: int) -> None:
    """Remove the rows after a place."""
    txn.run(_CUT, _span(session, seq))


def _span(session: SessionRow, after: int) -> dict[str, int]:
    return {"low": place(session.number, after), "high": place(session.number, LAST_SEQ)}


def _row(found: tuple[Any, ...]) -> Row:
    return Row(*found)
