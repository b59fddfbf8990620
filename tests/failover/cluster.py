"""Three PostgreSQL under Patroni, with etcd: plain processes on loopback, each in its own folder.

A node's processes are all that work in its folder, so a node can be lost or frozen as a whole.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import psycopg

from tests.failover.etcd import Etcds
from tests.failover.programs import Programs
from tests.failover.waiting import wait_for
from tests.servers.process import ServerProcess, free_port, new_folder, server_user
from tests.torture.line import Line

TTL: Final = 20
"""Seconds after which a leader that is silent is one no longer: Patroni takes no less."""
LOOP_WAIT: Final = 3
RETRY_TIMEOUT: Final = 5

_FOLLOWS: Final = ("streaming", "running")
_SECRET: Final = "onrecord-failover"
"""The password of every user, on loopback, for a minute."""
_BEGINNING: Final = 120.0
"""How many seconds three servers get to come up."""


class Node:
    """One machine, as far as it goes: Patroni and its PostgreSQL."""

    def __init__(
        self,
        programs: Programs,
        name: str,
        etcd: list[int],
        settings: dict[str, Any],
        *,
        lines: bool = False,
    ) -> None:
        """With ``lines`` Patroni reaches etcd, and clients and standbys PostgreSQL, by what can be
        cut."""
        self.name = name
        self.port, self.api = free_port(), free_port()
        self._stack = contextlib.ExitStack()
        self._to_etcd: list[Line] = []
        self._to_clients: Line | None = None
        self._to_standbys: Line | None = None
        if lines:
            self._to_etcd = [self._lay(port) for port in etcd]
            self._to_clients = self._lay(self.port)
            self._to_standbys = self._lay(self.port)
            etcd = [line.port for line in self._to_etcd]
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
            self._stack.close()
            raise

    def _lay(self, port: int) -> Line:
        return self._stack.enter_context(contextlib.closing(Line(port)))

    def _settings(
        self, programs: Programs, etcd: list[int], settings: dict[str, Any]
    ) -> dict[str, Any]:
        address, api = f"127.0.0.1:{self.port}", f"127.0.0.1:{self.api}"
        others = f"127.0.0.1:{self._to_standbys.port}" if self._to_standbys else address
        users = {"superuser": "onrecord", "replication": "replicator", "rewind": "rewinder"}
        return {
            "scope": "onrecord",
            "name": self.name,
            "restapi": {"listen": api, "connect_address": api},
            # As proxies: else it asks etcd for its own addresses, and goes past the lines.
            "etcd3": {"hosts": [f"127.0.0.1:{port}" for port in etcd], "use_proxies": True},
            "bootstrap": {"dcs": settings, "initdb": [{"encoding": "UTF8"}, {"locale": "C"}]},
            "postgresql": {
                "listen": address,
                "connect_address": others,
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

    @property
    def address(self) -> str:
        """Host and port, as clients are given them."""
        return f"127.0.0.1:{self._to_clients.port if self._to_clients else self.port}"

    def part_from_etcd(self) -> None:
        """What Patroni and etcd send each other is lost; all else arrives."""
        for line in self._to_etcd:
            line.cut("silent")

    def part_from_clients(self) -> None:
        """What clients and PostgreSQL send each other is lost; all else arrives."""
        assert self._to_clients is not None
        self._to_clients.cut("silent")

    def part_from_standbys(self) -> None:
        """What standbys and PostgreSQL send each other is lost; all else arrives."""
        assert self._to_standbys is not None
        self._to_standbys.cut("silent")

    def mend(self) -> None:
        """End connections that were parted; new ones arrive."""
        for line in (*self._to_etcd, self._to_clients, self._to_standbys):
            if line is not None:
                line.mend()

    def processes(self) -> Iterator[int]:
        """All that work in the folder."""
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if Path(os.readlink(process / "cwd")).is_relative_to(self.folder):
                    yield int(process.name)

    def signal_all(self, what: signal.Signals, *, patroni: bool = True) -> None:
        """Send a signal to each, and to those that were started meanwhile; to Patroni or not."""
        for _ in range(2):
            for pid in self.processes():
                with contextlib.suppress(ProcessLookupError):
                    if patroni or pid != self._process.pid:
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
        self._stack.close()


class Cluster:
    """An etcd, and three nodes of which one is the primary."""

    def __init__(
        self,
        programs: Programs,
        *,
        synchronous: bool = True,
        etcds: int = 1,
        lines: bool = False,
    ) -> None:
        self._stack = contextlib.ExitStack()
        self._synchronous = synchronous
        self._database = "postgres"
        self.nodes: list[Node] = []
        try:
            self.etcd = self._stack.enter_context(contextlib.closing(Etcds(programs.etcd, etcds)))
            settings = _settings(synchronous)
            for number in range(1, 4):
                node = Node(programs, f"n{number}", self.etcd.ports, settings, lines=lines)
                self._stack.callback(node.close)
                self.nodes.append(node)
            for node in self.nodes:
                node.start()
            self.wait_until_whole()
        except BaseException:
            self.close()
            raise

    @property
    def url(self) -> str:
        """All three, as a store is given them."""
        return self._url(",".join(node.address for node in self.nodes))

    def url_at(self, port: int) -> str:
        """The same database behind another address."""
        return self._url(f"127.0.0.1:{port}")

    @property
    def addresses(self) -> list[str]:
        """Each of the three, past every line, and a database that is always there."""
        return [self._url(f"127.0.0.1:{node.port}", "postgres") for node in self.nodes]

    def _url(self, hosts: str, database: str | None = None) -> str:
        return f"postgresql://onrecord:{_SECRET}@{hosts}/{database or self._database}"

    def make_database(self, name: str) -> None:
        """Make the database of ``url`` from now on."""
        address = self._url(f"127.0.0.1:{self.wait_for_leader().port}", "postgres")
        with psycopg.connect(address, autocommit=True, connect_timeout=10) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        self._database = name

    def make_whole(self) -> None:
        """Start again who was lost, and wait until all three are there."""
        for node in self.nodes:
            if not node.alive:
                node.start()
        self.wait_until_whole()

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
        # Before 3.1 Patroni says of each that runs that it is running.
        follow = [m for m in members if m["role"] != "leader" and m["state"] in _FOLLOWS]
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

    def wait_until_whole(self) -> None:
        """Wait until all three are there again, and two of them follow."""
        wait_for(self.is_whole, _BEGINNING, "the cluster to be whole", self.log)

    def wait_until_nobody_leads(self) -> None:
        """Wait until none of them says that it is the primary."""
        wait_for(lambda: self.leader() is None, 2 * TTL, "the primary to step down", self.log)

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
