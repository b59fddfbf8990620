"""The tables of a schema made anew, each that has a shard spread over four partitions by it."""

from __future__ import annotations

import re
from contextlib import closing

import psycopg

from onrecord import Store
from onrecord.ledger.database.dialect import Dialect
from onrecord.ledger.schema.steps import first_statements


def partition(url: str, schema: str) -> None:
    """Make the tables of a schema that is not there yet, spread over partitions."""
    with closing(Store(url, schema=schema, pool_size=1)) as store:
        store.migrate()
    dialect = Dialect("postgresql", schema)
    with psycopg.connect(url, autocommit=True) as connection:
        sharded = set()
        for statement in first_statements("postgresql"):
            made = re.search(r"(CREATE TABLE|ON|ALTER TABLE) \{(\w+)\}", statement)
            assert made is not None
            if " shard " in statement:
                sharded.add(made[2])
            elif made[2] not in sharded:
                continue
            text = dialect.render(statement)
            name = dialect.render(f"{{{made[2]}}}")
            if made[1] != "CREATE TABLE":
                connection.execute(text)
                continue
            connection.execute(f"DROP TABLE {name}")
            # Before version 17 a table with partitions has no identity columns, and its own
            # options are those of the partitions.
            text = text.replace("BIGINT GENERATED ALWAYS AS IDENTITY", "BIGSERIAL")
            text = re.sub(r"\)\s*WITH \(.*\)$", ")", text, flags=re.DOTALL)
            connection.execute(f"{text} PARTITION BY HASH (shard)")
            for n in range(4):
                connection.execute(
                    f"CREATE TABLE {name}_{n} PARTITION OF {name} "
                    f"FOR VALUES WITH (MODULUS 4, REMAINDER {n})"
                )
