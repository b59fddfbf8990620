"""Both tiers in memory: the real flows, a Redis of plain Python, and a real SQLite.

``FakeRedis`` is the scripts of ``onrecord/cache/scripts``, one method a script and one comment a
rule, over a clock that only a test moves. ``Process`` is what one process of a store has: its
own cache and flows (what they remember, what they believe), driven step by step. Requests are
built and answers understood by the real code; only the server is not real, and
``test_hot_scripts.py`` holds it against one that is.

Each rule of docs/explanation/cache-protocol.md can be switched off by name, so that a test can
show that it is needed, and that the test would notice.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from copy import copy
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final, TypeVar

from onrecord import Store
from onrecord.cache import CacheUnavailable
from onrecord.cache.breaker import Breaker
from onrecord.cache.cache import Cache, Marked
from onrecord.cache.clients import Clients
from onrecord.cache.redis import Lease, RedisCache
from onrecord.cache.round_trips import Request, Several
from onrecord.cache.scripts import script
from onrecord.cache.tails import Tails
from onrecord.flow import Cold, Flow, Hot, Pause, Step, run
from onrecord.flows.belief import Belief
from onrecord.flows.known import Sessions
from onrecord.flows.shared import Desk
from onrecord.ledger.database import generation
from onrecord.scope import SessionName

R = TypeVar("R")

RULES: Final = {
    "mark: new nonce": "every mark ends every lease",
    "publish: drops": "data that cannot be extended are dropped",
    "publish: the whole under its lease": "nobody has marked since, who brings all of a session",
    "publish: a rewrite creates nothing": "not even an empty tail after a clear",
    "look: no hit under a mark": "nobody knows how that writer ended: SQL has to be asked",
    "look: settle by marks": "marks are filled over only once the fence was moved",
    "look: settle an absent key": "who marked before may still be committing",
    "fill: its own lease": "a fill whose lease has ended fills in nothing",
    "fill: not where nothing is": "an entry that is gone is not made by a fill",
    "one key": "marks and data are lost together or not at all",
    "run": "an entry written by another run of the server is thrown away",
}
"""The rules that have a counterexample while every writer reaches Redis."""

OF_SUSPENSIONS: Final = {
    "look: generation": "an entry of a generation that is over is no hit",
}
"""Those that need a writer who does not."""

OF_FALLS: Final = {
    "publish: exact": "found done only where the entry has exactly this write",
    "fill: replaces": "what SQL says takes the place of what is there, also by less",
    "look: joins by lineage": "what is newer is joined on only to the same past",
    "publish: under its mark": "data are extended only while the writer's mark stands",
}
"""Those that need a database that falls back."""

BOUNDS: Final = {
    "look: revalidate": "a hit was compared with SQL less than ``revalidate`` ago",
    "fill: as of its lease": "an entry is as old as its lease, not as its fill",
    "publish: as of its mark": "an extended entry is no younger than its mark",
    "publish: its own mark": "a mark that arrived again, late, is not the one it knows of",
}
"""The rules that bound for how long what SQL lost is shown."""

OF_ITEMS: Final = {
    "publish: the whole alone": "nobody else is writing, who brings all of an item",
    "publish: new nonce": "who brings nothing keeps those from it who marked before",
    "look: over": "an item that has expired is no hit",
}
"""Those that need something of which every write is all there is."""

SECOND_LINES: Final = {
    # What there is a gap behind has the mark of whoever left it, or is of another generation; and
    # where SQL has fallen back, a tail that goes on before its end is out of order: no reader
    # takes that for what was written.
    "publish: exactly before": "data are extended only where they end exactly before",
}
"""No counterexample is known without it: it stands behind others."""

EVERY_RULE: Final = {*RULES, *OF_SUSPENSIONS, *OF_FALLS, *BOUNDS, *OF_ITEMS, *SECOND_LINES}


def text(value: object) -> str:
    """An argument as the server sees it."""
    return value.decode() if isinstance(value, bytes) else str(value)


@dataclass(slots=True)
class Entry:
    """One key, decoded."""

    run: str
    nonce: str
    marks: dict[str, tuple[int, int, str]] = field(default_factory=dict)
    """By token: when it was set, from when on it may be settled, and the nonce given with it."""
    gen: str = "-"
    fence: str = "-"
    session: int = -1
    epoch: int = -1
    head: int = -1
    lineage: str = "-"
    checked: int = 0
    complete: bool = False
    ends: int = 0
    weight: int = 0
    asked: int = 0
    messages: list[bytes] = field(default_factory=list)
    """Newest first."""
    expires: int = 0

    def copy(self) -> Entry:
        return replace(self, marks=dict(self.marks), messages=list(self.messages))

    def forget(self) -> None:
        """The messages; the marks stay."""
        self.epoch = self.head = -1
        self.lineage = "-"
        self.complete = False
        self.ends = 0
        self.weight = 0
        self.messages.clear()

    def stay(self, now: int, ttl: int) -> None:
        """For the ttl; what expires, no longer than that."""
        left = max(1, min(ttl, self.ends - now)) if self.ends else ttl
        self.expires = now + left

    def push(self, messages: Sequence[bytes], most: int, most_bytes: int) -> None:
        """Messages on top, oldest first; what is too much goes at the other end."""
        for message in messages:
            self.messages.insert(0, message)
            self.weight += len(message)
        while self.messages and (len(self.messages) > most or self.weight > most_bytes):
            self.weight -= len(self.messages.pop())
            self.complete = False

    def shown(self, now: int) -> str:
        """For people who read a trace."""
        data = "no data" if self.epoch < 0 else f"({self.epoch},{self.head}) {self.lineage[:4]}"
        marks = " ".join(
            f"{token[:4]}{'' if due > now else ' due'}" for token, (_, due, _) in self.marks.items()
        )
        return (
            f"{data} gen {self.gen[:4]} fence {self.fence[:4]} nonce {self.nonce[:4]} "
            f"marks [{marks}]"
        )


class FakeRedis:
    """The keys of one server and the scripts that use them, each of them one atomic step."""

    def __init__(self, off: Collection[str] = (), most_marks: int = 8) -> None:
        unknown = set(off) - EVERY_RULE
        assert not unknown, unknown
        self.off = frozenset(off)
        self.most_marks = most_marks
        self.now = 1_000_000
        self.nonces = 0
        self.made = ""
        """What a nonce ends in, where a real server is to make the same."""
        self.run = "run00000"
        self.entries: dict[str, Entry] = {}

    def call(self, name: str, key: str, arguments: Sequence[Any]) -> Any:
        """One script, as a client calls it."""
        method: Callable[..., Any] = getattr(self, name)
        return method(key, *arguments)

    # -- the scripts -------------------------------------------------------------------------

    def mark(self, key: str, asked: str) -> bytes:
        token, *numbers = asked.split(" ")
        patience, ttl = map(int, numbers)
        entry = self._load(key)
        if entry is None:
            entry = self.entries[key] = Entry(self.run, "-")
        entry.marks.pop(token, None)
        if len(entry.marks) >= self.most_marks:
            # Too many to keep apart: one for all, and nobody can take it away.
            entry.forget()
            entry.marks = {"?": (self.now, self.now + patience, self.new_nonce("?"))}
        # Made here, because a request may arrive twice.
        nonce = self.new_nonce(token)
        if self._on("mark: new nonce"):
            entry.nonce = nonce
        entry.marks[token] = (self.now, self.now + patience, nonce)
        entry.stay(self.now, ttl)
        return f"1 {entry.fence} {nonce}".encode()

    def new_nonce(self, token: str) -> str:
        self.nonces += 1
        return f"{token}.{self.made or self.nonces}"

    def publish(self, key: str, said: str, *messages: bytes) -> int:
        token, given, *asked = said.split(" ")
        nonce = self.new_nonce(given)  # As of a mark: a request may arrive twice.
        lineage, lease, generation, fence, number = asked[7:]
        ttl, most, most_bytes, lives, epoch, first, head = map(int, asked[:7])
        session = int(number)
        entry = self._load(key)
        if entry is None:
            return 0  # Absent: nothing.
        since, _, marked_with = entry.marks.pop(token, (None, None, None))
        if marked_with != lease and self._on("publish: its own mark"):
            since = None  # Not one's own: one that arrived twice, and late.
        there = (entry.epoch, entry.head, entry.lineage)
        exactly = lineage != "-" and there == (epoch, head, lineage)
        if exactly or (not self._on("publish: exact") and there[:2] >= (epoch, head)):
            return 1  # A reader was quicker.
        whole = fence != "-" and since is not None
        whole = whole and not (entry.marks and self._on("publish: the whole alone"))
        if whole and (entry.nonce == lease or not self._on("publish: the whole under its lease")):
            assert since is not None
            entry.forget()
            entry.gen, entry.fence, entry.session = generation, fence, session
            entry.epoch, entry.head, entry.lineage = epoch, head, lineage
            entry.checked, entry.complete, entry.marks, entry.nonce = since, True, {}, nonce
            entry.ends = since + lives if lives else 0
            entry.push(messages, most, most_bytes)
            entry.stay(self.now, ttl)
            return 1
        marked = since is not None or not self._on("publish: under its mark")
        follows = entry.epoch == epoch and (
            entry.head == first - 1 or (entry.head >= 0 and not self._on("publish: exactly before"))
        )
        if marked and messages and follows:
            # Still protected and exactly before: extend. No later than when the mark was set.
            entry.head, entry.lineage = head, lineage
            mark_set = since or 0
            entry.checked = max(
                entry.checked, mark_set if self._on("publish: as of its mark") else self.now
            )
            entry.push(messages, most, most_bytes)
            entry.stay(self.now, ttl)
            return 1
        if not messages and head == 0 and not self._on("publish: a rewrite creates nothing"):
            entry.forget()
            entry.epoch, entry.head, entry.lineage = epoch, 0, "c1ea7"
            entry.complete, entry.checked = True, self.now
            return 1
        if not self._on("publish: drops"):
            return 0
        entry.forget()
        if self._on("publish: new nonce"):
            entry.nonce = nonce
        return 0

    def lift(self, key: str, token: str) -> int:
        entry = self._load(key)
        if entry is not None:
            entry.marks.pop(token, None)
        return 1

    @property
    def _time(self) -> str:
        return f"{self.now // 1000} {self.now % 1000 * 1000}"

    def drop(self, key: str) -> int:
        # Always allowed, and the strongest mark there is.
        return int(self.entries.pop(key, None) is not None)

    def ping(self, key: str) -> bytes:
        return self.run.encode()

    def look(self, key: str, asked: str) -> list[Any]:
        nonce, generation, *rest = asked.split(" ")
        lineage = rest.pop(4)
        revalidate, ttl, epoch, head, most = map(int, rest)
        entry = self._load(key)
        if entry is None:
            # Absent: create it, and a miss that nobody settles yet.
            nonce = self.new_nonce(nonce)
            entry = self.entries[key] = Entry(self.run, nonce, expires=self.now + ttl)
            settle = 2 if self._on("look: settle an absent key") else 0
            about = f"0 {settle} {self._time} 0 1 {self.run} - - -1 -1 -1 - 0 0 0 0 {nonce}"
            return [about.encode(), []]
        entry.stay(self.now, ttl)
        # A hit needs data, no mark at all, a fence, one's own generation, and a recent check.
        marked = bool(entry.marks) and self._on("look: no hit under a mark")
        recent = 0 <= self.now - entry.checked < revalidate or not self._on("look: revalidate")
        later = (entry.epoch, entry.head) >= (epoch, head)
        current = generation != "-" and (
            entry.gen == generation or not self._on("look: generation")
        )
        unknown = entry.fence == "-" and self._on("look: settle an absent key")
        hit = entry.epoch >= 0 and not marked and recent and later and current
        hit = hit and (entry.fence != "-" or not self._on("look: settle an absent key"))
        hit = hit and not (entry.ends and self.now >= entry.ends and self._on("look: over"))
        settle = 0
        by_marks = bool(entry.marks) and self._on("look: settle by marks")
        if not hit and (by_marks or unknown):
            settle = 2
            due = not entry.marks or any(at <= self.now for _, at, _ in entry.marks.values())
            if due and generation != "-" and entry.asked <= self.now:
                settle = 1
                entry.asked = self.now + 1000
        joins = 0
        if entry.epoch >= 0 and entry.epoch == epoch and 0 <= head <= entry.head:
            there = entry.lineage
            if head < entry.head:
                place = entry.head - head
                row = entry.messages[place] if head and place < len(entry.messages) else b""
                there = row.partition(b" ")[0].decode() if b" " in row else ""
            if there == lineage or not self._on("look: joins by lineage"):
                joins = 1
                most = min(most, entry.head - head)
        messages = entry.messages[: max(0, most)] if entry.epoch >= 0 else []
        sent_all = len(messages) == len(entry.messages)
        about = (
            f"{hit:d} {settle} {self._time} {joins} {sent_all:d} {self.run} {entry.gen} "
            f"{entry.fence} {entry.session} {entry.epoch} {entry.head} {entry.lineage} "
            f"{entry.checked} {entry.complete:d} {entry.ends} {entry.weight} {entry.nonce}"
        )
        return [about.encode(), list(messages)]

    def look_item(self, key: str, asked: str) -> bytes:
        about, messages = self.look(key, f"{asked} -1 -1 - 1")
        hit, settle, seconds, micros, _, _, run, _, fence, _, epoch, head, *_, nonce = about.split()
        said = (hit, settle, seconds, micros, run, fence, epoch, head, nonce)
        return b" ".join(said) + b"\n" + (b"".join(messages) if hit == b"1" else b"")

    def fill(
        self,
        key: str,
        lease: object,
        checked: int,
        ttl: int,
        most: int,
        most_bytes: int,
        lives: int,
        generation: str,
        fence: str,
        session: int,
        epoch: int,
        head: int,
        lineage: str,
        complete: int,
        base: int,
        base_lineage: str,
        *messages: bytes,
    ) -> int:
        entry = self._load(key)
        if entry is None:
            if self._on("fill: not where nothing is") or base >= 0:
                return 0  # Absent: nothing.
            entry = self.entries[key] = Entry(self.run, text(lease))
        if entry.nonce != text(lease) and self._on("fill: its own lease"):
            return 0  # Marked since.
        if not self._on("fill: replaces") and (entry.epoch, entry.head) >= (epoch, head):
            entry.marks, entry.checked = {}, checked
            entry.gen, entry.fence = generation, fence
            entry.stay(self.now, ttl)
            return 1
        if base >= 0:
            if (entry.epoch, entry.head, entry.lineage) != (epoch, base, base_lineage):
                return 0
        else:
            entry.forget()
            entry.complete = bool(int(complete))
        entry.gen, entry.fence, entry.session = generation, fence, session
        entry.epoch, entry.head, entry.lineage = epoch, head, lineage
        # As old as the lease, and its marks are settled.
        entry.checked = checked if self._on("fill: as of its lease") else self.now
        entry.marks, entry.asked = {}, 0
        if int(lives):
            entry.ends = int(checked) + int(lives)
        entry.stay(self.now, ttl)
        entry.push(messages, most, most_bytes)
        return 1

    # -- what may happen to a server ---------------------------------------------------------

    def evict(self, key: str) -> None:
        """Eviction, expiry or a flush, as far as one session can tell."""
        entry = self.entries.get(key)
        if entry is not None and not self._on("one key"):
            entry.marks = {}
        else:
            self.entries.pop(key, None)

    def fail_over(self, key: str, then: Entry | None, noticed: bool = True) -> None:
        """To an older replica, or a restart from disk: another run, an older state."""
        if noticed:
            self.run = f"run{int(self.run[3:]) + 1:05}"
        self.entries.pop(key, None)
        if then is not None:
            self.entries[key] = then.copy()

    # -- what the scripts share --------------------------------------------------------------

    def _on(self, rule: str) -> bool:
        return rule not in self.off

    def _load(self, key: str) -> Entry | None:
        entry = self.entries.get(key)
        if entry is None:
            return None
        other_run = entry.run != self.run and self._on("run")
        if other_run or entry.expires <= self.now:
            del self.entries[key]
            return None
        return entry


class FakeClient:
    """What redis-py is to a ``RedisCache``."""

    def __init__(self, server: FakeRedis) -> None:
        self._server = server
        names = ("look", "look_item", "fill", "mark", "publish", "lift", "drop", "ping")
        self._names = {script(name).sha: name for name in names}

    def evalsha(self, sha: str, keys: int, key: str, *arguments: Any) -> Any:
        assert keys == 1
        return self._server.call(self._names[sha], key, arguments)

    def pipeline(self, transaction: bool) -> FakePipeline:
        assert not transaction
        return FakePipeline(self)


class FakePipeline:
    """What is asked for in one round trip."""

    def __init__(self, client: FakeClient) -> None:
        self._client = client
        self._asked: list[tuple[Any, ...]] = []

    def evalsha(self, *asked: Any) -> None:
        self._asked.append(asked)

    def execute(self, raise_on_error: bool) -> list[Any]:
        assert not raise_on_error
        return [self._client.evalsha(*asked) for asked in self._asked]


class FakeClients(Clients):
    """Hands out the fake client, to threads and to loops."""

    def __init__(self, server: FakeRedis) -> None:
        self.shown = "a model"
        self._url = None
        self._client = FakeClient(server)

    def sync(self) -> Any:
        return self._client

    def lines(self) -> None:
        """None: a look is asked as everything else is."""

    def close(self) -> None:
        """Nothing to close."""


class FakeCache(RedisCache):
    """A ``RedisCache`` whose server is in this process."""

    def __init__(
        self, server: FakeRedis, *, messages: int, revalidate: float, strict: bool, ttl: float
    ) -> None:
        super().__init__(
            FakeClients(server),
            lambda: "model",
            messages=messages,
            ttl=ttl,
            revalidate=revalidate,
            strict=strict,
        )
        self.breaker = Breaker(1.0, clock=lambda: server.now / 1000)


assert issubclass(FakeCache, Cache)


class Bug:
    """A bug in the flows: its functions are put in the place of those that have their names."""


@contextmanager
def planted(bug: type[Bug] | None) -> Iterator[None]:
    """Put a bug's functions in the place of the flows' own, wherever these are called."""
    flows = [m for name, m in sys.modules.items() if name.startswith("onrecord.flows")]
    with ExitStack() as undo:
        for name in [] if bug is None else [n for n in vars(bug) if not n.startswith("__")]:
            sound = {vars(module)[name] for module in flows if name in vars(module)}
            (original,) = [f for f in sound if callable(f)]
            for module in flows:
                if vars(module).get(name) is original:
                    undo.callback(setattr, module, name, original)
                    setattr(module, name, getattr(bug, name))
        yield


class _AsBelieved:
    """A cache that is told of the generation that a process believes in when it fills, or
    publishes."""

    def __init__(self, hot: Any, desk: Desk) -> None:
        self._hot = hot
        self._desk = desk

    def __getattr__(self, name: str) -> Any:
        asked = getattr(self._hot, name)
        if name not in ("fill", "fill_item", "publish", "publish_item"):
            return asked
        on = self._desk.belief.on
        assert on is not None

        def now(*given: Any) -> Any:
            return asked(*[self._named(one, on) for one in given])

        return now

    @staticmethod
    def _named(given: Any, on: bytes) -> Any:
        if isinstance(given, Lease):
            return given._replace(generation=on.decode().removeprefix("on "))
        return given._replace(believed=on) if isinstance(given, Marked) else given


def as_believed(desk: Desk, flow: Flow[R]) -> Flow[R]:
    """A flow that fills and publishes with the generation that is believed in by then."""

    def told(call: Callable[[Any], Any], hot: Any) -> Any:
        return call(_AsBelieved(hot, desk))

    try:
        step = next(flow)
        while True:
            asked = Hot(partial(told, step.call)) if isinstance(step, Hot) else step
            try:
                answer = yield asked
            except Exception as fault:
                step = flow.throw(fault)
            else:
                step = flow.send(answer)
    except StopIteration as end:
        found: R = end.value
        return found


class Process:
    """One process of a store: memory of its own, the tiers shared with the others."""

    def __init__(self, world: World, strict: bool = False) -> None:
        self.world = world
        self.cut_off = False
        self.cache = FakeCache(
            world.redis,
            messages=world.messages,
            revalidate=world.revalidate,
            strict=strict,
            ttl=world.ttl,
        )
        self.desk = copy(world.store._desk)
        self.desk.cached_messages = world.messages
        self.desk.known = Sessions()
        self.desk.openings = Tails(messages=1)
        self.desk.belief = Belief(clock=lambda: world.redis.now / 1000)
        assert self.desk.marks, "make the store with a cache: it is never asked"

    def requested(self, step: Step) -> tuple[str, Request[Any] | Several[Any] | None]:
        """What a step is called, and what it asks of Redis if it asks anything."""
        match step:
            case Cold(_, writes):
                return ("commit" if writes else "SQL"), None
            case Pause():
                return "pause", None
            case Hot(call):
                request = call(self.cache)
                if isinstance(request, Request | Several):
                    return request.script.name, request
                return "noted", None  # in this process, no round trip
            case _:
                raise AssertionError("maintenance and files are not modelled")

    def done(self, step: Step, request: Request[Any] | Several[Any] | None) -> Any:
        """Let a step happen."""
        match step:
            case Cold(work, writes):
                ledger = self.world.store._ledger
                return ledger.write(work) if writes else ledger.read(work)
            case Pause(seconds):
                self.world.redis.now += int(seconds * 1000)
                return None
            case _:
                if self.cut_off and request is not None:
                    raise CacheUnavailable("cut off", 0.25)
                return self.cache.exchange(request)

    def perform(self, step: Step) -> Any:
        """Ask for a step and let it happen, as a store does."""
        _, request = self.requested(step)
        return self.done(step, request)

    def do(self, flow: Flow[Any]) -> Any:
        """A whole operation with nobody in between."""
        return run(flow, self.perform)


class World:
    """Both tiers of one store, and one session in it."""

    def __init__(
        self,
        store: Store,
        name: SessionName,
        *,
        off: Collection[str] = (),
        messages: int = 50,
        revalidate: float = 1e6,
        ttl: float = 1e6,
        most_marks: int = 8,
    ) -> None:
        self.store = store
        self.name = name
        self.key = f"onrecord:model:{name.identity.hex()}"
        self.messages = messages
        self.revalidate = revalidate
        self.ttl = ttl
        self.redis = FakeRedis(off, most_marks)
        # What another world of this store has left: the cache may be off.
        state = store._ledger.write(generation.read)
        if not generation.is_on(state):
            store._ledger.write(lambda txn: generation.resume(txn, state))

    @property
    def entry(self) -> Entry | None:
        return self.redis.entries.get(self.key)

    def shown(self) -> str:
        """The entry, for people."""
        entry = self.entry
        if entry is None:
            return "no entry"
        other = "" if entry.run == self.redis.run else "of another run, "
        return other + entry.shown(self.redis.now)


def snapshot(store: Store) -> bytes:
    """All that a database in memory holds."""
    held: bytes = store._ledger._writing.connection.serialize()  # type: ignore[attr-defined]
    return held


def fall_back(store: Store, then: bytes) -> None:
    """Make a database in memory what it was."""
    store._ledger._writing.connection.deserialize(then)  # type: ignore[attr-defined]


__all__ = [
    "BOUNDS",
    "OF_FALLS",
    "OF_ITEMS",
    "OF_SUSPENSIONS",
    "RULES",
    "SECOND_LINES",
    "Bug",
    "CacheUnavailable",
    "Entry",
    "FakeCache",
    "FakeRedis",
    "Process",
    "World",
    "as_believed",
    "fall_back",
    "planted",
    "snapshot",
]
