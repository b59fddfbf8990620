"""One transaction, over the driver's own cursor.

Statements go through the driver, because that is what makes an append cost little more than its
commit: 1.3 times a bare ``sqlite3`` transaction this way, 2.1 to 2.4 times through SQLAlchemy's
own execution.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from onrecord.errors import Unavailable
from onrecord.ledger.database.address import Kind
from onrecord.ledger.database.dialect import Capabilities, Dialect

if TYPE_CHECKING:
    from onrecord.ledger.database.stamp import Stamp
    from onrecord.ledger.sessions.dictionaries import Dictionaries

_A_WAIT: Final = 0.05
"""The part of the timeout from which on a statement counts as one that has waited."""
_LONGEST: Final = 4
"""So many timeouts a write may take, whatever it waits for: others wait for it."""

T = TypeVar("T")
Work = Callable[["Transaction"], T]


@dataclass(frozen=True, slots=True)
class Facts:
    """What the database says about itself once, when it is opened."""

    store_id: bytes
    cache_id: str
    """What this store's keys in a cache begin with."""
    counter: int
    """The number under which this store's token counter is known there."""
    by_citus: bool = False
    """Whether its tables are spread over nodes by Citus."""


class Transaction:
    """What a unit of work may do: run statements. How it begins and ends is the ledger's.

    On PostgreSQL a work that is one statement runs in autocommit, one round trip. A work of
    several calls ``begin`` first; on SQLite that is done already.
    """

    __slots__ = (
        "_begin",
        "_cursor",
        "_dialect",
        "_facts",
        "_hurried",
        "_last",
        "_patience",
        "_script",
        "_until",
        "_waited",
        "begun",
        "connected_at",
        "dictionaries",
        "stamp",
    )

    def __init__(
        self,
        cursor: Any,
        dialect: Dialect,
        facts: Facts | None,
        dictionaries: Dictionaries,
        begin: str | None = None,
        connected_at: float = -math.inf,
        patience: float = math.inf,
    ) -> None:
        self._cursor = cursor
        self._dialect = dialect
        self._facts = facts
        self.dictionaries = dictionaries
        self._begin = begin
        self.begun = False
        self._patience = patience
        self._hurried = False
        self._waited = self._last = self._until = 0.0
        self.connected_at = connected_at
        """When the connection was made, by the monotonic clock."""
        self.stamp: Stamp | None = None
        """What the commit under way leaves in its session's row."""
        self._script: list[tuple[str, Mapping[str, object]]] | None = None

    @property
    def facts(self) -> Facts:
        """What is known since the database was opened."""
        assert self._facts is not None, "the ledger is opened before any work is done"
        return self._facts

    @property
    def cursor(self) -> Any:
        """The driver's own, for those who begin and end transactions."""
        return self._cursor

    @property
    def kind(self) -> Kind:
        """Which database this is: by it statements are chosen that differ."""
        return self._dialect.kind

    @property
    def can(self) -> Capabilities:
        """What this database can do."""
        return self._dialect.can

    def spread_by_citus(self) -> None:
        """From here on statements are such as Citus takes."""
        self._dialect.know(by_citus=True)

    @property
    def schema(self) -> str | None:
        """Where the tables live, if that was chosen."""
        return self._dialect.schema

    def hurry(self) -> None:
        """From here on no statement begins once those before have waited together for the timeout
        of one: each may wait as long for a lock, and whoever called is to be answered. Many that
        are quick have waited for nobody; all of them may take four times as long."""
        self._hurried, self._waited, self._last = True, 0.0, time.monotonic()
        self._until = self._last + self._patience * _LONGEST

    def unhurried(self) -> None:
        """From here on only each statement has a time limit of its own."""
        self._hurried = False

    def _in_time(self) -> None:
        now = time.monotonic()
        took, self._last = now - self._last, now
        if took > self._patience * _A_WAIT:
            self._waited += took
        if self._begin is not None and not self.begun:
            return  # what is done outside a transaction is done
        if self._waited > self._patience or now > self._until:
            raise Unavailable(
                f"The statements of this write waited together for more than the timeout of "
                f"{self._patience:g} s, or took {_LONGEST} times as long. Nothing was written. "
                f"Look for who holds the session's row, write less at once, or raise timeout=."
            )

    def begin(self) -> None:
        """From here on several statements belong together."""
        if self._begin is not None and not self.begun:
            self.begun = True
            if self._script is not None:
                self._script.append((self._begin, {}))
            else:
                # As a simple query: it may be of two statements.
                self._cursor.execute(self._begin, prepare=False, binary=False)

    def snapshot(self) -> None:
        """From here on several statements see one moment, whatever others commit meanwhile."""
        if self._begin is not None and not self.begun:
            self.begun = True
            self._cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")

    def first(self, statement: str, values: Mapping[str, object]) -> tuple[Any, ...] | None:
        """The first row of the answer, if there is one."""
        if self._script is not None:
            return next(iter(self.rows(statement, values)), None)
        if self._hurried:
            self._in_time()
        self._cursor.execute(self._dialect.render(statement), values)
        row: tuple[Any, ...] | None = self._cursor.fetchone()
        return row

    def rows(self, statement: str, values: Mapping[str, object]) -> list[tuple[Any, ...]]:
        """All rows of the answer."""
        if self._script is not None:
            self._script.append((self._dialect.render(statement), values))
            return self._sent()
        if self._hurried:
            self._in_time()
        self._cursor.execute(self._dialect.render(statement), values)
        rows: list[tuple[Any, ...]] = self._cursor.fetchall()
        return rows

    def run(self, statement: str, values: Mapping[str, object] | None = None) -> int:
        """How many rows the statement changed."""
        if self._script is not None:
            self._script.append((self._dialect.render(statement), values or {}))
            return 0
        if self._hurried:
            self._in_time()
        self._cursor.execute(self._dialect.render(statement), values or {})
        count: int = self._cursor.rowcount
        return count

    @contextmanager
    def together(self) -> Iterator[None]:
        """Where each statement is a round trip, send what is run inside as one script: with the
        next question, or at the end. How many rows a statement changed is not told."""
        if self.kind == "sqlite":
            yield
            return
        self._script = []
        try:
            yield
            if self._script:
                self._sent()
        finally:
            self._script = None

    def _sent(self) -> list[tuple[Any, ...]]:
        """Send the script so far, and return what its last statement answers."""
        from psycopg import ClientCursor  # a script takes no parameters: they are written into it

        if self._hurried:
            self._in_time()
        connection, said = self._cursor.connection, self._script or []
        self._script = []
        text = [ClientCursor(connection).mogrify(*statement) for statement in said]
        with connection.cursor() as cursor:
            cursor.execute(";\n".join(text).encode())
            while cursor.nextset():
                pass
            return cursor.fetchall() if cursor.description else []

    def many(self, statement: str, values: Iterable[Mapping[str, object]]) -> int:
        """The same statement for many sets of values; how many rows all of them changed."""
        if self._hurried:
            self._in_time()
        self._cursor.executemany(self._dialect.render(statement), _listed(values))
        count: int = self._cursor.rowcount
        if self._hurried:
            self._last = time.monotonic()  # as many rows as this may be, they are its caller's own
        return count


def ping(txn: Transaction) -> None:
    """The least there is to ask."""
    txn.first("SELECT 1", {})


def _listed(values: Iterable[Mapping[str, object]]) -> Sequence[Mapping[str, object]]:
    return values if isinstance(values, list) else list(values)
