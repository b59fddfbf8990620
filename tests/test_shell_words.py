"""What an error says to do next is said to somebody at a shell in a shell's words."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import onrecord.cli.app  # which makes the commands
from onrecord import Store, errors
from onrecord.cli.commands import app
from onrecord.cli.wording import COMMANDS, as_typed, in_shell
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
        ("until erase(thorough=True).", "until `onrecord erase`."),
        ("health().cache says why", "`onrecord health` says why"),
        ("Store(…, embedder='minilm')", "ONRECORD_EMBEDDER=minilm"),
        ("for as long as ttl= says", "for as long as ONRECORD_TTL says"),
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


# -- the option that was typed -------------------------------------------------------------------

OPTIONS = {"within": ["--within", "--for"], "limit": ["-n", "--limit"], "embedder": ["--embedder"]}


@pytest.mark.parametrize(
    ("typed", "text", "wanted"),
    [
        ("maintain --for 10", "--within '10' is no time.", "--for '10' is no time."),
        ("maintain --for=10", "--within '10' is no time.", "--for '10' is no time."),
        ("maintain --within 10", "--within '10' is no time.", "--within '10' is no time."),
        ("maintain --for 0s", "within has to be more than 0.", "--for has to be more than 0."),
        ("search x -n5", "limit has to be less.", "-n has to be less."),
        ("search x", "limit has to be less.", "limit has to be less."),
        ("search x --embedder y", "ONRECORD_EMBEDDER takes None", "--embedder takes None"),
        ("search x", "ONRECORD_EMBEDDER takes None", "ONRECORD_EMBEDDER takes None"),
        # What only begins so is left alone.
        ("search x --limit 3", "limit is reached", "limit is reached"),
        ("search x --for 3s", "--within-reach", "--within-reach"),
    ],
)
def test_an_error_names_the_option_that_was_typed(typed: str, text: str, wanted: str) -> None:
    assert as_typed(text, OPTIONS, typed.split()) == wanted


@pytest.mark.parametrize(
    ("typed", "begins"),
    [
        ("maintain --for 10", "--for '10' is no time."),
        ("maintain --within 10", "--within '10' is no time."),
        ("maintain --for 0s", "--for has to be more than 0"),
        ("unfinished --quiet-for 99999999d", "--quiet-for has to be seconds from 0"),
        ("compact --quiet-for 999999999999d", "--quiet-for '999999999999d' is longer than"),
        ("search x --mode telepathy", "--mode has to be 'auto'"),
        ("search x --embedder nobody", "--embedder takes \"minilm\" by its name, not 'nobody'."),
        ("prune --older-than 99999999d", "--older-than '99999999d' is before the year 1"),
        ("show x --until 0001-01-01", "--until '0001-01-01' is"),
    ],
)
def test_a_command_names_the_option_that_was_typed(typed: str, begins: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    with Store(url) as store:
        store.migrate()
    done = run(*typed.split(), "--url", url)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"onrecord: {begins}")
    assert done.err.count("\n") == 1


@pytest.mark.parametrize("word", ["-refund", "-x"])
def test_a_word_that_is_taken_for_an_option_is_told_to_stand_in_quotes(word: str) -> None:
    done = run("search", "customs", word)
    assert (done.code, done.out) == (2, "")
    assert "'this -that'" in done.err
    assert "'this -that'" not in run("search", "customs", "--refund").err
    assert "'this -that'" not in run("show", "customs", word).err
