"""Cases: several who use a store at once, and those who use it badly."""

from __future__ import annotations

import asyncio

from onrecord.testing.langgraph_store.case import Group, Question, expect, expect_same
from onrecord.testing.langgraph_store.subject import Subject, Wrong

COMPANY = Group(
    "In company",
    "Several use a store at once: in the sync kind threads, in the async kind tasks of one tick of "
    "the loop.",
)


def _alone(value: object) -> Question:
    async def question(ask: Subject) -> None:
        got = await ask.together(
            ask.put(ask.ns("a"), "good", {"v": 1}),
            ask.put(ask.ns("b"), "bad", {"v": value}),
            ask.put(ask.ns("c"), "good", {"v": 3}),
        )
        _expect_unharmed([got[0], got[2]])
        for label in ("a", "c"):
            expect(await ask.get(ask.ns(label), "good") is not None, "a neighbour is not stored")

    return question


def _expect_unharmed(results: list[BaseException | None]) -> None:
    for result in results:
        if result is not None:
            expect(False, f"a neighbour raises {type(result).__name__}")


for _name, _what, _value in (
    ("object", "an object that nobody can store", object()),
    ("bytes", "bytes", b"\x00"),
    ("nan", "NaN", float("nan")),
    ("nul", "a NUL", "a\x00b"),
    ("surrogate", "half a surrogate pair", "\ud800"),
    ("big_integer", "an integer beyond 64 bits", 2**70),
):
    COMPANY.add(
        f"neighbours_of_{_name}",
        f"A put of {_what} leaves others of the same moment alone.",
        _alone(_value),
    )


@COMPANY.case("A search that is refused leaves puts of the same moment alone.")
async def neighbours_of_a_bad_search(ask: Subject) -> None:
    async def bad() -> None:
        await ask.search(ask.ns("b"), filter={"a": {"$near": 1}})

    await ask.put(ask.ns("b"), "k", {"a": 1})
    got = await ask.together(ask.put(ask.ns("a"), "k", {}), bad(), ask.put(ask.ns("c"), "k", {}))
    _expect_unharmed([got[0], got[2]])
    found = await ask.namespaces()
    expect_same(sorted(found), [ask.ns("a"), ask.ns("b"), ask.ns("c")], "namespaces")


@COMPANY.case("Eight writers at once, each with keys of its own, lose nothing.")
async def many_writers(ask: Subject) -> None:
    async def write(who: int) -> None:
        for n in range(10):
            await ask.put(ask.ns(f"w{who}"), f"k{n}", {"n": n})
            item = await ask.get(ask.ns(f"w{who}"), f"k{n}")
            expect_same(item and item.value, {"n": n}, "read back")

    for result in await ask.together(*(write(who) for who in range(8))):
        if result is not None:
            raise result
    expect_same(len(await ask.keys(ask.ns(), limit=1000)), 80, "items")


@COMPANY.case("A store may be used in another thread, and there on another event loop.")
async def used_elsewhere(ask: Subject) -> None:
    async def use() -> None:
        await ask.put(ask.ns(), "there", {"v": 2})
        item = await ask.get(ask.ns(), "here")
        expect_same(item and item.value, {"v": 1}, "read there")

    await ask.put(ask.ns(), "here", {"v": 1})
    try:
        await ask.elsewhere(use)
    except TimeoutError:
        expect(False, "there it waits for ever")
    except Wrong:
        raise
    except Exception as fault:  # of which the type says enough
        expect(False, f"there it raises {type(fault).__name__}")
    item = await ask.get(ask.ns(), "there")
    expect_same(item and item.value, {"v": 2}, "read here")


@COMPANY.case("A put that is cancelled, whenever, leaves the store of use.", kinds=("async",))
async def used_after_a_cancel(ask: Subject) -> None:
    for turns in range(8):
        task = asyncio.ensure_future(ask.put(ask.ns(), f"cancelled {turns}", {}))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await ask.put(ask.ns("after"), f"k{turns}", {})
    expect_same(len(await ask.keys(ask.ns("after"))), 8, "items")
