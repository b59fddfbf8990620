"""Writes what is told from ``onrecord.tables``: the SQL that makes them, and a page about them.

python -m scripts.tables
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

from onrecord import tables

ROOT: Final = Path(__file__).parent.parent
SQL: Final = ROOT / "core/onrecord/ledger/schema/sql"
PAGE: Final = ROOT / "docs/reference/tables.md"

Kind: TypeAlias = Literal["sqlite", "postgresql"]

_DIALECTS: Final[dict[Kind, Any]] = {
    "sqlite": sqlite.dialect(),
    "postgresql": postgresql.dialect(),  # type: ignore[no-untyped-call]
}
# zstd has compressed it, and PostgreSQL would only try in vain; and a segment that fits on a page
# stays on it: in a table of its own it would take a fifth more.
_AFTER: Final = {"postgresql": ["ALTER TABLE {segments} ALTER COLUMN body SET STORAGE EXTERNAL"]}
# Made before anything else, under the lock of those who migrate.
_ELSEWHERE: Final = ("onrecord_migrations",)


def written() -> dict[Path, str]:
    """What each file has to hold."""
    files = {SQL / f"{kind}.sql": ";\n\n".join(statements(kind)) + ";\n" for kind in _DIALECTS}
    return {**files, PAGE: page()}


def statements(kind: Kind) -> Iterator[str]:
    """The statements that make the tables, as templates of ``Dialect``."""
    dialect = _DIALECTS[kind]
    for table in tables.declared(kind).tables.values():
        if table.name in _ELSEWHERE:
            continue
        yield _template(str(CreateTable(table).compile(dialect=dialect))) + _stored(kind, table)
        for index in sorted(table.indexes, key=lambda index: str(index.name)):
            yield _template(str(CreateIndex(index).compile(dialect=dialect)))
    yield from _AFTER.get(kind, [])


def _stored(kind: Kind, table: Table) -> str:
    told = table.info[tables.STORED]
    if kind != "postgresql" or not told:
        return ""
    return f"\n  WITH ({', '.join(f'{name} = {value}' for name, value in told.items())})"


def _template(statement: str) -> str:
    lines = (re.sub(r"\s+", " ", line).strip() for line in statement.strip().splitlines())
    text = "\n".join(line if line.startswith(("CREATE", ")")) else f"  {line}" for line in lines)
    return re.sub(r"\b(TABLE|ON) onrecord_(\w+)", r"\1 {\2}", text)


def page() -> str:
    """The page about the tables."""
    lines = [
        "# Tables",
        "",
        "What a store keeps, on SQLite and on PostgreSQL. `onrecord.tables` has the same as",
        "SQLAlchemy metadata, to join your own data with. Read them as you like, and write",
        "through a store: it keeps counts, the cache and what was learned in step. This page and",
        "the SQL in `core/onrecord/ledger/schema/sql` are written from `onrecord.tables` by",
        "`python -m scripts.tables`.",
    ]
    for table in tables.metadata.tables.values():
        lines += ["", f"## {table.name}", "", str(table.comment), "", "| column | type | |"]
        lines += ["|---|---|---|", *map(_row, table.columns)]
        lines += _indexes(table)
    return "\n".join(lines) + "\n"


def _row(column: Any) -> str:
    kind = column.type.compile(dialect=_DIALECTS["postgresql"])
    marks = " primary key" if column.primary_key else " unique" if column.unique else ""
    null = ", may be NULL" if column.nullable else ""
    return f"| `{column.name}` | {kind}{marks}{null} | {column.comment} |"


def _indexes(table: Table) -> list[str]:
    found = sorted(table.indexes, key=lambda index: str(index.name))
    if not found:
        return []
    said = (
        f"`{index.name}` on {', '.join(str(part).rpartition('.')[2] for part in index.expressions)}"
        for index in found
    )
    return ["", "Indexes: " + "; ".join(said) + "."]


def main() -> None:
    """Write the files."""
    for file, text in written().items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        print(file.relative_to(ROOT))


if __name__ == "__main__":
    main()
