"""The frameworks' own suites: where they are in a folder, and how each is run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parents[2]


class Suite(NamedTuple):
    """Some tests of a framework, and what of ours stands in for what of theirs."""

    name: str
    about: str
    holds: str
    """A file by which its folder is known."""
    tests: tuple[str, ...]
    settings: dict[str, str] = {}  # noqa: RUF012 - a tuple is made once
    """Of the environment."""
    arguments: tuple[str, ...] = ()


class Results(NamedTuple):
    """What the tests of one run came to, by their names."""

    came_to: dict[str, str]
    why: dict[str, str]

    def count(self, outcome: str) -> int:
        """How many came to this."""
        return sum(one == outcome for one in self.came_to.values())


SUITES: Final = (
    Suite(
        "pregel",
        "LangGraph's graphs: OnrecordSaver for SqliteSaver and AsyncSqliteSaver",
        "tests/test_pregel.py",
        ("tests",),
        {"NO_DOCKER": "true"},
    ),
    Suite(
        "prebuilt",
        "LangGraph's ready-made agent: OnrecordSaver for SqliteSaver and AsyncSqliteSaver",
        "tests/test_react_agent.py",
        ("tests",),
        {"LANGGRAPH_TEST_FAST": "false"},
    ),
    Suite(
        "conformance",
        "LangGraph's kit for checkpointers: OnrecordSaver for AsyncSqliteSaver",
        "langgraph/checkpoint/conformance/validate.py",
        (),
    ),
    Suite(
        "agents",
        "LangChain's agents: OnrecordMiddleware first in each of them",
        "tests/unit_tests/agents/conftest.py",
        ("tests/unit_tests/agents",),
        {},
        ("--disable-socket", "--allow-unix-socket"),
    ),
    Suite(
        "histories",
        "LangChain's chat histories: OnrecordChatMessageHistory for InMemoryChatMessageHistory",
        "tests/unit_tests/chat_history/test_chat_history.py",
        ("tests/unit_tests/chat_history", "tests/unit_tests/runnables/test_history.py"),
    ),
    Suite(
        "llama-index",
        "LlamaIndex's stores and memories: OnrecordChatStore for SimpleChatStore, "
        "OnrecordMemoryStore for SQLAlchemyChatStore",
        "tests/storage/chat_store/test_simple_chat_store.py",
        ("tests/storage/chat_store", "tests/memory"),
    ),
)


def found(suite: Suite, folder: Path) -> Path | None:
    """The folder of a suite: an unpacked source archive, or a part of a repository."""
    # The shortest first: a repository may hold a copy further down.
    for file in sorted(folder.glob(f"**/{suite.holds}"), key=lambda file: len(file.parts)):
        return file.parents[len(Path(suite.holds).parts) - 1]
    return None


def run(
    suite: Suite,
    root: Path,
    *,
    ours: bool,
    stores: Mapping[str, str],
    more: Sequence[str] = (),
) -> Results:
    """Run a suite in a process of its own, with our classes or with theirs."""
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results.json"
        environment = {
            **os.environ,
            **suite.settings,
            **stores,
            "UPSTREAM_SUITE": suite.name,
            "UPSTREAM_OURS": str(int(ours)),
            "UPSTREAM_RESULTS": str(results),
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        if suite.tests:
            there = [test for test in suite.tests if (root / test.partition("::")[0]).exists()]
            command = ["-m", "pytest", "-p", "scripts.upstream.standins", "-p", "no:cacheprovider"]
            command += ["-q", "--tb=short", "-o", "addopts=", *suite.arguments, *there, *more]
        else:
            command = ["-m", "scripts.upstream.kit", str(root)]
        # Only what is no result is of interest: that it did not come so far.
        done = subprocess.run(
            [sys.executable, *command],
            cwd=root,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        if not results.exists():
            raise SystemExit(f"{suite.name} did not run:\n{done.stdout[-3000:]}")
        return Results(**json.loads(results.read_text()))
