"""Every point at which a process can die with Redis in front, and every reply that can be lost.

For each operation and each k: k steps are run and the flow is dropped, or the k-th step happens
and its reply is lost. Then other processes look: at once, while the marks send every read to SQL;
and again after the marks have died, when a read fills the entry and the next one is a hit.

Enumerated, over real servers and over the model, which needs none. So that the marks die but
once, all cases of a backend are done first and then looked at together.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from recollect import IdReused, Message, RecollectError, Store, Unavailable, Version
from recollect.flow import Cold, Flow, Hot, Step, run
from recollect.hot import CacheUnavailable
from recollect.hot import redis as hot_redis
from recollect.protocol import Protocol, mark
from recollect.scope import SessionName
from recollect.window import Limits
from tests.hot_model import Process, T, VirtualTime, World
from tests.servers.postgres import PostgresServer
from tests.servers.redis import RedisServer

LIFETIME: Final = 1.5
"""Of a mark, in seconds: long enough to look at every case while it lives, or nearly."""

Perform = Callable[[Step], Any]
Contents = list[tuple[int, str]]


def contents(messages: Any) -> Contents:
    return [(m.seq or 0, m.text) for m in messages]


class Backend(NamedTuple):
    """Where the cases are run."""

    protocol: Protocol
    process: Callable[[], Perform]
    """A process with a memory of its own."""
    hits: Callable[[Perform], int]
    wait: Callable[[], None]
    """Until the marks have died."""


# -- the operations ----------------------------------------------------------------------------

START: Final = [("user", "one"), ("assistant", "two"), ("user", "three")]


class Operation(NamedTuple):
    """Something that is done to a session of three messages."""

    flow: Callable[[Protocol, SessionName], Flow[Any]]
    after: Contents
    """What the session holds when it has happened."""
    again: Callable[[Protocol, SessionName], Flow[Any]] | None = None
    """What a caller who was told nothing can safely do again."""


def one_to(n: int) -> Contents:
    return [(seq, text) for seq, (_, text) in enumerate(START[:n], 1)]


def append(given: Any, expected: Any = None) -> Callable[[Protocol, SessionName], Flow[Any]]:
    return lambda protocol, name: protocol.append(name, given, expected)


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
    "tail": Operation(lambda protocol, name: protocol.tail(name, 50), one_to(3)),
    "window": Operation(
        lambda protocol, name: protocol.window(name, Limits(messages=2), False), one_to(3)
    ),
    "edit": Operation(
        lambda protocol, name: protocol.edit(name, 2, ("assistant", "edited")),
        [(1, "one"), (2, "edited"), (3, "three")],
    ),
    "delete": Operation(lambda protocol, name: protocol.delete(name, 3), one_to(2)),
    "rewind": Operation(lambda protocol, name: protocol.rewind(name, 1), one_to(1)),
    "clear": Operation(lambda protocol, name: protocol.rewind(name, 0), []),
}
READS: Final = ("tail", "window")


@dataclass
class Case:
    """One operation that was cut off in one place."""

    operation: str
    warm: str
    how: str
    name: SessionName
    before: Contents
    acknowledged: bool = False
    steps: int = 0
    told: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.operation}, {self.warm}, {self.how}: {' '.join(self.told)}"


def named(step: Step) -> str:
    match step:
        case Hot():
            return "hot"
        case Cold(_, writes):
            return "commit" if writes else "SQL"
        case other:
            return type(other).__name__


def die_after(case: Case, flow: Flow[Any], perform: Perform, k: int) -> bool:
    """Run k steps and drop the flow. False when it has no step k."""
    try:
        step = next(flow)
        for _ in range(k):
            case.told.append(named(step))
            try:
                answer = perform(step)
            except Exception as fault:
                step = flow.throw(fault)
            else:
                step = flow.send(answer)
    except StopIteration:
        case.acknowledged = True
        return False
    except RecollectError:
        return False
    flow.close()
    return True


def lose_reply(case: Case, flow: Flow[Any], perform: Perform, k: int) -> bool:
    """Run all of it, but let the reply of step k be lost. False when it has no step k."""
    number = 0

    def losing(step: Step) -> Any:
        nonlocal number
        number += 1
        case.told.append(named(step))
        answer = perform(step)
        if number - 1 == k:
            case.told.append("(lost)")
            if isinstance(step, Cold):
                raise Unavailable("lost", outcome_unknown=step.writes)
            raise CacheUnavailable("lost")
        return answer

    try:
        run(flow, losing)
        case.acknowledged = True
    except RecollectError:
        pass
    return number > k


HOW: Final[dict[str, Callable[..., bool]]] = {"dies": die_after, "loses": lose_reply}


def all_cases(backend: Backend) -> list[Case]:
    """Cut off everything everywhere."""
    done: list[Case] = []
    protocol = backend.protocol
    tenants = iter(range(10**6))
    prepared: list[tuple[SessionName, Perform]] = []
    plan = [(o, w, h) for o in OPERATIONS for w in ("warm", "marked", "cold") for h in HOW]
    # One session a case; made, and read until it is cached, before the first is cut off.
    most = 6
    for _ in plan:
        for _ in range(most):
            name = SessionName(key="s", tenant=f"t{next(tenants)}")
            perform = backend.process()
            first, *rest = START
            run(
                protocol.append(name, {"role": first[0], "content": first[1], "id": "first"}, None),
                perform,
            )
            run(protocol.append(name, rest, None), perform)
            prepared.append((name, perform))
    backend.wait()
    sessions = iter(prepared)
    for operation, warm, how in plan:
        ended = False
        for k in range(most):
            name, perform = next(sessions)
            if ended:
                continue
            if warm != "cold":
                for _ in range(2):
                    run(protocol.tail(name, 50), perform)
            if warm == "marked":  # by somebody who committed nothing
                dying = protocol.append(name, ("user", "never"), None)
                backend.process()(next(dying))
                dying.close()
            case = Case(operation, warm, f"{how} at {k}", name, one_to(3))
            flow = OPERATIONS[operation].flow(protocol, name)
            ended = not HOW[how](case, flow, perform, k)
            done.append(case)
        assert ended, f"{operation} has more steps than were tried"
    return done


def check(backend: Backend, case: Case) -> Contents:
    """What has to hold now, as another process sees it."""
    protocol, name = backend.protocol, case.name
    newcomer = backend.process()
    truth_messages: list[Message] = run(protocol.messages(name, 0, None, None), newcomer)
    truth = contents(truth_messages)
    operation = OPERATIONS[case.operation]
    # I4, I8: all of it or nothing; I1: all of it where that was said. I5: and once.
    twice = [t for t in truth if [u for _, u in truth].count(t[1]) > 1]
    assert not twice, case
    assert truth in (case.before, operation.after), case
    if case.acknowledged:
        assert truth == operation.after, case
    # I2: no gap but the one that a deletion left.
    info = run(protocol.info(name), newcomer)
    assert info.messages == len(truth), case
    if case.operation != "delete":
        assert [seq for seq, _ in truth] == list(range(1, info.version.head + 1)), case
    # I3, I7: what is read is what is there, whichever way.
    for limit in (50, 2):
        assert contents(run(protocol.tail(name, limit), newcomer)) == truth[-limit:], case
    window = run(protocol.window(name, Limits(messages=50), False), backend.process())
    assert contents(window) == truth, case
    assert window.version == info.version, case
    # I10, I12: equal to the last bit, and the caller's to keep.
    tail: list[Message] = run(protocol.tail(name, 50), newcomer)
    assert tail == truth_messages, case
    tail.clear()
    assert run(protocol.tail(name, 50), newcomer) == truth_messages, case
    return truth


def check_all(backend: Backend) -> None:
    cases = all_cases(backend)
    bystander = SessionName(key="s", tenant="somebody else's")
    run(backend.protocol.append(bystander, ("user", "mine"), None), backend.process())
    truths = [check(backend, case) for case in cases]
    backend.wait()
    for case, truth in zip(cases, truths, strict=True):
        assert check(backend, case) == truth, case
        # The marks have died: another read is a hit, and right.
        for _ in range(2):
            run(backend.protocol.tail(case.name, 50), backend.process())
        reader = backend.process()
        assert contents(run(backend.protocol.tail(case.name, 50), reader)) == truth, case
        assert backend.hits(reader) == 1, case
    # I5: who was told nothing says it again, and it is there once.
    for case, truth in zip(cases, truths, strict=True):
        again = OPERATIONS[case.operation].again
        if again is not None:
            expected = OPERATIONS[case.operation].after
            stored = run(again(backend.protocol, case.name), backend.process())
            assert contents(stored) == expected[-len(stored) :], case
            assert check(backend, case) == expected, case
            with pytest.raises(IdReused):
                run(
                    append({"role": "user", "content": "other", "id": "id 4"})(
                        backend.protocol, case.name
                    ),
                    backend.process(),
                )
            assert check(backend, case) == expected, case
        elif case.operation not in READS:
            # A late writer continues from where SQL is.
            before = run(backend.protocol.version(case.name), backend.process())
            (late,) = run(append(("user", "late"))(backend.protocol, case.name), backend.process())
            assert late.seq == before.head + 1, case
            found = contents(run(backend.protocol.tail(case.name, 50), backend.process()))
            assert found == [*truth, (late.seq, "late")], case
    # I6: nobody else has noticed.
    found = contents(run(backend.protocol.tail(bystander, 5), backend.process()))
    assert found == [(1, "mine")]
    assert len(cases) > 150, "every operation, every step, both ways"


# -- the backends ------------------------------------------------------------------------------


def test_every_crash_point_in_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    check_all_in_the_model(monkeypatch)


@pytest.mark.parametrize(
    "rule",
    ["publish: drops"],
)
def test_a_rule_left_out_is_noticed(monkeypatch: pytest.MonkeyPatch, rule: str) -> None:
    with pytest.raises(AssertionError):
        check_all_in_the_model(monkeypatch, rule)


def check_all_in_the_model(monkeypatch: pytest.MonkeyPatch, *off: str) -> None:
    clock = VirtualTime()
    monkeypatch.setattr(mark, "time", clock)
    processes: dict[Perform, Process] = {}
    with Store("sqlite://", compression="none", cache="redis://127.0.0.1:1") as store:
        world = clock.world = World(store, SessionName(key="unused"), off=off)

        def process() -> Perform:
            one = Process(world)
            perform = one.perform
            processes[perform] = one
            return perform

        def wait() -> None:
            world.redis.now += T + 1

        check_all(
            Backend(
                world.protocol,
                process,
                lambda perform: processes[perform].cache.counters.hits,
                wait,
            )
        )


@pytest.fixture
def stores() -> Iterator[list[Store]]:
    opened: list[Store] = []
    yield opened
    for store in opened:
        store.close()


def real(stores: list[Store], open_store: Callable[[], Store], lifetime: float) -> Backend:
    """Processes are stores: each new one has a new cache over the same two servers."""
    stores.append(open_store())
    first = stores[0]
    shared = first._hot
    assert isinstance(shared, hot_redis.RedisCache)
    clients = shared._clients
    owners: dict[Perform, Any] = {}

    def process() -> Perform:
        # Of a store, what a process remembers is its cache; connections may be shared.
        cache = hot_redis.RedisCache(
            clients, first._ledger.cache_id, messages=50, ttl=1800, revalidate=1e6, strict=False
        )

        def perform(step: Step) -> Any:
            if isinstance(step, Hot):
                first._ledger.open()
                return cache.exchange(step.call(cache))
            return first._perform(step)

        owners[perform] = cache
        return perform

    def wait() -> None:
        # By Redis' clock, since it is Redis that lets them die.
        client = clients.sync()
        began = client.time()
        until = began[0] + began[1] / 1e6 + lifetime
        while (now := client.time())[0] + now[1] / 1e6 <= until:
            time.sleep(0.05)

    return Backend(
        first._protocol, process, lambda perform: int(owners[perform].counters.hits), wait
    )


@pytest.mark.parametrize("lifetime", [LIFETIME, 0.0], ids=["marks live", "marks die at once"])
def test_every_crash_point_on_sqlite(
    tmp_path: Path,
    redis_server: RedisServer,
    stores: list[Store],
    monkeypatch: pytest.MonkeyPatch,
    lifetime: float,
) -> None:
    monkeypatch.setattr(hot_redis, "MARK_LIFETIME", lifetime)

    def open_store() -> Store:
        url = f"sqlite:///{tmp_path}/x.db"
        return Store(url, durability="normal", cache=redis_server.url, revalidate=1e6)

    check_all(real(stores, open_store, lifetime))


@pytest.mark.parametrize("lifetime", [LIFETIME], ids=["marks live"])
def test_every_crash_point_on_postgres(
    postgres: PostgresServer,
    postgres_url: str,
    redis_server: RedisServer,
    stores: list[Store],
    monkeypatch: pytest.MonkeyPatch,
    lifetime: float,
) -> None:
    monkeypatch.setattr(hot_redis, "MARK_LIFETIME", lifetime)

    def open_store() -> Store:
        return Store(postgres_url, pool_size=2, cache=redis_server.url, revalidate=1e6)

    check_all(real(stores, open_store, lifetime))
