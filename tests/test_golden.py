"""Databases that earlier versions wrote are read as they were, and gone on with."""

from __future__ import annotations

import io
import json
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import create_engine, inspect

from onrecord import Store, tables
from tests.golden.make import told

GOLDEN = Path(__file__).parent / "golden"
SQLITE = sorted(GOLDEN.glob("*.sqlite"))
POSTGRES = sorted(GOLDEN.glob("*.postgresql.sql"))
EXPORTS = sorted(GOLDEN.glob("*.jsonl"))


def as_json(found: object) -> Any:
    return json.loads(json.dumps(found))


def columns(url: str) -> dict[str, set[str]]:
    """The columns of each table, as they are there now."""
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    found = inspect(engine)
    there = {name: {c["name"] for c in found.get_columns(name)} for name in found.get_table_names()}
    engine.dispose()
    return there


def go_on_with(url: str, kept: Path) -> None:
    expected = json.loads(kept.read_text())
    with Store(url) as store:
        assert as_json(told(store)) == expected
        session = store.session("edited", user="ana")
        head = session.head()
        session.append(("user", "and on"))
        session.edit(2, ("user", "edited today"))
        session.delete(4)
        session.unarchive([1])
        assert session.head() == head + 1
        assert session.messages(limit=2)[1].text == "edited today"
        again = session.messages(after=head - 1, limit=1)[0]
        assert session.append(again) == [again]
    today = tables.declared("sqlite" if url.startswith("sqlite") else "postgresql").tables
    assert columns(url) == {name: set(table.columns.keys()) for name, table in today.items()}
    with Store(url) as store:
        rest = [found for found in as_json(told(store)) if found["name"][3] != "edited"]
        assert rest == [found for found in expected if found["name"][3] != "edited"]


def test_there_is_one_of_each() -> None:
    assert SQLITE
    assert len(SQLITE) == len(POSTGRES)


@pytest.mark.parametrize("file", SQLITE, ids=lambda file: file.stem)
def test_an_earlier_sqlite_file(file: Path, tmp_path: Path) -> None:
    copy = shutil.copy(file, tmp_path / "golden.sqlite")
    go_on_with(f"sqlite:///{copy}", file.with_suffix(".sqlite.json"))


@pytest.mark.parametrize("file", POSTGRES, ids=lambda file: file.stem)
def test_an_earlier_postgresql_database(file: Path, postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(file.read_text().encode())
    go_on_with(postgres_url, file.with_suffix(".json"))


@pytest.mark.parametrize("file", EXPORTS, ids=lambda file: file.stem)
def test_an_earlier_export(file: Path, each_store: Callable[[], Store]) -> None:
    """It is read, and what is read is written as the same bytes."""
    store = each_store()
    report = store.import_(file)
    lines = [json.loads(line) for line in file.read_bytes().splitlines()]
    kinds = Counter(line["type"] for line in lines)
    assert (report.sessions, report.messages, report.items) == (
        kinds["session"], kinds["message"], kinds["item"],
    )  # fmt: skip
    assert report.differing == ()
    again = io.BytesIO()
    store.export(again)
    found = again.getvalue()
    if b'"usage":{}' not in file.read_bytes():  # before sessions said what was spent
        found = re.sub(rb'(?m)^({"type":"session".*?),"usage":{[^}]*}', rb"\1", found)
    assert found == file.read_bytes()


def test_there_is_an_export_with_items_and_one_without() -> None:
    assert {b'"type":"item"' in file.read_bytes() for file in EXPORTS} == {True, False}
