"""The turns of an agent's runs: one run at a time in a conversation, over all processes.

A run is hooks that are called one by one. It holds its conversation from its first hook to its
last one, or to a hook that fails. Where LangGraph gives up between two hooks nobody is told: then
the lease runs out.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Final

from langchain_onrecord.run_progress import RunProgress
from onrecord.adapters.bounded import Bounded
from onrecord.adapters.calls import Talk, atalk, call, talk
from onrecord.adapters.turns import HeldSession, TurnSettings, signed_if_late, turn_settings

if TYPE_CHECKING:
    from onrecord import Session, Store

__all__ = ["RunTurns", "TurnSettings", "turn_settings"]

_MANY: Final = 4096
"""So many runs may be under way in a process, and each is remembered."""


class _Turn:
    """The turn of one run, and how many of its hooks are at work."""

    __slots__ = ("at_work", "ends", "held", "is_over", "session")

    def __init__(self, session: HeldSession) -> None:
        self.session = session
        self.at_work = 0
        self.held = False
        self.ends = False
        self.is_over = False


class RunTurns:
    """Which conversation each run holds, in this process."""

    def __init__(self, store: Store, settings: TurnSettings | None) -> None:
        self._store = store
        self._settings = settings
        self._turns: Bounded[str, _Turn] = Bounded(_MANY)
        self._ending: set[asyncio.Task[None]] = set()

    # -- the first hook ----------------------------------------------------------------------

    @contextmanager
    def begun(self, session: Session, before: RunProgress | None) -> Iterator[Session]:
        """Hold a conversation from now on, before anything of it is read."""
        if self._settings is None:
            yield session
            return
        held = HeldSession(session, self._settings)
        talk(self._begun(held, before))
        try:
            yield held
        except BaseException:  # a run that was cancelled or interrupted holds nothing
            held.end()
            raise

    @asynccontextmanager
    async def abegun(self, session: Session, before: RunProgress | None) -> AsyncIterator[Session]:
        """Like ``begun``."""
        if self._settings is None:
            yield session
            return
        held = HeldSession(session, self._settings)
        await atalk(self._begun(held, before))
        try:
            yield held
        except BaseException:  # as in ``begun``
            await self._aend(held)
            raise

    def _begun(self, held: HeldSession, before: RunProgress | None) -> Talk[None]:
        """Take hold. An earlier run of the same thread that does nothing now is over: perhaps it
        waited for somebody's approval, and was not given it."""
        if before is not None and (left := self._left_alone(before)) is not None:
            yield from call(left.end)
        yield from call(held.hold)

    def keep(self, session: Session, progress: RunProgress) -> None:
        """Remember that a run holds its conversation."""
        if isinstance(session, HeldSession):
            turn = _Turn(session)
            turn.held = True
            self._turns.put(progress["run"], turn)

    # -- each hook ---------------------------------------------------------------------------

    @contextmanager
    def kept(
        self, progress: RunProgress | None, *, last: bool = False, several: bool = False
    ) -> Iterator[Session | None]:
        """Hold a run's conversation while one of its hooks is at work, and further if it does not
        fail. The last hook ends the turn, and takes no hold again that was lost meanwhile. Of
        several of one step one may begin when another has failed, and the run with it: it holds
        for as long as it is at work."""
        if self._settings is None or progress is None:
            yield None if progress is None else self._plain(progress)
            return
        turn = self._entered(progress, self._settings, several)
        done = False
        try:
            talk(_held(turn, last))
            with turn.session.renewing():
                yield turn.session
            talk(_heard(turn, last))
            done = True
        finally:
            if self._is_over(turn, last or not done, progress):
                turn.session.end()
                self._forget(progress, last)

    @asynccontextmanager
    async def akept(
        self, progress: RunProgress | None, *, last: bool = False, several: bool = False
    ) -> AsyncIterator[Session | None]:
        """Like ``kept``."""
        if self._settings is None or progress is None:
            yield None if progress is None else self._plain(progress)
            return
        turn = self._entered(progress, self._settings, several)
        done = False
        try:
            await atalk(_held(turn, last))
            async with turn.session.arenewing():
                yield turn.session
            await atalk(_heard(turn, last))
            done = True
        finally:
            if self._is_over(turn, last or not done, progress):
                await self._aend(turn.session)
                self._forget(progress, last)

    # -- which runs hold what ----------------------------------------------------------------

    def _plain(self, progress: RunProgress) -> Session:
        return self._store.session(**progress["session"])

    def _entered(self, progress: RunProgress, settings: TurnSettings, several: bool) -> _Turn:
        """Find a run's turn, or make one: the run began elsewhere, or its turn was ended."""
        made = _Turn(HeldSession(self._plain(progress), settings))

        def enter(there: _Turn | None, weight: int) -> tuple[_Turn, int]:
            if (turn := there) is None or turn.is_over:
                made.ends, turn = several and turn is not None, made
            turn.at_work += 1
            return turn, 1

        return self._turns.update(progress["run"], enter)

    def _is_over(self, turn: _Turn, ends: bool, progress: RunProgress) -> bool:
        """Note that a hook is done; whether the turn ends with it. While other tools of the same
        step are at work it does not: what they did they did, and it is to be stored."""

        def leave(there: _Turn | None, weight: int) -> tuple[_Turn, int]:
            turn.at_work -= 1
            turn.ends = turn.ends or ends
            turn.is_over = turn.ends and not turn.at_work
            return there or turn, 1

        self._turns.update(progress["run"], leave)
        return turn.is_over

    def _left_alone(self, progress: RunProgress) -> HeldSession | None:
        """Find what a run holds here of which no hook is at work, and have it hold it no longer."""
        if (turn := self._turns.get(progress["run"])) is None:
            return None
        found: list[HeldSession] = []

        def leave(there: _Turn | None, weight: int) -> tuple[_Turn, int]:
            if there is turn and turn.held and not turn.at_work and not turn.is_over:
                turn.is_over = True
                found.append(turn.session)
            return there or turn, 1

        self._turns.update(progress["run"], leave)
        return found[0] if found else None

    def _forget(self, progress: RunProgress, last: bool) -> None:
        """Forget a run that has ended. After a failure another of its hooks may have begun."""
        if last:
            self._turns.drop(progress["run"])

    async def _aend(self, held: HeldSession) -> None:
        """End a turn also where its task is cancelled again and again, as by a server whose client
        has gone."""
        ending = asyncio.create_task(held.aend())
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)
        await asyncio.shield(ending)


def _held(turn: _Turn, last: bool) -> Talk[None]:
    """Hold what a hook is to work on. What was silent for so long that others had their turns goes
    on after them: it waited for an approval, say. In the middle of a step, or where only its answer
    is to be stored, that would tear what others say: then it is refused."""
    session = turn.session
    if not turn.held:
        yield from call(session.hold)
        turn.held = True
    elif session.is_late():
        yield from call(session.sign if last or turn.at_work > 1 else session.hold)


def _heard(turn: _Turn, last: bool) -> Talk[None]:
    """Give a sign of life after a hook, so that what follows it has most of a lease."""
    if not last:
        yield from signed_if_late(turn.session)
