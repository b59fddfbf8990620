"""A bit that flips in a number: every integer column, every bit, every method that reads.

At the sign every method is asked. At the other bits where something changes (``EDGES``), and on
PostgreSQL, which says what SQLite says, every eighth is, in turns, so that eight in a row ask all
of them. Of the bits between, where each does what its neighbours do, eight in 64 are tried, in each
column others. ONRECORD_SEEDS=8 tries every bit and asks every method everywhere.

It costs the row that it is in, and nobody else: the others are read, listed and exported as
before, nothing raises but a named error about that one, and ``verify()`` names what it finds.
"""

from __future__ import annotations

import functools
import io
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest
from msgspec.structs import replace

from onrecord import ANY, CheckpointLog, Damaged, OnrecordError, Store
from onrecord.checkpoint_log import (
    Item,
    Listing,
    New,
    Value,
)
from onrecord.ledger.sessions import sessions
from onrecord.scope import SessionName
from tests.servers.postgres import PostgresServer
from tests.test_damage import Place, PostgresPlace, SqlitePlace, learn, said

LONG, PLAIN, FIRST, SECOND = "long", "plain", "thread one", "thread two"
FACTS, MY_FACTS = "facts", "facts of ada"
MINE = {LONG, FIRST, MY_FACTS}
"""What the numbers that are damaged belong to."""


@pytest.fixture(scope="module", autouse=True)
def _tiny_segments() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("onrecord.ledger.sessions.sealing.SEGMENT", 3)
        yield


def item(text: str) -> Item:
    return ("text", text.encode())


def furnish(place: Place) -> None:
    """Two of everything that has numbers: one to be damaged, and one that must not notice."""
    with place.open() as store:
        for key, user in ((LONG, "ada"), (PLAIN, "bob")):
            session = store.session(key, user=user)
            session.append([said(n) for n in range(1, 9)])
            session.delete(2)
            session.archive([1, 4])
            session.update(title=f"of {user}", expires_in=timedelta(days=3_000))
        found = store._ledger.read(
            lambda txn: sessions.find(txn, SessionName(key=PLAIN, user="bob"))
        )
        assert found is not None
        learn(store, 1, [found.key])
        store.compact(quiet_for=0, again=True)
        for key, user in ((LONG, "ada"), (PLAIN, "bob")):
            store.session(key, user=user).append([said(n) for n in range(9, 12)])
        gone = store.session("gone", user="eve")
        gone.append(said(1))
        gone.erase()
        log = CheckpointLog(store, user="ada")
        for thread in (FIRST, SECOND):
            body = (("json", b"{}"),)
            values: dict[str, Value] = {
                "messages": Listing([item("a"), item("b")]),
                "step": item("one"),
            }
            put = log.put(thread, "", New("1", None, body, values, "run"))
            numbers = put.numbers["messages"]
            values = {"messages": Listing([*numbers, item("c")]), "step": item("two")}
            log.put(thread, "", New("2", "1", body, values, "run"))
            log.put_writes(thread, "", "2", "task", "path", [(0, "messages", item("d"))])
            log.update(thread, title=thread, expires_in=timedelta(days=3_000))
        for user in ("ada", "bob"):
            items = store.items(FACTS, user=user)
            items.put_many({f"k{n}": {"n": n} for n in range(3)})
            items.put("k1", {"n": "one"}, ttl=timedelta(days=3_000))
        store.index()
        for name in ("indexer", "analytics"):
            feed = store.feed(name)
            done = feed.read()
            if name == "indexer":
                feed.done(done)


class Column(NamedTuple):
    table: str
    name: str
    bits: int


WIDTHS = {"BIGINT": 64, "INTEGER": 64, "SMALLINT": 64, "bigint": 64, "integer": 32, "smallint": 16}
TABLES = (
    "sessions", "tail", "segments", "runs", "dictionaries", "erased", "counters",
    "checkpoint_threads",
    "checkpoint_lists", "checkpoints", "checkpoint_items", "checkpoint_writes", "namespaces",
    "items", "feeds", "feed_positions",
)  # fmt: skip
ROW = {"sqlite": "rowid", "postgres": "ctid"}
"""What a row is known by, whichever of its columns is damaged."""


def columns_of(place: Place, table: str) -> list[Column]:
    """The integer columns of a table, as the database itself names them."""
    if isinstance(place, SqlitePlace):
        found = [(name, kind) for _, name, kind, *_ in place.sql(
            f"SELECT * FROM pragma_table_info('onrecord_{table}')")]  # fmt: skip
    else:
        found = place.sql(
            "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = ?",
            f"onrecord_{table}",
        )
    return [Column(table, name, WIDTHS[kind]) for name, kind in sorted(found) if kind in WIDTHS]


def rows_to_damage(place: Place, table: str) -> list[Any]:
    """The keys of a row of the long session or the first thread, of each kind there is."""
    statement = {
        "sessions": f"WHERE key = '{LONG}'",
        "tail": "WHERE session = 1 ORDER BY seq DESC LIMIT 1",
        "segments": "WHERE session = 1 ORDER BY seq LIMIT 1",
        "runs": "WHERE session = 1 ORDER BY seq LIMIT 1",
        "erased": "LIMIT 1",
        "counters": "ORDER BY id LIMIT 1",
        "dictionaries": "ORDER BY id LIMIT 1",
        "checkpoint_threads": f"WHERE key = '{FIRST}'",
        "checkpoint_lists": "WHERE thread = 1 ORDER BY id",
        "checkpoint_writes": "ORDER BY number LIMIT 1",
        "namespaces": "WHERE id = 1",
        "feeds": "ORDER BY id LIMIT 1",
        "feed_positions": "WHERE session = 1 ORDER BY feed",
        "items": "WHERE namespace = 1 AND key <> 'k2' ORDER BY key",
    }.get(table, "ORDER BY list, number LIMIT 1")
    return [
        key
        for (key,) in place.sql(f"SELECT {_row(place, table)} FROM onrecord_{table} {statement}")
    ]


def _row(place: Place, table: str) -> str:
    if not isinstance(place, SqlitePlace):
        return ROW["postgres"]
    # Its rows have no number of their own.
    return "namespace || ' ' || key" if table == "items" else ROW["sqlite"]


def put(place: Place, table: str, name: str, value: Any, key: Any) -> Any:
    """Put a value in a row, and return what the row is known by then."""
    row = _row(place, table)
    ((moved,),) = place.sql(
        f"UPDATE onrecord_{table} SET {name} = ? WHERE {row} = ? RETURNING {row}", value, key
    )
    return moved


def flipped(value: int | None, bit: int, bits: int) -> int:
    changed: int = (value or 0) & (2**bits - 1) ^ 1 << bit
    return changed - 2**bits if changed >> bits - 1 else changed


def _of(what: Any, ask: Callable[[Any], Any]) -> Any:
    return ask(what)


Answers = dict[tuple[str, str], Any]


class Turn:
    """Which of the questions are asked: all, or one in so many."""

    def __init__(self, first: int = 0, of: int = 1) -> None:
        self._number, self._of = first, of

    def comes(self) -> bool:
        self._number += 1
        return self._number % self._of == 0


def answers(store: Store, table: str, turn: Turn) -> Answers:
    """What the methods that read say, by whom they are asked about; a named error is an answer."""
    found: Answers = {}

    def ask(who: str, what: str, work: Callable[[], Any]) -> None:
        if not turn.comes():
            return
        try:
            found[who, what] = work()
        except OnrecordError as fault:
            found[who, what] = fault

    of_threads, of_items = table.startswith("checkpoint"), table in OF_ITEMS
    for key, user in () if of_threads or of_items else ((LONG, "ada"), (PLAIN, "bob")):
        session = store.session(key, user=user)
        ask(key, "tail", partial(_of, session, lambda s: s.tail(3)))
        ask(key, "tail of all", partial(_of, session, lambda s: s.tail(50)))
        ask(key, "messages", session.messages)
        ask(key, "after", partial(_of, session, lambda s: s.messages(after=2, limit=6)))
        ask(key, "before", partial(_of, session, lambda s: s.messages(before=9, limit=3)))
        ask(key, "archived", partial(_of, session, lambda s: s.messages(archived=True)))
        ask(key, "active", partial(_of, session, lambda s: s.messages(archived=False)))
        ask(key, "scan", partial(_of, session, lambda s: list(s.scan())))
        ask(key, "window", partial(_of, session, lambda s: list(s.window(messages=4))))
        ask(key, "window of tokens", partial(_of, session, lambda s: list(s.window(tokens=60))))
        ask(key, "count", session.count)
        ask(key, "count of archived", partial(_of, session, lambda s: s.count(archived=True)))
        ask(key, "head", session.head)
        ask(key, "version", session.version)
        ask(key, "info", session.info)
        ask(key, "export", partial(_of, session, lambda s: exported(s.export)))
        if table in OF_SEARCH:
            ask(key, "search", partial(_of, session, lambda s: s.search("message 10")))
    for who, user in ((MY_FACTS, "ada"), ("facts of bob", "bob")) if of_items else ():
        items = store.items(FACTS, user=user)
        ask(who, "get", partial(_of, items, lambda i: i.get("k0")))
        ask(who, "get many", partial(_of, items, lambda i: i.get_many(["k0", "k1", "k2"])))
        ask(who, "list", items.list)
        ask(who, "list by age", partial(_of, items, lambda i: i.list(order="updated")))
        ask(who, "filtered", partial(_of, items, lambda i: i.list(filter={"n": {"$gte": 1}})))
        ask(who, "count", items.count)
        ask(who, "search", partial(_of, items, lambda i: [h.item for h in i.search("one")]))
        ask(who, "newest", partial(_of, items, lambda i: [h.item for h in i.search()]))
    log = CheckpointLog(store, user="ada")
    for thread in (FIRST, SECOND) if of_threads else ():
        ask(thread, "info", partial(_of, thread, lambda t: log.info(t)))
        ask(thread, "state", partial(_of, thread, lambda t: log.state(t)))
        ask(thread, "first state", partial(_of, thread, lambda t: log.state(t, "", "1")))
        ask(thread, "page", partial(_of, thread, lambda t: log.page(t)))
        ask(thread, "filled", partial(_of, thread, lambda t: log.filled(t, log.page(t))))
        ask(thread, "namespaces", partial(_of, thread, lambda t: log.namespaces(t)))
    return found


def of_the_store(store: Store, turn: Turn, *always: str) -> dict[str, Any]:
    """What concerns everybody, and so never raises for the damage of one."""
    log = CheckpointLog(store, user="ada")
    export, prune = store.export, partial(store.prune, dry_run=True, older_than=timedelta(days=1))
    questions: dict[str, Callable[[], Any]] = {
        "sessions": lambda: [s.key for s in store.sessions(user=ANY, limit=100)],
        "sessions of one": lambda: [s.key for s in store.sessions(user="bob")],
        "sessions, paged": lambda: paged(
            lambda last: store.sessions(user=ANY, limit=1, after=last)
        ),
        "namespaces": lambda: ["/".join(parts) for parts in store.namespaces(user=ANY)],
        "namespaces of one": lambda: store.namespaces(user="bob"),
        "threads": lambda: [t.key for t in log.threads()],
        "threads, paged": lambda: paged(lambda last: log.threads(limit=1, after=last)),
        "runs": lambda: sorted(log.of_runs(["run"])),
        # A number that was wider for a while may have split a page: what is on disk is left out.
        "stats": lambda: replace(store.stats(), disk_bytes=0),
        "stats of one": lambda: replace(store.stats(user="bob"), disk_bytes=0),
        "export": lambda: exported(export),
        "export of one": lambda: exported(lambda to: export(to, user="bob")),
        "prune": lambda: [s.key for s in prune().sessions],
        "feeds": lambda: len(store.feeds()),
        "verify": lambda: [str(problem) for problem in store.verify()],
    }
    asked = {what for what in questions if turn.comes()}
    return {what: questions[what]() for what in questions if what in asked.union(always)}


def paged(read: Callable[[Any], list[Any]]) -> list[str]:
    keys: list[str] = []
    last = None
    while page := read(last):
        last = page[-1]
        keys.append(last.key)
        assert len(keys) < 20, "it goes round in circles"
    return keys


def exported(export: Callable[[Any], Any]) -> bytes:
    file = io.BytesIO()
    export(file)
    assert len(file.getvalue()) < 3_000_000
    return file.getvalue()


OF_ITEMS = ("namespaces", "items")
OF_SEARCH = ("sessions", "runs")
SHARED = ("dictionaries", "counters")
"""What all sessions need: damage there is everybody's, and shown as damage."""
EDGES = {0, 1, 7, 8, 14, 15, 16, 31, 32, 33, 34, 37, 38, 52, 53, 57, 58, 62, 63}
"""The first bits and the sign, what smaller types hold, the two parts of a place, who else is
there, and from where on no calendar has such a day (in seconds, in microseconds)."""
SEEDS = int(float(os.environ.get("ONRECORD_SEEDS", "1")) or 1)
ONE_IN = max(1, 8 // SEEDS)
"""Of the questions, and of the bits between the edges."""
BITS = {"sqlite": range(64), "postgres": (0, 12, 15, 31, 33, 58, 62, 63)}
IDENTITIES = {
    ("sessions", "id"),
    ("namespaces", "id"),
    ("checkpoint_threads", "id"),
    ("checkpoint_lists", "id"),
    ("checkpoint_writes", "number"),
    ("feeds", "id"),
}
HAS_NO_BOUNDS = {
    ("sessions", "refused"),
    ("sessions", "fence"),
    ("sessions", "lineage"),
    ("tail", "token"),
    ("items", "fence"),
    ("items", "embedder"),
    ("items", "meant"),
    ("checkpoint_threads", "owner"),
    ("feed_positions", "lineage"),
    ("feed_positions", "token"),
    ("feed_positions", "holder"),
}
"""Random numbers and digests: any of them may have been written. And whose a vector is, and of
what: where it is nobody's, it counts for nothing, and is made anew."""


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    found: SqlitePlace | PostgresPlace
    with ExitStack() as later:
        if request.param == "sqlite":
            found = SqlitePlace(tmp_path_factory.mktemp("numbers") / "x.db")
        else:
            postgres: PostgresServer = request.getfixturevalue("postgres")
            # Made more than once: a worker that took over what another had to do goes back to it.
            found = PostgresPlace(later.enter_context(postgres.database("numbers")))
        later.callback(found.close)
        furnish(found)
        yield found


@functools.cache
def undamaged(place: Place, table: str) -> tuple[Answers, dict[str, Any]]:
    """What all say before anything is damaged, and each test leaves the place as it was."""
    with place.open() as store:
        return answers(store, table, Turn()), of_the_store(store, Turn())


@pytest.mark.parametrize("part", range(4))
@pytest.mark.parametrize("table", TABLES)
def test_a_bit_in_a_number_costs_nobody_else(place: Place, table: str, part: int) -> None:
    before, whole = undamaged(place, table)
    assert whole["verify"] == []
    kind = "sqlite" if isinstance(place, SqlitePlace) else "postgres"
    for key in rows_to_damage(place, table):
        for column in columns_of(place, table):
            for number, bit in list(enumerate(BITS[kind]))[part::4]:
                if bit < column.bits:
                    key = one_bit(place, column, key, number, bit, before, whole)
    with place.open() as store:
        assert of_the_store(store, Turn()) == whole


def one_bit(
    place: Place,
    column: Column,
    key: Any,
    number: int,
    bit: int,
    before: Answers,
    whole: dict[str, Any],
) -> Any:
    """Flip it, the ``number``-th that is tried, look at everything, and put it back; what the row
    is known by then."""
    table, name, bits = column
    if isinstance(place, PostgresPlace) and (table, name) in IDENTITIES:
        return key  # GENERATED ALWAYS: nothing but the server changes it
    # In the order of the bits, whichever part they are in; and the columns in turns too.
    first = number + sum(name.encode())
    sign = bit == bits - 1
    if not sign and bit not in EDGES and first // ONE_IN % ONE_IN:
        return key
    ((old,),) = place.sql(
        f"SELECT {name} FROM onrecord_{table} WHERE {_row(place, table)} = ?", key
    )
    new = flipped(old, bit, bits)
    try:
        moved = put(place, table, name, new, key)
    except (sqlite3.IntegrityError, psycopg.IntegrityError):
        return key  # another row is there
    try:
        with place.open() as store:
            every = 1 if sign and isinstance(place, SqlitePlace) else ONE_IN
            now = answers(store, table, Turn(first, every))
            about_all = of_the_store(store, Turn(first, every), *(["verify"] if sign else []))
    finally:
        back = put(place, table, name, old, moved)
    what = f"{table}.{name}, bit {bit}: {old} is {new}"
    if table not in SHARED:
        for asked, answer in now.items():
            if asked[0] not in MINE:
                assert answer == before[asked], (what, asked)
        for one in ("sessions of one", "export of one", "namespaces of one"):
            if one in about_all:
                assert about_all[one] == whole[one], (what, one)
    for several in ("sessions", "sessions, paged", "threads", "threads, paged", "namespaces"):
        if several in about_all:
            assert set(about_all[several]) >= set(whole[several]) - MINE, (what, several)
    assert about_all.get("prune", []) == [], what
    if sign and (table, name) not in HAS_NO_BOUNDS:
        assert about_all["verify"], what
    return back


@pytest.fixture(params=["sqlite", "postgres"])
def own_place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A place for one test, which may seal what is in it."""
    found: SqlitePlace | PostgresPlace
    if request.param == "sqlite":
        found = SqlitePlace(tmp_path / "x.db")
    else:
        found = PostgresPlace(request.getfixturevalue("postgres_url"))
    with closing(found):
        yield found


def test_nobody_appends_behind_a_damaged_head(own_place: Place) -> None:
    """Its place would be in another session (I6); the owner is told, and may erase it."""
    for head in (-1, 2**32 + 8, 2**62):
        with own_place.open() as store:
            session = store.session(f"head {head}", user="ada")
            session.append([said(n) for n in range(1, 4)])
            own_place.sql(
                "UPDATE onrecord_sessions SET head = ? WHERE key = ?", head, session.name.key
            )
            with pytest.raises(Damaged, match="erase"):
                session.append(said(4))
            assert [message.seq for message in session.messages()] == [1, 2, 3]
            assert [p.where for p in store.verify()].count(str(session.name)) >= 1
            assert session.erase().removed["onrecord_sessions"] == 1
            assert store.verify() == []


@pytest.mark.parametrize("rows", ["no rows", "some rows", "nothing but rows"])
def test_sealed_is_named_where_it_is_another_number_that_may_be(
    own_place: Place, rows: str
) -> None:
    """It is where rows are looked for: too high, and it hides them; verify() says what is there."""
    with own_place.open() as store:
        session = store.session(rows, user="ada")
        if rows != "nothing but rows":
            session.append([said(n) for n in range(1, 9)])
            store.compact(quiet_for=0)
        if rows != "no rows":
            session.append([said(n) for n in range(9, 13)])
        assert store.verify() == []
        whole = session.messages(limit=6)
        find = "SELECT sealed FROM onrecord_sessions WHERE key = ?"
        update = "UPDATE onrecord_sessions SET sealed = ? WHERE key = ?"
        ((sealed,),) = own_place.sql(find, rows)
        assert sealed == {"no rows": 8, "some rows": 8, "nothing but rows": 0}[rows]
        hidden = 0
        for number in range(session.head() + 1):
            if number == sealed:
                continue
            own_place.sql(update, number, rows)
            with own_place.open() as fresh:
                hidden += fresh.session(rows, user="ada").messages(limit=6) != whole
                named = [problem.what for problem in fresh.verify()]
            own_place.sql(update, sealed, rows)
            assert any(f"sealed up to {number}, and" in what for what in named), (number, named)
            assert any(what.endswith(f"says {sealed}.") for what in named), (number, named)
        assert hidden, "otherwise it would not matter"
        assert session.erase().removed["onrecord_sessions"] == 1
        assert store.verify() == []
