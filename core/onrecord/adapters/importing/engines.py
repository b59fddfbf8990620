"""Open the databases that are imported from, and explain what went wrong with them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import sqlalchemy
from sqlalchemy import URL, Engine
from sqlalchemy import exc as faults

from onrecord.errors import Misconfigured, OnrecordError, Unavailable

WAIT: Final = 10
"""Seconds to wait for a server."""

_SYNC: Final[Mapping[str, str]] = {
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "postgresql+asyncpg": "postgresql+psycopg",
    "postgresql+psycopg_async": "postgresql+psycopg",
    "sqlite+aiosqlite": "sqlite",
    "mysql+aiomysql": "mysql+pymysql",
    "mysql+asyncmy": "mysql+pymysql",
    "mariadb+aiomysql": "mariadb+pymysql",
    "mariadb+asyncmy": "mariadb+pymysql",
}
"""Drivers that people have in their settings, and the sync one for the same database."""


class Opened(NamedTuple):
    """An engine to read with."""

    engine: Engine
    owned: bool
    """Whether it is ours to close."""


def opened(source: object) -> Opened:
    """Make an engine of a URL, a path or an engine. Connects to nothing."""
    if isinstance(source, Engine):
        return Opened(source, False)
    if hasattr(source, "sync_engine"):
        raise Misconfigured(
            "An AsyncEngine belongs to one event loop, and an import reads in a thread. Pass its "
            "URL instead: engine.url."
        )
    if isinstance(source, os.PathLike):
        source = URL.create("sqlite", database=os.fspath(source))
    if not isinstance(source, str | URL):
        raise Misconfigured(
            f"source has to be the URL of a database or a SQLAlchemy Engine, not a "
            f"{type(source).__name__}."
        )
    try:
        url = sqlalchemy.make_url(source)
    except (faults.ArgumentError, ValueError):  # what it quotes may hold a password
        raise Misconfigured(
            "The source's URL cannot be read. For a SQLite file write sqlite:///chat.db, or hand "
            "over a Path; else postgresql://user:password@host/database, special characters in a "
            "password percent-encoded."
        ) from None
    query = dict(url.query)
    if url.drivername == "postgresql+asyncpg" and "ssl" in query:
        query["sslmode"] = query.pop("ssl")
    url = url.set(drivername=_SYNC.get(url.drivername, url.drivername), query=query)
    settings: dict[str, Any] = {}
    if url.drivername == "postgresql+psycopg":
        settings["connect_args"] = {"prepare_threshold": None}  # poolers in between take none
        if "connect_timeout" not in query:
            settings["connect_args"]["connect_timeout"] = WAIT
    if url.get_backend_name() == "sqlite":
        _refuse_new_file(url.database or ":memory:")
    try:
        return Opened(sqlalchemy.create_engine(url, **settings), True)
    except faults.NoSuchModuleError as fault:
        raise Misconfigured(f"SQLAlchemy knows no database {url.drivername!r}.") from fault
    except ImportError as fault:
        raise Misconfigured(
            f"Reading {shown(url)} needs a driver that is not installed: {fault}. For PostgreSQL "
            f'pip install "onrecord[postgres]".'
        ) from fault


def _refuse_new_file(file: str) -> None:
    if file == ":memory:":
        raise Misconfigured(
            "A SQLite database in memory is empty for everybody but the engine that made it. "
            "Pass that engine as source."
        )
    if not file.startswith("file:") and not os.path.exists(file):
        raise Misconfigured(
            f"There is no file {os.path.abspath(file)}. SQLite would make an empty one. Check the "
            f"path: sqlite:///relative.db, sqlite:////absolute.db."
        )


def opened_postgres(source: object, otherwise: str) -> Opened:
    """Like ``opened``, for what only PostgreSQL holds; ``otherwise`` says what reads the rest."""
    if hasattr(source, "pgconn"):
        raise Misconfigured(
            "An import does not read through a connection of psycopg, for it would end a "
            "transaction that you have open on it. Pass the URL that you connected with."
        )
    found = opened(source)
    if found.engine.dialect.name != "postgresql":
        raise Misconfigured(
            f"import_postgres reads PostgreSQL, and {shown(found.engine.url)} is not. {otherwise}"
        )
    return found


def shown(url: URL) -> str:
    """Name a database in an error, without its options: passwords may stand there, too."""
    url = url.set(drivername=url.get_backend_name(), query={})
    return url.render_as_string(hide_password=True)


def explained(fault: faults.SQLAlchemyError, where: str, table: str) -> OnrecordError:
    """Turn what a driver raised into one of our errors."""
    original = getattr(fault, "orig", None) or fault
    text = " ".join(str(original).split()).rstrip(". ")
    state = getattr(original, "sqlstate", None)
    if state == "42501":
        return Misconfigured(
            f"{where} does not let this user read {table}: {text}. Grant it SELECT on the table."
        )
    missing = ("no password supplied", "does not exist", "unable to open", "Access denied")
    if "authentication failed" in text or any(sign in text for sign in missing):
        return Misconfigured(
            f"{where} cannot be opened: {text}. Check the address, the user and the password."
        )
    if isinstance(fault, faults.OperationalError | faults.TimeoutError | faults.InterfaceError):
        return Unavailable(
            f"{where} cannot be read now: {text}. What was brought so far is kept: import again "
            f"when it answers."
        )
    return Misconfigured(
        f"{where} cannot be read as a history: {text}. Check the URL, table= and the names of "
        f"the columns."
    )
