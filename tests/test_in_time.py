"""Messages by time: segments that have none of the time asked for are not read."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest

from onrecord import Message, Session, Store
from onrecord.ledger.sessions import segments

FIRST = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture(params=["sqlite", "postgresql"])
def store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Store]:
    monkeypatch.setattr("onrecord.ledger.sessions.sealing.SEGMENT", 3)
    url = f"sqlite:///{tmp_path}/time.db"
    if request.param == "postgresql":
        url = request.getfixturevalue("kept_postgres_url")
    with Store(url) as store:
        yield store


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The last sequences of the segments that were read."""
    read: list[int] = []
    unpacked = segments.unpacked

    def noted(txn: Any, stored: segments.Stored) -> Any:
        read.append(stored.last)
        return unpacked(txn, stored)

    monkeypatch.setattr(segments, "unpacked", noted)
    return read


def said_by_the_hour(store: Store, hours: list[int]) -> Session:
    session = store.session("s")
    for hour in hours:
        session.append(Message("user", str(hour), created_at=FIRST + HOUR * hour))
    return session


def texts(messages: list[Message]) -> list[str]:
    return [message.text for message in messages]


def test_only_segments_of_that_time_are_read(store: Store, read: list[int]) -> None:
    session = said_by_the_hour(store, list(range(1, 31)))
    read.clear()
    found = session.messages(since=FIRST + HOUR * 8, until=FIRST + HOUR * 11)
    assert texts(found) == ["8", "9", "10"]
    assert read == [9, 12]
    read.clear()
    assert texts(session.messages(since=FIRST + HOUR * 27)) == ["27", "28", "29", "30"]
    assert read == [27]
    read.clear()
    assert texts(session.messages(since=FIRST + HOUR * 29)) == ["29", "30"]
    assert session.messages(since=FIRST + HOUR * 99) == []
    assert session.messages(until=FIRST) == []
    assert read == []
    assert texts(session.messages(since=FIRST, limit=2)) == ["1", "2"]
    assert read == [3]
    read.clear()
    assert texts(session.messages(until=FIRST + HOUR * 20, before=31, limit=2)) == ["18", "19"]
    assert read == [21, 18]


def test_times_may_go_back_and_forth(store: Store, read: list[int]) -> None:
    dice = Random(15)
    hours = [dice.randrange(60) for _ in range(50)]
    session = said_by_the_hour(store, hours)
    session.delete(7)
    session.edit(11, ("user", "edited"))
    session.rewind(46)
    everything = session.messages()
    for _ in range(40):
        since, until = FIRST + HOUR * dice.randrange(-5, 65), FIRST + HOUR * dice.randrange(-5, 65)
        limit = dice.choice([None, 1, 4, 100])
        expected = [
            message
            for message in everything
            if message.created_at is not None and since <= message.created_at < until
        ]
        assert session.messages(since=since, until=until, limit=limit) == expected[:limit]
        newest = session.messages(since=since, until=until, limit=limit, before=99)
        assert newest == expected[-(limit or 99) :]
    # A segment of which every time is later is left alone, wherever it stands.
    read.clear()
    session.messages(until=FIRST + HOUR * min(hours[:30]))
    assert read == []


def test_a_fork_and_a_compacted_session_know_their_times(store: Store, read: list[int]) -> None:
    session = said_by_the_hour(store, list(range(1, 21)))
    fork = session.fork("fork", 14)
    read.clear()
    assert texts(fork.messages(since=FIRST + HOUR * 5, until=FIRST + HOUR * 6)) == ["5"]
    assert read == [6]
    store.compact(quiet_for=0, again=True)
    read.clear()
    assert texts(session.messages(since=FIRST + HOUR * 20)) == ["20"]
    assert read == [20]
    assert store.verify() == []


@pytest.mark.parametrize("column", ["created_min", "created_max"])
def test_verify_finds_a_time_that_a_segment_does_not_have(tmp_path: Path, column: str) -> None:
    path = tmp_path / "time.db"
    with Store(f"sqlite:///{path}") as store:
        said_by_the_hour(store, [4, 2, 3])
        store.compact(quiet_for=0)
        assert store.verify() == []
    with sqlite3.connect(path) as connection:
        connection.execute(f"UPDATE onrecord_segments SET {column} = {column} + 1")
    connection.close()
    with Store(f"sqlite:///{path}") as store:
        (problem,) = store.verify()
    assert (problem.kind, problem.first, problem.last) == ("damaged", 1, 3)
    assert "created" in problem.what


def test_what_cannot_be_read_is_shown_for_any_time_of_its_segment(tmp_path: Path) -> None:
    path = tmp_path / "time.db"
    with Store(f"sqlite:///{path}") as store:
        said_by_the_hour(store, [1, 2, 3])
        store.compact(quiet_for=0)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE onrecord_segments SET body = x'00'")
    connection.close()
    with Store(f"sqlite:///{path}") as store:
        session = store.session("s")
        roles = [m.role for m in session.messages(since=FIRST + HOUR * 2, until=FIRST + HOUR * 3)]
        assert roles == ["damaged"] * 3
        assert session.messages(since=FIRST + HOUR * 4) == []
