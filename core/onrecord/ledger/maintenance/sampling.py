"""How a store is, from a part of it: each of these looks at so many rows at the most."""

from __future__ import annotations

import secrets
from typing import Final, NamedTuple

from onrecord.ledger.database.transaction import Transaction
from onrecord.ledger.sessions.description import DUE
from onrecord.scope import SessionName
from onrecord.stored.clock import EARLIEST, period_of

_NEWEST: Final = "ORDER BY active_period DESC, id DESC LIMIT :most"
_OLDEST: Final = "ORDER BY active_period, id LIMIT :most"

_LOOKED_AT: Final = f"(SELECT * FROM {{sessions}} {_NEWEST})"
# The same, for who cannot join some rows of all shards with what is theirs: the last of them first.
_LAST_LOOKED_AT: Final = f"SELECT active_period, id FROM {{sessions}} {_NEWEST}"
_DOWN_TO_IT: Final = """(SELECT * FROM {sessions}
            WHERE (active_period, id) >= (:last_period, :last_number))"""


def _lag(covered: str, looked_at: str) -> str:
    return f"""
    SELECT count(*), coalesce(sum(head), 0), coalesce(sum(CASE WHEN covered < head THEN
        head - covered ELSE 0 END), 0)
    FROM (
        SELECT s.head, ({covered}) AS covered
        FROM {looked_at} s
    ) looked"""


_TERMS_OF: Final = """SELECT coalesce(sum(CASE WHEN r.upto BETWEEN r.seq AND r.seq + 15
                THEN r.upto - r.seq + 1 ELSE 0 END), 0)
            FROM {runs} r WHERE {r.of s} AND r.analyser = :analyser"""
_VECTORS_OF: Final = """SELECT coalesce(sum(CASE WHEN v.upto BETWEEN v.seq AND v.seq + 15
                THEN v.upto - v.seq + 1 ELSE 0 END), 0)
            FROM {vectors} v
            WHERE {v.in_shard_of s} v.session = s.id AND v.embedder = :embedder"""
_LAST_TERMS_OF: Final = """coalesce((
            SELECT CASE WHEN r.analyser = :analyser AND r.upto BETWEEN r.seq AND r.seq + 15
                THEN r.upto ELSE 0 END
            FROM {runs} r WHERE {r.of s} ORDER BY {r.order} DESC LIMIT 1), 0)"""
_INDEXED_LAST: Final = _lag(_LAST_TERMS_OF, _LOOKED_AT)
_INDEXED: Final = {"limit": _lag(_TERMS_OF, _LOOKED_AT), "place": _lag(_TERMS_OF, _DOWN_TO_IT)}
_EMBEDDED: Final = {"limit": _lag(_VECTORS_OF, _LOOKED_AT), "place": _lag(_VECTORS_OF, _DOWN_TO_IT)}
_UNSEALED: Final = f"""
    SELECT count(*), coalesce(sum(head - sealed), 0) FROM (
        SELECT head, sealed FROM {{sessions}}
        WHERE active_period <= :period AND last_active < :before {_OLDEST}
    ) looked WHERE sealed < head"""
_EXPIRED: Final = f"""
    SELECT count(*) FROM (SELECT * FROM {{sessions}} {_OLDEST}) looked WHERE {DUE}"""
_EXPIRED_ITEMS: Final = """
    SELECT count(*) FROM (
        SELECT 1 AS one FROM {items} WHERE expires_at <= {clock} LIMIT :most) looked"""
_LATEST: Final = """
    SELECT max(last_active) FROM {sessions}
    WHERE active_period = (SELECT max(active_period) FROM {sessions})"""
_LEARNED: Final = f"""
    SELECT (SELECT count(*) FROM {{dictionaries}} WHERE in_use = 1), coalesce(sum(messages), 0)
    FROM (SELECT messages FROM {{sessions}} {_NEWEST}) looked"""
_HIGHEST: Final = "SELECT coalesce(max(id), 0) FROM {sessions}"
_BY_NUMBER: Final = """
    SELECT tenant, "user", agent, key FROM {sessions}
    WHERE id >= :number AND head <= :largest ORDER BY id LIMIT 1"""
_BY_TIME: Final = f"""
    SELECT tenant, "user", agent, key FROM {{sessions}} WHERE head <= :largest {_NEWEST}"""


class Lag(NamedTuple):
    """How many messages of the sessions looked at something has not seen yet."""

    sessions: int
    messages: int
    behind: int


class Unsealed(NamedTuple):
    """Quiet sessions with messages that are rows of their own, and how many these are."""

    sessions: int
    messages: int


def index_lag(txn: Transaction, analyser: int, most: int) -> Lag:
    """What the index has not, of the sessions last active."""
    return _lagging(txn, _INDEXED, {"analyser": analyser, "most": most})


def index_behind(txn: Transaction, analyser: int, most: int) -> int:
    """How many messages of the sessions last active are newer than what the index has of them: a
    row of each is read and one of its index, however long it is."""
    if not txn.can.across_shards:
        return index_lag(txn, analyser, most).behind
    return _numbers(txn, _INDEXED_LAST, {"analyser": analyser, "most": most})[2]


def embedder_lag(txn: Transaction, embedder: int, most: int) -> Lag:
    """What an embedder has not seen, of the sessions last active."""
    return _lagging(txn, _EMBEDDED, {"embedder": embedder, "most": most})


def _lagging(txn: Transaction, by_end: dict[str, str], values: dict[str, object]) -> Lag:
    if txn.can.across_shards:
        return Lag(*_numbers(txn, by_end["limit"], values))
    looked_at = txn.rows(_LAST_LOOKED_AT, {"most": values["most"]})
    if not looked_at:
        return Lag(0, 0, 0)
    period, number = looked_at[-1]
    values.update(last_period=period, last_number=number)
    return Lag(*_numbers(txn, by_end["place"], values))


def unsealed(txn: Transaction, before: int, most: int) -> Unsealed:
    """What is not sealed of the sessions that were quiet since a time, the oldest first."""
    values: dict[str, object] = {"before": before, "period": period_of(before), "most": most}
    return Unsealed(*_numbers(txn, _UNSEALED, values))


def expired(txn: Transaction, now: int, default: int | None, most: int) -> int:
    """How many of the sessions that were quiet for longest have expired."""
    values: dict[str, object] = {
        "now": now,
        "before": EARLIEST - 1,
        "default": default,
        "most": most,
    }
    return _numbers(txn, _EXPIRED, values)[0]


def expired_items(txn: Transaction, now: int, most: int) -> int:
    """How many items have expired, up to so many."""
    return _numbers(txn, _EXPIRED_ITEMS, {"now": now, "most": most})[0]


def last_activity(txn: Transaction) -> int | None:
    """When a session was last active, by the clock of who wrote to it."""
    found = txn.first(_LATEST, {})
    return None if found is None or found[0] is None else int(found[0])


def learned(txn: Transaction, most: int) -> tuple[int, int]:
    """How many dictionaries are in use, and how many messages the sessions last active have."""
    dictionaries, messages = _numbers(txn, _LEARNED, {"most": most})
    return dictionaries, messages


def some_sessions(txn: Transaction, newest: int, others: int, largest: int) -> list[SessionName]:
    """Some sessions, each once: those last active, and some by chance; none with more messages."""
    rows = txn.rows(_BY_TIME, {"largest": largest, "most": newest})
    (highest,) = _numbers(txn, _HIGHEST, {})
    for _ in range(others if highest else 0):
        number = 1 + secrets.randbelow(highest)
        rows += txn.rows(_BY_NUMBER, {"number": number, "largest": largest})
    return list(
        dict.fromkeys(
            SessionName(key=key, tenant=tenant, user=user, agent=agent)
            for tenant, user, agent, key in rows
        )
    )


def _numbers(txn: Transaction, statement: str, values: dict[str, object]) -> tuple[int, ...]:
    found = txn.first(statement, values)
    assert found is not None, "an aggregate always answers"
    return tuple(int(number) for number in found)
