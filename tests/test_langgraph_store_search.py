"""OnrecordStore's ``index=``: by what an item is found, and who says what it means."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from langchain_core.embeddings import Embeddings
from langgraph.store.base import BaseStore, SearchOp
from langgraph.store.memory import InMemoryStore

from langgraph_onrecord import OnrecordStore
from onrecord import Misconfigured, Store
from onrecord.testing.contract_items import until
from tests.test_search_meaning import DIMENSIONS, Meant

OpenStore = Callable[..., Store]
PLACE = ("facts",)
VALUE = {
    "text": "apples",
    "a": {"b": "pears", "c": [{"d": "plums"}, {"d": "figs"}]},
    "n": 7,
    "none": None,
    "x": {"y": {"z": "nested"}},
}


class Theirs(Embeddings):
    """The words that mean the same, as LangChain's Embeddings."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return Meant().embed(texts)

    def embed_query(self, text: str) -> list[float]:
        return Meant().embed([text])[0]


def function(texts: Sequence[str]) -> list[list[float]]:
    return Meant().embed(texts)


async def afunction(texts: Sequence[str]) -> list[list[float]]:
    await asyncio.sleep(0)
    return Meant().embed(texts)


def keys(memory: BaseStore, query: str | None, **more: Any) -> list[str]:
    return [item.key for item in memory.search(PLACE, query=query, **more)]


def found(memory: BaseStore, query: str) -> list[str]:
    """What has something of a query: the others come behind it."""
    return [item.key for item in memory.search(PLACE, query=query) if item.score]


@pytest.mark.parametrize(
    "embed", [Theirs(), function, afunction, lambda texts: Meant().embed(texts), Meant()]
)
def test_whatever_embeds_is_taken(each_store: OpenStore, embed: Any) -> None:
    memory = OnrecordStore(each_store(), index={"dims": DIMENSIONS, "embed": embed})
    assert memory.index_config == {"dims": DIMENSIONS, "embed": embed}
    for key, text in (("a", "a daxon"), ("b", "gorpel"), ("c", "zavver please")):
        memory.put(PLACE, key, {"text": text})
    assert keys(memory, "wuggle")[0] == "a"
    items = asyncio.run(memory.asearch(PLACE, query="tovey"))
    assert items[0].key == "b"
    assert items[0].score is not None
    assert items[0].score > (items[1].score or 0)
    assert {item.key for item in items} == {"a", "b", "c"}, "all of them, the best first"


def test_a_provider_and_its_model(monkeypatch: pytest.MonkeyPatch, each_store: OpenStore) -> None:
    import langgraph_onrecord.indexing as indexing

    asked: list[str] = []

    def made(named: str) -> Embeddings:
        asked.append(named)
        return Theirs()

    monkeypatch.setattr(indexing, "ensure_embeddings", made)
    index: Any = {"dims": DIMENSIONS, "embed": "somebody:some-model"}
    memory = OnrecordStore(each_store(), index=index)
    memory.put(PLACE, "a", {"text": "a daxon"})
    assert keys(memory, "wuggle") == ["a"]
    assert asked == ["somebody:some-model"]


def test_the_stores_own_embedder(each_store: OpenStore) -> None:
    store = each_store(embedder=Meant())
    memory = OnrecordStore(store, index={"dims": DIMENSIONS, "fields": ["text"]})
    memory.put(PLACE, "a", {"text": "daxon", "other": "gorpel"})
    memory.put(PLACE, "b", {"text": "zavver"})
    assert keys(memory, "wuggle")[0] == "a"
    assert store.items(*PLACE).search("wuggle")[0].item.text == "daxon"
    with pytest.raises(Misconfigured, match="another one, 'function'"):
        OnrecordStore(store, index={"dims": DIMENSIONS, "embed": function})
    with pytest.raises(Misconfigured, match="3 dimensions"):
        OnrecordStore(store, index={"dims": 3})


def test_dimensions_that_are_not_so(each_store: OpenStore, caplog: Any) -> None:
    memory = OnrecordStore(each_store(), index={"dims": 3, "embed": function})
    memory.put(PLACE, "a", {"text": "daxon"})
    assert found(memory, "daxon") == ["a"]
    assert found(memory, "wuggle") == []
    assert f"has 3 dimensions and gave {DIMENSIONS}" in caplog.text


@pytest.mark.parametrize(
    ("fields", "right", "wrong"),
    [
        (None, "apples pears plums figs 7 nested text", ""),
        (["$"], "apples pears plums figs 7 nested text", ""),
        (["text"], "apples", "pears plums figs 7 nested text"),
        (["a.b"], "pears", "apples plums"),
        (["a.c[*].d"], "plums figs", "pears"),
        (["a.c[0].d"], "plums", "figs"),
        (["a.c[-1].d"], "figs", "plums"),
        (["x.*.z", "n"], "nested 7", "apples"),
        (["{text,a.b}"], "apples pears", "plums"),
        (["none", "not.there", "a.c[9]"], "", "apples pears plums figs 7 nested text none"),
    ],
)
def test_fields_decide_what_an_item_is_found_by(
    each_store: OpenStore, fields: Any, right: str, wrong: str
) -> None:
    store = each_store()
    by_settings = OnrecordStore(store, user="ada", index={"fields": fields})
    by_put = OnrecordStore(store, user="eve", index={"fields": ["zebra"]})
    by_settings.put(PLACE, "k", VALUE)
    by_settings.update(PLACE, "updated", lambda there: VALUE)
    by_put.put(PLACE, "k", VALUE, index=["$"] if fields is None else fields)
    for word in right.split():
        assert found(by_settings, word) == ["updated", "k"], word
        assert found(by_put, word) == ["k"], word
    for word in wrong.split():
        assert found(by_settings, word) == found(by_put, word) == [], word
    item = by_put.get(PLACE, "k")
    assert item is not None
    assert item.value == VALUE


def test_what_is_not_to_be_indexed_no_query_finds(each_store: OpenStore) -> None:
    memory = OnrecordStore(each_store(), index={"dims": DIMENSIONS, "embed": function})
    memory.put(PLACE, "a", {"text": "daxon"}, index=False)
    memory.put(PLACE, "b", {"text": "gorpel"})
    memory.put(PLACE, "none", {"text": "daxon"}, index=[])
    assert keys(memory, "daxon") == keys(memory, "wuggle") == ["b"]
    memory.delete(PLACE, "none")
    assert keys(memory, None) == ["b", "a"]
    memory.put(PLACE, "a", {"text": "daxon"})
    assert keys(memory, "daxon") == ["a", "b"]


def test_without_an_embedder_words_rank_all(each_store: OpenStore) -> None:
    memory = OnrecordStore(each_store())
    for key, text in (("a", "green apple"), ("b", "red apple"), ("c", "car"), ("d", "red car")):
        memory.put(PLACE, key, {"text": text})
    items = memory.search(PLACE, query="red apple")
    assert [item.key for item in items] == ["b", "d", "a", "c"]
    assert [bool(item.score) for item in items] == [True, True, True, False]
    assert [keys(memory, "red apple", limit=1, offset=n) for n in range(5)] == [
        ["b"], ["d"], ["a"], ["c"], [],
    ]  # fmt: skip
    assert keys(memory, "red", filter={"text": "car"}) == ["c"]
    assert keys(memory, "apple -green") == ["b"], "what was excluded comes not at all"
    assert [item.score for item in memory.search(PLACE)] == [None] * 4


def test_what_was_found_lives_on(each_store: OpenStore) -> None:
    memory = OnrecordStore(each_store())
    for key in ("found", "left"):
        memory.put(PLACE, key, {"text": key}, ttl=6 / 60)
    items = memory.store.items(*PLACE)
    left, before = items.get("left"), items.get("found")

    def moved() -> bool:
        memory.search(PLACE, query="found", limit=1)
        now = items.get("found")
        assert now is not None
        assert before is not None
        assert before.expires_at is not None
        assert now.expires_at is not None
        return now.expires_at > before.expires_at

    until(moved)
    assert items.get("left") == left
    memory.batch([SearchOp(PLACE, query="left", limit=1, refresh_ttl=False)])
    assert items.get("left") == left


def test_embed_shows_what_many_puts_have_left(each_store: OpenStore) -> None:
    memory = OnrecordStore(each_store(), user="ada", index={"dims": 96, "embed": function})
    for n in range(70):
        memory.put(PLACE, f"{n}", {"text": f"word{n}"})
    memory.put(PLACE, "old", {"text": "daxon"})
    assert memory.embed() == 71
    memory.put(PLACE, "new", {"text": "gorpel"})
    assert asyncio.run(memory.aembed()) == 1
    assert keys(memory, "wuggle")[0] == "old"
    with pytest.raises(Misconfigured, match="Nobody"):
        OnrecordStore(each_store()).embed()


@pytest.mark.parametrize(
    "index",
    [
        {"dims": 0},
        {"dims": "3"},
        {"dims": True},
        {"fields": "text"},
        {"fields": [3]},
        {"embed": 3},
        {"embed": type("Empty", (), {})()},
        ["text"],
    ],
)
def test_settings_that_cannot_be(each_store: OpenStore, index: Any) -> None:
    with pytest.raises(Misconfigured):
        OnrecordStore(each_store(), index=index)


@pytest.mark.parametrize("index", ["text", [3], True, 3])
def test_an_index_of_a_put_that_cannot_be(each_store: OpenStore, index: Any) -> None:
    memory = OnrecordStore(each_store())
    with pytest.raises(Misconfigured, match="paths"):
        memory.put(PLACE, "k", {"text": "x"}, index=index)
    assert memory.get(PLACE, "k") is None


def test_it_finds_what_the_store_in_memory_finds(each_store: OpenStore) -> None:
    """Where both say the same: who is first."""
    index: Any = {"dims": DIMENSIONS, "embed": function, "fields": ["text", "tags[*]"]}
    ours, theirs = OnrecordStore(each_store(), index=index), InMemoryStore(index=index)
    for memory in (ours, theirs):
        for n, word in enumerate(["daxon", "gorpel", "zavver", "nixle"]):
            memory.put(PLACE, f"{n}", {"text": f"the {word}", "tags": ["x"], "n": n})
    for query in ("wuggle", "tovey", "feppin", "pilkin", "blicket"):
        assert keys(ours, query)[0] == keys(theirs, query)[0], query
        assert sorted(keys(ours, query)) == sorted(keys(theirs, query))
