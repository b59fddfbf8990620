"""Writers and readers over three PostgreSQL, of which one is lost.

    python -m tests.failover [--only NAME] [--seconds 10] [--runs 1] [--seed 1] [--keep FOLDER]

Starts an etcd, three PostgreSQL under Patroni in strict synchronous mode, and a Redis with a
replica and a Sentinel: plain processes on loopback, each in a folder of its own, gone at the end.
Six processes (those of ``tests.torture``) write and read sessions, turns and items over a URL that
names all three servers, with a cache, and write down what they were told. Then something happens,
and they go on. Afterwards the checkers of histories say what no correct store would have answered,
the last reads past the cache included: there must be nothing.

Only where a standby is asynchronous acknowledged messages may be lost with the primary: what was
lost may then be shown for as long as ``revalidate``, until something new is acknowledged.

It needs PostgreSQL as a whole (with pg_rewind and pg_basebackup), etcd and Redis, and says which
is not there. PgBouncer is needed by one scenario, which is left out without it.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.failover.caches import WatchedCaches
from tests.failover.cluster import LOOP_WAIT, RETRY_TIMEOUT, TTL, Cluster, Programs
from tests.failover.run import LONGER, Outcome, Run
from tests.failover.scenarios import Pointer, Scenario
from tests.servers.binaries import Binaries, Missing
from tests.servers.pgbouncer import OwnPgBouncer

HEAD: Final = (
    f"\n{'scenario':<56} {'acknow-':>8} {'viola-':>7} {'appends':>8} {'reads':>7} "
    f"{'users saw':>17} {'longest':>8}\n"
    f"{'':<56} {'ledged':>8} {'tions':>7} {'down, s':>8} {'down, s':>7} "
    f"{'refused  unknown':>17} {'call, s':>8}\n"
)


@dataclass(frozen=True)
class Servers:
    """What clusters are started from."""

    programs: Programs
    redis: Binaries
    pooler: Binaries | Missing

    @property
    def described(self) -> str:
        """Their versions, and how soon Patroni acts."""
        pooler = self.pooler
        return (
            f"PostgreSQL {self.programs.postgres.version}, Patroni {self.programs.version}, "
            f"etcd {self.programs.etcd.version}, Redis {self.redis.version}, "
            f"{'no PgBouncer' if isinstance(pooler, Missing) else f'PgBouncer {pooler.version}'}; "
            f"ttl {TTL}, loop_wait {LOOP_WAIT}, retry_timeout {RETRY_TIMEOUT}\n"
        )


def perform(
    scenario: Scenario,
    servers: Servers,
    *,
    seconds: float,
    seed: int,
    timeout: float,
    keep: Path | None = None,
    keep_all: bool = False,
) -> Outcome | str:
    """Run a scenario on servers of its own; a text says why it was left out."""
    if scenario.pooled and isinstance(servers.pooler, Missing):
        return f"{scenario.what}: skipped, {servers.pooler.reason}"
    with contextlib.ExitStack() as stack:
        cluster = stack.enter_context(
            contextlib.closing(Cluster(servers.programs, synchronous=scenario.synchronous))
        )
        cluster.make_database()
        caches = stack.enter_context(contextlib.closing(WatchedCaches(servers.redis)))
        url = None
        if scenario.pooled:
            assert not isinstance(servers.pooler, Missing)
            pointer = stack.enter_context(contextlib.closing(Pointer(cluster)))
            address = cluster.url_at(pointer.port)
            pooler = OwnPgBouncer(servers.pooler, address, login_retry=1)
            url = stack.enter_context(contextlib.closing(pooler)).address_of(address)
        run = stack.enter_context(
            Run(cluster, caches, seed=seed, seconds=seconds, timeout=timeout, url=url)
        )
        run.perform(scenario.act)
        outcome = run.judge(scenario.what)
        violations = outcome.verdict.violations
        if scenario.unseen and outcome.faults:
            violations.append(f"{len(outcome.faults)} errors reached users: {outcome.faults[0]}")
        if outcome.longest > 2 * timeout + LONGER + run.stood_still:
            violations.append(
                f"a call took {outcome.longest:.1f} s, with a timeout of {timeout:g} s"
            )
        if keep is not None and (keep_all or violations):
            run.keep(outcome, keep / f"{scenario.name}-{seed}")
        return outcome


def row(outcome: Outcome | str) -> str:
    """A row of the table, and below it what was wrong."""
    if isinstance(outcome, str):
        return f"{outcome}\n"
    violations = outcome.verdict.violations
    lost = f" ({outcome.verdict.lost} of them lost, as it may)" if outcome.verdict.lost else ""
    return (
        f"{outcome.scenario:<56} {outcome.acknowledged:>8} {len(violations):>7} "
        f"{outcome.appends_down:>8.1f} {outcome.reads_down:>7.1f} "
        f"{outcome.refused:>8} {outcome.unknown:>8} {outcome.longest:>8.1f}{lost}\n"
        + "".join(f"    {violation[:1000]}\n" for violation in violations[:10])
    )
