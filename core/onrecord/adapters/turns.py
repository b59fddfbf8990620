"""Hold a session while an agent answers, for adapters that are called hook by hook.

A ``with session.turn():`` is one block. A framework calls an adapter here and there in a run, and
says nothing where it gives up between two calls: so a lease that nobody renews any more runs out.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Final

from onrecord.adapters.calls import Talk, call
from onrecord.arguments import check_range
from onrecord.errors import Fenced, Misconfigured, TurnTaken, shown
from onrecord.flow import Flow
from onrecord.operations import TurnLease
from onrecord.session import Session
from onrecord.turn import LEASE, LONGEST, SHORTEST, Holder, fence

__all__ = ["HeldSession", "TurnSettings", "signed_if_late", "turn_settings"]

_LATE: Final = 0.1
"""Of a lease: after that long a hook gives another sign of life. One costs a commit."""


@dataclass(frozen=True)
class TurnSettings:
    """How an agent holds its conversation while it answers.

    lease   seconds without a sign of life after which another agent may take over
    wait    seconds for which who comes second waits at the most; TurnTaken is raised then. Longer
            than the lease by default: what a dead process holds costs others a wait, and no error
    """

    lease: float = LEASE
    wait: float = 1.5 * LEASE

    def __post_init__(self) -> None:
        check_range("lease", self.lease, "a number of seconds", SHORTEST, LONGEST)
        check_range("wait", self.wait, "a number of seconds", 0.0, LONGEST)


def turn_settings(given: object) -> TurnSettings | None:
    """Make the settings of what is given as ``turn=``, checked before any I/O."""
    if given is None or given is False:
        return None
    settings = TurnSettings() if given is True else given
    if not isinstance(settings, TurnSettings):
        raise Misconfigured(f"turn has to be True, False or a TurnSettings, not {shown(given)}.")
    return settings


class HeldSession(Session):
    """A session that is held by a turn: whatever would be written is refused by Fenced when another
    has taken over, and nothing is written then. All else is as in a ``Session``."""

    __slots__ = ()
    _holder: Holder

    def __init__(self, session: Session, settings: TurnSettings) -> None:
        super().__init__(session.store, session.name)
        wait, lease = settings.wait, settings.lease
        fence(self, Holder("sessions", session.name, wait=wait, lease=lease))

    # -- the turn ----------------------------------------------------------------------------

    def hold(self) -> None:
        """Take hold, as soon as nobody else holds it. Held already, it is held for longer."""
        with _in_words():
            self._holder.take(self.store._run)

    async def ahold(self) -> None:
        """Like ``hold``."""
        with _in_words():
            await self._holder.atake(self.store._arun)

    def sign(self) -> None:
        """Give a sign of life; Fenced where another took over."""
        self.store._run(self._signed())

    async def asign(self) -> None:
        """Like ``sign``."""
        await self.store._arun(self._signed())

    def end(self) -> None:
        """Let others take hold. Where that fails the lease runs out: no answer is lost for it."""
        self._holder.let_go(self.store._run)

    async def aend(self) -> None:
        """Like ``end``."""
        await self._holder.alet_go(self.store._arun)

    def renewing(self) -> AbstractContextManager[None]:
        """Give signs of life while the block runs."""
        return self._holder.renewing(self.store._run)

    def arenewing(self) -> AbstractAsyncContextManager[None]:
        """Like ``renewing``."""
        return self._holder.arenewing(self.store._arun)

    def is_here(self) -> bool:
        """Whether this is not the child of a fork: its parent is the holder."""
        return self._holder.is_here()

    def is_late(self) -> bool:
        """Whether it is time for a sign of life."""
        return self._holder.silent_for() > _LATE * self._holder.lease.seconds

    def _signed(self) -> Flow[None]:
        def renew(lease: TurnLease) -> Flow[None]:  # who watches sees this name and this lease
            self._holder.refuse_elsewhere()
            if not (yield from self._holder.renew()):
                raise Fenced(
                    f"{lease.what} is held by this turn no longer: nothing was heard of it for "
                    f"longer than its lease, and another took over. Nothing was written. Ask "
                    f"again, and give it a longer one: turn=TurnSettings(lease=…)."
                )

        return renew(self._holder.lease)


def signed_if_late(held: HeldSession) -> Talk[None]:
    """Give a sign of life where the last one was a while ago."""
    if held.is_late():
        yield from call(held.sign)


@contextmanager
def _in_words() -> Iterator[None]:
    """Say to whom an agent's answer was refused what to do."""
    try:
        yield
    except TurnTaken as fault:
        raise TurnTaken(
            f"{fault} Another agent is answering in this conversation: ask again when it has, or "
            f"wait longer, by turn=TurnSettings(wait=…). An agent that another one calls within "
            f"its own turn needs an agent= of its own.",
            fault.who,
            fault.until,
        ) from fault
