"""What the items of every store have to do, as tests anybody can run over a database of theirs.

Like ``contract.py``: subclass ``ItemsContract`` and give it a fixture ``store``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from onrecord import (
    ANY,
    Conflict,
    InvalidName,
    InvalidValue,
    Item,
    Misconfigured,
    Store,
)
from onrecord.testing.contract import STRANGE_NAMES, Contract, Face

VALUES: list[Any] = [
    None,
    True,
    0,
    -(2**70),
    1.5,
    "",
    "text with \x00, half a pair \ud800, and 😀",
    [],
    {},
    [1, [2, [3, {"a": None}]]],
    {"": "", "a.b": {"$c": [True, None]}},
    b"\x00\xff",
    (1, ("two", 3.0)),
    {1, 2},
    datetime(2026, 2, 3, 4, 5, 6, 7, tzinfo=UTC),
    Decimal("1.10"),
    {1: "one", (2, 3): "pair"},
    {"long": "words that come back, " * 60},
]

FILTERED: list[tuple[Any, dict[str, Any], bool]] = [
    ({"a": 1}, {"a": 1}, True),
    ({"a": 1.0}, {"a": 1}, True),
    ({"a": True}, {"a": 1}, False),
    ({"a": 1}, {"a": True}, False),
    ({"a": None}, {"a": None}, True),
    ({}, {"a": None}, False),
    ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1}}, True),
    ({"a": {"b": 2}}, {"a": {"b": 1}}, False),
    ({"a": {"b": 1}}, {"a.b": 1}, True),
    ({"a.b": 1}, {"a.b": 1}, True),
    ({"a.b": 2, "a": {"b": 1}}, {"a.b": 1}, False),
    ({"a": [1, 2]}, {"a": [1, 2]}, True),
    ({"a": [1, 2]}, {"a": [2, 1]}, False),
    ({"a": 1, "b": 2}, {"a": 1, "b": 3}, False),
    ({"a": 2}, {"a": {"$eq": 2}}, True),
    ({"a": 2}, {"a": {"$ne": 1}}, True),
    ({"a": 1}, {"a": {"$ne": 1}}, False),
    ({}, {"a": {"$ne": 1}}, False),
    ({"a": 3}, {"a": {"$gt": 2, "$lte": 3}}, True),
    ({"a": 4}, {"a": {"$gt": 2, "$lte": 3}}, False),
    ({"a": "b"}, {"a": {"$gte": "a"}}, True),
    ({"a": "3"}, {"a": {"$gt": 2}}, False),
    ({"a": True}, {"a": {"$gt": 0}}, False),
    ({"a": {"b": 1}}, {"a": {"$lt": 2}}, False),
    ({"a": 2}, {"a": {"$in": [1, 2.0]}}, True),
    ({"a": 3}, {"a": {"$in": [1, 2]}}, False),
    ({"a": 1}, {"a": {"$exists": True}}, True),
    ({}, {"a": {"$exists": False}}, True),
    ({"a": 1}, {"$or": [{"a": 2}, {"a": 1}]}, True),
    ({"a": 1}, {"$and": [{"a": 1}, {"b": 1}]}, False),
    ("no dict", {"a": 1}, False),
    (["a"], {"a": {"$exists": False}}, True),
]


def until(fulfilled: Callable[[], bool]) -> None:
    """Wait for what has to come, however slow the machine is."""
    while not fulfilled():
        threading.Event().wait(0.005)


def shown(items: list[Item]) -> list[str]:
    """The keys of items, in their order."""
    return [item.key for item in items]


class StoredItemsContract(Contract):
    """Subclass this and give it a fixture ``store``."""

    @pytest.fixture
    def facts(self, store: Store, face: Face) -> Any:
        """A namespace nobody has written to."""
        return face(store.items("facts", user="ada"))

    def test_nothing_is_there_at_first(self, facts: Any, store: Store, face: Face) -> None:
        assert facts.get("city") is None
        assert facts.get_many(["city"]) == {}
        assert facts.list() == facts.list(order="updated") == []
        assert facts.count() == facts.clear() == facts.delete_many(["city"]) == 0
        assert facts.delete("city") is False
        assert face(store).namespaces(user="ada") == []

    def test_an_item_comes_back_as_it_was_returned(self, facts: Any) -> None:
        before = datetime.now(UTC) - timedelta(milliseconds=1)
        stored = facts.put("city", {"name": "Lyon"}, text="lives in Lyon")
        assert stored == facts.get("city") == facts.get_many(["city"])["city"]
        assert (stored.namespace, stored.key) == (("facts",), "city")
        assert (stored.value, stored.text) == ({"name": "Lyon"}, "lives in Lyon")
        assert stored.expires_at is None
        assert before <= stored.created_at <= stored.updated_at <= datetime.now(UTC)

    @pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
    def test_values_come_back_as_they_were(self, facts: Any, value: Any) -> None:
        found = facts.put("k", {"in": value}).value["in"]
        again = facts.get("k").value["in"]
        assert found == again == value
        assert type(found) is type(again) is type(value)
        assert facts.put("alone", value).value == facts.get("alone").value == value

    def test_values_are_copies(self, facts: Any) -> None:
        value = {"tags": ["a"]}
        stored = facts.put("k", value)
        value["tags"].append("b")
        stored.value["tags"].append("c")
        assert facts.get("k").value == {"tags": ["a"]}

    def test_an_overwrite_keeps_when_it_began(self, facts: Any) -> None:
        first = facts.put("k", 1)
        second = facts.put("k", 2)
        assert second.created_at == first.created_at
        assert second.updated_at >= first.updated_at
        assert second.version > first.version
        assert facts.count() == 1

    def test_what_was_deleted_begins_anew(self, facts: Any) -> None:
        first = facts.put("k", 1)
        assert facts.delete("k") is True
        assert facts.get("k") is None
        again = facts.put("k", 1)
        assert again.version > first.version + 1, "to delete takes a version as well"
        assert again.created_at >= first.updated_at

    def test_expected_versions(self, facts: Any) -> None:
        first = facts.put("k", 1, expected=0)
        with pytest.raises(Conflict, match="none was expected") as taken:
            facts.put("k", 2, expected=0)
        assert taken.value.item == first
        second = facts.put("k", 2, expected=first)
        writes: list[Callable[[], object]] = [
            lambda: facts.put("k", 3, expected=first),
            lambda: facts.merge("k", {"a": 1}, expected=first.version),
            lambda: facts.delete("k", expected=first),
        ]
        for write in writes:
            with pytest.raises(Conflict, match=f"{first.version} was expected") as late:
                write()
            assert late.value.item == second
        assert facts.delete("k", expected=second.version) is True
        for gone in (second, second.version, 1):
            with pytest.raises(Conflict, match="is not there") as missing:
                facts.put("k", 4, expected=gone)
            assert missing.value.item is None
        with pytest.raises(Conflict):
            facts.delete("k", expected=second)
        assert facts.delete("k", expected=0) is False

    def test_tokens_of_the_caller(self, facts: Any) -> None:
        first = facts.put("k", 1, token="r1")
        assert facts.put("k", "said again", token="r1", expected_token="r0") == first
        with pytest.raises(Conflict, match="the token 'r0' was expected") as other:
            facts.put("k", 2, token="r2", expected_token="r0")
        assert other.value.item == first
        second = facts.put("k", 2, token="r2", expected_token="r1")
        assert (second.value, second.token) == (2, "r2")
        assert facts.put("k", 3).token is None
        with pytest.raises(Conflict):
            facts.put("new", 1, expected_token="r1")

    def test_of_writers_that_read_and_write_none_is_lost(self, store: Store) -> None:
        facts = store.items("counters", user="ada")
        failures: list[BaseException] = []

        def count() -> None:
            try:
                for _ in range(25):
                    while True:
                        there = facts.get("n")
                        value = 0 if there is None else there.value
                        try:
                            facts.put("n", value + 1, expected=there or 0)
                            break
                        except Conflict:
                            continue
            except BaseException as fault:
                failures.append(fault)

        threads = [threading.Thread(target=count) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        found = facts.get("n")
        assert found is not None
        assert found.value == 100

    def test_merge(self, facts: Any) -> None:
        assert facts.merge("k", {"a": 1}).value == {"a": 1}
        facts.put("k", {"a": 1, "b": {"x": 1}}, text="words")
        merged = facts.merge("k", {"b": {"y": 2}, "c": None})
        assert merged.value == {"a": 1, "b": {"y": 2}, "c": None}
        assert merged == facts.get("k")
        assert merged.text == "words"
        facts.put("list", [1])
        with pytest.raises(InvalidValue, match="only a dict can be merged"):
            facts.merge("list", {"a": 1})
        for bad in ([("a", 1)], {1: 2}, None):
            with pytest.raises(InvalidValue):
                facts.merge("k", bad)
        assert facts.get("k") == merged

    def test_who_merges_other_keys_at_the_same_time_wins_too(self, store: Store) -> None:
        facts = store.items("facts", user="ada")
        failures: list[BaseException] = []

        def merge(who: int) -> None:
            try:
                for n in range(20):
                    facts.merge("k", {f"{who}.{n}": n})
            except BaseException as fault:
                failures.append(fault)

        threads = [threading.Thread(target=merge, args=(who,)) for who in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        found = facts.get("k")
        assert found is not None
        assert len(found.value) == 80

    def test_batches(self, facts: Any) -> None:
        stored = facts.put_many([("b", 1), ("a", 2), ("b", 3)])
        assert [(item.key, item.value) for item in stored] == [("b", 3), ("a", 2)]
        assert len({item.version for item in stored}) == 2
        assert facts.get_many(["a", "zz", "b", "a"]) == {"a": stored[1], "b": stored[0]}
        assert facts.put_many({}) == []
        many = {f"{n:04}": n for n in range(1_000)}
        assert [item.value for item in facts.put_many(many)] == list(range(1_000))
        assert len(facts.get_many(many)) == 1_000
        assert facts.delete_many([*list(many)[:990], "zz"]) == 990
        assert facts.count() == 12
        assert facts.clear() == 12
        assert facts.list() == []

    def test_what_has_expired_is_not_there(self, facts: Any, store: Store, face: Face) -> None:
        facts.put("k", {"a": 1}, ttl=0.001)
        until(lambda: facts.get("k") is None)
        assert facts.get_many(["k"]) == {}
        assert facts.list() == facts.list(order="updated") == []
        assert facts.count() == 0
        assert face(store).namespaces(user="ada") == []
        assert facts.delete("k") is False
        assert facts.clear() == 0
        facts.put("k", {"a": 1}, ttl=timedelta(milliseconds=1))
        until(lambda: facts.get("k") is None)
        again = facts.put("k", {"a": 2}, expected=0)
        assert again.created_at == again.updated_at, "it began anew"
        facts.put("k", {"a": 1}, ttl=0.001)
        until(lambda: facts.get("k") is None)
        assert facts.merge("k", {"b": 2}).value == {"b": 2}

    def test_a_ttl_stays_until_another_is_given(self, facts: Any) -> None:
        stored = facts.put("k", {"a": 1}, ttl=3_600)
        assert stored.expires_at is not None
        left = stored.expires_at - datetime.now(UTC)
        assert timedelta(minutes=50) < left <= timedelta(minutes=61)
        assert facts.get("k").expires_at == stored.expires_at
        merged = facts.merge("k", {"b": 1})
        assert merged.expires_at >= stored.expires_at
        assert facts.put("k", 1).expires_at is None, "a put says all of it anew"
        assert [item.expires_at is None for item in facts.put_many({"x": 1}, ttl=60)] == [False]

    def test_a_read_lets_it_live_on_only_where_asked(self, facts: Any) -> None:
        stored = facts.put("k", 1, ttl=6)  # is moved after a tenth
        until(lambda: facts.get("k", refresh=True).expires_at > stored.expires_at)
        later = facts.get("k").expires_at
        assert facts.get("k").expires_at == later
        day = facts.put("day", 1, ttl=86_400)
        assert facts.get("day", refresh=True).expires_at == day.expires_at, "not each time"
        assert facts.get_many(["day"], refresh=True)["day"] == day
        assert facts.put("stays", 1) == facts.get("stays", refresh=True)

    def test_pages_by_key_are_in_the_order_of_bytes(self, facts: Any) -> None:
        keys = ["B", "a", "a/b", "ab", "b", "ä", "é", "z", "\U0001f600", "\uffee"]
        facts.put_many({key: n for n, key in enumerate(keys)})
        ordered = sorted(keys, key=str.encode)
        assert shown(facts.list()) == ordered
        paged: list[Item] = []
        while page := facts.list(limit=3, after=paged[-1] if paged else None):
            paged += page
        assert shown(paged) == ordered
        assert shown(facts.list(after="b", limit=2)) == ["z", "ä"]
        assert shown(facts.list(prefix="a")) == ["a", "a/b", "ab"]
        assert shown(facts.list(prefix="a", after="a", limit=1)) == ["a/b"]
        assert facts.list(limit=0) == []

    def test_pages_by_age_go_back_from_the_last_write(self, facts: Any) -> None:
        facts.put_many({f"{n}": n for n in range(6)})
        facts.put("2", "again")
        facts.merge("new", {"a": 1})
        paged: list[Item] = []
        while page := facts.list(order="updated", limit=3, after=paged[-1] if paged else None):
            paged += page
        assert shown(paged) == ["new", "2", "5", "4", "3", "1", "0"]

    def test_a_filter_looks_through_all_pages(self, facts: Any) -> None:
        facts.put_many({f"{n:04}": {"n": n} for n in range(700)})
        wanted = {"n": {"$gte": 690}}
        assert len(facts.list(filter=wanted)) == 10
        assert shown(facts.list(filter=wanted, limit=2, after="0695")) == ["0696", "0697"]

    def test_search_finds_what_is_there_by_its_words(self, facts: Any) -> None:
        facts.put_many({"city": {"name": "Lyon"}, "pet": "a cat of Lyon", "tea": ["green"]})
        facts.put("job", {"at": "sea"}, text="works in the harbour")
        assert [hit.item.key for hit in facts.search()] == ["job", "tea", "pet", "city"]
        assert [hit.item.key for hit in facts.search("cats of Lyon")] == ["pet", "city"]
        (hit,) = facts.search("harbour")
        assert hit.item == facts.get("job")
        assert 0 < hit.score <= 1
        assert facts.search("sea") == facts.search("zebra") == []
        facts.put("pet", "a dog of Paris")
        facts.delete("tea")
        facts.put("city", {"name": "Lyon"}, ttl=0.001)
        until(lambda: facts.get("city") is None)
        assert facts.search("cats of Lyon green") == []
        assert [hit.item.key for hit in facts.search("Paris", filter=None)] == ["pet"]

    def test_search_has_an_order_and_pages(self, facts: Any, store: Store, face: Face) -> None:
        facts.put_many({f"{n:02}": {"n": n, "text": "apples"} for n in range(30)})
        facts.put("07", {"n": 7, "text": "apples"})
        face(store.items("facts", user="eve")).put("k", "apples")
        face(store.items("facts", "more", user="ada")).put("below", "pears")
        found = [hit.item.key for hit in facts.search("apples", limit=100)]
        assert found == ["07", *(f"{n:02}" for n in reversed(range(30)) if n != 7)]
        assert [hit.item.key for hit in facts.search("apples", limit=2, skip=2)] == found[2:4]
        few = facts.search("apples", filter={"n": {"$lt": 2}})
        assert [hit.item.key for hit in few] == ["01", "00"]
        below = face(store).search_items("pears", ("facts",), user="ada")
        assert [hit.item.key for hit in below] == ["below"]
        with pytest.raises(InvalidName):
            face(store).search_items("pears", user=ANY)

    def test_namespaces(self, store: Store, face: Face) -> None:
        for parts in [("a",), ("a", "b"), ("a", "b", "c"), ("a", "c"), ("ab",), ("z", "b")]:
            face(store.items(*parts, user="ada")).put("k", list(parts))
        face(store.items("empty", user="ada")).put("k", 1)
        face(store.items("empty", user="ada")).clear()
        face(store.items("eve's", user="eve")).put("k", 1)
        names = face(store)
        assert names.namespaces(user="ada") == [
            ("a",), ("a", "b"), ("a", "b", "c"), ("a", "c"), ("ab",), ("z", "b"),
        ]  # fmt: skip
        assert names.namespaces(("a", "b"), user="ada") == [("a", "b"), ("a", "b", "c")]
        assert names.namespaces(user="ada", depth=1) == [("a",), ("ab",), ("z",)]
        assert names.namespaces(("a",), user="ada", depth=2) == [("a",), ("a", "b"), ("a", "c")]
        paged: list[tuple[str, ...]] = []
        while page := names.namespaces(
            user="ada", depth=2, limit=2, after=paged[-1] if paged else None
        ):
            paged += page
        assert paged == [("a",), ("a", "b"), ("a", "c"), ("ab",), ("z", "b")]
        assert names.namespaces() == []
        assert ("eve's",) in names.namespaces(user=ANY)

    def test_scopes_and_namespaces_are_walls(self, store: Store, face: Face) -> None:
        walls = [
            store.items("n"),
            store.items("n", user="n"),
            store.items("n", tenant="n"),
            store.items("n", agent="n"),
            store.items("n", "n"),
            store.items("nn"),
            store.items("n\x01"),
        ]
        for n, items in enumerate(walls):
            face(items).put("k", n)
        for n, items in enumerate(walls):
            assert face(items).get("k").value == n
            assert shown(face(items).list()) == ["k"]
        assert face(walls[1]).clear() == 1
        assert [face(items).count() for items in walls] == [1, 0, 1, 1, 1, 1, 1]

    @pytest.mark.parametrize("strange", STRANGE_NAMES)
    def test_strange_names(self, store: Store, face: Face, strange: str) -> None:
        items = face(store.items(strange, "x", user=strange))
        stored = items.put(strange, {strange: strange})
        assert items.get(strange) == stored
        assert shown(items.list(prefix=strange)) == [strange]
        assert items.list(filter={strange.replace("$", ""): strange}) == [stored]
        assert face(store).namespaces((strange,), user=strange) == [(strange, "x")]
        assert items.delete(strange) is True


class ItemsContract(StoredItemsContract):
    """The same, and what is asked for and refused, which no backend has a part in."""

    @pytest.mark.parametrize(
        ("value", "where"),
        [
            ({"a": [object()]}, r"value of 'k'\['a'\]\[0\]"),
            ({"a": ({"b": print},)}, r"value of 'k'\['a'\]"),
            ("x" * (2**20 + 1), "bytes and the limit"),
        ],
    )
    def test_what_cannot_be_stored_is_refused_by_its_path(
        self, facts: Any, value: Any, where: str
    ) -> None:
        with pytest.raises(InvalidValue, match=where):
            facts.put("k", value)
        with pytest.raises(InvalidValue, match=where):
            facts.put_many({"other": 1, "k": value})
        assert facts.count() == 0

    @pytest.mark.parametrize(("value", "filter", "fits"), FILTERED)
    def test_filters(self, facts: Any, value: Any, filter: dict[str, Any], fits: bool) -> None:
        facts.put_many({"before": {}, "k": value, "z": {}})
        expected = ["k"] if fits else []
        assert [key for key in shown(facts.list(filter=filter)) if key == "k"] == expected
        assert [
            key for key in shown(facts.list(filter=filter, order="updated")) if key == "k"
        ] == expected

    @pytest.mark.parametrize(
        "bad",
        [
            {"a": {"$near": 1}},
            {"$nor": []},
            {"a": {"$in": "abc"}},
            {"a": {"$in": 1}},
            {"a": {"$exists": 1}},
            {"a": {"$gt": 1, "b": 2}},
            {"$or": {"a": 1}},
            {1: 2},
            "a",
        ],
    )
    def test_a_filter_that_cannot_be_understood_is_refused(self, facts: Any, bad: Any) -> None:
        with pytest.raises(Misconfigured):
            facts.list(filter=bad)

    @pytest.mark.parametrize("bad", ["", "x" * 513, "a\x00b", "\ud800", 7, None])
    def test_bad_names_are_refused(self, store: Store, facts: Any, bad: Any) -> None:
        for ask in (
            lambda: facts.get(bad),
            lambda: facts.put(bad, 1),
            lambda: facts.put_many([(bad, 1)]),
            lambda: facts.delete(bad),
            lambda: facts.merge(bad, {}),
            lambda: facts.get_many([bad]),
            lambda: store.items("n", bad),
        ):
            with pytest.raises(InvalidName):
                ask()
        with pytest.raises(InvalidName, match="names"):
            store.items()
        with pytest.raises(InvalidName, match="names"):
            store.items(*["n"] * 17)
        with pytest.raises(InvalidName, match="bytes together"):
            store.items(*["n" * 500] * 5)
        for part in ("tenant", "user", "agent"):  # a namespace has one owner
            with pytest.raises(InvalidName, match=part):
                store.items("facts", **{part: ANY})  # type: ignore[arg-type]

    @pytest.mark.parametrize("bad", ["", "a\0b", "half \ud800", "x" * 513])
    def test_bad_tokens(self, facts: Any, bad: str) -> None:
        for given in ({"token": bad}, {"expected_token": bad}):
            with pytest.raises(InvalidName, match="token"):
                facts.put("k", 1, **given)
        assert facts.count() == 0

    @pytest.mark.parametrize(
        "ask",
        [
            lambda facts: facts.put("k", 1, ttl=0),
            lambda facts: facts.put("k", 1, ttl=-5),
            lambda facts: facts.put("k", 1, ttl="1h"),
            lambda facts: facts.put("k", 1, ttl=float("nan")),
            lambda facts: facts.put("k", 1, ttl=float("inf")),
            lambda facts: facts.put("k", 1, ttl=True),
            lambda facts: facts.put("k", 1, expected="1"),
            lambda facts: facts.put("k", 1, expected=-1),
            lambda facts: facts.put("k", 1, expected=True),
            lambda facts: facts.put("k", 1, text=1),
            lambda facts: facts.put("k", 1, token=1),
            lambda facts: facts.put_many("ab"),
            lambda facts: facts.put_many([1]),
            lambda facts: facts.get_many("ab"),
            lambda facts: facts.list(limit=-1),
            lambda facts: facts.list(prefix=1),
            lambda facts: facts.list(order="age"),
            lambda facts: facts.list(after=1),
            lambda facts: facts.list(order="updated", after="k"),
            lambda facts: facts.list(order="updated", prefix="k"),
            lambda facts: facts.search(7),
            lambda facts: facts.search("x" * 100_001),
            lambda facts: facts.search("k", limit=-1),
            lambda facts: facts.search("k", skip=-1),
            lambda facts: facts.search("k", min_score=1.1),
            lambda facts: facts.search("k", mode="words"),
            lambda facts: facts.search("k", mode="meaning"),
            lambda facts: facts.search("k", filter="a"),
        ],
    )
    def test_bad_arguments_are_refused_before_anything_is_written(
        self, facts: Any, ask: Callable[[Any], object]
    ) -> None:
        with pytest.raises(Misconfigured):
            ask(facts)
        assert facts.count() == 0
