"""A database that falls back, and another writer who reaches the same place: ``expected`` tells."""

from __future__ import annotations

import copy
import pickle
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, TypeAlias

import psycopg
import pytest

from onrecord import Conflict, Delete, Item, Items, Put, Session, Since, Store, Version
from onrecord.flows.sessions.batch import Batch
from onrecord.testing.contract import Face

_KEPT = ("sessions", "tail", "namespaces", "items")


class Database:
    """One database, which can be set back to what was kept of it."""

    def __init__(self, url: str, cache: str | None) -> None:
        self._url, self._cache = url, cache
        self._stores: list[Store] = []
        self._file = url.removeprefix("sqlite:///") if url.startswith("sqlite") else None

    def open(self) -> Store:
        self._stores.append(Store(self._url, cache=self._cache))
        return self._stores[-1]

    def keep(self) -> None:
        if self._file is not None:
            self._copied(self._file, f"{self._file}.kept")
            return
        with psycopg.connect(self._url) as connection:
            for table in _KEPT:
                connection.execute(f"CREATE TABLE kept_{table} AS TABLE onrecord_{table}")

    def fall_back(self) -> None:
        if self._file is not None:
            self._copied(f"{self._file}.kept", self._file)
            return
        with psycopg.connect(self._url) as connection:
            for table in _KEPT:
                connection.execute(f"DELETE FROM onrecord_{table}")
                connection.execute(
                    f"INSERT INTO onrecord_{table} OVERRIDING SYSTEM VALUE "
                    f"SELECT * FROM kept_{table}"
                )

    def close(self) -> None:
        for store in self._stores:
            store.close()

    @staticmethod
    def _copied(origin: str, target: str) -> None:
        with closing(sqlite3.connect(origin)) as source, closing(sqlite3.connect(target)) as to:
            source.backup(to)


@pytest.fixture(params=["sqlite", "postgresql", "postgresql with redis"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    kind, _, cache = request.param.partition(" with ")
    url = f"sqlite:///{tmp_path}/x.db"
    if kind == "postgresql":
        url = request.getfixturevalue("kept_postgres_url")
    server = request.getfixturevalue("redis_server") if cache else None
    with closing(Database(url, None if server is None else server.url)) as found:
        yield found


def appends(session: Session, text: str) -> None:
    session.append(("user", text))


def edits(session: Session, text: str) -> None:
    session.edit(2, ("user", text))


@pytest.mark.parametrize("write", [appends, edits])
def test_the_same_place_in_another_past_is_refused(
    database: Database, face: Face, write: Callable[[Session, str], None]
) -> None:
    store = database.open()
    session = store.session("k")
    chat = face(session)
    session.append([("user", "a"), ("user", "b")])
    database.keep()
    write(session, "lost")
    shown = chat.version(), chat.info().version, chat.window(messages=5).version
    database.fall_back()
    write(database.open().session("k"), "new")
    assert chat.version() == shown[0] == shown[1] == shown[2]
    said = chat.messages()
    for version in shown:
        changes: list[Callable[[Version], object]] = [
            lambda given: chat.append(("user", "answer"), expected=given),
            lambda given: chat.append([("user", "x"), ("user", "y")], expected=given),
            lambda given: chat.replace(("user", "answer"), expected=given),
            lambda given: chat.archive([1], expected=given),
            lambda given: chat.delete(1, expected=given),
        ]
        for change in changes:
            with pytest.raises(Conflict, match="another past") as refused:
                change(version)
            assert chat.messages() == said
            assert refused.value.version == version
    # What is read now is of this past; numbers of the caller's own are of any.
    chat.append(("user", "answer"), expected=refused.value.version)
    chat.append(("user", "answer"), expected=chat.version())
    chat.append(("user", "answer"), expected=chat.info().version)
    chat.append(("user", "answer"), expected=Version(*chat.version()))
    chat.append(("user", "answer"), expected=tuple(chat.version()))
    chat.append(("user", "answer"), expected=Since(shown[0]))
    chat.replace([("user", "answer")], expected=chat.version())
    assert chat.count() == 1


Write: TypeAlias = Callable[[Store, Items, dict[str, int]], object]
ITEM_WRITES: dict[str, Write] = {
    "put": lambda _, items, value: items.put("k", value),
    "put of two": lambda _, items, value: items.put_many({"k": value, "l": value}),
    "put for a time": lambda _, items, value: items.put("k", value, ttl=100),
    "merge": lambda _, items, value: items.merge("k", value),
    "after a delete": lambda _, items, value: (items.delete("k"), items.put("k", value)),
    "beside a message": lambda store, items, value: store.session("k").append(
        ("user", "a"), items=[Put(items, "k", value)]
    ),
    "several": lambda store, items, value: store.write(
        [Put(items, "k", {}), Put(items, "k", value), Delete(items, "l")]
    ),
}
"""Each leaves one item, with as many versions given out as its name says."""


@pytest.mark.parametrize("write", ITEM_WRITES.values(), ids=ITEM_WRITES)
def test_the_version_of_an_item_in_another_past_is_refused(
    database: Database, face: Face, write: Write
) -> None:
    """A version that was lost is not given out again, by however many writes after the fall."""
    store, other = database.open(), database.open()
    items, others = store.items("facts"), other.items("facts")
    chat = face(items)
    items.put("k", {"n": 1})
    database.keep()
    write(store, items, {"n": 2})
    lost = items.get("k")
    assert lost is not None
    database.fall_back()
    for n in range(4):
        write(other, others, {"n": 10 + n})
        there = others.get("k")
        assert there is not None
        assert there.version > lost.version, "versions go up"
        changes: list[Callable[[Item | int], object]] = [
            lambda given: chat.put("k", {"n": 3}, expected=given),
            lambda given: chat.merge("k", {"n": 3}, expected=given),
            lambda given: chat.delete("k", expected=given),
            lambda given: store.write([Delete(items, "k", expected=given)]),
        ]
        for change in changes:
            for expected in (lost, lost.version):
                with pytest.raises(Conflict, match="was expected") as refused:
                    change(expected)
                assert refused.value.item == there
        assert others.get("k") == there
    chat.put("k", {"n": 4}, expected=there)


def test_what_changes_no_version_changes_no_past(database: Database, face: Face) -> None:
    store = database.open()
    chat = face(store.session("k"))
    chat.append([{"role": "user", "content": text, "id": text} for text in ("a", "b")])
    versions = chat.version(), chat.info().version, chat.window(messages=5).version
    chat.archive([1])
    chat.unarchive([1])
    chat.update(title="A title")
    chat.append({"role": "user", "content": "a", "id": "a"})
    store.compact(quiet_for=0)
    for version in versions:
        assert chat.archive([], expected=version) == []
    chat.append(("user", "c"), expected=versions[2])
    with pytest.raises(Conflict):
        chat.append(("user", "d"), expected=versions[0])


def test_it_is_one_statement_on_postgresql(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(*_: object) -> Any:
        raise AssertionError("it took the longer way")

    with Store(postgres_url) as store:
        chat = store.session("k")
        chat.append(("user", "a"))
        monkeypatch.setattr(Batch, "commit_locked", locked)
        chat.append(("user", "b"), expected=chat.version())
        chat.append([("user", "c"), ("user", "d")], expected=chat.window(messages=2).version)
        assert chat.count() == 4


def test_a_version_that_was_told_is_shown_and_compared_by_its_numbers(tmp_path: Path) -> None:
    with Store(f"sqlite:///{tmp_path}/x.db") as store:
        chat = store.session("k")
        chat.append(("user", "a"))
        version: Any = chat.version()
        for found in (version, copy.deepcopy(version), pickle.loads(pickle.dumps(version))):
            assert found == Version(0, 1) == (0, 1)
            assert hash(found) == hash(Version(0, 1))
            assert repr(found) == f"{found}" == "Version(epoch=0, head=1)"
            assert vars(found) == vars(version) != {}
        chat.append(("user", "b"))
        chat.append(("user", "c"), expected=version._replace(head=2))
