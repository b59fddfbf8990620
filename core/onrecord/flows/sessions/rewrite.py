"""How a rewrite travels: edit, delete, rewind, clear and pop, each of them a new epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from onrecord import codec
from onrecord.accepting import Appendable, messages_from
from onrecord.arguments import whole_number
from onrecord.codec.about import unpacked
from onrecord.errors import Conflict, Damaged, InvalidMessage
from onrecord.flow import Cold, Flow, do
from onrecord.flows.about import changed, changes_of
from onrecord.flows.mark import Done
from onrecord.flows.sessions.derived import commit_rewrite
from onrecord.flows.sessions.expected import checked, refuse_unexpected
from onrecord.flows.shared import UNSET, Desk, encode
from onrecord.ledger.sessions import archives, description, sessions
from onrecord.ledger.sessions import messages as rows_of
from onrecord.message import Message
from onrecord.scope import SessionName
from onrecord.stored.changes import Change
from onrecord.stored.clock import now
from onrecord.stored.messages import Entry, MessageRow, SessionRow, Snapshot
from onrecord.stored.ranges import NOWHERE, Ranges, spans
from onrecord.usage import Spent, beyond, spent_by
from onrecord.version import Expected, SessionInfo, Version

if TYPE_CHECKING:
    from onrecord.ledger.database.transaction import Transaction


def edit(desk: Desk, name: SessionName, seq: int, given: Appendable) -> Flow[Message]:
    """Put another message in the place of one; place, id and time stay."""
    seq = whole_number("seq", seq)
    at = now()
    (entry,), (content,) = encode(desk, [one_of(given, "edit")], at)

    def work(txn: Transaction) -> Done[tuple[SessionRow, MessageRow]]:
        session, row = _locked_with(txn, name, seq)
        before, session = session.version, _put(txn, session, row, entry, at)
        row = replace(row, frame=entry.frame, tokens=entry.tokens, counter=txn.facts.counter)
        place = ((seq, seq),)
        return Done((session, row), Change("edit", name, before, session.version, place, place))

    done = yield from commit_rewrite(desk, name, work, Done.change_of)
    session, row = done.answer
    return desk.build.completed(content, row, session.number)


def delete(desk: Desk, name: SessionName, seq: int, expected: Expected = None) -> Flow[Message]:
    """Take a message away for good, and give it back a last time. Its place stays empty."""
    seq = whole_number("seq", seq)
    expected = checked(expected)
    at = now()

    def work(txn: Transaction) -> Done[tuple[SessionRow, MessageRow]]:
        session, row = _locked_with(txn, name, seq, expected)
        before, session = session.version, _put(txn, session, row, None, at)
        gone = ((seq, seq),)
        return Done((session, row), Change("delete", name, before, session.version, removed=gone))

    done = yield from commit_rewrite(desk, name, work, Done.change_of)
    session, row = done.answer
    return desk.build.message(row, session.number)


def rewind(desk: Desk, name: SessionName, seq: int) -> Flow[Version]:
    """Make ``seq`` the head: what came after it is gone, and the next message follows it."""
    seq = whole_number("seq", seq)
    at = now()

    def work(txn: Transaction) -> Change:
        found = sessions.lock(txn, name)
        session = found or sessions.absent(txn, name)
        if seq > session.head:
            raise Conflict(
                f"Session {name} cannot be rewound to message {seq}: its newest is {session.head}.",
                session.version,
            )
        before, gone = session.version, NOWHERE
        if found is not None:
            session, gone = cut_at(txn, session, seq, at)
        return Change("rewind", name, before, session.version, removed=gone)

    return (yield from commit_rewrite(desk, name, work, lambda change: change)).after


def pop(desk: Desk, name: SessionName, n: int, expected: Expected = None) -> Flow[list[Message]]:
    """Take the newest n messages away, archived ones too, and give them back a last time: each is
    given to one caller. Else it is a rewind."""
    n = whole_number("n", n)
    expected = checked(expected)
    if not n:
        return []
    at = now()

    def work(txn: Transaction) -> Done[Snapshot]:
        found = sessions.lock(txn, name)
        session = found or sessions.absent(txn, name)
        refuse_unexpected(name, session, expected)
        if found is None:
            return Done(Snapshot(None, session.version, ()), None)
        seen = rows_of.seen(txn, name, limit=n, newest=True)
        if not seen.rows:
            return Done(seen, None)
        session, gone = cut_at(txn, found, seen.rows[0].seq - 1, at)
        return Done(seen, Change("rewind", name, found.version, session.version, removed=gone))

    done = yield from commit_rewrite(desk, name, work, Done.change_of)
    return desk.build.messages(done.answer, done.answer.rows)


def update(
    desk: Desk,
    name: SessionName,
    title: object,
    metadata: object,
    merge: object = UNSET,
    expected: Expected | SessionInfo = None,
    **given: object,
) -> Flow[SessionInfo]:
    """Set title and metadata, and columns of ``SETTABLE``; what is UNSET stays as it is."""
    changes = changes_of(title, metadata, merge)
    at_version = None if isinstance(expected, SessionInfo) else checked(expected)
    stored = {
        column: description.SETTABLE[column](value)
        for column, value in given.items()
        if value is not UNSET
    }
    at = now()

    def work(txn: Transaction) -> Done[description.Described]:
        session = sessions.lock_or_create(txn, name, at)
        if expected is not None:
            there = description.info_of(_described(txn, name))
            try:
                refuse_unexpected(name, session, at_version)
                _refuse_described_anew(name, there, expected)
            except Conflict as fault:
                fault.info = there
                raise
        if changes:
            about = changed(unpacked(description.about(txn, session)), changes)
            description.set_about(txn, session, codec.pack_value(about, "metadata"))
        description.set_columns(txn, session, stored)
        found = _described(txn, name)
        return Done(found, Change("update", name, found.version, found.version))

    done = yield from do(Cold(work, writes=True, change_of=Done.change_of))
    return description.info_of(done.answer)


def _described(txn: Transaction, name: SessionName) -> description.Described:
    found = description.describe(txn, name)
    assert found is not None, "it is locked by this very transaction"
    return found


def _refuse_described_anew(name: SessionName, there: SessionInfo, expected: object) -> None:
    """Raise where what ``update`` sets is not what was read: messages may have come since."""
    if not isinstance(expected, SessionInfo) or _settable(there) == _settable(expected):
        return
    raise Conflict(
        f"Session {name} has another title, metadata or expiry than was expected. Nothing was "
        f"written. Look at what is there, the error's info, and decide again.",
        there.version,
    )


def _settable(info: SessionInfo) -> tuple[bytes, object]:
    said = [info.title, dict(info.metadata)]
    return codec.pack_value(said, "metadata"), info.expires_in


def cut_at(
    txn: Transaction, session: SessionRow, seq: int, at: int, archived: bool | None = None
) -> tuple[SessionRow, Ranges]:
    """Take away the messages after a place of a locked session: a new epoch; and which places
    that were.

    With ``archived`` only those that are archived, or only those that are not. The others stay
    in their places, because others may hold their sequences and ids: what goes from before them
    leaves its place empty, as a deleted message does.
    """
    head, gaps = seq, list[tuple[int, int]]()
    if archived is not None:
        ranges = archives.of(txn, session)
        stays = list(spans(ranges, seq + 1, session.head, inside=not archived))
        head = stays[-1][1] if stays else seq
        gaps = list(spans(ranges, seq + 1, head, inside=archived))
    places = (*gaps, (head + 1, session.head)) if head < session.head else tuple(gaps)
    gone = [rows_of.totals(txn, session, head)]
    rows_of.cut_after(txn, session, head)
    for first, last in gaps:
        gone.append(rows_of.totals(txn, session, first - 1, last))
        rows_of.empty(txn, session, first - 1, last)
    archives.cut(txn, session, seq if archived else head)
    messages, turns, tokens = map(sum, zip(*gone, strict=True))
    change = sessions.Counts(-messages, -turns, -tokens)
    return sessions.cut(txn, sessions.rewrite(txn, session, change, at), head), places


def _locked_with(
    txn: Transaction, name: SessionName, seq: int, expected: Expected = None
) -> tuple[SessionRow, MessageRow]:
    """The session, locked, and its message at a place; Conflict where there is none."""
    session = sessions.lock(txn, name) or sessions.absent(txn, name)
    refuse_unexpected(name, session, expected)
    row = rows_of.at(txn, session, seq)
    if row is None or row.frame is None:
        version = session.version
        deleted = " It was deleted." if row is not None else ""
        raise Conflict(
            f"Session {name} has no message {seq!r}; it is at {tuple(version)}.{deleted}", version
        )
    return session, row


def _put(
    txn: Transaction, session: SessionRow, row: MessageRow, entry: Entry | None, at: int
) -> SessionRow:
    """Another content, or none, in a message's place: a new epoch."""
    opened = rows_of.opens_turn(txn, session, row.seq)
    tokens, opens = (0, False) if entry is None else (entry.tokens, entry.opens_turn)
    frame = None if entry is None else entry.frame
    if entry is not None and entry.usage is not None:
        sessions.spend(txn, session, beyond(entry.usage, _spent_by(row)))
    rows_of.replace(txn, session, row.seq, frame=frame, tokens=tokens, opens_turn=opens)
    change = sessions.Counts(
        messages=-1 if entry is None else 0, turns=opens - opened, tokens=tokens - row.tokens
    )
    return sessions.rewrite(txn, session, change, at)


def _spent_by(row: MessageRow) -> Spent | None:
    """What a message says that it cost."""
    try:
        return None if row.frame is None else spent_by(codec.decode(row.frame).usage)
    except Damaged:
        return None


def one_of(given: Appendable, method: str) -> Message:
    """The one message that is to stand in the place of others."""
    messages = messages_from(given)
    if len(messages) != 1:
        raise InvalidMessage(
            f"{method}() puts one message in the place of others, and got {len(messages)}."
        )
    return messages[0]
