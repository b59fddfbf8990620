"""How a store is looked after: sealed, taught, counted, verified. None of it is ever needed for
what was said to be right; it makes a store smaller, and says how it is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from onrecord.accepting import Appendable, messages_from
from onrecord.arguments import check_function
from onrecord.codec.segment import Segment
from onrecord.errors import Misconfigured, OnrecordError, shown
from onrecord.flow import Autocommit, Cold, Flow, Pause, do
from onrecord.flows.checkpoints.threads import verify_thread
from onrecord.flows.pace import FIRST, Pace, over_sessions
from onrecord.flows.search.checking import index_problems
from onrecord.flows.shared import Desk, encode
from onrecord.ledger.checkpoints import threads
from onrecord.ledger.items.scoped import FIRST as FIRST_NAMESPACE
from onrecord.ledger.maintenance import (
    counting,
    erasing,
    horizon,
    training,
    verifying,
    verifying_items,
)
from onrecord.ledger.maintenance.vacuum import reclaim
from onrecord.ledger.sessions import dictionaries, sealing, sessions
from onrecord.reports import Compaction, OnProgress, Problem, Progress, Stats, Training
from onrecord.scope import ANY, Scope, SessionName
from onrecord.stored.checkpoints import ThreadPlace
from onrecord.stored.clock import MICROSECONDS, now
from onrecord.stored.messages import MessageRow, SessionKey

if TYPE_CHECKING:
    from onrecord.ledger.database.transaction import Transaction
    from onrecord.ledger.maintenance.training import Learned, Sample

EVERYBODY = Scope(ANY, ANY, ANY)
_MOST_ATTEMPTS = 3
"""How often a training begins because a session it learned from was erased meanwhile."""
_PAUSES = (0.005, 0.02, 0.05, *[0.1] * 50)
"""Seconds to wait for transactions that have begun: what an append takes, or a little more."""
_AT_ONCE = 25
"""Sessions that are sealed in one transaction: they wait for each other, and share its commit."""
ITEMS_AT_ONCE = 100
"""Items that are read together: a value may have a megabyte."""


def compact(
    desk: Desk, quiet_for: float, again: bool, progress: OnProgress | None
) -> Flow[Compaction]:
    """Seal sessions that have gone quiet, and give the room back."""
    before = now() // MICROSECONDS - int(quiet_for)
    before_bytes = yield from do(Cold(counting.disk))
    yield from release_learned(desk)
    of = yield from do(Cold(partial(_how_many, before=before, again=again)))
    done = 0

    def heard(more: int) -> None:
        nonlocal done
        done += more
        tell(progress, done, max(of, done))

    heard(0)
    yield from seal_quiet(before, again, Pace(hears=heard))
    if again:  # all that was sealed is sealed with the newest; what else needs others goes on
        yield from do(Cold(dictionaries.retire_superseded, writes=True))
        yield from release_learned(desk)
    try:
        problem = yield from do(Autocommit(partial(reclaim, how="anew" if again else "free")))
    except OnrecordError as fault:  # everything is sealed; the room stays in the database
        problem = f"The room could not be given back: {fault} Compact again."
    return Compaction(
        sessions=done,
        disk_bytes_before=before_bytes,
        disk_bytes=(yield from do(Cold(counting.disk))),
        problem=problem,
    )


def seal_quiet(before: int, again: bool, pace: Pace) -> Flow[bool]:
    """Seal the sessions that nobody wrote to since a second; whether it came to all of them."""

    def work(found: Sequence[tuple[SessionKey, SessionName]]) -> Flow[bool]:
        wanted = [key for key, _ in found]
        seal = partial(sealing.seal_sessions, wanted=wanted, before=before, again=again)
        pace.heard((yield from do(Cold(seal, writes=True))))
        return True

    page = partial(
        sessions.page,
        scope=EVERYBODY,
        limit=_AT_ONCE,
        condition=_condition(again),
        before=before,
    )
    return (yield from over_sessions(pace, page, _AT_ONCE, work))


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


def stats(desk: Desk, scope: Scope) -> Flow[Stats]:
    """Count what is there."""
    return (yield from do(Cold(partial(counting.stats, scope=scope))))


def verify(desk: Desk, progress: OnProgress | None) -> Flow[list[Problem]]:
    """Look at every place and every sum in the store; nothing is changed."""
    of = yield from do(Cold(partial(sessions.count, scope=EVERYBODY)))
    problems = yield from do(Autocommit(verifying.of_store))
    done, after = 0, FIRST
    tell(progress, 0, of)
    while page := (
        yield from do(Cold(partial(sessions.page, scope=EVERYBODY, after=after, limit=200)))
    ):
        after = page[-1][0]
        for _, name in page:
            problems += yield from do(Cold(partial(verifying.of_session, name=name)))
            problems += yield from do(Cold(partial(index_problems, name=name)))
        done += len(page)
        tell(progress, done, max(of, done))
    problems += yield from _verified_items()
    return problems + (yield from _verified_threads(desk))


def _verified_items() -> Flow[list[Problem]]:
    problems: list[Problem] = []
    last = FIRST_NAMESPACE
    while page := (yield from do(Cold(partial(verifying_items.namespaces, after=last, limit=200)))):
        last = page[-1].key.namespace
        for found in page:
            problems += found.problems
            after: str | None = ""
            while after is not None:
                work = partial(
                    verifying_items.items,
                    namespace=found.key,
                    name=found.name,
                    after=after,
                    limit=ITEMS_AT_ONCE,
                )
                wrong, after = yield from do(Cold(work))
                problems += wrong
    return problems


def _verified_threads(desk: Desk) -> Flow[list[Problem]]:
    problems: list[Problem] = []
    last: ThreadPlace | None = None
    everybody = EVERYBODY._asdict()
    while page := (
        yield from do(Cold(partial(threads.listed, **everybody, limit=200, after=last)))
    ):
        last = ThreadPlace(page[-1].last_active, page[-1].shard, page[-1].number)
        for found in page:
            name = SessionName(
                key=found.key, tenant=found.tenant, user=found.user, agent=found.agent
            )
            problems += [
                Problem(kind="damaged", where=f"thread {name}", what=what)
                for what in (yield from verify_thread(desk, name))
            ]
    return problems


def keep_learned(desk: Desk, sample: Sample, learned: Learned) -> Flow[int | None]:
    """Keep what was learned; None where a session it was learned from has gone meanwhile."""
    if learned.content is None:
        return None
    keep = partial(dictionaries.add, content=learned.content, sources=sample.sessions)
    number = yield from do(Cold(keep, writes=True))
    # Only now: had it been rolled back, others would have given its number to another.
    yield from do(Cold(_refresh))
    return number


def _as_segment(desk: Desk, said: Appendable) -> Segment:
    """A conversation from elsewhere, as it would be sealed here."""
    entries, contents = encode(desk, messages_from(said), now())
    rows = tuple(
        MessageRow(n, 0, entry.frame, None, entry.created, entry.tokens, 0)
        for n, entry in enumerate(entries, 1)
    )
    return Segment(rows, tuple(content.opens_turn for content in contents))


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


def _how_many(txn: Transaction, before: int, again: bool) -> int:
    return sessions.count(txn, EVERYBODY, _condition(again), before=before)


def _condition(again: bool) -> str:
    return "active_second <= :before" + ("" if again else " AND sealed < head")


def _release(txn: Transaction, needing: Sequence[SessionKey], dictionary: int) -> None:
    for key in needing:
        erasing.release(txn, key, dictionary)


def _few(keys: Sequence[SessionKey]) -> Iterable[Sequence[SessionKey]]:
    return (keys[n : n + _AT_ONCE] for n in range(0, len(keys), _AT_ONCE))


def tell(progress: OnProgress | None, done: int, of: int) -> None:
    """Say how far it has come, where somebody listens."""
    if progress is not None:
        check_function("progress", progress, "a function of a Progress")
        progress(Progress(done, of))
