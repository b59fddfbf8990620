"""Threads are deleted many in a transaction, and each of them as if it were deleted alone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import psycopg
import pytest

from onrecord import ANY, CheckpointLog, Cleared, Store, operations
from onrecord.checkpoint_log import Listing, New
from onrecord.flow import Cold, Step, run
from onrecord.flows.checkpoints import threads as flows
from onrecord.ledger.checkpoints import burying, threads
from onrecord.ledger.checkpoints.burying import Buried
from onrecord.scope import Scope
from tests.test_many_at_once import work_of

OpenStore = Callable[..., Store]
MANY = 13
HERE = Scope("acme", "ada", ANY)
TABLES = ("threads", "lists", "items", "writes", "checkpoints")
EMPTY = dict.fromkeys(TABLES, 0)


@pytest.fixture
def store(each_store: OpenStore, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Five threads go at once."""
    monkeypatch.setattr(flows, "AT_ONCE", 5)
    return each_store()


def item(text: str) -> tuple[str, bytes]:
    return "text", text.encode()


def fill(store: Store, count: int = MANY, *, user: str = "ada", **more: Any) -> CheckpointLog:
    """Threads with two namespaces, a list, and a write that waits."""
    log = CheckpointLog(store, tenant="acme", user=user)
    for n in range(count):
        thread, said = f"t{n}", [item(f"{user} {n}"), item("yes")]
        log.put(thread, "", New("1", None, (), {"a": Listing(said[:1]), "x": item("v")}), **more)
        log.put(thread, "", New("2", "1", (), {"a": Listing(said), "x": item("w")}), **more)
        log.put(thread, "sub", New(f"sub {n}", None, (), {}), **more)
        log.put_writes(thread, "", "2", "task", "", [(0, "a", item("z"))])
    return log


def rows(store: Store) -> dict[str, int]:
    """How many rows of living threads there are, by table."""

    def count(txn: Any) -> dict[str, int]:
        found = {"threads": txn.first("SELECT sum(live) FROM {checkpoint_threads}", {})[0] or 0}
        for name in TABLES[1:]:
            table = "checkpoints" if name == "checkpoints" else f"checkpoint_{name}"
            found[name] = txn.first(f"SELECT count(*) FROM {{{table}}}", {})[0]
        return found

    return store._ledger.read(count)


def found_in(store: Store) -> list[threads.Described]:
    whose: dict[str, Any] = HERE._asdict()
    return store._ledger.read(lambda txn: threads.listed(txn, limit=100, **whose))


def buried(store: Store, found: list[threads.Described]) -> Buried:
    work = partial(burying.bury_many, found=found, now=1, due=lambda thread: True)
    return store._ledger.write(lambda txn: work(txn))


def writes(steps: list[Step]) -> int:
    return sum(isinstance(step, Cold) and step.writes for step in steps)


def test_a_scope_goes_in_a_transaction_for_some(store: Store) -> None:
    fill(store, 2, user="bo")
    kept = rows(store)
    fill(store)
    flow = flows.erase_threads(store._desk, **HERE._asdict())
    erased, steps = work_of(store, flow)
    assert erased == MANY
    assert writes(steps) == 3, "5, 5 and 3 of them"
    assert rows(store) == kept
    assert CheckpointLog(store, tenant="acme", user="bo").state("t1") is not None
    assert store.verify() == []
    fill_again = CheckpointLog(store, tenant="acme", user="ada")
    fill_again.put("t1", "", New("anew", None, (), {}))
    assert fill_again.state("t1") is not None


def test_who_still_writes_to_one_of_them_is_refused(store: Store) -> None:
    """Each remembers its own checkpoints, of all its namespaces."""
    log, other = fill(store), CheckpointLog(store, tenant="acme", user="ada")
    store.erase(tenant="acme", user="ada", thorough=False)
    assert rows(store) == EMPTY
    for n in range(MANY):
        with pytest.raises(Cleared):
            log.put(f"t{n}", "", New("3", "2", (), {}))
        with pytest.raises(Cleared):
            other.put(f"t{n}", "sub", New("next", f"sub {n}", (), {}))
        with pytest.raises(Cleared):
            other.put_writes(f"t{n}", "", "2", "task", "", [(0, "a", item("late"))])
        other.put(f"t{n}", "sub", New("anew", None, (), {}))
    assert rows(store)["threads"] == MANY


def test_what_a_thread_remembers_is_what_it_remembers_alone(store: Store) -> None:
    fill(store, 3)
    fill(store, 3, user="bo")
    store.erase(tenant="acme", user="ada", thorough=False)
    for n in range(3):
        CheckpointLog(store, tenant="acme", user="bo").delete(f"t{n}")

    def remembered(user: str) -> list[bytes]:
        log = CheckpointLog(store, tenant="acme", user=user)
        names = [log.name(f"t{n}") for n in range(3)]
        found = store._ledger.read(lambda txn: [threads.find(txn, name) for name in names])
        return [one.deleted_ids or b"" for one in found if one is not None]

    # "1", "2" and "sub n" are the same in both: a mark is of an id.
    together, alone = remembered("ada"), remembered("bo")
    assert [len(one) for one in together] == [3 * 8] * 3
    for one, other in zip(together, alone, strict=True):
        assert {one[i : i + 8] for i in range(0, 24, 8)} == {
            other[i : i + 8] for i in range(0, 24, 8)
        }


def test_those_that_expired_go_and_who_comes_back_stays(store: Store) -> None:
    log = fill(store, expires_in=timedelta(microseconds=1))
    fill(store, 2, user="bo")
    back = False

    def perform(step: Step) -> Any:
        nonlocal back
        if isinstance(step, Cold) and step.writes and not back:
            back = True
            log.put("t7", "", New("3", "2", (), {}), expires_in=timedelta(days=1))
        return store._perform(step)

    flow = operations.prune_expired(store._desk, ANY, ANY, ANY)
    deleted = run(flow, perform)
    assert sorted(deleted) == sorted(f"t{n}" for n in range(MANY) if n != 7)
    assert {info.key for info in log.threads()} == {"t7"}
    assert store.stats(user="bo").threads == 2


def test_a_locked_one_is_waited_for_with_nothing_in_hand(postgres_url: str) -> None:
    """Nobody who holds one of them, and wants another, waits in a ring with who deletes them."""
    with Store(postgres_url) as store, psycopg.connect(postgres_url) as other:
        fill(store)
        other.execute("SELECT id FROM onrecord_checkpoint_threads WHERE id = 3 FOR UPDATE")
        done = buried(store, found_in(store))
        assert [one.number for one in done.left] == [3]
        assert len(done.gone) == MANY - 1
        other.rollback()
        assert store.stats().threads == 1
        store.erase(tenant="acme", user="ada", thorough=False)
        assert rows(store) == EMPTY


@pytest.mark.parametrize("column", ["identity", "epoch", "last_active"])
def test_a_damaged_one_goes_alone(store: Store, column: str) -> None:
    log = fill(store)
    wrong = {"identity": b"x" * 20, "epoch": -7, "last_active": 2**62}[column]
    store._ledger.write(
        lambda txn: txn.run(
            f"UPDATE {{checkpoint_threads}} SET {column} = :wrong WHERE identity = :identity",
            {"wrong": wrong, "identity": log.name("t1").identity},
        )
    )
    found = found_in(store)
    done = buried(store, found)
    assert len(done.gone) == MANY - 1
    by_name = store._ledger.address.kind == "sqlite" and column == "identity"
    assert [one.key for one in done.left] == ([] if by_name else ["t1"]), "no name leads to it"


def test_what_is_too_much_together_goes_alone(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A statement has a time to end, however much there is in some threads."""
    log = fill(store, 4)
    for n in range(2, 12):
        log.put("t2", "", New(str(n + 1), str(n), (), {}))
    # Each has five rows on its lists, and that one ten more.
    monkeypatch.setattr(burying, "MOST_ROWS", 15)
    # In their order: the lists put t2 first where it was written to in a later second.
    done = buried(store, sorted(found_in(store), key=lambda one: one.key))
    assert [one.key for one in done.left] == ["t2"]
    assert len(done.gone) == 3
    assert store.stats().threads == 1
    assert work_of(store, flows.erase_threads(store._desk, **HERE._asdict()))[0] == 1
    assert rows(store) == EMPTY


def test_where_no_lock_is_of_many_shards_they_go_one_by_one(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store, 3)
    dialect = store._ledger.dialect
    monkeypatch.setattr(dialect, "can", dialect.can._replace(across_shards=False))
    _, steps = work_of(store, flows.erase_threads(store._desk, **HERE._asdict()))
    assert writes(steps) == 4, "the first has found out that they cannot go together"
    assert rows(store) == EMPTY


def test_one_that_is_held_here_is_deleted_only_while_it_is(store: Store) -> None:
    """Also among others: within a turn, what is done to its thread asks whether it still is its."""
    log = fill(store, 3)
    with log.turn("t1"):
        erased, steps = work_of(store, flows.erase_threads(store._desk, **HERE._asdict()))
        assert (erased, writes(steps)) == (3, 2), "two together, and that one alone"
    assert rows(store) == EMPTY
