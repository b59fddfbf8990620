"""How a store is asked how it is."""

from __future__ import annotations

import time

from onrecord.cache import CacheUnavailable
from onrecord.errors import Misconfigured, OnrecordError
from onrecord.flow import Cold, Flow, Hot, do
from onrecord.flows.shared import Desk
from onrecord.health import TierHealth
from onrecord.ledger.database.transaction import ping


def database_health(desk: Desk, where: str) -> Flow[TierHealth]:
    """Ask the database the least there is to ask."""
    began = time.perf_counter()
    try:
        yield from do(Cold(ping))
    except OnrecordError as fault:
        return TierHealth(ok=False, where=where, milliseconds=None, problem=str(fault))
    return TierHealth(ok=True, where=where, milliseconds=_since(began))


def cache_health(desk: Desk, where: str | None) -> Flow[TierHealth | None]:
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
    return TierHealth(ok=True, where=where, milliseconds=took)


def _since(began: float) -> float:
    return round((time.perf_counter() - began) * 1000, 3)
