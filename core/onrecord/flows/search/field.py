"""The field of a search: the sessions of a scope, and what the index says of their runs.

What the index does not say, or says in an older way, is read from the messages: it is an
accelerator, and the answer is the same without it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from onrecord import codec
from onrecord.errors import Damaged
from onrecord.flows.listing import has_metadata
from onrecord.flows.search.heard import Hearing
from onrecord.flows.search.words import said_of
from onrecord.ledger.search import runs
from onrecord.ledger.search.runs import PLACES, RunRow
from onrecord.ledger.sessions import heads
from onrecord.ledger.sessions import messages as rows_of
from onrecord.ledger.sessions.heads import Head
from onrecord.ranking import ANALYSER, Run, Said, signature
from onrecord.scope import Scope, SessionName
from onrecord.stored import ids
from onrecord.stored.messages import MessageRow, Span

if TYPE_CHECKING:
    from onrecord.ledger.database.transaction import Transaction


_LARGEST_HOLE: Final = 1_000 * PLACES
"""Places without a message, one behind the other, that are indexed as such."""


EMPTY: Final[Mapping[Any, Any]] = MappingProxyType({})


class Gap(NamedTuple):
    """Runs of a session that are not indexed, or not to their end, one behind the other."""

    session: int
    """Its place in the field."""
    first: int
    """The first sequence of the first of them."""
    last: int
    """The newest sequence in them, as the session's row had it."""

    @property
    def end(self) -> int:
        """The last place of the last of them."""
        return runs.first_of(self.last) + PLACES - 1


@dataclass(frozen=True, slots=True)
class Field:
    """The sessions that are searched, in the order of their names, and the runs of each."""

    sessions: Sequence[Head]
    indexed: Sequence[Run]
    gaps: Sequence[Gap]
    left_out: Set[tuple[int, int]] = frozenset()
    """Places, by session and sequence, that are as if nothing was said there."""
    instead: Mapping[tuple[int, int], bytes] = dataclasses.field(default_factory=dict)
    """The terms of the runs that these are in, by session and number, without them."""

    @property
    def unindexed(self) -> int:
        """How many places the gaps have."""
        return sum(gap.last - gap.first + 1 for gap in self.gaps)


def of_scope(txn: Transaction, scope: Scope, metadata: Mapping[str, Any]) -> Field:
    """The field of a scope, of its sessions that have all of some metadata."""
    found = heads.of_scope(txn, scope, metadata)
    if metadata:
        found = [head for head in found if has_metadata(head, metadata)]
    return _field(found, runs.of_scope(txn, scope))


def of_sessions(txn: Transaction, names: Sequence[SessionName]) -> Field:
    """The field of some sessions."""
    found = [head for name in names for head in heads.of_name(txn, name)]
    return _field(found, [row for name in names for row in runs.of_name(txn, name)])


def _field(found: Sequence[Head], rows: Sequence[RunRow]) -> Field:
    number = {head.key: n for n, head in enumerate(found)}
    heads = [head.described.head for head in found]
    whole: list[list[tuple[int, int]]] = [[] for _ in found]
    indexed: list[Run] = []
    for shard, key, seq, upto, analyser, terms in rows:
        # A tuple is as good as the key, and made in a third of the time.
        session = number.get((shard, key))  # type: ignore[call-overload]
        if session is None or analyser != ANALYSER or not is_whole(seq, upto, heads[session]):
            continue
        whole[session].append((seq, upto))
        if terms:
            indexed.append(Run(session, seq // PLACES, terms))
    gaps = [
        gap
        for session, head in enumerate(heads)
        if len(whole[session]) * PLACES < head
        for gap in gaps_of(session, head, whole[session])
    ]
    return Field(found, indexed, gaps)


def is_whole(seq: int, upto: int, head: int) -> bool:
    """Whether a row of the index has all of a run of a session with that head."""
    in_place = 1 <= seq <= head and seq % PLACES == 1
    return in_place and upto >= min(seq + PLACES - 1, head)


def gaps_of(session: int, head: int, rows: Iterable[tuple[int, int]]) -> Iterator[Gap]:
    """The runs up to a head of which there is no row, or not to the end. Nobody counts up to the
    head: a damaged one may be anywhere."""
    first = 1
    for seq, upto in sorted(rows):
        if not is_whole(seq, upto, head):
            continue
        if seq > first:
            yield Gap(session, first, seq - 1)
        first = seq + PLACES
    if first <= head:
        yield Gap(session, first, head)


def without(txn: Transaction, found: Field, known: Mapping[str, int]) -> Field:
    """A field without some messages, given as ids and their sequences: what they say makes no word
    common, and answers nothing. Left in are those with ids of their own where it is not plain in
    which session they stand."""
    store_id = txn.facts.store_id
    prefixes = {ids.prefix(store_id, head.key.session): n for n, head in enumerate(found.sessions)}
    alone = 0 if len(found.sessions) == 1 else None
    wanted: dict[tuple[int, int], str] = {}
    for id, seq in known.items():
        session = prefixes.get(id.partition(".")[0], alone)
        if session is not None:
            wanted[session, seq] = id
    left_out: set[tuple[int, int]] = set()
    instead: dict[tuple[int, int], bytes] = {}
    for session, first in sorted({(session, runs.first_of(seq)) for session, seq in wanted}):
        here = read(txn, session, found.sessions[session], first, first + PLACES - 1)
        for row in here.rows:
            if row.id in (None, wanted.get((session, row.seq))) and (session, row.seq) in wanted:
                left_out.add((session, row.seq))
        said = [said for said in here.said if (session, said.seq) not in left_out]
        instead[session, first // PLACES] = signature(said) if said else b""
    return replace(found, left_out=left_out, instead=instead)


class Read(NamedTuple):
    """The messages in some places of a session, and how it stood when they were read."""

    epoch: int
    head: int
    rows: Sequence[MessageRow]
    said: Sequence[Said]
    upto: int
    """The place of the last message that was read; before the first where there was none."""
    ends: bool
    """Whether these are all that stand there."""
    unread: Set[int]
    """The first places of runs that have a message nobody can read: they are not indexed, because
    it may be mended."""


def read(
    txn: Transaction, session: int, head: Head, first: int, last: int, limit: int | None = None
) -> Read:
    """What was said in the places of a session from one to another, both counted in; with a
    ``limit`` only so many messages of it, the oldest."""
    seen = rows_of.seen(txn, head.name, after=first - 1, before=last + 1, limit=limit)
    said: list[Said] = []
    rows: list[MessageRow] = []
    unread: set[int] = set()
    for row in seen.rows:
        try:
            message = codec.decode(row.frame or b"")
        except Damaged:
            unread.add(runs.first_of(row.seq))  # nobody can say what was said there
            continue
        rows.append(row)
        said.append(said_of(session, row, message))
    ends = limit is None or len(seen.rows) < limit
    upto = seen.rows[-1].seq if seen.rows else first - 1
    return Read(seen.version.epoch, seen.version.head, rows, said, upto, ends, unread)


def spoken(
    txn: Transaction, field: Field, spans: Sequence[tuple[int, int, int]], hearing: Hearing
) -> list[tuple[Said, MessageRow, Head]]:
    """What was said in several places of a field, read at once, and how its session stands: of each
    span its session's place in the field, and its first place and its last."""
    of_spans = [field.sessions[session] for session, _, _ in spans]
    places = [
        Span(head.key, first, last) for head, (_, first, last) in zip(of_spans, spans, strict=True)
    ]
    found: list[tuple[Said, MessageRow, Head]] = []
    read = rows_of.in_places(txn, places, [head.name for head in of_spans])
    for (session, _, _), head, (epoch, rows) in zip(spans, of_spans, read, strict=True):
        stands = head
        if rows and epoch != head.described.epoch:  # rewritten, or begun anew where it was erased
            stands = next(iter(heads.of_name(txn, head.name)), head)
        for row in rows:
            try:
                role, speaker, text, apart = hearing.hear(row.frame or b"")
            except Damaged:
                continue  # nobody can say what was said there
            said = Said(session, row.seq, row.created, role, speaker, text, apart)
            found.append((said, row, stands))
    return found


def analysed(found: Read, first: int) -> Iterator[tuple[int, int, bytes]]:
    """The runs that were read from a place on, each with its terms."""
    for seq, upto, said in parts(found, first):
        yield seq, upto, signature(said) if said else b""


def parts(found: Read, first: int) -> Iterator[tuple[int, int, Sequence[Said]]]:
    """The runs that were read from a place on, up to the last that has a message: the first place
    of each, the last that was there, and what was said in it. One that may go on is left out."""
    by_run: dict[int, list[Said]] = {seq: [] for seq in found.unread}
    for said in found.said:
        by_run.setdefault(runs.first_of(said.seq), []).append(said)
    at = first
    for seq in sorted(by_run):
        if seq + PLACES > found.upto and not found.ends:
            return
        # What was deleted is indexed as empty, but for a hole of any size behind a damaged place.
        for empty in range(at, seq, PLACES) if seq - at <= _LARGEST_HOLE else ():
            yield empty, empty + PLACES - 1, ()
        at = seq + PLACES
        yield seq, at - 1 if at <= found.upto else _end_of(found, at - 1), by_run[seq]


def _end_of(found: Read, end: int) -> int:
    """Up to where the last run goes that has a message: to the head, where that is in it. Where it
    lies beyond, it may be damaged, and messages may still come: to the last that is there."""
    return found.head if found.upto <= found.head <= end else found.upto


def indexed_runs(field: Field) -> list[Run]:
    """The runs of a field that are indexed, and in which something was said."""
    instead = field.instead
    kept = [run for run in field.indexed if (run.session, run.number) not in instead]
    return kept + [Run(*place, terms) for place, terms in instead.items() if terms]


def all_runs(txn: Transaction, field: Field) -> list[Run]:
    """The runs of a field in which something was said: those that are indexed, and the others as
    they are read now."""
    found = indexed_runs(field)
    for gap in field.gaps:
        here = read(txn, gap.session, field.sessions[gap.session], gap.first, gap.end)
        found += [
            Run(gap.session, seq // PLACES, terms)
            for seq, _, terms in analysed(here, gap.first)
            if terms and (gap.session, seq // PLACES) not in field.instead
        ]
    return found
