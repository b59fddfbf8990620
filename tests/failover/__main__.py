"""``python -m tests.failover``."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
from pathlib import Path

import tests.failover
from tests.failover.programs import find_programs
from tests.failover.scenarios import SCENARIOS
from tests.servers.binaries import Missing
from tests.servers.pgbouncer import find_pgbouncer
from tests.servers.redis import find_redis_binaries


def main() -> int:
    """Run the scenarios, and print a table."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.failover", description=tests.failover.__doc__
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--seconds", type=float, default=10, help="before and after what happens (10)"
    )
    parser.add_argument(
        "--only",
        action="append",
        choices=[scenario.name for scenario in SCENARIOS],
        help="one scenario; may be given several times",
    )
    parser.add_argument("--seed", type=int, default=1, help="of the workers")
    parser.add_argument("--runs", type=int, default=1, help="of each scenario")
    parser.add_argument("--timeout", type=float, default=10, help="of every store (10)")
    parser.add_argument("--patroni", type=Path, help="another one than ours, for example apt's")
    parser.add_argument("--keep", type=Path, help="a new folder for the logs of failures")
    parser.add_argument("--keep-all", action="store_true", help="of all that ran")
    given = parser.parse_args()
    programs, redis, pooler = find_programs(given.patroni), find_redis_binaries(), find_pgbouncer()
    for found in (programs, redis):
        if isinstance(found, Missing):
            sys.stdout.write(f"skipped: {found.reason}\n")
            return 0
    assert not isinstance(programs, Missing)
    assert not isinstance(redis, Missing)
    signal.signal(signal.SIGTERM, _end)  # so that the servers are stopped
    servers = tests.failover.Servers(programs, redis, pooler)
    chosen = [s for s in SCENARIOS if given.only is None or s.name in given.only]
    sys.stdout.write(servers.described + tests.failover.HEAD)
    plan = tests.failover.Plan(
        given.runs, given.seconds, given.seed, given.timeout, given.keep, given.keep_all
    )
    wrong = 0
    for scenario in chosen:
        for outcome in tests.failover.perform(scenario, servers, plan):
            sys.stdout.write(tests.failover.row(outcome))
            sys.stdout.flush()
            if not isinstance(outcome, str):
                wrong += len(outcome.verdict.violations)
    return 1 if wrong else 0


def _end(*_: object) -> None:
    raise SystemExit(143)


with contextlib.suppress(KeyboardInterrupt):
    raise SystemExit(main())
