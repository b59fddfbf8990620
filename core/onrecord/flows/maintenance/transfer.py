"""How sessions and items leave a store as a file, and come into another one, the same.

Each session is read from one moment, in one step that also writes it to the file: so a session of
any length takes the memory of a few of its messages, and nobody who writes to it waits.

What is imported is written piece by piece, each in a transaction. Whoever is interrupted, at any
point, has the beginning of a session there, and goes on from it the next time. Items of one
namespace that follow each other come together, all of a piece or none.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from msgspec.structs import astuple

from onrecord import codec
from onrecord.codec import lines
from onrecord.codec.lines import Place, line_of
from onrecord.codec.segment import Segment
from onrecord.errors import Conflict
from onrecord.files import From, Into, Source, Target
from onrecord.flow import Autocommit, Cold, Flow, InThread, do
from onrecord.flows.maintenance.reader import Known, Piece, Reader, ReadItem, ReadMessage
from onrecord.flows.maintenance.writer import Writer, item_line, place_of, written
from onrecord.flows.mark import Wrote, commit, commit_items
from onrecord.flows.pace import tell
from onrecord.flows.shared import Desk
from onrecord.item import DERIVED
from onrecord.ledger.items import items as items_of
from onrecord.ledger.items import namespaces, scoped
from onrecord.ledger.maintenance import transfer
from onrecord.ledger.sessions import description, sessions
from onrecord.reports import Export, Import, OnProgress
from onrecord.scope import ItemName, NamespaceName, Scope, SessionName, StateName
from onrecord.stored.changes import Change
from onrecord.stored.clock import now, within
from onrecord.stored.items import ItemRow, NamespaceKey, WrittenItem
from onrecord.stored.messages import MessageRow, SessionKey
from onrecord.stored.ranges import common, with_added
from onrecord.usage import total
from onrecord.version import Version

if TYPE_CHECKING:
    from onrecord.ledger.database.transaction import Transaction

_ITEMS_AT_ONCE: Final = 50
"""Items that are read together: a value may have a megabyte."""
_ANOTHER_NAME: Final = "Choose another name, or write over it with export(…, overwrite=True)."


def export(
    desk: Desk, scope: Scope, given: Into, overwrite: bool, progress: OnProgress | None
) -> Flow[Export]:
    """Write every session and every item of a scope to a file."""
    target = _target(given, overwrite)
    keys = yield from do(Autocommit(partial(transfer.in_order, scope=scope)))
    known = yield from do(Autocommit(partial(scoped.in_order, scope=scope)))
    return (yield from _written(keys, known, target, progress))


def export_session(desk: Desk, name: SessionName, given: Into, overwrite: bool) -> Flow[Export]:
    """Write one session to a file."""
    target = _target(given, overwrite)
    found = yield from do(Cold(partial(sessions.find, name=name)))
    return (yield from _written([] if found is None else [found.key], [], target, None))


def _target(given: Into, overwrite: bool) -> Target:
    return Target(given, anew=None if overwrite else _ANOTHER_NAME)


def _written(
    keys: Sequence[SessionKey],
    known: Sequence[NamespaceKey],
    target: Target,
    progress: OnProgress | None,
) -> Flow[Export]:
    def fill(writer: Writer) -> Flow[None]:
        for done, key in enumerate(keys):
            tell(progress, done, len(keys))
            yield from writer.session(key)
        yield from writer.items(known)

    done = yield from written(target, fill)
    tell(progress, len(keys), len(keys))
    return done


def import_(desk: Desk, given: From, progress: OnProgress | None) -> Flow[Import]:
    """Write what a file has and the store has not."""
    source = Source(given, lines.LONGEST)
    reader = Reader(source, desk.compression)
    seen, written, messages, items = 0, 0, 0, 0
    differing: list[str] = []
    left_alone: set[SessionName] = set()
    last: _Standing | None = None
    try:
        of = yield from do(InThread(reader.begin))
        tell(progress, 0, of)
        while (piece := (yield from do(InThread(reader.next)))) is not None:
            if isinstance(piece, Known):
                if isinstance(piece.name, StateName) and piece.name.session in left_alone:
                    continue  # another conversation's: nothing of it is changed
                added, differ = yield from _items_imported(desk, piece, source.name, last)
                items += added
                differing += differ
                continue
            new = None
            try:
                new, last = yield from _session_imported(desk, piece, reader, source.name)
            except Conflict as fault:  # the others have nothing to do with it
                differing.append(str(fault))
                left_alone.add(piece.session.name)
                yield from do(InThread(reader.skip))
            seen += 1
            written += new is not None
            messages += new or 0
            tell(progress, seen, max(of, seen))
        yield from do(InThread(source.close))
    finally:
        source.close()
    return Import(
        sessions=seen,
        written=written,
        messages=messages,
        differing=tuple(differing),
        items=items,
    )


class _Standing(NamedTuple):
    """In which epoch a session was brought: what was made from its messages belongs to them."""

    name: SessionName
    epoch: int


def _session_imported(
    desk: Desk, piece: Piece, reader: Reader, where: str
) -> Flow[tuple[int | None, _Standing]]:
    """How many messages of one session were written, None where all of it was there; and how it
    stands now."""
    name = piece.session.name
    there, at = yield from do(Cold(partial(_standing, name=name)))
    epoch = at.epoch
    new: int | None = None
    if not there and not piece.places:
        yield from commit(
            desk, name, partial(_add, piece=piece, places=(), at=at), _same, hurried=False
        )
        new = 0
    while True:
        left = piece.places
        while left:
            first = left[0].place.seq
            if at.epoch != epoch or at.head < first - 1:
                raise Conflict(
                    f"Session {name} was rewritten here while it was imported from {where}, "
                    f"before message {first}. Import it again.",
                    at,
                )
            if at.head >= first:
                work = partial(_compared, name=name, places=left, where=where)
                at = yield from do(Cold(work))
                left = [brought for brought in left if brought.place.seq > at.head]
                continue
            add = partial(_add, piece=piece, places=left, at=at)
            change = yield from commit(desk, name, add, _same, hurried=False)
            if change is None:  # somebody else writes to it too: look what that is
                at = yield from do(Cold(partial(sessions.version, name=name)))
                continue
            at = change.after
            new = (new or 0) + sum(brought.frame is not None for brought in left)
            break
        following = (yield from do(InThread(reader.next))) if piece.more else None
        if following is None:
            return new, _Standing(name, epoch)
        assert isinstance(following, Piece), "the session has not ended"
        piece = following


def _items_imported(
    desk: Desk, brought: Known, where: str, last: _Standing | None
) -> Flow[tuple[int, list[str]]]:
    """How many items of one namespace were written; and of those that differ, how. What was there,
    or has expired since it was exported, is neither; nor is what was made from messages of the
    session before it, if that was rewritten since."""
    at = now()
    wanted = [
        read for read in brought.items if read.said.expires_at is None or read.said.expires_at > at
    ]
    compare = partial(_items_compared, name=brought.name, wanted=wanted, at=at, where=where)
    new, differing = yield from do(Cold(compare))
    if not new:
        return 0, differing

    def add(txn: Transaction) -> tuple[list[ItemRow], list[str]]:
        rewritten = _is_rewritten(txn, brought.name, last)
        namespace, version = namespaces.move_or_create(txn, brought.name, len(new), at)
        missing, differing = compare(txn)  # again: nobody else writes here now
        if rewritten:
            missing = [read for read in missing if not read.said.key.startswith(DERIVED)]
        in_order = sorted(missing, key=lambda read: (read.said.updated, read.said.key))
        rows = [_item_row(read, version - n) for n, read in enumerate(reversed(in_order))]
        if rows:
            items_of.bring(txn, namespace, rows)
        return rows, differing

    def wrote(done: tuple[list[ItemRow], list[str]]) -> Wrote:
        return {
            ItemName(brought.name, row.key).identity: WrittenItem(None, row.version)
            for row in done[0]
        }

    items = [ItemName(brought.name, read.said.key) for read in new]
    rows, differing = yield from commit_items(desk, items, add, wrote, hurried=False)
    return len(rows), differing


def _is_rewritten(txn: Transaction, of: NamespaceName, last: _Standing | None) -> bool:
    """Whether a session whose state this is was rewritten since it was brought. It is locked."""
    if last is None or not isinstance(of, StateName) or of.session != last.name:
        return False
    session = sessions.lock(txn, last.name) or sessions.absent(txn, last.name)
    return session.epoch != last.epoch


def _items_compared(
    txn: Transaction, name: NamespaceName, wanted: Sequence[ReadItem], at: int, where: str
) -> tuple[list[ReadItem], list[str]]:
    """The items that are not there; and of those that differ, how."""
    there = items_of.get_many(txn, name, [read.said.key for read in wanted], at)
    missing: list[ReadItem] = []
    differing: list[str] = []
    for read in wanted:
        key = read.said.key
        here = there.get(key)
        if here is None and read.said.damaged is None:
            missing.append(read)
        elif here is None:
            differing.append(
                f"Item {key!r} in {name} could not be read where {where} was exported: its bytes "
                f"are in the file, and nothing of it was imported."
            )
        elif not _same_item(name, here, read):
            differing.append(
                f"Item {key!r} in {name} differs from {where}: it was left as it is. Import into "
                f"another store; or, if the file is right, delete the item here and import again."
            )
    return missing, differing


def _same_item(name: NamespaceName, here: ItemRow, read: ReadItem) -> bool:
    """Whether an item says what the file says; when, and for how long, is not compared."""
    if here.token != read.said.token:
        return False
    if here.body == read.body:
        return True
    found, _ = item_line(name, here)
    return line_of(_without_times(found)) == line_of(_without_times(read.said))


def _without_times(said: lines.Item) -> lines.Item:
    return said._replace(created=0, updated=0, expires_at=None, ttl=None)


def _item_row(read: ReadItem, version: int) -> ItemRow:
    said = read.said
    return ItemRow(
        said.key,
        version,
        said.created,
        said.updated,
        said.expires_at,
        said.ttl,
        said.token,
        read.body,
    )


def _compared(
    txn: Transaction, name: SessionName, places: Sequence[ReadMessage], where: str
) -> Version:
    """Where a session stands, if it has what was brought as far as it goes; else Conflict."""
    txn.snapshot()
    session = sessions.find(txn, name)
    described = description.describe(txn, name)
    if session is None or described is None:
        return sessions.version(txn, name)
    first, last = places[0].place.seq, places[-1].place.seq
    counters = transfer.counters(txn)
    here = transfer.places(txn, session, first - 1, last)
    for brought, (row, opens_turn) in zip(places, here, strict=False):
        seq = brought.place.seq
        place, _ = place_of(seq, row, opens_turn, counters, within(described.created))
        # The same line says the same. Another one may, if the file was made by somebody else.
        if line_of(place)[:-1] != brought.line and (why := _difference(place, brought)):
            raise Conflict(
                f"Session {name} differs from {where} at message {seq}: {why}. Nothing of it was "
                f"changed. Import into another store; or, if the file is right, erase() the "
                f"session here and import again.",
                session.version,
            )
    return session.version


def _difference(here: Place, brought: ReadMessage) -> str | None:
    there = brought.place
    if brought.frame is None or here.content is None:
        if brought.frame is not None:
            return "it was deleted here"
        if here.content is not None:
            return "it is a deleted one in the file"
    elif not codec.same_content(codec.encode(here.content)[0], brought.frame):
        return "it says something else"
    if here.id != there.id:
        return f"its id is {here.id!r} here, and {there.id!r} in the file"
    return None if here.created == there.created else "it is of another time"


def _standing(txn: Transaction, name: SessionName) -> tuple[bool, Version]:
    """Whether a session is there, and where it stands."""
    found = sessions.find(txn, name)
    return found is not None, (found or sessions.absent(txn, name)).version


def _add(
    txn: Transaction, piece: Piece, places: Sequence[ReadMessage], at: Version
) -> Change | None:
    """Write what was brought after the head of a session; None, and nothing is changed, where it
    does not stand where it did."""
    said = piece.session
    session = sessions.lock(txn, said.name)
    if (session or sessions.absent(txn, said.name)).version != at:
        return None
    if session is None:
        session = sessions.lock_or_create(txn, said.name, said.created)
        if session.version != at:
            return None
        if said.expires_in is not None:
            description.set_columns(txn, session, {"expires_in": said.expires_in})
    if session.head == 0 and description.about(txn, session) is None:
        about = {"title": said.title, "metadata": dict(said.metadata)}
        if said.title is not None or said.metadata:
            description.set_about(txn, session, codec.pack_value(about, "metadata"), first=True)
    if said.usage is not None:
        sessions.spend_at_least(txn, session, astuple(said.usage))
    else:
        sessions.spend(txn, session, total([brought.usage for brought in places]))
    counted = {brought.place.counter for brought in places}
    numbers = transfer.counter_numbers(txn, [name for name in counted if name is not None])
    rows = tuple(
        MessageRow(
            brought.place.seq,
            session.epoch,
            brought.frame,
            brought.place.id,
            brought.place.created,
            brought.place.tokens,
            numbers[brought.place.counter],
        )
        for brought in places
    )
    run = Segment(rows, tuple([brought.place.opens_turn for brought in places]))
    active = said.last_active
    after = transfer.add(txn, session, run, said.archived, active, piece.more).version
    added = with_added((), [row.seq for row in rows if row.frame is not None])
    archived = common(said.archived, added)
    return Change("import", said.name, at, after, added, archived=archived)


def _same(change: Change | None) -> Change | None:
    return change
