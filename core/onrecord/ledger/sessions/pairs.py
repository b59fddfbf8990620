"""What sessions have in their metadata, as numbers in an index: which have it is found by these.

A number stands for a key and what it has. It only says where to look: who has it is decided by
who reads title and metadata. So every session that has it has to be found, and others may be.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, Final

from onrecord.codec.about import unpacked
from onrecord.ledger.database import keys
from onrecord.ledger.database.transaction import Transaction
from onrecord.scope import ANY, Scope, owner_number
from onrecord.stored.messages import SessionKey, SessionRow

MOST: Final = 32
"""Keys of a session's metadata that are indexed: of one that has more, each may be in any."""
MOST_FOUND: Final = 400
"""Sessions that are looked up one by one. What more have is found soon by going over them all, the
one last active first."""

_REMOVE: Final = "DELETE FROM {pairs} WHERE {my_shard} session = :session"
_ADD: Final = """
    INSERT INTO {pairs} ({shard_key} session, pair, owner)
    SELECT {shard_value} id, CAST(:pair AS BIGINT), owner FROM {sessions}
    WHERE {my_shard} id = :session"""
_FIND: Final = """
    SELECT session FROM {pairs} WHERE pair IN (:exact, :any, :more) LIMIT :limit"""
_FIND_OF_OWNER: Final = """
    SELECT session FROM {pairs}
    WHERE {my_shard} pair IN (:exact, :any, :more) AND owner = :owner LIMIT :limit"""
_THERE: Final = "SELECT pair, owner FROM {pairs} WHERE {my_shard} session = :session"


def of_metadata(metadata: Mapping[str, Any]) -> set[int]:
    """The numbers of a session that has this metadata. Nobody looks here for a key that is no
    text."""
    if len(metadata) > MOST:
        return {_MORE}
    return {
        _any(key) if (plain := _plain(value)) is None else _exact(key, plain)
        for key, value in metadata.items()
        if isinstance(key, str)
    }


def put(txn: Transaction, session: SessionRow, about: bytes | None, *, first: bool) -> None:
    """Index a locked session by what its title and metadata are now; ``first`` where it had none
    before."""
    values = keys.of_session(session)
    if not first:
        txn.run(_REMOVE, values)
    if found := of_about(about):
        txn.many(_ADD, [{**values, "pair": pair} for pair in sorted(found)])


def of_about(about: bytes | None) -> set[int]:
    """The numbers of a session with this title and metadata."""
    metadata = unpacked(about).get("metadata")
    return of_metadata(metadata) if isinstance(metadata, dict) else set()


def there(txn: Transaction, key: SessionKey) -> set[tuple[int, int]]:
    """The numbers by which a session is found, each with that of its owner."""
    return {(pair, owner) for pair, owner in txn.rows(_THERE, keys.of_key(key))}


def having(txn: Transaction, scope: Scope, metadata: Mapping[str, Any]) -> list[int] | None:
    """The numbers of the sessions that may have all of it, and of others; None for too many."""
    fewest: list[int] | None = None
    for key, value in metadata.items():
        if type(key) is not str or (plain := _plain(value)) is None:
            continue
        values: dict[str, object] = {
            "exact": _exact(key, plain),
            "any": _any(key),
            "more": _MORE,
            "limit": MOST_FOUND + 1,
        }
        statement = _FIND
        if scope.tenant is not ANY and scope.user is not ANY:
            owner = owner_number(scope.tenant, scope.user)
            values.update(keys.of_owner(owner))
            statement = _FIND_OF_OWNER
        found = [int(number) for (number,) in txn.rows(statement, values)]
        if len(found) <= MOST_FOUND and (fewest is None or len(found) < len(fewest)):
            fewest = found
    return fewest


def _plain(value: object) -> bytes | None:
    """The same for all that are equal, of what may be asked for: True, 1 and 1.0 are. None for
    what may be equal to others yet, as a Decimal is."""
    if type(value) is str:
        return b"s" + value.encode("utf-8", "surrogatepass")
    if type(value) is bool or type(value) is int:
        return b"n%x" % value if value >= 0 else b"-%x" % -value
    if type(value) is float:
        return _plain(int(value)) if value.is_integer() else b"f" + repr(value).encode()
    return None


def _exact(key: str, plain: bytes) -> int:
    return _number(b"=", key, plain)


def _any(key: str) -> int:
    return _number(b"*", key, b"")


def _number(kind: bytes, key: str, plain: bytes) -> int:
    name = key.encode("utf-8", "surrogatepass")
    packed = kind + len(name).to_bytes(4, "big") + name + plain
    return int.from_bytes(blake2b(packed, digest_size=8).digest(), "big", signed=True)


_MORE: Final = _number(b"+", "", b"")
