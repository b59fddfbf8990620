"""Histories that LangChain kept elsewhere, brought into a store.

    from langchain_recollect.importers import import_sql
    print(import_sql(store, "sqlite:///chat.db", user="ada"))

The old history is only read, and left as it is. An import may be killed, repeated, and run while
the old history or the new one is in use: it brings what is not there yet, and nothing twice.
``core/recollect/bringing.py`` says how. The twins with an ``a`` read the source in a thread, for
its drivers are sync.
"""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from itertools import islice
from typing import Any, Final, NamedTuple
from uuid import UUID

import sqlalchemy
from langchain_core.messages import messages_from_dict
from msgspec.structs import replace
from sqlalchemy import JSON, URL, Connection, Engine, Text, Uuid, func, select
from sqlalchemy import exc as faults

from langchain_recollect.messages import from_langchain
from recollect import Message, Misconfigured, RecollectError, Store, Unavailable
from recollect.bringing import (
    Brought,
    Conversation,
    Mark,
    OnProgress,
    Page,
    Progress,
    Row,
    Scope,
    Source,
    Unread,
    abring,
    bring,
    digest,
    only,
    printable,
    sessions_in,
)

__all__ = [
    "Brought",
    "Progress",
    "Unread",
    "aimport_postgres",
    "aimport_redis",
    "aimport_sql",
    "import_postgres",
    "import_redis",
    "import_sql",
]

_AT_A_TIME: Final = 100
"""How many conversations are looked up together: without an index, each look-up is a scan."""
_WAIT: Final = 10


def import_sql(
    store: Store,
    source: str | os.PathLike[str] | URL | Engine,
    *,
    table: str = "message_store",
    session_id_column: str = "session_id",
    message_column: str = "message",
    id_column: str = "id",
    schema: str | None = None,
    session_ids: Iterable[object] | None = None,
    tenant: str = "",
    user: str = "",
    agent: str = "",
    scope: Scope | None = None,
    progress: OnProgress | None = None,
) -> Brought:
    """Bring what ``SQLChatMessageHistory`` of langchain-community keeps.

    source       its URL, or an SQLAlchemy Engine, which is lent and not closed
    session_ids  only these conversations; otherwise all
    scope        a function of the session id that returns a mapping with some of "tenant",
                 "user" and "agent", and "session_id" where it is to be another one
    progress     called with a ``Progress`` after every 50 messages; what it raises ends the import
    """
    into = sessions_in(store, tenant=tenant, user=user, agent=agent, scope=scope)
    columns = _Columns(id_column, session_id_column, message_column)
    reader = _Tables(*_opened(source), table, schema, columns, only(session_ids))
    return bring(reader, into, progress)


async def aimport_sql(
    store: Store,
    source: str | os.PathLike[str] | URL | Engine,
    *,
    table: str = "message_store",
    session_id_column: str = "session_id",
    message_column: str = "message",
    id_column: str = "id",
    schema: str | None = None,
    session_ids: Iterable[object] | None = None,
    tenant: str = "",
    user: str = "",
    agent: str = "",
    scope: Scope | None = None,
    progress: OnProgress | None = None,
) -> Brought:
    """Like ``import_sql``."""
    into = sessions_in(store, tenant=tenant, user=user, agent=agent, scope=scope)
    columns = _Columns(id_column, session_id_column, message_column)
    reader = _Tables(*_opened(source), table, schema, columns, only(session_ids))
    return await abring(reader, into, progress)


def import_postgres(
    store: Store,
    source: str | URL | Engine,
    *,
    table: str,
    schema: str | None = None,
    session_ids: Iterable[object] | None = None,
    tenant: str = "",
    user: str = "",
    agent: str = "",
    scope: Scope | None = None,
    progress: OnProgress | None = None,
) -> Brought:
    """Bring what ``PostgresChatMessageHistory`` of langchain-postgres keeps, with its times.

    The settings are those of ``import_sql``. A connection of psycopg is not taken: an import
    must not end a transaction that you have open on it.
    """
    into = sessions_in(store, tenant=tenant, user=user, agent=agent, scope=scope)
    reader = _Tables(*_postgres(source), table, schema, _POSTGRES, only(session_ids))
    return bring(reader, into, progress)


async def aimport_postgres(
    store: Store,
    source: str | URL | Engine,
    *,
    table: str,
    schema: str | None = None,
    session_ids: Iterable[object] | None = None,
    tenant: str = "",
    user: str = "",
    agent: str = "",
    scope: Scope | None = None,
    progress: OnProgress | None = None,
) -> Brought:
    """Like ``import_postgres``."""
    into = sessions_in(store, tenant=tenant, user=user, agent=agent, scope=scope)
    reader = _Tables(*_postgres(source), table, schema, _POSTGRES, only(session_ids))
    return await abring(reader, into, progress)


def import_redis(
    store: Store,
    source: Any,
    *,
    key_prefix: str = "message_store:",
    session_ids: Iterable[object] | None = None,
    tenant: str = "",
    user: str = "",
    agent: str = "",
    scope: Scope | None = None,
    progress: OnProgress | None = None,
) -> Brought:
    """Bring what ``RedisChatMessageHistory`` of langchain-community keeps in lists.

    ``source`` is its URL, or a sync client of redis-py, which is lent and not closed. The other
    settings are those of ``import_sql``.
    """
    into = sessions_in(store, tenant=tenant, user=user, agent=agent, scope=scope)
    reader = _Lists(*_connected(source), key_prefix, only(session_ids))
    return bring(reader, into, progress)


async def aimport_redis(
    store: Store,
    source: Any,
    *,
    key_prefix: str = "message_store:",
    session_ids: Iterable[object] | None = None,
    tenant: str = "",
    user: str = "",
    agent: str = "",
    scope: Scope | None = None,
    progress: OnProgress | None = None,
) -> Brought:
    """Like ``import_redis``."""
    into = sessions_in(store, tenant=tenant, user=user, agent=agent, scope=scope)
    reader = _Lists(*_connected(source), key_prefix, only(session_ids))
    return await abring(reader, into, progress)


# -- messages ----------------------------------------------------------------------------------


def _said(raw: bytes, at: datetime | None = None) -> Message | str:
    """The message in what ``message_to_dict`` wrote, or why there is none."""
    if not raw:
        return "it is empty."
    try:
        found = json.loads(raw.decode())
    except UnicodeDecodeError:
        return "it is not UTF-8."
    except (ValueError, RecursionError) as fault:
        return f"it is not JSON, or was cut off: {fault}."
    if not isinstance(found, dict) or not isinstance(found.get("data"), dict):
        return 'it is JSON, but not {"type": …, "data": {…}}, as LangChain writes a message.'
    try:
        [message] = messages_from_dict([found])
        said = from_langchain(message)
    except Exception as fault:  # whatever a class of messages makes of it
        return f"it is not a message that LangChain can read: {_first_line(fault)}."
    return said if at is None else replace(said, created_at=at)


def _first_line(fault: Exception) -> str:
    errors = getattr(fault, "errors", None)
    if callable(errors) and (found := errors()):  # pydantic's, which quotes the whole message
        return f"{'.'.join(map(str, found[0]['loc']))}: {found[0]['msg']}"
    text = f"{type(fault).__name__}: {fault}" if isinstance(fault, KeyError) else str(fault)
    return printable(text.partition("\n")[0][:200])


def _bytes(value: object) -> bytes:
    match value:
        case bytes():
            return value
        case str():
            return value.encode("utf-8", "surrogateescape")
        case None:
            return b""
        case _:
            return str(value).encode()


# -- tables ------------------------------------------------------------------------------------


class _Columns(NamedTuple):
    id: str
    session: str
    message: str
    created: str | None = None


class _Found(NamedTuple):
    """The same as SQLAlchemy has them."""

    id: Any
    session: Any
    message: Any
    created: Any


_POSTGRES: Final = _Columns("id", "session_id", "message", "created_at")


class _Tables(Source):
    """Conversations in one table, where each message is a row."""

    def __init__(
        self,
        engine: Engine,
        owned: bool,
        table: str,
        schema: str | None,
        columns: _Columns,
        wanted: list[str] | None,
    ) -> None:
        self.label = table
        self.name = f"sql:{table}" if schema is None else f"sql:{schema}.{table}"
        self._engine = engine
        self._owned = owned
        self._schema = schema
        self._columns = columns
        self._wanted = wanted
        self._where = _shown(engine.url)
        self._lock = threading.Lock()
        self._begun = False
        self._t: _Found
        self._top: Any = None
        self._last: Any = None

    def conversations(self) -> Sequence[Conversation | Unread]:
        """The next few, the one last spoken in at the end: so they are listed as they were."""
        with self._asking() as connection:
            found: list[Conversation | Unread] = []
            if not self._begun:
                self._t = self._described(connection)
                self._top = connection.scalar(select(func.max(self._t.id)))
                self._begun = True
                if self._wanted is None and self._top is not None:
                    found += self._of_nobody(connection)
            while not found:
                chosen, aside = self._next(connection)
                if not chosen and not aside:
                    break
                found += aside
                if chosen:
                    found += self._looked_up(connection, chosen)
            return found

    def rows(self, ids: Sequence[Any]) -> dict[Any, Row]:
        """Those of the rows that are still there."""
        t = self._t
        with self._asking() as connection:
            found = connection.execute(
                select(t.id, t.message, t.created).where(t.id.in_(ids))
            ).all()
        rows = {}
        for id_, message, at in found:
            raw = _bytes(message)
            rows[id_] = Row(str(id_), raw, _said(raw, at))
        return rows

    def close(self) -> None:
        """Close the engine, if it is not the caller's."""
        with self._lock:
            if self._owned:
                self._engine.dispose()

    def _next(self, connection: Connection) -> tuple[dict[str, Any], list[Unread]]:
        """Ids of the next conversations, as they are called and as the database has them."""
        if self._wanted is not None:
            some, self._wanted = self._wanted[:_AT_A_TIME], self._wanted[_AT_A_TIME:]
            values = [(id_, self._as_stored(id_)) for id_ in some]
        else:
            values = [(str(value), value) for value in self._listed(connection)]
        chosen: dict[str, Any] = {}
        aside = []
        for id_, value in values:
            if value is None or self._top is None:
                aside.append(self._not_there(id_))
            elif isinstance(value, bytes) or not _is_text(id_):
                aside.append(Unread(printable(id_), None, "its id is not text."))
            else:
                chosen[id_] = value
        return chosen, aside

    def _looked_up(
        self, connection: Connection, chosen: Mapping[str, Any]
    ) -> list[Conversation | Unread]:
        t = self._t
        asked = select(t.session, t.id).where(t.session.in_(list(chosen.values())))
        ids: dict[str, list[Any]] = {}
        for whose, id_ in connection.execute(asked.order_by(t.id)):
            ids.setdefault(str(whose), []).append(id_)
        missing = [id_ for id_, value in chosen.items() if str(value) not in ids]
        by_age = sorted(ids.items(), key=lambda item: item[1][-1])
        return [
            *(self._not_there(id_) for id_ in missing if self._wanted is not None),
            *(_Rows(self, id_, found) for id_, found in by_age),
        ]

    def _listed(self, connection: Connection) -> list[Any]:
        if self._top is None:
            return []
        t, newest = self._t, func.max(self._t.id)
        asked = select(t.session, newest).where(t.session.is_not(None), t.id <= self._top)
        asked = asked.group_by(t.session).order_by(newest).limit(_AT_A_TIME)
        if self._last is not None:
            asked = asked.having(newest > self._last)
        found = connection.execute(asked).all()
        if found:
            self._last = found[-1][1]
        return [value for value, _ in found]

    def _of_nobody(self, connection: Connection) -> list[Unread]:
        t = self._t
        asked = select(t.id).where(t.session.is_(None), t.id <= self._top).order_by(t.id)
        why = f"its {self._columns.session} is NULL."
        return [Unread(None, str(id_), why) for id_ in connection.scalars(asked)]

    def _not_there(self, id_: str) -> Unread:
        return Unread(printable(id_), None, f"{self.label} has no messages of it.")

    def _as_stored(self, id_: str) -> Any:
        if "\x00" in id_ or not _is_text(id_):
            return None
        if isinstance(self._t.session.type, Uuid):
            try:
                return UUID(id_)
            except ValueError:
                return None
        return id_

    def _described(self, connection: Connection) -> _Found:
        """The table's columns, under the names they have here."""
        inspector = sqlalchemy.inspect(connection)
        try:
            types = {c["name"]: c["type"] for c in inspector.get_columns(self.label, self._schema)}
        except faults.NoSuchTableError:
            there = ", ".join(sorted(inspector.get_table_names(self._schema))[:10]) or "none"
            raise Misconfigured(
                f"{self._where} has no table {self.label!r}. Its tables are: {there}. Pass the "
                f"right one as table=, and schema= if it is in another schema."
            ) from None
        missing = [name for name in self._columns if name is not None and name not in types]
        if missing:
            raise Misconfigured(
                f"{self.label!r} in {self._where} has no column {missing[0]!r}, so it is not a "
                f"table of this kind of history, or its columns have other names. It has: "
                f"{', '.join(types)}."
            )
        names = [name for name in self._columns if name is not None]
        columns: list[Any] = [sqlalchemy.column(name, types[name]) for name in names]
        sqlalchemy.table(self.label, *columns, schema=self._schema)
        id_, session, message, *at = columns
        if isinstance(message.type, JSON):
            message = sqlalchemy.cast(message, Text)  # as it is written there, also if it is wrong
        # Python knows no infinite times.
        created = sqlalchemy.case((func.isfinite(at[0]), at[0])) if at else sqlalchemy.null()
        return _Found(id_, session, message, created)

    @contextmanager
    def _asking(self) -> Iterator[Connection]:
        """A connection that can only read, for one step."""
        with self._lock:
            try:
                with self._engine.connect() as connection, _read_only(connection):
                    yield connection
            except (faults.DBAPIError, faults.TimeoutError) as fault:
                raise _explained(fault, self._where, self.label) from fault


class _Rows(Conversation):
    """One conversation in a table, as it was when it was looked up."""

    def __init__(self, tables: _Tables, id_: str, ids: list[Any]) -> None:
        self.id = id_
        self._tables = tables
        self._ids = ids

    def after(self, mark: Mark, limit: int) -> Page:
        """The next rows, or the first ones where the last row is gone, changed or not the last."""
        ids, start, anew = self._ids, mark.read, False
        if start and (start > len(ids) or str(ids[start - 1]) != mark.row):
            start, anew = 0, True
        rows = self._tables.rows(ids[max(0, start - 1) : start + limit])
        if start:
            last = rows.get(ids[start - 1])
            if last is None or (digest(last.raw),) != mark.last[-1:]:
                start, anew = 0, True
                rows = self._tables.rows(ids[:limit])
        wanted = ids[start : start + limit]
        if len(found := [id_ for id_ in wanted if id_ in rows]) < len(wanted):
            ids[start : start + limit] = found  # deleted since
        read = start + len(found)
        return Page([rows[id_] for id_ in found], read, read < len(ids), anew)


def _is_text(id_: str) -> bool:
    try:
        id_.encode()
    except UnicodeEncodeError:
        return False
    return True


@contextmanager
def _read_only(connection: Connection) -> Iterator[None]:
    """As far as the database has a way to say so; what is sent are SELECTs in any case."""
    name = connection.dialect.name
    if name == "postgresql":
        connection.execution_options(postgresql_readonly=True)
    if name != "sqlite":
        yield
        return
    driver: Any = connection.connection.driver_connection
    before, reads = connection.exec_driver_sql("PRAGMA query_only").scalar(), driver.text_factory
    connection.exec_driver_sql("PRAGMA query_only = 1")
    # Otherwise one text that is not UTF-8 makes all rows beside it unreadable.
    driver.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
    try:
        yield
    finally:
        driver.text_factory = reads
        connection.exec_driver_sql(f"PRAGMA query_only = {before}")


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


def _opened(source: object) -> tuple[Engine, bool]:
    """An engine, and whether it is ours to close. Connects to nothing."""
    if isinstance(source, Engine):
        return source, False
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
            "The source's URL cannot be read. Write it as sqlite:///chat.db or "
            "postgresql://user:password@host/database; special characters in a password have to "
            "be percent-encoded."
        ) from None
    query = dict(url.query)
    if url.drivername == "postgresql+asyncpg" and "ssl" in query:
        query["sslmode"] = query.pop("ssl")
    url = url.set(drivername=_SYNC.get(url.drivername, url.drivername), query=query)
    settings: dict[str, Any] = {}
    if url.drivername == "postgresql+psycopg":
        settings["connect_args"] = {"prepare_threshold": None}  # poolers in between take none
        if "connect_timeout" not in query:
            settings["connect_args"]["connect_timeout"] = _WAIT
    if url.get_backend_name() == "sqlite":
        _refuse_new_file(url.database or ":memory:")
    try:
        return sqlalchemy.create_engine(url, **settings), True
    except faults.NoSuchModuleError as fault:
        raise Misconfigured(f"SQLAlchemy knows no database {url.drivername!r}.") from fault
    except ImportError as fault:
        raise Misconfigured(
            f"Reading {_shown(url)} needs a driver that is not installed: {fault}. For PostgreSQL "
            f'pip install "recollect[postgres]".'
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


def _postgres(source: object) -> tuple[Engine, bool]:
    if hasattr(source, "pgconn"):
        raise Misconfigured(
            "An import does not read through a connection of psycopg, for it would end a "
            "transaction that you have open on it. Pass the URL that you connected with."
        )
    engine, owned = _opened(source)
    if engine.dialect.name != "postgresql":
        raise Misconfigured(
            f"import_postgres reads PostgreSQL, and {_shown(engine.url)} is not. For "
            f"SQLChatMessageHistory use import_sql."
        )
    return engine, owned


def _shown(url: URL) -> str:
    """Without the options: passwords may stand there, too."""
    url = url.set(drivername=url.get_backend_name(), query={})
    return url.render_as_string(hide_password=True)


def _explained(fault: faults.SQLAlchemyError, where: str, table: str) -> RecollectError:
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


# -- lists in Redis ----------------------------------------------------------------------------


class _Lists(Source):
    """Conversations in Redis, each a list with its newest message first."""

    def __init__(
        self, client: Any, owned: bool, where: str, key_prefix: str, wanted: list[str] | None
    ) -> None:
        self.label = key_prefix.rstrip(":") or "redis"
        self.name = f"redis:{key_prefix}"
        self._client = client
        self._owned = owned
        self._where = where
        self._prefix = key_prefix.encode("utf-8", "surrogateescape")
        self._lock = threading.Lock()
        self._seen: set[bytes] = set()
        self._whole = False
        pattern = re.sub(rb"([*?^\[\]\\-])", rb"\\\1", self._prefix) + b"*"
        self._wanted = None if wanted is None else iter(wanted)
        self._keys: Iterator[Any] = (
            client.scan_iter(match=pattern, count=1_000, _type="list")
            if wanted is None
            else iter(())
        )

    def conversations(self) -> Sequence[Conversation | Unread]:
        """The next few, in no order: Redis knows none."""
        if not self._whole:
            self._refuse_part()
        if self._wanted is not None:
            return [self._asked_for(id_) for id_ in islice(self._wanted, _AT_A_TIME)]
        new: list[bytes] = []
        while not new:
            with self._asking():
                keys = [_bytes(key) for key in islice(self._keys, _AT_A_TIME)]
            if not keys:
                break
            new = [key for key in dict.fromkeys(keys) if key not in self._seen]
        self._seen.update(new)  # SCAN may name a key more than once
        return [self._named(key) for key in new]

    def oldest(self, key: bytes, start: int, end: int) -> list[bytes]:
        """Messages of a list, counted from the oldest."""
        with self._asking():
            found = self._client.lrange(key, -end, -start - 1)
        return [_bytes(raw) for raw in reversed(found)]

    def close(self) -> None:
        """Close the client, if it is not the caller's."""
        with self._lock:
            if self._owned:
                self._client.close()

    def _refuse_part(self) -> None:
        """A node of a cluster answers as if its keys were all."""
        import redis
        from redis.cluster import RedisCluster

        if not isinstance(self._client, RedisCluster):
            facts: Mapping[str, Any] = {}
            with self._asking(), suppress(redis.ResponseError):  # not everybody may ask
                facts = self._client.info("cluster")
            if facts.get("cluster_enabled"):
                raise Misconfigured(
                    f"{self._where} is one node of a cluster and has a part of the histories. "
                    f"Pass redis.cluster.RedisCluster.from_url(…) as source."
                )
        self._whole = True

    def _named(self, key: bytes) -> Conversation | Unread:
        try:
            return _List(self, key, key[len(self._prefix) :].decode())
        except UnicodeDecodeError:
            return Unread(key.decode("utf-8", "backslashreplace"), None, "its id is not UTF-8.")

    def _asked_for(self, id_: str) -> Conversation | Unread:
        key = self._prefix + id_.encode("utf-8", "surrogateescape")
        with self._asking():
            kind = _bytes(self._client.type(key)).decode()
        if kind == "list":
            return self._named(key)
        what = "there is no such key" if kind == "none" else f"its key is a {kind} and not a list"
        return Unread(printable(id_), None, f"{what} in {self._where}.")

    @contextmanager
    def _asking(self) -> Iterator[None]:
        import redis

        with self._lock:
            try:
                yield
            except (redis.AuthenticationError, redis.exceptions.NoPermissionError) as fault:
                raise Misconfigured(
                    f"{self._where} does not let this user read the histories: {fault}. It needs "
                    f"SCAN, TYPE and LRANGE on the keys."
                ) from fault
            except (redis.RedisError, OSError) as fault:
                raise Unavailable(
                    f"{self._where} cannot be read now: {fault}. What was brought so far is kept: "
                    f"import again when it answers."
                ) from fault
            except UnicodeDecodeError as fault:
                raise Misconfigured(
                    "The client was made with decode_responses=True, and something that it read "
                    "is not text. Pass one without it, or the URL."
                ) from fault


class _List(Conversation):
    """One conversation in Redis."""

    def __init__(self, lists: _Lists, key: bytes, id_: str) -> None:
        self.id = id_
        self._lists = lists
        self._key = key

    def after(self, mark: Mark, limit: int) -> Page:
        """The next rows. Nothing names a row but its place, and a list may lose its beginning:
        so the rows of the mark are looked for, and all that comes after them is new."""
        last = mark.last[-mark.read :] if mark.read else ()
        start, anew = mark.read, False
        found = self._lists.oldest(self._key, start - len(last), start + limit + 1)
        if tuple(map(digest, found[: len(last)])) == last:
            found = found[len(last) :]
        else:
            again = self._found_again(mark)
            start, anew = again or 0, again is None
            found = self._lists.oldest(self._key, start, start + limit + 1)
        # A list that began anew goes on counting: no number is used twice.
        base = int(mark.row) - start if mark.row.isdecimal() else mark.base
        numbers = range(base + start + 1, base + start + limit + 1)
        rows = [Row(str(n), raw, _said(raw)) for n, raw in zip(numbers, found, strict=False)]
        return Page(rows, start + len(rows), len(found) > limit, anew, base)

    def _found_again(self, mark: Mark) -> int | None:
        """Where the rows of the mark end now, if any are left."""
        digests: list[str] = []
        while len(digests) < mark.read:
            end = min(len(digests) + 1_000, mark.read)
            some = self._lists.oldest(self._key, len(digests), end)
            if not some:
                break
            digests += map(digest, some)
        for end in range(len(digests), 0, -1):
            size = min(len(mark.last), end)
            if tuple(digests[end - size : end]) == mark.last[-size:]:
                return end
        return None


def _connected(source: Any) -> tuple[Any, bool, str]:
    """A client, whether it is ours to close, and what it is called. Connects to nothing."""
    try:
        import redis
        import redis.asyncio
        from redis.cluster import RedisCluster
    except ImportError as fault:
        raise Misconfigured(
            'Reading Redis needs its driver: pip install "recollect[redis]"'
        ) from fault
    if isinstance(source, redis.Redis | RedisCluster):
        return source, False, "the Redis of the client you passed"
    if not isinstance(source, str):
        what = "an asyncio client" if isinstance(source, redis.asyncio.Redis) else "this"
        raise Misconfigured(
            f"source has to be a redis:// URL or a sync client of redis-py, and {what} is a "
            f"{type(source).__name__}."
        )
    try:
        client = redis.Redis.from_url(source, socket_timeout=_WAIT, socket_connect_timeout=_WAIT)
    except ValueError:  # what it quotes may hold a password
        raise Misconfigured(
            "The source's URL cannot be read. Write it as redis://user:password@host:6379/0; "
            "special characters in a password have to be percent-encoded. For a cluster or "
            "sentinels pass a client."
        ) from None
    place = client.get_connection_kwargs()
    shown = place.get("path") or f"{place.get('host')}:{place.get('port')}/{place.get('db', 0)}"
    return client, True, f"Redis at {shown}"
