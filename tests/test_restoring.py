"""Backups of docs/how-to/backup.md, each made and restored with the servers' own tools."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.engine import make_url

from onrecord import Store
from tests.servers.binaries import Binaries
from tests.servers.postgres import OwnPostgres, PostgresServer, find_postgres
from tests.servers.process import run_as, server_user
from tests.servers.redis import RedisServer
from tests.test_deploying import Roles, roles

__all__ = ["roles"]  # a fixture


def texts(store: Store) -> list[str]:
    return [message.text for message in store.session("s", user="ada").tail()]


def say(store: Store, text: str) -> None:
    store.session("s", user="ada").append(("user", text))
    store.items("facts", user="ada").put("said", text)


# -- PostgreSQL ------------------------------------------------------------------------------


@pytest.fixture
def dumps() -> Callable[..., str]:
    """Runs pg_dump or pg_restore, of the server's version where that is ours."""
    found = find_postgres()
    beside = found.server.parent if isinstance(found, Binaries) else None

    def do(program: str, *arguments: str) -> str:
        path = beside / program if beside is not None else shutil.which(program)
        if path is None or not Path(path).exists():
            pytest.skip(f"no {program} where PostgreSQL is from, {beside or 'PATH'}")
        return run_as(None, [path, *arguments], cwd=Path("/"))

    return do


def test_a_dump_is_restored_with_its_grants(
    roles: Roles,
    postgres: PostgresServer,
    redis_server: RedisServer,
    dumps: Callable[..., str],
    tmp_path: Path,
) -> None:
    """Into another database; and Redis, which remembers what the dump has not, is told."""
    file = str(tmp_path / "chats.dump")
    with roles.open(roles.owner) as first:
        first.migrate()
    with roles.open(roles.app, cache=redis_server.url) as store:
        say(store, "kept")
        dumps("pg_dump", "--format=custom", f"--file={file}", roles.owner)
        say(store, "said after the dump")
        version = store.items("facts", user="ada").list()[0].version
    with postgres.database("restored") as made:
        into = make_url(made)
        owner, app = make_url(roles.owner), make_url(roles.app)
        with psycopg.connect(made, autocommit=True) as connection:
            connection.execute(
                f'ALTER DATABASE "{into.database}" OWNER TO {owner.username}'.encode()
            )
        owner_url, app_url = (
            who.set(database=into.database).render_as_string(hide_password=False)
            for who in (owner, app)
        )
        dumps("pg_restore", "--exit-on-error", f"--dbname={owner_url}", file)
        with roles.open(app_url, cache=redis_server.url, revalidate=3600) as store:
            assert store.verify() == []
            assert texts(store) == ["kept", "said after the dump"]  # Redis still knows it
            store.invalidate()
            assert texts(store) == ["kept"]
            [item] = store.items("facts", user="ada").list()
            assert item.value == "kept"
            say(store, "and on")
            assert texts(store) == ["kept", "and on"]
            assert store.items("facts", user="ada").list()[0].version > version
            assert store.verify() == []
            assert store.migrate() == []


def test_back_to_a_point_in_time(own_postgres: OwnPostgres, redis_server: RedisServer) -> None:
    """A base backup and the log that was archived since bring back what was erased by mistake."""
    user, folder = server_user(), own_postgres.folder
    archive, base = folder / "archive", folder / "base"
    archive.mkdir()
    if user is not None:
        os.chown(archive, user.pw_uid, user.pw_gid)
    with psycopg.connect(own_postgres.url, autocommit=True) as connection:
        copies = f"test ! -f {archive}/%f && cp %p {archive}/%f"
        connection.execute("ALTER SYSTEM SET archive_mode = 'on'")
        connection.execute(f"ALTER SYSTEM SET archive_command = '{copies}'".encode())
    own_postgres.restart()
    with Store(own_postgres.url, cache=redis_server.url) as store:
        say(store, "before the base backup")
        backup = own_postgres.programs / "pg_basebackup"
        if not backup.exists():
            pytest.skip(f"no pg_basebackup in {backup.parent}")
        options = ["--checkpoint=fast", "--no-sync", f"--dbname={own_postgres.url}"]
        run_as(user, [backup, f"--pgdata={base}", *options], cwd=folder)
        say(store, "after it")
        with psycopg.connect(own_postgres.url, autocommit=True) as connection:
            [(moment,)] = connection.execute("SELECT clock_timestamp()::text").fetchall()
            store.erase(user="ada", thorough=False)
            say(store, "too late")
            [(log,)] = connection.execute("SELECT pg_walfile_name(pg_switch_wal())").fetchall()
            wait_until_archived(archive, str(log))
    own_postgres.stop()
    # What the page says: the backup in the place of the data, and where to stop.
    (folder / "data").rename(folder / "lost")
    base.rename(folder / "data")
    signal, settings = folder / "data" / "recovery.signal", folder / "data" / "postgresql.auto.conf"
    signal.touch()
    with settings.open("a") as file:
        file.write(
            f"restore_command = 'cp {archive}/%f %p'\n"
            f"recovery_target_time = '{moment}'\nrecovery_target_action = 'promote'\n"
        )
    if user is not None:
        os.chown(signal, user.pw_uid, user.pw_gid)
    own_postgres.start()
    wait_until_promoted(own_postgres)
    with Store(own_postgres.url, cache=redis_server.url) as store:
        store.invalidate()
        assert texts(store) == ["before the base backup", "after it"]
        assert [item.value for item in store.items("facts", user="ada").list()] == ["after it"]
        assert store.verify() == []
        say(store, "and on")
        assert texts(store)[-1] == "and on"


def wait_until_archived(archive: Path, log: str) -> None:
    deadline = time.monotonic() + 60
    while not any(found.name >= log for found in archive.iterdir() if "." not in found.name):
        assert time.monotonic() < deadline, sorted(archive.iterdir())
        time.sleep(0.02)


def wait_until_promoted(server: OwnPostgres) -> None:
    deadline = time.monotonic() + 60
    with psycopg.connect(server.url, autocommit=True) as connection:
        while connection.execute("SELECT pg_is_in_recovery()").fetchall() != [(False,)]:
            assert time.monotonic() < deadline, server._process.log()
            time.sleep(0.02)


# -- SQLite ----------------------------------------------------------------------------------


def test_a_backup_is_put_in_the_place_of_the_file(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    file, copy = tmp_path / "chat.db", tmp_path / "chat-backup.db"
    with Store(f"sqlite:///{file}", cache=redis_server.url) as store:
        say(store, "kept")
        store.backup(copy)
        say(store, "said after the backup")
    shutil.copy(copy, file)
    for beside in ("-wal", "-shm"):
        Path(f"{file}{beside}").unlink(missing_ok=True)
    with Store(f"sqlite:///{file}", cache=redis_server.url, revalidate=3600) as store:
        assert texts(store) == ["kept", "said after the backup"]  # so Redis says
        store.invalidate()
        assert texts(store) == ["kept"]
        assert store.verify() == []
        say(store, "and on")
        assert texts(store) == ["kept", "and on"]


def test_a_plain_copy_of_a_file_in_use_lacks_what_was_said_last(tmp_path: Path) -> None:
    file, copy = tmp_path / "chat.db", tmp_path / "copy.db"
    with Store(f"sqlite:///{file}") as store:
        say(store, "acknowledged")
        shutil.copy(file, copy)
        assert texts(store) == ["acknowledged"]
    with Store(f"sqlite:///{copy}") as copied:
        assert texts(copied) == []


def salts(file: Path) -> bytes:
    """What tells one run of the write-ahead log from the next: its header's two salts."""
    with Path(f"{file}-wal").open("rb") as log:
        return log.read(24)[16:24]


def test_who_copies_the_log_meets_every_page_of_it(tmp_path: Path) -> None:
    """What Litestream builds on: the file is in WAL mode, and while it holds its read transaction
    no checkpoint of ours begins the log anew, so that nothing is written over before it is copied.
    Nobody who writes waits for it, and when it lets go the log is folded back."""
    file = tmp_path / "chat.db"
    log = Path(f"{file}-wal")
    with Store(f"sqlite:///{file}", durability="normal", timeout=0.2) as store:
        say(store, "first")
        with closing(sqlite3.connect(file, isolation_level=None)) as copier:
            assert copier.execute("PRAGMA journal_mode").fetchone() == ("wal",)
            copier.execute("BEGIN")
            copier.execute("SELECT count(*) FROM onrecord_sessions").fetchone()
            before, began, length = salts(file), log.read_bytes(), log.stat().st_size
            chat = store.session("s", user="ada")
            for n in range(90):  # twice the pages after which SQLite would fold the log back
                chat.append(("user", os.urandom(100_000).hex() + str(n)))
            assert log.stat().st_size > length + 2 * 4000 * 1024
            report = store.compact()  # has nothing to seal, and asks to cut the log off
            assert "somebody is reading" in (report.problem or "")
            assert salts(file) == before
            assert log.read_bytes()[:length] == began
            copier.execute("ROLLBACK")
            assert store.compact().problem is None
            assert log.stat().st_size == 0
        assert store.verify() == []
