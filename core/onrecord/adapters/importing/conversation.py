"""Import one conversation into its session."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from hashlib import blake2b
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec.structs import replace

from onrecord import codec
from onrecord.accepting import messages_from
from onrecord.adapters.calls import Talk, call
from onrecord.adapters.importing.options import OnProgress
from onrecord.adapters.importing.report import ImportProgress, Tally, Unread, printable
from onrecord.adapters.importing.source import Bookmark, Conversation, Page, Source, SourceRow
from onrecord.adapters.stored import id_of, seq_of
from onrecord.errors import Cleared, Conflict, IdReused, InvalidMessage, InvalidName
from onrecord.message import Message
from onrecord.scope import check_name
from onrecord.version import Since, Version

if TYPE_CHECKING:
    from onrecord.session import Session

KEY: Final = "onrecord.imported"
"""Where in a session's metadata the marks stand: one for each conversation brought into it."""
BATCH: Final = 50
"""How many messages are appended at a time: fewer than those whose ids an append knows (I5)."""
_PAGE: Final = 100
_PATIENCE: Final = 50
_MOST_RESTARTS: Final = 5
_LONGEST_PART: Final = 100
_STRANGE: Final = re.compile(r"[^\w.-]")


class ConversationImport:
    """The import of one conversation: it appends the rows that are not there yet."""

    def __init__(
        self,
        source: Source,
        conversation: Conversation,
        session: Session,
        tally: Tally,
        progress: OnProgress | None,
    ) -> None:
        self._source = source
        self._conversation = conversation
        self._session = session
        self._tally = tally
        self._progress = progress
        self._name = f"{source.name}/{conversation.id}"
        self._first_unread = len(tally.unread)
        self._mark = Bookmark()
        self._version = Version(0, 0)
        """Up to where the ids of the session are known."""
        self._found = Version(0, 0)
        """Where the session stood when this began."""
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
        """Read the conversation to its end, and append what is new."""
        info = yield from call(self._session.info)
        self._mark, self._found = _mark_in(info.metadata, self._name), info.version
        page = yield from self._next_page()
        late = page.archived - sum(row.archived for row in page.rows) > self._mark.archived
        if self._mark.unread:  # they may have been repaired, and are named each time if not
            self._mark = self._mark.anew(page.base)
            page = yield from self._next_page()
        elif late:
            yield from self._archive_late()
        if page.rows or page.more or late or self._mark.open is not None:
            # What the mark leaves open may have been brought and cleared away since it was set.
            mark, now = self._mark, self._found
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
                for archived, rows in groupby(page.rows, attrgetter("archived")):
                    yield from self._bring_rows(list(rows), archived)
                self._mark = self._mark.after(page)
                yield from self._set_mark(opened if page.more else None)
                if self._progress is not None:
                    tally = self._tally
                    self._progress(
                        ImportProgress(self._conversation.id, tally.sessions, tally.messages)
                    )
                if not page.more:
                    return
                page = yield from self._next_page()
                if page.anew:
                    break
        self._report(None, "it kept changing while it was read. Import it again.")

    def _next_page(self) -> Talk[Page]:
        page: Page = yield from call(self._conversation.after, self._mark, BATCH)
        self._mark = self._mark.anew(page.base) if page.anew else self._mark.cut(page.gone)
        return page

    def _look_after(self, seq: int) -> Talk[None]:
        """Learn which ids the session has, and which of them may be rows that are yet to come."""
        while True:
            page = yield from call(self._session.messages, after=seq, limit=_PAGE)
            for message in page:
                if seq_of(message) > self._mark.head:
                    self._there[id_of(message)] = seq_of(message)
                else:
                    self._spoken.add(id_of(message))
            if len(page) < _PAGE:
                return
            seq = seq_of(page[-1])

    def _archive_late(self) -> Talk[None]:
        """Archive here what was archived in the source after it had been brought."""
        active: dict[str, int] = {}
        seq = 0
        while True:
            found = yield from call(self._session.messages, after=seq, limit=_PAGE, archived=False)
            active.update({id_of(message): seq_of(message) for message in found})
            if len(found) < _PAGE:
                break
            seq = seq_of(found[-1])
        late: list[int] = []
        mark, more = Bookmark(base=self._mark.base), True
        while more and mark.read < self._mark.read:
            page: Page = yield from call(self._conversation.after, mark, BATCH)
            for row in page.rows:
                id_ = self._id_of(row, row.said) if isinstance(row.said, Message) else ""
                if row.archived and id_ in active:
                    late.append(active[id_])
            mark, more = mark.after(page), page.more and not page.anew
        self._spoken.clear()
        yield from self._archive(late)

    def _archive(self, seqs: Sequence[int]) -> Talk[None]:
        if seqs:
            with suppress(Cleared):  # they are gone, and others may stand there now
                yield from call(self._session.archive, seqs, expected=Since(self._found))

    def _bring_rows(self, rows: Sequence[SourceRow], archived: bool) -> Talk[None]:
        """Append the rows that are not there. No row is there twice afterwards."""
        said: dict[str, tuple[SourceRow, Message]] = {}
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
                stored = yield from call(
                    self._session.append, messages, expected=self._version, archived=archived
                )
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
        if archived:
            yield from self._archive(met)
        self._met += len(met)
        head = max([self._mark.head, *met, *map(seq_of, stored)])
        self._mark = replace(self._mark, head=head, there=self._mark.there + len(said))
        for row, _ in said.values():
            if row.flaw:
                self._tally.incomplete[self._unread(row, row.flaw)] = None

    def _count(self, stored: Sequence[Message], ahead: int) -> None:
        new = [seq for seq in map(seq_of, stored) if seq > self._version.head]
        if not new:
            return
        self._new += len(new)
        self._tally.messages += len(new)
        self._version = Version(self._version.epoch, max(new))
        # Others' messages, or rows of ours that come after these.
        before = len(self._there) > self._met + ahead
        if before and self._conversation.id not in self._tally.behind[-1:]:
            self._tally.behind.append(self._conversation.id)

    def _set_mark(self, opened: int | None) -> Talk[None]:
        # Where it was cleared, rows that could not be read are no reason to begin again.
        unread = 0 if self._cut else self._mark.unread
        self._mark = replace(self._mark, open=opened, unread=unread)
        info = yield from call(self._session.info)
        marks = {**_marks_in(info.metadata), self._name: msgspec.to_builtins(self._mark)}
        yield from call(self._session.update, metadata={**info.metadata, KEY: marks})
        if opened is not None and info.version.head > self._version.head:  # others spoke
            yield from self._look_after(self._version.head)
            self._version = Version(self._version.epoch, info.version.head)

    def _cannot_read(self, row: SourceRow, reason: str) -> None:
        self._report(row, reason)
        self._mark = replace(self._mark, unread=self._mark.unread + 1)

    def _report(self, row: SourceRow | None, reason: str) -> None:
        self._tally.unread.append(self._unread(row, reason))

    def _unread(self, row: SourceRow | None, reason: str) -> Unread:
        name = None if row is None else printable(row.name)
        return Unread(printable(self._conversation.id), name, reason)

    def _id_of(self, row: SourceRow, message: Message) -> str:
        """Take the message's own id, unless an earlier one has it too: histories hold copies."""
        own = message.id
        if own is None or own in self._spoken or not _is_name(own):
            return self._made_id(row)
        self._spoken.add(own)
        return own

    def _made_id(self, row: SourceRow) -> str:
        """Make an id: the same each time, and another one where the row was changed."""
        whole = f"{self._name}\0{row.name}\0".encode("utf-8", "surrogatepass") + row.raw
        content = blake2b(whole, digest_size=4).hexdigest()
        parts = (_STRANGE.sub("_", part)[:_LONGEST_PART] for part in (self._source.label, row.name))
        return "-".join([*parts, content])


def _marks_in(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    marks = metadata.get(KEY)
    return marks if isinstance(marks, Mapping) else {}


def _mark_in(metadata: Mapping[str, Any], name: str) -> Bookmark:
    try:
        mark = msgspec.convert(_marks_in(metadata).get(name, {}), Bookmark)
    except msgspec.ValidationError:
        return Bookmark()  # the ids know as well
    return mark if mark.last or not mark.read else Bookmark()


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
