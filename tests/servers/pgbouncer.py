"""PgBouncer for the tests that use it where it is found: none needs it."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psycopg
from sqlalchemy.engine import make_url

from .binaries import Binaries, Missing, from_machine
from .process import ServerProcess, free_port, new_folder, server_user

_SETTINGS: Final = """[databases]
* = host={host} port={port}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listens}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {users}
pool_mode = transaction
default_pool_size = 20
max_client_conn = 200
server_login_retry = {login_retry}
query_wait_timeout = 5
"""


def find_pgbouncer() -> Binaries | Missing:
    """What a pooler of our own is started from."""
    return from_machine(_installed()) or Missing("no pgbouncer on PATH or under /usr/sbin")


def _installed() -> Iterator[Path]:
    if on_path := shutil.which("pgbouncer"):
        yield Path(on_path)
    if (usual := Path("/usr/sbin/pgbouncer")).exists():
        yield usual


class OwnPgBouncer:
    """A pooler of our own before a server, in transaction mode: a client has a connection of the
    server for as long as its transaction, and another for the next."""

    def __init__(self, binaries: Binaries, database: str, *, login_retry: float = 0.1) -> None:
        """``login_retry``: after so many seconds who finds the database down tries again, which
        one does soon without a pooler; 15 is its default."""
        user = server_user()
        folder = new_folder(user)
        try:
            url = make_url(database)
            port = free_port()
            settings, users = folder / "pgbouncer.ini", folder / "users"
            users.write_text(f'"{url.username}" "{url.password}"\n')
            settings.write_text(
                _SETTINGS.format(
                    host=url.host,
                    port=url.port,
                    listens=port,
                    users=users,
                    login_retry=login_retry,
                )
            )
            for path in (settings, users):
                path.chmod(0o600)
                if user is not None:
                    os.chown(path, user.pw_uid, user.pw_gid)
            self._url = url.set(port=port)
            self._process = ServerProcess([str(binaries.server), str(settings)], folder, user)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        try:
            self._process.start()
            self._wait_until_it_answers()
        except BaseException:
            self.close()
            raise

    def address_of(self, database: str) -> str:
        """Where a database is reached through the pooler."""
        found = self._url.set(database=make_url(database).database)
        return found.render_as_string(hide_password=False)

    def pause(self) -> None:
        """Let it stand still, its connections open."""
        os.kill(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        os.kill(self._process.pid, signal.SIGCONT)

    def close(self) -> None:
        """Stop it and remove its folder."""
        self._process.close()

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + 20
        while True:
            try:
                url = self._url.set(database="postgres").render_as_string(hide_password=False)
                psycopg.connect(url, connect_timeout=5).close()
                return
            except psycopg.OperationalError as error:
                if time.monotonic() > deadline or not self._process.alive:
                    raise RuntimeError(
                        f"PgBouncer did not start: {error}\n{self._process.log()}"
                    ) from None
            time.sleep(0.02)
