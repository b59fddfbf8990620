"""Cases: time to live. Nothing here is wrong because a machine is slow.

What a case waits for, it reads for until it is so. Where something has to be there still, the
case knows from its own clock whether it could have gone by then, and tries longer times if so.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Final

from onrecord.testing.langgraph_store.case import Group, expect
from onrecord.testing.langgraph_store.subject import NotSeen, Subject, Wrong

TTL = Group(
    "Time to live",
    "In minutes, by the clock of the store. What has expired is absent from that moment on, swept "
    "or not.",
)
SHORT: Final = 0.05
"""Seconds after which an item may be gone."""
LATEST: Final = 1.1
"""Seconds after which it has to be."""
STILL_THERE: Final = "expired items are returned"
HIDDEN: Final = "expired items are returned, so that it does not show"


def _minutes(seconds: float) -> float:
    return seconds / 60


async def _until_it_shows(ask: Subject, gone: Callable[[], Awaitable[bool]]) -> None:
    """The same, where something else is asked for."""
    try:
        await _until(ask, gone)
    except Wrong:
        raise NotSeen(HIDDEN) from None


async def _until(ask: Subject, gone: Callable[[], Awaitable[bool]]) -> None:
    """Ask until it is so; at least once after the last moment."""
    latest = monotonic() + LATEST
    while True:
        late = monotonic() > latest
        if await gone():
            return
        expect(not late, STILL_THERE)
        await ask.pause()


@TTL.case("A store that says it has no time to live refuses one, and one that has it takes it.")
async def supports_ttl(ask: Subject) -> None:
    try:
        await ask.put(ask.ns(), "k", {}, ttl=60)
    except NotImplementedError:
        expect(not ask.store.supports_ttl, "it is refused")
    else:
        expect(ask.store.supports_ttl, "it is taken, though supports_ttl is False")


@TTL.case("An item that has expired is not got.", needs_ttl=True)
async def expired_is_not_got(ask: Subject) -> None:
    async def gone() -> bool:
        return await ask.get(ask.ns(), "k", refresh_ttl=False) is None

    await ask.put(ask.ns(), "k", {}, ttl=_minutes(SHORT))
    await _until(ask, gone)


@TTL.case("An item that has expired is not found, and takes nobody's place.", needs_ttl=True)
async def expired_is_not_found(ask: Subject) -> None:
    async def gone() -> bool:
        pages = [await ask.keys(ask.ns(), limit=n, refresh_ttl=False) for n in (1, 10)]
        return pages == [["stays"], ["stays"]]

    await ask.put(ask.ns(), "stays", {})
    await ask.put(ask.ns(), "goes", {}, ttl=_minutes(SHORT))
    await _until(ask, gone)


@TTL.case("A namespace that has only expired items is not listed.", needs_ttl=True)
async def expired_is_not_listed(ask: Subject) -> None:
    async def gone() -> bool:
        return await ask.namespaces() == [ask.ns("stays")]

    await ask.put(ask.ns("stays"), "k", {})
    await ask.put(ask.ns("goes"), "k", {}, ttl=_minutes(SHORT))
    await _until(ask, gone)


@TTL.case("An item that has expired is not brought back by a refresh.", needs_ttl=True)
async def expired_stays_away(ask: Subject) -> None:
    async def gone() -> bool:
        return await ask.get(ask.ns(), "other", refresh_ttl=False) is None

    await ask.put(ask.ns(), "k", {}, ttl=_minutes(SHORT))
    await ask.put(ask.ns(), "other", {}, ttl=_minutes(SHORT))
    await _until_it_shows(ask, gone)
    expect(await ask.get(ask.ns(), "k", refresh_ttl=True) is None, "a get brings it back")
    expect(await ask.search(ask.ns(), refresh_ttl=True) == [], "a search brings it back")


@TTL.case("A time to live is in minutes.", needs_ttl=True)
async def ttl_is_minutes(ask: Subject) -> None:
    lives = 0.05 * 60
    while True:
        began = monotonic()
        await ask.put(ask.ns(), "k", {}, ttl=_minutes(lives))
        # Were they seconds, it would be gone in a sixtieth of this.
        while monotonic() < began + lives / 10:
            item = await ask.get(ask.ns(), "k", refresh_ttl=False)
            if item is None and monotonic() < began + lives:
                raise Wrong("it is gone before its time")
            await ask.pause()
        if monotonic() < began + lives:
            return
        lives *= 4


async def _outlives(ask: Subject, read: Callable[[], Awaitable[bool]]) -> None:
    """Ask whether what is read again and again outlives what is not."""
    lives = 0.4
    while True:
        last, longest = monotonic(), 0.0
        await ask.put(ask.ns("read"), "k", {}, ttl=_minutes(lives))
        await ask.put(ask.ns("left"), "k", {}, ttl=_minutes(lives))
        ends = monotonic() + lives + LATEST
        alive = True
        while True:
            late = monotonic() > ends
            alive = await read() and alive
            now = monotonic()
            longest, last = max(longest, now - last), now
            if await ask.get(ask.ns("left"), "k", refresh_ttl=False) is None:
                alive = await read() and alive
                longest = max(longest, monotonic() - last)
                break
            if late:
                raise NotSeen(HIDDEN)
            await ask.pause()
        if alive:
            return
        # A store may refresh when a tenth of the time is over; then it lives nine tenths more.
        expect(longest > lives / 2, "it expires all the same")
        lives *= 4


@TTL.case(
    "A get with `refresh_ttl=True` begins the time anew, if it is a part of a minute, too.",
    needs_ttl=True,
)
async def get_refreshes(ask: Subject) -> None:
    async def read() -> bool:
        return await ask.get(ask.ns("read"), "k", refresh_ttl=True) is not None

    await _outlives(ask, read)


@TTL.case("A search with `refresh_ttl=True` begins the time of what it finds anew.", needs_ttl=True)
async def search_refreshes(ask: Subject) -> None:
    async def read() -> bool:
        return await ask.keys(ask.ns("read"), refresh_ttl=True) == ["k"]

    await _outlives(ask, read)


@TTL.case("Reads with `refresh_ttl=False` begin nothing anew.", needs_ttl=True)
async def no_refresh(ask: Subject) -> None:
    async def gone() -> bool:
        found = await ask.search(ask.ns("read"), refresh_ttl=False)
        return await ask.get(ask.ns("read"), "k", refresh_ttl=False) is None and not found

    for label in ("read", "left"):
        await ask.put(ask.ns(label), "k", {}, ttl=_minutes(0.3))
    try:
        await _until(ask, gone)
    except Wrong:
        if await ask.get(ask.ns("left"), "k", refresh_ttl=False) is not None:
            raise NotSeen(HIDDEN) from None
        raise Wrong("reading keeps it alive") from None


@TTL.case("A put without a time to live takes away the one that there was.", needs_ttl=True)
async def put_without_ttl(ask: Subject) -> None:
    async def gone() -> bool:
        return await ask.get(ask.ns(), "other", refresh_ttl=False) is None

    await ask.put(ask.ns(), "k", {}, ttl=_minutes(SHORT))
    await ask.put(ask.ns(), "other", {}, ttl=_minutes(SHORT))
    await ask.put(ask.ns(), "k", {}, ttl=None)
    await _until_it_shows(ask, gone)
    expect(await ask.get(ask.ns(), "k") is not None, "it expires all the same")
