"""What a reader may do with what the cache said: believe it, or fill it in anew.

One for sessions and items. Rules 6, 13 and 14 of docs/explanation/cache-protocol.md.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from onrecord.cache import CacheUnavailable
from onrecord.cache.cache import NOTHING_FOUND, Answer, CacheCalls, Glance, Settle
from onrecord.errors import OnrecordError
from onrecord.flow import Cold, Flow, Hot, do
from onrecord.flows.shared import Desk
from onrecord.flows.suspend import current_generation
from onrecord.version import Version

if TYPE_CHECKING:
    from onrecord.ledger.database.transaction import Transaction

S = TypeVar("S")

log = logging.getLogger("onrecord")


def looked(
    desk: Desk, look: Callable[[CacheCalls, bytes | None], Answer[Glance[S]]]
) -> Flow[tuple[bytes | None, Glance[S]]]:
    """The generation that is believed in, and what the cache says to who believes in it."""
    on: bytes | None = None
    if desk.marks:
        on = desk.belief.at_hand
        if on is None:
            on = yield from current_generation(desk)
    if on is not None or not desk.marks or desk.belief.known:
        try:  # not suppress(): that takes 0.4 µs of each read
            return on, (yield Hot(lambda hot: look(hot, on)))
        except CacheUnavailable:
            pass  # SQL knows as well
    return on, NOTHING_FOUND


def believes(desk: Desk, identity: bytes, on: bytes | None, version: Version) -> bool:
    """Whether a hit may be used, now that the cache has answered."""
    if not desk.marks:
        return True
    # Still the generation that was looked with; and no less than this process has read.
    known = on is not None and on == desk.belief.on
    return known and version >= desk.known.get(identity).floor


def lease_of(
    desk: Desk,
    identity: bytes,
    on: bytes | None,
    glance: Glance[Any],
    settle: Callable[[Transaction], bool],
) -> Flow[object | None]:
    """Under what an entry may be filled; settled first, where that has to be."""
    if glance.damaged:
        yield from discarded(desk, identity)
        return None
    if not desk.marks:
        return glance.lease
    if on is None or glance.settle is Settle.LATER:
        return None
    if glance.settle is Settle.DUE:
        try:
            done = yield from do(Cold(settle, writes=True))
        except OnrecordError as fault:  # busy, or only to be read: it is read all the same
            log.debug("the entry %s could not be settled: %s", identity.hex(), fault)
            return None
        return glance.lease if done else None
    return glance.lease


def discarded(desk: Desk, identity: bytes) -> Flow[None]:
    """Throw an entry away that is not what was written."""
    with suppress(CacheUnavailable):
        yield from do(Hot(lambda hot: hot.discard(identity)))
