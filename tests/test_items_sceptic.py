"""Where what is asked of items meets what others do meanwhile, or names that are none."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from onrecord import Conflict, Damaged, InvalidName, Put, Store, operations
from onrecord.flow import Cold, Step, run
from onrecord.ledger.items import items as rows_of

WAITING = """SELECT pid FROM pg_stat_activity WHERE datname = current_database()
    AND wait_event_type = 'Lock' AND application_name = 'onrecord'"""
OpenStore = Callable[..., Store]


def wait_for_one_who_waits(url: str) -> None:
    until = time.monotonic() + 30
    with psycopg.connect(url, autocommit=True) as watch:
        while watch.execute(WAITING).fetchone() is None:
            assert time.monotonic() < until, "nobody waits"


@pytest.fixture
def store(each_store: OpenStore) -> Store:
    return each_store()


def test_a_page_goes_on_behind_an_item_of_a_namespace_that_was_emptied(store: Store) -> None:
    """The one namespace that is left has an order of its own, in which that item never was."""
    below, items = store.items("facts", "old"), store.items("facts")
    below.put("first", 0)
    items.put_many({f"k{n}": n for n in range(5)})
    last = below.put("last", 0)
    (found,) = store.find_items(("facts",), limit=1)
    assert found == last
    below.clear()
    left = store.find_items(("facts",), after=found)
    assert sorted(item.key for item in left) == [f"k{n}" for n in range(5)]


@pytest.mark.parametrize("odd", ["a\0b", "\ud800", "x" * 513])
def test_no_database_is_asked_by_what_is_no_name(store: Store, odd: str) -> None:
    """SQLite took a NUL and PostgreSQL's driver raised, each by an error of its own."""
    items = store.items("facts")
    for ask in (
        lambda: items.list(prefix=odd),
        lambda: items.list(after=odd),
        lambda: items.put("k", 1, token=odd),
        lambda: items.put("k", 1, expected_token=odd),
    ):
        with pytest.raises(InvalidName):
            ask()
    assert items.list() == []


def test_a_namespace_whose_version_has_no_next_one_is_written_to_by_nobody(store: Store) -> None:
    """SQLite went on with a float, the same for everybody."""
    items = store.items("facts", user="ada")
    before = items.put("k", 1)
    store._ledger.write(
        lambda txn: txn.run("UPDATE {namespaces} SET version = :most", {"most": 2**63 - 1})
    )
    for write in (
        lambda: items.put("k", 2),
        lambda: items.put_many({"a": 1, "b": 2}),
        lambda: items.merge("m", {"a": 1}),
        lambda: items.delete("k"),
        items.clear,
    ):
        with pytest.raises(Damaged, match="no next one"):
            write()
    assert items.list() == [before]
    assert store.erase(user="ada").removed == {"onrecord_items": 1, "onrecord_namespaces": 1}


def test_a_version_does_not_come_back_with_a_backup(store: Store) -> None:
    """Who holds what was written after the backup is told that it is not there any more."""
    items = store.items("facts")
    backup = items.put("k", "saved").version
    held = [items.put("k", n) for n in range(5)]
    store._ledger.write(  # as a restored backup has it
        lambda txn: txn.run("UPDATE {namespaces} SET version = :version", {"version": backup})
    )
    store.invalidate()
    again = [items.put("k", "another") for _ in range(5)]
    assert not {item.version for item in held} & {item.version for item in again}
    with pytest.raises(Conflict):
        items.put("k", "lost", expected=held[-1])
    assert store.verify() == []


def test_a_version_does_not_come_back_by_a_write_that_waited(store: Store) -> None:
    """Others erase a namespace with higher versions after a write began, and before it is done."""
    items = store.items("facts", user="ada")
    items.put("k", "first")
    given: list[int] = []

    def perform(step: Step) -> object:
        if isinstance(step, Cold) and not given:
            given.extend(items.put("k", n).version for n in range(3))
            store.erase(user="ada", thorough=False)
        return store._perform(step)

    late = run(operations.put_item(store._desk, items.name, "k", "late"), perform)
    assert late.version > given[-1]
    assert items.get("k") == late


class Text(str):
    """As numpy and markupsafe have one: equal to a name, and of another class."""

    __slots__ = ()


class Odd(tuple[str, ...]):
    """No list of names that could be looked up."""

    __slots__ = ()
    __hash__ = None  # type: ignore[assignment]


def test_what_is_equal_to_a_name_is_in_nobody_elses_way(store: Store) -> None:
    store.write([Put((Text("only here"),), Text("k"), 1)], user="ada")
    store.write([Put(("only here",), "k", 2)], user="ada")
    (item,) = store.items("only here", user="ada").list()
    assert (item.namespace, item.key, item.value) == (("only here",), "k", 2)


def test_names_that_cannot_be_looked_up_are_in_the_scope_that_was_said(store: Store) -> None:
    store.write([Put(Odd(["facts"]), "k", 1)], user="ada")
    assert store.items("facts").get("k") is None
    assert store.items("facts", user="ada").get("k") is not None


def test_who_deletes_what_is_replaced_in_one_transaction_finds_it(kept_postgres_url: str) -> None:
    """It is there before and after: a statement that waited for the lock saw neither."""
    deleted: list[bool] = []
    with Store(kept_postgres_url) as store, psycopg.connect(kept_postgres_url) as beside:
        items = store.items("facts")
        items.put("k", 1)
        beside.execute("UPDATE onrecord_namespaces SET version = version + 2")  # as store.write
        row = beside.execute("DELETE FROM onrecord_items RETURNING *").fetchone()
        assert row is not None
        thread = threading.Thread(target=lambda: deleted.append(items.delete("k")))
        thread.start()
        wait_for_one_who_waits(kept_postgres_url)
        beside.execute(f"INSERT INTO onrecord_items VALUES ({', '.join(['%s'] * len(row))})", row)
        beside.commit()
        thread.join(60)
        assert deleted == [True]
        assert items.get("k") is None


def test_what_is_refreshed_as_it_expires_is_not_swept(kept_postgres_url: str) -> None:
    """The sweep saw the old expiry, and waited for whoever moved it."""
    with Store(kept_postgres_url) as store, psycopg.connect(kept_postgres_url) as beside:
        items = store.items("facts")
        items.put("k", 1, ttl=3_600)
        with psycopg.connect(kept_postgres_url) as other:
            other.execute("UPDATE onrecord_items SET expires_at = 5")
        beside.execute("UPDATE onrecord_items SET expires_at = 4000000000000000")
        thread = threading.Thread(target=lambda: items.put("other", 1, ttl=3_600))
        thread.start()
        wait_for_one_who_waits(kept_postgres_url)
        beside.commit()
        thread.join(60)
        assert sorted(item.key for item in items.list()) == ["k", "other"]


def test_a_sweep_goes_along_the_index_of_expiries(tmp_path: Path) -> None:
    """And not through all items of the namespace, nor all that have expired, however many there
    are."""
    with Store(f"sqlite:///{tmp_path / 'x.db'}") as store:
        store.items("facts").put("k", 1, ttl=3_600)
        values = {"namespace": 1, "shard": 0, "limit": 8, "now": 5}
        plan = store._ledger.read(
            lambda txn: txn.rows(f"EXPLAIN QUERY PLAN {rows_of._SWEEP}", values)
        )
        way = "onrecord_items_by_namespace_expiry (namespace=? AND expires_at<?)"
        assert any(way in str(row[3]) for row in plan)
