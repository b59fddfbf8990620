"""Redis clients: made from a URL or lent by the caller, one for threads and one a loop."""

from __future__ import annotations

import asyncio
import re
import weakref
from collections.abc import AsyncGenerator
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, unquote

from onrecord.errors import Misconfigured

try:
    import redis
    import redis.asyncio
    from redis.asyncio.cluster import RedisCluster as AsyncRedisCluster
    from redis.asyncio.retry import Retry as AsyncRetry
    from redis.asyncio.sentinel import Sentinel as AsyncSentinel
    from redis.backoff import NoBackoff
    from redis.cluster import RedisCluster
    from redis.exceptions import NoScriptError, ResponseError
    from redis.retry import Retry
    from redis.sentinel import Sentinel

    from onrecord.cache.lines import Lines
except ImportError as fault:
    raise Misconfigured('A cache needs its driver: pip install "onrecord[redis]"') from fault

__all__ = ["AsyncRedisCluster", "Clients", "NoScriptError", "RedisCluster", "ResponseError"]

_PLACE: Final = re.compile(r"([\w.\-%]*|\[[\da-fA-F:.%]+\])(?::(\d{1,5}))?")
_DATABASE_AT: Final = {"sentinel": "/+[^/]+"}
"""What stands before the database's number in the path."""
_SCHEMES: Final = {
    "redis": "redis",
    "rediss": "rediss",
    "valkey": "redis",
    "valkeys": "rediss",
    "unix": "unix",
}

# redis-py 7 and later look into their own package's files for its version whenever they make a
# connection, which is on an event loop.
_DriverInfo: Final = getattr(redis, "DriverInfo", None)
_KNOWN_DRIVER: Final = None if _DriverInfo is None else _DriverInfo(lib_version=redis.__version__)


_WRITTEN_IN: Final = redis.client.__file__


class _Client(redis.Redis):
    """A client that sends what it is given, once: ours are never to try again.

    redis-py's own way has a place for retries and for metrics, which are 9 of the 39 µs that a
    script takes here.
    """

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send a command, and return what Redis says to it."""
        pool: Any = self.connection_pool
        connection = pool.get_connection()
        try:
            connection.send_command(*args)
            parse: Any = self.parse_response
            return parse(connection, args[0], **options)
        except ResponseError:
            raise
        except BaseException:  # an answer may be on its way, and is not the next command's
            connection.disconnect()
            raise
        finally:
            pool.release(connection)


def _made_by() -> type[redis.Redis]:
    """The class of clients for threads: redis-py's own where its pools want to be told a command,
    as before its version 7, and where somebody traces what it does."""
    return redis.Redis if _DriverInfo is None or _is_traced() else _Client


def _is_traced() -> bool:
    """Whether somebody has put a function of theirs in the place of redis-py's."""
    sends: Any = redis.Redis.execute_command
    return hasattr(sends, "__wrapped__") or sends.__code__.co_filename != _WRITTEN_IN


class Clients:
    """Makes and keeps clients. What the caller lent is never closed."""

    def __init__(self, given: Any, timeout: float) -> None:
        self._timeout = timeout
        self._url: str | None = None
        self._lent: dict[str, Any] = {}
        match given:
            case str():
                self.shown = _checked(given)
                self._url = given
            case (one, other):
                self._lend(one)
                self._lend(other)
                self.shown = "the clients you passed"
            case _:
                self._lend(given)
                self.shown = "the client you passed"
        url = self._url or "+"
        self._keeps_lines = "+" not in url.partition(":")[0] and "max_connections" not in url
        self._closed = False
        self._start()

    def forget(self) -> None:
        """In a child after fork: sockets of the parent are not ours to use or to close."""
        _of_our_parents.append(self.__dict__.copy())
        self._start()

    def _start(self) -> None:
        self._sync: Any = None
        self._lines: Lines | None = None
        self._loops: weakref.WeakKeyDictionary[
            asyncio.AbstractEventLoop, tuple[Any, AsyncGenerator[None, None]]
        ] = weakref.WeakKeyDictionary()

    def sync(self) -> Any:
        """The client for threads."""
        if "sync" in self._lent:
            return self._lent["sync"]
        self._refuse_if_closed()
        if self._sync is None:
            if self._url is None:
                raise Misconfigured(
                    "Only an asyncio client was passed as cache=, and this is a sync call. "
                    "Pass both, cache=(client, async_client), or a URL."
                )
            self._sync = self._made(asynchronous=False)
        return self._sync

    def lines(self) -> Lines | None:
        """Connections that are kept for looks of threads; None where a client may have to choose
        among servers, is the caller's own or traced, or has as many connections as the caller says.
        """
        lines = self._lines
        if lines is None and self._keeps_lines:
            client = self.sync()
            self._keeps_lines = isinstance(client, _Client)
            if self._keeps_lines:
                lines = self._lines = Lines(client)
        return lines

    async def asynchronous(self) -> Any:
        """The client for the running loop, closed by itself when the loop ends."""
        if "async" in self._lent:
            return self._lent["async"]
        self._refuse_if_closed()
        loop = asyncio.get_running_loop()
        kept = self._loops.get(loop)
        if kept is None:
            if self._url is None:
                raise Misconfigured(
                    "Only a sync client was passed as cache=, and this is an async call. "
                    "Pass both, cache=(client, async_client), or a URL."
                )
            # Who closes a loop without asyncio.run (LlamaIndex does) tells nobody: its client would
            # be kept for good, since it knows the loop.
            for dead in [known for known in list(self._loops) if known.is_closed()]:
                self._loops.pop(dead, None)
            client = self._made(asynchronous=True)
            ending = _close_with_the_loop(client, loop, self._loops)
            # Suspended at its yield, it is closed by asyncio when the loop shuts down: nobody
            # else says that a loop ends, and an open socket left behind would be a warning.
            await ending.__anext__()
            kept = self._loops[loop] = (client, ending)
        return kept[0]

    @property
    def ours(self) -> bool:
        """Whether clients are made here, with timeouts of ours."""
        return self._url is not None

    def answered(self, fault: Exception) -> bool:
        """Whether Redis did answer, and only refused."""
        return isinstance(fault, ResponseError | Misconfigured)

    def close(self) -> None:
        """Close the client for threads; none is made again."""
        self._closed = True
        if self._lines is not None:
            self._lines.close()
            self._lines = None
        if self._sync is not None:
            self._sync.close()
            for sentinel in _sentinels(self._sync):
                sentinel.close()
            self._sync = None

    async def aclose(self) -> None:
        """Close the running loop's client as well."""
        self.close()
        kept = self._loops.pop(asyncio.get_running_loop(), None)
        if kept is not None:
            await kept[1].aclose()

    def _refuse_if_closed(self) -> None:
        if self._closed:  # a socket that was opened now would be closed by nobody
            raise ConnectionError("the store was closed")

    def _lend(self, client: Any) -> None:
        is_async = isinstance(client, redis.asyncio.Redis | AsyncRedisCluster)
        if not is_async and not isinstance(client, redis.Redis | RedisCluster):
            raise Misconfigured(
                f"cache= takes a redis:// URL or clients of redis-py, not {type(client).__name__}."
            )
        settings = client.get_connection_kwargs()
        if settings.get("decode_responses"):
            raise Misconfigured(
                "cache= was given a client with decode_responses=True, and messages are bytes. "
                "Make one without it, or pass a URL."
            )
        self._lent["async" if is_async else "sync"] = client

    def _made(self, *, asynchronous: bool) -> Any:
        assert self._url is not None
        scheme, _, rest = self._url.partition("://")
        # On a loop a timer may fire because the loop was busy: see within.py.
        timeout = None if asynchronous else self._timeout
        settings: dict[str, Any] = {
            "socket_timeout": timeout,
            "socket_connect_timeout": timeout,
            # One try: the breaker and the database are the answer to a failure.
            "retry": (AsyncRetry if asynchronous else Retry)(NoBackoff(), 0),
        }
        if _KNOWN_DRIVER is not None:
            settings["driver_info"] = _KNOWN_DRIVER
        space = redis.asyncio if asynchronous else redis
        match scheme.split("+"):
            case [plain] if plain in _SCHEMES:
                url = f"{_SCHEMES[plain]}://{rest}"
                made_by = space.Redis if asynchronous else _made_by()
                return made_by.from_url(url, **settings)
            case [plain, "cluster"] if plain in _SCHEMES:
                cls = AsyncRedisCluster if asynchronous else RedisCluster
                return cls.from_url(f"{_SCHEMES[plain]}://{rest}", **settings)
            case [plain, "sentinel"] if plain in ("redis", "valkey"):
                return self._behind_sentinels(rest, settings, asynchronous)
        raise AssertionError(f"{scheme} was checked")

    def _behind_sentinels(self, rest: str, settings: dict[str, Any], asynchronous: bool) -> Any:
        """``redis+sentinel://user:password@host:26379,other:26379/service/0``"""
        parts = _split(rest)
        service, _, database = parts.path.strip("/").partition("/")
        user, _, password = parts.who.partition(":")
        hosts = [
            (found[1].strip("[]"), int(found[2] or 26379))
            for place in parts.places.split(",")
            if (found := _PLACE.fullmatch(place))
        ]
        sentinel = (AsyncSentinel if asynchronous else Sentinel)(hosts, sentinel_kwargs=settings)
        return sentinel.master_for(
            service,
            db=int(database or 0),
            username=unquote(user) or None,
            password=unquote(password) or None,
            **settings,
        )


async def _close_with_the_loop(
    client: Any, loop: asyncio.AbstractEventLoop, kept: Any
) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        kept.pop(loop, None)
        await client.aclose()
        for sentinel in _sentinels(client):
            await sentinel.aclose()


def _sentinels(client: Any) -> list[Any]:
    """Whom a client asks where its server is: nobody else closes their connections."""
    manager = getattr(getattr(client, "connection_pool", None), "sentinel_manager", None)
    return [] if manager is None else list(manager.sentinels)


class _Parts(NamedTuple):
    """What follows the scheme of a URL."""

    who: str
    named: bool
    """Whether there is anybody, maybe without a name."""
    places: str
    path: str
    query: str
    fragment: str


def _split(rest: str) -> _Parts:
    """Take apart what follows the scheme. Newer Pythons' ``urlsplit`` refuses an IPv6 address that
    is not the first of several places."""
    rest, _, fragment = rest.partition("#")
    rest, _, query = rest.partition("?")
    place, slash, path = rest.partition("/")
    who, named, places = place.rpartition("@")
    return _Parts(who, bool(named), places, f"{slash}{path}", query, fragment)


def _checked(url: str) -> str:
    """A URL as it may be shown: nothing of what may be a password, also where it cannot be read.

    Redis-py would read it at the first call and quote what it does not understand.
    """
    scheme, slashes, rest = url.partition("://")
    kind, _, way = scheme.partition("+")
    if not slashes or kind not in _SCHEMES or way not in ("", "cluster", "sentinel"):
        raise Misconfigured(
            f"cache= has to begin with a scheme that is known: "
            f"{', '.join(f'{s}://' for s in _SCHEMES)}, redis+cluster://, redis+sentinel://."
        )
    parts = _split(rest)
    places = parts.places
    sane = "@" not in f"{parts.path}{parts.query}{parts.fragment}" and not parts.fragment
    if not sane or (kind != "unix" and not all(map(_PLACE.fullmatch, places.split(",")))):
        raise Misconfigured(
            f"cache={scheme}://… has a host, a port or a path that cannot be read. Percent-encode "
            f"what is special in a password: / as %2F, @ as %40, # as %23."
        )
    if way == "sentinel" and not parts.path.strip("/"):
        raise Misconfigured(
            f"cache={scheme}://… does not name a service: redis+sentinel://host:26379/name."
        )
    database = _DATABASE_AT.get(way, "")
    if kind != "unix" and not re.fullmatch(rf"{database}/?\d*", parts.path):
        # redis-py would take database 0, which is perhaps somebody else's.
        raise Misconfigured(f"cache={scheme}://… has a path that is not a database's number.")
    for name, value in parse_qsl(parts.query):
        if name == "db" and not value.isdecimal():
            raise Misconfigured(f"cache={scheme}://… has a db that is not a number.")
        if name in ("socket_timeout", "socket_connect_timeout", "decode_responses"):
            raise Misconfigured(f"cache= sets {name} in its address, which is Onrecord's to set.")
    user, _, password = parts.who.partition(":")
    # A lone name may be a password in the wrong place: the right one is redis://:password@host.
    known = f"{user}:***@" if password else "***@"
    return f"{scheme}://{known if parts.named else ''}{places}{parts.path}"


_of_our_parents: list[dict[str, Any]] = []
