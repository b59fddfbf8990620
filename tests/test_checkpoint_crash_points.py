"""Every point between two steps of a checkpoint's flows, and after each statement of a step."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

import onrecord.flows.checkpoints.writing
from onrecord import CheckpointLog, Store, Unavailable, operations
from onrecord.checkpoint_log import (
    Listing,
    New,
    Same,
)
from onrecord.flow import Cold, Flow, Hot, Step
from tests.servers.postgres import PostgresServer
from tests.test_checkpoint_log import BODY, as_model, grow, item
from tests.test_crash_points import Tripped, Tripwire

_numbers = itertools.count()
RUN = 6


@pytest.fixture(autouse=True)
def short_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Items are merged sooner, so that threads may be short."""
    monkeypatch.setattr(onrecord.flows.checkpoints.writing, "RUN", RUN)


class Place(NamedTuple):
    log: CheckpointLog
    other: CheckpointLog

    def begin(self) -> str:
        """A thread just before its items are merged, with a fork and something written."""
        name = f"crash {next(_numbers)}"
        items = grow(self.log, name, RUN - 1)
        self.log.put(name, "", New("fork", "0003", BODY, {"a": Listing(items[:4])}))
        self.log.put_writes(name, "", "fork", "task", "", [(0, "a", item("written"))])
        end = f"{RUN - 2:04}"
        self.log.put(name, "", New("end", end, BODY, {"a": Listing(items), "x": item("x")}))
        return name


@pytest.fixture(scope="module")
def sqlite_place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    url = f"sqlite:///{tmp_path_factory.mktemp('crash') / 'crash.db'}"
    with Store(url, durability="normal") as one, Store(url, durability="normal") as two:
        yield Place(CheckpointLog(one), CheckpointLog(two))


@pytest.fixture(scope="module")
def postgres_place(postgres: PostgresServer) -> Iterator[Place]:
    with postgres.database("checkpoint_crashes") as url, Store(url) as one, Store(url) as two:
        yield Place(CheckpointLog(one), CheckpointLog(two))


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest) -> Place:
    found: Place = request.getfixturevalue(f"{request.param}_place")
    return found


def everything(log: CheckpointLog, name: str) -> Any:
    """All there is to know about a thread."""
    entries = log.page(name, limit=1000)
    return [as_model(state) for state in log.filled(name, entries)]


Flows = Callable[[CheckpointLog, str], Flow[Any]]


def put(log: CheckpointLog, name: str) -> Flow[Any]:
    """Grows a list over the edge of a run, and brings a new channel and a new value."""
    state = log.state(name)
    assert state is not None
    new = New(
        "new",
        "end",
        BODY,
        {
            "a": Listing([*state.numbers["a"], item(1), item(2)], state.epoch, lambda: []),
            "b": Listing([item("b")]),
            "x": Same(lambda: item("x")),
            "y": item("y"),
        },
    )
    return operations.put_checkpoint(log._desk, log.name(name), "", new, True, {"n": 1}, 10**6)


def put_on_a_fork(log: CheckpointLog, name: str) -> Flow[Any]:
    new = New("new", "fork", BODY, {"a": Listing([item("other"), item("0")])})
    return operations.put_checkpoint(log._desk, log.name(name), "", new, True, None, None)


def put_elsewhere(log: CheckpointLog, name: str) -> Flow[Any]:
    new = New("new", None, BODY, {"a": Listing([item("first")])})
    return operations.put_checkpoint(log._desk, log.name(name), "sub", new, True, None, None)


WRITES: dict[str, Flows] = {
    "put": put,
    "put on a fork": put_on_a_fork,
    "put elsewhere": put_elsewhere,
    "put_writes": lambda log, name: operations.put_writes(
        log._desk, log.name(name), "", "end", "task", "", [(0, "a", item(1)), (1, "b", item(2))]
    ),
    "delete": lambda log, name: operations.delete_thread(log._desk, log.name(name)),
    "drop": lambda log, name: operations.drop_checkpoints(
        log._desk, log.name(name), {"": [f"{n:04}" for n in range(RUN - 1)]}
    ),
    "copy": lambda log, name: operations.copy_thread(
        log._desk, log.name(name), log.name(f"copy of {name}")
    ),
}


def seen(log: CheckpointLog, name: str) -> Any:
    """The thread, what stands in another namespace of it, and its copy."""
    copy = f"copy of {name}"
    return everything(log, name), as_model(log.state(name, "sub")), everything(log, copy)


def perform(store: Store, step: Step) -> Any:
    match step:
        case Hot():
            raise AssertionError("checkpoints are not cached")
        case Cold(work, writes):
            return store._ledger.write(work) if writes else store._ledger.read(work)


def steps_of(flow: Flow[Any], store: Store, count: int | None = None) -> list[Cold[Any]]:
    """Perform so many steps, or all; then drop the flow, as a kill -9 does."""
    steps: list[Any] = []
    try:
        step = next(flow)
        while count is None or len(steps) < count:
            steps.append(step)
            step = flow.send(perform(store, step))
    except StopIteration:
        pass
    finally:
        flow.close()
    return steps


def goes_on(place: Place, name: str) -> None:
    """Whatever happened, the thread can be continued, by either process."""
    for log in (place.log, place.other):
        state = log.state(name)
        parent = None if state is None else state.entry.id
        items = [] if state is None else [*state.values["a"]]
        id = f"goes on {next(_numbers)}"
        log.put(name, "", New(id, parent, BODY, {"a": Listing([*items, item("on")])}), alone=True)
        for one in (place.log, place.other):
            found = one.state(name)
            assert found is not None
            assert found.entry.id == id
            assert found.values["a"] == [*items, item("on")]


@pytest.mark.parametrize("what", WRITES)
def test_a_crash_between_two_steps(place: Place, what: str) -> None:
    whole = place.begin()
    before = seen(place.other, whole)
    steps = steps_of(WRITES[what](place.log, whole), place.log.store)
    after = seen(place.other, whole)
    assert after != before
    writing = [step.writes for step in steps]
    if what == "put":
        assert writing == [True, True], "it is written, and then items are merged"
    for count in range(len(steps) + 1):
        name = place.begin()
        steps_of(WRITES[what](place.log, name), place.log.store, count)
        assert seen(place.other, name) == (after if any(writing[:count]) else before)
        goes_on(place, name)


@pytest.mark.parametrize("what", WRITES)
def test_a_step_that_ends_after_any_of_its_statements(place: Place, what: str) -> None:
    count = 0
    while True:
        name = place.begin()
        before = seen(place.other, name)
        flow = WRITES[what](place.log, name)
        step: Any = next(flow)
        while not step.writes:
            step = flow.send(perform(place.log.store, step))
        work = step.work

        def cut_off(txn: Any, left: int = count, work: Any = work) -> Any:
            return work(Tripwire(txn, left))

        try:
            place.log.store._ledger.write(cut_off)
        except Tripped:
            flow.close()
            assert seen(place.other, name) == before
            goes_on(place, name)
            count += 1
            continue
        flow.close()
        assert seen(place.other, name) != before
        break
    assert count >= 1


@pytest.mark.parametrize("performed", [True, False], ids=["performed", "not performed"])
@pytest.mark.parametrize("what", ["put", "put on a fork", "put elsewhere", "put_writes"])
def test_a_lost_answer(place: Place, what: str, performed: bool) -> None:
    whole = place.begin()
    steps_of(WRITES[what](place.log, whole), place.log.store)
    after = seen(place.other, whole)
    name = place.begin()
    flow = WRITES[what](place.log, name)
    lost = False
    try:
        step: Any = next(flow)
        while True:
            if step.writes and not lost:
                lost = True
                if performed:
                    perform(place.log.store, step)
                step = flow.throw(Unavailable("lost", outcome_unknown=True))
                continue
            step = flow.send(perform(place.log.store, step))
    except StopIteration:
        pass
    assert seen(place.other, name) == after
    goes_on(place, name)
