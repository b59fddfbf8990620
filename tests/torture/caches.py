"""The Redis of a run, and another that may take its place."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import redis

from tests.servers.binaries import Binaries
from tests.servers.redis import OwnRedis
from tests.torture.line import Line
from tests.torture.settings import PATIENCE


class Caches:
    """Two servers behind one address: a master, and one that is made its replica.

    The address is a link to the socket of the one that is in charge.
    """

    def __init__(self, binaries: Binaries) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="onrecord-torture-"))
        self._servers: list[OwnRedis] = []
        try:
            for _ in range(2):
                self._servers.append(
                    OwnRedis(binaries, unixsocket="redis.sock", repl_diskless_sync_delay="0")
                )
            self.master, self.replica = self._servers
            self._behind = Line(self.master.port)
        except BaseException:
            self._close_servers()
            raise
        self.url = f"unix://{self._folder / 'redis.sock'}"
        self._lead_to(self.master)

    def client(self, server: OwnRedis | None = None) -> redis.Redis:
        """A client of the one in charge, or of another."""
        server = server or self.master
        return redis.Redis.from_url(server.url, socket_timeout=PATIENCE)

    def replicate(self) -> None:
        """Make the other one a replica."""
        self._behind.lead_to(self.master.port)
        self._behind.mend()
        with self.client(self.replica) as client:
            client.replicaof("127.0.0.1", self._behind.port)

    @property
    def replicates(self) -> bool:
        """Whether the replica has all that the master has."""
        with self.client(self.replica) as client:
            return bool(client.execute_command("ROLE")[3] == b"connected")

    def lag(self) -> None:
        """From now on the replica hears nothing."""
        self._behind.cut("silent")

    def fail_over(self) -> None:
        """Put the replica, as it is, in the place of the master, which answers nobody any more.

        Its clients notice when it is to ``come_back``: so they have another at once.
        """
        self.master.pause()
        with self.client(self.replica) as client:
            client.replicaof("NO", "ONE")
        self._lead_to(self.replica)
        self.master, self.replica = self.replica, self.master

    def come_back(self) -> None:
        """Start the old master again, empty. Nobody may be led to it any more: two at once are
        one too many for any protocol."""
        self.replica.kill()
        (self.replica.folder / "dump.rdb").unlink(missing_ok=True)
        self.replica.start()

    def hide(self, hides: bool) -> None:
        """Refuse to say which run of a server answers, as some services do."""
        for server in self._servers:
            with self.client(server) as client:
                client.execute_command("ACL", "SETUSER", "default", "-info" if hides else "+info")

    def close(self) -> None:
        """Stop both."""
        self._behind.close()
        self._close_servers()

    def _close_servers(self) -> None:
        for server in self._servers:
            server.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _lead_to(self, server: OwnRedis) -> None:
        new = self._folder / "new"
        os.symlink(server.folder / "redis.sock", new)
        os.replace(new, self._folder / "redis.sock")
