"""Redis refuses, hangs, talks nonsense, is flushed, restarts empty: slower, never wrong (I9).

An outage costs the first writer that meets it one pause, and everybody else none. How often Redis
is asked and how long is waited is counted, not timed: pauses turn a clock (tests/turned.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import redis as redis_py
import redis.asyncio as redis_asyncio

from onrecord import Message, Misconfigured, Put, Session, Store, Unavailable
from onrecord.cache import CacheUnavailable, round_trips
from onrecord.cache import redis as hot_redis
from onrecord.cache.breaker import Breaker
from onrecord.cache.clients import Clients
from onrecord.cache.lines import Lines
from onrecord.cache.redis import RedisCache
from onrecord.flow import Pause
from onrecord.flows.belief import Patience
from tests.servers.process import free_port
from tests.servers.redis import OwnRedis, RedisServer
from tests.turned import PAUSE, Clock, CutOff, Turned, hits


class Asked:
    """How often Redis was asked for something."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.times = 0
        say, asay, ask = round_trips.say, round_trips.asay, Lines.ask

        def counted(client: Any, asked: Any, key_of: Any) -> Any:
            self.times += 1
            return say(client, asked, key_of)

        async def acounted(client: Any, asked: Any, key_of: Any, within: Any) -> Any:
            self.times += 1
            return await asay(client, asked, key_of, within)

        def looked(lines: Lines, *given: Any) -> Any:
            self.times += 1
            return ask(lines, *given)

        monkeypatch.setattr(hot_redis, "say", counted)
        monkeypatch.setattr(Lines, "ask", looked)
        monkeypatch.setattr(hot_redis, "asay", acounted)

    def since(self) -> int:
        """How often since this was last asked."""
        times, self.times = self.times, 0
        return times


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    return Asked(monkeypatch)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hot_redis, "_PATIENCE", 0)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/x.db"


Opened = Callable[..., Store]


@pytest.fixture
def opened(url: str) -> Iterator[Opened]:
    stores: list[Store] = []

    def open_one(cache: Any, **settings: Any) -> Store:
        stores.append(Store(url, durability="normal", cache=cache, **settings))
        return stores[-1]

    yield open_one
    for store in stores:
        store.close()


def numbers(messages: list[Message]) -> list[str]:
    return [m.text for m in messages]


def everything_works(chat: Session) -> None:
    """Every operation, each with its right answer."""
    chat.clear()
    stored = chat.append([("user", str(n)) for n in range(1, 6)])
    first = stored[0].seq
    assert first == 1
    assert numbers(chat.tail(3)) == ["3", "4", "5"]
    assert numbers(list(chat.window(messages=2))) == ["4", "5"]
    chat.edit(2, ("user", "two"))
    chat.delete(3)
    assert numbers(chat.tail(50)) == ["1", "two", "4", "5"]
    again = {"role": "user", "content": "six", "id": "six"}
    assert chat.append(again) == chat.append(again)
    assert numbers(chat.tail(2)) == ["5", "six"]
    chat.rewind(4)
    assert numbers(chat.tail(50)) == ["1", "two", "4"]
    assert chat.count() == 3
    chat.clear()
    assert chat.tail(50) == []


async def everything_works_awaited(chat: Session) -> None:
    """The same, with await."""
    await chat.aclear()
    await chat.aappend([("user", str(n)) for n in range(1, 6)])
    assert numbers(await chat.atail(3)) == ["3", "4", "5"]
    assert numbers(list(await chat.awindow(messages=2))) == ["4", "5"]
    await chat.aedit(2, ("user", "two"))
    await chat.adelete(3)
    assert numbers(await chat.atail(50)) == ["1", "two", "4", "5"]
    await chat.arewind(4)
    assert numbers(await chat.atail(50)) == ["1", "two", "4"]
    await chat.aclear()
    assert await chat.atail(50) == []


def opening(log: pytest.LogCaptureFixture) -> int:
    return sum("left alone" in r.getMessage() for r in log.records)


def closing(log: pytest.LogCaptureFixture) -> int:
    return sum("is back" in r.getMessage() for r in log.records)


# -- not there ---------------------------------------------------------------------------------


@contextlib.contextmanager
def refusing() -> Iterator[str]:
    yield f"redis://127.0.0.1:{free_port()}/0"


@contextlib.contextmanager
def silent() -> Iterator[str]:
    """Takes connections and never answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(64)
        yield f"redis://127.0.0.1:{listening.getsockname()[1]}/0"


GONE: Final = {"refusing": refusing, "silent": silent}


ONCE: Final = Patience().marking + Patience().waits
"""What the first writer waits who meets an outage: as long as it tries, and as long as anybody may
still believe in what it cannot mark."""
A_TRY: Final = 0.3
"""The last pause between two tries, and as much for the time that these take."""


@pytest.fixture
def quickly_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hot_redis, "CALL_TIMEOUT", 0.05)


@pytest.mark.usefixtures("quickly_given_up")
@pytest.mark.parametrize("face", ["sync", "async"])
@pytest.mark.parametrize("how", GONE)
def test_an_outage_costs_one_pause(
    opened: Opened, asked: Asked, caplog: pytest.LogCaptureFixture, how: str, face: str
) -> None:
    """And one line in the log. Three failures in a row open the breaker: one may be a stall."""
    with GONE[how]() as nowhere, asyncio.Runner() as runner:
        store = opened(nowhere)
        turned = Turned(store)
        chat = store.session("k")

        def everything() -> None:
            if face == "sync":
                everything_works(chat)
            else:
                runner.run(everything_works_awaited(chat))

        everything()
        assert Patience().waits <= turned.since() <= ONCE + A_TRY
        assert 3 <= asked.since() <= 16
        assert (opening(caplog), closing(caplog)) == (1, 0)
        everything()
        assert asked.since() == 0
        for _ in range(3):
            turned.clock.now += PAUSE
            everything()
            assert asked.since() == 1, "one try a while"
        assert turned.since() == 0.0, "nobody waits again"
        assert opening(caplog) == 1, "said once"
        assert store._hot.left_alone
        health = runner.run(store.ahealth()) if face == "async" else store.health()
        assert health.cache is not None
        assert not health.cache.ok
        runner.run(store.aclose())


def test_64_tasks_at_once_ask_hardly_more_than_one(
    opened: Opened, asked: Asked, caplog: pytest.LogCaptureFixture
) -> None:
    async def main(nowhere: str) -> None:
        store = opened(nowhere)
        turned = Turned(store)
        chat = store.session("k")
        await chat.aappend(("user", "one"))
        asked.since()
        turned.since()
        await asyncio.gather(*(chat.atail(5) for _ in range(32)))
        await asyncio.gather(*(chat.aappend(("user", "x")) for _ in range(32)))
        assert asked.since() == 0
        assert turned.since() == 0.0
        assert await chat.acount() == 33
        await store.aclose()

    with refusing() as nowhere:
        asyncio.run(main(nowhere))
    assert opening(caplog) == 1


def test_64_tasks_that_meet_an_outage_together_wait_together(
    opened: Opened, asked: Asked, caplog: pytest.LogCaptureFixture
) -> None:
    """One bounded pause for the process, whoever of them is first."""

    async def main(nowhere: str) -> None:
        store = opened(nowhere)
        turned = Turned(store)
        perform = store._aperform
        longest: dict[asyncio.Task[Any] | None, float] = {}

        async def counted(step: Any) -> Any:
            if isinstance(step, Pause):
                task = asyncio.current_task()
                before = turned.clock.now
                await perform(step)
                # They wait at once: a pause of one is no longer than that of another.
                turned.clock.now = max(before, began + longest.get(task, 0.0) + step.seconds)
                longest[task] = longest.get(task, 0.0) + step.seconds
                await asyncio.sleep(0)
                return None
            return await perform(step)

        store._aperform = counted  # type: ignore[method-assign]
        began = turned.clock.now
        await asyncio.gather(*(store.session(f"{n}").aappend(("user", "x")) for n in range(64)))
        assert max(longest.values()) <= 2 * ONCE, "together, not one after the other"
        assert [await store.session(f"{n}").acount() for n in range(64)] == [1] * 64
        await store.aclose()

    with refusing() as nowhere:
        asyncio.run(main(nowhere))
    assert opening(caplog) == 1


@pytest.mark.parametrize("how", ["stopped", "paused"])
def test_gone_and_back(
    opened: Opened,
    own_redis: OwnRedis,
    asked: Asked,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
) -> None:
    monkeypatch.setattr(hot_redis, "CALL_TIMEOUT", 0.2)
    store = opened(own_redis.url, revalidate=1e6)
    turned = Turned(store)
    chat = store.session("k")
    chat.append([("user", "1"), ("user", "2")])
    assert hits(store, lambda: chat.tail(5)) == 1, "warm from its first append"
    if how == "stopped":
        own_redis.stop()
    else:
        own_redis.pause()
    asked.since()
    chat.append(("user", "3"))
    assert turned.since() <= ONCE + A_TRY
    assert numbers(chat.tail(5)) == ["1", "2", "3"]
    chat.delete(1)
    assert numbers(chat.tail(5)) == ["2", "3"]
    assert turned.since() == 0.0
    assert (opening(caplog), closing(caplog)) == (1, 0)
    if how == "stopped":
        own_redis.start()
    else:
        own_redis.resume()
    asked.since()
    assert numbers(chat.tail(5)) == ["2", "3"]
    assert asked.since() == 0, "not before its time"
    turned.clock.now += PAUSE
    assert numbers(chat.tail(5)) == ["2", "3"]
    assert asked.since() >= 1
    assert (opening(caplog), closing(caplog)) == (1, 1)
    hot_again = store.health().counters.hits
    for _ in range(5):
        assert numbers(chat.tail(5)) == ["2", "3"]
    health = store.health()
    assert health.counters.hits == hot_again, "it is there, and still switched off"
    assert health.cache is not None
    assert "switched off for all processes" in (health.cache.problem or "")
    turned.clock.now += turned.belief.patience.resume_after
    if how == "stopped":
        assert store.health().ok, "to ask for its health is enough where nobody reads"
        assert store._belief.on is not None
    assert hits(store, lambda: numbers(chat.tail(5))) <= 4
    assert numbers(chat.tail(5)) == ["2", "3"]
    everything_works(chat)
    assert turned.since() == 0.0
    assert (opening(caplog), closing(caplog)) == (1, 1)


def test_what_one_statement_cannot_do_is_done_while_the_cache_is_off(
    kept_postgres_url: str,
) -> None:
    """On PostgreSQL a statement that fails takes the transaction with it that holds the
    suspension: ids that are said again (I5), and a namespace that is not there yet."""
    with Store(kept_postgres_url, cache=f"redis://127.0.0.1:{free_port()}/0") as store:
        store._desk.belief.patience = Patience(0.1, 0.05, 600.0)
        session = store.session("s", user="u")
        session.append(("user", "one"))
        assert store._desk.belief.off is not None
        said = {"role": "user", "content": "two", "id": "two"}
        first = session.append(said)
        assert session.append(said) == first
        session.append(("user", "three"), items=[Put("new", "k", 3)])
        item = store.items("new", user="u").get("k")
        assert item is not None
        assert item.value == 3
        assert session.count() == 3


def test_flushed_and_restarted_empty(opened: Opened, own_redis: OwnRedis) -> None:
    store = opened(own_redis.url)
    turned = Turned(store)
    chat = store.session("k")
    with redis_py.Redis.from_url(own_redis.url) as client:
        for n in range(1, 5):
            chat.append(("user", str(n)))
            assert len(chat.tail(50)) == n
            client.flushall()
            assert len(chat.tail(50)) == n
    own_redis.restart()
    everything_works(chat)
    turned.clock.now += PAUSE
    everything_works(chat)
    assert not store._hot.left_alone
    assert turned.paused < Patience().marking, "the cache was never switched off"


# -- cut off -----------------------------------------------------------------------------------


@pytest.fixture
def cut_off(monkeypatch: pytest.MonkeyPatch) -> CutOff:
    return CutOff(monkeypatch)


def two(opened: Opened, cache: str) -> tuple[Turned, Turned]:
    """Two processes on one clock. Both may believe an entry for ever, as far as its age goes."""
    clock = Clock()
    one, other = (Turned(opened(cache, revalidate=1e6), clock) for _ in range(2))
    return one, other


def hot(store: Store, *keys: str) -> None:
    for key in keys:
        hits(store, lambda key=key: store.session(key).tail(50))  # type: ignore[misc]


def test_what_is_written_while_cut_off_is_never_missed(
    opened: Opened, redis_server: RedisServer, cut_off: CutOff
) -> None:
    """The writer waits until nobody believes in the cache any more, and answers then."""
    one, other = two(opened, redis_server.url)
    keys = [f"k{n}" for n in range(5)]
    for key in keys:
        one.store.session(key).append([("user", "1"), ("user", "2")])
    hot(other.store, *keys)
    again = cut_off(one.store)
    one.store.session("k0").append(("user", "3"))
    assert one.since() >= Patience().waits
    one.store.session("k1").edit(1, ("user", "one"))
    one.store.session("k2").delete(1)
    one.store.session("k3").clear()
    assert one.since() == 0.0, "one pause for all of them"

    def agree() -> None:
        for key in keys:
            assert numbers(other.store.session(key).tail(50)) == numbers(
                other.store.session(key).messages()
            )
            assert one.store.session(key).tail(50) == other.store.session(key).tail(50)

    before = other.store._hot.counters.hits
    agree()
    again()
    agree()
    assert other.store._hot.counters.hits == before, "switched off for everybody"
    other.clock.now += Patience().resume_after + PAUSE
    for _ in range(4):
        agree()
        other.clock.now += Patience().believed_for
    hot(other.store, *keys)
    hot(one.store, *keys)
    agree()
    one.store.session("k0").append(("user", "4"))
    agree()
    assert one.since() == other.since() == 0.0


def test_who_believes_at_the_last_moment_is_waited_for(
    opened: Opened, redis_server: RedisServer, cut_off: CutOff
) -> None:
    """Nobody who reads while the writer waits, or after it was answered, is a step behind."""
    one, other = two(opened, redis_server.url)
    chat = one.store.session("k")
    chat.append(("user", "1"))
    hot(other.store, "k")
    cut_off(one.store)
    perform = one.store._perform
    seen: list[tuple[int, int]] = []

    def between(step: Any) -> Any:
        answer = perform(step)
        with_sql = other.store.session("k")
        seen.append((len(with_sql.tail(5)), len(with_sql.messages())))
        return answer

    one.store._perform = between  # type: ignore[method-assign]
    chat.append(("user", "2"))
    assert all(tail == truth for tail, truth in seen), seen
    assert {truth for _, truth in seen} == {1, 2}


def test_an_entry_of_before_the_outage_is_worth_nothing(
    opened: Opened, redis_server: RedisServer, cut_off: CutOff, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where Redis goes away again in the middle of being taken up."""
    one, other = two(opened, redis_server.url)
    keys = [f"k{n}" for n in range(4)]
    for key in keys:
        one.store.session(key).append(("user", "1"))
    hot(other.store, *keys)
    again = cut_off(one.store)
    for key in keys:
        one.store.session(key).append(("user", "2"))
    again()
    say = round_trips.say
    left = 2

    def failing(client: Any, request: Any, key_of: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise redis_py.ConnectionError("gone again")
        return say(client, request, key_of)

    one.clock.now += Patience().resume_after + PAUSE
    with monkeypatch.context() as patch:
        patch.setattr(hot_redis, "say", failing)
        for key in keys:
            assert len(one.store.session(key).tail(5)) == 2
            assert len(other.store.session(key).tail(5)) == 2
    for _ in range(6):
        one.clock.now += Patience().believed_for
        for key in keys:
            assert len(other.store.session(key).tail(5)) == 2
            assert len(one.store.session(key).tail(5)) == 2
    hot(other.store, *keys)


def test_a_cancelled_task_leaves_the_cache_off_or_on(
    opened: Opened, redis_server: RedisServer, cut_off: CutOff, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was the one that asked whether Redis is back: the next one asks again."""
    one, other = two(opened, redis_server.url)
    one.store.session("k").append(("user", "1"))
    hot(other.store, "k")
    again = cut_off(one.store)
    one.store.session("k").append(("user", "2"))
    again()

    async def main() -> None:
        began = asyncio.Event()

        async def never(client: Any, request: Any, key: str, within: Any) -> Any:
            began.set()
            await asyncio.Event().wait()

        one.clock.now += Patience().resume_after + PAUSE
        with monkeypatch.context() as patch:
            patch.setattr(hot_redis, "asay", never)
            task = asyncio.create_task(one.store.session("k").atail(5))
            await began.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        for _ in range(5):
            one.clock.now += PAUSE
            assert len(await one.store.session("k").atail(5)) == 2
        await one.store.aclose()

    asyncio.run(main())
    assert one.store._belief.on is not None
    for _ in range(3):
        assert len(other.store.session("k").tail(5)) == 2


def test_an_append_that_was_looked_up_while_cut_off_is_not_missed(
    opened: Opened, redis_server: RedisServer, cut_off: CutOff, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = two(opened, redis_server.url)
    one.store.session("k").append(("user", "1"))
    hot(other.store, "k")
    cut_off(one.store)
    one.store.session("k").append(("user", "2"))
    write = one.store._ledger.write
    lost = False

    def losing(work: Any, durable: bool) -> Any:
        nonlocal lost
        answer = write(work, durable)
        if not lost:
            lost = True
            raise Unavailable("the answer was lost", outcome_unknown=True)
        return answer

    monkeypatch.setattr(one.store._ledger, "write", losing)
    one.store.session("k").append(("user", "3"))
    assert numbers(other.store.session("k").tail(5)) == ["1", "2", "3"]
    assert one.since() <= ONCE + A_TRY


# -- nonsense ----------------------------------------------------------------------------------


class Nonsense:
    """Speaks enough of Redis' protocol to be asked, and answers every script the same."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.asked = 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listening.getsockname()[1]}/0"
        self._connections: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                self._connections.append(connection)
                thread = threading.Thread(target=self._talk, args=(connection,))
                self._threads.append(thread)
                thread.start()

    def _talk(self, connection: socket.socket) -> None:
        with (
            contextlib.suppress(OSError, ValueError),
            connection,
            connection.makefile("rb") as said,
        ):
            while line := said.readline():
                command = b""
                for n in range(int(line[1:])):
                    size = int(said.readline()[1:])
                    word = said.read(size + 2)[:-2]
                    command = word if n == 0 else command
                if command.upper() in (b"EVALSHA", b"EVAL"):
                    self.asked += 1
                    if not self.answer:
                        return
                    connection.sendall(self.answer)
                elif command.upper() == b"HELLO":
                    connection.sendall(b"%1\r\n$5\r\nproto\r\n:3\r\n")
                else:
                    connection.sendall(b"+OK\r\n")

    def close(self) -> None:
        # Closing alone does not wake who waits in accept().
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        for connection in self._connections:
            connection.close()


REFUSALS: Final = {
    "an error": b"-ERR nonsense\r\n",
    "read only": b"-READONLY You can't write against a read only replica.\r\n",
    "out of memory": b"-OOM command not allowed when used memory > 'maxmemory'.\r\n",
    "no permission": b"-NOPERM this user has no permissions\r\n",
    "no script, ever": b"-NOSCRIPT No matching script.\r\n",
    "busy": b"-BUSY Redis is busy running a script.\r\n",
}
BREAKS: Final = {
    "loading": b"-LOADING Redis is loading the dataset in memory\r\n",
    "another protocol": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "it hangs up": b"",
}


def look_answer(lineage: bytes = b"1", head: int = 1, *messages: bytes) -> bytes:
    """What LOOK answers of a hit, as Redis would send it."""
    found: list[int | bytes] = [1, b"nonce", 0, 1, b"run", b"1", 1, 0, head, lineage, b"1", 0]
    said = b"*13\r\n"
    for part in found:
        said += b":%d\r\n" % part if isinstance(part, int) else b"$%d\r\n%b\r\n" % (len(part), part)
    said += b"*%d\r\n" % len(messages)
    return said + b"".join(b"$%d\r\n%b\r\n" % (len(message), message) for message in messages)


WRONG_TYPES: Final = {
    "a string": b"+PONG\r\n",
    "a number": b":1\r\n",
    "nothing": b"_\r\n",
    "an empty list": b"*0\r\n",
    "bytes": b"$5\r\n\xff\xfe\x00ab\r\n",
    "too short": b"*2\r\n:1\r\n:2\r\n",
    "a list of strings": b"*13\r\n" + b"$1\r\nx\r\n" * 13,
    "a hit with garbage": look_answer(b"1", 1, b"\xff\x00\xff"),
    "a hit without messages": look_answer(b"-", -1),
    "a lineage that is no number": look_answer(b"zz"),
}


@pytest.fixture
def nonsense() -> Iterator[Callable[[bytes], Nonsense]]:
    servers: list[Nonsense] = []

    def start(answer: bytes) -> Nonsense:
        servers.append(Nonsense(answer))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def works_beside(opened: Opened, server: Nonsense) -> Store:
    store = opened(server.url)
    Turned(store)
    everything_works(store.session("k"))
    assert server.asked > 0
    store.close()

    async def main() -> None:
        other = opened(server.url)
        Turned(other)
        await everything_works_awaited(other.session("k"))
        await other.aclose()

    asyncio.run(main())
    return store


@pytest.mark.parametrize("what", REFUSALS)
def test_a_redis_that_refuses(
    opened: Opened, nonsense: Callable[[bytes], Nonsense], what: str
) -> None:
    store = works_beside(opened, nonsense(REFUSALS[what]))
    assert not store._hot.left_alone, "it does answer"


@pytest.mark.parametrize("what", BREAKS)
def test_a_redis_that_breaks_off(
    opened: Opened,
    nonsense: Callable[[bytes], Nonsense],
    caplog: pytest.LogCaptureFixture,
    what: str,
) -> None:
    server = nonsense(BREAKS[what])
    store = works_beside(opened, server)
    assert store._hot.left_alone
    assert server.asked <= 2 * 16, "until it is given up, and no more"
    assert opening(caplog) == 2


@pytest.mark.parametrize("what", WRONG_TYPES)
def test_a_redis_that_answers_something_else(
    opened: Opened, nonsense: Callable[[bytes], Nonsense], what: str
) -> None:
    works_beside(opened, nonsense(WRONG_TYPES[what]))


def test_a_damaged_entry(opened: Opened, redis_server: RedisServer) -> None:
    store = opened(redis_server.url, revalidate=1e6)
    expected = store.session("k").append([("user", "1"), ("user", "2")])
    hot(store, "k")
    key = f"onrecord:{store._ledger.cache_id()}:{store.session('k').name.identity.hex()}"
    with redis_py.Redis.from_url(redis_server.url) as client:
        client.lset(key, 1, b"\xff\x00")
    assert opened(redis_server.url).session("k").tail(5) == expected


# -- clients, loops, settings ------------------------------------------------------------------


def test_many_loops_one_after_the_other(opened: Opened, redis_server: RedisServer) -> None:
    store = opened(redis_server.url)

    async def use(n: int) -> None:
        chat = store.session("k")
        await chat.aappend(("user", str(n)))
        assert len(await chat.atail(50)) == n + 1

    for n in range(5):
        asyncio.run(use(n))
        gc.collect()  # a connection left open would warn, and warnings are errors
        assert len(store.session("k").tail(50)) == n + 1
    assert not store._hot.left_alone


def test_loops_that_are_gone_are_not_kept(opened: Opened, redis_server: RedisServer) -> None:
    store = opened(redis_server.url)
    for n in range(3):
        asyncio.run(store.session("k").aappend(("user", str(n))))
    gc.collect()
    cache = store._hot
    assert isinstance(cache, RedisCache)
    assert len(cache._clients._loops) <= 1


def test_a_loop_that_is_closed_without_ceremony(opened: Opened, redis_server: RedisServer) -> None:
    store = opened(redis_server.url)
    for n in range(3):
        loop = asyncio.new_event_loop()
        try:
            loop.run_until_complete(store.session("k").aappend(("user", str(n))))
            assert len(loop.run_until_complete(store.session("k").atail(5))) == n + 1
        finally:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()
        gc.collect()
    assert not store._hot.left_alone


def test_two_loops_at_once(opened: Opened, redis_server: RedisServer) -> None:
    store = opened(redis_server.url)

    async def use(who: str) -> None:
        for n in range(20):
            await store.session(who).aappend(("user", str(n)))
            assert len(await store.session(who).atail(50)) == n + 1

    threads = [threading.Thread(target=lambda w=who: asyncio.run(use(w))) for who in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [store.session(who).count() for who in "abc"] == [20, 20, 20]
    assert not store._hot.left_alone


def test_who_is_interrupted_leaves_no_answer_to_the_next(redis_server: RedisServer) -> None:
    client = Clients(redis_server.url, timeout=5).sync()
    parse = client.parse_response

    def interrupted(*given: Any, **options: Any) -> Any:
        raise KeyboardInterrupt

    client.parse_response = interrupted
    with pytest.raises(KeyboardInterrupt):
        client.echo(b"of the first")
    client.parse_response = parse
    assert client.echo(b"of the second") == b"of the second"
    client.close()


@pytest.mark.parametrize("said_so", [True, False])
def test_who_traces_redis_py_traces_the_cache(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said_so: bool
) -> None:
    plain: Any = redis_py.Redis.execute_command
    traced: list[Any] = []

    def tracing(self: Any, *asked: Any, **options: Any) -> Any:
        traced.append(asked[0])
        return plain(self, *asked, **options)

    method = functools.wraps(plain)(tracing) if said_so else tracing
    monkeypatch.setattr(redis_py.Redis, "execute_command", method)
    with Store(f"sqlite:///{tmp_path / 'x.db'}", cache=redis_server.url) as store:
        items = store.items("n")
        items.put("k", 1)
        items.get("k")
        traced.clear()
        items.get("k")
        assert traced == ["EVALSHA"], "also what is asked on a connection that is kept"


def test_borrowed_clients_are_not_closed(opened: Opened, redis_server: RedisServer) -> None:
    async def main() -> None:
        client = redis_py.Redis.from_url(redis_server.url, socket_timeout=5)
        async_client = redis_asyncio.Redis.from_url(redis_server.url, socket_timeout=5)
        store = opened((client, async_client))
        chat = store.session("k")
        for n in range(1, 4):
            chat.append(("user", "x"))
            assert len(chat.tail(50)) == 2 * n - 1
            await chat.aappend(("user", "y"))
            assert len(await chat.atail(50)) == 2 * n
        for _ in range(3):
            await chat.atail(5)
        assert store.health().counters.hits > 0
        connections = len(client.connection_pool._available_connections)
        await store.aclose()
        store.close()
        assert len(client.connection_pool._available_connections) == connections > 0
        assert client.ping()
        assert await async_client.ping()
        client.close()
        await async_client.aclose()

    asyncio.run(main())


@pytest.mark.parametrize("what", ["scheme", "sync call"])
def test_a_cache_that_cannot_work_is_said_to_be(opened: Opened, what: str) -> None:
    if what == "scheme":
        with pytest.raises(Misconfigured, match="scheme"):
            opened("http://127.0.0.1:1").session("k").tail(5)
        return
    client = redis_asyncio.Redis.from_url("redis://127.0.0.1:1")
    with pytest.raises(Misconfigured, match="Pass both"):
        opened(client).session("k").append(("user", "x"))


def test_publish_never_fails_an_append(
    opened: Opened, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(redis_server.url)
    Turned(store)
    say = round_trips.say

    def failing(client: Any, request: Any, key_of: Any) -> Any:
        if request.script.name == "publish":
            raise redis_py.TimeoutError("slow")
        return say(client, request, key_of)

    monkeypatch.setattr(hot_redis, "say", failing)
    for n in range(1, 4):
        assert [m.seq for m in store.session(f"{n}").append([("user", "1"), ("user", "2")])] == [
            1,
            2,
        ]
        assert numbers(store.session(f"{n}").tail(5)) == ["1", "2"]


def test_the_breaker() -> None:
    clock = Clock(0.0)
    breaker = Breaker(1.0, clock=clock)
    log = logging.getLogger("onrecord")
    log.disabled = True
    try:
        assert breaker.allows()
        assert not breaker.succeeded()
        breaker.failed("a stall")
        breaker.failed("a stall")
        assert breaker.allows()
        assert not breaker.open
        assert not breaker.succeeded(), "nothing to close"
        for _ in range(3):
            assert breaker.allows()
            breaker.failed("why")
        assert breaker.open
        assert not breaker.allows()
        clock.now = 1.0
        assert breaker.allows(), "one"
        assert not breaker.allows(), "and no other while it is under way"
        breaker.failed("again")
        clock.now = 1.9
        assert not breaker.allows()
        clock.now = 2.0
        assert breaker.allows()
        assert breaker.succeeded()
        assert not breaker.open
        assert breaker.allows()
        assert breaker.allows()
    finally:
        log.disabled = False


assert issubclass(CacheUnavailable, Exception)
