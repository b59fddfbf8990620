"""Erased is erased: from tables, segments, dictionaries, caches and the file, and for good (I7)."""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any, Literal

import psycopg
import pytest
import redis as redis_py

from onrecord import (
    ANY,
    CheckpointLog,
    Cleared,
    Conflict,
    Message,
    Misconfigured,
    Session,
    Since,
    Store,
    Version,
    operations,
)
from onrecord.checkpoint_log import Listing, New
from onrecord.flow import Autocommit, Cold, Flow, Hot, Step
from onrecord.ledger.database.dialect import TABLES as TABLES_OF_ALL
from onrecord.ledger.maintenance.erasing import remove
from onrecord.ledger.sessions import dictionaries, sessions
from onrecord.testing import Log, check, load
from tests.servers.redis import OwnRedis
from tests.test_crash_points import Tripped, Tripwire
from tests.test_segments import DICTIONARIES, small_talk
from tests.torture.settings import IMPATIENT
from tests.turned import hits

SEGMENT = 3
TABLES = ("sessions", "tail", "segments", "dictionaries", "runs")
WORDS = [f"word{n}" for n in range(120)]


@pytest.fixture(scope="module", autouse=True)
def _tiny_segments() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("onrecord.ledger.sessions.sealing.SEGMENT", SEGMENT)
        yield


def talk(name: str, count: int) -> list[tuple[str, str]]:
    """What somebody says, known by their name."""
    random = Random(name)
    return [("user", f"{name} {n}: {' '.join(random.choices(WORDS, k=12))}") for n in range(count)]


def rows_in(store: Store) -> dict[str, int]:
    """What the tables hold."""

    def work(txn: Any) -> dict[str, int]:
        return {
            f"onrecord_{table}": txn.first(f"SELECT count(*) FROM {{{table}}}", {})[0]
            for table in TABLES
        }

    return store._ledger.read(work)


def learn(store: Store, number: int, *sources: Session) -> None:
    """A dictionary that was learned from some sessions, without what learning takes."""

    def work(txn: Any) -> int | None:
        found = [sessions.find(txn, session.name) for session in sources]
        learned_from = [session.key for session in found if session is not None]
        return dictionaries.add(
            txn, DICTIONARIES[number].content, sessions.created_of(txn, sorted(learned_from))
        )

    assert store._ledger.write(work) is not None
    store._ledger.read(lambda txn: txn.dictionaries.refreshed(txn))


def is_silent(store: Store) -> None:
    assert [str(problem) for problem in store.verify()] == []


# -- scopes and receipts -------------------------------------------------------------------------


def test_a_receipt_says_what_went_by_table(each_store: Callable[[], Store]) -> None:
    store = each_store()
    for tenant in ("", "acme"):
        for user in ("ada", "bob"):
            for key in ("one", "two"):
                session = store.session(key, user=user, tenant=tenant)
                session.append(talk(f"{tenant}/{user}/{key}", 8))
                session.update(title="A title")
    learn(store, 1, store.session("one", user="ada"))
    learn(store, 2, store.session("one", user="bob"))
    store.index()
    before = rows_in(store)
    others = {
        (tenant, user): store.session("two", user=user, tenant=tenant).messages()
        for tenant, user in (("", "bob"), ("acme", "ada"), ("acme", "bob"))
    }
    receipt = store.erase(user="ada")
    after = rows_in(store)
    assert receipt.scope == "user='ada'"
    assert receipt.removed == {table: before[table] - after[table] for table in sorted(before)}
    assert receipt.removed["onrecord_sessions"] == 2
    assert receipt.removed["onrecord_dictionaries"] == 1
    assert receipt.left == 2  # of the same user, in another tenant
    if store.address.startswith("sqlite"):
        assert receipt.traces is None
    else:  # nothing promises that the server has written over what it removed
        assert receipt.traces is not None
        assert "compact(again=True)" in receipt.traces
    assert store.sessions(user="ada") == []
    for (tenant, user), messages in others.items():
        assert store.session("two", user=user, tenant=tenant).messages() == messages
    is_silent(store)

    again = store.erase(user="ada")
    assert (again.removed, again.left) == ({}, 2)

    assert store.erase(tenant="acme", user=ANY).removed["onrecord_sessions"] == 4
    receipt = store.session("one", user="bob").erase()
    assert receipt.removed["onrecord_sessions"] == 1
    assert receipt.removed["onrecord_dictionaries"] == 1
    assert store.session("one", user="bob").erase().removed == {}
    assert rows_in(store)["onrecord_sessions"] == 1
    store.erase(user=ANY)
    assert rows_in(store) == dict.fromkeys(before, 0)
    is_silent(store)


def test_a_store_is_erased_only_where_a_scope_was_said(each_store: Callable[[], Store]) -> None:
    """The sessions of a simple app all stand under no names: erase() alone would take them all."""
    store = each_store()
    session = store.session("chat")
    said = session.append(talk("ada", 8))
    store.session("chat", user="bob").append(talk("bob", 2))
    for erase in (store.erase, lambda **given: asyncio.run(store.aerase(**given))):
        nothing: tuple[dict[str, Any], ...] = ({}, {"thorough": False})
        for given in nothing:
            with pytest.raises(Misconfigured, match=r"tenant='', user='', agent=''.*ANY"):
                erase(**given)
    assert session.messages() == said
    receipt = store.erase(tenant="", user="", agent="")
    assert receipt.removed["onrecord_sessions"] == 1
    assert (session.messages(), store.session("chat", user="bob").count()) == ([], 2)
    session.append(talk("again", 2))
    assert store.erase(agent="").removed["onrecord_sessions"] == 1  # one part is enough
    everybody = store.erase(tenant=ANY, user=ANY, agent=ANY)
    assert everybody.removed["onrecord_sessions"] == 1


# -- who comes late ------------------------------------------------------------------------------


def test_nothing_of_it_comes_back(each_store: Callable[[], Store]) -> None:
    store, other = each_store(), each_store()
    session, late = (s.session("chat", user="ada") for s in (store, other))
    session.append(talk("ada", 8))
    session.append(Message("user", "with an id", id="mine"))
    session.update(title="A title", metadata={"a": 1})
    session.archive([1, 2])
    version, read = late.version(), late.messages()
    assert late.tail(5) == read[-5:]  # its own process has it at hand now
    store.erase(user="ada")

    for handle in (session, late):
        assert handle.messages() == handle.tail(5) == list(handle.window(turns=2)) == []
        assert handle.messages(archived=True) == []
        assert handle.info().title is None
        assert handle.count() == handle.head() == 0
        assert handle.version() == Version(version.epoch + 1, 0)
    with pytest.raises(Cleared):
        late.append(read)
    with pytest.raises(Cleared):
        late.append([*read[:-1], ("user", "and more")])
    assert late.append(read[:-1], expected=version) == []
    for expected in (version, Since(version)):
        with pytest.raises(Cleared):
            late.append([*read[:-1], ("user", "and more")], expected=expected)
        with pytest.raises(Cleared):
            late.append(("user", "late"), expected=expected)
        with pytest.raises(Cleared):
            late.append(read[-1], expected=expected)  # with its own id
    with pytest.raises(Conflict):
        late.append(("user", "late"), expected=version.head)
    for change in (lambda: late.edit(8, ("user", "x")), lambda: late.delete(8),
                   lambda: late.rewind(8)):  # fmt: skip
        with pytest.raises(Conflict):
            change()
    assert late.archive([1, 2, 8]) == []
    late.unarchive([1])
    assert store.sessions(user="ada") == []
    assert late.rewind(0) == Version(version.epoch + 1, 0)

    # And under the same name somebody begins clean; what was handed out before stays gone.
    (first,) = late.append(("user", "new"))
    assert (first.seq, late.version()) == (1, Version(version.epoch + 1, 1))
    assert first.id not in {message.id for message in read}
    assert session.messages() == session.tail(5) == [first]
    assert late.info().title is None
    with pytest.raises(Cleared):
        session.append(read[:1])
    assert session.append(read[:2], expected=version) == []
    late.append(talk("again", 8))
    late.erase()
    assert session.version() == Version(version.epoch + 2, 0)
    assert late.tail(5) == []
    is_silent(store)


def test_many_who_write_while_it_is_erased(each_store: Callable[[], Store], tmp_path: Path) -> None:
    """What was said before an erasure is never seen after it; nothing else is lost."""
    writers, patience = 3, 60.0
    key, rounds = "shared", 12

    def write(name: str) -> None:
        with Log(tmp_path / f"{name}.jsonl") as log:
            session = each_store().session(key)
            for number in range(rounds * 4):
                texts = [f"{name}.{number}.{i}" for i in range(1 + number % 3)]
                messages: list[Any] = [
                    {"role": "user", "content": text, **({"id": text} if number % 2 else {})}
                    for text in texts
                ]
                under_way = log.appending(texts)
                stored = session.append(messages)
                under_way.acknowledged([message.seq for message in stored])
                began = time.monotonic_ns()
                found = session.messages() if number % 3 else session.tail(4)
                log.read(
                    began,
                    [(m.seq, m.text) for m in found],
                    tail=None if number % 3 else 4,
                )

    def erase() -> None:
        with Log(tmp_path / "eraser.jsonl") as log:
            store = each_store()
            for _ in range(rounds):
                under_way = log.rewinding(0)
                store.session(key).erase(thorough=False)
                under_way.done()
                store.compact(quiet_for=0)

    threads = [threading.Thread(target=write, args=(f"w{n}",)) for n in range(writers)]
    threads.append(threading.Thread(target=erase))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(patience)
        assert not thread.is_alive()
    assert [str(violation) for violation in check(load(tmp_path.glob("*.jsonl")))] == []
    is_silent(each_store())


# -- in pieces -----------------------------------------------------------------------------------


def perform(store: Store, step: Step) -> Any:
    match step:
        case Hot(call):
            return store._hot.exchange(call(store._hot))
        case Cold(work, writes):
            return store._ledger.write(work) if writes else store._ledger.read(work)
        case Autocommit(work):
            return store._ledger.apart(work)


def drive(flow: Flow[Any], store: Store, count: int | None = None) -> int:
    """Perform so many steps, then drop the flow as a kill would; how many there were."""
    done = 0
    try:
        step = next(flow)
        while count is None or done < count:
            try:
                answer = perform(store, step)
            except Exception as fault:  # the flow decides what its failed step means
                step = flow.throw(fault)
            else:
                step = flow.send(answer)
            done += 1
    except StopIteration:
        pass
    finally:
        flow.close()
    return done


def furnished(store: Store, other: Store) -> tuple[Session, Session, list[Message]]:
    """Ada's session, from which a dictionary was learned that bob's words need."""
    ada = store.session("chat", user="ada")
    ada.append(talk("ada", 8))
    store.session("more", user="ada").append(talk("more", 2))
    learn(store, 1, ada)
    other._ledger.read(lambda txn: txn.dictionaries.refreshed(txn))
    bob = store.session("chat", user="bob")
    bob.append(talk("bob", 8))
    store.compact(quiet_for=0)
    other.session("chat", user="bob").append(talk("bob and more", 4))
    store.session("last", user="bob").append(talk("last", 2))
    assert needs_dictionary(store) >= {"tail", "segments"}
    return ada, bob, bob.messages()


def needs_dictionary(store: Store) -> set[str]:
    """In which tables something is compressed with a dictionary."""

    def work(txn: Any) -> set[str]:
        found = set()
        if txn.rows("SELECT 1 FROM {segments} WHERE dictionary IS NOT NULL LIMIT 1", {}):
            found.add("segments")
        frames = txn.rows("SELECT frame FROM {tail} WHERE frame IS NOT NULL", {})
        if any(bytes(frame)[1] & 4 for (frame,) in frames):
            found.add("tail")
        return found

    return store._ledger.read(work)


ERASURES: dict[str, Callable[[Store], Flow[Any]]] = {
    "a scope": lambda store: operations.erase(store._desk, _scope(store), True),
    "a session": lambda store: operations.erase_session(
        store._desk, store.session("chat", user="ada").name, True
    ),
}


def _scope(store: Store) -> Any:
    from onrecord.scope import Scope

    return Scope("", "ada", "")


@pytest.mark.parametrize("what", ERASURES)
def test_interrupted_between_any_two_steps(each_store: Callable[[], Store], what: str) -> None:
    """Whoever does it again finishes it; nobody else ever sees a half of it."""
    erasure = ERASURES[what]
    store, other = each_store(), each_store()
    furnished(store, other)
    steps = drive(erasure(store), store)
    assert steps >= 8
    store.erase(user=ANY)
    # The steps of a session are those of a scope: on PostgreSQL, where they take long, a few.
    stride = 4 if what == "a session" and store._ledger.address.kind == "postgresql" else 1
    for count in range(0, steps + 1, stride):
        ada, bob, said = furnished(store, other)
        before, version = ada.messages(), ada.version()
        drive(erasure(store), store, count)
        for handle in (ada, other.session("chat", user="ada")):
            found = handle.messages()
            assert found in ([], before)
            assert handle.tail(50) == found
            assert handle.version() in (version, Version(version.epoch + 1, 0))
        assert bob.messages() == other.session("chat", user="bob").messages() == said
        is_silent(other)
        # Also after somebody wrote there again meanwhile, or maintenance came by.
        if count % 3 == 1 and not ada.messages():
            ada.append(("user", "in between"))
        if count % 3 == 2:
            other.compact(quiet_for=0)
        drive(erasure(other), other)
        assert ada.messages() == []
        assert bob.messages() == other.session("chat", user="bob").messages() == said
        assert rows_in(store)["onrecord_dictionaries"] == 0
        assert needs_dictionary(store) == set()
        is_silent(store)
        store.erase(user=ANY)
        assert rows_in(store) == {f"onrecord_{table}": 0 for table in TABLES}


def test_a_removal_that_ends_after_any_of_its_statements(each_store: Callable[[], Store]) -> None:
    store, other = each_store(), each_store()
    session = store.session("chat", user="ada")
    session.append(talk("ada", 8))
    session.update(title="A title")
    session.state.put_many({"plan": 1, "step": 2})
    before = rows_in(store)
    count = 0
    while True:

        def cut_off(txn: Any, left: int = count) -> Any:
            return remove(Tripwire(txn, left), session.name)

        try:
            store._ledger.write(cut_off)
        except Tripped:
            assert rows_in(other) == before
            assert other.session("chat", user="ada").info().title == "A title"
            assert other.session("chat", user="ada").state.count() == 2
            count += 1
            continue
        break
    assert count >= 5
    assert set(rows_in(other).values()) == {0}
    assert session.state.list() == []
    assert other.stats().items == 0
    assert session.version() == Version(1, 0)


# -- what was learned from it --------------------------------------------------------------------


def test_a_dictionary_learned_from_it_goes(each_store: Callable[[], Store]) -> None:
    store, other = each_store(), each_store()
    _, bob, said = furnished(store, other)
    bobs = other.session("chat", user="bob")
    assert bobs.messages() == said
    receipt = store.erase(user="ada")
    assert receipt.removed["onrecord_dictionaries"] == 1
    assert needs_dictionary(store) == set()
    assert bob.messages() == bobs.messages() == each_store().session("chat", user="bob").messages()
    # Another process still knows it; what that says now does not need it any more.
    assert other._ledger._dictionaries.current is not None
    new = bobs.append(talk("after", 5))
    bobs.edit(1, ("user", " ".join(WORDS)))
    other.compact(quiet_for=0)
    assert needs_dictionary(store) == set()
    assert [m.text for m in bob.messages()[-5:]] == [m.text for m in new]
    assert bob.messages()[0].text == " ".join(WORDS)
    assert each_store().session("chat", user="bob").messages() == bob.messages()
    assert other._ledger._dictionaries.current is None
    # The next one has a number of its own.
    learn(store, 2, bob)
    bobs.append(talk("by the next one", 3))
    bob.append(talk("and here", 2))
    fresh = each_store().session("chat", user="bob")
    assert fresh.messages() == bob.messages() == bobs.messages()
    is_silent(store)


def test_a_number_is_never_given_twice(each_store: Callable[[], Store]) -> None:
    """Somebody knows 1 as it was; the next dictionary is not called 1."""
    store, other = each_store(), each_store()
    furnished(store, other)
    store.erase(user="ada")
    eve = store.session("chat", user="eve")
    eve.append(talk("eve", 4))
    learn(store, 2, eve)
    late = other.session("late", user="bob")
    late.append([("user", f"{' '.join(WORDS[:30])} {n}") for n in range(8)])
    said = late.messages()
    fresh = each_store()
    assert fresh.session("late", user="bob").messages() == said
    is_silent(fresh)


def test_other_dictionaries_stay(each_store: Callable[[], Store]) -> None:
    store, other = each_store(), each_store()
    _, bob, said = furnished(store, other)
    learn(store, 2, bob)
    store.session("third", user="bob").append(talk("third", 9))
    third = store.session("third", user="bob").messages()
    assert store.erase(user="ada").removed["onrecord_dictionaries"] == 1
    assert store.stats().dictionaries == 1
    for one in (store, other, each_store()):
        assert one.session("chat", user="bob").messages() == said
        assert one.session("third", user="bob").messages() == third
    is_silent(store)


def test_training_does_not_keep_what_is_erased_meanwhile(
    each_store: Callable[[], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At whatever step of a training the erasure comes."""
    monkeypatch.setattr("onrecord.ledger.maintenance.training._FEWEST", 10)
    store, other = each_store(), each_store()
    trained = 0
    for count in range(12):
        for n in range(24):
            store.session(f"s{n}", user="ada" if n % 2 else "bob").append(talk(f"{n}", 5))
        flow = operations.train(store._desk, None)
        done = 0
        try:
            step = next(flow)
            while True:
                if done == count:
                    other.erase(user="ada", thorough=False)
                answer = perform(store, step)
                done += 1
                step = flow.send(answer)
        except StopIteration as end:
            trained += end.value.dictionary is not None
        if done <= count:
            break
        bobs = {info.key for info in store.sessions(user="bob", limit=100)}
        assert len(bobs) == 12

        def sources(txn: Any) -> list[set[int]]:
            return [
                {key.session for key in dictionaries._sources(packed) or ()}
                for (packed,) in txn.rows("SELECT sources FROM {dictionaries}", {})
            ]

        alive = {
            number for (number,) in store._ledger.read(
                lambda txn: txn.rows("SELECT id FROM {sessions}", {})
            )
        }  # fmt: skip
        assert all(found <= alive for found in store._ledger.read(sources))
        is_silent(store)
        store.erase(user=ANY, thorough=False)
        assert store.stats().dictionaries == 0
    assert trained >= 2


# -- caches --------------------------------------------------------------------------------------


def in_redis(url: str) -> bytes:
    """Everything there is in a Redis."""
    client: Any
    found: list[Any] = []
    with closing(redis_py.Redis.from_url(url)) as client:
        for key in client.scan_iter("*"):
            kind = client.type(key)
            if kind == b"hash":
                found += [part for pair in client.hgetall(key).items() for part in pair]
            elif kind == b"string":
                found.append(client.get(key))
            elif kind == b"list":
                found += client.lrange(key, 0, -1)
            else:
                found.append(client.dump(key))
            found.append(key)
        return b"\n".join(map(bytes, found))


@pytest.fixture
def redis_url(own_redis: OwnRedis) -> str:
    return own_redis.url


def test_nothing_of_it_is_left_in_redis(
    own_redis: OwnRedis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path}/x.db"
    with Store(url, cache=own_redis.url) as store, Store(url, cache=own_redis.url) as other:
        session = store.session("chat", user="ada")
        needle = secrets.token_hex(20)
        session.append([("user", f"{needle} {n}") for n in range(4)])
        for _ in range(200):
            session.tail(3)
            other.session("chat", user="ada").tail(3)
            if needle.encode() in in_redis(own_redis.url):
                break
        assert needle.encode() in in_redis(own_redis.url)
        assert store.erase(user="ada").traces is None
        assert needle.encode() not in in_redis(own_redis.url)
        for one in (store, other):
            assert one.session("chat", user="ada").tail(3) == []
        assert needle.encode() not in in_redis(own_redis.url)


@pytest.mark.parametrize("consistency", ["cached", "strict"])
def test_a_redis_that_was_down_when_it_was_erased(
    own_redis: OwnRedis,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    consistency: Literal["cached", "strict"],
) -> None:
    """It comes back with what it had: nobody is shown it after ``revalidate`` at the latest."""
    revalidate = 0.05
    url = f"sqlite:///{tmp_path}/x.db"
    # How long the cache is left alone afterwards, ten seconds, is asked elsewhere.
    monkeypatch.setattr("onrecord.flows.belief.Patience", lambda: IMPATIENT)

    def open_store() -> Store:
        return Store(
            url, cache=own_redis.url, consistency=consistency, revalidate=revalidate,
            durability="normal",
        )  # fmt: skip

    with open_store() as store, open_store() as other:
        session, late = (s.session("chat", user="ada") for s in (store, other))
        needle = secrets.token_hex(20)
        read = session.append([("user", f"{needle} {n}") for n in range(4)])
        for _ in range(500):
            late.tail(3)
            if needle.encode() in in_redis(own_redis.url):
                break
        held = in_redis(own_redis.url)
        assert needle.encode() in held
        own_redis.pause()
        try:
            erased = time.monotonic()
            traces = store.erase(user="ada").traces
            assert session.tail(3) == []
        finally:
            own_redis.resume()
        assert traces is not None, "what Redis holds"
        assert "Redis cannot be reached" in traces
        if consistency == "strict":
            assert late.tail(3) == []
        while late.tail(3):
            assert time.monotonic() - erased < 30
        assert late.messages() == []
        assert session.tail(3) == []
        (new,) = session.append(("user", "new"))
        while late.tail(3) != [new]:
            assert time.monotonic() - erased < 30
        with pytest.raises(Cleared):
            late.append(read)
        while needle.encode() in in_redis(own_redis.url):
            session.tail(3)
            late.tail(3)
            assert time.monotonic() - erased < 30


# -- bytes in the file ---------------------------------------------------------------------------

SIZES = (30, 300, 1_000, 1_100, 3_000, 20_000, 300_000)


def files_of(path: Path) -> bytes:
    """The database file, its WAL, its shared memory and its journal."""
    return b"".join(file.read_bytes() for file in sorted(path.parent.glob(f"{path.name}*")))


def slices(body: bytes, most: int = 60) -> list[bytes]:
    """Pieces that would be found if any page of it were left."""
    step = max(len(body) // most, 24)
    return [body[n : n + 24] for n in range(8, len(body) - 24, step)] or [body[-20:]]


def stored_pieces(path: Path) -> list[bytes]:
    """Pieces of every dictionary, and of every frame and segment of ada's, as they are now."""
    hers = "session IN (SELECT id FROM onrecord_sessions WHERE \"user\" = 'ada')"
    chosen = (
        f"SELECT frame FROM onrecord_tail WHERE frame IS NOT NULL AND {hers}",
        f"SELECT body FROM onrecord_segments WHERE {hers}",
        "SELECT body FROM onrecord_dictionaries",
    )
    with closing(sqlite3.connect(path)) as connection:
        bodies = [bytes(body) for statement in chosen for (body,) in connection.execute(statement)]
    return [piece for body in bodies if len(body) > 28 for piece in slices(body)]


def incompressible(random: Random, size: int) -> str:
    return "".join(random.choices("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789",
                                  k=size))  # fmt: skip


def left_of(path: Path, pieces: Sequence[bytes]) -> list[bytes]:
    content = files_of(path)
    return [piece for piece in pieces if piece in content]


@pytest.mark.parametrize("compression", ["zstd", "none"])
@pytest.mark.parametrize("thorough", [True, False])
def test_the_bytes_are_gone_from_the_file(
    tmp_path: Path, compression: Literal["zstd", "none"], thorough: bool
) -> None:
    """Of everything that was ever said there: also what was edited, deleted, sealed, cleared."""
    path = tmp_path / "x.db"
    random = Random(5)
    texts: list[str] = []

    def say(session: Session, size: int) -> None:
        texts.append(incompressible(random, size))
        session.append(("user", texts[-1]))

    with Store(f"sqlite:///{path}", compression=compression, durability="normal") as store:
        ada, more = (store.session(key, user="ada") for key in ("chat", "more"))
        bob = store.session("chat", user="bob")
        bob.append(talk("bob", 4))
        for size in SIZES:
            say(ada, size)
        ada.update(title=f"title {incompressible(random, 40)}")
        title = ada.info().title or ""
        if compression == "zstd":
            learn(store, 1, ada)
        pieces = stored_pieces(path)
        for size in (50, 2_000, 50, 5_000):
            say(more, size)
        bob.append(talk("bob again", 5))
        pieces += stored_pieces(path)
        for seq in (1, 4, 7):
            texts.append(incompressible(random, SIZES[seq - 1]))
            ada.edit(seq, ("user", texts[-1]))
            pieces += stored_pieces(path)
        ada.delete(2)
        more.rewind(2)
        store.compact(quiet_for=0)
        pieces += stored_pieces(path)
        say(more, 700)
        more.clear()
        say(more, 800)
        store.compact(quiet_for=0, again=True)
        pieces += stored_pieces(path)
        said = bob.messages()
        assert left_of(path, pieces), "otherwise nothing is shown here"
        receipt = store.erase(user="ada", thorough=thorough)
        assert (receipt.traces is None) == thorough
        if not thorough:
            store.erase(user="ada", thorough=True)
        needles = [piece for text in texts for piece in slices(text.encode())]
        needles += [*pieces, title.encode(), b"ada"]
        assert left_of(path, needles) == []
        assert bob.messages() == said
        is_silent(store)
        # And it was no accident of an open file: closing writes nothing of it either.
    assert left_of(path, needles) == []


def test_a_reader_that_holds_the_old_file_is_named(tmp_path: Path) -> None:
    """The write-ahead log cannot go while somebody reads: the receipt says so, and what to do."""
    path = tmp_path / "x.db"
    with Store(f"sqlite:///{path}", durability="normal", timeout=0.2) as store:
        store.session("chat", user="ada").append(talk("ada", 8))
        pieces = stored_pieces(path)
        with closing(sqlite3.connect(path, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM onrecord_tail").fetchone()
            receipt = store.erase(user="ada")
            assert receipt.removed["onrecord_sessions"] == 1
            assert receipt.traces is not None
            assert "again" in receipt.traces
            reader.execute("ROLLBACK")
        assert store.erase(user="ada").traces is None
        assert left_of(path, pieces) == []


def test_nothing_is_left_in_the_tables_of_postgres(postgres_url: str) -> None:
    name = "ada, countess of Lovelace"
    with Store(postgres_url) as store:
        furnished(store, store)
        session = store.session(f"a chat of {name}", user=name, tenant=f"of {name}")
        session.append([("user", f"{name} {n}") for n in range(8)])
        session.update(title=name)
        store.erase(user=ANY, tenant=f"of {name}")
    with psycopg.connect(postgres_url) as connection:
        tables = [
            name
            for (name,) in connection.execute(
                "SELECT relname FROM pg_class WHERE relkind = 'r' AND relname LIKE 'onrecord_%'"
            )
        ]
        assert len(tables) >= 6
        for table in tables:
            found = connection.execute(f"SELECT t::text FROM {table} t").fetchall()
            assert not [row for (row,) in found if name in row or name.encode().hex() in row]


def postgres_files(connection: psycopg.Connection[Any]) -> list[tuple[str, bytes]]:
    """The files of our tables, with those of their indexes and TOAST, by table."""
    connection.execute("CHECKPOINT")
    return connection.execute(
        """
        WITH ours AS (SELECT oid, reltoastrelid AS toast, relname FROM pg_class
            WHERE relkind = 'r' AND relname LIKE 'onrecord_%'),
        tables AS (SELECT oid, relname FROM ours UNION SELECT toast, relname FROM ours),
        files AS (SELECT oid, relname FROM tables
            UNION SELECT i.indexrelid, relname FROM pg_index i JOIN tables t ON i.indrelid = t.oid)
        SELECT relname, pg_read_binary_file(pg_relation_filepath(oid)) FROM files WHERE oid <> 0
        """
    ).fetchall()


def in_postgres_files(connection: psycopg.Connection[Any], needle: str) -> set[str]:
    """Our tables whose files hold a text."""
    return {table for table, content in postgres_files(connection) if needle.encode() in content}


def test_a_reader_that_keeps_removed_rows_in_postgres_is_named(postgres_url: str) -> None:
    """What it may still see cannot be vacuumed: the receipt says so, and what to do."""
    needle = secrets.token_hex(20)
    with (
        Store(postgres_url) as store,
        psycopg.connect(postgres_url) as reader,
        psycopg.connect(postgres_url, autocommit=True) as files,
    ):
        session = store.session("chat", user="ada")
        session.append([("user", "hello")])
        session.update(title=needle, metadata={"note": needle})
        reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        reader.execute("SELECT count(*) FROM onrecord_sessions").fetchone()
        receipt = store.erase(user="ada")
        assert in_postgres_files(files, needle) == {"onrecord_sessions"}
        assert receipt.traces is not None
        assert "again" in receipt.traces
        reader.rollback()
        assert "open" not in (store.erase(user="ada").traces or "")
        assert in_postgres_files(files, needle) == set()


def test_what_postgres_may_keep_is_named_and_goes_when_all_is_written_anew(
    postgres_url: str,
) -> None:
    """Rows that went from pages which others are in: conversations, their titles, graphs."""
    needle = secrets.token_hex(20)
    with (
        Store(postgres_url, compression="none") as store,
        psycopg.connect(postgres_url, autocommit=True) as files,
    ):
        for user in ("bob", "ada", "eve"):
            said = needle if user == "ada" else "hello"
            session = store.session("chat", user=user)
            session.append([("user", said), ("assistant", f"re: {said}")])
            session.update(title=said, metadata={"note": said})
            log = CheckpointLog(store, user=user)
            log.put("graph", "", New("1", None, [("json", said.encode())], {}))
            log.put_writes("graph", "", "1", "task", "", [(0, "channel", ("json", said.encode()))])
        assert len(in_postgres_files(files, needle)) > 3
        receipt = store.erase(user="ada")
        assert receipt.traces is not None
        assert "compact(again=True)" in receipt.traces
        store.compact(quiet_for=0, again=True)
        assert in_postgres_files(files, needle) == set()
        assert store.session("chat", user="bob").tail(1)[0].text == "re: hello"
        assert store.stats(user="bob").threads == 1
        assert (store.stats().threads, store.stats(user="ada").threads) == (2, 0)


def tables_with(store: Store, needle: str) -> set[str]:
    """Our tables of which a row holds a text."""

    def work(txn: Any) -> set[str]:
        found = set()
        for table in TABLES_OF_ALL:
            for row in txn.rows(f"SELECT * FROM {{{table}}}", {}):
                values = [v.encode() if isinstance(v, str) else v for v in row]
                if any(
                    needle.encode() in bytes(value)
                    for value in values
                    if isinstance(value, (bytes, memoryview))
                ):
                    found.add(table)
        return found

    return store._ledger.read(work)


def compressed_pieces(store: Store, user: str) -> list[bytes]:
    """Pieces of what a text cannot be looked for in: somebody's frames and segments, and what was
    learned."""

    def work(txn: Any) -> list[bytes]:
        hers = 'session IN (SELECT id FROM {sessions} WHERE "user" = :user)'
        bodies = [
            bytes(body)
            for statement in (
                f"SELECT frame FROM {{tail}} WHERE frame IS NOT NULL AND {hers}",
                f"SELECT body FROM {{segments}} WHERE {hers}",
                "SELECT body FROM {items} WHERE namespace IN "
                '(SELECT id FROM {namespaces} WHERE "user" = :user)',
            )
            for (body,) in txn.rows(statement, {"user": user})
        ]
        bodies += [bytes(body) for (body,) in txn.rows("SELECT body FROM {dictionaries}", {})]
        return [piece for body in bodies if len(body) > 28 for piece in slices(body)]

    return store._ledger.read(work)


def furnish_user(store: Store, user: str, said: str) -> list[Session]:
    """Conversations with titles and metadata, a graph's thread with its pending writes, and
    items: in all of them, and in all names, the same text."""
    user = f"{user} {said}"
    chats = [store.session(f"{n} of {said}", user=user) for n in range(30)]
    for n, chat in enumerate(chats):
        chat.append([(role, f"{text} {said}") for role, text in small_talk(f"{user} {n}", 4)])
        chat.update(title=f"about {said}", metadata={"note": said})
    log = CheckpointLog(store, user=user)
    item = ("json", said.encode())
    for n, parent in ((1, None), (2, "1")):
        values: dict[str, Any] = {"messages": Listing([item] * n), "step": item}
        log.put(f"graph {said}", "", New(f"{n}", parent, [item], values), metadata={"about": said})
    log.put_writes(f"graph {said}", "", "2", "task", "", [(0, "channel", item)])
    known = store.items("facts", f"about {said}", user=user)
    known.put(f"short {said}", {"note": said}, text=f"about {said}", token=f"revision {said}")
    talk = [text for _, text in small_talk(f"{user} known", 40)]
    known.put(f"long {said}", {"notes": [said, *talk]}, ttl=3_600)
    known.put("gone", said)
    known.delete("gone")
    return chats


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_nothing_of_a_user_is_left_anywhere(
    request: pytest.FixtureRequest, own_redis: OwnRedis, tmp_path: Path, database: str
) -> None:
    """Conversations, a graph, items, what was learned, what is cached: gone from every file, or
    named."""
    needle = secrets.token_hex(20)
    user = f"ada {needle}"
    path = tmp_path / "x.db"
    url = (
        request.getfixturevalue("postgres_url") if database == "postgresql" else f"sqlite:///{path}"
    )

    def left(pieces: Sequence[bytes]) -> list[bytes]:
        if database == "sqlite":
            return left_of(path, pieces)
        with psycopg.connect(url, autocommit=True) as files:
            content = b"".join(content for _, content in postgres_files(files))
        return [piece for piece in pieces if piece in content]

    with Store(url, cache=own_redis.url) as store, Store(url, cache=own_redis.url) as other:
        bobs = furnish_user(store, "bob", "hello")
        adas = furnish_user(store, "ada", needle)
        assert tables_with(store, needle) == {
            "sessions", "tail", "checkpoint_threads", "checkpoints", "checkpoint_items",
            "checkpoint_writes", "items", "namespaces",
        }  # fmt: skip
        learned = store.train().dictionary
        assert learned is not None
        known = store._ledger.read(lambda txn: txn.dictionaries.get(txn, learned))
        assert known is not None
        assert any(part in known.content for part in (needle[:12].encode(), needle[-12:].encode()))
        pieces = compressed_pieces(store, user)
        store.compact(quiet_for=0)
        for chat, text in ((bobs[0], "hello"), (adas[0], needle)):
            chat.append([*small_talk(text, 2), ("user", text)])
        pieces += compressed_pieces(store, user)
        late = other.session(adas[0].name.key, user=user)
        hits(store, adas[0].tail)
        hits(other, late.tail)
        said = bobs[0].messages()
        state = CheckpointLog(store, user="bob hello").state("graph hello")
        items = store.items("facts", "about hello", user="bob hello").list()
        assert needs_dictionary(store) == {"tail", "segments"}
        assert needle.encode() in in_redis(own_redis.url)
        pieces.append(needle.encode())
        assert len(left(pieces)) > 100

        receipt = store.erase(user=user)
        assert receipt.removed["onrecord_sessions"] == 30
        assert receipt.removed["onrecord_checkpoint_threads"] == 1
        assert receipt.removed["onrecord_dictionaries"] == 1
        assert receipt.removed["onrecord_items"] == 2
        assert receipt.removed["onrecord_namespaces"] == 1
        for chat in (adas[0], late):
            assert chat.tail(5) == chat.messages() == []
        assert tables_with(store, needle) == set()
        assert needle.encode() not in in_redis(own_redis.url)
        if database == "sqlite":
            assert receipt.traces is None
        else:  # in what is free of pages that other rows are in
            assert "compact(again=True)" in (receipt.traces or "")
            store.compact(quiet_for=0, again=True)
        assert left(pieces) == []
        assert bobs[0].messages() == said
        assert CheckpointLog(other, user="bob hello").state("graph hello") == state
        assert other.items("facts", "about hello", user="bob hello").list() == items
        assert len(items) == 2
        is_silent(store)
    assert left(pieces) == []


class Signs:
    """An embedder of which every text gets a vector of its own."""

    name, dimensions = "signs", 512

    def embed(self, texts: Sequence[str], /) -> list[list[float]]:
        return [[r.gauss(0, 1) for _ in range(512)] for r in map(Random, texts)]


def search_pieces(store: Store, user: str) -> list[bytes]:
    """Pieces of what is kept to find somebody's words by: signatures of runs, and vectors."""

    def work(txn: Any) -> list[bytes]:
        hers = 'IN (SELECT id FROM {sessions} WHERE "user" = :user)'
        bodies = [
            bytes(body)
            for statement in (
                f"SELECT terms FROM {{runs}} WHERE session {hers}",
                f"SELECT body FROM {{vectors}} WHERE session {hers}",
                "SELECT meaning FROM {items} WHERE meaning IS NOT NULL AND namespace IN "
                '(SELECT id FROM {namespaces} WHERE "user" = :user)',
            )
            for (body,) in txn.rows(statement, {"user": user})
        ]
        assert len(bodies) > 3
        pieces = [piece for body in bodies if len(body) > 28 for piece in slices(body)]
        return [piece for piece in pieces if any(piece)]  # not of a place that is empty

    return store._ledger.read(work)


def in_tables(store: Store, pieces: Sequence[bytes]) -> set[str]:
    """Our tables of which a row holds one of some bytes."""

    def work(txn: Any) -> set[str]:
        return {
            table
            for table in TABLES_OF_ALL
            for row in txn.rows(f"SELECT * FROM {{{table}}}", {})
            for value in row
            if isinstance(value, (bytes, memoryview))
            and any(piece in bytes(value) for piece in pieces)
        }

    return store._ledger.read(work)


@pytest.mark.parametrize("how", ["erased", "thorough later", "pruned"])
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_nothing_by_which_it_was_found_is_left(
    request: pytest.FixtureRequest, own_redis: OwnRedis, tmp_path: Path, database: str, how: str
) -> None:
    """No signature of a run and no vector: of what was said, and of what it was before."""
    path = tmp_path / "x.db"
    url = (
        request.getfixturevalue("postgres_url") if database == "postgresql" else f"sqlite:///{path}"
    )

    def files() -> bytes:
        if database == "sqlite":
            return files_of(path)
        with psycopg.connect(url, autocommit=True) as reader:
            return b"".join(content for _, content in postgres_files(reader))

    with (
        Store(url, cache=own_redis.url, embedder=Signs()) as store,
        Store(url, cache=own_redis.url, embedder=Signs()) as other,
    ):
        for user in ("bob", "ada"):
            for key in ("one", "two"):
                session = store.session(key, user=user)
                session.append([("user", f"{user}{n} " * 3 + key) for n in range(40)])
            store.items("facts", user=user).put("city", f"{user} lives in Lyon")
        store.index()
        store.embed()
        store.items("facts", user="ada").search("Lyon")
        pieces = search_pieces(store, "ada")
        ada = store.session("one", user="ada")
        ada.edit(3, ("user", "ada3 says something else now, and nothing of before"))
        ada.delete(20)
        ada.rewind(35)
        assert other.search("ada3 says", user="ada", limit=50)
        store.index(again=True)
        other.embed()
        store.compact(quiet_for=0)
        pieces += search_pieces(store, "ada")
        found = store.search("bob7", user="bob")
        kept = store.stats(user="bob")
        assert len(in_tables(store, pieces)) >= 2
        content = files()
        assert sum(piece in content for piece in pieces) > 20
        if how == "pruned":
            receipt = store.session("one", user="ada").erase()
            assert receipt.removed["onrecord_runs"] == receipt.removed["onrecord_vectors"] == 3
            store.session("two", user="ada").update(expires_in=timedelta(microseconds=1))
            assert len(store.prune().sessions) == 1
            store.items("facts", user="ada").clear()
        else:
            receipt = store.erase(user="ada", thorough=how == "erased")
            assert receipt.removed["onrecord_runs"] == 6
            assert receipt.removed["onrecord_vectors"] == 6
            assert receipt.removed["onrecord_sessions"] == 2
        assert in_tables(store, pieces) == set()
        gone = store.stats(user="ada")
        assert (gone.unindexed, gone.index_bytes, gone.messages) == (0, 0, 0)
        for each in (store, other):
            for mode in ("text", "both", "meaning"):
                assert each.search("ada3", user="ada", mode=mode) == []
        if how != "erased" or database == "postgresql":
            store.compact(quiet_for=0, again=True)
        content = files()
        assert [piece for piece in pieces if piece in content] == []
        cached = in_redis(own_redis.url)
        assert [piece for piece in pieces if piece in cached] == []
        assert store.search("bob7", user="bob") == found
        assert store.stats(user="bob").index_bytes == kept.index_bytes > 0
        is_silent(store)
    if database == "sqlite":
        content = files()
        assert [piece for piece in pieces if piece in content] == []


def test_a_dictionary_of_unknown_sources_is_named_and_can_be_dropped(
    each_store: Callable[[], Store],
) -> None:
    store = each_store()
    sessions = [store.session(f"{n}", user="bob") for n in range(54)]
    handed_over = store.train([small_talk(f"{n}", 4) for n in range(54)]).dictionary
    assert handed_over is not None
    for n, session in enumerate(sessions):
        session.append(small_talk(f"bob {n}", 4))
    store.compact(quiet_for=0)
    traces = store.erase(user="ada").traces or ""
    assert f"dictionary {handed_over}" in traces
    said = [session.messages() for session in sessions]
    assert store.train().dictionary is not None
    store.compact(quiet_for=0, again=True)
    assert store.stats().dictionaries == 1
    assert f"dictionary {handed_over}" not in (store.erase(user="ada").traces or "")
    assert [session.messages() for session in sessions] == said
    assert store.verify() == []
