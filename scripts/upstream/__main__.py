"""Runs the frameworks' own suites with our classes in the place of theirs.

    make upstream FROM=~/upstream                      all that are found there
    make upstream FROM=~/upstream ARGS="--only agents"
    make upstream FROM=~/upstream ARGS="--servers"     ours in PostgreSQL, and behind Redis

FROM holds what you have unpacked or checked out: source archives (LangGraph's and LangChain's have
their tests in them) or repositories, in the versions that are installed. Each suite runs twice,
with the framework's own classes and with ours. A test that only ours fail is a difference; those
that are known, and why, are in differences.toml. A new one fails the run, unless it passes when it
runs once more: some of the tests are timed, and say so on a busy machine. One that is not seen is
printed: it may be one no more, and go off the list.
"""

from __future__ import annotations

import argparse
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from scripts.upstream.stores import settings
from scripts.upstream.suites import SUITES, Results, Suite, found, run


class Known(NamedTuple):
    """Differences that are known, and why they are there."""

    suite: str
    tests: re.Pattern[str]
    reason: str


def main() -> None:
    about, _, more = __doc__.partition("\n")
    options = argparse.ArgumentParser(
        prog="make upstream",
        description=about,
        epilog=more,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument("folder", type=Path, help="where the suites are")
    options.add_argument("--only", default="", help="suites with this in their name")
    options.add_argument("--tests", default="", help="of those only tests with this in their name")
    options.add_argument("--servers", action="store_true", help="ours in PostgreSQL, with Redis")
    options.add_argument("--strict", action="store_true", help='ours with consistency="strict"')
    chosen = options.parse_args()
    if not chosen.folder.is_dir():
        raise SystemExit(f"{chosen.folder} is no folder. Name the one where the suites are: FROM=…")
    new = ran = 0
    only = ["-k", chosen.tests] if chosen.tests else []
    with settings(chosen.servers, chosen.strict) as stores:
        for suite in SUITES:
            root = found(suite, chosen.folder.resolve())
            if chosen.only not in suite.name:
                continue
            if root is None:
                print(f"{suite.name}: not in {chosen.folder} (no {suite.holds})\n")
                continue
            ran += 1
            theirs, ours = (
                run(suite, root, ours=which, stores=stores, more=only) for which in (False, True)
            )
            new += _told(suite, theirs, ours, partial(_again, suite, root, stores))
    if not ran:
        raise SystemExit(f"No suite was found in {chosen.folder}.")
    if new:
        raise SystemExit(f"{new} tests fail with ours alone, and nothing says why.")


def _again(suite: Suite, root: Path, stores: Mapping[str, str], tests: Sequence[str]) -> Results:
    """Run some of a suite's tests once more, with ours. The kit has no tests to be chosen from."""
    if not suite.tests:
        return Results({}, {})
    return run(suite._replace(tests=tuple(tests)), root, ours=True, stores=stores)


def _told(
    suite: Suite, theirs: Results, ours: Results, again: Callable[[Sequence[str]], Results]
) -> int:
    """Print what came of a suite, and say how many differences are new."""
    print(f"{suite.name}: {suite.about}")
    for who, results in (("theirs", theirs), ("ours", ours)):
        print(f"  {who:7} {results.count('passed'):5} passed {results.count('failed'):5} failed")
    differ = [
        test
        for test, outcome in ours.came_to.items()
        if outcome == "failed" and theirs.came_to.get(test) != "failed"
    ]
    if unknown := _by_reason(suite, differ).get(""):
        passed = [test for test, one in again(unknown).came_to.items() if one == "passed"]
        differ = [test for test in differ if test not in passed]
        for test in passed:
            print(f"  passes when it runs once more: {test}\n    {_why(ours, test)}")
    by_reason = _by_reason(suite, differ)
    for reason, tests in by_reason.items():
        print(f"  {len(tests)} fail with ours alone: {reason or 'nobody knows why'}")
        for test in () if reason else tests:
            print(f"    {test}\n      {_why(ours, test)}")
    better = [test for test, one in theirs.came_to.items() if one == "failed"]
    for test in better:
        if ours.came_to.get(test) == "passed":
            print(f"  fails with theirs alone: {test}")
    for known in _known():
        ran = any(map(known.tests.search, ours.came_to))
        if known.suite == suite.name and ran and known.reason not in by_reason:
            print(f"  no difference this time: {known.tests.pattern}")
    print(flush=True)
    return len(by_reason.get("", ()))


def _why(results: Results, test: str) -> str:
    return results.why.get(test, "").removeprefix("E ").strip()


def _by_reason(suite: Suite, tests: list[str]) -> dict[str, list[str]]:
    """Tests by the reason why they fail; under "" those that have none."""
    sorted_out: dict[str, list[str]] = {}
    for test in tests:
        reasons = (k.reason for k in _known() if k.suite == suite.name and k.tests.search(test))
        sorted_out.setdefault(next(reasons, ""), []).append(test)
    return sorted_out


def _known() -> list[Known]:
    file = Path(__file__).with_name("differences.toml")
    given = tomllib.loads(file.read_text())["difference"]
    return [Known(one["suite"], re.compile(one["tests"]), one["reason"]) for one in given]


if __name__ == "__main__":
    main()
