"""How the index catches up with what was said. Never in an append: by a search that finds much of
its scope unindexed, and by ``index()``.

Messages are read and analysed first, and then written in one transaction that holds the rows of
their sessions: where one was rewritten meanwhile, its runs are left for the next time.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from onrecord.flow import Cold, Flow, do
from onrecord.flows.search import field
from onrecord.flows.search.field import Field, Gap
from onrecord.ledger.search import runs
from onrecord.ledger.search.runs import PLACES, RunRow
from onrecord.ranking import ANALYSER
from onrecord.stored.messages import SessionKey

if TYPE_CHECKING:
    from onrecord.ledger.database.transaction import Transaction

_AT_ONCE: Final = 1_600
"""Messages that are read before their runs are written: some hundredths of a second."""


class _Batch(NamedTuple):
    """Runs that were read, and in which epochs of their sessions."""

    rows: list[RunRow]
    epochs: dict[SessionKey, int]
    left: list[Gap]
    """What there was no room for."""


def catch_up(found: Field, until: float, *, some: bool = False) -> Flow[bool]:
    """Index what is not in a field, while there is time, or ``some`` of it in any case; whether it
    all was."""
    gaps = list(found.gaps)
    while gaps:
        if time.monotonic() >= until and not some:
            return False
        some = False
        batch = yield from do(Cold(partial(_analysed, found=found, gaps=gaps)))
        if batch.rows:
            yield from do(Cold(partial(_write, batch=batch), writes=True))
        gaps = batch.left
    return True


def _analysed(txn: Transaction, found: Field, gaps: Sequence[Gap]) -> _Batch:
    batch, room = _Batch([], {}, []), _AT_ONCE
    for n, gap in enumerate(gaps):
        if room < PLACES:
            batch.left.extend(gaps[n:])
            break
        head = found.sessions[gap.session]
        here = field.read(txn, gap.session, head, gap.first, gap.end, limit=room + 1)
        room -= max(len(here.rows), 1)
        if batch.epochs.setdefault(head.key, here.epoch) != here.epoch:
            continue  # rewritten between two reads: the next time finds it
        rows = [
            RunRow(head.key.shard, head.key.session, seq, upto, ANALYSER, terms)
            for seq, upto, terms in field.analysed(here, gap.first)
        ]
        batch.rows.extend([row for row in rows if row.seq not in here.unread])
        if not here.ends:
            behind = rows[-1].seq + PLACES if rows else runs.first_of(here.upto)
            batch.left.append(gap._replace(first=behind))
    return batch


def _write(txn: Transaction, batch: _Batch) -> int:
    return runs.write(txn, batch.rows, batch.epochs)
