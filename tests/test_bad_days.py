"""When the disk, the database, the settings or the input are bad: a clear error, nothing half done,
and by itself again once the cause is gone."""

import asyncio
import contextlib
import logging
import os
import random
import resource
import shutil
import signal
import socket
import sqlite3
import stat
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy.engine import make_url

from onrecord import (
    Conflict,
    IdReused,
    InvalidMessage,
    InvalidName,
    Message,
    Misconfigured,
    OnrecordError,
    SchemaTooNew,
    Session,
    Store,
    StoreClosed,
    Unavailable,
)
from onrecord.ledger.database.transaction import Transaction
from tests.children import PATIENCE, Child
from tests.servers.postgres import OwnPostgres
from tests.servers.process import new_folder, server_user

SHORT = 0.3
"""A timeout that is meant to pass."""


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'bad.db'}"
    found: str = request.getfixturevalue("postgres_url")
    return found


def query(url: str, statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True, connect_timeout=10) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def texts(session: Session) -> list[str]:
    messages = session.messages()
    assert [message.seq for message in messages] == list(range(1, len(messages) + 1))
    assert session.info().messages == len(messages)
    return [message.text for message in messages]


def file_of(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))


def attempts(session: Session) -> list[Callable[[], object]]:
    """Two ways to write and one to read."""
    return [
        lambda: session.append(("user", "hello")),
        lambda: asyncio.run(session.aappend(("user", "hello"))),
        session.messages,
    ]


# -- the file ------------------------------------------------------------------------------------


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder of the user that a child becomes: not root, whom no permission stops."""
    # What a child uses has to be imported before: our own files may be out of its reach.
    with Store("sqlite://") as store:
        store.session("s").append(("user", "hello"))
    found = new_folder(server_user())
    try:
        yield found
    finally:
        shutil.rmtree(found, ignore_errors=True)


def as_nobody(work: Callable[[], Any]) -> Any:
    return Child(work, server_user()).result()


def test_a_folder_that_cannot_be_written_to(folder: Path) -> None:
    def work() -> None:
        folder.chmod(0o555)
        with Store(f"sqlite:///{folder / 'new.db'}") as store:
            session = store.session("s")
            with pytest.raises(Misconfigured, match=r"new\.db cannot be opened\. Check that"):
                session.append(("user", "hello"))
            with pytest.raises(Misconfigured, match=r"may\s+read and write there"):
                session.messages()
            with pytest.raises(Misconfigured):
                asyncio.run(session.aappend(("user", "hello")))
            assert list(folder.iterdir()) == []
            folder.chmod(0o755)
            session.append(("user", "hello"))
            assert texts(session) == ["hello"]

    as_nobody(work)


@pytest.mark.parametrize("folder_too", [True, False], ids=["in a closed folder", "in an open one"])
def test_a_file_that_may_only_be_read(folder: Path, folder_too: bool) -> None:
    file = folder / "kept.db"

    def work() -> None:
        with Store(f"sqlite:///{file}") as store:
            store.session("s").append(("user", "kept"))
        before = file.read_bytes()
        file.chmod(0o444)
        folder.chmod(0o555 if folder_too else 0o755)
        with Store(f"sqlite:///{file}") as store:
            session = store.session("s")
            with pytest.raises(Misconfigured, match=r"kept\.db cannot be (written to|opened)"):
                session.append(("user", "new"))
            try:
                assert texts(session) == ["kept"]
            except Misconfigured as fault:
                # Without its two other files SQLite cannot even read in this mode.
                assert "cannot be" in str(fault)  # noqa: PT017
            folder.chmod(0o755)
            assert file.read_bytes() == before
            for left in folder.iterdir():  # what SQLite puts beside it has its permissions
                left.chmod(0o644)
        with Store(f"sqlite:///{file}") as store:
            session = store.session("s")
            session.append(("user", "new"))
            assert texts(session) == ["kept", "new"]

    as_nobody(work)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with Store(f"sqlite:///{tmp_path / 'missing' / 'new.db'}") as store:
        session = store.session("s")
        for attempt in attempts(session):
            with pytest.raises(Misconfigured, match="Check that its folder exists"):
                attempt()
        assert not (tmp_path / "missing").exists()
        (tmp_path / "missing").mkdir()
        session.append(("user", "hello"))
        assert texts(session) == ["hello"]


def test_a_folder_in_the_place_of_the_file(tmp_path: Path) -> None:
    with Store(f"sqlite:///{tmp_path}") as store, pytest.raises(Misconfigured, match="opened"):
        store.session("s").messages()


def test_a_file_that_is_not_sqlite(tmp_path: Path) -> None:
    file = tmp_path / "letter.db"
    content = b"Dear Sir or Madam, this is not a database. " * 500
    file.write_bytes(content)
    with Store(f"sqlite:///{file}") as store:
        session = store.session("s")
        for attempt in attempts(session):
            with pytest.raises(Misconfigured, match=r"letter\.db is not a SQLite database\. "):
                attempt()
    assert file.read_bytes() == content
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("migrate", [True, False])
def test_a_file_newer_than_the_code(tmp_path: Path, migrate: bool) -> None:
    file = tmp_path / "newer.db"
    url = f"sqlite:///{file}"
    with Store(url) as store:
        store.session("s").append(("user", "hello"))
    connection = sqlite3.connect(file)
    connection.execute("INSERT INTO onrecord_migrations VALUES ('9999 from the future')")
    connection.commit()
    connection.close()
    before = file.read_bytes()
    with Store(url, migrate=migrate) as store:
        for attempt in (store.session("s").messages, store.migrate, store.sessions):
            with pytest.raises(SchemaTooNew, match=r"'9999 from the future'.*Upgrade onrecord"):
                attempt()
        with pytest.raises(SchemaTooNew):
            store.session("s").append(("user", "new"))
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


def test_a_postgres_newer_than_the_code(postgres_url: str) -> None:
    with Store(postgres_url) as store:
        store.session("s").append(("user", "hello"))
    query(postgres_url, "INSERT INTO onrecord_migrations VALUES ('9999 from the future')")
    with Store(postgres_url) as store:
        for attempt in (store.session("s").messages, store.migrate):
            with pytest.raises(SchemaTooNew, match=r"'9999 from the future'.*Upgrade onrecord"):
                attempt()
        with pytest.raises(SchemaTooNew):
            store.session("s").append(("user", "new"))
    assert query(postgres_url, "SELECT count(*) FROM onrecord_tail") == [(1,)]


# -- the disk is full ----------------------------------------------------------------------------

LARGE = random.Random(1).randbytes(200_000).hex()


@contextlib.contextmanager
def no_more_pages(store: Store) -> Iterator[None]:
    """As a full disk looks to the connection that writes."""
    held: Any = store._ledger._writing  # type: ignore[attr-defined]
    (pages,) = held.cursor.execute("PRAGMA page_count").fetchone()
    held.cursor.execute(f"PRAGMA max_page_count = {pages + 2}").fetchone()
    try:
        yield
    finally:
        held.cursor.execute("PRAGMA max_page_count = 4294967294").fetchone()


def test_a_disk_without_room(tmp_path: Path) -> None:
    with Store(f"sqlite:///{tmp_path / 'full.db'}") as store:
        session = store.session("s")
        session.append(("user", "before"))
        with no_more_pages(store):
            batch = [("user", "small"), ("assistant", LARGE), ("user", "small too")]
            tries: list[Callable[[], object]] = [
                lambda: session.append(batch),
                lambda: asyncio.run(session.aappend(batch)),
            ]
            for attempt in tries:
                with pytest.raises(Unavailable, match=r"is full\. Nothing was written\. Free") as e:
                    attempt()
                assert not e.value.outcome_unknown
                assert texts(session) == ["before"]
            session.append(("user", "small enough"))
        session.append(batch)
        assert texts(session) == ["before", "small enough", "small", LARGE, "small too"]


def test_those_who_still_fit_are_written_beside_one_who_does_not(tmp_path: Path) -> None:
    with Store(f"sqlite:///{tmp_path / 'full.db'}") as store:
        session = store.session("s")
        session.append(("user", "before"))

        async def main() -> list[object]:
            appends = [session.aappend(("user", f"small {i}")) for i in range(4)]
            appends.insert(2, session.aappend(("user", LARGE)))
            return list(await asyncio.gather(*appends, return_exceptions=True))

        with no_more_pages(store):
            answers = asyncio.run(main())
        failed = [type(answer) for answer in answers if isinstance(answer, Exception)]
        assert failed == [Unavailable]
        assert isinstance(answers[2], Unavailable)
        assert sorted(texts(session)) == ["before", *(f"small {i}" for i in range(4))]


def test_a_limit_on_the_size_of_files(tmp_path: Path) -> None:
    file = tmp_path / "limited.db"

    def work() -> list[str]:
        with Store(f"sqlite:///{file}") as store:
            session = store.session("s")
            session.append(("user", "before"))
            most = max(f.stat().st_size for f in tmp_path.iterdir()) + 20_000
            _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
            for _ in range(3):
                with pytest.raises(Unavailable, match=r"failed or is full|is full") as caught:
                    session.append([("user", "small"), ("assistant", LARGE)])
                assert texts(session) == ["before"]
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
            assert str(file) in str(caught.value)
            session.append([("user", "small"), ("assistant", "after")])
            return texts(session)

    assert Child(work).result() == ["before", "small", "after"]
    with Store(f"sqlite:///{file}") as store:
        assert texts(store.session("s")) == ["before", "small", "after"]


# -- locks ---------------------------------------------------------------------------------------


def test_a_file_that_somebody_else_keeps_locked(tmp_path: Path) -> None:
    file = tmp_path / "locked.db"
    with Store(f"sqlite:///{file}", timeout=SHORT) as store:
        session = store.session("s")
        session.append(("user", "before"))
        other = sqlite3.connect(file, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        for attempt in (
            lambda: session.append(("user", "refused")),
            lambda: asyncio.run(session.aappend(("user", "refused"))),
            session.clear,
        ):
            with pytest.raises(Unavailable, match=r"locked by another.*raise timeout=") as caught:
                attempt()
            assert not caught.value.outcome_unknown
        assert texts(session) == ["before"]  # reading waits for nobody
        other.execute("ROLLBACK")
        other.close()
        session.append(("user", "after"))
        assert texts(session) == ["before", "after"]


def test_an_empty_file_that_somebody_else_keeps_locked(tmp_path: Path) -> None:
    file = tmp_path / "locked.db"
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with Store(f"sqlite:///{file}", timeout=SHORT) as store:
        session = store.session("s")
        with pytest.raises(Unavailable, match="locked by another"):
            session.append(("user", "refused"))
        other.execute("ROLLBACK")
        other.close()
        session.append(("user", "after"))
        assert texts(session) == ["after"]


def test_a_session_that_somebody_else_keeps_locked(postgres_url: str) -> None:
    with Store(postgres_url, timeout=SHORT) as store:
        session, free = store.session("s"), store.session("free")
        session.append(("user", "before"))
        with psycopg.connect(postgres_url) as other:
            other.execute("SELECT 1 FROM onrecord_sessions FOR UPDATE")
            for attempt in (
                lambda: session.append(("user", "refused")),
                lambda: asyncio.run(session.aappend([("user", "refused"), ("user", "too")])),
                session.clear,
            ):
                with pytest.raises(Unavailable, match=r"locked by someone.*raise timeout=") as e:
                    attempt()
                assert not e.value.outcome_unknown
            free.append(("user", "another session"))
            assert texts(session) == ["before"]
            other.rollback()
        session.append(("user", "after"))
        assert texts(session) == ["before", "after"]
        assert_no_transaction_is_left(postgres_url)


def test_a_queue_behind_a_locked_file_ends_for_everybody(tmp_path: Path) -> None:
    file = tmp_path / "locked.db"
    with Store(f"sqlite:///{file}", timeout=SHORT) as store:
        session = store.session("s")
        session.append(("user", "before"))
        other = sqlite3.connect(file, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        answers: list[object] = []

        def append(i: int) -> None:
            try:
                answers.append(session.append(("user", f"{i}")))
            except Unavailable as fault:
                answers.append(fault)

        threads = [threading.Thread(target=append, args=(i,), daemon=True) for i in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert [type(answer) for answer in answers] == [Unavailable] * 12
        other.execute("ROLLBACK")
        other.close()
        session.append(("user", "after"))
        assert texts(session) == ["before", "after"]


# -- PostgreSQL goes away ------------------------------------------------------------------------


def chain(fault: BaseException | None) -> Iterator[BaseException]:
    todo = [fault]
    seen: set[int] = set()
    while todo:
        found = todo.pop()
        if found is not None and id(found) not in seen:
            seen.add(id(found))
            yield found
            todo += [found.__cause__, found.__context__]


def test_a_wrong_password_is_told_without_telling_it(
    own_postgres: OwnPostgres, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = "s3cret@/:% word"
    url = make_url(own_postgres.url).set(password=secret).render_as_string(hide_password=False)
    with Store(url) as store:
        session = store.session("s")
        for attempt in (*attempts(session), store._ledger.migrate):
            with pytest.raises(Misconfigured, match="refused this user or password") as caught:
                attempt()
            shown = [repr(store), repr(session), repr(store._ledger.address), caplog.text]
            shown += traceback.format_exception(caught.value)
            for fault in chain(caught.value):
                shown += [str(fault), repr(fault), repr(fault.args)]
            encoded = url.partition("@")[0].rpartition(":")[2]
            for text in shown:
                assert "s3cret" not in text
                assert encoded not in text


def test_a_database_or_a_user_that_is_not_there(own_postgres: OwnPostgres) -> None:
    known = make_url(own_postgres.url)
    for wrong, told in (
        (known.set(database="nowhere"), "the database does not exist"),
        (known.set(username="nobody_known"), "refused this user or password"),
    ):
        store = Store(wrong.render_as_string(hide_password=False))
        with store, pytest.raises(Misconfigured, match=told):
            store.session("s").messages()


def test_a_server_that_is_not_there(own_postgres: OwnPostgres, tmp_path: Path) -> None:
    own_postgres.stop()
    nowhere = f"postgresql://ada:s3cret@/memory?host={tmp_path}/no-such-folder"
    for url in (own_postgres.url, nowhere):
        with Store(url, timeout=0.1) as store:
            session = store.session("s")
            for attempt in attempts(session):
                with pytest.raises(Unavailable, match="cannot be reached") as caught:
                    attempt()
                assert not caught.value.outcome_unknown
                assert "s3cret" not in "".join(traceback.format_exception(caught.value))


def test_a_server_that_goes_away_and_comes_back(own_postgres: OwnPostgres) -> None:
    with Store(own_postgres.url, pool_size=3) as store:
        session = store.session("s")
        session.append(("user", "before"))
        session.messages()

        own_postgres.restart()
        session.append(("user", "after a restart"))  # not even an error
        assert session.tail(1)[0].text == "after a restart"

        own_postgres.stop()
        with Store(own_postgres.url, timeout=0.1) as hasty:
            with pytest.raises(Unavailable, match="cannot be reached") as caught:
                hasty.session("s").append(("user", "refused"))
            assert not caught.value.outcome_unknown
            with pytest.raises(Unavailable, match="cannot be reached"):
                hasty.session("s").tail()
        own_postgres.start()
        session.append(("user", "by itself"))

        own_postgres.kill()
        own_postgres.start()
        asyncio.run(session.aappend(("user", "after a crash")))
        assert texts(session) == ["before", "after a restart", "by itself", "after a crash"]
        assert_no_transaction_is_left(own_postgres.url)


ALL_OURS = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()"""


def test_connections_that_are_cut_in_between(postgres_url: str) -> None:
    with Store(postgres_url, pool_size=3) as store:
        session = store.session("s")
        for i in range(5):
            session.append([("user", f"{i}"), {"role": "user", "content": f"id {i}", "id": f"{i}"}])
            query(postgres_url, ALL_OURS)
            assert len(session.tail(50)) == 2 * i + 2
            query(postgres_url, ALL_OURS)
        assert len(texts(session)) == 10


@pytest.mark.parametrize("given", [("user", "cut"), [("user", "cut"), ("user", "cut too")]])
def test_a_connection_that_is_cut_in_the_middle_of_an_append(postgres_url: str, given: Any) -> None:
    with Store(postgres_url) as store:
        session = store.session("s")
        session.append(("user", "before"))
        answers: list[object] = []

        def append() -> None:
            try:
                answers.append(session.append(given))
            except OnrecordError as fault:
                answers.append(fault)

        with psycopg.connect(postgres_url) as other:
            other.execute("SELECT 1 FROM onrecord_sessions FOR UPDATE")
            thread = threading.Thread(target=append, daemon=True)
            thread.start()
            waiting = """SELECT pid FROM pg_stat_activity WHERE datname = current_database()
                AND wait_event_type = 'Lock' AND application_name = 'onrecord'"""
            deadline = time.monotonic() + 60
            cut = 0
            while not cut:
                assert time.monotonic() < deadline
                for (pid,) in query(postgres_url, waiting):
                    query(postgres_url, f"SELECT pg_terminate_backend({pid})")
                    cut += 1
            other.rollback()
        thread.join(60)
        (answer,) = answers
        # The statement was cut off in autocommit, so the flow looked, and then wrote it.
        assert isinstance(answer, list)
        assert texts(session) == ["before", *(message.text for message in answer)]
        assert len(answer) == (1 if isinstance(given, tuple) else 2)


def family(pid: int) -> list[int]:
    """A process and all that it started."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                text = (entry / "stat").read_text()
            except OSError:
                continue
            parents[int(entry.name)] = int(text.rpartition(")")[2].split()[1])
    found = [pid]
    for member in found:
        found += [child for child, parent in parents.items() if parent == member]
    return found


@contextlib.contextmanager
def frozen(server: OwnPostgres) -> Iterator[None]:
    members = family(server.pid)
    try:
        for member in members:
            os.kill(member, signal.SIGSTOP)
        yield
    finally:
        for member in members:
            os.kill(member, signal.SIGCONT)


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds processes in /proc")
def test_a_server_that_is_frozen(own_postgres: OwnPostgres) -> None:
    url = own_postgres.url
    with Store(url, timeout=0.5) as store, Store(url, timeout=0.5) as new:
        session = store.session("s")
        session.append(("user", "before"))
        with frozen(own_postgres):
            with pytest.raises(Unavailable) as caught:
                session.append(("user", "perhaps"))
            assert caught.value.outcome_unknown  # it was sent, and nobody can say more
            for attempt in (session.messages, new.session("s").messages):
                with pytest.raises(Unavailable) as caught:
                    attempt()
                assert not caught.value.outcome_unknown
            with pytest.raises(Unavailable):
                asyncio.run(session.aappend(("user", "perhaps")))
        (after,) = session.append(("user", "after"))
        found = texts(session)
        assert found.count("perhaps") <= 2
        assert [text for text in found if text != "perhaps"] == ["before", "after"]
        assert new.session("s").tail(1)[0] == session.tail(1)[0]
        assert after.text == "after"


# -- PostgreSQL is left as it should be ----------------------------------------------------------


def assert_no_transaction_is_left(url: str) -> None:
    states = query(
        url,
        """SELECT state, query FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()
        AND application_name = 'onrecord'""",
    )
    assert states, "the store has no connection, so this would say nothing"
    assert {state for state, _ in states} == {"idle"}, states


def test_nothing_is_left_idle_in_a_transaction(postgres_url: str) -> None:
    with Store(postgres_url) as store:
        session = store.session("s")
        session.append([{"role": "user", "content": "one", "id": "1"}, ("assistant", "two")])
        assert_no_transaction_is_left(postgres_url)
        session.messages()
        session.tail(500)
        session.window(messages=1)
        session.update(title="A title")
        assert_no_transaction_is_left(postgres_url)
        for error, attempt in (
            (Conflict, lambda: session.append(("user", "x"), expected=7)),
            (Conflict, lambda: session.edit(99, ("user", "x"))),
            (Conflict, lambda: session.rewind(99)),
            (IdReused, lambda: session.append({"role": "user", "content": "other", "id": "1"})),
        ):
            with pytest.raises(error):
                attempt()
            assert_no_transaction_is_left(postgres_url)

        def fails(txn: Transaction) -> None:
            txn.begin()
            txn.first("SELECT 1", {})
            raise KeyError("a fault of ours")

        def fails_on_the_server(txn: Transaction) -> None:
            txn.begin()
            txn.first("SELECT nonsense", {})

        for do in (store._ledger.read, store._ledger.write):
            with pytest.raises(KeyError):
                do(fails)
            with pytest.raises((OnrecordError, psycopg.Error)):
                do(fails_on_the_server)
            assert_no_transaction_is_left(postgres_url)
        session.edit(2, ("assistant", "edited"))
        session.clear()
        assert_no_transaction_is_left(postgres_url)


@pytest.mark.parametrize("how", ["direct", "behind a pooler"])
def test_statements_are_prepared_where_one_server_answers(postgres_url: str, how: str) -> None:
    """Behind a pooler in transaction mode the next statement may meet another server."""
    with contextlib.ExitStack() as stack:
        url = postgres_url
        if how == "behind a pooler":
            url = stack.enter_context(as_a_pooler_does(postgres_url))
        store = stack.enter_context(Store(url, pool_size=1))
        session = store.session("s")
        for i in range(12):
            session.append([("user", f"{i}"), ("assistant", f"{i}")])
            session.append({"role": "user", "content": "x", "id": f"{i}"})
            session.messages(limit=3)
            session.tail()
            session.info()
        prepared = store._ledger.read(
            lambda txn: txn.rows("SELECT statement FROM pg_prepared_statements", {})
        )
        assert any("INSERT" in statement for (statement,) in prepared) == (how == "direct")
        assert bool(prepared) == (how == "direct")
        assert session.count() == 36


@contextlib.contextmanager
def as_a_pooler_does(url: str) -> Iterator[str]:
    """A way to the server on which clients are told another number than that of its process: what
    they would cancel it by, which a pooler has to translate."""
    real = make_url(url)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=_relay, args=(listening, real.port), daemon=True).start()
        port = listening.getsockname()[1]
        yield real.set(port=port).render_as_string(hide_password=False)


def _relay(listening: socket.socket, port: int) -> None:
    with contextlib.suppress(OSError):  # until the test ends
        while True:
            client, _ = listening.accept()
            server = socket.create_connection(("127.0.0.1", port))
            for source, target in ((client, server), (server, client)):
                one_way = (source, target, source is server)
                threading.Thread(target=_pass_on, args=one_way, daemon=True).start()


def _pass_on(source: socket.socket, target: socket.socket, changed: bool) -> None:
    with contextlib.suppress(OSError), source, target:
        while data := source.recv(65_536):
            # BackendKeyData: its type, its length of 12, the process, the secret.
            place = data.find(b"K\0\0\0\x0c") if changed else -1
            if place >= 0:
                data = data[: place + 5] + b"\x60\0\0\0" + data[place + 9 :]
                changed = False
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


# -- after close ---------------------------------------------------------------------------------


def test_a_store_that_was_closed(url: str) -> None:
    store = Store(url)
    session = store.session("s")
    session.append(("user", "before"))
    asyncio.run(session.atail())
    store.close()
    store.close()
    asyncio.run(store.aclose())
    for attempt in (
        lambda: session.append(("user", "after")),
        session.messages,
        session.tail,
        session.info,
        session.clear,
        store.sessions,
        store.migrate,
        lambda: list(session.scan()),
    ):
        with pytest.raises(StoreClosed, match="Open a new Store"):
            attempt()
    for later in (
        lambda: session.aappend(("user", "after")),
        session.amessages,
        session.atail,
        session.ainfo,
        session.aclear,
        store.asessions,
        store.amigrate,
    ):
        with pytest.raises(StoreClosed, match="Open a new Store"):
            asyncio.run(later())
    with Store(url) as again:
        assert texts(again.session("s")) == ["before"]


def test_a_store_that_was_closed_before_it_was_used(tmp_path: Path) -> None:
    file = tmp_path / "never.db"
    store = Store(f"sqlite:///{file}")
    asyncio.run(store.aclose())
    with pytest.raises(StoreClosed):
        store.session("s").append(("user", "after"))
    assert not file.exists()


def use_and_close(url: str) -> tuple[list[str], list[str], bool]:
    """What was answered to four threads, their errors, and whether they all came to an end."""
    store = Store(url)
    session = store.session("s")
    session.append(("user", "before"))
    answered: list[str] = []
    faults: list[str] = []
    begun = threading.Semaphore(0)

    def append(n: int) -> None:
        i = 0
        while True:
            begun.release()
            try:
                session.append(("user", f"{n}.{i}"))
            except StoreClosed:
                return
            except BaseException:
                faults.append(traceback.format_exc())
                return
            answered.append(f"{n}.{i}")
            i += 1

    threads = [threading.Thread(target=append, args=(n,), daemon=True) for n in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(40):
        begun.acquire(timeout=PATIENCE)
    store.close()
    for thread in threads:
        thread.join(PATIENCE / 4)
    return answered, faults, not any(thread.is_alive() for thread in threads)


def test_a_store_that_is_closed_while_it_is_used(url: str) -> None:
    """Each append is written and answered, or refused; nothing hangs, and nothing crashes."""
    for _ in range(5):
        with Store(url) as store:
            store.session("s").clear()
        # In a child: a connection closed under a running statement takes the process with it.
        answered, faults, ended = Child(partial(use_and_close, url)).result()
        assert faults == []
        assert ended
        with Store(url) as again:
            assert sorted(texts(again.session("s"))) == sorted(["before", *answered])


# -- large and wrong input -----------------------------------------------------------------------


def test_a_message_of_twenty_megabytes(url: str) -> None:
    noise = random.Random(2).randbytes(10 * 2**20).hex()
    with Store(url, timeout=60) as store, Store(url, timeout=60) as other:
        session = store.session("s")
        (stored,) = session.append(("user", noise))
        asyncio.run(session.aappend(("assistant", "a" * 20 * 2**20)))
        first, second = other.session("s").messages()
        assert first == stored
        assert first.text == noise
        assert second.text == "a" * 20 * 2**20
        assert [message.seq for message in session.tail()] == [1, 2]


def test_a_message_that_is_too_large(url: str) -> None:
    with Store(url) as store:
        session = store.session("s")
        session.append(("user", "before"))
        with pytest.raises(InvalidMessage, match=r"message 1: .*64"):
            session.append([("user", "small"), ("user", "a" * (64 * 2**20 + 1))])
        assert texts(session) == ["before"]


def test_ten_thousand_messages_at_once_and_a_hundred_thousand(url: str) -> None:
    with Store(url, timeout=60) as store:
        session = store.session("s")
        with pytest.raises(InvalidMessage, match=r"at most 10,000 messages and this has more"):
            session.append([("user", f"{i}") for i in range(100_000)])
        assert session.version() == (0, 0)
        stored = session.append([("user", f"{i}") for i in range(10_000)])
        assert [message.seq for message in stored] == list(range(1, 10_001))
        assert texts(session) == [f"{i}" for i in range(10_000)]


BAD_NAMES: list[Any] = ["", "x" * 513, "a\x00b", "\ud800", None, 7, b"bytes"]
BAD_MESSAGES: list[Any] = [
    ("", "no role"),
    {"role": "", "content": "no role"},
    {"role": 7, "content": "a number"},
    {"role": None, "content": "nobody"},
    {"content": "no role at all"},
    Message("", "no role"),
    "just text",
    b"just bytes",
    7,
    None,
    ["just text"],
    [("user", "fine"), ("", "no role")],
    [("user", "fine"), 7],
    {"role": "user", "content": 7},
    {"role": "user", "content": [print]},
    {"role": "user", "content": "x", "unknown": 1},
    {"role": "user", "content": "x", "id": ""},
    {"role": "user", "content": "x", "id": "a\x00b"},
    {"role": "user", "content": "x", "created_at": "yesterday"},
    {"role": "user", "content": "x", "metadata": {"a": print}},
]


@pytest.mark.parametrize("name", BAD_NAMES, ids=ascii)
def test_a_bad_name_is_refused_before_any_io(tmp_path: Path, name: Any) -> None:
    with Store(f"sqlite:///{tmp_path / 'never.db'}") as store:
        with pytest.raises(InvalidName):
            store.session(name)
        for scope in ("tenant", "user", "agent"):
            if name != "":
                with pytest.raises(InvalidName, match=scope):
                    store.session("s", **{scope: name})
                with pytest.raises(InvalidName, match=scope):
                    store.sessions(**{scope: name})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("given", BAD_MESSAGES, ids=ascii)
def test_a_bad_message_is_refused_before_any_io(tmp_path: Path, given: Any) -> None:
    with Store(f"sqlite:///{tmp_path / 'never.db'}") as store:
        session = store.session("s")
        for attempt in (
            lambda: session.append(given),
            lambda: asyncio.run(session.aappend(given)),
            lambda: session.edit(1, given),
        ):
            with pytest.raises(InvalidMessage):
                attempt()
    assert list(tmp_path.iterdir()) == []


def test_bad_numbers_are_refused_before_any_io(tmp_path: Path) -> None:
    wrong: Any = "3"
    with Store(f"sqlite:///{tmp_path / 'never.db'}") as store:
        session = store.session("s")
        for attempt in (
            lambda: session.tail(-1),
            lambda: session.tail(wrong),
            lambda: session.messages(after=-1),
            lambda: session.messages(limit=wrong),
            lambda: session.rewind(-1),
            lambda: session.window(messages=0),
            lambda: store.sessions(limit=-1),
        ):
            with pytest.raises(Misconfigured):
                attempt()
    assert list(tmp_path.iterdir()) == []


def test_the_files_of_a_store_are_ordinary_files(tmp_path: Path) -> None:
    """What is written under a strict umask stays one's own."""
    file = tmp_path / "own.db"

    def work() -> list[int]:
        os.umask(0o077)
        with Store(f"sqlite:///{file}") as store:
            store.session("s").append(("user", "hello"))
            return [stat.S_IMODE(found.stat().st_mode) for found in tmp_path.iterdir()]

    assert set(Child(work).result()) == {0o600}


def test_a_frozen_backend_that_wakes_up_late_says_nothing_twice(own_postgres: OwnPostgres) -> None:
    """What was given up and done again is refused when the first attempt still arrives."""
    with Store(own_postgres.url, timeout=SHORT, pool_size=1) as store:
        session = store.session("s")
        session.append(("user", "first"))
        ((backend,),) = query(
            own_postgres.url,
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'onrecord'",
        )
        os.kill(backend, signal.SIGSTOP)
        try:
            session.append(("user", "said once"))
        finally:
            os.kill(backend, signal.SIGCONT)
        # The one that was frozen reads its statement now, finds nobody, and goes.
        gone = f"SELECT 1 FROM pg_stat_activity WHERE pid = {backend}"
        deadline = time.monotonic() + PATIENCE
        while query(own_postgres.url, gone) and time.monotonic() < deadline:
            threading.Event().wait(0.01)
        assert texts(session) == ["first", "said once"]


def test_a_process_with_many_open_files(postgres_url: str) -> None:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(limit[0], min(2_000, limit[1])), limit[1]))
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(1_100)]
    try:
        with Store(postgres_url) as store:
            store.session("s").append(("user", "hello"))
            assert texts(store.session("s")) == ["hello"]
    finally:
        for number in held:
            os.close(number)
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)


def test_a_stricter_isolation_by_default_refuses_nobody(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        name = connection.info.dbname
        connection.execute(
            f'ALTER DATABASE "{name}" SET default_transaction_isolation = serializable'.encode()
        )
    with Store(postgres_url) as store:

        def write(n: int) -> None:
            for i in range(20):
                store.session("s").append(Message("user", f"{n}.{i}", id=f"{n}.{i}"))

        threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(texts(store.session("s"))) == 160
