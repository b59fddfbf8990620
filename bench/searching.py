"""Search in a store that has grown: somebody who said much, among many others.

    python -m bench.searching [--small] [--only sqlite]

The others are copies of twenty users, row by row: their words are in the index as anybody's are.
Times are of the clock; in brackets what the process itself worked, without the server's part.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median, quantiles
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, create_engine, text

from bench.place import a_place
from bench.talk import Talk
from onrecord import Store

SEED: Final = 1
SESSION: Final = 50
"""Messages a session of the user who is asked."""
TEMPLATES: Final = 20
QUESTIONS: Final = 150
FRESH: Final = 12
"""Processes, each asking its first question."""

_FIRST: Final = """
import sys, time
from onrecord import Store
with Store(sys.argv[1]) as store:
    began, busy = time.perf_counter(), time.process_time()
    store.search(sys.argv[2], user="somebody")
    print(time.perf_counter() - began, time.process_time() - busy)
"""

_TABLES: Final = ("onrecord_sessions", "onrecord_tail", "onrecord_runs")
_OWN: Final = {
    "sqlite": {
        "id": "id + :far",
        "place": "place + (:far << 32)",
        "identity": "randomblob(16)",
        "owner": "random()",
        "user": '"user" || :copy',
    },
    "postgresql": {
        "id": "id + :far",
        "session": "session + :far",
        "identity": "decode(md5(random()::text), 'hex')",
        "owner": "CAST((random() - 0.5) * 18e18 AS BIGINT)",
        "user": '"user" || CAST(:copy AS TEXT)',
    },
}


def opened(url: str, **settings: Any) -> Store:
    """A store that does not wait for the disk where that is its own choice."""
    if url.startswith("sqlite"):
        settings["durability"] = "normal"
    return Store(url, **settings)


class Took(NamedTuple):
    """Seconds by the clock, and of the process."""

    clock: float
    work: float


def timed(work: Callable[[], object]) -> Took:
    began, busy = time.perf_counter(), time.process_time()
    work()
    return Took(time.perf_counter() - began, time.process_time() - busy)


def shown(took: Sequence[Took]) -> str:
    clock, work = zip(*took, strict=True)
    p50, p95 = median(clock), quantiles(clock, n=20)[-1]
    q50, q95 = median(work), quantiles(work, n=20)[-1]
    return f"p50 {p50 * 1e3:.2f} ms, p95 {p95 * 1e3:.2f} ms ({q50 * 1e3:.2f}, {q95 * 1e3:.2f})"


def said(texts: Sequence[str]) -> list[tuple[str, str]]:
    return [("assistant" if n % 2 else "user", each) for n, each in enumerate(texts)]


def somebody(store: Store, messages: int) -> None:
    """Say so much as one user."""
    talk = Talk(SEED)
    for n in range(0, messages, SESSION):
        store.session(f"s{n:06}", user="somebody").append(said(list(talk.texts(SESSION))))


def questions(messages: int, count: int) -> list[str]:
    talk = Talk(SEED)
    for _ in talk.texts(messages):
        pass
    return [talk.question() for _ in range(count)]


class Crowd:
    """Users who are copies of a few."""

    def __init__(self, store: Store, url: str, each: int) -> None:
        for n in range(TEMPLATES):
            session = store.session("talk", user=f"u{n}-")
            session.append(said(list(Talk(1_000 + n).texts(each))))
        store.index()
        self.users = TEMPLATES
        self._engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
        with self._engine.begin() as connection:
            self._templates = connection.scalar(text("SELECT max(id) FROM onrecord_sessions"))

    def grow(self, users: int) -> None:
        """Copy until there are so many."""
        with self._engine.begin() as connection:
            highest = connection.scalar(text("SELECT max(id) FROM onrecord_sessions"))
            while self.users < users:
                copy = self.users // TEMPLATES
                self._copied(connection, highest + (copy - 1) * self._templates, copy)
                self.users += TEMPLATES
            if self._engine.name == "postgresql":
                connection.execute(
                    text(
                        "SELECT setval(pg_get_serial_sequence('onrecord_sessions', 'id'), "
                        "(SELECT max(id) FROM onrecord_sessions))"
                    )
                )
        if self._engine.name == "postgresql":
            with self._engine.connect() as connection:
                connection.execution_options(isolation_level="AUTOCOMMIT")
                connection.execute(text("VACUUM ANALYZE"))

    def close(self) -> None:
        self._engine.dispose()

    def _copied(self, connection: Connection, far: int, copy: int) -> None:
        own = _OWN[self._engine.name]
        for table in _TABLES:
            names = list(connection.execute(text(f"SELECT * FROM {table} LIMIT 0")).keys())
            if "place" in names:  # made of it
                names = [name for name in names if name not in ("session", "seq")]
            columns = ", ".join(f'"{name}"' for name in names)
            values = ", ".join(own.get(name, f'"{name}"') for name in names)
            number = "id" if "id" in names and table == _TABLES[0] else "session"
            if table != _TABLES[0]:
                values = values.replace("id + :far", '"id"')
            always = "OVERRIDING SYSTEM VALUE " if self._engine.name == "postgresql" else ""
            if table != _TABLES[0]:
                always = ""
            connection.execute(
                text(
                    f"INSERT INTO {table} ({columns}) {always}SELECT {values} FROM {table} "
                    f"WHERE {number} <= {self._templates}"
                ),
                {"far": far, "copy": str(copy)},
            )


def among(
    url: str, users: Sequence[int], each: int, own: int, fresh: int = FRESH
) -> dict[int, float]:
    """Search as somebody who said much, among ever more others; the median of each."""
    found: dict[int, float] = {}
    with opened(url) as store:
        crowd = Crowd(store, url, each)
        with contextlib.closing(crowd):
            somebody(store, own)
            store.index()
            for many in users:
                crowd.grow(many)
                print(f"  {own:,} messages of one, among {many * each:,} of {many:,} others")
                took = warm(url, own)
                print(f"    warm: {shown(took)}", flush=True)
                print(f"    cold: {shown(cold(url, own, fresh))}", flush=True)
                found[many] = median(one.work for one in took)
    return found


def warm(url: str, own: int) -> list[Took]:
    """In a process that has asked other things before."""
    asked = questions(own, 3 * QUESTIONS)
    with Store(url) as store:
        for each in asked[QUESTIONS:]:
            store.search(each, user="somebody")
        return [
            timed(lambda each=each: store.search(each, user="somebody"))  # type: ignore[misc]
            for each in asked[:QUESTIONS]
        ]


def cold(url: str, own: int, fresh: int) -> list[Took]:
    """The first search of a process, its connection too."""
    asked = questions(own, fresh)
    return [_first(url, each) for each in asked]


def _first(url: str, question: str) -> Took:
    arguments = [sys.executable, "-c", _FIRST, url, question]
    answer = subprocess.run(arguments, check=True, capture_output=True, text=True).stdout
    return Took(*map(float, answer.split()))


def index_of(url: str, messages: int) -> None:
    """What the index takes: bytes, and time to catch up."""
    with opened(url) as store:
        somebody(store, messages)
        store.index()  # the words are known from here on
        store.index(again=True)
        before = _size(url, "onrecord_runs")
        took = timed(lambda: store.index(again=True))
        size = (_size(url, "onrecord_runs") or before) / messages
        each = f"{took.clock / messages * 1e6:.1f} µs a message ({took.work / messages * 1e6:.1f})"
        print(f"  index: {size:.1f} B a message; caught up in {each}", flush=True)
    with opened(url, embedder=_numbers) as store:
        store.embed()
        print(f"  vectors of 384: {_size(url, 'onrecord_vectors') / messages:.1f} B a message")


def _numbers(texts: Sequence[str]) -> list[list[float]]:
    return [[float((hash(each) >> n % 61 & 1) * 2 - 1) for n in range(384)] for each in texts]


def _size(url: str, table: str) -> int:
    """Bytes of a table with its indexes; of SQLite by the pages that it would take alone."""
    if url.startswith("postgresql"):
        engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
        with engine.connect() as connection:
            connection.execution_options(isolation_level="AUTOCOMMIT")
            connection.execute(text(f"VACUUM FULL {table}"))  # what was there before is not its
            size = connection.scalar(text(f"SELECT pg_total_relation_size('{table}')"))
        engine.dispose()
        return int(size)
    import sqlite3

    with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as here:
        made = here.execute("SELECT sql FROM sqlite_master WHERE name = ?", (table,)).fetchone()[0]
        rows = here.execute(f"SELECT * FROM {table}")
        names = [column[0] for column in rows.description]
        if "place" in names:
            names = [name for name in names if name not in ("session", "seq")]
        every = here.execute(f"SELECT {', '.join(names)} FROM {table}").fetchall()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "alone.db"
        with contextlib.closing(sqlite3.connect(file)) as alone:
            alone.execute(made)
            marks = ", ".join("?" * len(names))
            alone.executemany(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})", every)
            alone.commit()
        return file.stat().st_size


def appends(with_index: str, without: str, count: int) -> None:
    """An append where the index is there beside one where there is none."""
    with opened(with_index) as one, opened(without) as two:
        took: list[list[Took]] = [[], []]
        for store in (one, two):
            somebody(store, 1_000)
        one.index()
        chats = [store.session("s000000", user="somebody") for store in (one, two)]
        talk = Talk(SEED + 1)
        for n in range(count + 50):
            words = talk.text()
            for which in (0, 1) if n % 2 else (1, 0):
                chat = chats[which]
                taken = timed(lambda chat=chat: chat.append(("user", words)))  # type: ignore[misc]  # noqa: B023
                if n >= 50:
                    took[which].append(taken)
        clocks = [[each.clock for each in some] for some in took]
        middle = median(clocks[0]) / median(clocks[1])
        late = quantiles(clocks[0], n=100)[-1] / quantiles(clocks[1], n=100)[-1]
        print(f"  an append with the index there, beside without: {middle:.3f} x, p99 {late:.2f} x")


def main(small: bool, only: str) -> None:
    part = 100 if small else 1
    with a_place(quick=small) as place:
        new: dict[str, Callable[[], str]] = {
            "SQLite": lambda: f"sqlite:///{place.file('search')}",
            "PostgreSQL": place.database,
        }
        for name, url in new.items():
            if only and only.lower() != name.lower():
                continue
            print(f"Search, {name}", flush=True)
            index_of(url(), 10_000 // (10 if small else 1))
            appends(url(), url(), 1_000 // (10 if small else 1))
            fresh = 5 if small else FRESH
            among(url(), [10_000 // part], 100, 5_000 // min(part, 10), fresh)
            few, many = 1_000 // min(part, 10), 100_000 // part
            found = among(url(), [few, many], 10, 1_000, fresh)
            ratio = found[many] / found[few]
            print(f"  among {many:,} users: {ratio:.2f} x among {few:,}, by what it works")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--small", action="store_true", help="a hundredth")
    parser.add_argument("--only", default="", help="sqlite or postgresql")
    main(**vars(parser.parse_args()))
