"""Cases: in which order a search finds, and what its pages are."""

from __future__ import annotations

from langgraph.store.base import PutOp

from onrecord.testing.langgraph_store.case import Group, expect, expect_same
from onrecord.testing.langgraph_store.subject import Subject

ORDER = Group(
    "Search: order and pages",
    "Agents list by search, page by page, while others write. So the order is one that everybody "
    "can name, and no two items share a place.",
)


async def _pages(ask: Subject, size: int, count: int) -> list[str]:
    found = []
    for offset in range(0, count, size):
        found += await ask.keys(ask.ns(), limit=size, offset=offset)
    return found


@ORDER.case('A prefix is compared label by label: `("a",)` is no prefix of `("ab",)`.')
async def prefix_by_labels(ask: Subject) -> None:
    for labels in (("a",), ("a", "b"), ("a", "b", "c"), ("ab",), ("A",), ("b", "a")):
        await ask.put(ask.ns(*labels), "-".join(labels), {})
    expect_same(sorted(await ask.keys(ask.ns("a"))), ["a", "a-b", "a-b-c"], "below a")
    expect_same(sorted(await ask.keys(ask.ns("a", "b"))), ["a-b", "a-b-c"], "below a, b")
    expect_same(await ask.keys(ask.ns("c")), [], "below c")


@ORDER.case("The empty prefix searches the whole store.")
async def whole_store(ask: Subject) -> None:
    await ask.put(ask.ns("a"), "k", {"root": ask.root})
    expect_same(await ask.keys((), filter={"root": ask.root}), ["k"], "found")


@ORDER.case("10 items are found where no limit is given; an offset beyond the end finds none.")
async def limit_and_offset(ask: Subject) -> None:
    for n in range(12):
        await ask.put(ask.ns(), f"k{n}", {})
    expect_same(len(await ask.keys(ask.ns())), 10, "without a limit")
    expect_same(len(await ask.keys(ask.ns(), limit=3)), 3, "with limit=3")
    expect_same(len(await ask.keys(ask.ns(), limit=5, offset=10)), 2, "with offset=10")
    expect_same(await ask.keys(ask.ns(), offset=12), [], "with offset=12")


@ORDER.case("A search without a query finds what was put last first.")
async def newest_first(ask: Subject) -> None:
    for key in ("c", "a", "d", "b", "e", "a"):
        await ask.put(ask.ns(), key, {})
    expect_same(await ask.keys(ask.ns()), ["a", "e", "b", "d", "c"], "found")


@ORDER.case("Pages have each item once, also when all were put in one batch.")
async def pages_are_whole(ask: Subject) -> None:
    keys = [f"k{n:03}" for n in range(200)]
    await ask.batch([PutOp(ask.ns(), key, {}) for key in keys])
    for size in (3, 7, 50):
        found = await _pages(ask, size, len(keys))
        expect(sorted(found) == keys, "a page repeats items of another, and others are missed")


@ORDER.case("To write one item leaves the others in their order.")
async def order_is_stable(ask: Subject) -> None:
    keys = [f"k{n:02}" for n in range(30)]
    await ask.batch([PutOp(ask.ns(), key, {}) for key in keys])
    before = await ask.keys(ask.ns(), limit=100)
    for key in ("k05", "k20", "k29"):
        await ask.put(ask.ns(), key, {"again": True})
        before.remove(key)
    others = [key for key in await ask.keys(ask.ns(), limit=100) if key in before]
    expect(others == before, "the others change places")


@ORDER.case("Who reads page by page misses nothing that was left alone while others put.")
async def pages_under_puts(ask: Subject) -> None:
    for attempt in range(3):
        namespace = ask.ns(str(attempt))
        keys = {f"k{n:02}" for n in range(30)}
        for key in sorted(keys):
            await ask.put(namespace, key, {})
        found: set[str] = set()
        touched: set[str] = set()
        for offset in range(0, 50, 10):
            page = await ask.keys(namespace, limit=10, offset=offset)
            found |= set(page)
            # One that was read already, one that was perhaps not, and a new one.
            for key in (*page[:1], f"k{offset // 2 + 3:02}", f"a{offset}"):
                await ask.put(namespace, key, {"again": True})
                touched.add(key)
        expect(keys - touched <= found, "items that nobody touched are missed")


@ORDER.case("A query is taken by a store without an index, and what has its words is found.")
async def query_is_taken(ask: Subject) -> None:
    await ask.put(ask.ns(), "k", {"text": "apples and pears"})
    expect_same(await ask.keys(ask.ns(), query="apples"), ["k"], "found")


@ORDER.case("To search where nothing is finds nothing, and makes nothing.")
async def search_makes_nothing(ask: Subject) -> None:
    expect_same(await ask.search(ask.ns("not", "there")), [], "found")
    expect_same(await ask.namespaces(), [], "namespaces")
