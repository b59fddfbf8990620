"""Feeds: what happened in a store since a reader last said that it was done.

    feed = store.feed("indexer")
    for change in feed.read():
        ...
        feed.done(change)

Each method is one line over a flow (``operations.py``), and each has a twin with ``a`` before
its name; ``tests`` hold the two to the same signature.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from onrecord import operations
from onrecord.change import Change, FeedInfo
from onrecord.item import ItemChange
from onrecord.scope import FeedName

if TYPE_CHECKING:
    from onrecord.store import Store

__all__ = ["Change", "Feed", "FeedInfo"]


class Feed:
    """A reader of what happens in a store. Holds no connection and no state: what it has finished
    stands in the database, and several processes may share the work under one name."""

    __slots__ = ("_arun", "_desk", "_run", "name", "store")

    def __init__(self, store: Store, name: FeedName) -> None:
        self.store = store
        self.name = name
        self._desk = store._desk
        self._run = store._run
        self._arun = store._arun

    def read(self, limit: int = 100, *, lease: float = 60.0) -> list[Change]:
        """Take what was appended, rewritten or erased since this reader was done with it; nothing
        where there is nothing.

        One change of a session, at most of ``limit`` sessions. Each is held for ``lease`` seconds,
        by the clock of the database: nobody else is given it, and nothing after it in its
        session. Who is not done with it then, or has died, leaves it to whoever reads next.
        """
        return self._run(operations.read_feed(self._desk, self.name, limit, lease))

    async def aread(self, limit: int = 100, *, lease: float = 60.0) -> list[Change]:
        """Like ``read``."""
        return await self._arun(operations.read_feed(self._desk, self.name, limit, lease))

    def done(
        self,
        change: Change | Iterable[Change],
        *,
        writes: Sequence[ItemChange] = (),
        durable: bool = True,
    ) -> bool:
        """Make a change final, or several in one transaction: it does not come again.

        False where a lease was over and another reader was given the same, and comes to it again;
        nothing is made final by who does not hold it.

        ``writes`` are changes of items, as for ``Store.write``, made in the same transaction: so
        what was made of a change is there exactly once. Nothing is written where the answer is
        False. Namespaces are named in the scope that is read; what that leaves open is empty.

        Where it need not be ``durable`` it waits for no disk, if no Redis has to be told of it:
        with the machine's power all of it may be lost, and then the change comes again.
        """
        flow = operations.finish_changes(self._desk, self.name, change, writes, durable)
        return self._run(flow)

    async def adone(
        self,
        change: Change | Iterable[Change],
        *,
        writes: Sequence[ItemChange] = (),
        durable: bool = True,
    ) -> bool:
        """Like ``done``."""
        flow = operations.finish_changes(self._desk, self.name, change, writes, durable)
        return await self._arun(flow)

    def behind(self) -> int:
        """Count the sessions that this reader has not finished: every session is looked at."""
        return self._run(operations.count_behind(self.name))

    async def abehind(self) -> int:
        """Like ``behind``."""
        return await self._arun(operations.count_behind(self.name))

    def forget(self) -> bool:
        """Take this reader away, with what it has finished; whether there was one. Who reads under
        its name then begins anew."""
        return self._run(operations.forget_feed(self.name))

    async def aforget(self) -> bool:
        """Like ``forget``."""
        return await self._arun(operations.forget_feed(self.name))

    def __repr__(self) -> str:
        return f"Feed({self.name} in {self.store!r})"
