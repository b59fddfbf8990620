"""Many sessions go in a transaction, and each of them as if it went alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest

from onrecord import ANY, OnrecordError, Progress, Pruning, Session, Store, operations
from onrecord.flow import Cold, Flow, InThread, Step, run
from onrecord.flows.maintenance import prune, remove
from onrecord.flows.pace import FIRST
from onrecord.ledger.database.stamp import ABSENT, FenceMoved, new_stamp
from onrecord.ledger.database.transaction import Transaction
from onrecord.ledger.maintenance import due, erasing_many, vacuum
from onrecord.ledger.maintenance.erasing_many import Doomed
from onrecord.ledger.sessions import dictionaries, fences, sealing, sealing_many
from onrecord.ledger.sessions import sessions as sessions_of
from onrecord.scope import EVERYBODY, Scope
from onrecord.stored.changes import Change
from onrecord.stored.clock import MICROSECONDS, now
from onrecord.watching import Observer

OpenStore = Callable[..., Store]
MANY = 13
HERE = Scope("acme", ANY, ANY)


@pytest.fixture
def store(each_store: OpenStore, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr("onrecord.flows.maintenance.remove.AT_ONCE", 5)
    monkeypatch.setattr("onrecord.flows.maintenance.prune.AT_ONCE", 5)
    monkeypatch.setattr("onrecord.flows.maintenance.erase.AT_ONCE", 5)
    monkeypatch.setattr("onrecord.ledger.maintenance.due.LOOKED_AT", 5)
    return each_store()


def fill(store: Store, count: int = MANY, *, tenant: str = "acme") -> list[Session]:
    sessions = [store.session(f"s{n}", tenant=tenant, user=f"u{n % 4}") for n in range(count)]
    for n, session in enumerate(sessions):
        session.append([("user", f"{tenant} {n}"), ("assistant", "yes")])
    return sessions


def erase(store: Store, **more: Any) -> dict[str, int]:
    found = store.erase(tenant="acme", user=ANY, agent=ANY, thorough=False, **more)
    return {table: count for table, count in found.removed.items() if count}


def texts(session: Session) -> list[str]:
    return [message.text for message in session.messages()]


def work_of(store: Store, flow: Flow[Any]) -> tuple[Any, list[Step]]:
    steps: list[Step] = []

    def perform(step: Step) -> Any:
        steps.append(step)
        return store._perform(step)

    return run(flow, perform), steps


def doomed(store: Store) -> list[Doomed]:
    read = partial(erasing_many.page, scope=HERE, after=FIRST, limit=100)
    return store._ledger.read(lambda txn: read(txn))


def test_a_scope_goes_in_a_transaction_for_some(store: Store) -> None:
    gone, kept = fill(store), fill(store, 3, tenant="other")
    flow = operations.erase(store._desk, HERE, False)
    receipt, steps = work_of(store, flow)
    assert receipt.removed["onrecord_sessions"] == MANY
    assert receipt.removed["onrecord_tail"] == 2 * MANY
    commits = [step for step in steps if isinstance(step, Cold) and step.change_of is not None]
    assert len(commits) == 3, "5, 5 and 3 of them"
    assert [texts(session) for session in gone] == [[]] * MANY
    assert [texts(session) for session in kept] == [[f"other {n}", "yes"] for n in range(3)]
    assert store.verify() == []
    assert erase(store) == {}


def test_what_was_there_is_remembered_for_each(store: Store) -> None:
    sessions = fill(store)
    before = [session.version() for session in sessions]
    erase(store)
    for session, version in zip(sessions, before, strict=True):
        assert session.version() == (version.epoch + 1, 0)
        session.append(("user", "anew"))
        assert session.version() == (version.epoch + 1, 1)
        assert texts(session) == ["anew"]
    assert store.verify() == []


def test_their_states_go_with_them(store: Store) -> None:
    sessions = fill(store)
    sessions[3].state.put("mood", "well")
    sessions[4].state.put("mood", "better")
    assert sessions[3].state.get("mood") is not None
    removed = erase(store)
    assert removed["onrecord_items"] == 2
    assert removed["onrecord_sessions"] == MANY
    assert sessions[3].state.get("mood") is None
    assert store.stats().items == 0


def test_their_states_go_with_those_that_are_pruned(store: Store) -> None:
    """Nobody looks for the items of a scope afterwards."""
    sessions = fill(store)
    sessions[3].state.put("mood", "well")
    assert store.prune(older_than=timedelta(microseconds=1)).count == MANY
    left = store._ledger.read(lambda txn: txn.rows("SELECT count(*) FROM {items}", {}))
    assert left[0][0] == 0
    assert store.verify() == []


def test_who_listens_is_told_of_each(store: Store) -> None:
    sessions = fill(store)
    changes: list[Change] = []

    class Recorder(Observer):
        def changed(self, change: Change) -> None:
            changes.append(change)

    store._observers = (Recorder(),)
    erase(store)
    assert {change.name for change in changes} == {session.name for session in sessions}
    assert {change.kind for change in changes} == {"erase"}
    assert [change.removed for change in changes] == [((1, 2),)] * MANY


def test_a_feed_hears_of_each(store: Store) -> None:
    sessions = fill(store)
    feed = store.feed("index")
    assert len(feed.read(limit=100)) == MANY
    for found in feed.read(limit=100):
        raise AssertionError(found)
    erase(store)
    assert feed.behind() == MANY
    assert {session.count() for session in sessions} == {0}


def test_it_says_how_far_it_came(store: Store) -> None:
    fill(store)
    heard: list[Progress] = []
    erase(store, progress=heard.append)
    assert heard == [(0, MANY), (5, MANY), (10, MANY), (MANY, MANY)]
    fill(store, 7)
    heard.clear()
    store.prune(older_than=timedelta(microseconds=1), progress=heard.append)
    assert heard[0] == (0, 7)
    assert heard[-1] == (7, 7)


def test_no_cached_reader_sees_what_has_gone(each_store: OpenStore, store: Store) -> None:
    """Another process has all of them hot."""
    sessions = fill(store)
    with each_store() as other:
        theirs = [
            other.session(s.name.key, tenant=s.name.tenant, user=s.name.user) for s in sessions
        ]
        assert [len(session.tail(10)) for session in theirs] == [2] * MANY
        erase(store)
        assert [session.tail(10) for session in theirs] == [[]] * MANY
        assert [session.tail(10) for session in sessions] == [[]] * MANY


def test_what_was_settled_since_is_not_taken_unmarked(store: Store) -> None:
    """By who reads: the whole batch is refused, and knows the fences of all."""
    sessions = fill(store)
    found = doomed(store)
    told = {one.name.identity: one.fence for one in found}
    name = sessions[2].name
    store._ledger.write(lambda txn: fences.settle(txn, name))
    stamp = new_stamp()._replace(items=told)
    with pytest.raises(FenceMoved) as refused:
        store._ledger.write(
            fences.stamped(lambda txn: erasing_many.remove(txn, found), stamp, hurried=False)
        )
    assert set(refused.value.fences) == {name.identity}
    assert ABSENT not in refused.value.fences.values()
    assert texts(sessions[2]) == ["acme 2", "yes"]
    assert texts(sessions[1]) == ["acme 1", "yes"], "nor any other"
    assert erase(store)["onrecord_sessions"] == MANY


def test_one_that_was_settled_meanwhile_goes_at_the_second_try(store: Store) -> None:
    sessions = fill(store)
    settled = False

    def perform(step: Step) -> Any:
        nonlocal settled
        if isinstance(step, Cold) and step.change_of is not None and not settled:
            settled = True
            store._ledger.write(lambda txn: fences.settle(txn, sessions[2].name))
        return store._perform(step)

    receipt = run(operations.erase(store._desk, HERE, False), perform)
    assert receipt.removed["onrecord_sessions"] == MANY
    assert {session.count() for session in sessions} == {0}


def test_who_comes_back_meanwhile_stays(store: Store) -> None:
    sessions = fill(store)
    back = False

    def perform(step: Step) -> Any:
        nonlocal back
        if isinstance(step, Cold) and step.change_of is not None and not back:
            back = True
            sessions[2].append(("user", "here I am"))
        return store._perform(step)

    flow = operations.prune(store._desk, HERE, timedelta(microseconds=1), None, False)
    done: Pruning = run(flow, perform)
    assert done.count == MANY - 1
    assert texts(sessions[2]) == ["acme 2", "yes", "here I am"]
    assert store.stats().sessions == 1
    assert store.verify() == []


def _taken(store: Store, flow: Flow[Any], step: Step) -> Step:
    try:
        answer = store._perform(step)
    except Exception as fault:  # the flow knows what a fence is
        return flow.throw(fault)
    return flow.send(answer)


def test_killed_between_any_two_steps_and_run_again(store: Store) -> None:
    cut = 0
    while True:
        sessions = fill(store, 7)
        sessions[1].state.put("mood", "well")
        flow = operations.erase(store._desk, HERE, False)
        cut += 1
        try:
            step = next(flow)
            for _ in range(cut):
                step = _taken(store, flow, step)
        except StopIteration:
            break
        flow.close()
        for n, session in enumerate(sessions):
            assert texts(session) in ([], [f"acme {n}", "yes"]), "the whole of it, or nothing"
        assert store.verify() == []
        erase(store)
        assert [texts(session) for session in sessions] == [[]] * 7
        assert store.stats().items == store.stats().sessions == 0
    assert cut > 5


def test_a_locked_one_is_waited_for_with_nothing_in_hand(postgres_url: str) -> None:
    """Nobody who holds one of them, and wants another, waits in a ring with who takes them away."""
    with Store(postgres_url) as store, psycopg.connect(postgres_url) as other:
        fill(store)
        held = other.execute("SELECT id FROM onrecord_sessions WHERE id = 3 FOR UPDATE").fetchone()
        assert held is not None
        found = doomed(store)
        removed = store._ledger.write(lambda txn: erasing_many.remove(txn, found))
        assert [one.key.session for one in removed.left] == [held[0]]
        assert len(removed.gone) == MANY - 1
        other.rollback()
        assert erase(store)["onrecord_sessions"] == 1


@pytest.mark.parametrize("column", ["identity", "epoch", "head"])
def test_a_damaged_row_goes_alone(store: Store, column: str) -> None:
    sessions = fill(store)
    wrong = {"identity": b"x" * 20, "epoch": -7, "head": -1}[column]
    store._ledger.write(
        lambda txn: txn.run(
            f"UPDATE {{sessions}} SET {column} = :wrong WHERE identity = :identity",
            {"wrong": wrong, "identity": sessions[1].name.identity},
        )
    )
    found = doomed(store)
    removed = store._ledger.write(lambda txn: erasing_many.remove(txn, found))
    assert [one.name for one in removed.left] == [sessions[1].name]
    assert len(removed.gone) == MANY - 1


def test_a_report_is_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prune, "MOST_NAMED", 3)
    fill(store)
    would = store.prune(older_than=timedelta(microseconds=1), dry_run=True)
    assert (would.count, len(would.sessions), would.messages) == (MANY, 3, 2 * MANY)
    done = store.prune(older_than=timedelta(microseconds=1))
    assert (done.count, len(done.sessions), done.messages) == (MANY, 3, 2 * MANY)


def test_one_that_cannot_go_keeps_no_other(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in ``maintain``, which goes on by itself."""
    sessions = fill(store)
    for session in sessions:
        session.update(expires_in=timedelta(microseconds=1))
    stuck = sessions[1].name
    as_it_is = remove.remove_many

    def failing(desk: Any, some: list[Doomed]) -> Any:
        if stuck in [one.name for one in some]:
            raise OnrecordError("it is stuck")
        return (yield from as_it_is(desk, some))

    monkeypatch.setattr(prune, "remove_many", failing)
    report = store.maintain()
    (step,) = [step for step in report.steps if step.name == "prune"]
    assert step.problem == "it is stuck"
    assert step.counts == {"session": MANY - 1}


# -- found by an index --------------------------------------------------------------------------


def explained(store: Store, asked: due.Asked) -> list[str]:
    """How the database finds what is due, way by way."""
    plans: list[str] = []

    def work(txn: Transaction) -> None:
        how = "EXPLAIN QUERY PLAN" if txn.kind == "sqlite" else "EXPLAIN"

        class Explaining:
            can, kind = txn.can, txn.kind

            def rows(self, statement: str, values: dict[str, object]) -> list[Any]:
                found = txn.rows(f"{how} {statement}", values)
                plans.append("\n".join(str(row[-1]) for row in found))
                return []

        place: due.Place | None = due.FIRST
        while place is not None:
            _, place = due.page(Explaining(), asked, place)  # type: ignore[arg-type]

    store._ledger.read(work)
    return plans


@pytest.mark.parametrize(
    ("before", "default"),
    [(None, None), (MICROSECONDS, None), (None, MICROSECONDS)],
    ids=["by their own time", "older than", "by the store's"],
)
def test_what_is_due_is_found_without_a_scan(
    store: Store, before: int | None, default: int | None
) -> None:
    fill(store, 40)
    at = now()
    since = None if before is None else at - before
    plans = explained(store, due.Asked(EVERYBODY, since, at, default))
    assert len(plans) == 2
    for plan, index in zip(plans, ("by_activity", "by_expiry"), strict=True):
        assert f"onrecord_sessions_{index}" in plan
        assert "SCAN" not in plan.replace("Index Scan", "")
        assert "Seq Scan" not in plan


def test_both_ways_find_each_once(store: Store) -> None:
    sessions = fill(store)
    for n, session in enumerate(sessions):
        own = (timedelta(microseconds=1), timedelta(days=1), None)[n % 3]
        session.update(expires_in=own)
    expired = {session.name.key for n, session in enumerate(sessions) if n % 3 == 0}
    assert {info.key for info in store.prune(dry_run=True).sessions} == expired
    every = store.prune(older_than=timedelta(microseconds=1), dry_run=True)
    assert every.count == len({info.key for info in every.sessions}) == MANY
    store._desk.expires_in = 1
    found = store.prune(dry_run=True)
    assert {info.key for info in found.sessions} == {
        session.name.key for n, session in enumerate(sessions) if n % 3 != 1
    }
    assert found.count == len(found.sessions)
    asked = due.Asked(EVERYBODY, None, now(), 1)
    assert store._ledger.read(lambda txn: due.count(txn, asked)) == found.count


# -- counted, or estimated ----------------------------------------------------------------------


def test_few_are_counted(store: Store) -> None:
    fill(store)
    found = store.stats()
    assert (found.estimated, found.sessions, found.messages) == (False, MANY, 2 * MANY)


def test_many_are_estimated_and_it_says_so(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onrecord.ledger.maintenance.counting.MOST_COUNTED", 50)
    monkeypatch.setattr("onrecord.ledger.maintenance.counting._RUNS", 10)
    monkeypatch.setattr("onrecord.ledger.maintenance.counting._WIDTH", 5)
    fill(store, 100)
    fill(store, 20, tenant="other")
    found, exact = store.stats(), store.stats(exact=True)
    assert found.estimated
    assert (exact.estimated, exact.sessions, exact.messages) == (False, 120, 240)
    assert found.sessions == 120, "no number is missing: any part of it has as many"
    assert found.messages == found.rows == 240
    assert found.turns == 120
    assert 0.8 < found.raw_bytes / exact.raw_bytes < 1.2
    assert found.disk_bytes == exact.disk_bytes
    part = store.stats(tenant="acme")
    assert part.estimated
    assert 50 <= part.sessions <= 120
    few = store.stats(tenant="other")
    assert (few.estimated, few.sessions) == (False, 20)


# -- sealed together ----------------------------------------------------------------------------


def compacted(store: Store, meanwhile: Callable[[], object] = lambda: None) -> list[Step]:
    """Compact, with something done between what was read and what is written of it."""
    steps: list[Step] = []

    def perform(step: Step) -> Any:
        steps.append(step)
        answer = store._perform(step)
        if isinstance(step, InThread) and sum(isinstance(one, InThread) for one in steps) == 1:
            meanwhile()
        return answer

    run(operations.compact(store._desk, -2, False, None), perform)
    return steps


def test_short_sessions_are_sealed_together(store: Store) -> None:
    sessions = fill(store)
    sessions[1].delete(1)
    sessions[2].archive([1])
    before = [session.messages() for session in sessions]
    steps = compacted(store)
    assert sum(isinstance(step, InThread) for step in steps) == 1
    assert [session.messages() for session in sessions] == before
    found = store.stats()
    assert (found.rows, found.segments, found.messages) == (0, MANY, 2 * MANY - 1)
    assert store.verify() == []
    assert not any(isinstance(step, InThread) for step in compacted(store)), "all are sealed"


@pytest.mark.parametrize("what", ["append", "edit", "delete", "clear", "erase", "compact"])
def test_what_was_changed_meanwhile_is_not_sealed_as_it_was(store: Store, what: str) -> None:
    sessions = fill(store)
    changed = sessions[2]
    changes: dict[str, Callable[[], object]] = {
        "append": lambda: changed.append(("user", "and more")),
        "edit": lambda: changed.edit(1, ("user", "edited")),
        "delete": lambda: changed.delete(1),
        "clear": changed.clear,
        "erase": lambda: changed.erase(thorough=False),
        "compact": lambda: store.compact(quiet_for=0),
    }
    expected = {
        "append": ["acme 2", "yes", "and more"],
        "edit": ["edited", "yes"],
        "delete": ["yes"],
        "clear": [],
        "erase": [],
        "compact": ["acme 2", "yes"],
    }
    compacted(store, changes[what])
    assert texts(changed) == expected[what]
    assert [texts(session) for session in sessions if session is not changed] == [
        [f"acme {n}", "yes"] for n in range(MANY) if n != 2
    ]
    assert store.verify() == []


def test_nothing_is_written_with_a_dictionary_that_went_meanwhile(store: Store) -> None:
    sample = [[("user", f"the same words as in any other one, {n}")] * 9 for n in range(300)]
    number = store.train(sample).dictionary
    assert number is not None
    sessions = fill(store)
    for n, session in enumerate(sessions):
        session.append(sample[n])
    before = [texts(session) for session in sessions]
    compacted(store, lambda: store._ledger.write(lambda txn: dictionaries.retire(txn, number)))
    assert [texts(session) for session in sessions] == before
    assert store.stats().rows == 0
    needed = store._ledger.read(
        lambda txn: txn.rows("SELECT count(*) FROM {segments} WHERE dictionary IS NOT NULL", {})
    )
    assert needed[0][0] == 0
    assert store.verify() == []


def test_what_is_too_much_for_one_segment_is_sealed_alone(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onrecord.ledger.sessions.sealing.LARGEST", 200)
    sessions = fill(store, 4)
    sessions[1].append([("user", str(n) * 150) for n in range(4)])
    before = [session.messages() for session in sessions]
    compacted(store)
    assert [session.messages() for session in sessions] == before
    assert store.stats().rows == 0
    assert store.stats().segments > 4
    assert store.verify() == []


def test_each_goes_alone_where_a_lock_is_of_one_shard(store: Store) -> None:
    sessions = fill(store)
    dialect = store._ledger.dialect
    dialect.can = dialect.can._replace(across_shards=False)  # as by Citus
    done, steps = work_of(store, operations.compact(store._desk, -2, False, None))
    assert done.sessions == MANY
    assert not any(isinstance(step, InThread) for step in steps), "none were packed together"
    assert store.stats().segments == MANY
    flow = operations.erase(store._desk, HERE, False)
    receipt, steps = work_of(store, flow)
    assert receipt.removed["onrecord_sessions"] == MANY
    assert [texts(session) for session in sessions] == [[]] * MANY
    commits = [step for step in steps if isinstance(step, Cold) and step.change_of is not None]
    assert len(commits) >= MANY
    assert store.verify() == []


def test_a_dictionary_is_asked_for_under_the_locks(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before them nobody sees that this transaction may write with it."""
    sample = [[("user", f"the same words as in any other one, {n}")] * 9 for n in range(300)]
    assert store.train(sample).dictionary is not None
    fill(store)
    order: list[str] = []
    rows, is_in_use = sealing_many._rows, dictionaries.is_in_use

    def locked(txn: Transaction, statements: Any, wanted: Any) -> Any:
        order.extend(["locked"] if statements is sealing_many._LOCK else [])
        return rows(txn, statements, wanted)

    def asked(txn: Transaction, number: int) -> bool:
        order.append("asked")
        return is_in_use(txn, number)

    monkeypatch.setattr(sealing_many, "_rows", locked)
    monkeypatch.setattr(dictionaries, "is_in_use", asked)
    assert store.compact(quiet_for=0).sessions == MANY
    assert order == ["locked", "asked"]


def test_who_waits_for_a_session_to_seal_it_holds_no_other(postgres_url: str) -> None:
    with Store(postgres_url) as store, psycopg.connect(postgres_url) as other:
        first, second = fill(store, 2)
        ids = "SELECT id FROM onrecord_sessions ORDER BY id"
        other.execute(f"SELECT 1 FROM onrecord_sessions WHERE id = ({ids} OFFSET 1) FOR UPDATE")
        with ThreadPoolExecutor(1) as threads:
            compacting = threads.submit(store.compact, quiet_for=0, again=True)
            waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            with psycopg.connect(postgres_url, autocommit=True) as looking:
                while not looking.execute(waits).fetchall()[0][0]:
                    assert not compacting.done()
            first.append(("user", "and I go on"))
            other.rollback()
            assert compacting.result().sessions == 2
        assert [texts(one)[-1] for one in (first, second)] == ["and I go on", "yes"]


def test_who_is_given_more_time_meanwhile_stays(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(due, "LOOKED_AT", 100)  # all are found before the first of them goes
    sessions = fill(store)
    for session in sessions:
        session.update(expires_in=timedelta(microseconds=1))
    kept = [sessions[-1], sessions[-2]]
    kept[1].state.put("goes alone", True)  # with what it knows

    def meanwhile(progress: Progress) -> None:
        if progress.done == 5:
            kept[0].update(expires_in=timedelta(days=365))
            kept[1].update(expires_in=None)

    done = store.prune(tenant="acme", user=ANY, agent=ANY, progress=meanwhile)
    assert done.count == MANY - 2
    assert [bool(session.messages()) for session in sessions] == [False] * (MANY - 2) + [True] * 2


def test_what_was_named_after_the_archive_was_written_stays(store: Store, tmp_path: Path) -> None:
    sessions = fill(store)

    def meanwhile(progress: Progress) -> None:
        if progress.done == 0:
            sessions[3].update(title="kept")

    done = store.prune(
        tenant="acme",
        user=ANY,
        agent=ANY,
        older_than=timedelta(microseconds=1),
        archive_to=tmp_path / "archive.jsonl",
        progress=meanwhile,
    )
    assert done.count == MANY - 1
    assert [info.title for info in store.sessions(tenant="acme", user=ANY)] == ["kept"]


def test_what_was_said_before_1970_does_not_expire_by_itself(store: Store, tmp_path: Path) -> None:
    store.session("old").append(("user", "a letter"))
    store.export(tmp_path / "old.jsonl")
    store.session("old").erase(thorough=False)
    letters = (tmp_path / "old.jsonl").read_text(encoding="utf-8")
    moved = re.sub(r"20\d\d(-\d\d-\d\dT)", r"1965\1", letters)
    (tmp_path / "moved.jsonl").write_text(moved, encoding="utf-8")
    store.import_(tmp_path / "moved.jsonl")
    [info] = store.sessions()
    assert info.last_active is not None
    assert info.last_active.year == 1965
    assert store.prune().count == 0
    assert store.maintain().ok
    assert len(store.sessions()) == 1
    assert store.prune(older_than=timedelta(days=1)).count == 1


def test_others_write_between_two_pieces_of_what_is_freed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite has one writer, and this is one."""
    monkeypatch.setattr(vacuum, "_PAGES_AT_ONCE", 2)
    url = f"sqlite:///{tmp_path}/store.db"
    with Store(url) as store, Store(url, timeout=0.1) as other:
        for session in fill(store):
            session.append(("user", "a long story " * 1_000))
        chat, times = other.session("kept", user="kept"), 0

        def meanwhile(seconds: float) -> None:
            nonlocal times
            times += 1
            chat.append(("user", f"{times}"))

        monkeypatch.setattr("onrecord.ledger.maintenance.vacuum.time.sleep", meanwhile)
        erase(store)
        monkeypatch.undo()
        assert times > 1
        assert len(chat.messages()) == times
        free = store._ledger.apart(lambda txn: txn.first("PRAGMA freelist_count", {}))
        assert free is not None
        assert free[0] < 10


def test_few_go_at_once_where_nobody_else_writes_meanwhile(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remove, "_FEW", 2)
    fill(store)
    _, steps = work_of(store, operations.erase(store._desk, HERE, False))
    commits = [step for step in steps if isinstance(step, Cold) and step.change_of is not None]
    alone = store._ledger.dialect.kind == "sqlite"
    assert store._desk.one_writer == alone
    assert len(commits) == (6 if alone else 3), "5, then 2, 2, 1 and 2, 1; or 5, 5 and 3"


def test_who_has_come_back_is_not_sealed_alone_either(store: Store) -> None:
    fill(store, 1)
    [(key, _)] = store._ledger.read(lambda txn: sessions_of.page(txn, EVERYBODY, FIRST, 10))
    long_ago = now() // MICROSECONDS - 60

    def seal(before: int) -> int:
        work = partial(sealing.seal_session, key=key, before=before, again=False)
        return store._ledger.write(lambda txn: work(txn))

    assert seal(long_ago) == 0
    assert store.stats().segments == 0
    assert seal(now() // MICROSECONDS) == 1
    assert store.stats().segments == 1
