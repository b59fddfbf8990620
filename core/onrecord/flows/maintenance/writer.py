"""Writes sessions and items to a file, each session from one moment; a file is whole or not there.

What is written is read by ``reader.py``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from onrecord import codec
from onrecord.codec import lines
from onrecord.codec import value as value_codec
from onrecord.codec.about import unpacked
from onrecord.codec.lines import End, Place, line_of
from onrecord.errors import Damaged, Unavailable
from onrecord.files import Target
from onrecord.flow import Cold, Flow, InThread, do
from onrecord.ledger.items import items as items_of
from onrecord.ledger.items import namespaces, scoped
from onrecord.ledger.maintenance import transfer
from onrecord.ledger.maintenance.erasing import InArchive
from onrecord.reports import Export
from onrecord.scope import NamespaceName, SessionName, StateName
from onrecord.stored.clock import LONGEST_LIFE, now, within
from onrecord.stored.items import ItemRow, NamespaceKey
from onrecord.stored.messages import MOST_TOKENS, MessageRow, SessionKey
from onrecord.stored.ranges import cut_after

if TYPE_CHECKING:
    from onrecord.ledger.database.transaction import Transaction

_ITEMS_AT_ONCE: Final = 50
"""Items that are read together: a value may have a megabyte."""


class Writer:
    """What a file is filled by."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self.so_far = End(0, 0, 0)
        self.damaged = 0

    def session(self, key: SessionKey) -> Flow[InArchive | None]:
        """Write one session, and say how it was then; None where it was erased meanwhile."""
        work = partial(_write, key=key, target=self._target, begun=self._target.bytes)
        written: _WrittenSession | None = yield from do(Cold(work))
        if written is None:
            return None
        self._add(written.counts, 1)
        return written.found

    def items(self, known: Sequence[NamespaceKey]) -> Flow[None]:
        """Write the items of some namespaces."""
        self._add((yield from _items_written(known, self._target)), 0)

    def _add(self, counts: Counter[str], sessions: int) -> None:
        self.so_far = End(
            self.so_far.sessions + sessions,
            self.so_far.messages + counts["messages"],
            self.so_far.deleted + counts["deleted"],
            self.so_far.items + counts["items"],
        )
        self.damaged += counts["damaged"]


def written(target: Target, fill: Callable[[Writer], Flow[None]]) -> Flow[Export]:
    """Write a file, and say what is in it; where that fails, nothing of it is left."""
    writer = Writer(target)
    try:
        yield from do(InThread(target.open))
        yield from fill(writer)
        yield from do(InThread(partial(_finish, target, writer.so_far)))
    except BaseException as fault:  # also a cancellation: nothing is left of what is not whole
        try:
            if isinstance(fault, Exception):  # else there are no steps any more
                yield from do(InThread(target.discard))
        finally:
            target.discard()
        raise
    return Export(
        sessions=writer.so_far.sessions,
        messages=writer.so_far.messages,
        deleted=writer.so_far.deleted,
        damaged=writer.damaged,
        bytes=target.bytes,
        items=writer.so_far.items,
    )


def _finish(target: Target, so_far: End) -> None:
    if not target.bytes:
        target.write(lines.header())
    target.write(line_of(so_far))
    target.finish()


class _WrittenSession(NamedTuple):
    """What was written of a session."""

    counts: Counter[str]
    found: InArchive


def _write(txn: Transaction, key: SessionKey, target: Target, begun: int) -> _WrittenSession | None:
    """Write one session to the file, all of it from one moment."""
    if target.bytes != begun:
        raise Unavailable(
            "The connection to the database was lost in the middle of an export. Nothing is left "
            "of the file: export again."
        )
    found = transfer.look(txn, key)
    if found is None:
        return None
    session, described, archived = found
    name = SessionName(
        key=described.key, tenant=described.tenant, user=described.user, agent=described.agent
    )
    about = unpacked(described.about)
    created, last_active = within(described.created), within(described.last_active)
    expires_in = described.expires_in
    said = lines.Session(
        name,
        session.head,
        created,
        last_active,
        about.get("title"),
        about.get("metadata", {}),
        None if expires_in is None or expires_in <= 0 else expires_in,
        cut_after(archived, session.head),
        described.usage,
    )
    target.write(lines.header() + line_of(said) if not begun else line_of(said))
    names = transfer.counters(txn)
    counts: Counter[str] = Counter()
    for seq, (row, opens_turn) in enumerate(transfer.places(txn, session), 1):
        place, readable = place_of(seq, row, opens_turn, names, created)
        counts["deleted" if place.content is None else "messages"] += 1
        counts["damaged"] += not readable
        target.write(line_of(place))
    of_state, version = _write_state(txn, name, target)
    return _WrittenSession(counts + of_state, InArchive(version, archived))


def _write_state(txn: Transaction, name: SessionName, target: Target) -> tuple[Counter[str], int]:
    """Write the state of a session to the file, from the same moment as its messages; and which
    version it has."""
    state = StateName.of(name)
    found = namespaces.as_it_is(txn, state)
    counts: Counter[str] = Counter()
    if found is None:
        return counts, 0
    after, at = "", now()
    while True:
        rows = items_of.of_namespace(txn, found.key, after, _ITEMS_AT_ONCE, at)
        counts += _write_items(target, state, rows)
        if len(rows) < _ITEMS_AT_ONCE:
            return counts, found.version
        after = rows[-1].key


def place_of(
    seq: int, row: MessageRow | None, opens_turn: bool, counters: dict[int, str], created: int
) -> tuple[Place, bool]:
    """What stands in a place, and whether it could be read (I10)."""
    if row is None:
        gap = Damaged("nothing is in its place, not even a deleted one")
        return Place(seq, codec.placeholder(b"", gap), None, created), False
    at = row.created if row.created == within(row.created) else created
    if row.frame is None:
        return Place(seq, None, row.id, at), True
    readable = True
    try:
        if at != row.created:
            raise Damaged(f"its time, {row.created} µs after 1970, is out of range")
        content = codec.decode(row.frame)
    except Damaged as fault:
        content, readable = codec.placeholder(row.frame, fault), False
    counter = counters.get(row.counter)
    tokens = row.tokens if 0 <= row.tokens <= MOST_TOKENS else 0
    return Place(seq, content, row.id, at, tokens, counter, opens_turn), readable


def _items_written(known: Sequence[NamespaceKey], target: Target) -> Flow[Counter[str]]:
    """Write the items of some namespaces to a file."""
    counts: Counter[str] = Counter()
    at = now()
    for namespace in known:
        after, more = "", True
        while more:
            work = partial(
                scoped.read, namespace=namespace, after=after, limit=_ITEMS_AT_ONCE, now=at
            )
            found = yield from do(Cold(work))
            if found is None:
                break  # it was erased meanwhile
            name, rows = found
            more = len(rows) == _ITEMS_AT_ONCE
            if rows:
                after = rows[-1].key
                counts += yield from do(InThread(partial(_write_items, target, name, rows)))
    return counts


def _write_items(target: Target, name: NamespaceName, rows: Sequence[ItemRow]) -> Counter[str]:
    if not target.bytes:
        target.write(lines.header())
    counts: Counter[str] = Counter()
    for row in rows:
        said, readable = item_line(name, row)
        target.write(line_of(said))
        counts["items"] += 1
        counts["damaged"] += not readable
    return counts


def item_line(name: NamespaceName, row: ItemRow) -> tuple[lines.Item, bool]:
    """What a file says of an item, and whether it could be read."""
    damaged: bytes | None = None
    value, text = None, None
    try:
        value, text = value_codec.decode(row.body)
    except Damaged:
        damaged = row.body
    lives = row.expires_at is not None and row.ttl is not None and 0 < row.ttl <= LONGEST_LIFE
    said = lines.Item(
        name,
        row.key,
        value,
        text,
        row.token,
        within(row.created),
        within(row.updated),
        within(row.expires_at) if lives and row.expires_at is not None else None,
        row.ttl if lives else None,
        damaged,
    )
    return said, damaged is None
