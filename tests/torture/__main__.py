"""``python -m tests.torture``."""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path

import tests.torture
from tests.servers.binaries import Missing
from tests.servers.pgbouncer import OwnPgBouncer, find_pgbouncer
from tests.servers.postgres import OwnPostgres, find_postgres_binaries
from tests.servers.redis import find_redis_binaries
from tests.torture.verdict import Judge, falls_in


def main() -> int:
    """Run with servers of one's own."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.torture", description=tests.torture.__doc__
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--seconds", type=float, default=10, help="how long")
    parser.add_argument("--seed", type=int, default=1, help="of the nemesis")
    parser.add_argument("--consistency", choices=["cached", "strict"], default="cached")
    parser.add_argument("--parts", type=int, help="spread the tables over so many partitions")
    parser.add_argument("--keep", type=Path, help="a new folder for the logs of a failure")
    parser.add_argument("--judge", type=Path, help="such a folder, to judge it again; no run")
    given = parser.parse_args()
    if given.judge is not None:
        verdict = tests.torture.Verdict(given.seed, given.seconds, given.consistency)
        Judge(given.judge, verdict, falls_in(given.judge)).judge()
        sys.stdout.write(str(verdict))
        return 1 if verdict.violations else 0
    database, redis = find_postgres_binaries(), find_redis_binaries()
    for found in (database, redis):
        if isinstance(found, Missing):
            raise SystemExit(f"a server is missing: {found.reason}")
    assert not isinstance(database, Missing)
    assert not isinstance(redis, Missing)
    pooler, bouncer = find_pgbouncer(), None
    with (
        contextlib.closing(OwnPostgres(database)) as postgres,
        contextlib.closing(tests.torture.Caches(redis)) as caches,
        contextlib.ExitStack() as stack,
    ):
        if not isinstance(pooler, Missing):
            bouncer = stack.enter_context(contextlib.closing(OwnPgBouncer(pooler, postgres.url)))
        verdict = tests.torture.torture(
            postgres,
            caches,
            seconds=given.seconds,
            seed=given.seed,
            consistency=given.consistency,
            keep=given.keep,
            pooler=bouncer,
            parts=given.parts,
        )
    sys.stdout.write(str(verdict))
    return 1 if verdict.violations else 0


raise SystemExit(main())
