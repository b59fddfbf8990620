"""A backup of a file in use: whole, of one moment, and on its own."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from onrecord import Misconfigured, Store

Take = Callable[[Store, Path], None]


def sync(store: Store, path: Path) -> None:
    store.backup(path)


def asynchronous(store: Store, path: Path) -> None:
    asyncio.run(store.abackup(str(path)))


@pytest.fixture(params=[sync, asynchronous])
def take(request: pytest.FixtureRequest) -> Take:
    return request.param  # type: ignore[no-any-return]


def test_a_backup_is_whole_while_a_writer_goes_on(tmp_path: Path, take: Take) -> None:
    copy = tmp_path / "backups" / "copy.db"
    copy.parent.mkdir()
    with Store(f"sqlite:///{tmp_path / 'store.db'}", durability="normal") as store:
        session = store.session("s", user="ada")
        session.append([("user", f"{n}") for n in range(1, 501)])
        store.compact(quiet_for=0)
        stop, written = threading.Event(), [500]

        def write() -> None:
            while not stop.is_set():
                written.append(session.append(("user", f"{written[-1] + 1}"))[0].seq or 0)

        writer = threading.Thread(target=write)
        writer.start()
        try:
            before = written[-1]
            take(store, copy)
            after = written[-1] + 1
        finally:
            stop.set()
            writer.join()
        assert os.listdir(copy.parent) == ["copy.db"]
        with Store(f"sqlite:///{copy}") as restored:
            there = restored.session("s", user="ada")
            assert before <= there.head() <= after
            assert [m.text for m in there.scan()] == [f"{n}" for n in range(1, there.head() + 1)]
            assert restored.verify() == []
            there.append(("user", "and it goes on"))


def test_nothing_is_written_over(tmp_path: Path, take: Take) -> None:
    (tmp_path / "mine").write_text("mine")
    with Store(f"sqlite:///{tmp_path / 'store.db'}") as store:
        store.session("s").append(("user", "x"))
        with pytest.raises(Misconfigured, match="is there already"):
            take(store, tmp_path / "mine")
        with pytest.raises(Misconfigured, match="folder is not there"):
            take(store, tmp_path / "nowhere" / "copy.db")
        take(store, tmp_path / "copy.db")
    assert (tmp_path / "mine").read_text() == "mine"
    assert sorted(os.listdir(tmp_path)) == ["copy.db", "mine", "store.db"]
    with sqlite3.connect(tmp_path / "copy.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    connection.close()


def test_what_has_no_file_says_what_to_do(postgres_url: str, take: Take, tmp_path: Path) -> None:
    with Store(postgres_url) as store, pytest.raises(Misconfigured, match="pg_dump") as caught:
        take(store, tmp_path / "copy")
    assert "invalidate()" in str(caught.value)
    with Store("sqlite://") as store, pytest.raises(Misconfigured, match="in memory"):
        take(store, tmp_path / "copy")
    assert list(tmp_path.iterdir()) == []
