"""``make failover`` takes minutes; here it says why it does nothing where it can do nothing, and
what it measures is measured on histories written by hand."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from onrecord.testing import Appended, Event, Read
from tests.failover import what_may_not_be
from tests.failover.primaries import Answer, seconds_after, seconds_between
from tests.failover.programs import find_programs
from tests.failover.run import Fault, Outcome, missing
from tests.failover.scenarios import SCENARIOS, Scenario
from tests.servers.binaries import Missing
from tests.torture import Verdict
from tests.torture.settings import ROOT


def test_it_says_what_is_missing(tmp_path: Path) -> None:
    """No etcd, or what comes before it: PostgreSQL as a whole."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.failover"],
        cwd=ROOT,
        env=os.environ | {"PATH": str(tmp_path), "ONRECORD_TEST_BINARIES": "wheels"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.startswith("skipped: ")
    assert "apt install" in done.stdout or "no wheel" in done.stdout


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux runs it")
def test_it_says_that_another_patroni_is_not_there(tmp_path: Path) -> None:
    found = find_programs(tmp_path / "patroni")
    assert isinstance(found, Missing)
    assert found.reason == f"{tmp_path / 'patroni'} is no Patroni that the servers' user can run"


def test_the_page_tells_what_came_of_each_scenario() -> None:
    page = (ROOT / "docs" / "how-to" / "high-availability.md").read_text()
    assert [s.name for s in SCENARIOS if f"| `{s.name}`" not in page] == []


SECOND = 1_000_000_000
OLD = [Answer("00000001", n * SECOND, n * SECOND + 5) for n in range(3)]


def test_nobody_took_the_place_of_a_primary() -> None:
    assert seconds_between(OLD) is None
    assert seconds_between([]) is None


def test_nobody_was_the_primary_for_a_while() -> None:
    """From the old one's last question, whoever wrote it down first, to the first new answer."""
    new = [Answer("00000002", n * SECOND, n * SECOND + SECOND // 2) for n in (21, 20)]
    assert seconds_between([*new, *OLD]) == 18.5


def test_two_were_the_primary_at_once() -> None:
    """Not where the question was asked before: a frozen server answers that when it thaws."""
    new = [Answer("00000002", 20 * SECOND, 21 * SECOND)]
    asked_before = Answer("00000001", 3 * SECOND, 33 * SECOND)
    assert seconds_between([*OLD, *new, asked_before]) == 18
    assert seconds_between([*OLD, *new, Answer("00000001", 33 * SECOND, 33 * SECOND)]) == -12


def test_one_that_thaws_believes_for_a_while_that_it_is_the_primary() -> None:
    new = [Answer("00000002", n * SECOND, n * SECOND) for n in range(20, 40)]
    late = Answer("00000001", 33 * SECOND, 33 * SECOND)
    assert seconds_after([*OLD, *new, late], 32 * SECOND) == 1
    assert seconds_after([*OLD, *new], 32 * SECOND) == 0


def test_messages_that_are_not_there_any_more_are_counted_once() -> None:
    """However many reads miss them."""
    said: list[Event] = [
        Appended("w1", 1, 2, ("a", "b"), (1, 2)),
        Appended("w2", 3, 4, ("c",), (3,)),
    ]
    whole = Read("w3", 5, 6, ((1, "a"), (2, "b"), (3, "c")))
    tail = Read("w3", 9, 10, (), tail=50)
    assert missing([*said, whole, tail]) == 0
    assert missing([*said, whole, Read("w3", 7, 8, ((1, "a"),)), Read("w3", 9, 9, ())]) == 3
    assert missing(said) == 0


def outcome(
    *, faults: int = 0, longest: float = 0.0, without_primary: float | None = None
) -> Outcome:
    seen = [Fault("append", False, 1, 1.0)] * faults
    verdict = Verdict(1, 1.0, "cached")
    return Outcome("", verdict, seen, longest=longest, without_primary=without_primary)


@pytest.mark.parametrize(
    ("name", "came", "wrong"),
    [
        ("switchover", outcome(faults=1), "1 errors reached users"),
        ("host", outcome(faults=1), None),
        ("switchover", outcome(longest=13.1), "a call took 13.1 s"),
        ("host", outcome(longest=32.9), None),
        ("host", outcome(longest=33.1), "a call took 33.1 s"),
        ("parted-etcd", outcome(without_primary=-0.1), "two primaries"),
        ("parted-etcd", outcome(without_primary=0.1), None),
        ("frozen", outcome(without_primary=-12.0), None),
    ],
)
def test_what_may_not_be(name: str, came: Outcome, wrong: str | None) -> None:
    scenario: Scenario = next(s for s in SCENARIOS if s.name == name)
    found = what_may_not_be(scenario, came, timeout=10)
    assert found == [] if wrong is None else found[0].startswith(wrong)


def test_a_call_may_take_longer_where_we_let_nobody_work() -> None:
    scenario = next(s for s in SCENARIOS if s.name == "asynchronous")
    assert what_may_not_be(scenario, outcome(longest=52.9), timeout=10, stood_still=20) == []
