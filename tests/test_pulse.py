"""The pulse of a SQLite file: it moves with every commit, and taking it costs no lock (I3)."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from onrecord import Session, Store
from onrecord.ledger.database import pulse as pulses
from onrecord.ledger.sqlite import SqliteLedger
from tests.blocking import noted
from tests.children import Child

LOCK_OF_THE_OPEN = 128
"""The byte of a -shm file that every process holds a lock on that has it open (UNIX_SHM_DMS)."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "x.db"


@pytest.fixture
def open_store(file: Path) -> Iterator[Callable[[], Store]]:
    stores: list[Store] = []

    def opened() -> Store:
        stores.append(Store(f"sqlite:///{file}", durability="normal", tail=5))
        return stores[-1]

    yield opened
    for store in stores:
        store.close()


@pytest.fixture(params=["header", "no header", "rollback journal"])
def each_way(request: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """With the header of the log, without, and where there is no log."""
    if request.param == "no header":
        monkeypatch.setattr(pulses, "_kept_at", lambda path: None)
    if request.param == "rollback journal":
        monkeypatch.setattr(SqliteLedger, "_set_up_file", lambda self, cursor: None)
    way: str = request.param
    return way


def at_hand(store: Store) -> object | None:
    return store._ledger.pulse_at_hand()


def warmed(store: Store) -> Session:
    """Read until the pulse is at hand."""
    chat = store.session("k")
    chat.append(("user", "one"))
    chat.tail(5)
    chat.tail(5)
    assert at_hand(store) is not None
    return chat


class Elsewhere:
    """Another process, which does to the file what it is told, and says when it has done it."""

    PROGRAM = """
import sqlite3, sys
from onrecord import Store
from onrecord.ledger.sqlite import SqliteLedger
if sys.argv[2] == "rollback journal":
    SqliteLedger._set_up_file = lambda self, cursor: None
store = Store("sqlite:///" + sys.argv[1], durability="normal")
for line in sys.stdin:
    what, _, said = line.strip().partition(" ")
    try:
        if what == "say":
            store.session("k").append(("user", said))
        elif what == "clear":
            store.session("k").clear()
        elif what == "close":
            store.close()
            store = Store("sqlite:///" + sys.argv[1], durability="normal")
        else:
            other = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=5)
            print(other.execute(line).fetchall(), flush=True)
            other.close()
            continue
        print("done", flush=True)
    except sqlite3.OperationalError as fault:
        print(fault, flush=True)
"""

    def __init__(self, file: Path, way: str = "header") -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", self.PROGRAM, str(file), way],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self, line: str) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        assert answer, "it died"
        return answer

    def end(self) -> None:
        self.process.communicate(timeout=60)


@pytest.fixture
def elsewhere(file: Path, request: pytest.FixtureRequest) -> Iterator[Elsewhere]:
    ways = "each_way" in request.fixturenames
    process = Elsewhere(file, request.getfixturevalue("each_way") if ways else "header")
    yield process
    process.end()


def test_what_another_process_commits_is_read(
    open_store: Callable[[], Store], elsewhere: Elsewhere, each_way: str
) -> None:
    """Whatever it does to the file meanwhile, and whoever of this process reads."""
    store = open_store()
    chat = store.session("k")
    chat.append(("user", "here"))
    said = ["here"]
    dice = random.Random(13)
    deeds = [
        "PRAGMA wal_checkpoint(TRUNCATE)",
        "PRAGMA wal_checkpoint(RESTART)",
        "VACUUM",
        "PRAGMA user_version = 7",
        "close",
    ]
    if each_way != "rollback journal":
        deeds += ["PRAGMA journal_mode = DELETE"]  # refused: we have the file open
    for n in range(120):
        match dice.randrange(6):
            case 0 | 1 | 2:
                elsewhere(f"say there {n}")
                said.append(f"there {n}")
            case 3:
                elsewhere(dice.choice(deeds))
            case 4:
                chat.append(("user", f"here {n}"))
                said.append(f"here {n}")
            case _:
                elsewhere("clear")
                said.clear()
        assert [m.text for m in chat.tail(5)] == said[-5:]
        assert [m.text for m in asyncio.run(chat.atail(5))] == said[-5:]
    assert (at_hand(store) is not None) == (each_way == "header")
    assert store.health().counters.hits > 100


def test_no_pulse_comes_twice(open_store: Callable[[], Store], file: Path) -> None:
    """However often the log begins anew: after a checkpoint, a VACUUM, a recovery."""
    store = open_store()
    warmed(store)
    known = {at_hand(store)}
    dice = random.Random(7)
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        for n in range(300):
            match dice.randrange(8):
                case 0:
                    other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                case 1:
                    other.execute("PRAGMA wal_checkpoint(RESTART)")
                case 2:
                    other.execute("VACUUM")
                case 3:
                    _spoil(store)
                    store._ledger.pulse()
                case _:
                    pass
            before = at_hand(store)
            other.execute(f"PRAGMA user_version = {n + 1}")
            assert at_hand(store) != before
            assert at_hand(store) not in known
            known.add(at_hand(store))


def _spoil(store: Store) -> None:
    """Leave the header as a writer leaves it who dies in the middle."""
    ledger: Any = store._ledger
    kept = ledger._pulse._kept
    os.pwrite(kept.fd, bytes([kept.view[8] ^ 0xFF]), 8)


def test_a_header_that_is_half_written_is_not_believed(open_store: Callable[[], Store]) -> None:
    store, other = open_store(), open_store()
    chat = warmed(store)
    _spoil(store)
    assert at_hand(store) is None
    assert [m.text for m in chat.tail(5)] == ["one"], "the connection that asks has recovered it"
    assert at_hand(store) is not None
    other.session("k").append(("user", "two"))
    assert [m.text for m in chat.tail(5)] == ["one", "two"]


def test_a_header_that_is_being_written_is_looked_at_again(
    open_store: Callable[[], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store()
    chat = store.session("k")
    chat.append(("user", "one"))
    with monkeypatch.context() as patch:
        patch.setattr(pulses, "_whole", lambda both: None)
        assert [m.text for m in chat.tail(5)] == ["one"]
        assert at_hand(store) is None
    assert [m.text for m in chat.tail(5)] == ["one"]
    assert at_hand(store) is not None


@pytest.mark.parametrize("vfs", ["unix", "unix-excl"])
def test_a_file_with_options_is_asked_through_sqlite(file: Path, vfs: str) -> None:
    """What is in the file beside it may be of another time: this process may keep its own."""
    with Store(f"sqlite:///file:{file}?uri=true&vfs={vfs}") as store:
        for n in range(3):
            store.session("k").append(("user", str(n)))
            assert [m.text for m in store.session("k").tail(5)] == list("012"[: n + 1])
        assert store._ledger.pulse() is not None
        assert at_hand(store) is None


def test_a_hit_asks_sqlite_nothing(open_store: Callable[[], Store]) -> None:
    store = open_store()
    chat = warmed(store)
    ledger: Any = store._ledger
    statements: list[str] = []
    for held in (ledger._pulse._asking, ledger._writing, *ledger._pool._idle):
        held.connection.set_trace_callback(statements.append)
    hops: list[object] = []
    ledger._hop = lambda *given: hops.append(given)
    assert [m.text for m in chat.tail(5)] == ["one"]
    assert [m.text for m in asyncio.run(chat.atail(5))] == ["one"]
    assert (statements, hops) == ([], [])


def is_locked(file: Path) -> bool:
    """Whether another process finds that somebody has the log open."""
    program = """
import fcntl, sys
with open(sys.argv[1], "r+b") as shm:
    try:
        fcntl.lockf(shm, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, int(sys.argv[2]))
    except OSError:
        print("locked")
"""
    command = [sys.executable, "-c", program, f"{file}-shm", str(LOCK_OF_THE_OPEN)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    return ran.stdout == "locked\n"


def test_sqlite_keeps_its_locks(open_store: Callable[[], Store], file: Path) -> None:
    """Closing any descriptor of the file would take them all away, without a word."""
    store = open_store()
    warmed(store)
    assert is_locked(file)
    for _ in range(3):
        other = open_store()
        warmed(other)
        other.close()
        gc.collect()
        assert is_locked(file)
    store._ledger._pulse.close()  # type: ignore[attr-defined]
    pulses.let_go()
    assert is_locked(file), "the other connections still use it"
    store.session("k").tail(5)
    assert at_hand(store) is not None
    assert is_locked(file)
    os.close(os.open(f"{file}-shm", os.O_RDWR))
    assert not is_locked(file), "the guard would see it"


def test_nobody_else_takes_the_file_away(
    open_store: Callable[[], Store], elsewhere: Elsewhere, file: Path
) -> None:
    store = open_store()
    chat = warmed(store)
    elsewhere("say two")
    assert elsewhere("PRAGMA journal_mode = DELETE") == "database is locked"
    there = os.stat(f"{file}-shm").st_ino
    elsewhere("close")
    assert os.stat(f"{file}-shm").st_ino == there
    assert [m.text for m in chat.tail(5)] == ["one", "two"]


def test_a_header_is_given_up_with_the_connections(
    open_store: Callable[[], Store], elsewhere: Elsewhere
) -> None:
    """As before a fork. From then on another process may take the file away, and make a new one."""
    store = open_store()
    chat = warmed(store)
    elsewhere("say two")
    store._ledger.before_fork()
    elsewhere("close")
    store._ledger.after_fork_in_parent()
    elsewhere("say three")
    assert [m.text for m in chat.tail(5)] == ["one", "two", "three"]
    elsewhere("say four")
    assert [m.text for m in chat.tail(5)] == ["one", "two", "three", "four"]


def test_what_is_open_is_bounded_by_the_files(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None
    for n in range(40):
        with Store(f"sqlite:///{tmp_path}/{n % 2}.db", durability="normal") as store:
            warmed(store)
    assert not [kept for kept in pulses._kept if kept.is_over()]
    if before is not None:
        assert len(os.listdir("/proc/self/fd")) <= before + 2


def test_a_file_that_another_took_the_place_of(open_store: Callable[[], Store], file: Path) -> None:
    with open_store() as store:
        warmed(store)
    other = file.with_name("other.db")
    with Store(f"sqlite:///{other}") as store:
        store.session("k").append(("user", "another"))
    os.replace(other, file)
    store = open_store()
    for _ in range(3):
        assert [m.text for m in store.session("k").tail(5)] == ["another"]
    store.session("k").append(("user", "more"))
    assert [m.text for m in store.session("k").tail(5)] == ["another", "more"]


def test_a_file_that_is_replaced_while_it_is_open(
    open_store: Callable[[], Store], file: Path
) -> None:
    """A store stays with the file that it has opened, as SQLite does, and is never behind it."""
    store = open_store()
    chat = warmed(store)
    for part in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            os.unlink(f"{file}{part}")
    with Store(f"sqlite:///{file}") as new:
        assert new.session("k").tail(5) == []
        new.session("k").append(("user", "another"))
        for n in range(3):
            chat.append(("user", str(n)))
            texts = ["one", *map(str, range(n + 1))]
            assert [m.text for m in chat.tail(5)] == texts
            assert [m.text for m in asyncio.run(chat.atail(5))] == texts
        assert [m.text for m in new.session("k").tail(5)] == ["another"]
    assert [m.text for m in chat.tail(5)] == texts
    assert at_hand(store) is not None, "nobody has closed what it looks at"


def test_parent_and_child_see_each_other(open_store: Callable[[], Store], file: Path) -> None:
    store = open_store()
    chat = warmed(store)
    holder = open_store()
    for n in range(3):

        def work(n: int = n) -> list[str]:
            found = [m.text for m in chat.tail(5)]
            chat.append(("user", f"child {n}"))
            assert chat.tail(1)[0].text == f"child {n}"
            assert at_hand(store) is not None
            store.close()
            return found

        before = [m.text for m in chat.tail(5)]
        assert holder.session("k").tail(1)
        assert Child(work).result() == before
        assert [m.text for m in chat.tail(5)] == [*before, f"child {n}"][-5:]
        chat.append(("user", f"parent {n}"))
        assert chat.tail(1)[0].text == holder.session("k").tail(1)[0].text == f"parent {n}"


def test_a_program_that_closes_nothing_ends_in_peace(file: Path) -> None:
    program = """
import sys, threading
from onrecord import Store
store = Store("sqlite:///" + sys.argv[1])
chat = store.session("k")
chat.append(("user", "one"))
assert chat.tail() == chat.tail()
assert store._ledger.pulse_at_hand() is not None

def go_on():
    while True:
        chat.append(("user", "more"))

threading.Thread(target=go_on, daemon=True).start()
"""
    for _ in range(3):
        ran = subprocess.run(
            [sys.executable, "-c", program, str(file)], capture_output=True, text=True, check=False
        )
        assert (ran.returncode, ran.stderr) == (0, "")
    with Store(f"sqlite:///{file}") as store:
        assert store.verify() == []


def test_a_loop_waits_for_nobody_who_holds_a_lock(open_store: Callable[[], Store]) -> None:
    """While another thread opens the file, or asks for its pulse, a loop does other things."""
    store = open_store()
    store.session("k").append(("user", "one"))
    ledger: Any = store._ledger
    cold = open_store()

    async def reading(chat: Session, lock: threading.Lock) -> list[str]:
        lock.acquire()
        reading = asyncio.ensure_future(chat.atail(5))
        for _ in range(50):
            await asyncio.sleep(0)
        assert not reading.done()
        lock.release()
        return [message.text for message in await reading]

    with noted(locks=True) as blocked:
        ledger._pulse.close()
        assert asyncio.run(reading(store.session("k"), ledger._pulse._lock)) == ["one"]
        cold_lock = cold._ledger._lock
        assert asyncio.run(reading(cold.session("k"), cold_lock)) == ["one"]
    assert not blocked, blocked[0]
