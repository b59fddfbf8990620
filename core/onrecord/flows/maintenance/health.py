"""How a store is asked how it is."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from onrecord.cache import CacheUnavailable
from onrecord.errors import Misconfigured, OnrecordError
from onrecord.flow import Flow, Hot, InThread, do
from onrecord.flows.shared import Desk
from onrecord.flows.suspend import current_generation
from onrecord.health import TierHealth
from onrecord.ledger.database.faults import TookTooLong
from onrecord.ledger.maintenance import sampling
from onrecord.ranking import ANALYSER

if TYPE_CHECKING:
    from onrecord.ledger.database.transaction import Transaction

GLANCED_AT: Final = 100
"""Sessions of which it is asked how far the index has come."""


def database_health(
    answers: Callable[[float], None], where: str, within: float
) -> Flow[TierHealth]:
    """Ask a database the least there is to ask; it has so many seconds.

    In a thread that belongs to no store: where the threads of one all wait for a database that is
    away, this says so all the same.
    """
    began = time.perf_counter()
    try:
        yield from do(InThread(partial(answers, within)))
    except OnrecordError as fault:
        return TierHealth(ok=False, where=where, milliseconds=None, problem=str(fault))
    return TierHealth(ok=True, where=where, milliseconds=_since(began))


def replica_health(
    asked: tuple[Callable[[float], None], str] | None, within: float
) -> Flow[TierHealth | None]:
    """Ask the replica, where there is one."""
    return None if asked is None else (yield from database_health(*asked, within))


def index_behind(
    glance: Callable[[Callable[[Transaction], int], float], int], within: float
) -> Flow[int | None]:
    """How many messages the index has not, of the sessions last active; None where that takes
    longer than so many seconds, or cannot be asked."""
    if within <= 0:
        return None
    work = partial(sampling.index_behind, analyser=ANALYSER, most=GLANCED_AT)
    try:
        return (yield from do(InThread(partial(glance, work, within))))
    except (OnrecordError, TookTooLong):  # the database's own health says what is wrong with it
        return None


def cache_health(desk: Desk, where: str | None, with_database: bool) -> Flow[TierHealth | None]:
    """Ask the cache the least there is to ask, also while its breaker is open."""
    if where is None:
        return None
    began = time.perf_counter()
    try:
        yield from do(Hot(lambda hot: hot.ping()))
    except Misconfigured as fault:
        return TierHealth(ok=False, where=where, milliseconds=None, problem=str(fault))
    except CacheUnavailable as fault:
        return TierHealth(
            ok=False,
            where=where,
            milliseconds=None,
            problem=f"{fault} Reads go to the database meanwhile, and nothing is lost. Check "
            "that Redis runs, its address and database, user and password, its memory, and "
            "what this user may do there.",
        )
    took = _since(began)
    if (yield from do(Hot(lambda hot: hot.blind))):
        problem = (
            "It hides which run of its server answers, so a failover would not be noticed: "
            "every read asks the database, as with consistency='strict'. Allow this user INFO."
        )
        return TierHealth(ok=False, where=where, milliseconds=took, problem=problem)
    if with_database and (yield from _is_off(desk)):
        problem = (
            "It is switched off for all processes, because a writer could not reach it: every "
            "read asks the database. Whoever reads, or asks for health, once ten seconds are over "
            "switches it on again."
        )
        return TierHealth(ok=False, where=where, milliseconds=took, problem=problem)
    return TierHealth(ok=True, where=where, milliseconds=took)


def _is_off(desk: Desk) -> Flow[bool]:
    """Whether the cache is switched off, though it answers. To ask is to switch it on again, if it
    is time: a process that is only asked for its health does that as well as one that reads."""
    try:
        yield from current_generation(desk)
    except OnrecordError:  # the database's own health says it
        return False
    return desk.belief.off is not None


def _since(began: float) -> float:
    return round((time.perf_counter() - began) * 1000, 3)
