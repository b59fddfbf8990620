"""A database URL in its parts. SQLAlchemy reads them the same way; to load it for this alone
would slow the first append of every process."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, quote, quote_plus, unquote

_SCHEME: Final = re.compile(r"([\w+]+)://")
_CREDENTIALS: Final = re.compile(r"([^:/]*)(?::([^@]*))?@")
# Of what begins with brackets and goes on behind them SQLAlchemy drops the end; it is refused here.
_SERVER: Final = re.compile(r"(?:\[([^/]+)\]|((?!\[[^/]+\])[^/:]+))?(?::([^/]*))?")


class Host(NamedTuple):
    """One of the places where a database may be."""

    name: str
    port: int | None = None

    def __str__(self) -> str:
        name = f"[{self.name}]" if ":" in self.name else self.name
        return name if self.port is None else f"{name}:{self.port}"


@dataclass(frozen=True, slots=True)
class Url:
    """Where a database is, and who asks."""

    drivername: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    host: str | None = None
    port: int | None = None
    database: str | None = None
    query: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict, repr=False)
    hosts: tuple[Host, ...] = ()
    """Where it may be, if it is at one of several places; ``host`` and ``port`` are None then."""

    def set(self, **parts: Any) -> Url:
        """The same with other parts."""
        return replace(self, **parts)

    def render_as_string(self, hide_password: bool = True) -> str:
        """The URL as text."""
        text = f"{self.drivername}://"
        if self.username is not None:
            password = "***" if hide_password else quote(self.password or "", safe=" +")
            said = "" if self.password is None else f":{password}"
            text += f"{quote(self.username, safe=' +')}{said}@"
        if self.hosts:
            text += ",".join(map(str, self.hosts))
        elif self.host is not None:
            text += str(Host(self.host, self.port))
        elif self.port is not None:
            text += f":{self.port}"
        if self.database is not None:
            text += "/" + quote(self.database, safe=" +/")
        pairs = [
            f"{quote_plus(name)}={quote_plus(value)}"
            for name, given in sorted(self.query.items())
            for value in ((given,) if isinstance(given, str) else given)
        ]
        return text + ("?" + "&".join(pairs) if pairs else "")


def url_of(text: str) -> Url:
    """Read a URL. ValueError where it is none; its message may hold a password."""
    scheme = _SCHEME.match(text)
    if scheme is None:
        raise ValueError("This is no URL.")
    rest = text[scheme.end() :]
    username = password = None
    if credentials := _CREDENTIALS.match(rest):
        username, password = credentials.groups()
        rest = rest[credentials.end() :]
    rest, _, options = rest.partition("?")
    server, slash, database = rest.partition("/")
    several = tuple([host_of(one) for one in server.split(",")]) if "," in server else ()
    host, port = (None, None) if several else _server_of(server)
    return Url(
        scheme[1],
        None if username is None else unquote(username),
        None if password is None else unquote(password),
        host,
        port,
        unquote(database) if slash else None,
        _pairs(options),
        several,
    )


def host_of(text: str) -> Host:
    """Read one of several hosts, with or without a port. ValueError where it is none."""
    name, port = _server_of(text)
    if name is None:
        raise ValueError("One of the hosts has no name.")
    return Host(name, port)


def _server_of(text: str) -> tuple[str | None, int | None]:
    found = _SERVER.fullmatch(text)
    if found is None:
        raise ValueError("What stands where the host should is none.")
    bracketed, plain, port = found.groups()
    if port == "":
        raise ValueError("Behind the host is a colon, and no port.")
    return plain or bracketed, int(port) if port else None


def _pairs(options: str) -> dict[str, str | tuple[str, ...]]:
    pairs: dict[str, str | tuple[str, ...]] = {}
    for name, value in parse_qsl(options):
        before = pairs.get(name)
        if before is None:
            pairs[name] = value
        else:
            pairs[name] = (*((before,) if isinstance(before, str) else before), value)
    return pairs
