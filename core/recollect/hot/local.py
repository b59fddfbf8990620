"""The in-process cache of tails: encoded rows, trusted while nobody has committed anything.

Before each use the ledger's pulse is taken (4 µs on SQLite), a value that moves with every
commit by any process. Where it has not moved, what was read under it is still all there is.
Where it has moved, the caller asks the database what is new and fills in the answer, with the
pulse it took before asking: a commit in between makes the entry look older than it is, never
newer. Writers need tell it nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from recollect.health import Counters
from recollect.hot.cache import Cache, Glance, Marked
from recollect.hot.tails import Tails
from recollect.rows import Publication, Seen


class LocalCache(Cache):
    """Tails of the sessions used last, validated by the ledger's pulse."""

    marks = False
    where = None

    def __init__(self, pulse: Callable[[], object | None], messages: int) -> None:
        self.messages = messages
        self.counters = Counters()
        self._pulse = pulse
        self._tails = Tails(messages)

    def forget(self) -> None:
        """Drop everything."""
        self._tails.forget()

    def look(self, identity: bytes, on: bytes | None) -> Glance:
        """What is known about a session now."""
        pulse = self._pulse()
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

    def fill(self, identity: bytes, seen: Seen, lease: object) -> None:
        """Keep what was read under a lease."""
        self._tails.keep(identity, seen, lease)

    def remember(self, identity: bytes, seen: Seen) -> None:
        """Nothing to do: without a lease nothing can be trusted."""

    def mark(
        self, identity: bytes, token: str, believed: bytes | None, *, attempt: int, whatever: bool
    ) -> None:
        """Nothing to do: the pulse moves with the commit itself."""

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

    def ping(self) -> None:
        """It is here."""

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
