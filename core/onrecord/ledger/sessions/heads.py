"""Where the sessions of a scope stand, all at once: what a search has to know of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from onrecord.ledger.database import keys
from onrecord.ledger.database.transaction import Transaction
from onrecord.ledger.sessions.description import COLUMNS, Described
from onrecord.ledger.sessions.metadata_filter import holding
from onrecord.scope import Scope, SessionName
from onrecord.stored.messages import LAST_SEQ, SessionKey

_HEADS: Final = f"SELECT {{shard}}, id, {COLUMNS} FROM {{sessions}}"
_HEAD_OF: Final = f"{_HEADS} WHERE {{my_shard}} identity = :identity"


class Head(NamedTuple):
    """A session and where it stands."""

    key: SessionKey
    described: Described

    @property
    def name(self) -> SessionName:
        tenant, user, agent, key, *_ = self.described
        return SessionName(key=key, tenant=tenant, user=user, agent=agent)

    @property
    def about(self) -> bytes | None:
        return self.described.about


def of_scope(txn: Transaction, scope: Scope, metadata: Mapping[str, Any]) -> list[Head]:
    """The sessions of a scope, in the order of their names; some that lack ``metadata`` are left
    out already."""
    conditions, values = keys.of_scope(scope)
    having, wanted = holding(txn.kind, metadata)
    conditions += having
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    return _heads(txn, _HEADS + where, {**values, **wanted})


def of_name(txn: Transaction, name: SessionName) -> list[Head]:
    """One session, if it is there."""
    return _heads(txn, _HEAD_OF, keys.of_name(name))


def _heads(txn: Transaction, statement: str, values: Mapping[str, object]) -> list[Head]:
    found = [Head(SessionKey(*row[:2]), Described(*row[2:])) for row in txn.rows(statement, values)]
    # What is damaged cannot be read by places; verify() names it.
    well = [
        head
        for head in found
        if keys.is_number(txn, head.key.session) and 0 <= head.described.head <= LAST_SEQ
    ]
    return sorted(well, key=lambda head: head.described[:4])
