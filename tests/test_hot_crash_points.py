"""Every point at which a process can die with Redis in front, and every reply that can be lost.

For each operation and each k: k steps are run and the flow is dropped, or the k-th step happens
and its reply is lost. Then other processes look: at once, while a mark that was left sends them to
SQL; and again when it has been settled, and the next read is a hit.

Enumerated, over real servers and over the model, which needs none. In the model also for a process
that is cut off from Redis, with all its attempts, its suspension and its waiting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count, product
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

import pytest

from onrecord import IdReused, Message, Store, Version, operations
from onrecord.cache import redis as hot_redis
from onrecord.flow import Flow, Hot
from onrecord.flows.maintenance.remove import remove
from onrecord.flows.shared import Desk
from onrecord.ledger.database import generation
from onrecord.scope import SessionName
from onrecord.window import Limits
from tests.cut_off import HOW, MOST, Cut, One, Servers
from tests.hot_model import Process, World
from tests.servers.postgres import PostgresServer
from tests.servers.redis import RedisServer

Contents = list[tuple[int, str]]


def contents(messages: Any) -> Contents:
    return [(m.seq or 0, m.text) for m in messages]


def tail(one: One, name: SessionName, n: int = 50) -> Any:
    return one.do(operations.tail(one.desk, name, n))


Beginnings: TypeAlias = Mapping[str, Callable[[One, SessionName], None]]


class Backend(NamedTuple):
    """Where the cases are run."""

    process: Callable[[], One]
    wait: Callable[[], None]
    """Until the marks are due: then a reader may settle them."""
    beginnings: Beginnings
    """What a session and the process that uses it are like, when something is begun."""


# -- the operations ----------------------------------------------------------------------------

START: Final = [("user", "one"), ("assistant", "two"), ("user", "three")]


class Operation(NamedTuple):
    """Something that is done to a session of three messages."""

    flow: Callable[[Desk, SessionName], Flow[Any]]
    after: Contents
    """What the session holds when it has happened."""
    again: Callable[[Desk, SessionName], Flow[Any]] | None = None
    """What a caller who was told nothing can safely do again."""


def one_to(n: int) -> Contents:
    return [(seq, text) for seq, (_, text) in enumerate(START[:n], 1)]


def append(given: Any, expected: Any = None) -> Callable[[Desk, SessionName], Flow[Any]]:
    return lambda desk, name: operations.append(desk, name, given, expected)


def exchanged(desk: Desk, name: SessionName) -> Flow[Any]:
    read = yield from operations.messages(desk, name, 0, None, 2)
    return (yield from operations.exchange(desk, name, read, ("user", "in short")))


with_ids = append([{"role": "user", "content": f"new {n}", "id": f"id {n}"} for n in (4, 5)])
two_more: Final = [*one_to(3), (4, "new 4"), (5, "new 5")]

OPERATIONS: Final = {
    "append": Operation(append(("user", "new")), [*one_to(3), (4, "new")]),
    "append a batch": Operation(append([("user", f"new {n}") for n in (4, 5)]), two_more),
    "append with ids": Operation(with_ids, two_more, again=with_ids),
    "append at a version": Operation(
        append(("user", "new"), Version(0, 3)), [*one_to(3), (4, "new")]
    ),
    "append refused": Operation(append(("user", "new"), 7), one_to(3)),
    "append nothing new": Operation(
        append({"role": "user", "content": "one", "id": "first"}), one_to(3)
    ),
    "tail": Operation(lambda desk, name: operations.tail(desk, name, 50), one_to(3)),
    "window": Operation(
        lambda desk, name: operations.window(desk, name, Limits(messages=2), False), one_to(3)
    ),
    "edit": Operation(
        lambda desk, name: operations.edit(desk, name, 2, ("assistant", "edited")),
        [(1, "one"), (2, "edited"), (3, "three")],
    ),
    "delete": Operation(lambda desk, name: operations.delete(desk, name, 3), one_to(2)),
    "exchange": Operation(exchanged, [(1, "in short"), (3, "three")]),
    "rewind": Operation(lambda desk, name: operations.rewind(desk, name, 1), one_to(1)),
    "clear": Operation(lambda desk, name: operations.rewind(desk, name, 0), []),
    "pop": Operation(lambda desk, name: operations.pop(desk, name, 2), one_to(1)),
    "erase": Operation(lambda desk, name: remove(desk, name), []),
}
READS: Final = ("tail", "window")


@dataclass(kw_only=True)
class Case(Cut):
    """One operation that was cut off in one place."""

    operation: str
    warm: str
    how: str
    name: SessionName
    before: Contents

    def __str__(self) -> str:
        return f"{self.operation}, {self.warm}, {self.how}: {' '.join(self.told)}"


_names: Final = count()


def all_cases(backend: Backend) -> list[Case]:
    """Cut off everything everywhere."""
    done: list[Case] = []
    for operation, (warm, prepare) in product(OPERATIONS, backend.beginnings.items()):
        for how in HOW:
            for k in range(MOST):
                name = SessionName(key="s", tenant=f"t{next(_names)}")
                first, *rest = START
                one = backend.process()
                given = {"role": first[0], "content": first[1], "id": "first"}
                one.do(operations.append(one.desk, name, given, None))
                one.do(operations.append(one.desk, name, rest, None))
                tail(one, name)
                prepare(one, name)
                case = Case(
                    operation=operation,
                    warm=warm,
                    how=f"{how} at {k}",
                    name=name,
                    before=one_to(3),
                )
                flow = OPERATIONS[operation].flow(one.desk, name)
                went_on = HOW[how](case, flow, one, k)
                done.append(case)
                if not went_on:
                    break
            else:
                raise AssertionError(f"{operation} has more steps than were tried")
    return done


def check(backend: Backend, case: Case) -> Contents:
    """What has to hold now, as another process sees it."""
    name = case.name
    one, other = backend.process(), backend.process()
    truth_messages: list[Message] = one.do(operations.messages(one.desk, name, 0, None, None))
    truth = contents(truth_messages)
    operation = OPERATIONS[case.operation]
    # I4, I8: all of it or nothing; I1: all of it where that was said. I5: and once.
    twice = [t for t in truth if [u for _, u in truth].count(t[1]) > 1]
    assert not twice, case
    assert truth in (case.before, operation.after), case
    if case.acknowledged:
        assert truth == operation.after, case
    # I2: no gap but the one that a deletion left.
    info = one.do(operations.info(one.desk, name))
    assert info.messages == len(truth), case
    if case.operation not in ("delete", "exchange"):
        assert [seq for seq, _ in truth] == list(range(1, info.version.head + 1)), case
    # I3, I7: what is read is what is there, whichever way. First by one that knows nothing.
    window = other.do(operations.window(other.desk, name, Limits(messages=50), False))
    assert contents(window) == truth, case
    for limit in (50, 2):
        assert contents(tail(one, name, limit)) == truth[-limit:], case
    assert window.version == info.version, case
    # I10, I12: equal to the last bit, and the caller's to keep.
    newest: list[Message] = tail(one, name)
    assert newest == truth_messages, case
    newest.clear()
    assert tail(one, name) == truth_messages, case
    return truth


def check_all(backend: Backend) -> int:
    """Whether everything holds for every case; how many steps were cut off."""
    cases = all_cases(backend)
    bystander = SessionName(key=f"s{next(_names)}", tenant="somebody else's")
    survivor = backend.process()
    survivor.do(operations.append(survivor.desk, bystander, ("user", "mine"), None))
    truths = [check(backend, case) for case in cases]
    for _ in range(2):  # the second time it is on again, where it was switched off
        backend.wait()
        tail(survivor, bystander)
    for case, truth in zip(cases, truths, strict=True):
        assert check(backend, case) == truth, case
        if not truth:
            continue  # of a session that is not there nothing is cached
        # Its marks are settled: another read is a hit, and right.
        for _ in range(2):
            tail(backend.process(), case.name)
        reader = backend.process()
        assert contents(tail(reader, case.name)) == truth, case
        assert reader.cache.counters.hits == 1, case
    # I5: who was told nothing says it again, and it is there once.
    for case, truth in zip(cases, truths, strict=True):
        again = OPERATIONS[case.operation].again
        one = backend.process()
        if again is not None:
            expected = OPERATIONS[case.operation].after
            stored = one.do(again(one.desk, case.name))
            assert contents(stored) == expected[-len(stored) :], case
            assert check(backend, case) == expected, case
            other = append({"role": "user", "content": "other", "id": "id 4"})
            with pytest.raises(IdReused):
                one.do(other(one.desk, case.name))
            assert check(backend, case) == expected, case
        elif case.operation not in READS:
            # A late writer continues from where SQL is.
            before = one.do(operations.version(one.desk, case.name))
            (late,) = one.do(append(("user", "late"))(one.desk, case.name))
            assert late.seq == before.head + 1, case
            found = contents(tail(backend.process(), case.name))
            assert found == [*truth, (late.seq, "late")], case
    # I6: nobody else has noticed.
    assert contents(tail(survivor, bystander, 5)) == [(1, "mine")]
    assert len(cases) > 150, "every operation, every step, both ways"
    return len(cases)


def warm(one: One, name: SessionName) -> None:
    """All of it is cached, and nothing is marked."""


def cold(one: One, name: SessionName) -> None:
    """Nothing is cached of it."""
    one.perform(Hot(lambda _: one.cache.discard(name.identity)))


# -- the backends ------------------------------------------------------------------------------


def test_every_crash_point_in_the_model() -> None:
    assert in_the_model() > 700


@pytest.mark.parametrize("rule", ["publish: drops", "look: no hit under a mark"])
def test_a_rule_left_out_is_noticed(rule: str) -> None:
    with pytest.raises(AssertionError):
        in_the_model(rule)


def in_the_model(*off: str) -> int:
    with Store("sqlite://", compression="none", cache="redis://127.0.0.1:1") as store:
        world = World(store, SessionName(key="unused"), off=off)
        processes: dict[int, Process] = {}

        def process() -> One:
            one = Process(world)
            processes[id(one.cache)] = one
            return One(one.desk, one.perform, one.cache)

        def wait() -> None:
            world.redis.now += 70_000

        def marked(one: One, name: SessionName) -> None:
            """By somebody who has died."""
            dying = process()
            flow = operations.append(dying.desk, name, ("user", "never"), None)
            dying.perform(next(flow))
            dying.perform(flow.send(world.store._ledger.read(generation.read)))
            flow.close()

        def cut_off(one: One, name: SessionName) -> None:
            """The process that does it reaches Redis no more."""
            processes[id(one.cache)].cut_off = True

        # Apart: what is switched off and on again begins a new generation, in which nothing counts
        # that was cached before.
        reaching: Beginnings = {"warm": warm, "marked": marked, "cold": cold}
        without: Beginnings = {"cut off": cut_off}
        return sum(
            check_all(Backend(process, wait, beginnings)) for beginnings in (reaching, without)
        )


@pytest.fixture
def stores() -> Iterator[list[Store]]:
    opened: list[Store] = []
    yield opened
    for store in opened:
        store.close()


def real(stores: list[Store], open_store: Callable[[], Store]) -> Backend:
    """Processes are stores: each new one has a memory of its own over the same two servers."""
    stores.append(open_store())
    servers = Servers(stores[0])

    def marked(one: One, name: SessionName) -> None:
        """By somebody who has died."""
        servers.mark(name.identity)

    beginnings = {"warm": warm, "marked": marked, "cold": cold}
    return Backend(servers.process, servers.wait, beginnings)


@pytest.fixture(autouse=True)
def _marks_are_due_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    # For manners only: a reader settles without waiting for the writer first.
    monkeypatch.setattr(hot_redis, "_PATIENCE", 0.0)


def test_every_crash_point_on_sqlite(
    tmp_path: Path, redis_server: RedisServer, stores: list[Store]
) -> None:
    def open_store() -> Store:
        url = f"sqlite:///{tmp_path}/x.db"
        return Store(url, durability="normal", cache=redis_server.url, revalidate=1e6)

    assert check_all(real(stores, open_store)) > 300


def test_every_crash_point_on_postgres(
    postgres: PostgresServer, postgres_url: str, redis_server: RedisServer, stores: list[Store]
) -> None:
    def open_store() -> Store:
        return Store(postgres_url, pool_size=2, cache=redis_server.url, revalidate=1e6)

    assert check_all(real(stores, open_store)) > 300
