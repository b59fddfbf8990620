"""What rows are found by: the values of ``{t.my_shard}``, ``{t.span}`` and ``{t.at}``."""

from __future__ import annotations

from collections.abc import Iterable

from onrecord.errors import Misconfigured
from onrecord.ledger.database.transaction import Transaction
from onrecord.scope import ANY, NamespaceName, Scope, SessionName, owner_number, shard_of
from onrecord.stored.checkpoints import ListKey
from onrecord.stored.messages import LAST_SEQ, SessionKey, SessionRow


def of_name(name: SessionName | NamespaceName) -> dict[str, object]:
    """The row of a session, a thread or a namespace, by its name."""
    return {"shard": name.shard, "identity": name.identity}


def of_scope(scope: Scope, table: str = "") -> tuple[list[str], dict[str, object]]:
    """The conditions that choose the rows of a scope, and their values; ``table`` is the name of a
    table that has tenant, user, agent and owner, with a dot behind it."""
    conditions: list[str] = []
    values: dict[str, object] = {}
    has_owner = scope.tenant is not ANY and scope.user is not ANY
    for part, name in scope._asdict().items():
        if name is not ANY:
            # By the owner few are found; SQLite takes the index of tenants where it may.
            column = f'{table}"{part}"' + (" || ''" if has_owner and part == "tenant" else "")
            conditions.append(f"{column} = :{part}")
            values[part] = name
    if scope.tenant is not ANY and scope.user is not ANY:
        owner = owner_number(scope.tenant, scope.user)  # the index; the names decide
        conditions.append(f"{{{table}my_shard}} {table}owner = :owner")
        values.update(of_owner(owner))
    return conditions, values


def of_owner(owner: int) -> dict[str, object]:
    """The rows of a tenant and user, by their number."""
    return {"owner": owner, "shard": shard_of(owner)}


def of_listed(scope: Scope) -> tuple[list[str], dict[str, object]]:
    """Like ``of_scope``, where they are listed: it also says what the indexes have that are for
    those with a tenant or an agent, or no database would know that they are enough."""
    conditions, values = of_scope(scope)
    for part, name in (("tenant", scope.tenant), ("agent", scope.agent)):
        if name is not ANY and name != "":
            conditions.append(f"{part} <> ''")
    return conditions, values


def of_key(key: SessionKey) -> dict[str, object]:
    """The row of a session, by its number."""
    return {"shard": key.shard, "session": key.session}


def of_many(found: Iterable[SessionKey]) -> dict[str, object]:
    """The values of ``{many_sessions}`` and ``{of_many_sessions}``."""
    return _of_many("sessions", found)


def of_many_threads(found: Iterable[tuple[int, int]]) -> dict[str, object]:
    """The values of ``{many_threads}`` and ``{of_many_threads}``, by shards and numbers."""
    return _of_many("threads", found)


def of_many_lists(found: Iterable[ListKey]) -> dict[str, object]:
    """The values of ``{many_lists}`` and ``{of_many_lists}``."""
    return _of_many("lists", found)


def _of_many(name: str, found: Iterable[tuple[int, int]]) -> dict[str, object]:
    listed = list(found)
    return {"shards": [shard for shard, _ in listed], name: [number for _, number in listed]}


def of_session(session: SessionRow) -> dict[str, object]:
    """The row of a session that was found."""
    return {"shard": session.shard, "session": session.number}


def at(key: SessionKey, seq: int) -> dict[str, object]:
    """The row of one message."""
    check(seq)
    return {"shard": key.shard, "session": key.session, "seq": seq}


def check(seq: int) -> None:
    """Refuse a sequence out of range: it would be in another session (I6)."""
    if not 0 <= seq <= LAST_SEQ:
        raise Misconfigured(f"A sequence is a whole number from 0 to {LAST_SEQ:,}, not {seq!r}.")


def span(
    txn: Transaction, key: SessionKey, after: int = 0, upto: int = LAST_SEQ
) -> dict[str, object]:
    """The rows of a session after one sequence, up to another; of one whose number is damaged,
    none."""
    if not is_number(txn, key.session):
        return {"shard": key.shard, "session": 0, "after": 0, "upto": 0}
    return {
        "shard": key.shard,
        "session": key.session,
        "after": min(max(after, 0), LAST_SEQ),
        "upto": min(max(upto, 0), LAST_SEQ),
    }


def of_list(key: ListKey) -> dict[str, object]:
    """The row of a list, by its number."""
    return {"shard": key.shard, "list": key.list}


def list_at(key: ListKey, number: int) -> dict[str, object]:
    """The row of one checkpoint, or of the items that end with one."""
    return {"shard": key.shard, "list": key.list, "number": number}


def list_span(
    txn: Transaction, key: ListKey, after: int = 0, upto: int = LAST_SEQ
) -> dict[str, object]:
    """The rows of a list after one number, up to another; of one whose number is damaged, none."""
    if not is_number(txn, key.list):
        return {"shard": key.shard, "list": 0, "after": 0, "upto": 0}
    return {"shard": key.shard, "list": key.list, "after": after, "upto": min(upto, LAST_SEQ)}


def is_number(txn: Transaction, number: int) -> bool:
    """Whether a session or a list can have this number: by another nothing is to be found."""
    return 0 < number <= txn.can.last_id
