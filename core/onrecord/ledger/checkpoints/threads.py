"""The rows of threads: found, locked, described, listed, deleted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from onrecord.ledger.database.transaction import Transaction
from onrecord.ledger.sessions.metadata_filter import holding
from onrecord.ledger.sessions.sessions import DUE
from onrecord.scope import ANY, AnyName, SessionName, owner_number
from onrecord.stored.checkpoints import Thread, mark_of
from onrecord.stored.clock import EARLIEST, LATEST, MICROSECONDS
from onrecord.stored.messages import LAST_ID

MOST_MARKS: Final = 128
"""How many of the deleted checkpoints are remembered, so that who still writes to them is told."""

_COLUMNS: Final = "id, epoch, live, active_second, expires_in, about, gone"
_FIND: Final = f"SELECT {_COLUMNS} FROM {{checkpoint_threads}} WHERE identity = :identity"
# What writes beside others leaves the key alone: see FOR KEY SHARE in checkpoints.py.
_LOCK: Final = {"sqlite": _FIND, "postgresql": _FIND + " FOR NO KEY UPDATE"}
_LOCK_ALONE: Final = _FIND + " {for_update}"

_CREATE: Final = """
    INSERT INTO {checkpoint_threads} (
        identity, owner, live, epoch, created, last_active, active_second, tenant, "user", agent,
        key
    ) VALUES (
        :identity, :owner, :live, :now, :now, :now, :second, :tenant, :user, :agent, :key
    ) ON CONFLICT (identity) DO NOTHING"""
_REVIVE: Final = """
    UPDATE {checkpoint_threads} SET
        live = 1, owner = :owner, tenant = :tenant, "user" = :user, agent = :agent, key = :key,
        created = :now, last_active = {greatest}(last_active, :now)
    WHERE id = :thread"""
_TOUCH: Final = """
    UPDATE {checkpoint_threads} SET
        last_active = {greatest}(last_active, :now),
        active_second = {greatest}(active_second, :second)
    WHERE id = :thread"""
_SET_GONE: Final = "UPDATE {checkpoint_threads} SET gone = :gone WHERE id = :thread"
_EXPIRE: Final = "UPDATE {checkpoint_threads} SET expires_in = :expires_in WHERE id = :thread"
_SET_ABOUT: Final = "UPDATE {checkpoint_threads} SET about = :about WHERE id = :thread"
# Epochs begin with the clock, and only ever have to differ: from those of a thread of the same
# name that was forgotten, and from those before a backup was restored.
_NEXT_EPOCH: Final = """
    UPDATE {checkpoint_threads} SET epoch = {greatest}(epoch + 1, :now) WHERE id = :thread
    RETURNING epoch"""
_NEXT_EPOCH_OF_ALL: Final = "UPDATE {checkpoint_threads} SET epoch = {greatest}(epoch + 1, :now)"
_MOVE_ALL_HEADS: Final = "UPDATE {checkpoint_strands} SET head = head + 1"
# No line of it stays at the head that a writer remembers.
_MOVE_HEADS: Final = "UPDATE {checkpoint_strands} SET head = head + 1 WHERE thread = :thread"
_BURY: Final = """
    UPDATE {checkpoint_threads} SET
        epoch = {greatest}(epoch + 1, :now), live = 0, owner = 0,
        tenant = '', "user" = '', agent = '', key = '',
        about = NULL, expires_in = NULL, holder = NULL, held_until = NULL, gone = :gone,
        last_active = :now, active_second = :second
    WHERE id = :thread"""
_DELETED: Final = """
    SELECT id FROM {checkpoint_threads} WHERE live = 0 AND active_second < :second {for_update}"""
_FORGET: Final = "DELETE FROM {checkpoint_threads} WHERE id = :thread"

_STRANDS: Final = "SELECT id FROM {checkpoint_strands} WHERE thread = :thread"
_NEWEST_IDS: Final = """
    SELECT id FROM {checkpoints} WHERE place > :low AND place < :high AND id IS NOT NULL
    ORDER BY place DESC LIMIT :limit"""
_DELETE: Final = (
    "DELETE FROM {checkpoints} WHERE place > :low AND place < :high",
    "DELETE FROM {checkpoint_items} WHERE place > :low AND place < :high",
    "DELETE FROM {checkpoint_writes} WHERE strand = :strand",
    "DELETE FROM {checkpoint_strands} WHERE id = :strand",
)

_DESCRIBED: Final = """
    SELECT id, tenant, "user", agent, key, about, created, last_active, expires_in
    FROM {checkpoint_threads}"""

# By the clock of the database, where there is one for all: leases are short, and the clocks of
# machines are minutes apart at times.
_HOLD: Final = """
    UPDATE {checkpoint_threads} SET holder = :holder, held_until = {clock} + :lease
    WHERE id = :thread AND (holder IS NULL OR holder = :holder OR held_until < {clock})"""
_HELD: Final = "SELECT holder, held_until FROM {checkpoint_threads} WHERE id = :thread"
_RENEW: Final = """
    UPDATE {checkpoint_threads} SET held_until = {clock} + :lease
    WHERE identity = :identity AND holder = :holder"""
_LET_GO: Final = """
    UPDATE {checkpoint_threads} SET holder = NULL, held_until = NULL
    WHERE identity = :identity AND holder = :holder"""


# As in sessions.py: where the second is damaged, the row stands in another place of the list.
_PLACE: Final = """coalesce((SELECT active_second FROM {checkpoint_threads}
    WHERE id = :number AND last_active = :last_active), :second)"""
_BEHIND: Final = f"""active_second <= {_PLACE}
    AND (active_second, last_active, id) < ({_PLACE}, :last_active, :number)"""
_BEHIND_DAMAGED: Final = """(active_second, last_active, id) < (
    SELECT active_second, last_active, id FROM {checkpoint_threads} WHERE id = :number)"""


class Described(NamedTuple):
    """What a thread's row says for people."""

    number: int
    tenant: str
    user: str
    agent: str
    key: str
    about: bytes | None
    created: int
    last_active: int
    expires_in: int | None

    @property
    def damage(self) -> str | None:
        """Which of its numbers cannot be what was written; None where all can."""
        well = {
            "created": EARLIEST <= self.created <= LATEST,
            "last_active": EARLIEST <= self.last_active <= LATEST,
            "expires_in": self.expires_in is None or self.expires_in > 0,
        }
        named = [
            f"{what} is {getattr(self, what)}" for what, is_well in well.items() if not is_well
        ]
        return ", ".join(named) or None


def find(txn: Transaction, name: SessionName) -> Thread | None:
    """The thread as it is now."""
    row = txn.first(_FIND, {"identity": name.identity})
    return None if row is None else _thread(row)


def lock(txn: Transaction, name: SessionName, *, alone: bool = False) -> Thread | None:
    """The thread, held to the end of this transaction; ``alone`` also from those who only add."""
    txn.begin()
    row = txn.first(_LOCK_ALONE if alone else _LOCK[txn.kind], {"identity": name.identity})
    return None if row is None else _thread(row)


def lock_or_create(txn: Transaction, name: SessionName, now: int, *, live: bool = True) -> Thread:
    """The thread, locked; made first where there is none, to be seen when it is live."""
    while (thread := lock(txn, name)) is None:
        values = {"identity": name.identity, "live": int(live), **_names(name), **_moment(now)}
        txn.run(_CREATE, values)
    return thread


def revive(txn: Transaction, name: SessionName, thread: Thread, now: int) -> None:
    """A thread that was deleted begins again."""
    txn.run(_REVIVE, {"thread": thread.number, "now": now, **_names(name)})


def touch(txn: Transaction, thread: Thread, now: int, expires_in: int | None) -> None:
    """Say that it was written to; what is as it was is left alone."""
    if now // MICROSECONDS > thread.active_second:
        txn.run(_TOUCH, {"thread": thread.number, **_moment(now)})
    if expires_in is not None and expires_in != thread.expires_in:
        set_expiry(txn, thread, expires_in)


def set_about(txn: Transaction, thread: Thread, about: bytes) -> None:
    txn.run(_SET_ABOUT, {"thread": thread.number, "about": about})


def set_expiry(txn: Transaction, thread: Thread, expires_in: int | None) -> None:
    txn.run(_EXPIRE, {"thread": thread.number, "expires_in": expires_in})


def next_epoch(txn: Transaction, thread: Thread, now: int) -> Thread:
    """Something was taken away: what processes remember of the thread is of no use now."""
    row = txn.first(_NEXT_EPOCH, {"thread": thread.number, "now": now})
    assert row is not None, "the thread is locked"
    txn.run(_MOVE_HEADS, {"thread": thread.number})
    return thread._replace(epoch=row[0])


def next_epoch_of_all(txn: Transaction, now: int) -> None:
    """What processes remember of any thread is of no use now."""
    txn.begin()
    txn.run(_NEXT_EPOCH_OF_ALL, {"now": now})
    txn.run(_MOVE_ALL_HEADS)


def forgive(txn: Transaction, thread: Thread, ids: Iterable[bytes]) -> None:
    """Checkpoints that were deleted with the thread are there again, by a copy."""
    if thread.gone:
        back = {mark_of(id) for id in ids}
        marks = [thread.gone[i : i + 8] for i in range(0, len(thread.gone), 8)]
        left = b"".join([mark for mark in marks if mark not in back])
        txn.run(_SET_GONE, {"thread": thread.number, "gone": left})


def bury(txn: Transaction, thread: Thread, now: int) -> None:
    """Delete everything of a thread that is locked alone, but that there was one (I7)."""
    strands = [row[0] for row in txn.rows(_STRANDS + " {for_update}", {"thread": thread.number})]
    marks: list[bytes] = []
    for strand in strands:
        newest = txn.rows(_NEWEST_IDS, {**span(strand), "limit": MOST_MARKS})
        marks.extend(mark_of(bytes(row[0])) for row in newest)
    for strand in strands:
        drop_strand(txn, strand)
    before = bytes(thread.gone or b"")[: 8 * MOST_MARKS]
    gone = b"".join(marks[: 4 * MOST_MARKS]) + before
    txn.run(_BURY, {"thread": thread.number, "gone": gone, **_moment(now)})


def drop_strand(txn: Transaction, strand: int) -> None:
    """Delete a strand with all there is on it."""
    for statement in _DELETE:
        txn.run(statement, {"strand": strand, **span(strand)})


def forget_deleted(txn: Transaction, before: int) -> None:
    """Forget that threads were deleted, where that was long ago, and what waited for them."""
    for (thread,) in txn.rows(_DELETED, {"second": before // MICROSECONDS}):
        for (strand,) in txn.rows(_STRANDS, {"thread": thread}):
            drop_strand(txn, strand)
        txn.run(_FORGET, {"thread": thread})


def listed(
    txn: Transaction,
    *,
    tenant: AnyName,
    user: AnyName,
    agent: AnyName,
    limit: int,
    after: tuple[int | None, int] | None = None,
    expired_at: int | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> list[Described]:
    """Threads in a scope, the one last active first, beginning after (last active, number).

    Some that lack ``metadata`` are left out already: see labels.py.
    """
    conditions, values = holding(txn.kind, metadata or {})
    conditions.append("live = 1")
    values["limit"] = limit
    for part, given in (("tenant", tenant), ("user", user), ("agent", agent)):
        if given is not ANY:
            conditions.append(f'"{part}" = :{part}')
            values[part] = given
    if tenant is not ANY and user is not ANY:
        conditions.append("owner = :owner")  # the index; the names decide
        values["owner"] = owner_number(tenant, user)
    if expired_at is not None:
        conditions.append(DUE)
        values.update(now=expired_at, before=EARLIEST, default=None)
    if after is not None:
        conditions.append(_BEHIND_DAMAGED if after[0] is None else _BEHIND)
        last_active, values["number"] = after
        if last_active is not None:
            values.update(last_active=last_active, second=last_active // MICROSECONDS)
    where = " AND ".join(conditions)
    order = " ORDER BY active_second DESC, last_active DESC, id DESC LIMIT :limit"
    return [Described(*row) for row in txn.rows(f"{_DESCRIBED} WHERE {where}{order}", values)]


def describe(txn: Transaction, name: SessionName) -> Described | None:
    """What is known about one thread."""
    row = txn.first(
        _DESCRIBED + " WHERE identity = :identity AND live = 1", {"identity": name.identity}
    )
    return None if row is None else Described(*row)


class Held(NamedTuple):
    """That somebody holds a thread."""

    who: str
    until: int


def hold(txn: Transaction, thread: Thread, holder: bytes, now: int, lease: int) -> Held | None:
    """Have a locked thread held by this holder, unless another does."""
    values = {"thread": thread.number, "holder": holder, "now": now, "lease": lease}
    if txn.run(_HOLD, values) == 1:
        return None
    row = txn.first(_HELD, {"thread": thread.number})
    assert row is not None, "the thread is locked"
    return Held(bytes(row[0])[16:].decode(errors="replace") or "a process", row[1])


def renew(txn: Transaction, name: SessionName, holder: bytes, now: int, lease: int) -> bool:
    """Hold it on, and say whether it was held."""
    values = {"identity": name.identity, "holder": holder, "now": now, "lease": lease}
    return txn.run(_RENEW, values) == 1


def let_go(txn: Transaction, name: SessionName, holder: bytes) -> None:
    """Hold it no longer."""
    txn.run(_LET_GO, {"identity": name.identity, "holder": holder})


def span(strand: int) -> dict[str, int]:
    """Before the first and after the last place of a strand; of one whose number is damaged,
    before and after nothing."""
    if not 0 < strand <= LAST_ID:
        return {"low": 0, "high": 0}
    return {"low": strand << 32, "high": (strand + 1) << 32}


def _thread(row: tuple[Any, ...]) -> Thread:
    number, epoch, live, second, expires_in, about, gone = row
    return Thread(
        number,
        epoch,
        bool(live),
        second,
        expires_in,
        None if about is None else bytes(about),
        None if gone is None else bytes(gone),
    )


def _names(name: SessionName) -> dict[str, object]:
    return {
        "owner": name.owner,
        "tenant": name.tenant,
        "user": name.user,
        "agent": name.agent,
        "key": name.key,
    }


def _moment(now: int) -> dict[str, int]:
    return {"now": now, "second": now // MICROSECONDS}
