"""What a read finds in a database that has no tables yet: nothing, and it makes none.

The read is done on the same tables in memory, made for it and dropped with it (2 ms). So an
empty answer is what it is on an empty store, whatever is asked.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TypeVar

from onrecord.ledger.database.dialect import Dialect
from onrecord.ledger.database.transaction import Transaction, Work
from onrecord.ledger.schema import migrations
from onrecord.ledger.sessions.dictionaries import Dictionaries

T = TypeVar("T")


def look_at_nothing(work: Work[T]) -> T:
    """Do work that looks at a database as it is, where there is none: without tables."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        dialect, dictionaries = Dialect("sqlite"), Dictionaries("none")
        return work(Transaction(connection.cursor(), dialect, None, dictionaries))


def read_nothing(work: Work[T], counter: str) -> T:
    """Do work that changes nothing where there is nothing."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        cursor = connection.cursor()
        dialect, dictionaries = Dialect("sqlite"), Dictionaries("none")
        txn = Transaction(cursor, dialect, None, dictionaries)
        migrations.walk(txn, "sqlite", None, counter)
        facts = migrations.learn(txn, counter)
        return work(Transaction(cursor, dialect, facts, dictionaries))
