"""What messages mean: vectors that an embedder makes of them, never in an append and in no
transaction; and how near they are to what is asked.

An embedder that fails costs what it would have found: words are searched without it, it is said
in the log and in ``health()``, and nothing is lost: what it has not seen it is shown the next time.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from itertools import repeat
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from onrecord.embedding import Known, embedder_of, same_embedder, similarity
from onrecord.embedding.patience import Patience
from onrecord.errors import OnrecordError
from onrecord.flow import Cold, Flow, Outside, do
from onrecord.flows.search import field
from onrecord.flows.search.field import Field, Gap, gaps_of
from onrecord.health import TierHealth
from onrecord.ledger.search import runs, vectors
from onrecord.ledger.search.runs import PLACES
from onrecord.ledger.search.vectors import VectorRow
from onrecord.ranking import Meanings
from onrecord.scope import Scope, SessionName
from onrecord.stored.clock import now
from onrecord.stored.messages import SessionKey

if TYPE_CHECKING:
    from onrecord.ledger.database.transaction import Transaction

T = TypeVar("T")

log = logging.getLogger("onrecord")

_AT_ONCE: Final = 64
"""Messages that are read, embedded and written together: what a kill can cost."""
PATIENCE: Final = 30.0
"""Seconds that an embedder is waited for where nobody has said how long, and over the end of a job
that had time when it was asked."""
_NOBODY: Final = 0
"""The number of an embedder that has made nothing yet."""


class MeaningOf:
    """A store's embedder, and what this process knows of it."""

    def __init__(self, known: Known) -> None:
        self.known = known
        self.number = _NOBODY
        self._problem: str | None = None
        self._patience = Patience(known.name)

    @property
    def health(self) -> TierHealth:
        """How it was when it was last asked."""
        ok, where = self._problem is None, self.known.name
        return TierHealth(ok=ok, where=where, milliseconds=None, problem=self._problem)

    def identity(self, until: float) -> Flow[bytes]:
        """Ask it which one it is."""
        return self._ask(self.known.identity, self.known.aidentity, until)

    def embed(self, texts: Sequence[str], until: float) -> Flow[list[bytes]]:
        """Ask it for vectors of texts."""
        known = self.known
        return self._ask(partial(known.embed, texts), partial(known.aembed, texts), until)

    def embed_query(self, text: str, until: float) -> Flow[bytes]:
        """Ask it for the vector of what is searched for."""
        known = self.known
        return self._ask(partial(known.embed_query, text), partial(known.aembed_query, text), until)

    def _ask(self, ask: Callable[[], T], aask: Callable[[], Awaitable[T]], until: float) -> Flow[T]:
        patience = self._patience
        now, later = partial(patience.now, ask, until), partial(patience.later, aask, until)
        return do(Outside(now, later))

    def failed(self, fault: OnrecordError) -> None:
        """Note that it could not be asked."""
        if self._problem is None:
            log.warning("search goes by words alone: %s", fault)
        self._problem = f"{fault} Search goes by words alone meanwhile, and nothing is lost."

    def answered(self) -> None:
        """Note that it could."""
        self._problem = None

    def forget(self) -> None:
        """Forget its number: the database may be another."""
        self.number = _NOBODY


def meaning_of(given: object) -> MeaningOf | None:
    """Check what was given as an embedder. Nothing is loaded and nobody is asked."""
    known = embedder_of(given)
    return None if known is None else MeaningOf(known)


class Asked(NamedTuple):
    """What is asked for by its meaning."""

    meaning: MeaningOf
    query: bytes
    width: int
    dimensions: int


def asked_of(meaning: MeaningOf, query: str, until: float) -> Flow[Asked | None]:
    """Embed what is asked for; None where the embedder cannot be asked, or has seen nothing."""
    known = meaning.known
    try:
        yield from meaning.identity(until)
        bits = yield from meaning.embed_query(query, until)
    except OnrecordError as fault:
        meaning.failed(fault)
        return None
    meaning.answered()
    yield from number_of(meaning, add=False, until=until)
    if not bits or known.width is None or known.dimensions is None:
        return None
    return Asked(meaning, bits, known.width, known.dimensions)


def near(
    txn: Transaction, found: Field, where: Scope | SessionName | Sequence[SessionName], asked: Asked
) -> tuple[Meanings, list[Gap]]:
    """How near each message of a field is to what is asked, and which it has not seen yet."""
    rows = _rows(txn, where, asked.meaning.number)
    number = {head.key: n for n, head in enumerate(found.sessions)}
    seen: list[list[tuple[int, int]]] = [[] for _ in found.sessions]
    width, nothing = asked.width, bytes(asked.width)
    kept: list[tuple[int, VectorRow]] = []
    for row in rows:
        session = number.get(row.key)
        if session is None or len(row.body) != width * (row.upto - row.seq + 1):
            continue
        seen[session].append((row.seq, row.upto))
        kept.append((session, row))
    places: list[tuple[int, int]] = []
    packs: list[bytes] = []
    for session, row in sorted(kept, key=lambda one: (one[0], one[1].seq)):
        if nothing not in row.body and not found.left_out:
            places += zip(repeat(session), range(row.seq, row.upto + 1))
            packs.append(row.body)
            continue
        for n in range(row.upto - row.seq + 1):
            pack, place = row.body[n * width : (n + 1) * width], (session, row.seq + n)
            if pack != nothing and place not in found.left_out:
                places.append(place)
                packs.append(pack)
    near = similarity(asked.query, b"".join(packs), width, dimensions=asked.dimensions)
    return Meanings.of(dict(zip(places, near, strict=True))), _gaps(found, seen)


def unseen(
    txn: Transaction, found: Field, names: Sequence[SessionName], embedder: int, width: int
) -> list[Gap]:
    """What an embedder has not seen of a field."""
    number = {head.key: n for n, head in enumerate(found.sessions)}
    seen: list[list[tuple[int, int]]] = [[] for _ in found.sessions]
    for row in _rows(txn, names, embedder):
        session = number.get(row.key)
        if session is not None and len(row.body) == width * (row.upto - row.seq + 1):
            seen[session].append((row.seq, row.upto))
    return _gaps(found, seen)


def _gaps(found: Field, seen: Sequence[Sequence[tuple[int, int]]]) -> list[Gap]:
    return [
        gap
        for session, head in enumerate(found.sessions)
        for gap in gaps_of(session, head.described.head, seen[session])
    ]


def embed(
    meaning: MeaningOf, found: Field, gaps: Sequence[Gap], until: float, *, some: bool = False
) -> Flow[int]:
    """Show an embedder what it has not seen of a field, while there is time, or ``some`` of it in
    any case; how many messages.

    Raises where it fails. What was written stays.
    """
    known, count, left = meaning.known, 0, list(gaps)
    patience = until + (PATIENCE if some else 0)
    while left and (some or time.monotonic() < until):
        some = False
        number = yield from number_of(meaning, add=True, until=patience)
        look = partial(_read, found=found, gaps=left, embedder=number, width=known.width or 0)
        batch = yield from do(Cold(look))
        texts = [text for _, text in batch.texts]
        try:
            bits = yield from meaning.embed(texts, patience)
        except OnrecordError as fault:
            meaning.failed(fault)
            raise
        meaning.answered()
        made = dict(zip([place for place, _ in batch.texts], bits, strict=True))
        rows = list(_packed(batch, made, known.width or 0))
        work = partial(
            vectors.write, embedder=number, rows=rows, epochs=batch.epochs, wait=until == math.inf
        )
        if (yield from do(Cold(work, writes=True))):
            count += len(texts)
            left = batch.left
        else:
            meaning.forget()  # another process has taken it away: it begins anew
    return count


class _Batch(NamedTuple):
    """Runs that were read to be embedded."""

    runs: list[VectorRow]
    """Of each what is there already: of messages up to a place, the others are to be embedded."""
    ends: list[int]
    """Of each the last place that was there."""
    texts: list[tuple[tuple[SessionKey, int], str]]
    epochs: dict[SessionKey, int]
    left: list[Gap]


def _read(txn: Transaction, found: Field, gaps: Sequence[Gap], embedder: int, width: int) -> _Batch:
    batch, room = _Batch([], [], [], {}, []), _AT_ONCE
    for n, gap in enumerate(gaps):
        if room < PLACES:
            batch.left.extend(gaps[n:])
            break
        head = found.sessions[gap.session]
        here = field.read(txn, gap.session, head, gap.first, gap.end, limit=room + 1)
        if batch.epochs.setdefault(head.key, here.epoch) != here.epoch:
            continue  # rewritten between two reads: the next time finds it
        parts = list(field.parts(here, gap.first))
        # After the messages: where a rewrite comes between, nothing of this is written.
        made = {row.seq: row for row in vectors.of_name(txn, head.name, embedder)}
        for seq, upto, spoken in parts:
            if seq in here.unread:
                continue
            before = made.get(seq)
            if before is None or len(before.body) != width * (before.upto - seq + 1):
                before = VectorRow(head.key.shard, head.key.session, seq, seq - 1, b"")
            batch.runs.append(before)
            batch.ends.append(upto)
            batch.texts.extend(
                ((head.key, said.seq), said.text) for said in spoken if said.seq > before.upto
            )
        room -= max(len(here.said), 1)
        if not here.ends:
            behind = parts[-1][0] + PLACES if parts else runs.first_of(here.upto)
            batch.left.append(gap._replace(first=behind))
    return batch


def _packed(
    batch: _Batch, made: dict[tuple[SessionKey, int], bytes], width: int
) -> Iterable[VectorRow]:
    nothing = bytes(width)
    for row, upto in zip(batch.runs, batch.ends, strict=True):
        new = [made.get((row.key, place), nothing) for place in range(row.upto + 1, upto + 1)]
        yield row._replace(upto=max(upto, row.upto), body=row.body + b"".join(new))


def number_of(meaning: MeaningOf, add: bool, until: float) -> Flow[int]:
    """The number by which the database knows the embedder; nobody's where it made nothing."""
    if meaning.number == _NOBODY:
        known = meaning.known
        identity = yield from meaning.identity(until)
        same = partial(same_embedder, identity)
        found = yield from do(Cold(partial(vectors.number_of, same=same)))
        if found is None and add:
            dimensions = known.dimensions
            assert dimensions is not None, "it has made vectors of its probes"
            work = partial(
                vectors.add,
                same=same,
                identity=identity,
                name=known.name,
                dimensions=dimensions,
                now=now(),
            )
            found = yield from do(Cold(work, writes=True))
        meaning.number = found or _NOBODY
    return meaning.number


def _rows(
    txn: Transaction, where: Scope | SessionName | Sequence[SessionName], embedder: int
) -> list[VectorRow]:
    if embedder == _NOBODY:
        return []
    if isinstance(where, Scope):
        return vectors.of_scope(txn, where, embedder)
    names = [where] if isinstance(where, SessionName) else where
    return [row for name in names for row in vectors.of_name(txn, name, embedder)]
