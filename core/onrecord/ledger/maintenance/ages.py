"""How old the oldest numbers of transactions are that a PostgreSQL server still keeps.

They have 32 bits and go round: before they do, every row that bears an old one has to be frozen,
which autovacuum does. A server that does not get there stops taking writes.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple, TypeAlias

from onrecord.ledger.database.transaction import Transaction

Counter: TypeAlias = Literal["transactions", "row locks"]

_AGES: Final[dict[Counter, str]] = {
    "transactions": """
        SELECT age(datfrozenxid), CAST(current_setting('autovacuum_freeze_max_age') AS BIGINT)
        FROM pg_database WHERE datname = current_database()""",
    "row locks": """
        SELECT mxid_age(datminmxid),
            CAST(current_setting('autovacuum_multixact_freeze_max_age') AS BIGINT)
        FROM pg_database WHERE datname = current_database()""",
}
_OLDEST: Final[dict[Counter, str]] = {
    "transactions": """
        SELECT c.relname, age(c.relfrozenxid) FROM pg_class c
        WHERE c.relkind IN ('r', 't') AND starts_with(c.relname, 'onrecord_')
        ORDER BY 2 DESC LIMIT 1""",
    "row locks": """
        SELECT c.relname, mxid_age(c.relminmxid) FROM pg_class c
        WHERE c.relkind IN ('r', 't') AND starts_with(c.relname, 'onrecord_')
        ORDER BY 2 DESC LIMIT 1""",
}


class Age(NamedTuple):
    """How far a database is behind with freezing."""

    counter: Counter
    age: int
    """How many numbers were given out since its oldest."""
    limit: int
    """At how many autovacuum begins to freeze, whatever else it does."""
    table: str | None = None
    """The oldest of our tables; None where we have none."""
    table_age: int = 0


def ages(txn: Transaction) -> list[Age]:
    """How old the numbers are of this database, and of our oldest table; nothing on SQLite."""
    if txn.kind == "sqlite":
        return []
    found = []
    for counter, statement in _AGES.items():
        whole = txn.first(statement, {})
        assert whole is not None, "a database knows itself"
        table = txn.first(_OLDEST[counter], {}) or (None, 0)
        found.append(Age(counter, int(whole[0]), int(whole[1]), table[0], int(table[1])))
    return found
