"""Whole sessions, read from one moment and written as they were: export, import and fork."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from onrecord.codec.compression import STEADY
from onrecord.codec.segment import Segment
from onrecord.ledger.database import keys
from onrecord.ledger.database.transaction import Transaction
from onrecord.ledger.schema import migrations
from onrecord.ledger.sessions import archives, description, sealing, segments, sessions, tail
from onrecord.ledger.sessions.description import Described
from onrecord.scope import Scope
from onrecord.stored.clock import period_of
from onrecord.stored.messages import LAST_SEQ, MessageRow, SessionKey, SessionRow
from onrecord.stored.ranges import Ranges, spans, with_added

_AT_ONCE: Final = 200
"""Rows that are read together, if they have not too many bytes."""

# By their bytes, which is the order in which every database and Python put them.
_BY_NAME: Final = {
    "sqlite": 'tenant, "user", agent, key',
    "postgresql": ", ".join(f'{part} COLLATE "C"' for part in ("tenant", '"user"', "agent", "key")),
}

MOST_LOST: Final = 1_000
"""A head that is further behind the last message than this is not believed."""
_LAST_SEALED: Final = "SELECT seq FROM {segments} WHERE {span} ORDER BY {order} DESC LIMIT 1"
_LAST_ROW: Final = "SELECT seq FROM {tail} WHERE {span} ORDER BY {order} DESC LIMIT 1"

_COUNTERS: Final = "SELECT id, name FROM {counters}"

_GROW: Final = """
    UPDATE {sessions} SET
        head = :head, messages = messages + :messages, turns = turns + :turns,
        tokens = tokens + :tokens, last_active = {greatest}(last_active, :active),
        active_period = {greatest}(active_period, :period)
    WHERE {my_shard} id = :session"""


def in_order(txn: Transaction, scope: Scope) -> list[SessionKey]:
    """The sessions of a scope, in the order of their names."""
    conditions, values = keys.of_scope(scope)
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    found = txn.rows(
        f"SELECT {{shard}}, id FROM {{sessions}}{where} ORDER BY {_BY_NAME[txn.kind]}", values
    )
    return [SessionKey(*row) for row in found]


def look(txn: Transaction, key: SessionKey) -> tuple[SessionRow, Described, Ranges] | None:
    """A session by its number, all of it from this moment on."""
    txn.snapshot()
    described = description.describe_key(txn, key)
    if described is None:
        return None
    found = archives.find_key(txn, key)
    assert found is not None, "it is from one moment"
    return _believed(txn, found[0], described.messages), described, found[1]


def _believed(txn: Transaction, session: SessionRow, messages: int) -> SessionRow:
    """The session with a head that something stands at, where its own cannot be right: nobody
    walks 2^32 places because of one bit."""
    if not keys.is_number(txn, session.number):
        return session._replace(head=min(max(session.head, 0), MOST_LOST))
    span = keys.span(txn, session.key)
    sealed = _last(txn, _LAST_SEALED, span)
    head = session.head
    if not 0 <= head - messages <= MOST_LOST:
        last = max(sealed, _last(txn, _LAST_ROW, span))
        if not last <= head <= last + MOST_LOST:
            head = last
    return session._replace(head=head, sealed=min(sealed, head))


def _last(txn: Transaction, statement: str, span: Mapping[str, object]) -> int:
    found = txn.first(statement, span)
    return 0 if found is None else int(found[0])


def places(
    txn: Transaction, session: SessionRow, after: int = 0, upto: int = LAST_SEQ
) -> Iterator[tuple[MessageRow | None, bool]]:
    """Every place of a session between two, in order, and whether it opens a turn; None where
    nothing is, not even a deleted message. Holds few of them at a time."""
    upto = min(upto, session.head)
    for run in _runs(txn, session, after, upto):
        for row, opens_turn in zip(run.rows, run.opens_turn, strict=True):
            for _ in range(after + 1, row.seq):
                yield None, False
            yield row, opens_turn
            after = row.seq
    for _ in range(after, upto):
        yield None, False


def _runs(txn: Transaction, session: SessionRow, after: int, upto: int) -> Iterator[Segment]:
    if not keys.is_number(txn, session.number):
        return  # a damaged row: nothing can be found by it
    for stored in segments.overlapping(txn, session.key, after, min(upto, session.sealed)):
        run = segments.read(txn, stored, session.epoch)
        yield segments.chosen(run, after, min(upto, session.sealed))
    after = max(after, session.sealed)
    while after < upto:
        # As what follows would be sealed: many small ones, or one large one.
        run = tail.oldest(txn, session._replace(sealed=after), _AT_ONCE, sealing.LARGEST)
        if run.rows:
            yield segments.chosen(run, after, upto)
            after = run.rows[-1].seq
        elif following := tail.page(txn, session, after, 1):
            after = following[0][0].seq - 1  # a gap
        else:
            return


def counters(txn: Transaction) -> dict[int, str]:
    """The token counters of this database, by the numbers they have in it."""
    return dict(txn.rows(_COUNTERS, {}))


def counter_numbers(txn: Transaction, names: Iterable[str]) -> Mapping[str | None, int]:
    """The numbers that token counters have in this database; those new to it are given one."""
    known: dict[str | None, int] = {name: number for number, name in counters(txn).items()}
    for name in sorted(names):  # one order, so that no two who do it wait for each other
        if name not in known:
            known[name] = migrations.register(txn, name)
    return {**known, None: 0}


def add(
    txn: Transaction,
    session: SessionRow,
    run: Segment,
    archived: Ranges,
    active: int,
    more: bool,
) -> SessionRow:
    """Write messages after the head of a locked session, as they were elsewhere.

    What would be sealed soon is sealed at once. So is all of it, if ``more`` will follow.
    """
    head, last = session.head, run.rows[-1].seq if run.rows else session.head
    most = 0 if more else 2 * sealing.SEGMENT - 1
    if head > session.sealed and (
        last - session.sealed > most or _has_an_id_twice(run) or _knows_one(txn, session, run)
    ):
        session = sealing.seal_all(txn, session)
    left = run
    while session.head == session.sealed and (len(left.rows) > most or _has_an_id_twice(left)):
        piece, left = _parted(left)
        segments.write(txn, session.key, piece, STEADY)
        session = session._replace(head=piece.rows[-1].seq, sealed=piece.rows[-1].seq)
    if left.rows:
        tail.put(txn, session, left)
    session = sessions.seal(txn, session, session.sealed) if session.sealed > head else session
    messages, turns, tokens = segments.totals(run)
    txn.run(
        _GROW,
        {
            **keys.of_session(session),
            "head": last,
            "messages": messages,
            "turns": turns,
            "tokens": tokens,
            "active": active,
            "period": period_of(active),
        },
    )
    if new := tuple(spans(archived, head + 1, last, inside=True)):
        archives.put(txn, session, with_added((*archives.of(txn, session), *new), ()))
    return session._replace(head=last)


def _knows_one(txn: Transaction, session: SessionRow, run: Segment) -> bool:
    """Whether one of the ids is among the rows already: there an id stands only once, and in what
    is sealed it may stand again."""
    given = [row.id for row in run.rows if row.id is not None]
    return bool(given and tail.with_ids(txn, session, given))


def _has_an_id_twice(run: Segment) -> bool:
    given = [row.id for row in run.rows if row.id is not None]
    return len(set(given)) < len(given)


def _parted(run: Segment) -> tuple[Segment, Segment]:
    """As many of the first as belong into one segment, and the others."""
    count, size = 0, 0
    for row in run.rows[: sealing.SEGMENT]:
        size += len(row.frame or b"")
        if count and size > sealing.LARGEST:
            break
        count += 1
    return (
        Segment(run.rows[:count], run.opens_turn[:count]),
        Segment(run.rows[count:], run.opens_turn[count:]),
    )
