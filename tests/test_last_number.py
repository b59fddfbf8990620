"""A store on SQLite whose sessions have the last number there is: 64 bits hold no next one."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path

from onrecord import CheckpointLog, Store
from onrecord.checkpoint_log import New
from onrecord.ledger.maintenance import erasing
from onrecord.stored.messages import SessionKey

LAST = 2**31 - 1


def at_its_limit(path: Path) -> Store:
    """A store that has one number left for a session, and one for a list."""
    Store(f"sqlite:///{path}").migrate()
    with closing(sqlite3.connect(path)) as connection, connection:
        for table in ("onrecord_sessions", "onrecord_checkpoint_lists"):
            connection.execute("INSERT INTO sqlite_sequence VALUES (?, ?)", (table, LAST - 1))
    return Store(f"sqlite:///{path}")


def test_a_session_with_the_last_number_is_counted_and_sealed(tmp_path: Path) -> None:
    with at_its_limit(tmp_path / "x.db") as store:
        session = store.session("last")
        session.append([("user", f"message {n}") for n in range(300)])
        stats = store.stats()
        assert (stats.rows, stats.segments) == (300 - 128, 1)
        store.compact(quiet_for=0)
        stats = store.stats()
        assert (stats.rows, stats.segments) == (0, 3)
        assert len(session.messages()) == 300
        assert store.verify() == []


def test_nothing_is_behind_a_session_with_the_last_number(tmp_path: Path) -> None:
    """Whoever goes on behind it is done: compact() went round for ever."""
    with at_its_limit(tmp_path / "x.db") as store:
        store.session("last").append(("user", "hello"))
        store._ledger.write(lambda txn: txn.run("UPDATE {tail} SET dictionary = 7", {}))
        read = partial(erasing.needing, number=7, limit=10)
        assert store._ledger.read(partial(read, after=SessionKey(0, LAST - 1))) == [(0, LAST)]
        assert store._ledger.read(partial(read, after=SessionKey(0, LAST))) == []


def test_a_list_with_the_last_number_is_read_and_counted(tmp_path: Path) -> None:
    with at_its_limit(tmp_path / "x.db") as store:
        log = CheckpointLog(store)
        log.put("last", "", New("0001", None, [("json", b"{}")], {"x": ("text", b"hello")}))
        state = log.state("last")
        assert state is not None
        assert state.values["x"] == ("text", b"hello")
        assert store.verify() == []
