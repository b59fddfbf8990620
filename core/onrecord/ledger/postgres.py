"""PostgreSQL through psycopg: one round trip an append, never idle in a transaction."""

from __future__ import annotations

import logging
import math
import random
import select
import sys
import threading
import time
from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import Any, Final, TypeVar

from onrecord.errors import Misconfigured
from onrecord.ledger.database.address import Address
from onrecord.ledger.database.faults import (
    did_nothing,
    lost_connection,
    may_connect_later,
    said_by_server,
    was_interrupted,
)
from onrecord.ledger.database.own_engine import Lent, OwnEngine
from onrecord.ledger.database.pool import Held, Pool
from onrecord.ledger.database.transaction import Transaction, Work
from onrecord.ledger.database.url import Host
from onrecord.ledger.ledger import Ledger, Options

try:
    import psycopg
except ImportError as fault:
    raise Misconfigured(
        'PostgreSQL needs its driver: pip install "onrecord[postgres]" '
        '(in a checkout: pip install -e ".[postgres]")'
    ) from fault

log = logging.getLogger("onrecord")

T = TypeVar("T")

_GRACE: Final = 1.0
"""How long after its own timeout a server may stay silent before we hang up."""

_FIRST_PAUSE: Final = 0.02
_LONGEST_PAUSE: Final = 0.5
"""Between two attempts to reach a server, at the most; less by chance, so that not all come at
once."""

_BEGIN: Final = "BEGIN ISOLATION LEVEL READ COMMITTED"
_BEGIN_LIGHTLY: Final = f"{_BEGIN}; SET LOCAL synchronous_commit = off"

_PREPARED_AFTER: Final = 3
"""So often is a statement sent before the server is asked to remember it."""


class PostgresLedger(Ledger):
    """One PostgreSQL database."""

    def __init__(self, address: Address, engine: Any, options: Options) -> None:
        if options.durability != "full":
            raise Misconfigured(
                "durability= is SQLite's. On PostgreSQL the server's own settings rule: see its "
                "synchronous_commit."
            )
        super().__init__(address, engine, options)
        # Whoever says which servers will do has chosen.
        self._minds_standbys = "target_session_attrs" not in address.url.query
        self._has_minded = threading.Lock()
        """Taken for good by the one thread that says so."""

    def _connect(self) -> None:
        if self._pool is not None:
            return
        if self._engine is None:
            # A standby would show what is older than what was acknowledged.
            role = "read-write" if self._primary is None else "prefer-standby"
            self._engine = OwnEngine(_Connecting(self.address, self.options.timeout, role))
        engine, lent = self._engine, self.borrowed
        self._pool = Pool(
            (lambda _: engine.raw_connection()) if lent else engine.raw_connection,
            self._hold,
            size=self.options.pool_size,
            patience=self.options.timeout,
            keep=not self.borrowed,
            tally=self.tally,
        )

    def _hold(self, proxied: Lent) -> Held:
        assert self._pool is not None
        connection: Any = proxied.dbapi_connection
        held = _HeldPostgres(proxied, connection, None, self._pool.generation)
        held.autocommit = connection.autocommit
        held.borrowed = self.borrowed
        held.has_more = _asking_for_more(connection.pgconn.socket)
        connection.autocommit = True
        if self.borrowed:
            connection.execute(_session_settings(self.options.timeout))
        if self._primary is None and self._minds_standbys and _is_standby(connection):
            self._say_it_is_a_standby()
        held.cursor = connection.cursor(binary=True)
        return held

    def _say_it_is_a_standby(self) -> None:
        self._minds_standbys = False
        if self._has_minded.acquire(blocking=False):
            log.warning(
                "%s is a standby: reads may lack what was acknowledged last, and nothing can be "
                "written. Give the store the primary's address, and this one as replica= for "
                "reads that may be old. If it is meant, say so in the URL: "
                "?target_session_attrs=any",
                self.address,
            )

    def _disconnect(self) -> None:
        if self._pool is not None:
            self._pool.close()

    def before_fork(self) -> None:
        """Nothing to do: the child leaves our sockets alone."""

    def after_fork_in_parent(self) -> None:
        """Nothing to do."""

    def _read(self, work: Work[T]) -> T:
        return self._perform(work, changes_nothing=True)

    def _write(self, work: Work[T], durable: bool = True) -> T:
        return self._perform(work, begin=_BEGIN if durable else _BEGIN_LIGHTLY)

    def _apart(self, work: Work[T]) -> T:
        return self._perform(partial(self._given, work=work, seconds=math.inf))

    def _in_autocommit(self, work: Work[T]) -> T:
        again = partial(self._given, work=work, seconds=math.inf)
        return self._perform(again, changes_nothing=True)

    def _look(self, work: Work[T], seconds: float) -> T:
        return self._perform(partial(self._given, work=work, seconds=seconds), changes_nothing=True)

    def _given(self, txn: Transaction, work: Work[T], seconds: float) -> T:
        """Do work whose statements may take so long each, instead of the store's timeout."""
        connection, timeout = txn.cursor.connection, self.options.timeout
        patience = getattr(connection, "patience", None)  # a caller's own connection has none
        milliseconds = 0 if seconds == math.inf else max(int(seconds * 1000), 1)
        txn.cursor.execute(f"SET statement_timeout = {milliseconds}")
        if patience is not None:
            connection.patience = seconds + _GRACE
        end = "ROLLBACK"
        try:
            answer = work(txn)
            end = "COMMIT"
            return answer
        finally:
            if patience is not None:
                connection.patience = patience
            if not connection.closed:
                if txn.begun:
                    txn.cursor.execute(end)
                    txn.begun = False
                txn.cursor.execute(f"SET statement_timeout = {int(timeout * 1000)}")

    def _in_transaction(self, work: Work[T]) -> T:
        return self._perform(work)

    def _perform(self, work: Work[T], changes_nothing: bool = False, begin: str = _BEGIN) -> T:
        """Run the work; again if nobody was there to do it, or it was cut off and nothing can have
        happened: at once, and then for as long as ``timeout``, which outlasts most elections.

        A read can always be done again, and so can a transaction that never came to its COMMIT.
        A lone statement in autocommit, or a COMMIT, whose answer was lost may have happened:
        that is said, and only the caller knows enough to go on.
        """
        deadline = self._deadline()
        at_once, pause = True, _FIRST_PAUSE
        while True:
            try:
                return self._attempt(work, changes_nothing, deadline, begin)
            except _NothingDone as again:
                fault = again.fault
                now = time.monotonic()
                # A server that said why it cut us off is there, whatever the clock says.
                if again.was_connected and at_once and (now < deadline or said_by_server(fault)):
                    self.tally.reconnects += 1
                    at_once = False
                    continue
            if now + pause > deadline:
                raise self.translate(fault) from fault
            self.tally.reconnects += 1
            time.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(_LONGEST_PAUSE, pause * 2)

    def _attempt(self, work: Work[T], changes_nothing: bool, deadline: float, begin: str) -> T:
        assert self._pool is not None
        txn: Transaction | None = None
        committing = False
        try:
            with self._pool.lend(deadline) as held:
                # What a caller's engine lends may have been made at any time.
                since = -math.inf if self.borrowed else held.since
                txn = self._transaction(held.cursor, begin, since)
                try:
                    answer = work(txn)
                    if txn.begun:
                        committing = True
                        # Not by the cursor: as a simple query it is answered in the step in which
                        # it commits, and an interruption that is told instead came before.
                        held.connection.commit()
                    return answer
                except Exception as fault:  # any: what became of the connection is asked first
                    held.broken = (
                        bool(held.connection.closed) or lost_connection(fault) or did_nothing(fault)
                    )
                    if txn.begun and not held.broken:
                        held.broken = not _rolled_back(held.cursor)
                    raise
        except Exception as fault:  # any: the driver's are told in our words, others as they are
            if txn is None:
                if may_connect_later(fault):
                    raise _NothingDone(fault, False) from fault
                lost = False
            else:
                refused = was_interrupted(fault) or (did_nothing(fault) and not committing)
                lost = lost_connection(fault) and not refused
                if lost or refused:
                    self._pool.renew()  # the others were most likely cut off with it
                if refused or (lost and (changes_nothing or (txn.begun and not committing))):
                    raise _NothingDone(fault, True) from fault
            told = self.translate(fault, lost)
            if told is fault:
                raise
            raise told from fault


class _Connecting:
    """Makes connections of our own, with their timeouts set. Of several hosts it begins with the
    one that was the right one last."""

    def __init__(self, address: Address, timeout: float, role: str) -> None:
        self._address = address
        self._role = role
        self._timeout = timeout
        self._hosts = address.url.hosts

    def __call__(self, until: float = math.inf) -> Any:
        """Make one. Until then all hosts are asked, each for its part of the time."""
        within = max(0.0, min(self._timeout, until - time.monotonic()))
        connection = _connect(self._address, self._timeout, self._hosts, within, self._role)
        if self._hosts:
            here = connection.info
            right = [host for host in self._hosts if _is(host, here.host, here.port)]
            self._hosts = (*right, *[host for host in self._hosts if host not in right])
        return connection


def _is(host: Host, name: str, port: int) -> bool:
    return host.name == name and (host.port or 5432) == port


def _connect(
    address: Address, timeout: float, hosts: Sequence[Host], within: float, role: str
) -> Any:
    url = address.url
    parts = {
        "host": ",".join([host.name for host in hosts]) or url.host,
        "dbname": url.database,
        "user": url.username,
        "password": url.password,
        "port": ",".join([str(host.port or "") for host in hosts]) or url.port,
    }
    arguments: dict[str, Any] = {name: part for name, part in parts.items() if part}
    for name, value in url.query.items():
        arguments[name] = value if isinstance(value, str) else ",".join(value)
    arguments.setdefault("connect_timeout", str(max(1, math.ceil(within / (len(hosts) or 1)))))
    arguments.setdefault("application_name", "onrecord")
    if hosts:
        arguments.setdefault("target_session_attrs", role)
    arguments["client_encoding"] = "utf8"
    try:
        connection = _PatientConnection.connect(
            autocommit=True,
            prepare_threshold=None,  # until it is known who answers
            **arguments,
        )
    except psycopg.ProgrammingError:
        # Without the cause: it quotes the options, and one of them may be a password.
        raise Misconfigured(f"{address}: the URL has an option that libpq does not know.") from None
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        connection.close()
        raise Misconfigured(
            f"{address} keeps text as {encoding}, which cannot hold every name. "
            f"Create the database with ENCODING 'UTF8'."
        )
    connection.patience = timeout + _GRACE
    answer = connection.execute(f"{_session_settings(timeout)}; SELECT pg_backend_pid()")
    while answer.nextset():
        pass
    # Prepared on the server an append takes 362 instead of 510 µs. Behind a pooler that changes
    # servers between transactions it fails; but a pooler hands out a number of its own here.
    if answer.fetchone() == (connection.info.backend_pid,):
        connection.prepare_threshold = _PREPARED_AFTER
    return connection


def _is_standby(connection: Any) -> bool:
    """Whether a server follows another one. From PostgreSQL 14 on it says so by itself; a pooler
    may go on saying so of a server that follows nobody any more, so who says yes is asked."""
    if connection.info.parameter_status("in_hot_standby") != "on":
        return False
    try:
        found: bool = connection.execute("SELECT pg_is_in_recovery()").fetchone()[0]
    except psycopg.Error:  # the work that it is for finds out what is wrong with it
        return False
    return found


def _session_settings(timeout: float) -> str:
    milliseconds = int(timeout * 1000)
    return (
        f"SET statement_timeout = {milliseconds};"
        f"SET lock_timeout = {milliseconds};"
        f"SET idle_in_transaction_session_timeout = {milliseconds};"
        # Under a stricter default every second writer would be refused instead of waiting.
        "SET default_transaction_isolation = 'read committed';"
        # Before a table has statistics the planner reads and sorts a whole session to find its
        # newest 20 messages (1.4 ms at 1,000). What has to be sorted still is.
        "SET enable_sort = off; SET jit = off"
    )


_RESET: Final = (
    "RESET statement_timeout; RESET lock_timeout; RESET idle_in_transaction_session_timeout;"
    "RESET default_transaction_isolation; RESET enable_sort; RESET jit"
)


def _asking_for_more(socket: int) -> Callable[[], object]:
    """What says whether a socket has something to read."""
    if sys.platform == "win32" or not hasattr(select, "poll"):
        return lambda: select.select([socket], [], [], 0)[0]
    poll = select.poll()  # select itself fails for a process with 1,024 open files
    poll.register(socket, select.POLLIN)
    return partial(poll.poll, 0)


def _rolled_back(cursor: Any) -> bool:
    """Whether a transaction is over: a standby that cancels a read may cancel this as well."""
    try:
        cursor.execute("ROLLBACK")
    except psycopg.Error:
        if cursor.connection.closed:  # with whatever was open: it can be done again
            raise
        return False  # and what went wrong first is told
    return True


class _NothingDone(Exception):
    """Nobody was there to do it, or the connection was lost and nothing can have happened on it."""

    def __init__(self, fault: Exception, was_connected: bool) -> None:
        super().__init__(str(fault))
        self.fault = fault
        self.was_connected = was_connected


class _HeldPostgres(Held):
    """Remembers how the connection was, for the caller who lent it."""

    __slots__ = ("autocommit", "borrowed", "has_more")
    autocommit: bool
    borrowed: bool
    has_more: Callable[[], object]

    def usable(self) -> bool:
        """False once the server has hung up: 2 µs here save an append of unknown outcome."""
        if self.connection.closed:
            return False
        # Between two statements a server says nothing, except that it goes.
        return not self.has_more()

    def give_back(self) -> None:
        if not self.connection.closed:
            if self.borrowed:
                self.connection.execute(_RESET)
            self.connection.autocommit = self.autocommit
        Held.give_back(self)


class _PatientConnection(psycopg.Connection[Any]):
    """Hangs up on a server that stays silent: its own timeouts do not fire when it is frozen."""

    patience: float = math.inf

    def wait(self, gen: Generator[Any, Any, T], *args: Any, **kwargs: Any) -> T:
        """Consume a generator of psycopg's, and stop when it has waited too long."""
        return super().wait(self._until(gen, time.monotonic() + self.patience), *args, **kwargs)

    def _until(self, gen: Generator[Any, Any, T], deadline: float) -> Generator[Any, Any, T]:
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                # psycopg 3.2 and later come back with "nothing yet" every 0.1 s.
                if not ready and time.monotonic() > deadline:
                    self.pgconn.finish()
                    raise psycopg.OperationalError(
                        f"the server has not answered for {self.patience:g} s"
                    )
                wanted = gen.send(ready)
        except StopIteration as end:
            result: T = end.value
            return result
