"""How one message is put in the place of several, wherever they stand: one step, one new epoch.

What goes is named by the messages as they were read. Whoever takes long to decide, as a model that
writes a summary does, is refused where one of them was edited, taken away or written anew since.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Self

from msgspec.structs import replace

from onrecord import codec
from onrecord.accepting import MOST_AT_ONCE, Appendable
from onrecord.blocks import Opaque
from onrecord.errors import Conflict, InvalidMessage, Misconfigured, shown
from onrecord.flow import Flow
from onrecord.flows.items.writing import Written, prepared, write, wrote
from onrecord.flows.mark import Done
from onrecord.flows.sessions.derived import commit_rewrite
from onrecord.flows.sessions.rewrite import one_of
from onrecord.flows.shared import Desk, encode
from onrecord.item import ItemChange
from onrecord.ledger.sessions import messages as rows_of
from onrecord.ledger.sessions import sessions
from onrecord.message import Message
from onrecord.scope import SessionName
from onrecord.stored.changes import Change
from onrecord.stored.clock import now
from onrecord.stored.messages import Entry, MessageRow, SessionRow
from onrecord.stored.ranges import NOWHERE, with_added

if TYPE_CHECKING:
    from onrecord.ledger.database.transaction import Transaction


class _Putting(NamedTuple):
    """What stands there afterwards."""

    entry: Entry
    content: Message

    @classmethod
    def of(cls, desk: Desk, message: Message, at: int) -> Self:
        """Encode it."""
        (entry,), (content,) = encode(desk, [message], at)
        return cls(entry, content)


def exchange(
    desk: Desk,
    name: SessionName,
    old: Sequence[Message],
    new: Appendable | None,
    items: Sequence[ItemChange] = (),
) -> Flow[Message | None]:
    """Take away messages that stand as they were read, and put one in the place of the first."""
    going = _as_read(old)
    writes = prepared(desk, items, name.tenant, name.user, name.agent, name) if items else []
    at = now()
    wanted, _ = encode(desk, going, at)
    putting = None if new is None else _Putting.of(desk, one_of(new, "exchange"), at)

    def work(txn: Transaction) -> tuple[Done[tuple[SessionRow, MessageRow]], list[Written]]:
        session = sessions.lock(txn, name) or sessions.absent(txn, name)
        rows = _there(desk, txn, name, session, going, wanted)
        before, first = session.version, rows[0]
        places = with_added((), [row.seq for row in rows])
        gone = [rows_of.totals(txn, session, low - 1, high) for low, high in places]
        messages, turns, tokens = map(sum, zip(*gone, strict=True))
        left = rows if putting is None else rows[1:]
        for low, high in with_added((), [row.seq for row in left]):
            rows_of.empty(txn, session, low - 1, high)
        if putting is None:
            change, added = sessions.Counts(-messages, -turns, -tokens), NOWHERE
        else:
            entry = putting.entry
            rows_of.replace(
                txn,
                session,
                first.seq,
                frame=entry.frame,
                tokens=entry.tokens,
                opens_turn=entry.opens_turn,
            )
            if entry.usage is not None:
                sessions.spend(txn, session, entry.usage)
            change = sessions.Counts(1 - messages, entry.opens_turn - turns, entry.tokens - tokens)
            added = ((first.seq, first.seq),)
            first = replace(first, counter=txn.facts.counter)
        session = sessions.rewrite(txn, session, change, at)
        written = write(desk, txn, writes) if writes else []
        told = Change("replace", name, before, session.version, added, removed=places)
        return Done((session, first), told), written

    done, _ = yield from commit_rewrite(
        desk,
        name,
        work,
        lambda answer: answer[0].change,
        items=[one.item for one in writes],
        wrote=lambda answer: wrote(answer[1]),
    )
    if putting is None:
        return None
    entry, content = putting
    session, first = done.answer
    row = replace(first, frame=entry.frame, tokens=entry.tokens)
    return desk.build.completed(content, row, session.number)


def _as_read(given: object) -> list[Message]:
    """The messages, in their order; refused where they were not read from a session."""
    if not isinstance(given, Sequence) or isinstance(given, str | bytes):
        raise Misconfigured(f"exchange() takes a list of Messages, not {shown(given)}.")
    if not given:
        raise Misconfigured("exchange() takes the messages that are to go, and there are none.")
    if len(given) > MOST_AT_ONCE:
        raise Misconfigured(
            f"One exchange takes at most {MOST_AT_ONCE:,} messages, and this has {len(given):,}."
        )
    for message in given:
        if not isinstance(message, Message):
            raise Misconfigured(f"exchange() takes Messages as they were read, not {shown(given)}.")
        if message.seq is None or message.id is None:
            raise InvalidMessage("This message was never stored: it has no sequence and no id.")
    found = sorted(given, key=lambda message: message.seq or 0)
    if len({message.seq for message in found}) < len(found):
        raise Misconfigured("One message is named twice in an exchange.")
    return found


def _there(
    desk: Desk,
    txn: Transaction,
    name: SessionName,
    session: SessionRow,
    going: Sequence[Message],
    wanted: Sequence[Entry],
) -> list[MessageRow]:
    """The rows of what goes; Conflict where one of them is not what was read."""
    find = rows_of.finder(txn, session)
    rows: list[MessageRow] = []
    for message, entry in zip(going, wanted, strict=True):
        row = find(message.seq or 0)
        same = (
            row is not None
            and row.frame is not None
            and _says_the_same(message, entry, row.frame)
            and desk.build.message(row, session.number).id == message.id
        )
        if row is None or not same:
            raise Conflict(
                f"Message {message.seq} of session {name} is not there any more as it was read. "
                f"Nothing was written. Read again what is there, and decide again.",
                session.version,
            )
        rows.append(row)
    return rows


def _says_the_same(message: Message, entry: Entry, frame: bytes) -> bool:
    """Whether a frame is what was read; of what is damaged, whether it is damaged in the same way.
    Who reads that is given its bytes."""
    if codec.same_content(frame, entry.frame):
        return True
    kept = [block.data for block in message.content if isinstance(block, Opaque)]
    return message.role == codec.DAMAGED and any(
        isinstance(data, dict) and data.get("frame") == frame for data in kept
    )
