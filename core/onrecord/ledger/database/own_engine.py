"""Where a store's own connections come from: what is used of a SQLAlchemy engine, and no more."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol


class Lent(Protocol):
    """A driver's connection as an engine hands it out: ours, or one of a caller's engine."""

    @property
    def dbapi_connection(self) -> Any: ...
    def invalidate(self) -> None: ...
    def close(self) -> None: ...


class Engine(Protocol):
    """What makes connections."""

    def raw_connection(self) -> Any: ...
    def dispose(self) -> None: ...


class OwnConnection:
    """A connection that is closed when it is given back."""

    __slots__ = ("dbapi_connection",)

    def __init__(self, connection: Any) -> None:
        self.dbapi_connection = connection

    def invalidate(self) -> None:
        """Close it: it is broken or too old."""
        self.dbapi_connection.close()

    def close(self) -> None:
        """Close it: the pool that keeps connections is ours."""
        self.dbapi_connection.close()


class OwnEngine:
    """Makes connections, and keeps none."""

    def __init__(self, connect: Callable[[float], Any]) -> None:
        self._connect = connect

    def raw_connection(self, until: float = math.inf) -> OwnConnection:
        """A new connection; sought until then, by the monotonic clock, and once at the least."""
        return OwnConnection(self._connect(until))

    def dispose(self) -> None:
        """Nothing is kept here."""
