"""Connections that are kept for looks, which are nearly all that Redis is asked.

What a client of redis-py does around each command (takes a connection, counts, tries again, gives
it back) takes as long as a GET itself. So one look follows the other on a connection that is taken
once, and given back a second later: then redis-py looks after it again. What was cut off in the
middle of a look is never used again.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final, NamedTuple

from redis.exceptions import ConnectionError as ConnectionFailed
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as TimedOut

from onrecord.cache.scripts import Script

_KEPT_FOR: Final = 1.0
_MOST: Final = 8
"""Connections that nobody is using: redis-py has 100 for everything."""
_EVALSHA: Final = "*5\r\n$7\r\nEVALSHA\r\n$40\r\n%s\r\n$1\r\n1\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n"


class _Line(NamedTuple):
    """A connection that was taken out of a client's pool."""

    client: Any
    """A client of this one connection, which gives it back as it is closed."""
    connection: Any
    since: float


class Lines:
    """Connections to one server, for threads. Used by one thread at a time each."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._free: list[_Line] = []
        self._closed = False

    def ask(self, script: Script, key: str, argument: str, now: float) -> Any:
        """Run a look with one argument: what Redis says. Both are ASCII."""
        packed = (_EVALSHA % (script.sha, len(key), key, len(argument), argument)).encode()
        try:
            line = self._free.pop()
        except IndexError:
            return self._ask(self._new(now), packed)
        if (said_more := _has_more(line.connection)) or now - line.since > _KEPT_FOR:
            if said_more:
                line.connection.disconnect()
            line.client.close()
            return self._ask(self._new(now), packed)
        try:
            return self._ask(line, packed)
        except ConnectionFailed:  # the server may have closed it, which redis-py would have seen
            return self._ask(self._new(now), packed)

    def close(self) -> None:
        """Give all connections back."""
        self._closed = True
        self._give_back()

    def _ask(self, line: _Line, packed: bytes) -> Any:
        connection = line.connection
        try:
            connection.send_packed_command((packed,))
            said = connection.read_response()
        except ResponseError:  # an answer as well
            self._keep(line)
            raise
        except BaseException:  # its answer may still come, and be taken for the next one's
            connection.disconnect()
            line.client.close()
            raise
        self._keep(line)
        return said

    def _keep(self, line: _Line) -> None:
        self._free.append(line)
        if self._closed or len(self._free) > _MOST:
            self._give_back()

    def _give_back(self) -> None:
        """Give back what is more than is kept: all, once this is closed."""
        with suppress(IndexError):  # another thread was quicker
            while self._closed or len(self._free) > _MOST:
                self._free.pop().client.close()

    def _new(self, now: float) -> _Line:
        client = self._client.client()
        return _Line(client, client.connection, now)


def _has_more(connection: Any) -> bool:
    """Whether something is left to be read, or the server has hung up. What nobody asked for would
    be taken for the answer to the next look; redis-py asks the same before each command."""
    try:
        return bool(connection.can_read())
    except (ConnectionFailed, TimedOut, OSError):
        return True
