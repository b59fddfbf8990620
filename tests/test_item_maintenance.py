"""Whatever looks after a scope looks after its items: erase, prune, stats."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from onrecord import ANY, Item, Items, Store, operations
from onrecord.flows.items import writing
from onrecord.flows.maintenance import erase as erasing
from onrecord.scope import Scope
from onrecord.testing.contract import Face
from tests.test_erasure import drive

OpenStore = Callable[..., Store]


@pytest.fixture(autouse=True)
def few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a dozen items are several transactions."""
    monkeypatch.setattr(erasing, "MOST_ITEMS", 5)
    monkeypatch.setattr(erasing, "_PAGE", 2)


@pytest.fixture
def store(each_store: OpenStore) -> Store:
    return each_store()


def furnished(store: Store) -> None:
    """Items of two users in two tenants, in several namespaces, one of them larger than a page."""
    for tenant in ("", "acme"):
        for user in ("ada", "bob"):
            for n, parts in enumerate((("facts",), ("facts", "old"), ("profile",))):
                items = store.items(*parts, tenant=tenant, user=user)
                items.put_many({f"k{i:02}": {"n": i} for i in range((12, 5, 1)[n])})
    store.items("facts", user="ada", agent="guide").put("k", 1)


def rows(store: Store, table: str) -> int:
    found = store._ledger.read(lambda txn: txn.first(f"SELECT count(*) FROM {{{table}}}", {}))
    assert found is not None
    return int(found[0])


def expired(store: Store, items: Items, *keys: str) -> None:
    """As if the time of some items had come."""

    def work(txn: Any) -> None:
        for key in keys:
            txn.run(
                "UPDATE {items} SET expires_at = 5, ttl = 5 WHERE key = :key AND namespace = "
                "(SELECT id FROM {namespaces} WHERE identity = :identity)",
                {"key": key, "identity": items.name.identity},
            )

    store._ledger.write(work)


# -- erased --------------------------------------------------------------------------------------


def test_the_items_of_a_scope_go_and_are_counted(store: Store) -> None:
    furnished(store)
    receipt = store.erase(user="ada")
    assert receipt.removed == {"onrecord_items": 18, "onrecord_namespaces": 3}
    assert store.namespaces(user="ada") == []
    assert store.items("facts", user="ada").list() == []
    assert store.items("facts", user="ada", agent="guide").count() == 1
    assert store.items("facts", user="ada", tenant="acme").count() == 12
    assert store.items("facts", user="bob").count() == 12
    assert store.erase(user="ada").removed == {}
    assert store.erase(tenant="acme", user=ANY).removed == {
        "onrecord_items": 36, "onrecord_namespaces": 6,
    }  # fmt: skip
    store.erase(tenant=ANY, user=ANY, agent=ANY)
    assert (rows(store, "items"), rows(store, "namespaces")) == (0, 0)


def test_a_namespace_without_items_goes_as_well(store: Store) -> None:
    items = store.items("facts", user="ada")
    items.put("k", 1)
    items.delete("k")
    assert store.erase(user="ada").removed == {"onrecord_namespaces": 1}


def test_a_version_does_not_come_back(store: Store) -> None:
    items = store.items("facts", user="ada")
    before = [items.put("k", n).version for n in range(20)]
    store.erase(user="ada")
    assert items.put("k", "new").version > max(before)


def test_nobody_is_kept_from_erasing_by_a_version_that_is_damaged(store: Store) -> None:
    store.items("facts", user="ada").put("k", 1)
    store._ledger.write(
        lambda txn: txn.run("UPDATE {namespaces} SET version = :most", {"most": 2**63 - 1})
    )
    assert store.erase(user="ada").removed == {"onrecord_items": 1, "onrecord_namespaces": 1}


def test_an_erasure_that_ends_between_two_steps(each_store: OpenStore) -> None:
    store, other = each_store(), each_store()
    flow = operations.erase
    scope = Scope("", "ada", "")
    furnished(store)
    steps = drive(flow(store._desk, scope, True), store)
    assert steps > 8
    for count in range(0, steps, 3):
        furnished(store)
        drive(flow(store._desk, scope, True), store, count)
        found = [item.value["n"] for item in other.items("facts", user="ada").list()]
        assert found in ([], list(range(12))[-len(found) :])
        other.erase(user="ada")
        assert store.namespaces(user="ada") == []
        assert store.items("facts", user="bob").count() == 12


def test_who_puts_while_it_is_erased(each_store: OpenStore) -> None:
    """Nothing that was put before is there after; what was put after is."""
    done = threading.Event()
    last: list[Item] = []

    def put() -> None:
        items = each_store().items("facts", user="ada")
        while not done.is_set():
            last.append(items.put(f"k{len(last) % 7}", len(last)))

    thread = threading.Thread(target=put)
    thread.start()
    eraser = each_store()
    try:
        for _ in range(10):
            eraser.erase(user="ada", thorough=False)
    finally:
        done.set()
        thread.join(60)
    assert not thread.is_alive()
    versions = [item.version for item in last]
    assert versions == sorted(set(versions))
    eraser.erase(user="ada")
    assert (rows(eraser, "items"), rows(eraser, "namespaces")) == (0, 0)


# -- pruned --------------------------------------------------------------------------------------


def test_what_has_expired_goes_and_is_counted(store: Store) -> None:
    furnished(store)
    ada, bob = (store.items("facts", user=user) for user in ("ada", "bob"))
    bob.put("later", 1, ttl=timedelta(days=1))
    expired(store, ada, *(f"k{n:02}" for n in range(11)))
    expired(store, bob, "k03")
    every = rows(store, "items")
    assert store.prune(dry_run=True).items == 12
    assert store.prune(user="ada", tenant="", agent="", dry_run=True).items == 11
    assert rows(store, "items") == every
    report = store.prune(user="ada", tenant="", agent="")
    assert (report.items, report.dry_run, report.sessions) == (11, False, ())
    assert rows(store, "items") == every - 11
    assert store.prune().items == 1
    assert store.prune().items == 0
    assert [item.key for item in ada.list()] == ["k11"]
    assert bob.count() == 12
    again = ada.put("k00", "again")
    assert again.version > max(item.version for item in ada.list(prefix="k1"))


def test_expired_items_are_in_no_archive(store: Store, tmp_path: Any) -> None:
    furnished(store)
    expired(store, store.items("facts", user="ada"), "k00")
    report = store.prune(archive_to=tmp_path / "a.jsonl")
    assert (report.items, report.archived_to) == (1, None)
    assert not (tmp_path / "a.jsonl").exists()


def test_who_puts_one_again_while_it_is_pruned_keeps_it(each_store: OpenStore) -> None:
    store, other = each_store(), each_store()
    items = store.items("facts", user="ada")
    for _ in range(5):
        items.put_many({f"k{n}": n for n in range(40)})
        expired(store, items, *(f"k{n}" for n in range(40)))
        put: list[Item] = []

        def again(put: list[Item] = put) -> None:
            put.extend(other.items("facts", user="ada").put(f"k{n}", "new") for n in range(40))

        thread = threading.Thread(target=again)
        thread.start()
        store.prune()
        thread.join(60)
        assert not thread.is_alive()
        store.prune()
        assert {item.value for item in items.list()} == {"new"}
        assert items.count() == len(put) == 40


def test_what_was_pruned_is_told_where_no_room_can_be_given_back(kept_postgres_url: str) -> None:
    """Somebody else is vacuuming: prune() said that nothing was written."""
    with Store(kept_postgres_url, timeout=1) as store, psycopg.connect(kept_postgres_url) as beside:
        items = store.items("facts", user="ada")
        items.put_many({"a": 1, "b": 2})
        expired(store, items, "a")
        beside.execute("LOCK TABLE onrecord_items IN SHARE UPDATE EXCLUSIVE MODE")
        assert store.prune().items == 1
        assert rows(store, "items") == 1


# -- counted -------------------------------------------------------------------------------------


def test_stats_count_items_that_are_there(store: Store) -> None:
    furnished(store)
    expired(store, store.items("profile", user="ada"), "k00")
    expired(store, store.items("facts", user="ada"), "k00")
    found = store.stats(user="ada", tenant="", agent="")
    assert (found.items, found.namespaces, found.states) == (16, 2, 0)
    assert (store.stats().items, store.stats().namespaces) == (4 * 18 + 1 - 2, 4 * 3 + 1 - 1)
    for key in ("a", "b"):
        state = store.session(key, user="ada").state
        state.put_many({"plan": 1, "step": 2})
    expired(store, state, "plan", "step")
    with_states = store.stats(user="ada", tenant="", agent="")
    assert (with_states.items, with_states.namespaces, with_states.states) == (16 + 2, 2, 1)
    before = store.stats().item_bytes
    store.items("facts", user="eve").put("k", bytes(3_000_000 // 4))
    assert store.stats(user="eve").item_bytes == store.stats().item_bytes - before > 0
    assert store.stats(user="nobody").items == 0
    assert found.messages == 0


# -- swept ---------------------------------------------------------------------------------------


def test_a_sweep_takes_what_has_expired_in_its_namespace_and_says_how_much(
    store: Store, face: Face, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "MOST_CLEARED", 5)  # so that a dozen are several transactions
    items, other = store.items("facts", user="ada"), store.items("facts", user="bob")
    state = store.session("s", user="ada").state
    for place in (items, other, state):
        place.put_many({f"k{n:02}": n for n in range(12)}, ttl=3_600)
        expired(store, place, *[f"k{n:02}" for n in range(11)])
    assert face(items).sweep() == 11
    assert face(items).sweep() == 0
    assert rows(store, "items") == 25
    assert [item.value for item in items.list()] == [11]
    assert face(state).sweep() == 11
    assert [item.value for item in state.list()] == [11]
    assert face(store.items("nowhere")).sweep() == 0
    assert rows(store, "namespaces") == 3, "nothing is made by sweeping"
    assert store.verify() == []
