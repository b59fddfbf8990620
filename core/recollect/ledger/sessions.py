"""The row of a session: found, locked, moved on, described, listed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from recollect.clock import MICROSECONDS, microseconds
from recollect.ledger.transaction import Transaction
from recollect.rows import Entry, SessionRow
from recollect.scope import ANY, AnyName, SessionName, owner_number
from recollect.version import SessionInfo

FIND: Final = """
    SELECT id, epoch, cut_epoch, head, active_second FROM {sessions} WHERE identity = :identity"""
LOCK: Final = FIND + " {for_update}"

_CREATE: Final = """
    INSERT INTO {sessions} (
        identity, owner, epoch, cut_epoch, head, messages, turns, tokens,
        created, last_active, active_second, tenant, "user", agent, key
    ) VALUES (
        :identity, :owner, 0, 0, 0, 0, 0, 0, :now, :now, :second, :tenant, :user, :agent, :key
    ) ON CONFLICT (identity) DO NOTHING"""

# Two texts: where the indexed second stays, SQLite does not look at the indexes (8 of 45 µs).
_ADVANCE: Final = """
    UPDATE {sessions} SET
        head = head + :count, messages = messages + :count,
        turns = turns + :turns, tokens = tokens + :tokens,
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
    UPDATE {sessions} SET head = :head, cut_epoch = epoch WHERE id = :session"""

_FENCE: Final = "UPDATE {sessions} SET fenced = :token WHERE id = :session"

_ABOUT: Final = "SELECT about FROM {sessions} WHERE id = :session"
_SET_ABOUT: Final = "UPDATE {sessions} SET about = :about WHERE id = :session"

_DESCRIBED: Final = """
    SELECT tenant, "user", agent, key, epoch, head, messages, turns, tokens, about,
        created, last_active
    FROM {sessions}"""


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


class Change(NamedTuple):
    """By how much a rewrite changes a session's counts."""

    messages: int = 0
    turns: int = 0
    tokens: int = 0


def find(txn: Transaction, name: SessionName) -> SessionRow | None:
    """The session as it is now."""
    row = txn.first(FIND, {"identity": name.identity})
    return None if row is None else SessionRow(*row)


def lock(txn: Transaction, name: SessionName) -> SessionRow | None:
    """The session, held by this transaction to its end: whoever comes next waits here (I2)."""
    txn.begin()
    row = txn.first(LOCK, {"identity": name.identity})
    return None if row is None else SessionRow(*row)


def lock_or_create(txn: Transaction, name: SessionName, now: int) -> SessionRow:
    """The session, locked; made first where nothing was ever written to it."""
    while (session := lock(txn, name)) is None:
        txn.run(
            _CREATE,
            {
                "identity": name.identity,
                "owner": name.owner,
                "tenant": name.tenant,
                "user": name.user,
                "agent": name.agent,
                "key": name.key,
                **_moment(now),
            },
        )
    return session


def advance(txn: Transaction, session: SessionRow, entries: Sequence[Entry], now: int) -> None:
    """Move a locked session's head over new messages."""
    values = growth(entries, now)
    values["session"] = session.number
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
    txn.run(_CUT, {"session": session.number, "head": head})
    return session._replace(head=head, cut_epoch=session.epoch)


def fence(txn: Transaction, session: SessionRow, token: int) -> None:
    """Refuse an earlier attempt of an append, should it still arrive."""
    txn.run(_FENCE, {"session": session.number, "token": token})


def about(txn: Transaction, session: SessionRow) -> bytes | None:
    """Title and metadata, packed."""
    row = txn.first(_ABOUT, {"session": session.number})
    return None if row is None or row[0] is None else bytes(row[0])


def set_about(txn: Transaction, session: SessionRow, packed: bytes) -> None:
    """Replace title and metadata."""
    txn.run(_SET_ABOUT, {"session": session.number, "about": packed})


def describe(txn: Transaction, name: SessionName) -> Described | None:
    """What is known about a session."""
    row = txn.first(_DESCRIBED + " WHERE identity = :identity", {"identity": name.identity})
    return None if row is None else Described(*row)


def listed(
    txn: Transaction,
    *,
    tenant: AnyName,
    user: AnyName,
    agent: AnyName,
    limit: int,
    after: SessionInfo | None,
) -> list[Described]:
    """Sessions in a scope, the one last active first, beginning after the one given."""
    conditions: list[str] = []
    values: dict[str, object] = {"limit": limit}
    parts: Mapping[str, AnyName] = {"tenant": tenant, "user": user, "agent": agent}
    for part, name in parts.items():
        if name is not ANY:
            conditions.append(f'"{part}" = :{part}')
            values[part] = name
    if tenant is not ANY and user is not ANY:
        conditions.append("owner = :owner")  # the index; the names decide
        values["owner"] = owner_number(tenant, user)
    if after is not None:
        conditions.append(
            "active_second <= :second AND (active_second, last_active, id) < "
            "(:second, :last_active, (SELECT id FROM {sessions} WHERE identity = :identity))"
        )
        name_of_last = SessionName(
            key=after.key, tenant=after.tenant, user=after.user, agent=after.agent
        )
        last_active = microseconds(after.last_active) if after.last_active else 0
        values.update(
            identity=name_of_last.identity,
            last_active=last_active,
            second=last_active // MICROSECONDS,
        )
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    order = " ORDER BY active_second DESC, last_active DESC, id DESC LIMIT :limit"
    return [Described(*row) for row in txn.rows(_DESCRIBED + where + order, values)]


def _moment(now: int) -> dict[str, Any]:
    return {"now": now, "second": now // MICROSECONDS}
