"""The row of a session as people see it: what of it they are shown, and what they may set.

A column that they see is a field of ``Described`` and a line of ``info_of``; one that they set
stands in ``SETTABLE``. Title and metadata are one column, ``about``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, NamedTuple

from onrecord.arguments import lifetime
from onrecord.codec.about import unpacked
from onrecord.ledger.database import keys
from onrecord.ledger.database.transaction import Transaction
from onrecord.ledger.sessions import pairs
from onrecord.ledger.sessions.metadata_filter import holding
from onrecord.scope import AnyName, Scope, SessionName, identity_of
from onrecord.stored.clock import (
    EARLIEST,
    LATEST,
    PERIOD,
    microseconds,
    moment_or_none,
    period_of,
    span,
)
from onrecord.stored.messages import LAST_SEQ, SessionKey, SessionRow
from onrecord.version import SessionInfo, Usage, Version, told

_LAST_ID: Final = 2**63 - 1
"""Where the last one of a page has gone, those that were last active with it are met again."""


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
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    requests: int
    waits: int
    held_until: int | None

    @property
    def identity(self) -> bytes:
        """That of its names, which are not checked: a damaged one is told as it is."""
        return identity_of(self.tenant, self.user, self.agent, self.key)

    @property
    def version(self) -> Version:
        return told(Version(self.epoch, self.head), self.lineage)

    @property
    def usage(self) -> Usage:
        """What was spent; a number that cannot be what was written counts for nothing."""
        return Usage(
            input_tokens=_count(self.input_tokens),
            output_tokens=_count(self.output_tokens),
            cached_tokens=_count(self.cached_tokens),
            requests=_count(self.requests),
        )


COLUMNS: Final = ", ".join('"user"' if name == "user" else name for name in Described._fields)
_DESCRIBED: Final = f"SELECT {COLUMNS} FROM {{sessions}}"
_DESCRIBE: Final = f"{_DESCRIBED} WHERE {{my_shard}} identity = :identity"
_DESCRIBE_NUMBER: Final = f"{_DESCRIBED} WHERE {{my_shard}} id = :session"

SETTABLE: Final[dict[str, Callable[[object], object]]] = {
    "expires_in": partial(lifetime, "expires_in"),
}
"""The columns that people set, and what makes of what they give what is stored, or refuses it."""
_SET: Final = {
    column: f"UPDATE {{sessions}} SET {column} = :{column} WHERE {{my_shard}} id = :session"
    for column in SETTABLE
}

_ABOUT: Final = "SELECT about FROM {sessions} WHERE {my_shard} id = :session"
_SET_ABOUT: Final = "UPDATE {sessions} SET about = :about WHERE {my_shard} id = :session"

# What is damaged never goes by itself: two columns say the same time, and have to agree. Before
# 1970 databases round up, and Python down.
_IN_TIME: Final = f"""last_active BETWEEN {EARLIEST} AND {LATEST} AND active_period
    BETWEEN last_active / {PERIOD} - CASE WHEN last_active < 0 THEN 1 ELSE 0 END
    AND last_active / {PERIOD}"""
# By CASE: PostgreSQL may calculate what stands behind an AND first, and raise for the damaged one.
DUE: Final = f"""CASE WHEN {_IN_TIME} AND coalesce(expires_in, 1) > 0 THEN last_active < :before
    OR :now - last_active >= coalesce(expires_in, CAST(:default AS BIGINT)) ELSE FALSE END"""

# Where the period is damaged the row stands in another place of the list than its time says.
_PLACE: Final = """coalesce((SELECT active_period FROM {sessions}
    WHERE {last_shard} identity = :identity AND last_active = :last_active), :period)"""
_BEHIND: Final = f"""active_period <= {_PLACE} AND (active_period, last_active, id) < (
    {_PLACE}, :last_active,
    coalesce((SELECT id FROM {{sessions}} WHERE {{last_shard}} identity = :identity),
        {_LAST_ID}))"""
_BEHIND_DAMAGED: Final = """(active_period, last_active, id) < (
    SELECT active_period, last_active, id FROM {sessions}
    WHERE {last_shard} identity = :identity)"""


def info_of(found: Described) -> SessionInfo:
    """What a session's row says, for people."""
    about = unpacked(found.about)
    return SessionInfo(
        tenant=found.tenant,
        user=found.user,
        agent=found.agent,
        key=found.key,
        version=found.version,
        messages=_count(found.messages),
        turns=_count(found.turns),
        tokens=_count(found.tokens),
        title=about.get("title"),
        metadata=about.get("metadata", {}),
        created_at=moment_or_none(found.created),
        last_active=moment_or_none(found.last_active),
        expires_in=span(found.expires_in),
        damaged=damage(found),
        usage=found.usage,
        open=found.waits == 1 or found.held_until is not None,
    )


def damage(found: Described) -> str | None:
    """Which numbers of a session's row cannot be what was written; None where all can."""
    if (  # all of them at once, or nearly always: a quarter of what it takes to name each
        0 <= found.messages <= found.head <= LAST_SEQ
        and 0 <= found.turns <= found.head
        and 0 <= found.cached_tokens <= found.input_tokens
        and min(found.epoch, found.tokens, found.output_tokens, found.requests) >= 0
        and EARLIEST <= found.created <= LATEST
        and EARLIEST <= found.last_active <= LATEST
        and (found.expires_in is None or found.expires_in > 0)
        and found.waits in (0, 1)
    ):
        return None
    head = found.head if 0 <= found.head <= LAST_SEQ else LAST_SEQ  # else its own damage alone
    well = {
        "epoch": found.epoch >= 0,
        "head": 0 <= found.head <= LAST_SEQ,
        "messages": 0 <= found.messages <= head,
        "turns": 0 <= found.turns <= head,
        "tokens": found.tokens >= 0,
        "input_tokens": found.input_tokens >= 0,
        "output_tokens": found.output_tokens >= 0,
        "cached_tokens": 0 <= found.cached_tokens <= max(found.input_tokens, 0),
        "requests": found.requests >= 0,
        "created": EARLIEST <= found.created <= LATEST,
        "last_active": EARLIEST <= found.last_active <= LATEST,
        "expires_in": found.expires_in is None or found.expires_in > 0,
        "waits": found.waits in (0, 1),
    }
    named = [f"{what} is {getattr(found, what)}" for what, is_well in well.items() if not is_well]
    return ", ".join(named) or None


def _count(stored: int) -> int:
    return stored if 0 <= stored < 2**53 else 0


def about(txn: Transaction, session: SessionRow) -> bytes | None:
    """Title and metadata, packed."""
    row = txn.first(_ABOUT, keys.of_session(session))
    return None if row is None or row[0] is None else bytes(row[0])


def set_about(txn: Transaction, session: SessionRow, packed: bytes, *, first: bool = False) -> None:
    """Replace title and metadata; ``first`` where there are none yet."""
    txn.run(_SET_ABOUT, {**keys.of_session(session), "about": packed})
    pairs.put(txn, session, packed, first=first)


def set_columns(txn: Transaction, session: SessionRow, stored: Mapping[str, object]) -> None:
    """Set columns of a locked session that people may set, to what is stored of what they gave."""
    for column, value in stored.items():
        txn.run(_SET[column], {**keys.of_session(session), column: value})


def describe(txn: Transaction, name: SessionName) -> Described | None:
    """What is known about a session."""
    row = txn.first(_DESCRIBE, keys.of_name(name))
    return None if row is None else Described(*row)


def describe_key(txn: Transaction, key: SessionKey) -> Described | None:
    """Like ``describe``, for a session known by its number."""
    row = txn.first(_DESCRIBE_NUMBER, keys.of_key(key))
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

    Some that lack ``metadata`` are left out already: see ``metadata_filter.py``.
    """
    scope = Scope(tenant, user, agent)
    conditions, values = keys.of_listed(scope)
    some = pairs.having(txn, scope, metadata or {})
    if some is not None:
        if not some:
            return []
        conditions.append(f"id IN ({', '.join(f':id{i}' for i in range(len(some)))})")
        values.update((f"id{i}", number) for i, number in enumerate(some))
    having, sought = holding(txn.kind, metadata or {})
    conditions += having
    values.update(sought, limit=limit)
    if after is not None:
        conditions.append(_BEHIND if after.last_active else _BEHIND_DAMAGED)
        name_of_last = SessionName(
            key=after.key, tenant=after.tenant, user=after.user, agent=after.agent
        )
        values.update(identity=name_of_last.identity, last_shard=name_of_last.shard)
        if after.last_active is not None:
            last_active = microseconds(after.last_active)
            values.update(last_active=last_active, period=period_of(last_active))
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    # Where they are known by their numbers no index is to be gone through in the order of periods.
    period = "active_period" if some is None else "active_period + 0"
    order = f" ORDER BY {period} DESC, last_active DESC, id DESC LIMIT :limit"
    return [Described(*row) for row in txn.rows(_DESCRIBED + where + order, values)]
