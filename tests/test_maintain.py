"""What is due from time to time: done, in its time, beside others, and nothing beyond it."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import StaticPool, create_engine, text

from onrecord import (
    ANY,
    Maintenance,
    MaintenanceStep,
    Misconfigured,
    StepProgress,
    Store,
    Unavailable,
)
from onrecord.checkpoint_log import CheckpointLog, New
from onrecord.flow import Cold, Step, run
from onrecord.flows.maintenance import maintain as duty
from onrecord.flows.maintenance.maintain import due, pays
from onrecord.flows.pace import FIRST, Pace, over_sessions
from onrecord.ledger.database.transaction import Transaction
from onrecord.ledger.maintenance import maintain as ledger
from onrecord.ledger.maintenance import training
from onrecord.ledger.maintenance.maintain import LEASE, Duty, Tried
from onrecord.ledger.sessions import dictionaries, sessions
from onrecord.scope import EVERYBODY
from onrecord.stored.clock import PERIOD, now
from tests.children import Child, together

OpenStore = Callable[..., Store]
STEPS = ["prune", "release", "train", "seal", "index", "embed", "tidy"]
A_DAY = 86_400 * 1_000_000


@pytest.fixture
def store(each_store: OpenStore) -> Iterator[Store]:
    with each_store() as opened:
        yield opened


def fill(store: Store, count: int, messages: int = 3) -> None:
    for n in range(count):
        said = [("user", f"message {i} of the conversation {n}") for i in range(messages)]
        store.session(f"s{n:03}").append(said)


def aged(store: Store) -> None:
    """As if all had been written two hours ago."""

    def work(txn: Transaction) -> None:
        txn.run(
            "UPDATE {sessions} SET last_active = last_active - 7200000000, "
            f"active_period = (last_active - 7200000000) / {PERIOD}"
        )

    store._ledger.write(work)


def what_was_said(store: Store) -> dict[str, list[str]]:
    infos = store.sessions(tenant=ANY, user=ANY, agent=ANY, limit=10_000)
    return {
        str(info.key): [message.text for message in store.session(info.key).messages()]
        for info in infos
    }


def step(report: Maintenance, name: str) -> MaintenanceStep:
    return next(step for step in report.steps if step.name == name)


def left_by(store: Store) -> Duty:
    """What the last run left to the next."""

    def work(txn: Transaction) -> Duty:
        return ledger._read(txn)

    return store._ledger.write(work)


def let_go(store: Store) -> None:
    """As if the lease had ended."""
    store._ledger.write(
        lambda txn: txn.run(
            "UPDATE {meta} SET value = :value WHERE name = 'maintenance'", {"value": b"{}"}
        )
    )


def test_it_does_what_is_due_and_then_nothing(store: Store) -> None:
    fill(store, 30)
    aged(store)
    expiring = store.session("expiring")
    expiring.append(("user", "not for long"))
    expiring.update(expires_in=timedelta(microseconds=1))
    store.items("facts").put("gone", {"a": 1}, ttl=timedelta(microseconds=1))
    store.items("facts").put("kept", {"a": 1})
    said = what_was_said(store)
    del said["expiring"]
    report = store.maintain()
    assert [one.name for one in report.steps] == STEPS
    assert report.ok
    assert step(report, "prune").counts == {"session": 1, "item": 1}
    assert step(report, "seal").counts == {"session": 30}
    assert step(report, "index").counts == {"session": 30, "message": 90}
    assert store.stats().rows == 0
    assert store.stats().unindexed == 0
    assert what_was_said(store) == said
    assert store.items("facts").get("kept") is not None
    assert store.verify() == []
    again = store.maintain()
    assert [one.name for one in again.steps if one.count and one.name != "tidy"] == []
    assert again.complete


def test_nothing_goes_that_nobody_asked_to_expire(store: Store) -> None:
    fill(store, 3)
    store.session("s000").update(expires_in=timedelta(days=1))
    store.session("s001", user="ada").append(("user", "somebody else's"))
    aged(store)
    before = {info.key: info.version for info in store.sessions(tenant=ANY, user=ANY, agent=ANY)}
    store.maintain()
    found = store.sessions(tenant=ANY, user=ANY, agent=ANY)
    assert {info.key: info.version for info in found} == before


def test_what_the_store_says_of_expiry_counts(each_store: OpenStore) -> None:
    with each_store(expires_in=timedelta(hours=1)) as store:
        fill(store, 3)
        aged(store)
        fill(store, 1)
        report = store.maintain()
        assert step(report, "prune").counts == {"session": 2}
        assert "sessions expire here" in (step(report, "train").note or "")
        assert set(what_was_said(store)) == {"s000"}


def test_threads_of_graphs_that_expired_go(store: Store) -> None:
    new = New("a", None, [("json", b"{}")], {})
    CheckpointLog(store).put("gone", "", new, expires_in=timedelta(microseconds=1))
    CheckpointLog(store).put("kept", "", new, expires_in=timedelta(days=1))
    assert step(store.maintain(), "prune").counts == {"thread": 1}


def test_async(each_store: OpenStore) -> None:
    async def main() -> Maintenance:
        async with each_store() as store:
            await store.session("a").aappend([("user", "one"), ("user", "two")])
            await asyncio.to_thread(aged, store)
            return await store.amaintain(within=60)

    report = asyncio.run(main())
    assert report.ok
    assert step(report, "seal").counts == {"session": 1}
    assert step(report, "index").counts == {"session": 1, "message": 2}


def test_it_says_how_far_it_has_come(store: Store) -> None:
    fill(store, 3)
    aged(store)
    heard: list[StepProgress] = []
    store.maintain(progress=heard.append)
    assert [one.step for one in heard if one.done == 0][:2] == ["prune", "release"]
    assert {one.step for one in heard} == set(STEPS)
    assert all((one.number, one.of) == (STEPS.index(one.step) + 1, 7) for one in heard)
    assert ("seal", 3) in [(one.step, one.done) for one in heard]


def test_what_a_listener_says_is_not_a_problem_of_a_step(store: Store) -> None:
    class Enough(Exception):
        pass

    def stop(progress: StepProgress) -> None:
        if progress.step == "seal" and progress.done:
            raise Enough

    fill(store, 1)
    aged(store)
    with pytest.raises(Enough):
        store.maintain(progress=stop)
    with pytest.raises(Misconfigured, match="progress"):
        store.maintain(progress="bar")  # type: ignore[arg-type]


@pytest.mark.parametrize("within", [0, -1, "10m", None, float("nan"), True])
def test_times_that_cannot_be(within: Any) -> None:
    with Store("sqlite://") as store, pytest.raises(Misconfigured, match="within"):
        store.maintain(within=within)


def test_the_report_is_read_by_people() -> None:
    steps = (
        MaintenanceStep(name="prune", counts={"session": 2, "item": 1}, seconds=0.5),
        MaintenanceStep(name="train", counts={}, seconds=0, note="no use for it"),
        MaintenanceStep(name="seal", counts={"session": 1200}, seconds=9, left="some"),
        MaintenanceStep(name="embed", counts={}, seconds=1, problem="nobody answers"),
        MaintenanceStep(name="tidy", counts={}, seconds=0),
    )
    report = Maintenance(steps=steps, seconds=10.54)
    assert str(report).splitlines() == [
        "Did some of what was due in 10.5 s.",
        "  prune       0.5 s  2 sessions, 1 item",
        "  train       0.0 s  no use for it",
        "  seal        9.0 s  1,200 sessions; left: some",
        "  embed       1.0 s  problem: nobody answers",
        "  tidy        0.0 s  nothing to do",
    ]
    assert not report.ok
    assert not report.complete
    assert Maintenance(steps=steps[:2], seconds=1).complete


# -- its time --------------------------------------------------------------------------------------


class Clock:
    """A monotonic clock that goes on by a second whenever a step has been done."""

    def __init__(self, store: Store) -> None:
        self.now = 1_000.0
        self._store = store

    def monotonic(self) -> float:
        return self.now

    def maintain(self, within: float) -> Maintenance:
        return run(duty.maintain(self._store._desk, within, None), self._perform)

    def _perform(self, step: Step) -> Any:
        self.now += 1
        return self._store._perform(step)


@pytest.fixture
def clock(store: Store, monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock(store)
    for module in ("maintenance.maintain", "pace", "search.catching_up", "search.meaning"):
        monkeypatch.setattr(f"onrecord.flows.{module}.time", clock)
    monkeypatch.setattr("onrecord.flows.maintenance.index.time", clock)
    return clock


def test_runs_that_have_little_time_come_to_the_end_together(
    store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No step waits for another to be done with all it has."""
    monkeypatch.setattr("onrecord.flows.maintenance.compact.AT_ONCE", 2)
    monkeypatch.setattr("onrecord.flows.maintenance.index._AT_ONCE", 2)
    fill(store, 40)
    aged(store)
    said = what_was_said(store)
    worked: list[set[str]] = []
    for _ in range(100):
        report = clock.maintain(within=8)
        assert report.seconds <= 8 + 6, "one unit of a step, and the end"
        worked.append({one.name for one in report.steps if one.count})
        if store.stats().rows == store.stats().unindexed == 0:
            break
    else:
        pytest.fail(f"it never comes to an end: {report}")
    seals = [n for n, names in enumerate(worked) if "seal" in names]
    indexes = [n for n, names in enumerate(worked) if "index" in names]
    assert len(seals) > 3
    assert indexes[0] < seals[-1], "the index did not wait for the last session to be sealed"
    assert what_was_said(store) == said


def test_each_step_has_its_share_of_a_run(
    store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What would take all of the time leaves some of it to the others."""
    monkeypatch.setattr("onrecord.flows.maintenance.compact.AT_ONCE", 1)
    fill(store, 40)
    aged(store)
    report = clock.maintain(within=60)
    assert 0 < step(report, "seal").count < 40
    assert step(report, "index").count
    assert not any(one.left == "there was no time for it" for one in report.steps)


def test_what_has_no_time_is_said_and_is_begun_with_the_next_time(
    store: Store, clock: Clock
) -> None:
    fill(store, 3)
    report = clock.maintain(within=2.5)
    assert not report.complete
    behind = [one.name for one in report.steps if one.left == "there was no time for it"]
    assert behind == STEPS[-len(behind) :]
    assert behind != STEPS
    assert clock.maintain(within=1_000).steps[0].name == behind[0]
    assert [one.name for one in clock.maintain(within=1_000).steps] == STEPS


def test_a_step_that_fails_keeps_no_other_from_being_done(
    each_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(texts: list[str]) -> list[list[float]]:
        raise RuntimeError("nobody answers")

    with each_store(embedder=("broken", broken)) as store:
        fill(store, 3)
        aged(store)
        report = store.maintain()
        assert [one.name for one in report.steps if one.problem] == ["embed"]
        assert "nobody answers" in (step(report, "embed").problem or "")
        assert not report.ok
        assert step(report, "index").count
        assert left_by(store).until == 0

        def failing(*args: Any) -> Any:
            yield Cold(lambda txn: None)
            raise ZeroDivisionError("a bug")

        monkeypatch.setitem(duty._STEPS, "seal", failing)
        report = store.maintain()
        assert step(report, "seal").problem == "ZeroDivisionError: a bug"
        assert [one.name for one in report.steps] == STEPS


def test_what_cannot_be_pruned_keeps_nothing_else(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*args: Any, **named: Any) -> Any:
        yield Cold(lambda txn: None)
        raise Unavailable("a thread is locked")

    monkeypatch.setattr(duty, "prune_expired", failing)
    fill(store, 2)
    store.session("s000").update(expires_in=timedelta(microseconds=1))
    store.items("facts").put("gone", {"a": 1}, ttl=timedelta(microseconds=1))
    pruned = step(store.maintain(), "prune")
    assert pruned.problem == "a thread is locked"
    assert pruned.counts == {"session": 1, "item": 1}


def test_an_embedder_is_shown_what_it_has_not_seen(each_store: OpenStore) -> None:
    def embed(texts: list[str]) -> list[list[float]]:
        return [[float(len(text) % 7), 1.0, -1.0, float(ord(text[0]) % 5)] for text in texts]

    with each_store(embedder=("lengths", embed)) as store:
        fill(store, 5)
        store.items("facts").put("a", "something to be found by")
        assert step(store.maintain(), "embed").counts == {"item": 1, "session": 5, "message": 15}
        assert store.embed().messages == 0
        assert step(store.maintain(), "embed").counts == {}


def test_where_one_session_fails_the_next_run_does_not_begin_with_it(store: Store) -> None:
    fill(store, 9)
    page = partial(sessions.page, scope=EVERYBODY, limit=3)
    names = [name for _, name in store._ledger.read(partial(page, after=FIRST))]
    came_to: list[str] = []

    def work(found: Any) -> Any:
        for _, name in found:
            came_to.append(name.key)
            if name == names[1]:
                raise ZeroDivisionError
        yield Cold(lambda txn: None)
        return True

    pace = Pace()
    for rest in ([], ["s003", "s004", "s005", "s006", "s007", "s008", "s000", "s001"]):
        came_to.clear()
        with pytest.raises(ZeroDivisionError):
            run(over_sessions(pace, page, 3, work), store._perform)
        assert came_to[: len(rest) or 2] == (rest or ["s000", "s001"])


def test_many_sessions_are_looked_at_by_statements_that_look_at_some(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where none of a hundred thousand is due, one statement would have to look at them all."""
    monkeypatch.setattr("onrecord.flows.pace._LOOKED_AT", 4)
    fill(store, 10)
    read: list[int] = []

    def page(txn: Transaction, *, after: Any, upto: Any) -> Any:
        found = sessions.page(txn, EVERYBODY, after, 1_000, upto=upto)
        read.append(len(found))
        return [one for one in found if one[1].key == "s009"]

    def work(found: Any) -> Any:
        yield Cold(lambda txn: None)
        return True

    bounded = Pace(until=float("1e300"))
    assert run(over_sessions(bounded, page, 1_000, work), store._perform)
    assert read == [4, 4, 2, 0]


# -- beside others ---------------------------------------------------------------------------------


def test_another_leaves_it_to_the_one_that_is_at_it(store: Store) -> None:
    fill(store, 3)
    aged(store)
    found: list[Maintenance] = []

    def meanwhile(progress: StepProgress) -> None:
        if progress.step == "seal" and not found:
            found.append(store.maintain())

    report = store.maintain(progress=meanwhile)
    assert report.complete
    assert found[0].steps == ()
    assert found[0].busy_until is not None
    assert not found[0].complete
    assert "another maintain() is at work" in str(found[0])
    assert store.maintain().busy_until is None


def test_a_lease_that_ended_or_cannot_be_counts_for_nothing(store: Store) -> None:
    fill(store, 1)
    # A lease may have been begun by a clock that is ahead, or while this one waited.
    for until, free in [(-1, True), (LEASE, False), (LEASE + 5_000_000, False), (3 * LEASE, True)]:
        left = Duty(holder=1, until=now() + until)

        def work(txn: Transaction, left: Duty = left) -> None:
            ledger._read(txn)
            ledger._write(txn, left)

        store._ledger.write(work)
        assert (store.maintain().busy_until is None) == free
    store._ledger.write(
        lambda txn: txn.run(
            "UPDATE {meta} SET value = :value WHERE name = 'maintenance'", {"value": b"\xff{"}
        )
    )
    assert store.maintain().busy_until is None


def test_whoever_was_taken_for_dead_leaves_the_rest_to_the_other(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duty, "_BEAT", 0.0)
    fill(store, 3)
    aged(store)

    def meanwhile(progress: StepProgress) -> None:
        if progress.step == "seal" and progress.done == 0:
            let_go(store)
            store._ledger.write(partial(ledger.take, holder=7, now=now()))

    report = store.maintain(progress=meanwhile)
    assert step(report, "index").left == "there was no time for it"
    assert left_by(store).holder == 7


def test_two_processes_at_once_and_writers_beside_them(each_store: OpenStore) -> None:
    """The lease is broken again and again: what they do at once does no harm."""
    with each_store() as store:
        fill(store, 60)
        aged(store)
        for n in range(0, 60, 7):
            store.session(f"s{n:03}").update(expires_in=timedelta(microseconds=1))
        said = what_was_said(store)

    def work(number: int, meet: Callable[[], object]) -> dict[str, list[str]]:
        mine: dict[str, list[str]] = {}
        with each_store() as store:
            meet()
            if number < 2:
                for _ in range(3):
                    let_go(store)
                    report = store.maintain(within=30)
                    assert report.ok, str(report)
                return mine
            for n in range(1, 40):
                key = f"s{n:03}" if n % 7 else f"w{number}-{n}"
                text = f"{number} says {n}"
                store.session(key).append(("user", text))
                mine.setdefault(key, []).append(text)
        return mine

    wrote = together(work, count=4)
    with each_store() as store:
        assert store.verify() == []
        found = what_was_said(store)
        for n in range(0, 60, 7):
            said.pop(f"s{n:03}")
        assert set(found) == {*said, *wrote[2], *wrote[3]}
        for key, texts in found.items():
            before = said.get(key, [])
            assert texts[: len(before)] == before
            behind = texts[len(before) :]
            assert sorted(behind) == sorted([*wrote[2].get(key, []), *wrote[3].get(key, [])])
        let_go(store)
        assert store.maintain().ok
        assert store.stats().unindexed == 0


@pytest.mark.parametrize("at", ["prune", "seal", "index", "tidy"])
def test_killed_in_the_middle_and_run_again(each_store: OpenStore, at: str) -> None:
    with each_store() as store:
        fill(store, 30)
        aged(store)
        store.session("s003").update(expires_in=timedelta(microseconds=1))
        said = what_was_said(store)
    del said["s003"]

    def work() -> None:
        def die(progress: StepProgress) -> None:
            if progress.step == at:
                os.kill(os.getpid(), signal.SIGKILL)

        with each_store() as store:
            store.maintain(progress=die)

    child = Child(work)
    assert os.WIFSIGNALED(os.waitpid(child.pid, 0)[1])
    with each_store() as store:
        assert store.maintain().busy_until is not None, "for a minute it may be alive"
        let_go(store)
        report = store.maintain()
        assert report.ok
        assert what_was_said(store) == said
        assert store.stats().rows == store.stats().unindexed == 0
        assert store.verify() == []


def test_every_crash_point(store: Store) -> None:
    """Cut off after any of its steps, the next one comes to the same end."""
    fill(store, 4)
    aged(store)
    store.session("s003").update(expires_in=timedelta(microseconds=1))
    said = what_was_said(store)
    del said["s003"]
    n = 0
    while True:
        n += 1
        flow = duty.maintain(store._desk, 600, None)
        answer: Any = None
        try:
            for _ in range(n):
                answer = store._perform(flow.send(answer))
        except StopIteration:
            break
        finally:
            flow.close()
        let_go(store)
        assert store.verify() == []
    assert n > 15
    assert what_was_said(store) == said
    assert store.stats().rows == store.stats().unindexed == 0


# -- what it learns --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("total", "new", "tried", "in_use", "days", "is_due"),
    [
        (1_999, 1_999, None, False, 0, False),
        (2_000, 2_000, None, False, 0, True),
        (9_000, 4_000, Tried(0, 5_000, 1), True, 99, False),
        (9_000, 4_500, Tried(0, 4_500, 1), True, 0, True),
        (9_000, 4_500, Tried(0, 4_500, None), False, 0, True),
        (9_000, 10, Tried(0, 9_000, None), False, 99, False),
        (9_000, 0, Tried(0, 9_000, 1), False, 6, False),
        (9_000, 0, Tried(0, 9_000, 1), False, 7, True),
    ],
)
def test_when_it_pays_to_look_for_a_dictionary(
    total: int, new: int, tried: Tried | None, in_use: bool, days: int, is_due: bool
) -> None:
    assert (due(total, new, tried, in_use, days * A_DAY) is None) == is_due


@pytest.mark.parametrize(("after", "enough"), [(960, False), (950, True), (1_000, False)])
def test_a_dictionary_has_to_save_something(after: int, enough: bool) -> None:
    assert pays(1_000, after) == enough


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few messages are enough to learn from."""
    monkeypatch.setattr(duty, "_FEWEST", 100)
    monkeypatch.setattr(duty, "_SIZES", (8,))
    monkeypatch.setattr(training, "SIZES", (8,))
    monkeypatch.setattr(training, "_FEWEST", 20)
    monkeypatch.setattr(training, "_A_SAMPLE", 2)


PLACES = ["Oslo", "Lima", "Cairo", "Quito", "Tartu", "Lagos", "Hanoi", "Turin", "Perth", "Basra"]


def alike(store: Store, first: int, count: int, about: str) -> None:
    for n in range(first, first + count):
        store.session(f"s{n:03}").append(
            [
                ("user", f"{about}: the parcel {n * 7919 + i} for {PLACES[(n + i) % 10]} is late.")
                for i in range(10)
            ]
        )


@pytest.mark.usefixtures("cheap")
def test_it_learns_once_and_again_when_half_is_new(store: Store) -> None:
    alike(store, 0, 30, "Order")
    assert step(store.maintain(), "train").counts == {"dictionary": 1}
    assert store.stats().dictionaries == 1
    alike(store, 30, 10, "Order")
    report = store.maintain()
    assert step(report, "train").counts == {}
    assert "100 of 400 messages are new" in (step(report, "train").note or "")
    alike(store, 40, 40, "Order")
    report = store.maintain()  # it looks, and what it has is good enough
    assert step(report, "train").counts == {}
    assert "less than 5%" in (step(report, "train").note or "")
    assert store.stats().dictionaries == 1
    assert "0 of 800" in (step(store.maintain(), "train").note or "")


@pytest.mark.usefixtures("cheap")
def test_it_learns_from_nothing_that_expires(store: Store) -> None:
    alike(store, 0, 30, "Order")
    for n in range(29):
        store.session(f"s{n:03}").update(expires_in=timedelta(days=30))
    assert step(store.maintain(), "train").counts == {}
    assert store.stats().dictionaries == 0


@pytest.mark.usefixtures("cheap")
def test_a_dictionary_learned_by_hand_counts(store: Store) -> None:
    alike(store, 0, 30, "Order")
    assert store.train().dictionary == 1
    report = store.maintain()
    assert "0 of 300 messages are new" in (step(report, "train").note or "")


def test_without_compression_nothing_is_learned() -> None:
    with Store("sqlite://", compression="none") as store:
        assert "compression='none'" in (step(store.maintain(), "train").note or "")


@pytest.mark.usefixtures("cheap")
def test_a_dictionary_that_nothing_needs_goes(store: Store) -> None:
    alike(store, 0, 30, "Order")
    for _ in range(2):
        store.train()
    aged(store)
    numbers = store._ledger.read(dictionaries.superseded)
    assert len(numbers) == 1
    assert step(store.maintain(), "release").counts == {"dictionary": 1}
    assert store.stats().dictionaries == 1
    alike(store, 30, 5, "Order")  # which needs the one that is there
    store.train()
    assert step(store.maintain(), "release").counts == {}
    assert store.stats().dictionaries == 2
    assert store.verify() == []


# -- the database ----------------------------------------------------------------------------------


def test_room_is_given_back_and_the_log_is_folded(tmp_path: Any) -> None:
    file = tmp_path / "x.db"
    with Store(f"sqlite:///{file}", durability="normal", compression="none") as store:
        for n in range(5):
            session = store.session(f"s{n}")
            session.append([("user", os.urandom(30_000).hex()) for _ in range(20)])
            session.update(expires_in=timedelta(microseconds=1))
        store.maintain()
        assert store.stats().sessions == 0
        with sqlite3.connect(file) as connection:
            assert connection.execute("PRAGMA freelist_count").fetchone() == (0,)
        connection.close()
        assert file.stat().st_size < 1_000_000
        assert os.stat(f"{file}-wal").st_size < 10_000


def test_a_lent_connection_is_left_as_it_was(tmp_path: Any) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/x.db", poolclass=StaticPool)
    with engine.connect() as connection:
        before = connection.execute(text("PRAGMA analysis_limit")).scalar()
    with Store(engine=engine) as store:
        fill(store, 3)
        assert store.maintain().ok
    with engine.connect() as connection:
        assert connection.execute(text("PRAGMA analysis_limit")).scalar() == before
    engine.dispose()


def test_nobody_waits_for_the_log_to_be_folded(tmp_path: Any) -> None:
    """Who writes while somebody reads for long is not held up by it."""
    url = f"sqlite:///{tmp_path / 'x.db'}"
    with Store(url, timeout=60) as store, Store(url, timeout=5) as writer:
        fill(store, 3)
        reader = sqlite3.connect(tmp_path / "x.db", isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM onrecord_tail").fetchone()
        ended = threading.Event()

        def maintain() -> None:
            store.maintain()
            ended.set()

        beside = threading.Thread(target=maintain)
        beside.start()
        wrote = 0
        while not ended.is_set():
            writer.session("beside").append(("user", f"{wrote}"))
            wrote += 1
        beside.join()
        reader.close()
        assert writer.session("beside").count() == wrote


def test_a_log_that_somebody_reads_is_left(tmp_path: Any) -> None:
    file = tmp_path / "x.db"
    with Store(f"sqlite:///{file}", timeout=0.05) as store:
        fill(store, 3)
        reader = sqlite3.connect(file, isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM onrecord_tail").fetchone()
        fill(store, 3)
        report = store.maintain()
        assert "somebody is reading" in (step(report, "tidy").left or "")
        assert report.ok
        reader.close()
        assert store.maintain().complete


def test_tables_of_which_postgresql_knows_nothing_are_counted(postgres_url: str) -> None:
    with Store(postgres_url) as store:
        fill(store, 30)

        def known(txn: Transaction) -> set[str]:
            return {
                name
                for (name,) in txn.rows(
                    "SELECT relname FROM pg_stat_user_tables "
                    "WHERE last_analyze IS NOT NULL OR last_autoanalyze IS NOT NULL",
                    {},
                )
            }

        waiting = threading.Event()
        for _ in range(300):  # what a server counts it tells a little later
            store.maintain()
            if {"onrecord_sessions", "onrecord_tail"} <= store._ledger.read(known):
                return
            waiting.wait(0.1)
        pytest.fail("nothing was counted")
