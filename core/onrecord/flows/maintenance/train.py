"""How a dictionary is learned from a store's messages, and goes with what it was learned from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from onrecord.accepting import Appendable, messages_from
from onrecord.codec.segment import Segment
from onrecord.errors import Misconfigured, shown
from onrecord.flow import Autocommit, Cold, Flow, Pause, do
from onrecord.flows.pace import FIRST, Pace
from onrecord.flows.shared import Desk, encode
from onrecord.ledger.maintenance import erasing, horizon, training
from onrecord.ledger.sessions import dictionaries
from onrecord.reports import Training
from onrecord.stored.clock import now
from onrecord.stored.messages import MessageRow, SessionKey

if TYPE_CHECKING:
    from onrecord.ledger.database.transaction import Transaction
    from onrecord.ledger.maintenance.training import Learned, Sample

_MOST_ATTEMPTS: Final = 3
"""How often a training begins because a session it learned from was erased meanwhile."""
_PAUSES: Final = (0.005, 0.02, 0.05, *[0.1] * 50)
"""Seconds to wait for transactions that have begun: what an append takes, or a little more."""
_AT_ONCE: Final = 25
"""Sessions that are written again in one transaction."""


def train(desk: Desk, given: Iterable[Appendable] | None) -> Flow[Training]:
    """Learn a dictionary from a sample, and use it from now on where it saves anything."""
    if desk.compression != "zstd":
        raise Misconfigured(
            "A store with compression='none' has no use for a dictionary. Open it with "
            "compression='zstd' to train it."
        )
    if given is not None and not isinstance(given, Iterable):
        raise Misconfigured(f"A sample is several conversations, not {shown(given)}.")
    own = None if given is None else [_as_segment(desk, said) for said in given]

    def work(txn: Transaction) -> tuple[Sample, Learned]:
        if own is None:
            sample = training.sampled(txn)
        else:
            texts = [text for segment in own for text in training.sample(segment)]
            sample = training.Sample(texts, sum(len(segment.rows) for segment in own), {})
        return sample, training.learned(sample.texts)

    for _ in range(_MOST_ATTEMPTS):
        sample, learned = yield from do(Cold(work))
        number = yield from keep_learned(desk, sample, learned)
        if number is not None or learned.content is None:
            break
    return Training(
        dictionary=number,
        dictionary_bytes=0 if number is None else len(learned.content or b""),
        messages=sample.messages,
        bytes_before=learned.before,
        bytes_after=learned.after,
    )


def _as_segment(desk: Desk, said: Appendable) -> Segment:
    """A conversation from elsewhere, as it would be sealed here."""
    entries, contents = encode(desk, messages_from(said), now())
    rows = tuple(
        MessageRow(n, 0, entry.frame, None, entry.created, entry.tokens, 0)
        for n, entry in enumerate(entries, 1)
    )
    return Segment(rows, tuple(content.opens_turn for content in contents))


def keep_learned(desk: Desk, sample: Sample, learned: Learned) -> Flow[int | None]:
    """Keep what was learned; None where a session it was learned from has gone meanwhile."""
    if learned.content is None:
        return None
    keep = partial(dictionaries.add, content=learned.content, sources=sample.sessions)
    number = yield from do(Cold(keep, writes=True))
    # Only now: had it been rolled back, others would have given its number to another.
    yield from do(Cold(_refresh))
    return number


def release_learned(desk: Desk, pace: Pace | None = None) -> Flow[int]:
    """Take away the dictionaries that were learned from what was erased; how many that were.

    Whoever was interrupted in it goes on here: what has to go can be told at any time. So it can
    where somebody has been in a transaction for so long that nobody waits for it.
    """
    yield from do(Cold(erasing.retire_tainted, writes=True))
    yield from do(Cold(_refresh))
    retired = yield from do(Cold(erasing.retired))
    if not retired or not (yield from _everybody_knows()):
        return 0
    pace, gone = pace or Pace(), 0
    for number in retired:
        after = FIRST
        while page := (
            yield from do(
                Autocommit(partial(erasing.needing, number=number, after=after, limit=1_000))
            )
        ):
            after = page[-1]
            for few in _few(page):
                if not (yield from pace.goes_on()):
                    return gone
                work = partial(_release, needing=few, dictionary=number)
                yield from do(Cold(work, writes=True))
        yield from do(Cold(partial(dictionaries.drop, number=number), writes=True))
        gone += 1
    return gone


def _everybody_knows() -> Flow[bool]:
    """Wait until nobody is left who began to write before a dictionary was taken out of use."""
    moment = yield from do(Cold(horizon.here))
    for pause in _PAUSES:
        if (yield from do(Cold(partial(horizon.has_passed, horizon=moment)))):
            return True
        yield from do(Pause(pause))
    return (yield from do(Cold(partial(horizon.has_passed, horizon=moment))))


def _refresh(txn: Transaction) -> None:
    txn.dictionaries.refreshed(txn)


def _release(txn: Transaction, needing: Sequence[SessionKey], dictionary: int) -> None:
    for key in needing:
        erasing.release(txn, key, dictionary)


def _few(keys: Sequence[SessionKey]) -> Iterable[Sequence[SessionKey]]:
    return (keys[n : n + _AT_ONCE] for n in range(0, len(keys), _AT_ONCE))
