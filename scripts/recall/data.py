"""Conversations and the questions that are asked of them, as they lie in a folder.

``conversations.jsonl`` has a line ``{"id", "speakers", "turns": [{"id", "session", "when",
"speaker", "text"}, …]}`` for each, ``questions.jsonl`` a line ``{"conversation", "question",
"evidence": [turn ids], "kind"}``.
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple


class Turn(NamedTuple):
    """Something that one of the speakers said."""

    id: str
    session: int
    when: datetime
    speaker: str
    text: str


class Question(NamedTuple):
    """A question, and the turns that answer it."""

    text: str
    evidence: list[str]
    kind: str


class Conversation(NamedTuple):
    """A conversation of many sessions, and what is asked of it."""

    id: str
    speakers: list[str]
    turns: list[Turn]
    questions: list[Question]


def read(folder: Path) -> list[Conversation]:
    """Read the conversations of a folder with their questions."""
    questions: dict[str, list[Question]] = {}
    for line in _lines(folder / "questions.jsonl"):
        of = questions.setdefault(line["conversation"], [])
        of.append(Question(line["question"], line["evidence"], line["kind"]))
    return [
        Conversation(
            line["id"],
            line["speakers"],
            [_turn(turn) for turn in line["turns"]],
            questions.get(line["id"], []),
        )
        for line in _lines(folder / "conversations.jsonl")
    ]


def _lines(file: Path) -> list[dict[str, Any]]:
    with file.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def _turn(turn: dict[str, Any]) -> Turn:
    when = datetime.fromisoformat(turn["when"])
    return Turn(turn["id"], turn["session"], when, turn["speaker"], turn["text"])
