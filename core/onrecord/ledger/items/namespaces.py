"""The rows of namespaces: found, locked, made, listed.

Every write to a namespace takes a number of it that is higher than all before, under the lock of
its row: the microsecond that the clock has, or the next one where that was given out. So a version
never comes back: not of what was deleted, not where the row itself went, and not where the
database lost its newest commits, as long as its clock did not go back as well. SQLite is told
what the clock has when the lock is held: a write that waited for it came to be before others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from onrecord import codec
from onrecord.errors import Damaged
from onrecord.ledger.database import keys
from onrecord.ledger.database.transaction import Transaction
from onrecord.ledger.sessions import description, sessions
from onrecord.scope import FIRST_PATH, NamespaceName, Scope, SessionName, StateName
from onrecord.stored import clock
from onrecord.stored.items import NamespaceKey

_FIND: Final = "SELECT id FROM {namespaces} WHERE {my_shard} identity = :identity"
_AS_IT_IS: Final = "SELECT id, version FROM {namespaces} WHERE {my_shard} identity = :identity"
_HOLD: Final = f"{_AS_IT_IS} {{for_no_key_update}}"
_MOVE: Final = """
    UPDATE {namespaces} SET version = {greatest}(version + :writes, {clock})
    WHERE {my_shard} identity = :identity RETURNING id, version"""
_CREATE: Final = """
    INSERT INTO {namespaces} ({shard_key} identity, owner, version, tenant, "user", agent, path)
    VALUES ({shard_value} :identity, :owner, {clock}, :tenant, :user, :agent, :path)
    ON CONFLICT ({shard_key} identity) DO NOTHING"""
# So that a version that was given out after a backup was made is not given out again after it was
# restored.
_NEXT_VERSION_OF_ALL: Final = "UPDATE {namespaces} SET version = {greatest}(version, {clock})"
# Those that have something to show: what is empty, or has expired, is no namespace to anybody.
_HAS_ITEMS: Final = """EXISTS (SELECT 1 FROM {items} i WHERE {i.in_shard_of n} i.namespace = n.id
    AND (i.expires_at IS NULL OR i.expires_at > {clock}))"""
_OF_SCOPE: Final = "SELECT {n.shard}, n.id, n.path FROM {namespaces} n WHERE "


class Locked(NamedTuple):
    """A namespace that this transaction holds, and the last version it may give out."""

    key: NamespaceKey
    version: int


def find(txn: Transaction, name: NamespaceName) -> NamespaceKey | None:
    """A namespace, where anything was ever put into it."""
    row = txn.first(_FIND, keys.of_name(name))
    return None if row is None else NamespaceKey(name.shard, row[0])


def as_it_is(txn: Transaction, name: NamespaceName, *, held: bool = False) -> Locked | None:
    """A namespace, and the last version that was given out in it, 0 where that is damaged; nobody
    is kept from it, unless it is ``held`` until the transaction ends."""
    row = txn.first(_HOLD if held else _AS_IT_IS, keys.of_name(name))
    if row is None:
        return None
    return Locked(NamespaceKey(name.shard, row[0]), row[1] if isinstance(row[1], int) else 0)


def move(txn: Transaction, name: NamespaceName, writes: int) -> Locked | None:
    """A namespace, locked, with so many versions to give out; None where there is none."""
    txn.begin()
    row = txn.first(_MOVE, {**keys.of_name(name), "writes": writes, "now": clock.now()})
    if row is None:
        return None
    if not isinstance(row[1], int):  # SQLite makes a float of what has no next number
        raise Damaged(
            f"The version of namespace {name} is damaged: it has no next one. Nothing was changed. "
            f"export() what is left of its scope, erase() it, and import it again."
        )
    return Locked(NamespaceKey(name.shard, row[0]), row[1])


def move_or_create(txn: Transaction, name: NamespaceName, writes: int, now: int) -> Locked:
    """Like ``move``; made first where there is none."""
    while (locked := move(txn, name, writes)) is None:
        create(txn, name, now)
    return locked


def next_version_of_all(txn: Transaction, now: int) -> None:
    """Go on with the number that the clock has, in every namespace."""
    txn.run(_NEXT_VERSION_OF_ALL, {"now": now})


def create(txn: Transaction, name: NamespaceName, now: int) -> None:
    """Make a namespace where there is none; of a state its session first, which it never is
    without. Who holds other namespaces has to hold the session already. ``now`` is the session's:
    when the write began."""
    if isinstance(name, StateName):
        _make_session(txn, name.session, now)
    values = {
        **keys.of_name(name),
        "owner": name.owner,
        "now": clock.now(),
        "tenant": name.tenant,
        "user": name.user,
        "agent": name.agent,
        "path": name.path,
    }
    txn.run(_CREATE, values)


def hold_sessions(txn: Transaction, names: Mapping[NamespaceName, bool], now: int) -> None:
    """Lock the sessions of states, in one order, before their namespaces, as an append does; those
    in which something is put are made where they are not there."""
    states = [name for name in names if isinstance(name, StateName)]
    for state in sorted(states, key=lambda state: state.session.identity):
        if names[state]:
            _make_session(txn, state.session, now)
        else:
            sessions.lock(txn, state.session)


def _make_session(txn: Transaction, name: SessionName, now: int) -> None:
    if sessions.lock(txn, name) is not None:
        return
    made = sessions.create(txn, name, now)
    session = sessions.lock_or_create(txn, name, now)
    if made:  # as by create(): an append takes away again what only an append has made
        description.set_about(txn, session, codec.pack_value({}, "metadata"), first=True)


def paths(
    txn: Transaction, scope: Scope, prefix: bytes, after: bytes, limit: int, now: int
) -> list[tuple[NamespaceKey, bytes]]:
    """The namespaces of a scope that begin with a prefix and have items, in their order; no
    states."""
    conditions, values = keys.of_scope(scope, "n.")
    conditions += ["n.path >= :prefix", "n.path > :after", _HAS_ITEMS]
    if prefix:
        conditions.append("n.path < :beyond")
        values["beyond"] = prefix[:-1] + b"\1"  # a NUL stands behind each part
    values.update(prefix=prefix or FIRST_PATH, after=after, limit=limit, now=now)
    found = txn.rows(
        f"{_OF_SCOPE}{' AND '.join(conditions)} ORDER BY n.path, n.id LIMIT :limit", values
    )
    return [(NamespaceKey(shard, number), bytes(path)) for shard, number, path in found]
