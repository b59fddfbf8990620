"""What a database server, or SQLite, says of itself: nothing of it needs a table of ours.

What one of them has not is None, or nothing: who asks need not know which it is.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, Final, NamedTuple

from onrecord.ledger.database.address import Kind
from onrecord.ledger.database.pulse import log_of
from onrecord.ledger.database.transaction import Transaction

_VERSION: Final[dict[Kind, str]] = {
    "sqlite": "SELECT sqlite_version()",
    "postgresql": "SELECT current_setting('server_version')",
}
_PRODUCT: Final[dict[Kind, str]] = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}

_CLOCK: Final = "SELECT {clock}"

_SETTINGS: Final = """
    SELECT current_setting('fsync') = 'off', current_setting('full_page_writes') = 'off',
        current_setting('synchronous_commit') = 'off', current_setting('autovacuum') = 'off',
        pg_is_in_recovery(), current_setting('default_transaction_read_only') = 'on',
        coalesce((SELECT sum(checksum_failures) FROM pg_stat_database
            WHERE datname = current_database()), 0) > 0"""

# Of a session of another role only the database is shown to who may not see more.
_CLIENT: Final = "(backend_type = 'client backend' OR backend_type IS NULL AND datid IS NOT NULL)"
_CONNECTIONS: Final = f"""
    SELECT CAST(current_setting('max_connections') AS INTEGER)
            - CAST(current_setting('superuser_reserved_connections') AS INTEGER)
            - CAST(coalesce(current_setting('reserved_connections', TRUE), '0') AS INTEGER),
        (SELECT count(*) FROM pg_stat_activity WHERE {_CLIENT}),
        (SELECT datconnlimit FROM pg_database WHERE datname = current_database()),
        (SELECT count(*) FROM pg_stat_activity
            WHERE {_CLIENT} AND datname = current_database()),
        (SELECT rolconnlimit FROM pg_roles WHERE rolname = session_user),
        (SELECT count(*) FROM pg_stat_activity WHERE {_CLIENT} AND usename = session_user)"""

_TRANSACTIONS: Final = """
    SELECT pid, coalesce(usename, ''), coalesce(application_name, ''),
        state LIKE 'idle in transaction%',
        CAST(extract(epoch FROM clock_timestamp() - xact_start) AS BIGINT)
    FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
        AND coalesce(backend_type, 'client backend') = 'client backend'
        AND xact_start <= clock_timestamp() - make_interval(secs => :seconds)
    ORDER BY xact_start LIMIT 5"""
_PREPARED: Final = """
    SELECT gid, CAST(extract(epoch FROM clock_timestamp() - prepared) AS BIGINT)
    FROM pg_prepared_xacts
    WHERE database = current_database()
        AND prepared <= clock_timestamp() - make_interval(secs => :seconds)
    ORDER BY prepared LIMIT 5"""
_HIDDEN: Final = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND state IS NULL AND backend_type IS NULL
        AND pid <> pg_backend_pid()"""
_SLOTS: Final = """
    SELECT slot_name, active, CAST(pg_wal_lsn_diff(
        CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END,
        restart_lsn) AS BIGINT)
    FROM pg_replication_slots WHERE restart_lsn IS NOT NULL ORDER BY 3 DESC LIMIT 5"""

_NEEDED: Final = ("SELECT", "INSERT", "UPDATE", "DELETE")
_REFUSED: Final = f"""
    SELECT c.relname, {", ".join(f"has_table_privilege(c.oid, '{one}')" for one in _NEEDED)}
    FROM pg_class c
    WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
        AND starts_with(c.relname, 'onrecord_')
        AND c.relname <> 'onrecord_migrations' AND c.relnamespace = (
            SELECT oid FROM pg_namespace
            WHERE nspname = coalesce(CAST(:schema AS TEXT), current_schema()))
    ORDER BY c.relname"""
_MAY_MAKE: Final = """
    SELECT CASE WHEN EXISTS (SELECT 1 FROM pg_namespace
            WHERE nspname = coalesce(CAST(:schema AS TEXT), current_schema()))
        THEN has_schema_privilege(coalesce(CAST(:schema AS TEXT), current_schema()), 'CREATE')
        ELSE CAST(:schema AS TEXT) IS NOT NULL
            AND has_database_privilege(current_database(), 'CREATE') END"""

_DEAD: Final = """
    SELECT relname, n_live_tup, n_dead_tup FROM pg_stat_user_tables
    WHERE starts_with(relname, 'onrecord_')
        AND schemaname = coalesce(CAST(:schema AS TEXT), current_schema())
        AND n_dead_tup > greatest(:least, n_live_tup)
    ORDER BY n_dead_tup DESC LIMIT 3"""

_BROKEN: Final = """
    SELECT format('%I.%I', n.nspname, c.relname), t.relname,
        EXISTS (SELECT 1 FROM pg_stat_progress_create_index p WHERE p.index_relid = i.indexrelid)
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
        JOIN pg_class t ON t.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE NOT i.indisvalid AND c.relkind = 'i' AND starts_with(t.relname, 'onrecord_')
        AND n.nspname = coalesce(CAST(:schema AS TEXT), current_schema())
    ORDER BY c.relname LIMIT 5"""


class Product(NamedTuple):
    """Which database it is."""

    name: str
    version: str


class Risk(Enum):
    """What a setting puts at risk."""

    DATABASE = "a crash of the machine may leave a database that cannot be read"
    PAGES = "a crash may leave a page that is half old and half new"
    LATE = "a crash of the server loses the newest commits"
    POWER = "a loss of power loses the newest commits"
    VACUUM = "rows that were removed are never cleaned up"
    STANDBY = "it is a standby: it takes no writes"
    READ_ONLY = "transactions are read-only by default"
    CHECKSUMS = "it has met pages that are damaged"
    NO_WAL = "it is not in WAL mode"


class Connections(NamedTuple):
    """How many connections a limit allows, and how many there are."""

    whose: str
    most: int
    used: int


class HeldOpen(NamedTuple):
    """A transaction that has not ended for long."""

    who: str
    idle: bool
    seconds: int
    prepared: bool = False


class Slot(NamedTuple):
    """A replication slot, and how many bytes of the log are kept for it."""

    name: str
    active: bool
    bytes: int


class HeldBack(NamedTuple):
    """What holds old rows, or the log of a server, back."""

    transactions: list[HeldOpen]
    slots: list[Slot]
    """Those that keep the most of the log."""
    hidden: int
    """How many connections there are of which this role is not shown what they do."""


class BrokenIndex(NamedTuple):
    """An index that no read can use."""

    name: str
    """With its schema."""
    table: str
    in_work: bool
    """Whether somebody builds it at this moment."""


class Log(NamedTuple):
    """The write-ahead log of a file, in bytes."""

    waiting: int
    """Those that are not in the file yet."""


def product(txn: Transaction) -> Product:
    """Which database it is, and its version."""
    return Product(_PRODUCT[txn.kind], str(_one(txn, _VERSION[txn.kind])[0]).split(" ")[0])


def clock(txn: Transaction) -> int | None:
    """What time a server has; None where there is no other clock than that of its processes."""
    return None if txn.can.pulse else int(_one(txn, _CLOCK)[0])


def risks(txn: Transaction) -> list[Risk]:
    """What its settings put at risk."""
    if txn.kind == "sqlite":
        return _risks_of_sqlite(txn.cursor)
    fsync, pages, late, vacuum, standby, read_only, checksums = _one(txn, _SETTINGS)
    found = {
        Risk.DATABASE: fsync,
        Risk.PAGES: pages and not fsync,
        Risk.LATE: late,
        Risk.VACUUM: vacuum,
        Risk.STANDBY: standby,
        Risk.READ_ONLY: read_only and not standby,
        Risk.CHECKSUMS: checksums,
    }
    return [risk for risk, is_there in found.items() if is_there]


def _risks_of_sqlite(cursor: Any) -> list[Risk]:
    if not cursor.execute("PRAGMA database_list").fetchone()[2]:
        return []  # in memory
    found = []
    cursor.execute("PRAGMA data_version").fetchone()  # a mode that others changed is noticed now
    synchronous = cursor.execute("PRAGMA synchronous").fetchone()[0]
    if synchronous == 0:
        found.append(Risk.DATABASE)
    elif synchronous == 1:
        found.append(Risk.POWER)
    if cursor.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        found.append(Risk.NO_WAL)
    return found


def connections(txn: Transaction) -> list[Connections]:
    """The limits of the server, of the database and of the role; none where there are none."""
    if txn.kind == "sqlite":
        return []
    most, used, of_database, used_there, of_role, used_by_role = _one(txn, _CONNECTIONS)
    found = [
        Connections("the server", most, used),
        Connections("the database", of_database, used_there),
        Connections("the role", -1 if of_role is None else of_role, used_by_role),
    ]
    return [limit for limit in found if limit.most >= 0]


def held_back(txn: Transaction, seconds: float) -> HeldBack | None:
    """What has held old rows, or the log, back for so many seconds; None where nothing can."""
    if txn.can.one_moment_transactions:
        return None
    values = {"seconds": seconds}
    found = [
        HeldOpen(f"Process {pid} of {user or 'nobody'} ({program or 'no name'})", idle, age)
        for pid, user, program, idle, age in txn.rows(_TRANSACTIONS, values)
    ]
    found += [
        HeldOpen(f"The prepared transaction {gid!r}", idle=True, seconds=age, prepared=True)
        for gid, age in txn.rows(_PREPARED, values)
    ]
    slots = [Slot(name, active, int(kept or 0)) for name, active, kept in txn.rows(_SLOTS, {})]
    return HeldBack(found, slots, int(_one(txn, _HIDDEN)[0]))


def log(txn: Transaction) -> Log | None:
    """The write-ahead log of a file; None where it cannot be seen, or is a server's."""
    if txn.kind != "sqlite":
        return None
    if not (txn.cursor.execute("PRAGMA database_list").fetchone()[2]):
        return None
    seen = log_of(txn.cursor)
    if seen is None:
        return None
    page = txn.cursor.execute("PRAGMA page_size").fetchone()[0]
    return Log((seen.frames - seen.folded) * page)


def free_inside(txn: Transaction) -> tuple[int, int]:
    """How many bytes of a file are free inside it, of how many; 0 of 0 of a server."""
    if txn.kind != "sqlite":
        return 0, 0
    pragmas = ("freelist_count", "page_count", "page_size")
    free, pages, size = (
        int(txn.cursor.execute(f"PRAGMA {pragma}").fetchone()[0]) for pragma in pragmas
    )
    return free * size, pages * size


def dead(txn: Transaction, least: int) -> list[tuple[str, int, int]]:
    """Tables with more rows that were removed than rows, and so many at the least."""
    if txn.kind == "sqlite":
        return []
    found = txn.rows(_DEAD, {"schema": txn.schema, "least": least})
    return [(table, int(live), int(gone)) for table, live, gone in found]


def broken_indexes(txn: Transaction) -> list[BrokenIndex]:
    """Indexes of our tables that no read can use."""
    if txn.kind == "sqlite":
        return []
    return [BrokenIndex(*row) for row in txn.rows(_BROKEN, {"schema": txn.schema})]


def refused(txn: Transaction) -> dict[str, list[str]]:
    """What this role may not do with our tables, by what it may not do."""
    if txn.kind == "sqlite":
        return {}
    found: dict[str, list[str]] = {}
    for table, *may in txn.rows(_REFUSED, {"schema": txn.schema}):
        for privilege, has in zip(_NEEDED, may, strict=True):
            if not has:
                found.setdefault(privilege, []).append(table)
    return found


def may_make_tables(txn: Transaction) -> bool:
    """Whether this role may make the tables."""
    if txn.kind == "sqlite":
        return True
    return bool(_one(txn, _MAY_MAKE, {"schema": txn.schema})[0])


def damage(txn: Transaction) -> str | None:
    """What is wrong with how a file is put together; None where nothing is, or it is a server's."""
    if txn.kind != "sqlite":
        return None
    (said,) = txn.cursor.execute("PRAGMA quick_check(1)").fetchone()
    return None if said == "ok" else str(said)


def _one(txn: Transaction, statement: str, values: dict[str, object] | None = None) -> Any:
    found = txn.first(statement, values or {})
    assert found is not None, "it always answers"
    return found
