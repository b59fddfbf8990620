"""How a store is maintained from time to time: what is due, for as long as was said.

Each step has its share of the time; what it does not use goes to the others, and a second round
goes to those that have more to do. Where the time does not suffice for all steps, the next run
begins with the first that had none. What was done is done: whoever is killed leaves nothing to be
put in order, and the next one goes on behind it.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from onrecord.arguments import check_function
from onrecord.errors import OnrecordError, StoreClosed
from onrecord.flow import Autocommit, Cold, Flow, InThread, do
from onrecord.flows.checkpoints.threads import prune_expired
from onrecord.flows.maintenance.compact import seal_quiet
from onrecord.flows.maintenance.index import embed_stale, index_stale
from onrecord.flows.maintenance.prune import prune_items, prune_sessions, settle_finished
from onrecord.flows.maintenance.train import keep_learned, release_learned
from onrecord.flows.pace import FIRST, Pace
from onrecord.flows.search.items import embed_items
from onrecord.flows.shared import Desk
from onrecord.ledger.maintenance import erasing, tidying, training
from onrecord.ledger.maintenance import maintain as ledger
from onrecord.ledger.maintenance.maintain import LEASE, Duty, Tried
from onrecord.ledger.sessions import dictionaries
from onrecord.plural import many
from onrecord.reports import Maintenance, MaintenanceStep, OnStep, StepName, StepProgress
from onrecord.scope import EVERYBODY
from onrecord.stored.clock import MICROSECONDS, moment, now
from onrecord.stored.messages import SessionKey

if TYPE_CHECKING:
    from onrecord.codec import Dictionary
    from onrecord.ledger.database.transaction import Transaction

log = logging.getLogger("onrecord")

_QUIET_FOR: Final = 3_600
"""Seconds: as ``compact`` has it."""
_BEAT: Final = LEASE / MICROSECONDS / 4
"""Seconds after which it says that it is alive, and how far it came."""

# -- when it pays to learn ------------------------------------------------------------------------

_FEWEST: Final = 2_000
"""Messages. Of fewer a dictionary saves less than it takes."""
_REST: Final = 7 * 86_400 * MICROSECONDS
"""How long nothing is learned after a dictionary had to go with what it was learned from: to take
one away rewrites all that needs it."""
_LEAST: Final = 0.05
"""The share of what messages take today that another dictionary has to save."""
_SAMPLE: Final = 2 * 2**20
"""Bytes to learn from, a quarter of what ``train`` takes: a size is tried in some seconds."""
_SIZES: Final = sorted(training.SIZES, key=lambda size: abs(size - 32))
"""The likeliest first: where the time is over, the best so far is taken."""


def due(total: int, new: int, tried: Tried | None, in_use: bool, at: int) -> str | None:
    """Why it does not pay to look for a dictionary now; None where it does.

    It is looked for once there are enough messages, and again when half of all are new since: so a
    store that grows tenfold is looked through three or four times, and one that does not grow never
    again.
    """
    if total < _FEWEST:
        return f"not worth a dictionary before there are {_FEWEST:,} messages that stay"
    if tried is None:
        return None
    if tried.dictionary is not None and not in_use:
        rested = at - tried.at >= _REST
        return None if rested else "the last dictionary went with what it was learned from"
    if 2 * new >= total:
        return None
    return f"{new:,} of {total:,} messages are new since it last looked for a dictionary"


def pays(before: int, after: int) -> bool:
    """Whether another dictionary saves enough of what messages take today."""
    return after <= before * (1 - _LEAST)


# -- the steps -------------------------------------------------------------------------------------


class _Left(NamedTuple):
    """What a step leaves, and why there is nothing to do where that is not plain."""

    what: str | None = None
    more: bool = False
    """Whether it wants more time."""
    note: str | None = None


_NOTHING: Final = _Left()
_Tell = Callable[[str, int], None]
"""Takes what was done, and how much."""


class _Run(NamedTuple):
    """What a step needs."""

    desk: Desk
    duty: Duty
    pace: Pace
    did: _Tell

    def share(self, of: int) -> Pace:
        """A part of the time that is left: for one of so many that are not to wait for another."""
        at = time.monotonic()
        pace = Pace(at + (self.pace.until - at) / of)
        pace.beat = self.pace.goes_on
        return pace


def _prune(run: _Run) -> Flow[_Left]:
    """What expired of each kind, whatever becomes of the others."""
    whole = True
    fault: OnrecordError | None = None
    kinds = (_prune_items, _prune_threads, _settle, _prune_sessions)
    for n, kind in enumerate(kinds):
        last = n == len(kinds) - 1  # the one that goes on behind some session
        try:
            all_of_it = yield from kind(run, run.pace if last else run.share(len(kinds) - n))
        except StoreClosed:
            raise
        except OnrecordError as again:  # told when the others had their turn
            fault = fault or again
        else:
            whole = whole and all_of_it
    if fault is not None:
        raise fault
    return _NOTHING if whole else _Left("some that expired", True)


def _prune_items(run: _Run, pace: Pace) -> Flow[bool]:
    items, whole = yield from prune_items(EVERYBODY, now(), pace)
    run.did("item", items)
    return whole


def _prune_threads(run: _Run, pace: Pace) -> Flow[bool]:
    gone = yield from prune_expired(run.desk, **EVERYBODY._asdict(), pace=pace)
    run.did("thread", len(gone))
    return time.monotonic() < pace.until


def _settle(run: _Run, pace: Pace) -> Flow[bool]:
    return (yield from settle_finished(pace))


def _prune_sessions(run: _Run, pace: Pace) -> Flow[bool]:
    return (yield from prune_sessions(run.desk, pace))


def _release(run: _Run) -> Flow[_Left]:
    run.did("dictionary", (yield from release_learned(run.desk, run.pace)))
    unneeded = 0
    for number in (yield from do(Cold(dictionaries.superseded))):
        if not (yield from run.pace.goes_on()):
            return _Left("dictionaries that are perhaps not needed any more", True)
        if not (yield from do(Autocommit(partial(erasing.is_needed, number=number)))):
            yield from do(Cold(partial(dictionaries.retire, number=number), writes=True))
            unneeded += 1
    if unneeded:
        run.did("dictionary", (yield from release_learned(run.desk, run.pace)))
    waiting = yield from do(Cold(erasing.retired))
    if not waiting:
        return _NOTHING
    some = many(len(waiting), "dictionary")
    if (yield from run.pace.goes_on()):
        return _Left(f"{some}, which a transaction that began before may still need")
    return _Left(some, True)


def _train(run: _Run) -> Flow[_Left]:
    """Learn a dictionary where that pays; ``due`` has the rule."""
    desk = run.desk
    if desk.compression != "zstd":
        return _Left(note="compression='none' has no use for a dictionary")
    if desk.expires_in is not None:
        return _Left(
            note="sessions expire here, and what is learned from one goes with it; train() may be "
            "given a sample that stays"
        )
    total = yield from do(Autocommit(ledger.messages_since))
    current, learned_at = yield from do(Cold(_current))
    tried, new = run.duty.tried, 0
    if current is not None and (tried is None or learned_at > tried.at):
        tried = Tried(learned_at, total, current.number)  # by train()
    if tried is not None:
        made = yield from do(Autocommit(partial(ledger.messages_since, since=tried.at)))
        new = max(total - tried.messages, made)
    at = now()
    if why_not := due(total, new, tried, current is not None, at):
        return _Left(note=why_not)
    sample = yield from do(Cold(partial(training.sampled, most=_SAMPLE, lasting=True)))
    trial = yield from do(InThread(partial(training.begun, sample.texts, current)))
    for size in _SIZES if trial.texts else ():
        trial = yield from do(InThread(partial(training.tried, trial, size)))
        if not (yield from run.pace.goes_on()):
            break
    number, best = None, trial.best
    if best.content is not None and pays(best.before, best.after):
        trial = yield from do(InThread(partial(training.whole, trial)))
        number = yield from keep_learned(desk, sample, trial.best)
        if number is None:
            return _Left("a dictionary: what it was learned from went meanwhile")
        run.did("dictionary", 1)
    run.duty.tried = Tried(at, total, number)
    saving = 1 - best.after / best.before if best.before else 0.0
    note = f"a dictionary would save {saving:.0%} more, which is less than {_LEAST:.0%}"
    return _NOTHING if number else _Left(note=note)


def _current(txn: Transaction) -> tuple[Dictionary | None, int]:
    """The dictionary in use, and when it was learned."""
    found = txn.dictionaries.refreshed(txn)
    return found, 0 if found is None else dictionaries.learned_at(txn, found.number)


def _seal(run: _Run) -> Flow[_Left]:
    whole = yield from seal_quiet(run.desk, now() // MICROSECONDS - _QUIET_FOR, False, run.pace)
    return _NOTHING if whole else _Left("sessions that are quiet and not sealed", True)


def _index(run: _Run) -> Flow[_Left]:
    places, whole = yield from index_stale(EVERYBODY, run.pace)
    run.did("message", places)
    return _NOTHING if whole else _Left("messages that are not indexed", True)


def _embed(run: _Run) -> Flow[_Left]:
    meaning = run.desk.meaning
    if meaning is None:
        return _Left(note="this store has no embedder")
    half = run.share(2)
    run.did("item", (yield from embed_items(meaning, EVERYBODY, half)))
    all_items = time.monotonic() < half.until
    messages, whole = yield from embed_stale(meaning, EVERYBODY, run.pace)
    run.did("message", messages)
    more = "what the embedder has not seen"
    return _NOTHING if whole and all_items else _Left(more, True)


def _tidy(run: _Run) -> Flow[_Left]:
    left: list[str] = []
    for chore in (yield from do(Autocommit(tidying.wanted))):
        more = True
        while more:
            if not (yield from run.pace.goes_on()):
                return _Left("tidying the database", True)
            try:
                did = yield from do(Autocommit(chore.work))
            except OnrecordError as fault:  # the others do not wait for it
                did = tidying.Did(0, str(fault))
            run.did(chore.what, did.number)
            left += [] if did.left is None else [did.left]
            more = did.more
    return _Left(" ".join(left) or None)


_STEPS: Final[Mapping[StepName, Callable[[_Run], Flow[_Left]]]] = {
    "prune": _prune,
    "release": _release,
    "train": _train,  # before what is compressed with it
    "seal": _seal,
    "index": _index,
    "embed": _embed,
    "tidy": _tidy,
}


# -- all of them -----------------------------------------------------------------------------------


def maintain(desk: Desk, within: float, progress: OnStep | None) -> Flow[Maintenance]:
    """Do what is due, for so many seconds, and say what was left."""
    if progress is not None:
        check_function("progress", progress, "a function of a StepProgress")
    began = time.monotonic()
    holder = secrets.randbits(62) + 1
    taken = yield from do(Cold(partial(ledger.take, holder=holder, now=now()), writes=True))
    if taken.holder != holder:
        return Maintenance(
            steps=(), seconds=time.monotonic() - began, busy_until=moment(taken.until)
        )
    keeper = _Keeper(desk, taken, began + within, progress)
    yield from keeper.everything()
    yield from keeper.ends()
    return Maintenance(steps=keeper.report(), seconds=time.monotonic() - began)


class _Standing:
    """How far one step has come."""

    def __init__(self, name: StepName) -> None:
        self.name: StepName = name
        self.counts: Counter[str] = Counter()
        self.seconds = 0.0
        self.left = _Left("there was no time for it", True)
        self.problem: str | None = None


class _Keeper:
    """One run of ``maintain``."""

    def __init__(self, desk: Desk, duty: Duty, until: float, progress: OnStep | None) -> None:
        self._desk = desk
        self._duty = duty
        self._until = until
        self._progress = progress
        self._kept = time.monotonic()
        self._taken_over = False
        self._heard_fault: BaseException | None = None
        steps = [_Standing(name) for name in _STEPS]
        first = next((n for n, step in enumerate(steps) if step.name == duty.begin), 0)
        self._steps = steps[first:] + steps[:first]

    def everything(self) -> Flow[None]:
        """Do each step once, and those that have more to do again while there is time."""
        wanting = self._steps
        self._duty.begin = ""
        while wanting:
            for n, step in enumerate(wanting):
                left = self._until - time.monotonic()
                if left <= 0 or self._taken_over:
                    self._duty.begin = step.name
                    return
                yield from self._once(step, time.monotonic() + left / (len(wanting) - n))
            wanting = [step for step in wanting if step.left.more]

    def ends(self) -> Flow[None]:
        """Say that another may begin."""
        self._duty.until = 0
        yield from do(Cold(partial(ledger.keep, duty=self._duty), writes=True))

    def report(self) -> tuple[MaintenanceStep, ...]:
        """What was done, and what was left."""
        return tuple(
            MaintenanceStep(
                name=step.name,
                counts={what: count for what, count in step.counts.items() if count},
                seconds=step.seconds,
                note=step.left.note,
                left=step.left.what,
                problem=step.problem,
            )
            for step in self._steps
        )

    def _once(self, step: _Standing, until: float) -> Flow[None]:
        began = time.monotonic()
        after = self._duty.after.get(step.name)
        did = partial(self._did, step)
        pace = Pace(until, SessionKey(*after) if after else FIRST, partial(did, "session"))
        pace.beat = partial(self._beat, step, pace)
        run = _Run(self._desk, self._duty, pace, did)
        did("", 0)
        try:
            step.left = yield from _STEPS[step.name](run)
        except StoreClosed:
            raise
        except Exception as fault:  # whatever it was, the other steps are due all the same
            if fault is self._heard_fault:
                raise
            log.warning("maintain: %s failed", step.name, exc_info=True)
            ours = isinstance(fault, OnrecordError)
            step.problem = str(fault) if ours else f"{type(fault).__name__}: {fault}"
            step.left = _NOTHING
        self._goes_on_at(step, pace)
        step.seconds += time.monotonic() - began

    def _goes_on_at(self, step: _Standing, pace: Pace) -> None:
        if pace.after == FIRST:
            self._duty.after.pop(step.name, None)
        else:
            self._duty.after[step.name] = (pace.after.shard, pace.after.session)

    def _beat(self, step: _Standing, pace: Pace) -> Flow[bool]:
        """Say that it is alive; False where another has taken over."""
        if time.monotonic() - self._kept < _BEAT:
            return not self._taken_over
        self._goes_on_at(step, pace)
        self._duty.until = now() + LEASE
        mine = yield from do(Cold(partial(ledger.keep, duty=self._duty), writes=True))
        self._kept, self._taken_over = time.monotonic(), not mine
        return mine

    def _did(self, step: _Standing, what: str, count: int) -> None:
        step.counts[what] += count
        if self._progress is None or (what and not count):
            return
        number = self._steps.index(step) + 1
        done = step.counts.total()
        try:
            self._progress(StepProgress(step.name, number, len(self._steps), done))
        except Exception as fault:  # what a listener says is not a problem of the step
            self._heard_fault = fault
            raise
