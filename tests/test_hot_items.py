"""One item behind a cache: every crash point, many interleavings, and each rule left out.

What is read is what the database said at some moment of the read. The protocol is the sessions'
own; here is what is different of items: each write is all there is, and they expire.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
import redis as redis_py

from onrecord import Conflict, Merge, Put, Store, operations
from onrecord.cache import CacheUnavailable
from onrecord.cache import redis as hot_redis
from onrecord.cache.cache import Marked
from onrecord.cache.packing import LARGEST_ROW
from onrecord.errors import OnrecordError, Unavailable
from onrecord.flow import Cold, Flow, Hot, Step
from onrecord.flows import leases, mark
from onrecord.flows.items import reading
from onrecord.flows.maintenance.erase import _items_removed
from onrecord.flows.shared import Desk
from onrecord.flows.suspend import current_generation
from onrecord.ledger.database.transaction import Transaction
from onrecord.scope import ItemName, NamespaceName, Scope, SessionName
from tests.cut_off import HOW, MOST, Cut, One, Servers
from tests.hot_model import (
    OF_ITEMS,
    Bug,
    FakeRedis,
    Process,
    World,
    as_believed,
    fall_back,
    planted,
    snapshot,
)
from tests.servers.redis import RedisServer

KEY: Final = "k"
_numbers: Final = itertools.count()
SEEDS: Final = int(800 * float(os.environ.get("ONRECORD_SEEDS", "1")))

Doing = Callable[[Desk, NamespaceName], Flow[Any]]


def put(value: Any, **more: Any) -> Doing:
    return lambda desk, name: operations.put_item(desk, name, KEY, value, **more)


def get() -> Doing:
    return lambda desk, name: operations.get_item(desk, name, KEY, False)


def merge(changes: dict[str, Any]) -> Doing:
    return lambda desk, name: operations.merge_item(desk, name, KEY, changes, None, None)


def delete() -> Doing:
    return lambda desk, name: operations.delete_item(desk, name, KEY, None)


def namespace() -> NamespaceName:
    return NamespaceName(parts=("facts",), user=f"u{next(_numbers)}")


def session_of(name: NamespaceName) -> SessionName:
    return SessionName(key="chat", user=name.user)


def value_in(one: One, name: NamespaceName) -> Any:
    """What a get says."""
    item = one.do(operations.get_item(one.desk, name, KEY, False))
    return None if item is None else item.value


def truth_of(one: One, name: NamespaceName) -> Any:
    """What a list says, which asks the database."""
    found = one.do(operations.list_items(one.desk, name, "", None, "key", None, 10))
    return {item.key: item.value for item in found}.get(KEY)


# -- crash points ------------------------------------------------------------------------------


class Operation(NamedTuple):
    """Something that is done to an item that is {"a": 1}."""

    flow: Doing
    after: Any
    """What it says when it has happened; None where it is not there any more."""


def with_append(*changes: Any) -> Doing:
    def flow(desk: Desk, name: NamespaceName) -> Flow[Any]:
        return operations.append(
            desk, session_of(name), ("user", "hello"), None, False, False, list(changes)
        )

    return flow


def beside(*changes: Any) -> Doing:
    return lambda desk, name: operations.write_items(desk, list(changes), "", name.user, "")


OPERATIONS: Final = {
    "put": Operation(put({"b": 2}), {"b": 2}),
    "put with a ttl": Operation(put({"b": 2}, ttl=3600), {"b": 2}),
    "put at a version": Operation(put({"b": 2}, expected=17), {"a": 1}),
    "merge": Operation(merge({"b": 2}), {"a": 1, "b": 2}),
    "delete": Operation(delete(), None),
    "put many": Operation(
        lambda desk, name: operations.put_items(desk, name, {"other": 1, KEY: 2}, None), 2
    ),
    "write": Operation(
        beside(Put(("facts",), KEY, 1), Put(("more",), "x", 1), Merge(("facts",), "new", {"n": 1})),
        1,
    ),
    "clear": Operation(lambda desk, name: operations.clear_items(desk, name), None),
    "append with one": Operation(with_append(Put(("facts",), KEY, [1])), [1]),
    "append with two": Operation(
        with_append(Merge(("facts",), KEY, {"b": 2}), Put(("more",), "x", 1)), {"a": 1, "b": 2}
    ),
    "erase": Operation(lambda desk, name: _items_removed(desk, Scope("", name.user, "")), None),
    "get": Operation(get(), {"a": 1}),
}


class Backend(NamedTuple):
    """Where the cases are run."""

    process: Callable[[], One]
    wait: Callable[[], None]
    mark: Callable[[bytes], None]


def beginnings(backend: Backend) -> dict[str, Callable[[One, NamespaceName], None]]:
    """What the entry is like when something is begun."""

    def identity(name: NamespaceName) -> bytes:
        return ItemName(name, KEY).identity

    return {
        "warm": lambda one, name: None,
        "cold": lambda one, name: one.perform(Hot(lambda _: one.cache.discard(identity(name)))),
        "marked": lambda one, name: backend.mark(identity(name)),
    }


def check_all(backend: Backend) -> int:
    """Cut off everything everywhere; how many cases that were."""
    cases: list[tuple[str, Cut, NamespaceName, Any]] = []
    for what, (begin, prepare) in itertools.product(OPERATIONS, beginnings(backend).items()):
        for how in HOW:
            for k in range(MOST):
                name, one = namespace(), backend.process()
                one.do(put({"a": 1})(one.desk, name))
                assert value_in(one, name) == {"a": 1}
                prepare(one, name)
                cut = Cut()
                went_on = HOW[how](cut, OPERATIONS[what].flow(one.desk, name), one, k)
                story = f"{what}, {begin}, {how} at {k}: {' '.join(cut.told)}"
                operation = OPERATIONS[what]
                truth = truth_of(backend.process(), name)
                assert truth in ({"a": 1}, operation.after), story
                if cut.acknowledged:
                    assert truth == operation.after, story
                for reader in (backend.process(), one, backend.process()):
                    assert value_in(reader, name) == truth, story
                cases.append((story, cut, name, truth))
                if not went_on:
                    break
            else:
                raise AssertionError(f"{what} has more steps than were tried")
    backend.wait()
    for story, _, name, truth in cases:
        for _ in range(3):
            assert value_in(backend.process(), name) == truth, story
        reader = backend.process()
        assert value_in(reader, name) == truth, story
        if truth is not None:
            assert reader.cache.counters.hits == 1, story
        # Whoever writes next has the last word.
        writer = backend.process()
        writer.do(put("late")(writer.desk, name))
        assert value_in(backend.process(), name) == "late", story
    return len(cases)


class Modelled:
    """A world of the model, and processes in it."""

    def __init__(self, store: Store, *off: str) -> None:
        self.world = World(store, SessionName(key="unused"), off=off)

    def process(self) -> One:
        one = Process(self.world)
        return One(one.desk, one.perform, one.cache)

    def wait(self) -> None:
        self.world.redis.now += 70_000

    def mark(self, identity: bytes) -> None:
        self.world.redis.mark(f"onrecord:model:{identity.hex()}", f"dead 1000 {10**9}")

    @property
    def backend(self) -> Backend:
        return Backend(self.process, self.wait, self.mark)


@pytest.fixture
def store() -> Iterator[Store]:
    with Store("sqlite://", compression="none", cache="redis://127.0.0.1:1") as store:
        yield store


def test_every_crash_point_in_the_model(store: Store) -> None:
    assert check_all(Modelled(store).backend) > 300


@pytest.mark.parametrize("rule", ["publish: drops", "look: no hit under a mark"])
def test_a_rule_left_out_is_noticed(store: Store, rule: str) -> None:
    with pytest.raises(AssertionError):
        check_all(Modelled(store, rule).backend)


@pytest.fixture
def _marks_are_due_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    # For manners only: a reader settles without waiting for the writer first.
    monkeypatch.setattr(hot_redis, "_PATIENCE", 0.0)


@pytest.mark.usefixtures("_marks_are_due_at_once")
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_every_crash_point(
    database: str, tmp_path: Path, redis_server: RedisServer, request: pytest.FixtureRequest
) -> None:
    url = f"sqlite:///{tmp_path}/x.db"
    if database == "postgresql":
        url = request.getfixturevalue("postgres_url")
    settings: dict[str, Any] = {"durability": "normal"} if database == "sqlite" else {}
    with Store(url, cache=redis_server.url, revalidate=1e6, **settings) as store:
        servers = Servers(store)
        assert check_all(Backend(servers.process, servers.wait, servers.mark)) > 300


# -- interleavings -----------------------------------------------------------------------------


class Actor:
    """One process that does one thing, a step at a time."""

    def __init__(self, game: Game, what: str, doing: Doing) -> None:
        self.what = what
        self.process = Process(game.world)
        self.process.do(current_generation(self.process.desk))  # it has been there for a while
        self.flow = doing(self.process.desk, game.name)
        self.began = len(game.truth) - 1
        self.step: Step | None = None
        self.answer: Any = None
        self._on(lambda: next(self.flow))

    def _on(self, go: Callable[[], Step]) -> None:
        try:
            self.step = go()
        except StopIteration as end:
            self.step, self.answer = None, end.value
        except OnrecordError:
            self.step, self.answer = None, None

    def go(self, lost: bool) -> None:
        """Let its step happen; ``lost``: and nobody hears of it."""
        step = self.step
        assert step is not None
        try:
            answer = self.process.perform(step)
            if lost and isinstance(step, Cold) and step.writes:
                raise Unavailable("lost", outcome_unknown=True)
            if lost and isinstance(step, Hot):
                raise CacheUnavailable("lost")
        except Exception as fault:
            thrown = fault
            self._on(lambda: self.flow.throw(thrown))
        else:
            self._on(lambda: self.flow.send(answer))

    def upto_sql(self, writes: bool) -> Actor:
        """Until its next step is one of the database: a commit, or a read."""
        while not (isinstance(self.step, Cold) and self.step.writes is writes):
            self.go(False)
        return self

    def end(self) -> Any:
        while self.step is not None:
            self.go(False)
        return self.answer


class Violation(Exception):
    """A read showed what the database did not say while it lasted."""


class Game:
    """Several processes and one item."""

    def __init__(self, store: Store, seed: int, off: Sequence[str] = ()) -> None:
        self.dice = random.Random(seed)
        self.world = World(store, SessionName(key="unused"), off=off)
        self.name = namespace()
        self.item = f"onrecord:model:{ItemName(self.name, KEY).identity.hex()}"
        self.truth: list[Any] = [None]
        self.story: list[str] = []
        self.actors: list[Actor] = []

    def now(self) -> Any:
        """What the database says."""
        process = Process(self.world)
        return truth_of(One(process.desk, process.perform, process.cache), self.name)

    def play(self) -> None:
        dice, values = self.dice, itertools.count()
        if dice.random() < 0.7:
            process = Process(self.world)
            process.do(put("first")(process.desk, self.name))
            self.truth.append(self.now())
        for _ in range(40):
            if len(self.actors) < 3 and dice.random() < 0.5:
                n = next(values)
                what, doing = dice.choice(
                    [
                        *[("get", get())] * 3,
                        ("put", put(f"v{n}")),
                        ("put", put({"n": n})),
                        ("delete", delete()),
                        ("merge", merge({f"m{n}": n})),
                    ]
                )
                self.actors.append(Actor(self, what, doing))
                continue
            chance = dice.random()
            if chance < 0.06:
                self.world.redis.evict(self.item)
                self.story.append("evicted")
            elif chance < 0.12:
                self.world.redis.now += dice.choice((5, 1_100, 3_000))
            elif self.actors:
                self.step(dice.choice(self.actors))
        for actor in list(self.actors):
            while actor in self.actors:
                self.step(actor)
        self.world.redis.now += 2_000
        for _ in range(3):
            actor = Actor(self, "get", get())
            self.actors.append(actor)
            while actor in self.actors:
                self.step(actor)

    def step(self, actor: Actor) -> None:
        if actor.step is not None and self.dice.random() < 0.03:
            self.story.append(f"{actor.what} dies")
            self.actors.remove(actor)
            return
        if actor.step is not None:
            name, _ = actor.process.requested(actor.step)
            actor.go(self.dice.random() < 0.04)
            self.story.append(f"{actor.what} {name}")
            if name == "commit" and (said := self.now()) != self.truth[-1]:
                self.truth.append(said)
        if actor.step is None:
            self.actors.remove(actor)
            if actor.what == "get":
                shown = None if actor.answer is None else actor.answer.value
                self.story.append(f"got {shown}")
                if shown not in self.truth[actor.began :]:
                    raise Violation("; ".join([*self.story, f"SQL {self.truth[actor.began :]}"]))


def violation(store: Store, off: Sequence[str] = (), bug: type[Bug] | None = None) -> str | None:
    """What was shown that must not be, in some thousand games; None where nothing was."""
    with planted(bug):
        for seed in range(SEEDS):
            try:
                Game(store, seed, off).play()
            except Violation as found:
                return f"seed {seed}: {found}"
    return None


def test_every_interleaving_shows_what_the_database_said(store: Store) -> None:
    assert violation(store) is None


class IgnoresTheFence(Bug):
    """Commits whatever the fence: what was settled meanwhile is not noticed."""

    @staticmethod
    def _stamp(*told: Any) -> Any:
        return SOUND_STAMP(*told)._replace(items=None)


class DoesNotSettle(Bug):
    """Fills over marks as if its read had settled them."""

    @staticmethod
    def lease_of(desk: Desk, identity: bytes, on: bytes | None, glance: Any, settle: object) -> Any:
        return None if on is None else glance.lease
        yield


class NeverMarks(Bug):
    """Commits and publishes."""

    @staticmethod
    def _mark(desk: Desk, identities: Sequence[bytes], *more: Any, whatever: bool) -> Any:
        known = [desk.known.get(one).fence for one in identities]
        return [Marked(fence, b"nobody's", None) for fence in known]
        yield


SOUND_STAMP: Final = mark._stamp


@pytest.mark.parametrize("bug", [IgnoresTheFence, DoesNotSettle, NeverMarks])
def test_a_bug_is_noticed(store: Store, bug: type[Bug]) -> None:
    assert violation(store, bug=bug) is not None


@pytest.mark.parametrize(
    "rule",
    [
        "publish: the whole alone",
        "publish: new nonce",
        "publish: drops",
        "mark: new nonce",
        "look: settle by marks",
        "fill: its own lease",
    ],
)
def test_no_rule_can_be_left_out(store: Store, rule: str) -> None:
    assert violation(store, [rule]) is not None


@pytest.mark.parametrize("off", [(), ("look: settle an absent key",)])
def test_a_mark_that_went_with_its_key(store: Store, off: Sequence[str]) -> None:
    game = Game(store, 0, off)
    first = Process(game.world)
    first.do(put("first")(first.desk, game.name))
    late = Actor(game, "put", put("late"))
    while not (isinstance(late.step, Cold) and late.step.writes):
        late.go(False)  # marked
    game.world.redis.evict(game.item)
    reader = Actor(game, "get", get())
    while not isinstance(reader.step, Cold):
        reader.go(False)  # looked
    reader.go(False)  # has settled, or read
    late.go(False)  # commits, and dies; or is refused
    while reader.step is not None:
        reader.go(False)
    fresh = Process(game.world)
    shown = [value_in(One(fresh.desk, fresh.perform, fresh.cache), game.name) for _ in range(3)]
    assert (shown == [game.now()] * 3) is not bool(off)


def test_a_put_that_found_no_fence_brings_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mark went with its key; who marks then knows nothing of that writer (rule W2 fence)."""

    def race() -> tuple[Any, Any]:
        game = Game(store, 0)
        first = Process(game.world)
        first.do(put("first")(first.desk, game.name))
        late = Actor(game, "put", put("late"))
        while not (isinstance(late.step, Cold) and late.step.writes):
            late.go(False)  # marked
        game.world.redis.evict(game.item)
        # It knows the fence: from a read, or from a refusal.
        quick = Actor(game, "put", put("quick"))
        while not (isinstance(quick.step, Cold) and quick.step.writes):
            quick.go(False)
        quick.go(False)  # refused
        while quick.step is not None and not isinstance(quick.step, Cold):
            quick.go(False)
        quick.go(False)  # commits
        late.go(False)  # commits, and dies
        while quick.step is not None:
            quick.go(False)
        reader = Process(game.world)
        one = One(reader.desk, reader.perform, reader.cache)
        return value_in(one, game.name), game.now()

    shown, said = race()
    assert shown == said == "late"
    sound = FakeRedis.mark

    def tells_a_fence(self: FakeRedis, key: str, asked: str) -> bytes:
        return sound(self, key, asked).replace(b" - ", b" 1 ")

    monkeypatch.setattr(FakeRedis, "mark", tells_a_fence)
    shown, said = race()
    assert (shown, said) == ("quick", "late"), "the rule is what kept this from happening"


class FillsAsItBelieves(Bug):
    """Fills with the generation that is believed in by then, and not with that of its look."""

    @staticmethod
    def _seen(desk: Desk, item: ItemName) -> Flow[Any]:
        return as_believed(desk, SOUND_SEEN(desk, item))


class PublishesAsItBelieves(Bug):
    """Publishes with the generation that is believed in by then, and not with that of its mark."""

    @staticmethod
    def _tell_cache(desk: Desk, *told: Any) -> Flow[None]:
        return as_believed(desk, SOUND_TELL(desk, *told))


class CountsTheFence(Bug):
    """Settles with the next number instead of a random one."""

    @staticmethod
    def lease_of(
        desk: Desk, identity: bytes, on: bytes | None, glance: Any, settle: object
    ) -> Flow[object | None]:
        def counted(txn: Transaction) -> bool:
            return bool(txn.run("UPDATE {items} SET fence = fence + 1"))  # of all: it is one

        return SOUND_LEASE(desk, identity, on, glance, counted)


SOUND_SEEN: Final = reading._seen
SOUND_TELL: Final = mark._tell_cache
SOUND_LEASE: Final = leases.lease_of


def marked_and_left(game: Game) -> None:
    """An item that was put, with the mark of a writer who died."""
    first = Process(game.world)
    first.do(put("first")(first.desk, game.name))
    Actor(game, "put", put("never")).upto_sql(writes=True)
    game.world.redis.now += 2_000


def unmarked_and_resumed(game: Game, actor: Actor) -> None:
    """Somebody who is cut off puts it, and the process of an actor switches the cache on again."""
    cut, process = Process(game.world), actor.process
    cut.cut_off = True
    cut.do(put("unmarked")(cut.desk, game.name))
    process.do(current_generation(process.desk))
    game.world.redis.now += 11_000
    process.do(current_generation(process.desk))
    assert process.desk.belief.on, "it was resumed"


def filled_in_another_generation(game: Game) -> None:
    marked_and_left(game)
    reader = Actor(game, "get", get()).upto_sql(writes=True).upto_sql(writes=False)
    reader.go(False)  # settled, read, about to fill
    unmarked_and_resumed(game, reader)
    reader.end()


def published_in_another_generation(game: Game) -> None:
    first = Actor(game, "put", put("first")).upto_sql(writes=True)
    first.go(False)  # committed, about to publish
    unmarked_and_resumed(game, first)
    first.end()


def settled_to_the_same_fence(game: Game) -> None:
    first = Process(game.world)
    first.do(put("first")(first.desk, game.name))
    then = snapshot(game.world.store)
    Actor(game, "put", put("never")).upto_sql(writes=True)
    game.world.redis.now += 2_000
    Actor(game, "get", get()).end()  # settles, and fills
    fall_back(game.world.store, then)
    late = Actor(game, "put", put("late")).upto_sql(writes=True)
    game.world.redis.now += 2_000
    reader = Actor(game, "get", get()).upto_sql(writes=True).upto_sql(writes=False)
    reader.go(False)  # settled, and read
    late.go(False)  # commits, and dies; or is refused
    reader.end()


@pytest.mark.parametrize(
    ("bug", "scene"),
    [
        (FillsAsItBelieves, filled_in_another_generation),
        (PublishesAsItBelieves, published_in_another_generation),
        (CountsTheFence, settled_to_the_same_fence),
    ],
)
def test_a_bug_is_noticed_by_hand(bug: type[Bug], scene: Callable[[Game], None]) -> None:
    for there in (None, bug):
        with (
            Store("sqlite://", compression="none", cache="redis://127.0.0.1:1") as store,
            planted(there),
        ):
            game = Game(store, 0)
            scene(game)
            shown = Actor(game, "get", get()).end()
            assert (shown.value == game.now()) is (there is None)


# -- what expires ------------------------------------------------------------------------------


@pytest.mark.parametrize("off", [(), ("look: over",)])
def test_an_item_ends_in_the_cache_no_later_than_in_the_database(
    store: Store, off: Sequence[str]
) -> None:
    assert {"look: over"} <= OF_ITEMS.keys()
    game = Game(store, 0, off)
    writer = Process(game.world)
    writer.do(put("short", ttl=60)(writer.desk, game.name))
    entry = game.world.redis.entries[game.item]
    assert 0 < entry.ends - game.world.redis.now <= 60_000
    if off:
        entry.expires = 10**12  # else it would be gone
    game.world.redis.now += 59_999
    assert Process(game.world).do(get()(writer.desk, game.name)).value == "short"
    if off:
        entry.expires = 10**12
    game.world.redis.now += 2
    reader = Process(game.world)
    reader.do(get()(reader.desk, game.name))
    assert (reader.cache.counters.hits == 1) is bool(off)


def test_an_entry_goes_with_what_it_holds(redis_server: RedisServer, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/x.db"
    with (
        Store(url, durability="normal", cache=redis_server.url, ttl=1800) as store,
        redis_py.Redis.from_url(redis_server.url, socket_timeout=5) as client,
    ):
        facts = store.items("facts")
        for read_first in (False, True):
            facts.put("k", 1, ttl=30)
            name = ItemName(facts.name, "k")
            key = f"onrecord:{store._ledger.cache_id()}:{name.identity.hex()}"
            if read_first:
                client.delete(key)
                for _ in range(2):
                    assert facts.get("k") is not None  # the second look settles, and fills
            assert 0 < client.pttl(key) <= 30_000
            before = store._hot.counters.hits
            assert facts.get("k") is not None
            assert store._hot.counters.hits == before + 1
            assert 0 < client.pttl(key) <= 30_000


# -- as people use it --------------------------------------------------------------------------


@pytest.fixture
def two(redis_server: RedisServer, tmp_path: Path) -> Iterator[tuple[Store, Store]]:
    """Two processes of one store."""
    url = f"sqlite:///{tmp_path}/x.db"
    settings: dict[str, Any] = {"durability": "normal", "cache": redis_server.url}
    with Store(url, **settings) as one, Store(url, **settings) as other:
        yield one, other


def statements(store: Store, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the database of a store is asked from now on."""
    asked: list[str] = []
    read = store._ledger.read

    def noted(work: Any) -> Any:
        asked.append(getattr(getattr(work, "func", work), "__name__", "?"))
        return read(work)

    monkeypatch.setattr(store._ledger, "read", noted)
    monkeypatch.setattr(store._ledger, "read_alone", noted)
    return asked


def test_a_hot_item_is_read_without_sql(
    two: tuple[Store, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = two
    one.items("facts").put("k", {"n": 1})
    assert other.items("facts").get("k") is not None
    asked = statements(other, monkeypatch)
    for n in range(2, 5):
        one.items("facts").put("k", {"n": n})
        item = other.items("facts").get("k")
        assert item is not None
        assert item.value == {"n": n}
    one.items("facts").delete("k")
    assert "see" not in asked
    assert other.items("facts").get("k") is None
    assert "see" in asked


@pytest.mark.parametrize("strict", [False, True])
def test_every_way_to_write_is_seen_at_once(
    redis_server: RedisServer, tmp_path: Path, strict: bool
) -> None:
    url = f"sqlite:///{tmp_path}/x.db"
    settings: dict[str, Any] = {"durability": "normal", "cache": redis_server.url}
    with (
        Store(url, **settings) as one,
        Store(url, consistency="strict" if strict else "cached", **settings) as other,
    ):
        mine, facts = one.items("f", user="u"), other.items("f", user="u")

        def seen() -> Any:
            values = [None if (it := facts.get("k")) is None else it.value for _ in range(3)]
            assert values == values[:1] * 3
            return values[0]

        assert seen() is None
        mine.put("k", {"a": 1})
        assert seen() == {"a": 1}
        mine.merge("k", {"b": 2})
        assert seen() == {"a": 1, "b": 2}
        mine.put_many({"k": 3, "other": 1})
        assert seen() == 3
        one.session("s", user="u").append(("user", "x"), items=[Put(("f",), "k", "appended")])
        assert seen() == "appended"
        with pytest.raises(Conflict):
            mine.put("k", 1, expected=1)
        assert seen() == "appended"
        assert mine.delete_many(["k", "nobody"]) == 1
        assert seen() is None
        mine.put("k", 5)
        assert seen() == 5
        assert mine.clear() == 2
        assert seen() is None
        mine.put("k", 6)
        assert seen() == 6
        one.export(tmp_path / "kept.jsonl", user="u")
        one.erase(user="u")
        assert seen() is None
        one.import_(tmp_path / "kept.jsonl")
        assert seen() == 6
        one.items("f", user="u").put("k", "x" * (2 * LARGEST_ROW))
        assert seen() == "x" * (2 * LARGEST_ROW)
        one.invalidate()
        assert seen() == "x" * (2 * LARGEST_ROW)


MANY: Final = 50
"""Items: more than a commit has attempts."""
BATCHES: Final[dict[str, Callable[[Store], object]]] = {
    "put_many": lambda store: store.items("f", user="u").put_many(
        {f"k{n}": -n for n in range(MANY)}
    ),
    "write": lambda store: store.write(
        [Put(("f",), f"k{n}", -n, ttl=60 + n) for n in range(MANY)], user="u"
    ),
    "append": lambda store: store.session("s", user="u").append(
        ("user", "x"), items=[Merge(("f",), f"k{n}", {"a": n}) for n in range(MANY)]
    ),
    "delete_many": lambda store: store.items("f", user="u").delete_many(
        [f"k{n}" for n in range(MANY)]
    ),
    "clear": lambda store: store.items("f", user="u").clear(),
    "erase": lambda store: store.erase(user="u"),
}


@pytest.mark.parametrize("how", BATCHES)
def test_many_items_of_which_nothing_is_known_are_written_together(
    each_store: Callable[..., Store], redis_server: RedisServer, how: str
) -> None:
    """Each has a fence that neither Redis nor this process knows: all are learned at once."""
    one = each_store(cache=redis_server.url)
    before = {f"k{n}": {"a": None} for n in range(MANY)}
    one.items("f", user="u").put_many(before)
    with redis_py.Redis.from_url(redis_server.url) as client:
        client.flushdb()
    BATCHES[how](each_store(cache=redis_server.url))
    found = {item.key: item.value for item in one.items("f", user="u").list(limit=2 * MANY)}
    assert found != before
    for key in before:
        item = one.items("f", user="u").get(key)
        assert (None if item is None else item.value) == found.get(key)


def test_what_is_too_large_is_not_settled_at_each_read(two: tuple[Store, Store]) -> None:
    one, other = two
    one.items("facts").put("k", "x" * (2 * LARGEST_ROW))
    facts, fences = other.items("facts"), set()
    for _ in range(5):
        item = facts.get("k")
        assert item is not None
        name = ItemName(facts.name, "k")
        fences.add(other._desk.known.get(name.identity).fence)
    assert len(fences) <= 2


def test_a_refreshed_item_lives_on_for_others(two: tuple[Store, Store]) -> None:
    one, other = two
    put = one.items("facts").put("k", 1, ttl=3600)
    assert other.items("facts").get("k") == put
    moved = other._ledger.write(
        lambda txn: txn.run("UPDATE {items} SET expires_at = expires_at - 600000000", {})
    )
    assert moved == 1
    one.invalidate()  # what was done behind its back
    refreshed = one.items("facts").get("k", refresh=True)
    assert refreshed is not None
    assert refreshed.expires_at is not None
    assert put.expires_at is not None
    assert refreshed.expires_at >= put.expires_at
    assert other.items("facts").get("k") == refreshed


def test_async_twins_share_the_cache(two: tuple[Store, Store]) -> None:
    one, other = two

    async def main() -> None:
        await one.items("facts").aput_many({f"k{n}": n for n in range(500)})
        before = other._hot.counters.hits
        for n in range(0, 500, 50):
            item = await other.items("facts").aget(f"k{n}")
            assert item is not None
            assert item.value == n
        assert other._hot.counters.hits == before + 10
        assert await other.items("facts").aclear() == 500
        assert await one.items("facts").aget("k0") is None
        await one.aclose()
        await other.aclose()

    asyncio.run(main())


def test_the_process_cache_of_sqlite_serves_items(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path}/x.db"
    with Store(url, durability="normal") as one, Store(url, durability="normal") as other:
        facts, theirs = one.items("facts"), other.items("facts")
        facts.put("k", {"n": [1]})
        for _ in range(2):
            assert facts.get("k") is not None
            assert facts.get("nobody") is None
        asked = statements(one, monkeypatch)
        first, second = facts.get("k"), facts.get("k")
        assert first is not None
        first.value["n"].append(2)
        assert second is not None
        assert second.value == {"n": [1]}, "each is the caller's own (I12)"
        assert facts.get("nobody") is None
        assert "see" not in asked
        theirs.put("k", 2)
        item = facts.get("k")
        assert item is not None
        assert item.value == 2
        theirs.put("nobody", 3)
        assert facts.get("nobody") is not None


def test_what_expires_is_not_shown_by_the_process_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from onrecord.cache import local
    from onrecord.flows.items import reading

    with Store(f"sqlite:///{tmp_path}/x.db", durability="normal") as store:
        facts = store.items("facts")
        item = facts.put("k", 1, ttl=3600)
        for _ in range(2):
            assert facts.get("k") == item
        ends = int(item.expires_at.timestamp() * 1_000_000) if item.expires_at else 0
        for module in (local, reading):
            monkeypatch.setattr(module, "now", lambda: ends + 1)
        assert facts.get("k") is None
