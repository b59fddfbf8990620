"""What the peers answered, as a file: every case that one of them did not pass, and why."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Final, TypeAlias

from onrecord.testing.langgraph_store import Kind, Result

FILE: Final = Path(__file__).with_name("answers.json")

Answers: TypeAlias = dict[str, dict[Kind, tuple[str, str]]]
"""Outcome and reason, by the name of a case and the kind in which it was not passed."""


def answers(results: Iterable[Result]) -> Answers:
    """The results that are not a pass."""
    told: Answers = {}
    for result in results:
        if result.outcome != "passed":
            told.setdefault(result.case.name, {})[result.kind] = (result.outcome, result.reason)
    return told


def written(answers: Answers) -> str:
    """As text, a line for each case, so that a change of it is seen as one."""
    lines = (f"{json.dumps(case)}: {json.dumps(told)}" for case, told in sorted(answers.items()))
    return "{\n" + ",\n".join(lines) + "\n}\n"


def read(text: str) -> Answers:
    """What ``written`` wrote."""
    found: dict[str, dict[Kind, list[str]]] = json.loads(text)
    return {
        case: {kind: (outcome, reason) for kind, (outcome, reason) in told.items()}
        for case, told in found.items()
    }


def save(versions: dict[str, str], peers: dict[str, Answers]) -> None:
    """Write the file."""
    parts = [f'"versions": {json.dumps(versions, indent=1)}']
    parts += [f"{json.dumps(peer)}: {written(told).strip()}" for peer, told in peers.items()]
    FILE.write_text("{\n" + ",\n".join(parts) + "\n}\n")


def load() -> tuple[dict[str, str], dict[str, Answers]]:
    """Versions, and what each peer answered, as the file has it."""
    whole = json.loads(FILE.read_text())
    versions: dict[str, str] = whole.pop("versions")
    return versions, {peer: read(json.dumps(told)) for peer, told in whole.items()}
