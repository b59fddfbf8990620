"""What Patroni asks who leads: one etcd, or three that decide together."""

from __future__ import annotations

import contextlib
import json
import signal
import urllib.request
from typing import Final

from tests.failover.waiting import wait_for
from tests.servers.binaries import Binaries
from tests.servers.process import ServerProcess, free_port, new_folder, server_user

_BEGINNING: Final = 60.0


class Etcds:
    """Members of one etcd, each a process in a folder of its own."""

    def __init__(self, binaries: Binaries, members: int) -> None:
        self._stack = contextlib.ExitStack()
        self.ports = [free_port() for _ in range(members)]
        peers = [f"http://127.0.0.1:{free_port()}" for _ in range(members)]
        everybody = ",".join(f"e{number}={peer}" for number, peer in enumerate(peers))
        self._members: list[ServerProcess] = []
        try:
            for number, peer in enumerate(peers):
                self._members.append(self._member(binaries, number, peer, everybody))
            for member in self._members:
                member.start()
            wait_for(self._is_healthy, _BEGINNING, "etcd to answer", self._log)
        except BaseException:
            self.close()
            raise

    def _member(self, binaries: Binaries, number: int, peer: str, everybody: str) -> ServerProcess:
        user = server_user()
        folder = new_folder(user)
        options = {
            "name": f"e{number}",
            "data-dir": folder / "data",
            "listen-client-urls": self._address(number),
            "advertise-client-urls": self._address(number),
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "initial-cluster": everybody,
            # A busy machine is no reason for an election.
            "heartbeat-interval": 300,
            "election-timeout": 3000,
        }
        command = [
            str(binaries.server),
            *(f"--{name}={text}" for name, text in options.items()),
        ]
        member = ServerProcess(command, folder, user)
        self._stack.callback(member.close)
        return member

    def lose_majority(self) -> None:
        """End as many at once that the others can decide nothing."""
        for member in self._lost:
            member.kill(signal.SIGKILL)

    def come_back(self) -> None:
        """Start those again, with what they had, and wait until they decide."""
        for member in self._lost:
            member.start()
        wait_for(self._is_healthy, _BEGINNING, "etcd to decide again", self._log)

    def close(self) -> None:
        """End all of them."""
        self._stack.close()

    @property
    def _lost(self) -> list[ServerProcess]:
        return self._members[: len(self._members) // 2 + 1]

    def _address(self, number: int) -> str:
        return f"http://127.0.0.1:{self.ports[number]}"

    def _is_healthy(self) -> bool:
        """Whether each says that there is a leader among them."""
        return all(_says_it_is(self._address(n)) for n in range(len(self.ports)))

    def _log(self) -> str:
        return "\n".join(member.log() for member in self._members)


def _says_it_is(address: str) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(f"{address}/health", timeout=2) as a:
        return bool(json.loads(a.read())["health"] == "true")
    return False
