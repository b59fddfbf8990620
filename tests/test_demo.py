"""`make demo-core`: what it promises, checked from outside, and the commands it prints."""

import os
import re
import runpy
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from onrecord import Message, Session, Store, ToolCall

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "examples" / "three_days.py"


def run(
    *command: str | Path, folder: Path, **environment: str
) -> "subprocess.CompletedProcess[str]":
    kept = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "NO_COLOR")}
    return subprocess.run(
        command,
        cwd=ROOT,
        env={**kept, "TMPDIR": str(folder), "PYTHONWARNINGS": "error", **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def played(folder: Path) -> str:
    done = run(sys.executable, SCRIPT, folder=folder)
    assert done.stderr == ""
    assert done.returncode == 0
    return done.stdout


def file_of(played: str) -> Path:
    found = re.search(r"They are in (.*)", played)
    assert found is not None
    return Path(found[1])


def test_it_tells_of_three_days_and_a_kill(played: str) -> None:
    days = ["Day one", "Day two", "kill -9", "Day three", "Acknowledged before", "try next"]
    assert sorted(days, key=played.index) == days
    counts = re.search(r"Acknowledged before the kill: (\d+); found afterwards: (\d+)\.", played)
    assert counts is not None
    assert counts[1] == counts[2] == "10"
    assert max(map(len, played.partition("They are in")[0].splitlines())) <= 80
    assert "\x1b" not in played


def test_what_it_tells_is_what_is_stored(played: str) -> None:
    with Store(f"sqlite:///{file_of(played)}") as store:
        [info] = store.sessions(user="ada")
        messages = store.session(info.key, user="ada").messages(limit=11)
    plain = " ".join(played.split())
    assert [message.seq for message in messages] == list(range(1, 12))
    for message in messages:
        assert " ".join(message.text.split()) in plain
    greeting = messages[-1].text
    assert messages[-2].text in greeting  # the last question, acknowledged before the kill
    assert messages[-2].role == "user"
    half_written = re.search(r"desk +(.*) …", played)
    assert half_written is not None
    assert not any(half_written[1] in message.text for message in messages)


def test_the_processes_end_as_it_says(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    ended: list[int] = []

    class Watched(subprocess.Popen[str]):
        def communicate(self, *args: Any, **kwargs: Any) -> tuple[str, str]:
            answer = super().communicate(*args, **kwargs)
            ended.append(self.returncode)
            return answer

    monkeypatch.setattr(subprocess, "Popen", Watched)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    runpy.run_path(str(SCRIPT))["play"]()
    assert ended == [0, -signal.SIGKILL, 0]
    assert "found afterwards: 10" in capsys.readouterr().out


def test_the_commands_it_prints_work(folder: Path, played: str) -> None:
    commands = [line.strip() for line in played.splitlines() if line.startswith("   ")]
    commands = [line for line in commands if str(file_of(played)) in line]
    assert len(commands) == 3
    answers = []
    for command in commands:
        done = run(*shlex.split(command), folder=folder)
        assert (done.returncode, done.stderr) == (0, ""), command
        answers.append(done.stdout)
    assert "held at customs since Sunday" in answers[0]
    assert answers[1].count("Message(") == 3
    assert "Where is it?" in answers[1]
    assert answers[2].count("Message(") == 3  # the system message, the question, the answer


def test_the_desk_knows_only_what_is_stored() -> None:
    desk = runpy.run_path(str(SCRIPT))

    def greeting(chat: Session) -> str:
        text: str = desk["greeting"](chat)
        return text

    with Store("sqlite://") as store:
        chat = store.session("t", user="bo")
        chat.update(title="A broken lamp", metadata={"ticket": "9", "name": "Bo"})
        chat.append([("user", "It broke."), ("assistant", "I am sorry.")])
        assert greeting(chat) == (
            "Good morning, Bo. Ticket 9, “A broken lamp”: the last thing I told you was "
            "“I am sorry.”"
        )
        chat.append(
            [
                Message("assistant", (ToolCall("find", {}, "c"),)),
                Message("tool", '{"order": "B-2", "status": "lost", "since": "May"}'),
                Message("user", "Where is the other one?"),
            ]
        )
        assert "I still owe you an answer. Order B-2 is lost since May." in greeting(chat)
        chat.append(("user", "Send it here: 1 Elm Road."))
        assert greeting(chat).endswith("Your books go to 1 Elm Road.")


@pytest.mark.skipif(sys.platform == "win32", reason="there is no pty")
@pytest.mark.parametrize("no_color", [None, "1"])
def test_colours_are_for_terminals_that_want_them(folder: Path, no_color: str | None) -> None:
    import pty

    ours, theirs = pty.openpty()
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "NO_COLOR")}
    if no_color is not None:
        environment["NO_COLOR"] = no_color
    with subprocess.Popen(
        [sys.executable, SCRIPT],
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        env={**environment, "COLUMNS": "60", "TMPDIR": str(folder)},
    ) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                read = os.read(ours, 4096)
            except OSError:  # Linux says so when the other end is closed
                break
            if not read:
                break
            shown += read
        os.close(ours)
        assert process.wait(30) == 0
    text = shown.decode()
    assert ("\x1b[" in text) is (no_color is None)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text).partition("They are")[0]
    assert max(map(len, plain.splitlines())) <= 60


def test_again_and_in_a_terminal_without_such_characters(folder: Path, played: str) -> None:
    again = run(sys.executable, SCRIPT, folder=folder, PYTHONIOENCODING="ascii")
    assert again.returncode == 0
    assert "found afterwards: 10" in again.stdout
    assert file_of(again.stdout) != file_of(played)


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["no-such-file.db", "hello"], "no file no-such-file.db"),
        (["FILE"], "no text"),
        (["FILE", " "], "text is empty"),
        (["FILE", "Where", "is", "it?"], "too many"),
        ([__file__, "hello"], "not a"),
    ],
)
def test_wrong_arguments_are_answered_with_what_is_wrong_and_how_to_use_it(
    arguments: list[str], what: str, folder: Path, played: str
) -> None:
    file = str(file_of(played))
    before = Path(arguments[0]).read_bytes() if Path(arguments[0]).exists() else None
    given = [file if argument == "FILE" else argument for argument in arguments]
    done = run(sys.executable, SCRIPT, *given, folder=folder)
    assert (done.returncode, done.stdout) == (1, "")
    assert "python examples/three_days.py FILE" in done.stderr
    assert what in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert before is None or Path(arguments[0]).read_bytes() == before


def test_a_file_with_an_odd_name(folder: Path, played: str) -> None:
    odd = folder / "a?b#c%3F.db"
    odd.write_bytes(file_of(played).read_bytes())
    done = run(sys.executable, SCRIPT, odd, "Where is it?", folder=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert "held at customs" in done.stdout


def test_a_file_of_something_else(folder: Path) -> None:
    other = folder / "other.db"
    with Store(other) as store:
        store.session("s").append(("user", "hello"))
    done = run(sys.executable, SCRIPT, other, "hello", folder=folder)
    assert done.returncode == 1
    assert "not in that file" in done.stderr.splitlines()[-1]
