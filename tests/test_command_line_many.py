"""The command line over a store that has much in it: what it estimates, cuts short and streams."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from IPython.lib.pretty import pretty

from onrecord import Store
from tests.command_line import Done, on_terminal, run

MANY = 60


@pytest.fixture
def few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than 50 sessions are estimated; commands are forked and see it."""
    monkeypatch.setattr("onrecord.ledger.maintenance.counting.MOST_COUNTED", 50)
    monkeypatch.setattr("onrecord.ledger.maintenance.counting._RUNS", 10)
    monkeypatch.setattr("onrecord.ledger.maintenance.counting._WIDTH", 5)


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """A store with many sessions, by its address."""
    url = f"sqlite:///{tmp_path / 'store.db'}"
    with Store(url, durability="normal") as store:
        for n in range(MANY):
            store.session(f"s{n}", user="ada").append([("user", f"hello {n}"), ("assistant", "hi")])
    return {"ONRECORD_URL": url}


# -- estimates -------------------------------------------------------------------------------


@pytest.mark.usefixtures("few_are_many")
def test_what_is_estimated_says_about(env: dict[str, str]) -> None:
    done = run("stats", env=env)
    for line in ("sessions      about 60", "messages      about 120 in 60 turns"):
        assert line in done.out.splitlines()
    assert "rows" in done.out
    assert all(
        "about" in line
        for line in done.out.splitlines()
        if line.split()[0] in ("tokens", "uncompressed", "stored", "kept", "indexed")
    )
    assert "about" not in done.out.splitlines()[-1], "the bytes on the disk are known"
    assert "--exact counts all" in done.err
    assert '"estimated":true' in run("stats", "--json", env=env).out
    assert "about 60" in on_terminal("stats", env=env, columns=40).out

    exact = run("stats", "--exact", env=env)
    assert "sessions      60" in exact.out.splitlines()
    assert ("about" not in exact.out, exact.err) == (True, "")


@pytest.mark.usefixtures("few_are_many")
def test_a_dry_run_that_estimates_says_about(env: dict[str, str]) -> None:
    assert run("index", "--dry-run", env=env).out == "About 120 messages would be indexed.\n"
    assert '"estimated":true' in run("index", "--dry-run", "--json", env=env).out
    would = run("compact", "--dry-run", env=env).out
    assert would.startswith("It would look at about 60 sessions, of which about 120 messages")


@pytest.mark.usefixtures("few_are_many")
def test_an_estimate_says_so_where_it_is_printed_and_in_a_notebook(env: dict[str, str]) -> None:
    with Store(env["ONRECORD_URL"]) as store:
        found, exact = store.stats(), store.stats(exact=True)
    assert str(found).startswith("about 60 sessions, 120 messages, 60 turns, ")
    assert str(found).endswith("stats(exact=True) counts all.")
    assert str(exact).startswith("60 sessions, 120 messages, 60 turns, ")
    assert "about" not in str(exact)
    assert pretty(found) == str(found)  # type: ignore[no-untyped-call]


# -- many that go ----------------------------------------------------------------------------


def test_a_prune_of_many_names_a_few_and_counts_the_others(env: dict[str, str]) -> None:
    asked = ("prune", "--older-than", "0s")
    for more, done in (("--dry-run", "would be"), ("--yes", "were")):
        lines = [one["type"] for one in lines_of(run(*asked, "--dry-run", "--json", env=env))]
        assert lines == ["session"] * MANY + ["pruning"]
        told = run(*asked, more, env=env).out.splitlines()
        assert told[0].split()[0] == "KEY"
        assert [line.split()[0] for line in told[1:11]] == [f"s{n}" for n in range(10)]
        assert told[11:] == [
            "… and 50 more.",
            f"60 sessions with 120 messages {done} removed.",
        ]
    assert run(*asked, "--yes", env=env).out == "Nothing has expired.\n"


def test_a_prune_of_a_few_names_all(env: dict[str, str]) -> None:
    with Store(env["ONRECORD_URL"]) as store:
        store.erase(user="ada")
        store.session("one").append(("user", "hello"))
    told = run("prune", "--older-than", "0s", "--dry-run", env=env).out.splitlines()
    assert told[1].split()[0] == "one"
    assert told[2:] == ["1 session with 1 message would be removed."]


def lines_of(done: Done) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.out.splitlines()]
