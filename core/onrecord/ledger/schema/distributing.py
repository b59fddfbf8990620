"""Spreads the tables that have a shard: over partitions of one server, or by Citus over many.

A table cannot be made into a partitioned one: it is made anew, so only while nothing is in it.
Citus could take rows along, and is given none either: there is one rule.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, Literal, TypeAlias, get_args

from onrecord.errors import Misconfigured, shown
from onrecord.ledger.database.dialect import quoted
from onrecord.ledger.database.transaction import Transaction
from onrecord.ledger.schema import migrations
from onrecord.ledger.schema.steps import first_statements

Way: TypeAlias = Literal["partitions", "citus"]
WAYS: Final[tuple[Way, ...]] = get_args(Way)
MOST_PARTS: Final = 128
_USUAL_PARTS: Final = 16

_OBJECT: Final = re.compile(r"(CREATE TABLE|CREATE (?:UNIQUE )?INDEX \w+ ON|ALTER TABLE) \{(\w+)\}")
_IDENTITY: Final = "BIGINT GENERATED ALWAYS AS IDENTITY"
_OPTIONS: Final = re.compile(r"\)\s*(WITH \([^()]*\))$")
_PARTITIONS_WITH_IDENTITY: Final = 17
"""The version of PostgreSQL since which a table with partitions may make its numbers itself."""


_OF_CITUS: Final = "pg_dist_partition"
"""Its own table of the tables that it spreads."""
_REMEMBER: Final = """
    INSERT INTO {meta} (name, value) VALUES ('distributed', :way)
    ON CONFLICT (name) DO UPDATE SET value = :way"""
_PARTS: Final = """
    SELECT c.relkind, (SELECT count(*) FROM pg_inherits i WHERE i.inhparent = c.oid)
    FROM pg_class c WHERE c.oid = to_regclass(:name)"""


def require(txn: Transaction, way: Way) -> None:
    """Refuse a way that this database does not have, before anything is made in it."""
    if way == "citus" and not _has_citus(txn):
        raise Misconfigured(
            "This database has no Citus. Install its package on every node, add citus to "
            "shared_preload_libraries, restart, and run CREATE EXTENSION citus in this database; "
            "or distribute over partitions, which PostgreSQL has by itself."
        )


def spread(txn: Transaction, way: Way, parts: int | None) -> list[str]:
    """Spread the tables of a migrated store that holds nothing yet, all or none; return which were
    spread now. Those that are spread so already stay as they are."""
    txn.begin()
    migrations.wait_alone(txn, txn.schema)
    tables = [table for table in _sharded() if not _stands(txn, table, way, parts)]
    _refuse_rows(txn, tables)
    if tables and txn.first("SELECT 1 FROM {erased} LIMIT 1", {}) is not None:
        raise Misconfigured(
            "Sessions were erased here, and the tables would give their numbers out again. Nothing "
            "was changed. Migrate and distribute another schema or database."
        )
    txn.run(_REMEMBER, {"way": way.encode()})
    parts = _USUAL_PARTS if parts is None else parts
    return _over_partitions(txn, tables, parts) if way == "partitions" else _by_citus(txn, parts)


def _has_citus(txn: Transaction) -> bool:
    return txn.first("SELECT 1 FROM pg_extension WHERE extname = 'citus'", {}) is not None


def _sharded() -> list[str]:
    """The tables with a shard, sessions first."""
    return [
        made[2]
        for statement in first_statements("postgresql")
        if (made := _OBJECT.match(statement)) and made[1] == "CREATE TABLE"
        if " shard SMALLINT" in statement
    ]


def _stands(txn: Transaction, table: str, way: Way, parts: int | None) -> bool:
    """Whether a table is spread as it is wanted; over any number, where none is."""
    name = _name(txn, table)
    if way == "citus":
        known = f"SELECT 1 FROM {_OF_CITUS} WHERE logicalrelid = to_regclass(:name)"
        return txn.first(known, {"name": name}) is not None
    found = txn.first(_PARTS, {"name": name})
    if found is None or found[0] != "p":
        return False
    return parts is None or found[1] == parts


def _refuse_rows(txn: Transaction, tables: list[str]) -> None:
    for table in tables:
        txn.run(f"LOCK TABLE {{{table}}} IN ACCESS EXCLUSIVE MODE")
        if txn.first(f"SELECT 1 FROM {{{table}}} LIMIT 1", {}) is not None:
            kind, parts = txn.first(_PARTS, {"name": _name(txn, table)}) or ("", 0)
            if kind == "p":
                raise Misconfigured(
                    f"The tables are spread over {parts} partitions and have rows: their number "
                    f"stays. Leave parts out, or say {parts}. Nothing was changed."
                )
            raise Misconfigured(
                f"{_name(txn, table)} has rows, and tables are only spread while they are empty. "
                f"Nothing was changed. Export the store, migrate and distribute another schema or "
                f"database, and import it there: docs/how-to/distribute.md has the steps."
            )


def _over_partitions(txn: Transaction, tables: list[str], parts: int) -> list[str]:
    found = txn.first("SELECT CAST(current_setting('server_version_num') AS INTEGER) / 10000", {})
    assert found is not None
    for table in tables:
        txn.run(f"DROP TABLE {{{table}}}")
    for statement in first_statements("postgresql"):
        made = _OBJECT.match(statement)
        assert made is not None, statement
        if made[2] not in tables:
            continue
        if made[1] != "CREATE TABLE":
            txn.run(statement)
            continue
        for part in _partitioned(statement, made[2], parts, found[0]):
            txn.run(part)
    return tables


def _partitioned(statement: str, table: str, parts: int, version: int) -> Iterator[str]:
    """A statement that makes a table, as those that make it in parts."""
    if version < _PARTITIONS_WITH_IDENTITY:
        statement = statement.replace(_IDENTITY, "BIGSERIAL")
    options = _OPTIONS.search(statement)
    # A table with partitions has no pages: how they are filled is said of each part.
    with_options = f" {options[1]}" if options else ""
    yield f"{_OPTIONS.sub(')', statement)} PARTITION BY HASH (shard)"
    for n in range(parts):
        yield (
            f"CREATE TABLE {{{table}}}_{n} PARTITION OF {{{table}}} "
            f"FOR VALUES WITH (MODULUS {parts}, REMAINDER {n}){with_options}"
        )


def _by_citus(txn: Transaction, parts: int) -> list[str]:
    first, *others = [_name(txn, table) for table in _sharded()]
    calls = [(first, "create_distributed_table", f"'shard', 'hash', 'none', {parts:d}")]
    calls += [(name, "create_distributed_table", "'shard', 'hash', :first") for name in others]
    calls += [(_name(txn, table), "create_reference_table", "") for table in _small()]
    done: list[str] = []
    for table, (name, function, more) in zip([*_sharded(), *_small()], calls, strict=True):
        if not _stands(txn, table, "citus", parts):
            given = ", ".join(filter(None, ["CAST(:name AS regclass)", more]))
            txn.rows(f"SELECT {function}({given})", {"name": name, "first": first})
            done.append(table)
    txn.spread_by_citus()
    return [table for table in done if table in _sharded()]


def _small() -> list[str]:
    """The tables without a shard: each node has all of them."""
    made = [_OBJECT.match(statement) for statement in first_statements("postgresql")]
    all_tables = dict.fromkeys(one[2] for one in made if one)
    return [*[table for table in all_tables if table not in _sharded()], "migrations"]


def _name(txn: Transaction, table: str) -> str:
    """What the server finds a table by, as a value."""
    space = "" if txn.schema is None else f"{quoted(txn.schema)}."
    return f"{space}onrecord_{table}"


def check_way(way: str, parts: int | None) -> Way:
    """Refuse what is no way to spread tables, before any I/O."""
    number = _USUAL_PARTS if parts is None else parts
    if not isinstance(number, int) or isinstance(number, bool) or not 1 <= number <= MOST_PARTS:
        raise Misconfigured(
            f"parts is a whole number from 1 to {MOST_PARTS:,}, not {shown(parts)}."
        )
    for known in WAYS:
        if way == known:
            return known
    raise Misconfigured(f"Tables are distributed by {' or '.join(WAYS)}, not by {shown(way)}.")
