"""Why partitions on another PostgreSQL, through postgres_fdw, hold no store: they hold no key."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tests.partitioned import PARTS, partition
from tests.servers.postgres import PostgresServer


@pytest.fixture
def both(postgres: PostgresServer) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """A database that knows another, in which the partitions are to lie; each has the tables."""
    with (
        postgres.database("near") as near,
        postgres.database("far") as far,
        psycopg.connect(near, autocommit=True) as connection,
    ):
        found = connection.execute(
            "SELECT 1 FROM pg_available_extensions WHERE name = 'postgres_fdw'"
        ).fetchone()
        if found is None:
            pytest.skip("this PostgreSQL comes without postgres_fdw")
        for url in (near, far):
            partition(url, "s")
        at = psycopg.conninfo.conninfo_to_dict(far)
        connection.execute("CREATE EXTENSION postgres_fdw")
        connection.execute(
            "CREATE SERVER other FOREIGN DATA WRAPPER postgres_fdw "
            f"OPTIONS (host '{at['host']}', port '{at['port']}', dbname '{at['dbname']}')"
        )
        connection.execute(
            "CREATE USER MAPPING FOR CURRENT_USER SERVER other "
            f"OPTIONS (user '{at['user']}', password '{at.get('password', '')}')"
        )
        yield connection


def test_a_partition_elsewhere_is_refused_for_the_unique_keys(
    both: psycopg.Connection[tuple[object, ...]],
) -> None:
    _bring(both, "s.onrecord_tail", "onrecord_tail_0")
    with pytest.raises(psycopg.errors.WrongObjectType, match="cannot attach foreign table") as told:
        _attach(both, "s.onrecord_tail", "onrecord_tail_0")
    assert "contains unique indexes" in str(told.value)


def test_without_keys_rows_come_and_go_and_none_is_unique(
    both: psycopg.Connection[tuple[object, ...]],
) -> None:
    """What is left of a table that gave its keys up: nothing that makes a session once."""
    both.execute(
        "CREATE TABLE s.keyless (LIKE s.onrecord_tail EXCLUDING INDEXES) PARTITION BY HASH (shard)"
    )
    _bring(both, "s.onrecord_tail", "onrecord_tail_0")
    _attach(both, "s.keyless", "onrecord_tail_0")
    for n in range(1, PARTS):
        both.execute(
            f"CREATE TABLE s.keyless_{n} PARTITION OF s.keyless "
            f"FOR VALUES WITH (MODULUS {PARTS}, REMAINDER {n})"
        )
    row = (
        "INSERT INTO s.keyless (session, seq, created, token, epoch, tokens, counter, opens_turn, "
        "shard) VALUES (1, 1, 0, 0, 0, 0, 0, 0, %s)"
    )
    for shard in range(40):
        both.execute(row, (shard,))
    found = both.execute("SELECT count(*) FROM s.onrecord_tail_0").fetchone()
    assert found is not None
    assert isinstance(found[0], int)
    assert 0 < found[0] < 40
    assert both.execute("SELECT 1 FROM s.keyless FOR UPDATE").rowcount == 40
    assert both.execute("UPDATE s.keyless SET token = 1").rowcount == 40
    with pytest.raises(psycopg.errors.InvalidColumnReference, match="no unique or exclusion"):
        both.execute(f"{row} ON CONFLICT (session, seq, shard) DO NOTHING", (1,))
    assert both.execute("DELETE FROM s.keyless").rowcount == 40


def _bring(connection: psycopg.Connection[tuple[object, ...]], table: str, partition: str) -> None:
    connection.execute(f"ALTER TABLE {table} DETACH PARTITION s.{partition}")
    connection.execute(f"DROP TABLE s.{partition}")
    connection.execute(f"IMPORT FOREIGN SCHEMA s LIMIT TO ({partition}) FROM SERVER other INTO s")


def _attach(connection: psycopg.Connection[tuple[object, ...]], table: str, partition: str) -> None:
    connection.execute(
        f"ALTER TABLE {table} ATTACH PARTITION s.{partition} "
        f"FOR VALUES WITH (MODULUS {PARTS}, REMAINDER 0)"
    )
