"""The tail: the newest messages of a session as rows, one each. Older ones: ``segments.py``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple

from onrecord import codec
from onrecord.codec.segment import Segment
from onrecord.errors import Damaged
from onrecord.ledger.database import keys
from onrecord.ledger.database.put_item import BESIDE, DONE, Beside
from onrecord.ledger.database.transaction import Transaction
from onrecord.ledger.sessions.sessions import SPENT, growth
from onrecord.scope import SessionName
from onrecord.stored.messages import LAST_SEQ, Entry, MessageRow, SessionKey, SessionRow, Span
from onrecord.version import Expected, Since, Version, lineage_of

RETRIED: Final = 64
"""Among so many of a session's newest messages an id is looked for that was given before (I5)."""

_WRITTEN: Final = "created, token, epoch, tokens, counter, opens_turn, frame, raw, dictionary, id"

_INSERT_ROW: Final = f"""
    INSERT INTO {{tail}} ({{row_key}}, {_WRITTEN})
    VALUES ({{row_value}}, :created, :token, :epoch, :tokens, :counter, :opens_turn, :frame, :raw,
        :dictionary, :id)"""

# PostgreSQL, one statement and one round trip: the UPDATE takes the row's lock, so a second
# writer waits here and then continues from the head this one leaves. A message id that is
# there already violates the unique index and undoes the whole statement, head and all
# (ON CONFLICT DO NOTHING would leave a gap). Who takes a dictionary out of use waits for what
# began before: no lock of its row, which all appends would share.
_MOVE: Final = """
        UPDATE {sessions} SET
            head = head + :count, messages = messages + :count,
            turns = turns + :turns, tokens = tokens + :tokens, lineage = :token,
            last_active = GREATEST(last_active, :now),
            active_period = GREATEST(active_period, :period),
            waits = CAST(:waits AS SMALLINT), maybe_open = CASE
                WHEN CAST(:waits AS SMALLINT) = 1 OR holder IS NOT NULL THEN 1
                WHEN active_period < :period THEN 0 ELSE maybe_open END"""
_WHERE: Final = """
        WHERE {my_shard} identity = :identity
            AND (CAST(:fence AS BIGINT) IS NULL OR fence = :fence)
            AND (CAST(:expected_epoch AS BIGINT) IS NULL OR epoch = :expected_epoch)
            AND (CAST(:expected_head AS BIGINT) IS NULL OR head = :expected_head)
            AND (CAST(:not_cut_since AS BIGINT) IS NULL OR cut_epoch <= :not_cut_since)
            AND (refused IS NULL OR refused <> :token)
            AND head BETWEEN 0 AND 4294967295 - :count
            AND (CAST(:rows_wanted AS BIGINT) IS NULL
                OR sealed = 0 OR head - sealed >= :rows_wanted)
            AND (CAST(:newest_dictionary AS INTEGER) IS NULL OR EXISTS (
                SELECT 1 FROM {dictionaries} d
                WHERE d.id = :newest_dictionary AND d.in_use = 1))"""
_RETURNING: Final = "RETURNING id, epoch, head, sealed"
# Where it is known which past is expected, or which turn writes: nobody else's append says more.
_IN_ONE_PAST: Final = " AND lineage = :lineage"
_IN_TURN: Final = " AND holder = :holder"

# Its own text for a single message: unnest costs a fifth of the appends a second.
_ONE: Final = f"""
    INSERT INTO {{tail}} ({{row_key}}, {_WRITTEN})
    SELECT CAST(:shard AS SMALLINT), moved.id, moved.head, :created, :token, moved.epoch,
        :entry_tokens, :counter, :opens_turn, :frame, :raw, :dictionary, :id
    FROM moved RETURNING session, seq, epoch, (SELECT sealed FROM moved)"""
_MANY: Final = f"""
    INSERT INTO {{tail}} ({{row_key}}, {_WRITTEN})
    SELECT CAST(:shard AS SMALLINT), moved.id, moved.head - :count + entry.nr, entry.created,
        :token, moved.epoch, entry.tokens, :counter, entry.opens_turn, entry.frame, entry.raw,
        entry.dictionary, entry.id
    FROM moved, unnest(
        CAST(:all_created AS BIGINT[]), CAST(:all_tokens AS INTEGER[]),
        CAST(:all_opens_turn AS SMALLINT[]), CAST(:all_frames AS BYTEA[]),
        CAST(:all_raw AS INTEGER[]), CAST(:all_dictionaries AS SMALLINT[]),
        CAST(:all_ids AS TEXT[])
    ) WITH ORDINALITY AS entry (created, tokens, opens_turn, frame, raw, dictionary, id, nr)
    RETURNING session, seq, epoch, (SELECT sealed FROM moved)"""

_MOVED: Final = {
    (known, spent, in_turn): (
        f"moved AS ({_MOVE}{f', {SPENT}' if spent else ''}"
        f"{_WHERE}{_IN_ONE_PAST if known else ''}{_IN_TURN if in_turn else ''} {_RETURNING})"
    )
    for known in (False, True)
    for spent in (False, True)
    for in_turn in (False, True)
}
"""By whether it is known which past is expected, whether anything was spent, and whether a turn
writes."""
_AT_ONCE: Final = {
    (many, *of): f"WITH {moved} {insert}"
    for many, insert in ((False, _ONE), (True, _MANY))
    for of, moved in _MOVED.items()
}
"""The same, and by whether there are several messages."""
# Where the item is not put, the statement fails and undoes itself: by a division by zero, the only
# error that SQL can be asked for.
_WITH_ITEM: Final = {
    (many, *of): f"""
        WITH {moved}, {BESIDE}, said (session, seq, epoch, sealed) AS ({insert})
        SELECT said.session, said.seq, said.epoch, said.sealed, 1 / (SELECT count(*) FROM done),
            {DONE}
        FROM said LEFT JOIN done ON 1 = 1"""
    for many, insert in ((False, _ONE), (True, _MANY))
    for of, moved in _MOVED.items()
}

_COLUMNS: Final = "t.seq, t.epoch, t.frame, t.id, t.created, t.tokens, t.counter"
_SELECT: Final = f"SELECT {_COLUMNS}, t.dictionary FROM {{tail}} t"


class _Texts(NamedTuple):
    """How a part of a session is asked for.

    The session's version and its messages have to be from one moment. On PostgreSQL they come by
    one statement, ``beside``, which would sort a whole session without LATERAL. On SQLite a
    transaction is one moment, and a second statement costs less than the session's columns beside
    each message: ``session``, then ``rows``.
    """

    beside: str
    session: str
    rows: str
    width: int
    """How many columns of ``beside`` are the session's."""


def _texts(session: Sequence[str], columns: str, order: str) -> _Texts:
    asked = ", ".join(["s.id", "s.epoch", "s.head", "s.sealed", *session])
    return _Texts(
        beside=f"""
            SELECT {asked}, t.*
            FROM {{sessions}} s LEFT JOIN LATERAL (
                SELECT {columns}, t.dictionary FROM {{tail}} t
                WHERE {{t.my_shard}} t.session = s.id AND t.seq > :after AND t.seq < :before
                    AND t.frame IS NOT NULL AND (:far = 1 OR s.sealed <= :after)
                ORDER BY t.seq {order} LIMIT :limit
            ) t ON TRUE
            WHERE {{s.my_shard}} s.identity = :identity""",
        session=f"SELECT {asked} FROM {{sessions}} s WHERE {{s.my_shard}} s.identity = :identity",
        rows=f"""
            SELECT {columns}, t.dictionary FROM {{tail}} t
            WHERE t.place > (:session << 32) + :after AND t.place < (:session << 32) + :before
                AND t.frame IS NOT NULL ORDER BY t.place {order} LIMIT :limit""",
        width=4 + len(session),
    )


# The lineage is for who appends to what was read. For who keeps that: also by whom it was written,
# so that another past can be told from it. Who has no cache is not sent what only a cache needs.
_NEWEST: Final = _texts(["s.lineage"], _COLUMNS, "DESC")
_OLDEST: Final = _texts([], _COLUMNS, "ASC")
_TRACED: Final = f"{_COLUMNS}, t.token"
_NEWEST_TRACED: Final = _texts(["s.lineage", "s.fence", "0"], _TRACED, "DESC")
# The lineage at the head that a reader holds: of the row there, which is of the write that left it.
# Not where all is read: PostgreSQL looks it up for each row that is answered.
_AT_HELD: Final = """CASE WHEN s.head = :after THEN s.lineage
        ELSE (SELECT h.token FROM {tail} h
            WHERE {h.my_shard} {h.of s} AND h.seq = :after) END"""
_NEWER_TRACED: Final = _texts(["s.lineage", "s.fence", _AT_HELD], _TRACED, "DESC")

# Of several places at once, in as few statements as a database allows.
_STANDS: Final = "SELECT epoch, sealed FROM {sessions} WHERE {my_shard} id = :session"
_SPAN: Final = f"{_SELECT} WHERE {{t.span}} AND t.frame IS NOT NULL ORDER BY {{t.order}}"


def _spans(of_one: str = "") -> str:
    """``of_one``: of sessions that are all in one shard."""
    return f"""
    SELECT w.number, s.epoch, s.sealed, t.*
    FROM unnest(CAST(:shards AS SMALLINT[]), CAST(:sessions AS BIGINT[]),
        CAST(:afters AS BIGINT[]), CAST(:uptos AS BIGINT[]))
        WITH ORDINALITY AS w (shard, session, after, upto, number)
    JOIN {{sessions}} s ON {of_one and "{s.my_shard}"} s.shard = w.shard AND s.id = w.session
    LEFT JOIN LATERAL (
        SELECT {_COLUMNS}, t.dictionary FROM {{tail}} t
        WHERE {of_one and "{t.my_shard}"} t.shard = w.shard AND t.session = w.session
            AND t.seq > w.after AND t.seq <= w.upto AND t.frame IS NOT NULL
        ORDER BY t.seq
    ) t ON TRUE
    ORDER BY w.number, t.seq"""


_SPANS: Final = _spans()
_SPANS_IN_ONE_SHARD: Final = _spans(of_one="shard")

_AT: Final = f"{_SELECT} WHERE {{t.at}}"
_IN_TIME_AT_ONCE: Final = 256
_MOST_IDS: Final = 400  # SQLite took at most 999 parameters until 3.32
_ID_LISTS: Final = {
    size: f"{_SELECT} WHERE {{t.my_shard}} t.session = :session AND t.id IN "
    f"({', '.join(f':id{i}' for i in range(size))})"
    for size in (1, 20, _MOST_IDS)
}
_WITH_TOKEN: Final = f"{_SELECT} WHERE {{t.span}} AND t.token = :token ORDER BY {{t.order}}"

_TOTALS: Final = """
    SELECT count(frame), coalesce(sum(opens_turn), 0), coalesce(sum(tokens), 0)
    FROM {tail} WHERE {span}"""
_COUNT: Final = "SELECT count(frame) FROM {tail} WHERE {span}"
_OPENS_TURN: Final = "SELECT opens_turn FROM {tail} WHERE {at}"
_SIZES: Final = """
    SELECT seq, length(frame) FROM {tail} WHERE {span} ORDER BY {order} LIMIT :most"""
_PAGE: Final = f"""
    SELECT {_COLUMNS}, t.opens_turn, t.dictionary FROM {{tail}} t WHERE {{t.span}}
    ORDER BY {{t.order}} LIMIT :most"""
# Not in their order, which the planner would sort them for.
_SIZES_OF_MANY: Final = """
    SELECT shard, session, count(*), min(seq), max(seq), coalesce(sum(length(frame)), 0)
    FROM {tail} WHERE {of_many_sessions} GROUP BY shard, session"""
_OF_MANY: Final = f"""
    SELECT t.shard, t.session, {_COLUMNS}, t.opens_turn, t.dictionary
    FROM {{tail}} t WHERE {{t.of_many_sessions}}"""

_IN_TIME: Final = f"""
    {_SELECT} WHERE {{t.span}} AND t.frame IS NOT NULL AND t.created >= :since
        AND t.created < :until ORDER BY {{t.order}}"""
_OLDEST_IN_TIME: Final = f"{_IN_TIME} LIMIT :most"
_NEWEST_IN_TIME: Final = f"{_IN_TIME} DESC LIMIT :most"

_CUT: Final = "DELETE FROM {tail} WHERE {span}"
# As if it had been cut off: its id may be given again, and no append is found by its token.
_EMPTY: Final = """
    UPDATE {tail} SET frame = NULL, raw = NULL, dictionary = NULL, id = NULL, tokens = 0,
        opens_turn = 0, token = 0
    WHERE {span}"""
_REPLACE: Final = """
    UPDATE {tail} SET frame = :frame, raw = :raw, dictionary = :dictionary, tokens = :tokens,
        counter = :counter, opens_turn = :opens_turn
    WHERE {at}"""
_PUT_FRAME: Final = """
    UPDATE {tail} SET frame = :frame, raw = :raw, dictionary = :dictionary WHERE {at}"""


class Found(NamedTuple):
    """What a look at a session's tail gives, from one moment."""

    session: int
    version: Version
    sealed: int
    rows: list[MessageRow]
    lineage: int = 0
    fence: int = 0
    at_held: int = 0
    """The lineage at the place after which was read; 0 where there is none."""
    beside: tuple[Any, ...] = ()
    """What is answered of that which went with an append."""


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
    _write(txn, session, rows, [e.opens_turn for e in entries], token)
    return rows


def put(txn: Transaction, session: SessionRow, run: Segment) -> None:
    """Write rows as they are, deleted ones too. No append is found by them."""
    _write(txn, session, run.rows, run.opens_turn, 0)


def _write(
    txn: Transaction,
    session: SessionRow,
    rows: Sequence[MessageRow],
    opens_turns: Sequence[bool],
    token: int,
) -> None:
    dictionary = txn.dictionaries.in_use(txn)
    keys.check(rows[-1].seq if rows else 0)
    values: list[dict[str, object]] = []
    for row, opens_turn in zip(rows, opens_turns, strict=True):
        frame, raw, number = _kept(row.frame, dictionary)
        values.append(
            {
                "shard": session.shard,
                "session": session.number,
                "seq": row.seq,
                "created": row.created,
                "token": token,
                "epoch": row.epoch,
                "tokens": row.tokens,
                "counter": row.counter,
                "opens_turn": int(opens_turn),
                "frame": frame,
                "raw": raw,
                "dictionary": number,
                "id": row.id,
            }
        )
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
    beside: Beside | None = None,
    holder: bytes | None = None,
) -> Found | None:
    """PostgreSQL: lock, check, move the head and write, in one statement.

    None when there is no such session, or it is not at the expected version, or another turn holds
    it than the one that writes, or an id may be in one of its segments, or its dictionary has gone;
    nothing was done.
    """
    kept = [_kept(entry.frame, txn.dictionaries.current) for entry in entries]
    needed = [one.dictionary for one in kept if one.dictionary is not None]
    values: dict[str, object] = {
        "shard": name.shard,
        "identity": name.identity,
        "token": token,
        "fence": None if txn.stamp is None else txn.stamp.fence,
        "counter": txn.facts.counter,
        "expected_epoch": None,
        "expected_head": None,
        "not_cut_since": None,
        "rows_wanted": RETRIED if any(entry.id is not None for entry in entries) else None,
        "newest_dictionary": max(needed, default=None),
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
    if holder is not None:
        values["holder"] = holder
    of = len(entries) > 1, "lineage" in values, "requests" in values, "holder" in values
    statement = _AT_ONCE[of]
    if beside is not None:
        statement = _WITH_ITEM[of]
        values.update(beside.values)
    if len(entries) == 1:
        entry = entries[0]
        values.update(
            created=entry.created,
            entry_tokens=entry.tokens,
            opens_turn=int(entry.opens_turn),
            frame=kept[0].frame,
            raw=kept[0].raw,
            dictionary=kept[0].dictionary,
            id=entry.id,
        )
        answer = txn.rows(statement, values)
    else:
        values.update(
            all_created=[entry.created for entry in entries],
            all_tokens=[entry.tokens for entry in entries],
            all_opens_turn=[int(entry.opens_turn) for entry in entries],
            all_frames=[one.frame for one in kept],
            all_raw=[one.raw for one in kept],
            all_dictionaries=[one.dictionary for one in kept],
            all_ids=[entry.id for entry in entries],
        )
        answer = sorted(txn.rows(statement, values))
    if not answer:
        return None
    counter = txn.facts.counter
    rows = [
        MessageRow(seq, epoch, e.frame, e.id, e.created, e.tokens, counter, token)
        for (_, seq, epoch, *_), e in zip(answer, entries, strict=True)
    ]
    session, head, epoch, sealed, *rest = answer[-1]
    return Found(session, Version(epoch, head), sealed, rows, beside=tuple(rest[1:]))


class Piece(NamedTuple):
    """The rows in some places of a session, and how it stands at that moment."""

    epoch: int
    sealed: int
    rows: list[MessageRow]


def pieces(txn: Transaction, spans: Sequence[Span]) -> list[Piece | None]:
    """What of each span is a row, deleted ones left out; None where there is no such session."""
    if not (txn.can.array_parameters and txn.can.across_shards):
        stands: dict[SessionKey, tuple[Any, ...] | None] = {}
        for key in {span.key for span in spans}:
            stands[key] = txn.first(_STANDS, keys.of_key(key))
        return [_piece(txn, span, stands[span.key]) for span in spans]
    values: dict[str, Any] = {
        "shards": [span.key.shard for span in spans],
        "sessions": [span.key.session for span in spans],
        "afters": [span.first - 1 for span in spans],
        "uptos": [span.last for span in spans],
    }
    answer: list[Piece | None] = [None] * len(spans)
    statement = _SPANS
    if len(set(values["shards"])) == 1:
        statement = _SPANS_IN_ONE_SHARD
        values["shard"] = values["shards"][0]
    for number, epoch, sealed, *columns in txn.rows(statement, values):
        piece = answer[number - 1]
        if piece is None:
            piece = answer[number - 1] = Piece(epoch, sealed, [])
        if columns[0] is not None:
            piece.rows.append(_row(txn, tuple(columns)))
    return answer


def _piece(txn: Transaction, span: Span, stands: tuple[Any, ...] | None) -> Piece | None:
    if stands is None:
        return None
    epoch, sealed = stands
    rows: list[MessageRow] = []
    if sealed < span.last:
        found = txn.rows(_SPAN, keys.span(txn, span.key, span.first - 1, span.last))
        rows = [_row(txn, columns) for columns in found]
    return Piece(epoch, sealed, rows)


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
        **keys.of_name(name),
        "after": after,
        "before": before,
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
        width = texts.width
        session = beside[0][:width]
        answer = [columns[width:] for columns in beside if columns[width] is not None]
    rows = [
        MessageRow(*columns[:-1]) if columns[-1] is None else _row(txn, columns)
        for columns in answer
    ]
    if newest:
        rows.reverse()
    number, epoch, head, sealed, *trace = session
    if not traced:
        return Found(number, Version(epoch, head), sealed, rows, *trace)
    lineage, fence, at_held = trace
    return Found(number, Version(epoch, head), sealed, rows, lineage, fence, at_held or 0)


def at(txn: Transaction, session: SessionRow, seq: int) -> MessageRow | None:
    """The message in one place, also a deleted one."""
    found = txn.first(_AT, keys.at(session.key, seq))
    return None if found is None else _row(txn, found)


def with_ids(txn: Transaction, session: SessionRow, ids: Sequence[str]) -> dict[str, MessageRow]:
    """The messages the caller gave these ids to, also deleted ones."""
    rows: dict[str, MessageRow] = {}
    for start in range(0, len(ids), _MOST_IDS):
        wanted = ids[start : start + _MOST_IDS]
        # Padded to few sizes by asking for the last one again: few statements to remember.
        size = next(size for size in _ID_LISTS if size >= len(wanted))
        values: dict[str, object] = {f"id{i}": wanted[min(i, len(wanted) - 1)] for i in range(size)}
        found = txn.rows(_ID_LISTS[size], {**keys.of_session(session), **values})
        rows.update((row[3], _row(txn, row)) for row in found)
    return rows


def with_token(txn: Transaction, session: SessionRow, token: int) -> list[MessageRow]:
    """What one call of append wrote, in order. Reads the whole session: only for a lost answer."""
    found = txn.rows(_WITH_TOKEN, {**keys.span(txn, session.key), "token": token})
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
            **keys.at(session.key, seq),
            **_kept(frame, txn.dictionaries.in_use(txn))._asdict(),
            "tokens": tokens,
            "counter": txn.facts.counter,
            "opens_turn": int(opens_turn),
        },
    )


def oldest(txn: Transaction, session: SessionRow, most: int, most_bytes: int) -> Segment:
    """The first rows of a locked session that follow each other, as many as belong together."""
    values = {**keys.span(txn, session.key, session.sealed), "most": most}
    count, size = 0, 0
    for seq, length in txn.rows(_SIZES, values):
        size += length or 0
        if seq != session.sealed + count + 1 or (count and size > most_bytes):
            break
        count += 1
    run = page(txn, session, session.sealed, count) if count else []
    return Segment(tuple(row for row, _ in run), tuple(opens for _, opens in run))


def whole_of_many(
    txn: Transaction, wanted: Sequence[SessionRow], largest: int, most_bytes: int
) -> dict[SessionKey, Segment]:
    """All rows of sessions that have no segment, where they follow each other and no session has
    more bytes than belong together; of as many as may be held."""
    runs: dict[SessionKey, Segment] = {}
    if not txn.can.array_parameters:
        size = 0
        for session in wanted:
            run = oldest(txn, session, session.head, largest)
            size += sum(len(row.frame or b"") for row in run.rows)
            if len(run.rows) == session.head and size <= most_bytes:
                runs[session.key] = run
        return runs
    heads = {session.key: session.head for session in wanted}
    chosen: list[SessionKey] = []
    for shard, number, *found, size in txn.rows(_SIZES_OF_MANY, keys.of_many(heads)):
        key = SessionKey(shard, number)
        most_bytes -= size
        if found == [heads[key], 1, heads[key]] and size <= largest and most_bytes >= 0:
            chosen.append(key)
    rows: dict[SessionKey, list[tuple[MessageRow, bool]]] = {key: [] for key in chosen}
    for shard, number, *columns, opens, dictionary in txn.rows(_OF_MANY, keys.of_many(chosen)):
        row = _row(txn, (*columns, dictionary))
        rows[SessionKey(shard, number)].append((row, bool(opens)))
    for key, pairs in rows.items():
        pairs.sort(key=lambda pair: pair[0].seq)
        if [row.seq for row, _ in pairs] == list(range(1, heads[key] + 1)):  # else it was changed
            runs[key] = Segment(tuple(row for row, _ in pairs), tuple(opens for _, opens in pairs))
    return runs


def page(
    txn: Transaction, session: SessionRow, after: int, most: int
) -> list[tuple[MessageRow, bool]]:
    """Rows after a place, deleted ones too, and whether each opens a turn."""
    values = {**keys.span(txn, session.key, after), "most": most}
    return [
        (_row(txn, (*columns, dictionary)), bool(opens))
        for *columns, opens, dictionary in txn.rows(_PAGE, values)
    ]


def in_time(
    txn: Transaction,
    session: SessionRow,
    since: int,
    until: int,
    *,
    after: int,
    before: int,
    newest: bool,
) -> Iterator[MessageRow]:
    """Messages between two times, the later not counted in, and between two places; deleted ones
    left out. The newest come first if so asked."""
    statement = _NEWEST_IN_TIME if newest else _OLDEST_IN_TIME
    after = max(after, session.sealed)
    while after + 1 < before:
        span = keys.span(txn, session.key, after, before - 1)
        values = {**span, "since": since, "until": until, "most": _IN_TIME_AT_ONCE}
        found = [_row(txn, columns) for columns in txn.rows(statement, values)]
        yield from found
        if len(found) < _IN_TIME_AT_ONCE:
            return
        if newest:
            before = found[-1].seq
        else:
            after = found[-1].seq


def put_frame(txn: Transaction, session: SessionRow, seq: int, frame: bytes) -> None:
    """Say the same in other bytes."""
    kept = _kept(frame, txn.dictionaries.in_use(txn))
    txn.run(_PUT_FRAME, {**keys.at(session.key, seq), **kept._asdict()})


def remove(txn: Transaction, session: SessionRow, upto: int) -> None:
    """Take away the rows up to a place: they are in a segment."""
    txn.run(_CUT, keys.span(txn, session.key, 0, upto))


def totals(
    txn: Transaction, session: SessionRow, after: int, upto: int = LAST_SEQ
) -> tuple[int, int, int]:
    """How many messages, turns and tokens stand after a place, up to another."""
    row = txn.first(_TOTALS, keys.span(txn, session.key, after, upto))
    assert row is not None, "an aggregate always answers"
    return (int(row[0]), int(row[1]), int(row[2]))


def count(txn: Transaction, session: SessionRow, after: int, upto: int) -> int:
    """How many messages stand after a place, up to another."""
    row = txn.first(_COUNT, keys.span(txn, session.key, after, upto))
    assert row is not None, "an aggregate always answers"
    return int(row[0])


def opens_turn(txn: Transaction, session: SessionRow, seq: int) -> bool:
    """Whether the message in one place counts as the opening of a turn."""
    row = txn.first(_OPENS_TURN, keys.at(session.key, seq))
    return row is not None and bool(row[0])


def cut_after(txn: Transaction, session: SessionRow, seq: int) -> None:
    """Remove the rows after a place."""
    txn.run(_CUT, keys.span(txn, session.key, seq))


def empty(txn: Transaction, session: SessionRow, after: int, upto: int) -> None:
    """Leave the places after one, up to another, without a message."""
    txn.run(_EMPTY, keys.span(txn, session.key, after, upto))


class _Kept(NamedTuple):
    """A frame as the database keeps it, and what SQL may know of it."""

    frame: bytes | None
    raw: int | None
    dictionary: int | None


_NOTHING_KEPT: Final = _Kept(None, None, None)


def _kept(frame: bytes | None, dictionary: codec.Dictionary | None) -> _Kept:
    if frame is None:
        return _NOTHING_KEPT
    if dictionary is None and codec.is_plain(frame):
        return _Kept(frame, None, None)
    if dictionary is not None:
        with suppress(Damaged):  # one that was copied: its bytes are kept as they are
            frame = codec.with_dictionary(frame, dictionary)
    return _Kept(frame, codec.raw_length(frame), codec.dictionary_of(frame))


def _row(txn: Transaction, columns: tuple[Any, ...]) -> MessageRow:
    """A row of the columns of ``_SELECT``, or of more before the last, which is its dictionary."""
    frame = columns[2]
    if columns[-1] is not None and frame is not None:
        number = codec.dictionary_of(frame)  # the frame decides: its bytes are checked
        known = None if number is None else txn.dictionaries.get(txn, number)
        if known is not None:  # else it comes back as damaged, with these very bytes
            columns = (*columns[:2], codec.without_dictionary(frame, known), *columns[3:])
    return MessageRow(*columns[:-1])
