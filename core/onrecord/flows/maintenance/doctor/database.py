"""The database server, or SQLite: what it says of itself."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Final

from onrecord.diagnosis import Finding, Severity
from onrecord.flow import Flow
from onrecord.flows.maintenance.doctor.rounds import (
    Examined,
    Rounds,
    duration,
    finding,
    numbers,
    size,
)
from onrecord.ledger.database.transaction import Transaction, ping
from onrecord.ledger.maintenance import sampling, server
from onrecord.ledger.maintenance.server import Product, Risk
from onrecord.stored.clock import MICROSECONDS

_OLDEST: Final[dict[str, tuple[str, Severity, str]]] = {
    "SQLite": (
        "3.35",
        "error",
        "Writes of items need RETURNING. Use a Python that was built with a later SQLite.",
    ),
    "PostgreSQL": (
        "15",
        "warning",
        "Onrecord is tested with 15 and later. Upgrade the server when you can.",
    ),
}
_WAL_RESET_MENDED: Final = ((3, 51, 3), (3, 50, 7), (3, 44, 6))
"""In which versions of SQLite a log that is begun anew can damage nothing: from the first on, and
in the others' own series."""

OLD_TRANSACTION: Final = 60.0
"""Seconds. No transaction of ours takes as long but for maintenance."""
MUCH_FOR_A_SLOT: Final = 64 * 2**20
LARGE_LOG: Final = 16 * 2**20
"""Four times as much as is written before SQLite folds the log back into the file."""
_MUCH_INSIDE: Final = 64 * 2**20
_MANY_DEAD: Final = 10_000
SKEW: Final = 5 * MICROSECONDS
_MOST_SKEW: Final = 60 * MICROSECONDS
"""What clocks may differ by without an append that was repeated being stored twice."""

_RISKS: Final[dict[Risk, tuple[Severity, str, str]]] = {
    Risk.DATABASE: (
        "error",
        "The database does not wait for its disk (fsync is off): after a crash of the machine it "
        "may be damaged as a whole.",
        "Switch it on: fsync = on in postgresql.conf. Off is for tests that throw the data away.",
    ),
    Risk.PAGES: (
        "error",
        "full_page_writes is off: a crash of the machine in the middle of a page damages it.",
        "Switch it on in postgresql.conf, unless the file system writes whole pages by itself.",
    ),
    Risk.LATE: (
        "warning",
        "synchronous_commit is off: when the server crashes the newest appends are lost, though "
        "they were acknowledged. A cache may show them for a while.",
        "Switch it on: ALTER DATABASE … SET synchronous_commit = on, or ALTER ROLE …; it may be "
        "set in postgresql.conf as well.",
    ),
    Risk.POWER: (
        "note",
        "durability='normal': a loss of power, or a crash of the machine, loses the newest "
        "appends. A crash of the process loses none.",
        "Leave durability= out where that matters. An append then waits for the disk.",
    ),
    Risk.VACUUM: (
        "warning",
        "autovacuum is off: rows that were replaced or removed stay, tables grow, and in the end "
        "the server stops taking writes.",
        "Switch it on in postgresql.conf.",
    ),
    Risk.STANDBY: (
        "error",
        "The server is a standby: it takes no writes, and what it shows is late.",
        "Give the store the address of the primary. In a URL with several hosts: "
        "target_session_attrs=read-write.",
    ),
    Risk.READ_ONLY: (
        "error",
        "default_transaction_read_only is on: nothing can be written.",
        "Switch it off for this role or database: ALTER ROLE … RESET "
        "default_transaction_read_only.",
    ),
    Risk.CHECKSUMS: (
        "error",
        "The server has read pages of this database whose checksum is wrong: a disk is failing.",
        "Look into its log for which, run verify(), and restore what is damaged from a backup.",
    ),
    Risk.NO_WAL: (
        "note",
        "The file is not in WAL mode. The first append puts it there.",
        "Nothing has to be done. If it stays so, a program keeps the file locked, or its file "
        "system has no shared memory.",
    ),
}


def database(rounds: Rounds) -> Flow[Iterable[Finding]]:
    """Ask the least there is to ask."""
    yield from rounds.look(ping)
    return ()


def versions(rounds: Rounds, examined: Examined) -> Flow[Iterable[Finding]]:
    """Judge the version of the database."""
    return _versions((yield from rounds.look(server.product)), examined)


def _versions(found: Product, examined: Examined) -> Iterable[Finding]:
    oldest, severity, why = _OLDEST[found.name]
    version = numbers(found.version)
    if version < numbers(oldest):
        yield finding("versions", severity, f"This is {found.name} {found.version}.", why)
    elif examined.file is not None and not _is_mended(version):
        yield finding(
            "versions",
            "note",
            f"{found.name} {found.version} has a fault that may damage a file in WAL mode, where "
            f"two connections fold the log back, and a third writes, in the same instant. It is "
            f"very rare.",
            "Use a Python with 3.51.3 or later (or 3.50.7, 3.44.6) when there is one, above all "
            "where several processes write.",
        )


def _is_mended(version: tuple[int, ...]) -> bool:
    return version >= _WAL_RESET_MENDED[0] or any(
        version[:2] == mended[:2] and version >= mended for mended in _WAL_RESET_MENDED[1:]
    )


def durability(rounds: Rounds) -> Flow[Iterable[Finding]]:
    """Judge the settings."""
    found = yield from rounds.look(server.risks)
    return [
        finding("room" if risk is Risk.VACUUM else "durability", *_RISKS[risk]) for risk in found
    ]


def connections(rounds: Rounds, examined: Examined) -> Flow[Iterable[Finding] | None]:
    """Judge whether the pool finds room."""
    limits = yield from rounds.look(server.connections)
    if not limits:
        return None
    size = examined.pool_size
    found = []
    ours = max(examined.connections, 1)  # who asks has one by now
    for limit in limits:
        others = max(limit.used - ours, 0)
        said = (
            f"pool_size={size}, and {limit.whose} allows {limit.most} connections, of which "
            f"others have {others}."
        )
        if size > limit.most:
            advice = (
                f"Set pool_size to less than {limit.most}, divided by the number of processes; or "
                f"raise the limit, or put a pooler in between."
            )
            found.append(
                finding("connections", "error", f"{said} So many can never be open.", advice)
            )
        elif size > limit.most - others:
            advice = (
                "Count the processes that use the database, with their pools; lower pool_size, "
                "raise the limit, or put a pooler in between. Who finds no room waits, and then "
                "fails with Unavailable."
            )
            found.append(finding("connections", "warning", said, advice))
    return found


def transactions(rounds: Rounds) -> Flow[Iterable[Finding] | None]:
    """Look for what holds old rows, or the server's log, back."""

    work = partial(server.held_back, seconds=OLD_TRANSACTION)
    found = yield from rounds.look(work)
    return None if found is None else _transactions(found)


def _transactions(found: server.HeldBack) -> Iterable[Finding]:
    for one in found.transactions:
        does = "does nothing in a transaction" if one.idle else "has been in a transaction"
        said = f"{one.who} {does} that began {duration(one.seconds)} ago."
        ends = (
            "COMMIT PREPARED or ROLLBACK PREPARED it"
            if one.prepared
            else "End it (pg_terminate_backend), and set idle_in_transaction_session_timeout"
        )
        yield finding(
            "transactions",
            "warning",
            f"{said} Until it ends, no row that was removed since is cleaned up.",
            f"{ends}.",
        )
    for slot in found.slots:
        if slot.bytes < MUCH_FOR_A_SLOT:
            continue
        reads = "is read too slowly" if slot.active else "has no reader"
        yield finding(
            "transactions",
            "warning",
            f"The replication slot {slot.name!r} {reads}: the server keeps {size(slot.bytes)} of "
            f"its log for it, and more until its disk is full.",
            f"Bring its reader back, or drop it: SELECT pg_drop_replication_slot('{slot.name}').",
        )
    if found.hidden:
        yield finding(
            "transactions",
            "note",
            f"Of {found.hidden} connections of other roles this one is not shown what they do.",
            "To have them looked at as well: GRANT pg_read_all_stats TO this role.",
        )


def log(rounds: Rounds, log_size: int) -> Flow[Iterable[Finding] | None]:
    """Look how much of a file's log waits to be folded back."""
    found = yield from rounds.look(server.log)
    return None if found is None else _log(found.waiting, log_size)


def _log(waiting: int, log_size: int) -> Iterable[Finding]:
    if waiting >= LARGE_LOG:
        yield finding(
            "log",
            "warning",
            f"{size(waiting)} of the write-ahead log are not folded back into the file, because "
            f"somebody has read for as long. It grows until they end, and reads get slower.",
            "Look for a program that keeps a transaction or a cursor open on the file, or for a "
            "process that stands still, and end it.",
        )
    elif log_size >= 4 * LARGE_LOG:
        yield finding(
            "log",
            "note",
            f"The write-ahead log has {size(log_size)} on the disk, of which nearly all is free.",
            "compact() gives it back, and so does the last process that closes the file.",
        )


def clock(rounds: Rounds) -> Flow[Iterable[Finding]]:
    """Compare the clocks, and look for times that have not come."""

    def work(txn: Transaction) -> tuple[int, int | None, int]:
        return rounds.clock(), server.clock(txn), rounds.clock()

    before, theirs, after = yield from rounds.look(work)
    return [] if theirs is None else list(_clocks("clock", before, theirs, after))


def _clocks(check: str, before: int, theirs: int, after: int) -> Iterable[Finding]:
    apart = skew(before, theirs, after)
    if abs(apart) < SKEW:
        return
    behind = "behind" if apart > 0 else "ahead of"
    much = abs(apart) >= _MOST_SKEW
    yield finding(
        check,
        "error" if much else "warning",
        f"This machine's clock is {duration(abs(apart) / MICROSECONDS)} {behind} the database "
        f"server's. Messages are dated by this clock, and items and turns end by the server's"
        + (": an append whose answer was lost may be stored twice." if much else "."),
        "Have both set by NTP (chrony, systemd-timesyncd).",
    )


def skew(before: int, theirs: int, after: int) -> int:
    """By how much another clock is ahead of ours, as far as is certain: it was read between two
    readings of ours."""
    if theirs < before:
        return theirs - before
    return max(theirs - after, 0)


def times(rounds: Rounds) -> Flow[Iterable[Finding]]:
    """Look for sessions that were last active in the future."""
    latest = yield from rounds.look(sampling.last_activity)
    ahead = 0 if latest is None else (latest - rounds.clock()) // MICROSECONDS
    if ahead * MICROSECONDS < _MOST_SKEW:
        return []
    return [
        finding(
            "clock",
            "warning",
            f"A session was last active {duration(ahead)} from now: the clock of whoever wrote to "
            f"it was ahead, or this one is behind. It stands before all others in lists, and "
            f"expires later.",
            "Have the clocks of all machines set by NTP.",
        )
    ]


def grants(rounds: Rounds) -> Flow[Iterable[Finding]]:
    """Look what this role may not do with our tables."""
    refused = yield from rounds.look(server.refused)
    return _grants(refused)


def _grants(refused: dict[str, list[str]]) -> Iterable[Finding]:
    for privilege, tables in refused.items():
        shown = ", ".join(tables[:3]) + (f" and {len(tables) - 3} more" if len(tables) > 3 else "")
        reads = privilege == "SELECT"
        yield finding(
            "permissions",
            "error" if reads else "warning",
            f"This role may not {privilege} in {shown}.",
            f"GRANT {privilege} ON ALL TABLES IN SCHEMA … TO this role, as the owner of the "
            f"tables{'' if reads else ', unless this store only reads'}.",
        )


def room(rounds: Rounds) -> Flow[Iterable[Finding]]:
    """Look for room that nobody has given back."""
    free, whole = yield from rounds.look(server.free_inside)
    dead = yield from rounds.look(partial(server.dead, least=_MANY_DEAD))
    return _room(free, whole, dead)


def _room(free: int, whole: int, dead: list[tuple[str, int, int]]) -> Iterable[Finding]:
    if free >= _MUCH_INSIDE and free >= whole / 4:
        yield finding(
            "room",
            "note",
            f"{size(free)} of the {size(whole)} of the file are free inside it.",
            "compact() gives them back to the disk.",
        )
    for table, live, gone in dead:
        yield finding(
            "room",
            "warning",
            f"{table} has {live:,} rows, and {gone:,} more that were removed or replaced.",
            "Look why autovacuum does not come, or comes too late; compact() vacuums our tables.",
        )
