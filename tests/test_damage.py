"""What is damaged is noticed, costs nobody else anything, and is named by verify() (I10).

Bytes are changed under the store by raw SQL: each byte of each frame, segment and dictionary on
SQLite, a sample of them on PostgreSQL.
"""

from __future__ import annotations

import logging
import shutil
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import psycopg
import pytest

from langgraph_onrecord import OnrecordStore
from onrecord import ANY, Conflict, Damaged, Items, Message, OnrecordError, Opaque, Session, Store
from onrecord.codec import compression, encode
from onrecord.codec.values import pack_value
from onrecord.flows.pace import FIRST
from onrecord.ledger.sessions import dictionaries, sessions
from onrecord.ledger.sessions import messages as rows_of
from onrecord.reports import Problem
from onrecord.scope import Scope
from onrecord.stored.messages import SessionKey
from tests.servers.postgres import PostgresServer

SEGMENT = 3
KEYS = ("long", "plain")


@pytest.fixture(scope="module", autouse=True)
def _tiny_segments() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("onrecord.ledger.sessions.sealing.SEGMENT", SEGMENT)
        yield


class Blob(NamedTuple):
    """Something stored: where it is, the messages that are in it, and its bytes."""

    table: str
    session: int
    first: int
    last: int
    body: bytes

    @property
    def key(self) -> tuple[int, int]:
        return self.session, self.last

    @property
    def seqs(self) -> range:
        return range(self.first, self.last + 1)

    def flipped(self, at: int, by: int) -> bytes:
        changed = bytearray(self.body)
        changed[at] ^= by
        return bytes(changed)


HERE = "session = ? AND seq = ?"


class Place(ABC):
    """A database that can be opened as a store and be damaged by hand."""

    url: str

    @abstractmethod
    def sql(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Run a statement with ``?`` for values, and commit."""

    def open(self, **options: Any) -> Store:
        if self.url.startswith("sqlite"):
            options["durability"] = "normal"
        return Store(self.url, pool_size=2, **options)

    def blobs(self) -> list[Blob]:
        """Every frame and every segment."""
        found = [
            Blob("tail", session, seq, seq, bytes(frame))
            for session, seq, frame in self.sql(
                "SELECT session, seq, frame FROM onrecord_tail WHERE frame IS NOT NULL "
                "ORDER BY session, seq"
            )
        ]
        found += [
            Blob("segments", session, first, seq, bytes(body))
            for session, seq, first, body in self.sql(
                "SELECT session, seq, first, body FROM onrecord_segments ORDER BY session, seq"
            )
        ]
        return found

    def put(self, blob: Blob, body: bytes) -> None:
        column = "frame" if blob.table == "tail" else "body"
        self.sql(f"UPDATE onrecord_{blob.table} SET {column} = ? WHERE {HERE}", body, *blob.key)

    @abstractmethod
    def written(self, table: str) -> list[str]:
        """The columns of a table that are written: not those that are told from others."""


class SqlitePlace(Place):
    def __init__(self, path: Path) -> None:
        self.path = path
        self.url = f"sqlite:///{path}"
        self.connection = sqlite3.connect(path, isolation_level=None)
        self.connection.execute("PRAGMA synchronous = OFF")

    def sql(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        return self.connection.execute(statement, values).fetchall()

    def written(self, table: str) -> list[str]:
        return [row[1] for row in self.sql(f"SELECT * FROM pragma_table_info('onrecord_{table}')")]

    def close(self) -> None:
        self.connection.close()


class PostgresPlace(Place):
    def __init__(self, url: str) -> None:
        self.url = url
        self.connection = psycopg.connect(url, autocommit=True)

    def sql(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        cursor = self.connection.execute(statement.replace("?", "%s"), values)
        return cursor.fetchall() if cursor.description else []

    def written(self, table: str) -> list[str]:
        found = self.sql(
            "SELECT column_name FROM information_schema.columns WHERE table_name = ? "
            "ORDER BY ordinal_position",
            f"onrecord_{table}",
        )
        return [name for (name,) in found]

    def close(self) -> None:
        self.connection.close()


def learn(store: Store, seed: int, sources: list[SessionKey]) -> int:
    """A dictionary, without what learning from a thousand messages takes."""
    random = Random(seed)
    samples = [" ".join(random.choices(WORDS, k=30)).encode() for _ in range(200)]
    content = compression.learn(samples, 2_048)
    assert content is not None
    number = store._ledger.write(
        lambda txn: dictionaries.add(txn, content, sessions.created_of(txn, sources))
    )
    assert number is not None
    store._ledger.read(lambda txn: txn.dictionaries.refreshed(txn))
    return number


WORDS = [f"word{n}" for n in range(120)]


def said(n: int, words: int = 12) -> dict[str, Any]:
    text = f"{n}: {' '.join(Random(n).choices(WORDS, k=words))}"
    given: dict[str, Any] = {"role": "user" if n % 2 else "assistant", "content": text}
    if n % 3 == 0:
        given["id"] = f"id {n}"
    return given


def furnish(place: Place) -> None:
    """One session with every kind of frame and segment, and one that is not compressed."""
    with place.open() as store:
        session = store.session("long", user="ada")
        session.append([said(n, 90 if n == 2 else 12) for n in range(1, 5)])
        store.compact(quiet_for=0)
        source = store.session("source", user="eve")
        source.append([("user", "What is learned from.")])
        (key,) = (key for key, name in store._ledger.read(_all_sessions) if name.key == "source")
        learn(store, 1, [key])
        session.append([said(n) for n in range(5, 10)])
        session.delete(5)
        store.compact(quiet_for=0)
        session.archive([2, 7])
        with place.open(compression="none") as other:
            plain = other.session("plain", user="bob")
            plain.append([said(n) for n in range(1, 5)])
            other.compact(quiet_for=0)
            plain.append([said(n, 90) for n in range(5, 7)])
        half = {**said(13), "content": "\ud800 half a pair, and " + said(13)["content"]}
        session.append([said(10), said(11, 90), said(12, 1), half])


def _all_sessions(txn: Any) -> Any:
    return sessions.page(txn, Scope(ANY, ANY, ANY), FIRST, 100)


@pytest.fixture(scope="module")
def sqlite_original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("damage") / "original.db"
    place = SqlitePlace(path)
    furnish(place)
    place.sql("PRAGMA wal_checkpoint(TRUNCATE)")
    place.close()
    return path


@pytest.fixture
def sqlite_place(sqlite_original: Path, tmp_path: Path) -> Iterator[SqlitePlace]:
    shutil.copy(sqlite_original, tmp_path / "x.db")
    place = SqlitePlace(tmp_path / "x.db")
    yield place
    place.close()


TABLES = ("sessions", "tail", "segments", "dictionaries", "erased", "meta", "namespaces", "items")


@pytest.fixture(scope="module")
def postgres_original(postgres: PostgresServer) -> Iterator[PostgresPlace]:
    with postgres.database("damage") as url, closing(PostgresPlace(url)) as place:
        furnish(place)
        for table in TABLES:
            place.sql(f"CREATE TABLE saved_{table} AS TABLE onrecord_{table}")
        yield place


@pytest.fixture
def postgres_place(postgres_original: PostgresPlace) -> PostgresPlace:
    """As it was in the beginning: put back, which is made faster than a copy."""
    place = postgres_original
    for table in TABLES:
        place.sql(f"TRUNCATE onrecord_{table}")
        place.sql(
            f"INSERT INTO onrecord_{table} OVERRIDING SYSTEM VALUE SELECT * FROM saved_{table}"
        )
    return place


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest) -> Place:
    found: Place = request.getfixturevalue(f"{request.param}_place")
    return found


def sessions_of(store: Store) -> dict[int, Session]:
    return {
        key.session: store.session(name.key, user=name.user)
        for key, name in store._ledger.read(_all_sessions)
    }


def raw_of(message: Message) -> bytes:
    """The bytes a placeholder kept."""
    assert message.role == "damaged"
    (kept,) = [block for block in message.content if isinstance(block, Opaque)]
    assert isinstance(kept.data, dict)
    return bytes(kept.data["frame"])


def is_as_before(now: list[Message], before: list[Message], damaged: Collection[int]) -> None:
    """All that is not damaged is equal, and in the place of what is stands a placeholder."""
    found = {message.seq: message for message in now}
    for message in before:
        if message.seq in damaged:
            assert found[message.seq].role == "damaged"
        else:
            assert found[message.seq] == message
    assert found.keys() - {m.seq for m in before} <= set(damaged)


def names(problems: list[Problem], kind: str) -> list[tuple[str, int | None, int | None]]:
    return [(p.where, p.first, p.last) for p in problems if p.kind == kind]


# -- flipped bytes -------------------------------------------------------------------------------


def test_there_is_something_of_every_kind(place: Place) -> None:
    blobs = place.blobs()
    kinds = {(blob.table, blob.body[0], blob.body[1]) for blob in blobs}
    tail = {flags for table, _, flags in kinds if table == "tail"}
    assert tail >= {0, 5, 7}  # plain, with the dictionary, and with half a surrogate pair besides
    sealed = {flags & 15 for table, _, flags in kinds if table == "segments"}
    assert sealed >= {0, 1, 5}
    with place.open() as store:
        assert store.verify() == []


def test_a_flipped_byte_anywhere_is_noticed(place: Place) -> None:
    random = Random(7)
    step = 1 if isinstance(place, SqlitePlace) else 23
    with place.open() as store:
        handles = sessions_of(store)
        before = {number: session.messages() for number, session in handles.items()}
        done = 0
        for blob in place.blobs():
            for at in range(random.randrange(step), len(blob.body), step):
                body = blob.flipped(at, random.randrange(1, 256))
                place.put(blob, body)
                now = handles[blob.session].messages()
                is_as_before(now, before[blob.session], blob.seqs)
                done += 1
                if done % 31 == 0:
                    for message in now:
                        if message.role == "damaged":
                            assert raw_of(message) == body
                    for number, session in handles.items():
                        if number != blob.session:
                            assert session.messages() == before[number]
                    found = names(store.verify(), "damaged")
                    assert found == [(str(handles[blob.session].name), blob.first, blob.last)]
            place.put(blob, blob.body)
        assert done > (1_000 if step == 1 else 40)
        assert {n: session.messages() for n, session in handles.items()} == before
        assert store.verify() == []


NEVER_A_FRAME = (b"", b"\0", b"\0\0", b"\x01", b"\0" * 60, b"\x51" * 60, b"\xff" * 9)


@pytest.mark.parametrize(
    "body", NEVER_A_FRAME, ids=[f"{len(b)} of {b[:1]!r}" for b in NEVER_A_FRAME]
)
def test_bytes_that_were_never_a_frame(place: Place, body: bytes) -> None:
    """Also sealed together with others that are well, and sealed again."""
    with place.open() as store:
        session = store.session("long", user="ada")
        before = session.messages()
        mine = [blob for blob in place.blobs() if blob.session == 1]
        for blob in mine:
            place.put(blob, body)
            is_as_before(session.messages(), before, blob.seqs)
            store.stats()
            place.put(blob, blob.body)
        row = next(blob for blob in mine if blob.first == 11)
        place.put(row, body)
        for again in (False, True, True):
            store.compact(quiet_for=0, again=again)
            found = session.messages()
            is_as_before(found, before, row.seqs)
            assert [raw_of(m) for m in found if m.seq == 11] == [body]
        assert names(store.verify(), "damaged") == [(str(session.name), 11, 11)]


def test_what_a_damaged_frame_says_of_its_length_is_not_believed(place: Place) -> None:
    with place.open() as store:
        raw = store.stats().raw_bytes
        row = next(blob for blob in place.blobs() if blob.table == "tail")
        # Eight bytes for the length, by zstd's format without its magic number.
        for size in (0, 2**40, 2**62, 2**64 - 1):
            place.put(row, b"\1\1" + b"crc!" + b"\xc0\0" + size.to_bytes(8, "little"))
            assert 0 <= store.stats().raw_bytes <= raw


def test_a_damaged_dictionary(place: Place) -> None:
    ((number, body),) = place.sql("SELECT id, body FROM onrecord_dictionaries")
    random = Random(3)
    with place.open() as store:
        before = {key: session.messages() for key, session in sessions_of(store).items()}
    for at in [0, 1, 3, 4, *(random.randrange(len(body)) for _ in range(8)), len(body) - 1]:
        changed = bytearray(bytes(body))
        changed[at] ^= random.randrange(1, 256)
        place.sql("UPDATE onrecord_dictionaries SET body = ?", bytes(changed))
        with place.open() as store:
            needing = [blob for blob in place.blobs() if _needs_dictionary(blob.body)]
            assert len(needing) >= 3
            gone = {seq for blob in needing for seq in range(blob.first, blob.last + 1)}
            for key, session in sessions_of(store).items():
                found = {m.seq: m for m in session.messages()}
                for message in before[key]:
                    if message.seq in gone and session.name.key == "long":
                        assert found[message.seq].role == "damaged"
                        assert f"dictionary {number}" in found[message.seq].text
                    else:
                        assert found[message.seq] == message
            found_problems = store.verify()
            assert (f"dictionary {number}", None, None) in names(found_problems, "damaged")
            session = store.session("long", user="ada")
            # It goes on without, and what is written now can be read.
            text = " ".join(WORDS[:40])
            session.append(("user", text))
            assert session.messages()[-1].text == text
            session.rewind(13)
            store.stats()
        place.sql("UPDATE onrecord_dictionaries SET body = ?", bytes(body))
        with place.open() as store:
            for key, session in sessions_of(store).items():
                assert session.messages() == before[key]
        if isinstance(place, PostgresPlace) and at > 4:
            break


NO_SOURCES: dict[str, bytes] = {
    "nothing": b"",
    "junk": b"junk",
    "a number": pack_value(5, "sources"),
    "pairs": pack_value([[0, 1]], "sources"),
    "a list for a shard": pack_value([[[], 1, 1]], "sources"),
    "text for a shard": pack_value([["", 1, 1]], "sources"),
    "nothing for a number": pack_value([[0, None, 1]], "sources"),
    "a fraction for a time": pack_value([[0, 1, 0.5]], "sources"),
    "of two kinds": pack_value([[0, 1, 1], [0, "x", 1]], "sources"),
    "more than 64 bits": pack_value([[0, 2**64 - 1, 1]], "sources"),
}


@pytest.mark.parametrize("what", NO_SOURCES)
def test_a_dictionary_whose_sources_cannot_be_read(place: Place, what: str) -> None:
    """It may have been learned from somebody who was erased: it goes, and no message with it."""
    ((number,),) = place.sql("SELECT id FROM onrecord_dictionaries")
    with place.open() as store:
        assert store.verify() == []
        before = {key: session.messages() for key, session in sessions_of(store).items()}
    place.sql("UPDATE onrecord_dictionaries SET sources = ?", NO_SOURCES[what])
    with place.open() as store:
        [problem] = store.verify()
        assert (problem.kind, problem.where) == ("damaged", f"dictionary {number}")
        assert "what it was learned from cannot be read" in problem.what
        assert "compact() drops it" in problem.what
        assert {key: s.messages() for key, s in sessions_of(store).items()} == before
        store.compact(quiet_for=0)
        assert place.sql("SELECT count(*) FROM onrecord_dictionaries") == [(0,)]
        assert not any(_needs_dictionary(blob.body) for blob in place.blobs())
    with place.open() as store:
        assert {key: s.messages() for key, s in sessions_of(store).items()} == before
        assert store.verify() == []


def _needs_dictionary(body: bytes) -> bool:
    return body[1] & 4 != 0


def test_a_warning_once(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    with place.open() as store:
        session = store.session("long", user="ada")
        before = session.messages()
        segment, row = (
            next(b for b in place.blobs() if b.table == table and b.session == 1)
            for table in ("segments", "tail")
        )
        for blob in (segment, row):
            place.put(blob, blob.flipped(9, 1))
        with caplog.at_level(logging.WARNING, "onrecord"):
            for _ in range(3):
                session.messages()
                session.tail(50)
                list(session.scan())
        said = [record.getMessage() for record in caplog.records]
        damaged = [s for s in range(segment.first, segment.last + 1)] + [row.first]
        assert len(said) == len(damaged)
        assert all("cannot be read" in line for line in said)
        assert len(before) == len(session.messages())


# -- what is missing, what disagrees -------------------------------------------------------------


def test_what_is_missing_is_a_gap(place: Place) -> None:
    with place.open() as store:
        session = store.session("long", user="ada")
        before = session.messages()
        for blob in [b for b in place.blobs() if b.session == 1]:
            table = f"onrecord_{blob.table}"
            columns = ", ".join(place.written(blob.table))
            ((*kept,),) = place.sql(f"SELECT {columns} FROM {table} WHERE {HERE}", *blob.key)
            place.sql(f"DELETE FROM {table} WHERE {HERE}", *blob.key)
            left = [m for m in before if not blob.first <= (m.seq or 0) <= blob.last]
            assert session.messages() == left
            assert [m for n in range(14) for m in session.messages(after=n, limit=1)][-1] == left[
                -1
            ]
            problems = store.verify()
            assert names(problems, "gap") == [(str(session.name), blob.first, blob.last)]
            assert len(problems) == 1
            marks = ", ".join("?" for _ in kept)
            place.sql(f"INSERT INTO {table} ({columns}) VALUES ({marks})", *kept)
        assert store.verify() == []


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("sessions", "messages"),
        ("sessions", "turns"),
        ("sessions", "tokens"),
        ("segments", "messages"),
        ("segments", "turns"),
        ("segments", "tokens"),
    ],
)
def test_a_count_that_disagrees_is_reported(place: Place, table: str, column: str) -> None:
    with place.open() as store:
        name = str(store.session("long", user="ada").name)
        where = "id = 1"
        if table == "segments":
            ((last,),) = place.sql("SELECT max(seq) FROM onrecord_segments WHERE session = 1")
            where = f"session = 1 AND seq = {last}"
        place.sql(f"UPDATE onrecord_{table} SET {column} = {column} + 1 WHERE {where}")
        problems = store.verify()
        assert {(p.kind, p.where) for p in problems} == {("count", name)}
        assert any(column in p.what or table == "segments" for p in problems)


def test_where_a_segment_begins_is_checked(place: Place) -> None:
    """Also a number that no one would ever have counted to."""
    with place.open() as store:
        session = store.session("long", user="ada")
        before = session.messages()
        blob = next(b for b in place.blobs() if b.session == 1 and b.first == 4)
        for first in (5, 3, 2, 1, 0, -(10**12), 7, 2**40):
            place.sql(f"UPDATE onrecord_segments SET first = ? WHERE {HERE}", first, *blob.key)
            found = {m.seq: m for m in session.messages()}
            assert all(found[m.seq] == m for m in before if (m.seq or 0) > blob.last)
            problems = store.verify()
            assert problems
            assert all(p.where == str(session.name) for p in problems)
            for seq in range(1, 14):
                session.messages(after=seq - 1, limit=1)
                session.messages(before=seq, limit=2)
            session.tail(9)
        # And a rewrite of it takes nothing else along.
        place.sql(f"UPDATE onrecord_segments SET first = 1 WHERE {HERE}", *blob.key)
        session.delete(blob.last)
        assert [b.seqs for b in place.blobs() if b.session == 1 and b.last == 3] == [range(1, 4)]


def test_what_belongs_to_no_session_is_stray(place: Place) -> None:
    with place.open() as store:
        place.sql("DELETE FROM onrecord_sessions WHERE id = 1")
        problems = store.verify()
        assert names(problems, "stray") == [
            ("onrecord_tail", None, None),
            ("onrecord_segments", None, None),
        ]
        assert len(problems) == 2


def test_a_message_in_a_segment_and_in_a_row(place: Place) -> None:
    with place.open() as store:
        session = store.session("long", user="ada")
        row = next(b for b in place.blobs() if b.session == 1 and b.table == "tail")
        names_of = place.written("tail")
        ((*columns,),) = place.sql(
            f"SELECT {', '.join(names_of)} FROM onrecord_tail WHERE {HERE}", *row.key
        )
        kept = dict(zip(names_of, columns, strict=True))
        kept.update({"place": (1 << 32) + 4} if "place" in kept else {"seq": 4}, id=None)
        marks = ", ".join("?" for _ in kept)
        place.sql(f"INSERT INTO onrecord_tail ({', '.join(kept)}) VALUES ({marks})", *kept.values())
        assert names(store.verify(), "stray") == [(str(session.name), 4, 4)]


def test_what_stands_behind_the_head(place: Place) -> None:
    with place.open() as store:
        session = store.session("long", user="ada")
        place.sql("UPDATE onrecord_sessions SET head = 12 WHERE id = 1")
        problems = store.verify()
        assert (str(session.name), 13, 13) in names(problems, "stray")


# -- items ---------------------------------------------------------------------------------------

OF_ITEM = "namespace = (SELECT max(id) FROM onrecord_namespaces) AND key = ?"


def know(store: Store) -> Items:
    """Some items, one of them compressed, and one with a time to live."""
    items = store.items("facts", "old", user="ada")
    items.put("city", {"name": "Lyon"}, text="where she lives")
    items.put("notes", {"said": [said(n, 40)["content"] for n in range(9)]})
    items.put("mood", "fine", ttl=3_600)
    return items


def test_a_flipped_byte_of_a_value_is_noticed(place: Place) -> None:
    random = Random(8)
    with place.open() as store:
        items = know(store)
        before = {item.key: item for item in items.list()}
        for key in ("city", "notes"):
            ((body,),) = place.sql(f"SELECT body FROM onrecord_items WHERE {OF_ITEM}", key)
            update = f"UPDATE onrecord_items SET body = ? WHERE {OF_ITEM}"
            for at in range(0, len(body), 1 if len(body) < 100 else 23):
                changed = bytearray(body)
                changed[at] ^= random.randrange(1, 256)
                place.sql(update, bytes(changed), key)
                with pytest.raises(Damaged, match=key):
                    items.get(key)
                listed = {item.key: item for item in items.list()}
                left = listed.pop(key)
                assert left.value == bytes(changed)
                assert left.version == before[key].version
                assert f"Item {key!r} in 'facts'/'old' of user='ada'" in str(left.damaged)
                assert listed == {other: before[other] for other in before if other != key}
                found = {other: items.get(other) for other in before if other != key}
                assert found == {other: before[other] for other in found}
                if at % 5 == 0:
                    (problem,) = store.verify()
                    assert problem.where == f"item {key!r} in 'facts'/'old' of user='ada'"
                    assert problem.kind == "damaged"
            place.sql(update, body, key)
        assert {item.key: item for item in items.list()} == before
        assert store.verify() == []


def test_bytes_that_were_never_a_value(place: Place) -> None:
    with place.open() as store:
        items = know(store)
        for body in (*NEVER_A_FRAME, encode(Message("user", "hello"))[0]):
            place.sql(f"UPDATE onrecord_items SET body = ? WHERE {OF_ITEM}", body, "city")
            with pytest.raises(Damaged, match="delete it"):
                items.get("city")
            assert len(store.verify()) == 1
        assert items.put("city", "Nice").value == "Nice"
        assert store.verify() == []


def test_an_item_that_cannot_be_read_costs_no_other(place: Place) -> None:
    with place.open() as store:
        items = know(store)
        items.put("gone", {"name": "Lyon"}, token="first")
        place.sql(f"UPDATE onrecord_items SET body = ? WHERE {OF_ITEM}", b"nonsense", "gone")
        everywhere = partial(store.find_items, user="ada")
        for page in (items.list(order="updated"), everywhere(), everywhere(("facts",))):
            assert [(item.key, item.damaged is None) for item in page] == [
                ("gone", False), ("mood", True), ("notes", True), ("city", True)
            ]  # fmt: skip
        assert [item.key for item in items.list(filter={"name": "Lyon"})] == ["city"]
        assert [item.key for item in everywhere(filter={"name": {"$exists": False}})] == [
            "mood", "notes"
        ]  # fmt: skip
        assert list(items.get_many(["gone", "city"])) == ["gone", "city"]
        langgraph = OnrecordStore(store, user="ada")
        assert [item.key for item in langgraph.search(("facts",), query="lives")][:1] == ["city"]
        assert len(langgraph.search(("facts",))) == 3

        with pytest.raises(Damaged, match="'gone' in 'facts'"):
            items.merge("gone", {"more": 1})
        with pytest.raises(Conflict) as refused:
            items.put("gone", 1, expected=7)
        assert refused.value.item is not None
        assert refused.value.item.damaged is not None
        assert items.put("gone", {"name": "Nice"}, token="first").value == {"name": "Nice"}
        assert items.get("gone") is not None
        assert store.verify() == []


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ("version = 1", "its version is {version}, and its namespace's 1"),
        ("owner = owner + 32768", "its owner is"),
        ("path = substr(path, 7)", "its identity is not that of its names"),
        ("tenant = 'acme'", "its identity is not that of its names"),
        ("agent = ''", None),
    ],
)
def test_what_a_namespace_says_is_checked(place: Place, changed: str, what: str | None) -> None:
    with place.open() as store:
        versions = {item.key: item.version for item in know(store).list()}
        newest = "id = (SELECT max(id) FROM onrecord_namespaces)"
        place.sql(f"UPDATE onrecord_namespaces SET {changed} WHERE {newest}")
        problems = store.verify()
        assert bool(problems) == (what is not None)
        for problem in problems:
            assert problem.kind == "damaged"
        if changed.startswith("version"):
            assert [problem.what for problem in problems] == [
                f"{what}.".format(version=versions[key]) for key in sorted(versions)
            ]
        elif what is not None:
            assert any(what in problem.what for problem in problems)


def test_a_time_to_live_without_an_end_is_named(place: Place) -> None:
    with place.open() as store:
        know(store)
        place.sql(f"UPDATE onrecord_items SET expires_at = NULL WHERE {OF_ITEM}", "mood")
        (problem,) = store.verify()
        assert "its ttl is 3600000000, and its expires_at None" in problem.what


def test_items_of_no_namespace_are_stray(place: Place) -> None:
    with place.open() as store:
        know(store)
        place.sql("DELETE FROM onrecord_namespaces")
        (problem,) = store.verify()
        assert (problem.kind, problem.where) == ("stray", "onrecord_items")
        assert "3 rows belong to namespace" in problem.what


def test_a_state_of_no_session_is_stray(place: Place) -> None:
    with place.open() as store:
        session = store.session("s", user="ada")
        session.state.put("plan", 1)
        store.items("facts", user="ada").put("k", 1)
        place.sql("DELETE FROM onrecord_sessions WHERE key = 's'")
        (problem,) = store.verify()
        assert (problem.kind, problem.where) == ("stray", "the state of session 's', user='ada'")
        store.erase(user="ada")
        assert store.verify() == []


def test_a_namespace_in_another_shard_is_named(postgres_place: PostgresPlace) -> None:
    with postgres_place.open() as store:
        know(store)
        postgres_place.sql("UPDATE onrecord_namespaces SET shard = shard # 1")
        kinds = {(problem.kind, problem.where) for problem in store.verify()}
        assert kinds == {("damaged", "onrecord_namespaces"), ("stray", "onrecord_items")}


# -- life goes on --------------------------------------------------------------------------------

Damage = Callable[[Place], tuple[int, int]]


def _flip(choose: Callable[[Blob], bool]) -> Damage:
    def damage(place: Place) -> tuple[int, int]:
        blob = next(b for b in place.blobs() if b.session == 1 and choose(b))
        place.put(blob, blob.flipped(len(blob.body) // 2, 0x55))
        return blob.first, blob.last

    return damage


def _remove(choose: Callable[[Blob], bool]) -> Damage:
    def damage(place: Place) -> tuple[int, int]:
        blob = next(b for b in place.blobs() if b.session == 1 and choose(b))
        place.sql(f"DELETE FROM onrecord_{blob.table} WHERE {HERE}", *blob.key)
        return blob.first, blob.last

    return damage


def _dictionary(place: Place) -> tuple[int, int]:
    place.sql("UPDATE onrecord_dictionaries SET body = ?", b"nothing")
    needing = [b for b in place.blobs() if b.session == 1 and _needs_dictionary(b.body)]
    return min(b.first for b in needing), max(b.last for b in needing)


DAMAGES: dict[str, Damage] = {
    "the first segment": _flip(lambda b: b.table == "segments" and b.first == 1),
    "the last segment": _flip(lambda b: b.table == "segments" and b.first > 6),
    "a row": _flip(lambda b: b.table == "tail" and b.first == 11),
    "the dictionary": _dictionary,
    "a segment is missing": _remove(lambda b: b.table == "segments" and b.first == 4),
    "the last segment is missing": _remove(lambda b: b.table == "segments" and b.first > 6),
    "a row is missing": _remove(lambda b: b.table == "tail" and b.first == 11),
}
Changes = Callable[[Store, Session], Any]


def _edit(seq: int) -> Changes:
    return lambda _, session: session.edit(seq, ("user", "edited"))


def _delete(seq: int) -> Changes:
    return lambda _, session: session.delete(seq)


CHANGES: dict[str, Changes] = {
    "append": lambda _, s: s.append([said(n) for n in range(20, 28)]),
    "retry": lambda _, s: s.append([said(12, 1), said(9)]),
    "archive": lambda _, s: s.archive(range(1, 13)),
    "rewind into the first": lambda _, s: s.rewind(2),
    "rewind into the last": lambda _, s: s.rewind(8),
    "rewind into the rows": lambda _, s: s.rewind(11),
    "replace": lambda _, s: s.replace([said(30)], after=5),
    "replace archived": lambda _, s: s.replace([said(30)], archived=True),
    "replace active": lambda _, s: s.replace([said(30)], archived=False),
    **{f"edit {n}": _edit(n) for n in (2, 4, 9, 11)},
    **{f"delete {n}": _delete(n) for n in (2, 4, 9, 11)},
    "compact": lambda store, _: store.compact(quiet_for=0),
    "compact again": lambda store, _: store.compact(quiet_for=0, again=True),
    "train": lambda store, _: store.train(),
    "learn and compact": lambda store, _: (
        learn(store, 2, []),
        store.compact(quiet_for=0, again=True),
    ),
    "erase another": lambda store, _: store.erase(user="eve"),
    "update": lambda _, s: s.update(title="still here"),
}
NEVER_RAISE = {"append", "archive", "compact", "compact again", "train", "learn and compact",
               "erase another", "update"}  # fmt: skip


ENDS = {"append", "compact again", "edit 2", "rewind into the last"}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_session_goes_on(damage: str, sqlite_original: Path, tmp_path: Path) -> None:
    """Nothing raises but a refusal, nothing else is lost, and the damaged bytes are kept."""
    for n, (what, change) in enumerate(CHANGES.items()):
        path = tmp_path / f"{n}.db"
        shutil.copy(sqlite_original, path)
        place = SqlitePlace(path)
        goes_on(place, DAMAGES[damage], what, change)
        place.close()


def test_what_is_damaged_is_left_as_it_is(place: Place) -> None:
    """So that it can be read again if its bytes, or its dictionary, are put back."""
    with place.open() as store:
        handles = sessions_of(store)
        whole = {number: session.messages() for number, session in handles.items()}
        sealed = [blob for blob in place.blobs() if blob.table == "segments"]
        assert any(len(blob.seqs) < SEGMENT for blob in sealed)  # one that compaction goes on with
        broken = {blob: blob.flipped(20, 0x10) for blob in sealed}
        for blob, body in broken.items():
            place.put(blob, body)
        for session in handles.values():
            session.append([said(n) for n in range(50, 53)])
        store.compact(quiet_for=0)
        store.compact(quiet_for=0, again=True)
        assert {blob.body for blob in place.blobs()} >= set(broken.values())
        for blob in sealed:
            place.put(blob, blob.body)
        for number, session in handles.items():
            assert session.messages()[:-3] == whole[number]
        assert store.verify() == []


def test_a_damaged_session_goes_on_in_postgres(postgres_place: PostgresPlace) -> None:
    goes_on(postgres_place, DAMAGES["the last segment"], "compact again", CHANGES["compact again"])


def goes_on(place: Place, damage: Damage, what: str, change: Changes) -> None:
    with place.open() as store:
        session = store.session("long", user="ada")
        whole = {m.seq: m for m in session.messages()}
        bystander = store.session("plain", user="bob").messages()
        first, last = damage(place)
    with place.open() as store:
        session = store.session("long", user="ada")
        before = session.messages()
        known = {m.seq: m for m in before}
        raw = {m.seq: raw_of(m) for m in before if m.role == "damaged"}
        _look(store, session)
        version = session.version()
        try:
            change(store, session)
        except OnrecordError:
            if what in NEVER_RAISE:
                raise
            assert session.version() == version
            assert session.messages() == before
        found = {m.seq: m for m in session.messages()}
        _look(store, session)
        for seq, message in found.items():
            assert seq is not None
            if message.role == "damaged":
                assert first <= seq <= last
                if seq in raw:
                    assert raw_of(message) == raw[seq]
            elif seq in known and message.text != "edited" and not message.text.startswith("30:"):
                assert message == known[seq] or (seq in raw and message == whole[seq])
        if not what.startswith(("rewind", "replace", "delete")):
            assert found.keys() >= known.keys()
        assert store.session("plain", user="bob").messages() == bystander
        if what == "erase another":
            assert place.sql("SELECT count(*) FROM onrecord_dictionaries") == [(0,)]
        if what in ENDS:
            _ends(store)


def _look(store: Store, session: Session) -> None:
    messages = session.messages()
    assert session.tail(50) == messages == list(session.scan())
    assert session.tail(5) == messages[-5:]
    session.window(messages=4)
    session.window(tokens=50)
    session.info()
    session.count(archived=True)
    session.messages(archived=False)
    store.stats()
    store.verify()


def _ends(store: Store) -> None:
    """Clear and erase always work, and what comes after is healthy."""
    session = store.session("long", user="ada")
    session.clear()
    assert session.messages() == []
    session.append([said(n) for n in range(1, 10)])
    assert [m.seq for m in session.messages()] == list(range(1, 10))
    store.compact(quiet_for=0)
    assert [m.seq for m in session.messages()] == list(range(1, 10))
    assert session.info().messages == 9
    receipt = session.erase()
    assert receipt.removed["onrecord_sessions"] == 1
    assert session.messages() == []
    session.append(("user", "begins clean"))
    assert [m.text for m in session.messages()] == ["begins clean"]
    assert [p for p in store.verify() if p.where == str(session.name)] == []


# -- a dictionary that goes between two statements -----------------------------------------------


def test_a_dictionary_that_is_taken_away_under_a_reader(postgres_place: PostgresPlace) -> None:
    """The reader has the rows, and then the dictionary they need is gone: it reads again."""
    with postgres_place.open() as store, postgres_place.open() as other:
        for n in (0, 3, 9):
            session = store.session("long", user="ada")
            before = session.messages()
            with postgres_place.open() as fresh:
                fresh._ledger.open()
                fresh._ledger._dictionaries._known.clear()
                fresh._ledger._dictionaries._current = None
                name = fresh.session("long", user="ada").name

                def read(txn: Any, name: Any = name, n: int = n) -> Any:
                    rows = txn.rows
                    meanwhile = [lambda: other.erase(user="eve", thorough=False)]

                    class Slow:
                        def __getattr__(self, what: str) -> Any:
                            return getattr(txn, what)

                        def rows(self, *given: Any) -> Any:
                            answer = rows(*given)
                            if meanwhile:
                                meanwhile.pop()()
                            return answer

                    return rows_of.seen(Slow(), name, after=n)  # type: ignore[arg-type]

                seen = fresh._ledger.read(read)
                build = fresh._desk.build
                assert build.messages(seen, seen.rows) == [m for m in before if (m.seq or 0) > n]
            source = other.session("source", user="eve")
            source.append(("user", "again"))
            ((shard, number),) = postgres_place.sql(
                "SELECT shard, id FROM onrecord_sessions WHERE key = 'source'"
            )
            learn(store, n, [SessionKey(shard, number)])
            session.append([said(40 + n + i) for i in range(3)])
