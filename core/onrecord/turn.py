"""Turns: one holder of a session at a time, over all processes, and fenced in the database.

    with session.turn() as turn:
        turn.append(("user", "Where is my order?"))
        turn.append(("assistant", answer_to(session.window(tokens=1000))))

Whoever else asks for a turn meanwhile waits, or is told who holds it. The lease renews itself while
the block runs. A holder that dies, or whose loop or machine stands still, says nothing more, its
lease lapses, and should it wake up after another took over, it is refused: nothing is written.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import secrets
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from onrecord import operations
from onrecord.accepting import Appendable
from onrecord.arguments import check_range
from onrecord.errors import Fenced, OnrecordError, StoreClosed, TurnTaken
from onrecord.flow import Flow, Step
from onrecord.item import ItemChange
from onrecord.message import Message
from onrecord.operations import TurnLease, TurnOf
from onrecord.scope import SessionName
from onrecord.stored.clock import moment_or_none
from onrecord.version import Expected

if TYPE_CHECKING:
    from onrecord.flows.shared import Desk
    from onrecord.session import Session

log = logging.getLogger("onrecord")

LEASE: Final = 60.0
"""Seconds for which a holder holds on without a sign of life. It gives one in every third of it."""
SHORTEST: Final = 0.01
"""Of a lease: who renews more often than that does nothing else."""
LONGEST: Final = 365 * 86_400

Run = Callable[[Flow[Any]], Any]
Arun = Callable[[Flow[Any]], Coroutine[Any, Any, Any]]


class Turn:
    """A turn that holds its session: what it writes, by ``append`` or by its ``session``, is
    refused when it holds it no longer."""

    __slots__ = ("_holder", "session")

    def __init__(self, session: Session, holder: Holder) -> None:
        self.session = session
        self._holder = holder
        fence(session, holder)

    def append(
        self,
        messages: Appendable,
        *,
        expected: Expected = None,
        items: Sequence[ItemChange] = (),
    ) -> list[Message]:
        """Append as ``Session.append`` does, if the turn holds the session still; else ``Fenced``
        is raised, and nothing is written."""
        return self.session.append(messages, expected=expected, items=items)

    async def aappend(
        self,
        messages: Appendable,
        *,
        expected: Expected = None,
        items: Sequence[ItemChange] = (),
    ) -> list[Message]:
        """Like ``append``."""
        return await self.session.aappend(messages, expected=expected, items=items)

    def renew(self) -> bool:
        """Hold on for another lease; whether the session was still held. A ``with`` block does so
        by itself."""
        return bool(self.session.store._run(self._holder.renew()))

    async def arenew(self) -> bool:
        """Like ``renew``."""
        return bool(await self.session.store._arun(self._holder.renew()))

    def end(self) -> None:
        """Let others take hold. The end of a ``with`` block does so by itself."""
        if self._holder.is_here():
            self.session.store._run(operations.let_go(self._holder.lease))

    async def aend(self) -> None:
        """Like ``end``."""
        if self._holder.is_here():
            await self.session.store._arun(operations.let_go(self._holder.lease))

    def __repr__(self) -> str:
        return f"Turn({self.session.name})"


def fence(session: Session, holder: Holder) -> None:
    """Have what is written by this handle refused when its holder holds the session no longer."""
    run, arun = session.store._run, session.store._arun
    session._holder = holder
    session._run = partial(run, alter=holder.fenced)
    session._arun = partial(arun, alter=holder.fenced)


class Holder:
    """One holder of one session or thread."""

    def __init__(self, table: TurnOf, name: SessionName, *, wait: float, lease: float) -> None:
        check_range("wait", wait, "a number of seconds", 0.0, LONGEST)
        check_range("lease", lease, "a number of seconds", SHORTEST, LONGEST)
        self._wait = wait
        self._process = os.getpid()
        who = f"process {self._process} on {socket.gethostname()}"
        self.lease = TurnLease(table, name, secrets.token_bytes(16) + who.encode(), lease)
        self._signed = time.monotonic()

    def take(self, run: Run) -> None:
        """Take hold as soon as nobody else holds it; TurnTaken when that takes too long."""
        pauses = self._pauses()
        while (other := self._held_or(run)) is not None:
            time.sleep(pauses(other))
        self._signed = time.monotonic()

    def _held_or(self, run: Run) -> Any:
        """Take hold, or say who holds it."""
        try:
            return run(operations.hold(self.lease))
        except OnrecordError:
            raise
        except BaseException:  # an interrupt: it may be held for all that, and by nobody
            self.let_go(run)
            raise

    async def atake(self, arun: Arun) -> None:
        """Like ``take``."""
        pauses = self._pauses()
        while (other := await self._aheld_or(arun)) is not None:  # noqa: ASYNC110
            await asyncio.sleep(pauses(other))  # for other processes: no event of here tells
        self._signed = time.monotonic()

    async def _aheld_or(self, arun: Arun) -> Any:
        """Like ``_held_or``."""
        try:
            return await _to_its_end(arun(operations.hold(self.lease)))
        except asyncio.CancelledError:
            await self.alet_go(arun)
            raise

    @contextmanager
    def held(self, run: Run) -> Iterator[None]:
        """Hold it while the block runs, and renew the lease meanwhile."""
        self.take(run)
        try:
            with self.renewing(run):
                yield
        finally:
            self.let_go(run)

    @asynccontextmanager
    async def aheld(self, arun: Arun) -> AsyncIterator[None]:
        """Like ``held``."""
        await self.atake(arun)
        try:
            async with self.arenewing(arun):
                yield
        finally:
            await self.alet_go(arun)

    def let_go(self, run: Run) -> None:
        """Let others take hold. Where that fails the lease runs out: what was said stands."""
        if self.is_here():
            try:
                run(operations.let_go(self.lease))
            except OnrecordError as fault:
                self._lapses(fault)

    async def alet_go(self, arun: Arun) -> None:
        """Like ``let_go``."""
        if self.is_here():
            try:
                await _to_its_end(arun(operations.let_go(self.lease)))
            except OnrecordError as fault:
                self._lapses(fault)

    @contextmanager
    def renewing(self, run: Run) -> Iterator[None]:
        """Renew the lease while the block runs."""
        done = threading.Event()
        holder = threading.current_thread()

        def renew() -> None:
            while not done.wait(self.lease.seconds / 3) and holder.is_alive():
                try:
                    held = run(self.renew())
                except OnrecordError as fault:
                    held = self._is_worth_another(fault)
                if not held:
                    return

        try:
            threading.Thread(target=renew, name="onrecord-turn", daemon=True).start()
            yield
        finally:
            done.set()

    @asynccontextmanager
    async def arenewing(self, arun: Arun) -> AsyncIterator[None]:
        """Like ``renewing``."""

        async def renew() -> None:
            held = True
            while held:
                await asyncio.sleep(self.lease.seconds / 3)
                try:
                    held = await arun(self.renew())
                except OnrecordError as fault:
                    held = self._is_worth_another(fault)

        renewing = asyncio.create_task(renew())
        try:
            yield
        finally:
            renewing.cancel()
            await asyncio.wait({renewing})

    @contextmanager
    def around_thread(self, desk: Desk, run: Run) -> Iterator[None]:
        """Hold a thread while the block runs; what is written to it there is fenced."""
        with self.held(run), operations.under(desk, self.lease):
            yield

    @asynccontextmanager
    async def aaround_thread(self, desk: Desk, arun: Arun) -> AsyncIterator[None]:
        """Like ``around_thread``."""
        async with self.aheld(arun):
            with operations.under(desk, self.lease):
                yield

    def renew(self) -> Flow[bool]:
        """Hold on for another lease; whether it was still held."""

        def renew(lease: TurnLease) -> Flow[bool]:  # who watches sees this name and this lease
            asked = time.monotonic()
            held = yield from operations.renew(lease)
            if held:
                self._signed = asked
            else:
                log.warning("the turn on %s outlived its lease: it is held no longer", lease.name)
            return held

        return renew(self.lease)

    def fenced(self, step: Step) -> Step:
        """A step that is refused, where it writes, when this holds its session no longer."""
        return operations.while_held(self.lease, step, self.refuse_elsewhere)

    def here(self) -> bytes:
        """The name by which a row knows it; Fenced in the child of a fork."""
        self.refuse_elsewhere()
        return self.lease.holder

    def silent_for(self) -> float:
        """Seconds since the last sign of life, by the clock of this process."""
        return time.monotonic() - self._signed

    def is_here(self) -> bool:
        """Whether this is not the child of a fork: its parent is the holder."""
        return os.getpid() == self._process

    def refuse_elsewhere(self) -> None:
        """Raise in the child of a fork."""
        if not self.is_here():
            raise Fenced(
                f"The turn on {self.lease.name} is held by the process that this one was forked "
                f"from. Nothing was written. Begin a turn of its own in the child."
            )

    def _is_worth_another(self, fault: OnrecordError) -> bool:
        """Whether to go on renewing after a failure."""
        log.warning("the turn on %s could not be renewed: %s", self.lease.name, fault)
        return not isinstance(fault, StoreClosed)

    def _lapses(self, fault: OnrecordError) -> None:
        """Say that others wait longer than they need: what was said in the turn stands."""
        log.warning(
            "the turn on %s could not be ended, and is free when its lease is over: %s",
            self.lease.name,
            fault,
        )

    def _pauses(self) -> Callable[[Any], float]:
        """Gives how long to wait for somebody else; TurnTaken when it was long enough."""
        deadline = time.monotonic() + self._wait
        seconds = 0.005

        def pause(other: Any) -> float:
            nonlocal seconds
            left = deadline - time.monotonic()
            if left <= 0:
                until = moment_or_none(other.until)
                when = "" if until is None else f", until {until:%Y-%m-%d %H:%M:%S} UTC"
                raise TurnTaken(
                    f"{self.lease.what} is held by another turn: by {other.who}{when}, and longer "
                    f"if it goes on; a holder that has died holds it no longer than that. "
                    f"{self._wait:g} s were waited. Wait longer, or look for a turn that does not "
                    f"end.",
                    other.who,
                    until,
                )
            wait = seconds * random.uniform(0.5, 1.0)
            seconds = min(0.25, seconds * 1.6)
            return min(wait, left)

        return pause


async def _to_its_end(step: Coroutine[Any, Any, Any]) -> Any:
    """What a step answers; who is cancelled meanwhile is so when it is known how it ended. A
    transaction that nobody waits for ends as well, and holds what nobody knows of."""
    task = asyncio.ensure_future(step)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # it was seen
        raise
