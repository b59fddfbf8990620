"""Three PostgreSQL under Patroni, with etcd: plain processes on loopback, each in its own folder.

A node's processes are all that work in its folder, so a node can be lost or frozen as a whole.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, TypeVar

import psycopg

from tests.servers.binaries import Binaries, Missing, from_machine
from tests.servers.postgres import find_postgres_binaries
from tests.servers.process import ServerProcess, free_port, new_folder, run_as, server_user

T = TypeVar("T")

TTL: Final = 20
"""Seconds after which a leader that is silent is one no longer: Patroni takes no less."""
LOOP_WAIT: Final = 3
RETRY_TIMEOUT: Final = 5

_PROGRAMS: Final = (
    "initdb",
    "pg_ctl",
    "pg_rewind",
    "pg_basebackup",
    "pg_controldata",
    "pg_isready",
)
_SECRET: Final = "onrecord-failover"
"""The password of every user, on loopback, for a minute."""
_BEGINNING: Final = 120.0
"""How many seconds three servers get to come up."""


@dataclass(frozen=True)
class Programs:
    """What a cluster is started from."""

    postgres: Binaries
    etcd: Binaries
    python: Path
    """One that the servers' user can run, with Patroni."""
    packages: str

    @property
    def version(self) -> str:
        """Patroni's."""
        return version("patroni")

    @property
    def patroni(self) -> list[str]:
        """The command, without its settings."""
        script = Path(sys.executable).parent / "patroni"
        return ["/usr/bin/env", f"PYTHONPATH={self.packages}", str(self.python), str(script)]


def find_programs() -> Programs | Missing:
    """What a cluster is started from, or what there is not."""
    if not sys.platform.startswith("linux"):
        return Missing("make failover reads /proc, which only Linux has")
    postgres = find_postgres_binaries()
    if isinstance(postgres, Missing):
        return postgres
    absent = [name for name in _PROGRAMS if not (postgres.server.parent / name).exists()]
    if absent:
        return Missing(
            f"{postgres.origin} has no {', '.join(absent)}: Patroni needs a whole PostgreSQL "
            f"(Debian, Ubuntu: apt install postgresql)"
        )
    found = shutil.which("etcd")
    etcd = from_machine([Path(found)]) if found else None
    if etcd is None:
        return Missing("no etcd on PATH (Debian, Ubuntu: apt install etcd-server)")
    packages = os.pathsep.join(path for path in sys.path if path.endswith("-packages"))
    if not (Path(sys.executable).parent / "patroni").exists():
        return Missing("no Patroni beside this Python: `make failover` brings its environment")
    for python in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        command = ["/usr/bin/env", f"PYTHONPATH={packages}", python]
        with contextlib.suppress(OSError):
            run_as(server_user(), [*command, "-c", "import patroni, psycopg, yaml"], cwd=Path("/"))
            return Programs(postgres, etcd, Path(python), packages)
    user = server_user()
    return Missing(
        f"PostgreSQL does not run as root, and {user.pw_name if user else 'its user'} can run no "
        f"Python that finds Patroni: run `make failover` as another user, or with "
        f"PYTHON=/usr/bin/python3 in a new checkout that all can read"
    )


class Node:
    """One machine, as far as it goes: Patroni and its PostgreSQL."""

    def __init__(self, programs: Programs, name: str, etcd: int, settings: dict[str, Any]) -> None:
        self.name = name
        self.port, self.api = free_port(), free_port()
        user = server_user()
        self.folder = new_folder(user)
        try:
            file = self.folder / "patroni.yml"
            file.write_text(json.dumps(self._settings(programs, etcd, settings)))  # YAML has JSON
            file.chmod(0o600)
            if user is not None:
                os.chown(file, user.pw_uid, user.pw_gid)
            self._process = ServerProcess([*programs.patroni, str(file)], self.folder, user)
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise

    def _settings(self, programs: Programs, etcd: int, settings: dict[str, Any]) -> dict[str, Any]:
        address, api = f"127.0.0.1:{self.port}", f"127.0.0.1:{self.api}"
        users = {"superuser": "onrecord", "replication": "replicator", "rewind": "rewinder"}
        return {
            "scope": "onrecord",
            "name": self.name,
            "restapi": {"listen": api, "connect_address": api},
            "etcd3": {"host": f"127.0.0.1:{etcd}"},
            "bootstrap": {"dcs": settings, "initdb": [{"encoding": "UTF8"}, {"locale": "C"}]},
            "postgresql": {
                "listen": address,
                "connect_address": address,
                "data_dir": str(self.folder / "data"),
                "bin_dir": str(programs.postgres.server.parent),
                "pgpass": str(self.folder / "pgpass"),
                "authentication": {
                    role: {"username": name, "password": _SECRET} for role, name in users.items()
                },
                "pg_hba": [
                    "host replication all 127.0.0.1/32 scram-sha-256",
                    "host all all 127.0.0.1/32 scram-sha-256",
                ],
                "parameters": {"unix_socket_directories": ""},
            },
        }

    def start(self) -> None:
        """Start Patroni, which starts PostgreSQL, and do not wait."""
        self._process.start()

    @property
    def alive(self) -> bool:
        return self._process.alive

    def processes(self) -> Iterator[int]:
        """All that work in the folder."""
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if Path(os.readlink(process / "cwd")).is_relative_to(self.folder):
                    yield int(process.name)

    def signal_all(self, what: signal.Signals) -> None:
        """Send a signal to each, and to those that were started meanwhile."""
        for _ in range(2):
            for pid in self.processes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, what)

    def lose(self) -> None:
        """End all at once, as if the machine had gone."""
        self.signal_all(signal.SIGSTOP)  # so that nobody sees another one go
        self.signal_all(signal.SIGKILL)

    def kill_postmaster(self) -> None:
        """End PostgreSQL's first process without ceremony; Patroni stays."""
        os.kill(int((self.folder / "data" / "postmaster.pid").read_text().split()[0]), 9)

    def stop_sending(self) -> None:
        """Stop what sends the log to those that follow, so that they stay behind."""
        for pid in self.processes():
            with contextlib.suppress(OSError):
                if b"walsender" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(pid, signal.SIGSTOP)

    def ask(self, path: str, body: object = None, *, patience: float = 2.0) -> tuple[int, str]:
        """What Patroni answers; 0 where it does not."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        url = f"http://127.0.0.1:{self.api}{path}"
        try:
            request = urllib.request.Request(url, data, headers)
            with urllib.request.urlopen(request, timeout=patience) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as fault:
            with fault:
                return fault.code, fault.read().decode()
        except OSError as fault:
            return 0, str(fault)

    def log(self) -> str:
        """What Patroni and PostgreSQL wrote."""
        with contextlib.suppress(FileNotFoundError):
            return (self.folder / "log").read_text(errors="replace")
        return "(no log)"

    def close(self) -> None:
        """End it and remove its folder."""
        self.lose()
        self._process.close()


class Cluster:
    """An etcd, and three nodes of which one is the primary."""

    def __init__(self, programs: Programs, *, synchronous: bool = True) -> None:
        self._stack = contextlib.ExitStack()
        self._synchronous = synchronous
        self.nodes: list[Node] = []
        try:
            etcd = self._start_etcd(programs)
            for number in range(1, 4):
                node = Node(programs, f"n{number}", etcd, _settings(synchronous))
                self._stack.callback(node.close)
                self.nodes.append(node)
            for node in self.nodes:
                node.start()
            wait_for(self.is_whole, _BEGINNING, "the cluster to be whole", self.log)
        except BaseException:
            self.close()
            raise

    def _start_etcd(self, programs: Programs) -> int:
        user = server_user()
        folder, port, peers = new_folder(user), free_port(), free_port()
        clients = f"http://127.0.0.1:{port}"
        others = f"http://127.0.0.1:{peers}"
        options = {
            "name": "one",
            "data-dir": folder / "data",
            "listen-client-urls": clients,
            "advertise-client-urls": clients,
            "listen-peer-urls": others,
            "initial-advertise-peer-urls": others,
            "initial-cluster": f"one={others}",
        }
        command = [
            str(programs.etcd.server),
            *(f"--{name}={text}" for name, text in options.items()),
        ]
        self._etcd = ServerProcess(command, folder, user)
        self._stack.callback(self._etcd.close)
        self._etcd.start()
        wait_for(lambda: _is_healthy(clients), 30, "etcd to answer", self._etcd.log)
        return port

    @property
    def url(self) -> str:
        """All three, as a store is given them."""
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)
        return f"postgresql://onrecord:{_SECRET}@{hosts}/onrecord"

    @staticmethod
    def url_at(port: int) -> str:
        """The same database behind another address."""
        return f"postgresql://onrecord:{_SECRET}@127.0.0.1:{port}/onrecord"

    def make_database(self) -> None:
        """Make the database of ``url``."""
        address = f"{self.url_at(self.wait_for_leader().port).removesuffix('onrecord')}postgres"
        with psycopg.connect(address, autocommit=True, connect_timeout=10) as connection:
            connection.execute("CREATE DATABASE onrecord")

    def members(self) -> list[dict[str, Any]]:
        """What Patroni says of each, whoever of them answers."""
        for node in self.nodes:
            code, text = node.ask("/cluster")
            if code == 200:
                members: list[dict[str, Any]] = json.loads(text)["members"]
                return members
        return []

    def is_whole(self) -> bool:
        """Whether all three are there, two of them follow, and one as it is wanted."""
        members = self.members()
        roles = [member["role"] for member in members]
        follow = [m for m in members if m["role"] != "leader" and m["state"] == "streaming"]
        return (
            self.leader() is not None
            and len(follow) == len(self.nodes) - 1
            and ("sync_standby" in roles) == self._synchronous
        )

    def leader(self) -> Node | None:
        """Who says of itself that it is the primary."""
        return next((node for node in self.nodes if node.ask("/primary")[0] == 200), None)

    def wait_until_it_goes(self, node: Node) -> None:
        """Wait until a primary says that it is one no longer, for as long as Patroni may take to
        notice."""
        with contextlib.suppress(TimeoutError):
            wait_for(lambda: self.leader() is not node, 3 * LOOP_WAIT, "an end", str)

    def wait_for_leader(self, other_than: Node | None = None, *, within: float = 90) -> Node:
        """The primary; another one than that."""

        def found() -> Node | None:
            leader = self.leader()
            return None if leader is other_than else leader

        return wait_for(found, within, "a primary", self.log)

    def switch_over(self) -> Node:
        """Have another one be the primary, as is planned, and wait for it."""
        old = self.wait_for_leader()
        code, text = old.ask("/switchover", {"leader": old.name}, patience=60)
        if code != 200:
            raise RuntimeError(f"Patroni did not switch over ({code}): {text}")
        return self.wait_for_leader(old)

    def log(self) -> str:
        """What each wrote last."""
        return "\n".join(f"{node.name}:\n{node.log()[-3000:]}" for node in self.nodes)

    def close(self) -> None:
        """End all of them."""
        self._stack.close()


def _settings(synchronous: bool) -> dict[str, Any]:
    """What Patroni tells every node."""
    return {
        "ttl": TTL,
        "loop_wait": LOOP_WAIT,
        "retry_timeout": RETRY_TIMEOUT,
        "maximum_lag_on_failover": 1 << 30,
        "synchronous_mode": synchronous,
        "synchronous_mode_strict": synchronous,
        "postgresql": {
            "use_pg_rewind": True,
            "use_slots": True,
            "parameters": {
                "max_connections": 100,
                "shared_buffers": "32MB",
                "fsync": "off",  # nobody pulls the plug
                "synchronous_commit": "on" if synchronous else "off",
                # A standby looks for its primary as often.
                "wal_retrieve_retry_interval": "500ms",
            },
        },
    }


def _is_healthy(address: str) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(f"{address}/health", timeout=2) as a:
        return bool(json.loads(a.read())["health"] == "true")
    return False


def wait_for(what: Callable[[], T | None], seconds: float, named: str, log: Callable[[], str]) -> T:
    """What is there at last."""
    until = time.monotonic() + seconds
    while not (found := what()):
        if time.monotonic() > until:
            raise TimeoutError(f"waited {seconds:g} s in vain for {named}\n{log()}")
        time.sleep(0.1)
    return found
