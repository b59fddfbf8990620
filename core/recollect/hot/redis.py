"""The cache in Redis: one key a session, every operation one script, never believed blindly.

What the scripts keep true is in ``scripts/common.lua``; in which order they are used is the
protocol's. Here is the rest: keys, rows as bytes, what to do when Redis does not answer.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple

import msgspec
from msgspec.structs import replace

from recollect import codec
from recollect.errors import Misconfigured
from recollect.health import Counters
from recollect.hot.breaker import Breaker
from recollect.hot.cache import Cache, CacheUnavailable, Glance
from recollect.hot.clients import Clients, NoScriptError
from recollect.hot.scripts import Script, script
from recollect.hot.tails import LARGEST_TAIL, Tails
from recollect.rows import Row, Seen
from recollect.version import Version

MARK_LIFETIME: Final = 10.0
"""T: how long a mark lives. It outlasts a commit with its timeouts and a margin."""
LONGEST_COMMIT: Final = 8.0
"""The longest a commit may take with its timeouts, so that it ends before its mark."""
CALL_TIMEOUT: Final = 0.25
LARGEST_ROW: Final = 32 * 1024
"""A longer message is left out of the entry, a stub in its place: Redis is not for megabytes."""
MOST_MISSED: Final = 10_000
_MOST_OWED: Final = 64
SLOWEST: Final = 1.0
"""A timeout is for each wait for bytes. A call that takes longer than this in all, byte by byte,
is as good as none: a mark would be too old by then for its commit to begin."""
_JITTER: Final = 0.1
_LONGEST_WHY: Final = 300
_MOST_WARNED: Final = 16

log = logging.getLogger("recollect")

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Row).decode


class Request(NamedTuple):
    """One round trip that is still to be made."""

    script: Script
    identity: bytes
    arguments: tuple[Any, ...]
    understand: Callable[[Any], Any]


class Lease(NamedTuple):
    """What a reader was given before it asked SQL."""

    generation: bytes
    time: int
    holds: Version | None
    """What the entry held then: only what came after it has to be sent."""


class RedisCache(Cache):
    """Tails in Redis, shared by every process of a store."""

    marks = True

    def __init__(
        self,
        clients: Clients,
        namespace: Callable[[], str],
        *,
        messages: int,
        ttl: float,
        revalidate: float,
        strict: bool,
    ) -> None:
        self.messages = messages
        self.counters = Counters()
        self.breaker = Breaker(min(1.0, revalidate) or 1.0)
        self.where = clients.shown
        self._clients = clients
        self._namespace = namespace
        self._ttl = ttl
        self._revalidate = int(revalidate * 1000)
        self._strict = strict
        self._tails = Tails(messages)
        self._missed: OrderedDict[bytes, object] = OrderedDict()
        self._warned: set[str] = set()
        self._clock = time.monotonic

    def forget(self) -> None:
        """In a child after fork: clients and locks of its own."""
        self._clients.forget()
        self._tails.forget()
        self.breaker = Breaker(min(1.0, self._revalidate / 1000) or 1.0)

    # -- requests ----------------------------------------------------------------------------

    def look(self, identity: bytes) -> Request:
        """What is known about a session now; only what this process has not seen is sent."""
        kept = self._tails.get(identity)
        held = None if kept is None else kept[0]
        epoch, head = (-1, -1) if held is None else held.version
        return Request(
            script("look"),
            identity,
            (
                secrets.token_hex(8),
                int(MARK_LIFETIME * 1000),
                self._revalidate,
                self._ttl_now(),
                epoch,
                head,
                self.messages,
            ),
            lambda answer: self._glance(identity, held, answer),
        )

    def fill(self, identity: bytes, seen: Seen, lease: object) -> Request:
        """Bring what SQL said; only what the entry did not hold when the lease was given."""
        assert isinstance(lease, Lease)
        base = -1
        rows = seen.rows[-self.messages :] if self.messages else ()
        holds = lease.holds
        if holds is not None and holds.epoch == seen.version.epoch:
            newer = tuple(row for row in rows if row.seq > holds.head)
            if len(newer) == seen.version.head - holds.head:
                base, rows = holds.head, newer
        self._tails.keep(identity, seen, None)
        packed, whole = _packed(rows)
        if not whole:
            base = -1  # the oldest of what is new were too much: what was there does not join on
        complete = seen.complete and whole and len(rows) == len(seen.rows)
        return Request(
            script("fill"),
            identity,
            (
                lease.generation,
                lease.time,
                self._ttl_now(),
                self.messages,
                LARGEST_TAIL,
                -1 if seen.number is None else seen.number,
                *seen.version,
                int(complete),
                base,
                *packed,
            ),
            self._filled,
        )

    def remember(self, identity: bytes, seen: Seen) -> None:
        """Keep in this process what SQL said: the next look says how far it has seen."""
        self._tails.keep(identity, seen, None)

    def mark(self, identity: bytes, token: str) -> Request:
        """A writer is about to commit."""
        lifetime = int(MARK_LIFETIME * 1000)
        return Request(script("mark"), identity, (token, lifetime, self._ttl_now()), int)

    def publish(
        self, identity: bytes, token: str, version: Version, rows: Sequence[Row]
    ) -> Request:
        """A writer has committed."""
        packed, whole = _packed(rows)
        if not whole:
            packed = []  # more than an entry takes: it is dropped, and the next reader fills it
        first = rows[0].seq if rows else version.head + 1
        return Request(
            script("publish"),
            identity,
            (
                token,
                secrets.token_hex(8),
                int(MARK_LIFETIME * 1000),
                self._ttl_now(),
                self.messages,
                LARGEST_TAIL,
                version.epoch,
                first,
                version.head,
                *packed,
            ),
            int,
        )

    def lift(self, identity: bytes, token: str) -> Request:
        """A writer has rolled back, and knows it."""
        return Request(script("lift"), identity, (token,), int)

    def ping(self) -> Request:
        """Ask whether Redis is there, whatever the breaker says."""
        return Request(script("ping"), secrets.token_bytes(20), (), lambda run: run)

    def missed(self, identity: bytes) -> None:
        """A commit that Redis was not told of: its entry goes before anything else is asked."""
        self._missed[identity] = object()
        while len(self._missed) > MOST_MISSED:
            self._missed.popitem(last=False)  # revalidation ends what is left out here

    def drop(self, identity: bytes) -> None:
        """Forget what this process holds; what Redis held went when the erasure was published."""
        self._tails.drop(identity)

    def empty(self) -> None:
        """Forget every session here; those in Redis are not found any more under another id."""
        self._tails.forget()

    # -- round trips -------------------------------------------------------------------------

    def exchange(self, answer: Any) -> Any:
        """Make the round trip, in this thread."""
        if not isinstance(answer, Request):
            return answer
        self._may_try(answer)
        began = self._clock()
        try:
            client = self._clients.sync()
            for identity, note in self._owed(answer.identity):
                drop = _drop(identity)
                _say(client, drop, self._key(drop))
                self._paid(identity, note)
            said = _say(client, answer, self._key(answer))
        except Misconfigured:
            raise
        except Exception as fault:  # whatever a cache does wrong, the database goes on
            raise self._failed(fault, answer) from fault
        return self._understood(answer, said, self._clock() - began)

    async def aexchange(self, answer: Any) -> Any:
        """Like ``exchange``, on the running loop."""
        if not isinstance(answer, Request):
            return answer
        self._may_try(answer)
        began = self._clock()
        try:
            client = await self._clients.asynchronous()
            async with asyncio.timeout(SLOWEST):
                for identity, note in self._owed(answer.identity):
                    drop = _drop(identity)
                    await _asay(client, drop, self._key(drop))
                    self._paid(identity, note)
                said = await _asay(client, answer, self._key(answer))
        except Misconfigured:
            raise
        except Exception as fault:  # whatever a cache does wrong, the database goes on
            raise self._failed(fault, answer) from fault
        return self._understood(answer, said, self._clock() - began)

    @property
    def left_alone(self) -> bool:
        """Whether the breaker is open."""
        return self.breaker.open

    def close(self) -> None:
        """Close the clients that are ours."""
        self._clients.close()

    async def aclose(self) -> None:
        """Like ``close``."""
        await self._clients.aclose()

    def _may_try(self, request: Request) -> None:
        if request.script.name != "ping" and not self.breaker.allows():
            self.counters.degraded_reads += request.script.name == "look"
            raise CacheUnavailable("It failed a moment ago.")

    def _owed(self, identity: bytes) -> list[tuple[bytes, object]]:
        """What has to be said first: drop the entries of sessions written while cut off.

        The one that is asked for, and some more: 10,000 of them took 1.9 s.
        """
        if not self._missed:
            return []
        missed = self._missed.copy()
        own = missed.pop(identity, None)
        return [*([(identity, own)] if own else []), *islice(missed.items(), _MOST_OWED)]

    def _paid(self, identity: bytes, note: object) -> None:
        # Only now: whoever asks meanwhile drops it first, and a task that is cancelled in
        # between leaves it owed. Another note is a later write.
        if self._missed.get(identity) is note:
            self._missed.pop(identity, None)

    def _failed(self, fault: Exception, request: Request) -> CacheUnavailable:
        self.counters.degraded_reads += request.script.name == "look"
        why = f"{type(fault).__name__}: {fault}"[:_LONGEST_WHY]
        if self._clients.answered(fault):
            self._warn_once(why)
            return CacheUnavailable(f"It refuses ({why}).")
        self.breaker.failed(why)
        return CacheUnavailable(f"It does not answer ({why}).")

    def _understood(self, request: Request, said: Any, took: float) -> Any:
        """The answer in our words; what is no answer of our scripts is as good as none."""
        try:
            understood = request.understand(said)
        except Exception as fault:  # whatever it said, the database goes on
            raise self._failed(fault, request) from fault
        if took > SLOWEST:
            self.breaker.failed(f"a call took {took:.1f} s")
        else:
            self.breaker.succeeded()
            self._warned.clear()
        return understood

    def _warn_once(self, why: str) -> None:
        if why not in self._warned and len(self._warned) < _MOST_WARNED:
            self._warned.add(why)
            log.warning("the cache answers, and is of no use, reads go to the database: %s", why)

    def _key(self, request: Request) -> str:
        return f"recollect:{self._namespace()}:{request.identity.hex()}"

    def _ttl_now(self) -> int:
        """Milliseconds, a little more or less each time, so that not all end at once."""
        return int(self._ttl * 1000 * random.uniform(1 - _JITTER, 1 + _JITTER))

    # -- answers -----------------------------------------------------------------------------

    def _glance(self, identity: bytes, held: Seen | None, answer: Any) -> Glance:
        hit, generation, time, session, epoch, head, complete, packed = answer
        there = None if epoch < 0 else Version(epoch, head)
        seen = held
        if there is not None:
            rows = tuple(_decode(row) for row in reversed(packed))
            seen = Seen(session if session >= 0 else None, there, rows, complete == b"1")
            follows = held is not None and held.version.epoch == epoch
            if held is not None and follows and len(rows) == head - held.version.head:
                seen = held.with_newer(seen, self.messages)
        if hit:
            self.counters.hits += 1
            assert seen is not None
            self._tails.keep(identity, seen, None)
        else:
            self.counters.misses += 1
            # Known, and nobody is writing: it only was too long ago.
            self.counters.validations += there is not None and bool(generation)
        lease = Lease(generation, time, there) if generation else None
        return Glance(seen, bool(hit) and not self._strict, lease)

    def _filled(self, answer: Any) -> None:
        if answer:
            self.counters.fills += 1
        else:
            self.counters.refused_fills += 1


def _packed(rows: Sequence[Row]) -> tuple[list[bytes], bool]:
    """Rows as bytes, the newest that fit, and whether these are all."""
    packed: list[bytes] = []
    weight = 0
    for row in reversed(rows):
        if row.frame is not None and len(row.frame) > LARGEST_ROW:
            row = replace(row, frame=None)  # a stub: who needs it fetches it from SQL
        elif row.frame is not None and row.frame[:1] == codec.CHECKED:
            row = replace(row, frame=codec.whole(row.frame))
        data = _encode(row)
        weight += len(data)
        if weight > LARGEST_TAIL:
            return packed[::-1], False
        packed.append(data)
    return packed[::-1], True


def _drop(identity: bytes) -> Request:
    return Request(script("drop"), identity, (), int)


def _say(client: Any, request: Request, key: str) -> Any:
    try:
        return client.evalsha(request.script.sha, 1, key, *request.arguments)
    except NoScriptError:
        return client.eval(request.script.text, 1, key, *request.arguments)


async def _asay(client: Any, request: Request, key: str) -> Any:
    try:
        return await client.evalsha(request.script.sha, 1, key, *request.arguments)
    except NoScriptError:
        return await client.eval(request.script.text, 1, key, *request.arguments)
