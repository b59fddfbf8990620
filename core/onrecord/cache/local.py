"""The in-process cache of tails: encoded rows, trusted while nobody has committed anything.

Before each use the ledger's pulse is taken (1 µs on SQLite), a value that moves with every
commit by any process. Where it has not moved, what was read under it is still all there is.
Where it has moved, the caller asks the database what is new and fills in the answer, with the
pulse it took before asking: a commit in between makes the entry look older than it is, never
newer. Writers need tell it nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final, Protocol, TypeVar

from msgspec import Struct

from onrecord.cache.cache import Answer, Cache, Glance, Later, Marked
from onrecord.cache.tails import Tails
from onrecord.health import Counters
from onrecord.stored.messages import Publication, Snapshot

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

_NO_MARK: Final = Marked(None, b"", None)


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
    """Tails of the sessions used last, validated by the ledger's pulse."""

    marks = False
    where = None

    def __init__(self, ledger: HasPulse, messages: int) -> None:
        self.messages = messages
        self.counters = Counters()
        self._ledger = ledger
        self._tails = Tails(messages)

    def forget(self) -> None:
        """Drop everything."""
        self._tails.forget()

    def look(self, identity: bytes, on: bytes | None, wanted: int | None = None) -> Answer[Glance]:
        """What is known about a session now."""
        pulse = self._ledger.pulse_at_hand()
        if pulse is None and self._ledger.has_pulse:
            return _Look(partial(self._glance, identity))
        return self._glance(identity, pulse)

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

    def _glance(self, identity: bytes, pulse: object | None) -> Glance:
        if pulse is None:
            return Glance(None, False, None)
        kept = self._tails.get(identity)
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

    def lift(self, identity: bytes, token: str) -> None:
        """Nothing to do."""

    def ping(self) -> bool:
        """It is here."""
        return True

    def discard(self, identity: bytes) -> None:
        """Forget what is held of a session."""
        self._tails.drop(identity)

    def drop(self, identity: bytes) -> None:
        """Forget what is held of a session."""
        self._tails.drop(identity)

    def empty(self) -> None:
        """Forget every session."""
        self._tails.forget()

    def close(self) -> None:
        """Nothing to do."""
