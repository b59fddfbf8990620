"""What an error says to do next is said to somebody at a shell in a shell's words."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import onrecord.cli.app  # which makes the commands
from onrecord import errors
from onrecord.cli.commands import app
from onrecord.cli.wording import COMMANDS, in_shell
from onrecord.settings import SETTINGS
from tests.command_line import run

CORE = Path(onrecord.__file__).parent
FAULTS = {name for name in vars(errors) if name[0].isupper()} | {"finding", "say", "TierHealth"}
CALL = re.compile(rf"\b(?:store\.)?(?:{'|'.join(COMMANDS)})\([^()]*\)")
SETTING = re.compile(rf"(?<![\w.?&])(?:{'|'.join(n for n, s in SETTINGS.items() if s.variable)})=")


def said() -> Iterator[str]:
    """Every text of the library that may become an error, or a finding of the doctor."""
    for room in ("ledger", "flows", "cache"):
        for file in (CORE / room).rglob("*.py"):
            tree = ast.parse(file.read_text())
            for node in ast.walk(tree):
                if isinstance(node, ast.Call) and ast.unparse(node.func) in FAULTS:
                    for part in ast.walk(node):
                        if isinstance(part, ast.Constant) and isinstance(part.value, str):
                            yield part.value


def test_no_error_speaks_of_methods_or_arguments_to_a_shell() -> None:
    speaking = [text for text in said() if CALL.search(text) or SETTING.search(text)]
    assert len(speaking) > 20, "they do, to who has a store"
    for text in map(in_shell, speaking):
        assert not CALL.search(text), text
        assert not SETTING.search(text), text


def test_every_command_that_is_named_is_there() -> None:
    there = {command.name for command in app.registered_commands}
    assert set(COMMANDS.values()) <= there


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (
            "Run store.migrate() or `onrecord migrate` once, or open the store without "
            "migrate=False.",
            "Run `onrecord migrate` once.",
        ),
        ("Raise pool_size=, or look for", "Raise ONRECORD_POOL_SIZE, or look for"),
        ("Run compact(again=True).", "Run `onrecord compact --again`."),
        ("doctor(within=60) has more", "`onrecord doctor --within 60` has more"),
        ("health().cache says why", "`onrecord health` says why"),
        ("Store(…, embedder='minilm')", "ONRECORD_EMBEDDER=minilm"),
        # What only looks so is left alone.
        ("postgresql://h/d?timeout=5&schema=x", "postgresql://h/d?timeout=5&schema=x"),
        ("a row with timeout == 3", "a row with timeout == 3"),
    ],
)
def test_the_words(text: str, wanted: str) -> None:
    assert in_shell(text) == wanted


def test_a_command_that_fails(tmp_path: Path) -> None:
    done = run("sessions", "--url", f"sqlite:///{tmp_path / 'none.db'}")
    assert done.code == 2
    assert "run `onrecord migrate` once to make the tables." in " ".join(done.err.split())
    assert "store." not in done.err
    assert "migrate=" not in done.err
    advice = run("doctor", "--url", f"sqlite:///{tmp_path / 'none.db'}").out
    assert "migrate()" not in advice
