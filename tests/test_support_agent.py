"""`make demo` and the support agent: what is played is what is stored, and survives the kill."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

from onrecord import ANY, Store
from onrecord.memory import Analytics, Preferences

EXAMPLES = Path(__file__).parents[1] / "examples"


def played(script: str, *settings: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, EXAMPLES / script, *settings],
        env={**os.environ, "TMPDIR": str(folder), "COLUMNS": "80"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    assert max(map(len, done.stdout.partition("All of it")[0].splitlines())) <= 80
    return done.stdout


def in_order(shown: str, *parts: str) -> None:
    plain, at = " ".join(shown.split()), 0
    for part in parts:
        at = plain.find(part, at)
        assert at >= 0, f"{part!r} is missing, or comes too early, in:\n{shown}"


def test_the_four_days_of_the_support_agent(tmp_path: Path) -> None:
    """What ``make demo`` prints is compared with the README, and is of the same parts."""
    url = f"sqlite:///{tmp_path}/support.db"
    shown = played("support_agent.py", "--url", url, folder=tmp_path)
    in_order(
        shown,
        "Day one",
        "held at customs since Sunday",
        "Day two",
        "→ send_again('A-1017')",
        "kill -9",
        "Day three",
        "Welcome back. You left off at: “It has still not arrived.",
        "Ada Yes, please. → send_again('A-1017')",
        "desk Certainly. The books of order A-1017 go to you tomorrow",
        "Where was my order held at first, please? desk Certainly. It was held at customs",
        "SESSION 'ticket-4711' of 'ada'",
        "CONVERSATION ANALYTICS",
        "CUSTOMER: style formal",
        "Day four",
        "desk Certainly. It was held at customs",
    )
    with Store(url) as store:
        assert f"All of it is in {store.address}" in shown
        chat = store.session("ticket-4711", user="ada", agent="desk")
        said = " ".join(shown.split())
        for message in chat.messages():
            assert " ".join(message.text.split()) in said
        assert store.unfinished(user=ANY, agent=ANY) == []
        # The tool of day two was called and killed: that it was is there, and no result of it.
        assert [call.name for call in chat.window().dangling] == ["send_again"]
        assert Preferences(store, "ada").read().style == "formal"
        summary = Analytics(store).summary()
        assert (summary.sessions, summary.turns, summary.resolved) == (2, 7, 3)
    command = shown.rpartition("Look inside:")[2].strip()
    looked = subprocess.run(shlex.split(command), capture_output=True, encoding="utf-8", timeout=60)
    assert (looked.returncode, looked.stderr) == (0, "")
    assert looked.stdout.count("Message(") == 3


def test_a_day_that_goes_wrong_is_told(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, EXAMPLES / "support_agent.py", "--url", "nonsense://here"],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )
    assert done.returncode != 0
    assert "Day one · an agent of LangChain went wrong" in done.stderr
