"""Bringing conversations from elsewhere into a store, so that it can be done again.

A source hands out its conversations, and each of these its rows, oldest first. What is there
already is known by two things:

- A mark in the session's metadata says how far the source was read. It is set before the first
  batch and after each one. While it is open, what follows it may have been brought as well.
- Every message has an id: the one it had, or one made of its row. So whatever the mark leaves
  open, after a crash or because somebody overwrote it, is settled by the ids in the session.

A batch is appended only if nobody has spoken since the ids were looked at. So it matters neither
who else writes to the session, another import among them, nor how many messages ago that was.
"""

from __future__ import annotations

import asyncio
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple, TypeAlias

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from recollect import codec
from recollect.adapting import Talk, atalk, call, talk
from recollect.coerce import messages_from
from recollect.errors import (
    Cleared,
    Conflict,
    IdReused,
    InvalidMessage,
    InvalidName,
    Misconfigured,
)
from recollect.message import Message
from recollect.scope import check_name
from recollect.version import Version

if TYPE_CHECKING:
    from recollect.session import Session
    from recollect.store import Store

KEY: Final = "recollect.imported"
"""Where in a session's metadata the marks stand: one for each conversation brought into it."""
BATCH: Final = 50
"""How many messages are appended at a time: fewer than those whose ids an append knows (I5)."""
REMEMBERED: Final = 8
"""How many of the last rows a mark describes."""
_PAGE: Final = 100
_PATIENCE: Final = 50
_MOST_RESTARTS: Final = 5
_LONGEST_PART: Final = 100
_STRANGE: Final = re.compile(r"[^\w.-]")
_PARTS: Final = frozenset({"session_id", "tenant", "user", "agent"})


class Unread(NamedTuple):
    """Something that was not brought, and why. A row of None stands for the whole session."""

    session: str | None
    row: str | None
    reason: str

    def __str__(self) -> str:
        row = "" if self.row is None else f"row {self.row} of "
        whose = "no session" if self.session is None else f"session {self.session!r}"
        return f"{row}{whose}: {self.reason}"


class Brought(Struct, frozen=True, kw_only=True):
    """What an import did."""

    sessions: int
    """How many conversations of the source were looked at."""
    messages: int
    """How many messages are new in the store."""
    already_there: int
    """How many messages of the source had been brought before."""
    unread: tuple[Unread, ...]
    """What could not be brought. All the rest was."""
    behind: tuple[str, ...]
    """Conversations in which somebody had spoken already, so that the new ones come after that."""


class Progress(NamedTuple):
    """Where an import stands, after a batch."""

    session: str
    sessions: int
    messages: int


class Row(NamedTuple):
    """One entry of a conversation as its source has it."""

    name: str
    """What reports call it. With its content it makes the id of a message that has none."""
    raw: bytes
    said: Message | str
    """The message, or why there is none."""


class Page(NamedTuple):
    """Some rows of a conversation."""

    rows: list[Row]
    read: int
    """How many rows the conversation has up to the end of this page."""
    more: bool
    anew: bool = False
    """Whether it begins with the first row: the source is not what it was at the mark."""
    base: int = 0
    """How many rows went before the first one and are gone, where rows are named by counting."""


Count: TypeAlias = Annotated[int, Meta(ge=0)]


class Mark(Struct, frozen=True, omit_defaults=True):
    """How far a conversation was read."""

    read: Count = 0
    row: str = ""
    last: tuple[str, ...] = ()
    """What the last rows were, the newest at the end; see ``digest``."""
    base: Count = 0
    there: Count = 0
    """How many of the rows are messages of the session now."""
    unread: Count = 0
    """How many could not be read. If there are any, the next import begins with the first row."""
    head: Count = 0
    """The sequence of the last message that came from these rows."""
    epoch: int | None = None
    """The session's when the first row was brought."""
    open: int | None = None
    """While rows are being brought, the epoch since when the session must not have been cut."""

    def anew(self, base: int) -> Mark:
        """Before the first row, of which it is not known whether it was brought."""
        return Mark(base=base, epoch=self.epoch, open=self.epoch)


class Conversation(ABC):
    """One conversation of a source."""

    id: str

    @abstractmethod
    def after(self, mark: Mark, limit: int) -> Page:
        """The next rows, or the first ones where those of the mark are no longer there."""

    async def aafter(self, mark: Mark, limit: int) -> Page:
        """Like ``after``, in a thread."""
        return await asyncio.to_thread(self.after, mark, limit)


class Source(ABC):
    """Where conversations come from. It is only read, in steps that leave nothing open."""

    name: str
    """What marks are kept under: the same whenever it is the same source."""
    label: str
    """What the ids of messages begin with that had none."""

    @abstractmethod
    def conversations(self) -> Sequence[Conversation | Unread]:
        """The next few; none at the end."""

    async def aconversations(self) -> Sequence[Conversation | Unread]:
        """Like ``conversations``, in a thread."""
        return await asyncio.to_thread(self.conversations)

    def close(self) -> None:  # noqa: B027 - not every source has something to close
        """Close what is the source's own."""


SessionOf: TypeAlias = "Callable[[str], Session]"
Scope: TypeAlias = Callable[[str], Mapping[str, str]]
OnProgress: TypeAlias = Callable[[Progress], object]


def sessions_in(
    store: Store, *, tenant: str, user: str, agent: str, scope: Scope | None
) -> SessionOf:
    """Which session a conversation goes to, by its id."""
    fixed = {"tenant": tenant, "user": user, "agent": agent}
    store.session("checked", **fixed)  # what is wrong for all is wrong now

    def session_of(id_: str) -> Session:
        given = {} if scope is None else scope(id_)
        if not isinstance(given, Mapping) or not given.keys() <= _PARTS:
            raise Misconfigured(
                f"scope has to return a mapping with some of 'tenant', 'user', 'agent' and "
                f"'session_id', and for {id_!r:.50} it returned {given!r:.80}."
            )
        parts = {"session_id": id_, **fixed, **given}
        return store.session(parts.pop("session_id"), **parts)

    return session_of


def only(session_ids: Iterable[object] | None) -> list[str] | None:
    """The conversations somebody asked for, each once; None for all."""
    if session_ids is None:
        return None
    if isinstance(session_ids, str | bytes):
        raise Misconfigured(f"session_ids has to be a list: [{session_ids!r:.50}].")
    return list(dict.fromkeys(str(id_) for id_ in session_ids))


def bring(source: Source, session_of: SessionOf, progress: OnProgress | None) -> Brought:
    """Bring what a source holds and the store does not, and close the source."""
    try:
        return talk(_brought(source, session_of, progress))
    finally:
        source.close()


async def abring(source: Source, session_of: SessionOf, progress: OnProgress | None) -> Brought:
    """Like ``bring``; the source is read in a thread."""
    try:
        return await atalk(_brought(source, session_of, progress))
    finally:
        await asyncio.to_thread(source.close)  # a read that a cancellation left alone ends first


def digest(raw: bytes) -> str:
    """What a mark remembers of a row."""
    return blake2b(raw, digest_size=8).hexdigest()


def printable(text: str) -> str:
    """Text that any terminal and log takes."""
    return text.encode("utf-8", "backslashreplace").decode()


class _Tally:
    def __init__(self) -> None:
        self.sessions = self.messages = self.there = 0
        self.unread: list[Unread] = []
        self.behind: list[str] = []

    def brought(self) -> Brought:
        return Brought(
            sessions=self.sessions,
            messages=self.messages,
            already_there=self.there,
            unread=tuple(self.unread),
            behind=tuple(self.behind),
        )


def _brought(source: Source, session_of: SessionOf, progress: OnProgress | None) -> Talk[Brought]:
    tally = _Tally()
    while some := (yield from call(source, "conversations")):
        for one in some:
            if isinstance(one, Unread):
                tally.unread.append(one)
                continue
            try:
                session = session_of(one.id)
            except InvalidName as fault:
                tally.unread.append(Unread(printable(one.id), None, str(fault)))
                continue
            tally.sessions += 1
            yield from _Bringing(source, one, session, tally, progress).all()
    return tally.brought()


class _Bringing:
    """One conversation on its way into its session."""

    def __init__(
        self,
        source: Source,
        conversation: Conversation,
        session: Session,
        tally: _Tally,
        progress: OnProgress | None,
    ) -> None:
        self._source = source
        self._conversation = conversation
        self._session = session
        self._tally = tally
        self._progress = progress
        self._name = f"{source.name}/{conversation.id}"
        self._first_unread = len(tally.unread)
        self._mark = Mark()
        self._version = Version(0, 0)
        """Up to where the ids of the session are known."""
        self._spoken: set[str] = set()
        """The ids of earlier rows: a later row that has one of them is another message."""
        self._there: dict[str, int] = {}
        """The ids of what came into the session after the mark, and where it stands."""
        self._met = 0
        """How many of these were found to be rows of ours."""
        self._new = 0
        self._cut = False
        self._left_out = 0

    def all(self) -> Talk[None]:
        """Bring what is not there yet."""
        info = yield from call(self._session, "info")
        self._mark = _mark_in(info.metadata, self._name)
        page = yield from self._next_page()
        if self._mark.unread:  # they may have been repaired, and are named each time if not
            self._mark = self._mark.anew(page.base)
            page = yield from self._next_page()
        if page.rows or page.more or self._mark.open is not None:
            # What the mark leaves open may have been brought and cleared away since it was set.
            mark, now = self._mark, info.version
            opened = now.epoch if mark.open is None else mark.open
            self._version = Version(opened, now.head)
            self._mark = replace(mark, epoch=now.epoch if mark.epoch is None else mark.epoch)
            yield from self._pages(page, opened)
        self._tally.there += max(0, self._mark.there - self._new)
        if self._left_out:
            self._report(
                None,
                f"it was cleared or rewound after it was brought in part, so {self._left_out:,} "
                f"more messages were left out. To bring it all again, clear the session and take "
                f"{KEY!r} out of its metadata.",
            )

    def _pages(self, page: Page, opened: int) -> Talk[None]:
        yield from self._set_mark(opened)
        if self._version.head:
            yield from self._look_after(0)
        for restart in range(_MOST_RESTARTS):
            if restart:  # the source was rewritten while it was being read
                del self._tally.unread[self._first_unread :]
                self._spoken.clear()
                self._there.clear()
                self._met = 0
                yield from self._look_after(0)
            while True:
                yield from self._bring_rows(page.rows)
                self._pass_over(page)
                yield from self._set_mark(opened if page.more else None)
                if self._progress is not None:
                    tally = self._tally
                    self._progress(Progress(self._conversation.id, tally.sessions, tally.messages))
                if not page.more:
                    return
                page = yield from self._next_page()
                if page.anew:
                    break
        self._report(None, "it kept changing while it was read. Import it again.")

    def _next_page(self) -> Talk[Page]:
        page: Page = yield from call(self._conversation, "after", self._mark, BATCH)
        if page.anew:
            self._mark = self._mark.anew(page.base)
        return page

    def _look_after(self, seq: int) -> Talk[None]:
        """Learn which ids the session has, and which of them may be rows that are yet to come."""
        while True:
            page = yield from call(self._session, "messages", after=seq, limit=_PAGE)
            for message in page:
                if message.seq > self._mark.head:
                    self._there[message.id] = message.seq
                else:
                    self._spoken.add(message.id)
            if len(page) < _PAGE:
                return
            seq = page[-1].seq

    def _bring_rows(self, rows: Sequence[Row]) -> Talk[None]:
        """Append what is not there; all that is there then, is there once."""
        said: dict[str, tuple[Row, Message]] = {}
        for row in rows:
            if isinstance(row.said, Message):
                said[self._id_of(row, row.said)] = (row, row.said)
            else:
                self._cannot_read(row, row.said)
        stored: list[Message] = []
        for _ in range(_PATIENCE):
            fresh = [id_ for id_ in said if id_ not in self._there]
            if self._cut:
                self._left_out += len(fresh)
                said = {id_: one for id_, one in said.items() if id_ in self._there}
                break
            if not fresh:
                break
            messages = [replace(said[id_][1], id=id_) for id_ in fresh]
            try:
                stored = yield from call(self._session, "append", messages, expected=self._version)
            except Cleared:
                self._cut = True
            except Conflict as moved:  # somebody spoke, or another import is at work
                yield from self._look_after(self._version.head)
                self._version = moved.version or self._version
            except IdReused:  # somebody used an id of theirs for something else
                made = {self._made_id(row): (row, message) for row, message in said.values()}
                if made.keys() == said.keys():
                    raise
                said = made
            except InvalidMessage:
                faults = {id_: _fault_of(said[id_][1]) for id_ in fresh}
                if not any(faults.values()):
                    raise
                for id_, fault in faults.items():
                    if fault is not None:
                        self._cannot_read(said.pop(id_)[0], fault)
            else:
                self._count(stored, ahead=list(said).index(fresh[0]))
                answered = {message.id for message in stored}
                for id_ in fresh:
                    if id_ not in answered:
                        self._report(said.pop(id_)[0], "the message of its id was deleted here.")
                break
        else:
            raise Conflict(
                f"Session {self._session.name} is written to without a pause, so nothing can be "
                f"brought into it. What was brought so far is kept: import it again later.",
                self._version,
            )
        met = [self._there[id_] for id_ in said if id_ in self._there]
        self._met += len(met)
        head = max([self._mark.head, *met, *(message.seq or 0 for message in stored)])
        self._mark = replace(self._mark, head=head, there=self._mark.there + len(said))

    def _count(self, stored: Sequence[Message], ahead: int) -> None:
        new = [message.seq or 0 for message in stored if (message.seq or 0) > self._version.head]
        if not new:
            return
        self._new += len(new)
        self._tally.messages += len(new)
        self._version = Version(self._version.epoch, max(new))
        # Others' messages, or rows of ours that come after these.
        before = len(self._there) > self._met + ahead
        if before and self._conversation.id not in self._tally.behind[-1:]:
            self._tally.behind.append(self._conversation.id)

    def _pass_over(self, page: Page) -> None:
        mark, newest = self._mark, page.rows[-REMEMBERED:]
        self._mark = replace(
            mark,
            read=page.read,
            row=newest[-1].name if newest else mark.row,
            last=(*mark.last, *(digest(row.raw) for row in newest))[-REMEMBERED:],
            base=page.base,
        )

    def _set_mark(self, opened: int | None) -> Talk[None]:
        # Where it was cleared, rows that could not be read are no reason to begin again.
        unread = 0 if self._cut else self._mark.unread
        self._mark = replace(self._mark, open=opened, unread=unread)
        info = yield from call(self._session, "info")
        marks = {**_marks_in(info.metadata), self._name: msgspec.to_builtins(self._mark)}
        yield from call(self._session, "update", metadata={**info.metadata, KEY: marks})
        if opened is not None and info.version.head > self._version.head:  # others spoke
            yield from self._look_after(self._version.head)
            self._version = Version(self._version.epoch, info.version.head)

    def _cannot_read(self, row: Row, reason: str) -> None:
        self._report(row, reason)
        self._mark = replace(self._mark, unread=self._mark.unread + 1)

    def _report(self, row: Row | None, reason: str) -> None:
        name = None if row is None else printable(row.name)
        self._tally.unread.append(Unread(printable(self._conversation.id), name, reason))

    def _id_of(self, row: Row, message: Message) -> str:
        """The message's own, unless an earlier one has it as well: histories hold copies."""
        own = message.id
        if own is None or own in self._spoken or not _is_name(own):
            return self._made_id(row)
        self._spoken.add(own)
        return own

    def _made_id(self, row: Row) -> str:
        """The same each time, and another one where the row has become another."""
        whole = f"{self._name}\0{row.name}\0".encode("utf-8", "surrogatepass") + row.raw
        content = blake2b(whole, digest_size=4).hexdigest()
        parts = (_STRANGE.sub("_", part)[:_LONGEST_PART] for part in (self._source.label, row.name))
        return "-".join([*parts, content])


def _marks_in(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    marks = metadata.get(KEY)
    return marks if isinstance(marks, Mapping) else {}


def _mark_in(metadata: Mapping[str, Any], name: str) -> Mark:
    try:
        mark = msgspec.convert(_marks_in(metadata).get(name, {}), Mark)
    except msgspec.ValidationError:
        return Mark()  # the ids know as well
    return mark if mark.last or not mark.read else Mark()


def _is_name(own: str) -> bool:
    try:
        check_name("id", own)
    except InvalidName:
        return False
    return True


def _fault_of(message: Message) -> str | None:
    try:
        codec.encode(messages_from(replace(message, id=None))[0])
    except InvalidMessage as fault:
        return str(fault)
    return None
