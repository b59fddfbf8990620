"""Turns that wait for each other: who holds a thread says so for a short time, again and again.

A holder that dies, or whose loop or machine stands still, says nothing more, and its lease lapses.
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
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

from onrecord.arguments import check_range
from onrecord.errors import Conflict, OnrecordError, StoreClosed
from onrecord.flow import Flow
from onrecord.flows.checkpoints.threads import hold_thread, let_go_of_thread, renew_hold
from onrecord.flows.shared import Desk
from onrecord.ledger.checkpoints.threads import Held
from onrecord.scope import SessionName
from onrecord.stored.clock import moment

log = logging.getLogger("onrecord")

LEASE: Final = 60.0
"""Seconds for which a holder holds on without a sign of life. It gives one in every third of it."""
SHORTEST: Final = 0.01
"""Of a lease: who renews more often than that does nothing else."""
LONGEST: Final = 365 * 86_400

Run = Callable[[Flow[Any]], Any]
Arun = Callable[[Flow[Any]], Coroutine[Any, Any, Any]]


class Turn:
    """One holder of one thread."""

    def __init__(self, desk: Desk, name: SessionName, patience: float, lease: float) -> None:
        for setting, seconds, least in (("patience", patience, 0.0), ("lease", lease, SHORTEST)):
            check_range(setting, seconds, "a number of seconds", least, LONGEST)
        self._desk, self._name = desk, name
        self._patience, self._lease = patience, lease
        self._process = os.getpid()
        self._who = f"process {self._process} on {socket.gethostname()}"
        self._holder = secrets.token_bytes(16) + self._who.encode()

    @contextmanager
    def held(self, run: Run) -> Iterator[None]:
        """Hold the thread as soon as nobody else does."""
        pauses = self._pauses()
        while (other := run(self._hold())) is not None:
            time.sleep(pauses(other))
        done = threading.Event()
        holder = threading.current_thread()

        def renew() -> None:
            while not done.wait(self._lease / 3) and holder.is_alive():
                try:
                    held = run(self._renew())
                except OnrecordError as fault:
                    held = self._is_worth_another(fault)
                if not held:
                    return

        try:
            threading.Thread(target=renew, name="onrecord-turn", daemon=True).start()
            yield
        finally:
            done.set()
            if self._is_here():
                run(let_go_of_thread(self._desk, self._name, self._holder))

    @asynccontextmanager
    async def aheld(self, arun: Arun) -> AsyncIterator[None]:
        """Like ``held``."""
        pauses = self._pauses()
        while (other := await arun(self._hold())) is not None:  # noqa: ASYNC110 - of other processes
            await asyncio.sleep(pauses(other))

        async def renew() -> None:
            held = True
            while held:
                await asyncio.sleep(self._lease / 3)
                try:
                    held = await arun(self._renew())
                except OnrecordError as fault:
                    held = self._is_worth_another(fault)

        renewing = asyncio.create_task(renew())
        try:
            yield
        finally:
            renewing.cancel()
            if self._is_here():
                await arun(let_go_of_thread(self._desk, self._name, self._holder))
            await asyncio.wait({renewing})

    def _hold(self) -> Flow[Held | None]:
        return hold_thread(self._desk, self._name, self._holder, self._lease)

    def _renew(self) -> Flow[bool]:
        held = yield from renew_hold(self._desk, self._name, self._holder, self._lease)
        if not held:
            log.warning("the turn on %s outlived its lease: it holds it no longer", self._name)
        return held

    def _is_worth_another(self, fault: OnrecordError) -> bool:
        """Whether to go on renewing after a failure."""
        log.warning("the turn on %s could not be renewed: %s", self._name, fault)
        return not isinstance(fault, StoreClosed)

    def _is_here(self) -> bool:
        """Whether this is not the child of a fork: the thread is held by its parent."""
        return os.getpid() == self._process

    def _pauses(self) -> Callable[[Held], float]:
        """Gives how long to wait for somebody else; Conflict when the patience is over."""
        deadline = time.monotonic() + self._patience
        seconds = 0.005

        def pause(other: Held) -> float:
            nonlocal seconds
            left = deadline - time.monotonic()
            if left <= 0:
                until = moment(other.until).strftime("%Y-%m-%d %H:%M:%S")
                raise Conflict(
                    f"Thread {self._name} is held by another turn: by {other.who}, until {until} "
                    f"UTC, and longer if it goes on. {self._patience:g} s were waited. Wait longer "
                    f"with patience=, or look for a turn that does not end."
                )
            wait = seconds * random.uniform(0.5, 1.0)
            seconds = min(0.25, seconds * 1.6)
            return min(wait, left)

        return pause
