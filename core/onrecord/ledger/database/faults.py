"""What a driver's error means for the caller: an Onrecord error that says what to do next."""

from __future__ import annotations

import re
import sqlite3
from typing import Final

from onrecord.errors import Damaged, Misconfigured, OnrecordError, Unavailable
from onrecord.ledger.database.address import Address
from onrecord.ledger.database.pool import NoFreeConnection


def explain(fault: Exception, address: Address, *, unknown: bool = False) -> OnrecordError | None:
    """The error to raise ``from fault``, or None for what is not the database's doing."""
    if isinstance(fault, OnrecordError):
        return fault
    original = original_of(fault)
    if isinstance(original, sqlite3.Error):
        return _sqlite(original, address, unknown)
    if isinstance(original, NoFreeConnection) or _of_sqlalchemy(original, "TimeoutError"):
        return Unavailable(
            f"All connections to {address} were in use for too long. Raise pool_size=, or look "
            f"for work that holds them."
        )
    if type(original).__module__.partition(".")[0] == "psycopg":
        return _postgres(original, address, unknown)  # type: ignore[arg-type]
    return None


def original_of(fault: BaseException) -> BaseException:
    """The driver's own error, where SQLAlchemy has put one of its own around it."""
    wrapped = getattr(fault, "orig", None) if _of_sqlalchemy(fault, "DBAPIError") else None
    return wrapped if isinstance(wrapped, BaseException) else fault


def _of_sqlalchemy(fault: BaseException, name: str) -> bool:
    """Whether it is an error of SQLAlchemy's: only a caller's engine raises them, and has loaded
    it."""
    return any(
        cls.__name__ == name and cls.__module__ == "sqlalchemy.exc" for cls in type(fault).__mro__
    )


def lost_connection(fault: BaseException) -> bool:
    """Whether the connection is gone, as opposed to a statement having failed on it."""
    original = original_of(fault)
    if type(original).__module__.partition(".")[0] != "psycopg":
        return False
    state = getattr(original, "sqlstate", None)
    if state is None:  # libpq or psycopg noticed, not the server
        names = {cls.__name__ for cls in type(original).__mro__}
        # InternalError: a COMMIT had two answers, such as its own, and a pooler's that the server
        # has crashed. DatabaseError itself: what came was no answer at all.
        return type(original).__name__ == "DatabaseError" or not names.isdisjoint(
            {"OperationalError", "InterfaceError", "InternalError"}
        )
    # 08: connection exceptions; 57P01-57P03: the server is shutting down or starting.
    return str(state).startswith("08") or state in {"57P01", "57P02", "57P03", *_HUNG_UP}


def said_by_server(fault: BaseException) -> bool:
    """Whether a server named the fault: who only noticed that it is gone has no code for it."""
    return getattr(original_of(fault), "sqlstate", None) is not None


def did_nothing(fault: BaseException) -> bool:
    """Whether a statement, other than a COMMIT, was refused because nobody was there to do it: a
    standby takes no writes, a server that starts or stops takes nothing, and a pooler may have no
    server. Or the server ended the connection before the statement was done, and undid it."""
    original = original_of(fault)
    if type(original).__module__.partition(".")[0] != "psycopg":
        return False
    state = getattr(original, "sqlstate", None)
    return (
        state in _NOBODY_THERE
        or _POOLER_ALONE.search(str(original)) is not None
        or was_interrupted(original)
    )


def was_interrupted(fault: BaseException) -> bool:
    """Whether the server itself ended the connection where a statement can be interrupted, as it
    does when it shuts down: what it was doing is undone.

    Once a statement without BEGIN has committed, or a COMMIT as a simple query, a server that is
    told to stop answers first, or says nothing more (a commit that waits for a standby warns, and
    hangs up). A pooler, which may say the same at any time, does not name the function.
    """
    diagnosis = getattr(original_of(fault), "diag", None)
    return (
        getattr(diagnosis, "sqlstate", None) == "57P01"
        and getattr(diagnosis, "severity_nonlocalized", None) == "FATAL"
        and getattr(diagnosis, "source_function", None) == "ProcessInterrupts"
    )


def may_connect_later(fault: BaseException) -> bool:
    """Whether a connection could not be made for a reason that may pass: not a wrong password."""
    return did_nothing(fault) or (
        lost_connection(fault) and _IS_WRONG.search(str(original_of(fault))) is None
    )


class TookTooLong(Exception):
    """A look at a database took longer than it was given. Nothing else is wrong with it."""


def took_too_long(fault: BaseException) -> bool:
    """Whether a statement was ended because its time was over."""
    original = original_of(fault.__cause__ or fault)
    interrupted = getattr(original, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT
    return interrupted or getattr(original, "sqlstate", None) == "57014"


def id_is_taken(fault: BaseException) -> bool:
    """Whether a statement failed because the session knows a message id already."""
    return _violates(fault, "onrecord_tail_by_id", "(session, id, shard)")


def undid_itself(fault: BaseException) -> bool:
    """Whether a statement undid itself, because only one of the two things that it had to do
    could be done: it divides by how often the second was."""
    return getattr(getattr(fault, "diag", None), "sqlstate", None) == "22012"


def checkpoint_is_there(fault: BaseException) -> bool:
    """Whether a statement failed because the namespace has a checkpoint of this id already."""
    return _violates(fault, "onrecord_checkpoints_by_id", "(list, id, shard)")


def _violates(fault: BaseException, index: str, columns: str) -> bool:
    """Whether a unique index refused it. Partitions have indexes of other names, over the same
    columns; and where row security is on, the server does not say which columns."""
    diagnosis = getattr(fault, "diag", None)
    if getattr(diagnosis, "sqlstate", None) != "23505":
        return False
    named: str = getattr(diagnosis, "constraint_name", None) or ""
    return named == index or columns in (getattr(diagnosis, "message_detail", None) or "")


def _sqlite(fault: sqlite3.Error, address: Address, unknown: bool) -> OnrecordError | None:
    code = getattr(fault, "sqlite_errorcode", 0) & 0xFF  # the primary result code
    file = address.url.database or ":memory:"
    match code:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return Unavailable(
                f"{file} is locked by another process for longer than the timeout. Nothing was "
                f"written. Look for a program that keeps a transaction open, or raise timeout=."
            )
        case sqlite3.SQLITE_READONLY:
            return Misconfigured(
                f"{file} cannot be written to: the file, its folder or the disk is read-only. "
                f"Nothing was written. Give this user write permission to both: SQLite keeps two "
                f"more files beside it, also for those who only read."
            )
        case sqlite3.SQLITE_PERM | sqlite3.SQLITE_CANTOPEN:
            return Misconfigured(
                f"{file} cannot be opened. Check that its folder exists and that this user may "
                f"read and write there (SQLite keeps two more files beside it)."
            )
        case sqlite3.SQLITE_FULL:
            return Unavailable(
                f"The disk that holds {file} is full. Nothing was written. Free some space and "
                f"append again."
            )
        case sqlite3.SQLITE_IOERR:
            return Unavailable(
                f"The disk that holds {file} failed or is full ({fault}). Check it, then append "
                f"again with the same ids.",
                unknown,
            )
        case sqlite3.SQLITE_CORRUPT:
            return Damaged(
                f"{file} is damaged ({fault}). Stop writing to it, copy it, and restore a backup "
                f"or run sqlite3's .recover."
            )
        case sqlite3.SQLITE_NOTADB:
            return Misconfigured(
                f"{file} is not a SQLite database. Choose another file name, or move it away."
            )
        case sqlite3.SQLITE_ERROR if "no such table" in str(fault):
            return Misconfigured(
                f"{file} has no Onrecord tables ({fault}): it was emptied or replaced while it "
                f"was open. Run store.migrate(), or open a new store."
            )
    if code in (0, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_MISUSE, sqlite3.SQLITE_CONSTRAINT):
        return None  # a fault of ours, better seen as it is
    return Unavailable(f"SQLite could not use {file}: {fault}.", unknown)


def _postgres(fault: Exception, address: Address, unknown: bool) -> OnrecordError | None:
    state = getattr(fault, "sqlstate", None) or ""
    text = re.sub(r"\s*\n\s*", ": ", str(fault).strip()).rstrip("?.: ")
    if _POOLER_ALONE.search(text):
        return Unavailable(
            f"The pooler at {address} has no server ({text}). Nothing was written. Check the "
            f"server behind it; how soon the pooler tries again is its own setting."
        )
    match state:
        case "40001" if "conflict with recovery" in text:
            return Unavailable(
                f"{address} is a standby, and gave this read up for rows that were cleaned up "
                f"since ({text}). Read again; or raise its max_standby_streaming_delay, or set "
                f"hot_standby_feedback."
            )
        case "40001" | "40P01":
            return Unavailable(
                f"{address} gave this up in favour of another writer ({text}). Nothing was "
                f"written. Append again."
            )
        case _ if state in _HUNG_UP:
            return Unavailable(
                f"{address} ended the connection, because the program held a transaction open, or "
                f"was silent, for longer than the server allows ({text}). Nothing was written. "
                f"Append again; and look for what stops this program for so long."
            )
        case "57014" | "55P03":
            return Unavailable(
                f"{address} did not finish in time: a row was locked by someone else, or the "
                f"server is overloaded. Nothing was written. Append again, or raise timeout=."
            )
        case "25006":
            return Unavailable(
                f"{address} takes no writes: it is a standby, or was told to be read-only "
                f"({text}). Nothing was written. Name all servers, host1,host2, and the one that "
                f"takes writes is found."
            )
        case "42501":
            return Misconfigured(
                f"{address} does not let this user do that: {text}. Grant it, or run "
                f"store.migrate() with the owner's role and open with migrate=False."
            )
        case "42939" | "42602" | "42622":
            return Misconfigured(f"{address} does not take this name for a schema: {text}.")
        case "3D000":
            return Misconfigured(f"{address}: the database does not exist. Create it first.")
        case "42P01" | "3F000":
            return Misconfigured(
                f"{address} has no Onrecord tables where they were expected: {text}. "
                f"Run store.migrate(), and check schema=."
            )
        case "23505" if not id_is_taken(fault):
            return Damaged(
                f"{address} gives out numbers that are taken ({text}), as a database does whose "
                f"sequences were restored to an earlier state than its tables. Nothing was "
                f"written. Set them anew: setval() with the highest id of each table."
            )
        case "22003":
            return Damaged(
                f"{address} has a number that has no next one ({text}): it is not what was "
                f"written. Nothing was changed. Run store.verify(), which names its row."
            )
        case "XX001" | "XX002":
            return Damaged(
                f"{address} has files that are damaged ({text}). Nothing was written. Stop "
                f"writing to it, copy it, and restore a backup; an index alone is made anew by "
                f"REINDEX."
            )
        case "53100" | "53200":
            return Unavailable(f"{address} has no space left: {text}. Nothing was written.")
        case "53300":
            return Unavailable(
                f"{address} takes no more connections now: {text}. Nothing was written."
            )
        case "57P03":
            return Unavailable(
                f"{address} is starting or shutting down: {text}. Nothing was written."
            )
    if state.startswith(_ITS_OWN_FAULT):
        return Unavailable(
            f"{address} failed by itself: {text}. Nothing was written. Its log says more; append "
            f"again once that is mended."
        )
    if not state and _STARTS_OR_STOPS.search(text):
        return Unavailable(f"{address} is starting or shutting down: {text}. Nothing was written.")
    if not state and _STANDBY.search(text):
        return Unavailable(
            f"No server of {address} takes writes now: {text}. Nothing was written. Check which of "
            f"them is to be the primary."
        )
    if state.startswith("28") or _REFUSED.search(text):
        return Misconfigured(
            f"{address} refused this user or password, or an option of the URL: {text}."
        )
    if _UNTRUSTED.search(text):
        return Misconfigured(
            f"{address} shows a certificate that is not trusted: {text}. Name the CA that signed "
            f"it as sslrootcert= in the URL, and write the host as the certificate does."
        )
    if _NO_DATABASE.search(text):
        return Misconfigured(f"{address}: the database does not exist. Create it first.")
    if lost_connection(fault):
        outcome = (
            "Whether it was written is not known; append again with the same ids."
            if unknown
            else "Nothing was written."
        )
        return Unavailable(
            f"{address} cannot be reached or went away: {text}. {outcome} Check that it runs, and "
            f"its host and port.",
            unknown,
        )
    return None


_NOBODY_THERE: Final = frozenset({"25006", "53300", "57P03"})
"""A standby's refusal of a write, too many connections, a server that starts or stops: what was
asked for was not begun."""
_ITS_OWN_FAULT: Final = ("53", "58", "XX")
"""Classes of codes for what is neither the statement's fault nor anybody else's: a limit of the
server, a file that it cannot read or write, what it calls an internal error."""
_POOLER_ALONE: Final = re.compile(
    r"server login has been failing|pgbouncer cannot connect to server|query_wait_timeout"
)
"""What PgBouncer says when it has no server, and no statement has reached any."""
_HUNG_UP: Final = frozenset({"25P03", "25P04", "57P05"})
"""Timeouts by which the server ends a connection: what was open on it is rolled back, and what
was sent too late is never read."""

# The server's messages at connecting carry no code that psycopg passes on.
_REFUSED: Final = re.compile(
    r"password authentication failed|no password supplied|pg_hba\.conf"
    r'|role ".*" does not exist|role ".*" is not permitted to log in|does not support SSL'
)
_UNTRUSTED: Final = re.compile(
    r"certificate verify failed|root certificate file"
    r"|server certificate for .* does not match host name"
)
_NO_DATABASE: Final = re.compile(r'FATAL:\s+database ".*" does not exist')
_STARTS_OR_STOPS: Final = re.compile(
    r"the database system is (?:starting up|shutting down|in recovery mode|not (?:yet )?accepting)"
)
_STANDBY: Final = re.compile(r"session is read-only|server is in hot standby mode")
# What another attempt does not mend. OpenSSL's words, libpq's, and the server's.
_IS_WRONG: Final = re.compile(
    f"{_REFUSED.pattern}|{_NO_DATABASE.pattern}|certificate|root\\.crt|SSL error|invalid "
)
