"""The in-process cache of tails and items: encoded rows, trusted while nobody has committed
anything.

Before each use the ledger's pulse is taken (1 µs on SQLite), a value that moves with every
commit by any process. Where it has not moved, what was read under it is still all there is.
Where it has moved, the caller asks the database what is new and fills in the answer, with the
pulse it took before asking: a commit in between makes the entry look older than it is, never
newer. Writers need tell it nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, Protocol, TypeVar

from msgspec import Struct

from onrecord.cache.bounded import Bounded
from onrecord.cache.cache import Answer, Cache, Glance, Later, Marked
from onrecord.cache.server import CacheServer
from onrecord.cache.tails import LARGEST_TAIL, Tails
from onrecord.health import Counters
from onrecord.stored.clock import now
from onrecord.stored.items import SeenItem, WrittenItem
from onrecord.stored.messages import Publication, Snapshot

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

S = TypeVar("S")

_NO_MARK: Final = Marked(None, b"", None)
_ALL_ITEMS: Final = 16 * 1024 * 1024
_AN_ITEM: Final = 600
"""What an item weighs in memory besides its value."""


class HasPulse(Protocol):
    """What a ledger says of its pulse."""

    @property
    def has_pulse(self) -> bool: ...
    def pulse_at_hand(self) -> object | None: ...
    def pulse(self) -> object | None: ...
    async def apulse(self) -> object | None: ...


class _Look(Struct, Later[T_co], frozen=True):
    """A look for which the pulse has to be waited for."""

    understand: Callable[[object | None], T_co]


class LocalCache(Cache):
    """Tails of the sessions used last, and the items, validated by the ledger's pulse."""

    marks = False
    where = None

    def __init__(self, ledger: HasPulse, messages: int) -> None:
        self.messages = messages
        self.counters = Counters()
        self._ledger = ledger
        self._tails = Tails(messages)
        self._items: Bounded[bytes, tuple[SeenItem, object]] = Bounded(_ALL_ITEMS, LARGEST_TAIL)

    def forget(self) -> None:
        """Drop everything."""
        self._tails.forget()
        self._items.clear()

    def look(
        self, identity: bytes, on: bytes | None, wanted: int | None = None
    ) -> Answer[Glance[Snapshot]]:
        """What is known about a session now."""
        pulse = self._ledger.pulse_at_hand()
        if pulse is None and self._ledger.has_pulse:
            return _Look(partial(self._glance, identity, wanted))
        return self._glance(identity, wanted, pulse)

    def look_item(self, identity: bytes, on: bytes | None) -> Answer[Glance[SeenItem]]:
        """What is known about an item now."""
        pulse = self._ledger.pulse_at_hand()
        if pulse is None and self._ledger.has_pulse:
            return _Look(partial(self._glance_at_item, identity))
        return self._glance_at_item(identity, pulse)

    def exchange(self, answer: Answer[T]) -> T:
        """Wait for the pulse, in this thread."""
        if not isinstance(answer, Later):
            return answer
        assert isinstance(answer, _Look)
        look: _Look[T] = answer
        return look.understand(self._ledger.pulse())

    async def aexchange(self, answer: Answer[T]) -> T:
        """Like ``exchange``, on the running loop."""
        if not isinstance(answer, Later):
            return answer
        assert isinstance(answer, _Look)
        look: _Look[T] = answer
        return look.understand(await self._ledger.apulse())

    def _glance(
        self, identity: bytes, wanted: int | None, pulse: object | None
    ) -> Glance[Snapshot]:
        kept = self._tails.get(identity)
        if kept is not None:
            enough = self.messages if wanted is None else wanted
            if len(kept[0].rows) < enough and not kept[0].complete:
                kept = None  # whoever read it asked for less
        return self._told(kept, pulse)

    def _glance_at_item(self, identity: bytes, pulse: object | None) -> Glance[SeenItem]:
        kept = self._items.get(identity)
        if kept is not None:
            row = kept[0].row
            # Whoever has a pulse has no other clock than that of its processes.
            if row is not None and row.expires_at is not None and row.expires_at <= now():
                self._items.drop(identity)
                kept = None
        return self._told(kept, pulse)

    def _told(self, kept: tuple[S, object] | None, pulse: object | None) -> Glance[S]:
        if pulse is None:
            return Glance(None, False, None)
        if kept is None:
            self.counters.misses += 1
            return Glance(None, False, pulse)
        seen, then = kept
        fresh = then == pulse
        self.counters.hits += fresh
        self.counters.misses += not fresh
        return Glance(seen, fresh, pulse)

    def fill(self, identity: bytes, seen: Snapshot, lease: object) -> None:
        """Keep what was read under a lease."""
        self._tails.keep(identity, seen, lease)

    def fill_item(self, identity: bytes, seen: SeenItem, lease: object) -> None:
        """Keep what was read under a lease; also that there is nothing."""
        weight = _AN_ITEM + (0 if seen.row is None else len(seen.row.body))
        self._items.put(identity, (seen, lease), weight)

    def remember(self, identity: bytes, seen: Snapshot) -> None:
        """Nothing to do: without a lease nothing can be trusted."""

    def mark(
        self, identity: bytes, token: str, believed: bytes | None, *, attempt: int, whatever: bool
    ) -> Marked:
        """Nothing to do: the pulse moves with the commit itself."""
        return _NO_MARK

    def publish(
        self,
        identity: bytes,
        token: str,
        publication: Publication,
        marked: Marked,
        whole: int | None,
    ) -> None:
        """Nothing to do."""

    def publish_item(self, identity: bytes, token: str, wrote: WrittenItem, marked: Marked) -> None:
        """Nothing to do."""

    def lift(self, identity: bytes, token: str) -> None:
        """Nothing to do."""

    def together(self, answers: Sequence[Answer[T]]) -> list[T]:
        """All of them are here: only a look may have to wait."""
        return [answer for answer in answers if not isinstance(answer, Later)]

    def ping(self) -> bool:
        """It is here."""
        return True

    def servers(self) -> list[CacheServer]:
        """There is none."""
        return []

    def discard(self, identity: bytes) -> None:
        """Forget what is held of a session, or an item."""
        self._tails.drop(identity)
        self._items.drop(identity)

    def drop(self, identity: bytes) -> None:
        """Forget what is held of a session."""
        self._tails.drop(identity)

    def empty(self) -> None:
        """Forget everything."""
        self.forget()

    def close(self) -> None:
        """Nothing to do."""
