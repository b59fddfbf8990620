"""The command that prints the ledger's statements prints what the databases understand."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psycopg

from onrecord import CheckpointLog, Store
from onrecord.checkpoint_log import Listing, New
from scripts.statements import statements

ROOT = Path(__file__).parents[1]


def asked(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command, run as in a checkout."""
    command = [sys.executable, "-m", "scripts.statements", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


def printed(kind: str, *more: str) -> dict[str, str]:
    """What the command prints, by what stands above it."""
    answer = asked(kind, *more)
    assert answer.returncode == 0, answer.stderr
    blocks = answer.stdout.rstrip("\n").split(";\n\n")
    found = {block.partition("\n")[0]: block.removesuffix(";") for block in blocks}
    assert len(found) == len(blocks) > 150
    return found


def test_sqlite_understands_each(tmp_path: Path) -> None:
    file = tmp_path / "store.db"
    with Store(f"sqlite:///{file}") as store:
        store.migrate()
    refused = {}
    with closing(sqlite3.connect(file)) as connection:
        for place, statement in printed("sqlite").items():
            names = re.findall(r":([a-z]\w*)", statement)
            try:
                connection.execute(f"EXPLAIN {statement}", dict.fromkeys(names))
            except sqlite3.Error as fault:
                refused[place] = str(fault)
    assert refused == {}


def test_postgresql_understands_each(postgres_url: str) -> None:
    with Store(postgres_url, schema="its own") as store:
        store.migrate()
    refused = {}
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        for place, statement in printed("postgresql", "its own").items():
            asked = re.sub(r":[a-z]\w*", "NULL", statement)
            try:
                connection.execute(f"EXPLAIN {asked}".encode())
            except psycopg.Error as fault:
                refused[place] = str(fault)
    assert refused == {}


def test_what_the_three_journeys_send_is_among_them(each_store: Callable[..., Store]) -> None:
    """Nothing is sent that is not printed; but for what makes the tables."""
    store = each_store()
    session, log = store.session("s"), CheckpointLog(store)
    for n in range(3):
        session.append([("user", f"question {n}"), ("assistant", "answer")] * (1 + 99 * n))
        session.window(messages=120)
        parent = None if n == 0 else str(n - 1)
        items = {"messages": Listing([("json", b"%d" % i) for i in range(n + 1)])}
        log.put("t", "", New(str(n), parent, [("json", b"{}")], items))
    dialect = store._ledger.dialect
    known = {found.template for found in statements(dialect.kind)}
    sent = {text for text in dialect._rendered if not text.startswith(("CREATE", "ALTER"))}
    assert len(sent) > 15
    assert sent - known == set()


def test_who_names_no_database_is_told_what_to_say() -> None:
    answer = asked()
    assert answer.returncode == 2
    assert "scripts.statements sqlite" in answer.stderr
