"""SQLite commits together: who waits shares a commit, and nobody shares a failure."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine

from onrecord import Store, Unavailable
from onrecord.ledger.database.dialect import Dialect
from onrecord.ledger.database.gate import Gate
from onrecord.ledger.database.group_commit import MOST_TOGETHER, GroupCommit
from onrecord.ledger.database.tally import Tally
from onrecord.ledger.database.transaction import Transaction
from onrecord.ledger.sessions.dictionaries import Dictionaries
from onrecord.ledger.sqlite import SqliteLedger


class Recorded:
    """A database, and what was said to it about transactions."""

    def __init__(self, file: Path) -> None:
        self.connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
        self.connection.execute("CREATE TABLE t (n INTEGER UNIQUE)")
        self.said: list[str] = []
        self.connection.set_trace_callback(self.said.append)

    def count(self, statement: str) -> int:
        return self.said.count(statement)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Recorded]:
    database = Recorded(tmp_path / "x.db")
    yield database
    database.connection.close()


def writer_on(database: Recorded, patience: float = 10) -> GroupCommit:
    cursor = database.connection.cursor()
    return GroupCommit(
        lambda durable: Transaction(cursor, Dialect("sqlite"), None, Dictionaries("none")),
        lambda fault, unknown: fault,
        Gate(10),
        patience,
        Tally(),
    )


def _synchronous(txn: Transaction) -> int:
    (level,) = txn.rows("PRAGMA synchronous", {})[0]
    return int(level)


FULL, NORMAL = 2, 1


def test_a_commit_that_need_not_last_waits_for_no_disk(tmp_path: Path) -> None:
    """But for the others in its transaction."""
    with Store(f"sqlite:///{tmp_path / 'x.db'}") as store:
        ledger = store._ledger
        assert ledger.write(_synchronous) == FULL
        assert ledger.write(_synchronous, durable=False) == NORMAL
        assert asyncio.run(ledger.awrite(_synchronous, durable=False)) == NORMAL
        assert asyncio.run(ledger.awrite(_synchronous)) == FULL
        assert _together(store, False, True) == [FULL, FULL]
        assert _together(store, False, False) == [NORMAL, NORMAL]
    with Store(f"sqlite:///{tmp_path / 'x.db'}", durability="normal") as store:
        assert store._ledger.write(_synchronous) == NORMAL
        assert store._ledger.write(_synchronous, durable=False) == NORMAL


def _together(store: Store, *durable: bool) -> list[int]:
    """Write several in one transaction: all wait for whoever leads."""
    ledger, held, go, found = store._ledger, threading.Event(), threading.Event(), list[int]()
    assert isinstance(ledger, SqliteLedger)
    assert ledger._writer is not None

    def hold(txn: Transaction) -> None:
        held.set()
        assert go.wait(10)

    def write(one: bool) -> None:
        found.append(ledger.write(_synchronous, one))

    threads = [threading.Thread(target=ledger.write, args=(hold,))]
    threads[0].start()
    assert held.wait(10)
    threads += [threading.Thread(target=write, args=(one,)) for one in durable]
    for thread in threads[1:]:
        thread.start()
    while len(ledger._writer._waiting) < len(durable):
        pass
    go.set()
    for thread in threads:
        thread.join(10)
    return found


def test_a_callers_connection_waits_again(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'x.db'}")
    with Store(engine=engine) as store:
        assert store._ledger.write(_synchronous, durable=False) == NORMAL
    with engine.connect() as one, engine.connect() as two, engine.connect() as three:
        levels = [each.exec_driver_sql("PRAGMA synchronous").scalar() for each in (one, two, three)]
    assert levels == [FULL] * 3
    engine.dispose()


def test_who_is_interrupted_waits_for_the_disk_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store(f"sqlite:///{tmp_path / 'x.db'}") as store:
        ledger = store._ledger
        assert isinstance(ledger, SqliteLedger)
        assert ledger.write(_synchronous) == FULL
        held = ledger._writing
        assert held is not None

        class Interrupted:
            def execute(self, statement: str) -> Any:
                done = cursor.execute(statement)
                if "synchronous" in statement:
                    raise KeyboardInterrupt
                return done

        cursor = held.cursor
        with monkeypatch.context() as patch:
            patch.setattr(held, "cursor", Interrupted())
            with pytest.raises(KeyboardInterrupt):
                held.wait_for_disk(False)
        assert ledger.write(_synchronous) == FULL


def test_without_a_log_each_commit_waits(tmp_path: Path) -> None:
    """There a file would be damaged where the power fails."""
    with Store(f"sqlite:///{tmp_path / 'x.db'}") as store:
        store.session("a").append(("user", "one"))
        ledger = store._ledger
        assert isinstance(ledger, SqliteLedger)
        ledger._writing_cursor().execute("PRAGMA journal_mode = DELETE")
        assert ledger.write(_synchronous, durable=False) == FULL


def test_a_commit_on_postgresql_that_need_not_last(postgres_url: str) -> None:
    def level(txn: Transaction) -> object:
        txn.begin()
        return txn.rows("SHOW synchronous_commit", {})[0][0]

    with Store(postgres_url) as store:
        usual = store._ledger.write(level)
        assert usual != "off"
        assert store._ledger.write(level, durable=False) == "off"
        assert asyncio.run(store._ledger.awrite(level, durable=False)) == "off"
        assert store._ledger.write(level) == usual


@pytest.fixture
def writer(database: Recorded) -> GroupCommit:
    return writer_on(database)


def insert(n: int) -> Callable[[Transaction], int]:
    def work(txn: Transaction) -> int:
        txn.run("INSERT INTO t VALUES (:n)", {"n": n})
        return n

    return work


def stored(database: Recorded) -> set[int]:
    return {row[0] for row in database.connection.execute("SELECT n FROM t")}


def _until_somebody_waits(writer: GroupCommit, count: int = 1) -> None:
    while len(writer._waiting) < count:
        threading.Event().wait(0.001)


def all_at_once(
    writer: GroupCommit,
    works: list[Callable[[Transaction], Any]],
    others: Sequence[Callable[[], Any]] = (),
) -> list[int | BaseException]:
    """Hold the leader until every other work waits, then let it go."""
    calls: list[Callable[[], Any]] = [*[partial(writer.run, work) for work in works], *others]
    answers: list[int | BaseException] = [0] * len(calls)
    entered, go = threading.Event(), threading.Event()

    def hold(txn: Transaction) -> None:
        entered.set()
        assert go.wait(10)

    def call(i: int) -> None:
        try:
            answers[i] = calls[i]()
        except BaseException as fault:  # handed to the test
            answers[i] = fault

    threads = [threading.Thread(target=writer.run, args=(hold,))]
    threads[0].start()
    assert entered.wait(10)
    threads += [threading.Thread(target=call, args=(i,)) for i in range(len(calls))]
    for thread in threads[1:]:
        thread.start()
    _until_somebody_waits(writer, len(calls))
    go.set()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    return answers


def test_who_waits_shares_one_commit(writer: GroupCommit, database: Recorded) -> None:
    assert all_at_once(writer, [insert(n) for n in range(64)]) == list(range(64))
    assert database.count("COMMIT") == 2
    assert database.count("BEGIN IMMEDIATE") == 2
    assert database.count("SAVEPOINT job") == 0  # nobody fails
    assert stored(database) == set(range(64))


def test_a_lone_work_needs_no_savepoint(writer: GroupCommit, database: Recorded) -> None:
    assert writer.run(insert(1)) == 1
    said = [statement for statement in database.said if "INSERT" not in statement]
    assert said == ["BEGIN IMMEDIATE", "COMMIT"]


def test_a_failure_is_rolled_back_alone(writer: GroupCommit, database: Recorded) -> None:
    def fail(txn: Transaction) -> None:
        insert(500)(txn)
        raise LookupError("mine")

    answers = all_at_once(writer, [insert(1), fail, insert(1), insert(2)])
    assert answers[3] == 2
    assert isinstance(answers[1], LookupError)
    assert sum(isinstance(answers[i], sqlite3.IntegrityError) for i in (0, 2)) == 1
    assert stored(database) == {1, 2}
    with pytest.raises(LookupError):
        writer.run(fail)
    assert stored(database) == {1, 2}
    assert not database.connection.in_transaction


def test_who_reads_in_memory_is_not_asked_again_because_a_write_fails() -> None:
    """An export reads beside writes there, and cannot write to its file twice."""
    asked: list[str] = []

    def fail(txn: Transaction) -> None:
        raise LookupError("mine")

    with Store("sqlite://") as store:
        ledger = store._ledger
        ledger.open()
        assert isinstance(ledger, SqliteLedger)
        assert ledger._writer is not None
        reads = [lambda: ledger.read(lambda txn: asked.append("read"))]
        reads += [lambda: ledger.read_alone(lambda txn: asked.append("alone"))]
        reads += [lambda: asyncio.run(ledger.aread(lambda txn: asked.append("async")))]
        answers = all_at_once(ledger._writer, [fail, fail, fail], reads)
    assert all(isinstance(one, LookupError) for one in answers[:3])
    assert sorted(asked) == ["alone", "async", "read"]


def test_a_transaction_given_up_by_sqlite_is_done_again_one_by_one(
    writer: GroupCommit, database: Recorded
) -> None:
    def lose_everything(txn: Transaction) -> None:
        txn.run("ROLLBACK")  # what SQLite does by itself on a full disk
        raise sqlite3.OperationalError("database or disk is full")

    answers = all_at_once(writer, [insert(1), lose_everything, insert(2)])
    assert (answers[0], answers[2]) == (1, 2)
    assert isinstance(answers[1], sqlite3.OperationalError)
    assert stored(database) == {1, 2}


def test_nobody_writes_in_a_transaction_that_sqlite_has_given_up(
    writer: GroupCommit, database: Recorded
) -> None:
    def lose_everything_and_go_on(txn: Transaction) -> None:
        txn.run("ROLLBACK")

    answers = all_at_once(writer, [insert(1), lose_everything_and_go_on, insert(2), insert(3)])
    kept = {n for n in answers if isinstance(n, int)}
    assert stored(database) == kept  # what was refused is not there


def test_a_transaction_that_cannot_begin_is_said_to_everybody(
    tmp_path: Path, writer: GroupCommit, database: Recorded
) -> None:
    other = sqlite3.connect(tmp_path / "x.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    database.connection.execute("PRAGMA busy_timeout = 0")
    try:
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            writer.run(insert(1))
    finally:
        other.execute("ROLLBACK")
        other.close()
    assert writer.run(insert(2)) == 2


def test_more_than_one_batch_of_waiters(writer: GroupCommit, database: Recorded) -> None:
    works = [insert(n) for n in range(MOST_TOGETHER + 10)]
    assert sorted(a for a in all_at_once(writer, works) if isinstance(a, int)) == list(
        range(MOST_TOGETHER + 10)
    )
    assert database.count("COMMIT") == 3


def test_a_follower_gives_up_what_has_not_begun(database: Recorded) -> None:
    writer = writer_on(database, patience=-0.49)  # two times this and a second: 20 ms
    entered, go = threading.Event(), threading.Event()

    def hold(txn: Transaction) -> None:
        entered.set()
        assert go.wait(10)

    leader = threading.Thread(target=writer.run, args=(hold,))
    leader.start()
    assert entered.wait(10)
    try:
        with pytest.raises(Unavailable, match="Nothing was written") as caught:
            writer.run(insert(1))
        assert not caught.value.outcome_unknown
    finally:
        go.set()
        leader.join(10)
    assert writer.run(insert(2)) == 2
    assert stored(database) == {2}


def test_tasks_share_commits(tmp_path: Path) -> None:
    with Store(f"sqlite:///{tmp_path}/x.db") as store:

        async def all_of_them() -> None:
            chats = [store.session(f"k{n}") for n in range(64)]
            await asyncio.gather(*(chat.aappend(("user", "x")) for chat in chats))

        store.migrate()
        began: list[str] = []
        assert store._ledger.read(lambda txn: 1) == 1
        writing = store._ledger._writing.connection  # type: ignore[attr-defined]
        writing.set_trace_callback(lambda sql: began.append(sql) if "BEGIN" in sql else None)
        asyncio.run(all_of_them())
        assert 1 <= len(began) < 64
        assert len(store.sessions(limit=100)) == 64


def test_a_cancelled_task_takes_back_what_has_not_begun(tmp_path: Path) -> None:
    with Store(f"sqlite:///{tmp_path}/x.db") as store:
        chat = store.session("k")
        chat.append(("user", "first"))
        entered, go = threading.Event(), threading.Event()

        def hold(txn: Transaction) -> None:
            entered.set()
            assert go.wait(10)

        leader = threading.Thread(target=store._ledger.write, args=(hold,))
        leader.start()
        assert entered.wait(10)

        async def cancel_it() -> None:
            task = asyncio.create_task(chat.aappend(("user", "cancelled")))
            writer = store._ledger._writer  # type: ignore[attr-defined]
            await asyncio.to_thread(_until_somebody_waits, writer)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(cancel_it())
        go.set()
        leader.join(10)
        chat.append(("user", "second"))
        assert [m.text for m in chat.messages()] == ["first", "second"]


def test_a_cancelled_read_that_has_not_begun_is_not_done(tmp_path: Path) -> None:
    with Store(f"sqlite:///{tmp_path}/x.db", pool_size=1) as store:
        store.session("k").append(("user", "first"))
        ledger, entered, go = store._ledger, threading.Event(), threading.Event()
        done: list[str] = []

        def hold(_: Transaction) -> None:
            entered.set()
            assert go.wait(10)

        async def read_after_it() -> None:
            first = asyncio.create_task(ledger.aread(hold))
            assert await asyncio.to_thread(entered.wait, 10)
            second = asyncio.create_task(ledger.aread(lambda _: done.append("second")))
            third = asyncio.create_task(ledger.aread(lambda _: done.append("third")))
            await asyncio.sleep(0)  # both are in the queue
            second.cancel()
            with pytest.raises(asyncio.CancelledError):
                await second
            first.cancel()  # which has begun, and ends; nobody is told
            with pytest.raises(asyncio.CancelledError):
                await first
            go.set()
            await third

        asyncio.run(read_after_it())
        assert done == ["third"]


def test_a_fault_in_a_thread_is_raised_where_it_was_asked(tmp_path: Path) -> None:
    def fail(_: Transaction) -> None:
        raise ZeroDivisionError

    with Store(f"sqlite:///{tmp_path}/x.db") as store:
        store.session("k").append(("user", "first"))
        with pytest.raises(ZeroDivisionError):
            asyncio.run(store._ledger.aread(fail))


def test_more_tasks_than_threads_in_memory() -> None:
    """Reads of a database in memory wait for the writer, and must not take its threads away."""
    with Store("sqlite://", pool_size=2) as store:

        async def both(n: int) -> None:
            chat = store.session(f"k{n}")
            await chat.aappend(("user", "x"))
            assert len(await chat.atail(5)) == 1

        async def all_of_them() -> None:
            await asyncio.gather(*map(both, range(100)))

        asyncio.run(all_of_them())
