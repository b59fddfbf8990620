"""The store: one database, and the sessions in it."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, TypeVar, assert_never, overload

import msgspec

from onrecord import arguments, operations, settings
from onrecord.cache import Cache, CacheUnavailable, LocalCache
from onrecord.change import FeedInfo
from onrecord.closing import ADo, BeforeClose, ClosedAtEnd, Do
from onrecord.errors import Misconfigured
from onrecord.feed import Feed
from onrecord.flow import Autocommit, Cold, Flow, Hot, InThread, Outside, Pause, Step, arun, run
from onrecord.flows.belief import Belief
from onrecord.flows.checkpoints.memory import ThreadMemory
from onrecord.flows.search.heard import Hearing
from onrecord.flows.search.meaning import meaning_of
from onrecord.flows.shared import Desk
from onrecord.health import Health, TierHealth
from onrecord.item import Item, ItemChange
from onrecord.items import Items
from onrecord.ledger import Options, ledger_for
from onrecord.migration import MigrationStep
from onrecord.processes import on_fork
from onrecord.scope import (
    ANY,
    LONGEST_NAME,
    AnyName,
    FeedName,
    NamespaceName,
    Scope,
    SessionName,
)
from onrecord.session import Session
from onrecord.store_maintenance import StoreMaintenance
from onrecord.store_search import StoreSearch
from onrecord.telemetry import is_on, telemetry_of
from onrecord.tokens import CountTokens, TokenCounter, named_counter
from onrecord.version import SessionInfo
from onrecord.watching import Observer, Operation, SlowLog, Watch

if TYPE_CHECKING:
    from sqlalchemy import Engine


T = TypeVar("T")
Alter: TypeAlias = Callable[[Step], Step]

DEFAULT_URL = "sqlite:///onrecord.db"


class Store(ClosedAtEnd, StoreSearch, StoreMaintenance):
    """Durable memory for conversations, in one SQLite file or one PostgreSQL database.

    Making one does no I/O: the first use connects and creates the tables. It may be used from
    any thread, any event loop, and in a child after fork. Every method that does I/O has a twin
    with ``a`` before its name for use with ``await``.
    """

    def __init__(
        self,
        url: str | PathLike[str] | None = None,
        *,
        engine: Engine | None = None,
        replica: str | None = None,
        cache: Any = None,
        ttl: float = 1800,
        tail: int = 50,
        consistency: Literal["cached", "strict"] = "cached",
        revalidate: float = 5.0,
        compare: float = 0.0,
        durability: Literal["full", "normal"] = "full",
        compression: Literal["zstd", "none"] = "zstd",
        expires_in: timedelta | None = None,
        schema: str | None = None,
        migrate: bool = True,
        timeout: float = 5.0,
        pool_size: int = 10,
        slow: float | None = None,
        telemetry: bool | Literal["nameless"] = True,
        token_counter: CountTokens | tuple[str, CountTokens] | None = None,
        embedder: Any = None,
    ) -> None:
        """
        url            ``sqlite:///file.db`` (the default is onrecord.db in this folder),
                       ``sqlite://`` for memory, ``postgresql://user:password@host/database``;
                       of ``host1:5432,host2:5432`` the one that takes writes is found
        engine         your own SQLAlchemy engine instead of a URL; it is never closed
        replica        PostgreSQL: the URL of a standby of the same database, which may be behind:
                       asked only by reads that say ``stale_ok=True``
        cache          a Redis URL, or a redis-py client, or a sync and an asyncio one: the tails of
                       sessions, shared by all processes of the store; the SQL stays the truth
        ttl            seconds an entry of the cache lives after its last use; nothing is lost then
        tail           how many of a session's newest messages are kept close at hand
        consistency    ``cached``: what is read from the cache is all that was acknowledged, but for
                       rare cases that end within ``revalidate``; ``strict``: always, at the price
                       of asking the database for the session's head
        revalidate     seconds after which a cached session is compared with the database
        compare        the share of cached reads, 0 to 1, that are compared with the database;
                       ``health().counters.disagreed`` has to stay 0
        durability     SQLite: ``full`` survives power loss, ``normal`` the death of the process
        compression    ``zstd`` or ``none``; may be changed at any time
        expires_in     how long after its last message a session may be pruned that says nothing
                       else; nothing goes by itself, ``prune()`` and ``maintain()`` take it away
        schema         PostgreSQL: where the tables live
        migrate        create and update the tables by itself at first use
        timeout        seconds to wait for a lock, a connection or an answer; a database that is
                       away for less, for a restart or an election, is waited for
        pool_size      connections at the most
        slow           seconds from which on an operation is logged as a warning, with its steps
        telemetry      spans and metrics for OpenTelemetry, where this process has set it up; with
                       ``"nameless"`` no span says a tenant, a user, an agent, a session, a
                       namespace or a feed; ``False`` for none at all
        token_counter  a function of a message, or ``(name, function)``; an estimate by default
        embedder       what finds by meaning as well as by words: ``"minilm"``, a function from
                       texts to vectors, or another that docs/how-to/embedders.md names
        """
        if url is not None and engine is not None:
            raise Misconfigured("Pass a URL or an engine, not both.")
        settings.check(
            durability=durability,
            compression=compression,
            consistency=consistency,
            tail=tail,
            pool_size=pool_size,
            timeout=timeout,
            ttl=ttl,
            revalidate=revalidate,
            compare=compare,
            slow=slow,
            schema=schema,
            expires_in=expires_in,
            telemetry=telemetry,
        )
        counter = self._counter = named_counter(token_counter)
        arguments.check_text("token_counter's name", counter.name, LONGEST_NAME)
        self._ledger = ledger_for(
            DEFAULT_URL if url is None and engine is None else url,
            engine,
            Options(
                durability=durability,
                schema=schema,
                migrate=migrate,
                timeout=timeout,
                pool_size=pool_size,
                counter=counter.name,
                compression=compression,
            ),
        )
        self._observers: tuple[Observer, ...] = () if slow is None else (SlowLog(slow),)
        self._belief = Belief()
        self._hot = self._cache(cache, tail, ttl, consistency == "strict", revalidate)
        self._desk = Desk(
            lambda: self._ledger.facts,
            compression,
            counter,
            cached_messages=tail,
            marks=self._hot.marks,
            # Only a file of SQLite has a pulse by which what is kept here could be trusted.
            keeps=self._hot.marks or self._ledger.dialect.can.pulse,
            compare=compare,
            belief=self._belief,
            threads=ThreadMemory(),
            expires_in=expires_in,
            hearing=Hearing(),
            meaning=meaning_of(embedder),
        )
        self._telemetry = telemetry_of(telemetry, self._ledger, self._hot)
        self._before_close = BeforeClose()
        self._replica: Store | None = None
        if replica is not None:
            self._replica = Store(
                replica,
                tail=tail,
                compression=compression,
                schema=schema,
                migrate=False,
                timeout=timeout,
                pool_size=pool_size,
                slow=slow,
                telemetry=telemetry,
                token_counter=token_counter,
                embedder=embedder,
            )
            self._replica._ledger.follow(self._ledger)
            self._replica._desk.only_read = True
        if cache is None:
            self._say_what_is_idle(ttl=ttl, consistency=consistency, revalidate=revalidate)
            if not self._ledger.may_have_pulse:  # then this process caches nothing either
                self._say_what_is_idle(compare=compare)
        on_fork(
            self,
            before=lambda store: store._ledger.before_fork(),
            in_parent=lambda store: store._ledger.after_fork_in_parent(),
            in_child=Store._forget,
        )

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **given: Any) -> Self:
        """Open the store that the environment names: ONRECORD_URL, ONRECORD_CACHE, ONRECORD_TTL,
        and so on for every argument that can be said as text. ONRECORD_CONFIG may name a TOML file
        that says the same by the arguments' own names, at the top or in a table ``[onrecord]``.

        The environment wins over the file, and arguments given here win over both. Times may have
        a unit, as ``30m``, or be as ISO 8601 has them. See docs/reference/settings.md.
        """
        found = os.environ if environ is None else environ
        if "engine" in given:  # it is in the place of a URL
            given.setdefault("url", None)
        return cls(**{**settings.from_environment(found, given), **given})

    @property
    def token_counter(self) -> TokenCounter:
        """The counter of this store's tokens, with its name."""
        return self._counter

    @property
    def compression(self) -> Literal["zstd", "none"]:
        """How what is written by this store is compressed."""
        return self._desk.compression

    @property
    def address(self) -> str:
        """The database's address, without its password."""
        return str(self._ledger.address)

    @property
    def place(self) -> str:
        """The database's address, without its password, and the schema where one was said."""
        return self._ledger.place

    @property
    def closed(self) -> bool:
        """Whether ``close`` was called: a closed store does no more I/O."""
        return self._ledger.closed

    def session(self, key: str, *, tenant: str = "", user: str = "", agent: str = "") -> Session:
        """Make a handle on one conversation. Does no I/O; an unknown session reads as empty."""
        return Session(self, SessionName(key=key, tenant=tenant, user=user, agent=agent))

    def sessions(
        self,
        *,
        tenant: AnyName = "",
        user: AnyName = "",
        agent: AnyName = "",
        metadata: Mapping[str, Any] | None = None,
        limit: int = 50,
        after: SessionInfo | None = None,
        stale_ok: bool = False,
    ) -> list[SessionInfo]:
        """List the sessions of a scope, the one last active first.

        What is left out means the empty name; ``onrecord.ANY`` means every one. ``metadata``
        leaves those that have all of it; strings, numbers and booleans are found by an index. For
        the next page pass the last one of this page as ``after``. ``stale_ok`` asks the replica, if
        there is one: what was said last may be missing.
        """
        arguments.check_page(tenant, user, agent, after)
        reader = self._reader(stale_ok)
        return reader._run(
            operations.list_sessions(reader._desk, tenant, user, agent, limit, after, metadata)
        )

    async def asessions(
        self,
        *,
        tenant: AnyName = "",
        user: AnyName = "",
        agent: AnyName = "",
        metadata: Mapping[str, Any] | None = None,
        limit: int = 50,
        after: SessionInfo | None = None,
        stale_ok: bool = False,
    ) -> list[SessionInfo]:
        """Like ``sessions``."""
        arguments.check_page(tenant, user, agent, after)
        reader = self._reader(stale_ok)
        return await reader._arun(
            operations.list_sessions(reader._desk, tenant, user, agent, limit, after, metadata)
        )

    def items(self, *namespace: str, tenant: str = "", user: str = "", agent: str = "") -> Items:
        """Make a handle on the items of one namespace. Does no I/O; an unknown one is empty."""
        return Items(self, NamespaceName(parts=namespace, tenant=tenant, user=user, agent=agent))

    def write(
        self,
        changes: Sequence[ItemChange],
        *,
        tenant: str = "",
        user: str = "",
        agent: str = "",
    ) -> list[Item | bool]:
        """Make several changes of items in namespaces of one scope, in their order, all or none.

        Each is a ``Put``, a ``Merge`` or a ``Delete``. Returned is for each the item as stored,
        or of a delete whether it was there.
        """
        return self._run(operations.write_items(self._desk, changes, tenant, user, agent))

    async def awrite(
        self,
        changes: Sequence[ItemChange],
        *,
        tenant: str = "",
        user: str = "",
        agent: str = "",
    ) -> list[Item | bool]:
        """Like ``write``."""
        return await self._arun(operations.write_items(self._desk, changes, tenant, user, agent))

    def find_items(
        self,
        prefix: tuple[str, ...] = (),
        *,
        tenant: str = "",
        user: str = "",
        agent: str = "",
        filter: Mapping[str, Any] | None = None,
        after: Item | None = None,
        limit: int = 50,
        skip: int = 0,
        stale_ok: bool = False,
    ) -> list[Item]:
        """List the items of all namespaces of a scope that begin with a prefix, the last written
        first.

        ``filter`` as in ``Items.list``. For the next page pass the last item of this page as
        ``after``; or, where somebody counts, how many to ``skip``. ``stale_ok`` asks the replica,
        if there is one: what was put last may be missing.
        """
        arguments.check_page(tenant, user, agent, None)
        reader, scope = self._reader(stale_ok), Scope(tenant, user, agent)
        return reader._run(
            operations.find_items(reader._desk, scope, prefix, filter, after, limit, skip)
        )

    async def afind_items(
        self,
        prefix: tuple[str, ...] = (),
        *,
        tenant: str = "",
        user: str = "",
        agent: str = "",
        filter: Mapping[str, Any] | None = None,
        after: Item | None = None,
        limit: int = 50,
        skip: int = 0,
        stale_ok: bool = False,
    ) -> list[Item]:
        """Like ``find_items``."""
        arguments.check_page(tenant, user, agent, None)
        reader, scope = self._reader(stale_ok), Scope(tenant, user, agent)
        return await reader._arun(
            operations.find_items(reader._desk, scope, prefix, filter, after, limit, skip)
        )

    def namespaces(
        self,
        prefix: tuple[str, ...] = (),
        *,
        tenant: AnyName = "",
        user: AnyName = "",
        agent: AnyName = "",
        depth: int | None = None,
        after: tuple[str, ...] | None = None,
        limit: int = 100,
        stale_ok: bool = False,
    ) -> list[tuple[str, ...]]:
        """List the namespaces of a scope that have items, each once, in their order.

        ``depth`` cuts them off behind so many parts. For the next page pass the last one of this
        page as ``after``. ``stale_ok`` asks the replica, if there is one: what was put last may be
        missing.
        """
        arguments.check_page(tenant, user, agent, None)
        reader, scope = self._reader(stale_ok), Scope(tenant, user, agent)
        return reader._run(
            operations.list_namespaces(reader._desk, scope, prefix, depth, after, limit)
        )

    async def anamespaces(
        self,
        prefix: tuple[str, ...] = (),
        *,
        tenant: AnyName = "",
        user: AnyName = "",
        agent: AnyName = "",
        depth: int | None = None,
        after: tuple[str, ...] | None = None,
        limit: int = 100,
        stale_ok: bool = False,
    ) -> list[tuple[str, ...]]:
        """Like ``namespaces``."""
        arguments.check_page(tenant, user, agent, None)
        reader, scope = self._reader(stale_ok), Scope(tenant, user, agent)
        return await reader._arun(
            operations.list_namespaces(reader._desk, scope, prefix, depth, after, limit)
        )

    def feed(
        self, name: str, *, tenant: AnyName = ANY, user: AnyName = ANY, agent: AnyName = ANY
    ) -> Feed:
        """Make a handle on a reader of what happens in the sessions of a scope. Does no I/O.

        Names that are left out mean every one. The same name with another scope is another
        reader.
        """
        return Feed(self, FeedName(name=name, tenant=tenant, user=user, agent=agent))

    def feeds(self, *, after: FeedInfo | None = None, limit: int = 100) -> list[FeedInfo]:
        """List the readers of this store and how far behind they are, in the order in which they
        began. Every session is looked at for each. For the next page pass the last one of this
        page as ``after``."""
        arguments.check_after(after, FeedInfo)
        return self._run(operations.list_feeds(after, limit))

    async def afeeds(self, *, after: FeedInfo | None = None, limit: int = 100) -> list[FeedInfo]:
        """Like ``feeds``."""
        arguments.check_after(after, FeedInfo)
        return await self._arun(operations.list_feeds(after, limit))

    def health(self, *, within: float = 2.0) -> Health:
        """Ask database, replica and cache how they are. What does not answer is reported, not
        raised: a server is waited for no longer than ``within`` seconds, whatever ``timeout`` is.
        ``unindexed`` says how far the index of search is behind, at a glance.
        """
        ask = self._asks_for_health(within)
        database, replica = self._run(ask[0]), self._run(ask[1])
        behind = self._run(self._asks_the_index(database, within))
        return self._health(database, replica, self._run(self._asks_the_cache(database)), behind)

    async def ahealth(self, *, within: float = 2.0) -> Health:
        """Like ``health``."""
        ask = self._asks_for_health(within)
        database, replica = await self._arun(ask[0]), await self._arun(ask[1])
        behind = await self._arun(self._asks_the_index(database, within))
        cache = await self._arun(self._asks_the_cache(database))
        return self._health(database, replica, cache, behind)

    def _asks_for_health(self, within: float) -> tuple[Flow[TierHealth], Flow[TierHealth | None]]:
        arguments.check_range("within", within, "seconds", 0.01, 86_400)
        replica = self._replica
        follows = None if replica is None else (replica._ledger.answers, replica.place)
        return (
            operations.database_health(self._ledger.answers, self.place, within),
            operations.replica_health(follows, within),
        )

    def _asks_the_index(self, database: TierHealth, within: float) -> Flow[int | None]:
        took = within if database.milliseconds is None else database.milliseconds / 1000
        return operations.index_behind(self._ledger.glance, within - took)

    def _asks_the_cache(self, database: TierHealth) -> Flow[TierHealth | None]:
        return operations.cache_health(self._desk, self._hot.where, database.ok)

    @overload
    def migrate(self, *, dry_run: Literal[False] = False) -> list[str]: ...
    @overload
    def migrate(self, *, dry_run: Literal[True]) -> list[MigrationStep]: ...
    def migrate(self, *, dry_run: bool = False) -> list[str] | list[MigrationStep]:
        """Bring the tables up to date, and say which steps that took. Safe to run anywhere.

        On PostgreSQL indexes are built beside those who write, however long that takes; where
        another process is at it, this waits for it. What was cut off goes on the next time.
        ``dry_run`` only says what each step that is still to do does, on about how many rows, and
        who waits for it.
        """
        if dry_run:
            return self._watched("migrate").call(self._ledger.plan)
        return self._watched("migrate").call(self._ledger.migrate)

    @overload
    async def amigrate(self, *, dry_run: Literal[False] = False) -> list[str]: ...
    @overload
    async def amigrate(self, *, dry_run: Literal[True]) -> list[MigrationStep]: ...
    async def amigrate(self, *, dry_run: bool = False) -> list[str] | list[MigrationStep]:
        """Like ``migrate``."""
        if dry_run:
            return await self._watched("migrate").acall(self._ledger.aplan())
        return await self._watched("migrate").acall(self._ledger.amigrate())

    def invalidate(self) -> None:
        """Make every cached entry worthless, and give out no version of an item again. Run it
        after restoring a backup. Other processes of the store notice within two seconds."""
        self._watched("invalidate").call(self._ledger.invalidate)
        self._emptied()

    async def ainvalidate(self) -> None:
        """Like ``invalidate``."""
        await self._watched("invalidate").acall(self._ledger.ainvalidate())
        self._emptied()

    def before_close(self, do: Do, ado: ADo | None = None) -> None:
        """Have ``do()`` called when the store is about to be closed, while it is still open: for
        what holds something back that it has to write. ``aclose`` awaits ``ado()``.

        A bound method is called for as long as others keep its object. The store is closed in any
        case; then the first error is raised.
        """
        arguments.check_function("do", do, "a function", plain=True)
        if ado is not None:
            arguments.check_function("ado", ado, "an async function")
        self._before_close.add(do, ado)

    def close(self) -> None:
        """Close what is the store's own; what you lent it is left as it was.

        What memories hold back is stored first. Where that fails it is raised, and the store is
        closed all the same.
        """
        try:
            if not self.closed:
                self._before_close.tell()
        finally:
            if self._replica is not None:
                self._replica.close()
            self._ledger.close()  # first: what is being committed still has to be published
            self._hot.close()

    async def aclose(self) -> None:
        """Like ``close``, without holding up the loop while work in progress ends."""
        try:
            if not self.closed:
                await self._before_close.atell()
        finally:
            if self._replica is not None:
                await self._replica.aclose()
            await self._ledger.aclose()  # first: what is being committed still has to be published
            await self._hot.aclose()

    def __repr__(self) -> str:
        cache = "" if self._hot.where is None else f", cache={self._hot.where!r}"
        return f"Store({self.address!r}{cache})"

    def _repr_html_(self) -> str:
        from onrecord.notebook.display import store_html

        return store_html(self)

    def _reader(self, stale_ok: bool) -> Store:
        """Who reads: the replica, if somebody says so and there is one. It is a store of its own,
        so that nothing that it shows is kept for reads that want to know better."""
        replica = self._replica
        return self if not stale_ok or replica is None else replica

    def _cache(self, given: Any, tail: int, ttl: float, strict: bool, revalidate: float) -> Cache:
        if given is None:
            return LocalCache(self._ledger, messages=tail)
        from onrecord.cache.clients import Clients  # only here is redis-py needed
        from onrecord.cache.redis import CALL_TIMEOUT, RedisCache

        return RedisCache(
            Clients(given, CALL_TIMEOUT),
            self._cache_id,
            messages=tail,
            ttl=ttl,
            revalidate=revalidate,
            strict=strict,
        )

    def _say_what_is_idle(self, **given: object) -> None:
        """Warn of settings that need what this store does not have."""
        for name in given:
            needs = settings.SETTINGS[name].needs
            if settings.is_idle(name, given[name]):
                settings.warn(f"{name}= has no effect on {self!r}: it needs {needs}.")

    def _cache_id(self) -> str:
        """The beginning of this store's keys in the cache; refused while there are no tables."""
        if self._ledger.facts is None:
            raise CacheUnavailable("The database has no tables yet.")
        return self._ledger.cache_id()

    def _health(
        self,
        database: TierHealth,
        replica: TierHealth | None,
        cache: TierHealth | None,
        behind: int | None,
    ) -> Health:
        return Health(
            database=database,
            replica=replica,
            cache=cache,
            breaker_open=self._hot.left_alone,
            pool=self._ledger.pool_status(),
            counters=msgspec.structs.replace(self._hot.counters),
            embedder=None if self._desk.meaning is None else self._desk.meaning.health,
            unindexed=behind,
        )

    def _examined(self) -> operations.Examined:
        """What a doctor is told of the settings."""
        options = self._ledger.options
        return operations.Examined(
            address=self.address,
            file=self._ledger.file,
            migrate=options.migrate,
            pool_size=options.pool_size,
            connections=self._ledger.connections,
            compresses=self._desk.compression != "none",
            cache=self._hot.where,
        )

    def _run(self, flow: Flow[T], alter: Alter | None = None) -> T:
        """Drive a flow to its end; with ``alter`` each of its steps is done as that makes it."""
        perform = self._perform if alter is None else lambda step: self._perform(alter(step))
        if not self._observers and (self._telemetry is None or not is_on()):
            return run(flow, perform)
        return Watch.of(flow, self._who_watches()).run(flow, perform)

    async def _arun(self, flow: Flow[T], alter: Alter | None = None) -> T:
        perform = self._aperform if alter is None else lambda step: self._aperform(alter(step))
        if not self._observers and (self._telemetry is None or not is_on()):
            return await arun(flow, perform)
        return await Watch.of(flow, self._who_watches()).arun(flow, perform)

    def _who_watches(self) -> tuple[Observer, ...]:
        telemetry = self._telemetry
        if telemetry is None or not is_on():
            return self._observers
        return (telemetry, *self._observers)

    def _watched(self, name: str) -> Watch:
        """Watch what is no flow: what is done before there are tables, or about all of them."""
        return Watch(Operation(name, {}), self._who_watches())

    def _perform(self, step: Step) -> Any:
        match step:  # what has no arguments: a pattern with one takes 0.2 µs more
            case Hot():
                return self._hot.exchange(step.call(self._hot))
            case Cold():
                if step.writes:
                    return self._ledger.write(step.work, step.durable)
                ledger = self._ledger
                return ledger.read_alone(step.work) if step.alone else ledger.read(step.work)
            case Autocommit(work):
                if step.seconds_as_it_is is not None:
                    return self._ledger.look(work, step.seconds_as_it_is)
                return self._ledger.apart(work)
            case InThread(work):
                return work()
            case Outside(ask, _):
                return ask()
            case Pause(seconds):
                return time.sleep(seconds)
            case _:
                assert_never(step)

    async def _aperform(self, step: Step) -> Any:
        match step:
            case Hot(call):
                return await self._hot.aexchange(call(self._hot))
            case Cold(work, writes):
                ledger = self._ledger
                if writes:
                    return await ledger.awrite(work, step.durable)
                return await (ledger.aread_alone if step.alone else ledger.aread)(work)
            case Autocommit(work):
                if step.seconds_as_it_is is not None:
                    return await self._ledger.alook(work, step.seconds_as_it_is)
                return await self._ledger.aapart(work)
            case InThread(work):
                return await asyncio.to_thread(work)
            case Outside(_, ask):
                return await ask()
            case Pause(seconds):
                return await asyncio.sleep(seconds)
            case _:
                assert_never(step)

    def _emptied(self) -> None:
        # A session of the backup may stand where one stood that this process remembers.
        self._hot.empty()
        self._desk.forget()

    def _forget(self) -> None:
        self._ledger.forget()
        self._hot.forget()
        self._desk.forget()
