"""The row of a session: found, locked, moved on. What people see of it: ``description.py``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from onrecord.errors import Damaged
from onrecord.ledger.database import keys, stamp
from onrecord.ledger.database.address import Kind
from onrecord.ledger.database.transaction import Transaction
from onrecord.scope import Scope, SessionName
from onrecord.stored.clock import MICROSECONDS, period_of
from onrecord.stored.clock import now as _now
from onrecord.stored.messages import Entry, SessionKey, SessionRow
from onrecord.usage import NOTHING, Spent, total
from onrecord.version import Version

FOUND: Final = """id, epoch, cut_epoch, head, last_active, sealed, fence, lineage, {shard},
    holder, maybe_open"""
FIND: Final = f"SELECT {FOUND} FROM {{sessions}} WHERE {{my_shard}} identity = :identity"
LOCK: Final = f"{FIND} {{for_update}}"
_LOCK_NUMBER: Final = f"""
    SELECT {FOUND} FROM {{sessions}} WHERE {{my_shard}} id = :session {{for_update}}"""
FIND_KEY_WITH_ARCHIVED: Final = f"""
    SELECT {FOUND}, archived FROM {{sessions}} WHERE {{my_shard}} id = :session"""
FIND_WITH_ARCHIVED: Final = f"""
    SELECT {FOUND}, archived FROM {{sessions}} WHERE {{my_shard}} identity = :identity"""

_CREATE: Final = """
    INSERT INTO {sessions} (
        {shard_key} identity, owner, epoch, cut_epoch, head, messages, turns, tokens,
        created, last_active, active_period, tenant, "user", agent, key, fence
    ) VALUES (
        {shard_value} :identity, :owner, 0, 0, 0, 0, 0, 0,
        :now, :now, :period, :tenant, :user, :agent, :key, :fence
    ) ON CONFLICT ({shard_key} identity) DO NOTHING"""
_CREATE_AGAIN: Final = """
    INSERT INTO {sessions} (
        id, {shard_key} identity, owner, epoch, cut_epoch, head, messages, turns, tokens,
        created, last_active, active_period, tenant, "user", agent, key, fence
    ) {with_that_id} VALUES (
        :id, {shard_value} :identity, :owner, :epoch, :epoch, 0, 0, 0, 0,
        :now, :now, :period, :tenant, :user, :agent, :key, :fence
    ) ON CONFLICT DO NOTHING"""
_UNMAKE: Final = """
    DELETE FROM {sessions}
    WHERE {my_shard} id = :session AND created = :made_at AND head = 0 AND about IS NULL"""
_ERASED: Final = "SELECT session, epoch FROM {erased} WHERE identity = :identity"

SPENT: Final = """
        input_tokens = input_tokens + :input_tokens, output_tokens = output_tokens + :output_tokens,
        cached_tokens = cached_tokens + :cached_tokens, requests = requests + :requests"""
# Who edits one back and forth may say again and again that more of it was cached.
_SPEND: Final = """
    UPDATE {sessions} SET
        input_tokens = input_tokens + :input_tokens, output_tokens = output_tokens + :output_tokens,
        cached_tokens = {least}(cached_tokens + :cached_tokens, input_tokens + :input_tokens),
        requests = requests + :requests
    WHERE {my_shard} id = :session"""
_SPEND_AT_LEAST: Final = """
    UPDATE {sessions} SET
        input_tokens = {greatest}(input_tokens, :input_tokens),
        output_tokens = {greatest}(output_tokens, :output_tokens),
        cached_tokens = {greatest}(cached_tokens, :cached_tokens),
        requests = {greatest}(requests, :requests)
    WHERE {my_shard} id = :session"""

_ADVANCE: Final = """
    UPDATE {sessions} SET
        head = head + :count, messages = messages + :count,
        turns = turns + :turns, tokens = tokens + :tokens, lineage = :lineage,
        last_active = {greatest}(last_active, :now), waits = :waits"""
# By whether it is another period, whether anything was spent, and whether it is to be looked at by
# ``unfinished`` or not any more. Where what is indexed stays, SQLite does not look at the indexes
# (8 of 45 µs); few messages say what they cost.
_ADVANCES: Final = {
    (later, spent, listed): ",".join(
        [
            _ADVANCE,
            *([SPENT] if spent else []),
            *([" active_period = :period"] if later else []),
            *([" maybe_open = :maybe_open"] if listed else []),
        ]
    )
    + " WHERE {my_shard} id = :session"
    for later in (False, True)
    for spent in (False, True)
    for listed in (False, True)
}

_REWRITE: Final = """
    UPDATE {sessions} SET
        epoch = epoch + 1, messages = messages + :messages, turns = turns + :turns,
        tokens = tokens + :tokens, last_active = {greatest}(last_active, :now),
        active_period = {greatest}(active_period, :period)
    WHERE {my_shard} id = :session"""

_CUT: Final = """
    UPDATE {sessions} SET head = :head, cut_epoch = epoch, sealed = {least}(sealed, :head)
    WHERE {my_shard} id = :session"""
# Where a damaged session had lost messages, what went is less than what was counted.
_CUT_ALL: Final = """
    UPDATE {sessions} SET
        messages = 0, turns = 0, tokens = 0, head = 0, cut_epoch = epoch, sealed = 0
    WHERE {my_shard} id = :session"""

_SEAL: Final = """
    UPDATE {sessions} SET sealed = :sealed, sealed_at = :second WHERE {my_shard} id = :session"""
_SEALED_SINCE: Final = """
    SELECT 1 FROM {sessions} WHERE {my_shard} id = :session AND sealed_at >= :second"""
_SKEW: Final = 60
"""Seconds by which the clocks of two hosts may differ."""

_MOST_AT_ONCE: Final = 400  # SQLite took at most 999 parameters until 3.32

_REFUSE: Final = "UPDATE {sessions} SET refused = :token WHERE {my_shard} id = :session"

_NAMES: Final = 'SELECT {shard}, id, tenant, "user", agent, key, active_period FROM {sessions}'
# By keys, which never change: whoever goes through all of them meets none twice.
_BY_KEY: Final[dict[Kind, tuple[str, str, str]]] = {
    "sqlite": ("id > :after", "id <= :upto", "ORDER BY id LIMIT :limit"),
    "postgresql": (
        "(id, shard) > (:after, :after_shard)",
        "(id, shard) <= (:upto, :upto_shard)",
        "ORDER BY id, shard LIMIT :limit",
    ),
}
_BEFORE: Final = f"{_NAMES} WHERE (active_period, id) < (:period, :session)"
_NEWEST_FIRST: Final = " ORDER BY active_period DESC, id DESC LIMIT :limit"


class Counts(NamedTuple):
    """By how much a rewrite changes a session's counts."""

    messages: int = 0
    turns: int = 0
    tokens: int = 0


def find(txn: Transaction, name: SessionName) -> SessionRow | None:
    """The session as it is now; Damaged where its numbers cannot be what was written."""
    row = txn.first(FIND, keys.of_name(name))
    return None if row is None else checked(txn, SessionRow(*row), name)


def lock(txn: Transaction, name: SessionName, *, damaged: bool = False) -> SessionRow | None:
    """The session, held by this transaction to its end: whoever comes next waits here (I2).

    Damaged where its numbers cannot be what was written, unless who asks takes ``damaged`` ones.
    """
    txn.begin()
    row = txn.first(LOCK, keys.of_name(name))
    if row is None:
        return None
    return SessionRow(*row) if damaged else checked(txn, SessionRow(*row), name)


def checked(txn: Transaction, session: SessionRow, name: SessionName) -> SessionRow:
    """The same; Damaged where its numbers cannot be what was written."""
    if (why := _damage(txn, session)) is not None:
        raise Damaged(
            f"The row of session {name} is damaged: {why}. Nothing was changed. Restore a backup, "
            f"or export() what is left of it, erase() it, and import it again."
        )
    return session


def lock_or_create(txn: Transaction, name: SessionName, now: int) -> SessionRow:
    """The session, locked; made first where nothing was ever written to it."""
    while (session := lock(txn, name)) is None:
        create(txn, name, now)
    return session


def create(txn: Transaction, name: SessionName, now: int) -> bool:
    """Make a session that is not there; whether it was this transaction that made it."""
    txn.begin()
    values = {
        **keys.of_name(name),
        "owner": name.owner,
        "tenant": name.tenant,
        "user": name.user,
        "agent": name.agent,
        "key": name.key,
        "fence": stamp.random() if txn.stamp is None else txn.stamp.first,
        **_moment(now),
    }
    before = absent(txn, name)
    if before.number:
        values.update(id=before.number, epoch=before.epoch)
        return bool(txn.run(_CREATE_AGAIN, values))
    return bool(txn.run(_CREATE, values))


def unmake(txn: Transaction, session: SessionRow, made_at: int) -> None:
    """Take a session away again that ``lock_or_create`` made at that time, and nobody needed: of
    one that was erased, not even the name may come back (I7)."""
    txn.run(_UNMAKE, {**keys.of_session(session), "made_at": made_at})


def absent(txn: Transaction, name: SessionName) -> SessionRow:
    """Where a session stands that is not there: at its beginning, or where it was erased."""
    found = txn.first(_ERASED, {"identity": name.hashed(txn.facts.store_id)})
    number, epoch = (0, 0) if found is None else found
    return SessionRow(number, epoch, epoch, 0, 0, shard=name.shard)


def version(txn: Transaction, name: SessionName) -> Version:
    """Where a session stands, whether it is there or not."""
    return (find(txn, name) or absent(txn, name)).found_at


def lock_key(txn: Transaction, key: SessionKey, *, damaged: bool = False) -> SessionRow | None:
    """Like ``lock``, for a session known by its number; None also where its row is damaged."""
    txn.begin()
    row = txn.first(_LOCK_NUMBER, keys.of_key(key))
    session = None if row is None else SessionRow(*row)
    return None if session is None or (_damage(txn, session) and not damaged) else session


def _damage(txn: Transaction, session: SessionRow) -> str | None:
    """Which of its numbers cannot be what was written; None where all can."""
    if not keys.is_number(txn, session.number):
        return f"its number is {session.number}"
    return session.damage


def advance(
    txn: Transaction, session: SessionRow, entries: Sequence[Entry], now: int, lineage: int
) -> None:
    """Move a locked session's head over new messages."""
    values = growth(entries, now)
    values.update(shard=session.shard, session=session.number, lineage=lineage)
    later = values["period"] > period_of(session.last_active)
    stays = 0 if later else session.maybe_open
    values["maybe_open"] = 1 if values["waits"] or session.holder is not None else stays
    listed = values["maybe_open"] != session.maybe_open
    txn.run(_ADVANCES[later, "requests" in values, listed], values)


def growth(entries: Sequence[Entry], now: int) -> dict[str, int]:
    """By how much an append changes a session's row; with what was spent, where any was."""
    values = {
        "count": len(entries),
        "turns": sum([entry.opens_turn for entry in entries]),
        "tokens": sum([entry.tokens for entry in entries]),
        "now": now,
        "period": period_of(now),
        "waits": int(entries[-1].waits),
    }
    if spent := [entry.usage for entry in entries if entry.usage is not None]:
        values.update(_as_columns(total(spent) or NOTHING))
    return values


def spend(txn: Transaction, session: SessionRow, spent: Spent | None) -> None:
    """Add what was spent in a locked session by other ways than an append."""
    if spent is not None:
        txn.run(_SPEND, {**keys.of_session(session), **_as_columns(spent)})


def spend_at_least(txn: Transaction, session: SessionRow, spent: Spent) -> None:
    """Say that in a locked session so much was spent, where it does not say more: brought twice,
    it counts once."""
    if spent != NOTHING:
        txn.run(_SPEND_AT_LEAST, {**keys.of_session(session), **_as_columns(spent)})


def _as_columns(spent: Spent) -> dict[str, int]:
    tokens_in, tokens_out, cached, requests = spent
    return {
        "input_tokens": tokens_in,
        "output_tokens": tokens_out,
        "cached_tokens": cached,
        "requests": requests,
    }


def rewrite(txn: Transaction, session: SessionRow, counts: Counts, now: int) -> SessionRow:
    """Begin a new epoch of a locked session."""
    txn.run(_REWRITE, {**keys.of_session(session), **counts._asdict(), **_moment(now)})
    return session._replace(epoch=session.epoch + 1)


def cut(txn: Transaction, session: SessionRow, head: int) -> SessionRow:
    """Say that the present epoch began with a clear or a rewind."""
    txn.run(_CUT if head else _CUT_ALL, {**keys.of_session(session), "head": head})
    return session._replace(head=head, cut_epoch=session.epoch, sealed=min(session.sealed, head))


def seal(txn: Transaction, session: SessionRow, sealed: int) -> SessionRow:
    """Say that the messages of a locked session up to a place are in segments."""
    second = _now() // MICROSECONDS
    txn.run(_SEAL, {**keys.of_session(session), "sealed": sealed, "second": second})
    return session._replace(sealed=sealed)


def sealed_since(txn: Transaction, session: SessionRow, at: int) -> bool:
    """Whether messages of a locked session may have been sealed since a time."""
    values = {**keys.of_session(session), "second": at // MICROSECONDS - _SKEW}
    return txn.first(_SEALED_SINCE, values) is not None


def refuse(txn: Transaction, session: SessionRow, token: int) -> None:
    """Refuse an earlier attempt of an append, should it still arrive."""
    txn.run(_REFUSE, {**keys.of_session(session), "token": token})


def page(
    txn: Transaction,
    scope: Scope,
    after: SessionKey,
    limit: int,
    condition: str = "",
    upto: SessionKey | None = None,
    **values: object,
) -> list[tuple[SessionKey, SessionName]]:
    """Sessions of a scope by key, which never changes, beginning after one."""
    conditions, chosen = keys.of_scope(scope)
    between, order, ends = by_key(txn, after, upto)
    conditions += [*between, *([condition] if condition else [])]
    found = txn.rows(
        f"{_NAMES} WHERE {' AND '.join(conditions)} {order}",
        {**chosen, **values, **ends, "limit": limit},
    )
    return [(key, name) for key, name, _ in map(_named, found)]


def ahead(txn: Transaction, after: SessionKey, look: int) -> SessionKey | None:
    """The session that stands so many behind one, by key; None where there are not so many."""
    between, order, ends = by_key(txn, after)
    where = " AND ".join(between)
    found = txn.first(
        f"SELECT {{shard}}, id FROM {{sessions}} WHERE {where} {order} OFFSET :skip",
        {**ends, "limit": 1, "skip": look - 1},
    )
    return None if found is None else SessionKey(*found)


def by_key(
    txn: Transaction, after: SessionKey, upto: SessionKey | None = None
) -> tuple[list[str], str, dict[str, int]]:
    """What chooses sessions behind one, and up to another; their order; and the values of it."""
    behind, to_it, order = _BY_KEY[txn.kind]
    values = {"after_shard": after.shard, "after": after.session}
    if upto is None:
        return [behind], order, values
    return [behind, to_it], order, {**values, "upto_shard": upto.shard, "upto": upto.session}


def newest(
    txn: Transaction, before: tuple[int, int], limit: int, condition: str = ""
) -> list[tuple[SessionKey, SessionName, tuple[int, int]]]:
    """Sessions of everybody, those of a later period first; each with what those after it are
    before."""
    where = f" AND {condition}" if condition else ""
    values = {"period": before[0], "session": before[1], "limit": limit}
    found = txn.rows(_BEFORE + where + _NEWEST_FIRST, values)
    return [(key, name, (period, key.session)) for key, name, period in map(_named, found)]


def _named(row: tuple[Any, ...]) -> tuple[SessionKey, SessionName, int]:
    shard, number, tenant, user, agent, key, period = row
    name = SessionName(key=key, tenant=tenant, user=user, agent=agent)
    return SessionKey(shard, number), name, period


def created_of(
    txn: Transaction, sessions: Sequence[SessionKey], *, hold: bool = False
) -> dict[SessionKey, int]:
    """When sessions were first written to, of those that are there; held so, if asked for."""
    found: dict[SessionKey, int] = {}
    for n in range(0, len(sessions), _MOST_AT_ONCE):
        few = sessions[n : n + _MOST_AT_ONCE]
        statement, values = _created(txn.kind, few)
        rows = txn.rows(statement + (" {for_key_share}" if hold else ""), values)
        found.update((SessionKey(*row[:2]), int(row[2])) for row in rows)
    return found


def _created(kind: Kind, few: Sequence[SessionKey]) -> tuple[str, dict[str, object]]:
    values: dict[str, object] = {f"n{i}": key.session for i, key in enumerate(few)}
    if kind == "sqlite":
        names = ", ".join(f":n{i}" for i in range(len(few)))
        return f"SELECT 0, id, created FROM {{sessions}} WHERE id IN ({names}) ORDER BY id", values
    names = ", ".join(f"(:s{i}, :n{i})" for i in range(len(few)))
    values.update((f"s{i}", key.shard) for i, key in enumerate(few))
    return (
        f"SELECT shard, id, created FROM {{sessions}} WHERE (shard, id) IN ({names}) "
        f"ORDER BY id, shard",
        values,
    )


def count(txn: Transaction, scope: Scope, condition: str = "", **values: object) -> int:
    """How many sessions of a scope there are."""
    conditions, chosen = keys.of_scope(scope)
    where = " AND ".join([*conditions, *([condition] if condition else [])])
    found = txn.first(
        "SELECT count(*) FROM {sessions}" + (f" WHERE {where}" if where else ""),
        {**chosen, **values},
    )
    assert found is not None, "an aggregate always answers"
    return int(found[0])


def _moment(now: int) -> dict[str, Any]:
    return {"now": now, "period": period_of(now)}
