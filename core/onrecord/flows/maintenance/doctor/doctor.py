"""A doctor for a store: looks at what bites, changes nothing, and says how bad it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from onrecord.diagnosis import Diagnosis, Finding
from onrecord.flow import Flow, InThread, do
from onrecord.flows.maintenance.doctor import cache, contents, database, disk
from onrecord.flows.maintenance.doctor.packages import packages
from onrecord.flows.maintenance.doctor.rounds import Examined, Rounds
from onrecord.flows.maintenance.doctor.schema import Schema, schema, switch
from onrecord.flows.maintenance.doctor.wraparound import wraparound
from onrecord.flows.shared import Desk
from onrecord.ledger.maintenance.place import Place, place_of
from onrecord.stored.clock import now


def doctor(
    desk: Desk, examined: Examined, within: float, clock: Callable[[], int] = now
) -> Flow[Diagnosis]:
    """Make every check that is for this store. ``clock`` is this machine's."""
    rounds = Rounds(within, clock)
    yield from rounds.check("packages", packages())
    log_size = yield from _file(rounds, examined)
    if (yield from rounds.check("database", database.database(rounds))):
        yield from _database(rounds, examined, log_size)
        found = Schema()
        yield from rounds.check("schema", schema(rounds, examined, found))
        yield from _cache(rounds, examined)
        if found.ready:
            yield from _contents(rounds, desk, examined)
    else:
        yield from _cache(rounds, examined)
    return rounds.diagnosis()


def _file(rounds: Rounds, examined: Examined) -> Flow[int]:
    """Look at the file, where it is one; how large its log is."""
    if examined.file is None:
        return 0
    places: list[Place | None] = []

    def looked() -> Flow[Iterable[Finding] | None]:
        assert examined.file is not None, "asked above"
        places.append((yield from do(InThread(partial(place_of, examined.file)))))
        return disk.disk(places[0])

    if not (yield from rounds.check("disk", looked())):
        return 0
    place = places[0]
    yield from rounds.check("permissions", _said(disk.permissions(place, examined.file)))
    return 0 if place is None else place.log_size


def _database(rounds: Rounds, examined: Examined, log_size: int) -> Flow[None]:
    yield from rounds.check("versions", database.versions(rounds, examined))
    yield from rounds.check("permissions", database.grants(rounds))
    yield from rounds.check("durability", database.durability(rounds))
    yield from rounds.check("connections", database.connections(rounds, examined))
    yield from rounds.check("transactions", database.transactions(rounds))
    yield from rounds.check("wraparound", wraparound(rounds))
    yield from rounds.check("log", database.log(rounds, log_size))
    yield from rounds.check("clock", database.clock(rounds))


def _cache(rounds: Rounds, examined: Examined) -> Flow[None]:
    servers = cache.Servers()
    yield from rounds.check("cache", cache.cache(rounds, examined, servers))
    if servers.found:
        yield from rounds.check("cache-memory", _said(cache.memory(servers)))
        yield from rounds.check("cache-disk", _said(cache.disk(servers)))
        yield from rounds.check("cache-clock", _said(cache.clock(servers)))


def _contents(rounds: Rounds, desk: Desk, examined: Examined) -> Flow[None]:
    yield from rounds.check("clock", database.times(rounds))
    if examined.cache is not None:
        yield from rounds.check("cache", switch(rounds))
    yield from rounds.check("room", database.room(rounds))
    yield from rounds.check("sealing", contents.sealing(rounds))
    yield from rounds.check("dictionaries", contents.dictionaries(rounds, examined))
    yield from rounds.check("expired", contents.expired(rounds, desk))
    yield from rounds.check("index", contents.index(rounds))
    yield from rounds.check("embedder", contents.embedder(rounds, desk))
    yield from rounds.check("feeds", contents.feeds(rounds))
    yield from rounds.check("damage", contents.damage(rounds))


def _said(findings: Iterable[Finding]) -> Flow[Iterable[Finding]]:
    """Findings of what is known already."""
    yield from ()
    return list(findings)
