"""What is done to the machines, in a row as the table shows it."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Final

from tests.failover.cluster import TTL, Cluster, Node
from tests.failover.run import Run
from tests.torture.line import Line
from tests.torture.settings import Consistency

_FROZEN: Final = TTL + 12.0
_PARTED: Final = 25.0
"""Longer than twice the ten seconds for which a store waits."""
_BEHIND: Final = 1.0
"""How many seconds of writes a standby, or a Redis, has not heard of."""


@dataclass(frozen=True)
class Scenario:
    """Something that happens, and what it may do to users."""

    name: str
    what: str
    act: Callable[[Run], None]
    synchronous: bool = True
    pooled: bool = False
    unseen: bool = False
    """Whether no error may reach a user."""
    consistency: Consistency = "cached"
    etcds: int = 1
    lines: bool = False
    """Whether clients reach the machines, and these etcd, by what can be cut."""
    one_at_a_time: bool = True
    """Whether a primary has to have gone before another one is there."""


def switch_over(run: Run) -> None:
    """As is done before a machine is updated."""
    run.did("switch over")
    leader = run.cluster.switch_over()
    run.did(f"{leader.name} is the primary")


def kill_postmaster(run: Run) -> None:
    """PostgreSQL ends; Patroni is there and starts it again, or another takes its place."""
    node = run.cluster.wait_for_leader()
    run.did(f"kill -9 PostgreSQL of {node.name}")
    node.kill_postmaster()
    run.cluster.wait_until_it_goes(node)
    _await_primary(run)


def lose_host(run: Run) -> None:
    """Patroni and PostgreSQL of one machine end at once, and do not come back."""
    node = run.cluster.wait_for_leader()
    run.did(f"lose {node.name}")
    node.lose()
    _await_primary(run, node)


def freeze(run: Run, *, patroni: bool = True) -> None:
    """A machine, or PostgreSQL alone, stands still for longer than it may lead, and goes on as if
    nothing had been."""
    node = run.cluster.wait_for_leader()
    run.did(f"freeze {node.name}")
    node.signal_all(signal.SIGSTOP, patroni=patroni)
    with ThreadPoolExecutor(1) as threads:
        elected = threads.submit(_await_primary, run, node)
        run.watch(_FROZEN)
        elected.result()
    run.did(f"thaw {node.name}")
    run.thawed = time.monotonic_ns()
    node.signal_all(signal.SIGCONT, patroni=patroni)
    run.watch(run.seconds)
    run.cluster.wait_for_leader()


def fall_back(run: Run) -> None:
    """A machine is lost, and with it what no standby had heard of."""
    node = run.cluster.wait_for_leader()
    run.did(f"{node.name} sends nothing any more")
    node.stop_sending()
    run.watch(_BEHIND)
    with run.standing_still():
        run.did(f"lose {node.name}")
        node.lose()
        _await_primary(run, node)
    run.did("go on")


def fail_over_both(
    run: Run, *, empty: bool = False, to_postgres: Callable[[Run], None] = switch_over
) -> None:
    """Redis is lost while something happens to PostgreSQL."""
    run.did("the replica of Redis hears nothing any more")
    run.caches.fall_behind()
    run.watch(_BEHIND)
    if empty:
        run.caches.empty_replica()
    with ThreadPoolExecutor(1) as threads:
        run.did("kill -9 Redis")
        failed_over = threads.submit(run.caches.fail_over)
        to_postgres(run)
        failed_over.result()
        run.did("Sentinel has put the replica in its place")
    run.watch(run.seconds)
    run.did("the old Redis comes back")
    run.caches.come_back()


def part_from_etcd(run: Run, *, from_standbys: bool = False) -> None:
    """A primary works on, and can tell nobody: it has to go before another one takes its place.
    Where its standbys do not hear it either, it may acknowledge nothing meanwhile."""
    node = run.cluster.wait_for_leader()
    run.did(f"part {node.name} from etcd{' and its standbys' if from_standbys else ''}")
    node.part_from_etcd()
    if from_standbys:
        node.part_from_standbys()
    _await_primary(run, node)
    run.watch(run.seconds)
    run.did(f"{node.name} reaches all again")
    node.mend()
    run.cluster.wait_until_whole()
    run.did("all three are there")


def part_from_clients(run: Run) -> None:
    """Nobody who asks reaches the primary; whoever looks after it finds nothing wrong."""
    node = run.cluster.wait_for_leader()
    run.did(f"part {node.name} from all clients")
    node.part_from_clients()
    run.watch(_PARTED)
    if run.cluster.leader() is not node:
        raise RuntimeError("another one is the primary, though only clients were parted from it")
    run.did(f"clients reach {node.name} again")
    node.mend()


def lose_quorum(run: Run) -> None:
    """Who leads cannot be decided any more, so nobody does, until it can be."""
    run.did("lose two of three etcd")
    run.cluster.etcd.lose_majority()
    run.cluster.wait_until_nobody_leads()
    run.did("nobody is the primary")
    run.watch(TTL)
    run.did("the two come back")
    run.cluster.etcd.come_back()
    _await_primary(run)
    run.watch(run.seconds)
    run.cluster.wait_until_whole()
    run.did("all three are there")


SCENARIOS: Final = (
    Scenario("switchover", "planned switchover", switch_over, unseen=True),
    Scenario("kill", "kill -9 of PostgreSQL", kill_postmaster),
    Scenario("host", "the primary's host gone", lose_host),
    Scenario(
        "frozen",
        f"primary frozen for {_FROZEN:.0f} s, and thawed",
        freeze,
        one_at_a_time=False,
    ),
    Scenario(
        "hung",
        f"its PostgreSQL alone frozen for {_FROZEN:.0f} s, and thawed",
        partial(freeze, patroni=False),
        one_at_a_time=False,
    ),
    Scenario("pooler", "switchover behind PgBouncer", switch_over, pooled=True),
    Scenario(
        "redis-lagging",
        "switchover, and Redis to a replica that is behind",
        fail_over_both,
    ),
    Scenario(
        "redis-empty",
        "switchover, and Redis to an empty replica",
        partial(fail_over_both, empty=True),
    ),
    Scenario(
        "asynchronous",
        "host gone, asynchronous standby, synchronous_commit=off",
        fall_back,
        synchronous=False,
    ),
    Scenario("parted-etcd", "primary and etcd parted", part_from_etcd, lines=True),
    Scenario(
        "isolated",
        "primary parted from etcd and standbys, not from clients",
        partial(part_from_etcd, from_standbys=True),
        lines=True,
    ),
    Scenario(
        "parted-clients",
        f"primary and all clients parted for {_PARTED:.0f} s",
        part_from_clients,
        lines=True,
    ),
    Scenario("quorum", f"two of three etcd gone for {TTL} s and more", lose_quorum, etcds=3),
    Scenario(
        "both",
        "host gone, and Redis to a replica that is behind",
        partial(fail_over_both, to_postgres=lose_host),
    ),
    Scenario(
        "both-strict",
        "the same, consistency=strict",
        partial(fail_over_both, to_postgres=lose_host),
        consistency="strict",
    ),
    Scenario(
        "asynchronous-strict",
        "host gone, asynchronous standby, consistency=strict",
        fall_back,
        synchronous=False,
        consistency="strict",
    ),
)


class Pointer:
    """An address that leads to the primary, as HAProxy's does that asks Patroni."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._leader = cluster.wait_for_leader()
        self._line = Line(self._leader.port)
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    @property
    def port(self) -> int:
        return self._line.port

    def close(self) -> None:
        """Lead nowhere any more."""
        self._ends.set()
        self._thread.join()
        self._line.close()

    def _look(self) -> None:
        while not self._ends.wait(0.5):
            leader = self._cluster.leader()
            if leader is not None and leader is not self._leader:
                self._leader = leader
                self._line.cut("closed")
                self._line.lead_to(leader.port)
                self._line.mend()


def _await_primary(run: Run, old: Node | None = None) -> None:
    leader = run.cluster.wait_for_leader(old)
    run.did(f"{leader.name} is the primary")
