"""How an append, a read and a rewrite travel. All ordering rules live here and only here.

Each public method is a flow (``flow.py``): a generator of whole steps that knows nothing of
threads, loops or drivers. What has to hold is I1-I12 of the design; the comments say which.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from recollect import codec, ids
from recollect.assembly import Assembler, info, unpacked
from recollect.clock import microseconds, now
from recollect.coerce import Appendable, messages_from
from recollect.errors import (
    Cleared,
    Conflict,
    IdReused,
    InvalidMessage,
    Misconfigured,
    Unavailable,
)
from recollect.flow import Cold, Flow, Hot, do
from recollect.ledger import messages as rows_of
from recollect.ledger import sessions
from recollect.ledger.faults import id_is_taken
from recollect.message import Message
from recollect.rows import LAST_SEQ, NOTHING_SEEN, Entry, Row, Seen, SessionRow
from recollect.scope import AnyName, SessionName
from recollect.version import NOTHING, SessionInfo, Version
from recollect.window import Cutter, Limits, Window

if TYPE_CHECKING:
    from recollect.codec import Compression
    from recollect.hot import Glance
    from recollect.ledger.transaction import Facts, Transaction
    from recollect.tokens import TokenCounter

log = logging.getLogger("recollect")

RETRY_REACH: Final = 1024
"""How far back an append whose answer was lost is looked for, besides its own length."""
_MOST_RESTARTS: Final = 10
UNSET: Final[Any] = type("Unset", (), {"__repr__": lambda self: "UNSET"})()
"""Stands for "leave it as it is" where None means "take it away"."""


class Protocol:
    """The flows of one store."""

    def __init__(
        self,
        facts: Callable[[], Facts | None],
        compression: Compression,
        counter: TokenCounter,
        hot_messages: int,
    ) -> None:
        self._compression = compression
        self._counter = counter
        self._hot_messages = hot_messages
        self._built = Assembler(facts)

    # -- append ------------------------------------------------------------------------------

    def append(
        self, name: SessionName, given: Appendable, expected: Version | int | None
    ) -> Flow[list[Message]]:
        """Make messages durable, all or none, and give them back as stored."""
        at = now()
        entries, contents = self._encoded(messages_from(given), at)
        if not entries:
            return []
        batch = _Batch(name, entries, secrets.randbits(63), expected, at)
        try:
            stored = yield from do(Cold(batch.commit, writes=True))
        except Unavailable as lost:
            if not lost.outcome_unknown:
                raise
            stored = yield from self._append_again(batch, lost)
        return self._as_stored(stored, contents)

    def _append_again(self, batch: _Batch, lost: Unavailable) -> Flow[_Stored]:
        """The answer to a commit was lost: look whether it happened, and only then repeat it."""
        log.warning("an append to %s lost its answer and is looked up: %s", batch.name, lost)
        try:
            return (yield from do(Cold(batch.commit_unless_done, writes=True)))
        except Unavailable as again:
            # Even where this attempt wrote nothing, the first may have.
            raise Unavailable(str(lost), outcome_unknown=True) from again

    def _encoded(self, given: Sequence[Message], at: int) -> tuple[list[Entry], list[Message]]:
        entries: list[Entry] = []
        contents: list[Message] = []
        for i, message in enumerate(given):
            try:
                frame, content = codec.encode(message, self._compression)
            except InvalidMessage as fault:
                if len(given) == 1:
                    raise
                raise InvalidMessage(f"message {i}: {fault}") from fault
            created = at if message.created_at is None else microseconds(message.created_at)
            tokens = self._counter(content)
            entries.append(Entry(frame, message.id, created, tokens, content.opens_turn))
            contents.append(content)
        return entries, contents

    def _as_stored(self, stored: _Stored, contents: Sequence[Message]) -> list[Message]:
        """What is in the database now, for each message that was brought."""
        build = self._built
        return [
            # Our own content was decoded from the very frame that was written.
            build.completed(contents[i], row, stored.session)
            if fresh
            else build.message(row, stored.session)
            for i, row, fresh in stored.rows
        ]

    # -- read --------------------------------------------------------------------------------

    def tail(self, name: SessionName, n: int) -> Flow[list[Message]]:
        """The newest n messages, oldest first."""
        n = _count("n", n)
        if n <= self._hot_messages:
            near = yield from self._near(name)
            if n <= len(near.rows) or near.complete:
                return self._built.messages(
                    near, near.rows[len(near.rows) - min(n, len(near.rows)) :]
                )
        seen = yield from self._cold(name, limit=n, newest=True)
        return self._built.messages(seen, seen.rows)

    def messages(
        self, name: SessionName, after: int | None, before: int | None, limit: int | None
    ) -> Flow[list[Message]]:
        """Messages between two places; with ``before`` alone the ones just before it."""
        seen = yield from self._cold(
            name,
            after=_count("after", after or 0),
            before=LAST_SEQ if before is None else _count("before", before),
            limit=None if limit is None else _count("limit", limit),
            newest=before is not None and after is None,
        )
        return self._built.messages(seen, seen.rows)

    def page(
        self, name: SessionName, after: int, limit: int, version: Version | None
    ) -> Flow[tuple[Version, list[Message]]]:
        """The next messages of a scan, refused where the session was rewritten under it."""
        before = LAST_SEQ if version is None else version.head + 1
        seen = yield from self._cold(name, after=after, before=before, limit=limit)
        if version is not None and seen.version.epoch != version.epoch:
            raise Conflict(
                f"Session {name} was rewritten while it was being scanned, after message {after}. "
                f"Scan it again.",
                seen.version,
            )
        return version or seen.version, self._built.messages(seen, seen.rows)

    def window(self, name: SessionName, limits: Limits, repair: bool) -> Flow[Window]:
        """The newest messages that fit, cut where nothing that belongs together is torn."""
        cutter = Cutter(limits, self._counter)
        for _ in range(_MOST_RESTARTS):
            near = yield from self._near(name)
            first = near if near.complete else (yield from self._cold(name, limit=1))
            if first.version.epoch != near.version.epoch:
                continue
            cutter.start(
                near.version,
                self._built.messages(near, near.rows),
                self._built.messages(first, first.rows[:1]),
                near.complete,
            )
            while wanted := cutter.wanted():
                older = yield from self._cold(
                    name, before=cutter.first_seq, limit=wanted, newest=True
                )
                if older.version.epoch != near.version.epoch:
                    break  # rewritten between two reads: the pieces do not belong together
                cutter.add_older(self._built.messages(older, older.rows), len(older.rows) < wanted)
            else:
                return cutter.window(repair)
        raise Conflict(
            f"Session {name} was rewritten {_MOST_RESTARTS} times while a window of it was read.",
            near.version,
        )

    def version(self, name: SessionName) -> Flow[Version]:
        """Where the session stands."""
        session = yield from do(Cold(partial(sessions.find, name=name)))
        return NOTHING if session is None else session.version

    def info(self, name: SessionName) -> Flow[SessionInfo]:
        """What is known about the session without reading its messages."""
        found = yield from do(Cold(partial(sessions.describe, name=name)))
        if found is None:
            return SessionInfo(
                tenant=name.tenant,
                user=name.user,
                agent=name.agent,
                key=name.key,
                version=NOTHING,
                messages=0,
                turns=0,
                tokens=0,
                title=None,
                metadata={},
                created_at=None,
                last_active=None,
            )
        return info(found)

    def listed(
        self,
        tenant: AnyName,
        user: AnyName,
        agent: AnyName,
        limit: int,
        after: SessionInfo | None,
    ) -> Flow[list[SessionInfo]]:
        """Sessions in a scope, the one last active first."""
        found = yield from do(
            Cold(
                partial(
                    sessions.listed,
                    tenant=tenant,
                    user=user,
                    agent=agent,
                    limit=_count("limit", limit),
                    after=after,
                )
            )
        )
        return [info(row) for row in found]

    def _near(self, name: SessionName) -> Flow[Seen]:
        """The session's tail, out of the cache where that is known to be all there is (I3)."""
        glance: Glance = yield from do(Hot(lambda hot: hot.look(name.identity)))
        if glance.fresh and glance.seen is not None:
            return glance.seen
        seen = yield from do(Cold(partial(self._newer, name=name, held=glance.seen)))
        if glance.lease is not None:
            # The lease was taken before SQL was asked: never the other way round.
            yield from do(Hot(lambda hot: hot.fill(name.identity, seen, glance.lease)))
        return seen

    def _newer(self, txn: Transaction, name: SessionName, held: Seen | None) -> Seen:
        """The tail as it is now, reading only what came after what is held."""
        most = self._hot_messages
        if held is not None:
            newer = (
                rows_of.seen(txn, name, after=held.version.head, limit=most, newest=True)
                or NOTHING_SEEN
            )
            if newer.version.epoch == held.version.epoch and newer.number == held.number:
                return held.with_newer(newer, most)
        seen = rows_of.seen(txn, name, limit=most, newest=True)
        if seen is None:
            return NOTHING_SEEN
        return seen._replace(complete=len(seen.rows) < most)

    def _cold(self, name: SessionName, **bounds: Any) -> Flow[Seen]:
        seen = yield from do(Cold(partial(rows_of.seen, name=name, **bounds)))
        return seen or NOTHING_SEEN

    # -- rewrite -----------------------------------------------------------------------------

    def edit(self, name: SessionName, seq: int, given: Appendable) -> Flow[Message]:
        """Put another message in the place of one; place, id and time stay."""
        at = now()
        (entry, *more), (content, *_) = self._encoded(_one(messages_from(given)), at)
        assert not more

        def work(txn: Transaction) -> tuple[SessionRow, Row]:
            session, row = _locked_with(txn, name, seq)
            session = _put(txn, session, row, entry, at)
            row = row._replace(frame=entry.frame, tokens=entry.tokens, counter=txn.facts.counter)
            return session, row

        session, row = yield from do(Cold(work, writes=True))
        return self._built.completed(content, row, session.number)

    def delete(self, name: SessionName, seq: int) -> Flow[Message]:
        """Take a message away for good, and give it back a last time. Its place stays empty."""
        at = now()

        def work(txn: Transaction) -> tuple[SessionRow, Row]:
            session, row = _locked_with(txn, name, seq)
            return _put(txn, session, row, None, at), row

        session, row = yield from do(Cold(work, writes=True))
        return self._built.message(row, session.number)

    def rewind(self, name: SessionName, seq: int) -> Flow[Version]:
        """Make ``seq`` the head: what came after it is gone, and the next message follows it."""
        seq = _count("seq", seq)
        at = now()

        def work(txn: Transaction) -> Version:
            session = sessions.lock(txn, name)
            head = session.head if session else 0
            if seq > head:
                raise Conflict(
                    f"Session {name} cannot be rewound to message {seq}: its newest is {head}.",
                    session.version if session else NOTHING,
                )
            if session is None:
                return NOTHING
            messages, turns, tokens = rows_of.totals(txn, session, seq)
            rows_of.cut_after(txn, session, seq)
            change = sessions.Change(-messages, -turns, -tokens)
            return sessions.cut(txn, sessions.rewrite(txn, session, change, at), seq).version

        return (yield from do(Cold(work, writes=True)))

    def update(self, name: SessionName, title: Any, metadata: Any) -> Flow[SessionInfo]:
        """Set title or metadata; what is left out stays."""
        changes = _checked_about(title, metadata)
        at = now()

        def work(txn: Transaction) -> sessions.Described:
            session = sessions.lock_or_create(txn, name, at)
            about = {**unpacked(sessions.about(txn, session)), **changes}
            sessions.set_about(txn, session, codec.pack_value(about, "metadata"))
            found = sessions.describe(txn, name)
            assert found is not None, "it is locked by this very transaction"
            return found

        return info((yield from do(Cold(work, writes=True))))


class _Stored(NamedTuple):
    """What an append left in the database, for each message that was brought and is there."""

    session: int
    rows: list[tuple[int, Row, bool]]
    """(which message, its row, whether this call wrote it)"""


class _SortedOut:
    """What an append found: by position, what is there, what is gone, what is new."""

    __slots__ = ("fresh", "gone", "same_as", "there")

    def __init__(self, fresh: list[int] | None = None) -> None:
        self.fresh = fresh if fresh is not None else []
        self.gone: list[int] = []
        self.there: dict[int, Row] = {}
        self.same_as: dict[int, int] = {}

    def stored(self, session: SessionRow, rows: Sequence[Row]) -> _Stored:
        """The answer, once the new messages have their rows."""
        if len(rows) == len(self.fresh) and not self.there and not self.same_as:
            return _Stored(
                session.number, [(i, row, True) for i, row in zip(self.fresh, rows, strict=True)]
            )
        fresh = dict(zip(self.fresh, rows, strict=True))
        found = {**self.there, **fresh}
        found.update({i: found[first] for i, first in self.same_as.items()})
        return _Stored(session.number, [(i, found[i], i in fresh) for i in sorted(found)])


class _Batch(NamedTuple):
    """One append on its way: all of it or nothing (I4)."""

    name: SessionName
    entries: list[Entry]
    token: int
    """Random: what an append whose answer was lost is found again by."""
    expected: Version | int | None
    at: int

    def commit(self, txn: Transaction) -> _Stored:
        """Append what is new, in one statement where the database can."""
        if txn.kind == "postgresql" and not any(
            entry.id is not None and ids.may_be_derived(entry.id) for entry in self.entries
        ):
            try:
                seen = rows_of.append_at_once(
                    txn, self.name, self.entries, self.token, self.expected, self.at
                )
            except Exception as fault:  # only one kind is ours, and its class needs the driver
                if not id_is_taken(fault):
                    raise
                seen = None
            if seen is not None and seen.number is not None:
                return _Stored(seen.number, [(i, row, True) for i, row in enumerate(seen.rows)])
        session = sessions.lock_or_create(txn, self.name, self.at)
        return self._commit_locked(txn, session, ())

    def commit_unless_done(self, txn: Transaction) -> _Stored:
        """After a lost answer: find what the first attempt wrote, or prove it wrote nothing."""
        session = sessions.lock_or_create(txn, self.name, self.at)
        written = rows_of.with_token(
            txn, session, self.token, within=len(self.entries) + RETRY_REACH
        )
        known_epoch = self.expected.epoch if isinstance(self.expected, Version) else 0
        if not written and session.cut_epoch > known_epoch:
            # It may have been written and then cleared; writing it again would undo that (I7).
            raise Unavailable("The session was cleared meanwhile.", outcome_unknown=True)
        return self._commit_locked(txn, session, written)

    def _commit_locked(
        self, txn: Transaction, session: SessionRow, written: Sequence[Row]
    ) -> _Stored:
        """The rules of I5 and of ``expected``, under the session's lock."""
        if not written and not any([entry.id for entry in self.entries]):
            found = _SortedOut(fresh=list(range(len(self.entries))))
        else:
            found = self._sort_out(txn, session, written)
        if found.gone and self.expected is None:
            raise Cleared(
                f"Message {self.entries[found.gone[0]].id!r} was cleared or deleted from session "
                f"{self.name}. To say it again, append it without its id.",
                session.version,
            )
        if not found.fresh:
            return found.stored(session, [])
        self._refuse_unexpected(session)
        entries = [self.entries[i] for i in found.fresh]
        rows = rows_of.insert(txn, session, entries, self.token)
        sessions.advance(txn, session, entries, self.at)
        return found.stored(session, rows)

    def _sort_out(
        self, txn: Transaction, session: SessionRow, written: Sequence[Row]
    ) -> _SortedOut:
        """Which messages are there, which are gone, and which are new (I5)."""
        found = _SortedOut()
        unnamed = iter([row for row in written if row.id is None])
        first_with_id: dict[str, int] = {}
        find = self._finder(txn, session)
        for i, entry in enumerate(self.entries):
            if entry.id is None:
                if row := next(unnamed, None):
                    found.there[i] = row
                else:
                    found.fresh.append(i)
                continue
            known, row = find(entry.id)
            if row is not None and row.frame is not None:
                self._refuse_other_content(i, row.frame, "session")
                found.there[i] = row
            elif known:
                found.gone.append(i)
            elif (first := first_with_id.setdefault(entry.id, i)) != i:
                self._refuse_other_content(i, self.entries[first].frame, "batch")
                found.same_as[i] = first
            else:
                found.fresh.append(i)
        return found

    def _finder(
        self, txn: Transaction, session: SessionRow
    ) -> Callable[[str], tuple[bool, Row | None]]:
        """Looks an id up: whether this session ever had it, and its row if there is one."""
        prefix = ids.prefix(txn.facts.store_id, session.number)
        born = {e.id: ids.parse(prefix, e.id) for e in self.entries if e.id is not None}
        given = [name for name, place in born.items() if place is None]
        rows = rows_of.with_ids(txn, session, given) if given and session.head else {}

        def find(name: str) -> tuple[bool, Row | None]:
            place = born[name]
            if place is None:
                row = rows.get(name)
                return row is not None, row
            # One of ours: it was handed out, so if it is not there it has been taken away.
            row = rows_of.at(txn, session, place.seq)
            return True, row if row and row.born == place.epoch and row.id is None else None

        return find

    def _refuse_other_content(self, i: int, frame: bytes, where: str) -> None:
        if not codec.same_content(frame, self.entries[i].frame):
            raise IdReused(
                f"The id {self.entries[i].id!r} stands for another message in this {where} "
                f"({self.name}). Give each message an id of its own; to change a message, "
                f"use edit()."
            )

    def _refuse_unexpected(self, session: SessionRow) -> None:
        expected, version = self.expected, session.version
        match expected:
            case None:
                return
            case Version() if expected == version:
                return
            case Version() if session.cut_epoch > expected.epoch:
                raise Cleared(
                    f"Session {self.name} was cleared or rewound since version "
                    f"{tuple(expected)}; it is at {tuple(version)}. Nothing was appended.",
                    version,
                )
            case int() if not isinstance(expected, Version) and expected == session.head:
                return
        raise Conflict(
            f"Session {self.name} is at {tuple(version)} and {expected!r} was expected. Nothing "
            f"was appended. Read what is new, decide, and append again.",
            version,
        )


def _locked_with(txn: Transaction, name: SessionName, seq: int) -> tuple[SessionRow, Row]:
    """The session, locked, and its message at a place; Conflict where there is none."""
    session = sessions.lock(txn, name)
    row = None if session is None else rows_of.at(txn, session, seq)
    if session is None or row is None or row.frame is None:
        version = NOTHING if session is None else session.version
        deleted = " It was deleted." if row is not None else ""
        raise Conflict(
            f"Session {name} has no message {seq!r}; it is at {tuple(version)}.{deleted}", version
        )
    return session, row


def _put(
    txn: Transaction, session: SessionRow, row: Row, entry: Entry | None, at: int
) -> SessionRow:
    """Another content, or none, in a message's place: a new epoch."""
    opened = rows_of.opens_turn(txn, session, row.seq)
    tokens, opens = (0, False) if entry is None else (entry.tokens, entry.opens_turn)
    frame = None if entry is None else entry.frame
    rows_of.replace(txn, session, row.seq, frame=frame, tokens=tokens, opens_turn=opens)
    change = sessions.Change(
        messages=-1 if entry is None else 0, turns=opens - opened, tokens=tokens - row.tokens
    )
    return sessions.rewrite(txn, session, change, at)


def _checked_about(title: Any, metadata: Any) -> dict[str, Any]:
    """What is to change of title and metadata, refused before any I/O if it cannot be kept."""
    changes: dict[str, Any] = {}
    if title is not UNSET:
        if title is not None and not isinstance(title, str):
            raise InvalidMessage(f"title has to be text or None, not {type(title).__name__}.")
        changes["title"] = title
    if metadata is not UNSET:
        if metadata is not None and not isinstance(metadata, Mapping):
            raise InvalidMessage(f"metadata has to be a mapping, not {type(metadata).__name__}.")
        changes["metadata"] = dict(metadata or {})
        codec.pack_value(changes["metadata"], "metadata")
    return changes


def _one(given: Sequence[Message]) -> Sequence[Message]:
    if len(given) != 1:
        raise InvalidMessage(f"edit() puts one message in the place of one, and got {len(given)}.")
    return given


def _count(what: str, n: object) -> int:
    if not isinstance(n, int) or isinstance(n, bool) or n < 0:
        raise Misconfigured(f"{what} has to be a whole number from 0 up, not {n!r}.")
    return min(n, LAST_SEQ)
