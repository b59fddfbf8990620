"""The cache: what its server says of itself, and which of it matters.

An entry that is thrown away costs a read of the database, never a wrong answer: its marks may go
with it, and whoever finds nothing settles before it fills (docs/explanation/cache-protocol.md). So
none of Redis' policies is unsafe. A server that refuses to write is what hurts: who cannot mark
switches the cache off for everybody, and waits.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from onrecord.cache import CacheUnavailable
from onrecord.cache.server import CacheServer
from onrecord.diagnosis import Finding
from onrecord.errors import Misconfigured
from onrecord.flow import Flow, Hot, do
from onrecord.flows.maintenance.doctor.database import SKEW, skew
from onrecord.flows.maintenance.doctor.rounds import (
    Examined,
    Rounds,
    duration,
    finding,
    numbers,
    size,
)
from onrecord.stored.clock import MICROSECONDS

_OLDEST: Final = "6.2"
_NEARLY_FULL: Final = 0.9
_MOST_OF_A_MACHINE: Final = 0.9


class Servers:
    """The servers that have answered, and between which moments."""

    def __init__(self) -> None:
        self.found: list[CacheServer] = []
        self.before = 0
        self.after = 0


def cache(rounds: Rounds, examined: Examined, servers: Servers) -> Flow[Iterable[Finding] | None]:
    """Ask the least there is to ask, by what may do all that the protocol does."""
    if examined.cache is None:
        return None
    found: list[Finding] = []
    works = True
    try:
        yield from do(Hot(lambda hot: hot.ping()))
    except (Misconfigured, CacheUnavailable) as fault:
        works = False
        found.append(
            finding(
                "cache",
                "error",
                f"{examined.cache} is of no use as a cache: {fault} Reads go to the database, and "
                f"a process that writes pauses once for some seconds. Nothing is lost.",
                "Check that Redis runs, its address and database, user and password, its memory, "
                "and what this user may do there.",
            )
        )
    servers.before = rounds.clock()
    with suppress(Misconfigured, CacheUnavailable):  # the finding above says why
        servers.found = yield from do(Hot(lambda hot: hot.servers()))
    servers.after = rounds.clock()
    blind = works and (yield from do(Hot(lambda hot: hot.blind)))
    if blind:
        found.append(
            finding(
                "cache",
                "warning",
                "Redis hides which run of it answers (INFO is not allowed): a failover could not "
                "be noticed, so every read asks the database, as with consistency='strict'.",
                "Allow this user INFO: ACL SETUSER … +info.",
            )
        )
    for server in servers.found:
        found += _about(server, works, blind)
    return found


def _about(server: CacheServer, works: bool, blind: bool) -> Iterable[Finding]:
    where = f"{server.product} {server.name}".strip()
    if server.version is not None and numbers(server.version) < numbers(_OLDEST):
        yield finding(
            "cache",
            "error",
            f"{where} is of version {server.version}, and {_OLDEST} is needed.",
            "Upgrade it, or do without a cache.",
        )
    if server.replica:
        yield finding(
            "cache",
            "error",
            f"{where} is a replica: it takes no writes.",
            "Give the address of its master, or of the Sentinels: redis+sentinel://….",
        )
    refused = [one for one in server.refused if not (one == "INFO" and blind)]
    if refused and works:
        yield finding(
            "cache",
            "note",
            f"{where} does not let this user ask {' and '.join(refused)}: not all could be "
            f"checked. The cache does not need it.",
            "Nothing has to be done. Managed services often refuse CONFIG.",
        )


def memory(servers: Servers) -> Iterable[Finding]:
    """Judge what happens when it is full."""
    for server in servers.found:
        where = f"{server.product} {server.name}".strip()
        most, used = server.most, server.used
        if most is None or used is None:
            continue
        if not most:
            yield finding(
                "cache-memory",
                "note",
                f"{where} has no maxmemory: it takes as much as there is ({size(used)} now), and "
                f"the system may end it when there is no more.",
                "Set maxmemory, and maxmemory-policy allkeys-lru where it is a cache alone.",
            )
            continue
        if server.machine and most > _MOST_OF_A_MACHINE * server.machine:
            yield finding(
                "cache-memory",
                "warning",
                f"{where} may take {size(most)}, and its machine has {size(server.machine)}: the "
                f"system may end it before it throws anything away.",
                "Lower maxmemory to three quarters of the machine's memory.",
            )
        full = used >= _NEARLY_FULL * most
        if server.policy == "noeviction":
            yield finding(
                "cache-memory",
                "error" if full else "warning",
                f"{where} refuses writes when it is full (maxmemory-policy noeviction), and has "
                f"{size(used)} of {size(most)}. Who cannot mark an entry switches the cache off "
                f"for all processes, and waits for some seconds before it commits.",
                "CONFIG SET maxmemory-policy allkeys-lru, or volatile-lru where others keep what "
                "must stay: each entry has an end, and may be thrown away at any time.",
            )
        elif full and server.evicted:
            yield finding(
                "cache-memory",
                "note",
                f"{where} is full ({size(used)} of {size(most)}) and throws away "
                f"({server.policy}) what was not used for long: {server.evicted:,} keys so far. "
                f"Each costs a read of the database, and no answer is wrong.",
                "If health().counters shows many misses, raise maxmemory.",
            )


def disk(servers: Servers) -> Iterable[Finding]:
    """Judge what it saves."""
    for server in servers.found:
        where = f"{server.product} {server.name}".strip()
        ways = [
            *(["every command in a log (appendonly)"] if server.appends else []),
            *([f"all of it now and then (save {server.saves})"] if server.saves else []),
        ]
        if ways:
            yield finding(
                "cache-disk",
                "note",
                f"{where} writes {' and '.join(ways)} to its disk. The cache does not need it: "
                f"after a restart every entry of before is thrown away.",
                "Where it is a cache alone: CONFIG SET save '' and appendonly no. A disk that is "
                "full or slow would stop its writes.",
            )


def clock(servers: Servers) -> Iterable[Finding]:
    """Judge its clock."""
    for server in servers.found:
        if server.clock is None:
            continue
        apart = skew(servers.before, server.clock, servers.after)
        if abs(apart) >= SKEW:
            where = f"{server.product} {server.name}".strip()
            direction = "ahead of" if apart > 0 else "behind"
            yield finding(
                "cache-clock",
                "note",
                f"The clock of {where} is {duration(abs(apart) / MICROSECONDS)} {direction} this "
                f"machine's. No answer of the cache depends on it.",
                "Have both set by NTP: logs are easier to compare.",
            )
