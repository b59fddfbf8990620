"""The rows of threads: found, locked, described, listed, deleted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from onrecord.ledger.database import keys
from onrecord.ledger.database.transaction import Transaction
from onrecord.ledger.sessions.description import DUE
from onrecord.ledger.sessions.metadata_filter import holding
from onrecord.scope import AnyName, Scope, SessionName
from onrecord.stored.checkpoints import ListKey, Thread, ThreadPlace, mark_of
from onrecord.stored.clock import EARLIEST, LATEST, MICROSECONDS, period_of

MOST_MARKS: Final = 128
"""How many of the deleted checkpoints are remembered, so that who still writes to them is told."""

FOUND: Final = "id, epoch, live, last_active, expires_in, about, deleted_ids, {shard}"
_FIND: Final = f"""
    SELECT {FOUND} FROM {{checkpoint_threads}} WHERE {{my_shard}} identity = :identity"""
# What writes beside others leaves the key alone: see FOR KEY SHARE in checkpoints.py.
_LOCK: Final = f"{_FIND} {{for_no_key_update}}"
_LOCK_ALONE: Final = f"{_FIND} {{for_update}}"

_CREATE: Final = """
    INSERT INTO {checkpoint_threads} (
        {shard_key} identity, owner, live, epoch, created, last_active, active_period,
        tenant, "user", agent, key
    ) VALUES (
        {shard_value} :identity, :owner, :live, :now, :now, :now, :period,
        :tenant, :user, :agent, :key
    ) ON CONFLICT ({shard_key} identity) DO NOTHING"""
_REVIVE: Final = """
    UPDATE {checkpoint_threads} SET
        live = 1, owner = :owner, tenant = :tenant, "user" = :user, agent = :agent, key = :key,
        created = :now, last_active = {greatest}(last_active, :now)
    WHERE {my_shard} id = :thread"""
_TOUCH: Final = """
    UPDATE {checkpoint_threads} SET
        last_active = {greatest}(last_active, :now),
        active_period = {greatest}(active_period, :period)
    WHERE {my_shard} id = :thread"""
_SET_DELETED: Final = """
    UPDATE {checkpoint_threads} SET deleted_ids = :deleted_ids WHERE {my_shard} id = :thread"""
_EXPIRE: Final = """
    UPDATE {checkpoint_threads} SET expires_in = :expires_in WHERE {my_shard} id = :thread"""
_SET_ABOUT: Final = """
    UPDATE {checkpoint_threads} SET about = :about WHERE {my_shard} id = :thread"""
# Epochs begin with the clock, and only ever have to differ: from those of a thread of the same
# name that was forgotten, and from those before a backup was restored.
_NEXT_EPOCH: Final = """
    UPDATE {checkpoint_threads} SET epoch = {greatest}(epoch + 1, :now)
    WHERE {my_shard} id = :thread RETURNING epoch"""
_NEXT_EPOCH_OF_ALL: Final = "UPDATE {checkpoint_threads} SET epoch = {greatest}(epoch + 1, :now)"
_MOVE_ALL_HEADS: Final = "UPDATE {checkpoint_lists} SET head = head + 1"
# No log of it stays at the head that a writer remembers.
_MOVE_HEADS: Final = """
    UPDATE {checkpoint_lists} SET head = head + 1 WHERE {my_shard} thread = :thread"""
BURIED: Final = """
        epoch = {greatest}(epoch + 1, :now), live = 0, owner = 0,
        tenant = '', "user" = '', agent = '', key = '',
        about = NULL, expires_in = NULL, holder = NULL, held_until = NULL,
        last_active = :now, active_period = :period"""
_BURY: Final = f"""
    UPDATE {{checkpoint_threads}} SET {BURIED}, deleted_ids = :deleted_ids
    WHERE {{my_shard}} id = :thread"""
_DELETED: Final = """
    SELECT {shard}, id FROM {checkpoint_threads}
    WHERE live = 0 AND active_period <= :period AND last_active < :before"""
_STILL_DELETED: Final = """
    SELECT id FROM {checkpoint_threads}
    WHERE {my_shard} id = :thread AND live = 0 AND last_active < :before {for_update}"""
_FORGET: Final = "DELETE FROM {checkpoint_threads} WHERE {my_shard} id = :thread"

_LISTS: Final = "SELECT id FROM {checkpoint_lists} WHERE {my_shard} thread = :thread"
_NEWEST_IDS: Final = """
    SELECT id FROM {checkpoints} WHERE {list_span} AND id IS NOT NULL
    ORDER BY {list_order} DESC LIMIT :limit"""
_DELETE_ROWS: Final = (
    "DELETE FROM {checkpoints} WHERE {list_span}",
    "DELETE FROM {checkpoint_items} WHERE {list_span}",
)
_DELETE: Final = (
    "DELETE FROM {checkpoint_writes} WHERE {my_shard} list = :list",
    "DELETE FROM {checkpoint_lists} WHERE {my_shard} id = :list",
)

_DESCRIBED: Final = """
    SELECT id, tenant, "user", agent, key, about, created, last_active, expires_in, {shard}
    FROM {checkpoint_threads}"""
_DESCRIBE: Final = f"{_DESCRIBED} WHERE {{my_shard}} identity = :identity AND live = 1"

# As in description.py: where the period is damaged, the row stands in another place of the list.
_PLACE: Final = """coalesce((SELECT active_period FROM {checkpoint_threads}
    WHERE {last_shard} id = :number AND last_active = :last_active), :period)"""
_BEHIND: Final = f"""active_period <= {_PLACE}
    AND (active_period, last_active, id) < ({_PLACE}, :last_active, :number)"""
_BEHIND_DAMAGED: Final = """(active_period, last_active, id) < (
    SELECT active_period, last_active, id FROM {checkpoint_threads}
    WHERE {last_shard} id = :number)"""


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
    shard: int

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
    row = txn.first(_FIND, keys.of_name(name))
    return None if row is None else of_row(row)


def lock(txn: Transaction, name: SessionName, *, alone: bool = False) -> Thread | None:
    """The thread, held to the end of this transaction; ``alone`` also from those who only add."""
    txn.begin()
    row = txn.first(_LOCK_ALONE if alone else _LOCK, keys.of_name(name))
    return None if row is None else of_row(row)


def lock_or_create(txn: Transaction, name: SessionName, now: int, *, live: bool = True) -> Thread:
    """The thread, locked; made first where there is none, to be seen when it is live."""
    while (thread := lock(txn, name)) is None:
        values = {**keys.of_name(name), "live": int(live), **_names(name), **moment(now)}
        txn.run(_CREATE, values)
    return thread


def revive(txn: Transaction, name: SessionName, thread: Thread, now: int) -> None:
    """A thread that was deleted begins again."""
    txn.run(_REVIVE, {**_key(thread), "now": now, **_names(name)})


def touch(txn: Transaction, thread: Thread, now: int, expires_in: int | None) -> None:
    """Say that it was written to; what is as it was is left alone."""
    if now // MICROSECONDS > thread.last_active // MICROSECONDS:
        txn.run(_TOUCH, {**_key(thread), **moment(now)})
    if expires_in is not None and expires_in != thread.expires_in:
        set_expiry(txn, thread, expires_in)


def set_about(txn: Transaction, thread: Thread, about: bytes) -> None:
    txn.run(_SET_ABOUT, {**_key(thread), "about": about})


def set_expiry(txn: Transaction, thread: Thread, expires_in: int | None) -> None:
    txn.run(_EXPIRE, {**_key(thread), "expires_in": expires_in})


def next_epoch(txn: Transaction, thread: Thread, now: int) -> Thread:
    """Something was taken away: what processes remember of the thread is of no use now."""
    row = txn.first(_NEXT_EPOCH, {**_key(thread), "now": now})
    assert row is not None, "the thread is locked"
    txn.run(_MOVE_HEADS, _key(thread))
    return thread._replace(epoch=row[0])


def next_epoch_of_all(txn: Transaction, now: int) -> None:
    """What processes remember of any thread is of no use now."""
    txn.begin()
    txn.run(_NEXT_EPOCH_OF_ALL, {"now": now})
    txn.run(_MOVE_ALL_HEADS)


def forgive(txn: Transaction, thread: Thread, ids: Iterable[bytes]) -> None:
    """Checkpoints that were deleted with the thread are there again, by a copy."""
    if thread.deleted_ids:
        back = {mark_of(id) for id in ids}
        marks = [thread.deleted_ids[i : i + 8] for i in range(0, len(thread.deleted_ids), 8)]
        left = b"".join([mark for mark in marks if mark not in back])
        txn.run(_SET_DELETED, {**_key(thread), "deleted_ids": left})


def bury(txn: Transaction, thread: Thread, now: int) -> None:
    """Delete everything of a thread that is locked alone, but that there was one (I7)."""
    found = txn.rows(f"{_LISTS} {{for_update}}", _key(thread))
    list_ids = [ListKey(thread.shard, row[0]) for row in found]
    marks: list[bytes] = []
    for list_id in list_ids:
        newest = txn.rows(_NEWEST_IDS, {**keys.list_span(txn, list_id), "limit": MOST_MARKS})
        marks.extend(mark_of(bytes(row[0])) for row in newest)
    for list_id in list_ids:
        drop_list(txn, list_id)
    deleted = with_deleted(thread, marks)
    txn.run(_BURY, {**_key(thread), "deleted_ids": deleted, **moment(now)})


def with_deleted(thread: Thread, marks: Sequence[bytes]) -> bytes:
    """What is remembered of the deleted checkpoints of a thread, with those that go now."""
    before = bytes(thread.deleted_ids or b"")[: 8 * MOST_MARKS]
    return b"".join(marks[: 4 * MOST_MARKS]) + before


def drop_list(txn: Transaction, list_id: ListKey) -> None:
    """Delete a list with all there is on it."""
    for statement in _DELETE_ROWS:
        txn.run(statement, keys.list_span(txn, list_id))
    for statement in _DELETE:
        txn.run(statement, keys.of_list(list_id))


def forget_deleted(txn: Transaction, before: int) -> None:
    """Forget that threads were deleted, where that was long ago, and what waited for them."""
    long_ago = {"before": before, "period": period_of(before)}
    for shard, thread in txn.rows(_DELETED, long_ago):
        key = {"shard": shard, "thread": thread}
        if txn.first(_STILL_DELETED, {**key, **long_ago}) is None:
            continue
        for (list_id,) in txn.rows(_LISTS, key):
            drop_list(txn, ListKey(shard, list_id))
        txn.run(_FORGET, key)


def listed(
    txn: Transaction,
    *,
    tenant: AnyName,
    user: AnyName,
    agent: AnyName,
    limit: int,
    after: ThreadPlace | None = None,
    expired_at: int | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> list[Described]:
    """Threads in a scope, the one last active first, beginning after a place.

    Some that lack ``metadata`` are left out already: see ``metadata_filter.py``.
    """
    conditions, values = keys.of_listed(Scope(tenant, user, agent))
    having, sought = holding(txn.kind, metadata or {})
    conditions += ["live = 1", *having]
    values.update(sought, limit=limit)
    if expired_at is not None:
        conditions.append(DUE)
        values.update(now=expired_at, before=EARLIEST, default=None)
    if after is not None:
        conditions.append(_BEHIND_DAMAGED if after.last_active is None else _BEHIND)
        last_active, values["last_shard"], values["number"] = after
        if last_active is not None:
            values.update(last_active=last_active, period=period_of(last_active))
    where = " AND ".join(conditions)
    order = " ORDER BY active_period DESC, last_active DESC, id DESC LIMIT :limit"
    return [Described(*row) for row in txn.rows(f"{_DESCRIBED} WHERE {where}{order}", values)]


def describe(txn: Transaction, name: SessionName) -> Described | None:
    """What is known about one thread."""
    row = txn.first(_DESCRIBE, keys.of_name(name))
    return None if row is None else Described(*row)


def of_row(row: Sequence[Any]) -> Thread:
    """A thread of a row of ``FOUND``."""
    number, epoch, live, last_active, expires_in, about, gone, shard = row
    return Thread(
        number,
        epoch,
        bool(live),
        last_active,
        expires_in,
        None if about is None else bytes(about),
        None if gone is None else bytes(gone),
        shard,
    )


def _key(thread: Thread) -> dict[str, object]:
    return {"shard": thread.shard, "thread": thread.number}


def _names(name: SessionName) -> dict[str, object]:
    return {
        "owner": name.owner,
        "tenant": name.tenant,
        "user": name.user,
        "agent": name.agent,
        "key": name.key,
    }


def moment(now: int) -> dict[str, int]:
    """The values of a moment, in columns."""
    return {"now": now, "period": period_of(now)}
