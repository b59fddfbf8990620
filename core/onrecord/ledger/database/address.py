"""Database URLs as people write them, and as they may be shown."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Final, Literal

from onrecord.errors import Misconfigured
from onrecord.ledger.database.url import Host, Url, host_of, url_of

Kind = Literal["sqlite", "postgresql"]

_DRIVERS: Final[dict[Kind, str]] = {"sqlite": "pysqlite", "postgresql": "psycopg"}
# Other drivers for the same databases: what people have in their settings works here as well.
_REPLACED: Final = {"aiosqlite", "asyncpg", "psycopg2", "psycopg2cffi", "psycopg_async", "pg8000"}


@dataclass(frozen=True, slots=True)
class Address:
    """Where the database is."""

    kind: Kind
    url: Url

    def __str__(self) -> str:
        # Without the options: passwords may stand there, too.
        return self.url.set(drivername=self.kind, query={}).render_as_string(hide_password=True)

    @property
    def in_memory(self) -> bool:
        """Whether it is a SQLite database that lives in this process only."""
        database = self.url.database
        return self.kind == "sqlite" and (
            not database or database == ":memory:" or self.url.query.get("mode") == "memory"
        )


def address_of(url: str | os.PathLike[str]) -> Address:
    """Read a URL, put in the driver Onrecord uses, and refuse what it cannot use."""
    if isinstance(url, os.PathLike):
        return Address("sqlite", Url("sqlite+pysqlite", database=_absolute(url)))
    text = str(url)
    if "://" not in text and "=" in text:  # libpq's own form, perhaps with a password
        raise Misconfigured(
            "The database has to be given as a URL: postgresql://user:password@host/database."
        )
    if "://" not in text:
        guess = text.rpartition("/")[2] or "onrecord.db"
        raise Misconfigured(
            f"{text!r} is not a database URL. For a SQLite file write sqlite:///{guess}, or "
            f"sqlite:////… with its whole path, for PostgreSQL postgresql://user@host/database."
        )
    if text.count("@") > 1:
        # What a parser makes of it may show a part of the password as the host.
        raise Misconfigured(
            "The database URL has more than one @. Percent-encode special characters in the "
            "password: @ is %40."
        )
    try:
        parsed = url_of(text)
    except ValueError:
        # Without the cause: what it quotes may hold a password.
        raise Misconfigured(
            "The database URL cannot be read. Write it as postgresql://user:password@host/database"
            " or sqlite:///file.db; special characters in a password have to be percent-encoded."
        ) from None
    name, _, driver = parsed.drivername.partition("+")
    kind: Kind
    match name:
        case "sqlite":
            kind = "sqlite"
        case "postgresql" | "postgres":
            kind = "postgresql"
        case _:
            raise Misconfigured(
                f"Onrecord keeps its messages in SQLite or PostgreSQL, not in {name!r}."
            )
    if driver and driver != _DRIVERS[kind] and driver not in _REPLACED:
        raise Misconfigured(
            f"The driver {driver!r} is not known. Leave it out: {kind}:// uses {_DRIVERS[kind]}."
        )
    query = dict(parsed.query)
    if kind == "sqlite":
        _check_slashes(parsed)
    else:
        _check_whole(parsed)
    if kind == "sqlite" and query and not (parsed.database or "").startswith("file:"):
        raise Misconfigured(
            "A SQLite URL takes no options after ?. In the name of a file write ? as %3F and "
            "# as %23, or pass a pathlib.Path."
        )
    if driver == "asyncpg" and "ssl" in query:  # asyncpg's name for libpq's sslmode
        query["sslmode"] = query.pop("ssl")
    if kind == "postgresql":
        parsed = _with_hosts(parsed, query)
    parsed = parsed.set(drivername=f"{kind}+{_DRIVERS[kind]}", query=query)
    address = Address(kind, parsed)
    file = parsed.database
    if kind == "postgresql" or address.in_memory or file is None or file.startswith("file:"):
        return address
    # Absolute, so that a later chdir cannot make the next connection open another file.
    return Address(kind, parsed.set(database=_absolute(file)))


def _absolute(file: str | os.PathLike[str]) -> str:
    """Like ``os.path.abspath``, without a look at the disk where it is absolute already: stores
    are made on event loops, too."""
    path = os.fspath(file)
    return os.path.normpath(path) if os.path.isabs(path) else os.path.abspath(path)


def _with_hosts(url: Url, query: dict[str, str | tuple[str, ...]]) -> Url:
    """Take the hosts out of the options, where several may stand as SQLAlchemy writes them
    (``host=a:1&host=b:2``) or as libpq does (``host=a,b&port=1,2``)."""
    if url.host or url.hosts or url.port is not None or "host" not in query:
        return url
    given, ports = query["host"], query.get("port", "")
    names = given.split(",") if isinstance(given, str) else list(given)
    if len(names) == 1:
        return url
    said = ports.split(",") if isinstance(ports, str) else list(ports)
    try:
        hosts = [Host(name) if name.startswith(("/", "@")) else host_of(name) for name in names]
        numbers = [int(port) if port else None for port in said]
    except ValueError:
        numbers, hosts = [], []
    if not hosts or len(numbers) not in (1, len(hosts)):
        raise Misconfigured(
            f"The database URL names {len(names)} hosts and {len(said)} ports. Write "
            f"postgresql://user:password@host1:5432,host2:5432/database."
        )
    numbers = numbers * len(hosts) if len(numbers) == 1 else numbers
    query.pop("host")
    query.pop("port", None)
    return url.set(
        hosts=tuple(
            [
                host if host.port is not None else Host(host.name, number)
                for host, number in zip(hosts, numbers, strict=True)
            ]
        )
    )


def _check_slashes(url: Url) -> None:
    """Two slashes and a name are a host, which SQLite has not: it would be a database in memory."""
    if url.host is None and url.username is None:
        return
    # Without what may be a password.
    given = url.host if url.username is None and url.database is None else None
    raise Misconfigured(
        f"sqlite://{given or '…'} has two slashes where three are needed. Write "
        f"sqlite:///{given or 'file.db'} for a file in this folder, sqlite:////… with four for a "
        f"whole path, and sqlite:// alone for a database in memory."
    )


def _check_whole(url: Url) -> None:
    """Refuse an address that names no database anywhere, or that has a password in the name."""
    if any(sign in (url.database or "") for sign in ("@", "=", "://")):
        # Not shown: it is user:password@host behind three slashes, or libpq's own form.
        raise Misconfigured(
            "The name of the database holds @, = or ://, as if something else stood there. Write "
            "postgresql://user:password@host/database, with two slashes at the beginning."
        )
    if url.host or url.hosts or url.database or _NAMING.keys() & url.query.keys():
        return
    if not any(os.environ.get(variable) for variable in _NAMING.values()):
        raise Misconfigured(
            "postgresql:// names neither a host nor a database, and nothing in the environment "
            f"does ({', '.join(_NAMING.values())}). Write "
            "postgresql://user:password@host/database."
        )


_NAMING: Final = {
    "host": "PGHOST",
    "hostaddr": "PGHOSTADDR",
    "dbname": "PGDATABASE",
    "service": "PGSERVICE",
}
"""What names a database besides a URL: its options, and libpq's variables."""


def address_of_engine(engine: Any) -> Address:
    """Where a caller's own engine points; one that Onrecord cannot use is refused with advice."""
    if hasattr(engine, "sync_engine"):
        raise Misconfigured(
            "An AsyncEngine belongs to one event loop, and a store is used from any. "
            "Pass engine.sync_engine if it uses psycopg, or the URL; Onrecord's a-methods "
            "stay asynchronous either way."
        )
    from sqlalchemy import Engine  # whoever has an engine has loaded it

    if not isinstance(engine, Engine):
        raise Misconfigured(f"engine has to be a SQLAlchemy Engine, not {type(engine).__name__}.")
    for kind, driver in _DRIVERS.items():
        if (engine.dialect.name, engine.dialect.driver) == (kind, driver):
            url = engine.url
            return Address(
                kind,
                Url(
                    url.drivername,
                    url.username,
                    None if url.password is None else str(url.password),
                    url.host,
                    url.port,
                    url.database,
                    dict(url.query),
                ),
            )
    raise Misconfigured(
        f"An engine for {engine.dialect.name}+{engine.dialect.driver} cannot be used. Onrecord "
        f"takes sqlite+pysqlite and postgresql+psycopg; make one with create_engine, or pass a URL."
    )
