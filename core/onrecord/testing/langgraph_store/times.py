"""Cases: when an item was made and changed."""

from __future__ import annotations

from onrecord.testing.langgraph_store.case import Group, expect, expect_same
from onrecord.testing.langgraph_store.subject import Subject

TIMES = Group("Times")
_OFTEN = 20


@TIMES.case("`created_at` stays when an item is put again.")
async def created_at_stays(ask: Subject) -> None:
    times = set()
    for n in range(_OFTEN):
        await ask.put(ask.ns(), "k", {"n": n})
        item = await ask.get(ask.ns(), "k")
        assert item is not None
        times.add(item.created_at)
    expect(len(times) == 1, "it moves with every put")


@TIMES.case("`updated_at` moves with every put, by microseconds.")
async def updated_at_moves(ask: Subject) -> None:
    times = []
    for n in range(_OFTEN):
        await ask.put(ask.ns(), "k", {"n": n})
        item = await ask.get(ask.ns(), "k")
        assert item is not None
        times.append(item.updated_at)
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
