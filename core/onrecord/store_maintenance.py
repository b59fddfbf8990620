"""Maintenance of a store: compact, train, count, verify, erase, move and prune."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import Enum
from os import PathLike
from typing import TYPE_CHECKING, Any, Final, TypeVar

from onrecord import operations
from onrecord.arguments import check_above_zero, check_range
from onrecord.errors import Misconfigured
from onrecord.files import is_there, path_of
from onrecord.scope import ANY, AnyName, Scope, check_owner
from onrecord.stored.clock import LONGEST_LIFE, MICROSECONDS

if TYPE_CHECKING:
    from onrecord.accepting import Appendable
    from onrecord.diagnosis import Diagnosis
    from onrecord.files import From, Into
    from onrecord.flow import Flow
    from onrecord.flows.shared import Desk
    from onrecord.reports import (
        Compaction,
        Embedding,
        Export,
        Import,
        Indexing,
        Maintenance,
        OnProgress,
        OnStep,
        Problem,
        Pruning,
        Receipt,
        Stats,
        Training,
    )
    from onrecord.store import Store

T = TypeVar("T")


class Unsaid(Enum):
    """A part of a scope that was left out, which is not the same as the empty name."""

    UNSAID = "left out"


UNSAID: Final = Unsaid.UNSAID


class StoreMaintenance:
    """The methods of a store that are for those who run it."""

    _desk: Desk

    if TYPE_CHECKING:

        @property
        def address(self) -> str: ...
        def _examined(self) -> operations.Examined: ...
        def _reader(self, stale_ok: bool) -> Store: ...
        def _run(self, flow: Flow[T]) -> T: ...
        async def _arun(self, flow: Flow[T]) -> T: ...

    def distribute(self, way: str = "partitions", *, parts: int | None = None) -> list[str]:
        """Spread the tables of a PostgreSQL that holds nothing yet, by the shard of tenant and
        user, and say which tables that are; they are made where there are none.

        ``"partitions"``: so many, on this server. ``"citus"``: over the nodes of Citus, in so many
        shards of Citus. Without ``parts`` as many as there are already, or 16. An append, a read, a
        clear, a checkpoint of one user stays within one of them.
        """
        return self._run(operations.distribute(self.address, way, parts))

    async def adistribute(self, way: str = "partitions", *, parts: int | None = None) -> list[str]:
        """Like ``distribute``."""
        return await self._arun(operations.distribute(self.address, way, parts))

    def compact(
        self,
        *,
        quiet_for: float = 3600,
        again: bool = False,
        progress: OnProgress | None = None,
    ) -> Compaction:
        """Seal sessions that nobody wrote to for so many seconds, and give room back to the disk.

        Nothing is needed for sessions that go on: their older messages are sealed as they grow.
        ``again`` also writes what is sealed already as it would be written today, after a
        ``train()`` or with another ``compression``, and the whole file or all tables, which then
        have no room in them; on PostgreSQL nobody else can use a table while it is written.
        ``progress`` is called with (done, of).
        """
        return self._run(operations.compact(self._desk, _seconds(quiet_for), again, progress))

    async def acompact(
        self,
        *,
        quiet_for: float = 3600,
        again: bool = False,
        progress: OnProgress | None = None,
    ) -> Compaction:
        """Like ``compact``."""
        return await self._arun(
            operations.compact(self._desk, _seconds(quiet_for), again, progress)
        )

    def train(self, sample: Iterable[Appendable] | None = None) -> Training:
        """Learn a dictionary from the store's own messages, or from a sample of conversations, and
        use it from now on. What was compressed before stays so until ``compact(again=True)``.

        What it learns is pieces of messages: an ``erase()`` of one of them takes it away too.
        Whose a sample was is not known: give one that may stay.
        """
        return self._run(operations.train(self._desk, sample))

    async def atrain(self, sample: Iterable[Appendable] | None = None) -> Training:
        """Like ``train``."""
        return await self._arun(operations.train(self._desk, sample))

    def maintain(self, *, within: float = 600, progress: OnStep | None = None) -> Maintenance:
        """Do what is due, for so many seconds at the most, and say what that was and what is left:
        for a cron, as often as you like.

        Sessions and items that have expired go, those that are quiet are sealed, a dictionary is
        learned where that pays, what was said is indexed, and shown to the embedder where there is
        one, and the database is tidied. Nothing goes that nobody asked to expire. It stops between
        two pieces of work, and the next run goes on there; while one is at it, another leaves
        everything to it. A step that fails is in the report, and keeps no other from being done.
        ``progress`` is called with a ``StepProgress``.
        """
        return self._run(operations.maintain(self._desk, _within(within), progress))

    async def amaintain(
        self, *, within: float = 600, progress: OnStep | None = None
    ) -> Maintenance:
        """Like ``maintain``."""
        return await self._arun(operations.maintain(self._desk, _within(within), progress))

    def index(
        self,
        *,
        tenant: AnyName = ANY,
        user: AnyName = ANY,
        agent: AnyName = ANY,
        again: bool = False,
        progress: OnProgress | None = None,
    ) -> Indexing:
        """Index what was said since the last time, so that no search has to: in the whole store, or
        in a scope of it. ``again`` throws the index away first.

        Nothing is ever missed without it: a search reads what is not indexed, and indexes it where
        that is much. Others may go on writing. ``progress`` is called with (done, of) sessions.
        """
        scope = _scope(tenant, user, agent)
        return self._run(operations.index(scope, again, progress))

    async def aindex(
        self,
        *,
        tenant: AnyName = ANY,
        user: AnyName = ANY,
        agent: AnyName = ANY,
        again: bool = False,
        progress: OnProgress | None = None,
    ) -> Indexing:
        """Like ``index``."""
        scope = _scope(tenant, user, agent)
        return await self._arun(operations.index(scope, again, progress))

    def embed(
        self,
        *,
        tenant: AnyName = ANY,
        user: AnyName = ANY,
        agent: AnyName = ANY,
        only: bool = False,
        progress: OnProgress | None = None,
    ) -> Embedding:
        """Show the store's embedder what was said since the last time: in the whole store, or in a
        scope of it. Run it from time to time: a search shows it a few messages by itself, and goes
        by words for the others.

        It goes on where it was interrupted. Another embedder sees everything anew, and meanwhile
        what the one before has made stands beside it, for stores that still have that one; with
        ``only`` it is taken away at the end. ``progress`` is called with (done, of) sessions.
        """
        scope = _scope(tenant, user, agent)
        return self._run(operations.embed_all(self._desk, scope, only, progress))

    async def aembed(
        self,
        *,
        tenant: AnyName = ANY,
        user: AnyName = ANY,
        agent: AnyName = ANY,
        only: bool = False,
        progress: OnProgress | None = None,
    ) -> Embedding:
        """Like ``embed``."""
        scope = _scope(tenant, user, agent)
        return await self._arun(operations.embed_all(self._desk, scope, only, progress))

    def stats(
        self,
        *,
        tenant: AnyName = ANY,
        user: AnyName = ANY,
        agent: AnyName = ANY,
        exact: bool = False,
        stale_ok: bool = False,
    ) -> Stats:
        """Count what there is and the bytes it takes: in the whole store, or in a scope of it.

        More than 10,000 sessions are estimated, by a thousand of them that were chosen by chance,
        and the answer says so: ``estimated``. Where few sessions have most of the messages, that
        may be far off. With ``exact`` all are counted, however long that takes. ``stale_ok`` asks
        the store's replica, if it has one: what was said last may be missing.
        """
        reader = self._reader(stale_ok)
        return reader._run(operations.stats(reader._desk, _scope(tenant, user, agent), exact))

    async def astats(
        self,
        *,
        tenant: AnyName = ANY,
        user: AnyName = ANY,
        agent: AnyName = ANY,
        exact: bool = False,
        stale_ok: bool = False,
    ) -> Stats:
        """Like ``stats``."""
        reader = self._reader(stale_ok)
        scope = _scope(tenant, user, agent)
        return await reader._arun(operations.stats(reader._desk, scope, exact))

    def verify(self, *, progress: OnProgress | None = None) -> list[Problem]:
        """Read everything and report what is damaged, missing or miscounted: nothing, if all is
        well. Changes nothing; others may go on writing."""
        return self._run(operations.verify(self._desk, progress))

    async def averify(self, *, progress: OnProgress | None = None) -> list[Problem]:
        """Like ``verify``."""
        return await self._arun(operations.verify(self._desk, progress))

    def doctor(self, *, within: float = 10.0) -> Diagnosis:
        """Look at what bites and say how bad it is and what to do: versions, the disk,
        permissions, settings of the servers, clocks, the tables, what waits to be done, and a
        sample of what is stored. docs/how-to/doctor.md lists every check.

        It changes nothing, makes no table, and raises for nothing that it finds: a database that
        cannot be reached is a finding, too. What is not looked at ``within`` so many seconds is
        named in a note. To reach a server may take the store's ``timeout`` more.
        """
        return self._run(operations.doctor(self._desk, self._examined(), _within(within)))

    async def adoctor(self, *, within: float = 10.0) -> Diagnosis:
        """Like ``doctor``."""
        return await self._arun(operations.doctor(self._desk, self._examined(), _within(within)))

    def erase(
        self,
        *,
        tenant: AnyName | Unsaid = UNSAID,
        user: AnyName | Unsaid = UNSAID,
        agent: AnyName | Unsaid = UNSAID,
        thorough: bool = True,
        dry_run: bool = False,
        progress: OnProgress | None = None,
    ) -> Receipt:
        """Erase every session, thread and item of a scope, for good, and say what that was.

        At least one part of the scope has to be said. What is left out beside it means the empty
        name; ``onrecord.ANY`` means every one. The receipt counts what was left under other
        names. On SQLite the whole file is written again, so that no byte is left in it;
        ``thorough=False`` puts that off. ``dry_run`` removes nothing, and returns the receipt that
        there would be.

        Sessions go by the hundred, each as a whole: whoever is interrupted runs it again.
        ``progress`` is called with (done, of) sessions.
        """
        scope = _scope_to_erase(tenant, user, agent)
        return self._run(operations.erase(self._desk, scope, thorough, progress, dry_run))

    async def aerase(
        self,
        *,
        tenant: AnyName | Unsaid = UNSAID,
        user: AnyName | Unsaid = UNSAID,
        agent: AnyName | Unsaid = UNSAID,
        thorough: bool = True,
        dry_run: bool = False,
        progress: OnProgress | None = None,
    ) -> Receipt:
        """Like ``erase``."""
        scope = _scope_to_erase(tenant, user, agent)
        return await self._arun(operations.erase(self._desk, scope, thorough, progress, dry_run))

    def export(
        self,
        target: Into,
        *,
        tenant: AnyName = ANY,
        user: AnyName = ANY,
        agent: AnyName = ANY,
        overwrite: bool = True,
        progress: OnProgress | None = None,
        stale_ok: bool = False,
    ) -> Export:
        """Write all sessions and items, or those of a scope, to a file that ``import_`` reads, and
        anybody else: lines of JSON, as docs/how-to/export.md has them.

        ``target`` is a path that ends in ``.jsonl``, or ``.jsonl.zst`` to be compressed, or a file
        open for bytes. A path never holds half of it, and what it held before is written over;
        with ``overwrite=False`` that is refused instead. The same content is the same bytes. Each
        session is as it was at one moment; others may go on writing. ``stale_ok`` asks the store's
        replica, if it has one: what was said last may be missing.
        """
        reader, scope = self._reader(stale_ok), _scope(tenant, user, agent)
        flow = operations.export(reader._desk, scope, target, overwrite, progress)
        return reader._run(flow)

    async def aexport(
        self,
        target: Into,
        *,
        tenant: AnyName = ANY,
        user: AnyName = ANY,
        agent: AnyName = ANY,
        overwrite: bool = True,
        progress: OnProgress | None = None,
        stale_ok: bool = False,
    ) -> Export:
        """Like ``export``."""
        reader, scope = self._reader(stale_ok), _scope(tenant, user, agent)
        flow = operations.export(reader._desk, scope, target, overwrite, progress)
        return await reader._arun(flow)

    def backup(self, path: str | PathLike[str]) -> None:
        """Copy a SQLite database to a new file, while it is used: one file with all that was
        committed when it began, and on the disk when this returns.

        Nothing is written over. To restore, put the file in the place of the old one, without
        what ends in ``-wal`` and ``-shm``. For PostgreSQL use ``pg_dump``, and run
        ``invalidate()`` after a restore.
        """
        self._run(operations.backup(self.address, path))

    async def abackup(self, path: str | PathLike[str]) -> None:
        """Like ``backup``."""
        await self._arun(operations.backup(self.address, path))

    def import_(self, source: From, *, progress: OnProgress | None = None) -> Import:
        """Bring the sessions and items that ``export`` wrote to a file, compressed or not.

        What is there already is left alone, so it may be done again, and goes on where it was
        interrupted. A session or an item that is there and differs stays as it is, and
        ``differing`` of what is returned names it; the others are brought.
        """
        return self._run(operations.import_(self._desk, source, progress))

    async def aimport_(self, source: From, *, progress: OnProgress | None = None) -> Import:
        """Like ``import_``."""
        return await self._arun(operations.import_(self._desk, source, progress))

    def prune(
        self,
        *,
        older_than: timedelta | datetime | None = None,
        archive_to: str | PathLike[str] | None = None,
        dry_run: bool = False,
        tenant: AnyName = ANY,
        user: AnyName = ANY,
        agent: AnyName = ANY,
        progress: OnProgress | None = None,
    ) -> Pruning:
        """Remove sessions that have expired, and say how many; with ``older_than`` also those that
        nobody has written to for so long. Items that have expired go too, and are counted. The
        report names the first thousand sessions, those that were quiet for longest.

        ``dry_run`` only says which. With ``archive_to``, a ``.jsonl`` or ``.jsonl.zst`` file that
        ``import_`` reads, they go when the archive is complete and on the disk, each as it is
        there: a session that was written to meanwhile stays, and so does one of which the state
        or what is archived was changed. As many as there are, few are held in memory; a note of
        each stands in a file without a name beside the archive. Items that expired are in no
        archive.

        Sessions go by the hundred, each as a whole: whoever is interrupted runs it again.
        ``progress`` is called with (done, of) sessions.
        """
        scope = _scope(tenant, user, agent)
        _check_archive(archive_to)
        return self._run(
            operations.prune(self._desk, scope, older_than, archive_to, dry_run, progress)
        )

    async def aprune(
        self,
        *,
        older_than: timedelta | datetime | None = None,
        archive_to: str | PathLike[str] | None = None,
        dry_run: bool = False,
        tenant: AnyName = ANY,
        user: AnyName = ANY,
        agent: AnyName = ANY,
        progress: OnProgress | None = None,
    ) -> Pruning:
        """Like ``prune``."""
        scope = _scope(tenant, user, agent)
        await asyncio.to_thread(_check_archive, archive_to)
        return await self._arun(
            operations.prune(self._desk, scope, older_than, archive_to, dry_run, progress)
        )


def _check_archive(archive_to: str | PathLike[str] | None) -> None:
    """Refuse to write over an archive: it is the only copy of what was pruned into it."""
    if archive_to is not None and is_there(path_of(archive_to)):
        raise Misconfigured(
            f"{path_of(archive_to)!r} is there already. Give each archive a name of its own, with "
            f"the date in it for example. Nothing was pruned."
        )


def _scope(tenant: Any, user: Any, agent: Any) -> Scope:
    check_owner(tenant, user, agent)
    return Scope(tenant, user, agent)


def _scope_to_erase(tenant: Any, user: Any, agent: Any) -> Scope:
    """Read a scope of which at least one part has to be named; the others are the empty name."""
    parts = (tenant, user, agent)
    if all(part is UNSAID for part in parts):
        raise Misconfigured(
            "erase() has to be told whose sessions to erase, for example erase(user='ada'). "
            "erase(tenant='', user='', agent='') erases those that stand under no names; "
            "erase(tenant=ANY, user=ANY, agent=ANY), with onrecord.ANY, erases everybody's. "
            "Nothing was erased."
        )
    return _scope(*("" if part is UNSAID else part for part in parts))


def _within(within: float) -> float:
    check_above_zero("within", within, LONGEST_LIFE // MICROSECONDS)
    return within


def _seconds(quiet_for: float) -> float:
    check_range("quiet_for", quiet_for, "a number of seconds", 0, LONGEST_LIFE // MICROSECONDS)
    return quiet_for
