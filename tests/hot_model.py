"""Both tiers in memory: the real flows, a Redis of plain Python, and a real SQLite.

``FakeRedis`` is the scripts of ``recollect/hot/scripts``, one method a script and one comment a
rule, over a clock that only a test moves. ``Process`` is what one process of a store has: its
own ``RedisCache`` (keys, rows as bytes, what it remembers, what it owes), driven step by step.
Requests are built and answers understood by the real code; only the server is not real, and
``test_hot_scripts.py`` holds it against one that is.

Each rule of the design (4.1) can be switched off by name, so that a test can show that it is
needed, and that the test would notice.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Any, Final

from recollect import Store
from recollect.flow import Cold, Flow, Hot, Step, run
from recollect.hot import CacheUnavailable
from recollect.hot.breaker import Breaker
from recollect.hot.cache import Cache
from recollect.hot.clients import Clients
from recollect.hot.redis import RedisCache, Request
from recollect.hot.scripts import script
from recollect.protocol import Protocol
from recollect.scope import SessionName

RULES: Final = {
    "mark: phantom": "a mark that creates the entry adds a phantom for writers that nobody knows",
    "look: phantom": "a look that creates the entry adds a phantom and gives no lease",
    "mark: new generation": "every mark ends every lease",
    "mark: keeps dead marks": "a mark leaves the dead marks of others where they are",
    "mark: folds": "marks that are too many become one phantom that lives as long as the last",
    "publish: not where nothing is": "an entry that is gone is not made by a publish",
    "publish: only its own mark": "a publish leaves the dead marks of others where they are",
    "publish: exactly before": "data are extended only where they end exactly before",
    "publish: drops": "data that cannot be extended are dropped",
    "publish: a rewrite creates nothing": "not even an empty tail after a clear",
    "look: no lease under a live mark": "a writer under way may commit after SQL was asked",
    "look: no hit under a dead mark": "nobody knows how a dead writer ended: SQL has to be asked",
    "fill: its own generation": "a fill whose lease has ended fills in nothing",
    "fill: not where nothing is": "an entry that is gone is not made by a fill",
    "one key": "marks and data are lost together or not at all",
    "run": "an entry written by another run of the server is thrown away",
}
"""The rules that have a counterexample while every writer reaches Redis."""

BOUNDS: Final = {
    "look: revalidate": "a hit was compared with SQL less than ``revalidate`` ago",
    "fill: as of its lease": "an entry is as old as its lease, not as its fill",
    "publish: as of its mark": "an extended entry is no younger than its mark",
}
"""The rules that bound the exceptions of 4.3."""

SECOND_LINES: Final = {
    "fill: keeps the later": "of what is there and what is brought",
    "publish: new generation without its mark": "a dead mark did not protect it to the end",
}
"""No counterexample is known without these two: each stands behind another rule."""

T: Final = 10_000
"""A mark's lifetime in milliseconds, as ``recollect.hot.redis`` has it."""


def text(value: object) -> str:
    """An argument as the server sees it."""
    return value.decode() if isinstance(value, bytes) else str(value)


@dataclass(slots=True)
class Entry:
    """One key, decoded."""

    run: str
    generation: str
    marks: dict[str, int]
    session: int = -1
    epoch: int = -1
    head: int = -1
    checked: int = 0
    complete: bool = False
    weight: int = 0
    messages: list[bytes] = field(default_factory=list)
    """Newest first."""
    expires: int = 0

    def copy(self) -> Entry:
        return replace(self, marks=dict(self.marks), messages=list(self.messages))

    def forget(self) -> None:
        """The messages; the marks stay."""
        self.epoch = self.head = -1
        self.complete = False
        self.weight = 0
        self.messages.clear()

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
        data = "no data" if self.epoch < 0 else f"({self.epoch},{self.head})"
        marks = " ".join(
            f"{token[:4]}{'' if at > now else ' dead'}" for token, at in self.marks.items()
        )
        return f"{data} gen {self.generation[:4]} marks [{marks}]"


class FakeRedis:
    """The keys of one server and the scripts that use them, each of them one atomic step."""

    def __init__(self, off: Collection[str] = (), most_marks: int = 8) -> None:
        unknown = set(off) - {*RULES, *BOUNDS, *SECOND_LINES}
        assert not unknown, unknown
        self.off = frozenset(off)
        self.most_marks = most_marks
        self.now = 1_000_000
        self.run = "run00000"
        self.entries: dict[str, Entry] = {}

    def call(self, name: str, key: str, arguments: Sequence[Any]) -> Any:
        """One script, as a client calls it."""
        method: Callable[..., Any] = getattr(self, name)
        return method(key, *arguments)

    # -- the scripts -------------------------------------------------------------------------

    def mark(self, key: str, token: str, lifetime: int, ttl: int) -> int:
        entry = self._load(key)
        if entry is None:
            # Absent: writers whose marks were lost with the old entry may still be committing.
            entry = self._unknown(token, lifetime, "mark: phantom")
            self.entries[key] = entry
        if len(entry.marks) >= self.most_marks:
            # Too many to keep apart: one for all, as long as the last of them.
            latest = max(entry.marks.values())
            entry.forget()
            entry.marks = {"?": latest} if self._on("mark: folds") else {}
        if not self._on("mark: keeps dead marks"):
            entry.marks = {t: at for t, at in entry.marks.items() if at > self.now}
        entry.marks.pop(token, None)
        if self._on("mark: new generation"):
            entry.generation = token
        entry.marks[token] = self.now + lifetime
        entry.expires = self.now + max(ttl, lifetime)
        return 1

    def publish(
        self,
        key: str,
        token: str,
        nonce: str,
        lifetime: int,
        ttl: int,
        most: int,
        most_bytes: int,
        epoch: int,
        first: int,
        last: int,
        *messages: bytes,
    ) -> int:
        entry = self._load(key)
        if entry is None:
            if self._on("publish: not where nothing is") or not messages:
                return 0  # Absent: nothing.
            entry = self.entries[key] = Entry(self.run, nonce, {}, 1, epoch, last, self.now)
            entry.expires = self.now + ttl
            entry.push(messages, most, most_bytes)
            return 1
        deadline = entry.marks.pop(token, None)  # Only one's own.
        if not self._on("publish: only its own mark"):
            entry.marks = {t: at for t, at in entry.marks.items() if at > self.now}
        alive = deadline is not None and deadline > self.now
        if (entry.epoch, entry.head) >= (epoch, last):
            return 1  # The data reach it already: a reader was quicker.
        # Without a session's number its messages would be nobody's.
        follows = (
            entry.session >= 0
            and entry.epoch == epoch
            and (entry.head == first - 1 or not self._on("publish: exactly before"))
        )
        if deadline is not None and alive and messages and follows:
            # Still protected and exactly before: extend. No later than when the mark was set.
            entry.head = last
            since = deadline - lifetime
            entry.checked = max(
                entry.checked, since if self._on("publish: as of its mark") else self.now
            )
            entry.push(messages, most, most_bytes)
            entry.expires = self.now + ttl
            return 1
        if not messages and last == 0 and not self._on("publish: a rewrite creates nothing"):
            entry.forget()
            entry.epoch, entry.head, entry.complete, entry.checked = epoch, 0, True, self.now
            return 1
        if not self._on("publish: drops"):
            return 0
        entry.forget()
        if not alive and self._on("publish: new generation without its mark"):
            entry.generation = nonce
        return 0

    def lift(self, key: str, token: str) -> int:
        entry = self._load(key)
        if entry is not None:
            entry.marks.pop(token, None)
        return 1

    def drop(self, key: str) -> int:
        # Always allowed, and the strongest mark there is.
        return int(self.entries.pop(key, None) is not None)

    def look(
        self,
        key: str,
        nonce: str,
        lifetime: int,
        revalidate: int,
        ttl: int,
        epoch: int,
        head: int,
        most: int,
    ) -> list[Any]:
        entry = self._load(key)
        if entry is None:
            # Absent: create it with a phantom, and a miss without a lease.
            entry = self.entries[key] = self._unknown(nonce, lifetime, "look: phantom")
            entry.expires = self.now + ttl
            lease = b"" if entry.marks else nonce.encode()
            return [0, lease, self.now, -1, -1, -1, b"0", []]
        entry.expires = self.now + ttl
        if entry.epoch >= 0 and (entry.epoch, entry.head) < (epoch, head):
            entry.forget()  # The reader knows a later version.
        if 0 <= entry.epoch == epoch:
            most = min(most, entry.head - head)
        messages = entry.messages[: max(0, most)] if entry.epoch >= 0 else []
        any_alive = any(at > self.now for at in entry.marks.values())
        # A hit needs data, no mark at all, dead or alive, and a recent check.
        marked = any_alive if not self._on("look: no hit under a dead mark") else entry.marks
        recent = 0 <= self.now - entry.checked < revalidate or not self._on("look: revalidate")
        hit = entry.epoch >= 0 and not marked and recent
        # A lease is given only if no mark is alive.
        free = not any_alive or not self._on("look: no lease under a live mark")
        lease = b"" if hit or not free else entry.generation.encode()
        return [
            int(hit),
            lease,
            self.now,
            entry.session,
            entry.epoch,
            entry.head,
            # Of all there is, and all of it was sent.
            b"1" if entry.complete and len(messages) == len(entry.messages) else b"0",
            list(messages),
        ]

    def fill(
        self,
        key: str,
        generation: object,
        checked: int,
        ttl: int,
        most: int,
        most_bytes: int,
        session: int,
        epoch: int,
        head: int,
        complete: int,
        base: int,
        *messages: bytes,
    ) -> int:
        entry = self._load(key)
        if entry is None:
            if self._on("fill: not where nothing is") or base >= 0:
                return 0  # Absent: nothing.
            entry = self.entries[key] = Entry(self.run, text(generation), {})
        if entry.generation != text(generation) and self._on("fill: its own generation"):
            return 0  # Marked since.
        entry.expires = self.now + ttl
        if not self._on("fill: as of its lease"):
            checked = self.now
        if (entry.epoch, entry.head) < (epoch, head) or not self._on("fill: keeps the later"):
            if base >= 0:
                if (entry.epoch, entry.head) != (epoch, base):
                    return 0
            else:
                entry.forget()
                entry.complete = bool(int(complete))
            entry.session, entry.epoch, entry.head = session, epoch, head
            entry.push(messages, most, most_bytes)
        # The later is kept; dead marks are settled; as old as the lease.
        entry.checked = checked
        entry.marks = {}
        return 1

    # -- what may happen to a server ---------------------------------------------------------

    def evict(self, key: str) -> None:
        """Eviction, expiry or a flush, as far as one session can tell."""
        entry = self.entries.get(key)
        if entry is not None and not self._on("one key"):
            entry.marks = {}
        else:
            self.entries.pop(key, None)

    def fail_over(self, key: str, then: Entry | None) -> None:
        """To an older replica, or a restart from disk: another run, an older state."""
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

    def _unknown(self, generation: str, lifetime: int, rule: str) -> Entry:
        marks = {"?": self.now + lifetime} if self._on(rule) else {}
        return Entry(self.run, generation, marks)


class FakeClient:
    """What redis-py is to a ``RedisCache``."""

    def __init__(self, server: FakeRedis) -> None:
        self._server = server
        self._names = {
            script(name).sha: name for name in ("look", "fill", "mark", "publish", "lift", "drop")
        }

    def evalsha(self, sha: str, keys: int, key: str, *arguments: Any) -> Any:
        assert keys == 1
        return self._server.call(self._names[sha], key, arguments)


class FakeClients(Clients):
    """Hands out the fake client, to threads and to loops."""

    def __init__(self, server: FakeRedis) -> None:
        self.shown = "a model"
        self._client = FakeClient(server)

    def sync(self) -> Any:
        return self._client

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


class Process:
    """One process of a store: memory of its own, the tiers shared with the others."""

    def __init__(self, world: World, strict: bool = False) -> None:
        self.world = world
        self.cache = FakeCache(
            world.redis,
            messages=world.messages,
            revalidate=world.revalidate,
            strict=strict,
            ttl=world.ttl,
        )

    def requested(self, step: Step) -> tuple[str, Request | None]:
        """What a step is called, and what it asks of Redis if it asks anything."""
        if isinstance(step, Cold):
            return ("commit" if step.writes else "SQL"), None
        assert isinstance(step, Hot), "maintenance and files are not modelled"
        request = step.call(self.cache)
        if isinstance(request, Request):
            return request.script.name, request
        return "missed", None  # noted in this process, no round trip

    def done(self, step: Step, request: Request | None) -> Any:
        """Let a step happen."""
        if isinstance(step, Hot):
            return self.cache.exchange(request)
        assert isinstance(step, Cold), "maintenance and files are not modelled"
        ledger = self.world.store._ledger
        return ledger.write(step.work) if step.writes else ledger.read(step.work)

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
        protocol: type[Protocol] = Protocol,
        messages: int = 50,
        revalidate: float = 1e6,
        ttl: float = 1e6,
        most_marks: int = 8,
    ) -> None:
        self.store = store
        self.name = name
        self.key = f"recollect:model:{name.identity.hex()}"
        self.messages = messages
        self.revalidate = revalidate
        self.ttl = ttl
        self.redis = FakeRedis(off, most_marks)
        store._ledger.open()
        self.protocol = copy(store._protocol)
        self.protocol.__class__ = protocol
        self.protocol._hot_messages = messages
        assert self.protocol._marks, "make the store with a cache: it is never asked"

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

    def monotonic(self) -> float:
        """The writers' clock: the same as Redis', in seconds."""
        return self.redis.now / 1000


class VirtualTime:
    """Stands for the module ``time`` in ``recollect.protocol.mark``; ``world`` has the clock."""

    def __init__(self) -> None:
        self.world: World | None = None

    def monotonic(self) -> float:
        assert self.world is not None
        return self.world.monotonic()


__all__ = [
    "BOUNDS",
    "RULES",
    "SECOND_LINES",
    "CacheUnavailable",
    "Entry",
    "FakeCache",
    "FakeRedis",
    "Process",
    "T",
    "VirtualTime",
    "World",
]
