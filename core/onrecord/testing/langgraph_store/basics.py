"""Cases: put, get, delete, batches and their order."""

from __future__ import annotations

from langgraph.store.base import GetOp, Item, ListNamespacesOp, PutOp, SearchItem, SearchOp

from onrecord.testing.langgraph_store.case import Group, expect, expect_same
from onrecord.testing.langgraph_store.subject import Subject

BASICS = Group("Put, get, delete")


@BASICS.case("What was put is there, by get and by search, with its namespace and key.")
async def put_and_get(ask: Subject) -> None:
    namespace = ask.ns("a", "b")
    await ask.put(namespace, "k", {"v": 1})
    item = await ask.get(namespace, "k")
    expect(isinstance(item, Item), "get finds nothing")
    (hit,) = await ask.search(ask.ns("a"))
    expect(isinstance(hit, SearchItem), "a search returns something else than SearchItem")
    expect(hit.score is None, "a search without a query has scores")
    for found in (item, hit):
        assert found is not None
        expect_same((found.namespace, found.key, found.value), (namespace, "k", {"v": 1}), "found")


@BASICS.case("A put replaces the whole value.")
async def put_replaces(ask: Subject) -> None:
    await ask.put(ask.ns(), "k", {"a": 1, "b": 2})
    await ask.put(ask.ns(), "k", {"b": 3})
    item = await ask.get(ask.ns(), "k")
    expect_same(item and item.value, {"b": 3}, "value")
    expect_same(await ask.keys(ask.ns()), ["k"], "keys")


@BASICS.case("What was deleted is gone; to delete what is not there is no error.")
async def delete(ask: Subject) -> None:
    await ask.delete(ask.ns(), "never there")
    for key in ("a", "b"):
        await ask.put(ask.ns(), key, {})
    await ask.delete(ask.ns(), "a")
    await ask.delete(ask.ns(), "a")
    expect(await ask.get(ask.ns(), "a") is None, "get still finds it")
    expect_same(await ask.keys(ask.ns()), ["b"], "keys")


@BASICS.case("Keys are compared as they are: case, blanks, dots, wildcards, accents.")
async def keys_are_literal(ask: Subject) -> None:
    keys = ["k", "K", "k ", "k.k", "k/k", "%", "_", "*", "é", "e\u0301", "\U0001f600", "'", '"']
    for key in keys:
        await ask.put(ask.ns(), key, {"key": key})
    for key in keys:
        item = await ask.get(ask.ns(), key)
        expect_same(item and item.value, {"key": key}, f"value of {key!r}")
    expect_same(sorted(await ask.keys(ask.ns(), limit=100)), sorted(keys), "keys")


@BASICS.case("Text with a NUL is kept as a key, or refused; it is no other key.")
async def key_with_nul(ask: Subject) -> None:
    await ask.put(ask.ns(), "k", {"v": "k"})
    try:
        await ask.put(ask.ns(), "k\x00x", {"v": "with NUL"})
    except Exception:  # any refusal is right
        want = ["k"]
    else:
        want = ["k", "k\x00x"]
    expect_same(sorted(await ask.keys(ask.ns())), want, "keys")
    item = await ask.get(ask.ns(), "k")
    expect_same(item and item.value, {"v": "k"}, "value of 'k'")


@BASICS.case("`index=False` and `index=[…]` are taken by a store without an index.")
async def index_is_taken(ask: Subject) -> None:
    await ask.put(ask.ns(), "a", {"text": "x"}, index=False)
    await ask.put(ask.ns(), "b", {"text": "x"}, index=["text"])
    expect_same(sorted(await ask.keys(ask.ns())), ["a", "b"], "keys")


@BASICS.case("A batch has one result for each operation, in their order.")
async def batch_results(ask: Subject) -> None:
    await ask.put(ask.ns("x"), "k", {"v": 1})
    ops = (
        GetOp(ask.ns("x"), "k"),
        PutOp(ask.ns("y"), "new", {"v": 2}),
        SearchOp(ask.ns("x")),
        ListNamespacesOp(None, None, 1),
        GetOp(ask.ns("x"), "not there"),
    )
    got = await ask.batch(op for op in ops)  # any iterable
    shapes = ["item" if isinstance(one, Item) else type(one).__name__ for one in got]
    expect_same(shapes, ["item", "NoneType", "list", "list", "NoneType"], "results")


@BASICS.case("In a batch all reads come before all writes.")
async def batch_reads_first(ask: Subject) -> None:
    await ask.put(ask.ns(), "k", {"v": "old"})
    put = PutOp(ask.ns(), "k", {"v": "new"})
    got = await ask.batch([put, GetOp(ask.ns(), "k"), SearchOp(ask.ns())])
    item, hits = got[1], got[2]
    assert isinstance(item, Item)
    assert isinstance(hits, list)
    expect_same(item.value, {"v": "old"}, "get in the batch of a put")
    expect_same([getattr(hit, "value", None) for hit in hits], [{"v": "old"}], "search in it")
    after = await ask.get(ask.ns(), "k")
    expect_same(after and after.value, {"v": "new"}, "get after it")


@BASICS.case("Of several writes of one key in a batch the last one holds, deletes too.")
async def batch_last_wins(ask: Subject) -> None:
    puts = [PutOp(ask.ns(), "k", {"v": n}) for n in range(3)]
    gone = [PutOp(ask.ns(), "gone", {}), PutOp(ask.ns(), "gone", None)]
    back = [PutOp(ask.ns(), "back", None), PutOp(ask.ns(), "back", {})]
    await ask.batch([*puts, *gone, *back])
    item = await ask.get(ask.ns(), "k")
    expect_same(item and item.value, {"v": 2}, "value")
    expect_same(sorted(await ask.keys(ask.ns())), ["back", "k"], "keys")
