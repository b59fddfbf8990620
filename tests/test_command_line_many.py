"""The command line over a store that has much in it: what it estimates, cuts short and streams."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
from IPython.lib.pretty import pretty

from onrecord import Store
from onrecord.cli.output import Output
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


# -- a conversation that is larger than memory should be -----------------------------------------

MESSAGES, EACH = 20_000, 4_000


@pytest.fixture(scope="module")
def heavy(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A session of 80 MB of text, which is little where it lies."""
    url = f"sqlite:///{tmp_path_factory.mktemp('heavy') / 'store.db'}"
    with Store(url, durability="normal") as store:
        session = store.session("heavy")
        for first in range(0, MESSAGES, 2_000):
            session.append(
                [("user", f"{n} ".ljust(EACH, "x")) for n in range(first, first + 2_000)]
            )
    return {"ONRECORD_URL": url}


TELL: Final = """
import sys
from onrecord.cli import main
sys.argv[0] = "onrecord"
code = main()
sys.stderr.write(open("/proc/self/status").read())
sys.exit(code)
"""
"""Of a child that was forked from here, the kernel's ``ru_maxrss`` is at least this process's."""


def most_memory(env: dict[str, str], *arguments: str) -> tuple[int, int]:
    """How many bytes a command, in a process of its own, held at the most; and lines it wrote."""
    done = subprocess.run(
        [sys.executable, "-c", TELL, *arguments, "--json"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **env},
    )
    found = re.search(r"VmHWM:\s+(\d+) kB", done.stderr)
    assert found is not None
    return int(found[1]) * 1024, done.stdout.count("\n")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux says it there")
@pytest.mark.parametrize(
    "arguments",
    [("show", "heavy"), ("show", "heavy", "--since", "1d"), ("tail", "heavy", "-n", "19999")],
    ids=" ".join,
)
def test_a_long_conversation_is_shown_in_little_memory(
    heavy: dict[str, str], arguments: tuple[str, ...]
) -> None:
    """As much as a page of it takes, and not as much as all of it: that would be 80 MB more."""
    little, one = most_memory(heavy, "show", "heavy", "-n", "1")
    most, lines = most_memory(heavy, *arguments)
    assert one == 1
    assert lines in (MESSAGES, MESSAGES - 1)
    assert most - little < MESSAGES * EACH / 2


def test_more_than_is_held_at_once_are_the_newest(env: dict[str, str]) -> None:
    with Store(env["ONRECORD_URL"]) as store:
        session = store.session("long")
        session.append([("user", f"message {n}") for n in range(1, 2_601)])
        for n in (1_700, 2_000):
            session.delete(n)
    seqs = [one["seq"] for one in lines_of(run("tail", "long", "-n", "2100", "--json", env=env))]
    assert seqs == [n for n in range(499, 2_601) if n not in (1_700, 2_000)]
    for much in ("2598", "2599", "100000"):
        assert len(lines_of(run("tail", "long", "-n", much, "--json", env=env))) == 2_598


def test_head_ends_it_without_a_word(heavy: dict[str, str]) -> None:
    for command in ("show heavy", "show heavy --json", "tail heavy -n 3000", "export -"):
        shell = f"set -o pipefail; '{sys.executable}' -m onrecord {command} | head -n 1"
        done = subprocess.run(
            ["bash", "-c", shell], capture_output=True, text=True, env={**os.environ, **heavy}
        )
        assert (done.returncode, done.stderr) == (141, ""), command
        assert done.stdout.count("\n") == 1


@pytest.mark.parametrize("indent", [0, 4])
@pytest.mark.parametrize(
    "said",
    ["", "one", "one\ntwo  \n\n  three\n", "[bold]no markup[/bold] :smile: 4711", "日本語 " * 99],
)
def test_lines_in_a_pipe_are_what_a_console_would_write(
    said: str, indent: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are written without it, as it takes several times as long."""
    written = []
    for plain in (True, False):
        out = Output(json=False, colour=True)
        assert out._plain
        out.__dict__["_plain"] = plain
        out.say(("#1 ", "dim"), said, (" · end", "bold"), indent=indent)
        out.say(said, indent=indent)
        written.append(capsys.readouterr().out)
    assert written[0] == written[1]
    assert said.split("\n")[0].strip() in written[0]
