"""A session: the handle on one conversation.

Each method is one line over a flow (``operations.py``), and each has a twin with ``a`` before
its name; ``tests`` hold the two to the same signature.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
)
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar, overload

from onrecord import operations
from onrecord.accepting import Appendable
from onrecord.flow import Flow
from onrecord.flows.shared import UNSET
from onrecord.gist import Kind
from onrecord.hit import Hit, Hits
from onrecord.item import ItemChange
from onrecord.items import Items
from onrecord.message import Message
from onrecord.ranking import RELEVANT
from onrecord.recall import Recalled
from onrecord.scope import SessionName, StateName
from onrecord.turn import LEASE, Holder, Turn
from onrecord.version import Expected, SessionInfo, Version
from onrecord.window import Limits, Window

if TYPE_CHECKING:
    from onrecord.files import Into
    from onrecord.flows.search.search import Found, Mode
    from onrecord.reports import Export, Receipt
    from onrecord.store import Store
    from onrecord.tokens import CountTokens

T = TypeVar("T")

PAGE = 1_000
"""How many messages ``scan`` reads at a time."""


class Session:
    """One conversation in a store. Holds no connection and no state: make as many as you like."""

    __slots__ = ("_arun", "_desk", "_holder", "_run", "name", "store")

    def __init__(self, store: Store, name: SessionName) -> None:
        self.store = store
        self.name = name
        self._desk = store._desk
        self._run = store._run
        self._arun = store._arun
        self._holder: Holder | None = None

    @property
    def state(self) -> Items:
        """The session's own items: a namespace that nobody reaches by names.

        Their first write makes the session, as ``update`` does. They are forked, exported, pruned
        and erased with it; ``clear`` and ``rewind`` take messages, and leave them.
        """
        return Items(self.store, StateName.of(self.name))

    def append(
        self,
        messages: Appendable,
        *,
        expected: Expected = None,
        archived: bool = False,
        existing: bool = False,
        items: Sequence[ItemChange] = (),
    ) -> list[Message]:
        """Make messages durable, all or none, and return them as stored.

        Takes a Message, a mapping, a ``(role, text)`` pair, or a list of these. A message whose
        id the session already has, with the same content, is returned as it is there and not
        appended again. With ``expected``, a version or a head, Conflict is raised if the
        session has moved on, or Cleared if it was cleared or rewound; with ``Since(version)`` only
        the latter. Messages that were read from it before and are gone are then left out.
        With ``archived=True`` what is new is archived in the same moment. With ``existing=True``
        a session that nobody has created or written to is refused by Conflict, and not made.
        ``items``, a list of ``Put``, ``Merge`` and ``Delete``, change items of the session's scope,
        or of its ``state``, in the same transaction: all of it is there, or nothing. Where no
        message is new, they were made with it before, and are not made again. With an empty list
        of messages they are changed where the session is as ``expected``.
        """
        return self.store._run(self._appended(messages, expected, archived, existing, items))

    async def aappend(
        self,
        messages: Appendable,
        *,
        expected: Expected = None,
        archived: bool = False,
        existing: bool = False,
        items: Sequence[ItemChange] = (),
    ) -> list[Message]:
        """Like ``append``."""
        appended = self._appended(messages, expected, archived, existing, items)
        return await self.store._arun(appended)

    def _appended(
        self,
        messages: Appendable,
        expected: Expected,
        archived: bool,
        existing: bool,
        items: Sequence[ItemChange],
    ) -> Flow[list[Message]]:
        holder = None if self._holder is None else self._holder.here()
        return operations.append(
            self._desk, self.name, messages, expected, archived, existing, items, holder
        )

    def create(
        self,
        *,
        title: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        expires_in: timedelta | None = None,
    ) -> SessionInfo:
        """Make the session before anything is said in it, and return what ``info`` says of it.

        Raises Conflict, and writes nothing, if it is there already: of several who create it at
        once one succeeds. Nobody has to: an append makes its session. One that was erased can
        be created again.
        """
        return self._run(operations.create(self._desk, self.name, title, metadata, expires_in))

    async def acreate(
        self,
        *,
        title: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        expires_in: timedelta | None = None,
    ) -> SessionInfo:
        """Like ``create``."""
        return await self._arun(
            operations.create(self._desk, self.name, title, metadata, expires_in)
        )

    @overload
    def messages(
        self,
        *,
        after: int | None = None,
        before: int | None = None,
        limit: int | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        archived: bool | None = None,
        stale_ok: bool = False,
    ) -> list[Message]: ...
    @overload
    def messages(
        self,
        *,
        after: int | None = None,
        before: int | None = None,
        limit: int | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        archived: bool | None = None,
        into: Callable[[Message], T],
        stale_ok: bool = False,
    ) -> list[T]: ...
    def messages(
        self,
        *,
        after: int | None = None,
        before: int | None = None,
        limit: int | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        archived: bool | None = None,
        into: Callable[[Message], T] | None = None,
        stale_ok: bool = False,
    ) -> list[Message] | list[T]:
        """Read all messages, oldest first, or some of them.

        With ``after``, or with neither, ``limit`` takes the oldest; with ``before`` alone the
        ones just before it. ``since`` leaves out what was created before a time, ``until`` what
        was created at one or later; neither orders: a session's order is that of its sequences,
        whatever times were given to ``append``. ``archived`` leaves out those that are not, or
        those that are; otherwise it makes no difference. ``into`` makes something else of each
        message as it is read: of 10,000 that takes two thirds of the time of doing it afterwards.
        ``stale_ok`` asks the store's replica, if it has one: what was said last may be missing.
        """
        reader = self.store._reader(stale_ok)
        flow = operations.messages(
            reader._desk, self.name, after, before, limit, archived, into, since, until
        )
        return reader._run(flow)

    @overload
    async def amessages(
        self,
        *,
        after: int | None = None,
        before: int | None = None,
        limit: int | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        archived: bool | None = None,
        stale_ok: bool = False,
    ) -> list[Message]: ...
    @overload
    async def amessages(
        self,
        *,
        after: int | None = None,
        before: int | None = None,
        limit: int | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        archived: bool | None = None,
        into: Callable[[Message], T],
        stale_ok: bool = False,
    ) -> list[T]: ...
    async def amessages(
        self,
        *,
        after: int | None = None,
        before: int | None = None,
        limit: int | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        archived: bool | None = None,
        into: Callable[[Message], T] | None = None,
        stale_ok: bool = False,
    ) -> list[Message] | list[T]:
        """Like ``messages``."""
        reader = self.store._reader(stale_ok)
        flow = operations.messages(
            reader._desk, self.name, after, before, limit, archived, into, since, until
        )
        return await reader._arun(flow)

    def tail(self, n: int = 20, *, stale_ok: bool = False) -> list[Message]:
        """Read the newest n messages, oldest of them first.

        ``stale_ok`` asks the store's replica, if it has one, and no cache: what was said last may
        be missing.
        """
        reader = self.store._reader(stale_ok)
        return reader._run(operations.tail(reader._desk, self.name, n))

    async def atail(self, n: int = 20, *, stale_ok: bool = False) -> list[Message]:
        """Like ``tail``."""
        reader = self.store._reader(stale_ok)
        return await reader._arun(operations.tail(reader._desk, self.name, n))

    def window(
        self,
        *,
        messages: int | None = None,
        turns: int | None = None,
        tokens: int | None = None,
        repair: bool = False,
        token_counter: CountTokens | None = None,
        last: Window | None = None,
        summary: Kind = False,
        stale_ok: bool = False,
    ) -> Window:
        """Read the newest messages within the limits, fit to show a model.

        It begins where a turn begins, keeps a leading system message, and never separates a
        tool call from its results. Calls whose result never came are reported as ``dangling``;
        ``repair=True`` answers them in what is returned, never in what is stored, and puts each
        result behind its call. ``token_counter`` counts instead of the store's own. ``last`` is
        a window of this session that was shown before: what still stands of it is not read
        again, and the two share their messages; where nothing was written since, it is the one.

        With ``summary=True`` the window's ``summary`` is what ``onrecord.memory.RollingSummary``
        keeps of older messages, if it keeps anything: no model is called here. The window goes on
        where the summary ends, also where it is over its limits by that, which ``fits`` says; but
        the newest turn is always there. Where all messages fit there is no summary.
        ``"extractive"`` asks for the one that is made without a model. ``stale_ok`` asks the
        store's replica, if it has one: what was said last may be missing.
        """
        reader = self.store._reader(stale_ok)
        limits = Limits(messages=messages, turns=turns, tokens=tokens)
        return reader._run(
            operations.window(reader._desk, self.name, limits, repair, token_counter, last, summary)
        )

    async def awindow(
        self,
        *,
        messages: int | None = None,
        turns: int | None = None,
        tokens: int | None = None,
        repair: bool = False,
        token_counter: CountTokens | None = None,
        last: Window | None = None,
        summary: Kind = False,
        stale_ok: bool = False,
    ) -> Window:
        """Like ``window``."""
        reader = self.store._reader(stale_ok)
        limits = Limits(messages=messages, turns=turns, tokens=tokens)
        return await reader._arun(
            operations.window(reader._desk, self.name, limits, repair, token_counter, last, summary)
        )

    def turn(self, *, lease: float = LEASE, wait: float = 0.0) -> AbstractContextManager[Turn]:
        """Hold the session while a ``with`` block runs: one holder at a time, over all processes.

        Whoever else asks for a turn waits, at most ``wait`` seconds, and raises TurnTaken then. The
        ``lease``, in seconds, is renewed meanwhile; who dies holds on no longer than that. What
        ``turn.append`` brings, and what is written by ``turn.session``, after another took over is
        refused by Fenced, and nothing is written. Writes without a turn go on as ever.
        """
        return self._turned(Holder("sessions", self.name, wait=wait, lease=lease))

    def aturn(
        self, *, lease: float = LEASE, wait: float = 0.0
    ) -> AbstractAsyncContextManager[Turn]:
        """Like ``turn``."""
        return self._aturned(Holder("sessions", self.name, wait=wait, lease=lease))

    @contextmanager
    def _turned(self, holder: Holder) -> Iterator[Turn]:
        with holder.held(self._run):
            yield Turn(Session(self.store, self.name), holder)

    @asynccontextmanager
    async def _aturned(self, holder: Holder) -> AsyncIterator[Turn]:
        async with holder.aheld(self._arun):
            yield Turn(Session(self.store, self.name), holder)

    def search(
        self,
        query: str,
        *,
        roles: Iterable[str] | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 10,
        min_score: float = 0.0,
        after: Hit | None = None,
        within: float = 5.0,
        mode: Mode = "auto",
        stale_ok: bool = False,
    ) -> Hits:
        """Find what was said in this session, the best first: see ``Store.search``."""
        reader = self.store._reader(stale_ok)
        return hits_of(
            self.store,
            reader._run(
                operations.search(
                    reader._desk,
                    self.name,
                    query,
                    roles,
                    since,
                    until,
                    None,
                    limit,
                    min_score,
                    after,
                    within,
                    mode,
                )
            ),
        )

    async def asearch(
        self,
        query: str,
        *,
        roles: Iterable[str] | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 10,
        min_score: float = 0.0,
        after: Hit | None = None,
        within: float = 5.0,
        mode: Mode = "auto",
        stale_ok: bool = False,
    ) -> Hits:
        """Like ``search``."""
        reader = self.store._reader(stale_ok)
        return hits_of(
            self.store,
            await reader._arun(
                operations.search(
                    reader._desk,
                    self.name,
                    query,
                    roles,
                    since,
                    until,
                    None,
                    limit,
                    min_score,
                    after,
                    within,
                    mode,
                )
            ),
        )

    def recall(
        self,
        query: str,
        *,
        tokens: int = 1_000,
        beyond: Sequence[Message] | None = None,
        min_score: float = RELEVANT,
        within: float = 5.0,
    ) -> Recalled:
        """Recall older turns that answer a query, in the order they were said: whole turns, calls
        with their results, in at most so many tokens; nothing, where nothing is relevant.

        What ``beyond`` has, a window that is shown anyway, is left out. ``min_score`` says what is
        relevant, from 0 to 1. ``recalled.text`` can stand in a prompt. A query is what somebody
        said: unlike in ``search``, quotes and hyphens ask for nothing.
        """
        return self._run(
            operations.recall(self._desk, self.name, query, tokens, beyond, min_score, within)
        )

    async def arecall(
        self,
        query: str,
        *,
        tokens: int = 1_000,
        beyond: Sequence[Message] | None = None,
        min_score: float = RELEVANT,
        within: float = 5.0,
    ) -> Recalled:
        """Like ``recall``."""
        return await self._arun(
            operations.recall(self._desk, self.name, query, tokens, beyond, min_score, within)
        )

    def scan(self, *, after: int = 0, stale_ok: bool = False) -> Iterator[Message]:
        """Iterate over all messages up to the present head, oldest first, a page at a time.

        Raises Conflict if the session is rewritten meanwhile. ``stale_ok`` asks the store's
        replica, if it has one: what was said last may be missing.
        """
        reader = self.store._reader(stale_ok)
        version: Version | None = None
        while True:
            version, page = reader._run(
                operations.scan_page(reader._desk, self.name, after, PAGE, version)
            )
            yield from page
            if len(page) < PAGE:
                return
            after = page[-1].seq or 0

    async def ascan(self, *, after: int = 0, stale_ok: bool = False) -> AsyncIterator[Message]:
        """Like ``scan``."""
        reader = self.store._reader(stale_ok)
        version: Version | None = None
        while True:
            version, page = await reader._arun(
                operations.scan_page(reader._desk, self.name, after, PAGE, version)
            )
            for message in page:
                yield message
            if len(page) < PAGE:
                return
            after = page[-1].seq or 0

    def count(self, *, archived: bool | None = None) -> int:
        """Count messages: all, or by whether they are archived. Deleted ones do not count."""
        return self._run(operations.count(self._desk, self.name, archived))

    async def acount(self, *, archived: bool | None = None) -> int:
        """Like ``count``."""
        return await self._arun(operations.count(self._desk, self.name, archived))

    def head(self) -> int:
        """Read the sequence of the newest message; 0 if there is none."""
        return self.version().head

    async def ahead(self) -> int:
        """Like ``head``."""
        return (await self.aversion()).head

    def version(self) -> Version:
        """Read the session's version. Take it before a turn, and pass it as ``expected`` after."""
        return self._run(operations.version(self._desk, self.name))

    async def aversion(self) -> Version:
        """Like ``version``."""
        return await self._arun(operations.version(self._desk, self.name))

    def info(self, *, stale_ok: bool = False) -> SessionInfo:
        """Read title, metadata, counts and times, without reading a message. ``stale_ok`` asks the
        store's replica, if it has one: what was said last may be missing."""
        reader = self.store._reader(stale_ok)
        return reader._run(operations.info(reader._desk, self.name))

    async def ainfo(self, *, stale_ok: bool = False) -> SessionInfo:
        """Like ``info``."""
        reader = self.store._reader(stale_ok)
        return await reader._arun(operations.info(reader._desk, self.name))

    def update(
        self,
        *,
        title: str | None = UNSET,
        metadata: Mapping[str, Any] | None = UNSET,
        merge: Mapping[str, Any] = UNSET,
        expires_in: timedelta | None = UNSET,
        expected: Expected | SessionInfo = None,
    ) -> SessionInfo:
        """Set title, metadata or expiry, each as a whole; what is left out stays, None takes it
        away. ``expires_in`` runs from the last message on, and nothing goes before ``prune()``.

        ``merge`` puts its keys over those of the metadata, instead of ``metadata``: two who merge
        different keys at once both win, and None is a value like others. ``expected`` as in
        ``append``; or what ``info`` has returned, which refuses where title, metadata or expiry
        are others by now. Conflict carries what is there as its ``info``.
        """
        return self._run(
            operations.update(
                self._desk, self.name, title, metadata, merge, expected, expires_in=expires_in
            )
        )

    async def aupdate(
        self,
        *,
        title: str | None = UNSET,
        metadata: Mapping[str, Any] | None = UNSET,
        merge: Mapping[str, Any] = UNSET,
        expires_in: timedelta | None = UNSET,
        expected: Expected | SessionInfo = None,
    ) -> SessionInfo:
        """Like ``update``."""
        return await self._arun(
            operations.update(
                self._desk, self.name, title, metadata, merge, expected, expires_in=expires_in
            )
        )

    def edit(self, seq: int, message: Appendable) -> Message:
        """Put another message in the place of one. Its place, id and time stay."""
        return self._run(operations.edit(self._desk, self.name, seq, message))

    async def aedit(self, seq: int, message: Appendable) -> Message:
        """Like ``edit``."""
        return await self._arun(operations.edit(self._desk, self.name, seq, message))

    def delete(self, seq: int, *, expected: Expected = None) -> Message:
        """Take one message away for good and return it. Its place stays empty.

        After a clear or a rewind another message may stand there: ``expected=Since(version)``,
        with the version you read it at, refuses then.
        """
        return self._run(operations.delete(self._desk, self.name, seq, expected))

    async def adelete(self, seq: int, *, expected: Expected = None) -> Message:
        """Like ``delete``."""
        return await self._arun(operations.delete(self._desk, self.name, seq, expected))

    def pop(self, n: int = 1, *, expected: Expected = None) -> list[Message]:
        """Take the newest n messages away for good and return them, oldest of them first.

        In one step: of two who pop at once, each is given other messages. Archived messages
        count. It is a rewind to before the oldest of them; where there is none, nothing is
        written. ``expected`` is minded as by ``append``.
        """
        return self._run(operations.pop(self._desk, self.name, n, expected))

    async def apop(self, n: int = 1, *, expected: Expected = None) -> list[Message]:
        """Like ``pop``."""
        return await self._arun(operations.pop(self._desk, self.name, n, expected))

    def rewind(self, seq: int) -> Version:
        """Make ``seq`` the newest message: what came after it is gone for good."""
        return self._run(operations.rewind(self._desk, self.name, seq))

    async def arewind(self, seq: int) -> Version:
        """Like ``rewind``."""
        return await self._arun(operations.rewind(self._desk, self.name, seq))

    def replace(
        self,
        messages: Appendable,
        *,
        after: int = 0,
        archived: bool | None = None,
        expected: Expected = None,
    ) -> list[Message]:
        """Put messages in the place of all that stands after a sequence, and return them as stored.

        In one step: nobody sees the session without either. It is a rewind and an append, so
        the epoch moves, and messages that were read here before are new ones. ``archived`` puts
        archived messages in the place of those that are archived, or active ones in the place
        of those that are not; the others stay as they are, and the new ones come after them.
        """
        flow = operations.replace(self._desk, self.name, messages, after, archived, expected)
        return self._run(flow)

    async def areplace(
        self,
        messages: Appendable,
        *,
        after: int = 0,
        archived: bool | None = None,
        expected: Expected = None,
    ) -> list[Message]:
        """Like ``replace``."""
        flow = operations.replace(self._desk, self.name, messages, after, archived, expected)
        return await self._arun(flow)

    def exchange(
        self,
        messages: Sequence[Message],
        new: Appendable | None = None,
        *,
        items: Sequence[ItemChange] = (),
    ) -> Message | None:
        """Take messages away for good, all or none, and put a new one in the place of the first.

        They are given as they were read here. Where one of them was edited, taken away or written
        anew since, Conflict is raised and nothing is done: of two who summarise the same run one
        succeeds. The others' places stay empty, what stands between them stays. The new one has
        the place, the id and the time of the first; without one all places stay empty. ``items``
        are changed in the same transaction, as by ``append``.
        """
        return self._run(operations.exchange(self._desk, self.name, messages, new, items))

    async def aexchange(
        self,
        messages: Sequence[Message],
        new: Appendable | None = None,
        *,
        items: Sequence[ItemChange] = (),
    ) -> Message | None:
        """Like ``exchange``."""
        return await self._arun(operations.exchange(self._desk, self.name, messages, new, items))

    def archive(self, seqs: Iterable[int], *, expected: Expected = None) -> list[Message]:
        """Archive messages, and return those that were not archived before.

        Two who archive at once are each given other messages. Nothing moves and no epoch ends:
        who reads without ``archived=`` sees no difference. ``expected`` is minded as by
        ``delete``.
        """
        return self._run(operations.archive(self._desk, self.name, seqs, expected))

    async def aarchive(self, seqs: Iterable[int], *, expected: Expected = None) -> list[Message]:
        """Like ``archive``."""
        return await self._arun(operations.archive(self._desk, self.name, seqs, expected))

    def unarchive(self, seqs: Iterable[int]) -> None:
        """Make archived messages active again."""
        self._run(operations.unarchive(self._desk, self.name, seqs))

    async def aunarchive(self, seqs: Iterable[int]) -> None:
        """Like ``unarchive``."""
        await self._arun(operations.unarchive(self._desk, self.name, seqs))

    def clear(self) -> Version:
        """Take all messages away for good. The session, its title, metadata and state stay."""
        return self._run(operations.rewind(self._desk, self.name, 0))

    async def aclear(self) -> Version:
        """Like ``clear``."""
        return await self._arun(operations.rewind(self._desk, self.name, 0))

    def fork(self, key: str, at: int | None = None) -> Session:
        """Make a session of the same scope that begins with the messages up to ``at``, or all.

        Sequences, deleted places, times, given ids and what is archived are the same, and title,
        metadata and expiry; ids that the store made up are the fork's own. Its state is that of
        now, whatever ``at`` is: items have no history. Raises Conflict if there are messages or a
        state under that key already.
        """
        return Session(self.store, self._run(operations.fork(self._desk, self.name, key, at)))

    async def afork(self, key: str, at: int | None = None) -> Session:
        """Like ``fork``."""
        return Session(
            self.store, await self._arun(operations.fork(self._desk, self.name, key, at))
        )

    def export(self, target: Into, *, overwrite: bool = True, stale_ok: bool = False) -> Export:
        """Write the session and its state to a file, as ``store.export`` does."""
        reader = self.store._reader(stale_ok)
        flow = operations.export_session(reader._desk, self.name, target, overwrite)
        return reader._run(flow)

    async def aexport(
        self, target: Into, *, overwrite: bool = True, stale_ok: bool = False
    ) -> Export:
        """Like ``export``."""
        reader = self.store._reader(stale_ok)
        flow = operations.export_session(reader._desk, self.name, target, overwrite)
        return await reader._arun(flow)

    def erase(self, *, thorough: bool = True, dry_run: bool = False) -> Receipt:
        """Erase the session for good: messages, title, metadata, state, what was learned from it,
        and what caches hold. On SQLite the whole file is written again, so that no byte is left in
        it; ``thorough=False`` puts that off. ``dry_run`` removes nothing, and returns the receipt
        that there would be."""
        return self._run(operations.erase_session(self._desk, self.name, thorough, dry_run))

    async def aerase(self, *, thorough: bool = True, dry_run: bool = False) -> Receipt:
        """Like ``erase``."""
        flow = operations.erase_session(self._desk, self.name, thorough, dry_run)
        return await self._arun(flow)

    def __repr__(self) -> str:
        return f"Session({self.name} in {self.store!r})"

    def _repr_html_(self) -> str:
        from onrecord.notebook.display import session_html

        return session_html(self)


def hits_of(store: Store, found: tuple[list[Found], bool]) -> Hits:
    """What a search of a store has found, with handles on the sessions."""
    hits, complete = found
    return Hits(
        [Hit(hit.message, hit.info, hit.score, Session(store, hit.name)) for hit in hits],
        complete=complete,
    )
