"""The cache in Redis: a key for each session or item, operations as scripts, nothing believed
blindly.

What the scripts keep true is in ``scripts/common.lua``; in which order they are used is the
protocol's. Here is the rest: keys, answers, what to do when Redis does not answer.
"""

from __future__ import annotations

import logging
import random
import secrets
import time
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any, Final, NamedTuple, TypeVar

from msgspec.structs import replace

from onrecord.cache.breaker import Breaker
from onrecord.cache.cache import (
    NOTHING_FOUND,
    Answer,
    Cache,
    CacheUnavailable,
    Glance,
    Later,
    Marked,
    Settle,
)
from onrecord.cache.clients import Clients, NoScriptError
from onrecord.cache.packing import Garbled, packed, packed_item, unpacked, unpacked_item
from onrecord.cache.questions import questions
from onrecord.cache.round_trips import Asked, Request, Several, asay, request_of, say, trips_of
from onrecord.cache.scripts import script
from onrecord.cache.server import CacheServer
from onrecord.cache.tails import LARGEST_TAIL, Tails
from onrecord.cache.within import Within
from onrecord.errors import Misconfigured
from onrecord.health import Counters
from onrecord.stored.items import SeenItem, WrittenItem
from onrecord.stored.messages import MessageRow, Publication, Snapshot, new_past
from onrecord.version import Version

CALL_TIMEOUT: Final = 0.25
SLOWEST: Final = 1.0
"""An answer that took longer counts as a failure, though it is one: byte by byte it may come
without any timeout being met. Clients of the caller's own are given so long on a loop."""
_PATIENCE: Final = 1.0
"""For how many seconds a mark is left to its writer, before a reader may settle it."""
_LONGEST_PATIENCE: Final = 60.0
_JITTER: Final = 0.1
_LONGEST_WHY: Final = 300
_MOST_WARNED: Final = 16
_NONE: Final = "-"
_SETTLE: Final = {b"%d" % choice.value: choice for choice in Settle}

_NOTHING_THERE: Final = (-1, -1)
"""The epoch and head of an entry that holds a fence, and nothing else."""

T = TypeVar("T")

log = logging.getLogger("onrecord")


class Lease(NamedTuple):
    """What a reader was given before it asked SQL. Of an item only the first three matter."""

    nonce: bytes
    time: int
    generation: str
    holds: Version | None
    """What the entry held then: only what came after it has to be sent."""
    lineage: str
    past: int
    """The past of what the entry held, for this process."""


class RedisCache(Cache):
    """Tails and items in Redis, shared by every process of a store."""

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
        self._ttl = ttl * 1000
        self._revalidate = int(revalidate * 1000)
        self._strict = strict
        self._blind = False
        self._tails = Tails(messages)
        self._warned: set[str] = set()
        self._clock = time.monotonic
        self._dice = random.Random()
        """For the nonces and lives that looks bring: to ask the kernel takes 2 µs of each, more
        than all else that is said in it. Seeded by it, and again in a forked child."""

    def forget(self) -> None:
        """In a child after fork: clients and locks of its own."""
        self._clients.forget()
        self._tails.forget()
        self._dice = random.Random()
        self.breaker = Breaker(min(1.0, self._revalidate / 1000) or 1.0)

    # -- requests ----------------------------------------------------------------------------

    def look(
        self, identity: bytes, on: bytes | None, wanted: int | None = None
    ) -> Answer[Glance[Snapshot]]:
        """What is known about a session now; only what this process has not seen is sent."""
        kept = self._tails.get(identity)
        held = None if kept is None else kept[0]
        most = self.messages if wanted is None else min(wanted, self.messages)
        epoch, head = (-1, -1) if held is None else held.version
        lineage = _NONE
        if held is not None and held.cut and len(held.rows) < most:
            held = None  # it is behind what is wanted: from the newest on, and nothing is joined on
        if held is not None:
            lineage = _number(held.lineage) if held.lineage else _NONE
            most = self.messages  # fewer would leave a gap behind what is held
        generation = _NONE if on is None else _generation(on)
        return Request(
            script("look"),
            identity,
            (f"{self._look(generation)} {epoch} {head} {lineage} {most}",),
            lambda answer: self._glance(identity, held, generation, answer),
        )

    def look_item(self, identity: bytes, on: bytes | None) -> Answer[Glance[SeenItem]]:
        """What is known about an item now. Who compares everything with SQL has no use for it: an
        item is no longer than the answer."""
        if self._strict:
            return NOTHING_FOUND
        generation = _NONE if on is None else _generation(on)
        understand = partial(self._glance_at_item, generation)
        return Request(script("look_item"), identity, (self._look(generation),), understand)

    def _look(self, generation: str) -> str:
        """What every look is told."""
        dice = self._dice
        ttl = int(self._ttl * (1 + _JITTER * (2 * dice.random() - 1)))
        return f"{dice.getrandbits(64):016x} {generation} {self._revalidate} {ttl}"

    def fill(self, identity: bytes, seen: Snapshot, lease: object) -> Answer[None]:
        """Bring what SQL said; only what the entry did not hold when the lease was given."""
        assert isinstance(lease, Lease)
        base, base_lineage = -1, _NONE
        rows = seen.rows[-self.messages :] if self.messages else ()
        holds = lease.holds
        if holds is not None and lease.past == seen.past:  # it goes on from what the entry held
            newer = tuple(row for row in rows if row.seq > holds.head)
            if len(newer) == seen.version.head - holds.head:
                base, base_lineage, rows = holds.head, lease.lineage, newer
        self._tails.keep(identity, seen, None)
        data, whole = packed(rows, read=True)
        if not whole:  # the oldest of what is new were too much: what was there does not join on
            base, base_lineage = -1, _NONE
        complete = seen.complete and whole and len(rows) == len(seen.rows)
        return Request(
            script("fill"),
            identity,
            (
                lease.nonce,
                lease.time,
                self._ttl_now(),
                self.messages,
                LARGEST_TAIL,
                0,
                lease.generation,
                _number(seen.fence),
                -1 if seen.number is None else seen.number,
                *seen.version,
                _number(seen.lineage),
                int(complete),
                base,
                base_lineage,
                *data,
            ),
            self._filled,
        )

    def fill_item(self, identity: bytes, seen: SeenItem, lease: object) -> Answer[None]:
        """Bring what SQL said. Of what is too large only the fence is kept, so that nobody has to
        move it again."""
        row = seen.row
        if row is None:
            return None  # nothing can be settled of it, and so nothing filled in
        assert isinstance(lease, Lease)
        data = packed_item(row, read=True)
        version, lives = (_NOTHING_THERE, 0) if data is None else (seen.version, _lives(seen.left))
        return Request(
            script("fill"),
            identity,
            (
                lease.nonce,
                lease.time,
                self._ttl_now(),
                1,
                LARGEST_TAIL,
                lives,
                lease.generation,
                _number(row.fence),
                -1,
                *version,
                _NONE,
                1,
                -1,
                _NONE,
                *([] if data is None else [data]),
            ),
            self._filled,
        )

    def remember(self, identity: bytes, seen: Snapshot) -> None:
        """Keep in this process what SQL said: the next look says how far it has seen."""
        self._tails.keep(identity, seen, None)

    def mark(
        self, identity: bytes, token: str, believed: bytes | None, *, attempt: int, whatever: bool
    ) -> Answer[Marked]:
        """A writer is about to commit. The more often it was refused, the longer it is let be."""
        patience = min(_PATIENCE * 2**attempt, _LONGEST_PATIENCE)

        def understand(answer: Any) -> Marked:
            _, fence, nonce = answer.split(b" ")
            return Marked(None if fence == b"-" else int(fence, 16), nonce, believed)

        arguments = f"{token} {int(patience * 1000)} {self._ttl_now()}"
        return Request(script("mark"), identity, (arguments,), understand, whatever)

    def publish(
        self,
        identity: bytes,
        token: str,
        publication: Publication,
        marked: Marked,
        whole: int | None,
    ) -> Answer[int | None]:
        """A writer has committed."""
        version, rows = publication.version, publication.rows
        data, fits = packed(rows)
        if not fits:
            data = []  # more than an entry takes: it is dropped, and the next reader fills it
        brings_all = whole is not None and fits and marked.believed is not None
        return self._publish(
            identity,
            token,
            marked,
            self.messages,
            0,
            (version.epoch, rows[0].seq if rows else version.head + 1, version.head),
            _number(publication.lineage) if publication.lineage else _NONE,
            whole if brings_all else None,
            -1 if publication.session is None else publication.session,
            data,
        )

    def publish_item(
        self, identity: bytes, token: str, wrote: WrittenItem, marked: Marked
    ) -> Answer[int | None]:
        """A writer has committed an item. It is all there is, where nobody can be writing of whom
        the entry does not know: it knew a fence, or there was nothing to be written to."""
        row = wrote.row
        knows = marked.believed is not None and (marked.fence is not None or wrote.made)
        data = packed_item(row) if row is not None and knows else None
        brings = row is not None and data is not None
        return self._publish(
            identity,
            token,
            marked,
            1,
            _lives(row.ttl) if row is not None and brings else 0,
            (0, 0, wrote.number),
            _NONE,
            row.fence if row is not None and brings else None,
            -1,
            [] if data is None else [data],
        )

    def _publish(
        self,
        identity: bytes,
        token: str,
        marked: Marked,
        most: int,
        lives: int,
        where: tuple[int, int, int],
        lineage: str,
        fence: int | None,
        session: int,
        data: Sequence[bytes],
    ) -> Request[int]:
        epoch, first, head = where
        generation = _NONE if marked.believed is None else _generation(marked.believed)
        # The token is also what the nonce is made of: Redis adds the moment.
        arguments = (
            f"{token} {token} {self._ttl_now()} {most} {LARGEST_TAIL} {lives} "
            f"{epoch} {first} {head} {lineage} {marked.lease.decode()} {generation} "
            f"{_NONE if fence is None else _number(fence)} {session}"
        )
        return Request(script("publish"), identity, (arguments, *data), int)

    def lift(self, identity: bytes, token: str) -> Answer[int | None]:
        """A writer has rolled back, and knows it."""
        return Request(script("lift"), identity, (token,), int)

    def together(self, answers: Sequence[Answer[T]]) -> Answer[list[T]]:
        """Several calls in one round trip; on a cluster one after the other."""
        requests: list[Request[T]] = []
        for answer in answers:
            assert isinstance(answer, Request), "every call of this cache is a request"
            requests.append(answer)
        return Several(tuple(requests))

    def ping(self) -> Answer[bool]:
        """Ask whether Redis is there, whatever the breaker says."""
        return Request(script("ping"), secrets.token_bytes(20), (), self._run_seen, True)

    def servers(self) -> Answer[list[CacheServer]]:
        """Ask every server what it says of itself, whatever the breaker says."""
        return questions()

    def discard(self, identity: bytes) -> Answer[int | None]:
        """Throw an entry away that is not what was written."""
        self._tails.drop(identity)
        return Request(script("drop"), identity, (), int)

    def drop(self, identity: bytes) -> None:
        """Forget what this process holds; what Redis held went when the erasure was published."""
        self._tails.drop(identity)

    def empty(self) -> None:
        """Forget every session here; those in Redis are of a generation that is over."""
        self._tails.forget()

    # -- round trips -------------------------------------------------------------------------

    def exchange(self, answer: Answer[T]) -> T:
        """Make the round trip, in this thread."""
        if not isinstance(answer, Later):
            return answer
        request: Asked[T] = request_of(answer)
        if not self.breaker.well:
            self._may_try(request)
        began, trips = self._clock(), 1
        try:
            said = self._looked(request, began) if request.script.looks else None
            if said is None:
                client = self._clients.sync()
                trips = trips_of(client, request)
                said = say(client, request, self._key)
        except Misconfigured:
            raise
        except Exception as fault:  # whatever a cache does wrong, the database goes on
            raise self._failed(fault, request, self._clock() - began) from fault
        return self._understood(request, said, (self._clock() - began) / trips)

    def _looked(self, request: Asked[Any], now: float) -> Any:
        """The answer to a look, on a connection that is kept for them; None where none is, or Redis
        does not know the script yet."""
        if not isinstance(request, Request) or (lines := self._clients.lines()) is None:
            return None
        (argument,) = request.arguments
        try:
            return lines.ask(request.script, self.key_of(request.identity), argument, now)
        except NoScriptError:
            return None

    async def aexchange(self, answer: Answer[T]) -> T:
        """Like ``exchange``, on the running loop."""
        if not isinstance(answer, Later):
            return answer
        request: Asked[T] = request_of(answer)
        self._may_try(request)
        began, trips = self._clock(), 1
        within = Within(CALL_TIMEOUT if self._clients.ours else SLOWEST)
        try:
            async with within:
                client = await self._clients.asynchronous()
                trips = trips_of(client, request)
                said = await asay(client, request, self._key, within)
        except Misconfigured:
            raise
        except Exception as fault:  # whatever a cache does wrong, the database goes on
            took = self._clock() - began - within.delayed
            raise self._failed(fault, request, took) from fault
        return self._understood(request, said, (self._clock() - began - within.delayed) / trips)

    @property
    def left_alone(self) -> bool:
        """Whether the breaker is open."""
        return self.breaker.open

    @property
    def blind(self) -> bool:
        """Whether Redis hides which run of it answers: then nothing in it is believed."""
        return self._blind

    def key_of(self, identity: bytes) -> str:
        """Under which key Redis holds a session, or an item."""
        return f"onrecord:{self._namespace()}:{identity.hex()}"

    def close(self) -> None:
        """Close the clients that are ours."""
        self._clients.close()

    async def aclose(self) -> None:
        """Like ``close``."""
        await self._clients.aclose()

    def _may_try(self, request: Asked[Any]) -> None:
        if not request.whatever and not self.breaker.allows():
            self.counters.degraded_reads += request.script.looks
            raise CacheUnavailable("It failed a moment ago.")

    def _failed(self, fault: Exception, request: Asked[Any], took: float) -> CacheUnavailable:
        self.counters.degraded_reads += request.script.looks
        why = f"{type(fault).__name__}: {fault}"[:_LONGEST_WHY]
        # A process that was stopped, or waited for its own threads, says nothing of Redis.
        waited = min(took, CALL_TIMEOUT) if self._clients.ours else took
        if self._clients.answered(fault):
            self._warn_once(why)
            return CacheUnavailable(f"It refuses ({why}).", waited)
        self.counters.openings += self.breaker.failed(why)
        return CacheUnavailable(f"It does not answer ({why}).", waited)

    def _understood(self, request: Asked[T], said: Any, took: float) -> T:
        """The answer in our words; what is no answer of our scripts is as good as none."""
        try:
            understood = request.understand(said)
        except Exception as fault:  # whatever it said: the entry's fault, and no sign of an outage
            self.counters.degraded_reads += request.script.looks
            why = f"{request.script.name}: {type(fault).__name__}: {fault}"[:_LONGEST_WHY]
            self._warn_once(why)
            raise CacheUnavailable(f"Its answer cannot be read ({why}).") from fault
        if took > SLOWEST:
            self.counters.openings += self.breaker.failed(f"a call took {took:.1f} s")
        elif not self.breaker.well or self._warned:
            self.breaker.succeeded()
            self._warned.clear()
        return understood

    def _warn_once(self, why: str) -> None:
        if why not in self._warned and len(self._warned) < _MOST_WARNED:
            self._warned.add(why)
            log.warning("the cache answers, and is of no use, reads go to the database: %s", why)

    def _key(self, request: Request[Any]) -> str:
        if request.script.name == "ping":  # asked also where no database says whose keys they are
            return f"onrecord:ping:{request.identity.hex()}"
        return self.key_of(request.identity)

    def _ttl_now(self) -> int:
        """Milliseconds, a little more or less each time, so that not all end at once."""
        return int(self._ttl * (1 + _JITTER * (2 * self._dice.random() - 1)))

    # -- answers -----------------------------------------------------------------------------

    def _glance(
        self, identity: bytes, held: Snapshot | None, generation: str, answer: Any
    ) -> Glance[Snapshot]:
        about, rows = answer
        hit, settle, now, joins, sent_all, *header = self._read(about)
        generated, fence, number, epoch, head, lineage, _, complete, _, _, nonce = header
        there = None if epoch == b"-1" else Version(int(epoch), int(head))
        # Where a writer left a mark, or did without, SQL may have fallen back and gone on since: a
        # later writer has added to what was lost, and the newest lineage tells nobody.
        goes_on = settle is Settle.NOT_NEEDED and generated.decode() == generation
        if not (hit or goes_on):
            there = None
        seen = None
        if there is not None:
            try:
                seen = Snapshot(
                    None if number == b"-1" else int(number),
                    there,
                    _unpacked(rows, there.head),
                    complete == sent_all == b"1",
                    int(lineage, 16),
                    0 if fence == b"-" else int(fence, 16),
                    cached=True,
                    cut=sent_all == b"0",
                )
            except (Garbled, ValueError) as fault:
                log.warning("an entry of the cache is not what was written: %s", fault)
                self.counters.misses += 1
                return Glance(None, False, None, damaged=True)
            if joins == b"1" and held is not None:
                seen = held.with_newer(seen, self.messages)
            else:
                seen = replace(seen, past=new_past())
        if hit and seen is not None:
            self.counters.hits += 1
            self._tails.keep(identity, seen, None)
        else:
            self.counters.misses += 1
            # Known, and nobody is writing: it only was too long ago.
            self.counters.validations += there is not None and settle is Settle.NOT_NEEDED
        past = 0 if seen is None else seen.past
        lease = Lease(nonce, now, generation, there, lineage.decode(), past)
        fresh = hit and not self._strict and not self._blind
        if seen is None and held is not None and not held.cut:  # else less would be filled in
            seen = held
        return Glance(seen, fresh, lease, settle, hit=hit)

    def _glance_at_item(self, generation: str, answer: Any) -> Glance[SeenItem]:
        about, _, data = answer.partition(b"\n")
        said, settle, seconds, micros, run, fence, epoch, head, nonce = about.split(b" ")
        if self._blind or run == b"-":
            self._run_seen(run)
        hit, settle = said == b"1", _SETTLE[settle]
        seen = None
        if hit:
            try:
                row = unpacked_item(data)
                if row.version != int(head):
                    raise Garbled(f"version {row.version} stands where {int(head)} was written")
                if row.fence != int(fence, 16):
                    raise Garbled(f"fence {row.fence} stands where {int(fence, 16)} was written")
                seen = SeenItem(row, row.version)
            except (Garbled, ValueError) as fault:
                log.warning("an entry of the cache is not what was written: %s", fault)
                self.counters.misses += 1
                return Glance(None, False, None, damaged=True)
            self.counters.hits += 1
        else:
            self.counters.misses += 1
            self.counters.validations += epoch != b"-1" and settle is Settle.NOT_NEEDED
        now = int(seconds) * 1000 + int(micros) // 1000
        lease = Lease(nonce, now, generation, None, _NONE, 0)
        return Glance(seen, hit and not self._blind, lease, settle)

    def _read(self, about: bytes) -> tuple[Any, ...]:
        """What a look says: hit, settle, Redis' milliseconds, joins, all; and the rest of the
        header, from the generation on."""
        hit, settle, seconds, micros, joins, sent_all, run, *header = about.split(b" ")
        self._run_seen(run)
        now = int(seconds) * 1000 + int(micros) // 1000
        return hit == b"1", _SETTLE[settle], now, joins, sent_all, *header

    def _run_seen(self, run: Any) -> bool:
        """Note whether Redis says which run of it answers; it has answered."""
        blind = run == b"-"
        if blind and not self._blind:
            log.warning(
                "the cache hides which run of its server answers, so nobody could tell a failover: "
                "every read asks the database, as with consistency='strict'. Allow INFO."
            )
        self._blind = blind
        return True

    def _filled(self, answer: Any) -> None:
        if answer:
            self.counters.fills += 1
        else:
            self.counters.refused_fills += 1


def _unpacked(rows: Sequence[bytes], head: int) -> tuple[MessageRow, ...]:
    """The messages of an entry, oldest first; Garbled where they are not in order."""
    if not rows:
        return ()
    found = tuple([unpacked(row) for row in reversed(rows)])
    places = [row.seq for row in found]
    if places != sorted(set(places)) or places[-1] > head:
        raise Garbled("its messages are not in order")
    return found


def _number(number: int) -> str:
    """A fence or a lineage as the scripts compare it."""
    return f"{number:x}"


@lru_cache(8)
def _generation(state: bytes) -> str:
    """The name of a generation: a header's fields are parted by spaces."""
    return state.rpartition(b" ")[2].decode()


def _lives(left: int | None) -> int:
    """Milliseconds for a script, of microseconds that something has to live; 0 for good."""
    return 0 if left is None else max(1, left // 1000)
