"""Whether the cache may be used, and what a writer does who cannot reach it.

A process uses the cache only while it knows that it is on, from a read of the database that it
asked for less than ``believed_for`` ago. So a writer who cannot mark switches the cache off for
everybody, and waits until nobody can believe the contrary; then it commits without a mark.
Rules 13 to 18 of docs/explanation/cache-protocol.md.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain, repeat
from typing import TYPE_CHECKING, Final

from onrecord.cache import CacheUnavailable
from onrecord.cache.cache import Answer, CacheCalls, Marked
from onrecord.errors import Unavailable
from onrecord.flow import Cold, Flow, Hot, Pause, do
from onrecord.flows.belief import Suspended
from onrecord.flows.shared import Desk
from onrecord.ledger.database import generation

if TYPE_CHECKING:
    from onrecord.ledger.database.transaction import Transaction

log = logging.getLogger("onrecord")

MOST_AT_ONCE: Final = 200
"""Entries that are marked, or told how a write ended, in one round trip."""
_PAUSES: Final = (0.0, 0.02, 0.05, 0.1, 0.1)
"""Before each further attempt to mark. The first is tried again at once, on a new connection."""


def current_generation(desk: Desk) -> Flow[bytes | None]:
    """The generation of the cache; None while it is switched off, or that is not known."""
    belief = desk.belief
    if belief.asks():
        asked = belief.clock()
        try:
            state = yield from do(Cold(generation.read))
            if desk.facts() is None:
                return None  # there are no tables yet: nothing says whose entries are whose
            belief.learn(state, asked)
            suspension = belief.to_resume
            if suspension is not None and (yield from _reachable(desk)):
                yield from _learned(desk, partial(generation.resume, suspension=suspension))
        except Unavailable as fault:
            if belief.on is None:
                raise  # the database is needed now, and was waited for: once is enough
            log.debug("whether the cache is on could not be asked: %s", fault)
    return belief.on


def _reachable(desk: Desk) -> Flow[bool]:
    """Whether the cache answers at this moment."""
    try:
        return (yield from do(Hot(lambda hot: False if hot.left_alone else hot.ping())))
    except CacheUnavailable:
        return False


def _learned(desk: Desk, work: Callable[[Transaction], bytes]) -> Flow[bytes]:
    """Learn the state from somebody who may change it, and return it."""
    asked = desk.belief.clock()
    try:
        state: bytes = yield from do(Cold(work, writes=True))
        desk.belief.learn(state, asked)
        return state
    except Unavailable as fault:
        if not fault.outcome_unknown:
            raise
        # Whether it is on is not known now; of what the caller wanted nothing has begun.
        raise Unavailable(f"{fault} Nothing else was written.") from fault


def mark_or_suspend(
    desk: Desk, identities: Sequence[bytes], token: str, attempt: int
) -> Flow[list[Marked] | bytes]:
    """Mark entries; where that cannot be done, the suspension under which to commit."""
    belief = desk.belief
    if belief.known:
        yield from current_generation(desk)
    else:
        yield from _learned(desk, generation.read)
    spent, pauses = 0.0, None
    while True:
        suspended = belief.off is not None
        try:
            return (yield from _mark(desk, identities, token, attempt, whatever=not suspended))
        except CacheUnavailable as fault:
            spent += fault.took
        if suspended or spent >= belief.patience.marking:
            return (yield from _suspended(desk, identities, token, attempt))
        pauses = pauses or chain(_PAUSES, repeat(_PAUSES[-1]))
        pause = next(pauses)
        yield from do(Pause(pause))
        spent += pause


def _suspended(
    desk: Desk, identities: Sequence[bytes], token: str, attempt: int
) -> Flow[list[Marked] | bytes]:
    """Switch the cache off, and wait until nobody believes in it; or until it is marked."""
    belief = desk.belief
    off = belief.off
    if off is None:
        # What it said itself counts, whatever others of this process have learned meanwhile.
        state = yield from _learned(desk, generation.suspend)
        known = belief.off  # who learned of the same suspension earlier has waited for us too
        same = known is not None and known.state == state
        off = known if known is not None and same else Suspended(state, belief.clock())
    while (left := belief.waiting(off.since)) > 0:
        yield from do(Pause(min(left, 0.25)))
        try:
            return (yield from _mark(desk, identities, token, attempt, whatever=False))
        except CacheUnavailable:
            pass
    return off.state


def _mark(
    desk: Desk, identities: Sequence[bytes], token: str, attempt: int, whatever: bool
) -> Flow[list[Marked]]:
    believed = desk.belief.on

    def mark(hot: CacheCalls, identity: bytes) -> Answer[Marked]:
        return hot.mark(identity, token, believed, attempt=attempt, whatever=whatever)

    if len(identities) == 1:
        return [(yield from do(Hot(lambda hot: mark(hot, identities[0]))))]
    marks: list[Marked] = []
    for n in range(0, len(identities), MOST_AT_ONCE):
        some = identities[n : n + MOST_AT_ONCE]

        def ask(hot: CacheCalls, some: Sequence[bytes] = some) -> Answer[list[Marked]]:
            return hot.together([mark(hot, identity) for identity in some])

        marks += yield from do(Hot(ask))
    return marks
