"""Upkeep by the million: what erase, prune, compact, stats and lists take of a store that has
grown, and what somebody who appends meanwhile notices of it.

    make scale ARGS="--only upkeep"
    python -m bench.upkeep [--small] [--sessions 100000] [--only sqlite]

The sessions are copies of a few that a store wrote itself, row by row, under names of their own:
ten messages each, of twenty tenants of which one is small. Half of them were quiet for a year.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from functools import partial
from statistics import median, quantiles
from typing import Any, Final, NamedTuple
from unittest import mock

from bench.place import a_place
from bench.talk import Talk
from onrecord import ANY, Store
from onrecord.scope import SessionName
from onrecord.stored.clock import MICROSECONDS, now, period_of

MESSAGES: Final = 10
TEMPLATES: Final = 40
YEAR: Final = 365 * 86_400
_AT_ONCE: Final = 5_000


class Row(NamedTuple):
    """A line of the table that is printed."""

    what: str
    before: str
    """As it was measured when the work began: one machine, loaded."""
    measured: str
    wanted: str
    met: bool | None = None
    """None where nothing was asked for."""


class Grown(NamedTuple):
    """A store that was filled, and where it is."""

    store: Store
    url: str
    sessions: int

    @property
    def is_postgres(self) -> bool:
        return self.url.startswith("postgresql")


# -- filling ----------------------------------------------------------------------------------


def tenant_of(n: int) -> str:
    """One session in a hundred is of the small tenant."""
    return "small" if n % 100 == 0 else f"t{n % 19}"


def fill(url: str, count: int) -> None:
    """Make so many sessions, as appends would have left them."""
    with Store(url, **_settings(url)) as store:
        for n in range(TEMPLATES):
            said = [
                ("assistant" if i % 2 else "user", words)
                for i, words in enumerate(Talk(n).texts(MESSAGES))
            ]
            store.session(f"template-{n}").append(said)
        store._ledger.apart(lambda txn: _copied(txn, count))
        if url.startswith("postgresql"):
            store._ledger.apart(lambda txn: txn.run("VACUUM ANALYZE"))


def _settings(url: str) -> dict[str, Any]:
    return {} if url.startswith("postgresql") else {"durability": "normal"}


def _copied(txn: Any, count: int) -> None:
    postgres = txn.kind == "postgresql"
    sessions, ids = _rows(txn, "sessions", "id"), itertools.count(TEMPLATES + 1)
    tail = _rows(txn, "tail", "session")
    by_session: dict[int, list[dict[str, Any]]] = {}
    for row in tail:
        by_session.setdefault(row["session"], []).append(row)
    if not postgres:
        txn.cursor.execute("BEGIN IMMEDIATE")
    at = now()
    for begin in range(0, count, _AT_ONCE):
        heads: list[dict[str, Any]] = []
        rows: list[dict[str, Any]] = []
        for n in range(begin, min(begin + _AT_ONCE, count)):
            template = sessions[n % len(sessions)]
            name = SessionName(key=f"s{n}", tenant=tenant_of(n), user=f"u{n // 10}")
            number = next(ids)
            # The first half is of a year ago, a session a second; the others are of today.
            active = at - (YEAR * MICROSECONDS + n * MICROSECONDS if n < count // 2 else n * 1000)
            own = {
                "id": number,
                "identity": name.identity,
                "owner": name.owner,
                "tenant": name.tenant,
                "user": name.user,
                "key": name.key,
                "created": active,
                "last_active": active,
                "active_period": period_of(active),
                "expires_in": 30 * 86_400 * MICROSECONDS if n % 1000 == 7 else None,
            }
            heads.append({**template, **own, **({"shard": name.shard} if postgres else {})})
            for row in by_session[template["id"]]:
                of = {"session": number, **({"shard": name.shard} if postgres else {})}
                rows.append({**row, **of})
        _put(txn, "sessions", heads)
        _put(txn, "tail", rows)
    if postgres:
        sequence = "pg_get_serial_sequence('onrecord_sessions', 'id')"
        txn.first(f"SELECT setval({sequence}, (SELECT max(id) FROM {{sessions}}))", {})
    else:
        txn.cursor.execute("COMMIT")


def _rows(txn: Any, table: str, order: str) -> list[dict[str, Any]]:
    rows = txn.rows(f"SELECT * FROM {{{table}}} ORDER BY {order}", {})
    names = [column[0] for column in txn.cursor.description]
    return [dict(zip(names, row, strict=True)) for row in rows]


def _put(txn: Any, table: str, rows: Sequence[dict[str, Any]]) -> None:
    if txn.kind == "postgresql":
        names = list(rows[0])
        columns = ", ".join(f'"{name}"' for name in names)
        cursor = txn.cursor.connection.cursor()
        with cursor.copy(f"COPY onrecord_{table} ({columns}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row([row[name] for name in names])
        return
    told = ("session", "seq") if table == "tail" else ()  # made of the place
    names = [name for name in rows[0] if name not in told]
    for row in rows if table == "tail" else ():
        row["place"] = (row["session"] << 32) + row["seq"]
    columns = ", ".join(f'"{name}"' for name in names)
    marks = ", ".join(f":{name}" for name in names)
    txn.many(f"INSERT INTO {{{table}}} ({columns}) VALUES ({marks})", rows)


# -- measuring --------------------------------------------------------------------------------


def shown(seconds: float) -> str:
    return f"{seconds:,.1f} s" if seconds >= 1 else f"{seconds * 1e3:,.1f} ms"


_APPENDS: Final = """
import itertools, json, select, sys, time
from onrecord import Store
took = []
with Store(sys.argv[1]) as store:
    chats = [store.session(f"b{n}", user="bystander") for n in range(20)]
    for chat in itertools.cycle(chats):
        if select.select([sys.stdin], [], [], 0.01)[0]:
            break
        began = time.perf_counter()
        chat.append(("user", "and I go on"))
        took.append(time.perf_counter() - began)
        if len(took) == 5:
            print("begun", flush=True)
print(json.dumps(took[5:]))
"""


class Bystander:
    """A process that goes on appending, a little at a time, to sessions that nobody takes away."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.took: list[float] = []

    @property
    def percentiles(self) -> tuple[float, float]:
        took = self.took
        return median(took), quantiles(took, n=100)[98] if len(took) > 1 else took[0]

    def __enter__(self) -> Bystander:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _APPENDS, self._url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "begun\n"
        return self

    def __exit__(self, *_: object) -> None:
        self.took = json.loads(self._process.communicate()[0])


class Watched(NamedTuple):
    """What some work took, and what a bystander noticed of it."""

    seconds: float
    wal: int
    quiet: tuple[float, float]
    during: tuple[float, float]

    def rows(self, what: str, count: int, before: str, wanted: float) -> list[Row]:
        rate = count / self.seconds
        ratio = self.during[1] / self.quiet[1]
        found = [Row(what, before, f"{rate:,.0f}/s", f"{wanted:,.0f}/s", rate >= wanted)]
        if self.wal:
            found.append(Row("  WAL a session", "37 KB", f"{self.wal / count / 1024:,.1f} KB", ""))
        quiet, during = (f"{shown(p50)} / {shown(p99)}" for p50, p99 in (self.quiet, self.during))
        found.append(Row("  a bystander's append, quiet, p50 / p99", "", quiet, ""))
        said = f"{during}, {ratio:.1f} x"
        found.append(Row("  the same meanwhile", "p99 83 ms", said, "p99 2 x", ratio <= 2))
        return found


def watched(grown: Grown, work: Callable[[], object]) -> Watched:
    """Do some work while somebody appends."""
    with Bystander(grown.url) as alone:
        time.sleep(3)
    with Bystander(grown.url) as beside:
        began, wal = time.perf_counter(), _wal(grown)
        work()
        took = time.perf_counter() - began
        wal = _wal(grown) - wal
        time.sleep(max(0.0, 0.3 - took))
    return Watched(took, wal, alone.percentiles, beside.percentiles)


def _wal(grown: Grown) -> int:
    """How much the server has written to its log."""
    if not grown.is_postgres:
        return 0
    ask = "SELECT CAST(pg_current_wal_insert_lsn() - '0/0'::pg_lsn AS BIGINT)".replace(
        "'0/0'::pg_lsn", "CAST('0/0' AS pg_lsn)"
    )
    return int(grown.store._ledger.apart(lambda txn: txn.first(ask, {}))[0])  # type: ignore[index]


# -- the rows ---------------------------------------------------------------------------------


def stats_rows(grown: Grown) -> Iterator[Row]:
    took, work = _timed(lambda: grown.store.stats())
    said = f"{shown(took)} ({shown(work)} of our work)"
    yield Row("stats()", "3.1 s", said, "100 ms", took < 0.1)


def due_rows(grown: Grown) -> Iterator[Row]:
    from onrecord.ledger.maintenance import due
    from onrecord.scope import EVERYBODY

    asked = due.Asked(EVERYBODY, None, now(), None)
    took, _ = _timed(lambda: grown.store._ledger.read(lambda txn: due.count(txn, asked)))
    yield Row("what expired by its own time, found", "3.4 s", shown(took), "an index")


def listing_rows(grown: Grown) -> Iterator[Row]:
    """Lists that have nothing in them, which nothing but an index says, and some that have."""
    lists: dict[str, tuple[str, dict[str, Any]]] = {
        "no such tenant": ("1.1 s", {"tenant": "nobody", "user": ANY, "agent": ANY}),
        "no such agent": ("1.2 s", {"tenant": ANY, "user": ANY, "agent": "nobody"}),
        "no such metadata": (
            "1.5 s",
            {"tenant": ANY, "user": ANY, "agent": ANY, "metadata": {"plan": "none"}},
        ),
        "a tenant of 1 %": ("11 ms", {"tenant": "small", "user": ANY, "agent": ANY}),
        "one user": ("2.5 ms", {"tenant": "t1", "user": "u1", "agent": ""}),
    }
    for what, (before, asked) in lists.items():
        took, _ = _timed(partial(grown.store.sessions, limit=50, **asked))
        yield Row(f"50 sessions listed, {what}", before, shown(took), "10 ms", took < 0.01)
    everybody = partial(grown.store.sessions, tenant=ANY, user=ANY, agent=ANY, limit=50)
    yield Row("50 sessions listed, everybody's", "3.2 ms", shown(_timed(everybody)[0]), "")


_UPDATES: Final = """
    SELECT n_tup_hot_upd, n_tup_upd FROM pg_stat_user_tables
    WHERE relid = to_regclass('onrecord_sessions')"""
CHATS: Final = 200
MINUTES: Final = 40


def hot_rows(grown: Grown) -> Iterator[Row]:
    """How many updates of a session's row touch no index, at one append a minute."""
    if not grown.is_postgres:
        return
    before = _updates(grown)
    began = now()
    with Store(grown.url) as store:
        for minute in range(MINUTES):
            with _at(began + minute * 60 * MICROSECONDS):
                for n in range(CHATS):
                    role = "assistant" if minute % 2 else "user"
                    store.session(f"minute-{n}", user="minutes").append((role, "and I go on"))
    hot, updates = (after - then for after, then in zip(_updates(grown), before, strict=True))
    share = hot / max(updates, 1)
    yield Row("updates that touch no index", "0 %", f"{share:.0%}", "70 %", share >= 0.7)


@contextlib.contextmanager
def _at(moment: int) -> Iterator[None]:
    """Append as if it were another time."""
    with mock.patch("onrecord.flows.sessions.append.now", return_value=moment):
        yield


def _updates(grown: Grown) -> tuple[int, int]:
    """Updates of sessions, those that touched no index and all; a server counts when a connection
    is closed."""
    time.sleep(1.5)
    found = grown.store._ledger.apart(lambda txn: txn.first(_UPDATES, {}))
    assert found is not None
    return int(found[0]), int(found[1])


def alone_rows(grown: Grown) -> Iterator[Row]:
    """What the others are to be compared with, on a machine that does other things as well."""
    from onrecord.flow import run
    from onrecord.flows.maintenance.remove import remove

    few = [n for n in range(grown.sessions) if tenant_of(n) == "t1"][:50]
    names = [SessionName(key=f"s{n}", tenant="t1", user=f"u{n // 10}") for n in few]
    began = time.perf_counter()
    for name in names:
        run(remove(grown.store._desk, name), grown.store._perform)
    rate = len(names) / (time.perf_counter() - began)
    yield Row("erase, a transaction a session", "140/s", f"{rate:,.0f}/s", "")


def erase_rows(grown: Grown) -> Iterator[Row]:
    count = sum(tenant_of(n) == "small" for n in range(grown.sessions))
    erase = lambda: grown.store.erase(tenant="small", user=ANY, agent=ANY, thorough=False)  # noqa: E731
    yield from watched(grown, erase).rows(f"erase of {count:,} sessions", count, "140/s", 2_000)


def prune_rows(grown: Grown) -> Iterator[Row]:
    # A fifth of the old ones at the most: others want to measure something, too.
    most = min(grown.sessions // 10, 50_000)
    older = timedelta(seconds=YEAR + grown.sessions // 2 - most)
    done: list[int] = []
    work = lambda: done.append(grown.store.prune(older_than=older).count)  # noqa: E731
    found = watched(grown, work)
    yield from found.rows(f"prune of {done[0]:,} sessions", done[0], "125/s", 2_000)


def compact_rows(grown: Grown) -> Iterator[Row]:
    begun = time.perf_counter()
    done = grown.store.compact(quiet_for=YEAR // 2)
    took = time.perf_counter() - begun
    rate = done.sessions / took
    yield Row(f"compact of {done.sessions:,}", "", f"{rate:,.0f}/s", "1,000/s", rate >= 1_000)


ROWS: Final[list[Callable[[Grown], Iterator[Row]]]] = [
    stats_rows,
    due_rows,
    listing_rows,
    hot_rows,
    alone_rows,
    erase_rows,
    prune_rows,
    compact_rows,
]
"""Others add their own; what takes away comes last."""


def _timed(work: Callable[[], object], times: int = 5) -> tuple[float, float]:
    """The medians of what the clock says, and of what this process worked."""
    found = []
    for _ in range(times):
        began, busy = time.perf_counter(), time.process_time()
        work()
        found.append((time.perf_counter() - began, time.process_time() - busy))
    clock, worked = zip(*found, strict=True)
    return median(clock), median(worked)


def main(small: bool, only: str = "", sessions: int = 0) -> None:
    count = sessions or (10_000 if small else 1_000_000)
    with a_place(quick=small) as place:
        new: dict[str, Callable[[], str]] = {
            "SQLite": lambda: f"sqlite:///{place.file('upkeep')}",
            "PostgreSQL": place.database,
        }
        for name, url in new.items():
            if only.lower() not in name.lower():
                continue
            where = url()
            began = time.perf_counter()
            fill(where, count)
            print(f"Upkeep of {count:,} sessions, {name}", end="")
            print(f" (filled in {shown(time.perf_counter() - began)})", flush=True)
            with contextlib.closing(Store(where)) as store:
                grown = Grown(store, where, count)
                print(_line("what", "before", "measured", "wanted", "met"))
                for measure in ROWS:
                    for row in measure(grown):
                        met = "" if row.met is None else "yes" if row.met else "no"
                        print(_line(*row[:4], met), flush=True)


def _line(*cells: str) -> str:
    widths = (42, 10, 36, 10, 4)
    return "  " + "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--small", action="store_true", help="10,000 sessions")
    options.add_argument("--only", default="", help="sqlite, or postgresql")
    options.add_argument("--sessions", type=int, default=0, help="how many")
    chosen = options.parse_args()
    main(chosen.small, chosen.only, chosen.sessions)
