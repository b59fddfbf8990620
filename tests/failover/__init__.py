"""Writers and readers over three PostgreSQL, of which one is lost.

    python -m tests.failover [--only NAME] [--seconds 10] [--runs 1] [--seed 1] [--keep FOLDER]
                             [--patroni PROGRAM]

Starts etcd, three PostgreSQL under Patroni in strict synchronous mode, and a Redis with a replica
and a Sentinel: plain processes on loopback, each in a folder of its own, gone at the end.
Six processes (those of ``tests.torture``) write and read sessions, turns and items over a URL that
names all three servers, with a cache, and write down what they were told. Then something happens
to a machine, or to a line between two, and they go on. Afterwards the checkers of histories say
what no correct store would have answered, the last reads past the cache included: there must be
nothing. Each server is asked all the while whether it is the primary: there must never be two.

Only where a standby is asynchronous acknowledged messages may be lost with the primary: what was
lost may then be shown for as long as ``revalidate``, until something new is acknowledged; in
``strict`` never. And one that was frozen may take itself for the primary when it thaws, for a
moment, in which it can acknowledge nothing.

It needs PostgreSQL as a whole (with pg_rewind and pg_basebackup), etcd and Redis, and says which
is not there. PgBouncer is needed by one scenario, which is left out without it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.failover.caches import WatchedCaches
from tests.failover.cluster import LOOP_WAIT, RETRY_TIMEOUT, TTL, Cluster
from tests.failover.programs import Programs
from tests.failover.run import LONGER, LONGEST, Outcome, Run
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


@dataclass(frozen=True)
class Plan:
    """How a scenario is run."""

    runs: int
    seconds: float
    seed: int
    timeout: float
    keep: Path | None = None
    keep_all: bool = False


def perform(scenario: Scenario, servers: Servers, plan: Plan) -> Iterator[Outcome | str]:
    """Run a scenario so many times on a cluster of its own; a text says why it was left out.

    Each run has a database and a Redis of its own. Before it all of the cluster are there again:
    those that were lost too, which come back as standbys.
    """
    if scenario.pooled and isinstance(servers.pooler, Missing):
        yield f"{scenario.what}: skipped, {servers.pooler.reason}"
        return
    with contextlib.closing(
        Cluster(
            servers.programs,
            synchronous=scenario.synchronous,
            etcds=scenario.etcds,
            lines=scenario.lines,
        )
    ) as cluster:
        for number in range(plan.runs):
            cluster.make_whole()
            cluster.make_database(f"onrecord_{number}")
            yield _perform_once(scenario, servers, plan, cluster, plan.seed + number)


def _perform_once(
    scenario: Scenario, servers: Servers, plan: Plan, cluster: Cluster, seed: int
) -> Outcome:
    with contextlib.ExitStack() as stack:
        caches = stack.enter_context(contextlib.closing(WatchedCaches(servers.redis)))
        url = None
        if scenario.pooled:
            assert not isinstance(servers.pooler, Missing)
            pointer = stack.enter_context(contextlib.closing(Pointer(cluster)))
            address = cluster.url_at(pointer.port)
            pooler = OwnPgBouncer(servers.pooler, address, login_retry=1)
            url = stack.enter_context(contextlib.closing(pooler)).address_of(address)
        run = stack.enter_context(
            Run(
                cluster,
                caches,
                seed=seed,
                seconds=plan.seconds,
                timeout=plan.timeout,
                consistency=scenario.consistency,
                url=url,
            )
        )
        run.perform(scenario.act)
        outcome = run.judge(scenario.what)
        violations = outcome.verdict.violations
        violations += what_may_not_be(scenario, outcome, plan.timeout, run.stood_still)
        if plan.keep is not None and (plan.keep_all or violations):
            run.keep(outcome, plan.keep / f"{scenario.name}-{seed}")
        return outcome


def what_may_not_be(
    scenario: Scenario, outcome: Outcome, timeout: float, stood_still: float = 0.0
) -> list[str]:
    """What is wrong beside what the histories say."""
    found = []
    if scenario.unseen and outcome.faults:
        found.append(f"{len(outcome.faults)} errors reached users: {outcome.faults[0]}")
    times = 1 if scenario.unseen else LONGEST
    if outcome.longest > times * timeout + LONGER + stood_still:
        found.append(f"a call took {outcome.longest:.1f} s, with a timeout of {timeout:g} s")
    between = outcome.without_primary
    if scenario.one_at_a_time and between is not None and between < 0:
        found.append(f"two primaries: the old one was it still {-between:.1f} s later")
    return found


def row(outcome: Outcome | str) -> str:
    """A row of the table, and below it what was wrong."""
    if isinstance(outcome, str):
        return f"{outcome}\n"
    violations = outcome.verdict.violations
    lost = f" ({outcome.verdict.lost} of them lost, as it may)" if outcome.verdict.lost else ""
    if violations and outcome.missing:
        lost = f" ({outcome.missing} of them are not there any more)"
    return (
        f"{outcome.scenario:<56} {outcome.acknowledged:>8} {len(violations):>7} "
        f"{outcome.appends_down:>8.1f} {outcome.reads_down:>7.1f} "
        f"{outcome.refused:>8} {outcome.unknown:>8} {outcome.longest:>8.1f}{lost}\n"
        f"{_of_primaries(outcome)}"
        + "".join(f"    {violation[:1000]}\n" for violation in violations[:10])
    )


def _of_primaries(outcome: Outcome) -> str:
    """What was seen of the time between two primaries."""
    if outcome.believed is not None:
        return f"    thawed, it said for {outcome.believed:.1f} s that it was the primary\n"
    if outcome.without_primary is None:
        return "    the primary stayed\n"
    return f"    no primary for {outcome.without_primary:.1f} s\n"
