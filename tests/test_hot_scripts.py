"""The scripts in a real Redis against the model of ``hot_model.py``, and what only Redis can do.

Time: the scripts ask Redis' own clock, which no test can turn. For the comparison with the model
that one call is replaced by an argument, so that marks become due and checks lapse in the same
millisecond on both sides and states can be compared exactly. Everything else in the scripts runs
as it is, and the other tests here run them untouched.
"""

from __future__ import annotations

import asyncio
import os
import random
import secrets
from collections.abc import Callable, Iterator
from hashlib import sha1
from pathlib import Path
from typing import Any, Final, TypeVar

import pytest
import redis as redis_py

from onrecord import Message, Store, Unavailable, operations
from onrecord.cache import redis as hot_redis
from onrecord.cache.cache import CacheUnavailable, Marked
from onrecord.cache.redis import RedisCache
from onrecord.cache.scripts import script
from onrecord.cache.tails import LARGEST_TAIL
from onrecord.flow import Cold, Flow, Hot, Step, run
from onrecord.ledger.database.stamp import MarkedBefore
from tests.hot_model import Entry, FakeRedis
from tests.servers.redis import OwnRedis, RedisServer

R = TypeVar("R")

STEPS: Final = int(4_000 * float(os.environ.get("ONRECORD_SEEDS", "1")))
TTL: Final = 10**9


@pytest.fixture
def redis(redis_server: RedisServer) -> Iterator[Any]:
    with redis_py.Redis.from_url(redis_server.url, socket_timeout=5) as client:
        yield client


# -- the model ---------------------------------------------------------------------------------


class Real:
    """The scripts in a real Redis, told what time it is."""

    NAMES: Final = ("look", "look_item", "fill", "mark", "publish", "lift", "drop")

    def __init__(self, client: Any) -> None:
        self._client = client
        self._scripts = {}
        for name in self.NAMES:
            text = script(name).text
            assert text.count("redis.call('TIME')") == 1
            told = text.replace("redis.call('TIME')", "{ tonumber(KEYS[2]), tonumber(KEYS[3]) }")
            assert told.count("int(left)") == 1, name
            told = told.replace("int(left)", f"'{TTL}'")  # the model's clock says when it goes
            self._scripts[name] = client.register_script(told)
        self.run = client.info("server")["run_id"][:8]

    def call(self, now: int, name: str, key: str, arguments: tuple[Any, ...]) -> Any:
        keys = [key, now // 1000, now % 1000 * 1000]
        return self._scripts[name](keys=keys, args=arguments)

    def entry(self, key: str) -> Entry | None:
        return decoded(self._client, key)


def decoded(client: Any, key: str) -> Entry | None:
    """A key as Redis has it."""
    found = client.lrange(key, 0, -1)
    if not found:
        return None
    header, *messages = found
    names = (
        "run gen fence session epoch head lineage checked complete ends size nonce asked marks sum"
    )
    told = dict(zip(names.split(), header.decode().split(" "), strict=True))
    pairs = [mark.split("=") for mark in told["marks"].split(";") if mark]
    assert told["marks"] == "".join(f"{token}={at};" for token, at in pairs)
    return Entry(
        told["run"],
        told["nonce"],
        {token: mark_of(token, at) for token, at in pairs},
        told["gen"],
        told["fence"],
        int(told["session"]),
        int(told["epoch"]),
        int(told["head"]),
        told["lineage"],
        int(told["checked"]),
        {"0": False, "1": True}[told["complete"]],
        int(told["ends"]),
        int(told["size"]),
        int(told["asked"]),
        messages,
    )


def mark_of(token: str, said: str) -> tuple[int, int, str]:
    at, due = said.split(",")
    seconds, micros = at.split(".")
    return int(seconds) * 1000 + int(micros) // 1000, int(due), f"{token}.{at}"


def random_call(dice: random.Random, model: FakeRedis, key: str) -> tuple[str, tuple[Any, ...]]:
    """A script and arguments as they might come, sensible more often than not."""
    tokens = [f"t{n}" for n in range(12)]
    entry = model.entries.get(key)
    epoch, head, lineage = (
        (entry.epoch, entry.head, entry.lineage) if entry is not None else (-1, -1, "-")
    )
    if epoch < 0 or dice.random() < 0.1:
        epoch, head, lineage = dice.randrange(3), dice.randrange(6), f"{dice.randrange(1, 4):x}"
    most, most_bytes = dice.choice(((5, 10**6), (5, 10**6), (3, 60), (0, 10**6), (50, 40)))

    def messages(n: int) -> list[bytes]:
        sizes = (1, 7, 20, 45)
        return [
            b"%x " % dice.randrange(1, 4) + dice.randbytes(dice.choice(sizes)) for _ in range(n)
        ]

    nonce = f"n{dice.randrange(10**9)}"
    live = list(entry.marks) if entry is not None else []
    token = dice.choice(live) if live and dice.random() < 0.7 else dice.choice(tokens)
    lives = dice.choice((0, 0, 0, 400, 6_000))
    generation, fence = dice.choice(("g", "g", "h", "-")), dice.choice(("f1", "f2"))
    match dice.choice(("mark", "mark", "publish", "publish", "lift", "look", "look", "fill")):
        case "mark":
            return "mark", (f"{dice.choice(tokens)} {dice.choice((0, 10, 1000))} {TTL}",)
        case "publish":
            n = dice.choice((0, 1, 1, 2, 7))
            first = head + dice.choice((0, 1, 1, 1, 1, 2))
            last = first + n - 1
            if n == 0:
                epoch, last = epoch + 1, dice.randrange(max(head, 0) + 1)
                first = last + 1
            if dice.random() < 0.2:
                epoch, last = (entry.epoch, entry.head) if entry is not None else (epoch, last)
            own = entry.marks.get(token) if entry is not None else None
            lease = own[2] if own is not None and dice.random() < 0.8 else nonce
            whole = fence if dice.random() < 0.3 else "-"
            said = (
                *(token, nonce, TTL, most, most_bytes, lives, epoch, first, last),
                *(dice.choice((lineage, "7", "-")), lease, generation, whole, 7),
            )
            return "publish", (" ".join(map(str, said)), *messages(n))
        case "lift":
            return "lift", (token,)
        case "look":
            known = dice.choice(
                (
                    (-1, -1, "-"),
                    (epoch, head, lineage),
                    (epoch, max(0, head - 2), f"{dice.randrange(1, 4):x}"),
                    (epoch, max(0, head - 1), f"{dice.randrange(1, 4):x}"),
                    (9, 9, "1"),
                )
            )
            revalidate = dice.choice((0, 10, 1000, TTL))
            asked = (nonce, generation, revalidate, TTL, *known, dice.choice((0, 2, 50)))
            if dice.random() < 0.3:
                return "look_item", (" ".join(map(str, asked[:4])),)
            return "look", (" ".join(map(str, asked)),)
        case _:
            lease = nonce if entry is None or dice.random() < 0.2 else entry.nonce
            checked = model.now - dice.choice((0, 5, 500))
            n = dice.choice((0, 1, 2, 7))
            base = dice.choice((-1, -1, head, head - 1))
            to = max(0, base) + n if base >= 0 else head + dice.choice((-1, 0, 1, 2))
            return "fill", (
                *(lease, checked, TTL, most, most_bytes, lives, generation, fence),
                *(dice.choice((-1, 7)), epoch, max(0, to), dice.choice((lineage, "8"))),
                *(dice.choice((0, 1)), base, lineage if base >= 0 else "-"),
                *messages(n),
            )


@pytest.mark.parametrize("seed", range(4))
def test_the_scripts_do_what_the_model_does(redis: Any, seed: int) -> None:
    dice = random.Random(seed)
    real, model = Real(redis), FakeRedis()
    model.run = real.run
    keys = [f"onrecord-test:{secrets.token_hex(8)}:{n}" for n in range(2)]
    trace: list[str] = []
    try:
        for _ in range(STEPS // 4):
            key = dice.choice(keys)
            if dice.random() < 0.02:
                name, arguments = "drop", ()
            else:
                name, arguments = random_call(dice, model, key)
            model.now += dice.choice((0, 0, 1, 9, 10, 999, 5_000))
            trace.append(f"{model.now} {key[-1]} {name} {arguments}")
            before = model.entries.get(key)
            if before is not None and before.expires <= model.now:
                redis.delete(key)  # as it would have gone by the clock of a server
                del model.entries[key]
            told = real.call(model.now, name, key, arguments)
            model.made = f"{model.now // 1000}.{model.now % 1000 * 1000}"
            expected = model.call(name, key, arguments)
            story = "\n".join(trace[-6:])
            assert told == expected, story
            found, there = real.entry(key), model.entries.get(key)
            if found is not None and there is not None:
                found.expires = there.expires
                assert list(found.marks) == list(there.marks), story
                assert 0 < redis.pttl(key) <= TTL
            assert found == there, story
    finally:
        redis.delete(*keys)


# -- stores on a real Redis --------------------------------------------------------------------


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/x.db"


@pytest.fixture
def opened(redis_server: RedisServer, url: str) -> Iterator[Callable[..., Store]]:
    """Opens stores on one database and one Redis: each a process of its own, for a cache."""
    stores: list[Store] = []

    def open_one(**settings: Any) -> Store:
        settings = {"cache": redis_server.url, "durability": "normal", **settings}
        stores.append(Store(settings.pop("url", url), compression="none", **settings))
        return stores[-1]

    yield open_one
    for store in stores:
        store.close()


@pytest.fixture(autouse=True)
def _marks_are_due_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    # For manners only: a reader settles without waiting for the writer first.
    monkeypatch.setattr(hot_redis, "_PATIENCE", 0.0)


def key_of(store: Store, key: str) -> str:
    store._ledger.open(writes=True)
    return f"onrecord:{store._ledger.cache_id()}:{store.session(key).name.identity.hex()}"


def counters(store: Store) -> Any:
    return store._hot.counters


def filled(store: Store, key: str) -> None:
    """Read until what is read comes out of the cache."""
    before = counters(store).hits
    for _ in range(3):
        store.session(key).tail(50)
    assert counters(store).hits > before


def is_hit(store: Store, key: str, expected: list[Message], n: int = 50) -> None:
    """A process that knows nothing gets all of it, out of the cache."""
    assert store.session(key).tail(n) == expected
    assert (counters(store).hits, counters(store).misses) == (1, 0)


Opened = Callable[..., Store]


def test_an_entry_of_another_run_is_thrown_away(opened: Opened, redis: Any) -> None:
    store = opened()
    chat = store.session("k")
    chat.append(("user", "one"))
    filled(store, "k")
    key = key_of(store, "k")
    header = redis.lindex(key, 0)
    assert header.startswith(redis.info("server")["run_id"][:8].encode())
    text = b"00000000" + header[8:].rpartition(b" ")[0]
    redis.lset(key, 0, text + b" " + sha1(text).hexdigest()[:8].encode())
    newcomer = opened()
    assert len(newcomer.session("k").tail(5)) == 1
    assert counters(newcomer).hits == 0
    filled(newcomer, "k")


@pytest.mark.parametrize("kind", ["string", "hash", "list", "empty header"])
def test_a_key_of_another_kind_is_replaced(opened: Opened, redis: Any, kind: str) -> None:
    store = opened()
    chat = store.session("k")
    expected = chat.append(("user", "one"))
    key = key_of(store, "k")
    for operation in (lambda: chat.tail(5), lambda: expected.extend(chat.append(("user", "x")))):
        redis.delete(key)
        match kind:
            case "string":
                redis.set(key, b"nonsense")
            case "hash":
                redis.hset(key, "a", "b")
            case "list":
                redis.rpush(key, b"\xff\x00", b"x")
            case _:
                redis.rpush(key, b"")
        operation()
        assert redis.type(key) == b"list"
        assert chat.tail(5) == expected
    filled(opened(), "k")


def test_after_script_flush_all_goes_on(opened: Opened, own_redis: Any) -> None:
    store = opened(cache=own_redis.url)
    chat = store.session("k")
    with redis_py.Redis.from_url(own_redis.url) as client:
        for n in range(3):
            client.script_flush()
            chat.append(("user", str(n)))
            client.script_flush()
            assert len(chat.tail(5)) == n + 1
        filled(store, "k")
        client.script_flush()
        assert len(chat.tail(5)) == 3
        assert not store._hot.left_alone


def test_two_stores_on_one_redis_never_meet(opened: Opened, tmp_path: Path) -> None:
    one, other = opened(), opened(url=f"sqlite:///{tmp_path}/other.db")
    one.session("k").append(("user", "mine"))
    filled(one, "k")
    assert other.session("k").tail(5) == []
    other.session("k").append([("user", "a"), ("user", "b")])
    filled(other, "k")
    assert [m.text for m in one.session("k").tail(5)] == ["mine"]
    assert key_of(one, "k") != key_of(other, "k")


def test_invalidate_leaves_the_old_entries_behind(opened: Opened) -> None:
    store = opened()
    store.session("k").append(("user", "one"))
    filled(store, "k")
    hits = counters(store).hits
    store.invalidate()
    store.session("k").tail(5)
    assert counters(store).hits == hits, "it is of a generation that is over"
    filled(store, "k")


@pytest.mark.parametrize("face", ["sync", "async"])
def test_another_process_notices_an_invalidate_in_time(opened: Opened, face: str) -> None:
    one, other = opened(), opened()
    clock = [1000.0]
    other._belief.clock = lambda: clock[0]
    other._belief.forget()
    for store in (one, other):
        store.session("k").append(("user", "hello"))
    filled(other, "k")
    hits = counters(other).hits
    one.invalidate()
    clock[0] += other._belief.patience.believed_for / 2
    if face == "sync":
        other.session("k").tail()
    else:
        asyncio.run(other.session("k").atail())
    assert counters(other).hits == hits


def test_a_hit_needs_a_database_that_said_so_lately(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened()
    clock = [1000.0]
    store._belief.clock = lambda: clock[0]
    store._belief.forget()
    store.session("k").append(("user", "hello"))
    filled(store, "k")

    def gone(work: Any) -> Any:
        raise Unavailable("gone")

    monkeypatch.setattr(store._ledger, "_read", gone)
    clock[0] += store._belief.patience.believed_for * 0.9
    assert len(store.session("k").tail()) == 1, "a hit needs no database"
    clock[0] += store._belief.patience.believed_for
    with pytest.raises(Unavailable, match="gone"):
        store.session("k").tail()


def test_what_a_restored_backup_does_not_have_is_not_read(opened: Opened) -> None:
    store = opened()
    chat = store.session("k")
    chat.append([("user", str(n)) for n in range(5)])
    filled(store, "k")

    def restore(txn: Any) -> None:
        txn.run("DELETE FROM {tail} WHERE seq > 2")
        txn.run("UPDATE {sessions} SET head = 2, messages = 2")

    store._ledger.write(restore)
    store.invalidate()
    assert [m.seq for m in chat.tail(50)] == [1, 2]


def resumed(flow: Flow[R], step: Step) -> Flow[R]:
    """A flow that was begun by hand, from its next step on."""
    try:
        while True:
            step = flow.send((yield step))
    except StopIteration as end:
        result: R = end.value
        return result


def test_a_huge_message_becomes_a_stub_and_is_read_whole(opened: Opened, redis: Any) -> None:
    store = opened()
    chat = store.session("k")
    expected = chat.append([("user", "small"), ("user", "x" * 200_000), ("user", "after")])
    filled(store, "k")
    entry = decoded(redis, key_of(store, "k"))
    assert entry is not None
    assert entry.head == 3
    assert len(entry.messages) == 3
    assert entry.weight < 1_000
    is_hit(opened(), "k", expected)
    is_hit(opened(), "k", expected[-1:], n=1)
    assert len(opened().session("k").window(messages=50)) == 3
    expected += chat.append(("user", "y" * 100_000))
    is_hit(opened(), "k", expected)
    # Rewritten between the look and the fetch of what the stub stands for.
    reader = opened()
    flow: Flow[list[Message]] = operations.tail(reader._desk, chat.name, 50)
    fetch = flow.send(reader._perform(next(flow)))
    chat.delete(2)
    answer: Any = reader._perform(fetch)

    def the_rest() -> Flow[list[Message]]:
        step = flow.send(answer)  # a fetch that finds the session rewritten
        return (yield from resumed(flow, step))

    assert [m.seq for m in run(the_rest(), reader._perform)] == [1, 3, 4]


def test_a_tail_above_the_byte_cap(opened: Opened, redis: Any) -> None:
    store = opened()
    chat = store.session("k")
    expected = chat.append([("user", f"{n}" * 15_000) for n in range(10, 40)])
    for _ in range(3):
        newcomer = opened()
        assert newcomer.session("k").tail(50) == expected
        assert len(newcomer.session("k").window(messages=50)) == 30
    entry = decoded(redis, key_of(store, "k"))
    assert entry is not None
    assert entry.head == 30
    assert entry.weight == sum(map(len, entry.messages)) <= LARGEST_TAIL
    assert not entry.complete
    newest = opened()
    assert newest.session("k").tail(3) == expected[-3:]
    assert counters(newest).hits == 1
    expected += chat.append(("user", "z" * 30_000))  # extended, trimmed
    entry = decoded(redis, key_of(store, "k"))
    assert entry is not None
    assert entry.head == 31
    assert entry.weight == sum(map(len, entry.messages)) <= LARGEST_TAIL
    assert opened().session("k").tail(50) == expected


def test_a_fill_that_brings_more_than_fits_leaves_no_hole(opened: Opened) -> None:
    store = opened()
    chat = store.session("k")
    expected = chat.append([("user", str(n)) for n in range(5)])
    filled(store, "k")
    flow = operations.append(store._desk, chat.name, [("user", "x" * 30_000)] * 30, None)
    commit = flow.send(store._perform(next(flow)))
    store._perform(commit)
    flow.close()  # dies between the commit and its publish
    expected = chat.messages()
    assert opened().session("k").tail(50) == expected
    assert opened().session("k").tail(50) == expected


def test_the_first_append_to_a_session_that_was_read_before(opened: Opened) -> None:
    store = opened()
    chat = store.session("k")
    for _ in range(3):
        assert chat.tail(5) == []
    assert counters(store).fills == 0, "of a session that is not there nothing is cached"
    expected = chat.append(("user", "one"))
    is_hit(opened(), "k", expected)
    assert opened().session("k").tail(50) == expected


def test_stores_with_tails_of_different_length(opened: Opened) -> None:
    long, short = opened(tail=50), opened(tail=4)
    chat = long.session("k")
    chat.append([("user", str(n)) for n in range(10)])
    filled(long, "k")
    assert len(short.session("k").window(messages=50)) == 10


@pytest.mark.parametrize("tails", [(50, 4), (4, 50)])
def test_tails_of_different_length_are_right(opened: Opened, tails: tuple[int, int]) -> None:
    one, other = (opened(tail=n) for n in tails)
    for n in range(12):
        one.session("k").append([("user", f"{n}a"), ("user", f"{n}b")])
        for store in (other, one, other, one):
            everything = store.session("k").messages()
            for k in (1, 3, 4, 20, 50):
                assert store.session("k").tail(k) == everything[-k:]


def test_the_ttl_slides_and_survives_every_kind_of_write(opened: Opened, redis: Any) -> None:
    store = opened(ttl=1000)
    chat = store.session("k")
    key = key_of(store, "k")
    least, most = 900_000 - 60_000, 1_100_000

    def slides(what: Callable[[], object]) -> None:
        redis.pexpire(key, 5_000)
        what()
        assert least < redis.pttl(key) <= most

    chat.append([("user", str(n)) for n in range(9)])
    slides(lambda: chat.tail(5))
    slides(lambda: chat.tail(5))
    slides(lambda: chat.append(("user", "x")))
    slides(lambda: chat.edit(2, ("user", "y")))
    slides(lambda: chat.delete(3))
    slides(lambda: chat.rewind(5))
    slides(lambda: chat.clear())
    filled(store, "k")
    slides(lambda: opened(ttl=1000).session("k").tail(5))
    seen = set()
    for _ in range(20):
        chat.tail(5)
        seen.add(redis.pttl(key) // 1000)
    assert len(seen) > 3, "not all entries end at once"
    redis.delete(key)
    chat.tail(5)
    assert least < redis.pttl(key) <= most, "also where a look makes it"


def test_expiry_loses_nothing(opened: Opened, redis: Any) -> None:
    store = opened()
    expected = store.session("k").append(("user", "one"))
    filled(store, "k")
    redis.pexpire(key_of(store, "k"), 0)
    assert store.session("k").tail(5) == expected


def test_a_full_redis_never_keeps_half_an_entry(opened: Opened, own_redis: OwnRedis) -> None:
    dice = random.Random(7)
    store = opened(cache=own_redis.url)
    with redis_py.Redis.from_url(own_redis.url) as client:
        client.config_set("maxmemory-policy", "noeviction")
        full = False
        for step in range(250):
            chat = store.session(str(dice.randrange(3)))
            if dice.random() < 0.15:
                full = not full
                client.config_set("maxmemory", 1 if full else 0)
            match dice.randrange(6):
                case 0 | 1:
                    chat.append([("user", "x" * dice.choice((1, 500)))] * dice.randrange(1, 4))
                case 2 if chat.count():
                    chat.delete(chat.messages()[-1].seq or 0)
                case 3 if dice.random() < 0.2:
                    chat.clear()
                case _:
                    chat.tail(50)
            for key in map(str, range(3)):
                everything = store.session(key).messages()
                entry = decoded(client, key_of(store, key))
                if entry is not None:
                    assert entry.weight == sum(map(len, entry.messages)), step
                    if entry.epoch >= 0 and not entry.marks:
                        assert entry.head == store.session(key).head(), step
                        assert len(entry.messages) == min(50, len(everything)), step
                assert store.session(key).tail(50) == everything[-50:], step
        client.config_set("maxmemory", 0)
        assert not store._hot.left_alone, "it answers: it is only full"
        for key in map(str, range(3)):
            filled(store, key)


def test_a_full_redis_deletes_instead_of_marking(opened: Opened, own_redis: OwnRedis) -> None:
    store = opened(cache=own_redis.url)
    store.session("k").append(("user", "one"))
    filled(store, "k")
    cache = store._hot
    assert isinstance(cache, RedisCache)
    identity = store.session("k").name.identity
    with redis_py.Redis.from_url(own_redis.url) as client:
        client.config_set("maxmemory", 1)
        marked = cache.mark(identity, "token", None, attempt=0, whatever=True)
        assert isinstance(cache.exchange(marked), Marked)
        assert client.exists(key_of(store, "k")) == 0
        with pytest.raises(CacheUnavailable):
            cache.exchange(cache.look(identity, None))
        assert client.exists(key_of(store, "k")) == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_after_fork_has_connections_of_its_own(opened: Opened) -> None:
    store = opened()
    chat = store.session("k")
    expected = chat.append(("user", "one"))
    filled(store, "k")
    receiver, sender = os.pipe()
    child = os.fork()
    if child == 0:  # nothing of pytest may run here
        verdict = b"it raised"
        try:
            told = [m.text for m in chat.tail(5)] == ["one"]
            mine = chat.append(("user", "from the child"))
            told = told and [m.text for m in chat.tail(5)] == ["one", "from the child"]
            verdict = b"right" if told and mine[0].seq == 2 else b"wrong"
        finally:
            os.write(sender, verdict)
            os._exit(0)
    os.waitpid(child, 0)
    os.close(sender)
    with open(receiver, "rb") as answer:
        assert answer.read() == b"right"
    assert [m.text for m in chat.tail(5)] == ["one", "from the child"]
    assert chat.tail(5)[:1] == expected
    filled(store, "k")


def test_a_commit_is_not_made_on_a_connection_of_after_its_mark(
    redis_server: RedisServer, postgres_url: str
) -> None:
    """What broke the one before it may have been a database that fell back (rule 12)."""
    with Store(postgres_url, cache=redis_server.url) as store:
        chat = store.session("k")
        chat.append(("user", "one"))
        flow: Flow[Any] = operations.append(store._desk, chat.name, ("user", "two"), None)
        step = next(flow)
        while not (isinstance(step, Cold) and step.writes):
            step = flow.send(store._perform(step))
        assert store._ledger._pool is not None
        store._ledger._pool.renew()
        with pytest.raises(MarkedBefore) as refused:
            store._perform(step)
        step = flow.throw(refused.value)
        assert isinstance(step, Hot), "it is marked again"
        run(resumed(flow, step), store._perform)
        assert [m.text for m in chat.tail(5)] == ["one", "two"]


@pytest.mark.parametrize("name", ["look", "look_item"])
def test_a_look_never_begins_the_same_nonce_twice(redis: Any, name: str) -> None:
    """Also of two processes that throw the same dice, as those of one image of a machine do: a
    lease of an entry that is gone is none of the one that came after it."""
    key = f"onrecord-test:{secrets.token_hex(8)}"
    asked = "same g 1000 1000" + (" -1 -1 - 1" if name == "look" else "")
    try:
        said = []
        for _ in range(2):
            answer = redis.eval(script(name).text, 1, key, asked)
            about = answer[0] if isinstance(answer, list) else answer.strip()
            said.append(about.split()[-1])
            redis.delete(key)
        assert said[0] != said[1]
    finally:
        redis.delete(key)
