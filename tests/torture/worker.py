"""What a worker does: it writes or reads until it is told to end, and writes down what it saw."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from hashlib import sha1
from pathlib import Path
from random import Random
from typing import Any, Final, TypeVar
from unittest import mock

import msgspec

from onrecord import Conflict, Fenced, Message, Session, Store, Turn, TurnTaken, Unavailable
from onrecord.cache.cache import Marked
from onrecord.cache.round_trips import Request
from onrecord.cache.scripts import Script, script
from onrecord.testing import Log
from onrecord.turn import Holder
from tests.torture.item_log import ItemLog, Name
from tests.torture.items import SAID, ItemUser, changes_of
from tests.torture.settings import (
    CLOCK,
    IMPATIENT,
    LEASE,
    REVALIDATE,
    SHARED,
    TIMEOUT,
    TURNED,
    Plant,
)

T = TypeVar("T")


class Worker:
    """What one process does until its standard input ends."""

    def __init__(self, order: dict[str, Any]) -> None:
        self.name: str = order["name"]
        self.folder = Path(order["folder"])
        self.random = Random(order["seed"])
        self.store = Store(
            order["url"],
            cache=order["cache"],
            consistency=order["consistency"],
            revalidate=REVALIDATE,
            timeout=order.get("timeout", TIMEOUT),
            pool_size=2,
            compare=0.1,
        )
        self.failed = 0
        self._logs: dict[str, Log] = {}
        self._items = ItemUser(self, ItemLog(self.folder / "items" / f"{self.name}.jsonl"))
        self._numbers = itertools.count()
        self._own = self.name
        self._head = 0
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
        self._notes = os.open(self.folder / f"{self.name}.notes", flags, 0o600)
        self._stop_at: tuple[str, float] | None = None
        self._kinds = ("look",) if order["role"] == "read" else ("mark", "publish", "look")
        self._suspension: bytes | None = None
        logging.getLogger("onrecord").addFilter(self._note_what_disagrees)
        self._stop_between_steps(mute=order["plant"] == "mute")

    def run(self, role: str) -> None:
        step = {"write": self.write, "rewrite": self.rewrite, "read": self.read}[role]
        with asyncio.Runner() as self.runner:
            for number in itertools.count(1):
                if role != "read" and self.random.random() < 0.35:
                    self._items.change()
                elif role == "write" and self.random.random() < 0.15:
                    self.take_turn()
                else:
                    step()
                if number % 20 == 0:
                    self.note(counters=msgspec.to_builtins(self.store._hot.counters))
                    self.note(items={"gets": self._items.gets, "hits": self._items.hits})
                off = self.store._belief.off
                if off is not None and off.state != self._suspension:
                    self._suspension = off.state
                    self.note(suspension=str(self._suspension))
                thinking = self.random.random() * (0.02 if role == "read" else 0.05)
                if select.select([sys.stdin], [], [], thinking)[0]:
                    break
            counters = self.store.health().counters
            self.note(counters=msgspec.to_builtins(counters), failed=self.failed)
            self.note(items={"gets": self._items.gets, "hits": self._items.hits})
            self.runner.run(self.store.aclose())

    def write(self) -> None:
        self.append(self.random.choice(SHARED), with_items=self.random.random() < 0.25)

    def rewrite(self) -> None:
        """Append to a session of one's own, and now and then take something away again."""
        log = self.log(self._own)
        if self.random.random() < 0.85:
            self.append(self._own)
            return
        head = self.random.choice((0, self.random.randint(0, self._head)))
        session = self.store.session(self._own)
        under_way = log.rewinding(head)
        try:
            version = self.call(lambda: session.rewind(head), lambda: session.arewind(head))
        except (Unavailable, Conflict):  # refused where the database fell back to before the head
            # It may still happen at any time, so nothing can be said of that session any more.
            self.failed += 1
            self._own = f"{self.name}-{next(self._numbers)}"
            self._head = 0
        else:
            under_way.done(version)
            self._head = version.head

    def take_turn(self) -> None:
        """Say several things in a row, in a turn: nobody else's may stand between them."""
        session, log, named = self.store.session(TURNED), self.log(TURNED), self.new_id()
        try:
            with self._turn_of(session) as turn:
                for i in range(self.random.randint(2, 4)):
                    text = f"{named}.{i}"
                    under_way = log.appending([text])
                    said = ("user", text)
                    try:
                        stored = self.call(partial(turn.append, said), partial(turn.aappend, said))
                    except Fenced:
                        under_way.refused()
                        raise
                    except Unavailable as fault:
                        if not fault.outcome_unknown:
                            under_way.refused()
                        raise
                    under_way.acknowledged([message.seq for message in stored])
                    time.sleep(self.random.choice((0, 0.01, 1.5 * LEASE)))
            self.note(turn="ended")
        except Fenced:
            self.note(turn="fenced")
        except TurnTaken:
            self.note(turn="taken")
        except Unavailable:
            self.failed += 1

    @contextmanager
    def _turn_of(self, session: Session) -> Iterator[Turn]:
        """A turn, or one that nobody renews, as if this process stood still now and then."""
        if self.random.random() < 0.5:
            with session.turn(lease=LEASE, wait=2 * LEASE) as turn:
                yield turn
            return
        holder = Holder("sessions", session.name, wait=2 * LEASE, lease=LEASE)
        holder.take(session._run)
        turn = Turn(session, holder)
        yield turn
        turn.end()

    def append(self, key: str, *, with_items: bool = False) -> None:
        named = self.new_id()
        texts = [f"{named}.{i}" for i in range(self.random.randint(1, 4))]
        with_ids = self.random.random() < 0.5
        messages = [
            {"role": "user", "content": text, **({"id": text} if with_ids else {})}
            for text in texts
        ]
        session = self.store.session(key)
        parts = self._items.changes_of(texts[0]) if with_items else []
        changes = changes_of(parts)
        of_items = self._items.appending(parts, texts[0]) if with_items else None
        outcome_known = True
        for _ in range(3 if with_ids else 1):
            under_way = self.log(key).appending(texts)
            try:
                stored = self.call(
                    lambda: session.append(messages, items=changes),
                    lambda: session.aappend(messages, items=changes),
                )
            except Unavailable as fault:
                self.failed += 1
                if not fault.outcome_unknown:
                    under_way.refused()
                outcome_known = outcome_known and not fault.outcome_unknown
            else:
                under_way.acknowledged([message.seq for message in stored])
                if of_items is not None:
                    of_items.acknowledged(None for _ in parts)
                assert [message.text for message in stored] == texts
                self._head = stored[-1].seq or 0
                return
        if of_items is not None and outcome_known:
            of_items.refused()
        elif of_items is not None:
            of_items.unknown()

    def read(self) -> None:
        if self.random.random() < 0.4:
            self._items.read()
            return
        keys = sorted(path.name for path in (self.folder / "logs").iterdir())
        key = bytes.fromhex(self.random.choice(keys)).decode()
        session, log = self.store.session(key), self.log(key)
        n = self.random.choice((1, 5, 20, 50))
        how = self.random.random()
        began = time.monotonic_ns()
        try:
            if how < 0.07:  # the whole of it, which only SQL has
                log.read(began, pairs(self.call(session.messages, session.amessages)))
            elif how < 0.2:
                # Every message is a user's and opens a turn, so a window is a tail.
                window = self.call(
                    lambda: session.window(messages=n), lambda: session.awindow(messages=n)
                )
                log.read(began, pairs(window), tail=n, version=window.version)
            else:
                tail = self.call(lambda: session.tail(n), lambda: session.atail(n))
                log.read(began, pairs(tail), tail=n)
                if tail and key in SHARED and self.random.random() < 0.1:
                    self._items.get(Name(SAID, self.random.choice(tail).text))
        except Unavailable:
            self.failed += 1

    def call(self, sync: Callable[[], T], twin: Callable[[], Coroutine[Any, Any, T]]) -> T:
        how = self.random.random()
        if how < 0.003:
            return self.runner.run(self._with_a_stall(twin))
        return self.runner.run(twin()) if how < 0.3 else sync()

    async def _with_a_stall(self, twin: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The call, while another task keeps the loop to itself."""
        called = asyncio.ensure_future(twin())
        await asyncio.sleep(self.random.random() * 0.005)
        seconds = self.random.uniform(0.2, 2)
        self.note(stalled=seconds)
        time.sleep(seconds)  # noqa: ASYNC251 - so that nothing else runs
        return await called

    def new_id(self) -> str:
        """What tells a write from every other one of the run."""
        return f"{self.name}.{next(self._numbers)}"

    def log(self, key: str) -> Log:
        if key not in self._logs:
            folder = self.folder / "logs" / key.encode().hex()
            folder.mkdir(parents=True, exist_ok=True)
            self._logs[key] = Log(folder / f"{self.name}.jsonl", self.name)
        return self._logs[key]

    def note(self, **what: Any) -> None:
        """With the operating system when this returns, whoever is killed then."""
        os.write(self._notes, json.dumps(what).encode() + b"\n")

    def stop_soon(self, *_: object) -> None:
        """Stop the process, as SIGSTOP does, at the next step of a kind."""
        self._stop_at = self.random.choice(self._kinds), time.monotonic() + 1

    def _stop_between_steps(self, mute: bool) -> None:
        """Where a commit or a read is cut in two: after a mark or a look, before a publish."""
        cache: Any = self.store._hot
        exchange, aexchange = cache.exchange, cache.aexchange

        def stopping(answer: object) -> Any:
            if mute and isinstance(answer, Request) and answer.script.name in ("mark", "publish"):
                return Marked(None, b"-", None)
            self._stop_if(answer, "publish")
            said = exchange(answer)
            self._stop_if(answer, "mark", "look")
            return said

        async def astopping(answer: object) -> Any:
            if mute and isinstance(answer, Request) and answer.script.name in ("mark", "publish"):
                return Marked(None, b"-", None)
            self._stop_if(answer, "publish")
            said = await aexchange(answer)
            self._stop_if(answer, "mark", "look")
            return said

        cache.exchange, cache.aexchange = stopping, astopping

    def _stop_if(self, answer: object, *kinds: str) -> None:
        if self._stop_at is None or not isinstance(answer, Request):
            return
        kind, until = self._stop_at
        if time.monotonic() > until:
            self._stop_at = None
        elif ("look" if answer.script.looks else answer.script.name) == kind and kind in kinds:
            self._stop_at = None
            self.note(stopped=kind)
            os.kill(os.getpid(), signal.SIGSTOP)
            if kind == "mark" and self.random.random() < 0.7:  # and once more, after its commit
                self._stop_at = "publish", time.monotonic() + 1

    def _note_what_disagrees(self, record: logging.LogRecord) -> bool:
        if "disagreed" in record.msg:
            self.note(disagreed=time.monotonic_ns())
        return True


def pairs(messages: Sequence[Message]) -> list[tuple[int | None, str]]:
    """What the checker wants to know of messages."""
    return [(message.seq, message.text) for message in messages]


def wait_for_order() -> dict[str, Any] | None:
    """Say that this process is ready, and what it is told to do; None if it is to end."""
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    # Unbuffered, so that its end can be waited for.
    with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as orders:
        line = orders.readline()
    return json.loads(line) if line else None


def work() -> None:
    """Wait for an order, and follow it."""
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    order = wait_for_order()
    if order is None:
        return
    with ExitStack() as stack:
        stack.enter_context(mock.patch("onrecord.flows.belief.Patience", return_value=IMPATIENT))
        stack.enter_context(mock.patch("onrecord.cache.redis.script", _Scripts(order["plant"]).get))
        stack.enter_context(mock.patch("time.time_ns", _stepping(Random(order["seed"]))))
        worker = Worker(order)
        signal.signal(signal.SIGUSR1, worker.stop_soon)
        worker.run(order["role"])


class _Scripts:
    """Our scripts, to which the nemesis can tell another time than Redis' own."""

    def __init__(self, plant: Plant | None) -> None:
        self._known: dict[str, Script] = {}
        self._changes = {_ASKS: _ASKS + _STEP}
        if plant == "further":
            self._changes |= {_EXACTLY: "entry.head >= head then"}

    def get(self, name: str) -> Script:
        """One of them."""
        if name not in self._known:
            text = script(name).text
            for old, new in self._changes.items():
                assert old in text or (old == _EXACTLY and name != "publish")
                text = text.replace(old, new)
            self._known[name] = replace(
                script(name), text=text, sha=sha1(text.encode()).hexdigest()
            )
        return self._known[name]


_ASKS: Final = "local time = redis.call('TIME')\n"
_STEP: Final = f"time[1] = time[1] + (redis.call('GET', '{CLOCK}') or 0)\n"
_EXACTLY: Final = "entry.head == head and entry.lineage == lineage then"


def _stepping(random: Random) -> Callable[[], int]:
    """This process's idea of the time of day: it may be changed at any moment."""
    time_of_day, step = time.time_ns, 0

    def now() -> int:
        nonlocal step
        if random.random() < 0.01:
            step = random.choice((-86_400, -1, 0, 1, 86_400)) * 1_000_000_000
        return time_of_day() + step

    return now
