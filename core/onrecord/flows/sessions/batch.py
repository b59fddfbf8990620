"""One append under its session's lock: the rules of I5 and of ``expected``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from onrecord import codec
from onrecord.errors import Cleared, Conflict, IdReused, Unavailable
from onrecord.flows.sessions.expected import refuse_unexpected
from onrecord.flows.turns.holding import refuse_other
from onrecord.ledger.database import stamp
from onrecord.ledger.database.faults import id_is_taken, undid_itself
from onrecord.ledger.database.put_item import Beside
from onrecord.ledger.sessions import archives, fences, sessions
from onrecord.ledger.sessions import messages as rows_of
from onrecord.scope import SessionName
from onrecord.stored import ids
from onrecord.stored.messages import Entry, MessageRow, SessionRow
from onrecord.version import Expected

if TYPE_CHECKING:
    from onrecord.ledger.database.transaction import Transaction


def new_token() -> int:
    """What the messages of one attempt are found again by, if its answer is lost."""
    return stamp.random()


class Stored(NamedTuple):
    """What an append left in the database, for each message that was brought and is there."""

    session: int
    rows: list[tuple[int, MessageRow, bool]]
    """(which message, its row, whether this call wrote it)"""
    in_tail: int = 0
    """How many rows the session has now, deleted ones too."""
    beside: tuple[Any, ...] = ()
    """What is answered of that which went with it in one statement; empty where nothing did."""


class _SortedOut:
    """What an append found: by position, what is there, what is gone, what is new."""

    __slots__ = ("fresh", "gone", "same_as", "there")

    def __init__(self, fresh: list[int] | None = None) -> None:
        self.fresh = fresh if fresh is not None else []
        self.gone: list[int] = []
        self.there: dict[int, MessageRow] = {}
        self.same_as: dict[int, int] = {}

    def stored(self, session: SessionRow, rows: Sequence[MessageRow]) -> Stored:
        """The answer, once the new messages have their rows."""
        in_tail = session.head + len(rows) - session.sealed
        if len(rows) == len(self.fresh) and not self.there and not self.same_as:
            return Stored(
                session.number,
                [(i, row, True) for i, row in zip(self.fresh, rows, strict=True)],
                in_tail,
            )
        fresh = dict(zip(self.fresh, rows, strict=True))
        found = {**self.there, **fresh}
        found.update({i: found[first] for i, first in self.same_as.items()})
        return Stored(session.number, [(i, found[i], i in fresh) for i in sorted(found)], in_tail)


def locked_existing(txn: Transaction, name: SessionName) -> SessionRow:
    """Lock a session that somebody has made; Conflict where there is none."""
    found = sessions.lock(txn, name)
    if found is None:
        raise Conflict(
            f"There is no session {name}: nobody has created it or written to it, or it was "
            f"erased. Nothing was written. create() makes it, and so does an append without "
            f"existing=True.",
            sessions.absent(txn, name).version,
        )
    return found


class Batch(NamedTuple):
    """One append on its way: all of it or nothing (I4)."""

    name: SessionName
    entries: list[Entry]
    token: int
    """Random: what an append whose answer was lost is found again by."""
    expected: Expected
    known_epoch: int
    """The session was in this epoch, or a later one, before this append began."""
    at: int
    archived: bool = False
    """Whether what is new is archived from the beginning."""
    existing: bool = False
    """Whether a session that is not there is refused, and not made."""
    alone: bool = True
    """Whether no other statement belongs to its transaction."""
    holder: bytes | None = None
    """Which turn writes it: it has to hold the session still."""

    def commit(self, txn: Transaction, beside: Beside | None = None) -> Stored:
        """Append what is new, in one statement where the database can; with what goes with it in
        that same statement, if it can be done as well."""
        if (
            txn.can.one_statement_writes
            and (self.alone or beside is not None)
            and not self.archived
            and not any(
                entry.id is not None and ids.may_be_derived(entry.id) for entry in self.entries
            )
            # Where it fails it takes a transaction with it: the one that keeps the cache off.
            and not (txn.begun and (beside or any(entry.id for entry in self.entries)))
        ):
            try:
                found = rows_of.append_at_once(
                    txn,
                    self.name,
                    self.entries,
                    self.token,
                    self.expected,
                    self.at,
                    beside,
                    self.holder,
                )
            except Exception as fault:  # only two kinds are ours, and their class needs the driver
                if not id_is_taken(fault) and not (beside and undid_itself(fault)):
                    raise
                found = None
            if found is not None:
                rows = [(i, row, True) for i, row in enumerate(found.rows)]
                in_tail = found.version.head - found.sealed
                return Stored(found.session, rows, in_tail, found.beside)
        if not self.existing:
            session = sessions.lock_or_create(txn, self.name, self.at)
        else:
            session = locked_existing(txn, self.name)
        return self.commit_locked(txn, session)

    def commit_unless_done(self, txn: Transaction) -> Stored:
        """After a lost answer: find what the first attempt wrote, or prove it wrote nothing."""
        found_row = sessions.lock(txn, self.name)
        if found_row is None and self.existing:
            # Nothing to refuse the first attempt by: it may come when others have made one.
            raise Unavailable("The session is not there.", outcome_unknown=True)
        session = found_row or sessions.lock_or_create(txn, self.name, self.at)
        written = rows_of.with_token(txn, session, self.token)
        if len(written) < len(self.entries) and sessions.sealed_since(txn, session, self.at):
            # Segments know no tokens. It takes others who said 128 things since, or compact().
            raise Unavailable("The session was sealed meanwhile.", outcome_unknown=True)
        if written:
            # It was committed, all of it (I4). What is not there any more was taken away since,
            # and is not written again (I7).
            found = self._sort_out(txn, session, written)
            return Stored(session.number, [(i, row, False) for i, row in found.there.items()])
        if session.cut_epoch > self.known_epoch:
            raise Unavailable("The session was cleared meanwhile.", outcome_unknown=True)
        sessions.refuse(txn, session, self.token)
        return self._replace(token=new_token()).commit_locked(txn, session)

    def commit_locked(self, txn: Transaction, session: SessionRow) -> Stored:
        """The rules of I5 and of ``expected``, under the session's lock."""
        fences.refuse_fenced(txn, self.name, session.fence)
        if self.holder is not None:  # to print a name costs 2 µs
            refuse_other(f"Session {self.name}", session.version, session.holder, self.holder)
        if not any([entry.id for entry in self.entries]):
            found = _SortedOut(fresh=list(range(len(self.entries))))
        else:
            found = self._sort_out(txn, session)
        if found.gone and self.expected is None:
            raise Cleared(
                f"Message {self.entries[found.gone[0]].id!r} was cleared or deleted from session "
                f"{self.name}. To say it again, append it without its id.",
                session.version,
            )
        if not found.fresh:
            if not session.head:
                sessions.unmake(txn, session, self.at)
            return found.stored(session, [])
        refuse_unexpected(self.name, session, self.expected)
        entries = [self.entries[i] for i in found.fresh]
        rows = rows_of.insert(txn, session, entries, self.token)
        sessions.advance(txn, session, entries, self.at, self.token)
        if self.archived:
            archives.add(txn, session, [row.seq for row in rows])
        return found.stored(session, rows)

    def _sort_out(
        self, txn: Transaction, session: SessionRow, written: Sequence[MessageRow] = ()
    ) -> _SortedOut:
        """Which messages are there, which are gone, and which are new (I5)."""
        found = _SortedOut()
        unnamed = iter([row for row in written if row.id is None])
        first_with_id: dict[str, int] = {}
        find = self._finder(txn, session)
        for i, entry in enumerate(self.entries):
            if entry.id is None:
                row = next(unnamed, None)
                if row is None:
                    found.fresh.append(i)
                elif row.frame is None:
                    found.gone.append(i)
                else:
                    found.there[i] = row
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
    ) -> Callable[[str], tuple[bool, MessageRow | None]]:
        """Looks an id up: whether this session ever had it, and its row if there is one."""
        prefix = ids.prefix(txn.facts.store_id, session.number)
        places = {e.id: ids.parse(prefix, e.id) for e in self.entries if e.id is not None}
        given = [name for name, place in places.items() if place is None]
        rows = rows_of.with_ids(txn, session, given) if given and session.head else {}
        in_place = rows_of.finder(txn, session)

        def find(name: str) -> tuple[bool, MessageRow | None]:
            place = places[name]
            if place is None:
                row = rows.get(name)
                return row is not None, row
            # One of ours: it was handed out, so if it is not there it has been taken away.
            row = in_place(place.seq)
            return True, row if row and row.epoch == place.epoch and row.id is None else None

        return find

    def _refuse_other_content(self, i: int, frame: bytes, where: str) -> None:
        if not codec.same_content(frame, self.entries[i].frame):
            raise IdReused(
                f"The id {self.entries[i].id!r} stands for another message in this {where} "
                f"({self.name}). Give each message an id of its own; to change a message, "
                f"use edit()."
            )
