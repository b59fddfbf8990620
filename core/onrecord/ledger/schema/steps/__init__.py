"""The steps from an empty database to the tables of today, one idea a file, in order.

A step that was released is never changed; the next one is added below it. A step only runs
statements and asks nothing: on an empty PostgreSQL all of them are sent as one script.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from onrecord.ledger.database.transaction import Transaction
from onrecord.ledger.schema.steps import (
    checkpoints,
    fences,
    segments,
    sessions,
)

Step = Callable[[Transaction, str], None]
STEPS: Final[tuple[tuple[str, Step], ...]] = (
    ("0001 sessions and messages", sessions.create),
    ("0002 segments", segments.create),
    ("0003 checkpoints", checkpoints.create),
    ("0004 fences", fences.create),
)
