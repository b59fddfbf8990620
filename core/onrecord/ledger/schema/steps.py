"""The steps from the tables of earlier versions to those of today, in order.

The first makes the tables of today, as ``onrecord.tables`` declares them, and is for a database
that has none: it is sent as one script to PostgreSQL, and so only runs statements and asks
nothing. Each later one brings tables that were made before it to the same: a column that is added
in ``onrecord.tables`` needs an ``ALTER TABLE`` here, and an index a step of its own. A step that
was released is never changed; the next one is added below it. It only adds, with defaults, and
takes away nothing that the version before uses: what runs goes on while and after somebody
migrates (docs/how-to/upgrade.md).

A step is of one of three kinds. What changes tables is needed before anything else, and done in
one transaction. What takes long on many rows, an index or new values in old rows, is done beside
those who write, by who asks for it: every answer has to be right without it, and only slower.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from onrecord.ledger.database import generation
from onrecord.ledger.database.transaction import Transaction


@dataclass(frozen=True, slots=True)
class TableStep:
    """Changes tables, in one transaction."""

    name: str
    do: Callable[[Transaction, str], None]
    does: str
    locks: tuple[str, ...] = ()
    """The tables, by their names in a template, that nobody else can use until it is done."""


@dataclass(frozen=True, slots=True)
class IndexStep:
    """Builds one index that is only there for speed."""

    name: str
    index: str
    table: str
    """By its name in a template."""
    on: str
    """Its columns in parentheses, and which rows it has, where not all."""

    @property
    def does(self) -> str:
        """What it does, in words."""
        return f"builds the index {self.index}"


@dataclass(frozen=True, slots=True)
class FillStep:
    """Brings rows that were written before up to date, some at a time."""

    name: str
    statement: str
    """Changes at most ``:limit`` rows that need it, and none when it is done."""
    table: str
    """By its name in a template."""
    does: str


BesideStep: TypeAlias = IndexStep | FillStep
"""What is done beside those who write."""
Step: TypeAlias = TableStep | BesideStep


def first_statements(kind: str) -> list[str]:
    """What makes the tables of the first step."""
    text = (Path(__file__).parent / "sql" / f"{kind}.sql").read_text(encoding="utf-8")
    return [statement.strip() for statement in text.split(";\n") if statement.strip()]


def _make_tables(txn: Transaction, kind: str) -> None:
    for statement in first_statements(kind):
        txn.run(statement)
    for name in ("store_id", "cache_id"):
        txn.run(
            "INSERT INTO {meta} (name, value) VALUES (:name, :id)",
            {"name": name, "id": secrets.token_bytes(16)},
        )
    generation.begin(txn)


STEPS: Final[tuple[Step, ...]] = (TableStep("0001 tables", _make_tables, "makes the tables"),)
