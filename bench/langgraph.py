"""What a checkpointer costs as a thread grows: LangGraph's own savers beside OnrecordSaver.

    .venv/bin/python bench/langgraph.py

One graph of two messages a turn, 400 turns, on each saver in turn. Disk: the database's file, or
its tables with their indexes. Written: what a turn adds to the write-ahead log, the mean of the 32
turns before (every 32nd, ours also merges items into one row). Time: the median of the 20 turns
before; the garbage collector stays on, and every commit waits for the disk as it does by itself.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import sqlite3
import statistics
import struct
import sys
import tempfile
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

# Not this folder: files in it are called like the packages they measure.
sys.path[0] = str(Path(__file__).parents[1])

import psycopg  # noqa: E402
from langchain_core.messages import AIMessage, HumanMessage  # noqa: E402
from langgraph.checkpoint.postgres import PostgresSaver  # noqa: E402
from langgraph.checkpoint.sqlite import SqliteSaver  # noqa: E402
from langgraph.graph import START, MessagesState, StateGraph  # noqa: E402
from psycopg.rows import dict_row  # noqa: E402
from sqlalchemy import create_engine, event  # noqa: E402

from langgraph_onrecord import OnrecordSaver  # noqa: E402
from onrecord import Store  # noqa: E402
from onrecord.ledger.database.transaction import Transaction  # noqa: E402
from tests.servers.binaries import Missing  # noqa: E402
from tests.servers.postgres import OwnPostgres, find_postgres_binaries  # noqa: E402

MARKS = (50, 100, 200, 400)
WINDOW = 32
TIMED = 20
LETTERS = "abcdefghijklmnopqrstuvwxyz     "

chance = random.Random(7)


def text() -> str:
    """220 bytes that hardly repeat themselves."""
    return "".join(chance.choices(LETTERS, k=220))


def answer(state: MessagesState) -> dict[str, Any]:
    return {"messages": [AIMessage(text(), id=str(uuid.uuid4()))]}


class Contestant(ABC):
    """A saver with a graph on it, and what it has cost so far."""

    def __init__(self, name: str, saver: Any) -> None:
        self.name = name
        builder = StateGraph(MessagesState)
        builder.add_node("bot", answer)
        builder.add_edge(START, "bot")
        self.graph = builder.compile(checkpointer=saver)
        self.config: Any = {"configurable": {"thread_id": "support-42"}}
        self.said: list[str] = []
        self.statements = 0
        self.turns: list[tuple[float, int, int]] = []
        self.disk: dict[int, int] = {}

    def turn(self) -> None:
        said = HumanMessage(text(), id=str(uuid.uuid4()))
        self.said.append(str(said.content))
        statements, written = self.statements, self.written()
        start = time.perf_counter()
        self.graph.invoke({"messages": [said]}, self.config)
        took = time.perf_counter() - start
        self.turns.append((took, self.statements - statements, self.written() - written))

    def check(self) -> None:
        """That everything is there which was said."""
        messages = self.graph.get_state(self.config).values["messages"]
        assert len(messages) == 2 * len(self.said), self.name
        assert [message.content for message in messages[::2]] == self.said, self.name

    @abstractmethod
    def written(self) -> int:
        """Bytes in the write-ahead log since it began."""

    @abstractmethod
    def size(self) -> int:
        """Bytes on disk."""

    def time_at(self, turn: int) -> float:
        return statistics.median(took for took, *_ in self.turns[max(0, turn - TIMED) : turn])

    def mean_at(self, turn: int, what: int) -> float:
        return statistics.mean(one[what] for one in self.turns[max(0, turn - WINDOW) : turn])

    def _count(self, *_: object) -> None:
        self.statements += 1


class Sqlite(Contestant):
    """Measured by its file, and the pages that went into the log beside it."""

    def __init__(self, name: str, saver: Any, file: Path) -> None:
        super().__init__(name, saver)
        self.file = file
        self._bytes = self._frames = 0

    def written(self) -> int:
        """By the count of pages that SQLite keeps beside its log, which it begins anew at times."""
        index = self.file.with_name(self.file.name + "-shm")
        if index.exists():
            with index.open("rb") as opened:
                _, page, frames = struct.unpack("14sHI", opened.read(20))
            self._bytes += (frames - self._frames if frames >= self._frames else frames) * page
            self._frames = frames
        return self._bytes

    def size(self) -> int:
        """The pages that the file has once the log is folded back into it."""
        with contextlib.closing(sqlite3.connect(self.file)) as connection:
            [pages] = connection.execute("PRAGMA page_count").fetchone()
            [size] = connection.execute("PRAGMA page_size").fetchone()
        return int(pages) * int(size)


class Postgres(Contestant):
    """Measured by its tables, and by the server's log: nobody else writes there meanwhile."""

    def __init__(self, name: str, saver: Any, url: str, tables: str) -> None:
        super().__init__(name, saver)
        self.tables = tables
        self.asking = psycopg.connect(url, autocommit=True)

    def written(self) -> int:
        row = self.asking.execute("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn").fetchone()
        assert row is not None
        return int(row[0])

    def size(self) -> int:
        row = self.asking.execute(
            "SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class c "
            "WHERE c.relkind = 'r' AND c.relname LIKE %s",
            (self.tables,),
        ).fetchone()
        assert row is not None
        return int(row[0])


def counted(connection: Any, contestant: Contestant) -> None:
    """Count the statements of one connection of psycopg."""

    class Counted(psycopg.Cursor[Any]):
        def execute(self, *given: Any, **how: Any) -> Any:
            contestant._count()
            return super().execute(*given, **how)

        def executemany(self, query: Any, params_seq: Any, *, returning: bool = False) -> None:
            values = list(params_seq)
            contestant.statements += len(values)
            super().executemany(query, values, returning=returning)

    connection.cursor_factory = Counted


@contextlib.contextmanager
def contestants(
    folder: Path, server: OwnPostgres | None, *, watched: bool = True
) -> Iterator[list[Contestant]]:
    """Each with a database of its own. ``watched`` counts statements and all that is written,
    which takes time, and keeps SQLite from folding its log back into the file."""
    with contextlib.ExitStack() as stack:
        made: list[Contestant] = [
            _sqlite_saver(stack, folder / "theirs.db", watched),
            _onrecord_on_sqlite(stack, folder / "ours.db", watched),
        ]
        if server is not None:
            made.append(_postgres_saver(stack, server, watched))
            made.append(_onrecord_on_postgres(stack, server, watched))
        yield made


def _sqlite_saver(stack: contextlib.ExitStack, file: Path, watched: bool) -> Contestant:
    connection = stack.enter_context(
        contextlib.closing(sqlite3.connect(file, check_same_thread=False))
    )
    made = Sqlite("SqliteSaver", SqliteSaver(connection), file)
    if watched:
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.set_trace_callback(made._count)
    return made


def _onrecord_on_sqlite(stack: contextlib.ExitStack, file: Path, watched: bool) -> Contestant:
    engine = create_engine(f"sqlite:///{file}", connect_args={"check_same_thread": False})
    made: list[Sqlite] = []

    def prepare(connection: Any, _: object) -> None:
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.set_trace_callback(lambda _: made[0]._count() if made else None)

    if watched:
        event.listen(engine, "connect", prepare)
    store = stack.enter_context(Store(engine=engine))
    made.append(Sqlite("OnrecordSaver, SQLite", OnrecordSaver(store), file))
    return made[0]


def _postgres_saver(stack: contextlib.ExitStack, server: OwnPostgres, watched: bool) -> Contestant:
    url = stack.enter_context(server.database("theirs"))
    held: Any = stack.enter_context(psycopg.connect(url, autocommit=True, row_factory=dict_row))
    saver = PostgresSaver(held)
    saver.setup()
    made = Postgres("PostgresSaver", saver, url, "checkpoint%")
    stack.callback(made.asking.close)
    if watched:
        counted(held, made)
    return made


def _onrecord_on_postgres(
    stack: contextlib.ExitStack, server: OwnPostgres, watched: bool
) -> Contestant:
    url = stack.enter_context(server.database("ours"))
    store = stack.enter_context(Store(url))
    made = Postgres("OnrecordSaver, PostgreSQL", OnrecordSaver(store), url, "onrecord_%")
    stack.callback(made.asking.close)
    if watched:
        for method in ("first", "rows", "run"):
            _counting(stack, Transaction, method, made)
    return made


def _counting(stack: contextlib.ExitStack, cls: Any, method: str, contestant: Contestant) -> None:
    """Count the statements of ours, until the stack is closed."""
    real = getattr(cls, method)

    def call(self: Any, *given: Any) -> Any:
        if self.kind == "postgresql":
            contestant._count()
        return real(self, *given)

    setattr(cls, method, call)
    stack.callback(setattr, cls, method, real)


def played(all_of_them: list[Contestant], turns: int, marks: Sequence[int]) -> None:
    """All turns, in which everybody has one in an order that changes."""
    order = list(all_of_them)
    for n in range(1, turns + 1):
        chance.shuffle(order)
        for one in order:
            one.turn()
            if n in marks:
                one.disk[n] = one.size()
    for one in all_of_them:
        one.check()


@contextlib.contextmanager
def server_of_its_own() -> Iterator[OwnPostgres | None]:
    """A PostgreSQL, where there is one."""
    binaries = find_postgres_binaries()
    if isinstance(binaries, Missing):
        print(f"No PostgreSQL: {binaries.reason}")
        yield None
        return
    with contextlib.closing(OwnPostgres(binaries)) as server:
        yield server


def shown(size: float) -> str:
    return f"{size / 1e6:,.2f} MB" if size >= 1e6 else f"{size / 1e3:,.1f} kB"


def table(title: str, rows: dict[str, list[str]], marks: list[int]) -> None:
    print(f"\n{title:34}" + "".join(f"{f'turn {mark}':>14}" for mark in marks))
    for name, cells in rows.items():
        print(f"{name:34}" + "".join(f"{cell:>14}" for cell in cells))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=400)
    turns = parser.parse_args().turns
    marks = [10, *(mark for mark in MARKS if mark <= turns)]
    with (
        tempfile.TemporaryDirectory() as folder,
        server_of_its_own() as server,
        contestants(Path(folder), server) as all_of_them,
    ):
        played(all_of_them, turns, marks)
        names = {one.name: one for one in all_of_them}
        table(
            "on disk",
            {name: [shown(one.disk[m]) for m in marks] for name, one in names.items()},
            marks,
        )
        table(
            "written a turn",
            {name: [shown(one.mean_at(m, 2)) for m in marks] for name, one in names.items()},
            marks,
        )
        table(
            "statements a turn",
            {name: [f"{one.mean_at(m, 1):.1f}" for m in marks] for name, one in names.items()},
            marks,
        )
        table(
            "time a turn",
            {
                name: [f"{one.time_at(m) * 1e3:.1f} ms" for m in marks]
                for name, one in names.items()
            },
            marks,
        )
        last = marks[-1]
        print()
        for theirs, ours in (
            ("SqliteSaver", "OnrecordSaver, SQLite"),
            ("PostgresSaver", "OnrecordSaver, PostgreSQL"),
        ):
            if ours not in names:
                continue
            a, b = names[theirs], names[ours]
            grown = b.mean_at(last, 2) / b.mean_at(marks[1], 2)
            print(
                f"{ours}, turn {last}: {a.disk[last] / b.disk[last]:.0f} x smaller than {theirs}, "
                f"{a.mean_at(last, 2) / b.mean_at(last, 2):.1f} x fewer bytes written, "
                f"{a.time_at(last) / b.time_at(last):.2f} x the speed "
                f"({a.time_at(10) / b.time_at(10):.2f} x at turn 10); "
                f"it writes {grown:.2f} x what it wrote at turn {marks[1]}"
            )


if __name__ == "__main__":
    main()
