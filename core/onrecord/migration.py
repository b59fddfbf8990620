"""What a migration is to do: ``store.migrate(dry_run=True)`` says it, a value for each step."""

from __future__ import annotations

from typing import Literal

import msgspec


class MigrationStep(msgspec.Struct, frozen=True, kw_only=True):
    """One step that is still to do."""

    name: str
    does: str
    """What it does, in words."""
    tables: tuple[str, ...]
    """Those that it changes, or goes through; none of a step that makes the tables."""
    rows: int | None
    """About how many rows it goes through; None where it takes an instant."""
    waits: Literal["nobody", "writers", "everybody"]
    """Who waits for it, of those who use these tables."""
    locks: str
    """What it locks, for whom and for how long, in words."""

    def __str__(self) -> str:
        where = f" of {', '.join(self.tables)}" if self.tables else ""
        rows = "" if self.rows is None else f", about {self.rows:,} rows{where}"
        return f"{self.name}: {self.does}{rows}. {self.locks}"
