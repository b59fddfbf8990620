"""Whether namespaces and their items are what was written."""

from __future__ import annotations

import secrets
from typing import Final, NamedTuple

from onrecord.codec import value as codec
from onrecord.errors import Damaged, InvalidName
from onrecord.ledger.database import bounds, keys
from onrecord.ledger.database.transaction import Transaction
from onrecord.reports import Problem
from onrecord.scope import NamespaceName, Scope, StateName, parts_of, stored_name
from onrecord.stored.items import NamespaceKey

_NAMESPACES: Final = """
    SELECT {n.shard}, n.id, n.identity, n.owner, n.tenant, n."user", n.agent, n.path
    FROM {namespaces} n WHERE n.id > :after ORDER BY n.id LIMIT :limit"""
_SESSION: Final = "SELECT 1 FROM {sessions} WHERE {my_shard} identity = :identity"
_VERSION: Final = "SELECT version FROM {namespaces} WHERE {my_shard} id = :namespace"
_ITEMS: Final = """
    SELECT key, version, created, updated, expires_at, ttl, body FROM {items}
    WHERE {my_shard} namespace = :namespace AND key > :after ORDER BY key LIMIT :limit"""
_COLUMNS: Final = ("version", "created", "updated", "expires_at", "ttl")


class Found(NamedTuple):
    """A namespace, what it is called in a problem, and what is wrong with its names."""

    key: NamespaceKey
    name: str
    problems: list[Problem]


def namespaces(txn: Transaction, after: int, limit: int) -> list[Found]:
    """Every namespace by number, after one."""
    txn.snapshot()
    found = []
    for shard, number, identity, owner, *scope, path in txn.rows(
        _NAMESPACES, {"after": after, "limit": limit}
    ):
        name: NamespaceName | None = None
        try:
            name = stored_name(bytes(path), *scope)
        except InvalidName as fault:
            shown = f"{'/'.join(map(repr, parts_of(bytes(path))))} of {Scope(*scope)}"
            wrong = [f"nobody can have named it so: {str(fault).rstrip('.')}"]
        else:
            shown = str(name)
            wrong = _wrong_names(bytes(identity), owner, name)
        where = shown if isinstance(name, StateName) else f"namespace {shown}"
        problems = [Problem(kind="damaged", where=where, what=f"{what}.") for what in wrong]
        if isinstance(name, StateName) and not wrong and not _has_session(txn, name):
            what = "its session is not there."
            problems.append(Problem(kind="stray", where=where, what=what))
        found.append(Found(NamespaceKey(shard, number), shown, problems))
    return found


def _has_session(txn: Transaction, name: StateName) -> bool:
    return txn.first(_SESSION, keys.of_name(name.session)) is not None


def some_number(txn: Transaction) -> int:
    """The number behind which some namespaces are, by chance."""
    row = txn.first("SELECT coalesce(max(id), 0) FROM {namespaces}", {})
    highest = 0 if row is None else int(row[0])
    return secrets.randbelow(highest) if highest > 0 else 0


def items(
    txn: Transaction, namespace: NamespaceKey, name: str, after: str, limit: int
) -> tuple[list[Problem], str | None]:
    """What is wrong with some items of a namespace by key, after one; and the last of them, where
    there may be more."""
    txn.snapshot()
    row = txn.first(_VERSION, namespace._asdict())
    if row is None:
        return [], None  # it was erased while others were looked at
    problems: list[Problem] = []
    values = {**namespace._asdict(), "after": after, "limit": limit}
    page = txn.rows(_ITEMS, values)
    for key, *numbers, body in page:
        columns = dict(zip(_COLUMNS, numbers, strict=True))
        wrong = bounds.outside(txn, "items", columns)
        if columns["version"] > row[0]:
            wrong.append(f"its version is {columns['version']}, and its namespace's {row[0]}")
        if (columns["expires_at"] is None) != (columns["ttl"] is None):
            wrong.append(f"its ttl is {columns['ttl']}, and its expires_at {columns['expires_at']}")
        try:
            codec.decode(bytes(body))
        except Damaged as fault:
            wrong.append(f"its value: {fault}")
        problems += [
            Problem(kind="damaged", where=f"item {key!r} in {name}", what=f"{what}.")
            for what in wrong
        ]
    return problems, page[-1][0] if len(page) == limit else None


def _wrong_names(identity: bytes, owner: int, name: NamespaceName) -> list[str]:
    wrong = []
    if name.owner != owner:
        wrong.append(f"its owner is {owner}, and not that of its names")
    if name.identity != identity:
        wrong.append("its identity is not that of its names: it cannot be found by them")
    return wrong
