"""Seeded interleavings of the real flows over a model of both tiers.

Two writers, a rewriter, two cached readers and a strict one take turns, a step at a time; they
die between any two steps, lose replies, retry; the entry expires, is evicted and flushed; the
server restarts from an older state; time passes, in blinks and beyond a mark's lifetime.

Checked after every step, against the history of commits as SQL tells it:

I3   a read contains what was acknowledged before it began, and what any reader had seen by then
INV  a hit is what SQL says at that very moment: stronger than I3, so that few seeds say much
I5   no message is there twice
I7   what was cleared does not come back
and when all have stopped and the marks have died: every read is what SQL says, and the last of
them comes out of the cache.

RECOLLECT_SEEDS multiplies how many seeds are tried. A seed that fails prints who did what.
"""

from __future__ import annotations

import logging
import math
import os
import random
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any, Final, TypeVar

import pytest

from recollect import RecollectError, Store, Unavailable, Version
from recollect.flow import Cold, Flow, Hot, Step, do
from recollect.hot import CacheUnavailable, Glance
from recollect.message import Message
from recollect.protocol import Protocol, mark
from recollect.scope import SessionName
from tests.hot_model import (
    BOUNDS,
    RULES,
    SECOND_LINES,
    Entry,
    Process,
    T,
    VirtualTime,
    World,
)

R = TypeVar("R")

MORE: Final = float(os.environ.get("RECOLLECT_SEEDS", "1"))
SEEDS: Final = int(3_000 * MORE)
SEEDS_FOR_A_BUG: Final = 20_000
"""A planted bug has to be found within so many; most are within a few hundred."""

Texts = tuple[tuple[int, str], ...]
_names = count(1)


def texts(messages: Sequence[Message]) -> Texts:
    return tuple((m.seq or 0, m.text) for m in messages)


class Violation(Exception):
    """What has to hold did not."""


@dataclass(slots=True)
class Commit:
    """A state that SQL was in."""

    version: Version
    messages: Texts
    acknowledged_at: float = math.inf
    seen_at: float = math.inf


@dataclass(slots=True)
class Actor:
    """Somebody with a process of his own, at one operation at a time."""

    name: str
    process: Process
    flow: Flow[Any] | None = None
    step: Step | None = None
    what: str = ""
    kind: str = ""
    began: int = 0
    floor: int = 0
    """For a read: the oldest state it may answer with."""
    left: int = 99
    committed: int | None = None
    """The state that this operation's commit made, or found."""
    retry: tuple[str, str] | None = None
    retry_of: str | None = None
    cut_off: bool = False
    texts: tuple[str, ...] = ()


@dataclass(slots=True)
class Plan:
    """What a run is like, besides its seed."""

    off: Collection[str] = ()
    protocol: type[Protocol] = Protocol
    cut: bool = False
    """Whether a writer is now and then cut off from Redis: an exception of 4.3."""
    revalidate: float = 1e6


class Run:
    """One seed."""

    def __init__(
        self, store: Store, clock: VirtualTime, seed: int, plan: Plan, trace: bool
    ) -> None:
        self.dice = dice = random.Random(seed)
        self.plan = plan
        self.world = clock.world = World(
            store,
            SessionName(key=f"{next(_names)}"),
            off=plan.off,
            protocol=plan.protocol,
            messages=dice.choice((50, 3)),
            revalidate=plan.revalidate,
            most_marks=dice.choice((8, 2, 1)),
        )
        self.trace: list[str] | None = [] if trace else None
        self.truth: list[Commit] = [Commit(Version(0, 0), (), 0, 0)]
        self.gone: dict[str, int] = {}
        self.older: Entry | None = None
        self.numbers = count(1)
        self.readers = [self.actor("R1"), self.actor("R2"), self.actor("RS", strict=True)]
        self.writers = [self.actor("W1"), self.actor("W2")]
        self.clearer = self.actor("C")
        # Few meet in few ways, and more often in each of them.
        self.small = dice.random() < 0.6
        self.actors = [*self.readers, *self.writers, self.clearer]
        if self.small:
            other = dice.choice((self.writers[1], self.writers[1], self.clearer))
            self.actors = [self.readers[0], self.writers[0], other]
            for actor in self.actors:
                actor.left = dice.choice((1, 1, 2))
        self.deadly = 0.1 if self.small else 0.05
        # What happens to it: all there is, or one thing again and again.
        self.weather = dice.choice((range(8), range(8), range(2), range(4, 8)))
        self.steady = dice.choice((0.0, 0.5, 0.75))  # how likely the same one goes on
        self.quiet = dice.random() < 0.5  # time hardly passes: marks outlive what they guard

    def actor(self, name: str, strict: bool = False) -> Actor:
        return Actor(name, Process(self.world, strict), left=self.dice.randrange(1, 5))

    # -- the course of a run -----------------------------------------------------------------

    def go(self) -> None:
        dice = self.dice
        if dice.random() < 0.8:
            self.warm()
        actor: Actor | None = None
        for _ in range(18 if self.small else 54):
            if actor is None or dice.random() > self.steady:
                actor = dice.choice(self.actors)
                if dice.random() < 0.25:
                    self.environment()
            if actor.flow is None:
                if actor.left == 0:
                    continue
                actor.left -= 1
                self.begin(actor)
            else:
                self.advance(actor)
        self.end()

    def warm(self) -> None:
        """A session that was read lately: nothing is marked, and all is cached."""
        if self.small or self.dice.random() < 0.7:
            self.world.protocol._marks = False
            self.readers[0].process.do(
                self.world.protocol.append(self.world.name, ("user", "first"), None)
            )
            self.world.protocol._marks = True
            self.learn(self.actors[0])
            self.truth[-1].acknowledged_at = self.truth[-1].seen_at = 0
        for _ in range(3):
            self.world.redis.now += T + 1
            self.readers[0].process.do(self.world.protocol.tail(self.world.name, 3))
        self.say("env", "warm", "")

    def end(self) -> None:
        """Everybody has died where he was; time passes; others come."""
        for actor in self.actors:
            if actor.flow is not None:
                actor.flow.close()
        self.say("env", "all stop", "")
        latest = self.truth[-1]
        n = self.world.messages
        hit = False
        for _ in range(3):
            self.world.redis.now += T + 1
            newcomer = Process(self.world)
            found = texts(newcomer.do(self.world.protocol.tail(self.world.name, n)))
            hit = newcomer.cache.counters.hits > 0
            self.say("new", "tail", f"{'hit' if hit else 'miss'} {found}")
            if found != latest.messages[-n:]:
                raise Violation(f"stale for ever: {found} is not {latest.messages[-n:]}")
        if not hit and self.plan.revalidate * 1000 > T:
            raise Violation("the cache can never be filled again")
        entry = self.world.entry
        if hit and entry is not None and Version(entry.epoch, entry.head) != latest.version:
            raise Violation(f"the entry is at {(entry.epoch, entry.head)}, SQL at {latest.version}")

    def environment(self) -> None:
        dice, redis = self.dice, self.world.redis
        match dice.choice(self.weather):
            case 0 | 1:
                redis.evict(self.world.key)
                self.say("env", "key lost", "")
            case 2 if dice.random() < 0.5:
                redis.fail_over(self.world.key, self.older)
                self.say("env", "falls back", "to an older state, another run")
            case 3:
                entry = self.world.entry
                self.older = None if entry is None else entry.copy()
                self.say("env", "replica", "catches up")
            case 4 | 5 if self.quiet or dice.random() < 0.5:
                redis.now += dice.choice((1, 300, 900))
                self.say("env", "time", "a moment")
            case 4 | 5 | 6:
                entry = self.world.entry
                oldest = min(entry.marks.values(), default=0) if entry is not None else 0
                redis.now = max(redis.now, oldest)
                self.say("env", "time", "to the end of the oldest mark")
            case 7:
                redis.now += dice.choice((2_000, T + 1))
                self.say("env", "time", "passes")
            case _:
                pass
        if self.plan.cut and dice.random() < 0.5:
            writer = self.writers[0]
            writer.cut_off = not writer.cut_off
            self.say(writer.name, "cut off" if writer.cut_off else "back", "")

    # -- operations --------------------------------------------------------------------------

    def begin(self, actor: Actor) -> None:
        world, dice, protocol = self.world, self.dice, self.world.protocol
        actor.began = len(self.truth) - 1
        actor.committed = None
        actor.texts = ()
        actor.retry_of = None
        flow: Flow[Any]
        if actor in self.readers:
            actor.kind, actor.what = "read", "tail"
            actor.floor = self.floor()
            flow = protocol.tail(world.name, world.messages)
        elif actor in self.writers:
            actor.kind = "write"
            if actor.retry is not None and dice.random() < 0.8:
                id_, text = actor.retry
                actor.what = f"append {text} again"
                given: Any = {"role": "user", "content": text, "id": id_}
                actor.texts, actor.retry_of = (text,), text
            else:
                new = [f"{actor.name}.{next(self.numbers)}" for _ in range(dice.choice((1, 1, 2)))]
                actor.texts = tuple(new)
                actor.what = f"append {' '.join(new)}"
                given = [("user", text) for text in new]
                if len(new) == 1 and dice.random() < 0.5:
                    actor.retry = (f"id of {new[0]}", new[0])
                    given = {"role": "user", "content": new[0], "id": actor.retry[0]}
                else:
                    actor.retry = None
            # Now and then one that SQL refuses, and that is known.
            expected = 10**6 if dice.random() < 0.2 else None
            flow = protocol.append(world.name, given, expected)
        else:
            actor.kind = "write"
            latest = self.truth[-1]
            places = [seq for seq, _ in latest.messages]
            match dice.randrange(5):
                case 0 if places:
                    seq = dice.choice(places)
                    text = f"C.{next(self.numbers)}"
                    actor.what, actor.texts = f"edit {seq} to {text}", (text,)
                    flow = protocol.edit(world.name, seq, ("user", text))
                case 1 if places:
                    seq = dice.choice(places)
                    actor.what = f"delete {seq}"
                    flow = protocol.delete(world.name, seq)
                case 2:
                    seq = dice.randrange(latest.version.head + 1)
                    actor.what = f"rewind {seq}"
                    flow = protocol.rewind(world.name, seq)
                case _:
                    actor.what = "clear"
                    flow = protocol.rewind(world.name, 0)
        actor.flow = flow
        self.say(actor.name, "begins", actor.what)
        self.resume(actor, lambda: next(flow))

    def resume(self, actor: Actor, go: Callable[[], Step]) -> None:
        """Up to the flow's next step, or its end."""
        try:
            actor.step = go()
        except StopIteration as done:
            actor.flow = None
            self.ended(actor, done.value)
        except RecollectError as fault:
            actor.flow = None
            self.say(actor.name, "is told", f"{type(fault).__name__}: {fault}"[:60])

    def ended(self, actor: Actor, answer: Any) -> None:
        now = self.world.redis.now
        if actor.kind == "read":
            self.check_read(actor, texts(answer))
            return
        self.say(actor.name, "is told", f"{actor.what}: done")
        if actor.committed is not None:
            commit = self.truth[actor.committed]
            commit.acknowledged_at = min(commit.acknowledged_at, now)
        actor.retry = None

    def advance(self, actor: Actor) -> None:
        """One step of a flow, with whatever may become of it."""
        flow, step, dice = actor.flow, actor.step, self.dice
        assert flow is not None
        assert step is not None
        fate = dice.random()
        if fate < self.deadly:
            flow.close()
            self.restart(actor, "dies")
            return
        fate = dice.random()
        name, request = actor.process.requested(step)
        if isinstance(step, Hot) and actor.cut_off and name != "missed":
            self.say(actor.name, name, "cut off")
            self.resume(actor, lambda: flow.throw(CacheUnavailable("cut off")))
            return
        lost: Exception = CacheUnavailable("lost")
        if isinstance(step, Cold):
            lost = Unavailable("lost", outcome_unknown=step.writes)
        # A mark that never arrived is a writer cut off from Redis: an exception, see the plan.
        if fate < 0.04 and name not in ("mark", "missed"):
            if name == "commit" and dice.random() < 0.5:
                lost = Unavailable("rolled back")
            self.say(actor.name, name, f"does not happen: {lost}")
            self.resume(actor, lambda: flow.throw(lost))
            return
        try:
            answer = actor.process.done(step, request)
        except Exception as fault:  # the flow decides what it means
            refused = fault
            self.say(actor.name, name, type(refused).__name__)
            self.resume(actor, lambda: flow.throw(refused))
            return
        if name == "commit":
            self.learn(actor)
        if name == "look":
            self.check_look(answer)
        if fate < 0.07:
            self.say(actor.name, name, "and dies")
            flow.close()
            self.restart(actor, "starts again")
        elif fate < 0.13 and name != "missed":
            self.say(actor.name, name, "reply lost")
            self.resume(actor, lambda: flow.throw(lost))
        else:
            if self.trace is not None:
                self.say(actor.name, name, self.told(name, answer))
            self.resume(actor, lambda: flow.send(answer))

    def restart(self, actor: Actor, how: str) -> None:
        actor.flow = None
        actor.process = Process(self.world, actor.process.cache._strict)
        self.say(actor.name, how, "")

    # -- what has to hold --------------------------------------------------------------------

    def learn(self, actor: Actor) -> None:
        """What SQL says after a commit."""
        process = self.readers[0].process
        version: Version = process.do(self.world.protocol.version(self.world.name))
        if version == self.truth[-1].version:
            self.found(actor)
            return
        messages = texts(process.do(self.world.protocol.messages(self.world.name, 0, None, None)))
        before = {text for _, text in self.truth[-1].messages}
        after = [text for _, text in messages]
        if len(set(after)) < len(after):
            raise Violation(f"I5: a message is there twice: {after}")
        for text in after:
            late = actor.began < self.gone.get(text, 0)
            # A caller who says it again, with the same id, does mean it.
            if text not in before and late and actor.retry_of != text:
                raise Violation(f"I7: {text} is back")
        self.truth.append(Commit(version, messages))
        actor.committed = len(self.truth) - 1
        for text in before.difference(after):
            self.gone[text] = actor.committed

    def found(self, actor: Actor) -> None:
        """A commit that changed nothing: the retry of one that has happened."""
        for i, commit in enumerate(self.truth):
            if actor.texts and set(actor.texts) <= {text for _, text in commit.messages}:
                actor.committed = i
                return

    def floor(self) -> int:
        """The oldest state that a read which begins now may answer with."""
        since = self.world.redis.now
        if self.plan.cut:
            since -= int(self.plan.revalidate * 1000)
        return max(
            i for i, c in enumerate(self.truth) if min(c.acknowledged_at, c.seen_at) <= since
        )

    def check_read(self, actor: Actor, found: Texts) -> None:
        n = self.world.messages
        for i in range(actor.floor, len(self.truth)):
            if self.truth[i].messages[-n:] == found:
                self.truth[i].seen_at = min(self.truth[i].seen_at, self.world.redis.now)
                self.say(actor.name, "reads", f"{found}")
                return
        self.say(actor.name, "reads", f"{found} !")
        least = self.truth[actor.floor]
        raise Violation(f"I3: {actor.name} read {found} and not {least.messages[-n:]} or later")

    def check_look(self, glance: Glance) -> None:
        if glance.fresh and not self.plan.cut:
            assert glance.seen is not None
            rows = tuple(row.seq for row in glance.seen.rows)
            version, messages = self.truth[-1].version, self.truth[-1].messages
            there = tuple(seq for seq, _ in messages)[-self.world.messages :]
            if glance.seen.version != version or rows != there:
                raise Violation(
                    f"INV: a hit says {tuple(glance.seen.version)} {rows}, "
                    f"SQL says {tuple(version)} {there}"
                )

    # -- for people --------------------------------------------------------------------------

    def told(self, name: str, answer: Any) -> str:
        match answer:
            case Glance(seen, fresh, lease):
                version = None if seen is None else tuple(seen.version)
                lease_of = getattr(lease, "generation", b"").decode()[:4]
                return f"hit {version}" if fresh else f"miss, lease {lease_of or 'none'}"
        if name in ("SQL", "commit"):
            return str(tuple(self.truth[-1].version))
        return "" if answer is None else str(answer)

    def say(self, who: str, what: str, how: str) -> None:
        if self.trace is not None:
            now = (self.world.redis.now - 1_000_000) / 1000
            self.trace.append(f"{now:8.3f} {who:3} {what:14} {how:46} | {self.world.shown()}")


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    # The cache is never asked: only for the marks.
    with Store("sqlite://", compression="none", cache="redis://127.0.0.1:1") as store:
        yield store


@pytest.fixture(autouse=True)
def _without_log() -> Iterator[None]:
    # Lost replies are warned of, and here there are thousands.
    log = logging.getLogger("recollect")
    level = log.level
    log.setLevel(logging.CRITICAL)
    yield
    log.setLevel(level)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> VirtualTime:
    clock = VirtualTime()
    monkeypatch.setattr(mark, "time", clock)
    return clock


def violation(
    store: Store, clock: VirtualTime, plan: Plan, seeds: int, first: int = 0
) -> tuple[int, str] | None:
    """The first seed that breaks something, and its story."""
    for seed in range(first, first + seeds):
        try:
            Run(store, clock, seed, plan, trace=False).go()
        except Violation:
            again = Run(store, clock, seed, plan, trace=True)
            with pytest.raises(Violation) as told:
                again.go()
            assert again.trace is not None
            return seed, "\n".join([f"seed {seed}: {told.value}", *again.trace])
    return None


FIRST: Final = int(os.environ.get("RECOLLECT_FIRST_SEED", "0"))


def test_nothing_is_ever_stale(store: Store, clock: VirtualTime) -> None:
    found = violation(store, clock, Plan(), SEEDS, FIRST)
    if found:
        pytest.fail(found[1], pytrace=False)


def test_nothing_is_ever_stale_with_validation(store: Store, clock: VirtualTime) -> None:
    found = violation(store, clock, Plan(revalidate=2.0), SEEDS // 3, FIRST)
    if found:
        pytest.fail(found[1], pytrace=False)


def test_a_writer_cut_off_is_missed_no_longer_than_revalidate(
    store: Store, clock: VirtualTime
) -> None:
    found = violation(store, clock, Plan(cut=True, revalidate=3.0), SEEDS // 3, FIRST)
    if found:
        pytest.fail(found[1], pytrace=False)


class Played:
    """An operation that is taken a step further when a test says so."""

    def __init__(self, world: World, flow: Flow[Any]) -> None:
        self._process = Process(world)
        self._flow = flow
        self._step: Step | None = next(flow)

    def go(self, steps: int = 1) -> Played:
        for _ in range(steps):
            if self._step is not None:
                try:
                    self._step = self._flow.send(self._process.perform(self._step))
                except StopIteration:
                    self._step = None
        return self

    def end(self) -> None:
        self.go(10)


def _reading(world: World) -> Played:
    return Played(world, world.protocol.tail(world.name, 50))


def _lost_mark(world: World, w1: Played, w2: Played, reader: Callable[[], Played]) -> None:
    w1.go()
    world.redis.evict(world.key)
    _beside(w1, w2, reader)


def _lost_mark_read(world: World, w1: Played, w2: Played, reader: Callable[[], Played]) -> None:
    w1.go()
    world.redis.evict(world.key)
    filling = reader().go(2)
    w1.go()  # commits, and dies
    filling.end()


def _folded(world: World, w1: Played, w2: Played, reader: Callable[[], Played]) -> None:
    world.redis.most_marks = 1
    w1.go()
    _beside(w1, w2, reader)


def _beside(w1: Played, w2: Played, reader: Callable[[], Played]) -> None:
    """Somebody else writes, somebody reads, and the first commits between its SQL and fill."""
    w2.end()
    filling = reader().go(2)
    w1.go()  # commits, and dies
    filling.end()


def _dead_mark(world: World, w1: Played, w2: Played, reader: Callable[[], Played]) -> None:
    w1.go()
    world.redis.now += 500
    w2.go(2)
    w1.go()  # commits, and dies
    world.redis.now += T - 400
    w2.end()


def _late_clear(world: World, w1: Played, w2: Played, reader: Callable[[], Played]) -> None:
    clear = Played(world, world.protocol.rewind(world.name, 0))
    w1.go()
    clear.go(2)
    w1.end()
    clear.end()


BY_HAND: Final = {
    "mark: phantom": _lost_mark,
    "look: phantom": _lost_mark_read,
    "mark: folds": _folded,
    "publish: only its own mark": _dead_mark,
    "publish: a rewrite creates nothing": _late_clear,
}
"""What breaks without these is so rare that dice need some ten thousand seeds. Played out instead,
by the shortest way that the model of the design has found."""


@pytest.mark.parametrize("rule", BY_HAND)
def test_no_rule_can_be_left_out_by_hand(store: Store, clock: VirtualTime, rule: str) -> None:
    for off in ((), (rule,)):
        world = clock.world = World(store, SessionName(key=f"{next(_names)}"), off=off)
        protocol, name = world.protocol, world.name
        Process(world).do(protocol.append(name, ("user", "first"), None))
        world.redis.now += T
        for _ in range(2):
            Process(world).do(protocol.tail(name, 50))
        w1, w2 = (Played(world, protocol.append(name, ("user", who), None)) for who in "ab")
        BY_HAND[rule](world, w1, w2, partial(_reading, world))
        truth = Process(world).do(protocol.messages(name, 0, None, None))
        found = []
        for _ in range(3):
            found.append(Process(world).do(protocol.tail(name, 50)) == truth)
            world.redis.now += T
        assert found == [not off] * 3, f"{RULES[rule]} | {world.shown()}"


def noticed(
    store: Store,
    clock: VirtualTime,
    plan: Plan,
    sound: Plan,
) -> tuple[int, str] | None:
    """The first seed that breaks something with the planted bug, and nothing without."""
    first = 0
    while first < SEEDS_FOR_A_BUG:
        found = violation(store, clock, plan, SEEDS_FOR_A_BUG - first, first)
        if found is None:
            return None
        if violation(store, clock, sound, 1, found[0]) is None:
            return found
        first = found[0] + 1
    return None


BY_DICE: Final = [rule for rule in RULES if rule not in BY_HAND]


@pytest.mark.parametrize("rule", BY_DICE)
def test_no_rule_can_be_left_out(store: Store, clock: VirtualTime, rule: str) -> None:
    found = noticed(store, clock, Plan(off=[rule]), Plan())
    assert found, f"nobody noticed that this was gone: {RULES[rule]}"


def after_the_bound(world: World, rule: str) -> bool:
    """Whether a reader still gets a hit that is older than ``revalidate``, by the shortest way.

    A writer that is cut off from Redis commits, and nobody there hears of it.
    """
    redis, protocol, name = world.redis, world.protocol, world.name
    reader, writer, cut_off = Process(world), Process(world), Process(world)
    lapse = int(world.revalidate * 1000) - 1
    writer.do(protocol.append(name, ("user", "first"), None))
    redis.now += T
    reader.do(protocol.tail(name, 3))
    reader.do(protocol.tail(name, 3))

    def unheard() -> None:
        answer = protocol.append(name, ("user", "unheard"), None)
        next(answer)
        commit = answer.throw(CacheUnavailable("cut off"))
        cut_off.done(commit, None)
        answer.close()

    flow: Flow[Any]
    match rule:
        case "look: revalidate":
            unheard()
            redis.now += lapse
        case "fill: as of its lease":
            redis.now += lapse + 1
            flow = protocol.tail(name, 3)
            asks = flow.send(reader.perform(next(flow)))
            fills = flow.send(reader.perform(asks))
            unheard()
            redis.now += lapse
            reader.perform(fills)
        case "publish: as of its mark":
            flow = protocol.append(name, ("user", "heard"), None)
            commits = flow.send(writer.perform(next(flow)))
            publishes = flow.send(writer.perform(commits))
            unheard()
            redis.now += lapse
            writer.perform(publishes)
    redis.now += 1
    newcomer = Process(world)
    newcomer.do(protocol.tail(name, 3))
    return newcomer.cache.counters.hits > 0


@pytest.mark.parametrize("rule", BOUNDS)
def test_no_bound_can_be_left_out(store: Store, clock: VirtualTime, rule: str) -> None:
    for off in ((), (rule,)):
        world = World(store, SessionName(key=f"{next(_names)}"), off=off, revalidate=5.0)
        clock.world = world
        assert after_the_bound(world, rule) is bool(off), BOUNDS[rule]


def test_one_reader_never_goes_back(store: Store, clock: VirtualTime) -> None:
    """Not even when a writer is cut off: the entry may be old, but the reader knows better."""
    world = clock.world = World(store, SessionName(key=f"{next(_names)}"))
    protocol, name = world.protocol, world.name
    reader, other, cut_off = Process(world), Process(world), Process(world)
    other.do(protocol.append(name, ("user", "first"), None))
    world.redis.now += T
    for _ in range(2):
        reader.do(protocol.tail(name, 3))
    unheard = protocol.append(name, ("user", "unheard"), None)
    next(unheard)
    cut_off.done(unheard.throw(CacheUnavailable("cut off")), None)
    # Somebody is writing: the reader asks SQL, without a lease. Then that is rolled back.
    marked = protocol.append(name, ("user", "never"), None)
    other.perform(next(marked))
    assert [m.text for m in reader.do(protocol.tail(name, 3))] == ["first", "unheard"]
    marked.close()
    (entry,) = world.redis.entries.values()
    (token,) = entry.marks
    world.redis.lift(world.key, token)
    assert [m.text for m in reader.do(protocol.tail(name, 3))] == ["first", "unheard"]


def test_the_second_lines_of_defence_are_second(store: Store, clock: VirtualTime) -> None:
    """Exempt: the design knows no counterexample without them. Should one turn up, say so."""
    for rule in SECOND_LINES:
        found = violation(store, clock, Plan(off=[rule]), SEEDS // 10)
        if found:
            pytest.fail(f"{rule} is needed after all\n{found[1]}", pytrace=False)


# -- bugs planted in the flows ---------------------------------------------------------------


class Told(Exception):
    """Carries what a commit would have done out of a transaction that is rolled back."""


class PublishesFirst(Protocol):
    """Tells the cache before SQL."""

    def _committed(self, name: SessionName, work: Any, told: Any) -> Flow[Any]:
        def rehearsed(txn: Any) -> Any:
            raise Told(work(txn))

        since = vars(mark)["time"].monotonic()
        token = yield from self._marked(name)
        try:
            yield from do(Cold(rehearsed, writes=True))
        except Told as rehearsal:
            yield from self._told_cache(name, token, told(rehearsal.args[0]))
        try:
            return (yield from do(Cold(mark._timely(work, since), writes=True)))
        except mark.TooLate:
            raise Unavailable("too late") from None


class NeverMarks(Protocol):
    """Commits and publishes."""

    def _marked(self, name: SessionName) -> Flow[str | None]:
        return "nobody's"
        yield


class LiftsWhenInDoubt(Protocol):
    """Takes a lost reply for a rollback."""

    def _committed(self, name: SessionName, work: Any, told: Any) -> Flow[Any]:
        inner = super()._committed(name, work, told)
        lost: Unavailable | None = None
        try:
            step = next(inner)
            while True:
                try:
                    answer = yield step
                except Unavailable as fault:
                    lost = fault
                    step = inner.throw(Unavailable(str(fault)))
                except Exception as fault:
                    step = inner.throw(fault)
                else:
                    step = inner.send(answer)
        except StopIteration as done:
            return done.value
        except Unavailable as fault:
            raise lost or fault from None


class AsksSqlFirst(Protocol):
    """Takes its lease after it has asked SQL."""

    def _near(self, name: SessionName, n: int | None = None) -> Flow[Any]:
        seen = yield from do(Cold(lambda txn: self._newer(txn, name=name, held=None)))
        try:
            glance: Glance = yield from do(Hot(lambda hot: hot.look(name.identity)))
            if glance.fresh:
                return glance.seen
            if glance.lease is not None:
                yield from do(Hot(lambda hot: hot.fill(name.identity, seen, glance.lease)))
        except CacheUnavailable:
            pass
        return seen


class PublishesNothing(Protocol):
    """Lifts its mark after a commit, as after a rollback."""

    def _told_cache(self, name: SessionName, token: str | None, change: Any) -> Flow[None]:
        yield from super()._told_cache(name, token, None)


class NeverTooLate(Protocol):
    """Commits however long ago it has marked."""

    def _committed(self, name: SessionName, work: Any, told: Any) -> Flow[Any]:
        token = yield from self._marked(name)
        try:
            answer = yield from do(Cold(work, writes=True))
        except Unavailable as fault:
            if not fault.outcome_unknown:
                yield from self._told_cache(name, token, None)
            raise
        except Exception:
            yield from self._told_cache(name, token, None)
            raise
        yield from self._told_cache(name, token, told(answer))
        return answer


PLANTED: Final = [
    PublishesFirst,
    NeverMarks,
    LiftsWhenInDoubt,
    AsksSqlFirst,
    PublishesNothing,
    NeverTooLate,
]


@pytest.mark.parametrize("protocol", PLANTED)
def test_bugs_in_the_flows_are_found(
    store: Store, clock: VirtualTime, protocol: type[Protocol]
) -> None:
    assert noticed(store, clock, Plan(protocol=protocol), Plan())


def test_a_story_can_be_read(store: Store, clock: VirtualTime) -> None:
    found = violation(store, clock, Plan(protocol=NeverMarks), SEEDS_FOR_A_BUG)
    assert found
    seed, story = found
    headline, *lines = story.splitlines()
    assert headline.startswith(f"seed {seed}: ")
    assert any("commit" in line and "| " in line for line in lines)
    assert violation(store, clock, Plan(protocol=NeverMarks), 1, first=seed) is not None
