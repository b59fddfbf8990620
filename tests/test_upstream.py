"""``make upstream``: what it makes of two runs of a suite. The suites themselves are not here."""

from __future__ import annotations

import pytest

from scripts.upstream import __main__ as upstream
from scripts.upstream.suites import SUITES, Results

AGENTS = next(suite for suite in SUITES if suite.name == "agents")
DRAWN = "tests/test_diagram.py::test_create_agent_diagram"


def _told(theirs: dict[str, str], ours: dict[str, str], again: str = "failed") -> int:
    return upstream._told(
        AGENTS,
        Results(theirs, {}),
        Results(ours, {}),
        lambda tests: Results(dict.fromkeys(tests, again), {}),
    )


def test_what_only_ours_fail_and_is_not_on_the_list_is_new(
    capsys: pytest.CaptureFixture[str],
) -> None:
    told = _told(
        {DRAWN: "passed", "test_a": "passed", "test_b": "failed"},
        {DRAWN: "failed", "test_a": "failed", "test_b": "failed", "test_c": "failed"},
    )
    printed = capsys.readouterr().out
    assert told == 2  # test_c too: theirs did not come so far
    assert "2 fail with ours alone: nobody knows why" in printed
    assert "1 fail with ours alone: A drawing of the graph" in printed


def test_what_passes_when_it_runs_once_more_is_no_difference(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert _told({"test_a": "passed"}, {"test_a": "failed"}, again="passed") == 0
    assert "passes when it runs once more: test_a" in capsys.readouterr().out


def test_what_is_on_the_list_and_passes_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert _told({DRAWN: "passed"}, {DRAWN: "passed"}) == 0
    assert "no difference this time: test_create_agent_diagram" in capsys.readouterr().out
    assert _told({"test_a": "passed"}, {"test_a": "passed"}) == 0
    assert "no difference this time" not in capsys.readouterr().out  # of a test that did not run


def test_the_list_is_of_suites_that_there_are() -> None:
    names = {suite.name for suite in SUITES}
    assert {known.suite for known in upstream._known()} <= names
    assert all(known.reason for known in upstream._known())
