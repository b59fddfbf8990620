"""The row of a session: found, locked, moved on, described, listed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from onrecord.errors import Damaged
from onrecord.ledger.database.transaction import Transaction
from onrecord.ledger.sessions import fences
from onrecord.ledger.sessions.metadata_filter import holding
from onrecord.scope import ANY, AnyName, Scope, SessionName, owner_number
from onrecord.stored.clock import EARLIEST, LATEST, MICROSECONDS, microseconds
from onrecord.stored.clock import now as _now
from onrecord.stored.messages import Entry, SessionRow
from onrecord.version import SessionInfo, Version, told

FIND: Final = """
    SELECT id, epoch, cut_epoch, head, active_second, sealed, fence, lineage
    FROM {sessions} WHERE identity = :identity"""
LOCK: Final = FIND + " {for_update}"

_CREATE: Final = """
    INSERT INTO {sessions} (
        identity, owner, epoch, cut_epoch, head, messages, turns, tokens,
        created, last_active, active_second, tenant, "user", agent, key, fence
    ) VALUES (
        :identity, :owner, 0, 0, 0, 0, 0, 0, :now, :now, :second, :tenant, :user, :agent, :key,
        :fence
    ) ON CONFLICT (identity) DO NOTHING"""
_CREATE_AGAIN: Final = """
    INSERT INTO {sessions} (
        id, identity, owner, epoch, cut_epoch, head, messages, turns, tokens,
        created, last_active, active_second, tenant, "user", agent, key, fence
    ) {with_that_id} VALUES (
        :id, :identity, :owner, :epoch, :epoch, 0, 0, 0, 0,
        :now, :now, :second, :tenant, :user, :agent, :key, :fence
    ) ON CONFLICT DO NOTHING"""
_UNMAKE: Final = """
    DELETE FROM {sessions} WHERE id = :session AND created = :made_at AND head = 0
        AND about IS NULL"""
_ERASED: Final = "SELECT session, epoch FROM {erased} WHERE identity = :identity"

# Two texts: where the indexed second stays, SQLite does not look at the indexes (8 of 45 µs).
_ADVANCE: Final = """
    UPDATE {sessions} SET
        head = head + :count, messages = messages + :count,
        turns = turns + :turns, tokens = tokens + :tokens, lineage = :lineage,
        last_active = {greatest}(last_active, :now)"""
_ADVANCE_WITHIN_SECOND: Final = _ADVANCE + " WHERE id = :session"
_ADVANCE_LATER: Final = _ADVANCE + ", active_second = :second WHERE id = :session"

_REWRITE: Final = """
    UPDATE {sessions} SET
        epoch = epoch + 1, messages = messages + :messages, turns = turns + :turns,
        tokens = tokens + :tokens, last_active = {greatest}(last_active, :now),
        active_second = {greatest}(active_second, :second)
    WHERE id = :session"""

_CUT: Final = """
    UPDATE {sessions} SET head = :head, cut_epoch = epoch, sealed = {least}(sealed, :head)
    WHERE id = :session"""
# Where a damaged session had lost messages, what went is less than what was counted.
_CUT_ALL: Final = _CUT.replace("SET", "SET messages = 0, turns = 0, tokens = 0,")

_SEAL: Final = "UPDATE {sessions} SET sealed = :sealed, sealed_at = :second WHERE id = :session"
_SEALED_SINCE: Final = "SELECT 1 FROM {sessions} WHERE id = :session AND sealed_at >= :second"
_SKEW: Final = 60
"""Seconds by which the clocks of two hosts may differ."""

_EXPIRE: Final = "UPDATE {sessions} SET expires_in = :expires_in WHERE id = :session"
# What is damaged never goes by itself: two columns say the same time, and have to agree.
_IN_TIME: Final = f"""last_active BETWEEN {EARLIEST} AND {LATEST} AND active_second BETWEEN
    last_active / {MICROSECONDS} - 1 AND last_active / {MICROSECONDS} + 1"""
# By CASE: PostgreSQL may calculate what stands behind an AND first, and raise for the damaged one.
DUE: Final = f"""CASE WHEN {_IN_TIME} AND coalesce(expires_in, 1) > 0 THEN last_active < :before
    OR :now - last_active >= coalesce(expires_in, CAST(:default AS BIGINT)) ELSE FALSE END"""

_MOST_AT_ONCE: Final = 400  # SQLite took at most 999 parameters until 3.32

_REFUSE: Final = "UPDATE {sessions} SET refused = :token WHERE id = :session"

_ABOUT: Final = "SELECT about FROM {sessions} WHERE id = :session"
_SET_ABOUT: Final = "UPDATE {sessions} SET about = :about WHERE id = :session"

_DESCRIBED: Final = """
    SELECT tenant, "user", agent, key, epoch, head, messages, turns, tokens, about,
        created, last_active, expires_in, lineage
    FROM {sessions}"""


# Where the second is damaged the row stands in another place of the list than its time says.
_PLACE: Final = """coalesce((SELECT active_second FROM {sessions}
    WHERE identity = :identity AND last_active = :last_active), :second)"""
_BEHIND: Final = f"""active_second <= {_PLACE} AND (active_second, last_active, id) < (
    {_PLACE}, :last_active, (SELECT id FROM {{sessions}} WHERE identity = :identity))"""
_BEHIND_DAMAGED: Final = """(active_second, last_active, id) < (
    SELECT active_second, last_active, id FROM {sessions} WHERE identity = :identity)"""


class Described(NamedTuple):
    """Everything a session's row says for people."""

    tenant: str
    user: str
    agent: str
    key: str
    epoch: int
    head: int
    messages: int
    turns: int
    tokens: int
    about: bytes | None
    created: int
    last_active: int
    expires_in: int | None
    lineage: int

    @property
    def version(self) -> Version:
        return told(Version(self.epoch, self.head), self.lineage)


class Change(NamedTuple):
    """By how much a rewrite changes a session's counts."""

    messages: int = 0
    turns: int = 0
    tokens: int = 0


def find(txn: Transaction, name: SessionName) -> SessionRow | None:
    """The session as it is now; Damaged where its numbers cannot be what was written."""
    row = txn.first(FIND, {"identity": name.identity})
    return None if row is None else checked(SessionRow(*row), name)


def lock(txn: Transaction, name: SessionName, *, damaged: bool = False) -> SessionRow | None:
    """The session, held by this transaction to its end: whoever comes next waits here (I2).

    Damaged where its numbers cannot be what was written, unless who asks takes ``damaged`` ones.
    """
    txn.begin()
    row = txn.first(LOCK, {"identity": name.identity})
    if row is None:
        return None
    return SessionRow(*row) if damaged else checked(SessionRow(*row), name)


def checked(session: SessionRow, name: SessionName) -> SessionRow:
    """The same; Damaged where its numbers cannot be what was written."""
    if (why := session.damage) is not None:
        raise Damaged(
            f"The row of session {name} is damaged: {why}. Nothing was changed. Restore a backup, "
            f"or export() what is left of it, erase() it, and import it again."
        )
    return session


def lock_or_create(txn: Transaction, name: SessionName, now: int) -> SessionRow:
    """The session, locked; made first where nothing was ever written to it."""
    while (session := lock(txn, name)) is None:
        values = {
            "identity": name.identity,
            "owner": name.owner,
            "tenant": name.tenant,
            "user": name.user,
            "agent": name.agent,
            "key": name.key,
            "fence": fences.random() if txn.stamp is None else txn.stamp.first,
            **_moment(now),
        }
        before = absent(txn, name)
        if before.number:
            txn.run(_CREATE_AGAIN, {**values, "id": before.number, "epoch": before.epoch})
        else:
            txn.run(_CREATE, values)
    return session


def unmake(txn: Transaction, session: SessionRow, made_at: int) -> None:
    """Take a session away again that ``lock_or_create`` made at that time, and nobody needed: of
    one that was erased, not even the name may come back (I7)."""
    txn.run(_UNMAKE, {"session": session.number, "made_at": made_at})


def absent(txn: Transaction, name: SessionName) -> SessionRow:
    """Where a session stands that is not there: at its beginning, or where it was erased."""
    found = txn.first(_ERASED, {"identity": name.hashed(txn.facts.store_id)})
    number, epoch = (0, 0) if found is None else found
    return SessionRow(number, epoch, epoch, 0, 0)


def version(txn: Transaction, name: SessionName) -> Version:
    """Where a session stands, whether it is there or not."""
    return (find(txn, name) or absent(txn, name)).found_at


def lock_number(txn: Transaction, number: int, *, damaged: bool = False) -> SessionRow | None:
    """Like ``lock``, for a session known by its number; None also where its row is damaged."""
    txn.begin()
    row = txn.first(LOCK.replace("identity = :identity", "id = :id"), {"id": number})
    session = None if row is None else SessionRow(*row)
    return None if session is None or (session.damage and not damaged) else session


def advance(
    txn: Transaction, session: SessionRow, entries: Sequence[Entry], now: int, lineage: int
) -> None:
    """Move a locked session's head over new messages."""
    values = growth(entries, now)
    values.update(session=session.number, lineage=lineage)
    later = values["second"] > session.active_second
    txn.run(_ADVANCE_LATER if later else _ADVANCE_WITHIN_SECOND, values)


def growth(entries: Sequence[Entry], now: int) -> dict[str, int]:
    """By how much an append changes a session's row."""
    return {
        "count": len(entries),
        "turns": sum([entry.opens_turn for entry in entries]),
        "tokens": sum([entry.tokens for entry in entries]),
        "now": now,
        "second": now // MICROSECONDS,
    }


def rewrite(txn: Transaction, session: SessionRow, change: Change, now: int) -> SessionRow:
    """Begin a new epoch of a locked session."""
    txn.run(_REWRITE, {"session": session.number, **change._asdict(), **_moment(now)})
    return session._replace(epoch=session.epoch + 1)


def cut(txn: Transaction, session: SessionRow, head: int) -> SessionRow:
    """Say that the present epoch began with a clear or a rewind."""
    txn.run(_CUT if head else _CUT_ALL, {"session": session.number, "head": head})
    return session._replace(head=head, cut_epoch=session.epoch, sealed=min(session.sealed, head))


def seal(txn: Transaction, session: SessionRow, sealed: int) -> SessionRow:
    """Say that the messages of a locked session up to a place are in segments."""
    second = _now() // MICROSECONDS
    txn.run(_SEAL, {"session": session.number, "sealed": sealed, "second": second})
    return session._replace(sealed=sealed)


def sealed_since(txn: Transaction, session: SessionRow, at: int) -> bool:
    """Whether messages of a locked session may have been sealed since a time."""
    values = {"session": session.number, "second": at // MICROSECONDS - _SKEW}
    return txn.first(_SEALED_SINCE, values) is not None


def refuse(txn: Transaction, session: SessionRow, token: int) -> None:
    """Refuse an earlier attempt of an append, should it still arrive."""
    txn.run(_REFUSE, {"session": session.number, "token": token})


def about(txn: Transaction, session: SessionRow) -> bytes | None:
    """Title and metadata, packed."""
    row = txn.first(_ABOUT, {"session": session.number})
    return None if row is None or row[0] is None else bytes(row[0])


def set_about(txn: Transaction, session: SessionRow, packed: bytes) -> None:
    """Replace title and metadata."""
    txn.run(_SET_ABOUT, {"session": session.number, "about": packed})


def set_expiry(txn: Transaction, session: SessionRow, expires_in: int | None) -> None:
    """Say after how many microseconds of quiet a locked session may be pruned."""
    txn.run(_EXPIRE, {"session": session.number, "expires_in": expires_in})


def due(
    txn: Transaction, scope: Scope, before: int | None, now: int, default: int | None, after: int
) -> list[tuple[int, Described]]:
    """Sessions that may be pruned, by number after one: quiet since a time, or expired."""
    conditions, values = within(scope)
    conditions += ["id > :after", f"({DUE})"]
    found = txn.rows(
        f"{_DESCRIBED.replace('SELECT', 'SELECT id,', 1)} WHERE {' AND '.join(conditions)} "
        f"ORDER BY id LIMIT 500",
        {
            **values,
            "after": after,
            "before": -1 if before is None else before,
            "now": now,
            "default": default,
        },
    )
    return [(row[0], Described(*row[1:])) for row in found]


def describe(txn: Transaction, name: SessionName) -> Described | None:
    """What is known about a session."""
    row = txn.first(_DESCRIBED + " WHERE identity = :identity", {"identity": name.identity})
    return None if row is None else Described(*row)


def describe_number(txn: Transaction, number: int) -> Described | None:
    """Like ``describe``, for a session known by its number."""
    row = txn.first(_DESCRIBED + " WHERE id = :id", {"id": number})
    return None if row is None else Described(*row)


def listed(
    txn: Transaction,
    *,
    tenant: AnyName,
    user: AnyName,
    agent: AnyName,
    limit: int,
    after: SessionInfo | None,
    metadata: Mapping[str, Any] | None = None,
) -> list[Described]:
    """Sessions in a scope, the one last active first, beginning after the one given.

    Some that lack ``metadata`` are left out already: see labels.py.
    """
    conditions, values = within(Scope(tenant, user, agent))
    having, sought = holding(txn.kind, metadata or {})
    conditions += having
    values.update(sought, limit=limit)
    if after is not None:
        conditions.append(_BEHIND if after.last_active else _BEHIND_DAMAGED)
        name_of_last = SessionName(
            key=after.key, tenant=after.tenant, user=after.user, agent=after.agent
        )
        values["identity"] = name_of_last.identity
        if after.last_active is not None:
            last_active = microseconds(after.last_active)
            values.update(last_active=last_active, second=last_active // MICROSECONDS)
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    order = " ORDER BY active_second DESC, last_active DESC, id DESC LIMIT :limit"
    return [Described(*row) for row in txn.rows(_DESCRIBED + where + order, values)]


def within(scope: Scope, table: str = "") -> tuple[list[str], dict[str, object]]:
    """The conditions that choose the sessions of a scope, and their values."""
    conditions: list[str] = []
    values: dict[str, object] = {}
    for part, name in scope._asdict().items():
        if name is not ANY:
            conditions.append(f'{table}"{part}" = :{part}')
            values[part] = name
    if scope.tenant is not ANY and scope.user is not ANY:
        conditions.append(f"{table}owner = :owner")  # the index; the names decide
        values["owner"] = owner_number(scope.tenant, scope.user)
    return conditions, values


def page(
    txn: Transaction, scope: Scope, after: int, limit: int, condition: str = "", **values: object
) -> list[tuple[int, SessionName]]:
    """Sessions of a scope by number, which never changes, beginning after one."""
    conditions, chosen = within(scope)
    conditions += ["id > :after", *([condition] if condition else [])]
    found = txn.rows(
        f'SELECT id, tenant, "user", agent, key FROM {{sessions}} '
        f"WHERE {' AND '.join(conditions)} ORDER BY id LIMIT :limit",
        {**chosen, **values, "after": after, "limit": limit},
    )
    return _named(found)


def newest(txn: Transaction, before: int, limit: int) -> list[tuple[int, SessionName]]:
    """Sessions of everybody by number, the last begun first, before one."""
    found = txn.rows(
        'SELECT id, tenant, "user", agent, key FROM {sessions} '
        "WHERE id < :before ORDER BY id DESC LIMIT :limit",
        {"before": before, "limit": limit},
    )
    return _named(found)


def _named(found: Sequence[tuple[Any, ...]]) -> list[tuple[int, SessionName]]:
    return [
        (number, SessionName(key=key, tenant=tenant, user=user, agent=agent))
        for number, tenant, user, agent, key in found
    ]


def born(txn: Transaction, numbers: Sequence[int], *, hold: bool = False) -> dict[int, int]:
    """When sessions were first written to, of those that are there; held so, if asked for."""
    found: dict[int, int] = {}
    for n in range(0, len(numbers), _MOST_AT_ONCE):
        few = numbers[n : n + _MOST_AT_ONCE]
        names = ", ".join(f":n{i}" for i in range(len(few)))
        statement = f"SELECT id, created FROM {{sessions}} WHERE id IN ({names}) ORDER BY id"
        rows = txn.rows(
            statement + (" {for_key_share}" if hold else ""),
            {f"n{i}": number for i, number in enumerate(few)},
        )
        found.update((int(number), int(created)) for number, created in rows)
    return found


def count(txn: Transaction, scope: Scope, condition: str = "", **values: object) -> int:
    """How many sessions of a scope there are."""
    conditions, chosen = within(scope)
    where = " AND ".join([*conditions, *([condition] if condition else [])])
    found = txn.first(
        "SELECT count(*) FROM {sessions}" + (f" WHERE {where}" if where else ""),
        {**chosen, **values},
    )
    assert found is not None, "an aggregate always answers"
    return int(found[0])


def _moment(now: int) -> dict[str, Any]:
    return {"now": now, "second": now // MICROSECONDS}
