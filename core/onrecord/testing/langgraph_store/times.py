"""Cases: when an item was made and changed."""

from __future__ import annotations

from time import monotonic
from typing import Final

from langgraph.store.base import Item

from onrecord.testing.langgraph_store.case import Group, expect, expect_same
from onrecord.testing.langgraph_store.subject import Subject, Wrong

TIMES = Group("Times")
_OFTEN: Final = 20
_LONG: Final = 3.0
"""Seconds in which every clock has moved."""


async def _there(ask: Subject) -> Item:
    item = await ask.get(ask.ns(), "k")
    if item is None:
        raise Wrong("get finds nothing")
    return item


@TIMES.case("`created_at` stays when an item is put again.")
async def created_at_stays(ask: Subject) -> None:
    await ask.put(ask.ns(), "k", {})
    first = latest = await _there(ask)
    ends = monotonic() + _LONG
    # Until its clock has moved on: some have whole seconds.
    while latest.updated_at == first.updated_at and monotonic() < ends:
        await ask.put(ask.ns(), "k", {})
        latest = await _there(ask)
    expect(latest.updated_at != first.updated_at, "`updated_at` never moves")
    expect(latest.created_at == first.created_at, "it moves with every put")


@TIMES.case("`updated_at` moves with every put, by microseconds.")
async def updated_at_moves(ask: Subject) -> None:
    times = []
    for n in range(_OFTEN):
        await ask.put(ask.ns(), "k", {"n": n})
        times.append((await _there(ask)).updated_at)
    expect(any(time.microsecond for time in times), "it has whole seconds")
    expect(times == sorted(times), "it goes back")
    # Two puts may be in one microsecond of a quick clock; half of them are not.
    expect(len(set(times)) > _OFTEN / 2, "it stays the same for most puts")


@TIMES.case("Times are aware of their time zone.")
async def times_are_aware(ask: Subject) -> None:
    await ask.put(ask.ns(), "k", {})
    for found in (await ask.get(ask.ns(), "k"), *await ask.search(ask.ns())):
        assert found is not None
        aware = found.created_at.tzinfo is not None and found.updated_at.tzinfo is not None
        expect(aware, "they are naive")


@TIMES.case("A get and a search tell the same times, and reading changes none.")
async def times_are_the_same_everywhere(ask: Subject) -> None:
    await ask.put(ask.ns(), "k", {})
    told = set()
    for _ in range(3):
        for found in (await ask.get(ask.ns(), "k"), *await ask.search(ask.ns())):
            assert found is not None
            told.add((found.created_at, found.updated_at))
    expect_same(len(told), 1, "different pairs of times")
