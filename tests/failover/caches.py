"""A Redis, its replica, and a Sentinel that puts the one in the place of the other."""

from __future__ import annotations

import contextlib
from typing import Any

import redis

from tests.failover.waiting import wait_for
from tests.servers.binaries import Binaries
from tests.servers.redis import OwnRedis, OwnSentinel
from tests.torture.line import Line

_DOWN_AFTER: int = 1000
"""After so many milliseconds of silence Sentinel takes a Redis for down; 30,000 is its default."""
_WAITING: float = 60.0


class WatchedCaches:
    """Two servers, of which the second follows the first, as far as the line lets it."""

    def __init__(self, binaries: Binaries) -> None:
        self._stack = contextlib.ExitStack()
        try:
            self.master, self.replica = (
                self._started(OwnRedis(binaries, repl_diskless_sync_delay="0")) for _ in range(2)
            )
            self._line = self._started(Line(self.master.port))
            with self._client(self.replica) as client:
                client.replicaof("127.0.0.1", self._line.port)
            wait_for(self._follows, _WAITING, "the replica to follow", str)
            self._sentinel = self._started(OwnSentinel(binaries, self.master))
            self._tell("SET", OwnSentinel.NAME, "down-after-milliseconds", _DOWN_AFTER)
            self._tell("SET", OwnSentinel.NAME, "failover-timeout", 10_000)
            wait_for(self._knows_replica, _WAITING, "Sentinel to know the replica", str)
        except BaseException:
            self.close()
            raise
        self.url = self._sentinel.url

    def fall_behind(self) -> None:
        """From now on the replica hears nothing."""
        self._line.cut("silent")

    def empty_replica(self) -> None:
        """Have the replica lose everything."""
        with self._client(self.replica) as client:
            client.config_set("replica-read-only", "no")
            client.flushall()

    def fail_over(self) -> None:
        """Kill the master, and wait until Sentinel has put the replica in its place."""
        self.master.kill()
        wait_for(self._is_promoted, _WAITING, "Sentinel to promote the replica", str)
        self.master, self.replica = self.replica, self.master

    def come_back(self) -> None:
        """Start the old master again, empty; Sentinel makes it a replica."""
        self.replica.start()

    def close(self) -> None:
        """Stop all of them."""
        self._stack.close()

    def _started(self, server: Any) -> Any:
        self._stack.callback(server.close)
        return server

    def _client(self, server: OwnRedis) -> redis.Redis:
        return redis.Redis.from_url(server.url, socket_timeout=5)

    def _follows(self) -> bool:
        with self._client(self.replica) as client:
            return bool(client.execute_command("ROLE")[3] == b"connected")

    def _knows_replica(self) -> bool:
        return len(self._tell("REPLICAS", OwnSentinel.NAME)) == 1

    def _is_promoted(self) -> bool:
        _, port = self._tell("GET-MASTER-ADDR-BY-NAME", OwnSentinel.NAME)
        # Who it promotes is told to hang up on everybody.
        with contextlib.suppress(redis.ConnectionError), self._client(self.replica) as client:
            promoted = client.execute_command("ROLE")[0] == b"master"
            return bool(promoted and int(port) == self.replica.port)
        return False

    def _tell(self, *words: str | int) -> Any:
        with redis.Redis(port=self._sentinel.port, socket_timeout=5) as client:
            return client.execute_command("SENTINEL", *words)
