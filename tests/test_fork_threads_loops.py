"""One store in a forked child, in many threads, on many event loops, and when these are cut off."""

import asyncio
import ctypes
import linecache
import logging
import os
import select
import signal
import sqlite3
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any, TypeVar

import psycopg
import pytest

from onrecord import Session, Store, Unavailable
from onrecord.ledger.database import group_commit
from onrecord.ledger.database.transaction import Transaction
from onrecord.ledger.sqlite import SqliteLedger
from onrecord.testing import Log, check, load
from onrecord.testing.contract_items import until
from tests.children import PATIENCE, Child

T = TypeVar("T")


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'shared.db'}"
    found: str = request.getfixturevalue("kept_postgres_url")
    return found


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    with Store(url) as store:
        yield store


def texts(session: Session) -> list[str]:
    messages = session.messages()
    assert [message.seq for message in messages] == list(range(1, len(messages) + 1))
    assert session.info().messages == len(messages)
    return [message.text for message in messages]


# -- fork ----------------------------------------------------------------------------------------


def test_parent_and_child_go_on_with_one_store(store: Store) -> None:
    session = store.session("s")
    session.append(("user", "before"))
    assert len(session.tail()) == 1

    def in_child() -> list[str]:
        session.append(("user", "child, sync"))
        asyncio.run(session.aappend(("user", "child, async")))
        return [message.text for message in session.tail()]

    assert Child(in_child).result() == ["before", "child, sync", "child, async"]
    session.append(("user", "parent"))
    child = Child(lambda: session.append(("user", "at once, child"))[0].seq)
    session.append(("user", "at once, parent"))
    child.result()
    asyncio.run(session.aappend(("user", "parent, async")))
    assert [m.text for m in session.tail()] == texts(session)
    assert Counter(texts(session)) == Counter(
        [
            *("before", "child, sync", "child, async", "parent"),
            *("at once, child", "at once, parent", "parent, async"),
        ]
    )


def test_a_store_that_was_not_used_yet_is_used_first_in_the_child(store: Store) -> None:
    session = store.session("s")
    assert Child(lambda: session.append(("user", "child"))[0].seq).result() == 1
    assert session.append(("user", "parent"))[0].seq == 2


def test_a_grandchild_goes_on_as_well(store: Store) -> None:
    session = store.session("s")
    session.append(("user", "parent"))

    def in_child() -> Any:
        session.append(("user", "child"))
        found = Child(lambda: session.append(("user", "grandchild"))[0].seq).result()
        session.append(("user", "child again"))
        return found

    assert Child(in_child).result() == 3
    assert texts(session) == ["parent", "child", "grandchild", "child again"]


def test_a_fork_while_other_threads_are_in_the_middle_of_appends(store: Store) -> None:
    session = store.session("s")
    session.append(("user", "first"))
    begun = threading.Semaphore(0)

    def append_many(n: int) -> None:
        for i in range(25):
            session.append([("user", f"thread {n}.{i}"), ("assistant", f"answer {n}.{i}")])
            begun.release()

    def in_child(n: int) -> list[str]:
        session.append(("user", f"child {n}, sync"))
        asyncio.run(session.aappend(("user", f"child {n}, async")))
        return [message.text for message in session.messages()][:1]

    threads = [threading.Thread(target=append_many, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    children = []
    for n in range(5):
        for _ in range(15):
            assert begun.acquire(timeout=PATIENCE)
        children.append(Child(partial(in_child, n)))
    for child in children:
        assert child.result() == ["first"]
    for thread in threads:
        thread.join(PATIENCE)
    found = texts(session)
    expected = {
        "first",
        *(f"{what} {n}.{i}" for what in ("thread", "answer") for n in range(4) for i in range(25)),
        *(f"child {n}, {how}" for n in range(5) for how in ("sync", "async")),
    }
    assert Counter(found) == Counter(expected)
    for i, text in enumerate(found):
        if text.startswith("thread"):
            assert found[i + 1] == text.replace("thread", "answer")


def test_what_a_child_writes_outlives_the_parents_store(url: str) -> None:
    """SQLite removes its log with the last connection, and has to know of the child's."""
    with Store(url) as store:
        session = store.session("s")
        session.append(("user", "parent"))
        closed, tell = os.pipe()
        written, told = os.pipe()

        def in_child() -> list[int | None]:
            seqs = [session.append(("user", "child, before"))[0].seq]
            os.write(told, b".")
            assert select.select([closed], [], [], PATIENCE)[0]
            return [*seqs, session.append(("user", "child, after"))[0].seq]

        child = Child(in_child)
        assert select.select([written], [], [], PATIENCE)[0]
    os.write(tell, b".")
    assert child.result() == [2, 3]
    for end in (closed, tell, written, told):
        os.close(end)
    with Store(url) as again:
        assert texts(again.session("s")) == ["parent", "child, before", "child, after"]


def test_a_child_that_closes_its_store_leaves_the_parents_alone(store: Store) -> None:
    session = store.session("s")
    session.append(("user", "parent"))

    def in_child() -> None:
        session.append(("user", "child"))
        store.close()

    for n in range(3):
        Child(in_child).result()
        session.append(("user", f"parent {n}"))
    assert texts(session) == [
        *("parent", "child", "parent 0", "child", "parent 1", "child", "parent 2"),
    ]


def refuses(do: Callable[[], Any]) -> str:
    with pytest.raises(Unavailable) as caught:
        do()
    return str(caught.value)


@pytest.mark.parametrize("generations", [1, 2])
def test_a_database_in_memory_does_not_read_as_empty_in_a_child(generations: int) -> None:
    with Store("sqlite://") as store:
        session = store.session("s")
        session.append(("user", "parent"))

        def in_child() -> list[str]:
            return [
                refuses(lambda: session.messages()),
                refuses(lambda: session.tail()),
                refuses(lambda: session.version()),
                refuses(lambda: session.append(("user", "child"))),
                refuses(lambda: asyncio.run(session.aappend(("user", "child")))),
            ]

        def in_grandchild() -> Any:
            return Child(in_child).result()

        told = Child(in_child if generations == 1 else in_grandchild).result()
        assert all("belongs to the process that forked this one" in text for text in told)
        session.append(("user", "parent again"))
        assert texts(session) == ["parent", "parent again"]


# -- threads and loops ---------------------------------------------------------------------------


def use_in_thread(session: Session, log: Log, random: Random) -> None:
    for i in range(10):
        ids = [f"{log.worker}.{i}.{j}" for j in range(random.randint(1, 3))]
        under_way = log.appending(ids)
        stored = session.append([("user", name) for name in ids])
        under_way.acknowledged([message.seq for message in stored])
        n = random.choice((1, 10, 50, 200))
        began = time.monotonic_ns()
        match random.choice(("tail", "window", "messages")):
            case "tail":
                log.read(began, [(m.seq, m.text) for m in session.tail(n)], tail=n)
            case "window":
                window = session.window(messages=n)
                found = [(m.seq, m.text) for m in window]
                log.read(began, found, tail=n, version=window.version)
            case _:
                log.read(began, [(m.seq, m.text) for m in session.messages()])


async def use_in_task(session: Session, log: Log, task: int, random: Random) -> None:
    for i in range(5):
        ids = [f"{log.worker}.{task}.{i}.{j}" for j in range(random.randint(1, 3))]
        under_way = log.appending(ids)
        stored = await session.aappend([("user", name) for name in ids])
        under_way.acknowledged([message.seq for message in stored])
        n = random.choice((1, 10, 50, 200))
        began = time.monotonic_ns()
        match random.choice(("tail", "window", "messages")):
            case "tail":
                log.read(began, [(m.seq, m.text) for m in await session.atail(n)], tail=n)
            case "window":
                window = await session.awindow(messages=n)
                found = [(m.seq, m.text) for m in window]
                log.read(began, found, tail=n, version=window.version)
            case _:
                log.read(began, [(m.seq, m.text) for m in await session.amessages()])


def test_sixteen_threads_and_three_loops_use_one_session(store: Store, tmp_path: Path) -> None:
    session = store.session("s")
    logs = tmp_path / "logs"
    logs.mkdir()
    faults: list[BaseException] = []

    def in_thread(n: int) -> None:
        try:
            with Log(logs / f"thread-{n}.jsonl") as log:
                use_in_thread(session, log, Random(n))
        except BaseException as fault:
            faults.append(fault)

    def in_loop(n: int) -> None:
        async def main(log: Log) -> None:
            await asyncio.gather(
                *(use_in_task(session, log, task, Random(10 * n + task)) for task in range(4))
            )

        try:
            with Log(logs / f"loop-{n}.jsonl") as log:
                asyncio.run(main(log))
        except BaseException as fault:
            faults.append(fault)

    threads = [
        *(threading.Thread(target=in_thread, args=(n,), daemon=True) for n in range(16)),
        *(threading.Thread(target=in_loop, args=(n,), daemon=True) for n in range(3)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert faults == []
    assert [str(violation) for violation in check(load(logs.iterdir()))] == []
    batches = Counter(text.rpartition(".")[0] for text in texts(session))
    assert len(batches) == 16 * 10 + 3 * 4 * 5


def test_one_store_in_loops_that_follow_each_other(store: Store) -> None:
    session = store.session("s")

    async def use(n: int) -> list[int]:
        await asyncio.gather(*(session.aappend(("user", f"{n}.{i}")) for i in range(4)))
        found = [len(await session.atail(50)), len(await session.amessages())]
        return [*found, (await session.ainfo()).messages]

    for n in range(8):
        assert asyncio.run(use(n)) == [4 * n + 4] * 3
    assert sorted(texts(session)) == sorted(f"{n}.{i}" for n in range(8) for i in range(4))


# -- cut off -------------------------------------------------------------------------------------


@contextmanager
def locked(url: str, session: Session) -> Iterator[None]:
    """The session is held by somebody else."""
    if url.startswith("sqlite"):
        other = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            other.execute("ROLLBACK")
            other.close()
    else:
        with psycopg.connect(url) as connection:
            connection.execute(
                "SELECT 1 FROM onrecord_sessions WHERE identity = %s FOR UPDATE",
                [session.name.identity],
            )
            yield
            connection.rollback()


def test_a_loop_that_is_closed_under_an_append(
    url: str, store: Store, recwarn: pytest.WarningsRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    session = store.session("s")
    session.append(("user", "before"))
    batch = [("user", "perhaps 1"), ("assistant", "perhaps 2")]
    loop = asyncio.new_event_loop()
    # Python says of any task that was left behind that it was; that is not ours to hush up.
    loop.set_exception_handler(lambda loop, context: None)
    with locked(url, session):
        task = loop.create_task(session.aappend(batch))
        for _ in range(10):
            loop.run_until_complete(asyncio.sleep(0))
        assert not task.done()
        loop.close()
    # Whatever became of it is over when what came after it has been written.
    session.append(("user", "after"))
    asyncio.run(session.aappend(("user", "after, async")))
    del task
    store.close()  # waits for every thread of the store

    with Store(url) as again:
        found = texts(again.session("s"))
    rest = [text for text in found if not text.startswith("perhaps")]
    assert rest == ["before", "after", "after, async"]
    if len(found) > len(rest):
        i = found.index("perhaps 1")
        assert found[i : i + 2] == ["perhaps 1", "perhaps 2"]
        assert len(found) == 5
    assert [str(warning.message) for warning in recwarn] == []
    warnings = [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]
    assert warnings == []


def test_a_task_that_is_cancelled_in_the_middle_of_an_append(store: Store, tmp_path: Path) -> None:
    session = store.session("s")
    random = Random(5)
    cancelled = 0

    async def append_and_cancel(log: Log, n: int) -> None:
        nonlocal cancelled
        ids = [f"{n}.0", f"{n}.1"]
        under_way = log.appending(ids)
        task = asyncio.ensure_future(session.aappend([("user", name) for name in ids]))
        if random.random() < 0.5:
            for _ in range(random.randint(0, 8)):
                await asyncio.sleep(0)
        else:
            await asyncio.wait([task], timeout=random.random() * 0.004)
        task.cancel()
        try:
            stored = await task
        except asyncio.CancelledError:
            cancelled += 1
        else:
            under_way.acknowledged([message.seq for message in stored])

    async def main(log: Log) -> None:
        await session.aappend(("user", "before"))
        for n in range(0, 160, 4):
            await asyncio.gather(*(append_and_cancel(log, n + i) for i in range(4)))
        began = time.monotonic_ns()
        log.read(began, [(m.seq, m.text) for m in await session.amessages()])

    with Log(tmp_path / "log.jsonl") as log:
        log.appending(["before"])
        asyncio.run(main(log))
        under_way = log.appending(["after"])
        under_way.acknowledged([m.seq for m in session.append(("user", "after"))])
        began = time.monotonic_ns()
        log.read(began, [(m.seq, m.text) for m in session.messages()])
    assert cancelled
    assert [str(violation) for violation in check(load([tmp_path / "log.jsonl"]))] == []
    # Of those cancelled in a thread on PostgreSQL some may still be on their way.
    assert max(Counter(message.text for message in session.messages()).values()) == 1


def test_a_cancelled_append_that_still_waits_is_not_written(tmp_path: Path) -> None:
    """SQLite only: what waits for its turn in this process can be taken back."""
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    with Store(url) as store:
        session = store.session("s")
        session.append(("user", "before"))
        ledger = store._ledger
        assert isinstance(ledger, SqliteLedger)
        assert ledger._writer is not None
        writer = ledger._writer

        async def main() -> None:
            first = asyncio.ensure_future(session.aappend(("user", "first")))
            await asyncio.to_thread(until, lambda: bool(writer._running))
            second = asyncio.ensure_future(session.aappend(("user", "second")))
            third = asyncio.ensure_future(session.aappend(("user", "third")))
            await asyncio.to_thread(until, lambda: len(writer._waiting) == 2)
            second.cancel()
            await asyncio.wait([second])
            other.execute("ROLLBACK")
            await asyncio.gather(first, third)

        other = sqlite3.connect(tmp_path / "shared.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        asyncio.run(main())
        other.close()
        assert texts(session) == ["before", "first", "third"]


# -- interrupts ----------------------------------------------------------------------------------


def in_a_thread(work: Callable[[], T]) -> Callable[[], T]:
    """Begin some work; calling what is returned waits for it and gives what came of it."""
    outcome: list[Callable[[], T]] = []

    def run() -> None:
        try:
            result = work()
        except BaseException as fault:
            caught = fault

            def fail() -> T:
                raise caught

            outcome.append(fail)
        else:
            outcome.append(lambda: result)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def wait() -> T:
        thread.join(PATIENCE)
        assert outcome, "the thread hangs"
        return outcome[0]()

    wait.ident = thread.ident  # type: ignore[attr-defined]
    return wait


def interrupt(waiting: Callable[[], Any]) -> None:
    """As Ctrl-C does, in any thread: KeyboardInterrupt at its next step."""
    ident = ctypes.c_ulong(waiting.ident)  # type: ignore[attr-defined]
    exception = ctypes.py_object(KeyboardInterrupt)
    assert ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, exception) == 1


class Gate:
    """Work for the writer that waits inside the transaction until it is let go."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self._go = threading.Event()

    def work(self, txn: Transaction) -> str:
        self.entered.set()
        assert self._go.wait(PATIENCE)
        return "through"

    def wait(self) -> None:
        assert self.entered.wait(PATIENCE)

    def open(self) -> None:
        self._go.set()


def waiting_for_the_writer(store: Store, count: int) -> None:
    """Until so many jobs wait behind the one that runs."""
    writing: Any = store._ledger._writer  # type: ignore[attr-defined]
    deadline = time.monotonic() + PATIENCE
    while len(writing._waiting) < count:
        assert time.monotonic() < deadline
        threading.Event().wait(0.001)


def test_an_interrupted_leader_does_not_hold_up_the_others(tmp_path: Path) -> None:
    with Store(f"sqlite:///{tmp_path / 'shared.db'}") as store:
        session = store.session("s")
        session.append(("user", "before"))
        gate = Gate()
        leader = in_a_thread(lambda: store._ledger.write(gate.work))
        gate.wait()
        followers = []
        for i in range(5):
            followers.append(in_a_thread(partial(session.append, ("user", f"follower {i}"))))
            waiting_for_the_writer(store, i + 1)
        interrupt(leader)
        gate.open()
        with pytest.raises(KeyboardInterrupt):
            leader()
        assert [len(follower()) for follower in followers] == [1] * 5
        session.append(("user", "after"))
        assert texts(session) == ["before", *(f"follower {i}" for i in range(5)), "after"]


def test_those_in_one_transaction_with_an_interrupted_leader_write_once(tmp_path: Path) -> None:
    with Store(f"sqlite:///{tmp_path / 'shared.db'}") as store:
        session = store.session("s")
        session.append(("user", "before"))
        first, middle = Gate(), Gate()
        before = in_a_thread(lambda: store._ledger.write(first.work))
        first.wait()
        heir = in_a_thread(lambda: session.append(("user", "heir")))
        waiting_for_the_writer(store, 1)
        blocking = in_a_thread(lambda: store._ledger.write(middle.work))
        waiting_for_the_writer(store, 2)
        beside = []
        for i in range(3):
            beside.append(in_a_thread(partial(session.append, ("user", f"beside {i}"))))
            waiting_for_the_writer(store, i + 3)
        first.open()
        assert before() == "through"
        middle.wait()  # the heir runs everybody's work now, in its own thread
        interrupt(heir)
        middle.open()
        with pytest.raises(KeyboardInterrupt):
            heir()
        with pytest.raises(Unavailable) as caught:
            blocking()
        assert caught.value.outcome_unknown
        for append in beside:
            assert len(append()) == 1  # they were looked up, and written again
        session.append(("user", "after"))
        found = Counter(texts(session))
        assert found.pop("heir", 1) == 1
        assert found == Counter(["before", *(f"beside {i}" for i in range(3)), "after"])


@pytest.fixture
def _ctrl_c_is_heard() -> Iterator[None]:
    # A job in the background of a script inherits that it is not.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_ctrl_c_is_heard")
def test_ctrl_c_in_the_main_thread(store: Store) -> None:
    """The signal is handled between two steps of Python; SQLite's and libpq's are not left half."""
    session = store.session("s")
    session.append(("user", "before"))
    append = session.store._ledger.write

    def raise_signal(txn: Transaction) -> None:
        txn.first("SELECT 1", {})
        signal.raise_signal(signal.SIGINT)
        txn.first("SELECT 1", {})

    for _ in range(5):
        with pytest.raises(KeyboardInterrupt):
            append(raise_signal)
        with pytest.raises(KeyboardInterrupt):
            session.store._ledger.read(raise_signal)
    assert in_a_thread(lambda: session.append(("user", "after"))[0].seq)() == 2
    assert texts(session) == ["before", "after"]


WRITER = group_commit.__file__


def interrupted_at(line: int, work: Callable[[], object]) -> bool:
    """Do some work, and raise KeyboardInterrupt at the line-th line that runs in the writer.

    False when the work ended before that line.
    """
    count = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        if frame.f_code.co_filename != WRITER:
            return None
        # Python itself handles no signal between taking a lock and entering its ``with`` block.
        if event == "line" and "with " not in linecache.getline(WRITER, frame.f_lineno):
            count += 1
            if count == line:
                sys.settrace(None)
                raise KeyboardInterrupt
        return trace

    def run() -> None:
        sys.settrace(trace)
        try:
            work()
        finally:
            sys.settrace(None)

    try:
        in_a_thread(run)()
    except KeyboardInterrupt:
        return True
    return False


def in_a_loop(session: Session, batch: list[tuple[str, str]]) -> None:
    asyncio.run(session.aappend(batch))


@pytest.mark.parametrize("how", ["sync", "async"])
def test_an_interrupt_at_any_line_of_the_writer_leaves_it_usable(tmp_path: Path, how: str) -> None:
    # What cannot be written within this time is a writer that nobody leads any more.
    with Store(f"sqlite:///{tmp_path / 'shared.db'}", timeout=2) as store:
        session = store.session("s")
        session.append(("user", "before"))
        line, interrupted = 0, True
        while interrupted:
            line += 1
            batch = [("user", f"{line}.0"), ("user", f"{line}.1")]
            if how == "sync":
                interrupted = interrupted_at(line, partial(session.append, batch))
            else:
                interrupted = interrupted_at(line, partial(in_a_loop, session, batch))
            in_a_thread(partial(session.append, ("user", f"after {line}")))()
        assert line > 10
        found = Counter(texts(session))
        assert max(found.values()) == 1
        for i in range(1, line + 1):
            assert f"after {i}" in found
            assert (f"{i}.0" in found) == (f"{i}.1" in found)
