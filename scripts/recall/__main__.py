"""Prints how much of what answers a question comes back.

python -m scripts.recall [folder] [--parts]

The folder holds conversations and questions, see ``scripts/recall/data.py``. ``--parts`` leaves out
one part of the ranking after the other, to say what each is worth.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Final

from onrecord.ranking import RELEVANT
from onrecord.ranking.parts import PARTS, Parts
from scripts.recall.data import Conversation, read
from scripts.recall.in_memory import InMemory
from scripts.recall.measure import TURNS, averages, of_nothing, of_others, quiet, recalled

FOLDER: Final = Path(__file__).parents[2].parent / "shared" / "data" / "recall"


def main() -> None:
    """Read, ask, and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m scripts.recall")
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER)
    parser.add_argument("--parts", action="store_true", help="what each part is worth")
    options = parser.parse_args()
    if not (options.folder / "questions.jsonl").is_file():
        parser.error(f"{options.folder} has no questions.jsonl: name a folder that has.")
    conversations = read(options.folder)
    began = time.perf_counter()
    asked = {each.id: InMemory(each) for each in conversations}
    turns = sum(len(each.turns) for each in conversations)
    signed = (time.perf_counter() - began) / turns
    _table(conversations, asked)
    _nothing(conversations, asked)
    size = sum(len(run.terms) for each in asked.values() for run in each.runs) / turns
    print(f"\nsigning {signed * 1e6:.1f} µs a turn, the first time; signature {size:.1f} B a turn")
    if options.parts:
        _parts(conversations, asked)


def _table(conversations: list[Conversation], asked: dict[str, InMemory]) -> None:
    rows = recalled(conversations, asked)
    print(f"{'':18}{'n':>5}  turn R@{'/'.join(map(str, TURNS))}")
    for kind, some in rows.items():
        print(f"{kind:18}{len(some):5}  " + " ".join(f"{x:5.1f}" for x in averages(some)))
    some = recalled(conversations, asked, RELEVANT)["overall"]
    row = " ".join(f"{x:5.1f}" for x in averages(some))
    print(f"{f'from {RELEVANT} up':18}{len(some):5}  {row}")


def _nothing(conversations: list[Conversation], asked: dict[str, InMemory]) -> None:
    print(f"\nnothing comes back, from {RELEVANT} up")
    for name, questions in (
        ("asked of another conversation", of_others(conversations)),
        ("about what never came up", of_nothing(conversations)),
    ):
        many = sum(map(len, questions.values()))
        print(f"{name:32}{many:5}  {quiet(questions, asked, RELEVANT):5.1f} %")


def _parts(conversations: list[Conversation], asked: dict[str, InMemory]) -> None:
    print("\nwithout the part: turn R@" + "/".join(map(str, TURNS)))
    for part in ("", *Parts._fields):
        if part == "meaning":
            continue
        for each in asked.values():
            each.parts = PARTS._replace(**{part: 0.0}) if part else PARTS
        row = averages(recalled(conversations, asked)["overall"])
        print(f"{part or 'all of them':18}" + " ".join(f"{x:5.1f}" for x in row), flush=True)


if __name__ == "__main__":
    main()
