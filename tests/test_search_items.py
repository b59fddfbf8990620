"""Search of items: what answers comes, in one order everywhere; and nothing that is not there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from onrecord import ANY, InvalidName, ItemHit, Items, Misconfigured, OnrecordError, Store
from onrecord.flow import Cold
from onrecord.testing.contract import Face
from onrecord.testing.contract_items import VALUES, until
from tests.servers.postgres import PostgresServer
from tests.test_search_meaning import DIMENSIONS, Later, Meant, partial_run

OpenStore = Callable[..., Store]
FACTS = {
    "city": {"name": "Lyon", "since": 2019},
    "pet": {"kind": "cat", "name": "Ada Lovelace"},
    "job": {"at": "the harbour", "as": ["crane driver", "night watch"]},
    "tea": "prefers green tea, and no sugar",
}


@pytest.fixture
def meant() -> Meant:
    return Meant()


@pytest.fixture
def plain(each_store: OpenStore) -> Store:
    return each_store()


@pytest.fixture
def store(each_store: OpenStore, meant: Meant) -> Store:
    return each_store(embedder=meant)


def keys(hits: Sequence[ItemHit]) -> list[str]:
    return [hit.item.key for hit in hits]


def facts_of(store: Store, user: str = "ada") -> Items:
    facts = store.items("facts", user=user)
    facts.put_many(FACTS)
    return facts


def test_words_find_items_by_all_that_is_in_them(plain: Store, face: Face) -> None:
    facts = face(facts_of(plain))
    assert keys(facts.search("Lyon")) == ["city"]
    assert keys(facts.search("cats")) == ["pet"]
    assert keys(facts.search("who drives a crane at night?")) == ["job"]
    assert keys(facts.search("2019")) == ["city"]
    assert keys(facts.search("since")) == ["city"], "keys of a dict are words as well"
    assert facts.search("nothing of all that: zebra") == []
    (hit,) = facts.search("sugar")
    assert hit.item == facts.get("tea")
    assert 0 < hit.score <= 1
    assert facts.search("sugar", min_score=1.0) == []
    assert keys(face(plain).search_items("name", user="ada")) == ["city", "pet"]


def test_text_is_what_an_item_is_found_by(plain: Store) -> None:
    facts = plain.items("facts")
    facts.put("a", {"said": "apples"}, text="a fruit of autumn")
    assert keys(facts.search("autumn")) == ["a"]
    assert facts.search("apples") == []
    facts.merge("a", {"more": "winter"})
    assert facts.search("winter") == []
    facts.put("a", {"said": "apples"}, text="")
    assert facts.search("apples") == []
    assert keys(facts.search()) == ["a"], "it is there, and found by nothing"


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_values_of_every_kind(store: Store, value: Any) -> None:
    items = store.items("kinds")
    items.put("k", {"in": value, "word": "daxon"})
    items.put("alone", value)
    (first, *_) = items.search("daxon")
    assert (first.item.key, first.item.value["in"]) == ("k", value)
    assert items.search("wuggle", min_score=0.01) != []


def test_a_set_says_the_same_in_every_process(plain: Store) -> None:
    items = plain.items("sets")
    items.put("k", {"b", "a", "c"})
    from onrecord.flows.search.items import text_of

    assert text_of(items.search()[0].item.value, None) == "a\nb\nc"


def test_without_a_query_the_last_written_come_first(plain: Store, face: Face) -> None:
    facts = face(facts_of(plain))
    facts.put("pet", {"kind": "dog"})
    for query in (None, "", "  \n"):
        hits = facts.search(query)
        assert keys(hits) == ["pet", "tea", "job", "city"]
        assert {hit.score for hit in hits} == {None}
        assert keys(facts.search(query, limit=1, skip=1)) == ["tea"]
        assert keys(facts.search(query, filter={"kind": "dog"})) == ["pet"]
    assert facts.search("…?!") == []
    assert facts.search("pet", limit=0) == facts.search(limit=0) == []


def test_a_filter_leaves_out_what_does_not_fulfil_it(plain: Store, face: Face) -> None:
    items = face(plain.items("n"))
    items.put_many({f"{n}": {"n": n, "text": "apples" if n % 2 else "pears"} for n in range(300)})
    found = items.search("apples", filter={"n": {"$lt": 10}}, limit=100)
    assert keys(found) == ["9", "7", "5", "3", "1"]
    with pytest.raises(Misconfigured):
        items.search("apples", filter={"n": {"$near": 1}})


def test_of_equals_the_last_written_come_first_and_pages_have_each_once(
    plain: Store, face: Face
) -> None:
    items = face(plain.items("n"))
    # More than are scored at once.
    items.put_many({f"{n:03}": {"text": "apples"} for n in range(450)})
    items.put("007", {"text": "apples"})
    everything = items.search("apples", limit=1_000)
    assert len({hit.score for hit in everything}) == 1
    assert len(set(keys(everything))) == 450
    paged: list[ItemHit] = []
    while page := items.search("apples", limit=70, skip=len(paged)):
        paged += page
    assert paged == everything
    few = face(plain.items("few"))
    few.put_many({key: "apples" for key in "badce"})
    few.put("a", "apples")
    assert keys(few.search("apples")) == ["a", "e", "c", "d", "b"]


def test_the_better_comes_first_wherever_it_stands(plain: Store) -> None:
    items = plain.items("n")
    items.put_many({f"{n:03}": f"number {n} apples" for n in range(600)})
    items.put("both", "apples and pears of the orchard")
    assert keys(items.search("pears and apples", limit=1)) == ["both"]


@pytest.mark.parametrize("how", ["expired", "edited", "deleted", "cleared", "erased"])
def test_what_is_not_there_is_not_found(store: Store, how: str) -> None:
    items = store.items("facts", user="ada")
    items.put("k", "the daxon barks", ttl=0.2 if how == "expired" else None)
    items.put("other", "gorpel")
    store.embed()
    match how:
        case "expired":
            until(lambda: items.get("k") is None)
        case "edited":
            items.put("k", "pilkin")
        case "deleted":
            items.delete("k")
        case "cleared":
            items.clear()
        case "erased":
            store.erase(user="ada")
    assert items.search("daxon", mode="text") == []
    for query in (None, "wuggle", "daxon", "barks"):
        for hit in items.search(query):
            assert "daxon" not in str(hit.item.value)
    if how == "edited":
        assert keys(items.search("nixle", mode="meaning"))[0] == "k"
    if how in ("cleared", "erased"):
        assert counted(store) == 0


def test_of_what_is_put_again_while_it_is_searched_the_new_counts(
    each_store: OpenStore,
) -> None:
    class Slow(Meant):
        def embed(self, texts: Sequence[str], /) -> list[list[float]]:
            if texts == ["wuggle"]:
                other.put("k", "pilkin")
                other.delete("goes")
            return super().embed(texts)

    items, other = each_store(embedder=Slow()).items("facts"), each_store().items("facts")
    items.put_many({"k": "the daxon barks", "goes": "the daxon sleeps", "stays": "zavver"})
    assert "goes" in keys(items.search("blicket"))
    assert all("daxon" not in str(hit.item.value) for hit in items.search("wuggle"))
    assert keys(items.search("nixle"))[0] == "k"


def test_an_edit_between_looking_and_handing_out(plain: Store, monkeypatch: Any) -> None:
    import onrecord.flows.search.items as flow

    items = facts_of(plain)
    found = flow._found

    def change() -> None:
        items.put("city", "Paris")
        items.delete("tea")
        items.put("pet", {"kind": "cat", "name": "Grace"})

    def changed_first(*given: Any) -> Any:
        change()
        return found(*given)

    monkeypatch.setattr(flow, "_found", changed_first)
    hits = items.search("Lyon tea cat")
    assert keys(hits) == ["pet"]
    assert hits[0].item.value["name"] == "Grace"


def test_scopes_and_namespaces_are_walls(plain: Store, face: Face) -> None:
    facts = facts_of(plain)
    before = face(facts).search("tea Lyon cat")
    facts_of(plain, "eve").put("more", "tea tea tea Lyon")
    plain.items("facts", "more", user="ada").put("k", "tea of Lyon")
    plain.items("factsy", user="ada").put("k", "tea of Lyon")
    plain.session("s", user="ada").state.put("k", "tea of Lyon")
    plain.items("facts", tenant="ada").put("k", "tea of Lyon")
    assert face(facts).search("tea Lyon cat") == before, "nobody else's words count"
    found = face(plain).search_items("tea Lyon", ("facts",), user="ada")
    assert [(hit.item.namespace, hit.item.key) for hit in found] == [
        (("facts", "more"), "k"),
        (("facts",), "city"),
        (("facts",), "tea"),
    ]
    assert {hit.item.namespace for hit in face(plain).search_items("tea", user="ada")} == {
        ("facts",), ("facts", "more"), ("factsy",),
    }  # fmt: skip
    assert face(plain).search_items("tea") == []
    for scope in ({"user": ANY}, {"tenant": ANY, "user": "ada"}, {"agent": ANY}):
        for query in ("tea", None):
            with pytest.raises(InvalidName, match="one scope"):
                face(plain).search_items(query, **scope)


def test_the_state_of_a_session(store: Store, face: Face) -> None:
    session = store.session("s", user="ada")
    state = face(session.state)
    state.put("plan", {"go": "to the gorpel"})
    state.put("step", "pack")
    assert keys(state.search("gorpel"))[0] == "plan"
    assert keys(state.search("tovey"))[0] == "plan"
    assert keys(state.search()) == ["step", "plan"]
    assert keys(state.search(filter={"go": {"$exists": True}})) == ["plan"]
    assert store.search_items("gorpel", user="ada") == []
    assert store.embed(user="ada").items == 0, "they were shown by who searched"
    state.put("plan", {"go": "to the feppin"})
    assert store.embed(user="ada").items == 1
    session.erase()
    assert state.search("gorpel") == state.search() == []


def counted(store: Store, condition: str = "meaning IS NOT NULL") -> int:
    statement = f"SELECT count(*) FROM {{items}} WHERE {condition}"
    row = store._perform(Cold(lambda txn: txn.first(statement, {})))
    return int(row[0])


def test_what_means_the_same_is_found(store: Store, face: Face) -> None:
    facts = face(store.items("facts", user="ada"))
    facts.put("a", {"seen": "a daxon"})
    assert keys(facts.search("wuggle")) == ["a"], "of one item, too"
    facts.put_many({"b": "gorpel", "c": "zavver please", "d": {"seen": 3}})
    assert facts.search("wuggle", mode="text") == []
    for mode in ("auto", "both", "meaning"):
        assert keys(facts.search("wuggle", mode=mode))[0] == "a"
    assert keys(facts.search("tovey", mode="meaning"))[0] == "b"
    assert keys(facts.search("feppin", filter={"seen": 3}, mode="text")) == []
    assert keys(face(store).search_items("feppin", user="ada"))[0] == "c"


def test_an_async_embedder_serves_both(each_store: OpenStore, face: Face) -> None:
    facts = face(each_store(embedder=Later()).items("facts"))
    facts.put_many({"a": "daxon", "b": "gorpel"})
    assert keys(facts.search("wuggle"))[0] == "a"


def test_an_embedder_is_shown_each_version_once(store: Store, meant: Meant) -> None:
    facts = store.items("facts", user="ada")
    facts.put_many({f"{n:02}": f"word{n}" for n in range(40)})
    facts.put("a", "the daxon")
    asked = len(meant.shown)
    facts.search("x")
    assert counted(store) == 32, "of many the last written, by who searches"
    assert keys(facts.search("wuggle"))[0] == "a"
    assert counted(store) == 41, "the next search shows it the rest"
    shown = len(meant.shown)
    facts.search("wuggle")
    assert len(meant.shown) == shown + 1, "the query alone"
    assert shown - asked >= 43
    facts.put("a", "the gorpel")
    facts.put("silent", b"bytes")
    assert keys(facts.search("tovey"))[0] == "a"
    assert len(meant.shown) == shown + 3, "a query, and what was put"


def test_embed_shows_it_the_items_of_everybody(store: Store, meant: Meant) -> None:
    for user in ("ada", "eve", "grace"):
        facts = store.items("facts", user=user)
        facts.put_many({f"{n:02}": f"{user} daxon {n}" for n in range(250 if user == "eve" else 3)})
    assert store.embed().items == counted(store) == 256
    shown = len(meant.shown)
    assert store.embed().items == 0
    store.items("facts", user="ada").put("01", "gorpel")
    assert asyncio.run(store.aembed()).items == 1
    assert len(meant.shown) == shown + 1
    meant.fails = True
    store.items("facts", user="ada").put("01", "zavver")
    with pytest.raises(OnrecordError, match="the model is out"):
        store.embed()


def test_a_vector_of_an_earlier_version_never_counts(each_store: OpenStore) -> None:
    class Tired(Meant):
        def embed(self, texts: Sequence[str], /) -> list[list[float]]:
            self.fails = "pilkin" in texts
            return super().embed(texts)

    store = each_store(embedder=Tired())
    facts = store.items("facts")
    facts.put_many({"a": "daxon", "b": "gorpel"})
    store.embed()
    assert keys(facts.search("wuggle", mode="meaning")) == ["a"]
    facts.put("a", "pilkin")
    found = facts.search("wuggle", mode="meaning")
    assert "a" not in keys(found), "nobody has seen the new one"
    assert keys(facts.search("tovey", mode="meaning")) == ["b"]


def test_a_vector_is_not_written_over_a_later_version(each_store: OpenStore) -> None:
    class Late(Meant):
        def embed(self, texts: Sequence[str], /) -> list[list[float]]:
            if "daxon" in texts:
                other.put("a", "pilkin")
            return super().embed(texts)

    store, other = each_store(embedder=Late()), each_store().items("facts")
    other.put("a", "daxon")
    assert store.embed().items == 1
    assert counted(store) == 0
    assert store.items("facts").search("nixle")[0].item.value == "pilkin"
    assert counted(store) == 1


def test_an_embedder_that_fails_leaves_words(
    store: Store, meant: Meant, caplog: pytest.LogCaptureFixture
) -> None:
    facts = store.items("facts")
    facts.put_many({"a": "daxon", "b": "gorpel"})
    meant.fails = True
    assert keys(facts.search("daxon")) == ["a"]
    assert facts.search("wuggle") == []
    assert caplog.text.count("words alone") == 1
    health = store.health().embedder
    assert health is not None
    assert not health.ok
    meant.fails = False
    assert keys(facts.search("wuggle"))[0] == "a"


def test_another_embedder_sees_everything_anew(each_store: OpenStore) -> None:
    before, after = each_store(embedder=Meant()), each_store(embedder=Meant("other"))
    facts_of(before).put("x", "daxon")
    assert before.embed().items == 5
    assert keys(after.items("facts", user="ada").search("wuggle"))[0] == "x"
    assert after.embed().items == 0, "who searched has shown it all"
    assert before.embed().items == 5, "an item has room for one vector"
    assert after.embed(only=True).forgotten == 1
    assert counted(after) == counted(after, "embedder IS NOT NULL") == 5
    assert after.embed(only=True).forgotten == 0


def test_what_a_forgotten_embedder_made_counts_as_nobody_elses(each_store: OpenStore) -> None:
    """Nothing of it is left, whoever is given its number."""
    one, two = each_store(embedder=Meant()), each_store(embedder=Meant("other"))
    two.embed()
    facts = one.items("facts")
    facts.put("a", "daxon")
    one.embed()
    assert counted(two, "embedder IS NOT NULL") == 1
    assert two.embed(only=True).forgotten == 1
    assert counted(two, "meant < version OR embedder NOT IN (SELECT id FROM {embedders})") == 0


def test_a_vector_takes_a_bit_a_dimension(store: Store) -> None:
    facts_of(store)
    store.embed()
    assert counted(store, f"length(meaning) = {DIMENSIONS // 8}") == 4


def test_damaged_items_cost_nobody_else(store: Store) -> None:
    facts = facts_of(store)
    store.embed()
    damage = "UPDATE {items} SET body = :body WHERE key = 'pet'"
    store._perform(Cold(partial_run(damage, body=b"\xff\1\2"), writes=True))
    assert keys(facts.search("tea Lyon cat")) == ["city", "tea"]
    assert keys(facts.search()) == ["tea", "job", "city"]
    assert facts.search("tea", filter={"kind": "cat"}) == []
    for meaning in (b"", b"\1", b"\1" * 500, None):
        damage = "UPDATE {items} SET meaning = :meaning WHERE key = 'tea'"
        store._perform(Cold(partial_run(damage, meaning=meaning), writes=True))
        assert keys(facts.search("tea"))[0] == "tea"
    assert store.embed().items == 0


@pytest.mark.parametrize(
    "ask",
    [
        lambda items: items.search(3),
        lambda items: items.search(["tea"]),
        lambda items: items.search("x" * 100_001),
        lambda items: items.search("x", limit=-1),
        lambda items: items.search("x", skip=-1),
        lambda items: items.search(limit="3"),
        lambda items: items.search("x", min_score=2),
        lambda items: items.search("x", min_score="high"),
        lambda items: items.search("x", mode="words"),
        lambda items: items.search(mode="words"),
        lambda items: items.search("x", mode="meaning"),
        lambda items: items.search(mode="both"),
        lambda items: items.search(filter="plan"),
    ],
)
def test_bad_arguments_are_refused(plain: Store, ask: Callable[[Any], object]) -> None:
    with pytest.raises(Misconfigured):
        ask(plain.items("facts"))


@pytest.mark.parametrize("bad", [("a", ""), "a", 3, ("a" * 600,), (None,)])
def test_bad_prefixes_are_refused(plain: Store, bad: Any) -> None:
    for query in ("x", None):
        with pytest.raises(InvalidName):
            plain.search_items(query, bad)


def test_a_query_is_data(plain: Store) -> None:
    items = plain.items("facts")
    items.put_many({"a": "A-1017 of foo_bar.baz", "b": "ada@example.org's 100%"})
    assert keys(items.search("A-1017")) == ["a"]
    assert keys(items.search("foo_bar.baz")) == ["a"]
    assert keys(items.search("ada@example.org")) == ["b"]
    assert keys(items.search('"A-1017 of"')) == ["a"]
    assert keys(items.search("of -A-1017")) == []
    for query in ("'; DROP TABLE", "%", ":path", "{items}", '"', "a OR b*", "\x00", "\ud800"):
        items.search(query)


@pytest.fixture(scope="module")
def both(postgres: PostgresServer) -> Iterator[tuple[Store, Store]]:
    with (
        postgres.database("search_items") as url,
        Store("sqlite://", embedder=Meant()) as one,
        Store(url, embedder=Meant()) as other,
    ):
        yield one, other


def test_every_database_finds_the_same_in_the_same_order(both: tuple[Store, Store]) -> None:
    from random import Random

    random = Random(7)
    words = ["daxon", "wuggle", "tovey", "feppin", "apple", "pear", "Lyon", "2019", "ä", "猫", "?"]
    changes: list[tuple[str, str, Any]] = []
    for n in range(400):
        space, key = random.choice(["a", "b", "ä", "B"]), f"{random.choice('kKä_')}{n % 90}"
        said = " ".join(random.choices(words, k=random.randint(0, 6)))
        changes.append((space, key, random.choice([said, {"n": n, "said": said}, [said], None])))
    for store in both:
        for space, key, value in changes:
            items = store.items("n", space, user="ada")
            if value is None:
                items.delete(key)
            else:
                items.put(key, value)
        assert store.embed().items > 100
    for query in [*words, "daxon pear", "a Lyon of 2019?", "tovey -pear", '"apple pear"', None]:
        for prefix in (("n",), ("n", "ä"), ()):
            told = [
                [
                    (hit.item.namespace, hit.item.key, hit.item.value, hit.score)
                    for hit in store.search_items(query, prefix, user="ada", limit=500, **more)
                ]
                for store in both
                for more in ({}, {"skip": 3}, {"filter": {"n": {"$gt": 100}}}, {"mode": "text"})
            ]
            half = len(told) // 2
            assert told[:half] == told[half:]
            assert told[0][3:] == told[1]
